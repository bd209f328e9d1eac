/* SPDX-License-Identifier: Apache-2.0 */
/* PCI configuration, BARs and interrupts; both chip sets; ACPI registers. */
#include "apics_none.h"
#include "dev_env.h"
#include "pci_card.h"

#include "dev/acpi/pm.h"
#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/pci/i440fx.h"
#include "dev/pci/pci.h"
#include "dev/pci/q35.h"

struct rig {
	struct test_env *t;
	struct apics *apics;
	struct gsi *gsi;
	struct test_wire intr;
	bool cpu_intr;
};

static const struct pam_config pam = { .ram_off = 0 };

static int setup(void **state)
{
	struct rig *r = xzalloc(sizeof(*r));

	r->t = env_open();
	r->apics = apics_create(&r->t->env, 1, &apics_none_ops, &r->cpu_intr);
	apics_write(r->apics, 0, 0xf0, 0x1ff, 4);
	r->gsi = gsi_create(&r->t->env, pic_create(&r->t->env, wire(&r->intr)),
			    ioapic_create(&r->t->env, r->apics));
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	env_close(r->t);
	free(r);
	return 0;
}

static uint32_t cfg(struct rig *r, uint8_t devfn, unsigned off, unsigned size)
{
	outl(r->t, 0xcf8, 0x80000000u | (uint32_t)devfn << 8 | (off & 0xfc));
	return pio_read(r->t->env.mem, (uint16_t)(0xcfc + (off & 3)), size);
}

static void cfg_put(struct rig *r, uint8_t devfn, unsigned off, uint32_t v, unsigned size)
{
	outl(r->t, 0xcf8, 0x80000000u | (uint32_t)devfn << 8 | (off & 0xfc));
	pio_write(r->t->env.mem, (uint16_t)(0xcfc + (off & 3)), v, size);
}

#define CARD PCI_DEVFN(5, 0)

static void config_space(void **state)
{
	struct rig *r = *state;
	struct i440fx *f = i440fx_create(&r->t->env, r->gsi, &pam);

	card_create(i440fx_bus(f), CARD);
	assert_int_equal(cfg(r, 0, 0, 4), 0x12378086);
	assert_int_equal(cfg(r, PCI_DEVFN(1, 0), 2, 2), 0x7000);
	assert_int_equal(cfg(r, PCI_DEVFN(1, 3), 2, 2), 0x7113);
	assert_int_equal(cfg(r, CARD, 0, 4), 0x12341af4);
	assert_int_equal(cfg(r, PCI_DEVFN(6, 0), 0, 4), 0xffffffff);
	outl(r->t, 0xcf8, 0x80010000);
	assert_int_equal(inl(r->t, 0xcfc), 0xffffffff); /* bus 1 */
	outl(r->t, 0xcf8, CARD << 8);
	assert_int_equal(inl(r->t, 0xcfc), 0xffffffff); /* not enabled */
	cfg_put(r, CARD, 0, 0, 4);
	assert_int_equal(cfg(r, CARD, 0, 4), 0x12341af4);
	/* Capabilities: 0x40 then 0x50. */
	assert_true(cfg(r, CARD, 6, 2) & 0x10);
	assert_int_equal(cfg(r, CARD, 0x34, 1), 0x40);
	assert_int_equal(cfg(r, CARD, 0x40, 2), 0x5009);
	assert_int_equal(cfg(r, CARD, 0x50, 2), 0x0009);
	assert_int_equal(pci_bus_free_slot(i440fx_bus(f), 2), 2);
	assert_int_equal(pci_bus_free_slot(i440fx_bus(f), 5), 6);
}

