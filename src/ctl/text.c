/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"

static void text_room(struct text *t, size_t more)
{
	size_t want = t->len + more + 1;

	if (want <= t->cap)
		return;
	t->cap = want < 2 * t->cap ? 2 * t->cap : want + 64;
	t->s = xrealloc(t->s, t->cap);
}

void text_put(struct text *t, const void *data, size_t len)
{
	text_room(t, len);
	memcpy(t->s + t->len, data, len);
	t->len += len;
	t->s[t->len] = 0;
}

void text_printf(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	bug_on(n < 0);
	text_room(t, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(t->s + t->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	t->len += (size_t)n;
}

void text_drop(struct text *t, size_t len)
{
	if (len == t->len) {
		text_free(t);
		return;
	}
	t->len -= len;
	memmove(t->s, t->s + len, t->len + 1);
}

void text_free(struct text *t)
{
	free(t->s);
	*t = (struct text){0};
}
