/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hardware task switches (SDM 3A 7.3), by JMP, CALL, IRET, interrupts and exceptions; never in IA-32e
 * mode.
 *
 * Two halves.  Up to the commit point everything that can fault is done in the old task: the new TSS
 * is read whole, the old one written, the link and the busy bits set; a fault there leaves the old
 * task running (what was written to its TSS is written again when the switch is retried).  From the
 * commit point the new task runs: its registers are loaded with every segment register null, and then
 * LDTR, CS, SS and the data segments are checked in this order; a fault is raised in the new task at
 * its first instruction.
 *
 *	offset	32-bit TSS			16-bit TSS
 *	0	link				link
 *	4..	ESP0 SS0 ESP1 SS1 ESP2 SS2	2: SP0 SS0 SP1 SS1 SP2 SS2
 *	1c	CR3
 *	20 24	EIP EFLAGS			e 10: IP FLAGS
 *	28..	EAX ECX EDX EBX ESP EBP ESI EDI	12..: AX CX DX BX SP BP SI DI
 *	48..	ES CS SS DS FS GS		22..: ES CS SS DS
 *	60	LDT				2a: LDT
 *	64 66	T bit, I/O map base
 */
#include "x86/decode.h"
#include "x86/sys_int.h"

#define TSS32_LIMIT 0x67
#define TSS16_LIMIT 0x2b

/* What a TSS says of its task. */
struct task {
	bool wide; /* a 32-bit TSS */
	uint32_t cr3, eip, eflags;
	uint32_t gpr[8];
	uint16_t sel[6]; /* by enum x86_sreg */
	uint16_t ldt;
	bool trap;
};

uint64_t task_next_rip(struct x86_cpu *c)
{
	uint64_t mask = c->mode & X86_MODE_CS32 ? 0xffffffff : 0xffff;
	struct x86_decoded d;
	uint8_t bytes[X86_INSN_MAX];
	size_t n = 0;

	while (n < sizeof(bytes)) {
		uint64_t rip = (c->s.rip + n) & mask;

		bytes[n++] = x86_fetch_byte(c, (c->s.seg[X86_CS].base + rip) & 0xffffffff);
		if (x86_decode(&d, NULL, c->mode, bytes, n) == X86_DECODE_OK)
			return (c->s.rip + d.len) & mask;
	}
	return c->s.rip;
}

static uint64_t tss_ld(struct x86_cpu *c, uint64_t base, uint32_t off, unsigned size)
{
	return x86_ld_sys(c, (base + off) & 0xffffffff, size);
}

static void tss_st(struct x86_cpu *c, uint64_t base, uint32_t off, uint64_t val, unsigned size)
{
	x86_st_sys(c, (base + off) & 0xffffffff, val & mask_size(size), size);
}

static void read_tss32(struct x86_cpu *c, uint64_t base, struct task *t)
{
	t->wide = true;
	t->cr3 = (uint32_t)tss_ld(c, base, 0x1c, 4);
	t->eip = (uint32_t)tss_ld(c, base, 0x20, 4);
	t->eflags = (uint32_t)tss_ld(c, base, 0x24, 4);
	for (unsigned i = 0; i < 8; i++)
		t->gpr[i] = (uint32_t)tss_ld(c, base, 0x28 + 4 * i, 4);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		t->sel[i] = (uint16_t)tss_ld(c, base, 0x48 + 4 * i, 2);
	t->ldt = (uint16_t)tss_ld(c, base, 0x60, 2);
	t->trap = tss_ld(c, base, 0x64, 1) & 1;
}

static void read_tss16(struct x86_cpu *c, uint64_t base, struct task *t)
{
	*t = (struct task){.wide = false};
	t->eip = (uint32_t)tss_ld(c, base, 0x0e, 2);
	t->eflags = (uint32_t)tss_ld(c, base, 0x10, 2);
	for (unsigned i = 0; i < 8; i++)
		t->gpr[i] = (uint32_t)tss_ld(c, base, 0x12 + 2 * i, 2) | 0xffff0000;
	for (unsigned i = X86_ES; i <= X86_DS; i++)
		t->sel[i] = (uint16_t)tss_ld(c, base, 0x22 + 2 * i, 2);
	t->ldt = (uint16_t)tss_ld(c, base, 0x2a, 2);
}

