/* SPDX-License-Identifier: Apache-2.0 */
/* Control registers, MSRs, LMSW, CLTS: what they refuse and what they keep (SDM 3A 2.5, 4.10.4; SDM
 * 2 MOV CR). */
/* bm: bits=64 */
#include "bm.h"

SNIPPET(s_cr0, "mov %rax, %cr0");
SNIPPET(s_cr3, "mov %rax, %cr3");
SNIPPET(s_cr4, "mov %rax, %cr4");
SNIPPET(s_cr8, "mov %rax, %cr8\n\tmov %cr8, %rbx");
SNIPPET(s_cr1, ".byte 0x0f, 0x20, 0xc8");
SNIPPET(s_cr5, ".byte 0x0f, 0x22, 0xe8");
SNIPPET(s_lmsw, "lmsw %ax");
SNIPPET(s_clts, "clts");
SNIPPET(s_smsw, "mov $-1, %rax\n\tsmsw %ax");
SNIPPET(s_smswq, "smsw %rax");
SNIPPET(s_rdmsr, "rdmsr");
SNIPPET(s_wrmsr, "wrmsr");
SNIPPET(s_rdtsc, "rdtsc");
SNIPPET(s_rdpmc, "rdpmc");
SNIPPET(s_invd, "wbinvd");
SNIPPET(s_lgdt, "lgdt (%rax)");
SNIPPET(s_lidt, "lidt (%rax)");
SNIPPET(s_lldt, "lldt %ax");
SNIPPET(s_ltr, "ltr %ax");
SNIPPET(s_xsetbv, "xsetbv");
SNIPPET(s_xgetbv, "xgetbv");
SNIPPET(s_lar, "lar %eax, %ebx\n\tsetz %cl");
SNIPPET(s_lsl, "lsl %eax, %ebx\n\tsetz %cl");
SNIPPET(s_verr, "verr %ax\n\tsetz %cl");
SNIPPET(s_verw, "verw %ax\n\tsetz %cl");
SNIPPET(s_arpl, ".byte 0x63, 0xc0");

static void reg(const char *name, const char *snippet, ulong v, unsigned vector)
{
	in.ax = v;
	run_k(snippet);
	check_trap(name, vector, 0);
}

static void control(void)
{
	ulong cr0 = rd_cr0(), cr3 = rd_cr3(), cr4 = rd_cr4();

	reg("CR0 same", s_cr0, cr0, VEC_EXIT);
	if (!bm_tcg()) {
		reg("CR0.PG without PE", s_cr0, cr0 & ~1ul, GP);
		reg("CR0.PG off in 64-bit mode", s_cr0, cr0 & ~(1ul << 31), GP);
	}
	reg("CR0.NW without CD", s_cr0, cr0 | 1ul << 29, GP);
	reg("CR0 upper half", s_cr0, cr0 | 1ul << 32, GP);
	reg("CR0 reserved low bits vanish", s_cr0, cr0 | 0x2ffc0, VEC_EXIT);
	check_eq("CR0 as before", rd_cr0(), cr0);
	wr_cr0(cr0);
	reg("CR0.ET stays", s_cr0, cr0 & ~0x10ul, VEC_EXIT);
	check_eq("ET", rd_cr0() & 0x10, 0x10);
	if (!bm_tcg()) {
		reg("CR3 beyond MAXPHYADDR", s_cr3, cr3 | 1ul << 52, GP);
		reg("CR3 bit 63 without PCIDE", s_cr3, cr3 | 1ul << 63, GP);
	}
	reg("CR3 same", s_cr3, cr3, VEC_EXIT);
	if (!bm_tcg()) {
		reg("CR4.PAE off in IA-32e mode", s_cr4, cr4 & ~0x20ul, GP);
		reg("CR4 reserved", s_cr4, cr4 | 1ul << 31, GP);
		reg("CR4 upper half", s_cr4, cr4 | 1ul << 40, GP);
	}
	reg("CR4 same", s_cr4, cr4, VEC_EXIT);
	if (cpu_has(1, 2, 17)) {
		wr_cr3(cr3 | 1 << 3);
		if (!bm_tcg())
			reg("CR4.PCIDE while CR3 has bits", s_cr4, cr4 | 1 << 17, GP);
		wr_cr3(cr3);
	}
	reg("CR8", s_cr8, 5, VEC_EXIT);
	check_eq("CR8 reads", trap.bx, 5);
	reg("CR8 reserved", s_cr8, 0x10, GP);
	reg("CR8 back", s_cr8, 0, VEC_EXIT);
	reg("CR1", s_cr1, 0, UD);
	reg("CR5", s_cr5, 0, UD);
	wr_cr0(cr0);
	wr_cr4(cr4);

	reg("LMSW sets TS", s_lmsw, cr0 | 8, VEC_EXIT);
	check_eq("TS", rd_cr0() & 8, 8);
	run_k(s_smsw);
	check_eq("SMSW, 16-bit", trap.ax, (0xffffffffffff0000 | (cr0 & 0xffff)) | 8);
	run_k(s_smswq);
	check_eq("SMSW, 64-bit", trap.ax, cr0 | 8);
	run_k(s_clts);
	check_eq("CLTS", rd_cr0() & 8, 0);
	reg("LMSW cannot clear PE", s_lmsw, cr0 & 0xfffe, VEC_EXIT);
	check_eq("PE", rd_cr0() & 1, 1);
	reg("LMSW leaves the rest", s_lmsw, 1, VEC_EXIT);
	check_eq("CR0 but for MP, EM, TS", rd_cr0(), cr0 & ~0xeul);
	wr_cr0(cr0);
	run_u(s_lmsw);
	check_trap("LMSW at CPL 3", GP, 0);
	run_u(s_clts);
	check_trap("CLTS at CPL 3", GP, 0);
}

