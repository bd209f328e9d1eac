/* SPDX-License-Identifier: Apache-2.0 */
/* Switches that make the translator do the rare things all the time (docs/translator.md). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "engine/dbt/dbt_int.h"

static const struct {
	const char *name;
	unsigned bit;
} names[] = {
	{"small-cache", DBT_STRESS_SMALL_CACHE}, {"flush", DBT_STRESS_FLUSH},
	{"no-link", DBT_STRESS_NO_LINK},	 {"one-insn", DBT_STRESS_ONE_INSN},
	{"exact-flags", DBT_STRESS_EXACT_FLAGS}, {"windows", DBT_STRESS_WINDOWS},
	{"no-windows", DBT_STRESS_NO_WINDOWS},	 {"direct", DBT_STRESS_DIRECT},
	{"no-direct", DBT_STRESS_NO_DIRECT},
};

static int parse(const char *list, unsigned *out, struct err **e)
{
	while (list && *list) {
		size_t len = strcspn(list, "+");
		unsigned n;

		for (n = 0; n < ARRAY_SIZE(names); n++)
			if (strlen(names[n].name) == len && !memcmp(names[n].name, list, len))
				break;
		if (n == ARRAY_SIZE(names))
			return err_set(e, EINVAL,
				       "no stress '%.*s' (small-cache, flush, no-link, one-insn, "
				       "exact-flags, windows, no-windows, direct, no-direct)",
				       (int)len, list);
		*out |= names[n].bit;
		list += len + (list[len] == '+');
	}
	return 0;
}

int stress_parse(const char *list, unsigned *out, struct err **e)
{
	int r = parse(list, out, e);

	return r ? r : parse(getenv("DOPPEL_DBT_STRESS"), out, e);
}
