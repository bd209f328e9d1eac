/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, and what is told from it: names, and the schema of query-qmp-schema. */
#include <stdio.h>
#include <string.h>
#include "ctl/qmp_int.h"

static const struct qmp_arg args_none[] = {{0}};
/* Of a drive: its name, or its device's. */
#define ARG_DRIVE                         \
	{"device", QMP_STR, true, NULL},  \
	{                                 \
		"id", QMP_STR, true, NULL \
	}
#define ARG_LIMIT(name)                                                   \
	{name, QMP_INT, false, NULL}, {name "_max", QMP_INT, true, NULL}, \
	{                                                                 \
		name "_max_length", QMP_INT, true, NULL                   \
	}

static const struct qmp_arg args_balloon[] = {{"value", QMP_INT, false, NULL}, {0}};
static const struct qmp_arg args_block_resize[] = {
	{"device", QMP_STR, true, NULL},
	{"node-name", QMP_STR, true, NULL},
	{"size", QMP_INT, false, NULL},
	{0},
};
static const struct qmp_arg args_throttle[] = {
	ARG_DRIVE,
	ARG_LIMIT("bps"),
	ARG_LIMIT("bps_rd"),
	ARG_LIMIT("bps_wr"),
	ARG_LIMIT("iops"),
	ARG_LIMIT("iops_rd"),
	ARG_LIMIT("iops_wr"),
	{"iops_size", QMP_INT, true, NULL},
	{0},
};
static const struct qmp_arg args_blockdev_add[] = {
	{"driver", QMP_STR, false, NULL},
	{"node-name", QMP_STR, true, NULL},
	{QMP_OTHERS, QMP_ANY, true, NULL}, /* the driver's options, which the block layer checks */
	{0},
};
static const struct qmp_arg args_change_medium[] = {
	ARG_DRIVE,
	{"filename", QMP_STR, false, NULL},
	{"format", QMP_STR, true, NULL},
	{"force", QMP_BOOL, true, NULL},
	{"read-only-mode", QMP_ENUM, true, "retain|read-only|read-write"},
	{0},
};
static const struct qmp_arg args_blockdev_del[] = {{"node-name", QMP_STR, false, NULL}, {0}};
static const struct qmp_arg args_eject[] = {ARG_DRIVE, {"force", QMP_BOOL, true, NULL}, {0}};
static const struct qmp_arg args_blockstats[] = {{"query-nodes", QMP_BOOL, true, NULL}, {0}};
static const struct qmp_arg args_block_nodes[] = {{"flat", QMP_BOOL, true, NULL}, {0}};
static const struct qmp_arg args_capabilities[] = {{"enable", QMP_LIST, true, NULL}, {0}};
static const struct qmp_arg args_expansion[] = {
	{"type", QMP_ENUM, false, "static|full"},
	{"model", QMP_OBJ, false, NULL},
	{0},
};
static const struct qmp_arg args_option[] = {{"option", QMP_STR, true, NULL}, {0}};
static const struct qmp_arg args_typename[] = {{"typename", QMP_STR, false, NULL}, {0}};
static const struct qmp_arg args_types[] = {
	{"implements", QMP_STR, true, NULL},
	{"abstract", QMP_BOOL, true, NULL},
	{0},
};
static const struct qmp_arg args_hmp[] = {
	{"command-line", QMP_STR, false, NULL},
	{"cpu-index", QMP_INT, true, NULL},
	{0},
};
static const struct qmp_arg args_memsave[] = {
	{"val", QMP_INT, false, NULL},
	{"size", QMP_INT, false, NULL},
	{"filename", QMP_STR, false, NULL},
	{"cpu-index", QMP_INT, true, NULL},
	{0},
};
static const struct qmp_arg args_pmemsave[] = {
	{"val", QMP_INT, false, NULL},
	{"size", QMP_INT, false, NULL},
	{"filename", QMP_STR, false, NULL},
	{0},
};
static const struct qmp_arg args_ringbuf_read[] = {
	{"device", QMP_STR, false, NULL},
	{"size", QMP_INT, false, NULL},
	{"format", QMP_ENUM, true, "utf8|base64"},
	{0},
};
static const struct qmp_arg args_ringbuf_write[] = {
	{"device", QMP_STR, false, NULL},
	{"data", QMP_STR, false, NULL},
	{"format", QMP_ENUM, true, "utf8|base64"},
	{0},
};
static const struct qmp_arg args_screendump[] = {
	{"filename", QMP_STR, false, NULL},
	{"device", QMP_STR, true, NULL},
	{"head", QMP_INT, true, NULL},
	{"format", QMP_ENUM, true, "ppm|png"},
	{0},
};
static const struct qmp_arg args_send_key[] = {
	{"keys", QMP_LIST, false, NULL},
	{"hold-time", QMP_INT, true, NULL},
	{0},
};
static const struct qmp_arg args_set_action[] = {
	{"reboot", QMP_ENUM, true, "reset|shutdown"},
	{"shutdown", QMP_ENUM, true, "poweroff|pause"},
	{"panic", QMP_ENUM, true, "pause|shutdown|exit-failure|none"},
	{"watchdog", QMP_ENUM, true, "reset|shutdown|poweroff|pause|debug|none|inject-nmi"},
	{0},
};
static const struct qmp_arg args_set_link[] = {
	{"name", QMP_STR, false, NULL},
	{"up", QMP_BOOL, false, NULL},
	{0},
};
static const struct qmp_arg args_stats[] = {{"engine", QMP_BOOL, true, NULL}, {0}};

