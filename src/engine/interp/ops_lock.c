/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Atomic read-modify-write (SDM 3A 8.1).  On plain RAM a locked guest instruction is the host's
 * locked instruction on the same bytes, so all vCPUs, whichever way they run, agree.  What has no
 * such address (device memory, two pages, pages with decoded code) is done as a plain sequence
 * while every other vCPU is stopped.  So is what lies across cache lines: hosts that detect split
 * locks make each take milliseconds, or end the process.  XCHG with memory is always locked; XADD
 * and CMPXCHG with memory are done the same with and without LOCK.
 */
#include "engine/interp/ops.h"

#define RAX c->s.gpr[X86_RAX]

/* interp_lock_begin - stop the others and read; interp_lock_end - write and let them go.  An unwind
 * in between is undone by the run loop (excl_lock). */
static uint64_t lock_begin(struct x86_cpu *c, const struct insn *i, uint64_t va, unsigned size)
{
	x86_excl_begin(c->vm, c);
	interp_of(c)->excl_lock = true;
	return interp_ld(c, i, va, size);
}

static void lock_end(struct x86_cpu *c, const struct insn *i, uint64_t va, uint64_t v,
		     unsigned size)
{
	interp_st(c, i, va, v, size);
	interp_of(c)->excl_lock = false;
	x86_excl_end(c->vm, c);
}

#define ACROSS_LINES(va, size) (((va)&63) + (size) > 64)

/* LOCKED - handlers that run body on T *p, atomically against other vCPUs. */
#define LOCKED_FAST(name, T, k, ...)                                       \
	static OP(name##_##T##_##k)                                        \
	{                                                                  \
		uint64_t va = EA_##k;                                      \
		struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, va);        \
		uint16_t f = c->fl;                                        \
		T *p;                                                      \
                                                                           \
		if (!TLB_HIT(e, wr, va, T) || ACROSS_LINES(va, sizeof(T))) \
			return name##_##T##_s(c, i);                       \
		p = (T *)(va + e->addend);                                 \
		{                                                          \
			__VA_ARGS__;                                       \
		}                                                          \
		c->fl = f;                                                 \
		NEXT;                                                      \
	}
