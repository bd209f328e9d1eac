/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A front end for tests of disks: its lock, a directory of files, blocking I/O. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "back/block/block.h"
#include "base/base.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"

struct env {
	struct lock lock;
	struct log *log;
	struct blocks *bs;
	struct block *b;
	struct block_front front;
	char dir[64], path[128];
	unsigned media, errors, stops;
	struct block_error last_error;
};

static const char *env_path(struct env *v, const char *name)
{
	snprintf(v->path, sizeof(v->path), "%s/%s", v->dir, name);
	return v->path;
}

static void env_media(void *opaque)
{
	struct env *v = opaque;

	v->media++;
}

static int env_setup(void **state)
{
	struct env *v = xzalloc(sizeof(*v));

	strcpy(v->dir, "/tmp/doppel-block-XXXXXX");
	assert_non_null(mkdtemp(v->dir));
	lock_init(&v->lock, LOCK_RANK_MACHINE, "machine");
	v->log = log_create();
	assert_int_equal(log_open(v->log, env_path(v, "log"), NULL), 0);
	v->bs = blocks_create(v->log);
	v->front = (struct block_front){.lock = &v->lock,
					.media_changed = env_media,
					.opaque = v,
					.name = "disk0",
					.polls = true};
	*state = v;
	return 0;
}

/* Take the drive off, close everything. */
static void env_close(struct env *v)
{
	lock_take(&v->lock);
	for (struct block *b = block_next(v->bs, NULL); b; b = block_next(v->bs, b)) {
		struct block_policy p;

		block_policy(b, &p);
		if (p.attached)
			block_detach(b);
	}
	lock_drop(&v->lock);
	blocks_destroy(v->bs);
	v->bs = blocks_create(v->log);
	v->b = NULL;
}

static int env_teardown(void **state)
{
	struct env *v = *state;
	char cmd[128];

	env_close(v);
	blocks_destroy(v->bs);
	log_destroy(v->log);
	lock_fini(&v->lock);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", v->dir);
	assert_int_equal(system(cmd), 0);
	free(v);
	return 0;
}

