/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * term_enter saves the terminal's modes and hooks every signal that can end the process.  The
 * handler restores the modes, puts the action that was there before in its place and lets the
 * signal happen again: by returning to the faulting instruction, or by raising it.  A handler that
 * somebody installs later must chain to the action that it replaced. SIGTSTP restores and stops;
 * SIGCONT makes the terminal raw again when we are in its foreground. Everything called from
 * handlers is async-signal-safe (POSIX 2.4.3): tcsetattr, tcgetpgrp, sigaction, raise.
 */
#include "back/char/term.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>
#include "base/base.h"

static const int fatal_signals[] = {
	SIGHUP,	 SIGINT,  SIGQUIT, SIGILL,  SIGABRT, SIGBUS, SIGFPE,
	SIGSEGV, SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ, SIGSYS,
};

static struct {
	int fd;
	volatile sig_atomic_t raw; /* the terminal is ours */
	bool hooked;
	struct termios before, ours;
	struct sigaction old[ARRAY_SIZE(fatal_signals)];
} term = {.fd = -1};

static bool term_foreground(void)
{
	pid_t group = tcgetpgrp(term.fd);

	return group < 0 || group == getpgrp(); /* none: a terminal that does not control us */
}

static void term_restore(void)
{
	if (term.raw && term_foreground())
		tcsetattr(term.fd, TCSANOW, &term.before);
}

static void term_fatal(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	term_restore();
	for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++)
		if (fatal_signals[i] == sig)
			sigaction(sig, &term.old[i], NULL);
	/* Blocked while this handler runs, so it arrives on return: a fault by itself, from the
	 * same instruction with all its details, anything else because it is raised here. */
	if (info->si_code <= 0 ||
	    (sig != SIGSEGV && sig != SIGBUS && sig != SIGFPE && sig != SIGILL))
		raise(sig);
	errno = saved;
}

static void term_stop(int sig)
{
	int saved = errno;

	term_restore();
	raise(SIGSTOP);
	errno = saved;
}

static void term_continue(int sig)
{
	int saved = errno;

	if (term.raw && term_foreground())
		tcsetattr(term.fd, TCSANOW, &term.ours);
	errno = saved;
}

static void term_hook(void)
{
	struct sigaction sa = {.sa_sigaction = term_fatal, .sa_flags = SA_ONSTACK | SA_SIGINFO};

	if (term.hooked)
		return;
	term.hooked = true;
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
		sigaction(fatal_signals[i], NULL, &term.old[i]);
		/* Somebody's handler does not end the process: an engine's, that is, for faults of
		 * the instructions it tries on the host. */
		if (term.old[i].sa_handler == SIG_DFL)
			sigaction(fatal_signals[i], &sa, NULL);
	}
	sa.sa_flags = SA_ONSTACK | SA_RESTART;
	sa.sa_handler = term_stop;
	sigaction(SIGTSTP, &sa, NULL);
	sa.sa_handler = term_continue;
	sigaction(SIGCONT, &sa, NULL);
	atexit(term_leave);
}

int term_enter(int fd, bool signals)
{
	if (!term.raw) {
		if (tcgetattr(fd, &term.before))
			return -errno;
		term.fd = fd;
		term_hook();
	}
	term.ours = term.before;
	term.ours.c_iflag &=
		~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	term.ours.c_oflag |= OPOST; /* our own messages end lines with a bare newline */
	term.ours.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
	if (!signals)
		term.ours.c_lflag &= ~(tcflag_t)ISIG;
	term.ours.c_cflag = (term.ours.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	term.ours.c_cc[VMIN] = 1;
	term.ours.c_cc[VTIME] = 0;
	term.raw = 1;
	/* In the background a change would stop us; SIGCONT makes up for it when we are brought
	 * forward. */
	if (term_foreground() && tcsetattr(fd, TCSANOW, &term.ours))
		return -errno;
	return 0;
}

void term_leave(void)
{
	term_restore();
	term.raw = 0;
}
