/* SPDX-License-Identifier: Apache-2.0 */
/* The driver: opening, closing, what is told about an image.  See qcow2.h for the theory of
 * operation. */
#include "back/block/qcow2.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/graph_int.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/log.h"

#define L2_CACHE_DEFAULT (32 * MiB)
#define SLICE_MAX 4096
#define SLICES_MIN 16

static int open_children_file(struct block_node *n, struct node_opts *o, struct err **e)
{
	int r = node_open_child(&n->file, o, "file", e);

	if (r)
		return r;
	if (!node_leaf(n->file)->drv->protocol)
		return err_set(e, EINVAL, "an image in another image of format %s is not supported",
			       node_leaf(n->file)->drv->name);
	n->read_only = n->read_only || n->file->read_only;
	if (n->file->read_only)
		n->mode.write = false;
	return 0;
}

/* Directory of the image, with its slash, for names that are relative to it; NULL: none. */
static char *dir_of(const struct block_node *n)
{
	const struct block_node *leaf = node_leaf(n->file);
	const char *slash = leaf->drv == &node_file ? strrchr(leaf->filename, '/') : NULL;

	return slash ? xasprintf("%.*s", (int)(slash + 1 - leaf->filename), leaf->filename) : NULL;
}

static struct node_opts below(struct block_node *n, const struct node_opts *o, const char *dir)
{
	struct node_opts sub = *o;

	sub.above = n;
	sub.base_dir = dir;
	sub.mode.write = false;
	sub.mode.auto_ro = false;
	sub.mode.unmap = false;
	return sub;
}

static bool key_given(struct node_opts *o, const char *key)
{
	char *full = xasprintf("%s%s", o->prefix, key);
	size_t len = strlen(full);
	bool found = false;

	for (size_t i = 0; i < o->l->n && !found; i++)
		found = !strncmp(o->l->kv[i].key, full, len) &&
			(!o->l->kv[i].key[len] || o->l->kv[i].key[len] == '.');
	free(full);
	return found;
}

static int open_backing(struct block_node *n, struct node_opts *o, struct err **e)
{
	struct qcow2 *q = n->priv;
	const char *ref = node_opt(o, "backing");
	char *dir = dir_of(n);
	struct node_opts sub = below(n, o, dir);
	int r = 0;

	if (ref && !*ref) {
		free(dir);
		return 0;
	}
	if (key_given(o, "backing"))
		r = node_open_child(&n->backing, &sub, "backing", e);
	else if (q->backing_name)
		r = node_open_name(&n->backing, &sub, q->backing_name, q->backing_format, e);
	if (r)
		err_prefix(e, "'%s': its backing file", n->file->filename);
	free(dir);
	return r;
}

static int open_data(struct block_node *n, struct node_opts *o, const char *name, struct err **e)
{
	struct qcow2 *q = n->priv;
	char *dir = dir_of(n);
	struct node_opts sub = *o;
	int r;

	q->data_file = q->file;
	sub.base_dir = dir;
	if (!q->external) {
		free(dir);
		return 0;
	}
	sub.drive = false;
	if (key_given(o, "data-file"))
		r = node_open_child(&n->data, &sub, "data-file", e);
	else if (name)
		r = node_open_name(&n->data, &sub, name, "raw", e);
	else
		r = err_set(e, EINVAL,
			    "'%s': the name of its data file is missing (data-file.filename=)",
			    n->file->filename);
	if (!r && !n->data->claimed)
		r = node_claim(n->data, e);
	if (!r && q->raw_external && q->backing_name)
		r = err_set(e, EINVAL, "'%s': a raw data file cannot have a backing file",
			    n->file->filename);
	if (r)
		err_prefix(e, "'%s': its data file", n->file->filename);
	q->data_file = n->data;
	if (!r)
		/* It is as long as what was written to it. */
		n->data->grows = true;
	free(dir);
	return r;
}

static int caches(struct qcow2 *q, struct node_opts *o, struct err **e)
{
	uint64_t all = 0, l2 = 0, rc = 0, slice = min_u64(SLICE_MAX, q->cluster_size), whole;
	int r = node_opt_size(o, "cache-size", &all, e);

	r = r ? r : node_opt_size(o, "l2-cache-size", &l2, e);
	r = r ? r : node_opt_size(o, "refcount-cache-size", &rc, e);
	if (r)
		return r;
	/* The tables of the whole disk, if that is less. */
	whole = (q->n->size >> q->cluster_bits) * q->l2_entry_bytes + slice;
	l2 = l2 ? l2 : all ? all - all / 5 : L2_CACHE_DEFAULT;
	rc = rc ? rc : all ? all / 5 : l2 / 4;
	qcache_init(&q->l2, slice, max_u64(SLICES_MIN, min_u64(min_u64(l2, GiB), whole) / slice));
	qcache_init(&q->rc, slice, max_u64(SLICES_MIN, min_u64(min_u64(rc, GiB), whole) / slice));
	return 0;
}

