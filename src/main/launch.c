/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a parsed command line to a running machine.  Things are opened in the order of struct
 * launch, and closed in reverse by launch_fini, which copes with any part missing.
 */
#include "main/launch.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/char/chardev.h"
#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/log.h"
#include "base/loop.h"
#include "ctl/gdbstub.h"
#include "main/backs.h"
#include "main/cmdline.h"
#include "main/daemon.h"
#include "main/monitors.h"
#include "main/parts.h"
#include "main/pidfile.h"
#include "main/publish.h"
#include "main/seed.h"
#include "main/smbios_opt.h"
#include "main/watch.h"

#define FW_ITEM_MAX (64 * MiB)

struct launch {
	const struct cmdline *c;
	struct vm_config cfg;
	struct loop *loop;
	struct log *log;
	int pidfile; /* -1: none */
	struct chardev **chardevs; /* all, named and unnamed */
	size_t n_chardevs;
	struct backs *backs;
	struct parts parts;
	struct vm_fw_item *fw_items;
	struct smbios_opt smbios;
	struct seed seed;
	char **strings;
	size_t n_strings;
	struct watch *watch;
	struct vm *vm;
	struct gdbstub *gdb;
	struct monitors *monitors;
	struct rundir *rundir; /* doppel run */
	struct daemon_start *daemon;
};

static const char *launch_own(struct launch *l, char *s)
{
	l->strings = xrealloc(l->strings, (l->n_strings + 1) * sizeof(*l->strings));
	l->strings[l->n_strings++] = s;
	return s;
}

static int launch_log(struct launch *l, struct err **e)
{
	const struct cmdline *c = l->c;
	int r = 0;

	l->log = log_create();
	if (c->log.arg) {
		r = log_enable(l->log, c->log.arg, e);
		if (r)
			cmd_blame(e, &c->log);
	}
	if (!r && c->log_file.arg) {
		r = log_open(l->log, c->log_file.arg, e);
		if (r)
			cmd_blame(e, &c->log_file);
	}
	return r;
}

static struct chardev *chardev_find(void *opaque, const char *id)
{
	const struct launch *l = opaque;

	for (size_t i = 0; i < l->n_chardevs; i++)
		if (!strcmp(chardev_id(l->chardevs[i]), id))
			return l->chardevs[i];
	return NULL;
}

/* The same for one more user of it. */
static struct chardev *chardev_find_end(void *opaque, const char *id)
{
	struct chardev *cd = chardev_find(opaque, id);

	return cd ? chardev_front_end(cd) : NULL;
}

static struct block *drive_find(void *opaque, const char *id)
{
	return backs_drive(((struct launch *)opaque)->backs, id);
}

static struct netdev *netdev_find(void *opaque, const char *id)
{
	return backs_netdev(((struct launch *)opaque)->backs, id);
}

static void *fsdev_find(void *opaque, const char *id)
{
	return backs_fsdev(((struct launch *)opaque)->backs, id);
}

static void *object_of(void *opaque, const char *id)
{
	return backs_object(((struct launch *)opaque)->backs, id);
}

static void netdev_each(void *opaque, void (*fn)(void *arg, struct netdev *nd), void *arg)
{
	backs_each_netdev(((struct launch *)opaque)->backs, fn, arg);
}

static void chardev_each(void *opaque, void (*fn)(void *arg, struct chardev *cd), void *arg)
{
	const struct launch *l = opaque;

	for (size_t i = 0; i < l->n_chardevs; i++)
		fn(arg, l->chardevs[i]);
}

/* The person left by the escape key. */
static void launch_quit(void *opaque)
{
	struct launch *l = opaque;

	if (l->vm)
		vm_quit(l->vm, 0);
}

static void launch_add_chardev(struct launch *l, struct chardev *cd)
{
	const char *where = chardev_where(cd);

	l->chardevs = xrealloc(l->chardevs, (l->n_chardevs + 1) * sizeof(struct chardev *));
	l->chardevs[l->n_chardevs++] = cd;
	if (chardev_is_mux(cd))
		chardev_set_escape(cd, launch_quit, l);
	if (where && !strncmp(where, "pty: ", 5)) { /* the words that tools look for */
		printf("char device redirected to %s (label %s)\n", where + 5, chardev_id(cd));
		fflush(stdout);
	}
}

