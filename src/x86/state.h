/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * struct x86_state: the architectural state of one logical processor, the only form in which a vCPU
 * is inspected, saved, migrated or handed between engines.  Names are the SDM's.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/base.h"

enum x86_gpr {
	X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI,
	X86_R8, X86_R9, X86_R10, X86_R11, X86_R12, X86_R13, X86_R14, X86_R15,
	X86_GPR_COUNT
};

/* Numbered as in instruction encodings; LDTR and TR follow. */
enum x86_sreg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_LDTR, X86_TR, X86_SREG_COUNT };

/* A segment register with its hidden part (SDM 3A 3.4.3).  attr is bits 8..23 of a descriptor's
 * high doubleword, shifted down by 8: type 0..3, S 4, DPL 5..6, P 7, (limit bits 8..11 zeroed), AVL
 * 12, L 13, D/B 14, G 15.  limit is in bytes (already scaled by G).  An unusable (null) register
 * has attr 0. */
struct x86_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t sel;
	uint16_t attr;
};

#define SEG_TYPE(a) ((a) & 0xf)
#define SEG_S BIT(4)
#define SEG_DPL(a) (((a) >> 5) & 3)
#define SEG_P BIT(7)
#define SEG_AVL BIT(12)
#define SEG_L BIT(13)
#define SEG_DB BIT(14)
#define SEG_G BIT(15)
/* Type bits of code and data segments. */
#define SEG_TYPE_A BIT(0)
#define SEG_TYPE_W BIT(1) /* data: writable */
#define SEG_TYPE_R BIT(1) /* code: readable */
#define SEG_TYPE_E BIT(2) /* data: expand down */
#define SEG_TYPE_C BIT(2) /* code: conforming */
#define SEG_TYPE_CODE BIT(3)

struct x86_table {
	uint64_t base;
	uint16_t limit;
};

enum x86_mp_state { X86_MP_RUNNABLE, X86_MP_HALTED, X86_MP_WAIT_SIPI, X86_MP_UNINITIALIZED };

/* XSAVE area, standard format (SDM 1 13.4): legacy 512 bytes, 64-byte header, YMM_Hi128 at 576. */
#define X86_XSAVE_SIZE 832
struct x86_xsave {
	uint16_t fcw, fsw;
	uint8_t ftw, rsvd0; /* abridged tag word */
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t rsvd1[96];
	uint64_t xstate_bv, xcomp_bv;
	uint8_t rsvd2[48];
	uint8_t ymmh[16][16];
} __attribute__((aligned(64)));

#define X86_MTRR_VAR 8

struct x86_kvm_msrs { /* KVM paravirtual interface */
	uint64_t system_time, wall_clock, steal_time, pv_eoi, async_pf_en, async_pf_int;
	uint64_t poll_control, migration_control;
};

struct x86_state {
	uint64_t gpr[X86_GPR_COUNT];
	uint64_t rip;
	uint64_t rflags; /* bit 1 always set */
	struct x86_segment seg[X86_SREG_COUNT];
	struct x86_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4;
	uint64_t xcr0;
	uint64_t dr[4], dr6, dr7;

	uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, apic_base, misc_enable, tsc_aux, spec_ctrl, xss;
	uint64_t debugctl, tsc_offset, tsc_adjust, feature_control, bios_sign_id;
	uint64_t mtrr_def_type, mtrr_fixed[11];
	struct { uint64_t base, mask; } mtrr_var[X86_MTRR_VAR];
	struct x86_kvm_msrs kvm;

	struct x86_xsave xsave;

	uint8_t mp_state;	/* enum x86_mp_state */
	bool sti_shadow;	/* interrupts held off for one instruction */
	bool movss_shadow;	/* interrupts and #DB held off for one instruction */
	bool nmi_blocked;	/* until IRET */
	bool nmi_pending;
	uint8_t sipi_vector;
	bool exc_pending;	/* an exception is to be delivered before the next instruction */
	uint8_t exc_vector;
	bool exc_has_error;
	uint32_t exc_error;
};

/* RFLAGS */
#define RFLAGS_CF BIT(0)
#define RFLAGS_PF BIT(2)
#define RFLAGS_AF BIT(4)
#define RFLAGS_ZF BIT(6)
#define RFLAGS_SF BIT(7)
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_DF BIT(10)
#define RFLAGS_OF BIT(11)
#define RFLAGS_IOPL (BIT(12) | BIT(13))
#define RFLAGS_NT BIT(14)
#define RFLAGS_RF BIT(16)
#define RFLAGS_VM BIT(17)
#define RFLAGS_AC BIT(18)
#define RFLAGS_VIF BIT(19)
#define RFLAGS_VIP BIT(20)
#define RFLAGS_ID BIT(21)
#define RFLAGS_ARITH (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* CR0, CR4, EFER, XCR0 */
#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)
#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_LA57 BIT(12)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)

/* Exception vectors */
enum x86_vector {
	X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF = 4, X86_BR = 5, X86_UD = 6,
	X86_NM = 7, X86_DF = 8, X86_TS = 10, X86_NP = 11, X86_SS_FAULT = 12, X86_GP = 13,
	X86_PF = 14, X86_MF = 16, X86_AC = 17, X86_MC = 18, X86_XM = 19,
};

/* Page-fault error code (SDM 3A 4.7) */
#define PF_P BIT(0)
#define PF_W BIT(1)
#define PF_U BIT(2)
#define PF_RSVD BIT(3)
#define PF_I BIT(4)

/* x86_state_reset - power-up or RESET# state (SDM 3A 10.1.1, table 10-1); bsp: bootstrap processor
 * (RUNNABLE) or not (WAIT_SIPI); signature: what RDX holds then (x86_cpuid_signature). */
void x86_state_reset(struct x86_state *s, bool bsp, uint32_t signature);

/* Saved form (state/state.h), of a struct x86_state. */
struct state_desc;
extern const struct state_desc x86_state_desc;

/* x86_cpl - current privilege level. */
static inline unsigned x86_cpl(const struct x86_state *s)
{
	return SEG_DPL(s->seg[X86_SS].attr);
}
