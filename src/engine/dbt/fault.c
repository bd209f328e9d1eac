/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host faults in translated code.  What a copied instruction raises on the host is the guest's
 * doing: #DE, unmasked floating-point exceptions, misaligned vector operands, and addresses that
 * are not canonical.  The instruction has changed nothing, so the handler sends the thread to an
 * exit that stores the guest's registers, and the interpreter runs the instruction and raises what
 * it must.
 *
 * A page that a window (window.c) does not show yet faults too: the handler maps it and the
 * instruction is done again, or, when it cannot be mapped, goes the same way as above.
 *
 * Other faults go to the handler that was there before, which is that of bounce stubs.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include "engine/dbt/xlate_int.h"

static _Thread_local struct dbt_cpu *volatile entered;

static const int signals[] = {SIGSEGV, SIGFPE, SIGBUS, SIGILL};
static struct sigaction before[ARRAY_SIZE(signals)];

static void pass_on(int sig, siginfo_t *info, void *context)
{
	for (unsigned n = 0; n < ARRAY_SIZE(signals); n++)
		if (signals[n] == sig)
			before[n].sa_sigaction(sig, info, context);
}

/* A page that is not in a window yet: map it, and the instruction is done again. */
static bool mapped(struct dbt_cpu *v, const siginfo_t *info, const greg_t *regs)
{
	if (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR)
		return false;
	return windows_fault(v, (uint64_t)info->si_addr, regs[REG_ERR] & PF_W);
}

/* Is RSP where blocks for DBT_MODE_STACK take it to be (xlate_span.c)?  Only a stress test looks.
 */
static bool stack_strays(const struct dbt_cpu *v, const struct tb *b, const greg_t *regs)
{
	const int64_t drift = XLATE_MAX * 2 * (int64_t)XLATE_STEP;
	int64_t high = (int64_t)WINDOW_HIGH << WINDOW_SHIFT,
		sp = regs[REG_R13] - high; /* dbt_host_reg */

	return v->pool.always && (b->mode & DBT_MODE_STACK) &&
	       (sp < -drift || sp >= ((int64_t)1 << WINDOW_SHIFT) + drift);
}

static void handler(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *regs = uc->uc_mcontext.gregs;
	const uint8_t *at = (const uint8_t *)regs[REG_RIP];
	struct dbt_cpu *v = entered;
	struct tb *b;
	unsigned insn;

	if (v && sig == SIGSEGV && info->si_code == SEGV_ACCERR &&
	    returns_overflow(v, (uint64_t)info->si_addr, (uint64_t *)&regs[REG_RSP]))
		return;
	b = v && info->si_code > 0 ? cache_at(v, at, &insn) : NULL;
	if (!b) {
		pass_on(sig, info, context);
		return;
	}
	bug_on(stack_strays(v, b, regs));
	if (sig == SIGSEGV && (b->mode & DBT_MODE_WINDOWS)) {
		if (mapped(v, info, regs)) {
			v->stats.window_fills++;
			return;
		}
		v->missed = b->ram_page[0] << PAGE_SHIFT | insn;
	}
	v->f.info = insn;
	v->stats.host_faults++;
	regs[REG_RIP] = (greg_t)v->cache.stub.fault[at - b->far >= (int64_t)b->saved_at];
	regs[REG_EFL] &= ~(greg_t)(RFLAGS_TF | RFLAGS_DF);
}

static void install_once(void)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = handler;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigemptyset(&sa.sa_mask);
	for (unsigned n = 0; n < ARRAY_SIZE(signals); n++) {
		bug_on(sigaction(signals[n], &sa, &before[n]) < 0);
		bug_on(!(before[n].sa_flags & SA_SIGINFO));
	}
}

void fault_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install_once);
}

void fault_enter(struct dbt_cpu *v)
{
	entered = v;
}

void fault_leave(void)
{
	entered = NULL;
}
