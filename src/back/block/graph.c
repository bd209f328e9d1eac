/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of a machine: names, options, opening. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/graph_int.h"
#include "back/block/node.h"
#include "base/err.h"
#include "base/kvjson.h"
#include "base/log.h"

static const struct node_drv *const drivers[] = {
	&node_raw, &node_qcow2, &node_file, &node_host_device, &node_nbd, &node_null_co,
};

void block_drivers_help(void)
{
	printf("Supported formats:");
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		printf(" %s", drivers[i]->name);
	printf("\n");
}

const struct node_drv *node_drv_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strcmp(drivers[i]->name, name))
			return drivers[i];
	return NULL;
}

struct block_node *node_find(const struct blocks *bs, const char *name)
{
	struct block_node *n = bs->nodes;

	while (n && strcmp(n->name, name))
		n = n->next;
	return n;
}

struct block_node *block_node_next(const struct blocks *bs, const struct block_node *n)
{
	return n ? n->next : bs->nodes;
}

struct block_node *node_new(struct blocks *bs, const struct node_drv *drv, const char *name,
			    const struct node_mode *mode)
{
	struct block_node *n = xzalloc(sizeof(*n)), **at = &bs->nodes;

	n->drv = drv;
	n->bs = bs;
	n->name = name ? xstrdup(name) : xasprintf("#block%03u", bs->serial++);
	n->mode = *mode;
	n->read_only = !mode->write;
	n->align = 1;
	n->refs = 1;
	while (*at)
		at = &(*at)->next;
	*at = n;
	return n;
}

void node_put(struct block_node *n)
{
	struct block_node **at;

	if (!n || --n->refs)
		return;
	if (n->priv)
		n->drv->close(n);
	for (at = &n->bs->nodes; *at != n; at = &(*at)->next)
		;
	*at = n->next;
	/* A child with another owner is free for others from here on. */
	if (n->file)
		n->file->claimed = false;
	if (n->data)
		n->data->claimed = false;
	node_put(n->file);
	node_put(n->data);
	node_put(n->backing);
	free(n->filename);
	free(n->name);
	free(n);
}

int node_claim(struct block_node *n, struct err **e)
{
	if (n->claimed)
		return err_set(e, EBUSY, "node '%s' is in use already", n->name);
	n->claimed = true;
	return 0;
}

/* Options. */

const char *node_opt(struct node_opts *o, const char *key)
{
	char *full = xasprintf("%s%s", o->prefix, key);
	const char *v = kv_get(o->l, full);

	free(full);
	return v;
}

int node_opt_bool(struct node_opts *o, const char *key, bool *out, struct err **e)
{
	char *full = xasprintf("%s%s", o->prefix, key);
	int r = kv_bool(o->l, full, out, e);

	free(full);
	return r;
}

int node_opt_size(struct node_opts *o, const char *key, uint64_t *out, struct err **e)
{
	const char *v = node_opt(o, key);

	if (!v || (parse_size(v, 1, out) && *out <= (uint64_t)BLOCK_SIZE_MAX))
		return 0;
	return err_set(e, EINVAL, "parameter '%s%s' expects a size, not '%s'", o->prefix, key, v);
}

static bool has_prefix_opts(const struct node_opts *o, const char *key)
{
	char *full = xasprintf("%s%s.", o->prefix, key);
	bool found = false;

	for (size_t i = 0; i < o->l->n && !found; i++)
		found = !strncmp(o->l->kv[i].key, full, strlen(full));
	free(full);
	return found;
}

static int parse_detect(struct node_opts *o, struct block_node *n, struct err **e)
{
	const char *v = node_opt(o, "detect-zeroes");

	if (!v || !strcmp(v, "off"))
		return 0;
	if (strcmp(v, "on") && strcmp(v, "unmap"))
		return err_set(e, EINVAL, "detect-zeroes is 'off', 'on' or 'unmap', not '%s'", v);
	n->detect_zeroes = true;
	n->detect_unmap = *v == 'u';
	if (n->detect_unmap && !n->mode.unmap)
		return err_set(e, EINVAL, "detect-zeroes=unmap needs discard=unmap");
	return 0;
}

