/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System instructions: the privilege checks that belong to the instruction, then x86/sys.h.  All
 * end the block (mode, events or translations may be others afterwards) unless they visibly cannot
 * change any of it.
 */
#include "engine/interp/ops.h"
#include "x86/cpuid.h"

#define RAX c->s.gpr[X86_RAX]
#define RBX c->s.gpr[X86_RBX]
#define RCX c->s.gpr[X86_RCX]
#define RDX c->s.gpr[X86_RDX]
#define RSP c->s.gpr[X86_RSP]

static void need_cpl0(struct x86_cpu *c)
{
	if (c->mode & X86_MODE_PE && x86_cpl(&c->s))
		x86_raise_err(c, X86_GP, 0);
}

/* Not recognized in real-address and virtual-8086 mode. */
static void need_protected(struct x86_cpu *c)
{
	if (!(c->mode & X86_MODE_PE) || c->mode & X86_MODE_V86)
		x86_raise(c, X86_UD);
}

/* UMIP: SGDT SIDT SLDT STR SMSW at CPL > 0 (SDM 3A 2.5). */
static void need_no_umip(struct x86_cpu *c)
{
	if (c->s.cr4 & CR4_UMIP)
		need_cpl0(c);
}

static void write_gpr(struct x86_cpu *c, unsigned off, uint64_t v, unsigned size)
{
	if (size == 2)
		REG(uint16_t, off) = (uint16_t)v;
	else
		REG(uint64_t, off) = size == 4 ? (uint32_t)v : v;
}

/* Branches out of x86/sys.h have set s.rip: the instruction is done, go on there. */
static const struct insn *branched(struct x86_cpu *c, const struct insn *i)
{
	c->icount += interp_index(c, i) + 1;
	return interp_resume(c, i);
}

/* --- interrupt flag (SDM 2 CLI, STI; virtual interrupts: SDM 3B 20.3) --- */
enum if_how { IF_REAL, IF_VIRTUAL };

static enum if_how if_allowed(struct x86_cpu *c)
{
	unsigned iopl = (unsigned)bits_get(c->s.rflags, 13, 12);

	if (!(c->mode & X86_MODE_PE) || (!(c->mode & X86_MODE_V86) && x86_cpl(&c->s) <= iopl) ||
	    (c->mode & X86_MODE_V86 && iopl == 3))
		return IF_REAL;
	if (c->mode & X86_MODE_V86 ? !!(c->s.cr4 & CR4_VME)
				   : (c->s.cr4 & CR4_PVI) && x86_cpl(&c->s) == 3)
		return IF_VIRTUAL;
	x86_raise_err(c, X86_GP, 0);
}

OP(op_cli)
{
	interp_sync(c, i);
	c->s.rflags &= ~(if_allowed(c) == IF_REAL ? RFLAGS_IF : RFLAGS_VIF);
	NEXT_LOOP;
}

OP(op_sti)
{
	interp_sync(c, i);
	if (if_allowed(c) == IF_VIRTUAL) {
		if (c->s.rflags & RFLAGS_VIP)
			x86_raise_err(c, X86_GP, 0);
		c->s.rflags |= RFLAGS_VIF;
		NEXT_LOOP;
	}
	if (c->s.rflags & RFLAGS_IF)
		NEXT_LOOP;
	c->s.rflags |= RFLAGS_IF;
	c->s.sti_shadow = true;
	return interp_leave(c, i);
}

OP(op_pushf)
{
	uint64_t v = x86_rflags(c) & ~(RFLAGS_RF | RFLAGS_VM);
	unsigned size = insn_opsize(i);

	interp_sync(c, i);
	if (c->mode & X86_MODE_V86 && (v & RFLAGS_IOPL) != RFLAGS_IOPL) {
		if (!(c->s.cr4 & CR4_VME) || size != 2)
			x86_raise_err(c, X86_GP, 0);
		v = (v & ~RFLAGS_IF) | RFLAGS_IOPL | (v & RFLAGS_VIF ? RFLAGS_IF : 0);
	}
	x86_push(c, v, size);
	NEXT_SLOW;
}

/* What POPF may change, by privilege (SDM 2 POPF). */
static uint64_t popf_mask(struct x86_cpu *c)
{
	uint64_t m = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID;
	unsigned iopl = (unsigned)bits_get(c->s.rflags, 13, 12);

	if (c->mode & X86_MODE_V86)
		return m | RFLAGS_IF;
	if (!(c->mode & X86_MODE_PE) || x86_cpl(&c->s) == 0)
		return m | RFLAGS_IF | RFLAGS_IOPL;
	return x86_cpl(&c->s) <= iopl ? m | RFLAGS_IF : m;
}

