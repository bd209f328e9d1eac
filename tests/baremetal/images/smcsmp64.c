/* SPDX-License-Identifier: Apache-2.0 */
/* Code that one processor changes while others run it: an aligned word at any time, then an
 * interrupt after which all must see it; the three steps by way of INT3 that Linux patches its text
 * with; a page of code exchanged for another with a shootdown (SDM 3A 8.1.3, 4.10.5). */
/* bm: bits=64 cpus=3 */
#include "smp.h"

#define VEC_SYNC 0x44
#define ROUNDS (60 * bm_scale)

static volatile uint32_t synced, stop;
static volatile uint32_t wrong_value, wrong_trap, runs[BM_CPUS];
static volatile ulong window; /* to be invalidated by VEC_SYNC, or 0 */

/* The end of the handler's IRET serializes. */
static bool sync_hook(struct regs *r)
{
	if (window)
		invlpg(window);
	__atomic_fetch_add(&synced, 1, __ATOMIC_SEQ_CST);
	eoi();
	return true;
}

static bool sync_all(void)
{
	synced = 0;
	APIC(ICR_LO) = ALL_BUT_SELF | VEC_SYNC;
	return wait_for(&synced, N_AP);
}

static void wait_runs(void)
{
	for (unsigned id = 1; id <= N_AP; id++) {
		uint32_t before = runs[id];

		for (uint64_t start = rdtsc();
		     runs[id] < before + 2 && rdtsc() - start < 100000000;)
			pause();
	}
}

/* --- an aligned immediate: 3 bytes of NOP, then MOV $n, %eax has it at a multiple of 4 --- */
static uint8_t word_code[64] __attribute__((aligned(64)));
static volatile uint32_t newest, oldest; /* what may be seen: oldest <= n <= newest */

static void word_runner(unsigned id)
{
	uint32_t last = 0;

	__asm__ volatile("sti");
	while (!stop) {
		uint32_t floor = oldest, got = ((uint32_t(*)(void))word_code)();

		if (got < floor || got < last || got > newest)
			__atomic_fetch_add(&wrong_value, 1, __ATOMIC_SEQ_CST);
		last = got;
		runs[id]++;
	}
	__asm__ volatile("cli");
}

static void words(void)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < 3; i++)
		word_code[i] = 0x90;
	word_code[3] = 0xb8;
	word_code[8] = 0xc3;
	stop = 0;
	others(word_runner);
	for (uint32_t n = 1; n <= ROUNDS; n++) {
		newest = n;
		*(volatile uint32_t *)(word_code + 4) = n;
		lost += !sync_all();
		oldest = n;
		wait_runs();
	}
	stop = 1;
	check("runners finish", wait_for(&smp_finished, N_AP));
	check_eq("no interrupt is lost", lost, 0);
	check_eq("an immediate: none older than the last interrupt", wrong_value, 0);
}

/* --- INT3: five bytes, MOV $n, %eax or JMP to one, become others --- */
extern uint8_t poke_site[], poke_at[], poke_end[], poke_far[];
__asm__(".pushsection .text\n"
	"	.balign 64\n"
	"	.skip 61, 0x90\n" /* the five bytes lie across cache lines */
	"poke_site:\n"
	"poke_at: mov $1, %eax\n"
	"poke_end: ret\n"
	"	.skip 4096, 0xcc\n"
	"poke_far: mov $2, %eax\n"
	"	ret\n"
	".popsection");

static volatile uint32_t poke_value, in_poke, breakpoints;

/* What Linux does: as if the new instruction had run. */
static bool poke_hook(struct regs *r)
{
	if (r->ip != (ulong)poke_at + 1 || !in_poke) {
		__atomic_fetch_add(&wrong_trap, 1, __ATOMIC_SEQ_CST);
		r->ip = (ulong)poke_end;
		return true;
	}
	__atomic_fetch_add(&breakpoints, 1, __ATOMIC_SEQ_CST);
	r->ax = poke_value;
	r->ip = (ulong)poke_end;
	return true;
}

