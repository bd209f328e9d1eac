/* SPDX-License-Identifier: Apache-2.0 */
/* Device types: disks on a real image, entropy, balloon, console; what hostile drivers ask of them.
 */
#include "dev_env.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "back/block/block.h"
#include "back/char/chardev.h"
#include "dev/opts.h"
#include "dev/registry.h"
#include "dev/virtio/balloon.h"
#include "mem/page.h"
#include "virtio_driver.h"

#define DISK (4 * MiB)

struct rig {
	struct test_env *t;
	struct blocks *bs;
	struct block *disk;
	struct chardev *cd;
	char path[64];
	struct vdrv *d;
	uint64_t buf; /* 64 KiB */
};

static struct block *get_drive(void *opaque, const char *id)
{
	return ((struct rig *)opaque)->disk;
}

static struct chardev *get_chardev(void *opaque, const char *id)
{
	return ((struct rig *)opaque)->cd;
}

/* device - the type's device with these properties, driven by all features that `f` allows. */
static void device(struct rig *r, const struct virtio_type *t, const char *class, const char *props,
		   uint64_t f)
{
	const struct dev_backends b = {.drive = get_drive, .chardev = get_chardev, .opaque = r};
	struct dev_opts *o = vdrv_opts(dev_class_find(class), props, &b);
	struct dev_place p = {.env = &r->t->env, .id = ""};
	struct virtio_dev *v;

	lock_take(&r->t->lock);
	assert_int_equal(t->create(&p, o, &v, NULL), 0);
	lock_drop(&r->t->lock);
	dev_opts_free(o);
	r->d = vdrv_open(r->t, v, f);
	r->buf = vdrv_alloc(r->d, 64 * KiB, 4096);
}

static struct rig *rig_open(void)
{
	struct rig *r = xzalloc(sizeof(*r));

	r->t = env_open();
	return r;
}

static void rig_close(struct rig *r)
{
	vdrv_close(r->d);
	if (r->bs)
		blocks_destroy(r->bs);
	if (*r->path)
		unlink(r->path);
	chardev_close(r->cd);
	env_close(r->t);
	free(r);
}

/* --- disk --- */

static struct rig *blk_open(const char *props, const char *drive, uint64_t f)
{
	struct rig *r = rig_open();
	char opts[128];
	int fd;

	snprintf(r->path, sizeof(r->path), "/tmp/doppel-disk-XXXXXX");
	fd = mkstemp(r->path);
	assert_int_equal(ftruncate(fd, DISK), 0);
	for (unsigned i = 0; i < 64 * KiB; i += 4)
		assert_int_equal(pwrite(fd, &i, 4, i), 4);
	close(fd);
	r->bs = blocks_create(r->t->env.log);
	snprintf(opts, sizeof(opts), "if=none,id=d,format=raw,file=%s%s", r->path, drive);
	lock_take(&r->t->lock);
	assert_int_equal(block_open_drive(&r->disk, r->bs, opts, NULL), 0);
	lock_drop(&r->t->lock);
	device(r, &virtio_blk_type, "virtio-blk-device", props, f);
	vdrv_queue(r->d, 0, 64);
	vdrv_start(r->d);
	return r;
}

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };

/* request - header, n data buffers of `len` bytes from r->buf + 4096 on, status; returns the
 * status. */
static int request(struct rig *r, uint32_t type, uint64_t sector, unsigned n, uint32_t len)
{
	bool out = type != IN && type != GET_ID;
	struct vbuf b[18] = {{r->buf, 16}};
	uint8_t *h = vdrv_ptr(r->d, r->buf), *status = h + 16;
	uint16_t id;
	uint32_t used;

	put_le32(h, type);
	put_le32(h + 4, 0);
	put_le64(h + 8, sector);
	*status = 0xee;
	for (unsigned i = 0; i < n; i++)
		b[1 + i] = (struct vbuf){r->buf + 4096 + i * (len + 512ull), len};
	b[1 + n] = (struct vbuf){r->buf + 16, 1};
	assert_true(vdrv_add(r->d, 0, b, out ? 1 + n : 1, out ? 1 : 1 + n) >= 0);
	vdrv_kick_always(r->d, 0);
	vdrv_wait_used(r->d, 0, &id, &used);
	assert_int_equal(used, out ? 1 : n * len + 1);
	return *status;
}

static uint8_t *data(struct rig *r, unsigned off)
{
	return vdrv_ptr(r->d, r->buf + 4096 + off);
}

