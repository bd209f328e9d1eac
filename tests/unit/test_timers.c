/* SPDX-License-Identifier: Apache-2.0 */
/* PIT, HPET and RTC on a running clock. */
#include "apics_none.h"
#include "dev_env.h"

#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/timer/hpet.h"
#include "dev/timer/pit.h"
#include "dev/timer/rtc.h"

struct rig {
	struct test_env *t;
	struct apics *apics;
	struct pic *pic;
	struct gsi *gsi;
	struct pit *pit;
	struct hpet *hpet;
	struct rtc *rtc;
	struct test_wire out0, irq8, intr;
	bool cpu_intr;
};

static int setup(void **state)
{
	struct rig *r = xzalloc(sizeof(*r));
	struct dev_env *env;

	r->t = env_open();
	env = &r->t->env;
	r->apics = apics_create(env, 1, &apics_none_ops, &r->cpu_intr);
	apics_write(r->apics, 0, 0xf0, 0x1ff, 4);
	r->pic = pic_create(env, wire(&r->intr));
	r->gsi = gsi_create(env, r->pic, ioapic_create(env, r->apics));
	r->hpet = hpet_create(env, r->gsi, r->apics);
	r->pit = pit_create(env, wire(&r->out0));
	r->rtc = rtc_create(env, wire(&r->irq8));
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

static void load(struct rig *r, unsigned n, uint8_t mode, uint16_t count)
{
	outb(r->t, 0x43, (uint8_t)(n << 6 | 0x30 | mode << 1));
	outb(r->t, 0x40 + n, (uint8_t)count);
	outb(r->t, 0x40 + n, (uint8_t)(count >> 8));
}

static uint16_t latched(struct rig *r, unsigned n)
{
	uint8_t lo;

	outb(r->t, 0x43, (uint8_t)(n << 6));
	lo = inb(r->t, 0x40 + n);
	return (uint16_t)(lo | inb(r->t, 0x40 + n) << 8);
}

static void pit_periodic(void **state)
{
	struct rig *r = *state;
	int64_t start;
	unsigned rises;

	load(r, 0, 2, 1193); /* 1 kHz */
	start = vclock_now(r->t->env.clock);
	rises = r->out0.rises;
	run_ms(r->t, 50);
	rises = r->out0.rises - rises;
	assert_in_range(rises, 10, (vclock_now(r->t->env.clock) - start) / 1000000 + 1);
	load(r, 0, 0, 100); /* one shot */
	assert_false(r->out0.level);
	wait_for(r->t, r->out0.level);
	rises = r->out0.rises;
	run_ms(r->t, 5);
	assert_int_equal(r->out0.rises, rises);
}

static void pit_counts(void **state)
{
	struct rig *r = *state;
	uint16_t a, b;
	uint8_t st;

	load(r, 1, 2, 0);
	a = latched(r, 1);
	run_ms(r->t, 2);
	b = latched(r, 1);
	assert_in_range((uint16_t)(a - b), 2300, 60000); /* 2 ms are 2386 ticks */
	outb(r->t, 0x43, 0xe0 | 4); /* read-back: status of counter 1 */
	st = inb(r->t, 0x41);
	assert_int_equal(st & 0x3f, 0x34);
	/* BCD, LSB only. */
	outb(r->t, 0x43, 0x40 | 0x10 | 0x04 | 1);
	outb(r->t, 0x41, 0x40);
	for (unsigned i = 0; i < 100; i++) {
		uint8_t v = inb(r->t, 0x41);

		assert_true((v >> 4) <= 4 && (v & 15) <= 9 && v);
	}
}

/* Counter 2 is what kernels measure other clocks with. */
static void pit_gate(void **state)
{
	struct rig *r = *state;
	uint16_t held;

	outb(r->t, 0x61, 0);
	load(r, 2, 0, 2386); /* 2 ms */
	run_ms(r->t, 4);
	assert_false(inb(r->t, 0x61) & 0x20);
	assert_int_equal(latched(r, 2), 2386);
	outb(r->t, 0x61, 1);
	for (unsigned i = 0; i < 4; i++)
		(void)latched(r, 2);
	outb(r->t, 0x61, 0);
	held = latched(r, 2);
	run_ms(r->t, 1);
	assert_int_equal(latched(r, 2), held);
	outb(r->t, 0x61, 1);
	run_ms(r->t, 4);
	assert_true(inb(r->t, 0x61) & 0x20);
	/* Mode 1: the gate's rising edge triggers. */
	outb(r->t, 0x61, 0);
	load(r, 2, 1, 1193);
	assert_true(inb(r->t, 0x61) & 0x20);
	outb(r->t, 0x61, 1);
	assert_false(inb(r->t, 0x61) & 0x20);
	run_ms(r->t, 3);
	assert_true(inb(r->t, 0x61) & 0x20);
}

static void refresh_toggles(void **state)
{
	struct rig *r = *state;
	unsigned changes = 0;
	uint8_t last = inb(r->t, 0x61) & 0x10;

	for (unsigned i = 0; i < 1000000 && changes < 4; i++) {
		uint8_t now = inb(r->t, 0x61) & 0x10;

		changes += now != last;
		last = now;
	}
	assert_int_equal(changes, 4);
}

static void hpet_counts(void **state)
{
	struct rig *r = *state;
	uint64_t a, b;

	assert_int_equal(mem_read(r->t->env.mem, GPA(HPET_BASE), 8),
			 (uint64_t)HPET_PERIOD_FS << 32 | hpet_block_id());
	assert_int_equal(rd32(r->t, HPET_BASE + 4), HPET_PERIOD_FS);
	assert_int_equal(rd32(r->t, HPET_BASE + 0xf0), 0);
	mem_write(r->t->env.mem, GPA(HPET_BASE + 0xf0), UINT64_C(0xfffffff0), 8);
	wr32(r->t, HPET_BASE + 0x10, 1);
	run_ms(r->t, 2);
	a = mem_read(r->t->env.mem, GPA(HPET_BASE + 0xf0), 8);
	assert_in_range(a, UINT64_C(0xfffffff0) + 200000, UINT64_C(0xfffffff0) + 2000000000);
	wr32(r->t, HPET_BASE + 0x10, 0);
	a = mem_read(r->t->env.mem, GPA(HPET_BASE + 0xf0), 8);
	run_ms(r->t, 1);
	b = mem_read(r->t->env.mem, GPA(HPET_BASE + 0xf0), 8);
	assert_int_equal(a, b);
}

static void hpet_legacy(void **state)
{
	struct rig *r = *state;
	struct irq_line pit_in = hpet_pit_in(r->hpet);

	/* 8259 with IRQ 0 only, automatic EOI. */
	outb(r->t, 0x20, 0x11);
	outb(r->t, 0x21, 0x20);
	outb(r->t, 0x21, 0x04);
	outb(r->t, 0x21, 0x03);
	outb(r->t, 0x21, 0xfe);
	drive(r->t, pit_in, true);
	assert_int_equal(r->intr.rises, 1);
	lock_take(&r->t->lock);
	pic_ack(r->pic);
	lock_drop(&r->t->lock);
	wr32(r->t, HPET_BASE + 0x10, 3);
	drive(r->t, pit_in, false);
	drive(r->t, pit_in, true);
	assert_int_equal(r->intr.rises, 1); /* cut off */
	/* Periodic 1 ms the way Linux sets it up. */
	wr32(r->t, HPET_BASE + 0x100, 0x4 | 0x8 | 0x40 | 0x100);
	wr32(r->t, HPET_BASE + 0x108, rd32(r->t, HPET_BASE + 0xf0) + 100000);
	wr32(r->t, HPET_BASE + 0x108, 100000);
	assert_false(rd32(r->t, HPET_BASE + 0x100) & 0x40);
	for (unsigned i = 0; i < 3; i++) {
		wait_for(r->t, r->intr.level);
		lock_take(&r->t->lock);
		assert_int_equal(pic_ack(r->pic), 0x20);
		lock_drop(&r->t->lock);
	}
}

static void hpet_level_and_msi(void **state)
{
	struct rig *r = *state;
	uint64_t now;

	wr32(r->t, HPET_BASE + 0x10, 1);
	wr32(r->t, HPET_BASE + 0x120, 0x2 | 0x4 | 20 << 9);
	wr32(r->t, IOAPIC_BASE, 0x10 + 40);
	wr32(r->t, IOAPIC_BASE + 0x10, 0x8000 | 0x66);
	now = mem_read(r->t->env.mem, GPA(HPET_BASE + 0xf0), 8);
	mem_write(r->t->env.mem, GPA(HPET_BASE + 0x128), now + 1000000, 8);
	wait_for(r->t, r->cpu_intr);
	assert_int_equal(rd32(r->t, HPET_BASE + 0x20), 2);
	wr32(r->t, HPET_BASE + 0x20, 2);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x66);
	apics_write(r->apics, 0, 0xb0, 0, 4);
	assert_false(r->cpu_intr);
	wr32(r->t, HPET_BASE + 0x120, 0);
	wr32(r->t, HPET_BASE + 0x150, 0x77);
	wr32(r->t, HPET_BASE + 0x154, 0xfee00000);
	wr32(r->t, HPET_BASE + 0x140, 0x4004);
	now = mem_read(r->t->env.mem, GPA(HPET_BASE + 0xf0), 8);
	mem_write(r->t->env.mem, GPA(HPET_BASE + 0x148), now + 1000000, 8);
	wait_for(r->t, r->cpu_intr);
	assert_int_equal(apics_intr_ack(r->apics, 0), 0x77);
	/* A hostile period must not hang the loop. */
	wr32(r->t, HPET_BASE + 0x100, 0x4 | 0x8 | 0x40 | 0x100);
	wr32(r->t, HPET_BASE + 0x108, 1);
	run_ms(r->t, 3);
}

