/* SPDX-License-Identifier: Apache-2.0 */
/* Options about what to boot, where bytes go, how to run. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "back/char/chardev.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/log.h"
#include "main/cmdline.h"

/* A file that is to be read: say so now, by the option's name, when that cannot be. */
static int readable(const char *path, struct err **e)
{
	if (access(path, R_OK))
		return err_set(e, errno, "%s", strerror(errno));
	return 0;
}

int opt_kernel(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->kernel = *use;
	c->cfg.kernel = use->arg;
	return readable(use->arg, e);
}

int opt_initrd(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->initrd = *use;
	c->cfg.initrd = use->arg;
	return readable(use->arg, e);
}

int opt_append(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->append = *use;
	c->cfg.append = use->arg;
	return 0;
}

int opt_bios(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->bios = *use; /* looked for when all -L are known */
	return 0;
}

int opt_data_dir(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	cmd_list_add(&c->data_dirs, *use);
	return 0;
}

int opt_nographic(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->nographic = true;
	return 0;
}

int opt_display(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (strcmp(use->arg, "none"))
		return err_set(e, EINVAL, "there are no displays: only 'none'");
	return 0;
}

int opt_none(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (strcmp(use->arg, "none"))
		return err_set(e, EINVAL, "there is none yet: only 'none'");
	return 0;
}

int opt_not_yet(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return err_set(e, ENOTSUP, "saving, loading and migrating a machine is not there yet");
}

int opt_serial(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (c->serials.n == 4)
		return err_set(e, EINVAL, "there are only 4 serial ports");
	cmd_list_add(&c->serials, *use);
	return 0;
}

int opt_chardev(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (!strcmp(use->arg, "help") || !strcmp(use->arg, "?")) {
		chardev_kinds_help();
		return CMD_DONE;
	}
	cmd_list_add(&c->chardevs, *use);
	return 0;
}

int opt_debugcon(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->debugcon = *use;
	return 0;
}

int opt_nodefaults(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->nodefaults = true;
	return 0;
}

int opt_no_user_config(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return 0;
}

int opt_no_reboot(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->cfg.no_reboot = true;
	return 0;
}

int opt_no_shutdown(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->cfg.no_shutdown = true;
	return 0;
}

int opt_paused(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->cfg.start_paused = true;
	return 0;
}

int opt_gdb(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->gdb = *use;
	return 0;
}

int opt_gdb_default(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->gdb = (struct cmd_use){.opt = use->opt, .arg = "tcp:127.0.0.1:1234"};
	return 0;
}

int opt_log(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (!strcmp(use->arg, "help")) {
		log_help();
		return CMD_DONE;
	}
	c->log = *use;
	return 0;
}

int opt_log_file(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->log_file = *use;
	return 0;
}

int opt_pidfile(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->pidfile = *use;
	return 0;
}

int opt_name(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist l = {0};
	const char *v;
	bool named = true;
	int r = kv_parse(&l, use->arg, "guest", e);

	v = kv_get(&l, "guest");
	if (!r && v)
		c->cfg.name = cmdline_own(c, xstrdup(v));
	if (!r)
		r = kv_bool(&l, "debug-threads", &named, e);
	if (!r && !named)
		r = err_set(e, EINVAL, "threads are always named");
	v = kv_get(&l, "process");
	if (!r)
		r = kv_finish(&l, e);
	if (!r && v)
		prctl(PR_SET_NAME, v, 0, 0, 0);
	kv_free(&l);
	return r;
}

int opt_rtc(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist l = {0};
	const char *base, *clock, *drift;
	int r = kv_parse(&l, use->arg, NULL, e);

	base = kv_get(&l, "base");
	clock = kv_get(&l, "clock");
	drift = kv_get(&l, "driftfix");
	if (!r && base && strcmp(base, "utc"))
		r = err_set(e, EINVAL, "'base' can only be 'utc'");
	if (!r && clock && strcmp(clock, "host"))
		r = err_set(e, EINVAL, "'clock' can only be 'host'");
	if (!r && drift && strcmp(drift, "none"))
		r = err_set(e, EINVAL, "'driftfix' can only be 'none'");
	if (!r)
		r = kv_finish(&l, e);
	kv_free(&l);
	return r;
}

int opt_timeout(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	static const struct {
		const char *suffix;
		unsigned ms;
	} units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000},
	};
	char *end;
	double n = strtod(use->arg, &end);

	for (size_t i = 0; end != use->arg && i < ARRAY_SIZE(units); i++) {
		if (strcmp(end, units[i].suffix) ||
		    !(n * units[i].ms >= 1 && n * units[i].ms < 1e12))
			continue;
		c->timeout = *use;
		c->timeout_ms = (uint64_t)(n * units[i].ms);
		return 0;
	}
	return err_set(e, EINVAL, "not a time such as 60s, 5m or 1h");
}
