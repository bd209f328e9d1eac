/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of the guest that lead to a chardev (guestfwd=tcp:ADDR:PORT-SPEC).
 *
 * libslirp can hand the bytes of such a connection to a function, but takes no answer: what a slow
 * chardev has no room for would be lost from the middle of the stream.  So it is told of a Unix
 * socket instead, to which it connects for each connection of the guest, and which this file
 * listens at.  Both directions then have the flow control of a socket: it is not read while the
 * chardev takes nothing, and libslirp closes the guest's window; the chardev is not read while the
 * socket takes nothing.
 *
 * A chardev is one stream, whoever is connected.  What any connection says goes there; what comes
 * from there goes to the latest connection, and waits while there is none.  A connection ends when
 * the guest ends it: the peer of a chardev may go and come, as with a serial port.  A guest that
 * has said all (FIN) may still wait for an answer, so its connection stays until another comes or
 * the chardev's peer goes.
 *
 * The socket has no name: libslirp reaches it through the descriptor of its inode in /proc/self/fd.
 * It connects, blocking, on the thread that brought the guest's frame, and tells of the new
 * descriptor at once; there the other end is accepted, so that connect never finds the backlog
 * full.
 *
 * Threads: everything with the card's lock held, which callbacks of the chardev (on the loop
 * thread) take.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "back/char/chardev.h"
#include "back/net/user_int.h"
#include "base/err.h"

#define PIPE_BYTES 4096
#define CONNECTIONS_MAX 64

/* Bytes on their way, of which `at` have gone. */
struct pipe {
	size_t at, len;
	uint8_t buf[PIPE_BYTES];
};

struct connection {
	struct user_chardev *g;
	int fd;
	struct loop_fd *w; /* NULL: not watched */
	uint32_t events; /* that w watches for */
	bool said_all; /* the guest has */
	struct pipe from, to; /* the guest */
	struct connection *next;
};

struct user_chardev {
	struct user *u;
	struct chardev *cd; /* its owner's; attached to, or NULL */
	bool peer_left; /* the chardev's */
	int listener;
	int inode; /* of the listener, for libslirp's connect */
	int spare; /* given up for a moment when there are no more descriptors */
	unsigned n;
	struct connection *latest; /* a list of n */
	struct user_chardev *next;
};

static void connection_ready(void *opaque, uint32_t events);

/* What to wait for.  A peer that is gone for good is told of whatever was asked: it is not watched
 * while there is something from it that the chardev does not take. */
static void connection_watch(struct connection *c)
{
	bool stuck = c->from.len != 0;
	uint32_t want = (c->said_all || stuck ? 0u : EPOLLIN) | (c->to.len ? EPOLLOUT : 0u);
	bool watched = want || !stuck;

	if (watched && !c->w)
		c->w = loop_fd_add(c->g->u->nd->loop, c->fd, want, c->g->u->nd->lock,
				   connection_ready, c);
	else if (watched && c->events != want)
		loop_fd_set(c->w, want);
	if (!watched) {
		loop_fd_remove(c->w);
		c->w = NULL;
	}
	c->events = want;
}

static void connection_end(struct connection *c)
{
	struct connection **p = &c->g->latest;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->g->n--;
	loop_fd_remove(c->w);
	close(c->fd);
	free(c);
}

/* Has the guest said all, and will nobody answer? */
static bool connection_over(const struct connection *c)
{
	return c->said_all && !c->from.len && !c->to.len && (c->g->peer_left || c != c->g->latest);
}

/* After something has changed. */
static void connection_go_on(struct connection *c)
{
	if (connection_over(c))
		connection_end(c);
	else
		connection_watch(c);
}

static void connections_go_on(struct user_chardev *g)
{
	for (struct connection *c = g->latest, *next; c; c = next) {
		next = c->next;
		connection_go_on(c);
	}
}

static bool chardev_may_answer(const struct user_chardev *g)
{
	return g->latest && !g->latest->to.len;
}

/* To the chardev: false when it does not take all. */
static bool connection_forward(struct connection *c)
{
	struct pipe *p = &c->from;

	p->at += chardev_write(c->g->cd, p->buf + p->at, p->len - p->at);
	if (p->at < p->len)
		return false;
	p->at = p->len = 0;
	return true;
}

/* To the guest.  false: the connection has ended. */
static bool connection_answer(struct connection *c)
{
	struct pipe *p = &c->to;

	while (p->at < p->len) {
		ssize_t n =
			send(c->fd, p->buf + p->at, p->len - p->at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			p->at = p->len = 0;
			return false;
		}
		p->at += (size_t)n;
	}
	p->at = p->len = 0;
	return true;
}

