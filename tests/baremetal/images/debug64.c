/* SPDX-License-Identifier: Apache-2.0 */
/* Debug exceptions: single-step, instruction, data and I/O breakpoints, general detect; and what
 * holds exceptions and interrupts off (SDM 3A 17.2, 17.3, 6.8). */
/* bm: bits=64 */
#include "bm.h"

#define BS (1ul << 14)
#define BD (1ul << 13)
#define DR6_INIT 0xffff0ff0ul
#define TF_ON "pushfq\n\torl $0x100, (%rsp)\n\tpopfq\n\t"

SNIPPET(s_step, TF_ON "nop\n\tnop\n\tnop");
SNIPPET(s_step_movss, "mov %ss, %eax\n\t" TF_ON "mov %eax, %ss\n\tnop\n\tnop");
SNIPPET(s_step_popf_off, TF_ON "pushfq\n\tandl $~0x100, (%rsp)\n\tpopfq\n\tnop\n\tnop");
SNIPPET(s_step_rep, "mov $3, %ecx\n\tlea -64(%rsp), %rdi\n\t" TF_ON "rep stosb\n\tnop");
SNIPPET(s_step_int, TF_ON "int $0x30\n\tnop");
SNIPPET(s_step_ud, TF_ON "ud2");
SNIPPET(s_step_syscall, TF_ON "syscall\n\tnop");
SNIPPET(s_nops, "nop\n\tnop\n\tnop\n\tnop");
SNIPPET(s_write1, "movb $1, (%rax)\n\tnop");
SNIPPET(s_write4, "movl $1, (%rax)\n\tnop");
SNIPPET(s_read1, "mov (%rax), %cl\n\tnop");
SNIPPET(s_read_movss, "mov (%rax), %ss\n\tnop\n\tnop");
SNIPPET(s_movsb, "lea 64(%rax), %rsi\n\tmov %rax, %rdi\n\tmov $8, %ecx\n\trep movsb\n\tnop");
SNIPPET(s_push, "push %rbx\n\tnop");
SNIPPET(s_out, "out %al, $0x80\n\tnop");
SNIPPET(s_in2, "mov $0x7f, %edx\n\tin (%dx), %ax\n\tnop");
SNIPPET(s_mov_dr0, "mov %rax, %dr0");
SNIPPET(s_mov_from_dr7, "mov %dr7, %rax");
SNIPPET(s_mov_dr4, "mov %dr4, %rax");
SNIPPET(s_mov_dr6, "mov %rax, %dr6");
SNIPPET(s_mov_dr7, "mov %rax, %dr7");
SNIPPET(s_icebp, ".byte 0xf1\n\tnop");
SNIPPET(s_movss_int3, "mov %ss, %eax\n\tmov %eax, %ss\n\tint3\n\tnop");

static uint8_t cell[128] __attribute__((aligned(64)));
static ulong steps[16], dr6s[16];
static unsigned n_steps;
static bool stop_tf;

/* Notes where each #DB came. */
static bool db_hook(struct regs *r)
{
	if (n_steps < ARRAY_SIZE(steps)) {
		steps[n_steps] = r->ip;
		dr6s[n_steps] = rd_dr6();
	}
	n_steps++;
	wr_dr6(DR6_INIT);
	if (stop_tf)
		r->flags &= ~(ulong)FL_TF;
	return true;
}

static void run_steps(const char *snippet)
{
	n_steps = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		steps[i] = dr6s[i] = 0;
	wr_dr6(DR6_INIT);
	run_k(snippet);
}

