/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -netdev tap: a network interface of the host (Linux Documentation/networking/tuntap.rst).
 *
 * With vnet_hdr each frame carries a virtio_net_hdr (12 bytes, so that it is that of virtio 1), and
 * checksums and large segments pass both ways untouched; TUNSETOFFLOAD says what the card takes.
 * Frames from the card are written from where they lie.  Frames to the card are read on the loop
 * thread into a buffer, a batch at a time under the card's lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "back/net/netdev_int.h"
#include "base/err.h"

#define TAP_HDR 12
#define TAP_BATCH 64
#define TAP_IOV 1024

struct tap {
	struct netdev *nd;
	int fd;
	bool vnet_hdr, multi;
	bool reading, writing; /* watched for */
	struct loop_fd *w;
	char ifname[IFNAMSIZ];
	char *downscript;
	uint8_t *buf;
	struct iovec *iov; /* TAP_IOV */
};

static void tap_watch(struct tap *t, bool reading, bool writing)
{
	if (t->reading == reading && t->writing == writing)
		return;
	t->reading = reading;
	t->writing = writing;
	loop_fd_set(t->w, (reading ? EPOLLIN : 0u) | (writing ? EPOLLOUT : 0u));
}

static void tap_read(struct tap *t)
{
	size_t skip = t->vnet_hdr ? TAP_HDR : 0;

	net_deliver_begin(t->nd);
	for (unsigned i = 0; i < TAP_BATCH && net_may_deliver(t->nd); i++) {
		ssize_t n = read(t->fd, t->buf, NET_FRAME_MAX + TAP_HDR);
		struct net_hdr hdr = {0};
		struct iovec iov = {.iov_base = t->buf + skip};

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= (ssize_t)skip)
			break;
		if (skip)
			memcpy(&hdr, t->buf, sizeof(hdr));
		iov.iov_len = (size_t)n - skip;
		net_deliver(t->nd, &hdr, &iov, 1, iov.iov_len);
	}
	net_deliver_end(t->nd);
}

static void tap_ready(void *opaque, uint32_t events)
{
	struct tap *t = opaque;

	net_lock(t->nd);
	if (t->writing && (events & (EPOLLOUT | EPOLLERR))) {
		tap_watch(t, t->reading, false);
		netdev_sendable(t->nd);
	}
	if (t->reading && (events & EPOLLIN))
		tap_read(t);
	if (!net_may_deliver(t->nd))
		tap_watch(t, false, t->writing);
	net_unlock(t->nd);
}

static void tap_resume(struct netdev *nd)
{
	struct tap *t = nd->priv;

	tap_watch(t, true, t->writing);
}

static void tap_attached(struct netdev *nd, bool yes)
{
	if (yes)
		tap_resume(nd);
}

static void tap_offloads(struct netdev *nd, unsigned offloads)
{
	struct tap *t = nd->priv;
	unsigned long flags = 0;

	if (!t->vnet_hdr)
		return;
	/* The rest means nothing without TUN_F_CSUM. */
	if (offloads & NET_OFFLOAD_CSUM) {
		flags = TUN_F_CSUM;
		if (offloads & NET_OFFLOAD_TSO4)
			flags |= TUN_F_TSO4;
		if (offloads & NET_OFFLOAD_TSO6)
			flags |= TUN_F_TSO6;
		if ((flags & (TUN_F_TSO4 | TUN_F_TSO6)) && (offloads & NET_OFFLOAD_ECN))
			flags |= TUN_F_TSO_ECN;
		if (offloads & NET_OFFLOAD_UFO)
			flags |= TUN_F_UFO;
	}
	if (ioctl(t->fd, TUNSETOFFLOAD, flags) && (flags & TUN_F_UFO))
		ioctl(t->fd, TUNSETOFFLOAD, flags & ~(unsigned long)TUN_F_UFO);
}

static bool tap_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		     unsigned n, size_t len)
{
	struct tap *t = nd->priv;
	uint8_t head[TAP_HDR] = {0};
	unsigned at = 0;
	ssize_t r;

	if (n >= TAP_IOV || t->writing)
		return n >= TAP_IOV; /* the first is dropped: no driver sends that */
	memcpy(head, hdr, sizeof(*hdr));
	if (t->vnet_hdr)
		t->iov[at++] = (struct iovec){.iov_base = head, .iov_len = TAP_HDR};
	memcpy(t->iov + at, iov, n * sizeof(*iov));
	do {
		r = writev(t->fd, t->iov, (int)(at + n));
	} while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN) {
		tap_watch(t, t->reading, true);
		return false;
	}
	if (r < 0) /* the interface is down, or the kernel finds the header wrong */
		nd->stats.tx_dropped++;
	return true;
}

static bool tap_full(const struct netdev *nd)
{
	return ((const struct tap *)nd->priv)->writing;
}

