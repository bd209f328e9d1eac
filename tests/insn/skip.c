/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot be compared with the host, and why; and which outputs are open. */
#include <string.h>
#include "host.h"
#include "insn.h"

struct skip_entry {
	uint16_t mnemonic;
	uint8_t kind;
	const char *why;
};

static const struct skip_entry skip_table[] = {
	{ZYDIS_MNEMONIC_RDTSC, SKIP_SHAPE, "time"},
	{ZYDIS_MNEMONIC_RDTSCP, SKIP_SHAPE, "time, and the host's CPU number"},
	{ZYDIS_MNEMONIC_RDPID, SKIP_SHAPE, "the host's CPU number"},
	{ZYDIS_MNEMONIC_RDRAND, SKIP_SHAPE, "random"},
	{ZYDIS_MNEMONIC_RDSEED, SKIP_SHAPE, "random"},
	{ZYDIS_MNEMONIC_CPUID, SKIP_SHAPE, "the guest's CPUID is not the host's"},
	{ZYDIS_MNEMONIC_XGETBV, SKIP_SHAPE, "the host's XCR0 has more components"},
	{ZYDIS_MNEMONIC_RDPMC, SKIP_ALL, "CR4.PCE is the host kernel's choice"},
	{ZYDIS_MNEMONIC_SYSCALL, SKIP_ALL, "a system call of the host"},
	{ZYDIS_MNEMONIC_SYSENTER, SKIP_ALL, "a system call of the host"},
	{ZYDIS_MNEMONIC_SGDT, SKIP_ALL, "the host kernel emulates it under UMIP"},
	{ZYDIS_MNEMONIC_SIDT, SKIP_ALL, "the host kernel emulates it under UMIP"},
	{ZYDIS_MNEMONIC_SMSW, SKIP_ALL, "the host kernel emulates it under UMIP"},
	{ZYDIS_MNEMONIC_SLDT, SKIP_ALL, "the host kernel emulates it under UMIP"},
	{ZYDIS_MNEMONIC_STR, SKIP_ALL, "the host kernel emulates it under UMIP"},
	{ZYDIS_MNEMONIC_VMCALL, SKIP_ALL, "a hypercall: the host may be a guest itself"},
	{ZYDIS_MNEMONIC_VMMCALL, SKIP_ALL, "a hypercall: the host may be a guest itself"},
	{ZYDIS_MNEMONIC_LAR, SKIP_ALL, "descriptors of the host kernel"},
	{ZYDIS_MNEMONIC_LSL, SKIP_ALL, "descriptors of the host kernel"},
	{ZYDIS_MNEMONIC_MONITOR, SKIP_ALL, "#UD or #GP by the host's MSRs"},
	{ZYDIS_MNEMONIC_MWAIT, SKIP_ALL, "#UD or #GP by the host's MSRs"},
};

enum skip_kind skip_form(const struct form *f, const char **why)
{
	for (size_t i = 0; i < ARRAY_SIZE(skip_table); i++) {
		if (skip_table[i].mnemonic == f->mnemonic) {
			*why = skip_table[i].why;
			return (enum skip_kind)skip_table[i].kind;
		}
	}
	*why = NULL;
	return SKIP_NO;
}

/* Instructions that move more than one access can: which of its pieces faults first is not defined.
 */
static bool many_pieces(const struct icase *c)
{
	switch (c->d.insn.mnemonic) {
	case ZYDIS_MNEMONIC_FSTP:
		return c->d.mem_size == 10;
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_FBSTP:
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return true;
	default:
		return false;
	}
}

/* Flags that the manual leaves undefined, of instructions that engines do not run by their own
 * bytes. */
