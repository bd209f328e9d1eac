/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host faults inside stubs.  Unmasked SIMD exceptions and #DE arrive as SIGFPE, and what the checks
 * before a stub do not foresee as SIGILL, SIGSEGV (#GP) or SIGBUS (#AC).  The handler sends the
 * thread to the stub's fault exit with the vector in EAX and keeps MXCSR as the processor left it.
 * Everything else (page faults included: they are never a guest's) goes to the handler that was
 * there before.
 *
 * The saved handlers are written once before the first stub exists, and only read afterwards.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include "x86/bounce_int.h"

__thread struct bounce_running bounce_running;

static const int sig_list[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
static struct sigaction sig_old[ARRAY_SIZE(sig_list)];

static void sig_chain(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *old = NULL;
	struct sigaction dfl;

	for (unsigned i = 0; i < ARRAY_SIZE(sig_list); i++)
		if (sig_list[i] == sig)
			old = &sig_old[i];
	if (old && (old->sa_flags & SA_SIGINFO)) {
		old->sa_sigaction(sig, info, context);
		return;
	}
	if (old && old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
		old->sa_handler(sig);
		return;
	}
	/* The default action: the instruction faults again, or the signal is sent again, without
	 * us. */
	memset(&dfl, 0, sizeof(dfl));
	dfl.sa_handler = SIG_DFL;
	sigaction(sig, &dfl, NULL);
	if (info->si_code <= 0)
		raise(sig);
}

static void sig_handler(int sig, siginfo_t *info, void *context)
{
	const struct bounce_stub *s = bounce_running.stub;
	ucontext_t *uc = context;
	greg_t *regs = uc->uc_mcontext.gregs;
	const uint8_t *rip = (const uint8_t *)regs[REG_RIP];

	if (!s || info->si_code <= 0 || rip < s->code || rip >= s->code_end ||
	    regs[REG_TRAPNO] == X86_PF) {
		sig_chain(sig, info, context);
		return;
	}
	if (uc->uc_mcontext.fpregs)
		bounce_running.mxcsr = uc->uc_mcontext.fpregs->mxcsr;
	regs[REG_RAX] = (greg_t)(BOUNCE_FAULT | (regs[REG_TRAPNO] & 0x1f));
	regs[REG_RIP] = (greg_t)s->fault_exit;
	regs[REG_EFL] &= ~(greg_t)(RFLAGS_TF | RFLAGS_DF);
}

static void sig_install_once(void)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = sig_handler;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigemptyset(&sa.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(sig_list); i++)
		bug_on(sigaction(sig_list[i], &sa, &sig_old[i]) < 0);
}

void bounce_sig_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, sig_install_once);
}
