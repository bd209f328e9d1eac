/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions in 64-bit mode: vectors, error codes, frames, IST, double faults (SDM 3A 6). */
/* bm: bits=64 */
#include "bm.h"

#define NONCANON "movabs $0x8000000000000000, %rax\n\t"

SNIPPET(s_nop, "nop");
RAW_SNIPPET(s_ud2, "ud2");
SNIPPET(s_div, "xor %ecx, %ecx\n\tdiv %ecx");
SNIPPET(s_div_overflow, "mov $1, %edx\n\txor %eax, %eax\n\tmov $1, %ecx\n\tdiv %ecx");
SNIPPET(s_int3, "int3\n\tnop");
SNIPPET(s_int4, "int $4\n\tnop");
SNIPPET(s_int1, ".byte 0xf1\n\tnop");
SNIPPET(s_int20, "int $0x20");
SNIPPET(s_read, "mov (%rax), %bl");
SNIPPET(s_write, "mov %bl, (%rax)");
SNIPPET(s_read8, "mov (%rax), %rbx");
SNIPPET(s_read_ss, "mov (%rbp), %bl");
SNIPPET(s_push, "push %rax");
SNIPPET(s_call_rax, "call *%rax");
SNIPPET(s_jmp_rax, "jmp *%rax");
SNIPPET(s_hlt, "hlt");
SNIPPET(s_cli, "cli");
SNIPPET(s_in, "in $0x80, %al");
SNIPPET(s_cr0, "mov %cr0, %rax");
SNIPPET(s_fld, "fld1");
SNIPPET(s_sse, "xorps %xmm0, %xmm0");
SNIPPET(s_fwait_mf, "fninit\n\tfldcw (%rsi)\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait");
SNIPPET(s_xm, "ldmxcsr (%rsi)\n\tmov $0x3f800000, %eax\n\tmovd %eax, %xmm0\n\t"
	      "xorps %xmm1, %xmm1\n\tdivss %xmm1, %xmm0");
SNIPPET(s_ac, "mov 1(%rsp), %eax");
SNIPPET(s_movaps, "movaps 1(%rsp), %xmm0");
SNIPPET(s_loadseg, "mov %eax, %ds");
SNIPPET(s_loadss, "mov %eax, %ss");
SNIPPET(s_loadfs, "mov %eax, %fs");
SNIPPET(s_lock_reg, ".byte 0xf0, 0x01, 0xc0");
SNIPPET(s_push_es, ".byte 0x06");
SNIPPET(s_bound, ".byte 0x62, 0x00");
SNIPPET(s_into, ".byte 0xce");
SNIPPET(s_long,
	".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, "
	"0x66, 0x66, 0x90");
SNIPPET(s_iretq, "iretq");
SNIPPET(s_nt_iret, "pushfq\n\torl $0x4000, (%rsp)\n\tpopfq\n\tiretq");

static uint16_t fcw_unmask_ze = 0x37b;
static uint32_t mxcsr_unmask_ze = 0x1f80 & ~0x200;

static void faults(void)
{
	run_k(s_nop);
	check_ok("a snippet ends");
	run_u(s_nop);
	check_ok("a user snippet ends");
	check_eq("user CS", trap.cs, UCODE);
	check_eq("user SS", trap.ss, UDATA);

	run_k(s_div);
	check_trap("#DE", DE, 0);
	check_eq("#DE rip", trap.ip, (ulong)s_div + 2);
	check_eq("#DE RF", trap.flags & FL_RF, FL_RF);
	run_u(s_div_overflow);
	check_trap("#DE overflow", DE, 0);
	run_k(s_int3);
	check_trap("#BP", BP, 0);
	check_eq("#BP rip", trap.ip, (ulong)s_int3 + 1);
	check_eq("#BP RF", trap.flags & FL_RF, 0);
	run_k(s_int4);
	check_trap("INT 4", OF, 0);
	check_eq("INT 4 rip", trap.ip, (ulong)s_int4 + 2);
	run_k(s_int1);
	check_trap("INT1", DB, 0);
	check_eq("INT1 rip", trap.ip, (ulong)s_int1 + 1);
	run_u(s_int1);
	check_trap("INT1 at CPL 3 ignores DPL", DB, 0);
	run_u(s_int3);
	check_trap("INT3 at CPL 3 obeys DPL", GP, 3 * 8 + 2);
	run_u(s_int20);
	check_trap("INT n at CPL 3 obeys DPL", GP, 0x20 * 8 + 2);
	check_eq("its rip", trap.ip, (ulong)s_int20 + USER);
	run_k(s_ud2);
	check_trap("#UD", UD, 0);
	run_k(s_lock_reg);
	check_trap("LOCK on a register", UD, 0);
	run_k(s_push_es);
	check_trap("PUSH ES", UD, 0);
	run_k(s_into);
	check_trap("INTO", UD, 0);
	run_k(s_long);
	check_trap("16 bytes", GP, 0);
	check_eq("16 bytes: rip", trap.ip, (ulong)s_long);
}

