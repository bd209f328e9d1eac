/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Disks: images (struct block_node, a graph of format and protocol drivers) and drives (struct
 * block: what one device is attached to, with its error policy, throttle and statistics).
 *
 * Requests run on threads of the block layer (or io_uring); each is completed with the front end's
 * lock held, on whatever thread that may be, so a device completes its own command right there.
 * block_drain, called with that lock held, completes everything in flight before it returns: after
 * it nothing touches the buffers that were handed over.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct block;
struct err;
struct kvlist;
struct lock;
struct loop;

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

/* One request; the caller owns it and its buffers until done is called. */
struct block_req {
	enum block_op op;
	bool fua;	/* WRITE, ZERO: on stable storage when done */
	bool may_unmap; /* ZERO: the space may be given back */
	uint64_t off, len; /* bytes; multiples of block_info.align */
	const struct iovec *iov; /* READ, WRITE: sums to len */
	unsigned n_iov;
	/* rc: 0 or -errno, after retries and error policy.  Front's lock held. */
	void (*done)(struct block_req *r, int rc);
	void *opaque;

	/* The block layer's own, from submit to done. */
	struct block *b;
	struct block_req *next;
	int rc;
	int64_t started;
	uint64_t priv[4];
};

struct block_front {
	struct lock *lock;
	void (*resized)(void *opaque);	      /* block_info changed; NULL: of no interest */
	void (*media_changed)(void *opaque);  /* removable: a medium came or went */
	void *opaque;
};

struct block_info {
	uint64_t size;	     /* bytes, of what a guest sees */
	uint32_t align;	     /* of offset and length of requests: 512 .. 64 KiB */
	uint32_t phys_block; /* hint */
	uint64_t discard_align;
	bool read_only, removable, has_medium;
	bool write_cache; /* flushes mean something */
};

/* block_attach - one front end at a time; -EBUSY with *e.  A device that writes passes `write`, which
 * fails with -EROFS on a read-only drive.  block_detach: drains first. Both with the lock held. */
int block_attach(struct block *b, const struct block_front *f, bool write, struct err **e);
void block_detach(struct block *b);
void block_info(const struct block *b, struct block_info *out);
const char *block_id(const struct block *b);
/* block_submit - start r; front's lock held; done is never called from inside. */
void block_submit(struct block *b, struct block_req *r);
/* block_drain - see above.  block_cancel_held: also those that wait for the guest to be resumed after
 * an error are given up (done gets the error): for device reset. */
void block_drain(struct block *b);
