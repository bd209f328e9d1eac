/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the image of a drive, how it is opened and what is then done to it.  First a byte
 * for the format, three that choose options, the size in sectors (2) and how much of the image is
 * in the input (2), and that; then operations (enum op, in the low four bits of a byte; the rest is
 * a parameter): requests of a device, several at a time, and what monitors do meanwhile.
 *
 * The image is a file in memory that others may cut short or make read-only while it is in use.
 * Each request is completed once; the sanitizers see to its buffers.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "back/block/block.h"
#include "base/err.h"
#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SLOTS 16
#define LEN_MAX (32 * KiB)

enum op {
	OP_READ,
	OP_WRITE,
	OP_FLUSH,
	OP_DISCARD,
	OP_ZERO,
	OP_DRAIN,
	OP_POLL,
	OP_CACHE,
	OP_RESIZE,
	OP_MEDIUM,
	OP_THROTTLE,
	OP_QUERY,
	OP_ATTACH,
	OP_RESUME,
	OP_FILE,
	OP_TRAY,
};

struct slot {
	struct block_req req;
	struct iovec iov[2];
	uint8_t *buf;
	bool busy;
};

struct disk {
	struct log *log;
	struct lock lock;
	struct blocks *bs;
	struct block *b;
	struct slot slots[SLOTS];
	char path[32];
	int fd;
	bool attached, locked;
};

static const char *const formats[] = {"", ",format=raw", ",format=qcow2", ",driver=raw"};
static const char *const options[] = {
	"",
	",snapshot=on",
	",cache=none",
	",cache=unsafe",
	",cache=writethrough",
	",cache=directsync",
	",discard=unmap",
	",detect-zeroes=unmap,discard=unmap",
	",detect-zeroes=on",
	",werror=stop,rerror=stop",
	",werror=ignore,rerror=ignore",
	",werror=enospc",
	",media=cdrom",
	",readonly=on",
	",aio=threads",
	",aio=io_uring",
	",throttling.bps-total=100000",
	",throttling.iops-total=50,throttling.iops-total-max=100",
	",throttling.iops-read=10,throttling.iops-size=4096",
	",offset=512",
	",size=4096",
	",lazy-refcounts=on",
	",cache-size=64K",
	",auto-read-only=on",
	",file.locking=off",
	",overlap-check=all",
	",throttling.bps-write=1",
	",if=virtio",
	",index=3",
	",bps=0",
	",discard=ignore",
	",werror=stop",
};

static void done(struct block_req *r, int rc)
{
	struct slot *s = r->opaque;

	if (!s->busy)
		abort();
	s->busy = false;
	free(s->buf);
	s->buf = NULL;
}

static void on_error(void *opaque, const struct block_error *err)
{
	if (!err->device || !err->reason)
		abort();
}

static bool tray_locked(void *opaque)
{
	return ((struct disk *)opaque)->locked;
}

static void nothing(void *opaque)
{
}

static void attach(struct disk *d, bool polls, bool write)
{
	const struct block_front f = {
		.lock = &d->lock,
		.resized = nothing,
		.media_changed = nothing,
		.opaque = d,
		.tray_locked = tray_locked,
		.eject_request = nothing,
		.name = "front",
		.polls = polls,
	};

	d->attached = !block_attach(d->b, &f, write, NULL);
}

/* Two buffers with a seam anywhere, each byte of which is the request's alone. */
static void submit(struct disk *d, struct input *in, enum block_op op, unsigned arg)
{
	struct slot *s = &d->slots[take(in, 1) % SLOTS];
	uint64_t off = take(in, 2) * 512, len = (1 + take(in, 1) % (LEN_MAX / 512)) * 512;
	size_t seam = (size_t)(take(in, 1) * 16) % len;

	if (s->busy || !d->attached)
		return;
	*s = (struct slot){.busy = true};
	s->req = (struct block_req){.op = op,
				    .off = off,
				    .len = len,
				    .fua = arg & 1,
				    .may_unmap = arg & 2,
				    .done = done,
				    .opaque = s};
	if (op == BLOCK_FLUSH)
		s->req.off = s->req.len = 0;
	if (op == BLOCK_READ || op == BLOCK_WRITE) {
		s->buf = malloc(len);
		memset(s->buf, arg & 4 ? 0 : 0x5a, len);
		s->iov[0] = (struct iovec){s->buf, seam};
		s->iov[1] = (struct iovec){s->buf + seam, len - seam};
		s->req.iov = s->iov + !seam;
		s->req.n_iov = seam ? 2 : 1;
	}
	block_submit(d->b, &s->req);
}

static void throttle(struct disk *d, struct input *in)
{
	struct throttle_cfg c;
	unsigned k = (unsigned)take(in, 1);

	block_get_throttle(d->b, &c);
	if (k & 0x80)
		memset(&c, 0, sizeof(c));
	c.k[k % THROTTLE_KINDS].avg = take(in, 3);
	c.k[k % THROTTLE_KINDS].max = take(in, 3);
	c.k[k % THROTTLE_KINDS].length = take(in, 1);
	c.iops_size = take(in, 2);
	(void)block_set_throttle(d->b, &c, NULL);
}

