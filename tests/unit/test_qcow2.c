/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2 against qemu-img: images that it made with every option are written to at random, read
 * back, checked by it and compared; bad images are told in a line each.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <sys/mount.h>
#include "block_env.h"

static bool have_qemu(struct env *v)
{
	return env_sh(v, "command -v qemu-img >/dev/null && command -v qemu-io >/dev/null") == 0;
}

#define NEED_QEMU(v)               \
	do {                       \
		if (!have_qemu(v)) \
			skip();    \
	} while (0)

static void sh_ok(struct env *v, const char *cmd)
{
	int st = env_sh(v, "%s", cmd);

	if (st)
		fail_msg("%s: status %d", cmd, st);
}

static void put_model(struct env *v, struct load *l, const char *name)
{
	FILE *f = fopen(env_path(v, name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(l->model, 1, l->size, f), l->size);
	fclose(f);
}

/* No errors, and no leaks either: the image was closed. */
static void qemu_agrees(struct env *v, struct load *l)
{
	put_model(v, l, "model");
	sh_ok(v, "qemu-img check -q a.qcow2");
	sh_ok(v, "qemu-img compare -q -f qcow2 -F raw a.qcow2 model");
}

struct variant {
	const char *make; /* shell, makes a.qcow2 */
	const char *opts; /* of -drive */
	unsigned ops;
	bool unmap; /* a discard reads as zeroes */
};

static void get_model(struct env *v, struct load *l)
{
	struct block_info info;

	block_info(v->b, &info);
	l->v = v;
	l->size = info.size;
	l->model = xzalloc(l->size);
	for (uint64_t off = 0; off < l->size; off += MiB)
		assert_int_equal(
			env_io(v, BLOCK_READ, off, l->model + off, min_u64(MiB, l->size - off)), 0);
}

static void run_variant(struct env *v, const struct variant *va)
{
	struct load l = {.seed = 99, .discard_align = va->unmap ? 65536 : 0};

	sh_ok(v, va->make);
	/* As qemu-img reads it, so do we. */
	env_open(v, "a.qcow2", va->opts, true);
	get_model(v, &l);
	put_model(v, &l, "model");
	env_close(v);
	sh_ok(v, "qemu-img compare -q -f qcow2 -F raw a.qcow2 model");
	for (int round = 0; round < 2; round++) {
		env_open(v, "a.qcow2", va->opts, true);
		load_run(v, &l, va->ops ? va->ops : 800);
		env_close(v);
		qemu_agrees(v, &l);
	}
	env_open(v, "a.qcow2", "readonly=on", false);
	load_check_all(&l);
	env_close(v);
	free(l.model);
}

static void run_variants(struct env *v, const struct variant *va, size_t n)
{
	NEED_QEMU(v);
	for (size_t i = 0; i < n; i++) {
		print_message("    %s %s\n", va[i].make, va[i].opts);
		run_variant(v, &va[i]);
		sh_ok(v, "rm -f a.qcow2 base* data");
	}
}

#define CREATE(o) "qemu-img create -q -f qcow2 -o " o " a.qcow2 24M"

static void test_versions(void **state)
{
	static const struct variant va[] = {
		{CREATE("compat=1.1"), ""},
		{CREATE("compat=1.1"), "discard=unmap,detect-zeroes=unmap", .unmap = true},
		{CREATE("compat=0.10"), "discard=unmap", .unmap = true},
		{CREATE("compat=1.1"), "cache=writethrough", 300},
		{CREATE("compat=1.1"), "cache=none,discard=unmap"},
		{"qemu-img create -q -f qcow2 a.qcow2 10000384", "discard=unmap", .unmap = true},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

static void test_cluster_sizes(void **state)
{
	static const struct variant va[] = {
		{CREATE("cluster_size=512"), "discard=unmap", .unmap = true},
		{CREATE("cluster_size=512"), "l2-cache-size=1K,refcount-cache-size=1K"},
		{CREATE("cluster_size=1k"), ""},
		{CREATE("cluster_size=4k"), "discard=unmap", .unmap = true},
		{CREATE("cluster_size=4k"), "cache-size=4K"},
		{CREATE("cluster_size=2M"), "discard=unmap"},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

static void test_refcount_bits(void **state)
{
	static const struct variant va[] = {
		{CREATE("refcount_bits=1,cluster_size=512"), "discard=unmap", .unmap = true},
		{CREATE("refcount_bits=2,cluster_size=1k"), "discard=unmap", .unmap = true},
		{CREATE("refcount_bits=4,cluster_size=512"), "discard=unmap", .unmap = true},
		{CREATE("refcount_bits=8,cluster_size=512"), "discard=unmap", .unmap = true},
		{CREATE("refcount_bits=32,cluster_size=512"), "discard=unmap", .unmap = true},
		{CREATE("refcount_bits=64,cluster_size=512"), "discard=unmap", .unmap = true},
		{CREATE("refcount_bits=64"), "discard=unmap", .unmap = true},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

static void test_extended_l2(void **state)
{
	static const struct variant va[] = {
		{CREATE("extended_l2=on"), "discard=unmap", 1500, .unmap = true},
		{CREATE("extended_l2=on,cluster_size=16k"), "discard=unmap", 1500, .unmap = true},
		{CREATE("extended_l2=on,cluster_size=2M"), ""},
		{"yes base | head -c 20000000 > base.raw; qemu-img create -q -f qcow2 -o "
		 "extended_l2=on "
		 "-b base.raw -F raw a.qcow2 24M",
		 "discard=unmap", 1500},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

static void test_preallocation(void **state)
{
	static const struct variant va[] = {
		{CREATE("preallocation=metadata"), "discard=unmap", .unmap = true},
		{CREATE("preallocation=metadata,extended_l2=on"), "discard=unmap", .unmap = true},
		{CREATE("preallocation=falloc"), ""},
		{CREATE("preallocation=full,cluster_size=4k"), "discard=unmap"},
		{CREATE("lazy_refcounts=on"), "discard=unmap"},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

static void test_data_file(void **state)
{
	static const struct variant va[] = {
		{CREATE("data_file=data"), "discard=unmap", .unmap = true},
		{CREATE("data_file=data,data_file_raw=on"), "discard=unmap"},
		{CREATE("data_file=data,extended_l2=on"), ""},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

#define BASE_RAW "seq 1 3000000 | head -c 20000000 > base.raw; "

static void test_backing(void **state)
{
	static const struct variant va[] = {
		{BASE_RAW "qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2", ""},
		{BASE_RAW "qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2 30M",
		 "discard=unmap"},
		{BASE_RAW
		 "qemu-img create -q -f qcow2 -o compat=0.10 -b base.raw -F raw a.qcow2 22M",
		 "discard=unmap"},
		{BASE_RAW "qemu-img convert -f raw -O qcow2 -c base.raw base1; qemu-img create -q "
			  "-f qcow2 -b base1 "
			  "-F qcow2 base2 22M; qemu-io -c 'write -P 3 1M 3M' base2 >/dev/null; "
			  "qemu-img create -q -f qcow2 -b base2 -F qcow2 a.qcow2 23M",
		 "discard=unmap"},
		{BASE_RAW
		 "qemu-img create -q -f qcow2 -o cluster_size=2M -b base.raw -F raw a.qcow2",
		 ""},
		{BASE_RAW
		 "qemu-img create -q -f qcow2 -o cluster_size=512 -b base.raw -F raw a.qcow2",
		 ""},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

static void test_compressed(void **state)
{
	static const struct variant va[] = {
		{BASE_RAW "qemu-img convert -f raw -O qcow2 -c base.raw a.qcow2", "discard=unmap",
		 .unmap = true},
		{BASE_RAW
		 "qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd base.raw a.qcow2",
		 "discard=unmap"},
		{BASE_RAW "qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k base.raw a.qcow2",
		 "discard=unmap"},
		{BASE_RAW "qemu-img convert -f raw -O qcow2 -c -o "
			  "cluster_size=2M,compression_type=zstd base.raw a.qcow2",
		 ""},
		{BASE_RAW "qemu-img convert -f raw -O qcow2 -c -o extended_l2=on base.raw a.qcow2",
		 ""},
		{BASE_RAW "qemu-img convert -f raw -O qcow2 -c -o compat=0.10 base.raw a.qcow2",
		 "discard=unmap"},
	};

	run_variants(*state, va, ARRAY_SIZE(va));
}

/* A snapshot has what the disk had, whatever is written later. */
static void test_snapshots(void **state)
{
	static const struct variant va[] = {
		{CREATE("compat=1.1"), "discard=unmap"},
		{CREATE("cluster_size=4k"), "discard=unmap"},
		{CREATE("extended_l2=on"), "discard=unmap"},
		{BASE_RAW "qemu-img convert -f raw -O qcow2 -c base.raw a.qcow2", "discard=unmap"},
	};
	struct env *v = *state;
	struct block_image img;

	NEED_QEMU(v);
	for (size_t i = 0; i < ARRAY_SIZE(va); i++) {
		struct load l = {.seed = 5 + i, .discard_align = 65536};

		sh_ok(v, va[i].make);
		env_open(v, "a.qcow2", va[i].opts, true);
		get_model(v, &l);
		load_run(v, &l, 800);
		env_close(v);
		put_model(v, &l, "model1");
		sh_ok(v, "qemu-img snapshot -c one a.qcow2");
		env_open(v, "a.qcow2", va[i].opts, true);
		block_image(block_root(v->b), &img);
		assert_int_equal(img.n_snapshots, 1);
		assert_string_equal(img.snapshots[0].name, "one");
		assert_int_equal(img.snapshots[0].disk_size, l.size);
		load_run(v, &l, 800);
		env_close(v);
		put_model(v, &l, "model2");
		sh_ok(v, "qemu-img snapshot -c two a.qcow2");
		env_open(v, "a.qcow2", va[i].opts, true);
		load_run(v, &l, 800);
		env_close(v);
		qemu_agrees(v, &l);
		for (int s = 1; s <= 2; s++) {
			assert_int_equal(env_sh(v,
						"qemu-img convert -l %s -O raw a.qcow2 old && cmp "
						"old model%d",
						s == 1 ? "one" : "two", s),
					 0);
		}
		sh_ok(v, "qemu-img snapshot -d one a.qcow2 && qemu-img snapshot -d two a.qcow2");
		qemu_agrees(v, &l);
		/* What they alone had is free, and is used again. */
		env_open(v, "a.qcow2", va[i].opts, true);
		load_run(v, &l, 800);
		env_close(v);
		qemu_agrees(v, &l);
		free(l.model);
		sh_ok(v, "rm -f a.qcow2 base*");
	}
}

/* A writer that was killed with lazy counts: they are made anew. */
static void test_dirty(void **state)
{
	struct env *v = *state;
	struct block_image img;
	unsigned char buf[512];

	NEED_QEMU(v);
	sh_ok(v, "qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k a.qcow2 24M");
	assert_int_not_equal(env_sh(v,
				    "qemu-io -c 'write -P 7 1M 5M' -c 'write -P 8 20M 1M' -c flush "
				    "-c abort a.qcow2 >/dev/null 2>&1"),
			     0);
	assert_int_equal(
		env_sh(v, "qemu-img info a.qcow2 | grep -q 'dirty'; qemu-img info a.qcow2 >info; "
			  "qemu-img check a.qcow2 >/dev/null 2>&1 && exit 1; exit 0"),
		0);
	/* Read-only it stays as it is. */
	env_open(v, "a.qcow2", "readonly=on", false);
	block_image(block_root(v->b), &img);
	assert_true(img.dirty && img.lazy_refcounts);
	assert_int_equal(env_io(v, BLOCK_READ, 5 * MiB, buf, 512), 0);
	assert_int_equal(buf[0], 7);
	env_close(v);
	env_open(v, "a.qcow2", "", true);
	block_image(block_root(v->b), &img);
	assert_false(img.dirty);
	assert_int_equal(env_io(v, BLOCK_READ, 20 * MiB, buf, 512), 0);
	assert_int_equal(buf[0], 8);
	env_close(v);
	sh_ok(v, "qemu-img check -q a.qcow2");
	sh_ok(v, "grep -q 'reference counts were put right' log");
}

static void test_resize(void **state)
{
	struct env *v = *state;
	struct load l = {.seed = 3};

	NEED_QEMU(v);
	sh_ok(v, "qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 5M");
	env_open(v, "a.qcow2", "discard=unmap", true);
	load_run(v, &l, 500);
	lock_take(&v->lock);
	assert_int_equal(block_resize(v->b, 40 * MiB, NULL), 0);
	assert_int_equal(block_resize(v->b, MiB, NULL), -ENOTSUP);
	lock_drop(&v->lock);
	l.model = xrealloc(l.model, 40 * MiB);
	memset(l.model + 5 * MiB, 0, 35 * MiB);
	load_run(v, &l, 1000);
	env_close(v);
	qemu_agrees(v, &l);
	free(l.model);
}

/* Bytes of the image changed, and what is then said. */
static void test_bad_images(void **state)
{
	static const struct {
		unsigned at;
		const char *bytes; /* of printf */
		const char *says;
		bool write;
	} bad[] = {
		{0, "X", "is not a qcow2 image", false},
		{7, "\\7", "version 7 is not supported", false},
		{20, "\\0\\0\\0\\10", "clusters are of 512 bytes", false},
		{20, "\\377\\377\\377\\377", "clusters are of 512 bytes", false},
		{24, "\\377", "the size of the disk", false},
		{32, "\\0\\0\\0\\1", "encrypted images", false},
		{36, "\\0\\377\\377\\377", "the L1 table is too large", false},
		{36, "\\0\\0\\0\\0", "the L1 table is too small", false},
		{40, "\\0\\0\\0\\0\\0\\3\\0\\1", "the L1 table is not in the file", false},
		{40, "\\177", "the L1 table is not in the file", false},
		{48, "\\177", "the refcount table is not in the file", false},
		{48, "\\0\\0\\0\\0\\0\\0\\0\\0", "there is no refcount table", false},
		{56, "\\377", "the size of the refcount table", false},
		{56, "\\0\\0\\0\\0", "the size of the refcount table", false},
		{56, "\\0\\0\\0\\0\\0\\0\\0\\1", "the size of the refcount table", false},
		{60, "\\377", "the number of snapshots", false},
		{60, "\\0\\0\\0\\1\\177", "the snapshot table is not in the file", false},
		{8, "\\0\\0\\0\\0\\0\\1\\377\\377\\0\\0\\1\\0", "the backing file's name", false},
		{8, "\\0\\0\\0\\0\\0\\0\\2\\0\\0\\1\\0\\0", "the backing file's name", false},
		{96, "\\0\\0\\0\\7", "refcount_order", false},
		{100, "\\377\\377\\377\\370", "its length", false},
		{100, "\\0\\0\\0\\101", "its length", false},
		{104, "\\1", "compression type and its feature bit", false},
		{104, "\\5", "unknown compression type 5", false},
		{79, "\\2", "marked as corrupt", true},
		{79, "\\4", "the name of its data file is missing", false},
		{72, "\\200", "not supported: bit 63", false},
		{79, "\\40", "not supported: bit 5", false},
		{116, "\\377\\377\\377\\377", "an extension is longer", false},
	};
	struct env *v = *state;

	NEED_QEMU(v);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char opts[256];
		struct err *e = NULL;
		struct block *b;

		sh_ok(v, "qemu-img create -q -f qcow2 a.qcow2 24M");
		assert_int_equal(
			env_sh(v,
			       "printf '%s' | dd of=a.qcow2 bs=1 seek=%u conv=notrunc status=none",
			       bad[i].bytes, bad[i].at),
			0);
		snprintf(opts, sizeof(opts), "file=%s/a.qcow2,format=qcow2%s", v->dir,
			 bad[i].write ? "" : ",readonly=on");
		if (!block_open_drive(&b, v->bs, opts, &e))
			fail_msg("at %u '%s': it opened", bad[i].at, bad[i].bytes);
		if (!strstr(err_msg(e), bad[i].says))
			fail_msg("at %u '%s': '%s' does not say '%s'", bad[i].at, bad[i].bytes,
				 err_msg(e), bad[i].says);
		err_free(&e);
		assert_null(block_next(v->bs, NULL));
		assert_null(block_node_next(v->bs, NULL));
	}
}

static void expect_error(struct env *v, const char *name, const char *more, const char *says)
{
	char opts[256];
	struct err *e = NULL;
	struct block *b;

	snprintf(opts, sizeof(opts), "file=%s/%s%s", v->dir, name, more);
	if (!block_open_drive(&b, v->bs, opts, &e))
		fail_msg("'%s': it opened", opts);
	if (!strstr(err_msg(e), says))
		fail_msg("'%s': '%s' does not say '%s'", opts, err_msg(e), says);
	err_free(&e);
}

static void test_bad_chains(void **state)
{
	struct env *v = *state;
	struct err *e = NULL;
	struct block *b;
	char opts[256];

	NEED_QEMU(v);
	/* a -> b -> c -> a */
	sh_ok(v, "for i in a b c; do qemu-img create -q -f qcow2 $i.qcow2 1M; done; qemu-img "
		 "rebase -u -b b.qcow2 "
		 "-F qcow2 a.qcow2; qemu-img rebase -u -b c.qcow2 -F qcow2 b.qcow2; qemu-img "
		 "rebase -u -b a.qcow2 "
		 "-F qcow2 c.qcow2");
	expect_error(v, "a.qcow2", "", "a.qcow2': the backing files form a loop");
	expect_error(v, "b.qcow2", ",readonly=on", "the backing files form a loop");
	sh_ok(v, "qemu-img rebase -u -b a.qcow2 -F qcow2 a.qcow2");
	expect_error(v, "a.qcow2", "", "the backing files form a loop");
	/* Gone. */
	sh_ok(v, "qemu-img rebase -u -b gone.qcow2 -F qcow2 a.qcow2");
	expect_error(v, "a.qcow2", "", "gone.qcow2': cannot open: No such file");
	expect_error(v, "a.qcow2", "", "a.qcow2': its backing file: ");
	sh_ok(v, "mkdir dir; qemu-img rebase -u -b dir -F raw a.qcow2");
	expect_error(v, "a.qcow2", "", "dir' is a directory");
	sh_ok(v, "qemu-img rebase -u -b b.qcow2 -F vmdk a.qcow2");
	expect_error(v, "a.qcow2", "", "unknown driver 'vmdk'");
	/* Too deep. */
	sh_ok(v, "qemu-img create -q -f qcow2 0.qcow2 1M; for i in $(seq 1 70); do qemu-img create "
		 "-q -u -f qcow2 "
		 "-b $((i-1)).qcow2 -F qcow2 $i.qcow2 1M; done");
	expect_error(v, "70.qcow2", "", "more than 64 images");
	env_open(v, "20.qcow2", "", true);
	env_close(v);
	/* Nothing, a part, and a file that shrank. */
	sh_ok(v, ": > empty.qcow2");
	expect_error(v, "empty.qcow2", ",format=qcow2", "is not a qcow2 image");
	sh_ok(v, "head -c 100 b.qcow2 > part.qcow2");
	expect_error(v, "part.qcow2", ",format=qcow2", "it is cut off");
	sh_ok(v, "head -c 70000 b.qcow2 > part.qcow2");
	expect_error(v, "part.qcow2", ",format=qcow2", "the refcount table is not in the file");
	/* In use. */
	snprintf(opts, sizeof(opts), "file=%s/0.qcow2", v->dir);
	assert_int_equal(block_open_drive(&b, v->bs, opts, &e), 0);
	expect_error(v, "0.qcow2", "", "0.qcow2': image is in use by another process");
	expect_error(v, "1.qcow2", "", "its backing file: '");
	assert_int_not_equal(env_sh(v, "qemu-img info 0.qcow2 >/dev/null 2>&1"), 0);
	assert_int_equal(env_sh(v, "qemu-img info -U 0.qcow2 >/dev/null 2>&1"), 0);
}

/* A feature bit has its name in the image. */
static void test_feature_name(void **state)
{
	struct env *v = *state;

	NEED_QEMU(v);
	sh_ok(v, "qemu-img create -q -f qcow2 a.qcow2 1M; python3 -c \"\n"
		 "d=bytearray(open('a.qcow2','rb').read())\n"
		 "i=d.index(b'dirty bit')\n"
		 "d[i-1]=40\n"
		 "d[i:i+9]=b'wonderful'\n"
		 "d[74]=1\n"
		 "open('a.qcow2','wb').write(d)\"");
	expect_error(v, "a.qcow2", "", "not supported: wonderful");
}

/* Tables that overlap: found before the write, the image is marked, and nothing more is written. */
static void test_overlap(void **state)
{
	struct env *v = *state;
	unsigned char buf[4096] = {1};
	struct block_image img;

	NEED_QEMU(v);
	/* The L2 entry of guest cluster 0 leads to the refcount table. */
	sh_ok(v, "qemu-img create -q -f qcow2 a.qcow2 24M; qemu-io -c 'write 0 64k' a.qcow2 "
		 ">/dev/null; "
		 "printf '\\200\\0\\0\\0\\0\\1\\0\\0' | dd of=a.qcow2 bs=1 seek=$((4*65536)) "
		 "conv=notrunc status=none");
	env_open(v, "a.qcow2", "", true);
	assert_int_equal(env_io(v, BLOCK_WRITE, 0, buf, 4096), -EIO);
	assert_int_equal(env_io(v, BLOCK_WRITE, MiB, buf, 4096), -EIO);
	assert_int_equal(env_io(v, BLOCK_READ, MiB, buf, 4096), 0);
	block_image(block_root(v->b), &img);
	assert_true(img.corrupt);
	env_close(v);
	sh_ok(v, "grep -q 'marked as corrupt' log");
	expect_error(v, "a.qcow2", "", "marked as corrupt");
	env_open(v, "a.qcow2", "readonly=on", false);
	env_close(v);
	/* Counts say that the L1 table is free. */
	sh_ok(v, "qemu-img create -q -f qcow2 a.qcow2 24M; "
		 "printf '\\0\\1\\0\\1\\0\\1\\0\\0' | dd of=a.qcow2 bs=1 seek=$((2*65536)) "
		 "conv=notrunc status=none");
	env_open(v, "a.qcow2", "", true);
	assert_int_equal(env_io(v, BLOCK_WRITE, 0, buf, 4096), -EIO);
	env_close(v);
	/* A table at an odd place. */
	sh_ok(v, "qemu-img create -q -f qcow2 a.qcow2 24M; "
		 "printf '\\200\\0\\0\\0\\0\\5\\2\\0' | dd of=a.qcow2 bs=1 seek=$((3*65536)) "
		 "conv=notrunc status=none");
	env_open(v, "a.qcow2", "", true);
	assert_int_equal(env_io(v, BLOCK_READ, 0, buf, 4096), -EIO);
	env_close(v);
}

struct full {
	struct env *v;
	unsigned stops, left;
};

static void full_error(void *opaque, const struct block_error *err)
{
	struct full *f = opaque;

	assert_true(err->nospace && err->write && err->action == BLOCK_STOP);
	f->stops++;
}

static void full_done(struct block_req *r, int rc)
{
	struct full *f = r->opaque;

	assert_int_equal(rc, 0);
	f->left--;
}

/* The host's disk fills up under the image: requests wait, and after there is room nothing is lost.
 */
static void test_nospace(void **state)
{
	struct env *v = *state;
	struct full f = {.v = v, .left = 48};
	struct block_req *r = xcalloc(49, sizeof(*r));
	struct iovec *iov = xcalloc(48, sizeof(*iov));
	unsigned char *buf = xzalloc(256 * KiB), *data = xzalloc(48 * 256 * KiB);
	char dir[128];

	NEED_QEMU(v);
	snprintf(dir, sizeof(dir), "%s/small", v->dir);
	mkdir(dir, 0700);
	if (mount("tmpfs", dir, "tmpfs", 0, "size=4m") < 0) {
		free(r);
		free(iov);
		free(buf);
		free(data);
		skip();
	}
	sh_ok(v, "qemu-img create -q -f qcow2 -o cluster_size=4k small/a.qcow2 24M");
	env_open(v, "small/a.qcow2", "", true);
	blocks_set_error_hook(v->bs, full_error, &f);
	lock_take(&v->lock);
	for (unsigned i = 0; i < 48; i++) {
		memset(data + i * 256 * KiB, (int)i + 1, 256 * KiB);
		iov[i] = (struct iovec){data + i * 256 * KiB, 256 * KiB};
		r[i] = (struct block_req){.op = BLOCK_WRITE,
					  .off = i * 256 * KiB,
					  .len = 256 * KiB,
					  .iov = &iov[i],
					  .n_iov = 1,
					  .done = full_done,
					  .opaque = &f};
		block_submit(v->b, &r[i]);
	}
	block_drain(v->b);
	assert_true(f.stops > 0 && f.left > 0);
	/* Still none: it is the same again.  Then there is. */
	blocks_resume(v->bs);
	block_drain(v->b);
	assert_true(f.left > 0);
	assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=32m"), 0);
	blocks_resume(v->bs);
	block_drain(v->b);
	assert_int_equal(f.left, 0);
	lock_drop(&v->lock);
	assert_int_equal(env_io(v, BLOCK_FLUSH, 0, NULL, 0), 0);
	for (unsigned i = 0; i < 48; i++) {
		assert_int_equal(env_io(v, BLOCK_READ, i * 256 * KiB, buf, 256 * KiB), 0);
		assert_memory_equal(buf, data + i * 256 * KiB, 256 * KiB);
	}
	env_close(v);
	sh_ok(v, "qemu-img check -q small/a.qcow2");
	umount2(dir, MNT_DETACH);
	free(r);
	free(iov);
	free(buf);
	free(data);
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_versions),    T(test_cluster_sizes), T(test_refcount_bits),
		T(test_extended_l2), T(test_preallocation), T(test_data_file),
		T(test_backing),     T(test_compressed),    T(test_snapshots),
		T(test_dirty),	     T(test_resize),	    T(test_bad_images),
		T(test_bad_chains),  T(test_feature_name),  T(test_overlap),
		T(test_nospace),
	};

	return cmocka_run_group_tests_name("qcow2", tests, NULL, NULL);
}
