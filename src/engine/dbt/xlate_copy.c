/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying an instruction: the same opcode with other registers.
 *
 * Each general register operand goes where dbt_host_reg says, or to a temporary around the
 * instruction; a memory operand becomes [ea + T1], or [T0] when T1 is wanted for something else:
 * the count of a shift (CL), RCX of CMPXCHG16B, AH..BH (which allow no REX prefix), a second
 * temporary. Registers that an instruction names without saying so must be RAX, RDX or RBX, which
 * are themselves, or RCX, which is copied to or from T1, the host's RCX.
 */
#include "engine/dbt/xlate_int.h"

/* How the operands are encoded; NO_REG where the instruction does not say. */
struct form {
	uint8_t reg, rm, vvvv, opc; /* host registers, or other register files' numbers */
	bool rex; /* SPL..DIL: a REX prefix must be there */
	bool mem;
	struct emem m;
};

enum field { F_NONE, F_REG, F_RM, F_VVVV, F_OPC };

static enum field field_of(const ZydisDecodedOperand *o)
{
	switch (o->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG:
		return F_REG;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM:
		return F_RM;
	case ZYDIS_OPERAND_ENCODING_NDSNDD:
		return F_VVVV;
	case ZYDIS_OPERAND_ENCODING_OPCODE:
		return F_OPC;
	default:
		return F_NONE;
	}
}

static uint8_t *field(struct form *f, enum field n)
{
	return n == F_REG ? &f->reg : n == F_RM ? &f->rm : n == F_VVVV ? &f->vvvv : &f->opc;
}

/* --- what can be copied --- */
static bool category_ok(ZydisInstructionCategory c)
{
	switch (c) {
	case ZYDIS_CATEGORY_ADOX_ADCX:
	case ZYDIS_CATEGORY_AES:
	case ZYDIS_CATEGORY_AVX:
	case ZYDIS_CATEGORY_AVX2:
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_BLEND:
	case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2:
	case ZYDIS_CATEGORY_BROADCAST:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_FCMOV:
	case ZYDIS_CATEGORY_FLAGOP:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_LOGICAL_FP:
	case ZYDIS_CATEGORY_LZCNT:
	case ZYDIS_CATEGORY_MISC:
	case ZYDIS_CATEGORY_MMX:
	case ZYDIS_CATEGORY_PCLMULQDQ:
	case ZYDIS_CATEGORY_RDRAND:
	case ZYDIS_CATEGORY_RDSEED:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_SEMAPHORE:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_SHA:
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_SSE:
	case ZYDIS_CATEGORY_STTNI:
	case ZYDIS_CATEGORY_VFMA:
	case ZYDIS_CATEGORY_X87_ALU:
		return true;
	default:
		return false;
	}
}

/* Of those categories: what is not a function of its operands, or not the same in 64-bit mode. */
static bool mnemonic_ok(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ARPL:
	case ZYDIS_MNEMONIC_CLD:
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_SALC:
	case ZYDIS_MNEMONIC_STD:
	case ZYDIS_MNEMONIC_STI:
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_XLAT:
	case ZYDIS_MNEMONIC_BOUND:
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_CLFLUSH:
		return false;
	default:
		return true;
	}
}

/* Which state must be switched on, by the registers it names. */
static uint32_t register_needs(const struct x86_decoded *d, const ZydisDecodedOperand *o)
{
	if (xl_is_gpr(o->reg.value))
		return 0;
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
		return DBT_MODE_X87;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		return d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? DBT_MODE_AVX
									  : DBT_MODE_SSE;
	default:
		break;
	}
	switch (o->reg.value) {
	case ZYDIS_REGISTER_X87CONTROL:
	case ZYDIS_REGISTER_X87STATUS:
	case ZYDIS_REGISTER_X87TAG:
		return DBT_MODE_X87;
	case ZYDIS_REGISTER_MXCSR:
		return DBT_MODE_SSE;
	default:
		return 0;
	}
}

