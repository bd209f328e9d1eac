/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot=on: what is written goes to a deleted file of its own, block by block; what was not
 * written comes from the image below, which stays as it is.
 *
 * Which blocks of 4 KiB are here is in bitmaps of one page each, made when first needed.  A write
 * of whole blocks puts the data down, then marks them; a write of a part copies the rest of the
 * block from below and is alone meanwhile (order, taken for writing), or the copy could undo what
 * another write to the same block has just done.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "back/block/graph_int.h"
#include "back/block/node.h"
#include "base/err.h"

#define OV_BLOCK UINT64_C(4096)
#define OV_WORDS 512 /* of a bitmap */
#define OV_BITS (OV_WORDS * 64)

struct overlay {
	int fd;
	pthread_rwlock_t order;
	size_t n_maps;
	_Atomic(_Atomic uint64_t *) maps[];
};

static bool ov_has(const struct overlay *ov, uint64_t blk)
{
	_Atomic uint64_t *map = atomic_load(&((struct overlay *)ov)->maps[blk / OV_BITS]);

	return map && atomic_load(&map[blk % OV_BITS / 64]) & BIT(blk % 64);
}

static void ov_mark(struct overlay *ov, uint64_t blk)
{
	_Atomic uint64_t *map = atomic_load(&ov->maps[blk / OV_BITS]), *mine;

	if (!map) {
		mine = xcalloc(OV_WORDS, sizeof(*mine));
		if (atomic_compare_exchange_strong(&ov->maps[blk / OV_BITS], &map, mine))
			map = mine;
		else
			free(mine);
	}
	atomic_fetch_or(&map[blk % OV_BITS / 64], BIT(blk % 64));
}

/* How much from off on is alike: here or below. */
static uint64_t ov_run(const struct overlay *ov, uint64_t off, uint64_t len, bool *here)
{
	uint64_t blk = off / OV_BLOCK, end = off + len;

	*here = ov_has(ov, blk);
	while ((blk + 1) * OV_BLOCK < end && ov_has(ov, blk + 1) == *here)
		blk++;
	return min_u64((blk + 1) * OV_BLOCK, end) - off;
}

static int fd_io(int fd, bool write, uint64_t off, uint64_t len, struct bvec v)
{
	while (len) {
		struct iovec iov[64];
		size_t want;
		unsigned cnt = bvec_window(v, len, iov, 64, &want);
		ssize_t got = write ? pwritev(fd, iov, (int)cnt, (off_t)off)
				    : preadv(fd, iov, (int)cnt, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -EIO;
		v = bvec_skip(v, (size_t)got);
		off += (uint64_t)got;
		len -= (uint64_t)got;
	}
	return 0;
}

static int ov_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct overlay *ov = n->priv;
	int r = 0;

	while (len && !r) {
		bool here;
		uint64_t part = ov_run(ov, off, len, &here);

		r = here ? fd_io(ov->fd, false, off, part, v) : node_read_backing(n, off, part, v);
		v = bvec_skip(v, part);
		off += part;
		len -= part;
	}
	return r;
}

static void ov_mark_range(struct overlay *ov, uint64_t off, uint64_t len)
{
	for (uint64_t b = off / OV_BLOCK; b * OV_BLOCK < off + len; b++)
		ov_mark(ov, b);
}

/* A part of one block, alone. */
static int ov_write_part(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct overlay *ov = n->priv;
	uint64_t start = align_down(off, OV_BLOCK);
	unsigned char buf[OV_BLOCK];
	struct iovec iov;
	int r;

	if (ov_has(ov, start / OV_BLOCK))
		return fd_io(ov->fd, true, off, len, v);
	r = node_read_backing(n, start, OV_BLOCK, bvec_of(&iov, buf, OV_BLOCK));
	if (r)
		return r;
	bvec_get(v, buf + (off - start), len);
	r = fd_io(ov->fd, true, start, OV_BLOCK, bvec_of(&iov, buf, OV_BLOCK));
	if (!r)
		ov_mark(ov, start / OV_BLOCK);
	return r;
}

static bool ov_part_missing(const struct overlay *ov, uint64_t off, uint64_t end)
{
	return (off % OV_BLOCK && !ov_has(ov, off / OV_BLOCK)) ||
	       (end % OV_BLOCK && !ov_has(ov, end / OV_BLOCK));
}

