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

static void rig_open(struct rig *r)
{
	struct dev_backends b = {.fsdev = find_fsdev, .opaque = r};
	struct dev_place place = {.id = "fs0"};
	struct dev_opts *o;
	struct err *e = NULL;

	memset(r, 0, sizeof(*r));
	r->t = env_open();
	r->c = client_open("security_model=none");
	place.env = &r->t->env;
	o = vdrv_opts(&virtio_9p_pci_class, "fsdev=fs,mount_tag=shared", &b);
	lock_take(&r->t->lock);
	ok(virtio_9p_type.create(&place, o, &r->v, &e));
	lock_drop(&r->t->lock);
	dev_opts_free(o);
	connect(r);
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

static void saved(void **state)
{
	const struct state_desc *s;
	struct state_buf b = {0};
	struct err *e = NULL;
	struct rig r;
	size_t used;

	rig_open(&r);
	s = r.v->ops->state;
	ok(ask(&r, P9_TVERSION, VERSION));
	lock_take(&r.t->lock);
	r.v->ops->quiesce(r.v);
	state_save(&b, s, r.v);
	ok(state_load(s, r.v, b.data, b.len, &used, &e));
	lock_drop(&r.t->lock);
	free(b.data);
	ok(ask(&r, P9_TATTACH, ATTACH));
	memset(&b, 0, sizeof(b));
	for (unsigned k = 0; k < 30; k++)
		put(&r, P9_TWALK, "ddw", 0, 1 + k, 0);
	lock_take(&r.t->lock);
	r.v->ops->quiesce(r.v); /* all are answered now */
	for (unsigned k = 0; k < 30; k++) {
		uint16_t id;
		uint32_t len;

		assert_true(vdrv_used(r.d, 0, &id, &len));
	}
	state_save(&b, s, r.v);
	fails(state_load(s, r.v, b.data, b.len, &used, &e), EINVAL);
	assert_non_null(strstr(err_msg(e), "shared"));
	err_free(&e);
	lock_drop(&r.t->lock);
	free(b.data);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),	 cmocka_unit_test(messages),
		cmocka_unit_test(many),		 cmocka_unit_test(bad_driver),
		cmocka_unit_test(reset_forgets), cmocka_unit_test(saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
