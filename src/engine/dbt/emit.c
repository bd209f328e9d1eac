/* SPDX-License-Identifier: Apache-2.0 */
/* Writing host instructions (SDM 2A chapter 2). */
#include "engine/dbt/emit.h"

void e_modrm_mem(struct code *a, unsigned reg, const struct emem *m)
{
	unsigned r = (reg & 7) << 3, mod;

	if (m->base == NO_REG) { /* [disp32] or [index << scale + disp32] */
		e8(a, r | 4);
		e8(a, m->scale << 6 | (m->index == NO_REG ? 4 : m->index & 7) << 3 | 5);
		e32(a, (uint32_t)m->disp);
		return;
	}
	mod = !m->disp && (m->base & 7) != X86_RBP ? 0 : m->disp == (int8_t)m->disp ? 1 : 2;
	if (m->index != NO_REG || (m->base & 7) == X86_RSP) {
		e8(a, mod << 6 | r | 4);
		e8(a, m->scale << 6 | (m->index == NO_REG ? 4 : m->index & 7) << 3 | (m->base & 7));
	} else {
		e8(a, mod << 6 | r | (m->base & 7));
	}
	if (mod == 1)
		e8(a, (uint8_t)m->disp);
	else if (mod == 2)
		e32(a, (uint32_t)m->disp);
}

static void e_rex(struct code *a, unsigned w, unsigned rxb)
{
	if (w || rxb)
		e8(a, 0x40 | w << 3 | rxb);
}

void e_rm(struct code *a, unsigned w, unsigned op, unsigned reg, struct emem m)
{
	e_rex(a, w, e_rxb_mem(reg, &m));
	e8(a, op);
	e_modrm_mem(a, reg, &m);
}

void e_rr(struct code *a, unsigned w, unsigned op, unsigned reg, unsigned rm)
{
	e_rex(a, w, (reg >> 3) << 2 | rm >> 3);
	e8(a, op);
	e_modrm_reg(a, reg, rm);
}

void e_0f_rm(struct code *a, unsigned w, unsigned op, unsigned reg, struct emem m)
{
	e_rex(a, w, e_rxb_mem(reg, &m));
	e8(a, 0x0f);
	e8(a, op);
	e_modrm_mem(a, reg, &m);
}

static void e_vex(struct code *a, unsigned map, unsigned pp, unsigned rxb, unsigned vvvv)
{
	e8(a, 0xc4);
	e8(a, (~rxb & 7) << 5 | map);
	e8(a, 1 << 7 | (~vvvv & 15) << 3 | pp);
}

void e_vex_rm(struct code *a, unsigned map, unsigned pp, unsigned op, unsigned reg, unsigned vvvv,
	      struct emem m)
{
	e_vex(a, map, pp, e_rxb_mem(reg, &m), vvvv);
	e8(a, op);
	e_modrm_mem(a, reg, &m);
}

void e_vex_rr(struct code *a, unsigned map, unsigned pp, unsigned op, unsigned reg, unsigned vvvv,
	      unsigned rm)
{
	e_vex(a, map, pp, (reg >> 3) << 2 | rm >> 3, vvvv);
	e8(a, op);
	e_modrm_reg(a, reg, rm);
}

void e_mov_imm(struct code *a, unsigned reg, uint64_t v)
{
	if (v == (uint32_t)v) {
		e_rex(a, 0, reg >> 3);
		e8(a, 0xb8 | (reg & 7));
		e32(a, (uint32_t)v);
	} else if (v == (uint64_t)(int32_t)v) {
		e_rex(a, 1, reg >> 3);
		e8(a, 0xc7);
		e_modrm_reg(a, 0, reg);
		e32(a, (uint32_t)v);
	} else {
		e_rex(a, 1, reg >> 3);
		e8(a, 0xb8 | (reg & 7));
		e64(a, v);
	}
}

void e_store32_imm(struct code *a, struct emem m, uint32_t v)
{
	e_rm(a, 0, 0xc7, 0, m);
	e32(a, v);
}

void e_cmp32_mem_imm(struct code *a, struct emem m, uint32_t v)
{
	if (v == (uint32_t)(int8_t)v) {
		e_rm(a, 0, 0x83, 7, m);
		e8(a, v);
	} else {
		e_rm(a, 0, 0x81, 7, m);
		e32(a, v);
	}
}

static uint8_t *hole32(struct code *a)
{
	uint8_t *at = a->p;

	e32(a, 0);
	return at;
}

static uint8_t *hole8(struct code *a)
{
	uint8_t *at = a->p;

	e8(a, 0);
	return at;
}

uint8_t *e_jmp(struct code *a)
{
	e8(a, 0xe9);
	return hole32(a);
}

uint8_t *e_call(struct code *a)
{
	e8(a, 0xe8);
	return hole32(a);
}

uint8_t *e_jcc(struct code *a, unsigned cc)
{
	e8(a, 0x0f);
	e8(a, 0x80 | cc);
	return hole32(a);
}

uint8_t *e_jrcxz(struct code *a)
{
	e8(a, 0xe3);
	return hole8(a);
}

uint8_t *e_jmp8(struct code *a)
{
	e8(a, 0xeb);
	return hole8(a);
}

void e_jmp_to(struct code *a, const uint8_t *rx_target)
{
	e_patch(a, e_jmp(a), rx_target);
}

void e_call_to(struct code *a, const uint8_t *rx_target)
{
	e_patch(a, e_call(a), rx_target);
}

void e_nops(struct code *a, size_t bytes)
{
	static const uint8_t nop[8] = {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0};

	for (; bytes >= sizeof(nop); bytes -= sizeof(nop))
		for (unsigned n = 0; n < sizeof(nop); n++)
			e8(a, nop[n]);
	while (bytes--)
		e8(a, 0x90);
}

uint8_t *e_lea_code(struct code *a, unsigned reg)
{
	e_rex(a, 1, reg >> 3 << 2);
	e8(a, 0x8d);
	e8(a, (reg & 7) << 3 | 5);
	return hole32(a);
}

void e_jmp_mem(struct code *a, struct emem m)
{
	e_rm(a, 0, 0xff, 4, m);
}

void e_call_mem(struct code *a, struct emem m)
{
	e_rm(a, 0, 0xff, 2, m);
}

void e_push(struct code *a, unsigned reg)
{
	e_rex(a, 0, reg >> 3);
	e8(a, 0x50 | (reg & 7));
}

void e_pop(struct code *a, unsigned reg)
{
	e_rex(a, 0, reg >> 3);
	e8(a, 0x58 | (reg & 7));
}

void e_ret(struct code *a)
{
	e8(a, 0xc3);
}

void e_jmp_reg(struct code *a, unsigned reg)
{
	e_rr(a, 0, 0xff, 4, reg);
}

void e_call_reg(struct code *a, unsigned reg)
{
	e_rr(a, 0, 0xff, 2, reg);
}
