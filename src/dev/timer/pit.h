/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Intel 8254 interval timer at ports 0x40-0x43, with system control port B (0x61). */
#include "dev/dev.h"

struct pit;

/* pit_create - `out0` is counter 0's output (IRQ 0). */
struct pit *pit_create(struct dev_env *env, struct irq_line out0);
