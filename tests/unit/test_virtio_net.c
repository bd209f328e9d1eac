/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net between a small driver and a peer that is this test. */
#include "dev_env.h"

#include "back/net/netdev_int.h"
#include "base/err.h"
#include "dev/class.h"
#include "dev/opts.h"
#include "dev/virtio/virtio_net_int.h"
#include "net_frames.h"
#include "virtio_driver.h"

extern const struct dev_class virtio_net_pci_class;

#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_CTRL_GUEST_OFFLOADS BIT(2)
#define F_GUEST_TSO4 BIT(7)
#define F_MRG BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_CTRL_VLAN BIT(19)
#define F_ANNOUNCE BIT(21)
#define F_MQ BIT(22)
#define F_CTRL_MAC BIT(23)
#define HDR 12

/* The other end of the cable. */
struct peer {
	unsigned sent, batches, resumes;
	bool full;
	struct net_hdr hdr;
	size_t len;
	uint8_t frame[NET_FRAME_MAX];
};

static bool peer_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		      unsigned n, size_t len)
{
	struct peer *p = nd->priv;

	if (p->full)
		return false;
	p->sent++;
	p->hdr = *hdr;
	p->len = len;
	assert_int_equal(net_iov_copy(p->frame, len, iov, n, 0), len);
	return true;
}

static void peer_batch_end(struct netdev *nd)
{
	((struct peer *)nd->priv)->batches++;
}

static void peer_resume(struct netdev *nd)
{
	((struct peer *)nd->priv)->resumes++;
}

static const struct netdev_kind peer_kind = {
	.name = "peer",
	.send = peer_send,
	.batch_end = peer_batch_end,
	.resume = peer_resume,
};

struct fixture {
	struct test_env *t;
	struct netdev nd;
	struct peer peer;
	struct vdrv *d;
	uint64_t rx_buf[8][256]; /* by queue and chain */
	uint32_t rx_len;
};

static struct netdev *find_netdev(void *opaque, const char *id)
{
	return opaque;
}

/* The type's create function is behind the class's; a plug that is none takes what it makes. */
static struct virtio_dev *make(struct fixture *f, const char *props)
{
	struct dev_backends b = {.netdev = find_netdev, .opaque = &f->nd};
	struct dev_place place = {.env = &f->t->env, .id = "net0"};
	struct dev_opts *o = vdrv_opts(&virtio_net_pci_class, props, &b);
	struct virtio_dev *v = NULL;
	struct err *e = NULL;

	lock_take(&f->t->lock);
	if (virtio_net_type.create(&place, o, &v, &e))
		fail_msg("%s", err_msg(e));
	lock_drop(&f->t->lock);
	dev_opts_free(o);
	return v;
}

static struct fixture *net_open_queues(const char *props, unsigned queues, uint64_t features)
{
	struct fixture *f = xzalloc(sizeof(*f));

	f->t = env_open();
	f->nd = (struct netdev){.kind = &peer_kind,
				.id = (char *)"n0",
				.loop = f->t->env.loop,
				.log = f->t->env.log,
				.priv = &f->peer,
				.link = true,
				.peer_up = true,
				.queues = queues,
				.takes = NET_OFFLOAD_ALL};
	f->nd.q_tail = &f->nd.q;
	f->d = vdrv_open(f->t, make(f, props), features);
	return f;
}

static struct fixture *net_open(uint64_t features)
{
	struct fixture *f = net_open_queues("netdev=n0", 1, features);

	vdrv_queue(f->d, 0, 64);
	vdrv_queue(f->d, 1, 64);
	vdrv_queue(f->d, 2, 16);
	vdrv_start(f->d);
	return f;
}

static void net_close(struct fixture *f)
{
	vdrv_close(f->d);
	assert_false(f->nd.attached);
	free(f->nd.scratch);
	free(f->nd.scratch_rx);
	env_close(f->t);
	free(f);
}

/* Post n receive buffers of len bytes on queue q. */
static void rx_post(struct fixture *f, unsigned q, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++) {
		struct vbuf b = {vdrv_alloc(f->d, len, 16), len};
		int id = vdrv_add(f->d, q, &b, 0, 1);

		assert_true(id >= 0);
		f->rx_buf[q][id] = b.addr;
	}
	f->rx_len = len;
}

static void deliver_hdr(struct fixture *f, const struct net_hdr *hdr, const void *frame, size_t len)
{
	size_t head = len > 14 ? 14 : len;
	struct iovec iov[2] = {{(void *)frame, head}, {(uint8_t *)frame + head, len - head}};

	lock_take(&f->t->lock);
	net_deliver(&f->nd, hdr, iov, len > head ? 2 : 1, len);
	lock_drop(&f->t->lock);
}

