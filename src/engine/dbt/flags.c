/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which arithmetic flags matter.
 *
 * Flags that the manual calls undefined are what the host's processor makes of them.  Where it may
 * leave them as they were, they are not killed here, so that translated code and the interpreter
 * agree even then.
 */
#include "engine/dbt/xlate_int.h"

unsigned flags_read(const struct x86_decoded *d)
{
	return d->insn.cpu_flags ? d->insn.cpu_flags->tested & FLAGS_ALL : 0;
}

bool flags_apart(const struct x86_decoded *d)
{
	const ZydisAccessedFlags *f = d->insn.cpu_flags;

	return !f || !((f->tested | f->modified | f->set_0 | f->set_1 | f->undefined) & FLAGS_ALL);
}

/* Shifts and rotations change nothing when the count is 0. */
static bool count_may_be_zero(const struct x86_decoded *d)
{
	unsigned n = d->insn.mnemonic == ZYDIS_MNEMONIC_SHLD ||
				     d->insn.mnemonic == ZYDIS_MNEMONIC_SHRD
			     ? 2
			     : 1;

	if (d->op[n].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return true;
	return !(d->op[n].imm.value.u & (d->opsize == 8 ? 63 : 31));
}

unsigned flags_kill(const struct x86_decoded *d)
{
	const ZydisAccessedFlags *f = d->insn.cpu_flags;
	unsigned sure;

	if (!f || d->insn.meta.category == ZYDIS_CATEGORY_STRINGOP)
		return 0;
	sure = (f->modified | f->set_0 | f->set_1) & FLAGS_ALL;
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
		return count_may_be_zero(d) ? 0 : FLAGS_ALL;
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		return count_may_be_zero(d) ? 0 : sure & (RFLAGS_CF);
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_TEST:
		return FLAGS_ALL; /* AF is cleared */
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		return RFLAGS_ZF;
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
		return RFLAGS_ZF;
	default:
		return sure & ~f->undefined;
	}
}
