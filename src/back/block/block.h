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
 *
 * Every function here is called with the machine's lock held (the one that fronts hand over), or
 * while there is one thread only.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct block;
struct block_node;
struct blocks;
struct err;
struct kvlist;
struct lock;
struct log;

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO, BLOCK_OPS };

/* One request; the caller owns it and its buffers until done is called. */
struct block_req {
	enum block_op op;
	bool fua; /* WRITE, ZERO: on stable storage when done */
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
	struct lock *lock; /* lives until blocks_destroy */
	void (*resized)(void *opaque); /* block_info changed; NULL: of no interest */
	void (*media_changed)(void *opaque); /* removable: a medium came or went */
	void *opaque;
	/* Removable: has the guest locked the tray?  An eject that is not forced then fails, after
	 * eject_request (if any) has asked the guest.  NULL: never locked. */
	bool (*tray_locked)(void *opaque);
	void (*eject_request)(void *opaque);
	const char *name; /* of the device, for errors and queries; NULL: none.  Lives as long. */
	bool polls; /* the device calls block_poll after each batch that it submits */
};

struct block_info {
	uint64_t size; /* bytes, of what a guest sees */
	uint32_t align; /* of offset and length of requests: 512 */
	uint32_t phys_block; /* hint */
	uint64_t discard_align;
	bool read_only, removable, has_medium;
	bool write_cache; /* flushes mean something */
};

/* block_attach - one front end at a time; -EBUSY with *e.  A device that writes passes `write`,
 * which fails with -EROFS on a read-only drive.  block_detach: drains first, and gives up what is
 * held. */
int block_attach(struct block *b, const struct block_front *f, bool write, struct err **e);
void block_detach(struct block *b);
void block_info(const struct block *b, struct block_info *out);
const char *block_id(const struct block *b); /* "" when a -blockdev node was used directly */
/* block_submit - start r; front's lock held; done is never called from inside. */
void block_submit(struct block *b, struct block_req *r);
/* block_poll - complete here what has ended by now; front's lock held, not from inside a done.  A
 * device that says `polls` calls it after each batch: a read of what the host has in memory ends
 * within block_submit, and no other thread is woken to complete it. */
void block_poll(struct block *b);
/* block_drain - see above.  What then has not been completed waits for the guest to be resumed
 * after an error (werror=stop): its buffers are not touched until blocks_resume.  A device that is
 * saved then saves those requests as unstarted.  block_cancel_held: gives them up, too (done gets
 * the error): for device reset. */
void block_drain(struct block *b);
void block_cancel_held(struct block *b);
/* block_set_write_cache - what a guest asks for (virtio-blk writeback, ATA SET FEATURES); off:
 * every write is followed by a flush. */
void block_set_write_cache(struct block *b, bool on);

/* Blocking I/O of those who have no device (firmware loading, boards' flash): drive drained or
 * unattached. */
int block_pread(struct block *b, uint64_t off, void *buf, size_t len);
int block_pwrite(struct block *b, uint64_t off, const void *buf, size_t len);
int block_flush(struct block *b);

/*
 * All nodes and drives of a machine.
 */

/* blocks_create - log, which outlives it, gets warnings. */
struct blocks *blocks_create(struct log *log);
/* blocks_destroy - every front is detached.  Writes back what images have in memory, closes. */
void blocks_destroy(struct blocks *bs);

/* block_open_drive - open what follows -drive.  0 with the drive, which bs owns; -errno with *e. */
int block_open_drive(struct block **out, struct blocks *bs, const char *opts, struct err **e);
/* block_open_node - what follows -blockdev, in either form, or the arguments of blockdev-add. */
int block_open_node(struct blocks *bs, const char *opts, struct err **e);
/* block_close_drive - drive_del: -EBUSY while a device uses it.  block_close_node: blockdev-del. */
int block_close_drive(struct block *b, struct err **e);
int block_close_node(struct blocks *bs, const char *name, struct err **e);
/* block_find - the drive of that id, or a drive for the node of that name (made when first asked
 * for). For struct dev_backends.drive, with blocks as opaque. */
struct block *block_find(struct blocks *bs, const char *id);
/* block_next - all drives in order of creation; NULL first, NULL at the end. */
struct block *block_next(const struct blocks *bs, const struct block *b);

/* Where a -drive wants to be plugged in; -1: not given. */
enum block_if {
	BLOCK_IF_DEFAULT, /* the board's choice */
	BLOCK_IF_NONE,
	BLOCK_IF_IDE,
	BLOCK_IF_SCSI,
	BLOCK_IF_FLOPPY,
	BLOCK_IF_PFLASH,
	BLOCK_IF_VIRTIO,
	BLOCK_IF_SD,
	BLOCK_IF_MTD,
	BLOCK_IF_XEN,
};
struct block_place {
	enum block_if interface;
	int bus, unit, index;
	bool cdrom;
	bool from_node; /* not a -drive: a node that a device named */
};
const struct block_place *block_place(const struct block *b);

/*
 * Removable media, for the monitor.  The drive is drained; the front is told by media_changed.
 */
