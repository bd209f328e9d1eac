/* SPDX-License-Identifier: Apache-2.0 */
/* System control port A (ICH9 13.7.3): bit 1 A20, bit 0 rising: reset. */
#include <stdlib.h>

#include "dev/legacy/misc.h"

struct port92 {
	struct dev dev;
	struct irq_line a20;
	uint8_t val;
	struct io_region io;
	struct mem_map *map;
};

static uint64_t port92_read(void *opaque, uint64_t off, unsigned size)
{
	return ((struct port92 *)opaque)->val;
}

static void port92_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct port92 *p = opaque;
	bool rise = (val & 1) && !(p->val & 1);

	p->val = val & 3;
	irq_set(&p->a20, val & 2);
	if (rise)
		p->dev.env->request_reset(p->dev.env->opaque);
}

static const struct io_ops port92_io_ops = {
	.read = port92_read, .write = port92_write, .min = 1, .max = 1,
};

static void port92_reset(struct dev *d)
{
	struct port92 *p = container_of(d, struct port92, dev);

	p->val = 2;
	irq_set(&p->a20, true);
}

static void port92_unrealize(struct dev *d)
{
	struct port92 *p = container_of(d, struct port92, dev);

	pio_unmap(d->env->mem, p->map);
	free(p);
}

static int port92_post_load(void *obj, struct err **e)
{
	struct port92 *p = obj;

	p->val &= 3;
	irq_set(&p->a20, p->val & 2);
	return 0;
}

static const struct state_field port92_fields[] = {
	STATE_FIELD(struct port92, val, STATE_U8),
	STATE_END,
};

static const struct state_desc port92_state = {
	.name = "port92", .version = 1, .fields = port92_fields, .post_load = port92_post_load,
};

static const struct dev_ops port92_ops = {
	.name = "port92", .unrealize = port92_unrealize, .reset = port92_reset,
	.quiesce = dev_quiesce_none, .state = &port92_state,
};

struct dev *port92_create(struct dev_env *env, struct irq_line a20)
{
	struct port92 *p = xzalloc(sizeof(*p));

	p->a20 = a20;
	p->io = (struct io_region){ .name = "port92", .ops = &port92_io_ops, .opaque = p,
		.lock = env->lock, .size = 1 };
	p->map = pio_map(env->mem, 0x92, &p->io, 0);
	dev_add(&p->dev, &port92_ops, "port92", env);
	port92_reset(&p->dev);
	return &p->dev;
}
