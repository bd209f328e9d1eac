/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums and segmentation in software, against frames made by the rules of the RFCs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "back/net/offload.h"
#include "base/base.h"
#include "net_frames.h"

#define MAX_PIECES 9000

struct got {
	unsigned n;
	size_t len[MAX_PIECES];
	struct net_hdr hdr;
	uint8_t *data; /* all pieces, one after the other */
	size_t used;
};

static void got_frame(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		      size_t len)
{
	struct got *g = opaque;
	size_t sum = 0;

	assert_true(g->n < MAX_PIECES);
	g->hdr = *hdr;
	g->len[g->n++] = len;
	for (unsigned i = 0; i < n; i++) {
		memcpy(g->data + g->used, iov[i].iov_base, iov[i].iov_len);
		g->used += iov[i].iov_len;
		sum += iov[i].iov_len;
	}
	assert_int_equal(sum, len);
}

static struct got *got_new(void)
{
	struct got *g = xzalloc(sizeof(*g));

	g->data = xzalloc(4 * MiB);
	return g;
}

static void got_free(struct got *g)
{
	free(g->data);
	free(g);
}

static void csum_is_rfc1071(void **state)
{
	uint8_t buf[600];

	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 37 + 11);
	for (size_t at = 0; at < 4; at++)
		for (size_t len = 0; len < 500; len++) {
			unsigned want = plain_sum(buf + at, len, 0);
			uint16_t got = __builtin_bswap16((uint16_t)net_csum(buf + at, len, 0));

			assert_true(got == want || (got % 0xffff == 0 && want % 0xffff == 0));
		}
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(net_csum(buf, sizeof(buf), 0xffff), 0xffff);
}

/* The segments of one large frame are those that a sender without offload would have made. */
static void check_tso(const struct frame_spec *s, size_t mss)
{
	uint8_t *big = xzalloc(NET_FRAME_MAX), *want = xzalloc(NET_FRAME_MAX);
	struct got *g = got_new();
	struct net_emit emit = {.frame = got_frame, .opaque = g};
	struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM,
			      .gso_type = s->v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4,
			      .gso_size = (uint16_t)mss,
			      .csum_start = (uint16_t)frame_l4(s),
			      .csum_offset = 16};
	size_t len = frame_make(big, s), head = frame_head(s), at = 0, off = 0;

	if (s->flags & 0x80)
		hdr.gso_type |= NET_GSO_ECN;
	assert_int_equal(net_undo(&hdr, big, len, 0, &emit), 0);
	for (unsigned i = 0; i < g->n; i++) {
		struct frame_spec one = *s;
		bool last = off + mss >= s->payload;

		one.partial = false;
		one.payload = last ? s->payload - off : mss;
		one.seq = s->seq + (uint32_t)off;
		one.data = big + head + off;
		one.flags = s->flags & (uint8_t)(last ? 0xff : ~9) & (i ? 0x7f : 0xff);
		frame_make(want, &one);
		if (!s->v6) { /* RFC 6864: each its own identification */
			uint8_t *ip = want + frame_l3(s);

			set16(ip + 4, (0xfffe + i) & 0xffff);
			set16(ip + 10, 0);
			set16(ip + 10, ~plain_sum(ip, 20, 0) & 0xffff);
		}
		assert_int_equal(g->len[i], head + one.payload);
		assert_memory_equal(g->data + at, want, g->len[i]);
		assert_true(frame_sums_ok(g->data + at, frame_l3(s), s->v6));
		assert_int_equal(g->hdr.flags, 0);
		assert_int_equal(g->hdr.gso_type, 0);
		at += g->len[i];
		off += one.payload;
	}
	assert_int_equal(off, s->payload);
	got_free(g);
	free(big);
	free(want);
}

static void tso_makes_what_a_sender_would(void **state)
{
	static const size_t payloads[] = {1, 1459, 1460, 1461, 2920, 4000, 65000};
	static const uint8_t flags[] = {0x10, 0x18, 0x19, 0x99};

	for (unsigned kind = 0; kind < 8; kind++)
		for (unsigned p = 0; p < ARRAY_SIZE(payloads); p++) {
			struct frame_spec s = {.v6 = kind & 1,
					       .vlan = kind & 2,
					       .tcp_opts = kind & 4 ? 12 : 0,
					       .payload = payloads[p],
					       .seq = 0xffffff00,
					       .flags = flags[p % 4],
					       .partial = true,
					       .src = 15,
					       .dst = 2,
					       .sport = 40000,
					       .dport = 80};

			check_tso(&s, 1460);
			check_tso(&s, p % 2 ? 537 : 1000);
		}
}