static uint8_t cmos(struct rig *r, uint8_t i)
{
	outb(r->t, 0x70, i);
	return inb(r->t, 0x71);
}

static void cmos_put(struct rig *r, uint8_t i, uint8_t v)
{
	outb(r->t, 0x70, i);
	outb(r->t, 0x71, v);
}

static unsigned bcd(uint8_t v)
{
	return (v >> 4) * 10u + (v & 15);
}

static int64_t rtc_now(struct rig *r)
{
	struct tm tm;
	int64_t a, b;

	do {
		tm = (struct tm){ .tm_sec = (int)bcd(cmos(r, 0)), .tm_min = (int)bcd(cmos(r, 2)),
			.tm_hour = (int)bcd(cmos(r, 4)), .tm_mday = (int)bcd(cmos(r, 7)),
			.tm_mon = (int)bcd(cmos(r, 8)) - 1,
			.tm_year = (int)(bcd(cmos(r, 0x32)) * 100 + bcd(cmos(r, 9))) - 1900 };
		a = timegm(&tm);
		b = (int)bcd(cmos(r, 0));
	} while (b != tm.tm_sec);
	return a;
}

static void rtc_time_of_day(void **state)
{
	struct rig *r = *state;
	int64_t t = time(NULL), v = rtc_now(r);

	assert_in_range(v - t + 2, 0, 5);
	assert_int_equal(cmos(r, 0x0d), 0x80);
	/* Set it as Linux does: 2031-02-28 23:59:59, binary 12-hour reading afterwards. */
	cmos_put(r, 0x0b, 0x82);
	cmos_put(r, 0x0a, 0x76);
	cmos_put(r, 0, 0x59);
	cmos_put(r, 2, 0x59);
	cmos_put(r, 4, 0x23);
	cmos_put(r, 7, 0x28);
	cmos_put(r, 8, 0x02);
	cmos_put(r, 9, 0x31);
	cmos_put(r, 0x32, 0x20);
	assert_int_equal(cmos(r, 0), 0x59);
	cmos_put(r, 0x0a, 0x26);
	cmos_put(r, 0x0b, 0x02);
	assert_int_equal(cmos(r, 4), 0x23);
	assert_int_equal(cmos(r, 6), 6); /* a Friday */
	cmos_put(r, 0x0b, 0x04);
	assert_int_equal(cmos(r, 4), 0x80 | 11);
	cmos_put(r, 0x0b, 0x02);
	wait_for(r->t, cmos(r, 0) == 0x00);
	assert_int_equal(cmos(r, 7), 0x01);
	assert_int_equal(cmos(r, 8), 0x03);
	/* Nonsense in the time bytes is harmless. */
	for (uint8_t i = 0; i < 10; i++)
		cmos_put(r, i, 0xff);
	cmos_put(r, 0x32, 0xff);
	(void)rtc_now(r);
}

