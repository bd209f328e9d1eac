/* SPDX-License-Identifier: Apache-2.0 */
/* What is read when an image is opened: refcount table, L1, snapshots; and where they and theirs
 * are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/qcow2.h"
#include "base/err.h"

static int bad(const struct qcow2 *q, struct err **e, const char *what)
{
	return err_set(e, EINVAL, "'%s': damaged qcow2 image: %s", q->file->filename, what);
}

/* Entries of a table of the file, in host byte order. */
static int read_table(struct qcow2 *q, uint64_t off, uint64_t n, uint64_t **out, struct err **e,
		      const char *name)
{
	uint64_t *t;
	char what[64];
	int r;

	snprintf(what, sizeof(what), "the %s is not in the file", name);
	if (q_inside(q, off) || !range_fits(off, n * 8, q->file->size))
		return bad(q, e, what);
	t = xzalloc_aligned(4096, align_up(n * 8 + 8, 4096));
	r = node_pread(q->file, off, t, n * 8);
	if (r) {
		free(t);
		return err_set(e, -r, "'%s': cannot read the %s: %s", q->file->filename, name,
			       strerror(-r));
	}
	for (uint64_t i = 0; i < n; i++)
		t[i] = get_be64(&t[i]);
	*out = t;
	return 0;
}

static int read_reftable(struct qcow2 *q, struct err **e)
{
	uint64_t bytes = q->rt_size << q->cluster_bits; /* still in clusters */
	int r;

	if (!q->rt_size || bytes > QCOW2_REFTABLE_BYTES_MAX || q->rt_size > UINT32_MAX)
		return bad(q, e, "the size of the refcount table");
	if (!q->rt_off)
		return bad(q, e, "there is no refcount table");
	q->rt_size = bytes / 8;
	r = read_table(q, q->rt_off, q->rt_size, &q->rt, e, "refcount table");
	if (r)
		return r;
	q->rt_dirty = xcalloc(q->rt_size / 4096 + 1, 8);
	meta_region(q, q->rt_off, bytes);
	for (uint64_t i = 0; i < q->rt_size; i++) {
		if (!(q->rt[i] & REFTABLE_OFFSET))
			continue;
		/* One block for two ranges: no count is right, and a search would never end. */
		if (!q->n->read_only && meta_is(q, q->rt[i] & REFTABLE_OFFSET, META_REFBLOCK))
			return bad(q, e, "a refcount block is used twice");
		meta_add(q, q->rt[i] & REFTABLE_OFFSET, META_REFBLOCK);
	}
	return 0;
}

static int read_l1(struct qcow2 *q, struct err **e)
{
	uint64_t per_l1 = q->cluster_size << q->l2_bits, size = q->n->size;
	uint64_t need = size / per_l1 + (size % per_l1 != 0);
	int r;

	if (q->l1_size * UINT64_C(8) > QCOW2_L1_BYTES_MAX)
		return bad(q, e, "the L1 table is too large");
	if (q->l1_size < need)
		return bad(q, e, "the L1 table is too small for the disk");
	r = q->l1_size ? read_table(q, q->l1_off, q->l1_size, &q->l1, e, "L1 table") : 0;
	if (r)
		return r;
	q->l1_dirty = xcalloc(q->l1_size / 4096 + 1, 8);
	meta_region(q, q->l1_off, q->l1_size * UINT64_C(8));
	for (uint32_t i = 0; i < q->l1_size; i++)
		if (q->l1[i] & L1E_OFFSET)
			meta_add(q, q->l1[i] & L1E_OFFSET, META_L2);
	return 0;
}

static char *str_of(const unsigned char *p, size_t len)
{
	char *s = xzalloc(len + 1);

	memcpy(s, p, len);
	return s;
}

