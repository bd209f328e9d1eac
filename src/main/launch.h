/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
struct cmdline;
struct err;

/* launch - make the machine that c describes and run it to its end.  *status is the process's exit
 * status. 0, or -errno with *e when it could not start; then everything opened is closed again. */
int launch(const struct cmdline *c, int *status, struct err **e);
