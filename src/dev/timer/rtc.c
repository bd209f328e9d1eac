/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MC146818 (Motorola data sheet ADI-1024; ICH9 13.6) with a century byte, at 0x70 (index) and
 * 0x71 (data).
 *
 *   0x00-0x09  seconds, its alarm, minutes, alarm, hours, alarm, day of week, day, month, year
 *   0x0a A     UIP 7, divider 6:4, periodic rate 3:0
 *   0x0b B     SET 7, PIE 6, AIE 5, UIE 4, SQWE 3, binary 2, 24 hours 1, daylight saving 0
 *   0x0c C     IRQF 7, PF 6, AF 5, UF 4: cleared by reading
 *   0x0d D     VRT 7
 *   0x0e-0x7f  memory; 0x32 century
 *
 * 0x72 and 0x73 are index and data of another 128 bytes of memory (PIIX4 and ICH9 RTC,
 * extended bank).
 *
 * The clock is the host's real time plus an offset that setting the clock changes, so a guest
 * that was stopped finds the right time.  While SET holds the registers they are plain memory;
 * the offset is computed when it is released.  One timer fires at every new second (update and
 * alarm), another at the periodic rate while PIE.
 */
#include "dev/timer/rtc.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"

#define NS_PER_S INT64_C(1000000000)
#define UIP_NS 244000	/* update in progress is announced so long before */
#define CLOCK_HZ 32768

enum {
	RTC_SECONDS, RTC_SECONDS_ALARM, RTC_MINUTES, RTC_MINUTES_ALARM, RTC_HOURS, RTC_HOURS_ALARM,
	RTC_DAY_OF_WEEK, RTC_DAY, RTC_MONTH, RTC_YEAR, RTC_A, RTC_B, RTC_C, RTC_D,
	RTC_CENTURY = 0x32,
};

#define A_UIP 0x80
#define B_SET 0x80
#define B_IRQS 0x70 /* PIE, AIE, UIE: the same bits as PF, AF, UF in C */
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10

struct rtc {
	struct dev dev;
	struct irq_line irq;
	uint8_t cmos[128]; /* time bytes are valid while held, alarm and memory always */
	uint8_t index;
	uint8_t bank2[128], index2;
	int64_t offset;	   /* clock less host real time, ns */
	uint64_t pf_seen;  /* number of the periodic tick that PF last covered */
	struct timer *second, *periodic;
	struct io_region io;
	struct mem_map *map;
};

static int64_t host_time(const struct rtc *r)
{
	return vclock_time_of_day(r->dev.env->clock);
}

/* offset_ok - is it small enough (146 years) that sums of times do not overflow? */
static bool offset_ok(int64_t offset)
{
	return offset <= INT64_MAX / 2 && offset >= INT64_MIN / 2;
}

static int64_t rtc_time(const struct rtc *r)
{
	return host_time(r) + r->offset;
}

/* fraction - nanoseconds into the present second. */
static int64_t fraction(int64_t ns)
{
	int64_t f = ns % NS_PER_S;

	return f < 0 ? f + NS_PER_S : f;
}

static bool divider_held(const struct rtc *r)
{
	return (r->cmos[RTC_A] & 0x60) == 0x60;
}

/* held - the time bytes do not advance. */
static bool held(const struct rtc *r)
{
	return (r->cmos[RTC_B] & B_SET) || divider_held(r);
}

static uint8_t encode(const struct rtc *r, int v)
{
	if (r->cmos[RTC_B] & B_BINARY)
		return (uint8_t)v;
	return (uint8_t)((v / 10 % 10) << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v)
{
	return r->cmos[RTC_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, int h)
{
	if (r->cmos[RTC_B] & B_24H)
		return encode(r, h);
	return (uint8_t)(encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0));
}

static int decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->cmos[RTC_B] & B_24H)
		return decode(r, v);
	return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* time_to_cmos - bring the time bytes up to date. */