static void deliver(struct fixture *f, const void *frame, size_t len)
{
	static const struct net_hdr plain;

	deliver_hdr(f, &plain, frame, len);
}

/* The next frame of receive queue q, put together; 0: none. */
static size_t rx_take(struct fixture *f, unsigned q, struct net_hdr *hdr, uint8_t *frame)
{
	uint16_t id;
	uint32_t len;
	unsigned parts;
	size_t got;

	if (!vdrv_used(f->d, q, &id, &len))
		return 0;
	memcpy(hdr, vdrv_ptr(f->d, f->rx_buf[q][id]), sizeof(*hdr));
	parts = get_le16((uint8_t *)vdrv_ptr(f->d, f->rx_buf[q][id]) + 10);
	assert_true(len >= HDR && len <= f->rx_len && parts);
	got = len - HDR;
	memcpy(frame, (uint8_t *)vdrv_ptr(f->d, f->rx_buf[q][id]) + HDR, got);
	while (--parts) {
		assert_int_equal(len, f->rx_len); /* all but the last are full */
		assert_true(vdrv_used(f->d, q, &id, &len));
		memcpy(frame + got, vdrv_ptr(f->d, f->rx_buf[q][id]), len);
		got += len;
	}
	return got;
}

static size_t make_frame(uint8_t *f, size_t payload, bool vlan)
{
	struct frame_spec s = {.udp = true,
			       .payload = payload,
			       .vlan = vlan,
			       .src = 2,
			       .dst = 15,
			       .sport = 1000,
			       .dport = 2000};
	size_t n = frame_make(f, &s);

	memcpy(f, "\x52\x54\x00\x12\x34\x56\x52\x55\x0a\x00\x02\x02", 12);
	return n;
}

/* Send: the header in a buffer of its own, or in one with the frame. */
static int tx_add(struct fixture *f, unsigned q, const struct net_hdr *hdr, const void *frame,
		  size_t len, bool apart)
{
	uint64_t a = vdrv_alloc(f->d, HDR + len, 16);
	struct vbuf b[3] = {{a, HDR}, {a + HDR, 10}, {a + HDR + 10, (uint32_t)len - 10}};

	if (hdr)
		memcpy(vdrv_ptr(f->d, a), hdr, sizeof(*hdr));
	memcpy(vdrv_ptr(f->d, a + HDR), frame, len);
	if (apart)
		return vdrv_add(f->d, q, b, 3, 0);
	b[0].len = HDR + (uint32_t)len;
	return vdrv_add(f->d, q, b, 1, 0);
}

static void sends_and_interrupts_once(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);
	uint8_t frame[2048];
	uint16_t id;
	uint32_t len;
	size_t n = make_frame(frame, 900, true);

	vdrv_ask(f->d, 1, true);
	for (unsigned i = 0; i < 5; i++)
		tx_add(f, 1, NULL, frame, n, i & 1);
	vdrv_kick(f->d, 1);
	assert_int_equal(f->peer.sent, 5);
	assert_int_equal(f->peer.batches, 1);
	assert_int_equal(f->peer.len, n);
	assert_memory_equal(f->peer.frame, frame, n);
	assert_int_equal(f->d->q[1].interrupts, 1);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(vdrv_used(f->d, 1, &id, &len));
		assert_int_equal(len, 0);
	}
	net_close(f);
}

static void offload_headers_pass(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);
	struct frame_spec s = {
		.payload = 9000, .partial = true, .flags = 0x18, .src = 15, .dst = 2};
	struct net_hdr hdr = {.flags = 1,
			      .gso_type = NET_GSO_TCPV4,
			      .hdr_len = 54,
			      .gso_size = 1460,
			      .csum_start = 34,
			      .csum_offset = 16};
	uint8_t *frame = xzalloc(NET_FRAME_MAX);
	size_t n = frame_make(frame, &s);

	tx_add(f, 1, &hdr, frame, n, true);
	vdrv_kick(f->d, 1);
	assert_int_equal(f->peer.sent, 1);
	assert_memory_equal(&f->peer.hdr, &hdr, sizeof(hdr));
	assert_memory_equal(f->peer.frame, frame, n);
	f->nd.takes = 0; /* a peer that takes nothing gets pieces */
	tx_add(f, 1, &hdr, frame, n, true);
	vdrv_kick(f->d, 1);
	assert_int_equal(f->peer.sent, 1 + 7);
	assert_true(frame_sums_ok(f->peer.frame, 14, false));
	free(frame);
	net_close(f);
}