static uint64_t popf_virtual(struct x86_cpu *c, uint64_t v, unsigned size)
{
	bool pending = c->s.rflags & RFLAGS_VIP;

	if (!(c->s.cr4 & CR4_VME) || size != 2 || (v & RFLAGS_TF) || ((v & RFLAGS_IF) && pending))
		x86_raise_err(c, X86_GP, 0);
	return (v & ~(RFLAGS_IF | RFLAGS_VIF)) | (v & RFLAGS_IF ? RFLAGS_VIF : 0);
}

OP(op_popf)
{
	uint64_t sp = RSP, v, old = x86_rflags(c), mask = popf_mask(c), changed;
	unsigned size = insn_opsize(i);

	v = interp_stack_ld(c, i, sp, size);
	if (c->mode & X86_MODE_V86 && (old & RFLAGS_IOPL) != RFLAGS_IOPL) {
		v = popf_virtual(c, v, size);
		mask = (mask & ~RFLAGS_IF) | RFLAGS_VIF;
	}
	if (size == 2)
		mask &= 0xffff | RFLAGS_VIF;
	interp_stack_add(c, &sp, (int)size);
	RSP = sp;
	v = ((old & ~mask) | (v & mask)) & ~RFLAGS_RF;
	x86_set_rflags(c, v);
	changed = old ^ v;
	if (changed & (RFLAGS_TF | RFLAGS_AC))
		x86_update_mode(c);
	if (changed & (RFLAGS_TF | RFLAGS_IF | RFLAGS_AC))
		return interp_leave(c, i);
	NEXT_LOOP;
}

OP(op_stac)
{
	interp_sync(c, i);
	if (x86_cpl(&c->s) || !(c->mode & X86_MODE_PE))
		x86_raise(c, X86_UD);
	c->s.rflags |= RFLAGS_AC;
	x86_update_ac(c);
	NEXT_LOOP;
}

OP(op_clac)
{
	interp_sync(c, i);
	if (x86_cpl(&c->s) || !(c->mode & X86_MODE_PE))
		x86_raise(c, X86_UD);
	c->s.rflags &= ~RFLAGS_AC;
	x86_update_ac(c);
	NEXT_LOOP;
}

OP(op_hlt)
{
	interp_sync(c, i);
	need_cpl0(c);
	c->s.mp_state = X86_MP_HALTED;
	return interp_leave(c, i);
}

/* --- transfers --- */
/* src: enum x86_int_kind; imm: vector */
OP(op_int)
{
	interp_sync(c, i);
	x86_int_soft(c, (uint8_t)i->imm, (enum x86_int_kind)i->src, interp_next_rip(c, i));
	return branched(c, i);
}

OP(op_into)
{
	if (!(c->fl & FL_OF))
		NEXT_LOOP;
	interp_sync(c, i);
	/* Like INT3, and unlike INT n, IOPL is not asked in virtual-8086 mode. */
	x86_int_soft(c, X86_OF, X86_INT_SOFT_BP, interp_next_rip(c, i));
	return branched(c, i);
}

OP(op_iret)
{
	interp_sync(c, i);
	x86_iret(c, insn_opsize(i));
	return branched(c, i);
}

OP(op_syscall)
{
	interp_sync(c, i);
	x86_syscall(c, interp_next_rip(c, i));
	return branched(c, i);
}

OP(op_sysret)
{
	interp_sync(c, i);
	x86_sysret(c, insn_opsize(i) == 8 ? 8 : 4);
	return branched(c, i);
}

OP(op_sysenter)
{
	interp_sync(c, i);
	x86_sysenter(c);
	return branched(c, i);
}

OP(op_sysexit)
{
	interp_sync(c, i);
	x86_sysexit(c, insn_opsize(i) == 8 ? 8 : 4);
	return branched(c, i);
}

/* Far pointers in the instruction: selector in dst, offset in imm. */
OP(op_jmp_far)
{
	interp_sync(c, i);
	x86_far_jmp(c, i->dst, (uint32_t)i->imm, insn_opsize(i));
	return branched(c, i);
}

OP(op_call_far)
{
	interp_sync(c, i);
	x86_far_call(c, i->dst, (uint32_t)i->imm, insn_opsize(i), interp_next_rip(c, i));
	return branched(c, i);
}

/* Far pointers in memory: offset of the operand size, then the selector. */
static uint16_t load_far(struct x86_cpu *c, const struct insn *i, uint64_t *off)
{
	unsigned size = insn_opsize(i);
	uint64_t va = interp_ea(c, i, size + 2, false);

	*off = interp_ld(c, i, va, size);
	return (uint16_t)interp_ld(c, i, va + size, 2);
}

