/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A saved session (p9_save.c has the form) read, and begun again on the files of this host.
 *
 * Reading trusts nothing: counts, lengths, references and names are checked before there is any
 * effect, so that a state is refused as a whole or is a session that could have been.
 *
 * Beginning it again can't fail as a whole.  Files are looked up as for the client's own messages:
 * one name in one folder that is open (local.c), which no link and no race leads out of.  A name
 * was checked to be no "..", and parents come before their children, so a tree is all there can be.
 * A file must be the one that it was (p9_same_file), or it is lost, and with it what was found by
 * way of it.  A fid of a lost file is kept as stale: the client gets ESTALE by each message about
 * it but for Tclunk, as an NFS client would from its server.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include "back/fs/p9_int.h"
#include "back/fs/p9_saved_int.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"

#define NODE_SIZE_MIN 4 /* in the saved form */
#define FID_SIZE_MIN 9
#define NAMED_MAX 5 /* lost files that the log names */
#define PATH_SHOWN 200 /* bytes of a path there */

struct saved_node {
	uint32_t parent; /* 1..; 0: the shared folder itself */
	const char *name;
	struct p9_ident id;
	uint64_t qid;
	bool gone, kept;
	uint32_t same; /* kept: an earlier node, of the same file; 0: orphan is it */
	struct p9_orphan orphan;
};

struct saved_fid {
	uint32_t num, uid;
	enum p9_fid_kind kind;
	bool stale;
	uint32_t node; /* 1.. */
	uint32_t flags; /* of open(2), or setxattr(2) */
	const char *name; /* of an attribute */
	uint32_t size, len;
	const uint8_t *value;
	struct p9_listing *listing;
};

struct p9_saved {
	uint8_t *data; /* that names and values are in */
	uint32_t msize, n_nodes, n_fids;
	struct saved_node *nodes;
	struct saved_fid *fids;
	uint64_t xattr_mem; /* that was used */
	uint64_t orphan_mem, listing_mem; /* that are left */
	uint32_t n_orphans;
};

static bool known_type(uint32_t type)
{
	return type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFCHR ||
	       type == S_IFBLK || type == S_IFIFO || type == S_IFSOCK;
}

/* is_type - of a node by its number, which is in range. */
static bool is_type(const struct p9_saved *v, uint32_t node, uint32_t type)
{
	return v->nodes[node - 1].id.type == type;
}

/* Each of these reads one thing: what is wrong with it, or NULL.  (When it is cut short, all is
 * zero, and that is said instead.) */

static const char *read_orphan(struct p9_saved *v, uint32_t i, struct p9_in *in)
{
	struct saved_node *n = &v->nodes[i];

	n->same = p9_get32(in);
	if (n->id.type != S_IFREG || !n->gone)
		return "contents of what is no removed file";
	if (n->same && (n->same > i || !v->nodes[n->same - 1].kept || v->nodes[n->same - 1].same))
		return "a removed file that is like no other";
	if (!n->same && ++v->n_orphans > P9_ORPHANS_MAX)
		return "too many removed files";
	return n->same ? NULL : p9_orphan_read(in, &n->orphan, &v->orphan_mem);
}

static const char *read_node(struct p9_saved *v, uint32_t i, struct p9_in *in)
{
	struct saved_node *n = &v->nodes[i];
	uint8_t flags;

	n->id.type = S_IFDIR;
	n->parent = p9_get32(in);
	if (!n->parent)
		return NULL;
	if (n->parent > i || !is_type(v, n->parent, S_IFDIR))
		return "a file that is in no folder";
	n->name = p9_getname(in);
	flags = p9_get8(in);
	n->id.type = p9_get32(in);
	n->id.ino = p9_get64(in);
	n->id.born_s = (int64_t)p9_get64(in);
	n->id.born_ns = p9_get32(in);
	n->qid = p9_get64(in);
	n->gone = flags & P9_SAVED_GONE;
	n->kept = flags & P9_SAVED_KEPT;
	n->id.inner = flags & P9_SAVED_INNER;
	if (in->error == -ENOENT || in->error == -EINVAL || strlen(n->name) > P9_SAVED_NAME_MAX)
		return "a name that is no file's";
	if (flags & ~(P9_SAVED_GONE | P9_SAVED_KEPT | P9_SAVED_INNER) || n->id.born_ns > 999999999)
		return "impossible properties of a file";
	if (!known_type(n->id.type))
		return "an unknown type of file";
	return n->kept ? read_orphan(v, i, in) : NULL;
}

