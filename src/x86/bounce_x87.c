/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87 and MMX: the whole guest image goes through FXRSTOR and FXSAVE around the instruction.
 *
 * FIP, FDP and FOP (SDM 1 8.1.8): the host records the stub's own addresses.  Which of them it
 * records, and when (FDP_EXCPTN_ONLY, FOP compatibility mode, AMD's only-if-pending), is left to
 * it: markers go in, and what comes back as the stub's address is replaced by the guest's, what
 * comes back as the marker was not recorded.  FCS and FDS are kept as zero, as processors with
 * CPUID.7.EBX[13] do.
 *
 * Environments (FNSTENV, FLDENV, FNSAVE, FRSTOR) exist in four layouts, SDM 1 figures 8-9 to 8-12;
 * the two protected-mode ones run natively in a buffer, the real-mode ones differ in the pointers
 * only.
 */
#include <string.h>
#include "x86/bounce_int.h"

#define FIP_MARK UINT64_C(0x5a5a11)
#define FDP_MARK UINT64_C(0x5a5a22)
#define FSW_ES 0x80
#define FCW_MASKS 0x3f
#define ENV16 14
#define ENV32 28
#define FSAVE_REGS 80

/* An unmasked exception of an earlier instruction is reported now (SDM 1 8.7).  With CR0.NE clear a PC would
 * assert FERR# and wait for IRQ 13 (SDM 1 D.2.1); that wire is not modelled, and #MF is raised as with NE. */
void bounce_x87_pending(struct x86_cpu *c)
{
	x86_raise(c, X86_MF);
}

/* Instruction and operand pointers as this mode records them: offsets, linear in real-address mode.
 */
static uint64_t x87_ip(const struct x86_cpu *c)
{
	if ((c->mode & X86_MODE_PE) && !(c->mode & X86_MODE_V86))
		return c->s.rip;
	return c->s.seg[X86_CS].base + c->s.rip;
}

static uint64_t x87_dp(const struct x86_cpu *c, uint64_t lin, uint64_t ea)
{
	return (c->mode & X86_MODE_PE) && !(c->mode & X86_MODE_V86) ? ea : lin;
}

struct x87_pointers {
	uint64_t fip, fdp;
	uint16_t fop;
};

static void pointers_mark(struct x86_xsave *x, const struct bounce_stub *s,
			  struct x87_pointers *old)
{
	*old = (struct x87_pointers){x->fip, x->fdp, x->fop};
	x->fip = FIP_MARK;
	x->fdp = FDP_MARK;
	x->fop = s->host_fop ^ 1;
}

static void pointers_settle(struct x86_cpu *c, const struct bounce_stub *s,
			    const struct x87_pointers *old, const void *p, uint64_t lin,
			    uint64_t ea)
{
	struct x86_xsave *x = &c->s.xsave;

	if (x->fip == FIP_MARK)
		x->fip = old->fip;
	else if (x->fip == s->insn_ip)
		x->fip = x87_ip(c);
	if (x->fdp == FDP_MARK)
		x->fdp = old->fdp;
	else if (p && x->fdp == (uint64_t)(uintptr_t)p)
		x->fdp = x87_dp(c, lin, ea);
	if (x->fop == (s->host_fop ^ 1))
		x->fop = old->fop;
	else if (x->fop == s->host_fop)
		x->fop = s->fop;
}

/* Did a store to the buffer happen?  An unmasked invalid, overflow or underflow suppresses it. */
static bool x87_stored(struct x86_cpu *c, const struct bounce_stub *s, const uint8_t *buf)
{
	if (!s->cond_store || !(c->s.xsave.fsw & FSW_ES))
		return true;
	for (unsigned i = 0; i < s->size; i++)
		if (buf[i] != 0xa5)
			return true;
	return false;
}

/* The address is looked at after #NM and #MF (SDM 3A 6.9), so not by the caller. */
static uint64_t operand_lin(struct x86_cpu *c, const struct bounce_stub *s, uint64_t ea, bool write)
{
	uint64_t lin = bounce_elem_lin(c, s, ea, s->size, write);

	bounce_check_align(c, s, lin);
	return lin;
}

/*
 * A store that an unmasked exception may suppress: computed first, since then memory is not touched
 * and not even its address is checked; but the state must be the old one when the store faults.
 */
static void store_computed(struct x86_cpu *c, const struct bounce_stub *s, uint64_t ea)
{
	struct x86_xsave old, new;
	struct x87_pointers ptr = {0};
	uint8_t buf[16];
	uint64_t lin;

	old = c->s.xsave;
	memset(buf, 0xa5, sizeof(buf));
	if (s->pointers)
		pointers_mark(&c->s.xsave, s, &ptr);
	bounce_run(c, s, buf);
	if (s->pointers)
		pointers_settle(c, s, &ptr, buf, c->s.seg[s->key.seg].base + ea, ea);
	if (!x87_stored(c, s, buf))
		return;
	new = c->s.xsave;
	c->s.xsave = old;
	lin = operand_lin(c, s, ea, true);
	x86_write_block(c, lin, buf, s->size);
	c->s.xsave = new;
}

static void exec_x87_store(struct x86_cpu *c, const struct bounce *b, uint64_t unused, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	struct x87_pointers old;
	uint64_t lin;
	void *p;

	bounce_check_avail(c, s);
	if (s->cond_store && (c->s.xsave.fcw & FCW_MASKS) != FCW_MASKS) {
		store_computed(c, s, ea);
		return;
	}
	lin = operand_lin(c, s, ea, true);
	p = bounce_direct_wr(c, lin, s->size);
	if (!p) {
		x86_probe(c, lin, s->size, X86_WRITE);
		store_computed(c, s, ea);
		return;
	}
	if (!s->pointers) {
		bounce_run(c, s, p);
		return;
	}
	pointers_mark(&c->s.xsave, s, &old);
	bounce_run(c, s, p);
	pointers_settle(c, s, &old, p, lin, ea);
}

static void *x87_load(struct x86_cpu *c, const struct bounce_stub *s, uint64_t lin, uint8_t *buf)
{
	void *p = bounce_direct_rd(c, lin, s->size);

	if (likely(p != NULL))
		return p;
	x86_read_block(c, lin, buf, s->size);
	return buf;
}

void bounce_exec_x87(struct x86_cpu *c, const struct bounce *b, uint64_t unused, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	struct x87_pointers old;
	uint64_t lin = 0;
	uint8_t buf[16];
	void *p = NULL;

	bounce_check_avail(c, s);
	if (s->size) {
		lin = operand_lin(c, s, ea, false);
		p = x87_load(c, s, lin, buf);
	}
	if (!s->pointers) { /* control instructions and MMX leave the pointers alone */
		bounce_run(c, s, p);
		return;
	}
	pointers_mark(&c->s.xsave, s, &old);
	bounce_run(c, s, p);
	pointers_settle(c, s, &old, p, lin, ea);
}

static void exec_fwait(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	if ((c->s.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		x86_raise(c, X86_NM);
	if (c->s.xsave.fsw & FSW_ES)
		bounce_x87_pending(c);
}

/* --- environments --- */

static bool env_real_layout(const struct x86_cpu *c)
{
	return !(c->mode & X86_MODE_PE) || (c->mode & X86_MODE_V86);
}

static void env_put_pointers(uint8_t *buf, const struct x87_pointers *p, unsigned opsize, bool real)
{
	if (opsize == 2 && real) {
		put_le16(buf + 6, (uint16_t)p->fip);
		put_le16(buf + 8, (uint16_t)((p->fip >> 16 & 0xf) << 12 | (p->fop & 0x7ff)));
		put_le16(buf + 10, (uint16_t)p->fdp);
		put_le16(buf + 12, (uint16_t)((p->fdp >> 16 & 0xf) << 12));
	} else if (opsize == 2) {
		put_le16(buf + 8, 0);
		put_le16(buf + 12, 0);
	} else if (real) {
		put_le32(buf + 12, 0xffff0000u | (p->fip & 0xffff));
		put_le32(buf + 16, (uint32_t)((p->fip >> 16 & 0xffff) << 12 | (p->fop & 0x7ff)));
		put_le32(buf + 20, 0xffff0000u | (p->fdp & 0xffff));
		put_le32(buf + 24, (uint32_t)((p->fdp >> 16 & 0xffff) << 12));
	} else {
		put_le16(buf + 16, 0);
		put_le16(buf + 24, 0);
	}
}

static void env_get_pointers(struct x86_xsave *x, const uint8_t *buf, unsigned opsize)
{
	if (opsize == 2) {
		x->fip = get_le16(buf + 6) | (uint64_t)(get_le16(buf + 8) >> 12) << 16;
		x->fdp = get_le16(buf + 10) | (uint64_t)(get_le16(buf + 12) >> 12) << 16;
		x->fop = get_le16(buf + 8) & 0x7ff;
		return;
	}
	x->fip = get_le16(buf + 12) | (uint64_t)(get_le32(buf + 16) >> 12 & 0xffff) << 16;
	x->fdp = get_le16(buf + 20) | (uint64_t)(get_le32(buf + 24) >> 12 & 0xffff) << 16;
	x->fop = get_le16(buf + 16) & 0x7ff;
}

static void exec_env_store(struct x86_cpu *c, const struct bounce *b, uint64_t unused, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	struct x86_xsave *x = &c->s.xsave;
	struct x87_pointers p = {x->fip, x->fdp, x->fop};
	uint8_t buf[ENV32 + FSAVE_REGS];
	uint64_t lin;

	bounce_check_avail(c, s);
	lin = operand_lin(c, s, ea, true);
	x86_probe(c, lin, s->size, X86_WRITE);
	bounce_run(c, s, buf);
	env_put_pointers(buf, &p, s->key.opsize, env_real_layout(c));
	x86_write_block(c, lin, buf, s->size);
}

static void exec_env_load(struct x86_cpu *c, const struct bounce *b, uint64_t unused, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint8_t buf[ENV32 + FSAVE_REGS];
	uint64_t lin;

	bounce_check_avail(c, s);
	lin = operand_lin(c, s, ea, false);
	x86_read_block(c, lin, buf, s->size);
	bounce_run(c, s, buf);
	if (env_real_layout(c))
		env_get_pointers(&c->s.xsave, buf, s->key.opsize);
}

/* --- preparation --- */

static void set_offset(struct bounce_stub *s, const struct x86_decoded *d)
{
	s->pub.ea = BOUNCE_EA_OFF;
	s->key.seg = (uint8_t)ZydisRegisterGetId(d->op[d->mem].mem.segment);
	s->key.addrsize = d->addrsize;
}

static void env_prepare(struct bounce_stub *s, const struct x86_decoded *d, unsigned extra,
			bool store)
{
	s->key.opsize = d->opsize == 2 ? 2 : 4;
	s->key.p66 = d->opsize == 2;
	s->key.w = 0;
	s->size = (uint8_t)((d->opsize == 2 ? ENV16 : ENV32) + extra);
	bounce_set_mem(s, s->size, store);
	set_offset(s, d);
	s->ac = s->key.opsize;
	s->pub.exec = store ? exec_env_store : exec_env_load;
}

void bounce_x87_set_mem(struct bounce_stub *s, const struct x86_decoded *d)
{
	bounce_set_mem(s, d->mem_size, d->mem_write);
	s->pub.exec = d->mem_write ? exec_x87_store : bounce_exec_x87;
	set_offset(s, d);
}

static void x87_operands(struct bounce_stub *s, const struct x86_decoded *d)
{
	s->pub.exec = bounce_exec_x87;
	if (!s->key.mem)
		return;
	s->size = (uint8_t)d->mem_size;
	s->mem_read = d->mem_read;
	s->mem_write = d->mem_write;
	s->cond_store = d->mem_write;
	bounce_x87_set_mem(s, d);
}

static bool x87_control(struct bounce_stub *s, const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_FNSTENV:
		s->wait = false;
		env_prepare(s, d, 0, true);
		return true;
	case ZYDIS_MNEMONIC_FNSAVE:
		s->wait = false;
		env_prepare(s, d, FSAVE_REGS, true);
		return true;
	case ZYDIS_MNEMONIC_FLDENV:
		env_prepare(s, d, 0, false);
		return true;
	case ZYDIS_MNEMONIC_FRSTOR:
		env_prepare(s, d, FSAVE_REGS, false);
		return true;
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
		s->wait = false;
		x87_operands(s, d);
		s->cond_store = false;
		return true;
	case ZYDIS_MNEMONIC_FLDCW:
		x87_operands(s, d);
		return true;
	default:
		return false;
	}
}

bool bounce_x87_prepare(struct bounce_stub *s, const struct x86_decoded *d)
{
	struct bounce_key *k = &s->key;
	const ZydisDecodedInstruction *in = &d->insn;

	if (in->mnemonic == ZYDIS_MNEMONIC_FWAIT) {
		s->pub.exec = exec_fwait;
		return true;
	}
	if (in->mnemonic == ZYDIS_MNEMONIC_EMMS) {
		bounce_set_avail(s, BOUNCE_AV_MMX);
		s->x87 = true;
		s->wait = true;
		s->pub.exec = bounce_exec_x87;
		return true;
	}
	if (k->vex || k->map != 0 || k->opcode < 0xd8 || k->opcode > 0xdf)
		return false;
	bounce_set_avail(s, BOUNCE_AV_X87);
	s->x87 = true;
	s->wait = true;
	for (unsigned i = 0; i < in->operand_count; i++) { /* FNSTSW AX; FCOMI, FCMOV */
		const ZydisDecodedOperand *op = &d->op[i];

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		if (op->reg.value == ZYDIS_REGISTER_AX)
			s->regs.gpr = s->regs.gpr_out = BIT(X86_RAX);
		if (ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_FLAGS)
			s->regs.flags = true;
	}
	if (x87_control(s, d))
		return true;
	k->w = 0;
	k->modrm = (uint8_t)(in->raw.modrm.mod << 6 | in->raw.modrm.reg << 3 | in->raw.modrm.rm);
	s->pointers = true;
	s->fop = (uint16_t)((k->opcode & 7) << 8 | k->modrm);
	x87_operands(s, d);
	return true;
}
