/* SPDX-License-Identifier: Apache-2.0 */
/* The engines there are. */
#include "engine/engine.h"
#include <string.h>
#include "engine/dbt/dbt.h"
#include "engine/interp/interp.h"

static const struct engine_ops *const engines[] = {&engine_interp, &engine_dbt, NULL};

const struct engine_ops *const *engine_list(void)
{
	return engines;
}

const struct engine_ops *engine_find(const char *name)
{
	for (const struct engine_ops *const *e = engines; *e; e++)
		if (!strcmp((*e)->name, name))
			return *e;
	return NULL;
}
