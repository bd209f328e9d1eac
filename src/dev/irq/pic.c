/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel 8259A pair as the PIIX and ICH bridges integrate it (8259A data sheet 231468-003;
 * 82371AB 4.2.3-4.2.4).
 *
 *   0x20/0xa0  W: ICW1 (bit 4), OCW2, OCW3 (bit 3)   R: IRR or ISR by OCW3, or the poll word
 *   0x21/0xa1  W: ICW2..ICW4 while initializing, IMR  R: IMR
 *   0x4d0/1    ELCR: level (1) or edge (0) per input; IRQs 0, 1, 2, 8 and 13 are always edge
 *
 * The bridges ignore ICW1.LTIM and ICW3: the trigger mode comes from ELCR and the slave is at IR2.
 */
#include "dev/irq/pic.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"

#define CASCADE 2

struct chip {
	uint8_t irr, isr, imr;
	uint8_t lines;	  /* present input levels */
	uint8_t elcr, elcr_mask;
	uint8_t base;	  /* ICW2: vector of IR0 */
	uint8_t top;	  /* input that has the highest priority (rotation) */
	uint8_t icw;	  /* next ICW expected at the odd port; 0: none, OCW1 */
	bool need_icw4, single;
	bool sfnm, auto_eoi, rotate_aeoi, special_mask;
	bool read_isr, poll;
};

struct pic {
	struct dev dev;
	struct irq_line intr;
	struct chip chip[2];
	struct io_region io[2], elcr_io;
	struct mem_map *map[2], *elcr_map;
};

/* highest - rank (0 highest) of the most urgent input in a set; 8 when it is empty. */
static unsigned highest(const struct chip *c, uint8_t set)
{
	unsigned rank = 0;

	while (rank < 8 && !(set & (1u << ((c->top + rank) & 7))))
		rank++;
	return rank;
}

/* chip_pending - the input that the chip requests service for, or -1. */
static int chip_pending(const struct chip *c, bool master)
{
	unsigned rank = highest(c, c->irr & (uint8_t)~c->imr);
	uint8_t isr = c->isr;

	if (rank == 8)
		return -1;
	if (c->special_mask)
		isr &= (uint8_t)~c->imr;
	if (c->sfnm && master)
		isr &= (uint8_t)~(1u << CASCADE);
	return rank < highest(c, isr) ? (int)((c->top + rank) & 7) : -1;
}

static void chip_line(struct chip *c, unsigned n, bool level)
{
	uint8_t bit = (uint8_t)(1u << n);

	if (c->elcr & bit)
		c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
	else if (level && !(c->lines & bit))
		c->irr |= bit;
	c->lines = level ? c->lines | bit : c->lines & (uint8_t)~bit;
}

/* pic_update - pass the outputs on: slave to IR2, master to the CPU. */
static void pic_update(struct pic *p)
{
	chip_line(&p->chip[0], CASCADE, chip_pending(&p->chip[1], false) >= 0);
	irq_set(&p->intr, chip_pending(&p->chip[0], true) >= 0);
}

/* chip_ack - the INTA sequence for input n. */
static void chip_ack(struct chip *c, unsigned n)
{
	uint8_t bit = (uint8_t)(1u << n);

	if (!(c->elcr & bit))
		c->irr &= (uint8_t)~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->top = (n + 1) & 7;
}

uint8_t pic_ack(struct pic *p)
{
	struct chip *m = &p->chip[0], *s = &p->chip[1];
	int n = chip_pending(m, true);
	uint8_t vector = (uint8_t)(m->base + 7);

	if (n == CASCADE) {
		int sn = chip_pending(s, false);

		vector = (uint8_t)(s->base + (sn < 0 ? 7 : sn));
		if (sn >= 0)
			chip_ack(s, (unsigned)sn);
	} else if (n >= 0) {
		vector = (uint8_t)(m->base + n);
	}
	if (n >= 0)
		chip_ack(m, (unsigned)n);
	pic_update(p);
	return vector;
}

static void icw1(struct chip *c, uint8_t val)
{
	c->irr &= c->elcr & c->lines;
	c->isr = c->imr = 0;
	c->top = 0;
	c->special_mask = c->read_isr = c->poll = c->rotate_aeoi = false;
	c->sfnm = c->auto_eoi = false;
	c->need_icw4 = val & 1;
	c->single = val & 2;
	c->icw = 2;
}

