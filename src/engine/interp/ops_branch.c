/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Near branches.  In flat code a direct branch holds links to the blocks it leads to: one inside
 * its page stays right for as long as the block is valid, since the block that branches can only be
 * reached where that page is mapped; one to another page counts only while no translation has
 * changed (the tag). Indirect branches go through the jump cache.  Code that is not flat (or has
 * 16-bit operands) takes the forms named _gen, which do all checks each time.
 *
 * insn.base of a branch is the number of instructions that its block has retired when it is done.
 */
#include "engine/interp/ops.h"

#define RSP c->s.gpr[X86_RSP]
#define RCX c->s.gpr[X86_RCX]
static uint64_t target(const struct x86_cpu *c, const struct insn *i)
{
	uint64_t rip = interp_next_rip(c, i) + (uint64_t)(int64_t)i->imm;

	if (i->flags & INSN_O16)
		return (uint16_t)rip;
	return c->mode & X86_MODE_CS64 ? rip : (uint32_t)rip;
}

COLD OP(interp_link_taken)
{
	return interp_link(c, i, 1, target(c, i));
}

COLD OP(interp_link_not_taken)
{
	return interp_link(c, i, 2, interp_next_rip(c, i));
}

/* --- JMP and the end of a block that just goes on --- */
static OP(jmp_in)
{
	FOLLOW_in(1, interp_link_taken);
}

static OP(jmp_out)
{
	FOLLOW_out(1, interp_link_taken);
}

op_fn *const ops_jmp[2] = {jmp_in, jmp_out};

/* --- Jcc: [taken leaves the page][not taken leaves the page] --- */
#define JCC(cc, taken, not_taken)                             \
	static OP(jcc##cc##_##taken##_##not_taken)            \
	{                                                     \
		if (ops_cond(c->fl, cc))                      \
			FOLLOW_##taken(1, interp_link_taken); \
		FOLLOW_##not_taken(2, interp_link_not_taken); \
	}
#define CC(cc) JCC(cc, in, in) JCC(cc, in, out) JCC(cc, out, in) JCC(cc, out, out)
#include "engine/interp/cc.def"
#undef CC
#define CC(cc) [cc] = {{jcc##cc##_in_in, jcc##cc##_in_out}, {jcc##cc##_out_in, jcc##cc##_out_out}},
op_fn *const ops_jcc[16][2][2] = {
#include "engine/interp/cc.def"
};
#undef CC

/* --- the jump cache --- */
#define JUMP_TO(to) JUMP_COUNTED(to, i->base)
#define JUMP_COUNTED(to, count)                                               \
	do {                                                                  \
		const struct jump *jmp = interp_jump_slot(interp_of(c), to);  \
                                                                              \
		if (likely(jmp->lin == to && jmp->tag == interp_of(c)->tag && \
			   block_valid(jmp->to) && !interp_events(c))) {      \
			c->icount += (count);                                 \
			c->code_base = to & ~(PAGE_SIZE - 1);                 \
			GO(jmp->to);                                          \
		}                                                             \
	} while (0)

/* interp_goto - the checks of a near transfer come before anything is committed (check), the
 * transfer itself when the instruction is done. */
static void check(struct x86_cpu *c, const struct insn *i, uint64_t rip)
{
	if (c->mode & X86_MODE_CS64 ? x86_canonical(rip) : rip <= c->s.seg[X86_CS].limit)
		return;
	interp_sync(c, i);
	x86_raise_err(c, X86_GP, 0);
}

const struct insn *interp_goto(struct x86_cpu *c, const struct insn *i, uint64_t rip)
{
	check(c, i, rip);
	c->icount += interp_index(c, i) + 1;
	c->s.rip = rip;
	return interp_resume(c, i);
}

/* --- JMP r/m --- */
OP(op_jmp64_r)
{
	uint64_t to = S(uint64_t);

	JUMP_TO(to);
	return interp_goto(c, i, to);
}

OP(op_jmp32_r)
{
	uint64_t to = S(uint32_t);

	JUMP_TO(to);
	return interp_goto(c, i, to);
}

OP(op_jmp_gen_r)
{
	return interp_goto(c, i,
			   i->flags & INSN_O16	 ? S(uint16_t)
			   : i->flags & INSN_O32 ? S(uint32_t)
						 : S(uint64_t));
}

OP(op_jmp_m)
{
	unsigned size = insn_opsize(i);
	uint64_t to = interp_ld(c, i, interp_ea(c, i, size, false), size);

	return interp_goto(c, i, to);
}

OP(op_jmp_gen)
{
	return interp_goto(c, i, target(c, i));
}

/* The same in 64-bit code by base and displacement; here the count is in dst. */
OP(op_jmp64_m_b)
{
	uint64_t va = EA_b, to;
	struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);

	if (!TLB_HIT(e, rd, va, uint64_t))
		return op_jmp_m(c, i);
	to = *(volatile uint64_t *)(va + e->addend);
	JUMP_COUNTED(to, i->dst);
	return interp_goto(c, i, to);
}

