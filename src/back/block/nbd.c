/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network block devices, by libnbd; and so whatever nbdkit and qemu-nbd serve.
 *
 * Names: nbd://HOST[:PORT]/EXPORT and the other URIs of the NBD project;
 * nbd:HOST:PORT[:exportname=NAME] and nbd:unix:PATH[:exportname=NAME]; or options
 * server.type=inet|unix, server.host, .port, .path, export.
 *
 * A handle does one request at a time here.  A server that says that a flush on one connection
 * holds for all (NBD_FLAG_CAN_MULTI_CONN) gets several.  Nothing waits for ever: a server that is
 * silent for too long is taken for dead, and every request fails from then on.
 */
#include <errno.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "back/block/node.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/loop.h"

#define NBD_CONNS 4
#define NBD_PAYLOAD_MAX (16 * MiB)
#define NBD_RANGE_MAX (1 * GiB) /* of a request without data */
#define CONNECT_S 20
#define SILENCE_S 60

struct where {
	char *uri, *host, *port, *path, *export_name;
};

struct nbd_conn {
	struct nbd_handle *h;
	bool busy, dead;
};

struct nbd {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct nbd_conn conn[NBD_CONNS];
	unsigned n;
	bool can_trim, can_zero, can_flush;
};

static void where_free(struct where *w)
{
	free(w->uri);
	free(w->host);
	free(w->port);
	free(w->path);
	free(w->export_name);
}

/* "HOST:PORT" or "unix:PATH", after "nbd:"; perhaps ":exportname=NAME". */
static int parse_old(struct where *w, const char *s, struct err **e)
{
	const char *exp = strstr(s, ":exportname="), *colon;
	char *addr = exp ? xasprintf("%.*s", (int)(exp - s), s) : xstrdup(s);

	if (exp)
		w->export_name = xstrdup(exp + strlen(":exportname="));
	if (!strncmp(addr, "unix:", 5)) {
		w->path = xstrdup(addr + 5);
		free(addr);
		return 0;
	}
	colon = strrchr(addr, ':');
	if (!colon || colon == addr || !colon[1]) {
		free(addr);
		return err_set(e, EINVAL, "'nbd:%s' is not 'nbd:HOST:PORT' or 'nbd:unix:PATH'", s);
	}
	w->host = addr[0] == '[' && colon > addr + 2 && colon[-1] == ']'
			  ? xasprintf("%.*s", (int)(colon - addr - 2), addr + 1)
			  : xasprintf("%.*s", (int)(colon - addr), addr);
	w->port = xstrdup(colon + 1);
	free(addr);
	return 0;
}

static char *dup_opt(struct node_opts *o, const char *key, const char *other)
{
	const char *v = node_opt(o, key), *v2 = node_opt(o, other);

	return v || v2 ? xstrdup(v ? v : v2) : NULL;
}

static int parse_where(struct where *w, struct node_opts *o, struct err **e)
{
	const char *name = node_opt(o, "filename"), *type = node_opt(o, "server.type");

	if (name && (strstr(name, "://"))) {
		w->uri = xstrdup(name);
		return 0;
	}
	if (name)
		return parse_old(w, !strncmp(name, "nbd:", 4) ? name + 4 : name, e);
	w->host = dup_opt(o, "server.host", "host");
	w->port = dup_opt(o, "server.port", "port");
	w->path = dup_opt(o, "server.path", "path");
	w->export_name = dup_opt(o, "export", "export");
	if (type && strcmp(type, "inet") && strcmp(type, "unix"))
		return err_set(e, EINVAL, "server.type is 'inet' or 'unix', not '%s'", type);
	if (!w->path == !w->host)
		return err_set(e, EINVAL, "NBD: one of server.host and server.path is needed");
	if (w->host && !w->port)
		w->port = xstrdup("10809");
	return 0;
}

/* Wait until the handle has come to what `done` says. */
static int wait_for(struct nbd_handle *h, int (*done)(struct nbd_handle *h), int64_t seconds)
{
	int64_t end = host_now() + seconds * 1000000000;

	for (;;) {
		int r = done(h);

		if (r)
			return r < 0 ? -EIO : 0;
		if (nbd_aio_is_dead(h) == 1 || nbd_aio_is_closed(h) == 1)
			return -ECONNRESET;
		if (host_now() > end)
			return -ETIMEDOUT;
		if (nbd_poll(h, 500) < 0)
			return -(nbd_get_errno() ?: EIO);
	}
}

static int is_ready(struct nbd_handle *h)
{
	return nbd_aio_is_ready(h);
}

