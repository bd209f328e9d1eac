/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The software TLB: filling and flushing.
 *
 * One direct-mapped table per view, so that a tag says "this access is allowed" and nothing else
 * needs to be looked at.  A slot holds 4 KiB of linear addresses whatever the size of the guest's
 * page; that size is kept in info.flags so that INVLPG finds every slot made from a large page (SDM
 * 3A 4.10.2.3, 4.10.4.1). Slots are listed in bitmaps by what flushes look for, so a flush costs
 * what was filled.
 *
 * What makes a tag slow although the access is allowed: the bytes are not in RAM, a store must be
 * told to mem_written() (the page holds decoded code, or is clean in the dirty log), somebody
 * watches a byte of the page, or misaligned accesses fault.  A write tag exists only once the D bit
 * of the guest's entry is set.
 *
 * Threads: everything here runs on the vCPU's own thread, between x86_excl_enter and leave, except
 * x86_tlb_protect, which runs while all vCPUs are held (x86_excl_begin).  mem_page_fast_write() is
 * asked and the tag made with no safe point between, so either x86_tlb_protect comes later and
 * finds the tag, or it came earlier and the page's state, set before it, is seen here.
 *
 * Engines keep code by linear address in places of their own.  For them every fetch is noted
 * (tlb_code_fetched), coarsely, so that an INVLPG of data leaves them alone: guests do many.
 *
 * There are no PCID tags: a change of CR3 drops every translation that is not global, which PCIDs
 * only allow a processor not to do.  An engine's own translations (x86_tlb_ops) may have them.
 */
#include <string.h>
#include "x86/mmu_int.h"

static void slot_drop(struct x86_tlb *t, unsigned i)
{
	t->e[i].rd = t->e[i].wr = t->e[i].ex = X86_TLB_INVALID;
	t->used[i / 64] &= ~BIT(i % 64);
	t->global[i / 64] &= ~BIT(i % 64);
	t->large[i / 64] &= ~BIT(i % 64);
}

/* Code that an engine knows by linear address may be elsewhere now: it drops all that it knows. */
static void code_moved(struct x86_cpu *c)
{
	memset(c->code_pages, 0, sizeof(c->code_pages));
	c->code_lo = UINT64_MAX;
	c->code_hi = 0;
	c->tlb_changed = true;
}

static uint64_t *code_word(struct x86_cpu *c, uint64_t va, uint64_t *bit)
{
	uint64_t n = (va >> PAGE_SHIFT) % X86_CODE_PAGES;

	*bit = BIT(n % 64);
	return &c->code_pages[n / 64];
}

void tlb_code_fetched(struct x86_cpu *c, uint64_t va, const struct x86_tlb_info *info)
{
	uint64_t bit, *word = code_word(c, va, &bit), size = BIT(TLB_SHIFT(info->flags));

	*word |= bit;
	if (size > PAGE_SIZE) {
		c->code_lo = min_u64(c->code_lo, align_down(va, size));
		c->code_hi = max_u64(c->code_hi, align_down(va, size) + size - 1);
	}
}

/* May code have been fetched from the page of va, whatever its size? */
static bool code_was_fetched(struct x86_cpu *c, uint64_t va)
{
	uint64_t bit, *word = code_word(c, va, &bit);

	return (*word & bit) || (va >= c->code_lo && va <= c->code_hi);
}

static void flush_words(struct x86_tlb *t, bool all)
{
	for (unsigned w = 0; w < ARRAY_SIZE(t->used); w++) {
		uint64_t m = t->used[w] & (all ? ~UINT64_C(0) : ~t->global[w]);

		for (; m; m &= m - 1)
			slot_drop(t, w * 64 + (unsigned)__builtin_ctzll(m));
	}
}

static void tlb_drop(struct x86_cpu *c, bool all)
{
	for (unsigned v = 0; v < X86_VIEW_COUNT; v++)
		flush_words(&c->tlbs[v], all);
	if (all) {
		memset(c->ram_win, 0, sizeof(c->ram_win));
		memset(&c->io_win, 0, sizeof(c->io_win));
	}
	code_moved(c);
}

void x86_tlb_flush(struct x86_cpu *c, bool all)
{
	tlb_drop(c, all);
	if (c->tlb_ops)
		c->tlb_ops->flush(c, all);
}

void x86_tlb_space(struct x86_cpu *c, uint16_t pcid, bool keep, bool same)
{
	if (!keep || !same)
		tlb_drop(c, false);
	if (c->tlb_ops)
		c->tlb_ops->space(c, pcid, keep);
}

void x86_tlb_flush_pcid(struct x86_cpu *c, uint16_t pcid, const uint64_t *va)
{
	if (c->tlb_ops)
		c->tlb_ops->flush_pcid(c, pcid, va);
}

