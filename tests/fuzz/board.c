/* SPDX-License-Identifier: Apache-2.0 */
/* Guests of boards with any devices: input for libfuzzer/board.c, most of it where there is
 * something. */
#include "fuzz.h"
#include "input.h"
#include "rig_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that each operation takes after its own. */
static const uint8_t lengths[16] = {5, 1, 11, 3, 7, 3, 8, 4, 4, 2, 12, 10, 12, 0, 12, 2};

#define OP_PAIR 8

static void put_pair(struct input *in, unsigned which, unsigned index, uint32_t v, unsigned size)
{
	put(in, OP_PAIR | which << 4, 1);
	put(in, index, 1);
	put(in, v, size);
}

/* Registers in an order that makes something of them. */
static void put_scene(struct rnd *r, struct input *in)
{
	static const uint16_t sizes[] = {320, 640, 1024, 8, 65535, 2000},
			      bpps[] = {4, 8, 15, 16, 24, 32};

	switch (rnd_below(r, 4)) {
	case 0: /* a mode of VBE: width, height, depth, enable */
		put_pair(in, 0, 1, RND_PICK(r, sizes), 2);
		put_pair(in, 0, 2, RND_PICK(r, sizes), 2);
		put_pair(in, 0, 3, RND_PICK(r, bpps), 2);
		put_pair(in, 0, 4, rnd_one_in(r, 3) ? (uint32_t)rnd_below(r, 256) : 0x41, 2);
		put_pair(in, 0, 5 + (unsigned)rnd_below(r, 6), (uint32_t)rnd_below(r, 2000), 2);
		put(in, 15 | 6 << 4, 1); /* draw */
		break;
	case 1: /* the local APIC's timer: on, divisor, mode, count */
		put_pair(in, 12, 0x0f, 0x1ff, 4);
		put_pair(in, 12, 0x3e, (uint32_t)rnd_below(r, 16), 4);
		put_pair(in, 12, 0x32, (uint32_t)(rnd_below(r, 4) << 17 | rnd_below(r, 256)), 4);
		put_pair(in, 12, 0x38, (uint32_t)rnd_value(r), 4);
		break;
	case 2: /* the keyboard: a command, its byte */
		put(in, 0 | rnd_below(r, 3) * 3 << 4, 1);
		put(in, 2 << 3, 1); /* port 60h */
		put(in, 0xed + rnd_below(r, 19), 1);
		put_pair(in, 7, 0x60 + (unsigned)rnd_below(r, 160), (uint32_t)rnd(r), 1);
		break;
	default: /* HPET: a timer, a comparator, on */
		put_pair(in, 13, 0x40 + 8 * (unsigned)rnd_below(r, 3), (uint32_t)rnd(r), 4);
		put_pair(in, 13, 0x42 + 8 * (unsigned)rnd_below(r, 3),
			 (uint32_t)rnd_below(r, 100000), 4);
		put_pair(in, 13, 4, (uint32_t)rnd_below(r, 4), 4);
	}
	put(in, 13 | rnd_below(r, 16) << 4, 1);
}

static void one(struct rnd *r)
{
	struct input in = {.len = 0};

	fuzz_phase("board");
	rig_input(r, &in);
	for (uint64_t n = rnd_below(r, 120) + 1; n && in.len < 1900; n--) {
		unsigned op;

		if (rnd_one_in(r, 8))
			put_scene(r, &in);
		op = (unsigned)(rnd_one_in(r, 3) ? rnd_below(r, 9) : rnd_below(r, 16));
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