static int conn_open(struct nbd_conn *c, const struct where *w, const char *name, struct err **e)
{
	struct nbd_handle *h = c->h = nbd_create();
	int r = 0;

	if (!h)
		return err_set(e, ENOMEM, "'%s': %s", name, nbd_get_error());
	if (w->export_name && nbd_set_export_name(h, w->export_name) < 0)
		r = -EINVAL;
	else if (w->uri)
		r = nbd_aio_connect_uri(h, w->uri);
	else if (w->path)
		r = nbd_aio_connect_unix(h, w->path);
	else
		r = nbd_aio_connect_tcp(h, w->host, w->port);
	if (r < 0)
		return err_set(e, nbd_get_errno() ?: EIO, "'%s': cannot connect: %s", name,
			       nbd_get_error());
	r = wait_for(h, is_ready, CONNECT_S);
	if (r)
		return err_set(e, -r, "'%s': cannot connect: %s", name,
			       r == -ETIMEDOUT ? "no answer" : nbd_get_error() ?: strerror(-r));
	return 0;
}

static char *name_of(const struct where *w)
{
	const char *exp = w->export_name ? w->export_name : "";

	if (w->uri)
		return xstrdup(w->uri);
	return w->path ? xasprintf("nbd+unix:///%s?socket=%s", exp, w->path)
		       : xasprintf("nbd://%s:%s/%s", w->host, w->port, exp);
}

/* What the first connection says of the export. */
static int learn(struct block_node *n, struct nbd *nbd, struct err **e)
{
	struct nbd_handle *h = nbd->conn[0].h;
	int64_t size = nbd_get_size(h), min = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM);

	if (size < 0)
		return err_set(e, EIO, "'%s': %s", n->filename, nbd_get_error());
	if (min > BLOCK_SECTOR)
		return err_set(
			e, ENOTSUP,
			"'%s': the server wants blocks of %lld bytes, and a disk's are of 512",
			n->filename, (long long)min);
	n->size = (uint64_t)size;
	if (n->size > (uint64_t)BLOCK_SIZE_MAX)
		return err_set(e, EFBIG, "'%s' is too large", n->filename);
	if (nbd_is_read_only(h) == 1 && n->mode.write) {
		if (!n->mode.auto_ro)
			return err_set(e, EROFS, "'%s': the server gives it read-only",
				       n->filename);
		n->mode.write = false;
	}
	n->read_only = !n->mode.write;
	nbd->can_flush = nbd_can_flush(h) == 1;
	nbd->can_trim = nbd_can_trim(h) == 1;
	nbd->can_zero = nbd_can_zero(h) == 1;
	return 0;
}

static int nbd_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	struct nbd *nbd = n->priv = xzalloc(sizeof(*nbd));
	struct where w = {0};
	int r = parse_where(&w, o, e);

	pthread_mutex_init(&nbd->lock, NULL);
	pthread_cond_init(&nbd->idle, NULL);
	if (!r) {
		n->filename = name_of(&w);
		r = conn_open(&nbd->conn[0], &w, n->filename, e);
		nbd->n = 1;
	}
	r = r ? r : learn(n, nbd, e);
	if (!r && nbd_can_multi_conn(nbd->conn[0].h) == 1)
		while (nbd->n < NBD_CONNS && !conn_open(&nbd->conn[nbd->n], &w, n->filename, NULL))
			nbd->n++;
	if (!r && nbd->n < NBD_CONNS) {
		/* One more was refused: the others do. */
		if (nbd->conn[nbd->n].h)
			nbd_close(nbd->conn[nbd->n].h);
		nbd->conn[nbd->n].h = NULL;
	}
	where_free(&w);
	return r;
}

static void nbd_node_close(struct block_node *n)
{
	struct nbd *nbd = n->priv;

	for (unsigned i = 0; i < NBD_CONNS; i++) {
		if (!nbd->conn[i].h)
			continue;
		if (!nbd->conn[i].dead && nbd_aio_is_ready(nbd->conn[i].h) == 1)
			nbd_aio_disconnect(nbd->conn[i].h, 0);
		nbd_close(nbd->conn[i].h);
	}
	pthread_cond_destroy(&nbd->idle);
	pthread_mutex_destroy(&nbd->lock);
	free(nbd);
}

static struct nbd_conn *conn_get(struct nbd *nbd)
{
	struct nbd_conn *c = NULL;

	pthread_mutex_lock(&nbd->lock);
	for (;;) {
		bool all_dead = true;

		for (unsigned i = 0; i < nbd->n && !c; i++) {
			all_dead = all_dead && nbd->conn[i].dead;
			if (!nbd->conn[i].busy && !nbd->conn[i].dead)
				c = &nbd->conn[i];
		}
		if (c || all_dead)
			break;
		pthread_cond_wait(&nbd->idle, &nbd->lock);
	}
	if (c)
		c->busy = true;
	pthread_mutex_unlock(&nbd->lock);
	return c;
}

static void conn_put(struct nbd *nbd, struct nbd_conn *c)
{
	pthread_mutex_lock(&nbd->lock);
	c->busy = false;
	/* Waiters look anew even when it is dead. */
	pthread_cond_broadcast(&nbd->idle);
	pthread_mutex_unlock(&nbd->lock);
}

