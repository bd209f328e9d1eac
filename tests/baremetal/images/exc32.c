/* SPDX-License-Identifier: Apache-2.0 */
/* 32-bit protected mode: exceptions and their error codes, segment limits and rights, interrupt and
 * trap gates of both sizes, call gates with parameters, returns to outer levels, 16-bit code and
 * stacks (SDM 3A 5, 6). */
/* bm: bits=32 */
#include "bm.h"

SNIPPET(s_nop, "nop");
RAW_SNIPPET(s_ud2, "ud2");
SNIPPET(s_div, "xor %ecx, %ecx\n\tdiv %ecx");
SNIPPET(s_int20, "int $0x20\n\tnop");
SNIPPET(s_int3, "int3");
SNIPPET(s_into, "mov $0x7fffffff, %eax\n\tinc %eax\n\tinto\n\tnop");
SNIPPET(s_into_not, "xor %eax, %eax\n\tinto");
SNIPPET(s_bound, "bound %eax, (%esi)");
SNIPPET(s_loadds, "mov %eax, %ds");
SNIPPET(s_loadss, "mov %eax, %ss");
SNIPPET(s_fs_read, "mov %eax, %fs\n\tmovb %fs:(%ebx), %cl");
SNIPPET(s_fs_read4, "mov %eax, %fs\n\tmovl %fs:(%ebx), %ecx");
SNIPPET(s_fs_write, "mov %eax, %fs\n\tmovb %cl, %fs:(%ebx)");
SNIPPET(s_ss_read, "mov %eax, %ss\n\tmovb (%ebp), %cl\n\tmov $0x10, %eax\n\tmov %eax, %ss");
SNIPPET(s_ss_push,
	"mov %esp, %edi\n\tmov %eax, %ss\n\tmov %ebx, %esp\n\tpush %ecx\n\tmov %esp, %ebx\n\t"
	"mov $0x10, %eax\n\tmov %eax, %ss\n\tmov %edi, %esp");
SNIPPET(s_cs_write, "movb %cl, %cs:(%ebx)");
SNIPPET(s_ljmp, "ljmp *(%esi)");
SNIPPET(s_lcall, "lcall *(%esi)");
SNIPPET(s_lcall_args, "pushl $0x1111\n\tpushl $0x2222\n\tlcall *(%esi)");
SNIPPET(s_lcall_args16, "pushw $0x3333\n\tpushw $0x4444\n\tlcall *(%esi)");
RAW_SNIPPET(s_lret8, "mov 8(%esp), %eax\n\tmov 12(%esp), %ebx\n\tlret $8");
SNIPPET(s_lcall_back, "pushl $0x1111\n\tpushl $0x2222\n\tlcall *(%esi)\n\tnop");
SNIPPET(s_iret, "iret");
SNIPPET(s_lret, "lret");
SNIPPET(s_cli, "cli");
SNIPPET(s_in, "inb $0x80, %al");
SNIPPET(s_in81, "inw $0x81, %ax");
SNIPPET(s_hlt, "hlt");
SNIPPET(s_arpl, "arpl %bx, %ax\n\tsetz %cl");
SNIPPET(s_lar, "lar %eax, %ebx\n\tsetz %cl");
/* 16-bit code: 40 is inc %ax, b8 takes two bytes. */
SNIPPET(s_code16, ".byte 0xb8, 0x34, 0x12, 0x40, 0x66, 0x40");
SNIPPET(s_popf, "pushl %eax\n\tpopf\n\tpushf\n\tpopl %ebx");

struct far {
	uint32_t off;
	uint16_t sel;
} __attribute__((packed));

static struct far far;

#define SEL1 SEL_FREE
#define SEL2 (SEL_FREE + 8)