static int launch_chardevs(struct launch *l, struct err **e)
{
	for (size_t i = 0; i < l->c->chardevs.n; i++) {
		const struct cmd_use *use = &l->c->chardevs.use[i];
		struct chardev *cd;
		int r = chardev_open_opts(&cd, l->loop, use->arg, e);

		if (!r && l->c->detach && !strncmp(use->arg, "stdio", 5)) {
			chardev_close(cd);
			r = err_set(e, EINVAL, "a machine that leaves the terminal cannot use it");
		}
		if (!r && chardev_find(l, chardev_id(cd))) {
			r = err_set(e, EEXIST, "there is another '%s'", chardev_id(cd));
			chardev_close(cd);
		}
		if (r) {
			cmd_blame(e, use);
			return r;
		}
		launch_add_chardev(l, cd);
	}
	return 0;
}

/* A front end of a new back end, or with chardev:ID one that -chardev made.  "mon:...": there is a
 * monitor behind Ctrl-a c too. */
static int launch_chardev(void *opaque, const char *id, const char *spec, struct chardev **out,
			  struct err **e)
{
	struct launch *l = opaque;
	struct chardev *cd = NULL;
	int r = 0;

	*out = NULL;
	if (l->c->detach && (!strcmp(spec, "stdio") || !strcmp(spec, "mon:stdio"))) {
		r = err_set(e, EINVAL, "a machine that leaves the terminal cannot use it");
	} else if (!strncmp(spec, "chardev:", 8)) {
		*out = chardev_find_end(l, spec + 8);
		if (!*out)
			r = err_set(e, ENOENT, "there is no -chardev with id '%s'", spec + 8);
	} else {
		r = chardev_open(&cd, l->loop, id, spec, e);
	}
	if (!cd)
		return r;
	launch_add_chardev(l, cd);
	*out = chardev_front_end(cd);
	if (!strncmp(spec, "mon:", 4))
		monitors_add(l->monitors, chardev_front_end(cd), false);
	return 0;
}

/* The same for an option, which is blamed.  "none": NULL. */
static int launch_end(void *opaque, const struct cmd_use *use, const char *spec, const char *id,
		      struct chardev **out, struct err **e)
{
	int r = 0;

	*out = NULL;
	if (strcmp(spec, "none"))
		r = launch_chardev(opaque, id, spec, out, e);
	if (r)
		cmd_blame(e, use);
	return r;
}

static int launch_port(struct launch *l, const struct cmd_use *use, const char *id,
		       struct chardev **out, struct err **e)
{
	char *spec = publish_spec(l->rundir, l->c, use->arg);
	int r = launch_end(l, use, spec ? spec : use->arg, id, out, e);

	free(spec);
	return r;
}

/* Also by the monitor's command: in place of one that is there. */
static int launch_gdbserver(void *opaque, const char *where, struct err **e)
{
	struct launch *l = opaque;

	gdbstub_destroy(l->gdb);
	l->gdb = NULL;
	return strcmp(where, "none") ? gdbstub_create(&l->gdb, l->vm, l->loop, where, e) : 0;
}

static int launch_monitors(struct launch *l, struct err **e)
{
	struct ctl_config cfg = {
		.vm = l->vm,
		.loop = l->loop,
		.log = l->log,
		.uuid = l->c->cfg.uuid,
		.blocks = backs_blocks(l->backs),
		.each_chardev = chardev_each,
		.each_netdev = netdev_each,
		.option = cmdline_option,
		.gdbserver = launch_gdbserver,
		.opaque = l,
	};

	return monitors_start(l->monitors, &cfg, e);
}

/* The monitors' back ends, and for doppel run a place where others find the machine. */
static int launch_monitors_open(struct launch *l, struct err **e)
{
	struct monitors_host host = {.open = launch_end, .opaque = l};
	int r = monitors_open(&l->monitors, l->c, &host, e);

	if (!r && l->c->friendly)
		r = publish_claim(&l->rundir, l->c, e);
	if (!r && l->rundir)
		r = publish_monitor(l->rundir, l->monitors, &host, e);
	return r;
}

static int launch_ports(struct launch *l, struct err **e)
{
	static const char *const ids[] = {"serial0", "serial1", "serial2", "serial3"};

	for (size_t i = 0; i < l->c->serials.n; i++) {
		const struct cmd_use *use = &l->c->serials.use[i];
		struct chardev **port = &l->cfg.serial[i];
		int r = launch_port(l, use, ids[i], port, e);

		if (r)
			return r;
		for (size_t j = 0; j < i && *port; j++) {
			if (*port != l->cfg.serial[j])
				continue;
			r = err_set(e, EBUSY, "it is in use by another serial port");
			cmd_blame(e, use);
			return r;
		}
	}
	if (!l->c->debugcon.arg)
		return 0;
	return launch_port(l, &l->c->debugcon, "debugcon", &l->cfg.debugcon, e);
}

