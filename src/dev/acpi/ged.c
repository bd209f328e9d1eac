/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic event device.  An event sets its bit in the register and pulses the interrupt; the DSDT's
 * _EVT method reads the register, which clears it, and notifies who is concerned.
 *
 * Sleep control (ACPI 6.4 4.8.3.7): SLP_TYP in bits 4:2, SLP_EN is bit 5, and reads as 0.  Sleep
 * status: bit 7, WAK_STS, is never set, since there is no sleep to wake from.
 */
#include "dev/acpi/ged.h"

#include <stdlib.h>

#define SLP_EN BIT(5)

struct ged {
	struct dev dev;
	struct irq_line irq;
	uint32_t events;
	struct io_region event_io, regs_io;
	struct mem_map *event_map, *regs_map;
};

static uint64_t event_read(void *opaque, uint64_t off, unsigned size)
{
	struct ged *g = opaque;
	uint32_t events = g->events;

	g->events = 0;
	return events;
}

static void event_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
}

static uint64_t regs_read(void *opaque, uint64_t off, unsigned size)
{
	return 0;
}

static void regs_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct dev_env *env = ((struct ged *)opaque)->dev.env;

	if (off == GED_RESET - GED_SLEEP_CONTROL && val == GED_RESET_VALUE) {
		env->request_reset(env->opaque);
	} else if (off == 0 && (val & SLP_EN)) {
		if (bits_get(val, 4, 2) == GED_SLP_TYP_S5)
			env->request_poweroff(env->opaque);
		else
			LOGF(env->log, GUEST_ERRORS, "acpi: sleep type %u is not offered\n",
			     (unsigned)bits_get(val, 4, 2));
	}
}

static const struct io_ops event_ops = {
	.read = event_read,
	.write = event_write,
	.min = 4,
	.max = 4,
};
static const struct io_ops regs_ops = {
	.read = regs_read,
	.write = regs_write,
	.min = 1,
	.max = 1,
};

void ged_power_button(struct ged *g)
{
	g->events |= GED_EVENT_POWER;
	irq_set(&g->irq, true);
	irq_set(&g->irq, false);
}

static void ged_reset(struct dev *d)
{
	container_of(d, struct ged, dev)->events = 0;
}

static void ged_unrealize(struct dev *d)
{
	struct ged *g = container_of(d, struct ged, dev);

	mem_unmap(d->env->mem, g->event_map);
	mem_unmap(d->env->mem, g->regs_map);
	free(g);
}

static int ged_post_load(void *obj, struct err **e)
{
	((struct ged *)obj)->events &= GED_EVENT_POWER;
	return 0;
}

static const struct state_field ged_fields[] = {
	STATE_FIELD(struct ged, events, STATE_U32),
	STATE_END,
};

static const struct state_desc ged_state = {
	.name = "acpi-ged",
	.version = 1,
	.fields = ged_fields,
	.post_load = ged_post_load,
};

static const struct dev_ops ged_ops = {
	.name = "acpi-ged",
	.unrealize = ged_unrealize,
	.reset = ged_reset,
	.quiesce = dev_quiesce_none,
	.state = &ged_state,
};

struct ged *ged_create(struct dev_env *env, struct irq_line irq)
{
	struct ged *g = xzalloc(sizeof(*g));

	g->irq = irq;
	g->event_io = (struct io_region){.name = "ged-event",
					 .ops = &event_ops,
					 .opaque = g,
					 .lock = env->lock,
					 .size = GED_SIZE};
	g->regs_io = (struct io_region){
		.name = "ged-regs", .ops = &regs_ops, .opaque = g, .lock = env->lock, .size = 3};
	g->event_map = mem_map_io(env->mem, GPA(GED_BASE), &g->event_io, 0);
	g->regs_map = mem_map_io(env->mem, GPA(GED_SLEEP_CONTROL), &g->regs_io, 0);
	dev_add(&g->dev, &ged_ops, "acpi-ged", env);
	return g;
}
