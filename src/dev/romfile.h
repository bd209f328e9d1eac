/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Files that devices come with: option ROMs. */
#include "dev/dev.h"

/* romfile_load - a file of at most max bytes (and at least one), by its path or by its bare name in
 * the places where firmware is; 0 with *data (the caller frees) and *size, or -errno with *e. */
int romfile_load(const struct dev_env *env, const char *name, uint64_t max, uint8_t **data,
		 uint64_t *size, struct err **e);