static int ov_write_alone(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct overlay *ov = n->priv;
	int r = 0;

	while (len && !r) {
		uint64_t in = off % OV_BLOCK, part = min_u64(len, OV_BLOCK - in);

		if (!in && len >= OV_BLOCK) {
			part = align_down(len, OV_BLOCK);
			r = fd_io(ov->fd, true, off, part, v);
			if (!r)
				ov_mark_range(ov, off, part);
		} else {
			r = ov_write_part(n, off, part, v);
		}
		v = bvec_skip(v, part);
		off += part;
		len -= part;
	}
	return r;
}

static int ov_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct overlay *ov = n->priv;
	int r;

	pthread_rwlock_rdlock(&ov->order);
	if (!ov_part_missing(ov, off, off + len)) {
		r = fd_io(ov->fd, true, off, len, v);
		if (!r)
			ov_mark_range(ov, off, len);
		pthread_rwlock_unlock(&ov->order);
		return r;
	}
	pthread_rwlock_unlock(&ov->order);
	pthread_rwlock_wrlock(&ov->order);
	r = ov_write_alone(n, off, len, v);
	pthread_rwlock_unlock(&ov->order);
	return r;
}

/* Whole blocks become holes that are here; the rest is written by the caller's fallback. */
static int ov_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap)
{
	struct overlay *ov = n->priv;

	if ((off | len) % OV_BLOCK)
		return -EOPNOTSUPP;
	pthread_rwlock_wrlock(&ov->order);
	if (fallocate(ov->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) <
	    0) {
		pthread_rwlock_unlock(&ov->order);
		return -EOPNOTSUPP;
	}
	ov_mark_range(ov, off, len);
	pthread_rwlock_unlock(&ov->order);
	return 0;
}

static int ov_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	uint64_t from = align_up(off, OV_BLOCK), to = align_down(off + len, OV_BLOCK);
	int r = from < to ? ov_zero(n, from, to - from, true) : 0;

	return r == -EOPNOTSUPP ? 0 : r;
}

static int ov_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent)
{
	bool here;

	*len = ov_run(n->priv, off, *len, &here);
	if (here)
		return 0;
	if (node_status(n->backing, off, len, extent))
		return -EIO;
	*extent &= ~(unsigned)BLOCK_EXT_HERE;
	return 0;
}

/* What was written is lost with the process in any case. */
static int ov_flush(struct block_node *n)
{
	return 0;
}

static void ov_close(struct block_node *n)
{
	struct overlay *ov = n->priv;

	for (size_t i = 0; i < ov->n_maps; i++)
		free((void *)atomic_load(&ov->maps[i]));
	pthread_rwlock_destroy(&ov->order);
	close(ov->fd);
	free(ov);
}

static int ov_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	return err_set(e, EINVAL, "the driver 'overlay' is for snapshot=on");
}

const struct node_drv node_overlay = {
	.name = "overlay",
	.open = ov_open,
	.close = ov_close,
	.read = ov_read,
	.write = ov_write,
	.flush = ov_flush,
	.discard = ov_discard,
	.zero = ov_zero,
	.status = ov_status,
};

static int temp_file(struct err **e)
{
	const char *dir = getenv("TMPDIR");
	char *name;
	int fd;

	if (!dir || !*dir)
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	name = xasprintf("%s/doppel-XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		fd = err_set(e, errno, "snapshot=on: no temporary file in '%s': %s", dir,
			     strerror(errno));
	else
		unlink(name);
	free(name);
	return fd;
}

int node_overlay_open(struct block_node **out, struct block_node *base, struct err **e)
{
	struct node_mode mode = {.write = true, .unmap = true};
	size_t n_maps = (size_t)(base->size / OV_BLOCK / OV_BITS + 1);
	struct block_node *n;
	struct overlay *ov;
	int fd = temp_file(e);

	if (fd < 0)
		return fd;
	ov = calloc(1, sizeof(*ov) + n_maps * sizeof(ov->maps[0]));
	if (!ov) {
		close(fd);
		return err_set(e, ENOMEM, "snapshot=on: the image is too large");
	}
	ov->fd = fd;
	ov->n_maps = n_maps;
	pthread_rwlock_init(&ov->order, NULL);
	n = node_new(base->bs, &node_overlay, NULL, &mode);
	n->priv = ov;
	n->size = base->size;
	n->backing = base;
	n->filename = xstrdup(base->filename);
	*out = n;
	return 0;
}
