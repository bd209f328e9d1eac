/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pseudo terminal.  While nobody has the other side open the master reports a hang-up and would
 * swallow output; there is no event for an open, so a timer looks four times a second until
 * somebody comes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>
#include "back/char/chardev_int.h"
#include "base/err.h"

struct pty {
	int master; /* streams get duplicates */
	int timer;
	struct loop_fd *timer_w;
};

static bool pty_connected(const struct pty *p)
{
	struct pollfd pfd = {.fd = p->master, .events = 0};

	return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & (POLLHUP | POLLERR));
}

static void pty_poll(struct pty *p, bool on)
{
	struct itimerspec every = {.it_value.tv_nsec = 250000000, .it_interval.tv_nsec = 250000000};
	struct itimerspec never = {0};

	timerfd_settime(p->timer, 0, on ? &every : &never, NULL);
}

static void pty_tick(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;
	struct pty *p = cd->priv;
	uint64_t n;
	int in_fd, out_fd;

	if (read(p->timer, &n, sizeof(n)) != sizeof(n) || !pty_connected(p))
		return;
	in_fd = fcntl(p->master, F_DUPFD_CLOEXEC, 0);
	out_fd = fcntl(p->master, F_DUPFD_CLOEXEC, 0);
	if (in_fd < 0 || out_fd < 0) { /* no descriptors: again at the next tick */
		if (in_fd >= 0)
			close(in_fd);
		return;
	}
	pty_poll(p, false);
	chardev_stream_open(cd, in_fd, out_fd);
}

static void pty_hangup(struct chardev *cd)
{
	pty_poll(cd->priv, true);
}

/* The master side of a new, raw terminal, and its name. */
static int pty_master(int *out, char *name, size_t size, struct err **e)
{
	struct termios tio;
	int master, slave;

	if (openpty(&master, &slave, NULL, NULL, NULL))
		return err_set(e, errno, "cannot make a pseudo terminal: %s", strerror(errno));
	ttyname_r(slave, name, size);
	if (!tcgetattr(slave, &tio)) {
		cfmakeraw(&tio);
		tcsetattr(slave, TCSAFLUSH, &tio);
	}
	close(slave);
	fcntl(master, F_SETFD, FD_CLOEXEC);
	fd_set_nonblock(master);
	*out = master;
	return 0;
}

static int pty_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	struct pty *p = cd->priv = xzalloc(sizeof(*p));
	char name[64] = "";
	int r = pty_master(&p->master, name, sizeof(name), e);

	if (r) {
		free(p);
		return r;
	}
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (p->timer >= 0)
		p->timer_w = loop_fd_add(cd->loop, p->timer, EPOLLIN, NULL, pty_tick, cd);
	if (!p->timer_w) {
		r = err_set(e, errno, "cannot make a timer for a pseudo terminal: %s",
			    strerror(errno));
		if (p->timer >= 0)
			close(p->timer);
		close(p->master);
		free(p);
		return r;
	}
	pty_poll(p, true);
	cd->where = xasprintf("pty: %s", name);
	return 0;
}

static char *pty_filename(struct chardev *cd)
{
	return xasprintf("pty:%s", cd->where + strlen("pty: "));
}

static void pty_close(struct chardev *cd)
{
	struct pty *p = cd->priv;

	loop_fd_remove(p->timer_w);
	close(p->timer);
	close(p->master);
	free(p);
}

const struct chardev_kind chardev_pty = {
	.name = "pty",
	.help = "a new pseudo terminal, whose name is printed",
	.open = pty_open,
	.close = pty_close,
	.hangup = pty_hangup,
	.filename = pty_filename,
};
