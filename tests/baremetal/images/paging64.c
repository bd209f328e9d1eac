/* SPDX-License-Identifier: Apache-2.0 */
/* 4-level paging: rights, page sizes, A and D, reserved bits, protection keys' lesser kin (NX, WP,
 * SMEP, SMAP, UMIP), global pages, PCID, INVPCID (SDM 3A 4). */
/* bm: bits=64 */
#include "bm.h"

#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull
#define D 0x40ull
#define PSIZE 0x80ull
#define G 0x100ull
#define NX (1ull << 63)
#define VA 0x100000000000ul /* what the tables below map; PML4 entry 32 */

SNIPPET(s_nop, "nop");
SNIPPET(s_read, "mov (%rax), %bl");
SNIPPET(s_write, "movb $0x5a, (%rax)");
SNIPPET(s_rmw, "lock incb (%rax)");
SNIPPET(s_cmp, "cmpb $0, (%rax)");
SNIPPET(s_jump, "jmp *%rax");
SNIPPET(s_stac_read, "stac\n\tmov (%rax), %bl\n\tclac");
SNIPPET(s_sgdt, "sgdt -16(%rsp)");
SNIPPET(s_sidt, "sidt -16(%rsp)");
SNIPPET(s_sldt, "sldt %eax");
SNIPPET(s_str, "str %eax");
SNIPPET(s_smsw, "smsw %eax");
SNIPPET(s_invlpg, "invlpg (%rax)");
SNIPPET(s_write16, "mov %cx, (%rax)");
SNIPPET(s_write_cross, "movq $-1, (%rax)");
SNIPPET(s_invpcid, "invpcid (%rbx), %rax");

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t page_a[4096] __attribute__((aligned(4096)));
static uint8_t page_b[4096] __attribute__((aligned(4096)));

static ulong phys(const void *p)
{
	return (ulong)p;
}

static void set_pte(uint64_t v)
{
	pt[0] = v;
	invlpg(VA);
}

static void build(void)
{
	bm_pml4[32] = phys(pdpt) | P | W | U;
	pdpt[0] = phys(pd) | P | W | U;
	pd[0] = phys(pt) | P | W | U;
	page_a[0] = 0xa0;
	page_b[0] = 0xb0;
	__builtin_memcpy(page_a + 16, s_nop, 3);
}

/* One access and what must come of it. */
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

static void rights(void)
{
	set_pte(phys(page_a) | P | W | U);
	probe("user reads", true, s_read, VA, VEC_EXIT, 0);
	check_eq("the byte", trap.bx & 0xff, 0xa0);
	probe("user writes", true, s_write, VA + 1, VEC_EXIT, 0);
	check_eq("the byte arrived", page_a[1], 0x5a);
	probe("user executes", true, s_jump, VA + 16, VEC_EXIT, 0);
	set_pte(phys(page_a) | P | U);
	probe("user writes a read-only page", true, s_write, VA, PF, 7);
	probe("kernel writes it under WP", false, s_write, VA, PF, 3);
	probe("kernel's locked write", false, s_rmw, VA, PF, 3);
	probe("user compares", true, s_cmp, VA, VEC_EXIT, 0);
	wr_cr0(rd_cr0() & ~(1ul << 16));
	probe("kernel writes it without WP", false, s_write, VA + 2, VEC_EXIT, 0);
	probe("user still does not", true, s_write, VA, PF, 7);
	wr_cr0(rd_cr0() | 1 << 16);
	probe("WP again", false, s_write, VA, PF, 3);
	set_pte(phys(page_a) | P | W);
	probe("user reads a supervisor page", true, s_read, VA, PF, 5);
	pd[0] = phys(pt) | P | U;
	set_pte(phys(page_a) | P | W | U);
	probe("W is the and of all levels", true, s_write, VA, PF, 7);
	pd[0] = phys(pt) | P | W;
	invlpg(VA);
	probe("U likewise", true, s_read, VA, PF, 5);
	pd[0] = phys(pt) | P | W | U;
	set_pte(phys(page_a) | P | W | U | NX);
	probe("NX", true, s_jump, VA + 16, PF, 0x15);
	probe("NX for the kernel", false, s_jump, VA + 16, PF, 0x11);
	probe("NX reads", true, s_read, VA, VEC_EXIT, 0);
	pd[0] = phys(pt) | P | W | U | NX;
	set_pte(phys(page_a) | P | W | U);
	probe("NX in a directory", true, s_jump, VA + 16, PF, 0x15);
	pd[0] = phys(pt) | P | W | U;
	wrmsr(EFER, rdmsr(EFER) & ~0x800ull);
	set_pte(phys(page_a) | P | W | U | NX);
	probe("NX is reserved without NXE", true, s_read, VA, PF, 0xd);
	wrmsr(EFER, rdmsr(EFER) | 0x800);
	set_pte(0);
	probe("not present", true, s_read, VA, PF, 4);
	bm_pml4[32] = 0;
	invlpg(VA);
	probe("not present at the top", false, s_write, VA, PF, 2);
	bm_pml4[32] = phys(pdpt) | P | W | U;
	set_pte(phys(page_a) | P | W | U | 1ull << 51);
	probe("reserved address bit", false, s_read, VA, PF, 9);
	probe("reserved, user write", true, s_write, VA, PF, 0xf);
	set_pte(phys(page_a) | P | W | U);
	bm_pml4[32] |= PSIZE;
	invlpg(VA);
	probe("PS in a PML4 entry is reserved", false, s_read, VA, PF, 9);
	bm_pml4[32] &= ~PSIZE;
	invlpg(VA);
}

