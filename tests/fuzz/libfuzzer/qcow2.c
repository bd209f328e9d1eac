/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a qcow2 image.  The first eight choose how it is opened and what a guest then does
 * with it; the rest is the image.  It lies in memory, and so do its backing file and its data file,
 * whatever names it has for them.  Nothing may crash or take memory without bound, and an image
 * that was opened once and written to without complaint opens again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/node.h"
#include "base/err.h"
#include "base/log.h"

#define ROOM (2 * MiB)
#define IO_MAX (128 * KiB)
#define OPS 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct mem_image {
	unsigned char *p; /* ROOM */
};

static int mi_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	return 0;
}

static void mi_close(struct block_node *n)
{
}

static int mi_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct mem_image *m = n->priv;
	uint64_t have = off < ROOM ? min_u64(len, ROOM - off) : 0;

	bvec_put(v, m->p + off, have);
	bvec_zero(bvec_skip(v, have), len - have);
	return 0;
}

static int mi_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct mem_image *m = n->priv;

	if (!range_fits(off, len, ROOM))
		return -ENOSPC;
	bvec_get(v, m->p + off, len);
	n->size = max_u64(n->size, off + len);
	return 0;
}

static int mi_flush(struct block_node *n)
{
	return 0;
}

static int mi_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct mem_image *m = n->priv;

	if (off < n->size)
		memset(m->p + off, 0, min_u64(len, n->size - off));
	return 0;
}

static const struct node_drv mem_drv = {
	.name = "memory",
	.protocol = true,
	.open = mi_open,
	.close = mi_close,
	.read = mi_read,
	.read_now = mi_read,
	.write = mi_write,
	.flush = mi_flush,
	.discard = mi_discard,
};

static void add_node(struct blocks *bs, const char *name, struct mem_image *m, uint64_t size)
{
	struct node_mode mode = {.write = true, .unmap = true};
	struct block_node *n = node_new(bs, &mem_drv, name, &mode);

	n->priv = m;
	n->size = size;
	n->grows = true;
	n->filename = xstrdup(name);
	n->named = true;
}

static uint64_t rnd_of(uint64_t *s)
{
	uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Near the beginning, the end, or anywhere. */
static void one_op(struct block_node *n, uint64_t *seed, unsigned char *buf)
{
	uint64_t len = (1 + rnd_of(seed) % (rnd_of(seed) % 4 ? 16 : IO_MAX / 512)) * 512, off, room,
		 got = len;
	struct iovec iov;
	unsigned ext;

	len = min_u64(len, align_down(n->size, 512));
	if (!len)
		return;
	room = (n->size - len) / 512 + 1;
	off = rnd_of(seed) % (rnd_of(seed) % 4 ? min_u64(room, 2048) : room) * 512;
	if (rnd_of(seed) % 8 == 0)
		off = (room - 1) * 512;
	switch (rnd_of(seed) % 8) {
	case 0:
	case 1:
		node_read(n, off, len, bvec_of(&iov, buf, len));
		break;
	case 2:
		node_read_now(n, off, len, bvec_of(&iov, buf, len));
		node_status(n, off, &got, &ext);
		break;
	case 3:
		node_discard(n, off, len);
		break;
	case 4:
		node_zero(n, off, len, rnd_of(seed) & 1);
		break;
	case 5:
		node_flush(n);
		break;
	default:
		memset(buf, (int)rnd_of(seed), len);
		node_write(n, off, len, bvec_of(&iov, buf, len));
	}
}

static void use(struct blocks *bs, uint64_t flags, bool external, uint64_t *seed)
{
	struct block_node *n;
	struct block_image img;
	unsigned char *buf;
	char opts[256];
	const char *sep = flags & 8 ? ",cache-size=4K" : "";

	snprintf(opts, sizeof(opts), "driver=qcow2,node-name=top,file=image,backing=%s%s%s%s%s",
		 flags & 1 ? "base" : "", external ? ",data-file=data" : "",
		 flags & 2 ? ",read-only=on" : "", flags & 4 ? ",discard=unmap" : "", sep);
	if (block_open_node(bs, opts, NULL))
		return;
	n = node_find(bs, "top");
	block_image(n, &img);
	buf = xzalloc(IO_MAX);
	for (unsigned i = 0; i < OPS; i++)
		one_op(n, seed, buf);
	if (flags & 16 && n->drv->truncate && !n->read_only)
		n->drv->truncate(n, align_up(n->size + rnd_of(seed) % MiB, 512), NULL);
	free(buf);
	block_close_node(bs, "top", NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mem_image image, base, ext;
	struct blocks *bs;
	struct log *log;
	uint64_t seed;
	bool external;

	if (size < 8 || size > ROOM / 2 + 8)
		return 0;
	seed = get_le64(data);
	image.p = calloc(1, ROOM);
	base.p = calloc(1, ROOM);
	ext.p = calloc(1, ROOM);
	memcpy(image.p, data + 8, size - 8);
	memset(base.p, 0xba, 64 * KiB);
	external = image.p[7] == 3 && image.p[79] & 4;
	log = log_create();
	log_open(log, "/dev/null", NULL);
	bs = blocks_create(log);
	add_node(bs, "image", &image, size - 8);
	add_node(bs, "base", &base, 256 * KiB);
	add_node(bs, "data", &ext, 0);
	use(bs, seed & 0xff, external, &seed);
	use(bs, seed & 0xff, external, &seed);
	blocks_destroy(bs);
	log_destroy(log);
	free(image.p);
	free(base.p);
	free(ext.p);
	return 0;
}