/* Save the running task where TR points.  CR3 and LDT are not written. */
static void write_tss(struct x86_cpu *c, uint64_t next, uint64_t flags)
{
	uint64_t base = c->s.seg[X86_TR].base;

	if (SEG_TYPE(c->s.seg[X86_TR].attr) & 8) {
		tss_st(c, base, 0x20, next, 4);
		tss_st(c, base, 0x24, flags, 4);
		for (unsigned i = 0; i < 8; i++)
			tss_st(c, base, 0x28 + 4 * i, c->s.gpr[i], 4);
		for (unsigned i = X86_ES; i <= X86_GS; i++)
			tss_st(c, base, 0x48 + 4 * i, c->s.seg[i].sel, 2);
		return;
	}
	tss_st(c, base, 0x0e, next, 2);
	tss_st(c, base, 0x10, flags, 2);
	for (unsigned i = 0; i < 8; i++)
		tss_st(c, base, 0x12 + 2 * i, c->s.gpr[i], 2);
	for (unsigned i = X86_ES; i <= X86_DS; i++)
		tss_st(c, base, 0x22 + 2 * i, c->s.seg[i].sel, 2);
}

uint16_t task_gate_target(struct x86_cpu *c, const struct desc *gate, struct desc *tss)
{
	uint16_t sel = (uint16_t)(gate->lo >> 16);

	if ((sel & 4) || !desc_read(c, sel, tss) || !desc_is_system(tss) ||
	    (desc_type(tss) != SYS_TSS16 && desc_type(tss) != SYS_TSS32))
		sys_fault(c, X86_GP, sel);
	if (!desc_present(tss))
		sys_fault(c, X86_NP, sel);
	return sel;
}

/* After the commit point: LDTR. */
static void load_ldt(struct x86_cpu *c, uint16_t sel)
{
	struct desc d;

	c->s.seg[X86_LDTR] = seg_null(sel);
	if (sel_null(sel))
		return;
	if ((sel & 4) || !desc_read(c, sel, &d) || !desc_is_system(&d) ||
	    desc_type(&d) != SYS_LDT || !desc_present(&d))
		sys_fault(c, X86_TS, sel);
	c->s.seg[X86_LDTR] = seg_from_desc(sel, &d);
}

static void load_cs(struct x86_cpu *c, uint16_t sel)
{
	struct desc d;

	if (sel_null(sel) || !desc_read(c, sel, &d) || !desc_is_code(&d))
		sys_fault(c, X86_TS, sel);
	if (desc_conforming(&d) ? desc_dpl(&d) > sel_rpl(sel) : desc_dpl(&d) != sel_rpl(sel))
		sys_fault(c, X86_TS, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_NP, sel);
	desc_mark_accessed(c, &d);
	c->s.seg[X86_CS] = seg_from_desc(sel, &d);
}

static void load_ss(struct x86_cpu *c, uint16_t sel)
{
	unsigned cpl = x86_cpl(&c->s);
	struct desc d;

	if (sel_null(sel) || !desc_read(c, sel, &d) || !desc_writable_data(&d) ||
	    sel_rpl(sel) != cpl || desc_dpl(&d) != cpl)
		sys_fault(c, X86_TS, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_SS_FAULT, sel);
	desc_mark_accessed(c, &d);
	c->s.seg[X86_SS] = seg_from_desc(sel, &d);
}

static void load_data(struct x86_cpu *c, enum x86_sreg sreg, uint16_t sel)
{
	struct desc d;
	unsigned dpl;

	if (sel_null(sel))
		return;
	if (!desc_read(c, sel, &d) || desc_is_system(&d) || (desc_is_code(&d) && !(d.hi & BIT(9))))
		sys_fault(c, X86_TS, sel);
	dpl = desc_dpl(&d);
	if (!(desc_is_code(&d) && desc_conforming(&d)) &&
	    (sel_rpl(sel) > dpl || x86_cpl(&c->s) > dpl))
		sys_fault(c, X86_TS, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_NP, sel);
	desc_mark_accessed(c, &d);
	c->s.seg[sreg] = seg_from_desc(sel, &d);
}

