/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9P messages about extended attributes.  A fid stands for a value (or the list of names):
 * Txattrwalk makes one that is read from memory, Txattrcreate turns one into a buffer that is
 * written, and becomes the attribute when the fid is clunked.  Values of one client take no more
 * than P9_XATTR_MEM.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

uint8_t *p9_xattr_alloc(struct p9_server *s, size_t size)
{
	if (atomic_fetch_add(&s->xattr_mem, size) > P9_XATTR_MEM - size) {
		atomic_fetch_sub(&s->xattr_mem, size);
		return NULL;
	}
	return xzalloc(size + 1);
}

void p9_xattr_free(struct p9_server *s, struct p9_fid *fid)
{
	if (fid->xattr)
		atomic_fetch_sub(&s->xattr_mem, fid->xattr_size);
	free(fid->xattr);
	free(fid->xattr_name);
}

/* Make a new fid one for reading `value`. */
static int reading_fid(struct p9_call *c, struct p9_fid *fid, const uint8_t *value, size_t len)
{
	uint8_t *copy = p9_xattr_alloc(c->s, len);
	int r = 0;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, value, len);
	lock_take(&fid->lock);
	if (fid->kind == FID_NODE) {
		fid->kind = FID_XATTR_READ;
		fid->xattr = copy;
		fid->xattr_len = fid->xattr_size = len;
	} else {
		r = -EBUSY;
	}
	lock_drop(&fid->lock);
	if (r) {
		atomic_fetch_sub(&c->s->xattr_mem, len);
		free(copy);
	}
	return r;
}

static int xattr_walk(struct p9_call *c, struct p9_fid *fid, uint32_t num, const char *name,
		      uint8_t *buf)
{
	struct p9_node *n = p9_fid_node(c->s, fid);
	struct p9_fid *to;
	ssize_t len;
	int r;

	len = *name ? local_getxattr(c->f, n->fd, name, buf, FS_XATTR_MAX)
		    : local_listxattr(c->f, n->fd, (char *)buf, FS_XATTR_MAX);
	r = len < 0 ? (int)len : p9_fid_new(c->s, num, fid->uid, n, &to);
	if (r) {
		p9_node_put(c->s, n);
		return r;
	}
	r = reading_fid(c, to, buf, (size_t)len);
	if (r)
		p9_fid_remove(c->s, to);
	p9_fid_put(c->s, to);
	p9_put64(&c->out, (uint64_t)len);
	return r;
}

int p9_xattrwalk(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), newfid = p9_get32(&c->in);
	const char *name = p9_getstr(&c->in);
	struct p9_fid *fid;
	uint8_t *buf;
	int r;

	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	buf = xrealloc(NULL, FS_XATTR_MAX);
	r = xattr_walk(c, fid, newfid, name, buf);
	free(buf);
	p9_fid_put(c->s, fid);
	return r;
}

static int writing_fid(struct p9_call *c, struct p9_fid *fid, const char *name, uint64_t size,
		       int flags)
{
	uint8_t *value;

	if (fid->kind != FID_NODE)
		return -EBUSY;
	value = p9_xattr_alloc(c->s, size);
	if (!value)
		return -ENOMEM;
	fid->kind = FID_XATTR_WRITE;
	fid->xattr = value;
	fid->xattr_size = size;
	fid->xattr_len = 0;
	fid->xattr_name = xstrdup(name);
	fid->xattr_flags = flags;
	return 0;
}

int p9_xattrcreate(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), flags;
	const char *name = p9_getstr(&c->in);
	uint64_t size = p9_get64(&c->in);
	struct p9_fid *fid;
	int r;

	flags = p9_get32(&c->in);
	if (c->in.error)
		return c->in.error;
	if (!*name || strlen(name) > P9_XATTR_NAME_MAX)
		return -ERANGE;
	if (size > FS_XATTR_MAX)
		return -E2BIG;
	if (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	lock_take(&fid->lock);
	r = writing_fid(c, fid, name, size, (int)flags);
	lock_drop(&fid->lock);
	p9_fid_put(c->s, fid);
	return r;
}

int p9_xattr_read(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count)
{
	off = min_u64(off, fid->xattr_len);
	count = (uint32_t)min_u64(count, fid->xattr_len - off);
	p9_iov_put(c->io->in, c->io->n_in, P9_READ_HDR, fid->xattr + off, count);
	p9_put32(&c->out, count);
	c->direct = count;
	return 0;
}

int p9_xattr_write(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count)
{
	int r = 0;

	lock_take(&fid->lock);
	if (off > fid->xattr_len || !range_fits(off, count, fid->xattr_size)) {
		r = -ENOSPC;
	} else {
		p9_iov_get(c->io->out, c->io->n_out, P9_WRITE_HDR, fid->xattr + off, count);
		fid->xattr_len = max_u64(fid->xattr_len, off + count);
		p9_put32(&c->out, count);
	}
	lock_drop(&fid->lock);
	return r;
}

int p9_xattr_commit(struct p9_server *s, struct p9_fid *fid)
{
	int r = 0;

	lock_take(&fid->lock);
	if (fid->kind != FID_XATTR_WRITE)
		;
	else if (fid->stale)
		r = -ESTALE;
	else if (fid->xattr_len != fid->xattr_size)
		r = -EINVAL;
	/* Nothing to replace a value by: this is how clients ask for its removal. */
	else if (!fid->xattr_size && fid->xattr_flags == XATTR_REPLACE)
		r = local_removexattr(s->f, fid->node->fd, fid->xattr_name);
	else
		r = local_setxattr(s->f, fid->node->fd, fid->xattr_name, fid->xattr,
				   fid->xattr_size, fid->xattr_flags);
	lock_drop(&fid->lock);
	return r;
}
