/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of one session, answered by worker threads, so that neither a vCPU nor the event loop
 * waits for the host's disks.
 *
 * A request goes waiting -> running -> done -> delivered.  A worker runs it with no lock held, puts
 * it on the list of what is done, takes the front's lock, and delivers everything on that list: in
 * the order in which it got there, whoever delivers.  Draining, which is called with the front's
 * lock held, runs requests and delivers too, as every worker may be waiting for that lock, to find
 * nothing left.
 *
 * What 9P says about order (intro(5), flush(5), version(5)): a client waits for a reply where order
 * matters to it, so requests may run at once, but
 * - a Tflush runs when everything older with the flushed tag is done; its reply follows that one's.
 *   (Nothing is interrupted: what has begun on a file is let come to its end.)
 * - a Tversion runs alone, after everything older and before everything newer.
 *
 * Only the header is read here, once; what the client does to it afterwards changes nothing but the
 * order of its own requests.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

#define WORKERS_MAX 16

struct p9_list {
	struct p9_req *first, **last;
};

struct p9_queue {
	struct p9_server *s;
	struct lock *front;
	struct lock lock;
	pthread_cond_t work; /* there may be something to run */
	pthread_cond_t idle; /* something is done */
	struct p9_list waiting, done;
	struct p9_req *running[WORKERS_MAX + 1]; /* by workers, and (last) by who drains */
	unsigned n_running;
	unsigned n_inside; /* submitted and not delivered */
	uint64_t seq;
	bool stop;
	unsigned n_workers;
	struct p9_worker {
		struct p9_queue *q;
		pthread_t thread;
	} workers[WORKERS_MAX];
};

