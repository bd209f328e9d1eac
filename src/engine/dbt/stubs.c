/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The code between translated blocks and C: written once at the head of the cache.
 *
 * enter(frame, code): keep the host's registers and stack, load the guest's, go.
 * fault, poll: store the guest's, back to whom called enter, with the reason.
 * Helpers (fill, link, jump): store the guest's general registers and flags, call C on the stack
 * below the frame, load them again, go on.  Vector registers stay the guest's all the time, so the
 * C they call is compiled for general registers only.
 */
#include "engine/dbt/dbt_int.h"

static const uint8_t callee_saved[] = {X86_RBX, X86_RBP, 12, 13, 14, 15};

static struct emem gpr(unsigned guest)
{
	return em_base(X86_RSP, FRAME_OFF(in.cpu.s.gpr) + 8 * (int32_t)guest);
}

static struct emem high(unsigned n)
{
	return em_base(X86_RSP, (int32_t)offsetof(struct dbt_frame, high) + 8 * (int32_t)n);
}

/* Uses RAX after it is stored. */
static void store_guest(struct code *a)
{
	for (unsigned g = 0; g < 16; g++)
		if (dbt_host_reg[g] != NO_REG)
			e_store(a, gpr(g), dbt_host_reg[g]);
	e8(a, 0x9f); /* lahf */
	e8(a, 0x0f), e8(a, 0x90), e8(a, 0xc0); /* seto al */
	e8(a, 0x66);
	e_rm(a, 0, 0x89, X86_RAX, CPU(fl));
	for (unsigned n = 0; n < HIGH_COUNT; n++) {
		e_load(a, X86_RAX, high(n));
		e_store(a, gpr(HIGH_FIRST + n), X86_RAX);
	}
}

static void load_guest(struct code *a)
{
	for (unsigned n = 0; n < HIGH_COUNT; n++) {
		e_load(a, X86_RAX, gpr(HIGH_FIRST + n));
		e_store(a, high(n), X86_RAX);
	}
	e_0f_rm(a, 0, 0xb7, X86_RAX, CPU(fl)); /* movzx */
	e8(a, 0x04), e8(a, 0x7f); /* add al, 0x7f: OF = bit 0 */
	e8(a, 0x9e); /* sahf */
	for (unsigned g = 0; g < 16; g++)
		if (dbt_host_reg[g] != NO_REG)
			e_load(a, dbt_host_reg[g], gpr(g));
	e_load(a, RR, FRAME(view_r));
}

static void pop(struct code *a, unsigned reg)
{
	if (reg >= 8)
		e8(a, 0x41);
	e8(a, 0x58 | (reg & 7));
}

static void push(struct code *a, unsigned reg)
{
	if (reg >= 8)
		e8(a, 0x41);
	e8(a, 0x50 | (reg & 7));
}

void stub_load_flags(struct code *a)
{
	e_mov(a, T2, X86_RAX);
	e_load32(a, X86_RAX, FRAME(flags));
	e8(a, 0x04), e8(a, 0x7f);
	e8(a, 0x9e);
	e_mov(a, X86_RAX, T2);
}

/* To whoever called enter. */
static void leave(struct code *a)
{
	e_load(a, X86_RSP, FRAME(host_rsp));
	for (unsigned n = ARRAY_SIZE(callee_saved); n-- > 0;)
		pop(a, callee_saved[n]);
	e8(a, 0xc3);
}

static void emit_enter(struct code *a)
{
	for (unsigned n = 0; n < ARRAY_SIZE(callee_saved); n++)
		push(a, callee_saved[n]);
	e_store(a, em_base(X86_RDI, offsetof(struct dbt_frame, host_rsp)), X86_RSP);
	e_mov(a, X86_RSP, X86_RDI);
	e_mov(a, T2, X86_RSI);
	load_guest(a);
	e_jmp_reg(a, T2);
}

/* T2 = the data behind the call that led here; its first word is info. */
static void take_data(struct code *a)
{
	pop(a, T2);
	e_load32(a, T1, em_base(T2, 0));
	e_store32(a, FRAME(info), T1);
}

