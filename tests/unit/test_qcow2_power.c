/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss of power: the image lies on a "disk" in memory that forgets.  What was written since the
 * last flush may be on it or not, sector by sector, in any order.  At random moments the power
 * goes: any subset of those sectors is kept, qemu-img check may find leaks only, and the guest's
 * disk has what it had flushed.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include "back/block/node.h"
#include "block_env.h"

#define DISK_MAX (24 * MiB)
#define GUEST_SIZE (4 * MiB)
#define GUEST_SECTORS (GUEST_SIZE / 512)
#define HISTORY 64

struct forgetful {
	pthread_mutex_t lock;
	unsigned char *now, *stable; /* DISK_MAX each */
	uint8_t *dirty; /* a byte per sector */
	uint64_t flushes;
	/* The power goes at this many calls from now; then the disk is as it was copied here. */
	unsigned calls_left;
	unsigned char *lost_now, *lost_stable;
	uint8_t *lost_dirty;
	bool lost;
};

static void count_call(struct forgetful *f)
{
	if (!f->calls_left || --f->calls_left)
		return;
	memcpy(f->lost_now, f->now, DISK_MAX);
	memcpy(f->lost_stable, f->stable, DISK_MAX);
	memcpy(f->lost_dirty, f->dirty, DISK_MAX / 512);
	f->lost = true;
}

static int fg_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	return 0;
}

static void fg_close(struct block_node *n)
{
}

