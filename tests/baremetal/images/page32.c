/* SPDX-License-Identifier: Apache-2.0 */
/* 32-bit paging, 4 MiB pages, PAE: rights, A and D, reserved bits, the pointer table loaded by MOV
 * CR3 (SDM 3A 4.3, 4.4). */
/* bm: bits=32 */
#include "bm.h"

#define P 1u
#define W 2u
#define U 4u
#define A 0x20u
#define D 0x40u
#define PSIZE 0x80u
#define VA 0x80000000ul

SNIPPET(s_read, "movb (%eax), %bl");
SNIPPET(s_write, "movb $0x5a, (%eax)");
SNIPPET(s_read4, "movl (%eax), %ebx");
SNIPPET(s_nop, "nop");
SNIPPET(s_jump, "jmp *%eax");
SNIPPET(s_cr3, "mov %eax, %cr3");

static uint32_t dir[1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));
static uint64_t pdpt[4] __attribute__((aligned(32)));
static uint64_t pdpt_bad[4] __attribute__((aligned(32)));
static uint64_t pd[4][512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t page_a[4096] __attribute__((aligned(4096)));

static void probe(const char *name, bool user, const char *snippet, ulong va, unsigned vector,
		  ulong error)
{
	in.ax = va;
	if (user)
		run_u(snippet);
	else
		run_k(snippet);
	check_trap(name, vector, error);
}

static void paging_on(ulong cr3, ulong cr4)
{
	wr_cr4((rd_cr4() & ~0x30ul) | cr4);
	wr_cr3(cr3);
	wr_cr0(rd_cr0() | 0x80010000);
}

static void paging_off(void)
{
	wr_cr0(rd_cr0() & ~0x80000000ul);
	wr_cr4(rd_cr4() & ~0x30ul);
}

static void set_pte(uint32_t v)
{
	table[0] = v;
	invlpg(VA);
}

static void two_level(void)
{
	static uint32_t low[4][1024] __attribute__((aligned(4096)));

	/* 0..16 MiB by small pages, without PSE. */
	for (unsigned i = 0; i < 4096; i++)
		low[i / 1024][i % 1024] = i << 12 | P | W | U;
	for (unsigned i = 0; i < 4; i++)
		dir[i] = (ulong)low[i] | P | W | U;
	dir[VA >> 22] = (ulong)table | P | W | U;
	page_a[0] = 0xa0;
	__builtin_memcpy(page_a + 16, s_nop, 3);
	table[0] = (ulong)page_a | P | W | U;
	paging_on((ulong)dir, 0);
	probe("32-bit paging", true, s_read, VA, VEC_EXIT, 0);
	check_eq("the byte", trap.bx & 0xff, 0xa0);
	check_eq("A, not D", table[0] & (A | D), A);
	probe("write", true, s_write, VA + 1, VEC_EXIT, 0);
	check_eq("D", table[0] & D, D);
	check_eq("A of the directory", dir[VA >> 22] & A, A);
	set_pte((ulong)page_a | P | U);
	probe("read-only", true, s_write, VA, PF, 7);
	probe("WP", false, s_write, VA, PF, 3);
	wr_cr0(rd_cr0() & ~0x10000ul);
	probe("no WP", false, s_write, VA + 2, VEC_EXIT, 0);
	wr_cr0(rd_cr0() | 0x10000);
	set_pte((ulong)page_a | P | W);
	probe("supervisor page", true, s_read, VA, PF, 5);
	probe("fetch error has no I bit without NX", true, s_jump, VA + 16, PF, 5);
	set_pte(0);
	probe("not present", true, s_write, VA, PF, 6);
	check_eq("CR2", trap_cr2, VA);
	dir[(VA >> 22) + 1] = 0;
	probe("no directory entry", false, s_read, VA + 0x400000, PF, 0);
	set_pte((ulong)page_a | P | W | U);
	table[1] = 0;
	invlpg(VA + 4096);
	probe("across pages", false, s_read4, VA + 4094, PF, 0);
	check_eq("CR2 of the second page", trap_cr2, VA + 4096);
	dir[VA >> 22] = (ulong)table | P | W | U | PSIZE;
	invlpg(VA);
	probe("PS means nothing without PSE", true, s_read, VA, VEC_EXIT, 0);
	check_eq("the byte again", trap.bx & 0xff, 0xa0);
	paging_off();
}

static void pse(void)
{
	for (unsigned i = 0; i < 1024; i++)
		dir[i] = i << 22 | P | W | U | PSIZE;
	dir[VA >> 22] = P | W | U | PSIZE;
	paging_on((ulong)dir, 0x10);
	probe("4 MiB page", true, s_read, VA + (ulong)page_a, VEC_EXIT, 0);
	check_eq("its byte", trap.bx & 0xff, 0xa0);
	check_eq("its A", dir[VA >> 22] & (A | D), A);
	probe("written", true, s_write, VA + (ulong)page_a + 3, VEC_EXIT, 0);
	check_eq("its D", dir[VA >> 22] & D, D);
	dir[VA >> 22] = P | W | U | PSIZE | 1u << 21;
	invlpg(VA);
	probe("bit 21 is reserved", false, s_read, VA, PF, 9);
	dir[VA >> 22] = P | U | PSIZE;
	invlpg(VA);
	probe("read-only 4 MiB page", true, s_write, VA, PF, 7);
	dir[VA >> 22] = (ulong)table | P | W | U;
	table[0] = (ulong)page_a | P | W | U;
	invlpg(VA);
	probe("small pages beside", true, s_read, VA, VEC_EXIT, 0);
	paging_off();
}

static void pae(void)
{
	for (unsigned i = 0; i < 2048; i++)
		pd[i / 512][i % 512] = (uint64_t)i << 21 | P | W | U | PSIZE;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (ulong)pd[i] | P;
	pd[2][0] = (ulong)pt | P | W | U;
	pt[0] = (ulong)page_a | P | W | U;
	wrmsr(EFER, rdmsr(EFER) | 0x800);
	paging_on((ulong)pdpt, 0x20);
	probe("PAE", true, s_read, VA, VEC_EXIT, 0);
	check_eq("PAE byte", trap.bx & 0xff, 0xa0);
	check_eq("PAE A", pt[0] & (A | D), A);
	probe("PAE 2 MiB page", true, s_read, (ulong)page_a, VEC_EXIT, 0);
	pt[0] = (ulong)page_a | P | W | U | 1ull << 63;
	invlpg(VA);
	probe("PAE NX", true, s_jump, VA + 16, PF, 0x15);
	probe("PAE NX reads", true, s_read, VA, VEC_EXIT, 0);
	pt[0] = (ulong)page_a | P | W | U | 1ull << 62;
	invlpg(VA);
	probe("PAE reserved bit", false, s_read, VA, PF, 9);
	pt[0] = (ulong)page_a | P | W | U;
	invlpg(VA);
	/* The pointer table is read by MOV CR3 only. */
	pdpt[2] = 0;
	probe("pointer table cached", false, s_read, VA, VEC_EXIT, 0);
	wr_cr3((ulong)pdpt);
	probe("and read again", false, s_read, VA, PF, 0);
	pdpt[2] = (ulong)pd[2] | P;
	wr_cr3((ulong)pdpt);
	probe("present again", false, s_read, VA, VEC_EXIT, 0);
	if (!bm_tcg()) {
		for (unsigned i = 0; i < 4; i++)
			pdpt_bad[i] = pdpt[i];
		pdpt_bad[3] |= W;
		in.ax = (ulong)pdpt_bad;
		run_k(s_cr3);
		check_trap("reserved bit in the pointer table", GP, 0);
		check_eq("CR3 stays", rd_cr3(), (ulong)pdpt);
	}
	paging_off();
	wrmsr(EFER, rdmsr(EFER) & ~0x800ull);
}

void image_main(void)
{
	two_level();
	if (cpu_has(1, 3, 3))
		pse();
	if (cpu_has(1, 3, 6))
		pae();
}
