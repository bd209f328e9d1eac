/* SPDX-License-Identifier: Apache-2.0 */
/* 9P messages about contents: opening, reading, writing, listing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

/* Flags of Tlopen and Tlcreate: what is not here is nothing to a server. */
static const struct {
	uint32_t p9;
	int host;
} open_flags[] = {
	{01, O_WRONLY},		{02, O_RDWR},	       {0200, O_EXCL},
	{01000, O_TRUNC},	{02000, O_APPEND},     {010000, O_DSYNC},
	{0200000, O_DIRECTORY}, {01000000, O_NOATIME}, {04000000, O_SYNC},
};

static int host_flags(uint32_t p9)
{
	int flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(open_flags); i++)
		if (p9 & open_flags[i].p9)
			flags |= open_flags[i].host;
	return flags;
}

static bool flags_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static int put_open(struct p9_call *c, int node)
{
	struct fs_qid q;
	struct stat st;
	int r = local_type(c->f, node, &st);

	if (!r)
		r = local_qid(c->f, &st, &q);
	if (r)
		return r;
	p9_putqid(&c->out, &q);
	p9_put32(&c->out, 0); /* iounit: as much as fits a message */
	return 0;
}

/* open_fid - fid->lock held. */
static int open_fid(struct p9_call *c, struct p9_fid *fid, int flags)
{
	struct stat st;
	int fd, r;

	if (fid->kind != FID_NODE)
		return -EBUSY;
	fd = local_open(c->f, fid->node->fd, flags);
	if (fd < 0)
		return fd;
	r = fstat(fd, &st) ? -errno : 0;
	if (!r)
		r = put_open(c, fid->node->fd);
	if (r) {
		local_close(c->f, fd);
		return r;
	}
	fid->fd = fd;
	fid->flags = flags;
	fid->kind = S_ISDIR(st.st_mode) ? FID_DIR : FID_FILE;
	return 0;
}

int p9_lopen(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	int r, flags = host_flags(p9_get32(&c->in));
	struct p9_fid *fid;

	if (c->in.error)
		return c->in.error;
	if (c->f->readonly && flags_write(flags))
		return -EROFS;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	lock_take(&fid->lock);
	r = open_fid(c, fid, flags);
	lock_drop(&fid->lock);
	p9_fid_put(c->s, fid);
	return r;
}

/* create_fid - a folder's fid becomes that of a file in it; fid->lock held. */
static int create_fid(struct p9_call *c, struct p9_fid *fid, const char *name, int flags,
		      const struct fs_cred *cred)
{
	struct p9_node *n;
	int fd, node, r;

	if (fid->kind != FID_NODE)
		return -EBUSY;
	fd = local_create(c->f, fid->node->fd, name, flags, cred);
	if (fd < 0)
		return fd;
	node = local_dup(c->f, fd);
	r = node < 0 ? node : p9_node_new(c->s, node, NULL, fid->node, name, &n);
	if (!r) {
		r = put_open(c, n->fd);
		if (r)
			p9_node_put(c->s, n);
	}
	if (r) {
		local_close(c->f, fd);
		return r;
	}
	p9_fid_set_node(c->s, fid, n);
	fid->fd = fd;
	fid->flags = flags;
	fid->kind = FID_FILE;
	return 0;
}

int p9_lcreate(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	const char *name = p9_getname(&c->in);
	int r, flags = host_flags(p9_get32(&c->in));
	struct fs_cred cred = {.mode = S_IFREG | (p9_get32(&c->in) & 07777)};
	struct p9_fid *fid;

	cred.gid = p9_get32(&c->in);
	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	cred.uid = fid->uid;
	lock_take(&fid->lock);
	r = create_fid(c, fid, name, flags, &cred);
	lock_drop(&fid->lock);
	p9_fid_put(c->s, fid);
	return r;
}

/* What a fid is does not change any more once it is open, so that nobody needs its lock to use
 * that. */