/* With T2 at the data of a stub that goes on in the block: info, of 16 bits there. */
static void take_info(struct code *a)
{
	e_0f_rm(a, 0, 0xb7, T1, em_base(T2, 0)); /* movzx */
	e_store32(a, FRAME(info), T1);
}

/* T2 = where that data says it goes on; changes T1. */
static void take_back(struct code *a)
{
	e_rm(a, 1, 0x63, T1, em_base(T2, 2)); /* movsxd */
	e_lea(a, 1, T2, em_sum(T2, T1));
}

/* Returns where it goes on when the guest's registers are stored. */
static const uint8_t *emit_exit(struct code *a, enum dbt_exit reason)
{
	const uint8_t *stored;

	store_guest(a);
	stored = e_here(a);
	e_mov_imm(a, X86_RAX, reason);
	leave(a);
	return stored;
}

static void call_c(struct code *a, const void *fn)
{
	e_load(a, X86_RDI, FRAME(self));
	e_mov_imm(a, X86_RAX, (uint64_t)(uintptr_t)fn);
	e_call_reg(a, X86_RAX);
}

/* Have C fill the table for the address in T0, go on to try again; cross: go on behind the access,
 * with the distance to what fn has copied. */
static void emit_fill(struct code *a, const void *fn, bool cross, const uint8_t *insn)
{
	uint8_t *slow;

	pop(a, T2);
	take_info(a);
	take_back(a);
	e_store(a, FRAME(resume), T2);
	store_guest(a);
	e_mov(a, X86_RSI, T0);
	call_c(a, fn);
	e8(a, 0x84), e8(a, 0xc0); /* test al, al */
	slow = e_jcc(a, CC_Z);
	load_guest(a);
	if (cross)
		e_load(a, T1, FRAME(cross));
	e_jmp_mem(a, FRAME(resume));
	e_patch(a, slow, insn); /* after whose store_guest */
}

/* The window of the address in register ea, which is in another region than was guessed. */
static void emit_guess(struct code *a, unsigned ea)
{
	pop(a, T2);
	e_store(a, FRAME(resume), T2);
	e_rr(a, 1, 0x8b, T0, ea); /* of one length for all */
	store_guest(a);
	e_mov(a, X86_RSI, T0);
	call_c(a, windows_guess);
	load_guest(a);
	e_load(a, T1, FRAME(cross));
	e_jmp_mem(a, FRAME(resume));
}

/* The same once guessing is given up: by the table. */
static void emit_know(struct code *a, unsigned ea)
{
	pop(a, T2);
	e_rm(a, 1, 0x63, T1, em_base(T2, 0)); /* movsxd */
	e_lea(a, 1, T2, em_sum(T2, T1));
	e_pext(a, T1, ea, FRAME(region_mask));
	e_load(a, T1, em_index(X86_RSP, T1, 3, FRAME_OFF(delta)));
	e_jmp_reg(a, T2);
}

static void emit_regions(struct code *a, struct dbt_stubs *s)
{
	for (unsigned n = 0; n < 16; n++) {
		s->region[n].guess = e_here(a);
		emit_guess(a, n);
		s->region[n].know = e_here(a);
		emit_know(a, n);
		bug_on(!code_room(a));
	}
	s->know_after_guess = (int32_t)(s->region[0].know - s->region[0].guess);
}

/* Does an access of that size at T0 end in another page?  Its last byte's offset less (size - 1) is
 * negative then.  Changes no flags; RR is free until it is loaded again. */
static void emit_align(struct code *a, unsigned size, bool saved, const uint8_t *insn)
{
	uint8_t *stays;

	pop(a, T2);
	e_lea(a, 1, T1, em_base(T0, (int32_t)size - 1));
	e_pext(a, T1, T1, em_base(X86_RSP, (int32_t)offsetof(struct dbt_frame, low_mask) + 8 * 6));
	e_lea(a, 1, T1, em_base(T1, 1 - (int32_t)size));
	e_mov_imm(a, RR, 63);
	e_sarx(a, T1, T1, RR);
	e_load(a, RR, FRAME(view_r));
	stays = e_jrcxz(a);
	take_info(a);
	if (saved)
		stub_load_flags(a);
	e_jmp_to(a, insn);
	e_patch8(a, stays);
	take_back(a);
	e_jmp_reg(a, T2);
}

