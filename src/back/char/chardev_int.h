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
};

struct chardev_escape {
	bool on, got; /* got: the last byte was Ctrl-a */
	void (*quit)(void *opaque);
	void *opaque;
};

struct chardev {
	const struct chardev_kind *kind;
	struct loop *loop;
	char *id, *where;
	bool mux; /* asked for as mon:..., or mux=on: the console wants escape keys */
	struct chardev_escape esc;
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
	uint32_t q_head, q_len;
	uint8_t queue[CHARDEV_QUEUE];
	int kick_fd; /* eventfd; constant */
};

struct chardev *chardev_new(struct loop *loop, const char *id, const struct chardev_kind *kind);
void chardev_free(struct chardev *cd);
/* chardev_stream_open - start moving bytes: in_fd (-1: none) is polled, out_fd (-1: output
 * vanishes) written. Both are owned by the chardev from here on and must be non-blocking, or never
 * block.  Loop thread. */
void chardev_stream_open(struct chardev *cd, int in_fd, int out_fd);
/* chardev_stream_close - close both, drop what is queued, tell the front end.  Loop thread. */
void chardev_stream_close(struct chardev *cd);
/* chardev_print - text of our own to the console's output. */
void chardev_print(struct chardev *cd, const char *text);
/* chardev_event - tell the front end.  Loop thread. */
void chardev_event(struct chardev *cd, int event);
/* chardev_escape_filter - take out of buf what is meant for us; returns the bytes left.  *event
 * gets CHARDEV_EV_BREAK or -1, *quit that the person wants to leave. */
size_t chardev_escape_filter(struct chardev *cd, uint8_t *buf, size_t len, int *event, bool *quit);
int fd_set_nonblock(int fd);

extern const struct chardev_kind chardev_null, chardev_file, chardev_stdio, chardev_pty,
	chardev_pipe, chardev_socket;
