/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What virtio 1.2 5.1.6.2 lets a driver leave to the device: the checksum of one layer
 * (NEEDS_CSUM), TCP segmentation (RFC 9293; IPv4 identification as of RFC 6864) and UDP
 * fragmentation (RFC 791, RFC 8200 4.5).
 *
 * A segment is emitted as two buffers, its headers, made anew, and a slice of the payload, which
 * nobody copies.  Sums are over 16-bit words in host order (RFC 1071 section 2B: the order of bytes
 * does not matter as long as the result is stored in the same).
 *
 * Headers are found by parsing; hdr_len is a hint that the driver may get wrong and is not looked
 * at. VLAN tags (802.1Q, 802.1ad) stay before every segment.
 */
#include "back/net/offload.h"
#include <errno.h>
#include <string.h>
#include "base/base.h"

#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_P_IPV4 0x0800
#define ETH_P_IPV6 0x86dd
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_FRAGMENT 44
#define IP_DF 0x4000
#define IP_MF 0x2000
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80
#define HEADERS_MAX 256
#define SEGMENTS_MAX 8192 /* of one frame: 8 bytes each */
#define VLAN_TAGS_MAX 2
#define EXT_HEADERS_MAX 8

static uint16_t get_be16(const uint8_t *p)
{
	return __builtin_bswap16(get_le16(p));
}

static void put_be16(uint8_t *p, size_t v)
{
	put_le16(p, __builtin_bswap16((uint16_t)v));
}

static uint32_t get_be32(const uint8_t *p)
{
	return __builtin_bswap32(get_le32(p));
}

static void put_be32(uint8_t *p, uint32_t v)
{
	put_le32(p, __builtin_bswap32(v));
}

static uint32_t fold(uint64_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint32_t)s;
}

uint32_t net_csum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;
	uint64_t s[4] = {sum};

	/* 32-bit words in 64-bit lanes: no carry is lost, and the compiler makes vectors of it. */
	for (; len >= 16; p += 16, len -= 16)
		for (unsigned i = 0; i < 4; i++)
			s[i] += get_le32(p + 4 * i);
	for (; len >= 2; p += 2, len -= 2)
		s[0] += get_le16(p);
	if (len)
		s[0] += *p;
	return fold(s[0] + s[1] + s[2] + s[3]);
}

unsigned net_needs(const struct net_hdr *hdr)
{
	unsigned needs = hdr->flags & NET_HDR_F_NEEDS_CSUM ? NET_OFFLOAD_CSUM : 0;

	switch (hdr->gso_type & ~NET_GSO_ECN) {
	case NET_GSO_NONE:
		return needs;
	case NET_GSO_TCPV4:
		needs |= NET_OFFLOAD_TSO4;
		break;
	case NET_GSO_TCPV6:
		needs |= NET_OFFLOAD_TSO6;
		break;
	case NET_GSO_UDP:
		needs |= NET_OFFLOAD_UFO;
		break;
	default:
		needs |= ~0u; /* unknown: nobody takes it, net_undo refuses */
	}
	return hdr->gso_type & NET_GSO_ECN ? needs | NET_OFFLOAD_ECN : needs;
}

static bool parse_v4(struct net_ip *ip, const uint8_t *frame, size_t len)
{
	const uint8_t *h = frame + ip->l3;
	size_t ihl, total;

	if (len - ip->l3 < 20 || h[0] >> 4 != 4)
		return false;
	ihl = (h[0] & 15) * 4u;
	total = get_be16(h + 2);
	if (ihl < 20 || total < ihl || total > len - ip->l3)
		return false;
	ip->proto = h[9];
	ip->fragment = get_be16(h + 6) & 0x3fff;
	ip->l4 = ip->l3 + ihl;
	ip->end = ip->l3 + total;
	return true;
}

