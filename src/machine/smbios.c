/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/smbios.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"

/* Handles: type << 8, plus the instance. */
#define HANDLE(type, n) ((uint16_t)((type) << 8 | (n)))
#define NO_HANDLE 0xfffe
#define UNKNOWN 2

#define DIMM_MAX (16 * GiB)

struct builder {
	struct bytes *b;
	uint16_t count, longest;
	size_t start;
	struct bytes strings; /* of the open structure */
	uint8_t n_strings;
	const struct smbios_fields *f;
};

static bool given_raw(const struct builder *s, uint8_t type)
{
	for (size_t i = 0; i < s->f->n_raw; i++)
		if (*(const uint8_t *)s->f->raw[i].data == type)
			return true;
	return false;
}

static void begin(struct builder *s, uint8_t type, uint8_t len, uint16_t handle)
{
	s->start = s->b->len;
	s->strings.len = 0;
	s->n_strings = 0;
	bytes_u8(s->b, type);
	bytes_u8(s->b, len);
	bytes_u16(s->b, handle);
}

/* A string of the open structure, by its number; 0: there is none, or an empty one. */
static uint8_t string_add(struct builder *s, const char *text)
{
	if (!text || !*text)
		return 0;
	bytes_strz(&s->strings, text);
	return ++s->n_strings;
}

/* A reference to the string. */
static void string(struct builder *s, const char *text)
{
	bytes_u8(s->b, string_add(s, text));
}

static void text(struct builder *s, enum smbios_text id, const char *otherwise)
{
	string(s, s->f->text[id] ? s->f->text[id] : otherwise);
}

static void end_raw(struct builder *s)
{
	size_t len = s->b->len - s->start;

	if (len > s->longest)
		s->longest = (uint16_t)min_u64(len, UINT16_MAX);
	s->count++;
}

static void end(struct builder *s)
{
	size_t len = s->b->len - s->start;

	bug_on(len != s->b->p[s->start + 1]);
	bytes_put(s->b, s->strings.p, s->strings.len);
	bytes_zero(s->b, s->strings.len ? 1 : 2);
	end_raw(s);
}

static void bios_information(struct builder *s)
{
	begin(s, 0, 0x18, HANDLE(0, 0));
	text(s, SMBIOS_0_VENDOR, "doppel");
	text(s, SMBIOS_0_VERSION, DOPPEL_VERSION);
	bytes_u16(s->b, 0xe800);
	text(s, SMBIOS_0_DATE, "01/01/2025");
	bytes_u8(s->b, 0);
	bytes_u64(s->b, BIT(3)); /* characteristics: not supported */
	bytes_u8(s->b, BIT(0)); /* ACPI */
	bytes_u8(s->b, BIT(4) | (s->f->uefi ? BIT(3) : 0)); /* virtual machine, UEFI */
	bytes_u8(s->b, s->f->has_release ? s->f->release[0] : 0);
	bytes_u8(s->b, s->f->has_release ? s->f->release[1] : 1);
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
	text(s, SMBIOS_1_MANUFACTURER, "doppel");
	text(s, SMBIOS_1_PRODUCT, cfg->machine);
	text(s, SMBIOS_1_VERSION, DOPPEL_VERSION);
	text(s, SMBIOS_1_SERIAL, NULL);
	put_uuid(s, cfg->uuid);
	bytes_u8(s->b, 6); /* power switch */
	text(s, SMBIOS_1_SKU, NULL);
	text(s, SMBIOS_1_FAMILY, NULL);
	end(s);
}

static void baseboard(struct builder *s)
{
	begin(s, 2, 0x0f, HANDLE(2, 0));
	text(s, SMBIOS_2_MANUFACTURER, "doppel");
	text(s, SMBIOS_2_PRODUCT, NULL);
	text(s, SMBIOS_2_VERSION, NULL);
	text(s, SMBIOS_2_SERIAL, NULL);
	text(s, SMBIOS_2_ASSET, NULL);
	bytes_u8(s->b, BIT(0)); /* hosting board */
	text(s, SMBIOS_2_LOCATION, NULL);
	bytes_u16(s->b, HANDLE(3, 0));
	bytes_u8(s->b, 10); /* motherboard */
	bytes_u8(s->b, 0);
	end(s);
}