static void query(struct disk *d, struct input *in)
{
	struct block_stats st;
	struct block_policy po;
	struct block_info info;
	struct block_image im;
	uint64_t off = take(in, 2) * 512, len = take(in, 3);
	unsigned ext;

	block_stats(d->b, &st);
	block_policy(d->b, &po);
	block_info(d->b, &info);
	if (off < info.size && len)
		(void)block_map(d->b, off, &len, &ext);
	for (struct block_node *n = block_root(d->b); n; n = block_backing(n))
		block_image(n, &im);
}

static void file_changes(struct disk *d, struct input *in, unsigned arg)
{
	if (arg & 1 && ftruncate(d->fd, (off_t)take(in, 2) * 256))
		return;
	if (arg & 8) /* nothing grows any more */
		(void)fcntl(d->fd, F_ADD_SEALS, F_SEAL_GROW | (arg & 4 ? F_SEAL_SHRINK : 0));
}

static void medium(struct disk *d, unsigned arg)
{
	block_drain(d->b);
	if (arg & 1)
		(void)block_eject(d->b, arg & 2, NULL);
	else
		(void)block_change(d->b, arg & 8 ? "/nowhere" : d->path, arg & 4 ? "raw" : NULL,
				   (int)(arg >> 2 & 3) - 1, arg & 2, NULL);
}

static void step(struct disk *d, struct input *in)
{
	static const enum block_op ops[] = {BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD,
					    BLOCK_ZERO};
	unsigned op = (unsigned)take(in, 1), arg = op >> 4;

	switch ((enum op)(op & 15)) {
	case OP_READ ... OP_ZERO:
		submit(d, in, ops[op & 15], arg);
		break;
	case OP_DRAIN:
		block_drain(d->b);
		if (arg & 1)
			block_cancel_held(d->b);
		break;
	case OP_POLL:
		if (d->attached)
			block_poll(d->b);
		break;
	case OP_CACHE:
		block_set_write_cache(d->b, arg & 1);
		break;
	case OP_RESIZE:
		(void)block_resize(d->b, take(in, 2) * 512, NULL);
		break;
	case OP_MEDIUM:
		medium(d, arg);
		break;
	case OP_THROTTLE:
		throttle(d, in);
		break;
	case OP_QUERY:
		query(d, in);
		break;
	case OP_ATTACH:
		if (d->attached)
			block_detach(d->b);
		attach(d, arg & 1, arg & 2);
		break;
	case OP_RESUME:
		blocks_resume(d->bs);
		break;
	case OP_FILE:
		file_changes(d, in, arg);
		break;
	case OP_TRAY:
		d->locked = arg & 1;
		block_set_tray_open(d->b, arg & 2);
		break;
	}
}

static void image_make(struct disk *d, struct input *in)
{
	uint64_t size = take(in, 2) * 512;
	size_t n = (size_t)take(in, 2);

	n = min_u64(n, (uint64_t)(in->end - in->p));
	d->fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (d->fd < 0 || ftruncate(d->fd, (off_t)size) || pwrite(d->fd, in->p, n, 0) < 0)
		abort();
	in->p += n;
	snprintf(d->path, sizeof(d->path), "/proc/self/fd/%d", d->fd);
}

static bool disk_open(struct disk *d, struct input *in)
{
	unsigned format = (unsigned)take(in, 1) % ARRAY_SIZE(formats);
	const char *o[3];
	char *opts;
	int r;

	for (unsigned i = 0; i < 3; i++)
		o[i] = options[take(in, 1) % ARRAY_SIZE(options)];
	image_make(d, in);
	opts = xasprintf("id=d,file=%s%s%s%s%s", d->path, formats[format], o[0], o[1], o[2]);
	lock_init(&d->lock, LOCK_RANK_MACHINE, "machine");
	d->log = log_create();
	log_open(d->log, "/dev/null", NULL);
	d->bs = blocks_create(d->log);
	blocks_set_error_hook(d->bs, on_error, d);
	r = block_open_drive(&d->b, d->bs, opts, NULL);
	free(opts);
	return !r;
}

static void disk_close(struct disk *d)
{
	lock_take(&d->lock);
	if (d->b && d->attached) {
		block_drain(d->b);
		block_cancel_held(d->b);
		block_detach(d->b);
	}
	lock_drop(&d->lock);
	for (unsigned i = 0; i < SLOTS; i++)
		if (d->slots[i].busy)
			abort();
	blocks_destroy(d->bs);
	log_destroy(d->log);
	lock_fini(&d->lock);
	close(d->fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct disk d = {.b = NULL};

	if (size < 8)
		return 0;
	if (disk_open(&d, &in)) {
		lock_take(&d.lock);
		attach(&d, size & 1, true);
		if (!d.attached)
			attach(&d, false, false);
		for (unsigned n = 0; in.p < in.end && n < 200; n++)
			step(&d, &in);
		lock_drop(&d.lock);
	}
	disk_close(&d);
	return 0;
}
