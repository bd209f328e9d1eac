/* SPDX-License-Identifier: Apache-2.0 */
/* Hardware task switches: JMP, CALL, IRET, task gates, interrupts, both TSS sizes, busy bits, the
 * link, NT, TS, the T bit, and faults before and after the commit point (SDM 3A 7). */
/* bm: bits=32 */
#include "bm.h"

struct tss32 {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t t, iomap;
};

struct tss16 {
	uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags;
	uint16_t ax, cx, dx, bx, sp, bp, si, di;
	uint16_t es, cs, ss, ds, ldt;
};

#define SEL_NEW SEL_FREE
#define SEL_NEW16 (SEL_FREE + 8)
#define SEL_GATE (SEL_FREE + 16)
#define SEL_LOW (SEL_FREE + 24) /* 16-bit code for the 16-bit task */
#define SEL_X (SEL_FREE + 32)

struct far {
	uint32_t off;
	uint16_t sel;
} __attribute__((packed));

static struct far far;
static struct tss32 new32;
static struct tss16 new16;
static uint8_t new_stack[4096] __attribute__((aligned(16)));

SNIPPET(s_ljmp, "mov $0x77, %ebp\n\tljmp *(%esi)\n\tnop");
SNIPPET(s_lcall, "mov $0x77, %ebp\n\tlcall *(%esi)\n\tnop");
SNIPPET(s_int, "int $0x21\n\tnop");
RAW_SNIPPET(s_ud2, "ud2");
SNIPPET(s_nop, "nop");
/* In the new task: back by IRET, and stop. */
SNIPPET(s_iret, "mov $0x99, %ecx\n\tiret\n\tnop");
SNIPPET(s_pop_iret, "pop %edx\n\tiret");
SNIPPET(s_iret_nt, "pushf\n\torl $0x4000, (%esp)\n\tpopf\n\tiret");
SNIPPET(s_ltr, "ltr %ax");

static uint8_t access_of(uint16_t sel)
{
	return (uint8_t)(gdt[sel / 8] >> 40);
}

static void set_access(uint16_t sel, uint8_t a)
{
	gdt[sel / 8] = (gdt[sel / 8] & ~(0xffull << 40)) | (uint64_t)a << 40;
}

/* Main task available again, running; the new ones fresh. */
static void fresh(const char *entry)
{
	set_access(SEL_TSS, 0x89);
	__asm__ volatile("ltr %0" : : "r"((uint16_t)SEL_TSS));
	new32 = (struct tss32){
		.esp0 = (ulong)bm_rsp0,
		.ss0 = KDATA,
		.cr3 = rd_cr3(),
		.eip = (ulong)entry,
		.eflags = 2,
		.eax = 0x1001,
		.ecx = 0x1002,
		.edx = 0x1003,
		.ebx = 0x1004,
		.esp = (ulong)new_stack + sizeof(new_stack),
		.ebp = 0x1005,
		.esi = 0x1006,
		.edi = 0x1007,
		.es = KDATA,
		.cs = KCODE,
		.ss = KDATA,
		.ds = KDATA,
		.fs = KDATA,
		.gs = 0,
		.iomap = 104,
	};
	gdt[SEL_NEW / 8] = seg_desc((ulong)&new32, 103, 0x89, 0);
	gdt[SEL_GATE / 8] = gate_desc(SEL_NEW, 0, 0xe5, 0);
	far = (struct far){0, SEL_NEW};
	in.si = (ulong)&far;
	wr_cr0(rd_cr0() & ~8ul);
}

/* A new task at CPL 3. */
static void fresh3(void)
{
	fresh(s_nop);
	new32.cs = UCODE;
	new32.ss = new32.ds = new32.es = new32.fs = UDATA;
}

static struct tss32 *old_tss(void)
{
	return (struct tss32 *)tss;
}

static uint16_t tr(void)
{
	uint16_t v;

	__asm__ volatile("str %0" : "=r"(v));
	return v;
}

