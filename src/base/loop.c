/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One epoll set, one eventfd that wakes the loop, a list of armed timers and a queue of posted work.
 *
 * The loop is woken only while it sleeps, and once: what is armed or posted while it is awake is seen
 * before it sleeps again, because loop_timeout looks at both and marks the sleep under one lock.
 *
 * Timers: armed ones sit in a small unsorted array (a machine has tens); the loop sleeps until the
 * earliest and re-reads guest clocks each turn, so starting or stopping a clock needs only loop_wake (which
 * vclock users reach by arming, or the machine by loop_post).  An expired timer is disarmed under the loop
 * lock, then its own lock is taken and its generation compared: a timer_cancel or timer_arm by a thread that
 * held the timer's lock meanwhile therefore wins, and no callback runs after timer_cancel returned.
 *
 * Watchers removed by a callback stay allocated until the end of the turn, because epoll may have
 * reported them in the same batch.
 */
#include "base/loop.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "base/base.h"
#include "base/vclock_int.h"

struct loop_fd {
	struct loop *loop;
	int fd; /* -1: removed */
	struct lock *lock;
	void (*fn)(void *opaque, uint32_t events);
	void *opaque;
	struct loop_fd *next_dead;
};

struct timer {
	struct loop *loop;
	struct vclock *clock;
	struct lock *lock;
	void (*fn)(void *opaque);
	void *opaque;
	int64_t deadline;
	uint32_t gen;	/* raised by every arm and cancel */
	bool armed;
	size_t slot;	/* index in loop->timers while armed */
};

struct post {
	void (*fn)(void *opaque);
	void *opaque;
	struct post *next;
};

struct loop {
	struct lock lock; /* timers, posts, stopping, dead */
	int epfd, wakefd;
	struct timer **timers;
	size_t n_timers, cap_timers;
	struct timer *firing; /* between being picked and its callback; NULL when destroyed */
	struct post *posts, **posts_tail;
	struct loop_fd *dead;
	size_t n_fds;
	bool stopping;
	bool asleep; /* in epoll_wait, or about to be, and not woken yet */
};

/* Called after the lock was dropped under which `asleep` was read (and cleared). */
static void loop_wake(struct loop *l, bool asleep)
{
	uint64_t one = 1;

	if (!asleep)
		return;
	while (write(l->wakefd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

struct loop *loop_create(void)
{
	struct loop *l = xzalloc(sizeof(*l));
	struct epoll_event ev = { .events = EPOLLIN };

	lock_init(&l->lock, LOCK_RANK_LOOP, "loop");
	l->posts_tail = &l->posts;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bug_on(l->epfd < 0 || l->wakefd < 0);
	bug_on(epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->wakefd, &ev));
	return l;
}

static bool loop_take_sleep(struct loop *l)
{
	bool asleep = l->asleep;

	l->asleep = false;
	return asleep;
}

static void loop_reap(struct loop *l)
{
	struct loop_fd *w;

	lock_take(&l->lock);
	w = l->dead;
	l->dead = NULL;
	lock_drop(&l->lock);
	while (w) {
		struct loop_fd *next = w->next_dead;

		free(w);
		w = next;
	}
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	bug_on(l->n_fds || l->n_timers);
	loop_reap(l);
	while (l->posts) {
		struct post *next = l->posts->next;

		free(l->posts);
		l->posts = next;
	}
	free(l->timers);
	close(l->epfd);
	close(l->wakefd);
	lock_fini(&l->lock);
	free(l);
}

void loop_stop(struct loop *l)
{
	bool asleep;

	lock_take(&l->lock);
	l->stopping = true;
	asleep = loop_take_sleep(l);
	lock_drop(&l->lock);
	loop_wake(l, asleep);
}

void loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
	struct post *p = xzalloc(sizeof(*p));
	bool asleep;

	*p = (struct post){ .fn = fn, .opaque = opaque };
	lock_take(&l->lock);
	*l->posts_tail = p;
	l->posts_tail = &p->next;
	asleep = loop_take_sleep(l);
	lock_drop(&l->lock);
	loop_wake(l, asleep);
}

static void loop_run_posts(struct loop *l)
{
	struct post *p;

	lock_take(&l->lock);
	p = l->posts;
	l->posts = NULL;
	l->posts_tail = &l->posts;
	lock_drop(&l->lock);
	while (p) {
		struct post *next = p->next;

		p->fn(p->opaque);
		free(p);
		p = next;
	}
}

struct loop_fd *loop_fd_add(struct loop *l, int fd, uint32_t events, struct lock *lock,
			    void (*fn)(void *opaque, uint32_t events), void *opaque)
{
	struct loop_fd *w = xzalloc(sizeof(*w));
	struct epoll_event ev = { .events = events, .data.ptr = w };

	*w = (struct loop_fd){ .loop = l, .fd = fd, .lock = lock, .fn = fn, .opaque = opaque };
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev)) {
		free(w); /* a regular file (EPERM) is always ready: the caller needs no watch */
		return NULL;
	}
	lock_take(&l->lock);
	l->n_fds++;
	lock_drop(&l->lock);
	return w;
}

