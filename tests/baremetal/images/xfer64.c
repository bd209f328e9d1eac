/* SPDX-License-Identifier: Apache-2.0 */
/* Control transfers in IA-32e mode: far jumps, calls and returns, call gates, fast system calls,
 * IRET, compatibility mode, SWAPGS, FSGSBASE (SDM 2; SDM 3A 5.8). */
/* bm: bits=64 */
#include "bm.h"

SNIPPET(s_nop, "nop");
SNIPPET(s_ljmp, "ljmp *(%rsi)");
SNIPPET(s_ljmpq, "rex.w ljmp *(%rsi)");
SNIPPET(s_lcall, "lcall *(%rsi)");
SNIPPET(s_lcallq, "rex.w lcall *(%rsi)");
SNIPPET(s_lretq, "lretq");
SNIPPET(s_lret16, "lretq $16");
SNIPPET(s_lretl, "lretl");
SNIPPET(s_iretq, "iretq");
SNIPPET(s_iretl, "iretl");
SNIPPET(s_syscall, "syscall");
SNIPPET(s_sysretq, "sysretq");
SNIPPET(s_sysretl, "sysretl");
SNIPPET(s_sysenter, "sysenter");
SNIPPET(s_sysexitq, "rex.w sysexitl");
SNIPPET(s_sysexitl, "sysexitl");
SNIPPET(s_swapgs, "swapgs\n\tmov %gs:(0), %rax");
SNIPPET(s_wrfs, "wrfsbase %rax\n\trdfsbase %rbx\n\tmov %fs:(0), %rcx");
SNIPPET(s_wrgs, "wrgsbase %rax\n\trdgsbase %rbx");
SNIPPET(s_wrfs32, "wrfsbase %eax\n\trdfsbase %rbx");
SNIPPET(s_rdfs32, "mov $-1, %rbx\n\trdfsbase %ebx");
/* 32-bit code: inc %eax in 64-bit mode is a REX prefix. */
SNIPPET(s_mode, ".byte 0x40, 0x90, 0x40, 0x90, 0x40, 0x90");
SNIPPET(s_push32, ".byte 0x50, 0x58");
SNIPPET(s_esp_wrap, ".byte 0x83, 0xc4, 0x08"); /* add $8, %esp */

struct far16 {
	uint32_t off;
	uint16_t sel;
} __attribute__((packed));

struct far64 {
	uint64_t off;
	uint16_t sel;
} __attribute__((packed));

static struct far16 far32;
static struct far64 far64;

static void jump(const char *snippet, uint16_t sel, uint64_t off)
{
	far32 = (struct far16){(uint32_t)off, sel};
	far64 = (struct far64){off, sel};
	in.si = snippet == s_ljmpq || snippet == s_lcallq ? (ulong)&far64 : (ulong)&far32;
	run_k(snippet);
}