static void chassis(struct builder *s)
{
	begin(s, 3, 0x16, HANDLE(3, 0));
	text(s, SMBIOS_3_MANUFACTURER, "doppel");
	bytes_u8(s->b, 1); /* other */
	text(s, SMBIOS_3_VERSION, DOPPEL_VERSION);
	text(s, SMBIOS_3_SERIAL, NULL);
	text(s, SMBIOS_3_ASSET, NULL);
	bytes_u8(s->b, 3); /* boot-up, power supply and thermal states: safe */
	bytes_u8(s->b, 3);
	bytes_u8(s->b, 3);
	bytes_u8(s->b, UNKNOWN);
	bytes_u32(s->b, 0);
	bytes_u8(s->b, 0); /* height */
	bytes_u8(s->b, 0); /* power cords */
	bytes_u8(s->b, 0);
	bytes_u8(s->b, 0);
	text(s, SMBIOS_3_SKU, NULL);
	end(s);
}

static void processor(struct builder *s, unsigned n_cpus)
{
	uint8_t n = n_cpus > 0xfe ? 0xff : (uint8_t)n_cpus;

	uint16_t max = s->f->cpu_max_speed ? s->f->cpu_max_speed : 2000;
	uint16_t speed = s->f->cpu_speed ? s->f->cpu_speed : 2000;
	char *socket = xasprintf("%s0", s->f->text[SMBIOS_4_SOCKET] ? s->f->text[SMBIOS_4_SOCKET]
								     : "CPU ");

	begin(s, 4, 0x2a, HANDLE(4, 0));
	string(s, socket);
	free(socket);
	bytes_u8(s->b, 3); /* central processor */
	bytes_u8(s->b, 1); /* family: other */
	text(s, SMBIOS_4_MANUFACTURER, "doppel");
	bytes_u64(s->b, s->f->cpu_id);
	text(s, SMBIOS_4_VERSION, DOPPEL_VERSION);
	bytes_u8(s->b, 0);
	bytes_u16(s->b, 0);
	bytes_u16(s->b, max); /* maximum and current speed, MHz */
	bytes_u16(s->b, speed);
	bytes_u8(s->b, 0x41); /* populated, enabled */
	bytes_u8(s->b, 1); /* upgrade: other */
	bytes_u16(s->b, 0xffff);
	bytes_u16(s->b, 0xffff);
	bytes_u16(s->b, 0xffff);
	text(s, SMBIOS_4_SERIAL, NULL);
	text(s, SMBIOS_4_ASSET, NULL);
	text(s, SMBIOS_4_PART, NULL);
	bytes_u8(s->b, n);
	bytes_u8(s->b, n);
	bytes_u8(s->b, n);
	bytes_u16(s->b, 0x4); /* 64-bit capable */
	bytes_u16(s->b, 1);
	end(s);
}

