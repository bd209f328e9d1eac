/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The stub is the front end of a socket chardev and a client of vm.h, and lives on the loop thread.
 * The machine is paused while gdb looks at it: gdb_enter pauses, "c" and "s" resume, a stop
 * (vm_debug_hook, or the interrupt byte) pauses again and sends one stop reply.  So at any time
 * either the machine is stopped and gdb talks, or it runs (g->running) and gdb waits.
 *
 * A thread is a vCPU: thread n is CPU n-1.  Break and watchpoints are linear addresses, one set for
 * all CPUs, kept here and given to the engine before every resume; memory is never patched.
 *
 * A single step runs without interrupts, as gdb's users expect: the CPU gets the shadow of an STI,
 * which lasts for one instruction (SDM 3A 6.8.1).
 *
 * The description is always that of x86-64, whatever mode a CPU is in, since gdb cannot change it
 * during a session.  In real and 16-bit mode $pc is IP or EIP, while memory and breakpoints are
 * linear: add cs_base.
 *
 * A debugger that goes away without detaching leaves the machine as it found it, running or
 * stopped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/char/chardev.h"
#include "base/base.h"
#include "base/err.h"
#include "ctl/gdbreg.h"
#include "ctl/gdbstub_int.h"

/* Write what waits; more packets are taken when all of it is gone. */
static void gdb_flush(void *opaque)
{
	struct gdbstub *g = opaque;
	size_t n;

	if (!g->out.len)
		return;
	n = chardev_write(g->cd, (const uint8_t *)g->out.s, g->out.len);
	memmove(g->out.s, g->out.s + n, g->out.len - n);
	g->out.len -= n;
	if (!g->out.len)
		chardev_accept_input(g->cd);
}

static void gdb_out(void *opaque, const uint8_t *buf, size_t len)
{
	struct gdbstub *g = opaque;

	rsp_put(&g->out, buf, len);
	gdb_flush(g);
}

void gdb_reply(struct gdbstub *g, const char *text)
{
	rsp_send(&g->rsp, text, strlen(text));
}

void gdb_error(struct gdbstub *g, int errnum)
{
	struct rsp_text t = {0};

	rsp_printf(&t, "E%02x", errnum & 0xff);
	gdb_reply(g, t.s);
	rsp_text_free(&t);
}

static void gdb_stopped(void *opaque, enum vm_stop why, unsigned cpu);

static void gdb_expedite(struct gdbstub *g, struct rsp_text *t)
{
	static const uint8_t regs[] = {6, 7,
				       16}; /* rbp, rsp, rip: what every backtrace starts with */
	struct x86_state *s = xzalloc_aligned(64, sizeof(*s));
	uint8_t v[GDBREG_MAX_BYTES];

	g->engine->get(g->ev, g->stop_cpu, s);
	for (size_t i = 0; i < sizeof(regs); i++) {
		gdbreg_get(s, regs[i], v);
		rsp_printf(t, "%02x:", regs[i]);
		rsp_hex(t, v, gdbreg_size(regs[i]));
		rsp_printf(t, ";");
	}
	free(s);
}

void gdb_send_stop(struct gdbstub *g)
{
	struct rsp_text t = {0};

	rsp_printf(&t, "T%02xthread:%x;", g->stop_signal, g->stop_cpu + 1);
	if (g->stop_reason.len)
		rsp_put(&t, g->stop_reason.s, g->stop_reason.len);
	gdb_expedite(g, &t);
	gdb_reply(g, t.s);
	rsp_text_free(&t);
}

/* Give the engine the breakpoints; all CPUs are stopped. */
static void gdb_arm(struct gdbstub *g, int step)
{
	struct engine_bp bp[GDB_MAX_BP];

	for (unsigned i = 0; i < g->n_bp; i++)
		bp[i] = g->bp[i].bp;
	for (unsigned cpu = 0; cpu < vm_cpus(g->vm); cpu++) {
		struct engine_debug d = {.bp = bp, .n_bp = g->n_bp, .step = (int)cpu == step};

		g->engine->debug(g->ev, cpu, &d);
	}
}

/* Hold interrupts off for the instruction that is to be stepped.  A halted CPU has none: an interrupt
 * must wake it. */
