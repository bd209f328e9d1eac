/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The monitors that a command line asks for: their back ends are opened before the machine is made
 * (one may wait for a client), and attached when it is there. */
#include "ctl/ctl.h"
#include "main/cmdline.h"

struct monitors;

/* Opens the back end that use->arg names as for a port (spec: instead of use->arg), or gives one
 * more front end of a -chardev (spec "chardev:ID"). */
struct monitors_host {
	int (*open)(void *opaque, const struct cmd_use *use, const char *spec, const char *id,
		    struct chardev **out, struct err **e);
	void *opaque;
};

/* monitors_open - 0 or -errno with *e.  monitors_destroy: NULL is fine. */
int monitors_open(struct monitors **out, const struct cmdline *c, const struct monitors_host *host,
		  struct err **e);
/* monitors_add - one more at a front end that is open: for people, or for programs. */
void monitors_add(struct monitors *m, struct chardev *end, bool control);
int monitors_start(struct monitors *m, const struct ctl_config *cfg, struct err **e);
void monitors_destroy(struct monitors *m);
