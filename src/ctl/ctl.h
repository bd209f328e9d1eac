/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Control of one machine: its monitors, for programs (QMP) and for people (HMP), any number of
 * each. All calls on the loop thread.  docs/monitor.md has the commands.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blocks;
struct chardev;
struct ctl;
struct err;
struct log;
struct loop;
struct netdev;
struct vm;

struct ctl_config {
	struct vm *vm;
	struct loop *loop;
	struct log *log;
	struct blocks *blocks; /* NULL: none */
	const uint8_t *uuid; /* 16 bytes in the order they are printed; NULL: zeros */
	/* What whoever made the machine has opened.  Each may be NULL: there is none. */
	void (*each_chardev)(void *opaque, void (*fn)(void *arg, struct chardev *cd), void *arg);
	void (*each_netdev)(void *opaque, void (*fn)(void *arg, struct netdev *nd), void *arg);
	/* Names of options of the command line, from 0 on; "": none there; NULL: no more. */
	const char *(*option)(unsigned i);
	/* Start a debugger's stub at a place as -gdb takes it, in place of one that is there. */
	int (*gdbserver)(void *opaque, const char *where, struct err **e);
	void *opaque;
};

/* ctl_create - takes a copy of cfg.  ctl_destroy: before the machine and the chardevs; NULL is
 * fine. */
void ctl_create(struct ctl **out, const struct ctl_config *cfg);
void ctl_destroy(struct ctl *c);

/* ctl_add_qmp - a monitor for programs at cd (not owned), -EBUSY with *e when that is in use.
 * pretty: answers are indented.  ctl_add_hmp: for people. */
int ctl_add_qmp(struct ctl *c, struct chardev *cd, bool pretty, struct err **e);
int ctl_add_hmp(struct ctl *c, struct chardev *cd, struct err **e);