/* The linear page of a slot that holds something. */
static uint64_t slot_page(const struct x86_tlb_entry *e)
{
	uint64_t tag = e->rd;

	if (tag & X86_TLB_INVALID)
		tag = e->wr;
	if (tag & X86_TLB_INVALID)
		tag = e->ex;
	return tag & ~(PAGE_SIZE - 1);
}

static void flush_large(struct x86_tlb *t, uint64_t va)
{
	for (unsigned w = 0; w < ARRAY_SIZE(t->large); w++) {
		for (uint64_t m = t->large[w]; m; m &= m - 1) {
			unsigned i = w * 64 + (unsigned)__builtin_ctzll(m);

			if (!((slot_page(&t->e[i]) ^ va) >> TLB_SHIFT(t->info[i].flags)))
				slot_drop(t, i);
		}
	}
}

void x86_tlb_flush_page(struct x86_cpu *c, uint64_t va)
{
	va &= ~(PAGE_SIZE - 1);
	for (unsigned v = 0; v < X86_VIEW_COUNT; v++) {
		struct x86_tlb *t = &c->tlbs[v];
		unsigned i = (unsigned)(x86_tlb_slot(t, va) - t->e);

		if ((t->used[i / 64] & BIT(i % 64)) && slot_page(&t->e[i]) == va)
			slot_drop(t, i);
		flush_large(t, va);
	}
	if (code_was_fetched(c, va))
		code_moved(c);
	if (c->tlb_ops)
		c->tlb_ops->flush_page(c, va);
}

void x86_tlb_protect(struct x86_cpu *c, uint64_t ram_off)
{
	for (unsigned v = 0; v < X86_VIEW_COUNT; v++) {
		struct x86_tlb *t = &c->tlbs[v];

		for (unsigned w = 0; w < ARRAY_SIZE(t->used); w++) {
			for (uint64_t m = t->used[w]; m; m &= m - 1) {
				unsigned i = w * 64 + (unsigned)__builtin_ctzll(m);

				if (ram_off == UINT64_MAX || t->info[i].ram_off == ram_off)
					t->e[i].wr |= X86_TLB_SLOW;
			}
		}
	}
	if (c->tlb_ops)
		c->tlb_ops->protect(c, ram_off);
}

const struct mem_range *phys_window(struct x86_cpu *c, uint64_t a)
{
	struct mem_range *w = c->ram_win, r;

	if (likely(a - w[0].base < w[0].size))
		return &w[0];
	if (likely(a - w[1].base < w[1].size))
		return &w[1];
	mem_lookup(c->vm->mem, GPA(a), &r);
	if (r.kind != MEM_RAM && r.kind != MEM_ROM)
		return NULL;
	w = &c->ram_win[c->ram_win_next];
	c->ram_win_next ^= 1;
	*w = r;
	return w;
}

void *phys_ram(struct x86_cpu *c, uint64_t a, unsigned size)
{
	const struct mem_range *w = phys_window(c, a);

	if (!w || !range_fits(a - w->base, size, w->size))
		return NULL;
	return mem_ram_base(c->vm->mem) + w->ram_off + (a - w->base);
}

static bool is_apic_page(const struct x86_cpu *c, uint64_t page)
{
	return (c->s.apic_base & (BIT(11) | BIT(10))) == BIT(11) &&
	       (c->s.apic_base & 0x000ffffffffff000) == page;
}

/* Where the page at w->gpa is: RAM offset, host address, flags.  True: it has a host address. */
static bool fill_place(struct x86_cpu *c, const struct x86_walk *w, uint64_t page,
		       struct x86_tlb_entry *e, struct x86_tlb_info *info)
{
	const struct mem_range *r = NULL;
	uint64_t off;

	info->gpa = align_down(w->gpa, PAGE_SIZE);
	info->flags = (uint32_t)w->shift << 8 | (w->user ? TLB_USER : 0) |
		      (w->global ? TLB_GLOBAL : 0);
	info->ram_off = UINT64_MAX;
	if (is_apic_page(c, info->gpa))
		info->flags |= TLB_APIC;
	else
		r = phys_window(c, info->gpa);
	off = r ? info->gpa - r->base : 0;
	if (!r || !range_fits(off, PAGE_SIZE, r->size)) {
		e->addend = 0;
		return false;
	}
	if (r->kind == MEM_ROM)
		info->flags |= TLB_ROM;
	info->ram_off = r->ram_off + off;
	e->addend = (uintptr_t)mem_ram_base(c->vm->mem) + info->ram_off - page;
	return true;
}

/* May stores to this page go past mem_written()? */
static bool fast_write(const struct x86_cpu *c, const struct x86_tlb_info *info)
{
	return !(info->flags & TLB_ROM) &&
	       mem_page_fast_write(&mem_pages(c->vm->mem)[info->ram_off / PAGE_SIZE]);
}

