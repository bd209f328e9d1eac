/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* National 16550A UART on the ISA bus. */
#include "dev/dev.h"

struct chardev;
struct uart;

/* uart_create - eight ports at `base`; `cd` may be NULL (nothing connected).  -EBUSY with *e
 * when the chardev is in use. */
int uart_create(struct uart **out, struct dev_env *env, const char *id, uint16_t base,
		struct irq_line irq, struct chardev *cd, struct err **e);
