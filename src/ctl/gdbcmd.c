/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that act: registers, memory, breakpoints, running.  One function each, found by the first
 * letter. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "ctl/gdbreg.h"
#include "ctl/gdbstub_int.h"

static void gdb_ok(struct gdbstub *g, bool ok)
{
	if (ok)
		gdb_reply(g, "OK");
	else
		gdb_error(g, EINVAL);
}

bool gdb_thread(const struct gdbstub *g, const char **s, int *cpu)
{
	uint64_t n;

	*cpu = -1;
	if (!strncmp(*s, "-1", 2)) {
		*s += 2;
		return true;
	}
	if (!rsp_number(s, &n) || n > vm_cpus(g->vm))
		return false;
	if (n)
		*cpu = (int)n - 1;
	return true;
}

static struct x86_state *state_get(struct gdbstub *g)
{
	struct x86_state *s = xzalloc_aligned(64, sizeof(*s));

	g->engine->get(g->ev, g->cpu, s);
	return s;
}

static void cmd_get_all(struct gdbstub *g, char *args, size_t len)
{
	struct x86_state *s = state_get(g);
	struct rsp_text t = {0};
	uint8_t v[GDBREG_MAX_BYTES];

	for (unsigned n = 0; gdbreg_size(n); n++) {
		gdbreg_get(s, n, v);
		rsp_hex(&t, v, gdbreg_size(n));
	}
	rsp_send(&g->rsp, t.s, t.len);
	rsp_text_free(&t);
	free(s);
}

/* Fewer registers than there are: the rest stays. */
static void cmd_set_all(struct gdbstub *g, char *args, size_t len)
{
	struct x86_state *s = state_get(g);
	uint8_t v[GDBREG_MAX_BYTES];
	bool ok = true;

	for (unsigned n = 0; ok && *args && gdbreg_size(n); n++) {
		ok = rsp_unhex(args, v, gdbreg_size(n));
		if (ok) {
			gdbreg_set(s, n, v);
			args += 2 * gdbreg_size(n);
		}
	}
	ok = ok && !*args;
	if (ok)
		g->engine->set(g->ev, g->cpu, s);
	gdb_ok(g, ok);
	free(s);
}

static void cmd_get_one(struct gdbstub *g, char *args, size_t len)
{
	const char *p = args;
	uint64_t n;
	uint8_t v[GDBREG_MAX_BYTES];
	struct rsp_text t = {0};
	struct x86_state *s;

	if (!rsp_number(&p, &n) || *p || n >= gdbreg_count()) {
		gdb_error(g, EINVAL);
		return;
	}
	s = state_get(g);
	gdbreg_get(s, (unsigned)n, v);
	rsp_hex(&t, v, gdbreg_size((unsigned)n));
	rsp_send(&g->rsp, t.s, t.len);
	rsp_text_free(&t);
	free(s);
}

static void cmd_set_one(struct gdbstub *g, char *args, size_t len)
{
	const char *p = args;
	uint64_t n;
	uint8_t v[GDBREG_MAX_BYTES];
	struct x86_state *s;
	bool ok;

	if (!rsp_number(&p, &n) || *p++ != '=' || n >= gdbreg_count() ||
	    !rsp_unhex(p, v, gdbreg_size((unsigned)n))) {
		gdb_error(g, EINVAL);
		return;
	}
	s = state_get(g);
	ok = gdbreg_set(s, (unsigned)n, v);
	if (ok)
		g->engine->set(g->ev, g->cpu, s);
	gdb_ok(g, ok);
	free(s);
}

/* "ADDR,LEN" and what follows; false when malformed. */
static bool addr_len(const char **p, uint64_t *addr, uint64_t *len)
{
	return rsp_number(p, addr) && *(*p)++ == ',' && rsp_number(p, len);
}

static void cmd_read(struct gdbstub *g, char *args, size_t arglen)
{
	const char *p = args;
	uint64_t addr, len;
	uint8_t *buf;
	size_t n;
	struct rsp_text t = {0};

	if (!addr_len(&p, &addr, &len) || *p) {
		gdb_error(g, EINVAL);
		return;
	}
	len = min_u64(len, RSP_MAX / 2);
	buf = xzalloc(len + 1);
	n = gdb_mem_read(g, addr, buf, len);
	if (n || !len) {
		rsp_hex(&t, buf, n);
		rsp_send(&g->rsp, t.s ? t.s : "", t.len);
	} else {
		gdb_error(g, EFAULT);
	}
	rsp_text_free(&t);
	free(buf);
}