static bool register_ok(const struct x86_decoded *d, const ZydisDecodedOperand *o)
{
	ZydisRegister r = o->reg.value;
	unsigned g;

	if (xl_is_gpr(r)) {
		if (field_of(o) != F_NONE)
			return true;
		g = xl_reg_num(r);
		return g == X86_RAX || g == X86_RCX || g == X86_RDX || g == X86_RBX;
	}
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_SEGMENT:
	case ZYDIS_REGCLASS_CONTROL:
	case ZYDIS_REGCLASS_DEBUG:
	case ZYDIS_REGCLASS_TEST:
	case ZYDIS_REGCLASS_TABLE:
	case ZYDIS_REGCLASS_IP:
		return false;
	default:
		return true;
	}
}

static bool memory_ok(const struct x86_decoded *d)
{
	return d->addrsize != 2 && (d->mem_size <= 10 || d->mem_size == 16 || d->mem_size == 32) &&
	       d->mem_size && d->op[d->mem].mem.type == ZYDIS_MEMOP_TYPE_MEM;
}

bool xl_can_copy(const struct xlate *x, const struct x86_decoded *d)
{
	uint32_t needs = 0;

	if (!category_ok(d->insn.meta.category) || !mnemonic_ok(d->insn.mnemonic) ||
	    (d->insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED))
		return false;
	/* Outside of 64-bit mode they leave registers 8 to 15 alone. */
	if (!x->code64 && (d->insn.mnemonic == ZYDIS_MNEMONIC_VZEROALL ||
			   d->insn.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER))
		return false;
	if (d->insn.meta.category == ZYDIS_CATEGORY_X87_ALU)
		needs |= DBT_MODE_X87;
	if (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
	    d->insn.meta.category != ZYDIS_CATEGORY_BMI1 &&
	    d->insn.meta.category != ZYDIS_CATEGORY_BMI2)
		needs |= DBT_MODE_AVX;
	for (unsigned n = 0; n < d->insn.operand_count; n++) {
		const ZydisDecodedOperand *o = &d->op[n];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && (int)n != d->mem)
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_POINTER)
			return false;
		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		if (!register_ok(d, o))
			return false;
		needs |= register_needs(d, o);
	}
	/* FDP is an offset in the segment, which is not what the access has. */
	if (needs & DBT_MODE_X87 && d->mem >= 0 && d->op[d->mem].mem.segment >= ZYDIS_REGISTER_FS)
		return false;
	return (needs & ~x->mode) == 0 && (d->mem < 0 || memory_ok(d));
}

/* --- writing it --- */
static void put_rex(struct code *a, const struct x86_decoded *d, const struct form *f, bool no_rex)
{
	unsigned w = d->insn.raw.rex.W && d->insn.machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
	unsigned reg = f->reg == NO_REG ? 0 : f->reg, rxb;

	if (f->mem)
		rxb = e_rxb_mem(reg, &f->m);
	else
		rxb = (reg >> 3) << 2 | (f->rm != NO_REG    ? f->rm
					 : f->opc != NO_REG ? f->opc
							    : 0) >>
						3;
	bug_on(no_rex && (w || rxb || f->rex));
	if (w || rxb || f->rex)
		e8(a, 0x40 | w << 3 | rxb);
}

