/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A network card without a bus: it keeps the frames that arrive and has room for as many as told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "back/char/chardev.h"
#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/loop.h"

#define CARD_FRAMES 4096

struct card_frame {
	struct net_hdr hdr;
	size_t len;
	uint8_t *data;
};

struct card {
	struct loop *loop;
	struct log *log;
	struct lock lock;
	struct netdev *nd;
	struct chardev *chardevs[4]; /* of the test, or opened for the back end */
	unsigned n_chardevs;
	unsigned room, n, flushes, sendables, links;
	bool up;
	struct card_frame frames[CARD_FRAMES];
};

static inline bool card_can_receive(void *opaque)
{
	struct card *c = opaque;

	assert_true(lock_held(&c->lock));
	return c->room > 0;
}

static inline bool card_receive(void *opaque, const struct net_hdr *hdr, const struct iovec *iov,
				unsigned n, size_t len)
{
	struct card *c = opaque;
	struct card_frame *f;
	size_t at = 0;

	assert_true(lock_held(&c->lock));
	assert_true(c->room > 0);
	if (c->n == CARD_FRAMES)
		return false;
	c->room--;
	f = &c->frames[c->n++];
	f->hdr = *hdr;
	f->len = len;
	f->data = malloc(len);
	for (unsigned i = 0; i < n; i++) {
		memcpy(f->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	assert_int_equal(at, len);
	return true;
}

static inline void card_flush(void *opaque)
{
	((struct card *)opaque)->flushes++;
}

static inline void card_sendable(void *opaque)
{
	((struct card *)opaque)->sendables++;
}

static inline void card_link(void *opaque, bool up)
{
	struct card *c = opaque;

	c->links++;
	c->up = up;
}

static inline void card_attach(struct card *c)
{
	struct net_front front = {.lock = &c->lock,
				  .can_receive = card_can_receive,
				  .receive = card_receive,
				  .flush = card_flush,
				  .sendable = card_sendable,
				  .link = card_link,
				  .opaque = c};

	lock_take(&c->lock);
	assert_int_equal(netdev_attach(c->nd, &front, NULL), 0);
	lock_drop(&c->lock);
}

static inline struct chardev *card_keep_chardev(struct card *c, struct chardev *cd)
{
	assert_true(c->n_chardevs < ARRAY_SIZE(c->chardevs));
	c->chardevs[c->n_chardevs++] = cd;
	return cd;
}

/* A new one, or one of card_keep_chardev. */
static inline int card_chardev(void *opaque, const char *id, const char *spec, struct chardev **out,
			       struct err **e)
{
	struct card *c = opaque;
	int r;

	for (unsigned i = 0; i < c->n_chardevs && !strncmp(spec, "chardev:", 8); i++) {
		if (strcmp(chardev_id(c->chardevs[i]), spec + 8))
			continue;
		*out = chardev_front_end(c->chardevs[i]);
		return 0;
	}
	r = chardev_open(out, c->loop, id, spec, e);
	if (!r)
		card_keep_chardev(c, *out);
	return r;
}

/* card_new - with no back end yet; a loop of its own unless `share` has one. */
static inline struct card *card_new(struct card *share)
{
	struct card *c = xzalloc(sizeof(*c));

	c->log = log_create();
	c->loop = share ? share->loop : loop_create();
	c->room = 100000;
	lock_init(&c->lock, LOCK_RANK_MACHINE, "machine");
	return c;
}

static inline int card_netdev(struct card *c, const char *opts, struct err **e)
{
	struct net_chardevs chardevs = {.open = card_chardev, .opaque = c};

	return netdev_open(&c->nd, c->loop, c->log, &chardevs, opts, e);
}

/* card_plug - a back end, which must open. */
static inline void card_plug(struct card *c, const char *opts)
{
	struct err *e = NULL;

	if (card_netdev(c, opts, &e))
		fail_msg("%s", err_msg(e));
	card_attach(c);
}

static inline struct card *card_open(const char *opts, struct card *share)
{
	struct card *c = card_new(share);

	card_plug(c, opts);
	return c;
}

static inline void card_clear(struct card *c)
{
	for (unsigned i = 0; i < c->n; i++)
		free(c->frames[i].data);
	c->n = 0;
}

static inline void card_close(struct card *c, bool shares)
{
	if (c->nd) {
		lock_take(&c->lock);
		netdev_detach(c->nd);
		lock_drop(&c->lock);
	}
	netdev_close(c->nd);
	for (unsigned i = 0; i < c->n_chardevs; i++)
		chardev_close(c->chardevs[i]);
	card_clear(c);
	if (!shares)
		loop_destroy(c->loop);
	log_destroy(c->log);
	lock_fini(&c->lock);
	free(c);
}

static inline bool card_send_hdr(struct card *c, const struct net_hdr *hdr, const void *frame,
				 size_t len)
{
	/* In two pieces, as drivers do. */
	size_t head = len > 60 ? 54 : len;
	struct iovec iov[2] = {{.iov_base = (void *)frame, .iov_len = head},
			       {.iov_base = (uint8_t *)frame + head, .iov_len = len - head}};
	bool r;

	lock_take(&c->lock);
	r = net_send(c->nd, hdr, iov, len > head ? 2 : 1, len);
	lock_drop(&c->lock);
	return r;
}

static inline bool card_send(struct card *c, const void *frame, size_t len)
{
	struct net_hdr hdr = {0};

	return card_send_hdr(c, &hdr, frame, len);
}

static inline void card_ready(struct card *c, unsigned room)
{
	lock_take(&c->lock);
	c->room = room;
	netdev_ready(c->nd);
	lock_drop(&c->lock);
}

/* Run the loop until cond, at most five seconds. */
#define card_wait(c, cond)                                                                         \
	do {                                                                                       \
		struct timespec t0_, t1_;                                                          \
		bool ok_;                                                                          \
		clock_gettime(CLOCK_MONOTONIC, &t0_);                                              \
		do {                                                                               \
			ok_ = (cond);                                                              \
			if (ok_)                                                                   \
				break;                                                             \
			loop_once((c)->loop, 20);                                                  \
			clock_gettime(CLOCK_MONOTONIC, &t1_);                                      \
		} while (t1_.tv_sec - t0_.tv_sec < 5);                                             \
		if (!ok_)                                                                          \
			fail_msg("did not happen: %s", #cond);                                     \
	} while (0)

/* What happens within so many milliseconds. */
static inline void card_run(struct card *c, int ms)
{
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		loop_once(c->loop, 5);
		clock_gettime(CLOCK_MONOTONIC, &t1);
	} while ((t1.tv_sec - t0.tv_sec) * 1000 + (t1.tv_nsec - t0.tv_nsec) / 1000000 < ms);
}