static void jumps(void)
{
	jump(s_ljmp, KCODE, (ulong)s_nop);
	check_ok("far jump");
	jump(s_ljmpq, KCODE, (ulong)s_nop);
	check_ok("far jump, 64-bit");
	jump(s_ljmp, KCODE32, (ulong)s_mode);
	check_ok("to compatibility mode");
	check_eq("it counts", trap.ax, 3);
	check_eq("its CS", trap.cs, KCODE32);
	jump(s_ljmp, KCODE, (ulong)s_mode);
	check_eq("in 64-bit mode it does not", trap.ax, 0);
	jump(s_ljmp, 0, (ulong)s_nop);
	check_trap("jump to null", GP, 0);
	jump(s_ljmp, KDATA, (ulong)s_nop);
	check_trap("jump to data", GP, KDATA);
	jump(s_ljmp, SEL_TSS, (ulong)s_nop);
	check_trap("jump to a TSS", GP, SEL_TSS);
	jump(s_ljmp, UCODE, (ulong)s_nop);
	check_trap("jump outwards", GP, UCODE & ~3);
	jump(s_ljmp, KCODE | 3, (ulong)s_nop);
	check_trap("jump with RPL > CPL", GP, KCODE);
	jump(s_ljmp, 0x3f8, (ulong)s_nop);
	check_trap("jump beyond the GDT", GP, 0x3f8);
	jump(s_ljmpq, KCODE, 0x8000000000000000);
	check_trap("jump to a non-canonical address", GP, 0);
	gdt[SEL_FREE / 8] = gdt[KCODE / 8] | 1ull << 54;
	jump(s_ljmp, SEL_FREE, (ulong)s_nop);
	check_trap("L and D both", GP, SEL_FREE);
	gdt[SEL_FREE / 8] = gdt[KCODE / 8] & ~(1ull << 47);
	jump(s_ljmp, SEL_FREE, (ulong)s_nop);
	check_trap("jump to code not present", NP, SEL_FREE);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfff, 0x9b, 0x4);
	jump(s_ljmp, SEL_FREE, 0x1000);
	check_trap("beyond the limit of a 32-bit segment", GP, 0);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0xfe, 0xa) & ~(1ull << 40);
	in.cs = 0;
	far32 = (struct far16){(uint32_t)(ulong)s_nop, SEL_FREE};
	jump(s_ljmp, SEL_FREE, (ulong)s_nop);
	check_trap("conforming, DPL above CPL", GP, SEL_FREE);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x9e, 0xa);
	far32 = (struct far16){(uint32_t)((ulong)s_nop + USER), SEL_FREE};
	in.si = (ulong)&far32 + USER;
	run_u(s_ljmp);
	check_ok("user jump to conforming code");
	check_eq("keeps CPL", trap.cs, SEL_FREE | 3);
	check_eq("accessed", gdt[SEL_FREE / 8] >> 40 & 1, 1);
	in.si = (ulong)&far32 + USER;
	far32.sel = KCODE;
	run_u(s_ljmp);
	check_trap("user jump to kernel code", GP, KCODE);
}

static void calls(void)
{
	ulong *stack = (ulong *)bm_stack;

	stack[-1] = stack[-2] = 0;
	jump(s_lcall, KCODE, (ulong)s_nop);
	check_ok("far call");
	check_eq("CS:EIP pushed", stack[-1], (ulong)KCODE << 32 | ((ulong)s_lcall + 2));
	check_eq("rsp", trap.sp, (ulong)bm_stack - 8);
	jump(s_lcallq, KCODE, (ulong)s_nop);
	check_ok("far call, 64-bit");
	check_eq("CS pushed", stack[-1], KCODE);
	check_eq("RIP pushed", stack[-2], (ulong)s_lcallq + 3);
	stack[-1] = KCODE;
	stack[-2] = (ulong)s_nop;
	in.sp = (ulong)&stack[-2];
	run_k(s_lretq);
	check_ok("far return");
	check_eq("rsp after", trap.sp, (ulong)bm_stack);
	in.sp = (ulong)&stack[-2];
	stack[-1] = 0;
	run_k(s_lretq);
	check_trap("return to null", GP, 0);
	check_eq("rsp is kept", trap.sp, (ulong)&stack[-2]);
	in.sp = (ulong)&stack[-2];
	stack[-1] = KCODE | 3;
	run_k(s_lretq);
	check_trap("return, DPL below RPL", GP, KCODE);
	in.sp = (ulong)&stack[-2];
	stack[-1] = KCODE;
	stack[-2] = 0x8000000000000000;
	run_k(s_lretq);
	check_trap("return to a non-canonical address", GP, 0);
	/* Outwards, with 16 bytes of parameters on both stacks. */
	stack[-6] = (ulong)s_nop + USER;
	stack[-5] = UCODE;
	stack[-2] = (ulong)bm_ustack + USER - 16;
	stack[-1] = UDATA;
	in.sp = (ulong)&stack[-6];
	run_k(s_lret16);
	check_ok("return outwards");
	check_eq("its CS", trap.cs, UCODE);
	check_eq("its SS", trap.ss, UDATA);
	check_eq("parameters released", trap.sp, (ulong)bm_ustack + USER);
	in.sp = (ulong)&stack[-6];
	stack[-1] = KDATA;
	run_k(s_lret16);
	check_trap("return outwards with a kernel SS", GP, KDATA);
	in.sp = (ulong)&stack[-6];
	stack[-1] = 0;
	run_k(s_lret16);
	check_trap("return outwards with a null SS", GP, 0);
	/* To 32-bit user code with 4-byte items. */
	((uint32_t *)stack)[-4] = (uint32_t)((ulong)s_mode + USER);
	((uint32_t *)stack)[-3] = UCODE32;
	((uint32_t *)stack)[-2] = (uint32_t)((ulong)bm_ustack + USER);
	((uint32_t *)stack)[-1] = UDATA;
	in.sp = (ulong) & ((uint32_t *)stack)[-4];
	run_k(s_lretl);
	check_ok("return to compatibility mode");
	check_eq("it is that", trap.ax, 3);
}

