/* SPDX-License-Identifier: Apache-2.0 */
#include "main/publish.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"

int publish_claim(struct rundir **out, const struct cmdline *c, struct err **e)
{
	struct err *why = NULL;
	int r = rundir_claim(out, c->cfg.name, &why);

	if (!r)
		return 0;
	*out = NULL;
	if (r == -EBUSY || c->detach)
		err_set(e, -r, "%s%s", c->cfg.name ? "--name: " : "", err_msg(why));
	else
		r = 0; /* no place for it: the machine runs all the same, on this terminal */
	err_free(&why);
	return r;
}

/* A server's socket; a comma in its path is written twice. */
char *publish_socket(const char *before, const char *path)
{
	char *s = xasprintf("%sunix:", before), *p;
	size_t len = strlen(s);

	s = xrealloc(s, len + 2 * strlen(path) + 32);
	p = s + len;
	for (; *path; path++) {
		if (*path == ',')
			*p++ = ',';
		*p++ = *path;
	}
	strcpy(p, ",server=on,wait=off");
	return s;
}

char *publish_spec(const struct rundir *r, const struct cmdline *c, const char *spec)
{
	if (!r || !c->detach || (strcmp(spec, "mon:stdio") && strcmp(spec, "stdio")))
		return NULL;
	return publish_socket("mon:", rundir_console(r));
}

int publish_monitor(struct rundir *r, struct monitors *m, const struct monitors_host *host,
		    struct err **e)
{
	const struct cmd_use use = {.opt = "--name", .arg = rundir_name(r)};
	char *spec = publish_socket("", rundir_qmp(r));
	struct chardev *end;
	int rc = host->open(host->opaque, &use, spec, "doppel-qmp", &end, e);

	free(spec);
	if (!rc)
		monitors_add(m, end, true);
	return rc;
}

int publish_vm(struct rundir *r, const struct cmdline *c, struct vm *vm, struct err **e)
{
	struct rundir_info info = {
		.engine = vm_engine(vm, NULL)->name,
		.machine = vm_machine(vm),
		.memory = vm_ram_size(vm),
		.cpus = vm_cpus(vm),
	};

	for (size_t i = 0; i < c->serials.n && c->detach; i++)
		info.console |= !strcmp(c->serials.use[i].arg, "mon:stdio") ||
				!strcmp(c->serials.use[i].arg, "stdio");
	return rundir_publish(r, &info, e);
}
