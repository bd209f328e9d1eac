/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A wire between two chips: the driver sets its level, the receiver is told. */
#include <stdbool.h>

struct irq_line {
	void (*set)(void *opaque, int n, bool level);
	void *opaque;
	int n;
};

static inline void irq_set(const struct irq_line *l, bool level)
{
	if (l->set)
		l->set(l->opaque, l->n, level);
}

static inline void irq_pulse(const struct irq_line *l)
{
	irq_set(l, true);
	irq_set(l, false);
}
