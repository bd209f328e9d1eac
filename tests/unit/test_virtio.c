/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of both formats, the device's status and features, hostile drivers, saved state. */
#include "dev_env.h"

#include "mem/page.h"
#include "virtio_driver.h"

/* A device that copies what it reads to where it writes: queue 0 at once, queue 1 when told to. */
struct echo {
	struct virtio_dev v;
	struct virtq_elem *held[64];
	unsigned n_held, kicks, started, stops;
	bool refuse;
	uint8_t config[12];
	uint64_t count;
};

static uint64_t echo_features(struct virtio_dev *v)
{
	return BIT(3) | BIT(5) | BIT(50) | BIT(30);
}

static void echo_config_read(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, ((struct echo *)v)->config + off, len);
}

static void echo_config_write(struct virtio_dev *v, uint32_t off, const void *buf, uint32_t len)
{
	memcpy(((struct echo *)v)->config + off, buf, len);
}

static bool echo_features_set(struct virtio_dev *v)
{
	return !((struct echo *)v)->refuse;
}

static void echo_started(struct virtio_dev *v)
{
	((struct echo *)v)->started++;
}

static void echo_one(struct echo *x, struct virtq_elem *el)
{
	uint8_t buf[512];
	size_t n = iov_to_buf(el->out, el->n_out, 0, buf, sizeof(buf));

	n = iov_from_buf(el->in, el->n_in, 0, buf, n);
	x->count++;
	virtq_push(el, (uint32_t)n);
}

static void echo_kick(struct virtio_dev *v, unsigned n)
{
	struct echo *x = (struct echo *)v;
	struct virtq *q = virtio_queue(v, n);
	struct virtq_elem *el;

	x->kicks++;
	while ((n == 0 || x->n_held < 64) && (el = virtq_pop(q))) {
		if (n == 0)
			echo_one(x, el);
		else
			x->held[x->n_held++] = el;
	}
	virtq_notify(q);
}

static void echo_stop(struct virtio_dev *v, int q)
{
	struct echo *x = (struct echo *)v;

	x->stops++;
	while (x->n_held && q != 0)
		virtq_drop(x->held[--x->n_held]);
}

static void echo_quiesce(struct virtio_dev *v)
{
	struct echo *x = (struct echo *)v;

	while (x->n_held)
		virtq_unpop(x->held[--x->n_held]);
}

static void echo_unrealize(struct virtio_dev *v)
{
	virtio_fini(v);
	free(v);
}

static const struct state_field echo_fields[] = {
	STATE_BLOB(struct echo, config),
	STATE_FIELD(struct echo, count, STATE_U64),
	STATE_END,
};
static const struct state_desc echo_state = {.name = "echo", .version = 1, .fields = echo_fields};

static const struct virtio_ops echo_ops = {
	.name = "echo",
	.id = 99,
	.features = echo_features,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.features_set = echo_features_set,
	.started = echo_started,
	.kick = echo_kick,
	.stop = echo_stop,
	.quiesce = echo_quiesce,
	.unrealize = echo_unrealize,
	.state = &echo_state,
};

static struct echo *echo_new(struct test_env *t)
{
	struct echo *x = xzalloc(sizeof(*x));

	virtio_init(&x->v, &echo_ops, &t->env, "", 2, 64, sizeof(x->config));
	return x;
}

struct rig {
	struct test_env *t;
	struct echo *x;
	struct vdrv *d;
	uint64_t out, in;
};

static struct rig rig_open(uint64_t features, unsigned size)
{
	struct rig r = {.t = env_open()};

	r.x = echo_new(r.t);
	r.d = vdrv_open(r.t, &r.x->v, features);
	r.out = vdrv_alloc(r.d, 4096, 4096);
	r.in = vdrv_alloc(r.d, 4096, 4096);
	vdrv_queue(r.d, 0, size);
	vdrv_queue(r.d, 1, size);
	vdrv_start(r.d);
	return r;
}

static void rig_close(struct rig *r)
{
	vdrv_close(r->d);
	env_close(r->t);
}

/* Every mix of ring format, indirect tables and event index carries data, many times round the
 * ring. */
