/* SPDX-License-Identifier: Apache-2.0 */
/* IN and OUT, and the permission to use ports (SDM 1 19.5). */
#include "engine/interp/ops.h"

void interp_io_check(struct x86_cpu *c, uint16_t port, unsigned size)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	unsigned iopl = (unsigned)bits_get(c->s.rflags, 13, 12), type = SEG_TYPE(tr->attr);
	uint32_t base, bits;

	if (!(c->mode & X86_MODE_PE))
		return;
	if (!(c->mode & X86_MODE_V86) && x86_cpl(&c->s) <= iopl)
		return;
	/* The map is in a 32- or 64-bit TSS; the word at port / 8 must lie in its limit. */
	if (!(tr->attr & SEG_P) || (type != 9 && type != 11) || tr->limit < 103)
		x86_raise_err(c, X86_GP, 0);
	base = (uint32_t)x86_ld_sys(c, tr->base + 102, 2);
	if (base + port / 8u + 1 > tr->limit)
		x86_raise_err(c, X86_GP, 0);
	bits = (uint32_t)x86_ld_sys(c, tr->base + base + port / 8u, 2) >> (port & 7);
	if (bits & ((1u << size) - 1))
		x86_raise_err(c, X86_GP, 0);
}

uint32_t interp_in(struct x86_cpu *c, uint16_t port, unsigned size)
{
	if (unlikely(c->single))
		x86_io_break(c, port, size);
	return pio_read(c->vm->mem, port, size);
}

void interp_out(struct x86_cpu *c, uint16_t port, uint32_t v, unsigned size)
{
	if (unlikely(c->single))
		x86_io_break(c, port, size);
	pio_write(c->vm->mem, port, v, size);
}

/* src: size; imm: port number, or -1 for DX */
static uint16_t port_of(const struct x86_cpu *c, const struct insn *i)
{
	return (uint16_t)(i->imm < 0 ? c->s.gpr[X86_RDX] : (uint32_t)i->imm);
}

OP(op_in)
{
	uint16_t port = port_of(c, i);
	uint32_t v;

	interp_sync(c, i);
	interp_io_check(c, port, i->src);
	v = interp_in(c, port, i->src);
	if (i->src == 1)
		REG(uint8_t, GPR(X86_RAX)) = (uint8_t)v;
	else if (i->src == 2)
		REG(uint16_t, GPR(X86_RAX)) = (uint16_t)v;
	else
		c->s.gpr[X86_RAX] = v;
	return interp_leave(c, i);
}

OP(op_out)
{
	uint16_t port = port_of(c, i);

	interp_sync(c, i);
	interp_io_check(c, port, i->src);
	interp_out(c, port, (uint32_t)c->s.gpr[X86_RAX] & (uint32_t)mask_size(i->src), i->src);
	return interp_leave(c, i);
}
