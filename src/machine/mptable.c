/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MP specification 1.4, chapter 4: a floating pointer, a header, and entries of 20 bytes for
 * processors and 8 for all else.  There is one bus, ISA; its IRQs go to the pins of their number,
 * IRQ 0 to pin 2.  Pins of the I/O APICs past 15 are told of as interrupts of the same bus.
 */
#include "machine/mptable.h"
#include "base/base.h"
#include "dev/irq/ioapic.h"

#define LAPIC_BASE 0xfee00000u
#define LAPIC_VERSION 0x14
#define IOAPIC_VERSION 0x20
#define POINTER_SIZE 16
#define BUS_ISA_ID 0
#define LEVEL_HIGH 0xd

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_IRQ, ENTRY_LOCAL_IRQ };
enum { IRQ_INT = 0, IRQ_NMI = 1, IRQ_EXTINT = 3 };

/* IDs of I/O APICs: past those of processors as far as that goes. */
static uint8_t ioapic_id(const struct mptable_config *cfg, unsigned n)
{
	return (uint8_t)(min_u64(cfg->n_cpus, 253) + n);
}

static void cpu(struct bytes *b, unsigned id)
{
	bytes_u8(b, ENTRY_CPU);
	bytes_u8(b, (uint8_t)id);
	bytes_u8(b, LAPIC_VERSION);
	bytes_u8(b, id ? 1 : 3); /* enabled; the bootstrap processor */
	bytes_u32(b, 0x600);
	bytes_u32(b, 0x201); /* FPU, APIC */
	bytes_zero(b, 8);
}

static void ioapic(struct bytes *b, uint8_t id, uint32_t base)
{
	bytes_u8(b, ENTRY_IOAPIC);
	bytes_u8(b, id);
	bytes_u8(b, IOAPIC_VERSION);
	bytes_u8(b, 1);
	bytes_u32(b, base);
}

static void irq(struct bytes *b, uint8_t entry, uint8_t type, uint16_t flags, unsigned source,
		uint8_t to, unsigned pin)
{
	bytes_u8(b, entry);
	bytes_u8(b, type);
	bytes_u16(b, flags);
	bytes_u8(b, BUS_ISA_ID);
	bytes_u8(b, (uint8_t)source);
	bytes_u8(b, to);
	bytes_u8(b, (uint8_t)pin);
}

static unsigned pins(struct bytes *b, const struct mptable_config *cfg)
{
	unsigned count = 0;

	for (unsigned n = 0; n < (cfg->ioapic2 ? 2u : 1u) * IOAPIC_PINS; n++) {
		bool level = n >= cfg->level_first && n - cfg->level_first < cfg->level_n;

		if (n == 2 || (n >= 16 && !level)) /* the cascade; nothing is there */
			continue;
		irq(b, ENTRY_IRQ, IRQ_INT, level ? LEVEL_HIGH : 0, n,
		    ioapic_id(cfg, n / IOAPIC_PINS), n ? n % IOAPIC_PINS : 2);
		count++;
	}
	return count;
}

static void table(struct bytes *b, const struct mptable_config *cfg)
{
	size_t start = b->len;
	unsigned n_cpus = (unsigned)min_u64(cfg->n_cpus, 255), n = n_cpus + 4;

	bytes_str(b, "PCMP");
	bytes_zero(b, 2);
	bytes_u8(b, 4); /* 1.4 */
	bytes_u8(b, 0);
	bytes_pad_str(b, "DOPPEL", 8, ' ');
	bytes_pad_str(b, "MICROVM", 12, ' ');
	bytes_zero(b, 8);
	bytes_u32(b, LAPIC_BASE);
	bytes_zero(b, 4);
	for (unsigned i = 0; i < n_cpus; i++)
		cpu(b, i);
	bytes_u8(b, ENTRY_BUS);
	bytes_u8(b, BUS_ISA_ID);
	bytes_pad_str(b, "ISA", 6, ' ');
	ioapic(b, ioapic_id(cfg, 0), IOAPIC_BASE);
	if (cfg->ioapic2) {
		ioapic(b, ioapic_id(cfg, 1), IOAPIC2_BASE);
		n++;
	}
	n += pins(b, cfg);
	irq(b, ENTRY_LOCAL_IRQ, IRQ_EXTINT, 0, 0, 0xff, 0);
	irq(b, ENTRY_LOCAL_IRQ, IRQ_NMI, 0, 0, 0xff, 1);
	put_le16(b->p + start + 4, (uint16_t)(b->len - start));
	put_le16(b->p + start + 34, (uint16_t)n);
	b->p[start + 7] = bytes_checksum(b->p + start, b->len - start);
}

void mptable_build(struct bytes *b, const struct mptable_config *cfg, uint32_t addr)
{
	bytes_str(b, "_MP_");
	bytes_u32(b, addr + POINTER_SIZE);
	bytes_u8(b, 1); /* of 16 bytes */
	bytes_u8(b, 4);
	bytes_zero(b, 6);
	b->p[10] = bytes_checksum(b->p, POINTER_SIZE);
	table(b, cfg);
}
