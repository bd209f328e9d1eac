/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a driver of virtio-net, and as what its peer sends.  The input is a list of
 * operations, a byte each and what it needs: chains of buffers for any queue, raw writes into guest
 * memory (rings too), kicks, frames with any header for the card, a peer that is full, resets with
 * other features. The rings begin each time as a driver would make them.  Frames that come out are
 * well formed.
 */
#include <stdlib.h>
#include <string.h>
#include "back/net/netdev_int.h"
#include "back/net/offload.h"
#include "dev/virtio/transport.h"
#include "dev/virtio/virtio_net_int.h"
#include "net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM (1 * MiB)
#define QUEUES 5
#define RING 16
#define RING_AT(q) (0x1000 + 0x1000 * (uint64_t)(q))
#define BUFFERS 0x10000

struct input {
	const uint8_t *p;
	size_t left;
};

struct net {
	struct dev_env env;
	struct lock lock;
	struct netdev nd;
	struct vnet *n;
	bool full;
	unsigned sent;
};

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;
	size_t n = min_u64(bytes, in->left);

	memcpy(&v, in->p, n);
	in->p += n;
	in->left -= n;
	return v;
}

static void frame_check(const struct net_hdr *hdr, const struct iovec *iov, unsigned n, size_t len)
{
	size_t sum = 0;
	volatile uint8_t sink;

	for (unsigned i = 0; i < n; i++) {
		sum += iov[i].iov_len;
		if (iov[i].iov_len) /* all of it can be read */
			sink = ((const uint8_t *)iov[i].iov_base)[iov[i].iov_len - 1];
	}
	(void)sink;
	if (sum != len || len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		abort();
}

static bool peer_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		      unsigned n, size_t len)
{
	struct net *t = nd->priv;

	if (t->full && !nd->sending_pieces)
		return false;
	if (net_needs(hdr) & ~nd->takes)
		abort();
	frame_check(hdr, iov, n, len);
	t->sent++;
	return true;
}

static const struct netdev_kind peer_kind = {.name = "peer", .send = peer_send};

static void notify_queue(struct virtio_dev *v, struct virtq *q)
{
}

static void nothing(struct virtio_dev *v)
{
}

static const struct virtio_transport_ops transport = {
	.notify_queue = notify_queue,
	.notify_config = nothing,
	.reset = nothing,
};

static void queue_set_up(struct net *t, unsigned q)
{
	struct virtq *vq = virtio_queue(&t->n->v, q);

	memset(mem_ram_base(t->env.mem) + RING_AT(q), 0, 0x1000);
	virtio_queue_size(vq, RING);
	virtio_queue_area(vq, VIRTQ_DESC, false, (uint32_t)RING_AT(q));
	virtio_queue_area(vq, VIRTQ_DRIVER, false, (uint32_t)RING_AT(q) + 0x400);
	virtio_queue_area(vq, VIRTQ_DEVICE, false, (uint32_t)RING_AT(q) + 0x800);
	virtio_queue_enable(vq);
}

/* A driver that takes these features, and VERSION_1. */
static void driver_start(struct net *t, uint32_t features)
{
	struct virtio_dev *v = &t->n->v;

	virtio_set_status(v, 0);
	virtio_set_status(v, 3);
	virtio_accept_features(v, 0, features & (uint32_t)v->offered);
	virtio_accept_features(v, 1, 1);
	virtio_set_status(v, 11);
	for (unsigned q = 0; q < QUEUES; q++)
		queue_set_up(t, q);
	virtio_set_status(v, 15);
}

/* A chain of up to four buffers: which are written, and place and length of each. */
static void add_chain(struct net *t, struct input *in)
{
	uint8_t head = (uint8_t)take(in, 1), n = 1 + (head >> 6);
	unsigned q = (head & 63) % QUEUES, at;
	uint8_t write = (uint8_t)take(in, 1);
	uint8_t *ring = mem_ram_base(t->env.mem) + RING_AT(q), *avail = ring + 0x400;
	uint16_t idx = get_le16(avail + 2);

	at = idx * 4u % RING;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *d = ring + 16 * (at + i);

		put_le64(d, BUFFERS + take(in, 2));
		put_le32(d + 8, take(in, 2));
		put_le16(d + 12, (uint16_t)((i + 1 < n ? 1 : 0) | (write >> i & 1 ? 2 : 0)));
		put_le16(d + 14, (uint16_t)(at + i + 1));
	}
	put_le16(avail + 4 + 2 * (idx % RING), (uint16_t)at);
	put_le16(avail + 2, (uint16_t)(idx + 1));
	virtio_queue_kick(&t->n->v, q);
}

static void raw_write(struct net *t, struct input *in)
{
	uint32_t at = take(in, 3) % RAM;
	size_t n = take(in, 1);

	n = min_u64(min_u64(n, RAM - at), in->left);
	memcpy(mem_ram_base(t->env.mem) + at, in->p, n);
	in->p += n;
	in->left -= n;
}

