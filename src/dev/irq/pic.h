/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Intel 8259A interrupt controllers, master and slave, at ports 0x20, 0xa0, 0x4d0 (ELCR). */
#include "dev/dev.h"

struct pic;

/* pic_create - the pair; `intr` follows the master's INT output.  Always succeeds. */
struct pic *pic_create(struct dev_env *env, struct irq_line intr);
/* pic_input - input line 0..15 (2 is the cascade and ignored).  Driven with env->lock held. */
struct irq_line pic_input(struct pic *p, unsigned irq);
/* pic_ack - the CPU's interrupt acknowledge cycle: the vector (a spurious one, IR7, when nothing is
 * pending any more).  env->lock held. */
uint8_t pic_ack(struct pic *p);
/* pic_set_elcr - level-triggered inputs, as firmware sets them (bit per IRQ).  env->lock held. */
void pic_set_elcr(struct pic *p, uint16_t levels);
