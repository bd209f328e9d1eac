/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image whose bytes are the guest's: all of its child, or size= bytes from offset= on.
 *
 * When nobody said that an image is raw (it just looks like nothing else), its first sector may not
 * become one that looks like a format: the guest would choose what the host takes the file for when
 * it is opened next, backing files of its wish included.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/node.h"
#include "base/err.h"

struct raw {
	uint64_t shift;
	bool whole; /* to the end of the child, as it grows */
	bool probed; /* first sector is restricted */
};

static int raw_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	struct raw *raw = n->priv = xzalloc(sizeof(*raw));
	uint64_t size = 0, whole;
	int r;

	raw->probed = o->probed;
	r = node_opt_size(o, "offset", &raw->shift, e);
	if (!r)
		r = node_opt_size(o, "size", &size, e);
	if (!r)
		r = node_open_child(&n->file, o, "file", e);
	if (r)
		return r;
	whole = align_up(n->file->size, BLOCK_SECTOR);
	if (raw->shift & (BLOCK_SECTOR - 1) || size & (BLOCK_SECTOR - 1))
		return err_set(e, EINVAL, "offset and size of a raw image are multiples of 512");
	if (!range_fits(raw->shift, size, whole))
		return err_set(e, EINVAL,
			       "'%s': offset=%llu,size=%llu is not within its %llu bytes",
			       n->file->filename, (unsigned long long)raw->shift,
			       (unsigned long long)size, (unsigned long long)n->file->size);
	raw->whole = !size && !raw->shift;
	n->size = size ? size : whole - raw->shift;
	n->read_only = n->read_only || n->file->read_only;
	n->align = n->file->align;
	return 0;
}

static void raw_close(struct block_node *n)
{
	free(n->priv);
}

static int raw_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct raw *raw = n->priv;

	return node_read(n->file, off + raw->shift, len, v);
}

static int raw_read_now(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct raw *raw = n->priv;

	return node_read_now(n->file, off + raw->shift, len, v);
}

/* Would the guest's write make a format of this image? */
static bool raw_forbidden(struct raw *raw, uint64_t off, uint64_t len, struct bvec v)
{
	uint8_t head[BLOCK_SECTOR];
	bool known;

	if (!raw->probed || off || len < sizeof(head))
		return false;
	bvec_get(v, head, sizeof(head));
	return node_probe(head, sizeof(head), &known) != NULL;
}

static int raw_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct raw *raw = n->priv;

	if (raw_forbidden(raw, off, len, v))
		return -EPERM;
	return node_write(n->file, off + raw->shift, len, v);
}

static int raw_flush(struct block_node *n)
{
	return node_flush(n->file);
}

static int raw_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct raw *raw = n->priv;

	return node_discard(n->file, off + raw->shift, len);
}

static int raw_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap)
{
	struct raw *raw = n->priv;

	return node_zero(n->file, off + raw->shift, len, may_unmap);
}

static int raw_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent)
{
	struct raw *raw = n->priv;

	return node_status(n->file, off + raw->shift, len, extent);
}

static int raw_truncate(struct block_node *n, uint64_t size, struct err **e)
{
	struct raw *raw = n->priv;
	int r;

	if (!raw->whole || !n->file->drv->truncate)
		return err_set(e, ENOTSUP, "this raw image cannot change its size");
	r = n->file->drv->truncate(n->file, size, e);
	if (!r)
		n->size = align_up(n->file->size, BLOCK_SECTOR);
	return r;
}

static int raw_fast_fd(struct block_node *n, uint64_t *shift)
{
	struct raw *raw = n->priv;
	int fd = node_fast_fd(n->file, shift);

	if (fd < 0 || raw->probed)
		return -1;
	*shift += raw->shift;
	return fd;
}

const struct node_drv node_raw = {
	.name = "raw",
	.open = raw_open,
	.close = raw_close,
	.read = raw_read,
	.read_now = raw_read_now,
	.write = raw_write,
	.flush = raw_flush,
	.discard = raw_discard,
	.zero = raw_zero,
	.status = raw_status,
	.truncate = raw_truncate,
	.fast_fd = raw_fast_fd,
};