static void jump(void)
{
	fresh(s_nop);
	run_k(s_ljmp);
	check_ok("JMP to a TSS");
	check_eq("EAX", trap.ax, 0x1001);
	check_eq("EDI", trap.di, 0x1007);
	check_eq("EIP", trap.ip, (ulong)s_nop + 3);
	check_eq("ESP", trap.sp, (ulong)new_stack + sizeof(new_stack));
	check_eq("NT clear", trap.flags & FL_NT, 0);
	check_eq("CR0.TS", rd_cr0() & 8, 8);
	check_eq("TR", tr(), SEL_NEW);
	check_eq("new is busy", access_of(SEL_NEW), 0x8b);
	check_eq("old is not", access_of(SEL_TSS), 0x89);
	check_eq("no link", new32.link, 0);
	check_eq("old EIP", old_tss()->eip, (ulong)s_ljmp + 7);
	check_eq("old EBP", old_tss()->ebp, 0x77);
	check_eq("old ESP", old_tss()->esp, (ulong)bm_stack);
	check_eq("old CS", old_tss()->cs & 0xffff, KCODE);
	check_eq("old ESI", old_tss()->esi, (ulong)&far);
	fresh(s_nop);
	far.sel = SEL_GATE;
	run_k(s_ljmp);
	check_ok("JMP to a task gate");
	check_eq("TR by the gate", tr(), SEL_NEW);
}

static void nested(void)
{
	fresh(s_iret);
	run_k(s_lcall);
	check_ok("CALL and IRET");
	check_eq("back where it called", trap.ip, (ulong)s_lcall + 10);
	check_eq("EBP is back", trap.bp, 0x77);
	check_eq("NT is not", trap.flags & FL_NT, 0);
	check_eq("TR is back", tr(), SEL_TSS);
	check_eq("link", new32.link & 0xffff, SEL_TSS);
	check_eq("callee is available", access_of(SEL_NEW), 0x89);
	check_eq("caller is busy", access_of(SEL_TSS), 0x8b);
	check_eq("callee's ECX was saved", new32.ecx, 0x99);
	check_eq("callee's EIP: after IRET", new32.eip, (ulong)s_iret + 6);
	check_eq("its NT was dropped", new32.eflags & FL_NT, 0);
	fresh(s_nop);
	run_k(s_lcall);
	check_eq("NT in the callee", trap.flags & FL_NT, FL_NT);
	check_eq("both are busy", access_of(SEL_TSS), 0x8b);
	check_eq("both", access_of(SEL_NEW), 0x8b);
}

static void interrupts(void)
{
	fresh(s_iret);
	idt_entry(0x21)[0] = gate_desc(SEL_NEW, 0, 0xe5, 0);
	run_k(s_int);
	check_ok("INT n by a task gate");
	check_eq("after INT n", trap.ip, (ulong)s_int + 5);
	fresh(s_iret);
	run_u(s_int);
	check_ok("from CPL 3");
	check_eq("back at CPL 3", trap.cs, UCODE);
	check_eq("with its stack", trap.ss, UDATA);
	/* An exception: RIP of the fault saved, error code on the new stack. */
	fresh(s_pop_iret);
	idt_entry(GP)[0] = gate_desc(SEL_NEW, 0, 0x85, 0);
	idt_entry(UD)[0] = gate_desc(SEL_NEW, 0, 0x85, 0);
	new32.eip = (ulong)s_nop;
	run_k(s_ud2);
	check_ok("#UD by a task gate");
	check_eq("EIP of the fault", old_tss()->eip, (ulong)s_ud2);
	check_eq("no error code", trap.sp, (ulong)new_stack + sizeof(new_stack));
	fresh(s_nop);
	in.ax = 0x1f8;
	run_k(s_ltr);
	check_ok("#GP by a task gate");
	check_eq("error code pushed", ((uint32_t *)(new_stack + sizeof(new_stack)))[-1], 0x1f8);
	check_eq("four bytes", trap.sp, (ulong)new_stack + sizeof(new_stack) - 4);
	idt_default(GP);
	idt_default(UD);
	fresh(s_nop);
	idt_entry(0x21)[0] = gate_desc(SEL_NEW, 0, 0x85, 0);
	run_u(s_int);
	check_trap("DPL of the task gate", GP, 0x21 * 8 + 2);
	fresh(s_nop);
	idt_entry(0x21)[0] = gate_desc(KDATA, 0, 0xe5, 0);
	run_k(s_int);
	check("task gate to data", trap.vector == GP && trap.error == KDATA);
	fresh(s_nop);
	idt_entry(0x21)[0] = gate_desc(SEL_TSS, 0, 0xe5, 0);
	run_k(s_int);
	check("task gate to a busy TSS", trap.vector == GP && trap.error == SEL_TSS);
	idt_default(0x21);
}