static void poke_runner(unsigned id)
{
	uint32_t (*site)(void) = (uint32_t(*)(void))poke_site;

	__asm__ volatile("sti");
	while (!stop) {
		uint32_t floor = oldest, got = site();

		if (got < floor || got > newest)
			__atomic_fetch_add(&wrong_value, 1, __ATOMIC_SEQ_CST);
		runs[id]++;
	}
	__asm__ volatile("cli");
}

static unsigned poke(const uint8_t bytes[5])
{
	unsigned lost;

	in_poke = 1;
	*(volatile uint8_t *)poke_at = 0xcc;
	lost = !sync_all();
	wait_runs();
	for (unsigned i = 1; i < 5; i++)
		((volatile uint8_t *)poke_at)[i] = bytes[i];
	lost += !sync_all();
	*(volatile uint8_t *)poke_at = bytes[0];
	lost += !sync_all();
	in_poke = 0;
	return lost;
}

/* MOV $n for odd n; JMP to a MOV $n elsewhere for even n. */
static void pokes(void)
{
	unsigned lost = 0;

	wrong_value = stop = 0;
	oldest = newest = 1;
	others(poke_runner);
	for (uint32_t n = 2; n < ROUNDS / 2; n++) {
		uint8_t b[5] = {n & 1 ? 0xb8 : 0xe9};
		uint32_t v = n & 1 ? n : (uint32_t)(poke_far - poke_end);

		__builtin_memcpy(b + 1, &v, 4);
		if (!(n & 1))
			*(volatile uint32_t *)(poke_far + 1) = n;
		newest = poke_value = n;
		lost += poke(b);
		oldest = n;
		wait_runs();
	}
	stop = 1;
	check("runners finish", wait_for(&smp_finished, N_AP));
	check_eq("no interrupt is lost", lost, 0);
	check_eq("INT3: old or new, and new after the last interrupt", wrong_value, 0);
	check_eq("only the breakpoint is hit", wrong_trap, 0);
	check("and it is hit", breakpoints > 0);
}

/* --- another page under the code --- */
#define WIN 0x80000000ul
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t pages[4][4096] __attribute__((aligned(4096)));

static void page_runner(unsigned id)
{
	__asm__ volatile("sti");
	while (!stop) {
		uint32_t floor = oldest, got;

		__asm__ volatile("call 0x80000000" : "=a"(got) : : "memory");
		if (got < floor || got > newest)
			__atomic_fetch_add(&wrong_value, 1, __ATOMIC_SEQ_CST);
		runs[id]++;
	}
	__asm__ volatile("cli");
}

static void put_page(uint32_t n)
{
	uint8_t *p = pages[n % 4];

	p[0] = 0xb8;
	__builtin_memcpy(p + 1, &n, 4);
	p[5] = 0xc3;
}

static void exchange(void)
{
	unsigned lost = 0;

	bm_pdpt[2] = (ulong)pd | 7;
	pd[0] = (ulong)pt | 7;
	wrong_value = stop = 0;
	oldest = newest = 1;
	put_page(1);
	pt[0] = (ulong)pages[1] | 7;
	window = WIN;
	others(page_runner);
	for (uint32_t n = 2; n < ROUNDS; n++) {
		put_page(n);
		newest = n;
		*(volatile uint64_t *)pt = (ulong)pages[n % 4] | 7;
		lost += !sync_all();
		oldest = n;
		wait_runs();
	}
	stop = 1;
	check("runners finish", wait_for(&smp_finished, N_AP));
	check_eq("no interrupt is lost", lost, 0);
	check_eq("a page: none older than the shootdown", wrong_value, 0);
	for (unsigned id = 1; id <= N_AP; id++)
		check("the others did run", runs[id] > ROUNDS);
}

void image_main(void)
{
	bm_hook[VEC_SYNC] = sync_hook;
	bm_hook[BP] = poke_hook;
	APIC(0xf0) = 0x1ff;
	start_all();
	words();
	pokes();
	exchange();
}
