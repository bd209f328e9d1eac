/* SPDX-License-Identifier: Apache-2.0 */
/* Guests of boards with any devices: input for libfuzzer/board.c, most of it where there is
 * something. */
#include "fuzz.h"
#include "input.h"
#include "rig_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that each operation takes after its own. */
static const uint8_t lengths[16] = {5, 1, 11, 3, 7, 3, 8, 4, 4, 2, 12, 10, 12, 0, 12, 2};

static void one(struct rnd *r)
{
	struct input in = {.len = 0};

	fuzz_phase("board");
	rig_input(r, &in);
	for (uint64_t n = rnd_below(r, 120) + 1; n && in.len < 1900; n--) {
		unsigned op = (unsigned)(rnd_one_in(r, 3) ? rnd_below(r, 9) : rnd_below(r, 16));

		put(&in, op | rnd_below(r, 16) << 4, 1);
		for (unsigned k = lengths[op]; k; k--)
			put(&in, rnd_one_in(r, 3) ? rnd_below(r, 4) : rnd(r), 1);
	}
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {.name = "fuzz-board",
				      .runs = 500,
				      .hang_s = 30,
				      .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