static void blk_io(uint64_t f)
{
	struct rig *r = blk_open("drive=d,serial=abc", "", f);
	uint8_t back[1024];
	int fd = open(r->path, O_RDONLY);

	r->d->q[0].use_indirect = f & VIRTIO_F_INDIRECT_DESC;
	assert_int_equal(virtio_config_read(r->d->v, 0, 8), DISK / 512);
	assert_int_equal(request(r, IN, 8, 2, 1024), 0);
	assert_int_equal(get_le32(data(r, 0)), 4096);
	assert_int_equal(get_le32(data(r, 1536)), 5120);
	memset(data(r, 0), 0x5a, 512);
	memset(data(r, 1024), 0xa5, 512);
	assert_int_equal(request(r, OUT, 100, 2, 512), 0);
	assert_int_equal(request(r, FLUSH, 0, 0, 0), 0);
	assert_int_equal(pread(fd, back, 1024, 51200), 1024);
	assert_memory_equal(back, data(r, 0), 512);
	assert_memory_equal(back + 512, data(r, 1024), 512);
	assert_int_equal(request(r, GET_ID, 0, 1, 20), 0);
	assert_string_equal((char *)data(r, 0), "abc");
	put_le64(data(r, 0), 8);
	put_le32(data(r, 8), 2);
	put_le32(data(r, 12), 1);
	assert_int_equal(request(r, ZEROES, 0, 1, 16), 0);
	assert_int_equal(pread(fd, back, 1024, 4096), 1024);
	assert_int_equal(back[0] | back[511] | back[512] | back[1023], 0);
	assert_int_equal(pread(fd, back, 4, 5120), 4);
	assert_int_equal(get_le32(back), 5120);
	put_le32(data(r, 12), 0);
	assert_int_equal(request(r, DISCARD, 0, 1, 16), 0);
	close(fd);
	assert_false(r->d->v->broken);
	rig_close(r);
}

static void blk(void **unused)
{
	blk_io(VDRV_ALL);
	blk_io(VIRTIO_F_RING_PACKED | BIT(13) | BIT(14) | BIT(9));
}

static void blk_bad(void **unused)
{
	struct rig *r = blk_open("drive=d,logical_block_size=4096", "", VDRV_ALL);
	uint64_t end = DISK / 512;

	assert_int_equal(virtio_config_read(r->d->v, 20, 4), 4096);
	assert_int_equal(request(r, IN, end - 8, 1, 4096), 0);
	assert_int_equal(request(r, IN, end, 1, 4096), 1);
	assert_int_equal(request(r, IN, end - 8, 2, 4096), 1);
	assert_int_equal(request(r, IN, UINT64_MAX, 1, 4096), 1);
	assert_int_equal(request(r, OUT, UINT64_MAX / 512 + 1, 1, 4096), 1);
	assert_int_equal(request(r, OUT, 1, 1, 4096), 1);
	assert_int_equal(request(r, OUT, 8, 1, 512), 1);
	assert_int_equal(request(r, IN, 8, 0, 0), 0);
	assert_int_equal(request(r, 2, 0, 1, 512), 2); /* SCSI */
	assert_int_equal(request(r, UINT32_MAX, 0, 1, 512), 2);
	assert_int_equal(request(r, GET_ID, 0, 1, 5), 0);
	memset(data(r, 0), 0xff, 32);
	assert_int_equal(request(r, ZEROES, 0, 1, 16), 2); /* flags */
	put_le32(data(r, 12), 1);
	assert_int_equal(request(r, DISCARD, 0, 1, 16), 2);
	assert_int_equal(request(r, ZEROES, 0, 1, 16), 1); /* range */
	put_le64(data(r, 0), 0);
	assert_int_equal(request(r, ZEROES, 0, 1, 16), 1);
	put_le32(data(r, 8), 8);
	assert_int_equal(request(r, ZEROES, 0, 1, 16), 0);
	assert_int_equal(request(r, ZEROES, 0, 1, 15), 1);
	assert_int_equal(request(r, ZEROES, 0, 2, 16), 1);
	assert_int_equal(request(r, DISCARD, 0, 0, 0), 1);
	assert_false(r->d->v->broken);
	rig_close(r);
}

static void blk_broken(void **unused)
{
	static const struct {
		uint32_t out, in;
	} bad[] = {{15, 1}, {16, 0}, {0, 17}};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rig *r = blk_open("drive=d", "", VDRV_ALL);
		struct vbuf b[2] = {{r->buf, bad[i].out}, {r->buf + 64, bad[i].in}};
		bool out = bad[i].out;

		vdrv_add(r->d, 0, out ? b : b + 1, out, bad[i].in != 0);
		vdrv_kick_always(r->d, 0);
		assert_true(r->d->v->broken);
		rig_close(r);
	}
}

static void blk_read_only(void **unused)
{
	struct rig *r = blk_open("drive=d", ",readonly=on", VDRV_ALL);

	assert_true(r->d->v->features & BIT(5));
	assert_false(r->d->v->features & (BIT(13) | BIT(14)));
	assert_int_equal(request(r, IN, 0, 1, 512), 0);
	assert_int_equal(request(r, OUT, 0, 1, 512), 1);
	assert_int_equal(request(r, ZEROES, 0, 1, 16), 2);
	rig_close(r);
}

