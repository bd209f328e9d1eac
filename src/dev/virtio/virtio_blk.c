/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block device (virtio 1.2 5.2).
 *
 * A request is a header of 16 bytes that the device reads, data one way or the other, and one byte
 * of status at the end of what it writes.  Data go straight between the block layer and guest RAM:
 * the chain's own list of buffers, less header and status, is the request's.  A chain without room
 * for header and status breaks the device; every other bad request is answered with IOERR or
 * UNSUPP.
 *
 * Completions come from threads of the block layer with the machine's lock held, in any order.
 * Those within a kick are told to the driver by one interrupt.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "back/block/block.h"
#include "base/err.h"
#include "dev/virtio/virtio.h"

#define F_SEG_MAX BIT(2)
#define F_GEOMETRY BIT(4)
#define F_RO BIT(5)
#define F_BLK_SIZE BIT(6)
#define F_FLUSH BIT(9)
#define F_TOPOLOGY BIT(10)
#define F_CONFIG_WCE BIT(11)
#define F_MQ BIT(12)
#define F_DISCARD BIT(13)
#define F_WRITE_ZEROES BIT(14)

#define CONFIG_LEN 60
#define CONFIG_WCE 32
#define SECTOR 512
#define HEADER 16
#define ID_LEN 20
#define MAX_SECTORS 0x3fffff /* of one discard or write zeroes */
#define UNMAP 1

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

struct range { /* data of discard and write zeroes */
	uint64_t sector;
	uint32_t n, flags;
};

struct blk_req {
	struct block_req r; /* first */
	struct virtq_elem *el;
	uint8_t *status;
	struct virtio_blk *b;
	struct blk_req *prev, *next; /* in flight, newest first; free ones by next */
};

struct virtio_blk {
	struct virtio_dev v; /* first */
	struct block *block;
	struct block_info info;
	uint64_t features;
	uint32_t logical, physical, min_io, opt_io, seg_max;
	uint64_t max_discard, max_zeroes; /* sectors */
	uint16_t cyls;
	uint8_t heads, secs;
	char serial[ID_LEN + 1];
	bool wce_default;
	uint8_t wce; /* writeback: the guest's */
	bool busy; /* in a kick: interrupts are collected */
	bool dropping; /* in stop: */
	int drop_queue; /* of this queue, -1: of all */
	uint64_t notify; /* queues that have used buffers to tell of */
	struct blk_req *free, *in_flight;
};

static struct virtio_blk *of(struct virtio_dev *v)
{
	return (struct virtio_blk *)v;
}

static uint64_t blk_features(struct virtio_dev *v)
{
	return of(v)->features;
}

static uint64_t sectors(const struct virtio_blk *b)
{
	return b->info.size / SECTOR;
}

static void put_geometry(const struct virtio_blk *b, uint8_t *c)
{
	uint64_t cyls = sectors(b) / (16u * 63u);

	put_le16(c + 16, b->cyls ? b->cyls : (uint16_t)min_u64(max_u64(cyls, 1), 16383));
	c[18] = b->cyls ? b->heads : 16;
	c[19] = b->cyls ? b->secs : 63;
}

static void blk_config_read(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_blk *b = of(v);
	uint64_t align = max_u64(b->info.discard_align, b->logical) / SECTOR;
	uint8_t c[CONFIG_LEN] = {0};

	put_le64(c, sectors(b));
	put_le32(c + 12, b->seg_max);
	put_geometry(b, c);
	put_le32(c + 20, b->logical);
	c[24] = (uint8_t)__builtin_ctz(b->physical / b->logical);
	put_le16(c + 26, (uint16_t)(b->min_io / b->logical));
	put_le32(c + 28, b->opt_io / b->logical);
	c[CONFIG_WCE] = b->wce;
	put_le16(c + 34, (uint16_t)v->n_queues);
	if (b->features & F_DISCARD) {
		put_le32(c + 36, (uint32_t)b->max_discard);
		put_le32(c + 40, 1);
		put_le32(c + 44, (uint32_t)align);
	}
	if (b->features & F_WRITE_ZEROES) {
		put_le32(c + 48, (uint32_t)b->max_zeroes);
		put_le32(c + 52, 1);
		c[56] = 1;
	}
	memcpy(buf, c + off, len);
}

static void set_wce(struct virtio_blk *b, bool on)
{
	b->wce = on;
	block_set_write_cache(b->block, on);
}

