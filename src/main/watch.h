/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What ends a machine from outside: SIGTERM, SIGINT, SIGHUP, and a time limit. */
#include <stdint.h>

struct err;
struct loop;
struct vm;
struct watch;

/* watch_create - block the signals (in this thread, and those it will create) and take them on the
 * loop. prog starts the message.  0, or -errno with *e when the host has no descriptors left.
 * watch_destroy unblocks them. */
int watch_create(struct watch **out, struct loop *loop, const char *prog, struct err **e);
/* watch_vm - the machine to end; after timeout_ms of host time (0: never) it ends
 * with status 124. */
void watch_vm(struct watch *w, struct vm *vm, uint64_t timeout_ms);
void watch_destroy(struct watch *w); /* NULL is fine */
