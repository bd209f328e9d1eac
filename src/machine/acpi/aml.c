/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/acpi/aml.h"
#include <string.h>
#include "base/base.h"

#define EXT_PREFIX 0x5b

/* PkgLength (20.2.4): one byte up to 63, else a lead byte with the count of further bytes in
 * bits 7..6 and the low nibble of the value. */
static unsigned pkg_length(uint8_t out[4], size_t len, bool inclusive)
{
	unsigned n = 1;

	while (len + (inclusive ? n : 0) >= (n == 1 ? BIT(6) : BIT(4 + 8 * (n - 1))))
		n++;
	bug_on(n > 4);
	if (inclusive)
		len += n;
	out[0] = n == 1 ? (uint8_t)len : (uint8_t)((n - 1) << 6 | (len & 0xf));
	for (unsigned i = 1; i < n; i++)
		out[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
	return n;
}

static struct aml_mark open_term(struct bytes *b, int prefix, uint8_t op)
{
	if (prefix)
		bytes_u8(b, (uint8_t)prefix);
	bytes_u8(b, op);
	return (struct aml_mark){ b->len };
}

void aml_end(struct bytes *b, struct aml_mark m)
{
	uint8_t len[4];
	unsigned n = pkg_length(len, b->len - m.at, true);

	bytes_insert(b, m.at, len, n);
}

struct aml_mark aml_scope(struct bytes *b, const char *name)
{
	struct aml_mark m = open_term(b, 0, 0x10);

	aml_name(b, name);
	return m;
}

struct aml_mark aml_device(struct bytes *b, const char *name)
{
	struct aml_mark m = open_term(b, EXT_PREFIX, 0x82);

	aml_name(b, name);
	return m;
}

struct aml_mark aml_method(struct bytes *b, const char *name, unsigned args, bool serialized)
{
	struct aml_mark m = open_term(b, 0, 0x14);

	aml_name(b, name);
	bytes_u8(b, (uint8_t)(args | (serialized ? 8 : 0)));
	return m;
}

struct aml_mark aml_package(struct bytes *b, uint8_t n)
{
	struct aml_mark m = open_term(b, 0, 0x12);

	bytes_u8(b, n);
	return m;
}

static struct aml_mark field(struct bytes *b, const char *region, uint8_t flags)
{
	struct aml_mark m = open_term(b, EXT_PREFIX, 0x81);

	aml_name(b, region);
	bytes_u8(b, flags);
	return m;
}

struct aml_mark aml_field(struct bytes *b, const char *region)
{
	return field(b, region, 0x01);
}

struct aml_mark aml_field_dword(struct bytes *b, const char *region)
{
	return field(b, region, 0x43);
}

struct aml_mark aml_if(struct bytes *b)
{
	return open_term(b, 0, 0xa0);
}

struct aml_mark aml_else(struct bytes *b)
{
	return open_term(b, 0, 0xa1);
}

static void name_segment(struct bytes *b, const char *s, size_t len)
{
	bug_on(len == 0 || len > 4);
	for (size_t i = 0; i < 4; i++)
		bytes_u8(b, i < len ? (uint8_t)s[i] : '_');
}

void aml_name(struct bytes *b, const char *path)
{
	unsigned segments = 0;

	for (; *path == '\\' || *path == '^'; path++)
		bytes_u8(b, (uint8_t)*path);
	if (*path)
		segments = 1;
	for (const char *p = path; *p; p++)
		segments += *p == '.';
	if (segments == 0)
		bytes_u8(b, 0);
	else if (segments == 2)
		bytes_u8(b, 0x2e);
	else if (segments > 2) {
		bytes_u8(b, 0x2f);
		bytes_u8(b, (uint8_t)segments);
	}
	while (*path) {
		size_t len = strcspn(path, ".");

		name_segment(b, path, len);
		path += len + (path[len] == '.');
	}
}

void aml_name_op(struct bytes *b, const char *path)
{
	bytes_u8(b, 0x08);
	aml_name(b, path);
}

void aml_int(struct bytes *b, uint64_t v)
{
	if (v <= 1) {
		bytes_u8(b, (uint8_t)v);
	} else if (v <= UINT8_MAX) {
		bytes_u8(b, 0x0a);
		bytes_u8(b, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		bytes_u8(b, 0x0b);
		bytes_u16(b, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		bytes_u8(b, 0x0c);
		bytes_u32(b, (uint32_t)v);
	} else {
		bytes_u8(b, 0x0e);
		bytes_u64(b, v);
	}
}

void aml_string(struct bytes *b, const char *s)
{
	bytes_u8(b, 0x0d);
	bytes_strz(b, s);
}

void aml_buffer(struct bytes *b, const uint8_t *p, size_t n)
{
	struct aml_mark m = open_term(b, 0, 0x11);

	aml_int(b, n);
	bytes_put(b, p, n);
	aml_end(b, m);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Three letters of five bits and four hexadecimal digits, big-endian (19.3.4). */
void aml_eisaid(struct bytes *b, const char *id)
{
	uint32_t v;

	bug_on(strlen(id) != 7);
	v = (uint32_t)(id[0] - 0x40) << 26 | (uint32_t)(id[1] - 0x40) << 21 |
	    (uint32_t)(id[2] - 0x40) << 16 | hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 |
	    hex_digit(id[5]) << 4 | hex_digit(id[6]);
	bytes_u8(b, 0x0c);
	bytes_u32(b, __builtin_bswap32(v));
}

void aml_name_int(struct bytes *b, const char *path, uint64_t v)
{
	aml_name_op(b, path);
	aml_int(b, v);
}

void aml_name_eisaid(struct bytes *b, const char *path, const char *id)
{
	aml_name_op(b, path);
	aml_eisaid(b, id);
}

void aml_region(struct bytes *b, const char *name, uint8_t space, uint64_t off, uint64_t len)
{
	bytes_u8(b, EXT_PREFIX);
	bytes_u8(b, 0x80);
	aml_name(b, name);
	bytes_u8(b, space);
	aml_int(b, off);
	aml_int(b, len);
}

void aml_field_unit(struct bytes *b, const char *name, unsigned bits)
{
	uint8_t len[4];

	name_segment(b, name, strlen(name));
	bytes_put(b, len, pkg_length(len, bits, false));
}

void aml_field_skip(struct bytes *b, unsigned bits)
{
	uint8_t len[4];

	bytes_u8(b, 0);
	bytes_put(b, len, pkg_length(len, bits, false));
}

void aml_op(struct bytes *b, enum aml_op op)
{
	bytes_u8(b, (uint8_t)op);
}

void aml_null_target(struct bytes *b)
{
	bytes_u8(b, 0);
}

void aml_resources(struct bytes *b, struct bytes *r)
{
	bytes_u8(r, 0x79); /* end tag, checksum 0: not used */
	bytes_u8(r, 0);
	aml_buffer(b, r->p, r->len);
	bytes_free(r);
}

void res_io(struct bytes *r, uint16_t min, uint16_t max, uint8_t align, uint8_t len)
{
	bytes_u8(r, 0x47);
	bytes_u8(r, 1); /* decodes 16 bits */
	bytes_u16(r, min);
	bytes_u16(r, max);
	bytes_u8(r, align);
	bytes_u8(r, len);
}

void res_irq(struct bytes *r, uint16_t mask)
{
	bytes_u8(r, 0x22);
	bytes_u16(r, mask);
}

void res_interrupts(struct bytes *r, const uint32_t *irqs, uint8_t n)
{
	bytes_u8(r, 0x89);
	bytes_u16(r, (uint16_t)(2 + 4 * n));
	bytes_u8(r, 0x09); /* consumer, level, active high, shared */
	bytes_u8(r, n);
	for (uint8_t i = 0; i < n; i++)
		bytes_u32(r, irqs[i]);
}

void res_interrupt(struct bytes *r, uint32_t irq, bool level)
{
	bytes_u8(r, 0x89);
	bytes_u16(r, 6);
	bytes_u8(r, level ? 0x01 : 0x03); /* consumer, active high */
	bytes_u8(r, 1);
	bytes_u32(r, irq);
}

void res_memory32_fixed(struct bytes *r, bool writable, uint32_t base, uint32_t len)
{
	bytes_u8(r, 0x86);
	bytes_u16(r, 9);
	bytes_u8(r, writable);
	bytes_u32(r, base);
	bytes_u32(r, len);
}

enum { ADDR_MEMORY, ADDR_IO, ADDR_BUS };

/* General flags: producer, positive decode, minimum and maximum fixed. */
static void address_head(struct bytes *r, uint8_t tag, uint16_t len, uint8_t type,
			 uint8_t type_flags)
{
	bytes_u8(r, tag);
	bytes_u16(r, len);
	bytes_u8(r, type);
	bytes_u8(r, 0x0c);
	bytes_u8(r, type_flags);
}

static void word_window(struct bytes *r, uint8_t type, uint8_t flags, uint16_t min, uint16_t max)
{
	address_head(r, 0x88, 13, type, flags);
	bytes_u16(r, 0);
	bytes_u16(r, min);
	bytes_u16(r, max);
	bytes_u16(r, 0);
	bytes_u16(r, (uint16_t)(max - min + 1));
}

void res_bus_numbers(struct bytes *r, uint16_t min, uint16_t max)
{
	word_window(r, ADDR_BUS, 0, min, max);
}

void res_io_window(struct bytes *r, uint16_t min, uint16_t max)
{
	word_window(r, ADDR_IO, 3, min, max); /* entire range */
}

void res_mem_window(struct bytes *r, uint32_t min, uint32_t max, bool cacheable)
{
	address_head(r, 0x87, 23, ADDR_MEMORY, cacheable ? 3 : 1); /* read-write */
	bytes_u32(r, 0);
	bytes_u32(r, min);
	bytes_u32(r, max);
	bytes_u32(r, 0);
	bytes_u32(r, max - min + 1);
}

void res_mem64_window(struct bytes *r, uint64_t min, uint64_t max)
{
	address_head(r, 0x8a, 43, ADDR_MEMORY, 3);
	bytes_u64(r, 0);
	bytes_u64(r, min);
	bytes_u64(r, max);
	bytes_u64(r, 0);
	bytes_u64(r, max - min + 1);
}