/* What must stop a switch, in the old task. */
static void before(const char *name, unsigned vector, ulong error)
{
	run_k(s_ljmp);
	check_trap(name, vector, error);
	check_eq("in the old task", tr(), SEL_TSS);
	check_eq("at the jump", trap.ip, (ulong)s_ljmp + 5);
}

/* What is found out in the new one. */
static void after(const char *name, unsigned vector, ulong error)
{
	run_k(s_ljmp);
	check_trap(name, vector, error);
	check_eq("in the new task", tr(), SEL_NEW);
	check_eq("at its first instruction", trap.ip, (ulong)s_nop);
}

static void faults(void)
{
	fresh(s_nop);
	set_access(SEL_NEW, 0x8b);
	before("busy", GP, SEL_NEW);
	fresh(s_nop);
	set_access(SEL_NEW, 0x09);
	before("not present", NP, SEL_NEW);
	fresh(s_nop);
	gdt[SEL_NEW / 8] = seg_desc((ulong)&new32, 102, 0x89, 0);
	before("too short", TS, SEL_NEW);
	fresh(s_nop);
	far.sel = SEL_NEW | 3;
	before("RPL above DPL", GP, SEL_NEW);
	fresh(s_nop);
	far.sel = SEL_GATE;
	gdt[SEL_GATE / 8] = gate_desc(SEL_NEW, 0, 0x65, 0);
	before("gate not present", NP, SEL_GATE);

	/* In a task of CPL 3, so that the handler gets a good stack out of the new TSS. */
	fresh3();
	new32.cs = UDATA;
	after("CS is data", TS, UDATA & ~3);
	fresh3();
	new32.cs = 3;
	after("CS is null", TS, 0);
	fresh3();
	new32.cs = KCODE | 3;
	after("CS with another DPL", TS, KCODE);
	fresh3();
	gdt[SEL_X / 8] = seg_desc(0, 0xfffff, 0x7b, 0xc);
	new32.cs = SEL_X | 3;
	after("CS not present", NP, SEL_X);
	fresh3();
	new32.ss = 0;
	after("SS is null", TS, 0);
	fresh3();
	new32.ss = KDATA | 3;
	after("SS with another DPL", TS, KDATA);
	fresh3();
	new32.ss = UDATA & ~3;
	after("SS with another RPL", TS, UDATA & ~3);
	fresh3();
	gdt[SEL_X / 8] = seg_desc(0, 0xfffff, 0x73, 0xc);
	new32.ss = SEL_X | 3;
	after("SS not present", SS, SEL_X);
	fresh3();
	new32.ds = SEL_X | 3;
	after("DS not present", NP, SEL_X);
	fresh3();
	new32.es = KDATA;
	after("ES of CPL 0", TS, KDATA);
	fresh3();
	new32.fs = 0x1f8;
	after("FS empty", TS, 0x1f8);
	fresh3();
	new32.ldt = KDATA;
	after("LDT is data", TS, KDATA);
	fresh3();
	gdt[SEL_X / 8] = seg_desc(0, 0xff, 0x02, 0);
	new32.ldt = SEL_X;
	after("LDT not present", TS, SEL_X);
	fresh3();
	gdt[SEL_X / 8] = seg_desc(0, 0xff, 0xfb, 4);
	new32.cs = SEL_X | 3;
	after("EIP beyond the limit", GP, 0);

	/* IRET with NT and a bad link. */
	fresh(s_nop);
	*(uint32_t *)tss = 0x1f8;
	run_k(s_iret_nt);
	check_trap("link to nothing", TS, 0x1f8);
	fresh(s_nop);
	*(uint32_t *)tss = SEL_NEW;
	run_k(s_iret_nt);
	check_trap("link to a TSS that is not busy", TS, SEL_NEW);
	*(uint32_t *)tss = 0;
}

