/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP: what is written at once is a datagram; of those that come, the contents.
 *
 * A front end takes as many bytes as it has room for, which a datagram does not heed.  So the loop reads
 * whole datagrams and passes them through a pipe, which is the stream that the front end reads; when that
 * is full, the datagram is lost, as they may be.  Likewise on output: one that the host does not take
 * at once, or that nobody waits for, is lost, and no error.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "back/char/chardev_int.h"
#include "base/err.h"

/* Written to the pipe as a whole or not at all (pipe(7)). */
#define DATAGRAM_MAX 4096
#define DATAGRAMS_AT_ONCE 16

struct udp {
	int fd, pipe[2]; /* pipe[0] is the chardev's once it is open */
	struct loop_fd *w;
	char *name;
};

static void udp_ready(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;
	struct udp *u = cd->priv;
	uint8_t buf[DATAGRAM_MAX];

	for (unsigned i = 0; i < DATAGRAMS_AT_ONCE; i++) {
		ssize_t n = recv(u->fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && errno != ECONNREFUSED) /* which tells of what was sent */
			return;
		if (n > 0 && n <= (ssize_t)sizeof(buf) && write(u->pipe[1], buf, (size_t)n) < 0)
			continue;
	}
}

static void udp_write(struct chardev *cd, const uint8_t *buf, size_t len)
{
	struct udp *u = cd->priv;

	if (len && send(u->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED)
		send(u->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL); /* that was an earlier one's error */
}

static int find(struct addrinfo **out, const char *host, const char *port, int family, bool local,
		struct err **e)
{
	struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = SOCK_DGRAM,
		.ai_flags = local ? AI_PASSIVE : 0,
	};
	uint64_t number;
	int r;

	if (isdigit((unsigned char)*port) && !parse_uint(port, 0, 65535, &number))
		return err_set(e, EINVAL, "'%s' is not a port number", port);
	r = getaddrinfo(*host ? host : NULL, port, &hints, out);
	return r ? err_set(e, EINVAL, "no address for host '%s' port '%s': %s", host, port,
			   gai_strerror(r))
		 : 0;
}

/* Bind to our own address, if any is given, and to whom we talk. */
static int udp_connect(struct udp *u, const char *host, const char *port, const char *local_host,
		       const char *local_port, struct err **e)
{
	struct addrinfo *peer = NULL, *own = NULL;
	int r = find(&peer, host, port, AF_UNSPEC, false, e);

	if (!r && (local_host || local_port))
		r = find(&own, local_host ? local_host : "", local_port ? local_port : "0",
			 peer->ai_family, true, e);
	if (!r) {
		u->fd = socket(peer->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (u->fd < 0 || (own && bind(u->fd, own->ai_addr, own->ai_addrlen)) ||
		    connect(u->fd, peer->ai_addr, peer->ai_addrlen))
			r = err_set(e, errno, "UDP socket from '%s:%s' to '%s:%s': %s",
				    local_host ? local_host : "", local_port ? local_port : "", host,
				    port, strerror(errno));
	}
	if (peer)
		freeaddrinfo(peer);
	if (own)
		freeaddrinfo(own);
	return r;
}

static void udp_close(struct chardev *cd)
{
	struct udp *u = cd->priv;

	loop_fd_remove(u->w);
	for (unsigned i = 0; i < 2; i++)
		if (u->pipe[i] >= 0)
			close(u->pipe[i]);
	if (u->fd >= 0)
		close(u->fd);
	free(u->name);
	free(u);
}

static int udp_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	const char *host = kv_get(opts, "host"), *port = kv_get(opts, "port");
	const char *local_host = kv_get(opts, "localaddr"), *local_port = kv_get(opts, "localport");
	struct udp *u = cd->priv = xzalloc(sizeof(*u));
	int r = 0;

	u->fd = u->pipe[0] = u->pipe[1] = -1;
	if (!port || !*port)
		r = err_set(e, EINVAL, "'port' is missing: where datagrams go to");
	if (!r)
		r = udp_connect(u, host && *host ? host : "127.0.0.1", port,
				local_host && *local_host ? local_host : NULL,
				local_port && *local_port ? local_port : NULL, e);
	if (!r && pipe2(u->pipe, O_CLOEXEC | O_NONBLOCK))
		r = err_set(e, errno, "cannot make a pipe: %s", strerror(errno));
	if (r) {
		udp_close(cd);
		return r;
	}
	u->name = xasprintf("udp:%s:%s", host && *host ? host : "127.0.0.1", port);
	cd->where = xstrdup(u->name);
	u->w = loop_fd_add(cd->loop, u->fd, EPOLLIN, NULL, udp_ready, cd);
	chardev_stream_open(cd, u->pipe[0], -1);
	u->pipe[0] = -1;
	return 0;
}

static char *udp_filename(struct chardev *cd)
{
	return xstrdup(((struct udp *)cd->priv)->name);
}

const struct chardev_kind chardev_udp = {
	.name = "udp",
	.help = "datagrams: port=PORT[,host=HOST][,localaddr=ADDR][,localport=PORT]",
	.keys = {"host", "port", "localaddr", "localport"},
	.open = udp_open,
	.close = udp_close,
	.write = udp_write,
	.filename = udp_filename,
};
