/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct execution: a guest's program run by the host's processor as it is (docs/direct.md).
 *
 * User-mode code needs no translation where everything that it may see of the machine is trapped or
 * the same.  It runs in a process of its own (direct_process.c), which has nothing in its address
 * space but the guest's pages at the guest's addresses, and a page of code and some of data by
 * which we steer it; we are its tracer (ptrace).  Whatever the program does that the host does not
 * just execute stops it: system calls (none is ever carried out), faults, exceptions, and the
 * signal that another thread sends when an event waits (x86_attend).  Its registers are then the
 * vCPU's, and the run loop goes on as after translated code.
 *
 * Pages are those of windows (window.c), which say when one is to be mapped or unmapped; that is
 * queued, and done before the program goes on.  Nothing needs to be undone at once, since the
 * process stands still whenever anybody changes translations.
 *
 * RDTSC is trapped there, and CPUID in programs that are often found where it is.  Pages of code
 * with one of the other instructions that show the host (direct_code.c) are not executable there:
 * such code is translated, and so is what it jumps to until that is in another page.  Code pages
 * are watched as those with translated code are, so one is looked at again when it was written to.
 *
 * Safety does not depend on that.  What the process can do is what user code of the guest may do:
 * it has the guest's user pages, with the rights that the guest gave it, and no system calls.  What
 * it says, by the registers that it stops with, is no more than a program of the guest's can bring
 * about anyway.
 *
 * Threads: the vCPU's own; ptrace wants it so.  Others queue pages while it is stopped.
 */
#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <time.h>
/* A name that <elf.h> has for something else. */
#undef PF_W
#include "engine/dbt/direct_int.h"
#include "x86/bounce.h"
#include "x86/sys.h"

#define NS_PER_S INT64_C(1000000000)
#define CPUID_WANTED 90
#define NEAR 16 /* pages that are mapped together */

bool direct_has_room(struct x86_cpu *c)
{
	gpa at;

	return !x86_translate(c, DIRECT_STUB, &at);
}

/* --- which code --- */
static const uint8_t *code_page(struct dbt_cpu *v, uint64_t page)
{
	return page == NO_PAGE ? NULL : mem_ram_base(v->in.cpu.vm->mem) + (page << PAGE_SHIFT);
}

/* Can code with those instructions be run?  What CR4.UMIP forbids the guest's kernel would do as
 * the host's does: Linux gives programs made-up values. */
static bool runs(const struct dbt_cpu *v, const struct dbt_windows *w, unsigned code)
{
	unsigned can = (w->direct->traps_cpuid ? DIRECT_CPUID : 0) |
		       (v->pool.umip && (v->in.cpu.s.cr4 & CR4_UMIP) ? DIRECT_UMIP : 0);

	return !(code & ~can);
}

/* May code of va's page, which is that one of RAM, be executed?  Marks it as code first
 * (mem/page.h), so that a change raises its generation. */
static bool may_run(struct dbt_cpu *v, const struct dbt_windows *w, uint64_t va, uint64_t page)
{
	struct direct_seen *s = &v->direct_seen[page % ARRAY_SIZE(v->direct_seen)];
	struct mem *m = v->in.cpu.vm->mem;
	uint64_t before = lst_exec(v, va - PAGE_SIZE);

	if (s->page != page + 1 || s->before != before + 1 ||
	    s->gen != mem_code_gen(&mem_pages(m)[page])) {
		s->page = page + 1;
		s->before = before + 1;
		s->gen = mem_code_mark(m, page << PAGE_SHIFT, PAGE_SIZE);
		s->code = direct_code(code_page(v, before), code_page(v, page),
				      code_page(v, lst_exec(v, va + PAGE_SIZE)));
	}
	return runs(v, w, s->code);
}

/* What is known of the code at va, or NULL. */
static const struct direct_seen *seen(struct dbt_cpu *v, uint64_t va)
{
	uint64_t page = lst_exec(v, va);
	const struct direct_seen *s = &v->direct_seen[page % ARRAY_SIZE(v->direct_seen)];

	return page != NO_PAGE && s->page == page + 1 &&
			       s->gen == mem_code_gen(&mem_pages(v->in.cpu.vm->mem)[page])
		       ? s
		       : NULL;
}

bool direct_not_here(struct dbt_cpu *v, uint64_t va)
{
	const struct direct_seen *s = seen(v, va);

	return s && !runs(v, &v->lst.space[v->lst.cur].windows, s->code);
}

/* Trapping CPUID makes it dearer for the host to go to the process and back, so it is only done for
 * programs that are often found in pages that have one. */
