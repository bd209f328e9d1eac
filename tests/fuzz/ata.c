/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drivers of IDE and AHCI that know their controller, most of the time: commands that there are,
 * with addresses about the ends of the medium, fed to the target of libfuzzer/ata.c, whose input is
 * their form.
 */
#include <string.h>
#include "fuzz.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of libfuzzer/ata.c. */
enum op { OP_WRITE, OP_READ, OP_POKE, OP_COMMAND, OP_DATA, OP_START, OP_TIME, OP_OTHER };

static const uint8_t commands[] = {
	0x20, 0x24, 0x25, 0x29, 0x2f, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x47, 0x60, 0x61,
	0x60, 0x61, 0x06, 0x08, 0x90, 0x91, 0xa0, 0xa0, 0xa0, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5,
	0xc6, 0xc8, 0xca, 0xe0, 0xe5, 0xe7, 0xea, 0xec, 0xef, 0xf8, 0x27, 0x00,
};
static const uint8_t packets[] = {
	0x00, 0x03, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x28, 0x2b, 0x43,
	0x46, 0x4a, 0x51, 0x52, 0x55, 0x5a, 0xa8, 0xb9, 0xbb, 0xbd, 0xbe, 0xbe,
};

static void put_op(struct input *in, enum op op, unsigned arg)
{
	put(in, op | arg << 3, 1);
}

/* registers - feature, count, address, device in the order of the controller. */
static void registers(struct rnd *r, struct input *in, bool ahci, uint8_t command)
{
	uint64_t lba = rnd_one_in(r, 6) ? rnd_value(r) : rnd_below(r, 2100);
	uint8_t count = (uint8_t)(rnd_one_in(r, 4) ? rnd(r) : rnd_below(r, 9));
	uint8_t feature = (uint8_t)(rnd_one_in(r, 2) ? rnd_below(r, 4) : rnd(r));
	static const uint8_t smart[] = {0xd0, 0xd1, 0xd2, 0xd4, 0xd5, 0xd6, 0xd8, 0xd9, 0xda, 0xdb};
	static const uint8_t set[] = {0x02, 0x82, 0x03, 0x55, 0xaa, 0x05, 0x42, 0x66, 0x10, 0x90};
	uint8_t device = (uint8_t)(0xe0 | (rnd_one_in(r, 4) ? rnd(r) : 0) |
				   (command == 0xa0 && !ahci ? 0x10 : 0));

	if (command == 0xb0 && !rnd_one_in(r, 8)) {
		lba = 0xc24f00 | (rnd_one_in(r, 2) ? rnd_below(r, 16) : rnd_value(r) & 0xff);
		feature = RND_PICK(r, smart);
	} else if (command == 0xef) {
		feature = RND_PICK(r, set);
	} else if (command == 0x2f || command == 0x47) {
		lba = rnd_one_in(r, 2) ? 0x10 : rnd_below(r, 4);
	}
	if (ahci) {
		put(in, command, 1);
		put(in, command == 0x60 || command == 0x61 ? count : feature, 1);
		put(in, lba, 3);
		put(in, device, 1);
		put(in, lba >> 24, 3);
		put(in, 0, 1);
		put(in, count, 2);
	} else {
		put(in, feature, 1);
		put(in, count, 1);
		put(in, command == 0xa0 ? rnd(r) : lba, 3);
		put(in, device, 1);
		put(in, command, 1);
	}
}

static void packet(struct rnd *r, struct input *in)
{
	/* Pages, formats, sizes. */
	static const uint8_t second[] = {0, 0, 1, 2, 0x10},
			     third[] = {0, 0x80, 0x83, 0x3f, 0x2a, 1, 0x0e, 2},
			     fifth[] = {0, 0x10, 36, 0xff}, tenth[] = {0, 0x40, 0x80, 0x10, 0xf8};
	uint8_t p[12] = {RND_PICK(r, packets),
			 RND_PICK(r, second),
			 RND_PICK(r, third),
			 0,
			 RND_PICK(r, fifth),
			 (uint8_t)rnd_below(r, 20),
			 0,
			 (uint8_t)rnd_below(r, 2),
			 (uint8_t)rnd_below(r, 255),
			 RND_PICK(r, tenth)};

	if (rnd_one_in(r, 4))
		rnd_mutate(r, p, sizeof(p), 3);
	put_bytes(in, p, sizeof(p));
}

static void command(struct rnd *r, struct input *in, bool ahci)
{
	uint8_t cmd = rnd_one_in(r, 20) ? (uint8_t)rnd(r) : RND_PICK(r, commands);
	unsigned n = (unsigned)rnd_below(r, 8);

	put_op(in, OP_COMMAND, n | (rnd_one_in(r, 4) ? 0 : 16));
	if (ahci)
		put(in, rnd(r), 1);
	registers(r, in, ahci, cmd);
	if (cmd == 0xa0)
		packet(r, in);
	for (unsigned i = 0; i < n; i++) {
		put(in, rnd_one_in(r, 10) ? rnd(r) : 0x80000000u | rnd_below(r, 0x40000), 4);
		put(in, rnd_one_in(r, 3) ? rnd(r) : 511, 2);
	}
}

static void put_step(struct rnd *r, struct input *in, bool ahci)
{
	switch (rnd_below(r, 12)) {
	case 0:
	case 1:
		put_op(in, OP_WRITE, (unsigned)rnd_below(r, 4));
		put(in, rnd_below(r, 0x200) | (rnd_one_in(r, 10) ? 0x8000 : 0), 2);
		put(in, rnd_value(r), 4);
		break;
	case 2:
		put_op(in, OP_READ, (unsigned)rnd_below(r, 4));
		put(in, rnd_below(r, 0x200), 2);
		break;
	case 3:
		put_op(in, OP_START, (unsigned)rnd_below(r, 2));
		break;
	case 4:
		put_op(in, OP_TIME, 0);
		break;
	case 5:
		put_op(in, OP_OTHER, (unsigned)rnd_below(r, 4));
		put(in, rnd(r), 8);
		break;
	case 6:
		put_op(in, OP_DATA, (unsigned)rnd_below(r, 32));
		if (ahci)
			put(in, rnd(r), 4);
		break;
	default:
		command(r, in, ahci);
	}
}

static void one(struct rnd *r)
{
	struct input in = {.len = 0};
	bool ahci = rnd_one_in(r, 2);

	fuzz_phase("ata");
	put(&in, ahci, 1);
	for (unsigned p = 0; p < 2; p++)
		put_op(&in, OP_START, p);
	for (uint64_t n = rnd_below(r, 80) + 1; n && in.len < sizeof(in.b) - 200; n--)
		put_step(r, &in, ahci);
	if (rnd_one_in(r, 4))
		rnd_mutate(r, in.b + 1, in.len - 1, 8);
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-ata",
			       .runs = 1500,
			       .hang_s = 30,
			       .one = one,
			       .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
