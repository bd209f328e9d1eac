/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Character back ends: where the bytes of a serial port, debug console or monitor come from and go
 * to.  One front end at a time attaches; with a multiplexer (mon:..., mux=on) there are several, each
 * by a handle of its own (chardev_front_end).  All calls: with the front end's lock held or on the
 * loop thread; callbacks run on the loop thread with `front.lock` held.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;
struct err;
struct lock;
struct loop;

struct chardev_front {
	struct lock *lock;
	/* How many bytes can be taken now?  0 stops reading until chardev_accept_input. */
	size_t (*can_receive)(void *opaque);
	void (*receive)(void *opaque, const uint8_t *buf, size_t len);
	void (*writable)(void *opaque); /* room again after a short chardev_write; may be NULL */
	void (*event)(void *opaque, int event); /* CHARDEV_EV_*; may be NULL */
	void *opaque;
};
enum {
	CHARDEV_EV_OPENED,
	CHARDEV_EV_CLOSED,
	CHARDEV_EV_BREAK,
	CHARDEV_EV_FOCUS,   /* of a multiplexer: what is typed comes here from now on */
	CHARDEV_EV_UNFOCUS, /* ... goes elsewhere; a polite front end holds its output */
};

/* chardev_open - from a QEMU-dialect -serial style spec ("stdio", "mon:stdio", "null", "file:PATH",
 * "pty", "vc", "unix:PATH,server=on,wait=off", "pipe:PATH", "tcp:HOST:PORT,server=on,wait=off",
 * "telnet:HOST:PORT,server=on,wait=off"); -EINVAL etc. with *e. */
int chardev_open(struct chardev **out, struct loop *loop, const char *id, const char *spec,
		 struct err **e);
/* chardev_open_opts - from a -chardev argument: "stdio,id=x,signal=off",
 * "file,id=x,path=p,append=on", "socket,id=x,path=p,server=on,wait=off", "null,id=x", "pty,id=x",
 * "ringbuf,id=x,size=64K". */
int chardev_open_opts(struct chardev **out, struct loop *loop, const char *opts, struct err **e);
const char *chardev_id(const struct chardev *cd);
/* chardev_where - what to tell a person ("pty: /dev/pts/3"), or NULL. */
const char *chardev_where(const struct chardev *cd);
/* chardev_filename - the same for programs, as query-chardev has it ("unix:/run/x,server=on",
 * "pty:/dev/pts/3", "null"); the caller frees it. */
char *chardev_filename(struct chardev *cd);
/* chardev_attached - does it, or one of its multiplexed front ends, have a user? */
bool chardev_attached(struct chardev *cd);
/* chardev_is_mux - was it asked for as "mon:..." or with mux=on, that is with escape keys? */
bool chardev_is_mux(const struct chardev *cd);
/*
 * chardev_front_end - a handle for one more user of cd.  With a multiplexer every call gives another
 * one: what each writes goes to the one output, what is typed goes to the one that has the focus
 * (at first the first that is attached; Ctrl-a c goes on to the next).  cd itself is the first.
 * Without a multiplexer, or when there are too many, it is cd.  Lives as long as cd; not closed.
 */
struct chardev *chardev_front_end(struct chardev *cd);
/* chardev_focused - does what is typed go to this front end?  Without a multiplexer: yes.  Loop
 * thread. */
bool chardev_focused(struct chardev *cd);
/* chardev_kinds_help - the kinds of -chardev, one line each, to stdout. */
void chardev_kinds_help(void);
/* chardev_kind_name - of the kind with that number, from 0 on; NULL: there are no more. */
const char *chardev_kind_name(unsigned i);
void chardev_close(struct chardev *cd); /* flushes, restores the terminal; NULL is fine */

/* chardev_attach - set or replace the front end; -EBUSY with *e when one is attached. */
int chardev_attach(struct chardev *cd, const struct chardev_front *front, struct err **e);
void chardev_detach(struct chardev *cd);
/* chardev_write - queue bytes for output; returns how many were accepted (all, unless the peer is
 * slow and the bounded queue is full).  Never blocks. */
size_t chardev_write(struct chardev *cd, const uint8_t *buf, size_t len);
void chardev_accept_input(struct chardev *cd);
/* chardev_set_escape - who is told of Ctrl-a x at a multiplexer (others have no escape keys), on the
 * loop thread. */
void chardev_set_escape(struct chardev *cd, void (*quit)(void *opaque), void *opaque);

/* Ring buffers (ringbuf): what was written last stays to be read.  chardev_ring_read takes out up to
 * len of the oldest bytes; chardev_ring_write adds as the front end does.  Any thread; only when chardev_is_ring. */
bool chardev_is_ring(const struct chardev *cd);
size_t chardev_ring_read(struct chardev *cd, uint8_t *buf, size_t len);
void chardev_ring_write(struct chardev *cd, const uint8_t *buf, size_t len);