OP(op_jmp_far_m)
{
	uint64_t off;
	uint16_t sel = load_far(c, i, &off);

	x86_far_jmp(c, sel, off, insn_opsize(i));
	return branched(c, i);
}

OP(op_call_far_m)
{
	uint64_t off;
	uint16_t sel = load_far(c, i, &off);

	x86_far_call(c, sel, off, insn_opsize(i), interp_next_rip(c, i));
	return branched(c, i);
}

OP(op_ret_far)
{
	interp_sync(c, i);
	x86_far_ret(c, insn_opsize(i), (uint16_t)i->imm);
	return branched(c, i);
}

/* --- segment registers.  imm: enum x86_sreg --- */
static const struct insn *load_sreg(struct x86_cpu *c, const struct insn *i, uint16_t sel)
{
	interp_sync(c, i);
	x86_load_seg(c, (enum x86_sreg)i->imm, sel);
	if (i->imm == X86_SS)
		c->s.movss_shadow = true;
	return interp_leave(c, i);
}

OP(op_mov_sreg_r)
{
	return load_sreg(c, i, S(uint16_t));
}

OP(op_mov_sreg_m)
{
	return load_sreg(c, i, (uint16_t)interp_ld(c, i, interp_ea(c, i, 2, false), 2));
}

OP(op_mov_r_sreg)
{
	write_gpr(c, i->dst, c->s.seg[i->imm].sel, insn_opsize(i));
	NEXT_LOOP;
}

OP(op_mov_m_sreg)
{
	interp_st(c, i, interp_ea(c, i, 2, true), c->s.seg[i->imm].sel, 2);
	NEXT_SLOW;
}

/* LDS LES LFS LGS LSS */
OP(op_load_far)
{
	uint64_t off;
	uint16_t sel = load_far(c, i, &off);

	x86_load_seg(c, (enum x86_sreg)i->imm, sel);
	write_gpr(c, i->dst, off, insn_opsize(i));
	return interp_leave(c, i);
}

/* --- descriptor tables --- */
static unsigned table_size(const struct x86_cpu *c)
{
	return c->mode & X86_MODE_CS64 ? 8 : 4;
}

/* imm: 0 GDTR, 1 IDTR */
OP(op_sgdt)
{
	const struct x86_table *t = i->imm ? &c->s.idtr : &c->s.gdtr;
	unsigned size = table_size(c);
	uint8_t buf[10];
	uint64_t va;

	interp_sync(c, i);
	need_no_umip(c);
	va = interp_ea(c, i, 2 + size, true);
	interp_canonical(c, i, va, 2 + size);
	put_le16(buf, t->limit);
	put_le64(buf + 2, t->base);
	x86_write_block(c, va, buf, 2 + size);
	NEXT_SLOW;
}

OP(op_lgdt)
{
	unsigned size = table_size(c);
	struct x86_table t;
	uint64_t va;

	interp_sync(c, i);
	need_cpl0(c);
	va = interp_ea(c, i, 2 + size, false);
	t.limit = (uint16_t)interp_ld(c, i, va, 2);
	t.base = interp_ld(c, i, va + 2, size);
	if (size == 4 && i->flags & INSN_O16)
		t.base &= 0xffffff;
	if (size == 8 && !x86_canonical(t.base))
		x86_raise_err(c, X86_GP, 0);
	*(i->imm ? &c->s.idtr : &c->s.gdtr) = t;
	return interp_leave(c, i);
}

/* SLDT, STR (imm: X86_LDTR, X86_TR) and SMSW (imm -1): what they store. */
static uint64_t system_word(struct x86_cpu *c, const struct insn *i)
{
	interp_sync(c, i);
	if (i->imm >= 0)
		need_protected(c);
	need_no_umip(c);
	return i->imm < 0 ? c->s.cr0 : c->s.seg[i->imm].sel;
}

OP(op_store_word_r)
{
	write_gpr(c, i->dst, system_word(c, i), insn_opsize(i));
	NEXT_LOOP;
}

OP(op_store_word_m)
{
	uint64_t v = system_word(c, i);

	interp_st(c, i, interp_ea(c, i, 2, true), v, 2);
	NEXT_SLOW;
}

/* LLDT, LTR, LMSW; dst 0: register src, 1: memory */
static uint16_t load_word(struct x86_cpu *c, const struct insn *i)
{
	return i->dst ? (uint16_t)interp_ld(c, i, interp_ea(c, i, 2, false), 2) : S(uint16_t);
}

