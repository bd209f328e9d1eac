/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Guest-linear memory: page walks, the software TLB, and accesses with the rights of a view.
 * Addresses here are linear: segmentation, wrap-around and canonical checks of effective addresses
 * are done (non-canonical addresses that do arrive raise #GP, or #SS by the caller's choice
 * beforehand). Faulting accesses unwind (x86/cpu.h).  SDM 3A chapter 4.
 */
#include <string.h>
#include "x86/cpu.h"

enum x86_access { X86_READ, X86_WRITE, X86_EXEC };

_Static_assert(sizeof(struct x86_tlb_entry) == 1 << 5, "x86_tlb_slot scales by it");

static inline struct x86_tlb_entry *x86_tlb_slot(struct x86_tlb *t, uint64_t va)
{
	return (void *)((char *)t->e + ((va >> (PAGE_SHIFT - 5)) & ((X86_TLB_SIZE - 1) << 5)));
}

/*
 * Translations that an engine keeps in a form of its own, filled from the TLB by x86_tlb_try.  Called
 * on the vCPU's thread, protect also from another one that holds all vCPUs (x86_excl_begin).
 */
struct x86_tlb_ops {
	/* Drop what is not global, or all; of the address space in use (PCID), or of every one. */
	void (*flush)(struct x86_cpu *c, bool all);
	void (*flush_page)(struct x86_cpu *c, uint64_t va);
	/* CR3 was loaded with that PCID; keep: its translations need not go (CR3 bit 63). */
	void (*space)(struct x86_cpu *c, uint16_t pcid, bool keep);
	/* INVPCID for a PCID that is not in use: one address, or (va NULL) all that is not global. */
	void (*flush_pcid)(struct x86_cpu *c, uint16_t pcid, const uint64_t *va);
	/* As x86_tlb_protect. */
	void (*protect)(struct x86_cpu *c, uint64_t ram_off);
};

/* What x86_tlb_try found of the page of an address: where accesses of each kind may go directly. */
struct x86_place {
	uint8_t *host;	  /* the page, or NULL when it is not RAM */
	uint64_t ram_off; /* of the page */
	uint64_t gpa;	  /* likewise */
	bool read, write, exec; /* direct accesses are allowed (a write: as long as not protected) */
	bool user, global;	/* of the page tables */
	uint8_t shift;		/* log2 of the guest's page size */
};

/* x86_tlb_try - translate va for an access of that kind without raising: false when it would fault
 * (and nothing has happened), or is not canonical. */
bool x86_tlb_try(struct x86_cpu *c, uint64_t va, enum x86_access access, enum x86_view view,
		 struct x86_place *out);

/* x86_still_mapped - with paging on: would a user access of that kind to va go to the guest-physical
 * page, and change nothing in the page tables?  va is canonical; on the vCPU's thread. */
bool x86_still_mapped(struct x86_cpu *c, uint64_t va, uint64_t page, enum x86_access access);

/* Slow paths: TLB miss, page crossing, MMIO, code pages, watchpoints.  size 1, 2, 4 or 8. */
uint64_t x86_ld_slow(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_view view);
void x86_st_slow(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size, enum x86_view view);
/* The same in the current view: what the fast paths below fall back to. */
uint64_t x86_ld_miss(struct x86_cpu *c, uint64_t va, unsigned size) __attribute__((cold));
void x86_st_miss(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size)
	__attribute__((cold));

/* A tag that matches both the first and the last byte of an access. */
#define x86_tlb_tag(va, size) (((va) + (size)-1) & ~(PAGE_SIZE - 1))

#define X86_DEFINE_ACCESS(bits)                                                                    \
	static inline uint##bits##_t x86_ld##bits(struct x86_cpu *c, uint64_t va)                  \
	{                                                                                          \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);                                \
                                                                                                   \
		if (likely(e->rd == x86_tlb_tag(va, bits / 8))) {                                  \
			uint##bits##_t v;                                                          \
			__builtin_memcpy(&v, (const void *)(va + e->addend), bits / 8);            \
			__asm__ volatile("" ::: "memory");                                         \
			return v;                                                                  \
		}                                                                                  \
		return (uint##bits##_t)x86_ld_miss(c, va, bits / 8);                               \
	}                                                                                          \
	static inline void x86_st##bits(struct x86_cpu *c, uint64_t va, uint##bits##_t v)          \
	{                                                                                          \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);                                \
                                                                                                   \
		if (likely(e->wr == x86_tlb_tag(va, bits / 8))) {                                  \
			__asm__ volatile("" ::: "memory");                                         \
			__builtin_memcpy((void *)(va + e->addend), &v, bits / 8);                  \
			return;                                                                    \
		}                                                                                  \
		x86_st_miss(c, va, v, bits / 8);                                                   \
	}

