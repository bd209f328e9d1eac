/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A multiplexer is the one front end of a console's chardev, and has up to MUX_FRONTS front ends of
 * its own (serial port, monitor...), each behind a chardev without streams.  What these write goes
 * straight to the console.  What is typed goes to the one that has the focus; Ctrl-a keys are taken
 * out as soon as they are read, so that they work while a front end takes nothing: its bytes wait
 * in a queue of its own, and only when that is full the console is not read any more.
 *
 * Threads: all of it on the loop thread, but chardev_write, chardev_attach and chardev_accept_input
 * of a front end, which touch only its chardev and the console's queue and kick the loop.
 */
#include <stdlib.h>
#include <string.h>
#include "back/char/chardev_int.h"

#define CTRL_A 1
#define MUX_FRONTS 8
#define MUX_QUEUE 1024

struct mux_front {
	struct chardev *cd;
	size_t len;
	uint8_t wait[MUX_QUEUE];
};

struct mux {
	struct chardev *cd; /* the console */
	unsigned n, focus;
	_Atomic int first; /* the first that was attached; -1: none was */
	bool chosen; /* a person has moved the focus */
	bool handed_out; /* the first front end has a user */
	bool got; /* the last byte was Ctrl-a */
	bool quit;
	void (*on_quit)(void *opaque);
	void *quit_opaque;
	struct mux_front front[MUX_FRONTS];
};

/* Until a person moves it, and when its front end has gone, the focus is at the first that is
 * attached. */
static struct mux_front *mux_focus(struct mux *m)
{
	int first = atomic_load(&m->first);
	bool stay;

	if (!m->chosen && first >= 0)
		m->focus = (unsigned)first;
	stay = chardev_attached(m->front[m->focus].cd);
	for (unsigned i = 0; !stay && i < m->n; i++) {
		if (!chardev_attached(m->front[i].cd))
			continue;
		m->focus = i;
		break;
	}
	return &m->front[m->focus];
}

static void mux_front_pump(struct mux_front *f)
{
	while (f->len) {
		size_t n = min_u64(chardev_room(f->cd), f->len);

		if (!n)
			return;
		chardev_give(f->cd, f->wait, n);
		f->len -= n;
		memmove(f->wait, f->wait + n, f->len);
	}
}

void mux_pump(struct chardev *cd)
{
	for (unsigned i = 0; i < cd->mux->n; i++)
		mux_front_pump(&cd->mux->front[i]);
}

/* Each typed byte can become one byte of any front end. */
static size_t mux_can_receive(void *opaque)
{
	struct mux *m = opaque;
	struct mux_front *f = mux_focus(m);

	mux_front_pump(f);
	return chardev_attached(f->cd) ? MUX_QUEUE - f->len : 0;
}

static void mux_switch(struct mux *m)
{
	struct mux_front *from = mux_focus(m);
	unsigned next = m->focus;

	do {
		next = (next + 1) % m->n;
	} while (next != m->focus && !chardev_attached(m->front[next].cd));
	if (next == m->focus) {
		chardev_print(m->cd, "\r\nThere is nothing to switch to (Ctrl-a h helps).\r\n");
		return;
	}
	m->chosen = true;
	m->focus = next;
	chardev_event(from->cd, CHARDEV_EV_UNFOCUS);
	chardev_event(m->front[next].cd, CHARDEV_EV_FOCUS);
}

static void mux_help(struct mux *m)
{
	chardev_print(m->cd, "\r\n"
			     "Ctrl-a h       this help\r\n"
			     "Ctrl-a x       leave: the machine is switched off\r\n"
			     "Ctrl-a c       go on to the monitor, or back\r\n"
			     "Ctrl-a b       send a break\r\n"
			     "Ctrl-a Ctrl-a  send Ctrl-a\r\n");
}

/* The key after Ctrl-a. */
static void mux_key(struct mux *m, uint8_t key)
{
	switch (key) {
	case 'x':
		m->quit = true;
		chardev_print(m->cd, "\r\nLeft the console; the machine is switched off.\r\n");
		break;
	case 'b':
		chardev_event(mux_focus(m)->cd, CHARDEV_EV_BREAK);
		break;
	case 'c':
		mux_switch(m);
		break;
	default:
		mux_help(m);
	}
}

