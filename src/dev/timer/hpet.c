/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HPET (IA-PC HPET specification 1.0a; ICH9 chapter 20).
 *
 *   0x000 GCAP_ID    period 63:32, vendor 31:16, legacy capable 15, 64 bits 13, timers-1 12:8,
 *                    revision
 *   0x010 GEN_CONF   1 legacy replacement, 0 enable
 *   0x020 GINTR_STA  bit n: level-triggered timer n is active; write 1 to clear
 *   0x0f0 MAIN_CNT   writable while disabled
 *   0x100+0x20n CONF  8 32-bit mode, 6 value set, 3 periodic, 2 interrupt enable, 1 level, 14
 *                     FSB, 13:9 route
 *        +0x08 COMPARATOR  (periodic: the last value written is also the period)
 *        +0x10 FSB    message value 31:0, address 63:32
 *
 * Each timer may be wired to GSI 20-23; with legacy replacement timer 0 is IRQ 0 and timer 1
 * is IRQ 8, whose usual owners, the PIT and the RTC, come through here to be cut off then.
 * The counter ticks every 10 ns of guest time.
 */
#include "dev/timer/hpet.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"

#define TIMERS 3
#define ROUTES 4
#define FIRST_ROUTE 20
#define NS_PER_TICK 10
#define MIN_TICKS 2000	   /* shortest host timer, 20 us: a guest may not keep the loop busy */
#define FAR_TICKS BIT(53)  /* further away is never (over two years) */

#define GCAP 0x8086a201u
#define CONF_ENABLE BIT(0)
#define CONF_LEGACY BIT(1)

#define TN_LEVEL BIT(1)
#define TN_ENABLE BIT(2)
#define TN_PERIODIC BIT(3)
#define TN_SETVAL BIT(6)
#define TN_32BIT BIT(8)
#define TN_FSB BIT(14)
#define TN_WRITABLE 0x7f4eu
#define TN_ROUTE(conf) bits_get(conf, 13, 9)
/* Capabilities: periodic 4, 64 bits 5, FSB 15, routes 63:32. */
#define TN_CAPS (UINT64_C(0x00f00000) << 32 | 0x8030)

struct hpet_timer {
	struct hpet *hpet;
	unsigned n;
	uint32_t conf;
	uint64_t cmp, period, fsb;
	struct timer *timer;
	struct irq_line wire[ROUTES];
};

struct hpet {
	struct dev dev;
	struct apics *apics;
	uint64_t conf, status;
	uint64_t count; /* counter at `base`; the counter itself while disabled */
	int64_t base;	/* guest time */
	struct hpet_timer t[TIMERS];
	struct irq_line legacy[2]; /* GSI 0, GSI 8 */
	bool passed[2];		   /* levels of the PIT's and the RTC's output */
	struct io_region io;
	struct mem_map *map;
};

static int64_t now(const struct hpet *h)
{
	return vclock_now(h->dev.env->clock);
}

static uint64_t counter(const struct hpet *h)
{
	if (!(h->conf & CONF_ENABLE))
		return h->count;
	return h->count + (uint64_t)(now(h) - h->base) / NS_PER_TICK;
}

static bool legacy(const struct hpet *h, unsigned n)
{
	return n < 2 && (h->conf & CONF_LEGACY);
}

/* width - a value as wide as timer t compares. */
static uint64_t width(const struct hpet_timer *t, uint64_t v)
{
	return t->conf & TN_32BIT ? (uint32_t)v : v;
}

static void timer_update(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	uint64_t cnt = counter(h), diff = width(t, t->cmp - cnt);

	if (!(h->conf & CONF_ENABLE)) {
		timer_cancel(t->timer);
		return;
	}
	if (!diff) /* just matched: once round */
		diff = t->conf & TN_32BIT ? BIT(32) : FAR_TICKS;
	if (diff >= FAR_TICKS) {
		timer_cancel(t->timer);
		return;
	}
	if ((t->conf & TN_PERIODIC) && diff < MIN_TICKS && t->period < MIN_TICKS)
		diff = MIN_TICKS;
	timer_arm(t->timer, h->base + (int64_t)((cnt + diff - h->count) * NS_PER_TICK));
}

/* lines_update - levels of a level-triggered timer's wires. */
static void lines_update(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	bool level = (h->status >> t->n & 1) && (t->conf & TN_LEVEL) && (t->conf & TN_ENABLE) &&
		     !(t->conf & TN_FSB);
	unsigned route = (unsigned)TN_ROUTE(t->conf) - FIRST_ROUTE;

	for (unsigned i = 0; i < ROUTES; i++)
		irq_set(&t->wire[i], level && i == route && !legacy(h, t->n));
	if (legacy(h, t->n))
		irq_set(&h->legacy[t->n], level);
}

