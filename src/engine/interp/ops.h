/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the files of handlers share: templates of memory operands, and the tables that lower.c picks
 * handlers from.
 */
#include "engine/interp/interp_int.h"

/* Forms of a memory handler: one per fast address kind, then the slow one, which takes any kind. */
#define AK_FORMS (AK_FAST_COUNT + 1)
#define MEM_ROW(x)                         \
	{                                  \
		x##_b, x##_x, x##_w, x##_s \
	}
#define MEM_ROWS(x)                                                                 \
	{                                                                           \
		MEM_ROW(x##_uint8_t), MEM_ROW(x##_uint16_t), MEM_ROW(x##_uint32_t), \
			MEM_ROW(x##_uint64_t)                                       \
	}

#define TLB_HIT(e, tag, va, T) likely((e)->tag == (((va) + sizeof(T) - 1) & ~(PAGE_SIZE - 1)))

/* MEM_LOAD - handlers name_T_{b,x,w,s} that run body with T m loaded. */
#define MEM_LOAD_FAST(name, T, k, ...)                              \
	static OP(name##_##T##_##k)                                 \
	{                                                           \
		uint64_t va = EA_##k;                               \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va); \
		T m;                                                \
                                                                    \
		if (!TLB_HIT(e, rd, va, T))                         \
			return name##_##T##_s(c, i);                \
		m = *(volatile T *)(va + e->addend);                \
		{                                                   \
			__VA_ARGS__;                                \
		}                                                   \
		NEXT;                                               \
	}
#define MEM_LOAD(name, T, ...)                                                          \
	static COLD OP(name##_##T##_s)                                                  \
	{                                                                               \
		T m = (T)interp_ld(c, i, interp_ea(c, i, sizeof(T), false), sizeof(T)); \
		{                                                                       \
			__VA_ARGS__;                                                    \
		}                                                                       \
		NEXT;                                                                   \
	}                                                                               \
	MEM_LOAD_FAST(name, T, b, __VA_ARGS__)                                          \
	MEM_LOAD_FAST(name, T, x, __VA_ARGS__)                                          \
	MEM_LOAD_FAST(name, T, w, __VA_ARGS__)

/* MEM_STORE - handlers that store the value of the expression. */
#define MEM_STORE_FAST(name, T, k, expr)                            \
	static OP(name##_##T##_##k)                                 \
	{                                                           \
		uint64_t va = EA_##k;                               \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va); \
                                                                    \
		if (!TLB_HIT(e, wr, va, T))                         \
			return name##_##T##_s(c, i);                \
		*(volatile T *)(va + e->addend) = (T)(expr);        \
		NEXT;                                               \
	}
#define MEM_STORE(name, T, expr)                                \
	static COLD OP(name##_##T##_s)                          \
	{                                                       \
		uint64_t va = interp_ea(c, i, sizeof(T), true); \
                                                                \
		interp_st(c, i, va, (T)(expr), sizeof(T));      \
		NEXT_SLOW;                                      \
	}                                                       \
	MEM_STORE_FAST(name, T, b, expr)                        \
	MEM_STORE_FAST(name, T, x, expr)                        \
	MEM_STORE_FAST(name, T, w, expr)

/* MEM_RMW - handlers that run body, which changes T m and may change uint16_t f (arithmetic flags).
 */
#define MEM_RMW_FAST(name, T, k, ...)                               \
	static OP(name##_##T##_##k)                                 \
	{                                                           \
		uint64_t va = EA_##k;                               \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va); \
		volatile T *p;                                      \
		uint16_t f = c->fl;                                 \
		T m;                                                \
                                                                    \
		if (!TLB_HIT(e, wr, va, T))                         \
			return name##_##T##_s(c, i);                \
		p = (volatile T *)(va + e->addend);                 \
		m = *p;                                             \
		{                                                   \
			__VA_ARGS__;                                \
		}                                                   \
		*p = m;                                             \
		c->fl = f;                                          \
		NEXT;                                               \
	}
#define MEM_RMW(name, T, ...)                                     \
	static COLD OP(name##_##T##_s)                            \
	{                                                         \
		uint64_t va = interp_ea(c, i, sizeof(T), true);   \
		volatile T *p = interp_rmw(c, i, va, sizeof(T));  \
		uint16_t f = c->fl;                               \
		T m = p ? *p : (T)interp_ld(c, i, va, sizeof(T)); \
                                                                  \
		{                                                 \
			__VA_ARGS__;                              \
		}                                                 \
		if (p)                                            \
			*p = m;                                   \
		else                                              \
			interp_st(c, i, va, m, sizeof(T));        \
		c->fl = f;                                        \
		NEXT_SLOW;                                        \
	}                                                         \
	MEM_RMW_FAST(name, T, b, __VA_ARGS__)                     \
	MEM_RMW_FAST(name, T, x, __VA_ARGS__)                     \
	MEM_RMW_FAST(name, T, w, __VA_ARGS__)

/* Operand size in bytes, from insn.flags. */
static inline unsigned insn_opsize(const struct insn *i)
{
	return i->flags & INSN_O16 ? 2 : i->flags & INSN_O32 ? 4 : 8;
}

/* Index of an operand size in handler tables. */
static inline unsigned ops_size(unsigned bytes)
{
	return (unsigned)__builtin_ctz(bytes);
}

/* Conditions as in instruction encodings (low four bits of Jcc), from fl. */
static inline __attribute__((always_inline)) bool ops_cond(uint32_t f, unsigned cc)
{
	bool r;

	switch (cc >> 1) {
	case 0: /* O */
		r = f & FL_OF;
		break;
	case 1: /* B */
		r = f & FL_CF;
		break;
	case 2: /* Z */
		r = f & FL_ZF;
		break;
	case 3: /* BE */
		r = f & (FL_CF | FL_ZF);
		break;
	case 4: /* S */
		r = f & FL_SF;
		break;
	case 5: /* P */
		r = f & FL_PF;
		break;
	case 6: /* L */
		r = ((f >> 15) ^ f) & 1;
		break;
	default: /* LE */
		r = (((f >> 15) ^ f) & 1) | ((f >> 14) & 1);
		break;
	}
	return r ^ (cc & 1);
}

/* --- following links (see ops_branch.c): base of a branch is the number of instructions that its
 * block has retired when it is done --- */
#define COUNT (c->icount += i->base)
#define LINK(n) ((const struct link *)(i + (n)))
#define FOLLOW_in(n, miss)                                        \
	do {                                                      \
		const struct block *b_ = LINK(n)->to;             \
                                                                  \
		COUNT;                                            \
		if (likely(block_valid(b_) && !interp_events(c))) \
			GO(b_);                                   \
		return miss(c, i);                                \
	} while (0)
#define FOLLOW_out(n, miss)                                                                      \
	do {                                                                                     \
		const struct block *b_ = LINK(n)->to;                                            \
                                                                                                 \
		COUNT;                                                                           \
		if (likely(LINK(n)->tag == interp_of(c)->tag && LINK(n)->from == c->code_base && \
			   block_valid(b_) && !interp_events(c))) {                              \
			c->code_base = LINK(n)->page;                                            \
			GO(b_);                                                                  \
		}                                                                                \
		return miss(c, i);                                                               \
	} while (0)

/* Ways on when a link does not hold: slots 1 and 2 after the branch. */
op_fn interp_link_taken, interp_link_not_taken;

/* ops_fuse - a handler that does prev, a comparison, and the Jcc with condition cc after it, whose
 * links stay in its page, in one; NULL when there is none. */
op_fn *ops_fuse(op_fn *prev, unsigned cc);

enum ops_alu {
	ALU_ADD,
	ALU_OR,
	ALU_ADC,
	ALU_SBB,
	ALU_AND,
	ALU_SUB,
	ALU_XOR,
	ALU_CMP,
	ALU_TEST,
	ALU_INC,
	ALU_DEC,
	ALU_NEG,
	ALU_NOT,
	ALU_COUNT
};
enum ops_shift { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAR, SH_COUNT };

extern op_fn *const ops_alu_rr[ALU_COUNT][4], *const ops_alu_ri[ALU_COUNT][4]; /* _ri: ALU1's r */
extern op_fn *const ops_alu_rm[ALU_COUNT][4][AK_FORMS], *const ops_alu_mr[ALU_COUNT][4][AK_FORMS];
extern op_fn *const ops_alu_mi[ALU_COUNT][4][AK_FORMS]; /* ALU1's m */

enum ops_ext { EXT_ZX8, EXT_ZX16, EXT_SX8, EXT_SX16, EXT_SX32, EXT_COUNT };
enum string_op { STR_MOVS, STR_STOS, STR_LODS, STR_SCAS, STR_CMPS, STR_INS, STR_OUTS };

/* Tables are indexed by operation, then operand size (8, 16, 32, 64; those of 3 begin with 16,
 * those of 2 with 32), then form of the memory operand. */
extern op_fn *const ops_lock_mr[ALU_COUNT][4][AK_FORMS], *const ops_lock_mi[ALU_COUNT][4][AK_FORMS];
extern op_fn *const ops_shift_r[SH_COUNT][2][4]; /* [by CL] */
extern op_fn *const ops_shift_m[SH_COUNT][2][4][AK_FORMS];
extern op_fn *const ops_imul_rr[2][3], *const ops_imul_rm[2][3][AK_FORMS]; /* [three operands] */
extern op_fn *const ops_mul_r[4][2], *const ops_mul_m[4][2][AK_FORMS]; /* MUL IMUL DIV IDIV */
extern op_fn *const ops_bit_rr[4][3], *const ops_bit_ri[4][3]; /* BT BTS BTR BTC */
extern op_fn *const ops_bit_mi[4][3][AK_FORMS], *const ops_lock_bit_mi[4][3][AK_FORMS];
extern op_fn *const ops_scan_rr[5][3],
	*const ops_scan_rm[5][3][AK_FORMS]; /* BSF BSR TZCNT LZCNT POPCNT */
extern op_fn *const ops_mov_rr[4], *const ops_mov_ri[4];
extern op_fn *const ops_mov_rm[4][AK_FORMS], *const ops_mov_mr[4][AK_FORMS];
extern op_fn *const ops_mov_mi[4][AK_FORMS];
extern op_fn *const ops_ext_rr[EXT_COUNT][3], *const ops_ext_rm[EXT_COUNT][3][AK_FORMS];
extern op_fn *const ops_lea[4][AK_FORMS];
extern op_fn *const ops_cmov_rr[16][3], *const ops_cmov_rm[16][3][AK_FORMS];
extern op_fn *const ops_set_r[16], *const ops_set_m[16][AK_FORMS];
extern op_fn *const ops_xchg_rr[4], *const ops_xchg_mr[4][AK_FORMS];
extern op_fn *const ops_xadd_mr[4][AK_FORMS], *const ops_cmpxchg_mr[4][AK_FORMS];
extern op_fn *const ops_jmp[2], *const ops_jcc[16][2][2],
					*const ops_call[2][2]; /* [leaves the page] */

/* ops_bit_lin - linear address of the word with the bit that the register src selects; *bit: in it.
 */
uint64_t ops_bit_lin(struct x86_cpu *c, const struct insn *i, unsigned size, bool write,
		     unsigned *bit);

extern op_fn op_arpl, op_bounce, op_bounce_lin, op_bounce_lin_b, op_bounce_lin_x, op_bounce_off;
extern op_fn op_bound, op_bswap16, op_bswap32, op_bswap64, op_bt_mr, op_btx_mr, op_call64_r;
extern op_fn op_call_far, op_call_far_m, op_call_gen, op_call_m, op_call_r, op_cbw, op_cdq;
extern op_fn op_cdqe, op_clac, op_clc, op_cld, op_clflush, op_cli, op_clts, op_cmc;
extern op_fn op_cmpxchg16b, op_cmpxchg8b, op_cpuid, op_cqo, op_cwd, op_cwde;
extern op_fn op_enter, op_fence, op_hlt, op_in, op_int, op_into, op_invlpg, op_invpcid, op_iret;
extern op_fn op_jcc_gen, op_jmp32_r, op_jmp64_r, op_jmp_far, op_jmp_far_m, op_jmp_gen;
extern op_fn op_jmp_gen_r, op_jmp_m, op_lahf, op_lar, op_leave, op_leave64, op_lgdt, op_lldt;
extern op_fn op_lmsw, op_load_far, op_lock_btx_mr, op_loop, op_ltr, op_mov_cr_r, op_mov_dr_r;
extern op_fn op_mov_imm64, op_mov_m_sreg, op_mov_moffs_load, op_mov_moffs_store, op_mov_r_cr;
extern op_fn op_mov_r_dr, op_mov_r_sreg, op_mov_sreg_m, op_mov_sreg_r, op_nop, op_out, op_pause;
extern op_fn op_pop32_r, op_pop64_r, op_pop_m, op_pop_r, op_pop_sreg, op_popa, op_popf;
extern op_fn op_push32_i, op_push32_r, op_push64_i, op_push64_r, op_push_i, op_push_m, op_push_r;
extern op_fn op_push_sreg, op_pusha, op_pushf, op_raise, op_rdbase, op_rdmsr, op_rdpid, op_rdpmc;
extern op_fn op_rdtsc, op_rdtscp, op_ret32, op_ret64, op_ret_far, op_ret_gen, op_sahf, op_salc;
extern op_fn op_sgdt, op_stac, op_stc, op_std, op_sti, op_store_word_m, op_store_word_r;
extern op_fn op_string, op_string_io, op_string_io_rep, op_string_rep, op_swapgs, op_syscall;
extern op_fn op_sysenter, op_sysexit, op_sysret, op_ud, op_verr, op_vmcall, op_wbinvd, op_wrbase;
extern op_fn op_wrmsr, op_xgetbv, op_xlat, op_xsetbv;
extern op_fn op_jmp64_m_b, op_call64_m_b;
