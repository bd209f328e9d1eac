/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the peer of a network or character back end: a stream of frames, datagrams, a
 * terminal by telnet, a multiplexer.  The first byte says which; then operations follow, in the low
 * three bits of a byte (enum op): what the peer sends, what the card or chip here does, which may
 * have no room.
 *
 * Frames that come in are of lengths that there are, and no more text comes than there was room
 * for; all of it can be read.
 */
#include <sys/socket.h>
#include <unistd.h>
#include "back/char/chardev.h"
#include "back/net/net.h"
#include "base/err.h"
#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum op { OP_SEND, OP_FRAME, OP_TEXT, OP_LONG, OP_ROOM, OP_OUT, OP_HANG_UP, OP_LOOP };
enum { KIND_STREAM, KIND_DGRAM, KIND_SOCKET, KIND_TELNET, KIND_MUX, KINDS };

struct rig {
	struct lock lock;
	struct log *log;
	struct loop *loop;
	struct netdev *nd;
	struct chardev *cd, *fronts[2];
	size_t room;
	int peer;
};

static void read_all(const uint8_t *p, size_t len)
{
	volatile uint8_t sink;

	for (size_t i = 0; i < len; i++)
		sink = p[i];
	(void)sink;
}

static bool can_receive(void *opaque)
{
	return ((struct rig *)opaque)->room;
}

static bool receive(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		    size_t len)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		read_all(iov[i].iov_base, iov[i].iov_len);
		sum += iov[i].iov_len;
	}
	if (sum != len || len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		abort();
	return ((struct rig *)opaque)->room > len / 16;
}

static size_t char_room(void *opaque)
{
	return ((struct rig *)opaque)->room;
}

static void char_receive(void *opaque, const uint8_t *buf, size_t len)
{
	if (len > ((struct rig *)opaque)->room)
		abort();
	read_all(buf, len);
}

static void char_event(void *opaque, int event)
{
}

static void open_net(struct rig *r, unsigned kind, int fd)
{
	const struct net_front f = {
		.lock = &r->lock, .can_receive = can_receive, .receive = receive, .opaque = r};
	char *opts = xasprintf(kind == KIND_STREAM ? "socket,id=n,fd=%d"
						   : "dgram,id=n,local.type=fd,local.str=%d",
			       fd);

	must(netdev_open(&r->nd, r->loop, r->log, NULL, opts, NULL));
	free(opts);
	lock_take(&r->lock);
	must(netdev_attach(r->nd, &f, NULL));
	lock_drop(&r->lock);
}

static void open_char(struct rig *r, unsigned kind, int fd)
{
	const struct chardev_front f = {.can_receive = char_room,
					.receive = char_receive,
					.event = char_event,
					.opaque = r};
	char *opts = xasprintf("socket,id=c,fd=%d%s%s", fd, kind == KIND_SOCKET ? "" : ",telnet=on",
			       kind == KIND_MUX ? ",mux=on" : "");

	must(chardev_open_opts(&r->cd, r->loop, opts, NULL));
	free(opts);
	for (unsigned i = 0; i < (kind == KIND_MUX ? 2 : 1); i++) {
		r->fronts[i] = chardev_front_end(r->cd);
		must(chardev_attach(r->fronts[i], &f, NULL));
	}
}

static void out(struct rig *r, struct input *in, unsigned arg)
{
	uint8_t *p = xzalloc(NET_FRAME_MAX);
	struct net_hdr hdr = {0};
	struct iovec iov = {p, NET_FRAME_MIN + (size_t)take(in, 1) * (arg & 1 ? 256 : 6)};

	if (r->nd) {
		lock_take(&r->lock);
		for (unsigned n = 1 + (arg >> 1); n; n--)
			(void)net_send(r->nd, &hdr, &iov, 1, iov.iov_len);
		lock_drop(&r->lock);
	} else {
		(void)chardev_write(r->fronts[arg >> 1 & !!r->fronts[1]], p, iov.iov_len);
	}
	free(p);
}

/* Bytes of the input, after their length or another. */
static void send_bytes(struct rig *r, struct input *in, enum op op)
{
	uint8_t buf[4 + 256];
	size_t n = (size_t)take(in, 1), at = 0;

	if (op == OP_FRAME || op == OP_LONG) {
		uint32_t len = (uint32_t)(op == OP_LONG ? take(in, 3) : n);

		for (int i = 24; i >= 0; i -= 8)
			buf[at++] = (uint8_t)(len >> i);
	}
	n = min_u64(n, (uint64_t)(in->end - in->p));
	memcpy(buf + at, in->p, n);
	in->p += n;
	if (send(r->peer, buf, at + n, MSG_NOSIGNAL) < 0)
		loop_once(r->loop, 0);
}

static void make_room(struct rig *r, struct input *in)
{
	r->room = (size_t)take(in, 1) * 16;
	if (r->nd) {
		lock_take(&r->lock);
		netdev_ready(r->nd);
		lock_drop(&r->lock);
	} else {
		chardev_accept_input(r->fronts[0]);
		if (r->fronts[1])
			chardev_accept_input(r->fronts[1]);
	}
}

static void step(struct rig *r, struct input *in)
{
	unsigned op = (unsigned)take(in, 1), arg = op >> 3;
	uint8_t sink[4096];

	switch ((enum op)(op & 7)) {
	case OP_SEND:
	case OP_FRAME:
	case OP_TEXT:
	case OP_LONG:
		send_bytes(r, in, (enum op)(op & 7));
		break;
	case OP_ROOM:
		make_room(r, in);
		break;
	case OP_OUT:
		out(r, in, arg);
		break;
	case OP_HANG_UP:
		if (arg == 31)
			shutdown(r->peer, (int)take(in, 1) % 3);
		break;
	case OP_LOOP:
		while (arg & 1 && recv(r->peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
		break;
	}
	loop_once(r->loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct rig r = {.room = 4096};
	unsigned kind = (unsigned)take(&in, 1) % KINDS;
	int fds[2];

	must(socketpair(AF_UNIX,
			(kind == KIND_DGRAM ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK |
				SOCK_CLOEXEC,
			0, fds));
	r.peer = fds[1];
	lock_init(&r.lock, LOCK_RANK_MACHINE, "machine");
	r.log = log_create();
	r.loop = loop_create();
	log_open(r.log, "/dev/null", NULL);
	if (kind <= KIND_DGRAM)
		open_net(&r, kind, fds[0]);
	else
		open_char(&r, kind, fds[0]);
	for (unsigned n = 0; in.p < in.end && n < 500; n++)
		step(&r, &in);
	if (r.nd) {
		lock_take(&r.lock);
		netdev_detach(r.nd);
		lock_drop(&r.lock);
	}
	close(r.peer); /* first: text that waits for it is flushed for a while */
	netdev_close(r.nd);
	chardev_close(r.cd);
	loop_destroy(r.loop);
	log_destroy(r.log);
	lock_fini(&r.lock);
	return 0;
}