/* The new task's segment registers, checked one by one; it runs already. */
static void load_segments(struct x86_cpu *c, const struct task *t)
{
	load_ldt(c, t->ldt);
	if (t->eflags & RFLAGS_VM)
		return;
	load_cs(c, t->sel[X86_CS]);
	x86_update_mode(c);
	load_ss(c, t->sel[X86_SS]);
	load_data(c, X86_DS, t->sel[X86_DS]);
	load_data(c, X86_ES, t->sel[X86_ES]);
	load_data(c, X86_FS, t->sel[X86_FS]);
	load_data(c, X86_GS, t->sel[X86_GS]);
	x86_update_mode(c);
}

/* The commit point: registers of the new task, segment registers null (or V86's). */
static void load_registers(struct x86_cpu *c, const struct task *t, uint64_t flags)
{
	c->s.rip = t->eip;
	x86_set_rflags(c, flags & (RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL |
				   RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF |
				   RFLAGS_VIP | RFLAGS_ID));
	for (unsigned i = 0; i < 8; i++)
		c->s.gpr[i] = t->gpr[i];
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		c->s.seg[i] = flags & RFLAGS_VM ? seg_v86(t->sel[i]) : seg_null(t->sel[i]);
	if (!(flags & RFLAGS_VM)) {
		/* CPL is the RPL of CS from here on, whatever becomes of SS. */
		c->s.seg[X86_SS].attr = (uint16_t)(sel_rpl(t->sel[X86_CS]) << 5);
	}
	c->s.cr0 |= CR0_TS;
	c->s.dr7 &= ~UINT64_C(0x155); /* L0-L3, LE */
	x86_update_mode(c);
}

/* Busy bits and the link (SDM 3A 7.3, steps 4 to 9, table 7-2). */
static void mark_tasks(struct x86_cpu *c, struct desc *to, enum task_reason reason,
		       uint64_t to_base)
{
	uint16_t from = c->s.seg[X86_TR].sel;
	struct desc old;

	if (reason == TASK_CALL || reason == TASK_INT)
		tss_st(c, to_base, 0, from, 2);
	if (reason != TASK_IRET)
		desc_set_busy(c, to, true);
	if ((reason == TASK_JMP || reason == TASK_IRET) && !sel_null(from) &&
	    desc_read(c, from & 0xfffb, &old))
		desc_set_busy(c, &old, false);
}

void task_switch(struct x86_cpu *c, uint16_t sel, struct desc *d, enum task_reason reason,
		 uint64_t next, uint64_t flags)
{
	bool wide = desc_type(d) & 8;
	struct x86_segment tr;
	struct task t;
	uint64_t base = desc_base(d);

	if (desc_limit(d) < (wide ? TSS32_LIMIT : TSS16_LIMIT))
		sys_fault(c, X86_TS, sel);
	if (wide)
		read_tss32(c, base, &t);
	else
		read_tss16(c, base, &t);
	write_tss(c, next, flags);
	mark_tasks(c, d, reason, base);
	if (wide && (c->s.cr0 & CR0_PG))
		x86_set_cr(c, 3, t.cr3);

	tr = seg_from_desc(sel, d);
	tr.attr |= SYS_TSS_BUSY;
	c->s.seg[X86_TR] = tr;
	flags = t.eflags;
	if (reason == TASK_CALL || reason == TASK_INT)
		flags |= RFLAGS_NT;
	load_registers(c, &t, flags);
	load_segments(c, &t);
	xfer_check_rip(c, &c->s.seg[X86_CS], c->s.rip);
	if (t.trap) {
		c->s.dr6 |= DR6_BT;
		c->s.exc_pending = true;
		c->s.exc_vector = X86_DB;
		c->s.exc_has_error = false;
	}
}
