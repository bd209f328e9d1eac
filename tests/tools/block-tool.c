/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images by hand, through the block layer:
 *
 *	block-tool info OPTS			what there is to know
 *	block-tool map OPTS			what is where, one extent a line
 *	block-tool dump OPTS			the whole disk to stdout
 *	block-tool write OPTS OFFSET LENGTH BYTE | zero OPTS OFFSET LENGTH | discard OPTS OFFSET
 *LENGTH block-tool load OPTS SEED JOURNAL	random writes for ever, each flush told to JOURNAL:
 *to be killed block-tool check OPTS JOURNAL		is what was flushed there?  (after a kill)
 *	block-tool bench OPTS read|write|randread|randwrite SIZE DEPTH SECONDS [poll]
 *
 * OPTS is what follows -drive.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "back/block/block.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/lock.h"
#include "base/log.h"

struct tool {
	struct lock lock;
	struct log *log;
	struct blocks *bs;
	struct block *b;
	struct block_info info;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "block-tool: %s: %s\n", what, why);
	exit(1);
}

static void open_drive(struct tool *t, const char *opts, bool write, bool polls)
{
	struct block_front f = {.lock = &t->lock, .name = "tool", .polls = polls};
	struct err *e = NULL;

	lock_init(&t->lock, LOCK_RANK_MACHINE, "tool");
	t->log = log_create();
	t->bs = blocks_create(t->log);
	if (block_open_drive(&t->b, t->bs, opts, &e))
		die(opts, err_msg(e));
	lock_take(&t->lock);
	if (block_attach(t->b, &f, write, &e))
		die(opts, err_msg(e));
	lock_drop(&t->lock);
	block_info(t->b, &t->info);
}

static void close_drive(struct tool *t)
{
	lock_take(&t->lock);
	block_detach(t->b);
	lock_drop(&t->lock);
	blocks_destroy(t->bs);
	log_destroy(t->log);
	lock_fini(&t->lock);
}

static void one_done(struct block_req *r, int rc)
{
	*(int *)r->opaque = rc;
}

static int one(struct tool *t, enum block_op op, uint64_t off, void *buf, uint64_t len, bool fua)
{
	struct iovec iov = {buf, len};
	int rc = -EINPROGRESS;
	struct block_req r = {.op = op,
			      .off = off,
			      .len = len,
			      .iov = &iov,
			      .n_iov = buf != NULL,
			      .fua = fua,
			      .may_unmap = true,
			      .done = one_done,
			      .opaque = &rc};

	lock_take(&t->lock);
	block_submit(t->b, &r);
	block_drain(t->b);
	lock_drop(&t->lock);
	return rc;
}

static uint64_t num(const char *s)
{
	uint64_t v;

	if (!parse_size(s, 1, &v))
		die(s, "not a number");
	return v;
}

static void cmd_info(struct tool *t)
{
	for (struct block_node *n = block_root(t->b); n; n = block_backing(n)) {
		struct block_image i;

		block_image(n, &i);
		printf("%s: %s, %" PRIu64 " bytes, %" PRIu64 " on disk", i.filename, i.driver,
		       i.virtual_size, i.actual_size);
		if (i.compat)
			printf(", compat %s, clusters of %" PRIu64 ", %s, %u refcount bits%s%s%s",
			       i.compat, i.cluster_size, i.compression, i.refcount_bits,
			       i.lazy_refcounts ? ", lazy" : "",
			       i.extended_l2 ? ", extended L2" : "", i.corrupt ? ", corrupt" : "");
		printf("\n");
		for (unsigned k = 0; k < i.n_snapshots; k++)
			printf("  snapshot %s '%s' %" PRIu64 "\n", i.snapshots[k].id,
			       i.snapshots[k].name, i.snapshots[k].disk_size);
	}
}

static void cmd_map(struct tool *t)
{
	uint64_t off = 0;

	while (off < t->info.size) {
		uint64_t len = t->info.size - off;
		unsigned ext;
		int r = block_map(t->b, off, &len, &ext);

		if (r)
			die("map", strerror(-r));
		printf("%" PRIu64 " %" PRIu64 "%s%s%s\n", off, len,
		       ext & BLOCK_EXT_DATA ? " data" : "", ext & BLOCK_EXT_ZERO ? " zero" : "",
		       ext & BLOCK_EXT_HERE ? " here" : "");
		off += len;
	}
}

