/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split rings (virtio 1.2 2.7).
 *
 *   descriptors  size x { le64 addr, le32 len, le16 flags, le16 next }
 *   available    le16 flags (1: no interrupts), le16 idx, size x le16 head, le16 used_event
 *   used         le16 flags (1: no kicks), le16 idx, size x { le32 head, le32 len }, le16
 * avail_event
 *
 * With EVENT_IDX avail_event is the index at which the driver shall kick: it is moved up only when
 * the ring is found empty, so a driver that adds while the device works is not made to kick.
 */
#include "dev/virtio/virtq_int.h"

#define NO_INTERRUPT 1

static uint64_t avail_size(const struct virtq *q)
{
	return 4 + 2 * (uint64_t)q->size + 2;
}

static uint64_t used_size(const struct virtq *q)
{
	return 4 + 8 * (uint64_t)q->size + 2;
}

static bool split_map(struct virtq *q)
{
	q->desc_p = virtq_area(q, q->desc, (uint64_t)q->size * VIRTQ_DESC_SIZE, 16, "descriptors");
	if (q->desc_p)
		q->avail_p = virtq_area(q, q->avail, avail_size(q), 2, "available ring");
	if (q->desc_p && q->avail_p)
		q->used_p = virtq_area(q, q->used, used_size(q), 4, "used ring");
	return q->desc_p && q->avail_p && q->used_p;
}

/* new_chains - how many; -1: more than there can be. */
static int new_chains(struct virtq *q)
{
	uint16_t n = (uint16_t)(ring_load16(q->avail_p + 2) - q->last_avail);

	if (n <= q->size)
		return n;
	virtio_error(q->v, "queue %u: available index runs ahead by %u", q->index, n);
	return -1;
}

static int split_empty(struct virtq *q)
{
	uint8_t *event = q->used_p + used_size(q) - 2;
	int n = new_chains(q);

	if (n || !virtio_has(q->v, VIRTIO_F_EVENT_IDX) ||
	    (q->event_valid && q->event == q->last_avail))
		return n > 0 ? 0 : n < 0 ? -1 : 1;
	ring_store16(event, q->last_avail);
	virtq_written(q, event, 2);
	q->event = q->last_avail;
	q->event_valid = true;
	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* against the driver's store of idx, load of event */
	n = new_chains(q);
	return n > 0 ? 0 : n < 0 ? -1 : 1;
}

static bool bad(struct virtq *q, const char *what)
{
	virtio_error(q->v, "queue %u: %s", q->index, what);
	return false;
}

/* walk - the chain from entry i of a table of n descriptors. */
static bool walk(struct virtq *q, struct virtq_chain *c, const uint8_t *table, unsigned n,
		 unsigned i, bool indirect)
{
	for (unsigned left = n < VIRTQ_SIZE_MAX ? n : VIRTQ_SIZE_MAX;; left--) {
		struct virtq_desc d;

		if (i >= n)
			return bad(q, "descriptor index outside of the table");
		if (!left)
			return bad(q, "endless chain of descriptors");
		d = virtq_desc_copy(table + (size_t)i * VIRTQ_DESC_SIZE);
		c->n_desc += !indirect;
		if (d.flags & VIRTQ_DESC_F_INDIRECT) {
			if (indirect || (d.flags & VIRTQ_DESC_F_NEXT))
				return bad(q, "indirect descriptor inside of a chain");
			table = virtq_table(q, d.addr, d.len);
			return table && walk(q, c, table, d.len / VIRTQ_DESC_SIZE, 0, true);
		}
		if (!chain_add(c, &d))
			return false;
		if (!(d.flags & VIRTQ_DESC_F_NEXT))
			return true;
		i = d.next;
	}
}

static bool split_take(struct virtq *q, struct virtq_chain *c)
{
	unsigned slot = q->last_avail & (q->size - 1u);

	c->head = ring_load16(q->avail_p + 4 + 2 * slot);
	if (!walk(q, c, q->desc_p, q->size, c->head, false))
		return false;
	q->last_avail++;
	return true;
}

/* Its descriptors are the device's still, and as they were. */
static bool split_retake(struct virtq *q, struct virtq_chain *c, const struct virtq_kept *k)
{
	c->head = k->head;
	return walk(q, c, q->desc_p, q->size, c->head, false);
}

static void split_untake(struct virtq *q, const struct virtq_elem *el)
{
	q->last_avail--;
}

static void split_give(struct virtq *q, struct virtq_elem **el, const uint32_t *len, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned slot = (q->used_idx + i) & (q->size - 1u);
		uint8_t *p = q->used_p + 4 + 8 * slot;

		put_le32(p, el[i]->head);
		put_le32(p + 4, len[i]);
		virtq_written(q, p, 8);
	}
	virtq_pend(q, n);
	q->used_idx = (uint16_t)(q->used_idx + n);
	ring_store16(q->used_p + 2, q->used_idx);
	virtq_written(q, q->used_p + 2, 2);
}

static bool split_wants_interrupt(struct virtq *q)
{
	uint16_t event;

	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* idx is out before flags and event are read */
	if (virtio_has(q->v, VIRTIO_F_NOTIFY_ON_EMPTY) && !q->inflight &&
	    ring_load16(q->avail_p + 2) == q->last_avail)
		return true;
	if (!virtio_has(q->v, VIRTIO_F_EVENT_IDX))
		return !(ring_load16(q->avail_p) & NO_INTERRUPT);
	event = ring_load16(q->avail_p + avail_size(q) - 2);
	return virtq_crossed(event, q->used_idx, (uint16_t)(q->used_idx - q->pending));
}

const struct virtq_format virtq_split = {
	.map = split_map,
	.empty = split_empty,
	.take = split_take,
	.retake = split_retake,
	.untake = split_untake,
	.give = split_give,
	.wants_interrupt = split_wants_interrupt,
};
