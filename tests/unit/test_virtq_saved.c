/* SPDX-License-Identifier: Apache-2.0 */
/* Chains that a device holds while it is saved: both formats, whole and damaged. */
#include "dev_env.h"

#include <errno.h>

#include "dev/virtio/virtq_int.h"
#include "virtio_driver.h"

#define HELD 64

/* A device that takes chains and keeps them: no more than `most`. */
struct keeper {
	struct virtio_dev v;
	struct virtq_elem *held[HELD];
	unsigned n, most;
	void (*mangle)(struct virtq *q); /* the state that is being saved */
	uint32_t unused;
};

static uint64_t keeper_features(struct virtio_dev *v)
{
	return 0;
}

static void keeper_kick(struct virtio_dev *v, unsigned n)
{
	struct keeper *x = (struct keeper *)v;
	struct virtq_elem *el;

	while (x->n < x->most && (el = virtq_pop(virtio_queue(v, 0))))
		x->held[x->n++] = el;
}

static void keeper_stop(struct virtio_dev *v, int q)
{
	struct keeper *x = (struct keeper *)v;

	while (x->n)
		virtq_drop(x->held[--x->n]);
}

static void keeper_unrealize(struct virtio_dev *v)
{
	virtio_fini(v);
	free(v);
}

static void keeper_pre_save(void *obj)
{
	struct keeper *x = obj;

	for (unsigned i = 0; i < x->n; i++)
		virtq_save(x->held[i]);
	if (x->mangle)
		x->mangle(virtio_queue(&x->v, 0));
}

static const struct state_field keeper_fields[] = {
	STATE_FIELD(struct keeper, unused, STATE_U32),
	STATE_END,
};
static const struct state_desc keeper_state = {
	.name = "keeper", .version = 1, .fields = keeper_fields, .pre_save = keeper_pre_save};

static const struct virtio_ops keeper_ops = {
	.name = "keeper",
	.id = 99,
	.features = keeper_features,
	.kick = keeper_kick,
	.stop = keeper_stop,
	.unrealize = keeper_unrealize,
	.state = &keeper_state,
};

static struct keeper *keeper_new(struct test_env *t)
{
	struct keeper *x = xzalloc(sizeof(*x));

	virtio_init(&x->v, &keeper_ops, &t->env, "", 1, 64, 0);
	virtio_save_in_flight(&x->v);
	x->most = HELD;
	return x;
}

struct rig {
	struct test_env *t;
	struct keeper *x;
	struct vdrv *d;
	uint64_t ram;
};

static struct rig rig_open(uint64_t features, unsigned size)
{
	struct rig r = {.t = env_open()};

	r.x = keeper_new(r.t);
	r.d = vdrv_open(r.t, &r.x->v, features);
	r.ram = vdrv_alloc(r.d, 65536, 4096);
	vdrv_queue(r.d, 0, size)->use_indirect = features & VIRTIO_F_INDIRECT_DESC;
	vdrv_start(r.d);
	return r;
}

static void rig_close(struct rig *r)
{
	vdrv_close(r->d);
	env_close(r->t);
}

/* A chain of so many buffers, the first one to be read, that nobody else has. */
static int add(struct rig *r, unsigned n)
{
	static unsigned count;
	struct vbuf b[8];
	int id;

	for (unsigned i = 0; i < n; i++)
		b[i] = (struct vbuf){r->ram + 64 * (count++ % 1024), 8 + i};
	id = vdrv_add(r->d, 0, b, n > 1, n - (n > 1));
	assert_true(id >= 0);
	return id;
}

static void push(struct rig *r, unsigned i, uint32_t len)
{
	struct keeper *x = r->x;
	uint16_t id = x->held[i]->head, got;
	uint32_t got_len;

	lock_take(&r->t->lock);
	virtq_push(x->held[i], len);
	x->held[i] = x->held[--x->n];
	lock_drop(&r->t->lock);
	assert_true(vdrv_used(r->d, 0, &got, &got_len));
	assert_int_equal(got, id);
	assert_int_equal(got_len, len);
	assert_false(vdrv_used(r->d, 0, &got, &got_len));
}

static struct state_buf save(struct rig *r)
{
	struct state_buf s = {0};

