/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"
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

static int fd_read_all(int fd, const char *path, size_t max, char **data, size_t *len,
		       struct err **e)
{
	size_t n = 0, room = 0;
	char *buf = NULL;
	ssize_t got = 1;

	while (got > 0 && n <= max) {
		if (room - n < 2) {
			room = room ? 2 * room : 4096;
			buf = xrealloc(buf, room);
		}
		got = read(fd, buf + n, room - n - 1);
		n += got > 0 ? (size_t)got : 0;
	}
	if (got >= 0 && n <= max) {
		buf[n] = '\0';
		*data = buf;
		*len = n;
		return 0;
	}
	free(buf);
	return n > max ? err_set(e, EFBIG, "'%s' is larger than %zu bytes", path, max) :
			 err_set(e, errno, "cannot read '%s': %s", path, strerror(errno));
}

int file_slurp(const char *path, size_t max, char **data, size_t *len, struct err **e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return err_set(e, errno, "cannot open '%s': %s", path, strerror(errno));
	r = fd_read_all(fd, path, max, data, len, e);
	close(fd);
	return r;
}
