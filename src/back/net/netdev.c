/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Core of network back ends: one card, one peer, and what lies between them.
 *
 * From the card (net_send): what the peer cannot take undone (a checksum, a large segment) is
 * undone here, in a buffer of our own; the pieces of one frame are sent whether or not the peer is
 * full by then, which kinds allow for.  The frame itself is never kept: a full peer says so before,
 * and the card waits for front.sendable.
 *
 * To the card (net_deliver): frames go to front.receive as long as it takes them, then into a queue
 * bounded in frames and bytes, then they are dropped, as on a wire.  Kinds whose source can wait
 * look at net_may_deliver first, so that the queue stays short.
 *
 * Everything here runs with the front's lock held.  A loop callback of a kind takes it by net_lock,
 * which finds none before the first card came: then only the loop thread knows the back end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/net/netdev_int.h"
#include "back/net/offload.h"
#include "base/err.h"

void net_lock(struct netdev *nd)
{
	if (nd->lock)
		lock_take(nd->lock);
}

void net_unlock(struct netdev *nd)
{
	if (nd->lock)
		lock_drop(nd->lock);
}

size_t net_iov_copy(void *buf, size_t size, const struct iovec *iov, unsigned n, size_t off)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < size; i++) {
		size_t part = iov[i].iov_len;

		if (off >= part) {
			off -= part;
			continue;
		}
		part = min_u64(part - off, size - done);
		memcpy((uint8_t *)buf + done, (const uint8_t *)iov[i].iov_base + off, part);
		done += part;
		off = 0;
	}
	return done;
}

int netdev_attach(struct netdev *nd, const struct net_front *f, struct err **e)
{
	if (nd->attached)
		return err_set(e, EBUSY, "network back end '%s' has a card already", nd->id);
	bug_on(nd->lock && nd->lock != f->lock);
	nd->front = *f;
	nd->lock = f->lock;
	nd->attached = true;
	nd->front_takes = 0;
	if (!nd->front.mtu)
		nd->front.mtu = 1500;
	if (nd->kind->attached)
		nd->kind->attached(nd, true);
	return 0;
}

const char *netdev_card(const struct netdev *nd)
{
	return nd->attached && nd->front.name ? nd->front.name : "";
}

static void queue_clear(struct netdev *nd)
{
	while (nd->q) {
		struct net_frame *f = nd->q;

		nd->q = f->next;
		free(f);
	}
	nd->q_tail = &nd->q;
	nd->q_frames = nd->q_bytes = 0;
}

void netdev_detach(struct netdev *nd)
{
	if (!nd->attached)
		return;
	nd->attached = false;
	queue_clear(nd);
	netdev_set_offloads(nd, 0);
	if (nd->kind->attached)
		nd->kind->attached(nd, false);
}

bool netdev_attached(const struct netdev *nd)
{
	return nd->attached;
}

const char *netdev_id(const struct netdev *nd)
{
	return nd->id;
}

const char *netdev_kind(const struct netdev *nd)
{
	return nd->kind->name;
}

unsigned netdev_queues(const struct netdev *nd)
{
	return nd->queues;
}

const struct netdev_stats *netdev_stats(const struct netdev *nd)
{
	return &nd->stats;
}

char *netdev_describe(const struct netdev *nd)
{
	return nd->kind->describe(nd);
}

bool netdev_link(const struct netdev *nd)
{
	return nd->link && nd->peer_up;
}

static void link_changed(struct netdev *nd, bool was)
{
	bool up = netdev_link(nd);

	if (up == was || !nd->attached)
		return;
	if (!up)
		queue_clear(nd);
	if (nd->front.link)
		nd->front.link(nd->front.opaque, up);
}

void netdev_set_link(struct netdev *nd, bool up)
{
	bool was = netdev_link(nd);

	nd->link = up;
	link_changed(nd, was);
}

void netdev_peer_link(struct netdev *nd, bool up)
{
	bool was = netdev_link(nd);

	nd->peer_up = up;
	link_changed(nd, was);
}

unsigned netdev_offloads(const struct netdev *nd)
{
	/* All kinds: once here is faster than in the guest, piece by piece through a ring. */
	return NET_OFFLOAD_ALL;
}

void netdev_set_offloads(struct netdev *nd, unsigned offloads)
{
	if (nd->front_takes == offloads)
		return;
	nd->front_takes = offloads;
	if (nd->kind->offloads)
		nd->kind->offloads(nd, offloads);
}

/* From the card. */

static void send_piece(void *opaque, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		       size_t len)
{
	struct netdev *nd = opaque;

	if (!nd->kind->send(nd, hdr, iov, n, len))
		nd->stats.tx_dropped++;
}

static bool send_undone(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
			unsigned n, size_t len)
{
	struct net_emit emit = {.frame = send_piece, .opaque = nd};

	if (nd->kind->full && nd->kind->full(nd))
		return false;
	if (!nd->scratch)
		nd->scratch = xzalloc(NET_FRAME_MAX);
	net_iov_copy(nd->scratch, len, iov, n, 0);
	nd->sending_pieces = true;
	if (net_undo(hdr, nd->scratch, len, nd->takes, &emit)) {
		nd->stats.tx_dropped++;
		LOGF(nd->log, GUEST_ERRORS, "netdev %s: a frame that is not what its header says\n",
		     nd->id);
	}
	nd->sending_pieces = false;
	return true;
}

