/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved form of struct x86_state.
 *
 * A stream is hostile: what is loaded must be a state that a processor can be in, as far as
 * anything here relies on that (MXCSR and XSTATE_BV reach host instructions; mode bits select code
 * paths).  What depends on the CPUID model is the machine's to compare.
 */
#include <errno.h>
#include "base/err.h"
#include "state/state.h"
#include "x86/mmu.h"
#include "x86/state.h"

static const struct state_field segment_fields[] = {
	STATE_FIELD(struct x86_segment, base, STATE_U64),
	STATE_FIELD(struct x86_segment, limit, STATE_U32),
	STATE_FIELD(struct x86_segment, sel, STATE_U16),
	STATE_FIELD(struct x86_segment, attr, STATE_U16),
	STATE_END,
};
static const struct state_desc segment_desc = { .name = "segment", .version = 1,
						.fields = segment_fields };

static const struct state_field table_fields[] = {
	STATE_FIELD(struct x86_table, base, STATE_U64),
	STATE_FIELD(struct x86_table, limit, STATE_U16),
	STATE_END,
};
static const struct state_desc table_desc = { .name = "table", .version = 1,
					      .fields = table_fields };

static const struct state_field mtrr_fields[] = {
	{ .name = "base", .offset = 0, .kind = STATE_U64, .count = 1 },
	{ .name = "mask", .offset = sizeof(uint64_t), .kind = STATE_U64, .count = 1 },
	STATE_END,
};
static const struct state_desc mtrr_desc = { .name = "mtrr", .version = 1, .fields = mtrr_fields };

#define K(member) STATE_FIELD(struct x86_kvm_msrs, member, STATE_U64)
static const struct state_field kvm_fields[] = {
	K(system_time), K(wall_clock), K(steal_time), K(pv_eoi), K(async_pf_en), K(async_pf_int),
	K(poll_control), K(migration_control), STATE_END,
};
static const struct state_desc kvm_desc = { .name = "kvm", .version = 1, .fields = kvm_fields };

#define X(member, kind) STATE_FIELD(struct x86_xsave, member, kind)
static const struct state_field xsave_fields[] = {
	X(fcw, STATE_U16), X(fsw, STATE_U16), X(ftw, STATE_U8), X(fop, STATE_U16),
	X(fip, STATE_U64), X(fdp, STATE_U64), X(mxcsr, STATE_U32), X(mxcsr_mask, STATE_U32),
	STATE_BLOB(struct x86_xsave, st), STATE_BLOB(struct x86_xsave, xmm),
	X(xstate_bv, STATE_U64), X(xcomp_bv, STATE_U64), STATE_BLOB(struct x86_xsave, ymmh),
	STATE_END,
};
static const struct state_desc xsave_desc = { .name = "xsave", .version = 1,
					      .fields = xsave_fields };

#define U64(member) STATE_FIELD(struct x86_state, member, STATE_U64)
#define FLAG(member) STATE_FIELD(struct x86_state, member, STATE_BOOL)
#define U8(member) STATE_FIELD(struct x86_state, member, STATE_U8)
static const struct state_field state_fields[] = {
	STATE_ARRAY(struct x86_state, gpr, STATE_U64),
	U64(rip), U64(rflags),
	STATE_STRUCTS(struct x86_state, seg, segment_desc),
	STATE_SUB(struct x86_state, gdtr, table_desc),
	STATE_SUB(struct x86_state, idtr, table_desc),
	U64(cr0), U64(cr2), U64(cr3), U64(cr4), U64(xcr0),
	STATE_ARRAY(struct x86_state, dr, STATE_U64), U64(dr6), U64(dr7),
	U64(efer), U64(star), U64(lstar), U64(cstar), U64(fmask), U64(kernel_gs_base),
	U64(sysenter_cs), U64(sysenter_esp), U64(sysenter_eip),
	U64(pat), U64(apic_base), U64(misc_enable), U64(tsc_aux), U64(spec_ctrl), U64(xss),
	U64(debugctl), U64(tsc_offset), U64(tsc_adjust), U64(feature_control), U64(bios_sign_id),
	U64(mtrr_def_type), STATE_ARRAY(struct x86_state, mtrr_fixed, STATE_U64),
	STATE_STRUCTS(struct x86_state, mtrr_var, mtrr_desc),
	STATE_SUB(struct x86_state, kvm, kvm_desc),
	STATE_SUB(struct x86_state, xsave, xsave_desc),
	U8(mp_state), FLAG(sti_shadow), FLAG(movss_shadow), FLAG(nmi_blocked), FLAG(nmi_pending),
	U8(sipi_vector), FLAG(exc_pending), U8(exc_vector), FLAG(exc_has_error),
	STATE_FIELD(struct x86_state, exc_error, STATE_U32),
	STATE_END,
};

