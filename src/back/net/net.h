/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Network back ends (-netdev): what a network card's cable is plugged into.  One front end (card) at a
 * time.  All calls with the front's lock held or on the loop thread; callbacks run with front.lock
 * held, on the loop thread or from inside net_send (a peer that answers at once).  The first card is
 * attached on the loop thread or before the loop runs, and front.lock outlives the back end.
 *
 * Frames are Ethernet without FCS, 14 bytes up to NET_FRAME_MAX.  Checksum and segmentation offload
 * travel as the header of virtio 1.2 5.1.6 (struct net_hdr, little-endian): a peer that offers none
 * (netdev_offloads) gets plain frames, the back end does the work before.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

struct chardev;
struct err;
struct lock;
struct log;
struct loop;
struct netdev;

#define NET_FRAME_MAX (65536 + 14 + 8)
#define NET_FRAME_MIN 14

/* virtio 1.2 5.1.6: the virtio_net_hdr without num_buffers. */
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
#define NET_HDR_F_NEEDS_CSUM 1
#define NET_HDR_F_DATA_VALID 2
#define NET_GSO_NONE 0
#define NET_GSO_TCPV4 1
#define NET_GSO_UDP 3
#define NET_GSO_TCPV6 4
#define NET_GSO_ECN 0x80

/* What a side can take (receive) without its being undone first. */
#define NET_OFFLOAD_CSUM 1
#define NET_OFFLOAD_TSO4 2
#define NET_OFFLOAD_TSO6 4
#define NET_OFFLOAD_ECN 8
#define NET_OFFLOAD_UFO 16
#define NET_OFFLOAD_ALL 31

struct net_front {
	struct lock *lock;
	/* Is there room for a frame?  false stops delivery until netdev_ready. */
	bool (*can_receive)(void *opaque);
	/* A frame; hdr is all zero unless the front's offloads allow.  It is copied or dropped: true; or
	 * there is no room for one of this length: false, and it comes again after netdev_ready. */
	bool (*receive)(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
			size_t len);
	/* No more frames for now: the moment for an interrupt; may be NULL. */
	void (*flush)(void *opaque);
	/* The peer takes frames again after net_send returned false; may be NULL. */
	void (*sendable)(void *opaque);
	void (*link)(void *opaque, bool up); /* set_link, a peer that went; may be NULL */
	void *opaque;
	unsigned mtu; /* of the guest's interface; 0: 1500 */
	const char *name; /* id of the card; NULL or "": none.  Lives as long */
};

struct netdev_stats {
	uint64_t tx_frames, tx_bytes, tx_dropped; /* from the card */
	uint64_t rx_frames, rx_bytes, rx_dropped; /* to the card */
};

/*
 * Where a back end gets the chardevs that its options name (guestfwd=...-SPEC).  open gives a front
 * end to attach to, of a new one called id, or with a spec "chardev:ID" of one that there is; 0, or
 * -errno with *e (-ENOENT: no such ID).  The chardev stays its owner's and outlives the back end.
 * Called by netdev_open only, on its thread.
 */
struct net_chardevs {
	int (*open)(void *opaque, const char *id, const char *spec, struct chardev **out,
		    struct err **e);
	void *opaque;
};

/*
 * netdev_open - from a -netdev argument ("user,id=n0,hostfwd=tcp::2222-:22", or the same as JSON);
 * the kinds are listed by netdev_kinds_help.  -EINVAL, -EADDRINUSE, -ENOENT and -EBUSY (a chardev)
 * etc. with *e.  log outlives the back end; chardevs (copied) may be NULL: there are none.
 *
 * netdev_close: loop thread or after the loop ended, no card attached; NULL is fine.
 */
int netdev_open(struct netdev **out, struct loop *loop, struct log *log,
		const struct net_chardevs *chardevs, const char *opts, struct err **e);
void netdev_close(struct netdev *nd);
void netdev_kinds_help(void);

