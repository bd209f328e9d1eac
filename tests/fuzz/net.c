/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drivers of virtio-net that know the device, most of the time: good frames and commands, damaged
 * here and there, in the form that libfuzzer/net.c reads.
 */
#include <string.h>
#include "fuzz.h"
#include "input.h"
#include "libfuzzer/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void be16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* The headers of a TCP or UDP packet of `len` bytes, perhaps tagged; how many bytes they are. */
static size_t frame_head(struct rnd *r, uint8_t *f, size_t len, bool v6, bool udp, size_t *l4)
{
	size_t l3 = rnd_one_in(r, 4) ? 18 : 14, hlen = v6 ? 40 : 20;

	memset(f, 0, 128);
	rnd_bytes(r, f, 12);
	if (l3 == 18) {
		be16(f + 12, 0x8100);
		be16(f + 14, (unsigned)rnd_below(r, 65536));
	}
	be16(f + l3 - 2, v6 ? 0x86dd : 0x800);
	f[l3] = v6 ? 0x60 : 0x45;
	be16(f + l3 + (v6 ? 4 : 2), (unsigned)(len - l3 - (v6 ? 40 : 0)));
	f[l3 + (v6 ? 6 : 9)] = udp ? 17 : 6;
	*l4 = l3 + hlen;
	if (!udp)
		f[*l4 + 12] = (uint8_t)(0x50 + 16 * rnd_below(r, 4));
	if (rnd_one_in(r, 3))
		rnd_mutate(r, f, *l4 + 20, 3);
	return *l4 + 20;
}

/* A header as virtio's, and the beginning of the frame that it is about; both damaged at times. */
static size_t frame(struct rnd *r, uint8_t *hdr, uint8_t *f, size_t len)
{
	static const uint16_t sizes[] = {1, 8, 536, 1448, 1460, 65535};
	bool v6 = rnd_one_in(r, 2), udp = rnd_one_in(r, 3);
	size_t l4, n = frame_head(r, f, len, v6, udp, &l4);

	memset(hdr, 0, 10);
	if (!rnd_one_in(r, 3)) {
		hdr[0] = 1;
		hdr[6] = (uint8_t)l4;
		hdr[8] = udp ? 6 : 16;
	}
	if (rnd_one_in(r, 2)) {
		hdr[1] = udp ? 3 : v6 ? 4 : 1;
		put_le16(hdr + 4, RND_PICK(r, sizes));
	}
	if (rnd_one_in(r, 4))
		rnd_mutate(r, hdr, 10, 2);
	return n;
}

static void put_write(struct input *in, uint32_t at, const uint8_t *p, uint8_t n)
{
	put(in, NET_OP_WRITE, 1);
	put(in, at, 3);
	put(in, n, 1);
	put_bytes(in, p, n);
}

static void put_buffer(struct rnd *r, struct input *in, uint64_t at, uint64_t len)
{
	put(in, rnd_one_in(r, 30) ? rnd_value(r) : at, 2);
	put(in, rnd_one_in(r, 30) ? rnd_value(r) : len, 2);
}

static void op_transmit(struct rnd *r, struct input *in)
{
	uint8_t b[12 + 128] = {0};
	size_t len = 60 + rnd_below(r, rnd_one_in(r, 2) ? 1500 : 65000);
	uint8_t n = (uint8_t)(12 + frame(r, b, b + 12, len));
	unsigned at = (unsigned)rnd_below(r, 256), split = (unsigned)rnd_below(r, 64);

	put_write(in, 0x10000 + at, b, n);
	put(in, NET_OP_CHAIN, 1);
	put(in, 0x40 | (rnd_one_in(r, 4) ? 3 : 1), 1); /* two buffers */
	put(in, rnd_one_in(r, 20) ? 2 : 0, 1);
	put_buffer(r, in, at, split);
	put_buffer(r, in, at + split, len + 12 - split);
}

