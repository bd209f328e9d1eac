/* SPDX-License-Identifier: Apache-2.0 */
/* 9P messages about names: walking, making, linking, renaming, removing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

/* walk_one - *n becomes what is called name in it. */
static int walk_one(struct p9_call *c, struct p9_node **n, const char *name, struct fs_qid *q)
{
	struct p9_node *from = *n, *to;
	struct stat st;
	int fd, r;

	if (!*name || strchr(name, '/'))
		return -ENOENT;
	if (!from->dir)
		return -ENOTDIR;
	if (!strcmp(name, ".")) {
		to = p9_node_ref(c->s, from);
	} else if (!strcmp(name, "..")) {
		to = p9_node_parent(c->s, from);
	} else {
		fd = local_walk(c->f, from->fd, name);
		if (fd < 0)
			return fd;
		r = p9_node_new(c->s, fd, NULL, from, name, &to);
		if (r)
			return r;
	}
	r = local_type(c->f, to->fd, &st);
	if (!r)
		r = local_qid(c->f, &st, q);
	p9_node_put(c->s, r ? to : from);
	if (!r)
		*n = to;
	return r;
}

/* walk_end - the fid that a walk was for; takes over n. */
static int walk_end(struct p9_call *c, struct p9_fid *fid, uint32_t newfid, struct p9_node *n)
{
	int r = 0;

	if (newfid != fid->num) {
		r = p9_fid_new(c->s, newfid, fid->uid, n, NULL);
	} else {
		lock_take(&fid->lock);
		if (fid->kind == FID_NODE)
			p9_fid_set_node(c->s, fid, n);
		else
			r = -EBUSY;
		lock_drop(&fid->lock);
	}
	if (r)
		p9_node_put(c->s, n);
	return r;
}

static int walk(struct p9_call *c, struct p9_fid *fid, uint32_t newfid, char *const *names,
		unsigned n_names)
{
	struct p9_node *n = p9_fid_node(c->s, fid);
	struct fs_qid q[P9_WALK_MAX];
	unsigned i;
	int r = 0;

	for (i = 0; i < n_names; i++) {
		r = walk_one(c, &n, names[i], &q[i]);
		if (r)
			break;
	}
	/* Half a walk succeeds, but makes no fid. */
	if (i == n_names)
		r = walk_end(c, fid, newfid, n);
	else
		p9_node_put(c->s, n);
	if (r && (i == 0 || i == n_names))
		return r;
	p9_put16(&c->out, (uint16_t)i);
	for (unsigned k = 0; k < i; k++)
		p9_putqid(&c->out, &q[k]);
	return 0;
}

int p9_walk(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), newfid = p9_get32(&c->in);
	unsigned n = p9_get16(&c->in);
	char *names[P9_WALK_MAX];
	struct p9_fid *fid;
	int r;

	if (n > P9_WALK_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		names[i] = p9_getstr(&c->in);
	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	lock_take(&fid->lock);
	r = fid->kind == FID_XATTR_READ || fid->kind == FID_XATTR_WRITE ? -EBADF : 0;
	lock_drop(&fid->lock);
	if (!r)
		r = walk(c, fid, newfid, names, n);
	p9_fid_put(c->s, fid);
	return r;
}

int p9_clunk(struct p9_call *c)
{
	struct p9_fid *fid = p9_fid_get(c->s, p9_get32(&c->in));
	int r = c->in.error;

	if (!r && !(fid && p9_fid_remove(c->s, fid)))
		r = -EBADF;
	if (!r)
		r = p9_xattr_commit(c->s, fid);
	p9_fid_put(c->s, fid);
	return r;
}

/* Replies to what makes a file end with its qid. */
static int put_qid_of(struct p9_call *c, struct p9_node *dir, const char *name)
{
	struct fs_qid q;
	struct stat st;
	int r, fd = local_walk(c->f, dir->fd, name);

	if (fd < 0)
		return fd;
	r = local_type(c->f, fd, &st);
	if (!r)
		r = local_qid(c->f, &st, &q);
	local_close(c->f, fd);
	p9_putqid(&c->out, &q);
	return r;
}

int p9_mkdir(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	const char *name = p9_getname(&c->in);
	struct fs_cred cred = {.mode = S_IFDIR | (p9_get32(&c->in) & 07777)};
	struct p9_node *dir;
	int r;

	cred.gid = p9_get32(&c->in);
	if (c->in.error)
		return c->in.error;
	dir = p9_dir(c, num, &cred.uid, &r);
	if (!dir)
		return r;
	r = local_mkdir(c->f, dir->fd, name, &cred);
	if (!r)
		r = put_qid_of(c, dir, name);
	p9_node_put(c->s, dir);
	return r;
}

int p9_mknod(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), major, minor;
	const char *name = p9_getname(&c->in);
	struct fs_cred cred = {.mode = p9_get32(&c->in) & (S_IFMT | 07777)};
	struct p9_node *dir;
	int r;

	major = p9_get32(&c->in);
	minor = p9_get32(&c->in);
	cred.rdev = makedev(major, minor);
	cred.gid = p9_get32(&c->in);
	if (c->in.error)
		return c->in.error;
	if (!(cred.mode & S_IFMT))
		cred.mode |= S_IFREG;
	dir = p9_dir(c, num, &cred.uid, &r);
	if (!dir)
		return r;
	r = local_mknod(c->f, dir->fd, name, &cred);
	if (!r)
		r = put_qid_of(c, dir, name);
	p9_node_put(c->s, dir);
	return r;
}