static void transfer(uint64_t features, unsigned size)
{
	struct rig r = rig_open(features, size);
	bool indirect = features & VIRTIO_F_INDIRECT_DESC;
	unsigned pushed = 0;

	for (unsigned i = 0; i < 1000; i++) {
		unsigned chains = 1 + i % (indirect ? size : size / 4);

		r.d->q[0].use_indirect = indirect;
		for (unsigned k = 0; k < chains; k++) {
			struct vbuf b[4] = {{r.out + 16 * k, 3},
					    {r.out + 16 * k + 8, 5},
					    {r.in + 32 * k, 2},
					    {r.in + 32 * k + 16, 14}};

			put_le64(vdrv_ptr(r.d, b[0].addr), i * 1000 + k);
			put_le64(vdrv_ptr(r.d, b[1].addr), i * 77777 + k);
			assert_true(vdrv_add(r.d, 0, b, 2, 2) >= 0);
		}
		vdrv_kick(r.d, 0);
		for (unsigned k = 0; k < chains; k++) {
			uint8_t want[8], got[8];
			uint16_t id;
			uint32_t len;

			assert_true(vdrv_used(r.d, 0, &id, &len));
			assert_int_equal(len, 8);
			memcpy(want, vdrv_ptr(r.d, r.out + 16 * k), 3);
			memcpy(want + 3, vdrv_ptr(r.d, r.out + 16 * k + 8), 5);
			memcpy(got, vdrv_ptr(r.d, r.in + 32 * k), 2);
			memcpy(got + 2, vdrv_ptr(r.d, r.in + 32 * k + 16), 6);
			assert_memory_equal(got, want, 8);
			pushed++;
		}
	}
	assert_int_equal(r.x->count, pushed);
	assert_false(r.x->v.broken);
	rig_close(&r);
}

static void transfers(void **unused)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t f = (i & 1 ? VIRTIO_F_RING_PACKED : 0) |
			     (i & 2 ? VIRTIO_F_INDIRECT_DESC : 0) |
			     (i & 4 ? VIRTIO_F_EVENT_IDX : 0);

		transfer(f, 16);
		transfer(f, 64);
		if (i & 1)
			transfer(f, 13);
	}
}

/* Chains that end out of order, and those handed back. */
static void out_of_order(uint64_t features)
{
	struct rig r = rig_open(features, 16);
	struct vbuf b[2] = {{r.out, 8}, {r.in, 8}};
	int id[5];
	uint16_t got;
	uint32_t len;

	for (int round = 0; round < 50; round++) {
		static const unsigned order[5] = {3, 0, 4, 2, 1};

		for (int i = 0; i < 5; i++)
			id[i] = vdrv_add(r.d, 1, b, 1, 1);
		vdrv_kick_always(r.d, 1);
		assert_int_equal(r.x->n_held, 5);
		lock_take(&r.t->lock);
		echo_quiesce(&r.x->v); /* all back, popped again */
		echo_kick(&r.x->v, 1);
		assert_int_equal(r.x->n_held, 5);
		for (int i = 0; i < 5; i++)
			virtq_push(r.x->held[order[i]], 4 + order[i]);
		r.x->n_held = 0;
		lock_drop(&r.t->lock);
		for (int i = 0; i < 5; i++) {
			assert_true(vdrv_used(r.d, 1, &got, &len));
			assert_int_equal(got, id[order[i]]);
			assert_int_equal(len, 4 + order[i]);
		}
		assert_false(vdrv_used(r.d, 1, &got, &len));
	}
	rig_close(&r);
}

static void orders(void **unused)
{
	out_of_order(VDRV_ALL);
	out_of_order(VIRTIO_F_RING_PACKED);
}

/* A batch is visible at once: with the last word of the first that is written. */
static void batch(uint64_t features)
{
	struct rig r = rig_open(features, 16);
	struct vbuf b = {r.in, 8};
	uint32_t lens[3] = {8, 7, 6}, len;
	uint16_t id;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 3; i++)
			assert_true(vdrv_add(r.d, 1, &b, 0, 1) >= 0);
		vdrv_kick_always(r.d, 1);
		lock_take(&r.t->lock);
		virtq_push_many(r.x->held, lens, 3);
		r.x->n_held = 0;
		lock_drop(&r.t->lock);
		for (int i = 0; i < 3; i++) {
			assert_true(vdrv_used(r.d, 1, &id, &len));
			assert_int_equal(len, lens[i]);
		}
	}
	rig_close(&r);
}

static void batches(void **unused)
{
	batch(VDRV_ALL);
	batch(VDRV_ALL | VIRTIO_F_RING_PACKED);
}

static void events(uint64_t features)
{
	struct rig r = rig_open(features, 16);
	struct vbuf b[2] = {{r.out, 8}, {r.in, 8}};
	uint16_t id;
	uint32_t len;
	unsigned before;

	vdrv_add(r.d, 0, b, 1, 1);
	assert_true(r.d->q[0].kick);
	vdrv_kick(r.d, 0);
	before = r.d->q[0].interrupts;
	vdrv_used(r.d, 0, &id, &len);
	/* Not asked for: nothing. */
	vdrv_ask(r.d, 0, false);
	for (int i = 0; i < 5; i++) {
		vdrv_add(r.d, 0, b, 1, 1);
		vdrv_kick(r.d, 0);
		vdrv_used(r.d, 0, &id, &len);
	}
	assert_int_equal(r.d->q[0].interrupts, before);
	for (int i = 0; i < 40; i++) {
		vdrv_ask(r.d, 0, true);
		vdrv_add(r.d, 0, b, 1, 1);
		vdrv_kick(r.d, 0);
		assert_int_equal(r.d->q[0].interrupts, ++before);
		vdrv_used(r.d, 0, &id, &len);
	}
	if (features & VIRTIO_F_EVENT_IDX) {
		/* The device has not looked yet: it wants no second kick. */
		vdrv_add(r.d, 0, b, 1, 1);
		assert_true(r.d->q[0].kick);
		r.d->q[0].kick = false;
		vdrv_add(r.d, 0, b, 1, 1);
		assert_false(r.d->q[0].kick);
	}
	rig_close(&r);
}