/* A byte for the front end that has the focus.  There is room, but for what follows a switch to one
 * that takes nothing: that is lost, as on a line without flow control. */
static void mux_put(struct mux *m, uint8_t byte)
{
	struct mux_front *f = mux_focus(m);

	if (f->len < MUX_QUEUE)
		f->wait[f->len++] = byte;
}

static void mux_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct mux *m = opaque;

	for (size_t i = 0; i < len && !m->quit; i++) {
		bool got = m->got;

		m->got = !got && buf[i] == CTRL_A;
		if (m->got)
			continue;
		if (!got || buf[i] == CTRL_A) {
			mux_put(m, buf[i]);
			continue;
		}
		mux_front_pump(mux_focus(m)); /* what was typed before the key comes before it */
		mux_key(m, buf[i]);
	}
	mux_front_pump(mux_focus(m));
	if (m->quit && m->on_quit)
		m->on_quit(m->quit_opaque);
	m->quit = false;
}

static void mux_writable(void *opaque)
{
	struct mux *m = opaque;

	for (unsigned i = 0; i < m->n; i++)
		chardev_tell_writable(m->front[i].cd);
}

static void mux_event(void *opaque, int event)
{
	struct mux *m = opaque;

	m->got = false;
	for (unsigned i = 0; i < m->n; i++)
		chardev_event(m->front[i].cd, event);
}

static struct chardev *front_new(struct mux *m)
{
	struct chardev *cd = xzalloc(sizeof(*cd));

	cd->kind = m->cd->kind;
	cd->loop = m->cd->loop;
	cd->id = xstrdup(m->cd->id);
	cd->is_mux = true;
	cd->mux = m;
	cd->base = m->cd;
	cd->in_fd = cd->out_fd = cd->log_fd = cd->kick_fd = -1;
	lock_init(&cd->lock, LOCK_RANK_CHARDEV, "chardev");
	m->front[m->n++].cd = cd;
	return cd;
}

void mux_attach(struct chardev *front)
{
	struct mux *m = front->mux;

	for (unsigned i = 0; i < m->n; i++) {
		int none = -1;

		if (m->front[i].cd == front)
			atomic_compare_exchange_strong(&m->first, &none, (int)i);
	}
}

void mux_create(struct chardev *cd)
{
	struct mux *m = xzalloc(sizeof(*m));
	struct chardev_front front = {
		.can_receive = mux_can_receive,
		.receive = mux_receive,
		.writable = mux_writable,
		.event = mux_event,
		.opaque = m,
	};

	m->cd = cd;
	m->first = -1;
	front_new(m);
	lock_take(&cd->lock);
	cd->front = front;
	cd->attached = true;
	lock_drop(&cd->lock);
	cd->mux = m;
}

void mux_destroy(struct chardev *cd)
{
	struct mux *m = cd->mux;

	for (unsigned i = 0; i < m->n; i++) {
		struct chardev *f = m->front[i].cd;

		lock_fini(&f->lock);
		free(f->id);
		free(f);
	}
	free(m);
	cd->mux = NULL;
}

struct chardev *mux_first(struct chardev *cd)
{
	return cd->mux->front[0].cd;
}

/* The first call gives the first front end, which cd itself stands for. */
struct chardev *mux_front_end(struct chardev *cd)
{
	struct mux *m = cd->mux;

	if (!m->handed_out) {
		m->handed_out = true;
		return m->front[0].cd;
	}
	return m->n < MUX_FRONTS ? front_new(m) : m->cd;
}

bool mux_focused(struct chardev *front)
{
	return mux_focus(front->mux)->cd == front;
}

bool mux_attached(struct chardev *cd)
{
	for (unsigned i = 0; i < cd->mux->n; i++)
		if (chardev_attached(cd->mux->front[i].cd))
			return true;
	return false;
}

void mux_set_quit(struct chardev *cd, void (*quit)(void *opaque), void *opaque)
{
	cd->mux->on_quit = quit;
	cd->mux->quit_opaque = opaque;
}
