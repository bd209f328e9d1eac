/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed rings (virtio 1.2 2.8).
 *
 *   descriptors    size x { le64 addr, le32 len, le16 id, le16 flags }, which both sides write
 *   driver events  le16 place (bit 15: wrap counter), le16 flags: 0 enable, 1 disable, 2 at place
 *   device events  the same for kicks
 *
 * A descriptor is available when its AVAIL flag equals the device's wrap counter and its USED flag
 * does not; a used one has both equal.  A chain takes the descriptors that follow each other in the
 * ring, its ID is in the last; it is given back as one descriptor and skips the places that it
 * took.  An indirect table holds the whole chain: its descriptors have no NEXT.
 */
#include "dev/virtio/virtq_int.h"

enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC };
#define WRAP BIT(15)
#define FLAGS 14 /* offset in a descriptor */

static bool packed_map(struct virtq *q)
{
	q->desc_p = virtq_area(q, q->desc, (uint64_t)q->size * VIRTQ_DESC_SIZE, 16, "descriptors");
	if (q->desc_p)
		q->avail_p = virtq_area(q, q->avail, 4, 4, "driver event area");
	if (q->desc_p && q->avail_p)
		q->used_p = virtq_area(q, q->used, 4, 4, "device event area");
	return q->desc_p && q->avail_p && q->used_p;
}

static uint8_t *slot(const struct virtq *q, unsigned i)
{
	return q->desc_p + (size_t)i * VIRTQ_DESC_SIZE;
}

static bool available(const struct virtq *q)
{
	uint16_t flags = ring_load16(slot(q, q->last_avail) + FLAGS);

	return !!(flags & VIRTQ_DESC_F_AVAIL) == q->avail_wrap &&
	       !!(flags & VIRTQ_DESC_F_USED) != q->avail_wrap;
}

static int packed_empty(struct virtq *q)
{
	uint16_t place = (uint16_t)(q->last_avail | (q->avail_wrap ? WRAP : 0));

	if (available(q))
		return 0;
	if (!virtio_has(q->v, VIRTIO_F_EVENT_IDX) || (q->event_valid && q->event == place))
		return 1;
	ring_store16(q->used_p, place);
	ring_store16(q->used_p + 2, EVENT_DESC);
	virtq_written(q, q->used_p, 4);
	q->event = place;
	q->event_valid = true;
	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* against the driver's store of flags, load of event */
	return !available(q);
}

static bool bad(struct virtq *q, const char *what)
{
	virtio_error(q->v, "queue %u: %s", q->index, what);
	return false;
}

static struct virtq_desc packed_desc(const uint8_t *p)
{
	struct virtq_desc d = virtq_desc_copy(p);
	uint16_t id = d.flags;

	d.flags = d.next;
	d.next = id;
	return d;
}

static bool walk_indirect(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d)
{
	const uint8_t *table = virtq_table(q, d->addr, d->len);
	unsigned n = d->len / VIRTQ_DESC_SIZE;

	if (!table)
		return false;
	if (n > VIRTQ_SIZE_MAX)
		return bad(q, "indirect table is too long");
	for (unsigned i = 0; i < n; i++) {
		struct virtq_desc t = packed_desc(table + (size_t)i * VIRTQ_DESC_SIZE);

		if (t.flags & VIRTQ_DESC_F_INDIRECT)
			return bad(q, "indirect descriptor inside of a table");
		if (!chain_add(c, &t))
			return false;
	}
	return true;
}

static bool walk(struct virtq *q, struct virtq_chain *c)
{
	unsigned i = q->last_avail;

	for (;;) {
		struct virtq_desc d = packed_desc(slot(q, i));

		if (c->n_desc == q->size)
			return bad(q, "endless chain of descriptors");
		c->desc[c->n_desc++] = d;
		c->head = d.next;
		if (d.flags & VIRTQ_DESC_F_INDIRECT) {
			if (c->n_desc > 1 || (d.flags & VIRTQ_DESC_F_NEXT))
				return bad(q, "indirect descriptor inside of a chain");
			return walk_indirect(q, c, &d);
		}
		if (!chain_add(c, &d))
			return false;
		if (!(d.flags & VIRTQ_DESC_F_NEXT))
			return true;
		i = i + 1u == q->size ? 0 : i + 1;
	}
}

/* advance - a place in the ring by n descriptors; true: it went round. */
static bool advance(const struct virtq *q, uint16_t *place, unsigned n)
{
	unsigned p = *place + n;
	bool round = p >= q->size;

	*place = (uint16_t)(round ? p - q->size : p);
	return round;
}

static bool packed_take(struct virtq *q, struct virtq_chain *c)
{
	if (!walk(q, c))
		return false;
	q->avail_wrap ^= advance(q, &q->last_avail, c->n_desc);
	return true;
}

static bool packed_retake(struct virtq *q, struct virtq_chain *c, const struct virtq_kept *k)
{
	c->head = k->head;
	while (c->n_desc < k->n_desc) {
		const struct virtq_desc *d = &k[c->n_desc].desc;

		c->desc[c->n_desc++] = *d;
		if (d->flags & VIRTQ_DESC_F_INDIRECT)
			return walk_indirect(q, c, d);
		if (!chain_add(c, d))
			return false;
	}
	return true;
}

static void packed_untake(struct virtq *q, const struct virtq_elem *el)
{
	if (el->n_desc > q->last_avail) {
		q->last_avail = (uint16_t)(q->last_avail + q->size);
		q->avail_wrap = !q->avail_wrap;
	}
	q->last_avail = (uint16_t)(q->last_avail - el->n_desc);
}

/* The first descriptor's flags are written last: with them all of the batch becomes visible. */
static void packed_give(struct virtq *q, struct virtq_elem **el, const uint32_t *len, unsigned n)
{
	uint8_t *first = slot(q, q->used_idx);
	uint16_t first_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = slot(q, q->used_idx);
		uint16_t flags = q->used_wrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0;

		if (len[i])
			flags |= VIRTQ_DESC_F_WRITE;
		put_le32(p + 8, len[i]);
		put_le16(p + 12, el[i]->head);
		if (i)
			ring_store16(p + FLAGS, flags);
		else
			first_flags = flags;
		virtq_written(q, p + 8, 8);
		virtq_pend(q, el[i]->n_desc);
		q->used_wrap ^= advance(q, &q->used_idx, el[i]->n_desc);
	}
	ring_store16(first + FLAGS, first_flags);
	virtq_written(q, first + FLAGS, 2);
}

static bool packed_wants_interrupt(struct virtq *q)
{
	uint16_t place, flags, event;

	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* descriptors are out before the events are read */
	flags = ring_load16(q->avail_p + 2) & 3;
	place = ring_load16(q->avail_p);
	if (flags == EVENT_DISABLE)
		return false;
	if (flags != EVENT_DESC || !virtio_has(q->v, VIRTIO_F_EVENT_IDX))
		return true;
	event = place & (uint16_t)~WRAP;
	if (!!(place & WRAP) != q->used_wrap)
		event = (uint16_t)(event - q->size);
	return virtq_crossed(event, q->used_idx, (uint16_t)(q->used_idx - q->pending));
}

const struct virtq_format virtq_packed = {
	.map = packed_map,
	.empty = packed_empty,
	.take = packed_take,
	.retake = packed_retake,
	.untake = packed_untake,
	.give = packed_give,
	.wants_interrupt = packed_wants_interrupt,
};