static void cmd_dump(struct tool *t)
{
	unsigned char *buf = xzalloc(MiB);

	for (uint64_t off = 0; off < t->info.size; off += MiB) {
		uint64_t len = min_u64(MiB, t->info.size - off);
		int r = one(t, BLOCK_READ, off, buf, len, false);

		if (r)
			die("read", strerror(-r));
		if (fwrite(buf, 1, len, stdout) != len)
			die("stdout", strerror(errno));
	}
	free(buf);
}

/*
 * A load that is killed.  Operations have numbers and follow from the seed, so a check can replay
 * them.  The journal holds the seed, the number up to which a flush has come back, and the one up
 * to which operations were started.  A sector has what the last flushed operation left there, or
 * one that was started since.
 */
#define LOAD_BATCH 16

struct load_op {
	uint64_t off, len;
	unsigned kind; /* 0 write, 1 zero, 2 discard */
};

static uint64_t rnd(uint64_t *s)
{
	uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* The n-th operation of the load; those of one batch do not overlap. */
static struct load_op load_op(uint64_t seed, uint64_t gen, uint64_t size)
{
	uint64_t s = seed * UINT64_C(1000003) + gen, slice = align_down(size / LOAD_BATCH, 512);
	struct load_op op;
	uint64_t kind = rnd(&s) % 16;

	op.kind = kind < 12 ? 0 : kind < 14 ? 1 : 2;
	op.len = (1 + rnd(&s) % (rnd(&s) % 4 ? 32 : 512)) * 512;
	op.len = min_u64(op.len, slice);
	op.off = gen % LOAD_BATCH * slice + rnd(&s) % ((slice - op.len) / 512 + 1) * 512;
	return op;
}

static void load_fill(unsigned char *buf, uint64_t off, uint64_t len, uint64_t gen)
{
	for (uint64_t i = 0; i < len; i += 8)
		put_le64(buf + i, gen << 32 ^ (off + i));
}

struct load_wait {
	unsigned busy;
	int rc;
};

static void load_done(struct block_req *r, int rc)
{
	struct load_wait *w = r->opaque;

	w->busy--;
	if (rc)
		w->rc = rc;
}

static int load_batch(struct tool *t, uint64_t seed, uint64_t gen, unsigned char **bufs)
{
	struct block_req r[LOAD_BATCH] = {0};
	struct iovec iov[LOAD_BATCH];
	struct load_wait w = {0};

	lock_take(&t->lock);
	for (unsigned i = 0; i < LOAD_BATCH; i++) {
		struct load_op op = load_op(seed, gen + i, t->info.size);

		load_fill(bufs[i], op.off, op.len, gen + i);
		iov[i] = (struct iovec){bufs[i], op.len};
		r[i] = (struct block_req){.op = op.kind == 0   ? BLOCK_WRITE
						: op.kind == 1 ? BLOCK_ZERO
							       : BLOCK_DISCARD,
					  .off = op.off,
					  .len = op.len,
					  .iov = &iov[i],
					  .n_iov = 1,
					  .may_unmap = gen & 1,
					  .done = load_done,
					  .opaque = &w};
		w.busy++;
		block_submit(t->b, &r[i]);
	}
	block_drain(t->b);
	lock_drop(&t->lock);
	return w.rc;
}

static void cmd_load(struct tool *t, uint64_t seed, const char *journal)
{
	int fd = open(journal, O_RDWR | O_CREAT, 0600);
	uint64_t state[3] = {seed, 0, 0}, gen;
	unsigned char *bufs[LOAD_BATCH];

	if (fd < 0)
		die(journal, strerror(errno));
	if (pread(fd, state, sizeof(state), 0) == sizeof(state) && state[0] != seed)
		die(journal, "of another seed");
	/* What may or may not have been done before a kill is done again. */
	gen = state[1];
	for (unsigned i = 0; i < LOAD_BATCH; i++)
		bufs[i] = xzalloc(MiB);
	for (;; gen += LOAD_BATCH) {
		int r;

		/* Started, whatever comes of it. */
		state[2] = max_u64(state[2], gen + LOAD_BATCH);
		if (pwrite(fd, state, sizeof(state), 0) != sizeof(state))
			die(journal, strerror(errno));
		r = load_batch(t, seed, gen, bufs);
		if (r)
			die("load", strerror(-r));
		if (gen / LOAD_BATCH % 3)
			continue;
		r = one(t, BLOCK_FLUSH, 0, NULL, 0, false);
		if (r)
			die("flush", strerror(-r));
		state[1] = gen + LOAD_BATCH;
		if (pwrite(fd, state, sizeof(state), 0) != sizeof(state))
			die(journal, strerror(errno));
	}
}

/* What may be in each sector: generation + 1 that wrote it last; and whether zeroes or something
 * undefined. */
struct sector {
	uint32_t gen; /* 0: never */
	uint8_t kind;
};

static bool sector_is(const unsigned char *p, uint64_t off, const struct sector *s)
{
	unsigned char want[512];

	load_fill(want, off, 512, s->gen - 1);
	return !memcmp(p, want, 512);
}

static bool is_zero(const unsigned char *p)
{
	for (unsigned i = 0; i < 512; i++)
		if (p[i])
			return false;
	return true;
}

static void replay(struct sector *map, uint64_t seed, uint64_t from, uint64_t to, uint64_t size)
{
	for (uint64_t gen = from; gen < to; gen++) {
		struct load_op op = load_op(seed, gen, size);

		for (uint64_t s = op.off / 512; s < (op.off + op.len) / 512; s++)
			map[s] = (struct sector){(uint32_t)gen + 1, (uint8_t)op.kind};
	}
}

/* Is it what a later, unfinished operation may have left? */
static bool later(const unsigned char *p, uint64_t off, uint64_t seed, uint64_t from, uint64_t to,
		  uint64_t size)
{
	for (uint64_t gen = from; gen < to; gen++) {
		struct load_op op = load_op(seed, gen, size);
		struct sector s = {(uint32_t)gen + 1, (uint8_t)op.kind};

		if (off < op.off || off >= op.off + op.len)
			continue;
		if (op.kind == 2 || (op.kind == 1 && is_zero(p)) ||
		    (op.kind == 0 && sector_is(p, off, &s)))
			return true;
	}
	return false;
}

static void cmd_check(struct tool *t, const char *journal)
{
	struct sector *map = xcalloc(t->info.size / 512 + 1, sizeof(*map));
	unsigned char *buf = xzalloc(MiB);
	uint64_t state[3] = {0}, bad = 0, old = 0;
	int fd = open(journal, O_RDONLY);

	if (fd < 0 || pread(fd, state, sizeof(state), 0) < 16)
		die(journal, "no journal");
	replay(map, state[0], 0, state[1], t->info.size);
	for (uint64_t off = 0; off < t->info.size; off += MiB) {
		uint64_t len = min_u64(MiB, t->info.size - off);
		int r = one(t, BLOCK_READ, off, buf, len, false);

		if (r)
			die("read", strerror(-r));
		for (uint64_t i = 0; i < len; i += 512) {
			const struct sector *s = &map[(off + i) / 512];
			bool ok = s->kind == 2 ||
				  (!s->gen || s->kind == 1 ? is_zero(buf + i)
							   : sector_is(buf + i, off + i, s));

			if (ok)
				continue;
			if (later(buf + i, off + i, state[0], state[1], state[2], t->info.size)) {
				old++;
				continue;
			}
			if (bad++ < 5)
				fprintf(stderr,
					"sector at %" PRIu64 ": not generation %u (kind %u)\n",
					off + i, s->gen - 1, s->kind);
		}
	}
	printf("%" PRIu64 " operations, %" PRIu64 " sectors of later ones, %" PRIu64 " bad\n",
	       state[1], old, bad);
	if (bad)
		exit(1);
	free(buf);
	free(map);
}

struct bench {
	struct tool *t;
	uint64_t size, ops, errors, seed, next, left;
	bool random, write, stop, poll;
};

struct bench_req {
	struct block_req r;
	struct iovec iov;
	struct bench *b;
	bool idle;
};

static void bench_start(struct bench_req *q)
{
	struct bench *b = q->b;
	uint64_t n = b->t->info.size / b->size;

	q->r.off = (b->random ? rnd(&b->seed) % n : b->next++ % n) * b->size;
	q->idle = false;
	block_submit(b->t->b, &q->r);
}

static void bench_done(struct block_req *r, int rc)
{
	struct bench_req *q = r->opaque;

	q->b->ops++;
	q->b->errors += rc != 0;
	q->b->left--;
	q->idle = true;
	if (!q->b->poll && !q->b->stop) {
		q->b->left++;
		bench_start(q);
	}
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* As a guest does: from completions, or with poll in batches from one thread. */
static void cmd_bench(struct tool *t, const char *kind, uint64_t size, unsigned depth, double secs,
		      bool poll)
{
	struct bench b = {.t = t,
			  .size = size,
			  .random = kind[0] == 'r' && kind[1] == 'a',
			  .poll = poll,
			  .write = strstr(kind, "write") != NULL};
	struct bench_req *q = xcalloc(depth, sizeof(*q));
	double start = seconds(), now;

	for (unsigned i = 0; i < depth; i++) {
		q[i].b = &b;
		q[i].iov = (struct iovec){xzalloc_aligned(4096, size), size};
		memset(q[i].iov.iov_base, 0x5a, size);
		q[i].r = (struct block_req){.op = b.write ? BLOCK_WRITE : BLOCK_READ,
					    .len = size,
					    .iov = &q[i].iov,
					    .n_iov = 1,
					    .done = bench_done,
					    .opaque = &q[i]};
		q[i].idle = true;
	}
	do {
		lock_take(&t->lock);
		for (unsigned i = 0; i < depth; i++)
			if (q[i].idle) {
				b.left++;
				bench_start(&q[i]);
			}
		block_poll(t->b);
		lock_drop(&t->lock);
		now = seconds();
		if (!poll)
			usleep(10000);
	} while (now - start < secs);
	lock_take(&t->lock);
	b.stop = true;
	block_drain(t->b);
	lock_drop(&t->lock);
	now = seconds() - start;
	printf("%s %" PRIu64 " x%u%s: %.0f IOPS, %.1f MB/s, %" PRIu64 " errors\n", kind, size,
	       depth, poll ? " poll" : "", (double)b.ops / now,
	       (double)b.ops * (double)size / now / 1e6, b.errors);
	for (unsigned i = 0; i < depth; i++)
		free(q[i].iov.iov_base);
	free(q);
}

static int cmd_change(struct tool *t, int argc, char **argv)
{
	enum block_op op = argv[1][0] == 'w'   ? BLOCK_WRITE
			   : argv[1][0] == 'z' ? BLOCK_ZERO
					       : BLOCK_DISCARD;
	uint64_t off = num(argv[3]), len = num(argv[4]);
	unsigned char *buf = op == BLOCK_WRITE ? xzalloc(len) : NULL;
	int r;

	if (buf)
		memset(buf, (int)num(argc > 5 ? argv[5] : "0"), len);
	r = one(t, op, off, buf, len, false);
	free(buf);
	if (r)
		fprintf(stderr, "block-tool: %s: %s\n", argv[1], strerror(-r));
	return r != 0;
}

int main(int argc, char **argv)
{
	struct tool t = {0};
	const char *cmd = argc > 2 ? argv[1] : "";
	int rc = 0;

	if (!strcmp(cmd, "info") || !strcmp(cmd, "map") || !strcmp(cmd, "dump")) {
		open_drive(&t, argv[2], false, false);
		(cmd[0] == 'i' ? cmd_info : cmd[0] == 'm' ? cmd_map : cmd_dump)(&t);
	} else if (argc >= 5 &&
		   (!strcmp(cmd, "write") || !strcmp(cmd, "zero") || !strcmp(cmd, "discard"))) {
		open_drive(&t, argv[2], true, false);
		rc = cmd_change(&t, argc, argv);
	} else if (argc == 5 && !strcmp(cmd, "load")) {
		open_drive(&t, argv[2], true, false);
		cmd_load(&t, num(argv[3]), argv[4]);
	} else if (argc == 4 && !strcmp(cmd, "check")) {
		open_drive(&t, argv[2], false, false);
		cmd_check(&t, argv[3]);
	} else if (argc >= 7 && !strcmp(cmd, "bench")) {
		open_drive(&t, argv[2], strstr(argv[3], "write") != NULL, argc > 7);
		cmd_bench(&t, argv[3], num(argv[4]), (unsigned)num(argv[5]), atof(argv[6]),
			  argc > 7);
	} else {
		fprintf(stderr, "usage: see the head of block-tool.c\n");
		return 2;
	}
	close_drive(&t);
	return rc;
}
