/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generate the host code of one stub.
 *
 *	push callee-saved registers that are touched
 *	C = cpu (RDI), M = operand (RSI), moved to registers the instruction does not name
 *	[x87: fxrstor64 guest image] load xmm/ymm read or partly written; [ldmxcsr guest]
 *	[flags: AL = OF, AH = the rest; add al,0x7f; sahf]
 *	load general registers (RSP renamed to a free one)
 *	the instruction, ModRM.rm = [M]
 *	store general registers written; [seto al; lahf; store]
 *	[stmxcsr] store xmm/ymm written; [fxsave64; fninit]; [ldmxcsr 0x1f80]; [vzeroupper]
 *	xor eax,eax; pop; ret
 *   fault exit (EAX = what the signal handler put there): host state back; pop; ret
 *
 * Nothing between the instruction and the store of the flags changes flags.  VEX-encoded
 * instructions get VEX loads and stores, others legacy ones, so no transition is mixed.
 */
#include <stddef.h>
#include <string.h>
#include "x86/bounce_int.h"

struct emit {
	uint8_t *p, *end;
	bool full;
};

/* The host's registers while the stub runs. */
struct emit_plan {
	unsigned cpu, mem; /* pointer registers */
	unsigned rsp_as; /* stands for the guest's RSP */
	uint16_t host_used; /* all registers the stub writes */
};

#define OFF_GPR(n) (offsetof(struct x86_cpu, s.gpr) + 8 * (n))
#define OFF_XMM(n) (offsetof(struct x86_cpu, s.xsave.xmm) + 16 * (n))
#define OFF_YMMH(n) (offsetof(struct x86_cpu, s.xsave.ymmh) + 16 * (n))
#define OFF_MXCSR offsetof(struct x86_cpu, s.xsave.mxcsr)
#define CALLEE_SAVED (BIT(X86_RBX) | BIT(X86_RBP) | BIT(12) | BIT(13) | BIT(14) | BIT(15))

static void e8(struct emit *e, unsigned v)
{
	if (e->p < e->end)
		*e->p++ = (uint8_t)v;
	else
		e->full = true;
}

static void e32(struct emit *e, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		e8(e, v >> (8 * i));
}

/* ModRM (and SIB) for [base + disp]. */
static void emit_modrm_mem(struct emit *e, unsigned reg, unsigned base, size_t disp)
{
	unsigned mod = disp == 0 && (base & 7) != X86_RBP ? 0 : disp < 0x80 ? 1 : 2;

	e8(e, mod << 6 | (reg & 7) << 3 | (base & 7));
	if ((base & 7) == X86_RSP)
		e8(e, 0x24);
	if (mod == 1)
		e8(e, (unsigned)disp);
	else if (mod == 2)
		e32(e, (uint32_t)disp);
}

/* 64-bit op r, [base+disp] */
static void emit_rm64(struct emit *e, unsigned op, unsigned reg, unsigned base, size_t disp)
{
	e8(e, 0x48 | (reg >> 3) << 2 | base >> 3);
	e8(e, op);
	emit_modrm_mem(e, reg, base, disp);
}

/* 0F op with optional REX */
static void emit_0f(struct emit *e, unsigned rexw, unsigned op, unsigned reg, unsigned base,
		    size_t disp)
{
	unsigned rex = rexw << 3 | (reg >> 3) << 2 | base >> 3;

	if (rex)
		e8(e, 0x40 | rex);
	e8(e, 0x0f);
	e8(e, op);
	emit_modrm_mem(e, reg, base, disp);
}

static void emit_vex_prefix(struct emit *e, unsigned map, unsigned pp, unsigned w, unsigned l,
			    unsigned reg, unsigned rm, unsigned vvvv)
{
	e8(e, 0xc4);
	e8(e, (~reg >> 3 & 1) << 7 | 1 << 6 | (~rm >> 3 & 1) << 5 | map);
	e8(e, w << 7 | (~vvvv & 0xf) << 3 | l << 2 | pp);
}

