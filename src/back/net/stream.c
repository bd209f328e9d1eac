/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -netdev stream, and the stream forms of the older -netdev socket: frames over a Unix or TCP
 * connection, each after its length in four bytes, big-endian.  passt speaks it, and two VMs
 * between themselves.
 *
 * Out: frames are gathered in a buffer and written at the end of a batch; when the buffer holds
 * STREAM_OUT_FULL the card has to wait, but the pieces of one large frame always fit.  In: a buffer
 * for at least one frame; what the card has no room for stays in it, then in the kernel.
 *
 * The link is up while there is a connection.  A server takes one peer at a time; a client with
 * reconnect=SECONDS tries again.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "back/char/socket.h"
#include "back/net/netdev_int.h"
#include "back/net/sock_int.h"
#include "base/err.h"

#define STREAM_OUT_FULL (512 * KiB)
#define STREAM_OUT_MAX (STREAM_OUT_FULL + 256 * KiB)
#define STREAM_IN (256 * KiB)

struct stream {
	struct netdev *nd;
	struct sock_addr addr;
	bool server;
	uint64_t reconnect;
	int listen_fd, fd, timer_fd;
	struct loop_fd *listen_w, *w, *timer_w;
	uint32_t watched;
	bool was_full;
	uint8_t *out, *in;
	size_t out_at, out_len; /* bytes at out + out_at */
	size_t in_at, in_len;
};

static void stream_close_peer(struct stream *s);

static void stream_watch(struct stream *s)
{
	uint32_t events =
		(s->out_len ? EPOLLOUT : 0u) |
		(s->in_len - s->in_at < STREAM_IN && net_may_deliver(s->nd) ? EPOLLIN : 0u);

	if (s->fd < 0 || events == s->watched)
		return;
	s->watched = events;
	loop_fd_set(s->w, events);
}

/* Write what waits; false: the peer is gone. */
static bool stream_flush(struct stream *s)
{
	while (s->out_len) {
		ssize_t n =
			send(s->fd, s->out + s->out_at, s->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			return false;
		s->out_at += (size_t)n;
		s->out_len -= (size_t)n;
	}
	if (!s->out_len)
		s->out_at = 0;
	return true;
}

static bool stream_full(const struct netdev *nd)
{
	const struct stream *s = nd->priv;

	return s->out_len >= STREAM_OUT_FULL;
}

static bool stream_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
			unsigned n, size_t len)
{
	struct stream *s = nd->priv;

	if (s->fd < 0)
		return true;
	if (stream_full(nd) && !nd->sending_pieces) {
		s->was_full = true;
		return false;
	}
	if (s->out_at + s->out_len + 4 + len > STREAM_OUT_MAX) {
		memmove(s->out, s->out + s->out_at, s->out_len);
		s->out_at = 0;
		if (s->out_len + 4 + len > STREAM_OUT_MAX)
			return false;
	}
	put_le32(s->out + s->out_at + s->out_len, __builtin_bswap32((uint32_t)len));
	net_iov_copy(s->out + s->out_at + s->out_len + 4, len, iov, n, 0);
	s->out_len += 4 + len;
	return true;
}

static void stream_batch_end(struct netdev *nd)
{
	struct stream *s = nd->priv;

	/* With a peer that is behind, the loop writes when there is room; one that is gone, it
	 * sees. */
	if (s->fd >= 0 && !(s->watched & EPOLLOUT))
		stream_flush(s);
	stream_watch(s);
}

/* Hand over the frames of the buffer; false: the peer breaks the protocol. */
static bool stream_parse(struct stream *s)
{
	bool ok = true;

	net_deliver_begin(s->nd);
	while (s->in_len - s->in_at >= 4 && net_may_deliver(s->nd)) {
		static const struct net_hdr plain;
		size_t len = __builtin_bswap32(get_le32(s->in + s->in_at));
		struct iovec iov = {.iov_base = s->in + s->in_at + 4, .iov_len = len};

		if (!len || len > NET_FRAME_MAX) {
			log_printf(s->nd->log, "netdev %s: the peer sent a frame of %zu bytes\n",
				   s->nd->id, len);
			ok = false;
			break;
		}
		if (s->in_len - s->in_at < 4 + len)
			break;
		s->in_at += 4 + len;
		net_deliver(s->nd, &plain, &iov, 1, len);
	}
	net_deliver_end(s->nd);
	return ok;
}

