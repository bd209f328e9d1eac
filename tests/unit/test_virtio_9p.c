/* SPDX-License-Identifier: Apache-2.0 */
/* Shared folders as a virtio device: messages by its queue, bad drivers, resets, saved state. */
#include "dev_env.h"

#include "dev/opts.h"
#include "dev/virtio/virtio_9p.h"
#include "p9_client.h"
#include "virtio_driver.h"

#define VERSION "ds", 8192, "9P2000.L"
#define ATTACH "ddssd", 0, P9_NOFID, "", "", getuid()

struct rig {
	struct test_env *t;
	struct client *c; /* for its folder, and to make messages */
	struct virtio_dev *v;
	struct vdrv *d;
	uint64_t out, in; /* 64 pairs of buffers of 4 KiB */
	unsigned next;
};

static void *find_fsdev(void *opaque, const char *id)
{
	struct rig *r = opaque;

	return strcmp(id, fsdev_id(r->c->f)) ? NULL : r->c->f;
}

static void connect(struct rig *r)
{
	r->d = vdrv_open(r->t, r->v, VDRV_ALL & ~VIRTIO_F_EVENT_IDX);
	vdrv_queue(r->d, 0, 128);
	vdrv_start(r->d);
	r->out = vdrv_alloc(r->d, 64 * 4096, 4096);
	r->in = vdrv_alloc(r->d, 64 * 4096, 4096);
}

/* rig_device - a device on the client's folder, and its driver. */
static void rig_device(struct rig *r)
{
	struct dev_backends b = {.fsdev = find_fsdev, .opaque = r};
	struct dev_place place = {.id = "fs0", .env = &r->t->env};
	struct dev_opts *o;
	struct err *e = NULL;

	o = vdrv_opts(&virtio_9p_pci_class, "fsdev=fs,mount_tag=shared", &b);
	lock_take(&r->t->lock);
	ok(virtio_9p_type.create(&place, o, &r->v, &e));
	lock_drop(&r->t->lock);
	dev_opts_free(o);
	connect(r);
}

static void rig_open(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	r->t = env_open();
	r->c = client_open("security_model=none");
	rig_device(r);
}

static void rig_close(struct rig *r)
{
	vdrv_close(r->d);
	client_close(r->c);
	env_close(r->t);
}

/* submit - what is in the client's tx, in pieces; its number, for where the reply is. */
static unsigned submit(struct rig *r, uint32_t room)
{
	unsigned n = r->next++ % 64;
	uint64_t out = r->out + n * 4096, in = r->in + n * 4096;
	struct vbuf b[4] = {{out, 7}, {out + 7, r->c->tx_len - 7}, {in, 5}, {in + 5, room - 5}};

	memcpy(vdrv_ptr(r->d, out), r->c->tx, r->c->tx_len);
	memset(vdrv_ptr(r->d, in), 0xee, 4096);
	if (r->c->tx_len <= 7)
		assert_true(vdrv_add(r->d, 0, (struct vbuf[]){{out, r->c->tx_len}, b[2], b[3]}, 1,
				     2) >= 0);
	else
		assert_true(vdrv_add(r->d, 0, b, 2, 2) >= 0);
	vdrv_kick(r->d, 0);
	return n;
}

static unsigned put(struct rig *r, uint8_t type, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	msg_v(r->c, type, fmt, ap);
	va_end(ap);
	return submit(r, 4096);
}

/* answer - wait for a used chain, whose reply goes to the client's rx. */
static int answer(struct rig *r, unsigned n)
{
	uint16_t id;
	uint32_t len;

	vdrv_wait_used(r->d, 0, &id, &len);
	assert_true(len >= P9_HDR && len <= 4096);
	memcpy(r->c->rx, vdrv_ptr(r->d, r->in + n * 4096), len);
	r->c->rx_len = len;
	r->c->at = r->c->rx + P9_HDR;
	assert_int_equal(get_le32(r->c->rx), len);
	return reply(r->c);
}

#define ask(r, ...) answer(r, put(r, __VA_ARGS__))

