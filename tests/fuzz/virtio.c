/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drivers of virtio devices that know what they do, most of the time: queues that are set up,
 * chains that a device understands, with addresses, lengths and fields as bugs like them, fed to
 * the target of libfuzzer/virtio.c, whose input is their form.
 */
#include <string.h>
#include "fuzz.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum op { OP_WRITE, OP_READ, OP_POKE, OP_QUEUE, OP_CHAIN, OP_KICK, OP_TIME, OP_OTHER };

#define DATA 0x20000u /* buffers */

static void put_op(struct input *in, enum op op, unsigned more)
{
	put(in, op | more << 3, 1);
}

static void put_poke(struct rnd *r, struct input *in, uint32_t a, const void *p, uint8_t len)
{
	put_op(in, OP_POKE, 0);
	put(in, a, 4);
	put(in, len, 1);
	for (unsigned i = 0; i < len; i++)
		put(in, rnd_one_in(r, 60) ? rnd(r) : ((const uint8_t *)p)[i], 1);
}

static void put_buf(struct rnd *r, struct input *in, uint32_t a, uint32_t len)
{
	static const uint32_t bad[] = {0x3fff8,	   0x40000,    0xffffffff, 0x40000000,
				       0x4000fff8, 0x80000000, 0xc0000000, 0x1000};

	put(in, rnd_one_in(r, 100) ? RND_PICK(r, bad) : a, 4);
	put(in, rnd_one_in(r, 100) ? rnd_value(r) : len, 3);
}

/* A disk's request: header, data, status. */
static void blk(struct rnd *r, struct input *in, unsigned q)
{
	static const uint32_t types[] = {0, 0, 1, 1, 4, 8, 11, 13, 2, 99};
	uint8_t h[32] = {0};
	uint32_t type = RND_PICK(r, types), at = DATA + 64 * (uint32_t)rnd_below(r, 16);
	bool out = type == 1 || type > 8, data = type != 4;
	uint32_t len = type > 8 ? 16 : type == 8 ? 20 : 512 * (uint32_t)rnd_below(r, 20);

	put_le32(h, type);
	put_le64(h + 8, rnd_one_in(r, 10) ? rnd_value(r) : rnd_below(r, 2040));
	put_le64(h + 16, rnd_one_in(r, 10) ? rnd_value(r) : rnd_below(r, 2000));
	put_le32(h + 24, (uint32_t)rnd_below(r, 40));
	put_le32(h + 28, (uint32_t)rnd_below(r, 3));
	put_poke(r, in, at, h, 32);
	put_op(in, OP_CHAIN, q);
	put(in, (data ? 3 : 2) | (data && !out ? 2 : 1) << 4, 1);
	put_buf(r, in, at, 16);
	if (data)
		put_buf(r, in, type > 8 ? at + 16 : DATA + 0x1000, len);
	put_buf(r, in, at + 40, 1);
}

/* One buffer of what all others take. */
static void simple(struct rnd *r, struct input *in, unsigned q, bool write)
{
	uint8_t p[40];
	uint32_t at = DATA + 64 * (uint32_t)rnd_below(r, 16);

	if (rnd_one_in(r, 2)) { /* page numbers, control messages */
		for (unsigned i = 0; i < 40; i += 4)
			put_le32(p + i, (uint32_t)rnd_below(r, 64));
	} else {
		rnd_bytes(r, p, sizeof(p));
	}
	if (rnd_one_in(r, 2)) {
		put_le32(p, (uint32_t)rnd_below(r, 5));
		put_le16(p + 4, (uint16_t)rnd_below(r, 8));
		put_le16(p + 6, (uint16_t)rnd_below(r, 2));
	}
	put_poke(r, in, at, p, 40);
	put_op(in, OP_CHAIN, q);
	put(in, 1 + rnd_below(r, 2) * (write ? 1 : 0) + (write ? 0xf0 : 0), 1);
	put_buf(r, in, at, rnd_one_in(r, 2) ? 8 : 40);
	put_buf(r, in, DATA + 0x4000, (uint32_t)rnd_below(r, 9000));
}

/* A frame for the network, or a command for its card. */
static void net(struct rnd *r, struct input *in, unsigned q)
{
	uint8_t p[64] = {0};
	uint32_t at = DATA + 64 * (uint32_t)rnd_below(r, 16);
	bool control = q == 4;

	rnd_bytes(r, p, rnd_one_in(r, 2) ? 10 : 0);
	p[0] = (uint8_t)rnd_below(r, 6);
	p[1] = (uint8_t)rnd_below(r, control ? 4 : 5);
	put_le16(p + 24, rnd_one_in(r, 2) ? 8 : 0xdd86);
	p[26] = 0x45;
	p[35] = rnd_one_in(r, 2) ? 6 : 17;
	put_poke(r, in, at, p, 50);
	put_op(in, OP_CHAIN, q);
	put(in, (q == 0 || q == 2 ? 0x11 : control ? 0x13 : 0x02), 1);
	put_buf(r, in, at, control ? 2 : 12);
	put_buf(r, in, at + (control ? 2 : 12), control ? 6 : (uint32_t)rnd_below(r, 4000));
	put_buf(r, in, DATA + 0x4000, 1);
}

