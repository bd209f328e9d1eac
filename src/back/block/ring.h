/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * io_uring for drives whose image is a file as it is: a request goes to the kernel where it is
 * submitted, and no thread of ours waits for it but the one that reaps.
 */
#include <stdbool.h>
#include <stdint.h>

struct block;
struct block_req;
struct ring;

/* ring_create - NULL: the host has none (an old kernel, a container that forbids it). */
struct ring *ring_create(struct block *b);
/* ring_destroy - nothing in flight; drive's lock not held.  NULL is fine. */
void ring_destroy(struct ring *g);
/* ring_submit - start a read or write at that offset of fd; drive's lock held.  False: no room. */
bool ring_submit(struct ring *g, struct block_req *r, int fd, uint64_t off);
/* ring_reap - take what has ended; drive's lock held. */
void ring_reap(struct ring *g);