/* A full peer: the frame stays in the ring, in order, until there is room. */
static void full_peer(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);
	uint8_t frame[256];
	uint16_t id;
	uint32_t len;
	size_t n = make_frame(frame, 100, false);

	f->peer.full = true;
	for (unsigned i = 0; i < 3; i++) {
		frame[60] = (uint8_t)i;
		tx_add(f, 1, NULL, frame, n, true);
	}
	vdrv_kick_always(f->d, 1);
	vdrv_kick_always(f->d, 1);
	assert_int_equal(f->peer.sent, 0);
	assert_false(vdrv_used(f->d, 1, &id, &len));
	f->peer.full = false;
	lock_take(&f->t->lock);
	netdev_sendable(&f->nd);
	lock_drop(&f->t->lock);
	assert_int_equal(f->peer.sent, 3);
	assert_int_equal(f->peer.frame[60], 2);
	assert_int_equal(f->peer.len, n);
	net_close(f);
}

static void receives(void **state)
{
	struct fixture *f = net_open(VDRV_ALL & ~F_MRG);
	uint8_t frame[2048], got[2048];
	struct net_hdr hdr;
	size_t n = make_frame(frame, 1000, false);

	vdrv_ask(f->d, 0, true);
	rx_post(f, 0, 2, 2048);
	deliver(f, frame, n);
	assert_int_equal(f->d->q[0].interrupts, 1);
	assert_int_equal(rx_take(f, 0, &hdr, got), n);
	assert_memory_equal(got, frame, n);
	assert_int_equal(hdr.flags, 0);
	net_close(f);
}

static void merges_buffers(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);
	uint8_t *frame = xzalloc(NET_FRAME_MAX), *got = xzalloc(NET_FRAME_MAX);
	struct net_hdr hdr;

	rx_post(f, 0, 60, 512);
	for (size_t payload = 400; payload < 6000; payload += 77) {
		size_t n = make_frame(frame, payload, false);

		while (f->d->q[0].n_free < 64 - 40)
			break;
		deliver(f, frame, n);
		assert_int_equal(rx_take(f, 0, &hdr, got), n);
		assert_memory_equal(got, frame, n);
		rx_post(f, 0, f->d->q[0].n_free > 4 ? f->d->q[0].n_free - 4u : 0, 512);
		vdrv_kick(f->d, 0);
	}
	free(frame);
	free(got);
	net_close(f);
}

/* Without buffers frames wait; the kick after new ones brings them, in order.  A frame for which
 * the buffers do not suffice takes none of them. */
static void waits_for_buffers(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);
	uint8_t frame[4096], got[4096];
	struct net_hdr hdr;
	size_t n = make_frame(frame, 3000, false), small = make_frame(got, 100, false);

	rx_post(f, 0, 2, 1024);
	deliver(f, frame, n);
	deliver(f, got, small);
	assert_int_equal(rx_take(f, 0, &hdr, got), 0);
	assert_false(net_may_deliver(&f->nd));
	rx_post(f, 0, 1, 1024);
	vdrv_kick(f->d, 0);
	assert_int_equal(rx_take(f, 0, &hdr, got), n);
	assert_memory_equal(got, frame, n);
	assert_int_equal(rx_take(f, 0, &hdr, got), 0);
	rx_post(f, 0, 2, 1024);
	vdrv_kick(f->d, 0);
	assert_int_equal(rx_take(f, 0, &hdr, got), small);
	assert_true(f->peer.resumes > 0);
	assert_true(net_may_deliver(&f->nd));
	net_close(f);
}

static void stopped_guest_gets_nothing(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);
	uint8_t frame[256], got[256];
	struct net_hdr hdr;
	size_t n = make_frame(frame, 100, false);

	rx_post(f, 0, 4, 1024);
	vclock_stop(f->t->env.clock);
	deliver(f, frame, n);
	assert_int_equal(rx_take(f, 0, &hdr, got), 0);
	vclock_start(f->t->env.clock);
	vdrv_kick_always(f->d, 0);
	assert_int_equal(rx_take(f, 0, &hdr, got), n);
	net_close(f);
}

static uint8_t ctrl(struct fixture *f, uint8_t class, uint8_t cmd, const void *data, size_t len)
{
	uint64_t a = vdrv_alloc(f->d, len + 3, 16);
	uint8_t *p = vdrv_ptr(f->d, a);
	struct vbuf b[3] = {{a, 2}, {a + 2, (uint32_t)len}, {a + 2 + len, 1}};
	uint16_t id;
	uint32_t used;

	p[0] = class;
	p[1] = cmd;
	if (len)
		memcpy(p + 2, data, len);
	p[2 + len] = 0x55;
	if (!len) {
		b[1] = b[2];
		assert_true(vdrv_add(f->d, 2, b, 1, 1) >= 0);
	} else {
		assert_true(vdrv_add(f->d, 2, b, 2, 1) >= 0);
	}
	vdrv_kick_always(f->d, 2);
	assert_true(vdrv_used(f->d, 2, &id, &used));
	assert_int_equal(used, 1);
	return p[2 + len];
}

