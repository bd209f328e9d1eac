/* SPDX-License-Identifier: Apache-2.0 */
/* 8259s, I/O APIC and local APICs through their registers and wires. */
#include "dev_env.h"

#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"

#define CPUS 4
#define PV_WORD 0x2000

struct rig {
	struct test_env *t;
	struct apics *apics;
	struct ioapic *ioapic;
	struct pic *pic;
	struct gsi *gsi;
	bool intr[CPUS];
	unsigned nmi[CPUS], init[CPUS], sipi[CPUS], kick[CPUS];
	uint8_t sipi_vector;
};

static void r_intr(void *o, unsigned cpu, bool level)
{
	((struct rig *)o)->intr[cpu] = level;
}

static void r_nmi(void *o, unsigned cpu)
{
	((struct rig *)o)->nmi[cpu]++;
}

static void r_init(void *o, unsigned cpu)
{
	((struct rig *)o)->init[cpu]++;
}

static void r_sipi(void *o, unsigned cpu, uint8_t vector)
{
	((struct rig *)o)->sipi[cpu]++;
	((struct rig *)o)->sipi_vector = vector;
}

static void r_kick(void *o, unsigned cpu)
{
	((struct rig *)o)->kick[cpu]++;
}

static uint64_t r_tsc(void *o, unsigned cpu)
{
	return 0;
}

static int r_pic(void *o)
{
	struct rig *r = o;
	int v;

	lock_take(&r->t->lock);
	v = pic_ack(r->pic);
	lock_drop(&r->t->lock);
	return v;
}

static const struct apics_ops rig_ops = {
	.set_intr = r_intr, .nmi = r_nmi, .init = r_init, .sipi = r_sipi, .kick = r_kick,
	.tsc_offset = r_tsc, .pic_ack = r_pic,
};

static int setup(void **state)
{
	struct rig *r = xzalloc(sizeof(*r));

	r->t = env_open();
	r->apics = apics_create(&r->t->env, CPUS, &rig_ops, r);
	r->pic = pic_create(&r->t->env, apics_extint(r->apics));
	r->ioapic = ioapic_create(&r->t->env, r->apics);
	r->gsi = gsi_create(&r->t->env, r->pic, r->ioapic);
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

/* pic_init - the usual sequence: vectors 0x20 and 0x28. */
static void pic_program(struct rig *r, uint8_t icw4)
{
	outb(r->t, 0x20, 0x11);
	outb(r->t, 0x21, 0x20);
	outb(r->t, 0x21, 0x04);
	outb(r->t, 0x21, icw4);
	outb(r->t, 0xa0, 0x11);
	outb(r->t, 0xa1, 0x28);
	outb(r->t, 0xa1, 0x02);
	outb(r->t, 0xa1, icw4);
}

static void pic_priorities(void **state)
{
	struct rig *r = *state;
	struct irq_line l3 = gsi_source(r->gsi, 3), l1 = gsi_source(r->gsi, 1);
	struct irq_line l12 = gsi_source(r->gsi, 12);

	pic_program(r, 1);
	drive(r->t, l3, true);
	assert_true(r->intr[0]);
	assert_false(r->intr[1]); /* ExtINT goes to the BSP only */
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x23);
	assert_false(r->intr[0]);
	drive(r->t, l12, true); /* slave: IR2, above IR3 */
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x2c);
	drive(r->t, l1, true);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x21);
	outb(r->t, 0x20, 0x0b);
	assert_int_equal(inb(r->t, 0x20), 0x0e); /* ISR: 1, 2, 3 */
	outb(r->t, 0x20, 0x20);
	assert_int_equal(inb(r->t, 0x20), 0x0c);
	outb(r->t, 0xa0, 0x20);
	outb(r->t, 0x20, 0x62); /* specific EOI of 2 */
	assert_int_equal(inb(r->t, 0x20), 0x08);
	assert_int_equal(apics_intr_ack(r->apics, 0), -1); /* edges are used up */
	outb(r->t, 0x20, 0x20);
	drive(r->t, l3, false);
	drive(r->t, l3, true);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x23);
}

static void pic_level_mask_spurious(void **state)
{
	struct rig *r = *state;
	struct irq_line l5 = gsi_source(r->gsi, 5);

	outb(r->t, 0x4d0, 0xff);
	assert_int_equal(inb(r->t, 0x4d0), 0xf8);
	pic_program(r, 1);
	drive(r->t, l5, true);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x25);
	outb(r->t, 0x20, 0x20);
	assert_true(r->intr[0]); /* still high */
	outb(r->t, 0x21, 0x20);
	assert_false(r->intr[0]);
	outb(r->t, 0x21, 0x00);
	assert_true(r->intr[0]);
	drive(r->t, l5, false);
	assert_false(r->intr[0]);
	assert_int_equal(r_pic(r), 0x27); /* an acknowledge that comes too late is spurious */
	outb(r->t, 0x20, 0x0b);
	assert_int_equal(inb(r->t, 0x20), 0);
}

