/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Inside the interpreter: decoded instructions, blocks, the per-vCPU engine state, and the macros
 * that handlers are made of.  Theory of operation: interp.c.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "engine/engine.h"
#include "engine/interp/vcpu.h"
#include "x86/bounce.h"
#include "x86/cpu.h"
#include "x86/decode.h"
#include "x86/mmu.h"
#include "x86/sys.h"

struct insn;
struct block;

typedef const struct insn *op_fn(struct x86_cpu *c, const struct insn *i);

/* How an effective address is made (insn.ak). */
enum addr_kind {
	AK_B, /* 64-bit: base + disp */
	AK_X, /* 64-bit: base + (index << scale) + disp + segment base */
	AK_W, /* 32-bit: the same cut to 32 bits, then segment base; a flat segment */
	AK_FAST_COUNT,
	AK_S = AK_FAST_COUNT, /* segmented: offset cut to the address size, then x86_lin */
	AK_R, /* 64-bit: next RIP + disp, where the sum does not fit disp */
	AK_M, /* absolute 64-bit offset in imm64 (moffs), then segment base */
};

/* insn.flags */
#define INSN_SS BIT(0) /* operand in the stack segment: non-canonical is #SS */
#define INSN_A16 BIT(1) /* 16-bit addresses */
#define INSN_A32 BIT(2) /* 32-bit addresses */
#define INSN_REP BIT(3) /* REP/REPE */
#define INSN_REPNE BIT(4)
#define INSN_O16 BIT(5) /* operand size 2 */
#define INSN_O32 BIT(6) /* operand size 4; neither: 8 */

/*
 * A decoded instruction.  dst, src, base, index and (except AK_S) seg are byte offsets in struct
 * x86_cpu; an absent base, index or segment is the offset of `zero`.  Some instructions use the
 * slots after their own for data: direct branches for a struct link to each target.
 */
struct insn {
	op_fn *fn;
	uint16_t base, index;
	int32_t disp;
	union {
		struct {
			int32_t imm;
			uint16_t dst, src;
		};
		uint64_t imm64;
		const void *ptr;
	};
	uint16_t seg; /* AK_S: enum x86_sreg */
	uint16_t off; /* of the first byte in its page */
	uint8_t scale, len, ak, flags;
};

/* A direct branch's way to its target, in a slot after the branch. */
struct link {
	const struct block *to;
	uint64_t tag; /* cross-page: valid while it equals interp_cpu.tag */
	uint64_t page; /* cross-page: linear page of the target */
	uint64_t from; /* cross-page: linear page of the branch for which all this is so */
};

_Static_assert(sizeof(struct insn) == 32 && sizeof(struct link) == 32, "one slot each");

/* A run of decoded instructions in one page (the last one may go on in the next). */
struct block {
	const struct mem_page *page; /* valid while page->gen == gen */
	uint32_t gen;
	uint32_t mode; /* key: mode bits and BLOCK_ONE */
	uint64_t ram_off; /* key: RAM offset of the first byte */
	struct block *next; /* hash chain */
	const struct mem_page *page2; /* of a last instruction that crosses, or NULL */
	uint64_t ram_off2;
	uint32_t gen2;
	uint16_t n_insns;
	uint16_t bytes; /* of code */
	uint32_t skew; /* slots before the first instruction */
	struct insn insn[];
};

#define BLOCK_ONE (1u << 31) /* block.mode: a single instruction */
#define BLOCK_MAX 64 /* instructions */
#define BLOCK_SLOTS (BLOCK_MAX + 8)

static inline struct interp_cpu *interp_of(struct x86_cpu *c)
{
	return container_of(c, struct interp_cpu, cpu);
}

static inline struct jump *interp_jump_slot(struct interp_cpu *v, uint64_t lin)
{
	return &v->jumps[(lin ^ (lin >> JUMP_BITS)) & ((1u << JUMP_BITS) - 1)];
}

/*
 * Dispatch.  A hot handler ends in a sibling call to the next one (NEXT, GO).  The compiler makes
 * none where a local's address has escaped, or without optimization: such a call would eat host
 * stack at the guest's pleasure.  So every other handler returns the next instruction to the loop
 * in execute() (NEXT_LOOP, NEXT_SLOW), and tools/check-dispatch looks for real calls in the object
 * code.
 */
#ifdef __OPTIMIZE__
#define DISPATCH(c, n) ((n)->fn((c), (n)))
#else
#define DISPATCH(c, n) (n)
#endif

