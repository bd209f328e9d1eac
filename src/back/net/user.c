/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -netdev user: a network of its own behind the host's sockets, by libslirp.
 *
 * libslirp is not thread-safe, and knows poll(): it is asked which descriptors it wants watched (fill)
 * and told which are ready (poll).  Here it lives under the card's lock: frames from the card go straight
 * in on the vCPU's thread, answers come out at once, and no thread has to be woken for a round trip.  The
 * descriptors are in an epoll set of their own, which the loop watches as one; the kernel lets it be
 * changed while the loop sleeps in it.  After every call into libslirp, or after a batch of frames,
 * user_refresh brings the set and the timer up to date.
 *
 * Large frames.  libslirp is a TCP end point, which copes with any segment that fits an IP packet, so
 * the card's large ones are passed on whole.  In the other direction the segment size is what the guest's
 * SYN says; if the card takes large frames (virtio-net's GUEST_TSO), SYNs are passed on with a larger
 * one, and what libslirp then sends is given to the card as segments to be made, of the guest's real
 * size.  The interface that libslirp sees has an MTU for that; what is not TCP is cut into IP fragments.
 *
 * USER_MSS: libslirp announces a window that was full only when twice its segment size is free, and
 * its window is 64 KiB at most.  It keeps a frame of the MTU's length on the stack, and refuses larger
 * packets of IPv6, which are cut to that size before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "back/net/offload.h"
#include "back/net/user_int.h"
#include "base/err.h"

#define USER_MSS 16384
#define USER_MTU (USER_MSS + 60)
#define USER_EVENTS 64
#define USER_SMALL 256 /* a SYN is no longer */
#define NS_PER_MS INT64_C(1000000)
#define TCP_SYN 0x02

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* What to watch. */

static uint32_t epoll_of(int events)
{
	return (events & SLIRP_POLL_IN ? EPOLLIN : 0u) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0u) |
	       (events & SLIRP_POLL_PRI ? EPOLLPRI : 0u) | EPOLLERR; /* and EPOLLHUP */
}

static uint32_t slirp_of(uint32_t events)
{
	return (events & EPOLLIN ? SLIRP_POLL_IN : 0u) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0u) |
	       (events & EPOLLPRI ? SLIRP_POLL_PRI : 0u) |
	       (events & EPOLLERR ? SLIRP_POLL_ERR : 0u) |
	       (events & EPOLLHUP ? SLIRP_POLL_HUP : 0u);
}

static struct user_fd *fd_of(struct user *u, int fd)
{
	size_t want = (size_t)fd + 1;

	if (want > u->n_fds) {
		size_t cap = max_u64(want, 2 * u->n_fds);

		u->fds = xrealloc(u->fds, cap * sizeof(*u->fds));
		memset(u->fds + u->n_fds, 0, (cap - u->n_fds) * sizeof(*u->fds));
		u->n_fds = cap;
	}
	return &u->fds[fd];
}

static void list_add(int **list, size_t *n, size_t *cap, int fd)
{
	if (*n == *cap) {
		*cap = *cap ? 2 * *cap : 16;
		*list = xrealloc(*list, *cap * sizeof(**list));
	}
	(*list)[(*n)++] = fd;
}

static int user_add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;

	fd_of(u, fd)->wanted = epoll_of(events);
	list_add(&u->polled, &u->n_polled, &u->cap_polled, fd);
	return (int)u->n_polled - 1;
}

static int user_get_revents(int idx, void *opaque)
{
	struct user *u = opaque;

	if (idx < 0 || (size_t)idx >= u->n_polled)
		return 0;
	return (int)u->fds[u->polled[idx]].ready;
}

static void fd_watch(struct user *u, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};
	struct user_fd *f = fd_of(u, fd);

	if (f->watched == events)
		return;
	if (!events)
		epoll_ctl(u->epfd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(u->epfd, f->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev))
		epoll_ctl(u->epfd, f->watched ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev);
	if (!f->listed)
		list_add(&u->watched, &u->n_watched, &u->cap_watched, fd);
	f->listed = true;
	f->watched = events;
}

static void fds_refresh(struct user *u, uint32_t *timeout_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < u->n_watched; i++)
		u->fds[u->watched[i]].wanted = 0;
	u->n_polled = 0;
	slirp_pollfds_fill(u->slirp, timeout_ms, user_add_poll, u);
	for (size_t i = 0; i < u->n_polled; i++)
		fd_watch(u, u->polled[i], u->fds[u->polled[i]].wanted);
	for (size_t i = 0; i < u->n_watched; i++) {
		int fd = u->watched[i];

		if (!u->fds[fd].wanted)
			fd_watch(u, fd, 0);
		u->fds[fd].listed = u->fds[fd].watched != 0;
		if (u->fds[fd].watched)
			u->watched[kept++] = fd;
	}
	u->n_watched = kept;
}

