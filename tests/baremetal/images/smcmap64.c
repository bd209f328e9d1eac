/* SPDX-License-Identifier: Apache-2.0 */
/* Code whose page changes under its linear address: by INVLPG, by CR3, with PCIDs and INVPCID;
 * jumps and instructions that lead into it; one page at two addresses; NX, absence, the supervisor
 * bit and SMEP put on pages that were run (SDM 3A 4.10). */
/* bm: bits=64 */
#include "bm.h"

#define WIN 0x80000000ul /* within reach of a direct jump: pages 0 to 15 */
#define PAGE(n) (WIN + (n)*4096ul)
#define NX (1ul << 63)
#define CR4_PCIDE (1ul << 17)
#define CR4_SMEP (1ul << 20)
#define NOFLUSH (1ul << 63)

static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
/* A second address space: the same but for the window. */
static uint64_t pml4_b[512] __attribute__((aligned(4096)));
static uint64_t pdpt_b[512] __attribute__((aligned(4096)));
static uint64_t pd_b[512] __attribute__((aligned(4096)));
static uint64_t pt_b[512] __attribute__((aligned(4096)));
static uint8_t phys[8][4096] __attribute__((aligned(4096)));
static uint8_t huge[4 << 20] __attribute__((aligned(2 << 20)));

/* From the image straight into the window and back. */
SNIPPET(s_call, "call 0x80000000");
SNIPPET(s_call2, "call 0x80000000\n\tmov %eax, %ebx\n\tcall 0x80000000");
SNIPPET(s_loop, "xor %ebx, %ebx\n\tmov $100, %ecx\n1:\tcall 0x80000000\n\tadd %rax, %rbx\n\t"
		"dec %ecx\n\tjnz 1b");
SNIPPET(s_user, "mov $0x80000000, %eax\n\tcall *%rax");
/* Switches address spaces between two calls. */
SNIPPET(s_switch, "xor %ebx, %ebx\n\tmov $200, %ecx\n"
		  "1:\tcall 0x80000000\n\tadd %rax, %rbx\n\txchg %r8, %r9\n\tmov %r8, %cr3\n\t"
		  "dec %ecx\n\tjnz 1b");

/* MOV $n, %eax; RET */
static void put_const(uint8_t *p, uint32_t n)
{
	p[0] = 0xb8;
	__builtin_memcpy(p + 1, &n, 4);
	p[5] = 0xc3;
}

static void map(unsigned n, const void *page, ulong flags)
{
	pt[n] = (ulong)page | flags;
}

static ulong call(const char *what)
{
	run_k(s_call);
	check_ok(what);
	return trap.ax;
}

static void build(void)
{
	bm_pdpt[2] = (ulong)pd | 7;
	pd[0] = (ulong)pt | 7;
	for (unsigned i = 0; i < 8; i++) {
		for (unsigned k = 0; k < 4096; k++)
			phys[i][k] = 0xcc;
		put_const(phys[i], i + 1);
	}
	for (unsigned i = 0; i < 512; i++) {
		pml4_b[i] = bm_pml4[i];
		pdpt_b[i] = bm_pdpt[i];
	}
	pml4_b[0] = (ulong)pdpt_b | 7;
	pdpt_b[2] = (ulong)pd_b | 7;
	pd_b[0] = (ulong)pt_b | 7;
	pt_b[0] = (ulong)phys[1] | 7;
}

/* --- INVLPG --- */
static void remapped(void)
{
	ulong sum = 0, want = 0;

	map(0, phys[0], 7);
	check_eq("first page", call("runs"), 1);
	for (unsigned i = 0; i < 300; i++) {
		map(0, phys[i % 8], 7);
		invlpg(WIN);
		run_k(i % 2 ? s_call : s_call2);
		sum += trap.ax;
		want += i % 8 + 1;
	}
	check_eq("after INVLPG", sum, want);
	map(0, phys[3], 7);
	wr_cr3(rd_cr3());
	check_eq("after loading CR3", call("runs"), 4);
	/* The other page's bytes change while it is not mapped. */
	put_const(phys[0], 77);
	map(0, phys[0], 7);
	invlpg(WIN);
	check_eq("changed before it was mapped again", call("runs"), 77);
	put_const((uint8_t *)WIN, 78);
	check_eq("changed by its own address", call("runs"), 78);
	put_const(phys[0], 1);
}