static void pic_poll_rotate_special(void **state)
{
	struct rig *r = *state;
	struct irq_line l4 = gsi_source(r->gsi, 4), l6 = gsi_source(r->gsi, 6);

	pic_program(r, 1);
	drive(r->t, l4, true);
	outb(r->t, 0x20, 0x0c);
	assert_int_equal(inb(r->t, 0x20), 0x84);
	outb(r->t, 0x20, 0x68); /* OCW3: special mask mode */
	outb(r->t, 0x21, 0x10);
	drive(r->t, l6, true);
	assert_true(r->intr[0]); /* IR4 is in service but masked */
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x26);
	outb(r->t, 0x20, 0x48);
	outb(r->t, 0x21, 0x00);
	outb(r->t, 0x20, 0x66);
	outb(r->t, 0x20, 0xa0); /* rotate on non-specific EOI: 4 becomes lowest */
	drive(r->t, l4, false);
	drive(r->t, l6, false);
	drive(r->t, l4, true);
	drive(r->t, l6, true);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x26);
	pic_program(r, 3); /* automatic EOI */
	drive(r->t, l4, false);
	drive(r->t, l4, true);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x24);
	outb(r->t, 0x20, 0x0b);
	assert_int_equal(inb(r->t, 0x20), 0);
}

static uint32_t ard(struct rig *r, unsigned cpu, uint32_t off)
{
	return apics_read(r->apics, cpu, off, 4);
}

static void awr(struct rig *r, unsigned cpu, uint32_t off, uint32_t v)
{
	apics_write(r->apics, cpu, off, v, 4);
}

static void apics_on(struct rig *r)
{
	awr(r, 0, 0x350, 0x10000); /* no 8259 */
	for (unsigned i = 0; i < CPUS; i++) {
		awr(r, i, 0xf0, 0x1ff);
		awr(r, i, 0xd0, 1u << (24 + i));
	}
}

static void ioredir(struct rig *r, unsigned pin, uint64_t v)
{
	wr32(r->t, IOAPIC_BASE, 0x11 + 2 * pin);
	wr32(r->t, IOAPIC_BASE + 0x10, (uint32_t)(v >> 32));
	wr32(r->t, IOAPIC_BASE, 0x10 + 2 * pin);
	wr32(r->t, IOAPIC_BASE + 0x10, (uint32_t)v);
}

static uint32_t ioredir_low(struct rig *r, unsigned pin)
{
	wr32(r->t, IOAPIC_BASE, 0x10 + 2 * pin);
	return rd32(r->t, IOAPIC_BASE + 0x10);
}

static void ioapic_level(void **state)
{
	struct rig *r = *state;
	struct irq_line a = gsi_source(r->gsi, 20), b = gsi_source(r->gsi, 20);

	wr32(r->t, IOAPIC_BASE, 1);
	assert_int_equal(rd32(r->t, IOAPIC_BASE + 0x10), 0x170020);
	apics_on(r);
	ioredir(r, 20, UINT64_C(2) << 56 | 0x8000 | 0x41);
	drive(r->t, a, true);
	drive(r->t, b, true);
	assert_true(r->intr[2] && !r->intr[0]);
	assert_true(ioredir_low(r, 20) & 0x4000); /* remote IRR */
	assert_int_equal(apics_intr_ack(r->apics, 2), 0x41);
	assert_int_equal(ard(r, 2, 0x180 + 0x20) & 2, 2); /* TMR */
	drive(r->t, a, false);
	awr(r, 2, 0xb0, 0);
	assert_int_equal(apics_intr_ack(r->apics, 2), 0x41); /* b holds it */
	drive(r->t, b, false);
	awr(r, 2, 0xb0, 0);
	assert_int_equal(apics_intr_ack(r->apics, 2), -1);
	assert_false(ioredir_low(r, 20) & 0x4000);
	/* The EOI register does the same as a broadcast. */
	drive(r->t, a, true);
	assert_true(ioredir_low(r, 20) & 0x4000);
	drive(r->t, a, false);
	wr32(r->t, IOAPIC_BASE + 0x40, 0x41);
	assert_false(ioredir_low(r, 20) & 0x4000);
}