#define LOCKED(name, T, ...)                                    \
	static COLD OP(name##_##T##_s)                          \
	{                                                       \
		uint64_t va = interp_ea(c, i, sizeof(T), true); \
		T *p = interp_rmw(c, i, va, sizeof(T)), m;      \
		bool slow = !p || ACROSS_LINES(va, sizeof(T));  \
		uint16_t f = c->fl;                             \
                                                                \
		if (slow) {                                     \
			m = (T)lock_begin(c, i, va, sizeof(T)); \
			p = &m;                                 \
		}                                               \
		{                                               \
			__VA_ARGS__;                            \
		}                                               \
		if (slow)                                       \
			lock_end(c, i, va, m, sizeof(T));       \
		c->fl = f;                                      \
		NEXT_SLOW;                                      \
	}                                                       \
	LOCKED_FAST(name, T, b, __VA_ARGS__)                    \
	LOCKED_FAST(name, T, x, __VA_ARGS__)                    \
	LOCKED_FAST(name, T, w, __VA_ARGS__)
#define LOCKED_SIZES(name, ...)                              \
	LOCKED(name, uint8_t, SIZED(uint8_t, __VA_ARGS__))   \
	LOCKED(name, uint16_t, SIZED(uint16_t, __VA_ARGS__)) \
	LOCKED(name, uint32_t, SIZED(uint32_t, __VA_ARGS__)) \
	LOCKED(name, uint64_t, SIZED(uint64_t, __VA_ARGS__))
/* Bodies name their type T; SET(T, ...) then means this. */
#define SIZED(T_, ...) \
	typedef T_ T;  \
	__VA_ARGS__
#define SET_T(off, v)                                       \
	do {                                                \
		if (sizeof(T) == 4)                         \
			REG(uint64_t, off) = (uint32_t)(v); \
		else                                        \
			REG(T, off) = (T)(v);               \
	} while (0)

#define L_DS(op)                                         \
	__asm__ volatile("lock " op " %2, %1" TAKE_FLAGS \
			 : "=a"(f), "+m"(*p)             \
			 : "r"(s)                        \
			 : "cc", "memory")
#define L_DS_CF(op)                                                     \
	__asm__ volatile(GIVE_CF("%k3") "lock " op " %2, %1" TAKE_FLAGS \
			 : "=a"(f), "+m"(*p)                            \
			 : "r"(s), "0"(f)                               \
			 : "cc", "memory")
/* One-operand forms need the size in the mnemonic. */
#define L_D(op, give)                                                      \
	do {                                                               \
		if (sizeof(T) == 1)                                        \
			__asm__ volatile(give "lock " op "b %1" TAKE_FLAGS \
					 : "=a"(f), "+m"(*p)               \
					 : "0"(f)                          \
					 : "cc", "memory");                \
		else if (sizeof(T) == 2)                                   \
			__asm__ volatile(give "lock " op "w %1" TAKE_FLAGS \
					 : "=a"(f), "+m"(*p)               \
					 : "0"(f)                          \
					 : "cc", "memory");                \
		else if (sizeof(T) == 4)                                   \
			__asm__ volatile(give "lock " op "l %1" TAKE_FLAGS \
					 : "=a"(f), "+m"(*p)               \
					 : "0"(f)                          \
					 : "cc", "memory");                \
		else                                                       \
			__asm__ volatile(give "lock " op "q %1" TAKE_FLAGS \
					 : "=a"(f), "+m"(*p)               \
					 : "0"(f)                          \
					 : "cc", "memory");                \
	} while (0)

#define LOCK_ALU2(name, code)                            \
	LOCKED_SIZES(lock_##name##_mr, T s = S(T); code) \
	LOCKED_SIZES(lock_##name##_mi, T s = (T)(int64_t)i->imm; code)
LOCK_ALU2(add, L_DS("add"))
LOCK_ALU2(or, L_DS("or"))
LOCK_ALU2(adc, L_DS_CF("adc"))
LOCK_ALU2(sbb, L_DS_CF("sbb"))
LOCK_ALU2(and, L_DS("and"))
LOCK_ALU2(sub, L_DS("sub"))
LOCK_ALU2(xor, L_DS("xor"))
LOCKED_SIZES(lock_inc_m, L_D("inc", GIVE_CF("%k2")))
LOCKED_SIZES(lock_dec_m, L_D("dec", GIVE_CF("%k2")))
LOCKED_SIZES(lock_neg_m, L_D("neg", ""))
LOCKED_SIZES(lock_not_m, __atomic_xor_fetch(p, (T) ~(T)0, __ATOMIC_SEQ_CST))

op_fn *const ops_lock_mr[ALU_COUNT][4][AK_FORMS] = {
	[ALU_ADD] = MEM_ROWS(lock_add_mr), [ALU_OR] = MEM_ROWS(lock_or_mr),
	[ALU_ADC] = MEM_ROWS(lock_adc_mr), [ALU_SBB] = MEM_ROWS(lock_sbb_mr),
	[ALU_AND] = MEM_ROWS(lock_and_mr), [ALU_SUB] = MEM_ROWS(lock_sub_mr),
	[ALU_XOR] = MEM_ROWS(lock_xor_mr),
};
op_fn *const ops_lock_mi[ALU_COUNT][4][AK_FORMS] = {
	[ALU_ADD] = MEM_ROWS(lock_add_mi), [ALU_OR] = MEM_ROWS(lock_or_mi),
	[ALU_ADC] = MEM_ROWS(lock_adc_mi), [ALU_SBB] = MEM_ROWS(lock_sbb_mi),
	[ALU_AND] = MEM_ROWS(lock_and_mi), [ALU_SUB] = MEM_ROWS(lock_sub_mi),
	[ALU_XOR] = MEM_ROWS(lock_xor_mi), [ALU_INC] = MEM_ROWS(lock_inc_m),
	[ALU_DEC] = MEM_ROWS(lock_dec_m),  [ALU_NEG] = MEM_ROWS(lock_neg_m),
	[ALU_NOT] = MEM_ROWS(lock_not_m),
};

/* --- XCHG, XADD, CMPXCHG --- */
LOCKED_SIZES(xchg_mr, T v = __atomic_exchange_n(p, S(T), __ATOMIC_SEQ_CST); SET(T, i->src, v))
/* The host's XADD leaves the old value in s; flags follow. */
LOCKED_SIZES(xadd_mr, T s = S(T); __asm__ volatile("lock xadd %2, %1" TAKE_FLAGS
						   : "=&a"(f), "+m"(*p), "+r"(s)
						   :
						   : "cc", "memory");
	     SET(T, i->src, s))
/* The whole of RAX goes in and out: the host decides what a 32-bit CMPXCHG does to its upper half.
 */
LOCKED_SIZES(cmpxchg_mr, T s = S(T); uint64_t a = RAX, old;
	     __asm__ volatile("lock cmpxchg %3, %1\n\tmov %%rax, %2" TAKE_FLAGS
			      : "+a"(a), "+m"(*p), "=&r"(old)
			      : "r"(s)
			      : "cc", "memory");
	     f = (uint16_t)a; RAX = old)
op_fn *const ops_xchg_mr[4][AK_FORMS] = MEM_ROWS(xchg_mr);
op_fn *const ops_xadd_mr[4][AK_FORMS] = MEM_ROWS(xadd_mr);
op_fn *const ops_cmpxchg_mr[4][AK_FORMS] = MEM_ROWS(cmpxchg_mr);

/* --- LOCK BTS BTR BTC --- */
#define LOCK_BIT(name, T, op)                                                          \
	LOCKED(lock_##name##_mi, T, T n = (T)i->imm & (8 * sizeof(T) - 1); uint8_t cf; \
	       __asm__ volatile("lock " op " %2, %1\n\tsetc %0"                        \
				: "=q"(cf), "+m"(*p)                                   \
				: "r"(n)                                               \
				: "cc", "memory");                                     \
	       f = (uint16_t)((f & ~FL_CF) | cf << 8))
#define LOCK_BITS(name, op) \
	LOCK_BIT(name, uint16_t, op) LOCK_BIT(name, uint32_t, op) LOCK_BIT(name, uint64_t, op)
LOCK_BITS(bts, "bts")
LOCK_BITS(btr, "btr")
LOCK_BITS(btc, "btc")
#define MEM_ROWS3(x)                                                                \
	{                                                                           \
		MEM_ROW(x##_uint16_t), MEM_ROW(x##_uint32_t), MEM_ROW(x##_uint64_t) \
	}
op_fn *const ops_lock_bit_mi[4][3][AK_FORMS] = {
	[1] = MEM_ROWS3(lock_bts_mi),
	[2] = MEM_ROWS3(lock_btr_mi),
	[3] = MEM_ROWS3(lock_btc_mi),
};

static uint64_t bit_change(uint64_t v, unsigned bit, int op)
{
	uint64_t b = BIT(bit);

	return op == 1 ? v | b : op == 2 ? v & ~b : v ^ b;
}

/* Bit number in a register: imm 1 BTS, 2 BTR, 3 BTC.  The byte that holds the bit is enough to
 * lock. */
OP(op_lock_btx_mr)
{
	unsigned size = insn_opsize(i), bit;
	uint64_t va, v;
	void *p;

	interp_sync(c, i);
	va = ops_bit_lin(c, i, size, true, &bit);
	p = interp_rmw(c, i, va, size);
	if (p) {
		uint8_t *byte = (uint8_t *)p + bit / 8, b = (uint8_t)(1 << bit % 8);

		if (i->imm == 1)
			v = __atomic_fetch_or(byte, b, __ATOMIC_SEQ_CST) & b;
		else if (i->imm == 2)
			v = __atomic_fetch_and(byte, (uint8_t)~b, __ATOMIC_SEQ_CST) & b;
		else
			v = __atomic_fetch_xor(byte, b, __ATOMIC_SEQ_CST) & b;
	} else {
		v = lock_begin(c, i, va, size);
		lock_end(c, i, va, bit_change(v, bit, i->imm), size);
		v &= BIT(bit);
	}
	c->fl = (uint16_t)((c->fl & ~FL_CF) | (v ? FL_CF : 0));
	NEXT_SLOW;
}

/* --- CMPXCHG8B, CMPXCHG16B --- */
OP(op_cmpxchg8b)
{
	uint64_t va = interp_ea(c, i, 8, true), *p, m;
	uint64_t expect = (uint32_t)RAX | c->s.gpr[X86_RDX] << 32;
	uint64_t new = (uint32_t)c->s.gpr[X86_RBX] | c->s.gpr[X86_RCX] << 32;
	bool same;

	p = interp_rmw(c, i, va, 8);
	if (p && !ACROSS_LINES(va, 8)) {
		m = expect;
		same = __atomic_compare_exchange_n(p, &m, new, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_SEQ_CST);
	} else {
		m = lock_begin(c, i, va, 8);
		same = m == expect;
		lock_end(c, i, va, same ? new : m, 8);
	}
	if (!same) {
		RAX = (uint32_t)m;
		c->s.gpr[X86_RDX] = m >> 32;
	}
	c->fl = (uint16_t)((c->fl & ~FL_ZF) | (same ? FL_ZF : 0));
	NEXT_SLOW;
}

static bool host_cmpxchg16b(void *p, uint64_t old[2], uint64_t lo, uint64_t hi)
{
	bool same;

	__asm__ volatile("lock cmpxchg16b %1\n\tsete %0"
			 : "=q"(same), "+m"(*(unsigned __int128 *)p), "+a"(old[0]), "+d"(old[1])
			 : "b"(lo), "c"(hi)
			 : "cc", "memory");
	return same;
}

OP(op_cmpxchg16b)
{
	uint64_t va = interp_ea(c, i, 16, true), m[2] = {RAX, c->s.gpr[X86_RDX]};
	uint64_t lo = c->s.gpr[X86_RBX], hi = c->s.gpr[X86_RCX];
	bool same;
	void *p;

	interp_sync(c, i);
	if (va & 15)
		x86_raise_err(c, X86_GP, 0);
	p = interp_rmw(c, i, va, 16);
	if (p) {
		same = host_cmpxchg16b(p, m, lo, hi);
	} else {
		uint64_t v0 = lock_begin(c, i, va, 8), v1 = interp_ld(c, i, va + 8, 8);

		same = v0 == m[0] && v1 == m[1];
		m[0] = v0;
		m[1] = v1;
		interp_st(c, i, va + 8, same ? hi : v1, 8);
		lock_end(c, i, va, same ? lo : v0, 8);
	}
	if (!same) {
		RAX = m[0];
		c->s.gpr[X86_RDX] = m[1];
	}
	c->fl = (uint16_t)((c->fl & ~FL_ZF) | (same ? FL_ZF : 0));
	NEXT_SLOW;
}
