/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual-8086 mode: entry and exit, IOPL-sensitive instructions, software interrupts with and
 * without VME's redirection, the virtual interrupt flag (SDM 3A 20.2, 20.3). */
/* bm: bits=32 */
#include "bm.h"

/* 16-bit code; .code16 does not move, the snippets are copied to CODE. */
#define SNIPPET16(name, body)                                                      \
	extern const char name[], name##_end[];                                    \
	__asm__(".pushsection .text\n\t.balign 16\n\t.code16\n" #name ":\n\t" body \
		"\n\thlt\n" #name "_end:\n\t.code32\n\t.popsection")
#define CODE 0x2000u
#define CODE_SEG 0x200u
#define STACK_SEG 0x300u
#define HANDLER 0x2800u /* where IVT entries point */
#define IVT(n) (((volatile uint32_t *)4)[(int)(n)-1])

SNIPPET16(v_nop, "nop");
SNIPPET16(v_regs, "mov %cs, %ax\n\tmov %ss, %bx\n\tmov %ds, %cx\n\tmov %es, %dx\n\tmov %fs, "
		  "%si\n\tmov %gs, %di");
SNIPPET16(v_load, "mov $0x250, %ax\n\tmov %ax, %ds\n\tmovw $0x1234, (0)\n\tmovw (0), %bx");
SNIPPET16(v_beyond, "mov $-1, %bx\n\tmov (%bx), %ax");
SNIPPET16(v_cli, "cli");
SNIPPET16(v_sti, "sti");
SNIPPET16(v_pushf, "pushf\n\tpop %ax");
SNIPPET16(v_pushfl, "pushfl\n\tpopl %eax");
SNIPPET16(v_popf, "push %ax\n\tpopf");
SNIPPET16(v_popf_full, "push %ax\n\tpopf\n\tpushf\n\tpop %bx");
SNIPPET16(v_int, "int $0x21\n\tnop");
SNIPPET16(v_int3_long, ".byte 0xcd, 3");
SNIPPET16(v_int3, "int3");
SNIPPET16(v_into, "mov $0x7fff, %ax\n\tinc %ax\n\tinto");
SNIPPET16(v_iret, "push %ax\n\tpush %cs\n\tpush %bx\n\tiret");
SNIPPET16(v_iretl, "pushl %eax\n\tpushl $0x200\n\tpushl %ebx\n\tiretl");
SNIPPET16(v_in, "in $0x80, %al");
SNIPPET16(v_cr0, "mov %cr0, %eax");
SNIPPET16(v_lgdt, "lgdt (0)");
SNIPPET16(v_sldt, "sldt %ax");
SNIPPET16(v_lar, "lar %ax, %ax");
SNIPPET16(v_far, "lcall $0x200, $0x40");
SNIPPET16(v_ud, "ud2");
SNIPPET16(v_smsw, "smsw %ax");
SNIPPET16(v_lmsw, "lmsw %ax");

/* What handlers in virtual-8086 mode do: stop by HLT, with their stack readable. */
static const uint8_t handler[] = {0xf4};

static ulong v86_flags;

static void run_v86(const char *snippet, const char *end)
{
	struct regs r = in;

	__builtin_memcpy((void *)CODE, snippet, (size_t)(end - snippet));
	__builtin_memcpy((void *)HANDLER, handler, sizeof(handler));
	*(uint8_t *)(CODE + 0x40) = 0xf4;
	in = (struct regs){0};
	trap = (struct regs){0};
	r.flags |= 2 | FL_VM | v86_flags;
	r.cs = CODE_SEG;
	r.ss = STACK_SEG;
	r.sp = 0x800;
	r.ds = 0x111;
	r.es = 0x222;
	r.fs = 0x333;
	r.gs = 0x444;
	bm_enter(&r);
}

#define RUN(s) run_v86(s, s##_end)

/* Every snippet ends in HLT, which is #GP(0) in virtual-8086 mode. */
static void ended(const char *name, uint32_t offset)
{
	check_trap(name, GP, 0);
	check_eq("and there", trap.cs << 4 | trap.ip, offset);
}

static uint16_t v86_stack(unsigned n)
{
	return ((uint16_t *)((STACK_SEG << 4) + trap.sp))[n];
}

static void basics(void)
{
	RUN(v_nop);
	ended("virtual-8086 mode", CODE + 1);
	check_eq("VM in the frame", trap.flags & FL_VM, FL_VM);
	check_eq("its CS", trap.cs, CODE_SEG);
	check_eq("its SS", trap.ss, STACK_SEG);
	check_eq("its SP", trap.sp, 0x800);
	check_eq("DS", trap.ds, 0x111);
	check_eq("ES", trap.es, 0x222);
	check_eq("FS", trap.fs, 0x333);
	check_eq("GS", trap.gs, 0x444);
	RUN(v_regs);
	check_eq("it sees CS", trap.ax & 0xffff, CODE_SEG);
	check_eq("SS", trap.bx & 0xffff, STACK_SEG);
	check_eq("DS", trap.cx & 0xffff, 0x111);
	check_eq("GS", trap.di & 0xffff, 0x444);
	RUN(v_load);
	check_eq("paragraph segments", trap.bx & 0xffff, 0x1234);
	check_eq("in memory", *(volatile uint16_t *)0x2500, 0x1234);
	RUN(v_beyond);
	check("word at ffff", (trap.vector == GP && trap.ip == 3) || bm_tcg());
	RUN(v_far);
	ended("far call", CODE + 0x40);
	check_eq("pushed IP", v86_stack(0), 5);
	check_eq("pushed CS", v86_stack(1), CODE_SEG);
	RUN(v_ud);
	check_trap("#UD", UD, 0);
	RUN(v_cr0);
	check_trap("MOV CR0", GP, 0);
	RUN(v_lgdt);
	check_trap("LGDT", GP, 0);
	RUN(v_lmsw);
	check_trap("LMSW", GP, 0);
	RUN(v_sldt);
	check_trap("SLDT", UD, 0);
	RUN(v_lar);
	check_trap("LAR", UD, 0);
	RUN(v_smsw);
	ended("SMSW", CODE + 3);
}

static void iopl0(void)
{
	v86_flags = 0;
	RUN(v_cli);
	ended("CLI", CODE);
	RUN(v_sti);
	ended("STI", CODE);
	RUN(v_pushf);
	ended("PUSHF", CODE);
	RUN(v_popf);
	ended("POPF", CODE + 1);
	RUN(v_int);
	ended("INT n", CODE);
	RUN(v_iret);
	ended("IRET", CODE + 3);
	RUN(v_int3);
	check_trap("INT3 is not sensitive: DPL counts", GP, 3 * 8 + 2);
	idt_entry(BP)[0] |= 3ull << 45;
	RUN(v_int3);
	check_trap("INT3", BP, 0);
	RUN(v_int3_long);
	ended("INT 3 of two bytes is", CODE);
	idt_entry(OF)[0] |= 3ull << 45;
	RUN(v_into);
	check_trap("INTO", OF, 0);
	RUN(v_in);
	ended("IN by the I/O map", CODE + 2);
	tss[136 + 0x80 / 8] = 1;
	RUN(v_in);
	ended("IN of a closed port", CODE);
}

static void iopl3(void)
{
	v86_flags = 0x3000;
	RUN(v_cli);
	ended("CLI, IOPL 3", CODE + 1);
	RUN(v_sti);
	check_eq("STI sets IF", trap.flags & FL_IF, FL_IF);
	RUN(v_pushf);
	check_eq("PUSHF, IOPL 3", trap.ax & 0xffff, 0x3002);
	RUN(v_pushfl);
	check_eq("PUSHFD hides VM and RF", trap.ax & 0x30000, 0);
	in.ax = 0x0ad5;
	RUN(v_popf_full);
	check_eq("POPF leaves IOPL", trap.bx & 0xffff, 0x3ad7);
	idt_entry(0x21)[0] |= 3ull << 45;
	RUN(v_int);
	check_trap("INT n by the IDT", 0x21, 0);
	check_eq("its IP", trap.ip, 2);
	idt_default(0x21);
	RUN(v_int);
	check_trap("INT n, DPL 0", GP, 0x21 * 8 + 2);
	in.ax = 0x0202;
	in.bx = 0x40;
	RUN(v_iret);
	ended("IRET, IOPL 3", CODE + 0x40);
	check_eq("its flags", trap.flags & 0xffff, 0x3202);
	in.ax = 0x0202 | FL_AC;
	in.bx = 0x40;
	RUN(v_iretl);
	ended("IRETD, IOPL 3", CODE + 0x40);
	check_eq("its flags, 32 bits", trap.flags & ~(ulong)FL_RF, 0x3202 | FL_VM | FL_AC);
	RUN(v_in);
	ended("IOPL does not open ports here", CODE);
	tss[136 + 0x80 / 8] = 0;
}

static void gates_from_v86(void)
{
	/* The handler's segment must have DPL 0. */
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0xbb, 0xc);
	idt_set(0x21, (ulong)v_nop, SEL_FREE, 0xee, 0);
	v86_flags = 0x3000;
	RUN(v_int);
	check_trap("handler at CPL 1", GP, SEL_FREE);
	gdt[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0x9f, 0xc);
	RUN(v_int);
	check_trap("conforming handler", GP, SEL_FREE);
	idt_default(0x21);
	v86_flags = 0;
}

