/* SPDX-License-Identifier: Apache-2.0 */
/* What follows -drive: the drive's own options are taken, the rest is for its image. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include "back/block/drive_int.h"
#include "base/err.h"
#include "base/kvjson.h"

/* The index of v in words, a list that ends with NULL; -1. */
static int word_index(const char *v, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(v, words[i]))
			return i;
	return -1;
}

static int opt_word(struct kvlist *l, const char *key, const char *const *words, int *out,
		    struct err **e)
{
	const char *v = kv_get(l, key);
	int i = v ? word_index(v, words) : *out;

	if (i < 0)
		return err_set(e, EINVAL, "'%s' is not a value of '%s'", v, key);
	*out = i;
	return 0;
}

static int opt_int(struct kvlist *l, const char *key, int *out, struct err **e)
{
	uint64_t v = 0;
	int r = kv_uint(l, key, 0, 1 << 16, &v, e);

	if (!r && kv_get(l, key))
		*out = (int)v;
	return r;
}

static int parse_place(struct block_place *p, struct kvlist *l, struct err **e)
{
	static const char *const interfaces[] = {"none",   "ide", "scsi", "floppy", "pflash",
						 "virtio", "sd",  "mtd",  "xen",    NULL};
	static const char *const media[] = {"disk", "cdrom", NULL};
	int interface = -1, medium = 0, r = 0;

	if (kv_get(l, "if"))
		r = opt_word(l, "if", interfaces, &interface, e);
	p->interface = (enum block_if)(interface + 1);
	r = r ?: opt_word(l, "media", media, &medium, e);
	r = r ?: opt_int(l, "bus", &p->bus, e);
	r = r ?: opt_int(l, "unit", &p->unit, e);
	r = r ?: opt_int(l, "index", &p->index, e);
	p->cdrom = medium == 1;
	if (!r && p->index >= 0 && (p->bus >= 0 || p->unit >= 0))
		return err_set(e, EINVAL, "index cannot be used with bus and unit");
	return r;
}

static int parse_errors(struct block *b, struct kvlist *l, struct err **e)
{
	static const char *const words[] = {"report", "ignore", "enospc", "stop", NULL};
	int rerror = ERRORS_REPORT, werror = ERRORS_ENOSPC;
	int r = opt_word(l, "rerror", words, &rerror, e);

	r = r ?: opt_word(l, "werror", words, &werror, e);
	if (!r && rerror == ERRORS_ENOSPC)
		r = err_set(e, EINVAL, "'enospc' is not a value of 'rerror'");
	b->policy.rerror = rerror;
	b->policy.werror = werror;
	return r;
}

static int parse_cache(struct block *b, struct kvlist *l, struct err **e)
{
	static const char *const words[] = {
		"writeback", "none", "writethrough", "directsync", "unsafe", "off", NULL};
	int mode = 0, r = opt_word(l, "cache", words, &mode, e);
	bool direct = mode == 1 || mode == 3 || mode == 5, no_flush = mode == 4;
	bool writeback = mode != 2 && mode != 3;

	r = r ?: kv_bool(l, "cache.direct", &direct, e);
	r = r ?: kv_bool(l, "cache.no-flush", &no_flush, e);
	r = r ?: kv_bool(l, "cache.writeback", &writeback, e);
	b->policy.direct = b->mode.direct = direct;
	b->policy.no_flush = b->mode.no_flush = no_flush;
	b->policy.writeback = writeback;
	return r;
}

/* "throttling.bps-total" and its older name "bps", both with "-max" or "_max"... */
static int parse_limit(struct kvlist *l, const char *key, const char *old, const char *suffix,
		       uint64_t *out, struct err **e)
{
	char full[64];
	int r;

	snprintf(full, sizeof(full), "throttling.%s%s", key, suffix);
	r = kv_uint(l, full, 0, UINT64_MAX, out, e);
	if (r)
		return r;
	snprintf(full, sizeof(full), "%s%s", old, suffix);
	for (char *p = full; *p; p++)
		*p = *p == '-' ? '_' : *p;
	return kv_uint(l, full, 0, UINT64_MAX, out, e);
}

static int parse_throttle(struct block *b, struct kvlist *l, struct err **e)
{
	static const char *const names[THROTTLE_KINDS][2] = {
		{"bps-total", "bps"},	{"bps-read", "bps_rd"},	  {"bps-write", "bps_wr"},
		{"iops-total", "iops"}, {"iops-read", "iops_rd"}, {"iops-write", "iops_wr"},
	};
	struct throttle_cfg cfg = {0};
	int r = 0;

	for (unsigned i = 0; i < THROTTLE_KINDS && !r; i++) {
		r = parse_limit(l, names[i][0], names[i][1], "", &cfg.k[i].avg, e);
		r = r ?: parse_limit(l, names[i][0], names[i][1], "-max", &cfg.k[i].max, e);
		r = r
			    ?: parse_limit(l, names[i][0], names[i][1], "-max-length",
					   &cfg.k[i].length, e);
	}
	r = r ?: parse_limit(l, "iops-size", "iops_size", "", &cfg.iops_size, e);
	return r ?: throttle_set(&b->throttle, &cfg, e);
}

