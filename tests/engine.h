/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdlib.h>

/* test_engine - the engine that $DOPPEL_ACCEL names, for tests that run on each; else the
 * interpreter.  One that this build lacks fails the test: vm_create and engine_find know no other
 * in its place. */
static inline const char *test_engine(void)
{
	const char *name = getenv("DOPPEL_ACCEL");

	return name && *name ? name : "interp";
}
