/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two 8237A DMA controllers (Intel 231466; ICH9 13.2) as far as software can tell with
 * nothing connected.
 *
 *   0x00-0x0f  controller 1, bytes; 0xc0-0xdf controller 2, every second port:
 *     0-7 address and count of channel 0-3, LSB then MSB   8 command/status   9 request   a
 *                                                          single mask
 *     b mode   c clear flip-flop   d master clear   e clear mask   f all masks
 *   0x80-0x8f  page registers and spare bytes; 0x80 is where POST codes go
 */
#include <stdlib.h>

#include "dev/legacy/misc.h"

struct ctl {
	uint16_t reg[8];
	uint8_t command, mode[4], mask, request;
	bool flipflop;
};

struct dma8237 {
	struct dev dev;
	struct ctl ctl[2];
	uint8_t page[16];
	struct io_region io[2], page_io;
	struct mem_map *map[2], *page_map;
};

static void master_clear(struct ctl *c)
{
	c->command = c->request = 0;
	c->mask = 0xf;
	c->flipflop = false;
}

static uint8_t ctl_read(struct ctl *c, unsigned r)
{
	if (r < 8) {
		c->flipflop = !c->flipflop;
		return (uint8_t)(c->flipflop ? c->reg[r] : c->reg[r] >> 8);
	}
	switch (r) {
	case 8: /* status: no channel reached terminal count; software requests are pending */
		return (uint8_t)(c->request << 4);
	case 15:
		return 0xf0 | c->mask;
	default:
		return 0;
	}
}

static void ctl_write(struct ctl *c, unsigned r, uint8_t val)
{
	uint8_t bit = (uint8_t)(1u << (val & 3));

	switch (r) {
	case 0 ... 7:
		c->flipflop = !c->flipflop;
		c->reg[r] = c->flipflop ? (c->reg[r] & 0xff00) | val :
					  (uint16_t)((c->reg[r] & 0xff) | val << 8);
		break;
	case 8:
		c->command = val;
		break;
	case 9:
		c->request = val & 4 ? c->request | bit : c->request & (uint8_t)~bit;
		break;
	case 10:
		c->mask = val & 4 ? c->mask | bit : c->mask & (uint8_t)~bit;
		break;
	case 11:
		c->mode[val & 3] = val;
		break;
	case 12:
		c->flipflop = false;
		break;
	case 13:
		master_clear(c);
		break;
	case 14:
		c->mask = 0;
		break;
	case 15:
		c->mask = val & 0xf;
		break;
	}
}

static uint64_t dma1_read(void *opaque, uint64_t off, unsigned size)
{
	return ctl_read(&((struct dma8237 *)opaque)->ctl[0], (unsigned)off);
}

static void dma1_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	ctl_write(&((struct dma8237 *)opaque)->ctl[0], (unsigned)off, (uint8_t)val);
}

static uint64_t dma2_read(void *opaque, uint64_t off, unsigned size)
{
	return ctl_read(&((struct dma8237 *)opaque)->ctl[1], (unsigned)off / 2);
}

static void dma2_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	ctl_write(&((struct dma8237 *)opaque)->ctl[1], (unsigned)off / 2, (uint8_t)val);
}

static uint64_t page_read(void *opaque, uint64_t off, unsigned size)
{
	return ((struct dma8237 *)opaque)->page[off & 15];
}

static void page_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	((struct dma8237 *)opaque)->page[off & 15] = (uint8_t)val;
}

static const struct io_ops dma1_ops = {
	.read = dma1_read, .write = dma1_write, .min = 1, .max = 1,
};
static const struct io_ops dma2_ops = {
	.read = dma2_read, .write = dma2_write, .min = 1, .max = 1,
};
static const struct io_ops page_ops = {
	.read = page_read, .write = page_write, .min = 1, .max = 1,
};

static void dma8237_reset(struct dev *d)
{
	struct dma8237 *m = container_of(d, struct dma8237, dev);

	for (unsigned i = 0; i < 2; i++) {
		m->ctl[i] = (struct ctl){ 0 };
		master_clear(&m->ctl[i]);
	}
	for (unsigned i = 0; i < 16; i++)
		m->page[i] = 0;
}

static void dma8237_unrealize(struct dev *d)
{
	struct dma8237 *m = container_of(d, struct dma8237, dev);

	pio_unmap(d->env->mem, m->map[0]);
	pio_unmap(d->env->mem, m->map[1]);
	pio_unmap(d->env->mem, m->page_map);
	free(m);
}

static const struct state_field ctl_fields[] = {
	STATE_ARRAY(struct ctl, reg, STATE_U16),
	STATE_FIELD(struct ctl, command, STATE_U8),
	STATE_ARRAY(struct ctl, mode, STATE_U8),
	STATE_FIELD(struct ctl, mask, STATE_U8),
	STATE_FIELD(struct ctl, request, STATE_U8),
	STATE_FIELD(struct ctl, flipflop, STATE_BOOL),
	STATE_END,
};

static const struct state_desc ctl_state = { .name = "8237", .version = 1, .fields = ctl_fields };

static const struct state_field dma8237_fields[] = {
	STATE_STRUCTS(struct dma8237, ctl, ctl_state),
	STATE_BLOB(struct dma8237, page),
	STATE_END,
};

static const struct state_desc dma8237_state = {
	.name = "dma8237", .version = 1, .fields = dma8237_fields,
};

static const struct dev_ops dma8237_ops = {
	.name = "dma8237", .unrealize = dma8237_unrealize, .reset = dma8237_reset,
	.quiesce = dev_quiesce_none, .state = &dma8237_state,
};

struct dev *dma8237_create(struct dev_env *env)
{
	struct dma8237 *m = xzalloc(sizeof(*m));

	m->io[0] = (struct io_region){ .name = "dma1", .ops = &dma1_ops, .opaque = m,
		.lock = env->lock, .size = 16 };
	m->io[1] = (struct io_region){ .name = "dma2", .ops = &dma2_ops, .opaque = m,
		.lock = env->lock, .size = 32 };
	m->page_io = (struct io_region){ .name = "dma-page", .ops = &page_ops, .opaque = m,
		.lock = env->lock, .size = 16 };
	m->map[0] = pio_map(env->mem, 0x00, &m->io[0], 0);
	m->map[1] = pio_map(env->mem, 0xc0, &m->io[1], 0);
	m->page_map = pio_map(env->mem, 0x80, &m->page_io, 0);
	dev_add(&m->dev, &dma8237_ops, "dma8237", env);
	dma8237_reset(&m->dev);
	return &m->dev;
}