static void call_gates(void)
{
	ulong *rsp0 = (ulong *)bm_rsp0, *ustack = (ulong *)bm_ustack;
	ulong target = (ulong)s_nop;
	uint64_t *g = &gdt[SEL_FREE / 8];

	g[0] = gate_desc(KCODE, (uint32_t)target, 0xec, 0);
	g[1] = target >> 32;
	jump(s_lcall, SEL_FREE, 0);
	check_ok("call gate at CPL 0");
	check_eq("8 bytes each", ((ulong *)bm_stack)[-2], (ulong)s_lcall + 2);
	jump(s_ljmp, SEL_FREE, 0);
	check_ok("jump through a call gate");
	far32 = (struct far16){0, SEL_FREE | 3};
	in.si = (ulong)&far32 + USER;
	run_u(s_lcall);
	check_ok("call gate from CPL 3");
	check_eq("its CS", trap.cs, KCODE);
	check_eq("its SS", trap.ss, 0);
	check_eq("its rsp", trap.sp, (ulong)bm_rsp0 - 32);
	check_eq("SS pushed", rsp0[-1], UDATA);
	check_eq("RSP pushed", rsp0[-2], (ulong)ustack + USER);
	check_eq("CS pushed by the gate", rsp0[-3], UCODE);
	check_eq("RIP pushed by the gate", rsp0[-4], (ulong)s_lcall + 2 + USER);
	in.si = (ulong)&far32 + USER;
	run_u(s_ljmp);
	check_trap("no jump inwards", GP, KCODE);
	g[0] = gate_desc(KCODE, (uint32_t)target, 0x8c, 0);
	in.si = (ulong)&far32 + USER;
	run_u(s_lcall);
	check_trap("gate's DPL", GP, SEL_FREE);
	g[0] = gate_desc(KCODE, (uint32_t)target, 0x6c, 0);
	jump(s_lcall, SEL_FREE, 0);
	check_trap("gate not present", NP, SEL_FREE);
	g[0] = gate_desc(KCODE, (uint32_t)target, 0xe4, 0);
	jump(s_lcall, SEL_FREE, 0);
	check_trap("16-bit gate", GP, SEL_FREE);
	g[0] = gate_desc(KCODE32, (uint32_t)target, 0xec, 0);
	jump(s_lcall, SEL_FREE, 0);
	check_trap("gate to 32-bit code", GP, KCODE32);
	g[0] = gate_desc(0, (uint32_t)target, 0xec, 0);
	jump(s_lcall, SEL_FREE, 0);
	check_trap("gate to null", GP, 0);
	g[0] = gate_desc(KCODE, (uint32_t)target, 0xec, 0);
	g[1] = 0x1full << 40;
	jump(s_lcall, SEL_FREE, 0);
	check_trap("upper type bits", GP, SEL_FREE);
	g[1] = 0x8000;
	jump(s_lcall, SEL_FREE, 0);
	check_trap("gate to a non-canonical address", GP, 0);
	g[0] = g[1] = 0;
}

