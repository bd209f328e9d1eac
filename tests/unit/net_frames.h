/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Frames for network tests, made and checked the slow and plain way: byte by byte, as the RFCs write
 * it, with nothing of the code under test. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static inline uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

static inline void set16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void set32(uint8_t *p, uint32_t v)
{
	set16(p, v >> 16);
	set16(p + 2, v & 0xffff);
}

/* RFC 1071: the sum of big-endian words, not complemented. */
static inline unsigned plain_sum(const uint8_t *p, size_t len, unsigned sum)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (unsigned)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

struct frame_spec {
	bool v6, vlan, udp;
	size_t payload;
	uint32_t seq;
	uint8_t flags;
	unsigned tcp_opts; /* bytes, multiple of 4 */
	bool partial;	   /* the checksum field holds the pseudo header's sum */
	uint8_t src, dst;  /* last byte of the addresses 10.0.2.x, fec0::x */
	uint16_t sport, dport;
	const void *data; /* NULL: a pattern */
};

static inline unsigned pseudo_sum(const uint8_t *l3, bool v6, uint8_t proto, size_t l4_len)
{
	uint8_t tail[8] = {0};

	set32(tail, (uint32_t)l4_len);
	tail[7] = proto;
	return plain_sum(tail, 8, v6 ? plain_sum(l3 + 8, 32, 0) : plain_sum(l3 + 12, 8, 0));
}

/* Where the IP header is; the IP header has no options. */
static inline size_t frame_l3(const struct frame_spec *s)
{
	return s->vlan ? 18 : 14;
}

static inline size_t frame_l4(const struct frame_spec *s)
{
	return frame_l3(s) + (s->v6 ? 40 : 20);
}

static inline size_t frame_head(const struct frame_spec *s)
{
	return frame_l4(s) + (s->udp ? 8 : 20 + s->tcp_opts);
}

/* Make the frame; its length. */
static inline size_t frame_make(uint8_t *f, const struct frame_spec *s)
{
	static const uint8_t macs[12] = {0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56};
	size_t l3 = frame_l3(s), l4 = frame_l4(s), head = frame_head(s), end = head + s->payload;
	uint8_t proto = s->udp ? 17 : 6, *ip = f + l3, *t = f + l4;
	unsigned sum;

	memset(f, 0, head);
	memcpy(f, macs, 12);
	if (s->vlan) {
		set16(f + 12, 0x8100);
		set16(f + 14, 0x2005);
	}
	set16(f + l3 - 2, s->v6 ? 0x86dd : 0x0800);
	if (s->v6) {
		ip[0] = 0x60;
		set16(ip + 4, (unsigned)(end - l4));
		ip[6] = proto;
		ip[7] = 64;
		ip[8] = ip[24] = 0xfe;
		ip[9] = ip[25] = 0xc0;
		ip[23] = s->src;
		ip[39] = s->dst;
	} else {
		ip[0] = 0x45;
		set16(ip + 2, (unsigned)(end - l3));
		set16(ip + 4, 0xfffe); /* the identification wraps round */
		ip[8] = 64;
		ip[9] = proto;
		set32(ip + 12, 0x0a000200u + s->src);
		set32(ip + 16, 0x0a000200u + s->dst);
		set16(ip + 10, ~plain_sum(ip, 20, 0) & 0xffff);
	}
	set16(t, s->sport);
	set16(t + 2, s->dport);
	if (s->udp) {
		set16(t + 4, (unsigned)(end - l4));
	} else {
		set32(t + 4, s->seq);
		t[12] = (uint8_t)((20 + s->tcp_opts) / 4 << 4);
		t[13] = s->flags;
		set16(t + 14, 0xffff);
		memset(t + 20, 1, s->tcp_opts);
	}
	for (size_t i = 0; i < s->payload; i++)
		f[head + i] = s->data ? ((const uint8_t *)s->data)[i] : (uint8_t)(i * 7 + (i >> 8));
	sum = pseudo_sum(ip, s->v6, proto, end - l4);
	if (!s->partial) {
		sum = ~plain_sum(t, end - l4, sum) & 0xffff;
		sum = s->udp && !sum ? 0xffff : sum;
	}
	set16(t + (s->udp ? 6 : 16), sum);
	return end;
}

/* Is every checksum of the (unfragmented) frame right? */
static inline bool frame_sums_ok(const uint8_t *f, size_t l3, bool v6)
{
	const uint8_t *ip = f + l3;
	size_t l4_len = v6 ? be16(ip + 4) : be16(ip + 2) - 20u;
	uint8_t proto = v6 ? ip[6] : ip[9];
	size_t hlen = v6 ? 40 : 20;

	if (!v6 && plain_sum(ip, 20, 0) != 0xffff)
		return false;
	return plain_sum(ip + hlen, l4_len, pseudo_sum(ip, v6, proto, l4_len)) == 0xffff;
}
