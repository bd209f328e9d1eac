/* SPDX-License-Identifier: Apache-2.0 */
/* Standard input and output, usually a terminal. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include "back/char/chardev_int.h"
#include "back/char/term.h"
#include "base/err.h"

struct stdio {
	int in_flags, out_flags; /* fcntl flags to put back, or -1 */
	bool tty;
};

/* There is one standard input in a process, whatever the number of machines. */
static atomic_flag stdio_taken = ATOMIC_FLAG_INIT;

/*
 * A non-blocking descriptor for what fd refers to.  O_NONBLOCK belongs to the open file, which the
 * shell and others share: opening it anew leaves theirs alone.  Where that cannot be (sockets,
 * terminals of another user) the flag is set, and *flags gets what to restore.
 */
static int stdio_reopen(int fd, int mode, int *flags)
{
	char path[32];
	struct stat st;
	int n = -1;

	*flags = -1;
	if (fstat(fd, &st))
		return -1;
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	if (n >= 0)
		return n;
	n = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (n >= 0 && !S_ISREG(st.st_mode)) {
		*flags = fcntl(fd, F_GETFL);
		fd_set_nonblock(fd);
	}
	return n;
}

static int stdio_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	struct stdio *s;
	struct termios tio;
	bool signals = true;
	int in_fd, out_fd, r = kv_bool(opts, "signal", &signals, e);

	if (r)
		return r;
	if (atomic_flag_test_and_set(&stdio_taken))
		return err_set(e, EBUSY, "standard input and output are in use by another port");
	s = cd->priv = xzalloc(sizeof(*s));
	/* A closed descriptor is an input without bytes, an output that vanishes. */
	in_fd = stdio_reopen(STDIN_FILENO, O_RDONLY, &s->in_flags);
	out_fd = stdio_reopen(STDOUT_FILENO, O_WRONLY, &s->out_flags);
	r = term_enter(STDIN_FILENO, signals);
	s->tty = r == 0;
	cd->squeeze_cr = !tcgetattr(STDOUT_FILENO, &tio) && (tio.c_oflag & OPOST) &&
			 (tio.c_oflag & ONLCR);
	chardev_stream_open(cd, in_fd, out_fd);
	return 0;
}

static void stdio_escape(struct chardev *cd)
{
	struct stdio *s = cd->priv;

	if (s->tty)
		term_enter(STDIN_FILENO, false);
}

static void stdio_close(struct chardev *cd)
{
	struct stdio *s = cd->priv;

	if (s->tty)
		term_leave();
	if (s->in_flags >= 0)
		fcntl(STDIN_FILENO, F_SETFL, s->in_flags);
	if (s->out_flags >= 0)
		fcntl(STDOUT_FILENO, F_SETFL, s->out_flags);
	free(s);
	atomic_flag_clear(&stdio_taken);
}

const struct chardev_kind chardev_stdio = {
	.name = "stdio",
	.help = "standard input and output: [signal=off]",
	.keys = {"signal"},
	.open = stdio_open,
	.close = stdio_close,
	.escape = stdio_escape,
};