int node_mode_parse(struct node_opts *o, struct node_mode *m, struct err **e)
{
	const char *v = node_opt(o, "discard");
	bool ro = !m->write;
	int r = node_opt_bool(o, "read-only", &ro, e);

	if (!r)
		r = node_opt_bool(o, "auto-read-only", &m->auto_ro, e);
	if (!r)
		r = node_opt_bool(o, "force-share", &m->force_share, e);
	if (!r)
		r = node_opt_bool(o, "cache.direct", &m->direct, e);
	if (!r)
		r = node_opt_bool(o, "cache.no-flush", &m->no_flush, e);
	if (r)
		return r;
	if (v && !strcmp(v, "unmap"))
		m->unmap = true;
	else if (v && !strcmp(v, "on"))
		m->unmap = true;
	else if (v && (!strcmp(v, "ignore") || !strcmp(v, "off")))
		m->unmap = false;
	else if (v)
		return err_set(e, EINVAL, "discard is 'ignore' or 'unmap', not '%s'", v);
	m->write = !ro;
	if (m->force_share && m->write)
		return err_set(e, EINVAL, "force-share=on is for read-only images");
	return 0;
}

/* Opening. */

static bool name_ok(const char *s)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return *s && strchr(first, *s) && strlen(s) < 256 &&
	       s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")] ==
		       0;
}

static int check_name(const struct blocks *bs, const char *name, struct err **e)
{
	if (!name)
		return 0;
	if (!name_ok(name))
		return err_set(
			e, EINVAL,
			"node-name '%s' is not a letter followed by letters, digits, '-', '.', '_'",
			name);
	if (node_find(bs, name))
		return err_set(e, EEXIST, "there is a node '%s' already", name);
	return 0;
}

/* The protocol that a file name asks for. */
static const struct node_drv *protocol_of(const char *filename, struct err **e)
{
	const char *colon = strchr(filename, ':'), *slash = strchr(filename, '/');

	if (!colon || (slash && slash < colon) || colon == filename)
		return &node_file;
	if (!strncmp(filename, "file:", 5))
		return &node_file;
	if (!strncmp(filename, "host_device:", 12))
		return &node_host_device;
	if (!strncmp(filename, "nbd:", 4) || !strncmp(filename, "nbd+", 4) ||
	    !strncmp(filename, "nbds:", 5) || !strncmp(filename, "nbds+", 5))
		return &node_nbd;
	err_set(e, ENOENT,
		"'%s': unknown protocol '%.*s' (file, host_device, nbd; \"./\" in front of the "
		"name "
		"makes it a file's)",
		filename, (int)(colon - filename), filename);
	return NULL;
}

/* The driver of a node whose options name none. */
static int choose_driver(struct node_opts *o, struct block_node *file, const struct node_drv **drv,
			 struct err **e)
{
	uint8_t head[BLOCK_SECTOR] = {0};
	size_t len = min_u64(sizeof(head), file->size);
	const char *name;
	bool known;
	int r = len ? node_pread(file, 0, head, len) : 0;

	if (r)
		return err_set(e, -r, "'%s': cannot read its first sector: %s", file->filename,
			       strerror(-r));
	name = node_probe(head, sizeof(head), &known);
	o->probed = true;
	if (name && !known)
		return err_set(
			e, ENOTSUP,
			"'%s': its format is %s, which is not supported directly (convert it, or "
			"serve it by qemu-nbd or nbdkit)",
			file->filename, name);
	*drv = name ? node_drv_find(name) : &node_raw;
	/* A CD-ROM's image is hardly ever anything else, and not written to. */
	if (!name && o->mode.write && !file->read_only)
		log_printf(o->bs->log,
			   "warning: '%s': no format was given, and it looks like raw; its first "
			   "sector "
			   "cannot be made to look like another format (format=raw lifts that)\n",
			   file->filename);
	return 0;
}

static int open_drv(struct block_node **out, struct node_opts *o, const struct node_drv *drv,
		    const char *name, struct block_node *file, struct err **e)
{
	struct block_node *n = node_new(o->bs, drv, name, &o->mode);
	int r;

	n->file = file;
	n->above = o->above;
	r = parse_detect(o, n, e);
	if (!r)
		r = drv->open(n, o, e);
	n->above = NULL;
	if (r) {
		node_put(n);
		return r;
	}
	if (!n->filename)
		n->filename = xstrdup(n->file ? n->file->filename : "");
	*out = n;
	return 0;
}

