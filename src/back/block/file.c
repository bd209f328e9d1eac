/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and block devices of the host.
 *
 * Past the page cache (cache.direct=on, O_DIRECT) offsets, lengths and addresses are multiples of
 * the device's block.  What is not goes through a bounce buffer; a write of a part of a block reads
 * the block first and must not meet another write to it, so such writes are alone (rmw, taken for
 * writing).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "back/block/node.h"
#include "back/block/permlock.h"
#include "base/err.h"

#define IOV_AT_ONCE 64
#define BOUNCE_MAX (1 * MiB)

struct file {
	int fd;
	bool is_block;
	uint64_t dev, ino;
	pthread_rwlock_t rmw;
	atomic_bool sync_failed;
	atomic_bool no_punch, no_zero_range; /* the file system said so */
};

bool file_is(const struct block_node *n, uint64_t dev, uint64_t ino)
{
	const struct file *f;

	if (n->drv == &node_file || n->drv == &node_host_device) {
		f = n->priv;
		return f && f->dev == dev && f->ino == ino;
	}
	return n->file && file_is(n->file, dev, ino);
}

/* Is the file one of those that it would be a backing file of? */
static int check_loop(const struct node_opts *o, const struct stat *st, const char *name,
		      struct err **e)
{
	for (const struct block_node *n = o->above; n; n = n->above)
		if (file_is(n, st->st_dev, st->st_ino))
			return err_set(e, ELOOP, "'%s': the backing files form a loop", name);
	return 0;
}

static int check_kind(const struct block_node *n, const struct stat *st, const char *name,
		      struct err **e)
{
	if (S_ISDIR(st->st_mode))
		return err_set(e, EISDIR, "'%s' is a directory", name);
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return err_set(e, ENOTBLK, "'%s' is neither a file nor a block device", name);
	if (n->drv == &node_host_device && !S_ISBLK(st->st_mode))
		return err_set(e, ENOTBLK, "'%s' is not a block device", name);
	return 0;
}

static int open_fd(struct block_node *n, const char *name, struct err **e)
{
	int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (n->mode.direct ? O_DIRECT : 0);
	int fd = open(name, flags | (n->mode.write ? O_RDWR : O_RDONLY));

	if (fd < 0 && n->mode.write && n->mode.auto_ro &&
	    (errno == EACCES || errno == EROFS || errno == EPERM)) {
		n->mode.write = false;
		n->read_only = true;
		fd = open(name, flags | O_RDONLY);
	}
	if (fd >= 0)
		return fd;
	if (errno == EINVAL && n->mode.direct)
		return err_set(e, EINVAL,
			       "'%s': its file system cannot do without the page cache "
			       "(cache=none, cache.direct=on)",
			       name);
	return err_set(e, errno, "'%s': cannot open%s: %s", name,
		       n->mode.write && errno != ENOENT ? " for writing" : "", strerror(errno));
}

/* Size in bytes, and what direct I/O wants. */
static int measure(struct block_node *n, const struct stat *st, struct err **e)
{
	struct file *f = n->priv;
	unsigned char room[8192];
	int sector = 512;

	n->size = (uint64_t)st->st_size;
	if (f->is_block) {
		if (ioctl(f->fd, BLKGETSIZE64, &n->size) < 0)
			return err_set(e, errno, "'%s': cannot find its size: %s", n->filename,
				       strerror(errno));
		ioctl(f->fd, BLKSSZGET, &sector);
	}
	if (n->size > (uint64_t)BLOCK_SIZE_MAX)
		return err_set(e, EFBIG, "'%s' is too large", n->filename);
	if (!n->mode.direct)
		return 0;
	n->align = (uint32_t)sector;
	/* What a file system needs is known to it alone. */
	if (!f->is_block) {
		unsigned char *p = (unsigned char *)align_up((uintptr_t)room, 4096) + 512;

		n->align = n->size && pread(f->fd, p, 512, 0) >= 0 ? 512 : 4096;
	}
	return 0;
}

static int file_locks(struct block_node *n, struct node_opts *o, struct err **e)
{
	struct file *f = n->priv;
	const char *locking = node_opt(o, "locking");

	if (locking && strcmp(locking, "on") && strcmp(locking, "off") && strcmp(locking, "auto"))
		return err_set(e, EINVAL, "locking is 'on', 'off' or 'auto', not '%s'", locking);
	if (n->mode.force_share || (locking && !strcmp(locking, "off")))
		return 0;
	return permlock_take(f->fd, n->mode.write, n->filename, e);
}

static int parse_aio(struct block_node *n, struct node_opts *o, struct err **e)
{
	const char *aio = node_opt(o, "aio");

	/* Past the page cache the kernel does not wait in our stead; with it, writes would go to
	 * threads of its own and wake one more of ours. */
	n->mode.uring = n->mode.direct;
	if (!aio)
		return 0;
	if (!strcmp(aio, "native") && !n->mode.direct)
		return err_set(e, EINVAL,
			       "aio=native needs cache.direct=on (cache=none or directsync)");
	if (strcmp(aio, "threads") && strcmp(aio, "native") && strcmp(aio, "io_uring"))
		return err_set(e, EINVAL, "aio is 'threads', 'native' or 'io_uring', not '%s'",
			       aio);
	n->mode.uring = strcmp(aio, "threads") != 0;
	return 0;
}

