/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2 5.1): traffic.
 *
 * Queues: pair i receives on 2i and transmits on 2i+1; the control queue comes after the last pair,
 * which is pair 0 unless MQ was negotiated (5.1.2).
 *
 * Transmit: a kick sends everything that is there, on the vCPU's thread, with one interrupt at the
 * end. Frames go to the back end from where they lie in guest memory; it does what its peer cannot
 * (back/net), so that checksums and segmentation are always offered.  When the peer is full the
 * chain goes back to the ring and the pair waits for front.sendable.  One turn sends at most a
 * ring's worth; a timer, which runs on the loop and only while guest time does, goes on with the
 * rest.
 *
 * Receive: a frame is copied into one chain, or with MRG_RXBUF into as many as it takes, which the
 * driver sees all at once.  Without chains the back end keeps it and tries again at the next kick,
 * which the queue asks for when it is found empty.  Interrupts follow when the back end has
 * delivered a batch (flush).
 *
 * Several pairs share one back end: a flow comes in on the pair on which the driver last sent it
 * (5.1.6.5.6).
 *
 * Everything runs with the machine's lock held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "dev/virtio/virtio_net_int.h"

#define TX_TURN VIRTQ_SIZE_MAX
#define HEAD_MAX 96 /* bytes of a frame that tell its flow */
#define ANNOUNCE_DELAY_NS 50000000

static struct vnet *vnet_of(struct virtio_dev *v)
{
	return container_of(v, struct vnet, v);
}

static struct virtq *rxq(struct vnet *n, unsigned pair)
{
	return virtio_queue(&n->v, 2 * pair);
}

static struct virtq *txq(struct vnet *n, unsigned pair)
{
	return virtio_queue(&n->v, 2 * pair + 1);
}

/* Flows. */

/* The same for both directions.  len bytes of the frame are there. */
static unsigned flow_hash(const uint8_t *f, size_t len)
{
	size_t at = 12, l3, n;
	uint32_t h = 0;

	if (len >= 18 && f[12] == 0x81 && !f[13])
		at = 16;
	l3 = at + 2;
	if (len >= l3 + 24 && f[at] == 8 && !f[at + 1]) {
		h = get_le32(f + l3 + 12) ^ get_le32(f + l3 + 16);
		n = l3 + (f[l3] & 15) * 4u;
	} else if (len >= l3 + 44 && f[at] == 0x86 && f[at + 1] == 0xdd) {
		for (unsigned i = 8; i < 40; i += 4)
			h ^= get_le32(f + l3 + i);
		n = l3 + 40;
	} else {
		return 0;
	}
	if (len >= n + 4)
		h ^= (uint32_t)(get_le16(f + n) ^ get_le16(f + n + 2));
	return (h * 0x9e3779b1u) >> 24;
}

/* Transmit. */

/* Take the header off the chain's buffers; how many are left, from *first on. */
static unsigned skip_bytes(struct iovec *iov, unsigned n, size_t skip, struct iovec **first)
{
	unsigned i = 0;

	for (; i < n && skip >= iov[i].iov_len; i++)
		skip -= iov[i].iov_len;
	if (i < n) {
		iov[i].iov_base = (uint8_t *)iov[i].iov_base + skip;
		iov[i].iov_len -= skip;
	}
	*first = iov + i;
	return n - i;
}

static bool tx_one(struct vnet *n, unsigned pair, struct virtq_elem *el)
{
	struct net_hdr hdr;
	struct iovec *iov;
	unsigned n_iov;
	size_t len = el->out_len - n->hdr_len;

	iov_to_buf(el->out, el->n_out, 0, &hdr, sizeof(hdr));
	n_iov = skip_bytes(el->out, el->n_out, n->hdr_len, &iov);
	hdr.flags &= NET_HDR_F_NEEDS_CSUM;
	if (n->pairs > 1) {
		uint8_t head[HEAD_MAX];
		size_t got = iov_to_buf(iov, n_iov, 0, head, sizeof(head));

		n->flows[flow_hash(head, got)] = (uint8_t)pair;
	}
	return net_send(n->nd, &hdr, iov, n_iov, len);
}

