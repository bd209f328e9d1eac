/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Talking to a machine's monitor for programs, waiting for each answer. */
#include <stdint.h>

struct err;
struct json_object;
struct qmp_client;

/* qmp_client_open - connect to a socket, greet and negotiate; 0 or -errno with *e.  No answer
 * within five seconds is -ETIMEDOUT, here and later. */
int qmp_client_open(struct qmp_client **out, const char *path, struct err **e);
void qmp_client_close(struct qmp_client *q); /* NULL is fine */
/* qmp_client_run - run a command; args (taken; NULL: none).  0 with the answer in *ret (the
 * caller's; NULL: not wanted), or -errno with *e: the machine's message with -EREMOTEIO.  Events
 * that come meanwhile are remembered. */
int qmp_client_run(struct qmp_client *q, const char *name, struct json_object *args,
		   struct json_object **ret, struct err **e);