static void blk_config_write(struct virtio_dev *v, uint32_t off, const void *buf, uint32_t len)
{
	if (off == CONFIG_WCE && len == 1 && virtio_has(v, F_CONFIG_WCE))
		set_wce(of(v), *(const uint8_t *)buf & 1);
}

/* A driver that can neither flush nor switch the cache needs none (5.2.5.1). */
static bool blk_features_set(struct virtio_dev *v)
{
	if (!(v->features & (F_FLUSH | F_CONFIG_WCE)))
		set_wce(of(v), false);
	return true;
}

static struct blk_req *req_new(struct virtio_blk *b, struct virtq_elem *el)
{
	struct blk_req *q = b->free;

	if (q)
		b->free = q->next;
	else
		q = xrealloc(NULL, sizeof(*q));
	*q = (struct blk_req){.el = el, .b = b, .next = b->in_flight};
	if (q->next)
		q->next->prev = q;
	b->in_flight = q;
	return q;
}

static void finish(struct blk_req *q, uint8_t status)
{
	struct virtio_blk *b = q->b;
	struct virtq *vq = q->el->q;
	unsigned n = virtq_index(vq);

	if (b->dropping && (b->drop_queue < 0 || (unsigned)b->drop_queue == n)) {
		virtq_drop(q->el);
	} else {
		*q->status = status;
		virtq_written(vq, q->status, 1);
		virtq_push(q->el, (uint32_t)q->el->in_len);
		if (b->busy)
			b->notify |= BIT(n);
		else
			virtq_notify(vq);
	}
	if (q->next)
		q->next->prev = q->prev;
	if (q->prev)
		q->prev->next = q->next;
	else
		b->in_flight = q->next;
	q->next = b->free;
	b->free = q;
}

static void blk_done(struct block_req *r, int rc)
{
	struct blk_req *q = (struct blk_req *)r;
	bool unsupp = rc == -ENOTSUP && (r->op == BLOCK_DISCARD || r->op == BLOCK_ZERO);

	finish(q, rc == 0 ? S_OK : unsupp ? S_UNSUPP : S_IOERR);
}

static void submit(struct blk_req *q, enum block_op op, uint64_t sector, uint64_t len)
{
	q->r.op = op;
	q->r.off = sector * SECTOR;
	q->r.len = len;
	q->r.done = blk_done;
	block_submit(q->b->block, &q->r);
}

/* in_range - are these bytes on the disk, in whole blocks? */
static bool in_range(const struct virtio_blk *b, uint64_t sector, uint64_t len)
{
	return sector <= sectors(b) && range_fits(sector * SECTOR, len, b->info.size) &&
	       (sector * SECTOR) % b->logical == 0 && len % b->logical == 0;
}

static void transfer(struct blk_req *q, enum block_op op, uint64_t sector, uint64_t len)
{
	if (!in_range(q->b, sector, len) || (op == BLOCK_WRITE && q->b->info.read_only))
		finish(q, S_IOERR);
	else if (!len)
		finish(q, S_OK);
	else
		submit(q, op, sector, len);
}

/* unmap - discard or write zeroes of one range (5.2.6.2): the header, then the range. */
static void unmap(struct blk_req *q, enum block_op op)
{
	struct virtio_blk *b = q->b;
	bool zero = op == BLOCK_ZERO;
	struct range d;
	uint64_t len;

	if (!virtio_has(&b->v, zero ? F_WRITE_ZEROES : F_DISCARD)) {
		finish(q, S_UNSUPP);
		return;
	}
	if (q->el->out_len != HEADER + sizeof(d) || b->info.read_only) {
		finish(q, S_IOERR);
		return;
	}
	iov_to_buf(q->r.iov, q->r.n_iov, 0, &d, sizeof(d));
	if (d.flags & (zero ? ~(uint32_t)UNMAP : UINT32_MAX)) {
		finish(q, S_UNSUPP);
		return;
	}
	len = (uint64_t)d.n * SECTOR;
	if (d.n > (zero ? b->max_zeroes : b->max_discard) || !in_range(b, d.sector, len)) {
		finish(q, S_IOERR);
		return;
	}
	q->r.may_unmap = d.flags & UNMAP;
	if (len)
		submit(q, op, d.sector, len);
	else
		finish(q, S_OK);
}