static void put_legacy(struct code *a, const struct x86_decoded *d, const struct form *f,
		       unsigned opcode, bool no_rex)
{
	uint8_t rep = 0;
	bool p66 = false;

	for (unsigned n = 0; n < d->insn.raw.prefix_count; n++) {
		uint8_t v = d->insn.raw.prefixes[n].value;

		p66 |= v == 0x66;
		if ((v == 0xf2 || v == 0xf3) &&
		    d->insn.raw.prefixes[n].type == ZYDIS_PREFIX_TYPE_MANDATORY)
			rep = v;
	}
	if (d->lock)
		e8(a, 0xf0);
	if (p66)
		e8(a, 0x66);
	if (rep)
		e8(a, rep);
	put_rex(a, d, f, no_rex);
	if (d->insn.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		e8(a, 0x0f);
	if (d->insn.opcode_map == ZYDIS_OPCODE_MAP_0F38)
		e8(a, 0x38);
	if (d->insn.opcode_map == ZYDIS_OPCODE_MAP_0F3A)
		e8(a, 0x3a);
	e8(a, f->opc != NO_REG ? (opcode & ~7u) | (f->opc & 7) : opcode);
}

static void put_vex(struct code *a, const struct x86_decoded *d, const struct form *f)
{
	unsigned reg = f->reg == NO_REG ? 0 : f->reg, vvvv = f->vvvv == NO_REG ? 0 : f->vvvv, rxb;

	rxb = f->mem ? e_rxb_mem(reg, &f->m) : (reg >> 3) << 2 | (f->rm == NO_REG ? 0 : f->rm >> 3);
	e8(a, 0xc4);
	e8(a, (~rxb & 7) << 5 | d->insn.raw.vex.m_mmmm);
	e8(a, d->insn.raw.vex.W << 7 | (~vvvv & 15) << 3 | d->insn.raw.vex.L << 2 |
		      d->insn.raw.vex.pp);
	e8(a, d->insn.opcode);
}

static void put_modrm(struct code *a, const struct x86_decoded *d, const struct form *f)
{
	unsigned reg = f->reg == NO_REG ? d->insn.raw.modrm.reg : f->reg;

	if (f->mem)
		e_modrm_mem(a, reg, &f->m);
	else
		e_modrm_reg(a, reg, f->rm == NO_REG ? d->insn.raw.modrm.rm : f->rm);
}

/* Immediates as they are.  Of a register in one, 32-bit code ignores the highest bit. */
static void put_imm(struct code *a, const struct x86_decoded *d)
{
	uint8_t mask = 0xff;

	for (unsigned n = 0; n < d->insn.operand_count; n++)
		if (d->op[n].encoding == ZYDIS_OPERAND_ENCODING_IS4 &&
		    d->insn.machine_mode != ZYDIS_MACHINE_MODE_LONG_64)
			mask = 0x7f;
	for (unsigned n = 0; n < 2; n++)
		for (unsigned k = 0; k < d->insn.raw.imm[n].size / 8u; k++)
			e8(a, d->bytes[d->insn.raw.imm[n].offset + k] & mask);
}

/* MOV between RAX and an absolute address. */
static bool is_moffs(const struct x86_decoded *d)
{
	return d->mem >= 0 && d->op[d->mem].encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64;
}

/* INC and DEC of one byte are REX prefixes in 64-bit mode. */
static bool is_short_inc(const struct x86_decoded *d)
{
	return d->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (d->insn.opcode & 0xf0) == 0x40;
}

/* --- operands --- */
struct plan {
	struct form f;
	uint8_t opcode;
	bool home; /* the memory operand is a register's place in struct x86_state */
	bool high; /* AH..BH: no REX prefix */
	bool rcx_in; /* T1 is to hold the guest's RCX */
	bool rcx_out; /* and is written */
	bool fold; /* T1 is wanted: the memory operand is [T0] */
	struct {
		uint8_t guest, temp;
		bool load, store;
	} spill[3];
	unsigned n_spills;
};

static void put_insn(struct code *a, const struct x86_decoded *d, struct plan *p)
{
	struct form *f = &p->f;

	if (is_moffs(d)) {
		f->reg = X86_RAX;
		put_legacy(a, d, f, 0x88 | (d->insn.opcode & 1) | (d->mem == 1 ? 2 : 0), p->high);
		e_modrm_mem(a, X86_RAX, &f->m);
	} else if (is_short_inc(d)) {
		f->rm = f->opc; /* 32-bit code: no register is homed */
		f->opc = NO_REG;
		put_legacy(a, d, f, 0xff, p->high);
		e_modrm_reg(a, d->insn.opcode >> 3 & 1, f->rm);
	} else {
		if (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
			put_vex(a, d, f);
		else
			put_legacy(a, d, f, p->opcode, p->high);
		if (d->insn.attributes & ZYDIS_ATTRIB_HAS_MODRM)
			put_modrm(a, d, f);
		put_imm(a, d);
	}
}

static const uint8_t temps[] = {T2, T1, T0};

/* XOR and SUB of a register and itself: what it was does not matter. */
static bool is_zeroing(const struct x86_decoded *d)
{
	return (d->insn.mnemonic == ZYDIS_MNEMONIC_XOR || d->insn.mnemonic == ZYDIS_MNEMONIC_SUB) &&
	       d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       d->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       d->op[0].reg.value == d->op[1].reg.value && d->op[0].size >= 32;
}

/* BSF and BSR of 0 leave the register alone, which Zydis 4.0.0 does not say. */
static bool partial_or_conditional(const struct x86_decoded *d, const ZydisDecodedOperand *o)
{
	return o->size < 32 || d->insn.mnemonic == ZYDIS_MNEMONIC_BSF ||
	       d->insn.mnemonic == ZYDIS_MNEMONIC_BSR ||
	       (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ) ||
	       (o->actions & ZYDIS_OPERAND_ACTION_CONDWRITE);
}

/* A temporary for a register that has none of its own. */
static uint8_t spill(struct plan *p, const struct x86_decoded *d, const ZydisDecodedOperand *o,
		     unsigned guest)
{
	unsigned n;

	for (n = 0; n < p->n_spills; n++)
		if (p->spill[n].guest == guest)
			break;
	if (n == p->n_spills) {
		p->spill[n].guest = (uint8_t)guest;
		p->spill[n].temp = temps[n];
		p->n_spills++;
	}
	p->spill[n].load |= partial_or_conditional(d, o) && !is_zeroing(d);
	p->spill[n].store |= !!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
	return p->spill[n].temp;
}

static uint8_t host_of(struct plan *p, const struct x86_decoded *d, const ZydisDecodedOperand *o)
{
	ZydisRegister r = o->reg.value;
	unsigned g = xl_reg_num(r);

	if (xl_is_high(r))
		return (uint8_t)(4 + g);
	if (p->high && g == X86_RCX)
		return X86_RCX;
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_DIL)
		p->f.rex = true;
	return dbt_host_reg[g] != NO_REG ? dbt_host_reg[g] : spill(p, d, o, g);
}

/* May the r/m register operand be a memory operand instead, with the same effect? */
static bool home_ok(const struct x86_decoded *d, const ZydisDecodedOperand *o)
{
	if (d->mem >= 0 || is_zeroing(d))
		return false;
	/* A 32-bit result clears the upper half of a register. */
	if ((o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && o->size == 32)
		return false;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_BT: /* of memory, the bit may lie anywhere */
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
	case ZYDIS_MNEMONIC_XCHG: /* locks */
	case ZYDIS_MNEMONIC_XADD:
	case ZYDIS_MNEMONIC_CMPXCHG:
		return false;
	default:
		return true;
	}
}

/* ADD to CMP and MOV have a form for each direction: with registers only, they are the same. */
static bool has_directions(const struct x86_decoded *d)
{
	unsigned op = d->insn.opcode;

	return d->mem < 0 && d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       d->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	       ((op < 0x40 && (op & 7) < 4) || (op >= 0x88 && op <= 0x8b));
}

static bool homed(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER && xl_is_gpr(o->reg.value) &&
	       !xl_is_high(o->reg.value) && dbt_host_reg[xl_reg_num(o->reg.value)] == NO_REG;
}

/* Is it better with the operands in each other's field? */
static bool turn_round(const struct x86_decoded *d)
{
	const ZydisDecodedOperand *reg, *rm;

	if (!has_directions(d))
		return false;
	reg = &d->op[d->insn.opcode & 2 ? 0 : 1];
	rm = &d->op[d->insn.opcode & 2 ? 1 : 0];
	return homed(reg) && !homed(rm) && home_ok(d, reg);
}

static void find_high(struct plan *p, const struct x86_decoded *d)
{
	for (unsigned n = 0; n < d->insn.operand_count; n++)
		if (d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    xl_is_high(d->op[n].reg.value) && field_of(&d->op[n]) != F_NONE)
			p->high = true;
}

static void plan_register(struct plan *p, const struct x86_decoded *d, const ZydisDecodedOperand *o,
			  bool turned)
{
	enum field n = field_of(o);
	ZydisRegister r = o->reg.value;

	if (turned)
		n = n == F_REG ? F_RM : n == F_RM ? F_REG : n;
	if (n == F_RM && homed(o) && home_ok(d, o)) {
		p->f.mem = p->home = true;
		p->f.m = xl_home(xl_reg_num(r));
		/* A byte register that needs a prefix needs none in memory. */
		return;
	}

	if (xl_is_gpr(r)) {
		bool rcx = xl_reg_num(r) == X86_RCX;

		if (rcx && (n == F_NONE || p->high)) {
			p->rcx_in |= p->high || (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ);
			p->rcx_out |= !!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
		}
		if (n != F_NONE)
			*field(&p->f, n) = host_of(p, d, o);
	} else if (n != F_NONE && ZydisRegisterGetClass(r) != ZYDIS_REGCLASS_X87) {
		*field(&p->f, n) = (uint8_t)(ZydisRegisterGetId(r) & 15);
	}
}

/* False: registers cannot be assigned. */
static bool plan_make(struct plan *p, const struct x86_decoded *d)
{
	bool turned = turn_round(d);

	*p = (struct plan){.f = {NO_REG, NO_REG, NO_REG, NO_REG, false, d->mem >= 0, {0}},
			   .opcode = turned ? d->insn.opcode ^ 2 : d->insn.opcode};
	find_high(p, d);
	for (unsigned n = 0; n < d->insn.operand_count; n++)
		if (d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER)
			plan_register(p, d, &d->op[n], turned);
	/* T2 first; T1 is the second, and RCX wants it too. */
	if ((p->rcx_in || p->rcx_out) && p->n_spills > 1)
		return false;
	if (d->mem >= 0 && (p->rcx_in || p->n_spills > 1))
		p->fold = true;
	if (d->mem >= 0 && p->n_spills > 2)
		return false;
	if (!p->high)
		return true;
	/* Without REX only the low eight registers can be named. */
	if (d->mem >= 0 && p->rcx_in)
		return false;
	return !p->n_spills && !p->f.rex && (p->f.reg == NO_REG || p->f.reg < 8) &&
	       (p->f.rm == NO_REG || p->f.rm < 8) && (p->f.opc == NO_REG || p->f.opc < 8);
}

/* Vector accesses that fault when they are not aligned. */
static bool faults_misaligned(const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return false;
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return true;
	default:
		return d->mem_size == 16 && d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	}
}

