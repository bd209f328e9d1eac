/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What ends a machine from outside: SIGTERM, SIGINT, SIGHUP, and a time limit. */
#include <stdint.h>

struct loop;
struct vm;
struct watch;

/* watch_create - block the signals (in this thread, and those it will create) and take them on the
 * loop. prog starts the message.  watch_destroy unblocks them. */
struct watch *watch_create(struct loop *loop, const char *prog);
/* watch_vm - the machine to end; after timeout_ms of host time (0: never) it ends
 * with status 124. */
void watch_vm(struct watch *w, struct vm *vm, uint64_t timeout_ms);
void watch_destroy(struct watch *w); /* NULL is fine */
