/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/fpu.h"
#include "base/lock.h"

struct log_sink {
	struct lock lock;
	FILE *f;
};

static const struct {
	const char *name, *help;
} log_items[] = {
#define LOG_ITEM(sym, name_, help_) { name_, help_ },
#include "base/log.def"
#undef LOG_ITEM
};

struct log *log_create(void)
{
	struct log *l = xzalloc(sizeof(*l));

	l->sink = xzalloc(sizeof(*l->sink));
	lock_init(&l->sink->lock, LOCK_RANK_LOG, "log");
	l->sink->f = stderr;
	return l;
}

static void log_close(struct log_sink *s)
{
	if (s->f != stderr)
		fclose(s->f);
	s->f = stderr;
}

void log_destroy(struct log *l)
{
	if (!l)
		return;
	log_close(l->sink);
	lock_fini(&l->sink->lock);
	free(l->sink);
	free(l);
}

/* Replaces the first "%d" in a path by the process id. */
static char *log_path(const char *path)
{
	const char *at = strstr(path, "%d");

	if (!at)
		return xstrdup(path);
	return xasprintf("%.*s%d%s", (int)(at - path), path, (int)getpid(), at + 2);
}

int log_open(struct log *l, const char *path, struct err **e)
{
	char *real = log_path(path);
	FILE *f = fopen(real, "w");
	int r = 0;

	if (!f) {
		r = err_set(e, errno, "cannot open log file '%s': %s", real, strerror(errno));
	} else {
		setvbuf(f, NULL, _IOLBF, 0);
		lock_take(&l->sink->lock);
		log_close(l->sink);
		l->sink->f = f;
		lock_drop(&l->sink->lock);
	}
	free(real);
	return r;
}

static int log_find(const char *name, size_t len)
{
	for (int i = 0; i < LOG_ITEM_COUNT; i++)
		if (strlen(log_items[i].name) == len && !memcmp(log_items[i].name, name, len))
			return i;
	return -1;
}

int log_enable(struct log *l, const char *items, struct err **e)
{
	uint32_t mask = l->mask;

	for (const char *p = items;; p++) {
		size_t len = strcspn(p, ",");
		int i = log_find(p, len);

		if (i < 0)
			return err_set(e, EINVAL, "unknown log item '%.*s' (try '-d help')", (int)len, p);
		mask |= 1u << i;
		p += len;
		if (!*p)
			break;
	}
	l->mask = mask;
	return 0;
}

void log_disable_all(struct log *l)
{
	l->mask = 0;
}

const char *log_item_name(unsigned item)
{
	return item < LOG_ITEM_COUNT ? log_items[item].name : NULL;
}

void log_help(void)
{
	printf("Log items (comma separated):\n");
	for (int i = 0; i < LOG_ITEM_COUNT; i++)
		printf("%-16s %s\n", log_items[i].name, log_items[i].help);
}

void log_printf(struct log *l, const char *fmt, ...)
{
	va_list ap;

	fpu_claim();
	lock_take(&l->sink->lock);
	va_start(ap, fmt);
	vfprintf(l->sink->f, fmt, ap);
	va_end(ap);
	lock_drop(&l->sink->lock);
}
