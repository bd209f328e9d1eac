/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to know about drives and images. */
#include <errno.h>
#include <string.h>
#include "back/block/drive_int.h"

void block_stats(struct block *b, struct block_stats *out)
{
	lock_take(&b->lock);
	*out = b->stats;
	lock_drop(&b->lock);
}

int block_set_throttle(struct block *b, const struct throttle_cfg *cfg, struct err **e)
{
	int r;

	lock_take(&b->lock);
	r = throttle_set(&b->throttle, cfg, e);
	/* Those that waited for the old limits. */
	pthread_cond_broadcast(&b->work);
	lock_drop(&b->lock);
	return r;
}

void block_get_throttle(const struct block *b, struct throttle_cfg *cfg)
{
	*cfg = b->throttle.cfg;
}

void block_policy(const struct block *b, struct block_policy *out)
{
	*out = b->policy;
	out->removable = b->place.cdrom;
	out->attached = b->front.lock != NULL;
	out->tray_locked = out->attached && b->front.tray_locked &&
			   b->front.tray_locked(b->front.opaque);
	out->qdev = b->front.name ? b->front.name : "";
	if (b->root) {
		out->detect_zeroes = b->root->detect_zeroes;
		out->detect_unmap = b->root->detect_unmap;
	}
}

static int error_word(const char *word, int as_it_is)
{
	static const char *const words[] = {
		[ERRORS_REPORT] = "report",
		[ERRORS_IGNORE] = "ignore",
		[ERRORS_ENOSPC] = "enospc",
		[ERRORS_STOP] = "stop",
	};

	for (size_t i = 0; word && i < ARRAY_SIZE(words); i++)
		if (!strcmp(word, words[i]))
			return (int)i;
	return as_it_is;
}

void block_set_errors(struct block *b, const char *rerror, const char *werror)
{
	b->policy.rerror = error_word(rerror, b->policy.rerror);
	b->policy.werror = error_word(werror, b->policy.werror);
}

struct block_node *block_root(const struct block *b)
{
	return b->root;
}

struct block_node *block_backing(const struct block_node *n)
{
	return n->backing;
}

void block_image(struct block_node *n, struct block_image *out)
{
	const struct block_node *leaf = n->file ? node_leaf(n->file) : NULL;

	*out = (struct block_image){
		.node = n->name,
		.driver = n->drv->name,
		.filename = n->filename,
		.virtual_size = align_up(n->size, BLOCK_SECTOR),
		.read_only = n->read_only,
	};
	if (n->backing)
		out->backing_filename = n->backing->filename;
	if (leaf && leaf->drv->image)
		leaf->drv->image(node_leaf(n->file), out);
	if (n->drv->image)
		n->drv->image(n, out);
}

int block_map(struct block *b, uint64_t off, uint64_t *len, unsigned *extent)
{
	return b->root ? node_status(b->root, off, len, extent) : -ENOMEDIUM;
}
