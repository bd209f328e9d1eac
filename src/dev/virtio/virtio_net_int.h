/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* virtio-net: what its traffic (virtio_net.c), control queue and filter (virtio_net_ctrl.c), and
 * making (virtio_net_class.c) share. */
#include "back/net/net.h"
#include "dev/virtio/virtio.h"

/* Feature bits of 5.1.3. */
#define VIRTIO_NET_F_CSUM BIT(0)
#define VIRTIO_NET_F_GUEST_CSUM BIT(1)
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS BIT(2)
#define VIRTIO_NET_F_MTU BIT(3)
#define VIRTIO_NET_F_MAC BIT(5)
#define VIRTIO_NET_F_GSO BIT(6) /* legacy: all of HOST_TSO*, HOST_UFO */
#define VIRTIO_NET_F_GUEST_TSO4 BIT(7)
#define VIRTIO_NET_F_GUEST_TSO6 BIT(8)
#define VIRTIO_NET_F_GUEST_ECN BIT(9)
#define VIRTIO_NET_F_GUEST_UFO BIT(10)
#define VIRTIO_NET_F_HOST_TSO4 BIT(11)
#define VIRTIO_NET_F_HOST_TSO6 BIT(12)
#define VIRTIO_NET_F_HOST_ECN BIT(13)
#define VIRTIO_NET_F_HOST_UFO BIT(14)
#define VIRTIO_NET_F_MRG_RXBUF BIT(15)
#define VIRTIO_NET_F_STATUS BIT(16)
#define VIRTIO_NET_F_CTRL_VQ BIT(17)
#define VIRTIO_NET_F_CTRL_RX BIT(18)
#define VIRTIO_NET_F_CTRL_VLAN BIT(19)
#define VIRTIO_NET_F_CTRL_RX_EXTRA BIT(20)
#define VIRTIO_NET_F_GUEST_ANNOUNCE BIT(21)
#define VIRTIO_NET_F_MQ BIT(22)
#define VIRTIO_NET_F_CTRL_MAC_ADDR BIT(23)
#define VIRTIO_NET_F_SPEED_DUPLEX BIT(63)

/* Those that CTRL_GUEST_OFFLOADS turns on and off. */
#define VNET_GUEST_OFFLOADS                                                            \
	(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | \
	 VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO)

#define VIRTIO_NET_S_LINK_UP 1
#define VIRTIO_NET_S_ANNOUNCE 2

#define VNET_PAIRS_MAX 16
#define VNET_MACS 64
#define VNET_VLANS 4096
#define VNET_FLOWS 256

/* 5.1.4 */
struct vnet_config {
	uint8_t mac[6];
	uint16_t status, max_pairs, mtu;
	uint32_t speed;
	uint8_t duplex;
} __attribute__((packed));

/* 5.1.6: struct net_hdr, then num_buffers (not there for a legacy driver without MRG_RXBUF). */
struct vnet_hdr {
	struct net_hdr net;
	uint16_t num_buffers;
};

struct vnet {
	struct virtio_dev v; /* first */
	struct netdev *nd;
	uint64_t offer; /* features of the device type */
	uint8_t own_mac[6]; /* as configured */
	uint16_t max_pairs, mtu;
	uint32_t speed;
	uint8_t duplex;

	/* Saved. */
	uint8_t mac[6];
	uint16_t status, pairs;
	uint64_t guest_offloads;
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool uni_overflow, multi_overflow;
	uint32_t n_uni, n_multi; /* of macs: unicast ones first */
	uint8_t macs[VNET_MACS * 6];
	uint8_t vlans[VNET_VLANS / 8];

	/* Derived, and of the moment. */
	size_t hdr_len;
	uint32_t tx_blocked; /* pairs whose frame the peer had no room for */
	uint32_t tx_more; /* pairs with more to send than one turn takes */
	uint32_t rx_notify; /* pairs that have got frames since the last interrupt */
	struct timer *tx_timer, *announce_timer;
	uint8_t flows[VNET_FLOWS]; /* the pair on which a flow was last sent */
	struct virtq_elem *merge[VIRTQ_SIZE_MAX];
	uint32_t merge_len[VIRTQ_SIZE_MAX];
};

/* vnet_wants - does the receive filter let this frame (its first n bytes) in? */
bool vnet_wants(const struct vnet *n, const uint8_t *frame, size_t len);
void vnet_filter_reset(struct vnet *n);
/* vnet_ctrl - serve the control queue. */
void vnet_ctrl(struct vnet *n, struct virtq *q);
/* vnet_offloads_apply - tell the back end what the driver takes. */
void vnet_offloads_apply(struct vnet *n);
/* vnet_status - put the link's state (and `set`, less `clear`) into the status; tells the driver of
 * changes. */
void vnet_status(struct vnet *n, uint16_t set, uint16_t clear);

extern const struct virtio_ops vnet_ops;
extern const struct virtio_type virtio_net_type;
int vnet_start(struct vnet *n, struct err **e); /* attach to n->nd, make timers */
