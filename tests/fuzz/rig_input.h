/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The beginning of input for targets with a whole machine: libfuzzer/rig.h. */
#include "fuzz.h"
#include "input.h"

static inline void rig_input(struct rnd *r, struct input *in)
{
	unsigned n = (unsigned)rnd_below(r, 5);

	put(in, rnd_below(r, 4) | (rnd_one_in(r, 4) ? 4 : 0) | (rnd_one_in(r, 3) ? 8 : 0) | n << 4,
	    1);
	put(in, rnd(r), 2);
	while (n--) {
		unsigned props = rnd_one_in(r, 4) ? 1 : 0;

		put(in, rnd(r), 1);
		put(in, props, 1);
		put(in, rnd(r), 2 * props);
	}
}
