/* SPDX-License-Identifier: Apache-2.0 */
/* Drives over raw images: threads and completions, options, media, locks, errors, limits. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include "block_env.h"

static void make_file(struct env *v, const char *name, uint64_t size)
{
	int fd = open(env_path(v, name), O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void load_with(struct env *v, const char *opts, bool unmap)
{
	struct load l = {.seed = 7, .discard_align = unmap ? 512 : 0};

	make_file(v, "disk", 8 * MiB + 512);
	env_open(v, "disk", opts, true);
	load_run(v, &l, 3000);
	env_close(v);
	/* What was written is there. */
	if (!strstr(opts, "snapshot")) {
		env_open(v, "disk", "format=raw", false);
		load_check_all(&l);
	}
	env_close(v);
	free(l.model);
}

static void test_load_writeback(void **state)
{
	load_with(*state, "format=raw", false);
}

static void test_load_threads(void **state)
{
	load_with(*state, "format=raw,aio=threads,discard=unmap,detect-zeroes=unmap", true);
}

static void test_load_direct(void **state)
{
	struct env *v = *state;
	int fd = open(v->dir, O_TMPFILE | O_RDWR | O_DIRECT, 0600);

	if (fd < 0)
		skip();
	close(fd);
	load_with(v, "format=raw,cache=none,discard=unmap", true);
	load_with(v, "format=raw,cache=none,aio=native", false);
	load_with(v, "format=raw,cache=none,aio=threads", false);
}

static void test_load_uring(void **state)
{
	load_with(*state, "format=raw,aio=io_uring,discard=unmap", true);
}

static void test_load_writethrough(void **state)
{
	load_with(*state, "format=raw,cache=writethrough,file.locking=off", false);
}

static void test_load_unsafe(void **state)
{
	load_with(*state, "format=raw,cache=unsafe", false);
}

static void test_load_snapshot(void **state)
{
	struct env *v = *state;

	load_with(v, "format=raw,snapshot=on", false);
	/* The file has no block of data. */
	assert_int_equal(env_sh(v, "test $(stat -c %%b disk) = 0"), 0);
}