static void event_index(void **unused)
{
	events(VIRTIO_F_EVENT_IDX);
	events(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED);
	events(VIRTIO_F_RING_PACKED);
}

/* Driver and device on two threads: no kick is lost. */
struct racer {
	struct rig *r;
	unsigned rounds;
};

static void *race(void *opaque)
{
	struct racer *c = opaque;
	struct rig *r = c->r;
	struct vbuf b[2] = {{r->out, 8}, {r->in, 8}};

	for (unsigned i = 0; i < c->rounds;) {
		uint16_t id;
		uint32_t len;

		while (vdrv_add(r->d, 0, b, 1, 1) >= 0)
			vdrv_kick(r->d, 0);
		while (vdrv_used(r->d, 0, &id, &len))
			i++;
	}
	return NULL;
}

static void races(uint64_t features)
{
	struct rig r = rig_open(features, 16);
	struct racer c = {&r, 20000};
	pthread_t th;

	pthread_create(&th, NULL, race, &c);
	for (;;) {
		uint64_t n;

		lock_take(&r.t->lock);
		/* Like a device that looks again of its own accord now and then. */
		for (int i = 0; i < 20 && !virtq_empty(virtio_queue(&r.x->v, 0)); i++)
			echo_kick(&r.x->v, 0);
		n = r.x->count;
		lock_drop(&r.t->lock);
		if (n >= c.rounds)
			break;
	}
	pthread_join(th, NULL);
	rig_close(&r);
}

static void threads(void **unused)
{
	races(VIRTIO_F_EVENT_IDX);
	races(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED);
}

/* The device ends broken, says so, is quiet until reset, and then works again. */
static void expect_broken(struct rig *r)
{
	struct vbuf b[2] = {{r->out, 8}, {r->in, 8}};
	unsigned before;
	uint64_t features = r->d->v->features;
	uint16_t id;
	uint32_t len;

	assert_false(r->x->v.broken);
	before = r->d->config_interrupts;
	vdrv_kick_always(r->d, 0);
	assert_true(r->x->v.broken);
	assert_int_equal(r->x->v.status & VIRTIO_STATUS_NEEDS_RESET, VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(r->d->config_interrupts, before + 1);
	vdrv_kick_always(r->d, 0);
	assert_int_equal(r->d->config_interrupts, before + 1);
	vdrv_reset(r->d);
	assert_int_equal(r->x->v.status, 0);
	lock_take(&r->t->lock);
	virtio_accept_features(&r->x->v, 0, (uint32_t)features);
	virtio_accept_features(&r->x->v, 1, (uint32_t)(features >> 32));
	virtio_set_status(&r->x->v, 11);
	lock_drop(&r->t->lock);
	r->d->heap = 1 * MiB + 8192;
	vdrv_queue(r->d, 0, r->d->q[0].size);
	vdrv_start(r->d);
	vdrv_add(r->d, 0, b, 1, 1);
	vdrv_kick_always(r->d, 0);
	assert_true(vdrv_used(r->d, 0, &id, &len));
	rig_close(r);
}

static uint8_t *desc_at(struct rig *r, unsigned i)
{
	return (uint8_t *)vdrv_ptr(r->d, r->d->q[0].desc) + 16 * i;
}

static void desc_put(struct rig *r, uint8_t *p, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	bool packed = r->d->q[0].packed;

	put_le64(p, addr);
	put_le32(p + 8, len);
	put_le16(p + (packed ? 14 : 12), flags);
	put_le16(p + (packed ? 12 : 14), next);
}

/* offer - n descriptors are in place: make the chain at 0 available (packed: its flags have
 * F_AVAIL). */
static void offer(struct rig *r, uint16_t head)
{
	uint8_t *avail = vdrv_ptr(r->d, r->d->q[0].avail);

	if (r->d->q[0].packed)
		return;
	put_le16(avail + 4, head);
	put_le16(avail + 2, 1);
}

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80 };

