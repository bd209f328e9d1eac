/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A loop, a folder, and a front end that counts, for tests of character back ends. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include "back/char/chardev.h"
#include "base/base.h"
#include "base/err.h"
#include "base/loop.h"

struct fixture {
	struct loop *loop;
	char dir[64];
	char path[96]; /* a name in dir */
	/* The front end. */
	size_t room;
	char got[70000];
	size_t n_got;
	unsigned opened, closed, breaks, writable, quits;
};

static inline size_t front_can_receive(void *opaque)
{
	struct fixture *f = opaque;

	return min_u64(f->room, sizeof(f->got) - f->n_got);
}

static inline void front_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct fixture *f = opaque;

	assert_true(len <= f->room);
	memcpy(f->got + f->n_got, buf, len);
	f->n_got += len;
	f->room -= len;
}

static inline void front_writable(void *opaque)
{
	struct fixture *f = opaque;

	f->writable++;
}

static inline void front_event(void *opaque, int event)
{
	struct fixture *f = opaque;

	f->opened += event == CHARDEV_EV_OPENED;
	f->closed += event == CHARDEV_EV_CLOSED;
	f->breaks += event == CHARDEV_EV_BREAK;
}

static inline void front_quit(void *opaque)
{
	struct fixture *f = opaque;

	f->quits++;
}

static inline void attach(struct fixture *f, struct chardev *cd)
{
	struct chardev_front front = {
		.can_receive = front_can_receive,
		.receive = front_receive,
		.writable = front_writable,
		.event = front_event,
		.opaque = f,
	};

	f->room = sizeof(f->got);
	assert_int_equal(chardev_attach(cd, &front, NULL), 0);
}

static inline int setup(void **state)
{
	struct fixture *f = xzalloc(sizeof(*f));

	signal(SIGPIPE, SIG_IGN);
	f->loop = loop_create();
	strcpy(f->dir, "/tmp/doppel-chardev-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/x", f->dir);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	loop_destroy(f->loop);
	unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static inline struct chardev *open_spec(struct fixture *f, const char *fmt, const char *arg)
{
	char spec[256];
	struct chardev *cd = NULL;
	struct err *e = NULL;

	snprintf(spec, sizeof(spec), fmt, arg);
	if (chardev_open(&cd, f->loop, "test", spec, &e))
		fail_msg("%s: %s", spec, err_msg(e));
	return cd;
}

/* Turn the loop until cond holds; three seconds at most. */
#define loop_until(f, cond)                                             \
	do {                                                            \
		for (int turns_ = 0; !(cond) && turns_ < 300; turns_++) \
			loop_once((f)->loop, 10);                       \
		assert_true(cond);                                      \
	} while (0)

static inline void settle(struct fixture *f)
{
	for (int i = 0; i < 3; i++)
		loop_once(f->loop, 5);
}

static inline void put(struct chardev *cd, const char *s)
{
	assert_int_equal(chardev_write(cd, (const uint8_t *)s, strlen(s)), strlen(s));
}

static inline void expect_bytes(int fd, const char *s)
{
	char buf[256];
	size_t n = 0, len = strlen(s);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (n < len && poll(&p, 1, 3000) > 0) {
		ssize_t r = read(fd, buf + n, len - n);

		if (r <= 0)
			break;
		n += (size_t)r;
	}
	assert_int_equal(n, len);
	assert_memory_equal(buf, s, len);
}

static inline int unix_connect(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
