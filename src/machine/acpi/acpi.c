/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/acpi/acpi.h"
#include <string.h>
#include "base/base.h"
#include "dev/acpi/pm.h"
#include "dev/irq/ioapic.h"
#include "dev/timer/hpet.h"

#define LAPIC_BASE 0xfee00000u
#define RTC_CENTURY_INDEX 0x32

/* FADT (5.2.9): flags and boot architecture flags that we set. */
#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_NO_FIXED_SLEEP_BUTTON BIT(5)
#define FADT_RESET_REG_SUP BIT(10)
#define FADT_PLATFORM_CLOCK BIT(15)
#define BOOT_ARCH_LEGACY_DEVICES BIT(0)
#define BOOT_ARCH_8042 BIT(1)
#define BOOT_ARCH_NO_VGA BIT(2)
#define SLP_LATENCY_NONE 0xfff /* C2, C3 not supported */

/* Interrupt source override flags: level, active high. */
#define MPS_LEVEL_HIGH 0xd

static void add_pointer(struct acpi_tables *t, enum acpi_blob in, size_t off, uint8_t size)
{
	bug_on(t->n_pointers == ACPI_FIXUPS);
	t->pointer[t->n_pointers++] =
		(struct acpi_pointer){ in, ACPI_BLOB_TABLES, (uint32_t)off, size };
}

static void add_sum(struct acpi_tables *t, enum acpi_blob in, size_t off, size_t start, size_t len)
{
	bug_on(t->n_sums == ACPI_FIXUPS);
	t->sum[t->n_sums++] =
		(struct acpi_sum){ in, (uint32_t)off, (uint32_t)start, (uint32_t)len };
}

/* System description table header (5.2.6); the length comes with table_end. */
static size_t table_begin(struct acpi_tables *t, const char *sig, uint8_t revision)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start;

	bytes_align(b, 16);
	start = b->len;
	bytes_pad_str(b, sig, 4, ' ');
	bytes_u32(b, 0);
	bytes_u8(b, revision);
	bytes_u8(b, 0);
	bytes_pad_str(b, "DOPPEL", 6, ' ');
	bytes_pad_str(b, "DOPPELPC", 8, ' ');
	bytes_u32(b, 1);
	bytes_pad_str(b, "DOPL", 4, ' ');
	bytes_u32(b, 1);
	return start;
}

static void table_end(struct acpi_tables *t, size_t start)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];

	put_le32(b->p + start + 4, (uint32_t)(b->len - start));
	add_sum(t, ACPI_BLOB_TABLES, start + 9, start, b->len - start);
}

static size_t build_facs(struct acpi_tables *t)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start;

	bytes_align(b, 64);
	start = b->len;
	bytes_str(b, "FACS");
	bytes_u32(b, 64);
	bytes_zero(b, 24);
	bytes_u8(b, 1); /* version, at offset 32 */
	bytes_zero(b, 31);
	return start;
}

static size_t build_dsdt(struct acpi_tables *t, const struct acpi_config *cfg)
{
	size_t start = table_begin(t, "DSDT", 2); /* 2: integers of 64 bits */

	if (cfg->board->reduced)
		acpi_reduced_dsdt_body(&t->blob[ACPI_BLOB_TABLES], cfg);
	else
		acpi_dsdt_body(&t->blob[ACPI_BLOB_TABLES], cfg);
	table_end(t, start);
	return start;
}

/* Generic address structure (5.2.3.2) in I/O space. */
static void put_gas_io(uint8_t *p, uint16_t port, unsigned bits, unsigned access)
{
	p[0] = 1;
	p[1] = (uint8_t)bits;
	p[2] = 0;
	p[3] = (uint8_t)access;
	put_le64(p + 4, port);
}

uint16_t acpi_pm_port(const struct acpi_config *cfg, uint16_t port)
{
	const struct acpi_board *bd = cfg->board;

	if (!cfg->pm_base || port < bd->pm_base || port - bd->pm_base >= bd->pm_len)
		return port;
	return (uint16_t)(cfg->pm_base + (port - bd->pm_base));
}

static void fadt_registers(uint8_t *f, const struct acpi_config *cfg)
{
	const struct acpi_board *bd = cfg->board;
	uint16_t evt = acpi_pm_port(cfg, bd->pm_evt), cnt = acpi_pm_port(cfg, bd->pm_cnt);
	uint16_t tmr = acpi_pm_port(cfg, bd->pm_tmr), gpe = acpi_pm_port(cfg, bd->gpe);

	put_le16(f + 46, ACPI_SCI_IRQ);
	put_le32(f + 48, ACPI_SMI_CMD);
	f[52] = ACPI_CMD_ENABLE;
	f[53] = ACPI_CMD_DISABLE;
	put_le32(f + 56, evt);
	put_le32(f + 64, cnt);
	put_le32(f + 76, tmr);
	put_le32(f + 80, gpe);
	f[88] = 4;
	f[89] = 2;
	f[91] = 4;
	f[92] = bd->gpe_len;
	put_gas_io(f + 116, bd->reset_port, 8, 1);
	f[128] = bd->reset_value;
	put_gas_io(f + 148, evt, 32, 2);
	put_gas_io(f + 172, cnt, 16, 2);
	put_gas_io(f + 208, tmr, 32, 3);
	put_gas_io(f + 220, gpe, bd->gpe_len * 8u, 1);
}

