/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client knows by number: fids, and the nodes behind them.  One lock guards both tables and
 * all references; it is never held around a call that may block.  A fid that is clunked while
 * another message uses it lives until that is answered.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

static struct p9_fid **fid_bucket(struct p9_server *s, uint32_t num)
{
	return &s->fids[(num * UINT32_C(0x9e3779b1)) >> 20];
}

static struct p9_fid *fid_find(struct p9_server *s, uint32_t num)
{
	struct p9_fid *fid = *fid_bucket(s, num);

	while (fid && fid->num != num)
		fid = fid->next;
	return fid;
}

struct p9_fid *p9_fid_get(struct p9_server *s, uint32_t num)
{
	struct p9_fid *fid;

	lock_take(&s->lock);
	fid = fid_find(s, num);
	if (fid)
		fid->refs++;
	lock_drop(&s->lock);
	return fid;
}

struct p9_fid *p9_fid_use(struct p9_server *s, uint32_t num, int *r)
{
	struct p9_fid *fid = p9_fid_get(s, num);

	*r = !fid ? -EBADF : fid->stale ? -ESTALE : 0;
	if (!*r)
		return fid;
	p9_fid_put(s, fid);
	return NULL;
}

void p9_fid_put(struct p9_server *s, struct p9_fid *fid)
{
	bool last;

	if (!fid)
		return;
	lock_take(&s->lock);
	last = --fid->refs == 0;
	lock_drop(&s->lock);
	if (!last)
		return;
	local_close(s->f, fid->fd);
	p9_listing_free(fid->listing);
	p9_xattr_free(s, fid);
	p9_node_put(s, fid->node);
	lock_fini(&fid->lock);
	free(fid);
}

int p9_fid_new(struct p9_server *s, uint32_t num, uint32_t uid, struct p9_node *node,
	       struct p9_fid **out)
{
	struct p9_fid *fid = xzalloc(sizeof(*fid));
	int r = 0;

	*fid = (struct p9_fid){.num = num, .uid = uid, .refs = 1, .node = node, .fd = -1};
	lock_take(&s->lock);
	if (num == P9_NOFID || fid_find(s, num)) {
		r = -EINVAL;
	} else if (s->n_fids == P9_FIDS_MAX) {
		r = -ENFILE;
	} else {
		struct p9_fid **b = fid_bucket(s, num);

		lock_init(&fid->lock, LOCK_RANK_FS_FID, "9p fid");
		fid->next = *b;
		*b = fid;
		s->n_fids++;
		fid->refs += out != NULL;
	}
	lock_drop(&s->lock);
	if (r)
		free(fid);
	else if (out)
		*out = fid;
	return r;
}

bool p9_fid_remove(struct p9_server *s, struct p9_fid *fid)
{
	struct p9_fid **b;

	lock_take(&s->lock);
	b = fid_bucket(s, fid->num);
	while (*b && *b != fid)
		b = &(*b)->next;
	if (*b) {
		*b = fid->next;
		s->n_fids--;
	} else {
		b = NULL;
	}
	lock_drop(&s->lock);
	if (b)
		p9_fid_put(s, fid);
	return b != NULL;
}

void p9_session_clear(struct p9_server *s)
{
	struct p9_fid *all = NULL, *fid;

	lock_take(&s->lock);
	for (unsigned i = 0; i < P9_FID_BUCKETS; i++) {
		while ((fid = s->fids[i])) {
			s->fids[i] = fid->next;
			fid->next = all;
			all = fid;
		}
	}
	s->n_fids = 0;
	lock_drop(&s->lock);
	while ((fid = all)) {
		all = fid->next;
		p9_fid_put(s, fid);
	}
}

struct p9_node *p9_fid_node(struct p9_server *s, struct p9_fid *fid)
{
	struct p9_node *n;

	lock_take(&s->lock);
	n = fid->node;
	n->refs++;
	lock_drop(&s->lock);
	return n;
}

void p9_fid_set_node(struct p9_server *s, struct p9_fid *fid, struct p9_node *node)
{
	struct p9_node *old;

	lock_take(&s->lock);
	old = fid->node;
	fid->node = node;
	lock_drop(&s->lock);
	p9_node_put(s, old);
}

struct p9_node *p9_dir(struct p9_call *c, uint32_t num, uint32_t *uid, int *r)
{
	struct p9_fid *fid = p9_fid_use(c->s, num, r);
	struct p9_node *n;

	if (!fid)
		return NULL;
	n = p9_fid_node(c->s, fid);
	if (uid)
		*uid = fid->uid;
	p9_fid_put(c->s, fid);
	return n;
}

