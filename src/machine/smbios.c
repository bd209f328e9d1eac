/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/smbios.h"
#include <stdio.h>
#include <string.h>
#include "base/base.h"

/* Handles: type << 8, plus the instance. */
#define HANDLE(type, n) ((uint16_t)((type) << 8 | (n)))
#define NO_HANDLE 0xfffe
#define UNKNOWN 2

#define DIMM_MAX (16 * GiB)

struct builder {
	struct bytes *b;
	uint16_t count, longest;
	size_t start;
	char strings[256]; /* of the open structure */
	size_t strings_len;
	uint8_t n_strings;
};

static void begin(struct builder *s, uint8_t type, uint8_t len, uint16_t handle)
{
	s->start = s->b->len;
	s->strings_len = 0;
	s->n_strings = 0;
	bytes_u8(s->b, type);
	bytes_u8(s->b, len);
	bytes_u16(s->b, handle);
}

/* A string reference: number of the string in the open structure. */
static void string(struct builder *s, const char *text)
{
	size_t n = strlen(text) + 1;

	bug_on(s->strings_len + n > sizeof(s->strings));
	memcpy(s->strings + s->strings_len, text, n);
	s->strings_len += n;
	bytes_u8(s->b, ++s->n_strings);
}

static void end(struct builder *s)
{
	size_t len = s->b->len - s->start;

	bug_on(len != s->b->p[s->start + 1]);
	bytes_put(s->b, s->strings, s->strings_len);
	bytes_zero(s->b, s->strings_len ? 1 : 2);
	len = s->b->len - s->start;
	if (len > s->longest)
		s->longest = (uint16_t)len;
	s->count++;
}

static void bios_information(struct builder *s)
{
	begin(s, 0, 0x18, HANDLE(0, 0));
	string(s, "doppel");
	string(s, DOPPEL_VERSION);
	bytes_u16(s->b, 0xe800);
	string(s, "01/01/2025");
	bytes_u8(s->b, 0);
	bytes_u64(s->b, BIT(3)); /* characteristics: not supported */
	bytes_u8(s->b, BIT(0)); /* ACPI */
	bytes_u8(s->b, BIT(4)); /* virtual machine */
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 1);
	bytes_u8(s->b, 0xff);
	bytes_u8(s->b, 0xff);
	end(s);
}

/* DSP0134 7.2.1: the first three fields are little-endian. */
static void put_uuid(struct builder *s, const uint8_t uuid[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

	for (unsigned i = 0; i < 16; i++)
		bytes_u8(s->b, uuid[order[i]]);
}

static void system_information(struct builder *s, const struct smbios_config *cfg)
{
	begin(s, 1, 0x1b, HANDLE(1, 0));
	string(s, "doppel");
	string(s, cfg->machine);
	string(s, DOPPEL_VERSION);
	bytes_u8(s->b, 0); /* serial number: none */
	put_uuid(s, cfg->uuid);
	bytes_u8(s->b, 6); /* power switch */
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 0);
	end(s);
}

static void chassis(struct builder *s)
{
	begin(s, 3, 0x16, HANDLE(3, 0));
	string(s, "doppel");
	bytes_u8(s->b, 1); /* other */
	string(s, DOPPEL_VERSION);
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 3); /* boot-up, power supply and thermal states: safe */
	bytes_u8(s->b, 3);
	bytes_u8(s->b, 3);
	bytes_u8(s->b, UNKNOWN);
	bytes_u32(s->b, 0);
	bytes_u8(s->b, 0); /* height */
	bytes_u8(s->b, 0); /* power cords */
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 0); /* SKU */
	end(s);
}

static void processor(struct builder *s, unsigned n_cpus)
{
	uint8_t n = n_cpus > 0xfe ? 0xff : (uint8_t)n_cpus;

	begin(s, 4, 0x2a, HANDLE(4, 0));
	string(s, "CPU 0");
	bytes_u8(s->b, 3); /* central processor */
	bytes_u8(s->b, 1); /* family: other */
	string(s, "doppel");
	bytes_u64(s->b, 0);
	string(s, DOPPEL_VERSION);
	bytes_u8(s->b, 0);
	bytes_u16(s->b, 0);
	bytes_u16(s->b, 2000); /* maximum and current speed, MHz */
	bytes_u16(s->b, 2000);
	bytes_u8(s->b, 0x41); /* populated, enabled */
	bytes_u8(s->b, 1); /* upgrade: other */
	bytes_u16(s->b, 0xffff);
	bytes_u16(s->b, 0xffff);
	bytes_u16(s->b, 0xffff);
	bytes_zero(s->b, 3);
	bytes_u8(s->b, n);
	bytes_u8(s->b, n);
	bytes_u8(s->b, n);
	bytes_u16(s->b, 0x4); /* 64-bit capable */
	bytes_u16(s->b, 1);
	end(s);
}