/* Fixed ACPI description table of ACPI 2.0 (revision 3, 244 bytes): what all guests since know. */
static size_t build_fadt(struct acpi_tables *t, const struct acpi_config *cfg, size_t facs,
			 size_t dsdt)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start = table_begin(t, "FACP", 3);
	uint8_t *f;

	bytes_zero(b, 244 - (b->len - start));
	f = b->p + start;
	put_le32(f + 36, (uint32_t)facs);
	put_le32(f + 40, (uint32_t)dsdt);
	put_le64(f + 132, facs);
	put_le64(f + 140, dsdt);
	add_pointer(t, ACPI_BLOB_TABLES, start + 36, 4);
	add_pointer(t, ACPI_BLOB_TABLES, start + 40, 4);
	add_pointer(t, ACPI_BLOB_TABLES, start + 132, 8);
	add_pointer(t, ACPI_BLOB_TABLES, start + 140, 8);
	f[45] = 1; /* desktop */
	fadt_registers(f, cfg);
	put_le16(f + 96, SLP_LATENCY_NONE);
	put_le16(f + 98, SLP_LATENCY_NONE);
	f[108] = RTC_CENTURY_INDEX;
	put_le16(f + 109, BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_8042 |
				  (cfg->vga ? 0 : BOOT_ARCH_NO_VGA));
	put_le32(f + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_FIXED_SLEEP_BUTTON |
				  FADT_RESET_REG_SUP | FADT_PLATFORM_CLOCK);
	table_end(t, start);
	return start;
}

/* Of ACPI 6.0, with the registers of a hardware-reduced board; there is no FACS. */
static size_t build_reduced_fadt(struct acpi_tables *t, size_t dsdt)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start = table_begin(t, "FACP", 6);

	bytes_zero(b, ACPI_FADT6_SIZE - (b->len - start));
	acpi_reduced_fadt(b->p + start);
	put_le64(b->p + start + 140, dsdt);
	put_le32(b->p + start + 40, (uint32_t)dsdt);
	add_pointer(t, ACPI_BLOB_TABLES, start + 40, 4);
	add_pointer(t, ACPI_BLOB_TABLES, start + 140, 8);
	table_end(t, start);
	return start;
}

static void madt_override(struct bytes *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	bytes_u8(b, 2);
	bytes_u8(b, 10);
	bytes_u8(b, 0); /* ISA */
	bytes_u8(b, irq);
	bytes_u32(b, gsi);
	bytes_u16(b, flags);
}

static void madt_cpus(struct bytes *b, unsigned n_cpus)
{
	for (unsigned i = 0; i < n_cpus; i++) {
		if (i < 255) { /* local APIC */
			bytes_u8(b, 0);
			bytes_u8(b, 8);
			bytes_u8(b, (uint8_t)i);
			bytes_u8(b, (uint8_t)i);
			bytes_u32(b, 1);
		} else { /* local x2APIC */
			bytes_u8(b, 9);
			bytes_u8(b, 16);
			bytes_u16(b, 0);
			bytes_u32(b, i);
			bytes_u32(b, 1);
			bytes_u32(b, i);
		}
	}
}

/* LINT1 of every processor is NMI. */
static void madt_nmis(struct bytes *b, unsigned n_cpus)
{
	bytes_u8(b, 4);
	bytes_u8(b, 6);
	bytes_u8(b, 0xff);
	bytes_u16(b, 0);
	bytes_u8(b, 1);
	if (n_cpus > 255) {
		bytes_u8(b, 10);
		bytes_u8(b, 12);
		bytes_u16(b, 0);
		bytes_u32(b, UINT32_MAX);
		bytes_u8(b, 1);
		bytes_zero(b, 3);
	}
}

static void madt_ioapic(struct bytes *b, uint8_t id, uint32_t base, uint32_t gsi)
{
	bytes_u8(b, 1);
	bytes_u8(b, 12);
	bytes_u8(b, id);
	bytes_u8(b, 0);
	bytes_u32(b, base);
	bytes_u32(b, gsi);
}

static size_t build_madt(struct acpi_tables *t, const struct acpi_config *cfg)
{
	static const uint8_t level_irqs[] = { 5, 9, 10, 11 }; /* PCI's and SCI */
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start = table_begin(t, "APIC", 3);

	bytes_u32(b, LAPIC_BASE);
	bytes_u32(b, !cfg->no_pic); /* dual 8259 present */
	madt_cpus(b, cfg->n_cpus);
	madt_ioapic(b, 0, IOAPIC_BASE, 0);
	if (cfg->ioapic2)
		madt_ioapic(b, 1, IOAPIC2_BASE, IOAPIC_PINS);
	madt_override(b, 0, 2, 0);
	for (size_t i = 0; i < sizeof(level_irqs) && !cfg->board->reduced; i++)
		madt_override(b, level_irqs[i], level_irqs[i], MPS_LEVEL_HIGH);
	madt_nmis(b, cfg->n_cpus);
	table_end(t, start);
	return start;
}

