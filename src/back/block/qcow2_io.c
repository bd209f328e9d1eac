/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing.  A request is done piece by piece; a piece is as much as is mapped alike.
 *
 * A write to what is mapped to a host cluster that is ours alone goes there.  Any other changes the
 * mapping: it has the guest's clusters to itself, gets host clusters, writes its data with what
 * else of the clusters has to be kept around it, and then sets the mapping.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/qcow2.h"

#define PIECE_MAX (4 * MiB)

/* Whoever calls has the range. */
static int read_piece(struct qcow2 *q, uint64_t off, const struct qmap *m, struct bvec v)
{
	switch (m->kind) {
	case Q_UNALLOC:
		return node_read_backing(q->n, off, m->len, v);
	case Q_ZERO:
		bvec_zero(v, m->len);
		return 0;
	case Q_COMPRESSED:
		return unpack_read(q, m->entry, q_inside(q, off), m->len, v);
	default:
		return node_read(q->data_file, m->host, m->len, v);
	}
}

static int read_inside(struct qcow2 *q, uint64_t off, uint64_t len, struct bvec v)
{
	int r = 0;

	while (len && !r) {
		struct qmap m;

		lock_take(&q->lock);
		r = map_lookup(q, off, len, &m);
		lock_drop(&q->lock);
		if (r)
			return r;
		r = read_piece(q, off, &m, v);
		v = bvec_skip(v, m.len);
		off += m.len;
		len -= m.len;
	}
	return r;
}

static void enter(struct qcow2 *q, struct qrange *rg, uint64_t off, uint64_t len, bool alone)
{
	*rg = (struct qrange){
		.first = q_cluster(q, off), .last = q_cluster(q, off + len - 1), .alone = alone};
	range_enter(q, rg);
}

int qcow2_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct qcow2 *q = n->priv;

	while (len) {
		struct qrange rg;
		struct qmap m;
		int r;

		lock_take(&q->lock);
		enter(q, &rg, off, min_u64(len, PIECE_MAX), false);
		r = map_lookup(q, off, min_u64(len, PIECE_MAX), &m);
		lock_drop(&q->lock);
		r = r ? r : read_piece(q, off, &m, v);
		lock_take(&q->lock);
		range_leave(q, &rg);
		lock_drop(&q->lock);
		if (r)
			return r;
		v = bvec_skip(v, m.len);
		off += m.len;
		len -= m.len;
	}
	return 0;
}

/* All of it with the lock held, which nobody waits for here; a range need not be taken. */
int qcow2_read_now(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct qcow2 *q = n->priv;
	int r = 0;

	if (!lock_try(&q->lock))
		return -EAGAIN;
	if (!range_free(q, q_cluster(q, off), q_cluster(q, off + len - 1)))
		r = -EAGAIN;
	while (len && !r) {
		struct qmap m;

		r = map_lookup_now(q, off, len, &m);
		if (r)
			break;
		if (m.kind == Q_NORMAL)
			r = node_read_now(q->data_file, m.host, m.len, v);
		else if (m.kind == Q_ZERO || (m.kind == Q_UNALLOC && !n->backing))
			bvec_zero(v, m.len);
		else
			r = -EAGAIN;
		v = bvec_skip(v, m.len);
		off += m.len;
		len -= m.len;
	}
	lock_drop(&q->lock);
	return r;
}

/* Guest bytes [from, to) to the host offset, by who is alone there.  fresh: zeroes are there
 * already. */
static int copy_around(struct qcow2 *q, uint64_t from, uint64_t to, uint64_t host, bool fresh)
{
	unsigned char *buf;
	struct iovec iov;
	struct qmap m;
	int r = 0;

	if (from >= to)
		return 0;
	if (fresh) {
		lock_take(&q->lock);
		r = map_lookup(q, from, to - from, &m);
		lock_drop(&q->lock);
		if (r)
			return r;
		if (m.len == to - from &&
		    (m.kind == Q_ZERO || (m.kind == Q_UNALLOC && !q->n->backing)))
			return 0;
	}
	buf = xzalloc_aligned(4096, align_up(to - from, 4096));
	r = read_inside(q, from, to - from, bvec_of(&iov, buf, to - from));
	if (!r && !(fresh && mem_is_zero(buf, to - from)))
		r = node_pwrite(q->data_file, host, buf, to - from);
	free(buf);
	return r;
}