const struct qmp_cmd qmp_cmds[] = {
#define QMP_CMD(name, fn, args) {name, fn, args},
#include "ctl/qmp.def"
#undef QMP_CMD
};
const size_t qmp_n_cmds = ARRAY_SIZE(qmp_cmds);

const struct qmp_cmd *qmp_cmd_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(qmp_cmds); i++)
		if (!strcmp(qmp_cmds[i].name, name))
			return &qmp_cmds[i];
	return NULL;
}

int qmp_query_commands(struct qmp_call *call)
{
	call->ret = json_object_new_array();
	for (size_t i = 0; i < ARRAY_SIZE(qmp_cmds); i++) {
		struct json_object *o = json_object_new_object();

		obj_str(o, "name", qmp_cmds[i].name);
		json_object_array_add(call->ret, o);
	}
	return 0;
}

/*
 * The schema, in the form of SchemaInfo: commands whose argument types are objects, members of
 * which have built-in types, lists of any, or enumerations.  What a command returns is told as any.
 */
static struct json_object *schema_entity(struct json_object *list, const char *name,
					 const char *meta)
{
	struct json_object *o = json_object_new_object();

	obj_str(o, "name", name);
	obj_str(o, "meta-type", meta);
	json_object_array_add(list, o);
	return o;
}

static void schema_enum(struct json_object *list, const char *name, const char *choices)
{
	struct json_object *o = schema_entity(list, name, "enum");
	struct json_object *members = json_object_new_array(), *values = json_object_new_array();

	for (const char *p = choices; *p;) {
		int len = (int)strcspn(p, "|");
		struct json_object *m = json_object_new_object();

		json_object_object_add(m, "name", json_object_new_string_len(p, len));
		json_object_array_add(members, m);
		json_object_array_add(values, json_object_new_string_len(p, len));
		p += len + (p[len] == '|');
	}
	json_object_object_add(o, "members", members);
	json_object_object_add(o, "values", values);
}

static void schema_args(struct json_object *list, const char *type, const struct qmp_arg *args)
{
	static const char *const types[] = {
		[QMP_STR] = "str", [QMP_INT] = "int", [QMP_BOOL] = "bool",  [QMP_NUM] = "number",
		[QMP_ENUM] = NULL, [QMP_OBJ] = "any", [QMP_LIST] = "[any]", [QMP_ANY] = "any",
	};
	struct json_object *o = schema_entity(list, type, "object");
	struct json_object *members = json_object_new_array();

	for (const struct qmp_arg *a = args; a->name; a++) {
		struct json_object *m = json_object_new_object();
		char name[128];

		if (!strcmp(a->name, QMP_OTHERS)) {
			json_object_put(m);
			continue;
		}

		obj_str(m, "name", a->name);
		snprintf(name, sizeof(name), "%s.%s", type, a->name);
		obj_str(m, "type", types[a->kind] ? types[a->kind] : name);
		if (a->optional)
			json_object_object_add(m, "default", NULL);
		if (a->kind == QMP_ENUM)
			schema_enum(list, name, a->choices);
		json_object_array_add(members, m);
	}
	json_object_object_add(o, "members", members);
}

static void schema_builtins(struct json_object *list)
{
	static const struct {
		const char *name, *json;
	} builtins[] = {
		{"str", "string"},    {"int", "int"},	{"bool", "boolean"},
		{"number", "number"}, {"any", "value"},
	};
	struct json_object *o;

	for (size_t i = 0; i < ARRAY_SIZE(builtins); i++) {
		o = schema_entity(list, builtins[i].name, "builtin");
		obj_str(o, "json-type", builtins[i].json);
	}
	o = schema_entity(list, "[any]", "array");
	obj_str(o, "element-type", "any");
}

static void schema_event(struct json_object *list, const char *name)
{
	struct json_object *o = schema_entity(list, name, "event");

	obj_str(o, "arg-type", "any-event");
}

int qmp_query_qmp_schema(struct qmp_call *call)
{
	static const char *const events[] = {
		"SHUTDOWN",	     "RESET", "STOP", "RESUME", "POWERDOWN", "BLOCK_IO_ERROR",
		"DEVICE_TRAY_MOVED", "BALLOON_CHANGE",
	};
	struct json_object *list = json_object_new_array();

	schema_builtins(list);
	for (size_t i = 0; i < ARRAY_SIZE(qmp_cmds); i++) {
		struct json_object *o = schema_entity(list, qmp_cmds[i].name, "command");
		char type[96];

		snprintf(type, sizeof(type), "%s-arg", qmp_cmds[i].name);
		obj_str(o, "arg-type", type);
		obj_str(o, "ret-type", "any");
		obj_bool(o, "allow-oob", false);
		schema_args(list, type, qmp_cmds[i].args);
	}
	schema_args(list, "any-event", args_none);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		schema_event(list, events[i]);
	call->ret = list;
	return 0;
}