static void options(void **state)
{
	struct rig r;
	struct dev_backends b = {.fsdev = find_fsdev, .opaque = &r};
	static const char *const bad[] = {"fsdev=fs", "mount_tag=x", "fsdev=fs,mount_tag="};
	struct err *e = NULL;

	r.c = client_open("security_model=none");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct dev_opts *o = vdrv_opts(&virtio_9p_pci_class, bad[i], &b);

		fails(virtio_9p_pci_class.check(o, &e), EINVAL);
		err_free(&e);
		dev_opts_free(o);
	}
	client_close(r.c);
}

static void messages(void **state)
{
	struct rig r;
	uint8_t config[8];

	rig_open(&r);
	assert_int_equal(r.v->config_len, 2 + 6);
	r.v->ops->config_read(r.v, 0, config, 8);
	assert_int_equal(get_le16(config), 6);
	assert_memory_equal(config + 2, "shared", 6);
	r.v->ops->config_read(r.v, 3, config, 2);
	assert_memory_equal(config, "ha", 2);
	assert_true(virtio_has(r.v, BIT(0)));
	ok(ask(&r, P9_TVERSION, VERSION));
	ok(ask(&r, P9_TATTACH, ATTACH));
	ok(ask(&r, P9_TWALK, "ddw", 0, 1, 0));
	ok(ask(&r, P9_TLCREATE, "dsddd", 1, "f", O_RDWR, 0644, getgid()));
	ok(ask(&r, P9_TWRITE, "dqdr", 1, UINT64_C(0), 11, "hello world", (size_t)11));
	assert_string_equal(get_file(r.c->share, "f"), "hello world");
	ok(ask(&r, P9_TREAD, "dqd", 1, UINT64_C(6), 100));
	assert_int_equal(field(r.c, 4), 5);
	assert_memory_equal(r.c->at, "world", 5);
	fails(ask(&r, P9_TREAD, "dqd", 7, UINT64_C(6), 100), EBADF);
	assert_true(r.d->q[0].interrupts >= 7);
	rig_close(&r);
}

/* All of the ring at once: everything is answered, whoever finishes first. */
static void many(void **state)
{
	struct rig r;
	uint32_t len;
	uint16_t id;

	rig_open(&r);
	ok(ask(&r, P9_TVERSION, VERSION));
	ok(ask(&r, P9_TATTACH, ATTACH));
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 30; i++)
			put(&r, P9_TWALK, "ddw", 0, 1 + i + round * 30, 0);
		for (unsigned i = 0; i < 30; i++) {
			vdrv_wait_used(r.d, 0, &id, &len);
			assert_int_equal(len, 9);
		}
	}
	rig_close(&r);
}

static bool is_broken(struct rig *r)
{
	bool broken;

	lock_take(&r->t->lock);
	broken = r->v->broken;
	lock_drop(&r->t->lock);
	return broken;
}

static void bad_driver(void **state)
{
	struct rig r;

	rig_open(&r);
	for (unsigned i = 0; i < 3; i++) {
		ok(ask(&r, P9_TVERSION, VERSION));
		msg_v(r.c, P9_TVERSION, "", (va_list){0});
		if (i == 0)
			put_le32(r.c->tx, 100); /* longer than what is there */
		if (i == 1)
			r.c->tx_len = 3;
		submit(&r, i == 2 ? 10 : 4096); /* no room for an error */
		wait_for(r.t, is_broken(&r));
		/* It comes back by a reset, with a new session. */
		vdrv_reset(r.d);
		assert_false(is_broken(&r));
		free(r.d);
		connect(&r);
		fails(ask(&r, P9_TATTACH, ATTACH), EPROTO);
	}
	rig_close(&r);
}

