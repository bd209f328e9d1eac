/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Inside src/mem: the two spaces (memory, ports), their mappings and their flat views. */
#include <stdatomic.h>
#include "mem/mem.h"
#include "mem/page.h"

/* A mapping someone asked for. */
struct mem_map {
	struct mem_map *next; /* in order of mapping */
	uint64_t base, size;
	int prio;
	enum mem_kind kind;	/* what it shows; MEM_HOLE: an alias */
	uint64_t ram_off;
	struct io_region *io;
	uint64_t target;	/* alias: what it shows */
};

/* A sorted, gap-free list of ranges that covers a space: what lookups read. */
struct mem_view {
	size_t n;
	struct mem_range r[];
};

struct mem_space {
	struct mem_map *maps;
	uint64_t limit; /* last address */
	_Atomic(struct mem_view *) view;
	_Atomic uint32_t readers; /* lookups in progress */
};

struct mem {
	struct log *log;
	uint8_t *ram;
	int ram_fd; /* or -1 */
	uint64_t ram_size, ram_used;
	struct mem_space phys, port;

	struct lock lock; /* map changes */
	unsigned nesting; /* mem_begin */
	bool changed;
	void (*listener)(void *opaque);
	void *listener_opaque;

	struct mem_page *pages;
	struct lock code_lock;
	struct page_ops page_ops;
	bool dirty_on;
};

/* view.c */
struct mem_view *mem_view_build(const struct mem_space *s);
const struct mem_range *mem_view_find(const struct mem_view *v, uint64_t a);

/* map.c */
void mem_space_find(const struct mem_space *s, uint64_t a, struct mem_range *out);

/* map.c: part of mem_create and mem_destroy. */
void mem_map_init(struct mem *m);
void mem_map_fini(struct mem *m);
