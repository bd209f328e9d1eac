/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A character back end is a pair of descriptors, one to read and one to write, that its kind
 * (stdio, socket...) opens and replaces, and this file moves the bytes.
 *
 * Output: a write goes to the descriptor at once when nothing is queued; what the kernel does not
 * take waits in a bounded ring that the loop empties.  A full ring makes chardev_write short, and
 * the front end is told when there is room again.  Nobody connected: output vanishes, as on a wire
 * without a terminal.
 *
 * Input: the loop reads no more than the front end can take.  When that is nothing the descriptor
 * is not watched until chardev_accept_input.  The order "set in_blocked, ask can_receive" on this
 * side and "make room, clear in_blocked" on the other makes sure that no wake-up is lost.
 *
 * A multiplexer (mux.c) is the one front end of its chardev.  Its own front ends have chardevs without
 * streams, whose `base` is that one.
 *
 * Threads: watches are added and removed on the loop thread only.  Others (vCPUs, under the front
 * end's lock) write to the ring under cd->lock and kick the loop through an eventfd.  The order of
 * locks is front.lock, then cd->lock; no loop function is called under cd->lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "back/char/chardev_int.h"
#include "base/err.h"

#define FLUSH_MS 500 /* how long chardev_close waits for a slow reader */

static void chardev_in_ready(void *opaque, uint32_t events);
static void chardev_out_ready(void *opaque, uint32_t events);

int fd_set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void chardev_kick(struct chardev *cd)
{
	uint64_t one = 1;

	while (write(cd->kick_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Take the front end's lock and copy its callbacks; false when nobody is attached. */
static bool front_begin(struct chardev *cd, struct chardev_front *f)
{
	bool same;

	lock_take(&cd->lock);
	*f = cd->front;
	same = cd->attached;
	lock_drop(&cd->lock);
	if (!same)
		return false;
	if (!f->lock)
		return true;
	lock_take(f->lock);
	lock_take(&cd->lock);
	same = cd->attached && cd->front.opaque == f->opaque;
	lock_drop(&cd->lock);
	if (!same)
		lock_drop(f->lock);
	return same;
}

static void front_end(const struct chardev_front *f)
{
	if (f->lock)
		lock_drop(f->lock);
}

void chardev_event(struct chardev *cd, int event)
{
	struct chardev_front f;

	if (!front_begin(cd, &f))
		return;
	if (f.event)
		f.event(f.opaque, event);
	front_end(&f);
}

/* write() that cannot raise SIGPIPE where that is possible; everywhere else the program ignores it.
 */
static ssize_t fd_put(int fd, const void *buf, size_t len)
{
	ssize_t n;

	do {
		n = send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == ENOTSOCK)
			n = write(fd, buf, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Write straight to the descriptor.  Returns the bytes taken; an error marks the stream broken and
 * takes all. */
static size_t out_put_locked(struct chardev *cd, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = fd_put(cd->out_fd, buf + done, len - done);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			cd->out_broken = true;
			cd->out_errno = n ? errno : EIO;
			return len;
		}
		done += (size_t)n;
	}
	return done;
}

static size_t queue_add_locked(struct chardev *cd, const uint8_t *buf, size_t len)
{
	len = min_u64(len, CHARDEV_QUEUE - cd->q_len);
	for (size_t i = 0; i < len; i++)
		cd->queue[(cd->q_head + cd->q_len + i) % CHARDEV_QUEUE] = buf[i];
	cd->q_len += (uint32_t)len;
	return len;
}

/* Write out as much of the ring as the descriptor takes. */
static void queue_drain_locked(struct chardev *cd)
{
	while (cd->q_len && !cd->out_broken) {
		uint32_t run = (uint32_t)min_u64(cd->q_len, CHARDEV_QUEUE - cd->q_head);
		size_t n = out_put_locked(cd, cd->queue + cd->q_head, run);

		cd->q_head = (cd->q_head + (uint32_t)n) % CHARDEV_QUEUE;
		cd->q_len -= (uint32_t)n;
		if (n < run)
			break;
	}
	if (cd->out_broken)
		cd->q_len = 0;
}

/* Write now what can be, queue the rest; returns the bytes taken. */
static size_t out_add_locked(struct chardev *cd, const uint8_t *buf, size_t len)
{
	size_t done = cd->q_len ? 0 : out_put_locked(cd, buf, len);

	return done + queue_add_locked(cd, buf + done, len - done);
}

/*
 * Output to a terminal that makes CR LF of a LF: pass CR LF on as LF, so that what arrives is CR LF
 * and not CR CR LF.  A CR is held until the byte after it is known.  Takes only what surely fits.
 */
static size_t out_add_squeezed_locked(struct chardev *cd, const uint8_t *buf, size_t len)
{
	uint8_t out[512];
	size_t n = 0, room = min_u64(sizeof(out), CHARDEV_QUEUE - cd->q_len);

	len = min_u64(len, room ? room - 1 : 0); /* the held CR may come first */
	for (size_t i = 0; i < len; i++) {
		if (cd->held_cr && buf[i] != '\n')
			out[n++] = '\r';
		cd->held_cr = buf[i] == '\r';
		if (!cd->held_cr)
			out[n++] = buf[i];
	}
	out_add_locked(cd, out, n);
	return len;
}

/* A copy for logfile=.  What a full disk does not take is lost. */
static void log_copy_locked(struct chardev *cd, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = write(cd->log_fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		buf += n;
		len -= (size_t)n;
	}
}

size_t chardev_write(struct chardev *cd, const uint8_t *buf, size_t len)
{
	size_t done = len;
	bool kick = false;

	if (cd->base)
		cd = cd->base;
	lock_take(&cd->lock);
	if (cd->kind->write) {
		cd->kind->write(cd, buf, len);
	} else if (cd->out_fd >= 0 && !cd->out_broken) {
		uint32_t before = cd->q_len;
		size_t n;

		for (done = 0; done < len && !cd->out_broken; done += n) {
			n = cd->squeeze_cr ? out_add_squeezed_locked(cd, buf + done, len - done)
					   : out_add_locked(cd, buf + done, len - done);
			if (!n)
				break;
		}
		if (cd->out_broken)
			done = len;
		if (done < len)
			cd->out_starved = true;
		kick = cd->out_broken || (!before && cd->q_len);
	}
	if (cd->log_fd >= 0)
		log_copy_locked(cd, buf, done);
	lock_drop(&cd->lock);
	if (kick)
		chardev_kick(cd);
	return done;
}

void chardev_print(struct chardev *cd, const char *text)
{
	chardev_write(cd, (const uint8_t *)text, strlen(text));
}

/* The peer left, or writing to it failed.  A full disk is worth a word, a reader that left is not.
 */
static void chardev_hangup(struct chardev *cd)
{
	int error;

	lock_take(&cd->lock);
	error = cd->out_errno;
	cd->out_errno = 0;
	lock_drop(&cd->lock);
	if (error && error != EPIPE && error != ECONNRESET && error != EIO)
		fprintf(stderr, "doppel: %s: output is lost from here on: %s\n", cd->id,
			strerror(error));
	if (cd->kind->hangup) {
		chardev_stream_close(cd);
		cd->kind->hangup(cd);
	}
}

/* Bytes that the front end takes now.  Zero: chardev_accept_input or chardev_attach will kick the
 * loop. */
size_t chardev_room(struct chardev *cd)
{
	struct chardev_front f;
	size_t room = 0;

	atomic_store(&cd->in_blocked, true);
	if (front_begin(cd, &f)) {
		room = f.can_receive(f.opaque);
		front_end(&f);
	}
	if (room)
		atomic_store(&cd->in_blocked, false);
	return room;
}

void chardev_give(struct chardev *cd, const uint8_t *buf, size_t len)
{
	struct chardev_front f;

	if (!len || !front_begin(cd, &f))
		return;
	f.receive(f.opaque, buf, len);
	front_end(&f);
}

/* Read once.  False when there is no more to read now. */
static bool chardev_read_some(struct chardev *cd)
{
	uint8_t buf[512];
	size_t room = chardev_room(cd);
	ssize_t n;

	if (!room)
		return false;
	n = read(cd->in_fd, buf, min_u64(room, sizeof(buf)));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		cd->in_eof = true;
		return false;
	}
	if (cd->kind->filter)
		n = (ssize_t)cd->kind->filter(cd, buf, (size_t)n);
	chardev_give(cd, buf, (size_t)n);
	return cd->in_fd >= 0;
}

/* Make in_w watch for `events`; 0: for nothing. */
static void chardev_watch_in(struct chardev *cd, uint32_t events)
{
	if (cd->in_events == events)
		return;
	loop_fd_remove(cd->in_w);
	cd->in_w = NULL;
	cd->in_events = events;
	if (!events)
		return;
	cd->in_w = loop_fd_add(cd->loop, cd->in_fd, events, NULL, chardev_in_ready, cd);
	if (!cd->in_w)
		cd->in_events = 0;
}

/* Watch the input when the front end has room; without room only for the peer's leaving. */
static void chardev_pump_in(struct chardev *cd)
{
	if (cd->in_fd < 0)
		return;
	if (cd->in_eof) {
		chardev_watch_in(cd, 0);
	} else if (!chardev_room(cd)) {
		chardev_watch_in(cd, cd->kind->peer_left && !cd->in_left ? EPOLLRDHUP : 0);
	} else {
		chardev_watch_in(cd, EPOLLIN);
		while (!cd->in_w && chardev_read_some(cd)) /* a file: always ready */
			;
	}
}

static void chardev_in_ready(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;

	if (!cd->in_w)
		return;
	if (cd->in_events & EPOLLIN) {
		chardev_read_some(cd);
	} else {
		cd->in_left = true;
		cd->kind->peer_left(cd);
	}
	if (cd->in_eof && cd->kind->hangup)
		chardev_hangup(cd);
	else
		chardev_pump_in(cd);
}

void chardev_tell_writable(struct chardev *cd)
{
	struct chardev_front f;

	if (!front_begin(cd, &f))
		return;
	if (f.writable)
		f.writable(f.opaque);
	front_end(&f);
}

/* Write what is queued, watch the output while something is left. */
static void chardev_pump_out(struct chardev *cd)
{
	bool room, broken, left;
	int fd;

	lock_take(&cd->lock);
	queue_drain_locked(cd);
	fd = cd->out_fd;
	broken = cd->out_broken;
	left = cd->q_len != 0;
	room = cd->out_starved && cd->q_len <= CHARDEV_QUEUE / 2;
	if (room)
		cd->out_starved = false;
	lock_drop(&cd->lock);
	if (left && !cd->out_w) {
		cd->out_w = loop_fd_add(cd->loop, fd, EPOLLOUT, NULL, chardev_out_ready, cd);
	} else if (!left && cd->out_w) {
		loop_fd_remove(cd->out_w);
		cd->out_w = NULL;
	}
	if (room)
		chardev_tell_writable(cd);
	if (broken)
		chardev_hangup(cd);
}

static void chardev_out_ready(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;

	if (cd->out_w)
		chardev_pump_out(cd);
}

static void chardev_kicked(void *opaque, uint32_t events)
{
	struct chardev *cd = opaque;
	uint64_t n;

	while (read(cd->kick_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
	if (cd->in_fd >= 0 && !cd->announced) {
		cd->announced = true;
		chardev_event(cd, CHARDEV_EV_OPENED);
	}
	chardev_pump_out(cd);
	if (cd->mux)
		mux_pump(cd);
	chardev_pump_in(cd);
	if (cd->in_eof && cd->in_fd >= 0 && cd->kind->hangup)
		chardev_hangup(cd);
}

void chardev_stream_open(struct chardev *cd, int in_fd, int out_fd)
{
	bug_on(cd->in_fd >= 0 || cd->out_fd >= 0);
	cd->in_fd = in_fd;
	cd->in_eof = cd->in_left = false;
	cd->announced = false;
	lock_take(&cd->lock);
	cd->out_fd = out_fd;
	cd->out_broken = false;
	lock_drop(&cd->lock);
	chardev_kick(cd);
}

void chardev_stream_close(struct chardev *cd)
{
	bool starved;
	int out_fd;

	chardev_watch_in(cd, 0);
	loop_fd_remove(cd->out_w);
	cd->out_w = NULL;
	lock_take(&cd->lock);
	out_fd = cd->out_fd;
	cd->out_fd = -1;
	cd->out_broken = false;
	cd->q_len = 0;
	starved = cd->out_starved;
	cd->out_starved = false;
	lock_drop(&cd->lock);
	if (cd->in_fd >= 0)
		close(cd->in_fd);
	if (out_fd >= 0 && out_fd != cd->in_fd)
		close(out_fd);
	cd->in_fd = -1;
	if (cd->announced)
		chardev_event(cd, CHARDEV_EV_CLOSED);
	cd->announced = false;
	if (starved)
		chardev_tell_writable(cd);
}

int chardev_attach(struct chardev *cd, const struct chardev_front *front, struct err **e)
{
	bool busy;

	if (cd->mux && !cd->base)
		cd = mux_first(cd);
	lock_take(&cd->lock);
	busy = cd->attached;
	if (!busy) {
		cd->front = *front;
		cd->attached = true;
	}
	lock_drop(&cd->lock);
	if (busy)
		return err_set(e, EBUSY, "character device '%s' is in use", cd->id);
	if (cd->base)
		mux_attach(cd);
	chardev_kick(cd->base ? cd->base : cd);
	return 0;
}

void chardev_detach(struct chardev *cd)
{
	if (cd->mux && !cd->base)
		cd = mux_first(cd);
	lock_take(&cd->lock);
	cd->attached = false;
	lock_drop(&cd->lock);
}

bool chardev_attached(struct chardev *cd)
{
	bool attached;

	if (cd->mux && !cd->base)
		return mux_attached(cd);
	lock_take(&cd->lock);
	attached = cd->attached;
	lock_drop(&cd->lock);
	return attached;
}

void chardev_accept_input(struct chardev *cd)
{
	if (cd->mux && !cd->base)
		cd = mux_first(cd);
	if (atomic_exchange(&cd->in_blocked, false))
		chardev_kick(cd->base ? cd->base : cd);
}

struct chardev *chardev_front_end(struct chardev *cd)
{
	return cd->mux ? mux_front_end(cd) : cd;
}

bool chardev_focused(struct chardev *cd)
{
	if (cd->mux && !cd->base)
		cd = mux_first(cd);
	return !cd->mux || mux_focused(cd);
}

void chardev_set_escape(struct chardev *cd, void (*quit)(void *opaque), void *opaque)
{
	if (!cd->mux)
		return;
	mux_set_quit(cd, quit, opaque);
	if (cd->kind->escape)
		cd->kind->escape(cd);
}

const char *chardev_id(const struct chardev *cd)
{
	return cd->id;
}

const char *chardev_where(const struct chardev *cd)
{
	return cd->where;
}

bool chardev_is_mux(const struct chardev *cd)
{
	return cd->is_mux;
}

char *chardev_filename(struct chardev *cd)
{
	if (cd->base)
		cd = cd->base;
	return cd->kind->filename ? cd->kind->filename(cd) : xstrdup(cd->kind->name);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Give a reader that is merely slow the chance to see the last words. */
static void chardev_flush(struct chardev *cd)
{
	int64_t deadline = now_ms() + FLUSH_MS;

	lock_take(&cd->lock);
	if (cd->held_cr && cd->out_fd >= 0 && !cd->out_broken)
		out_add_locked(cd, (const uint8_t *)"\r", 1);
	cd->held_cr = false;
	while (cd->out_fd >= 0 && cd->q_len && !cd->out_broken && now_ms() < deadline) {
		struct pollfd p = {.fd = cd->out_fd, .events = POLLOUT};

		queue_drain_locked(cd);
		if (cd->q_len)
			poll(&p, 1, 20);
	}
	lock_drop(&cd->lock);
}

int chardev_new(struct chardev **out, struct loop *loop, const char *id,
		const struct chardev_kind *kind, struct err **e)
{
	struct chardev *cd;
	int r, fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return err_set(e, errno, "cannot make an eventfd: %s", strerror(errno));
	cd = xzalloc(sizeof(*cd));
	cd->kick_w = loop_fd_add(loop, fd, EPOLLIN, NULL, chardev_kicked, cd);
	if (!cd->kick_w) {
		r = err_set(e, errno, "cannot watch an eventfd: %s", strerror(errno));
		close(fd);
		free(cd);
		return r;
	}
	cd->kind = kind;
	cd->loop = loop;
	cd->id = xstrdup(id);
	cd->kick_fd = fd;
	cd->in_fd = cd->out_fd = cd->log_fd = -1;
	lock_init(&cd->lock, LOCK_RANK_CHARDEV, "chardev");
	*out = cd;
	return 0;
}

void chardev_free(struct chardev *cd)
{
	loop_fd_remove(cd->kick_w);
	close(cd->kick_fd);
	if (cd->log_fd >= 0)
		close(cd->log_fd);
	lock_fini(&cd->lock);
	free(cd->where);
	free(cd->id);
	free(cd);
}

void chardev_close(struct chardev *cd)
{
	if (!cd)
		return;
	chardev_flush(cd);
	if (cd->mux)
		mux_destroy(cd);
	lock_take(&cd->lock);
	cd->attached = false;
	lock_drop(&cd->lock);
	chardev_stream_close(cd);
	cd->kind->close(cd);
	chardev_free(cd);
}