static bool parse_v6(struct net_ip *ip, const uint8_t *frame, size_t len)
{
	const uint8_t *h = frame + ip->l3;

	if (len - ip->l3 < 40 || h[0] >> 4 != 6 || get_be16(h + 4) > len - ip->l3 - 40)
		return false;
	ip->v6 = true;
	ip->end = ip->l3 + 40 + get_be16(h + 4);
	ip->l4 = ip->unfrag = ip->l3 + 40;
	ip->nexthdr = ip->l3 + 6;
	ip->proto = h[6];
	for (unsigned i = 0; i < EXT_HEADERS_MAX; i++) {
		uint8_t was = ip->proto;
		size_t at = ip->l4, size;

		if (was != 0 && was != 43 && was != 60 && was != PROTO_FRAGMENT)
			return true;
		if (ip->end - at < 8)
			return false;
		size = was == PROTO_FRAGMENT ? 8 : (frame[at + 1] + 1) * 8u;
		if (size > ip->end - at)
			return false;
		ip->proto = frame[at];
		ip->l4 = at + size;
		if (was == PROTO_FRAGMENT) {
			ip->fragment = true;
			return true;
		}
		if (was != 60) { /* hop-by-hop and routing concern every node on the way */
			ip->unfrag = ip->l4;
			ip->nexthdr = at;
		}
	}
	return false;
}

bool net_parse_ip(struct net_ip *ip, const uint8_t *frame, size_t len)
{
	size_t at = 12;
	uint16_t type;

	*ip = (struct net_ip){0};
	if (len < NET_FRAME_MIN)
		return false;
	type = get_be16(frame + at);
	for (unsigned i = 0; i < VLAN_TAGS_MAX; i++) {
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		at += 4;
		if (len < at + 2)
			return false;
		type = get_be16(frame + at);
	}
	ip->l3 = at + 2;
	if (type == ETH_P_IPV4)
		return parse_v4(ip, frame, len);
	return type == ETH_P_IPV6 && parse_v6(ip, frame, len);
}

uint32_t net_pseudo(const struct net_ip *ip, const uint8_t *frame, size_t l4_len)
{
	uint64_t s = __builtin_bswap16((uint16_t)l4_len);

	s += __builtin_bswap16((uint16_t)(l4_len >> 16));
	s += (uint32_t)ip->proto << 8;
	return ip->v6 ? net_csum(frame + ip->l3 + 8, 32, fold(s))
		      : net_csum(frame + ip->l3 + 12, 8, fold(s));
}

static void ip4_csum(uint8_t *h)
{
	put_le16(h + 10, 0);
	put_le16(h + 10, (uint16_t)~net_csum(h, (h[0] & 15) * 4u, 0));
}

static void emit_one(const struct net_emit *emit, const uint8_t *frame, size_t len)
{
	static const struct net_hdr plain;
	struct iovec iov = {.iov_base = (void *)frame, .iov_len = len};

	emit->frame(emit->opaque, &plain, &iov, 1, len);
}

static void emit_two(const struct net_emit *emit, uint8_t *head, size_t head_len,
		     const uint8_t *body, size_t body_len)
{
	static const struct net_hdr plain;
	struct iovec iov[2] = {{.iov_base = head, .iov_len = head_len},
			       {.iov_base = (void *)body, .iov_len = body_len}};

	emit->frame(emit->opaque, &plain, iov, body_len ? 2 : 1, head_len + body_len);
}

/* A large TCP frame as if it were one packet.  What its checksum field holds is no guide: drivers
 * differ on whether the pseudo header's sum has the length in it. */
static int csum_large(uint8_t *frame, size_t len)
{
	struct net_ip ip;
	size_t l4_len;

	if (!net_parse_ip(&ip, frame, len) || ip.proto != PROTO_TCP || ip.fragment ||
	    ip.end - ip.l4 < 20)
		return -EINVAL;
	l4_len = ip.end - ip.l4;
	put_le16(frame + ip.l4 + 16, 0);
	put_le16(frame + ip.l4 + 16,
		 (uint16_t)~net_csum(frame + ip.l4, l4_len, net_pseudo(&ip, frame, l4_len)));
	return 0;
}

/* virtio 1.2 5.1.6.2: from csum_start to the end of the packet; the field holds the pseudo header's
 * sum. */
static int csum_fill(const struct net_hdr *hdr, uint8_t *frame, size_t len)
{
	size_t start = hdr->csum_start, at = start + hdr->csum_offset;
	uint16_t sum;

	if (start >= len || at + 2 > len)
		return -EINVAL;
	sum = (uint16_t)~net_csum(frame + start, len - start, 0);
	if (!sum && hdr->csum_offset == 6)
		sum = 0xffff; /* RFC 768: zero means that there is none */
	put_le16(frame + at, sum);
	return 0;
}

