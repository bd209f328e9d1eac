/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory operands: from a guest's address to [linear + distance] on the host.
 *
 *	lea T0, [address]		not when it is a register
 *	test T0b, size-1; jnz		aligned accesses cross no page; others are looked at (cold)
 *	pext T1, T0, [vpn_mask]
 *	mov T2, [lst_r]			for a write: [lst_w]
 *	mov T1, [T2 + T1*8]
 *	test T1, T1; jz			cold: fill the entry, try again
 *
 * When arithmetic flags are live, pext and jrcxz take the place of test and jcc.
 *
 * Where the address space has windows (window.c), the region that the address will be in is
 * guessed, so that the access need not wait for what it takes to find out (for [address +
 * displacement] too):
 *
 *	rorx T1, address, 40
 *	cmp T1w, region; jne		cold: guess again
 *	mov T1, [delta + region*8]
 *
 * Bits 63..56 are not compared: the sum of the distance and an address that has any there alone
 * is not canonical.  What was in the highest region (WINDOW_HIGH) when the block was translated is
 * not guessed anew but translated anew when it is found elsewhere.  Stack accesses, and others of
 * which it is known that they are near RSP, do not even look: in blocks for DBT_MODE_STACK, RSP
 * itself is looked at when it is given a new value (xl_stack_moved).
 */
#include "engine/dbt/xlate_int.h"

/* Displacements from a pointer are less: it lies in the region of what it points at.  If it does
 * not, the access faults and is the interpreter's. */
#define NEAR 65536

static bool flat_segment(const struct xlate *x, unsigned seg, bool write)
{
	if (x->code64)
		return true;
	if (seg >= X86_FS)
		return x->mode & DBT_MODE_FSGS;
	return !write || seg != X86_CS;
}

unsigned xl_in_reg(struct xlate *x, ZydisRegister r, unsigned temp)
{
	unsigned g = xl_reg_num(r);

	if (dbt_host_reg[g] != NO_REG)
		return dbt_host_reg[g];
	e_load(&x->a, temp, xl_home(g));
	return temp;
}

static unsigned rip_relative(struct xlate *x, const struct xinsn *i, unsigned w, int64_t disp)
{
	int64_t d = disp + xl_next(i);

	if (x->windows || d == (int32_t)d) {
		xl_code_address(x, T0, d);
		if (!w)
			e_mov32(&x->a, T0, T0);
	} else {
		e_load(&x->a, T0, FRAME(code_base));
		e_mov_imm(&x->a, T1, (uint64_t)d);
		e_lea(&x->a, w, T0, em_sum(T0, T1));
	}
	return T0;
}

static void add_segment(struct xlate *x, unsigned seg)
{
	e_load(&x->a, T1,
	       em_frame(FRAME_OFF(in.cpu.s.seg) + (int32_t)(seg * sizeof(struct x86_segment) +
							    offsetof(struct x86_segment, base))));
	e_lea(&x->a, x->code64, T0, em_sum(T0, T1));
}

unsigned xl_addr(struct xlate *x, const struct xinsn *i, int32_t plus)
{
	const struct x86_decoded *d = &i->d;
	const ZydisDecodedOperandMem *m = &d->op[d->mem].mem;
	unsigned seg = (unsigned)(m->segment - ZYDIS_REGISTER_ES), w = d->addrsize == 8;
	bool based = seg >= X86_FS;
	struct emem e = {NO_REG, NO_REG, 0, (int32_t)m->disp.value + plus};

	if (d->addrsize == 2 || !flat_segment(x, seg, d->mem_write))
		return NO_REG;
	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP) {
		rip_relative(x, i, w, m->disp.value + plus);
	} else if (m->base == ZYDIS_REGISTER_NONE && m->index == ZYDIS_REGISTER_NONE) {
		e_mov_imm(&x->a, T0, w ? (uint64_t)m->disp.value : (uint32_t)m->disp.value);
	} else {
		if (m->base != ZYDIS_REGISTER_NONE)
			e.base = (uint8_t)xl_in_reg(x, m->base, T0);
		if (m->index != ZYDIS_REGISTER_NONE) {
			e.index = (uint8_t)xl_in_reg(x, m->index, T1);
			e.scale = (uint8_t)__builtin_ctz(m->scale ? m->scale : 1);
		}
		if (w && !based && e.index == NO_REG && !e.disp)
			return e.base;
		e_lea(&x->a, w, T0, e);
	}
	if (based)
		add_segment(x, seg);
	return T0;
}

/* test reg8, mask */
static void test_low(struct code *a, unsigned reg, unsigned mask)
{
	e8(a, 0x40 | reg >> 3);
	e8(a, 0xf6);
	e_modrm_reg(a, 0, reg);
	e8(a, mask);
}

