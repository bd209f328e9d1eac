/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * qcow2 images; the format is QEMU's docs/interop/qcow2.txt, whose names are used here.
 *
 * An image is trusted in nothing.  Sizes of tables are checked when it is opened, each offset when
 * it is followed; what is written never lies on a table that it is no part of (meta.c), and where
 * the image would have that, it is marked corrupt and written to no more.
 *
 * Guest clusters: one request may change how a guest's cluster is mapped while no other uses it, or
 * several may use it as it is: struct qrange, taken for each piece of each request.  A host cluster
 * is thus never given back while a request is at it.
 *
 * lock guards everything in struct qcow2; it is held while tables are read and written, never while
 * a guest's data is.
 *
 * Ordering (commit.c): on disk, at any moment and after a loss of power, each cluster that a table
 * refers to has a reference count that is at least the number of references, and holds what it
 * should.
 */
#include "back/block/node.h"
#include "base/lock.h"

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_L1_BYTES_MAX (32 * MiB)
#define QCOW2_REFTABLE_BYTES_MAX (8 * MiB)
#define QCOW2_SNAPSHOTS_MAX 65536
#define QCOW2_SNAPSHOT_BYTES_MAX (64 * MiB)
#define QCOW2_FRAGMENTS 512 /* clusters that wait to be freed before a commit is made for them */

#define OFLAG_COPIED BIT(63)
#define OFLAG_COMPRESSED BIT(62)
#define OFLAG_ZERO BIT(0)
#define L1E_OFFSET UINT64_C(0x00fffffffffffe00)
#define L2E_OFFSET UINT64_C(0x00fffffffffffe00)
#define L2E_RESERVED UINT64_C(0x3f000000000001fe)
#define L1E_RESERVED UINT64_C(0x7f000000000001ff)
#define REFTABLE_OFFSET UINT64_C(0xfffffffffffffe00)
#define SUBCLUSTERS 32

enum {
	INCOMPAT_DIRTY = 1,
	INCOMPAT_CORRUPT = 2,
	INCOMPAT_DATA_FILE = 4,
	INCOMPAT_COMPRESSION = 8,
	INCOMPAT_EXTL2 = 16
};
enum { COMPAT_LAZY_REFCOUNTS = 1 };
enum { AUTOCLEAR_BITMAPS = 1, AUTOCLEAR_DATA_RAW = 2 };
/* Offsets in the header of what is written by itself. */
enum {
	HDR_SIZE = 24,
	HDR_L1_SIZE = 36,
	HDR_L1_OFF = 40,
	HDR_RT_OFF = 48,
	HDR_RT_CLUSTERS = 56,
	HDR_INCOMPAT = 72,
	HDR_AUTOCLEAR = 88
};

/* A table's piece in memory, as on disk. */
struct qslice {
	struct qslice *hash_next, *newer, *older;
	uint64_t off;
	bool dirty;
	unsigned char *data;
};

struct qcache {
	size_t slice; /* bytes */
	unsigned n, max, n_dirty;
	unsigned n_hash; /* a power of two */
	struct qslice **hash;
	struct qslice *newest, *oldest;
};

enum qmeta { META_L2 = 1, META_REFBLOCK = 2 };

/* Clusters that hold L2 tables and refcount blocks: open addressing by cluster number. */
struct qmetaset {
	size_t n, size; /* size: 0 or a power of two */
	uint64_t *keys; /* cluster number + 1, kind in the top byte; 0: empty */
};

struct qregion {
	uint64_t off, len;
};

struct qrange {
	struct qrange *next;
	uint64_t first, last; /* guest clusters */
	bool alone;
};

struct qfree {
	uint64_t cluster; /* host */
	bool data; /* held guest data: the space may be given back */
};

struct qcow2 {
	struct block_node *n, *file, *data_file; /* data_file: file, if there is no external one */
	unsigned version, cluster_bits, refcount_order;
	uint64_t cluster_size;
	uint64_t incompat, compat, autoclear;
	bool zstd, extl2, external, raw_external;
	unsigned l2_entry_bytes, l2_bits; /* entries of a table, log2 */
	unsigned sub_bits; /* of what is mapped at a time: a subcluster or cluster */
	char *backing_name, *backing_format;
	struct block_snapshot *snapshots;
	struct qregion *snapshot_l1; /* of each */
	unsigned n_snapshots, header_snapshots; /* read so far; as the header has it */
	uint64_t snapshots_off, snapshots_len; /* bytes of the table */
	unsigned header_length;

