/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for the target of libfuzzer/qcow2.c: well formed ones of every kind, small, of which some
 * bytes, mostly in tables, are then changed.
 */
#include <stddef.h>
#include <stdlib.h>
#include "back/block/qcow2.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct image {
	uint8_t seed[8]; /* how it is opened, and used */
	uint8_t b[1024 * 1024];
	uint64_t len, cluster;
	unsigned bits;
	bool v3, ext;
};

static uint64_t next_cluster(struct image *im)
{
	uint64_t off = im->len;

	im->len += im->cluster;
	return off;
}

static void header(struct rnd *r, struct image *im, uint64_t size, uint64_t l1, unsigned l1_size,
		   uint64_t rt, unsigned order)
{
	uint8_t *h = im->b;

	put_be32(h, QCOW2_MAGIC);
	put_be32(h + 4, im->v3 ? 3 : 2);
	put_be32(h + 20, im->bits);
	put_be64(h + HDR_SIZE, size);
	put_be32(h + HDR_L1_SIZE, l1_size);
	put_be64(h + HDR_L1_OFF, l1);
	put_be64(h + HDR_RT_OFF, rt);
	put_be32(h + HDR_RT_CLUSTERS, 1);
	if (!im->v3)
		return;
	put_be64(h + HDR_INCOMPAT, (im->ext ? INCOMPAT_EXTL2 : 0) |
					   (rnd_one_in(r, 6) ? INCOMPAT_DIRTY : 0) |
					   (rnd_one_in(r, 8) ? INCOMPAT_DATA_FILE : 0));
	put_be64(h + HDR_AUTOCLEAR, rnd_one_in(r, 8) ? AUTOCLEAR_DATA_RAW : 0);
	put_be32(h + 96, order);
	put_be32(h + 100, 104);
}

static void l2_entry(struct rnd *r, struct image *im, uint8_t *p)
{
	uint64_t entry = 0, bitmap = 0;

	switch (rnd_below(r, 5)) {
	case 0:
		break;
	case 1:
		entry = im->v3 && !im->ext ? OFLAG_ZERO : 0;
		bitmap = rnd(r) << 32;
		break;
	case 2:
		entry = OFLAG_COMPRESSED | (rnd_below(r, 4) << (62 - (im->bits - 8))) |
			rnd_below(r, im->len);
		break;
	default:
		if (im->len + im->cluster > sizeof(im->b))
			break;
		entry = next_cluster(im) | (rnd_one_in(r, 5) ? 0 : OFLAG_COPIED);
		bitmap = rnd(r) & 0xffffffff;
	}
	put_be64(p, entry);
	if (im->ext)
		put_be64(p + 8, bitmap);
}

/* All that was given out is in use. */
static void refcounts(struct image *im, uint64_t block, unsigned order)
{
	uint64_t bits = UINT64_C(1) << order;

	for (uint64_t c = 0; c < im->len / im->cluster && (c + 1) * bits <= im->cluster * 8; c++) {
		if (bits < 8)
			im->b[block + c * bits / 8] |= (uint8_t)(1u << (c * bits % 8));
		else
			im->b[block + (c + 1) * bits / 8 - 1] = 1;
	}
}

static void make(struct rnd *r, struct image *im)
{
	uint64_t rt, rb, l1, l2;
	unsigned order = 4, per;

	im->v3 = !rnd_one_in(r, 4);
	im->ext = im->v3 && rnd_one_in(r, 4);
	im->bits = im->ext ? 14 + (unsigned)rnd_below(r, 2) : 9 + (unsigned)rnd_below(r, 6);
	im->cluster = BIT(im->bits);
	if (im->v3)
		order = (unsigned)rnd_below(r, 7);
	next_cluster(im);
	rt = next_cluster(im);
	rb = next_cluster(im);
	l1 = next_cluster(im);
	l2 = next_cluster(im);
	per = (unsigned)(im->cluster / (im->ext ? 16 : 8));
	header(r, im, (1 + rnd_below(r, 3)) * per * im->cluster - rnd_below(r, 4) * 512, l1, 3, rt,
	       order);
	put_be64(im->b + rt, rb);
	put_be64(im->b + l1, l2 | OFLAG_COPIED);
	for (unsigned i = 0; i < min_u64(per, 24); i++)
		l2_entry(r, im, im->b + l2 + (uint64_t)i * (im->ext ? 16 : 8));
	refcounts(im, rb, order);
}

static void one(struct rnd *r)
{
	struct image *im = xzalloc(sizeof(*im));

	rnd_bytes(r, im->seed, 8);
	make(r, im);
	fuzz_phase("image");
	if (!rnd_one_in(r, 8)) {
		/* The header alone, tables, or all. */
		uint64_t where = rnd_below(r, 4), len = im->cluster * 5;

		rnd_mutate(r, im->b + (where ? im->cluster : 0), where ? len - im->cluster : 120,
			   6);
		if (rnd_one_in(r, 3))
			rnd_mutate(r, im->b, im->len, 20);
	}
	if (rnd_one_in(r, 10))
		im->len = rnd_below(r, im->len);
	fuzz_input(im->seed, 8 + im->len);
	free(im);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {.name = "fuzz-qcow2", .runs = 1500, .hang_s = 20, .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