static int file_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	const char *name = node_opt(o, "filename");
	struct file *f = n->priv = xzalloc(sizeof(*f));
	struct stat st;
	int r;

	f->fd = -1;
	pthread_rwlock_init(&f->rmw, NULL);
	if (!name || !*name)
		return err_set(e, EINVAL, "parameter '%sfilename' is missing", o->prefix);
	if (!strncmp(name, "file:", 5))
		name += 5;
	else if (!strncmp(name, "host_device:", 12))
		name += 12;
	n->filename = xstrdup(name);
	r = parse_aio(n, o, e);
	if (r)
		return r;
	/* What it is before it is opened: a tape that is rewound, a FIFO that gets a writer... */
	if (stat(name, &st) == 0) {
		r = check_kind(n, &st, name, e);
		if (r)
			return r;
	}
	r = open_fd(n, name, e);
	if (r < 0)
		return r;
	f->fd = r;
	if (fstat(f->fd, &st) < 0)
		return err_set(e, errno, "'%s': %s", name, strerror(errno));
	f->is_block = S_ISBLK(st.st_mode);
	r = check_kind(n, &st, name, e);
	if (!r)
		r = check_loop(o, &st, name, e);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (!r)
		r = file_locks(n, o, e);
	if (!r)
		r = measure(n, &st, e);
	n->grows = !f->is_block;
	return r;
}

static void file_close(struct block_node *n)
{
	struct file *f = n->priv;

	if (f->fd >= 0)
		close(f->fd);
	pthread_rwlock_destroy(&f->rmw);
	free(f);
}

/* All of len, aligned as it must be; what is past the end of the file reads as zeroes. */
static int read_all(struct file *f, uint64_t off, uint64_t len, struct bvec v)
{
	while (len) {
		struct iovec iov[IOV_AT_ONCE];
		size_t want;
		unsigned cnt = bvec_window(v, len, iov, IOV_AT_ONCE, &want);
		ssize_t got = preadv(f->fd, iov, (int)cnt, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0) {
			bvec_zero(v, len);
			return 0;
		}
		v = bvec_skip(v, (size_t)got);
		off += (uint64_t)got;
		len -= (uint64_t)got;
	}
	return 0;
}

static int write_all(struct file *f, uint64_t off, uint64_t len, struct bvec v)
{
	while (len) {
		struct iovec iov[IOV_AT_ONCE];
		size_t want;
		unsigned cnt = bvec_window(v, len, iov, IOV_AT_ONCE, &want);
		ssize_t put = pwritev(f->fd, iov, (int)cnt, (off_t)off);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		if (put == 0)
			return -ENOSPC;
		v = bvec_skip(v, (size_t)put);
		off += (uint64_t)put;
		len -= (uint64_t)put;
	}
	return 0;
}

static bool fits_direct(const struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	return n->align == 1 || (!((off | len) & (n->align - 1)) && bvec_aligned(v, len, n->align));
}

/* One piece of at most BOUNCE_MAX through buf. */
static int bounce(struct block_node *n, bool write, uint64_t off, uint64_t len, struct bvec v,
		  char *buf)
{
	struct file *f = n->priv;
	uint64_t from = align_down(off, n->align), to = align_up(off + len, n->align);
	struct iovec iov;
	int r = 0;

	if (!write || from != off || to != off + len)
		r = read_all(f, from, to - from, bvec_of(&iov, buf, to - from));
	if (r)
		return r;
	if (!write) {
		bvec_put(v, buf + (off - from), len);
		return 0;
	}
	bvec_get(v, buf + (off - from), len);
	return write_all(f, from, to - from, bvec_of(&iov, buf, to - from));
}

static int bounce_all(struct block_node *n, bool write, uint64_t off, uint64_t len, struct bvec v)
{
	char *buf = xzalloc_aligned(4096, min_u64(len, BOUNCE_MAX) + 2 * 4096 + n->align);
	int r = 0;

	while (len && !r) {
		uint64_t part = min_u64(len, BOUNCE_MAX);

		r = bounce(n, write, off, part, v, buf);
		v = bvec_skip(v, part);
		off += part;
		len -= part;
	}
	free(buf);
	return r;
}

static int file_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	if (fits_direct(n, off, len, v))
		return read_all(n->priv, off, len, v);
	return bounce_all(n, false, off, len, v);
}

static int file_read_now(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct file *f = n->priv;
	struct iovec iov[IOV_AT_ONCE];
	size_t want;
	unsigned cnt = bvec_window(v, len, iov, IOV_AT_ONCE, &want);

	if (n->mode.direct || want != len)
		return -EAGAIN;
	return preadv2(f->fd, iov, (int)cnt, (off_t)off, RWF_NOWAIT) == (ssize_t)len ? 0 : -EAGAIN;
}