static void simple(void)
{
	static int32_t bounds[2] = {1, 5};

	run_k(s_nop);
	check_ok("a snippet ends");
	run_u(s_nop);
	check_ok("a user snippet ends");
	check_eq("user CS", trap.cs, UCODE);
	check_eq("user ESP", trap.sp, (ulong)bm_ustack);
	run_k(s_div);
	check_trap("#DE", DE, 0);
	run_k(s_ud2);
	check_trap("#UD", UD, 0);
	check_eq("#UD RF", trap.flags & FL_RF, FL_RF);
	run_k(s_int3);
	check_trap("#BP", BP, 0);
	run_k(s_into);
	check_trap("#OF", OF, 0);
	check_eq("after INTO", trap.ip, (ulong)s_into + 7);
	run_k(s_into_not);
	check_ok("INTO without OF");
	in.si = (ulong)bounds;
	in.ax = 5;
	run_k(s_bound);
	check_ok("BOUND inside");
	in.si = (ulong)bounds;
	in.ax = 6;
	run_k(s_bound);
	check_trap("#BR", BR, 0);
	check_eq("at BOUND", trap.ip, (ulong)s_bound);
	run_u(s_into);
	check_trap("INTO at CPL 3 obeys DPL", GP, OF * 8 + 2);
	run_u(s_cli);
	check_trap("CLI at CPL 3", GP, 0);
	in.flags = 0x3000;
	run_u(s_cli);
	check_ok("CLI with IOPL 3");
	run_u(s_hlt);
	check_trap("HLT at CPL 3", GP, 0);
	run_u(s_in);
	check_ok("IN allowed by the I/O map");
	tss[136 + 0x80 / 8] = 4; /* port 0x82 */
	run_u(s_in);
	check_ok("IN of one byte beside");
	run_u(s_in81);
	check_trap("IN of a word over a closed port", GP, 0);
	in.flags = 0x3000;
	run_u(s_in81);
	check_ok("IN with IOPL 3");
	tss[136 + 0x80 / 8] = 0;
	in.ax = 0x3200;
	run_u(s_popf);
	check_eq("POPF at CPL 3 leaves IOPL and IF", trap.bx & 0x3200, 0);
	in.ax = 0x11;
	in.bx = 0x13;
	run_k(s_arpl);
	check_eq("ARPL raises RPL", trap.ax & 0xffff, 0x13);
	check_eq("ARPL ZF", trap.cx & 1, 1);
	in.ax = 0x13;
	in.bx = 0x10;
	run_k(s_arpl);
	check_eq("ARPL does nothing", trap.cx & 1, 0);
	gdt[SEL1 / 8] = gate_desc(KCODE, 0, 0x84, 0);
	in.ax = SEL1;
	run_k(s_lar);
	check_eq("LAR of a 16-bit call gate", trap.cx & 1, 1);
	check_eq("its rights", trap.bx & 0xff00, 0x8400);
}

/* %fs := a segment like this, then read or write at off. */
static void limit(const char *name, uint32_t lim, uint8_t access, uint8_t flags,
		  const char *snippet, uint32_t off, unsigned vector)
{
	gdt[SEL1 / 8] = seg_desc(0x200000, lim, access, flags);
	in.ax = SEL1;
	in.bx = off;
	run_k(snippet);
	check_trap(name, vector, 0);
}

