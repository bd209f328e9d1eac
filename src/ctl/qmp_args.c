/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of commands: checked against their descriptions, then asked for by name. */
#include <string.h>
#include "ctl/qmp_int.h"

bool qmp_choice(const char *choices, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = choices, *bar; len && p; p = bar ? bar + 1 : NULL) {
		if (!strncmp(p, word, len) && (p[len] == '|' || !p[len]))
			return true;
		bar = strchr(p, '|');
	}
	return false;
}

/* The type's name when val is not of it. */
static const char *wrong_type(const struct qmp_arg *a, struct json_object *val)
{
	static const struct {
		const char *name;
		enum json_type type;
	} types[] = {
		[QMP_STR] = {"string", json_type_string},
		[QMP_INT] = {"integer", json_type_int},
		[QMP_BOOL] = {"boolean", json_type_boolean},
		[QMP_ENUM] = {"string", json_type_string},
		[QMP_OBJ] = {"object", json_type_object},
		[QMP_LIST] = {"array", json_type_array},
	};

	if (a->kind == QMP_ANY)
		return NULL;
	if (a->kind == QMP_NUM)
		return json_object_is_type(val, json_type_int) ||
				       json_object_is_type(val, json_type_double)
			       ? NULL
			       : "number";
	return json_object_is_type(val, types[a->kind].type) ? NULL : types[a->kind].name;
}

static int check_arg(struct qmp_call *call, const struct qmp_arg *a, struct json_object *val)
{
	const char *type = wrong_type(a, val);

	if (type)
		return qmp_fail(call, QMP_GENERIC, "Invalid parameter type for '%s', expected: %s",
				a->name, type);
	if ((a->kind == QMP_STR || a->kind == QMP_ENUM) &&
	    strlen(json_object_get_string(val)) != (size_t)json_object_get_string_len(val))
		return qmp_fail(call, QMP_GENERIC, "Parameter '%s' has a NUL character in it",
				a->name);
	if (a->kind == QMP_ENUM && !qmp_choice(a->choices, json_object_get_string(val)))
		return qmp_fail(call, QMP_GENERIC, "Parameter '%s' does not accept value '%s'",
				a->name, json_object_get_string(val));
	return 0;
}

int qmp_check_args(struct qmp_call *call, const struct qmp_arg *args)
{
	for (const struct qmp_arg *a = args; a->name; a++) {
		struct json_object *val;

		if (json_object_object_get_ex(call->args, a->name, &val)) {
			if (check_arg(call, a, val))
				return -1;
		} else if (!a->optional) {
			return qmp_fail(call, QMP_GENERIC, "Parameter '%s' is missing", a->name);
		}
	}
	if (!call->args)
		return 0;
	json_object_object_foreach(call->args, key, val)
	{
		const struct qmp_arg *a = args;

		(void)val;
		while (a->name && strcmp(a->name, key) && strcmp(a->name, QMP_OTHERS))
			a++;
		if (!a->name)
			return qmp_fail(call, QMP_GENERIC, "Parameter '%s' is unexpected", key);
	}
	return 0;
}

struct json_object *qmp_get(const struct qmp_call *call, const char *name)
{
	struct json_object *val;

	return json_object_object_get_ex(call->args, name, &val) ? val : NULL;
}

const char *qmp_str(const struct qmp_call *call, const char *name)
{
	struct json_object *val = qmp_get(call, name);

	return val ? json_object_get_string(val) : NULL;
}

int64_t qmp_int(const struct qmp_call *call, const char *name, int64_t absent)
{
	struct json_object *val = qmp_get(call, name);

	return val ? json_object_get_int64(val) : absent;
}

bool qmp_bool(const struct qmp_call *call, const char *name, bool absent)
{
	struct json_object *val = qmp_get(call, name);

	return val ? json_object_get_boolean(val) : absent;
}

void obj_str(struct json_object *o, const char *key, const char *val)
{
	json_object_object_add(o, key, json_object_new_string(val));
}

void obj_int(struct json_object *o, const char *key, int64_t val)
{
	json_object_object_add(o, key, json_object_new_int64(val));
}

void obj_bool(struct json_object *o, const char *key, bool val)
{
	json_object_object_add(o, key, json_object_new_boolean(val));
}

void obj_num(struct json_object *o, const char *key, double val)
{
	json_object_object_add(o, key, json_object_new_double(val));
}