void net_batch_begin(struct netdev *nd)
{
	nd->batch++;
}

void net_batch_end(struct netdev *nd)
{
	if (--nd->batch || !nd->batch_sent)
		return;
	nd->batch_sent = false;
	if (nd->kind->batch_end)
		nd->kind->batch_end(nd);
}

bool net_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
	      size_t len)
{
	bool done;

	if (!netdev_link(nd) || len < NET_FRAME_MIN || len > NET_FRAME_MAX) {
		nd->stats.tx_dropped++;
		return true;
	}
	net_batch_begin(nd);
	nd->batch_sent = true;
	if (net_needs(hdr) & ~nd->takes)
		done = send_undone(nd, hdr, iov, n, len);
	else
		done = nd->kind->send(nd, hdr, iov, n, len);
	if (done) {
		nd->stats.tx_frames++;
		nd->stats.tx_bytes += len;
		if (nd->dumps)
			netdump_frame(nd->dumps, iov, n, len);
	}
	net_batch_end(nd);
	return done;
}

void netdev_sendable(struct netdev *nd)
{
	if (nd->attached && nd->front.sendable)
		nd->front.sendable(nd->front.opaque);
}

/* To the card. */

static bool front_take(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		       unsigned n, size_t len)
{
	if (!nd->front.can_receive(nd->front.opaque) ||
	    !nd->front.receive(nd->front.opaque, hdr, iov, n, len))
		return false;
	nd->delivered = true;
	return true;
}

static void queue_frame(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
			unsigned n, size_t len)
{
	struct net_frame *f;

	if (nd->q_frames >= NET_QUEUE_FRAMES || nd->q_bytes + len > NET_QUEUE_BYTES) {
		nd->stats.rx_dropped++;
		return;
	}
	f = xzalloc(sizeof(*f) + len);
	f->hdr = *hdr;
	f->len = len;
	net_iov_copy(f->data, len, iov, n, 0);
	*nd->q_tail = f;
	nd->q_tail = &f->next;
	nd->q_frames++;
	nd->q_bytes += len;
}

static void deliver_piece(void *opaque, const struct net_hdr *hdr, const struct iovec *iov,
			  unsigned n, size_t len)
{
	struct netdev *nd = opaque;

	if (nd->q || !front_take(nd, hdr, iov, n, len))
		queue_frame(nd, hdr, iov, n, len);
}

bool net_may_deliver(const struct netdev *nd)
{
	return nd->attached && !nd->q && nd->front.can_receive(nd->front.opaque);
}

void net_deliver_begin(struct netdev *nd)
{
	nd->delivering++;
}

void net_deliver_end(struct netdev *nd)
{
	if (--nd->delivering || !nd->delivered)
		return;
	nd->delivered = false;
	if (nd->attached && nd->front.flush)
		nd->front.flush(nd->front.opaque);
}

void net_deliver(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov, unsigned n,
		 size_t len)
{
	struct net_emit emit = {.frame = deliver_piece, .opaque = nd};

	if (!nd->attached || !netdev_link(nd) || len < NET_FRAME_MIN || len > NET_FRAME_MAX) {
		nd->stats.rx_dropped++;
		return;
	}
	nd->stats.rx_frames++;
	nd->stats.rx_bytes += len;
	if (nd->dumps)
		netdump_frame(nd->dumps, iov, n, len);
	net_deliver_begin(nd);
	if (net_needs(hdr) & ~nd->front_takes) {
		if (!nd->scratch_rx)
			nd->scratch_rx = xzalloc(NET_FRAME_MAX);
		net_iov_copy(nd->scratch_rx, len, iov, n, 0);
		if (net_undo(hdr, nd->scratch_rx, len, nd->front_takes, &emit))
			nd->stats.rx_dropped++;
	} else {
		deliver_piece(nd, hdr, iov, n, len);
	}
	net_deliver_end(nd);
}

void netdev_ready(struct netdev *nd)
{
	if (!nd->attached)
		return;
	net_deliver_begin(nd);
	while (nd->q) {
		struct net_frame *f = nd->q;
		struct iovec iov = {.iov_base = f->data, .iov_len = f->len};

		/* The card's offloads may have changed since; what it takes no longer is dropped.
		 */
		if (net_needs(&f->hdr) & ~nd->front_takes)
			nd->stats.rx_dropped++;
		else if (!front_take(nd, &f->hdr, &iov, 1, f->len))
			break;
		nd->q = f->next;
		if (!nd->q)
			nd->q_tail = &nd->q;
		nd->q_frames--;
		nd->q_bytes -= f->len;
		free(f);
	}
	net_deliver_end(nd);
	if (net_may_deliver(nd) && nd->kind->resume)
		nd->kind->resume(nd);
}