static bool gets(struct fixture *f, const char *dst, int vlan)
{
	uint8_t frame[256], got[256];
	struct net_hdr hdr;
	size_t n = make_frame(frame, 100, vlan >= 0), r;

	memcpy(frame, dst, 6);
	if (vlan >= 0)
		set16(frame + 14, 0xa000u | (unsigned)vlan);
	deliver(f, frame, n);
	r = rx_take(f, 0, &hdr, got);
	if (r) {
		rx_post(f, 0, 1, 1024);
		vdrv_kick(f->d, 0);
	}
	return r != 0;
}

#define OWN "\x52\x54\x00\x12\x34\x56"
#define OTHER "\x52\x54\x00\x12\x34\x99"
#define MULTI "\x33\x33\x00\x00\x00\x01"
#define MULTI2 "\x33\x33\x00\x00\x00\x02"
#define BROAD "\xff\xff\xff\xff\xff\xff"

static void receive_filter(void **state)
{
	static const uint8_t on = 1, off = 0;
	struct fixture *f = net_open(VDRV_ALL);
	uint8_t table[4 + 6 + 4 + 6] = {1}, big[4 + 4 + 65 * 6] = {0};

	rx_post(f, 0, 8, 1024);
	assert_true(gets(f, OTHER, -1)); /* promiscuous at first */
	assert_int_equal(ctrl(f, 0, 0, &off, 1), 0);
	assert_false(gets(f, OTHER, -1));
	assert_true(gets(f, OWN, -1));
	assert_true(gets(f, BROAD, -1));
	assert_false(gets(f, MULTI, -1));
	/* MAC_TABLE_SET: one of each kind. */
	memcpy(table + 4, OTHER, 6);
	table[10] = 1;
	memcpy(table + 14, MULTI, 6);
	assert_int_equal(ctrl(f, 1, 0, table, sizeof(table)), 0);
	assert_true(gets(f, OTHER, -1));
	assert_true(gets(f, MULTI, -1));
	assert_false(gets(f, MULTI2, -1));
	/* 65 multicast addresses are too many to remember: all come in. */
	put_le32(big + 4, 65);
	assert_int_equal(ctrl(f, 1, 0, big, sizeof(big)), 0);
	assert_true(gets(f, MULTI2, -1));
	assert_false(gets(f, OTHER, -1));
	/* A count that lies changes nothing. */
	put_le32(big + 4, 0xffffffff);
	assert_int_equal(ctrl(f, 1, 0, big, sizeof(big)), 1);
	assert_int_equal(ctrl(f, 1, 0, big, 3), 1);
	assert_true(gets(f, MULTI2, -1));
	/* Modes. */
	put_le32(big + 4, 0);
	assert_int_equal(ctrl(f, 1, 0, big, 8), 0);
	assert_false(gets(f, MULTI2, -1));
	assert_int_equal(ctrl(f, 0, 1, &on, 1), 0); /* allmulti */
	assert_true(gets(f, MULTI2, -1));
	assert_int_equal(ctrl(f, 0, 3, &on, 1), 0); /* nomulti */
	assert_false(gets(f, MULTI2, -1));
	assert_int_equal(ctrl(f, 0, 2, &on, 1), 0); /* alluni */
	assert_true(gets(f, OTHER, -1));
	assert_int_equal(ctrl(f, 0, 4, &on, 1), 0); /* nouni */
	assert_false(gets(f, OWN, -1));
	assert_int_equal(ctrl(f, 0, 4, &off, 1), 0);
	assert_int_equal(ctrl(f, 0, 5, &on, 1), 0); /* nobcast */
	assert_false(gets(f, BROAD, -1));
	assert_int_equal(ctrl(f, 0, 6, &on, 1), 1);
	assert_int_equal(ctrl(f, 9, 0, &on, 1), 1);
	/* An address of its own choice. */
	assert_int_equal(ctrl(f, 0, 2, &off, 1), 0);
	assert_int_equal(ctrl(f, 1, 1, OTHER, 6), 0);
	assert_true(gets(f, OTHER, -1));
	assert_false(gets(f, OWN, -1));
	assert_int_equal(ctrl(f, 1, 1, OTHER, 5), 1);
	net_close(f);
}