static void tx_run(struct vnet *n, unsigned pair)
{
	struct virtq *q = txq(n, pair);
	struct virtq_elem *el;
	unsigned done = 0;

	if (!virtq_ready(q) || !n->v.driver_ok || (n->tx_blocked >> pair & 1))
		return;
	net_batch_begin(n->nd);
	while (done < TX_TURN && (el = virtq_pop(q))) {
		if (el->out_len < n->hdr_len) {
			virtio_error(&n->v, "a frame of %llu bytes is shorter than its header",
				     (unsigned long long)el->out_len);
			virtq_drop(el);
			break;
		}
		if (!tx_one(n, pair, el)) {
			virtq_unpop(el);
			n->tx_blocked |= 1u << pair;
			break;
		}
		virtq_push(el, 0);
		done++;
	}
	net_batch_end(n->nd);
	if (done)
		virtq_notify(q);
	if (done == TX_TURN) {
		n->tx_more |= 1u << pair;
		timer_arm(n->tx_timer, vclock_now(n->v.env->clock));
	}
}

static void tx_timer(void *opaque)
{
	struct vnet *n = opaque;
	uint32_t more = n->tx_more;

	n->tx_more = 0;
	for (unsigned i = 0; i < n->max_pairs; i++)
		if (more >> i & 1)
			tx_run(n, i);
}

static void vnet_sendable(void *opaque)
{
	struct vnet *n = opaque;
	uint32_t blocked = n->tx_blocked;

	n->tx_blocked = 0;
	for (unsigned i = 0; i < n->max_pairs; i++)
		if (blocked >> i & 1)
			tx_run(n, i);
}

/* Receive. */

static bool vnet_can_receive(void *opaque)
{
	struct vnet *n = opaque;

	if (!n->v.driver_ok || n->v.broken || !vclock_running(n->v.env->clock))
		return false;
	for (unsigned i = 0; i < n->pairs; i++)
		if (virtq_ready(rxq(n, i)) && !virtq_empty(rxq(n, i)))
			return true;
	return false;
}

/* Copy len bytes of src from s_off on into dst from d_off on; both are long enough. */
static void iov_copy(const struct iovec *dst, size_t d_off, const struct iovec *src, size_t s_off,
		     size_t len)
{
	for (; s_off >= src->iov_len && len; src++)
		s_off -= src->iov_len;
	for (; d_off >= dst->iov_len && len; dst++)
		d_off -= dst->iov_len;
	while (len) {
		size_t part = min_u64(len, min_u64(src->iov_len - s_off, dst->iov_len - d_off));

		memcpy((uint8_t *)dst->iov_base + d_off, (const uint8_t *)src->iov_base + s_off,
		       part);
		len -= part;
		s_off += part;
		d_off += part;
		for (; len && s_off == src->iov_len; s_off = 0)
			src++;
		for (; len && d_off == dst->iov_len; d_off = 0)
			dst++;
	}
}

/* Give the first `count` of n->merge back unused, newest first. */
static void rx_return(struct vnet *n, unsigned count)
{
	while (count)
		virtq_unpop(n->merge[--count]);
}

/*
 * Take chains for `total` bytes: how many; 0: there are not enough now (none is kept), or, with
 * *drop, the frame does not fit a chain.
 */
static unsigned rx_chains(struct vnet *n, struct virtq *q, size_t total, bool *drop)
{
	bool merge = virtio_has(&n->v, VIRTIO_NET_F_MRG_RXBUF);
	uint64_t room = 0;
	unsigned count = 0;

	while (room < total && count < (merge ? VIRTQ_SIZE_MAX : 1)) {
		struct virtq_elem *el = virtq_pop(q);

		if (!el) {
			rx_return(n, count);
			return 0;
		}
		n->merge[count++] = el;
		room += el->in_len;
		if (el->in_len < (count == 1 ? n->hdr_len : 1)) {
			virtio_error(&n->v, "a receive buffer of %llu bytes",
				     (unsigned long long)el->in_len);
			while (count)
				virtq_drop(n->merge[--count]);
			return 0;
		}
	}
	if (room >= total)
		return count;
	*drop = true;
	rx_return(n, count);
	return 0;
}

