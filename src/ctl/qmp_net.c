/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about network back ends.  They are used with the machine's lock held, which is their
 * cards'. */
#include "back/net/net.h"
#include <string.h>
#include "base/err.h"
#include "ctl/qmp_int.h"
#include "dev/dev.h"

struct netdev_search {
	const char *id;
	struct netdev *found;
	unsigned users; /* of that name, or of kind "user" */
	bool card; /* a card has that name */
};

static void search_step(void *arg, struct netdev *nd)
{
	struct netdev_search *s = arg;

	/* By the back end's name before a card's. */
	if (s->id && !strcmp(netdev_card(nd), s->id) && !s->users) {
		s->found = nd;
		s->card = true;
	}
	if (s->id ? !strcmp(netdev_id(nd), s->id) : !strcmp(netdev_kind(nd), "user")) {
		s->found = nd;
		s->users++;
	}
}

struct netdev *ctl_netdev(struct ctl *c, const char *id)
{
	struct netdev_search s = {.id = id};

	if (c->cfg.each_netdev)
		c->cfg.each_netdev(c->cfg.opaque, search_step, &s);
	return s.users == 1 || (!s.users && s.card) ? s.found : NULL;
}

int qmp_set_link(struct qmp_call *call)
{
	const char *name = qmp_str(call, "name");
	struct netdev *nd;

	lock_take(vm_devices(call->vm)->lock);
	nd = ctl_netdev(call->ctl, name);
	if (nd)
		netdev_set_link(nd, qmp_bool(call, "up", true));
	lock_drop(vm_devices(call->vm)->lock);
	return nd ? 0 : qmp_fail(call, QMP_NO_DEVICE, "Device '%s' not found", name);
}

static void netstats_entry(void *arg, struct netdev *nd)
{
	struct json_object *list = arg, *o = json_object_new_object();
	const struct netdev_stats *s = netdev_stats(nd);

	obj_str(o, "id", netdev_id(nd));
	obj_str(o, "type", netdev_kind(nd));
	obj_bool(o, "attached", netdev_attached(nd));
	obj_bool(o, "link", netdev_link(nd));
	obj_int(o, "rx-frames", (int64_t)s->rx_frames);
	obj_int(o, "rx-bytes", (int64_t)s->rx_bytes);
	obj_int(o, "rx-dropped", (int64_t)s->rx_dropped);
	obj_int(o, "tx-frames", (int64_t)s->tx_frames);
	obj_int(o, "tx-bytes", (int64_t)s->tx_bytes);
	obj_int(o, "tx-dropped", (int64_t)s->tx_dropped);
	json_object_array_add(list, o);
}

int qmp_netstats(struct qmp_call *call)
{
	const struct ctl_config *cfg = &call->ctl->cfg;

	call->ret = json_object_new_array();
	lock_take(vm_devices(call->vm)->lock);
	if (cfg->each_netdev)
		cfg->each_netdev(cfg->opaque, netstats_entry, call->ret);
	lock_drop(vm_devices(call->vm)->lock);
	return 0;
}