static bool stream_read(struct stream *s)
{
	ssize_t n;

	if (s->in_at) {
		memmove(s->in, s->in + s->in_at, s->in_len - s->in_at);
		s->in_len -= s->in_at;
		s->in_at = 0;
	}
	n = recv(s->fd, s->in + s->in_len, STREAM_IN - s->in_len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	s->in_len += (size_t)n;
	return n > 0 && stream_parse(s);
}

static void stream_ready(void *opaque, uint32_t events)
{
	struct stream *s = opaque;
	bool ok = true;

	net_lock(s->nd);
	if (s->out_len)
		ok = stream_flush(s);
	if (ok && s->was_full && s->out_len < STREAM_OUT_FULL / 2) {
		s->was_full = false;
		netdev_sendable(s->nd);
	}
	if (ok && s->fd >= 0 && s->in_len - s->in_at < STREAM_IN && net_may_deliver(s->nd))
		ok = stream_read(s);
	else if (events & (EPOLLHUP | EPOLLERR)) /* even if the card takes nothing now */
		ok = false;
	if (ok)
		stream_watch(s);
	else
		stream_close_peer(s);
	net_unlock(s->nd);
}

static void stream_resume(struct netdev *nd)
{
	struct stream *s = nd->priv;

	if (s->fd < 0)
		return;
	if (!stream_parse(s))
		shutdown(s->fd, SHUT_RDWR); /* the loop closes it */
	stream_watch(s);
}

static void stream_attached(struct netdev *nd, bool yes)
{
	if (yes)
		stream_resume(nd);
}

static void stream_connected(struct stream *s, int fd)
{
	int one = 1;

	if (s->fd >= 0) { /* the second peer of a server */
		close(fd);
		return;
	}
	s->w = loop_fd_add(s->nd->loop, fd, 0, NULL, stream_ready, s);
	if (!s->w) {
		close(fd);
		return;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->fd = fd;
	s->watched = 0;
	s->was_full = false;
	s->out_at = s->out_len = s->in_at = s->in_len = 0;
	netdev_peer_link(s->nd, true);
	stream_watch(s);
}

static void stream_retry_later(struct stream *s)
{
	struct itimerspec at = {.it_value.tv_sec = (time_t)s->reconnect};

	timerfd_settime(s->timer_fd, 0, &at, NULL);
}

static void stream_close_peer(struct stream *s)
{
	bool was_full = s->was_full;

	loop_fd_remove(s->w);
	close(s->fd);
	s->w = NULL;
	s->fd = -1;
	s->out_len = s->in_len = s->in_at = 0;
	s->was_full = false;
	netdev_peer_link(s->nd, false);
	if (was_full)
		netdev_sendable(s->nd); /* frames are dropped from now on */
	if (s->reconnect)
		stream_retry_later(s);
}

static void stream_accept(void *opaque, uint32_t events)
{
	struct stream *s = opaque;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	net_lock(s->nd);
	stream_connected(s, fd);
	net_unlock(s->nd);
}

static void stream_tick(void *opaque, uint32_t events)
{
	struct stream *s = opaque;
	uint64_t n;
	int fd;

	if (read(s->timer_fd, &n, sizeof(n)) != sizeof(n) || s->fd >= 0)
		return;
	if (sock_connect(&s->addr, &fd, NULL)) {
		stream_retry_later(s);
		return;
	}
	net_lock(s->nd);
	stream_connected(s, fd);
	net_unlock(s->nd);
}

static int stream_start(struct stream *s, int given_fd, struct err **e)
{
	int fd, r;

	if (given_fd >= 0) {
		stream_connected(s, given_fd);
		return s->fd >= 0 ? 0 : err_set(e, EINVAL, "fd %d cannot be watched", given_fd);
	}
	if (s->server) {
		r = sock_listen(&s->addr, &s->listen_fd, e);
		if (!r)
			s->listen_w = loop_fd_add(s->nd->loop, s->listen_fd, EPOLLIN, NULL,
						  stream_accept, s);
		return r;
	}
	if (s->reconnect) {
		s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		bug_on(s->timer_fd < 0);
		s->timer_w = loop_fd_add(s->nd->loop, s->timer_fd, EPOLLIN, NULL, stream_tick, s);
	}
	r = sock_connect(&s->addr, &fd, s->reconnect ? NULL : e);
	if (!r)
		stream_connected(s, fd);
	else if (s->reconnect)
		stream_retry_later(s);
	return s->reconnect ? 0 : r;
}

static void stream_close(struct netdev *nd)
{
	struct stream *s = nd->priv;

	loop_fd_remove(s->listen_w);
	loop_fd_remove(s->w);
	loop_fd_remove(s->timer_w);
	if (s->listen_fd >= 0)
		sock_unlisten(&s->addr, s->listen_fd);
	if (s->fd >= 0)
		close(s->fd);
	if (s->timer_fd >= 0)
		close(s->timer_fd);
	sock_addr_free(&s->addr);
	free(s->out);
	free(s->in);
	free(s);
}

static struct stream *stream_new(struct netdev *nd)
{
	struct stream *s = nd->priv = xzalloc(sizeof(*s));

	s->nd = nd;
	s->listen_fd = s->fd = s->timer_fd = -1;
	s->out = xzalloc(STREAM_OUT_MAX);
	s->in = xzalloc(STREAM_IN);
	nd->peer_up = false;
	return s;
}

static int stream_open(struct netdev *nd, struct kvlist *opts, struct err **e)
{
	struct stream *s = stream_new(nd);
	int fd = -1, r = kv_bool(opts, "server", &s->server, e);

	if (!r)
		r = kv_uint(opts, "reconnect", 0, 86400, &s->reconnect, e);
	if (!r && s->server && s->reconnect)
		r = err_set(e, EINVAL, "'reconnect' is for clients, not with server=on");
	if (!r)
		r = net_sock_addr(&s->addr, opts, "addr", s->server, &fd, e);
	if (!r)
		r = stream_start(s, fd, e);
	if (r)
		stream_close(nd);
	return r;
}

/* socket,listen=[HOST]:PORT | connect=HOST:PORT | fd=N, or the datagram forms, which dgram.c has.
 */
static int socket_open(struct netdev *nd, struct kvlist *opts, struct err **e)
{
	const char *to = kv_get(opts, "connect"), *at = kv_get(opts, "listen");
	const char *text = kv_get(opts, "fd");
	struct stream *s;
	uint64_t fd = 0;
	int r;

	if (kv_get(opts, "udp") || kv_get(opts, "mcast")) {
		nd->kind = &netdev_dgram;
		return net_dgram_open_old(nd, opts, e);
	}
	if (!!to + !!at + !!text != 1)
		return err_set(e, EINVAL,
			       "one of 'connect', 'listen', 'fd', 'udp' and 'mcast' is "
			       "needed");
	s = stream_new(nd);
	s->server = at != NULL;
	if (text)
		r = parse_uint(text, 0, INT32_MAX, &fd)
			    ? 0
			    : err_set(e, EINVAL, "fd '%s' is not a number", text);
	else
		r = net_sock_host_port(&s->addr, to ? to : at, s->server, e);
	if (!r)
		r = stream_start(s, text ? (int)fd : -1, e);
	if (r)
		stream_close(nd);
	return r;
}

static char *stream_describe(const struct netdev *nd)
{
	const struct stream *s = nd->priv;

	return xasprintf("%s,%s%s", s->addr.name ? s->addr.name : "fd",
			 s->fd >= 0  ? "connected"
			 : s->server ? "listening"
				     : "not connected",
			 s->server ? ",server=on" : "");
}

const struct netdev_kind netdev_stream = {
	.name = "stream",
	.help = "frames over a connection: addr.type=unix,addr.path=PATH or "
		"addr.type=inet,addr.host=HOST,addr.port=PORT; [server=on] or [reconnect=SECONDS]",
	.open = stream_open,
	.close = stream_close,
	.send = stream_send,
	.full = stream_full,
	.batch_end = stream_batch_end,
	.resume = stream_resume,
	.attached = stream_attached,
	.describe = stream_describe,
};

const struct netdev_kind netdev_socket = {
	.name = "socket",
	.help = "the older form: connect=HOST:PORT, listen=[HOST]:PORT, fd=N, "
		"udp=HOST:PORT,localaddr=HOST:PORT or mcast=ADDR:PORT",
	.open = socket_open,
	.close = stream_close,
	.send = stream_send,
	.full = stream_full,
	.batch_end = stream_batch_end,
	.resume = stream_resume,
	.attached = stream_attached,
	.describe = stream_describe,
};
