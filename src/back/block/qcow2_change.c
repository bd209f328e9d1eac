/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the mapping without data: discard, zeroes, size.  And what is where. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/qcow2.h"
#include "base/err.h"

#define AT_ONCE 1024 /* clusters per range */

/* What a cluster that is given up, or is to be zero, turns into. */
static struct qentry zero_entry(const struct qcow2 *q, uint64_t entry, bool keep)
{
	bool host = keep && entry_has_host(q, entry) && (entry & OFLAG_COPIED);
	struct qentry en = {0};

	if (host)
		en.entry = (entry & L2E_OFFSET) | OFLAG_COPIED;
	if (q->extl2)
		en.bitmap = UINT64_C(0xffffffff) << 32;
	else if (q->version >= 3)
		en.entry |= OFLAG_ZERO;
	return en;
}

/* One cluster.  keep: its space, for later writes. */
static int cluster_zero(struct qcow2 *q, uint64_t cluster, bool keep)
{
	struct qentry old, en;
	int r = map_entry(q, cluster, &old);

	if (r)
		return r;
	en = zero_entry(q, old.entry, keep);
	if (en.entry == old.entry && en.bitmap == old.bitmap)
		return 0;
	r = map_table(q, cluster);
	r = r ? r : map_set(q, cluster, &en);
	if (!r && !entry_has_host(q, en.entry))
		map_free(q, old.entry);
	return r;
}

/* Give up a cluster; one that was not here stays as it is. */
static int cluster_discard(struct qcow2 *q, uint64_t cluster)
{
	struct qentry old;
	int r = map_entry(q, cluster, &old);

	if (r || (!old.entry && !old.bitmap))
		return r;
	if (q->version < 3 && q->n->backing)
		return 0;
	return cluster_zero(q, cluster, false);
}

enum change_how { CHANGE_DISCARD, CHANGE_ZERO, CHANGE_ZERO_KEEP };

static int change_clusters(struct qcow2 *q, uint64_t first, uint64_t end, enum change_how how)
{
	int r = 0;

	lock_take(&q->lock);
	while (first < end && !r) {
		struct qrange rg = {
			.first = first, .last = min_u64(end, first + AT_ONCE) - 1, .alone = true};

		range_enter(q, &rg);
		for (uint64_t c = rg.first; c <= rg.last && !r; c++) {
			r = q->corrupt ? -EIO : 0;
			if (!r)
				r = how == CHANGE_DISCARD
					    ? cluster_discard(q, c)
					    : cluster_zero(q, c, how == CHANGE_ZERO_KEEP);
		}
		range_leave(q, &rg);
		first = rg.last + 1;
		if (!r && q->n_frees > QCOW2_FRAGMENTS)
			r = commit_all(q);
	}
	lock_drop(&q->lock);
	return r;
}

/* Clusters that lie in [off, off+len) as a whole; the last of the image may be a part of one. */
static void whole_clusters(const struct qcow2 *q, uint64_t off, uint64_t len, uint64_t *first,
			   uint64_t *end)
{
	*first = q_cluster(q, off + q->cluster_size - 1);
	*end = off + len == q->n->size ? q_cluster(q, off + len + q->cluster_size - 1)
				       : q_cluster(q, off + len);
}

int qcow2_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct qcow2 *q = n->priv;
	uint64_t first, end;

	if (q->raw_external)
		return 0;
	whole_clusters(q, off, len, &first, &end);
	return first < end ? change_clusters(q, first, end, CHANGE_DISCARD) : 0;
}

static int write_zeroes(struct block_node *n, uint64_t off, uint64_t len)
{
	struct iovec iov;
	void *zero = xzalloc_aligned(4096, align_up(len, 4096));
	int r = qcow2_write(n, off, len, bvec_of(&iov, zero, len));

	free(zero);
	return r;
}

/* A part of a cluster; nothing to do where it reads as zeroes already. */
static int part_zero(struct block_node *n, uint64_t off, uint64_t len)
{
	struct qcow2 *q = n->priv;
	struct qmap m;
	int r;

	if (!len)
		return 0;
	lock_take(&q->lock);
	r = map_lookup(q, off, len, &m);
	lock_drop(&q->lock);
	if (r)
		return r;
	if (m.len == len && (m.kind == Q_ZERO || (m.kind == Q_UNALLOC && !n->backing)))
		return 0;
	return write_zeroes(n, off, len);
}

