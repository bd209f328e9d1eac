/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a shared folder, by descriptors.
 *
 * The guest must not reach anything outside of the folder, whatever it asks and whoever moves files
 * about at the same time.  So no path is ever resolved here, only one name in one open folder, by
 * the *at() calls:
 *
 * - The caller passes a single component that is neither "." nor "..": the kernel looks it up in
 *   that very folder and nowhere else.
 * - The last component is never followed when it is a symbolic link (O_NOFOLLOW,
 * AT_SYMLINK_NOFOLLOW; mkdirat, mknodat, symlinkat, linkat, renameat and unlinkat never do).  The
 * guest gets the link, reads it, and resolves it itself.
 *
 * With one component and no links there is nothing in between that a race could swap, and nothing
 * that openat2's RESOLVE_BENEATH would add.  (".." is answered by the session, from the parents
 * that it went through.)
 *
 * A node is an O_PATH descriptor: it keeps naming the same file when this is renamed, or unlinked,
 * and opening it opens nothing: no device's driver is called, no fifo blocks.  What needs more than
 * that is done through /proc/self/fd/N, which leads to the file itself and not through its name.
 * Contents are opened only after the node was seen to be a regular file or a folder; as the node
 * can't become anything else, no check can come too late.
 *
 * Spec: open(2) (O_PATH), proc(5), path_resolution(7).
 */
#include "back/fs/local.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/base.h"
#include "base/log.h"

#define NODE_FLAGS (O_PATH | O_NOFOLLOW | O_CLOEXEC)
#define OPEN_FLAGS \
	(O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC | O_NOATIME | O_DIRECTORY | O_NOFOLLOW)

struct proc_path proc_path(int fd)
{
	struct proc_path p;

	snprintf(p.s, sizeof(p.s), "/proc/self/fd/%d", fd);
	return p;
}

/* A guest that opens ever more must not use up what the rest of this process needs. */
static bool fd_reserve(struct fsdev *f)
{
	if (atomic_fetch_add(&f->fds, 1) < f->fd_max)
		return true;
	atomic_fetch_sub(&f->fds, 1);
	return false;
}

static int fd_done(struct fsdev *f, int fd)
{
	if (fd >= 0)
		return fd;
	fd = -errno;
	atomic_fetch_sub(&f->fds, 1);
	return fd;
}

void local_close(struct fsdev *f, int fd)
{
	if (fd < 0)
		return;
	close(fd);
	atomic_fetch_sub(&f->fds, 1);
}

int local_walk(struct fsdev *f, int dir, const char *name)
{
	if (!fd_reserve(f))
		return -ENFILE;
	return fd_done(f, openat(dir, name, NODE_FLAGS));
}

int local_dup(struct fsdev *f, int node)
{
	if (!fd_reserve(f))
		return -ENFILE;
	return fd_done(f, open(proc_path(node).s, O_PATH | O_CLOEXEC));
}

static int node_stat(struct fsdev *f, int node, struct stat *st, enum map_part part)
{
	if (fstatat(node, "", st, AT_EMPTY_PATH))
		return -errno;
	if (f->security == FS_MAPPED_XATTR)
		map_stat(proc_path(node).s, st, part);
	return 0;
}

int local_stat(struct fsdev *f, int node, struct stat *st)
{
	return node_stat(f, node, st, MAP_ALL);
}

int local_type(struct fsdev *f, int node, struct stat *st)
{
	return node_stat(f, node, st, MAP_MODE);
}

/*
 * Inode numbers are unique on one device only.  The upper 16 bits of a qid's path stand for where
 * the lower 48 come from, device and upper bits of the inode number, in the order of appearance;
 * the device of the folder itself has 0, so that there a path is the inode number.
 */
static struct fs_origin *origin_find(struct fsdev *f, dev_t dev, uint16_t high)
{
	uint64_t h = (dev * 65537 + high) * UINT64_C(0x9e3779b97f4a7c15);

	for (uint32_t i = (uint32_t)(h >> 40);; i++) {
		struct fs_origin *o = &f->origins[i % FS_DEVS_HASH];

		if (!o->used || (o->dev == dev && o->ino_high == high))
			return o;
	}
}

