/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/ctl.h"
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl_int.h"

static void ctl_event(void *opaque, const struct vm_event *ev)
{
	qmp_event(opaque, ev);
}

void ctl_create(struct ctl **out, const struct ctl_config *cfg)
{
	struct ctl *c = xzalloc(sizeof(*c));

	c->cfg = *cfg;
	c->vm = cfg->vm;
	c->listener = (struct vm_listener){.event = ctl_event, .opaque = c};
	vm_listen(c->vm, &c->listener);
	*out = c;
}

void ctl_destroy(struct ctl *c)
{
	if (!c)
		return;
	vm_unlisten(c->vm, &c->listener);
	qmp_destroy_all(c);
	hmp_destroy_all(c);
	free(c);
}

void ctl_out_flush(struct ctl_out *o)
{
	size_t n;

	if (o->held || !o->text.len)
		return;
	n = chardev_write(o->cd, (const uint8_t *)o->text.s, o->text.len);
	text_drop(&o->text, n);
	if (!o->text.len)
		chardev_accept_input(o->cd);
}

void ctl_out_put(struct ctl_out *o, const void *data, size_t len)
{
	text_put(&o->text, data, len);
	ctl_out_flush(o);
}

struct chardev_search {
	const char *id;
	struct chardev *found;
};

static void chardev_compare(void *arg, struct chardev *cd)
{
	struct chardev_search *s = arg;

	if (!strcmp(chardev_id(cd), s->id))
		s->found = cd;
}

struct chardev *ctl_chardev(struct ctl *c, const char *id)
{
	struct chardev_search s = {.id = id};

	if (c->cfg.each_chardev)
		c->cfg.each_chardev(c->cfg.opaque, chardev_compare, &s);
	return s.found;
}