static void write_reply(struct gdbstub *g, uint64_t addr, const uint8_t *buf, size_t len)
{
	if (gdb_mem_write(g, addr, buf, len) == len)
		gdb_reply(g, "OK");
	else
		gdb_error(g, EFAULT);
}

static void cmd_write_hex(struct gdbstub *g, char *args, size_t arglen)
{
	const char *p = args;
	uint64_t addr, len;
	uint8_t *buf;

	if (!addr_len(&p, &addr, &len) || *p++ != ':' || len > RSP_MAX / 2) {
		gdb_error(g, EINVAL);
		return;
	}
	buf = xzalloc(len + 1);
	if (rsp_unhex(p, buf, len))
		write_reply(g, addr, buf, len);
	else
		gdb_error(g, EINVAL);
	free(buf);
}

static void cmd_write_binary(struct gdbstub *g, char *args, size_t arglen)
{
	const char *p = args;
	uint64_t addr, len;

	if (!addr_len(&p, &addr, &len) || *p++ != ':' || len != arglen - (size_t)(p - args)) {
		gdb_error(g, EINVAL);
		return;
	}
	write_reply(g, addr, (const uint8_t *)p, len);
}

static void bp_reply(struct gdbstub *g, char *args,
		     int (*fn)(struct gdbstub *g, unsigned type, uint64_t addr, uint64_t len))
{
	const char *p = args;
	uint64_t type, addr, len;
	int r;

	if (!rsp_number(&p, &type) || *p++ != ',' || !addr_len(&p, &addr, &len)) {
		gdb_error(g, EINVAL);
		return;
	}
	if (type > 4) {
		gdb_reply(g, ""); /* no such kind here */
		return;
	}
	r = fn(g, (unsigned)type, addr, len);
	if (r)
		gdb_error(g, -r);
	else
		gdb_reply(g, "OK");
}

static void cmd_bp_set(struct gdbstub *g, char *args, size_t len)
{
	bp_reply(g, args, gdb_bp_set);
}

static void cmd_bp_clear(struct gdbstub *g, char *args, size_t len)
{
	bp_reply(g, args, gdb_bp_clear);
}

static void cmd_select(struct gdbstub *g, char *args, size_t len)
{
	const char *p = args + 1;
	int cpu;

	if ((args[0] != 'g' && args[0] != 'c') || !gdb_thread(g, &p, &cpu) || *p) {
		gdb_error(g, EINVAL);
		return;
	}
	if (args[0] == 'g')
		g->cpu = cpu < 0 ? g->stop_cpu : (unsigned)cpu;
	else
		g->step_cpu = cpu < 0 ? g->stop_cpu : (unsigned)cpu;
	gdb_reply(g, "OK");
}

static void cmd_alive(struct gdbstub *g, char *args, size_t len)
{
	const char *p = args;
	int cpu;

	gdb_ok(g, gdb_thread(g, &p, &cpu) && !*p && cpu >= 0);
}

/* "c ADDR", "s ADDR": go on elsewhere. */
static bool resume_at(struct gdbstub *g, const char *args)
{
	struct x86_state *s;
	uint64_t addr;

	if (!*args)
		return true;
	if (!rsp_number(&args, &addr) || *args)
		return false;
	s = xzalloc_aligned(64, sizeof(*s));
	g->engine->get(g->ev, g->step_cpu, s);
	s->rip = addr;
	g->engine->set(g->ev, g->step_cpu, s);
	free(s);
	return true;
}

static void cmd_continue(struct gdbstub *g, char *args, size_t len)
{
	if (resume_at(g, args))
		gdb_resume(g, -1, -1);
	else
		gdb_error(g, EINVAL);
}

static void cmd_step(struct gdbstub *g, char *args, size_t len)
{
	if (resume_at(g, args))
		gdb_resume(g, (int)g->step_cpu, (int)g->step_cpu);
	else
		gdb_error(g, EINVAL);
}

/* "C SIG;ADDR", "S SIG;ADDR": a machine gets no signals. */
static char *skip_signal(char *args)
{
	args += strcspn(args, ";");
	return *args ? args + 1 : args;
}

static void cmd_continue_signal(struct gdbstub *g, char *args, size_t len)
{
	cmd_continue(g, skip_signal(args), 0);
}