static void limits(void)
{
	limit("last byte", 0xfff, 0x93, 4, s_fs_read, 0xfff, VEC_EXIT);
	limit("beyond", 0xfff, 0x93, 4, s_fs_read, 0x1000, GP);
	limit("last doubleword", 0xfff, 0x93, 4, s_fs_read4, 0xffc, VEC_EXIT);
	limit("across the limit", 0xfff, 0x93, 4, s_fs_read4, 0xffd, GP);
	limit("wrapping around", 0xfffff, 0x93, 0xc, s_fs_read4, 0xfffffffd, GP);
	limit("pages: last", 0x1, 0x93, 0xc, s_fs_read, 0x1fff, VEC_EXIT);
	limit("pages: beyond", 0x1, 0x93, 0xc, s_fs_read, 0x2000, GP);
	limit("expand-down: at the limit", 0xfff, 0x97, 4, s_fs_read, 0xfff, GP);
	limit("expand-down: above it", 0xfff, 0x97, 4, s_fs_read, 0x1000, VEC_EXIT);
	limit("expand-down: 16-bit upper bound", 0xfff, 0x97, 0, s_fs_read, 0xffff, VEC_EXIT);
	limit("expand-down: beyond that", 0xfff, 0x97, 0, s_fs_read, 0x10000, GP);
	limit("expand-down: across that", 0xfff, 0x97, 0, s_fs_read4, 0xfffe, GP);
	limit("write to read-only data", 0xfff, 0x91, 4, s_fs_write, 0, GP);
	limit("read of readable code", 0xfff, 0x9b, 4, s_fs_read, 0, VEC_EXIT);
	limit("write to code", 0xfff, 0x9b, 4, s_fs_write, 0, GP);
	in.ax = 0;
	run_k(s_fs_read);
	check_trap("read by a null selector", GP, 0);
	in.bx = (ulong)bm_stack;
	run_k(s_cs_write);
	check_trap("write by CS", GP, 0);

	/* The fault is delivered on that very stack: base 0, and room for the handler. */
	gdt[SEL1 / 8] = seg_desc(0, (uint32_t)(ulong)bm_stack >> 12, 0x93, 0xc);
	in.ax = SEL1;
	in.bp = ((ulong)bm_stack | 0xfff) + 1;
	run_k(s_ss_read);
	check("beyond the stack's limit", (trap.vector == SS && trap.error == 0) || bm_tcg());
	gdt[SEL1 / 8] = seg_desc(0x200000, 0xfff, 0x93, 4);
	in.ax = SEL1;
	in.bx = 0x800;
	in.cx = 0x1234;
	run_k(s_ss_push);
	check_ok("push within it");
	check_eq("the base counts", *(volatile uint32_t *)(0x200000 + 0x7fc), 0x1234);
	gdt[SEL1 / 8] = seg_desc(0x200000, 0xffff, 0x93, 0);
	in.ax = SEL1;
	in.bx = 0x12340000;
	in.cx = 0x55;
	run_k(s_ss_push);
	check_ok("16-bit stack");
	check("SP wraps, upper half stays", trap.bx == 0x1234fffc || bm_tcg());
}

static void segments(void)
{
	in.ax = 0x1f8;
	run_k(s_loadds);
	check_trap("DS empty descriptor", GP, 0x1f8);
	gdt[SEL1 / 8] = seg_desc(0, 0xfffff, 0x13, 0xc);
	in.ax = SEL1;
	run_k(s_loadds);
	check_trap("DS not present", NP, SEL1);
	in.ax = SEL1;
	run_k(s_loadss);
	check_trap("SS not present", SS, SEL1);
	in.ax = 0;
	run_k(s_loadss);
	check_trap("SS null", GP, 0);
	in.ax = KCODE;
	run_k(s_loadss);
	check_trap("SS code", GP, KCODE);
	in.ax = UDATA;
	run_k(s_loadss);
	check_trap("SS of CPL 3", GP, UDATA & ~3);
	in.ax = KDATA | 3;
	run_k(s_loadds);
	check_trap("DS RPL 3, DPL 0", GP, KDATA);
	gdt[SEL1 / 8] = seg_desc(0, 0xfffff, 0x9f, 0xc);
	in.ax = SEL1 | 3;
	run_u(s_loadds);
	check_ok("DS conforming code at CPL 3");
}

