/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain moves between vector registers, general registers and memory, without a stub: these are
 * what copy loops are made of, and they have no semantics worth a trip through the processor.
 *
 * VEX forms zero the destination above their length, legacy ones keep bits 255..128 (SDM 1 14.3).
 */
#include <string.h>
#include "x86/bounce_int.h"

typedef unsigned char vec16 __attribute__((vector_size(16), aligned(1), may_alias));

static inline vec16 *xmm(struct x86_cpu *c, unsigned n)
{
	return (vec16 *)c->s.xsave.xmm[n];
}

static inline vec16 *ymmh(struct x86_cpu *c, unsigned n)
{
	return (vec16 *)c->s.xsave.ymmh[n];
}

static inline void zero_upper(struct x86_cpu *c, const struct bounce_stub *s, unsigned n)
{
	if (s->key.vex)
		*ymmh(c, n) = (vec16){0};
}

static inline unsigned reg_no(const struct bounce_stub *s)
{
	return s->key.reg & 15;
}

static inline unsigned rm_no(const struct bounce_stub *s)
{
	return s->key.rm & 15;
}

static void exec_load16(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	const vec16 *p;

	bounce_check_avail(c, s);
	bounce_check_align(c, s, lin);
	p = bounce_direct_rd(c, lin, 16);
	if (likely(p != NULL))
		*xmm(c, reg_no(s)) = *p;
	else
		x86_read_block(c, lin, xmm(c, reg_no(s)), 16);
	zero_upper(c, s, reg_no(s));
}

static void exec_store16(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	vec16 *p;

	bounce_check_avail(c, s);
	bounce_check_align(c, s, lin);
	p = bounce_direct_wr(c, lin, 16);
	if (likely(p != NULL))
		*p = *xmm(c, reg_no(s));
	else
		x86_write_block(c, lin, xmm(c, reg_no(s)), 16);
}

static void exec_load32(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	const vec16 *p;
	vec16 buf[2];

	bounce_check_avail(c, s);
	bounce_check_align(c, s, lin);
	p = bounce_direct_rd(c, lin, 32);
	if (unlikely(!p)) {
		x86_read_block(c, lin, buf, 32);
		p = buf;
	}
	*xmm(c, reg_no(s)) = p[0];
	*ymmh(c, reg_no(s)) = p[1];
}

static void exec_store32(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	vec16 *p, buf[2] = {*xmm(c, reg_no(s)), *ymmh(c, reg_no(s))};

	bounce_check_avail(c, s);
	bounce_check_align(c, s, lin);
	p = bounce_direct_wr(c, lin, 32);
	if (likely(p != NULL)) {
		p[0] = buf[0];
		p[1] = buf[1];
	} else {
		x86_write_block(c, lin, buf, 32);
	}
}

/* Register to register: dst and src are in elem and size (either encoding direction). */
static void exec_copy16(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	*xmm(c, s->elem) = *xmm(c, s->size);
	zero_upper(c, s, s->elem);
}

static void exec_copy32(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	*xmm(c, s->elem) = *xmm(c, s->size);
	*ymmh(c, s->elem) = *ymmh(c, s->size);
}

static inline void put_low(struct x86_cpu *c, const struct bounce_stub *s, unsigned n, uint64_t v)
{
	uint64_t w[2] = {v, 0};

	memcpy(c->s.xsave.xmm[n], w, 16);
	zero_upper(c, s, n);
}

static void exec_load8(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	put_low(c, s, reg_no(s), x86_ld64(c, lin));
}

static void exec_load4(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	put_low(c, s, reg_no(s), x86_ld32(c, lin));
}

static void exec_store8(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	x86_st64(c, lin, get_le64(xmm(c, reg_no(s))));
}

static void exec_store4(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	x86_st32(c, lin, get_le32(xmm(c, reg_no(s))));
}

/* MOVLPS, MOVHPS and their like: one half, the other kept. */
static void exec_load_half(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	put_le64(c->s.xsave.xmm[reg_no(s)] + s->elem, x86_ld64(c, lin));
}

static void exec_store_half(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	x86_st64(c, lin, get_le64(c->s.xsave.xmm[reg_no(s)] + s->elem));
}

static void exec_copy8(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	put_low(c, s, s->elem, get_le64(xmm(c, s->size)));
}

static void exec_from_gpr(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint64_t v = c->s.gpr[rm_no(s)];

	bounce_check_avail(c, s);
	put_low(c, s, reg_no(s), s->key.w ? v : (uint32_t)v);
}

static void exec_to_gpr(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint64_t v = get_le64(xmm(c, reg_no(s)));

	bounce_check_avail(c, s);
	c->s.gpr[rm_no(s)] = s->key.w ? v : (uint32_t)v;
}

/* --- preparation --- */

static bool op_is_vector(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       (ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_XMM ||
		ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_YMM);
}

