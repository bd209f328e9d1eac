/* SPDX-License-Identifier: Apache-2.0 */
/* Saved states of devices and of the processor, most of them damaged: input for libfuzzer/state.c.
 */
#include <stdlib.h>
#include "fuzz.h"
#include "input.h"
#include "libfuzzer/state.h"
#include "rig_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(struct rnd *r)
{
	struct state_buf s = {0};
	struct input in = {.len = 0};
	unsigned which = rnd_one_in(r, 4) ? STATE_CPU : (unsigned)rnd_below(r, 48);

	fuzz_phase("state");
	rig_input(r, &in);
	state_stream(in.b, in.len, which, &s);
	put(&in, which, 1);
	if (s.len && !rnd_one_in(r, 8))
		rnd_mutate(r, s.data, s.len, 4);
	if (s.len && rnd_one_in(r, 16))
		s.len = rnd_below(r, s.len);
	if (s.len)
		put_bytes(&in, s.data, s.len);
	free(s.data);
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {.name = "fuzz-state",
				      .runs = 300,
				      .hang_s = 30,
				      .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
