/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Small parts of the ISA world. */
#include "dev/dev.h"

/* port92_create - system control port A (0x92): A20 and fast reset. */
struct dev *port92_create(struct dev_env *env, struct irq_line a20);
/* dma8237_create - both 8237 DMA controllers, their page registers and with them port 0x80
 * (POST codes): registers for probing, no channel is connected. */
struct dev *dma8237_create(struct dev_env *env);
/* debug_exit_create - isa-debug-exit: a write of v ends the VM with status (v << 1) | 1. */
struct dev *debug_exit_create(struct dev_env *env, uint16_t base, uint16_t size);
