/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Parallel flash that firmware starts from and keeps its variables in: CFI, Intel command set, 8
 * bits wide, blocks of 4 KiB. */
#include "dev/dev.h"

struct block;
struct pflash;

#define PFLASH_SECTOR 4096u
#define PFLASH_MAX (8 * MiB) /* of all units together */

/* pflash_size - what a drive would take of guest RAM; 0 with *e when it cannot be flash (empty, not
 * a multiple of 4 KiB, larger than PFLASH_MAX). */
uint64_t pflash_size(const struct block *b, struct err **e);
/* pflash_create - flash at `base` (4 KiB multiple), with the contents of the drive, which is read
 * here and written as the guest programs it; a read-only drive makes flash that cannot be
 * programmed. name outlives it.  The guest RAM offset of its bytes goes to *ram_off. */
int pflash_create(struct dev_env *env, uint64_t base, struct block *b, const char *name,
		  uint64_t *ram_off, struct err **e);
