/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix and TCP stream sockets.  A server lets one client in at a time: while it is connected the
 * listening socket is not watched, and the next client waits in the kernel's backlog.  A client
 * with reconnect=SECONDS tries again when its server is not there or leaves.
 *
 * fd=N takes over a socket that whoever started us has made: one that listens for a server, one that
 * is connected for a client.  When the host has no descriptor for a client that waits, we look again
 * a second later.
 */
#include "back/char/socket.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "back/char/chardev_int.h"
#include "base/err.h"

struct sock {
	struct sock_addr addr;
	bool server, wait, nodelay, is_telnet;
	bool inherited; /* by fd=: the socket's name is not ours to remove */
	struct telnet telnet;
	uint64_t reconnect; /* seconds; 0: never */
	int listen_fd; /* -1: a client */
	struct loop_fd *listen_w; /* while a client is welcome */
	int try_fd; /* connecting, or -1 */
	struct loop_fd *try_w;
	int timer_fd; /* until the next attempt, or -1 */
	struct loop_fd *timer_w;
};

static void sock_accept_ready(void *opaque, uint32_t events);
static void sock_retry_later(struct chardev *cd, uint64_t seconds);

static void sock_welcome(struct chardev *cd, bool on)
{
	struct sock *s = cd->priv;

	if (on && !s->listen_w) {
		s->listen_w =
			loop_fd_add(cd->loop, s->listen_fd, EPOLLIN, NULL, sock_accept_ready, cd);
	} else if (!on) {
		loop_fd_remove(s->listen_w);
		s->listen_w = NULL;
	}
}

/* A connection is there: fd is ours now. */
static void sock_connected(struct chardev *cd, int fd)
{
	struct sock *s = cd->priv;
	int one = 1, out = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (out < 0) {
		close(fd);
		if (s->reconnect)
			sock_retry_later(cd, s->reconnect);
		return;
	}
	fd_set_nonblock(fd);
	if (s->nodelay && !s->addr.path)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (s->server)
		sock_welcome(cd, false);
	chardev_stream_open(cd, fd, out);
	if (s->is_telnet) {
		s->telnet = (struct telnet){0};
		chardev_print(cd, TELNET_HELLO);
	}
}

static void sock_accept_ready(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;
	struct sock *s = cd->priv;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			sock_welcome(cd, false);
			sock_retry_later(cd, 1);
		}
		return;
	}
	if (cd->in_fd >= 0) /* its client left without a word that the guest has read */
		chardev_stream_close(cd);
	sock_connected(cd, fd);
}

static void sock_retry_later(struct chardev *cd, uint64_t seconds)
{
	struct sock *s = cd->priv;
	struct itimerspec at = {.it_value.tv_sec = (time_t)seconds};

	timerfd_settime(s->timer_fd, 0, &at, NULL);
}

static void sock_try_done(struct chardev *cd, int error)
{
	struct sock *s = cd->priv;
	int fd = s->try_fd;

	s->try_fd = -1;
	loop_fd_remove(s->try_w);
	s->try_w = NULL;
	if (!error) {
		sock_connected(cd, fd);
	} else {
		close(fd);
		sock_retry_later(cd, s->reconnect);
	}
}