/* --- CALL --- */
#define CALL_DIRECT(bits, T, how)                                                      \
	static COLD OP(call##bits##_##how##_slow)                                      \
	{                                                                              \
		T sp = (T)(RSP - sizeof(T));                                           \
                                                                                       \
		interp_st(c, i, sp, interp_next_rip(c, i), sizeof(T));                 \
		check(c, i, target(c, i));                                             \
		RSP = sp;                                                              \
		COUNT;                                                                 \
		return interp_link_taken(c, i);                                        \
	}                                                                              \
	static OP(call##bits##_##how)                                                  \
	{                                                                              \
		T sp = (T)(RSP - sizeof(T));                                           \
		uint64_t va = sp;                                                      \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);                    \
                                                                                       \
		if (!TLB_HIT(e, wr, va, T) || LINK(1)->to == &interp_no_block)         \
			return call##bits##_##how##_slow(c, i);                        \
		*(volatile T *)(va + e->addend) = (T)(c->code_base + i->off + i->len); \
		RSP = sp;                                                              \
		FOLLOW_##how(1, interp_link_taken);                                    \
	}
CALL_DIRECT(32, uint32_t, in)
CALL_DIRECT(32, uint32_t, out)
CALL_DIRECT(64, uint64_t, in)
CALL_DIRECT(64, uint64_t, out)
op_fn *const ops_call[2][2] = {{call32_in, call32_out}, {call64_in, call64_out}};

static const struct insn *call_to(struct x86_cpu *c, const struct insn *i, uint64_t to)
{
	unsigned size = insn_opsize(i);
	uint64_t sp = RSP, new;

	interp_sync(c, i);
	x86_push(c, interp_next_rip(c, i), size);
	new = RSP;
	/* A target that faults finds the return address written already, as on processors. */
	RSP = sp;
	check(c, i, to);
	RSP = new;
	return interp_goto(c, i, to);
}

OP(op_call64_r)
{
	uint64_t to = S(uint64_t), va = RSP - 8;
	struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);
	const struct jump *j = interp_jump_slot(interp_of(c), to);

	if (!TLB_HIT(e, wr, va, uint64_t) || j->lin != to || j->tag != interp_of(c)->tag)
		return call_to(c, i, to);
	*(volatile uint64_t *)(va + e->addend) = c->code_base + i->off + i->len;
	RSP = va;
	JUMP_TO(to);
	return interp_goto(c, i, to);
}

OP(op_call_r)
{
	return call_to(c, i,
		       i->flags & INSN_O16   ? S(uint16_t)
		       : i->flags & INSN_O32 ? S(uint32_t)
					     : S(uint64_t));
}

OP(op_call_m)
{
	unsigned size = insn_opsize(i);

	return call_to(c, i, interp_ld(c, i, interp_ea(c, i, size, false), size));
}

