/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Intel 82093AA I/O APIC with the EOI register of version 0x20.  Guarded by the APIC lock. */
#include "dev/dev.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000u
#define IOAPIC2_BASE 0xfec10000u

struct apics;
struct ioapic;

/* ioapic_create - maps 4 KiB at IOAPIC_BASE; APIC ID register is 0 until the guest writes it.
 * ioapic_create_second: at IOAPIC2_BASE. */
struct ioapic *ioapic_create(struct dev_env *env, struct apics *apics);
struct ioapic *ioapic_create_second(struct dev_env *env, struct apics *apics);
/* ioapic_input - pin 0..23; driven with env->lock held. */
struct irq_line ioapic_input(struct ioapic *io, unsigned pin);
