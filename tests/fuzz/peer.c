/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that send frames, telnet commands and escape keys: input for libfuzzer/peer.c. */
#include "fuzz.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(struct rnd *r)
{
	static const uint8_t marks[] = {0xff, 0xfb, 0xfd, 0xfa, 0xf0, 0xf3, 0x01, 'c', 'x', 'b',
					'h',  's',  't',  0x0d, 0x0a, 0,    1,	  3,   24,  31};
	struct input in = {.len = 0};

	fuzz_phase("peer");
	put(&in, rnd(r), 1);
	for (uint64_t n = rnd_below(r, 60) + 1; n; n--) {
		unsigned op = (unsigned)rnd_below(r, 8);
		size_t len = rnd_one_in(r, 4) ? rnd_below(r, 200) : rnd_below(r, 40);

		put(&in, op | rnd_below(r, 32) << 3, 1);
		if (op > 3) {
			put(&in, rnd(r), op < 6);
			continue;
		}
		put(&in, len, 1);
		if (op == 3)
			put(&in, rnd_one_in(r, 2) ? rnd_value(r) : rnd_below(r, 300), 3);
		while (len--)
			put(&in, rnd_one_in(r, 3) ? rnd(r) : RND_PICK(r, marks), 1);
	}
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {.name = "fuzz-peer",
				      .runs = 1000,
				      .hang_s = 30,
				      .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