static void hostile_split(void **unused)
{
	struct rig r;
	uint64_t table;

	/* A loop of two. */
	r = rig_open(VDRV_ALL, 16);
	desc_put(&r, desc_at(&r, 0), r.out, 8, NEXT, 1);
	desc_put(&r, desc_at(&r, 1), r.out, 8, NEXT, 0);
	offer(&r, 0);
	expect_broken(&r);
	/* Onto itself, empty buffer. */
	r = rig_open(VDRV_ALL, 16);
	desc_put(&r, desc_at(&r, 0), r.out, 0, NEXT, 0);
	offer(&r, 0);
	expect_broken(&r);
	/* Head and next outside of the table. */
	r = rig_open(VDRV_ALL, 16);
	offer(&r, 16);
	expect_broken(&r);
	r = rig_open(VDRV_ALL, 16);
	desc_put(&r, desc_at(&r, 0), r.out, 8, NEXT, 0xffff);
	offer(&r, 0);
	expect_broken(&r);
	/* The index runs ahead. */
	r = rig_open(VDRV_ALL, 16);
	put_le16((uint8_t *)vdrv_ptr(r.d, r.d->q[0].avail) + 2, 17);
	expect_broken(&r);
	r = rig_open(VDRV_ALL, 16);
	put_le16((uint8_t *)vdrv_ptr(r.d, r.d->q[0].avail) + 2, 0xffff);
	expect_broken(&r);
	/* Indirect: a loop, a length that is no multiple, none, nested, followed by another, a
	 * hole. */
	r = rig_open(VDRV_ALL, 16);
	table = r.in + 1024;
	desc_put(&r, desc_at(&r, 0), table, 32, INDIRECT, 0);
	desc_put(&r, vdrv_ptr(r.d, table), r.out, 8, NEXT, 1);
	desc_put(&r, (uint8_t *)vdrv_ptr(r.d, table) + 16, r.out, 8, NEXT, 0);
	offer(&r, 0);
	expect_broken(&r);
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t len[3] = {0, 17, 0xfffffff0};

		r = rig_open(VDRV_ALL, 16);
		desc_put(&r, desc_at(&r, 0), table, len[i], INDIRECT, 0);
		offer(&r, 0);
		expect_broken(&r);
	}
	r = rig_open(VDRV_ALL, 16);
	desc_put(&r, desc_at(&r, 0), table, 16, INDIRECT, 0);
	desc_put(&r, vdrv_ptr(r.d, table), table, 16, INDIRECT, 0);
	offer(&r, 0);
	expect_broken(&r);
	r = rig_open(VDRV_ALL, 16);
	desc_put(&r, desc_at(&r, 0), table, 16, INDIRECT | NEXT, 1);
	offer(&r, 0);
	expect_broken(&r);
	r = rig_open(VDRV_ALL & ~VIRTIO_F_INDIRECT_DESC, 16);
	desc_put(&r, desc_at(&r, 0), table, 16, INDIRECT, 0);
	desc_put(&r, vdrv_ptr(r.d, table), r.out, 8, 0, 0);
	offer(&r, 0);
	expect_broken(&r);
}

/* An indirect table that names itself 1024 times over has a bound. */
static void hostile_long(void **unused)
{
	struct rig r = rig_open(VDRV_ALL, 16);
	uint64_t table = vdrv_alloc(r.d, 16 * 2000, 16);

	desc_put(&r, desc_at(&r, 0), table, 16 * 2000, INDIRECT, 0);
	for (unsigned i = 0; i < 2000; i++)
		desc_put(&r, (uint8_t *)vdrv_ptr(r.d, table) + 16 * i, r.out + 2 * (i & 7), 1,
			 i < 1999 ? NEXT : 0, (uint16_t)(i + 1));
	offer(&r, 0);
	expect_broken(&r);
	r = rig_open(VDRV_ALL | VIRTIO_F_RING_PACKED, 16);
	desc_put(&r, desc_at(&r, 0), table, 16 * 2000, INDIRECT | AVAIL, 0);
	for (unsigned i = 0; i < 2000; i++)
		desc_put(&r, (uint8_t *)vdrv_ptr(r.d, table) + 16 * i, r.out + 2 * (i & 7), 1, 0,
			 0);
	expect_broken(&r);
}

static void hostile_packed(void **unused)
{
	uint64_t all = VDRV_ALL | VIRTIO_F_RING_PACKED;
	struct rig r = rig_open(all, 16);
	uint64_t table = r.in + 1024;

	for (unsigned i = 0; i < 16; i++)
		desc_put(&r, desc_at(&r, i), r.out, 8, NEXT | AVAIL, 0);
	expect_broken(&r);
	r = rig_open(all, 16);
	desc_put(&r, desc_at(&r, 0), table, 17, INDIRECT | AVAIL, 0);
	expect_broken(&r);
	r = rig_open(all, 16);
	desc_put(&r, desc_at(&r, 0), table, 16, INDIRECT | NEXT | AVAIL, 0);
	expect_broken(&r);
	r = rig_open(all, 16);
	desc_put(&r, desc_at(&r, 0), table, 16, INDIRECT | AVAIL, 0);
	desc_put(&r, vdrv_ptr(r.d, table), table, 16, INDIRECT, 0);
	expect_broken(&r);
}

