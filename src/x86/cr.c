/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control registers (SDM 3A 2.5, 4.1, 4.10.4.1; SDM 2B MOV CR), debug registers (17.2, SDM 2B MOV
 * DR), XCR0 (13.3 of volume 1), INVLPG and INVPCID.
 *
 * All checks come before anything changes.  What a change does to cached translations: the TLB
 * holds rights as well as addresses, so every bit that rights depend on (CR0.WP, CR4.SMEP,
 * EFER.NXE...) drops all of it, as do the changes for which the manual demands it.
 */
#include <string.h>
#include "x86/cpuid.h"
#include "x86/debug.h"
#include "x86/mmu.h"
#include "x86/sys.h"

#define CR0_KNOWN                                                                                  \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR3_NOFLUSH BIT(63)
#define CR3_PCID UINT64_C(0xfff)
#define DR6_ONES UINT64_C(0xffff0ff0)
#define DR6_WRITABLE UINT64_C(0xe00f) /* B0-B3, BD, BS, BT */
#define DR6_BD BIT(13)
#define DR7_GD BIT(13)
#define DR7_ONES BIT(10)
#define DR7_WRITABLE UINT64_C(0xffff23ff)

static void __attribute__((noreturn)) gp(struct x86_cpu *c)
{
	x86_raise_err(c, X86_GP, 0);
}

static bool has(const struct x86_cpu *c, enum x86_feature f)
{
	return x86_cpuid_has(c->vm->cpuid, f);
}

/* --- CR0, CR3, CR4 --- */

/* Under PAE paging the four PDPTEs are loaded when paging's terms change; #GP when they are bad. */
static void load_pdptes(struct x86_cpu *c, uint64_t cr3)
{
	uint64_t p[4];

	if (!x86_load_pdptes(c, cr3, p))
		gp(c);
	memcpy(c->pdpte, p, sizeof(p));
}

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & (EFER_LMA | EFER_LME));
}

/* May IA-32e mode begin (SDM 3A 9.8.5)? */
static void check_long_enter(struct x86_cpu *c)
{
	unsigned tss = SEG_TYPE(c->s.seg[X86_TR].attr);

	if (!(c->s.cr4 & CR4_PAE) || (c->s.seg[X86_CS].attr & SEG_L))
		gp(c);
	if ((c->s.seg[X86_TR].attr & SEG_P) && (tss == 1 || tss == 3))
		gp(c);
}