	lock_take(&r->t->lock);
	virtio_quiesce(&r->x->v);
	state_save(&s, &r->x->v.saved, &r->x->v);
	lock_drop(&r->t->lock);
	return s;
}

/* A device that is as another was, in the same RAM; -EINVAL with *e. */
static int load(struct rig *r, const struct state_buf *s, struct keeper **out, struct err **e)
{
	struct keeper *y = *out = keeper_new(r->t);
	struct state_buf before = {0}, after = {0};
	size_t used;
	int rc;

	lock_take(&r->t->lock);
	virtio_attach(&y->v, r->x->v.offered, r->x->v.transport, r->d);
	state_save(&before, &y->v.saved, &y->v);
	rc = state_load(&y->v.saved, &y->v, s->data, s->len, &used, e);
	state_save(&after, &y->v.saved, &y->v);
	if (rc) {
		assert_int_equal(after.len, before.len);
		assert_memory_equal(after.data, before.data, after.len);
		assert_int_equal(y->v.queues[0].n_kept, 0);
	} else {
		assert_int_equal(used, s->len);
	}
	lock_drop(&r->t->lock);
	free(before.data);
	free(after.data);
	return rc;
}

static void discard(struct rig *r, struct keeper *y)
{
	lock_take(&r->t->lock);
	virtio_reset(&y->v);
	y->v.ops->unrealize(&y->v);
	lock_drop(&r->t->lock);
}

/* The device is another one from here on; what it was goes away, and touches nothing. */
static void move(struct rig *r)
{
	struct state_buf s = save(r);
	struct keeper *y;

	assert_int_equal(load(r, &s, &y, NULL), 0);
	free(s.data);
	lock_take(&r->t->lock);
	r->x->v.broken = true; /* it has no transport of its own to reset */
	keeper_stop(&r->x->v, -1);
	r->x->v.ops->unrealize(&r->x->v);
	lock_drop(&r->t->lock);
	r->x = y;
	r->d->v = &y->v;
}

static void expect_same(const struct virtq_elem *a, const struct virtq_elem *b)
{
	assert_int_equal(a->head, b->head);
	assert_int_equal(a->n_desc, b->n_desc);
	assert_int_equal(a->n_out, b->n_out);
	assert_int_equal(a->n_in, b->n_in);
	assert_memory_equal(a->out, b->out, a->n_out * sizeof(*a->out));
	assert_memory_equal(a->in, b->in, a->n_in * sizeof(*a->in));
}

/* Chains of several lengths; a later one ends first and its place is used again, until a packed
 * ring holds nothing more of the first ones.  `skip`: from how far round the ring. */
static void round_trip(uint64_t features, unsigned size, unsigned skip)
{
	struct rig r = rig_open(features, size);
	struct virtq_elem *was[HELD];
	unsigned n;

	for (unsigned i = 0; i < skip; i++) {
		add(&r, 1);
		vdrv_kick_always(r.d, 0);
		push(&r, 0, 1);
	}
	add(&r, 3);
	add(&r, 2);
	add(&r, 1);
	add(&r, 4);
	vdrv_kick_always(r.d, 0);
	assert_int_equal(r.x->n, 4);
	push(&r, 3, 11);
	push(&r, 2, 12);
	add(&r, 5);
	add(&r, 1);
	vdrv_kick_always(r.d, 0);
	n = r.x->n;
	assert_int_equal(n, 4);
	memcpy(was, r.x->held, sizeof(was));
	for (unsigned i = 0; i < n; i++) { /* to compare with when they are gone */
		struct virtq_elem *el = was[i];
		size_t len = (el->n_out + el->n_in) * sizeof(struct iovec);

		was[i] = xzalloc(sizeof(*el) + len);
		*was[i] = *el;
		memcpy(was[i] + 1, el + 1, len);
		was[i]->out = (struct iovec *)(was[i] + 1);
		was[i]->in = was[i]->out + el->n_out;
	}
	move(&r);
	assert_int_equal(r.x->n, 0);
	move(&r); /* loaded, and saved before any of it was popped */
	r.x->most = 2;
	vdrv_kick_always(r.d, 0);
	assert_int_equal(r.x->n, 2);
	r.x->most = HELD;
	move(&r); /* some popped: those that were not come first */
	vdrv_kick_always(r.d, 0);
	assert_int_equal(r.x->n, n);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			if (was[i]->head == r.x->held[k]->head)
				expect_same(was[i], r.x->held[k]);
	/* Handed back and popped again, then ended in an order of their own. */
	lock_take(&r.t->lock);
	while (r.x->n)
		virtq_unpop(r.x->held[--r.x->n]);
	lock_drop(&r.t->lock);
	vdrv_kick_always(r.d, 0);
	assert_int_equal(r.x->n, n);
	push(&r, 2, 3);
	add(&r, 2);
	vdrv_kick_always(r.d, 0);
	assert_int_equal(r.x->n, n);
	while (r.x->n)
		push(&r, r.x->n / 2, 5);
	for (unsigned i = 0; i < 40; i++) {
		add(&r, 1 + i % 3);
		vdrv_kick_always(r.d, 0);
		assert_int_equal(r.x->n, 1);
		push(&r, 0, i);
	}
	assert_false(r.x->v.broken);
	for (unsigned i = 0; i < n; i++)
		free(was[i]);
	rig_close(&r);
}

