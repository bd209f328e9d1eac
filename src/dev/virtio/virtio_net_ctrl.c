/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net's receive filter and control queue (virtio 1.2 5.1.6.5).
 *
 * A command is class, command and data, in any number of buffers, and a byte that the device
 * answers. The filter starts open (promiscuous), as drivers without CTRL_RX need it.  An address
 * table with more entries than there is room for lets every address of its kind in.
 */
#include <string.h>
#include "dev/virtio/virtio_net_int.h"

#define CTRL_OK 0
#define CTRL_ERR 1

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_GUEST_OFFLOADS };
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
enum { MAC_TABLE_SET, MAC_ADDR_SET };
enum { VLAN_ADD, VLAN_DEL };

void vnet_filter_reset(struct vnet *n)
{
	n->promisc = true;
	n->allmulti = n->alluni = n->nomulti = n->nouni = n->nobcast = false;
	n->uni_overflow = n->multi_overflow = false;
	n->n_uni = n->n_multi = 0;
	memset(n->macs, 0, sizeof(n->macs));
	memset(n->vlans, 0, sizeof(n->vlans));
}

static bool mac_listed(const struct vnet *n, const uint8_t *mac, uint32_t from, uint32_t count)
{
	for (uint32_t i = from; i < from + count; i++)
		if (!memcmp(&n->macs[6 * i], mac, 6))
			return true;
	return false;
}

static bool vlan_wanted(const struct vnet *n, const uint8_t *frame, size_t len)
{
	unsigned vid;

	if (!virtio_has(&n->v, VIRTIO_NET_F_CTRL_VLAN) || len < 16 || frame[12] != 0x81 ||
	    frame[13])
		return true;
	vid = (frame[14] & 15u) << 8 | frame[15];
	/* 0 is a priority, not a network. */
	return !vid || (n->vlans[vid / 8] >> (vid % 8) & 1);
}

bool vnet_wants(const struct vnet *n, const uint8_t *frame, size_t len)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (n->promisc)
		return true;
	if (!vlan_wanted(n, frame, len))
		return false;
	if (frame[0] & 1) {
		if (!memcmp(frame, all, 6))
			return !n->nobcast;
		if (n->nomulti)
			return false;
		return n->allmulti || n->multi_overflow ||
		       mac_listed(n, frame, n->n_uni, n->n_multi);
	}
	if (n->nouni)
		return false;
	return n->alluni || n->uni_overflow || !memcmp(frame, n->mac, 6) ||
	       mac_listed(n, frame, 0, n->n_uni);
}

/* The data of a command: what lies after class and command. */
struct ctrl {
	const struct virtq_elem *el;
	size_t at;
};

static bool ctrl_take(struct ctrl *c, void *buf, size_t len)
{
	size_t got = iov_to_buf(c->el->out, c->el->n_out, c->at, buf, len);

	c->at += got;
	return got == len;
}

static uint8_t ctrl_rx(struct vnet *n, uint8_t cmd, struct ctrl *c)
{
	bool *const what[] = {&n->promisc, &n->allmulti, &n->alluni,
			      &n->nomulti, &n->nouni,	 &n->nobcast};
	uint8_t on;

	if (cmd > RX_NOBCAST || !ctrl_take(c, &on, 1) ||
	    !virtio_has(&n->v,
			cmd <= RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA))
		return CTRL_ERR;
	*what[cmd] = on;
	return CTRL_OK;
}

/* One table of MAC_TABLE_SET into macs from place `at` on. */
static bool mac_table(struct ctrl *c, uint8_t *macs, uint32_t at, uint32_t *count, bool *overflow)
{
	uint8_t le[4];
	uint32_t entries;

	if (!ctrl_take(c, le, 4))
		return false;
	entries = get_le32(le);
	if (entries > (c->el->out_len - c->at) / 6)
		return false;
	*overflow = entries > VNET_MACS - at;
	*count = *overflow ? 0 : entries;
	if (*overflow)
		c->at += 6 * (size_t)entries;
	return ctrl_take(c, macs + 6 * at, 6 * (size_t)*count);
}

