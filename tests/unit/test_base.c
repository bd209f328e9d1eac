/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, bits, log items, guest clock, event loop and timers. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"

static void test_bits(void **state)
{
	assert_int_equal(bits_get(0xabcd, 11, 4), 0xbc);
	assert_int_equal(bits_get(UINT64_MAX, 63, 0), UINT64_MAX);
	assert_int_equal(bits_set(0xffff, 7, 4, 0), 0xff0f);
	assert_int_equal(mask_size(8), UINT64_MAX);
	assert_int_equal(mask_size(2), 0xffff);
	assert_true(range_fits(4, 4, 8));
	assert_false(range_fits(5, 4, 8));
	assert_false(range_fits(UINT64_MAX, 2, 8));
}

static void test_err(void **state)
{
	struct err *e = NULL;

	assert_int_equal(err_set(&e, ENOENT, "no %s", "file"), -ENOENT);
	err_prefix(&e, "-kernel");
	assert_string_equal(err_msg(e), "-kernel: no file");
	err_free(&e);
	assert_null(e);
	assert_int_equal(err_set(NULL, EINVAL, "dropped"), -EINVAL);
	err_prefix(NULL, "nothing");
}

static void test_log(void **state)
{
	struct log *l = log_create();
	struct err *e = NULL;

	assert_int_equal(log_enable(l, "int,mmu", NULL), 0);
	assert_true(log_on(l, LOG_INT));
	assert_false(log_on(l, LOG_EXEC));
	assert_int_equal(log_enable(l, "exec,bogus", &e), -EINVAL);
	assert_non_null(strstr(err_msg(e), "bogus"));
	assert_false(log_on(l, LOG_EXEC));
	err_free(&e);
	assert_true(log_open(l, "/nonexistent/dir/log", &e) < 0);
	err_free(&e);
	log_destroy(l);
}

static void test_vclock_stops(void **state)
{
	struct vclock *c = vclock_create();
	int64_t a, b;
	uint64_t t;

	assert_int_equal(vclock_now(c), 0);
	assert_int_equal(vclock_tsc(c), 0);
	vclock_start(c);
	usleep(2000);
	vclock_stop(c);
	a = vclock_now(c);
	t = vclock_tsc(c);
	usleep(2000);
	b = vclock_now(c);
	assert_true(a >= 2000000);
	assert_int_equal(a, b);
	assert_int_equal(t, vclock_tsc(c));
	vclock_start(c);
	assert_true(vclock_now(c) >= b);
	assert_true(vclock_tsc_khz(c) > 100000);
	vclock_destroy(c);
}

struct events {
	struct loop *l;
	struct timer *other;
	int order[8];
	int n;
};

static void count_up(void *opaque)
{
	++*(int *)opaque;
}

/* A manual clock moves when told to, and only then do its timers fire. */
static void test_vclock_manual(void **state)
{
	struct vclock *c = vclock_create_manual(), *other = vclock_create();
	struct loop *l = loop_create();
	int fired = 0, fired_other = 0;
	struct timer *t = timer_new(l, c, NULL, count_up, &fired);
	struct timer *sooner = timer_new(l, other, NULL, count_up, &fired_other);
	int64_t deadline, day = vclock_time_of_day(c);

	assert_true(vclock_manual(c) && !vclock_manual(other));
	assert_false(timer_next(l, c, &deadline));
	timer_arm(t, 1000000);
	timer_arm(sooner, 5);
	assert_true(timer_next(l, c, &deadline));
	assert_int_equal(deadline, 1000000);
	vclock_start(c);
	loop_once(l, 2);
	vclock_advance(c, 999999);
	loop_once(l, 0);
	assert_int_equal(fired, 0);
	vclock_advance(c, 1);
	loop_once(l, 0);
	assert_int_equal(fired, 1);
	assert_int_equal(fired_other, 0); /* its clock stands still */
	assert_int_equal(vclock_now(c), 1000000);
	assert_int_equal(vclock_tsc(c) * 1000000 / vclock_tsc_khz(c), 1000000);
	assert_int_equal(vclock_time_of_day(c) - day, 1000000);
	vclock_stop(c);
	assert_int_equal(vclock_now(c), 1000000);
	timer_destroy(t);
	timer_destroy(sooner);
	loop_destroy(l);
	vclock_destroy(c);
	vclock_destroy(other);
}

static void on_a(void *opaque)
{
	struct events *ev = opaque;

	ev->order[ev->n++] = 'a';
	timer_cancel(ev->other);
}

static void on_b(void *opaque)
{
	struct events *ev = opaque;

	ev->order[ev->n++] = 'b';
	loop_stop(ev->l);
}

static void on_c(void *opaque)
{
	struct events *ev = opaque;

	ev->order[ev->n++] = 'c';
}

static void test_timers(void **state)
{
	struct vclock *c = vclock_create();
	struct loop *l = loop_create();
	struct events ev = { .l = l };
	struct lock lock;
	struct timer *a, *b;

	lock_init(&lock, LOCK_RANK_MACHINE, "test");
	a = timer_new(l, c, &lock, on_a, &ev);
	b = timer_new(l, c, NULL, on_b, &ev);
	ev.other = timer_new(l, c, NULL, on_c, &ev);
	timer_arm(b, 3000000);
	timer_arm(a, 1000000);
	timer_arm(ev.other, 2000000);
	loop_once(l, 5);
	assert_int_equal(ev.n, 0); /* the clock stands still */
	vclock_start(c);
	loop_run(l);
	assert_int_equal(ev.n, 2);
	assert_int_equal(ev.order[0], 'a');
	assert_int_equal(ev.order[1], 'b');
	assert_false(timer_armed(ev.other));
	timer_destroy(a);
	timer_destroy(b);
	timer_destroy(ev.other);
	loop_destroy(l);
	lock_fini(&lock);
	vclock_destroy(c);
}

static void on_fd(void *opaque, uint32_t events)
{
	*(uint32_t *)opaque |= events;
}

static void test_fds_and_posts(void **state)
{
	struct loop *l = loop_create();
	struct events ev = { .l = l };
	uint32_t got = 0;
	struct loop_fd *w;
	int p[2];

	assert_int_equal(pipe(p), 0);
	w = loop_fd_add(l, p[0], EPOLLIN, NULL, on_fd, &got);
	loop_post(l, on_c, &ev);
	loop_once(l, -1);
	assert_int_equal(ev.n, 1);
	assert_int_equal(got, 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	while (!got)
		loop_once(l, -1);
	assert_true(got & EPOLLIN);
	loop_fd_remove(w);
	close(p[0]);
	close(p[1]);
	loop_destroy(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),	      cmocka_unit_test(test_err),
		cmocka_unit_test(test_log),	      cmocka_unit_test(test_vclock_stops),
		cmocka_unit_test(test_vclock_manual),
		cmocka_unit_test(test_timers),	      cmocka_unit_test(test_fds_and_posts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
