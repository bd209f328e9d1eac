/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lazy reference counts: an image whose writer ended without closing it has the dirty bit, and
 * counts that need not be right.  Its tables are: counts are made anew from them.  Anything else
 * that is wrong with an image is left to qemu-img check.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/graph_int.h"
#include "back/block/qcow2.h"
#include "base/err.h"
#include "base/log.h"

#define CLUSTERS_MAX (64 * MiB)

struct recount {
	struct qcow2 *q;
	uint16_t *count;
	uint64_t n;
	bool shared_copied; /* pass 2: a cluster that is said to be in one place is in several */
};

static int count_range(struct recount *rc, uint64_t off, uint64_t len)
{
	const struct qcow2 *q = rc->q;

	if (!len)
		return 0;
	if (!range_fits(off, len, rc->n << q->cluster_bits))
		return -ERANGE;
	for (uint64_t c = q_cluster(q, off); c <= q_cluster(q, off + len - 1); c++) {
		if (rc->count[c] == UINT16_MAX)
			return -ERANGE;
		rc->count[c]++;
	}
	return 0;
}

static int count_entry(struct recount *rc, uint64_t entry)
{
	const struct qcow2 *q = rc->q;
	unsigned shift = 62 - (q->cluster_bits - 8);

	if (entry & OFLAG_COMPRESSED) {
		uint64_t off = entry & (BIT(shift) - 1);

		return count_range(rc, off, (bits_get(entry, 61, shift) + 1) * 512 - (off & 511));
	}
	return q->external || !(entry & L2E_OFFSET)
		       ? 0
		       : count_range(rc, entry & L2E_OFFSET, q->cluster_size);
}

static bool is_shared(const struct recount *rc, uint64_t entry)
{
	uint64_t c = q_cluster(rc->q, entry & L2E_OFFSET);

	return (entry & OFLAG_COPIED) && !(entry & OFLAG_COMPRESSED) &&
	       (c >= rc->n || rc->count[c] != 1);
}

/* The tables under an L1; check: flags of the active one, else counts. */
static int walk_l1(struct recount *rc, const uint64_t *l1, uint64_t n, bool check)
{
	struct qcow2 *q = rc->q;
	unsigned char *buf = xzalloc_aligned(4096, align_up(q->cluster_size, 4096));
	int r = 0;

	for (uint64_t i = 0; i < n && !r; i++) {
		uint64_t off = l1[i] & L1E_OFFSET;

		if (!off)
			continue;
		rc->shared_copied |= check && is_shared(rc, l1[i]);
		r = q_inside(q, off) ? -ERANGE : 0;
		if (!r && !check)
			r = count_range(rc, off, q->cluster_size);
		r = r ? r : node_pread(q->file, off, buf, q->cluster_size);
		for (uint64_t at = 0; at < q->cluster_size && !r; at += q->l2_entry_bytes) {
			uint64_t entry = get_be64(buf + at);

			if (check)
				rc->shared_copied |= !q->external && is_shared(rc, entry);
			else
				r = count_entry(rc, entry);
		}
	}
	free(buf);
	return r;
}

static int count_snapshots(struct recount *rc)
{
	struct qcow2 *q = rc->q;
	int r = 0;

	for (unsigned i = 0; i < q->n_snapshots && !r; i++) {
		uint64_t n = q->snapshot_l1[i].len, off = q->snapshot_l1[i].off;
		uint64_t *l1 = xcalloc(n + 1, 8);

		r = count_range(rc, off, n * 8);
		r = r ? r : node_pread(q->file, off, l1, n * 8);
		for (uint64_t k = 0; k < n; k++)
			l1[k] = get_be64(&l1[k]);
		r = r ? r : walk_l1(rc, l1, n, false);
		free(l1);
	}
	return r;
}

static int count_all(struct recount *rc)
{
	struct qcow2 *q = rc->q;
	/* Header, L1, refcount table, snapshot table; those of snapshots are counted with what is
	 * in them. */
	int r = count_range(rc, 0, q->cluster_size);

	r = r ? r : count_range(rc, q->l1_off, q->l1_size * UINT64_C(8));
	r = r ? r : count_range(rc, q->rt_off, q->rt_size * 8);
	r = r ? r : count_range(rc, q->snapshots_off, q->snapshots_len);
	for (uint64_t i = 0; i < q->rt_size && !r; i++)
		if (q->rt[i] & REFTABLE_OFFSET)
			r = count_range(rc, q->rt[i] & REFTABLE_OFFSET, q->cluster_size);
	r = r ? r : walk_l1(rc, q->l1, q->l1_size, false);
	r = r ? r : count_snapshots(rc);
	return r ? r : walk_l1(rc, q->l1, q->l1_size, true);
}

/* New blocks, which have counts themselves, are made on the way: behind all others. */
static int apply(struct recount *rc, uint64_t *fixed)
{
	struct qcow2 *q = rc->q;
	uint64_t most = q->refcount_order < 6 ? BIT(1u << q->refcount_order) - 1 : UINT64_MAX;
	int r = 0;

	*fixed = 0;
	q->free_hint = q->end;
	for (uint64_t c = 0; c < rc->n && !r; c++) {
		uint64_t is;

		r = refcount_get(q, c, &is);
		if (r || is == rc->count[c])
			continue;
		if (rc->count[c] > most)
			return -ERANGE;
		r = refcount_set(q, c, rc->count[c]);
		++*fixed;
	}
	q->free_hint = 0;
	return r;
}

int qcow2_repair(struct qcow2 *q, struct err **e)
{
	struct recount rc = {.q = q, .n = q->end};
	uint64_t fixed;
	int r;

	if (q->autoclear & AUTOCLEAR_BITMAPS || rc.n > CLUSTERS_MAX)
		r = -ERANGE;
	else {
		rc.count = xcalloc(rc.n + 1, sizeof(*rc.count));
		r = count_all(&rc);
		r = r ? r : rc.shared_copied ? -ERANGE : apply(&rc, &fixed);
	}
	r = r ? r : refcount_write(q);
	r = r ? r : commit_all(q);
	free(rc.count);
	if (r)
		return err_set(e, -r,
			       "'%s': the image was not closed, and its reference counts cannot be "
			       "put right (%s): "
			       "qemu-img check -r all",
			       q->file->filename,
			       r == -ERANGE ? "its tables are damaged" : strerror(-r));
	q->incompat &= ~(uint64_t)INCOMPAT_DIRTY;
	r = qcow2_header_put(q, HDR_INCOMPAT, q->incompat, 8);
	r = r ? r : node_flush(q->file);
	if (r)
		return err_set(e, -r, "'%s': cannot write the header: %s", q->file->filename,
			       strerror(-r));
	log_printf(q->n->bs->log,
		   "'%s': the image was not closed; %llu reference counts were put right\n",
		   q->file->filename, (unsigned long long)fixed);
	return 0;
}