static void interrupt(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	unsigned route = (unsigned)TN_ROUTE(t->conf) - FIRST_ROUTE;

	if (t->conf & TN_LEVEL) {
		h->status |= BIT(t->n);
		lines_update(t);
	}
	if (!(t->conf & TN_ENABLE))
		return;
	if (t->conf & TN_FSB)
		apics_msi(h->apics, t->fsb >> 32, (uint32_t)t->fsb);
	else if (t->conf & TN_LEVEL)
		return;
	else if (legacy(h, t->n))
		irq_pulse(&h->legacy[t->n]);
	else if (route < ROUTES)
		irq_pulse(&t->wire[route]);
}

static void expired(void *opaque)
{
	struct hpet_timer *t = opaque;
	struct hpet *h = t->hpet;

	if (!(h->conf & CONF_ENABLE))
		return;
	if ((t->conf & TN_PERIODIC) && t->period) {
		uint64_t late = width(t, counter(h) - t->cmp);

		t->cmp = width(t, t->cmp + (late / t->period + 1) * t->period);
	}
	interrupt(t);
	timer_update(t);
}

static uint64_t read_reg(struct hpet *h, uint64_t off)
{
	struct hpet_timer *t = &h->t[(off - 0x100) / 0x20 % TIMERS];

	switch (off) {
	case 0x000:
		return (uint64_t)HPET_PERIOD_FS << 32 | GCAP;
	case 0x010:
		return h->conf;
	case 0x020:
		return h->status;
	case 0x0f0:
		return counter(h);
	}
	if (off < 0x100 || off >= 0x100 + 0x20 * TIMERS)
		return 0;
	switch (off & 0x18) {
	case 0x00:
		return TN_CAPS | t->conf;
	case 0x08:
		return t->cmp;
	case 0x10:
		return t->fsb;
	default:
		return 0;
	}
}

static uint64_t hpet_read(void *opaque, uint64_t off, unsigned size)
{
	return read_reg(opaque, off & ~UINT64_C(7)) >> (off & 4 ? 32 : 0);
}

static void write_conf(struct hpet *h, uint64_t val)
{
	uint64_t old = h->conf;

	val &= CONF_ENABLE | CONF_LEGACY;
	if ((old & CONF_ENABLE) && !(val & CONF_ENABLE))
		h->count = counter(h);
	h->conf = val;
	if (!(old & CONF_ENABLE) && (val & CONF_ENABLE))
		h->base = now(h);
	if ((old ^ val) & CONF_LEGACY)
		for (unsigned i = 0; i < 2; i++)
			irq_set(&h->legacy[i], !(val & CONF_LEGACY) && h->passed[i]);
	for (unsigned i = 0; i < TIMERS; i++) {
		lines_update(&h->t[i]);
		timer_update(&h->t[i]);
	}
}

static void write_timer_conf(struct hpet_timer *t, uint64_t val)
{
	uint32_t old = t->conf;

	t->conf = (uint32_t)val & TN_WRITABLE;
	t->cmp = width(t, t->cmp);
	t->period = width(t, t->period);
	if ((old & TN_LEVEL) && !(t->conf & TN_LEVEL))
		t->hpet->status &= ~BIT(t->n);
	lines_update(t);
	timer_update(t);
}

/* write_cmp - val is the whole comparator with the written half replaced; last: nothing of it
 * is to come. */
static void write_cmp(struct hpet_timer *t, uint64_t val, uint64_t period, bool last)
{
	if (!(t->conf & TN_PERIODIC) || (t->conf & TN_SETVAL))
		t->cmp = width(t, val);
	if (t->conf & TN_PERIODIC)
		t->period = width(t, period);
	if (last || (t->conf & TN_32BIT))
		t->conf &= ~(uint32_t)TN_SETVAL;
	timer_update(t);
}

/* merge - old with the bytes of an access of 4 or 8 bytes at off replaced. */
static uint64_t merge(uint64_t old, uint64_t off, uint64_t val, unsigned size)
{
	if (size == 8)
		return val;
	return off & 4 ? bits_set(old, 63, 32, val) : bits_set(old, 31, 0, val);
}

static void write_timer(struct hpet_timer *t, uint64_t off, uint64_t val, unsigned size)
{
	switch (off & 0x18) {
	case 0x00:
		write_timer_conf(t, merge(t->conf, off, val, size));
		break;
	case 0x08:
		write_cmp(t, merge(t->cmp, off, val, size), merge(t->period, off, val, size),
			  size == 8 || (off & 4));
		break;
	case 0x10:
		t->fsb = merge(t->fsb, off, val, size);
		break;
	}
}

static void hpet_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct hpet *h = opaque;

	switch (off & ~UINT64_C(7)) {
	case 0x010:
		write_conf(h, merge(h->conf, off, val, size));
		return;
	case 0x020:
		h->status &= ~merge(0, off, val, size);
		for (unsigned i = 0; i < TIMERS; i++)
			lines_update(&h->t[i]);
		return;
	case 0x0f0:
		if (!(h->conf & CONF_ENABLE))
			h->count = merge(h->count, off, val, size);
		return;
	}
	if (off >= 0x100 && off < 0x100 + 0x20 * TIMERS)
		write_timer(&h->t[(off - 0x100) / 0x20], off, val, size);
}

