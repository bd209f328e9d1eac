/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Inside of a 9P session. */
#include "back/fs/local.h"
#include "back/fs/p9.h"

enum p9_type {
	P9_RLERROR = 7,
	P9_TSTATFS = 8,
	P9_TLOPEN = 12,
	P9_TLCREATE = 14,
	P9_TSYMLINK = 16,
	P9_TMKNOD = 18,
	P9_TRENAME = 20,
	P9_TREADLINK = 22,
	P9_TGETATTR = 24,
	P9_TSETATTR = 26,
	P9_TXATTRWALK = 30,
	P9_TXATTRCREATE = 32,
	P9_TREADDIR = 40,
	P9_TFSYNC = 50,
	P9_TLOCK = 52,
	P9_TGETLOCK = 54,
	P9_TLINK = 70,
	P9_TMKDIR = 72,
	P9_TRENAMEAT = 74,
	P9_TUNLINKAT = 76,
	P9_TVERSION = 100,
	P9_TAUTH = 102,
	P9_TATTACH = 104,
	P9_TFLUSH = 108,
	P9_TWALK = 110,
	P9_TREAD = 116,
	P9_TWRITE = 118,
	P9_TCLUNK = 120,
	P9_TREMOVE = 122,
};

#define P9_HDR 7 /* size[4] type[1] tag[2] */
#define P9_ERROR_LEN 11 /* Rlerror: header, ecode[4] */
#define P9_READ_HDR 11 /* Rread, Rreaddir: header, count[4] */
#define P9_WRITE_HDR 23 /* Twrite: header, fid[4] offset[8] count[4] */
#define P9_NOFID UINT32_MAX
#define P9_WALK_MAX 16
#define P9_FIDS_MAX (256 * 1024)
#define P9_FID_BUCKETS 4096
#define P9_NODE_BUCKETS 4096
#define P9_XATTR_NAME_MAX 255
#define P9_XATTR_MEM (16 * 1024 * 1024) /* that a client's attributes may take at a time */
#define P9_REPLY_MAX 8192 /* of replies that are not Rread or Rreaddir */

/*
 * A file that the client has walked to: what it is (fd), and how it got there, which ".." and the
 * messages that name a file by its fid alone (Tremove, Trename) go by.  Shared by fids.
 */
struct p9_node {
	int fd; /* O_PATH; this and the next never change */
	dev_t dev;
	ino_t ino;
	bool root, dir;
	/* s->lock */
	unsigned refs; /* of fids, calls, children */
	uint32_t saved; /* its number in a saved form that is being made (p9_save.c); 0: none yet */
	struct p9_node *parent; /* NULL: the root */
	char *name; /* in parent, as far as is known */
	struct p9_node *next, **prev; /* bucket, by name */
};

enum p9_fid_kind { FID_NODE, FID_FILE, FID_DIR, FID_XATTR_READ, FID_XATTR_WRITE };

struct p9_listing;

struct p9_fid {
	uint32_t num, uid;
	/* s->lock */
	unsigned refs; /* of the table, calls */
	struct p9_fid *next;
	/* From a loaded state, and not found: there is neither node, fd nor value. Never changes.
	 */
	bool stale;
	struct p9_node *node;
	/* Calls about one fid that change or share its state take turns. */
	struct lock lock;
	enum p9_fid_kind kind; /* changed once only, from FID_NODE */
	int fd; /* FILE, DIR */
	int flags; /* of open(2) */
	uint64_t dir_at; /* DIR: behind the last entry that the client got; 0: it got none */
	struct p9_listing *listing; /* DIR: the rest of what it was reading when it was saved */
	char *xattr_name;
	uint8_t *xattr;
	uint64_t xattr_len, xattr_size; /* what is there, and what is announced */
	int xattr_flags;
};

struct p9_server {
	struct fsdev *f;
	struct lock lock;
	uint32_t msize; /* 0: no version yet */
	unsigned n_fids;
	struct p9_fid *fids[P9_FID_BUCKETS];
	struct p9_node *nodes[P9_NODE_BUCKETS];
	atomic_size_t xattr_mem;
};

/* Reading a message: after the first error all is zero. */
struct p9_in {
	uint8_t *p, *end;
	int error;
};

struct p9_out {
	uint8_t buf[P9_REPLY_MAX];
	uint32_t len; /* with the header, which is put in at the end */
	bool overflow;
};

/* One message being answered. */
struct p9_call {
	struct p9_server *s;
	struct fsdev *f;
	const struct p9_io *io;
	uint32_t msize, size; /* of the session, of the message */
	uint64_t in_len; /* room for the reply */
	struct p9_in in;
	struct p9_out out;
	uint64_t direct; /* bytes of the reply after out that are in place already */
};

/* Fields.  Strings point into the message, end with NUL and have none inside. */
uint8_t p9_get8(struct p9_in *in);
uint16_t p9_get16(struct p9_in *in);
uint32_t p9_get32(struct p9_in *in);
uint64_t p9_get64(struct p9_in *in);
uint8_t *p9_getbytes(struct p9_in *in, size_t n); /* in the message; NULL after an error */
char *p9_getstr(struct p9_in *in);
/* p9_getname - of an entry in a folder: a single component; anything else is an error. */
char *p9_getname(struct p9_in *in);
void p9_put8(struct p9_out *out, uint8_t v);
void p9_put16(struct p9_out *out, uint16_t v);
void p9_put32(struct p9_out *out, uint32_t v);
void p9_put64(struct p9_out *out, uint64_t v);
void p9_putstr(struct p9_out *out, const char *s, size_t len);
void p9_putqid(struct p9_out *out, const struct fs_qid *q);