static const char *read_open(struct p9_saved *v, struct saved_fid *fid, struct p9_in *in)
{
	uint32_t type = fid->kind == FID_DIR ? S_IFDIR : S_IFREG;
	uint8_t listing;

	fid->flags = p9_get32(in);
	if (fid->flags & ~(uint32_t)P9_SAVED_FLAGS)
		return "unknown flags of an open file";
	if (fid->kind == FID_DIR && (fid->flags & O_ACCMODE) != O_RDONLY)
		return "a folder that is open for writing";
	if (!is_type(v, fid->node, type))
		return "an open file of another type";
	if (fid->kind != FID_DIR)
		return NULL;
	listing = p9_get8(in);
	if (listing > 1)
		return "an unknown form of folder";
	return listing ? p9_listing_read(in, &fid->listing, &v->listing_mem) : NULL;
}

static const char *read_xattr(struct p9_saved *v, struct saved_fid *fid, struct p9_in *in)
{
	bool writing = fid->kind == FID_XATTR_WRITE;

	if (writing) {
		fid->name = p9_getstr(in);
		fid->flags = p9_get32(in);
		fid->size = p9_get32(in);
	}
	fid->len = p9_get32(in);
	fid->value = p9_getbytes(in, fid->len);
	if (!writing)
		fid->size = fid->len;
	if (in->error == -EINVAL ||
	    (writing && (!*fid->name || strlen(fid->name) > P9_XATTR_NAME_MAX)))
		return "an impossible name of an attribute";
	if (fid->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return "unknown flags of an attribute";
	v->xattr_mem += fid->size;
	if (fid->len > fid->size || fid->size > FS_XATTR_MAX || v->xattr_mem > P9_XATTR_MEM)
		return "too large an attribute";
	return NULL;
}

static const char *read_fid(struct p9_saved *v, uint32_t i, struct p9_in *in)
{
	struct saved_fid *fid = &v->fids[i];
	uint8_t kind;

	fid->num = p9_get32(in);
	fid->uid = p9_get32(in);
	kind = p9_get8(in);
	fid->stale = kind & P9_SAVED_STALE;
	fid->kind = kind & ~P9_SAVED_STALE;
	if (fid->num == P9_NOFID || (i && fid->num <= fid[-1].num))
		return "fids that are not all different and in order";
	if (fid->kind > FID_XATTR_WRITE)
		return "an unknown kind of fid";
	if (fid->stale)
		return NULL;
	fid->node = p9_get32(in);
	if (!fid->node || fid->node > v->n_nodes)
		return "a fid of no file";
	switch (fid->kind) {
	case FID_FILE:
	case FID_DIR:
		return read_open(v, fid, in);
	case FID_XATTR_READ:
	case FID_XATTR_WRITE:
		return read_xattr(v, fid, in);
	default:
		return NULL;
	}
}

/* read_count - how many follow, none of which is shorter than `each`. */
static const char *read_count(struct p9_in *in, uint32_t max, size_t each, uint32_t *n)
{
	*n = p9_get32(in);
	return *n > max || *n > (size_t)(in->end - in->p) / each ? "more than there can be" : NULL;
}

static const char *read_session(struct p9_saved *v, struct p9_in *in)
{
	const char *what;

	v->orphan_mem = P9_ORPHAN_MEM;
	v->listing_mem = P9_LISTING_MEM;
	v->msize = p9_get32(in);
	if (v->msize && (v->msize < P9_MSIZE_MIN || v->msize > P9_MSIZE_MAX))
		return "an impossible size of messages";
	what = read_count(in, P9_SAVED_NODES_MAX, NODE_SIZE_MIN, &v->n_nodes);
	if (what)
		return what;
	v->nodes = xcalloc(v->n_nodes + 1, sizeof(*v->nodes));
	for (uint32_t i = 0; i < v->n_nodes && !what && !in->error; i++)
		what = read_node(v, i, in);
	if (what || in->error)
		return what;
	what = read_count(in, P9_FIDS_MAX, FID_SIZE_MIN, &v->n_fids);
	if (what)
		return what;
	v->fids = xcalloc(v->n_fids + 1, sizeof(*v->fids));
	for (uint32_t i = 0; i < v->n_fids && !what && !in->error; i++)
		what = read_fid(v, i, in);
	if (!what && !v->msize && (v->n_nodes || v->n_fids))
		return "files before a version";
	if (!what && !in->error && in->p != in->end)
		return "more than there should be";
	return what;
}

int p9_saved_read(struct p9_saved **out, const uint8_t *data, size_t len, struct err **e)
{
	struct p9_saved *v = xzalloc(sizeof(*v));
	const char *what = NULL;
	struct p9_in in;

	if (len) {
		v->data = memcpy(xrealloc(NULL, len), data, len);
		in = (struct p9_in){.p = v->data, .end = v->data + len};
		what = read_session(v, &in);
		if (in.error == -EPROTO)
			what = "cut short";
	}
	if (what) {
		p9_saved_free(v);
		return err_set(e, EINVAL, "saved session of a shared folder: %s", what);
	}
	*out = v;
	return 0;
}

void p9_saved_free(struct p9_saved *v)
{
	if (!v)
		return;
	for (uint32_t i = 0; v->fids && i < v->n_fids; i++)
		p9_listing_free(v->fids[i].listing);
	free(v->fids);
	free(v->nodes);
	free(v->data);
	free(v);
}

struct found {
	struct p9_node *node; /* NULL: lost */
	int why; /* -errno; -ESTALE: another file has its name */
	bool named; /* in the log */
};

/* find_kept - a removed file, made anew or found.  Its name says nothing any more, so if the folder
 * is lost that it was in, another above will do. */
static int find_kept(struct p9_server *s, const struct p9_saved *v, const struct saved_node *n,
		     const struct found *all, struct p9_node **out)
{
	uint32_t above = n->parent;
	uint64_t qid;
	struct stat st;
	int fd, r;

	while (above && !all[above - 1].node)
		above = v->nodes[above - 1].parent;
	if (!above)
		return all[n->parent - 1].why;
	if (n->same && !all[n->same - 1].node)
		return all[n->same - 1].why;
	fd = n->same ? local_dup(s->f, all[n->same - 1].node->fd)
		     : p9_orphan_make(s->f, &n->orphan);
	if (fd < 0)
		return fd;
	r = fstatat(fd, "", &st, AT_EMPTY_PATH) ? -errno : 0;
	if (!r)
		r = local_qid_path(s->f, st.st_dev, st.st_ino, &qid);
	if (r) {
		local_close(s->f, fd);
		return r;
	}
	return p9_node_new(s, fd, &st, all[above - 1].node, n->name, out);
}

/* find - the file of a node whose parent (NULL: none) was found. */
static int find(struct p9_server *s, const struct saved_node *n, struct p9_node *parent,
		struct p9_node **out)
{
	struct p9_ident id;
	uint64_t qid;
	int fd, r = 0;

	if (n->gone)
		return -ENOENT;
	fd = parent ? local_walk(s->f, parent->fd, n->name) : local_dup(s->f, s->f->root);
	if (fd < 0)
		return fd;
	if (parent) {
		r = p9_identify(s->f, fd, "", &id);
		if (!r && !p9_same_file(&id, &n->id))
			r = -ESTALE;
		if (!r) {
			local_qid_keep(s->f, id.dev, id.ino, n->qid);
			r = local_qid_path(s->f, id.dev, id.ino, &qid);
		}
	}
	if (r) {
		local_close(s->f, fd);
		return r;
	}
	return p9_node_new(s, fd, NULL, parent, n->name, out);
}

static struct found *find_all(struct p9_server *s, const struct p9_saved *v)
{
	struct found *all = xcalloc(v->n_nodes + 1, sizeof(*all));

	for (uint32_t i = 0; i < v->n_nodes; i++) {
		const struct saved_node *n = &v->nodes[i];
		struct found *parent = n->parent ? &all[n->parent - 1] : NULL;

		if (n->kept)
			all[i].why = find_kept(s, v, n, all, &all[i].node);
		else if (parent && !parent->node)
			all[i].why = parent->why;
		else
			all[i].why = find(s, n, parent ? parent->node : NULL, &all[i].node);
	}
	return all;
}

/* reopen - what a fid is besides a node. */
static int reopen(struct p9_server *s, struct p9_fid *fid, const struct saved_fid *from)
{
	switch (from->kind) {
	case FID_FILE:
	case FID_DIR:
		if (s->f->readonly && (from->flags & O_ACCMODE) != O_RDONLY)
			return -EROFS;
		fid->fd = local_open(s->f, fid->node->fd, (int)from->flags);
		if (fid->fd < 0)
			return fid->fd;
		fid->flags = (int)from->flags;
		fid->listing = p9_listing_copy(from->listing);
		fid->dir_at = from->listing ? p9_listing_from(from->listing) : 0;
		break;
	case FID_XATTR_WRITE:
	case FID_XATTR_READ:
		fid->xattr = p9_xattr_alloc(s, from->size);
		if (!fid->xattr)
			return -ENOMEM;
		if (from->len)
			memcpy(fid->xattr, from->value, from->len);
		fid->xattr_len = from->len;
		fid->xattr_size = from->size;
		fid->xattr_flags = (int)from->flags;
		if (from->name)
			fid->xattr_name = xstrdup(from->name);
		break;
	case FID_NODE:
		break;
	}
	return 0;
}

/* add_fid - from a saved one whose file is n, or NULL: why it was lost just now, or 0. */
static int add_fid(struct p9_server *s, const struct saved_fid *from, const struct found *file)
{
	struct p9_node *n = file && file->node ? p9_node_ref(s, file->node) : NULL;
	struct p9_fid *fid;
	int r;

	/* Numbers are all different, and not too many. */
	bug_on(p9_fid_new(s, from->num, from->uid, n, &fid));
	r = n ? reopen(s, fid, from) : file ? file->why : 0;
	fid->kind = from->kind;
	if (!n || r) {
		fid->stale = true;
		fid->node = NULL;
		p9_node_put(s, n);
		if (fid->fd < 0)
			fid->fd = -1;
	}
	p9_fid_put(s, fid);
	return r;
}

/* show_path - of a node, at the end of buf; what is too long loses its beginning. */
static const char *show_path(const struct p9_saved *v, uint32_t node, char buf[static PATH_SHOWN])
{
	char *p = buf + PATH_SHOWN - 1;

	*p = 0;
	if (!v->nodes[node - 1].parent)
		return strcpy(buf, ".");
	for (; v->nodes[node - 1].parent; node = v->nodes[node - 1].parent) {
		const char *name = v->nodes[node - 1].name;
		size_t len = strlen(name);

		if (len + 4 > (size_t)(p - buf)) {
			p -= 3;
			return memcpy(p, "...", 3);
		}
		if (*p)
			*--p = '/';
		p -= len;
		memcpy(p, name, len);
		/* A guest must not write to a terminal by way of names. */
		for (size_t i = 0; i < len; i++)
			if ((uint8_t)p[i] < ' ' || p[i] == 0x7f)
				p[i] = '?';
	}
	return p;
}

static const char *show_reason(int why)
{
	return why == -ENOENT || why == -ENOTDIR ? "gone"
	       : why == -ESTALE			 ? "another file"
						 : strerror(-why);
}

/* What was lost, gathered for one line. */
struct losses {
	unsigned fids, named;
	char *text;
};

static void lose(struct losses *l, const struct p9_saved *v, uint32_t node, struct found *file,
		 int why)
{
	char buf[PATH_SHOWN], *text;

	l->fids++;
	if (file->named)
		return;
	file->named = true;
	if (l->named++ >= NAMED_MAX)
		return;
	text = xasprintf("%s%s%s (%s)", l->text ? l->text : "", l->text ? ", " : "",
			 show_path(v, node, buf), show_reason(why));
	free(l->text);
	l->text = text;
}

static void report(const struct p9_server *s, const struct p9_saved *v, struct losses *l)
{
	if (l->fids)
		log_printf(s->f->log,
			   "shared folder %s: of %u files in use when the machine was saved, %u "
			   "can't be used any more: %s%s\n",
			   s->f->path, v->n_fids, l->fids, l->text,
			   l->named > NAMED_MAX ? ", ..." : "");
	free(l->text);
}

void p9_load(struct p9_server *s, const struct p9_saved *v)
{
	struct losses losses = {0};
	struct found *files;

	p9_reset(s);
	lock_take(&s->lock);
	s->msize = v->msize;
	lock_drop(&s->lock);
	files = find_all(s, v);
	for (uint32_t i = 0; i < v->n_fids; i++) {
		const struct saved_fid *from = &v->fids[i];
		struct found *file = from->stale ? NULL : &files[from->node - 1];
		int r = add_fid(s, from, file);

		if (r)
			lose(&losses, v, from->node, file, r);
	}
	for (uint32_t i = 0; i < v->n_nodes; i++) {
		if (v->nodes[i].kept && !v->nodes[i].same && files[i].node)
			p9_orphan_finish(files[i].node->fd, &v->nodes[i].orphan);
		p9_node_put(s, files[i].node);
	}
	free(files);
	report(s, v, &losses);
}
