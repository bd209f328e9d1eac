/* SPDX-License-Identifier: Apache-2.0 */
/* Debug console: every byte written goes to the character back end, a read gives 0xe9 so that
 * probes find it. */
#include "dev/char/debugcon.h"

#include <errno.h>

#include <stdlib.h>

#include "back/char/chardev.h"
#include "base/err.h"
#include "dev/class.h"

struct debugcon {
	struct dev dev;
	struct chardev *cd;
	struct io_region io;
	struct mem_map *map;
};

static uint64_t debugcon_read(void *opaque, uint64_t off, unsigned size)
{
	return 0xe9;
}

static void debugcon_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct debugcon *d = opaque;
	uint8_t byte = (uint8_t)val;

	/* A peer that does not keep up loses output; the guest must not wait for it. */
	(void)chardev_write(d->cd, &byte, 1);
}

static const struct io_ops debugcon_io_ops = {
	.read = debugcon_read, .write = debugcon_write, .min = 1, .max = 1,
};

static size_t no_input(void *opaque)
{
	return 0;
}

static void drop_input(void *opaque, const uint8_t *buf, size_t len)
{
}

static void debugcon_reset(struct dev *dev)
{
}

static void debugcon_unrealize(struct dev *dev)
{
	struct debugcon *d = container_of(dev, struct debugcon, dev);

	chardev_detach(d->cd);
	pio_unmap(dev->env->mem, d->map);
	free(d);
}

static const struct state_field debugcon_fields[] = { STATE_END };

static const struct state_desc debugcon_state = {
	.name = "debugcon", .version = 1, .fields = debugcon_fields,
};

static const struct dev_ops debugcon_ops = {
	.name = "debugcon", .unrealize = debugcon_unrealize, .reset = debugcon_reset,
	.quiesce = dev_quiesce_none, .state = &debugcon_state,
};

int debugcon_create(struct debugcon **out, struct dev_env *env, uint16_t port, struct chardev *cd,
		    struct err **e)
{
	struct debugcon *d = xzalloc(sizeof(*d));
	struct chardev_front front = { .lock = env->lock, .can_receive = no_input,
				       .receive = drop_input, .opaque = d };
	int rc = chardev_attach(cd, &front, e);

	if (rc) {
		free(d);
		return rc;
	}
	d->cd = cd;
	d->io = (struct io_region){ .name = "debugcon", .ops = &debugcon_io_ops, .opaque = d,
		.lock = env->lock, .size = 1 };
	d->map = pio_map(env->mem, port, &d->io, 0);
	dev_add(&d->dev, &debugcon_ops, "debugcon", env);
	*out = d;
	return 0;
}

static int debugcon_check(const struct dev_opts *o, struct err **e)
{
	return dev_opt_str(o, "chardev") ? 0 :
	       err_set(e, EINVAL, "property 'chardev' is missing");
}

static int debugcon_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	uint64_t port = dev_opt_num(o, "iobase");
	struct debugcon *d;
	int rc = isa_ports_free(p->env, port, 1, e);

	return rc ? rc : debugcon_create(&d, p->env, (uint16_t)port,
					 dev_opt_chardev(o, "chardev"), e);
}

static const struct dev_prop debugcon_props[] = {
	{ "iobase", "port", "0xe9", PROP_UINT, 0xffff },
	{ "chardev", "where the bytes go", NULL, PROP_CHARDEV },
	{ 0 },
};

const struct dev_class debugcon_class = {
	.name = "isa-debugcon", .help = "a port that prints", .bus = BUS_ISA, .category = "Misc",
	.props = debugcon_props, .check = debugcon_check, .create = debugcon_make,
};