static uint64_t undefined_flags(const struct icase *c)
{
	const ZydisDecodedOperand *count = &c->d.op[1];

	switch (c->d.insn.mnemonic) {
	case ZYDIS_MNEMONIC_AAA:
	case ZYDIS_MNEMONIC_AAS:
		return RFLAGS_OF | RFLAGS_SF | RFLAGS_ZF | RFLAGS_PF;
	case ZYDIS_MNEMONIC_AAD:
	case ZYDIS_MNEMONIC_AAM:
		return RFLAGS_OF | RFLAGS_AF | RFLAGS_CF;
	case ZYDIS_MNEMONIC_DAA:
	case ZYDIS_MNEMONIC_DAS:
		return RFLAGS_OF;
	case ZYDIS_MNEMONIC_ROL: /* by an immediate here, by CL there: processors differ in OF */
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
		return count->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && count->imm.value.u != 1
			       ? RFLAGS_OF
			       : 0;
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
		return count->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && count->imm.value.u != 1
			       ? RFLAGS_OF | RFLAGS_AF
			       : RFLAGS_AF;
	default:
		return 0;
	}
}

static bool far_return(const struct icase *c)
{
	ZydisMnemonic m = c->d.insn.mnemonic;

	return m == ZYDIS_MNEMONIC_IRET || m == ZYDIS_MNEMONIC_IRETD || m == ZYDIS_MNEMONIC_IRETQ ||
	       (m == ZYDIS_MNEMONIC_RET && c->d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR);
}

static bool far_call(const struct icase *c)
{
	return c->d.insn.mnemonic == ZYDIS_MNEMONIC_CALL &&
	       c->d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

static bool is_cmps(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_CMPSB || m == ZYDIS_MNEMONIC_CMPSW ||
	       m == ZYDIS_MNEMONIC_CMPSD || m == ZYDIS_MNEMONIC_CMPSQ;
}

/* Across 4 GiB in 32-bit code: whether the limit or the page is looked at first (SDM 3A 5.3). */
static bool wraps(const struct icase *c, const struct iresult *native)
{
	return c->mode32 && native->vector == X86_PF && (uint32_t)native->cr2 >= 0xffffff00;
}

static bool uses_mmx(const struct icase *c)
{
	for (unsigned i = 0; i < c->d.insn.operand_count; i++)
		if (c->d.op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(c->d.op[i].reg.value) == ZYDIS_REGCLASS_MMX)
			return true;
	return false;
}

void skip_slack(const struct icase *c, const struct iresult *native, struct slack *s)
{
	bool fault = native->vector != X86_BP;

	memset(s, 0, sizeof(*s));
	s->flags = undefined_flags(c) | RFLAGS_RF; /* RF: in the frame of a fault by the SDM; the
						      host kernel may have cleared it */
	/* Two operands or several words may fault: in which order they are tried is not defined. */
	s->cr2 = many_pieces(c) || far_return(c) || is_cmps(c->d.insn.mnemonic);
	s->fault = far_return(c) || is_cmps(c->d.insn.mnemonic) || wraps(c, native);
	/* A legacy vector operand that is misaligned and not canonical: #GP for the one, #SS for
	 * the other. */
	s->ss_gp = c->d.mem_size >= 16;
	s->mem = fault &&
		 (many_pieces(c) || far_call(c)); /* CALL FAR may push before the target faults */
	s->gpr = fault && (c->d.insn.mnemonic == ZYDIS_MNEMONIC_POPA ||
			   c->d.insn.mnemonic == ZYDIS_MNEMONIC_POPAD);
	/* 32-bit addresses in 64-bit mode: when RCX, RSI and RDI are zero-extended (no iteration, a
	 * fault at the first one) is the processor's choice. */
	s->rep_upper = (c->d.rep || c->d.repne) && c->d.addrsize == 4;
	s->mxcsr = fault &&
		   c->d.insn.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH; /* flags before the store */
	if (many_pieces(c) && !host_images_match())
		s->mem = true;
	/* The manual says that EFLAGS are as before; Intel's say so. */
	if (fault && (c->d.rep || c->d.repne) && !host_is_intel())
		s->flags |= RFLAGS_ARITH;
	/* A bad MXCSR is found when other components have been loaded. */
	s->vector = native->vector == X86_GP && (c->d.insn.mnemonic == ZYDIS_MNEMONIC_XRSTOR ||
						 c->d.insn.mnemonic == ZYDIS_MNEMONIC_XRSTOR64);
	s->x87 = s->vector ||
		 (fault && uses_mmx(c)); /* some processors enter MMX state before the fault */
}