/* Many in flight when the device, or the machine, is reset: nothing touches their buffers
 * afterwards. */
static void blk_reset(void **unused)
{
	for (unsigned round = 0; round < 20; round++) {
		struct rig *r = blk_open("drive=d", "", VDRV_ALL);
		uint8_t *h = vdrv_ptr(r->d, r->buf), *p;

		put_le32(h, IN);
		put_le64(h + 8, 0);
		r->d->q[0].use_indirect = true;
		for (unsigned i = 0; i < 32; i++) {
			struct vbuf b[3] = {{r->buf, 16},
					    {r->buf + 4096 + 1024 * i, 1024},
					    {r->buf + 1024 + i, 1}};

			assert_true(vdrv_add(r->d, 0, b, 1, 2) >= 0);
		}
		vdrv_kick_always(r->d, 0);
		vdrv_reset(r->d);
		p = data(r, 0);
		memset(p, 0x77, 32 * 1024);
		memset(h + 1024, 0x77, 32);
		run_ms(r->t, 2);
		for (unsigned i = 0; i < 32 * 1024; i++)
			assert_int_equal(p[i], 0x77);
		for (unsigned i = 0; i < 32; i++)
			assert_int_equal(h[1024 + i], 0x77);
		rig_close(r);
	}
}

static void blk_cache(void **unused)
{
	struct rig *r = blk_open("drive=d", "", VDRV_ALL);

	assert_int_equal(virtio_config_read(r->d->v, 32, 1), 1);
	lock_take(&r->t->lock);
	virtio_config_write(r->d->v, 32, 0, 1);
	assert_int_equal(virtio_config_read(r->d->v, 32, 1), 0);
	virtio_config_write(r->d->v, 33, 1, 1);
	virtio_config_write(r->d->v, 0, 1, 8);
	lock_drop(&r->t->lock);
	assert_int_equal(virtio_config_read(r->d->v, 0, 8), DISK / 512);
	assert_int_equal(request(r, OUT, 0, 1, 512), 0);
	vdrv_reset(r->d);
	assert_int_equal(virtio_config_read(r->d->v, 32, 1), 1);
	rig_close(r);
	r = blk_open("drive=d", "", VIRTIO_F_INDIRECT_DESC); /* no FLUSH: written through */
	assert_int_equal(virtio_config_read(r->d->v, 32, 1), 0);
	rig_close(r);
}

static void blk_resized(void **unused)
{
	struct rig *r = blk_open("drive=d", "", VDRV_ALL);
	unsigned before = r->d->config_interrupts;
	uint32_t generation = r->d->v->generation;

	lock_take(&r->t->lock);
	assert_int_equal(block_resize(r->disk, 2 * DISK, NULL), 0);
	lock_drop(&r->t->lock);
	assert_int_equal(virtio_config_read(r->d->v, 0, 8), 2 * DISK / 512);
	assert_int_equal(r->d->config_interrupts, before + 1);
	assert_int_not_equal(r->d->v->generation, generation);
	assert_int_equal(request(r, IN, DISK / 512, 1, 512), 0);
	rig_close(r);
}

static void on_block_error(void *opaque, const struct block_error *err)
{
	++*(unsigned *)opaque;
}

/* offer - a write of 512 bytes from r->buf + 1024 * (8 + i); nobody waits for it. */
static void offer(struct rig *r, unsigned i, uint64_t sector)
{
	uint64_t at = r->buf + 1024 * (8 + i);
	uint8_t *h = vdrv_ptr(r->d, at);
	struct vbuf b[3] = {{at, 16}, {at + 512, 512}, {at + 16, 1}};

	put_le32(h, OUT);
	put_le64(h + 8, sector);
	memset(h + 512, 0x40 + (int)i, 512);
	assert_true(vdrv_add(r->d, 0, b, 2, 1) >= 0);
	vdrv_kick_always(r->d, 0);
}

static void expect_written(struct rig *r, unsigned i, uint64_t sector)
{
	uint8_t back[512], *h = vdrv_ptr(r->d, r->buf + 1024 * (8 + i));
	int fd = open(r->path, O_RDONLY);

	assert_int_equal(h[16], 0);
	assert_int_equal(pread(fd, back, 512, (off_t)sector * 512), 512);
	assert_memory_equal(back, h + 512, 512);
	close(fd);
}

/* Requests that wait after an error: saved, they are begun anew where they are loaded; here, when
 * the machine goes on. */