static void round_trips(void **unused)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t f = (i & 1 ? VIRTIO_F_RING_PACKED : 0) |
			     (i & 2 ? VIRTIO_F_INDIRECT_DESC : 0) |
			     (i & 4 ? VIRTIO_F_EVENT_IDX : 0);

		for (unsigned skip = 0; skip < 34; skip++) {
			round_trip(f, 16, skip);
			if (i & 1)
				round_trip(f, 13, skip);
		}
	}
}

/* A ring that is full of chains in flight. */
static void full(void **unused)
{
	for (unsigned skip = 0; skip < 20; skip++) {
		struct rig r = rig_open(VIRTIO_F_RING_PACKED, 16);

		for (unsigned i = 0; i < skip; i++) {
			add(&r, 1);
			vdrv_kick_always(r.d, 0);
			push(&r, 0, 1);
		}
		add(&r, 8);
		for (unsigned i = 0; i < 8; i++)
			add(&r, 1);
		vdrv_kick_always(r.d, 0);
		assert_int_equal(r.x->n, 9);
		move(&r);
		vdrv_kick_always(r.d, 0);
		assert_int_equal(r.x->n, 9);
		while (r.x->n)
			push(&r, r.x->n - 1, 1);
		rig_close(&r);
	}
}

/* What a damaged state may say.  The chains saved are one of three descriptors, or an indirect one,
 * and one of a single descriptor. */

static void too_many(struct virtq *q)
{
	q->n_saved = 65;
}

static void one_less(struct virtq *q)
{
	q->n_saved--;
}

static void no_descriptors(struct virtq *q)
{
	q->saved[0].n_desc = 0;
}

static void goes_over_the_end(struct virtq *q)
{
	q->saved[0].n_desc = 5;
}

static void more_than_ring(struct virtq *q)
{
	q->saved[0].n_desc = 0xffff;
}

static void another_id(struct virtq *q)
{
	q->saved[0].head ^= 9;
}

static void begins_within(struct virtq *q)
{
	q->saved[1].n_desc = 1;
}

static void no_end(struct virtq *q)
{
	q->saved[2].desc.flags |= VIRTQ_DESC_F_NEXT;
}

static void ends_early(struct virtq *q)
{
	q->saved[0].desc.flags &= (uint16_t)~VIRTQ_DESC_F_NEXT;
}

static void last_has_another_id(struct virtq *q)
{
	q->saved[2].desc.next ^= 1;
}

static void indirect_within(struct virtq *q)
{
	q->saved[1].desc.flags |= VIRTQ_DESC_F_INDIRECT;
}

static void half_a_descriptor(struct virtq *q)
{
	q->saved[0].desc.len++;
}

static void empty_table(struct virtq *q)
{
	q->saved[0].desc.len = 0;
}

static void same_name(struct virtq *q)
{
	struct virtq_kept *first = &q->saved[0], *last = &q->saved[q->n_saved - 1];

	last->head = last->desc.next = first->head;
}

static void outside(struct virtq *q)
{
	q->saved[1].head = 16;
}

static void further(struct virtq *q)
{
	q->last_avail++;
}

static void behind(struct virtq *q)
{
	q->used_idx = (uint16_t)(q->used_idx + 7);
}

