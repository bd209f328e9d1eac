/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Ranked mutexes.  A thread may only take a lock of a rank higher than every lock that it holds;
 * lock_take checks this (our own bug otherwise).  Ranks are listed here and nowhere else.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
	LOCK_RANK_VM = 10, /* vm life cycle: vm->lock (pause, resume, reset requests) */
	LOCK_RANK_MACHINE = 20, /* all device state of one machine */
	LOCK_RANK_APIC = 30, /* local APICs of one machine */
	LOCK_RANK_MEM = 40, /* memory map changes */
	LOCK_RANK_CODE = 50, /* marks of pages that hold decoded or translated code */
	LOCK_RANK_VCPU = 60, /* a vCPU's sleep/wake state */
	LOCK_RANK_EXCL = 65, /* x86/excl.c: who runs guest code */
	LOCK_RANK_LOOP = 70, /* event loop's timer list and posted work */
	LOCK_RANK_BLOCK = 72, /* queues of one drive */
	LOCK_RANK_FS_QUEUE = 73, /* back/fs: requests of a shared folder's session */
	LOCK_RANK_BLOCK_IMAGE = 74, /* tables of one image */
	LOCK_RANK_FS_FID = 74, /* one open file of a guest */
	LOCK_RANK_FS = 75, /* a session's table of files */
	LOCK_RANK_BLOCK_FILE = 76, /* what an image is in */
	LOCK_RANK_FS_DEVS = 76, /* a shared folder's devices */
	LOCK_RANK_EVENT = 78, /* machine/events.c: events on their way to the loop thread */
	LOCK_RANK_CHARDEV = 80, /* output queues */
	LOCK_RANK_SYMBOLS = 85, /* engine/dbt/symbols.c: what the process tells perf and gdb */
	LOCK_RANK_LOG = 90,
};

struct lock {
	pthread_mutex_t mutex;
	enum lock_rank rank;
	const char *name;
};

void lock_init(struct lock *l, enum lock_rank rank, const char *name);
void lock_fini(struct lock *l);
void lock_take(struct lock *l);
/* lock_try - take it if nobody has it. */
bool lock_try(struct lock *l);
void lock_drop(struct lock *l);
/* lock_held - does the calling thread hold l?  For assertions. */
bool lock_held(const struct lock *l);
/* lock_none_held - does the calling thread hold no lock at all? */
bool lock_none_held(void);
/* lock_wait - pthread_cond_wait on a held lock (rank bookkeeping kept). */
void lock_wait(struct lock *l, pthread_cond_t *cond);
/* lock_wait_until - the same, but not past a time of CLOCK_MONOTONIC in ns. */
void lock_wait_until(struct lock *l, pthread_cond_t *cond, int64_t deadline_ns);
/* cond_init - a condition variable on CLOCK_MONOTONIC. */
void cond_init(pthread_cond_t *cond);
