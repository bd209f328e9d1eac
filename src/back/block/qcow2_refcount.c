/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference counts of host clusters.  The refcount table refers to refcount blocks of one cluster,
 * which hold counts of 2^refcount_order bits.  A block that is not there counts zero for all.
 *
 * A count may be written at any time when it went up, since a count too high is a leak and no more;
 * it goes down only after the table that referred to the cluster is on disk without (commit.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/qcow2.h"

unsigned refcount_per_block_bits(const struct qcow2 *q)
{
	return q->cluster_bits + 3 - q->refcount_order;
}

static uint64_t count_load(const struct qcow2 *q, const unsigned char *block, uint64_t i)
{
	switch (q->refcount_order) {
	case 0:
		return block[i / 8] >> (i % 8) & 1;
	case 1:
		return block[i / 4] >> (i % 4 * 2) & 3;
	case 2:
		return block[i / 2] >> (i % 2 * 4) & 15;
	case 3:
		return block[i];
	case 4:
		return get_be16(block + i * 2);
	case 5:
		return get_be32(block + i * 4);
	default:
		return get_be64(block + i * 8);
	}
}

static void count_store(const struct qcow2 *q, unsigned char *block, uint64_t i, uint64_t v)
{
	unsigned bits = 1u << q->refcount_order, per = bits < 8 ? 8 / bits : 1, shift, mask;

	switch (q->refcount_order) {
	case 3:
		block[i] = (unsigned char)v;
		return;
	case 4:
		put_be16(block + i * 2, (uint16_t)v);
		return;
	case 5:
		put_be32(block + i * 4, (uint32_t)v);
		return;
	case 6:
		put_be64(block + i * 8, v);
		return;
	default:
		shift = (unsigned)(i % per) * bits;
		mask = ((1u << bits) - 1) << shift;
		block[i / per] =
			(unsigned char)((block[i / per] & ~mask) | ((unsigned)v << shift & mask));
	}
}

/* The slice that has the cluster's count, and its place there.  NULL: no block. */
static int count_slice(struct qcow2 *q, uint64_t cluster, struct qslice **s, uint64_t *i)
{
	unsigned bits = refcount_per_block_bits(q);
	uint64_t idx = cluster >> bits, block, at, per;
	int r;

	*s = NULL;
	*i = 0;
	if (idx >= q->rt_size || !(q->rt[idx] & REFTABLE_OFFSET))
		return 0;
	block = q->rt[idx] & REFTABLE_OFFSET;
	if (q_inside(q, block) || block > (uint64_t)BLOCK_SIZE_MAX)
		return qcow2_corrupt(q, "refcount block %llu is at %#llx", (unsigned long long)idx,
				     (unsigned long long)block);
	per = q->rc.slice * 8 >> q->refcount_order;
	at = cluster & (BIT(bits) - 1);
	*i = at % per;
	r = qcache_get(q, &q->rc, block + at / per * q->rc.slice, s);
	if (r != -ENOBUFS)
		return r;
	/* Counts may be written at any time. */
	r = refcount_write(q);
	return r ? r : qcache_get(q, &q->rc, block + at / per * q->rc.slice, s);
}

int refcount_write(struct qcow2 *q)
{
	if (q->rc.n_dirty)
		q->written++;
	return qcache_write(q, &q->rc, META_REFBLOCK);
}

int refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	struct qslice *s;
	uint64_t i;
	int r = count_slice(q, cluster, &s, &i);

	*count = !r && s ? count_load(q, s->data, i) : 0;
	return r;
}

/* The first free cluster from `from` on. */
static int find_free(struct qcow2 *q, uint64_t from, uint64_t *cluster)
{
	uint64_t count = 1;

	for (; from < q->end; from++) {
		int r = refcount_get(q, from, &count);

		if (r)
			return r;
		if (!count)
			break;
	}
	*cluster = from;
	return 0;
}

/* New refcount table, with what it needs to count itself, behind everything. */
struct bigger {
	uint64_t first, table, blocks, entries; /* clusters; entries of the table */
};

static bool has_block(const struct qcow2 *q, uint64_t idx)
{
	return idx < q->rt_size && (q->rt[idx] & REFTABLE_OFFSET);
}

static int bigger_size(const struct qcow2 *q, uint64_t need, struct bigger *g)
{
	unsigned bits = refcount_per_block_bits(q);
	uint64_t entries_per = q->cluster_size / 8;

	*g = (struct bigger){.first = q->end};
	for (;;) {
		uint64_t end = g->first + g->table + g->blocks, most, table, blocks = 0;

		most = max_u64(need, (end ? end - 1 : 0) >> bits) + 1;
		/* Half as much again, so that this is rare. */
		table = (most + max_u64(most, q->rt_size) / 2) / entries_per + 1;
		for (uint64_t idx = g->first >> bits; idx <= (end - 1) >> bits && end > g->first;
		     idx++)
			blocks += !has_block(q, idx);
		if (table * q->cluster_size > QCOW2_REFTABLE_BYTES_MAX ||
		    end > (uint64_t)BLOCK_SIZE_MAX >> q->cluster_bits)
			return -EFBIG;
		if (table <= g->table && blocks <= g->blocks)
			break;
		g->table = max_u64(table, g->table);
		g->blocks = max_u64(blocks, g->blocks);
	}
	g->entries = g->table * entries_per;
	return 0;
}

