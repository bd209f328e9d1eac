/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved state of a virtqueue: its addresses, its places in the rings, and for types that ask for it
 * (virtio_save_in_flight) the chains in flight.
 *
 * A stream is hostile.  What can be judged without guest memory is judged when it is loaded: sizes,
 * places, that the chains are whole, of different names, and as many as the places say.  What
 * descriptors point at is looked at when the chain is popped, by the checks that every chain
 * passes; it breaks the device then.  A queue is mapped anew, with every check, when it is used
 * again.
 *
 * A hostile driver must not make its machine impossible to load: what is refused here and a driver
 * can bring about (two chains of one name) is kept out of the state (virtq_same).  A broken device
 * gives no chain until it is reset, and has lost some: its chains and places are not looked at.
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "dev/virtio/virtq_int.h"

static bool packed(const struct virtq *q)
{
	return virtio_has(q->v, VIRTIO_F_RING_PACKED);
}

bool virtq_same(const struct virtq_elem *a, const struct virtq_elem *b)
{
	return a->q == b->q && a->head == b->head;
}

void virtq_save(const struct virtq_elem *el)
{
	const struct virtq_desc *desc = el->desc;
	struct virtq *q = el->q;
	unsigned n = virtq_kept_entries(q, el->n_desc);

	bug_on(q->n_saved + n > q->kept_max);
	for (unsigned i = 0; i < n; i++)
		q->saved[q->n_saved++] = (struct virtq_kept){
			.head = el->head,
			.n_desc = i ? 0 : el->n_desc,
			.desc = desc ? desc[i] : (struct virtq_desc){0},
		};
}

/* What was loaded and not popped yet is saved again; the type adds what it has. */
static void virtq_pre_save(void *obj)
{
	struct virtq *q = obj;

	q->n_saved = 0;
	if (!q->kept_max)
		return;
	memset(q->saved, 0, q->kept_max * sizeof(*q->saved));
	while (q->n_saved < q->n_kept - q->kept_at) {
		q->saved[q->n_saved] = q->kept[q->kept_at + q->n_saved];
		q->n_saved++;
	}
}

static int bad(const struct virtq *q, struct err **e, const char *what)
{
	return err_set(e, EINVAL, "virtqueue %u: %s", q->index, what);
}

/* Descriptors of a packed ring (2.8.6, 2.8.7): all but the last go on, the last has the ID; an
 * indirect one is alone. */
static int chain_check(const struct virtq *q, const struct virtq_kept *k, struct err **e)
{
	for (unsigned i = 0; i < k->n_desc; i++) {
		const struct virtq_desc *d = &k[i].desc;
		bool last = i + 1 == k->n_desc;

		if (k[i].head != k->head || (i && k[i].n_desc))
			return bad(q, e, "a chain in flight that is not whole");
		if (last == !!(d->flags & VIRTQ_DESC_F_NEXT))
			return bad(q, e,
				   "a chain in flight that is longer or shorter than it says");
		if (last && d->next != k->head)
			return bad(q, e, "a chain in flight with another's ID");
		if (!(d->flags & VIRTQ_DESC_F_INDIRECT))
			continue;
		if (k->n_desc > 1 || !virtio_has(q->v, VIRTIO_F_INDIRECT_DESC) || !d->len ||
		    d->len % VIRTQ_DESC_SIZE)
			return bad(q, e,
				   "a chain in flight with an impossible indirect descriptor");
	}
	return 0;
}

/* A set of heads or IDs: is `id` in it?  Adds it. */
static bool seen(uint64_t *set, uint16_t id)
{
	bool was = set[id / 64] & BIT(id % 64);

	set[id / 64] |= BIT(id % 64);
	return was;
}

/* kept_check - the saved entries; *n_chains and *n_desc: what they are. */
static int kept_check(const struct virtq *q, unsigned *n_chains, unsigned *n_desc, struct err **e)
{
	uint64_t ids[65536 / 64] = {0};
	unsigned i = 0;

	*n_chains = *n_desc = 0;
	if (q->n_saved && !(q->enabled && q->v->driver_ok))
		return bad(q, e, "buffers in flight, and the driver has not set it up");
	while (i < q->n_saved) {
		const struct virtq_kept *k = &q->saved[i];
		unsigned n = virtq_kept_entries(q, k->n_desc);
		int r = 0;

		if (!k->n_desc || n > q->n_saved - i)
			return bad(q, e, "a chain in flight that is not whole");
		if (!packed(q) && k->head >= q->size)
			return bad(q, e, "a chain in flight from outside of the ring");
		if (packed(q))
			r = chain_check(q, k, e);
		if (r)
			return r;
		if (seen(ids, k->head))
			return bad(q, e, "two chains in flight of one name");
		*n_chains += 1;
		*n_desc += k->n_desc;
		i += n;
	}
	return *n_desc > q->size ? bad(q, e, "too many buffers in flight") : 0;
}