static void emit_vector_load(struct emit *e, const struct bounce_stub *s, unsigned cpu)
{
	const struct bounce_regs *r = &s->regs;

	for (unsigned n = 0; n < 16; n++) {
		if (!(r->xmm_in & BIT(n)))
			continue;
		if (!s->key.vex) {
			emit_0f(e, 0, 0x10, n, cpu, OFF_XMM(n));
			continue;
		}
		emit_vex_prefix(e, 1, 0, 0, 0, n, cpu, 0);
		e8(e, 0x10);
		emit_modrm_mem(e, n, cpu, OFF_XMM(n));
		if (r->ymm_in & BIT(n)) { /* vinsertf128 n, n, [ymmh], 1 */
			emit_vex_prefix(e, 3, 1, 0, 1, n, cpu, n);
			e8(e, 0x18);
			emit_modrm_mem(e, n, cpu, OFF_YMMH(n));
			e8(e, 1);
		}
	}
}

static void emit_zero_upper(struct emit *e, unsigned n, unsigned cpu)
{
	for (unsigned half = 0; half < 16; half += 8) { /* mov qword [ymmh], 0 */
		e8(e, 0x48 | cpu >> 3);
		e8(e, 0xc7);
		emit_modrm_mem(e, 0, cpu, OFF_YMMH(n) + half);
		e32(e, 0);
	}
}

static void emit_vector_store(struct emit *e, const struct bounce_stub *s, unsigned cpu)
{
	const struct bounce_regs *r = &s->regs;

	for (unsigned n = 0; n < 16; n++) {
		if (!(r->xmm_out & BIT(n)))
			continue;
		if (!s->key.vex) {
			emit_0f(e, 0, 0x11, n, cpu, OFF_XMM(n));
			continue;
		}
		emit_vex_prefix(e, 1, 0, 0, 0, n, cpu, 0);
		e8(e, 0x11);
		emit_modrm_mem(e, n, cpu, OFF_XMM(n));
		if (r->ymm_out & BIT(n)) { /* vextractf128 [ymmh], n, 1 */
			emit_vex_prefix(e, 3, 1, 0, 1, n, cpu, 0);
			e8(e, 0x19);
			emit_modrm_mem(e, n, cpu, OFF_YMMH(n));
			e8(e, 1);
		} else {
			emit_zero_upper(e, n, cpu);
		}
	}
}

static unsigned host_reg(const struct emit_plan *p, unsigned guest)
{
	return guest == X86_RSP ? p->rsp_as : guest;
}

/* Is the field a general register (and so subject to renaming)?  Told by the key's masks: fields
 * that hold opcode bits or other register files are flagged in the upper bit by bounce_prepare. */
static unsigned field_reg(const struct emit_plan *p, unsigned field)
{
	if (field & 0x80) /* not a general register */
		return field & 0x1f;
	return host_reg(p, field);
}

static void emit_guest_insn(struct emit *e, struct bounce_stub *s, const struct emit_plan *p)
{
	const struct bounce_key *k = &s->key;
	unsigned reg = field_reg(p, k->reg), rm = k->mem ? p->mem : field_reg(p, k->rm);
	unsigned pp = k->prep == 0xf3 ? 2 : k->prep == 0xf2 ? 3 : k->p66;
	unsigned rex;

	if (k->vex) {
		emit_vex_prefix(e, k->map, pp, k->w, k->l, reg, rm, field_reg(p, k->vvvv));
	} else {
		if (k->p66)
			e8(e, 0x66);
		if (k->prep)
			e8(e, k->prep);
		rex = k->w << 3 | (reg >> 3) << 2 | rm >> 3;
		if (rex || k->rex_low)
			e8(e, 0x40 | rex);
		if (k->map)
			e8(e, 0x0f);
		if (k->map == 2)
			e8(e, 0x38);
		if (k->map == 3)
			e8(e, 0x3a);
	}
	e8(e, k->opcode);
	if (k->mem)
		emit_modrm_mem(e, reg, rm, 0);
	else if (k->has_modrm)
		e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
	if (k->has_is4)
		e8(e, (unsigned)(k->is4 & 0xf) << 4);
	for (unsigned i = 0; i < k->imm_len; i++)
		e8(e, k->imm[i]);
}