static int parse_mode(struct block *b, struct kvlist *l, struct err **e)
{
	bool ro = b->place.cdrom, copy = false;
	int r = kv_bool(l, "readonly", &ro, e);

	r = r ?: kv_bool(l, "read-only", &ro, e);
	r = r ?: kv_bool(l, "snapshot", &b->snapshot, e);
	r = r ?: kv_bool(l, "copy-on-read", &copy, e);
	if (r)
		return r;
	if (copy)
		return err_set(e, ENOTSUP, "copy-on-read=on is not supported");
	if (ro && b->place.cdrom)
		b->snapshot = false;
	b->read_only = ro;
	b->mode.write = !ro && !b->snapshot;
	b->mode.auto_ro = true;
	return 0;
}

/* Keys whose names at the image are others. */
static int rename_keys(struct block *b, struct kvlist *l, struct err **e)
{
	const char *format = kv_get(l, "format"), *driver = kv_get(l, "driver"), *v;

	if (format && driver)
		return err_set(e, EINVAL, "format and driver cannot be used together");
	if (format)
		kv_add(l, "driver", format);
	v = kv_get(l, "aio");
	if (v)
		kv_add(l, "file.aio", v);
	if (b->snapshot)
		kv_add(l, "read-only", "on");
	return 0;
}

static bool has_image(const struct kvlist *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->kv[i].key, "file") || !strncmp(l->kv[i].key, "file.", 5) ||
		    !strcmp(l->kv[i].key, "filename") || !strcmp(l->kv[i].key, "driver"))
			return true;
	return false;
}

/* The node the options describe; a drive's "read-only" is known to the node as its mode. */
static int open_image(struct block *b, struct kvlist *l, struct err **e)
{
	struct node_opts o = {.bs = b->bs, .l = l, .prefix = "", .mode = b->mode, .drive = true};
	const char *file = kv_get(l, "file");
	struct block_node *n = NULL;
	int r;

	if (file && !*file) {
		/* file= with nothing: an empty drive. */
		if (!b->place.cdrom)
			return err_set(e, EINVAL, "'file' is empty");
		return 0;
	}
	if (!has_image(l)) {
		if (b->place.cdrom || b->place.interface == BLOCK_IF_FLOPPY)
			return 0;
		return err_set(e, EINVAL, "parameter 'file' is missing");
	}
	r = node_open(&n, &o, e);
	if (!r)
		r = drive_insert(b, n, e);
	return r;
}

static int parse_drive(struct block *b, struct kvlist *l, struct err **e)
{
	int r = parse_errors(b, l, e);

	r = r ?: parse_cache(b, l, e);
	r = r ?: parse_throttle(b, l, e);
	r = r ?: parse_mode(b, l, e);
	r = r ?: rename_keys(b, l, e);
	r = r ?: open_image(b, l, e);
	return r ?: kv_finish(l, e);
}

/* As QEMU names drives without an id: by where they go. */
static char *made_up_id(struct blocks *bs, const struct block_place *p)
{
	static const char *const names[] = {"drive",  "none",	"ide", "scsi", "floppy",
					    "pflash", "virtio", "sd",  "mtd",  "xen"};
	const char *name = names[p->interface];

	for (int i = p->index >= 0 ? p->index : 0;; i++) {
		char *id = p->interface == BLOCK_IF_IDE || p->interface == BLOCK_IF_DEFAULT
				   ? xasprintf("ide%d-%s%d", i / 2, p->cdrom ? "cd" : "hd", i % 2)
				   : xasprintf("%s%d", name, i);
		bool taken = node_find(bs, id) != NULL;

		for (struct block *b = bs->drives; b && !taken; b = b->next)
			taken = !strcmp(b->id, id);
		if (!taken)
			return id;
		free(id);
	}
}

static int check_id(struct blocks *bs, const char *id, struct err **e)
{
	if (!*id)
		return err_set(e, EINVAL, "'id' is empty");
	for (struct block *b = bs->drives; b; b = b->next)
		if (!strcmp(b->id, id))
			return err_set(e, EEXIST, "there is a drive '%s' already", id);
	return node_find(bs, id) ? err_set(e, EEXIST, "there is a node '%s' already", id) : 0;
}

int block_open_drive(struct block **out, struct blocks *bs, const char *opts, struct err **e)
{
	struct block_place place = {.bus = -1, .unit = -1, .index = -1};
	struct kvlist l = {0};
	struct block *b;
	const char *id;
	char *name;
	int r = kv_parse_any(&l, opts, NULL, e);

	id = r ? NULL : kv_get(&l, "id");
	if (id)
		r = check_id(bs, id, e);
	if (!r)
		r = parse_place(&place, &l, e);
	if (r) {
		kv_free(&l);
		return r;
	}
	name = id ? xstrdup(id) : made_up_id(bs, &place);
	b = drive_new(bs, name);
	b->place = place;
	free(name);
	r = parse_drive(b, &l, e);
	if (r)
		drive_free(b);
	else
		*out = b;
	kv_free(&l);
	return r;
}