	struct lock lock;
	pthread_cond_t changed; /* ranges */
	struct qrange *ranges, **ranges_end;

	uint64_t *l1; /* host byte order */
	uint32_t l1_size;
	uint64_t l1_off;
	uint64_t *l1_dirty; /* bit per 64 entries */
	bool any_l1_dirty;
	uint64_t *rt;
	uint64_t rt_size, rt_off; /* entries */
	uint64_t *rt_dirty; /* bit per 64 entries */
	bool any_rt_dirty;
	struct qcache l2, rc;
	struct qmetaset meta;
	struct qregion *regions; /* header, L1, refcount table, snapshots and their L1s */
	unsigned n_regions;
	uint64_t end; /* host clusters from here on have never been used */
	uint64_t free_hint; /* none is free before this one */
	bool fresh_is_zero; /* what is behind the end of the file reads as zeroes */
	uint64_t written,
		synced; /* count of writes that tables depend on; those before the last barrier */
	struct qfree *frees;
	size_t n_frees, max_frees;
	uint64_t freed; /* how many there were before these */
	bool corrupt;

	pthread_mutex_t unpacked_lock;
	uint64_t unpacked_entry; /* compressed cluster that is in unpacked; 0: none */
	unsigned char *unpacked;
};

static inline uint64_t get_be64(const void *p)
{
	return __builtin_bswap64(get_le64(p));
}

static inline uint32_t get_be32(const void *p)
{
	return __builtin_bswap32(get_le32(p));
}

static inline uint16_t get_be16(const void *p)
{
	return __builtin_bswap16(get_le16(p));
}

static inline void put_be64(void *p, uint64_t v)
{
	put_le64(p, __builtin_bswap64(v));
}

static inline void put_be32(void *p, uint32_t v)
{
	put_le32(p, __builtin_bswap32(v));
}

static inline void put_be16(void *p, uint16_t v)
{
	put_le16(p, __builtin_bswap16(v));
}

static inline uint64_t q_cluster(const struct qcow2 *q, uint64_t off)
{
	return off >> q->cluster_bits;
}

static inline uint64_t q_inside(const struct qcow2 *q, uint64_t off)
{
	return off & (q->cluster_size - 1);
}

/* qcow2_header.c: q from the file; everything is checked that needs no other table. */
int qcow2_header_read(struct qcow2 *q, char **data_name, struct err **e);
int qcow2_header_put(struct qcow2 *q, unsigned at, uint64_t value, unsigned bytes);
/* qcow2_tables.c: L1, refcount table, snapshots. */
int qcow2_tables_read(struct qcow2 *q, struct err **e);

/* What follows: lock held. */

/* qcow2_cache.c: slices of tables.  A pointer is good until the next get from the same cache. */
void qcache_init(struct qcache *c, size_t slice, uint64_t max);
void qcache_fini(struct qcache *c);
/* qcache_get - the slice at file offset off (a multiple of its size), read if need be.  When there
 * is no room because all are dirty: -ENOBUFS. */
int qcache_get(struct qcow2 *q, struct qcache *c, uint64_t off, struct qslice **out);
/* qcache_has - is it in memory? */
bool qcache_has(struct qcache *c, uint64_t off);
void qcache_dirty(struct qcache *c, struct qslice *s);
/* qcache_write - write the dirty slices, which are of that kind of table. */
int qcache_write(struct qcow2 *q, struct qcache *c, enum qmeta kind);
/* qcache_forget - drop the slices of [off, off+len), dirty or not. */
void qcache_forget(struct qcache *c, uint64_t off, uint64_t len);