/* A host register that is in neither mask, from a list of preference. */
static unsigned pick(uint16_t used, const uint8_t *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!(used & BIT(list[i])))
			return list[i];
	bug_die(__FILE__, __LINE__, "no free host register");
	return 0;
}

static void plan_make(struct emit_plan *p, const struct bounce_stub *s)
{
	/* RSI is not for the cpu pointer nor RDI for the operand: they hold the other at entry. Low
	 * ones first, since an instruction with AH..BH takes no REX prefix. */
	static const uint8_t cpu_list[] = {X86_RDI, X86_RDX, X86_RCX, 8, 9, 10, 11, X86_RBX};
	static const uint8_t mem_list[] = {X86_RSI, X86_RDX, X86_RCX, X86_RBX, X86_RBP};
	static const uint8_t rsp_list[] = {X86_RDX, X86_RCX, 8, 9, 10, 11, X86_RBX};
	uint16_t used = s->regs.gpr & ~BIT(X86_RSP);

	p->mem = s->key.mem ? pick(used, mem_list, ARRAY_SIZE(mem_list)) : X86_RSI;
	if (s->key.mem)
		used |= BIT(p->mem);
	p->cpu = pick(used, cpu_list, ARRAY_SIZE(cpu_list));
	used |= BIT(p->cpu);
	p->rsp_as = X86_RSP;
	if (s->regs.gpr & BIT(X86_RSP)) {
		p->rsp_as = pick(used, rsp_list, ARRAY_SIZE(rsp_list));
		used |= BIT(p->rsp_as);
	}
	p->host_used = used;
}

static void emit_pops(struct emit *e, uint16_t saved)
{
	for (int n = 15; n >= 0; n--) {
		if (!(saved & BIT(n)))
			continue;
		if (n >= 8)
			e8(e, 0x41);
		e8(e, 0x58 | (n & 7));
	}
	e8(e, 0xc3);
}

static void emit_mov_rr(struct emit *e, unsigned dst, unsigned src)
{
	if (dst == src)
		return;
	e8(e, 0x48 | (src >> 3) << 2 | dst >> 3);
	e8(e, 0x89);
	e8(e, 0xc0 | (src & 7) << 3 | (dst & 7));
}

static void emit_entry(struct emit *e, const struct bounce_stub *s, const struct emit_plan *p,
		       uint16_t saved)
{
	const struct bounce_regs *r = &s->regs;

	for (unsigned n = 0; n < 16; n++) {
		if (!(saved & BIT(n)))
			continue;
		if (n >= 8)
			e8(e, 0x41);
		e8(e, 0x50 | (n & 7));
	}
	emit_mov_rr(e, p->cpu, X86_RDI);
	if (s->key.mem)
		emit_mov_rr(e, p->mem, X86_RSI);
	if (s->x87) /* fxrstor64 */
		emit_0f(e, 1, 0xae, 1, p->cpu, offsetof(struct x86_cpu, s.xsave));
	else
		emit_vector_load(e, s, p->cpu);
	if (s->mxcsr && !s->x87)
		emit_0f(e, 0, 0xae, 2, p->cpu, OFF_MXCSR);
	if (r->flags) {
		emit_0f(e, 0, 0xb7, X86_RAX, p->cpu, offsetof(struct x86_cpu, fl)); /* movzx */
		e8(e, 0x04), e8(e, 0x7f); /* add al, 0x7f: OF = bit 0 */
		e8(e, 0x9e); /* sahf */
	}
	for (unsigned n = 0; n < 16; n++)
		if (r->gpr & BIT(n))
			emit_rm64(e, 0x8b, host_reg(p, n), p->cpu, OFF_GPR(n));
}

