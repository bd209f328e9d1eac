/* SPDX-License-Identifier: Apache-2.0 */
/* doppel console: this terminal at a machine's console, until Ctrl-] is pressed. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "back/char/socket.h"
#include "back/char/term.h"
#include "base/base.h"
#include "main/fleet_int.h"

#define LEAVE 0x1d /* Ctrl-], as telnet has it: Ctrl-a is the console's own */

static bool put_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return true;
}

/* From one to the other; false at the end.  *leave: the key was pressed. */
static bool copy(int from, int to, bool keys, bool *leave)
{
	char buf[4096], *key;
	ssize_t n = read(from, buf, sizeof(buf));

	if (n <= 0)
		return n < 0 && errno == EINTR;
	key = keys ? memchr(buf, LEAVE, (size_t)n) : NULL;
	*leave = key != NULL;
	return put_all(to, buf, key ? (size_t)(key - buf) : (size_t)n) && !key;
}

/* True when the person left, false when the machine did. */
static bool attach(int fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
	bool tty = isatty(STDIN_FILENO), leave = false;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return false;
		if (p[0].revents && !copy(fd, STDOUT_FILENO, false, &leave))
			return false;
		if (p[1].revents && !copy(STDIN_FILENO, fd, tty, &leave)) {
			if (leave)
				return true;
			p[1].fd = -1; /* the end of a file: see what comes back */
			shutdown(fd, SHUT_WR);
		}
	}
}

static int console(const struct rundir_entry *m, struct err **e)
{
	struct sock_addr addr = {0};
	int fd = -1, r;
	bool left;

	if (!m->console)
		return err_set(e, ENOTTY, "the console of '%s' is on the terminal that started it",
			       m->name);
	r = sock_addr_unix(&addr, m->console, e);
	if (!r)
		r = sock_connect(&addr, &fd, e);
	sock_addr_free(&addr);
	if (r)
		return r;
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "console of %s; Ctrl-] leaves it, Ctrl-a h helps\n", m->name);
	term_enter(STDIN_FILENO, false);
	left = attach(fd);
	term_leave();
	close(fd);
	if (isatty(STDIN_FILENO))
		fprintf(stderr, left ? "\nleft the console; %s runs on\n" : "\n%s has ended\n",
			m->name);
	return 0;
}

int fleet_console(int argc, char **argv)
{
	static const char usage[] = "usage: doppel console [NAME]\n"
				    "Attach this terminal to a machine's console; Ctrl-] leaves.\n";
	const struct fleet_opt opts[] = {{0}};
	const char *name[1] = {0};
	struct err *e = NULL;
	struct rundir_entry m;
	bool done;
	int n, r;

	if (!fleet_options(argc, argv, opts, usage, name, 1, &n, &done))
		return done ? 0 : 2;
	if (rundir_find(&m, name[0], &e))
		return fleet_fail("console", &e);
	r = console(&m, &e);
	rundir_entry_free(&m);
	return r ? fleet_fail("console", &e) : 0;
}