static void want_cpuid(struct dbt_cpu *v, unsigned often)
{
	struct direct *d = v->lst.space[v->lst.cur].windows.direct;
	const struct direct_seen *s = seen(v, v->in.cpu.s.rip);

	if (d->cpuid_asked || !s || !(s->code & DIRECT_CPUID))
		return;
	d->wants_cpuid += often;
	if (d->wants_cpuid < CPUID_WANTED)
		return;
	fpu_claim();
	d->cpuid_asked = true;
	d->traps_cpuid = direct_trap_cpuid(d);
}

void direct_sample(struct dbt_cpu *v)
{
	want_cpuid(v, CPUID_WANTED / 3);
}

/* Make va's page executable there; false: it cannot be. */
static bool show_code(struct dbt_cpu *v, struct dbt_windows *w, uint64_t va)
{
	uint64_t index = va >> PAGE_SHIFT, page;
	struct dbt_shown *s;

	if (!direct_can_show(va))
		return false;
	s = windows_shown(w, index);
	if (s && s->exec)
		return true;
	page = lst_exec(v, va);
	if (page == NO_PAGE || !may_run(v, w, va, page) || !lst_fill(v, va, false))
		return false;
	s = windows_shown(w, index);
	if (!s || s->write || s->ram_off != page << PAGE_SHIFT)
		return false;
	s->exec = true;
	direct_map(w->direct, va & ~(PAGE_SIZE - 1), s->ram_off, PROT_READ | PROT_EXEC);
	return true;
}

/* --- registers --- */
#define FLAGS (RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)

bool direct_fits(const struct x86_cpu *c)
{
	const struct x86_state *s = &c->s;
	const uint64_t cr4 = CR4_FSGSBASE | CR4_OSFXSR | CR4_OSXSAVE;

	return s->seg[X86_CS].sel == DIRECT_CS && s->seg[X86_SS].sel == DIRECT_SS &&
	       !(s->seg[X86_DS].sel | s->seg[X86_ES].sel | s->seg[X86_FS].sel |
		 s->seg[X86_GS].sel) &&
	       s->seg[X86_FS].base < DIRECT_USER_END && s->seg[X86_GS].base < DIRECT_USER_END &&
	       !(s->rflags & (RFLAGS_IOPL | RFLAGS_TF)) && (s->cr4 & cr4) == cr4 &&
	       !(s->cr0 & (CR0_EM | CR0_TS)) && (s->cr0 & CR0_PG) &&
	       (s->xcr0 & ~UINT64_C(7)) == 0 && (s->xcr0 & 7) == 7;
}

/* Vector state, unless it has that. */
static bool give_vectors(struct direct *d, const struct x86_xsave *x)
{
	struct x86_xsave *to = (struct x86_xsave *)d->xstate;
	struct iovec iov = {to, d->xstate_size};
	uint64_t others = to->xstate_bv & ~UINT64_C(7);

	if (!memcmp(&d->fpu, x, sizeof(*x)))
		return true;
	memcpy(to, x, offsetof(struct x86_xsave, rsvd1));
	memcpy(to->ymmh, x->ymmh, sizeof(x->ymmh));
	to->xstate_bv = others | dbt_fpu_parts(x);
	return ptrace(PTRACE_SETREGSET, d->pid, NT_X86_XSTATE, &iov) == 0;
}

static bool give(struct dbt_cpu *v, struct direct *d)
{
	const struct x86_state *s = &v->in.cpu.s;
	const uint64_t *g = s->gpr;

	d->regs = (struct user_regs_struct){
		.rax = g[X86_RAX],
		.rbx = g[X86_RBX],
		.rcx = g[X86_RCX],
		.rdx = g[X86_RDX],
		.rsi = g[X86_RSI],
		.rdi = g[X86_RDI],
		.rbp = g[X86_RBP],
		.rsp = g[X86_RSP],
		.r8 = g[X86_R8],
		.r9 = g[X86_R9],
		.r10 = g[X86_R10],
		.r11 = g[X86_R11],
		.r12 = g[X86_R12],
		.r13 = g[X86_R13],
		.r14 = g[X86_R14],
		.r15 = g[X86_R15],
		.rip = s->rip,
		.orig_rax = UINT64_MAX,
		.eflags = x86_rflags(&v->in.cpu) & FLAGS,
		.cs = DIRECT_CS,
		.ss = DIRECT_SS,
		.fs_base = s->seg[X86_FS].base,
		.gs_base = s->seg[X86_GS].base,
	};
	return give_vectors(d, &s->xsave);
}

/* The selectors that it has loaded itself, of the guest's descriptors.  May raise. */
static void take_segments(struct x86_cpu *c, const struct user_regs_struct *r)
{
	if (r->ds || r->es || r->fs || r->gs) {
		x86_load_seg(c, X86_DS, (uint16_t)r->ds);
		x86_load_seg(c, X86_ES, (uint16_t)r->es);
		if (r->fs)
			x86_load_seg(c, X86_FS, (uint16_t)r->fs);
		if (r->gs)
			x86_load_seg(c, X86_GS, (uint16_t)r->gs);
	}
	if (r->ss != DIRECT_SS)
		x86_load_seg(c, X86_SS, (uint16_t)r->ss);
	if (r->cs != DIRECT_CS)
		x86_far_jmp(c, (uint16_t)r->cs, c->s.rip, 8);
}