void loop_fd_set(struct loop_fd *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	bug_on(epoll_ctl(w->loop->epfd, EPOLL_CTL_MOD, w->fd, &ev));
}

void loop_fd_remove(struct loop_fd *w)
{
	struct loop *l;

	if (!w)
		return;
	l = w->loop;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	lock_take(&l->lock);
	w->fd = -1;
	w->next_dead = l->dead;
	l->dead = w;
	l->n_fds--;
	lock_drop(&l->lock);
}

struct timer *timer_new(struct loop *l, struct vclock *c, struct lock *lock,
			void (*fn)(void *opaque), void *opaque)
{
	struct timer *t = xzalloc(sizeof(*t));

	*t = (struct timer){ .loop = l, .clock = c, .lock = lock, .fn = fn, .opaque = opaque };
	return t;
}

static void timer_unlist(struct timer *t)
{
	struct loop *l = t->loop;
	struct timer *last;

	if (!t->armed)
		return;
	last = l->timers[--l->n_timers];
	l->timers[t->slot] = last;
	last->slot = t->slot;
	t->armed = false;
}

/* Is t the next to expire of all that are armed? */
static bool timer_is_first(const struct timer *t)
{
	for (size_t i = 0; i < t->loop->n_timers; i++)
		if (t->loop->timers[i]->deadline < t->deadline)
			return false;
	return true;
}

void timer_arm(struct timer *t, int64_t deadline_ns)
{
	struct loop *l = t->loop;
	bool asleep = false;

	lock_take(&l->lock);
	t->gen++;
	t->deadline = deadline_ns;
	if (!t->armed) {
		if (l->n_timers == l->cap_timers) {
			l->cap_timers = l->cap_timers ? 2 * l->cap_timers : 16;
			l->timers = xrealloc(l->timers, l->cap_timers * sizeof(*l->timers));
		}
		t->slot = l->n_timers;
		l->timers[l->n_timers++] = t;
		t->armed = true;
	}
	if (timer_is_first(t))
		asleep = loop_take_sleep(l);
	lock_drop(&l->lock);
	loop_wake(l, asleep);
}

void timer_cancel(struct timer *t)
{
	lock_take(&t->loop->lock);
	t->gen++;
	timer_unlist(t);
	lock_drop(&t->loop->lock);
}

bool timer_armed(const struct timer *t)
{
	bool armed;

	lock_take(&t->loop->lock);
	armed = t->armed;
	lock_drop(&t->loop->lock);
	return armed;
}

bool timer_next(struct loop *l, const struct vclock *c, int64_t *deadline_ns)
{
	bool any = false;

	lock_take(&l->lock);
	for (size_t i = 0; i < l->n_timers; i++) {
		const struct timer *t = l->timers[i];

		if (t->clock != c || (any && t->deadline >= *deadline_ns))
			continue;
		*deadline_ns = t->deadline;
		any = true;
	}
	lock_drop(&l->lock);
	return any;
}

