/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -netdev dgram, and the datagram forms of the older -netdev socket: a frame is a datagram, over
 * UDP, a multicast group (every VM that joined is on one wire), or Unix sockets.
 *
 * Frames that the peer is not there for are lost, as on a wire.  In a group our own frames come
 * back; they are told by the address that they come from.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>
#include "back/net/sock_int.h"
#include "base/err.h"

#define DGRAM_BATCH 64
#define DGRAM_BUF (1 * MiB)
#define DGRAM_IOV 1024

struct dgram {
	struct netdev *nd;
	struct sock_addr local, remote;
	bool bound_path; /* local.path is ours to remove */
	int fd, out_fd; /* the same, but in a group */
	struct sockaddr_in own; /* in a group: where our frames come from */
	struct loop_fd *w;
	bool reading, writing;
	uint8_t *buf;
};

static void dgram_watch(struct dgram *d, bool reading, bool writing)
{
	if (d->reading == reading && d->writing == writing)
		return;
	d->reading = reading;
	d->writing = writing;
	loop_fd_set(d->w, (reading ? EPOLLIN : 0u) | (writing ? EPOLLOUT : 0u));
}

static bool is_own(const struct dgram *d, const struct sockaddr_storage *from)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)from;

	return d->out_fd != d->fd && in->sin_family == AF_INET && in->sin_port == d->own.sin_port &&
	       in->sin_addr.s_addr == d->own.sin_addr.s_addr;
}

static void dgram_read(struct dgram *d)
{
	static const struct net_hdr plain;

	net_deliver_begin(d->nd);
	for (unsigned i = 0; i < DGRAM_BATCH && net_may_deliver(d->nd); i++) {
		struct sockaddr_storage from = {0};
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(d->fd, d->buf, NET_FRAME_MAX, MSG_DONTWAIT,
				     (struct sockaddr *)&from, &from_len);
		struct iovec iov = {.iov_base = d->buf};

		if (n < 0 && (errno == EINTR || errno == ECONNREFUSED))
			continue;
		if (n < 0)
			break;
		iov.iov_len = (size_t)n;
		if (!is_own(d, &from))
			net_deliver(d->nd, &plain, &iov, 1, iov.iov_len);
	}
	net_deliver_end(d->nd);
}

static void dgram_ready(void *opaque, uint32_t events)
{
	struct dgram *d = opaque;

	net_lock(d->nd);
	if (d->writing && (events & (EPOLLOUT | EPOLLERR))) {
		dgram_watch(d, d->reading, false);
		netdev_sendable(d->nd);
	}
	if (d->reading)
		dgram_read(d);
	if (!net_may_deliver(d->nd))
		dgram_watch(d, false, d->writing);
	net_unlock(d->nd);
}

static void dgram_resume(struct netdev *nd)
{
	struct dgram *d = nd->priv;

	dgram_watch(d, true, d->writing);
}

static void dgram_attached(struct netdev *nd, bool yes)
{
	if (yes)
		dgram_resume(nd);
}

static bool dgram_full(const struct netdev *nd)
{
	return ((const struct dgram *)nd->priv)->writing;
}

static bool dgram_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		       unsigned n, size_t len)
{
	struct dgram *d = nd->priv;
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};
	ssize_t r;

	if (n > DGRAM_IOV)
		return true; /* dropped: no driver sends that */
	if (d->writing)
		return false;
	if (d->remote.len) {
		msg.msg_name = &d->remote.sa;
		msg.msg_namelen = d->remote.len;
	}
	do {
		r = sendmsg(d->out_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && d->out_fd == d->fd &&
	    !d->remote.path) {
		dgram_watch(d, d->reading, true);
		return false;
	}
	/* A Unix peer whose queue is full: our socket stays writable, nothing would tell. */
	if (r < 0)
		nd->stats.tx_dropped++;
	return true;
}

static void dgram_free(struct dgram *d)
{
	loop_fd_remove(d->w);
	if (d->out_fd >= 0 && d->out_fd != d->fd)
		close(d->out_fd);
	if (d->fd >= 0)
		close(d->fd);
	if (d->bound_path)
		unlink(d->local.path);
	sock_addr_free(&d->local);
	sock_addr_free(&d->remote);
	free(d->buf);
	free(d);
}

static void dgram_close(struct netdev *nd)
{
	dgram_free(nd->priv);
}