static void reset_forgets(void **state)
{
	struct rig r;

	rig_open(&r);
	for (unsigned i = 0; i < 20; i++) {
		ok(ask(&r, P9_TVERSION, VERSION));
		ok(ask(&r, P9_TATTACH, ATTACH));
		for (unsigned k = 0; k < 30; k++)
			put(&r, P9_TWALK, "ddw", 0, 1 + k, 0);
		vdrv_reset(r.d);
		/* Nothing is written to memory any more. */
		memset(vdrv_ptr(r.d, r.in), 0x55, 64 * 4096);
		run_ms(r.t, 2);
		for (unsigned k = 0; k < 64 * 4096; k++)
			assert_int_equal(((uint8_t *)vdrv_ptr(r.d, r.in))[k], 0x55);
		assert_int_equal(r.c->f->fds, 1); /* the test's own client's */
		free(r.d);
		connect(&r);
	}
	rig_close(&r);
}

static struct state_buf save(struct rig *r)
{
	struct state_buf b = {0};

	lock_take(&r->t->lock);
	r->v->ops->quiesce(r->v);
	state_save(&b, r->v->ops->state, r->v);
	lock_drop(&r->t->lock);
	return b;
}

static int load(struct rig *r, const struct state_buf *b, struct err **e)
{
	size_t used;
	int rc;

	lock_take(&r->t->lock);
	rc = state_load(r->v->ops->state, r->v, b->data, b->len, &used, e);
	lock_drop(&r->t->lock);
	if (!rc)
		assert_int_equal(used, b->len);
	return rc;
}

static void same(const struct state_buf *a, const struct state_buf *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->data, b->data, a->len);
}

/* begin - a client with two files open, "f" and (by now without a name) "g". */
static void begin(struct rig *r)
{
	ok(ask(r, P9_TVERSION, VERSION));
	ok(ask(r, P9_TATTACH, ATTACH));
	for (unsigned i = 1; i <= 2; i++) {
		ok(ask(r, P9_TWALK, "ddw", 0, i, 0));
		ok(ask(r, P9_TLCREATE, "dsddd", i, i == 1 ? "f" : "g", O_RDWR, 0644, getgid()));
		ok(ask(r, P9_TWRITE, "dqdr", i, UINT64_C(0), 5, "first", (size_t)5));
	}
	ok(unlink(in_share(r->c, "g")));
}

static int read_all(struct rig *r, uint32_t fid)
{
	int rc = ask(r, P9_TREAD, "dqd", fid, UINT64_C(0), 100);

	return rc ? rc : (int)field(r->c, 4);
}

/* A running session, to another device on the same folder. */
static void saved(void **state)
{
	struct rig r, n;
	struct state_buf b, again;
	struct err *e = NULL;
	struct fsdev *own;
	uint32_t len;
	uint16_t id;

	rig_open(&r);
	begin(&r);
	for (unsigned k = 0; k < 30; k++)
		put(&r, P9_TWALK, "ddw", 0, 100 + k, 0);
	b = save(&r);
	/* All were answered before. */
	lock_take(&r.t->lock);
	for (unsigned k = 0; k < 30; k++)
		assert_true(vdrv_used(r.d, 0, &id, &len));
	lock_drop(&r.t->lock);
	ok(ask(&r, P9_TWRITE, "dqdr", 1, UINT64_C(0), 5, "later", (size_t)5));

	rig_open(&n);
	vdrv_close(n.d);
	own = n.c->f;
	n.c->f = r.c->f;
	rig_device(&n);
	log_open(r.c->log, "/dev/null", NULL);
	ok(ask(&n, P9_TVERSION, VERSION));
	ok(load(&n, &b, &e));
	/* Until the guest goes on it is what was loaded, as it was loaded. */
	again = save(&n);
	same(&again, &b);
	free(again.data);
	assert_int_equal(read_all(&n, 1), 5);
	assert_memory_equal(n.c->at, "later", 5);
	assert_int_equal(read_all(&n, 2), 5);
	assert_memory_equal(n.c->at, "first", 5);
	ok(ask(&n, P9_TWALK, "ddw", 129, 130, 0));
	/* It is a session of its own. */
	ok(ask(&n, P9_TWRITE, "dqdr", 2, UINT64_C(0), 5, "other", (size_t)5));
	assert_int_equal(read_all(&r, 2), 5);
	assert_memory_equal(r.c->at, "first", 5);
	/* And gone with a reset, whether it has begun or not. */
	for (unsigned i = 0; i < 2; i++) {
		ok(load(&n, &b, &e));
		if (i)
			assert_int_equal(read_all(&n, 1), 5);
		vdrv_reset(n.d);
		free(n.d);
		connect(&n);
		fails(ask(&n, P9_TATTACH, ATTACH), EPROTO);
	}
	/* Neither does it leave anything behind when it never began. */
	ok(load(&n, &b, &e));
	free(b.data);
	vdrv_close(n.d);
	n.c->f = own;
	client_close(n.c);
	env_close(n.t);
	rig_close(&r);
}

