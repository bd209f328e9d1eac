/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A 9P client for tests: messages by format, on a folder of its own. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "back/fs/fsdev.h"
#include "back/fs/p9_int.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"

#define NOTAG 0xffff
#define BUF (64 * KiB)

struct client {
	char dir[64];	   /* the shared folder: .../share, next to .../outside */
	char share[96], outside[96];
	struct log *log;
	struct fsdev *f;
	struct p9_server *s;
	uint8_t tx[BUF], rx[BUF];
	uint32_t tx_len, rx_len, room; /* room: for replies */
	unsigned piece; /* buffers are given in pieces of so many bytes; 0: whole */
	uint8_t *at;	/* in rx */
};

/* Fields: b w d q as numbers of 1, 2, 4, 8 bytes, s a string, r bytes (pointer, size_t). */
static inline void msg_v(struct client *c, uint8_t type, const char *fmt, va_list ap)
{
	uint8_t *p = c->tx + P9_HDR;

	for (; *fmt; fmt++) {
		const char *s;
		uint64_t v;
		size_t n;

		if (*fmt == 's') {
			s = va_arg(ap, const char *);
			put_le16(p, (uint16_t)strlen(s));
			memcpy(p + 2, s, strlen(s));
			p += 2 + strlen(s);
		} else if (*fmt == 'r') {
			s = va_arg(ap, const char *);
			n = va_arg(ap, size_t);
			memcpy(p, s, n);
			p += n;
		} else {
			v = *fmt == 'q' ? va_arg(ap, uint64_t) : va_arg(ap, unsigned);
			n = *fmt == 'b' ? 1 : *fmt == 'w' ? 2 : *fmt == 'd' ? 4 : 8;
			memcpy(p, &v, n);
			p += n;
		}
	}
	c->tx_len = (uint32_t)(p - c->tx);
	put_le32(c->tx, c->tx_len);
	c->tx[4] = type;
	put_le16(c->tx + 5, 1);
}

static inline unsigned pieces(struct iovec *iov, uint8_t *p, size_t len, size_t piece)
{
	unsigned n = 0;

	piece = max_u64(piece ? piece : len, len / 500 + 1);
	for (size_t at = 0; at < len; at += piece)
		iov[n++] = (struct iovec){ p + at, min_u64(piece, len - at) };
	return n;
}

/* send_raw - what is in tx: p9_handle's result. */
static inline int send_raw(struct client *c)
{
	struct iovec out[512], in[512];
	struct p9_io io = { .out = out, .in = in };
	int r;

	io.n_out = pieces(out, c->tx, c->tx_len, c->piece);
	io.n_in = pieces(in, c->rx, c->room, c->piece);
	memset(c->rx, 0xee, c->room);
	r = p9_handle(c->s, &io, &c->rx_len);
	c->at = c->rx + P9_HDR;
	if (r)
		return r;
	assert_true(c->rx_len >= P9_HDR && c->rx_len <= c->room);
	assert_int_equal(get_le32(c->rx), c->rx_len);
	assert_memory_equal(c->rx + 5, c->tx + 5, 2);
	return 0;
}

/* reply - of what was sent: 0, or -errno of Rlerror. */
static inline int reply(struct client *c)
{
	if (c->rx[4] == P9_RLERROR) {
		assert_int_equal(c->rx_len, P9_ERROR_LEN);
		assert_int_not_equal(get_le32(c->at), 0);
		return -(int)get_le32(c->at);
	}
	assert_int_equal(c->rx[4], c->tx[4] + 1);
	return 0;
}

static inline int rpc(struct client *c, uint8_t type, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	msg_v(c, type, fmt, ap);
	va_end(ap);
	assert_int_equal(send_raw(c), 0);
	return reply(c);
}

static inline uint64_t field(struct client *c, unsigned size)
{
	uint64_t v = 0;

	assert_true(c->at + size <= c->rx + c->rx_len);
	memcpy(&v, c->at, size);
	c->at += size;
	return v;
}

struct attr {
	uint64_t valid, qid, nlink, rdev, size, mtime;
	uint32_t mode, uid, gid;
	uint8_t type;
};

