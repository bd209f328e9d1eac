/* SPDX-License-Identifier: Apache-2.0 */
/* Containers of drives, media that come and go, I/O without a device, errors and what is done about
 * them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/drive_int.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/log.h"

struct blocks *blocks_create(struct log *log)
{
	struct blocks *bs = xzalloc(sizeof(*bs));

	bs->log = log;
	return bs;
}

void blocks_destroy(struct blocks *bs)
{
	struct block_node *n, *next;

	while (bs->drives)
		drive_free(bs->drives);
	/* A node with a name has a reference of its own; a child may go with its parent. */
	for (n = bs->nodes; n; n = next) {
		next = n->next;
		if (!n->named)
			continue;
		n->named = false;
		node_put(n);
		next = bs->nodes;
	}
	bug_on(bs->nodes);
	free(bs);
}

int drive_insert(struct block *b, struct block_node *n, struct err **e)
{
	struct block_node *over;
	int r = node_claim(n, e);

	if (!r && b->snapshot) {
		r = node_overlay_open(&over, n, e);
		if (!r) {
			over->detect_zeroes = n->detect_zeroes;
			over->detect_unmap = n->detect_unmap;
			over->claimed = true;
			n->claimed = false;
			n = over;
		} else {
			n->claimed = false;
		}
	}
	if (r) {
		node_put(n);
		return r;
	}
	b->read_only = n->read_only || b->place.cdrom;
	drive_set_root(b, n);
	return 0;
}

static struct block *drive_of_node(struct blocks *bs, struct block_node *n)
{
	struct err *e = NULL;
	struct block *b;

	if (n->drive)
		return n->drive;
	b = drive_new(bs, "");
	b->place.interface = BLOCK_IF_NONE;
	b->place.from_node = true;
	b->mode = n->mode;
	b->policy.direct = n->mode.direct;
	b->policy.no_flush = n->mode.no_flush;
	b->policy.writeback = true;
	n->refs++;
	if (drive_insert(b, n, &e)) {
		log_printf(bs->log, "%s\n", err_msg(e));
		err_free(&e);
		drive_free(b);
		return NULL;
	}
	return b;
}

struct block *block_find(struct blocks *bs, const char *id)
{
	struct block_node *n;

	if (!*id)
		return NULL;
	for (struct block *b = bs->drives; b; b = b->next)
		if (!strcmp(b->id, id))
			return b;
	n = node_find(bs, id);
	return n ? drive_of_node(bs, n) : NULL;
}

struct block *block_next(const struct blocks *bs, const struct block *b)
{
	return b ? b->next : bs->drives;
}

int block_close_drive(struct block *b, struct err **e)
{
	if (b->front.lock)
		return err_set(e, EBUSY, "drive '%s' is used by a device", b->id);
	drive_free(b);
	return 0;
}

int block_close_node(struct blocks *bs, const char *name, struct err **e)
{
	struct block_node *n = node_find(bs, name);

	if (!n || !n->named)
		return err_set(e, ENOENT, "there is no node '%s'", name);
	if (n->drive && n->drive->place.from_node && !n->drive->front.lock)
		drive_free(n->drive);
	if (n->drive || n->refs > 1)
		return err_set(e, EBUSY, "node '%s' is in use", name);
	node_put(n);
	return 0;
}

const char *block_id(const struct block *b)
{
	return b->id;
}

const struct block_place *block_place(const struct block *b)
{
	return &b->place;
}

void block_info(const struct block *b, struct block_info *out)
{
	const struct block_node *n = b->root;

	*out = (struct block_info){
		.align = BLOCK_SECTOR,
		.phys_block = n && n->align > BLOCK_SECTOR ? n->align : BLOCK_SECTOR,
		.discard_align = BLOCK_SECTOR,
		.read_only = b->read_only,
		.removable = b->place.cdrom,
		.has_medium = n && !b->policy.tray_open,
		.write_cache = b->policy.writeback,
		.size = n ? align_up(n->size, BLOCK_SECTOR) : 0,
	};
	if (b->place.cdrom)
		out->removable = true;
}

void block_set_write_cache(struct block *b, bool on)
{
	block_drain(b);
	b->policy.writeback = on;
}

/* I/O without a device. */

int block_pread(struct block *b, uint64_t off, void *buf, size_t len)
{
	return b->root ? node_pread(b->root, off, buf, len) : -ENOMEDIUM;
}