static void sock_try_ready(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;
	struct sock *s = cd->priv;
	int error = 0;
	socklen_t len = sizeof(error);

	if (s->try_fd < 0)
		return;
	if (getsockopt(s->try_fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	sock_try_done(cd, error);
}

/* Start to connect without waiting. */
static void sock_try(struct chardev *cd)
{
	struct sock *s = cd->priv;

	s->try_fd = socket(s->addr.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->try_fd < 0) {
		sock_retry_later(cd, s->reconnect);
		return;
	}
	if (!connect(s->try_fd, (struct sockaddr *)&s->addr.sa, s->addr.len))
		sock_try_done(cd, 0);
	else if (errno == EINPROGRESS)
		s->try_w = loop_fd_add(cd->loop, s->try_fd, EPOLLOUT, NULL, sock_try_ready, cd);
	else
		sock_try_done(cd, errno);
}

static void sock_tick(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;
	struct sock *s = cd->priv;
	uint64_t n;

	if (read(s->timer_fd, &n, sizeof(n)) != sizeof(n) || cd->in_fd >= 0)
		return;
	if (s->server)
		sock_welcome(cd, true);
	else if (s->try_fd < 0)
		sock_try(cd);
}

static void sock_hangup(struct chardev *cd)
{
	struct sock *s = cd->priv;

	if (s->server)
		sock_welcome(cd, true);
	else if (s->reconnect)
		sock_retry_later(cd, s->reconnect);
}

static void sock_peer_left(struct chardev *cd)
{
	struct sock *s = cd->priv;

	if (s->server)
		sock_welcome(cd, true);
}

/* fd=N: an open socket, of the kind that server= says. */
static int sock_inherit(struct sock *s, const char *word, struct err **e)
{
	socklen_t len = sizeof(int);
	int listens = 0;
	uint64_t fd;

	if (!parse_uint(word, 0, INT32_MAX, &fd))
		return err_set(e, EINVAL, "'%s' is not the number of a descriptor", word);
	if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len))
		return err_set(e, errno, "descriptor %s: %s", word, strerror(errno));
	if (s->server != (listens != 0))
		return err_set(e, EINVAL, "descriptor %s is %s", word,
			       listens ? "a socket that listens, which needs server=on"
				       : "not a socket that listens");
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	fd_set_nonblock((int)fd);
	s->inherited = true;
	if (s->server)
		s->listen_fd = (int)fd;
	else
		s->try_fd = (int)fd;
	s->addr.len = sizeof(s->addr.sa);
	getsockname((int)fd, (struct sockaddr *)&s->addr.sa, &s->addr.len);
	s->addr.name = xasprintf("fd:%s", word);
	return 0;
}

static int sock_parse_addr(struct sock *s, struct kvlist *opts, struct err **e)
{
	const char *path = kv_get(opts, "path"), *fd = kv_get(opts, "fd");
	const char *host = kv_get(opts, "host"), *port = kv_get(opts, "port");

	if ((path != NULL) + (fd != NULL) + (port != NULL) != 1)
		return err_set(e, EINVAL, "a socket needs one of 'path', 'fd', or 'host' and 'port'");
	if (fd)
		return sock_inherit(s, fd, e);
	if (path)
		return sock_addr_unix(&s->addr, path, e);
	return sock_addr_tcp(&s->addr, host ? host : "", port, s->server, e);
}

static int sock_parse(struct sock *s, struct kvlist *opts, struct err **e)
{
	int r;

	s->wait = true;
	r = kv_bool(opts, "server", &s->server, e);
	if (!r)
		r = kv_bool(opts, "wait", &s->wait, e);
	if (!r)
		r = kv_bool(opts, "nodelay", &s->nodelay, e);
	if (!r)
		r = kv_bool(opts, "telnet", &s->is_telnet, e);
	if (!r)
		r = kv_uint(opts, "reconnect", 0, 86400, &s->reconnect, e);
	if (r)
		return r;
	if (!s->server && kv_get(opts, "wait"))
		return err_set(e, EINVAL, "'wait' needs server=on");
	if (s->server && s->reconnect)
		return err_set(e, EINVAL, "'reconnect' is for clients, not with server=on");
	if (s->reconnect && kv_get(opts, "fd"))
		return err_set(e, EINVAL, "'reconnect' needs an address, not 'fd'");
	return sock_parse_addr(s, opts, e);
}

/* Let the first client in before the machine is made. */
static int sock_wait_client(struct chardev *cd, struct err **e)
{
	struct sock *s = cd->priv;
	int fd;

	fprintf(stderr, "%s: waiting for a connection on %s\n", cd->id, s->addr.name);
	do {
		struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};

		poll(&p, 1, -1);
		fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED));
	if (fd < 0)
		return err_set(e, errno, "cannot accept on %s: %s", s->addr.name, strerror(errno));
	sock_connected(cd, fd);
	return 0;
}

