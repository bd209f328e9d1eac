/* SPDX-License-Identifier: Apache-2.0 */
/*
 * security_model=mapped-xattr: what a guest says about owners, modes and device numbers is kept in
 * extended attributes, as QEMU keeps it, so that folders can be exchanged with it:
 *
 *	user.virtfs.uid, .gid, .mode	4 bytes, little-endian; the mode with the type of file
 *	user.virtfs.rdev		8 bytes, little-endian
 *	user.virtfs.system.posix_acl_*	what the guest sees as system.posix_acl_*
 *
 * On the host everything but folders is a regular file: a symbolic link has its target as contents,
 *a device or a fifo has none.  Only regular files and folders have such attributes, so what else is
 * there is shown as it is.  Attributes are the host's (or another guest's) word: only a type that
 *the real one can stand for is believed.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include "back/fs/local.h"
#include "base/base.h"

#define MAP_UID MAP_PREFIX "uid"
#define MAP_GID MAP_PREFIX "gid"
#define MAP_FMODE MAP_PREFIX "mode"
#define MAP_RDEV MAP_PREFIX "rdev"

static bool map_get32(const char *path, const char *name, uint32_t *v)
{
	uint8_t b[4];

	if (getxattr(path, name, b, sizeof(b)) != sizeof(b))
		return false;
	*v = get_le32(b);
	return true;
}

static int map_set32(const char *path, const char *name, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	return setxattr(path, name, b, sizeof(b), 0) ? -errno : 0;
}

static void map_stat_mode(const char *path, struct stat *st)
{
	uint32_t mode;
	mode_t type;

	if (!map_get32(path, MAP_FMODE, &mode))
		return;
	type = mode & S_IFMT;
	if (S_ISDIR(st->st_mode) || !(type == S_IFLNK || type == S_IFCHR || type == S_IFBLK ||
				      type == S_IFIFO || type == S_IFSOCK))
		type = st->st_mode & S_IFMT;
	st->st_mode = type | (mode & 07777);
}

void map_stat(const char *path, struct stat *st, enum map_part part)
{
	uint32_t v;
	uint8_t rdev[8];

	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		return;
	map_stat_mode(path, st);
	if (part == MAP_MODE)
		return;
	if (map_get32(path, MAP_UID, &v))
		st->st_uid = v;
	if (map_get32(path, MAP_GID, &v))
		st->st_gid = v;
	if ((S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) &&
	    getxattr(path, MAP_RDEV, rdev, sizeof(rdev)) == sizeof(rdev))
		st->st_rdev = get_le64(rdev);
}

int map_set_owner(const char *path, uid_t uid, gid_t gid)
{
	int r = 0;

	if (uid != (uid_t)-1)
		r = map_set32(path, MAP_UID, uid);
	if (!r && gid != (gid_t)-1)
		r = map_set32(path, MAP_GID, gid);
	return r;
}

int map_set_mode(const char *path, mode_t mode)
{
	return map_set32(path, MAP_FMODE, mode);
}

int map_create(int fd, const struct fs_cred *c)
{
	struct proc_path p = proc_path(fd);
	uint8_t rdev[8];
	int r = map_set_owner(p.s, c->uid, c->gid);

	if (!r)
		r = map_set_mode(p.s, c->mode);
	if (!r && (S_ISCHR(c->mode) || S_ISBLK(c->mode))) {
		put_le64(rdev, c->rdev);
		r = setxattr(p.s, MAP_RDEV, rdev, sizeof(rdev), 0) ? -errno : 0;
	}
	return r;
}

static const char *const acl_names[][2] = {
	{"system.posix_acl_access", MAP_PREFIX "system.posix_acl_access"},
	{"system.posix_acl_default", MAP_PREFIX "system.posix_acl_default"},
};

/* map_xattr_name - the host's name of what the guest calls name; *hidden: the guest has no such. */
const char *map_xattr_name(const char *name, bool *hidden)
{
	*hidden = strncmp(name, MAP_PREFIX, strlen(MAP_PREFIX)) == 0;
	for (size_t i = 0; i < ARRAY_SIZE(acl_names); i++)
		if (!strcmp(name, acl_names[i][0]))
			return acl_names[i][1];
	return name;
}

/* map_xattr_list - a list of names as the guest should see it, in place; the new length. */
size_t map_xattr_list(char *buf, size_t len)
{
	size_t out = 0, n;

	for (size_t in = 0; in < len; in += n) {
		const char *name = buf + in;

		n = strnlen(name, len - in) + 1;
		if (n > len - in)
			break;
		/* The host's own lists say nothing about the guest's files. */
		if (!strcmp(name, acl_names[0][0]) || !strcmp(name, acl_names[1][0]))
			continue;
		if (!strncmp(name, MAP_PREFIX, strlen(MAP_PREFIX))) {
			name += strlen(MAP_PREFIX);
			if (strcmp(name, acl_names[0][0]) && strcmp(name, acl_names[1][0]))
				continue;
		}
		memmove(buf + out, name, strlen(name) + 1);
		out += strlen(buf + out) + 1;
	}
	return out;
}
