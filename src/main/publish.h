/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What doppel run leaves in the runtime directory for doppel ps, console, stop...; rundir.h has the
 * layout. */
#include "main/monitors.h"
#include "main/rundir.h"

/* publish_claim - take the machine's name.  A name that somebody else has is an error when a person
 * chose it.  0 or -errno with *e. */
int publish_claim(struct rundir **out, const struct cmdline *c, struct err **e);
/* publish_spec - the back end in place of `spec`: a machine that leaves its terminal has its
 * console at a socket.  The caller frees it; NULL: spec will do. */
char *publish_spec(const struct rundir *r, const struct cmdline *c, const char *spec);
/* publish_socket - what a person would write for a server at that path; malloc'ed.  before: "mon:"
 * or
 * "". */
char *publish_socket(const char *before, const char *path);
/* publish_monitor - a monitor for programs at the machine's socket. */
int publish_monitor(struct rundir *r, struct monitors *m, const struct monitors_host *host,
		    struct err **e);
/* publish_vm - the machine is there. */
int publish_vm(struct rundir *r, const struct cmdline *c, struct vm *vm, struct err **e);
