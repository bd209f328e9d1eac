/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Shared folders: folders of the host that a guest may use (`-fsdev`, `-virtfs`).  What speaks 9P
 * to the guest about one is a session (p9.h).
 */
struct err;
struct fsdev;
struct log;

/*
 * fsdev_open - open the folder that opts describe, as -fsdev spells them:
 * local,id=,path=,security_model=none|passthrough|mapped-xattr[,readonly=on][,multidevs=]
 * [,fmode=,dmode=][,writeout=immediate].  0, or -errno with *e.  Raises the soft limit of open
 * files of the process to the hard one, since what a guest uses is held open.  log outlives it.
 */
int fsdev_open(struct fsdev **out, struct log *log, const char *opts, struct err **e);

/*
 * virtfs_open - the same for -virtfs, which also says how a virtio-9p device calls the folder:
 * *tag gets mount_tag (malloc'ed, the caller's).  id is the tag when it is not given.
 */
int virtfs_open(struct fsdev **out, struct log *log, const char *opts, char **tag, struct err **e);

/* fsdev_close - no session may be left.  NULL is fine. */
void fsdev_close(struct fsdev *f);
const char *fsdev_id(const struct fsdev *f);