static void get_id(struct blk_req *q)
{
	struct virtq_elem *el = q->el;

	/* The status byte is no longer in the list: what is too short gets what fits. */
	iov_from_buf(el->in, el->n_in, 0, q->b->serial, ID_LEN);
	finish(q, S_OK);
}

/* skip - take n bytes off the front of a list of buffers. */
static void skip(struct iovec **iov, unsigned *n_iov, size_t n)
{
	while (n && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*n_iov)--;
	}
	if (n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

/* take_status - the last byte that the device writes; it goes from the list. */
static uint8_t *take_status(struct virtq_elem *el)
{
	struct iovec *last = &el->in[el->n_in - 1];

	last->iov_len--;
	if (!last->iov_len)
		el->n_in--;
	return (uint8_t *)last->iov_base + last->iov_len;
}

static void start(struct blk_req *q, uint32_t type, uint64_t sector)
{
	struct virtq_elem *el = q->el;

	q->r.iov = el->out;
	q->r.n_iov = el->n_out;
	switch (type) {
	case T_IN:
		q->r.iov = el->in;
		q->r.n_iov = el->n_in;
		transfer(q, BLOCK_READ, sector, el->in_len - 1);
		break;
	case T_OUT:
		transfer(q, BLOCK_WRITE, sector, el->out_len - HEADER);
		break;
	case T_FLUSH:
		submit(q, BLOCK_FLUSH, 0, 0);
		break;
	case T_GET_ID:
		get_id(q);
		break;
	case T_DISCARD:
		unmap(q, BLOCK_DISCARD);
		break;
	case T_WRITE_ZEROES:
		unmap(q, BLOCK_ZERO);
		break;
	default:
		finish(q, S_UNSUPP);
	}
}

/* take - one request; false: it was none, and the device is broken. */
static bool take(struct virtio_blk *b, struct virtq_elem *el)
{
	uint8_t h[HEADER];
	struct blk_req *q;

	if (el->out_len < HEADER || el->in_len < 1) {
		virtio_error(&b->v, "request without header or status");
		virtq_drop(el);
		return false;
	}
	iov_to_buf(el->out, el->n_out, 0, h, sizeof(h));
	q = req_new(b, el);
	q->status = take_status(el);
	skip(&el->out, &el->n_out, HEADER);
	start(q, get_le32(h), get_le64(h + 8));
	return true;
}

static void blk_kick(struct virtio_dev *v, unsigned n)
{
	struct virtio_blk *b = of(v);
	struct virtq *vq = virtio_queue(v, n);
	struct virtq_elem *el;
	unsigned served = 0;

	b->busy = true;
	while (served++ < VIRTQ_SIZE_MAX && (el = virtq_pop(vq)) && take(b, el))
		;
	if (served > VIRTQ_SIZE_MAX) /* bad requests, which end at once, can go on for ever */
		virtio_kick_later(v);
	block_poll(b->block);
	b->busy = false;
	for (; b->notify; b->notify &= b->notify - 1)
		virtq_notify(virtio_queue(v, (unsigned)__builtin_ctzll(b->notify)));
}

/* Requests of other queues that end meanwhile end as ever. */
static void blk_stop(struct virtio_dev *v, int q)
{
	struct virtio_blk *b = of(v);

	b->dropping = true;
	b->drop_queue = q;
	block_drain(b->block);
	block_cancel_held(b->block);
	b->dropping = false;
}

static void blk_reset(struct virtio_dev *v)
{
	set_wce(of(v), of(v)->wce_default);
}

/* Requests that wait for the guest to go on after an error (werror=stop) are saved, to be begun
 * anew where they are loaded.  They fail instead when the driver has given two of them one name. */
static void blk_quiesce(struct virtio_dev *v)
{
	bool same = false;

	block_drain(of(v)->block);
	for (struct blk_req *q = of(v)->in_flight; q; q = q->next)
		for (struct blk_req *p = q->next; p && !same; p = p->next)
			same = virtq_same(q->el, p->el);
	if (same)
		block_cancel_held(of(v)->block);
}

static void blk_pre_save(void *obj)
{
	struct virtio_blk *b = obj;

	for (struct blk_req *q = b->in_flight; q; q = q->next)
		virtq_save(q->el);
}

static void blk_unrealize(struct virtio_dev *v)
{
	struct virtio_blk *b = of(v);

	block_detach(b->block);
	for (struct blk_req *q = b->free, *next; q; q = next) {
		next = q->next;
		free(q);
	}
	virtio_fini(v);
	free(b);
}

static void resized(void *opaque)
{
	struct virtio_blk *b = opaque;

	block_info(b->block, &b->info);
	virtio_config_changed(&b->v);
}

static int blk_post_load(void *obj, struct err **e)
{
	struct virtio_blk *b = obj;

	if (b->wce > 1)
		return err_set(e, EINVAL, "virtio-blk: impossible cache mode");
	block_set_write_cache(b->block, b->wce);
	return 0;
}

static const struct state_field blk_fields[] = {
	STATE_FIELD(struct virtio_blk, wce, STATE_U8),
	STATE_END,
};

static const struct state_desc blk_state = {
	.name = "virtio-blk",
	.version = 1,
	.fields = blk_fields,
	.post_load = blk_post_load,
	.pre_save = blk_pre_save,
};

static const struct virtio_ops blk_ops = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.features = blk_features,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.features_set = blk_features_set,
	.kick = blk_kick,
	.stop = blk_stop,
	.reset = blk_reset,
	.quiesce = blk_quiesce,
	.unrealize = blk_unrealize,
	.state = &blk_state,
};