static uint8_t ctrl_mac(struct vnet *n, uint8_t cmd, struct ctrl *c)
{
	uint8_t macs[VNET_MACS * 6] = {0}, mac[6];
	uint32_t uni, multi;
	bool uni_over, multi_over;

	if (cmd == MAC_ADDR_SET) {
		if (!virtio_has(&n->v, VIRTIO_NET_F_CTRL_MAC_ADDR) || c->el->out_len != 2 + 6 ||
		    !ctrl_take(c, mac, 6))
			return CTRL_ERR;
		memcpy(n->mac, mac, 6);
		return CTRL_OK;
	}
	if (cmd != MAC_TABLE_SET || !virtio_has(&n->v, VIRTIO_NET_F_CTRL_RX) ||
	    !mac_table(c, macs, 0, &uni, &uni_over) ||
	    !mac_table(c, macs, uni, &multi, &multi_over))
		return CTRL_ERR;
	memcpy(n->macs, macs, sizeof(macs));
	n->n_uni = uni;
	n->n_multi = multi;
	n->uni_overflow = uni_over;
	n->multi_overflow = multi_over;
	return CTRL_OK;
}

static uint8_t ctrl_vlan(struct vnet *n, uint8_t cmd, struct ctrl *c)
{
	uint8_t le[2];
	unsigned vid;

	if (cmd > VLAN_DEL || !virtio_has(&n->v, VIRTIO_NET_F_CTRL_VLAN) || !ctrl_take(c, le, 2))
		return CTRL_ERR;
	vid = get_le16(le);
	if (vid >= VNET_VLANS)
		return CTRL_ERR;
	if (cmd == VLAN_ADD)
		n->vlans[vid / 8] |= (uint8_t)(1u << vid % 8);
	else
		n->vlans[vid / 8] &= (uint8_t) ~(1u << vid % 8);
	return CTRL_OK;
}

static uint8_t ctrl_announce(struct vnet *n, uint8_t cmd)
{
	if (cmd || !virtio_has(&n->v, VIRTIO_NET_F_GUEST_ANNOUNCE) ||
	    !(n->status & VIRTIO_NET_S_ANNOUNCE))
		return CTRL_ERR;
	n->status &= (uint16_t)~VIRTIO_NET_S_ANNOUNCE;
	return CTRL_OK;
}

static uint8_t ctrl_mq(struct vnet *n, uint8_t cmd, struct ctrl *c)
{
	uint8_t le[2];

	if (cmd || !virtio_has(&n->v, VIRTIO_NET_F_MQ) || !ctrl_take(c, le, 2) || !get_le16(le) ||
	    get_le16(le) > n->max_pairs)
		return CTRL_ERR;
	n->pairs = get_le16(le);
	memset(n->flows, 0, sizeof(n->flows));
	return CTRL_OK;
}

static uint8_t ctrl_offloads(struct vnet *n, uint8_t cmd, struct ctrl *c)
{
	uint8_t le[8];

	if (cmd || !virtio_has(&n->v, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || !ctrl_take(c, le, 8) ||
	    (get_le64(le) & ~(n->v.features & VNET_GUEST_OFFLOADS)))
		return CTRL_ERR;
	n->guest_offloads = get_le64(le);
	vnet_offloads_apply(n);
	return CTRL_OK;
}

static uint8_t ctrl_command(struct vnet *n, const struct virtq_elem *el)
{
	struct ctrl c = {.el = el};
	uint8_t head[2];

	if (!ctrl_take(&c, head, 2))
		return CTRL_ERR;
	switch (head[0]) {
	case CLASS_RX:
		return ctrl_rx(n, head[1], &c);
	case CLASS_MAC:
		return ctrl_mac(n, head[1], &c);
	case CLASS_VLAN:
		return ctrl_vlan(n, head[1], &c);
	case CLASS_ANNOUNCE:
		return ctrl_announce(n, head[1]);
	case CLASS_MQ:
		return ctrl_mq(n, head[1], &c);
	case CLASS_GUEST_OFFLOADS:
		return ctrl_offloads(n, head[1], &c);
	default:
		return CTRL_ERR;
	}
}

void vnet_ctrl(struct vnet *n, struct virtq *q)
{
	struct virtq_elem *el;
	uint8_t ack;

	/* A driver waits for each, so that one turn does not go round the ring for ever. */
	for (unsigned i = 0; i < VIRTQ_SIZE_MAX && (el = virtq_pop(q)); i++) {
		if (!el->in_len) {
			virtq_drop(el);
			virtio_error(&n->v, "a control command without room for the answer");
			return;
		}
		ack = ctrl_command(n, el);
		virtq_push(el, (uint32_t)iov_from_buf(el->in, el->n_in, 0, &ack, 1));
	}
	virtq_notify(q);
}