int p9_symlink(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	const char *name = p9_getname(&c->in), *target = p9_getstr(&c->in);
	struct fs_cred cred = {.mode = S_IFLNK | 0777, .gid = p9_get32(&c->in)};
	struct p9_node *dir;
	int r;

	if (c->in.error)
		return c->in.error;
	dir = p9_dir(c, num, &cred.uid, &r);
	if (!dir)
		return r;
	r = local_symlink(c->f, dir->fd, name, target, &cred);
	if (!r)
		r = put_qid_of(c, dir, name);
	p9_node_put(c->s, dir);
	return r;
}

int p9_link(struct p9_call *c)
{
	uint32_t dir_num = p9_get32(&c->in), num = p9_get32(&c->in);
	const char *name = p9_getname(&c->in);
	struct p9_node *dir, *n;
	int r;

	if (c->in.error)
		return c->in.error;
	dir = p9_dir(c, dir_num, NULL, &r);
	if (!dir)
		return r;
	n = p9_dir(c, num, NULL, &r);
	if (n)
		r = local_link(c->f, n->fd, dir->fd, name);
	p9_node_put(c->s, n);
	p9_node_put(c->s, dir);
	return r;
}

int p9_readlink(struct p9_call *c)
{
	struct p9_node *n;
	char buf[4096];
	ssize_t len;
	int r;

	n = p9_dir(c, p9_get32(&c->in), NULL, &r);
	if (c->in.error)
		r = c->in.error;
	if (!r) {
		len = local_readlink(c->f, n->fd, buf, sizeof(buf));
		if (len < 0)
			r = (int)len;
		else
			p9_putstr(&c->out, buf, (size_t)len);
	}
	p9_node_put(c->s, n);
	return r;
}

static int move(struct p9_call *c, struct p9_node *dir, const char *name, struct p9_node *to,
		const char *new_name)
{
	int r = local_rename(c->f, dir->fd, name, to->fd, new_name);

	if (!r)
		p9_node_moved(c->s, dir, name, to, new_name);
	return r;
}

int p9_rename(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), dir_num = p9_get32(&c->in);
	const char *new_name = p9_getname(&c->in);
	struct p9_node *n, *to, *dir;
	char *name;
	int r;

	if (c->in.error)
		return c->in.error;
	n = p9_dir(c, num, NULL, &r);
	if (!n)
		return r;
	to = p9_dir(c, dir_num, NULL, &r);
	if (to)
		r = p9_node_place(c->s, n, &dir, &name);
	if (!r) {
		r = move(c, dir, name, to, new_name);
		p9_node_put(c->s, dir);
		free(name);
	}
	p9_node_put(c->s, to);
	p9_node_put(c->s, n);
	return r;
}

int p9_renameat(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), new_num;
	const char *name = p9_getname(&c->in), *new_name;
	struct p9_node *dir, *to;
	int r;

	new_num = p9_get32(&c->in);
	new_name = p9_getname(&c->in);
	if (c->in.error)
		return c->in.error;
	dir = p9_dir(c, num, NULL, &r);
	if (!dir)
		return r;
	to = p9_dir(c, new_num, NULL, &r);
	if (to)
		r = move(c, dir, name, to, new_name);
	p9_node_put(c->s, to);
	p9_node_put(c->s, dir);
	return r;
}

static int remove_node(struct p9_call *c, struct p9_node *n)
{
	struct p9_node *dir;
	struct stat st;
	char *name;
	int r;

	if (c->f->readonly)
		return -EROFS;
	r = p9_node_place(c->s, n, &dir, &name);
	if (r)
		return r;
	r = local_type(c->f, n->fd, &st);
	if (!r)
		r = local_unlink(c->f, dir->fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	p9_node_put(c->s, dir);
	free(name);
	return r;
}

int p9_remove(struct p9_call *c)
{
	struct p9_fid *fid = p9_fid_get(c->s, p9_get32(&c->in));
	struct p9_node *n;
	int r = c->in.error;

	if (!r && !(fid && p9_fid_remove(c->s, fid)))
		r = -EBADF;
	if (!r && fid->stale)
		r = -ESTALE;
	if (!r) {
		n = p9_fid_node(c->s, fid);
		r = remove_node(c, n);
		p9_node_put(c->s, n);
	}
	p9_fid_put(c->s, fid);
	return r;
}

int p9_unlinkat(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), flags;
	const char *name = p9_getname(&c->in);
	struct p9_node *dir;
	int r;

	flags = p9_get32(&c->in);
	if (c->in.error)
		return c->in.error;
	if (flags & ~(uint32_t)AT_REMOVEDIR)
		return -EINVAL;
	dir = p9_dir(c, num, NULL, &r);
	if (!dir)
		return r;
	r = local_unlink(c->f, dir->fd, name, (int)flags);
	p9_node_put(c->s, dir);
	return r;
}
