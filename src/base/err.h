/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Errors a person will read.  A function that can fail for host or configuration reasons returns
 * 0 or -errno and, where told so, sets one `struct err`.  Set once, context added by callers.
 */
#include <stdarg.h>

struct err;

/*
 * err_set - create *e with a formatted message and return -errnum.
 * @e may be NULL (message dropped).  *e must be NULL before.  The caller owns *e (err_free).
 * @errnum is a positive errno value.
 */
int err_set(struct err **e, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* err_prefix - put "prefix: " in front of the message of *e; nothing when e or *e is NULL. */
void err_prefix(struct err **e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* err_msg - the message, valid until err_free. */
const char *err_msg(const struct err *e);

/* err_free - release *e and set it to NULL; NULL is fine. */
void err_free(struct err **e);

/* __attribute__((cleanup)) helper: `struct err *e __err_cleanup = NULL;` */
#define __err_cleanup __attribute__((cleanup(err_free)))
