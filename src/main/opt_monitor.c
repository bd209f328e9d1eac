/* SPDX-License-Identifier: Apache-2.0 */
/* Options about how a machine is watched and controlled. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "main/cmdline.h"
#include "main/smbios_opt.h"

int opt_monitor(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	cmd_list_add(&c->monitors, *use);
	return 0;
}

int opt_mon(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return opt_monitor(c, use, e);
}

int opt_daemonize(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->detach = true;
	return 0;
}

/* A word that is one of two; *second says which. */
static int one_of(struct kvlist *l, const char *key, const char *first, const char *other,
		  bool *second, struct err **e)
{
	const char *word = kv_get(l, key);

	if (!word)
		return 0;
	*second = !strcmp(word, other);
	if (!*second && strcmp(word, first))
		return err_set(e, EINVAL, "'%s' is %s or %s, not '%s'", key, first, other, word);
	return 0;
}

int opt_action(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist l = {0};
	int r = kv_parse(&l, use->arg, NULL, e);

	if (!r)
		r = one_of(&l, "reboot", "reset", "shutdown", &c->cfg.no_reboot, e);
	if (!r)
		r = one_of(&l, "shutdown", "poweroff", "pause", &c->cfg.no_shutdown, e);
	if (!r && (kv_get(&l, "panic") || kv_get(&l, "watchdog")))
		r = err_set(e, EINVAL, "there is no panic device and no watchdog yet");
	if (!r)
		r = kv_finish(&l, e);
	kv_free(&l);
	return r;
}

/* RFC 4122 3: 8-4-4-4-12 hexadecimal digits. */
int opt_uuid(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return parse_uuid(use->arg, c->cfg.uuid) ? 0 : err_set(e, EINVAL, "not a UUID");
}