#define OP(name) const struct insn *name(struct x86_cpu *c, const struct insn *i)
#define COLD __attribute__((cold, noinline))
#define NEXT return DISPATCH(c, i + 1)
#define NEXT_LOOP return i + 1
/* After stores by slow paths: the running block may have been overwritten, or a device may have
 * changed the memory map. */
#define NEXT_SLOW                                                                              \
	do {                                                                                   \
		if (unlikely(block_stale(interp_of(c)->cur) || interp_events(c) & X86_EV_TLB)) \
			return interp_leave(c, i);                                             \
		NEXT_LOOP;                                                                     \
	} while (0)

/* A guest register (or other field of struct x86_cpu) by byte offset. */
#define REG(T, off) (*(T *)((char *)c + (off)))
#define GPR(n) (offsetof(struct x86_cpu, s.gpr) + 8 * (n))
#define D(T) REG(T, i->dst)
#define S(T) REG(T, i->src)
/* Write a register operand: 32-bit writes clear the upper half (SDM 1 3.4.1.1). */
#define SET_uint8_t(off, v) (REG(uint8_t, off) = (uint8_t)(v))
#define SET_uint16_t(off, v) (REG(uint16_t, off) = (uint16_t)(v))
#define SET_uint32_t(off, v) (REG(uint64_t, off) = (uint32_t)(v))
#define SET_uint64_t(off, v) (REG(uint64_t, off) = (v))
#define SET(T, off, v) SET_##T(off, v)

/* Arithmetic flags in fl. */
#define FL_CF 0x0100u
#define FL_PF 0x0400u
#define FL_AF 0x1000u
#define FL_ZF 0x4000u
#define FL_SF 0x8000u
#define FL_OF 0x0001u
/* After an operation in inline assembly: AH = flags, AL = OF. */
#define TAKE_FLAGS "\n\tlahf\n\tseto %%al"
/* Before one: CF from fl. */
#define GIVE_CF(reg) "btl $8, " reg "\n\t"

static inline bool block_stale(const struct block *b)
{
	return b->gen != mem_code_gen(b->page);
}

/* Is b as memory has it now?  A relaxed load: modified code is only promised after serialization.
 */
static inline bool block_valid(const struct block *b)
{
	return likely(b->gen == atomic_load_explicit(&b->page->gen, memory_order_relaxed));
}

static inline uint32_t interp_events(struct x86_cpu *c)
{
	return atomic_load_explicit(&c->events, memory_order_relaxed);
}

/* interp_pending - does anything wait that can be dealt with now? */
static inline bool interp_pending(struct x86_cpu *c)
{
	uint32_t ev = interp_events(c) & ~EV_STEP;

	return ev & ~(uint32_t)X86_EV_INTR || (ev && c->s.rflags & RFLAGS_IF);
}

/* Begin block b at once: it is valid and no event waits. */
#define GO(b)                                  \
	do {                                   \
		interp_of(c)->cur = (b);       \
		return DISPATCH(c, (b)->insn); \
	} while (0)

/* --- effective addresses --- */
#define EA_b (REG(uint64_t, i->base) + (uint64_t)(int64_t)i->disp)
#define EA_x                                                                    \
	(REG(uint64_t, i->base) + (REG(uint64_t, i->index) << (i->scale & 3)) + \
	 (uint64_t)(int64_t)i->disp + REG(uint64_t, i->seg))
#define EA_w                                                                                     \
	((uint64_t)(uint32_t)(REG(uint32_t, i->base) +                                           \
			      (REG(uint32_t, i->index) << (i->scale & 3)) + (uint32_t)i->disp) + \
	 REG(uint64_t, i->seg))

/* interp_off - offset in the segment, any kind; interp_ea - linear address (may raise #GP, #SS). */
uint64_t interp_off(struct x86_cpu *c, const struct insn *i);
uint64_t interp_ea(struct x86_cpu *c, const struct insn *i, unsigned size, bool write);

/* interp_lin - linear address of a known offset in i's segment. */
uint64_t interp_lin(struct x86_cpu *c, const struct insn *i, uint64_t off, unsigned size,
		    bool write);
/* Stack accesses at sp, an RSP-like value (cut to the stack's width here).  interp_stack_probe:
 * would a write fault?  interp_stack_add - advance an RSP-like value, as wide as the stack's width.
 */
uint64_t interp_stack_ld(struct x86_cpu *c, const struct insn *i, uint64_t sp, unsigned size);
void interp_stack_st(struct x86_cpu *c, const struct insn *i, uint64_t sp, uint64_t v,
		     unsigned size);
void interp_stack_probe(struct x86_cpu *c, const struct insn *i, uint64_t sp, unsigned size);
void interp_stack_add(const struct x86_cpu *c, uint64_t *sp, int n);