static void other_wrap(struct virtq *q)
{
	q->avail_wrap = !q->avail_wrap;
}

static void beyond(struct virtq *q)
{
	q->used_idx = 16;
}

static void disabled(struct virtq *q)
{
	q->enabled = false;
}

static void stopped(struct virtq *q)
{
	q->v->driver_ok = false;
}

static void damaged(void **unused)
{
	enum { SPLIT = 1, PACKED = 2, INDIRECT = 4 };
	static const struct {
		void (*mangle)(struct virtq *q);
		unsigned formats;
		const char *says;
	} cases[] = {
		{too_many, SPLIT | PACKED | INDIRECT, "too many buffers"},
		{one_less, SPLIT, "2 chains in flight by its places, 1 are saved"},
		{one_less, PACKED, "4 descriptors in flight by its places, 3 are saved"},
		{one_less, INDIRECT, "2 descriptors in flight by its places, 1 are saved"},
		{no_descriptors, SPLIT | PACKED | INDIRECT, "not whole"},
		{goes_over_the_end, PACKED | INDIRECT, "not whole"},
		{more_than_ring, PACKED | INDIRECT, "not whole"},
		{more_than_ring, SPLIT, "too many buffers"},
		{another_id, PACKED, "not whole"},
		{another_id, INDIRECT, "another's ID"},
		{begins_within, PACKED, "not whole"},
		{no_end, PACKED, "longer or shorter"},
		{ends_early, PACKED, "longer or shorter"},
		{last_has_another_id, PACKED, "another's ID"},
		{indirect_within, PACKED, "impossible indirect"},
		{half_a_descriptor, INDIRECT, "impossible indirect"},
		{empty_table, INDIRECT, "impossible indirect"},
		{same_name, SPLIT | PACKED | INDIRECT, "of one name"},
		{outside, SPLIT, "outside of the ring"},
		{further, SPLIT, "3 chains in flight by its places, 2"},
		{further, PACKED, "5 descriptors in flight by its places, 4"},
		{behind, SPLIT, "chains in flight by its places, 2"},
		{behind, PACKED | INDIRECT, "do not go together"},
		{other_wrap, PACKED | INDIRECT, "do not go together"},
		{beyond, PACKED | INDIRECT, "place outside"},
		{disabled, SPLIT | PACKED | INDIRECT, "has not set it up"},
		{stopped, SPLIT | PACKED | INDIRECT, "has not set it up"},
	};

	for (unsigned i = 0; i < 3 * ARRAY_SIZE(cases); i++) {
		unsigned kind = 1u << i % 3, c = i / 3;
		struct rig r;
		struct state_buf s;
		struct keeper *y;
		struct err *e = NULL;
		struct virtq was;

		if (!(cases[c].formats & kind))
			continue;
		r = rig_open((kind == SPLIT ? 0 : VIRTIO_F_RING_PACKED) |
				     (kind == INDIRECT ? VIRTIO_F_INDIRECT_DESC : 0),
			     16);
		add(&r, 3);
		r.d->q[0].use_indirect = false;
		add(&r, 1);
		vdrv_kick_always(r.d, 0);
		r.x->mangle = cases[c].mangle;
		was = r.x->v.queues[0];
		s = save(&r);
		r.x->v.queues[0] = was;
		r.x->v.driver_ok = true;
		assert_int_equal(load(&r, &s, &y, &e), -EINVAL);
		if (!strstr(err_msg(e), cases[c].says))
			fail_msg("case %u of kind %u says '%s', not '%s'", c, kind, err_msg(e),
				 cases[c].says);
		err_free(&e);
		free(s.data);
		discard(&r, y);
		r.x->mangle = NULL;
		rig_close(&r);
	}
}

/* A broken device's places say nothing; it forgets what it held. */
static void broken(void **unused)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(i ? VIRTIO_F_RING_PACKED : 0, 16);
		struct keeper *y;
		struct state_buf s;

		add(&r, 3);
		add(&r, 1);
		vdrv_kick_always(r.d, 0);
		lock_take(&r.t->lock);
		virtio_error(&r.x->v, "broken");
		lock_drop(&r.t->lock);
		r.x->mangle = further;
		s = save(&r);
		assert_int_equal(load(&r, &s, &y, NULL), 0);
		lock_take(&r.t->lock);
		keeper_kick(&y->v, 0);
		lock_drop(&r.t->lock);
		assert_int_equal(y->n, 0);
		assert_int_equal(y->v.queues[0].n_kept, 0);
		free(s.data);
		discard(&r, y);
		rig_close(&r);
	}
}