static void general_protection(void)
{
	in.ax = 0x8000000000000000;
	run_k(s_read);
	check_trap("non-canonical read", GP, 0);
	in.bp = 0x8000000000000000;
	run_k(s_read_ss);
	check_trap("non-canonical stack read", SS, 0);
	idt_entry(SS)[0] |= 1ull << 32;
	if (!bm_tcg()) {
		in.sp = 0x8000000000000000;
		run_k(s_push);
		check_trap("non-canonical push", SS, 0);
		check_eq("its rsp", trap.sp, 0x8000000000000000);
	}
	idt_default(SS);
	in.ax = 0x7fffffffffff;
	run_k(s_read8);
	check("read across the canonical boundary", trap.vector == GP || trap.vector == PF);
	in.ax = 0x8000000000000000;
	run_k(s_jmp_rax);
	check_trap("non-canonical jump", GP, 0);
	check_eq("rip of a bad jump", trap.ip, (ulong)s_jmp_rax);
	in.ax = 0x8000000000000000;
	run_k(s_call_rax);
	check_trap("non-canonical call", GP, 0);
	check_eq("rsp of a bad call", trap.sp, (ulong)bm_stack);
	run_u(s_hlt);
	check_trap("HLT at CPL 3", GP, 0);
	run_u(s_cli);
	check_trap("CLI at CPL 3", GP, 0);
	run_u(s_in);
	check_trap("IN at CPL 3", GP, 0);
	run_u(s_cr0);
	check_trap("MOV CR0 at CPL 3", GP, 0);
	run_u(s_movaps);
	check_trap("MOVAPS unaligned", GP, 0);
	run_k(s_nt_iret);
	check_trap("IRET with NT", GP, 0);
}

