/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT: every size and operand form, made from
 * ops_alu.def.  Each runs the host's own instruction, so that its flags are the processor's.
 *
 * A memory form exists once per address kind for accesses that hit the TLB, and once more (_s) for
 * all the rest: segmentation, misses, page crossings, device memory.
 */
#include "engine/interp/ops.h"

/* Operand forms of a two-operand instruction that writes its destination. */
#define ALU_RR(name, T, code)                       \
	static OP(name##_rr_##T)                    \
	{                                           \
		T d = D(T), s = S(T);               \
		uint16_t f = c->fl;                 \
                                                    \
		code;                               \
		SET(T, i->dst, d);                  \
		c->fl = f;                          \
		NEXT;                               \
	}                                           \
	static OP(name##_ri_##T)                    \
	{                                           \
		T d = D(T), s = (T)(int64_t)i->imm; \
		uint16_t f = c->fl;                 \
                                                    \
		code;                               \
		SET(T, i->dst, d);                  \
		c->fl = f;                          \
		NEXT;                               \
	}
#define ALU_LOAD_BODY(T, code) \
	T d = D(T), s = m;     \
	uint16_t f = c->fl;    \
                               \
	code;                  \
	SET(T, i->dst, d);     \
	c->fl = f
#define ALU_RMW_BODY(T, src, code) \
	T d = m, s = src;          \
                                   \
	code;                      \
	m = d
#define ALU_WRITING(name, T, code)                         \
	ALU_RR(name, T, code)                              \
	MEM_LOAD(name##_rm, T, ALU_LOAD_BODY(T, code))     \
	MEM_RMW(name##_mr, T, ALU_RMW_BODY(T, S(T), code)) \
	MEM_RMW(name##_mi, T, ALU_RMW_BODY(T, (T)(int64_t)i->imm, code))

/* The same for CMP and TEST, which only set flags. */
#define ALU_CMP_BODY(T, dst, src, code) \
	T d = dst, s = src;             \
	uint16_t f;                     \
                                        \
	code;                           \
	c->fl = f
#define ALU_COMPARING(name, T, code)                             \
	static OP(name##_rr_##T)                                 \
	{                                                        \
		ALU_CMP_BODY(T, D(T), S(T), code);               \
		NEXT;                                            \
	}                                                        \
	static OP(name##_ri_##T)                                 \
	{                                                        \
		ALU_CMP_BODY(T, D(T), (T)(int64_t)i->imm, code); \
		NEXT;                                            \
	}                                                        \
	MEM_LOAD(name##_rm, T, ALU_CMP_BODY(T, D(T), m, code))   \
	MEM_LOAD(name##_mr, T, ALU_CMP_BODY(T, m, S(T), code))   \
	MEM_LOAD(name##_mi, T, ALU_CMP_BODY(T, m, (T)(int64_t)i->imm, code))

/* INC DEC NEG NOT */
#define ALU_ONE(name, T, code)      \
	static OP(name##_r_##T)     \
	{                           \
		T d = D(T);         \
		uint16_t f = c->fl; \
                                    \
		code;               \
		SET(T, i->dst, d);  \
		c->fl = f;          \
		NEXT;               \
	}                           \
	MEM_RMW(name##_m, T, T d = m; code; m = d)

#define ASM_DS(op) __asm__(op " %2, %0" TAKE_FLAGS : "+r"(d), "=a"(f) : "r"(s) : "cc")
#define ASM_DS_CF(op) \
	__asm__(GIVE_CF("%k3") op " %2, %0" TAKE_FLAGS : "+r"(d), "=a"(f) : "r"(s), "1"(f) : "cc")
#define ASM_CMP(op) __asm__(op " %2, %1" TAKE_FLAGS : "=a"(f) : "r"(d), "r"(s) : "cc")
#define ASM_D(op) __asm__(op " %0" TAKE_FLAGS : "+r"(d), "=a"(f) : : "cc")
#define ASM_D_CF(op) __asm__(GIVE_CF("%k2") op " %0" TAKE_FLAGS : "+r"(d), "=a"(f) : "1"(f) : "cc")

#define SIZES(gen, name, code)                                                       \
	gen(name, uint8_t, code) gen(name, uint16_t, code) gen(name, uint32_t, code) \
		gen(name, uint64_t, code)

#define ALU2(sym, name, code) SIZES(ALU_WRITING, name, code)
#define ALUC(sym, name, code) SIZES(ALU_COMPARING, name, code)
#define ALU1(sym, name, code) SIZES(ALU_ONE, name, code)
#include "engine/interp/ops_alu.def"
#undef ALU2
#undef ALUC
#undef ALU1

#define ROW(x)                                                        \
	{                                                             \
		x##_uint8_t, x##_uint16_t, x##_uint32_t, x##_uint64_t \
	}
#define ALU2(sym, name, code) [sym] = ROW(name##_rr),
#define ALUC(sym, name, code) [sym] = ROW(name##_rr),
#define ALU1(sym, name, code)
op_fn *const ops_alu_rr[ALU_COUNT][4] = {
#include "engine/interp/ops_alu.def"
};
#undef ALU2
#undef ALUC
#undef ALU1

#define ALU2(sym, name, code) [sym] = ROW(name##_ri),
#define ALUC(sym, name, code) [sym] = ROW(name##_ri),
#define ALU1(sym, name, code) [sym] = ROW(name##_r),
op_fn *const ops_alu_ri[ALU_COUNT][4] = {
#include "engine/interp/ops_alu.def"
};
#undef ALU2
#undef ALUC
#undef ALU1

#define ALU2(sym, name, code) [sym] = MEM_ROWS(name##_rm),
#define ALUC(sym, name, code) [sym] = MEM_ROWS(name##_rm),
#define ALU1(sym, name, code)
op_fn *const ops_alu_rm[ALU_COUNT][4][AK_FORMS] = {
#include "engine/interp/ops_alu.def"
};
#undef ALU2
#undef ALUC
#undef ALU1

#define ALU2(sym, name, code) [sym] = MEM_ROWS(name##_mr),
#define ALUC(sym, name, code) [sym] = MEM_ROWS(name##_mr),
#define ALU1(sym, name, code)
op_fn *const ops_alu_mr[ALU_COUNT][4][AK_FORMS] = {
#include "engine/interp/ops_alu.def"
};
#undef ALU2
#undef ALUC
#undef ALU1

#define ALU2(sym, name, code) [sym] = MEM_ROWS(name##_mi),
#define ALUC(sym, name, code) [sym] = MEM_ROWS(name##_mi),
#define ALU1(sym, name, code) [sym] = MEM_ROWS(name##_m),
op_fn *const ops_alu_mi[ALU_COUNT][4][AK_FORMS] = {
#include "engine/interp/ops_alu.def"
};
