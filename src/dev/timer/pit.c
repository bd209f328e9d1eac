/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel 8254 (data sheet 231164-005) and port 0x61 (82371AB 4.3.1).
 *
 *   0x40-0x42  counter 0-2: count, LSB and/or MSB; latched count or status when there is one
 *   0x43       control word: counter 7:6 (3: read-back), access 5:4 (0: latch), mode 3:1, BCD 0
 *   0x61       0 gate 2, 1 speaker data, 2-3 parity/IOCHK disable (kept), 4 refresh toggle, 5 OUT2
 *
 * Time is counted in ticks of 1193182 Hz since guest time 0; a counter is where it started and
 * what it was loaded with, and everything else follows from the present tick.  Only OUT0 is a
 * wire.  What matters of it are rising edges (8259 edge mode), so the periodic modes pulse it
 * once a period instead of following both edges.
 */
#include "dev/timer/pit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"

#define PIT_HZ 1193182
#define NS_PER_S 1000000000
#define MIN_TICKS 24	 /* shortest host timer, 20 us: a guest may not keep the loop busy */
#define REFRESH_NS 15085 /* DRAM refresh request */

struct counter {
	uint32_t count;	   /* 1..65536 (BCD: 10000) */
	uint32_t next;	   /* modes 2, 3: takes over at the end of the period; 0 none */
	uint64_t start;	   /* tick at which counting began, while running */
	uint64_t elapsed;  /* ticks counted, while not running (and in saved state) */
	uint8_t mode, rw;
	bool bcd, gate;
	bool loaded;	   /* a count has been written since the control word */
	bool running;	   /* counting: gate allows it, and modes 1, 5 were triggered */
	bool write_msb;	   /* the LSB of two has been written */
	bool read_msb;	   /* the LSB of two has been read */
	bool latched, status_latched;
	uint8_t lsb, status;
	uint16_t latch;
};

struct pit {
	struct dev dev;
	struct irq_line out0;
	struct counter c[3];
	uint8_t port61; /* bits 0-3 */
	struct timer *timer;
	struct io_region io, io61;
	struct mem_map *map, *map61;
};

static uint64_t now_ticks(const struct pit *p)
{
	uint64_t ns = (uint64_t)vclock_now(p->dev.env->clock);

	return (uint64_t)((unsigned __int128)ns * PIT_HZ / NS_PER_S);
}