static void t_bit(void)
{
	fresh(s_nop);
	new32.t = 1;
	wr_dr6(0xffff0ff0);
	run_k(s_ljmp);
	check_trap("the T bit", DB, 0);
	check_eq("before the first instruction", trap.ip, (ulong)s_nop);
	check_eq("DR6.BT", rd_dr6() & 0xe00f, 0x8000);
	wr_dr6(0xffff0ff0);
	fresh(s_nop);
	wr_dr7(0x455);
	wr_dr7(0x4aa | 0x55);
	run_k(s_ljmp);
	check_eq("local breakpoints are off", rd_dr7() & 0xff, 0xaa);
	wr_dr7(0x400);
}

static bool note_stack(struct regs *r)
{
	in.cx = (ulong)&r->es;
	return false;
}

static void sixteen(void)
{
	fresh(s_nop);
	gdt[SEL_LOW / 8] = seg_desc((ulong)s_nop & ~0xful, 0xffff, 0xfb, 4);
	new16 = (struct tss16){
		.ip = (ulong)s_nop & 0xf,
		.flags = 2,
		.ax = 0x2001,
		.cx = 0x2002,
		.sp = 0x800,
		.di = 0x2003,
		.es = UDATA,
		.cs = SEL_LOW | 3,
		.ss = UDATA,
		.ds = UDATA,
		.sp0 = 0x1800,
		.ss0 = KDATA,
	};
	gdt[SEL_NEW16 / 8] = seg_desc((ulong)&new16, 43, 0x81, 0);
	far.sel = SEL_NEW16;
	bm_hook[VEC_EXIT] = note_stack;
	run_k(s_lcall);
	bm_hook[VEC_EXIT] = NULL;
	check_trap("CALL to a 16-bit TSS", VEC_EXIT, 0);
	check_eq("AX", trap.ax & 0xffff, 0x2001);
	check_eq("DI", trap.di & 0xffff, 0x2003);
	check_eq("IP", trap.ip, ((ulong)s_nop & 0xf) + 3);
	check_eq("stack of a 16-bit TSS", in.cx, 0x1800);
	check_eq("16-bit TSS is busy", access_of(SEL_NEW16), 0x83);
	check_eq("its link", new16.link, SEL_TSS);
	check_eq("TR is 16-bit", tr(), SEL_NEW16);
	gdt[SEL_NEW16 / 8] = seg_desc((ulong)&new16, 42, 0x81, 0);
	in.cx = 0;
	fresh(s_nop);
	far.sel = SEL_NEW16;
	run_k(s_ljmp);
	check_trap("16-bit TSS too short", TS, SEL_NEW16);
}

static void to_v86(void)
{
	fresh(s_nop);
	*(uint8_t *)0x2000 = 0xf4;
	new32.eflags = 2 | FL_VM;
	new32.cs = 0x200;
	new32.eip = 0;
	new32.ss = 0x300;
	new32.esp = 0x100;
	new32.ds = 0x1234;
	run_k(s_ljmp);
	check_trap("a virtual-8086 task", GP, 0);
	check_eq("VM", trap.flags & FL_VM, FL_VM);
	check_eq("V86 CS", trap.cs, 0x200);
	check_eq("V86 DS", trap.ds, 0x1234);
}

static void paging(void)
{
	static uint32_t dir_a[1024] __attribute__((aligned(4096)));
	static uint32_t dir_b[1024] __attribute__((aligned(4096)));

	for (unsigned i = 0; i < 1024; i++)
		dir_a[i] = dir_b[i] = i << 22 | 0x87;
	dir_b[0x200] = 0 << 22 | 0x87;
	wr_cr4(rd_cr4() | 0x10);
	wr_cr3((ulong)dir_a);
	wr_cr0(rd_cr0() | 0x80000000);
	fresh(s_nop);
	new32.cr3 = (ulong)dir_b;
	run_k(s_ljmp);
	check_ok("a task with page tables of its own");
	check_eq("CR3", rd_cr3(), (ulong)dir_b);
	wr_cr0(rd_cr0() & ~0x80000000ul);
	wr_cr3(0);
}

void image_main(void)
{
	jump();
	nested();
	interrupts();
	faults();
	t_bit();
	sixteen();
	to_v86();
	paging();
	fresh(s_nop);
}
