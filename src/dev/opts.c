/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of devices: from text to values by the class's tables.
 *
 * Every property has one value, its default when it is not given; of several the last counts, as
 * with QEMU.  Names of back ends are kept as text until dev_opts_resolve looks them up.
 */
#include "dev/opts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"

struct value {
	const struct dev_prop *p;
	bool given;
	uint64_t num;
	char *str; /* owned; NULL: no value */
	uint8_t mac[6];
	void *ref; /* the back end */
};

struct dev_opts {
	unsigned n;
	struct value v[];
};

static const struct dev_prop *table(const struct dev_class *c, unsigned i)
{
	return i ? c->props_more[i - 1] : c->props;
}

#define TABLES (1 + ARRAY_SIZE(((struct dev_class *)0)->props_more))

static unsigned count(const struct dev_class *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < TABLES; i++)
		for (const struct dev_prop *p = table(c, i); p && p->name; p++)
			n++;
	return n;
}

static int parse_number(const struct dev_prop *p, const char *s, uint64_t *out, struct err **e)
{
	uint64_t max = p->max ? p->max : UINT64_MAX;

	if (p->kind == PROP_SIZE ? !parse_size(s, 1, out) : !parse_uint(s, 0, UINT64_MAX, out))
		return err_set(e, EINVAL, "property '%s': '%s' is not a %s", p->name, s,
			       p->kind == PROP_SIZE ? "size" : "number");
	if (*out > max)
		return err_set(e, EINVAL, "property '%s': %s is more than %llu", p->name, s,
			       (unsigned long long)max);
	return 0;
}

static int parse_switch(const struct dev_prop *p, const char *s, uint64_t *out, struct err **e)
{
	static const char *const words[2][5] = {{"off", "no", "false", "n", "0"},
						{"on", "yes", "true", "y", "1"}};

	for (unsigned v = 0; v < 2; v++)
		for (unsigned i = 0; i < 5; i++)
			if (!strcmp(s, words[v][i])) {
				*out = v;
				return 0;
			}
	if (p->kind == PROP_AUTO && !strcmp(s, "auto")) {
		*out = 2;
		return 0;
	}
	return err_set(e, EINVAL, "property '%s': '%s' is not on or off%s", p->name, s,
		       p->kind == PROP_AUTO ? " or auto" : "");
}

static int parse_enum(const struct dev_prop *p, const char *s, uint64_t *out, struct err **e)
{
	uint64_t n = 0;

	for (const char *c = p->choices; *c; n++) {
		size_t len = strcspn(c, "|");

		if (strlen(s) == len && !strncmp(c, s, len)) {
			*out = n;
			return 0;
		}
		c += len + (c[len] == '|');
	}
	return err_set(e, EINVAL, "property '%s': '%s' is none of %s", p->name, s, p->choices);
}

static int parse_mac(const struct dev_prop *p, const char *s, uint8_t mac[6], struct err **e)
{
	unsigned b[6];
	int used = 0;

	if (sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &used) != 6 ||
	    s[used] || used != 17)
		return err_set(e, EINVAL, "property '%s': '%s' is not like 52:54:00:12:34:56",
			       p->name, s);
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
	return 0;
}

static int set(struct value *v, const char *s, struct err **e)
{
	const struct dev_prop *p = v->p;

	switch (p->kind) {
	case PROP_UINT:
	case PROP_SIZE:
		return parse_number(p, s, &v->num, e);
	case PROP_BOOL:
	case PROP_AUTO:
		return parse_switch(p, s, &v->num, e);
	case PROP_ENUM:
		v->str = xstrdup(s);
		return parse_enum(p, s, &v->num, e);
	case PROP_MAC:
		v->str = xstrdup(s);
		return parse_mac(p, s, v->mac, e);
	default:
		v->str = xstrdup(s);
		return 0;
	}
}

int dev_opts_parse(struct dev_opts **out, const struct dev_class *c, struct kvlist *l,
		   struct err **e)
{
	unsigned n = count(c);
	struct dev_opts *o = xzalloc(sizeof(*o) + n * sizeof(o->v[0]));
	int r = 0;

