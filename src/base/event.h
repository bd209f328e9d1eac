/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What an event of a machine says, by names that QMP gives it. */
#include <stdbool.h>
#include <stdint.h>

enum vm_arg_kind { VM_ARG_STR, VM_ARG_INT, VM_ARG_BOOL };
struct vm_event_arg {
	const char *key;
	enum vm_arg_kind kind;
	const char *str; /* NULL: the argument is left out */
	int64_t num;
};
#define VM_STR(key_, s)	 {.key = (key_), .kind = VM_ARG_STR, .str = (s)}
#define VM_INT(key_, n)	 {.key = (key_), .kind = VM_ARG_INT, .num = (n)}
#define VM_BOOL(key_, b) {.key = (key_), .kind = VM_ARG_BOOL, .num = (b)}
#define VM_EVENT_ARGS	 8 /* at most */
