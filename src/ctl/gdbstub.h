/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A GDB remote stub for one machine; gdbstub.c has the theory. */

struct err;
struct gdbstub;
struct loop;
struct vm;

/* gdbstub_create - listen on "tcp:HOST:PORT" (an empty host is the loopback) or "unix:PATH".  One
 * debugger at a time; the machine stops when it connects.  0 or -errno with *e.  Loop thread. */
int gdbstub_create(struct gdbstub **out, struct vm *vm, struct loop *loop, const char *where,
		   struct err **e);
void gdbstub_destroy(struct gdbstub *g); /* before the vm; NULL is fine */
