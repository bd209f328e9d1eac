/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9P2000.L: the session and its messages.
 *
 * A message is size[4] type[1] tag[2] and fields, a reply the same with type + 1, or Rlerror with
 * an errno.  It is copied from the client's buffers before anything in it is looked at (the data of
 * Twrite excepted, which nothing looks at).  Each message has one function (P9_OP); they run on any
 * number of threads at once, and guard what they share by the locks of p9_int.h.
 *
 * Spec: Plan 9's intro(5), and the protocol page of diod for 9P2000.L.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

struct p9_op {
	int (*fn)(struct p9_call *c);
	bool writes; /* never on a read-only folder */
};

static const struct p9_op p9_ops[128] = {
	[P9_TSTATFS] = {p9_statfs, false},
	[P9_TLOPEN] = {p9_lopen, false},
	[P9_TLCREATE] = {p9_lcreate, true},
	[P9_TSYMLINK] = {p9_symlink, true},
	[P9_TMKNOD] = {p9_mknod, true},
	[P9_TRENAME] = {p9_rename, true},
	[P9_TREADLINK] = {p9_readlink, false},
	[P9_TGETATTR] = {p9_getattr, false},
	[P9_TSETATTR] = {p9_setattr, true},
	[P9_TXATTRWALK] = {p9_xattrwalk, false},
	[P9_TXATTRCREATE] = {p9_xattrcreate, true},
	[P9_TREADDIR] = {p9_readdir, false},
	[P9_TFSYNC] = {p9_fsync, false},
	[P9_TLOCK] = {p9_lock, false},
	[P9_TGETLOCK] = {p9_getlock, false},
	[P9_TLINK] = {p9_link, true},
	[P9_TMKDIR] = {p9_mkdir, true},
	[P9_TRENAMEAT] = {p9_renameat, true},
	[P9_TUNLINKAT] = {p9_unlinkat, true},
	[P9_TVERSION] = {p9_version, false},
	[P9_TAUTH] = {p9_auth, false},
	[P9_TATTACH] = {p9_attach, false},
	[P9_TFLUSH] = {p9_flush, false},
	[P9_TWALK] = {p9_walk, false},
	[P9_TREAD] = {p9_read, false},
	[P9_TWRITE] = {p9_write, true},
	[P9_TCLUNK] = {p9_clunk, false},
	[P9_TREMOVE] = {p9_remove, false}, /* clunks in any case */
};

struct p9_server *p9_server_create(struct fsdev *f)
{
	struct p9_server *s = xzalloc(sizeof(*s));

	s->f = f;
	lock_init(&s->lock, LOCK_RANK_FS, "9p");
	atomic_fetch_add(&f->users, 1);
	return s;
}

void p9_server_destroy(struct p9_server *s)
{
	p9_reset(s);
	atomic_fetch_sub(&s->f->users, 1);
	lock_fini(&s->lock);
	free(s);
}

void p9_reset(struct p9_server *s)
{
	p9_session_clear(s);
	lock_take(&s->lock);
	s->msize = 0;
	lock_drop(&s->lock);
}

bool p9_in_use(struct p9_server *s)
{
	bool used;

	lock_take(&s->lock);
	used = s->n_fids != 0;
	lock_drop(&s->lock);
	return used;
}

int p9_version(struct p9_call *c)
{
	uint32_t msize = p9_get32(&c->in);
	const char *version = p9_getstr(&c->in);
	bool known = !strcmp(version, "9P2000.L");

	if (c->in.error)
		return c->in.error;
	if (msize < P9_MSIZE_MIN)
		return -EMSGSIZE;
	msize = (uint32_t)min_u64(msize, P9_MSIZE_MAX);
	/* A new session, whatever comes of it: all fids are gone. */
	p9_session_clear(c->s);
	lock_take(&c->s->lock);
	c->s->msize = known ? msize : 0;
	lock_drop(&c->s->lock);
	p9_put32(&c->out, msize);
	if (known)
		p9_putstr(&c->out, "9P2000.L", 8);
	else
		p9_putstr(&c->out, "unknown", 7);
	return 0;
}

int p9_auth(struct p9_call *c)
{
	return -EOPNOTSUPP; /* who may use the folder is decided by who gives it to the guest */
}

