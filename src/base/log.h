/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The log of one virtual machine (`-d items -D file`).  Safe from every thread.
 * A switched-off item costs one load and a predictable branch: use log_on() or LOGF().
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/base.h"

struct err;

enum log_item {
#define LOG_ITEM(sym, name, help) LOG_##sym,
#include "base/log.def"
#undef LOG_ITEM
	LOG_ITEM_COUNT
};

struct log {
	uint32_t mask; /* bit per enum log_item; written only while no vCPU runs */
	struct log_sink *sink;
};

/* log_create - a log that writes to stderr with nothing switched on.  log_destroy frees. */
struct log *log_create(void);
void log_destroy(struct log *l);
/* log_open - write to a file instead ("%d" in the path becomes the pid).  0 or -errno with *e. */
int log_open(struct log *l, const char *path, struct err **e);
/* log_enable - switch on a comma-separated list of items; -EINVAL with *e names a bad item. */
int log_enable(struct log *l, const char *items, struct err **e);
/* log_disable_all - nothing is logged any more. */
void log_disable_all(struct log *l);
/* log_item_name - of an enum log_item; NULL past the last. */
const char *log_item_name(unsigned item);
/* log_help - write the list of items for `-d help` to stdout. */
void log_help(void);

static inline bool log_on(const struct log *l, enum log_item item)
{
	return unlikely(l->mask & (1u << item));
}

/* log_printf - write unconditionally (the caller has asked log_on). */
void log_printf(struct log *l, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* LOGF - write when the item is on.  */
#define LOGF(l, item, ...)                                                                         \
	do {                                                                                       \
		if (log_on(l, LOG_##item))                                                         \
			log_printf(l, __VA_ARGS__);                                                \
	} while (0)