static void accessed_dirty(void)
{
	pdpt[0] &= ~(A | D);
	pd[0] &= ~(A | D);
	set_pte(phys(page_a) | P | W | U);
	probe("read for A", false, s_read, VA, VEC_EXIT, 0);
	check_eq("A, not D", pt[0] & (A | D), A);
	check_eq("A of the directory", pd[0] & (A | D), A);
	check_eq("A of the pointer table", pdpt[0] & A, A);
	probe("write for D", false, s_write, VA, VEC_EXIT, 0);
	check_eq("D", pt[0] & (A | D), A | D);
	set_pte(phys(page_a) | P | U);
	probe("a write that faults", true, s_write, VA, PF, 7);
	check_eq("sets no D", pt[0] & D, 0);
	set_pte(phys(page_a) | P | W | U);
	probe("fetch for A", true, s_jump, VA + 16, VEC_EXIT, 0);
	check_eq("A by a fetch", pt[0] & (A | D), A);
	pt[0] = phys(page_a) | P | W | U | A;
	invlpg(VA);
	probe("read first", false, s_read, VA, VEC_EXIT, 0);
	probe("then write", false, s_rmw, VA, VEC_EXIT, 0);
	check_eq("D though it was cached clean", pt[0] & D, D);
}

static void large_pages(void)
{
	uint64_t old_pd = pd[0], old_pdpt = pdpt[0];
	ulong base = phys(page_a) & ~0x1ffffful;

	page_a[0] = 0xa0;
	pd[0] = base | P | W | U | PSIZE;
	invlpg(VA);
	probe("2 MiB page", true, s_read, VA + (phys(page_a) & 0x1fffff), VEC_EXIT, 0);
	check_eq("its byte", trap.bx & 0xff, 0xa0);
	check_eq("its A", pd[0] & (A | D), A);
	probe("2 MiB page written", true, s_write, VA + (phys(page_a) & 0x1fffff) + 3, VEC_EXIT, 0);
	check_eq("its D", pd[0] & D, D);
	pd[0] = base | P | W | U | PSIZE | 0x2000;
	invlpg(VA);
	probe("reserved bit of a 2 MiB page", false, s_read, VA, PF, 9);
	pd[0] = base | P | W | U | PSIZE | 0x1000;
	invlpg(VA);
	probe("PAT bit of a 2 MiB page", false, s_read, VA, VEC_EXIT, 0);
	if (cpu_has(0x80000001, 3, 26)) {
		pdpt[0] = P | W | U | PSIZE;
		invlpg(VA);
		probe("1 GiB page", true, s_read, VA + phys(page_b), VEC_EXIT, 0);
		check_eq("its first byte", trap.bx & 0xff, 0xb0);
		check_eq("1 GiB A", pdpt[0] & A, A);
		pdpt[0] = P | W | U | PSIZE | 0x4000;
		invlpg(VA);
		probe("reserved bit of a 1 GiB page", false, s_read, VA, PF, 9);
	}
	pdpt[0] = old_pdpt;
	pd[0] = old_pd;
	invlpg(VA);
}

