/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Leaving the terminal once a machine runs (-daemonize, --detach). */
struct daemon_start;
struct err;

/* daemon_begin - fork, before any thread or descriptor is made.  In the child 0 with *out.  In the
 * parent, when the child has said that it runs or has ended, 1 with *status to exit with.  -errno
 * with *e. */
int daemon_begin(struct daemon_start **out, int *status, struct err **e);
/* daemon_ready - in the child: all is well; input and output go nowhere from here on, and the
 * parent returns.  NULL is fine. */
void daemon_ready(struct daemon_start *d);
/* daemon_failed - nothing came of it; the child reports why itself, and ends.  NULL is fine. */
void daemon_failed(struct daemon_start *d);