/* Host state back: returns where the displacement of the ldmxcsr constant goes, or NULL. */
static uint8_t *emit_host_state(struct emit *e, const struct bounce_stub *s)
{
	uint8_t *fix = NULL;

	if (s->x87)
		e8(e, 0xdb), e8(e, 0xe3); /* fninit */
	if (s->mxcsr || s->x87) {
		e8(e, 0x0f), e8(e, 0xae), e8(e, 0x15); /* ldmxcsr [rip+disp] */
		fix = e->p;
		e32(e, 0);
	}
	if (s->avx_upper)
		e8(e, 0xc5), e8(e, 0xf8), e8(e, 0x77); /* vzeroupper */
	return fix;
}

static uint8_t *emit_exit(struct emit *e, const struct bounce_stub *s, const struct emit_plan *p)
{
	const struct bounce_regs *r = &s->regs;
	uint8_t *fix;

	for (unsigned n = 0; n < 16; n++)
		if (r->gpr_out & BIT(n))
			emit_rm64(e, 0x89, host_reg(p, n), p->cpu, OFF_GPR(n));
	if (r->flags) {
		e8(e, 0x0f), e8(e, 0x90), e8(e, 0xc0); /* seto al */
		e8(e, 0x9f); /* lahf */
		e8(e, 0x66); /* mov [fl], ax */
		if (p->cpu >= 8)
			e8(e, 0x41);
		e8(e, 0x89);
		emit_modrm_mem(e, X86_RAX, p->cpu, offsetof(struct x86_cpu, fl));
	}
	if (s->x87) { /* fxsave64 */
		emit_0f(e, 1, 0xae, 0, p->cpu, offsetof(struct x86_cpu, s.xsave));
	} else {
		if (s->mxcsr)
			emit_0f(e, 0, 0xae, 3, p->cpu, OFF_MXCSR);
		emit_vector_store(e, s, p->cpu);
	}
	fix = emit_host_state(e, s);
	e8(e, 0x31), e8(e, 0xc0); /* xor eax, eax */
	return fix;
}

static void fix_rip(uint8_t *at, const uint8_t *target)
{
	if (at)
		put_le32(at, (uint32_t)(target - (at + 4)));
}

unsigned bounce_emit(struct bounce_stub *s, uint8_t *rw, const uint8_t *rx, size_t room)
{
	struct emit e = {.p = rw, .end = rw + room};
	struct emit_plan p;
	uint8_t *insn, *exit_fix, *fault, *fault_fix, *constant;
	uint16_t saved;

	plan_make(&p, s);
	saved = p.host_used & CALLEE_SAVED;
	emit_entry(&e, s, &p, saved);
	insn = e.p;
	emit_guest_insn(&e, s, &p);
	exit_fix = emit_exit(&e, s, &p);
	emit_pops(&e, saved);
	fault = e.p;
	fault_fix = emit_host_state(&e, s);
	emit_pops(&e, saved);
	constant = e.p;
	e32(&e, MXCSR_DEFAULT);
	if (e.full)
		return 0;
	fix_rip(exit_fix, constant);
	fix_rip(fault_fix, constant);
	s->code = rx;
	s->code_end = rx + (fault - rw);
	s->fault_exit = rx + (fault - rw);
	s->insn_ip = (uint64_t)(uintptr_t)(rx + (insn - rw));
	if (s->x87 && s->key.map == 0) {
		unsigned modrm = s->key.mem ? (p.mem == X86_RBP ? 0x40 : 0) |
						      (s->key.reg & 7) << 3 | p.mem
					    : s->key.modrm;

		s->host_fop = (uint16_t)((s->key.opcode & 7) << 8 | modrm);
	}
	return (unsigned)(e.p - rw);
}