/* qcow2_meta.c: where tables are. */
void meta_add(struct qcow2 *q, uint64_t off, enum qmeta kind);
void meta_remove(struct qcow2 *q, uint64_t off);
void meta_region(struct qcow2 *q, uint64_t off, uint64_t len);
void meta_region_move(struct qcow2 *q, uint64_t old, uint64_t off, uint64_t len);
bool meta_is(const struct qcow2 *q, uint64_t off, enum qmeta kind);
/* meta_clear - is [off, off+len) of the file free of tables, other than of that kind (0: any)? */
bool meta_clear(const struct qcow2 *q, uint64_t off, uint64_t len, unsigned kind);
/* qcow2_corrupt - say so, mark the image, refuse writes from now on; -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* qcow2_refcount.c */
int refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count);
int refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* refcount_alloc - up to n free clusters in a row, counted once; *got of them. */
int refcount_alloc(struct qcow2 *q, uint64_t n, uint64_t *first, uint64_t *got);
/* refcount_unalloc - those that were allocated and nothing refers to. */
void refcount_unalloc(struct qcow2 *q, uint64_t first, uint64_t n);
/* refcount_later - one reference to each cluster of [off, off+len) less, when tables are on disk.
 */
void refcount_later(struct qcow2 *q, uint64_t off, uint64_t len, bool data);
/* refcount_apply - n of the oldest of those now. */
int refcount_apply(struct qcow2 *q, size_t n);
int refcount_write(struct qcow2 *q);
unsigned refcount_per_block_bits(const struct qcow2 *q);

/* qcow2_map.c: guest to host. */
enum qkind { Q_UNALLOC, Q_ZERO, Q_NORMAL, Q_COMPRESSED };
struct qmap {
	enum qkind kind;
	uint64_t len; /* bytes that are alike and, NORMAL, in a row */
	uint64_t host; /* NORMAL: of the first byte */
	uint64_t entry; /* of its cluster */
	bool in_place; /* NORMAL: may be written to */
};
int map_lookup(struct qcow2 *q, uint64_t off, uint64_t len, struct qmap *m);
/* map_lookup_now - -EAGAIN when the table is not in memory. */
int map_lookup_now(struct qcow2 *q, uint64_t off, uint64_t len, struct qmap *m);
/* What a write to one cluster needs. */
enum qneed { NEED_NOTHING, NEED_MARK, NEED_CLUSTER };
struct qentry {
	uint64_t entry, bitmap;
};
/* map_entry - of guest cluster; zeroes when there is no table. */
int map_entry(struct qcow2 *q, uint64_t cluster, struct qentry *en);
/* map_set - after map_table made sure of the table. */
int map_set(struct qcow2 *q, uint64_t cluster, const struct qentry *en);
/* map_table - the table of the cluster is there, and ours alone. */
int map_table(struct qcow2 *q, uint64_t cluster);
enum qneed map_need(const struct qcow2 *q, const struct qentry *en, uint64_t off, uint64_t len);
enum qkind entry_kind(const struct qcow2 *q, const struct qentry *en, unsigned sub);
bool entry_has_host(const struct qcow2 *q, uint64_t entry);
/* map_free - what an entry refers to is no longer referred to by it. */
void map_free(struct qcow2 *q, uint64_t entry);

/* qcow2_commit.c */
/* commit_tables - write tables; barrier: those before them are on disk.  What was freed is so after
 * another barrier: commit_frees. */
int commit_tables(struct qcow2 *q);
/* commit_all - tables, and freed clusters given back. */
int commit_all(struct qcow2 *q);
/* commit_flush - for a guest's flush; lock NOT held. */
int commit_flush(struct qcow2 *q);

/* qcow2_unpack.c: lock NOT held. */
int unpack_read(struct qcow2 *q, uint64_t entry, uint64_t inside, uint64_t len, struct bvec v);

/* qcow2_repair.c */
int qcow2_repair(struct qcow2 *q, struct err **e);

/* qcow2_io.c: lock NOT held. */
int qcow2_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
int qcow2_read_now(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
int qcow2_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v);
/* qcow2_change.c */
int qcow2_discard(struct block_node *n, uint64_t off, uint64_t len);
int qcow2_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap);
int qcow2_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent);
int qcow2_truncate(struct block_node *n, uint64_t size, struct err **e);
/* qcow2_range.c */
void range_enter(struct qcow2 *q, struct qrange *r);
void range_leave(struct qcow2 *q, struct qrange *r);
/* range_free - would one who shares get in at once? */
bool range_free(const struct qcow2 *q, uint64_t first, uint64_t last);