static void vlan_filter(void **state)
{
	static const uint8_t off = 0;
	uint8_t vid[2] = {5, 0};
	struct fixture *f = net_open(VDRV_ALL);

	rx_post(f, 0, 8, 1024);
	assert_int_equal(ctrl(f, 0, 0, &off, 1), 0);
	assert_false(gets(f, OWN, 5));
	assert_true(gets(f, OWN, 0)); /* a priority alone */
	assert_int_equal(ctrl(f, 2, 0, vid, 2), 0);
	assert_true(gets(f, OWN, 5));
	assert_false(gets(f, OWN, 6));
	assert_int_equal(ctrl(f, 2, 1, vid, 2), 0);
	assert_false(gets(f, OWN, 5));
	put_le16(vid, 4096);
	assert_int_equal(ctrl(f, 2, 0, vid, 2), 1);
	net_close(f);
	/* Who has no filter gets all. */
	f = net_open(VDRV_ALL & ~F_CTRL_VLAN);
	rx_post(f, 0, 8, 1024);
	assert_int_equal(ctrl(f, 0, 0, &off, 1), 0);
	assert_true(gets(f, OWN, 5));
	net_close(f);
}

static void guest_offloads(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);
	struct frame_spec s = {
		.payload = 4000, .partial = true, .flags = 0x18, .src = 2, .dst = 15};
	struct net_hdr in = {.flags = 1,
			     .gso_type = NET_GSO_TCPV4,
			     .gso_size = 1460,
			     .csum_start = 34,
			     .csum_offset = 16},
		       hdr;
	uint8_t frame[8192], got[8192], le[8];
	size_t n = frame_make(frame, &s);

	assert_int_equal(f->nd.front_takes, NET_OFFLOAD_ALL);
	rx_post(f, 0, 40, 1024);
	deliver_hdr(f, &in, frame, n);
	assert_int_equal(rx_take(f, 0, &hdr, got), n);
	assert_memory_equal(&hdr, &in, sizeof(in));
	put_le64(le, F_GUEST_CSUM);
	assert_int_equal(ctrl(f, 5, 0, le, 8), 0);
	assert_int_equal(f->nd.front_takes, NET_OFFLOAD_CSUM);
	deliver_hdr(f, &in, frame, n);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rx_take(f, 0, &hdr, got), i < 2 ? 1514 : 54 + 1080);
		assert_int_equal(hdr.gso_type, 0);
		assert_true(frame_sums_ok(got, 14, false));
	}
	put_le64(le, F_CSUM); /* not one of those */
	assert_int_equal(ctrl(f, 5, 0, le, 8), 1);
	net_close(f);
	f = net_open(VDRV_ALL & ~(F_GUEST_TSO4 | F_CTRL_GUEST_OFFLOADS));
	assert_int_equal(f->nd.front_takes, NET_OFFLOAD_ALL & ~NET_OFFLOAD_TSO4);
	put_le64(le, 0);
	assert_int_equal(ctrl(f, 5, 0, le, 8), 1);
	vdrv_reset(f->d);
	assert_int_equal(f->nd.front_takes, 0);
	net_close(f);
}

static uint64_t config(struct fixture *f, unsigned off, unsigned size)
{
	uint64_t v;

	lock_take(&f->t->lock);
	v = virtio_config_read(f->d->v, off, size);
	lock_drop(&f->t->lock);
	return v;
}

static void configuration(void **state)
{
	struct fixture *f = net_open_queues("netdev=n0,mac=52:54:00:aa:bb:cc,host_mtu=9000,"
					    "speed=2500,duplex=full,mq=on",
					    4, VDRV_ALL);

	assert_int_equal(config(f, 0, 4), 0xaa005452);
	assert_int_equal(config(f, 4, 2), 0xccbb);
	assert_int_equal(config(f, 6, 2), 1);
	assert_int_equal(config(f, 8, 2), 4);
	assert_int_equal(config(f, 10, 2), 9000);
	assert_int_equal(config(f, 12, 4), 2500);
	assert_int_equal(config(f, 16, 1), 1);
	assert_true(virtio_has(f->d->v, BIT(3) | BIT(5) | F_MQ | BIT(63)));
	assert_int_equal(f->nd.front.mtu, 9000);
	net_close(f);
	f = net_open_queues("netdev=n0,ctrl_vq=off,guest_csum=off,csum=off", 4, VDRV_ALL);
	assert_int_equal(config(f, 0, 4), 0x12005452); /* 52:54:00:12:34:56 */
	assert_int_equal(config(f, 4, 2), 0x5634);
	assert_int_equal(config(f, 8, 2), 1);
	assert_int_equal(f->d->v->features & 0xffffff & ~(F_MRG | F_STATUS | BIT(5)), 0);
	net_close(f);
}