static void msr(const char *name, uint32_t index, uint64_t v, unsigned vector)
{
	in.cx = index;
	in.ax = (uint32_t)v;
	in.dx = v >> 32;
	run_k(s_wrmsr);
	check_trap(name, vector, 0);
}

static void msrs(void)
{
	uint64_t efer = rdmsr(EFER);

	in.cx = 0x12345678;
	run_k(s_rdmsr);
	check_trap("unknown MSR read", GP, 0);
	msr("unknown MSR written", 0x12345678, 0, GP);
	in.cx = EFER;
	run_u(s_rdmsr);
	check_trap("RDMSR at CPL 3", GP, 0);
	msr("EFER reserved", EFER, efer | 1 << 1, GP);
	msr("EFER.LME with paging", EFER, efer & ~0x100ull, GP);
	msr("EFER same", EFER, efer, VEC_EXIT);
	check_eq("EFER", rdmsr(EFER), efer);
	check_eq("EFER.LMA", efer & 0x400, 0x400);
	msr("LSTAR non-canonical", MSR_LSTAR, 1ull << 47, GP);
	msr("FS base non-canonical", MSR_FS_BASE, 1ull << 47, GP);
	msr("GS base non-canonical", MSR_GS_BASE, 1ull << 47, GP);
	msr("kernel GS base non-canonical", MSR_KERNEL_GS_BASE, 1ull << 47, GP);
	msr("SYSENTER_EIP non-canonical", 0x176, 1ull << 47, GP);
	msr("PAT reserved type", 0x277, 2, GP);
	msr("PAT", 0x277, 0x0007040600070406, VEC_EXIT);
	check_eq("PAT reads", rdmsr(0x277), 0x0007040600070406);
	msr("FMASK", MSR_FMASK, 0x47700, VEC_EXIT);
	check_eq("FMASK reads", rdmsr(MSR_FMASK), 0x47700);
	msr("APIC_BASE reserved", 0x1b, rdmsr(0x1b) | 1, GP);
	check_eq("APIC_BASE: BSP, enabled", rdmsr(0x1b) & 0x900, 0x900);
	msr("MTRR default", 0x2ff, 0xc06, VEC_EXIT);
	check_eq("MTRR default reads", rdmsr(0x2ff), 0xc06);
}

static void cpl3(const char *name, const char *snippet)
{
	run_u(snippet);
	check_trap(name, GP, 0);
}

