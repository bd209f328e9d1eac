/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes of a shared folder's files. */
#include <errno.h>
#include <sys/xattr.h>
#include "back/fs/local.h"

/* The calls that take descriptors want open files; /proc's name of a node will do as well. */

static const char *host_name(const struct fsdev *f, const char *name, bool *hidden)
{
	*hidden = false;
	return f->security == FS_MAPPED_XATTR ? map_xattr_name(name, hidden) : name;
}

ssize_t local_getxattr(struct fsdev *f, int node, const char *name, void *buf, size_t size)
{
	bool hidden;
	ssize_t n;

	name = host_name(f, name, &hidden);
	if (hidden)
		return -ENODATA;
	n = getxattr(proc_path(node).s, name, buf, size);
	return n < 0 ? -errno : n;
}

ssize_t local_listxattr(struct fsdev *f, int node, char *buf, size_t size)
{
	ssize_t n = listxattr(proc_path(node).s, buf, size);

	if (n < 0)
		return -errno;
	if (f->security == FS_MAPPED_XATTR)
		n = (ssize_t)map_xattr_list(buf, (size_t)n);
	return n;
}

int local_setxattr(struct fsdev *f, int node, const char *name, const void *buf, size_t size,
		   int flags)
{
	bool hidden;

	name = host_name(f, name, &hidden);
	if (hidden)
		return -EACCES;
	return setxattr(proc_path(node).s, name, buf, size, flags) ? -errno : 0;
}

int local_removexattr(struct fsdev *f, int node, const char *name)
{
	bool hidden;

	name = host_name(f, name, &hidden);
	if (hidden)
		return -EACCES;
	return removexattr(proc_path(node).s, name) ? -errno : 0;
}