static void held(uint64_t f)
{
	struct rig *r = blk_open("drive=d,werror=stop", "", f), *s;
	struct rlimit old, low;
	struct state_buf a = {0};
	unsigned errors = 0;
	uint16_t id;
	uint32_t len;
	size_t used;

	r->d->q[0].use_indirect = f & VIRTIO_F_INDIRECT_DESC;
	blocks_set_error_hook(r->bs, on_block_error, &errors);
	getrlimit(RLIMIT_FSIZE, &old);
	low = old;
	low.rlim_cur = 1 * MiB;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &low);
	offer(r, 0, 4000);
	wait_for(r->t, errors == 1);
	offer(r, 1, 10);
	vdrv_wait_used(r->d, 0, &id, &len);
	offer(r, 2, 5000);
	wait_for(r->t, errors == 2);
	setrlimit(RLIMIT_FSIZE, &old);
	s = blk_open("drive=d", "", f);
	lock_take(&r->t->lock);
	virtio_quiesce(r->d->v);
	state_save(&a, &r->d->v->saved, r->d->v);
	lock_drop(&r->t->lock);
	memcpy(mem_ram_base(s->t->env.mem), mem_ram_base(r->t->env.mem), TEST_RAM);
	memcpy(s->d->q, r->d->q, sizeof(s->d->q));
	lock_take(&s->t->lock);
	assert_int_equal(state_load(&s->d->v->saved, s->d->v, a.data, a.len, &used, NULL), 0);
	lock_drop(&s->t->lock);
	vdrv_wait_used(s->d, 0, &id, &len);
	vdrv_wait_used(s->d, 0, &id, &len);
	expect_written(s, 0, 4000);
	expect_written(s, 2, 5000);
	assert_false(vdrv_used(r->d, 0, &id, &len));
	lock_take(&r->t->lock);
	blocks_resume(r->bs);
	lock_drop(&r->t->lock);
	vdrv_wait_used(r->d, 0, &id, &len);
	vdrv_wait_used(r->d, 0, &id, &len);
	expect_written(r, 0, 4000);
	expect_written(r, 1, 10);
	expect_written(r, 2, 5000);
	/* Nonsense in its place is refused, or breaks the device. */
	for (size_t at = 0; at < a.len; at += 1 + at % 7) {
		a.data[at] ^= 0x81;
		lock_take(&s->t->lock);
		virtio_reset(s->d->v);
		(void)state_load(&s->d->v->saved, s->d->v, a.data, a.len, &used, NULL);
		virtio_queue_kick(s->d->v, 0);
		lock_drop(&s->t->lock);
		a.data[at] ^= 0x81;
	}
	free(a.data);
	rig_close(s);
	rig_close(r);
}

/* The driver offers a chain again while it waits after an error: both fail, and the state loads. */
static void blk_held_twice(void **unused)
{
	struct rig *r = blk_open("drive=d,werror=stop", "", VDRV_ALL), *s;
	struct vring *q = &r->d->q[0];
	struct rlimit old, low;
	struct state_buf a = {0};
	unsigned errors = 0;
	uint8_t *avail;
	uint16_t id;
	uint32_t len;
	size_t used;

	blocks_set_error_hook(r->bs, on_block_error, &errors);
	getrlimit(RLIMIT_FSIZE, &old);
	low = old;
	low.rlim_cur = 1 * MiB;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &low);
	offer(r, 0, 4000);
	wait_for(r->t, errors == 1);
	avail = vdrv_ptr(r->d, q->avail);
	put_le16(avail + 6, get_le16(avail + 4));
	put_le16(avail + 2, 2);
	vdrv_kick_always(r->d, 0);
	wait_for(r->t, errors == 2);
	setrlimit(RLIMIT_FSIZE, &old);
	lock_take(&r->t->lock);
	virtio_quiesce(r->d->v);
	state_save(&a, &r->d->v->saved, r->d->v);
	lock_drop(&r->t->lock);
	assert_int_equal(get_le16((uint8_t *)vdrv_ptr(r->d, q->used) + 2), 2);
	assert_true(vdrv_used(r->d, 0, &id, &len));
	assert_int_equal(((uint8_t *)vdrv_ptr(r->d, r->buf + 1024 * 8))[16], 1); /* IOERR */
	s = blk_open("drive=d", "", VDRV_ALL);
	lock_take(&s->t->lock);
	assert_int_equal(state_load(&s->d->v->saved, s->d->v, a.data, a.len, &used, NULL), 0);
	lock_drop(&s->t->lock);
	free(a.data);
	rig_close(s);
	rig_close(r);
}

static void blk_held(void **unused)
{
	held(VDRV_ALL);
	held(VDRV_ALL | VIRTIO_F_RING_PACKED);
	held(VIRTIO_F_RING_PACKED);
	held(BIT(9));
}

/* --- entropy --- */