/* C says where to go on, or that the run loop must look. */
static const uint8_t *emit_ask(struct code *a, const void *fn, enum dbt_exit reason)
{
	const uint8_t *stored;
	uint8_t *leaves;

	store_guest(a);
	stored = e_here(a);
	e_mov(a, X86_RSI, T2);
	call_c(a, fn);
	e_test(a, X86_RAX);
	leaves = e_jcc(a, CC_Z);
	e_store(a, FRAME(resume), X86_RAX);
	load_guest(a);
	e_load(a, T0, FRAME(target)); /* for a block's far entry */
	e_jmp_mem(a, FRAME(resume));
	e_patch(a, leaves, e_here(a));
	e_mov_imm(a, X86_RAX, reason);
	leave(a);
	return stored;
}

static void emit_aligns(struct code *a, struct dbt_stubs *s, const uint8_t *insn)
{
	static const uint8_t sizes[STUB_SIZES] = {2, 4, 8, 16, 32, 10};

	for (unsigned n = 0; n < STUB_SIZES; n++) {
		for (unsigned saved = 0; saved < 2; saved++) {
			s->align[!saved][n] = e_here(a);
			emit_align(a, sizes[n], saved, insn);
		}
	}
}

void stubs_emit(struct dbt_cpu *v)
{
	struct dbt_cache *k = &v->cache;
	struct code a = cache_begin(v, &k->hot);
	struct dbt_stubs *s = &k->stub;
	const uint8_t *insn, *stored;

	s->enter = e_here(&a);
	emit_enter(&a);
	s->fault[1] = e_here(&a);
	stub_load_flags(&a);
	s->fault[0] = e_here(&a);
	emit_exit(&a, DBT_EXIT_FAULT);
	s->poll = e_here(&a);
	take_data(&a);
	emit_exit(&a, DBT_EXIT_POLL);
	s->insn = e_here(&a);
	take_data(&a);
	insn = e_here(&a);
	/* With a sanitizer nothing may unwind from the helpers' stack: the run loop does it all. */
	stored = fpu_lazy() ? emit_ask(&a, run_insn, DBT_EXIT_RIP) : emit_exit(&a, DBT_EXIT_FAULT);
	s->not_high = e_here(&a);
	take_data(&a);
	if (fpu_lazy())
		emit_ask(&a, run_not_high, DBT_EXIT_RIP);
	else
		emit_exit(&a, DBT_EXIT_FAULT);
	s->fill[0] = e_here(&a);
	emit_fill(&a, jump_fill_r, false, stored);
	s->fill[1] = e_here(&a);
	emit_fill(&a, jump_fill_w, false, stored);
	s->cross[0] = e_here(&a);
	emit_fill(&a, jump_cross16, true, stored);
	s->cross[1] = e_here(&a);
	emit_fill(&a, jump_cross32, true, stored);
	emit_aligns(&a, s, insn);
	emit_regions(&a, s);
	for (unsigned saved = 0; saved < 2; saved++) {
		s->link[saved] = e_here(&a);
		pop(&a, T2);
		e_load32(&a, T1, em_base(T2, 0));
		if (saved)
			stub_load_flags(&a);
		e_mov(&a, T2, T1);
		emit_ask(&a, jump_link, DBT_EXIT_LINK);
	}
	s->jump = e_here(&a);
	take_data(&a);
	e_store(&a, FRAME(target), T0);
	stub_load_flags(&a);
	emit_ask(&a, jump_missed, DBT_EXIT_JUMP);
	s->call = e_here(&a);
	if (fpu_lazy())
		emit_ask(&a, run_call, DBT_EXIT_RIP);
	else
		emit_exit(&a, DBT_EXIT_FAULT);
	bug_on(a.full);
	cache_end(v, &k->hot, &a);
}