/* Years of other centuries, and what a guest set can be saved and loaded. */
static void rtc_centuries(void **state)
{
	static const uint8_t years[][3] = {
		{0x18, 0x92, 1}, {0x21, 0x50, 1}, {0x22, 0x50, 0}, {0x16, 0x90, 0}};
	struct rig *r = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(years); i++) {
		struct state_buf s = {0};
		size_t used;

		cmos_put(r, 0x0b, 0x82);
		cmos_put(r, 0, 0);
		cmos_put(r, 9, years[i][1]);
		cmos_put(r, 0x32, years[i][0]);
		cmos_put(r, 0x0b, 0x02);
		/* Too far away: as before. */
		assert_int_equal(cmos(r, 9), years[i][2] ? years[i][1] : 0x50);
		assert_int_equal(cmos(r, 0x32), years[i][2] ? years[i][0] : 0x21);
		for (struct dev *d = r->t->env.devs; d; d = d->next) {
			s.len = 0;
			state_save(&s, d->ops->state, d);
			assert_int_equal(state_load(d->ops->state, d, s.data, s.len, &used, NULL),
					 0);
		}
		free(s.data);
	}
}

static void rtc_interrupts(void **state)
{
	struct rig *r = *state;

	cmos_put(r, 0x0b, 0x42);
	wait_for(r->t, r->irq8.level); /* 1024 Hz */
	assert_int_equal(cmos(r, 0x0c) & 0xc0, 0xc0);
	assert_false(r->irq8.level);
	wait_for(r->t, r->irq8.level);
	cmos_put(r, 0x0b, 0x02);
	assert_false(r->irq8.level);
	/* Alarm in any second, minute, hour; and update. */
	(void)cmos(r, 0x0c);
	cmos_put(r, 1, 0xff);
	cmos_put(r, 3, 0xff);
	cmos_put(r, 5, 0xff);
	cmos_put(r, 0x0b, 0x32);
	wait_for(r->t, r->irq8.level);
	assert_int_equal(cmos(r, 0x0c) & 0xb0, 0xb0);
}

