/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives: how requests get to threads and back.
 *
 * A request goes to the drive's queue; a thread takes it, does it with the drivers' straight-line
 * code, and puts it on the list `done`.  Up to DRIVE_THREADS threads come into being as requests
 * wait with nobody idle; they stay.
 *
 * A completion needs the lock of the front, that is the machine's, which vCPUs hold at times.  So
 * that threads don't queue for it, one of them delivers: it takes the front's lock and completes
 * all that is on `done`, one by one, while the others go on with I/O and add to the list.  The
 * front's lock ranks below the drive's: nobody waits for it with the drive's lock held.
 *
 * Whoever has the front's lock can deliver as well: block_poll and block_drain do.  A drain waits,
 * on the drive's lock, for queue and threads to run empty, and completes the list itself; the
 * thread that is waiting for the front's lock meanwhile finds nothing left.  Requests are taken off
 * the list one at a time, so a drain from inside a completion sees the rest.
 *
 * A request that failed and must wait for the guest to be stopped and resumed (werror=stop) goes to
 * `held`.
 */
#include "back/block/drive_int.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/loop.h"

#define WORKER_STACK (256 * KiB)
#define AT_ONCE_MAX (128 * KiB)

void queue_push(struct req_queue *q, struct block_req *r)
{
	r->next = NULL;
	if (!q->first)
		q->end = &q->first;
	*q->end = r;
	q->end = &r->next;
}

struct block_req *queue_pop(struct req_queue *q)
{
	struct block_req *r = q->first;

	if (r)
		q->first = r->next;
	return r;
}

/* What a worker does. */

static int check_req(const struct block *b, const struct block_req *r)
{
	struct bvec v = {r->iov, r->n_iov, 0};

	if (!b->root)
		return -ENOMEDIUM;
	if (r->op == BLOCK_FLUSH)
		return 0;
	if (r->op != BLOCK_READ && b->read_only)
		return -EROFS;
	if (((r->off | r->len) & (BLOCK_SECTOR - 1)) ||
	    !range_fits(r->off, r->len, align_up(b->root->size, BLOCK_SECTOR)))
		return -EINVAL;
	if ((r->op == BLOCK_READ || r->op == BLOCK_WRITE) && bvec_len(v, r->len) != r->len)
		return -EINVAL;
	return 0;
}

int drive_do(struct block *b, struct block_req *r)
{
	struct bvec v = {r->iov, r->n_iov, 0};
	struct block_node *n = b->root;
	int rc = check_req(b, r);

	if (rc)
		return rc;
	switch (r->op) {
	case BLOCK_READ:
		return node_read(n, r->off, r->len, v);
	case BLOCK_FLUSH:
		return node_flush(n);
	case BLOCK_DISCARD:
		return node_discard(n, r->off, r->len);
	case BLOCK_WRITE:
		if (n->detect_zeroes && bvec_is_zero(v, r->len))
			rc = node_zero(n, r->off, r->len, n->detect_unmap);
		else
			rc = node_write(n, r->off, r->len, v);
		break;
	default:
		rc = node_zero(n, r->off, r->len, r->may_unmap);
		break;
	}
	if (!rc && (r->fua || !b->policy.writeback))
		rc = node_flush(n);
	return rc;
}

/* Completion.  Front's lock held. */

static void count_done(struct block *b, const struct block_req *r, int rc)
{
	struct block_stats *s = &b->stats;

	s->in_flight--;
	s->op[r->op].time_ns += (uint64_t)(host_now() - r->started);
	if (rc == -EINVAL) {
		s->op[r->op].invalid++;
	} else if (rc) {
		s->op[r->op].failed++;
	} else {
		s->op[r->op].ops++;
		s->op[r->op].bytes += r->len;
		if (r->op == BLOCK_WRITE)
			s->wr_highest = max_u64(s->wr_highest, r->off + r->len);
	}
}

/* Complete the first of the list; false when there is none.  Called and returns with both locks
 * held. */
static bool complete_one(struct block *b)
{
	struct block_req *r = queue_pop(&b->done);
	int rc;

	if (!r)
		return false;
	rc = r->rc;
	count_done(b, r, rc);
	lock_drop(&b->lock);
	if (unlikely(rc && rc != -EINVAL)) {
		enum block_action a = drive_error(b, r);

		if (a == BLOCK_STOP) {
			lock_take(&b->lock);
			b->stats.held++;
			queue_push(&b->held, r);
			return true;
		}
		rc = a == BLOCK_IGNORE ? 0 : rc;
	}
	r->done(r, rc);
	lock_take(&b->lock);
	return true;
}

/* By a thread that holds the drive's lock only.  True: it was dropped for a while. */
static bool deliver(struct block *b)
{
	if (!b->done.first || b->delivering || b->draining)
		return false;
	b->delivering = true;
	while (b->done.first) {
		struct lock *front = b->front.lock;

		lock_drop(&b->lock);
		lock_take(front);
		lock_take(&b->lock);
		while (b->front.lock == front && complete_one(b))
			;
		lock_drop(&b->lock);
		lock_drop(front);
		lock_take(&b->lock);
	}
	b->delivering = false;
	return true;
}