/* libslirp is about to close a descriptor. */
static void user_forget_fd(int fd, void *opaque)
{
	struct user *u = opaque;

	if (fd < 0)
		return;
	fd_watch(u, fd, 0);
	u->fds[fd].ready = 0;
}

/* It has a new one, whose number may be that of one that was closed. */
static void user_new_fd(int fd, void *opaque)
{
	user_forget_fd(fd, opaque);
	user_chardevs_accept(opaque);
}

static void timer_refresh(struct user *u)
{
	struct itimerspec its = {0};
	int64_t at = u->poll_at;

	for (struct user_timer *t = u->timers; t; t = t->next)
		at = t->at < at ? t->at : at;
	/* One that goes off too early costs less than setting it for each frame. */
	if (at >= u->armed)
		return;
	u->armed = at;
	its.it_value.tv_sec = at / 1000000000;
	its.it_value.tv_nsec = at % 1000000000;
	timerfd_settime(u->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
}

void user_refresh(struct user *u)
{
	uint32_t ms = UINT32_MAX;

	fds_refresh(u, &ms);
	u->poll_at = ms == UINT32_MAX ? INT64_MAX : now_ns() + ms * NS_PER_MS;
	timer_refresh(u);
}

static void user_pause(struct user *u, bool pause)
{
	if (u->paused == pause)
		return;
	u->paused = pause;
	loop_fd_set(u->w, pause ? 0 : EPOLLIN);
}

static void timers_run(struct user *u)
{
	int64_t now = now_ns();
	uint64_t n;

	if (read(u->timerfd, &n, sizeof(n)) != sizeof(n))
		return;
	u->armed = INT64_MAX;
	for (struct user_timer *t = u->timers, *next; t; t = next) {
		next = t->next;
		if (t->at > now)
			continue;
		t->at = INT64_MAX;
		t->fn(t->opaque);
	}
}

static void user_poll(struct user *u)
{
	struct epoll_event ev[USER_EVENTS];
	int n = epoll_wait(u->epfd, ev, USER_EVENTS, 0);

	net_deliver_begin(u->nd);
	for (int i = 0; i < n; i++) {
		int fd = ev[i].data.fd;

		if (fd == u->timerfd)
			timers_run(u);
		else
			fd_of(u, fd)->ready = slirp_of(ev[i].events);
	}
	slirp_pollfds_poll(u->slirp, n < 0, user_get_revents, u);
	for (int i = 0; i < n; i++)
		fd_of(u, ev[i].data.fd)->ready = 0;
	user_refresh(u);
	net_deliver_end(u->nd);
}

static void user_ready(void *opaque, uint32_t events)
{
	struct user *u = opaque;

	net_lock(u->nd);
	if (net_may_deliver(u->nd))
		user_poll(u);
	else
		user_pause(u, true);
	net_unlock(u->nd);
}

static void user_resume(struct netdev *nd)
{
	user_pause(nd->priv, false);
}

static void user_attached(struct netdev *nd, bool yes)
{
	struct user *u = nd->priv;

	if (yes)
		user_pause(u, false);
}

/* Frames. */

/* A TCP header's option `kind`, or NULL; size: of the whole option. */
static uint8_t *tcp_option(uint8_t *tcp, size_t len, uint8_t kind, size_t size)
{
	size_t end = min_u64((tcp[12] >> 4) * 4u, len), at = 20;

	while (at + 1 < end && tcp[at]) {
		size_t n = tcp[at] == 1 ? 1 : tcp[at + 1];

		if (!n || (tcp[at] != 1 && n < 2) || n > end - at)
			return NULL;
		if (tcp[at] == kind && n == size)
			return tcp + at;
		at += n;
	}
	return NULL;
}

/* A SYN of the guest: a larger segment size, if the card takes large frames. */
static void syn_raise_mss(struct user *u, uint8_t *frame, size_t len)
{
	struct net_ip ip;
	uint8_t *tcp, *mss;
	uint16_t was, now = __builtin_bswap16(USER_MSS);
	uint32_t sum;

	if (!net_parse_ip(&ip, frame, len) || ip.proto != 6 || ip.fragment || ip.end - ip.l4 < 20)
		return;
	tcp = frame + ip.l4;
	if (!(tcp[13] & TCP_SYN) ||
	    !(u->nd->front_takes & (ip.v6 ? NET_OFFLOAD_TSO6 : NET_OFFLOAD_TSO4)))
		return;
	mss = tcp_option(tcp, ip.end - ip.l4, 2, 4);
	if (!mss || (mss - tcp) % 2 || __builtin_bswap16(get_le16(mss + 2)) >= USER_MSS)
		return;
	/* RFC 1624: the new checksum from the old one and what changed. */
	was = get_le16(mss + 2);
	sum = (uint16_t)~get_le16(tcp + 16) + (uint32_t)(uint16_t)~was + now;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put_le16(tcp + 16, (uint16_t)~sum);
	put_le16(mss + 2, now);
}

static void send_piece(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		       size_t len)
{
	struct user *u = opaque;

	net_iov_copy(u->piece, len, iov, n, 0);
	slirp_input(u->slirp, u->piece, (int)len);
}

/* A frame that libslirp would refuse, in fewer and larger pieces than its header says. */
static void send_cut(struct user *u, const struct net_hdr *hdr, uint8_t *frame, size_t len)
{
	struct net_emit emit = {.frame = send_piece, .opaque = u};
	struct net_hdr larger = *hdr;

	larger.gso_size = USER_MSS - USER_SMALL;
	if (net_undo(&larger, frame, len, 0, &emit))
		u->nd->stats.tx_dropped++;
}

static bool user_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		      unsigned n, size_t len)
{
	struct user *u = nd->priv;
	uint8_t *frame = iov[0].iov_base;

	if (n > 1 || len <= USER_SMALL) {
		frame = u->linear;
		net_iov_copy(frame, len, iov, n, 0);
	}
	if (len <= USER_SMALL)
		syn_raise_mss(u, frame, len);
	net_deliver_begin(nd);
	if ((hdr->gso_type & ~NET_GSO_ECN) == NET_GSO_TCPV6 && len > USER_MTU)
		send_cut(u, hdr, frame, len);
	else
		slirp_input(u->slirp, frame, (int)len);
	net_deliver_end(nd);
	return true;
}