/* Where -global isa-debugcon.iobase= puts the debug console of -debugcon. */
static int launch_debugcon_port(struct launch *l, struct err **e)
{
	struct kvlist kv = {0};
	char *props = parts_global(l->c, "isa-debugcon", "");
	uint64_t port = 0;
	int r = kv_parse(&kv, props, NULL, e);

	if (!r)
		r = kv_uint(&kv, "iobase", 1, 0xffff, &port, e);
	l->cfg.debugcon_port = (uint16_t)port;
	kv_free(&kv);
	free(props);
	if (r)
		err_prefix(e, "-global isa-debugcon");
	return r;
}

/* -fw_cfg: files are read now. */
static int launch_fw_item(struct launch *l, const char *arg, struct vm_fw_item *out, struct err **e)
{
	struct kvlist kv = {0};
	const char *file, *string;
	size_t len;
	char *data;
	int r = kv_parse(&kv, arg, "name", e);

	out->name = launch_own(l, xstrdup(kv_get(&kv, "name")));
	file = kv_get(&kv, "file");
	string = kv_get(&kv, "string");
	if (!r && string) {
		out->data = launch_own(l, xstrdup(string));
		out->len = (uint32_t)strlen(string);
	} else if (!r) {
		r = file_slurp(file, FW_ITEM_MAX, &data, &len, e);
		if (!r) {
			out->data = launch_own(l, data);
			out->len = (uint32_t)len;
		}
	}
	kv_free(&kv);
	return r;
}

static int launch_fw_items(struct launch *l, struct err **e)
{
	const struct cmd_list *f = &l->c->fw_cfgs;

	l->fw_items = xcalloc(f->n + 1, sizeof(*l->fw_items));
	for (size_t i = 0; i < f->n; i++) {
		int r = launch_fw_item(l, f->use[i].arg, &l->fw_items[i], e);

		if (r) {
			cmd_blame(e, &f->use[i]);
			return r;
		}
	}
	l->cfg.fw_items = l->fw_items;
	l->cfg.n_fw_items = f->n;
	return 0;
}

static int launch_smbios(struct launch *l, struct err **e)
{
	const struct cmd_list *s = &l->c->smbios;

	for (size_t i = 0; i < s->n; i++) {
		int r = smbios_opt_add(&l->smbios, s->use[i].arg, true, e);

		if (r) {
			cmd_blame(e, &s->use[i]);
			return r;
		}
	}
	if (l->seed.credential)
		smbios_opt_oem(&l->smbios, l->seed.credential);
	l->cfg.smbios = &l->smbios.fields;
	return 0;
}

/* The host side of devices, and which devices there are. */
static int launch_backs(struct launch *l, struct err **e)
{
	struct net_chardevs chardevs = {.open = launch_chardev, .opaque = l};
	int r = backs_open(&l->backs, l->c, l->loop, l->log, &chardevs, e);

	if (!r)
		r = seed_make(&l->seed, l->c, e);
	if (!r && l->seed.image.len)
		r = backs_add_disk(l->backs, "seed", l->seed.image.p, l->seed.image.len, e);
	if (!r)
		r = parts_make(&l->parts, l->c, l->backs, e);
	if (r)
		return r;
	l->cfg.blocks = backs_blocks(l->backs);
	l->cfg.devices = l->parts.devices;
	l->cfg.n_devices = l->parts.n;
	memcpy(l->cfg.pflash, l->parts.pflash, sizeof(l->cfg.pflash));
	return 0;
}

static int launch_gdb(struct launch *l, struct err **e)
{
	int r;

	if (!l->c->gdb.arg || !strcmp(l->c->gdb.arg, "none"))
		return 0;
	r = launch_gdbserver(l, l->c->gdb.arg, e);
	if (r)
		cmd_blame(e, &l->c->gdb);
	return r;
}

static int launch_pidfile(struct launch *l, struct err **e)
{
	int r;

	if (!l->c->pidfile.arg)
		return 0;
	r = pidfile_create(l->c->pidfile.arg, &l->pidfile, e);
	if (r)
		cmd_blame(e, &l->c->pidfile);
	return r;
}