/* Run a script with the interface's name, and wait for it. */
static int tap_script(const char *script, const char *ifname, struct err **e)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return err_set(e, errno, "cannot fork: %s", strerror(errno));
	if (!pid) {
		char *argv[] = {(char *)script, (char *)ifname, NULL};

		execv(script, argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		return err_set(e, EINVAL, "network script %s failed with status %d", script,
			       WIFEXITED(status) ? WEXITSTATUS(status) : status);
	return 0;
}

/* Make or join the interface.  One that was made with several queues wants that said. */
static int tap_join(struct tap *t, const char *ifname, bool vnet_hdr, struct err **e)
{
	struct ifreq ifr = {0};
	unsigned features = 0;
	int r;

	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return err_set(e, errno, "cannot open /dev/net/tun: %s", strerror(errno));
	if (ifname && strlen(ifname) >= sizeof(ifr.ifr_name))
		return err_set(e, EINVAL, "interface name '%s' is too long", ifname);
	if (ioctl(t->fd, TUNGETFEATURES, &features))
		features = 0;
	t->vnet_hdr = vnet_hdr && (features & IFF_VNET_HDR);
	for (unsigned try = 0; try < 2; try++) {
		memset(&ifr, 0, sizeof(ifr));
		if (ifname)
			memcpy(ifr.ifr_name, ifname, strlen(ifname));
		ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (t->vnet_hdr ? IFF_VNET_HDR : 0) |
					((t->multi ^ (try == 1)) ? IFF_MULTI_QUEUE : 0));
		r = ioctl(t->fd, TUNSETIFF, &ifr) ? errno : 0;
		if (r != EINVAL)
			break;
	}
	if (r)
		return err_set(e, r, "cannot attach to interface '%s': %s",
			       ifname ? ifname : "tap%d",
			       r == EBUSY ? "another program uses it" : strerror(r));
	memcpy(t->ifname, ifr.ifr_name, sizeof(t->ifname) - 1);
	return 0;
}

/* A descriptor that somebody else opened. */
static int tap_take(struct tap *t, const char *text, bool vnet_hdr, struct err **e)
{
	struct ifreq ifr = {0};
	uint64_t fd;

	if (!parse_uint(text, 0, INT32_MAX, &fd))
		return err_set(e, EINVAL, "fd '%s' is not a number", text);
	if (ioctl((int)fd, TUNGETIFF, &ifr))
		return err_set(e, errno, "fd %s is not a tap interface: %s", text, strerror(errno));
	if (!(ifr.ifr_flags & IFF_TAP))
		return err_set(e, EINVAL, "fd %s is not a tap interface", text);
	t->fd = (int)fd;
	t->vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
	if (fcntl(t->fd, F_SETFL, O_NONBLOCK) || fcntl(t->fd, F_SETFD, FD_CLOEXEC))
		return err_set(e, errno, "fd %s: %s", text, strerror(errno));
	memcpy(t->ifname, ifr.ifr_name, sizeof(t->ifname) - 1);
	return 0;
}

/* fds=A:B:...: the first is used, the kernel's flows are taken off the others. */
static int tap_take_all(struct tap *t, const char *list, bool vnet_hdr, struct err **e)
{
	char *copy = xstrdup(list), *save = NULL;
	unsigned n = 0;
	int r = 0;

	for (char *s = strtok_r(copy, ":", &save); s && !r; s = strtok_r(NULL, ":", &save), n++) {
		struct ifreq ifr = {.ifr_flags = IFF_DETACH_QUEUE};
		uint64_t fd;

		if (!n)
			r = tap_take(t, s, vnet_hdr, e);
		else if (!parse_uint(s, 0, INT32_MAX, &fd))
			r = err_set(e, EINVAL, "fd '%s' is not a number", s);
		else if (ioctl((int)fd, TUNSETQUEUE, &ifr))
			r = err_set(e, errno, "fd %s: %s", s, strerror(errno));
	}
	if (!r && (!n || n > NET_QUEUES_MAX))
		r = err_set(e, EINVAL, "'fds' has %u descriptors, not 1 to %u", n, NET_QUEUES_MAX);
	if (!r)
		t->nd->queues = n;
	free(copy);
	return r;
}

struct tap_opts {
	const char *ifname, *script, *downscript, *fd, *fds;
	bool vnet_hdr, vhost;
	uint64_t sndbuf, queues;
};