static void syscalls(void)
{
	ulong old_star = rdmsr(MSR_STAR);

	wrmsr(MSR_STAR, 0x0018000800000000);
	wrmsr(MSR_LSTAR, (ulong)s_nop);
	wrmsr(MSR_FMASK, 0x4700);
	in.flags = FL_NT | 0x400;
	run_u(s_syscall);
	check_ok("SYSCALL");
	check_eq("its CS", trap.cs, 8);
	check_eq("its SS", trap.ss, 0x10);
	check_eq("RCX", trap.cx, (ulong)s_syscall + 2 + USER);
	check_eq("R11", trap.r11 & ~FL_RF, FL_NT | 0x402);
	check_eq("flags masked", trap.flags & 0x4700, 0);
	check_eq("rsp stays", trap.sp, (ulong)bm_ustack + USER);
	wrmsr(EFER, rdmsr(EFER) & ~1ull);
	run_u(s_syscall);
	check_trap("SYSCALL without SCE", UD, 0);
	run_k(s_sysretq);
	check_trap("SYSRET without SCE", UD, 0);
	wrmsr(EFER, rdmsr(EFER) | 1);

	in.cx = (ulong)s_nop + USER;
	in.r11 = 0x3c7fd7 | FL_RF | FL_VM;
	in.r11 &= ~(ulong)FL_TF;
	in.sp = (ulong)bm_ustack + USER;
	run_k(s_sysretq);
	check_ok("SYSRET");
	check_eq("SYSRET CS", trap.cs, UCODE);
	check_eq("SYSRET SS", trap.ss, UDATA);
	check_eq("SYSRET flags", trap.flags & ~0x1c0000ul, 0x3c7fd7 & ~0x1c0100);
	in.cx = (ulong)s_mode + USER;
	in.r11 = 2;
	in.sp = (ulong)bm_ustack + USER;
	run_k(s_sysretl);
	check_ok("SYSRET to compatibility mode");
	check_eq("its CS is 32-bit", trap.cs, UCODE32);
	check_eq("it is compatibility mode", trap.ax, 3);
	in.cx = 0x800000000000;
	in.r11 = 2;
	run_k(s_sysretq);
	check_trap("SYSRET to a non-canonical address", GP, 0);
	check_eq("in the kernel", trap.cs, KCODE);
	run_u(s_sysretq);
	check_trap("SYSRET at CPL 3", GP, 0);
	in.cs = UCODE32;
	run_u(s_syscall);
	check_trap("SYSCALL in compatibility mode", UD, 0);
	wrmsr(MSR_STAR, old_star);
}

static void sysenters(void)
{
	wrmsr(0x174, 0);
	run_u(s_sysenter);
	check_trap("SYSENTER without CS", GP, 0);
	wrmsr(0x174, KCODE);
	wrmsr(0x175, (ulong)bm_rsp0 - 256);
	wrmsr(0x176, (ulong)s_nop);
	in.flags = FL_IF;
	run_u(s_sysenter);
	check_ok("SYSENTER");
	check_eq("SYSENTER CS", trap.cs, KCODE);
	check_eq("SYSENTER SS", trap.ss, KCODE + 8);
	check_eq("SYSENTER rsp", trap.sp, (ulong)bm_rsp0 - 256);
	check_eq("SYSENTER clears IF", trap.flags & FL_IF, 0);
	in.cs = UCODE32;
	run_u(s_sysenter);
	check_ok("SYSENTER from compatibility mode");
	in.dx = (ulong)s_nop + USER;
	in.cx = (ulong)bm_ustack + USER;
	run_k(s_sysexitq);
	check_ok("SYSEXIT");
	check_eq("SYSEXIT CS", trap.cs, (KCODE + 32) | 3);
	check_eq("SYSEXIT SS", trap.ss, (KCODE + 40) | 3);
	check_eq("SYSEXIT rsp", trap.sp, (ulong)bm_ustack + USER);
	in.dx = (ulong)s_mode + USER;
	in.cx = (ulong)bm_ustack + USER;
	run_k(s_sysexitl);
	check_ok("SYSEXIT to compatibility mode");
	check_eq("32-bit CS", trap.cs, (KCODE + 16) | 3);
	check_eq("32-bit code", trap.ax, 3);
	in.dx = 0x800000000000;
	in.cx = (ulong)bm_ustack + USER;
	run_k(s_sysexitq);
	check_trap("SYSEXIT to a non-canonical address", GP, 0);
	run_u(s_sysexitq);
	check_trap("SYSEXIT at CPL 3", GP, 0);
}

