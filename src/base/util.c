/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/fpu.h"

_Thread_local struct fpu_guest *fpu_live;

void bug_die(const char *file, int line, const char *what)
{
	fprintf(stderr, "doppel: bug at %s:%d: %s\n", file, line, what);
	abort();
}

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "doppel: out of memory\n");
		abort();
	}
	return p;
}

void *xzalloc(size_t size)
{
	return must(calloc(1, size ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
	return must(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
	return must(realloc(p, size ? size : 1));
}

char *xstrdup(const char *s)
{
	return must(strdup(s));
}

char *xasprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return must(s);
}

void *xzalloc_aligned(size_t align, size_t size)
{
	void *p = NULL;

	if (posix_memalign(&p, align, size))
		p = NULL;
	return memset(must(p), 0, size);
}
