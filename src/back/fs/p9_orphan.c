/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a client has open and that have no name any more.  They end with the process that has
 * them, so a saved session takes along what is in them (p9_save.c); where it is begun again, each
 * is a file without a name in the host's folder for temporary files, and not in the shared one,
 * which is not ours to write to.  It can't be given a name there either (O_EXCL).
 *
 *	mode[4] uid[4] gid[4]		as the host has them
 *	{ s[8] ns[4] } * 2		times of access and modification
 *	n_xattrs[2], and each:		user.*, mapped owners and modes among them
 *	    name_len[2] name value_len[4] value
 *	size[8] contents
 *
 * What differs from the file that it was: its number, its time of change, and when it had several
 * users outside of this machine they no longer see each other's writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "back/fs/p9_int.h"
#include "back/fs/p9_saved_int.h"
#include "base/base.h"

#define XATTR_PREFIX "user."

/* spend - of a budget; false: there is not so much left. */
static bool spend(uint64_t *budget, uint64_t n)
{
	if (n > *budget)
		return false;
	*budget -= n;
	return true;
}

/* put_xattr - one with a name of ours; false when it can't be had. */
static bool put_xattr(const char *path, const char *name, uint8_t *value, struct bytes *b,
		      uint64_t *budget)
{
	size_t len = strlen(name);
	ssize_t n = getxattr(path, name, value, FS_XATTR_MAX);

	if (n < 0 || !spend(budget, len + (size_t)n))
		return false;
	bytes_u16(b, (uint16_t)len);
	bytes_put(b, name, len);
	bytes_u32(b, (uint32_t)n);
	bytes_put(b, value, (size_t)n);
	return true;
}

static bool put_xattrs(const char *path, struct bytes *b, uint64_t *budget)
{
	char *names = xzalloc(FS_XATTR_MAX);
	uint8_t *value = xzalloc(FS_XATTR_MAX);
	ssize_t len = listxattr(path, names, FS_XATTR_MAX);
	size_t count_at = b->len;
	uint16_t n = 0;
	bool good = len >= 0 || errno == EOPNOTSUPP;

	bytes_u16(b, 0);
	for (ssize_t at = 0; at < len && good; at += (ssize_t)strlen(names + at) + 1) {
		if (strncmp(names + at, XATTR_PREFIX, strlen(XATTR_PREFIX)))
			continue;
		good = put_xattr(path, names + at, value, b, budget);
		n++;
	}
	put_le16(b->p + count_at, n);
	free(names);
	free(value);
	return good;
}

