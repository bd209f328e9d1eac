/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the monitors of a machine share.  Private to this folder. */
#include <json-c/json.h>
#include "base/base.h"
#include "back/char/chardev.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "machine/vm.h"

struct hmp;
struct qmp;

/* Text on its way to a client that may be slow. */
struct ctl_out {
	struct chardev *cd;
	struct text text;
	bool held; /* not now */
};
void ctl_out_put(struct ctl_out *o, const void *data, size_t len);
/* ctl_out_flush - write what the client takes, and read from it again when that is all. */
void ctl_out_flush(struct ctl_out *o);

struct ctl {
	struct ctl_config cfg;
	struct vm *vm;
	struct vm_listener listener;
	struct qmp *qmps;
	struct hmp *hmps;
};

void qmp_destroy_all(struct ctl *c);
void hmp_destroy_all(struct ctl *c);
/* qmp_event - tell every client. */
void qmp_event(struct ctl *c, const struct vm_event *ev);

/* ctl_chardev - by its id, or NULL. */
struct chardev *ctl_chardev(struct ctl *c, const char *id);

/* ctl_netdev - by its id; id NULL: the only one of kind "user"; or NULL. */
struct netdev *ctl_netdev(struct ctl *c, const char *id);

/* hmp_run - run a command line of a person's monitor; what it prints goes to out. */
void hmp_run(struct ctl *c, const char *line, struct text *out, unsigned *cpu);