/* Code that runs into the next page, and an instruction that lies across. */
static void crossing(void)
{
	uint8_t *end = phys[0] + 4096;

	map(0, phys[0], 7);
	map(1, phys[1], 7);
	invlpg(PAGE(0));
	invlpg(PAGE(1));
	put_const(end - 5, 0); /* MOV $n, %eax in the first, what follows in the second */
	in.ip = PAGE(1) - 5;
	phys[1][0] = 0xcd; /* INT $0x80 */
	phys[1][1] = 0x80;
	phys[2][0] = phys[2][1] = 0x90;
	phys[2][2] = 0xff; /* INC %eax; INT $0x80 */
	phys[2][3] = 0xc0;
	phys[2][4] = 0xcd;
	phys[2][5] = 0x80;
	run_k(s_call);
	check_eq("runs into the next page", trap.ax, 0);
	map(1, phys[2], 7);
	invlpg(PAGE(1));
	in.ip = PAGE(1) - 5;
	run_k(s_call);
	check_eq("into another page", trap.ax, 1);
	/* Across: the immediate's upper half is the second page's. */
	end[-3] = 0xb8;
	end[-2] = 0x22;
	end[-1] = 0x11;
	for (unsigned i = 1; i < 5; i++) {
		phys[i][0] = (uint8_t)i;
		phys[i][1] = 0x40;
		phys[i][2] = 0xcd;
		phys[i][3] = 0x80;
	}
	for (unsigned i = 0; i < 20; i++) {
		unsigned n = i % 4 + 1;

		map(1, phys[n], 7);
		invlpg(PAGE(1));
		in.ip = PAGE(1) - 3;
		run_k(s_call);
		check_eq("an instruction across, second page changed", trap.ax,
			 0x40001122 | n << 16);
	}
	pt[1] = 0;
	invlpg(PAGE(1));
	in.ip = PAGE(1) - 3;
	run_k(s_call);
	check_trap("second page gone", PF, 0x10);
	check_eq("CR2", trap_cr2, PAGE(1));
	check_eq("RIP", trap.ip, PAGE(1) - 3);
	for (unsigned i = 0; i < 8; i++)
		put_const(phys[i], i + 1);
}

/* LEA (%rip), %rax; RET: the same bytes have other results elsewhere. */
static void two_addresses(void)
{
	static const uint8_t here[] = {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3};

	__builtin_memcpy(phys[5], here, sizeof(here));
	map(0, phys[5], 7);
	map(7, phys[5], 7);
	invlpg(WIN);
	for (unsigned i = 0; i < 3; i++) {
		check_eq("by one address", call("runs"), PAGE(0) + 7);
		check_eq("by the other", ((ulong(*)(void))PAGE(7))(), PAGE(7) + 7);
		check_eq("by the image's", ((ulong(*)(void))(ulong)phys[5])(), (ulong)phys[5] + 7);
	}
	put_const((uint8_t *)PAGE(7), 99);
	check_eq("changed by the other", call("runs"), 99);
	put_const(phys[5], 6);
}

/* --- rights --- */
static void refuse(const char *what, ulong error, bool user)
{
	if (user)
		run_u(s_user);
	else
		run_k(s_call);
	check_trap(what, PF, error);
	check_eq("CR2", trap_cr2, WIN);
	check_eq("RIP", trap.ip, WIN);
}

static void rights(void)
{
	map(0, phys[0], 7);
	invlpg(WIN);
	for (unsigned i = 0; i < 3; i++) {
		check_eq("runs", call("runs"), 1);
		map(0, phys[0], 7 | NX);
		invlpg(WIN);
		refuse("NX after it ran", 0x11, false);
		check_eq("data of it", *(volatile uint8_t *)WIN, 0xb8);
		map(0, phys[0], 7);
		invlpg(WIN);
		check_eq("runs again", call("runs"), 1);
		pt[0] = 0;
		invlpg(WIN);
		refuse("absent after it ran", 0x10, false);
		map(0, phys[0], 7);
		run_u(s_user);
		check_ok("the user runs it");
		map(0, phys[0], 3);
		invlpg(WIN);
		refuse("the supervisor's after the user ran it", 0x15, true);
		check_eq("the supervisor runs it", call("runs"), 1);
		map(0, phys[0], 7);
		invlpg(WIN);
	}
	wr_cr4(rd_cr4() & ~CR4_SMEP);
	if (!cpu_has(7, 1, 7))
		return;
	for (unsigned i = 0; i < 3; i++) {
		check_eq("without SMEP", call("runs"), 1);
		wr_cr4(rd_cr4() | CR4_SMEP);
		refuse("SMEP after it ran", 0x11, false);
		run_u(s_user);
		check_ok("the user may");
		wr_cr4(rd_cr4() & ~CR4_SMEP);
	}
	wrmsr(EFER, rdmsr(EFER) & ~0x800ul); /* NXE off and on: NX of a page that was run */
	check_eq("without NXE", call("runs"), 1);
	wrmsr(EFER, rdmsr(EFER) | 0x800);
}

