/* SPDX-License-Identifier: Apache-2.0 */
/* Several front ends on one character back end: who has the focus, flow control, how many fit. */
#include "chardev_fixture.h"

/* One front end of several. */
struct other {
	size_t room, n_got;
	char got[2048];
	unsigned focus, unfocus, opened, breaks;
};

static size_t other_can_receive(void *opaque)
{
	struct other *o = opaque;

	return o->room;
}

static void other_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct other *o = opaque;

	assert_true(len <= o->room && o->n_got + len <= sizeof(o->got));
	memcpy(o->got + o->n_got, buf, len);
	o->n_got += len;
	o->room -= len;
}

static void other_event(void *opaque, int event)
{
	struct other *o = opaque;

	o->focus += event == CHARDEV_EV_FOCUS;
	o->unfocus += event == CHARDEV_EV_UNFOCUS;
	o->opened += event == CHARDEV_EV_OPENED;
	o->breaks += event == CHARDEV_EV_BREAK;
}

static struct chardev *attach_other(struct chardev *cd, struct other *o)
{
	struct chardev *end = chardev_front_end(cd);
	struct chardev_front front = {
		.can_receive = other_can_receive,
		.receive = other_receive,
		.event = other_event,
		.opaque = o,
	};

	assert_int_equal(chardev_attach(end, &front, NULL), 0);
	return end;
}

static int open_mux(struct fixture *f, struct chardev **cd)
{
	char opts[160];
	int fd;

	snprintf(opts, sizeof(opts), "socket,id=m,path=%s,server=on,wait=off,mux=on", f->path);
	assert_int_equal(chardev_open_opts(cd, f->loop, opts, NULL), 0);
	chardev_set_escape(*cd, front_quit, f);
	fd = unix_connect(f->path);
	return fd;
}

/* Three front ends: the first that is attached has the focus, Ctrl-a c goes round. */
static void test_mux(void **state)
{
	struct fixture *f = *state;
	struct other a = {.room = 2048}, b = {.room = 2048}, c = {.room = 2048};
	struct chardev *cd, *ca, *cb, *cc;
	int fd = open_mux(f, &cd);

	ca = attach_other(cd, &a);
	cb = attach_other(cd, &b);
	cc = attach_other(cd, &c);
	assert_ptr_not_equal(ca, cb);
	assert_string_equal(chardev_id(cb), "m");
	loop_until(f, a.opened && b.opened && c.opened);
	assert_true(chardev_focused(ca) && !chardev_focused(cb) && chardev_attached(cd));
	assert_int_equal(write(fd, "one\001ctwo\001b\001cthree\001cfour", 23), 23);
	loop_until(f, a.n_got == 7);
	assert_memory_equal(a.got, "onefour", 7);
	assert_int_equal(b.n_got, 3);
	assert_memory_equal(b.got, "two", 3);
	assert_int_equal(c.n_got, 5);
	assert_memory_equal(c.got, "three", 5);
	assert_true(a.unfocus == 1 && a.focus == 1 && b.focus == 1 && b.unfocus == 1);
	assert_true(b.breaks == 1 && !a.breaks && !c.breaks);
	put(ca, "A");
	put(cc, "C");
	expect_bytes(fd, "AC");
	chardev_detach(cb); /* it is passed over */
	assert_int_equal(write(fd, "\001cx", 3), 3);
	loop_until(f, c.n_got == 6);
	chardev_detach(cc); /* the focus falls back */
	assert_int_equal(write(fd, "y", 1), 1);
	loop_until(f, a.n_got == 8);
	close(fd);
	chardev_close(cd);
}

/* Escape keys work while the front end takes nothing; what it was sent is not lost. */
static void test_mux_blocked(void **state)
{
	struct fixture *f = *state;
	struct other a = {.room = 1}, b = {.room = 2048};
	struct chardev *cd, *ca;
	int fd = open_mux(f, &cd);

	ca = attach_other(cd, &a);
	attach_other(cd, &b);
	loop_until(f, a.opened);
	assert_int_equal(write(fd, "abcdef\001cx", 9), 9);
	loop_until(f, b.n_got == 1);
	assert_int_equal(a.n_got, 1);
	a.room = 100;
	chardev_accept_input(ca);
	loop_until(f, a.n_got == 6);
	assert_memory_equal(a.got, "abcdef", 6);
	assert_int_equal(write(fd, "\001x", 2), 2);
	loop_until(f, f->quits == 1);
	close(fd);
	chardev_close(cd);
}

/* More typing than a front end's queue holds waits in the socket. */
static void test_mux_flow(void **state)
{
	struct fixture *f = *state;
	struct other a = {.room = 0};
	char text[2000];
	struct chardev *cd, *ca;
	int fd = open_mux(f, &cd);

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 23);
	ca = attach_other(cd, &a);
	loop_until(f, a.opened);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	settle(f);
	assert_int_equal(a.n_got, 0);
	for (int i = 0; i < 400 && a.n_got < sizeof(text); i++) {
		a.room = 100;
		chardev_accept_input(ca);
		loop_once(f->loop, 1);
	}
	assert_int_equal(a.n_got, sizeof(text));
	assert_memory_equal(a.got, text, sizeof(text));
	close(fd);
	chardev_close(cd);
}

static void test_mux_crowd(void **state)
{
	struct fixture *f = *state;
	struct other o[10] = {0};
	struct chardev *cd;
	struct chardev_front front = {.can_receive = other_can_receive, .opaque = o};
	int fd = open_mux(f, &cd);

	for (int i = 0; i < 8; i++)
		attach_other(cd, &o[i]);
	assert_int_equal(chardev_attach(chardev_front_end(cd), &front, NULL), -EBUSY);
	close(fd);
	chardev_close(cd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_mux),
		T(test_mux_blocked),
		T(test_mux_flow),
		T(test_mux_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