static int file_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct file *f = n->priv;
	bool alone = n->align > 1 && ((off | len) & (n->align - 1));
	int r;

	if (n->align == 1)
		return write_all(f, off, len, v);
	if (alone)
		pthread_rwlock_wrlock(&f->rmw);
	else
		pthread_rwlock_rdlock(&f->rmw);
	r = fits_direct(n, off, len, v) ? write_all(f, off, len, v)
					: bounce_all(n, true, off, len, v);
	pthread_rwlock_unlock(&f->rmw);
	return r;
}

static int file_flush(struct block_node *n)
{
	struct file *f = n->priv;

	if (n->mode.no_flush)
		return 0;
	/* The kernel forgets the pages that it could not write: what was lost stays lost. */
	if (atomic_load(&f->sync_failed))
		return -EIO;
	if (fdatasync(f->fd) == 0)
		return 0;
	if (!n->mode.direct && errno != ENOSPC && errno != EDQUOT)
		atomic_store(&f->sync_failed, true);
	return -errno;
}

static int punch(struct file *f, uint64_t off, uint64_t len)
{
	if (atomic_load(&f->no_punch))
		return -EOPNOTSUPP;
	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ==
	    0)
		return 0;
	if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV)
		atomic_store(&f->no_punch, true);
	return errno == EINVAL || errno == ENODEV || errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

static int file_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct file *f = n->priv;
	uint64_t range[2] = {off, len};
	int r;

	if (f->is_block)
		r = ioctl(f->fd, BLKDISCARD, range) < 0 ? -errno : 0;
	else
		r = punch(f, off, len);
	/* Advice: what cannot be given back stays. */
	return r == -EOPNOTSUPP || r == -EINVAL || r == -ENOTTY ? 0 : r;
}

static int file_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap)
{
	struct file *f = n->priv;
	uint64_t range[2] = {off, len};
	int r = may_unmap ? punch(f, off, len) : -EOPNOTSUPP;

	if (r != -EOPNOTSUPP)
		return r;
	if (f->is_block)
		r = ioctl(f->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
	else if (atomic_load(&f->no_zero_range))
		return -EOPNOTSUPP;
	else
		r = fallocate(f->fd, FALLOC_FL_ZERO_RANGE, (off_t)off, (off_t)len) < 0 ? -errno : 0;
	if (r == -EOPNOTSUPP || r == -ENOSYS)
		atomic_store(&f->no_zero_range, true);
	return r == -EINVAL || r == -ENOTTY || r == -ENOSYS || r == -ENODEV ? -EOPNOTSUPP : r;
}

static int file_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent)
{
	struct file *f = n->priv;
	off_t data = f->is_block ? (off_t)off : lseek(f->fd, (off_t)off, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO) {
		*extent = BLOCK_EXT_ZERO | BLOCK_EXT_HERE;
		return 0;
	}
	if (data < 0 || f->is_block)
		return 0;
	if ((uint64_t)data > off) {
		*extent = BLOCK_EXT_ZERO | BLOCK_EXT_HERE;
		*len = min_u64(*len, (uint64_t)data - off);
		return 0;
	}
	hole = lseek(f->fd, (off_t)off, SEEK_HOLE);
	if (hole > data)
		*len = min_u64(*len, (uint64_t)hole - off);
	return 0;
}

static int file_truncate(struct block_node *n, uint64_t size, struct err **e)
{
	struct file *f = n->priv;

	if (f->is_block)
		return err_set(e, ENOTSUP, "'%s': the size of a block device is its own",
			       n->filename);
	if (ftruncate(f->fd, (off_t)size) < 0)
		return err_set(e, errno, "'%s': cannot change its size: %s", n->filename,
			       strerror(errno));
	n->size = size;
	return 0;
}

static void file_image(struct block_node *n, struct block_image *out)
{
	struct file *f = n->priv;
	struct stat st;

	if (fstat(f->fd, &st) == 0)
		out->actual_size = (uint64_t)st.st_blocks * 512;
}

static int file_fast_fd(struct block_node *n, uint64_t *shift)
{
	struct file *f = n->priv;

	*shift = 0;
	/* Where blocks are larger, parts of them are written under a lock. */
	return n->mode.uring && n->align <= BLOCK_SECTOR ? f->fd : -1;
}

#define FILE_DRV(drv_name)                                                                  \
	{                                                                                   \
		.name = drv_name, .protocol = true, .open = file_open, .close = file_close, \
		.read = file_read, .read_now = file_read_now, .write = file_write,          \
		.flush = file_flush, .discard = file_discard, .zero = file_zero,            \
		.status = file_status, .truncate = file_truncate, .image = file_image,      \
		.fast_fd = file_fast_fd,                                                    \
	}

const struct node_drv node_file = FILE_DRV("file");
const struct node_drv node_host_device = FILE_DRV("host_device");