/* A 2 MiB page of code becomes 4 KiB pages, one of them another. */
static void split(void)
{
	static uint64_t small[512] __attribute__((aligned(4096)));

	put_const(huge + 4096, 5);
	pd[1] = (ulong)huge | 0x87;
	check_eq("a large page", ((ulong(*)(void))(WIN + (2ul << 20) + 4096))(), 5);
	for (unsigned i = 0; i < 512; i++)
		small[i] = ((ulong)huge + 4096ul * i) | 7;
	small[1] = (ulong)phys[6] | 7;
	pd[1] = (ulong)small | 7;
	invlpg(WIN + (2ul << 20) + 4096);
	check_eq("split", ((ulong(*)(void))(WIN + (2ul << 20) + 4096))(), 7);
	pd[1] = (ulong)huge | 0x87;
	invlpg(WIN + (2ul << 20) + 4096);
	check_eq("and joined", ((ulong(*)(void))(WIN + (2ul << 20) + 4096))(), 5);
}

/* --- address spaces --- */
static void spaces(ulong a, ulong b, unsigned first, const char *what)
{
	in.r8 = a;
	in.r9 = b;
	run_k(s_switch);
	check_ok(what);
	check_eq(what, trap.bx, 100 * first + 100 * 2);
	wr_cr3(a & ~NOFLUSH);
}

struct invpcid {
	ulong pcid, va;
};

static void invpcid(ulong type, ulong pcid, ulong va)
{
	struct invpcid d = {pcid, va};

	__asm__ volatile("invpcid %1, %0" : : "r"(type), "m"(d) : "memory");
}

/* Change the window of space B (PCID 2) while A (PCID 1) is current; drop what is cached of it; go
 * there without a flush. */
static void drop(const char *what, ulong a, ulong b, ulong type)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned n = 2 + i % 3;

		pt_b[0] = (ulong)phys[n] | 7;
		invpcid(type, 2, WIN);
		wr_cr3(b | NOFLUSH);
		run_k(s_call);
		wr_cr3(a | NOFLUSH);
		check_eq(what, trap.ax, n + 1);
		check_eq("the current one has kept its page", call("runs"), 1);
	}
}

static void pcids(void)
{
	ulong a = (ulong)bm_pml4 | 1, b = (ulong)pml4_b | 2;

	if (!cpu_has(1, 2, 17))
		return;
	wr_cr4(rd_cr4() | CR4_PCIDE);
	wr_cr3(a);
	spaces(a, b, 1, "two PCIDs");
	spaces(a | NOFLUSH, b | NOFLUSH, 1, "two PCIDs, none flushed");
	/* A load without NOFLUSH drops what its PCID had. */
	pt_b[0] = (ulong)phys[4] | 7;
	wr_cr3(b);
	check_eq("a load drops its own", call("runs"), 5);
	wr_cr3(a | NOFLUSH);
	check_eq("and not the other's", call("runs"), 1);
	if (cpu_has(7, 1, 10)) {
		drop("INVPCID of an address", a, b, 0);
		drop("INVPCID of a context", a, b, 1);
		drop("INVPCID of all with globals", a, b, 2);
		drop("INVPCID of all but globals", a, b, 3);
	}
	pt_b[0] = (ulong)phys[1] | 7;
	wr_cr3((ulong)bm_pml4);
	wr_cr4(rd_cr4() & ~CR4_PCIDE);
}

void image_main(void)
{
	ulong a = (ulong)bm_pml4, b = (ulong)pml4_b;

	build();
	remapped();
	crossing();
	two_addresses();
	rights();
	split();
	map(0, phys[0], 7);
	invlpg(WIN);
	run_k(s_loop);
	check_eq("a hundred calls", trap.bx, 100);
	spaces(a, b, 1, "two address spaces");
	map(0, phys[2], 7);
	invlpg(WIN);
	spaces(a, b, 3, "two address spaces, one changed");
	map(0, phys[0], 7);
	wr_cr4(rd_cr4() | 1 << 7); /* PGE: a global page is the same in both */
	invlpg(WIN);
	spaces(a, b, 1, "with CR4.PGE");
	pcids();
}