static int fg_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct forgetful *f = n->priv;

	if (!range_fits(off, len, DISK_MAX))
		return -EIO;
	pthread_mutex_lock(&f->lock);
	bvec_put(v, f->now + off, len);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int fg_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct forgetful *f = n->priv;

	if (!range_fits(off, len, DISK_MAX))
		return -ENOSPC;
	pthread_mutex_lock(&f->lock);
	bvec_get(v, f->now + off, len);
	for (uint64_t s = off / 512; s <= (off + len - 1) / 512; s++)
		f->dirty[s] = 1;
	count_call(f);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int fg_flush(struct block_node *n)
{
	struct forgetful *f = n->priv;

	pthread_mutex_lock(&f->lock);
	count_call(f);
	for (uint64_t s = 0; s < DISK_MAX / 512; s++)
		if (f->dirty[s]) {
			memcpy(f->stable + s * 512, f->now + s * 512, 512);
			f->dirty[s] = 0;
		}
	f->flushes++;
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static const struct node_drv node_forgetful = {
	.name = "forgetful",
	.protocol = true,
	.open = fg_open,
	.close = fg_close,
	.read = fg_read,
	.write = fg_write,
	.flush = fg_flush,
};

/* What a sector may hold: generations since the last flush, the oldest of them flushed.  0: zeroes.
 */
struct sector {
	uint32_t gen[HISTORY];
	unsigned n;
};

struct power {
	struct env *v;
	struct forgetful f;
	struct sector *sec;
	uint64_t seed;
	uint32_t gen;
	unsigned crashes;
};

static void fill(unsigned char *p, uint64_t sector, uint32_t gen)
{
	for (unsigned i = 0; i < 512; i += 8)
		put_le64(p + i, gen ? (uint64_t)gen << 32 | (sector << 8) | i / 8 : 0);
}

static void note(struct power *w, uint64_t sector, uint32_t gen)
{
	struct sector *s = &w->sec[sector];

	assert_true(s->n < HISTORY);
	s->gen[s->n++] = gen;
}

static void flushed(struct power *w)
{
	for (uint64_t i = 0; i < GUEST_SECTORS; i++) {
		w->sec[i].gen[0] = w->sec[i].gen[w->sec[i].n - 1];
		w->sec[i].n = 1;
	}
}

/* The power goes: each sector that was not flushed is kept or not. */
static void write_image(struct power *w, unsigned keep)
{
	FILE *f = fopen(env_path(w->v, "lost.qcow2"), "w");
	uint64_t end = 0;

	assert_non_null(f);
	for (uint64_t s = 0; s < DISK_MAX / 512; s++)
		if (w->f.lost_dirty[s] || !mem_is_zero(w->f.lost_stable + s * 512, 512))
			end = s + 1;
	end = align_up(end, 128);
	for (uint64_t s = 0; s < end; s++) {
		bool kept = w->f.lost_dirty[s] && env_rnd(&w->seed) % 100 < keep;

		assert_int_equal(fwrite((kept ? w->f.lost_now : w->f.lost_stable) + s * 512, 1, 512,
					f),
				 512);
	}
	fclose(f);
}

static void check_guest(struct power *w)
{
	unsigned char *buf = xzalloc(GUEST_SIZE), want[512];
	struct block *was = w->v->b;
	char opts[256];
	struct err *e = NULL;
	struct block *b;

	snprintf(opts, sizeof(opts), "file=%s/lost.qcow2,format=qcow2,readonly=on,id=lost",
		 w->v->dir);
	if (block_open_drive(&b, w->v->bs, opts, &e))
		fail_msg("%s", err_msg(e));
	assert_int_equal(block_pread(b, 0, buf, GUEST_SIZE), 0);
	for (uint64_t i = 0; i < GUEST_SECTORS; i++) {
		const struct sector *s = &w->sec[i];
		bool ok = false;

		for (unsigned k = 0; k < s->n && !ok; k++) {
			fill(want, i, s->gen[k]);
			ok = !memcmp(want, buf + i * 512, 512);
		}
		if (!ok)
			fail_msg("sector %llu: generation %llu is not one of %u since %u",
				 (unsigned long long)i,
				 (unsigned long long)(get_le64(buf + i * 512) >> 32), s->n,
				 s->gen[0]);
	}
	free(buf);
	assert_int_equal(block_close_drive(b, NULL), 0);
	w->v->b = was;
}

/* If the power went during the last operation: what is there? */
static void power_check(struct power *w)
{
	if (!w->f.lost)
		return;
	w->f.lost = false;
	write_image(w, w->crashes % 3 == 0 ? 50 : w->crashes % 3 == 1 ? 5 : 95);
	if (env_sh(w->v, "qemu-img check lost.qcow2 >check 2>&1; s=$?; [ $s = 0 ] || [ $s = 3 ]"))
		fail_msg("crash %u: qemu-img check finds errors", w->crashes);
	check_guest(w);
	w->crashes++;
	w->f.calls_left = 1 + env_rnd(&w->seed) % 200;
}

static void one_op(struct power *w, unsigned char *buf)
{
	uint64_t kind = env_rnd(&w->seed) % 16, len, first;

	if (kind == 15) {
		/* Most of what matters is here. */
		if (env_rnd(&w->seed) & 1)
			w->f.calls_left = 1 + env_rnd(&w->seed) % 16;
		assert_int_equal(env_io(w->v, BLOCK_FLUSH, 0, NULL, 0), 0);
		power_check(w);
		flushed(w);
		return;
	}
	len = 1 + env_rnd(&w->seed) % (env_rnd(&w->seed) % 3 ? 8 : 300);
	first = env_rnd(&w->seed) % (GUEST_SECTORS - len + 1);
	/* No sector too often between two flushes. */
	for (uint64_t i = 0; i < len; i++)
		if (w->sec[first + i].n >= HISTORY - 1)
			return;
	w->gen++;
	for (uint64_t i = 0; i < len; i++) {
		uint32_t gen = kind < 12 ? w->gen : 0;

		fill(buf + i * 512, first + i, gen);
		note(w, first + i, gen);
	}
	if (kind < 12)
		assert_int_equal(env_io(w->v, BLOCK_WRITE, first * 512, buf, len * 512), 0);
	else
		assert_int_equal(
			env_io_unmap(w->v, BLOCK_ZERO, first * 512, NULL, len * 512, kind & 1), 0);
	power_check(w);
}

static void power_run(struct env *v, const char *create, const char *opts, uint64_t seed)
{
	struct power w = {.v = v, .seed = seed};
	struct node_mode mode = {.write = true, .unmap = true};
	unsigned char *buf = xzalloc(MiB);
	struct block_node *n;
	struct err *e = NULL;
	char all[256];
	FILE *f;

	if (env_sh(v, "command -v qemu-img >/dev/null"))
		skip();
	assert_int_equal(env_sh(v, "qemu-img create -q -f qcow2 -o %s new.qcow2 4M", create), 0);
	w.f.now = xzalloc(DISK_MAX);
	w.f.stable = xzalloc(DISK_MAX);
	w.f.dirty = xzalloc(DISK_MAX / 512);
	w.f.lost_now = xzalloc(DISK_MAX);
	w.f.lost_stable = xzalloc(DISK_MAX);
	w.f.lost_dirty = xzalloc(DISK_MAX / 512);
	w.sec = xcalloc(GUEST_SECTORS, sizeof(*w.sec));
	for (uint64_t i = 0; i < GUEST_SECTORS; i++)
		w.sec[i].n = 1;
	pthread_mutex_init(&w.f.lock, NULL);
	f = fopen(env_path(v, "new.qcow2"), "r");
	assert_true(fread(w.f.stable, 1, DISK_MAX, f) > 0);
	fclose(f);
	memcpy(w.f.now, w.f.stable, DISK_MAX);
	n = node_new(v->bs, &node_forgetful, "disk", &mode);
	n->priv = &w.f;
	n->size = DISK_MAX;
	n->filename = xstrdup("memory");
	n->named = true;
	snprintf(all, sizeof(all), "driver=qcow2,node-name=top,discard=unmap,file=disk%s", opts);
	if (block_open_node(v->bs, all, &e))
		fail_msg("%s", err_msg(e));
	v->b = block_find(v->bs, "top");
	lock_take(&v->lock);
	assert_int_equal(block_attach(v->b, &v->front, true, NULL), 0);
	lock_drop(&v->lock);
	w.f.calls_left = 50;
	while (w.crashes < 60)
		one_op(&w, buf);
	assert_true(w.f.flushes > 10);
	env_close(v);
	pthread_mutex_destroy(&w.f.lock);
	free(w.f.now);
	free(w.f.stable);
	free(w.f.dirty);
	free(w.f.lost_now);
	free(w.f.lost_stable);
	free(w.f.lost_dirty);
	free(w.sec);
	free(buf);
}

static void test_power_64k(void **state)
{
	power_run(*state, "cluster_size=64k", "", 1);
}

static void test_power_4k(void **state)
{
	power_run(*state, "cluster_size=4k", ",cache-size=8K", 2);
}

static void test_power_512(void **state)
{
	power_run(*state, "cluster_size=512,refcount_bits=64", ",cache-size=1K", 3);
}

static void test_power_extended(void **state)
{
	power_run(*state, "extended_l2=on,cluster_size=16k", "", 4);
}

static void test_power_v2(void **state)
{
	power_run(*state, "compat=0.10,cluster_size=1k", "", 5);
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_power_64k),	T(test_power_4k), T(test_power_512),
		T(test_power_extended), T(test_power_v2),
	};

	return cmocka_run_group_tests_name("qcow2-power", tests, NULL, NULL);
}
