/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Inside paging: walks, TLB fill, physical accesses. */
#include "x86/cpuid.h"
#include "x86/debug.h"
#include "x86/mmu.h"

/* What a walk found (SDM 3A 4.6): the rights of all levels combined. */
struct x86_walk {
	uint64_t gpa;	/* of the address itself */
	uint32_t error; /* why it failed: #PF error code */
	uint8_t shift;	/* log2 of the page size */
	bool accessed; /* all A bits are set */
	bool user, write, nx;
	bool global, dirty;
};

/* walk_linear - translate va for an access of that kind in that view: checks rights, sets A and D
 * bits. False: w->error is the page-fault error code. */
bool walk_linear(struct x86_cpu *c, uint64_t va, enum x86_access access, enum x86_view view,
		 struct x86_walk *w);
/* walk_peek - what the tables say; no rights, no A/D bits, no cached lookups. */
bool walk_peek(struct x86_cpu *c, uint64_t va, struct x86_walk *w);
/* walk_allows - do the rights found allow an access? */
bool walk_allows(const struct x86_cpu *c, const struct x86_walk *w, enum x86_access access,
		 enum x86_view view);

/* x86_tlb_info.flags */
#define TLB_APIC BIT(0)	 /* the local APIC's page, in xAPIC mode */
#define TLB_ROM BIT(1)
#define TLB_USER BIT(2)	 /* user pages; global ones */
#define TLB_GLOBAL BIT(3)
#define TLB_SHIFT(f) (((f) >> 8) & 63) /* log2 of the size of the guest's page */

/* A translation that is good for one access; tag says whether it may be direct. */
struct x86_xlat {
	struct x86_tlb_entry *e;
	struct x86_tlb_info *info;
};

/* tlb_get - the TLB's translation of va for that access, filled now if need be; unwinds on faults.
 * Valid until the next tlb_get for the same slot. */
struct x86_xlat tlb_get(struct x86_cpu *c, uint64_t va, enum x86_access access, enum x86_view view);

/* tlb_code_fetched - code at va was fetched by that translation: engines may keep it by its
 * address. */
void tlb_code_fetched(struct x86_cpu *c, uint64_t va, const struct x86_tlb_info *info);

/* phys_ram - host address of [a, a+size) when it is RAM (or ROM) in one piece, by the cached
 * windows; else NULL. */
void *phys_ram(struct x86_cpu *c, uint64_t a, unsigned size);
/* phys_window - the piece of RAM or ROM that a lies in, or NULL. */
const struct mem_range *phys_window(struct x86_cpu *c, uint64_t a);
