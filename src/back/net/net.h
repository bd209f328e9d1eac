/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Network back ends (-netdev): what a network card's cable is plugged into.  One front end (card) at a
 * time.  All calls with the front's lock held or on the loop thread; callbacks run with front.lock
 * held, on the loop thread or from inside net_send (a peer that answers at once).
 *
 * Frames are Ethernet without FCS, 14 bytes up to NET_FRAME_MAX.  Checksum and segmentation offload
 * travel as the header of virtio 1.2 5.1.6 (struct net_hdr, little-endian): a peer that offers none
 * (netdev_offloads) gets plain frames, the back end does the work before.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct lock;
struct loop;
struct netdev;

#define NET_FRAME_MAX (65536 + 14 + 8)

/* virtio 1.2 5.1.6: the virtio_net_hdr without num_buffers. */
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
#define NET_HDR_F_NEEDS_CSUM 1
#define NET_HDR_F_DATA_VALID 2

/* What a side can take (receive) without its being undone first. */
#define NET_OFFLOAD_CSUM 1
#define NET_OFFLOAD_TSO4 2
#define NET_OFFLOAD_TSO6 4
#define NET_OFFLOAD_ECN 8
#define NET_OFFLOAD_UFO 16

struct net_front {
	struct lock *lock;
	/* Is there room for a frame?  false stops delivery until netdev_ready. */
	bool (*can_receive)(void *opaque);
	/* A frame; hdr is all zero unless the front's offloads allow.  It is copied or dropped. */
	void (*receive)(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
			size_t len);
	void (*link)(void *opaque, bool up); /* set_link, a peer that went; may be NULL */
	void *opaque;
};

int netdev_attach(struct netdev *nd, const struct net_front *f, struct err **e);
void netdev_detach(struct netdev *nd);
const char *netdev_id(const struct netdev *nd);
bool netdev_link(const struct netdev *nd);
/* netdev_offloads - NET_OFFLOAD_* that net_send passes on (or does itself) without being slow. */
unsigned netdev_offloads(const struct netdev *nd);
/* netdev_set_offloads - what the front's receive takes; 0 at attach. */
void netdev_set_offloads(struct netdev *nd, unsigned offloads);
/* net_send - a frame from the card; taken or dropped, never kept. false: the peer is full, the card
 * should wait for `front.link`... see netdev_wait. */
bool net_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov, unsigned n, size_t len);
/* netdev_ready - the card has room again. */
void netdev_ready(struct netdev *nd);
