/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zydis as the guest's processor would decode.  Zydis knows every extension there is; a guest has
 * those that its CPUID shows (isa.def).  Some bytes are an extension or, where that is absent, an
 * older instruction (TZCNT is BSF with a prefix that is ignored, ENDBR64 a NOP): decoder modes
 * choose.
 */
#include <string.h>
#include "base/base.h"
#include "base/fpu.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/decode.h"

enum { ISA_NONE, ISA_ALWAYS, ISA_FEATURE }; /* ISA_FEATURE + enum x86_feature */

#define X86_FEAT_ALWAYS (ISA_ALWAYS - ISA_FEATURE)
static const uint8_t isa_needs[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
#define ISA(set, feat) [ZYDIS_ISA_SET_##set] = (uint8_t)(ISA_FEATURE + (int)X86_FEAT_##feat),
#include "x86/isa.def"
#undef ISA
};

static bool has(const struct x86_cpuid *m, enum x86_feature f)
{
	return !m || x86_cpuid_has(m, f);
}

static ZydisMachineMode machine_mode(uint32_t mode)
{
	bool real = !(mode & X86_MODE_PE) || mode & X86_MODE_V86;

	if (mode & X86_MODE_CS64)
		return ZYDIS_MACHINE_MODE_LONG_64;
	if (mode & X86_MODE_CS32)
		return mode & X86_MODE_LMA ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
					   : ZYDIS_MACHINE_MODE_LEGACY_32;
	if (real)
		return ZYDIS_MACHINE_MODE_REAL_16;
	return mode & X86_MODE_LMA ? ZYDIS_MACHINE_MODE_LONG_COMPAT_16
				   : ZYDIS_MACHINE_MODE_LEGACY_16;
}

static void decoder_init(ZydisDecoder *z, const struct x86_cpuid *m, uint32_t mode)
{
	ZydisStackWidth width = mode & X86_MODE_CS64   ? ZYDIS_STACK_WIDTH_64
				: mode & X86_MODE_SS32 ? ZYDIS_STACK_WIDTH_32
						       : ZYDIS_STACK_WIDTH_16;

	ZydisDecoderInit(z, machine_mode(mode), width);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_MPX, false);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_CET, false);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_CLDEMOTE, false);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_WBNOINVD, false);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_LZCNT, has(m, X86_FEAT_LZCNT));
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_TZCNT, has(m, X86_FEAT_BMI1));
}

/* Is this instruction one that the guest's processor has? */
static bool available(const struct x86_decoded *d, const struct x86_cpuid *m, uint32_t mode)
{
	const ZydisDecodedInstruction *z = &d->insn;
	unsigned need = isa_needs[z->meta.isa_set];

	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    z->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	if (need == ISA_NONE ||
	    (need >= ISA_FEATURE && !has(m, (enum x86_feature)(need - ISA_FEATURE))))
		return false;
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
	    (!(mode & X86_MODE_PE) || mode & X86_MODE_V86))
		return false;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_LAHF:
	case ZYDIS_MNEMONIC_SAHF:
		return !(mode & X86_MODE_CS64) || has(m, X86_FEAT_LAHF_LM);
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSRET:
		return has(m, X86_FEAT_SYSCALL);
	default:
		break;
	}
	/* Of the virtualization instructions a guest only has the hypercalls. */
	if (z->meta.isa_set == ZYDIS_ISA_SET_VTX)
		return z->mnemonic == ZYDIS_MNEMONIC_VMCALL;
	if (z->meta.isa_set == ZYDIS_ISA_SET_SVM)
		return z->mnemonic == ZYDIS_MNEMONIC_VMMCALL;
	/* VEX forms of AES and PCLMULQDQ belong to AVX as well. */
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
	    z->meta.isa_set == ZYDIS_ISA_SET_AVXAES)
		return has(m, X86_FEAT_AVX);
	if (z->mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ)
		return has(m, X86_FEAT_PCLMULQDQ);
	return true;
}

/* The last F2 or F3 is the repeat prefix of a string instruction. */
static void find_rep(struct x86_decoded *d)
{
	for (unsigned n = 0; n < d->insn.raw.prefix_count; n++) {
		uint8_t p = d->insn.raw.prefixes[n].value;

		if (p == 0xf2 || p == 0xf3) {
			d->rep = p == 0xf3;
			d->repne = p == 0xf2;
		}
	}
}

/*
 * Zydis 4.0.0: with 32-bit addresses, a SIB byte without base (mod 0, base 5) and REX.B or VEX.B
 * set is taken for base R13D without displacement.
 */
static void mend_no_base(struct x86_decoded *d)
{
	ZydisDecodedOperandMem *m;

	if (d->mem < 0 || d->addrsize != 4 || !(d->insn.attributes & ZYDIS_ATTRIB_HAS_SIB) ||
	    d->insn.raw.modrm.mod != 0 || d->insn.raw.sib.base != 5)
		return;
	m = &d->op[d->mem].mem;
	m->base = ZYDIS_REGISTER_NONE;
	m->disp.has_displacement = true;
	m->disp.value = d->insn.raw.disp.value;
}

static void find_mem(struct x86_decoded *d)
{
	d->mem = -1;
	for (unsigned n = 0; n < d->insn.operand_count; n++) {
		const ZydisDecodedOperand *o = &d->op[n];

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
		    (o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM &&
		     o->encoding != ZYDIS_OPERAND_ENCODING_DISP16_32_64))
			continue;
		d->mem = (int8_t)n;
		if (o->mem.type != ZYDIS_MEMOP_TYPE_AGEN)
			d->mem_size = o->size / 8;
		d->mem_read = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
		d->mem_write = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		return;
	}
}

enum x86_decode_status x86_decode(struct x86_decoded *d, const struct x86_cpuid *m, uint32_t mode,
				  const uint8_t *bytes, size_t len)
{
	static _Thread_local struct {
		uint64_t key; /* what decoder_init depends on; 0: none made yet */
		ZydisDecoder z;
	} last;
	uint64_t key = BIT(63) | mode | (uint64_t)has(m, X86_FEAT_LZCNT) << 32 |
		       (uint64_t)has(m, X86_FEAT_BMI1) << 33;
	ZyanStatus st;

	fpu_claim();
	len = min_u64(len, X86_INSN_MAX);
	if (last.key != key) {
		decoder_init(&last.z, m, mode);
		last.key = key;
	}
	st = ZydisDecoderDecodeFull(&last.z, bytes, len, &d->insn, d->op);
	if (st == ZYDIS_STATUS_NO_MORE_DATA)
		return len == X86_INSN_MAX ? X86_DECODE_LONG : X86_DECODE_MORE;
	if (st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return X86_DECODE_LONG;
	memcpy(d->bytes, bytes, len);
	d->len = (uint8_t)len;
	if (!ZYAN_SUCCESS(st))
		return X86_DECODE_UD;
	d->len = d->insn.length;
	d->mem_size = 0;
	d->mem_read = d->mem_write = d->rep = d->repne = false;
	d->opsize = d->insn.operand_width / 8;
	d->addrsize = d->insn.address_width / 8;
	d->lock = d->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK;
	find_mem(d);
	mend_no_base(d);
	find_rep(d);
	return available(d, m, mode) ? X86_DECODE_OK : X86_DECODE_UD;
}

const char *x86_disasm(const struct x86_decoded *d, uint64_t rip, char *out, size_t size)
{
	ZydisFormatter f;

	fpu_claim();
	if (!ZYAN_SUCCESS(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
		    &f, &d->insn, d->op, d->insn.operand_count_visible, out, size, rip, NULL)))
		return "?";
	return out;
}
