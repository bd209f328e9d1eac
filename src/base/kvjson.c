/* SPDX-License-Identifier: Apache-2.0 */
#include "base/kvjson.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"

#define DEPTH_MAX 16

bool kv_is_json(const char *s)
{
	return s[strspn(s, " \t\n")] == '{';
}

static int flatten(struct kvlist *l, const char *key, json_object *o, struct err **e);

static int member(struct kvlist *l, const char *prefix, const char *name, json_object *o,
		  struct err **e)
{
	char *key = *prefix ? xasprintf("%s.%s", prefix, name) : xstrdup(name);
	int r = flatten(l, key, o, e);

	free(key);
	return r;
}

static int flatten(struct kvlist *l, const char *key, json_object *o, struct err **e)
{
	int r = 0;

	switch (json_object_get_type(o)) {
	case json_type_object: {
		json_object_object_foreach(o, name, val) if (!r) r = member(l, key, name, val, e);
		return r;
	}
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(o) && !r; i++) {
			char name[24];

			snprintf(name, sizeof(name), "%zu", i);
			r = member(l, key, name, json_object_array_get_idx(o, i), e);
		}
		return r;
	case json_type_boolean:
		kv_add(l, key, json_object_get_boolean(o) ? "on" : "off");
		return 0;
	case json_type_null:
		return err_set(e, EINVAL, "'%s': null is no value", key);
	default:
		kv_add(l, key, json_object_get_string(o));
		return 0;
	}
}

int kv_parse_json(struct kvlist *l, const char *s, struct err **e)
{
	struct json_tokener *t = json_tokener_new_ex(DEPTH_MAX);
	json_object *o;
	size_t end;
	int r = 0;

	if (!t)
		return err_set(e, ENOMEM, "out of memory");
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(t, s, (int)strlen(s));
	end = json_tokener_get_parse_end(t);
	if (!o)
		r = err_set(e, EINVAL, "not JSON: %s, at character %zu",
			    json_tokener_error_desc(json_tokener_get_error(t)), end + 1);
	else if (s[end + strspn(s + end, " \t\r\n")])
		r = err_set(e, EINVAL, "not JSON: more follows the object, at character %zu",
			    end + 1);
	else if (!json_object_is_type(o, json_type_object))
		r = err_set(e, EINVAL, "not a JSON object");
	else
		r = flatten(l, "", o, e);
	json_object_put(o);
	json_tokener_free(t);
	return r;
}

int kv_parse_any(struct kvlist *l, const char *s, const char *implied, struct err **e)
{
	return kv_is_json(s) ? kv_parse_json(l, s, e) : kv_parse(l, s, implied, e);
}

/* Append s with its commas doubled. */
static char *append(char *to, const char *s)
{
	for (; *s; s++) {
		*to++ = *s;
		if (*s == ',')
			*to++ = ',';
	}
	return to;
}

char *kv_text(const struct kvlist *l, const char *skip)
{
	size_t size = 1;
	char *text, *p;

	for (size_t i = 0; i < l->n; i++)
		size += 2 * strlen(l->kv[i].key) + 2 * strlen(l->kv[i].val) + 2;
	p = text = xzalloc(size);
	for (size_t i = 0; i < l->n; i++) {
		if (skip && !strcmp(l->kv[i].key, skip))
			continue;
		if (p != text)
			*p++ = ',';
		p = append(p, l->kv[i].key);
		*p++ = '=';
		p = append(p, l->kv[i].val);
	}
	return text;
}