int block_pwrite(struct block *b, uint64_t off, const void *buf, size_t len)
{
	int r;

	if (!b->root || b->read_only)
		return b->root ? -EROFS : -ENOMEDIUM;
	r = node_pwrite(b->root, off, buf, len);
	return r || b->policy.writeback ? r : node_flush(b->root);
}

int block_flush(struct block *b)
{
	return b->root ? node_flush(b->root) : 0;
}

/* Media. */

static int tray_must_open(struct block *b, bool force, struct err **e)
{
	const struct block_front *f = &b->front;

	if (!b->place.cdrom)
		return err_set(e, ENOTSUP, "device '%s' is not removable", b->id);
	if (!f->lock || !f->tray_locked || !f->tray_locked(f->opaque) || force)
		return 0;
	if (f->eject_request)
		f->eject_request(f->opaque);
	return err_set(e, EBUSY,
		       "device '%s' is locked and force was not specified, wait for tray "
		       "to open and try again",
		       b->id);
}

static void media_told(struct block *b)
{
	if (b->front.media_changed)
		b->front.media_changed(b->front.opaque);
}

int block_eject(struct block *b, bool force, struct err **e)
{
	int r = tray_must_open(b, force, e);

	if (r)
		return r;
	block_cancel_held(b);
	drive_set_root(b, NULL);
	b->policy.tray_open = b->front.lock != NULL; /* nobody closes that of no device */
	media_told(b);
	return 0;
}

int block_change(struct block *b, const char *filename, const char *format, int read_only,
		 bool force, struct err **e)
{
	struct kvlist l = {0};
	struct node_opts o = {.bs = b->bs, .l = &l, .prefix = "", .mode = b->mode};
	struct block_node *n = NULL;
	int r = tray_must_open(b, force, e);

	if (r)
		return r;
	if (read_only >= 0)
		o.mode.write = !read_only;
	if (b->place.cdrom || b->snapshot)
		o.mode.write = false;
	r = node_open_name(&n, &o, filename, format, e);
	if (r)
		return r;
	block_cancel_held(b);
	drive_set_root(b, NULL);
	r = drive_insert(b, n, e);
	b->policy.tray_open = false;
	media_told(b);
	return r;
}

void block_set_tray_open(struct block *b, bool open)
{
	b->policy.tray_open = open;
}

int block_resize(struct block *b, uint64_t size, struct err **e)
{
	int r;

	if (!b->root || !b->root->drv->truncate)
		return err_set(e, ENOTSUP, "drive '%s' cannot change its size", b->id);
	if (b->read_only)
		return err_set(e, EROFS, "drive '%s' is read-only", b->id);
	if (size & (BLOCK_SECTOR - 1) || size > (uint64_t)BLOCK_SIZE_MAX)
		return err_set(e, EINVAL, "a disk's size is a multiple of 512");
	block_drain(b);
	r = b->root->drv->truncate(b->root, size, e);
	if (!r && b->front.resized)
		b->front.resized(b->front.opaque);
	return r;
}

/* Errors. */

void blocks_set_error_hook(struct blocks *bs,
			   void (*fn)(void *opaque, const struct block_error *err), void *opaque)
{
	bs->error_hook = fn;
	bs->error_opaque = opaque;
}

enum block_action drive_error(struct block *b, const struct block_req *r)
{
	bool read = r->op == BLOCK_READ, nospace = r->rc == -ENOSPC || r->rc == -EDQUOT;
	unsigned policy = read ? b->policy.rerror : b->policy.werror;
	struct block_error err = {
		.device = b->id,
		.node = b->root ? b->root->name : "",
		.qdev = b->front.name ? b->front.name : "",
		.write = !read,
		.nospace = nospace,
		.reason = strerrordesc_np(-r->rc),
	};

	if (policy == ERRORS_IGNORE)
		err.action = BLOCK_IGNORE;
	else if (b->bs->error_hook &&
		 (policy == ERRORS_STOP || (policy == ERRORS_ENOSPC && nospace)))
		err.action = BLOCK_STOP;
	/* An empty drive and a read-only one are no accident. */
	if (r->rc == -ENOMEDIUM || r->rc == -EROFS)
		return BLOCK_REPORT;
	if (!err.reason)
		err.reason = "unknown error";
	if (b->bs->error_hook)
		b->bs->error_hook(b->bs->error_opaque, &err);
	return err.action;
}