static bool rx_frame(struct vnet *n, unsigned pair, const struct net_hdr *hdr,
		     const struct iovec *iov, size_t len)
{
	struct virtq *q = rxq(n, pair);
	struct vnet_hdr head = {.net = *hdr};
	size_t off = 0;
	bool drop = false;
	unsigned count = rx_chains(n, q, n->hdr_len + len, &drop);

	if (!count)
		return drop || n->v.broken;
	head.num_buffers = (uint16_t)count;
	for (unsigned i = 0; i < count; i++) {
		struct virtq_elem *el = n->merge[i];
		size_t skip = i ? 0 : n->hdr_len;
		size_t part = min_u64(el->in_len - skip, len - off);

		if (!i)
			iov_from_buf(el->in, el->n_in, 0, &head, n->hdr_len);
		if (part)
			iov_copy(el->in, skip, iov, off, part);
		off += part;
		n->merge_len[i] = (uint32_t)(skip + part);
	}
	virtq_push_many(n->merge, n->merge_len, count);
	n->rx_notify |= 1u << pair;
	return true;
}

static bool vnet_receive(void *opaque, const struct net_hdr *hdr, const struct iovec *iov,
			 unsigned n_iov, size_t len)
{
	struct vnet *n = opaque;
	uint8_t copy[HEAD_MAX];
	const uint8_t *head = iov[0].iov_base;
	size_t got = iov[0].iov_len;
	unsigned pair = 0;

	if (got < HEAD_MAX && n_iov > 1) {
		got = iov_to_buf(iov, n_iov, 0, copy, sizeof(copy));
		head = copy;
	}
	if (!vnet_wants(n, head, got))
		return true;
	if (n->pairs > 1) {
		pair = n->flows[flow_hash(head, min_u64(got, HEAD_MAX))];
		if (pair >= n->pairs || !virtq_ready(rxq(n, pair)))
			pair = 0;
	}
	return rx_frame(n, pair, hdr, iov, len);
}

static void vnet_flush(void *opaque)
{
	struct vnet *n = opaque;

	for (unsigned i = 0; n->rx_notify; i++, n->rx_notify >>= 1)
		if (n->rx_notify & 1)
			virtq_notify(rxq(n, i));
}

/* State of the link, and of the device. */

void vnet_status(struct vnet *n, uint16_t set, uint16_t clear)
{
	uint16_t was = n->status;

	n->status = (uint16_t)((n->status & ~clear) | set);
	if (n->status != was && virtio_has(&n->v, VIRTIO_NET_F_STATUS))
		virtio_config_changed(&n->v);
}

static void vnet_link(void *opaque, bool up)
{
	struct vnet *n = opaque;

	vnet_status(n, up ? VIRTIO_NET_S_LINK_UP : 0, up ? 0 : VIRTIO_NET_S_LINK_UP);
}

void vnet_offloads_apply(struct vnet *n)
{
	uint64_t o = n->guest_offloads;

	netdev_set_offloads(n->nd, (o & VIRTIO_NET_F_GUEST_CSUM ? NET_OFFLOAD_CSUM : 0u) |
					   (o & VIRTIO_NET_F_GUEST_TSO4 ? NET_OFFLOAD_TSO4 : 0u) |
					   (o & VIRTIO_NET_F_GUEST_TSO6 ? NET_OFFLOAD_TSO6 : 0u) |
					   (o & VIRTIO_NET_F_GUEST_ECN ? NET_OFFLOAD_ECN : 0u) |
					   (o & VIRTIO_NET_F_GUEST_UFO ? NET_OFFLOAD_UFO : 0u));
}

/* What follows from the negotiated features. */
static void vnet_derive(struct vnet *n)
{
	bool merged = virtio_has(&n->v, VIRTIO_NET_F_MRG_RXBUF) ||
		      virtio_has(&n->v, VIRTIO_F_VERSION_1);

	n->hdr_len = merged ? sizeof(struct vnet_hdr) : sizeof(struct net_hdr);
}

static void vnet_started(struct virtio_dev *v)
{
	struct vnet *n = vnet_of(v);

	vnet_derive(n);
	n->guest_offloads = v->features & VNET_GUEST_OFFLOADS;
	vnet_offloads_apply(n);
	netdev_ready(n->nd);
}