static int dgram_socket(const struct sock_addr *a, int *fd, struct err **e)
{
	int size = DGRAM_BUF;

	*fd = socket(a->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return err_set(e, errno, "cannot make a socket: %s", strerror(errno));
	setsockopt(*fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(*fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return 0;
}

static int dgram_bind(struct dgram *d, struct err **e)
{
	struct stat st;
	int one = 1;

	/* A name that another process left; datagram sockets have no way to tell one in use. */
	if (d->local.path && !lstat(d->local.path, &st) && S_ISSOCK(st.st_mode))
		unlink(d->local.path);
	if (!d->local.path)
		setsockopt(d->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(d->fd, (struct sockaddr *)&d->local.sa, d->local.len))
		return err_set(e, errno, "cannot bind to %s: %s", d->local.name, strerror(errno));
	d->bound_path = d->local.path != NULL;
	return 0;
}

static bool is_group(const struct sock_addr *a)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;

	return a->sa.ss_family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

/* Join d->remote's group: one socket that is bound to it, one with a port of its own to send from.
 */
static int dgram_join(struct dgram *d, struct in_addr iface, struct err **e)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&d->remote.sa;
	struct ip_mreq mreq = {.imr_multiaddr = in->sin_addr, .imr_interface = iface};
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr = iface};
	socklen_t len = sizeof(d->own);
	int one = 1, r = dgram_socket(&d->remote, &d->fd, e);

	if (!r)
		r = dgram_socket(&d->remote, &d->out_fd, e);
	if (r)
		return r;
	setsockopt(d->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(d->fd, (const struct sockaddr *)in, sizeof(*in)) ||
	    setsockopt(d->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof(mreq)) ||
	    setsockopt(d->out_fd, IPPROTO_IP, IP_MULTICAST_LOOP, &one, sizeof(one)) ||
	    setsockopt(d->out_fd, IPPROTO_IP, IP_MULTICAST_IF, &iface, sizeof(iface)) ||
	    bind(d->out_fd, (struct sockaddr *)&own, sizeof(own)))
		return err_set(e, errno, "cannot join group %s: %s", d->remote.name,
			       strerror(errno));
	/* The address that frames come from is chosen by the route to the group. */
	if (iface.s_addr == INADDR_ANY &&
	    connect(d->out_fd, (const struct sockaddr *)in, sizeof(*in)))
		return err_set(e, errno, "no way to group %s: %s", d->remote.name, strerror(errno));
	getsockname(d->out_fd, (struct sockaddr *)&d->own, &len);
	return 0;
}

static struct dgram *dgram_new(struct netdev *nd)
{
	struct dgram *d = nd->priv = xzalloc(sizeof(*d));

	d->nd = nd;
	d->fd = d->out_fd = -1;
	d->buf = xzalloc(NET_FRAME_MAX);
	return d;
}

static int dgram_start(struct dgram *d, struct err **e)
{
	if (d->out_fd < 0)
		d->out_fd = d->fd;
	d->w = loop_fd_add(d->nd->loop, d->fd, 0, NULL, dgram_ready, d);
	return d->w ? 0 : err_set(e, EINVAL, "fd %d cannot be watched", d->fd);
}

static int dgram_connect(struct dgram *d, bool has_local, struct in_addr iface, struct err **e)
{
	int r;

	if (is_group(&d->remote))
		return dgram_join(d, iface, e);
	if (!has_local)
		return err_set(e, EINVAL, "'local' is needed unless 'remote' is a multicast group");
	if (d->local.sa.ss_family != d->remote.sa.ss_family)
		return err_set(e, EINVAL, "'local' and 'remote' are of different families");
	r = dgram_socket(&d->local, &d->fd, e);
	return r ? r : dgram_bind(d, e);
}

static struct in_addr iface_of(const struct sock_addr *a)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;

	return a->sa.ss_family == AF_INET ? in->sin_addr : (struct in_addr){INADDR_ANY};
}

static int dgram_open(struct netdev *nd, struct kvlist *opts, struct err **e)
{
	struct dgram *d = dgram_new(nd);
	bool local = kv_get(opts, "local.type") != NULL, remote = kv_get(opts, "remote.type");
	int fd = -1, none = -1, r = 0;

	if (!local && !remote)
		r = err_set(e, EINVAL, "'remote' or 'local' is needed");
	if (!r && local)
		r = net_sock_addr(&d->local, opts, "local", true, &fd, e);
	if (!r && remote)
		r = net_sock_addr(&d->remote, opts, "remote", false, &none, e);
	if (!r && fd >= 0) {
		d->fd = fd;
		if (fcntl(fd, F_SETFL, O_NONBLOCK))
			r = err_set(e, errno, "fd %d: %s", fd, strerror(errno));
	} else if (!r) {
		r = remote && none < 0 ? dgram_connect(d, local, iface_of(&d->local), e)
				       : err_set(e, EINVAL, "'remote' is needed");
	}
	if (!r)
		r = dgram_start(d, e);
	if (r)
		dgram_free(d);
	return r;
}

int net_dgram_open_old(struct netdev *nd, struct kvlist *opts, struct err **e)
{
	const char *udp = kv_get(opts, "udp"), *group = kv_get(opts, "mcast");
	const char *local = kv_get(opts, "localaddr");
	struct dgram *d = dgram_new(nd);
	struct in_addr iface = {INADDR_ANY};
	int r = 0;

	if (group && local && inet_pton(AF_INET, local, &iface) != 1)
		r = err_set(e, EINVAL, "'localaddr' is not an IPv4 address");
	if (!r && udp && !local)
		r = err_set(e, EINVAL, "'udp' needs 'localaddr=HOST:PORT'");
	if (!r)
		r = net_sock_host_port(&d->remote, group ? group : udp, false, e);
	if (!r && group && !is_group(&d->remote))
		r = err_set(e, EINVAL, "'%s' is not a multicast address", group);
	if (!r && !group)
		r = net_sock_host_port(&d->local, local, true, e);
	if (!r)
		r = dgram_connect(d, !group, iface, e);
	if (!r)
		r = dgram_start(d, e);
	if (r)
		dgram_free(d);
	return r;
}

static char *dgram_describe(const struct netdev *nd)
{
	const struct dgram *d = nd->priv;

	return xasprintf("local=%s,remote=%s", d->local.name ? d->local.name : "none",
			 d->remote.name ? d->remote.name : "connected");
}

const struct netdev_kind netdev_dgram = {
	.name = "dgram",
	.help = "a frame is a datagram: local.type=unix,local.path=PATH,remote.type=unix,"
		"remote.path=PATH, or inet with host and port; remote may be a multicast group",
	.open = dgram_open,
	.close = dgram_close,
	.send = dgram_send,
	.full = dgram_full,
	.resume = dgram_resume,
	.attached = dgram_attached,
	.describe = dgram_describe,
};