static void link_status(void **state)
{
	struct fixture *f = net_open(VDRV_ALL);

	lock_take(&f->t->lock);
	netdev_set_link(&f->nd, false);
	lock_drop(&f->t->lock);
	assert_int_equal(config(f, 6, 2), 0);
	assert_int_equal(f->d->config_interrupts, 1);
	lock_take(&f->t->lock);
	netdev_set_link(&f->nd, true);
	lock_drop(&f->t->lock);
	assert_int_equal(config(f, 6, 2), 1);
	assert_int_equal(f->d->config_interrupts, 2);
	net_close(f);
}

/* Each flow comes in where the driver sends it. */
static void several_pairs(void **state)
{
	struct fixture *f = net_open_queues("netdev=n0,mq=on", 2, VDRV_ALL);
	uint8_t frame[256], got[256], two[2] = {2, 0}, three[2] = {3, 0};
	struct net_hdr hdr;
	struct frame_spec out = {
		.udp = true, .payload = 50, .src = 15, .dst = 2, .sport = 7, .dport = 8};
	struct frame_spec in = {
		.udp = true, .payload = 50, .src = 2, .dst = 15, .sport = 8, .dport = 7};
	uint64_t a;
	struct vbuf b[2];
	uint16_t id;
	uint32_t len;
	size_t n;

	for (unsigned i = 0; i < 5; i++)
		vdrv_queue(f->d, i, 16);
	vdrv_start(f->d);
	for (unsigned pass = 0; pass < 2; pass++) { /* the control queue is the last */
		a = vdrv_alloc(f->d, 16, 16);
		memcpy(vdrv_ptr(f->d, a), (uint8_t[]){4, 0}, 2);
		memcpy((uint8_t *)vdrv_ptr(f->d, a) + 2, pass ? two : three, 2);
		b[0] = (struct vbuf){a, 4};
		b[1] = (struct vbuf){a + 8, 1};
		vdrv_add(f->d, 4, b, 1, 1);
		vdrv_kick_always(f->d, 4);
		assert_true(vdrv_used(f->d, 4, &id, &len));
		assert_int_equal(*(uint8_t *)vdrv_ptr(f->d, a + 8), !pass);
	}
	rx_post(f, 0, 4, 1024);
	n = frame_make(frame, &in);
	deliver(f, frame, n);
	assert_int_equal(rx_take(f, 0, &hdr, got), n);
	n = frame_make(frame, &out);
	tx_add(f, 3, NULL, frame, n, true);
	vdrv_kick(f->d, 3);
	assert_int_equal(f->peer.sent, 1);
	rx_post(f, 2, 4, 1024);
	n = frame_make(frame, &in);
	deliver(f, frame, n);
	assert_int_equal(rx_take(f, 2, &hdr, got), n);
	in.sport = 9;
	n = frame_make(frame, &in);
	deliver(f, frame, n);
	rx_take(f, 0, &hdr, got);
	net_close(f);
}

/* Queue n as a legacy driver lays it out (2.7.2): of the device's size, in one piece. */
static void legacy_queue(struct fixture *f, unsigned n)
{
	struct vring *q = vdrv_queue(f->d, n, 256);

	q->desc = vdrv_alloc(f->d, 4 * 4096, 4096);
	q->avail = q->desc + 16 * 256;
	q->used = q->desc + 2 * 4096;
	lock_take(&f->t->lock);
	virtio_queue_legacy(virtio_queue(f->d->v, n), (uint32_t)(q->desc / 4096), 4096, 4096);
	lock_drop(&f->t->lock);
}

/* A legacy header has no num_buffers unless buffers are merged. */
static void legacy_header(void **state)
{
	struct fixture *f = net_open_queues("netdev=n0", 1, 0);
	struct virtio_dev *v = f->d->v;
	uint8_t frame[256], *p;
	struct vbuf b;
	uint16_t id;
	uint32_t len;
	size_t n = make_frame(frame, 60, false);

	lock_take(&f->t->lock);
	virtio_set_status(v, 0);
	virtio_set_status(v, 3);
	virtio_accept_legacy(v, 0);
	lock_drop(&f->t->lock);
	legacy_queue(f, 0);
	legacy_queue(f, 1);
	lock_take(&f->t->lock);
	virtio_set_status(v, 7);
	lock_drop(&f->t->lock);
	b = (struct vbuf){vdrv_alloc(f->d, 512, 16), 512};
	vdrv_add(f->d, 0, &b, 0, 1);
	deliver(f, frame, n);
	assert_true(vdrv_used(f->d, 0, &id, &len));
	assert_int_equal(len, 10 + n);
	assert_memory_equal((uint8_t *)vdrv_ptr(f->d, b.addr) + 10, frame, n);
	b = (struct vbuf){vdrv_alloc(f->d, 512, 16), 10 + (uint32_t)n};
	p = vdrv_ptr(f->d, b.addr);
	memcpy(p + 10, frame, n);
	vdrv_add(f->d, 1, &b, 1, 0);
	vdrv_kick_always(f->d, 1);
	assert_int_equal(f->peer.sent, 1);
	assert_memory_equal(f->peer.frame, frame, n);
	net_close(f);
}