/* The redirection bitmap lies in the TSS below the I/O map: 32 bytes at 104. */
static void vme(void)
{
	uint8_t *bitmap = tss + 104;

	if (!cpu_has(1, 3, 1)) {
		check("no VME to test", true);
		return;
	}
	wr_cr4(rd_cr4() | 1);
	IVT(0x21) = 0x0280u << 16;
	v86_flags = 0;
	/* Redirected: the 8086 program's own handler, flags with IF as VIF. */
	in.flags = FL_VIF | FL_IF;
	RUN(v_int);
	ended("INT n redirected", HANDLER);
	check_eq("pushed IP", v86_stack(0), 2);
	check_eq("pushed CS", v86_stack(1), CODE_SEG);
	check_eq("pushed FLAGS: IF is VIF, IOPL 3", v86_stack(2), 0x3202);
	check_eq("VIF is clear after", trap.flags & FL_VIF, 0);
	check_eq("IF stays", trap.flags & FL_IF, FL_IF);
	bitmap[0x21 / 8] |= 1 << (0x21 % 8);
	RUN(v_int);
	ended("INT n not redirected", CODE);
	v86_flags = 0x3000;
	RUN(v_int);
	check_trap("not redirected, IOPL 3", GP, 0x21 * 8 + 2);
	bitmap[0x21 / 8] = 0;
	in.flags = FL_IF;
	RUN(v_int);
	check_eq("redirected, IOPL 3", trap.cs << 4 | trap.ip, HANDLER);
	check_eq("IF is clear after", trap.flags & FL_IF, 0);
	check_eq("pushed FLAGS", v86_stack(2), 0x3202);

	v86_flags = 0;
	in.flags = FL_VIF;
	RUN(v_cli);
	ended("CLI clears VIF", CODE + 1);
	check_eq("VIF", trap.flags & FL_VIF, 0);
	RUN(v_sti);
	ended("STI sets VIF", CODE + 1);
	check_eq("VIF set", trap.flags & FL_VIF, FL_VIF);
	check_eq("not IF", trap.flags & FL_IF, 0);
	in.flags = FL_VIP;
	RUN(v_sti);
	ended("STI with VIP", CODE);
	in.flags = FL_VIF;
	RUN(v_pushf);
	check_eq("PUSHF shows VIF as IF, IOPL 3", trap.ax & 0xffff, 0x3202);
	in.flags = FL_VIF;
	RUN(v_pushfl);
	ended("PUSHFD still faults", CODE);
	in.ax = 0x0202;
	RUN(v_popf);
	ended("POPF", CODE + 2);
	check_eq("into VIF", trap.flags & (FL_VIF | FL_IF), FL_VIF);
	in.ax = 0x0202;
	in.flags = FL_VIP;
	RUN(v_popf);
	ended("POPF of IF with VIP", CODE + 1);
	in.ax = 0x0102;
	RUN(v_popf);
	ended("POPF of TF", CODE + 1);
	in.ax = 0x0202;
	in.bx = 0x40;
	RUN(v_iret);
	ended("IRET", CODE + 0x40);
	check_eq("IRET into VIF", trap.flags & (FL_VIF | FL_IF), FL_VIF);
	in.ax = 0x0202;
	in.bx = 0x40;
	in.flags = FL_VIP;
	RUN(v_iret);
	ended("IRET of IF with VIP", CODE + 3);
	in.ax = 0x0202;
	in.bx = 0x40;
	RUN(v_iretl);
	check_trap("IRETD", GP, 0);
	wr_cr4(rd_cr4() & ~1ul);
}

void image_main(void)
{
	basics();
	iopl0();
	iopl3();
	gates_from_v86();
	vme();
}