static unsigned access_kind(const struct xlate *x, const struct x86_decoded *d)
{
	const ZydisDecodedOperandMem *m = &d->op[d->mem].mem;
	unsigned how = d->mem_write ? XL_WRITE : 0, slot = x->code64 ? 8 : 4;

	if (faults_misaligned(d))
		return how | XL_ALIGNED;
	/* A bus lock across lines is the host's to punish; XCHG locks by itself. */
	if (d->lock || (d->insn.mnemonic == ZYDIS_MNEMONIC_XCHG && d->mem_write))
		return how | XL_WHOLE;
	if (xl_reg_num(m->base) == X86_RSP && m->base != ZYDIS_REGISTER_NONE &&
	    m->base != ZYDIS_REGISTER_RIP && m->base != ZYDIS_REGISTER_EIP &&
	    m->index == ZYDIS_REGISTER_NONE && d->addrsize == slot && d->mem_size <= slot &&
	    is_pow2(d->mem_size) && !(m->disp.value & (d->mem_size - 1)) &&
	    m->segment < ZYDIS_REGISTER_FS)
		return how | XL_STACK;
	return how;
}

/* Does RSP stay aligned? */
static void note_sp(struct xlate *x, const struct x86_decoded *d)
{
	for (unsigned n = 0; n < d->insn.operand_count; n++) {
		const ZydisDecodedOperand *o = &d->op[n];

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !xl_is_gpr(o->reg.value) ||
		    xl_reg_num(o->reg.value) != X86_RSP || xl_is_high(o->reg.value) ||
		    !(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		if ((d->insn.mnemonic == ZYDIS_MNEMONIC_ADD ||
		     d->insn.mnemonic == ZYDIS_MNEMONIC_SUB) &&
		    n == 0 && d->op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		    !(d->op[1].imm.value.u & 7))
			continue;
		x->sp_aligned = false;
	}
}

static void load_spills(struct xlate *x, const struct plan *p)
{
	if (p->rcx_in || p->rcx_out || p->n_spills > 1)
		x->in_t1 = -1;
	if (p->rcx_in)
		e_mov(&x->a, T1, dbt_host_reg[X86_RCX]);
	for (unsigned n = 0; n < p->n_spills; n++)
		if (p->spill[n].load)
			e_load(&x->a, p->spill[n].temp, xl_home(p->spill[n].guest));
}

static void store_spills(struct xlate *x, const struct plan *p)
{
	for (unsigned n = 0; n < p->n_spills; n++)
		if (p->spill[n].store)
			e_store(&x->a, xl_home(p->spill[n].guest), p->spill[n].temp);
	if (p->rcx_out)
		e_mov(&x->a, dbt_host_reg[X86_RCX], T1);
}

/* Does it become the last instruction of FIP, FDP and FOP?  Control instructions do not (SDM
 * 1 8.1.8). */
static bool sets_x87_pointers(const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FWAIT:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
		return false;
	default:
		return d->insn.meta.category == ZYDIS_CATEGORY_X87_ALU ||
		       d->insn.meta.category == ZYDIS_CATEGORY_FCMOV;
	}
}