/* The next request that may start.  When limits say not yet: NULL, and *wait in ns. */
static struct block_req *next_req(struct block *b, int64_t *wait)
{
	int64_t now;

	*wait = 0;
	if (likely(!b->throttle.on) || b->draining)
		return queue_pop(&b->todo[0]) ?: queue_pop(&b->todo[1]);
	now = host_now();
	for (int w = 0; w < 2; w++) {
		struct block_req *r = b->todo[w].first;
		int64_t t;

		if (!r)
			continue;
		t = r->op == BLOCK_FLUSH ? 0 : throttle_wait(&b->throttle, w, now);
		if (t <= 0) {
			if (r->op != BLOCK_FLUSH)
				throttle_account(&b->throttle, w, r->len);
			return queue_pop(&b->todo[w]);
		}
		*wait = *wait && *wait < t ? *wait : t;
	}
	return NULL;
}

/* Before a worker waits it has seen, without letting go of the lock, that there is nothing to do: who
 * asks for something meanwhile has no other way to wake it. */
static void *worker(void *arg)
{
	struct block *b = arg;

	lock_take(&b->lock);
	while (!b->stop) {
		int64_t wait;
		struct block_req *r = next_req(b, &wait);
		bool again = r;

		if (r) {
			b->n_todo--;
			b->running++;
			lock_drop(&b->lock);
			r->rc = drive_do(b, r);
			lock_take(&b->lock);
			b->running--;
			queue_push(&b->done, r);
		}
		again |= deliver(b);
		if (b->draining)
			pthread_cond_broadcast(&b->idle);
		if (again)
			continue;
		b->n_waiting++;
		if (wait)
			lock_wait_until(&b->lock, &b->work, host_now() + wait);
		else
			lock_wait(&b->lock, &b->work);
		b->n_waiting--;
	}
	lock_drop(&b->lock);
	return NULL;
}

/* A thread for the work that is there.  False when the host gives none and there is none at all. */
static bool worker_start(struct block *b)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	if (b->n_threads == DRIVE_THREADS)
		return true;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&b->threads[b->n_threads], &attr, worker, b);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!r)
		b->n_threads++;
	return b->n_threads != 0;
}

/* A request to the threads: to one that waits and has not been woken for another yet, or to a new
 * one. */
static void enqueue(struct block *b, struct block_req *r)
{
	queue_push(&b->todo[b->throttle.on && r->op != BLOCK_READ], r);
	b->stats.in_flight++;
	b->n_todo++;
	if (b->n_todo <= b->n_waiting)
		pthread_cond_signal(&b->work);
	else if (!worker_start(b))
		bug_die(__FILE__, __LINE__, "the host gives no thread for a disk");
}

void drive_ended(struct block *b, struct block_req *r, int rc)
{
	r->rc = rc;
	b->running--;
	queue_push(&b->done, r);
}

void drive_again(struct block *b, struct block_req *r)
{
	b->running--;
	b->stats.in_flight--;
	enqueue(b, r);
}

/* For the one thread that reaps, and must not wait for the front's lock: who has it may wait for
 * what is yet to be reaped.  A worker waits instead. */
void drive_deliver_or_pass(struct block *b)
{
	while (b->done.first && !b->delivering && !b->draining) {
		struct lock *front = b->front.lock;
		bool got;

		b->delivering = true;
		lock_drop(&b->lock);
		got = lock_try(front);
		lock_take(&b->lock);
		while (got && b->front.lock == front && complete_one(b))
			;
		b->delivering = false;
		if (!got) {
			if (b->n_waiting)
				pthread_cond_signal(&b->work);
			else
				worker_start(b);
			break;
		}
		lock_drop(&b->lock);
		lock_drop(front);
		lock_take(&b->lock);
	}
	if (b->draining)
		pthread_cond_broadcast(&b->idle);
}

/* To the kernel, if that is all there is to the request. */
static bool ring_takes(struct block *b, struct block_req *r)
{
	struct bvec v = {r->iov, r->n_iov, 0};
	const struct block_node *n = b->root;
	bool write = r->op == BLOCK_WRITE;

	if (b->fast_fd < 0 || (r->op != BLOCK_READ && !write) || b->throttle.on || !r->len ||
	    r->len > INT32_MAX || check_req(b, r))
		return false;
	if (write && (r->fua || !b->policy.writeback || n->detect_zeroes))
		return false;
	if (n->align > 1 && !bvec_aligned(v, r->len, n->align))
		return false;
	if (!ring_submit(b->ring, r, b->fast_fd, r->off + b->fast_shift))
		return false;
	b->running++;
	b->stats.in_flight++;
	return true;
}

/* A read of what the host has in memory, here and now: copying it takes less than waking a thread.
 */
