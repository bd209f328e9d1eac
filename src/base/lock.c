/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rank checking: each thread keeps the list of locks that it holds, in the order it took them.  Ranks rise
 * along the list, so a cycle of waiting threads cannot form.
 */
#include "base/lock.h"
#include <errno.h>
#include <time.h>
#include "base/base.h"
#include "base/fpu.h"

#define LOCK_DEPTH 8

static __thread struct {
	const struct lock *held[LOCK_DEPTH];
	unsigned n;
} lock_stack;

static void lock_note(const struct lock *l)
{
	unsigned n = lock_stack.n;

	bug_on(n == LOCK_DEPTH);
	bug_on(n && lock_stack.held[n - 1]->rank >= l->rank);
	lock_stack.held[n] = l;
	lock_stack.n = n + 1;
}

static void lock_forget(const struct lock *l)
{
	unsigned i = lock_stack.n;

	while (i && lock_stack.held[i - 1] != l)
		i--;
	bug_on(!i);
	for (; i < lock_stack.n; i++)
		lock_stack.held[i - 1] = lock_stack.held[i];
	lock_stack.n--;
}

void lock_init(struct lock *l, enum lock_rank rank, const char *name)
{
	bug_on(pthread_mutex_init(&l->mutex, NULL));
	l->rank = rank;
	l->name = name;
}

void lock_fini(struct lock *l)
{
	bug_on(pthread_mutex_destroy(&l->mutex));
}

void lock_take(struct lock *l)
{
	lock_note(l);
	bug_on(pthread_mutex_lock(&l->mutex));
}

bool lock_try(struct lock *l)
{
	if (pthread_mutex_trylock(&l->mutex))
		return false;
	lock_note(l);
	return true;
}

void lock_drop(struct lock *l)
{
	lock_forget(l);
	bug_on(pthread_mutex_unlock(&l->mutex));
}

bool lock_held(const struct lock *l)
{
	for (unsigned i = 0; i < lock_stack.n; i++)
		if (lock_stack.held[i] == l)
			return true;
	return false;
}

bool lock_none_held(void)
{
	return lock_stack.n == 0;
}

void lock_wait(struct lock *l, pthread_cond_t *cond)
{
	bug_on(!lock_held(l));
	fpu_claim();
	bug_on(pthread_cond_wait(cond, &l->mutex));
}

void lock_wait_until(struct lock *l, pthread_cond_t *cond, int64_t deadline_ns)
{
	struct timespec ts = {deadline_ns / 1000000000, deadline_ns % 1000000000};
	int r;

	bug_on(!lock_held(l));
	fpu_claim();
	r = pthread_cond_timedwait(cond, &l->mutex, &ts);
	bug_on(r && r != ETIMEDOUT);
}

void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	bug_on(pthread_condattr_init(&attr));
	bug_on(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	bug_on(pthread_cond_init(cond, &attr));
	pthread_condattr_destroy(&attr);
}