/* Run a shell command in the directory; its exit status. */
__attribute__((format(printf, 2, 3), unused)) static int env_sh(struct env *v, const char *fmt, ...)
{
	char cmd[1024];
	size_t n = (size_t)snprintf(cmd, sizeof(cmd), "cd '%s' && ", v->dir);
	va_list ap;
	int st;

	va_start(ap, fmt);
	vsnprintf(cmd + n, sizeof(cmd) - n, fmt, ap);
	va_end(ap);
	st = system(cmd);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

/* Open "file=DIR/name" with more options as the drive, and attach. */
__attribute__((unused)) static void env_open(struct env *v, const char *name, const char *more,
					     bool write)
{
	char opts[512];
	struct err *e = NULL;
	int r;

	snprintf(opts, sizeof(opts), "file=%s/%s%s%s", v->dir, name, *more ? "," : "", more);
	r = block_open_drive(&v->b, v->bs, opts, &e);
	if (r)
		fail_msg("%s: %s", opts, err_msg(e));
	lock_take(&v->lock);
	r = block_attach(v->b, &v->front, write, &e);
	lock_drop(&v->lock);
	if (r)
		fail_msg("%s: %s", opts, err_msg(e));
}

struct env_wait {
	int rc;
	bool done;
};

static void env_done(struct block_req *r, int rc)
{
	struct env_wait *w = r->opaque;

	w->rc = rc;
	w->done = true;
}

/* One request, waited for by a drain. */
__attribute__((unused)) static int env_io_unmap(struct env *v, enum block_op op, uint64_t off,
						void *buf, uint64_t len, bool unmap)
{
	struct env_wait w = {.rc = -EINPROGRESS};
	struct iovec iov = {buf, len};
	struct block_req *r = xzalloc(sizeof(*r));

	*r = (struct block_req){.op = op,
				.off = off,
				.len = len,
				.iov = &iov,
				.n_iov = buf ? 1 : 0,
				.may_unmap = unmap,
				.done = env_done,
				.opaque = &w};
	lock_take(&v->lock);
	block_submit(v->b, r);
	block_drain(v->b);
	lock_drop(&v->lock);
	assert_true(w.done);
	free(r);
	return w.rc;
}

__attribute__((unused)) static int env_io(struct env *v, enum block_op op, uint64_t off, void *buf,
					  uint64_t len)
{
	return env_io_unmap(v, op, off, buf, len, true);
}

/* A fast generator; the same numbers for the same seed. */
__attribute__((unused)) static uint64_t env_rnd(uint64_t *s)
{
	uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

__attribute__((unused)) static void env_fill(uint64_t *s, void *p, size_t len)
{
	uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		w[i] = env_rnd(s);
}

/*
 * A random load of many requests at a time against a model in memory; requests of one sector range
 * never overlap in flight.  Ends with everything read back.
 */
#define LOAD_REQS 12

struct load_req {
	struct block_req r;
	struct iovec iov[5];
	unsigned char *buf;
	bool busy;
	struct load *load;
};

struct load {
	struct env *v;
	unsigned char *model;
	uint64_t size, seed;
	uint64_t max_len;
	struct load_req req[LOAD_REQS];
	unsigned busy;
	uint64_t discard_align; /* a discard of such a range reads as zeroes; 0: no discards */
};

static void load_done(struct block_req *r, int rc)
{
	struct load_req *q = r->opaque;
	struct load *l = q->load;

	if (rc)
		fail_msg("op %d at %llu+%llu: %s", r->op, (unsigned long long)r->off,
			 (unsigned long long)r->len, strerror(-rc));
	if (r->op == BLOCK_READ && memcmp(q->buf, l->model + r->off, r->len))
		fail_msg("wrong data at %llu+%llu", (unsigned long long)r->off,
			 (unsigned long long)r->len);
	q->busy = false;
	l->busy--;
}

static bool load_overlaps(struct load *l, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < LOAD_REQS; i++)
		if (l->req[i].busy && l->req[i].r.off < off + len &&
		    off < l->req[i].r.off + l->req[i].r.len)
			return true;
	return false;
}

/* The aligned part, which may be nothing. */
static void discard_bounds(const struct load *l, uint64_t *off, uint64_t *len)
{
	uint64_t from = align_up(*off, l->discard_align),
		 to = align_down(*off + *len, l->discard_align);

	*len = from < to ? to - from : 0;
	*off = *len ? from : *off;
}

/* With the lock held. */
static void load_start(struct load *l, struct load_req *q)
{
	uint64_t kind = env_rnd(&l->seed) % 16, len, off, at = 0;
	unsigned n = 1 + env_rnd(&l->seed) % 5;

	do {
		len = (1 + env_rnd(&l->seed) % (env_rnd(&l->seed) % 4 ? 16 : l->max_len / 512)) *
		      512;
		len = min_u64(len, l->size);
		off = env_rnd(&l->seed) % ((l->size - len) / 512 + 1) * 512;
		if (env_rnd(&l->seed) % 3 == 0)
			off = align_down(off, 65536);
	} while (load_overlaps(l, off, len));
	q->load = l;
	q->r = (struct block_req){.off = off,
				  .len = len,
				  .done = load_done,
				  .opaque = q,
				  .iov = q->iov,
				  .may_unmap = kind & 1};
	for (unsigned i = 0; i < n; i++) {
		uint64_t part = i == n - 1 ? len - at
					   : env_rnd(&l->seed) % (len - at + 1) / 512 * 512;

		q->iov[i] = (struct iovec){q->buf + at, part};
		at += part;
	}
	q->r.n_iov = n;
	if (kind < 6) {
		q->r.op = BLOCK_READ;
	} else if (kind < 12) {
		q->r.op = BLOCK_WRITE;
		q->r.fua = kind == 11 && env_rnd(&l->seed) % 8 == 0;
		if (env_rnd(&l->seed) % 6)
			env_fill(&l->seed, q->buf, len);
		else
			memset(q->buf, 0, len);
		memcpy(l->model + off, q->buf, len);
	} else if (kind < 14) {
		q->r.op = BLOCK_ZERO;
		memset(l->model + off, 0, len);
	} else if (kind == 14 && l->discard_align) {
		discard_bounds(l, &q->r.off, &q->r.len);
		off = q->r.off;
		len = q->r.len;
		q->r.op = BLOCK_DISCARD;
		memset(l->model + off, 0, len);
	} else {
		q->r.op = BLOCK_FLUSH;
		q->r.len = 0;
	}
	q->busy = true;
	l->busy++;
	block_submit(l->v->b, &q->r);
}

__attribute__((unused)) static void load_check_all(struct load *l)
{
	unsigned char *buf = xzalloc(MiB);

	for (uint64_t off = 0; off < l->size; off += MiB) {
		uint64_t part = min_u64(MiB, l->size - off);

		assert_int_equal(env_io(l->v, BLOCK_READ, off, buf, part), 0);
		for (uint64_t i = 0; i < part; i += 512)
			if (memcmp(buf + i, l->model + off + i, 512))
				fail_msg("sector at %llu differs", (unsigned long long)(off + i));
	}
	free(buf);
}

__attribute__((unused)) static void load_run(struct env *v, struct load *l, unsigned count)
{
	struct block_info info;

	l->v = v;
	block_info(v->b, &info);
	l->size = info.size;
	l->max_len = l->max_len ? l->max_len : 256 * KiB;
	if (!l->model)
		l->model = xzalloc(l->size);
	for (unsigned i = 0; i < LOAD_REQS; i++)
		l->req[i].buf = xzalloc(l->max_len);
	while (count) {
		lock_take(&v->lock);
		for (unsigned i = 0; i < LOAD_REQS && count; i++)
			if (!l->req[i].busy) {
				load_start(l, &l->req[i]);
				count--;
			}
		if (env_rnd(&l->seed) % 50 == 0)
			block_drain(v->b);
		if (env_rnd(&l->seed) % 3 == 0)
			block_poll(v->b);
		lock_drop(&v->lock);
		sched_yield();
	}
	lock_take(&v->lock);
	block_drain(v->b);
	lock_drop(&v->lock);
	assert_int_equal(l->busy, 0);
	load_check_all(l);
	for (unsigned i = 0; i < LOAD_REQS; i++)
		free(l->req[i].buf);
}
