/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From guest clusters to host clusters: L1 and L2 tables.
 *
 * With extended L2 entries a cluster has 32 subclusters, each allocated (bit i of the bitmap),
 * reading as zeroes (bit 32 + i) or neither; without, it is one subcluster of the whole size.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/qcow2.h"

static uint64_t l1_index(const struct qcow2 *q, uint64_t cluster)
{
	return cluster >> q->l2_bits;
}

bool entry_has_host(const struct qcow2 *q, uint64_t entry)
{
	if (entry & OFLAG_COMPRESSED)
		return false;
	/* In an external data file offset 0 is as good as any. */
	return (entry & L2E_OFFSET) || (q->external && (entry & OFLAG_COPIED));
}

enum qkind entry_kind(const struct qcow2 *q, const struct qentry *en, unsigned sub)
{
	if (en->entry & OFLAG_COMPRESSED)
		return Q_COMPRESSED;
	if (!q->extl2) {
		if (q->version >= 3 && (en->entry & OFLAG_ZERO))
			return Q_ZERO;
		return entry_has_host(q, en->entry) ? Q_NORMAL : Q_UNALLOC;
	}
	if (en->bitmap & BIT(sub))
		return Q_NORMAL;
	return en->bitmap & BIT(32 + sub) ? Q_ZERO : Q_UNALLOC;
}

/* The slice of an L2 table with the cluster's entry.  NULL: no table. */
static int entry_slice(struct qcow2 *q, uint64_t cluster, struct qslice **s, uint64_t *at)
{
	uint64_t idx = l1_index(q, cluster), table, in;
	int r;

	*s = NULL;
	*at = 0;
	if (idx >= q->l1_size)
		return 0;
	if (q->l1[idx] & L1E_RESERVED)
		return qcow2_corrupt(q, "L1 entry %llu has reserved bits", (unsigned long long)idx);
	table = q->l1[idx] & L1E_OFFSET;
	if (!table)
		return 0;
	if (q_inside(q, table))
		return qcow2_corrupt(q, "L2 table %llu is at %#llx", (unsigned long long)idx,
				     (unsigned long long)table);
	in = (cluster & (BIT(q->l2_bits) - 1)) * q->l2_entry_bytes;
	*at = in % q->l2.slice;
	r = qcache_get(q, &q->l2, table + align_down(in, q->l2.slice), s);
	if (r != -ENOBUFS)
		return r;
	r = commit_tables(q);
	return r ? r : qcache_get(q, &q->l2, table + align_down(in, q->l2.slice), s);
}

/* Nothing that an entry may not say. */
static int entry_check(struct qcow2 *q, uint64_t cluster, const struct qentry *en)
{
	const char *bad = NULL;

	if (en->entry & OFLAG_COMPRESSED) {
		if (q->external)
			bad = "is compressed, in an external data file";
		else if (en->bitmap)
			bad = "is compressed, with a bitmap";
	} else if (en->entry & L2E_RESERVED || (q->version < 3 && en->entry & 1) ||
		   (q->extl2 && en->entry & 1)) {
		bad = "has reserved bits";
	} else if (q_inside(q, en->entry & L2E_OFFSET)) {
		bad = "is at an offset that is no cluster's";
	} else if (en->bitmap & en->bitmap >> 32 & 0xffffffff) {
		bad = "has subclusters that are both allocated and zero";
	} else if ((en->bitmap & 0xffffffff) && !entry_has_host(q, en->entry)) {
		bad = "has allocated subclusters and no offset";
	}
	if (!bad)
		return 0;
	return qcow2_corrupt(q, "guest cluster %#llx %s (%#llx)", (unsigned long long)cluster, bad,
			     (unsigned long long)en->entry);
}

static struct qentry entry_load(const struct qcow2 *q, const unsigned char *p)
{
	return (struct qentry){.entry = get_be64(p), .bitmap = q->extl2 ? get_be64(p + 8) : 0};
}

int map_entry(struct qcow2 *q, uint64_t cluster, struct qentry *en)
{
	struct qslice *s;
	uint64_t at;
	int r = entry_slice(q, cluster, &s, &at);

	*en = (struct qentry){0};
	if (r || !s)
		return r;
	*en = entry_load(q, s->data + at);
	return entry_check(q, cluster, en);
}

