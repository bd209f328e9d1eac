/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IRET in all its forms (SDM 2, IRET; SDM 3A 7.4, 20.2, 20.3).
 *
 * NMIs become deliverable when IRET begins, even if it then faults (SDM 3A 6.7.1, 3C 26.3.1.5); the
 * one exception is an IRET that virtual-8086 mode traps to its monitor.
 */
#include "x86/sys_int.h"

#define FLAGS_ALWAYS (RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT)
#define FLAGS_32 (RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)
/* What a 32-bit IRET takes from the image in real-address mode (SDM 2). */
#define FLAGS_REAL 0x257fd5

static void unblock_nmi(struct x86_cpu *c)
{
	c->s.nmi_blocked = false;
	if (c->s.nmi_pending)
		atomic_fetch_or_explicit(&c->events, X86_EV_NMI, memory_order_relaxed);
}

/* RFLAGS after taking the bits of mask from image.  RF only matters while a breakpoint could be
 * hit; dropping it otherwise spares clearing it after the next instruction. */
static void commit_flags(struct x86_cpu *c, uint64_t image, uint64_t mask)
{
	if (!(c->s.dr7 & 0xff))
		image &= ~RFLAGS_RF;
	x86_set_rflags(c, (x86_rflags(c) & ~mask) | (image & mask));
}

static void iret_real(struct x86_cpu *c, unsigned opsize)
{
	uint64_t ip, flags;
	uint16_t cs;
	struct stk k;

	stk_current(c, &k);
	ip = stk_pop(c, &k, opsize);
	cs = (uint16_t)stk_pop(c, &k, opsize);
	flags = stk_pop(c, &k, opsize);
	if (ip > c->s.seg[X86_CS].limit)
		sys_fault(c, X86_GP, 0);
	stk_commit(c, &k);
	commit_flags(c, flags, opsize == 2 ? FLAGS_REAL & 0xffff : FLAGS_REAL);
	seg_paragraph(c, X86_CS, cs);
	c->s.rip = ip;
	x86_update_mode(c);
}

/* Virtual-8086 mode; with IOPL < 3 only the 16-bit form, and only with VME (SDM 3A 20.3.3.5). */
static void iret_v86(struct x86_cpu *c, unsigned opsize)
{
	bool iopl3 = (c->s.rflags & RFLAGS_IOPL) == RFLAGS_IOPL;
	uint64_t ip, flags, mask;
	uint16_t cs;
	struct stk k;

	if (!iopl3 && !((c->s.cr4 & CR4_VME) && opsize == 2))
		sys_fault(c, X86_GP, 0);
	stk_current(c, &k);
	ip = stk_pop(c, &k, opsize);
	cs = (uint16_t)stk_pop(c, &k, opsize);
	flags = stk_pop(c, &k, opsize);
	if (ip > 0xffff)
		sys_fault(c, X86_GP, 0);
	mask = FLAGS_ALWAYS | RFLAGS_IF | (opsize == 4 ? FLAGS_32 : 0);
	if (!iopl3) {
		if ((flags & RFLAGS_TF) || ((flags & RFLAGS_IF) && (c->s.rflags & RFLAGS_VIP)))
			sys_fault(c, X86_GP, 0);
		mask = FLAGS_ALWAYS | RFLAGS_VIF;
		flags = (flags & ~RFLAGS_VIF) | (flags & RFLAGS_IF ? RFLAGS_VIF : 0);
	}
	unblock_nmi(c);
	stk_commit(c, &k);
	commit_flags(c, flags, mask);
	seg_paragraph(c, X86_CS, cs);
	c->s.rip = ip;
	x86_update_mode(c);
}

/* NT set: back to the task that the current TSS links to. */
static void iret_task(struct x86_cpu *c)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	struct desc d;
	uint16_t sel;

	if (sys_lma(c))
		sys_fault(c, X86_GP, 0);
	sel = (uint16_t)x86_ld_sys(c, tr->base & 0xffffffff, 2);
	if ((sel & 4) || !desc_read(c, sel, &d))
		sys_fault(c, X86_TS, sel);
	if (!desc_is_system(&d) ||
	    (desc_type(&d) != SYS_TSS16_BUSY && desc_type(&d) != SYS_TSS32_BUSY))
		sys_fault(c, X86_TS, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_NP, sel);
	task_switch(c, sel, &d, TASK_IRET, task_next_rip(c), x86_rflags(c) & ~RFLAGS_NT);
}