static void hostile_buffers(void **unused)
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t f = VDRV_ALL | (i ? VIRTIO_F_RING_PACKED : 0);
		uint16_t a = i ? AVAIL : 0;
		static const struct vbuf bad[] = {
			{0xa0000, 1},	     {0x9ffff, 2},    {TEST_RAM - 1, 2}, {TEST_RAM, 1},
			{UINT64_MAX - 3, 8}, {UINT64_MAX, 1}, {0xfffffff0, 32},	 {0, 0xffffffff},
			{BIT(52), 1},	     {BIT(63), 4096},
		};
		struct rig r;

		for (unsigned k = 0; k < 2 * ARRAY_SIZE(bad); k++) {
			const struct vbuf *b = &bad[k / 2];

			r = rig_open(f, 16);
			desc_put(&r, desc_at(&r, 0), b->addr, b->len,
				 (uint16_t)((k & 1 ? WRITE : 0) | a), 0);
			offer(&r, 0);
			expect_broken(&r);
		}
		/* Written, then read. */
		r = rig_open(f, 16);
		desc_put(&r, desc_at(&r, 1), r.out, 8, a, 0);
		desc_put(&r, desc_at(&r, 0), r.in, 8, (uint16_t)(WRITE | NEXT | a), 1);
		offer(&r, 0);
		expect_broken(&r);
	}
}

/* Two pieces of RAM that are neighbours for the guest alone; ROM may be read; 4 GiB are too many.
 */
static void pieces(void **unused)
{
	struct rig r = rig_open(VDRV_ALL, 16);
	struct mem *m = r.t->env.mem;
	struct vbuf b[2] = {{0x9fffc, 8}, {r.in, 8}};
	uint64_t ram = mem_ram_alloc(m, 8192), k;
	uint16_t id;
	uint32_t len;

	mem_map_ram(m, GPA(0xa0000), 4096, ram, 0);
	mem_map_rom(m, GPA(0xa1000), 4096, ram + 4096, NULL, 0);
	mem_write(m, GPA(0x9fffc), 0x1122334455667788, 8);
	vdrv_add(r.d, 0, b, 1, 1);
	b[1] = b[0];
	b[0] = (struct vbuf){r.in, 8};
	vdrv_kick_always(r.d, 0);
	assert_true(vdrv_used(r.d, 0, &id, &len));
	assert_int_equal(mem_read(m, GPA(r.in), 8), 0x1122334455667788);
	mem_write(m, GPA(r.in), 0x8877665544332211, 8);
	vdrv_add(r.d, 0, b, 1, 1);
	vdrv_kick_always(r.d, 0);
	assert_true(vdrv_used(r.d, 0, &id, &len));
	assert_int_equal(mem_read(m, GPA(0x9fffc), 8), 0x8877665544332211);
	memset(mem_ram_base(m) + ram + 4096, 0x5a, 8);
	b[1] = b[0];
	b[0] = (struct vbuf){0xa1000, 8};
	vdrv_add(r.d, 0, b, 1, 1);
	vdrv_kick_always(r.d, 0);
	assert_true(vdrv_used(r.d, 0, &id, &len));
	assert_int_equal(mem_read(m, GPA(r.in), 8), 0x5a5a5a5a5a5a5a5a);
	desc_put(&r, desc_at(&r, 0), 0xa1000, 8, WRITE, 0);
	k = r.d->q[0].idx;
	put_le16((uint8_t *)vdrv_ptr(r.d, r.d->q[0].avail) + 4 + 2 * (k % 16), 0);
	put_le16((uint8_t *)vdrv_ptr(r.d, r.d->q[0].avail) + 2, (uint16_t)(k + 1));
	vdrv_kick_always(r.d, 0);
	assert_true(r.x->v.broken);
	rig_close(&r);
}

/* 1024 buffers of 1 MiB pass the limit of buffers' number in lengths only when there are more than
 * 4096. */