X86_DEFINE_ACCESS(8)
X86_DEFINE_ACCESS(16)
X86_DEFINE_ACCESS(32)
X86_DEFINE_ACCESS(64)

/* x86_ld_sys/x86_st_sys - implicit supervisor accesses (descriptor tables, TSS): size 1..8, wrap at
 * the address width of the mode is the caller's. */
uint64_t x86_ld_sys(struct x86_cpu *c, uint64_t va, unsigned size);
void x86_st_sys(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size);

/* x86_rmw_ptr - host address for a read-modify-write of size bytes (1..16, not crossing a page)
 * when the page is plain RAM with a fast write translation; NULL when the access is legal but must
 * go through x86_ld/x86_st (MMIO, code page, crossing, watched); unwinds when it is not legal for a
 * write. */
void *x86_rmw_probe(struct x86_cpu *c, uint64_t va, unsigned size);
static inline void *x86_rmw_ptr(struct x86_cpu *c, uint64_t va, unsigned size)
{
	struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);

	if (likely(e->wr == x86_tlb_tag(va, size)))
		return (void *)(va + e->addend);
	return x86_rmw_probe(c, va, size);
}

/* x86_read_block/x86_write_block - len bytes (<= 4096) with explicit-access rights; all pages are
 * checked before the first byte is written.  For vector operands, FXSAVE, ENTER and the like. */
void x86_read_block(struct x86_cpu *c, uint64_t va, void *buf, unsigned len);
void x86_write_block(struct x86_cpu *c, uint64_t va, const void *buf, unsigned len);
/* x86_probe - raise the fault that an access of len bytes (<= 4096) would raise, do nothing
 * else. */
void x86_probe(struct x86_cpu *c, uint64_t va, unsigned len, enum x86_access access);

/* x86_span - host pointer for repeated string operations: bytes from va to the end of its page that
 * may be accessed directly (*avail >= 1), or NULL when va must go through x86_ld/x86_st; unwinds on
 * faults. */
void *x86_span(struct x86_cpu *c, uint64_t va, enum x86_access access, uint64_t *avail);

/* x86_fetch_page - translate the page of va for execution: host address of the page's first byte,
 * and its RAM offset in *ram_off.  Code outside of RAM and ROM: NULL and UINT64_MAX; then read it
 * byte by byte with x86_fetch_byte.  Unwinds with #PF/#GP on faults. */
const uint8_t *x86_fetch_page(struct x86_cpu *c, uint64_t va, uint64_t *ram_off);
uint8_t x86_fetch_byte(struct x86_cpu *c, uint64_t va);

/* x86_translate - debug translation: no faults, no A/D bits, any mode.  False when not mapped. */
bool x86_translate(struct x86_cpu *c, uint64_t va, gpa *out);

/* Flushes (this vCPU).  all: global pages too, and cached lookups in the memory map. */
void x86_tlb_flush(struct x86_cpu *c, bool all);
void x86_tlb_flush_page(struct x86_cpu *c, uint64_t va);
/* x86_tlb_space - CR3 was loaded: with that PCID; keep: nothing need go; same: it had that value. */
void x86_tlb_space(struct x86_cpu *c, uint16_t pcid, bool keep, bool same);
/* x86_tlb_flush_pcid - INVPCID of a PCID that is not the one in use: at *va, or everywhere. */
void x86_tlb_flush_pcid(struct x86_cpu *c, uint16_t pcid, const uint64_t *va);
/* x86_load_pdptes - PAE paging: read the four PDPTEs at cr3 into out; false when one has reserved
 * bits set (SDM 3A 4.4.1). */
bool x86_load_pdptes(struct x86_cpu *c, uint64_t cr3, uint64_t out[4]);
/* x86_tlb_protect - turn fast write translations of the page at ram_off (UINT64_MAX: every page)
 * into slow ones.  Caller: inside x86_excl_begin/end, for each vCPU of the VM. */
void x86_tlb_protect(struct x86_cpu *c, uint64_t ram_off);

/* x86_canonical - is va canonical for 48-bit linear addresses? */
static inline bool x86_canonical(uint64_t va)
{
	return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}
