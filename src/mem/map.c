/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory map: mappings come, go and move; each change publishes a new flat view.
 *
 * Readers copy one range out of the view and count themselves in s->readers while they do; the changer
 * publishes the new view, waits until it has seen no reader (a reader never blocks), and frees the old one.
 */
#include <sched.h>
#include <stdlib.h>
#include "mem/mem_int.h"

#define PHYS_LIMIT (BIT(52) - 1)

static struct mem_map *map_add(struct mem *m, struct mem_space *s, struct mem_map map)
{
	struct mem_map *new = xzalloc(sizeof(*new)), **at;

	bug_on(!map.size || map.base > s->limit || map.size - 1 > s->limit - map.base);
	*new = map;
	mem_begin(m);
	for (at = &s->maps; *at; at = &(*at)->next)
		;
	*at = new;
	m->changed = true;
	mem_commit(m);
	return new;
}

static void map_del(struct mem *m, struct mem_space *s, struct mem_map *map)
{
	struct mem_map **at;

	if (!map)
		return;
	mem_begin(m);
	for (at = &s->maps; *at != map; at = &(*at)->next)
		bug_on(!*at);
	*at = map->next;
	m->changed = true;
	mem_commit(m);
	free(map);
}

static void map_move(struct mem *m, struct mem_space *s, struct mem_map *map, uint64_t base)
{
	bug_on(base > s->limit || map->size - 1 > s->limit - base);
	if (map->base == base)
		return;
	mem_begin(m);
	map->base = base;
	m->changed = true;
	mem_commit(m);
}

void mem_begin(struct mem *m)
{
	if (!lock_held(&m->lock))
		lock_take(&m->lock);
	m->nesting++;
}

static void publish(struct mem_space *s)
{
	struct mem_view *old = atomic_exchange(&s->view, mem_view_build(s));

	while (atomic_load(&s->readers))
		sched_yield();
	free(old);
}

void mem_space_find(const struct mem_space *cs, uint64_t a, struct mem_range *out)
{
	struct mem_space *s = (struct mem_space *)cs; /* the count is not part of the value */

	atomic_fetch_add(&s->readers, 1);
	*out = *mem_view_find(atomic_load(&s->view), a);
	atomic_fetch_sub(&s->readers, 1);
}

void mem_commit(struct mem *m)
{
	bool changed;

	bug_on(!m->nesting);
	if (--m->nesting)
		return;
	changed = m->changed;
	m->changed = false;
	if (changed) {
		publish(&m->phys);
		publish(&m->port);
	}
	lock_drop(&m->lock);
	if (changed && m->listener)
		m->listener(m->listener_opaque);
}

void mem_set_listener(struct mem *m, void (*changed)(void *opaque), void *opaque)
{
	m->listener = changed;
	m->listener_opaque = opaque;
}

static void check_pages(const struct mem *m, uint64_t base, uint64_t size, uint64_t ram_off)
{
	bug_on(PAGE_OFFSET(base | size | ram_off));
	bug_on(!range_fits(ram_off, size, m->ram_size));
}

struct mem_map *mem_map_ram(struct mem *m, gpa base, uint64_t size, uint64_t ram_off, int prio)
{
	check_pages(m, base.v, size, ram_off);
	return map_add(m, &m->phys, (struct mem_map){ .base = base.v, .size = size, .prio = prio,
						      .kind = MEM_RAM, .ram_off = ram_off });
}

struct mem_map *mem_map_rom(struct mem *m, gpa base, uint64_t size, uint64_t ram_off,
			    struct io_region *writes, int prio)
{
	check_pages(m, base.v, size, ram_off);
	return map_add(m, &m->phys, (struct mem_map){ .base = base.v, .size = size, .prio = prio,
						      .kind = MEM_ROM, .ram_off = ram_off,
						      .io = writes });
}

struct mem_map *mem_map_io(struct mem *m, gpa base, struct io_region *io, int prio)
{
	return map_add(m, &m->phys, (struct mem_map){ .base = base.v, .size = io->size,
						      .prio = prio, .kind = MEM_IO, .io = io });
}

struct mem_map *mem_map_alias(struct mem *m, gpa base, uint64_t size, gpa target, int prio)
{
	bug_on(PAGE_OFFSET(base.v | size | target.v));
	return map_add(m, &m->phys, (struct mem_map){ .base = base.v, .size = size, .prio = prio,
						      .kind = MEM_HOLE, .target = target.v });
}

void mem_unmap(struct mem *m, struct mem_map *map)
{
	map_del(m, &m->phys, map);
}

void mem_move(struct mem *m, struct mem_map *map, gpa base)
{
	map_move(m, &m->phys, map, base.v);
}

struct mem_map *pio_map(struct mem *m, uint16_t base, struct io_region *io, int prio)
{
	return map_add(m, &m->port, (struct mem_map){ .base = base, .size = io->size, .prio = prio,
						      .kind = MEM_IO, .io = io });
}

void pio_unmap(struct mem *m, struct mem_map *map)
{
	map_del(m, &m->port, map);
}

void pio_move(struct mem *m, struct mem_map *map, uint16_t base)
{
	map_move(m, &m->port, map, base);
}

void pio_follow(struct mem *m, struct mem_map **map, struct io_region *io, bool on, uint16_t base)
{
	if (!on) {
		pio_unmap(m, *map);
		*map = NULL;
	} else if (*map) {
		pio_move(m, *map, base);
	} else {
		*map = pio_map(m, base, io, 0);
	}
}

static void space_init(struct mem_space *s, uint64_t limit)
{
	s->limit = limit;
	atomic_init(&s->view, mem_view_build(s));
}

static void space_fini(struct mem_space *s)
{
	while (s->maps) {
		struct mem_map *next = s->maps->next;

		free(s->maps);
		s->maps = next;
	}
	free(atomic_load(&s->view));
}

void mem_map_init(struct mem *m)
{
	lock_init(&m->lock, LOCK_RANK_MEM, "mem");
	space_init(&m->phys, PHYS_LIMIT);
	space_init(&m->port, 0xffff);
}

void mem_map_fini(struct mem *m)
{
	space_fini(&m->phys);
	space_fini(&m->port);
	lock_fini(&m->lock);
}

void mem_lookup(const struct mem *m, gpa a, struct mem_range *out)
{
	if (a.v > PHYS_LIMIT) {
		*out = (struct mem_range){ .kind = MEM_HOLE, .base = PHYS_LIMIT + 1,
					   .size = UINT64_MAX - PHYS_LIMIT };
		return;
	}
	mem_space_find(&m->phys, a.v, out);
}