/* Slow accesses: note the instruction, do canonical checks; may unwind. */
uint64_t interp_ld(struct x86_cpu *c, const struct insn *i, uint64_t va, unsigned size);
void interp_st(struct x86_cpu *c, const struct insn *i, uint64_t va, uint64_t v, unsigned size);
/* interp_canonical - raise #GP(0) or #SS(0) unless [va, va+size) is canonical. */
void interp_canonical(struct x86_cpu *c, const struct insn *i, uint64_t va, unsigned size);
void *interp_rmw(struct x86_cpu *c, const struct insn *i, uint64_t va, unsigned size);

/* --- ports (ops_io.c): permission (#GP), input and output --- */
void interp_io_check(struct x86_cpu *c, uint16_t port, unsigned size);
uint32_t interp_in(struct x86_cpu *c, uint16_t port, unsigned size);
void interp_out(struct x86_cpu *c, uint16_t port, uint32_t v, unsigned size);

/* --- leaving straight-line execution --- */
static inline uint64_t interp_cs_base(const struct x86_cpu *c)
{
	return c->mode & X86_MODE_CS64 ? 0 : c->s.seg[X86_CS].base;
}

/* RIP of the byte at offset off of the running page. */
static inline uint64_t interp_rip(const struct x86_cpu *c, uint64_t off)
{
	uint64_t lin = c->code_base + off;

	return c->mode & X86_MODE_CS64 ? lin : (uint32_t)(lin - c->s.seg[X86_CS].base);
}

/* Everything that may unwind needs s.rip: the instruction's own. */
static inline void interp_sync(struct x86_cpu *c, const struct insn *i)
{
	interp_of(c)->ip = i;
	c->s.rip = interp_rip(c, i->off);
}

static inline uint64_t interp_next_rip(const struct x86_cpu *c, const struct insn *i)
{
	return interp_rip(c, (uint64_t)i->off + i->len);
}

/* interp_leave - i is complete, not a branch: go on after it through the lookup (mode, events...).
 * interp_resume - the same after a branch that has set s.rip. */
op_fn interp_leave, interp_resume;
/* interp_goto - end the block at i and go on at RIP rip (cut to the mode's width by the caller). */
const struct insn *interp_goto(struct x86_cpu *c, const struct insn *i, uint64_t rip);
/* interp_link - a link of i (slot n after it) did not hold: find rip's block, set the link, go
 * there. */
const struct insn *interp_link(struct x86_cpu *c, const struct insn *i, unsigned n, uint64_t rip);
/* interp_enter - the block for s.rip, or NULL when the run loop has something to do first. */
const struct insn *interp_enter(struct x86_cpu *c);

/* interp_index - number of instructions of the running block before i. */
static inline unsigned interp_index(struct x86_cpu *c, const struct insn *i)
{
	const struct block *b = interp_of(c)->cur;

	return (unsigned)(i - b->insn) - b->skew;
}

/* --- block.c --- */
int interp_cache_init(struct interp_cpu *v, struct err **e);
void interp_cache_fini(struct interp_cpu *v);
void interp_cache_flush(struct interp_cpu *v);
/* interp_block - the valid block that starts at s.rip in this mode, from the cache or decoded now;
 * unwinds when the code cannot be fetched.  one: a single instruction. */
const struct block *interp_block(struct x86_cpu *c, bool one);
/* interp_bp_at - has the debugger a breakpoint there?  interp_bp_check: pseudo-instruction in front
 * of one. */
bool interp_bp_at(const struct interp_cpu *v, uint64_t lin);
op_fn interp_bp_check;
/* A block that is never valid: where fresh links point. */
extern const struct block interp_no_block;

/* --- lower.c --- */
struct lower {
	struct interp_cpu *v;
	struct x86_cpu *c;
	const struct x86_decoded *d;
	struct insn *i; /* first slot of this instruction */
	unsigned slots; /* used by it, set by lower_insn; 1 unless it has data */
	bool ends; /* the block ends here */
	bool full; /* bounce code is full: flush everything, start again */
	uint16_t off; /* in the page */
	unsigned index; /* of this instruction in the block */
};
/* lower_insn - fill the slots of l->i for l->d. */
void lower_insn(struct lower *l);
/* lower_fault - an instruction that raises: #UD or #GP(0), for fetch and decode failures. */
void lower_fault(struct lower *l, uint8_t vector);
/* lower_end - a pseudo-instruction that goes on at the next byte, after a block's last instruction.
 */
void lower_end(const struct x86_cpu *c, struct insn *i, unsigned off, unsigned count);
