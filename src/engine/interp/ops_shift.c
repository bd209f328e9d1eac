/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shifts and rotates (every size, count 1, immediate or CL), multiplication, division, and bit
 * instructions.  Flags come from the host's own instruction; a count of zero (after masking)
 * changes nothing but clears the upper half of a 32-bit register, as the host does.
 */
#include "engine/interp/ops.h"

/* Give all flags: rotates keep some, RCL and RCR take CF in, and what is undefined for counts other
 * than 1 may be what it was before.  Adding 127 to AL, 0 or 1, makes OF of it. */
#define ASM_SHIFT(op)                                                   \
	__asm__("addb $127, %%al\n\tsahf\n\t" op " %%cl, %0" TAKE_FLAGS \
		: "+r"(d), "+a"(f)                                      \
		: "c"(n)                                                \
		: "cc")
#define SHIFT_CODE(T, op)                   \
	if (n & (sizeof(T) == 8 ? 63 : 31)) \
	ASM_SHIFT(op)

/* ROL and ROR by an immediate other than 1 leave OF alone, where by CL they may not. */
#define SHIFT_IMM_CODE(T, op)                                                      \
	uint16_t of = f & FL_OF;                                                   \
                                                                                   \
	SHIFT_CODE(T, op);                                                         \
	if (op[0] == 'r' && op[1] == 'o' && (n & (sizeof(T) == 8 ? 63 : 31)) != 1) \
	f = (uint16_t)((f & ~FL_OF) | of)