/* What a driver must not do breaks its device, and nothing else; after a reset all is well. */
static void hostile_driver(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct fixture *f = net_open(i == 3 ? VDRV_ALL & ~F_MRG : VDRV_ALL);
		uint64_t a = vdrv_alloc(f->d, 4096, 16);
		struct vbuf b[2] = {{a, 8}, {a + 16, 1}};
		uint8_t frame[2000];
		size_t n = make_frame(frame, 1000, false);

		switch (i) {
		case 0: /* shorter than a header */
			vdrv_add(f->d, 1, b, 1, 0);
			vdrv_kick_always(f->d, 1);
			break;
		case 1: /* no room for the header, or at all */
			vdrv_add(f->d, 0, b, 0, 1);
			deliver(f, frame, n);
			break;
		case 2: /* a command without room for its answer */
			vdrv_add(f->d, 2, b, 1, 0);
			vdrv_kick_always(f->d, 2);
			break;
		default: /* a buffer too short for a frame loses the frame, and is none of our
			    business */
			b[0].len = 500;
			vdrv_add(f->d, 0, b, 0, 1);
			deliver(f, frame, n);
			assert_true(net_may_deliver(&f->nd));
			assert_false(f->d->v->broken);
			net_close(f);
			continue;
		}
		assert_true(f->d->v->broken);
		deliver(f, frame, n);
		vdrv_kick_always(f->d, 1);
		vdrv_kick_always(f->d, 0);
		net_close(f);
	}
}

/* Frames of no length and of too much are dropped, the chains come back. */
static void odd_lengths(void **state)
{
	static const uint32_t lens[] = {HDR, HDR + 1, HDR + 13, HDR + 65559, HDR + 300000};
	struct fixture *f = net_open(VDRV_ALL);
	uint64_t a = vdrv_alloc(f->d, 400000, 16);
	uint16_t id;
	uint32_t len;

	for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
		struct vbuf b = {a, lens[i]};

		vdrv_add(f->d, 1, &b, 1, 0);
		vdrv_kick(f->d, 1);
		assert_true(vdrv_used(f->d, 1, &id, &len));
	}
	assert_int_equal(f->peer.sent, 0);
	assert_int_equal(f->nd.stats.tx_dropped, ARRAY_SIZE(lens));
	assert_false(f->d->v->broken);
	net_close(f);
}

/* The state goes from one device to another, which then tells the network where the guest is. */
static void saved_state(void **state)
{
	static const uint8_t off = 0;
	struct fixture *f = net_open(VDRV_ALL), *g;
	struct state_buf s = {0};
	size_t used;
	struct err *e = NULL;
	uint8_t table[8] = {0};

	rx_post(f, 0, 8, 1024);
	assert_int_equal(ctrl(f, 0, 0, &off, 1), 0);
	assert_int_equal(ctrl(f, 1, 1, OTHER, 6), 0);
	assert_int_equal(ctrl(f, 1, 0, table, 8), 0);
	lock_take(&f->t->lock);
	state_save(&s, &f->d->v->saved, f->d->v);
	lock_drop(&f->t->lock);

	g = net_open_queues("netdev=n0", 1, VDRV_ALL);
	memcpy(mem_ram_base(g->t->env.mem), mem_ram_base(f->t->env.mem), TEST_RAM);
	memcpy(g->d->q, f->d->q, sizeof(f->d->q));
	memcpy(g->rx_buf, f->rx_buf, sizeof(f->rx_buf));
	g->rx_len = f->rx_len;
	g->d->heap = f->d->heap;
	lock_take(&g->t->lock);
	if (state_load(&g->d->v->saved, g->d->v, s.data, s.len, &used, &e))
		fail_msg("%s", err_msg(e));
	lock_drop(&g->t->lock);
	assert_true(gets(g, OTHER, -1));
	assert_false(gets(g, OWN, -1));
	assert_int_equal(g->nd.front_takes, NET_OFFLOAD_ALL);
	wait_for(g->t, config(g, 6, 2) == 3);
	assert_true(g->d->config_interrupts > 0);
	assert_int_equal(ctrl(g, 3, 0, NULL, 0), 0);
	assert_int_equal(config(g, 6, 2), 1);
	assert_int_equal(ctrl(g, 3, 0, NULL, 0), 1);
	/* More addresses than there is room for: not from us. */
	for (size_t i = 0; i + 12 < s.len; i++)
		if (!memcmp(s.data + i, "n_uni", 5)) {
			put_le32(s.data + i + 5 + 5, 65);
			break;
		}
	lock_take(&g->t->lock);
	assert_int_equal(state_load(&g->d->v->saved, g->d->v, s.data, s.len, &used, &e), -22);
	lock_drop(&g->t->lock);
	err_free(&e);
	free(s.data);
	net_close(g);
	net_close(f);
}