/* A base that is not empty, seen through the overlay. */
static void test_snapshot_base(void **state)
{
	struct env *v = *state;
	unsigned char buf[4096], want[4096];

	assert_int_equal(env_sh(v, "yes abcdefg | head -c 1048576 > disk; cp disk copy"), 0);
	env_open(v, "disk", "format=raw,snapshot=on", true);
	memset(buf, 0x5a, 512);
	assert_int_equal(env_io(v, BLOCK_WRITE, 4096 + 512, buf, 512), 0);
	assert_int_equal(env_io(v, BLOCK_READ, 4096, buf, 4096), 0);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = i >= 512 && i < 1024 ? 0x5a : (unsigned char)"abcdefg\n"[i % 8];
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(env_io(v, BLOCK_DISCARD, 0, NULL, 8192), 0);
	assert_int_equal(env_io(v, BLOCK_READ, 4096, buf, 4096), 0);
	memset(want, 0, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
	env_close(v);
	assert_int_equal(env_sh(v, "cmp disk copy"), 0);
}

/* Bad options: each names what is wrong. */
static void test_bad_options(void **state)
{
	static const struct {
		const char *opts, *says;
	} bad[] = {
		{"", "parameter 'file' is missing"},
		{"file=%s/none", "none': cannot open"},
		{"file=%s", "is a directory"},
		{"file=/dev/zero", "neither a file nor a block device"},
		{"file=%s/disk,bogus=1", "invalid parameter 'bogus'"},
		{"file=%s/disk,file.bogus=1", "invalid parameter 'file.bogus'"},
		{"file=%s/disk,format=floppy9", "unknown driver 'floppy9'"},
		{"file=%s/disk,cache=fast", "'fast' is not a value of 'cache'"},
		{"file=%s/disk,if=usb", "'usb' is not a value of 'if'"},
		{"file=%s/disk,werror=panic", "'panic' is not a value of 'werror'"},
		{"file=%s/disk,rerror=enospc", "'enospc' is not a value of 'rerror'"},
		{"file=%s/disk,copy-on-read=on", "copy-on-read"},
		{"file=%s/disk,discard=maybe", "discard is"},
		{"file=%s/disk,aio=magic", "aio is"},
		{"file=%s/disk,aio=native", "aio=native needs"},
		{"file=%s/disk,detect-zeroes=unmap", "needs discard=unmap"},
		{"file=%s/disk,index=1,unit=0", "index cannot be used"},
		{"file=%s/disk,bps=1,bps_rd=1", "cannot be used together"},
		{"file=%s/disk,iops_max=10", "iops-total-max needs iops-total"},
		{"file=gluster://x/y", "unknown protocol 'gluster'"},
		{"file=%s/vmdk", "its format is vmdk"},
		{"file=%s/disk,format=raw,offset=512,size=512000000", "is not within its"},
		{"file=%s/disk,format=raw,serial=1", "invalid parameter 'serial'"},
		{"file=%s/disk,id=taken", "there is a drive 'taken' already"},
		{"driver=raw,file.driver=raw,file.file.driver=file", "filename' is missing"},
	};
	struct env *v = *state;
	struct block *b;

	make_file(v, "disk", MiB);
	assert_int_equal(env_sh(v, "{ printf KDMV; cat disk; } > vmdk"), 0);
	assert_int_equal(block_open_drive(&b, v->bs, "driver=null-co,id=taken", NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char opts[256];
		struct err *e = NULL;

		snprintf(opts, sizeof(opts), bad[i].opts, v->dir);
		if (!block_open_drive(&b, v->bs, opts, &e))
			fail_msg("'%s' opened", opts);
		if (!e || !strstr(err_msg(e), bad[i].says))
			fail_msg("'%s': '%s' does not say '%s'", opts, e ? err_msg(e) : "",
				 bad[i].says);
		err_free(&e);
	}
	/* None of them left anything behind. */
	assert_null(block_next(v->bs, block_next(v->bs, NULL)));
}

static void test_place(void **state)
{
	struct env *v = *state;
	const struct block_place *p;
	struct block_info info;
	struct block *b;

	make_file(v, "disk", MiB);
	env_open(v, "disk", "if=virtio,index=3,format=raw,media=disk", true);
	p = block_place(v->b);
	assert_int_equal(p->interface, BLOCK_IF_VIRTIO);
	assert_int_equal(p->index, 3);
	assert_int_equal(p->bus, -1);
	assert_string_equal(block_id(v->b), "virtio3");
	assert_int_equal(block_open_drive(&b, v->bs, "if=ide,media=cdrom,bus=1,unit=1", NULL), 0);
	p = block_place(b);
	assert_true(p->cdrom);
	assert_int_equal(p->bus, 1);
	assert_int_equal(p->unit, 1);
	block_info(b, &info);
	assert_true(info.removable && info.read_only && !info.has_medium);
	assert_ptr_equal(block_find(v->bs, "virtio3"), v->b);
	assert_null(block_find(v->bs, "nothing"));
}

/* -blockdev in both forms; a node becomes a drive when a device asks for it. */
static void test_blockdev(void **state)
{
	struct env *v = *state;
	struct err *e = NULL;
	char opts[512];

	make_file(v, "disk", MiB);
	snprintf(opts, sizeof(opts), "driver=file,node-name=f0,filename=%s/disk,cache.direct=off",
		 v->dir);
	assert_int_equal(block_open_node(v->bs, opts, &e), 0);
	assert_int_equal(
		block_open_node(v->bs, "{\"driver\":\"raw\",\"node-name\":\"d0\",\"file\":\"f0\"}",
				&e),
		0);
	/* Both would write to the same file. */
	assert_int_equal(block_open_node(v->bs, "driver=raw,node-name=d1,file=f0", &e), -EBUSY);
	err_free(&e);
	snprintf(opts, sizeof(opts),
		 "{\"driver\":\"raw\",\"node-name\":\"d1\",\"read-only\":true,"
		 "\"file\":{\"driver\":\"file\",\"filename\":\"%s/disk\"}}",
		 v->dir);
	assert_int_equal(block_open_node(v->bs, opts, &e), -EAGAIN);
	assert_non_null(strstr(err_msg(e), "image is in use by another process"));
	err_free(&e);
	v->b = block_find(v->bs, "d0");
	assert_non_null(v->b);
	assert_ptr_equal(block_find(v->bs, "d0"), v->b);
	assert_int_equal(block_close_node(v->bs, "f0", &e), -EBUSY);
	err_free(&e);
	lock_take(&v->lock);
	assert_int_equal(block_attach(v->b, &v->front, true, &e), 0);
	assert_int_equal(block_close_node(v->bs, "d0", &e), -EBUSY);
	err_free(&e);
	block_detach(v->b);
	lock_drop(&v->lock);
	assert_int_equal(block_close_node(v->bs, "d0", &e), 0);
	assert_int_equal(block_close_node(v->bs, "f0", &e), 0);
}

/* An image that nobody called raw must not become another format. */
static void test_probed_raw(void **state)
{
	struct env *v = *state;
	unsigned char buf[1024] = "QFI\xfb\0\0\0\2";

	make_file(v, "disk", MiB);
	env_open(v, "disk", "", true);
	assert_int_equal(env_io(v, BLOCK_WRITE, 0, buf, sizeof(buf)), -EPERM);
	assert_int_equal(env_io(v, BLOCK_WRITE, 512, buf, 512), 0);
	buf[0] = 'X';
	assert_int_equal(env_io(v, BLOCK_WRITE, 0, buf, sizeof(buf)), 0);
	env_close(v);
	assert_int_equal(env_sh(v, "grep -q 'no format was given' log"), 0);
	env_open(v, "disk", "format=raw", true);
	buf[0] = 'Q';
	assert_int_equal(env_io(v, BLOCK_WRITE, 0, buf, sizeof(buf)), 0);
}

static void test_bad_requests(void **state)
{
	struct env *v = *state;
	unsigned char buf[1024];

	make_file(v, "disk", MiB);
	env_open(v, "disk", "format=raw", true);
	assert_int_equal(env_io(v, BLOCK_READ, MiB, buf, 512), -EINVAL);
	assert_int_equal(env_io(v, BLOCK_READ, MiB - 512, buf, 1024), -EINVAL);
	assert_int_equal(env_io(v, BLOCK_READ, UINT64_MAX - 511, buf, 1024), -EINVAL);
	assert_int_equal(env_io(v, BLOCK_READ, 1, buf, 512), -EINVAL);
	assert_int_equal(env_io(v, BLOCK_WRITE, 0, buf, 100), -EINVAL);
	assert_int_equal(env_io(v, BLOCK_ZERO, 0, NULL, UINT64_MAX - 511), -EINVAL);
	assert_int_equal(env_io(v, BLOCK_DISCARD, MiB, NULL, 512), -EINVAL);
	env_close(v);
	env_open(v, "disk", "format=raw,readonly=on", false);
	assert_int_equal(env_io(v, BLOCK_WRITE, 0, buf, 512), -EROFS);
}

static void test_read_only(void **state)
{
	struct env *v = *state;
	struct err *e = NULL;
	struct block *b;
	char opts[256];

	make_file(v, "disk", MiB);
	snprintf(opts, sizeof(opts), "file=%s/disk,format=raw,read-only=on", v->dir);
	assert_int_equal(block_open_drive(&b, v->bs, opts, &e), 0);
	lock_take(&v->lock);
	assert_int_equal(block_attach(b, &v->front, true, &e), -EROFS);
	err_free(&e);
	assert_int_equal(block_attach(b, &v->front, false, &e), 0);
	assert_int_equal(block_attach(b, &v->front, false, &e), -EBUSY);
	err_free(&e);
	lock_drop(&v->lock);
}

/* One writer, or many readers. */
static void test_second_writer(void **state)
{
	struct env *v = *state;
	struct err *e = NULL;
	struct block *b;
	char opts[256], ro[256];

	make_file(v, "disk", MiB);
	snprintf(opts, sizeof(opts), "file=%s/disk,format=raw", v->dir);
	snprintf(ro, sizeof(ro), "file=%s/disk,format=raw,readonly=on", v->dir);
	assert_int_equal(block_open_drive(&b, v->bs, opts, &e), 0);
	assert_int_equal(block_open_drive(&b, v->bs, opts, &e), -EAGAIN);
	assert_non_null(strstr(err_msg(e), "disk': image is in use by another process"));
	err_free(&e);
	assert_int_equal(block_open_drive(&b, v->bs, ro, &e), -EAGAIN);
	err_free(&e);
	if (env_sh(v, "command -v qemu-io >/dev/null") == 0) {
		assert_int_not_equal(
			env_sh(v, "qemu-io -f raw -c 'write 0 512' disk >/dev/null 2>&1"), 0);
	}
	env_close(v);
	assert_int_equal(block_open_drive(&b, v->bs, ro, &e), 0);
	assert_int_equal(block_open_drive(&b, v->bs, ro, &e), 0);
	assert_int_equal(block_open_drive(&b, v->bs, opts, &e), -EAGAIN);
	err_free(&e);
	if (env_sh(v, "command -v qemu-io >/dev/null") == 0) {
		assert_int_not_equal(
			env_sh(v, "qemu-io -f raw -c 'write 0 512' disk >/dev/null 2>&1"), 0);
		assert_int_equal(
			env_sh(v, "qemu-io -r -f raw -c 'read 0 512' disk >/dev/null 2>&1"), 0);
	}
}

/* QEMU holds it; we keep off. */
static void test_qemu_writer(void **state)
{
	struct env *v = *state;
	struct err *e = NULL;
	struct block *b;
	char opts[256];
	FILE *p;

	if (env_sh(v, "command -v qemu-io >/dev/null"))
		skip();
	make_file(v, "disk", MiB);
	snprintf(opts, sizeof(opts), "exec qemu-io -f raw %s/disk >%s/qemu.out", v->dir, v->dir);
	p = popen(opts, "w");
	assert_non_null(p);
	fprintf(p, "write 0 512\n");
	fflush(p);
	for (int i = 0; i < 500 && env_sh(v, "grep -q wrote qemu.out"); i++)
		usleep(20000);
	snprintf(opts, sizeof(opts), "file=%s/disk,format=raw", v->dir);
	assert_int_equal(block_open_drive(&b, v->bs, opts, &e), -EAGAIN);
	err_free(&e);
	pclose(p);
	assert_int_equal(block_open_drive(&b, v->bs, opts, &e), 0);
}

static bool env_locked(void *opaque)
{
	return true;
}

static void env_eject_request(void *opaque)
{
	struct env *v = opaque;

	v->stops++;
}

static void test_media(void **state)
{
	struct env *v = *state;
	unsigned char buf[512];
	struct err *e = NULL;
	struct block_info info;

	assert_int_equal(
		env_sh(v, "yes one | head -c 65536 > one.iso; yes two | head -c 32768 > two.iso"),
		0);
	env_open(v, "one.iso", "media=cdrom,if=ide,id=cd", false);
	lock_take(&v->lock);
	assert_int_equal(block_eject(v->b, false, &e), 0);
	assert_int_equal(v->media, 1);
	lock_drop(&v->lock);
	assert_int_equal(env_io(v, BLOCK_READ, 0, buf, 512), -ENOMEDIUM);
	lock_take(&v->lock);
	assert_int_equal(block_change(v->b, env_path(v, "two.iso"), NULL, -1, false, &e), 0);
	assert_int_equal(v->media, 2);
	block_info(v->b, &info);
	assert_int_equal(info.size, 32768);
	assert_true(info.has_medium && info.read_only);
	/* A file that is not there leaves the medium where it is. */
	assert_int_equal(block_change(v->b, env_path(v, "three.iso"), NULL, -1, false, &e),
			 -ENOENT);
	err_free(&e);
	lock_drop(&v->lock);
	assert_int_equal(env_io(v, BLOCK_READ, 0, buf, 512), 0);
	assert_memory_equal(buf, "two\n", 4);
	/* Locked by the guest. */
	lock_take(&v->lock);
	block_detach(v->b);
	v->front.tray_locked = env_locked;
	v->front.eject_request = env_eject_request;
	assert_int_equal(block_attach(v->b, &v->front, false, &e), 0);
	assert_int_equal(block_eject(v->b, false, &e), -EBUSY);
	assert_int_equal(v->stops, 1);
	err_free(&e);
	assert_int_equal(block_eject(v->b, true, &e), 0);
	lock_drop(&v->lock);
}

static void env_error(void *opaque, const struct block_error *err)
{
	struct env *v = opaque;

	v->errors++;
	v->stops += err->action == BLOCK_STOP;
	v->last_error = *err;
}

static void count_rc(struct block_req *r, int rc)
{
	int *got = r->opaque;

	*got = rc;
}

/* A file size limit is a disk that fills up: the request is held, and done when there is room. */
static void test_werror_stop(void **state)
{
	struct rlimit old, small;
	struct env *v = *state;
	unsigned char *buf = xzalloc(MiB);
	struct iovec iov = {buf, MiB};
	int rc = 1, rc2 = 1;
	struct block_req r = {.op = BLOCK_WRITE,
			      .off = MiB,
			      .len = MiB,
			      .iov = &iov,
			      .n_iov = 1,
			      .done = count_rc,
			      .opaque = &rc};
	struct block_req r2 = r;
	struct block_stats st;

	r2.opaque = &rc2;
	signal(SIGXFSZ, SIG_IGN);
	make_file(v, "disk", 4 * MiB);
	env_open(v, "disk", "format=raw,werror=stop,id=d", true);
	blocks_set_error_hook(v->bs, env_error, v);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 3 * MiB / 2;
	setrlimit(RLIMIT_FSIZE, &small);
	memset(buf, 0x77, MiB);
	lock_take(&v->lock);
	block_submit(v->b, &r);
	block_drain(v->b);
	assert_int_equal(rc, 1);
	assert_int_equal(v->errors, 1);
	assert_int_equal(v->stops, 1);
	assert_true(v->last_error.write && !v->last_error.nospace);
	assert_string_equal(v->last_error.device, "d");
	assert_string_equal(v->last_error.qdev, "disk0");
	/* Tried again too early. */
	blocks_resume(v->bs);
	block_drain(v->b);
	assert_int_equal(rc, 1);
	assert_int_equal(v->stops, 2);
	setrlimit(RLIMIT_FSIZE, &old);
	blocks_resume(v->bs);
	block_drain(v->b);
	assert_int_equal(rc, 0);
	/* A reset gives up what is held. */
	setrlimit(RLIMIT_FSIZE, &small);
	block_submit(v->b, &r2);
	block_drain(v->b);
	block_stats(v->b, &st);
	assert_int_equal(st.held, 1);
	block_cancel_held(v->b);
	assert_int_equal(rc2, -EFBIG);
	setrlimit(RLIMIT_FSIZE, &old);
	lock_drop(&v->lock);
	memset(buf, 0, MiB);
	assert_int_equal(env_io(v, BLOCK_READ, MiB, buf, MiB), 0);
	assert_true(buf[0] == 0x77 && buf[MiB - 1] == 0x77);
	free(buf);
}

/* A file system that is full. */
static void test_nospace(void **state)
{
	struct env *v = *state;
	unsigned char *buf = xzalloc(MiB);
	struct iovec iov = {buf, MiB};
	struct block_req r[4];
	int rc[4] = {1, 1, 1, 1};
	char dir[128];

	snprintf(dir, sizeof(dir), "%s/small", v->dir);
	mkdir(dir, 0700);
	if (mount("tmpfs", dir, "tmpfs", 0, "size=2560k") < 0) {
		free(buf);
		skip();
	}
	make_file(v, "small/disk", 4 * MiB);
	env_open(v, "small/disk", "format=raw", true);
	blocks_set_error_hook(v->bs, env_error, v);
	memset(buf, 0x42, MiB);
	lock_take(&v->lock);
	for (int i = 0; i < 4; i++) {
		r[i] = (struct block_req){.op = BLOCK_WRITE,
					  .off = (unsigned)i * MiB,
					  .len = MiB,
					  .iov = &iov,
					  .n_iov = 1,
					  .done = count_rc,
					  .opaque = &rc[i]};
		block_submit(v->b, &r[i]);
	}
	block_drain(v->b);
	assert_true(v->stops >= 1 && v->last_error.nospace);
	assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=8m"), 0);
	blocks_resume(v->bs);
	block_drain(v->b);
	for (int i = 0; i < 4; i++)
		assert_int_equal(rc[i], 0);
	lock_drop(&v->lock);
	for (unsigned i = 0; i < 4; i++) {
		memset(buf, 0, MiB);
		assert_int_equal(env_io(v, BLOCK_READ, i * MiB, buf, MiB), 0);
		assert_true(buf[0] == 0x42 && buf[MiB - 1] == 0x42);
	}
	env_close(v);
	umount2(dir, MNT_DETACH);
	free(buf);
}

static void test_werror_report_ignore(void **state)
{
	struct rlimit old, small;
	struct env *v = *state;
	unsigned char buf[512] = {1};

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = MiB;
	for (int ignore = 0; ignore < 2; ignore++) {
		make_file(v, "disk", 4 * MiB);
		env_open(v, "disk",
			 ignore ? "format=raw,werror=ignore" : "format=raw,werror=report", true);
		blocks_set_error_hook(v->bs, env_error, v);
		setrlimit(RLIMIT_FSIZE, &small);
		assert_int_equal(env_io(v, BLOCK_WRITE, 2 * MiB, buf, 512), ignore ? 0 : -EFBIG);
		setrlimit(RLIMIT_FSIZE, &old);
		assert_int_equal(v->last_error.action, ignore ? BLOCK_IGNORE : BLOCK_REPORT);
		env_close(v);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void count_done(struct block_req *r, int rc)
{
	unsigned *n = r->opaque;

	assert_int_equal(rc, 0);
	++*n;
}

/* n reads of 4 KiB at a time; how long they take in ms. */
static unsigned timed_reads(struct env *v, unsigned n)
{
	struct block_req *r = xcalloc(n, sizeof(*r));
	unsigned char buf[4096];
	struct iovec iov = {buf, sizeof(buf)};
	uint64_t start = now_ns();
	unsigned done = 0, seen = 0;

	lock_take(&v->lock);
	for (unsigned i = 0; i < n; i++) {
		r[i] = (struct block_req){.len = sizeof(buf),
					  .iov = &iov,
					  .n_iov = 1,
					  .done = count_done,
					  .opaque = &done};
		block_submit(v->b, &r[i]);
	}
	lock_drop(&v->lock);
	while (seen < n) {
		usleep(500);
		lock_take(&v->lock);
		seen = done;
		lock_drop(&v->lock);
	}
	free(r);
	return (unsigned)((now_ns() - start) / 1000000);
}

static void test_throttle(void **state)
{
	struct throttle_cfg cfg = {0};
	struct env *v = *state;
	unsigned ms;

	make_file(v, "disk", MiB);
	/* 100 a second, 10 of them at once: 40 more take 400 ms. */
	env_open(v, "disk", "format=raw,throttling.iops-total=100", true);
	ms = timed_reads(v, 50);
	assert_in_range(ms, 300, 3000);
	/* 400 KB/s: 60 * 4 KiB less a tenth of a second's worth. */
	cfg.k[THROTTLE_BPS_RD].avg = 400000;
	lock_take(&v->lock);
	assert_int_equal(block_set_throttle(v->b, &cfg, NULL), 0);
	lock_drop(&v->lock);
	ms = timed_reads(v, 60);
	assert_in_range(ms, 400, 3000);
	/* A burst of 100 a second for 2 s holds them all, at 100 a second. */
	memset(&cfg, 0, sizeof(cfg));
	cfg.k[THROTTLE_IOPS].avg = 10;
	cfg.k[THROTTLE_IOPS].max = 100;
	cfg.k[THROTTLE_IOPS].length = 2;
	lock_take(&v->lock);
	assert_int_equal(block_set_throttle(v->b, &cfg, NULL), 0);
	lock_drop(&v->lock);
	ms = timed_reads(v, 40);
	assert_in_range(ms, 200, 2000);
	/* A drain does not wait for limits. */
	cfg.k[THROTTLE_IOPS].avg = 1;
	cfg.k[THROTTLE_IOPS].max = 0;
	cfg.k[THROTTLE_IOPS].length = 0;
	lock_take(&v->lock);
	assert_int_equal(block_set_throttle(v->b, &cfg, NULL), 0);
	lock_drop(&v->lock);
	{
		uint64_t start = now_ns();
		unsigned char buf[512];

		for (int i = 0; i < 20; i++)
			assert_int_equal(env_io(v, BLOCK_READ, 0, buf, 512), 0);
		assert_true(now_ns() - start < 2000000000);
	}
}

struct chain {
	struct env *v;
	struct block_req r[2];
	struct iovec iov;
	unsigned char buf[512];
	unsigned left, inner;
};

static void chain_inner(struct block_req *r, int rc)
{
	struct chain *c = r->opaque;

	c->inner++;
}

/* From a completion: another request, and a drain in the middle of it. */
static void chain_done(struct block_req *r, int rc)
{
	struct chain *c = r->opaque;

	assert_int_equal(rc, 0);
	if (!c->left--)
		return;
	c->r[1] = (struct block_req){.op = BLOCK_FLUSH, .done = chain_inner, .opaque = c};
	block_submit(c->v->b, &c->r[1]);
	block_drain(c->v->b);
	block_submit(c->v->b, r);
}

static void test_reentry(void **state)
{
	struct env *v = *state;
	struct chain c = {.v = v, .left = 200};

	make_file(v, "disk", MiB);
	env_open(v, "disk", "format=raw", true);
	c.iov = (struct iovec){c.buf, 512};
	c.r[0] = (struct block_req){
		.len = 512, .iov = &c.iov, .n_iov = 1, .done = chain_done, .opaque = &c};
	lock_take(&v->lock);
	block_submit(v->b, &c.r[0]);
	lock_drop(&v->lock);
	usleep(1000);
	lock_take(&v->lock);
	block_drain(v->b);
	lock_drop(&v->lock);
	assert_int_equal(c.inner, 200);
}

static void test_stats_resize(void **state)
{
	struct env *v = *state;
	unsigned char buf[8192] = {0};
	struct block_image img;
	struct block_stats st;
	struct block_info info;

	make_file(v, "disk", MiB);
	env_open(v, "disk", "format=raw", true);
	assert_int_equal(env_io(v, BLOCK_WRITE, 4096, buf, 8192), 0);
	assert_int_equal(env_io(v, BLOCK_READ, 0, buf, 512), 0);
	assert_int_equal(env_io(v, BLOCK_READ, 2 * MiB, buf, 512), -EINVAL);
	assert_int_equal(env_io(v, BLOCK_FLUSH, 0, NULL, 0), 0);
	block_stats(v->b, &st);
	assert_int_equal(st.op[BLOCK_WRITE].ops, 1);
	assert_int_equal(st.op[BLOCK_WRITE].bytes, 8192);
	assert_int_equal(st.op[BLOCK_READ].ops, 1);
	assert_int_equal(st.op[BLOCK_READ].invalid, 1);
	assert_int_equal(st.op[BLOCK_FLUSH].ops, 1);
	assert_int_equal(st.wr_highest, 12288);
	assert_int_equal(st.in_flight, 0);
	lock_take(&v->lock);
	assert_int_equal(block_resize(v->b, 2 * MiB, NULL), 0);
	lock_drop(&v->lock);
	block_info(v->b, &info);
	assert_int_equal(info.size, 2 * MiB);
	assert_int_equal(env_io(v, BLOCK_WRITE, 2 * MiB - 512, buf, 512), 0);
	block_image(block_root(v->b), &img);
	assert_string_equal(img.driver, "raw");
	assert_int_equal(img.virtual_size, 2 * MiB);
	assert_true(img.actual_size > 0 && img.actual_size < 2 * MiB);
}

static int have_nbd(struct env *v, const char *program)
{
	struct err *e = NULL;
	struct block *b;
	bool built;

	assert_int_not_equal(block_open_drive(&b, v->bs, "file=nbd:unix:/none,format=raw", &e), 0);
	built = !strstr(err_msg(e), "without libnbd");
	err_free(&e);
	return built && env_sh(v, "command -v %s >/dev/null", program) == 0;
}

/* By qemu-nbd, which says no more than what is in its file. */
static void test_nbd_qemu(void **state)
{
	struct env *v = *state;
	struct load l = {.seed = 17};
	struct err *e = NULL;
	char opts[300];

	if (!have_nbd(v, "qemu-nbd"))
		skip();
	make_file(v, "disk", 8 * MiB);
	assert_int_equal(
		env_sh(v,
		       "qemu-nbd -k $PWD/sock -f raw -x some -e 8 --fork -t --pid-file=pid disk"),
		0);
	snprintf(opts, sizeof(opts),
		 "file=nbd+unix:///some?socket=%s/sock,format=raw,discard=unmap", v->dir);
	if (block_open_drive(&v->b, v->bs, opts, &e))
		fail_msg("%s", err_msg(e));
	lock_take(&v->lock);
	assert_int_equal(block_attach(v->b, &v->front, true, &e), 0);
	lock_drop(&v->lock);
	load_run(v, &l, 1000);
	env_close(v);
	assert_int_equal(env_sh(v, "kill $(cat pid)"), 0);
	for (int i = 0; i < 100 && env_sh(v, "test ! -e pid"); i++)
		usleep(20000);
	env_open(v, "disk", "format=raw", false);
	load_check_all(&l);
	env_close(v);
	free(l.model);
}

/* A server that goes away: errors, and no waiting for ever. */
static void test_nbd_dead(void **state)
{
	struct env *v = *state;
	unsigned char buf[4096];
	struct err *e = NULL;
	char opts[300];

	if (!have_nbd(v, "nbdkit"))
		skip();
	assert_int_equal(env_sh(v, "nbdkit -U $PWD/sock -P pid memory 16M"), 0);
	snprintf(opts, sizeof(opts),
		 "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=%s/sock",
		 v->dir);
	if (block_open_drive(&v->b, v->bs, opts, &e))
		fail_msg("%s", err_msg(e));
	lock_take(&v->lock);
	assert_int_equal(block_attach(v->b, &v->front, true, &e), 0);
	lock_drop(&v->lock);
	memset(buf, 0x3c, sizeof(buf));
	assert_int_equal(env_io(v, BLOCK_WRITE, 8192, buf, 4096), 0);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(env_io(v, BLOCK_READ, 8192, buf, 4096), 0);
	assert_int_equal(buf[4095], 0x3c);
	assert_int_equal(env_sh(v, "kill -9 $(cat pid)"), 0);
	usleep(50000);
	assert_true(env_io(v, BLOCK_READ, 0, buf, 4096) < 0);
	assert_true(env_io(v, BLOCK_WRITE, 0, buf, 4096) < 0);
	assert_true(env_io(v, BLOCK_FLUSH, 0, NULL, 0) < 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_load_writeback),
		T(test_load_threads),
		T(test_load_direct),
		T(test_load_uring),
		T(test_load_writethrough),
		T(test_load_unsafe),
		T(test_load_snapshot),
		T(test_snapshot_base),
		T(test_bad_options),
		T(test_place),
		T(test_blockdev),
		T(test_probed_raw),
		T(test_bad_requests),
		T(test_read_only),
		T(test_second_writer),
		T(test_qemu_writer),
		T(test_media),
		T(test_werror_stop),
		T(test_nospace),
		T(test_werror_report_ignore),
		T(test_throttle),
		T(test_reentry),
		T(test_stats_resize),
		T(test_nbd_qemu),
		T(test_nbd_dead),
	};

	return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