#define RFLAGS_KNOWN                                                                               \
	(RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF |  \
	 RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID | 2)
#define CR0_KNOWN UINT64_C(0xe005003f)
#define CR4_KNOWN                                                                                  \
	(UINT64_C(0xfff) | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)
#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

static bool modes_ok(const struct x86_state *s)
{
	bool pg = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA;

	if ((s->cr0 & ~CR0_KNOWN) || (s->cr4 & ~CR4_KNOWN) || (s->efer & ~EFER_KNOWN))
		return false;
	if ((pg && !(s->cr0 & CR0_PE)) || ((s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD)))
		return false;
	if (lma != (pg && (s->efer & EFER_LME)) || (lma && !(s->cr4 & CR4_PAE)))
		return false;
	return !(s->cr4 & CR4_PCIDE) || lma;
}

static bool flags_ok(const struct x86_state *s)
{
	if ((s->rflags & ~RFLAGS_KNOWN) || !(s->rflags & 2))
		return false;
	if (!(s->rflags & RFLAGS_VM))
		return true;
	return (s->cr0 & CR0_PE) && !(s->efer & EFER_LMA) && x86_cpl(s) == 3;
}

static bool segments_ok(const struct x86_state *s)
{
	uint16_t cs = s->seg[X86_CS].attr;
	bool lma = s->efer & EFER_LMA;

	for (unsigned i = 0; i < X86_SREG_COUNT; i++) {
		const struct x86_segment *g = &s->seg[i];

		if (g->attr & 0x0f00)
			return false;
		/* 64-bit bases outlive IA-32e mode, and WRMSR sets FS and GS in every mode;
		 * what has 32-bit addresses uses as much of them. */
		if (lma || i >= X86_FS ? !x86_canonical(g->base) : g->base >> 32)
			return false;
	}
	if (!x86_canonical(s->gdtr.base) || !x86_canonical(s->idtr.base))
		return false;
	if (!lma && s->rip >> 32)
		return false;
	return !(lma && (cs & SEG_L) && (cs & SEG_DB));
}

static bool msrs_ok(const struct x86_state *s)
{
	const uint64_t linear[] = { s->lstar, s->cstar, s->kernel_gs_base, s->sysenter_esp,
				    s->sysenter_eip };

	for (unsigned i = 0; i < ARRAY_SIZE(linear); i++)
		if (!x86_canonical(linear[i]))
			return false;
	if ((s->apic_base & (BIT(10) | BIT(11))) == BIT(10))
		return false;
	return !(s->tsc_aux >> 32) && !s->xss;
}

static bool extended_ok(const struct x86_state *s)
{
	const struct x86_xsave *x = &s->xsave;
	uint64_t all = XCR0_X87 | XCR0_SSE | XCR0_AVX;

	if ((s->xcr0 & ~all) || !(s->xcr0 & XCR0_X87))
		return false;
	if ((s->xcr0 & XCR0_AVX) && !(s->xcr0 & XCR0_SSE))
		return false;
	return !(x->mxcsr & ~0xffffu) && !(x->xstate_bv & ~all) && !x->xcomp_bv;
}

static bool debug_ok(const struct x86_state *s)
{
	return !(s->dr6 >> 32) && !(s->dr7 >> 32) && (s->dr7 & BIT(10));
}

static int state_post_load(void *obj, struct err **e)
{
	const struct x86_state *s = obj;

	if (!modes_ok(s))
		return err_set(e, EINVAL, "CR0, CR4 and EFER contradict each other");
	if (!flags_ok(s))
		return err_set(e, EINVAL, "impossible RFLAGS %#lx", s->rflags);
	if (!segments_ok(s))
		return err_set(e, EINVAL, "impossible segment registers");
	if (!msrs_ok(s))
		return err_set(e, EINVAL, "impossible MSR values");
	if (!extended_ok(s))
		return err_set(e, EINVAL, "impossible XCR0 or XSAVE state");
	if (!debug_ok(s))
		return err_set(e, EINVAL, "impossible debug registers");
	if (s->mp_state > X86_MP_UNINITIALIZED || (s->exc_pending && s->exc_vector >= 32))
		return err_set(e, EINVAL, "impossible activity state");
	return 0;
}

const struct state_desc x86_state_desc = {
	.name = "x86-cpu",
	.version = 1,
	.fields = state_fields,
	.post_load = state_post_load,
};
