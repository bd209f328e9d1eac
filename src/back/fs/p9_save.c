/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The saved form of a session, and how it is made.  p9_load.c reads it.
 *
 * Descriptors can't be saved.  What can: the name of each file in the folder that it is in, and so
 * on up to the shared one; and which file that was (struct p9_ident), so that another that has its
 * name by the time of loading isn't taken for it.  Nodes are a tree already, of names in nodes, and
 * are written as one: parents first, each with the number of its parent.  A path as a string is
 * nowhere, so there is none that a reader could be made to follow.
 *
 * All numbers are little-endian, a string is len[2] and the bytes:
 *
 *	msize[4]			0: no version was agreed on, and the rest is empty
 *	n_nodes[4], and each:
 *	    parent[4]			1.. in the order of nodes; 0: it is the shared folder, and
 *					that is all of it
 *	    name[s] flags[1] type[4] ino[8] born_s[8] born_ns[4] qid[8]
 *	    flags & P9_SAVED_KEPT:	same[4]: an earlier node of it; 0: p9_orphan.c's form
 *	n_fids[4], and each, by rising numbers:
 *	    fid[4] uid[4] kind[1]	enum p9_fid_kind; | P9_SAVED_STALE: that is all
 *	    node[4]
 *	    FID_FILE, FID_DIR:		flags[4], of open(2)
 *	    FID_DIR:			listing[1]; 1: p9_listing.c's form of the rest of it
 *	    FID_XATTR_READ:		len[4] value[len]
 *	    FID_XATTR_WRITE:		name[s] flags[4] size[4] len[4] value[len]: so far
 *
 * There is no place in a file among it: clients say with each message where to read.  Nor are there
 * locks, which are the client's own (p9_attr.c).
 *
 * The host may have renamed a file since the client came to it.  Then the kernel's name of the
 * descriptor is asked for (/proc/self/fd), and if it is inside of the shared folder, the file is
 * written as being there, with nodes of the folders on the way.  What has no name any more (it was
 * removed while open) is written as gone; if it is a file, with what is in it (p9_orphan.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "back/fs/p9_int.h"
#include "back/fs/p9_saved_int.h"
#include "base/base.h"

#define MOVED_MAX (64 * 1024) /* nodes on the way to what was renamed, in all */

struct writer {
	struct p9_server *s;
	struct bytes b;
	uint32_t n_nodes, n_moved;
	uint64_t orphan_mem, listing_mem; /* that may still be used */
	struct orphan {
		dev_t dev;
		ino_t ino;
		uint32_t number;
	} * orphans; /* P9_ORPHANS_MAX */
	uint32_t n_orphans;
	char root[PATH_MAX]; /* where the shared folder is now; "": unknown */
};

int p9_identify(const struct fsdev *f, int dir, const char *name, struct p9_ident *id)
{
	struct statx sx;

	if (statx(dir, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		  STATX_TYPE | STATX_INO | STATX_BTIME, &sx))
		return -errno;
	*id = (struct p9_ident){.ino = sx.stx_ino,
				.type = sx.stx_mode & S_IFMT,
				.dev = makedev(sx.stx_dev_major, sx.stx_dev_minor)};
	id->inner = id->dev != f->root_dev;
	if (sx.stx_mask & STATX_BTIME) {
		id->born_s = sx.stx_btime.tv_sec;
		id->born_ns = sx.stx_btime.tv_nsec;
	}
	return 0;
}

bool p9_same_file(const struct p9_ident *a, const struct p9_ident *b)
{
	bool known = (a->born_s || a->born_ns) && (b->born_s || b->born_ns);

	return a->ino == b->ino && a->type == b->type && a->inner == b->inner &&
	       (!known || (a->born_s == b->born_s && a->born_ns == b->born_ns));
}

static void put_string(struct writer *w, const char *s)
{
	size_t len = strlen(s);

	bytes_u16(&w->b, (uint16_t)len);
	bytes_put(&w->b, s, len);
}

/* put_node - its number. */
static uint32_t put_node(struct writer *w, uint32_t parent, const char *name,
			 const struct p9_ident *id, uint8_t flags)
{
	uint64_t qid = 0;

	bytes_u32(&w->b, parent);
	put_string(w, name);
	bytes_u8(&w->b, (uint8_t)(flags | (id->inner ? P9_SAVED_INNER : 0)));
	bytes_u32(&w->b, id->type);
	bytes_u64(&w->b, id->ino);
	bytes_u64(&w->b, (uint64_t)id->born_s);
	bytes_u32(&w->b, id->born_ns);
	local_qid_path(w->s->f, id->dev, id->ino, &qid);
	bytes_u64(&w->b, qid);
	return ++w->n_nodes;
}

/* path_of - where a descriptor's file is now: false when that can't be told. */
static bool path_of(int fd, char path[static PATH_MAX])
{
	ssize_t n = readlink(proc_path(fd).s, path, PATH_MAX);

	if (n < 0 || n == PATH_MAX)
		n = 0;
	path[n] = 0;
	return path[0] == '/';
}

/* put_way - the file id is at the end of path, from dir on, by names alone: its number, or 0 and
 * what was written is of no use. */
static uint32_t put_way(struct writer *w, uint32_t at, int dir, char *path,
			const struct p9_ident *id)
{
	const struct fsdev *f = w->s->f;
	char *name, *rest = path;
	struct p9_ident here;
	int fd = -1, next;

	while ((name = strsep(&rest, "/"))) {
		next = openat(fd < 0 ? dir : fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
		fd = next;
		if (fd < 0 || w->n_moved == MOVED_MAX || p9_identify(f, fd, "", &here) ||
		    (rest && here.type != S_IFDIR) || (!rest && !p9_same_file(&here, id))) {
			at = 0;
			break;
		}
		w->n_moved += rest != NULL;
		at = put_node(w, at, name, &here, 0);
	}
	if (fd >= 0)
		close(fd);
	return at;
}

/* put_moved - a node whose file is not where it was: its number, or 0 when it is nowhere. */
static uint32_t put_moved(struct writer *w, const struct p9_node *n, const struct p9_ident *id)
{
	size_t len = w->b.len, prefix = strlen(w->root);
	uint32_t n_nodes = w->n_nodes, at;
	const struct p9_node *top = n;
	char path[PATH_MAX];

	while (top->parent)
		top = top->parent;
	if (!prefix || !path_of(n->fd, path) || strncmp(path, w->root, prefix) ||
	    path[prefix] != '/' || !path[prefix + 1])
		return 0;
	at = put_way(w, top->saved, top->fd, path + prefix + 1, id);
	if (!at) {
		w->b.len = len;
		w->n_nodes = n_nodes;
	}
	return at;
}

/* put_orphan - a node whose file has no name: its number, or 0 when it can't be kept. */
static uint32_t put_orphan(struct writer *w, const struct p9_node *n, const struct p9_ident *id)
{
	size_t len = w->b.len;
	uint32_t first = 0, at;

	for (uint32_t i = 0; i < w->n_orphans && !first; i++)
		if (w->orphans[i].dev == id->dev && w->orphans[i].ino == id->ino)
			first = w->orphans[i].number;
	if (!first && w->n_orphans == P9_ORPHANS_MAX)
		return 0;
	at = put_node(w, n->parent->saved, n->name, id, P9_SAVED_GONE | P9_SAVED_KEPT);
	bytes_u32(&w->b, first);
	if (first)
		return at;
	if (!p9_orphan_save(w->s->f, n->fd, &w->b, &w->orphan_mem)) {
		w->b.len = len;
		w->n_nodes--;
		return 0;
	}
	if (!w->orphans)
		w->orphans = xcalloc(P9_ORPHANS_MAX, sizeof(*w->orphans));
	w->orphans[w->n_orphans++] = (struct orphan){id->dev, id->ino, at};
	return at;
}

/* put_file - a node whose parent has been put. */
static void put_file(struct writer *w, struct p9_node *n)
{
	const struct fsdev *f = w->s->f;
	/* As far as is known when its file system does not answer. */
	struct p9_ident there, id = {.dev = n->dev,
				     .ino = n->ino,
				     .type = n->dir ? S_IFDIR : S_IFREG,
				     .inner = n->dev != f->root_dev};
	bool known;

	if (!n->parent) {
		bytes_u32(&w->b, 0);
		n->saved = ++w->n_nodes;
		return;
	}
	known = !p9_identify(f, n->fd, "", &id);
	if (known && !p9_identify(f, n->parent->fd, n->name, &there) && p9_same_file(&there, &id)) {
		n->saved = put_node(w, n->parent->saved, n->name, &id, 0);
		return;
	}
	if (known)
		n->saved = put_moved(w, n, &id);
	if (!n->saved && known)
		n->saved = put_orphan(w, n, &id);
	if (!n->saved)
		n->saved = put_node(w, n->parent->saved, n->name, &id, P9_SAVED_GONE);
}

/* put_branch - a node, and before it those above that are not there yet. */
static void put_branch(struct writer *w, struct p9_node *n)
{
	struct p9_node **way, *at;
	size_t depth = 0;

	for (at = n; at && !at->saved; at = at->parent)
		depth++;
	way = xcalloc(depth + 1, sizeof(*way));
	for (size_t i = depth; i--; n = n->parent)
		way[i] = n;
	for (size_t i = 0; i < depth; i++)
		put_file(w, way[i]);
	free(way);
}

static void put_value(struct writer *w, const struct p9_fid *fid)
{
	bytes_u32(&w->b, (uint32_t)fid->xattr_len);
	bytes_put(&w->b, fid->xattr, fid->xattr_len);
}

static void put_listing(struct writer *w, const struct p9_fid *fid)
{
	size_t at = w->b.len;

	bytes_u8(&w->b, 1);
	if (fid->dir_at && p9_listing_save(fid, &w->b, &w->listing_mem))
		return;
	w->b.p[at] = 0;
}

static void put_fid(struct writer *w, const struct p9_fid *fid)
{
	bytes_u32(&w->b, fid->num);
	bytes_u32(&w->b, fid->uid);
	bytes_u8(&w->b, (uint8_t)(fid->kind | (fid->stale ? P9_SAVED_STALE : 0)));
	if (fid->stale)
		return;
	bytes_u32(&w->b, fid->node->saved);
	switch (fid->kind) {
	case FID_NODE:
		break;
	case FID_FILE:
	case FID_DIR:
		bytes_u32(&w->b, (uint32_t)(fid->flags & P9_SAVED_FLAGS));
		if (fid->kind == FID_DIR)
			put_listing(w, fid);
		break;
	case FID_XATTR_READ:
		put_value(w, fid);
		break;
	case FID_XATTR_WRITE:
		put_string(w, fid->xattr_name);
		bytes_u32(&w->b, (uint32_t)fid->xattr_flags);
		bytes_u32(&w->b, (uint32_t)fid->xattr_size);
		put_value(w, fid);
		break;
	}
}

static int by_number(const void *a, const void *b)
{
	const struct p9_fid *const *x = a, *const *y = b;

	return ((*x)->num > (*y)->num) - ((*x)->num < (*y)->num);
}

/* sorted_fids - all of a session (n_fids); the caller frees the array. */
static struct p9_fid **sorted_fids(struct p9_server *s)
{
	struct p9_fid **all = xcalloc(s->n_fids + 1, sizeof(*all));
	size_t n = 0;

	for (unsigned i = 0; i < P9_FID_BUCKETS; i++)
		for (struct p9_fid *fid = s->fids[i]; fid; fid = fid->next)
			all[n++] = fid;
	qsort(all, n, sizeof(*all), by_number);
	return all;
}

/* As nothing is being handled, nothing changes, and the tables are read without their locks: what
 * the host is asked meanwhile may take its time. */
uint32_t p9_save(struct p9_server *s, uint8_t **data)
{
	struct p9_fid **fids = sorted_fids(s);
	struct writer w = {.s = s, .orphan_mem = P9_ORPHAN_MEM, .listing_mem = P9_LISTING_MEM};
	size_t count_at;

	path_of(s->f->root, w.root);
	if (!strcmp(w.root, "/"))
		w.root[0] = 0;
	bytes_u32(&w.b, s->msize);
	count_at = w.b.len;
	bytes_u32(&w.b, 0);
	for (unsigned i = 0; i < s->n_fids; i++)
		if (!fids[i]->stale)
			put_branch(&w, fids[i]->node);
	put_le32(w.b.p + count_at, w.n_nodes);
	bytes_u32(&w.b, s->n_fids);
	for (unsigned i = 0; i < s->n_fids; i++)
		put_fid(&w, fids[i]);
	for (unsigned i = 0; i < s->n_fids; i++)
		for (struct p9_node *n = fids[i]->node; n && n->saved; n = n->parent)
			n->saved = 0;
	free(fids);
	free(w.orphans);
	bug_on(w.b.len > P9_SAVED_MAX || w.n_nodes > P9_SAVED_NODES_MAX);
	*data = w.b.p;
	return (uint32_t)w.b.len;
}
