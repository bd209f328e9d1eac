/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI and SMBIOS tables: checksums, pointers, the linker script for firmware, and what iasl says
 * of them. `test-acpi DIR` writes the tables of both boards to DIR instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/base.h"
#include "machine/acpi/acpi.h"
#include "machine/acpi/aml.h"
#include "machine/board.h"
#include "machine/mptable.h"
#include "machine/smbios.h"

#define TABLES 0xe0000u
#define RSDP 0xf8000u

static void build(struct acpi_tables *t, const struct board_ops *board, unsigned cpus, uint64_t ram)
{
	struct acpi_config cfg = {
		.board = &board->acpi,
		.n_cpus = cpus,
		.phys_bits = 40,
		.ecam_base = board->acpi.ecam_base,
		.com_ports = { 0x3f8, 0x2f8 },
		.com_irqs = { 4, 3 },
		.ioapic2 = board->acpi.reduced,
		.rtc = true,
		.virtio_base = 0xfeb00000,
		.virtio_used = BIT(23) | BIT(3) | BIT(0),
		.virtio_gsi = 24,
	};

	ram_split(&cfg.ram, ram, board->ram_threshold, board->ram_low);
	acpi_build(t, &cfg);
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

/* The table at a guest-physical address of placed tables. */
static const uint8_t *at(const struct acpi_tables *t, uint64_t addr)
{
	assert_true(addr >= TABLES && addr - TABLES + 36 <= t->blob[ACPI_BLOB_TABLES].len);
	return t->blob[ACPI_BLOB_TABLES].p + (addr - TABLES);
}

static void check_table(const struct acpi_tables *t, const uint8_t *p, const char *sig)
{
	uint32_t len = get_le32(p + 4);

	assert_memory_equal(p, sig, 4);
	assert_true(p + len <= t->blob[ACPI_BLOB_TABLES].p + t->blob[ACPI_BLOB_TABLES].len);
	assert_int_equal(sum(p, len), 0);
}

static const uint8_t *find(const struct acpi_tables *t, const char *sig)
{
	const uint8_t *rsdp = t->blob[ACPI_BLOB_RSDP].p, *xsdt = at(t, get_le64(rsdp + 24));

	for (uint32_t i = 36; i < get_le32(xsdt + 4); i += 8) {
		const uint8_t *p = at(t, get_le64(xsdt + i));

		if (!memcmp(p, sig, 4))
			return p;
	}
	return NULL;
}

static void check_placed(const struct board_ops *board, unsigned cpus, uint64_t ram)
{
	struct acpi_tables t;
	const uint8_t *rsdp, *rsdt, *xsdt, *fadt;

	build(&t, board, cpus, ram);
	acpi_place(&t, TABLES, RSDP);
	rsdp = t.blob[ACPI_BLOB_RSDP].p;
	assert_int_equal(t.blob[ACPI_BLOB_RSDP].len, 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	rsdt = at(&t, get_le32(rsdp + 16));
	xsdt = at(&t, get_le64(rsdp + 24));
	check_table(&t, rsdt, "RSDT");
	check_table(&t, xsdt, "XSDT");
	assert_int_equal((get_le32(rsdt + 4) - 36) / 4, (get_le32(xsdt + 4) - 36) / 8);
	for (uint32_t i = 0; i < (get_le32(rsdt + 4) - 36) / 4; i++) {
		assert_int_equal(get_le32(rsdt + 36 + 4 * i), get_le64(xsdt + 36 + 8 * i));
		check_table(&t, at(&t, get_le32(rsdt + 36 + 4 * i)),
			    (const char *)at(&t, get_le64(xsdt + 36 + 8 * i)));
	}
	fadt = find(&t, "FACP");
	assert_non_null(fadt);
	assert_int_equal(get_le32(fadt + 40), get_le64(fadt + 140));
	check_table(&t, at(&t, get_le32(fadt + 40)), "DSDT");
	assert_int_equal(get_le32(fadt + 36) % 64, 0);
	assert_int_equal(get_le32(fadt + 36) == 0, board->acpi.reduced);
	if (!board->acpi.reduced)
		assert_memory_equal(at(&t, get_le32(fadt + 36)), "FACS", 4);
	assert_non_null(find(&t, "APIC"));
	assert_int_equal(find(&t, "HPET") != NULL, !board->acpi.reduced);
	assert_int_equal(find(&t, "MCFG") != NULL, board == &board_q35);
	acpi_free(&t);
}

static void test_placed(void **state)
{
	for (int i = 0; boards[i]; i++) {
		check_placed(boards[i], 1, 512 * MiB);
		check_placed(boards[i], 2, 6 * GiB);
		check_placed(boards[i], 300, 64 * GiB);
	}
}

/* Firmware moves ECAM: the tables follow, and are as long as before. */
static void test_ecam(void **state)
{
	struct acpi_config cfg = {
		.board = &board_q35.acpi, .n_cpus = 2, .phys_bits = 40,
		.ecam_base = board_q35.acpi.ecam_base,
	};
	struct acpi_tables a, b;

	ram_split(&cfg.ram, 2 * GiB, board_q35.ram_threshold, board_q35.ram_low);
	acpi_build(&a, &cfg);
	assert_int_equal(acpi_ecam_base(&cfg, 0xe0000000), 0xe0000000);
	assert_int_equal(acpi_ecam_base(&cfg, 0), 0xb0000000);
	assert_int_equal(acpi_ecam_base(&cfg, 0x80000000), 0xb0000000); /* no window below */
	assert_int_equal(acpi_ecam_base(&cfg, 0xf0000000), 0xb0000000); /* over the I/O APIC */
	assert_int_equal(acpi_ecam_base(&cfg, UINT64_C(0x100000000)), 0xb0000000);
	cfg.ecam_base = 0xe0000000;
	acpi_build(&b, &cfg);
	assert_int_equal(a.blob[ACPI_BLOB_TABLES].len, b.blob[ACPI_BLOB_TABLES].len);
	acpi_place(&b, TABLES, RSDP);
	assert_int_equal(get_le64(find(&b, "MCFG") + 44), 0xe0000000);
	assert_int_equal(find(&b, "MCFG")[55], 255);
	acpi_free(&a);
	acpi_free(&b);
}

/* PM registers that firmware has moved; GPE0 of `pc` has a place of its own, that of `q35` has not. */
static void test_pm_moves(void **state)
{
	static const struct {
		const struct acpi_board *board;
		uint16_t evt, gpe;
	} cases[] = {{&board_pc.acpi, 0xb000, 0xafe0}, {&board_q35.acpi, 0xb000, 0xb020}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct acpi_config cfg = {.board = cases[i].board, .n_cpus = 1, .phys_bits = 39};
		struct acpi_tables a, b;
		const uint8_t *f;

		ram_split(&cfg.ram, GiB, board_pc.ram_threshold, board_pc.ram_low);
		cfg.ecam_base = cfg.board->ecam_base;
		acpi_build(&a, &cfg);
		cfg.pm_base = 0xb000;
		acpi_build(&b, &cfg);
		/* The script that links them was made for the first. */
		assert_int_equal(a.blob[ACPI_BLOB_TABLES].len, b.blob[ACPI_BLOB_TABLES].len);
		assert_int_equal(a.n_pointers, b.n_pointers);
		acpi_place(&b, TABLES, RSDP);
		f = find(&b, "FACP");
		assert_int_equal(get_le32(f + 56), cases[i].evt);
		assert_int_equal(get_le32(f + 64), cases[i].evt + 4);
		assert_int_equal(get_le32(f + 76), cases[i].evt + 8);
		assert_int_equal(get_le32(f + 80), cases[i].gpe);
		assert_int_equal(get_le64(f + 176), cases[i].evt + 4);
		acpi_free(&a);
		acpi_free(&b);
	}
}

/* What is assigned without firmware: beside RAM and ECAM. */
static void test_pci_space(void **state)
{
	struct acpi_config cfg = {.board = &board_q35.acpi, .phys_bits = 39,
				  .ecam_base = 0xb0000000};
	struct pci_space s;

	ram_split(&cfg.ram, 6 * GiB, board_q35.ram_threshold, board_q35.ram_low);
	acpi_pci_space(&cfg, &s);
	assert_int_equal(s.mem.start, 0xc0000000);
	assert_int_equal(s.mem.end, 0xfec00000);
	assert_int_equal(s.mem64.start, 8 * GiB);
	assert_int_equal(s.mem64.end, BIT(39));
	cfg.board = &board_pc.acpi;
	ram_split(&cfg.ram, 3 * GiB, board_pc.ram_threshold, board_pc.ram_low);
	acpi_pci_space(&cfg, &s);
	assert_int_equal(s.mem.start, 0xc0000000);
	assert_int_equal(s.mem64.start, 4 * GiB);
}

/* Every processor once, those past 254 as x2APICs. */
static void test_madt(void **state)
{
	struct acpi_tables t;
	const uint8_t *m;
	unsigned apic = 0, x2apic = 0, overrides = 0;

	build(&t, &board_q35, 300, GiB);
	acpi_place(&t, TABLES, RSDP);
	m = find(&t, "APIC");
	for (uint32_t i = 44; i < get_le32(m + 4); i += m[i + 1]) {
		assert_true(m[i + 1] >= 2);
		if (m[i] == 0)
			assert_int_equal(m[i + 3], apic++);
		else if (m[i] == 9)
			assert_int_equal(get_le32(m + i + 4), 255 + x2apic++);
		else if (m[i] == 2)
			overrides++;
	}
	assert_int_equal(apic, 255);
	assert_int_equal(x2apic, 45);
	assert_int_equal(overrides, 5);
	acpi_free(&t);
}

/* Sleep and reset of a hardware-reduced board, its interrupts, its slots in the order of the block. */
static void test_reduced(void **state)
{
	static const char names[][5] = { "VR23", "VR03", "VR00" };
	struct acpi_tables t;
	const uint8_t *f, *m, *d, *p;
	unsigned ioapics = 0, overrides = 0;

	build(&t, &board_microvm, 2, GiB);
	acpi_place(&t, TABLES, RSDP);
	f = find(&t, "FACP");
	assert_int_equal(get_le32(f + 4), 276);
	assert_int_equal(get_le32(f + 112) >> 20 & 1, 1);
	assert_int_equal(get_le32(f + 112) >> 10 & 1, 1);
	assert_int_equal(f[116], 0);
	assert_int_equal(get_le64(f + 120), 0xfea00202);
	assert_int_equal(f[128], 0x42);
	assert_int_equal(get_le64(f + 248), 0xfea00200);
	assert_int_equal(get_le64(f + 260), 0xfea00201);
	m = find(&t, "APIC");
	for (uint32_t i = 44; i < get_le32(m + 4); i += m[i + 1]) {
		assert_true(m[i + 1] >= 2);
		overrides += m[i] == 2;
		if (m[i] != 1)
			continue;
		assert_int_equal(get_le32(m + i + 4), 0xfec00000 + 0x10000 * ioapics);
		assert_int_equal(get_le32(m + i + 8), 24 * ioapics++);
	}
	assert_int_equal(ioapics, 2);
	assert_int_equal(overrides, 1);
	d = at(&t, get_le32(f + 40));
	p = d;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		p = memmem(p, (size_t)(d + get_le32(d + 4) - p), names[i], 4);
		assert_non_null(p);
	}
	assert_null(memmem(d, get_le32(d + 4), "PCI0", 4));
	acpi_free(&t);
}

static void test_mptable(void **state)
{
	struct mptable_config cfg = { .n_cpus = 3, .level_first = 5, .level_n = 8 };
	struct bytes b = { 0 };
	unsigned cpus = 0, level = 0, n = 0;
	const uint8_t *t;
	size_t at;

	mptable_build(&b, &cfg, 0xf8000);
	assert_memory_equal(b.p, "_MP_", 4);
	assert_int_equal(sum(b.p, 16), 0);
	assert_int_equal(get_le32(b.p + 4), 0xf8010);
	t = b.p + 16;
	assert_memory_equal(t, "PCMP", 4);
	assert_int_equal(get_le16(t + 4), b.len - 16);
	assert_int_equal(sum(t, b.len - 16), 0);
	for (at = 44; at < b.len - 16; at += t[at] ? 8 : 20, n++) {
		cpus += t[at] == 0;
		level += t[at] == 3 && get_le16(t + at + 2) == 0xd;
		if (t[at] == 3 && t[at + 5] == 0)
			assert_int_equal(t[at + 7], 2);
	}
	assert_int_equal(at, b.len - 16);
	assert_int_equal(n, get_le16(t + 34));
	assert_int_equal(cpus, 3);
	assert_int_equal(level, 8);
	bytes_free(&b);
}

/* Do what firmware does with the script; the result must be what acpi_place makes. */
static void run_script(struct acpi_tables *t, const struct bytes *script)
{
	uint64_t base[2] = { 0 };

	assert_int_equal(script->len % 128, 0);
	for (size_t i = 0; i < script->len; i += 128) {
		const uint8_t *c = script->p + i;
		const char *file = (const char *)c + 4;
		int blob = strcmp(file, ACPI_FILE_RSDP) == 0;
		uint8_t *p = t->blob[blob].p;
		uint64_t v = 0;

		assert_true(blob || !strcmp(file, ACPI_FILE_TABLES));
		switch (get_le32(c)) {
		case 1:
			base[blob] = blob ? RSDP : TABLES;
			assert_int_equal(base[blob] % get_le32(c + 60), 0);
			break;
		case 2:
			assert_string_equal(c + 60, ACPI_FILE_TABLES);
			memcpy(&v, p + get_le32(c + 116), c[120]);
			v += base[0];
			memcpy(p + get_le32(c + 116), &v, c[120]);
			break;
		case 3:
			p[get_le32(c + 60)] -= sum(p + get_le32(c + 64), get_le32(c + 68));
			break;
		default:
			fail();
		}
	}
}

static void test_script(void **state)
{
	struct acpi_tables ours, theirs;
	struct bytes script = { 0 };

	build(&ours, &board_pc, 2, GiB);
	build(&theirs, &board_pc, 2, GiB);
	acpi_loader_script(&theirs, &script);
	run_script(&theirs, &script);
	acpi_place(&ours, TABLES, RSDP);
	for (int i = 0; i < ACPI_BLOB_COUNT; i++) {
		assert_int_equal(ours.blob[i].len, theirs.blob[i].len);
		assert_memory_equal(ours.blob[i].p, theirs.blob[i].p, ours.blob[i].len);
	}
	bytes_free(&script);
	acpi_free(&ours);
	acpi_free(&theirs);
}

static void test_aml(void **state)
{
	static const uint8_t name[] = { '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0' };
	static const uint8_t root[] = { 0x0c, 0x41, 0xd0, 0x0a, 0x03 }; /* PNP0A03 */
	struct bytes b = { 0 };
	struct aml_mark m;

	aml_name(&b, "\\_SB.PCI0");
	assert_int_equal(b.len, sizeof(name));
	assert_memory_equal(b.p, name, sizeof(name));
	b.len = 0;
	aml_eisaid(&b, "PNP0A03");
	assert_int_equal(b.len, sizeof(root));
	assert_memory_equal(b.p, root, sizeof(root));
	/* Package lengths around the borders between their encodings. */
	for (size_t n = 50; n < 5000; n++) {
		size_t len, used;

		b.len = 0;
		m = aml_if(&b);
		bytes_zero(&b, n);
		aml_end(&b, m);
		used = 1 + (b.p[1] >> 6);
		len = used == 1 ? b.p[1] : (b.p[1] & 0xfu) | (size_t)b.p[2] << 4;
		if (used == 3)
			len |= (size_t)b.p[3] << 12;
		assert_int_equal(len, n + used);
		assert_int_equal(b.len, len + 1);
	}
	bytes_free(&b);
}

static void test_smbios(void **state)
{
	struct smbios_config cfg = { .machine = "pc", .n_cpus = 2 };
	struct smbios s;
	unsigned n = 0, last = 0;
	size_t i = 0;

	ram_split(&cfg.ram, 6 * GiB, board_pc.ram_threshold, board_pc.ram_low);
	smbios_build(&s, &cfg);
	smbios_place(&s, 0xf0040);
	assert_int_equal(s.anchor.len, 0x1f);
	assert_int_equal(sum(s.anchor.p, 0x1f), 0);
	assert_int_equal(sum(s.anchor.p + 0x10, 0xf), 0);
	assert_int_equal(get_le32(s.anchor.p + 0x18), 0xf0040);
	while (i < s.tables.len) {
		last = s.tables.p[i];
		i += s.tables.p[i + 1];
		while (s.tables.p[i] || s.tables.p[i + 1])
			i++;
		i += 2;
		n++;
	}
	assert_int_equal(i, s.tables.len);
	assert_int_equal(last, 127);
	assert_int_equal(n, get_le16(s.anchor.p + 0x1c));
	assert_int_equal(get_le16(s.anchor.p + 0x16), s.tables.len);
	smbios_free(&s);
}

/* The string that byte `off` of the structure of that type refers to. */
static const char *smbios_string(const struct bytes *t, uint8_t type, unsigned off)
{
	for (size_t i = 0; i < t->len;) {
		const uint8_t *p = t->p + i;
		size_t s = i + p[1];

		for (unsigned n = 1; p[0] == type && n < p[off]; n++)
			s += strlen((char *)t->p + s) + 1;
		if (p[0] == type)
			return p[off] ? (char *)t->p + s : "";
		while (t->p[s] || t->p[s + 1])
			s++;
		i = s + 2;
	}
	fail();
	return NULL;
}

static void test_smbios_fields(void **state)
{
	static const char *const oem[] = { "io.systemd.credential:a=b", "", "third" };
	static const uint8_t chassis[] = { 3, 6, 0, 3, 1, 0, 'C', 'h', 0, 0 };
	static const struct smbios_raw raw = { chassis, sizeof(chassis) };
	struct smbios_fields f = {
		.text = { [SMBIOS_0_VENDOR] = "Vendor", [SMBIOS_1_FAMILY] = "Family",
			  [SMBIOS_2_LOCATION] = "Here", [SMBIOS_4_SOCKET] = "Slot",
			  [SMBIOS_17_LOCATOR] = "Bank" },
		.has_release = true, .release = { 3, 7 }, .uefi = true, .has_board = true,
		.cpu_speed = 3100, .dimm_speed = 2400,
		.oem = oem, .n_oem = 3, .raw = &raw, .n_raw = 1,
	};
	struct smbios_config cfg = { .machine = "pc", .n_cpus = 2, .uuid = { 1, 2, 3, 4 },
				     .fields = &f };
	struct smbios s;

	ram_split(&cfg.ram, GiB, board_pc.ram_threshold, board_pc.ram_low);
	assert_int_equal(smbios_check(&cfg, NULL), 0);
	smbios_build(&s, &cfg);
	assert_string_equal(smbios_string(&s.tables, 0, 4), "Vendor");
	assert_string_equal(smbios_string(&s.tables, 0, 5), DOPPEL_VERSION);
	assert_string_equal(smbios_string(&s.tables, 1, 4), "doppel");
	assert_string_equal(smbios_string(&s.tables, 1, 5), "pc");
	assert_string_equal(smbios_string(&s.tables, 1, 7), "");
	assert_string_equal(smbios_string(&s.tables, 1, 26), "Family");
	assert_string_equal(smbios_string(&s.tables, 2, 10), "Here");
	assert_string_equal(smbios_string(&s.tables, 3, 4), "Ch"); /* the only one */
	assert_string_equal(smbios_string(&s.tables, 4, 4), "Slot0");
	assert_string_equal(smbios_string(&s.tables, 17, 0x10), "Bank 0");
	/* An empty string cannot be stored; the count is that of the others. */
	assert_string_equal(smbios_string(&s.tables, 11, 4), "third");
	smbios_free(&s);
}

static void test_smbios_bad(void **state)
{
	static const struct smbios_raw bad[] = {
		{ "", 0 },
		{ "\3\6\0\3\1", 5 },
		{ "\3\7\0\3\1\0\0", 7 }, /* no place for its end */
		{ "\3\5\0\3\1Ch\0", 8 },   /* one zero */
		{ "\3\5\0\3\1\0\0\0", 8 }, /* something after it */
		{ "\3\3\0\3\0\0", 6 },
		{ "\177\4\0\3\0\0", 6 },   /* the end of the table */
	};
	const char *oem[SMBIOS_OEM_MAX + 1];
	struct smbios_fields f = { .n_raw = 1 };
	struct smbios_config cfg = { .machine = "pc", .n_cpus = 1, .fields = &f };
	char *text = xzalloc(SMBIOS_TABLES_MAX);

	ram_split(&cfg.ram, GiB, board_pc.ram_threshold, board_pc.ram_low);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f.raw = &bad[i];
		assert_true(smbios_check(&cfg, NULL) < 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(oem); i++)
		oem[i] = "x";
	f = (struct smbios_fields){ .oem = oem, .n_oem = SMBIOS_OEM_MAX };
	assert_int_equal(smbios_check(&cfg, NULL), 0);
	f.n_oem++;
	assert_true(smbios_check(&cfg, NULL) < 0);
	memset(text, 'x', SMBIOS_TABLES_MAX - 1);
	oem[0] = text;
	f.n_oem = 1;
	assert_true(smbios_check(&cfg, NULL) < 0);
	free(text);
}

static void write_table(const char *dir, const char *board, const uint8_t *p)
{
	char *path = xasprintf("%s/%s-%.4s.aml", dir, board, (const char *)p);
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(p, get_le32(p + 4), 1, f) != 1 || fclose(f)) {
		perror(path);
		exit(1);
	}
	free(path);
}