/* IRET out of a frame; returns where the frame lies. */
static void iret(const char *snippet, ulong ip, ulong cs, ulong flags, ulong sp, ulong ss)
{
	ulong *f = (ulong *)bm_stack - 8;

	f[0] = ip;
	f[1] = cs;
	f[2] = flags;
	f[3] = sp;
	f[4] = ss;
	in.sp = (ulong)f;
	run_k(snippet);
}

static void irets(void)
{
	ulong usp = (ulong)bm_ustack + USER, ksp = (ulong)bm_stack - 512;
	uint32_t *f = (uint32_t *)bm_stack - 8;

	iret(s_iretq, (ulong)s_nop, KCODE, 2, ksp, KDATA);
	check_ok("IRET at CPL 0 pops SS:RSP");
	check_eq("rsp popped", trap.sp, ksp);
	iret(s_iretq, (ulong)s_nop, KCODE, 2, ksp, 0);
	check_ok("IRET with a null SS at CPL 0");
	check_eq("SS is null", trap.ss, 0);
	iret(s_iretq, (ulong)s_nop + USER, UCODE, 2, usp, 0);
	check_trap("IRET to CPL 3 with a null SS", GP, 0);
	iret(s_iretq, (ulong)s_nop + USER, UCODE, 2, usp, 3);
	check_trap("likewise with RPL 3", GP, 0);
	iret(s_iretq, (ulong)s_nop, KCODE32, 2, ksp, 0);
	check_trap("IRET to compatibility mode with a null SS", GP, 0);
	iret(s_iretq, (ulong)s_nop + USER, UCODE, 2, usp, KDATA);
	check_trap("SS of another level", GP, KDATA);
	iret(s_iretq, (ulong)s_nop + USER, UCODE, 2, usp, UDATA & ~1);
	check_trap("SS with another RPL", GP, UDATA & ~3);
	iret(s_iretq, (ulong)s_nop, 0, 2, ksp, KDATA);
	check_trap("IRET to null", GP, 0);
	iret(s_iretq, (ulong)s_nop, KDATA, 2, ksp, KDATA);
	check_trap("IRET to data", GP, KDATA);
	iret(s_iretq, (ulong)s_nop, UCODE & ~3, 2, ksp, KDATA);
	check_trap("IRET, RPL below DPL", GP, UCODE & ~3);
	iret(s_iretq, 0x8000000000000000, KCODE, 2, ksp, KDATA);
	check_trap("IRET to a non-canonical address", GP, 0);
	check_eq("it faults in the kernel", trap.ip, (ulong)s_iretq);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x73, 0xc);
	iret(s_iretq, (ulong)s_nop + USER, UCODE, 2, usp, SEL_FREE | 3);
	check_trap("SS not present", SS, SEL_FREE);
	iret(s_iretq, (ulong)s_nop + USER, UCODE, 0x3202 | FL_AC | 0x200000 | FL_VIF, usp, UDATA);
	check_ok("IRET to CPL 3");
	check_eq("all flags from CPL 0", trap.flags, 0x3202 | FL_AC | 0x200000 | FL_VIF);
	iret(s_iretq, (ulong)s_mode + USER, UCODE32, 2, usp, UDATA);
	check_ok("IRET to compatibility mode");
	check_eq("it is", trap.ax, 3);

	f[0] = (uint32_t)((ulong)s_mode + USER);
	f[1] = UCODE32;
	f[2] = 2;
	f[3] = (uint32_t)usp;
	f[4] = UDATA;
	in.sp = (ulong)f;
	run_k(s_iretl);
	check_ok("32-bit IRET in 64-bit mode");
	check_eq("pops five doublewords", trap.sp, usp);

	/* At CPL 3 IF and IOPL are not to be had. */
	{
		ulong *u = (ulong *)bm_ustack - 8;

		u[0] = (ulong)s_nop + USER;
		u[1] = UCODE;
		u[2] = 0x3202 | FL_AC | FL_VIF;
		u[3] = usp;
		u[4] = UDATA;
		in.sp = (ulong)u + USER;
		run_u(s_iretq);
		check_ok("IRET at CPL 3");
		check_eq("flags it may change", trap.flags, 2 | FL_AC);
		u[1] = KCODE;
		in.sp = (ulong)u + USER;
		run_u(s_iretq);
		check_trap("IRET inwards", GP, KCODE);
	}
	/* Data segments that the outer level may not keep. */
	{
		uint16_t ds, es;

		gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0xfb, 0xc);
		__asm__ volatile("mov %0, %%fs\n\tmov %1, %%gs" : : "r"(KDATA), "r"(SEL_FREE | 3));
		iret(s_iretq, (ulong)s_nop + USER, UCODE, 2, usp, UDATA);
		__asm__ volatile("mov %%fs, %0\n\tmov %%gs, %1" : "=r"(ds), "=r"(es));
		check_eq("FS of CPL 0 becomes null", ds, 0);
		check_eq("GS of CPL 3 stays", es, SEL_FREE | 3);
		__asm__ volatile("mov %0, %%fs\n\tmov %0, %%gs" : : "r"(0));
	}
	/* 16-bit stack: only SP comes back. */
	gdt[SEL_FREE / 8] = seg_desc(0, 0xffff, 0xf3, 0);
	iret(s_iretq, (ulong)s_nop + USER, UCODE32, 2, 0x12345678, SEL_FREE | 3);
	check_ok("IRET to a 16-bit stack");
	check_eq("SP comes back", trap.sp & 0xffff, 0x5678);
}

