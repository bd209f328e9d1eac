/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about what a person would see and press: screendump, send-key. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "ctl/qmp_int.h"

#define KEYS_MAX 16
#define HOLD_MS 100
#define HOLD_MAX 60000

int qmp_screendump(struct qmp_call *call)
{
	const char *form = qmp_str(call, "format");
	struct err *e __err_cleanup = NULL;

	if (qmp_int(call, "head", 0))
		return qmp_fail(call, QMP_GENERIC, "There is no head %lld",
				(long long)qmp_int(call, "head", 0));
	if (vm_screendump(call->vm, qmp_str(call, "device"), qmp_str(call, "filename"),
			  form && !strcmp(form, "png") ? PICTURE_PNG : PICTURE_PPM, &e))
		return qmp_fail(call, QMP_GENERIC, "%s", err_msg(e));
	return 0;
}

/* One of {"type": "qcode", "data": "ret"}, {"type": "number", "data": 28}; -1: it is not. */
static int key_of(struct json_object *o)
{
	struct json_object *type = json_object_object_get(o, "type");
	struct json_object *data = json_object_object_get(o, "data");
	const char *kind = type ? json_object_get_string(type) : "";
	char number[24];

	if (!json_object_is_type(o, json_type_object) || !data)
		return -1;
	if (!strcmp(kind, "qcode") && json_object_is_type(data, json_type_string))
		return vm_find_key(json_object_get_string(data));
	if (strcmp(kind, "number") || !json_object_is_type(data, json_type_int))
		return -1;
	snprintf(number, sizeof(number), "0x%llx", (long long)json_object_get_int64(data));
	return vm_find_key(number);
}

int qmp_send_key(struct qmp_call *call)
{
	struct json_object *list = qmp_get(call, "keys");
	size_t n = json_object_array_length(list);
	int64_t hold = qmp_int(call, "hold-time", HOLD_MS);
	struct err *e __err_cleanup = NULL;
	int keys[KEYS_MAX];

	if (n > KEYS_MAX)
		return qmp_fail(call, QMP_GENERIC, "At most %d keys can be pressed together",
				KEYS_MAX);
	if (hold < 1 || hold > HOLD_MAX)
		return qmp_fail(call, QMP_GENERIC, "hold-time must be 1 to %d ms", HOLD_MAX);
	for (size_t i = 0; i < n; i++) {
		keys[i] = key_of(json_object_array_get_idx(list, i));
		if (keys[i] < 0)
			return qmp_fail(call, QMP_GENERIC, "Key %zu of the list is not a key", i);
	}
	if (vm_send_keys(call->vm, keys, (unsigned)n, (uint32_t)hold, &e))
		return qmp_fail(call, QMP_GENERIC, "%s", err_msg(e));
	return 0;
}
