/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Checksums and segmentation in software, for peers that cannot (see offload.c).  Pure functions of
 * their arguments; frames are hostile.
 */
#include "back/net/net.h"

/* net_csum - 16-bit ones' complement sum (RFC 1071) of len bytes, which start at an even place,
 * folded into `sum` (a value returned before, or 0); not complemented. */
uint32_t net_csum(const void *data, size_t len, uint32_t sum);

/* net_needs - NET_OFFLOAD_* that a receiver of this header must take. */
unsigned net_needs(const struct net_hdr *hdr);

/* One finished frame: iov of n pieces, len bytes; hdr says what is left to do. */
struct net_emit {
	void (*frame)(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		      size_t len);
	void *opaque;
};

/*
 * net_undo - do what hdr asks for and `takes` (NET_OFFLOAD_*) lacks: emit one or more frames. frame
 * is changed.  -EINVAL: it is not what hdr says; nothing was emitted.
 */
int net_undo(const struct net_hdr *hdr, uint8_t *frame, size_t len, unsigned takes,
	     const struct net_emit *emit);

/* net_fragment - emit the IP packet as fragments whose packets have at most mtu bytes.  `id` is the
 * identification for IPv6.  -EINVAL: it is no IP packet, or cannot be fragmented. */
int net_fragment(const uint8_t *frame, size_t len, size_t mtu, uint32_t id,
		 const struct net_emit *emit);

/* Where the parts of an IP frame are; offsets from its start. */
struct net_ip {
	bool v6;
	uint8_t proto; /* of what is at l4 */
	bool fragment; /* not the first, or more follow */
	size_t l3, l4; /* IP header; TCP, UDP, ... header */
	size_t end; /* of the IP packet: at most len */
	size_t unfrag; /* v6: where a fragment header belongs */
	size_t nexthdr; /* v6: offset of the next-header field before `unfrag` */
};
/* net_parse_ip - false: not IP, or cut short. */
bool net_parse_ip(struct net_ip *ip, const uint8_t *frame, size_t len);
/* net_pseudo - sum of the pseudo header for l4_len bytes of ip->proto. */
uint32_t net_pseudo(const struct net_ip *ip, const uint8_t *frame, size_t l4_len);