/* Of those that need the guest's address itself, or are atomic, it may not be. */
bool xl_may_span(const struct x86_decoded *d)
{
	return !d->lock && d->insn.mnemonic != ZYDIS_MNEMONIC_XCHG && !sets_x87_pointers(d);
}

static bool form_memory(struct xlate *x, const struct xinsn *i, struct plan *p)
{
	const struct x86_decoded *d = &i->d;
	unsigned temp = p->fold ? T0 : T1;

	if (!xl_operand(x, i, d->mem_size, access_kind(x, d), temp, &p->f.m))
		return false;
	if (p->f.m.index != NO_REG && (p->high || p->fold)) {
		e_lea(&x->a, 1, temp, p->f.m);
		p->f.m = em_base(temp, 0);
	}
	return true;
}

/*
 * What FIP, FDP and FOP will be made of (fpu.c): the block's page, the address of the operand and
 * the opcode as the guest has them.  After the instruction: one that only raises what was pending
 * is not the last one.  Uses T2.
 */
static void note_x87(struct xlate *x, const struct x86_decoded *d, unsigned ea)
{
	if (!sets_x87_pointers(d))
		return;
	if (ea != NO_REG) {
		e_store(&x->a, FRAME(fdp), ea);
		e_store32_imm(&x->a, FRAME(fop),
			      (d->insn.opcode & 7u) << 8 | d->bytes[d->insn.raw.modrm.offset]);
	}
	if (x->x87_noted)
		return;
	x->x87_noted = true;
	e_load(&x->a, T2, FRAME(code_base));
	e_store(&x->a, FRAME(x87_base), T2);
}

