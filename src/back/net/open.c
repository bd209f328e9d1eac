/* SPDX-License-Identifier: Apache-2.0 */
/* From what a person writes after -netdev to an open back end. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/net/netdev_int.h"
#include "base/err.h"
#include "base/kvjson.h"

static const struct netdev_kind *const kinds[] = {
	&netdev_user, &netdev_tap, &netdev_stream, &netdev_dgram, &netdev_socket,
};

void netdev_kinds_help(void)
{
	printf("Network back ends (-netdev KIND,id=ID,...):\n");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		printf("%-8s %s\n", kinds[i]->name, kinds[i]->help);
}

static const struct netdev_kind *kind_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i]->name, name))
			return kinds[i];
	return NULL;
}

static bool id_ok(const char *id)
{
	if (!isalpha((unsigned char)*id) && *id != '#')
		return false;
	return strspn(id + 1,
		      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
	       strlen(id) - 1;
}

static void netdev_free(struct netdev *nd)
{
	free(nd->scratch);
	free(nd->scratch_rx);
	free(nd->id);
	free(nd);
}

static int open_kind(struct netdev **out, const struct netdev_kind *kind, const char *id,
		     struct loop *loop, struct log *log, const struct net_chardevs *chardevs,
		     struct kvlist *l, struct err **e)
{
	struct netdev *nd = xzalloc(sizeof(*nd));
	uint64_t queues = 1;
	int r = 0;

	*nd = (struct netdev){.kind = kind, .id = xstrdup(id), .loop = loop, .log = log};
	if (chardevs)
		nd->chardevs = *chardevs;
	nd->q_tail = &nd->q;
	nd->link = nd->peer_up = true;
	nd->queues = 1;
	r = kv_uint(l, "queues", 1, NET_QUEUES_MAX, &queues, e);
	nd->queues = (unsigned)queues;
	if (!r)
		r = kind->open(nd, l, e);
	if (r) {
		netdev_free(nd);
		return r;
	}
	r = kv_finish(l, e);
	if (r)
		netdev_close(nd);
	else
		*out = nd;
	return r;
}

int netdev_open(struct netdev **out, struct loop *loop, struct log *log,
		const struct net_chardevs *chardevs, const char *opts, struct err **e)
{
	const struct netdev_kind *kind;
	const char *type, *id;
	struct kvlist l = {0};
	int r = kv_parse_any(&l, opts, "type", e);

	if (r)
		goto out;
	type = kv_get(&l, "type");
	id = kv_get(&l, "id");
	kind = type ? kind_find(type) : NULL;
	if (!type)
		r = err_set(e, EINVAL, "the kind of network back end is missing");
	else if (!kind)
		r = err_set(e, EINVAL, "'%s' is not a network back end; -netdev help lists them",
			    type);
	else if (!id)
		r = err_set(e, EINVAL, "parameter 'id' is missing");
	else if (!id_ok(id))
		r = err_set(e, EINVAL,
			    "id '%s' is not a letter followed by letters, digits, '-', '.', '_'",
			    id);
	else
		r = open_kind(out, kind, id, loop, log, chardevs, &l, e);
out:
	if (r)
		err_prefix(e, "netdev");
	kv_free(&l);
	return r;
}

void netdev_close(struct netdev *nd)
{
	if (!nd)
		return;
	bug_on(nd->attached);
	nd->kind->close(nd);
	netdump_gone(nd->dumps);
	netdev_free(nd);
}