static inline int getattr(struct client *c, uint32_t fid, struct attr *a)
{
	int r = rpc(c, P9_TGETATTR, "dq", fid, UINT64_C(0x7ff));

	if (r)
		return r;
	assert_int_equal(c->rx_len, 160);
	a->valid = field(c, 8);
	a->type = (uint8_t)field(c, 1);
	field(c, 4);
	a->qid = field(c, 8);
	a->mode = (uint32_t)field(c, 4);
	a->uid = (uint32_t)field(c, 4);
	a->gid = (uint32_t)field(c, 4);
	a->nlink = field(c, 8);
	a->rdev = field(c, 8);
	a->size = field(c, 8);
	c->at += 8 * 4;
	a->mtime = field(c, 8);
	return 0;
}

#define walk0(c, fid, newfid) rpc(c, P9_TWALK, "ddw", fid, newfid, 0)
#define walk1(c, fid, newfid, a) rpc(c, P9_TWALK, "ddws", fid, newfid, 1, a)
#define walk2(c, fid, newfid, a, b) rpc(c, P9_TWALK, "ddwss", fid, newfid, 2, a, b)
#define clunk(c, fid) rpc(c, P9_TCLUNK, "d", fid)
#define lopen(c, fid, flags) rpc(c, P9_TLOPEN, "dd", fid, flags)
#define ok(x) assert_int_equal(x, 0)
#define fails(x, e) assert_int_equal(x, -(e))

/* create - a file in dir, by a fid that is then open. */
static inline int create(struct client *c, uint32_t dir, uint32_t fid, const char *name,
			 unsigned flags, unsigned mode)
{
	int r = walk0(c, dir, fid);

	if (!r)
		r = rpc(c, P9_TLCREATE, "dsddd", fid, name, flags, mode, getgid());
	if (r)
		clunk(c, fid);
	return r;
}

static inline int write_at(struct client *c, uint32_t fid, uint64_t off, const char *s)
{
	size_t len = strlen(s);
	int r = rpc(c, P9_TWRITE, "dqdr", fid, off, (unsigned)len, s, len);

	return r ? r : (int)field(c, 4);
}

/* read_at - bytes, at c->at. */
static inline int read_at(struct client *c, uint32_t fid, uint64_t off, uint32_t count)
{
	int r = rpc(c, P9_TREAD, "dqd", fid, off, count);

	if (r)
		return r;
	r = (int)field(c, 4);
	assert_int_equal(c->rx_len, P9_READ_HDR + r);
	return r;
}

static inline void put_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static inline const char *get_file(const char *dir, const char *name)
{
	static char text[256];
	char path[256];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f)
		return NULL;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	return text;
}

static inline char *in_share(struct client *c, const char *name)
{
	static char path[2][256];
	static unsigned n;

	n ^= 1;
	snprintf(path[n], sizeof(path[n]), "%s/%s", c->share, name);
	return path[n];
}

/* session - a new one, attached as fid 0 by this user. */
static inline void session(struct client *c)
{
	ok(rpc(c, P9_TVERSION, "ds", (unsigned)BUF, "9P2000.L"));
	assert_int_equal(field(c, 4), BUF);
	ok(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "user", "", getuid()));
}

static inline struct client *client_open(const char *opts)
{
	struct client *c = xzalloc(sizeof(*c));
	struct err *e = NULL;
	char *all;

	strcpy(c->dir, "/tmp/doppel-9p-XXXXXX");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->share, sizeof(c->share), "%s/share", c->dir);
	snprintf(c->outside, sizeof(c->outside), "%s/outside", c->dir);
	ok(mkdir(c->share, 0755));
	ok(mkdir(c->outside, 0755));
	put_file(c->outside, "secret", "secret");
	c->log = log_create();
	c->room = BUF;
	all = xasprintf("local,id=fs,path=%s,%s", c->share, opts);
	if (fsdev_open(&c->f, c->log, all, &e))
		fail_msg("%s", err_msg(e));
	free(all);
	c->s = p9_server_create(c->f);
	session(c);
	return c;
}

static inline int rm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void client_close(struct client *c)
{
	p9_server_destroy(c->s);
	assert_int_equal(c->f->fds, 0);
	fsdev_close(c->f);
	log_destroy(c->log);
	nftw(c->dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
	free(c);
}