/* A driver that cannot announce itself is announced. */
static void announced_by_us(void **state)
{
	struct fixture *f = net_open(VDRV_ALL & ~F_ANNOUNCE);
	struct state_buf s = {0};
	size_t used;

	lock_take(&f->t->lock);
	state_save(&s, &f->d->v->saved, f->d->v);
	assert_int_equal(state_load(&f->d->v->saved, f->d->v, s.data, s.len, &used, NULL), 0);
	lock_drop(&f->t->lock);
	wait_for(f->t, f->peer.sent == 1);
	assert_int_equal(be16(f->peer.frame + 12), 0x8035);
	assert_memory_equal(f->peer.frame + 6, OWN, 6);
	free(s.data);
	net_close(f);
}

static void packed_ring(void **state)
{
	struct fixture *f = net_open(~UINT64_C(0));
	uint8_t frame[8192], got[8192];
	struct net_hdr hdr;

	assert_true(virtio_has(f->d->v, VIRTIO_F_RING_PACKED));
	rx_post(f, 0, 32, 1024);
	for (unsigned i = 0; i < 12; i++) {
		size_t n = make_frame(frame, 100 + 300 * i, false);

		deliver(f, frame, n);
		assert_int_equal(rx_take(f, 0, &hdr, got), n);
		assert_memory_equal(got, frame, n);
		tx_add(f, 1, NULL, frame, n, true);
		vdrv_kick(f->d, 1);
		assert_int_equal(f->peer.sent, i + 1);
		assert_int_equal(f->peer.len, n);
		rx_post(f, 0, f->d->q[0].n_free > 32 ? f->d->q[0].n_free - 32u : 0, 1024);
		vdrv_kick(f->d, 0);
	}
	net_close(f);
}

static void bad_properties(void **state)
{
	static const struct {
		const char *props, *says;
	} bad[] = {
		{"netdev=n0,mac=53:54:00:00:00:01", "multicast"},
		{"netdev=n0,host_mtu=67", "host_mtu"},
		{"netdev=n0,rx_queue_size=300", "rx_queue_size"},
		{"netdev=n0,tx_queue_size=128", "tx_queue_size"},
		{"mac=52:54:00:00:00:01", "'netdev'"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct kvlist kv = {0};
		struct dev_opts *o = NULL;
		struct err *e = NULL;

		assert_int_equal(kv_parse(&kv, bad[i].props, NULL, &e), 0);
		assert_int_equal(dev_opts_parse(&o, &virtio_net_pci_class, &kv, &e), 0);
		assert_int_equal(virtio_net_pci_class.check(o, &e), -22);
		dev_opts_free(o);
		if (!strstr(err_msg(e), bad[i].says))
			fail_msg("'%s': %s", bad[i].props, err_msg(e));
		err_free(&e);
		kv_free(&kv);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_and_interrupts_once),
		cmocka_unit_test(offload_headers_pass),
		cmocka_unit_test(full_peer),
		cmocka_unit_test(receives),
		cmocka_unit_test(merges_buffers),
		cmocka_unit_test(waits_for_buffers),
		cmocka_unit_test(stopped_guest_gets_nothing),
		cmocka_unit_test(receive_filter),
		cmocka_unit_test(vlan_filter),
		cmocka_unit_test(guest_offloads),
		cmocka_unit_test(configuration),
		cmocka_unit_test(link_status),
		cmocka_unit_test(several_pairs),
		cmocka_unit_test(legacy_header),
		cmocka_unit_test(hostile_driver),
		cmocka_unit_test(odd_lengths),
		cmocka_unit_test(saved_state),
		cmocka_unit_test(announced_by_us),
		cmocka_unit_test(packed_ring),
		cmocka_unit_test(bad_properties),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