static struct p9_node **node_bucket(struct p9_server *s, const char *name)
{
	uint32_t h = 2166136261u;

	while (*name)
		h = (h ^ (uint8_t)*name++) * 16777619u;
	return &s->nodes[(h ^ h >> 15) % P9_NODE_BUCKETS];
}

static void node_hash(struct p9_server *s, struct p9_node *n)
{
	struct p9_node **b = node_bucket(s, n->name);

	n->next = *b;
	n->prev = b;
	if (n->next)
		n->next->prev = &n->next;
	*b = n;
}

static void node_unhash(struct p9_node *n)
{
	if (!n->prev)
		return;
	*n->prev = n->next;
	if (n->next)
		n->next->prev = n->prev;
	n->prev = NULL;
}

/* The dead are collected, to be buried without the lock. */
static void node_unref(struct p9_node *n, struct p9_node **dead)
{
	while (n && --n->refs == 0) {
		struct p9_node *parent = n->parent;

		node_unhash(n);
		n->next = *dead;
		*dead = n;
		n = parent;
	}
}

static void node_bury(struct p9_server *s, struct p9_node *dead)
{
	struct p9_node *n;

	while ((n = dead)) {
		dead = n->next;
		local_close(s->f, n->fd);
		free(n->name);
		free(n);
	}
}

int p9_node_new(struct p9_server *s, int fd, const struct stat *st, struct p9_node *parent,
		const char *name, struct p9_node **out)
{
	struct p9_node *n;
	struct stat now;

	if (!st && fstatat(fd, "", &now, AT_EMPTY_PATH)) {
		int r = -errno;

		local_close(s->f, fd);
		return r;
	}
	st = st ? st : &now;
	n = xzalloc(sizeof(*n));
	*n = (struct p9_node){.fd = fd,
			      .dev = st->st_dev,
			      .ino = st->st_ino,
			      .refs = 1,
			      .root = !parent,
			      .dir = S_ISDIR(st->st_mode),
			      .parent = parent};
	if (parent) {
		n->name = xstrdup(name);
		lock_take(&s->lock);
		parent->refs++;
		node_hash(s, n);
		lock_drop(&s->lock);
	}
	*out = n;
	return 0;
}

struct p9_node *p9_node_ref(struct p9_server *s, struct p9_node *n)
{
	lock_take(&s->lock);
	n->refs++;
	lock_drop(&s->lock);
	return n;
}

void p9_node_put(struct p9_server *s, struct p9_node *n)
{
	struct p9_node *dead = NULL;

	if (!n)
		return;
	lock_take(&s->lock);
	node_unref(n, &dead);
	lock_drop(&s->lock);
	node_bury(s, dead);
}

struct p9_node *p9_node_parent(struct p9_server *s, struct p9_node *n)
{
	lock_take(&s->lock);
	n = n->parent ? n->parent : n;
	n->refs++;
	lock_drop(&s->lock);
	return n;
}

int p9_node_place(struct p9_server *s, struct p9_node *n, struct p9_node **parent, char **name)
{
	struct stat st;
	int r = 0;

	lock_take(&s->lock);
	if (!n->parent) {
		lock_drop(&s->lock);
		return -EBUSY;
	}
	*parent = n->parent;
	(*parent)->refs++;
	*name = xstrdup(n->name);
	lock_drop(&s->lock);
	if (fstatat((*parent)->fd, *name, &st, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	else if (st.st_dev != n->dev || st.st_ino != n->ino)
		r = -ENOENT;
	if (!r)
		return 0;
	p9_node_put(s, *parent);
	free(*name);
	return r;
}

/* Would n become its own ancestor?  What the host moves about at the same time can make it look so.
 */
static bool node_above(const struct p9_node *n, const struct p9_node *below)
{
	while (below && below != n)
		below = below->parent;
	return below != NULL;
}

void p9_node_moved(struct p9_server *s, struct p9_node *from, const char *name, struct p9_node *to,
		   const char *new_name)
{
	struct p9_node *n, *next, *dead = NULL;

	lock_take(&s->lock);
	for (n = *node_bucket(s, name); n; n = next) {
		next = n->next;
		if (strcmp(n->name, name) || n->parent->dev != from->dev ||
		    n->parent->ino != from->ino || node_above(n, to))
			continue;
		node_unhash(n);
		free(n->name);
		n->name = xstrdup(new_name);
		node_hash(s, n);
		to->refs++;
		node_unref(n->parent, &dead);
		n->parent = to;
	}
	lock_drop(&s->lock);
	node_bury(s, dead);
}
