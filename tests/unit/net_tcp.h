/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A driver and a TCP of a few lines each, which talk through libslirp to sockets of this process.
 */
#include "net_card.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net_frames.h"

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

/* The guest's end of one TCP connection. */
struct tcp {
	struct card *c;
	uint16_t port, peer_port;
	uint8_t peer; /* 10.0.2.x */
	uint32_t seq, ack;
	unsigned at; /* next of the card's frames to look at */
	uint8_t *data; /* what arrived */
	size_t got, largest;
	unsigned gso; /* frames with a GSO header */
	uint32_t acked; /* of what was sent */
	unsigned window; /* of the peer */
	bool open, fin;
};

/* gsend - a segment; `large`: as one frame that is to be cut. */
static inline void tcp_send(struct tcp *t, uint8_t flags, const void *data, size_t n, bool mss)
{
	static uint8_t f[NET_FRAME_MAX];
	struct frame_spec s = {.payload = n,
			       .data = data,
			       .seq = t->seq,
			       .flags = flags,
			       .tcp_opts = mss ? 4 : 0,
			       .src = 15,
			       .dst = t->peer,
			       .sport = t->port,
			       .dport = t->peer_port,
			       .partial = true};
	struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
	size_t len = frame_make(f, &s);

	memcpy(f, "\x52\x55\x0a\x00\x02\x02", 6);
	memcpy(f + 6, guest_mac, 6);
	set32(f + 42, t->ack);
	if (mss)
		set32(f + 54, 0x020405b4); /* 1460 */
	if (n > 1460) {
		hdr.gso_type = NET_GSO_TCPV4;
		hdr.gso_size = 1460;
	}
	/* The field again, the pseudo header is the same. */
	assert_true(card_send_hdr(t->c, &hdr, f, len));
	t->seq += (uint32_t)n + (flags & 2 ? 1 : 0) + (flags & 1 ? 1 : 0);
}

static inline void tcp_frame(struct tcp *t, const struct card_frame *fr)
{
	const uint8_t *f = fr->data, *tcp = f + 34;
	size_t head, n;

	if (be16(f + 12) != 0x800 || f[23] != 6 || be16(tcp + 2) != t->port)
		return;
	head = 34 + (tcp[12] >> 4) * 4u;
	n = 14 + be16(f + 16) - head;
	t->peer_port = (uint16_t)be16(tcp);
	t->peer = f[29];
	if (!(fr->hdr.flags & NET_HDR_F_NEEDS_CSUM))
		assert_true(frame_sums_ok(f, 14, false));
	else
		assert_int_equal(be16(tcp + 16), pseudo_sum(f + 14, false, 6, n + head - 34));
	t->gso += fr->hdr.gso_type != 0;
	t->acked = be32(tcp + 8);
	t->window = be16(tcp + 14);
	if (fr->hdr.gso_type)
		assert_int_equal(fr->hdr.gso_size, 1460);
	if (tcp[13] & 2) {
		t->ack = be32(tcp + 4) + 1;
		t->open = true;
		if (!(tcp[13] & 0x10))
			tcp_send(t, 0x12, NULL, 0, true);
		else
			tcp_send(t, 0x10, NULL, 0, false);
		return;
	}
	if ((n || (tcp[13] & 1)) && be32(tcp + 4) == t->ack) {
		memcpy(t->data + t->got, f + head, n);
		t->got += n;
		t->largest = n > t->largest ? n : t->largest;
		t->ack += (uint32_t)n + (tcp[13] & 1);
		t->fin |= tcp[13] & 1;
		tcp_send(t, 0x10, NULL, 0, false);
	}
}

static inline void tcp_work(struct tcp *t)
{
	while (t->at < t->c->n)
		tcp_frame(t, &t->c->frames[t->at++]);
	if (t->at > 2000) {
		card_clear(t->c);
		t->at = 0;
	}
}

/* Make the guest known: libslirp must have seen its address before it forwards to it. */
static inline void guest_arp(struct card *c, uint8_t target)
{
	uint8_t f[60] = {0};

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	set16(f + 12, 0x0806);
	set16(f + 14, 1);
	set16(f + 16, 0x0800);
	f[18] = 6;
	f[19] = 4;
	set16(f + 20, 1);
	memcpy(f + 22, guest_mac, 6);
	set32(f + 28, 0x0a00020f);
	set32(f + 38, 0x0a000200u + target);
	assert_true(card_send(c, f, sizeof(f)));
}

static inline struct card *user_open(const char *more)
{
	char opts[400];

	snprintf(opts, sizeof(opts), "user,id=n0%s", more);
	return card_open(opts, NULL);
}

static inline int listener(int type, uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

static inline unsigned free_port(int type)
{
	uint16_t port;

	close(listener(type, &port));
	return port;
}

static inline int host_connect(unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static inline uint8_t *pattern(size_t n)
{
	uint8_t *p = xzalloc(n);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 13 + (i >> 9));
	return p;
}