	*out = o;
	for (unsigned i = 0; i < TABLES; i++)
		for (const struct dev_prop *p = table(c, i); p && p->name; p++)
			o->v[o->n++].p = p;
	for (unsigned i = 0; i < n && !r; i++) {
		const char *s = kv_get(l, o->v[i].p->name);

		o->v[i].given = s != NULL;
		s = s ? s : o->v[i].p->def;
		r = s ? set(&o->v[i], s, e) : 0;
	}
	return r;
}

static int resolve(struct value *v, const struct dev_backends *b, struct err **e)
{
	const char *what;

	switch (v->p->kind) {
	case PROP_CHARDEV:
		what = "chardev";
		v->ref = b && b->chardev ? b->chardev(b->opaque, v->str) : NULL;
		break;
	case PROP_DRIVE:
		what = "drive or node";
		v->ref = b && b->drive ? b->drive(b->opaque, v->str) : NULL;
		break;
	case PROP_NETDEV:
		what = "netdev";
		v->ref = b && b->netdev ? b->netdev(b->opaque, v->str) : NULL;
		break;
	case PROP_FSDEV:
		what = "fsdev";
		v->ref = b && b->fsdev ? b->fsdev(b->opaque, v->str) : NULL;
		break;
	case PROP_OBJECT:
		what = "object";
		v->ref = b && b->object ? b->object(b->opaque, v->str) : NULL;
		break;
	default:
		return 0;
	}
	return v->ref ? 0 : err_set(e, ENOENT, "there is no %s '%s'", what, v->str);
}

int dev_opts_resolve(struct dev_opts *o, const struct dev_backends *b, struct err **e)
{
	int r = 0;

	for (unsigned i = 0; i < o->n && !r; i++)
		if (o->v[i].str)
			r = resolve(&o->v[i], b, e);
	return r;
}

void dev_opts_free(struct dev_opts *o)
{
	for (unsigned i = 0; o && i < o->n; i++)
		free(o->v[i].str);
	free(o);
}

static const char *kind_name(const struct dev_prop *p)
{
	switch (p->kind) {
	case PROP_UINT:
		return "num";
	case PROP_SIZE:
		return "size";
	case PROP_BOOL:
		return "bool";
	case PROP_AUTO:
		return "on/off/auto";
	case PROP_ENUM:
		return p->choices;
	default:
		return "str";
	}
}

void dev_opts_help(const struct dev_class *c)
{
	for (unsigned i = 0; i < TABLES; i++)
		for (const struct dev_prop *p = table(c, i); p && p->name; p++)
			printf("  %s=<%s> - %s%s%s%s\n", p->name, kind_name(p), p->help,
			       p->def ? " (default: " : "", p->def ? p->def : "",
			       p->def ? ")" : "");
}

static const struct value *find(const struct dev_opts *o, const char *name)
{
	for (unsigned i = 0; i < o->n; i++)
		if (!strcmp(o->v[i].p->name, name))
			return &o->v[i];
	bug_on(true);
	return NULL;
}

bool dev_opt_given(const struct dev_opts *o, const char *name)
{
	return find(o, name)->given;
}

uint64_t dev_opt_num(const struct dev_opts *o, const char *name)
{
	return find(o, name)->num;
}

const char *dev_opt_str(const struct dev_opts *o, const char *name)
{
	return find(o, name)->str;
}

const uint8_t *dev_opt_mac(const struct dev_opts *o, const char *name)
{
	const struct value *v = find(o, name);

	return v->str ? v->mac : NULL;
}

void *dev_opt_object(const struct dev_opts *o, const char *name)
{
	return find(o, name)->ref;
}

struct chardev *dev_opt_chardev(const struct dev_opts *o, const char *name)
{
	return dev_opt_object(o, name);
}

struct block *dev_opt_drive(const struct dev_opts *o, const char *name)
{
	return dev_opt_object(o, name);
}

struct netdev *dev_opt_netdev(const struct dev_opts *o, const char *name)
{
	return dev_opt_object(o, name);
}