/* To the returned field's target unless the low n bits of reg are 0. */
static uint8_t *unless_aligned(struct xlate *x, unsigned reg, unsigned n)
{
	struct code *a = &x->a;
	uint8_t *ok, *jump;

	if (xl_dead(x)) {
		test_low(a, reg, (1u << n) - 1);
		return e_jcc(a, CC_NZ);
	}
	e_pext(a, T1, reg, xl_low_mask(n - 1));
	ok = e_jrcxz(a);
	jump = e_jmp(a);
	e_patch8(a, ok);
	return jump;
}

uint8_t *xl_unless_one_page(struct xlate *x, unsigned ea, unsigned bytes)
{
	int32_t last = (int32_t)(PAGE_SIZE - bytes); /* offset they may begin at */
	struct code *a = &x->a;
	uint8_t *ok, *jump;

	if (xl_dead(x)) { /* do the first byte's and the last one's page differ? */
		e_lea(a, 0, T1, em_base(ea, (int32_t)bytes - 1));
		e_rr(a, 0, 0x33, T1, ea); /* xor */
		e_rr(a, 0, 0xc1, 5, T1); /* shr */
		e8(a, PAGE_SHIFT);
		return e_jcc(a, CC_NZ);
	}
	/* offset - (last + 1) is negative: its sign, 1, less 1 is 0. */
	e_pext(a, T1, ea, xl_low_mask(6));
	e_lea(a, 1, T1, em_base(T1, -(last + 1)));
	e_pext(a, T1, T1, FRAME(sign));
	e_lea(a, 1, T1, em_base(T1, -1));
	ok = e_jrcxz(a);
	jump = e_jmp(a);
	e_patch8(a, ok);
	return jump;
}

/* Vectors are often not aligned: look at once whether they cross.  The cold code of a read that
 * does is returned: it goes on behind the access, with a copy of the operand. */
static struct cold *check_vector(struct xlate *x, unsigned ea, unsigned size, unsigned how)
{
	struct cold *c = xl_cold(x, how & XL_WRITE ? COLD_EXIT : COLD_CROSS,
				 xl_unless_one_page(x, ea, size));

	c->ea = (uint8_t)ea;
	c->size = (uint8_t)size;
	return how & XL_WRITE ? NULL : c;
}

static void check_alignment(struct xlate *x, unsigned ea, unsigned size, unsigned how)
{
	unsigned n = 32 - (unsigned)__builtin_clz(size - 1);
	struct cold *c;

	if (how & XL_STACK) {
		if (!x->sp_aligned)
			xl_cold(x, COLD_EXIT,
				unless_aligned(x, dbt_host_reg[X86_RSP], x->code64 ? 3 : 2));
		x->sp_aligned = true;
		return;
	}
	c = xl_cold(x, how & XL_WHOLE ? COLD_EXIT : COLD_ALIGN, unless_aligned(x, ea, n));
	c->ea = (uint8_t)ea;
	c->size = (uint8_t)size;
	c->back = e_here(&x->a);
}

/* The region of a base register's value when the block is translated; of what was mapped last, if
 * that shows nothing. */
unsigned xl_guess_region(const struct xlate *x, unsigned ea)
{
	const struct dbt_windows *w = &x->v->lst.space[x->v->lst.cur].windows;

	for (unsigned g = 0; g < 16; g++) {
		unsigned region = window_region(x->c->s.gpr[g]);

		if (dbt_host_reg[g] == ea && w->shown[region])
			return region;
	}
	return w->usual;
}

/* A jump (its rel32 field) taken unless ea is in the region; changes T1. */
static uint8_t *unless_region(struct xlate *x, unsigned ea, unsigned region, bool live)
{
	struct code *a = &x->a;
	uint8_t *jump, *ok;

	e_rorx(a, T1, ea, WINDOW_SHIFT);
	if (!live) {
		e8(a, 0x66);
		e_rr(a, 0, 0x83, 7, T1); /* cmp */
		e8(a, region);
		return e_jcc(a, CC_NZ);
	}
	e8(a, 0x0f), e8(a, 0xb7), e8(a, 0xc9); /* movzx ecx, cx */
	e8(a, 0x8d), e8(a, 0x49), e8(a, -region); /* lea ecx, [rcx - region] */
	ok = e_jrcxz(a);
	jump = e_jmp(a);
	e_patch8(a, ok);
	return jump;
}

void xl_window(struct xlate *x, unsigned ea, unsigned region)
{
	bool live = !xl_dead(x);
	struct code *a = &x->a;
	struct cold *c;
	uint8_t *jump;

	jump = unless_region(x, ea, region, live);
	/* windows_guess knows how long it is: always with a disp32. */
	e_load(a, T1, em_frame(FRAME_OFF(delta[0]) + (int32_t)region * 8));
	c = xl_cold(x, COLD_REGION, jump);
	c->ea = (uint8_t)ea;
	c->neg = live;
	c->back = e_here(a);
}

