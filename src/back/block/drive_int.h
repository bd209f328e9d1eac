/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A drive: see drive.c for its theory of operation. */
#include <pthread.h>
#include "back/block/block.h"
#include "back/block/graph_int.h"
#include "back/block/node.h"
#include "back/block/ring.h"
#include "back/block/throttle.h"
#include "base/lock.h"

#define DRIVE_THREADS 16

struct req_queue {
	struct block_req *first, **end;
};

struct block {
	struct blocks *bs;
	struct block *next;
	char *id;
	struct block_place place;
	struct block_policy policy; /* rerror, werror, cache modes, tray */
	struct node_mode mode; /* how media are opened */
	bool snapshot; /* snapshot=on */
	bool read_only;
	struct block_node *root; /* NULL: no medium.  Changes when drained, under both locks */

	struct block_front front; /* lock NULL: none attached */

	struct lock lock; /* what follows */
	pthread_cond_t work, idle;
	pthread_t threads[DRIVE_THREADS];
	unsigned n_threads, n_waiting, n_todo; /* waiting: for work */
	bool stop;
	unsigned draining;
	struct req_queue todo[2]; /* the second: writes of a throttled drive */
	struct req_queue done, held;
	unsigned running; /* requests that threads are at */
	struct ring *ring;
	bool ring_tried;
	int fast_fd; /* of the medium, with its shift; -1: none */
	uint64_t fast_shift;
	bool delivering; /* a thread is at it, or about to be */
	struct throttle throttle;
	struct block_stats stats;
};

/* drive_new - in bs's list, without a medium. */
struct block *drive_new(struct blocks *bs, const char *id);
/* drive_free - out of the list; nothing attached.  The medium is closed. */
void drive_free(struct block *b);
/* drive_set_root - the medium; drained.  Takes the reference; what was there before is put. */
void drive_set_root(struct block *b, struct block_node *root);
/* drive_insert - a node, whose reference is taken in any case, becomes the medium; snapshot=on puts
 * an overlay above it. */
int drive_insert(struct block *b, struct block_node *n, struct err **e);
/* drive_do - one request, right here. */
int drive_do(struct block *b, struct block_req *r);
/* drive_error - what is to be done about a failed request; tells the hook. */
enum block_action drive_error(struct block *b, const struct block_req *r);
/* For the ring, with the drive's lock: r has ended; has to be done by the threads; complete what
 * has ended. */
void drive_ended(struct block *b, struct block_req *r, int rc);
void drive_again(struct block *b, struct block_req *r);
void drive_deliver_or_pass(struct block *b);
void queue_push(struct req_queue *q, struct block_req *r);
struct block_req *queue_pop(struct req_queue *q);