static int sock_open_server(struct chardev *cd, struct err **e)
{
	struct sock *s = cd->priv;
	int r = s->inherited ? 0 : sock_listen(&s->addr, &s->listen_fd, e);

	if (r)
		return r;
	cd->where = xasprintf("%s (server)", s->addr.name);
	if (s->wait)
		return sock_wait_client(cd, e);
	sock_welcome(cd, true);
	return s->listen_w ? 0
			   : err_set(e, errno, "cannot watch %s: %s", s->addr.name, strerror(errno));
}

static int sock_open_client(struct chardev *cd, struct err **e)
{
	struct sock *s = cd->priv;
	int fd = s->try_fd, r = 0;

	s->try_fd = -1;
	if (!s->inherited)
		r = sock_connect(&s->addr, &fd, s->reconnect ? NULL : e);
	if (r && !s->reconnect)
		return r;
	cd->where = xstrdup(s->addr.name);
	if (r)
		sock_retry_later(cd, s->reconnect);
	else
		sock_connected(cd, fd);
	return 0;
}

static int sock_timer(struct chardev *cd, struct err **e)
{
	struct sock *s = cd->priv;

	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->timer_fd >= 0)
		s->timer_w = loop_fd_add(cd->loop, s->timer_fd, EPOLLIN, NULL, sock_tick, cd);
	return s->timer_w ? 0
			  : err_set(e, errno, "cannot make a timer for a socket: %s",
				    strerror(errno));
}

static void sock_close(struct chardev *cd);

static int sock_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	struct sock *s = cd->priv = xzalloc(sizeof(*s));
	int r;

	s->listen_fd = s->try_fd = s->timer_fd = -1;
	r = sock_parse(s, opts, e);
	if (!r)
		r = sock_timer(cd, e);
	if (!r)
		r = s->server ? sock_open_server(cd, e) : sock_open_client(cd, e);
	if (r)
		sock_close(cd);
	return r;
}

static size_t sock_filter(struct chardev *cd, uint8_t *buf, size_t len)
{
	struct sock *s = cd->priv;

	return s->is_telnet ? telnet_filter(&s->telnet, buf, len) : len;
}

static char *sock_filename(struct chardev *cd)
{
	struct sock *s = cd->priv;
	const char *name = s->addr.name;

	if (s->is_telnet && !strncmp(name, "tcp:", 4))
		name += 4;
	return xasprintf("%s%s%s%s", cd->in_fd >= 0 ? "" : "disconnected:",
			 name == s->addr.name ? "" : "telnet:", name, s->server ? ",server=on" : "");
}

static void sock_close(struct chardev *cd)
{
	struct sock *s = cd->priv;

	loop_fd_remove(s->listen_w);
	loop_fd_remove(s->try_w);
	loop_fd_remove(s->timer_w);
	if (s->listen_fd >= 0 && s->inherited)
		close(s->listen_fd);
	else if (s->listen_fd >= 0)
		sock_unlisten(&s->addr, s->listen_fd);
	if (s->try_fd >= 0)
		close(s->try_fd);
	if (s->timer_fd >= 0)
		close(s->timer_fd);
	sock_addr_free(&s->addr);
	free(s);
}

const struct chardev_kind chardev_socket = {
	.name = "socket",
	.help = "path=PATH, or host=HOST,port=PORT, or fd=N; [server=on[,wait=off]] or "
		"[reconnect=SECONDS]; [nodelay=on]; [telnet=on]",
	.keys = {"path", "host", "port", "fd", "server", "wait", "nodelay", "telnet", "reconnect"},
	.open = sock_open,
	.close = sock_close,
	.hangup = sock_hangup,
	.peer_left = sock_peer_left,
	.filter = sock_filter,
	.filename = sock_filename,
};