static void single_step(void)
{
	/* TF_ON is 1 + 7 + 1 bytes. */
	run_steps(s_step);
	check_ok("stepping");
	check_eq("steps: three NOPs", n_steps, 3);
	check_eq("first after the NOP behind POPF", steps[0], (ulong)s_step + 10);
	check_eq("second", steps[1], (ulong)s_step + 11);
	check_eq("DR6.BS", dr6s[0], DR6_INIT | BS);
	run_steps(s_step_movss);
	check_eq("MOV SS loses its trap", n_steps, 2);
	check_eq("next one comes after the next instruction", steps[0],
		 (ulong)s_step_movss + 2 + 9 + 3);
	run_steps(s_step_popf_off);
	check_eq("POPF that clears TF traps once more", n_steps, 3);
	run_steps(s_step_rep);
	check_eq("one step per iteration", n_steps, 4);
	check_eq("at the instruction", steps[0], (ulong)s_step_rep + 10 + 9);
	bm_hook[0x30] = NULL;
	run_steps(s_step_int);
	check_trap("INT n under TF", 0x30, 0);
	check_eq("does not trap", n_steps, 0);
	check_eq("TF pushed", trap.flags & FL_TF, FL_TF);
	run_steps(s_step_ud);
	check_trap("#UD under TF", UD, 0);
	check_eq("does not trap either", n_steps, 0);
	wrmsr(MSR_STAR, 0x0018000800000000);
	wrmsr(MSR_LSTAR, (ulong)s_nops);
	wrmsr(MSR_FMASK, FL_TF);
	run_steps(s_step_syscall);
	check_ok("SYSCALL under TF");
	check_eq("masked TF does not trap", n_steps, 0);
	wrmsr(MSR_FMASK, 0);
}

/* Breakpoint n at va; rw and len as in DR7. */
static void arm(unsigned n, ulong va, unsigned rw, unsigned len)
{
	switch (n) {
	case 0:
		wr_dr0(va);
		break;
	case 1:
		wr_dr1(va);
		break;
	case 2:
		wr_dr2(va);
		break;
	default:
		wr_dr3(va);
		break;
	}
	wr_dr7((rd_dr7() & ~(0xful << (16 + 4 * n))) | 2ul << (2 * n) |
	       (ulong)(rw | len << 2) << (16 + 4 * n));
}

static void disarm(void)
{
	wr_dr7(0x400);
}

static void code_breakpoints(void)
{
	arm(0, (ulong)s_nops + 2, 0, 0);
	stop_tf = false;
	bm_hook[DB] = NULL;
	run_steps(s_nops);
	check_trap("instruction breakpoint", DB, 0);
	check_eq("before the instruction", trap.ip, (ulong)s_nops + 2);
	check_eq("DR6.B0", rd_dr6() & 0xf00f, 1);
	check_eq("RF is not pushed", trap.flags & FL_RF, 0);
	in.flags = FL_RF;
	in.ip = (ulong)s_nops + 2;
	run_steps(s_nops);
	check_ok("RF passes it");
	in.flags = FL_RF;
	in.ip = (ulong)s_nops + 1;
	run_steps(s_nops);
	check_trap("RF lasts for one instruction", DB, 0);
	arm(3, (ulong)s_nops + 1, 0, 0);
	run_steps(s_nops);
	check_trap("DR3", DB, 0);
	check_eq("DR6.B3", rd_dr6() & 0xf00f, 8);
	disarm();
	run_steps(s_nops);
	check_ok("disarmed");
	arm(1, (ulong)s_nops + USER, 0, 0);
	wr_dr6(DR6_INIT);
	run_u(s_nops);
	check_trap("in user code", DB, 0);
	check_eq("its CS", trap.cs, UCODE);
	disarm();
}

static void data_access(const char *name, const char *snippet, ulong va, bool hit, ulong ip)
{
	wr_dr6(DR6_INIT);
	in.ax = va;
	run_k(snippet);
	if (hit) {
		check_trap(name, DB, 0);
		check_eq("after the instruction", trap.ip, ip);
		check_eq("its bit", rd_dr6() & 0xf00f, 1);
	} else {
		check_ok(name);
	}
}

