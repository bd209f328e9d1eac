/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks.  PUSH and POP by SS:RSP, and stacks that do not become SS:RSP before a control transfer
 * has made all its checks: the stack of an inner level out of the TSS, or the same stack seen as it
 * will be afterwards.  Values go to memory as they are pushed; the stack pointer commits last, so a
 * fault on the way leaves registers untouched.
 */
#include "x86/sys_int.h"

static uint64_t stack_mask(const struct x86_cpu *c)
{
	if (c->mode & X86_MODE_CS64)
		return ~UINT64_C(0);
	return c->mode & X86_MODE_SS32 ? 0xffffffff : 0xffff;
}

static void set_sp(struct x86_cpu *c, uint64_t mask, uint64_t sp)
{
	if (mask == 0xffff)
		c->s.gpr[X86_RSP] = bits_set(c->s.gpr[X86_RSP], 15, 0, sp);
	else
		c->s.gpr[X86_RSP] = sp & mask;
}

/* An access whose linear address range passes 4 GiB outside of IA-32e mode. */
static bool wraps(const struct x86_cpu *c, uint64_t va, unsigned size)
{
	return !sys_lma(c) && unlikely(va + size > BIT(32));
}

uint64_t sys_ld(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_view view)
{
	uint64_t val = 0;

	if (!wraps(c, va, size))
		return x86_ld_slow(c, va, size, view);
	for (unsigned i = 0; i < size; i++)
		val |= x86_ld_slow(c, (va + i) & 0xffffffff, 1, view) << (8 * i);
	return val;
}

void sys_st(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size, enum x86_view view)
{
	if (!wraps(c, va, size)) {
		x86_st_slow(c, va, val & mask_size(size), size, view);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		x86_st_slow(c, (va + i) & 0xffffffff, (val >> (8 * i)) & 0xff, 1, view);
}

enum x86_view sys_view(const struct x86_cpu *c, unsigned cpl)
{
	if (cpl == 3)
		return X86_VIEW_USER;
	if ((c->s.cr4 & CR4_SMAP) && !(c->s.rflags & RFLAGS_AC))
		return X86_VIEW_SUPER;
	return X86_VIEW_SUPER_USER;
}

void x86_push(struct x86_cpu *c, uint64_t val, unsigned size)
{
	uint64_t mask = stack_mask(c);
	uint64_t sp = (c->s.gpr[X86_RSP] - size) & mask;
	uint64_t va = x86_lin(c, X86_SS, sp, size, true);

	sys_st(c, va, val, size, (enum x86_view)(c->tlb - c->tlbs));
	set_sp(c, mask, sp);
}

uint64_t x86_pop(struct x86_cpu *c, unsigned size)
{
	uint64_t mask = stack_mask(c);
	uint64_t sp = c->s.gpr[X86_RSP] & mask;
	uint64_t va = x86_lin(c, X86_SS, sp, size, false);
	uint64_t val = sys_ld(c, va, size, (enum x86_view)(c->tlb - c->tlbs));

	set_sp(c, mask, sp + size);
	return val;
}

void stk_current(const struct x86_cpu *c, struct stk *k)
{
	k->seg = c->s.seg[X86_SS];
	k->mask = stack_mask(c);
	k->sp = c->s.gpr[X86_RSP] & k->mask;
	k->view = (enum x86_view)(c->tlb - c->tlbs);
	k->err = 0;
	k->code64 = sys_code64(c);
}

void stk_init(const struct x86_cpu *c, struct stk *k, const struct x86_segment *seg, uint64_t sp,
	      unsigned cpl, bool code64)
{
	k->seg = *seg;
	if (code64)
		k->mask = ~UINT64_C(0);
	else
		k->mask = seg->attr & SEG_DB ? 0xffffffff : 0xffff;
	k->sp = sp & k->mask;
	k->view = sys_view(c, cpl);
	k->err = 0;
	k->code64 = code64;
}

/* Linear address of size bytes at offset off of the stack; #SS when they are not all inside. */
static uint64_t stk_lin(struct x86_cpu *c, const struct stk *k, uint64_t off, unsigned size)
{
	if (k->code64) {
		if (!x86_canonical(off) || !x86_canonical(off + size - 1))
			sys_fault(c, X86_SS_FAULT, k->err);
		return off;
	}
	if (!seg_in_limit(&k->seg, off, size))
		sys_fault(c, X86_SS_FAULT, k->err);
	return (k->seg.base + off) & 0xffffffff;
}

void stk_room(struct x86_cpu *c, const struct stk *k, unsigned n, unsigned size)
{
	for (unsigned i = 1; i <= n; i++)
		stk_lin(c, k, (k->sp - (uint64_t)i * size) & k->mask, size);
}

void stk_push(struct x86_cpu *c, struct stk *k, uint64_t val, unsigned size)
{
	uint64_t sp = (k->sp - size) & k->mask;

	sys_st(c, stk_lin(c, k, sp, size), val, size, k->view);
	k->sp = sp;
}

uint64_t stk_pop(struct x86_cpu *c, struct stk *k, unsigned size)
{
	uint64_t val = sys_ld(c, stk_lin(c, k, k->sp, size), size, k->view);

	k->sp = (k->sp + size) & k->mask;
	return val;
}

void stk_commit(struct x86_cpu *c, const struct stk *k)
{
	set_sp(c, k->mask, k->sp);
}

/* A field of the current TSS, #TS(TR) when the TSS is too short for it. */
static uint64_t tss_field(struct x86_cpu *c, uint32_t off, unsigned size)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	uint64_t va = tr->base + off;

	if (off + size - 1 > tr->limit)
		sys_fault(c, X86_TS, tr->sel);
	return x86_ld_sys(c, sys_lma(c) ? va : va & 0xffffffff, size);
}

/* The checks of a stack segment that the TSS names for privilege dpl. */
static void check_inner_ss(struct x86_cpu *c, uint16_t sel, unsigned dpl, struct x86_segment *ss)
{
	struct desc d;

	if (sel_null(sel))
		sys_fault(c, X86_TS, 0);
	if (!desc_read(c, sel, &d) || sel_rpl(sel) != dpl || desc_dpl(&d) != dpl ||
	    !desc_writable_data(&d))
		sys_fault(c, X86_TS, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_SS_FAULT, sel);
	desc_mark_accessed(c, &d);
	*ss = seg_from_desc(sel, &d);
}

void stk_inner(struct x86_cpu *c, unsigned dpl, unsigned ist, struct x86_segment *ss, uint64_t *sp)
{
	if (sys_lma(c)) {
		*sp = tss_field(c, ist ? 36 + (ist - 1) * 8 : 4 + dpl * 8, 8);
		*ss = seg_null((uint16_t)dpl);
		ss->attr = (uint16_t)(dpl << 5);
		return;
	}
	/* Both fields must be inside before the first is read (SDM 2, INT and CALL). */
	if (SEG_TYPE(c->s.seg[X86_TR].attr) & 8) {
		uint16_t sel = (uint16_t)tss_field(c, 8 + dpl * 8, 2);

		*sp = tss_field(c, 4 + dpl * 8, 4);
		check_inner_ss(c, sel, dpl, ss);
	} else {
		uint16_t sel = (uint16_t)tss_field(c, 4 + dpl * 4, 2);

		*sp = tss_field(c, 2 + dpl * 4, 2);
		check_inner_ss(c, sel, dpl, ss);
	}
}