static void list_init(struct p9_list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static void list_append(struct p9_list *l, struct p9_req *r)
{
	r->next = NULL;
	*l->last = r;
	l->last = &r->next;
}

static struct p9_req *list_remove(struct p9_list *l, struct p9_req **at)
{
	struct p9_req *r = *at;

	*at = r->next;
	if (!r->next)
		l->last = at;
	return r;
}

static bool flush_ready(const struct p9_queue *q, const struct p9_req *flush)
{
	const struct p9_req *r;

	for (unsigned i = 0; i <= WORKERS_MAX; i++) {
		r = q->running[i];
		if (r && r->tag == flush->old_tag && r->seq < flush->seq)
			return false;
	}
	for (r = q->waiting.first; r != flush; r = r->next)
		if (r->tag == flush->old_tag)
			return false;
	return true;
}

/* next_req - take the first request that may run now. */
static struct p9_req *next_req(struct p9_queue *q)
{
	struct p9_req **at;

	for (unsigned i = 0; i <= WORKERS_MAX; i++)
		if (q->running[i] && q->running[i]->type == P9_TVERSION)
			return NULL;
	for (at = &q->waiting.first; *at; at = &(*at)->next) {
		if ((*at)->type == P9_TVERSION) {
			if (q->n_running || at != &q->waiting.first)
				return NULL;
			break;
		}
		if ((*at)->type != P9_TFLUSH || flush_ready(q, *at))
			break;
	}
	return *at ? list_remove(&q->waiting, at) : NULL;
}

/* deliver - call back what is done; front's lock held. */
static void deliver(struct p9_queue *q)
{
	struct p9_req *r;

	lock_take(&q->lock);
	while (q->done.first) {
		r = list_remove(&q->done, &q->done.first);
		q->n_inside--;
		lock_drop(&q->lock);
		r->done(r, r->rc, r->reply_len);
		lock_take(&q->lock);
	}
	lock_drop(&q->lock);
}

/* run - take a request if there is one that may run now, and see it done.  q->lock held, but for
 * the time that it takes. */
static bool run(struct p9_queue *q, struct p9_req **slot)
{
	struct p9_req *r = next_req(q);

	if (!r)
		return false;
	*slot = r;
	q->n_running++;
	lock_drop(&q->lock);
	r->rc = p9_handle(q->s, &r->io, &r->reply_len);
	lock_take(&q->lock);
	*slot = NULL;
	q->n_running--;
	list_append(&q->done, r);
	if (q->waiting.first)
		pthread_cond_broadcast(&q->work);
	pthread_cond_broadcast(&q->idle);
	return true;
}

static void *worker(void *opaque)
{
	struct p9_worker *w = opaque;
	struct p9_queue *q = w->q;
	struct p9_req **slot = &q->running[w - q->workers];

	lock_take(&q->lock);
	while (!q->stop) {
		if (!run(q, slot)) {
			lock_wait(&q->lock, &q->work);
			continue;
		}
		lock_drop(&q->lock);
		lock_take(q->front);
		deliver(q);
		lock_drop(q->front);
		lock_take(&q->lock);
	}
	lock_drop(&q->lock);
	return NULL;
}

struct p9_queue *p9_queue_create(struct fsdev *f, struct lock *front, unsigned n_workers)
{
	struct p9_queue *q = xzalloc(sizeof(*q));
	sigset_t all, old;

	bug_on(!n_workers || n_workers > WORKERS_MAX);
	q->s = p9_server_create(f);
	q->front = front;
	q->n_workers = n_workers;
	lock_init(&q->lock, LOCK_RANK_FS_QUEUE, "9p queue");
	cond_init(&q->work);
	cond_init(&q->idle);
	list_init(&q->waiting);
	list_init(&q->done);
	/* Signals are for threads that expect them. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (unsigned i = 0; i < n_workers; i++) {
		q->workers[i].q = q;
		bug_on(pthread_create(&q->workers[i].thread, NULL, worker, &q->workers[i]));
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return q;
}

void p9_queue_submit(struct p9_queue *q, struct p9_req *r)
{
	uint8_t head[P9_HDR + 2] = {0};

	p9_iov_get(r->io.out, r->io.n_out, 0, head, sizeof(head));
	r->type = head[4];
	r->tag = get_le16(head + 5);
	r->old_tag = get_le16(head + 7);
	r->rc = -EBADMSG;
	r->reply_len = 0;
	lock_take(&q->lock);
	r->seq = q->seq++;
	list_append(&q->waiting, r);
	q->n_inside++;
	pthread_cond_signal(&q->work);
	lock_drop(&q->lock);
}

void p9_queue_drain(struct p9_queue *q)
{
	bool more = true;

	bug_on(!lock_held(q->front));
	while (more) {
		deliver(q);
		lock_take(&q->lock);
		while (q->n_inside && !q->done.first)
			if (!run(q, &q->running[WORKERS_MAX]))
				lock_wait(&q->lock, &q->idle);
		more = q->n_inside != 0;
		lock_drop(&q->lock);
	}
}

void p9_queue_cancel(struct p9_queue *q)
{
	lock_take(&q->lock);
	while (q->waiting.first) {
		struct p9_req *r = list_remove(&q->waiting, &q->waiting.first);

		r->rc = -ECANCELED;
		list_append(&q->done, r);
	}
	lock_drop(&q->lock);
	p9_queue_drain(q);
}

void p9_queue_reset(struct p9_queue *q)
{
	p9_queue_cancel(q);
	p9_reset(q->s);
}

bool p9_queue_in_use(struct p9_queue *q)
{
	return p9_in_use(q->s);
}

uint32_t p9_queue_save(struct p9_queue *q, uint8_t **data)
{
	p9_queue_drain(q);
	return p9_save(q->s, data);
}

void p9_queue_load(struct p9_queue *q, const struct p9_saved *v)
{
	p9_queue_drain(q);
	p9_load(q->s, v);
}

void p9_queue_destroy(struct p9_queue *q)
{
	p9_queue_reset(q);
	lock_take(&q->lock);
	q->stop = true;
	pthread_cond_broadcast(&q->work);
	lock_drop(&q->lock);
	/* One may be about to deliver what there is no more. */
	lock_drop(q->front);
	for (unsigned i = 0; i < q->n_workers; i++)
		pthread_join(q->workers[i].thread, NULL);
	lock_take(q->front);
	p9_server_destroy(q->s);
	pthread_cond_destroy(&q->work);
	pthread_cond_destroy(&q->idle);
	lock_fini(&q->lock);
	free(q);
}