/* A writer that does not know what a bit stands for clears it. */
static int first_write(struct qcow2 *q, struct err **e)
{
	uint64_t keep = q->autoclear & AUTOCLEAR_DATA_RAW;
	int r = 0;

	if (q->incompat & INCOMPAT_DIRTY)
		r = qcow2_repair(q, e);
	if (r || q->version < 3 || keep == q->autoclear)
		return r;
	r = qcow2_header_put(q, HDR_AUTOCLEAR, keep, 8);
	r = r ? r : node_flush(q->file);
	if (r)
		return err_set(e, -r, "'%s': cannot write the header: %s", q->file->filename,
			       strerror(-r));
	q->autoclear = keep;
	return 0;
}

static int qcow2_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	struct qcow2 *q = xzalloc(sizeof(*q));
	char *data_name = NULL;
	int r;

	q->n = n;
	lock_init(&q->lock, LOCK_RANK_BLOCK_IMAGE, "qcow2");
	cond_init(&q->changed);
	pthread_mutex_init(&q->unpacked_lock, NULL);
	q->ranges_end = &q->ranges;
	n->priv = q;
	r = open_children_file(n, o, e);
	if (r)
		return r;
	q->file = n->file;
	q->fresh_is_zero = node_leaf(n->file)->grows;
	r = qcow2_header_read(q, &data_name, e);
	r = r ? r : open_data(n, o, data_name, e);
	free(data_name);
	if (r)
		return r;
	lock_take(&q->lock);
	q->l2_entry_bytes = q->extl2 ? 16 : 8;
	r = caches(q, o, e);
	r = r ? r : qcow2_tables_read(q, e);
	if (!r && !n->read_only)
		r = first_write(q, e);
	lock_drop(&q->lock);
	r = r ? r : open_backing(n, o, e);
	n->align = n->file->align;
	return r;
}

static void last_commit(struct qcow2 *q)
{
	int r;

	lock_take(&q->lock);
	r = commit_all(q);
	/* What was freed has changed counts. */
	r = r ? r : commit_tables(q);
	r = r ? r : node_flush(q->file);
	lock_drop(&q->lock);
	if (r)
		log_printf(q->n->bs->log,
			   "'%s': what was written since the last flush is lost: %s\n",
			   q->file->filename, strerror(-r));
}

static void qcow2_close(struct block_node *n)
{
	struct qcow2 *q = n->priv;

	if (q->l1_dirty && !n->read_only && !q->corrupt)
		last_commit(q);
	if (q->l2.hash)
		qcache_fini(&q->l2);
	if (q->rc.hash)
		qcache_fini(&q->rc);
	for (unsigned i = 0; i < q->n_snapshots; i++) {
		free(q->snapshots[i].id);
		free(q->snapshots[i].name);
	}
	free(q->snapshots);
	free(q->snapshot_l1);
	free(q->meta.keys);
	free(q->regions);
	free(q->l1);
	free(q->l1_dirty);
	free(q->rt);
	free(q->rt_dirty);
	free(q->frees);
	free(q->backing_name);
	free(q->backing_format);
	free(q->unpacked);
	pthread_mutex_destroy(&q->unpacked_lock);
	pthread_cond_destroy(&q->changed);
	lock_fini(&q->lock);
	free(q);
}

static int qcow2_flush(struct block_node *n)
{
	return commit_flush(n->priv);
}

static void qcow2_image(struct block_node *n, struct block_image *out)
{
	struct qcow2 *q = n->priv;

	out->backing_filename = q->backing_name;
	out->backing_format = q->backing_format;
	out->cluster_size = q->cluster_size;
	out->compat = q->version < 3 ? "0.10" : "1.1";
	out->compression = q->zstd ? "zstd" : "zlib";
	out->lazy_refcounts = q->compat & COMPAT_LAZY_REFCOUNTS;
	out->refcount_bits = 1u << q->refcount_order;
	out->extended_l2 = q->extl2;
	out->dirty = q->incompat & INCOMPAT_DIRTY;
	out->corrupt = q->corrupt || q->incompat & INCOMPAT_CORRUPT;
	out->snapshots = q->snapshots;
	out->n_snapshots = q->n_snapshots;
}

const struct node_drv node_qcow2 = {
	.name = "qcow2",
	.open = qcow2_open,
	.close = qcow2_close,
	.read = qcow2_read,
	.read_now = qcow2_read_now,
	.write = qcow2_write,
	.flush = qcow2_flush,
	.discard = qcow2_discard,
	.zero = qcow2_zero,
	.status = qcow2_status,
	.truncate = qcow2_truncate,
	.image = qcow2_image,
};
