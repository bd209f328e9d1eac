/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net by name: properties, and how they make a device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "dev/class.h"
#include "dev/virtio/virtio_net_int.h"

#define ON "on"

/* Features that a property of the same sense switches off. */
static const struct {
	const char *prop;
	uint64_t features;
} feature_props[] = {
	{"csum", VIRTIO_NET_F_CSUM},
	{"guest_csum", VIRTIO_NET_F_GUEST_CSUM},
	{"gso", VIRTIO_NET_F_GSO},
	{"guest_tso4", VIRTIO_NET_F_GUEST_TSO4},
	{"guest_tso6", VIRTIO_NET_F_GUEST_TSO6},
	{"guest_ecn", VIRTIO_NET_F_GUEST_ECN},
	{"guest_ufo", VIRTIO_NET_F_GUEST_UFO},
	{"guest_announce", VIRTIO_NET_F_GUEST_ANNOUNCE},
	{"host_tso4", VIRTIO_NET_F_HOST_TSO4},
	{"host_tso6", VIRTIO_NET_F_HOST_TSO6},
	{"host_ecn", VIRTIO_NET_F_HOST_ECN},
	{"host_ufo", VIRTIO_NET_F_HOST_UFO},
	{"mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF},
	{"status", VIRTIO_NET_F_STATUS},
	{"ctrl_vq", VIRTIO_NET_F_CTRL_VQ},
	{"ctrl_rx", VIRTIO_NET_F_CTRL_RX},
	{"ctrl_vlan", VIRTIO_NET_F_CTRL_VLAN},
	{"ctrl_rx_extra", VIRTIO_NET_F_CTRL_RX_EXTRA},
	{"ctrl_mac_addr", VIRTIO_NET_F_CTRL_MAC_ADDR},
	{"ctrl_guest_offloads", VIRTIO_NET_F_CTRL_GUEST_OFFLOADS},
	{"mq", VIRTIO_NET_F_MQ},
};

static const struct dev_prop props[] = {
	{"netdev", "network back end", NULL, PROP_NETDEV, 0, NULL},
	{"mac", "Ethernet address", NULL, PROP_MAC, 0, NULL},
	{"bootindex", "place in the order of boot devices", NULL, PROP_UINT, INT32_MAX, NULL},
	{"csum", "takes frames whose checksum is not done", ON, PROP_BOOL, 0, NULL},
	{"guest_csum", "gives frames whose checksum is not done", ON, PROP_BOOL, 0, NULL},
	{"gso", "for old drivers: takes large frames", ON, PROP_BOOL, 0, NULL},
	{"guest_tso4", "gives large frames of TCP over IPv4", ON, PROP_BOOL, 0, NULL},
	{"guest_tso6", "gives large frames of TCP over IPv6", ON, PROP_BOOL, 0, NULL},
	{"guest_ecn", "gives large frames with ECN", ON, PROP_BOOL, 0, NULL},
	{"guest_ufo", "gives large frames of UDP", ON, PROP_BOOL, 0, NULL},
	{"guest_announce", "asks the driver to announce itself", ON, PROP_BOOL, 0, NULL},
	{"host_tso4", "takes large frames of TCP over IPv4", ON, PROP_BOOL, 0, NULL},
	{"host_tso6", "takes large frames of TCP over IPv6", ON, PROP_BOOL, 0, NULL},
	{"host_ecn", "takes large frames with ECN", ON, PROP_BOOL, 0, NULL},
	{"host_ufo", "takes large frames of UDP", ON, PROP_BOOL, 0, NULL},
	{"mrg_rxbuf", "one frame in several receive buffers", ON, PROP_BOOL, 0, NULL},
	{"status", "tells of the link", ON, PROP_BOOL, 0, NULL},
	{"ctrl_vq", "control queue", ON, PROP_BOOL, 0, NULL},
	{"ctrl_rx", "receive modes", ON, PROP_BOOL, 0, NULL},
	{"ctrl_vlan", "VLAN filter", ON, PROP_BOOL, 0, NULL},
	{"ctrl_rx_extra", "more receive modes", ON, PROP_BOOL, 0, NULL},
	{"ctrl_mac_addr", "change of the address by command", ON, PROP_BOOL, 0, NULL},
	{"ctrl_guest_offloads", "change of offloads by command", ON, PROP_BOOL, 0, NULL},
	{"mq", "as many pairs of queues as the back end has", "off", PROP_BOOL, 0, NULL},
	{"rx_queue_size", "descriptors of a receive queue", "256", PROP_UINT, VIRTQ_SIZE_MAX, NULL},
	{"tx_queue_size", "descriptors of a transmit queue", "256", PROP_UINT, VIRTQ_SIZE_MAX,
	 NULL},
	{"host_mtu", "MTU that the driver is told", "0", PROP_UINT, 65535, NULL},
	{"speed", "of the link, in Mbit/s", NULL, PROP_UINT, INT32_MAX, NULL},
	{"duplex", "of the link", NULL, PROP_ENUM, 0, "half|full"},
	{"tx", "accepted; frames are sent when the driver kicks", NULL, PROP_ENUM, 0, "bh|timer"},
	{"x-txtimer", "accepted", NULL, PROP_UINT, 0, NULL},
	{"x-txburst", "accepted", NULL, PROP_UINT, 0, NULL},
	{0},
};

static int queue_size_check(const struct dev_opts *o, const char *name, unsigned least,
			    struct err **e)
{
	uint64_t n = dev_opt_num(o, name);

	return n >= least && is_pow2(n)
		       ? 0
		       : err_set(e, EINVAL,
				 "property '%s': %llu is not a power of two from %u to %u", name,
				 (unsigned long long)n, least, VIRTQ_SIZE_MAX);
}

static int vnet_check(const struct dev_opts *o, struct err **e)
{
	uint64_t mtu = dev_opt_num(o, "host_mtu");
	const uint8_t *mac = dev_opt_mac(o, "mac");
	int r = queue_size_check(o, "rx_queue_size", 256, e);

	if (!r)
		r = queue_size_check(o, "tx_queue_size", 256, e);
	if (r)
		return r;
	if (mac && (mac[0] & 1))
		return err_set(e, EINVAL, "property 'mac': that is a multicast address");
	if (mtu && mtu < 68) /* 5.1.4.1 */
		return err_set(e, EINVAL, "property 'host_mtu': %llu is less than 68",
			       (unsigned long long)mtu);
	if (!dev_opt_given(o, "netdev"))
		return err_set(e, EINVAL, "property 'netdev' is missing");
	return 0;
}

/* 52:54:00:12:34:56 and up: the first that no card of the machine has. */
static void mac_default(struct dev_env *env, uint8_t mac[6])
{
	unsigned i = 0;

	while (i < 63 && (env->macs >> i & 1))
		i++;
	memcpy(mac, "\x52\x54\x00\x12\x34", 5);
	mac[5] = (uint8_t)(0x56 + i);
}

static void mac_note(struct dev_env *env, const uint8_t mac[6])
{
	unsigned i = mac[5] - 0x56u;

	if (!memcmp(mac, "\x52\x54\x00\x12\x34", 5) && i < 64)
		env->macs |= BIT(i);
}

static uint64_t vnet_offer(const struct vnet *n, const struct dev_opts *o)
{
	uint64_t f = VIRTIO_NET_F_MAC;

	for (size_t i = 0; i < ARRAY_SIZE(feature_props); i++)
		if (dev_opt_num(o, feature_props[i].prop))
			f |= feature_props[i].features;
	if (n->max_pairs == 1)
		f &= ~VIRTIO_NET_F_MQ;
	if (n->mtu)
		f |= VIRTIO_NET_F_MTU;
	if (dev_opt_given(o, "speed") || dev_opt_given(o, "duplex"))
		f |= VIRTIO_NET_F_SPEED_DUPLEX;
	if (!(f & VIRTIO_NET_F_CTRL_VQ))
		f &= ~(VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_CTRL_RX_EXTRA |
		       VIRTIO_NET_F_GUEST_ANNOUNCE | VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_MAC_ADDR |
		       VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (!(f & VIRTIO_NET_F_STATUS))
		f &= ~VIRTIO_NET_F_GUEST_ANNOUNCE;
	if (!(f & VIRTIO_NET_F_CSUM))
		f &= ~(VIRTIO_NET_F_GSO | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 |
		       VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_UFO);
	if (!(f & VIRTIO_NET_F_GUEST_CSUM))
		f &= ~VNET_GUEST_OFFLOADS;
	return f;
}

static int vnet_create(const struct dev_place *p, const struct dev_opts *o, struct virtio_dev **out,
		       struct err **e)
{
	struct vnet *n = xzalloc(sizeof(*n));
	const uint8_t *mac = dev_opt_mac(o, "mac");
	unsigned rx = (unsigned)dev_opt_num(o, "rx_queue_size");
	unsigned tx = (unsigned)dev_opt_num(o, "tx_queue_size");
	int r;

	n->nd = dev_opt_netdev(o, "netdev");
	n->max_pairs = 1;
	if (dev_opt_num(o, "mq"))
		n->max_pairs = (uint16_t)min_u64(netdev_queues(n->nd), VNET_PAIRS_MAX);
	n->mtu = (uint16_t)dev_opt_num(o, "host_mtu");
	n->speed = dev_opt_given(o, "speed") ? (uint32_t)dev_opt_num(o, "speed") : UINT32_MAX;
	n->duplex = dev_opt_given(o, "duplex") ? (uint8_t)dev_opt_num(o, "duplex") : UINT8_MAX;
	n->offer = vnet_offer(n, o);
	if (mac)
		memcpy(n->own_mac, mac, 6);
	else
		mac_default(p->env, n->own_mac);
	virtio_init(&n->v, &vnet_ops, p->env, p->id, 2u * n->max_pairs + 1, tx,
		    sizeof(struct vnet_config));
	for (unsigned i = 0; i < n->max_pairs; i++)
		virtio_queue_max(&n->v, 2 * i, rx);
	virtio_queue_max(&n->v, 2u * n->max_pairs, 64);
	r = vnet_start(n, e);
	if (r) {
		virtio_fini(&n->v);
		free(n);
		return r;
	}
	mac_note(p->env, n->own_mac);
	*out = &n->v;
	return 0;
}

const struct virtio_type virtio_net_type = {
	.name = "virtio-net",
	.id = VIRTIO_ID_NET,
	.boot_name = "ethernet",
	.boot_unit = "/ethernet-phy@0",
	.create = vnet_create,
};

VIRTIO_CLASSES(virtio_net, "virtio-net", "virtio network card", "Network", virtio_net_type, props,
	       vnet_check);
