/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of L2 tables and refcount blocks in memory: a bounded number, the oldest clean one goes
 * first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/qcow2.h"

void qcache_init(struct qcache *c, size_t slice, uint64_t max)
{
	c->slice = slice;
	c->max = (unsigned)max;
	for (c->n_hash = 16; c->n_hash < max; c->n_hash *= 2)
		;
	c->hash = xcalloc(c->n_hash, sizeof(struct qslice *));
}

static struct qslice **chain(struct qcache *c, uint64_t off)
{
	uint64_t h = (off / c->slice) * UINT64_C(0x9e3779b97f4a7c15);

	return &c->hash[(h >> 32) & (c->n_hash - 1)];
}

static void unlink_age(struct qcache *c, struct qslice *s)
{
	*(s->newer ? &s->newer->older : &c->newest) = s->older;
	*(s->older ? &s->older->newer : &c->oldest) = s->newer;
}

static void link_newest(struct qcache *c, struct qslice *s)
{
	s->newer = NULL;
	s->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = s;
	c->newest = s;
}

static void drop(struct qcache *c, struct qslice *s)
{
	struct qslice **at = chain(c, s->off);

	while (*at != s)
		at = &(*at)->hash_next;
	*at = s->hash_next;
	unlink_age(c, s);
	c->n_dirty -= s->dirty;
	c->n--;
	free(s->data);
	free(s);
}

void qcache_fini(struct qcache *c)
{
	while (c->newest)
		drop(c, c->newest);
	free(c->hash);
}

/* A place for one more; what was there before, clean, is gone. */
static struct qslice *slice_new(struct qcache *c)
{
	struct qslice *s = c->oldest;

	if (c->n >= c->max) {
		while (s && s->dirty)
			s = s->newer;
		if (!s)
			return NULL;
		drop(c, s);
	}
	s = xzalloc(sizeof(*s));
	s->data = xzalloc_aligned(4096, align_up(c->slice, 4096));
	return s;
}

int qcache_get(struct qcow2 *q, struct qcache *c, uint64_t off, struct qslice **out)
{
	struct qslice **at = chain(c, off), *s;
	int r;

	for (s = *at; s && s->off != off; s = s->hash_next)
		;
	if (s) {
		if (c->newest != s) {
			unlink_age(c, s);
			link_newest(c, s);
		}
		*out = s;
		return 0;
	}
	s = slice_new(c);
	if (!s)
		return -ENOBUFS;
	r = node_pread(q->file, off, s->data, c->slice);
	if (r) {
		free(s->data);
		free(s);
		return r;
	}
	s->off = off;
	s->hash_next = *at;
	*at = s;
	link_newest(c, s);
	c->n++;
	*out = s;
	return 0;
}

bool qcache_has(struct qcache *c, uint64_t off)
{
	const struct qslice *s = *chain(c, off);

	while (s && s->off != off)
		s = s->hash_next;
	return s;
}

void qcache_dirty(struct qcache *c, struct qslice *s)
{
	c->n_dirty += !s->dirty;
	s->dirty = true;
}

int qcache_write(struct qcow2 *q, struct qcache *c, enum qmeta kind)
{
	for (struct qslice *s = c->oldest; s && c->n_dirty; s = s->newer) {
		int r;

		if (!s->dirty)
			continue;
		if (!meta_clear(q, s->off, c->slice, kind))
			return qcow2_corrupt(q, "a table at %#llx is on another one",
					     (unsigned long long)s->off);
		r = node_pwrite(q->file, s->off, s->data, c->slice);
		if (r)
			return r;
		s->dirty = false;
		c->n_dirty--;
	}
	return 0;
}

void qcache_forget(struct qcache *c, uint64_t off, uint64_t len)
{
	struct qslice *s = c->newest, *next;

	for (; s; s = next) {
		next = s->older;
		if (s->off >= off && s->off - off < len)
			drop(c, s);
	}
}
