/* SPDX-License-Identifier: Apache-2.0 */
/* Devices by name: classes.def lists them; a place on a bus is found here, the rest is the class's.
 */
#include "dev/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"
#include "base/kvjson.h"
#include "base/kvlist.h"
#include "dev/opts.h"

#define DEV_CLASS(x) extern const struct dev_class x##_class;
#include "dev/classes.def"
#undef DEV_CLASS

static const struct dev_class *const classes[] = {
#define DEV_CLASS(x) &x##_class,
#include "dev/classes.def"
#undef DEV_CLASS
};

/* What a place on each kind of bus is called; NULL: the bus has none. */
static const struct {
	const char *name, *place;
} kinds[] = {
	[BUS_ISA] = {"ISA", NULL},
	[BUS_PCI] = {"PCI", "addr"},
	[BUS_IDE] = {"IDE", "unit"},
	[BUS_SATA] = {"IDE", "unit"},
	[BUS_VIRTIO_SERIAL] = {"virtio-serial-bus", "nr"},
	[BUS_VIRTIO_MMIO] = {"virtio-bus", NULL},
	[BUS_NONE] = {NULL, NULL},
};

const struct dev_class *dev_class_nth(unsigned i)
{
	return i < ARRAY_SIZE(classes) ? classes[i] : NULL;
}

/* Shorter names by which some classes are known: virtio-TYPE is virtio-TYPE-pci. */
static bool is_alias(const struct dev_class *c, const char *name)
{
	size_t len = strlen(name);

	return (!strncmp(name, "virtio-", 7) && !strncmp(c->name, name, len) &&
		!strcmp(c->name + len, "-pci")) ||
	       (!strcmp(name, "ahci") && !strcmp(c->name, "ich9-ahci"));
}

const struct dev_class *dev_class_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		if (!strcmp(classes[i]->name, name))
			return classes[i];
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		if (is_alias(classes[i], name))
			return classes[i];
	return NULL;
}

static const struct dev_class *class_find(const char *name, struct err **e)
{
	const struct dev_class *c = dev_class_find(name);

	if (!c)
		err_set(e, EINVAL, "'%s' is not a device; -device help lists them", name);
	return c;
}

struct request {
	const struct dev_class *c;
	struct kvlist kv;
	struct dev_opts *opts;
	const char *id, *bus, *addr;
};

static int parse(struct request *r, const char *props, struct err **e)
{
	const char *place = kinds[r->c->bus].place;
	int rc = kv_parse(&r->kv, props ? props : "", NULL, e);

	if (rc)
		return rc;
	r->id = kv_get(&r->kv, "id");
	r->bus = kv_get(&r->kv, "bus");
	r->addr = place ? kv_get(&r->kv, place) : NULL;
	rc = dev_opts_parse(&r->opts, r->c, &r->kv, e);
	for (size_t i = 0; i < r->kv.n && !rc; i++)
		if (!r->kv.kv[i].used)
			rc = err_set(e, EINVAL, "'%s' has no property '%s'", r->c->name,
				     r->kv.kv[i].key);
	return rc;
}

static int check(struct request *r, struct err **e)
{
	return r->c->check ? r->c->check(r->opts, e) : 0;
}

static bool bus_fits(const struct dev_class *c, const struct dev_bus *b)
{
	return b->kind == c->bus || (c->bus == BUS_IDE && b->kind == BUS_SATA);
}

static int named_bus(const struct request *r, struct dev_place *p, struct err **e)
{
	p->bus = dev_bus_find(p->env, r->bus);
	if (!p->bus)
		return err_set(e, ENOENT, "there is no bus '%s'", r->bus);
	if (!bus_fits(r->c, p->bus))
		return err_set(e, EINVAL, "bus '%s' is of kind %s, not %s", r->bus,
			       kinds[p->bus->kind].name, kinds[r->c->bus].name);
	return p->bus->place(p->bus->bus, r->addr, &p->place, e);
}

static int any_bus(const struct request *r, struct dev_place *p, struct err **e)
{
	int rc = err_set(e, ENOENT, "the machine has no %s bus", kinds[r->c->bus].name);

	for (p->bus = p->env->buses; p->bus; p->bus = p->bus->next) {
		if (!bus_fits(r->c, p->bus))
			continue;
		if (e)
			err_free(e);
		rc = p->bus->place(p->bus->bus, r->addr, &p->place, e);
		if (rc != -ENOSPC)
			return rc;
	}
	return rc;
}