/* What can't be loaded has not touched what is there, down to files that can't be found again. */
static void refused(void **state)
{
	struct rig r;
	struct state_buf b, bad, now;
	struct err *e = NULL;

	rig_open(&r);
	begin(&r);
	b = save(&r);
	for (unsigned pending = 0; pending < 2; pending++) {
		if (pending) {
			/* Something else is about to take its place. */
			ok(ask(&r, P9_TWALK, "ddw", 0, 3, 0));
			ok(load(&r, &b, &e));
		}
		now = save(&r);
		for (size_t at = 0; at < b.len; at += 3) {
			bad = (struct state_buf){malloc(b.len), b.len, b.len};
			memcpy(bad.data, b.data, b.len);
			bad.data[at] ^= 0xff;
			if (load(&r, &bad, &e)) {
				struct state_buf then = save(&r);

				same(&then, &now);
				free(then.data);
				assert_non_null(e);
				err_free(&e);
			} else {
				ok(load(&r, &now, &e));
			}
			free(bad.data);
		}
		free(now.data);
	}
	assert_int_equal(read_all(&r, 1), 5);
	assert_int_equal(read_all(&r, 2), 5);
	free(b.data);
	rig_close(&r);
}

/* The very state that the device is in: nothing is lost by loading it. */
static void unchanged(void **state)
{
	struct rig r;
	struct state_buf b;
	struct err *e = NULL;

	rig_open(&r);
	begin(&r);
	b = save(&r);
	ok(load(&r, &b, &e));
	assert_int_equal(read_all(&r, 2), 5);
	b.data[b.len - 2] ^= 0xff; /* the last bytes of all: refused */
	fails(load(&r, &b, &e), EINVAL);
	err_free(&e);
	assert_int_equal(read_all(&r, 2), 5);
	free(b.data);
	rig_close(&r);
}

/* Version 1 had no sessions. */
struct first {
	bool mounted;
};

static const struct state_field first_fields[] = {
	STATE_FIELD(struct first, mounted, STATE_BOOL),
	STATE_END,
};
static const struct state_desc first_desc = {
	.name = "virtio-9p", .version = 1, .fields = first_fields};

static void older(void **state)
{
	struct rig r;
	struct err *e = NULL;

	rig_open(&r);
	for (unsigned mounted = 0; mounted < 2; mounted++) {
		struct state_buf b = {0};

		begin(&r);
		state_save(&b, &first_desc, &(struct first){mounted});
		if (mounted) {
			fails(load(&r, &b, &e), EINVAL);
			assert_non_null(strstr(err_msg(e), "'shared'"));
			err_free(&e);
			assert_int_equal(read_all(&r, 2), 5);
		} else {
			ok(load(&r, &b, &e));
			fails(ask(&r, P9_TATTACH, ATTACH), EPROTO);
			ok(unlink(in_share(r.c, "f")));
		}
		free(b.data);
	}
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),	 cmocka_unit_test(messages),
		cmocka_unit_test(many),		 cmocka_unit_test(bad_driver),
		cmocka_unit_test(reset_forgets), cmocka_unit_test(saved),
		cmocka_unit_test(refused),	 cmocka_unit_test(unchanged),
		cmocka_unit_test(older),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