static void too_long(void **unused)
{
	struct test_env *t = env_open();
	struct echo *x = echo_new(t);
	struct vdrv *d = vdrv_open(t, &x->v, VDRV_ALL);
	struct mem *m = t->env.mem;
	uint64_t table = vdrv_alloc(d, 16 * 1024, 16);
	struct vring *q = vdrv_queue(d, 0, 16);
	uint8_t *p = vdrv_ptr(d, table);

	/* 8 MiB of guest addresses that are the same RAM over and over. */
	for (unsigned i = 0; i < 8; i++)
		mem_map_ram(m, GPA(16 * MiB + i * MiB), 1 * MiB, 1 * MiB, 0);
	vdrv_start(d);
	for (unsigned i = 0; i < 700; i++) {
		put_le64(p + 16 * i, 16 * MiB);
		put_le32(p + 16 * i + 8, 8 * MiB);
		put_le16(p + 16 * i + 12, i < 699 ? NEXT : 0);
		put_le16(p + 16 * i + 14, (uint16_t)(i + 1));
	}
	put_le64(vdrv_ptr(d, q->desc), table);
	put_le32((uint8_t *)vdrv_ptr(d, q->desc) + 8, 16 * 700);
	put_le16((uint8_t *)vdrv_ptr(d, q->desc) + 12, INDIRECT);
	put_le16((uint8_t *)vdrv_ptr(d, q->avail) + 2, 1);
	vdrv_kick_always(d, 0);
	assert_true(x->v.broken);
	vdrv_close(d);
	env_close(t);
}

/* The ring itself where there is no RAM, over its end, or misaligned. */
static void hostile_rings(void **unused)
{
	static const uint64_t bad[] = {
		0xa0000, 0x9fff0, TEST_RAM - 16, UINT64_MAX & ~15ull, 0xfee00000, 0x100001, BIT(52),
	};

	for (unsigned i = 0; i < 2 * 3 * ARRAY_SIZE(bad); i++) {
		struct test_env *t = env_open();
		struct echo *x = echo_new(t);
		struct vdrv *d = vdrv_open(t, &x->v, VDRV_ALL | (i & 1 ? VIRTIO_F_RING_PACKED : 0));
		unsigned kind = i / 2 % 3;
		uint64_t a = bad[i / 6];

		/* The areas of event suppression are four bytes: those fit where rings do not. */
		if ((i & 1) && kind && (a == 0x9fff0 || a == TEST_RAM - 16))
			a += 14;
		vdrv_queue(d, 0, 16);
		x->v.queues[0].enabled = false;
		virtio_queue_area(virtio_queue(&x->v, 0), kind, false, (uint32_t)a);
		virtio_queue_area(virtio_queue(&x->v, 0), kind, true, (uint32_t)(a >> 32));
		virtio_queue_enable(virtio_queue(&x->v, 0));
		vdrv_start(d);
		assert_true(x->v.broken);
		vdrv_close(d);
		env_close(t);
	}
}

/* The same chain offered again and again while it is in flight: never more than the ring holds. */
static void hostile_in_flight(void **unused)
{
	struct rig r = rig_open(VDRV_ALL, 16);
	struct vring *q = &r.d->q[1];
	uint8_t *avail = vdrv_ptr(r.d, q->avail), *desc = vdrv_ptr(r.d, q->desc);

	put_le64(desc, r.in);
	put_le32(desc + 8, 8);
	put_le16(desc + 12, WRITE);
	for (unsigned i = 1; i <= 16; i++) {
		put_le16(avail + 2, (uint16_t)i);
		vdrv_kick_always(r.d, 1);
		assert_int_equal(r.x->n_held, i);
	}
	assert_false(r.x->v.broken);
	put_le16(avail + 2, 17);
	vdrv_kick_always(r.d, 1);
	assert_int_equal(r.x->n_held, 16);
	assert_true(r.x->v.broken);
	/* What is in flight may end: the rings are left alone. */
	lock_take(&r.t->lock);
	virtq_push(r.x->held[--r.x->n_held], 8);
	virtq_notify(virtio_queue(&r.x->v, 1));
	lock_drop(&r.t->lock);
	assert_int_equal(get_le16((uint8_t *)vdrv_ptr(r.d, q->used) + 2), 0);
	assert_int_equal(q->interrupts, 0);
	rig_close(&r);
}

