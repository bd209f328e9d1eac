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

#include <stdlib.h>
#include <string.h>

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
	bool saves = q->kept_max && virtio_has(q->v, VIRTIO_F_RING_PACKED);
	size_t n_iov = c->n * sizeof(c->iov[0]),
	       n_desc = saves ? c->n_desc * sizeof(c->desc[0]) : 0;
	struct virtq_elem *el = xrealloc(NULL, sizeof(*el) + n_iov + n_desc);
	struct iovec *iov = (struct iovec *)(el + 1);
	void *desc = (char *)iov + n_iov;

	memcpy(iov, c->iov, n_iov);
	memcpy(desc, c->desc, n_desc);
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
		.desc = saves ? desc : NULL,
	};
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
	if (kept ? !q->fmt->retake(q, c, &q->kept[q->kept_at]) : !q->fmt->take(q, c))
		return NULL;
	if (q->inflight_desc + c->n_desc > q->size) {
		virtio_error(q->v, "queue %u: more buffers than it has room for", q->index);
		return NULL;
	}
	q->inflight++;
	q->inflight_desc += c->n_desc;
	el = elem_new(q, c);
	if (kept) {
		el->kept = (uint16_t)virtq_kept_entries(q, el->n_desc);
		q->kept_at = (uint16_t)(q->kept_at + el->kept);
	}
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
		q->kept_at = (uint16_t)(q->kept_at - el->kept);
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
