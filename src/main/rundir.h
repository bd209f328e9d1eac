/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Where running machines are found: $XDG_RUNTIME_DIR/doppel, or /tmp/doppel-UID, for its owner
 *only. A machine NAME has there NAME.json	what it is; locked (flock) as long as it runs
 *	NAME.qmp	a socket for programs
 *	NAME.console	a socket with its console, when that is on no terminal
 * Whatever belongs to a NAME.json that nobody has locked is left over, and removed.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct rundir;

/* rundir_claim - make the name ours: 0, -EBUSY with *e when a machine of that name runs, -errno
 * with *e.  name NULL: "vm-PID".  Characters that a file's name should not have become '_'. */
int rundir_claim(struct rundir **out, const char *name, struct err **e);
/* rundir_path - where a machine of that name (NULL: this process's) has its "qmp" or "console";
 * malloc'ed. */
char *rundir_path(const char *name, const char *suffix);
const char *rundir_name(const struct rundir *r);
/* The sockets' paths, for the machine to make. */
const char *rundir_qmp(const struct rundir *r);
const char *rundir_console(const struct rundir *r);

struct rundir_info {
	const char *engine, *machine;
	uint64_t memory; /* bytes */
	unsigned cpus;
	bool console; /* there is a socket for it */
};
/* rundir_publish - the machine runs: let others find it.  0 or -errno with *e. */
int rundir_publish(struct rundir *r, const struct rundir_info *info, struct err **e);
/* rundir_disown - for the side of a fork that ends before the machine does: the files stay. */
void rundir_disown(struct rundir *r);
void rundir_withdraw(struct rundir *r); /* removes all; NULL is fine */

/* A running machine, as others see it. */
struct rundir_entry {
	char *name, *qmp, *console; /* console NULL: on its terminal */
	char *engine, *machine;
	pid_t pid;
	uint64_t memory;
	unsigned cpus;
	int64_t started; /* seconds since 1970 */
};
void rundir_entry_free(struct rundir_entry *m);
/* rundir_gone - has it ended? */
bool rundir_gone(const struct rundir_entry *m);
/* rundir_list - all of them, by name; *n is their number.  The caller frees each, and the list. */
struct rundir_entry *rundir_list(unsigned *n);
/* rundir_find - the machine of that name; name NULL: the only one.  -ENOENT with *e. */
int rundir_find(struct rundir_entry *out, const char *name, struct err **e);