static void time_to_cmos(struct rtc *r)
{
	int64_t ns = rtc_time(r);
	time_t t = (ns - fraction(ns)) / NS_PER_S;
	struct tm tm;

	if (held(r) || !gmtime_r(&t, &tm))
		return;
	r->cmos[RTC_SECONDS] = encode(r, tm.tm_sec);
	r->cmos[RTC_MINUTES] = encode(r, tm.tm_min);
	r->cmos[RTC_HOURS] = encode_hour(r, tm.tm_hour);
	r->cmos[RTC_DAY_OF_WEEK] = encode(r, tm.tm_wday + 1);
	r->cmos[RTC_DAY] = encode(r, tm.tm_mday);
	r->cmos[RTC_MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[RTC_YEAR] = encode(r, (tm.tm_year + 1900) % 100);
	r->cmos[RTC_CENTURY] = encode(r, (tm.tm_year + 1900) / 100);
}

/* cmos_to_time - make the time bytes the present time, `frac` ns into the second. */
static void cmos_to_time(struct rtc *r, int64_t frac)
{
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[RTC_SECONDS]),
		.tm_min = decode(r, r->cmos[RTC_MINUTES]),
		.tm_hour = decode_hour(r, r->cmos[RTC_HOURS]),
		.tm_mday = decode(r, r->cmos[RTC_DAY]),
		.tm_mon = decode(r, r->cmos[RTC_MONTH]) - 1,
		.tm_year = decode(r, r->cmos[RTC_CENTURY]) * 100 + decode(r, r->cmos[RTC_YEAR]) -
			   1900,
	};
	int64_t s = timegm(&tm), offset;

	/* 64-bit nanoseconds end in 2262; a guest may name any year. */
	if (s > INT64_C(9000000000) || s < -INT64_C(9000000000) ||
	    __builtin_sub_overflow(s * NS_PER_S + frac, host_time(r), &offset) ||
	    !offset_ok(offset))
		return;
	r->offset = offset;
}

static void irq_update(struct rtc *r)
{
	bool active = r->cmos[RTC_C] & r->cmos[RTC_B] & B_IRQS;

	r->cmos[RTC_C] = (r->cmos[RTC_C] & (C_PF | C_AF | C_UF)) | (active ? C_IRQF : 0);
	irq_set(&r->irq, active);
}

static void second_arm(struct rtc *r)
{
	if (held(r))
		timer_cancel(r->second);
	else
		timer_arm(r->second, vclock_now(r->dev.env->clock) + NS_PER_S -
					     fraction(rtc_time(r)));
}

static bool alarm_matches(const struct rtc *r, unsigned reg)
{
	uint8_t a = r->cmos[reg + 1];

	return (a & 0xc0) == 0xc0 || a == r->cmos[reg]; /* 11xxxxxx: don't care */
}

static void second_due(void *opaque)
{
	struct rtc *r = opaque;

	time_to_cmos(r);
	r->cmos[RTC_C] |= C_UF;
	if (alarm_matches(r, RTC_SECONDS) && alarm_matches(r, RTC_MINUTES) &&
	    alarm_matches(r, RTC_HOURS))
		r->cmos[RTC_C] |= C_AF;
	irq_update(r);
	second_arm(r);
}

/* rate - periodic interrupt in cycles of 32768 Hz, 0: none (data sheet table 5). */
static unsigned rate(const struct rtc *r)
{
	unsigned rs = r->cmos[RTC_A] & 15;

	if (!rs || divider_held(r))
		return 0;
	return 1u << (rs <= 2 ? rs + 6 : rs - 1);
}

/* periodic_tick - number of the present period. */
static uint64_t periodic_tick(const struct rtc *r)
{
	uint64_t ns = (uint64_t)vclock_now(r->dev.env->clock);

	return (uint64_t)((unsigned __int128)ns * CLOCK_HZ / NS_PER_S) / rate(r);
}