static int origin_number(struct fsdev *f, dev_t dev, uint16_t high, uint16_t *n)
{
	struct fs_origin *o;
	int r = 0;

	lock_take(&f->lock);
	o = origin_find(f, dev, high);
	if (!o->used && f->n_origins == FS_DEVS_MAX)
		r = -ENFILE;
	else if (!o->used)
		*o = (struct fs_origin){.dev = dev,
					.ino_high = high,
					.used = true,
					.n = (uint16_t)f->n_origins++};
	*n = o->n;
	lock_drop(&f->lock);
	return r;
}

void local_qid_keep(struct fsdev *f, dev_t dev, ino_t ino, uint64_t path)
{
	uint16_t n = (uint16_t)(path >> 48), high = (uint16_t)(ino >> 48);
	struct fs_origin *o;
	bool taken = false;

	if (!n || f->multidevs != FS_REMAP || bits_get(path, 47, 0) != bits_get(ino, 47, 0) ||
	    (dev == f->root_dev && !high))
		return;
	lock_take(&f->lock);
	o = origin_find(f, dev, high);
	for (uint32_t i = 0; !o->used && i < FS_DEVS_HASH; i++)
		taken |= f->origins[i].used && f->origins[i].n == n;
	if (!o->used && !taken) {
		*o = (struct fs_origin){.dev = dev, .ino_high = high, .used = true, .n = n};
		f->n_origins = (uint32_t)max_u64(f->n_origins, n + 1u);
	}
	lock_drop(&f->lock);
}

int local_qid_path(struct fsdev *f, dev_t dev, ino_t ino, uint64_t *path)
{
	uint16_t n = 0;
	int r = 0;

	if (dev != f->root_dev && f->multidevs == FS_FORBID)
		return -ENODEV;
	if (f->multidevs == FS_WARN) {
		if (dev != f->root_dev && !atomic_exchange(&f->warned, true))
			log_printf(f->log,
				   "shared folder %s spans several file systems: numbers of "
				   "files may collide (multidevs=remap prevents it)\n",
				   f->path);
		*path = ino;
		return 0;
	}
	if (dev != f->root_dev || ino >> 48)
		r = origin_number(f, dev, (uint16_t)(ino >> 48), &n);
	*path = (uint64_t)n << 48 | bits_get(ino, 47, 0);
	return r;
}

int local_qid(struct fsdev *f, const struct stat *st, struct fs_qid *q)
{
	q->type = S_ISDIR(st->st_mode) ? QTDIR : S_ISLNK(st->st_mode) ? QTSYMLINK : QTFILE;
	/* Differs when the contents do, as far as a version of 32 bits can. */
	q->version = (uint32_t)(st->st_mtim.tv_sec * 1000003 + st->st_mtim.tv_nsec) ^
		     (uint32_t)((uint64_t)st->st_size << 8);
	return local_qid_path(f, st->st_dev, st->st_ino, &q->path);
}

static int open_node(struct fsdev *f, int node, int flags)
{
	struct proc_path p = proc_path(node);
	int fd;

	if (!fd_reserve(f))
		return -ENFILE;
	/* O_NOFOLLOW would refuse /proc's link itself. */
	flags = (flags & OPEN_FLAGS & ~O_NOFOLLOW) | O_NOCTTY | O_CLOEXEC;
	fd = open(p.s, flags);
	if (fd < 0 && errno == EPERM && flags & O_NOATIME)
		fd = open(p.s, flags & ~O_NOATIME);
	return fd_done(f, fd);
}

int local_open(struct fsdev *f, int node, int flags)
{
	struct stat st;
	int r = local_type(f, node, &st);

	if (r)
		return r;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -ENXIO;
	if (S_ISDIR(st.st_mode)) {
		if (flags & (O_ACCMODE | O_TRUNC))
			return -EISDIR;
		flags |= O_DIRECTORY;
	}
	return open_node(f, node, flags);
}

