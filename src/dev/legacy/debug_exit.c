/* SPDX-License-Identifier: Apache-2.0 */
/* isa-debug-exit: a write of v ends the VM with status (v << 1) | 1; reads are zero. */
#include <stdlib.h>

#include "dev/class.h"
#include "dev/legacy/misc.h"

struct debug_exit {
	struct dev dev;
	struct io_region io;
	struct mem_map *map;
};

static uint64_t debug_exit_read(void *opaque, uint64_t off, unsigned size)
{
	return 0;
}

static void debug_exit_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct debug_exit *x = opaque;

	x->dev.env->request_exit(x->dev.env->opaque, (int)((uint32_t)val << 1 | 1));
}

static const struct io_ops debug_exit_io_ops = {
	.read = debug_exit_read, .write = debug_exit_write, .min = 1, .max = 4, .unaligned = true,
};

static void debug_exit_reset(struct dev *d)
{
}

static void debug_exit_unrealize(struct dev *d)
{
	struct debug_exit *x = container_of(d, struct debug_exit, dev);

	pio_unmap(d->env->mem, x->map);
	free(x);
}

static const struct state_field debug_exit_fields[] = { STATE_END };

static const struct state_desc debug_exit_state = {
	.name = "isa-debug-exit", .version = 1, .fields = debug_exit_fields,
};

static const struct dev_ops debug_exit_ops = {
	.name = "isa-debug-exit", .unrealize = debug_exit_unrealize, .reset = debug_exit_reset,
	.quiesce = dev_quiesce_none, .state = &debug_exit_state,
};

struct dev *debug_exit_create(struct dev_env *env, uint16_t base, uint16_t size)
{
	struct debug_exit *x = xzalloc(sizeof(*x));

	x->io = (struct io_region){ .name = "isa-debug-exit", .ops = &debug_exit_io_ops,
		.opaque = x, .lock = env->lock, .size = size };
	x->map = pio_map(env->mem, base, &x->io, 0);
	dev_add(&x->dev, &debug_exit_ops, "isa-debug-exit", env);
	return &x->dev;
}

static int debug_exit_check(const struct dev_opts *o, struct err **e)
{
	return isa_ports_check(dev_opt_num(o, "iobase"), dev_opt_num(o, "iosize"), e);
}

static int debug_exit_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	uint64_t base = dev_opt_num(o, "iobase"), size = dev_opt_num(o, "iosize");
	int rc = isa_ports_free(p->env, base, size, e);

	if (!rc)
		debug_exit_create(p->env, (uint16_t)base, (uint16_t)size);
	return rc;
}

static const struct dev_prop debug_exit_props[] = {
	{ "iobase", "first port", "0x501", PROP_UINT, 0xffff },
	{ "iosize", "number of ports", "2", PROP_UINT, 0x10000 },
	{ 0 },
};

const struct dev_class debug_exit_class = {
	.name = "isa-debug-exit", .help = "a port that ends the VM with a status", .bus = BUS_ISA,
	.category = "Misc", .props = debug_exit_props, .check = debug_exit_check,
	.create = debug_exit_make,
};