/* Wait for the command; a connection that fails or is silent is given up. */
static int finish(struct nbd_conn *c, int64_t cookie)
{
	int64_t end = host_now() + INT64_C(1000000000) * SILENCE_S;

	if (cookie < 0) {
		int err = nbd_get_errno() ?: EIO;

		c->dead = nbd_aio_is_ready(c->h) != 1;
		return -err;
	}
	for (;;) {
		int r = nbd_aio_command_completed(c->h, (uint64_t)cookie);

		if (r == 1)
			return 0;
		if (r < 0) {
			int err = nbd_get_errno() ?: EIO;

			c->dead = nbd_aio_is_dead(c->h) == 1 || nbd_aio_is_closed(c->h) == 1;
			return c->dead ? -EIO : -err;
		}
		if (host_now() > end || nbd_poll(c->h, 1000) < 0) {
			/* Its buffer may still be written to by the handle: the handle goes first.
			 */
			c->dead = true;
			nbd_close(c->h);
			c->h = NULL;
			return -EIO;
		}
	}
}

enum cmd { CMD_READ, CMD_WRITE, CMD_FLUSH, CMD_TRIM, CMD_ZERO };

static int command(struct block_node *n, enum cmd cmd, uint64_t off, uint64_t len, void *buf,
		   uint32_t flags)
{
	struct nbd *nbd = n->priv;
	struct nbd_conn *c = conn_get(nbd);
	int64_t cookie;
	int r;

	if (!c)
		return -EIO;
	switch (cmd) {
	case CMD_READ:
		cookie = nbd_aio_pread(c->h, buf, len, off, NBD_NULL_COMPLETION, 0);
		break;
	case CMD_WRITE:
		cookie = nbd_aio_pwrite(c->h, buf, len, off, NBD_NULL_COMPLETION, 0);
		break;
	case CMD_FLUSH:
		cookie = nbd_aio_flush(c->h, NBD_NULL_COMPLETION, 0);
		break;
	case CMD_TRIM:
		cookie = nbd_aio_trim(c->h, len, off, NBD_NULL_COMPLETION, 0);
		break;
	default:
		cookie = nbd_aio_zero(c->h, len, off, NBD_NULL_COMPLETION, flags);
		break;
	}
	r = finish(c, cookie);
	conn_put(nbd, c);
	return r;
}

/* One buffer goes as it is, several through one. */
static int transfer(struct block_node *n, bool write, uint64_t off, uint64_t len, struct bvec v)
{
	void *bounce = NULL;
	int r = 0;

	while (len && !r) {
		uint64_t part = min_u64(len, NBD_PAYLOAD_MAX);
		struct iovec iov;
		size_t got;

		if (bvec_window(v, part, &iov, 1, &got) && got < part) {
			bounce = bounce ? bounce : xzalloc(part);
			iov = (struct iovec){bounce, part};
			if (write)
				bvec_get(v, bounce, part);
		}
		r = command(n, write ? CMD_WRITE : CMD_READ, off, part, iov.iov_base, 0);
		if (!r && !write && iov.iov_base == bounce)
			bvec_put(v, bounce, part);
		v = bvec_skip(v, part);
		off += part;
		len -= part;
	}
	free(bounce);
	return r;
}

/* The end of an export that is no multiple of 512 reads as zeroes, and is written as far as there
 * is any. */
static int nbd_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	uint64_t have = off < n->size ? min_u64(len, n->size - off) : 0;

	if (have < len)
		bvec_zero(bvec_skip(v, have), len - have);
	return have ? transfer(n, false, off, have, v) : 0;
}

static int nbd_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	return transfer(n, true, off, len, v);
}

static int nbd_node_flush(struct block_node *n)
{
	struct nbd *nbd = n->priv;

	return n->mode.no_flush || !nbd->can_flush ? 0 : command(n, CMD_FLUSH, 0, 0, NULL, 0);
}

static int ranges(struct block_node *n, enum cmd cmd, uint64_t off, uint64_t len, uint32_t flags)
{
	int r = 0;

	while (len && !r) {
		uint64_t part = min_u64(len, NBD_RANGE_MAX);

		r = command(n, cmd, off, part, NULL, flags);
		off += part;
		len -= part;
	}
	return r;
}

static int nbd_node_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct nbd *nbd = n->priv;

	return nbd->can_trim ? ranges(n, CMD_TRIM, off, len, 0) : 0;
}

static int nbd_node_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap)
{
	struct nbd *nbd = n->priv;

	if (!nbd->can_zero)
		return -EOPNOTSUPP;
	return ranges(n, CMD_ZERO, off, len, may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
}

const struct node_drv node_nbd = {
	.name = "nbd",
	.protocol = true,
	.open = nbd_open,
	.close = nbd_node_close,
	.read = nbd_read,
	.write = nbd_write,
	.flush = nbd_node_flush,
	.discard = nbd_node_discard,
	.zero = nbd_node_zero,
};