static void dump(const char *dir)
{
	for (int i = 0; boards[i]; i++) {
		struct acpi_tables t;
		const uint8_t *xsdt, *fadt;

		build(&t, boards[i], 2, 6 * GiB);
		acpi_place(&t, TABLES, RSDP);
		xsdt = at(&t, get_le64(t.blob[ACPI_BLOB_RSDP].p + 24));
		fadt = find(&t, "FACP");
		write_table(dir, boards[i]->name, xsdt);
		write_table(dir, boards[i]->name, at(&t, get_le32(t.blob[ACPI_BLOB_RSDP].p + 16)));
		if (get_le32(fadt + 36))
			write_table(dir, boards[i]->name, at(&t, get_le32(fadt + 36)));
		write_table(dir, boards[i]->name, at(&t, get_le32(fadt + 40)));
		for (uint32_t e = 36; e < get_le32(xsdt + 4); e += 8)
			write_table(dir, boards[i]->name, at(&t, get_le64(xsdt + e)));
		acpi_free(&t);
	}
}

/* Disassemble and compile again: no table may draw an error, no byte code a warning. */
static const char iasl_script[] =
	"cd \"$(dirname \"$0\")\" || exit 1\n"
	"fail() { cat log; echo \"in $1\"; exit 1; }\n"
	"for t in *.aml; do\n"
	"	d=${t%.aml}.dsl\n"
	"	iasl -d $t >log 2>&1 || fail $t\n"
	"	! grep -iE 'error|warning|invalid|incorrect' log || fail $t\n"
	"	! grep -v '32-bit table (V1)' $d | grep -iE '[*]{4}|invalid' || fail $d\n"
	"	iasl -p again $d >log 2>&1 || fail $d\n"
	"	case $t in *DSDT*) grep -q ' 0 Errors, 0 Warnings' log || fail $d ;; esac\n"
	"done\n";

static void test_iasl(void **state)
{
	char dir[] = "/tmp/doppel-acpi-XXXXXX", *path, *command;
	FILE *f;

	if (system("command -v iasl >/dev/null 2>&1"))
		skip();
	assert_non_null(mkdtemp(dir));
	dump(dir);
	path = xasprintf("%s/run", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(iasl_script, f) >= 0);
	fclose(f);
	command = xasprintf("sh %s && rm -r %s", path, dir);
	assert_int_equal(system(command), 0);
	free(command);
	free(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ecam), cmocka_unit_test(test_pm_moves),
		cmocka_unit_test(test_pci_space),
		cmocka_unit_test(test_placed), cmocka_unit_test(test_madt),
		cmocka_unit_test(test_script), cmocka_unit_test(test_aml),
		cmocka_unit_test(test_reduced), cmocka_unit_test(test_mptable),
		cmocka_unit_test(test_smbios), cmocka_unit_test(test_smbios_fields),
		cmocka_unit_test(test_smbios_bad), cmocka_unit_test(test_iasl),
	};

	if (argc == 2) {
		dump(argv[1]);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
