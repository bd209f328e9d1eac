/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include <stdio.h>
#include <stdlib.h>
#include "base/base.h"

struct err {
	char *msg;
};

static char *err_vformat(const char *fmt, va_list ap)
{
	char *s = NULL;

	bug_on(vasprintf(&s, fmt, ap) < 0);
	return s;
}

int err_set(struct err **e, int errnum, const char *fmt, ...)
{
	va_list ap;

	bug_on(errnum <= 0);
	if (e) {
		bug_on(*e);
		*e = xzalloc(sizeof(**e));
		va_start(ap, fmt);
		(*e)->msg = err_vformat(fmt, ap);
		va_end(ap);
	}
	return -errnum;
}

void err_prefix(struct err **e, const char *fmt, ...)
{
	char *head, *both;
	va_list ap;

	if (!e || !*e)
		return;
	va_start(ap, fmt);
	head = err_vformat(fmt, ap);
	va_end(ap);
	both = xasprintf("%s: %s", head, (*e)->msg);
	free(head);
	free((*e)->msg);
	(*e)->msg = both;
}

const char *err_msg(const struct err *e)
{
	return e->msg;
}

void err_free(struct err **e)
{
	if (!*e)
		return;
	free((*e)->msg);
	free(*e);
	*e = NULL;
}