static void user_batch_end(struct netdev *nd)
{
	user_refresh(nd->priv);
}

static void deliver_piece(void *opaque, const struct net_hdr *hdr, const struct iovec *iov,
			  unsigned n, size_t len)
{
	struct user *u = opaque;

	net_deliver(u->nd, hdr, iov, n, len);
}

/* A TCP segment larger than the guest's interface takes: the card, or the core, cuts it up. */
static void deliver_large(struct user *u, const struct net_ip *ip, const uint8_t *frame, size_t len)
{
	uint8_t head[USER_SMALL];
	size_t doff = (frame[ip->l4 + 12] >> 4) * 4u, hlen = ip->l4 + doff;
	struct iovec iov[2];
	struct net_hdr hdr = {
		.flags = NET_HDR_F_NEEDS_CSUM,
		.gso_type = ip->v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4,
		.hdr_len = (uint16_t)hlen,
		.gso_size = (uint16_t)(u->nd->front.mtu - (hlen - ip->l3)),
		.csum_start = (uint16_t)ip->l4,
		.csum_offset = 16,
	};

	if (doff < 20 || hlen > ip->end || hlen > sizeof(head) || hlen - ip->l3 >= u->nd->front.mtu)
		return;
	memcpy(head, frame, hlen);
	put_le16(head + ip->l4 + 16, (uint16_t)net_pseudo(ip, frame, ip->end - ip->l4));
	iov[0] = (struct iovec){.iov_base = head, .iov_len = hlen};
	iov[1] = (struct iovec){.iov_base = (void *)(frame + hlen), .iov_len = len - hlen};
	net_deliver(u->nd, &hdr, iov, 2, len);
}

static ssize_t user_from_slirp(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;
	struct net_emit emit = {.frame = deliver_piece, .opaque = u};
	struct net_hdr hdr = {0};
	struct net_ip ip;
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};

	if (!u->nd->attached)
		return (ssize_t)len;
	if (len > u->nd->front.mtu + NET_FRAME_MIN && net_parse_ip(&ip, buf, len)) {
		if (ip.proto == 6 && !ip.fragment && ip.end - ip.l4 >= 20)
			deliver_large(u, &ip, buf, len);
		else
			net_fragment(buf, len, u->nd->front.mtu, u->frag_id++, &emit);
		return (ssize_t)len;
	}
	if (u->nd->front_takes & NET_OFFLOAD_CSUM)
		hdr.flags = NET_HDR_F_DATA_VALID;
	net_deliver(u->nd, &hdr, &iov, 1, len);
	return (ssize_t)len;
}

/* What libslirp calls. */

