/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rest of the unprivileged integer instructions: flags, PUSHA, ENTER, BOUND, XLAT,
 * hints; and bounce execution for everything that this engine has no handler for.
 */
#include <sched.h>
#include "engine/interp/ops.h"

#define RAX c->s.gpr[X86_RAX]
#define RSP c->s.gpr[X86_RSP]
#define RBP c->s.gpr[X86_RBP]
#define AL REG(uint8_t, GPR(X86_RAX))
#define AH REG(uint8_t, GPR(X86_RAX) + 1)

OP(op_nop)
{
	NEXT;
}

/* A spin loop of the guest: let the vCPU that it waits for run, where the host has fewer
 * processors.  One that is alone waits for time to pass (libata does, for 30 us of each command of
 * PIIX IDE) and would only lose its turn. */
OP(op_pause)
{
	if (c->vm->n_cpus > 1)
		sched_yield();
	NEXT;
}

/* LFENCE, SFENCE, MFENCE, SERIALIZE: other vCPUs are host threads. */
OP(op_fence)
{
	atomic_thread_fence(memory_order_seq_cst);
	NEXT;
}

OP(op_ud)
{
	interp_sync(c, i);
	x86_raise(c, X86_UD);
}

/* imm: vector; src: has an error code (of 0) */
OP(op_raise)
{
	interp_sync(c, i);
	if (i->src)
		x86_raise_err(c, (uint8_t)i->imm, 0);
	x86_raise(c, (uint8_t)i->imm);
}

/* --- flags --- */
OP(op_clc)
{
	c->fl &= (uint16_t)~FL_CF;
	NEXT;
}

OP(op_stc)
{
	c->fl |= FL_CF;
	NEXT;
}

OP(op_cmc)
{
	c->fl ^= FL_CF;
	NEXT;
}

OP(op_cld)
{
	c->s.rflags &= ~RFLAGS_DF;
	NEXT;
}

OP(op_std)
{
	c->s.rflags |= RFLAGS_DF;
	NEXT;
}

OP(op_lahf)
{
	AH = (uint8_t)(c->fl >> 8);
	NEXT;
}

OP(op_sahf)
{
	c->fl = (uint16_t)((AH & 0xd5) << 8 | 0x200 | (c->fl & FL_OF));
	NEXT;
}

OP(op_salc)
{
	AL = c->fl & FL_CF ? 0xff : 0;
	NEXT;
}

/* --- PUSHA POPA ENTER --- */
static void stack_push(struct x86_cpu *c, const struct insn *i, uint64_t *sp, uint64_t v,
		       unsigned size)
{
	uint64_t to = *sp;

	interp_stack_add(c, &to, -(int)size);
	interp_stack_st(c, i, to, v, size);
	*sp = to;
}

OP(op_pusha)
{
	unsigned size = insn_opsize(i);
	uint64_t sp = RSP;

	for (unsigned r = X86_RAX; r <= X86_RDI; r++)
		stack_push(c, i, &sp, c->s.gpr[r], size);
	RSP = sp;
	NEXT_SLOW;
}

OP(op_popa)
{
	unsigned size = insn_opsize(i);
	uint64_t sp = RSP, v[8];

	for (int r = X86_RDI; r >= X86_RAX; r--) {
		v[r] = interp_stack_ld(c, i, sp, size);
		interp_stack_add(c, &sp, (int)size);
	}
	for (unsigned r = X86_RAX; r <= X86_RDI; r++) {
		if (r == X86_RSP)
			continue;
		if (size == 2)
			REG(uint16_t, GPR(r)) = (uint16_t)v[r];
		else
			c->s.gpr[r] = v[r];
	}
	RSP = sp;
	NEXT_LOOP;
}

/* imm: bytes to reserve; src: nesting level */
OP(op_enter)
{
	unsigned size = insn_opsize(i), level = i->src & 31;
	uint64_t sp = RSP, bp = RBP, frame;

	stack_push(c, i, &sp, bp, size);
	frame = sp;
	for (unsigned n = 1; n < level; n++) {
		interp_stack_add(c, &bp, -(int)size);
		stack_push(c, i, &sp, interp_stack_ld(c, i, bp, size), size);
	}
	if (level)
		stack_push(c, i, &sp, frame, size);
	interp_stack_add(c, &sp, -(int)(uint16_t)i->imm);
	/* The new top of stack must be writable. */
	interp_stack_probe(c, i, sp, size);
	RSP = sp;
	if (size == 2)
		REG(uint16_t, GPR(X86_RBP)) = (uint16_t)frame;
	else
		RBP = size == 4 ? (uint32_t)frame : frame;
	NEXT_SLOW;
}

/* --- BOUND, XLAT --- */
OP(op_bound)
{
	unsigned size = insn_opsize(i), sh = 64 - 8 * size;
	uint64_t va = interp_ea(c, i, 2 * size, false);
	int64_t v = (int64_t)(D(uint64_t) << sh);

	/* The upper bound is read only when the lower one holds. */
	if (v < (int64_t)(interp_ld(c, i, va, size) << sh) ||
	    v > (int64_t)(interp_ld(c, i, va + size, size) << sh))
		x86_raise(c, X86_BR);
	NEXT;
}

/* The address is rBX + AL; lowered with base RBX and no index. */
OP(op_xlat)
{
	uint64_t off = REG(uint64_t, GPR(X86_RBX)) + AL;

	if (i->flags & INSN_A16)
		off = (uint16_t)off;
	else if (i->flags & INSN_A32)
		off = (uint32_t)off;
	AL = (uint8_t)interp_ld(c, i, interp_lin(c, i, off, 1, false), 1);
	NEXT;
}

/* CLFLUSH and its like: checked as a byte read, nothing to do. */
OP(op_clflush)
{
	(void)interp_ld(c, i, interp_ea(c, i, 1, false), 1);
	NEXT;
}

/* --- bounce execution --- */
OP(op_bounce)
{
	interp_sync(c, i);
	bounce_exec(c, i->ptr, 0, 0);
	NEXT_SLOW;
}

OP(op_bounce_lin)
{
	const struct bounce *b = i->ptr;
	uint64_t off = interp_off(c, i), lin;

	interp_sync(c, i);
	lin = interp_lin(c, i, off, b->lin_size, b->lin_write);
	interp_canonical(c, i, lin, b->lin_size);
	bounce_exec(c, b, lin, off);
	NEXT_SLOW;
}

/* The same where base and displacement are all. */
OP(op_bounce_lin_b)
{
	const struct bounce *b = i->ptr;
	uint64_t va = EA_b;

	interp_sync(c, i);
	interp_canonical(c, i, va, b->lin_size);
	bounce_exec(c, b, va, va);
	NEXT_SLOW;
}

OP(op_bounce_lin_x)
{
	const struct bounce *b = i->ptr;
	uint64_t va = EA_x;

	interp_sync(c, i);
	interp_canonical(c, i, va, b->lin_size);
	bounce_exec(c, b, va, va - REG(uint64_t, i->seg));
	NEXT_SLOW;
}

OP(op_bounce_off)
{
	interp_sync(c, i);
	bounce_exec(c, i->ptr, 0, interp_off(c, i));
	NEXT_SLOW;
}