static void data_breakpoints(void)
{
	ulong va = (ulong)cell;

	arm(0, va, 1, 0);
	data_access("data write", s_write1, va, true, (ulong)s_write1 + 3);
	data_access("a read is none", s_read1, va, false, 0);
	data_access("next byte", s_write1, va + 1, false, 0);
	data_access("overlap from below", s_write4, va - 3, true, (ulong)s_write4 + 6);
	arm(0, va, 3, 0);
	data_access("read or write: read", s_read1, va, true, (ulong)s_read1 + 2);
	data_access("read or write: write", s_write1, va, true, (ulong)s_write1 + 3);
	arm(0, va + 8, 1, 3);
	data_access("four bytes: last", s_write1, va + 11, true, (ulong)s_write1 + 3);
	data_access("four bytes: beyond", s_write1, va + 12, false, 0);
	arm(0, va + 8, 1, 2);
	data_access("eight bytes: last", s_write1, va + 15, true, (ulong)s_write1 + 3);
	data_access("eight bytes: beyond", s_write1, va + 16, false, 0);
	arm(0, (ulong)bm_stack - 8, 1, 2);
	data_access("push", s_push, 0, true, (ulong)s_push + 1);
	disarm();
	data_access("disarmed data", s_write1, va, false, 0);

	arm(1, va + 3, 1, 0);
	wr_dr6(DR6_INIT);
	in.ax = va;
	run_k(s_movsb);
	check_trap("within REP MOVSB", DB, 0);
	check_eq("after that iteration", trap.cx, 4);
	check_eq("at the instruction", trap.ip, (ulong)s_movsb + 12);
	disarm();

	/* MOV SS puts a data breakpoint off to after the next instruction (6.8.3). */
	*(uint16_t *)cell = KDATA;
	arm(0, va, 3, 1);
	wr_dr6(DR6_INIT);
	in.ax = va;
	run_k(s_read_movss);
	check_trap("data breakpoint of MOV SS", DB, 0);
	check_eq("comes one later", trap.ip, (ulong)s_read_movss + 3);
	disarm();
}

static void io_breakpoints(void)
{
	wr_cr4(rd_cr4() | 8);
	arm(0, 0x80, 2, 0);
	wr_dr6(DR6_INIT);
	run_k(s_out);
	check_trap("I/O breakpoint", DB, 0);
	check_eq("after OUT", trap.ip, (ulong)s_out + 2);
	check_eq("DR6 of I/O", rd_dr6() & 0xf00f, 1);
	wr_dr6(DR6_INIT);
	run_k(s_in2);
	check_trap("I/O breakpoint, word below", DB, 0);
	disarm();
	run_k(s_out);
	check_ok("I/O breakpoint disarmed");
	run_k(s_mov_dr4);
	check_trap("DR4 with CR4.DE", UD, 0);
	wr_cr4(rd_cr4() & ~8ul);
	run_k(s_mov_dr4);
	check_ok("DR4 without");
	check_eq("is DR6", trap.ax, rd_dr6());
}

static void registers(void)
{
	wr_dr6(DR6_INIT);
	wr_dr7(0x400 | 1 << 13);
	run_k(s_mov_dr0);
	check_trap("general detect", DB, 0);
	check_eq("at the instruction", trap.ip, (ulong)s_mov_dr0);
	check_eq("GD is clear in the handler", rd_dr7(), 0x400);
	check_eq("DR6.BD", rd_dr6() & 0xf00f, BD);
	run_u(s_mov_from_dr7);
	check_trap("MOV DR at CPL 3", GP, 0);
	in.ax = 1ul << 32;
	run_k(s_mov_dr6);
	check_trap("DR6 upper half", GP, 0);
	in.ax = 1ul << 32;
	run_k(s_mov_dr7);
	check_trap("DR7 upper half", GP, 0);
	wr_dr6(0);
	check_eq("DR6 fixed bits", rd_dr6() & ~0x8000ul, 0xffff0ff0 & ~0x8000ul);
	wr_dr7(0);
	check_eq("DR7 fixed bit", rd_dr7(), 0x400);
	wr_dr7(0xffffffff & ~0x2000u & ~0xffu);
	check_eq("DR7 reserved bits", rd_dr7() & 0xd000, 0);
	wr_dr7(0x400);
	wr_dr6(DR6_INIT);
	run_k(s_icebp);
	check_trap("INT1", DB, 0);
	check_eq("notes nothing in DR6", rd_dr6(), DR6_INIT);
	check_eq("after INT1", trap.ip, (ulong)s_icebp + 1);
	run_k(s_movss_int3);
	check_trap("INT3 right after MOV SS", BP, 0);
}

void image_main(void)
{
	bm_hook[DB] = db_hook;
	single_step();
	bm_hook[DB] = NULL;
	code_breakpoints();
	data_breakpoints();
	io_breakpoints();
	registers();
}
