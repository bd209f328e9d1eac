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
#include "engine/dbt/xlate_int.h"

static const uint8_t callee_saved[] = {X86_RBX, X86_RBP, 12, 13, 14, FR};

static struct emem gpr(unsigned guest)
{
	return em_frame(FRAME_OFF(in.cpu.s.gpr) + 8 * (int32_t)guest);
}

static struct emem high(unsigned n)
{
	return em_frame((int32_t)offsetof(struct dbt_frame, high) + 8 * (int32_t)n);
}

/* And go to the stack below the frame.  Uses RAX after it is stored. */
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
	e_store(a, FRAME(ret_sp), X86_RSP);
	e_lea(a, 1, X86_RSP, em_frame(0));
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
	e_load(a, X86_RSP, FRAME(ret_sp));
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
		e_pop(a, callee_saved[n]);
	e_ret(a);
}

static void emit_enter(struct code *a)
{
	for (unsigned n = 0; n < ARRAY_SIZE(callee_saved); n++)
		e_push(a, callee_saved[n]);
	e_store(a, em_base(X86_RDI, offsetof(struct dbt_frame, host_rsp)), X86_RSP);
	e_lea(a, 1, FR, em_base(X86_RDI, FR_BIAS));
	e_mov(a, T2, X86_RSI);
	load_guest(a);
	e_jmp_reg(a, T2);
}

/* T2 = what the call that led here pushed: by a RET of our own, without which none would be
 * predicted any more.  Changes T1. */
static void take_pushed(struct code *a)
{
	uint8_t *here;

	e_load(a, T2, em_base(X86_RSP, 0));
	here = e_lea_code(a, T1);
	e_store(a, em_base(X86_RSP, 0), T1);
	e_ret(a);
	e_patch(a, here, e_here(a));
}

/* T2 = the data behind the call that led here; its first word is info. */
static void take_data(struct code *a)
{
	take_pushed(a);
	e_load32(a, T1, em_base(T2, 0));
	e_store32(a, FRAME(info), T1);
}

/* The beginning of a stub that goes on behind the call that led here, where there is a JMP, and
 * behind that its info: keep both.  Changes T1 and T2. */
static void keep_pushed(struct code *a)
{
	e_pop(a, T2);
	e_store(a, FRAME(resume), T2);
	e_0f_rm(a, 0, 0xb7, T1, em_base(T2, 5)); /* movzx */
	e_store32(a, FRAME(info), T1);
}

/* And its end. */
static void go_on(struct code *a)
{
	e_rm(a, 0, 0xff, 6, FRAME(resume)); /* push */
	e_ret(a);
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

	keep_pushed(a);
	store_guest(a);
	e_mov(a, X86_RSI, T0);
	call_c(a, fn);
	e8(a, 0x84), e8(a, 0xc0); /* test al, al */
	slow = e_jcc(a, CC_Z);
	load_guest(a);
	if (cross)
		e_load(a, T1, FRAME(cross));
	go_on(a);
	e_patch(a, slow, insn); /* after whose store_guest */
}

/* The window of the address in register ea, which is in another region than was guessed. */
static void emit_guess(struct code *a, unsigned ea)
{
	e_pop(a, T2);
	e_store(a, FRAME(resume), T2);
	e_rr(a, 1, 0x8b, T0, ea); /* of one length for all */
	store_guest(a);
	e_mov(a, X86_RSI, T0);
	call_c(a, windows_guess);
	load_guest(a);
	e_load(a, T1, FRAME(cross));
	go_on(a);
}

static void emit_regions(struct code *a, struct dbt_stubs *s)
{
	for (unsigned n = 0; n < 16; n++) {
		s->region[n] = e_here(a);
		emit_guess(a, n);
		bug_on(!code_room(a));
	}
}

/* Does an access of that size at T0 end in another page?  Its last byte's offset less (size - 1) is
 * negative then.  Changes no flags. */
static void emit_align(struct code *a, unsigned size, bool saved, const uint8_t *insn)
{
	uint8_t *crosses;

	e_lea(a, 1, T1, em_base(T0, (int32_t)size - 1));
	e_pext(a, T1, T1, em_frame((int32_t)offsetof(struct dbt_frame, low_mask) + 8 * 6));
	e_lea(a, 1, T1, em_base(T1, -(int32_t)size + 1));
	e_pext(a, T1, T1, FRAME(sign));
	e_lea(a, 1, T1, em_base(T1, -1));
	crosses = e_jrcxz(a);
	e_ret(a);
	e_patch8(a, crosses);
	keep_pushed(a);
	if (saved)
		stub_load_flags(a);
	e_jmp_to(a, insn);
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
	const uint8_t *insn, *stored, *jump;

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
		take_pushed(&a);
		e_load32(&a, T1, em_base(T2, 0));
		if (saved)
			stub_load_flags(&a);
		e_mov(&a, T2, T1);
		emit_ask(&a, jump_link, DBT_EXIT_LINK);
	}
	s->jump = e_here(&a);
	take_data(&a);
	jump = e_here(&a);
	e_store(&a, FRAME(target), T0);
	stub_load_flags(&a);
	emit_ask(&a, jump_missed, DBT_EXIT_JUMP);
	s->ret_empty = e_here(&a);
	e_load(&a, X86_RSP, FRAME(ret_top));
	s->ret = e_here(&a);
	e_store32(&a, FRAME(info), T1);
	e_patch(&a, xl_look_up(&a, false), jump);
	s->call = e_here(&a);
	if (fpu_lazy())
		emit_ask(&a, run_call, DBT_EXIT_RIP);
	else
		emit_exit(&a, DBT_EXIT_FAULT);
	bug_on(a.full);
	cache_end(v, &k->hot, &a);
}