/* make_own - give a file that was just made its owner and exact mode (no umask of this process). */
static int make_own(struct fsdev *f, int fd, const struct fs_cred *c)
{
	struct stat st;

	if (f->security == FS_MAPPED_XATTR)
		return map_create(fd, c);
	if (fstatat(fd, "", &st, AT_EMPTY_PATH))
		return -errno;
	if (st.st_uid != c->uid || st.st_gid != c->gid) {
		int r = fchownat(fd, "", c->uid, c->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);

		if (r && !(f->security == FS_NONE && errno == EPERM))
			return -errno;
		/* It may have cleared the bits of set-id. */
		if (!r)
			st.st_mode &= ~(mode_t)(S_ISUID | S_ISGID);
	}
	if (!S_ISLNK(st.st_mode) && (st.st_mode & 07777) != (c->mode & 07777) &&
	    chmod(proc_path(fd).s, c->mode & 07777))
		return -errno;
	return 0;
}

/* make_done - the same by name; what can't be made right goes away again.  type: of what the call
 * before made; if there is something else now, it is none of our business. */
static int make_done(struct fsdev *f, int dir, const char *name, const struct fs_cred *c,
		     mode_t type)
{
	struct stat st;
	int r, fd = local_walk(f, dir, name);

	if (fd < 0) {
		r = fd;
	} else {
		r = fstatat(fd, "", &st, AT_EMPTY_PATH) ? -errno : 0;
		if (!r && (st.st_mode & S_IFMT) != type)
			r = -ESTALE;
		else if (!r)
			r = make_own(f, fd, c);
		local_close(f, fd);
	}
	if (r && r != -ESTALE)
		unlinkat(dir, name, S_ISDIR(type) ? AT_REMOVEDIR : 0);
	return r;
}

static int open_existing(struct fsdev *f, int dir, const char *name, int flags)
{
	struct stat st;
	int fd, node = local_walk(f, dir, name);

	if (node < 0)
		return node;
	fd = fstatat(node, "", &st, AT_EMPTY_PATH) ? -errno : 0;
	if (!fd)
		fd = S_ISDIR(st.st_mode) ? -EISDIR : local_open(f, node, flags);
	local_close(f, node);
	return fd;
}

static mode_t make_mode(const struct fsdev *f, mode_t mode)
{
	if (f->security == FS_MAPPED_XATTR)
		return S_ISDIR(mode) ? f->dmode : f->fmode;
	return mode & 07777;
}

int local_create(struct fsdev *f, int dir, const char *name, int flags, const struct fs_cred *c)
{
	int r, fd, excl = flags & O_EXCL;

	/* Always with O_EXCL: what is there might be a fifo or a device.  A file that comes and
	 * goes between the two attempts is not worth more than a few rounds. */
	for (int tries = 0; tries < 8; tries++) {
		if (!fd_reserve(f))
			return -ENFILE;
		fd = fd_done(f, openat(dir, name,
				       (flags & OPEN_FLAGS & ~(O_NOATIME | O_TRUNC | O_DIRECTORY)) |
					       O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC,
				       make_mode(f, S_IFREG | c->mode)));
		if (fd != -EEXIST || excl)
			break;
		fd = open_existing(f, dir, name, flags);
		if (fd != -ENOENT)
			return fd;
	}
	if (fd < 0)
		return fd;
	r = make_own(f, fd, c);
	if (r) {
		local_close(f, fd);
		unlinkat(dir, name, 0);
		return r;
	}
	return fd;
}

int local_mkdir(struct fsdev *f, int dir, const char *name, const struct fs_cred *c)
{
	if (mkdirat(dir, name, make_mode(f, S_IFDIR | c->mode)))
		return -errno;
	return make_done(f, dir, name, c, S_IFDIR);
}

int local_mknod(struct fsdev *f, int dir, const char *name, const struct fs_cred *c)
{
	mode_t mode = c->mode;

	if (S_ISDIR(mode) || S_ISLNK(mode))
		return -EINVAL;
	if (f->security == FS_MAPPED_XATTR)
		mode = S_IFREG | make_mode(f, S_IFREG);
	if (mknodat(dir, name, mode, S_ISCHR(mode) || S_ISBLK(mode) ? c->rdev : 0))
		return -errno;
	return make_done(f, dir, name, c, mode & S_IFMT);
}

