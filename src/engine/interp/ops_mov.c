/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data movement: MOV MOVZX MOVSX LEA CMOVcc SETcc XCHG BSWAP, sign extension in the accumulator,
 * and the stack: PUSH POP LEAVE.
 */
#include "engine/interp/ops.h"

/* --- MOV --- */
#define MOV_REG(T)                                  \
	static OP(mov_rr_##T)                       \
	{                                           \
		SET(T, i->dst, S(T));               \
		NEXT;                               \
	}                                           \
	static OP(mov_ri_##T)                       \
	{                                           \
		SET(T, i->dst, (T)(int64_t)i->imm); \
		NEXT;                               \
	}                                           \
	MEM_LOAD(mov_rm, T, SET(T, i->dst, m))      \
	MEM_STORE(mov_mr, T, S(T))                  \
	MEM_STORE(mov_mi, T, (T)(int64_t)i->imm)
MOV_REG(uint8_t)
MOV_REG(uint16_t)
MOV_REG(uint32_t)
MOV_REG(uint64_t)

op_fn *const ops_mov_rr[4] = {mov_rr_uint8_t, mov_rr_uint16_t, mov_rr_uint32_t, mov_rr_uint64_t};
op_fn *const ops_mov_ri[4] = {mov_ri_uint8_t, mov_ri_uint16_t, mov_ri_uint32_t, mov_ri_uint64_t};
op_fn *const ops_mov_rm[4][AK_FORMS] = MEM_ROWS(mov_rm);
op_fn *const ops_mov_mr[4][AK_FORMS] = MEM_ROWS(mov_mr);
op_fn *const ops_mov_mi[4][AK_FORMS] = MEM_ROWS(mov_mi);

/* MOV r64, imm64: the register's place is in base. */
OP(op_mov_imm64)
{
	REG(uint64_t, i->base) = i->imm64;
	NEXT;
}

/* MOV of the accumulator with a 64-bit offset; scale: size. */
OP(op_mov_moffs_load)
{
	unsigned size = i->scale;
	uint64_t v = interp_ld(c, i, interp_ea(c, i, size, false), size);

	if (size == 1)
		REG(uint8_t, GPR(X86_RAX)) = (uint8_t)v;
	else if (size == 2)
		REG(uint16_t, GPR(X86_RAX)) = (uint16_t)v;
	else
		c->s.gpr[X86_RAX] = v;
	NEXT;
}

OP(op_mov_moffs_store)
{
	interp_st(c, i, interp_ea(c, i, i->scale, true), c->s.gpr[X86_RAX], i->scale);
	NEXT_SLOW;
}

/* --- MOVZX MOVSX MOVSXD --- */
/* MEM_LOAD names handlers by the loaded type; the destination's type is part of `name`. */
#define EXTEND(name, DT, ST, MT)                \
	static OP(name##_rr)                    \
	{                                       \
		SET(DT, i->dst, (DT)(ST)S(MT)); \
		NEXT;                           \
	}                                       \
	MEM_LOAD(name, MT, SET(DT, i->dst, (DT)(ST)m))
#define EXTEND_TO(DT)                             \
	EXTEND(zx8_##DT, DT, uint8_t, uint8_t)    \
	EXTEND(zx16_##DT, DT, uint16_t, uint16_t) \
	EXTEND(sx8_##DT, DT, int8_t, uint8_t)     \
	EXTEND(sx16_##DT, DT, int16_t, uint16_t)  \
	EXTEND(sx32_##DT, DT, int32_t, uint32_t)
EXTEND_TO(uint16_t)
EXTEND_TO(uint32_t)
EXTEND_TO(uint64_t)

#define EXT_RR(x)                                              \
	{                                                      \
		x##uint16_t_rr, x##uint32_t_rr, x##uint64_t_rr \
	}
#define EXT_RM(x, MT)                                                                           \
	{                                                                                       \
		MEM_ROW(x##uint16_t_##MT), MEM_ROW(x##uint32_t_##MT), MEM_ROW(x##uint64_t_##MT) \
	}
op_fn *const ops_ext_rr[EXT_COUNT][3] = {
	[EXT_ZX8] = EXT_RR(zx8_),   [EXT_ZX16] = EXT_RR(zx16_), [EXT_SX8] = EXT_RR(sx8_),
	[EXT_SX16] = EXT_RR(sx16_), [EXT_SX32] = EXT_RR(sx32_),
};
op_fn *const ops_ext_rm[EXT_COUNT][3][AK_FORMS] = {
	[EXT_ZX8] = EXT_RM(zx8_, uint8_t),    [EXT_ZX16] = EXT_RM(zx16_, uint16_t),
	[EXT_SX8] = EXT_RM(sx8_, uint8_t),    [EXT_SX16] = EXT_RM(sx16_, uint16_t),
	[EXT_SX32] = EXT_RM(sx32_, uint32_t),
};

/* --- LEA: the address without segment --- */
#define LEA(T)                                       \
	static OP(lea_b_##T)                         \
	{                                            \
		SET(T, i->dst, (T)EA_b);             \
		NEXT;                                \
	}                                            \
	static OP(lea_x_##T)                         \
	{                                            \
		SET(T, i->dst, (T)EA_x);             \
		NEXT;                                \
	}                                            \
	static OP(lea_w_##T)                         \
	{                                            \
		SET(T, i->dst, (T)EA_w);             \
		NEXT;                                \
	}                                            \
	static OP(lea_s_##T)                         \
	{                                            \
		SET(T, i->dst, (T)interp_off(c, i)); \
		NEXT;                                \
	}
LEA(uint16_t)
LEA(uint32_t)
LEA(uint64_t)
#define LEA_ROW(T)                                         \
	{                                                  \
		lea_b_##T, lea_x_##T, lea_w_##T, lea_s_##T \
	}
op_fn *const ops_lea[4][AK_FORMS] = {
	[1] = LEA_ROW(uint16_t),
	[2] = LEA_ROW(uint32_t),
	[3] = LEA_ROW(uint64_t),
};

/* --- CMOVcc and SETcc, a handler per condition.  CMOVcc always reads its source. --- */
#define CMOV(cc, T)                                      \
	static OP(cmov##cc##_rr_##T)                     \
	{                                                \
		T v = ops_cond(c->fl, cc) ? S(T) : D(T); \
                                                         \
		SET(T, i->dst, v);                       \
		NEXT;                                    \
	}                                                \
	MEM_LOAD(cmov##cc##_rm, T, T v = ops_cond(c->fl, cc) ? m : D(T); SET(T, i->dst, v))
#define SETCC(cc)                                 \
	static OP(set##cc##_r)                    \
	{                                         \
		D(uint8_t) = ops_cond(c->fl, cc); \
		NEXT;                             \
	}                                         \
	MEM_STORE(set##cc##_m, uint8_t, ops_cond(c->fl, cc))
#define CC(cc) CMOV(cc, uint16_t) CMOV(cc, uint32_t) CMOV(cc, uint64_t) SETCC(cc)
#include "engine/interp/cc.def"
#undef CC

#define CC(cc) [cc] = {cmov##cc##_rr_uint16_t, cmov##cc##_rr_uint32_t, cmov##cc##_rr_uint64_t},
op_fn *const ops_cmov_rr[16][3] = {
#include "engine/interp/cc.def"
};
#undef CC
#define CC(cc)                                                                    \
	[cc] = {MEM_ROW(cmov##cc##_rm_uint16_t), MEM_ROW(cmov##cc##_rm_uint32_t), \
		MEM_ROW(cmov##cc##_rm_uint64_t)},
op_fn *const ops_cmov_rm[16][3][AK_FORMS] = {
#include "engine/interp/cc.def"
};
#undef CC
#define CC(cc) [cc] = set##cc##_r,
op_fn *const ops_set_r[16] = {
#include "engine/interp/cc.def"
};
#undef CC
#define CC(cc) [cc] = MEM_ROW(set##cc##_m_uint8_t),
op_fn *const ops_set_m[16][AK_FORMS] = {
#include "engine/interp/cc.def"
};
#undef CC

/* --- XCHG of registers, BSWAP, the accumulator's sign --- */
#define XCHG(T)                       \
	static OP(xchg_rr_##T)        \
	{                             \
		T a = D(T), b = S(T); \
                                      \
		SET(T, i->src, a);    \
		SET(T, i->dst, b);    \
		NEXT;                 \
	}
XCHG(uint8_t)
XCHG(uint16_t)
XCHG(uint32_t)
XCHG(uint64_t)
op_fn *const ops_xchg_rr[4] = {xchg_rr_uint8_t, xchg_rr_uint16_t, xchg_rr_uint32_t,
			       xchg_rr_uint64_t};

/* With a 16-bit operand BSWAP is undefined; processors clear it. */
OP(op_bswap16)
{
	D(uint16_t) = 0;
	NEXT;
}

OP(op_bswap32)
{
	D(uint64_t) = __builtin_bswap32(D(uint32_t));
	NEXT;
}

OP(op_bswap64)
{
	D(uint64_t) = __builtin_bswap64(D(uint64_t));
	NEXT;
}

OP(op_cbw)
{
	SET(uint16_t, GPR(X86_RAX), (int8_t)REG(uint8_t, GPR(X86_RAX)));
	NEXT;
}

OP(op_cwde)
{
	SET(uint32_t, GPR(X86_RAX), (int16_t)REG(uint16_t, GPR(X86_RAX)));
	NEXT;
}

OP(op_cdqe)
{
	c->s.gpr[X86_RAX] = (uint64_t)(int64_t)(int32_t)c->s.gpr[X86_RAX];
	NEXT;
}

OP(op_cwd)
{
	SET(uint16_t, GPR(X86_RDX), (int16_t)REG(uint16_t, GPR(X86_RAX)) >> 15);
	NEXT;
}

OP(op_cdq)
{
	SET(uint32_t, GPR(X86_RDX), (int32_t)c->s.gpr[X86_RAX] >> 31);
	NEXT;
}

OP(op_cqo)
{
	c->s.gpr[X86_RDX] = (uint64_t)((int64_t)c->s.gpr[X86_RAX] >> 63);
	NEXT;
}

/* --- the stack.  Fast: 64-bit code, or 32-bit flat code with a 32-bit stack pointer; `gen`: the
 * rest. --- */
#define RSP c->s.gpr[X86_RSP]

#define PUSH_FAST(name, T, sp_t, expr)                              \
	static COLD OP(name##_slow)                                 \
	{                                                           \
		sp_t sp = (sp_t)(RSP - sizeof(T));                  \
                                                                    \
		interp_st(c, i, sp, (T)(expr), sizeof(T));          \
		SET(sp_t, GPR(X86_RSP), sp);                        \
		NEXT_SLOW;                                          \
	}                                                           \
	OP(name)                                                    \
	{                                                           \
		sp_t sp = (sp_t)(RSP - sizeof(T));                  \
		uint64_t va = sp;                                   \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va); \
                                                                    \
		if (!TLB_HIT(e, wr, va, T))                         \
			return name##_slow(c, i);                   \
		*(volatile T *)(va + e->addend) = (T)(expr);        \
		RSP = sp;                                           \
		NEXT;                                               \
	}
PUSH_FAST(op_push64_r, uint64_t, uint64_t, S(uint64_t))
PUSH_FAST(op_push64_i, uint64_t, uint64_t, (int64_t)i->imm)
PUSH_FAST(op_push32_r, uint32_t, uint32_t, S(uint32_t))
PUSH_FAST(op_push32_i, uint32_t, uint32_t, i->imm)

#define POP_FAST(name, T, sp_t)                                     \
	static COLD OP(name##_slow)                                 \
	{                                                           \
		sp_t sp = (sp_t)RSP;                                \
		T v = (T)interp_ld(c, i, sp, sizeof(T));            \
                                                                    \
		RSP = (sp_t)(sp + sizeof(T));                       \
		SET(T, i->dst, v);                                  \
		NEXT;                                               \
	}                                                           \
	OP(name)                                                    \
	{                                                           \
		sp_t sp = (sp_t)RSP;                                \
		uint64_t va = sp;                                   \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va); \
		T v;                                                \
                                                                    \
		if (!TLB_HIT(e, rd, va, T))                         \
			return name##_slow(c, i);                   \
		v = *(volatile T *)(va + e->addend);                \
		RSP = (sp_t)(sp + sizeof(T));                       \
		SET(T, i->dst, v);                                  \
		NEXT;                                               \
	}
POP_FAST(op_pop64_r, uint64_t, uint64_t)
POP_FAST(op_pop32_r, uint32_t, uint32_t)

/* Any operand and stack size; src: a register's place. */
OP(op_push_r)
{
	interp_sync(c, i);
	x86_push(c, S(uint64_t), insn_opsize(i));
	NEXT_SLOW;
}

OP(op_push_i)
{
	interp_sync(c, i);
	x86_push(c, (uint64_t)(int64_t)i->imm, insn_opsize(i));
	NEXT_SLOW;
}

OP(op_push_m)
{
	unsigned size = insn_opsize(i);
	uint64_t v = interp_ld(c, i, interp_ea(c, i, size, false), size);

	x86_push(c, v, size);
	NEXT_SLOW;
}

/* PUSH and POP of a segment register access 16 bits of a 32-bit slot; a 64-bit one is written
 * whole. */
OP(op_push_sreg)
{
	unsigned size = insn_opsize(i);
	uint64_t sp = RSP;

	interp_stack_add(c, &sp, -(int)size);
	interp_stack_st(c, i, sp, c->s.seg[i->imm].sel, size == 4 ? 2 : size);
	RSP = sp;
	NEXT_SLOW;
}

OP(op_pop_r)
{
	uint64_t v;

	interp_sync(c, i);
	v = x86_pop(c, insn_opsize(i));
	if (i->flags & INSN_O16)
		D(uint16_t) = (uint16_t)v;
	else
		D(uint64_t) = v;
	NEXT;
}

/* An address by RSP is computed with RSP already raised (SDM 2 POP). */
OP(op_pop_m)
{
	unsigned size = insn_opsize(i);
	uint64_t old = RSP, new, v, va;

	interp_sync(c, i);
	v = x86_pop(c, size);
	new = RSP;
	va = interp_off(c, i);
	RSP = old;
	va = interp_lin(c, i, va, size, true);
	interp_st(c, i, va, v, size);
	RSP = new;
	NEXT_SLOW;
}

OP(op_pop_sreg)
{
	uint64_t sp = RSP, sel = interp_stack_ld(c, i, sp, 2);

	/* A new stack's width counts from the next instruction on. */
	interp_stack_add(c, &sp, (int)insn_opsize(i));
	x86_load_seg(c, (enum x86_sreg)i->imm, (uint16_t)sel);
	RSP = sp;
	if (i->imm == X86_SS)
		c->s.movss_shadow = true;
	return interp_leave(c, i);
}

OP(op_leave64)
{
	uint64_t sp = c->s.gpr[X86_RBP];
	struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, sp);
	uint64_t v;

	if (TLB_HIT(e, rd, sp, uint64_t))
		v = *(volatile uint64_t *)(sp + e->addend);
	else
		v = interp_ld(c, i, sp, 8);
	RSP = sp + 8;
	c->s.gpr[X86_RBP] = v;
	NEXT;
}

/* LEAVE of other sizes: the stack's width says how much of RBP becomes the stack pointer. */
OP(op_leave)
{
	uint64_t old = RSP, new, v;

	interp_sync(c, i);
	if (c->mode & X86_MODE_CS64)
		RSP = c->s.gpr[X86_RBP];
	else if (c->mode & X86_MODE_SS32)
		RSP = (uint32_t)c->s.gpr[X86_RBP];
	else
		REG(uint16_t, GPR(X86_RSP)) = (uint16_t)c->s.gpr[X86_RBP];
	new = RSP;
	RSP = old;
	/* The read may fault: RSP must then be what it was. */
	v = interp_stack_ld(c, i, new, insn_opsize(i));
	interp_stack_add(c, &new, (int)insn_opsize(i));
	RSP = new;
	if (i->flags & INSN_O16)
		REG(uint16_t, GPR(X86_RBP)) = (uint16_t)v;
	else if (i->flags & INSN_O32)
		c->s.gpr[X86_RBP] = (uint32_t)v;
	else
		c->s.gpr[X86_RBP] = v;
	NEXT_LOOP;
}