struct cold *xl_high(struct xlate *x, unsigned ea, bool live, enum cold_kind kind)
{
	return xl_cold(x, kind, unless_region(x, ea, WINDOW_HIGH, live));
}

void xl_translate(struct xlate *x, unsigned ea, bool write)
{
	struct code *a = &x->a;
	uint8_t *miss, *over, *none;
	struct cold *c;

	e_pext(a, T1, ea, FRAME(vpn_mask));
	e_load(a, T2, write ? FRAME(lst_w) : FRAME(lst_r));
	e_load(a, T1, em_index(T2, T1, 3, 0));
	if (xl_dead(x)) {
		e_test(a, T1);
		miss = e_jcc(a, CC_Z);
	} else {
		none = e_jrcxz(a);
		over = e_jmp8(a);
		e_patch8(a, none);
		miss = e_jmp(a);
		e_patch8(a, over);
	}
	c = xl_cold(x, COLD_FILL, miss);
	c->ea = (uint8_t)ea;
	c->write = write;
	c->back = x->retry;
}

void xl_access(struct xlate *x, unsigned ea, unsigned size, unsigned how)
{
	struct cold *cross = NULL;

	if (x->by_window && !(how & XL_WHOLE)) {
		xl_window(x, ea, xl_guess_region(x, ea));
		return;
	}
	if (how & (XL_ALIGNED | XL_INSIDE))
		;
	else if (size >= 16 && !(how & XL_WHOLE))
		cross = check_vector(x, ea, size, how);
	else if (size > 1)
		check_alignment(x, ea, size, how);
	xl_translate(x, ea, how & XL_WRITE);
	if (cross)
		cross->back = e_here(&x->a);
}

/* Of an address relative to RIP, the place in its page is known here. */
static bool is_inside(const struct xlate *x, const struct xinsn *i, unsigned size, unsigned how)
{
	const ZydisDecodedOperandMem *m = &i->d.op[i->d.mem].mem;
	unsigned off = (unsigned)((uint64_t)m->disp.value + xl_next(i)) & (PAGE_SIZE - 1);

	if (m->base != ZYDIS_REGISTER_RIP || m->segment >= ZYDIS_REGISTER_FS)
		return false;
	return how & XL_WHOLE ? !(off % size) : off + size <= PAGE_SIZE;
}

bool xl_near(const struct xinsn *i)
{
	const ZydisDecodedOperandMem *o = &i->d.op[i->d.mem].mem;
	int64_t disp = o->disp.value;

	if (i->d.addrsize != 8 || o->segment >= ZYDIS_REGISTER_FS ||
	    o->index != ZYDIS_REGISTER_NONE || o->base == ZYDIS_REGISTER_NONE ||
	    !xl_may_span(&i->d))
		return false;
	if (o->base == ZYDIS_REGISTER_RIP)
		return disp + xl_next(i) == (int32_t)(disp + xl_next(i));
	return disp <= NEAR && disp >= -NEAR;
}

static struct emem near_operand(struct xlate *x, const struct xinsn *i)
{
	const ZydisDecodedOperandMem *o = &i->d.op[i->d.mem].mem;
	int64_t disp = o->disp.value;
	unsigned reg = T0;

	if (o->base == ZYDIS_REGISTER_RIP) {
		xl_code_address(x, T0, disp + xl_next(i));
		xl_span_window(x, &i->operand, T0);
		return em_index(T0, T1, 0, 0);
	}
	reg = xl_in_reg(x, o->base, T0);
	xl_span_window(x, &i->operand, reg);
	return em_index(reg, T1, 0, (int32_t)o->disp.value);
}

bool xl_operand(struct xlate *x, const struct xinsn *i, unsigned size, unsigned how, unsigned temp,
		struct emem *m)
{
	bool spanned = xl_spanned(x, &i->operand);
	unsigned ea;

	if (x->by_window && !(how & XL_WHOLE) && xl_near(i)) {
		*m = near_operand(x, i);
		return true;
	}
	if (spanned && !xl_span_leads(x, &i->operand)) {
		*m = xl_span_member(x, &i->operand, temp);
		return true;
	}
	xl_begin(x);
	ea = xl_addr(x, i, spanned ? xl_span_start(x, &i->operand) : 0);
	if (ea == NO_REG)
		return false;
	if (spanned) {
		*m = xl_span_lead(x, &i->operand, ea, temp);
	} else {
		xl_access(x, ea, size, is_inside(x, i, size, how) ? how | XL_INSIDE : how);
		*m = em_sum(ea, T1);
	}
	return true;
}
