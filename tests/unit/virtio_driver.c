/* SPDX-License-Identifier: Apache-2.0 */
#include "dev_env.h"

#include "base/kvlist.h"
#include "dev/opts.h"
#include "virtio_driver.h"

#define F_NEXT 1
#define F_WRITE 2
#define F_INDIRECT 4
#define F_AVAIL 0x80
#define F_USED 0x8000

struct dev_opts *vdrv_opts(const struct dev_class *c, const char *props,
			   const struct dev_backends *b)
{
	static const struct dev_backends none;
	struct kvlist kv = {0};
	struct dev_opts *o;
	struct err *e = NULL;

	assert_int_equal(kv_parse(&kv, props, NULL, &e), 0);
	if (dev_opts_parse(&o, c, &kv, &e) || dev_opts_resolve(o, b ? b : &none, &e))
		fail_msg("%s", err_msg(e));
	kv_free(&kv);
	return o;
}

static void notify_queue(struct virtio_dev *v, struct virtq *q)
{
	((struct vdrv *)v->transport_opaque)->q[virtq_index(q)].interrupts++;
}

static void notify_config(struct virtio_dev *v)
{
	((struct vdrv *)v->transport_opaque)->config_interrupts++;
}

static void on_dev_reset(struct virtio_dev *v)
{
	((struct vdrv *)v->transport_opaque)->resets++;
}

static const struct virtio_transport_ops transport = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.reset = on_dev_reset,
};

struct vdrv *vdrv_open(struct test_env *t, struct virtio_dev *v, uint64_t features)
{
	struct vdrv *d = xzalloc(sizeof(*d));

	d->t = t;
	d->v = v;
	d->heap = 1 * MiB;
	lock_take(&t->lock);
	virtio_attach(v,
		      VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
			      VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET,
		      &transport, d);
	virtio_reset(v);
	virtio_set_status(v, 1);
	virtio_set_status(v, 3);
	features = (features | VIRTIO_F_VERSION_1) & v->offered;
	virtio_accept_features(v, 0, (uint32_t)features);
	virtio_accept_features(v, 1, (uint32_t)(features >> 32));
	virtio_set_status(v, 11);
	assert_int_equal(v->status, 11);
	lock_drop(&t->lock);
	return d;
}

void vdrv_start(struct vdrv *d)
{
	lock_take(&d->t->lock);
	virtio_set_status(d->v, 15);
	lock_drop(&d->t->lock);
}

void vdrv_reset(struct vdrv *d)
{
	lock_take(&d->t->lock);
	virtio_set_status(d->v, 0);
	lock_drop(&d->t->lock);
}

void vdrv_close(struct vdrv *d)
{
	lock_take(&d->t->lock);
	virtio_reset(d->v);
	d->v->ops->unrealize(d->v);
	lock_drop(&d->t->lock);
	free(d);
}

uint64_t vdrv_alloc(struct vdrv *d, uint64_t len, uint64_t align)
{
	uint64_t a = align_up(d->heap, align);

	assert_true(a + len <= TEST_RAM);
	memset(vdrv_ptr(d, a), 0, len);
	d->heap = a + len;
	return a;
}

void *vdrv_ptr(struct vdrv *d, uint64_t a)
{
	return mem_ram_base(d->t->env.mem) + a;
}

static void set_area(struct virtq *vq, enum virtq_area_kind kind, uint64_t a)
{
	virtio_queue_area(vq, kind, false, (uint32_t)a);
	virtio_queue_area(vq, kind, true, (uint32_t)(a >> 32));
}

struct vring *vdrv_queue(struct vdrv *d, unsigned n, unsigned size)
{
	struct vring *q = &d->q[n];
	struct virtq *vq = virtio_queue(d->v, n);

	memset(q, 0, sizeof(*q));
	q->n = (uint16_t)n;
	q->size = (uint16_t)size;
	q->packed = virtio_has(d->v, VIRTIO_F_RING_PACKED);
	q->event_idx = virtio_has(d->v, VIRTIO_F_EVENT_IDX);
	q->indirect = virtio_has(d->v, VIRTIO_F_INDIRECT_DESC);
	q->wrap = q->used_wrap = true;
	q->desc = vdrv_alloc(d, 16ull * size, 16);
	q->avail = vdrv_alloc(d, 6 + 2ull * size, 16);
	q->used = vdrv_alloc(d, 6 + 8ull * size, 16);
	q->tables = q->indirect && size <= 64 ? vdrv_alloc(d, (uint64_t)VDRV_TABLE * size, 16) : 0;
	for (unsigned i = size; i-- > 0;)
		q->free[q->n_free++] = (uint16_t)i;
	lock_take(&d->t->lock);
	virtio_queue_size(vq, size);
	set_area(vq, VIRTQ_DESC, q->desc);
	set_area(vq, VIRTQ_DRIVER, q->avail);
	set_area(vq, VIRTQ_DEVICE, q->used);
	virtio_queue_enable(vq);
	lock_drop(&d->t->lock);
	return q;
}

