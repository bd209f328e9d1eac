/* SPDX-License-Identifier: Apache-2.0 */
/* Wires of a PC's interrupts to its controllers (ACPI 6.4 5.2.13: GSIs; IRQ 0 is overridden to
 * pin 2). */
#include "dev/irq/gsi.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"

#define ISA_IRQS 16
#define SOURCES 32

struct gsi {
	struct dev dev;
	struct pic *chip; /* NULL: none */
	unsigned n; /* GSIs */
	struct irq_line pic[ISA_IRQS], ioapic[GSI_MAX];
	uint32_t levels[GSI_MAX]; /* bit per source */
	uint8_t sources[GSI_MAX];
};

static void gsi_set(void *opaque, int n, bool level)
{
	struct gsi *g = opaque;
	unsigned gsi = (unsigned)n / SOURCES;
	uint32_t bit = 1u << (unsigned)n % SOURCES, old = g->levels[gsi];

	g->levels[gsi] = level ? old | bit : old & ~bit;
	if (!old == !g->levels[gsi])
		return;
	if (gsi < ISA_IRQS && g->chip)
		irq_set(&g->pic[gsi], level);
	irq_set(&g->ioapic[gsi ? gsi : 2], level);
}

bool gsi_has_room(const struct gsi *g, unsigned n)
{
	return n < g->n && g->sources[n] < SOURCES;
}

struct irq_line gsi_source(struct gsi *g, unsigned n)
{
	bug_on(n >= g->n || g->sources[n] >= SOURCES);
	return (struct irq_line){ .set = gsi_set, .opaque = g,
				  .n = (int)(n * SOURCES + g->sources[n]++) };
}

void gsi_set_elcr(struct gsi *g, uint16_t levels)
{
	if (g->chip)
		pic_set_elcr(g->chip, levels);
}

/* The wires follow their drivers, which are reset on their own. */
static void gsi_reset(struct dev *d)
{
}

static void gsi_unrealize(struct dev *d)
{
	free(container_of(d, struct gsi, dev));
}

static int gsi_post_load(void *obj, struct err **e)
{
	struct gsi *g = obj;

	for (unsigned n = 0; n < GSI_MAX; n++)
		if (g->sources[n] < SOURCES && g->levels[n] >> g->sources[n])
			return err_set(e, EINVAL, "saved state of gsi: unknown source");
	return 0;
}

static const struct state_field gsi_fields[] = {
	STATE_ARRAY(struct gsi, levels, STATE_U32),
	STATE_END,
};

static const struct state_desc gsi_state = {
	.name = "gsi", .version = 1, .fields = gsi_fields, .post_load = gsi_post_load,
};

static const struct dev_ops gsi_ops = {
	.name = "gsi", .unrealize = gsi_unrealize, .reset = gsi_reset,
	.quiesce = dev_quiesce_none, .state = &gsi_state,
};

void gsi_add_ioapic(struct gsi *g, struct ioapic *ioapic)
{
	bug_on(g->n + IOAPIC_PINS > GSI_MAX);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		g->ioapic[g->n++] = ioapic_input(ioapic, i);
}

struct gsi *gsi_create(struct dev_env *env, struct pic *pic, struct ioapic *ioapic)
{
	struct gsi *g = xzalloc(sizeof(*g));

	g->chip = pic;
	for (unsigned i = 0; pic && i < ISA_IRQS; i++)
		g->pic[i] = pic_input(pic, i);
	gsi_add_ioapic(g, ioapic);
	dev_add(&g->dev, &gsi_ops, "gsi", env);
	return g;
}
