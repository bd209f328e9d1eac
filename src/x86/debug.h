/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A debugger's break and watchpoints, as a vCPU knows them (struct x86_cpu.debug), and data
 * breakpoints of DR0-3: which accesses hit them.
 */
#include "x86/cpu.h"
#include "x86/mmu.h"

/* Numbered as enum engine_bp_kind. */
enum x86_bp_kind { X86_BP_EXEC, X86_BP_WRITE, X86_BP_READ, X86_BP_ACCESS };

struct x86_bp {
	uint64_t addr; /* linear */
	uint32_t len;  /* 1..4096; EXEC: 1 */
	enum x86_bp_kind kind;
};

/* Owned by the engine; changed only while the vCPU does not run, then x86_debug_changed() is
 * called. */
struct x86_debug {
	struct x86_bp *bp; /* malloc'ed by the engine */
	unsigned n_bp;
	bool step;	   /* stop after one instruction */
	/* A watchpoint was hit since the engine cleared it. */
	bool hit;
	enum x86_bp_kind hit_kind; /* of the watchpoint */
	uint64_t hit_addr;	   /* first watched byte that was accessed */
};

/* DR7 (SDM 3A 17.2.4): enables, R/W and LEN fields of breakpoint n. */
#define DR7_ENABLED(dr7, n) (((dr7) >> (2 * (n))) & 3)
#define DR7_RW(dr7, n) (((dr7) >> (16 + 4 * (n))) & 3)
#define DR7_RW_EXEC 0
#define DR7_RW_WRITE 1
#define DR7_RW_IO 2
#define DR7_RW_ACCESS 3

/* x86_dr_len - length in bytes of breakpoint n of DR7: LEN 0..3 = 1, 2, 8, 4. */
static inline unsigned x86_dr_len(uint64_t dr7, unsigned n)
{
	static const uint8_t len[4] = { 1, 2, 8, 4 };

	return len[(dr7 >> (18 + 4 * n)) & 3];
}

/* x86_debug_changed - DR0-3, DR7 or c->debug are other than before: mode and translations
 * follow. */
void x86_debug_changed(struct x86_cpu *c);

/* x86_watch_page - does the page of va hold a byte that is watched for data accesses? */
bool x86_watch_page(const struct x86_cpu *c, uint64_t va);
/* x86_watch_access - size bytes at va were accessed (READ or WRITE): notes what was hit in
 * c->dr6_hits and c->debug.  Called with c->watch_active. */
void x86_watch_access(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_access access);
