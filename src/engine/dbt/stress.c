/* SPDX-License-Identifier: Apache-2.0 */
/* Switches that make the translator do the rare things all the time (docs/translator.md). */
#include <stdlib.h>
#include <string.h>
#include "engine/dbt/dbt_int.h"

static const struct {
	const char *name;
	unsigned bit;
} names[] = {
	{ "small-cache", DBT_STRESS_SMALL_CACHE }, { "flush", DBT_STRESS_FLUSH },
	{ "no-link", DBT_STRESS_NO_LINK },	   { "one-insn", DBT_STRESS_ONE_INSN },
	{ "exact-flags", DBT_STRESS_EXACT_FLAGS },
};

unsigned dbt_stress(void)
{
	const char *list = getenv("DOPPEL_DBT_STRESS");
	unsigned bits = 0;

	for (unsigned n = 0; list && n < ARRAY_SIZE(names); n++)
		if (strstr(list, names[n].name))
			bits |= names[n].bit;
	return bits;
}