#define SHIFT(name, op, T)                                                                        \
	static OP(name##_ri_##T)                                                                  \
	{                                                                                         \
		T d = D(T);                                                                       \
		uint16_t f = c->fl;                                                               \
		uint8_t n = (uint8_t)i->imm;                                                      \
                                                                                                  \
		SHIFT_IMM_CODE(T, op);                                                            \
		SET(T, i->dst, d);                                                                \
		c->fl = f;                                                                        \
		NEXT;                                                                             \
	}                                                                                         \
	static OP(name##_rc_##T)                                                                  \
	{                                                                                         \
		T d = D(T);                                                                       \
		uint16_t f = c->fl;                                                               \
		uint8_t n = (uint8_t)c->s.gpr[X86_RCX];                                           \
                                                                                                  \
		SHIFT_CODE(T, op);                                                                \
		SET(T, i->dst, d);                                                                \
		c->fl = f;                                                                        \
		NEXT;                                                                             \
	}                                                                                         \
	MEM_RMW(name##_mi, T, T d = m; uint8_t n = (uint8_t)i->imm; SHIFT_IMM_CODE(T, op); m = d) \
	MEM_RMW(name##_mc, T, T d = m; uint8_t n = (uint8_t)c->s.gpr[X86_RCX]; SHIFT_CODE(T, op); \
		m = d)
#define SHIFTS(name, op)         \
	SHIFT(name, op, uint8_t) \
	SHIFT(name, op, uint16_t) SHIFT(name, op, uint32_t) SHIFT(name, op, uint64_t)

#define SH(sym, name, op) SHIFTS(name, op)
#include "engine/interp/ops_shift.def"
#undef SH
#define ROW(x)                                                        \
	{                                                             \
		x##_uint8_t, x##_uint16_t, x##_uint32_t, x##_uint64_t \
	}
#define SH(sym, name, op) [sym] = {ROW(name##_ri), ROW(name##_rc)},
op_fn *const ops_shift_r[SH_COUNT][2][4] = {
#include "engine/interp/ops_shift.def"
};
#undef SH
#define SH(sym, name, op) [sym] = {MEM_ROWS(name##_mi), MEM_ROWS(name##_mc)},
op_fn *const ops_shift_m[SH_COUNT][2][4][AK_FORMS] = {
#include "engine/interp/ops_shift.def"
};
#undef SH

/* --- IMUL with two or three operands --- */
#define ASM_IMUL __asm__("imul %2, %0" TAKE_FLAGS : "+r"(d), "=a"(f) : "r"(s) : "cc")
#define IMUL(T)                                                                            \
	static OP(imul_rr_##T)                                                             \
	{                                                                                  \
		T d = D(T), s = S(T);                                                      \
		uint16_t f;                                                                \
                                                                                           \
		ASM_IMUL;                                                                  \
		SET(T, i->dst, d);                                                         \
		c->fl = f;                                                                 \
		NEXT;                                                                      \
	}                                                                                  \
	static OP(imul_rri_##T)                                                            \
	{                                                                                  \
		T d = S(T), s = (T)(int64_t)i->imm;                                        \
		uint16_t f;                                                                \
                                                                                           \
		ASM_IMUL;                                                                  \
		SET(T, i->dst, d);                                                         \
		c->fl = f;                                                                 \
		NEXT;                                                                      \
	}                                                                                  \
	MEM_LOAD(imul_rm, T, T d = D(T); T s = m; uint16_t f; ASM_IMUL; SET(T, i->dst, d); \
		 c->fl = f)                                                                \
	MEM_LOAD(imul_rmi, T, T d = m; T s = (T)(int64_t)i->imm; uint16_t f; ASM_IMUL;     \
		 SET(T, i->dst, d); c->fl = f)
IMUL(uint16_t)
IMUL(uint32_t)
IMUL(uint64_t)
#define ROW3(x)                                          \
	{                                                \
		x##_uint16_t, x##_uint32_t, x##_uint64_t \
	}
#define MEM_ROWS3(x)                                                                \
	{                                                                           \
		MEM_ROW(x##_uint16_t), MEM_ROW(x##_uint32_t), MEM_ROW(x##_uint64_t) \
	}
op_fn *const ops_imul_rr[2][3] = {ROW3(imul_rr), ROW3(imul_rri)};
op_fn *const ops_imul_rm[2][3][AK_FORMS] = {MEM_ROWS3(imul_rm), MEM_ROWS3(imul_rmi)};

/* --- MUL, IMUL, DIV, IDIV by the accumulator, 32 and 64 bits (others are bounced) --- */
#define RAX c->s.gpr[X86_RAX]
#define RDX c->s.gpr[X86_RDX]

#define MUL_CODE(T, op, source)                      \
	T s = source, lo = (T)RAX, hi;               \
	uint64_t f = lo;                             \
                                                     \
	__asm__(op " %3\n\tmov %%rax, %1" TAKE_FLAGS \
		: "+a"(f), "=&r"(lo64), "=&d"(hi)    \
		: "r"(s)                             \
		: "cc");                             \
	lo = (T)lo64;                                \
	RAX = lo;                                    \
	RDX = hi;                                    \
	c->fl = (uint16_t)f
#define MUL(name, op, T)               \
	static OP(name##_r_##T)        \
	{                              \
		uint64_t lo64;         \
		MUL_CODE(T, op, S(T)); \
		NEXT;                  \
	}                              \
	MEM_LOAD(name##_m, T, uint64_t lo64; MUL_CODE(T, op, m))
MUL(mul, "mul", uint32_t)
MUL(mul, "mul", uint64_t)
MUL(imul1, "imul", uint32_t)
MUL(imul1, "imul", uint64_t)

#define DIV_CODE(T, source)                                                     \
	T s = source, q, r;                                                     \
	T lo = (T)RAX, hi = (T)RDX;                                             \
                                                                                \
	if (unlikely(hi >= s))                                                  \
		return interp_divide_error(c, i);                               \
	__asm__("div %4" : "=a"(q), "=d"(r) : "0"(lo), "1"(hi), "r"(s) : "cc"); \
	RAX = q;                                                                \
	RDX = r
#define DIV(T)                     \
	static OP(div_r_##T)       \
	{                          \
		DIV_CODE(T, S(T)); \
		NEXT;              \
	}                          \
	MEM_LOAD(div_m, T, DIV_CODE(T, m))

static COLD OP(interp_divide_error)
{
	interp_sync(c, i);
	x86_raise(c, X86_DE);
}
DIV(uint32_t)
DIV(uint64_t)

/* Signed: fits when |quotient| does; by magnitudes, so that the host cannot trap. */
#define IDIV_CODE(T, ST, source)                                                                \
	T s = source, q, r;                                                                     \
	T lo = (T)RAX, hi = (T)RDX;                                                             \
	T sign = (T)((ST)hi >> (8 * sizeof(T) - 1)), dsign = (T)((ST)s >> (8 * sizeof(T) - 1)); \
	T mlo = lo ^ sign, mhi = hi ^ sign, ms = (s ^ dsign) - dsign, limit;                    \
                                                                                                \
	mlo -= sign;                                                                            \
	mhi += (T)(sign && !mlo);                                                               \
	limit = (T)((T)1 << (8 * sizeof(T) - 1));                                               \
	if (unlikely(mhi >= ms))                                                                \
		return interp_divide_error(c, i);                                               \
	__asm__("div %4" : "=a"(q), "=d"(r) : "0"(mlo), "1"(mhi), "r"(ms) : "cc");              \
	if (unlikely(q >= limit && !(q == limit && sign != dsign)))                             \
		return interp_divide_error(c, i);                                               \
	RAX = (T)((q ^ (sign ^ dsign)) - (sign ^ dsign));                                       \
	RDX = (T)((r ^ sign) - sign)
#define IDIV(T, ST)                     \
	static OP(idiv_r_##T)           \
	{                               \
		IDIV_CODE(T, ST, S(T)); \
		NEXT;                   \
	}                               \
	MEM_LOAD(idiv_m, T, IDIV_CODE(T, ST, m))
IDIV(uint32_t, int32_t)
IDIV(uint64_t, int64_t)

#define ROW2(x)                            \
	{                                  \
		x##_uint32_t, x##_uint64_t \
	}
#define MEM_ROWS2(x)                                         \
	{                                                    \
		MEM_ROW(x##_uint32_t), MEM_ROW(x##_uint64_t) \
	}
op_fn *const ops_mul_r[4][2] = {ROW2(mul_r), ROW2(imul1_r), ROW2(div_r), ROW2(idiv_r)};
op_fn *const ops_mul_m[4][2][AK_FORMS] = {MEM_ROWS2(mul_m), MEM_ROWS2(imul1_m), MEM_ROWS2(div_m),
					  MEM_ROWS2(idiv_m)};

/* --- BT BTS BTR BTC with register or immediate bit number.  CF is the old bit; ZF is kept, and so
 * are the undefined ones, as processors do. --- */
#define BIT_CF(v, n) (uint16_t)((c->fl & ~FL_CF) | (((v) >> (n)) & 1) << 8)
#define BITOP(name, T, expr)                                                         \
	static OP(name##_rr_##T)                                                     \
	{                                                                            \
		T d = D(T), n = S(T) & (8 * sizeof(T) - 1), b = (T)((T)1 << n);      \
                                                                                     \
		c->fl = BIT_CF(d, n);                                                \
		SET(T, i->dst, (T)(expr));                                           \
		(void)b;                                                             \
		NEXT;                                                                \
	}                                                                            \
	static OP(name##_ri_##T)                                                     \
	{                                                                            \
		T d = D(T), n = (T)i->imm & (8 * sizeof(T) - 1), b = (T)((T)1 << n); \
                                                                                     \
		c->fl = BIT_CF(d, n);                                                \
		SET(T, i->dst, (T)(expr));                                           \
		(void)b;                                                             \
		NEXT;                                                                \
	}                                                                            \
	MEM_RMW(name##_mi, T, T d = m; T n = (T)i->imm & (8 * sizeof(T) - 1);        \
		T b = (T)((T)1 << n); f = BIT_CF(d, n); m = (T)(expr); (void)b)
/* BT writes nothing, not even the upper half of a 32-bit register. */
#define BITTEST(T)                                               \
	static OP(bt_rr_##T)                                     \
	{                                                        \
		T d = D(T), n = S(T) & (8 * sizeof(T) - 1);      \
                                                                 \
		c->fl = BIT_CF(d, n);                            \
		NEXT;                                            \
	}                                                        \
	static OP(bt_ri_##T)                                     \
	{                                                        \
		T d = D(T), n = (T)i->imm & (8 * sizeof(T) - 1); \
                                                                 \
		c->fl = BIT_CF(d, n);                            \
		NEXT;                                            \
	}                                                        \
	MEM_LOAD(bt_mi, T, T n = (T)i->imm & (8 * sizeof(T) - 1); c->fl = BIT_CF(m, n))
#define BITOPS(name, expr) \
	BITOP(name, uint16_t, expr) BITOP(name, uint32_t, expr) BITOP(name, uint64_t, expr)
BITTEST(uint16_t)
BITTEST(uint32_t)
BITTEST(uint64_t)
BITOPS(bts, d | b)
BITOPS(btr, d & ~b)
BITOPS(btc, d ^ b)
op_fn *const ops_bit_rr[4][3] = {ROW3(bt_rr), ROW3(bts_rr), ROW3(btr_rr), ROW3(btc_rr)};
op_fn *const ops_bit_ri[4][3] = {ROW3(bt_ri), ROW3(bts_ri), ROW3(btr_ri), ROW3(btc_ri)};
op_fn *const ops_bit_mi[4][3][AK_FORMS] = {MEM_ROWS3(bt_mi), MEM_ROWS3(bts_mi), MEM_ROWS3(btr_mi),
					   MEM_ROWS3(btc_mi)};

/* A register bit number reaches beyond the operand (SDM 2 BT, bit(BitBase, BitOffset)): the word
 * that holds the bit.  scale: log2 of the operand's bytes. */
uint64_t ops_bit_lin(struct x86_cpu *c, const struct insn *i, unsigned size, bool write,
		     unsigned *bit)
{
	int64_t n = size == 8	? (int64_t)S(uint64_t)
		    : size == 4 ? (int32_t)S(uint32_t)
				: (int16_t)S(uint16_t);
	uint64_t off = interp_off(c, i) + (uint64_t)((n >> (size == 8	? 6
							    : size == 4 ? 5
									: 4)) *
						     (int64_t)size);

	*bit = (unsigned)n & (8 * size - 1);
	if (i->flags & INSN_A16)
		off = (uint16_t)off;
	else if (i->flags & INSN_A32)
		off = (uint32_t)off;
	return interp_lin(c, i, off, size, write);
}

OP(op_bt_mr)
{
	unsigned size = insn_opsize(i), bit;
	uint64_t va, v;

	interp_sync(c, i);
	va = ops_bit_lin(c, i, size, false, &bit);
	v = interp_ld(c, i, va, size);
	c->fl = (uint16_t)((c->fl & ~FL_CF) | ((v >> bit) & 1) << 8);
	NEXT_LOOP;
}

/* imm: 1 BTS, 2 BTR, 3 BTC */
OP(op_btx_mr)
{
	unsigned size = insn_opsize(i), bit;
	uint64_t va, v, b, new;

	interp_sync(c, i);
	va = ops_bit_lin(c, i, size, true, &bit);
	interp_rmw(c, i, va, size);
	v = interp_ld(c, i, va, size);
	b = BIT(bit);
	new = i->imm == 1 ? v | b : i->imm == 2 ? v & ~b : v ^ b;
	interp_st(c, i, va, new, size);
	c->fl = (uint16_t)((c->fl & ~FL_CF) | ((v >> bit) & 1) << 8);
	NEXT_SLOW;
}

/* --- BSF BSR TZCNT LZCNT POPCNT --- */
/* A 64-bit variable for d: what a 32-bit BSF of zero leaves in the register is then the host's. */
#define SCAN_CODE(T, op, source)                                                       \
	uint64_t d = D(uint64_t);                                                      \
	T s = source;                                                                  \
	uint16_t f = c->fl;                                                            \
                                                                                       \
	if (sizeof(T) == 8)                                                            \
		__asm__(op " %q2, %q0" TAKE_FLAGS : "+r"(d), "=a"(f) : "r"(s) : "cc"); \
	else if (sizeof(T) == 4)                                                       \
		__asm__(op " %k2, %k0" TAKE_FLAGS : "+r"(d), "=a"(f) : "r"(s) : "cc"); \
	else                                                                           \
		__asm__(op " %w2, %w0" TAKE_FLAGS : "+r"(d), "=a"(f) : "r"(s) : "cc"); \
	D(uint64_t) = d;                                                               \
	c->fl = f
#define SCAN(name, op, T)               \
	static OP(name##_rr_##T)        \
	{                               \
		SCAN_CODE(T, op, S(T)); \
		NEXT;                   \
	}                               \
	MEM_LOAD(name##_rm, T, SCAN_CODE(T, op, m))
#define SCANS(name, op) SCAN(name, op, uint16_t) SCAN(name, op, uint32_t) SCAN(name, op, uint64_t)
SCANS(bsf, "bsf")
SCANS(bsr, "bsr")
SCANS(tzcnt, "tzcnt")
SCANS(lzcnt, "lzcnt")
SCANS(popcnt, "popcnt")
op_fn *const ops_scan_rr[5][3] = {ROW3(bsf_rr), ROW3(bsr_rr), ROW3(tzcnt_rr), ROW3(lzcnt_rr),
				  ROW3(popcnt_rr)};
op_fn *const ops_scan_rm[5][3][AK_FORMS] = {MEM_ROWS3(bsf_rm), MEM_ROWS3(bsr_rm),
					    MEM_ROWS3(tzcnt_rm), MEM_ROWS3(lzcnt_rm),
					    MEM_ROWS3(popcnt_rm)};