static void memory_array(struct builder *s, uint64_t size, unsigned dimms)
{
	bool big = size >= 2048 * GiB;

	begin(s, 16, 0x17, HANDLE(16, 0));
	bytes_u8(s->b, 1); /* location: other */
	bytes_u8(s->b, 3); /* use: system memory */
	bytes_u8(s->b, 3); /* no error correction */
	bytes_u32(s->b, big ? 0x80000000u : (uint32_t)(size / KiB));
	bytes_u16(s->b, NO_HANDLE);
	bytes_u16(s->b, (uint16_t)dimms);
	bytes_u64(s->b, big ? size : 0);
	end(s);
}

static void memory_device(struct builder *s, unsigned n, uint64_t size)
{
	uint64_t mib = size / MiB;
	char name[16];

	snprintf(name, sizeof(name), "DIMM %u", n);
	begin(s, 17, 0x28, HANDLE(17, n));
	bytes_u16(s->b, HANDLE(16, 0));
	bytes_u16(s->b, NO_HANDLE);
	bytes_u16(s->b, 0xffff); /* widths unknown */
	bytes_u16(s->b, 0xffff);
	bytes_u16(s->b, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
	bytes_u8(s->b, 9); /* DIMM */
	bytes_u8(s->b, 0);
	string(s, name);
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 7); /* RAM */
	bytes_u16(s->b, BIT(1));
	bytes_u16(s->b, 0);
	string(s, "doppel");
	bytes_zero(s->b, 4); /* serial number, asset tag, part number, attributes */
	bytes_u32(s->b, mib < 0x7fff ? 0 : (uint32_t)mib);
	bytes_zero(s->b, 8);
	end(s);
}

static void mapped_address(struct builder *s, unsigned n, uint64_t start, uint64_t size)
{
	bool wide = start + size > 4096 * GiB;

	begin(s, 19, 0x1f, HANDLE(19, n));
	bytes_u32(s->b, wide ? UINT32_MAX : (uint32_t)(start / KiB));
	bytes_u32(s->b, wide ? UINT32_MAX : (uint32_t)((start + size) / KiB - 1));
	bytes_u16(s->b, HANDLE(16, 0));
	bytes_u8(s->b, 1);
	bytes_u64(s->b, wide ? start : 0);
	bytes_u64(s->b, wide ? start + size - 1 : 0);
	end(s);
}

static void memory(struct builder *s, const struct ram_layout *ram)
{
	uint64_t size = ram->below_4g + ram->above_4g, each = DIMM_MAX;
	unsigned n = 0, dimms;

	while ((size + each - 1) / each > 128)
		each *= 2;
	dimms = (unsigned)((size + each - 1) / each);
	memory_array(s, size, dimms);
	for (uint64_t left = size; left; left -= min_u64(left, each))
		memory_device(s, n++, min_u64(left, each));
	mapped_address(s, 0, 0, ram->below_4g);
	if (ram->above_4g)
		mapped_address(s, 1, 4 * GiB, ram->above_4g);
}

static void boot_status(struct builder *s)
{
	begin(s, 32, 0x0b, HANDLE(32, 0));
	bytes_zero(s->b, 7);
	end(s);
	begin(s, 127, 4, HANDLE(127, 0));
	end(s);
}

/* Entry point structure of 32 bits (5.2.1). */
static void entry_point(struct bytes *b, const struct builder *s)
{
	bytes_str(b, "_SM_");
	bytes_u8(b, 0);
	bytes_u8(b, 0x1f);
	bytes_u8(b, 2);
	bytes_u8(b, 8);
	bytes_u16(b, s->longest);
	bytes_zero(b, 6);
	bytes_str(b, "_DMI_");
	bytes_u8(b, 0);
	bytes_u16(b, (uint16_t)s->b->len);
	bytes_u32(b, 0);
	bytes_u16(b, s->count);
	bytes_u8(b, 0x28);
}

void smbios_build(struct smbios *s, const struct smbios_config *cfg)
{
	struct builder b = { .b = &s->tables };

	*s = (struct smbios){ 0 };
	bios_information(&b);
	system_information(&b, cfg);
	chassis(&b);
	processor(&b, cfg->n_cpus);
	memory(&b, &cfg->ram);
	boot_status(&b);
	entry_point(&s->anchor, &b);
	smbios_place(s, 0);
}

void smbios_place(struct smbios *s, uint32_t tables)
{
	uint8_t *p = s->anchor.p;

	put_le32(p + 0x18, tables);
	p[0x15] = 0;
	p[0x15] = bytes_checksum(p + 0x10, 0xf);
	p[4] = 0;
	p[4] = bytes_checksum(p, 0x1f);
}

void smbios_free(struct smbios *s)
{
	bytes_free(&s->anchor);
	bytes_free(&s->tables);
}
