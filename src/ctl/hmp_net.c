/* SPDX-License-Identifier: Apache-2.0 */
/* A person's commands about networks. */
#include <stdlib.h>
#include <string.h>
#include "back/net/net.h"
#include "base/err.h"
#include "ctl/hmp_int.h"
#include "ctl/qmp_int.h"
#include "dev/dev.h"

static void each(struct hmp_call *h, void (*fn)(void *arg, struct netdev *nd))
{
	lock_take(vm_devices(h->vm)->lock);
	if (h->ctl->cfg.each_netdev)
		h->ctl->cfg.each_netdev(h->ctl->cfg.opaque, fn, h->out);
	lock_drop(vm_devices(h->vm)->lock);
}

static void network_entry(void *arg, struct netdev *nd)
{
	const struct netdev_stats *s = netdev_stats(nd);
	char *line = netdev_describe(nd);

	text_printf(arg, "%s: type=%s,%s%s%s\n", netdev_id(nd), netdev_kind(nd), line,
		    netdev_attached(nd) ? "" : " (no card)", netdev_link(nd) ? "" : " (link down)");
	text_printf(arg, " \\ received %llu frames, %llu bytes; sent %llu frames, %llu bytes\n",
		    (unsigned long long)s->rx_frames, (unsigned long long)s->rx_bytes,
		    (unsigned long long)s->tx_frames, (unsigned long long)s->tx_bytes);
	free(line);
}

void hmp_info_network(struct hmp_call *h)
{
	each(h, network_entry);
}

static void usernet_entry(void *arg, struct netdev *nd)
{
	char *table = netdev_user_info(nd);

	if (table)
		text_printf(arg, "%s:\n%s", netdev_id(nd), table);
	free(table);
}

void hmp_info_usernet(struct hmp_call *h)
{
	each(h, usernet_entry);
}

void hmp_set_link(struct hmp_call *h)
{
	const char *name = hmp_need(h, "NAME"), *word = name ? hmp_need(h, "on or off") : NULL;
	struct json_object *args;

	if (!word || !hmp_done(h))
		return;
	if (strcmp(word, "on") && strcmp(word, "off")) {
		hmp_error(h, "'%s' is not on or off", word);
		return;
	}
	args = json_object_new_object();
	obj_str(args, "name", name);
	obj_bool(args, "up", !strcmp(word, "on"));
	hmp_do(h, "set_link", args);
}

/* [NETDEV] RULE; without a name the only user network is meant. */
static void hostfwd(struct hmp_call *h,
		    int (*change)(struct netdev *nd, const char *rule, struct err **e))
{
	const char *first = hmp_need(h, "RULE"), *second = first ? hmp_word(h) : NULL;
	struct err *e __err_cleanup = NULL;
	struct netdev *nd;

	if (!first || !hmp_done(h))
		return;
	lock_take(vm_devices(h->vm)->lock);
	nd = ctl_netdev(h->ctl, second ? first : NULL);
	if (!nd && second)
		hmp_error(h, "there is no network '%s'", first);
	else if (!nd)
		hmp_error(h, "say which network: there is not exactly one of kind 'user'");
	else if (change(nd, second ? second : first, &e))
		hmp_error(h, "%s", e ? err_msg(e) : "it failed");
	lock_drop(vm_devices(h->vm)->lock);
}

void hmp_hostfwd_add(struct hmp_call *h)
{
	hostfwd(h, netdev_hostfwd_add);
}

void hmp_hostfwd_remove(struct hmp_call *h)
{
	hostfwd(h, netdev_hostfwd_remove);
}