OP(op_lldt)
{
	interp_sync(c, i);
	need_protected(c);
	need_cpl0(c);
	x86_lldt(c, load_word(c, i));
	return interp_leave(c, i);
}

OP(op_ltr)
{
	interp_sync(c, i);
	need_protected(c);
	need_cpl0(c);
	x86_ltr(c, load_word(c, i));
	return interp_leave(c, i);
}

OP(op_lmsw)
{
	interp_sync(c, i);
	need_cpl0(c);
	x86_lmsw(c, load_word(c, i));
	return interp_leave(c, i);
}

static void set_zf(struct x86_cpu *c, bool zf)
{
	c->fl = (uint16_t)((c->fl & ~FL_ZF) | (zf ? FL_ZF : 0));
}

/* LAR, LSL (imm bit 0); the selector is in src, or in memory (imm bit 1). */
OP(op_lar)
{
	uint32_t v = 0;
	uint16_t sel;
	bool ok;

	interp_sync(c, i);
	need_protected(c);
	sel = i->imm & 2 ? (uint16_t)interp_ld(c, i, interp_ea(c, i, 2, false), 2) : S(uint16_t);
	ok = i->imm & 1 ? x86_lsl(c, sel, &v) : x86_lar(c, sel, &v);
	if (ok)
		write_gpr(c, i->dst, v, insn_opsize(i));
	set_zf(c, ok);
	NEXT_SLOW;
}

/* imm: 0 VERR, 1 VERW */
OP(op_verr)
{
	uint16_t sel;

	interp_sync(c, i);
	need_protected(c);
	sel = load_word(c, i);
	set_zf(c, i->imm ? x86_verw(c, sel) : x86_verr(c, sel));
	NEXT_SLOW;
}

/* ARPL; dst 1: memory, else register imm; src: register with the RPL */
OP(op_arpl)
{
	uint16_t sel, rpl = S(uint16_t) & 3;
	bool raise;

	interp_sync(c, i);
	need_protected(c);
	if (i->dst) {
		/* A write is only a write when the RPL changes. */
		sel = (uint16_t)interp_ld(c, i, interp_ea(c, i, 2, false), 2);
	} else {
		sel = REG(uint16_t, i->imm);
	}
	raise = (sel & 3) < rpl;
	sel = raise ? (uint16_t)((sel & ~3) | rpl) : sel;
	if (raise && i->dst)
		interp_st(c, i, interp_ea(c, i, 2, true), sel, 2);
	else if (raise)
		REG(uint16_t, i->imm) = sel;
	set_zf(c, raise);
	NEXT_SLOW;
}

/* --- control and debug registers.  imm: number --- */
static unsigned cr_size(const struct x86_cpu *c)
{
	return c->mode & X86_MODE_CS64 ? 8 : 4;
}

OP(op_mov_r_cr)
{
	uint64_t v;

	interp_sync(c, i);
	need_cpl0(c);
	v = x86_get_cr(c, (unsigned)i->imm);
	write_gpr(c, i->dst, v, cr_size(c));
	NEXT_LOOP;
}

OP(op_mov_cr_r)
{
	interp_sync(c, i);
	need_cpl0(c);
	x86_set_cr(c, (unsigned)i->imm, cr_size(c) == 8 ? S(uint64_t) : S(uint32_t));
	return interp_leave(c, i);
}

OP(op_mov_r_dr)
{
	uint64_t v;

	interp_sync(c, i);
	need_cpl0(c);
	v = x86_get_dr(c, (unsigned)i->imm);
	write_gpr(c, i->dst, v, cr_size(c));
	NEXT_LOOP;
}

OP(op_mov_dr_r)
{
	interp_sync(c, i);
	need_cpl0(c);
	x86_set_dr(c, (unsigned)i->imm, cr_size(c) == 8 ? S(uint64_t) : S(uint32_t));
	return interp_leave(c, i);
}

OP(op_clts)
{
	interp_sync(c, i);
	need_cpl0(c);
	x86_set_cr(c, 0, c->s.cr0 & ~CR0_TS);
	return interp_leave(c, i);
}

OP(op_xgetbv)
{
	uint64_t v;

	interp_sync(c, i);
	if (!(c->s.cr4 & CR4_OSXSAVE))
		x86_raise(c, X86_UD);
	v = x86_xgetbv(c, (uint32_t)RCX);
	RAX = (uint32_t)v;
	RDX = v >> 32;
	NEXT_LOOP;
}