static void bars(void **state)
{
	struct rig *r = *state;
	struct i440fx *f = i440fx_create(&r->t->env, r->gsi, &pam);
	struct card *c = card_create(i440fx_bus(f), CARD);

	cfg_put(r, CARD, 4, 3, 2);
	cfg_put(r, CARD, 0x10, 0xffffffff, 4);
	assert_int_equal(cfg(r, CARD, 0x10, 4), 0xfffff000);
	cfg_put(r, CARD, 0x14, 0xffffffff, 4);
	assert_int_equal(cfg(r, CARD, 0x14, 4), 0xffffffe1);
	cfg_put(r, CARD, 0x18, 0xffffffff, 4);
	cfg_put(r, CARD, 0x1c, 0xffffffff, 4);
	assert_int_equal(cfg(r, CARD, 0x18, 4), 0xfff0000c);
	assert_int_equal(cfg(r, CARD, 0x1c, 4), 0xffffffff);
	assert_int_equal(rd32(r->t, 0xfffff000), 0xffffffff); /* sizing maps nothing */
	cfg_put(r, CARD, 0x10, 0xe0000000, 4);
	assert_int_equal(rd32(r->t, 0xe0000010), 0xc0de0010);
	wr32(r->t, 0xe0000020, 77);
	assert_int_equal(c->last, 77);
	cfg_put(r, CARD, 0x10, 0xe1000000, 4); /* moved */
	assert_int_equal(rd32(r->t, 0xe0000010), 0xffffffff);
	assert_int_equal(rd32(r->t, 0xe1000010), 0xc0de0010);
	cfg_put(r, CARD, 0x14, 0xc100, 4);
	assert_int_equal(inl(r->t, 0xc104), 0xc0de0004);
	cfg_put(r, CARD, 0x18, 0, 4);
	cfg_put(r, CARD, 0x1c, 0x10, 4);
	assert_int_equal(rd32(r->t, UINT64_C(0x1000000004)), 0xc0de0004);
	cfg_put(r, CARD, 4, 1, 2); /* memory off, I/O on */
	assert_int_equal(rd32(r->t, 0xe1000010), 0xffffffff);
	assert_int_equal(inl(r->t, 0xc104), 0xc0de0004);
	cfg_put(r, CARD, 4, 3, 2);
	cfg_put(r, CARD, 0x10, 0x1000, 4); /* over RAM: RAM wins */
	wr32(r->t, 0x1000, 5);
	assert_int_equal(rd32(r->t, 0x1000), 5);
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	assert_int_equal(inl(r->t, 0xc104), 0xffffffff);
	assert_int_equal(cfg(r, CARD, 0x14, 4), 1);
	lock_take(&r->t->lock);
	i440fx_setup(f, &pci_space);
	lock_drop(&r->t->lock);
	assert_int_equal(cfg(r, CARD, 4, 2), 7);
	assert_int_equal(rd32(r->t, cfg(r, CARD, 0x10, 4) + 0x10), 0xc0de0010);
	assert_int_equal(inl(r->t, (uint16_t)(cfg(r, CARD, 0x14, 4) & ~3u)), 0xc0de0000);
	assert_int_equal(cfg(r, CARD, 0x3c, 1), 10); /* slot 5 pin A: PIRQ A */
}

static void card_irq(struct rig *r, struct card *c, bool level)
{
	lock_take(&r->t->lock);
	pci_dev_irq(&c->pci, level);
	lock_drop(&r->t->lock);
}

static void pc_interrupts(void **state)
{
	struct rig *r = *state;
	struct i440fx *f = i440fx_create(&r->t->env, r->gsi, &pam);
	struct card *c = card_create(i440fx_bus(f), CARD);
	struct card *d = card_create(i440fx_bus(f), PCI_DEVFN(9, 0)); /* the same PIRQ */

	lock_take(&r->t->lock);
	i440fx_setup(f, &pci_space);
	lock_drop(&r->t->lock);
	wr32(r->t, IOAPIC_BASE, 0x10 + 20);
	wr32(r->t, IOAPIC_BASE + 0x10, 0x8000 | 0x5a); /* pin 10 */
	card_irq(r, c, true);
	card_irq(r, d, true);
	assert_true(cfg(r, CARD, 6, 2) & 8);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x5a);
	card_irq(r, c, false);
	apics_write(r->apics, 0, 0xb0, 0, 4);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x5a); /* d still asks */
	cfg_put(r, PCI_DEVFN(9, 0), 4, 0x400, 2);	      /* INTx disable */
	apics_write(r->apics, 0, 0xb0, 0, 4);
	assert_int_equal(apics_intr_ack(r->apics, 0), -1);
	cfg_put(r, PCI_DEVFN(9, 0), 4, 0, 2);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x5a);
	cfg_put(r, PCI_DEVFN(1, 0), 0x60, 0x80, 1); /* not routed any more */
	apics_write(r->apics, 0, 0xb0, 0, 4);
	assert_int_equal(apics_intr_ack(r->apics, 0), -1);
}

