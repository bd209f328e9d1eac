/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -nic and -net: a back end and a card in one option.  What belongs to the card (model, mac, addr,
 * vectors, and its name) is taken out; the rest is the back end's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/net/netdev_int.h"
#include "base/err.h"
#include "base/kvjson.h"

/* Short names of cards, as of old. */
static const struct {
	const char *model, *driver;
} models[] = {
	{"virtio", "virtio-net-pci"},
	{"virtio-net", "virtio-net-pci"},
};

static const char *model_driver(const char *model)
{
	for (size_t i = 0; i < ARRAY_SIZE(models); i++)
		if (!strcmp(model, models[i].model))
			return models[i].driver;
	return model;
}

void net_nic_free(struct net_nic *n)
{
	free(n->netdev);
	free(n->driver);
	free(n->props);
	*n = (struct net_nic){0};
}

/* "key=value," appended, commas in the value doubled. */
static void text_add(char **text, const char *key, const char *val)
{
	struct kvlist one = {0};
	char *pair, *joined;

	kv_add(&one, key, val);
	pair = kv_text(&one, NULL);
	kv_free(&one);
	joined = *text && **text ? xasprintf("%s,%s", *text, pair) : xstrdup(pair);
	free(*text);
	free(pair);
	*text = joined;
}

static bool is_card_key(const char *key)
{
	static const char *const keys[] = {"model", "mac", "macaddr", "addr", "vectors", "name"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

static void nic_card(struct net_nic *out, struct kvlist *l, const char *netdev, const char *model)
{
	const char *mac = kv_get(l, "macaddr"), *m = kv_get(l, "model");
	static const char *const pass[] = {"addr", "vectors"};

	if (kv_get(l, "mac"))
		mac = kv_get(l, "mac");
	out->driver = xstrdup(model_driver(m ? m : model));
	text_add(&out->props, "netdev", netdev);
	if (mac)
		text_add(&out->props, "mac", mac);
	for (size_t i = 0; i < ARRAY_SIZE(pass); i++)
		if (kv_get(l, pass[i]))
			text_add(&out->props, pass[i], kv_get(l, pass[i]));
	if (kv_get(l, "name"))
		text_add(&out->props, "id", kv_get(l, "name"));
}

/* The back end's part of l under the name `id`. */
static void nic_back(struct net_nic *out, struct kvlist *l, const char *type, const char *id)
{
	out->netdev = xstrdup(type);
	text_add(&out->netdev, "id", id);
	for (size_t i = 0; i < l->n; i++) {
		const struct kv *kv = &l->kv[i];

		if (strcmp(kv->key, "type") && strcmp(kv->key, "id") && !is_card_key(kv->key))
			text_add(&out->netdev, kv->key, kv->val);
	}
}

int netdev_parse_nic(struct net_nic *out, const char *opts, unsigned number, const char *model,
		     struct err **e)
{
	struct kvlist l = {0};
	char *own = xasprintf("#nic%u", number);
	const char *type, *id;
	int r = kv_parse_any(&l, opts, "type", e);

	*out = (struct net_nic){0};
	if (r)
		goto out;
	type = kv_get(&l, "type");
	id = kv_get(&l, "id");
	if (!type)
		r = err_set(e, EINVAL, "the kind of network back end is missing");
	else if (!strcmp(type, "none"))
		r = l.n > 1 ? err_set(e, EINVAL, "'none' has no parameters") : 0;
	else {
		nic_back(out, &l, type, id ? id : own);
		nic_card(out, &l, id ? id : own, model);
	}
out:
	if (r)
		err_prefix(e, "nic");
	free(own);
	kv_free(&l);
	return r;
}

int netdev_parse_net(struct net_nic *out, const char *opts, unsigned number, const char *model,
		     struct err **e)
{
	struct kvlist l = {0};
	char *own = xasprintf("#net%u", number);
	const char *type;
	int r = kv_parse_any(&l, opts, "type", e);

	*out = (struct net_nic){0};
	if (r)
		goto out;
	type = kv_get(&l, "type");
	if (!type)
		r = err_set(e, EINVAL, "'nic' or the kind of network back end is missing");
	else if (!strcmp(type, "none"))
		;
	else if (strcmp(type, "nic"))
		nic_back(out, &l, type, own);
	else {
		const char *given = kv_get(&l, "netdev");

		nic_card(out, &l, given ? given : own, model);
		r = kv_finish(&l, e);
		if (r)
			net_nic_free(out);
	}
out:
	if (r)
		err_prefix(e, "net");
	free(own);
	kv_free(&l);
	return r;
}