/* The bits that mean nothing alone (5.1.3.1). */
static bool vnet_features_set(struct virtio_dev *v)
{
	static const struct {
		uint64_t feature, needs;
	} rules[] = {
		{VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
		{VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
		{VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_GUEST_CSUM},
		{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
		{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
		{VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_CSUM},
		{VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ},
		{VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_VQ},
		{VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_CTRL_VQ},
		{VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ},
		{VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (virtio_has(v, rules[i].feature) && !virtio_has(v, rules[i].needs))
			return !virtio_has(v, VIRTIO_F_VERSION_1); /* older drivers do that */
	return true;
}

static uint64_t vnet_features(struct virtio_dev *v)
{
	return vnet_of(v)->offer;
}

static void vnet_config_read(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len)
{
	struct vnet *n = vnet_of(v);
	struct vnet_config c = {
		.status = n->status,
		.max_pairs = n->max_pairs,
		.mtu = n->mtu,
		.speed = n->speed,
		.duplex = n->duplex,
	};

	memcpy(c.mac, n->mac, 6);
	memcpy(buf, (const uint8_t *)&c + off, len);
}

/* Only a legacy driver, without the command for it, may write: the MAC. */
static void vnet_config_write(struct virtio_dev *v, uint32_t off, const void *buf, uint32_t len)
{
	struct vnet *n = vnet_of(v);

	if (!virtio_has(v, VIRTIO_F_VERSION_1) && !virtio_has(v, VIRTIO_NET_F_CTRL_MAC_ADDR) &&
	    range_fits(off, len, 6))
		memcpy(n->mac + off, buf, len);
}

static void vnet_kick(struct virtio_dev *v, unsigned q)
{
	struct vnet *n = vnet_of(v);
	unsigned ctrl = virtio_has(v, VIRTIO_NET_F_MQ) ? 2u * n->max_pairs : 2;

	if (!v->driver_ok || v->broken)
		return;
	if (q == ctrl && virtio_has(v, VIRTIO_NET_F_CTRL_VQ))
		vnet_ctrl(n, virtio_queue(v, q));
	else if (q >= 2u * n->max_pairs || (q >= 2 && ctrl == 2))
		return;
	else if (q & 1)
		tx_run(n, q / 2);
	else
		netdev_ready(n->nd);
}

/* Nothing is in flight between callbacks. */
static void vnet_stop(struct virtio_dev *v, int q)
{
	struct vnet *n = vnet_of(v);
	uint32_t gone = q < 0 ? UINT32_MAX : q & 1 ? 1u << q / 2 : 0;

	n->tx_blocked &= ~gone;
	n->tx_more &= ~gone;
	n->rx_notify &= ~(q < 0 ? UINT32_MAX : q & 1 ? 0 : 1u << q / 2);
}

static void vnet_reset(struct virtio_dev *v)
{
	struct vnet *n = vnet_of(v);

	memcpy(n->mac, n->own_mac, 6);
	n->pairs = 1;
	n->guest_offloads = 0;
	n->status = netdev_link(n->nd) ? VIRTIO_NET_S_LINK_UP : 0;
	memset(n->flows, 0, sizeof(n->flows));
	timer_cancel(n->tx_timer);
	timer_cancel(n->announce_timer);
	vnet_filter_reset(n);
	vnet_offloads_apply(n);
	vnet_derive(n);
}

/* The guest came from elsewhere: the network learns where it is now, by the guest if it can. */
static void announce_timer(void *opaque)
{
	struct vnet *n = opaque;
	uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct net_hdr hdr = {0};
	struct iovec iov = {.iov_base = f, .iov_len = sizeof(f)};

	if (virtio_has(&n->v, VIRTIO_NET_F_GUEST_ANNOUNCE | VIRTIO_NET_F_CTRL_VQ)) {
		vnet_status(n, VIRTIO_NET_S_ANNOUNCE, 0);
		return;
	}
	/* RFC 903: a request for our own address. */
	memcpy(f + 6, n->mac, 6);
	memcpy(f + 12, "\x80\x35\0\1\x08\0\6\4\0\3", 10);
	memcpy(f + 22, n->mac, 6);
	memcpy(f + 32, n->mac, 6);
	net_send(n->nd, &hdr, &iov, 1, sizeof(f));
}

static int vnet_post_load(void *obj, struct err **e)
{
	struct vnet *n = obj;

	if (!n->pairs || n->pairs > n->max_pairs)
		return err_set(e, EINVAL, "virtio-net: %u pairs of queues", n->pairs);
	if (n->n_uni > VNET_MACS || n->n_multi > VNET_MACS - n->n_uni)
		return err_set(e, EINVAL, "virtio-net: %u and %u addresses", n->n_uni, n->n_multi);
	if (n->guest_offloads & ~VNET_GUEST_OFFLOADS)
		return err_set(e, EINVAL, "virtio-net: offloads 0x%llx",
			       (unsigned long long)n->guest_offloads);
	vnet_derive(n);
	vnet_offloads_apply(n);
	n->status &= VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE;
	n->tx_blocked = n->tx_more = n->rx_notify = 0;
	memset(n->flows, 0, sizeof(n->flows));
	timer_cancel(n->tx_timer);
	if (n->v.driver_ok)
		timer_arm(n->announce_timer, vclock_now(n->v.env->clock) + ANNOUNCE_DELAY_NS);
	return 0;
}

static const struct state_field vnet_fields[] = {
	STATE_BLOB(struct vnet, mac),
	STATE_FIELD(struct vnet, status, STATE_U16),
	STATE_FIELD(struct vnet, pairs, STATE_U16),
	STATE_FIELD(struct vnet, guest_offloads, STATE_U64),
	STATE_FIELD(struct vnet, promisc, STATE_BOOL),
	STATE_FIELD(struct vnet, allmulti, STATE_BOOL),
	STATE_FIELD(struct vnet, alluni, STATE_BOOL),
	STATE_FIELD(struct vnet, nomulti, STATE_BOOL),
	STATE_FIELD(struct vnet, nouni, STATE_BOOL),
	STATE_FIELD(struct vnet, nobcast, STATE_BOOL),
	STATE_FIELD(struct vnet, uni_overflow, STATE_BOOL),
	STATE_FIELD(struct vnet, multi_overflow, STATE_BOOL),
	STATE_FIELD(struct vnet, n_uni, STATE_U32),
	STATE_FIELD(struct vnet, n_multi, STATE_U32),
	STATE_BLOB(struct vnet, macs),
	STATE_BLOB(struct vnet, vlans),
	STATE_END,
};

static const struct state_desc vnet_state = {
	.name = "virtio-net",
	.version = 1,
	.fields = vnet_fields,
	.post_load = vnet_post_load,
};

static void vnet_unrealize(struct virtio_dev *v)
{
	struct vnet *n = vnet_of(v);

	netdev_detach(n->nd);
	timer_destroy(n->tx_timer);
	timer_destroy(n->announce_timer);
	virtio_fini(v);
	free(n);
}

const struct virtio_ops vnet_ops = {
	.name = "virtio-net",
	.id = VIRTIO_ID_NET,
	.features = vnet_features,
	.config_read = vnet_config_read,
	.config_write = vnet_config_write,
	.features_set = vnet_features_set,
	.started = vnet_started,
	.kick = vnet_kick,
	.stop = vnet_stop,
	.reset = vnet_reset,
	.unrealize = vnet_unrealize,
	.state = &vnet_state,
};

int vnet_start(struct vnet *n, struct err **e)
{
	struct dev_env *env = n->v.env;
	struct net_front front = {
		.lock = env->lock,
		.can_receive = vnet_can_receive,
		.receive = vnet_receive,
		.flush = vnet_flush,
		.sendable = vnet_sendable,
		.link = vnet_link,
		.opaque = n,
		.mtu = n->mtu,
		.name = n->v.id,
	};
	int r = netdev_attach(n->nd, &front, e);

	if (r)
		return r;
	n->tx_timer = timer_new(env->loop, env->clock, env->lock, tx_timer, n);
	n->announce_timer = timer_new(env->loop, env->clock, env->lock, announce_timer, n);
	vnet_reset(&n->v);
	return 0;
}
