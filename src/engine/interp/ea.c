/* SPDX-License-Identifier: Apache-2.0 */
/* Effective addresses of any kind, and the accesses that the handlers' fast paths leave aside. */
#include "engine/interp/ops.h"

uint64_t interp_off(struct x86_cpu *c, const struct insn *i)
{
	uint64_t off;

	switch (i->ak) {
	case AK_R:
		off = c->code_base + i->off + i->len + (uint64_t)(int64_t)i->disp;
		break;
	case AK_M:
		off = i->imm64;
		break;
	default:
		off = REG(uint64_t, i->base) + (REG(uint64_t, i->index) << (i->scale & 3)) +
		      (uint64_t)(int64_t)i->disp;
		break;
	}
	if (i->flags & INSN_A16)
		return (uint16_t)off;
	if (i->flags & INSN_A32)
		return (uint32_t)off;
	return off;
}

uint64_t interp_lin(struct x86_cpu *c, const struct insn *i, uint64_t off, unsigned size,
		    bool write)
{
	if (i->ak == AK_S) {
		interp_sync(c, i);
		return x86_lin(c, (enum x86_sreg)i->seg, off, size, write);
	}
	return off + REG(uint64_t, i->seg);
}

uint64_t interp_ea(struct x86_cpu *c, const struct insn *i, unsigned size, bool write)
{
	return interp_lin(c, i, interp_off(c, i), size, write);
}

void interp_canonical(struct x86_cpu *c, const struct insn *i, uint64_t va, unsigned size)
{
	if (likely(x86_canonical(va) && x86_canonical(va + size - 1)))
		return;
	interp_sync(c, i);
	x86_raise_err(c, i->flags & INSN_SS ? X86_SS_FAULT : X86_GP, 0);
}

uint64_t interp_ld(struct x86_cpu *c, const struct insn *i, uint64_t va, unsigned size)
{
	interp_sync(c, i);
	interp_canonical(c, i, va, size);
	switch (size) {
	case 1:
		return x86_ld8(c, va);
	case 2:
		return x86_ld16(c, va);
	case 4:
		return x86_ld32(c, va);
	default:
		return x86_ld64(c, va);
	}
}

void interp_st(struct x86_cpu *c, const struct insn *i, uint64_t va, uint64_t v, unsigned size)
{
	interp_sync(c, i);
	interp_canonical(c, i, va, size);
	switch (size) {
	case 1:
		x86_st8(c, va, (uint8_t)v);
		return;
	case 2:
		x86_st16(c, va, (uint16_t)v);
		return;
	case 4:
		x86_st32(c, va, (uint32_t)v);
		return;
	default:
		x86_st64(c, va, v);
		return;
	}
}

void *interp_rmw(struct x86_cpu *c, const struct insn *i, uint64_t va, unsigned size)
{
	interp_sync(c, i);
	interp_canonical(c, i, va, size);
	return x86_rmw_ptr(c, va, size);
}

/* The linear address of a stack access at an RSP-like value. */
static uint64_t stack_lin(struct x86_cpu *c, const struct insn *i, uint64_t sp, unsigned size)
{
	if (c->mode & X86_MODE_CS64)
		return sp;
	interp_sync(c, i);
	return x86_lin(c, X86_SS, c->mode & X86_MODE_SS32 ? (uint32_t)sp : (uint16_t)sp, size,
		       false);
}

uint64_t interp_stack_ld(struct x86_cpu *c, const struct insn *i, uint64_t sp, unsigned size)
{
	return interp_ld(c, i, stack_lin(c, i, sp, size), size);
}

void interp_stack_add(const struct x86_cpu *c, uint64_t *sp, int n)
{
	if (c->mode & X86_MODE_CS64)
		*sp += (uint64_t)(int64_t)n;
	else if (c->mode & X86_MODE_SS32)
		*sp = (uint32_t)(*sp + (uint64_t)(int64_t)n);
	else
		*sp = (*sp & ~UINT64_C(0xffff)) | (uint16_t)(*sp + (uint64_t)(int64_t)n);
}

void interp_stack_st(struct x86_cpu *c, const struct insn *i, uint64_t sp, uint64_t v,
		     unsigned size)
{
	interp_st(c, i, stack_lin(c, i, sp, size), v, size);
}

void interp_stack_probe(struct x86_cpu *c, const struct insn *i, uint64_t sp, unsigned size)
{
	uint64_t va = stack_lin(c, i, sp, size);

	interp_sync(c, i);
	interp_canonical(c, i, va, size);
	x86_probe(c, va, size, X86_WRITE);
}