static bool read_at_once(struct block *b, struct block_req *r)
{
	struct bvec v = {r->iov, r->n_iov, 0};

	if (r->op != BLOCK_READ || !b->front.polls || r->len > AT_ONCE_MAX || b->throttle.on)
		return false;
	if (!r->len || check_req(b, r) || node_read_now(b->root, r->off, r->len, v))
		return false;
	lock_take(&b->lock);
	b->stats.in_flight++;
	queue_push(&b->done, r);
	lock_drop(&b->lock);
	return true;
}

void block_submit(struct block *b, struct block_req *r)
{
	bug_on(!b->front.lock || !lock_held(b->front.lock));
	r->b = b;
	r->rc = 0;
	r->started = host_now();
	if (read_at_once(b, r))
		return;
	lock_take(&b->lock);
	if (!ring_takes(b, r))
		enqueue(b, r);
	lock_drop(&b->lock);
}

void block_poll(struct block *b)
{
	bug_on(!b->front.lock || !lock_held(b->front.lock));
	lock_take(&b->lock);
	if (b->ring)
		ring_reap(b->ring);
	while (complete_one(b))
		;
	lock_drop(&b->lock);
}

void block_drain(struct block *b)
{
	if (!b->front.lock)
		return;
	bug_on(!lock_held(b->front.lock));
	lock_take(&b->lock);
	b->draining++;
	pthread_cond_broadcast(&b->work);
	do {
		while (b->running || b->todo[0].first || b->todo[1].first)
			lock_wait(&b->lock, &b->idle);
	} while (complete_one(b));
	b->draining--;
	lock_drop(&b->lock);
}

void block_cancel_held(struct block *b)
{
	struct block_req *r;

	block_drain(b);
	lock_take(&b->lock);
	while ((r = queue_pop(&b->held))) {
		b->stats.held--;
		lock_drop(&b->lock);
		r->done(r, r->rc);
		lock_take(&b->lock);
	}
	lock_drop(&b->lock);
}

static void resume_held(struct block *b)
{
	struct block_req *r;

	lock_take(&b->lock);
	while ((r = queue_pop(&b->held))) {
		b->stats.held--;
		enqueue(b, r);
	}
	lock_drop(&b->lock);
}

void blocks_resume(struct blocks *bs)
{
	for (struct block *b = bs->drives; b; b = b->next)
		resume_held(b);
}

void blocks_drain(struct blocks *bs)
{
	for (struct block *b = bs->drives; b; b = b->next)
		block_drain(b);
}

int blocks_flush(struct blocks *bs)
{
	int first = 0;

	for (struct block *b = bs->drives; b; b = b->next) {
		int r = block_flush(b);

		first = first ? first : r;
	}
	return first;
}

/* Fronts. */

int block_attach(struct block *b, const struct block_front *f, bool write, struct err **e)
{
	if (b->front.lock)
		return err_set(e, EBUSY, "drive '%s' is used by another device already",
			       *b->id ? b->id : b->root->name);
	if (write && b->read_only)
		return err_set(e, EROFS, "drive '%s' is read-only, and the device writes",
			       *b->id ? b->id : b->root->name);
	lock_take(&b->lock);
	b->front = *f;
	lock_drop(&b->lock);
	return 0;
}

void block_detach(struct block *b)
{
	block_cancel_held(b);
	lock_take(&b->lock);
	b->front = (struct block_front){0};
	lock_drop(&b->lock);
}

/* Drives. */

struct block *drive_new(struct blocks *bs, const char *id)
{
	struct block *b = xzalloc(sizeof(*b)), **at = &bs->drives;

	b->bs = bs;
	b->id = xstrdup(id);
	b->policy.werror = ERRORS_ENOSPC;
	b->policy.writeback = true;
	b->fast_fd = -1;
	b->place = (struct block_place){.bus = -1, .unit = -1, .index = -1};
	lock_init(&b->lock, LOCK_RANK_BLOCK, "drive");
	cond_init(&b->work);
	cond_init(&b->idle);
	while (*at)
		at = &(*at)->next;
	*at = b;
	return b;
}

void drive_set_root(struct block *b, struct block_node *root)
{
	struct block_node *old = b->root;

	lock_take(&b->lock);
	b->root = root;
	b->fast_fd = root ? node_fast_fd(root, &b->fast_shift) : -1;
	if (b->fast_fd >= 0 && !b->ring_tried) {
		b->ring_tried = true;
		b->ring = ring_create(b);
	}
	if (!b->ring)
		b->fast_fd = -1;
	lock_drop(&b->lock);
	if (root)
		root->drive = b;
	if (!old)
		return;
	old->drive = NULL;
	old->claimed = false;
	node_put(old);
}

void drive_free(struct block *b)
{
	struct block **at = &b->bs->drives;

	bug_on(b->front.lock);
	lock_take(&b->lock);
	b->stop = true;
	pthread_cond_broadcast(&b->work);
	lock_drop(&b->lock);
	for (unsigned i = 0; i < b->n_threads; i++)
		pthread_join(b->threads[i], NULL);
	drive_set_root(b, NULL);
	ring_destroy(b->ring);
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	pthread_cond_destroy(&b->work);
	pthread_cond_destroy(&b->idle);
	lock_fini(&b->lock);
	free(b->id);
	free(b);
}