static void selectors(void)
{
	static uint64_t ldt[4];

	__asm__ volatile("lldt %0" : : "r"((uint16_t)0));
	in.ax = 0x1f8 | 4;
	run_k(s_loadseg);
	check_trap("DS from no LDT", GP, 0x1fc);
	in.ax = 64 * 8;
	run_k(s_loadseg);
	check_trap("DS beyond the GDT", GP, 64 * 8);
	in.ax = 3;
	run_k(s_loadseg);
	check_ok("DS null");
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x13, 0xc);
	in.ax = SEL_FREE;
	run_k(s_loadseg);
	check_trap("DS not present", NP, SEL_FREE);
	in.ax = SEL_FREE;
	run_k(s_loadss);
	check_trap("SS not present", SS, SEL_FREE);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x99, 0xc);
	in.ax = SEL_FREE;
	run_k(s_loadseg);
	check_trap("DS execute-only", GP, SEL_FREE);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x91, 0xc);
	in.ax = SEL_FREE;
	run_k(s_loadss);
	check_trap("SS read-only", GP, SEL_FREE);
	in.ax = SEL_TSS;
	run_k(s_loadseg);
	check_trap("DS a TSS", GP, SEL_TSS);
	in.ax = KDATA;
	run_u(s_loadseg);
	check_trap("DS of CPL 0 at CPL 3", GP, KDATA);
	in.ax = KDATA | 1;
	run_k(s_loadss);
	check_trap("SS with another RPL", GP, KDATA);
	in.ax = 0;
	run_k(s_loadss);
	check_ok("SS null at CPL 0");
	in.ax = 3;
	run_k(s_loadss);
	check_trap("SS null with RPL 3 at CPL 0", GP, 0);
	in.ax = 0;
	run_u(s_loadss);
	check_trap("SS null at CPL 3", GP, 0);
	in.ax = 3;
	run_u(s_loadss);
	check_trap("SS null with RPL 3 at CPL 3", GP, 0);

	/* The accessed bit. */
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x92, 0xc);
	in.ax = SEL_FREE;
	run_k(s_loadfs);
	check_ok("FS loads");
	check_eq("accessed bit set", gdt[SEL_FREE / 8] >> 40 & 0xff, 0x93);

	/* LDT */
	ldt[1] = seg_desc(0x1234, 0xfff, 0x93, 0x4);
	gdt[SEL_FREE / 8] = seg_desc((uint32_t)(ulong)ldt, sizeof(ldt) - 1, 0x82, 0);
	gdt[SEL_FREE / 8 + 1] = 0;
	__asm__ volatile("lldt %0" : : "r"((uint16_t)SEL_FREE));
	in.ax = 8 | 4;
	run_k(s_loadfs);
	check_ok("FS from the LDT");
	check_eq("FS base", rdmsr(MSR_FS_BASE), 0x1234);
	in.ax = 32 | 4;
	run_k(s_loadfs);
	check_trap("FS beyond the LDT", GP, 32 | 4);
	in.ax = 0;
	run_k(s_loadfs);
	check_eq("FS null clears the base", rdmsr(MSR_FS_BASE), 0);
	__asm__ volatile("lldt %0" : : "r"((uint16_t)0));
}

static void page_faults(void)
{
	ulong hole = 0x80000000; /* not mapped */

	in.ax = hole + 5;
	run_k(s_read);
	check_trap("#PF read", PF, 0);
	check_eq("CR2", trap_cr2, hole + 5);
	in.ax = hole;
	run_k(s_write);
	check_trap("#PF write", PF, 2);
	in.ax = hole;
	run_u(s_read);
	check_trap("#PF user read", PF, 4);
	in.ax = hole;
	run_u(s_write);
	check_trap("#PF user write", PF, 6);
	in.ax = (ulong)bm_stack;
	run_u(s_read);
	check_trap("#PF user read of a supervisor page", PF, 5);
	in.ax = (ulong)bm_stack;
	run_u(s_write);
	check_trap("#PF user write of a supervisor page", PF, 7);
	in.ax = hole;
	run_k(s_jmp_rax);
	check_trap("#PF fetch", PF, 0x10);
	check_eq("its rip", trap.ip, hole);
	in.ax = (ulong)s_nop;
	run_u(s_jmp_rax);
	check_trap("#PF user fetch of a supervisor page", PF, 0x15);
	in.ax = hole - 4;
	in.bx = 1;
	run_k(s_read8);
	check_trap("#PF across pages", PF, 0);
	check_eq("CR2 is the first byte of the bad page", trap_cr2, hole);
}

static void fpu(void)
{
	ulong cr0 = rd_cr0(), cr4 = rd_cr4();

	wr_cr0(cr0 | 8);
	run_k(s_fld);
	check_trap("x87 with TS", NM, 0);
	run_u(s_sse);
	check_trap("SSE with TS", NM, 0);
	wr_cr0((cr0 & ~8ul) | 4);
	run_k(s_fld);
	check_trap("x87 with EM", NM, 0);
	run_k(s_sse);
	check_trap("SSE with EM", UD, 0);
	wr_cr0(cr0);
	wr_cr4(cr4 & ~0x200ul);
	run_k(s_sse);
	check_trap("SSE without OSFXSR", UD, 0);
	wr_cr4(cr4);
	in.si = (ulong)&fcw_unmask_ze;
	run_k(s_fwait_mf);
	check_trap("#MF", MF, 0);
	__asm__ volatile("fninit");
	in.si = (ulong)&mxcsr_unmask_ze;
	run_k(s_xm);
	check_trap("#XM", XM, 0);
	wr_cr4(cr4 & ~0x400ul);
	in.si = (ulong)&mxcsr_unmask_ze;
	run_k(s_xm);
	check_trap("#UD for #XM without OSXMMEXCPT", UD, 0);
	wr_cr4(cr4);
	{
		static const uint32_t def = 0x1f80;

		__asm__ volatile("ldmxcsr %0" : : "m"(def));
	}
}