static int find_place(const struct request *r, struct dev_place *p, struct err **e)
{
	switch (r->c->bus) {
	case BUS_NONE:
		return r->bus ? err_set(e, EINVAL, "it plugs into no bus") : 0;
	case BUS_ISA:
		return r->bus && strcmp(r->bus, "isa.0")
			       ? err_set(e, ENOENT, "there is no ISA bus '%s'", r->bus)
			       : 0;
	default:
		return r->bus ? named_bus(r, p, e) : any_bus(r, p, e);
	}
}

static void note(struct dev_env *env, const struct request *r, const struct dev_place *p)
{
	struct kvlist given = {0};
	char *text;

	for (size_t i = 0; i < r->kv.n; i++)
		if (strcmp(r->kv.kv[i].key, "id") && strcmp(r->kv.kv[i].key, "bus"))
			kv_add(&given, r->kv.kv[i].key, r->kv.kv[i].val);
	text = kv_text(&given, NULL);
	dev_plugged_add(env, r->c->name, p->id,
			r->c->bus == BUS_ISA ? "isa.0" : p->bus ? p->bus->name : NULL, text);
	free(text);
	kv_free(&given);
}

const char *dev_bus_kind(const struct dev_bus *b)
{
	return kinds[b->kind].name ? kinds[b->kind].name : "";
}

static int create(const struct dev_slots *s, const struct request *r, struct err **e)
{
	struct dev_place p = {.env = s->env, .gsi = s->gsi, .id = ""};
	int rc = dev_opts_resolve(r->opts, &s->backends, e);

	if (!rc)
		rc = find_place(r, &p, e);
	if (!rc && r->id) {
		p.id = dev_name_add(s->env, r->id);
		if (!p.id)
			rc = err_set(e, EEXIST, "there is another device '%s'", r->id);
	}
	if (!rc)
		rc = r->c->create(&p, r->opts, e);
	if (!rc)
		note(s->env, r, &p);
	return rc;
}

static int with_request(const struct dev_slots *s, const char *driver, const char *props,
			bool whole, struct err **e)
{
	struct request r = {.c = class_find(driver, e)};
	int rc;

	if (!r.c)
		return -EINVAL;
	rc = parse(&r, props, e);
	if (!rc && whole)
		rc = check(&r, e);
	if (!rc && s)
		rc = create(s, &r, e);
	dev_opts_free(r.opts);
	kv_free(&r.kv);
	if (rc)
		err_prefix(e, "%s", driver);
	return rc;
}

int dev_create(const struct dev_slots *s, const char *driver, const char *props, struct err **e)
{
	return with_request(s, driver, props, true, e);
}

int dev_create_check(const char *driver, const char *props, struct err **e)
{
	return with_request(NULL, driver, props, true, e);
}

uint64_t dev_create_ram(const char *driver, const char *props)
{
	const struct dev_class *c = dev_class_find(driver);
	struct request r = { .c = c };
	uint64_t ram = 0;

	if (!c || !c->ram)
		return 0;
	if (!parse(&r, props, NULL) && !check(&r, NULL))
		ram = c->ram(r.opts);
	dev_opts_free(r.opts);
	kv_free(&r.kv);
	return ram;
}

int dev_prop_check(const char *driver, const char *prop, struct err **e)
{
	return with_request(NULL, driver, prop, false, e);
}

static void help_line(const struct dev_class *c)
{
	printf("name \"%s\"", c->name);
	if (kinds[c->bus].name)
		printf(", bus %s", kinds[c->bus].name);
	printf(", desc \"%s\"\n", c->help);
}

/* Classes under the headings of their categories, in the order in which these first occur. */
static void help_all(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		bool first = true;

		for (size_t j = 0; j < i; j++)
			first = first && strcmp(classes[j]->category, classes[i]->category) != 0;
		if (!first)
			continue;
		printf("%s%s devices:\n", i ? "\n" : "", classes[i]->category);
		for (size_t j = i; j < ARRAY_SIZE(classes); j++)
			if (!strcmp(classes[j]->category, classes[i]->category))
				help_line(classes[j]);
	}
}

int dev_help(const char *driver, struct err **e)
{
	const struct dev_class *c;

	if (!driver) {
		help_all();
		return 0;
	}
	c = class_find(driver, e);
	if (!c)
		return -EINVAL;
	printf("%s options:\n", c->name);
	dev_opts_help(c);
	return 0;
}