static void hdr_take(struct net_hdr *h, struct input *in)
{
	uint8_t b[sizeof(*h)];

	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)take(in, 1);
	memcpy(h, b, sizeof(b));
}

/* A frame for the card: its beginning is in the input, the rest is zero. */
static void deliver(struct net *t, struct input *in)
{
	uint8_t *f = xzalloc(NET_FRAME_MAX);
	struct net_hdr hdr;
	size_t len = take(in, 2), n = take(in, 1);
	struct iovec iov = {.iov_base = f, .iov_len = len};

	hdr_take(&hdr, in);
	n = min_u64(n, in->left);
	memcpy(f, in->p, n);
	in->p += n;
	in->left -= n;
	net_deliver(&t->nd, &hdr, &iov, 1, len);
	free(f);
}

static void pieces(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		   size_t len)
{
	frame_check(hdr, iov, n, len);
}

/* A frame of exactly the bytes that there are, for software alone. */
static void undo(struct input *in)
{
	struct net_emit emit = {.frame = pieces};
	unsigned takes = take(in, 1);
	struct net_hdr hdr;
	uint8_t *f;
	size_t len, mtu = take(in, 2);

	hdr_take(&hdr, in);
	len = in->left;
	f = malloc(len + !len);
	memcpy(f, in->p, len);
	in->left = 0;
	if (len < NET_FRAME_MIN) {
		free(f);
		return;
	}
	net_undo(&hdr, f, len, takes, &emit);
	net_fragment(f, len, mtu, 1, &emit);
	free(f);
}

static void step(struct net *t, struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);

	switch (op % NET_OPS) {
	case NET_OP_CHAIN:
		add_chain(t, in);
		break;
	case NET_OP_WRITE:
		raw_write(t, in);
		break;
	case NET_OP_DELIVER:
		deliver(t, in);
		break;
	case NET_OP_KICK:
		virtio_queue_kick(&t->n->v, take(in, 1) % (QUEUES + 2));
		break;
	case NET_OP_PEER:
		t->full = take(in, 1) & 1;
		if (!t->full)
			netdev_sendable(&t->nd);
		break;
	case NET_OP_START:
		driver_start(t, take(in, 4));
		break;
	case NET_OP_CONFIG:
		virtio_config_write(&t->n->v, take(in, 1), take(in, 4), 1u << take(in, 1) % 4);
		virtio_config_read(&t->n->v, take(in, 1), 1u << take(in, 1) % 4);
		netdev_set_link(&t->nd, take(in, 1) & 1);
		break;
	case NET_OP_UNDO:
		undo(in);
		break;
	}
	/* A ring that never runs dry is served in turns. */
	lock_drop(&t->lock);
	loop_once(t->env.loop, 0);
	lock_take(&t->lock);
}

static void set_up(struct net *t, unsigned takes)
{
	lock_init(&t->lock, LOCK_RANK_MACHINE, "machine");
	t->env.log = log_create();
	if (mem_create(&t->env.mem, RAM, t->env.log, NULL))
		abort();
	mem_ram_alloc(t->env.mem, RAM);
	mem_map_ram(t->env.mem, GPA(0), RAM, 0, 0);
	t->env.loop = loop_create();
	t->env.clock = vclock_create_manual();
	t->env.lock = &t->lock;
	vclock_start(t->env.clock);
	t->nd = (struct netdev){.kind = &peer_kind,
				.id = (char *)"n",
				.loop = t->env.loop,
				.log = t->env.log,
				.priv = t,
				.link = true,
				.peer_up = true,
				.queues = 2,
				.takes = takes & NET_OFFLOAD_ALL};
	t->nd.q_tail = &t->nd.q;
	t->n = xzalloc(sizeof(*t->n));
	t->n->nd = &t->nd;
	t->n->max_pairs = 2;
	t->n->offer = 0xffffff & ~BIT(4);
	virtio_init(&t->n->v, &vnet_ops, &t->env, "", QUEUES, 256, sizeof(struct vnet_config));
	lock_take(&t->lock);
	if (vnet_start(t->n, NULL))
		abort();
	virtio_attach(&t->n->v, VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX,
		      &transport, t);
	virtio_reset(&t->n->v);
	driver_start(t, UINT32_MAX);
}

static void tear_down(struct net *t)
{
	virtio_reset(&t->n->v);
	vnet_ops.unrealize(&t->n->v);
	lock_drop(&t->lock);
	if (t->nd.q)
		abort();
	free(t->nd.scratch);
	free(t->nd.scratch_rx);
	loop_destroy(t->env.loop);
	vclock_destroy(t->env.clock);
	mem_destroy(t->env.mem);
	log_destroy(t->env.log);
	lock_fini(&t->lock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net t = {0};
	struct input in = {.p = data, .left = size};

	set_up(&t, take(&in, 1));
	for (unsigned i = 0; in.left && i < 1000; i++)
		step(&t, &in);
	tear_down(&t);
	return 0;
}
