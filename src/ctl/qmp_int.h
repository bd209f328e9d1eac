/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The parts of a monitor for programs: a command, its arguments as they are described, its answer.
 */
#include "ctl/ctl_int.h"

enum qmp_kind {
	QMP_STR,
	QMP_INT, /* 64 bits, signed */
	QMP_BOOL,
	QMP_NUM, /* any number */
	QMP_ENUM, /* one of choices, "a|b|c" */
	QMP_OBJ,
	QMP_LIST,
	QMP_ANY,
};

struct qmp_arg {
	const char *name;
	enum qmp_kind kind;
	bool optional;
	const char *choices;
};

#define QMP_OTHERS "*" /* name of an argument: any others, too */

struct qmp_call;

struct qmp_cmd {
	const char *name;
	/* 0 with call->ret (NULL: nothing to tell), or what qmp_fail returned. */
	int (*run)(struct qmp_call *call);
	const struct qmp_arg *args; /* ends with name NULL */
};

struct qmp_call {
	struct ctl *ctl;
	struct vm *vm;
	struct qmp *client;
	struct json_object *args; /* an object whose members are as described; NULL: none */
	struct json_object *ret;
	const char *error_class;
	char *error;
};

/* The classes of errors that clients tell apart. */
#define QMP_GENERIC "GenericError"
#define QMP_NO_COMMAND "CommandNotFound"
#define QMP_NO_DEVICE "DeviceNotFound"
#define QMP_DEVICE_INACTIVE "DeviceNotActive"

/* qmp_fail - the answer is an error of that class; -1. */
int qmp_fail(struct qmp_call *call, const char *error_class, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Arguments by name; absent ones give NULL or what is said. */
struct json_object *qmp_get(const struct qmp_call *call, const char *name);
const char *qmp_str(const struct qmp_call *call, const char *name);
int64_t qmp_int(const struct qmp_call *call, const char *name, int64_t absent);
bool qmp_bool(const struct qmp_call *call, const char *name, bool absent);

/* Members of an answer. */
void obj_str(struct json_object *o, const char *key, const char *val);
void obj_int(struct json_object *o, const char *key, int64_t val);
void obj_bool(struct json_object *o, const char *key, bool val);
void obj_num(struct json_object *o, const char *key, double val);

/* qmp_check_args - are the arguments as the command describes them?  0 or qmp_fail. */
int qmp_check_args(struct qmp_call *call, const struct qmp_arg *args);
/* qmp_choice - is word one of "a|b|c"? */
bool qmp_choice(const char *choices, const char *word);

extern const struct qmp_cmd qmp_cmds[];
extern const size_t qmp_n_cmds;
const struct qmp_cmd *qmp_cmd_find(const char *name);

struct json_object *qmp_version(void);

#define QMP_CMD(name, fn, args) int fn(struct qmp_call *call);
#include "ctl/qmp.def"
#undef QMP_CMD