static void smep_smap(void)
{
	ulong cr4 = rd_cr4();

	set_pte(phys(page_a) | P | W | U);
	if (cpu_has(7, 1, 7)) {
		wr_cr4(cr4 | 1 << 20);
		probe("SMEP", false, s_jump, VA + 16, PF, 0x11);
		probe("SMEP lets the user", true, s_jump, VA + 16, VEC_EXIT, 0);
		probe("SMEP lets read", false, s_read, VA, VEC_EXIT, 0);
		wr_cr4(cr4);
		probe("SMEP off", false, s_jump, VA + 16, VEC_EXIT, 0);
	}
	if (cpu_has(7, 1, 20)) {
		wr_cr4(cr4 | 1 << 21);
		probe("SMAP read", false, s_read, VA, PF, 1);
		probe("SMAP write", false, s_write, VA, PF, 3);
		probe("SMAP with STAC", false, s_stac_read, VA, VEC_EXIT, 0);
		in.flags = FL_AC;
		probe("SMAP with AC", false, s_write, VA, VEC_EXIT, 0);
		probe("SMAP lets the user", true, s_write, VA, VEC_EXIT, 0);
		probe("SMAP lets execute", false, s_jump, VA + 16, VEC_EXIT, 0);
		probe("STAC at CPL 3", true, s_stac_read, VA, UD, 0);
		wr_cr4(cr4);
		probe("SMAP off", false, s_read, VA, VEC_EXIT, 0);
	}
	if (cpu_has(7, 2, 2)) {
		probe("SGDT at CPL 3", true, s_sgdt, 0, VEC_EXIT, 0);
		wr_cr4(cr4 | 1 << 11);
		probe("UMIP SGDT", true, s_sgdt, 0, GP, 0);
		probe("UMIP SIDT", true, s_sidt, 0, GP, 0);
		probe("UMIP SLDT", true, s_sldt, 0, GP, 0);
		probe("UMIP STR", true, s_str, 0, GP, 0);
		probe("UMIP SMSW", true, s_smsw, 0, GP, 0);
		probe("UMIP lets the kernel", false, s_sgdt, 0, VEC_EXIT, 0);
		wr_cr4(cr4);
	}
	probe("INVLPG at CPL 3", true, s_invlpg, VA, GP, 0);
	probe("INVLPG of a non-canonical address", false, s_invlpg, 0x8000000000000000, VEC_EXIT,
	      0);
}

/* The byte that a read of VA finds now. */
static unsigned seen(void)
{
	return *(volatile uint8_t *)VA;
}

static void caching(void)
{
	ulong cr3 = rd_cr3(), cr4 = rd_cr4();

	page_a[0] = 0xa0;
	page_b[0] = 0xb0;
	/* A change is seen after INVLPG, MOV CR3, or a change of CR4.PGE. */
	set_pte(phys(page_a) | P | W | U);
	check_eq("page a", seen(), 0xa0);
	set_pte(phys(page_b) | P | W | U);
	check_eq("INVLPG", seen(), 0xb0);
	pt[0] = phys(page_a) | P | W | U;
	wr_cr3(cr3);
	check_eq("MOV CR3", seen(), 0xa0);
	wr_cr4(cr4 | 0x80);
	set_pte(phys(page_a) | P | W | U | G);
	check_eq("global page", seen(), 0xa0);
	pt[0] = phys(page_b) | P | W | U | G;
	wr_cr3(cr3);
	check("MOV CR3 may keep it", seen() == 0xa0 || seen() == 0xb0);
	wr_cr4(cr4);
	check_eq("clearing CR4.PGE does not", seen(), 0xb0);
	pt[0] = phys(page_a) | P | W | U;
	wr_cr0(rd_cr0() & ~(1ul << 16));
	wr_cr3(rd_cr3());
	wr_cr0(rd_cr0() | 1 << 16);
	check_eq("CR0.WP and CR3", seen(), 0xa0);
	/* Raising rights needs no flush: the fault must look at the tables again. */
	set_pte(phys(page_a) | P);
	check_eq("read it", seen(), 0xa0);
	pt[0] = phys(page_a) | P | W | U;
	probe("more rights without a flush", true, s_write, VA + 5, VEC_EXIT, 0);
	set_pte(0);
	probe("not present again", false, s_read, VA, PF, 0);
	pt[0] = phys(page_b) | P | W;
	probe("present without a flush", false, s_read, VA, VEC_EXIT, 0);
	check_eq("page b", trap.bx & 0xff, 0xb0);
}

