/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * State of each 4 KiB page of guest RAM, by RAM offset: has it been written since the dirty log was
 * last read, and does it hold code that an engine has decoded.
 *
 * Stores through an engine's fast path must not need this state: an engine may give a page a fast
 * write translation only when mem_page_fast_write() says so, and must drop such translations when it
 * is called to (struct page_ops below).  All other stores end in mem_written().
 *
 * Code: before an engine reads code bytes to decode them it calls mem_code_mark() and remembers
 * mem_code_gen(); a block decoded from the page is valid while the generation is the same.  A store that
 * hits a marked 64-byte chunk raises the page's generation, after the bytes are in memory, and clears
 * its marks.  Order that makes it safe: decoder: mark and read the generation under the code lock, then
 * read bytes; store: write bytes, fence, read marks; on a hit raise and clear under the code lock.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mem;

struct mem_page {
	_Atomic uint64_t chunks; /* bit n: bytes 64n..64n+63 were decoded */
	_Atomic uint32_t gen;	 /* raised when decoded bytes may have changed */
	_Atomic uint8_t clean;	 /* not written since mem_dirty_take; 0 while the log is off */
	uint8_t guarded;	 /* protect() has completed since chunks left 0; under code lock */
};

/* Hooks of the engine.  protect(): make every vCPU stop using fast write translations of the page at
 * ram_off (UINT64_MAX: of all pages) and return only when none can be in use; called with no lock
 * held, from a vCPU thread or the loop thread. */
struct page_ops {
	void (*protect)(void *opaque, uint64_t ram_off);
	/* The generation of the page at ram_off was raised: for engines that do not compare it on
	 * each entry of a block; may be NULL.  Called by whoever stored, under the code lock. */
	void (*raised)(void *opaque, uint64_t ram_off);
	void *opaque;
};

void mem_set_page_ops(struct mem *m, const struct page_ops *ops);

/* The page-state array, one entry per page of RAM. */
struct mem_page *mem_pages(const struct mem *m);

/* mem_page_fast_write - may stores to this page bypass mem_written? */
static inline bool mem_page_fast_write(const struct mem_page *p)
{
	return atomic_load_explicit(&p->chunks, memory_order_relaxed) == 0 &&
	       atomic_load_explicit(&p->clean, memory_order_relaxed) == 0;
}

static inline uint32_t mem_code_gen(const struct mem_page *p)
{
	return atomic_load_explicit(&p->gen, memory_order_acquire);
}

/* mem_code_mark - [ram_off, ram_off+len) inside one page is about to be decoded.  Returns the
 * generation to remember for what is decoded.  When the page held no code before, calls
 * page_ops.protect (so: from a vCPU thread that may stop the others). */
uint32_t mem_code_mark(struct mem *m, uint64_t ram_off, uint32_t len);

/* mem_written - bytes [ram_off, ram_off+len) were just written: marks them dirty, and raises the
 * generations of pages whose decoded chunks they hit.  True when any generation was raised.  Any thread. */
bool mem_written(struct mem *m, uint64_t ram_off, uint64_t len);

/* Dirty log.  start: log on, every page counted as dirty first.  take: copies a bitmap of pages
 * dirtied since the last take (bit per page, (pages+63)/64 words) and makes them clean. */
void mem_dirty_start(struct mem *m);
void mem_dirty_stop(struct mem *m);
uint64_t mem_dirty_take(struct mem *m, uint64_t *bitmap);