static void set_cr0(struct x86_cpu *c, uint64_t val)
{
	uint64_t old = c->s.cr0, flip;

	if (val >> 32)
		gp(c);
	val = (val & CR0_KNOWN) | CR0_ET;
	flip = old ^ val;
	if ((val & CR0_PG) && !(val & CR0_PE))
		gp(c);
	if ((val & CR0_NW) && !(val & CR0_CD))
		gp(c);
	if ((flip & CR0_PG) && (val & CR0_PG) && (c->s.efer & EFER_LME))
		check_long_enter(c);
	if ((flip & CR0_PG) && !(val & CR0_PG) &&
	    ((c->mode & X86_MODE_CS64) || (c->s.cr4 & CR4_PCIDE)))
		gp(c);
	if ((flip & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(val, c->s.cr4, c->s.efer))
		load_pdptes(c, c->s.cr3);
	c->s.cr0 = val;
	if (flip & CR0_PG) {
		if ((val & CR0_PG) && (c->s.efer & EFER_LME))
			c->s.efer |= EFER_LMA;
		else
			c->s.efer &= ~EFER_LMA;
	}
	if (flip & (CR0_PG | CR0_WP | CR0_PE))
		x86_tlb_flush(c, true);
	if (flip & ~(CR0_TS | CR0_MP | CR0_NE | CR0_EM))
		x86_update_mode(c);
}

static void set_cr3(struct x86_cpu *c, uint64_t val)
{
	bool keep = false, same;
	uint16_t pcid = 0;

	if (c->s.cr4 & CR4_PCIDE) {
		pcid = val & CR3_PCID;
		keep = val & CR3_NOFLUSH;
		val &= ~CR3_NOFLUSH;
	}
	if (c->s.efer & EFER_LMA) {
		if (val & (c->phys_reserved | UINT64_C(0xfff0000000000000)))
			gp(c);
	} else if (!(c->mode & X86_MODE_CS64)) {
		val = (uint32_t)val;
	}
	if (pae_paging(c->s.cr0, c->s.cr4, c->s.efer))
		load_pdptes(c, val);
	same = val == c->s.cr3;
	c->s.cr3 = val;
	LOGF(c->log, MMU, "cpu%u: cr3 %#lx%s\n", c->index, val, keep ? " kept" : "");
	x86_tlb_space(c, pcid, keep, same);
}

/* Bits of CR4 that exist by the CPUID model. */
static uint64_t cr4_known(const struct x86_cpu *c)
{
	static const struct {
		uint64_t bits;
		enum x86_feature f;
	} need[] = {
		{ CR4_VME | CR4_PVI, X86_FEAT_VME }, { CR4_TSD, X86_FEAT_TSC },
		{ CR4_DE, X86_FEAT_DE }, { CR4_PSE, X86_FEAT_PSE },
		{ CR4_PAE, X86_FEAT_PAE }, { CR4_MCE, X86_FEAT_MCE },
		{ CR4_PGE, X86_FEAT_PGE }, { CR4_OSFXSR, X86_FEAT_FXSR },
		{ CR4_OSXMMEXCPT, X86_FEAT_SSE }, { CR4_UMIP, X86_FEAT_UMIP },
		{ CR4_FSGSBASE, X86_FEAT_FSGSBASE }, { CR4_PCIDE, X86_FEAT_PCID },
		{ CR4_OSXSAVE, X86_FEAT_XSAVE }, { CR4_SMEP, X86_FEAT_SMEP },
		{ CR4_SMAP, X86_FEAT_SMAP },
	};
	uint64_t known = CR4_PCE;

	for (unsigned i = 0; i < ARRAY_SIZE(need); i++)
		if (has(c, need[i].f))
			known |= need[i].bits;
	return known;
}

static void set_cr4(struct x86_cpu *c, uint64_t val)
{
	uint64_t flip = c->s.cr4 ^ val;

	if (val & ~cr4_known(c))
		gp(c);
	if ((c->s.efer & EFER_LMA) && !(val & CR4_PAE))
		gp(c);
	if ((flip & CR4_PCIDE) && (val & CR4_PCIDE) &&
	    (!(c->s.efer & EFER_LMA) || (c->s.cr3 & CR3_PCID)))
		gp(c);
	if ((flip & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
	    pae_paging(c->s.cr0, val, c->s.efer))
		load_pdptes(c, c->s.cr3);
	c->s.cr4 = val;
	if (flip & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_PCIDE))
		x86_tlb_flush(c, true);
	x86_update_mode(c);
}

static void set_cr8(struct x86_cpu *c, uint64_t val)
{
	if (val > 15)
		gp(c);
	X86_HOST(c, tpr_set, c->index, (uint8_t)val);
}

void x86_set_cr(struct x86_cpu *c, unsigned cr, uint64_t val)
{
	switch (cr) {
	case 0: set_cr0(c, val); break;
	case 2: c->s.cr2 = val; break;
	case 3: set_cr3(c, val); break;
	case 4: set_cr4(c, val); break;
	case 8: set_cr8(c, val); break;
	default: x86_raise(c, X86_UD);
	}
}

uint64_t x86_get_cr(struct x86_cpu *c, unsigned cr)
{
	switch (cr) {
	case 0: return c->s.cr0;
	case 2: return c->s.cr2;
	case 3: return c->s.cr3;
	case 4: return c->s.cr4;
	case 8: return X86_HOST(c, tpr_get, c->index);
	}
	x86_raise(c, X86_UD);
}

/* LMSW reaches PE, MP, EM and TS, and cannot clear PE. */
void x86_lmsw(struct x86_cpu *c, uint16_t val)
{
	uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

	set_cr0(c, (c->s.cr0 & ~(low & ~CR0_PE)) | (val & low));
}

/* --- debug registers --- */

/* DR4 and DR5 are DR6 and DR7, or do not exist (CR4.DE); DR7.GD guards all. */
static unsigned dr_check(struct x86_cpu *c, unsigned dr)
{
	if (dr > 7 || ((dr == 4 || dr == 5) && (c->s.cr4 & CR4_DE)))
		x86_raise(c, X86_UD);
	if (c->s.dr7 & DR7_GD) {
		c->s.dr6 |= DR6_BD;
		c->s.dr7 &= ~DR7_GD; /* for the handler to reach them */
		x86_raise(c, X86_DB);
	}
	return dr == 4 || dr == 5 ? dr + 2 : dr;
}

void x86_set_dr(struct x86_cpu *c, unsigned dr, uint64_t val)
{
	dr = dr_check(c, dr);
	if (dr >= 6 && val >> 32)
		gp(c);
	if (dr < 4)
		c->s.dr[dr] = val;
	else if (dr == 6)
		c->s.dr6 = (val & DR6_WRITABLE) | DR6_ONES;
	else
		c->s.dr7 = (val & DR7_WRITABLE) | DR7_ONES;
	if (dr != 6)
		x86_debug_changed(c);
}

uint64_t x86_get_dr(struct x86_cpu *c, unsigned dr)
{
	dr = dr_check(c, dr);
	if (dr < 4)
		return c->s.dr[dr];
	return dr == 6 ? c->s.dr6 : c->s.dr7;
}

/* --- extended control registers --- */

void x86_xsetbv(struct x86_cpu *c, uint32_t index, uint64_t val)
{
	if (!(c->s.cr4 & CR4_OSXSAVE))
		x86_raise(c, X86_UD);
	if (x86_cpl(&c->s) || index || (val & ~x86_cpuid_xcr0(c->vm->cpuid)) || !(val & XCR0_X87))
		gp(c);
	if ((val & XCR0_AVX) && !(val & XCR0_SSE))
		gp(c);
	c->s.xcr0 = val;
}

/* XCR1 is the components in use: all that are enabled may always be said to be (SDM 1 13.6). */
uint64_t x86_xgetbv(struct x86_cpu *c, uint32_t index)
{
	if (!(c->s.cr4 & CR4_OSXSAVE))
		x86_raise(c, X86_UD);
	if (index > 1 || (index == 1 && !has(c, X86_FEAT_XGETBV1)))
		gp(c);
	return c->s.xcr0;
}

/* --- invalidation --- */

void x86_invlpg(struct x86_cpu *c, uint64_t lin)
{
	/* A non-canonical address is no operation (SDM 2A INVLPG). */
	if (!(c->s.efer & EFER_LMA))
		lin = (uint32_t)lin;
	else if (!x86_canonical(lin))
		return;
	x86_tlb_flush_page(c, lin);
}

/* Only translations of the current PCID exist here, and global ones. */
static bool pcid_current(const struct x86_cpu *c, uint64_t pcid)
{
	return pcid == (c->s.cr4 & CR4_PCIDE ? c->s.cr3 & CR3_PCID : 0);
}

void x86_invpcid(struct x86_cpu *c, uint64_t type, uint64_t desc_lo, uint64_t desc_hi)
{
	uint64_t pcid = desc_lo & CR3_PCID;

	if (type > 3 || (desc_lo & ~CR3_PCID))
		gp(c);
	if (type < 2 && pcid && !(c->s.cr4 & CR4_PCIDE))
		gp(c);
	if (type == 0 && (c->s.efer & EFER_LMA) && !x86_canonical(desc_hi))
		gp(c);
	if (type < 2 && !pcid_current(c, pcid)) {
		x86_tlb_flush_pcid(c, (uint16_t)pcid, type == 0 ? &desc_hi : NULL);
		return;
	}
	if (type == 0)
		x86_tlb_flush_page(c, c->s.efer & EFER_LMA ? desc_hi : (uint32_t)desc_hi);
	else if (type == 1)
		x86_tlb_space(c, (uint16_t)pcid, false, true);
	else
		x86_tlb_flush(c, type == 2);
}