static void negotiation(void **unused)
{
	struct test_env *t = env_open();
	struct echo *x = echo_new(t);
	struct vdrv *d = vdrv_open(t, &x->v, VDRV_ALL);
	struct virtio_dev *v = &x->v;
	uint8_t buf[8];

	/* Bit 30 is the ring's, not the type's: it was not offered. */
	assert_int_equal(v->features,
			 (BIT(3) | BIT(5) | BIT(50) | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC |
			  VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_RESET));
	virtio_accept_features(v, 0, 0); /* too late */
	assert_int_equal(virtio_features_accepted(v, 0), (uint32_t)v->features);
	assert_int_equal(virtio_features_offered(v, 2), 0);
	vdrv_reset(d);
	lock_take(&t->lock);
	virtio_accept_features(v, 1, 1);
	virtio_accept_features(v, 0, BIT(4)); /* not offered */
	virtio_set_status(v, 11);
	assert_int_equal(v->status, 3);
	virtio_accept_features(v, 0, 0);
	virtio_accept_features(v, 1, 0); /* no VERSION_1 */
	virtio_set_status(v, 11);
	assert_int_equal(v->status, 3);
	virtio_accept_features(v, 1, 1);
	x->refuse = true;
	virtio_set_status(v, 11);
	assert_int_equal(v->status, 3);
	virtio_set_status(v, 15); /* goes on all the same */
	assert_false(v->driver_ok);
	assert_true(v->status & VIRTIO_STATUS_NEEDS_RESET);
	x->refuse = false;
	virtio_set_status(v, 0);
	virtio_accept_features(v, 1, 1);
	virtio_set_status(v, 11);
	assert_int_equal(v->status, 11);
	virtio_set_status(v, 3); /* bits do not go away */
	assert_int_equal(v->status, 11);
	virtio_queue_size(virtio_queue(v, 0), 65536 + 16);
	virtio_queue_size(virtio_queue(v, 0), 0);
	virtio_queue_size(virtio_queue(v, 0), 24);
	virtio_queue_size(virtio_queue(v, 0), 128);
	assert_int_equal(virtio_queue(v, 0)->size, 64);
	virtio_queue_size(virtio_queue(v, 0), 32);
	assert_int_equal(virtio_queue(v, 0)->size, 32);
	assert_null(virtio_queue(v, 2));
	virtio_queue_kick(v, 0); /* not ready: nothing */
	virtio_queue_kick(v, 77);
	assert_int_equal(x->kicks, 0);
	/* Configuration: over the end. */
	memset(x->config, 0x11, sizeof(x->config));
	assert_int_equal(virtio_config_read(v, 8, 8), 0x11111111);
	assert_int_equal(virtio_config_read(v, 12, 4), 0);
	assert_int_equal(virtio_config_read(v, UINT64_MAX, 4), 0);
	virtio_config_write(v, 10, UINT64_MAX, 4);
	virtio_config_write(v, UINT64_MAX, UINT64_MAX, 2);
	memcpy(buf, x->config + 8, 4);
	assert_int_equal(get_le32(buf), 0x11111111);
	virtio_config_write(v, 8, 0xabcd, 2);
	assert_int_equal(get_le16(x->config + 8), 0xabcd);
	virtio_set_status(v, 15);
	assert_int_equal(x->started, 1);
	lock_drop(&t->lock);
	vdrv_close(d);
	env_close(t);
}

static void resets(void **unused)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(VDRV_ALL | (i ? VIRTIO_F_RING_PACKED : 0), 16);
		struct vbuf b[2] = {{r.out, 8}, {r.in, 8}};
		uint16_t id;
		uint32_t len;

		for (int k = 0; k < 3; k++)
			vdrv_add(r.d, 1, b, 1, 1);
		vdrv_kick_always(r.d, 1);
		assert_int_equal(r.x->n_held, 3);
		lock_take(&r.t->lock);
		virtio_queue_reset(virtio_queue(&r.x->v, 1));
		lock_drop(&r.t->lock);
		assert_int_equal(r.x->n_held, 0);
		assert_false(virtq_ready(virtio_queue(&r.x->v, 1)));
		vdrv_kick_always(r.d, 1);
		vdrv_queue(r.d, 1, 8);
		for (int k = 0; k < 3; k++)
			vdrv_add(r.d, 1, b, 1, 1);
		vdrv_add(r.d, 0, b, 1, 1); /* the other one never noticed */
		vdrv_kick_always(r.d, 0);
		assert_true(vdrv_used(r.d, 0, &id, &len));
		vdrv_kick_always(r.d, 1);
		assert_int_equal(r.x->n_held, 3);
		vdrv_reset(r.d);
		assert_int_equal(r.x->n_held, 0);
		assert_int_equal(r.x->v.features, 0);
		assert_false(r.x->v.driver_ok);
		rig_close(&r);
	}
}