static void ocw2(struct chip *c, uint8_t val)
{
	unsigned cmd = val >> 5, n = val & 7;
	bool specific = cmd & 2, eoi = cmd & 1, rotate = cmd & 4;

	if (!eoi && !specific) { /* rotate in automatic EOI mode: set or clear */
		c->rotate_aeoi = rotate;
		return;
	}
	if (eoi && !specific) {
		/* Special mask mode: masked in-service bits are not touched. */
		unsigned rank = highest(c, c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr);

		if (rank == 8)
			return;
		n = (c->top + rank) & 7;
	}
	if (eoi)
		c->isr &= (uint8_t)~(1u << n);
	if (rotate)
		c->top = (n + 1) & 7;
}

static void ocw3(struct chip *c, uint8_t val)
{
	if (val & 4)
		c->poll = true;
	if (val & 2)
		c->read_isr = val & 1;
	if (val & 0x40)
		c->special_mask = val & 0x20;
}

static void odd_write(struct chip *c, uint8_t val)
{
	switch (c->icw) {
	case 2:
		c->base = val & 0xf8;
		c->icw = c->single ? (c->need_icw4 ? 4 : 0) : 3;
		break;
	case 3:
		c->icw = c->need_icw4 ? 4 : 0;
		break;
	case 4:
		c->sfnm = val & 0x10;
		c->auto_eoi = val & 2;
		c->icw = 0;
		break;
	default:
		c->imr = val;
	}
}

static void pic_write(struct pic *p, struct chip *c, uint64_t off, uint8_t val)
{
	if (off & 1)
		odd_write(c, val);
	else if (val & 0x10)
		icw1(c, val);
	else if (val & 8)
		ocw3(c, val);
	else
		ocw2(c, val);
	pic_update(p);
}

static uint8_t pic_read(struct pic *p, struct chip *c, uint64_t off)
{
	if (c->poll) {
		int n = chip_pending(c, c == &p->chip[0]);

		c->poll = false;
		if (n < 0)
			return 0;
		chip_ack(c, (unsigned)n);
		pic_update(p);
		return (uint8_t)(0x80 | n);
	}
	if (off & 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static uint64_t master_read(void *opaque, uint64_t off, unsigned size)
{
	struct pic *p = opaque;

	return pic_read(p, &p->chip[0], off);
}

static void master_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pic *p = opaque;

	pic_write(p, &p->chip[0], off, (uint8_t)val);
}

static uint64_t slave_read(void *opaque, uint64_t off, unsigned size)
{
	struct pic *p = opaque;

	return pic_read(p, &p->chip[1], off);
}

static void slave_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pic *p = opaque;

	pic_write(p, &p->chip[1], off, (uint8_t)val);
}

static uint64_t elcr_read(void *opaque, uint64_t off, unsigned size)
{
	struct pic *p = opaque;

	return p->chip[off & 1].elcr;
}

static void set_elcr(struct chip *c, uint8_t val)
{
	c->elcr = val & c->elcr_mask;
	c->irr = (c->irr & (uint8_t)~c->elcr) | (c->lines & c->elcr);
}

static void elcr_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pic *p = opaque;

	set_elcr(&p->chip[off & 1], (uint8_t)val);
	pic_update(p);
}

void pic_set_elcr(struct pic *p, uint16_t levels)
{
	set_elcr(&p->chip[0], (uint8_t)levels);
	set_elcr(&p->chip[1], (uint8_t)(levels >> 8));
	pic_update(p);
}

static const struct io_ops master_ops = {
	.read = master_read, .write = master_write, .min = 1, .max = 1,
};
static const struct io_ops slave_ops = {
	.read = slave_read, .write = slave_write, .min = 1, .max = 1,
};
static const struct io_ops elcr_ops = {
	.read = elcr_read, .write = elcr_write, .min = 1, .max = 1,
};

static void pic_input_set(void *opaque, int n, bool level)
{
	struct pic *p = opaque;

	if (n == CASCADE)
		return;
	chip_line(&p->chip[n >> 3], n & 7, level);
	pic_update(p);
}

