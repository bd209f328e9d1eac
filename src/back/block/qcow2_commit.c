/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is written when.
 *
 * Tables in memory run ahead of those on disk.  A commit brings the disk up to them:
 *
 *	1. refcount blocks; where a block is new, a barrier, then the refcount table
 *	2. barrier: what was written to new clusters, guest data and new L2 tables, and that they
 *are in use
 *	3. L2 tables, L1 table
 *	4. barrier; now nothing on disk refers to what these tables no longer refer to
 *	5. counts of clusters that were freed go down, in memory; the clusters can be used again
 *
 * So on disk a reference never comes before the count and the content of its cluster, and a count
 *never goes down before the last reference: killed or without power at any point there are leaks at
 *worst.  A new L2 table is written when it is made, with nothing that refers to it.  Guest data is
 *written before its mapping changes in memory, so it is there whenever a commit is.
 *
 * A commit is made for a guest's flush, when the cache of L2 tables is full of changed ones, and
 *when much waits to be freed.
 */
#include <errno.h>
#include "back/block/qcow2.h"

/* Dirty entries of the L1 or refcount table, by groups of 64. */
static int table_write(struct qcow2 *q, uint64_t off, const uint64_t *table, uint64_t n,
		       uint64_t *dirty)
{
	unsigned char buf[512];

	for (uint64_t g = 0; g * 64 < n; g++) {
		uint64_t count = min_u64(64, n - g * 64);
		int r;

		if (!(dirty[g / 64] & BIT(g % 64)))
			continue;
		for (uint64_t i = 0; i < count; i++)
			put_be64(buf + i * 8, table[g * 64 + i]);
		r = node_pwrite(q->file, off + g * 512, buf, count * 8);
		if (r)
			return r;
		dirty[g / 64] &= ~BIT(g % 64);
	}
	return 0;
}

static int barrier(struct qcow2 *q)
{
	int r = q->external ? node_flush(q->data_file) : 0;

	r = r ? r : node_flush(q->file);
	if (!r)
		q->synced = q->written;
	return r;
}

int commit_tables(struct qcow2 *q)
{
	int r = q->corrupt && !q->n->read_only ? -EIO : 0;

	r = r ? r : refcount_write(q);
	if (!r && q->any_rt_dirty) {
		r = barrier(q);
		r = r ? r : table_write(q, q->rt_off, q->rt, q->rt_size, q->rt_dirty);
		if (!r) {
			q->any_rt_dirty = false;
			q->written++;
		}
	}
	if (r || (!q->l2.n_dirty && !q->any_l1_dirty))
		return r;
	if (q->synced != q->written)
		r = barrier(q);
	r = r ? r : qcache_write(q, &q->l2, META_L2);
	if (!r && q->any_l1_dirty) {
		r = table_write(q, q->l1_off, q->l1, q->l1_size, q->l1_dirty);
		if (!r)
			q->any_l1_dirty = false;
	}
	return r;
}

int commit_all(struct qcow2 *q)
{
	int r = commit_tables(q);

	r = r ? r : barrier(q);
	return r ? r : refcount_apply(q, q->n_frees);
}

int commit_flush(struct qcow2 *q)
{
	uint64_t written, freed;
	int r;

	lock_take(&q->lock);
	r = commit_tables(q);
	/* Others go on during the barrier; what they write and free comes after these. */
	written = q->written;
	freed = q->freed + q->n_frees;
	lock_drop(&q->lock);
	if (!r && q->external)
		r = node_flush(q->data_file);
	r = r ? r : node_flush(q->file);
	if (r)
		return r;
	lock_take(&q->lock);
	q->synced = max_u64(q->synced, written);
	if (freed > q->freed)
		r = refcount_apply(q, freed - q->freed);
	lock_drop(&q->lock);
	return r;
}
