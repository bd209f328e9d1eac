/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the kinds of character back ends share.  Private to this folder; chardev.c has the theory.
 */
#include <stdatomic.h>
#include "back/char/chardev.h"
#include "base/base.h"
#include "base/kvlist.h"
#include "base/lock.h"
#include "base/loop.h"

#define CHARDEV_QUEUE 65536 /* bytes of output that wait for a slow peer; a power of two */

struct chardev_kind {
	const char *name; /* as in "-chardev NAME,..." */
	const char *help;
	const char *keys[12]; /* options that open() understands; NULLs at the end */
	/* Take what is needed from opts and open; 0 or -errno with *e.  On failure leaves nothing
	 * behind. */
	int (*open)(struct chardev *cd, struct kvlist *opts, struct err **e);
	void (*close)(struct chardev *cd); /* after the stream is closed */
	/* The peer is gone (end of file, error); the stream is already closed.  NULL: nothing
	 * follows. */
	void (*hangup)(struct chardev *cd);
	/* The peer has closed its end but the front end has yet to take what it sent: somebody else
	 * may be let in.  NULL: nothing follows. */
	void (*peer_left)(struct chardev *cd);
	/* Ctrl-a handling was switched on.  NULL: of no interest. */
	void (*escape)(struct chardev *cd);
	/* Take output instead of a stream; cd->lock held.  NULL: there are streams. */
	void (*write)(struct chardev *cd, const uint8_t *buf, size_t len);
	/* Take out of what was read what is not for the front end; returns the bytes left.  NULL:
	 * everything is. */
	size_t (*filter)(struct chardev *cd, uint8_t *buf, size_t len);
	/* chardev_filename, malloc'ed.  NULL: the name of the kind. */
	char *(*filename)(struct chardev *cd);
};

struct mux;

struct chardev {
	const struct chardev_kind *kind;
	struct loop *loop;
	char *id, *where;
	bool is_mux; /* asked for as mon:..., or mux=on: the console wants escape keys */
	struct mux *mux; /* of a multiplexer, and of each of its front ends */
	struct chardev *base; /* of a multiplexer's front end: where the bytes go; else NULL */
	void *priv;

	/* Loop thread only. */
	int in_fd;
	struct loop_fd *in_w, *out_w, *kick_w;
	uint32_t in_events; /* that in_w watches for */
	bool in_eof;
	bool in_left; /* peer_left was called for this stream */
	bool announced; /* the front end has seen CHARDEV_EV_OPENED */
	atomic_bool in_blocked; /* the front end had no room */

	struct lock lock; /* all below */
	struct chardev_front front;
	bool attached;
	int out_fd;
	bool out_broken; /* writing failed: the loop thread closes the stream */
	int out_errno; /* why; 0: said already */
	bool squeeze_cr, held_cr; /* the output's terminal adds a CR to each LF; a CR waits */
	bool out_starved; /* a chardev_write was short */
	int log_fd; /* logfile=: a copy of what is written; -1: none */
	uint32_t q_head, q_len;
	uint8_t queue[CHARDEV_QUEUE];
	int kick_fd; /* eventfd; constant */
};

/* chardev_new - 0, or -errno with *e when the host has no descriptors left. */
int chardev_new(struct chardev **out, struct loop *loop, const char *id,
		const struct chardev_kind *kind, struct err **e);
void chardev_free(struct chardev *cd);
/* chardev_stream_open - start moving bytes: in_fd (-1: none) is polled, out_fd (-1: output
 * vanishes) written. Both are owned by the chardev from here on and must be non-blocking, or never
 * block.  Loop thread. */
void chardev_stream_open(struct chardev *cd, int in_fd, int out_fd);
/* chardev_stream_close - close both, drop what is queued, tell the front end.  Loop thread. */
void chardev_stream_close(struct chardev *cd);
/* chardev_print - text of our own to the console's output. */
void chardev_print(struct chardev *cd, const char *text);
int fd_set_nonblock(int fd);

/* What a multiplexer does to its front ends, on the loop thread; each copes with nobody attached. */
void chardev_event(struct chardev *cd, int event);
size_t chardev_room(struct chardev *cd);
void chardev_give(struct chardev *cd, const uint8_t *buf, size_t len);
void chardev_tell_writable(struct chardev *cd);
void chardev_kick(struct chardev *cd);

/* mux.c.  mux_create - put a multiplexer in front of cd, whose own front end it becomes. */
void mux_create(struct chardev *cd);
void mux_destroy(struct chardev *cd);
struct chardev *mux_front_end(struct chardev *cd);
/* mux_first - the front end that cd's own handle stands for. */
struct chardev *mux_first(struct chardev *cd);
/* mux_attach - a front end got a user. */
void mux_attach(struct chardev *front);
bool mux_attached(struct chardev *cd);
bool mux_focused(struct chardev *front);
/* mux_pump - give the front ends what waits for them. */
void mux_pump(struct chardev *cd);
void mux_set_quit(struct chardev *cd, void (*quit)(void *opaque), void *opaque);

/* telnet.c: RFC 854, 857, 858. */
struct telnet {
	uint8_t state;
};
#define TELNET_HELLO "\xff\xfb\x01\xff\xfb\x03" /* IAC WILL ECHO, IAC WILL SUPPRESS-GO-AHEAD */
/* telnet_filter - take commands out of buf; returns the bytes left. */
size_t telnet_filter(struct telnet *t, uint8_t *buf, size_t len);

extern const struct chardev_kind chardev_null, chardev_file, chardev_stdio, chardev_pty,
	chardev_pipe, chardev_socket, chardev_udp, chardev_ringbuf, chardev_memory, chardev_vc;