uint64_t p9_iov_len(const struct iovec *iov, unsigned n);
size_t p9_iov_get(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len);
size_t p9_iov_put(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len);
/* p9_iov_slice - bytes [off, off + len) as at most `max` pieces: how many. */
unsigned p9_iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len, struct iovec *to,
		      unsigned max);

/* fid.c: references are the caller's to give back. */
struct p9_fid *p9_fid_get(struct p9_server *s, uint32_t num); /* NULL: none */
/* p9_fid_use - one that stands for a file; NULL with *r: -EBADF there is none, -ESTALE it was lost
 * when the session was loaded. */
struct p9_fid *p9_fid_use(struct p9_server *s, uint32_t num, int *r);
void p9_fid_put(struct p9_server *s, struct p9_fid *fid); /* NULL is fine */
/* p9_fid_new - enter a fid; takes over the reference to node, but for when it fails. */
int p9_fid_new(struct p9_server *s, uint32_t num, uint32_t uid, struct p9_node *node,
	       struct p9_fid **out);
/* p9_fid_remove - out of the table: false when somebody else was faster. */
bool p9_fid_remove(struct p9_server *s, struct p9_fid *fid);
struct p9_node *p9_fid_node(struct p9_server *s, struct p9_fid *fid);
/* p9_fid_set_node - takes over the reference. */
void p9_fid_set_node(struct p9_server *s, struct p9_fid *fid, struct p9_node *node);
/* p9_dir - the node of fid `num`, or NULL with *r. */
struct p9_node *p9_dir(struct p9_call *c, uint32_t num, uint32_t *uid, int *r);
void p9_session_clear(struct p9_server *s);

/* p9_node_new - takes over fd, even when it fails. */
int p9_node_new(struct p9_server *s, int fd, const struct stat *st, struct p9_node *parent,
		const char *name, struct p9_node **out);
struct p9_node *p9_node_ref(struct p9_server *s, struct p9_node *n);
void p9_node_put(struct p9_server *s, struct p9_node *n);
struct p9_node *p9_node_parent(struct p9_server *s, struct p9_node *n); /* the root's: itself */
/* p9_node_place - where n was last known to be: -EBUSY for the root, -ENOENT when it is no longer
 * there.  *name is malloc'ed. */
int p9_node_place(struct p9_server *s, struct p9_node *n, struct p9_node **parent, char **name);
/* p9_node_moved - a rename succeeded. */
void p9_node_moved(struct p9_server *s, struct p9_node *from, const char *name, struct p9_node *to,
		   const char *new_name);

/* An entry of a folder; the name ends with its length. */
struct p9_entry {
	const char *name;
	size_t name_len;
	uint64_t ino, off; /* off: the position behind it */
	uint8_t type; /* DT_* */
};

/*
 * The rest of a folder that was being read when the session was saved (p9_listing.c).
 *
 * p9_listing_after - where in it the entries are that follow position off, or NULL: it has no such
 * position.  p9_listing_next - the entry at *at, which moves on; false: there is no more.
 */
const uint8_t *p9_listing_after(const struct p9_listing *l, uint64_t off);
bool p9_listing_next(const struct p9_listing *l, const uint8_t **at, struct p9_entry *e);
void p9_listing_free(struct p9_listing *l); /* NULL is fine */

/* Messages: 0 with the reply in c->out, or -errno. */
#define P9_OP(name) int p9_##name(struct p9_call *c)
P9_OP(version);
P9_OP(auth);
P9_OP(attach);
P9_OP(flush);
P9_OP(walk);
P9_OP(clunk);
P9_OP(lopen);
P9_OP(lcreate);
P9_OP(read);
P9_OP(write);
P9_OP(readdir);
P9_OP(fsync);
P9_OP(mkdir);
P9_OP(mknod);
P9_OP(symlink);
P9_OP(link);
P9_OP(readlink);
P9_OP(rename);
P9_OP(renameat);
P9_OP(remove);
P9_OP(unlinkat);
P9_OP(getattr);
P9_OP(setattr);
P9_OP(statfs);
P9_OP(lock);
P9_OP(getlock);
P9_OP(xattrwalk);
P9_OP(xattrcreate);
/* p9_xattr_commit - what a clunk of a fid of Txattrcreate does. */
int p9_xattr_commit(struct p9_server *s, struct p9_fid *fid);
int p9_xattr_read(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count);
int p9_xattr_write(struct p9_call *c, struct p9_fid *fid, uint64_t off, uint32_t count);
/* p9_xattr_alloc - room for a value of size bytes, and a NUL: NULL when that is too much. */
uint8_t *p9_xattr_alloc(struct p9_server *s, size_t size);
void p9_xattr_free(struct p9_server *s, struct p9_fid *fid);
