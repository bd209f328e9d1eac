/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The submission queue is filled with the drive's lock held.  Completions are taken by one thread,
 * which waits in the kernel, then takes the drive's lock.  What the kernel did a part of, or will
 * not do this way, is done again by the drive's threads, from the beginning: it comes to the same.
 */
#include "back/block/ring.h"
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include "back/block/drive_int.h"

#define RING_ENTRIES 128

struct ring {
	struct io_uring u;
	struct block *b;
	pthread_t reaper;
	unsigned in_flight;
	bool stop;
};

void ring_reap(struct ring *g)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&g->u, &cqe)) {
		struct block_req *r = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&g->u, cqe);
		if (!r)
			continue;
		g->in_flight--;
		if (res >= 0 && (uint64_t)res == r->len)
			drive_ended(g->b, r, 0);
		else if (res >= 0 || res == -EAGAIN || res == -EINTR || res == -EINVAL ||
			 res == -EOPNOTSUPP)
			drive_again(g->b, r);
		else
			drive_ended(g->b, r, res);
	}
}

static void *reaper(void *arg)
{
	struct ring *g = arg;
	bool stop = false;

	while (!stop) {
		struct pollfd p = {.fd = g->u.ring_fd, .events = POLLIN};

		poll(&p, 1, -1);
		lock_take(&g->b->lock);
		ring_reap(g);
		drive_deliver_or_pass(g->b);
		stop = g->stop;
		lock_drop(&g->b->lock);
	}
	return NULL;
}

struct ring *ring_create(struct block *b)
{
	struct ring *g = xzalloc(sizeof(*g));
	sigset_t all, old;
	int r;

	g->b = b;
	if (io_uring_queue_init(RING_ENTRIES, &g->u, 0)) {
		free(g);
		return NULL;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&g->reaper, NULL, reaper, g);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!r)
		return g;
	io_uring_queue_exit(&g->u);
	free(g);
	return NULL;
}

void ring_destroy(struct ring *g)
{
	struct io_uring_sqe *sqe;

	if (!g)
		return;
	lock_take(&g->b->lock);
	g->stop = true;
	sqe = io_uring_get_sqe(&g->u);
	bug_on(!sqe);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	io_uring_submit(&g->u);
	lock_drop(&g->b->lock);
	pthread_join(g->reaper, NULL);
	io_uring_queue_exit(&g->u);
	free(g);
}

bool ring_submit(struct ring *g, struct block_req *r, int fd, uint64_t off)
{
	struct io_uring_sqe *sqe;

	if (g->in_flight >= RING_ENTRIES - 1 || r->n_iov > IOV_MAX)
		return false;
	sqe = io_uring_get_sqe(&g->u);
	if (!sqe)
		return false;
	if (r->op == BLOCK_READ)
		io_uring_prep_readv(sqe, fd, r->iov, r->n_iov, off);
	else
		io_uring_prep_writev(sqe, fd, r->iov, r->n_iov, off);
	io_uring_sqe_set_data(sqe, r);
	g->in_flight++;
	/* What the kernel has not taken now it takes with the next; there is always one that waits.
	 */
	while (io_uring_submit(&g->u) == -EINTR)
		;
	return true;
}