static void put_desc(struct vdrv *d, uint64_t at, const struct vbuf *b, uint16_t w6, uint16_t w7)
{
	uint8_t *p = vdrv_ptr(d, at);

	put_le64(p, b->addr);
	put_le32(p + 8, b->len);
	put_le16(p + 12, w6);
	__atomic_store_n((uint16_t *)(p + 14), w7, __ATOMIC_RELEASE);
}

/* table - an indirect table for the chain `id`; returns the buffer that it is. */
static struct vbuf table(struct vdrv *d, struct vring *q, unsigned id, const struct vbuf *b,
			 unsigned n_out, unsigned n)
{
	struct vbuf t = {q->tables + (uint64_t)VDRV_TABLE * id, 16 * n};

	assert_true(q->tables && t.len <= VDRV_TABLE);
	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = i < n_out ? 0 : F_WRITE;

		if (q->packed)
			put_desc(d, t.addr + 16 * i, &b[i], 0, flags);
		else
			put_desc(d, t.addr + 16 * i, &b[i],
				 (uint16_t)(flags | (i + 1 < n ? F_NEXT : 0)), (uint16_t)(i + 1));
	}
	return t;
}

/* pick - the head or ID of the next chain. */
static uint16_t pick(const struct vring *q)
{
	uint16_t id = 0;

	if (!q->packed)
		return q->free[q->n_free - 1];
	while (q->taken[id])
		id++;
	return id;
}

static int add_split(struct vdrv *d, struct vring *q, const struct vbuf *b, unsigned n_out,
		     unsigned n, bool indirect)
{
	uint8_t *avail = vdrv_ptr(d, q->avail);
	uint16_t old = q->idx, event;
	uint16_t head = pick(q);

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = q->free[--q->n_free], next = i + 1 < n ? q->free[q->n_free - 1] : 0;
		uint16_t flags = indirect ? F_INDIRECT : i < n_out ? 0 : F_WRITE;

		put_desc(d, q->desc + 16ull * at, &b[i],
			 (uint16_t)(flags | (i + 1 < n ? F_NEXT : 0)), next);
	}
	q->taken[head] = (uint16_t)n;
	put_le16(avail + 4 + 2 * (q->idx % q->size), head);
	q->idx++;
	__atomic_store_n((uint16_t *)(avail + 2), q->idx, __ATOMIC_SEQ_CST);
	event = get_le16((uint8_t *)vdrv_ptr(d, q->used) + 4 + 8 * q->size);
	q->kick |= !q->event_idx || virtq_crossed(event, q->idx, old);
	return head;
}

static int add_packed(struct vdrv *d, struct vring *q, const struct vbuf *b, unsigned n_out,
		      unsigned n, bool indirect)
{
	uint16_t id = pick(q), first = q->idx, first_flags = 0, old = q->idx, ev, at;

	q->n_free = (uint16_t)(q->n_free - n);
	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = (uint16_t)(q->wrap ? F_AVAIL : F_USED);

		flags |= indirect ? F_INDIRECT : i < n_out ? 0 : F_WRITE;
		flags |= i + 1 < n ? F_NEXT : 0;
		if (!i)
			first_flags = flags;
		put_desc(d, q->desc + 16ull * q->idx, &b[i], id,
			 i ? flags
			   : get_le16((uint8_t *)vdrv_ptr(d, q->desc + 16ull * q->idx) + 14));
		if (++q->idx == q->size) {
			q->idx = 0;
			q->wrap = !q->wrap;
		}
	}
	__atomic_store_n((uint16_t *)((uint8_t *)vdrv_ptr(d, q->desc + 16ull * first) + 14),
			 first_flags, __ATOMIC_SEQ_CST);
	q->taken[id] = (uint16_t)n;
	at = get_le16(vdrv_ptr(d, q->used));
	ev = get_le16((uint8_t *)vdrv_ptr(d, q->used) + 2);
	if (ev == 2) {
		uint16_t event = at & 0x7fff;

		if (!!(at & 0x8000) != q->wrap)
			event = (uint16_t)(event - q->size);
		if (q->idx <= old)
			old = (uint16_t)(old - q->size);
		q->kick |= virtq_crossed(event, q->idx, old);
	} else {
		q->kick |= ev == 0;
	}
	return id;
}