static void q35_board(void **state)
{
	struct rig *r = *state;
	struct q35 *q = q35_create(&r->t->env, r->gsi, &pam);
	struct card *c = card_create(q35_bus(q), PCI_DEVFN(3, 0));
	uint64_t ecam = Q35_ECAM_BASE, lpc = ecam + (UINT64_C(0xf8) << 12);

	assert_int_equal(rd32(r->t, ecam), 0xffffffff);
	lock_take(&r->t->lock);
	q35_setup(q, &pci_space);
	lock_drop(&r->t->lock);
	assert_int_equal(rd32(r->t, ecam), 0x29c08086);
	assert_int_equal(rd32(r->t, lpc), 0x29188086);
	assert_int_equal(mem_read(r->t->env.mem, GPA(lpc + 2), 2), 0x2918);
	assert_int_equal(rd32(r->t, ecam + 0x100), 0xffffffff);
	assert_int_equal(rd32(r->t, ecam + (1 << 20)), 0xffffffff);
	wr32(r->t, ecam + (3 << 15) + 0x10, 0xc8000000);
	assert_int_equal(rd32(r->t, 0xc8000004), 0xc0de0004);
	/* Slot 3 pin A: PIRQ H, GSI 23. */
	wr32(r->t, IOAPIC_BASE, 0x10 + 46);
	wr32(r->t, IOAPIC_BASE + 0x10, 0x8000 | 0x5b);
	card_irq(r, c, true);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x5b);
	card_irq(r, c, false);
	/* 64 MiB at another place, then off. */
	cfg_put(r, 0, 0x60, 0xe4000000 | 4 | 1, 4);
	assert_int_equal(rd32(r->t, 0xe4000000), 0x29c08086);
	assert_int_equal(rd32(r->t, ecam), 0xffffffff);
	cfg_put(r, 0, 0x60, 0xe4000000, 4);
	assert_int_equal(rd32(r->t, 0xe4000000), 0xffffffff);
}

static void reset_control(void **state)
{
	struct rig *r = *state;

	i440fx_create(&r->t->env, r->gsi, &pam);
	outl(r->t, 0xcf8, 0x80000000);
	outb(r->t, 0xcf9, 0x02);
	assert_int_equal(inb(r->t, 0xcf9), 0x02);
	assert_int_equal(inl(r->t, 0xcf8), 0x80000000);
	assert_int_equal(r->t->resets, 0);
	outb(r->t, 0xcf9, 0x06);
	assert_int_equal(r->t->resets, 1);
}

static void shadow(void **state)
{
	struct rig *r = *state;
	struct mem *mem = r->t->env.mem;
	uint64_t rom = mem_ram_alloc(mem, 128 * KiB);

	memset(mem_ram_base(mem) + rom, 0x42, 128 * KiB);
	mem_map_rom(mem, GPA(0xe0000), 128 * KiB, rom, NULL, 0);
	i440fx_create(&r->t->env, r->gsi, &pam);
	wr32(r->t, 0xf0000, 1);
	wr32(r->t, 0xc0000, 1);
	assert_int_equal(rd32(r->t, 0xf0000), 0x42424242);
	assert_int_equal(rd32(r->t, 0xc0000), 0xffffffff);
	cfg_put(r, 0, 0x59, 0x20, 1); /* write only: reads are ROM */
	wr32(r->t, 0xf0004, 0x11223344);
	assert_int_equal(rd32(r->t, 0xf0004), 0x42424242);
	cfg_put(r, 0, 0x59, 0x10, 1); /* read only */
	assert_int_equal(rd32(r->t, 0xf0004), 0x11223344);
	wr32(r->t, 0xf0004, 9);
	assert_int_equal(rd32(r->t, 0xf0004), 0x11223344);
	assert_int_equal(rd32(r->t, 0xe0000), 0x42424242);
	cfg_put(r, 0, 0x59, 0x30, 1);
	wr32(r->t, 0xf0004, 9);
	assert_int_equal(rd32(r->t, 0xf0004), 9);
	cfg_put(r, 0, 0x5a, 0x02, 1); /* 0xc0000, write only, nothing below */
	wr32(r->t, 0xc0000, 8);
	assert_int_equal(rd32(r->t, 0xc0000), 0xffffffff);
	cfg_put(r, 0, 0x5a, 0x03, 1);
	assert_int_equal(rd32(r->t, 0xc0000), 8);
	assert_int_equal(rd32(r->t, 0xc4000), 0xffffffff);
}

