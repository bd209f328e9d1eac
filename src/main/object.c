/* SPDX-License-Identifier: Apache-2.0 */
#include "main/object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvjson.h"

struct object {
	struct object *next;
	const struct object_kind *kind;
	char *id;
	void *made; /* the kind's */
};

struct objects {
	struct object *first;
};

struct finder {
	struct netdev *(*netdev)(void *opaque, const char *id);
	void *opaque;
};

struct object_kind {
	const char *name, *help;
	/* Take what is known out of l; with f, make it. */
	int (*make)(struct kvlist *l, const struct finder *f, void **made, struct err **e);
	void (*destroy)(void *made); /* NULL: nothing to do */
};

/* Whatever file is named: only what the host's kernel generates is given to guests. */
static int make_rng(struct kvlist *l, const struct finder *f, void **made, struct err **e)
{
	const char *file = kv_get(l, "filename");

	if (file && strcmp(file, "/dev/urandom") && strcmp(file, "/dev/random") &&
	    strcmp(file, "/dev/hwrng"))
		return err_set(e, EINVAL,
			       "'filename': '%s' is no device of the host that makes random bytes",
			       file);
	*made = (void *)"rng";
	return 0;
}

static int make_dump(struct kvlist *l, const struct finder *f, void **made, struct err **e)
{
	const char *netdev = kv_get(l, "netdev"), *file = kv_get(l, "file");
	uint64_t maxlen = 65536;
	struct netdev *nd;
	int r = kv_uint(l, "maxlen", 1, UINT32_MAX, &maxlen, e);

	if (r)
		return r;
	if (!netdev || !file)
		return err_set(e, EINVAL, "'%s' is missing", netdev ? "file" : "netdev");
	if (!f)
		return 0;
	nd = f->netdev(f->opaque, netdev);
	if (!nd)
		return err_set(e, ENOENT, "there is no netdev '%s'", netdev);
	return netdump_open((struct netdump **)made, nd, file, (uint32_t)maxlen, e);
}

static void destroy_dump(void *made)
{
	netdump_close(made);
}

static const struct object_kind kinds[] = {
	{"rng-builtin", "random bytes of the host", make_rng, NULL},
	{"rng-random", "the same, by the name of a device of the host", make_rng, NULL},
	{"filter-dump", "frames of a netdev, in a pcap file", make_dump, destroy_dump},
};

struct objects *objects_create(void)
{
	return xzalloc(sizeof(struct objects));
}

void objects_destroy(struct objects *os)
{
	if (!os)
		return;
	for (struct object *o = os->first, *next; o; o = next) {
		next = o->next;
		if (o->kind->destroy)
			o->kind->destroy(o->made);
		free(o->id);
		free(o);
	}
	free(os);
}

void *object_find(struct objects *os, const char *id)
{
	for (struct object *o = os->first; o; o = o->next)
		if (!strcmp(o->id, id))
			return o->made;
	return NULL;
}

static int make(struct kvlist *l, const struct finder *f, struct object *o, struct err **e)
{
	const char *name = kv_get(l, "qom-type"), *id = kv_get(l, "id");
	int r;

	for (size_t i = 0; name && i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			o->kind = &kinds[i];
	if (!o->kind)
		return err_set(e, EINVAL,
			       "there are no objects of type '%s' (-object help lists them)",
			       name ? name : "");
	if (!id)
		return err_set(e, EINVAL, "'id' is missing");
	o->id = xstrdup(id);
	r = o->kind->make(l, f, &o->made, e);
	if (r)
		return r;
	r = kv_finish(l, e);
	if (r && o->made && o->kind->destroy)
		o->kind->destroy(o->made);
	return r;
}

int object_check(const char *opts, struct err **e)
{
	struct kvlist l = {0};
	struct object o = {0};
	int r = kv_parse_any(&l, opts, "qom-type", e);

	if (!r)
		r = make(&l, NULL, &o, e);
	free(o.id);
	kv_free(&l);
	return r;
}

int object_add(struct objects *os, const char *opts,
	       struct netdev *(*find_netdev)(void *opaque, const char *id), void *opaque,
	       struct err **e)
{
	const struct finder f = {find_netdev, opaque};
	struct object *o = xzalloc(sizeof(*o));
	struct kvlist l = {0};
	int r = kv_parse_any(&l, opts, "qom-type", e);

	if (!r)
		r = make(&l, &f, o, e);
	kv_free(&l);
	if (!r && object_find(os, o->id)) {
		r = err_set(e, EEXIST, "there is another object '%s'", o->id);
		if (o->kind->destroy)
			o->kind->destroy(o->made);
	}
	if (r) {
		free(o->id);
		free(o);
		return r;
	}
	o->next = os->first;
	os->first = o;
	return 0;
}

void objects_help(void)
{
	printf("List of user creatable objects:\n");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		printf("  %-14s %s\n", kinds[i].name, kinds[i].help);
}