int vdrv_add(struct vdrv *d, unsigned n, const struct vbuf *b, unsigned n_out, unsigned n_in)
{
	struct vring *q = &d->q[n];
	bool indirect = q->use_indirect;
	unsigned total = n_out + n_in;
	struct vbuf t;

	if (q->n_free < (indirect ? 1 : total))
		return -1;
	if (indirect) {
		t = table(d, q, pick(q), b, n_out, total);
		b = &t;
		total = 1;
	}
	return q->packed ? add_packed(d, q, b, n_out, total, indirect)
			 : add_split(d, q, b, n_out, total, indirect);
}

void vdrv_kick_always(struct vdrv *d, unsigned n)
{
	d->q[n].kick = false;
	lock_take(&d->t->lock);
	virtio_queue_kick(d->v, n);
	lock_drop(&d->t->lock);
}

void vdrv_kick(struct vdrv *d, unsigned n)
{
	if (d->q[n].kick)
		vdrv_kick_always(d, n);
}

/* give_back - the descriptors of a used split chain. */
static void give_back(struct vdrv *d, struct vring *q, uint16_t head)
{
	for (unsigned n = q->taken[head]; n; n--) {
		uint16_t next = get_le16((uint8_t *)vdrv_ptr(d, q->desc + 16ull * head) + 14);

		q->free[q->n_free++] = head;
		head = next;
	}
}

static bool used_split(struct vdrv *d, struct vring *q, uint16_t *id, uint32_t *len)
{
	uint8_t *used = vdrv_ptr(d, q->used), *p = used + 4 + 8 * (q->last_used % q->size);

	if (__atomic_load_n((uint16_t *)(used + 2), __ATOMIC_ACQUIRE) == q->last_used)
		return false;
	*id = (uint16_t)get_le32(p);
	*len = get_le32(p + 4);
	q->last_used++;
	assert_true(get_le32(p) < q->size && q->taken[*id]);
	give_back(d, q, *id);
	q->taken[*id] = 0;
	return true;
}

static bool used_packed(struct vdrv *d, struct vring *q, uint16_t *id, uint32_t *len)
{
	uint8_t *p = vdrv_ptr(d, q->desc + 16ull * q->last_used);
	uint16_t flags = __atomic_load_n((uint16_t *)(p + 14), __ATOMIC_ACQUIRE);

	if (!!(flags & F_AVAIL) != q->used_wrap || !!(flags & F_USED) != q->used_wrap)
		return false;
	*id = get_le16(p + 12);
	*len = get_le32(p + 8);
	assert_true(*id < q->size && q->taken[*id]);
	q->last_used = (uint16_t)(q->last_used + q->taken[*id]);
	if (q->last_used >= q->size) {
		q->last_used = (uint16_t)(q->last_used - q->size);
		q->used_wrap = !q->used_wrap;
	}
	q->n_free = (uint16_t)(q->n_free + q->taken[*id]);
	q->taken[*id] = 0;
	return true;
}

bool vdrv_used(struct vdrv *d, unsigned n, uint16_t *id, uint32_t *len)
{
	struct vring *q = &d->q[n];

	return q->packed ? used_packed(d, q, id, len) : used_split(d, q, id, len);
}

void vdrv_wait_used(struct vdrv *d, unsigned n, uint16_t *id, uint32_t *len)
{
	bool got = false;

	for (int i = 0; i < 2000 && !got; i++) {
		got = vdrv_used(d, n, id, len);
		if (!got)
			run_ms(d->t, 1);
	}
	assert_true(got);
}

void vdrv_ask(struct vdrv *d, unsigned n, bool on)
{
	struct vring *q = &d->q[n];
	uint8_t *avail = vdrv_ptr(d, q->avail);

	if (!q->packed) {
		put_le16(avail, on ? 0 : 1);
		put_le16(avail + 4 + 2 * q->size, (uint16_t)(on ? q->last_used : q->last_used - 1));
		return;
	}
	put_le16(avail, (uint16_t)(q->last_used | (q->used_wrap ? 0x8000 : 0)));
	put_le16(avail + 2, on ? (q->event_idx ? 2 : 0) : 1);
}