static int launch_open(struct launch *l, struct err **e)
{
	int r = launch_log(l, e);

	if (!r)
		r = launch_pidfile(l, e);
	if (!r)
		r = launch_chardevs(l, e);
	if (!r)
		r = launch_monitors_open(l, e);
	if (!r)
		r = launch_ports(l, e);
	if (!r)
		r = launch_debugcon_port(l, e);
	if (!r)
		r = launch_backs(l, e);
	if (!r)
		r = launch_fw_items(l, e);
	if (!r)
		r = launch_smbios(l, e);
	if (r)
		return r;
	l->cfg.log = l->log;
	l->cfg.loop = l->loop;
	l->cfg.backends = (struct dev_backends){
		.chardev = chardev_find_end,
		.drive = drive_find,
		.netdev = netdev_find,
		.fsdev = fsdev_find,
		.object = object_of,
		.opaque = l,
	};
	/* Back ends that wait for a client are open now: from here on signals end the machine in
	 * good order, on the loop.  vCPU threads inherit that they do not take them. */
	r = watch_create(&l->watch, l->loop, l->c->prog, e);
	if (!r)
		r = vm_create(&l->vm, &l->cfg, e);
	if (r)
		return r;
	watch_vm(l->watch, l->vm, l->c->timeout_ms);
	r = launch_monitors(l, e);
	if (!r)
		r = launch_gdb(l, e);
	if (!r && l->rundir)
		r = publish_vm(l->rundir, l->c, l->vm, e);
	return r;
}

static void launch_fini(struct launch *l)
{
	monitors_destroy(l->monitors);
	gdbstub_destroy(l->gdb);
	vm_destroy(l->vm);
	watch_destroy(l->watch);
	parts_free(&l->parts);
	backs_close(l->backs);
	for (size_t i = l->n_chardevs; i-- > 0;)
		chardev_close(l->chardevs[i]);
	free(l->chardevs);
	free(l->fw_items);
	smbios_opt_free(&l->smbios);
	seed_free(&l->seed);
	for (size_t i = 0; i < l->n_strings; i++)
		free(l->strings[i]);
	free(l->strings);
	rundir_withdraw(l->rundir);
	if (l->pidfile >= 0)
		pidfile_remove(l->c->pidfile.arg, l->pidfile);
	log_destroy(l->log);
	loop_destroy(l->loop);
}

/* The first line of doppel run: what runs the machine, why, and how to leave. */
static void launch_banner(const struct launch *l)
{
	const struct engine_ops *engine = vm_engine(l->vm, NULL);
	bool console = false;
	char *why;

	for (size_t i = 0; i < l->n_chardevs; i++)
		console |= chardev_is_mux(l->chardevs[i]);
	if (l->c->slower)
		why = xasprintf("slower: %s", l->c->slower);
	else if (l->c->fallback)
		why = xasprintf("not there yet: %s", l->c->fallback);
	else
		why = xstrdup(l->c->accel.opt ? "asked for" : "translator: KVM is not there yet");
	fprintf(stderr, "doppel %s: engine %s (%s)%s\n", DOPPEL_VERSION, engine->name, why,
		console && !l->daemon ? "; Ctrl-a x leaves, Ctrl-a h helps" : "");
	if (l->daemon && l->rundir)
		fprintf(stderr, "%s runs; 'doppel console %s' attaches, 'doppel stop %s' ends it\n",
			rundir_name(l->rundir), rundir_name(l->rundir), rundir_name(l->rundir));
	free(why);
	for (size_t i = 0; i < l->c->volumes.n && !seed_mounts(l->c); i++)
		fprintf(stderr, "in the guest: mount -t 9p -o %s %s %s\n", SEED_MOUNT_OPTIONS,
			l->c->volumes.use[i].arg, l->c->volumes.use[i].arg);
}

int launch(const struct cmdline *c, int *status, struct err **e)
{
	struct launch l = {.c = c, .cfg = c->cfg, .pidfile = -1};
	int r = c->detach ? daemon_begin(&l.daemon, status, e) : 0;

	if (r)
		return r < 0 ? r : 0;
	l.loop = loop_create();
	r = launch_open(&l, e);
	if (r) {
		daemon_failed(l.daemon);
	} else {
		if (c->friendly)
			launch_banner(&l);
		daemon_ready(l.daemon);
		*status = vm_run(l.vm);
	}
	launch_fini(&l);
	return r;
}