/* block_eject - -EBUSY with *e when the tray is locked and not forced, -ENOTSUP: not removable. */
int block_eject(struct block *b, bool force, struct err **e);
/* block_change - another medium: file name, format (NULL: probed), read_only 0, 1, or -1: as it
 * was. */
int block_change(struct block *b, const char *filename, const char *format, int read_only,
		 bool force, struct err **e);
/* block_tray - the guest opened (eject) or closed its tray; the medium stays in the drive for
 * query-block. For device models: nothing is asked back. */
void block_set_tray_open(struct block *b, bool open);
/* block_resize - new size in bytes of raw and qcow2 images; shrinking only of raw. */
int block_resize(struct block *b, uint64_t size, struct err **e);

/*
 * Errors.
 */
enum block_action { BLOCK_REPORT, BLOCK_IGNORE, BLOCK_STOP };
struct block_error {
	const char *device, *node; /* id of the drive, name of its node */
	const char *qdev; /* name that the front gave; "" */
	bool write;
	enum block_action action; /* BLOCK_STOP: the machine has to stop; the request is held */
	bool nospace;
	const char *reason; /* of the errno */
};
/* blocks_set_error_hook - fn is told of each error with the front's lock held: it may ask for
 * things to happen, not do them.  Without a hook nothing is held. */
void blocks_set_error_hook(struct blocks *bs,
			   void (*fn)(void *opaque, const struct block_error *err), void *opaque);
/* blocks_resume - the guest runs again: held requests are tried again. */
void blocks_resume(struct blocks *bs);
/* blocks_drain, blocks_flush - all drives, after the guest was stopped.  0 or the first -errno. */
void blocks_drain(struct blocks *bs);
int blocks_flush(struct blocks *bs);

/*
 * What there is to know.
 */
struct block_stats {
	struct {
		uint64_t ops, bytes, failed, invalid;
		uint64_t time_ns; /* from submission to completion, summed */
	} op[BLOCK_OPS];
	uint64_t in_flight, held;
	uint64_t wr_highest; /* offset behind the last byte written */
};
void block_stats(struct block *b, struct block_stats *out);

/* A token bucket: avg units/s (0: no limit), bursts up to `max` units/s that last `length` seconds.
 */
enum throttle_kind {
	THROTTLE_BPS,
	THROTTLE_BPS_RD,
	THROTTLE_BPS_WR,
	THROTTLE_IOPS,
	THROTTLE_IOPS_RD,
	THROTTLE_IOPS_WR,
	THROTTLE_KINDS
};
struct throttle_cfg {
	struct {
		uint64_t avg, max, length;
	} k[THROTTLE_KINDS];
	uint64_t iops_size; /* bytes that count as one operation; 0: a request is one */
};
/* block_set_throttle - -EINVAL with *e when limits contradict each other. */
int block_set_throttle(struct block *b, const struct throttle_cfg *cfg, struct err **e);
void block_get_throttle(const struct block *b, struct throttle_cfg *cfg);

struct block_policy {
	enum { ERRORS_REPORT, ERRORS_IGNORE, ERRORS_ENOSPC, ERRORS_STOP } rerror, werror;
	bool direct, no_flush, writeback; /* cache modes */
	bool detect_zeroes, detect_unmap;
	bool tray_open, tray_locked, removable, attached;
	const char *qdev;
};
void block_policy(const struct block *b, struct block_policy *out);

/* block_set_errors - what failed reads and writes come to: a word that -drive takes, or NULL or "auto":
 * as it is.  For devices that have such properties. */
void block_set_errors(struct block *b, const char *rerror, const char *werror);
#define BLOCK_RERRORS "auto|report|ignore|stop"
#define BLOCK_WERRORS "auto|report|ignore|enospc|stop"

struct block_snapshot {
	char *id, *name;
	uint64_t vm_state_size, date_s, date_ns, vm_clock_ns, disk_size;
};
/* An image as query-block and `info block` tell it. */
struct block_image {
	const char *node, *driver, *filename; /* valid as long as the node */
	const char *backing_filename; /* as written in the image; NULL: none */
	const char *backing_format;
	uint64_t virtual_size, actual_size, cluster_size;
	bool read_only, encrypted, dirty, corrupt;
	const char *compat, *compression; /* qcow2; else NULL */
	bool lazy_refcounts, extended_l2;
	unsigned refcount_bits;
	const struct block_snapshot *snapshots; /* valid until the node changes */
	unsigned n_snapshots;
};
/* block_root - NULL: no medium.  block_backing - the next node below in the chain of backing files,
 * or NULL. */
struct block_node *block_root(const struct block *b);
struct block_node *block_backing(const struct block_node *n);
void block_image(struct block_node *n, struct block_image *out);
/* block_node_next - nodes with a name, in order of creation; as block_next. */
struct block_node *block_node_next(const struct blocks *bs, const struct block_node *n);
/* block_map - is [off, off + *len) allocated in this image or one below?  *len is cut to what is
 * alike. */
enum block_extent {
	BLOCK_EXT_DATA = 1,
	BLOCK_EXT_ZERO = 2,
	BLOCK_EXT_HERE = 4 /* not from a backing file */
};
int block_map(struct block *b, uint64_t off, uint64_t *len, unsigned *extent);

/* block_drivers_help - names of the drivers, to stdout. */
void block_drivers_help(void);
