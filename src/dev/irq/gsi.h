/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Global system interrupts of a PC: 0..15 are the ISA IRQs, which reach both the 8259s and the
 * I/O APIC (IRQ 0 at pin 2, the others at their own number); 16..23 are I/O APIC pins only, and
 * 24..47 the pins of a second one.  Several sources may share one.
 */
#include "dev/dev.h"

#define GSI_MAX 48

struct gsi;
struct ioapic;
struct pic;

/* gsi_create - pic NULL: there are no 8259s. */
struct gsi *gsi_create(struct dev_env *env, struct pic *pic, struct ioapic *ioapic);
/* gsi_add_ioapic - another, once: its pins follow those of the first. */
void gsi_add_ioapic(struct gsi *g, struct ioapic *ioapic);
/* gsi_has_room - may gsi_source be called for gsi n? */
bool gsi_has_room(const struct gsi *g, unsigned n);
/* gsi_source - a new wire to gsi n; the levels of all its wires are ORed.  At most 32 for each n.
 * Driven with env->lock held. */
struct irq_line gsi_source(struct gsi *g, unsigned n);
/* gsi_set_elcr - 8259 inputs that firmware makes level-triggered (bit per ISA IRQ). */
void gsi_set_elcr(struct gsi *g, uint16_t levels);