OP(op_call64_m_b)
{
	uint64_t va = EA_b, sp = RSP - 8, to;
	struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va), *es = x86_tlb_slot(c->tlb, sp);
	const struct jump *j;

	if (!TLB_HIT(e, rd, va, uint64_t) || !TLB_HIT(es, wr, sp, uint64_t))
		return op_call_m(c, i);
	to = *(volatile uint64_t *)(va + e->addend);
	j = interp_jump_slot(interp_of(c), to);
	if (j->lin != to || j->tag != interp_of(c)->tag)
		return op_call_m(c, i);
	*(volatile uint64_t *)(sp + es->addend) = c->code_base + i->off + i->len;
	RSP = sp;
	JUMP_COUNTED(to, i->dst);
	return interp_goto(c, i, to);
}

OP(op_call_gen)
{
	return call_to(c, i, target(c, i));
}

/* --- RET: imm is the number of parameter bytes to drop --- */
OP(op_ret_gen)
{
	unsigned size = insn_opsize(i);
	uint64_t sp = RSP, to = interp_stack_ld(c, i, sp, size);

	check(c, i, to);
	interp_stack_add(c, &sp, (int)size + i->imm);
	RSP = sp;
	return interp_goto(c, i, to);
}

#define RET(bits, T)                                                                               \
	OP(op_ret##bits)                                                                           \
	{                                                                                          \
		uint64_t va = (T)RSP;                                                              \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);                                \
		const struct jump *j;                                                              \
		uint64_t to;                                                                       \
                                                                                                   \
		if (!TLB_HIT(e, rd, va, T))                                                        \
			return op_ret_gen(c, i);                                                   \
		to = *(volatile T *)(va + e->addend);                                              \
		j = interp_jump_slot(interp_of(c), to);                                            \
		if (unlikely(j->lin != to || j->tag != interp_of(c)->tag || !block_valid(j->to) || \
			     interp_events(c)))                                                    \
			return op_ret_gen(c, i);                                                   \
		RSP = (T)(va + sizeof(T) + (uint32_t)i->imm);                                      \
		COUNT;                                                                             \
		c->code_base = to & ~(PAGE_SIZE - 1);                                              \
		GO(j->to);                                                                         \
	}
RET(32, uint32_t)
RET(64, uint64_t)

/* --- 16-bit or segmented Jcc; LOOP and JCXZ with the counter as wide as an address --- */
static const struct insn *branch_if(struct x86_cpu *c, const struct insn *i, bool taken)
{
	uint64_t to = taken ? target(c, i) : interp_next_rip(c, i);

	if (c->mode & (X86_MODE_CS64 | X86_MODE_FLAT))
		JUMP_TO(to);
	return interp_goto(c, i, to);
}

/* src: condition */
OP(op_jcc_gen)
{
	return branch_if(c, i, ops_cond(c->fl, i->src));
}

/* src: 0 JCXZ, 1 LOOPNE, 2 LOOPE, 3 LOOP */
OP(op_loop)
{
	uint64_t mask = i->flags & INSN_A16   ? 0xffff
			: i->flags & INSN_A32 ? 0xffffffff
					      : ~UINT64_C(0);
	uint64_t n = RCX & mask;
	bool taken;

	if (i->src == 0)
		return branch_if(c, i, n == 0);
	n = (n - 1) & mask;
	taken = n != 0 && (i->src == 3 || !(c->fl & FL_ZF) == (i->src == 1));
	if (taken)
		check(c, i, target(c, i));
	RCX = i->flags & INSN_A16 ? (RCX & ~mask) | n : n;
	return branch_if(c, i, taken);
}

/* A block ended because it was full, at a page's end, or before something that must start one. */
static OP(end_gen)
{
	COUNT;
	c->s.rip = interp_rip(c, i->off);
	return interp_resume(c, i);
}

void lower_end(const struct x86_cpu *c, struct insn *i, unsigned off, unsigned count)
{
	*i = (struct insn){.off = (uint16_t)off, .base = (uint16_t)count};
	if (!(c->mode & (X86_MODE_CS64 | X86_MODE_FLAT)))
		i->fn = end_gen;
	else
		i->fn = off < PAGE_SIZE ? jmp_in : jmp_out;
}