void xl_copy(struct xlate *x, const struct xinsn *i)
{
	struct plan p;

	if (!plan_make(&p, &i->d) || (i->d.mem >= 0 && !form_memory(x, i, &p))) {
		xl_exit(x, i);
		return;
	}
	load_spills(x, &p);
	put_insn(&x->a, &i->d, &p);
	store_spills(x, &p);
	note_x87(x, &i->d, i->d.mem >= 0 ? p.f.m.base : NO_REG);
	note_sp(x, &i->d);
}

/* --- LEA: an address without an access --- */
/* Its address as the host can form it in one operand, with registers that have none of their own
 * loaded to T0 and T1; false: by xl_addr. */
static bool lea_direct(struct xlate *x, const struct x86_decoded *d, struct emem *m)
{
	const ZydisDecodedOperandMem *o = &d->op[d->mem].mem;

	if (o->base == ZYDIS_REGISTER_RIP || o->base == ZYDIS_REGISTER_EIP || d->addrsize == 2)
		return false;
	/* With 32-bit addresses the sum is cut before it is extended. */
	if (d->addrsize == 4 && d->opsize == 8)
		return false;
	*m = (struct emem){NO_REG, NO_REG, o->scale ? (uint8_t)__builtin_ctz(o->scale) : 0,
			   (int32_t)o->disp.value};
	if (o->base != ZYDIS_REGISTER_NONE)
		m->base = (uint8_t)xl_in_reg(x, o->base, T0);
	if (o->index != ZYDIS_REGISTER_NONE)
		m->index = (uint8_t)xl_in_reg(x, o->index, T1);
	return true;
}