/* places_check - chains are taken at last_avail, given back at used_idx; in between are those in
 * flight: in a packed ring as descriptors, less than once round (2.8.1). */
static int places_check(const struct virtq *q, unsigned n_chains, unsigned n_desc, struct err **e)
{
	int between = q->last_avail - q->used_idx;

	if (!packed(q)) {
		if ((uint16_t)between == n_chains)
			return 0;
		return err_set(e, EINVAL,
			       "virtqueue %u: %u chains in flight by its places, %u are saved",
			       q->index, (uint16_t)between, n_chains);
	}
	if (q->avail_wrap != q->used_wrap)
		between += q->size;
	if (between < 0 || between > q->size)
		return bad(q, e, "places or wrap counters that do not go together");
	if ((unsigned)between != n_desc)
		return err_set(e, EINVAL,
			       "virtqueue %u: %d descriptors in flight by its places, %u are saved",
			       q->index, between, n_desc);
	return 0;
}

static int virtq_post_load(void *obj, struct err **e)
{
	struct virtq *q = obj;
	unsigned n_chains, n_desc;
	int r;

	if (!q->size || q->size > q->max || (!packed(q) && !is_pow2(q->size)))
		return err_set(e, EINVAL, "virtqueue %u: impossible size %u", q->index, q->size);
	if (packed(q) && (q->last_avail >= q->size || q->used_idx >= q->size))
		return bad(q, e, "place outside of the ring");
	if (q->inflight)
		return err_set(e, EBUSY, "virtqueue %u is in use", q->index);
	if (q->n_saved > q->kept_max)
		return bad(q, e, "too many buffers in flight");
	if (!q->v->broken) {
		r = kept_check(q, &n_chains, &n_desc, e);
		if (!r)
			r = places_check(q, n_chains, n_desc, e);
		if (r)
			return r;
	}
	q->fmt = NULL;
	q->event_valid = false;
	q->n_kept = q->v->broken ? 0 : q->n_saved;
	q->kept_at = 0;
	if (q->n_kept)
		memcpy(q->kept, q->saved, q->n_kept * sizeof(*q->kept));
	return 0;
}

static const struct state_field kept_fields[] = {
	STATE_FIELD(struct virtq_kept, head, STATE_U16),
	STATE_FIELD(struct virtq_kept, n_desc, STATE_U16),
	STATE_FIELD_AS("first.addr", struct virtq_kept, desc.addr, STATE_U64),
	STATE_FIELD_AS("first.len", struct virtq_kept, desc.len, STATE_U32),
	STATE_FIELD_AS("first.flags", struct virtq_kept, desc.flags, STATE_U16),
	STATE_FIELD_AS("first.next", struct virtq_kept, desc.next, STATE_U16),
	STATE_END,
};

static const struct state_desc kept_state = {.name = "chain", .version = 1, .fields = kept_fields};

static const struct state_field virtq_fields[] = {
	STATE_FIELD(struct virtq, size, STATE_U16),
	STATE_FIELD(struct virtq, enabled, STATE_BOOL),
	STATE_FIELD(struct virtq, vector, STATE_U16),
	STATE_FIELD(struct virtq, desc, STATE_U64),
	STATE_FIELD(struct virtq, avail, STATE_U64),
	STATE_FIELD(struct virtq, used, STATE_U64),
	STATE_FIELD(struct virtq, legacy_base, STATE_U64),
	STATE_FIELD(struct virtq, last_avail, STATE_U16),
	STATE_FIELD(struct virtq, used_idx, STATE_U16),
	STATE_FIELD(struct virtq, avail_wrap, STATE_BOOL),
	STATE_FIELD(struct virtq, used_wrap, STATE_BOOL),
	STATE_FIELD(struct virtq, pending, STATE_U16),
	STATE_FIELD(struct virtq, n_saved, STATE_U16),
	{.name = "in_flight",
	 .offset = offsetof(struct virtq, saved),
	 .kind = STATE_STRUCT,
	 .stride = sizeof(struct virtq_kept),
	 .sub = &kept_state,
	 .pointer = true,
	 .count_at = offsetof(struct virtq, kept_max)},
	STATE_END,
};

/* Version 1 had no entries but the first of a chain: packed chains of several descriptors were not
 * saved.  It reads as it is. */
const struct state_desc virtq_state = {
	.name = "virtq",
	.version = 2,
	.oldest = 1,
	.fields = virtq_fields,
	.post_load = virtq_post_load,
	.pre_save = virtq_pre_save,
};
