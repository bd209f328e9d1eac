/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The command line as data.  Parsing fills struct cmdline and opens nothing (but for help and
 * version, which print); launch.c turns it into a machine.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "machine/vm.h"

struct err;

/* An option whose argument is used later, and how to name it in a message about it. */
struct cmd_use {
	const char *opt; /* as written: "-serial" */
	const char *arg; /* NULL: not given */
};

struct cmd_list {
	struct cmd_use *use;
	size_t n;
};

struct cmdline {
	const char *prog; /* starts every message */
	bool friendly; /* doppel run, not the dialect */

	struct vm_config cfg; /* strings point into argv or `owned` */
	struct cmd_use accel, machine, cpu, mem, smp, kernel, initrd, append, bios, debugcon, gdb;
	struct cmd_use log, log_file, pidfile;
	struct cmd_list serials, chardevs, devices, globals, data_dirs;
	struct cmd_list monitors; /* -monitor, -qmp, -qmp-pretty, -mon: by their names */
	struct cmd_list drives, blockdevs; /* drives: -drive, -hda, -cdrom, disks, as -drive has it */
	struct cmd_list netdevs, nics, fsdevs, virtfs, objects; /* nics: -nic and -net */
	struct cmd_list volumes; /* mount points of -v, in the order of their virtfs */
	struct cmd_list fw_cfgs, smbios;
	struct cmd_use user; /* --user */
	struct cmd_list ssh_keys;
	const char *pflash[2]; /* -machine pflash0=, pflash1=: names of -blockdev nodes; NULL: none */
	const char *vga_driver; /* NULL: no display adapter */
	bool vga_given, snapshot;
	unsigned disks; /* images that were named without an option */
	const char *hostfwd; /* -p: ",hostfwd=..." */
	bool nographic, nodefaults;
	bool detach; /* --detach, -daemonize */
	uint64_t timeout_ms; /* 0: none */
	struct cmd_use timeout;
	const char *slower; /* why the engine that was to run cannot, or NULL */
	const char *fallback; /* engines that were asked for but are not there, for a warning; or
				 NULL */

	const char **firmware_dirs; /* of -L; ends with NULL */
	char **owned;
	size_t n_owned;
};

enum { CMD_RUN = 0, CMD_DONE = 1 }; /* DONE: something was printed and nothing is to run */

/* cmdline_parse - argv[0] is not looked at.  CMD_RUN, CMD_DONE, or -errno with *e, whose message
 * names the option.  The caller releases c with cmdline_free in every case. */
int cmdline_parse(struct cmdline *c, const char *prog, bool friendly, int argc, char **argv,
		  struct err **e);
void cmdline_free(struct cmdline *c);
/* cmdline_explain - print the same machine in the dialect, quoted for a shell. */
void cmdline_explain(const struct cmdline *c);

/* cmdline_virtio - the driver of a virtio type ("blk", "net", "9p", "rng") on the machine's bus. */
const char *cmdline_virtio(const struct cmdline *c, const char *type);
/* cmdline_net_number - which of the -net cards, or which of their back ends, nics.use[i] is. */
unsigned cmdline_net_number(const struct cmdline *c, size_t i);
/* opt_disk - use->opt is the name of a disk image. */
int opt_disk(struct cmdline *c, const struct cmd_use *use, struct err **e);

/* cmdline_option - name of the dialect's option with that number, from 0 on; "" where a row has none;
 * NULL: there are no more. */
const char *cmdline_option(unsigned i);

/* cmdline_own - keep a malloc'ed string until cmdline_free; returns it. */
const char *cmdline_own(struct cmdline *c, char *s);
/* cmd_blame - put "-opt arg: " in front of a message. */
void cmd_blame(struct err **e, const struct cmd_use *use);
void cmd_list_add(struct cmd_list *l, struct cmd_use use);

/* Handlers: `use` is the option as written, use->arg its argument.  CMD_RUN, CMD_DONE or -errno
 * with *e. */
#define OPT(dialect, friendly, arg, handler, help) \
	int handler(struct cmdline *c, const struct cmd_use *use, struct err **e);
#include "main/options.def"
#undef OPT

/* cmdline_check - what options mean together, after all were parsed: defaults, conflicts.
 * opt_check.c */
int cmdline_check(struct cmdline *c, struct err **e);