static size_t build_hpet(struct acpi_tables *t)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start = table_begin(t, "HPET", 1);

	bytes_u32(b, hpet_block_id());
	bytes_u8(b, 0); /* memory */
	bytes_u8(b, 0);
	bytes_u8(b, 0);
	bytes_u8(b, 0);
	bytes_u64(b, HPET_BASE);
	bytes_u8(b, 0); /* HPET number */
	bytes_u16(b, 0); /* minimum tick */
	bytes_u8(b, 0);
	table_end(t, start);
	return start;
}

/* PCI firmware specification 3.0 4.1.2. */
static size_t build_mcfg(struct acpi_tables *t, const struct acpi_config *cfg)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start = table_begin(t, "MCFG", 1);

	bytes_u64(b, 0);
	bytes_u64(b, cfg->ecam_base);
	bytes_u16(b, 0);
	bytes_u8(b, 0);
	bytes_u8(b, (uint8_t)((cfg->board->ecam_size >> 20) - 1));
	bytes_u32(b, 0);
	table_end(t, start);
	return start;
}

/* Windows ACPI emulated devices table: one read of the PM timer suffices. */
static size_t build_waet(struct acpi_tables *t)
{
	size_t start = table_begin(t, "WAET", 1);

	bytes_u32(&t->blob[ACPI_BLOB_TABLES], 2);
	table_end(t, start);
	return start;
}

/* RSDT (entry_size 4) or XSDT (8). */
static size_t build_root(struct acpi_tables *t, uint8_t entry_size, const size_t *tables,
			 unsigned n)
{
	struct bytes *b = &t->blob[ACPI_BLOB_TABLES];
	size_t start = table_begin(t, entry_size == 4 ? "RSDT" : "XSDT", 1);

	for (unsigned i = 0; i < n; i++) {
		uint64_t v = tables[i];

		add_pointer(t, ACPI_BLOB_TABLES, b->len, entry_size);
		bytes_put(b, &v, entry_size);
	}
	table_end(t, start);
	return start;
}

static void build_rsdp(struct acpi_tables *t, size_t rsdt, size_t xsdt)
{
	struct bytes *b = &t->blob[ACPI_BLOB_RSDP];

	bytes_str(b, "RSD PTR ");
	bytes_u8(b, 0);
	bytes_str(b, "DOPPEL");
	bytes_u8(b, 2);
	add_pointer(t, ACPI_BLOB_RSDP, b->len, 4);
	bytes_u32(b, (uint32_t)rsdt);
	bytes_u32(b, 36);
	add_pointer(t, ACPI_BLOB_RSDP, b->len, 8);
	bytes_u64(b, xsdt);
	bytes_zero(b, 4);
	add_sum(t, ACPI_BLOB_RSDP, 8, 0, 20);
	add_sum(t, ACPI_BLOB_RSDP, 32, 0, 36);
}

void acpi_build(struct acpi_tables *t, const struct acpi_config *cfg)
{
	bool reduced = cfg->board->reduced;
	size_t list[8], facs = 0, dsdt, rsdt;
	unsigned n = 0;

	*t = (struct acpi_tables){ 0 };
	if (!reduced)
		facs = build_facs(t);
	dsdt = build_dsdt(t, cfg);
	list[n++] = reduced ? build_reduced_fadt(t, dsdt) : build_fadt(t, cfg, facs, dsdt);
	list[n++] = build_madt(t, cfg);
	if (!reduced)
		list[n++] = build_hpet(t);
	if (cfg->board->ecam_size)
		list[n++] = build_mcfg(t, cfg);
	if (!reduced)
		list[n++] = build_waet(t);
	rsdt = build_root(t, 4, list, n);
	build_rsdp(t, rsdt, build_root(t, 8, list, n));
}

void acpi_free(struct acpi_tables *t)
{
	for (int i = 0; i < ACPI_BLOB_COUNT; i++)
		bytes_free(&t->blob[i]);
}

void acpi_place(struct acpi_tables *t, uint64_t tables, uint64_t rsdp)
{
	const uint64_t base[ACPI_BLOB_COUNT] = { tables, rsdp };

	for (unsigned i = 0; i < t->n_pointers; i++) {
		const struct acpi_pointer *p = &t->pointer[i];
		uint8_t *at = t->blob[p->in].p + p->off;
		uint64_t v = 0;

		memcpy(&v, at, p->size);
		v += base[p->to];
		memcpy(at, &v, p->size);
	}
	for (unsigned i = 0; i < t->n_sums; i++) {
		const struct acpi_sum *s = &t->sum[i];
		uint8_t *p = t->blob[s->in].p;

		p[s->off] = 0;
		p[s->off] = bytes_checksum(p + s->start, s->len);
	}
}
