/* SPDX-License-Identifier: Apache-2.0 */
/* 9P messages about attributes, file systems and locks. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

#define GETATTR_BASIC UINT64_C(0x7ff)

enum {
	ATTR_MODE = 1 << 0,
	ATTR_UID = 1 << 1,
	ATTR_GID = 1 << 2,
	ATTR_SIZE = 1 << 3,
	ATTR_ATIME = 1 << 4,
	ATTR_MTIME = 1 << 5,
	ATTR_CTIME = 1 << 6,
	ATTR_ATIME_SET = 1 << 7,
	ATTR_MTIME_SET = 1 << 8,
};

struct p9_attr {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec ts[2];
};

int p9_getattr(struct p9_call *c)
{
	struct p9_out *o = &c->out;
	struct p9_node *n;
	struct fs_qid q;
	struct stat st;
	int r;

	n = p9_dir(c, p9_get32(&c->in), NULL, &r);
	p9_get64(&c->in); /* request_mask */
	if (c->in.error)
		r = c->in.error;
	if (!r)
		r = local_stat(c->f, n->fd, &st);
	if (!r)
		r = local_qid(c->f, &st, &q);
	p9_node_put(c->s, n);
	if (r)
		return r;
	p9_put64(o, GETATTR_BASIC);
	p9_putqid(o, &q);
	p9_put32(o, st.st_mode);
	p9_put32(o, st.st_uid);
	p9_put32(o, st.st_gid);
	p9_put64(o, st.st_nlink);
	p9_put64(o, st.st_rdev);
	p9_put64(o, (uint64_t)st.st_size);
	p9_put64(o, (uint64_t)st.st_blksize);
	p9_put64(o, (uint64_t)st.st_blocks);
	p9_put64(o, (uint64_t)st.st_atim.tv_sec);
	p9_put64(o, (uint64_t)st.st_atim.tv_nsec);
	p9_put64(o, (uint64_t)st.st_mtim.tv_sec);
	p9_put64(o, (uint64_t)st.st_mtim.tv_nsec);
	p9_put64(o, (uint64_t)st.st_ctim.tv_sec);
	p9_put64(o, (uint64_t)st.st_ctim.tv_nsec);
	for (int i = 0; i < 4; i++)
		p9_put64(o, 0); /* btime, gen, data_version: not valid */
	return 0;
}

static int set_times(struct p9_call *c, int node, const struct p9_attr *a)
{
	static const uint32_t given[2] = {ATTR_ATIME, ATTR_MTIME};
	static const uint32_t exact[2] = {ATTR_ATIME_SET, ATTR_MTIME_SET};
	struct timespec ts[2];

	if (!(a->valid & (ATTR_ATIME | ATTR_MTIME)))
		return 0;
	for (int i = 0; i < 2; i++) {
		ts[i] = a->ts[i];
		if (!(a->valid & given[i]))
			ts[i].tv_nsec = UTIME_OMIT;
		else if (!(a->valid & exact[i]))
			ts[i].tv_nsec = UTIME_NOW;
		else if (ts[i].tv_nsec < 0 || ts[i].tv_nsec > 999999999)
			return -EINVAL;
	}
	return local_utimes(c->f, node, ts);
}

static int set_size(struct p9_call *c, struct p9_fid *fid, int node, uint64_t size)
{
	bool writable;

	if (size > INT64_MAX)
		return -EINVAL;
	lock_take(&fid->lock);
	writable = fid->kind == FID_FILE && (fid->flags & O_ACCMODE) != O_RDONLY;
	lock_drop(&fid->lock);
	/* Who has it open may, whatever the file's mode is by now. */
	if (writable)
		return ftruncate(fid->fd, (off_t)size) ? -errno : 0;
	return local_truncate(c->f, node, (off_t)size);
}

/* set_attr - the size first, as it sets times; the mode after the owner, as a new owner clears
 * bits. */