static void bases(void)
{
	static uint64_t cell[2] = {0x1111, 0x2222};

	wrmsr(MSR_GS_BASE, (ulong)&cell[0]);
	wrmsr(MSR_KERNEL_GS_BASE, (ulong)&cell[1]);
	run_k(s_swapgs);
	check_ok("SWAPGS");
	check_eq("GS base", trap.ax, 0x2222);
	check_eq("the other", rdmsr(MSR_KERNEL_GS_BASE), (ulong)&cell[0]);
	run_u(s_swapgs);
	check_trap("SWAPGS at CPL 3", GP, 0);
	wrmsr(MSR_GS_BASE, 0);

	in.ax = (ulong)&cell[1];
	run_k(s_wrfs);
	check_trap("WRFSBASE without CR4.FSGSBASE", UD, 0);
	if (!cpu_has(7, 1, 0))
		return;
	wr_cr4(rd_cr4() | 1 << 16);
	in.ax = (ulong)&cell[1] + USER;
	run_u(s_wrfs);
	check_ok("WRFSBASE at CPL 3");
	check_eq("RDFSBASE", trap.bx, (ulong)&cell[1] + USER);
	check_eq("FS:0", trap.cx, 0x2222);
	in.ax = 0x8000000000000000;
	run_u(s_wrgs);
	check_trap("WRGSBASE non-canonical", GP, 0);
	in.ax = 0xffffffff87654321;
	run_k(s_wrfs32);
	check_eq("WRFSBASE, 32-bit", trap.bx, 0x87654321);
	wrmsr(MSR_FS_BASE, 0xffff800012345678);
	run_k(s_rdfs32);
	check_eq("RDFSBASE, 32-bit", trap.bx, 0x12345678);
	in.cs = UCODE32;
	run_u(s_rdfs32);
	check_trap("RDFSBASE in compatibility mode", UD, 0);
	wrmsr(MSR_FS_BASE, 0);
	wr_cr4(rd_cr4() & ~(1ul << 16));
}

void image_main(void)
{
	jumps();
	calls();
	call_gates();
	syscalls();
	sysenters();
	irets();
	bases();
}