/* A second one: its pins are GSI 24 and on, and an EOI reaches both. */
static void ioapic_second(void **state)
{
	struct rig *r = *state;
	struct irq_line a, b = gsi_source(r->gsi, 20);

	assert_false(gsi_has_room(r->gsi, 24));
	gsi_add_ioapic(r->gsi, ioapic_create_second(&r->t->env, r->apics));
	assert_true(gsi_has_room(r->gsi, 47));
	assert_false(gsi_has_room(r->gsi, 48));
	a = gsi_source(r->gsi, 24 + 7);
	apics_on(r);
	ioredir(r, 20, UINT64_C(1) << 56 | 0x8000 | 0x51);
	wr32(r->t, IOAPIC2_BASE, 0x11 + 2 * 7);
	wr32(r->t, IOAPIC2_BASE + 0x10, 2u << 24);
	wr32(r->t, IOAPIC2_BASE, 0x10 + 2 * 7);
	wr32(r->t, IOAPIC2_BASE + 0x10, 0x8000 | 0x41);
	drive(r->t, a, true);
	drive(r->t, b, true);
	assert_int_equal(apics_intr_ack(r->apics, 2), 0x41);
	assert_int_equal(apics_intr_ack(r->apics, 1), 0x51);
	drive(r->t, a, false);
	drive(r->t, b, false);
	assert_true(rd32(r->t, IOAPIC2_BASE + 0x10) & 0x4000);
	awr(r, 2, 0xb0, 0);
	assert_false(rd32(r->t, IOAPIC2_BASE + 0x10) & 0x4000);
	assert_true(ioredir_low(r, 20) & 0x4000); /* another vector */
	awr(r, 1, 0xb0, 0);
	assert_false(ioredir_low(r, 20) & 0x4000);
}

static void ioapic_edge(void **state)
{
	struct rig *r = *state;
	struct irq_line l0 = gsi_source(r->gsi, 0);

	apics_on(r);
	drive(r->t, l0, true); /* masked: lost */
	ioredir(r, 2, UINT64_C(0xff) << 56 | 0x800 | 0x50); /* IRQ 0 is pin 2; logical, all */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(apics_intr_ack(r->apics, i), -1);
	drive(r->t, l0, false);
	drive(r->t, l0, true);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(apics_intr_ack(r->apics, i), 0x50);
	ioredir(r, 2, UINT64_C(6) << 56 | 0x800 | 0x100 | 0x50); /* lowest priority of 1, 2 */
	awr(r, 1, 0xb0, 0);
	awr(r, 2, 0xb0, 0);
	awr(r, 1, 0x80, 0x60);
	drive(r->t, l0, false);
	drive(r->t, l0, true);
	assert_false(r->intr[1]);
	assert_int_equal(apics_intr_ack(r->apics, 2), 0x50);
}

static void lapic_priorities(void **state)
{
	struct rig *r = *state;

	apics_on(r);
	assert_int_equal(ard(r, 3, 0x20), 3u << 24);
	apics_msi(r->apics, 0xfee00000, 0x55);
	apics_msi(r->apics, 0xfee00000, 0x71);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x71);
	assert_int_equal(ard(r, 0, 0xa0), 0x70);
	assert_int_equal(apics_intr_ack(r->apics, 0), -1); /* 0x55 is below */
	apics_msi(r->apics, 0xfee00000, 0x81);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x81);
	awr(r, 0, 0xb0, 0);
	awr(r, 0, 0xb0, 0);
	assert_true(r->intr[0]);
	apics_tpr_set(r->apics, 0, 5);
	assert_false(r->intr[0]);
	assert_int_equal(ard(r, 0, 0x80), 0x50);
	assert_int_equal(apics_tpr_get(r->apics, 0), 5);
	assert_int_equal(ard(r, 0, 0x200 + 0x20) , 1u << 0x15); /* IRR */
	apics_tpr_set(r->apics, 0, 4);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x55);
	/* Software disable: nothing is accepted, LVTs are masked. */
	awr(r, 1, 0x350, 0x700);
	awr(r, 1, 0xf0, 0xff);
	assert_true(ard(r, 1, 0x350) & 0x10000);
	apics_msi(r->apics, 0xfee01000, 0x60);
	assert_int_equal(apics_intr_ack(r->apics, 1), -1);
}