/* From CPL 0 to virtual-8086 mode: nine doublewords in all, of which three are off k already. */
static void iret_to_v86(struct x86_cpu *c, struct stk *k, uint64_t ip, uint16_t cs, uint64_t flags)
{
	static const enum x86_sreg order[] = {X86_SS, X86_ES, X86_DS, X86_FS, X86_GS};
	uint64_t sp = stk_pop(c, k, 4);
	uint16_t sel[ARRAY_SIZE(order)];

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		sel[i] = (uint16_t)stk_pop(c, k, 4);
	if (ip > 0xffff)
		sys_fault(c, X86_GP, 0);
	commit_flags(c, flags, FLAGS_REAL | RFLAGS_VM | RFLAGS_VIF | RFLAGS_VIP);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		c->s.seg[order[i]] = seg_v86(sel[i]);
	c->s.seg[X86_CS] = seg_v86(cs);
	c->s.gpr[X86_RSP] = sp;
	c->s.rip = ip;
	x86_update_mode(c);
}

/* Which flags a protected-mode IRET at this CPL and IOPL may change. */
static uint64_t protected_mask(const struct x86_cpu *c, unsigned opsize)
{
	unsigned cpl = x86_cpl(&c->s), iopl = (unsigned)bits_get(c->s.rflags, 13, 12);
	uint64_t mask = FLAGS_ALWAYS;

	if (opsize != 2)
		mask |= FLAGS_32;
	if (cpl <= iopl)
		mask |= RFLAGS_IF;
	if (cpl == 0)
		mask |= RFLAGS_IOPL | (opsize != 2 ? RFLAGS_VIF | RFLAGS_VIP : 0);
	return mask;
}

static void iret_protected(struct x86_cpu *c, struct stk *k, uint64_t ip, uint16_t sel,
			   uint64_t flags, unsigned opsize)
{
	uint64_t mask = protected_mask(c, opsize), sp;
	unsigned cpl = sel_rpl(sel);
	bool code64, outer, stack;
	struct x86_segment cs, ss;
	struct stk to;

	xfer_check_return(c, sel, &cs);
	code64 = sys_lma(c) && (cs.attr & SEG_L);
	outer = cpl > x86_cpl(&c->s);
	stack = outer || sys_code64(c);
	if (stack) {
		sp = stk_pop(c, k, opsize);
		xfer_check_stack(c, (uint16_t)stk_pop(c, k, opsize), cpl, code64, &ss);
	}
	xfer_check_rip(c, &cs, ip);
	if (stack) {
		stk_init(c, &to, &ss, sp, cpl, code64);
		c->s.seg[X86_SS] = ss;
		stk_commit(c, &to);
	} else {
		stk_commit(c, k);
	}
	commit_flags(c, flags, mask);
	c->s.seg[X86_CS] = cs;
	c->s.rip = ip;
	if (outer)
		seg_drop_inner(c);
	x86_update_mode(c);
}

void x86_iret(struct x86_cpu *c, unsigned opsize)
{
	uint64_t ip, flags;
	uint16_t sel;
	struct stk k;

	if (c->s.rflags & RFLAGS_VM) {
		iret_v86(c, opsize);
		return;
	}
	unblock_nmi(c);
	if (!(c->s.cr0 & CR0_PE)) {
		iret_real(c, opsize);
		return;
	}
	if (c->s.rflags & RFLAGS_NT) {
		iret_task(c);
		return;
	}
	stk_current(c, &k);
	ip = stk_pop(c, &k, opsize);
	sel = (uint16_t)stk_pop(c, &k, opsize);
	flags = stk_pop(c, &k, opsize);
	if ((flags & RFLAGS_VM) && opsize == 4 && !sys_lma(c) && x86_cpl(&c->s) == 0)
		iret_to_v86(c, &k, ip, sel, flags);
	else
		iret_protected(c, &k, ip, sel, flags, opsize);
}
