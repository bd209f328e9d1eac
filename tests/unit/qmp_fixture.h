/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A small machine with monitors, and a client of them, for tests of QMP and HMP. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../engine.h"
#include "back/block/block.h"
#include "back/char/chardev.h"
#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "machine/vm.h"

struct client {
	int fd;
	struct chardev *cd;
	struct text in;
};

struct fixture {
	char kernel[32];
	struct log *log;
	struct loop *loop;
	struct vm *vm;
	struct ctl *ctl;
	struct client c[2];
	struct chardev *ring;
	struct blocks *blocks;
	struct netdev *net;
};

static inline void each_chardev(void *opaque, void (*fn)(void *arg, struct chardev *cd), void *arg)
{
	struct fixture *f = opaque;

	fn(arg, f->ring);
}

static inline void each_netdev(void *opaque, void (*fn)(void *arg, struct netdev *nd), void *arg)
{
	struct fixture *f = opaque;

	fn(arg, f->net);
}

static inline void client_open(struct fixture *f, struct client *c, bool hmp)
{
	char opts[64];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	snprintf(opts, sizeof(opts), "socket,id=q,fd=%d", fds[0]);
	assert_int_equal(chardev_open_opts(&c->cd, f->loop, opts, NULL), 0);
	if (hmp)
		assert_int_equal(ctl_add_hmp(f->ctl, c->cd, NULL), 0);
	else
		assert_int_equal(ctl_add_qmp(f->ctl, c->cd, false, NULL), 0);
	c->fd = fds[1];
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

/* 32-bit, flat, interrupts off: hlt; jmp back. */
static inline void write_kernel(char path[static 32])
{
	static const uint8_t code[] = {0xf4, 0xeb, 0xfd};
	const uint32_t head[8] = {
		0x1badb002, 0x10003, 0u - 0x1badb002 - 0x10003, 0x100000, 0x100000, 0, 0, 0x100020};
	int fd;

	strcpy(path, "/tmp/doppel-qmp-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
	assert_int_equal(write(fd, code, sizeof(code)), sizeof(code));
	close(fd);
}

static inline int setup(void **state)
{
	struct fixture *f = xzalloc(sizeof(*f));
	struct vm_config cfg = {
		.name = "test",
		.machine = "pc",
		.accel = test_engine(),
		.mem_size = 16 * MiB,
		.n_cpus = 2,
	};
	struct ctl_config cc = {
		.each_chardev = each_chardev, .each_netdev = each_netdev, .opaque = f};
	struct err *e = NULL;

	signal(SIGPIPE, SIG_IGN);
	write_kernel(f->kernel);
	cfg.kernel = f->kernel;
	cfg.log = f->log = log_create();
	cfg.loop = f->loop = loop_create();
	if (vm_create(&f->vm, &cfg, &e))
		fail_msg("%s", err_msg(e));
	cc.vm = f->vm;
	cc.loop = f->loop;
	cc.log = f->log;
	if (netdev_open(&f->net, f->loop, f->log, NULL, "user,id=n0", &e))
		fail_msg("%s", err_msg(e));
	assert_int_equal(chardev_open_opts(&f->ring, f->loop, "ringbuf,id=ring", NULL), 0);
	cc.blocks = f->blocks = blocks_create(f->log);
	ctl_create(&f->ctl, &cc);
	client_open(f, &f->c[0], false);
	f->c[1].fd = -1;
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	ctl_destroy(f->ctl);
	vm_destroy(f->vm);
	netdev_close(f->net);
	blocks_destroy(f->blocks);
	for (int i = 0; i < 2; i++) {
		chardev_close(f->c[i].cd);
		if (f->c[i].fd >= 0)
			close(f->c[i].fd);
		text_free(&f->c[i].in);
	}
	chardev_close(f->ring);
	loop_destroy(f->loop);
	log_destroy(f->log);
	unlink(f->kernel);
	free(f);
	return 0;
}

/* Turn the loop until there is a line from the client's connection; NULL after `turns`. */
static inline char *get_line(struct fixture *f, struct client *c, int turns)
{
	for (;;) {
		char buf[4096], *end = c->in.len ? memchr(c->in.s, '\n', c->in.len) : NULL, *line;
		ssize_t n;

		if (end) {
			line = xasprintf("%.*s", (int)(end - c->in.s), c->in.s);
			text_drop(&c->in, (size_t)(end - c->in.s) + 1);
			return line;
		}
		if (turns-- <= 0)
			return NULL;
		loop_once(f->loop, 10);
		while ((n = read(c->fd, buf, sizeof(buf))) > 0)
			text_put(&c->in, buf, (size_t)n);
	}
}

static inline struct json_object *get_from(struct fixture *f, struct client *c)
{
	char *line = get_line(f, c, 500);
	struct json_object *o;

	assert_non_null(line);
	o = json_tokener_parse(line);
	if (!o)
		fail_msg("not JSON: %s", line);
	free(line);
	return o;
}

static inline struct json_object *get(struct fixture *f)
{
	return get_from(f, &f->c[0]);
}

static inline void send_text(struct client *c, const char *s)
{
	assert_int_equal(write(c->fd, s, strlen(s)), (ssize_t)strlen(s));
}

/* A dot-separated path into an object; NULL when there is no such thing. */
static inline struct json_object *at(struct json_object *o, const char *path)
{
	char *copy = xstrdup(path), *save = NULL;

	for (char *p = strtok_r(copy, ".", &save); p && o; p = strtok_r(NULL, ".", &save))
		if (!json_object_object_get_ex(o, p, &o))
			o = NULL;
	free(copy);
	return o;
}

static inline void expect_str(struct json_object *o, const char *path, const char *want)
{
	struct json_object *v = at(o, path);

	if (!v || strcmp(json_object_get_string(v), want))
		fail_msg("%s is not %s: %s", path, want, json_object_to_json_string(o));
}

static inline void negotiate(struct fixture *f, struct client *c)
{
	struct json_object *o = get_from(f, c);

	assert_non_null(at(o, "QMP.version.qemu.major"));
	assert_int_equal(json_object_get_int(at(o, "QMP.version.qemu.major")), 7);
	json_object_put(o);
	send_text(c, "{\"execute\":\"qmp_capabilities\"}\n");
	o = get_from(f, c);
	assert_non_null(at(o, "return"));
	json_object_put(o);
}

static inline struct json_object *ask(struct fixture *f, const char *msg)
{
	send_text(&f->c[0], msg);
	send_text(&f->c[0], "\n");
	return get(f);
}

static inline void tell(struct fixture *f, const char *msg)
{
	send_text(&f->c[0], msg);
}

static inline void expect_return(struct fixture *f)
{
	struct json_object *o = get(f);

	if (!at(o, "return"))
		fail_msg("%s", json_object_to_json_string(o));
	json_object_put(o);
}

static inline void expect_error(struct fixture *f, const char *msg, const char *error_class,
				const char *desc)
{
	struct json_object *o = ask(f, msg);

	expect_str(o, "error.class", error_class);
	if (!strstr(json_object_get_string(at(o, "error.desc")), desc))
		fail_msg("%s: %s", msg, json_object_to_json_string(o));
	json_object_put(o);
}

static inline struct json_object *first(struct json_object *o)
{
	o = at(o, "return");
	assert_true(json_object_array_length(o) > 0);
	return json_object_array_get_idx(o, 0);
}