static void check_smram(struct rig *r, unsigned reg)
{
	assert_int_equal(cfg(r, 0, reg, 1), 0x02);
	cfg_put(r, 0, reg, 0xff, 1); /* D_LCK closes D_OPEN */
	assert_int_equal(cfg(r, 0, reg, 1), 0x3a);
	cfg_put(r, 0, reg, 0x48, 1); /* only D_CLS can be changed still */
	assert_int_equal(cfg(r, 0, reg, 1), 0x1a);
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	cfg_put(r, 0, reg, 0x48, 1);
	assert_int_equal(cfg(r, 0, reg, 1), 0x4a);
}

static void smram_pc(void **state)
{
	struct rig *r = *state;

	i440fx_create(&r->t->env, r->gsi, &pam);
	check_smram(r, 0x72);
}

static void smram_q35(void **state)
{
	struct rig *r = *state;

	q35_create(&r->t->env, r->gsi, &pam);
	check_smram(r, 0x9d);
}

static void acpi(void **state)
{
	struct rig *r = *state;
	struct i440fx *f = i440fx_create(&r->t->env, r->gsi, &pam);
	uint16_t pm = I440FX_PM_BASE;
	uint32_t a, b;

	assert_int_equal(inl(r->t, pm), 0xffffffff);
	lock_take(&r->t->lock);
	i440fx_setup(f, &pci_space);
	lock_drop(&r->t->lock);
	outb(r->t, 0xb2, ACPI_CMD_DISABLE);
	assert_int_equal(inw(r->t, pm + 4), 0);
	outb(r->t, 0xb2, ACPI_CMD_ENABLE);
	assert_int_equal(inw(r->t, pm + 4), 1);
	a = inl(r->t, pm + 8);
	run_ms(r->t, 2);
	b = inl(r->t, pm + 8);
	assert_in_range((b - a) & 0xffffff, 7000, 4000000);
	/* Power button to SCI (pin 9). */
	wr32(r->t, IOAPIC_BASE, 0x10 + 18);
	wr32(r->t, IOAPIC_BASE + 0x10, 0x8000 | 0x59);
	outw(r->t, pm + 2, 0x0100);
	lock_take(&r->t->lock);
	acpi_pm_power_button(i440fx_pm(f));
	lock_drop(&r->t->lock);
	assert_int_equal(inw(r->t, pm), 0x0100);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x59);
	outw(r->t, pm, 0x0100);
	apics_write(r->apics, 0, 0xb0, 0, 4);
	assert_int_equal(inw(r->t, pm), 0);
	assert_int_equal(apics_intr_ack(r->apics, 0), -1);
	/* GPE */
	outb(r->t, I440FX_GPE_BASE + 2, 0x02);
	lock_take(&r->t->lock);
	acpi_pm_gpe(i440fx_pm(f), 1);
	lock_drop(&r->t->lock);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x59);
	outb(r->t, I440FX_GPE_BASE, 0x02);
	apics_write(r->apics, 0, 0xb0, 0, 4);
	assert_int_equal(inb(r->t, I440FX_GPE_BASE), 0);
	/* Sleep: an unknown type is nothing, S5 is off. */
	outw(r->t, pm + 4, 0x2001 | 3 << 10);
	assert_int_equal(r->t->poweroffs, 0);
	outw(r->t, pm + 4, 0x2001 | ACPI_SLP_TYP_S5 << 10);
	assert_int_equal(r->t->poweroffs, 1);
	assert_false(inw(r->t, pm + 4) & 0x2000);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(config_space), T(bars), T(pc_interrupts), T(q35_board), T(reset_control),
		T(shadow), T(acpi), T(smram_pc), T(smram_q35),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