struct irq_line pic_input(struct pic *p, unsigned irq)
{
	bug_on(irq > 15);
	return (struct irq_line){ .set = pic_input_set, .opaque = p, .n = (int)irq };
}

static void pic_reset(struct dev *d)
{
	struct pic *p = container_of(d, struct pic, dev);

	for (unsigned i = 0; i < 2; i++) {
		struct chip *c = &p->chip[i];

		/* The wires keep their levels: their drivers lower them at their own reset. */
		*c = (struct chip){ .elcr_mask = i ? 0xde : 0xf8, .lines = c->lines };
	}
	pic_update(p);
}

static void pic_unrealize(struct dev *d)
{
	struct pic *p = container_of(d, struct pic, dev);

	pio_unmap(d->env->mem, p->map[0]);
	pio_unmap(d->env->mem, p->map[1]);
	pio_unmap(d->env->mem, p->elcr_map);
	free(p);
}

static int pic_post_load(void *obj, struct err **e)
{
	struct pic *p = obj;

	for (unsigned i = 0; i < 2; i++) {
		struct chip *c = &p->chip[i];

		if (c->top > 7 || c->icw > 4 || c->icw == 1 || (c->elcr & ~c->elcr_mask))
			return err_set(e, EINVAL, "saved state of pic: impossible value");
	}
	irq_set(&p->intr, chip_pending(&p->chip[0], true) >= 0);
	return 0;
}

static const struct state_field chip_fields[] = {
	STATE_FIELD(struct chip, irr, STATE_U8),
	STATE_FIELD(struct chip, isr, STATE_U8),
	STATE_FIELD(struct chip, imr, STATE_U8),
	STATE_FIELD(struct chip, lines, STATE_U8),
	STATE_FIELD(struct chip, elcr, STATE_U8),
	STATE_FIELD(struct chip, base, STATE_U8),
	STATE_FIELD(struct chip, top, STATE_U8),
	STATE_FIELD(struct chip, icw, STATE_U8),
	STATE_FIELD(struct chip, need_icw4, STATE_BOOL),
	STATE_FIELD(struct chip, single, STATE_BOOL),
	STATE_FIELD(struct chip, sfnm, STATE_BOOL),
	STATE_FIELD(struct chip, auto_eoi, STATE_BOOL),
	STATE_FIELD(struct chip, rotate_aeoi, STATE_BOOL),
	STATE_FIELD(struct chip, special_mask, STATE_BOOL),
	STATE_FIELD(struct chip, read_isr, STATE_BOOL),
	STATE_FIELD(struct chip, poll, STATE_BOOL),
	STATE_END,
};

static const struct state_desc chip_state = {
	.name = "8259", .version = 1, .fields = chip_fields,
};

static const struct state_field pic_fields[] = {
	STATE_STRUCTS(struct pic, chip, chip_state),
	STATE_END,
};

static const struct state_desc pic_state = {
	.name = "pic", .version = 1, .fields = pic_fields, .post_load = pic_post_load,
};

static const struct dev_ops pic_ops = {
	.name = "pic", .unrealize = pic_unrealize, .reset = pic_reset,
	.quiesce = dev_quiesce_none, .state = &pic_state,
};

struct pic *pic_create(struct dev_env *env, struct irq_line intr)
{
	struct pic *p = xzalloc(sizeof(*p));

	p->intr = intr;
	for (unsigned i = 0; i < 2; i++) {
		p->io[i] = (struct io_region){ .name = i ? "pic-slave" : "pic-master",
			.ops = i ? &slave_ops : &master_ops, .opaque = p, .lock = env->lock,
			.size = 2 };
		p->map[i] = pio_map(env->mem, i ? 0xa0 : 0x20, &p->io[i], 0);
	}
	p->elcr_io = (struct io_region){ .name = "pic-elcr", .ops = &elcr_ops, .opaque = p,
		.lock = env->lock, .size = 2 };
	p->elcr_map = pio_map(env->mem, 0x4d0, &p->elcr_io, 0);
	dev_add(&p->dev, &pic_ops, "pic", env);
	pic_reset(&p->dev);
	return p;
}
