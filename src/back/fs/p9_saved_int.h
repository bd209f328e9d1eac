/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the writer (p9_save.c) and the reader (p9_load.c) of saved sessions agree on. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include "base/bytes.h"

struct fsdev;
struct p9_fid;
struct p9_in;
struct p9_listing;

#define P9_SAVED_NODES_MAX (512 * 1024)
#define P9_SAVED_NAME_MAX 1024 /* no file system of Linux has longer ones */
#define P9_SAVED_GONE BIT(0) /* flags of a node: nothing had its name when it was saved */
#define P9_SAVED_INNER BIT(1) /* it is on another file system than the folder */
#define P9_SAVED_KEPT BIT(2) /* gone, and what was in it follows */
#define P9_SAVED_STALE 0x80 /* in the kind of a fid */
/* Of open(2), that a fid may be opened with again: what was done once (O_TRUNC, O_EXCL) is not. */
#define P9_SAVED_FLAGS (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC | O_DIRECTORY | O_NOATIME)

/*
 * Which file it is, whatever it is called.  A number of an inode can be given to the next file when
 * the file is gone; when that was made (where the file system knows) can't.  Numbers of devices can
 * change when a host starts again, so that only one is looked at: the folder's own, or another?
 */
struct p9_ident {
	uint64_t ino;
	int64_t born_s; /* and the next: 0, unknown */
	uint32_t born_ns;
	uint32_t type; /* S_IFMT; the host's own, not a mapped one */
	bool inner;
	dev_t dev; /* not compared */
};

/*
 * Files without a name (p9_orphan.c), of which a state keeps what is in them: P9_ORPHANS_MAX, with
 * P9_ORPHAN_MEM bytes (a budget of the caller's, that goes down) in all.
 */
#define P9_ORPHANS_MAX 4096
#define P9_ORPHAN_MEM (64 * 1024 * 1024)
struct p9_orphan { /* as read; pointers go into the saved form */
	uint32_t mode, uid, gid;
	struct timespec times[2]; /* access, modification */
	uint32_t n_xattrs;
	const uint8_t *xattrs, *data;
	uint64_t size;
};
/* p9_orphan_save - add it to b; false, and b is as it was: it is no regular file, has a name still,
 * can't be read, or is too large. */
bool p9_orphan_save(struct fsdev *f, int node, struct bytes *b, uint64_t *budget);
/* p9_orphan_read - what is wrong with it, or NULL. */
const char *p9_orphan_read(struct p9_in *in, struct p9_orphan *o, uint64_t *budget);
/* p9_orphan_make - a node of such a file, in the host's folder for temporary files, which can be
 * opened for anything; or -errno.  p9_orphan_finish: now it has its own mode and times. */
int p9_orphan_make(struct fsdev *f, const struct p9_orphan *o);
void p9_orphan_finish(int node, const struct p9_orphan *o);

/* p9_listing_save - of a folder's fid that a client has begun to read; false, and b is as it was:
 * it takes more than is left of the budget, or the host refuses.  p9_listing_read: what is wrong
 * with one, or NULL and (if it is not cut short) *out. */
#define P9_LISTING_MEM (16 * 1024 * 1024)
bool p9_listing_save(const struct p9_fid *fid, struct bytes *b, uint64_t *budget);
const char *p9_listing_read(struct p9_in *in, struct p9_listing **out, uint64_t *budget);
struct p9_listing *p9_listing_copy(const struct p9_listing *l); /* NULL: NULL */
uint64_t p9_listing_from(const struct p9_listing *l); /* the position where it begins */

/* p9_identify - the file called name in dir, or (name is "") a descriptor's own.  0 or -errno. */
int p9_identify(const struct fsdev *f, int dir, const char *name, struct p9_ident *id);
bool p9_same_file(const struct p9_ident *a, const struct p9_ident *b);
