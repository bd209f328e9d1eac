/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model-specific registers (SDM 4; AMD APM 2 appendix A; KVM's own in kvmpv.c).
 *
 * Three kinds: plain ones, a field of struct x86_state with a rule for values; constants, whose
 * writes are refused or ignored as a processor of that vendor does; and those that do something,
 * each by its own code. Everything else is #GP(0) and a line in the unimp log.
 */
#include "base/loop.h"
#include "x86/cpuid.h"
#include "x86/kvmpv_int.h"
#include "x86/mmu.h"
#include "x86/sys.h"

enum {
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_FEAT_CTL = 0x3a,
	MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48,
	MSR_PRED_CMD = 0x49,
	MSR_BIOS_UPDT_TRIG = 0x79,
	MSR_BIOS_SIGN_ID = 0x8b,
	MSR_PLATFORM_INFO = 0xce,
	MSR_MTRRCAP = 0xfe,
	MSR_ARCH_CAPABILITIES = 0x10a,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_DEBUGCTL = 0x1d9,
	MSR_MTRR_VAR = 0x200,
	MSR_MTRR_FIX64K = 0x250,
	MSR_MTRR_FIX16K = 0x258,
	MSR_MTRR_FIX4K = 0x268,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC = 0x800,
	MSR_X2APIC_END = 0x900,
	MSR_EFER = 0xc0000080,
	MSR_STAR = 0xc0000081,
	MSR_LSTAR = 0xc0000082,
	MSR_CSTAR = 0xc0000083,
	MSR_FMASK = 0xc0000084,
	MSR_FS_BASE = 0xc0000100,
	MSR_GS_BASE = 0xc0000101,
	MSR_KERNEL_GS_BASE = 0xc0000102,
	MSR_TSC_AUX = 0xc0000103,
};

#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_EXTD BIT(10)
#define APIC_BASE_EN BIT(11)
#define MISC_ENABLE_FIXED (BIT(0) | BIT(11) | BIT(12)) /* fast strings; no BTS, no PEBS */
#define FEAT_CTL_LOCKED BIT(0)
#define SPEC_CTRL_IBRS BIT(0)
#define SPEC_CTRL_STIBP BIT(1)
#define SPEC_CTRL_BHI_DIS_S BIT(10)
#define DEBUGCTL_LBR BIT(0)
#define DEBUGCTL_BTF BIT(1)
#define MTRRCAP_VALUE (X86_MTRR_VAR | BIT(8) | BIT(10)) /* fixed ranges, WC */

/* "Not affected" by what the engines are not affected by (SDM 4 table 2-2,
 * IA32_ARCH_CAPABILITIES). */
#define ARCH_CAPS                                                                                  \
	(BIT(0) /* RDCL */ | BIT(1) /* enhanced IBRS */ | BIT(3) /* no L1D flush */ |              \
	 BIT(4) /* SSB */ | BIT(5) /* MDS */ | BIT(6) /* page-size change MC */ |                  \
	 BIT(8) /* TAA */ | BIT(13) /* SBDR, SSDP */ | BIT(14) /* FBSDP */ | BIT(15) /* PSDP */ |  \
	 BIT(20) /* BHI */ | BIT(24) /* PBRSB */ | BIT(26) /* GDS */ | BIT(27) /* RFDS */ |        \
	 BIT(62) /* ITS */)

static bool has(const struct x86_cpu *c, enum x86_feature f)
{
	return x86_cpuid_has(c->vm->cpuid, f);
}

/* --- plain registers --- */

enum msr_rule { RULE_ANY, RULE_CANONICAL, RULE_32, RULE_CUT32, RULE_PAT };

struct msr_plain {
	uint32_t index;
	uint32_t offset; /* in struct x86_state */
	enum msr_rule rule;
	enum x86_feature needs;
};

#define PLAIN(i, field, rule, needs)                                                               \
	{ i, offsetof(struct x86_state, field), rule, X86_FEAT_##needs }
static const struct msr_plain plain[] = {
	PLAIN(MSR_SYSENTER_CS, sysenter_cs, RULE_CUT32, SEP),
	PLAIN(MSR_SYSENTER_ESP, sysenter_esp, RULE_CANONICAL, SEP),
	PLAIN(MSR_SYSENTER_EIP, sysenter_eip, RULE_CANONICAL, SEP),
	PLAIN(MSR_PAT, pat, RULE_PAT, PAT),
	PLAIN(MSR_STAR, star, RULE_ANY, SYSCALL),
	PLAIN(MSR_LSTAR, lstar, RULE_CANONICAL, LM),
	PLAIN(MSR_CSTAR, cstar, RULE_CANONICAL, LM),
	PLAIN(MSR_FMASK, fmask, RULE_CUT32, SYSCALL),
	PLAIN(MSR_FS_BASE, seg[X86_FS].base, RULE_CANONICAL, LM),
	PLAIN(MSR_GS_BASE, seg[X86_GS].base, RULE_CANONICAL, LM),
	PLAIN(MSR_KERNEL_GS_BASE, kernel_gs_base, RULE_CANONICAL, LM),
	PLAIN(MSR_TSC_AUX, tsc_aux, RULE_32, RDTSCP),
};

static bool type_ok(uint8_t t)
{
	return t < 8 && ((1u << t) & 0x73); /* UC WC WT WP WB */
}

/* IA32_PAT may also name UC- (7). */
static bool pat_ok(uint64_t v)
{
	for (unsigned i = 0; i < 64; i += 8)
		if (!type_ok((uint8_t)(v >> i)) && (uint8_t)(v >> i) != 7)
			return false;
	return true;
}

static const struct msr_plain *plain_find(const struct x86_cpu *c, uint32_t index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
		if (plain[i].index == index)
			return has(c, plain[i].needs) ? &plain[i] : NULL;
	return NULL;
}

static uint64_t *plain_field(struct x86_cpu *c, const struct msr_plain *p)
{
	return (uint64_t *)((char *)&c->s + p->offset);
}

static bool plain_write(struct x86_cpu *c, const struct msr_plain *p, uint64_t val)
{
	switch (p->rule) {
	case RULE_ANY:
		break;
	case RULE_CANONICAL:
		if (!x86_canonical(val))
			return false;
		break;
	case RULE_32:
		if (val >> 32)
			return false;
		break;
	case RULE_CUT32:
		val = (uint32_t)val;
		break;
	case RULE_PAT:
		if (!pat_ok(val))
			return false;
		break;
	}
	*plain_field(c, p) = val;
	return true;
}

/* --- constants --- */

enum { INTEL = 1, AMD = 2, READ_ONLY = 4 };

struct msr_const {
	uint32_t index;
	uint32_t flags;
	uint64_t value;
};

static const struct msr_const constants[] = {
	{ 0x0, INTEL | AMD, 0 },		       /* P5_MC_ADDR */
	{ 0x1, INTEL | AMD, 0 },		       /* P5_MC_TYPE */
	{ 0x17, INTEL | READ_ONLY, 0 },		       /* PLATFORM_ID */
	{ 0x2a, INTEL | AMD, 0 },		       /* EBL_CR_POWERON */
	{ 0x34, INTEL | READ_ONLY, 0 },		       /* SMI_COUNT: there is no SMM */
	{ MSR_BIOS_UPDT_TRIG, INTEL, 0 },	       /* no microcode to load */
	{ MSR_BIOS_SIGN_ID, INTEL, BIT(32) },	       /* revision 1; guests write 0 before CPUID */
	{ MSR_BIOS_SIGN_ID, AMD | READ_ONLY, 0x1000065 }, /* PATCH_LEVEL */
	{ 0xe2, INTEL, 0 },			       /* PKG_CST_CONFIG_CONTROL */
	{ MSR_MTRRCAP, INTEL | AMD | READ_ONLY, MTRRCAP_VALUE },
	{ 0x179, INTEL | AMD | READ_ONLY, 0 },	       /* MCG_CAP: no banks */
	{ 0x17a, INTEL | AMD, 0 },		       /* MCG_STATUS */
	{ 0x198, INTEL | READ_ONLY, 0 },	       /* PERF_STATUS */
	{ 0x1db, INTEL | AMD | READ_ONLY, 0 },	       /* LASTBRANCHFROMIP and on: no LBR */
	{ 0x1dc, INTEL | AMD | READ_ONLY, 0 },
	{ 0x1dd, INTEL | AMD | READ_ONLY, 0 },
	{ 0x1de, INTEL | AMD | READ_ONLY, 0 },
	{ 0xc0010010, AMD, 0 },			       /* SYSCFG */
	{ 0xc0010015, AMD, BIT(24) },		       /* HWCR: TSC counts at P0 frequency */
	{ 0xc001001f, AMD, 0 },			       /* NB_CFG */
	{ 0xc0010055, AMD, 0 },			       /* INT_PENDING_MSG */
	{ 0xc0010058, AMD, 0 },			       /* MMIO_CONF_BASE */
	{ 0xc0011020, AMD, 0 },			       /* LS_CFG */
	{ 0xc0011022, AMD, 0 },			       /* DC_CFG */
	{ 0xc0011023, AMD, 0 },			       /* BU_CFG */
	{ 0xc0011029, AMD, BIT(1) },		       /* DE_CFG: LFENCE serializes */
	{ 0xc001102a, AMD, 0 },			       /* BU_CFG2 */
};

static const struct msr_const *const_find(const struct x86_cpu *c, uint32_t index)
{
	uint32_t vendor = x86_cpuid_amd(c->vm->cpuid) ? AMD : INTEL;

	for (unsigned i = 0; i < ARRAY_SIZE(constants); i++)
		if (constants[i].index == index && (constants[i].flags & vendor))
			return &constants[i];
	return NULL;
}

/* --- MTRRs (SDM 3A 12.11.2): kept for the guest, without effect --- */

/* Index in mtrr_fixed: 64K, 16K x2, 4K x8. */
static int mtrr_fixed(uint32_t index)
{
	if (index == MSR_MTRR_FIX64K)
		return 0;
	if (index - MSR_MTRR_FIX16K < 2)
		return 1 + (int)(index - MSR_MTRR_FIX16K);
	if (index - MSR_MTRR_FIX4K < 8)
		return 3 + (int)(index - MSR_MTRR_FIX4K);
	return -1;
}

static uint64_t *mtrr_slot(struct x86_cpu *c, uint32_t index)
{
	uint32_t n = index - MSR_MTRR_VAR;
	int f = mtrr_fixed(index);

	if (!has(c, X86_FEAT_MTRR))
		return NULL;
	if (index == MSR_MTRR_DEF_TYPE)
		return &c->s.mtrr_def_type;
	if (f >= 0)
		return &c->s.mtrr_fixed[f];
	if (n < 2 * X86_MTRR_VAR)
		return n & 1 ? &c->s.mtrr_var[n / 2].mask : &c->s.mtrr_var[n / 2].base;
	return NULL;
}

static bool mtrr_ok(const struct x86_cpu *c, uint32_t index, uint64_t val)
{
	uint64_t phys = c->phys_reserved | ~(BIT(52) - 1);

	if (index == MSR_MTRR_DEF_TYPE)
		return !(val & ~UINT64_C(0xcff)) && type_ok((uint8_t)val);
	if (mtrr_fixed(index) >= 0) {
		for (unsigned i = 0; i < 64; i += 8)
			if (!type_ok((uint8_t)(val >> i)))
				return false;
		return true;
	}
	if (index & 1)
		return !(val & (phys | 0x7ff));
	return !(val & (phys | 0xf00)) && type_ok((uint8_t)val);
}

/* --- time stamp counter --- */

uint64_t x86_rdtsc(struct x86_cpu *c)
{
	return vclock_tsc(c->vm->clock) + c->s.tsc_offset;
}

/* Whatever counts by the TSC follows its jump: kvmclock, the local APIC's deadline. */
static void tsc_jump(struct x86_cpu *c, uint64_t delta)
{
	const struct x86_host_ops *h = c->vm->host;
	uint64_t deadline;

	c->s.tsc_offset += delta;
	c->s.tsc_adjust += delta;
	kvmpv_tsc_changed(c);
	fpu_claim();
	if (has(c, X86_FEAT_TSC_DEADLINE) &&
	    h->apic_rdmsr(c->vm->host_opaque, c->index, MSR_TSC_DEADLINE, &deadline) && deadline)
		h->apic_wrmsr(c->vm->host_opaque, c->index, MSR_TSC_DEADLINE, deadline);
}

/* --- registers with effects --- */

static bool is_apic(const struct x86_cpu *c, uint32_t index)
{
	if (index == MSR_TSC_DEADLINE)
		return has(c, X86_FEAT_TSC_DEADLINE);
	return index >= MSR_X2APIC && index < MSR_X2APIC_END && has(c, X86_FEAT_X2APIC);
}

/* Legal changes of mode: SDM 3A 11.12.1, figure 11-27. */
static bool wr_apic_base(struct x86_cpu *c, uint64_t val)
{
	uint64_t old = c->s.apic_base;
	uint64_t reserved = c->phys_reserved | ~(BIT(52) - 1) | 0x2ff;
	bool en = val & APIC_BASE_EN, extd = val & APIC_BASE_EXTD;

	if (!has(c, X86_FEAT_X2APIC))
		reserved |= APIC_BASE_EXTD;
	if ((val & reserved) || (extd && !en))
		return false;
	if (extd && !(old & APIC_BASE_EN))
		return false;
	if ((old & APIC_BASE_EXTD) && en && !extd)
		return false;
	val = (val & ~APIC_BASE_BSP) | (old & APIC_BASE_BSP);
	if (!X86_HOST(c, apic_wrmsr, c->index, MSR_APIC_BASE, val))
		return false;
	c->s.apic_base = val;
	x86_tlb_flush(c, true);
	return true;
}

static bool wr_efer(struct x86_cpu *c, uint64_t val)
{
	uint64_t known = EFER_LMA, old = c->s.efer;

	if (has(c, X86_FEAT_SYSCALL))
		known |= EFER_SCE;
	if (has(c, X86_FEAT_LM))
		known |= EFER_LME;
	if (has(c, X86_FEAT_NX))
		known |= EFER_NXE;
	if (val & ~known)
		return false;
	if (((old ^ val) & EFER_LME) && (c->s.cr0 & CR0_PG))
		return false;
	c->s.efer = (val & ~EFER_LMA) | (old & EFER_LMA);
	if ((old ^ val) & EFER_NXE)
		x86_tlb_flush(c, true);
	return true;
}

static bool wr_feat_ctl(struct x86_cpu *c, uint64_t val)
{
	if ((c->s.feature_control & FEAT_CTL_LOCKED) || (val & ~FEAT_CTL_LOCKED))
		return false;
	c->s.feature_control = val;
	return true;
}

/* The engines have nothing to restrict: the bits are kept, and cheaper for a guest than its own
 * work-arounds. */
static bool wr_spec_ctrl(struct x86_cpu *c, uint64_t val)
{
	uint64_t known = SPEC_CTRL_IBRS | SPEC_CTRL_STIBP;

	if (has(c, X86_FEAT_BHI_CTRL))
		known |= SPEC_CTRL_BHI_DIS_S;
	if (!has(c, X86_FEAT_SPEC_CTRL) || (val & ~known))
		return false;
	c->s.spec_ctrl = val;
	return true;
}

static bool wr_debugctl(struct x86_cpu *c, uint64_t val)
{
	if (val & ~(DEBUGCTL_LBR | DEBUGCTL_BTF))
		return false;
	if (val)
		LOGF(c->log, UNIMP, "cpu%u: DEBUGCTL %#lx\n", c->index, val);
	c->s.debugctl = val & DEBUGCTL_BTF;
	return true;
}

/* Ratio of the 100 MHz bus clock, twice: maximum without turbo, and minimum. */
static uint64_t platform_info(const struct x86_cpu *c)
{
	uint64_t ratio = x86_cpuid_tsc_khz(c->vm->cpuid) / 100000 & 0xff;

	return ratio << 40 | ratio << 8;
}

static bool rd_special(struct x86_cpu *c, uint32_t index, uint64_t *val)
{
	bool amd = x86_cpuid_amd(c->vm->cpuid);

	switch (index) {
	case MSR_TSC: *val = x86_rdtsc(c); return true;
	case MSR_APIC_BASE: *val = c->s.apic_base; return has(c, X86_FEAT_APIC);
	case MSR_FEAT_CTL: *val = c->s.feature_control; return !amd;
	case MSR_TSC_ADJUST: *val = c->s.tsc_adjust; return has(c, X86_FEAT_TSC_ADJUST);
	case MSR_SPEC_CTRL: *val = c->s.spec_ctrl; return has(c, X86_FEAT_SPEC_CTRL);
	case MSR_PLATFORM_INFO: *val = platform_info(c); return !amd;
	case MSR_ARCH_CAPABILITIES: *val = ARCH_CAPS; return has(c, X86_FEAT_ARCH_CAPABILITIES);
	case MSR_MISC_ENABLE: *val = c->s.misc_enable | MISC_ENABLE_FIXED; return !amd;
	case MSR_DEBUGCTL: *val = c->s.debugctl; return true;
	case MSR_EFER: *val = c->s.efer; return true;
	}
	return false;
}

static bool wr_special(struct x86_cpu *c, uint32_t index, uint64_t val)
{
	switch (index) {
	case MSR_TSC:
		tsc_jump(c, val - x86_rdtsc(c));
		return true;
	case MSR_TSC_ADJUST:
		if (!has(c, X86_FEAT_TSC_ADJUST))
			return false;
		tsc_jump(c, val - c->s.tsc_adjust);
		return true;
	case MSR_APIC_BASE: return has(c, X86_FEAT_APIC) && wr_apic_base(c, val);
	case MSR_FEAT_CTL: return !x86_cpuid_amd(c->vm->cpuid) && wr_feat_ctl(c, val);
	case MSR_SPEC_CTRL: return wr_spec_ctrl(c, val);
	case MSR_PRED_CMD: return has(c, X86_FEAT_SPEC_CTRL) && val <= 1;
	/* CPUID limit and XD disable cannot be switched on here: as if the bits did not exist. */
	case MSR_MISC_ENABLE: return !x86_cpuid_amd(c->vm->cpuid);
	case MSR_DEBUGCTL: return wr_debugctl(c, val);
	case MSR_EFER: return wr_efer(c, val);
	}
	return false;
}

static void __attribute__((noreturn, cold))
refuse(struct x86_cpu *c, const char *what, uint32_t index, uint64_t val)
{
	LOGF(c->log, UNIMP, "cpu%u: %s of MSR %#x (%#lx) at %#lx refused\n", c->index, what, index,
	     val, c->s.rip);
	x86_raise_err(c, X86_GP, 0);
}

uint64_t x86_rdmsr(struct x86_cpu *c, uint32_t index)
{
	const struct msr_plain *p = plain_find(c, index);
	const struct msr_const *k;
	const uint64_t *mtrr;
	uint64_t val = 0;

	if (p)
		return *plain_field(c, p);
	if (is_apic(c, index)) {
		if (X86_HOST(c, apic_rdmsr, c->index, index, &val))
			return val;
		refuse(c, "read", index, 0);
	}
	if (rd_special(c, index, &val) || kvmpv_rdmsr(c, index, &val))
		return val;
	mtrr = mtrr_slot(c, index);
	if (mtrr)
		return *mtrr;
	k = const_find(c, index);
	if (!k)
		refuse(c, "read", index, 0);
	return k->value;
}

static bool write_msr(struct x86_cpu *c, uint32_t index, uint64_t val)
{
	const struct msr_plain *p = plain_find(c, index);
	const struct msr_const *k;
	uint64_t *mtrr;

	if (p)
		return plain_write(c, p, val);
	if (is_apic(c, index))
		return X86_HOST(c, apic_wrmsr, c->index, index, val);
	if (wr_special(c, index, val) || kvmpv_wrmsr(c, index, val))
		return true;
	mtrr = mtrr_slot(c, index);
	if (mtrr) {
		if (!mtrr_ok(c, index, val))
			return false;
		*mtrr = val;
		return true;
	}
	k = const_find(c, index);
	return k && !(k->flags & READ_ONLY);
}

void x86_wrmsr(struct x86_cpu *c, uint32_t index, uint64_t val)
{
	if (!write_msr(c, index, val))
		refuse(c, "write", index, val);
}