/* The same by xl_addr; segments take no part. */
static bool lea_address(struct xlate *x, const struct xinsn *i, struct emem *m)
{
	struct xinsn j = *i;
	unsigned ea;

	j.d.op[i->d.mem].mem.segment = ZYDIS_REGISTER_DS;
	ea = xl_addr(x, &j, 0);
	*m = em_base(ea, 0);
	return ea != NO_REG;
}

void xl_lea(struct xlate *x, const struct xinsn *i)
{
	const struct x86_decoded *d = &i->d;
	struct plan p;

	if (!plan_make(&p, d) || (!lea_direct(x, d, &p.f.m) && !lea_address(x, i, &p.f.m))) {
		xl_exit(x, i);
		return;
	}
	load_spills(x, &p);
	put_insn(&x->a, d, &p);
	store_spills(x, &p);
	note_sp(x, d);
}

/* --- BT, BTS, BTR, BTC of memory by a register: the bit may lie anywhere --- */
static const uint8_t *bt_opcode(ZydisMnemonic m)
{
	static const uint8_t op[4] = {0xa3, 0xab, 0xb3, 0xbb};

	return m == ZYDIS_MNEMONIC_BT	 ? &op[0]
	       : m == ZYDIS_MNEMONIC_BTS ? &op[1]
	       : m == ZYDIS_MNEMONIC_BTR ? &op[2]
					 : &op[3];
}

void xl_bt(struct xlate *x, const struct xinsn *i)
{
	const struct x86_decoded *d = &i->d;
	struct code *a = &x->a;
	unsigned size = d->op[0].size / 8u, g, src, ea;
	struct emem m;

	if (d->mem < 0 || d->op[1].type != ZYDIS_OPERAND_TYPE_REGISTER) {
		if (i->copy)
			xl_copy(x, i);
		else
			xl_exit(x, i);
		return;
	}
	if (size < 4 || !x->code64 || d->addrsize != 8) {
		xl_exit(x, i);
		return;
	}
	g = xl_reg_num(d->op[1].reg.value);
	xl_begin(x);
	ea = xl_addr(x, i, 0);
	/* T0 = address + (signed bit number / operand bits) * operand size */
	src = dbt_host_reg[g] != NO_REG ? dbt_host_reg[g] : T1;
	if (src == T1)
		e_load(a, T1, xl_home(g));
	if (size == 4)
		e_rr(a, 1, 0x63, T1, src); /* movsxd */
	else
		e_mov(a, T1, src);
	e_mov_imm(a, T2, size == 8 ? 6 : 5);
	e_sarx(a, T1, T1, T2);
	e_lea(a, 1, T0, em_index(ea, T1, size == 8 ? 3 : 2, 0));
	xl_access(x, T0, size, (d->mem_write ? XL_WRITE : 0) | (d->lock ? XL_WHOLE : 0));
	if (dbt_host_reg[g] == NO_REG)
		e_load(a, src = T2, xl_home(g));
	e_pext(a, T2, src, xl_low_mask(size == 8 ? 5 : 4));
	m = em_sum(T0, T1);
	if (d->lock)
		e8(a, 0xf0);
	e_0f_rm(a, size == 8, *bt_opcode(d->insn.mnemonic), T2, m);
}
