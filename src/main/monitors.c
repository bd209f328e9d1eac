/* SPDX-License-Identifier: Apache-2.0 */
#include "main/monitors.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/char/chardev.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"

struct monitor {
	struct chardev *end;
	struct cmd_use use; /* for messages */
	bool control, pretty;
};

struct monitors {
	struct monitor *mon;
	size_t n;
	struct ctl *ctl;
};

static struct monitor *monitors_new(struct monitors *m, struct chardev *end)
{
	m->mon = xrealloc(m->mon, (m->n + 1) * sizeof(*m->mon));
	m->mon[m->n] = (struct monitor){.end = end, .use = {.opt = "monitor"}};
	return &m->mon[m->n++];
}

void monitors_add(struct monitors *m, struct chardev *end, bool control)
{
	monitors_new(m, end)->control = control;
}

/* -mon [chardev=]ID,mode=,pretty= */
static int mon_parse(const struct cmd_use *use, char **spec, bool *control, bool *pretty,
		     struct err **e)
{
	struct kvlist l = {0};
	const char *id, *mode;
	int r = kv_parse(&l, use->arg, "chardev", e);

	id = kv_get(&l, "chardev");
	mode = kv_get(&l, "mode");
	if (!r)
		r = kv_bool(&l, "pretty", pretty, e);
	if (!r)
		r = kv_finish(&l, e);
	if (!r && !id)
		r = err_set(e, EINVAL, "'chardev' is missing");
	if (!r && mode && strcmp(mode, "readline") && strcmp(mode, "control"))
		r = err_set(e, EINVAL, "'mode' is readline or control, not '%s'", mode);
	*control = mode && !strcmp(mode, "control");
	if (!r && *pretty && !*control)
		r = err_set(e, EINVAL, "'pretty' needs mode=control");
	if (!r)
		*spec = xasprintf("chardev:%s", id);
	kv_free(&l);
	return r;
}

static int monitor_open(struct monitors *m, const struct cmd_use *use, unsigned n,
			const struct monitors_host *host, struct err **e)
{
	const char *opt = use->opt + strspn(use->opt, "-");
	bool mon = !strcmp(opt, "mon"), control = !strncmp(opt, "qmp", 3);
	bool pretty = !strcmp(opt, "qmp-pretty");
	struct chardev *end = NULL;
	char *spec = NULL, *id;
	struct monitor *new;
	int r = 0;

	if (mon)
		r = mon_parse(use, &spec, &control, &pretty, e);
	if (r) {
		cmd_blame(e, use);
		return r;
	}
	id = xasprintf("compat_monitor%u", n);
	r = host->open(host->opaque, use, spec ? spec : use->arg, id, &end, e);
	free(id);
	free(spec);
	if (r || !end)
		return r;
	new = monitors_new(m, end);
	new->use = *use;
	new->control = control;
	new->pretty = pretty;
	return 0;
}

int monitors_open(struct monitors **out, const struct cmdline *c, const struct monitors_host *host,
		  struct err **e)
{
	struct monitors *m = *out = xzalloc(sizeof(*m));

	for (size_t i = 0; i < c->monitors.n; i++) {
		int r = monitor_open(m, &c->monitors.use[i], (unsigned)i, host, e);

		if (r)
			return r;
	}
	return 0;
}

int monitors_start(struct monitors *m, const struct ctl_config *cfg, struct err **e)
{
	ctl_create(&m->ctl, cfg);
	for (size_t i = 0; i < m->n; i++) {
		struct monitor *mon = &m->mon[i];
		int r = mon->control ? ctl_add_qmp(m->ctl, mon->end, mon->pretty, e)
				     : ctl_add_hmp(m->ctl, mon->end, e);

		if (r) {
			cmd_blame(e, &mon->use);
			return r;
		}
	}
	return 0;
}

void monitors_destroy(struct monitors *m)
{
	if (!m)
		return;
	ctl_destroy(m->ctl);
	free(m->mon);
	free(m);
}