OP(op_xsetbv)
{
	interp_sync(c, i);
	if (!(c->s.cr4 & CR4_OSXSAVE))
		x86_raise(c, X86_UD);
	need_cpl0(c);
	x86_xsetbv(c, (uint32_t)RCX, (uint32_t)RAX | RDX << 32);
	return interp_leave(c, i);
}

/* --- translations and caches --- */
OP(op_invlpg)
{
	interp_sync(c, i);
	need_cpl0(c);
	/* The operand is an address: segment limits are not checked (SDM 2 INVLPG). */
	if (i->ak == AK_S)
		x86_invlpg(c, (uint32_t)(c->s.seg[i->seg].base + interp_off(c, i)));
	else
		x86_invlpg(c, interp_ea(c, i, 1, false));
	return interp_leave(c, i);
}

OP(op_invpcid)
{
	uint64_t type = c->mode & X86_MODE_CS64 ? S(uint64_t) : S(uint32_t), desc[2], va;

	interp_sync(c, i);
	if (c->mode & X86_MODE_V86)
		x86_raise_err(c, X86_GP, 0);
	need_cpl0(c);
	va = interp_ea(c, i, 16, false);
	interp_canonical(c, i, va, 16);
	x86_read_block(c, va, desc, 16);
	x86_invpcid(c, type, desc[0], desc[1]);
	return interp_leave(c, i);
}

/* INVD, WBINVD, WBNOINVD: caches here are always coherent. */
OP(op_wbinvd)
{
	interp_sync(c, i);
	need_cpl0(c);
	NEXT_LOOP;
}

/* --- identification, time, model-specific registers --- */
OP(op_cpuid)
{
	uint32_t out[4];

	interp_sync(c, i);
	x86_cpuid_query(c, (uint32_t)RAX, (uint32_t)RCX, out);
	RAX = out[0];
	RBX = out[1];
	RCX = out[2];
	RDX = out[3];
	NEXT_LOOP;
}

static void read_tsc(struct x86_cpu *c)
{
	uint64_t v;

	if (c->s.cr4 & CR4_TSD)
		need_cpl0(c);
	v = x86_rdtsc(c);
	RAX = (uint32_t)v;
	RDX = v >> 32;
}

OP(op_rdtsc)
{
	interp_sync(c, i);
	read_tsc(c);
	NEXT_LOOP;
}

OP(op_rdtscp)
{
	interp_sync(c, i);
	read_tsc(c);
	RCX = (uint32_t)c->s.tsc_aux;
	NEXT_LOOP;
}

OP(op_rdpid)
{
	write_gpr(c, i->dst, (uint32_t)c->s.tsc_aux, 8);
	NEXT_LOOP;
}

/* There are no performance counters. */
OP(op_rdpmc)
{
	interp_sync(c, i);
	x86_raise_err(c, X86_GP, 0);
}

OP(op_rdmsr)
{
	uint64_t v;

	interp_sync(c, i);
	need_cpl0(c);
	v = x86_rdmsr(c, (uint32_t)RCX);
	RAX = (uint32_t)v;
	RDX = v >> 32;
	NEXT_LOOP;
}

OP(op_wrmsr)
{
	interp_sync(c, i);
	need_cpl0(c);
	x86_wrmsr(c, (uint32_t)RCX, (uint32_t)RAX | RDX << 32);
	return interp_leave(c, i);
}

OP(op_vmcall)
{
	interp_sync(c, i);
	x86_hypercall(c);
	return interp_leave(c, i);
}

/* --- FS and GS --- */
OP(op_swapgs)
{
	uint64_t gs = c->s.seg[X86_GS].base;

	interp_sync(c, i);
	need_cpl0(c);
	c->s.seg[X86_GS].base = c->s.kernel_gs_base;
	c->s.kernel_gs_base = gs;
	NEXT_LOOP;
}

/* imm: X86_FS or X86_GS */
OP(op_rdbase)
{
	interp_sync(c, i);
	if (!(c->s.cr4 & CR4_FSGSBASE))
		x86_raise(c, X86_UD);
	write_gpr(c, i->dst, c->s.seg[i->imm].base, insn_opsize(i));
	NEXT_LOOP;
}

OP(op_wrbase)
{
	uint64_t v = insn_opsize(i) == 4 ? S(uint32_t) : S(uint64_t);

	interp_sync(c, i);
	if (!(c->s.cr4 & CR4_FSGSBASE))
		x86_raise(c, X86_UD);
	if (!x86_canonical(v))
		x86_raise_err(c, X86_GP, 0);
	c->s.seg[i->imm].base = v;
	NEXT_LOOP;
}