static void rng(void **unused)
{
	struct rig *r = rig_open();
	struct vbuf b[3];
	uint8_t zero[64] = {0};
	uint32_t len;
	uint16_t id;

	device(r, &virtio_rng_type, "virtio-rng-device", "max-bytes=100,period=30", VDRV_ALL);
	vdrv_queue(r->d, 0, 8);
	vdrv_start(r->d);
	b[0] = (struct vbuf){r->buf, 64};
	b[1] = (struct vbuf){r->buf + 64, 100};
	vdrv_add(r->d, 0, b, 0, 1);
	vdrv_add(r->d, 0, b + 1, 0, 1);
	vdrv_add(r->d, 0, b, 1, 0); /* nothing to write to */
	vdrv_add(r->d, 0, b, 0, 1);
	vdrv_kick(r->d, 0);
	assert_true(vdrv_used(r->d, 0, &id, &len));
	assert_int_equal(len, 64);
	assert_memory_not_equal(vdrv_ptr(r->d, r->buf), zero, 64);
	assert_true(vdrv_used(r->d, 0, &id, &len));
	assert_int_equal(len, 36); /* what was left of the quota */
	assert_false(vdrv_used(r->d, 0, &id, &len));
	vdrv_wait_used(r->d, 0, &id, &len);
	assert_int_equal(len, 0);
	vdrv_wait_used(r->d, 0, &id, &len);
	assert_int_equal(len, 64);
	rig_close(r);
}

/* --- balloon --- */

static bool resident(struct rig *r, uint64_t a)
{
	unsigned char c;

	assert_int_equal(mincore(vdrv_ptr(r->d, a), 4096, &c), 0);
	return c & 1;
}

static void inflate(struct rig *r, unsigned n)
{
	struct vbuf b = {r->buf, 4 * n};
	uint16_t id;
	uint32_t len;

	vdrv_add(r->d, 0, &b, 1, 0);
	vdrv_kick_always(r->d, 0);
	vdrv_wait_used(r->d, 0, &id, &len);
}

static void balloon(void **unused)
{
	struct rig *r = rig_open();
	struct dev_env *env = &r->t->env;
	uint64_t pages, bytes, *dirty = xcalloc(mem_ram_size(env->mem) / 4096 / 64 + 1, 8);
	uint32_t *pfn, gen;

	device(r, &virtio_balloon_type, "virtio-balloon-device", "", VDRV_ALL);
	assert_int_equal(balloon_set_target(env, 2 * MiB, 1 * MiB, NULL), -ENODEV);
	vdrv_queue(r->d, 0, 16);
	vdrv_queue(r->d, 1, 16);
	vdrv_queue(r->d, 2, 16);
	pages = vdrv_alloc(r->d, 16 * 4096, 4096);
	memset(vdrv_ptr(r->d, pages), 0x55, 16 * 4096);
	vdrv_start(r->d);
	assert_int_equal(balloon_set_target(env, 2 * MiB, 3 * MiB, NULL), -EINVAL);
	assert_int_equal(balloon_set_target(env, 2 * MiB, 0, NULL), -EINVAL);
	assert_int_equal(balloon_set_target(env, 2 * MiB, 1 * MiB, NULL), 0);
	assert_int_equal(r->d->config_interrupts, 1);
	assert_int_equal(virtio_config_read(r->d->v, 0, 4), 256);
	virtio_config_write(r->d->v, 4, 16, 4);
	assert_true(balloon_actual(env, 2 * MiB, &bytes));
	assert_int_equal(bytes, 2 * MiB - 16 * 4096);
	/* Out of order, twice, and what is no RAM. */
	gen = mem_code_mark(env->mem, pages + 3 * 4096 + 100, 8);
	mem_dirty_start(env->mem);
	mem_dirty_take(env->mem, dirty);
	pfn = vdrv_ptr(r->d, r->buf);
	pfn[0] = (uint32_t)(pages / 4096 + 4);
	pfn[1] = (uint32_t)(pages / 4096 + 3);
	pfn[2] = 0xa0;
	pfn[3] = (uint32_t)(pages / 4096 + 4);
	pfn[4] = UINT32_MAX;
	pfn[5] = (uint32_t)(pages / 4096 + 9);
	inflate(r, 6);
	assert_int_equal(rd32(r->t, pages + 2 * 4096 + 4092), 0x55555555);
	assert_int_equal(rd32(r->t, pages + 3 * 4096), 0);
	assert_int_equal(rd32(r->t, pages + 5 * 4096 - 4), 0);
	assert_int_equal(rd32(r->t, pages + 5 * 4096), 0x55555555);
	assert_int_equal(rd32(r->t, pages + 9 * 4096), 0);
	assert_int_not_equal(mem_code_gen(&mem_pages(env->mem)[pages / 4096 + 3]), gen);
	mem_dirty_take(env->mem, dirty);
	assert_true(dirty[(pages / 4096 + 9) / 64] >> ((pages / 4096 + 9) % 64) & 1);
	assert_false(dirty[(pages / 4096 + 5) / 64] >> ((pages / 4096 + 5) % 64) & 1);
	assert_false(r->d->v->broken);
	free(dirty);
	rig_close(r);
}

