/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that talk to fw_cfg, most of the time sensibly: input for libfuzzer/fwcfg.c. */
#include <string.h>
#include "fuzz.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t some_key(struct rnd *r)
{
	return rnd_one_in(r, 8)	  ? rnd(r)
	       : rnd_one_in(r, 3) ? rnd_below(r, 0x20)
				  : 0x20 + rnd_below(r, 4);
}

static void put_dma(struct rnd *r, struct input *in)
{
	static const uint32_t commands[] = {2, 2, 4, 8, 10, 12, 0, 16, 18, 31};

	put(in,
	    RND_PICK(r, commands) | (uint32_t)some_key(r) << 16 | (rnd_one_in(r, 10) ? 0 : 0xe0),
	    4);
	put(in, rnd_one_in(r, 4) ? rnd_value(r) : rnd_below(r, 10000), 4);
	/* Near what is no RAM, too. */
	for (int i = 0; i < 2; i++)
		put(in,
		    rnd_one_in(r, 4)   ? rnd_value(r)
		    : rnd_one_in(r, 4) ? 0x80000 + rnd_below(r, 8192) - 2048
				       : rnd_below(r, 0x100000),
		    8);
}

static void one(struct rnd *r)
{
	struct input in = {.len = 0};

	fuzz_phase("fw_cfg");
	for (uint64_t n = rnd_below(r, 100) + 1; n; n--) {
		uint64_t op = rnd_below(r, 12);

		op = op < 4 ? op : op < 8 ? 1 : op < 11 ? 2 : rnd_below(r, 6);
		put(&in, op, 1);
		if (op == 0)
			put(&in, some_key(r), 2);
		else if (op == 2)
			put_dma(r, &in);
		else if (op == 3)
			put(&in, rnd(r), 5);
	}
	if (rnd_one_in(r, 4))
		rnd_mutate(r, in.b, in.len, 8);
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-fwcfg", .runs = 2000, .hang_s = 30, .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
