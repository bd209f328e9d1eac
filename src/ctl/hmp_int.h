/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The parts of a monitor for people. */
#include "ctl/ctl_int.h"

struct hmp_call {
	struct ctl *ctl;
	struct vm *vm;
	struct text *out; /* lines end with LF */
	char *args; /* what is left of the line; hmp_word takes words off it */
	unsigned *cpu; /* the one that "cpu N" chose */
	const char *const *history; /* of this monitor; NULL: it has none */
	unsigned n_history;
};

struct hmp_cmd {
	const char *names; /* "stop|s" */
	const char *args, *help;
	void (*run)(struct hmp_call *h);
};
extern const struct hmp_cmd hmp_cmds[], hmp_infos[];
extern const size_t hmp_n_cmds, hmp_n_infos;

/* hmp_error - "Error: ..." */
void hmp_error(struct hmp_call *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* hmp_word - the next word, perhaps in double quotes; NULL: there is none. */
char *hmp_word(struct hmp_call *h);
/* hmp_need - the next word; without one an error that names it, and NULL. */
char *hmp_need(struct hmp_call *h, const char *what);
/* hmp_size - text as a size, in MiB without a suffix; false after an error that names it. */
bool hmp_size(struct hmp_call *h, const char *text, int64_t *bytes);
/* hmp_done - is the line used up?  Else an error. */
bool hmp_done(struct hmp_call *h);
/* hmp_number - an expression: numbers, $registers of the chosen CPU, + - * / % & | ^ ~ ( ); as much
 * of the line as is one.  False after an error was printed. */
bool hmp_number(struct hmp_call *h, const char *what, uint64_t *val);
/* hmp_qmp - run a command for programs with those arguments (taken); its answer (the caller's, may
 * be NULL) or, after the error was printed, NULL with *ok false. */
struct json_object *hmp_qmp(struct hmp_call *h, const char *name, struct json_object *args,
			    bool *ok);
/* hmp_do - the same when only success matters. */
void hmp_do(struct hmp_call *h, const char *name, struct json_object *args);
/* hmp_state - state of the chosen CPU, malloc'ed; the machine is frozen. */
struct x86_state *hmp_state(struct hmp_call *h);

#define HMP_CMD(names, args, fn, help) void fn(struct hmp_call *h);
#define HMP_INFO(names, args, fn, help) void fn(struct hmp_call *h);
#include "ctl/hmp.def"
#undef HMP_CMD
#undef HMP_INFO