static void balloon_report(void **unused)
{
	struct rig *r = rig_open();
	uint64_t a;
	struct vbuf b;
	uint16_t id;
	uint32_t len;

	device(r, &virtio_balloon_type, "virtio-balloon-device", "free-page-reporting=on",
	       VDRV_ALL);
	vdrv_queue(r->d, 3, 16);
	a = vdrv_alloc(r->d, 4 * 4096, 4096);
	memset(vdrv_ptr(r->d, a), 0x33, 4 * 4096);
	vdrv_start(r->d);
	b = (struct vbuf){a + 100, 3 * 4096}; /* two whole pages */
	assert_true(resident(r, a + 4096));
	vdrv_add(r->d, 3, &b, 0, 1);
	vdrv_kick_always(r->d, 3);
	vdrv_wait_used(r->d, 3, &id, &len);
	assert_int_equal(rd32(r->t, a + 4092), 0x33333333);
	assert_int_equal(rd32(r->t, a + 4096), 0);
	assert_int_equal(rd32(r->t, a + 3 * 4096), 0x33333333);
	/* With a poison nothing is taken. */
	virtio_config_write(r->d->v, 12, 0xaa, 4);
	b = (struct vbuf){a, 4096};
	vdrv_add(r->d, 3, &b, 0, 1);
	vdrv_kick_always(r->d, 3);
	vdrv_wait_used(r->d, 3, &id, &len);
	assert_int_equal(rd32(r->t, a), 0x33333333);
	rig_close(r);
}

static void balloon_statistics(void **unused)
{
	struct rig *r = rig_open();
	struct dev_env *env = &r->t->env;
	struct balloon_stats st;
	uint8_t *p;
	struct vbuf b;
	uint16_t id;
	uint32_t len;

	device(r, &virtio_balloon_type, "virtio-balloon-device", "", VDRV_ALL);
	vdrv_queue(r->d, 2, 16);
	vdrv_start(r->d);
	p = vdrv_ptr(r->d, r->buf);
	put_le16(p, BALLOON_FREE);
	put_le64(p + 2, 12345);
	put_le16(p + 10, 0xffff); /* from a newer driver */
	put_le64(p + 12, 1);
	put_le16(p + 20, BALLOON_TOTAL); /* cut short */
	b = (struct vbuf){r->buf, 29};
	vdrv_add(r->d, 2, &b, 1, 0);
	vdrv_kick_always(r->d, 2);
	assert_false(vdrv_used(r->d, 2, &id, &len)); /* kept */
	lock_take(&r->t->lock);
	assert_true(balloon_stats(env, &st));
	lock_drop(&r->t->lock);
	assert_int_equal(st.stat[BALLOON_FREE], 12345);
	assert_int_equal(st.stat[BALLOON_TOTAL], BALLOON_UNKNOWN);
	assert_true(st.updated > 0);
	/* Two at once: one comes back. */
	vdrv_add(r->d, 2, &b, 1, 0);
	vdrv_kick_always(r->d, 2);
	assert_true(vdrv_used(r->d, 2, &id, &len));
	assert_false(vdrv_used(r->d, 2, &id, &len));
	lock_take(&r->t->lock);
	virtio_quiesce(r->d->v); /* handed back, and taken again as time goes on */
	lock_drop(&r->t->lock);
	run_ms(r->t, 5);
	lock_take(&r->t->lock);
	assert_int_equal(balloon_poll(env, 1, NULL), 0);
	lock_drop(&r->t->lock);
	vdrv_wait_used(r->d, 2, &id, &len);
	rig_close(r);
}

/* --- console --- */

struct port_rig {
	struct rig *r;
	int fd; /* the host's end */
};

static void serial_open(struct port_rig *p, const char *props, bool console)
{
	const struct dev_backends be = {.chardev = get_chardev, .opaque = NULL};
	struct rig *r = p->r = rig_open();
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const struct dev_class *c = dev_class_find(console ? "virtconsole" : "virtserialport");
	struct dev_backends b = be;
	struct dev_opts *o;
	struct dev_place place = {.env = &r->t->env, .id = ""};
	char opts[128];

	snprintf(r->path, sizeof(r->path), "/tmp/doppel-port-%d.sock", (int)getpid());
	snprintf(opts, sizeof(opts), "socket,id=c,path=%s,server=on,wait=off", r->path);
	assert_int_equal(chardev_open_opts(&r->cd, r->t->env.loop, opts, NULL), 0);
	device(r, &virtio_serial_type, "virtio-serial-device", props, VDRV_ALL);
	b.opaque = r;
	o = vdrv_opts(c, "chardev=c,name=org.test", &b);
	place.bus = r->t->env.buses;
	place.place = console ? 0 : 2;
	lock_take(&r->t->lock);
	assert_int_equal(c->create(&place, o, NULL), 0);
	lock_drop(&r->t->lock);
	dev_opts_free(o);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", r->path);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(p->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	run_ms(r->t, 5);
}

