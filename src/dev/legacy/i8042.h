/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Intel 8042 keyboard controller at ports 0x60 and 0x64: self-test, A20, the reset line; a
 * keyboard, no mouse. */
#include "dev/dev.h"
#include "dev/legacy/kbd.h"

struct i8042;

/* i8042_create - `kbd` IRQ 1, `aux` IRQ 12; `a20` follows output port bit 1 (may be empty: A20
 * is then always enabled). */
struct i8042 *i8042_create(struct dev_env *env, struct irq_line kbd, struct irq_line aux,
			   struct irq_line a20);
/* i8042_setup - what firmware does after a reset: translation, interrupts of the keyboard, no mouse. */
void i8042_setup(struct i8042 *k);
/* i8042_keyboard - the one that is attached; it goes with the controller. */
struct kbd *i8042_keyboard(struct i8042 *k);