static void periodic_arm(struct rtc *r)
{
	unsigned __int128 next;

	if (!rate(r) || !(r->cmos[RTC_B] & C_PF)) {
		timer_cancel(r->periodic);
		return;
	}
	next = (unsigned __int128)(periodic_tick(r) + 1) * rate(r) * NS_PER_S;
	timer_arm(r->periodic, (int64_t)((next + CLOCK_HZ - 1) / CLOCK_HZ));
}

/* periodic_check - set PF when a period has ended since it was last looked at. */
static void periodic_check(struct rtc *r)
{
	uint64_t tick;

	if (!rate(r))
		return;
	tick = periodic_tick(r);
	if (tick != r->pf_seen) {
		r->pf_seen = tick;
		r->cmos[RTC_C] |= C_PF;
	}
}

static void periodic_due(void *opaque)
{
	struct rtc *r = opaque;

	periodic_check(r);
	irq_update(r);
	periodic_arm(r);
}

static uint8_t read_c(struct rtc *r)
{
	uint8_t v;

	periodic_check(r);
	irq_update(r);
	v = r->cmos[RTC_C];
	r->cmos[RTC_C] = 0;
	irq_update(r);
	return v;
}

static uint8_t read_a(struct rtc *r)
{
	bool uip = !held(r) && fraction(rtc_time(r)) >= NS_PER_S - UIP_NS;

	return (uint8_t)(r->cmos[RTC_A] | (uip ? A_UIP : 0));
}

static bool is_time(unsigned reg)
{
	return reg == RTC_CENTURY || (reg <= RTC_YEAR && reg != RTC_SECONDS_ALARM &&
				      reg != RTC_MINUTES_ALARM && reg != RTC_HOURS_ALARM);
}

static void write_a(struct rtc *r, uint8_t val)
{
	bool was_held = divider_held(r);

	time_to_cmos(r);
	r->cmos[RTC_A] = val & 0x7f;
	if (was_held && !held(r))
		cmos_to_time(r, NS_PER_S / 2); /* the first update comes half a second later */
	if (rate(r))
		r->pf_seen = periodic_tick(r);
	periodic_arm(r);
	second_arm(r);
}

static void write_b(struct rtc *r, uint8_t val)
{
	bool was_held = held(r);

	time_to_cmos(r);
	if (val & B_SET)
		val &= (uint8_t)~C_UF; /* SET clears UIE */
	r->cmos[RTC_B] = val;
	if (was_held && !held(r))
		cmos_to_time(r, fraction(rtc_time(r)));
	irq_update(r);
	periodic_arm(r);
	second_arm(r);
}

static uint64_t rtc_read(void *opaque, uint64_t off, unsigned size)
{
	struct rtc *r = opaque;

	if (off == 3)
		return r->bank2[r->index2];
	if (off != 1) /* the indices are write-only */
		return 0xff;
	switch (r->index) {
	case RTC_A:
		return read_a(r);
	case RTC_C:
		return read_c(r);
	case RTC_D:
		return 0x80;
	}
	if (is_time(r->index))
		time_to_cmos(r);
	return r->cmos[r->index];
}

static void rtc_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct rtc *r = opaque;

	if (off == 0) {
		r->index = val & 0x7f; /* bit 7 masks NMIs, of which this board has none */
		return;
	}
	if (off == 2) {
		r->index2 = val & 0x7f;
		return;
	}
	if (off == 3) {
		r->bank2[r->index2] = (uint8_t)val;
		return;
	}
	switch (r->index) {
	case RTC_A:
		write_a(r, (uint8_t)val);
		return;
	case RTC_B:
		write_b(r, (uint8_t)val);
		return;
	case RTC_C:
	case RTC_D:
		return;
	}
	if (!is_time(r->index) || held(r)) {
		r->cmos[r->index] = (uint8_t)val;
		return;
	}
	time_to_cmos(r);
	r->cmos[r->index] = (uint8_t)val;
	cmos_to_time(r, fraction(rtc_time(r)));
}

static const struct io_ops rtc_io_ops = {
	.read = rtc_read, .write = rtc_write, .min = 1, .max = 1,
};