int p9_attach(struct p9_call *c)
{
	uint32_t num = p9_get32(&c->in), uid;
	struct p9_node *n;
	struct fs_qid q;
	struct stat st;
	int fd, r;

	p9_get32(&c->in); /* afid */
	p9_getstr(&c->in); /* uname */
	p9_getstr(&c->in); /* aname: there is one tree */
	uid = p9_get32(&c->in);
	if (c->in.error)
		return c->in.error;
	r = local_type(c->f, c->f->root, &st);
	if (!r)
		r = local_qid(c->f, &st, &q);
	if (r)
		return r;
	fd = local_dup(c->f, c->f->root);
	if (fd < 0)
		return fd;
	r = p9_node_new(c->s, fd, &st, NULL, NULL, &n);
	if (r)
		return r;
	r = p9_fid_new(c->s, num, uid, n, NULL);
	if (r)
		p9_node_put(c->s, n);
	p9_putqid(&c->out, &q);
	return r;
}

/* By the time that this is called the request to be flushed has been answered (p9_queue.c). */
int p9_flush(struct p9_call *c)
{
	p9_get16(&c->in); /* oldtag */
	return c->in.error;
}

static int dispatch(struct p9_call *c, uint8_t type)
{
	const struct p9_op *op = type < ARRAY_SIZE(p9_ops) ? &p9_ops[type] : NULL;

	if (!op || !op->fn)
		return -EOPNOTSUPP;
	if (!c->msize && type != P9_TVERSION)
		return -EPROTO;
	if (c->size > (c->msize ? c->msize : P9_MSIZE_MAX))
		return -EMSGSIZE;
	if (op->writes && c->f->readonly)
		return -EROFS;
	return op->fn(c);
}

/* finish - the reply's header; its length.  A reply that does not fit is an error of the client's.
 */
static uint32_t finish(struct p9_call *c, uint8_t type, uint16_t tag, int r)
{
	uint64_t limit = c->msize ? min_u64(c->in_len, c->msize) : c->in_len;

	if (!r && (c->out.overflow || c->out.len + c->direct > limit))
		r = -EMSGSIZE;
	if (r) {
		c->out.len = P9_HDR;
		c->direct = 0;
		p9_put32(&c->out, (uint32_t)-r);
		type = P9_RLERROR - 1;
	}
	put_le32(c->out.buf, (uint32_t)(c->out.len + c->direct));
	c->out.buf[4] = (uint8_t)(type + 1);
	put_le16(c->out.buf + 5, tag);
	p9_iov_put(c->io->in, c->io->n_in, 0, c->out.buf, c->out.len);
	return (uint32_t)(c->out.len + c->direct);
}

int p9_handle(struct p9_server *s, const struct p9_io *io, uint32_t *reply_len)
{
	uint8_t small[1024], hdr[P9_HDR], *msg = small;
	uint64_t out_len = p9_iov_len(io->out, io->n_out);
	struct p9_call c;
	size_t len;
	int r;

	c.s = s;
	c.f = s->f;
	c.io = io;
	c.in_len = p9_iov_len(io->in, io->n_in);
	c.direct = 0;
	c.out.len = P9_HDR;
	c.out.overflow = false;
	if (out_len < P9_HDR || c.in_len < P9_ERROR_LEN)
		return -EBADMSG;
	p9_iov_get(io->out, io->n_out, 0, hdr, sizeof(hdr));
	c.size = get_le32(hdr);
	if (c.size < P9_HDR || c.size > out_len || c.size > P9_MSIZE_MAX)
		return -EBADMSG;
	lock_take(&s->lock);
	c.msize = s->msize;
	lock_drop(&s->lock);
	len = hdr[4] == P9_TWRITE ? min_u64(c.size, P9_WRITE_HDR) : c.size;
	if (len > sizeof(small))
		msg = xrealloc(NULL, len);
	p9_iov_get(io->out, io->n_out, 0, msg, len);
	c.in = (struct p9_in){.p = msg + P9_HDR, .end = msg + len};
	r = dispatch(&c, hdr[4]);
	*reply_len = finish(&c, hdr[4], get_le16(hdr + 5), r);
	if (msg != small)
		free(msg);
	return 0;
}
