/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Rings, as the core (virtq.c), the two formats and the transports know them. */
#include "dev/virtio/virtio.h"

#define VIRTQ_NO_VECTOR 0xffff

/* Descriptor flags of both formats (2.7.5, 2.8.4). */
#define VIRTQ_DESC_F_NEXT BIT(0)
#define VIRTQ_DESC_F_WRITE BIT(1)
#define VIRTQ_DESC_F_INDIRECT BIT(2)
#define VIRTQ_DESC_F_AVAIL BIT(7)
#define VIRTQ_DESC_F_USED BIT(15)
#define VIRTQ_DESC_SIZE 16

struct virtq_format;

/* A descriptor, copied. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* packed: the buffer ID; flags and ID change places in virtq_packed.c */
};

/*
 * A chain in flight, as it is saved.  Split rings: one entry, without a descriptor, since they stay
 * as they are in the ring until the chain is used.  Packed rings, where used descriptors of other
 * chains are written over them: an entry for each descriptor, all with the chain's ID, n_desc in
 * the first one and 0 in the others.
 */
struct virtq_kept {
	uint16_t head, n_desc;
	struct virtq_desc desc;
};

struct virtq {
	struct virtio_dev *v;
	uint16_t index;
	uint16_t max; /* descriptors at most: a power of two */
	uint16_t size; /* as the driver chose */
	bool enabled;
	uint16_t vector; /* MSI-X vector or VIRTQ_NO_VECTOR: the transport's */
	uint64_t desc, avail, used; /* guest-physical; packed: avail is the driver's event area */
	uint64_t legacy_base; /* page number that a legacy driver wrote */

	/* Position.  Split: free-running indices.  Packed: places in the ring and wrap counters. */
	uint16_t last_avail, used_idx;
	bool avail_wrap, used_wrap;
	uint16_t pending; /* places used since the driver's wish for an interrupt was last looked at
			   */

	/* Chains in flight when the state was saved: of the last save; of the last load, the next
	 * to pop at kept_at.  kept_max: entries in both (max), 0 for types that save none. */
	struct virtq_kept *saved, *kept;
	uint32_t kept_max;
	uint16_t n_saved, n_kept, kept_at;

	/* Not saved. */
	const struct virtq_format *fmt; /* NULL: not mapped yet */
	uint8_t *desc_p, *avail_p, *used_p; /* the areas, in guest RAM */
	uint16_t event; /* place where the driver was last asked to kick */
	bool event_valid;
	unsigned inflight; /* elements */
	unsigned inflight_desc; /* ring descriptors that they take: at most size */
};

/* Buffers gathered while a chain is walked. */
struct virtq_chain {
	struct virtq *q;
	unsigned n, n_out, n_desc;
	uint64_t out_len, in_len;
	uint16_t head;
	struct virtq_desc desc[VIRTQ_SIZE_MAX]; /* packed: n_desc */
	struct iovec iov[VIRTQ_SIZE_MAX];
};

/* How a format does it.  Nothing is called while the queue is not mapped.  What returns false has
 * called virtio_error. */
struct virtq_format {
	bool (*map)(struct virtq *q); /* find the areas in guest RAM */
	/* Is there no chain at last_avail?  Asks for a kick when so.  -1: error. */
	int (*empty)(struct virtq *q);
	/* Walk the chain at last_avail and go past it. */
	bool (*take)(struct virtq *q, struct virtq_chain *c);
	/* The same for one that was taken when the state was saved, its entries checked as far as
	 * that needs no guest memory. */
	bool (*retake)(struct virtq *q, struct virtq_chain *c, const struct virtq_kept *k);
	void (*untake)(struct virtq *q, const struct virtq_elem *el);
	void (*give)(struct virtq *q, struct virtq_elem **el, const uint32_t *len, unsigned n);
	bool (*wants_interrupt)(struct virtq *q);
};
extern const struct virtq_format virtq_split, virtq_packed;

/* virtq_area - a ring area of size bytes, aligned as the format demands, in one piece of RAM; NULL
 * after virtio_error. */
uint8_t *virtq_area(struct virtq *q, uint64_t a, uint64_t size, unsigned align, const char *what);
/* virtq_table - an indirect table of len bytes, checked; NULL after virtio_error. */
const uint8_t *virtq_table(struct virtq *q, uint64_t a, uint32_t len);
/* chain_add - the buffer of one descriptor. */
bool chain_add(struct virtq_chain *c, const struct virtq_desc *d);

/* virtq_desc_copy - read a descriptor exactly once: the driver may be changing it meanwhile. */
static inline struct virtq_desc virtq_desc_copy(const uint8_t *p)
{
	struct virtq_desc d;

	__builtin_memcpy(&d, p, sizeof(d));
	__asm__ volatile("" : "+m"(d)); /* what is checked below is this copy, not *p read again */
	return d;
}

static inline uint16_t ring_load16(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}

static inline void ring_store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}

/* virtq_crossed - did an index that went from old to new pass event?  (2.7.7.2) */
static inline bool virtq_crossed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* virtq_pend - n more places were used. */
static inline void virtq_pend(struct virtq *q, unsigned n)
{
	q->pending = (uint16_t)min_u64(q->pending + n, UINT16_MAX);
}

/* virtq_kept_entries - how many a chain of n_desc descriptors takes. */
static inline unsigned virtq_kept_entries(const struct virtq *q, unsigned n_desc)
{
	return virtio_has(q->v, VIRTIO_F_RING_PACKED) ? n_desc : 1;
}

/* virtq_reset - as at power-on; nothing may be in flight. */
void virtq_reset(struct virtq *q);
extern const struct state_desc virtq_state;
