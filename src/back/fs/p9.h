/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * 9P2000.L server of a shared folder: one session (p9_handle: message in, message out, at once),
 * and a queue of requests that worker threads answer (p9_queue), for devices.
 *
 * The client is hostile, and so may be what it does to its buffers meanwhile: a message is copied
 * once, but for the data of Twrite, which go to the file, and of Rread, which come from there, with
 * no copy in between.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct fsdev;
struct lock;
struct p9_server;
struct p9_queue;

#define P9_MSIZE_MIN 4096
#define P9_MSIZE_MAX (1024 * 1024)

/* A message and room for the reply. */
struct p9_io {
	const struct iovec *out; /* the client's message */
	unsigned n_out;
	const struct iovec *in; /* the reply goes here */
	unsigned n_in;
};

/* p9_server_create - a session that waits for Tversion.  f outlives it.  p9_server_destroy: nothing
 * is being handled. */
struct p9_server *p9_server_create(struct fsdev *f);
void p9_server_destroy(struct p9_server *s);
/*
 * p9_handle - answer one message: *reply_len gets the length of the reply.  -EBADMSG: there is no
 * message in the buffers, or no room for a reply; nothing was done.  May block as files do; any
 * thread, and several at a time.  What 9P says about order (Tflush, Tversion) is p9_queue's.
 */
int p9_handle(struct p9_server *s, const struct p9_io *io, uint32_t *reply_len);
/* p9_reset - forget the client: as before Tversion.  Nothing is being handled. */
void p9_reset(struct p9_server *s);
/* p9_in_use - has a client attached to the folder? */
bool p9_in_use(struct p9_server *s);

/*
 * A session apart from its process (p9_save.c has the form).
 *
 * p9_save - *data gets the bytes (malloc'ed, the caller's), at most P9_SAVED_MAX of them: how many.
 * Nothing is being handled; the session goes on.  Asks the host about each file, and changes none.
 */
#define P9_SAVED_MAX (512 * 1024 * 1024)
uint32_t p9_save(struct p9_server *s, uint8_t **data);
struct p9_saved;
/* p9_saved_read - what p9_save made, or anybody at all: -EINVAL with *e when it is no session.  No
 * bytes are one that waits for Tversion.  data may go away after that.  Any thread. */
int p9_saved_read(struct p9_saved **out, const uint8_t *data, size_t len, struct err **e);
void p9_saved_free(struct p9_saved *v); /* NULL is fine */
/*
 * p9_load - in place of the session that there was: files are looked up again by their names in s's
 * folder.  The client gets ESTALE for those that are not there, or not the same, or can't be opened
 * as they were; one line in the folder's log says how many, and which (some).  Nothing is being
 * handled.  Takes as long as the host does.
 */
void p9_load(struct p9_server *s, const struct p9_saved *v);

/* A request in the queue; the caller's from p9_queue_submit until done is called. */
struct p9_req {
	struct p9_io io;
	/* rc 0: the reply is `reply_len` bytes; -EBADMSG: see p9_handle; -ECANCELED: by
	 * p9_queue_reset, nothing was written.  Front's lock held. */
	void (*done)(struct p9_req *r, int rc, uint32_t reply_len);
	void *opaque;

	/* The queue's own. */
	struct p9_req *next;
	uint8_t type;
	uint16_t tag;
	uint16_t old_tag; /* Tflush */
	uint64_t seq;
	int rc;
	uint32_t reply_len;
};

/* p9_queue_create - a session and n_workers (1..16) threads that serve it; `front` is held by who
 * calls any of these, and around done. */
struct p9_queue *p9_queue_create(struct fsdev *f, struct lock *front, unsigned n_workers);
/* p9_queue_destroy - as p9_queue_reset, and free it.  Drops the lock while threads end. */
void p9_queue_destroy(struct p9_queue *q);
/* p9_queue_submit - start r; done is never called from inside. */
void p9_queue_submit(struct p9_queue *q, struct p9_req *r);
/* p9_queue_drain - returns when everything submitted is done. */
void p9_queue_drain(struct p9_queue *q);
/* p9_queue_reset - give up what has not begun, wait for the rest (all are done then), and forget
 * the client. */
void p9_queue_reset(struct p9_queue *q);
/* p9_queue_cancel - the same, but the client stays. */
void p9_queue_cancel(struct p9_queue *q);
bool p9_queue_in_use(struct p9_queue *q);
/* p9_queue_save, p9_queue_load - p9_save and p9_load when everything submitted is done. */
uint32_t p9_queue_save(struct p9_queue *q, uint8_t **data);
void p9_queue_load(struct p9_queue *q, const struct p9_saved *v);