static void gdb_shadow(struct gdbstub *g, unsigned cpu)
{
	struct x86_state *s = xzalloc_aligned(64, sizeof(*s));

	g->engine->get(g->ev, cpu, s);
	if (s->rflags & RFLAGS_IF && s->mp_state == X86_MP_RUNNABLE) {
		s->sti_shadow = true;
		g->engine->set(g->ev, cpu, s);
	}
	free(s);
}

void gdb_resume(struct gdbstub *g, int only, int step)
{
	if (step >= 0)
		gdb_shadow(g, (unsigned)step);
	gdb_arm(g, step);
	g->running = true;
	g->was_running = true;
	if (only >= 0)
		vm_run_one(g->vm, (unsigned)only);
	else
		vm_resume(g->vm);
	if (!vm_running(g->vm)) /* it is dead: only a reset helps */
		gdb_stopped(g, VM_STOP_DEAD, g->stop_cpu);
}

int gdb_bp_set(struct gdbstub *g, unsigned type, uint64_t addr, uint64_t len)
{
	static const enum engine_bp_kind kinds[] = {
		ENGINE_BP_EXEC, ENGINE_BP_EXEC, ENGINE_BP_WRITE, ENGINE_BP_READ, ENGINE_BP_ACCESS,
	};
	bool exec = type <= 1;

	if (type >= ARRAY_SIZE(kinds) || (!exec && (len < 1 || len > 4096)))
		return -EINVAL;
	gdb_bp_clear(g, type, addr, len); /* a second insertion counts once */
	if (g->n_bp == GDB_MAX_BP)
		return -ENOSPC;
	g->bp[g->n_bp++] = (struct gdb_bp){
		.bp = {.addr = addr, .len = exec ? 1 : (uint32_t)len, .kind = kinds[type]},
		.type = (uint8_t)type,
	};
	return 0;
}

int gdb_bp_clear(struct gdbstub *g, unsigned type, uint64_t addr, uint64_t len)
{
	if (type > 4)
		return -EINVAL;
	for (unsigned i = 0; i < g->n_bp; i++) {
		struct gdb_bp *b = &g->bp[i];

		if (b->type != type || b->bp.addr != addr || (type > 1 && b->bp.len != len))
			continue;
		*b = g->bp[--g->n_bp];
		return 0;
	}
	return -ENOENT;
}

/* The reason of a DEBUG stop, in the words of the stop reply. */
static void gdb_stop_reason(struct gdbstub *g)
{
	static const char *const watch[] = {"", "watch", "rwatch", "awatch"};
	struct engine_debug_hit hit = {0};
	struct x86_state *s;
	uint64_t pc;

	g->engine->debug_hit(g->ev, g->stop_cpu, &hit);
	if (hit.watch && hit.kind != ENGINE_BP_EXEC) {
		rsp_printf(&g->stop_reason, "%s:%llx;", watch[hit.kind],
			   (unsigned long long)hit.addr);
		return;
	}
	s = xzalloc_aligned(64, sizeof(*s));
	g->engine->get(g->ev, g->stop_cpu, s);
	pc = s->rip + s->seg[X86_CS].base;
	free(s);
	for (unsigned i = 0; i < g->n_bp && !hit.step; i++) {
		const struct gdb_bp *b = &g->bp[i];

		if (b->bp.kind != ENGINE_BP_EXEC || b->bp.addr != pc)
			continue;
		if (b->type == 0 ? g->swbreak : g->hwbreak)
			rsp_printf(&g->stop_reason, b->type == 0 ? "swbreak:;" : "hwbreak:;");
		return;
	}
}

/* Text on gdb's console; only while it waits for a stop reply. */
static void gdb_tell(struct gdbstub *g, const char *text)
{
	struct rsp_text t = {0};

	rsp_put(&t, "O", 1);
	rsp_hex(&t, text, strlen(text));
	rsp_send(&g->rsp, t.s, t.len);
	rsp_text_free(&t);
}

static void gdb_stopped(void *opaque, enum vm_stop why, unsigned cpu)
{
	struct gdbstub *g = opaque;

	if (!g->running)
		return;
	g->running = false;
	if (why == VM_STOP_EXIT) {
		gdb_reply(g, "W00");
		return;
	}
	if (why != VM_STOP_PAUSED)
		g->stop_cpu = g->cpu = g->step_cpu = cpu;
	g->stop_reason.len = 0;
	g->stop_signal = why == VM_STOP_DEBUG  ? GDB_SIGTRAP
			 : why == VM_STOP_DEAD ? GDB_SIGABRT
					       : GDB_SIGINT;
	if (why == VM_STOP_DEBUG)
		gdb_stop_reason(g);
	else if (why == VM_STOP_DEAD)
		gdb_tell(g, "The machine has shut down; 'monitor system_reset' starts it again.\n");
	gdb_send_stop(g);
}