/* A write that changes how clusters are mapped. */
struct change {
	uint64_t off, len; /* what is written */
	uint64_t first, n; /* guest clusters */
	struct qentry old[512];
	uint64_t host; /* of the first cluster */
	bool fresh; /* new host clusters, and they read as zeroes */
	bool made; /* new host clusters */
	uint64_t from, to; /* what is written, with what is kept around it */
};

/* Is there data in the cluster that a new one has to have too? */
static bool keeps_data(const struct qcow2 *q, const struct qentry *en)
{
	if (!q->extl2)
		return true;
	return (en->entry & OFLAG_COMPRESSED) || (en->bitmap & 0xffffffff);
}

static void change_bounds(struct qcow2 *q, struct change *c)
{
	uint64_t sub = BIT(q->sub_bits), end = c->off + c->len, start = c->first << q->cluster_bits;
	uint64_t stop = (c->first + c->n) << q->cluster_bits;
	const struct qentry *head = &c->old[0], *tail = &c->old[c->n - 1];

	c->from = align_down(c->off, sub);
	c->to = align_up(end, sub);
	if (c->made && keeps_data(q, head))
		c->from = start;
	if (c->made && keeps_data(q, tail))
		c->to = stop;
	if (c->made)
		return;
	/* In the same host cluster: what is there stays. */
	if (entry_kind(q, head, (unsigned)(q_inside(q, c->off) >> q->sub_bits)) == Q_NORMAL)
		c->from = c->off;
	if (entry_kind(q, tail, (unsigned)(q_inside(q, end - 1) >> q->sub_bits)) == Q_NORMAL)
		c->to = end;
}

/* How many clusters from the first on need new host clusters; of the others, one at a time. */
static int change_plan(struct qcow2 *q, struct change *c)
{
	uint64_t end = c->off + c->len, last = q_cluster(q, end - 1);
	uint64_t table_last = c->first | (BIT(q->l2_bits) - 1);
	int r = 0;

	last = min_u64(min_u64(last, table_last), c->first + ARRAY_SIZE(c->old) - 1);
	for (c->n = 0; c->first + c->n <= last; c->n++) {
		uint64_t at = max_u64(c->off, (c->first + c->n) << q->cluster_bits);
		uint64_t stop = min_u64(end, (c->first + c->n + 1) << q->cluster_bits);
		struct qentry *en = &c->old[c->n];
		enum qneed need;

		r = map_entry(q, c->first + c->n, en);
		if (r)
			return r;
		need = map_need(q, en, at, stop - at);
		if (need == NEED_NOTHING && !c->n)
			return -EAGAIN;
		c->made = c->n ? c->made : need == NEED_CLUSTER;
		if (c->n && (need != NEED_CLUSTER || !c->made))
			break;
	}
	return 0;
}

static int change_alloc(struct qcow2 *q, struct change *c)
{
	uint64_t first = 0, got = c->n, end = q->end;
	int r;

	if (!c->made) {
		c->n = 1;
		c->host = c->old[0].entry & L2E_OFFSET;
	} else if (q->external) {
		c->host = c->first << q->cluster_bits;
	} else {
		r = refcount_alloc(q, c->n, &first, &got);
		if (r)
			return r;
		c->host = first << q->cluster_bits;
		c->fresh = q->fresh_is_zero && first >= end;
		c->n = got;
	}
	c->len = min_u64(c->len, ((c->first + c->n) << q->cluster_bits) - c->off);
	if (!c->made && !q->external && !meta_clear(q, c->host, q->cluster_size, 0))
		return qcow2_corrupt(q, "guest cluster %#llx is on a table",
				     (unsigned long long)c->first);
	change_bounds(q, c);
	return 0;
}

static int change_data(struct qcow2 *q, struct change *c, struct bvec v)
{
	uint64_t base = c->first << q->cluster_bits, end = c->off + c->len;
	int r = copy_around(q, c->from, c->off, c->host + (c->from - base), c->fresh);

	r = r ? r : node_write(q->data_file, c->host + (c->off - base), c->len, v);
	return r ? r : copy_around(q, end, c->to, c->host + (end - base), c->fresh);
}

