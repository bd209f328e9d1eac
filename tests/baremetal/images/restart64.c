/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions that fault in the middle leave registers as they were, so that they can be
 * restarted; string instructions stop between iterations; implicit accesses have the supervisor's
 * rights (SDM 3A 6.6, 4.6.1). */
/* bm: bits=64 */
#include "bm.h"

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t page[4096] __attribute__((aligned(4096)));
static uint8_t page2[4096] __attribute__((aligned(4096)));

/* VA: page 1 is mapped, 0 and 2 are not; page 3 is read-only. */
#define VA 0x100000000000ul
#define LO (VA + 4096)
#define HI (VA + 8192)
#define RO (VA + 3 * 4096)

SNIPPET(s_push, "push %rax");
SNIPPET(s_push_mem, "push (%rax)");
SNIPPET(s_pop, "pop %rax");
SNIPPET(s_pop_mem, "pop (%rax)");
SNIPPET(s_pop_rsp_mem, "pop 8(%rsp)");
SNIPPET(s_pushf, "pushfq");
SNIPPET(s_popf, "popfq");
SNIPPET(s_call, "call *%rax");
SNIPPET(s_call_mem, "call *(%rax)");
SNIPPET(s_ret, "ret");
SNIPPET(s_ret8, "ret $8");
SNIPPET(s_lret, "lretq");
SNIPPET(s_iret, "iretq");
SNIPPET(s_enter, "enter $32, $0");
SNIPPET(s_enter3, "enter $32, $3");
SNIPPET(s_leave, "leave");
SNIPPET(s_xchg, "xchg %rbx, (%rax)");
SNIPPET(s_xadd, "lock xadd %rbx, (%rax)");
SNIPPET(s_cmpxchg, "lock cmpxchg %rbx, (%rcx)");
SNIPPET(s_cmpxchg16, "lock cmpxchg16b (%rsi)");
SNIPPET(s_add_mem, "add %rbx, (%rax)");
SNIPPET(s_adc_load, "stc\n\tadc (%rax), %rbx");
SNIPPET(s_div_mem, "divq (%rsi)");
SNIPPET(s_lodsb, "lodsb");
SNIPPET(s_stosq, "stosq");
SNIPPET(s_movsq, "movsq");
SNIPPET(s_rep_stosb, "rep stosb");
SNIPPET(s_rep_movsb, "rep movsb");
SNIPPET(s_rep_movsq, "rep movsq");
SNIPPET(s_rep_movsb_back, "std\n\trep movsb\n\tcld");
SNIPPET(s_repne_scasb, "repne scasb");
SNIPPET(s_repe_cmpsb, "repe cmpsb");
SNIPPET(s_rep_zero, "rep movsb");
SNIPPET(s_movbe, "movbe %rbx, (%rax)");
SNIPPET(s_shld_mem, "shld $4, %rbx, (%rax)");
SNIPPET(s_bts_mem, "lock bts %rbx, (%rax)");
SNIPPET(s_fxrstor, "fxrstor (%rax)");
SNIPPET(s_movups, "movups (%rax), %xmm0");
SNIPPET(s_loadfs, "mov %eax, %fs");
SNIPPET(s_sgdt, "sgdt (%rax)");
SNIPPET(s_lfs, "lfs (%rax), %ebx");

static struct regs before;

/* Run at CPL 3, expecting #PF at cr2 with this error code; nothing but RIP may differ from `in`. */
static void fault(const char *name, const char *snippet, ulong cr2, ulong error)
{
	if (!in.sp)
		in.sp = HI - 512;
	before = in;
	run_u(snippet);
	check_trap(name, PF, error);
	check_eq("CR2", trap_cr2, cr2);
	check("registers as before", trap.ax == before.ax && trap.cx == before.cx &&
					     trap.dx == before.dx && trap.bx == before.bx &&
					     trap.bp == before.bp && trap.si == before.si &&
					     trap.di == before.di && trap.sp == before.sp);
}

static void build(void)
{
	bm_pml4[32] = (ulong)pdpt | 7;
	pdpt[0] = (ulong)pd | 7;
	pd[0] = (ulong)pt | 7;
	pt[1] = (ulong)page | 7;
	pt[3] = (ulong)page2 | 5;
}