int map_lookup(struct qcow2 *q, uint64_t off, uint64_t len, struct qmap *m)
{
	uint64_t cluster = q_cluster(q, off), sub_size = BIT(q->sub_bits), at, pos = off;
	uint64_t end = off + len, table_end = (cluster | (BIT(q->l2_bits) - 1)) + 1;
	struct qslice *s;
	int r = entry_slice(q, cluster, &s, &at);

	if (r)
		return r;
	end = min_u64(end, table_end << q->cluster_bits);
	*m = (struct qmap){.kind = Q_UNALLOC, .len = end - off};
	if (!s)
		return 0;
	for (; pos < end && at < q->l2.slice; at += q->l2_entry_bytes) {
		struct qentry en = entry_load(q, s->data + at);
		uint64_t host = en.entry & L2E_OFFSET, stop;
		bool in_place = en.entry & OFLAG_COPIED;

		r = entry_check(q, q_cluster(q, pos), &en);
		if (r)
			return pos == off ? r : 0;
		stop = min_u64(end, (q_cluster(q, pos) + 1) << q->cluster_bits);
		while (pos < stop) {
			enum qkind kind =
				entry_kind(q, &en, (unsigned)(q_inside(q, pos) >> q->sub_bits));
			uint64_t next = min_u64(stop, align_down(pos, sub_size) + sub_size);

			if (pos == off)
				*m = (struct qmap){.kind = kind,
						   .entry = en.entry,
						   .in_place = in_place,
						   .host = host + q_inside(q, pos)};
			else if (kind != m->kind || kind == Q_COMPRESSED ||
				 (kind == Q_NORMAL &&
				  (in_place != m->in_place ||
				   host + q_inside(q, pos) != m->host + (pos - off))))
				return 0;
			pos = next;
			m->len = pos - off;
		}
	}
	return 0;
}

int map_lookup_now(struct qcow2 *q, uint64_t off, uint64_t len, struct qmap *m)
{
	uint64_t cluster = q_cluster(q, off), idx = l1_index(q, cluster), table, in;

	if (idx >= q->l1_size)
		return -EAGAIN;
	table = q->l1[idx] & L1E_OFFSET;
	in = (cluster & (BIT(q->l2_bits) - 1)) * q->l2_entry_bytes;
	if (table && !qcache_has(&q->l2, table + align_down(in, q->l2.slice)))
		return -EAGAIN;
	return map_lookup(q, off, len, m);
}

/* A table of the cluster's own: new and empty, or a copy of one that a snapshot has too. */
int map_table(struct qcow2 *q, uint64_t cluster)
{
	uint64_t idx = l1_index(q, cluster), old, first, got, off;
	unsigned char *buf;
	int r;

	if (idx >= q->l1_size)
		return -EIO;
	old = q->l1[idx] & L1E_OFFSET;
	if (old && (q->l1[idx] & OFLAG_COPIED))
		return 0;
	r = refcount_alloc(q, 1, &first, &got);
	if (r)
		return r;
	off = first << q->cluster_bits;
	buf = xzalloc_aligned(4096, align_up(q->cluster_size, 4096));
	if (old)
		r = node_pread(q->file, old, buf, q->cluster_size);
	/* Nothing refers to it yet: it may be written at once. */
	r = r ? r : node_pwrite(q->file, off, buf, q->cluster_size);
	free(buf);
	if (r) {
		refcount_unalloc(q, first, 1);
		return r;
	}
	qcache_forget(&q->l2, off, q->cluster_size);
	if (old) {
		meta_remove(q, old);
		refcount_later(q, old, q->cluster_size, false);
	}
	meta_add(q, off, META_L2);
	q->l1[idx] = off | OFLAG_COPIED;
	q->l1_dirty[idx / 4096] |= BIT(idx / 64 % 64);
	q->any_l1_dirty = true;
	q->written++;
	return 0;
}

int map_set(struct qcow2 *q, uint64_t cluster, const struct qentry *en)
{
	struct qslice *s;
	uint64_t at;
	int r = entry_slice(q, cluster, &s, &at);

	if (r)
		return r;
	bug_on(!s);
	put_be64(s->data + at, en->entry);
	if (q->extl2)
		put_be64(s->data + at + 8, en->bitmap);
	qcache_dirty(&q->l2, s);
	return 0;
}

enum qneed map_need(const struct qcow2 *q, const struct qentry *en, uint64_t off, uint64_t len)
{
	unsigned first = (unsigned)(q_inside(q, off) >> q->sub_bits);
	unsigned last = (unsigned)(q_inside(q, off + len - 1) >> q->sub_bits);

	if (!entry_has_host(q, en->entry) || !(en->entry & OFLAG_COPIED))
		return NEED_CLUSTER;
	for (; first <= last; first++)
		if (entry_kind(q, en, first) != Q_NORMAL)
			return NEED_MARK;
	return NEED_NOTHING;
}

void map_free(struct qcow2 *q, uint64_t entry)
{
	unsigned shift = 62 - (q->cluster_bits - 8);

	if (q->external)
		return;
	if (entry & OFLAG_COMPRESSED) {
		uint64_t off = entry & (BIT(shift) - 1), sectors = bits_get(entry, 61, shift) + 1;

		refcount_later(q, off, sectors * 512 - (off & 511), true);
	} else if (entry & L2E_OFFSET) {
		refcount_later(q, entry & L2E_OFFSET, q->cluster_size, true);
	}
}