/* Where a version stands in the stream: after the name of what it is of. */
static uint8_t *version_at(const struct state_buf *s, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i + 1 + n + 4 <= s->len; i++)
		if (s->data[i] == n && !memcmp(s->data + i + 1, name, n))
			return s->data + i + 1 + n;
	fail_msg("no %s", name);
	return NULL;
}

/* Those of version 1 are read: it had chains of one descriptor, and split ones. */
static void versions(void **unused)
{
	static const struct {
		uint64_t features;
		unsigned n;
	} cases[] = {{0, 3},
		     {VIRTIO_F_RING_PACKED, 1},
		     {VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC, 3}};

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(cases); i++) {
		struct rig r = rig_open(cases[i / 4].features, 16);
		struct state_buf s;
		struct keeper *y;
		struct err *e = NULL;
		bool good = i % 4 == 1 || i % 4 == 2;
		int rc;

		add(&r, cases[i / 4].n);
		add(&r, cases[i / 4].n);
		vdrv_kick_always(r.d, 0);
		s = save(&r);
		put_le32(version_at(&s, "virtq"), i % 4);
		rc = load(&r, &s, &y, &e);
		assert_int_equal(rc, good ? 0 : -EINVAL);
		if (good) {
			lock_take(&r.t->lock);
			keeper_kick(&y->v, 0);
			lock_drop(&r.t->lock);
			assert_int_equal(y->n, 2);
			expect_same(y->held[0], r.x->held[0]);
			expect_same(y->held[1], r.x->held[1]);
		} else {
			assert_non_null(strstr(err_msg(e), "another version"));
		}
		err_free(&e);
		free(s.data);
		discard(&r, y);
		rig_close(&r);
	}
}

/* Every byte of it: loaded or not, nothing breaks but the device. */
static void any_damage(void **unused)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig r = rig_open(
			(i ? VIRTIO_F_RING_PACKED : 0) | (i == 2 ? VIRTIO_F_INDIRECT_DESC : 0), 16);
		struct keeper *y;
		struct state_buf s;
		size_t used;

		add(&r, 3);
		add(&r, 1);
		vdrv_kick_always(r.d, 0);
		s = save(&r);
		assert_int_equal(load(&r, &s, &y, NULL), 0);
		lock_take(&r.t->lock);
		for (size_t at = 0; at < s.len; at++) {
			uint8_t flip = (uint8_t)(1 + at * 37 % 255);

			virtio_reset(&y->v);
			s.data[at] ^= flip;
			if (!state_load(&y->v.saved, &y->v, s.data, s.len, &used, NULL))
				virtio_queue_kick(&y->v, 0);
			while (y->n)
				virtq_push(y->held[--y->n], 1);
			s.data[at] ^= flip;
		}
		lock_drop(&r.t->lock);
		free(s.data);
		discard(&r, y);
		rig_close(&r);
	}
}

/* The saved descriptors lead where there is no RAM: found when the chain is popped. */
static void into_nothing(struct virtq *q)
{
	q->saved[1].desc.addr = UINT64_MAX - 4;
}

static void bad_buffer(void **unused)
{
	struct rig r = rig_open(VIRTIO_F_RING_PACKED, 16);
	struct state_buf s;
	struct keeper *y;

	add(&r, 3);
	vdrv_kick_always(r.d, 0);
	r.x->mangle = into_nothing;
	s = save(&r);
	assert_int_equal(load(&r, &s, &y, NULL), 0);
	lock_take(&r.t->lock);
	keeper_kick(&y->v, 0);
	assert_int_equal(y->n, 0);
	assert_true(y->v.broken);
	lock_drop(&r.t->lock);
	free(s.data);
	discard(&r, y);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(full),
		cmocka_unit_test(damaged),
		cmocka_unit_test(broken),
		cmocka_unit_test(versions),
		cmocka_unit_test(any_damage),
		cmocka_unit_test(bad_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
