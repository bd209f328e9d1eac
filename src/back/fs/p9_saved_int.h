/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the writer (p9_save.c) and the reader (p9_load.c) of saved sessions agree on. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fsdev;

#define P9_SAVED_NODES_MAX (512 * 1024)
#define P9_SAVED_NAME_MAX 1024 /* no file system of Linux has longer ones */
#define P9_SAVED_GONE BIT(0) /* flags of a node: nothing had its name when it was saved */
#define P9_SAVED_INNER BIT(1) /* it is on another file system than the folder */
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

/* p9_identify - the file called name in dir, or (name is "") a descriptor's own.  0 or -errno. */
int p9_identify(const struct fsdev *f, int dir, const char *name, struct p9_ident *id);
bool p9_same_file(const struct p9_ident *a, const struct p9_ident *b);
