/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on worker threads: order, flushing, draining, giving up. */
#include "p9_client.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "base/lock.h"

#define MAX 64

struct rig {
	struct client *c;
	struct lock front;
	struct p9_queue *q;
	struct job {
		struct p9_req r;
		struct rig *rig;
		struct iovec out, in;
		uint8_t tx[256], rx[8192];
		int rc;
		uint32_t len;
		bool busy;
		unsigned order;
	} jobs[MAX];
	unsigned n_done;
	unsigned again; /* submit so many more from done */
};

static void on_done(struct p9_req *r, int rc, uint32_t len)
{
	struct job *j = container_of(r, struct job, r);

	assert_true(lock_held(&j->rig->front));
	assert_true(j->busy);
	j->busy = false;
	j->rc = rc;
	j->len = len;
	j->order = ++j->rig->n_done;
	if (j->rig->again) {
		j->rig->again--;
		j->busy = true;
		p9_queue_submit(j->rig->q, r);
	}
}

static struct rig *rig_open(unsigned workers)
{
	struct rig *g = xzalloc(sizeof(*g));

	g->c = client_open("security_model=none");
	lock_init(&g->front, LOCK_RANK_MACHINE, "front");
	lock_take(&g->front);
	g->q = p9_queue_create(g->c->f, &g->front, workers);
	return g;
}

static void rig_close(struct rig *g)
{
	p9_queue_destroy(g->q);
	lock_drop(&g->front);
	lock_fini(&g->front);
	client_close(g->c);
	free(g);
}

/* put - a message with a tag goes into the queue; front's lock held. */
static void put(struct rig *g, unsigned i, uint16_t tag, uint8_t type, const char *fmt, ...)
{
	struct job *j = &g->jobs[i];
	va_list ap;

	va_start(ap, fmt);
	msg_v(g->c, type, fmt, ap);
	va_end(ap);
	memcpy(j->tx, g->c->tx, g->c->tx_len);
	put_le16(j->tx + 5, tag);
	j->rig = g;
	j->out = (struct iovec){ j->tx, g->c->tx_len };
	j->in = (struct iovec){ j->rx, sizeof(j->rx) };
	j->r = (struct p9_req){ .io = { &j->out, 1, &j->in, 1 }, .done = on_done };
	j->busy = true;
	p9_queue_submit(g->q, &j->r);
}

static int result(struct rig *g, unsigned i)
{
	struct job *j = &g->jobs[i];

	assert_false(j->busy);
	ok(j->rc);
	assert_true(j->len >= P9_HDR);
	return j->rx[4] == P9_RLERROR ? -(int)get_le32(j->rx + P9_HDR) : 0;
}

static void start(struct rig *g)
{
	put(g, 0, NOTAG, P9_TVERSION, "ds", 8192, "9P2000.L");
	put(g, 1, 1, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", getuid());
	p9_queue_drain(g->q);
	ok(result(g, 0));
	ok(result(g, 1));
}

/* It is a barrier: what comes before it sees the old session, what comes after the new one. */
static void version_is_alone(void **state)
{
	struct rig *g = rig_open(4);

	start(g);
	for (unsigned round = 0; round < 50; round++) {
		g->n_done = 0;
		for (unsigned i = 2; i < 20; i++)
			put(g, i, (uint16_t)i, P9_TWALK, "ddw", 0, i, 0);
		put(g, 20, NOTAG, P9_TVERSION, "ds", 8192, "9P2000.L");
		for (unsigned i = 21; i < 30; i++)
			put(g, i, (uint16_t)i, P9_TWALK, "ddw", 0, i, 0);
		put(g, 30, NOTAG, P9_TVERSION, "ds", 8192, "9P2000.L");
		put(g, 31, 1, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", getuid());
		p9_queue_drain(g->q);
		for (unsigned i = 2; i < 20; i++) {
			ok(result(g, i));
			assert_true(g->jobs[i].order < g->jobs[20].order);
		}
		for (unsigned i = 21; i < 30; i++) {
			fails(result(g, i), EBADF);
			assert_true(g->jobs[i].order > g->jobs[20].order);
		}
		ok(result(g, 31));
		assert_true(p9_queue_in_use(g->q));
	}
	rig_close(g);
}

/* The reply to a flush comes after that to what is flushed. */
static void flush_waits(void **state)
{
	struct rig *g = rig_open(4);

	start(g);
	for (unsigned round = 0; round < 100; round++) {
		g->n_done = 0;
		for (unsigned i = 2; i < 40; i++)
			put(g, i, (uint16_t)i, P9_TGETATTR, "dq", 0, UINT64_C(0));
		put(g, 40, 100, P9_TFLUSH, "w", 39);
		put(g, 41, 101, P9_TFLUSH, "w", 100); /* of a flush */
		put(g, 42, 102, P9_TFLUSH, "w", 102); /* of itself */
		put(g, 43, 103, P9_TFLUSH, "w", 777); /* of nothing */
		/* The tag again, later: the flush is none of its business. */
		put(g, 44, 39, P9_TGETATTR, "dq", 0, UINT64_C(0));
		p9_queue_drain(g->q);
		for (unsigned i = 2; i < 45; i++)
			ok(result(g, i));
		assert_true(g->jobs[40].order > g->jobs[39].order);
		assert_true(g->jobs[41].order > g->jobs[40].order);
	}
	rig_close(g);
}

static void reset_gives_up(void **state)
{
	struct rig *g = rig_open(1);
	unsigned given_up = 0;

	for (unsigned round = 0; round < 50; round++) {
		start(g);
		for (unsigned i = 2; i < MAX; i++)
			put(g, i, (uint16_t)i, P9_TWALK, "ddw", 0, i, 0);
		p9_queue_reset(g->q);
		for (unsigned i = 2; i < MAX; i++) {
			assert_false(g->jobs[i].busy);
			assert_true(g->jobs[i].rc == 0 || g->jobs[i].rc == -ECANCELED);
			given_up += g->jobs[i].rc != 0;
		}
		assert_false(p9_queue_in_use(g->q));
		assert_int_equal(g->c->f->fds, 1); /* of the client that is not in the queue */
	}
	assert_true(given_up > 0);
	/* What is no message comes back as such. */
	put(g, 2, 0, P9_TCLUNK, "");
	g->jobs[2].tx[0] = 200;
	p9_queue_drain(g->q);
	assert_true(g->jobs[2].rc == -EBADMSG || result(g, 2) == -EPROTO);
	rig_close(g);
}

/* With nobody draining, workers deliver; what is submitted from done is done as well. */
static void workers_deliver(void **state)
{
	struct rig *g = rig_open(3);
	struct timespec ms = { .tv_nsec = 1000000 };

	start(g);
	g->n_done = 0;
	g->again = 500;
	for (unsigned i = 2; i < 12; i++)
		put(g, i, (uint16_t)i, P9_TGETATTR, "dq", 0, UINT64_C(0));
	for (unsigned i = 0; i < 5000 && g->n_done < 510; i++) {
		lock_drop(&g->front);
		nanosleep(&ms, NULL);
		lock_take(&g->front);
	}
	assert_int_equal(g->n_done, 510);
	for (unsigned i = 2; i < 12; i++)
		ok(result(g, i));
	/* Ends with requests inside. */
	for (unsigned i = 2; i < MAX; i++)
		put(g, i, (uint16_t)i, P9_TGETATTR, "dq", 0, UINT64_C(0));
	rig_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_is_alone),
		cmocka_unit_test(flush_waits),
		cmocka_unit_test(reset_gives_up),
		cmocka_unit_test(workers_deliver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
