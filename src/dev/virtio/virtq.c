/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtqueues (virtio 1.2 2.6): what split and packed rings share.
 *
 * What is kept true, whatever the driver writes and whenever it writes it:
 *  - a descriptor is copied once, and only the copy is looked at;
 *  - the ring areas, indirect tables and buffers are guest RAM: each is looked up in the memory map
 *    when it is used for the first time.  A host pointer once given out stays valid, since the
 * bytes of RAM never move; when the guest maps something else over them, its device goes on using
 * the RAM below;
 *  - a chain has at most VIRTQ_SIZE_MAX buffers, and its walk ends after as many descriptors;
 *  - no more ring descriptors are in flight than the ring has.
 * Whatever breaks the rules breaks the device: virtio_error, and virtq_pop gives nothing more.
 *
 * The other side is vCPU threads that store to the rings with no lock; this side runs with
 * env->lock held.  Index and flag words are read with acquire and written with release; the two
 * places where each side stores one word and then reads the other's (an empty ring that asks for a
 * kick; used buffers that may want an interrupt) have a full fence between.  All stores to guest
 * RAM are reported to mem_written: a ring or a buffer may lie in a page that holds code, and the
 * dirty log wants them.
 */
#include "dev/virtio/virtq_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "mem/page.h"

void virtq_written(struct virtq *q, const void *p, uint64_t len)
{
	struct mem *m = q->v->env->mem;

	if (len)
		mem_written(m, (uint64_t)((const uint8_t *)p - mem_ram_base(m)), len);
}

uint8_t *virtq_area(struct virtq *q, uint64_t a, uint64_t size, unsigned align, const char *what)
{
	uint8_t *p = a & (align - 1) ? NULL : mem_dma_ptr(q->v->env->mem, GPA(a), size);

	if (!p)
		virtio_error(q->v, "queue %u: %s at 0x%llx is not aligned or not in RAM", q->index,
			     what, (unsigned long long)a);
	return p;
}

const uint8_t *virtq_table(struct virtq *q, uint64_t a, uint32_t len)
{
	const uint8_t *p = NULL;

	if (virtio_has(q->v, VIRTIO_F_INDIRECT_DESC) && len && len % VIRTQ_DESC_SIZE == 0)
		p = mem_dma_ptr(q->v->env->mem, GPA(a), len);
	if (!p)
		virtio_error(q->v, "queue %u: bad indirect table at 0x%llx, %u bytes", q->index,
			     (unsigned long long)a, len);
	return p;
}

/* chain_piece - one stretch of RAM; goes on where the last one ended, if it can. */
static bool chain_piece(struct virtq_chain *c, uint8_t *p, uint64_t len, bool first)
{
	struct iovec *last = c->n && !first ? &c->iov[c->n - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
		return true;
	}
	if (c->n == VIRTQ_SIZE_MAX)
		return false;
	c->iov[c->n++] = (struct iovec){.iov_base = p, .iov_len = len};
	return true;
}

static bool chain_bad(const struct virtq_chain *c, const struct virtq_desc *d, const char *what)
{
	virtio_error(c->q->v, "queue %u: buffer at 0x%llx, %u bytes: %s", c->q->index,
		     (unsigned long long)d->addr, d->len, what);
	return false;
}

bool chain_add(struct virtq_chain *c, const struct virtq_desc *d)
{
	struct mem *m = c->q->v->env->mem;
	bool in = d->flags & VIRTQ_DESC_F_WRITE;
	uint64_t a = d->addr, left = d->len;

	if (!in && c->n > c->n_out)
		return chain_bad(c, d, "read after written ones");
	if (c->out_len + c->in_len + left > 4 * GiB)
		return chain_bad(c, d, "the chain is longer than 4 GiB");
	while (left) {
		struct mem_range r;
		uint64_t off, n;

		mem_lookup(m, GPA(a), &r);
		off = a - r.base;
		if ((r.kind != MEM_RAM && (in || r.kind != MEM_ROM)) || off >= r.size)
			return chain_bad(c, d, "not in RAM");
		n = min_u64(left, r.size - off);
		if (!chain_piece(c, mem_ram_base(m) + r.ram_off + off, n, in && c->n == c->n_out))
			return chain_bad(c, d, "too many pieces");
		if (!in)
			c->n_out = c->n;
		a += n;
		left -= n;
	}
	*(in ? &c->in_len : &c->out_len) += d->len;
	return true;
}