static void csum_alone(void **state)
{
	uint8_t frame[2100], want[2100];

	for (unsigned kind = 0; kind < 8; kind++)
		for (size_t payload = 0; payload < 1500; payload += 97) {
			struct frame_spec s = {.v6 = kind & 1,
					       .vlan = kind & 2,
					       .udp = kind & 4,
					       .payload = payload,
					       .src = 15,
					       .dst = 2,
					       .sport = 1,
					       .dport = 2};
			struct got *g = got_new();
			struct net_emit emit = {.frame = got_frame, .opaque = g};
			struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM,
					      .csum_start = (uint16_t)frame_l4(&s),
					      .csum_offset = s.udp ? 6 : 16};
			size_t len = frame_make(want, &s);

			s.partial = true;
			frame_make(frame, &s);
			assert_int_equal(net_undo(&hdr, frame, len, 0, &emit), 0);
			assert_int_equal(g->n, 1);
			assert_int_equal(g->len[0], len);
			assert_memory_equal(g->data, want, len);
			assert_int_equal(g->hdr.flags, 0);
			got_free(g);
		}
}

/* RFC 768: a sum of zero is sent as all ones. */
static void udp_csum_is_never_zero(void **state)
{
	uint8_t frame[64] = {0};
	struct got *g = got_new();
	struct net_emit emit = {.frame = got_frame, .opaque = g};
	struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};

	set16(frame + 40, 0xffff);
	assert_int_equal(net_undo(&hdr, frame, 60, 0, &emit), 0);
	assert_int_equal(be16(g->data + 40), 0xffff);
	got_free(g);
}

/* What the peer takes is left to it. */
static void only_what_is_lacking(void **state)
{
	uint8_t *big = xzalloc(NET_FRAME_MAX);
	struct frame_spec s = {.payload = 9000, .partial = true, .flags = 0x10, .src = 15, .dst = 2};
	struct got *g = got_new();
	struct net_emit emit = {.frame = got_frame, .opaque = g};
	struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4,
			      .gso_size = 1460, .csum_start = 34, .csum_offset = 16};
	size_t len = frame_make(big, &s);

	assert_int_equal(net_needs(&hdr), NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	assert_int_equal(net_undo(&hdr, big, len, NET_OFFLOAD_ALL, &emit), 0);
	assert_int_equal(g->n, 1);
	assert_memory_equal(&g->hdr, &hdr, sizeof(hdr));
	/* Large segments, but checksums are wanted; whatever the driver left in the field. */
	set16(big + 50, 0x1234);
	g->n = 0;
	g->used = 0;
	assert_int_equal(net_undo(&hdr, big, len, NET_OFFLOAD_TSO4, &emit), 0);
	assert_int_equal(g->n, 1);
	assert_int_equal(g->len[0], len);
	assert_int_equal(g->hdr.flags, 0);
	assert_int_equal(g->hdr.gso_type, NET_GSO_TCPV4);
	assert_int_equal(g->hdr.gso_size, 1460);
	assert_true(frame_sums_ok(g->data, 14, false));
	got_free(g);
	free(big);
}

/* Put fragments together again; each but the last has a multiple of 8 bytes and none is over the MTU. */
static void check_fragments(const struct frame_spec *s, const struct got *g, const uint8_t *want,
			    size_t len, size_t mtu)
{
	size_t l3 = frame_l3(s), l4 = frame_l4(s), at = 0, seen = 0;
	uint8_t *all = xzalloc(NET_FRAME_MAX);

	for (unsigned i = 0; i < g->n; i++) {
		const uint8_t *f = g->data + at, *ip = f + l3;
		size_t hlen = s->v6 ? 48 : 20, off, n = g->len[i] - l3 - hlen;
		bool more;

		assert_true(g->len[i] - l3 <= mtu);
		assert_memory_equal(f, want, l3);
		if (s->v6) {
			assert_int_equal(ip[6], 44);
			assert_int_equal(ip[40], 17);
			assert_int_equal(be16(ip + 4), n + 8);
			off = be16(ip + 42) & ~7u;
			more = be16(ip + 42) & 1;
			assert_int_equal(be32(ip + 44), be32(g->data + l3 + 44));
		} else {
			assert_int_equal(be16(ip + 2), n + 20);
			assert_int_equal(plain_sum(ip, 20, 0), 0xffff);
			assert_int_equal(be16(ip + 4), 0xfffe);
			off = (be16(ip + 6) & 0x1fff) * 8u;
			more = be16(ip + 6) & 0x2000;
		}
		assert_int_equal(off, seen);
		assert_int_equal(more, i + 1 < g->n);
		if (more)
			assert_int_equal(n % 8, 0);
		memcpy(all + off, ip + hlen, n);
		seen += n;
		at += g->len[i];
	}
	assert_int_equal(seen, len - l4);
	assert_memory_equal(all, want + l4, len - l4);
	free(all);
}