int node_open(struct block_node **out, struct node_opts *o, struct err **e)
{
	const char *driver = node_opt(o, "driver"), *name = node_opt(o, "node-name"), *filename;
	const struct node_drv *drv = NULL;
	struct block_node *file = NULL;
	struct node_mode mode = o->mode;
	int r = check_name(o->bs, name, e);

	if (!r)
		r = node_mode_parse(o, &o->mode, e);
	if (r)
		goto out;
	if (o->depth >= BLOCK_DEPTH_MAX) {
		r = err_set(e, ELOOP, "more than %d images above one another", BLOCK_DEPTH_MAX);
		goto out;
	}
	if (driver) {
		drv = node_drv_find(driver);
		if (!drv)
			r = err_set(e, EINVAL, "unknown driver '%s'", driver);
	} else if (o->drive) {
		r = node_open_child(&file, o, "file", e);
		if (!r)
			r = choose_driver(o, file, &drv, e);
	} else {
		filename = node_opt(o, "filename");
		drv = filename ? protocol_of(filename, e) : NULL;
		if (!filename)
			r = err_set(e, EINVAL, "parameter '%sdriver' is missing", o->prefix);
		else if (!drv)
			r = -ENOENT;
	}
	if (r) {
		node_put(file);
		goto out;
	}
	r = open_drv(out, o, drv, name, file, e);
out:
	o->mode = mode;
	return r;
}

/* A named node as a child: shared with others when it is only read from. */
static int child_ref(struct block_node **out, struct node_opts *o, const char *name, bool claim,
		     struct err **e)
{
	struct block_node *n = node_find(o->bs, name);
	int r;

	if (!n)
		return err_set(e, ENOENT, "there is no node '%s'", name);
	r = claim ? node_claim(n, e) : 0;
	if (r)
		return r;
	n->refs++;
	*out = n;
	return 0;
}

int node_open_child(struct block_node **out, struct node_opts *o, const char *key, struct err **e)
{
	const char *ref = node_opt(o, key);
	bool file = strcmp(key, "backing") != 0;
	struct node_opts sub = *o;
	char *prefix;
	int r;

	if (*out)
		return 0;
	sub.depth++;
	sub.probed = false;
	sub.mode.unmap = true;
	if (ref && !(o->drive && !strcmp(key, "file")))
		return child_ref(out, o, ref, file, e);
	if (!ref && !has_prefix_opts(o, key)) {
		/* "driver=raw,filename=x" in a backing file's name or a JSON of one level. */
		return err_set(e, EINVAL, "parameter '%s%s' is missing", o->prefix, key);
	}
	sub.drive = !file && o->drive;
	prefix = xasprintf("%s%s.", o->prefix, key);
	sub.prefix = prefix;
	if (ref)
		kv_add(o->l, "file.filename", ref);
	r = node_open(out, &sub, e);
	if (!r && file)
		r = node_claim(*out, e);
	free(prefix);
	return r;
}

/* The name as seen from base_dir, for names in images; caller frees. */
static char *resolve(const char *base_dir, const char *filename)
{
	struct err *e = NULL;
	const struct node_drv *drv = protocol_of(filename, &e);
	const char *name = strncmp(filename, "file:", 5) ? filename : filename + 5;

	err_free(&e);
	if ((drv && drv != &node_file) || name[0] == '/' || !base_dir || !*base_dir)
		return xstrdup(name);
	return xasprintf("%s%s", base_dir, name);
}

int node_open_name(struct block_node **out, const struct node_opts *o, const char *filename,
		   const char *driver, struct err **e)
{
	struct kvlist l = {0};
	struct node_opts sub = *o;
	int r = 0;

	sub.l = &l;
	sub.prefix = "";
	sub.depth++;
	sub.probed = false;
	sub.drive = true;
	if (!strncmp(filename, "json:", 5)) {
		r = kv_parse_json(&l, filename + 5, e);
		sub.drive = kv_get(&l, "driver") == NULL;
	} else {
		char *name = resolve(o->base_dir, filename);

		kv_add(&l, "file", name);
		free(name);
		if (driver)
			kv_add(&l, "driver", driver);
	}
	if (!r)
		r = node_open(out, &sub, e);
	if (!r) {
		r = kv_finish(&l, e);
		if (r) {
			node_put(*out);
			*out = NULL;
		}
	}
	kv_free(&l);
	return r;
}

int block_open_node(struct blocks *bs, const char *opts, struct err **e)
{
	struct kvlist l = {0};
	struct node_opts o = {.bs = bs, .l = &l, .prefix = "", .mode = {.write = true}};
	struct block_node *n = NULL;
	int r = kv_parse_any(&l, opts, NULL, e);

	if (!r && !kv_get(&l, "node-name"))
		r = err_set(e, EINVAL, "parameter 'node-name' is missing");
	if (!r && !kv_get(&l, "driver"))
		r = err_set(e, EINVAL, "parameter 'driver' is missing");
	if (!r)
		r = node_open(&n, &o, e);
	if (!r)
		r = kv_finish(&l, e);
	if (!r)
		n->named = true;
	else
		node_put(n);
	kv_free(&l);
	return r;
}