/* The port goes before the device it is plugged into, as in dev_destroy_all. */
static void serial_close(struct port_rig *p)
{
	lock_take(&p->r->t->lock);
	dev_destroy_all(&p->r->t->env);
	lock_drop(&p->r->t->lock);
	close(p->fd);
	rig_close(p->r);
}

static void say(struct rig *r, uint32_t port, uint16_t event, uint16_t value)
{
	uint8_t *m = vdrv_ptr(r->d, r->buf);
	struct vbuf b = {r->buf, 8};
	uint16_t id;
	uint32_t len;

	put_le32(m, port);
	put_le16(m + 4, event);
	put_le16(m + 6, value);
	assert_true(vdrv_add(r->d, 3, &b, 1, 0) >= 0);
	vdrv_kick_always(r->d, 3);
	vdrv_wait_used(r->d, 3, &id, &len);
}

static void hear(struct rig *r, uint32_t port, uint16_t event, uint16_t value)
{
	struct vbuf b = {r->buf + 512, 64};
	uint8_t *m = vdrv_ptr(r->d, b.addr);
	uint16_t id;
	uint32_t len;

	if (!vdrv_used(r->d, 2, &id, &len)) {
		vdrv_add(r->d, 2, &b, 0, 1);
		vdrv_kick_always(r->d, 2);
		vdrv_wait_used(r->d, 2, &id, &len);
	}
	assert_int_equal(get_le32(m), port);
	assert_int_equal(get_le16(m + 4), event);
	assert_int_equal(get_le16(m + 6), value);
	assert_int_equal(len, event == 7 ? 16 : 8);
}

static void serial_control(void **unused)
{
	struct port_rig p;
	struct rig *r;
	struct vbuf b;
	uint16_t id;
	uint32_t len;

	serial_open(&p, "max_ports=4", false);
	r = p.r;
	assert_int_equal(virtio_config_read(r->d->v, 4, 4), 4);
	vdrv_queue(r->d, 2, 16);
	vdrv_queue(r->d, 3, 16);
	vdrv_queue(r->d, 6, 16);
	vdrv_start(r->d);
	say(r, 0, 0, 1);
	say(r, 0, 0, 1); /* asked twice, told once */
	hear(r, 2, 1, 1);
	say(r, 2, 3, 1);
	hear(r, 2, 7, 1);
	assert_memory_equal(vdrv_ptr(r->d, r->buf + 512 + 8), "org.test", 8);
	hear(r, 2, 6, 1); /* the host is connected */
	/* Ports that are none, events that are none. */
	say(r, UINT32_MAX, 3, 1);
	say(r, 4, 3, 1);
	say(r, 0, 6, 1);
	say(r, 2, 0xffff, 1);
	b = (struct vbuf){r->buf, 7};
	vdrv_add(r->d, 3, &b, 1, 0);
	vdrv_kick_always(r->d, 3);
	vdrv_wait_used(r->d, 3, &id, &len);
	b = (struct vbuf){r->buf + 512, 64};
	vdrv_add(r->d, 2, &b, 0, 1);
	vdrv_kick_always(r->d, 2);
	assert_false(vdrv_used(r->d, 2, &id, &len));
	/* The host hangs up, which shows when the guest reads. */
	say(r, 2, 6, 1);
	b = (struct vbuf){r->buf + 1024, 64};
	vdrv_add(r->d, 6, &b, 0, 1);
	vdrv_kick_always(r->d, 6);
	close(p.fd);
	vdrv_wait_used(r->d, 2, &id, &len);
	assert_int_equal(get_le16((uint8_t *)vdrv_ptr(r->d, r->buf + 512) + 4), 6);
	assert_int_equal(get_le16((uint8_t *)vdrv_ptr(r->d, r->buf + 512) + 6), 0);
	assert_false(r->d->v->broken);
	p.fd = open("/dev/null", O_RDONLY);
	serial_close(&p);
}