int qcow2_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap)
{
	struct qcow2 *q = n->priv;
	uint64_t first, end, from, to;
	int r;

	/* The data file is an image by itself: it has to have the zeroes. */
	if (q->version < 3 || q->raw_external)
		return -EOPNOTSUPP;
	whole_clusters(q, off, len, &first, &end);
	if (first >= end) {
		/* Parts of one cluster or two. */
		uint64_t cut = min_u64(off + len, first << q->cluster_bits);

		r = part_zero(n, off, cut - off);
		return r ? r : part_zero(n, cut, off + len - cut);
	}
	from = first << q->cluster_bits;
	to = end << q->cluster_bits;
	r = part_zero(n, off, from - off);
	r = r ? r : change_clusters(q, first, end, may_unmap ? CHANGE_ZERO : CHANGE_ZERO_KEEP);
	return r || to >= off + len ? r : part_zero(n, to, off + len - to);
}

int qcow2_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent)
{
	struct qcow2 *q = n->priv;
	struct qmap m;
	int r;

	lock_take(&q->lock);
	r = map_lookup(q, off, *len, &m);
	lock_drop(&q->lock);
	if (r)
		return r;
	*len = m.len;
	*extent = BLOCK_EXT_HERE | (m.kind == Q_ZERO ? BLOCK_EXT_ZERO : BLOCK_EXT_DATA);
	if (m.kind != Q_UNALLOC)
		return 0;
	*extent = BLOCK_EXT_ZERO;
	if (!n->backing || off >= n->backing->size)
		return 0;
	r = node_status(n->backing, off, len, extent);
	*extent &= ~(unsigned)BLOCK_EXT_HERE;
	return r;
}

/* An L1 table with more entries, elsewhere. */
static int l1_grow(struct qcow2 *q, uint64_t entries)
{
	uint64_t bytes = entries * 8, n = q_cluster(q, bytes + q->cluster_size - 1), first, got,
		 off;
	uint64_t old = q->l1_off, old_len = q->l1_size * UINT64_C(8), *l1;
	unsigned char *buf, hdr[12];
	int r;

	if (bytes > QCOW2_L1_BYTES_MAX)
		return -EFBIG;
	r = commit_all(q);
	r = r ? r : refcount_alloc(q, n, &first, &got);
	if (r)
		return r;
	if (got < n) {
		refcount_unalloc(q, first, got);
		q->free_hint = q->end;
		r = refcount_alloc(q, n, &first, &got);
		if (r || got < n)
			return r ? r : -ENOSPC;
	}
	off = first << q->cluster_bits;
	buf = xzalloc_aligned(4096, align_up(n << q->cluster_bits, 4096));
	for (uint32_t i = 0; i < q->l1_size; i++)
		put_be64(buf + i * 8, q->l1[i]);
	r = node_pwrite(q->file, off, buf, n << q->cluster_bits);
	free(buf);
	r = r ? r : refcount_write(q);
	r = r ? r : node_flush(q->file);
	put_be32(hdr, (uint32_t)entries);
	put_be64(hdr + 4, off);
	r = r ? r : node_pwrite(q->file, HDR_L1_SIZE, hdr, sizeof(hdr));
	r = r ? r : node_flush(q->file);
	if (r)
		return r;
	l1 = xcalloc(entries, 8);
	memcpy(l1, q->l1, q->l1_size * UINT64_C(8));
	free(q->l1);
	free(q->l1_dirty);
	q->l1 = l1;
	q->l1_dirty = xcalloc(entries / 4096 + 1, 8);
	q->l1_size = (uint32_t)entries;
	q->l1_off = off;
	meta_region_move(q, old, off, bytes);
	if (old_len)
		refcount_later(q, old, old_len, false);
	return 0;
}

int qcow2_truncate(struct block_node *n, uint64_t size, struct err **e)
{
	struct qcow2 *q = n->priv;
	uint64_t per_l1 = q->cluster_size << q->l2_bits, need;
	int r = 0;

	if (size < n->size || q->external || q->autoclear & AUTOCLEAR_BITMAPS)
		return err_set(e, ENOTSUP,
			       "'%s': a qcow2 image cannot be made smaller, nor one with a data "
			       "file or bitmaps larger",
			       n->filename);
	need = size / per_l1 + (size % per_l1 != 0);
	/* What is behind the end of a snapshot or backing file reads as zeroes; so does what was
	 * cut off the last cluster. */
	lock_take(&q->lock);
	if (need > q->l1_size)
		r = l1_grow(q, need);
	r = r ? r : commit_all(q);
	r = r ? r : qcow2_header_put(q, HDR_SIZE, size, 8);
	r = r ? r : node_flush(q->file);
	lock_drop(&q->lock);
	if (r)
		return err_set(e, -r, "'%s': cannot change its size: %s", n->filename,
			       strerror(-r));
	n->size = size;
	return 0;
}
