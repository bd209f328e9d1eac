/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flat views.  Mappings overlap; a view is what is visible: every address of the space belongs to exactly one
 * range.  Building: collect the boundaries of all mappings, and for each stretch between two
 * neighbouring boundaries take the visible mapping; merge neighbours that go on seamlessly.  Quadratic
 * in the number of mappings (tens), done only when the map changes.
 */
#include <stdlib.h>
#include "mem/mem_int.h"

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The mapping visible at a: highest priority, then the later one.  Aliases are skipped on request. */
static const struct mem_map *map_at(const struct mem_space *s, uint64_t a, bool aliases)
{
	const struct mem_map *best = NULL;

	for (const struct mem_map *m = s->maps; m; m = m->next) {
		if (a < m->base || a - m->base >= m->size)
			continue;
		if (m->kind == MEM_HOLE && !aliases)
			continue;
		if (!best || m->prio >= best->prio)
			best = m;
	}
	return best;
}

/* An alias's stretch breaks wherever a boundary lies in its target. */
static size_t alias_bounds(const struct mem_space *s, const struct mem_map *alias, uint64_t *out)
{
	size_t n = 0;

	for (const struct mem_map *m = s->maps; m; m = m->next) {
		const uint64_t edge[2] = { m->base, m->base + m->size };

		for (int i = 0; i < 2; i++)
			if (edge[i] > alias->target && edge[i] - alias->target < alias->size)
				out[n++] = alias->base + (edge[i] - alias->target);
	}
	return n;
}

/* All addresses where what is visible may change, sorted; starts with 0. */
static uint64_t *view_bounds(const struct mem_space *s, size_t *n_out)
{
	size_t n_maps = 0, n = 0;
	uint64_t *b;

	for (const struct mem_map *m = s->maps; m; m = m->next)
		n_maps++;
	b = xcalloc(1 + 2 * n_maps + 2 * n_maps * n_maps, sizeof(*b));
	b[n++] = 0;
	for (const struct mem_map *m = s->maps; m; m = m->next) {
		b[n++] = m->base;
		if (m->size && m->base + m->size - 1 < s->limit)
			b[n++] = m->base + m->size;
		if (m->kind == MEM_HOLE)
			n += alias_bounds(s, m, b + n);
	}
	qsort(b, n, sizeof(*b), cmp_u64);
	*n_out = n;
	return b;
}

/* Describe the stretch [a, a+size), in which nothing changes. */
static struct mem_range view_range(const struct mem_space *s, uint64_t a, uint64_t size)
{
	struct mem_range r = { .kind = MEM_HOLE, .base = a, .size = size };
	const struct mem_map *m = map_at(s, a, true);
	uint64_t at = a;

	if (m && m->kind == MEM_HOLE) {
		at = m->target + (a - m->base);
		m = map_at(s, at, false);
	}
	if (!m)
		return r;
	r.kind = m->kind;
	r.io = m->io;
	if (m->kind == MEM_IO)
		r.io_off = at - m->base;
	else
		r.ram_off = m->ram_off + (at - m->base);
	return r;
}

static bool range_continues(const struct mem_range *p, const struct mem_range *q)
{
	if (p->kind != q->kind || p->io != q->io)
		return false;
	if (p->kind == MEM_IO)
		return p->io_off + p->size == q->io_off;
	return p->kind == MEM_HOLE || p->ram_off + p->size == q->ram_off;
}

struct mem_view *mem_view_build(const struct mem_space *s)
{
	size_t n;
	uint64_t *b = view_bounds(s, &n);
	struct mem_view *v = xzalloc(sizeof(*v) + n * sizeof(v->r[0]));

	for (size_t i = 0; i < n; i++) {
		uint64_t end = i + 1 < n ? b[i + 1] - 1 : s->limit;
		struct mem_range r;

		if (i + 1 < n && b[i + 1] == b[i])
			continue;
		r = view_range(s, b[i], end - b[i] + 1);
		if (v->n && range_continues(&v->r[v->n - 1], &r))
			v->r[v->n - 1].size += r.size;
		else
			v->r[v->n++] = r;
	}
	free(b);
	return v;
}

const struct mem_range *mem_view_find(const struct mem_view *v, uint64_t a)
{
	size_t lo = 0, hi = v->n;

	while (hi - lo > 1) {
		size_t mid = (lo + hi) / 2;

		if (v->r[mid].base <= a)
			lo = mid;
		else
			hi = mid;
	}
	return &v->r[lo];
}