static void gdb_enter(struct gdbstub *g)
{
	struct vm_debug_hook hook = {.stopped = gdb_stopped, .opaque = g};

	g->was_running = vm_running(g->vm);
	vm_pause(g->vm);
	vm_set_debug_hook(g->vm, &hook);
	g->attached = true;
	g->running = false;
	g->swbreak = g->hwbreak = false;
	g->cpu = g->step_cpu = g->stop_cpu = 0;
	g->stop_signal = GDB_SIGTRAP;
	g->stop_reason.len = 0;
}

void gdb_leave(struct gdbstub *g, bool resume)
{
	if (!g->attached)
		return;
	g->attached = false;
	g->running = false;
	vm_set_debug_hook(g->vm, NULL);
	vm_pause(g->vm);
	g->n_bp = 0;
	gdb_arm(g, -1);
	if (resume)
		vm_resume(g->vm);
}

static void gdb_interrupt(void *opaque)
{
	struct gdbstub *g = opaque;

	if (!g->running)
		return;
	vm_pause(g->vm);
	gdb_stopped(g, VM_STOP_PAUSED, g->stop_cpu); /* nothing when the hook was told */
}

static void gdb_packet(void *opaque, char *buf, size_t len)
{
	struct gdbstub *g = opaque;

	if (!g->attached)
		gdb_enter(g);
	/* While the machine runs only the interrupt byte means something; a debugger that talks all
	 * the same finds it stopped. */
	if (g->running)
		gdb_interrupt(g);
	gdb_command(g, buf, len);
}

static size_t gdb_can_receive(void *opaque)
{
	struct gdbstub *g = opaque;

	return g->out.len ? 0 : 512;
}

static void gdb_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct gdbstub *g = opaque;

	rsp_receive(&g->rsp, buf, len);
}

static void gdb_event(void *opaque, int event)
{
	struct gdbstub *g = opaque;

	if (event == CHARDEV_EV_OPENED) {
		rsp_reset(&g->rsp);
		g->out.len = 0;
		if (!g->attached)
			gdb_enter(g);
	} else if (event == CHARDEV_EV_CLOSED) {
		gdb_leave(g, g->was_running);
	}
}

/* The address with what a debugger's connection is like: we listen, nobody is waited for. */
static char *gdb_spec(const char *where)
{
	const char *opts = ",server=on,wait=off,nodelay=on";

	if (!strncmp(where, "tcp::", 5))
		return xasprintf("tcp:127.0.0.1:%s%s", where + 5, opts);
	if (!strncmp(where, "tcp:", 4) || !strncmp(where, "unix:", 5))
		return xasprintf("%s%s", where, opts);
	return NULL;
}

int gdbstub_create(struct gdbstub **out, struct vm *vm, struct loop *loop, const char *where,
		   struct err **e)
{
	static const struct rsp_ops ops = {
		.packet = gdb_packet,
		.interrupt = gdb_interrupt,
		.send = gdb_out,
	};
	struct gdbstub *g = xzalloc(sizeof(*g));
	struct chardev_front front = {
		.can_receive = gdb_can_receive,
		.receive = gdb_receive,
		.writable = gdb_flush,
		.event = gdb_event,
		.opaque = g,
	};
	char *spec = gdb_spec(where);
	int r;

	if (!spec)
		r = err_set(e, EINVAL, "'%s' is not tcp:HOST:PORT or unix:PATH", where);
	else
		r = chardev_open(&g->cd, loop, "gdb", spec, e);
	free(spec);
	if (r) {
		free(g);
		return r;
	}
	g->vm = vm;
	g->engine = vm_engine(vm, &g->ev);
	rsp_init(&g->rsp, &ops, g);
	r = chardev_attach(g->cd, &front, e);
	bug_on(r);
	*out = g;
	return 0;
}

void gdbstub_destroy(struct gdbstub *g)
{
	if (!g)
		return;
	gdb_leave(g, false);
	chardev_close(g->cd);
	rsp_fini(&g->rsp);
	rsp_text_free(&g->out);
	rsp_text_free(&g->stop_reason);
	free(g);
}
