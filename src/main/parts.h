/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* All devices of a machine in the order in which they are made: those of the board's defaults, of
 * back ends (-drive, -nic, -virtfs) and of -device. */
#include "main/backs.h"
#include "main/cmdline.h"

struct parts {
	struct vm_device_opt *devices;
	size_t n;
	struct block *pflash[2]; /* drives of if=pflash, by unit */
};

/* parts_make - 0, or -errno with *e: a drive wants to be plugged in where nothing is. */
int parts_make(struct parts *p, const struct cmdline *c, struct backs *b, struct err **e);
void parts_free(struct parts *p);
/* parts_global - properties that -global gives a driver, before its own: malloc'ed text. */
char *parts_global(const struct cmdline *c, const char *driver, const char *own);
