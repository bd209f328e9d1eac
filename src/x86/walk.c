/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page-table walks (SDM 3A chapter 4): 32-bit paging with PSE and PSE-36, PAE paging, 4-level
 * paging.
 *
 * One loop serves all of them: a table format says how wide an entry is, how many index bits a
 * level has, and which bits are reserved.  Entries are read once each, by one host load; if an
 * accessed or dirty bit has to be set and the entry meanwhile is another, the walk starts again, as
 * a processor does.  Bits are set only once the whole walk is known to allow the access (4.8 leaves
 * that open for entries above the page's).
 *
 * The loop runs on the vCPU's thread, or with the vCPU stopped (walk_peek).
 */
#include "x86/mmu_int.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)
#define PTE_ADDR UINT64_C(0x000ffffffffff000)

struct step {
	uint64_t at, entry; /* guest-physical address and value of a table entry */
};

struct walker {
	struct x86_cpu *c;
	uint64_t va;
	uint64_t reserved; /* bits that are reserved in entries of every level */
	uint8_t size;	   /* bytes of an entry */
	uint8_t bits;	   /* of index per level */
	bool peek;
	bool pse;	   /* large pages exist at level 2 */
	unsigned n;
	struct step step[4];
};

static bool walk_nx_on(const struct x86_cpu *c)
{
	return c->s.efer & EFER_NXE;
}

static uint64_t entry_read(struct walker *k, uint64_t at)
{
	void *p = k->peek ? NULL : phys_ram(k->c, at, k->size);

	if (unlikely(!p))
		return mem_read(k->c->vm->mem, GPA(at), k->size);
	if (k->size == 8)
		return __atomic_load_n((uint64_t *)p, __ATOMIC_RELAXED);
	return __atomic_load_n((uint32_t *)p, __ATOMIC_RELAXED);
}

/* Reserved bits of an entry at that level that maps a page of that size (shift 0: a table). */
static uint64_t level_reserved(const struct walker *k, unsigned level, unsigned shift)
{
	uint64_t r = k->reserved;

	if (k->size == 4) {
		/* PSE-36 (4.3): bits 20..13 are address bits 39..32, cut at MAXPHYADDR; bit 21 is
		 * 0. */
		if (shift == 22)
			r |= BIT(21) | (k->c->phys_reserved >> 32 << 13 & 0x1fe000);
		return r;
	}
	if (shift > 12)
		r |= (BIT(shift) - 1) & ~UINT64_C(0x1fff);
	if (level == 4)
		r |= PTE_PS;
	if (level == 3 && !k->c->pages_1g)
		r |= PTE_PS;
	return r;
}

/* log2 of the page that an entry at that level maps, 0 when it points to a table. */
static unsigned page_shift(const struct walker *k, unsigned level, uint64_t entry)
{
	if (level == 1)
		return 12;
	if (!(entry & PTE_PS))
		return 0;
	if (level == 2 && k->pse)
		return k->size == 4 ? 22 : 21;
	return level == 3 ? 30 : 0;
}

static uint64_t page_base(const struct walker *k, uint64_t entry, unsigned shift)
{
	if (shift == 22)
		return (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
	return entry & PTE_ADDR & ~(BIT(shift) - 1);
}

/* Walk down from the table at `table`, whose level is `level`.  False: w->error has P and RSVD
 * right. */
static bool walk_down(struct walker *k, uint64_t table, unsigned level, struct x86_walk *w)
{
	w->user = w->write = w->accessed = true;
	w->nx = false;
	k->n = 0;
	for (;; level--) {
		unsigned at_bit = 12 + k->bits * (level - 1), shift;
		uint64_t at = table + bits_get(k->va, at_bit + k->bits - 1, at_bit) * k->size;
		uint64_t entry = entry_read(k, at);

		k->step[k->n++] = (struct step){ at, entry };
		w->error = 0;
		if (!(entry & PTE_P))
			return false;
		shift = page_shift(k, level, entry);
		w->error = PF_P | PF_RSVD;
		if (entry & level_reserved(k, level, shift))
			return false;
		w->accessed &= !!(entry & PTE_A);
		w->user &= !!(entry & PTE_U);
		w->write &= !!(entry & PTE_W);
		w->nx |= k->size == 8 && (entry & PTE_NX);
		if (!shift) {
			table = entry & PTE_ADDR;
			continue;
		}
		w->gpa = page_base(k, entry, shift) | (k->va & (BIT(shift) - 1));
		w->shift = (uint8_t)shift;
		w->global = (entry & PTE_G) && (k->c->s.cr4 & CR4_PGE);
		w->dirty = entry & PTE_D;
		w->error = 0;
		return true;
	}
}

/* Which kind of paging is on (4.1.1), and where its tables begin. */
static bool walk_tables(struct walker *k, struct x86_walk *w)
{
	struct x86_cpu *c = k->c;

	if (!(c->s.cr4 & CR4_PAE)) {
		k->size = 4;
		k->bits = 10;
		k->pse = c->s.cr4 & CR4_PSE;
		return walk_down(k, c->s.cr3 & 0xfffff000, 2, w);
	}
	k->size = 8;
	k->bits = 9;
	k->pse = true;
	k->reserved = c->phys_reserved | (walk_nx_on(c) ? 0 : PTE_NX);
	if (c->s.efer & EFER_LMA)
		return walk_down(k, c->s.cr3 & PTE_ADDR, 4, w);
	k->reserved |= UINT64_C(0x7ff0000000000000);
	w->error = 0;
	if (!(c->pdpte[(k->va >> 30) & 3] & PTE_P))
		return false;
	return walk_down(k, c->pdpte[(k->va >> 30) & 3] & PTE_ADDR, 2, w);
}

bool walk_allows(const struct x86_cpu *c, const struct x86_walk *w, enum x86_access access,
		 enum x86_view view)
{
	/* Without paging there are no rights, whatever CR4.SMAP and CR4.SMEP say. */
	if (!(c->s.cr0 & CR0_PG))
		return true;
	if (view == X86_VIEW_USER) {
		if (!w->user)
			return false;
	} else if (w->user) {
		if (access == X86_EXEC ? c->s.cr4 & CR4_SMEP : view == X86_VIEW_SUPER)
			return false;
	}
	if (access == X86_EXEC)
		return !w->nx;
	if (access == X86_WRITE)
		return w->write || (view != X86_VIEW_USER && !(c->s.cr0 & CR0_WP));
	return true;
}

/* Set the A bits on the way and the D bit of a page written to.  False: an entry has changed. */
static bool set_bits(struct walker *k, bool write)
{
	for (unsigned i = 0; i < k->n; i++) {
		uint64_t e = k->step[i].entry, want = e | PTE_A;
		bool not_ram;

		if (write && i == k->n - 1)
			want |= PTE_D;
		if (likely(e == want))
			continue;
		/* Tables in ROM or a device stay as they are. */
		if (!mem_cmpxchg(k->c->vm->mem, GPA(k->step[i].at), &e, want, k->size, &not_ram) &&
		    !not_ram)
			return false;
	}
	return true;
}

/* The bits of the error code that the access gives (4.7). */
static uint32_t access_error(const struct x86_cpu *c, enum x86_access access, enum x86_view view)
{
	uint32_t e = view == X86_VIEW_USER ? PF_U : 0;

	if (access == X86_WRITE)
		e |= PF_W;
	if (access == X86_EXEC &&
	    ((c->s.cr4 & CR4_SMEP) || ((c->s.cr4 & CR4_PAE) && walk_nx_on(c))))
		e |= PF_I;
	return e;
}

static void walk_identity(uint64_t va, struct x86_walk *w)
{
	*w = (struct x86_walk){
		.gpa = va, .shift = 12, .user = true, .write = true, .dirty = true
	};
}

bool walk_linear(struct x86_cpu *c, uint64_t va, enum x86_access access, enum x86_view view,
		 struct x86_walk *w)
{
	if (!(c->s.cr0 & CR0_PG)) {
		walk_identity(va, w);
		return true;
	}
	for (;;) {
		struct walker k = { .c = c, .va = va };

		if (!walk_tables(&k, w)) {
			w->error |= access_error(c, access, view);
			return false;
		}
		if (!walk_allows(c, w, access, view)) {
			w->error = PF_P | access_error(c, access, view);
			return false;
		}
		if (likely(set_bits(&k, access == X86_WRITE)))
			break;
	}
	w->dirty |= access == X86_WRITE;
	return true;
}

bool walk_peek(struct x86_cpu *c, uint64_t va, struct x86_walk *w)
{
	struct walker k = { .c = c, .va = va, .peek = true };

	if (!(c->s.cr0 & CR0_PG)) {
		walk_identity(va, w);
		return true;
	}
	return walk_tables(&k, w);
}

bool x86_still_mapped(struct x86_cpu *c, uint64_t va, uint64_t page, enum x86_access access)
{
	struct walker k = { .c = c, .va = va };
	struct x86_walk w;

	return walk_tables(&k, &w) && w.accessed && w.user && w.gpa - page < PAGE_SIZE &&
	       (access != X86_WRITE || (w.write && w.dirty)) && (access != X86_EXEC || !w.nx);
}

bool x86_load_pdptes(struct x86_cpu *c, uint64_t cr3, uint64_t out[4])
{
	uint64_t reserved = c->phys_reserved | UINT64_C(0xfff00000000001e6);

	for (unsigned i = 0; i < 4; i++) {
		out[i] = mem_read(c->vm->mem, GPA((cr3 & 0xffffffe0) + 8 * i), 8);
		if ((out[i] & PTE_P) && (out[i] & reserved))
			return false;
	}
	return true;
}

bool x86_translate(struct x86_cpu *c, uint64_t va, gpa *out)
{
	struct x86_walk w;

	if (!(c->s.efer & EFER_LMA))
		va = (uint32_t)va;
	else if (!x86_canonical(va))
		return false;
	if (!walk_peek(c, va, &w))
		return false;
	*out = GPA(w.gpa);
	return true;
}
