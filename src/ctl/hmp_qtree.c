/* SPDX-License-Identifier: Apache-2.0 */
/* info qtree: what is plugged where.  Devices that were made by name are shown with the properties they were
 * given, those of the board by their names. */
#include <string.h>

#include "base/kvlist.h"
#include "ctl/hmp_int.h"
#include "dev/registry.h"

static void show_properties(struct hmp_call *h, const char *props)
{
	struct kvlist l = {0};

	if (!kv_parse(&l, props, NULL, NULL))
		for (size_t i = 0; i < l.n; i++)
			text_printf(h->out, "    %s = \"%s\"\n", l.kv[i].key, l.kv[i].val);
	kv_free(&l);
}

/* The devices of one bus; NULL: those without. */
static void show_plugged(struct hmp_call *h, const struct dev_env *env, const char *bus)
{
	for (const struct dev_plugged *p = env->plugged; p; p = p->next) {
		if (bus ? !p->bus || strcmp(p->bus, bus) : p->bus != NULL)
			continue;
		text_printf(h->out, "  dev: %s, id \"%s\"\n", p->driver, p->id);
		show_properties(h, p->props);
	}
}

static bool is_plugged(const struct dev_env *env, const struct dev *d)
{
	for (const struct dev_plugged *p = env->plugged; p; p = p->next)
		if (p->dev == d)
			return true;
	return false;
}

void hmp_info_qtree(struct hmp_call *h)
{
	struct dev_env *env = vm_devices(h->vm);

	if (!hmp_done(h))
		return;
	lock_take(env->lock);
	text_printf(h->out, "bus: main-system-bus\n  type System\n");
	for (const struct dev *d = env->devs; d; d = d->next)
		if (!is_plugged(env, d))
			text_printf(h->out, "  dev: %s, id \"%s\"\n", d->ops->name, d->id);
	show_plugged(h, env, NULL);
	text_printf(h->out, "bus: isa.0\n  type ISA\n");
	show_plugged(h, env, "isa.0");
	for (const struct dev_bus *b = env->buses; b; b = b->next) {
		text_printf(h->out, "bus: %s\n  type %s\n", b->name, dev_bus_kind(b));
		show_plugged(h, env, b->name);
	}
	lock_drop(env->lock);
}