/* Everything of a TCP frame's headers that the segments have in common. */
struct tcp_split {
	struct net_ip ip;
	size_t head; /* length of all headers */
	size_t mss;
	uint32_t seq;
	uint8_t flags;
	uint16_t id;
};

static void tcp_segment(const struct tcp_split *t, const uint8_t *frame, size_t off, size_t n,
			const struct net_emit *emit)
{
	uint8_t head[HEADERS_MAX], *tcp = head + t->ip.l4, *l3 = head + t->ip.l3;
	size_t l4_len = t->head - t->ip.l4 + n;
	uint32_t sum;

	memcpy(head, frame, t->head);
	if (t->ip.v6) {
		put_be16(l3 + 4, t->head - t->ip.l3 - 40 + n);
	} else {
		put_be16(l3 + 2, t->head - t->ip.l3 + n);
		put_be16(l3 + 4, t->id + off / t->mss);
		ip4_csum(l3);
	}
	put_be32(tcp + 4, t->seq + (uint32_t)off);
	tcp[13] = t->flags;
	if (off + n < t->ip.end - t->head)
		tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (off)
		tcp[13] &= (uint8_t)~TCP_CWR; /* RFC 3168 6.1.2: once a window */
	put_le16(tcp + 16, 0);
	sum = net_csum(tcp, t->head - t->ip.l4, net_pseudo(&t->ip, head, l4_len));
	put_le16(tcp + 16, (uint16_t)~net_csum(frame + t->head + off, n, sum));
	emit_two(emit, head, t->head, frame + t->head + off, n);
}

static int tcp_split(const struct net_hdr *hdr, const uint8_t *frame, size_t len,
		     const struct net_emit *emit)
{
	bool v6 = (hdr->gso_type & ~NET_GSO_ECN) == NET_GSO_TCPV6;
	struct tcp_split t = {.mss = hdr->gso_size};
	const uint8_t *tcp;
	size_t doff, off = 0, payload;

	if (!t.mss || !net_parse_ip(&t.ip, frame, len) || t.ip.v6 != v6 ||
	    t.ip.proto != PROTO_TCP || t.ip.fragment || t.ip.end - t.ip.l4 < 20)
		return -EINVAL;
	tcp = frame + t.ip.l4;
	doff = (tcp[12] >> 4) * 4u;
	if (doff < 20 || doff > t.ip.end - t.ip.l4 || t.ip.l4 + doff > HEADERS_MAX)
		return -EINVAL;
	t.head = t.ip.l4 + doff;
	t.seq = get_be32(tcp + 4);
	t.flags = tcp[13];
	t.id = v6 ? 0 : get_be16(frame + t.ip.l3 + 4);
	payload = t.ip.end - t.head;
	if (payload / t.mss > SEGMENTS_MAX)
		return -EINVAL;
	do {
		size_t n = min_u64(t.mss, payload - off);

		tcp_segment(&t, frame, off, n, emit);
		off += n;
	} while (off < payload);
	return 0;
}

static int fragment_v4(const struct net_ip *ip, const uint8_t *frame, size_t mtu,
		       const struct net_emit *emit)
{
	size_t hlen = ip->l4 - ip->l3, total = ip->end - ip->l4, off = 0;
	size_t step = mtu > hlen ? (mtu - hlen) & ~(size_t)7 : 0;
	uint16_t old = get_be16(frame + ip->l3 + 6);

	if (!step)
		return -EINVAL;
	do {
		uint8_t head[HEADERS_MAX], *l3 = head + ip->l3;
		size_t n = min_u64(step, total - off), at = (old & 0x1fff) + off / 8;
		bool more = off + n < total || (old & IP_MF);

		memcpy(head, frame, ip->l4);
		put_be16(l3 + 2, hlen + n);
		put_be16(l3 + 6, (at & 0x1fff) | (more ? IP_MF : 0));
		ip4_csum(l3);
		emit_two(emit, head, ip->l4, frame + ip->l4 + off, n);
		off += n;
	} while (off < total);
	return 0;
}

