/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Debug console: one port that prints what is written (Bochs' 0xe9, SeaBIOS' 0x402) and reads
 * 0xe9. */
#include "dev/dev.h"

struct chardev;
struct debugcon;

int debugcon_create(struct debugcon **out, struct dev_env *env, uint16_t port, struct chardev *cd,
		    struct err **e);