static void gates(void)
{
	uint32_t *sp0 = (uint32_t *)bm_rsp0, *sp = (uint32_t *)bm_stack;

	run_k(s_int20);
	check_trap("INT 20", 0x20, 0);
	idt_entry(0x20)[0] |= 3ull << 45;
	run_u(s_int20);
	check_trap("INT 20 at CPL 3", 0x20, 0);
	check_eq("SS pushed", sp0[-1], UDATA);
	check_eq("ESP pushed", sp0[-2], (ulong)bm_ustack);
	idt_entry(0x20)[0] &= ~(1ull << 47);
	run_k(s_int20);
	check_trap("gate not present", NP, 0x20 * 8 + 2);
	idt_set(0x20, (ulong)s_nop, 0x1f0, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate with an empty CS", GP, 0x1f0);
	idt_set(UD, (ulong)s_nop, 0x1f0, 0x8e, 0);
	run_k(s_ud2);
	check("its EXT for an exception", (trap.vector == GP && trap.error == 0x1f1) || bm_tcg());
	idt_default(UD);
	idt_set(0x20, (ulong)s_nop, UCODE & ~3, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate outwards", GP, UCODE & ~3);
	gdt[SEL1 / 8] = seg_desc(0, 0xf, 0x9b, 4);
	idt_set(0x20, 0x10, SEL1, 0x8e, 0);
	run_k(s_int20);
	check_trap("gate beyond its segment", GP, 0);
	/* A 16-bit trap gate pushes words; the handler lies in a segment based at its code. */
	gdt[SEL1 / 8] = seg_desc((uint32_t)(ulong)s_nop, 0xffff, 0x9b, 4);
	idt_set(0x20, 0, SEL1, 0x87, 0);
	sp[-1] = sp[-2] = 0;
	in.flags = FL_IF;
	run_k(s_int20);
	check_ok("16-bit trap gate");
	check_eq("IF stays", trap.flags & FL_IF, FL_IF);
	check_eq("IP as a word", sp[-2] >> 16, ((ulong)s_int20 + 2) & 0xffff);
	check_eq("CS as a word", sp[-1] & 0xffff, KCODE);
	check_eq("FLAGS as a word", sp[-1] >> 16 & FL_IF, FL_IF);
	check_eq("six bytes", trap.sp, (ulong)bm_stack - 6);
	idt_default(0x20);
	/* A conforming handler keeps CPL. */
	gdt[SEL1 / 8] = seg_desc(0, 0xfffff, 0x9f, 0xc);
	idt_set(0x20, (ulong)s_nop, SEL1, 0xef, 0);
	run_u(s_int20);
	check_ok("conforming handler");
	check_eq("its CPL", trap.cs, SEL1 | 3);
	idt_default(0x20);
}

static void call_gates(void)
{
	uint32_t *sp0 = (uint32_t *)bm_rsp0;

	far = (struct far){0, SEL1 | 3};
	gdt[SEL1 / 8] = gate_desc(KCODE, (uint32_t)(ulong)s_nop, 0xec, 2);
	in.si = (ulong)&far;
	run_u(s_lcall_args);
	check_ok("call gate inwards");
	check_eq("call gate SS", sp0[-1], UDATA);
	check_eq("call gate ESP", sp0[-2], (ulong)bm_ustack - 8);
	check_eq("first parameter", sp0[-3], 0x1111);
	check_eq("second parameter", sp0[-4], 0x2222);
	check_eq("call gate CS", sp0[-5], UCODE);
	check_eq("call gate EIP", sp0[-6], (ulong)s_lcall_args + 12);
	gdt[SEL1 / 8] = gate_desc(KCODE, (uint32_t)(ulong)s_lret8, 0xec, 2);
	in.si = (ulong)&far;
	run_u(s_lcall_back);
	check_ok("and back with RET 8");
	check_eq("parameters seen", trap.ax, 0x2222);
	check_eq("both", trap.bx, 0x1111);
	check_eq("released on the outer stack", trap.sp, (ulong)bm_ustack);
	check_eq("back at CPL 3", trap.cs, UCODE);
	/* 16-bit gate: words. */
	gdt[SEL2 / 8] = seg_desc((uint32_t)(ulong)s_nop, 0xffff, 0x9b, 4);
	gdt[SEL1 / 8] = gate_desc(SEL2, 0, 0xe4, 2);
	in.si = (ulong)&far;
	run_u(s_lcall_args16);
	check_ok("16-bit call gate");
	check_eq("its ESP", trap.sp, (ulong)bm_rsp0 - 12);
	check_eq("its words", sp0[-2], 0x33334444);
	far.sel = SEL1;
	gdt[SEL1 / 8] = gate_desc(KCODE, (uint32_t)(ulong)s_nop, 0x8c, 0);
	in.si = (ulong)&far;
	run_k(s_lcall);
	check_ok("call gate at CPL 0");
	in.si = (ulong)&far;
	run_k(s_ljmp);
	check_ok("jump gate");
	in.si = (ulong)&far;
	run_u(s_lcall);
	check_trap("DPL of the gate", GP, SEL1);
	gdt[SEL1 / 8] = gate_desc(KCODE, (uint32_t)(ulong)s_nop, 0x0c, 0);
	in.si = (ulong)&far;
	run_k(s_lcall);
	check_trap("call gate not present", NP, SEL1);
	gdt[SEL1 / 8] = gate_desc(KCODE, (uint32_t)(ulong)s_nop, 0xec, 0);
	in.si = (ulong)&far;
	run_u(s_ljmp);
	check_trap("no jump inwards", GP, KCODE);
}

/* A call from CPL 3 through SEL1 to code of CPL 1, with this SS1. */
static void to_level1(const char *name, uint16_t ss1, uint32_t esp1, unsigned vector, ulong error)
{
	*(uint32_t *)(tss + 0xc) = esp1;
	*(uint32_t *)(tss + 0x10) = ss1;
	far = (struct far){0, SEL1 | 3};
	in.si = (ulong)&far;
	run_u(s_lcall);
	check_trap(name, vector, error);
}

static void inner_stacks(void)
{
	uint16_t code1 = SEL2, data1 = SEL2 + 8, other = SEL2 + 16;
	uint32_t esp1 = (uint32_t)(ulong)bm_ist;

	gdt[SEL1 / 8] = gate_desc(code1, (uint32_t)(ulong)s_nop, 0xec, 0);
	gdt[code1 / 8] = seg_desc(0, 0xfffff, 0xbb, 0xc);
	gdt[data1 / 8] = seg_desc(0, 0xfffff, 0xb2, 0xc);
	to_level1("to CPL 1", data1 | 1, esp1, VEC_EXIT, 0);
	check_eq("CPL 1: CS", trap.cs, code1 | 1);
	check_eq("CPL 1: SS", trap.ss, data1 | 1);
	check_eq("CPL 1: ESP", trap.sp, esp1 - 16);
	check("SS accessed", (gdt[data1 / 8] >> 40 & 1) || bm_tcg());
	to_level1("SS1 null", 0, esp1, TS, 0);
	check_eq("faults in the caller", trap.ip, (ulong)s_lcall);
	to_level1("SS1 beyond the GDT", 0x400 | 1, esp1, TS, 0x400);
	to_level1("SS1 with another RPL", data1, esp1, TS, data1);
	to_level1("SS1 of CPL 0", KDATA | 1, esp1, TS, KDATA);
	gdt[other / 8] = seg_desc(0, 0xfffff, 0xb1, 0xc);
	to_level1("SS1 read-only", other | 1, esp1, TS, other);
	gdt[other / 8] = seg_desc(0, 0xfffff, 0x33, 0xc);
	to_level1("SS1 not present", other | 1, esp1, SS, other);
	gdt[other / 8] = seg_desc(0, 0xfff, 0xb3, 0x4);
	if (!bm_tcg()) {
		to_level1("SS1 too small", other | 1, esp1, SS, other);
		to_level1("SS1 too small by four bytes", other | 1, 12, SS, other);
	}
	gdt[other / 8] = seg_desc((uint32_t)(ulong)bm_ist - 0x1000, 0xfff, 0xb3, 0x4);
	to_level1("SS1 just big enough", other | 1, 16, VEC_EXIT, 0);
	gdt[code1 / 8] = seg_desc(0, 0xff, 0xbb, 0x4);
	to_level1("beyond the limit at CPL 1", data1 | 1, esp1, GP, 0);
	gdt[code1 / 8] = seg_desc(0, 0xfffff, 0x3b, 0xc);
	to_level1("CPL 1 code not present", data1 | 1, esp1, NP, code1);
	/* By an interrupt gate: the same with EXT clear for INT n, set for an exception. */
	gdt[code1 / 8] = seg_desc(0, 0xfffff, 0xbb, 0xc);
	idt_set(0x20, (ulong)s_nop, code1, 0xee, 0);
	*(uint32_t *)(tss + 0xc) = esp1;
	*(uint32_t *)(tss + 0x10) = data1 | 1;
	run_u(s_int20);
	check_ok("INT n to CPL 1");
	check_eq("its frame", trap.sp, esp1 - 20);
	*(uint32_t *)(tss + 0x10) = KDATA | 1;
	run_u(s_int20);
	check_trap("INT n: SS1 of CPL 0", TS, KDATA);
	idt_set(UD, (ulong)s_nop, code1, 0x8e, 0);
	run_u(s_ud2);
	check("#UD: likewise with EXT",
	      (trap.vector == TS && trap.error == (KDATA | 1)) || bm_tcg());
	idt_default(UD);
	idt_default(0x20);
	/* CPL 1 is a supervisor, but not CPL 0. */
	gdt[SEL1 / 8] = gate_desc(code1, (uint32_t)(ulong)s_hlt, 0xec, 0);
	to_level1("HLT at CPL 1", data1 | 1, esp1, GP, 0);
	gdt[SEL1 / 8] = gate_desc(code1, (uint32_t)(ulong)s_cli, 0xec, 0);
	to_level1("CLI at CPL 1", data1 | 1, esp1, GP, 0);
}

static void returns(void)
{
	uint32_t *f = (uint32_t *)bm_stack - 8;

	f[0] = (uint32_t)(ulong)s_nop;
	f[1] = UCODE;
	f[2] = (uint32_t)(ulong)bm_ustack;
	f[3] = UDATA;
	in.sp = (ulong)f;
	run_k(s_lret);
	check_ok("RET outwards");
	check_eq("its CS", trap.cs, UCODE);
	check_eq("its ESP", trap.sp, (ulong)bm_ustack);
	f[3] = KDATA;
	in.sp = (ulong)f;
	run_k(s_lret);
	check_trap("RET outwards to a kernel stack", GP, KDATA);
	f[1] = KDATA;
	in.sp = (ulong)f;
	run_k(s_lret);
	check_trap("RET to data", GP, KDATA);
	f[1] = 0;
	in.sp = (ulong)f;
	run_k(s_lret);
	check_trap("RET to null", GP, 0);
	f[1] = UCODE;
	f[2] = 0x3202;
	f[3] = (uint32_t)(ulong)bm_ustack;
	f[4] = UDATA;
	in.sp = (ulong)f;
	run_k(s_iret);
	check_ok("IRET outwards");
	check_eq("its flags", trap.flags, 0x3202);
	f[4] = 0;
	in.sp = (ulong)f;
	run_k(s_iret);
	check_trap("IRET with a null SS", GP, 0);
	gdt[SEL1 / 8] = seg_desc(0, 0xfffff, 0x73, 0xc);
	f[4] = SEL1 | 3;
	in.sp = (ulong)f;
	run_k(s_iret);
	check("IRET with SS not present", (trap.vector == SS && trap.error == SEL1) || bm_tcg());
	gdt[SEL1 / 8] = seg_desc(0, 0xff, 0xfb, 4);
	f[0] = 0x100;
	f[1] = SEL1 | 3;
	f[4] = UDATA;
	in.sp = (ulong)f;
	run_k(s_iret);
	check("IRET beyond the limit", (trap.vector == GP && trap.cs == KCODE) || bm_tcg());
}

static void code16(void)
{
	gdt[SEL1 / 8] = seg_desc((uint32_t)(ulong)s_code16, 0xffff, 0x9b, 0);
	far = (struct far){0, SEL1};
	in.si = (ulong)&far;
	in.ax = 0xffff0000;
	run_k(s_ljmp);
	check_ok("16-bit code");
	check_eq("16- and 32-bit operands", trap.ax, 0xffff1236);
	check_eq("IP", trap.ip, 8);
	gdt[SEL1 / 8] = seg_desc((uint32_t)(ulong)s_code16, 3, 0x9b, 0);
	in.si = (ulong)&far;
	run_k(s_ljmp);
	check_trap("running into the limit", GP, 0);
	check_eq("at the instruction that does not fit", trap.ip, 4);
}

static void double_fault(void)
{
	idt_set(NP, 0, 0x1f0, 0x8e, 0);
	gdt[SEL1 / 8] = seg_desc(0, 0xfffff, 0x13, 0xc);
	in.ax = SEL1;
	run_k(s_loadds);
	check_trap("#NP, #GP: #DF", DF, 0);
	idt_default(NP);
}

void image_main(void)
{
	simple();
	limits();
	segments();
	gates();
	returns();
	code16();
	double_fault();
	call_gates();
	inner_stacks();
}