/* put_contents - exactly `size` bytes of them. */
static bool put_contents(int fd, uint64_t size, struct bytes *b)
{
	uint8_t *buf = xzalloc(64 * KiB);
	uint64_t at = 0;

	bytes_u64(b, size);
	while (at < size) {
		ssize_t n = pread(fd, buf, min_u64(size - at, 64 * KiB), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		bytes_put(b, buf, (size_t)n);
		at += (uint64_t)n;
	}
	free(buf);
	return at == size;
}

bool p9_orphan_save(struct fsdev *f, int node, struct bytes *b, uint64_t *budget)
{
	uint64_t left = *budget;
	size_t len = b->len;
	struct stat st;
	bool good;
	int fd;

	if (fstatat(node, "", &st, AT_EMPTY_PATH) || !S_ISREG(st.st_mode) || st.st_nlink ||
	    !spend(&left, (uint64_t)st.st_size))
		return false;
	fd = local_open(f, node, O_RDONLY | O_NOATIME);
	if (fd < 0)
		return false;
	bytes_u32(b, st.st_mode & 07777);
	bytes_u32(b, st.st_uid);
	bytes_u32(b, st.st_gid);
	bytes_u64(b, (uint64_t)st.st_atim.tv_sec);
	bytes_u32(b, (uint32_t)st.st_atim.tv_nsec);
	bytes_u64(b, (uint64_t)st.st_mtim.tv_sec);
	bytes_u32(b, (uint32_t)st.st_mtim.tv_nsec);
	good = put_xattrs(proc_path(node).s, b, &left) && put_contents(fd, (uint64_t)st.st_size, b);
	local_close(f, fd);
	if (good)
		*budget = left;
	else
		b->len = len;
	return good;
}

static const char *read_xattr(struct p9_in *in, uint64_t *budget)
{
	size_t prefix = strlen(XATTR_PREFIX);
	uint32_t len = p9_get16(in), size;
	const uint8_t *name = p9_getbytes(in, len);

	if (name && (len <= prefix || len > P9_XATTR_NAME_MAX || memchr(name, 0, len) ||
		     memcmp(name, XATTR_PREFIX, prefix)))
		return "an impossible name of a removed file's attribute";
	size = p9_get32(in);
	p9_getbytes(in, size);
	return size > FS_XATTR_MAX || !spend(budget, len + size) ? "too much in removed files"
								 : NULL;
}

const char *p9_orphan_read(struct p9_in *in, struct p9_orphan *o, uint64_t *budget)
{
	const char *what = NULL;

	o->mode = p9_get32(in);
	o->uid = p9_get32(in);
	o->gid = p9_get32(in);
	for (int i = 0; i < 2; i++) {
		o->times[i].tv_sec = (time_t)p9_get64(in);
		o->times[i].tv_nsec = p9_get32(in);
		if (o->times[i].tv_nsec > 999999999)
			return "an impossible time of a removed file";
	}
	if (o->mode > 07777)
		return "an impossible mode of a removed file";
	o->n_xattrs = p9_get16(in);
	o->xattrs = in->p;
	for (uint32_t i = 0; i < o->n_xattrs && !what && !in->error; i++)
		what = read_xattr(in, budget);
	if (what)
		return what;
	o->size = p9_get64(in);
	if (!spend(budget, o->size))
		return "too much in removed files";
	o->data = p9_getbytes(in, o->size);
	return NULL;
}

/* temp_file - without a name, ever. */
static int temp_file(void)
{
	const char *dir = getenv("TMPDIR");
	int fd =
		open(dir && *dir ? dir : "/var/tmp", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = memfd_create("doppel-removed", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int set_xattrs(int fd, const struct p9_orphan *o)
{
	const uint8_t *p = o->xattrs;
	char name[P9_XATTR_NAME_MAX + 1];

	for (uint32_t i = 0; i < o->n_xattrs; i++) {
		uint32_t len = get_le16(p), size = get_le32(p + 2 + len);

		memcpy(name, p + 2, len);
		name[len] = 0;
		p += 2 + len + 4;
		if (fsetxattr(fd, name, p, size, 0))
			return -errno;
		p += size;
	}
	return 0;
}

static int fill(struct fsdev *f, int fd, const struct p9_orphan *o)
{
	uint64_t at = 0;
	struct stat st;

	while (at < o->size) {
		ssize_t n = pwrite(fd, o->data + at, o->size - at, (off_t)at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (uint64_t)n : 0;
	}
	if (fstat(fd, &st))
		return -errno;
	/* As for a file that a client makes (local.c): that it is ours is good enough for some. */
	if ((st.st_uid != o->uid || st.st_gid != o->gid) && fchown(fd, o->uid, o->gid) &&
	    f->security == FS_PASSTHROUGH)
		return -errno;
	return set_xattrs(fd, o);
}

int p9_orphan_make(struct fsdev *f, const struct p9_orphan *o)
{
	int fd = temp_file(), node, r;

	if (fd < 0)
		return fd;
	r = fill(f, fd, o);
	node = r ? r : local_dup(f, fd);
	close(fd);
	return node;
}

void p9_orphan_finish(int node, const struct p9_orphan *o)
{
	chmod(proc_path(node).s, o->mode);
	utimensat(AT_FDCWD, proc_path(node).s, o->times, 0);
}