static void op_receive(struct rnd *r, struct input *in)
{
	uint8_t hdr[10], f[128];
	size_t len = 60 + rnd_below(r, rnd_one_in(r, 2) ? 1500 : 65000);
	size_t n = frame(r, hdr, f, len);

	for (uint64_t i = rnd_below(r, 4); i; i--) {
		put(in, NET_OP_CHAIN, 1);
		put(in, rnd_one_in(r, 4) ? 2 : 0, 1);
		put(in, 1, 1);
		put_buffer(r, in, 4096 * rnd_below(r, 16), 200 + rnd_below(r, 4096));
	}
	put(in, NET_OP_DELIVER, 1);
	put(in, len, 2);
	put(in, n, 1);
	put_bytes(in, hdr, 10);
	put_bytes(in, f, n);
}

static void op_control(struct rnd *r, struct input *in)
{
	uint8_t b[64];
	uint8_t n = (uint8_t)(2 + rnd_below(r, 30));

	rnd_bytes(r, b, sizeof(b));
	b[0] = (uint8_t)rnd_below(r, 7);
	b[1] = (uint8_t)rnd_below(r, b[0] ? 2 : 7);
	if (b[0] == 4)
		put_le16(b + 1,
			 (uint16_t)(rnd_below(r, 4) << 8)); /* a command and a number of pairs */
	if (b[0] == 1) {
		put_le32(b + 2, (uint32_t)rnd_below(r, 3));
		put_le32(b + 6 + 6 * b[2], (uint32_t)rnd_below(r, 3));
		n = 40;
	}
	put_write(in, 0x18000, b, n);
	put(in, NET_OP_CHAIN, 1);
	put(in, 0x40 | 4, 1);
	put(in, 2, 1);
	put_buffer(r, in, 0x8000, n);
	put_buffer(r, in, 0x8800, 1);
}

static void op_undo(struct rnd *r, struct input *in)
{
	static uint8_t zero[3000];
	uint8_t hdr[10], f[128];
	size_t len = 60 + rnd_below(r, 2500), n = frame(r, hdr, f, len);

	put(in, NET_OP_UNDO, 1);
	put(in, rnd_below(r, 32), 1);
	put(in, rnd_one_in(r, 2) ? 576 : rnd_below(r, 100), 2);
	put_bytes(in, hdr, 10);
	put_bytes(in, f, n);
	if (len > n)
		put_bytes(in, zero, len - n - (rnd_one_in(r, 8) ? rnd_below(r, len - n) : 0));
}

static void op_other(struct rnd *r, struct input *in)
{
	uint8_t b[8];

	rnd_bytes(r, b, sizeof(b));
	if (rnd_one_in(r, 6)) { /* the rings themselves */
		put_write(in, (uint32_t)(0x1000 + rnd_below(r, 0x5000)), b,
			  (uint8_t)(1 + rnd_below(r, 8)));
		return;
	}
	b[0] = (uint8_t)(NET_OP_KICK + rnd_below(r, NET_OP_UNDO - NET_OP_KICK));
	if (b[0] == NET_OP_START && !rnd_one_in(r, 3))
		put_le32(b + 1, UINT32_MAX);
	put_bytes(in, b, b[0] == NET_OP_START ? 5 : b[0] == NET_OP_CONFIG ? 8 : 2);
}

static void one(struct rnd *r)
{
	struct input in = {.len = 0};
	unsigned n = 1 + (unsigned)rnd_below(r, 60);

	put(&in, rnd_one_in(r, 2) ? 0 : rnd_below(r, 32), 1);
	while (n-- && in.len < sizeof(in.b) / 2) {
		switch (rnd_below(r, 8)) {
		case 0 ... 2:
			op_transmit(r, &in);
			break;
		case 3 ... 4:
			op_receive(r, &in);
			break;
		case 5:
			op_control(r, &in);
			break;
		default:
			op_other(r, &in);
		}
	}
	op_undo(r, &in);
	if (rnd_one_in(r, 4))
		rnd_mutate(r, in.b, in.len, 6);
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-net", .runs = 3000, .hang_s = 30, .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