static void lapic_ipi(void **state)
{
	struct rig *r = *state;

	apics_on(r);
	awr(r, 0, 0x310, 1u << 24);
	awr(r, 0, 0x300, 0x4500); /* INIT */
	assert_int_equal(r->init[1], 1);
	assert_int_equal(ard(r, 1, 0xf0), 0xff); /* was reset */
	awr(r, 0, 0x300, 0x8500); /* INIT level de-assert */
	assert_int_equal(r->init[1], 1);
	awr(r, 0, 0x300, 0x4699);
	assert_int_equal(r->sipi[1], 1);
	assert_int_equal(r->sipi_vector, 0x99);
	awr(r, 0, 0x300, 0xc0400); /* NMI, all others */
	assert_int_equal(r->nmi[0] + r->nmi[1] * 2 + r->nmi[2] * 4 + r->nmi[3] * 8, 14);
	awr(r, 0, 0x300, 0x80033); /* all with self; CPU 1 is software disabled now */
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x33);
	assert_int_equal(apics_intr_ack(r->apics, 1), -1);
	assert_int_equal(apics_intr_ack(r->apics, 3), 0x33);
	awr(r, 0, 0x300, 0x40044); /* self */
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x44);
	/* Logical flat, then cluster. */
	awr(r, 0, 0x310, 0xcu << 24);
	awr(r, 0, 0x300, 0x855);
	assert_int_equal(apics_intr_ack(r->apics, 2), 0x55);
	assert_int_equal(apics_intr_ack(r->apics, 3), 0x55);
	awr(r, 3, 0xe0, 0x0fffffff);
	awr(r, 3, 0xd0, 0x12u << 24);
	awr(r, 0, 0x310, 0x12u << 24);
	awr(r, 0, 0x300, 0x866);
	assert_int_equal(apics_intr_ack(r->apics, 3), 0x66);
	/* Illegal vector: an error, and its interrupt. */
	awr(r, 0, 0x370, 0x88);
	awr(r, 0, 0x300, 0x40003);
	awr(r, 0, 0x280, 0);
	assert_int_equal(ard(r, 0, 0x280), 0x20);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x88);
	awr(r, 0, 0x280, 0);
	assert_int_equal(ard(r, 0, 0x280), 0);
}

static void x2apic(void **state)
{
	struct rig *r = *state;
	uint64_t v, base = 0xfee00000 | BIT(11);

	assert_int_equal(apics_base(r->apics, 0), base | BIT(8));
	assert_false(apics_rdmsr(r->apics, 2, 0x802, &v)); /* not in xAPIC mode */
	assert_false(apics_wrmsr(r->apics, 2, 0x1b, 0xfee00000 | BIT(10)));
	assert_true(apics_wrmsr(r->apics, 2, 0x1b, base | BIT(10)));
	assert_true(apics_rdmsr(r->apics, 2, 0x802, &v));
	assert_int_equal(v, 2);
	assert_true(apics_rdmsr(r->apics, 2, 0x80d, &v));
	assert_int_equal(v, 4);
	assert_false(apics_wrmsr(r->apics, 2, 0x1b, base)); /* back needs disable first */
	assert_false(apics_wrmsr(r->apics, 2, 0x80b, 1));
	assert_false(apics_wrmsr(r->apics, 2, 0x802, 1));
	assert_false(apics_wrmsr(r->apics, 2, 0x808, 0x100));
	assert_false(apics_rdmsr(r->apics, 2, 0x80e, &v));
	assert_true(apics_wrmsr(r->apics, 2, 0x80f, 0x1ff));
	assert_true(apics_wrmsr(r->apics, 2, 0x83f, 0x77));
	assert_int_equal(apics_intr_ack(r->apics, 2), 0x77);
	assert_true(apics_wrmsr(r->apics, 2, 0x80b, 0));
	assert_true(apics_wrmsr(r->apics, 2, 0x830, UINT64_C(2) << 32 | 0x45)); /* to itself */
	assert_int_equal(apics_intr_ack(r->apics, 2), 0x45);
	assert_int_equal(ard(r, 2, 0x20), 0); /* no xAPIC page any more */
	assert_true(apics_wrmsr(r->apics, 2, 0x1b, 0xfee00000));
	assert_false(apics_wrmsr(r->apics, 2, 0x1b, base | BIT(10)));
	assert_true(apics_wrmsr(r->apics, 2, 0x1b, base));
	assert_int_equal(ard(r, 2, 0xf0), 0xff);
}