static void tlb_fill(struct x86_cpu *c, struct x86_tlb *t, uint64_t va, enum x86_view view,
		     const struct x86_walk *w)
{
	uint64_t page = va & ~(PAGE_SIZE - 1), slow = 0;
	struct x86_tlb_entry *e = x86_tlb_slot(t, va);
	unsigned i = (unsigned)(e - t->e);
	struct x86_tlb_info *info = &t->info[i];
	bool direct;

	slot_drop(t, i);
	direct = fill_place(c, w, page, e, info);
	if (!direct || (view == X86_VIEW_USER && c->align_check) ||
	    (c->watch_active && x86_watch_page(c, page)))
		slow = X86_TLB_SLOW;
	if (walk_allows(c, w, X86_READ, view))
		e->rd = page | slow;
	if (w->dirty && walk_allows(c, w, X86_WRITE, view))
		e->wr = page | (slow || !fast_write(c, info) ? X86_TLB_SLOW : 0);
	if (walk_allows(c, w, X86_EXEC, view))
		e->ex = page | (direct ? 0 : X86_TLB_SLOW);
	t->used[i / 64] |= BIT(i % 64);
	if (w->global)
		t->global[i / 64] |= BIT(i % 64);
	if (w->shift > PAGE_SHIFT)
		t->large[i / 64] |= BIT(i % 64);
}

static void __attribute__((noreturn, cold, noinline))
page_fault(struct x86_cpu *c, uint64_t va, uint32_t error)
{
	LOGF(c->log, MMU, "cpu%u: #PF at %#lx error %#x rip %#lx cr3 %#lx\n", c->index, va, error,
	     c->s.rip, c->s.cr3);
	c->s.cr2 = va;
	x86_raise_err(c, X86_PF, error);
}

static uint64_t *tag_of(struct x86_tlb_entry *e, enum x86_access access)
{
	return access == X86_READ ? &e->rd : access == X86_WRITE ? &e->wr : &e->ex;
}

/* Is there a translation of va for that access in its slot? */
static bool slot_hit(struct x86_cpu *c, struct x86_xlat x, uint64_t va, enum x86_access access)
{
	uint64_t page = va & ~(PAGE_SIZE - 1), *tag = tag_of(x.e, access);

	if ((*tag & ~X86_TLB_SLOW) != page)
		return false;
	/* A page that was written to or lost its code may be stored to directly again. */
	if (access == X86_WRITE && (*tag & X86_TLB_SLOW) && x.e->rd == page &&
	    fast_write(c, x.info))
		*tag = page;
	return true;
}

bool x86_tlb_try(struct x86_cpu *c, uint64_t va, enum x86_access access, enum x86_view view,
		 struct x86_place *out)
{
	struct x86_tlb *t = &c->tlbs[view];
	struct x86_tlb_entry *e = x86_tlb_slot(t, va);
	struct x86_xlat x = { e, &t->info[e - t->e] };
	uint64_t page = va & ~(PAGE_SIZE - 1);
	struct x86_walk w;

	if (!slot_hit(c, x, va, access)) {
		if ((c->s.efer & EFER_LMA) && !x86_canonical(va))
			return false;
		if (!walk_linear(c, va, access, view, &w))
			return false;
		tlb_fill(c, t, va, view, &w);
	}
	*out = (struct x86_place){
		.ram_off = x.info->ram_off,
		.gpa = x.info->gpa,
		.read = e->rd == page,
		.write = e->wr == page,
		.exec = e->ex == page,
		.user = x.info->flags & TLB_USER,
		.global = x.info->flags & TLB_GLOBAL,
		.shift = TLB_SHIFT(x.info->flags),
	};
	if (x.info->ram_off != UINT64_MAX)
		out->host = (uint8_t *)(page + e->addend);
	return true;
}

struct x86_xlat tlb_get(struct x86_cpu *c, uint64_t va, enum x86_access access, enum x86_view view)
{
	struct x86_tlb *t = &c->tlbs[view];
	struct x86_tlb_entry *e = x86_tlb_slot(t, va);
	struct x86_tlb_info *info = &t->info[e - t->e];
	struct x86_walk w;

	if (slot_hit(c, (struct x86_xlat){ e, info }, va, access))
		return (struct x86_xlat){ e, info };
	if (unlikely((c->s.efer & EFER_LMA) && !x86_canonical(va)))
		x86_raise_err(c, X86_GP, 0);
	if (unlikely(!walk_linear(c, va, access, view, &w)))
		page_fault(c, va, w.error);
	tlb_fill(c, t, va, view, &w);
	/* The walk allowed it, so the slot must: a tag that is not valid has no host address. */
	bug_on(*tag_of(e, access) & X86_TLB_INVALID);
	return (struct x86_xlat){ e, info };
}