static void cmd_step_signal(struct gdbstub *g, char *args, size_t len)
{
	cmd_step(g, skip_signal(args), 0);
}

/* What vCont asks of the CPUs, folded into what gdb_resume does. */
struct resume {
	unsigned n_run; /* CPUs with an action */
	int first, step; /* the first of them; the first that steps; -1 */
};

/* ";ACTION[:THREAD]..." into one letter per CPU; the leftmost that names a CPU counts. */
static bool vcont_parse(struct gdbstub *g, const char *p, char *action)
{
	while (*p) {
		uint64_t sig;
		int cpu = -1;
		char what;

		if (*p++ != ';' || !strchr("cCsS", *p) || !*p)
			return false;
		what = *p++ | 0x20;
		if ((p[-1] == 'C' || p[-1] == 'S') && !rsp_number(&p, &sig))
			return false;
		if (*p == ':') {
			p++;
			if (!gdb_thread(g, &p, &cpu))
				return false;
		}
		for (unsigned i = 0; i < vm_cpus(g->vm); i++)
			if (!action[i] && (cpu < 0 || (unsigned)cpu == i))
				action[i] = what;
	}
	return true;
}

static void vcont(struct gdbstub *g, const char *args)
{
	struct resume r = {.first = -1, .step = -1};
	unsigned n = vm_cpus(g->vm);
	char *action = xzalloc(n);
	bool ok = vcont_parse(g, args, action);

	for (unsigned i = 0; i < n; i++) {
		if (!action[i])
			continue;
		r.n_run++;
		if (r.first < 0)
			r.first = (int)i;
		if (action[i] == 's' && r.step < 0)
			r.step = (int)i;
	}
	free(action);
	/* CPUs that gdb wants stopped stay stopped.  When it names some of many, one of them runs:
	 * nobody can tell that the others got no time before the next stop. */
	if (!ok || !r.n_run)
		gdb_error(g, EINVAL);
	else if (r.n_run == n && n > 1)
		gdb_resume(g, -1, r.step);
	else
		gdb_resume(g, r.step >= 0 ? r.step : r.first, r.step);
}

static void cmd_v(struct gdbstub *g, char *args, size_t len)
{
	if (!strcmp(args, "Cont?")) {
		gdb_reply(g, "vCont;c;C;s;S");
	} else if (!strncmp(args, "Cont;", 5)) {
		vcont(g, args + 4);
	} else if (!strncmp(args, "Kill", 4)) {
		gdb_reply(g, "OK");
		vm_quit(g->vm, 0);
	} else {
		gdb_reply(g, "");
	}
}

static void cmd_stop_reason(struct gdbstub *g, char *args, size_t len)
{
	gdb_send_stop(g);
}

static void cmd_detach(struct gdbstub *g, char *args, size_t len)
{
	gdb_reply(g, "OK");
	gdb_leave(g, true);
}

static void cmd_kill(struct gdbstub *g, char *args, size_t len)
{
	vm_quit(g->vm, 0);
}

static void cmd_query(struct gdbstub *g, char *args, size_t len)
{
	gdb_query(g, args - 1);
}

static const struct {
	char letter;
	void (*fn)(struct gdbstub *g, char *args, size_t len);
} commands[] = {
	{'?', cmd_stop_reason},
	{'g', cmd_get_all},
	{'G', cmd_set_all},
	{'p', cmd_get_one},
	{'P', cmd_set_one},
	{'m', cmd_read},
	{'M', cmd_write_hex},
	{'X', cmd_write_binary},
	{'Z', cmd_bp_set},
	{'z', cmd_bp_clear},
	{'H', cmd_select},
	{'T', cmd_alive},
	{'c', cmd_continue},
	{'s', cmd_step},
	{'C', cmd_continue_signal},
	{'S', cmd_step_signal},
	{'v', cmd_v},
	{'D', cmd_detach},
	{'k', cmd_kill},
	{'q', cmd_query},
	{'Q', cmd_query},
};

void gdb_command(struct gdbstub *g, char *buf, size_t len)
{
	for (size_t i = 0; len && i < ARRAY_SIZE(commands); i++) {
		if (commands[i].letter == buf[0]) {
			commands[i].fn(g, buf + 1, len - 1);
			return;
		}
	}
	gdb_reply(g, ""); /* "not supported", and that is how gdb finds out */
}