static void lapic_timer(void **state)
{
	struct rig *r = *state;
	uint64_t v;
	uint32_t a, b;

	apics_on(r);
	awr(r, 0, 0x3e0, 0xb); /* divide by 1 */
	awr(r, 0, 0x320, 0x61);
	awr(r, 0, 0x380, 2000000); /* 2 ms */
	a = ard(r, 0, 0x390);
	b = ard(r, 0, 0x390);
	assert_true(a <= 2000000 && b <= a && b > 0);
	assert_false(r->intr[0]);
	wait_for(r->t, r->intr[0]);
	assert_int_equal(ard(r, 0, 0x390), 0);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x61);
	awr(r, 0, 0xb0, 0);
	run_ms(r->t, 5);
	assert_false(r->intr[0]); /* one shot */
	awr(r, 0, 0x320, 0x20062);
	awr(r, 0, 0x3e0, 0); /* divide by 2 */
	awr(r, 0, 0x380, 500000);
	for (unsigned i = 0; i < 3; i++) {
		wait_for(r->t, r->intr[0]);
		assert_int_equal(apics_intr_ack(r->apics, 0), 0x62);
		awr(r, 0, 0xb0, 0);
	}
	awr(r, 0, 0x320, 0x40063); /* TSC deadline: counts stop */
	run_ms(r->t, 3);
	assert_false(r->intr[0]);
	v = vclock_tsc(r->t->env.clock) + vclock_tsc_khz(r->t->env.clock) * UINT64_C(2);
	assert_true(apics_wrmsr(r->apics, 0, 0x6e0, v));
	wait_for(r->t, r->intr[0]);
	assert_true(vclock_tsc(r->t->env.clock) >= v);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x63);
	assert_true(apics_rdmsr(r->apics, 0, 0x6e0, &v));
	assert_int_equal(v, 0);
	awr(r, 0, 0xb0, 0);
	assert_true(apics_wrmsr(r->apics, 0, 0x6e0, 1)); /* long past: at once */
	assert_true(r->intr[0]);
}

static void pv(void **state)
{
	struct rig *r = *state;
	struct irq_line l = gsi_source(r->gsi, 21);

	apics_on(r);
	apics_pv_eoi(r->apics, 0, PV_WORD);
	apics_msi(r->apics, 0xfee00000, 0x55);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x55);
	assert_int_equal(rd32(r->t, PV_WORD), 1);
	wr32(r->t, PV_WORD, 0); /* the guest ends it */
	apics_msi(r->apics, 0xfee00000, 0x51);
	assert_true(r->intr[0]);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x51);
	/* A second one comes before the end: the guest must use the register after all. */
	apics_msi(r->apics, 0xfee00000, 0x52);
	assert_int_equal(apics_intr_ack(r->apics, 0), -1);
	assert_int_equal(rd32(r->t, PV_WORD), 0);
	assert_false(r->intr[0]);
	awr(r, 0, 0xb0, 0);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x52);
	awr(r, 0, 0xb0, 0);
	wr32(r->t, PV_WORD, 0);
	/* Level-triggered interrupts need the broadcast. */
	ioredir(r, 21, 0x8000 | 0x60);
	drive(r->t, l, true);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x60);
	assert_int_equal(rd32(r->t, PV_WORD), 0);
	drive(r->t, l, false);
	awr(r, 0, 0xb0, 0);
	/* An address that is no RAM is harmless. */
	apics_pv_eoi(r->apics, 0, IOAPIC_BASE);
	apics_msi(r->apics, 0xfee00000, 0x55);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x55);
	awr(r, 0, 0xb0, 0);
	assert_int_equal(ard(r, 0, 0xa0), 0);
	assert_int_equal(apics_pv_ipi(r->apics, 0xff, 0, 1, 0x70), 3);
	assert_false(r->intr[0]);
	assert_true(r->intr[1] && r->intr[2] && r->intr[3]);
	assert_true(apics_pv_ipi(r->apics, 1, 0, 0, 0x40070) < 0);
	assert_int_equal(apics_pv_ipi(r->apics, ~UINT64_C(0), ~UINT64_C(0), ~0u, 0x70), 0);
	apics_pv_kick(r->apics, 3);
	apics_pv_kick(r->apics, 99);
	assert_int_equal(r->kick[3], 1);
}

static void msi_window(void **state)
{
	struct rig *r = *state;

	apics_on(r);
	wr32(r->t, 0xfee03000, 0x4099);
	assert_int_equal(apics_intr_ack(r->apics, 3), 0x99);
	assert_int_equal(rd32(r->t, 0xfee03000), 0xffffffff);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(pic_priorities), T(pic_level_mask_spurious), T(pic_poll_rotate_special),
		T(ioapic_level), T(ioapic_second), T(ioapic_edge), T(lapic_priorities), T(lapic_ipi), T(x2apic),
		T(lapic_timer), T(pv), T(msi_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