bool virtq_ready(const struct virtq *q)
{
	return q->enabled && q->v->driver_ok && !q->v->broken;
}

/* usable - ready, and mapped. */
static bool usable(struct virtq *q)
{
	const struct virtq_format *fmt;

	if (!virtq_ready(q))
		return false;
	if (q->fmt)
		return true;
	fmt = virtio_has(q->v, VIRTIO_F_RING_PACKED) ? &virtq_packed : &virtq_split;
	if (!fmt->map(q))
		return false;
	q->fmt = fmt;
	return true;
}

static bool dma(const struct virtq *q)
{
	return !q->v->transport->dma || q->v->transport->dma(q->v);
}

bool virtq_empty(struct virtq *q)
{
	if (!usable(q) || !dma(q))
		return true;
	return q->kept_at == q->n_kept && q->fmt->empty(q) != 0;
}

static struct virtq_elem *elem_new(struct virtq *q, const struct virtq_chain *c)
{
	struct virtq_elem *el = xrealloc(NULL, sizeof(*el) + c->n * sizeof(c->iov[0]));
	struct iovec *iov = (struct iovec *)(el + 1);

	memcpy(iov, c->iov, c->n * sizeof(*iov));
	*el = (struct virtq_elem){
		.q = q,
		.out = iov,
		.in = iov + c->n_out,
		.n_out = c->n_out,
		.n_in = c->n - c->n_out,
		.out_len = c->out_len,
		.in_len = c->in_len,
		.head = c->head,
		.n_desc = (uint16_t)c->n_desc,
	};
	_Static_assert(sizeof(el->first) == sizeof(c->first), "a descriptor");
	memcpy(el->first, &c->first, sizeof(el->first));
	return el;
}

struct virtq_elem *virtq_pop(struct virtq *q)
{
	struct virtq_chain *c = q->v->chain;
	struct virtq_elem *el;
	bool kept;

	if (virtq_empty(q))
		return NULL;
	kept = q->kept_at < q->n_kept;
	c->q = q;
	c->n = c->n_out = c->n_desc = 0;
	c->out_len = c->in_len = 0;
	c->first = (struct virtq_desc){0};
	if (kept ? !q->fmt->retake(q, c, &q->kept[q->kept_at++]) : !q->fmt->take(q, c))
		return NULL;
	if (q->inflight_desc + c->n_desc > q->size) {
		virtio_error(q->v, "queue %u: more buffers than it has room for", q->index);
		return NULL;
	}
	q->inflight++;
	q->inflight_desc += c->n_desc;
	el = elem_new(q, c);
	el->kept = kept;
	return el;
}

/* elem_touched - the first `len` bytes of el's `in` buffers were written. */
static void elem_touched(struct virtq_elem *el, uint64_t len)
{
	for (unsigned i = 0; i < el->n_in && len; i++) {
		uint64_t n = min_u64(len, el->in[i].iov_len);

		virtq_written(el->q, el->in[i].iov_base, n);
		len -= n;
	}
}

static void elem_free(struct virtq_elem *el)
{
	struct virtq *q = el->q;

	bug_on(!q->inflight || q->inflight_desc < el->n_desc);
	q->inflight--;
	q->inflight_desc -= el->n_desc;
	free(el);
}

void virtq_push_many(struct virtq_elem **el, const uint32_t *len, unsigned n)
{
	struct virtq *q = el[0]->q;

	for (unsigned i = 0; i < n; i++)
		elem_touched(el[i], max_u64(el[i]->touched, len[i]));
	if (usable(q))
		q->fmt->give(q, el, len, n);
	for (unsigned i = 0; i < n; i++)
		elem_free(el[i]);
}