/* ticks_to_ns - the first nanosecond of a tick. */
static int64_t ticks_to_ns(uint64_t t)
{
	return (int64_t)(((unsigned __int128)t * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static bool periodic(const struct counter *c)
{
	return c->mode == 2 || c->mode == 3;
}

static uint64_t ticks(const struct counter *c, uint64_t now)
{
	return c->running ? now - c->start : c->elapsed;
}

/* settle - let a count written during the period before take over. */
static void settle(struct counter *c, uint64_t now)
{
	if (!c->next || !periodic(c) || ticks(c, now) < c->count)
		return;
	if (c->running)
		c->start += c->count;
	c->count = c->next;
	c->next = 0;
}

static bool out(const struct counter *c, uint64_t now)
{
	uint64_t d = ticks(c, now);

	if (!c->loaded)
		return c->mode != 0;
	switch (c->mode) {
	case 0:
		return d >= c->count;
	case 1: /* low from the trigger to terminal count; before any trigger, d is "over" */
		return d >= c->count;
	case 2:
		return !c->running || d % c->count != c->count - 1;
	case 3:
		return !c->running || d % c->count < (c->count + 1) / 2;
	default: /* 4, 5: low for one tick */
		return d != c->count;
	}
}

static uint16_t to_bcd(uint32_t v)
{
	return (uint16_t)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static uint32_t from_bcd(uint16_t v)
{
	return (v >> 12 & 15) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15u);
}

static uint16_t value(const struct counter *c, uint64_t now)
{
	uint64_t d = ticks(c, now), v;
	uint32_t wrap = c->bcd ? 10000 : 65536;

	if (c->mode == 2)
		v = c->count - d % c->count;
	else if (c->mode == 3) /* counts by two; odd counts start one lower */
		v = (c->count & ~1u) - 2 * d % (c->count & ~1u ? c->count & ~1u : 2);
	else
		v = c->count + wrap - d % wrap;
	v %= wrap;
	return c->bcd ? to_bcd((uint32_t)v) : (uint16_t)v;
}

/* next_edge - tick after `now` of the next rising edge of OUT, or 0: none. */
static uint64_t next_edge(const struct counter *c, uint64_t now)
{
	uint64_t d = ticks(c, now), edge;

	if (!c->loaded || !c->running)
		return 0;
	if (periodic(c))
		return now + (c->count - d % c->count);
	edge = c->mode >= 4 ? c->count + 1 : c->count;
	return d < edge ? c->start + edge : 0;
}

static void arm(struct pit *p, uint64_t now)
{
	uint64_t edge = next_edge(&p->c[0], now);

	if (!edge)
		timer_cancel(p->timer);
	else
		timer_arm(p->timer, ticks_to_ns(periodic(&p->c[0]) && edge < now + MIN_TICKS ?
						now + MIN_TICKS : edge));
}

static void edge_due(void *opaque)
{
	struct pit *p = opaque;
	uint64_t now = now_ticks(p);

	settle(&p->c[0], now);
	irq_set(&p->out0, false);
	irq_set(&p->out0, true);
	arm(p, now);
}

/* out0_update - after counter 0 was programmed. */
static void out0_update(struct pit *p, uint64_t now)
{
	irq_set(&p->out0, out(&p->c[0], now));
	arm(p, now);
}

/* load - a complete count has been written. */
static void load(struct counter *c, uint16_t raw, uint64_t now)
{
	uint32_t count = c->bcd ? from_bcd(raw) : raw;

	if (!count)
		count = c->bcd ? 10000 : 65536;
	if (c->loaded && periodic(c)) {
		settle(c, now);
		c->next = count;
		return;
	}
	if (c->loaded && (c->mode == 1 || c->mode == 5) && c->running) {
		/* The new count waits for the next trigger; the pulse under way keeps its
		 * length. */
		c->next = count;
		return;
	}
	c->count = count;
	c->next = 0;
	c->loaded = true;
	c->start = now;
	c->elapsed = 0;
	if (c->mode == 1 || c->mode == 5) {
		c->elapsed = count + 1; /* idle until triggered */
		c->running = false;
	} else {
		c->running = c->gate;
	}
}

static void counter_write(struct counter *c, uint8_t val, uint64_t now)
{
	if (c->rw == 1) {
		load(c, val, now);
	} else if (c->rw == 2) {
		load(c, (uint16_t)(val << 8), now);
	} else if (!c->write_msb) {
		c->lsb = val;
		c->write_msb = true;
		if (c->mode == 0) /* the first byte stops counting and OUT goes low */
			c->loaded = false;
	} else {
		c->write_msb = false;
		load(c, (uint16_t)(val << 8 | c->lsb), now);
	}
}

static uint8_t counter_read(struct counter *c, uint64_t now)
{
	uint16_t v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	settle(c, now);
	v = c->latched ? c->latch : value(c, now);
	if (c->rw == 3 && !c->read_msb) {
		c->read_msb = true;
		return (uint8_t)v;
	}
	c->read_msb = false;
	c->latched = false;
	return c->rw == 1 ? (uint8_t)v : (uint8_t)(v >> 8);
}

static void latch_count(struct counter *c, uint64_t now)
{
	if (c->latched)
		return;
	settle(c, now);
	c->latch = value(c, now);
	c->latched = true;
}

static void latch_status(struct counter *c, uint64_t now)
{
	if (c->status_latched)
		return;
	settle(c, now);
	c->status = (uint8_t)(out(c, now) << 7 | (!c->loaded || c->next) << 6 | c->rw << 4 |
			      c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void control(struct pit *p, uint8_t val, uint64_t now)
{
	unsigned sel = val >> 6, rw = val >> 4 & 3;
	struct counter *c = &p->c[sel == 3 ? 0 : sel];

	if (sel == 3) {
		for (unsigned i = 0; i < 3; i++) {
			if (!(val & (2u << i)))
				continue;
			if (!(val & 0x20))
				latch_count(&p->c[i], now);
			if (!(val & 0x10))
				latch_status(&p->c[i], now);
		}
		return;
	}
	if (!rw) {
		latch_count(c, now);
		return;
	}
	c->elapsed = ticks(c, now);
	c->running = false;
	c->rw = (uint8_t)rw;
	c->mode = val >> 1 & 7;
	if (c->mode > 5) /* 6, 7: bit 2 is "don't care" of modes 2, 3 */
		c->mode -= 4;
	c->bcd = val & 1;
	c->loaded = c->latched = c->status_latched = false;
	c->write_msb = c->read_msb = false;
	c->next = 0;
}

static void set_gate(struct counter *c, bool gate, uint64_t now)
{
	bool rise = gate && !c->gate;

	if (gate == c->gate)
		return;
	settle(c, now);
	c->gate = gate;
	if (!c->loaded)
		return;
	switch (c->mode) {
	case 0:
	case 4: /* the gate holds the count */
		if (rise)
			c->start = now - c->elapsed;
		else
			c->elapsed = ticks(c, now);
		c->running = rise;
		break;
	case 1:
	case 5: /* rising edge triggers */
		if (rise) {
			c->count = c->next ? c->next : c->count;
			c->next = 0;
			c->start = now;
			c->running = true;
		}
		break;
	default: /* low stops, rising reloads */
		c->elapsed = 0;
		c->start = now;
		c->running = rise;
	}
}

static uint64_t pit_read(void *opaque, uint64_t off, unsigned size)
{
	struct pit *p = opaque;

	return off == 3 ? 0xff : counter_read(&p->c[off], now_ticks(p));
}

static void pit_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pit *p = opaque;
	uint64_t now = now_ticks(p);

	if (off == 3)
		control(p, (uint8_t)val, now);
	else
		counter_write(&p->c[off], (uint8_t)val, now);
	/* Latch and read-back commands change no counter. */
	if (off == 0 || (off == 3 && val >> 6 == 0 && (val & 0x30)))
		out0_update(p, now);
}

static const struct io_ops pit_io_ops = {
	.read = pit_read, .write = pit_write, .min = 1, .max = 1,
};

static uint64_t port61_read(void *opaque, uint64_t off, unsigned size)
{
	struct pit *p = opaque;
	uint64_t ns = (uint64_t)vclock_now(p->dev.env->clock), now = now_ticks(p);

	settle(&p->c[2], now);
	return p->port61 | (ns / REFRESH_NS & 1) << 4 | (uint64_t)out(&p->c[2], now) << 5;
}

static void port61_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pit *p = opaque;

	p->port61 = val & 0xf;
	set_gate(&p->c[2], val & 1, now_ticks(p));
}

static const struct io_ops port61_ops = {
	.read = port61_read, .write = port61_write, .min = 1, .max = 1,
};

static void pit_reset(struct dev *d)
{
	struct pit *p = container_of(d, struct pit, dev);

	for (unsigned i = 0; i < 3; i++)
		p->c[i] = (struct counter){ .count = 65536, .mode = 3, .rw = 3, .gate = i != 2 };
	p->port61 = 0;
	timer_cancel(p->timer);
	irq_set(&p->out0, false);
}

static void pit_unrealize(struct dev *d)
{
	struct pit *p = container_of(d, struct pit, dev);

	timer_destroy(p->timer);
	pio_unmap(d->env->mem, p->map);
	pio_unmap(d->env->mem, p->map61);
	free(p);
}

static void pit_pre_save(void *obj)
{
	struct pit *p = obj;
	uint64_t now = now_ticks(p);

	for (unsigned i = 0; i < 3; i++) {
		settle(&p->c[i], now);
		p->c[i].elapsed = ticks(&p->c[i], now);
	}
}

static int pit_post_load(void *obj, struct err **e)
{
	struct pit *p = obj;
	uint64_t now = now_ticks(p);

	p->port61 &= 0xf;
	for (unsigned i = 0; i < 3; i++) {
		struct counter *c = &p->c[i];

		if (!c->count || c->count > 65536 || c->next > 65536 || c->mode > 5 || !c->rw ||
		    c->rw > 3)
			return err_set(e, EINVAL, "saved state of pit: impossible value");
		/* May be before tick 0: arithmetic is modulo 2^64. */
		c->start = now - c->elapsed;
	}
	arm(p, now);
	return 0;
}

static const struct state_field counter_fields[] = {
	STATE_FIELD(struct counter, count, STATE_U32),
	STATE_FIELD(struct counter, next, STATE_U32),
	STATE_FIELD(struct counter, elapsed, STATE_U64),
	STATE_FIELD(struct counter, mode, STATE_U8),
	STATE_FIELD(struct counter, rw, STATE_U8),
	STATE_FIELD(struct counter, bcd, STATE_BOOL),
	STATE_FIELD(struct counter, gate, STATE_BOOL),
	STATE_FIELD(struct counter, loaded, STATE_BOOL),
	STATE_FIELD(struct counter, running, STATE_BOOL),
	STATE_FIELD(struct counter, write_msb, STATE_BOOL),
	STATE_FIELD(struct counter, read_msb, STATE_BOOL),
	STATE_FIELD(struct counter, latched, STATE_BOOL),
	STATE_FIELD(struct counter, status_latched, STATE_BOOL),
	STATE_FIELD(struct counter, lsb, STATE_U8),
	STATE_FIELD(struct counter, status, STATE_U8),
	STATE_FIELD(struct counter, latch, STATE_U16),
	STATE_END,
};

static const struct state_desc counter_state = {
	.name = "counter", .version = 1, .fields = counter_fields,
};

static const struct state_field pit_fields[] = {
	STATE_STRUCTS(struct pit, c, counter_state),
	STATE_FIELD(struct pit, port61, STATE_U8),
	STATE_END,
};

static const struct state_desc pit_state = {
	.name = "pit", .version = 1, .fields = pit_fields, .post_load = pit_post_load,
	.pre_save = pit_pre_save,
};

static const struct dev_ops pit_ops = {
	.name = "pit", .unrealize = pit_unrealize, .reset = pit_reset,
	.quiesce = dev_quiesce_none, .state = &pit_state,
};

struct pit *pit_create(struct dev_env *env, struct irq_line out0)
{
	struct pit *p = xzalloc(sizeof(*p));

	p->out0 = out0;
	p->timer = timer_new(env->loop, env->clock, env->lock, edge_due, p);
	p->io = (struct io_region){ .name = "pit", .ops = &pit_io_ops, .opaque = p,
		.lock = env->lock, .size = 4 };
	p->io61 = (struct io_region){ .name = "port61", .ops = &port61_ops, .opaque = p,
		.lock = env->lock, .size = 1 };
	p->map = pio_map(env->mem, 0x40, &p->io, 0);
	p->map61 = pio_map(env->mem, 0x61, &p->io61, 0);
	dev_add(&p->dev, &pit_ops, "pit", env);
	pit_reset(&p->dev);
	return p;
}