/* One entry at p, of which `left` bytes are there; its length, or 0 when it does not fit. */
static size_t read_snapshot(struct qcow2 *q, struct block_snapshot *s, const unsigned char *p,
			    size_t left)
{
	uint64_t l1_off, extra, id_len, name_len, len;
	uint32_t l1_size;

	if (left < 40)
		return 0;
	l1_off = get_be64(p);
	l1_size = get_be32(p + 8);
	id_len = get_be16(p + 12);
	name_len = get_be16(p + 14);
	extra = get_be32(p + 36);
	len = 40 + extra + id_len + name_len;
	if (extra > 1024 || len > left)
		return 0;
	s->date_s = get_be32(p + 16);
	s->date_ns = get_be32(p + 20);
	s->vm_clock_ns = get_be64(p + 24);
	s->vm_state_size = extra >= 8 ? get_be64(p + 40) : get_be32(p + 32);
	s->disk_size = extra >= 16 ? get_be64(p + 48) : q->n->size;
	s->id = str_of(p + 40 + extra, id_len);
	s->name = str_of(p + 40 + extra + id_len, name_len);
	if (l1_size * UINT64_C(8) > QCOW2_L1_BYTES_MAX || q_inside(q, l1_off) ||
	    !range_fits(l1_off, l1_size * UINT64_C(8), q->file->size))
		return 0;
	meta_region(q, l1_off, l1_size * UINT64_C(8));
	q->snapshot_l1[s - q->snapshots] = (struct qregion){l1_off, l1_size};
	return min_u64(align_up(len, 8), left);
}

static int read_snapshots(struct qcow2 *q, struct err **e)
{
	unsigned char off_buf[8], *buf;
	uint64_t off, len, at = 0;
	unsigned n = q->header_snapshots;
	int r;

	if (!n)
		return 0;
	if (n > QCOW2_SNAPSHOTS_MAX)
		return bad(q, e, "the number of snapshots");
	r = node_pread(q->file, 64, off_buf, 8);
	off = get_be64(off_buf);
	if (r || q_inside(q, off) || off >= q->file->size)
		return bad(q, e, "the snapshot table is not in the file");
	/* Its length is known when it has been read only. */
	len = min_u64(q->file->size - off, min_u64(n * UINT64_C(2048), QCOW2_SNAPSHOT_BYTES_MAX));
	buf = xzalloc_aligned(4096, align_up(len, 4096));
	r = node_pread(q->file, off, buf, len);
	q->snapshots = xcalloc(n, sizeof(*q->snapshots));
	q->snapshot_l1 = xcalloc(n, sizeof(*q->snapshot_l1));
	while (!r && q->n_snapshots < n) {
		size_t used = read_snapshot(q, &q->snapshots[q->n_snapshots], buf + at, len - at);

		q->n_snapshots++;
		if (!used)
			r = bad(q, e, "the snapshot table");
		at += used;
	}
	free(buf);
	if (!r)
		meta_region(q, off, at);
	q->snapshots_off = off;
	q->snapshots_len = at;
	return r;
}

/*
 * Clusters past the end of the file may be counted all the same: written for, and then not.  On a
 * block device the end of the file says nothing: what counts says where the image ends.
 */
static int find_end(struct qcow2 *q)
{
	unsigned bits = refcount_per_block_bits(q);
	uint64_t end = q_cluster(q, q->file->size + q->cluster_size - 1), count;

	q->end = q->fresh_is_zero ? end : 0;
	for (uint64_t idx = q->rt_size; idx-- > q->end >> bits;) {
		uint64_t block = q->rt[idx] & REFTABLE_OFFSET;

		if (!block || block >= q->file->size)
			continue;
		for (uint64_t c = (idx + 1) << bits; c-- > max_u64(q->end, idx << bits);) {
			int r = refcount_get(q, c, &count);

			if (r)
				return r;
			if (count) {
				q->end = c + 1;
				return 0;
			}
		}
	}
	return 0;
}

int qcow2_tables_read(struct qcow2 *q, struct err **e)
{
	int r;

	q->l2_entry_bytes = q->extl2 ? 16 : 8;
	q->l2_bits = q->cluster_bits - (q->extl2 ? 4 : 3);
	q->sub_bits = q->cluster_bits - (q->extl2 ? 5 : 0);
	meta_region(q, 0, q->cluster_size);
	r = read_reftable(q, e);
	r = r ? r : read_l1(q, e);
	r = r ? r : read_snapshots(q, e);
	if (r || q->n->read_only)
		return r;
	r = find_end(q);
	return r ? bad(q, e, "refcount blocks") : 0;
}