void virtq_push(struct virtq_elem *el, uint32_t len)
{
	virtq_push_many(&el, &len, 1);
}

void virtq_unpop(struct virtq_elem *el)
{
	struct virtq *q = el->q;

	if (el->kept)
		q->kept_at--;
	else if (q->fmt)
		q->fmt->untake(q, el);
	elem_free(el);
}

void virtq_drop(struct virtq_elem *el)
{
	elem_touched(el, el->in_len);
	elem_free(el);
}

void virtq_notify(struct virtq *q)
{
	if (!q->pending || !usable(q))
		return;
	if (q->fmt->wants_interrupt(q))
		q->v->transport->notify_queue(q->v, q);
	q->pending = 0;
}

unsigned virtq_index(const struct virtq *q)
{
	return q->index;
}

void virtq_reset(struct virtq *q)
{
	bug_on(q->inflight);
	*q = (struct virtq){
		.v = q->v,
		.index = q->index,
		.max = q->max,
		.size = q->max,
		.vector = VIRTQ_NO_VECTOR,
		.avail_wrap = true,
		.used_wrap = true,
		.saved = q->saved,
		.kept = q->kept,
		.kept_max = q->kept_max,
	};
}

bool virtq_saveable(const struct virtq_elem *el)
{
	return !virtio_has(el->q->v, VIRTIO_F_RING_PACKED) || el->n_desc == 1;
}

void virtq_save(struct virtq_elem *el)
{
	struct virtq *q = el->q;
	struct virtq_kept *k;

	bug_on(q->n_saved == q->kept_max);
	k = &q->saved[q->n_saved++];
	*k = (struct virtq_kept){.head = el->head, .n_desc = el->n_desc};
	memcpy(&k->first, el->first, sizeof(k->first));
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

/* kept_post_load - what is saved as in flight is to be popped again; nonsense is left to the checks
 * of descriptors. */
static int kept_post_load(struct virtq *q, struct err **e)
{
	unsigned sum = 0;

	if (q->n_saved > q->kept_max)
		return err_set(e, EINVAL, "virtqueue %u: too many buffers in flight", q->index);
	for (unsigned i = 0; i < q->n_saved; i++)
		sum += q->saved[i].n_desc;
	if (sum > q->size)
		return err_set(e, EINVAL, "virtqueue %u: too many buffers in flight", q->index);
	q->n_kept = q->n_saved;
	q->kept_at = 0;
	if (q->n_kept)
		memcpy(q->kept, q->saved, q->n_kept * sizeof(*q->kept));
	return 0;
}

/* A queue is mapped anew, with every check, when it is used again after loading. */
static int virtq_post_load(void *obj, struct err **e)
{
	struct virtq *q = obj;
	bool packed = virtio_has(q->v, VIRTIO_F_RING_PACKED);

	if (!q->size || q->size > q->max || (!packed && !is_pow2(q->size)))
		return err_set(e, EINVAL, "virtqueue %u: impossible size %u", q->index, q->size);
	if (packed && (q->last_avail >= q->size || q->used_idx >= q->size))
		return err_set(e, EINVAL, "virtqueue %u: place outside of the ring", q->index);
	if (q->inflight)
		return err_set(e, EBUSY, "virtqueue %u is in use", q->index);
	q->fmt = NULL;
	q->event_valid = false;
	return kept_post_load(q, e);
}

static const struct state_field kept_fields[] = {
	STATE_FIELD(struct virtq_kept, head, STATE_U16),
	STATE_FIELD(struct virtq_kept, n_desc, STATE_U16),
	STATE_FIELD(struct virtq_kept, first.addr, STATE_U64),
	STATE_FIELD(struct virtq_kept, first.len, STATE_U32),
	STATE_FIELD(struct virtq_kept, first.flags, STATE_U16),
	STATE_FIELD(struct virtq_kept, first.next, STATE_U16),
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

const struct state_desc virtq_state = {
	.name = "virtq",
	.version = 1,
	.fields = virtq_fields,
	.post_load = virtq_post_load,
	.pre_save = virtq_pre_save,
};