void timer_destroy(struct timer *t)
{
	struct loop *l;

	if (!t)
		return;
	l = t->loop;
	lock_take(&l->lock);
	timer_unlist(t);
	if (l->firing == t)
		l->firing = NULL;
	lock_drop(&l->lock);
	free(t);
}

/* The armed timer that is due and has the earliest deadline, or NULL. */
static struct timer *timer_due(struct loop *l)
{
	struct timer *best = NULL;

	for (size_t i = 0; i < l->n_timers; i++) {
		struct timer *t = l->timers[i];

		if ((!best || t->deadline < best->deadline) &&
		    vclock_host_delay(t->clock, t->deadline) == 0)
			best = t;
	}
	return best;
}

static void timer_fire(struct loop *l, struct timer *t, uint32_t gen, struct lock *lock)
{
	bool run;

	if (lock)
		lock_take(lock);
	lock_take(&l->lock);
	run = l->firing == t && t->gen == gen;
	l->firing = NULL;
	lock_drop(&l->lock);
	if (run)
		t->fn(t->opaque);
	if (lock)
		lock_drop(lock);
}

static void loop_run_timers(struct loop *l)
{
	/* Bounded, so that a timer that always re-arms in the past cannot starve descriptors. */
	for (int budget = 64; budget; budget--) {
		struct timer *t;
		struct lock *lock = NULL;
		uint32_t gen = 0;

		lock_take(&l->lock);
		t = timer_due(l);
		if (t) {
			timer_unlist(t);
			gen = t->gen;
			lock = t->lock;
			l->firing = t;
		}
		lock_drop(&l->lock);
		if (!t)
			return;
		timer_fire(l, t, gen, lock);
	}
}

/* How long may epoll sleep, in ns; -1 for ever. */
static int64_t loop_timeout(struct loop *l, int timeout_ms)
{
	int64_t best = timeout_ms < 0 ? -1 : timeout_ms * INT64_C(1000000);

	lock_take(&l->lock);
	for (size_t i = 0; i < l->n_timers; i++) {
		int64_t d = vclock_host_delay(l->timers[i]->clock, l->timers[i]->deadline);

		if (d >= 0 && (best < 0 || d < best))
			best = d;
	}
	if (l->posts || l->stopping)
		best = 0;
	l->asleep = best != 0;
	lock_drop(&l->lock);
	return best;
}

static void loop_dispatch(struct loop *l, const struct epoll_event *ev)
{
	struct loop_fd *w = ev->data.ptr;
	uint64_t n;

	if (!w) {
		while (read(l->wakefd, &n, sizeof(n)) < 0 && errno == EINTR)
			;
		return;
	}
	if (w->lock)
		lock_take(w->lock);
	if (w->fd >= 0)
		w->fn(w->opaque, ev->events);
	if (w->lock)
		lock_drop(w->lock);
}

void loop_once(struct loop *l, int timeout_ms)
{
	struct epoll_event ev[16];
	int64_t ns = loop_timeout(l, timeout_ms);
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	int n = epoll_pwait2(l->epfd, ev, ARRAY_SIZE(ev), ns < 0 ? NULL : &ts, NULL);

	if (n < 0 && errno == ENOSYS)
		n = epoll_wait(l->epfd, ev, ARRAY_SIZE(ev), ns < 0 ? -1 : (int)((ns + 999999) / 1000000));
	lock_take(&l->lock);
	l->asleep = false;
	lock_drop(&l->lock);
	for (int i = 0; i < n; i++)
		loop_dispatch(l, &ev[i]);
	loop_run_timers(l);
	loop_run_posts(l);
	loop_reap(l);
}

void loop_run(struct loop *l)
{
	bool stop;

	prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* guest timers want microseconds */
	do {
		loop_once(l, -1);
		lock_take(&l->lock);
		stop = l->stopping;
		lock_drop(&l->lock);
	} while (!stop);
	lock_take(&l->lock);
	l->stopping = false;
	lock_drop(&l->lock);
}
