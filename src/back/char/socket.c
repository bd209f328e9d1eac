/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix and TCP stream sockets.  A server lets one client in at a time: while it is connected the
 * listening socket is not watched, and the next client waits in the kernel's backlog.  A client
 * with reconnect=SECONDS tries again when its server is not there or leaves.
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
	bool server, wait, nodelay;
	uint64_t reconnect; /* seconds; 0: never */
	int listen_fd; /* -1: a client */
	struct loop_fd *listen_w; /* while a client is welcome */
	int try_fd; /* connecting, or -1 */
	struct loop_fd *try_w;
	int timer_fd; /* until the next attempt, or -1 */
	struct loop_fd *timer_w;
};

static void sock_accept_ready(void *opaque, uint32_t events);

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
		return;
	}
	fd_set_nonblock(fd);
	if (s->nodelay && !s->addr.path)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (s->server)
		sock_welcome(cd, false);
	chardev_stream_open(cd, fd, out);
}

static void sock_accept_ready(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;
	struct sock *s = cd->priv;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (cd->in_fd >= 0) /* its client left without a word that the guest has read */
		chardev_stream_close(cd);
	sock_connected(cd, fd);
}

static void sock_retry_later(struct chardev *cd)
{
	struct sock *s = cd->priv;
	struct itimerspec at = {.it_value.tv_sec = (time_t)s->reconnect};

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
		sock_retry_later(cd);
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
		sock_retry_later(cd);
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

	if (read(s->timer_fd, &n, sizeof(n)) == sizeof(n) && s->try_fd < 0 && cd->in_fd < 0)
		sock_try(cd);
}

static void sock_hangup(struct chardev *cd)
{
	struct sock *s = cd->priv;

	if (s->server)
		sock_welcome(cd, true);
	else if (s->reconnect)
		sock_retry_later(cd);
}

static void sock_peer_left(struct chardev *cd)
{
	struct sock *s = cd->priv;

	if (s->server)
		sock_welcome(cd, true);
}

static int sock_parse(struct sock *s, struct kvlist *opts, struct err **e)
{
	const char *path = kv_get(opts, "path");
	const char *host = kv_get(opts, "host"), *port = kv_get(opts, "port");
	int r;

	s->wait = true;
	r = kv_bool(opts, "server", &s->server, e);
	if (!r)
		r = kv_bool(opts, "wait", &s->wait, e);
	if (!r)
		r = kv_bool(opts, "nodelay", &s->nodelay, e);
	if (!r)
		r = kv_uint(opts, "reconnect", 0, 86400, &s->reconnect, e);
	if (r)
		return r;
	if (!s->server && kv_get(opts, "wait"))
		return err_set(e, EINVAL, "'wait' needs server=on");
	if (s->server && s->reconnect)
		return err_set(e, EINVAL, "'reconnect' is for clients, not with server=on");
	if (path)
		return sock_addr_unix(&s->addr, path, e);
	if (!port)
		return err_set(e, EINVAL, "a socket needs 'path', or 'host' and 'port'");
	return sock_addr_tcp(&s->addr, host ? host : "", port, s->server, e);
}

static int sock_open_server(struct chardev *cd, struct err **e)
{
	struct sock *s = cd->priv;
	int fd, r = sock_listen(&s->addr, &s->listen_fd, e);

	if (r)
		return r;
	cd->where = xasprintf("%s (server)", s->addr.name);
	if (!s->wait) {
		sock_welcome(cd, true);
		return 0;
	}
	fprintf(stderr, "%s: waiting for a connection on %s\n", cd->id, s->addr.name);
	do {
		struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};

		poll(&p, 1, -1);
		fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED));
	if (fd < 0) {
		r = err_set(e, errno, "cannot accept on %s: %s", s->addr.name, strerror(errno));
		sock_unlisten(&s->addr, s->listen_fd);
		return r;
	}
	sock_connected(cd, fd);
	return 0;
}

static int sock_open_client(struct chardev *cd, struct err **e)
{
	struct sock *s = cd->priv;
	int fd, r = sock_connect(&s->addr, &fd, s->reconnect ? NULL : e);

	if (r && !s->reconnect)
		return r;
	cd->where = xstrdup(s->addr.name);
	if (s->reconnect) {
		s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		bug_on(s->timer_fd < 0);
		s->timer_w = loop_fd_add(cd->loop, s->timer_fd, EPOLLIN, NULL, sock_tick, cd);
	}
	if (r)
		sock_retry_later(cd);
	else
		sock_connected(cd, fd);
	return 0;
}

static int sock_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	struct sock *s = cd->priv = xzalloc(sizeof(*s));
	int r;

	s->listen_fd = s->try_fd = s->timer_fd = -1;
	r = sock_parse(s, opts, e);
	if (!r)
		r = s->server ? sock_open_server(cd, e) : sock_open_client(cd, e);
	if (r) {
		sock_addr_free(&s->addr);
		free(s);
	}
	return r;
}

static void sock_close(struct chardev *cd)
{
	struct sock *s = cd->priv;

	loop_fd_remove(s->listen_w);
	loop_fd_remove(s->try_w);
	loop_fd_remove(s->timer_w);
	if (s->listen_fd >= 0)
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
	.help = "path=PATH, or host=HOST,port=PORT; [server=on[,wait=off]] or [reconnect=SECONDS]; "
		"[nodelay=on]",
	.keys = {"path", "host", "port", "server", "wait", "nodelay", "reconnect"},
	.open = sock_open,
	.close = sock_close,
	.hangup = sock_hangup,
	.peer_left = sock_peer_left,
};
