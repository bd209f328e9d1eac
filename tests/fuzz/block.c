/* SPDX-License-Identifier: Apache-2.0 */
/* Drives that are used and pestered: input for libfuzzer/block.c. */
#include "back/block/qcow2.h"
#include "fuzz.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that each operation takes after its own. */
static const uint8_t lengths[16] = {5, 5, 5, 5, 5, 0, 0, 0, 2, 0, 10, 5, 0, 0, 2, 0};

/* The smallest qcow2 image: header, L1 table, refcount table and block in clusters of 512 bytes. */
static void put_qcow2(struct input *in)
{
	uint8_t b[5 * 512] = {0};

	put_be32(b, 0x514649fb);
	put_be32(b + 4, 2);
	put_be32(b + 20, 9);
	put_be64(b + 24, 64 * KiB);
	put_be32(b + 36, 2);
	put_be64(b + 40, 3 * 512);
	put_be64(b + 48, 512);
	put_be32(b + 56, 1);
	put_be64(b + 512, 1024);
	for (unsigned i = 0; i < 4; i++)
		b[1024 + 2 * i + 1] = 1;
	put(in, sizeof(b), 2);
	put_bytes(in, b, sizeof(b));
}

static void one(struct rnd *r)
{
	struct input in = {.len = 0};
	bool qcow2 = rnd_one_in(r, 3);

	fuzz_phase("block");
	put(&in, qcow2 ? 2 * rnd_below(r, 2) : rnd_below(r, 4), 1);
	for (unsigned i = 0; i < 3; i++)
		put(&in, rnd_one_in(r, 2) ? 0 : rnd(r), 1);
	put(&in, qcow2 ? 5 : rnd_below(r, 256), 2);
	if (qcow2)
		put_qcow2(&in);
	else
		put(&in, 0, 2);
	for (uint64_t n = rnd_below(r, 60) + 1; n; n--) {
		unsigned op = (unsigned)(rnd_one_in(r, 3) ? rnd_below(r, 2) : rnd_below(r, 16));

		put(&in, op | rnd_below(r, 16) << 4, 1);
		for (unsigned k = 0; k < lengths[op]; k++)
			put(&in, op < 5 && k == 2 ? 0 : rnd_below(r, 128), 1);
	}
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {.name = "fuzz-block",
				      .runs = 500,
				      .hang_s = 30,
				      .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