static void serial_data(void **unused)
{
	struct port_rig p;
	struct rig *r;
	struct vbuf b[2];
	char text[16] = {0};
	uint16_t id;
	uint32_t len;

	serial_open(&p, "max_ports=4", false);
	r = p.r;
	vdrv_queue(r->d, 2, 16);
	vdrv_queue(r->d, 3, 16);
	vdrv_queue(r->d, 6, 16);
	vdrv_queue(r->d, 7, 16);
	vdrv_start(r->d);
	/* From the host: only when the guest has the port open. */
	assert_int_equal(write(p.fd, "hello world", 11), 11);
	b[0] = (struct vbuf){r->buf + 100, 6};
	b[1] = (struct vbuf){r->buf + 200, 100};
	vdrv_add(r->d, 6, b, 0, 1);
	vdrv_kick_always(r->d, 6);
	run_ms(r->t, 10);
	assert_false(vdrv_used(r->d, 6, &id, &len));
	say(r, 2, 6, 1);
	vdrv_wait_used(r->d, 6, &id, &len);
	assert_int_equal(len, 6);
	assert_memory_equal(vdrv_ptr(r->d, r->buf + 100), "hello ", 6);
	vdrv_add(r->d, 6, b + 1, 0, 1);
	vdrv_kick_always(r->d, 6);
	vdrv_wait_used(r->d, 6, &id, &len);
	assert_int_equal(len, 5);
	assert_memory_equal(vdrv_ptr(r->d, r->buf + 200), "world", 5);
	/* From the guest. */
	memcpy(vdrv_ptr(r->d, r->buf), "abcdefgh", 8);
	b[0] = (struct vbuf){r->buf, 3};
	b[1] = (struct vbuf){r->buf + 4, 4};
	vdrv_add(r->d, 7, b, 2, 0);
	vdrv_kick_always(r->d, 7);
	vdrv_wait_used(r->d, 7, &id, &len);
	wait_for(r->t, *text || read(p.fd, text, sizeof(text)) == 7);
	assert_string_equal(text, "abcefgh");
	serial_close(&p);
}

/* A host that does not read: the guest's buffers wait; saved then, the place in the buffer is kept.
 */
static void serial_throttle(void **unused)
{
	struct port_rig p;
	struct rig *r;
	struct state_buf s = {0};
	unsigned used = 0, added = 0;
	uint64_t sum = 0, got = 0;
	static uint8_t buf[65536];
	struct vbuf b;
	uint16_t id;
	uint32_t len;
	ssize_t n;

	serial_open(&p, "max_ports=1", true);
	r = p.r;
	vdrv_queue(r->d, 0, 16);
	vdrv_queue(r->d, 1, 64);
	vdrv_start(r->d); /* one port: no control queue */
	for (unsigned i = 0; i < 32 * KiB; i++)
		((uint8_t *)vdrv_ptr(r->d, r->buf))[i] = (uint8_t)(i * 7 + (i >> 8));
	b = (struct vbuf){r->buf, 32 * KiB};
	for (; added < 60; added++)
		assert_true(vdrv_add(r->d, 1, &b, 1, 0) >= 0);
	vdrv_kick_always(r->d, 1);
	run_ms(r->t, 20);
	while (vdrv_used(r->d, 1, &id, &len))
		used++;
	assert_true(used < added);
	lock_take(&r->t->lock);
	virtio_quiesce(r->d->v);
	state_save(&s, &r->d->v->saved, r->d->v);
	lock_drop(&r->t->lock);
	free(s.data);
	for (int i = 0; i < 2000 && got < added * 32 * KiB; i++) {
		while ((n = read(p.fd, buf, sizeof(buf))) > 0) {
			for (ssize_t k = 0; k < n; k++, got++)
				sum += buf[k] !=
				       (uint8_t)(got % (32 * KiB) * 7 + (got % (32 * KiB) >> 8));
		}
		run_ms(r->t, 1);
		while (vdrv_used(r->d, 1, &id, &len))
			used++;
	}
	assert_int_equal(got, added * 32 * KiB);
	assert_int_equal(sum, 0);
	assert_int_equal(used, added);
	/* Emergency write. */
	virtio_config_write(r->d->v, 8, '!', 4);
	buf[0] = 0;
	wait_for(r->t, buf[0] == '!' || read(p.fd, buf, 1) == 2);
	serial_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blk),
		cmocka_unit_test(blk_bad),
		cmocka_unit_test(blk_broken),
		cmocka_unit_test(blk_read_only),
		cmocka_unit_test(blk_reset),
		cmocka_unit_test(blk_cache),
		cmocka_unit_test(blk_resized),
		cmocka_unit_test(blk_held),
		cmocka_unit_test(blk_held_twice),
		cmocka_unit_test(rng),
		cmocka_unit_test(balloon),
		cmocka_unit_test(balloon_report),
		cmocka_unit_test(balloon_statistics),
		cmocka_unit_test(serial_control),
		cmocka_unit_test(serial_data),
		cmocka_unit_test(serial_throttle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