static enum p9_fid_kind fid_kind(struct p9_fid *fid)
{
	enum p9_fid_kind kind;

	lock_take(&fid->lock);
	kind = fid->kind;
	lock_drop(&fid->lock);
	return kind;
}

static int read_file(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count)
{
	struct iovec iov[IOV_MAX];
	unsigned n_iov = p9_iov_slice(c->io->in, c->io->n_in, P9_READ_HDR, count, iov, IOV_MAX);
	ssize_t n;

	if (!range_fits(off, count, INT64_MAX))
		return -EINVAL;
	do {
		n = preadv(fid->fd, iov, (int)n_iov, (off_t)off);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	p9_put32(&c->out, (uint32_t)n);
	c->direct = (uint64_t)n;
	return 0;
}

/* read_room - the most that Rread and Rreaddir can carry. */
static uint32_t read_room(const struct p9_call *c, uint32_t count)
{
	return (uint32_t)min_u64(count, min_u64(c->msize, c->in_len) - P9_READ_HDR);
}

static int write_file(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count)
{
	struct iovec iov[IOV_MAX];
	unsigned n_iov = p9_iov_slice(c->io->out, c->io->n_out, P9_WRITE_HDR, count, iov, IOV_MAX);
	ssize_t n;

	if (!range_fits(off, count, INT64_MAX))
		return -EINVAL;
	do {
		n = pwritev(fid->fd, iov, (int)n_iov, (off_t)off);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* writeout=immediate: the host's page cache keeps nothing for later. */
	if (c->f->writeout && n)
		sync_file_range(fid->fd, (off_t)off, n,
				SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
	p9_put32(&c->out, (uint32_t)n);
	return 0;
}

/* A direction: how what is of each kind is moved. */
struct transfer {
	enum p9_fid_kind xattr;
	int (*file)(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count);
	int (*value)(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count);
};

static const struct transfer reading = { FID_XATTR_READ, read_file, p9_xattr_read };
static const struct transfer writing = { FID_XATTR_WRITE, write_file, p9_xattr_write };

static int transfer(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count,
		    const struct transfer *t)
{
	enum p9_fid_kind kind = fid_kind(fid);

	if (kind == FID_FILE)
		return t->file(c, fid, off, count);
	if (kind == t->xattr)
		return t->value(c, fid, off, count);
	return kind == FID_DIR ? -EISDIR : -EBADF;
}

int p9_read(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	uint64_t off = p9_get64(&c->in);
	uint32_t count = read_room(c, p9_get32(&c->in));
	struct p9_fid *fid;
	int r;

	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (fid)
		r = transfer(c, fid, off, count, &reading);
	p9_fid_put(c->s, fid);
	return r;
}

int p9_write(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	uint64_t off = p9_get64(&c->in);
	uint32_t count = p9_get32(&c->in);
	struct p9_fid *fid;
	int r;

	if (c->in.error)
		return c->in.error;
	if (count > c->size - P9_WRITE_HDR)
		return -EPROTO;
	fid = p9_fid_use(c->s, num, &r);
	if (fid)
		r = transfer(c, fid, off, count, &writing);
	p9_fid_put(c->s, fid);
	return r;
}

/* put_entry - one of Rreaddir at p, where there are `room` bytes: its length, 0: no room. */
static int put_entry(struct p9_call *c, struct p9_fid *fid, const struct p9_entry *e, uint8_t *p,
		     size_t room)
{
	/* Links and devices may be mapped to files. */
	uint8_t dt = e->type == DT_REG && c->f->security == FS_MAPPED_XATTR ? DT_UNKNOWN : e->type;
	const struct p9_node *n = fid->node;
	bool up = e->name_len == 2 && !memcmp(e->name, "..", 2);
	uint64_t path;
	int r;

	if (room < 24 + e->name_len)
		return 0;
	/* The folder that contains the shared one is nobody's business. */
	r = local_qid_path(c->f, n->dev, up && n->root ? n->ino : e->ino, &path);
	if (r)
		return r;
	p[0] = dt == DT_DIR ? QTDIR : dt == DT_LNK ? QTSYMLINK : QTFILE;
	put_le32(p + 1, 0);
	put_le64(p + 5, path);
	put_le64(p + 13, e->off);
	p[21] = dt;
	put_le16(p + 22, (uint16_t)e->name_len);
	memcpy(p + 24, e->name, e->name_len);
	fid->dir_at = e->off;
	return (int)(24 + e->name_len);
}

/* list_saved - what was left of the folder when it was saved. */
static ssize_t list_saved(struct p9_call *c, struct p9_fid *fid, const uint8_t *at, uint8_t *to,
			  uint32_t count)
{
	struct p9_entry e;
	uint32_t len = 0;

	while (p9_listing_next(fid->listing, &at, &e)) {
		int r = put_entry(c, fid, &e, to + len, count - len);

		if (r <= 0)
			return len ? (ssize_t)len : r ? r : -EINVAL;
		len += (uint32_t)r;
	}
	return len;
}

/* list_host - what the host gave and did not fit is read again the next time. */
static ssize_t list_host(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint8_t *to,
			 uint32_t count)
{
	_Alignas(struct dirent64) char buf[16384];
	uint32_t len = 0;

	if (lseek(fid->fd, (off_t)off, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		ssize_t n = getdents64(fid->fd, buf, sizeof(buf));

		if (n < 0 && !len)
			return -errno;
		if (n <= 0)
			return len;
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(buf + at);
			struct p9_entry e = {d->d_name, strlen(d->d_name), d->d_ino,
					     (uint64_t)d->d_off, d->d_type};
			int r = put_entry(c, fid, &e, to + len, count - len);

			if (r <= 0)
				return len ? (ssize_t)len : r ? r : -EINVAL;
			len += (uint32_t)r;
			at += d->d_reclen;
		}
	}
}

/* list - fill up to count bytes with entries from position `off`, as earlier entries gave it.
 * fid->lock held; bytes, or -errno. */
static ssize_t list(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint8_t *to,
		    uint32_t count)
{
	const uint8_t *at = fid->listing ? p9_listing_after(fid->listing, off) : NULL;

	if (at)
		return list_saved(c, fid, at, to, count);
	/* From the beginning it is the host's again. */
	if (!off) {
		p9_listing_free(fid->listing);
		fid->listing = NULL;
		fid->dir_at = 0;
	}
	return list_host(c, fid, off, to, count);
}

int p9_readdir(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	uint64_t off = p9_get64(&c->in);
	uint32_t count = read_room(c, p9_get32(&c->in));
	struct p9_fid *fid;
	uint8_t *buf;
	ssize_t n;
	int r;

	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	buf = xzalloc((size_t)count + 1);
	lock_take(&fid->lock);
	n = fid->kind == FID_DIR ? list(c, fid, off, buf, count) : -ENOTDIR;
	lock_drop(&fid->lock);
	p9_fid_put(c->s, fid);
	if (n >= 0) {
		p9_iov_put(c->io->in, c->io->n_in, P9_READ_HDR, buf, (size_t)n);
		p9_put32(&c->out, (uint32_t)n);
		c->direct = (uint64_t)n;
	}
	free(buf);
	return n < 0 ? (int)n : 0;
}

int p9_fsync(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	/* Older clients don't say. */
	bool data = c->in.end - c->in.p >= 4 && p9_get32(&c->in);
	enum p9_fid_kind kind;
	struct p9_fid *fid;
	int r;

	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (fid) {
		kind = fid_kind(fid);
		if (kind != FID_FILE && kind != FID_DIR)
			r = -EBADF;
		else if (data ? fdatasync(fid->fd) : fsync(fid->fd))
			r = -errno;
	}
	p9_fid_put(c->s, fid);
	return r;
}
