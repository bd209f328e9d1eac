/* SPDX-License-Identifier: Apache-2.0 */
/* Where an image's tables are, so that nothing else is written there. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/graph_int.h"
#include "back/block/qcow2.h"
#include "base/log.h"

#define KIND_SHIFT 60
#define KEY_MASK (BIT(KIND_SHIFT) - 1)

static size_t slot_of(const struct qmetaset *m, uint64_t key)
{
	size_t i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (m->size - 1);

	while (m->keys[i] && (m->keys[i] & KEY_MASK) != key)
		i = (i + 1) & (m->size - 1);
	return i;
}

static void grow(struct qmetaset *m)
{
	struct qmetaset old = *m;

	m->size = old.size ? old.size * 2 : 64;
	m->keys = xcalloc(m->size, sizeof(uint64_t));
	for (size_t i = 0; i < old.size; i++)
		if (old.keys[i])
			m->keys[slot_of(m, old.keys[i] & KEY_MASK)] = old.keys[i];
	free(old.keys);
}

void meta_add(struct qcow2 *q, uint64_t off, enum qmeta kind)
{
	struct qmetaset *m = &q->meta;
	uint64_t key = q_cluster(q, off) + 1;
	size_t i;

	if (2 * (m->n + 1) > m->size)
		grow(m);
	i = slot_of(m, key);
	m->n += !m->keys[i];
	m->keys[i] |= key | (uint64_t)kind << KIND_SHIFT;
}

bool meta_is(const struct qcow2 *q, uint64_t off, enum qmeta kind)
{
	const struct qmetaset *m = &q->meta;

	return m->size && (m->keys[slot_of(m, q_cluster(q, off) + 1)] >> KIND_SHIFT) & kind;
}

/* Those behind it in its run move up, so that no run is cut. */
void meta_remove(struct qcow2 *q, uint64_t off)
{
	struct qmetaset *m = &q->meta;
	size_t i, j;

	if (!m->size)
		return;
	i = slot_of(m, q_cluster(q, off) + 1);
	if (!m->keys[i])
		return;
	m->keys[i] = 0;
	m->n--;
	for (j = (i + 1) & (m->size - 1); m->keys[j]; j = (j + 1) & (m->size - 1)) {
		uint64_t key = m->keys[j];

		m->keys[j] = 0;
		m->keys[slot_of(m, key & KEY_MASK)] = key;
	}
}

void meta_region(struct qcow2 *q, uint64_t off, uint64_t len)
{
	if (!len)
		return;
	q->regions = xrealloc(q->regions, (q->n_regions + 1) * sizeof(*q->regions));
	q->regions[q->n_regions++] = (struct qregion){off, len};
}

void meta_region_move(struct qcow2 *q, uint64_t old, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < q->n_regions; i++)
		if (q->regions[i].off == old) {
			q->regions[i] = (struct qregion){off, len};
			return;
		}
	meta_region(q, off, len);
}

bool meta_clear(const struct qcow2 *q, uint64_t off, uint64_t len, unsigned kind)
{
	const struct qmetaset *m = &q->meta;

	for (unsigned i = 0; i < q->n_regions; i++)
		if (off < q->regions[i].off + q->regions[i].len && q->regions[i].off < off + len)
			return false;
	if (!m->size)
		return true;
	for (uint64_t c = q_cluster(q, off); c <= q_cluster(q, off + len - 1); c++) {
		uint64_t is = m->keys[slot_of(m, c + 1)] >> KIND_SHIFT;

		if (is & ~(uint64_t)kind)
			return false;
	}
	return true;
}

int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	if (q->corrupt)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	q->corrupt = true;
	log_printf(q->n->bs->log, "'%s': the image is damaged: %s%s\n", q->file->filename, what,
		   q->n->read_only ? "" : "; it is marked as corrupt and not written to any more");
	if (!q->n->read_only && q->version >= 3) {
		q->incompat |= INCOMPAT_CORRUPT;
		qcow2_header_put(q, HDR_INCOMPAT, q->incompat, 8);
		node_flush(q->file);
	}
	return -EIO;
}