static void udp_in_fragments(void **state)
{
	uint8_t *big = xzalloc(NET_FRAME_MAX), *want = xzalloc(NET_FRAME_MAX);

	for (unsigned kind = 0; kind < 4; kind++) {
		struct frame_spec s = {.v6 = kind & 1, .vlan = kind & 2, .udp = true,
				       .payload = 8192, .src = 15, .dst = 2, .sport = 5};
		struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM, .gso_type = NET_GSO_UDP,
				      .gso_size = 1480, .csum_start = (uint16_t)frame_l4(&s),
				      .csum_offset = 6};
		struct got *g = got_new();
		struct net_emit emit = {.frame = got_frame, .opaque = g};
		size_t len = frame_make(want, &s);

		s.partial = true;
		frame_make(big, &s);
		assert_int_equal(net_undo(&hdr, big, len, NET_OFFLOAD_CSUM, &emit), 0);
		assert_int_equal(g->n, 6);
		check_fragments(&s, g, want, len, s.v6 ? 1528 : 1500);
		got_free(g);
		g = got_new();
		emit.opaque = g;
		assert_int_equal(net_fragment(want, len, 576, 77, &emit), 0);
		check_fragments(&s, g, want, len, 576);
		got_free(g);
	}
	free(big);
	free(want);
}

/* Headers that lie are refused, and nothing is read past the end (ASan looks on). */
static void lies_are_refused(void **state)
{
	struct frame_spec s = {.payload = 3000, .partial = true, .flags = 0x10};
	struct net_hdr good = {.flags = NET_HDR_F_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4,
			       .gso_size = 1460, .csum_start = 34, .csum_offset = 16};
	struct got *g = got_new();
	struct net_emit emit = {.frame = got_frame, .opaque = g};
	uint8_t buf[4096];
	size_t len = frame_make(buf, &s);
	struct net_hdr h;

	for (size_t cut = 0; cut < len; cut += cut < 80 ? 1 : 100) {
		uint8_t *f = malloc(cut + !cut);

		memcpy(f, buf, cut);
		assert_int_equal(net_undo(&good, f, cut, 0, &emit), -22);
		free(f);
	}
	h = good;
	h.gso_size = 0;
	assert_int_equal(net_undo(&h, buf, len, 0, &emit), -22);
	h = good;
	h.gso_type = NET_GSO_TCPV6;
	assert_int_equal(net_undo(&h, buf, len, 0, &emit), -22);
	h.gso_type = NET_GSO_UDP;
	assert_int_equal(net_undo(&h, buf, len, 0, &emit), -22);
	h.gso_type = 77;
	assert_int_equal(net_undo(&h, buf, len, NET_OFFLOAD_ALL, &emit), -22);
	h = good;
	h.gso_type = 0;
	h.csum_start = 0xffff;
	assert_int_equal(net_undo(&h, buf, len, 0, &emit), -22);
	h.csum_start = (uint16_t)(len - 1);
	h.csum_offset = 0;
	assert_int_equal(net_undo(&h, buf, len, 0, &emit), -22);
	buf[14 + 6] = 0x20; /* a fragment */
	assert_int_equal(net_undo(&good, buf, len, 0, &emit), -22);
	buf[14 + 6] = 0;
	buf[34 + 12] = 0x40; /* a TCP header of 16 bytes */
	assert_int_equal(net_undo(&good, buf, len, 0, &emit), -22);
	assert_int_equal(g->n, 0);
	got_free(g);
}

/* IPv6 extension headers are stepped over, loops and overruns are not followed. */
static void ipv6_extension_headers(void **state)
{
	uint8_t f[200] = {0};
	struct net_ip ip;

	set16(f + 12, 0x86dd);
	f[14] = 0x60;
	set16(f + 18, 8 + 16 + 20);
	f[20] = 0;   /* hop-by-hop */
	f[54] = 60;  /* destination options */
	f[62] = 6;   /* TCP */
	f[63] = 1;   /* of 16 bytes */
	assert_true(net_parse_ip(&ip, f, 14 + 40 + 44));
	assert_int_equal(ip.proto, 6);
	assert_int_equal(ip.l4, 78);
	assert_int_equal(ip.unfrag, 62);
	assert_int_equal(ip.nexthdr, 54);
	f[63] = 255;
	assert_false(net_parse_ip(&ip, f, 14 + 40 + 44));
	f[63] = 0;
	for (unsigned i = 54; i < 192; i += 8)
		f[i] = 0;
	set16(f + 18, 140);
	assert_false(net_parse_ip(&ip, f, sizeof(f)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csum_is_rfc1071),
		cmocka_unit_test(tso_makes_what_a_sender_would),
		cmocka_unit_test(csum_alone),
		cmocka_unit_test(udp_csum_is_never_zero),
		cmocka_unit_test(only_what_is_lacking),
		cmocka_unit_test(udp_in_fragments),
		cmocka_unit_test(lies_are_refused),
		cmocka_unit_test(ipv6_extension_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
