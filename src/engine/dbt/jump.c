/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one block to the next, where translated code cannot go on alone.
 *
 * The jump cache maps linear addresses to code for indirect branches.  Its entries carry a tag that
 * stands for a mode and an epoch of the address space (lst.c); a process switch changes the tag,
 * and switching back finds the entries again.  Tags are 16 bits in the address's upper ones, and
 * given out anew when all are used.
 *
 * Everything here runs with guest vector state in the registers: general registers only, nothing
 * that raises.
 */
#include <string.h>
#include "engine/dbt/dbt_int.h"

#define CACHE_BITS 15
_Static_assert(JUMP_CACHE == 1 << CACHE_BITS, "");

/* No sum of this key and a linear address of the slot is a tag: tags have the low bits clear. */
static void slot_clear(struct dbt_cpu *v, unsigned slot)
{
	v->jump[slot].key = 1 - (uint64_t)slot;
}

/* Its offset in the page is known, and that is most of the slot's number. */
void jump_forget(struct dbt_cpu *v, const struct tb *b)
{
	for (unsigned slot = (unsigned)PAGE_OFFSET(b->ram_off); slot < JUMP_CACHE;
	     slot += PAGE_SIZE)
		if (v->jump[slot].code == b->far)
			slot_clear(v, slot);
}

void jump_clear(struct dbt_cpu *v)
{
	for (unsigned n = 0; n < JUMP_CACHE; n++)
		slot_clear(v, n);
}

static uint64_t tag_of(struct dbt_cpu *v, uint32_t mode, uint32_t epoch)
{
	for (unsigned n = 0; n < ARRAY_SIZE(v->tag); n++)
		if (v->tag[n].tag && v->tag[n].mode == mode && v->tag[n].epoch == epoch)
			return v->tag[n].tag;
	if (v->jump_tags == UINT16_MAX) {
		v->jump_tags = 0;
		for (unsigned n = 0; n < ARRAY_SIZE(v->tag); n++)
			v->tag[n].tag = 0;
		jump_clear(v);
	}
	v->jump_tags++;
	v->tag[v->tag_next].mode = mode;
	v->tag[v->tag_next].epoch = epoch;
	v->tag[v->tag_next].tag = (uint16_t)v->jump_tags;
	v->tag_next = (v->tag_next + 1) % ARRAY_SIZE(v->tag);
	return v->jump_tags;
}

void jump_retag(struct dbt_cpu *v)
{
	uint32_t plain = v->mode & ~DBT_MODE_VIEW(3);
	unsigned view = DBT_VIEW(v->mode);

	v->f.jump_untag = -(tag_of(v, v->mode, v->epoch) << 48);
	if (view == X86_VIEW_USER)
		return;
	for (unsigned n = 0; n < 2; n++)
		v->f.view[n].untag =
			-(tag_of(v, plain | DBT_MODE_VIEW(X86_VIEW_SUPER + n), v->epoch) << 48);
	/* The first tag may have been given anew. */
	v->f.jump_untag = v->f.view[view - X86_VIEW_SUPER].untag;
}

static bool gens_hold(const struct dbt_cpu *v, const struct tb *b)
{
	const struct mem_page *p = mem_pages(v->in.cpu.vm->mem);

	for (unsigned n = 0; n < 2 && b->ram_page[n] != NO_PAGE; n++)
		if (mem_code_gen(&p[b->ram_page[n]]) != b->gen[n])
			return false;
	return true;
}

struct tb *jump_find(struct dbt_cpu *v, uint64_t lin, bool apart)
{
	uint64_t page = lst_exec(v, lin);
	struct tb *b;

	if (page == NO_PAGE)
		return NULL;
	b = cache_find(v, page << PAGE_SHIFT | PAGE_OFFSET(lin),
		       v->mode | (apart ? DBT_MODE_APART : 0), lin);
	/* Its page's raise is in the list, so it will be forgotten there. */
	return b && gens_hold(v, b) ? b : NULL;
}

/* Counted running wants to see every block. */
static bool must_return(struct dbt_cpu *v)
{
	return atomic_load_explicit(v->in.cpu.attn, memory_order_relaxed) || interp_counted(&v->in);
}

const uint8_t *jump_missed(struct dbt_cpu *v)
{
	uint64_t lin = dbt_linear(v, v->f.target);
	struct tb *b;
	unsigned slot;

	v->stats.jump_misses++;
	if (must_return(v) || direct_ahead(v, lin))
		return NULL;
	b = jump_find(v, lin, false);
	if (!b)
		return NULL;
	dbt_fpu_load(v);
	slot = (unsigned)(lin & (JUMP_CACHE - 1));
	if (!(v->stress & DBT_STRESS_NO_LINK)) {
		v->jump[slot] = (struct jump_slot){-v->f.jump_untag - lin, b->far};
	}
	return b->far;
}

const uint8_t *jump_link(struct dbt_cpu *v, uint64_t link)
{
	struct tb_link *l = (struct tb_link *)(v->cache.arena + link);
	uint64_t lin = dbt_linear(v, v->f.code_base + (uint64_t)(int64_t)l->target);
	struct tb *b;

	v->link = l;
	v->link_generation = v->cache.generation;
	v->f.target = lin;
	v->f.info = l->info;
	if (must_return(v) || direct_ahead(v, lin))
		return NULL;
	b = jump_find(v, lin, l->apart);
	if (!b)
		return NULL;
	dbt_fpu_load(v);
	cache_link(v, l, b, l->check);
	v->f.code_base = lin & ~(PAGE_SIZE - 1);
	return tb_entry(b, (enum tb_entry)l->how);
}

/* Page tables may lie in a device, whose code uses all registers. */
static bool fill(struct dbt_cpu *v, uint64_t va, bool write)
{
	bool done = lst_fill(v, va, write);

	dbt_fpu_load(v);
	return done;
}

bool jump_fill_r(struct dbt_cpu *v, uint64_t va)
{
	return fill(v, va, false);
}

bool jump_fill_w(struct dbt_cpu *v, uint64_t va)
{
	return fill(v, va, true);
}

static bool cross(struct dbt_cpu *v, uint64_t va, unsigned size)
{
	unsigned first = (unsigned)(PAGE_SIZE - PAGE_OFFSET(va));
	struct x86_cpu *c = &v->in.cpu;
	struct x86_place a, b;
	bool done;

	if (!(v->mode & X86_MODE_CS64))
		return false; /* which may wrap */
	done = x86_tlb_try(c, va, X86_READ, DBT_VIEW(v->mode), &a) && a.read &&
	       x86_tlb_try(c, va + first, X86_READ, DBT_VIEW(v->mode), &b) && b.read;
	if (done) {
		memcpy(v->f.copy, a.host + PAGE_OFFSET(va), first);
		memcpy(v->f.copy + first, b.host, size - first);
		v->f.cross = (uint64_t)v->f.copy - va;
	}
	dbt_fpu_load(v);
	return done;
}

bool jump_cross16(struct dbt_cpu *v, uint64_t va)
{
	return cross(v, va, 16);
}

bool jump_cross32(struct dbt_cpu *v, uint64_t va)
{
	return cross(v, va, 32);
}