static const struct dev_prop blk_props[] = {
	{"drive", "the disk", NULL, PROP_DRIVE},
	{"serial", "serial number, up to 20 characters", NULL, PROP_STR},
	{"bootindex", "place in the boot order", NULL, PROP_UINT, INT32_MAX},
	{"rerror", "what a failed read comes to (auto: as the drive says)", "auto", PROP_ENUM, 0,
	 BLOCK_RERRORS},
	{"werror", "what a failed write comes to", "auto", PROP_ENUM, 0, BLOCK_WERRORS},
	{"logical_block_size", "smallest unit of access", "512", PROP_SIZE, 32 * KiB},
	{"physical_block_size", "unit that is written without reading (default: the disk's)", NULL,
	 PROP_SIZE, 2 * MiB},
	{"min_io_size", "smallest transfer that is efficient", "0", PROP_SIZE, 32 * MiB},
	{"opt_io_size", "transfer that is most efficient", "0", PROP_SIZE, 1 * GiB},
	{"num-queues", "request queues", "1", PROP_UINT, VIRTIO_QUEUES_MAX},
	{"queue-size", "descriptors in a queue, a power of two", "256", PROP_UINT, VIRTQ_SIZE_MAX},
	{"discard", "offer discard", "on", PROP_BOOL},
	{"write-zeroes", "offer write zeroes", "on", PROP_BOOL},
	{"max-discard-sectors", "of one request", "4194303", PROP_UINT, MAX_SECTORS},
	{"max-write-zeroes-sectors", "of one request", "4194303", PROP_UINT, MAX_SECTORS},
	{"config-wce", "the guest may switch the write cache", "on", PROP_BOOL},
	{"write-cache", "is it on at first?", "auto", PROP_AUTO},
	{"share-rw", "accepted for compatibility: images are locked by drives", "off", PROP_BOOL},
	{"request-merging", "accepted for compatibility", "on", PROP_BOOL},
	{"scsi", "accepted when off: SCSI commands are no part of virtio 1", "off", PROP_BOOL},
	{"iothread", "accepted for compatibility: disks have threads of their own", NULL,
	 PROP_OBJECT},
	{"cyls", "geometry: cylinders (default: from the size)", "0", PROP_UINT, 65535},
	{"heads", "geometry: heads", "0", PROP_UINT, 255},
	{"secs", "geometry: sectors on a track", "0", PROP_UINT, 255},
	{0},
};

static bool block_size(uint64_t n)
{
	return is_pow2(n) && n >= SECTOR;
}