static void oem_strings(struct builder *s)
{
	begin(s, 11, 5, HANDLE(11, 0));
	for (size_t i = 0; i < s->f->n_oem; i++)
		string_add(s, s->f->oem[i]);
	bytes_u8(s->b, s->n_strings);
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
	const char *prefix = s->f->text[SMBIOS_17_LOCATOR];
	char *name = xasprintf("%s %u", prefix ? prefix : "DIMM", n);

	begin(s, 17, 0x28, HANDLE(17, n));
	bytes_u16(s->b, HANDLE(16, 0));
	bytes_u16(s->b, NO_HANDLE);
	bytes_u16(s->b, 0xffff); /* widths unknown */
	bytes_u16(s->b, 0xffff);
	bytes_u16(s->b, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
	bytes_u8(s->b, 9); /* DIMM */
	bytes_u8(s->b, 0);
	string(s, name);
	free(name);
	text(s, SMBIOS_17_BANK, NULL);
	bytes_u8(s->b, 7); /* RAM */
	bytes_u16(s->b, BIT(1));
	bytes_u16(s->b, s->f->dimm_speed);
	text(s, SMBIOS_17_MANUFACTURER, "doppel");
	text(s, SMBIOS_17_SERIAL, NULL);
	text(s, SMBIOS_17_ASSET, NULL);
	text(s, SMBIOS_17_PART, NULL);
	bytes_u8(s->b, 0); /* attributes */
	bytes_u32(s->b, mib < 0x7fff ? 0 : (uint32_t)mib);
	bytes_u16(s->b, s->f->dimm_speed);
	bytes_zero(s->b, 6);
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
	if (!given_raw(s, 16))
		memory_array(s, size, dimms);
	for (uint64_t left = given_raw(s, 17) ? 0 : size; left; left -= min_u64(left, each))
		memory_device(s, n++, min_u64(left, each));
	if (given_raw(s, 19))
		return;
	mapped_address(s, 0, 0, ram->below_4g);
	if (ram->above_4g)
		mapped_address(s, 1, 4 * GiB, ram->above_4g);
}

static void boot_status(struct builder *s)
{
	begin(s, 32, 0x0b, HANDLE(32, 0));
	bytes_zero(s->b, 7);
	end(s);
}

static void raw_structures(struct builder *s)
{
	for (size_t i = 0; i < s->f->n_raw; i++) {
		s->start = s->b->len;
		bytes_put(s->b, s->f->raw[i].data, s->f->raw[i].len);
		end_raw(s);
	}
}

static void end_of_table(struct builder *s)
{
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
	static const struct smbios_fields none;
	struct builder b = { .b = &s->tables, .f = cfg->fields ? cfg->fields : &none };

	*s = (struct smbios){ 0 };
	raw_structures(&b);
	if (!given_raw(&b, 0))
		bios_information(&b);
	if (!given_raw(&b, 1))
		system_information(&b, cfg);
	if (b.f->has_board && !given_raw(&b, 2))
		baseboard(&b);
	if (!given_raw(&b, 3))
		chassis(&b);
	if (!given_raw(&b, 4))
		processor(&b, cfg->n_cpus);
	if (b.f->n_oem && !given_raw(&b, 11))
		oem_strings(&b);
	memory(&b, &cfg->ram);
	if (!given_raw(&b, 32))
		boot_status(&b);
	end_of_table(&b);
	bytes_free(&b.strings);
	entry_point(&s->anchor, &b);
	smbios_place(s, 0);
}

/* DSP0134 6.1: a header with the length of what is formatted, then strings and two zeros. */
static bool raw_valid(const struct smbios_raw *r)
{
	const uint8_t *p = r->data;

	if (r->len < 6 || p[1] < 4 || p[1] > r->len - 2 || p[0] == 127)
		return false;
	for (size_t i = p[1]; i + 2 <= r->len; i++)
		if (!p[i] && !p[i + 1])
			return i + 2 == r->len;
	return false;
}

int smbios_check(const struct smbios_config *cfg, struct err **e)
{
	struct smbios s;
	size_t len;

	for (size_t i = 0; cfg->fields && i < cfg->fields->n_raw; i++)
		if (!raw_valid(&cfg->fields->raw[i]))
			return err_set(e, EINVAL, "not one SMBIOS structure with its strings");
	if (cfg->fields && cfg->fields->n_oem > SMBIOS_OEM_MAX)
		return err_set(e, E2BIG, "more than %d OEM strings", SMBIOS_OEM_MAX);
	smbios_build(&s, cfg);
	len = s.tables.len;
	smbios_free(&s);
	if (len > SMBIOS_TABLES_MAX)
		return err_set(e, E2BIG, "SMBIOS tables of %zu bytes are longer than %u", len,
			       SMBIOS_TABLES_MAX);
	return 0;
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