static void user_guest_error(const char *msg, void *opaque)
{
	struct user *u = opaque;

	LOGF(u->nd->log, GUEST_ERRORS, "netdev %s: %s\n", u->nd->id, msg);
}

static int64_t user_clock(void *opaque)
{
	return now_ns();
}

static void *user_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct user *u = opaque;
	struct user_timer *t = xzalloc(sizeof(*t));

	*t = (struct user_timer){
		.u = u, .fn = cb, .opaque = cb_opaque, .at = INT64_MAX, .next = u->timers};
	u->timers = t;
	return t;
}

static void user_timer_free(void *timer, void *opaque)
{
	struct user *u = opaque;

	for (struct user_timer **p = &u->timers; *p; p = &(*p)->next) {
		if (*p != timer)
			continue;
		*p = (*p)->next;
		free(timer);
		return;
	}
}

static void user_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *t = timer;

	t->at = expire_ms > INT64_MAX / NS_PER_MS ? INT64_MAX : expire_ms * NS_PER_MS;
	timer_refresh(t->u);
}

/* A connection has room to read more into: what is to be watched is looked at after each call. */
static void user_notify(void *opaque)
{
}

static const SlirpCb user_callbacks = {
	.send_packet = user_from_slirp,
	.guest_error = user_guest_error,
	.clock_get_ns = user_clock,
	.timer_new = user_timer_new,
	.timer_free = user_timer_free,
	.timer_mod = user_timer_mod,
	.register_poll_fd = user_new_fd,
	.unregister_poll_fd = user_forget_fd,
	.notify = user_notify,
};

static int user_watch(struct user *u)
{
	struct epoll_event ev = {.events = EPOLLIN};

	u->armed = u->poll_at = INT64_MAX;
	u->epfd = epoll_create1(EPOLL_CLOEXEC);
	u->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	bug_on(u->epfd < 0 || u->timerfd < 0);
	ev.data.fd = u->timerfd;
	bug_on(epoll_ctl(u->epfd, EPOLL_CTL_ADD, u->timerfd, &ev));
	u->w = loop_fd_add(u->nd->loop, u->epfd, EPOLLIN, NULL, user_ready, u);
	return 0;
}

static void user_close(struct netdev *nd)
{
	struct user *u = nd->priv;

	user_chardevs_close(u);
	if (u->slirp)
		slirp_cleanup(u->slirp);
	loop_fd_remove(u->w);
	close(u->epfd);
	close(u->timerfd);
	while (u->timers)
		user_timer_free(u->timers, u);
	free(u->guestfwds);
	free(u->fds);
	free(u->polled);
	free(u->watched);
	free(u->linear);
	free(u->piece);
	free(u);
}

static int user_open(struct netdev *nd, struct kvlist *opts, struct err **e)
{
	struct user *u = nd->priv = xzalloc(sizeof(*u));
	SlirpConfig cfg = {.version = 1, .if_mtu = USER_MTU, .if_mru = USER_MTU};
	const char **search = NULL;
	int r;

	u->nd = nd;
	nd->takes = NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
	u->linear = xzalloc(NET_FRAME_MAX);
	u->piece = xzalloc(NET_FRAME_MAX);
	user_watch(u);
	r = user_config(u, opts, &cfg, &search, e);
	if (!r) {
		u->slirp = slirp_new(&cfg, &user_callbacks, u);
		if (!u->slirp)
			r = err_set(e, EINVAL, "libslirp refuses the network's options");
	}
	free(search);
	if (!r)
		r = user_forwards(u, opts, e);
	if (r)
		user_close(nd);
	else
		user_refresh(u);
	return r;
}

static char *user_describe(const struct netdev *nd)
{
	const struct user *u = nd->priv;
	char addr[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &u->net, addr, sizeof(addr));
	return xasprintf("net=%s,restrict=%s", addr, u->restricted ? "on" : "off");
}

char *netdev_user_info(struct netdev *nd)
{
	struct user *u = nd->priv;

	return nd->kind == &netdev_user ? slirp_connection_info(u->slirp) : NULL;
}

const struct netdev_kind netdev_user = {
	.name = "user",
	.help = "a network of its own behind the host's sockets: [net=ADDR/BITS][,host=ADDR]"
		"[,dhcpstart=ADDR][,dns=ADDR][,hostfwd=RULE]...[,guestfwd=RULE]...[,restrict=on].."
		".",
	.open = user_open,
	.close = user_close,
	.send = user_send,
	.batch_end = user_batch_end,
	.resume = user_resume,
	.attached = user_attached,
	.describe = user_describe,
};