/* Stores to guest RAM reach the dirty log and decoded code. */
static void page_state(void **unused)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(VDRV_ALL | (i ? VIRTIO_F_RING_PACKED : 0), 16);
		struct mem *m = r.t->env.mem;
		struct vbuf b[3] = {{r.out, 16}, {r.in + 100, 4}, {r.in + 3000, 100}};
		struct mem_page *page = &mem_pages(m)[r.in / 4096];
		uint64_t *dirty = xcalloc(mem_ram_size(m) / 4096 / 64 + 1, 8);
		uint64_t ring = i ? r.d->q[0].desc : r.d->q[0].used;
		uint32_t gen, len;
		uint16_t id;

		gen = mem_code_mark(m, r.in + 3008,
				    16); /* from the 9th byte of the second buffer */
		mem_code_mark(m, ring, 8);
		vdrv_add(r.d, 0, b, 1, 2);
		mem_dirty_start(m);
		mem_dirty_take(m, dirty);
		vdrv_kick_always(r.d, 0);
		assert_true(vdrv_used(r.d, 0, &id, &len));
		assert_int_equal(len, 16);
		assert_int_not_equal(mem_code_gen(page), gen);
		assert_int_not_equal(mem_code_gen(&mem_pages(m)[ring / 4096]), 0);
		mem_dirty_take(m, dirty);
		assert_true(dirty[r.in / 4096 / 64] >> (r.in / 4096 % 64) & 1);
		assert_true(dirty[ring / 4096 / 64] >> (ring / 4096 % 64) & 1);
		assert_false(dirty[r.out / 4096 / 64] >> (r.out / 4096 % 64) & 1);
		/* A chain that was dropped may have been written. */
		vdrv_add(r.d, 1, b, 1, 2);
		vdrv_kick_always(r.d, 1);
		mem_dirty_take(m, dirty);
		vdrv_reset(r.d);
		mem_dirty_take(m, dirty);
		assert_true(dirty[r.in / 4096 / 64] >> (r.in / 4096 % 64) & 1);
		free(dirty);
		rig_close(&r);
	}
}

static void kick_both(struct echo *x)
{
	virtio_queue_kick(&x->v, 0);
	virtio_queue_kick(&x->v, 1);
}

/* Saved with chains in flight; another device goes on in the same RAM. */
static void save_load(void **unused)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(VDRV_ALL | (i ? VIRTIO_F_RING_PACKED : 0), 16);
		struct vbuf b[2] = {{r.out, 8}, {r.in, 8}};
		struct state_buf s = {0}, s2 = {0};
		struct echo *y = echo_new(r.t);
		struct vdrv d2 = *r.d;
		uint16_t id;
		uint32_t len;
		size_t used;

		for (int k = 0; k < 37; k++) {
			vdrv_add(r.d, 0, b, 1, 1);
			vdrv_kick(r.d, 0);
			vdrv_used(r.d, 0, &id, &len);
		}
		vdrv_add(r.d, 1, b, 1, 1);
		vdrv_add(r.d, 1, b, 1, 1);
		vdrv_kick_always(r.d, 1);
		assert_int_equal(r.x->n_held, 2);
		vclock_stop(r.t->env.clock);
		lock_take(&r.t->lock);
		virtio_quiesce(&r.x->v);
		assert_int_equal(r.x->n_held, 0);
		state_save(&s, &r.x->v.saved, &r.x->v);
		virtio_attach(&y->v, r.x->v.offered, r.x->v.transport, &d2);
		assert_int_equal(state_load(&y->v.saved, &y->v, s.data, s.len, &used, NULL), 0);
		assert_int_equal(used, s.len);
		state_save(&s2, &y->v.saved, &y->v);
		assert_int_equal(s.len, s2.len);
		assert_memory_equal(s.data, s2.data, s.len);
		lock_drop(&r.t->lock);
		loop_once(r.t->env.loop, 0);
		assert_int_equal(y->n_held, 0);
		d2 = *r.d;
		d2.v = &y->v;
		vdrv_reset(r.d);
		vclock_start(r.t->env.clock);
		wait_for(r.t, y->n_held == 2); /* kicked as time goes on */
		vdrv_add(&d2, 0, b, 1, 1);
		vdrv_kick_always(&d2, 0);
		assert_true(vdrv_used(&d2, 0, &id, &len));
		assert_int_equal(y->count, 38);
		/* Damaged: never a crash. */
		lock_take(&r.t->lock);
		virtio_reset(&y->v);
		for (size_t at = 0; at < s.len; at++) {
			for (unsigned bit = 0; bit < 8; bit += 3) {
				s.data[at] ^= (uint8_t)BIT(bit);
				if (!state_load(&y->v.saved, &y->v, s.data, s.len, &used, NULL))
					kick_both(y);
				virtio_reset(&y->v);
				s.data[at] ^= (uint8_t)BIT(bit);
			}
		}
		y->v.ops->unrealize(&y->v);
		lock_drop(&r.t->lock);
		free(s.data);
		free(s2.data);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transfers),
		cmocka_unit_test(orders),
		cmocka_unit_test(batches),
		cmocka_unit_test(event_index),
		cmocka_unit_test(threads),
		cmocka_unit_test(hostile_split),
		cmocka_unit_test(hostile_long),
		cmocka_unit_test(hostile_packed),
		cmocka_unit_test(hostile_buffers),
		cmocka_unit_test(pieces),
		cmocka_unit_test(too_long),
		cmocka_unit_test(hostile_rings),
		cmocka_unit_test(hostile_in_flight),
		cmocka_unit_test(negotiation),
		cmocka_unit_test(resets),
		cmocka_unit_test(page_state),
		cmocka_unit_test(save_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
