/* SPDX-License-Identifier: Apache-2.0 */
/* gdb's "monitor": a few commands, under the names that QEMU's monitor gives them. */
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "ctl/gdbstub_int.h"

static void mon_print(struct gdbstub *g, const char *text)
{
	struct rsp_text t = {0};

	rsp_put(&t, "O", 1);
	rsp_hex(&t, text, strlen(text));
	rsp_send(&g->rsp, t.s, t.len);
	rsp_text_free(&t);
}

static void mon_line(void *opaque, const char *line)
{
	char *s = xasprintf("%s\n", line);

	mon_print(opaque, s);
	free(s);
}

static void mon_registers(struct gdbstub *g)
{
	g->engine->report(g->ev, g->cpu, mon_line, g);
}

static void mon_cpus(struct gdbstub *g)
{
	for (unsigned i = 0; i < vm_cpus(g->vm); i++) {
		struct x86_state *s = xzalloc_aligned(64, sizeof(*s));
		char *line;

		g->engine->get(g->ev, i, s);
		line = xasprintf("%c CPU %u: cs %04x rip %016llx%s\n", i == g->cpu ? '*' : ' ', i,
				 s->seg[X86_CS].sel, (unsigned long long)s->rip,
				 s->mp_state == X86_MP_HALTED	  ? " (halted)"
				 : s->mp_state != X86_MP_RUNNABLE ? " (not started)"
								  : "");
		mon_print(g, line);
		free(line);
		free(s);
	}
}

static void mon_reset(struct gdbstub *g)
{
	vm_reset(g->vm);
}

static void mon_powerdown(struct gdbstub *g)
{
	vm_powerdown(g->vm);
}

static void mon_quit(struct gdbstub *g)
{
	vm_quit(g->vm, 0);
}

static void mon_help(struct gdbstub *g);

static const struct {
	const char *name, *help;
	void (*fn)(struct gdbstub *g);
} commands[] = {
	{"help", "this list", mon_help},
	{"info registers", "all registers of the selected CPU", mon_registers},
	{"info cpus", "the CPUs", mon_cpus},
	{"system_reset", "reset the machine", mon_reset},
	{"system_powerdown", "press the power button", mon_powerdown},
	{"quit", "switch the machine off", mon_quit},
};

static void mon_help(struct gdbstub *g)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		char *line = xasprintf("%-18s %s\n", commands[i].name, commands[i].help);

		mon_print(g, line);
		free(line);
	}
}

void gdb_monitor(struct gdbstub *g, const char *cmd)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(cmd, commands[i].name))
			continue;
		commands[i].fn(g);
		gdb_reply(g, "OK");
		return;
	}
	mon_print(g, "There is no such command; try 'monitor help'.\n");
	gdb_reply(g, "OK");
}