/* A link of a guest that owns only mapped files is a file: its target is what is in it. */
static int mapped_symlink(struct fsdev *f, int dir, const char *name, const char *target,
			  const struct fs_cred *c)
{
	size_t len = strlen(target);
	int fd, r = 0;

	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	if (!fd_reserve(f))
		return -ENFILE;
	fd = fd_done(f, openat(dir, name,
			       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC,
			       make_mode(f, S_IFREG)));
	if (fd < 0)
		return fd;
	errno = EIO;
	if (write(fd, target, len) != (ssize_t)len)
		r = -errno;
	else
		r = map_create(fd, c);
	local_close(f, fd);
	if (r)
		unlinkat(dir, name, 0);
	return r;
}

int local_symlink(struct fsdev *f, int dir, const char *name, const char *target,
		  const struct fs_cred *c)
{
	if (!*target)
		return -ENOENT;
	if (f->security == FS_MAPPED_XATTR)
		return mapped_symlink(f, dir, name, target, c);
	if (symlinkat(target, dir, name))
		return -errno;
	return make_done(f, dir, name, c, S_IFLNK);
}

int local_link(struct fsdev *f, int node, int dir, const char *name)
{
	return linkat(AT_FDCWD, proc_path(node).s, dir, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

int local_rename(struct fsdev *f, int dir, const char *name, int new_dir, const char *new_name)
{
	return renameat(dir, name, new_dir, new_name) ? -errno : 0;
}

int local_unlink(struct fsdev *f, int dir, const char *name, int flags)
{
	return unlinkat(dir, name, flags & AT_REMOVEDIR) ? -errno : 0;
}

ssize_t local_readlink(struct fsdev *f, int node, char *buf, size_t size)
{
	struct stat real, st;
	ssize_t n;
	int fd, r = local_type(f, node, &st);

	if (r)
		return r;
	if (!S_ISLNK(st.st_mode))
		return -EINVAL;
	if (fstatat(node, "", &real, AT_EMPTY_PATH))
		return -errno;
	if (S_ISLNK(real.st_mode)) {
		n = readlinkat(node, "", buf, size);
		return n < 0 ? -errno : n;
	}
	fd = open_node(f, node, O_RDONLY);
	if (fd < 0)
		return fd;
	n = pread(fd, buf, size, 0);
	r = -errno;
	local_close(f, fd);
	if (n < 0)
		return r;
	/* The host may have put anything in it. */
	return (ssize_t)strnlen(buf, (size_t)n);
}

int local_chmod(struct fsdev *f, int node, mode_t mode)
{
	struct stat st;
	int r;

	if (f->security != FS_MAPPED_XATTR)
		return chmod(proc_path(node).s, mode & 07777) ? -errno : 0;
	r = local_type(f, node, &st);
	return r ? r : map_set_mode(proc_path(node).s, (st.st_mode & S_IFMT) | (mode & 07777));
}

int local_chown(struct fsdev *f, int node, uid_t uid, gid_t gid)
{
	/* Neither is how a new time of change is asked for. */
	if (f->security == FS_MAPPED_XATTR && (uid != (uid_t)-1 || gid != (gid_t)-1))
		return map_set_owner(proc_path(node).s, uid, gid);
	return fchownat(node, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

int local_truncate(struct fsdev *f, int node, off_t size)
{
	struct stat st;
	int r = local_type(f, node, &st);

	if (r)
		return r;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return truncate(proc_path(node).s, size) ? -errno : 0;
}

int local_utimes(struct fsdev *f, int node, const struct timespec ts[2])
{
	return utimensat(AT_FDCWD, proc_path(node).s, ts, 0) ? -errno : 0;
}

int local_statfs(struct fsdev *f, int node, struct statfs *sf)
{
	return fstatfs(node, sf) ? -errno : 0;
}
