/* SPDX-License-Identifier: Apache-2.0 */
/* Page state: the dirty log, and marks of decoded code (the protocol is in page.h). */
#include "mem/page.h"
#include <string.h>
#include "mem/mem_int.h"

void mem_set_page_ops(struct mem *m, const struct page_ops *ops)
{
	m->page_ops = *ops;
}

struct mem_page *mem_pages(const struct mem *m)
{
	return m->pages;
}

static uint64_t chunk_mask(uint32_t off, uint32_t len)
{
	return bits_set(0, (off + len - 1) / 64, off / 64, ~UINT64_C(0));
}

static void page_protect(struct mem *m, uint64_t ram_off)
{
	if (m->page_ops.protect)
		m->page_ops.protect(m->page_ops.opaque, ram_off);
}

uint32_t mem_code_mark(struct mem *m, uint64_t ram_off, uint32_t len)
{
	uint64_t page_off = align_down(ram_off, PAGE_SIZE);
	struct mem_page *p = &m->pages[ram_off / PAGE_SIZE];
	uint64_t mask = chunk_mask((uint32_t)PAGE_OFFSET(ram_off), len);
	uint32_t gen;
	bool guarded;

	bug_on(!len || PAGE_OFFSET(ram_off) + len > PAGE_SIZE);
	lock_take(&m->code_lock);
	atomic_fetch_or(&p->chunks, mask);
	gen = mem_code_gen(p);
	guarded = p->guarded;
	lock_drop(&m->code_lock);
	if (guarded)
		return gen;
	page_protect(m, page_off);
	lock_take(&m->code_lock);
	/* A raise meanwhile unguarded the page again: what is decoded now is stale at once, by gen. */
	if (mem_code_gen(p) == gen)
		p->guarded = 1;
	lock_drop(&m->code_lock);
	return gen;
}

/* Bytes in marked chunks changed: everything decoded from the page is void. */
static bool page_raise(struct mem *m, struct mem_page *p, uint64_t mask)
{
	bool hit;

	lock_take(&m->code_lock);
	hit = atomic_load(&p->chunks) & mask;
	if (hit) {
		atomic_fetch_add_explicit(&p->gen, 1, memory_order_release);
		atomic_store(&p->chunks, 0);
		p->guarded = 0;
		if (m->page_ops.raised)
			m->page_ops.raised(m->page_ops.opaque,
					   (uint64_t)(p - m->pages) * PAGE_SIZE);
	}
	lock_drop(&m->code_lock);
	return hit;
}

bool mem_written(struct mem *m, uint64_t ram_off, uint64_t len)
{
	bool raised = false;

	atomic_thread_fence(memory_order_seq_cst);
	while (len) {
		struct mem_page *p = &m->pages[ram_off / PAGE_SIZE];
		uint32_t off = (uint32_t)PAGE_OFFSET(ram_off);
		uint32_t n = (uint32_t)min_u64(len, PAGE_SIZE - off);
		uint64_t mask = chunk_mask(off, n);

		if (unlikely(atomic_load_explicit(&p->clean, memory_order_relaxed)))
			atomic_store(&p->clean, 0);
		if (unlikely(atomic_load_explicit(&p->chunks, memory_order_relaxed) & mask))
			raised |= page_raise(m, p, mask);
		ram_off += n;
		len -= n;
	}
	return raised;
}

void mem_dirty_start(struct mem *m)
{
	m->dirty_on = true;
}

void mem_dirty_stop(struct mem *m)
{
	uint64_t n = m->ram_size / PAGE_SIZE;

	m->dirty_on = false;
	for (uint64_t i = 0; i < n; i++)
		if (atomic_load_explicit(&m->pages[i].clean, memory_order_relaxed))
			atomic_store(&m->pages[i].clean, 0);
}

/*
 * Pages are made clean before fast write translations are dropped: a store that slips in between marks
 * nothing, but protect() returns only when no such store is in flight, and the caller copies
 * the pages after that, so the bytes it stored are seen.
 */
uint64_t mem_dirty_take(struct mem *m, uint64_t *bitmap)
{
	uint64_t n = m->ram_size / PAGE_SIZE, count = 0;

	bug_on(!m->dirty_on);
	memset(bitmap, 0, (n + 63) / 64 * sizeof(*bitmap));
	for (uint64_t i = 0; i < n; i++) {
		if (atomic_exchange(&m->pages[i].clean, 1))
			continue;
		bitmap[i / 64] |= BIT(i % 64);
		count++;
	}
	page_protect(m, UINT64_MAX);
	return count;
}
