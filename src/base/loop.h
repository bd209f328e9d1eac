/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Event loop: one per machine, run by its main thread.  Watches file descriptors (epoll), fires
 * timers, and runs work that other threads post.  Callbacks run on the loop's thread with no lock
 * held, unless the watcher or timer was given a lock, which is then taken around the callback.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/lock.h"

struct loop;
struct loop_fd;

struct loop *loop_create(void);
/* loop_destroy - all watchers must be gone (our own bug otherwise); pending posts are dropped. */
void loop_destroy(struct loop *l);
/* loop_run - dispatch until loop_stop.  loop_stop may come from any thread or a callback. */
void loop_run(struct loop *l);
/* loop_once - dispatch what is ready, waiting at most timeout_ms (-1 for ever).  For tests. */
void loop_once(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l);

/* loop_post - run fn(opaque) on the loop's thread soon.  Any thread. */
void loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque);

/* Watch a descriptor; events are EPOLLIN/EPOLLOUT/...  The caller keeps owning fd.
 * NULL: the descriptor cannot be watched (a regular file, which is always ready).
 * Both calls: loop thread, or before the loop runs, or with `lock` held. */
struct loop_fd *loop_fd_add(struct loop *l, int fd, uint32_t events, struct lock *lock,
			    void (*fn)(void *opaque, uint32_t events), void *opaque);
/* loop_fd_set - watch for other events from now on (0: only errors and hang-ups).  As loop_fd_add. */
void loop_fd_set(struct loop_fd *w, uint32_t events);
void loop_fd_remove(struct loop_fd *w);

/* host_now - CLOCK_MONOTONIC in ns. */
int64_t host_now(void);

/*
 * Guest clock: nanoseconds of guest time, which stands still while the VM is stopped.
 * With a running VM it follows CLOCK_MONOTONIC.  Any thread.
 */
struct vclock;
struct vclock *vclock_create(void); /* starts stopped at 0 */
void vclock_destroy(struct vclock *c);
void vclock_start(struct vclock *c);
void vclock_stop(struct vclock *c);
int64_t vclock_now(const struct vclock *c);
/* vclock_running - is guest time passing (a manual clock: may it be moved)? */
bool vclock_running(const struct vclock *c);
/*
 * A manual clock, for runs that come out the same each time: it moves by vclock_advance alone, be
 * it started or stopped; the TSC counts its nanoseconds, and the time of day begins at a fixed one.
 * A timer on it is due as on any other; whoever moves it dispatches the loop (loop_once, 0 ms).
 */
struct vclock *vclock_create_manual(void);
void vclock_advance(struct vclock *c, int64_t ns);
bool vclock_manual(const struct vclock *c);
/* vclock_time_of_day - ns since 1970, UTC, for the guest's calendar: the host's unless manual. */
int64_t vclock_time_of_day(const struct vclock *c);
/* vclock_tsc - guest TSC at TSC offset 0: host TSC less the time stopped.  vclock_tsc_khz: its rate. */
uint64_t vclock_tsc(const struct vclock *c);
/* vclock_tsc_offset - what it is ahead of the host's TSC, while guest time runs. */
uint64_t vclock_tsc_offset(const struct vclock *c);
uint32_t vclock_tsc_khz(const struct vclock *c);

/*
 * Timers on guest time.  fn runs on the loop thread with `lock` held (may be NULL).
 * timer_arm and timer_cancel: any thread (with `lock` held, if the timer has one, so that an
 * expired callback cannot be in flight against the caller).
 */
struct timer;
struct timer *timer_new(struct loop *l, struct vclock *c, struct lock *lock,
			void (*fn)(void *opaque), void *opaque);
void timer_arm(struct timer *t, int64_t deadline_ns); /* absolute, in vclock_now's time */
void timer_cancel(struct timer *t);
bool timer_armed(const struct timer *t);
/* timer_next - the earliest deadline of all timers armed on clock c; false when there is none. */
bool timer_next(struct loop *l, const struct vclock *c, int64_t *deadline_ns);
/* timer_destroy - loop thread, or after the loop has ended, or with its lock held. NULL is fine. */
void timer_destroy(struct timer *t);