static void alignment(void)
{
	wr_cr0(rd_cr0() | 1 << 18);
	in.flags = FL_AC;
	in.sp = (ulong)bm_ustack + USER - 64;
	run_u(s_ac);
	check_trap("#AC at CPL 3", AC, 0);
	in.sp = (ulong)bm_ustack + USER - 64;
	run_u(s_ac);
	check_ok("no #AC without EFLAGS.AC");
	in.flags = FL_AC;
	in.sp = (ulong)bm_stack - 64;
	run_k(s_ac);
	check_ok("no #AC at CPL 0");
	wr_cr0(rd_cr0() & ~(1ul << 18));
}

static void gates(void)
{
	uint64_t *e = idt_entry(0x20);

	idt_default(0x20);
	run_k(s_int20);
	check_trap("INT 20", 0x20, 0);
	e[0] &= ~(1ull << 47);
	run_k(s_int20);
	check_trap("gate not present", NP, 0x20 * 8 + 2);
	idt_default(0x20);
	e[0] = (e[0] & ~(0xfull << 40)) | 5ull << 40;
	run_k(s_int20);
	check_trap("task gate", GP, 0x20 * 8 + 2);
	idt_default(0x20);
	e[0] = (e[0] & ~(0xfull << 40)) | 6ull << 40;
	run_k(s_int20);
	check_trap("16-bit gate", GP, 0x20 * 8 + 2);
	idt_set(0x20, (ulong)s_nop, 0, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate with CS null", GP, 0);
	idt_set(0x20, (ulong)s_nop, 0x1f0, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate with an empty CS", GP, 0x1f0);
	idt_set(0x20, (ulong)s_nop, KDATA, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate to data", GP, KDATA);
	idt_set(0x20, (ulong)s_nop, KCODE32, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate to 32-bit code", GP, KCODE32);
	idt_set(0x20, (ulong)s_nop, UCODE & ~3, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate to an outer level", GP, UCODE & ~3);
	gdt[SEL_FREE / 8] = gdt[1] & ~(1ull << 47);
	idt_set(0x20, (ulong)s_nop, SEL_FREE, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate to code not present", NP, SEL_FREE);
	idt_set(0x20, 0x8000000000000000, KCODE, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate to a non-canonical RIP", GP, 0);
	/* The same for a hardware exception: EXT is set. */
	idt_set(UD, (ulong)s_nop, 0x1f0, 0x8e, 0);
	run_k(s_ud2);
	check_trap("EXT in the selector of an exception's gate", GP, 0x1f1);
	idt_default(UD);
	idt_entry(UD)[0] &= ~(1ull << 47);
	run_k(s_ud2);
	check_trap("EXT when an exception's gate is not present", NP, UD * 8 + 3);
	idt_default(UD);
	idt_load(0x20 * 16 + 14);
	in.ip = 0;
	run_k(s_div);
	check_trap("inside the limit", DE, 0);
	idt_load(255 * 16 + 15);
	/* A trap gate leaves IF. */
	idt_set(0x20, 0, 0, 0, 0);
	idt_default(0x20);
	e[0] |= 1ull << 40;
	in.flags = FL_IF;
	run_k(s_int20);
	check_trap("trap gate", 0x20, 0);
	check_eq("IF pushed", trap.flags & FL_IF, FL_IF);
}

static bool frame_hook(struct regs *r)
{
	ulong flags;

	__asm__ volatile("pushfq\n\tpop %0" : "=r"(flags));
	in.ax = (ulong)r;
	in.bx = flags;
	return false;
}

static void frames(void)
{
	bm_hook[UD] = frame_hook;
	in.sp = (ulong)bm_stack - 8 - 3;
	in.flags = FL_NT;
	run_k(s_ud2);
	check_eq("frame aligned", (in.ax + offsetof(struct regs, es)) & 15, 0);
	check_eq("rsp pushed as it was", trap.sp, (ulong)bm_stack - 11);
	check_eq("NT pushed", trap.flags & FL_NT, FL_NT);
	check_eq("NT clear in the handler", in.bx & FL_NT, 0);
	in = (struct regs){0};
	run_u(s_ud2);
	check_eq("stack of the TSS", in.ax + offsetof(struct regs, es), (ulong)bm_rsp0);
	in = (struct regs){0};
	idt_entry(UD)[0] |= 1ull << 32;
	run_k(s_ud2);
	check_eq("IST at CPL 0", in.ax + offsetof(struct regs, es), (ulong)bm_ist);
	in = (struct regs){0};
	run_u(s_ud2);
	check_eq("IST from CPL 3", in.ax + offsetof(struct regs, es), (ulong)bm_ist);
	in = (struct regs){0};
	idt_default(UD);
	bm_hook[UD] = NULL;
}

static void double_faults(void)
{
	idt_entry(DF)[0] |= 1ull << 32;
	/* #GP while a #NP is delivered: both contributory. */
	idt_set(NP, 0, 0x1f0, 0x8e, 0);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x13, 0xc);
	in.ax = SEL_FREE;
	run_k(s_loadseg);
	check_trap("#NP, #GP: #DF", DF, 0);
	idt_default(NP);
	/* #GP while a #PF is delivered. */
	idt_set(PF, 0, 0x1f0, 0x8e, 0);
	in.ax = 0x80000000;
	run_k(s_read);
	check_trap("#PF, #GP: #DF", DF, 0);
	check_eq("#DF rip", trap.ip, (ulong)s_read);
	/* #PF while a #PF is delivered: the stack. */
	idt_default(PF);
	in.sp = 0x90000000;
	in.ax = 0x80000010;
	run_k(s_read);
	check_trap("#PF, #PF: #DF", DF, 0);
	check_eq("CR2 of the second", trap_cr2, 0x90000000 - 8);
	/* #PF while a #GP is delivered is just a #PF. */
	idt_entry(PF)[0] |= 1ull << 32;
	*(uint64_t *)(tss + 36 + 8) = 0x80001000;
	idt_set(GP, (ulong)s_nop, KCODE, 0x8e, 2);
	in.ax = 0x8000000000000000;
	run_k(s_read);
	check_trap("#GP, #PF: #PF", PF, 2);
	check_eq("CR2", trap_cr2, 0x80001000 - 8);
	idt_default(GP);
	/* #SS for a non-canonical IST stack, in an interrupt. */
	*(uint64_t *)(tss + 36 + 8) = 0x8000000000000000;
	idt_default(0x20);
	idt_entry(0x20)[0] |= 2ull << 32;
	run_k(s_int20);
	check_trap("IST not canonical", SS, 0);
	/* #UD is benign: a fault on its way is itself. */
	idt_default(UD);
	idt_entry(UD)[0] |= 2ull << 32;
	run_k(s_ud2);
	check_trap("#UD, #SS: #SS with EXT", SS, 1);
	idt_default(UD);
	idt_default(PF);
	/* TSS too short for the stack pointers. */
	gdt[SEL_TSS / 8] = (gdt[SEL_TSS / 8] & ~0xffffull & ~(2ull << 40)) | 35;
	__asm__ volatile("ltr %0" : : "r"((uint16_t)SEL_TSS));
	idt_default(UD);
	idt_entry(UD)[0] |= 1ull << 32;
	run_k(s_ud2);
	check_trap("TSS too short: #TS", TS, SEL_TSS | 1);
	gdt[SEL_TSS / 8] = (gdt[SEL_TSS / 8] & ~0xffffull & ~(2ull << 40)) | 103;
	__asm__ volatile("ltr %0" : : "r"((uint16_t)SEL_TSS));
	idt_default(UD);
}

void image_main(void)
{
	faults();
	general_protection();
	selectors();
	page_faults();
	fpu();
	alignment();
	gates();
	frames();
	double_faults();
}
