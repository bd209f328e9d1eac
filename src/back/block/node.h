/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Images: a graph of nodes.  A format driver (raw, qcow2, overlay) finds a guest's bytes in its
 * child `file`, or in `backing` what it has not; a protocol driver (file, host_device, nbd) is a
 * leaf.
 *
 * Drivers are written straight on: a call returns when it is done, having blocked its thread. Calls
 * to one node come from several threads at a time; a driver has locks of its own.  No lock below
 * LOCK_RANK_BLOCK_IMAGE is held by who calls read, write, flush, discard, zero, status.
 * Opening and closing is done by one thread, with no I/O in the node.
 */
#include "back/block/block.h"
#include "back/block/bvec.h"
#include "base/base.h"

#define BLOCK_SECTOR 512
/* Backing files below one another, and drivers of one image. */
#define BLOCK_DEPTH_MAX 64
/* A request is cut by the drive into pieces of this size at most. */
#define BLOCK_PIECE_MAX (4 * MiB)
/* The largest image: sizes and offsets add up without overflow. */
#define BLOCK_SIZE_MAX (INT64_MAX - (INT64_C(1) << 32))

/* How a node is to be opened; children get it from their parents, options override. */
struct node_mode {
	bool write; /* will be written to */
	bool auto_ro; /* when it can't be written to, open it all the same, read-only */
	bool direct; /* past the host's page cache */
	bool no_flush; /* never wait for stable storage */
	bool unmap; /* give discarded space back */
	bool force_share; /* no locks */
	bool uring; /* io_uring, where nothing but the file is concerned */
};

/* Where options come from: keys of l that begin with prefix; what an error calls them. */
struct node_opts {
	struct blocks *bs;
	struct kvlist *l;
	const char *prefix;
	struct node_mode mode;
	unsigned depth;
	const struct block_node *above; /* overlay that this is a backing file of, or NULL */
	const char *base_dir; /* file names are relative to it; NULL: the process's */
	bool drive; /* a -drive: `file` is a file name; without a driver look at it */
	bool probed; /* nobody said what it is; it was looked at */
};

struct node_drv {
	const char *name;
	bool protocol;
	int (*open)(struct block_node *n, struct node_opts *o, struct err **e);
	void (*close)(struct block_node *n);
	/* [off, off+len) is inside the node, multiples of 512 unless the node is the `file` of one.
	 * 0 or -errno; on failure an unspecified part was done. */
	int (*read)(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
	/* As read, of what the host has in memory, without waiting for anything; else -EAGAIN.
	 * NULL: never. */
	int (*read_now)(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
	int (*write)(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
	int (*flush)(struct block_node *n);
	int (*discard)(struct block_node *n, uint64_t off, uint64_t len);
	/* -EOPNOTSUPP: zeroes have to be written. */
	int (*zero)(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap);
	int (*status)(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent);
	int (*truncate)(struct block_node *n, uint64_t size, struct err **e);
	void (*image)(struct block_node *n, struct block_image *out); /* NULL: nothing to add */
	/* A descriptor that reads and writes at the same offset plus *shift do the same as ours;
	 * -1: none. */
	int (*fast_fd)(struct block_node *n, uint64_t *shift);
};

struct block_node {
	const struct node_drv *drv;
	struct blocks *bs;
	struct block_node *next; /* all nodes of bs */
	char *name; /* given, or "#block123" */
	bool named; /* by a person; a reference of its own */
	char *filename;
	unsigned refs;
	struct node_mode mode;
	bool read_only;
	bool grows; /* writes past the size are fine (files) */
	uint64_t size; /* bytes; for protocols as when opened or last grown by truncate */
	uint32_t align; /* what O_DIRECT wants of offsets: 1 without */
	struct block_node *file, *backing, *data;
	const struct block_node *above; /* while it is opened: what it will be a backing file of */
	struct block *drive; /* that uses this node, or NULL */
	bool claimed; /* part of a drive or of another image that may write to it */
	bool detect_zeroes, detect_unmap;
	void *priv;
};

extern const struct node_drv node_file, node_host_device, node_nbd, node_raw, node_qcow2,
	node_overlay, node_null_co;

/* Calls on a node, with the checks and fallbacks that are the same for all drivers. */
int node_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
int node_read_now(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
int node_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
int node_flush(struct block_node *n);
int node_discard(struct block_node *n, uint64_t off, uint64_t len);
int node_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap);
int node_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent);
int node_pread(struct block_node *n, uint64_t off, void *buf, size_t len);
int node_pwrite(struct block_node *n, uint64_t off, const void *buf, size_t len);
int node_fast_fd(struct block_node *n, uint64_t *shift);
/* node_read_backing - read from the backing file: zeroes past its end, or when there is none. */
int node_read_backing(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);

/* Options: NULL or as they were when a key is absent. */
const char *node_opt(struct node_opts *o, const char *key);
int node_opt_bool(struct node_opts *o, const char *key, bool *out, struct err **e);
int node_opt_size(struct node_opts *o, const char *key, uint64_t *out, struct err **e);
/* node_mode_parse - options that every node has. */
int node_mode_parse(struct node_opts *o, struct node_mode *m, struct err **e);

/* node_open - by options; *out holds a reference.  node_open_child - the child `key` ("file") of o:
 * a reference to a named node, or options "file.*".  node_open_name - by file name or URL, probed
 * when driver is NULL. */
int node_open(struct block_node **out, struct node_opts *o, struct err **e);
int node_open_child(struct block_node **out, struct node_opts *o, const char *key, struct err **e);
int node_open_name(struct block_node **out, const struct node_opts *o, const char *filename,
		   const char *driver, struct err **e);
void node_put(struct block_node *n); /* NULL is fine */
struct block_node *node_find(const struct blocks *bs, const char *name);
/* node_new - an empty node with one reference, for drivers that make one themselves. */
struct block_node *node_new(struct blocks *bs, const struct node_drv *drv, const char *name,
			    const struct node_mode *mode);
/* node_overlay_open - a temporary overlay in a deleted file over base, whose reference it takes. */
int node_overlay_open(struct block_node **out, struct block_node *base, struct err **e);
/* node_probe - the driver's name for an image that begins with these 512 bytes; NULL: raw.  *known
 * is false for formats that are known by name only. */
const char *node_probe(const uint8_t *head, size_t len, bool *known);
const struct node_drv *node_drv_find(const char *name);
/* file_is - is n, a node of any driver, the local file with that number? */
bool file_is(const struct block_node *n, uint64_t dev, uint64_t ino);
/* node_claim - have n to oneself; -EBUSY with *e. */
int node_claim(struct block_node *n, struct err **e);
/* node_leaf - the protocol node below, through raw. */
struct block_node *node_leaf(struct block_node *n);