static int tap_parse(struct tap_opts *o, struct kvlist *l, struct err **e)
{
	uint64_t unused;
	bool force = false;
	int r;

	*o = (struct tap_opts){.vnet_hdr = true, .queues = 1};
	o->ifname = kv_get(l, "ifname");
	o->script = kv_get(l, "script");
	o->downscript = kv_get(l, "downscript");
	o->fd = kv_get(l, "fd");
	o->fds = kv_get(l, "fds");
	r = kv_bool(l, "vnet_hdr", &o->vnet_hdr, e);
	if (!r) /* an acceleration, which is done without */
		r = kv_bool(l, "vhost", &o->vhost, e);
	if (!r)
		r = kv_uint(l, "sndbuf", 0, INT32_MAX, &o->sndbuf, e);
	if (!r)
		r = kv_uint(l, "queues", 1, NET_QUEUES_MAX, &o->queues, e);
	if (!r)
		r = kv_uint(l, "poll-us", 0, UINT32_MAX, &unused, e);
	if (r)
		return r;
	if (kv_get(l, "helper") || kv_get(l, "br"))
		return err_set(e, ENOTSUP,
			       "'helper' and 'br' are not supported; make the interface "
			       "first and give 'ifname' or 'fd'");
	if (!r)
		r = kv_bool(l, "vhostforce", &force, e);
	if (r)
		return r;
	kv_get(l, "vhostfd");
	kv_get(l, "vhostfds");
	if (force)
		return err_set(e, ENOTSUP, "vhostforce=on is not supported");
	if ((o->fd || o->fds) && (o->ifname || o->script || o->downscript || (o->fd && o->fds)))
		return err_set(e, EINVAL,
			       "'fd' goes with none of 'fds', 'ifname', 'script' and "
			       "'downscript'");
	return 0;
}

static bool is_script(const char *s)
{
	return s && *s && strcmp(s, "no");
}

static int tap_set_up(struct tap *t, const struct tap_opts *o, struct err **e)
{
	int r, hdr = TAP_HDR, sndbuf = o->sndbuf ? (int)o->sndbuf : INT32_MAX;

	t->nd->queues = (unsigned)o->queues;
	t->multi = o->queues > 1;
	if (o->fds)
		r = tap_take_all(t, o->fds, o->vnet_hdr, e);
	else if (o->fd)
		r = tap_take(t, o->fd, o->vnet_hdr, e);
	else
		r = tap_join(t, o->ifname, o->vnet_hdr, e);
	if (r)
		return r;
	if (t->vnet_hdr && ioctl(t->fd, TUNSETVNETHDRSZ, &hdr))
		return err_set(e, errno, "interface '%s' refuses the header's size: %s", t->ifname,
			       strerror(errno));
	ioctl(t->fd, TUNSETSNDBUF, &sndbuf);
	if (t->vnet_hdr)
		ioctl(t->fd, TUNSETOFFLOAD, 0ul);
	t->nd->takes = t->vnet_hdr ? NET_OFFLOAD_ALL : 0;
	if (is_script(o->script))
		r = tap_script(o->script, t->ifname, e);
	if (!r && is_script(o->downscript))
		t->downscript = xstrdup(o->downscript);
	return r;
}

static void tap_free(struct tap *t)
{
	loop_fd_remove(t->w);
	if (t->fd >= 0)
		close(t->fd);
	free(t->downscript);
	free(t->buf);
	free(t->iov);
	free(t);
}

static void tap_close(struct netdev *nd)
{
	struct tap *t = nd->priv;
	struct err *e __err_cleanup = NULL;

	if (t->downscript && tap_script(t->downscript, t->ifname, &e))
		log_printf(nd->log, "netdev %s: %s\n", nd->id, err_msg(e));
	tap_free(t);
}

static int tap_open(struct netdev *nd, struct kvlist *opts, struct err **e)
{
	struct tap *t = nd->priv = xzalloc(sizeof(*t));
	struct tap_opts o;
	int r;

	t->nd = nd;
	t->fd = -1;
	t->buf = xzalloc(NET_FRAME_MAX + TAP_HDR);
	t->iov = xcalloc(TAP_IOV + 1, sizeof(*t->iov));
	r = tap_parse(&o, opts, e);
	if (!r)
		r = tap_set_up(t, &o, e);
	if (!r) {
		t->w = loop_fd_add(nd->loop, t->fd, 0, NULL, tap_ready, t);
		if (!t->w)
			r = err_set(e, EINVAL, "the descriptor cannot be watched");
	}
	if (r)
		tap_free(t);
	return r;
}

static char *tap_describe(const struct netdev *nd)
{
	const struct tap *t = nd->priv;

	return xasprintf("ifname=%s,vnet_hdr=%s,queues=%u", t->ifname, t->vnet_hdr ? "on" : "off",
			 nd->queues);
}

const struct netdev_kind netdev_tap = {
	.name = "tap",
	.help = "an interface of the host: [ifname=NAME][,script=FILE|no][,downscript=FILE|no]"
		" or fd=N; [vnet_hdr=off][,queues=N][,vhost=off]",
	.open = tap_open,
	.close = tap_close,
	.send = tap_send,
	.full = tap_full,
	.resume = tap_resume,
	.offloads = tap_offloads,
	.attached = tap_attached,
	.describe = tap_describe,
};
