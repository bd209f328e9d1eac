/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the commands about running machines share. */
#include <stdbool.h>
#include "base/err.h"
#include "main/fleet.h"
#include "main/qmp_client.h"
#include "main/rundir.h"

struct fleet_opt {
	const char *name; /* "--json" */
	bool *flag; /* set when it is given */
	const char **arg; /* or: takes the word behind it */
};

/* fleet_options - take options (table ends with name NULL) off the line; what is left goes to
 * word[0..max), *n says how many.  False after a message; *done when help was asked for and
 * printed. */
bool fleet_options(int argc, char **argv, const struct fleet_opt *opts, const char *usage,
		   const char **word, int max, int *n, bool *done);
/* fleet_fail - print the message with the command's name before it; 1. */
int fleet_fail(const char *cmd, struct err **e);