/* netdev_attach - plug the card in; -EBUSY with *e when one is. */
int netdev_attach(struct netdev *nd, const struct net_front *f, struct err **e);
void netdev_detach(struct netdev *nd);
bool netdev_attached(const struct netdev *nd);
const char *netdev_id(const struct netdev *nd);
const char *netdev_card(const struct netdev *nd); /* id of the card, "" for none */
const char *netdev_kind(const struct netdev *nd);
bool netdev_link(const struct netdev *nd);
/* netdev_set_link - pull the cable out, or put it back (monitor's set_link). */
void netdev_set_link(struct netdev *nd, bool up);
/* netdev_queues - how many pairs of queues the card should have (queues=, default 1). */
unsigned netdev_queues(const struct netdev *nd);
const struct netdev_stats *netdev_stats(const struct netdev *nd);
/* netdev_describe - one line for `info network`, as "user: net=10.0.2.0, restrict=off"; malloc'ed. */
char *netdev_describe(const struct netdev *nd);
/* netdev_user_info - table of the user network's connections (`info usernet`); malloc'ed; NULL when nd is
 * of another kind. */
char *netdev_user_info(struct netdev *nd);

/* netdev_offloads - NET_OFFLOAD_* that net_send passes on (or does itself) without being slow. */
unsigned netdev_offloads(const struct netdev *nd);
/* netdev_set_offloads - what the front's receive takes; 0 at attach. */
void netdev_set_offloads(struct netdev *nd, unsigned offloads);
/* net_send - a frame from the card; taken or dropped, never kept: true.  false: the peer is full, the card
 * keeps the frame and sends it again when front.sendable is called. */
bool net_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
	      size_t len);
/* net_batch_begin/end - around several net_send, so that what is done once for all of them is. */
void net_batch_begin(struct netdev *nd);
void net_batch_end(struct netdev *nd);
/* netdev_ready - the card has room again. */
void netdev_ready(struct netdev *nd);

/* netdev_hostfwd_add/remove - "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport" and without the part
 * from "-" on.  For kind "user"; -EINVAL, -EADDRINUSE, -ENOENT with *e. */
int netdev_hostfwd_add(struct netdev *nd, const char *rule, struct err **e);
int netdev_hostfwd_remove(struct netdev *nd, const char *rule, struct err **e);

/*
 * netdump_open - what "-object filter-dump,id=,netdev=,file=[,maxlen=]" asks for: every frame that passes
 * nd goes into a pcap file.  netdump_create is the same from the option's text (without "filter-dump," or
 * with), the back end looked up by find.  netdump_close: before the netdev is closed.
 */
struct netdump;
int netdump_open(struct netdump **out, struct netdev *nd, const char *file, uint32_t maxlen,
		 struct err **e);
int netdump_create(struct netdump **out, const char *opts,
		   struct netdev *(*find)(void *opaque, const char *id), void *opaque,
		   struct err **e);
void netdump_close(struct netdump *d);

/*
 * netdev_parse_nic - what -nic, or the older -net, asks for, taken apart: the text for netdev_open, and
 * driver and properties for -device.  Strings are malloc'ed (net_nic_free); NULL where there is none.
 * With `-nic none` both are NULL.  number: which card of the machine it is (0 is the first), for its name.
 */
struct net_nic {
	char *netdev; /* "user,id=nic0,..." */
	char *driver; /* "virtio-net-pci", "e1000", ... */
	char *props;  /* "netdev=nic0,mac=..." */
};
int netdev_parse_nic(struct net_nic *out, const char *opts, unsigned number, const char *model,
		     struct err **e);
/* netdev_parse_net - one -net option: "nic,..." gives driver and props, anything else netdev; the two
 * belong together by number (-net nic -net user: both 0). */
int netdev_parse_net(struct net_nic *out, const char *opts, unsigned number, const char *model,
		     struct err **e);
void net_nic_free(struct net_nic *n);
