/* SPDX-License-Identifier: Apache-2.0 */
/* A whole board: saved, loaded into a fresh one, saved again; damaged streams; reset. */
#include "apics_none.h"
#include "dev_env.h"
#include "pci_card.h"

#include "dev/char/uart.h"
#include "dev/fwcfg.h"
#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/legacy/i8042.h"
#include "dev/legacy/misc.h"
#include "dev/pci/i440fx.h"
#include "dev/pci/q35.h"
#include "dev/timer/hpet.h"
#include "dev/timer/pit.h"
#include "dev/timer/rtc.h"

#define CPUS 2

struct board {
	struct test_env *t;
	struct apics *apics;
	struct q35 *q35;
	bool intr[CPUS];
};

static struct board *board_open(bool q35)
{
	static const struct pam_config pam = { .ram_off = 0 };
	struct board *b = xzalloc(sizeof(*b));
	struct irq_line none = { 0 };
	struct dev_env *env;
	struct pic *pic;
	struct gsi *gsi;
	struct hpet *hpet;
	struct uart *u;

	b->t = env_open();
	env = &b->t->env;
	b->apics = apics_create(env, CPUS, &apics_none_ops, b->intr);
	pic = pic_create(env, apics_extint(b->apics));
	gsi = gsi_create(env, pic, ioapic_create(env, b->apics));
	hpet = hpet_create(env, gsi, b->apics);
	pit_create(env, hpet_pit_in(hpet));
	rtc_create(env, hpet_rtc_in(hpet));
	i8042_create(env, gsi_source(gsi, 1), gsi_source(gsi, 12), none);
	port92_create(env, none);
	dma8237_create(env);
	fwcfg_create(env);
	debug_exit_create(env, 0xf4, 4);
	assert_int_equal(uart_create(&u, env, "serial0", 0x3f8, gsi_source(gsi, 4), NULL, NULL), 0);
	lock_take(&b->t->lock);
	if (q35) {
		b->q35 = q35_create(env, gsi, &pam);
		q35_setup(b->q35, &pci_space);
	} else {
		i440fx_setup(i440fx_create(env, gsi, &pam), &pci_space);
	}
	lock_drop(&b->t->lock);
	return b;
}

static void board_close(struct board *b)
{
	env_close(b->t);
	free(b);
}

/* use - put something in every chip. */
static void use(struct board *b)
{
	struct test_env *t = b->t;

	outb(t, 0x20, 0x11);
	outb(t, 0x21, 0x20);
	outb(t, 0x21, 0x04);
	outb(t, 0x21, 0x01);
	outb(t, 0x21, 0xb8);
	wr32(t, IOAPIC_BASE, 0x10 + 8);
	wr32(t, IOAPIC_BASE + 0x10, 0x61);
	apics_write(b->apics, 1, 0xf0, 0x1ff, 4);
	apics_write(b->apics, 1, 0x320, 0x20044, 4);
	apics_write(b->apics, 1, 0x3e0, 0xa, 4);
	apics_write(b->apics, 1, 0x380, 5000000, 4);
	apics_msi(b->apics, 0xfee01000, 0x91);
	outb(t, 0x43, 0x34);
	outb(t, 0x40, 0xa9);
	outb(t, 0x40, 0x04);
	outb(t, 0x61, 1);
	mem_write(t->env.mem, GPA(HPET_BASE + 0x108), 12345678, 8);
	wr32(t, HPET_BASE + 0x10, 1);
	outb(t, 0x70, 0x0f);
	outb(t, 0x71, 0x55);
	outb(t, 0x64, 0x60);
	outb(t, 0x60, 0x03);
	outb(t, 0x64, 0xaa);
	outb(t, 0x0b, 0x56);
	outb(t, 0x80, 0x33);
	outw(t, 0x510, FW_CFG_FILE_DIR);
	(void)inb(t, 0x511);
	outb(t, 0x3ff, 0x77);
	outb(t, 0x3f9, 0x03);
	outw(t, 0x602, 0x0101);
}

static void save_all(struct board *b, struct state_buf *out)
{
	lock_take(&b->t->lock);
	for (struct dev *d = b->t->env.devs; d; d = d->next)
		state_save(out, d->ops->state, d);
	lock_drop(&b->t->lock);
}