/* Blocks for what has none, with counts of the clusters of g itself. */
static int bigger_blocks(struct qcow2 *q, const struct bigger *g, uint64_t *rt)
{
	unsigned bits = refcount_per_block_bits(q);
	uint64_t end = g->first + g->table + g->blocks, next = g->first + g->table;
	unsigned char *buf = xzalloc_aligned(4096, align_up(q->cluster_size, 4096));
	int r = 0;

	for (uint64_t idx = g->first >> bits; idx <= (end - 1) >> bits && !r; idx++) {
		uint64_t from = max_u64(idx << bits, g->first),
			 to = min_u64((idx + 1) << bits, end);

		if (has_block(q, idx)) {
			for (uint64_t c = from; c < to && !r; c++)
				r = refcount_set(q, c, 1);
			continue;
		}
		memset(buf, 0, q->cluster_size);
		for (uint64_t c = from; c < to; c++)
			count_store(q, buf, c & (BIT(bits) - 1), 1);
		rt[idx] = next++ << q->cluster_bits;
		r = node_pwrite(q->file, rt[idx], buf, q->cluster_size);
	}
	/* One that proved unneeded is a block of later clusters, or a leak. */
	free(buf);
	return r;
}

static int put_table(struct qcow2 *q, const struct bigger *g, const uint64_t *rt)
{
	unsigned char *buf = xzalloc_aligned(4096, align_up(g->entries * 8, 4096)), hdr[12];
	int r;

	for (uint64_t i = 0; i < g->entries; i++)
		put_be64(buf + i * 8, rt[i]);
	r = node_pwrite(q->file, g->first << q->cluster_bits, buf, g->entries * 8);
	free(buf);
	r = r ? r : node_flush(q->file);
	if (r)
		return r;
	put_be64(hdr, g->first << q->cluster_bits);
	put_be32(hdr + 8, (uint32_t)g->table);
	r = node_pwrite(q->file, HDR_RT_OFF, hdr, sizeof(hdr));
	return r ? r : node_flush(q->file);
}

static int table_grow(struct qcow2 *q, uint64_t need)
{
	struct bigger g;
	uint64_t *rt, old = q->rt_off, old_len = q->rt_size * 8;
	unsigned bits = refcount_per_block_bits(q);
	int r = bigger_size(q, need, &g);

	if (r)
		return r;
	rt = xcalloc(g.entries, 8);
	memcpy(rt, q->rt, q->rt_size * 8);
	r = bigger_blocks(q, &g, rt);
	r = r ? r : refcount_write(q);
	r = r ? r : node_flush(q->file);
	r = r ? r : put_table(q, &g, rt);
	if (r) {
		free(rt);
		return r;
	}
	for (uint64_t idx = g.first >> bits; idx < g.entries; idx++)
		if (rt[idx] && !has_block(q, idx))
			meta_add(q, rt[idx], META_REFBLOCK);
	free(q->rt);
	free(q->rt_dirty);
	q->rt = rt;
	q->rt_size = g.entries;
	q->rt_dirty = xcalloc(g.entries / 4096 + 1, 8);
	q->any_rt_dirty = false;
	q->rt_off = g.first << q->cluster_bits;
	q->end = g.first + g.table + g.blocks;
	meta_region_move(q, old, q->rt_off, g.entries * 8);
	refcount_later(q, old, old_len, false);
	return 0;
}

/* A block for counts that have none. */
static int block_make(struct qcow2 *q, uint64_t idx)
{
	unsigned bits = refcount_per_block_bits(q);
	unsigned char *zero;
	uint64_t cluster, off;
	int r;

	if (idx >= q->rt_size) {
		r = table_grow(q, idx);
		if (r || has_block(q, idx))
			return r;
	}
	r = find_free(q, q->free_hint, &cluster);
	if (r)
		return r;
	/* Its own count is in a block that exists, or in itself. */
	if (!has_block(q, cluster >> bits) && cluster >> bits != idx)
		cluster = max_u64(idx << bits, min_u64(q->end, ((idx + 1) << bits) - 1));
	off = cluster << q->cluster_bits;
	if (off > (uint64_t)BLOCK_SIZE_MAX)
		return -EFBIG;
	if (!meta_clear(q, off, q->cluster_size, 0))
		return qcow2_corrupt(q, "the cluster at %#llx holds a table, and counts as free",
				     (unsigned long long)off);
	zero = xzalloc_aligned(4096, align_up(q->cluster_size, 4096));
	if (cluster >> bits == idx)
		count_store(q, zero, cluster & (BIT(bits) - 1), 1);
	r = node_pwrite(q->file, off, zero, q->cluster_size);
	free(zero);
	if (!r && cluster >> bits != idx)
		r = refcount_set(q, cluster, 1);
	if (r)
		return r;
	qcache_forget(&q->rc, off, q->cluster_size);
	q->end = max_u64(q->end, cluster + 1);
	q->rt[idx] = off;
	q->rt_dirty[idx / 4096] |= BIT(idx / 64 % 64);
	q->any_rt_dirty = true;
	q->written++;
	meta_add(q, off, META_REFBLOCK);
	return 0;
}

int refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	struct qslice *s;
	uint64_t i;
	int r = count_slice(q, cluster, &s, &i);

	if (!r && !s) {
		r = block_make(q, cluster >> refcount_per_block_bits(q));
		r = r ? r : count_slice(q, cluster, &s, &i);
	}
	if (r)
		return r;
	count_store(q, s->data, i, count);
	qcache_dirty(&q->rc, s);
	if (!count && cluster < q->free_hint)
		q->free_hint = cluster;
	return 0;
}

/* Blocks come first: making one takes a cluster that could be in the run. */
static int blocks_for(struct qcow2 *q, uint64_t first, uint64_t n)
{
	unsigned bits = refcount_per_block_bits(q);

	for (uint64_t idx = first >> bits; idx <= (first + n - 1) >> bits; idx++)
		if (!has_block(q, idx)) {
			int r = block_make(q, idx);

			return r ? r : -EAGAIN;
		}
	return 0;
}

static int free_run(struct qcow2 *q, uint64_t n, uint64_t *first, uint64_t *got)
{
	uint64_t c, len = 1, count;
	int r = find_free(q, q->free_hint, &c);

	if (r)
		return r;
	q->free_hint = c;
	for (; len < n; len++) {
		r = c + len < q->end ? refcount_get(q, c + len, &count) : 0;
		if (r)
			return r;
		if (c + len < q->end && count)
			break;
	}
	*first = c;
	*got = len;
	return 0;
}

int refcount_alloc(struct qcow2 *q, uint64_t n, uint64_t *first, uint64_t *got)
{
	uint64_t off, done;
	int r;

	do {
		r = free_run(q, n, first, got);
		r = r ? r : blocks_for(q, *first, *got);
	} while (r == -EAGAIN);
	if (r)
		return r;
	off = *first << q->cluster_bits;
	if (*first + *got > (uint64_t)BLOCK_SIZE_MAX >> q->cluster_bits)
		return -EFBIG;
	if (!meta_clear(q, off, *got << q->cluster_bits, 0))
		return qcow2_corrupt(q, "the cluster at %#llx holds a table, and counts as free",
				     (unsigned long long)off);
	for (done = 0; done < *got && !r; done++)
		r = refcount_set(q, *first + done, 1);
	if (r) {
		refcount_unalloc(q, *first, done);
		return r;
	}
	q->free_hint = *first + *got;
	q->end = max_u64(q->end, *first + *got);
	return 0;
}

void refcount_unalloc(struct qcow2 *q, uint64_t first, uint64_t n)
{
	/* A failure makes a leak. */
	for (uint64_t i = 0; i < n; i++)
		if (refcount_set(q, first + i, 0))
			return;
}

void refcount_later(struct qcow2 *q, uint64_t off, uint64_t len, bool data)
{
	uint64_t last = q_cluster(q, off + len - 1);

	for (uint64_t c = q_cluster(q, off); c <= last; c++) {
		if (q->n_frees == q->max_frees) {
			q->max_frees = q->max_frees ? q->max_frees * 2 : 64;
			q->frees = xrealloc(q->frees, q->max_frees * sizeof(*q->frees));
		}
		q->frees[q->n_frees++] = (struct qfree){c, data};
	}
}

/* Space of guest data that nothing refers to goes back to the host, in runs. */
static void give_back(struct qcow2 *q, const struct qfree *f, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t run = 1;

		while (i + run < n && f[i + run].data && f[i + run].cluster == f[i].cluster + run)
			run++;
		if (f[i].data)
			node_discard(q->file, f[i].cluster << q->cluster_bits,
				     run << q->cluster_bits);
		i += run;
	}
}

int refcount_apply(struct qcow2 *q, size_t n)
{
	size_t kept = 0;
	int r = 0;

	if (!n)
		return 0;
	for (size_t i = 0; i < n && !r; i++) {
		struct qfree f = q->frees[i];
		uint64_t count;

		r = refcount_get(q, f.cluster, &count);
		if (!r && !count)
			r = qcow2_corrupt(q, "cluster %#llx is in use, and counts as free",
					  (unsigned long long)f.cluster);
		if (!r)
			r = refcount_set(q, f.cluster, count - 1);
		if (!r && count == 1)
			q->frees[kept++] = f;
	}
	if (q->n->mode.unmap)
		give_back(q, q->frees, kept);
	/* After an error the rest is leaked. */
	memmove(q->frees, q->frees + n, (q->n_frees - n) * sizeof(*q->frees));
	q->n_frees -= n;
	q->freed += n;
	return r;
}