static void rtc_memory(void **state)
{
	struct rig *r = *state;

	rtc_cmos_set_memory(r->rtc, 3 * GiB, 2 * GiB);
	assert_int_equal(cmos(r, 0x15) | cmos(r, 0x16) << 8, 640);
	assert_int_equal(cmos(r, 0x30) | cmos(r, 0x31) << 8, 0xffff);
	assert_int_equal(cmos(r, 0x34) | cmos(r, 0x35) << 8, (3 * GiB - 16 * MiB) >> 16);
	assert_int_equal(cmos(r, 0x5b) | cmos(r, 0x5c) << 8 | cmos(r, 0x5d) << 16, 2 * GiB >> 16);
	cmos_put(r, 0x0f, 0x0a);
	r->t->env.devs->ops->reset(r->t->env.devs);
	assert_int_equal(cmos(r, 0x0f), 0x0a);
	outb(r->t, 0x72, 0x0f);
	outb(r->t, 0x73, 0x0b);
	assert_int_equal(inb(r->t, 0x73), 0x0b);
	assert_int_equal(cmos(r, 0x0f), 0x0a);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(pit_periodic), T(pit_counts), T(pit_gate), T(refresh_toggles), T(hpet_counts),
		T(hpet_legacy), T(hpet_level_and_msi), T(rtc_time_of_day), T(rtc_centuries), T(rtc_interrupts),
		T(rtc_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