/* From the guest.  false: the connection has ended. */
static bool connection_read(struct connection *c)
{
	struct pipe *p = &c->from;
	ssize_t n = recv(c->fd, p->buf, sizeof(p->buf), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->said_all = n == 0;
	p->len = (size_t)n;
	connection_forward(c);
	return true;
}

static void connection_ready(void *opaque, uint32_t events)
{
	struct connection *c = opaque;
	struct user_chardev *g = c->g;
	bool alive = true;

	if ((events & EPOLLIN) && !c->said_all && !c->from.len)
		alive = connection_read(c);
	else if (events & (EPOLLHUP | EPOLLERR))
		alive = false;
	if (alive && c->to.len)
		alive = connection_answer(c);
	if (alive)
		connection_go_on(c);
	else
		connection_end(c);
	if (chardev_may_answer(g))
		chardev_accept_input(g->cd);
}

/* The chardev's side. */

static size_t from_chardev_room(void *opaque)
{
	struct user_chardev *g = opaque;
	size_t room;

	net_lock(g->u->nd);
	room = chardev_may_answer(g) ? PIPE_BYTES : 0;
	net_unlock(g->u->nd);
	return room;
}

static void from_chardev(void *opaque, const uint8_t *buf, size_t len)
{
	struct user_chardev *g = opaque;
	struct connection *c;

	net_lock(g->u->nd);
	/* Since it was asked for its room, another one may have come, but none gone. */
	bug_on(!chardev_may_answer(g) || len > PIPE_BYTES);
	c = g->latest;
	memcpy(c->to.buf, buf, len);
	c->to.len = len;
	if (connection_answer(c))
		connection_go_on(c);
	else
		connection_end(c);
	net_unlock(g->u->nd);
}

static void chardev_takes_more(void *opaque)
{
	struct user_chardev *g = opaque;

	net_lock(g->u->nd);
	for (struct connection *c = g->latest; c; c = c->next)
		if (c->from.len && !connection_forward(c))
			break;
	connections_go_on(g);
	net_unlock(g->u->nd);
}

static void chardev_comes_or_goes(void *opaque, int event)
{
	struct user_chardev *g = opaque;

	if (event != CHARDEV_EV_OPENED && event != CHARDEV_EV_CLOSED)
		return;
	net_lock(g->u->nd);
	g->peer_left = event == CHARDEV_EV_CLOSED;
	connections_go_on(g);
	net_unlock(g->u->nd);
}

/* libslirp's side. */

/* As accept4, and takes what waits even when there are no more descriptors, to refuse it. */
static int accept_any(struct user_chardev *g)
{
	int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || g->spare < 0)
		return fd;
	close(g->spare);
	fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	g->spare = fcntl(g->inode, F_DUPFD_CLOEXEC, 0);
	return -1;
}

static void connection_new(struct user_chardev *g, int fd)
{
	struct connection *c;

	if (g->n == CONNECTIONS_MAX || !g->cd) {
		close(fd);
		return;
	}
	c = xzalloc(sizeof(*c));
	c->g = g;
	c->fd = fd;
	c->next = g->latest;
	g->latest = c;
	g->n++;
	connections_go_on(g);
	chardev_accept_input(g->cd);
}

void user_chardevs_accept(struct user *u)
{
	int fd;

	for (struct user_chardev *g = u->chardevs; g; g = g->next)
		while ((fd = accept_any(g)) >= 0)
			connection_new(g, fd);
}

/* Give the socket a name in a directory of its own for as long as it takes to open its inode. */
static int listener_name(struct user_chardev *g, int dir)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int r = 0;

	snprintf(un.sun_path, sizeof(un.sun_path), "/proc/self/fd/%d/s", dir);
	if (bind(g->listener, (struct sockaddr *)&un, sizeof(un)))
		return errno;
	g->inode = openat(dir, "s", O_PATH | O_CLOEXEC);
	if (g->inode < 0 || listen(g->listener, 16))
		r = errno;
	unlinkat(dir, "s", 0);
	return r;
}

static int listener_open(struct user_chardev *g, struct err **e)
{
	const char *tmp = getenv("TMPDIR");
	char *path = xasprintf("%s/doppel-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	int dir, r = 0;

	if (!mkdtemp(path)) {
		r = err_set(e, errno, "cannot make a socket like '%s': %s", path, strerror(errno));
		goto out;
	}
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = dir < 0 || g->listener < 0 ? errno : listener_name(g, dir);
	if (r)
		r = err_set(e, r, "cannot make a socket in '%s': %s", path, strerror(r));
	if (dir >= 0)
		close(dir);
	rmdir(path);
	g->spare = fcntl(g->inode, F_DUPFD_CLOEXEC, 0);
out:
	free(path);
	return r;
}

static int chardev_of(struct user_chardev *g, uint16_t port, const char *spec, struct err **e)
{
	const struct net_chardevs *from = &g->u->nd->chardevs;
	struct chardev_front front = {
		.can_receive = from_chardev_room,
		.receive = from_chardev,
		.writable = chardev_takes_more,
		.event = chardev_comes_or_goes,
		.opaque = g,
	};
	struct chardev *cd;
	char *id;
	int r;

	if (!from->open)
		return err_set(e, ENOENT, "there are no character devices here");
	id = xasprintf("guestfwd.tcp.%u", port);
	r = from->open(from->opaque, id, spec, &cd, e);
	free(id);
	if (!r)
		r = chardev_attach(cd, &front, e);
	if (!r)
		g->cd = cd;
	return r;
}

int user_chardev_add(struct user *u, struct in_addr *addr, uint16_t port, const char *spec,
		     struct err **e)
{
	struct user_chardev *g = xzalloc(sizeof(*g));
	char path[32];
	int r;

	*g = (struct user_chardev){
		.u = u, .listener = -1, .inode = -1, .spare = -1, .next = u->chardevs};
	u->chardevs = g;
	r = listener_open(g, e);
	if (r)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", g->inode);
	if (slirp_add_unix(u->slirp, path, addr, port))
		return err_set(e, EINVAL, "%s", USER_ADDR_REFUSED);
	return chardev_of(g, port, spec, e);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void user_chardevs_close(struct user *u)
{
	while (u->chardevs) {
		struct user_chardev *g = u->chardevs;

		u->chardevs = g->next;
		while (g->latest)
			connection_end(g->latest);
		if (g->cd)
			chardev_detach(g->cd);
		close_fd(g->listener);
		close_fd(g->inode);
		close_fd(g->spare);
		free(g);
	}
}