void rtc_cmos_set(struct rtc *r, uint8_t index, uint8_t val)
{
	bug_on(index <= RTC_D || index > 0x7f);
	r->cmos[index] = val;
}

static void cmos_set16(struct rtc *r, uint8_t index, uint64_t v)
{
	v = min_u64(v, 0xffff);
	rtc_cmos_set(r, index, (uint8_t)v);
	rtc_cmos_set(r, index + 1, (uint8_t)(v >> 8));
}

void rtc_cmos_set_memory(struct rtc *r, uint64_t below_4g, uint64_t above_4g)
{
	uint64_t ext = below_4g > MiB ? (below_4g - MiB) / KiB : 0;
	uint64_t high = above_4g / (64 * KiB);

	cmos_set16(r, 0x15, min_u64(below_4g / KiB, 640));
	cmos_set16(r, 0x17, ext);
	cmos_set16(r, 0x30, ext);
	cmos_set16(r, 0x34, below_4g > 16 * MiB ? (below_4g - 16 * MiB) / (64 * KiB) : 0);
	cmos_set16(r, 0x5b, high & 0xffff);
	rtc_cmos_set(r, 0x5d, (uint8_t)(high >> 16));
}

/* RESET# leaves time and memory alone (data sheet: pin RESET). */
static void rtc_reset(struct dev *d)
{
	struct rtc *r = container_of(d, struct rtc, dev);

	r->cmos[RTC_B] &= (uint8_t)~(B_IRQS | 0x08);
	r->cmos[RTC_C] = 0;
	r->index = r->index2 = 0;
	irq_update(r);
	periodic_arm(r);
	second_arm(r);
}

static void rtc_unrealize(struct dev *d)
{
	struct rtc *r = container_of(d, struct rtc, dev);

	timer_destroy(r->second);
	timer_destroy(r->periodic);
	pio_unmap(d->env->mem, r->map);
	free(r);
}

static void rtc_pre_save(void *obj)
{
	time_to_cmos(obj);
}

static int rtc_post_load(void *obj, struct err **e)
{
	struct rtc *r = obj;

	if (r->index > 0x7f || r->index2 > 0x7f || (r->cmos[RTC_A] & A_UIP) ||
	    !offset_ok(r->offset))
		return err_set(e, EINVAL, "saved state of rtc: impossible value");
	if (rate(r))
		r->pf_seen = periodic_tick(r);
	periodic_arm(r);
	second_arm(r);
	return 0;
}

static const struct state_field rtc_fields[] = {
	STATE_BLOB(struct rtc, cmos),
	STATE_FIELD(struct rtc, index, STATE_U8),
	STATE_BLOB(struct rtc, bank2),
	STATE_FIELD(struct rtc, index2, STATE_U8),
	STATE_FIELD(struct rtc, offset, STATE_U64),
	STATE_END,
};

static const struct state_desc rtc_state = {
	.name = "rtc", .version = 1, .fields = rtc_fields, .post_load = rtc_post_load,
	.pre_save = rtc_pre_save,
};

static const struct dev_ops rtc_ops = {
	.name = "rtc", .unrealize = rtc_unrealize, .reset = rtc_reset,
	.quiesce = dev_quiesce_none, .state = &rtc_state,
};

struct rtc *rtc_create(struct dev_env *env, struct irq_line irq)
{
	struct rtc *r = xzalloc(sizeof(*r));

	r->irq = irq;
	r->cmos[RTC_A] = 0x26; /* 32768 Hz, 1024 interrupts a second */
	r->cmos[RTC_B] = B_24H;
	r->second = timer_new(env->loop, env->clock, env->lock, second_due, r);
	r->periodic = timer_new(env->loop, env->clock, env->lock, periodic_due, r);
	r->io = (struct io_region){ .name = "rtc", .ops = &rtc_io_ops, .opaque = r,
		.lock = env->lock, .size = 4 };
	r->map = pio_map(env->mem, 0x70, &r->io, 0);
	dev_add(&r->dev, &rtc_ops, "rtc", env);
	rtc_reset(&r->dev);
	return r;
}
