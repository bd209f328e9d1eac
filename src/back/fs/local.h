/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Files of a shared folder, by descriptors.  See local.c for what keeps a guest inside.
 *
 * "node" is an O_PATH descriptor of any kind of file: of the thing itself, whatever its names are
 * now.  Names are single components that the caller has checked (not empty, no '/', not "." or
 * "..").  Everything returns 0 (or a descriptor, a length) or -errno, may block, and may be called
 * on any thread.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include "base/lock.h"

struct log;

enum fs_security { FS_NONE, FS_PASSTHROUGH, FS_MAPPED_XATTR };
enum fs_multidevs { FS_REMAP, FS_WARN, FS_FORBID };

#define FS_XATTR_MAX 65536 /* of a value, and of a list of names */
#define FS_DEVS_MAX 0x10000
#define FS_DEVS_HASH 0x20000

/* Where the numbers of files come from: a device, and the upper bits of an inode number. */
struct fs_origin {
	dev_t dev;
	uint16_t ino_high;
	uint16_t n;
	bool used;
};

struct fsdev {
	char *id, *path;
	struct log *log;
	int root;
	dev_t root_dev;
	enum fs_security security;
	enum fs_multidevs multidevs;
	bool readonly, writeout;
	mode_t fmode, dmode; /* of new files and folders, mapped-xattr */
	atomic_uint fds; /* open on behalf of guests */
	unsigned fd_max;
	atomic_bool warned;
	atomic_uint users; /* sessions */
	struct lock lock; /* origins */
	struct fs_origin *origins; /* FS_DEVS_HASH, open addressing */
	uint32_t n_origins;
};

struct fs_qid {
	uint8_t type;
	uint32_t version;
	uint64_t path;
};
enum { QTDIR = 0x80, QTSYMLINK = 0x02, QTFILE = 0 };

/* Who makes a file, and its mode: type and permissions. */
struct fs_cred {
	uint32_t uid, gid;
	mode_t mode;
	dev_t rdev;
};

/* local_close - a descriptor that one of these gave. */
void local_close(struct fsdev *f, int fd);

/* local_walk - the node that is called name in a folder. */
int local_walk(struct fsdev *f, int dir, const char *name);
int local_dup(struct fsdev *f, int node); /* another descriptor of a node (or open file) */

/* local_stat - as the guest should see it.  local_type: st_mode's type and what a qid is made of
 * are right, owner and permissions may not be. */
int local_stat(struct fsdev *f, int node, struct stat *st);
int local_type(struct fsdev *f, int node, struct stat *st);
/* local_qid - the name of a file among all of the folder: unique and lasting as long as f. */
int local_qid(struct fsdev *f, const struct stat *st, struct fs_qid *q);
int local_qid_path(struct fsdev *f, dev_t dev, ino_t ino, uint64_t *path);
/* local_qid_keep - `path` is what a guest, in an earlier process, was told about the file dev, ino:
 * so it stays, where nobody was told otherwise here.  Another path is simply not kept. */
void local_qid_keep(struct fsdev *f, dev_t dev, ino_t ino, uint64_t path);

/* local_open - a regular file or a folder, nothing else; flags as open(2)'s. */
int local_open(struct fsdev *f, int node, int flags);
/* local_create - make and open a regular file; without O_EXCL one that is there is opened. */
int local_create(struct fsdev *f, int dir, const char *name, int flags, const struct fs_cred *c);
int local_mkdir(struct fsdev *f, int dir, const char *name, const struct fs_cred *c);
int local_mknod(struct fsdev *f, int dir, const char *name, const struct fs_cred *c);
int local_symlink(struct fsdev *f, int dir, const char *name, const char *target,
		  const struct fs_cred *c);
int local_link(struct fsdev *f, int node, int dir, const char *name);
int local_rename(struct fsdev *f, int dir, const char *name, int new_dir, const char *new_name);
int local_unlink(struct fsdev *f, int dir, const char *name, int flags);
ssize_t local_readlink(struct fsdev *f, int node, char *buf, size_t size);

int local_chmod(struct fsdev *f, int node, mode_t mode);
int local_chown(struct fsdev *f, int node, uid_t uid, gid_t gid); /* -1: leave */
int local_truncate(struct fsdev *f, int node, off_t size);
int local_utimes(struct fsdev *f, int node, const struct timespec ts[2]);
int local_statfs(struct fsdev *f, int node, struct statfs *sf);

/* Extended attributes, as the guest names them.  Buffers of FS_XATTR_MAX. */
ssize_t local_getxattr(struct fsdev *f, int node, const char *name, void *buf, size_t size);
ssize_t local_listxattr(struct fsdev *f, int node, char *buf, size_t size);
int local_setxattr(struct fsdev *f, int node, const char *name, const void *buf, size_t size,
		   int flags);
int local_removexattr(struct fsdev *f, int node, const char *name);

/* map.c: owner, mode and device number that live in attributes (security_model=mapped-xattr). */
#define MAP_PREFIX "user.virtfs."
enum map_part { MAP_MODE = 1, MAP_ALL = 3 };
void map_stat(const char *path, struct stat *st, enum map_part part);
int map_set_owner(const char *path, uid_t uid, gid_t gid);
int map_set_mode(const char *path, mode_t mode);
int map_create(int fd, const struct fs_cred *c);
const char *map_xattr_name(const char *name, bool *hidden);
size_t map_xattr_list(char *buf, size_t len);

/* proc_path - the name under which the file of a descriptor can be opened, whatever happens to its
 * own names. */
struct proc_path {
	char s[32];
};
struct proc_path proc_path(int fd);