static const struct io_ops hpet_io_ops = {
	.read = hpet_read, .write = hpet_write, .min = 4, .max = 8,
};

static void pass(void *opaque, int n, bool level)
{
	struct hpet *h = opaque;

	h->passed[n] = level;
	if (!(h->conf & CONF_LEGACY))
		irq_set(&h->legacy[n], level);
}

struct irq_line hpet_pit_in(struct hpet *h)
{
	return (struct irq_line){ .set = pass, .opaque = h, .n = 0 };
}

struct irq_line hpet_rtc_in(struct hpet *h)
{
	return (struct irq_line){ .set = pass, .opaque = h, .n = 1 };
}

uint32_t hpet_block_id(void)
{
	return GCAP;
}

static void hpet_reset(struct dev *d)
{
	struct hpet *h = container_of(d, struct hpet, dev);

	h->count = 0;
	h->status = 0;
	for (unsigned i = 0; i < TIMERS; i++) {
		struct hpet_timer *t = &h->t[i];

		t->conf = 0;
		t->cmp = ~UINT64_C(0);
		t->period = t->fsb = 0;
	}
	write_conf(h, 0);
	h->count = 0;
}

static void hpet_unrealize(struct dev *d)
{
	struct hpet *h = container_of(d, struct hpet, dev);

	for (unsigned i = 0; i < TIMERS; i++)
		timer_destroy(h->t[i].timer);
	mem_unmap(d->env->mem, h->map);
	free(h);
}

static void hpet_pre_save(void *obj)
{
	struct hpet *h = obj;

	h->count = counter(h);
	h->base = now(h);
}

static int hpet_post_load(void *obj, struct err **e)
{
	struct hpet *h = obj;

	h->base = now(h);
	if ((h->conf & ~(CONF_ENABLE | CONF_LEGACY)) || (h->status & ~(BIT(TIMERS) - 1)))
		return err_set(e, EINVAL, "saved state of hpet: impossible value");
	for (unsigned i = 0; i < TIMERS; i++) {
		if (h->t[i].conf & ~TN_WRITABLE)
			return err_set(e, EINVAL, "saved state of hpet: impossible value");
		timer_update(&h->t[i]);
	}
	return 0;
}

static const struct state_field timer_fields[] = {
	STATE_FIELD(struct hpet_timer, conf, STATE_U32),
	STATE_FIELD(struct hpet_timer, cmp, STATE_U64),
	STATE_FIELD(struct hpet_timer, period, STATE_U64),
	STATE_FIELD(struct hpet_timer, fsb, STATE_U64),
	STATE_END,
};

static const struct state_desc timer_state = {
	.name = "hpet-timer", .version = 1, .fields = timer_fields,
};

static const struct state_field hpet_fields[] = {
	STATE_FIELD(struct hpet, conf, STATE_U64),
	STATE_FIELD(struct hpet, status, STATE_U64),
	STATE_FIELD(struct hpet, count, STATE_U64),
	STATE_STRUCTS(struct hpet, t, timer_state),
	STATE_ARRAY(struct hpet, passed, STATE_BOOL),
	STATE_END,
};

static const struct state_desc hpet_state = {
	.name = "hpet", .version = 1, .fields = hpet_fields, .post_load = hpet_post_load,
	.pre_save = hpet_pre_save,
};

static const struct dev_ops hpet_ops = {
	.name = "hpet", .unrealize = hpet_unrealize, .reset = hpet_reset,
	.quiesce = dev_quiesce_none, .state = &hpet_state,
};

struct hpet *hpet_create(struct dev_env *env, struct gsi *g, struct apics *apics)
{
	struct hpet *h = xzalloc(sizeof(*h));

	h->apics = apics;
	h->legacy[0] = gsi_source(g, 0);
	h->legacy[1] = gsi_source(g, 8);
	for (unsigned i = 0; i < TIMERS; i++) {
		struct hpet_timer *t = &h->t[i];

		t->hpet = h;
		t->n = i;
		t->timer = timer_new(env->loop, env->clock, env->lock, expired, t);
		for (unsigned r = 0; r < ROUTES; r++)
			t->wire[r] = gsi_source(g, FIRST_ROUTE + r);
	}
	h->io = (struct io_region){ .name = "hpet", .ops = &hpet_io_ops, .opaque = h,
		.lock = env->lock, .size = 0x400 };
	h->map = mem_map_io(env->mem, GPA(HPET_BASE), &h->io, 0);
	dev_add(&h->dev, &hpet_ops, "hpet", env);
	hpet_reset(&h->dev);
	return h;
}