static struct qentry changed_entry(const struct qcow2 *q, const struct change *c, uint64_t i)
{
	uint64_t start = (c->first + i) << q->cluster_bits, stop = start + q->cluster_size;
	struct qentry en = {.entry = (c->host + (i << q->cluster_bits)) | OFLAG_COPIED};
	unsigned from, to;

	if (!q->extl2)
		return en;
	from = (unsigned)((max_u64(start, c->from) - start) >> q->sub_bits);
	to = (unsigned)((min_u64(stop, c->to) - start + BIT(q->sub_bits) - 1) >> q->sub_bits);
	en.bitmap = c->old[i].entry & OFLAG_COMPRESSED ? 0 : c->old[i].bitmap;
	for (unsigned s = from; s < to; s++)
		en.bitmap = (en.bitmap | BIT(s)) & ~BIT(32 + s);
	return en;
}

static int change_map(struct qcow2 *q, struct change *c)
{
	int r = map_table(q, c->first);
	uint64_t i;

	/* Data, which a barrier has to follow before the table is written. */
	q->written++;
	for (i = 0; i < c->n && !r; i++) {
		struct qentry en = changed_entry(q, c, i);

		r = map_set(q, c->first + i, &en);
		if (!r && c->made)
			map_free(q, c->old[i].entry);
	}
	if (r && c->made && i > 1)
		return r; /* a leak of the rest */
	if (r && c->made && !q->external)
		refcount_unalloc(q, q_cluster(q, c->host), c->n);
	return r;
}

/* Write the first part of v, as much as c->len says afterwards. */
static int write_change(struct qcow2 *q, struct change *c, struct bvec v)
{
	int r = change_plan(q, c);

	r = r ? r : change_alloc(q, c);
	if (r)
		return r;
	lock_drop(&q->lock);
	r = change_data(q, c, v);
	lock_take(&q->lock);
	if (!r)
		return change_map(q, c);
	if (c->made && !q->external)
		refcount_unalloc(q, q_cluster(q, c->host), c->n);
	return r;
}

static int write_in_place(struct qcow2 *q, uint64_t off, uint64_t len, struct bvec v,
			  uint64_t *done)
{
	struct qrange rg;
	struct qmap m;
	int r;

	enter(q, &rg, off, len, false);
	r = map_lookup(q, off, len, &m);
	if (!r && (m.kind != Q_NORMAL || !m.in_place))
		r = -EAGAIN;
	if (!r && !q->external && !meta_clear(q, m.host, m.len, 0))
		r = qcow2_corrupt(q, "guest offset %#llx is on a table", (unsigned long long)off);
	if (!r) {
		lock_drop(&q->lock);
		r = node_write(q->data_file, m.host, m.len, v);
		lock_take(&q->lock);
		*done = m.len;
	}
	range_leave(q, &rg);
	return r;
}

static int write_alone(struct qcow2 *q, uint64_t off, uint64_t len, struct bvec v, uint64_t *done)
{
	struct change *c = xzalloc(sizeof(*c));
	struct qrange rg;
	int r;

	c->off = off;
	c->len = len;
	c->first = q_cluster(q, off);
	enter(q, &rg, off, len, true);
	r = write_change(q, c, v);
	range_leave(q, &rg);
	*done = c->len;
	free(c);
	if (!r && q->n_frees > QCOW2_FRAGMENTS)
		r = commit_all(q);
	return r;
}

int qcow2_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct qcow2 *q = n->priv;
	int r = 0;

	lock_take(&q->lock);
	while (len && !r) {
		uint64_t part = min_u64(len, PIECE_MAX), done = 0;

		r = q->corrupt ? -EIO : write_in_place(q, off, part, v, &done);
		if (r == -EAGAIN) {
			r = write_alone(q, off, part, v, &done);
			/* Somebody else has just mapped it. */
			if (r == -EAGAIN) {
				r = 0;
				done = 0;
			}
		}
		v = bvec_skip(v, done);
		off += done;
		len -= done;
	}
	lock_drop(&q->lock);
	return r;
}