static int fragment_v6(const struct net_ip *ip, const uint8_t *frame, size_t mtu, uint32_t id,
		       const struct net_emit *emit)
{
	size_t hlen = ip->unfrag - ip->l3 + 8, total = ip->end - ip->unfrag, off = 0;
	size_t step = mtu > hlen ? (mtu - hlen) & ~(size_t)7 : 0;

	if (!step || ip->fragment || ip->unfrag + 8 > HEADERS_MAX)
		return -EINVAL;
	do {
		uint8_t head[HEADERS_MAX], *fh = head + ip->unfrag;
		size_t n = min_u64(step, total - off);

		memcpy(head, frame, ip->unfrag);
		fh[0] = head[ip->nexthdr];
		fh[1] = 0;
		put_be16(fh + 2, off | (off + n < total));
		put_be32(fh + 4, id);
		head[ip->nexthdr] = PROTO_FRAGMENT;
		put_be16(head + ip->l3 + 4, ip->unfrag - ip->l3 - 40 + 8 + n);
		emit_two(emit, head, ip->unfrag + 8, frame + ip->unfrag + off, n);
		off += n;
	} while (off < total);
	return 0;
}

int net_fragment(const uint8_t *frame, size_t len, size_t mtu, uint32_t id,
		 const struct net_emit *emit)
{
	struct net_ip ip;

	if (!net_parse_ip(&ip, frame, len))
		return -EINVAL;
	if (ip.end - ip.l3 <= mtu) {
		emit_one(emit, frame, ip.end);
		return 0;
	}
	return ip.v6 ? fragment_v6(&ip, frame, mtu, id, emit) : fragment_v4(&ip, frame, mtu, emit);
}

static int udp_split(const struct net_hdr *hdr, uint8_t *frame, size_t len,
		     const struct net_emit *emit)
{
	struct net_ip ip;
	uint16_t sum;
	size_t mtu;

	if (!hdr->gso_size || !net_parse_ip(&ip, frame, len) || ip.proto != PROTO_UDP ||
	    ip.fragment || ip.end - ip.l4 < 8)
		return -EINVAL;
	if (hdr->flags & NET_HDR_F_NEEDS_CSUM) {
		size_t l4_len = ip.end - ip.l4;

		put_le16(frame + ip.l4 + 6, 0);
		sum = (uint16_t)~net_csum(frame + ip.l4, l4_len, net_pseudo(&ip, frame, l4_len));
		put_le16(frame + ip.l4 + 6, sum ? sum : 0xffff);
	}
	/* gso_size counts what a fragment carries. */
	mtu = ip.v6 ? ip.unfrag - ip.l3 + 8 : ip.l4 - ip.l3;
	return net_fragment(frame, ip.end, mtu + hdr->gso_size,
			    net_csum(frame, min_u64(ip.end, 2048), 0) |
				    (uint32_t)get_le16(frame + ip.l4) << 16,
			    emit);
}

int net_undo(const struct net_hdr *hdr, uint8_t *frame, size_t len, unsigned takes,
	     const struct net_emit *emit)
{
	unsigned lacks = net_needs(hdr) & ~takes;
	int r = 0;

	if (lacks & ~NET_OFFLOAD_ALL)
		return -EINVAL;
	if (!lacks) {
		struct iovec iov = {.iov_base = frame, .iov_len = len};

		emit->frame(emit->opaque, hdr, &iov, 1, len);
		return 0;
	}
	if (lacks != NET_OFFLOAD_CSUM)
		return net_needs(hdr) & NET_OFFLOAD_UFO ? udp_split(hdr, frame, len, emit)
							: tcp_split(hdr, frame, len, emit);
	/* The checksum alone; a frame that stays large keeps the rest of its header. */
	r = hdr->gso_type ? csum_large(frame, len) : csum_fill(hdr, frame, len);
	if (!r) {
		struct net_hdr rest = *hdr;
		struct iovec iov = {.iov_base = frame, .iov_len = len};

		rest.flags &= (uint8_t)~NET_HDR_F_NEEDS_CSUM;
		rest.csum_start = rest.csum_offset = 0;
		emit->frame(emit->opaque, &rest, &iov, 1, len);
	}
	return r;
}
