/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Far control transfers: JMP, CALL and RET between segments, call gates, and the fast system calls
 * (SDM 2, the instructions' operation sections; SDM 3A 5.8).
 *
 * Each transfer computes the images of CS, SS and the stack pointer it will leave, makes every
 * check and memory access, and only then commits.  Error codes carry no EXT bit here, as nothing is
 * being delivered; sys_fault() adds it when exc.c or a task switch shares a check.
 */
#include "x86/sys_int.h"

static uint64_t truncate(uint64_t v, unsigned size)
{
	return v & mask_size(size);
}

static bool code_is_64(const struct x86_cpu *c, const struct x86_segment *cs)
{
	return sys_lma(c) && (cs->attr & SEG_L);
}

void xfer_check_rip(struct x86_cpu *c, const struct x86_segment *cs, uint64_t rip)
{
	if (code_is_64(c, cs) ? !x86_canonical(rip) : rip > cs->limit)
		sys_fault(c, X86_GP, 0);
}

/* Real-address and virtual-8086 mode: everything but the limit goes. */
static void jump_paragraph(struct x86_cpu *c, uint16_t sel, uint64_t off)
{
	uint32_t limit = c->s.rflags & RFLAGS_VM ? 0xffff : c->s.seg[X86_CS].limit;

	if (off > limit)
		sys_fault(c, X86_GP, 0);
	seg_paragraph(c, X86_CS, sel);
	c->s.rip = off;
	x86_update_mode(c);
}

static void commit_cs(struct x86_cpu *c, const struct x86_segment *cs, uint64_t rip)
{
	c->s.seg[X86_CS] = *cs;
	c->s.rip = rip;
	x86_update_mode(c);
}

/* In IA-32e mode L and D together are reserved (SDM 3A 5.2.1). */
static bool code_reserved(const struct x86_cpu *c, const struct desc *d)
{
	return sys_lma(c) && desc_code64(d) && desc_code32(d);
}

/* The descriptor that a far JMP or CALL names; null and out of the table are dealt with. */
static void fetch_target(struct x86_cpu *c, uint16_t sel, struct desc *d)
{
	if (sel_null(sel))
		sys_fault(c, X86_GP, 0);
	if (!desc_read(c, sel, d))
		sys_fault(c, X86_GP, sel);
}

/* A code segment reached directly: CPL stays. */
static struct x86_segment direct_code(struct x86_cpu *c, uint16_t sel, struct desc *d)
{
	unsigned cpl = x86_cpl(&c->s);

	if (!desc_is_code(d) || code_reserved(c, d))
		sys_fault(c, X86_GP, sel);
	if (desc_conforming(d) ? desc_dpl(d) > cpl : sel_rpl(sel) > cpl || desc_dpl(d) != cpl)
		sys_fault(c, X86_GP, sel);
	if (!desc_present(d))
		sys_fault(c, X86_NP, sel);
	desc_mark_accessed(c, d);
	return seg_from_desc((uint16_t)((sel & 0xfffc) | cpl), d);
}

/* A call gate, unpacked. */
struct gate {
	uint64_t off;
	uint16_t sel;
	unsigned size; /* of what it pushes: 2, 4, 8 bytes */
	unsigned count; /* stack parameters */
};

/* Privilege and presence of a gate that JMP or CALL names. */
static void check_gate(struct x86_cpu *c, uint16_t sel, const struct desc *d)
{
	if (desc_dpl(d) < x86_cpl(&c->s) || desc_dpl(d) < sel_rpl(sel))
		sys_fault(c, X86_GP, sel);
	if (!desc_present(d))
		sys_fault(c, X86_NP, sel);
}

static void open_gate(struct x86_cpu *c, uint16_t sel, struct desc *d, struct gate *g)
{
	if (!desc_read_upper(c, sel, d))
		sys_fault(c, X86_GP, sel);
	check_gate(c, sel, d);
	g->sel = (uint16_t)(d->lo >> 16);
	g->off = (d->lo & 0xffff) | (d->hi & 0xffff0000);
	g->count = d->hi & 0x1f;
	g->size = 4;
	if (sys_lma(c)) {
		g->off |= (uint64_t)d->base_hi << 32;
		g->size = 8;
		g->count = 0;
	} else if (desc_type(d) == SYS_CALL16) {
		g->off &= 0xffff;
		g->size = 2;
	}
}

/* The code segment behind a gate, checked but for privilege changes that only CALL can make. */
static void gate_code(struct x86_cpu *c, const struct gate *g, struct desc *d)
{
	if (sel_null(g->sel))
		sys_fault(c, X86_GP, 0);
	if (!desc_read(c, g->sel, d) || !desc_is_code(d) || desc_dpl(d) > x86_cpl(&c->s))
		sys_fault(c, X86_GP, g->sel);
	if (sys_lma(c) && (!desc_code64(d) || desc_code32(d)))
		sys_fault(c, X86_GP, g->sel);
}

static void jump_gate(struct x86_cpu *c, uint16_t sel, struct desc *d)
{
	unsigned cpl = x86_cpl(&c->s);
	struct x86_segment cs;
	struct gate g;

	open_gate(c, sel, d, &g);
	gate_code(c, &g, d);
	if (!desc_conforming(d) && desc_dpl(d) != cpl)
		sys_fault(c, X86_GP, g.sel);
	if (!desc_present(d))
		sys_fault(c, X86_NP, g.sel);
	cs = seg_from_desc((uint16_t)((g.sel & 0xfffc) | cpl), d);
	xfer_check_rip(c, &cs, g.off);
	desc_mark_accessed(c, d);
	cs.attr = desc_attr(d);
	commit_cs(c, &cs, g.off);
}

/* A TSS, or a task gate, that JMP or CALL names. */
static void far_task(struct x86_cpu *c, uint16_t sel, struct desc *d, enum task_reason reason,
		     uint64_t next)
{
	struct desc tss = *d;

	check_gate(c, sel, d);
	if (desc_type(d) == SYS_TASK_GATE)
		sel = task_gate_target(c, d, &tss);
	task_switch(c, sel, &tss, reason, next, x86_rflags(c));
}

void x86_far_jmp(struct x86_cpu *c, uint16_t sel, uint64_t off, unsigned opsize)
{
	struct x86_segment cs;
	struct desc d;

	off = truncate(off, opsize);
	if (sys_real(c)) {
		jump_paragraph(c, sel, off);
		return;
	}
	fetch_target(c, sel, &d);
	if (!desc_is_system(&d)) {
		cs = direct_code(c, sel, &d);
		xfer_check_rip(c, &cs, off);
		commit_cs(c, &cs, off);
		return;
	}
	switch (desc_type(&d)) {
	case SYS_CALL32:
		jump_gate(c, sel, &d);
		return;
	case SYS_CALL16:
		if (sys_lma(c))
			break;
		jump_gate(c, sel, &d);
		return;
	case SYS_TASK_GATE:
	case SYS_TSS16:
	case SYS_TSS32:
		if (sys_lma(c))
			break;
		far_task(c, sel, &d, TASK_JMP, task_next_rip(c));
		return;
	default:
		break;
	}
	sys_fault(c, X86_GP, sel);
}

/* CALL through a gate to an inner level: new stack, parameters copied. */
static void call_inner(struct x86_cpu *c, const struct gate *g, struct desc *d, uint64_t next)
{
	unsigned dpl = desc_dpl(d);
	uint64_t sp, params[31];
	struct x86_segment cs, ss;
	struct stk old, k;

	stk_inner(c, dpl, 0, &ss, &sp);
	stk_init(c, &k, &ss, sp, dpl, sys_lma(c));
	k.err = sys_lma(c) ? 0 : ss.sel;
	stk_room(c, &k, 4 + g->count, g->size);
	cs = seg_from_desc((uint16_t)((g->sel & 0xfffc) | dpl), d);
	xfer_check_rip(c, &cs, g->off);
	stk_current(c, &old);
	for (unsigned i = 0; i < g->count; i++)
		params[i] = stk_pop(c, &old, g->size);
	stk_push(c, &k, c->s.seg[X86_SS].sel, g->size);
	stk_push(c, &k, c->s.gpr[X86_RSP], g->size);
	for (unsigned i = g->count; i-- > 0;)
		stk_push(c, &k, params[i], g->size);
	stk_push(c, &k, c->s.seg[X86_CS].sel, g->size);
	stk_push(c, &k, next, g->size);
	desc_mark_accessed(c, d);
	cs.attr = desc_attr(d);
	c->s.seg[X86_SS] = ss;
	stk_commit(c, &k);
	commit_cs(c, &cs, g->off);
}

/* CALL through a gate at the same level. */
static void call_same(struct x86_cpu *c, const struct gate *g, struct desc *d, uint64_t next)
{
	struct x86_segment cs = seg_from_desc((uint16_t)((g->sel & 0xfffc) | x86_cpl(&c->s)), d);
	struct stk k;

	stk_current(c, &k);
	if (sys_lma(c)) { /* a compatibility-mode caller's stack, seen from 64-bit mode */
		k.code64 = true;
		k.mask = ~UINT64_C(0);
		k.sp = c->s.gpr[X86_RSP];
	}
	stk_room(c, &k, 2, g->size);
	xfer_check_rip(c, &cs, g->off);
	stk_push(c, &k, c->s.seg[X86_CS].sel, g->size);
	stk_push(c, &k, next, g->size);
	desc_mark_accessed(c, d);
	cs.attr = desc_attr(d);
	stk_commit(c, &k);
	commit_cs(c, &cs, g->off);
}

static void call_gate(struct x86_cpu *c, uint16_t sel, struct desc *d, uint64_t next)
{
	struct gate g;

	open_gate(c, sel, d, &g);
	gate_code(c, &g, d);
	if (!desc_present(d))
		sys_fault(c, X86_NP, g.sel);
	if (!desc_conforming(d) && desc_dpl(d) < x86_cpl(&c->s))
		call_inner(c, &g, d, next);
	else
		call_same(c, &g, d, next);
}

/* CALL that stays at its level: push CS and RIP, go. */
static void call_paragraph(struct x86_cpu *c, uint16_t sel, uint64_t off, unsigned opsize,
			   uint64_t next)
{
	struct stk k;

	stk_current(c, &k);
	stk_room(c, &k, 2, opsize);
	if (off > (c->s.rflags & RFLAGS_VM ? 0xffff : c->s.seg[X86_CS].limit))
		sys_fault(c, X86_GP, 0);
	stk_push(c, &k, c->s.seg[X86_CS].sel, opsize);
	stk_push(c, &k, next, opsize);
	stk_commit(c, &k);
	jump_paragraph(c, sel, off);
}

static void call_direct(struct x86_cpu *c, uint16_t sel, struct desc *d, uint64_t off,
			unsigned opsize, uint64_t next)
{
	struct x86_segment cs = direct_code(c, sel, d);
	struct stk k;

	stk_current(c, &k);
	stk_room(c, &k, 2, opsize);
	xfer_check_rip(c, &cs, off);
	stk_push(c, &k, c->s.seg[X86_CS].sel, opsize);
	stk_push(c, &k, next, opsize);
	stk_commit(c, &k);
	commit_cs(c, &cs, off);
}

void x86_far_call(struct x86_cpu *c, uint16_t sel, uint64_t off, unsigned opsize, uint64_t next)
{
	struct desc d;

	off = truncate(off, opsize);
	if (sys_real(c)) {
		call_paragraph(c, sel, off, opsize, next);
		return;
	}
	fetch_target(c, sel, &d);
	if (!desc_is_system(&d)) {
		call_direct(c, sel, &d, off, opsize, next);
		return;
	}
	switch (desc_type(&d)) {
	case SYS_CALL32:
		call_gate(c, sel, &d, next);
		return;
	case SYS_CALL16:
		if (sys_lma(c))
			break;
		call_gate(c, sel, &d, next);
		return;
	case SYS_TASK_GATE:
	case SYS_TSS16:
	case SYS_TSS32:
		if (sys_lma(c))
			break;
		far_task(c, sel, &d, TASK_CALL, next);
		return;
	default:
		break;
	}
	sys_fault(c, X86_GP, sel);
}

void xfer_check_return(struct x86_cpu *c, uint16_t sel, struct x86_segment *cs)
{
	struct desc d;

	if (sel_null(sel))
		sys_fault(c, X86_GP, 0);
	if (!desc_read(c, sel, &d) || !desc_is_code(&d) || sel_rpl(sel) < x86_cpl(&c->s) ||
	    code_reserved(c, &d))
		sys_fault(c, X86_GP, sel);
	if (desc_conforming(&d) ? desc_dpl(&d) > sel_rpl(sel) : desc_dpl(&d) != sel_rpl(sel))
		sys_fault(c, X86_GP, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_NP, sel);
	desc_mark_accessed(c, &d);
	*cs = seg_from_desc(sel, &d);
}

void xfer_check_stack(struct x86_cpu *c, uint16_t sel, unsigned cpl, bool code64,
		      struct x86_segment *ss)
{
	struct desc d;

	if (sel_null(sel)) {
		if (!code64 || cpl == 3)
			sys_fault(c, X86_GP, 0);
		*ss = seg_null(sel);
		ss->attr = (uint16_t)(cpl << 5);
		return;
	}
	if (!desc_read(c, sel, &d) || sel_rpl(sel) != cpl || !desc_writable_data(&d) ||
	    desc_dpl(&d) != cpl)
		sys_fault(c, X86_GP, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_SS_FAULT, sel);
	desc_mark_accessed(c, &d);
	*ss = seg_from_desc(sel, &d);
}

/* RET to an outer level: the caller's stack lies above the parameters. */
static void ret_outer(struct x86_cpu *c, struct stk *k, const struct x86_segment *cs, uint64_t rip,
		      unsigned opsize, uint16_t pop_bytes)
{
	unsigned cpl = sel_rpl(cs->sel);
	struct x86_segment ss;
	struct stk outer;
	uint64_t sp;

	k->sp = (k->sp + pop_bytes) & k->mask;
	sp = stk_pop(c, k, opsize);
	xfer_check_stack(c, (uint16_t)stk_pop(c, k, opsize), cpl, code_is_64(c, cs), &ss);
	xfer_check_rip(c, cs, rip);
	stk_init(c, &outer, &ss, sp, cpl, code_is_64(c, cs));
	outer.sp = (outer.sp + pop_bytes) & outer.mask;
	c->s.seg[X86_SS] = ss;
	stk_commit(c, &outer);
	seg_drop_inner(c);
	commit_cs(c, cs, rip);
}

void x86_far_ret(struct x86_cpu *c, unsigned opsize, uint16_t pop_bytes)
{
	struct x86_segment cs;
	struct stk k;
	uint64_t rip;
	uint16_t sel;

	stk_current(c, &k);
	rip = stk_pop(c, &k, opsize);
	sel = (uint16_t)stk_pop(c, &k, opsize);
	if (sys_real(c)) {
		if (rip > (c->s.rflags & RFLAGS_VM ? 0xffff : c->s.seg[X86_CS].limit))
			sys_fault(c, X86_GP, 0);
		k.sp += pop_bytes;
		stk_commit(c, &k);
		jump_paragraph(c, sel, rip);
		return;
	}
	xfer_check_return(c, sel, &cs);
	if (sel_rpl(sel) > x86_cpl(&c->s)) {
		ret_outer(c, &k, &cs, rip, opsize, pop_bytes);
		return;
	}
	xfer_check_rip(c, &cs, rip);
	k.sp += pop_bytes;
	stk_commit(c, &k);
	commit_cs(c, &cs, rip);
}

struct x86_segment xfer_flat_code(uint16_t sel, unsigned dpl, bool code64)
{
	return (struct x86_segment){
		.limit = 0xffffffff,
		.sel = sel,
		.attr = (uint16_t)(0x9b | dpl << 5 | SEG_G | (code64 ? SEG_L : SEG_DB)),
	};
}

struct x86_segment xfer_flat_stack(uint16_t sel, unsigned dpl)
{
	return (struct x86_segment){
		.limit = 0xffffffff,
		.sel = sel,
		.attr = (uint16_t)(0x93 | dpl << 5 | SEG_G | SEG_DB),
	};
}

void x86_syscall(struct x86_cpu *c, uint64_t next)
{
	uint64_t flags = x86_rflags(c) & ~RFLAGS_RF;
	uint16_t sel = (uint16_t)(c->s.star >> 32) & 0xfffc;

	if (!sys_code64(c) || !(c->s.efer & EFER_SCE))
		x86_raise(c, X86_UD);
	c->s.gpr[X86_RCX] = next;
	c->s.gpr[X86_R11] = flags;
	x86_set_rflags(c, flags & ~c->s.fmask);
	c->s.seg[X86_SS] = xfer_flat_stack(sel + 8, 0);
	c->step_follows = c->single;
	c->s.seg[X86_CS] = xfer_flat_code(sel, 0, true);
	c->s.rip = c->s.lstar;
	x86_update_mode(c);
}

void x86_sysret(struct x86_cpu *c, unsigned opsize)
{
	uint16_t sel = (uint16_t)(c->s.star >> 48);
	bool code64 = opsize == 8;
	uint64_t rip = truncate(c->s.gpr[X86_RCX], opsize);

	if (!sys_code64(c) || !(c->s.efer & EFER_SCE))
		x86_raise(c, X86_UD);
	/* The order and the check are Intel's: a non-canonical RCX faults in the kernel. */
	if (x86_cpl(&c->s) || (code64 && !x86_canonical(rip)))
		sys_fault(c, X86_GP, 0);
	x86_set_rflags(c, c->s.gpr[X86_R11] & 0x3c7fd7);
	c->s.seg[X86_SS] = xfer_flat_stack((uint16_t)((sel + 8) | 3), 3);
	c->step_follows = c->single;
	c->s.seg[X86_CS] = xfer_flat_code((uint16_t)((sel + (code64 ? 16 : 0)) | 3), 3, code64);
	c->s.rip = rip;
	x86_update_mode(c);
}

void x86_sysenter(struct x86_cpu *c)
{
	uint16_t sel = (uint16_t)c->s.sysenter_cs & 0xfffc;
	bool lma = sys_lma(c);
	unsigned size = lma ? 8 : 4;

	if (!(c->s.cr0 & CR0_PE) || !sel)
		sys_fault(c, X86_GP, 0);
	x86_set_rflags(c, x86_rflags(c) & ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF));
	c->s.gpr[X86_RSP] = truncate(c->s.sysenter_esp, size);
	c->s.seg[X86_SS] = xfer_flat_stack(sel + 8, 0);
	c->s.seg[X86_CS] = xfer_flat_code(sel, 0, lma);
	c->s.rip = truncate(c->s.sysenter_eip, size);
	x86_update_mode(c);
}

void x86_sysexit(struct x86_cpu *c, unsigned opsize)
{
	uint16_t sel = (uint16_t)c->s.sysenter_cs & 0xfffc;
	bool code64 = opsize == 8;
	uint64_t rip = truncate(c->s.gpr[X86_RDX], opsize);
	uint64_t rsp = truncate(c->s.gpr[X86_RCX], opsize);

	if (!(c->s.cr0 & CR0_PE) || !sel || x86_cpl(&c->s))
		sys_fault(c, X86_GP, 0);
	if (code64 && (!x86_canonical(rip) || !x86_canonical(rsp)))
		sys_fault(c, X86_GP, 0);
	sel = (uint16_t)((sel + (code64 ? 32 : 16)) | 3);
	c->s.gpr[X86_RSP] = rsp;
	c->s.seg[X86_SS] = xfer_flat_stack(sel + 8, 3);
	c->s.seg[X86_CS] = xfer_flat_code(sel, 3, code64);
	c->s.rip = rip;
	x86_update_mode(c);
}