static void stack(void)
{
	in.sp = LO;
	fault("PUSH", s_push, LO - 8, 6);
	in.sp = LO + 4;
	fault("PUSH across", s_push, LO - 4, 6);
	in.ax = HI;
	fault("PUSH of memory", s_push_mem, HI, 4);
	in.sp = HI;
	fault("POP", s_pop, HI, 4);
	in.sp = HI - 4;
	fault("POP across", s_pop, HI, 4);
	in.ax = HI;
	fault("POP to memory", s_pop_mem, HI, 6);
	in.sp = HI - 16;
	fault("POP to memory by the RSP after", s_pop_rsp_mem, HI, 6);
	in.sp = LO;
	fault("PUSHF", s_pushf, LO - 8, 6);
	in.sp = HI;
	fault("POPF", s_popf, HI, 4);
	in.sp = LO;
	in.ax = (ulong)s_push + USER;
	fault("CALL", s_call, LO - 8, 6);
	in.ax = HI;
	fault("CALL by memory", s_call_mem, HI, 4);
	in.sp = HI;
	fault("RET", s_ret, HI, 4);
	in.sp = HI;
	fault("RET 8", s_ret8, HI, 4);
	in.sp = HI - 8;
	fault("far RET", s_lret, HI, 4);
	in.sp = HI - 32;
	__builtin_memset(page + 4096 - 32, 0, 32);
	*(ulong *)(page + 4096 - 32) = (ulong)s_push + USER;
	*(ulong *)(page + 4096 - 24) = UCODE;
	*(ulong *)(page + 4096 - 16) = 2;
	fault("IRET with half a frame", s_iret, HI, 4);
	in.sp = LO;
	in.bp = 0x55;
	fault("ENTER", s_enter, LO - 8, 6);
	in.sp = LO + 16;
	in.bp = HI - 64;
	fault("ENTER with levels", s_enter3, LO - 8, 6);
	in.sp = HI - 256;
	in.bp = HI;
	fault("LEAVE", s_leave, HI, 4);
}

static void memory(void)
{
	in.ax = HI;
	in.bx = 5;
	fault("XCHG", s_xchg, HI, 6);
	in.ax = RO;
	in.bx = 5;
	fault("XCHG, read-only", s_xchg, RO, 7);
	in.ax = RO;
	in.bx = 5;
	fault("XADD, read-only", s_xadd, RO, 7);
	in.cx = RO;
	in.ax = 77;
	in.bx = 5;
	fault("CMPXCHG that would not store, read-only", s_cmpxchg, RO, 7);
	in.si = RO;
	in.ax = 77;
	fault("CMPXCHG16B, read-only", s_cmpxchg16, RO, 7);
	in.ax = RO;
	in.bx = 5;
	fault("ADD to memory, read-only", s_add_mem, RO, 7);
	in.ax = HI - 4;
	in.bx = 5;
	fault("ADD to memory, across", s_add_mem, HI, 6);
	in.ax = HI;
	in.bx = 5;
	fault("ADC", s_adc_load, HI, 4);
	in.si = HI;
	in.dx = 3;
	fault("DIV", s_div_mem, HI, 4);
	in.ax = RO;
	in.bx = 0x123;
	fault("SHLD, read-only", s_shld_mem, RO, 7);
	in.ax = LO;
	in.bx = 0x8000;
	fault("BTS far off its operand", s_bts_mem, HI, 6);
	in.ax = HI;
	in.bx = 1;
	fault("MOVBE", s_movbe, HI, 6);
	in.ax = HI - 16;
	fault("FXRSTOR across", s_fxrstor, HI, 4);
	in.ax = HI - 8;
	fault("MOVUPS across", s_movups, HI, 4);
	in.ax = HI - 4;
	fault("SGDT across", s_sgdt, HI, 6);
	in.ax = HI - 2;
	in.bx = 9;
	fault("LFS across", s_lfs, HI, 4);
}

/* After the fault RCX, RSI and RDI say how far it came. */
static void partial(const char *name, const char *snippet, ulong cr2, ulong error, ulong cx,
		    ulong si, ulong di)
{
	in.sp = LO + 2048;
	run_u(snippet);
	check_trap(name, PF, error);
	check_eq("CR2", trap_cr2, cr2);
	check_eq("RCX", trap.cx, cx);
	check_eq("RSI", trap.si, si);
	check_eq("RDI", trap.di, di);
	check_eq("RIP at it", trap.ip - USER - (ulong)snippet, snippet == s_rep_movsb_back);
}