static int set_attr(struct p9_call *c, struct p9_fid *fid, int node, const struct p9_attr *a)
{
	uid_t uid = a->valid & ATTR_UID ? a->uid : (uid_t)-1;
	gid_t gid = a->valid & ATTR_GID ? a->gid : (gid_t)-1;
	bool chown = a->valid & (ATTR_UID | ATTR_GID), touch = a->valid == ATTR_CTIME;
	int r = 0;

	if (a->valid & ATTR_SIZE)
		r = set_size(c, fid, node, a->size);
	if (!r && (chown || touch))
		r = local_chown(c->f, node, uid, gid);
	if (!r && a->valid & ATTR_MODE)
		r = local_chmod(c->f, node, a->mode);
	return r ? r : set_times(c, node, a);
}

int p9_setattr(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	struct p9_attr a = {.valid = p9_get32(&c->in)};
	struct p9_node *n;
	struct p9_fid *fid;
	int r;

	a.mode = p9_get32(&c->in);
	a.uid = p9_get32(&c->in);
	a.gid = p9_get32(&c->in);
	a.size = p9_get64(&c->in);
	for (int i = 0; i < 2; i++) {
		a.ts[i].tv_sec = (time_t)p9_get64(&c->in);
		a.ts[i].tv_nsec = (long)p9_get64(&c->in);
	}
	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	n = p9_fid_node(c->s, fid);
	r = set_attr(c, fid, n->fd, &a);
	p9_node_put(c->s, n);
	p9_fid_put(c->s, fid);
	return r;
}

int p9_statfs(struct p9_call *c)
{
	struct p9_out *o = &c->out;
	struct statfs sf;
	struct p9_node *n;
	uint64_t fsid;
	int r;

	n = p9_dir(c, p9_get32(&c->in), NULL, &r);
	if (c->in.error)
		r = c->in.error;
	if (!r)
		r = local_statfs(c->f, n->fd, &sf);
	p9_node_put(c->s, n);
	if (r)
		return r;
	memcpy(&fsid, &sf.f_fsid, sizeof(fsid));
	p9_put32(o, (uint32_t)sf.f_type);
	p9_put32(o, (uint32_t)sf.f_bsize);
	p9_put64(o, sf.f_blocks);
	p9_put64(o, sf.f_bfree);
	p9_put64(o, sf.f_bavail);
	p9_put64(o, sf.f_files);
	p9_put64(o, sf.f_ffree);
	p9_put64(o, fsid);
	p9_put32(o, (uint32_t)sf.f_namelen);
	return 0;
}

/*
 * Locks are the guest kernel's: it has granted one among its own processes before it asks here, and
 * is told yes.  (A host lock would belong to one fid, but two fids can be one process, which may
 * lock a file twice.)
 */
enum { P9_LOCK_READ, P9_LOCK_WRITE, P9_LOCK_NONE };
enum { P9_LOCK_SUCCESS };

static int known_fid(struct p9_call *c, uint32_t num, uint8_t type)
{
	struct p9_fid *fid;
	int r;

	if (c->in.error)
		return c->in.error;
	fid = p9_fid_use(c->s, num, &r);
	if (!fid)
		return r;
	p9_fid_put(c->s, fid);
	return type > P9_LOCK_NONE ? -EINVAL : 0;
}

int p9_lock(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in);
	uint8_t type = p9_get8(&c->in);
	int r;

	p9_get32(&c->in); /* flags */
	p9_get64(&c->in); /* start, length, process */
	p9_get64(&c->in);
	p9_get32(&c->in);
	p9_getstr(&c->in);
	r = known_fid(c, num, type);
	p9_put8(&c->out, P9_LOCK_SUCCESS);
	return r;
}

int p9_getlock(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), proc;
	uint8_t type = p9_get8(&c->in);
	uint64_t start = p9_get64(&c->in), length = p9_get64(&c->in);
	const char *client;
	int r;

	proc = p9_get32(&c->in);
	client = p9_getstr(&c->in);
	r = known_fid(c, num, type);
	p9_put8(&c->out, P9_LOCK_NONE);
	p9_put64(&c->out, start);
	p9_put64(&c->out, length);
	p9_put32(&c->out, proc);
	p9_putstr(&c->out, client, strlen(client));
	return r;
}