/* A message of 9P and room for its answer. */
static void ninep(struct rnd *r, struct input *in)
{
	static const uint8_t types[] = {8,  12,	 14,  24,  26,	30,  40,  50,  54,  72,
					76, 100, 102, 104, 108, 110, 116, 118, 120, 122};
	static const uint8_t version[] = {19, 0, 0,   0,   100, 0,   0,	  0,   32,  0,	0,
					  8,  0, '9', 'P', '2', '0', '0', '0', '.', 'L'};
	uint8_t p[64] = {0};
	uint32_t at = DATA + 64 * (uint32_t)rnd_below(r, 16), len = 7 + (uint32_t)rnd_below(r, 40);

	for (unsigned i = 7; i < sizeof(p); i += 4)
		put_le32(p + i % 60,
			 rnd_one_in(r, 3) ? (uint32_t)rnd_value(r) : (uint32_t)rnd_below(r, 4));
	put_le32(p, len);
	p[4] = RND_PICK(r, types);
	put_le16(p + 5, (uint16_t)rnd_below(r, 4));
	if (p[4] == 100 || rnd_one_in(r, 3)) {
		memcpy(p, version, sizeof(version));
		put_le32(p, len = sizeof(version));
	}
	put_poke(r, in, at, p, 60);
	put_op(in, OP_CHAIN, 0);
	put(in, 0x12, 1);
	put_buf(r, in, at, len);
	put_buf(r, in, DATA + 0x4000, (uint32_t)rnd_below(r, 200));
}

static void indirect(struct rnd *r, struct input *in, unsigned q, bool packed)
{
	uint8_t t[64] = {0};
	unsigned n = 1 + (unsigned)rnd_below(r, 4);

	for (unsigned i = 0; i < n; i++) {
		put_le64(t + 16 * i, DATA + 16 * i);
		put_le32(t + 16 * i + 8, i + 1 < n ? 16 : 1);
		put_le16(t + 16 * i + (packed ? 14 : 12), i + 1 < n ? 1 : 2);
		put_le16(t + 16 * i + (packed ? 12 : 14),
			 (uint16_t)(rnd_one_in(r, 10) ? rnd(r) : i + 1));
	}
	put_poke(r, in, DATA + 0x800, t, 64);
	put_op(in, OP_CHAIN, q);
	put(in, 0, 1);
	put_buf(r, in, DATA + 0x800, 16 * n);
}

static void access(struct rnd *r, struct input *in)
{
	static const uint16_t regs[] = {0, 0x2000, 0x3000, 0x8000, 0x9000, 0xa000, 0x100, 0x8040};
	bool write = !rnd_one_in(r, 3);

	put_op(in, write ? OP_WRITE : OP_READ, (unsigned)rnd_below(r, 4));
	put(in, RND_PICK(r, regs) + rnd_below(r, 0x80), 2);
	if (write)
		put(in, rnd_one_in(r, 2) ? rnd_value(r) : rnd_below(r, 32), 4);
}

static void put_step(struct rnd *r, struct input *in, unsigned dev, bool packed)
{
	static const uint8_t queues[8] = {2, 1, 5, 8, 5, 1, 2, 1};
	unsigned type = dev & 7, q = (unsigned)rnd_below(r, queues[type]);

	switch (rnd_below(r, 10)) {
	case 0:
		access(r, in);
		break;
	case 1:
		put_op(in, OP_QUEUE, q);
		break;
	case 2:
		put_op(in, OP_TIME, (unsigned)rnd_below(r, 32));
		break;
	case 3:
		put_op(in, OP_OTHER, (unsigned)rnd_below(r, 8));
		put(in, rnd(r), 4);
		break;
	case 4:
		indirect(r, in, q, packed);
		put_op(in, OP_KICK, q);
		break;
	default:
		if (type == 0 || type == 6)
			blk(r, in, q);
		else if (type == 4)
			net(r, in, q);
		else if (type == 5)
			ninep(r, in);
		else
			simple(r, in, q, type == 1 || type == 7 || rnd_one_in(r, 2));
		if (!rnd_one_in(r, 3))
			put_op(in, OP_KICK, q);
	}
}

static void one(struct rnd *r)
{
	struct input in = {.len = 0};
	unsigned dev = (unsigned)rnd_below(r, 32), features = (unsigned)rnd_below(r, 16);

	fuzz_phase("virtio");
	put(&in, dev, 1);
	put(&in, features, 1);
	for (unsigned q = 0; q < 8; q++)
		put_op(&in, OP_QUEUE, q);
	for (uint64_t n = rnd_below(r, 100) + 1; n && in.len < sizeof(in.b) - 300; n--)
		put_step(r, &in, dev, (features & 1) && !(dev & 16));
	if (rnd_one_in(r, 4))
		rnd_mutate(r, in.b + 1, in.len - 1, 8);
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-virtio",
			       .runs = 1500,
			       .hang_s = 30,
			       .one = one,
			       .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
