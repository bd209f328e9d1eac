/* SPDX-License-Identifier: Apache-2.0 */
/* The list of a machine's devices. */
#include "dev/dev.h"

#include <stdlib.h>
#include <string.h>

#include "dev/bootindex.h"
#include "dev/class.h"

struct dev_name {
	struct dev_name *next;
	char id[];
};

void dev_add(struct dev *d, const struct dev_ops *ops, const char *id, struct dev_env *env)
{
	struct dev **tail = &env->devs;

	bug_on(!ops->unrealize || !ops->reset || !ops->quiesce || !ops->state);
	d->ops = ops;
	d->id = id;
	d->env = env;
	d->next = NULL;
	while (*tail)
		tail = &(*tail)->next;
	*tail = d;
}

void dev_reset_all(struct dev_env *env)
{
	for (struct dev *d = env->devs; d; d = d->next)
		d->ops->reset(d);
}

/* reverse - the list turned round, so that users go before what they use. */
static struct dev *reverse(struct dev *d)
{
	struct dev *out = NULL;

	while (d) {
		struct dev *next = d->next;

		d->next = out;
		out = d;
		d = next;
	}
	return out;
}

void dev_destroy_all(struct dev_env *env)
{
	struct dev *d = reverse(env->devs);

	env->devs = NULL;
	while (d) {
		struct dev *next = d->next;

		d->ops->unrealize(d);
		d = next;
	}
	while (env->buses)
		dev_bus_remove(env, env->buses->bus);
	for (struct dev_name *n = env->names, *next; n; n = next) {
		next = n->next;
		free(n);
	}
	env->names = NULL;
	for (struct dev_plugged *p = env->plugged, *next; p; p = next) {
		next = p->next;
		free(p->driver);
		free(p->id);
		free(p->bus);
		free(p->props);
		free(p);
	}
	env->plugged = NULL;
	dev_bootindex_free(env);
}

const char *dev_name_add(struct dev_env *env, const char *id)
{
	size_t size = strlen(id) + 1;
	struct dev_name *n;

	for (n = env->names; n; n = n->next)
		if (!strcmp(n->id, id))
			return NULL;
	n = xzalloc(sizeof(*n) + size);
	memcpy(n->id, id, size);
	n->next = env->names;
	env->names = n;
	return n->id;
}

void dev_plugged_add(struct dev_env *env, const char *driver, const char *id, const char *bus,
		     const char *props)
{
	struct dev_plugged **tail = &env->plugged, *p = xzalloc(sizeof(*p));
	const struct dev *newest = env->devs;

	while (newest && newest->next)
		newest = newest->next;
	*p = (struct dev_plugged){
		.driver = xstrdup(driver),
		.id = xstrdup(id),
		.bus = bus ? xstrdup(bus) : NULL,
		.props = xstrdup(props),
		.dev = newest,
	};
	while (*tail)
		tail = &(*tail)->next;
	*tail = p;
}

void dev_bus_add(struct dev_env *env, const char *name, enum bus_kind kind, void *bus,
		 int (*place)(void *bus, const char *addr, unsigned *place, struct err **e))
{
	struct dev_bus **tail = &env->buses, *b = xzalloc(sizeof(*b));

	*b = (struct dev_bus){ .name = xstrdup(name), .kind = kind, .bus = bus, .place = place };
	while (*tail)
		tail = &(*tail)->next;
	*tail = b;
}

void dev_bus_remove(struct dev_env *env, void *bus)
{
	for (struct dev_bus **p = &env->buses, *b; (b = *p);) {
		if (b->bus != bus) {
			p = &b->next;
			continue;
		}
		*p = b->next;
		free((char *)b->name);
		free(b);
	}
}

struct dev_bus *dev_bus_find(struct dev_env *env, const char *name)
{
	for (struct dev_bus *b = env->buses; b; b = b->next)
		if (!strcmp(b->name, name))
			return b;
	return NULL;
}

void dev_quiesce_none(struct dev *d)
{
}