static int load_all(struct board *b, const uint8_t *data, size_t len)
{
	size_t at = 0;
	int rc = 0;

	lock_take(&b->t->lock);
	for (struct dev *d = b->t->env.devs; d && !rc; d = d->next) {
		size_t used = 0;

		rc = state_load(d->ops->state, d, data + at, len - at, &used, NULL);
		at += used;
	}
	lock_drop(&b->t->lock);
	return rc;
}

static void round_trip(bool q35)
{
	struct board *a = board_open(q35), *b;
	struct state_buf s1 = { 0 }, s2 = { 0 };

	use(a);
	run_ms(a->t, 3);
	vclock_stop(a->t->env.clock); /* the second save must find the same times */
	save_all(a, &s1);
	b = board_open(q35);
	vclock_stop(b->t->env.clock);
	assert_int_equal(load_all(b, s1.data, s1.len), 0);
	save_all(b, &s2);
	assert_int_equal(s1.len, s2.len);
	/* The RTC follows the host's clock: its bytes may have moved on by a second, nothing
	 * else may. */
	for (size_t i = 0, differ = 0; i < s1.len; i++) {
		differ += s1.data[i] != s2.data[i];
		assert_true(differ <= 3);
	}
	assert_true(b->intr[1]);
	assert_int_equal(apics_intr_ack(b->apics, 1), 0x91);
	assert_int_equal(inb(b->t, 0x21), 0xb8);
	assert_int_equal(inb(b->t, 0x3ff), 0x77);
	assert_int_equal(inb(b->t, 0x60), 0x55);
	assert_int_equal(inw(b->t, 0x602), 0x0101);
	vclock_start(b->t->env.clock);
	apics_write(b->apics, 1, 0xb0, 0, 4);
	wait_for(b->t, b->intr[1]); /* the timer goes on */
	assert_int_equal(apics_intr_ack(b->apics, 1), 0x44);
	free(s1.data);
	free(s2.data);
	board_close(a);
	board_close(b);
}

static void pc_round_trip(void **unused)
{
	round_trip(false);
}

static void q35_round_trip(void **unused)
{
	round_trip(true);
}

/* Nothing in a damaged stream may crash us, then or when the devices run on. */
static void damaged(void **unused)
{
	struct board *a = board_open(true), *b = board_open(true);
	struct state_buf s = { 0 };
	uint32_t seed = 12345;

	use(a);
	save_all(a, &s);
	for (unsigned n = 0; n < 4000; n++) {
		uint8_t old;
		size_t at;

		seed = seed * 1103515245 + 12345;
		at = (seed >> 8) % s.len;
		old = s.data[at];
		s.data[at] = (uint8_t)(seed >> 3);
		(void)load_all(b, s.data, s.len);
		(void)apics_intr_ack(b->apics, 1);
		(void)rd32(b->t, HPET_BASE + 0xf0);
		(void)inb(b->t, 0x40);
		(void)inb(b->t, 0x71);
		(void)inb(b->t, 0x3f8);
		if (n % 50 == 0)
			loop_once(b->t->env.loop, 0);
		s.data[at] = old;
	}
	free(s.data);
	board_close(a);
	board_close(b);
}

static void reset_again(void **unused)
{
	struct board *a = board_open(true);

	for (unsigned i = 0; i < 3; i++) {
		use(a);
		run_ms(a->t, 2);
		lock_take(&a->t->lock);
		dev_reset_all(&a->t->env);
		lock_drop(&a->t->lock);
		assert_false(a->intr[0] || a->intr[1]);
		assert_int_equal(inb(a->t, 0x3ff), 0);
		assert_int_equal(rd32(a->t, Q35_ECAM_BASE), 0xffffffff);
		lock_take(&a->t->lock);
		q35_setup(a->q35, &pci_space);
		lock_drop(&a->t->lock);
		assert_int_equal(rd32(a->t, Q35_ECAM_BASE), 0x29c08086);
	}
	board_close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pc_round_trip),
		cmocka_unit_test(q35_round_trip),
		cmocka_unit_test(damaged),
		cmocka_unit_test(reset_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
