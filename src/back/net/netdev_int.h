/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between the core of network back ends and their kinds. */
#include "back/net/net.h"
#include "base/base.h"
#include "base/kvlist.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/loop.h"

#define NET_QUEUE_FRAMES 1024
#define NET_QUEUE_BYTES (4 * MiB)
#define NET_QUEUES_MAX 16

struct netdev_kind {
	const char *name, *help;
	/* Open what opts say; nd->priv is the kind's.  0 or -errno with *e. */
	int (*open)(struct netdev *nd, struct kvlist *opts, struct err **e);
	void (*close)(struct netdev *nd);
	/* A frame from the card, which needs no more than nd->takes.  false: full; the kind calls
	 * netdev_sendable later. */
	bool (*send)(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		     unsigned n, size_t len);
	bool (*full)(const struct netdev *nd); /* would send be refused?  NULL: never */
	void (*batch_end)(struct netdev *nd); /* after some send; may be NULL */
	void (*resume)(struct netdev *nd); /* net_may_deliver is true again; may be NULL */
	void (*offloads)(struct netdev *nd, unsigned offloads); /* the front's; may be NULL */
	void (*attached)(struct netdev *nd, bool yes); /* may be NULL */
	char *(*describe)(const struct netdev *nd); /* malloc'ed */
};

/* A frame that waits for room in the card. */
struct net_frame {
	struct net_frame *next;
	struct net_hdr hdr;
	size_t len;
	uint8_t data[];
};

struct netdev {
	const struct netdev_kind *kind;
	char *id;
	struct loop *loop;
	struct log *log;
	struct net_chardevs chardevs; /* open is NULL: there are none */
	void *priv;
	unsigned takes; /* NET_OFFLOAD_* that kind->send takes */
	unsigned queues;

	struct lock *lock; /* of the first front on */
	struct net_front front;
	bool attached;
	bool link; /* the cable is in */
	bool peer_up; /* something is at its other end */
	unsigned front_takes;
	unsigned batch; /* depth of net_batch_begin */
	bool sending_pieces; /* of a frame that was accepted */
	bool batch_sent; /* something went to kind->send */
	unsigned delivering; /* depth of net_deliver_begin */
	bool delivered;

	struct net_frame *q, **q_tail;
	size_t q_frames, q_bytes;
	uint8_t *scratch; /* NET_FRAME_MAX bytes, for frames from the card */
	uint8_t *scratch_rx;
	struct netdump *dumps;
	struct netdev_stats stats;
};

extern const struct netdev_kind netdev_user, netdev_tap, netdev_stream, netdev_dgram, netdev_socket;

/* net_lock - take the front's lock if there has been a front; loop thread, nothing held. */
void net_lock(struct netdev *nd);
void net_unlock(struct netdev *nd);

/* To the card; lock held.  Frames that it has no room for are queued, up to a bound.  A kind that
 * can wait reads its source only while net_may_deliver, and goes on at kind->resume. */
bool net_may_deliver(const struct netdev *nd);
void net_deliver_begin(struct netdev *nd);
void net_deliver(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		 size_t len);
void net_deliver_end(struct netdev *nd);

/* netdev_sendable - the peer takes frames again; netdev_peer_link - it came or went. */
void netdev_sendable(struct netdev *nd);
void netdev_peer_link(struct netdev *nd, bool up);

/* dump.c */
void netdump_frame(struct netdump *d, const struct iovec *iov, unsigned n, size_t len);
void netdump_gone(struct netdump *d);

/* Copy out of a list of buffers: bytes copied. */
size_t net_iov_copy(void *buf, size_t size, const struct iovec *iov, unsigned n, size_t off);