static void pcids(void)
{
	static struct {
		uint64_t pcid, addr;
	} desc;
	ulong cr3 = rd_cr3(), cr4 = rd_cr4();

	if (!cpu_has(1, 2, 17))
		return;
	set_pte(phys(page_a) | P | W | U);
	in.ax = 0;
	wr_cr4(cr4 | 1 << 17);
	check_eq("page a under PCID 0", seen(), 0xa0);
	wr_cr3(cr3 | 5);
	pt[0] = phys(page_b) | P | W | U;
	check_eq("PCID 5 knows nothing yet", seen(), 0xb0);
	wr_cr3(cr3);
	check_eq("PCID 0 flushed by MOV CR3", seen(), 0xb0);
	pt[0] = phys(page_a) | P | W | U;
	wr_cr3(cr3 | 5);
	check_eq("and PCID 5", seen(), 0xa0);
	check_eq("CR3 reads its PCID", rd_cr3(), cr3 | 5);
	wr_cr3(cr3 | 5 | 1ul << 63);
	check_eq("CR3 does not keep bit 63", rd_cr3(), cr3 | 5);
	if (cpu_has(7, 1, 10)) {
		for (unsigned type = 0; type < 4; type++) {
			pt[0] = phys(type & 1 ? page_a : page_b) | P | W | U;
			desc.pcid = type == 0 || type == 1 ? 5 : 0;
			desc.addr = type == 0 ? VA : 0;
			in.bx = (ulong)&desc;
			in.ax = type;
			run_k(s_invpcid);
			check_ok("INVPCID");
			check_eq("INVPCID is seen", seen(), type & 1 ? 0xa0 : 0xb0);
		}
		in.ax = 4;
		in.bx = (ulong)&desc;
		run_k(s_invpcid);
		check_trap("INVPCID type 4", GP, 0);
		desc.pcid = 0x1000;
		in.ax = 1;
		in.bx = (ulong)&desc;
		run_k(s_invpcid);
		check_trap("INVPCID reserved bits", GP, 0);
		desc.pcid = 0;
		desc.addr = 0x8000000000000000;
		in.ax = 0;
		in.bx = (ulong)&desc;
		run_k(s_invpcid);
		check_trap("INVPCID non-canonical", GP, 0);
		in.bx = (ulong)&desc + USER;
		run_u(s_invpcid);
		check_trap("INVPCID at CPL 3", GP, 0);
	}
	wr_cr3(cr3);
	wr_cr4(cr4);
}

static void crossing(void)
{
	set_pte(phys(page_a) | P | W | U);
	pt[1] = phys(page_b) | P | U;
	invlpg(VA + 4096);
	page_a[4095] = 0x11;
	page_b[0] = 0x22;
	in.cx = 0xffff;
	probe("write into a read-only page", true, s_write16, VA + 4095, PF, 7);
	check_eq("CR2 is its first byte", trap_cr2, VA + 4096);
	check_eq("nothing was written", page_a[4095], 0x11);
	pt[1] = 0;
	invlpg(VA + 4096);
	probe("into a missing one", false, s_write_cross, VA + 4092, PF, 2);
	check_eq("nothing again", page_a[4095], 0x11);
	pt[1] = phys(page_b) | P | W | U;
	in.cx = 0x3344;
	probe("into a good one", true, s_write16, VA + 4095, VEC_EXIT, 0);
	check_eq("first half", page_a[4095], 0x44);
	check_eq("second half", page_b[0], 0x33);
}

void image_main(void)
{
	build();
	rights();
	accessed_dirty();
	large_pages();
	smep_smap();
	caching();
	pcids();
	crossing();
}