static bool op_is_mem(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static bool move_mem(struct bounce_stub *s, unsigned size, bool write, unsigned align,
		     void (*exec)(struct x86_cpu *, const struct bounce *, uint64_t, uint64_t))
{
	s->align = (uint8_t)align;
	s->pub.exec = exec;
	bounce_set_mem(s, size, write);
	return true;
}

/* MOVUPS, MOVDQA...: the whole vector. */
static bool move_full(struct bounce_stub *s, const struct x86_decoded *d, bool aligned)
{
	bool wide = s->key.vex && s->key.l;
	unsigned size = wide ? 32 : 16;

	if (d->insn.operand_count_visible != 2)
		return false;
	if (op_is_vector(&d->op[0]) && op_is_mem(&d->op[1]))
		return move_mem(s, size, false, aligned ? size : 0,
				wide ? exec_load32 : exec_load16);
	if (op_is_mem(&d->op[0]) && op_is_vector(&d->op[1]))
		return move_mem(s, size, true, aligned ? size : 0,
				wide ? exec_store32 : exec_store16);
	if (!op_is_vector(&d->op[0]) || !op_is_vector(&d->op[1]))
		return false;
	s->elem = (uint8_t)bounce_reg_num(d->op[0].reg.value);
	s->size = (uint8_t)bounce_reg_num(d->op[1].reg.value);
	s->pub.exec = wide ? exec_copy32 : exec_copy16;
	return true;
}

/* MOVQ, MOVD, and MOVSS, MOVSD with memory: the low element, the rest of the register zero. */
static bool move_low(struct bounce_stub *s, const struct x86_decoded *d, unsigned size, bool scalar)
{
	const ZydisDecodedOperand *op = d->op;

	if (d->insn.operand_count_visible != 2 || s->key.map != 1)
		return false;
	if (op_is_vector(&op[0]) && op_is_mem(&op[1]))
		return move_mem(s, size, false, 0, size == 8 ? exec_load8 : exec_load4);
	if (op_is_mem(&op[0]) && op_is_vector(&op[1]))
		return move_mem(s, size, true, 0, size == 8 ? exec_store8 : exec_store4);
	if (scalar)
		return false;
	if (op_is_vector(&op[0]) && op_is_vector(&op[1])) {
		s->elem = (uint8_t)bounce_reg_num(op[0].reg.value);
		s->size = (uint8_t)bounce_reg_num(op[1].reg.value);
		s->pub.exec = exec_copy8;
		return true;
	}
	if (op_is_vector(&op[0]) && !(s->key.rm & 0x80)) {
		s->pub.exec = exec_from_gpr;
		return true;
	}
	if (op_is_vector(&op[1]) && !(s->key.rm & 0x80)) {
		s->pub.exec = exec_to_gpr;
		return true;
	}
	return false;
}

static bool move_half(struct bounce_stub *s, const struct x86_decoded *d, unsigned at)
{
	if (d->insn.operand_count_visible != 2)
		return false;
	s->elem = (uint8_t)at;
	if (op_is_mem(&d->op[0]))
		return move_mem(s, 8, true, 0, exec_store_half);
	if (!s->key.vex && op_is_mem(&d->op[1]))
		return move_mem(s, 8, false, 0, exec_load_half);
	return false;
}

static bool move_kind(struct bounce_stub *s, const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_VMOVUPS:
	case ZYDIS_MNEMONIC_VMOVUPD:
	case ZYDIS_MNEMONIC_VMOVDQU:
	case ZYDIS_MNEMONIC_VLDDQU:
		return move_full(s, d, false);
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return move_full(s, d, true);
	case ZYDIS_MNEMONIC_MOVQ:
	case ZYDIS_MNEMONIC_VMOVQ:
		return move_low(s, d, 8, false);
	case ZYDIS_MNEMONIC_MOVD:
	case ZYDIS_MNEMONIC_VMOVD:
		return move_low(s, d, 4, false);
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_VMOVSD:
		return move_low(s, d, 8, true);
	case ZYDIS_MNEMONIC_MOVSS:
	case ZYDIS_MNEMONIC_VMOVSS:
		return move_low(s, d, 4, true);
	case ZYDIS_MNEMONIC_MOVLPS:
	case ZYDIS_MNEMONIC_MOVLPD:
	case ZYDIS_MNEMONIC_VMOVLPS:
	case ZYDIS_MNEMONIC_VMOVLPD:
		return move_half(s, d, 0);
	case ZYDIS_MNEMONIC_MOVHPS:
	case ZYDIS_MNEMONIC_MOVHPD:
	case ZYDIS_MNEMONIC_VMOVHPS:
	case ZYDIS_MNEMONIC_VMOVHPD:
		return move_half(s, d, 8);
	default:
		return false;
	}
}

bool bounce_move_prepare(struct bounce_stub *s, const struct x86_decoded *d)
{
	if (!move_kind(s, d))
		return false;
	bounce_set_avail(s, s->key.vex ? BOUNCE_AV_AVX : BOUNCE_AV_SSE);
	return true;
}