static void take(struct dbt_cpu *v, struct direct *d)
{
	const struct user_regs_struct *r = &d->regs;
	struct x86_cpu *c = &v->in.cpu;
	const uint64_t from[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				   r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
	uint64_t before = x86_rflags(c), after = (before & ~(uint64_t)FLAGS) | (r->eflags & FLAGS);
	struct x86_xsave *x = &c->s.xsave;
	struct iovec iov = {x, sizeof(*x)};
	uint32_t mxcsr;

	memcpy(c->s.gpr, from, sizeof(from));
	c->s.rip = r->rip;
	c->s.seg[X86_FS].base = r->fs_base;
	c->s.seg[X86_GS].base = r->gs_base;
	x86_set_rflags(c, after);
	if ((before ^ after) & (RFLAGS_TF | RFLAGS_AC))
		x86_update_mode(c);
	bug_on(ptrace(PTRACE_GETREGSET, d->pid, NT_X86_XSTATE, &iov) < 0 && errno != ESRCH);
	memset(x->rsvd1, 0, sizeof(x->rsvd1)); /* the host's notes */
	mxcsr = x->mxcsr;
	bounce_xsave_fill(x);
	x->mxcsr = mxcsr;
	d->fpu = *x;
}

/* --- running --- */
static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* A byte of the program's code, or -1. */
static int code_byte(struct dbt_cpu *v, struct dbt_windows *w, uint64_t va)
{
	const struct dbt_shown *s = direct_can_show(va) ? windows_shown(w, va >> PAGE_SHIFT) : NULL;

	return s ? mem_ram_base(v->in.cpu.vm->mem)[s->ram_off + PAGE_OFFSET(va)] : -1;
}

/* Pages near that one are likely to be needed too: those that the guest has mapped.  (It may find
 * them accessed, as after a processor's speculation.)  Of code, those that were looked at before.
 */
static void map_near(struct dbt_cpu *v, struct dbt_windows *w, uint64_t index, bool code)
{
	const struct lst_tab *t = &v->lst.space[v->lst.cur].user;
	uint64_t first = index & ~(uint64_t)(NEAR - 1);

	for (uint64_t n = first; n < first + NEAR; n++) {
		uint64_t va = lst_va(n);

		if (windows_shown(w, n) || !direct_can_show(va))
			continue;
		if (!code || !seen(v, va) || !show_code(v, w, va))
			lst_fill(v, va, t->w[n] != 0);
	}
}

/* A page fault of the host at va: has anything been done so that the instruction gets further?  The
 * host does not tell what the access was: a page is first made executable if the instruction may
 * lie there, or readable, then writable. */
static bool fault(struct dbt_cpu *v, struct dbt_windows *w, const siginfo_t *info)
{
	uint64_t va = (uint64_t)info->si_addr, rip = w->direct->regs.rip, index = va >> PAGE_SHIFT;
	bool code = va - rip < X86_INSN_MAX || index == rip >> PAGE_SHIFT;
	const struct dbt_shown *s;

	if ((info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR) || !direct_can_show(va))
		return false;
	v->stats.direct_fills++;
	w->stops++;
	s = windows_shown(w, index);
	if (code && !(s && s->exec) && show_code(v, w, va)) {
		map_near(v, w, index, true);
		return true;
	}
	if (va == rip)
		return false;
	if (!s) {
		if (!lst_fill(v, va, false))
			return false;
		map_near(v, w, index, false);
		return windows_shown(w, index);
	}
	if (s->write || s->exec || !lst_fill(v, va, true))
		return false;
	s = windows_shown(w, index);
	return s && s->write;
}

/* The program is stopped by the signal: what happened, in terms of the guest. */
static void stopped(struct dbt_cpu *v, struct dbt_windows *w, int sig, const siginfo_t *info)
{
	struct x86_cpu *c = &v->in.cpu;
	uint64_t rip;

	take(v, w->direct);
	rip = c->s.rip;
	if (w->direct->regs.cs != DIRECT_CS || w->direct->regs.ss != DIRECT_SS ||
	    (w->direct->regs.ds | w->direct->regs.es | w->direct->regs.fs | w->direct->regs.gs))
		take_segments(c, &w->direct->regs);
	switch (sig) {
	case SIGTRAP | 0x80:
		c->s.gpr[X86_RAX] = w->direct->regs.orig_rax;
		c->s.rip = rip - 2;
		if (code_byte(v, w, rip - 2) == 0x0f) {
			v->in.ip = NULL;
			v->stats.direct_calls++;
			x86_syscall(c, rip);
			return;
		}
		break;
	case SIGTRAP:
		if (info->si_code != SI_KERNEL && code_byte(v, w, rip - 1) != 0xf1) {
			x86_after_insn(c, true); /* by a TF of its own */
			return;
		}
		c->s.rip -= code_byte(v, w, rip - 1) == 3 && code_byte(v, w, rip - 2) == 0xcd ? 2
											      : 1;
		break;
	case SIGSYS: /* the host's emulation of an old call: it has returned to whom it was by */
		c->s.rip = (uint64_t)info->si_call_addr;
		c->s.gpr[X86_RSP] -= 8;
		break;
	case SIGSEGV:
		if (direct_is_ours((uint64_t)info->si_addr))
			w->not_direct = true; /* the program has something in that place, too */
		/* Code that is not executable here: that is seen from the run loop. */
		if (info->si_code != SI_KERNEL && (uint64_t)info->si_addr == rip)
			return;
		break;
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
		break;
	default: /* an interrupt */
		v->stats.direct_interrupts++;
		return;
	}
	v->stats.direct_faults++;
	interp_one(&v->in);
}

/* Let it go on, from d->regs: the signal that it stops with, 0: it did not run, -1: it is gone. */
static int go(struct dbt_cpu *v, struct dbt_windows *w)
{
	struct direct *d = w->direct;
	struct x86_cpu *c = &v->in.cpu;
	int64_t begin = now();
	int sig = 0;

	atomic_store(&c->outside, d->pidfd);
	if (!atomic_load(c->attn)) {
		sig = -1;
		if (ptrace(PTRACE_SETREGS, d->pid, NULL, &d->regs) == 0 &&
		    ptrace(PTRACE_SYSEMU, d->pid, NULL, 0) == 0)
			sig = direct_wait(d);
	}
	atomic_store(&c->outside, 0);
	/* Its processor time is the vCPU's. */
	begin = now() - begin;
	c->steal.cpu -= begin;
	if (sig > 0 && ptrace(PTRACE_GETREGS, d->pid, NULL, &d->regs) < 0)
		return -1;
	return sig;
}

/* Keep the process and this thread on one processor of the host: to go from one to the other costs
 * twice as much across two, and the host's scheduler spreads them.  Until direct_unpin. */
static void pin(struct dbt_cpu *v, struct direct *d)
{
	cpu_set_t one;

	if (v->direct_cpu < 0) {
		v->direct_cpu = sched_getcpu();
		CPU_ZERO(&one);
		CPU_SET(v->direct_cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
	}
	if (d->cpu == v->direct_cpu)
		return;
	d->cpu = v->direct_cpu;
	CPU_ZERO(&one);
	CPU_SET(d->cpu, &one);
	sched_setaffinity(d->pid, sizeof(one), &one);
}

void direct_unpin(struct dbt_cpu *v)
{
	if (v->direct_cpu < 0)
		return;
	v->direct_cpu = -1;
	sched_setaffinity(0, sizeof(v->affinity), &v->affinity);
}

/* It was killed, and took the program's registers with it. */
static void lost(struct dbt_cpu *v, struct dbt_windows *w)
{
	fprintf(stderr,
		"doppel: the process in which processor %u ran the guest's program was killed\n",
		v->in.cpu.index);
	v->in.cpu.shutdown = true;
	w->direct_failed = true;
}

bool direct_turn(struct dbt_cpu *v)
{
	struct dbt_windows *w = &v->lst.space[v->lst.cur].windows;
	struct direct *d = w->direct;
	siginfo_t info = {.si_code = 0};
	bool ran = false;
	int sig = 0;

	if (w->not_direct || w->direct_failed) { /* found when it stopped last */
		windows_close(w);
		return true;
	}
	if (!show_code(v, w, v->in.cpu.s.rip)) {
		want_cpuid(v, 1);
		return false;
	}
	fpu_claim();
	v->stats.direct_entries++;
	w->bursts++;
	pin(v, d);
	do {
		if (!direct_flush(d, w) || (!ran && !give(v, d))) {
			sig = 0;
			w->direct_failed = true;
			break;
		}
		ran = true;
		d->regs.orig_rax = UINT64_MAX;
		sig = go(v, w);
		if ((sig == SIGSEGV || sig == SIGTRAP || sig == SIGSYS) &&
		    ptrace(PTRACE_GETSIGINFO, d->pid, NULL, &info) < 0)
			sig = -1;
	} while (sig == SIGSEGV && fault(v, w, &info));
	if (sig < 0)
		lost(v, w);
	else if (ran)
		stopped(v, w, sig, &info);
	if (w->direct_failed || w->not_direct)
		windows_close(w);
	return true;
}