static void privileged(void)
{
	static struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) table = {0xffff, 1ull << 47};

	cpl3("WBINVD at CPL 3", s_invd);
	cpl3("LGDT at CPL 3", s_lgdt);
	cpl3("LLDT at CPL 3", s_lldt);
	cpl3("LTR at CPL 3", s_ltr);
	if (!bm_tcg()) {
		reg("LGDT non-canonical", s_lgdt, (ulong)&table, GP);
		reg("LIDT non-canonical", s_lidt, (ulong)&table, GP);
	}
	if (!bm_tcg()) {
		in.ax = 0;
		run_k(s_ltr);
		check_trap("LTR null", GP, 0);
	}
	in.ax = KDATA;
	run_k(s_ltr);
	check_trap("LTR of data", GP, KDATA);
	in.ax = SEL_TSS;
	run_k(s_ltr);
	check_trap("LTR of a busy TSS", GP, SEL_TSS);
	in.ax = SEL_TSS | 4;
	run_k(s_ltr);
	check_trap("LTR from the LDT", GP, SEL_TSS | 4);
	in.ax = SEL_TSS;
	run_k(s_lldt);
	check_trap("LLDT of a TSS", GP, SEL_TSS);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfff, 0x02, 0);
	gdt[SEL_FREE / 8 + 1] = 0;
	in.ax = SEL_FREE;
	run_k(s_lldt);
	check_trap("LLDT not present", NP, SEL_FREE);
	in.ax = 0;
	run_k(s_lldt);
	check_ok("LLDT null");
	wr_cr4(rd_cr4() | 4);
	cpl3("RDTSC with TSD", s_rdtsc);
	run_k(s_rdtsc);
	check_ok("RDTSC with TSD at CPL 0");
	wr_cr4(rd_cr4() & ~4ul);
	run_u(s_rdtsc);
	check_ok("RDTSC at CPL 3");
	cpl3("RDPMC at CPL 3", s_rdpmc);
	if (cpu_has(1, 2, 26)) {
		run_k(s_xgetbv);
		check_trap("XGETBV without OSXSAVE", UD, 0);
		check("OSXSAVE in CPUID", !cpu_has(1, 2, 27));
		wr_cr4(rd_cr4() | 1 << 18);
		check("OSXSAVE in CPUID follows", cpu_has(1, 2, 27));
		in.ax = 3;
		run_k(s_xsetbv);
		check_ok("XSETBV");
		in.ax = 2;
		run_k(s_xsetbv);
		check_trap("XSETBV without x87", GP, 0);
		in.ax = 5;
		run_k(s_xsetbv);
		check_trap("XSETBV: AVX without SSE", GP, 0);
		in.ax = 3;
		in.cx = 1;
		run_k(s_xsetbv);
		check_trap("XCR1", GP, 0);
		cpl3("XSETBV at CPL 3", s_xsetbv);
		run_u(s_xgetbv);
		check_ok("XGETBV at CPL 3");
		check_eq("XCR0", trap.ax, 3);
		wr_cr4(rd_cr4() & ~(1ul << 18));
	}
}

static void query(const char *name, const char *snippet, ulong sel, bool zf, ulong out)
{
	in.ax = sel;
	in.bx = 0x55;
	run_k(snippet);
	check_eq(name, trap.cx & 1, zf);
	if (snippet == s_lar || snippet == s_lsl)
		check_eq(zf ? "its value" : "untouched", (uint32_t)trap.bx, zf ? out : 0x55);
}

static void queries(void)
{
	query("LAR of code", s_lar, KCODE, true, 0xaf9b00);
	query("LAR of data", s_lar, KDATA, true, 0xcf9300);
	query("LAR of a TSS", s_lar, SEL_TSS, true, 0x8b00);
	query("LAR null", s_lar, 0, false, 0);
	query("LAR, RPL too low", s_lar, KDATA | 3, false, 0);
	query("LAR beyond", s_lar, 0x3f8 + 8, false, 0);
	gdt[SEL_FREE / 8] = gate_desc(KCODE, 0, 0x8e, 0);
	query("LAR of an interrupt gate", s_lar, SEL_FREE, false, 0);
	gdt[SEL_FREE / 8] = gate_desc(KCODE, 0, 0x8c, 0);
	gdt[SEL_FREE / 8 + 1] = 0;
	query("LAR of a call gate", s_lar, SEL_FREE, true, 0x8c00);
	query("LSL of a call gate", s_lsl, SEL_FREE, false, 0);
	query("LSL", s_lsl, KDATA, true, 0xffffffff);
	query("LSL of a TSS", s_lsl, SEL_TSS, true, 103);
	query("VERR", s_verr, KDATA, true, 0);
	query("VERW", s_verw, KDATA, true, 0);
	query("VERW of code", s_verw, KCODE, false, 0);
	query("VERR of code", s_verr, KCODE, true, 0);
	query("VERR of a TSS", s_verr, SEL_TSS, false, 0);
	run_k(s_arpl);
	check_ok("ARPL is MOVSXD here");
}

void image_main(void)
{
	control();
	msrs();
	privileged();
	queries();
}
