/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CMP or TEST and the Jcc after it in one handler: one dispatch less where branches are made.  Both
 * instructions keep their slots; the comparison's handler goes on with the branch's operands, so
 * counting and unwinding know nothing of it.  When the memory operand misses the TLB, the plain
 * slow handler runs and the branch follows by itself.
 */
#include "engine/interp/ops.h"

#define COMPARE(T, dst, src, op)                                              \
	T d_ = dst, s_ = src;                                                 \
	uint16_t f;                                                           \
                                                                              \
	__asm__(op " %2, %1" TAKE_FLAGS : "=a"(f) : "r"(d_), "r"(s_) : "cc"); \
	c->fl = f

#define BRANCH(cc)                               \
	i++;                                     \
	if (ops_cond(f, cc))                     \
		FOLLOW_in(1, interp_link_taken); \
	FOLLOW_in(2, interp_link_not_taken)

#define HANDLER(cc, name, T, dst, src, op) \
	static OP(name##_##T##_j##cc)      \
	{                                  \
		COMPARE(T, dst, src, op);  \
		BRANCH(cc);                \
	}

#define HANDLER_MEM(cc, name, T, sz, table, sym, dst, src, op)      \
	static OP(name##_##T##_j##cc)                               \
	{                                                           \
		uint64_t va = EA_b;                                 \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va); \
		T m;                                                \
                                                                    \
		if (!TLB_HIT(e, rd, va, T))                         \
			return table[sym][sz][AK_FAST_COUNT](c, i); \
		m = *(volatile T *)(va + e->addend);                \
		COMPARE(T, dst, src, op);                           \
		BRANCH(cc);                                         \
	}

#define ALL_CC(X, ...)                                                                            \
	X(0, __VA_ARGS__)                                                                         \
	X(1, __VA_ARGS__)                                                                         \
	X(2, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__) X(5, __VA_ARGS__) X(6, __VA_ARGS__) \
		X(7, __VA_ARGS__) X(8, __VA_ARGS__) X(9, __VA_ARGS__) X(10, __VA_ARGS__)          \
			X(11, __VA_ARGS__) X(12, __VA_ARGS__) X(13, __VA_ARGS__)                  \
				X(14, __VA_ARGS__) X(15, __VA_ARGS__)

#define FUSED(name, T, sz, table, sym, dst, src, op) ALL_CC(HANDLER, name, T, dst, src, op)
#define FUSED_MEM(name, T, sz, table, sym, dst, src, op) \
	ALL_CC(HANDLER_MEM, name, T, sz, table, sym, dst, src, op)
#include "engine/interp/ops_fused.def"
#undef FUSED
#undef FUSED_MEM

#define NAME(cc, name, T) name##_##T##_j##cc,
#define FUSED(name, T, sz, table, sym, dst, src, op) {&table[sym][sz], {ALL_CC(NAME, name, T)}},
#define FUSED_MEM(name, T, sz, table, sym, dst, src, op) \
	{&table[sym][sz][AK_B], {ALL_CC(NAME, name, T)}},
static const struct {
	op_fn *const *plain;
	op_fn *with[16];
} fused[] = {
#include "engine/interp/ops_fused.def"
};

op_fn *ops_fuse(op_fn *prev, unsigned cc)
{
	for (size_t n = 0; n < ARRAY_SIZE(fused); n++)
		if (*fused[n].plain == prev)
			return fused[n].with[cc];
	return NULL;
}