static int blk_check(const struct dev_opts *o, struct err **e)
{
	uint64_t logical = dev_opt_num(o, "logical_block_size");
	uint64_t physical = dev_opt_given(o, "physical_block_size")
				    ? dev_opt_num(o, "physical_block_size")
				    : logical;
	uint64_t size = dev_opt_num(o, "queue-size");
	bool geometry = dev_opt_num(o, "cyls");

	if (!dev_opt_str(o, "drive"))
		return err_set(e, EINVAL, "property 'drive' is missing");
	if (!block_size(logical) || !block_size(physical) || physical < logical)
		return err_set(e, EINVAL,
			       "block sizes are powers of two from 512, and the physical "
			       "one is not the smaller");
	if (dev_opt_num(o, "min_io_size") % logical || dev_opt_num(o, "opt_io_size") % logical)
		return err_set(e, EINVAL, "I/O sizes are not multiples of the block size");
	if (!dev_opt_num(o, "num-queues"))
		return err_set(e, EINVAL, "num-queues is 0");
	if (!is_pow2(size) || size < 4)
		return err_set(e, EINVAL, "queue-size is not a power of two from 4 to %u",
			       VIRTQ_SIZE_MAX);
	if (geometry != !!dev_opt_num(o, "heads") || geometry != !!dev_opt_num(o, "secs"))
		return err_set(e, EINVAL, "a geometry is cyls, heads and secs together");
	if (dev_opt_num(o, "scsi"))
		return err_set(e, EINVAL, "scsi=on is not supported");
	return 0;
}

static void from_opts(struct virtio_blk *b, const struct dev_opts *o)
{
	const char *serial = dev_opt_str(o, "serial");
	uint64_t cache = dev_opt_num(o, "write-cache"); /* 2: auto */

	b->logical = (uint32_t)dev_opt_num(o, "logical_block_size");
	b->physical = dev_opt_given(o, "physical_block_size")
			      ? (uint32_t)dev_opt_num(o, "physical_block_size")
		      : is_pow2(b->info.phys_block) && b->info.phys_block > b->logical
			      ? b->info.phys_block
			      : b->logical;
	b->seg_max = (uint32_t)dev_opt_num(o, "queue-size") - 2; /* header, status */
	b->min_io = (uint32_t)dev_opt_num(o, "min_io_size");
	b->opt_io = (uint32_t)dev_opt_num(o, "opt_io_size");
	b->max_discard = dev_opt_num(o, "max-discard-sectors");
	b->max_zeroes = dev_opt_num(o, "max-write-zeroes-sectors");
	b->cyls = (uint16_t)dev_opt_num(o, "cyls");
	b->heads = (uint8_t)dev_opt_num(o, "heads");
	b->secs = (uint8_t)dev_opt_num(o, "secs");
	b->wce_default = cache == 2 ? b->info.write_cache : cache;
	strncpy(b->serial, serial ? serial : "", ID_LEN);
	b->features = F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY;
	b->features |= dev_opt_num(o, "config-wce") ? F_CONFIG_WCE : 0;
	b->features |= dev_opt_num(o, "num-queues") > 1 ? F_MQ : 0;
	b->features |= dev_opt_num(o, "discard") ? F_DISCARD : 0;
	b->features |= dev_opt_num(o, "write-zeroes") ? F_WRITE_ZEROES : 0;
	if (b->info.read_only)
		b->features = (b->features & ~(F_DISCARD | F_WRITE_ZEROES)) | F_RO;
}

static int attach(struct virtio_blk *b, const struct dev_place *p, const struct dev_opts *o,
		  struct err **e)
{
	const struct block_front front = {
		.lock = p->env->lock,
		.resized = resized,
		.opaque = b,
		.name = p->id,
		.polls = true,
	};

	b->block = dev_opt_drive(o, "drive");
	block_info(b->block, &b->info);
	if (!b->info.has_medium)
		return err_set(e, ENOMEDIUM, "the drive is empty");
	return block_attach(b->block, &front, !b->info.read_only, e);
}

static int blk_create(const struct dev_place *p, const struct dev_opts *o, struct virtio_dev **out,
		      struct err **e)
{
	struct virtio_blk *b = xzalloc(sizeof(*b));
	int rc = attach(b, p, o, e);

	if (rc) {
		free(b);
		return rc;
	}
	block_set_errors(b->block, dev_opt_str(o, "rerror"), dev_opt_str(o, "werror"));
	block_info(b->block, &b->info);
	from_opts(b, o);
	virtio_init(&b->v, &blk_ops, p->env, p->id, (unsigned)dev_opt_num(o, "num-queues"),
		    (unsigned)dev_opt_num(o, "queue-size"), CONFIG_LEN);
	virtio_save_in_flight(&b->v);
	*out = &b->v;
	return 0;
}

const struct virtio_type virtio_blk_type = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.boot_name = "scsi",
	.boot_unit = "/disk@0,0",
	.create = blk_create,
};

VIRTIO_CLASSES(virtio_blk, "virtio-blk", "a disk", "Storage", virtio_blk_type, blk_props,
	       blk_check);