static void strings(void)
{
	in.si = HI;
	fault("LODSB", s_lodsb, HI, 4);
	in.di = HI;
	fault("STOSQ", s_stosq, HI, 6);
	in.si = LO;
	in.di = HI - 4;
	fault("MOVSQ across", s_movsq, HI, 6);
	for (unsigned i = 0; i < 4096; i++)
		page[i] = (uint8_t)i;
	in.di = HI - 100;
	in.cx = 1000;
	in.ax = 0xee;
	partial("REP STOSB", s_rep_stosb, HI, 6, 900, 0, HI);
	check_eq("stored up to the end", page[4095], 0xee);
	in.si = LO;
	in.di = HI - 100;
	in.cx = 1000;
	partial("REP MOVSB, destination", s_rep_movsb, HI, 6, 900, LO + 100, HI);
	check_eq("moved up to the end", page[4095], 99);
	in.si = HI - 50;
	in.di = LO;
	in.cx = 1000;
	partial("REP MOVSB, source", s_rep_movsb, HI, 4, 950, HI, LO + 50);
	in.si = LO;
	in.di = HI - 60;
	in.cx = 100;
	partial("REP MOVSQ", s_rep_movsq, HI, 6, 93, LO + 56, HI - 4);
	in.si = LO + 9;
	in.di = LO + 1000;
	in.cx = 100;
	partial("REP MOVSB backwards", s_rep_movsb_back, LO - 1, 4, 90, LO - 1, LO + 990);
	in.di = HI - 20;
	in.ax = 0;
	in.cx = 100;
	__builtin_memset(page + 4000, 1, 96);
	partial("REPNE SCASB", s_repne_scasb, HI, 4, 80, 0, HI);
	in.si = HI - 40;
	in.di = HI - 20;
	in.cx = 100;
	partial("REPE CMPSB", s_repe_cmpsb, HI, 4, 80, HI - 20, HI);
	in.si = in.di = HI;
	in.cx = 0;
	run_u(s_rep_zero);
	check_ok("REP with RCX 0 touches nothing");
	check_eq("RSI stays", trap.si, HI);
}

/* Descriptor tables are read and marked by the supervisor, whoever loads a segment. */
static void implicit(void)
{
	struct {
		uint16_t limit;
		ulong base;
	} __attribute__((packed)) table = {64 * 8 - 1, 0}, old;
	static uint64_t copy[512] __attribute__((aligned(4096)));

	__asm__ volatile("sgdt %0" : "=m"(old));
	__builtin_memcpy(copy, gdt, 64 * 8);
	copy[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0xf2, 0xc); /* not accessed */
	copy[SEL_FREE / 8 + 1] = seg_desc(0, 0xfffff, 0xf3, 0xc);

	/* In a supervisor page: CPL 3 may load from it all the same. */
	pt[5] = (ulong)copy | 3;
	table.base = VA + 5 * 4096;
	__asm__ volatile("lgdt %0" : : "m"(table));
	in.ax = SEL_FREE | 3;
	run_u(s_loadfs);
	check_ok("CPL 3 loads from a supervisor page");
	check_eq("marked accessed", copy[SEL_FREE / 8] >> 40 & 1, 1);
	/* In a read-only page: only the mark faults. */
	pt[5] = (ulong)copy | 1;
	copy[SEL_FREE / 8] = seg_desc(0, 0xfffff, 0xf2, 0xc);
	invlpg(VA + 5 * 4096);
	in.ax = (SEL_FREE + 8) | 3;
	run_u(s_loadfs);
	check_ok("accessed already: no write");
	in.ax = SEL_FREE | 3;
	run_u(s_loadfs);
	check_trap("the mark faults", PF, 3);
	check_eq("at the descriptor", trap_cr2 & ~7ul, table.base + SEL_FREE);
	/* In a user page under SMAP: not even with AC. */
	if (cpu_has(7, 1, 20)) {
		pt[5] = (ulong)copy | 7;
		invlpg(VA + 5 * 4096);
		in.ax = (SEL_FREE + 8) | 3;
		run_u(s_loadfs);
		check_ok("in a user page");
		if (!bm_tcg()) {
			/* The handler's own CS is read there, too: use a table that is split. */
			table.base = VA + 6 * 4096 - 0x48;
			pt[5] = (ulong)page2 | 3;
			pt[6] = (ulong)page | 7;
			__builtin_memcpy(page2 + 4096 - 0x48, copy, 0x48);
			__builtin_memcpy(page, copy + 9, 512 - 0x48);
			wr_cr3(rd_cr3());
			__asm__ volatile("lgdt %0" : : "m"(table));
			wr_cr4(rd_cr4() | 1 << 21);
			in.ax = (SEL_FREE + 8) | 3;
			in.flags = FL_AC;
			run_u(s_loadfs);
			wr_cr4(rd_cr4() & ~(1ul << 21));
			check_trap("SMAP and implicit accesses", PF, 1);
			check_eq("their address", trap_cr2 & ~7ul, table.base + SEL_FREE + 8);
		}
	}
	__asm__ volatile("lgdt %0" : : "m"(old));
}

void image_main(void)
{
	build();
	stack();
	memory();
	strings();
	implicit();
}
