/* SPDX-License-Identifier: Apache-2.0 */
/* Code that changes: in its own block, in another, through another mapping, by REP MOVS;
 * instructions and operands across pages; unaligned LOCK (SDM 3A 11.6, 8.1.3). */
/* bm: bits=64 */
#include "bm.h"

/* The next instruction but one is changed: mov $1, %ecx becomes mov $2, %ecx. */
SNIPPET(s_own, "lea 1f+1(%rip), %rax\n\tmovb $2, (%rax)\n\t1: mov $1, %ecx");
SNIPPET(s_next, "movb $2, 1f+1(%rip)\n1:\tmov $1, %ecx");
SNIPPET(s_loop, "mov $5, %edx\n\txor %ebx, %ebx\n"
		"1:\tmov $1, %ecx\n\tadd %ecx, %ebx\n\tincb 1b+1(%rip)\n\tdec %edx\n\tjnz 1b");
SNIPPET(s_call, "call *%rax");
SNIPPET(s_rep, "lea 1f(%rip), %rdi\n\tmov $8, %ecx\n\tmov $0x90, %al\n\trep stosb\n"
	       "1:\tud2\n\tud2\n\tud2\n\tud2");
SNIPPET(s_lock, "lock xaddq %rbx, (%rax)");
SNIPPET(s_lock_cmpxchg, "mov %rdi, %rax\n\tlock cmpxchgq %rbx, (%rcx)");
SNIPPET(s_xchg, "xchg %rbx, (%rax)");
SNIPPET(s_load, "mov (%rax), %rbx");
SNIPPET(s_sse_load, "movups (%rax), %xmm0\n\tmovups %xmm0, (%rcx)");

static uint8_t code[3 * 4096] __attribute__((aligned(4096)));
static uint8_t data[2 * 4096] __attribute__((aligned(4096)));

static const uint8_t mov_eax_ret[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xc3};

static ulong call(const void *p)
{
	in.ax = (ulong)p;
	run_k(s_call);
	check_ok("call");
	return trap.ax;
}

static void own_block(void)
{
	run_k(s_own);
	check_eq("the instruction after next", trap.cx, 2);
	run_k(s_next);
	check_eq("the next instruction", trap.cx, 2);
	run_k(s_loop);
	check_eq("a loop that counts in its code", trap.bx, 1 + 2 + 3 + 4 + 5);
	run_k(s_rep);
	check_ok("REP STOSB over what follows");
}

static void other_block(void)
{
	volatile uint8_t *alias = code + USER;

	__builtin_memcpy(code, mov_eax_ret, sizeof(mov_eax_ret));
	check_eq("fresh code", call(code), 0x44332211);
	for (unsigned i = 0; i < 3; i++) {
		code[1] = (uint8_t)(0x50 + i);
		check_eq("changed", call(code), 0x44332250 + i);
	}
	alias[2] = 0x77;
	check_eq("changed through another mapping", call(code), 0x44337752);
	alias[4] = 0x66;
	check_eq("and again", call(code), 0x66337752);
	/* Data beside code in the same page. */
	for (unsigned i = 0; i < 1000; i++)
		code[512 + i] = (uint8_t)i;
	check_eq("data beside it", call(code), 0x66337752);
	/* Another page under the same address: the mapping changes. */
	{
		ulong va = 0x120000000000ul;
		static uint64_t pdpt[512] __attribute__((aligned(4096)));
		static uint64_t pd[512] __attribute__((aligned(4096)));
		static uint64_t pt[512] __attribute__((aligned(4096)));

		bm_pml4[36] = (ulong)pdpt | 7;
		pdpt[0] = (ulong)pd | 7;
		pd[0] = (ulong)pt | 7;
		pt[0] = (ulong)code | 7;
		__builtin_memcpy(code + 4096, mov_eax_ret, sizeof(mov_eax_ret));
		check_eq("by a new address", call((void *)va), 0x66337752);
		pt[0] = ((ulong)code + 4096) | 7;
		invlpg(va);
		check_eq("another page there", call((void *)va), 0x44332211);
	}
}

static void crossing(void)
{
	uint8_t *p = code + 4096 - 3;

	__builtin_memcpy(p, mov_eax_ret, sizeof(mov_eax_ret));
	check_eq("an instruction across pages", call(p), 0x44332211);
	code[4096] = 0x99;
	check_eq("its second half changed", call(p), 0x44992211);
	p[1] = 0x88;
	check_eq("its first half changed", call(p), 0x44992288);

	data[4092] = 1;
	for (unsigned i = 0; i < 8; i++)
		data[4092 + i] = (uint8_t)(i + 1);
	in.ax = (ulong)data + 4092;
	run_k(s_load);
	check_eq("a load across pages", trap.bx, 0x0807060504030201);
	in.ax = (ulong)data + 4092;
	in.bx = 0x0101010101010101;
	run_k(s_lock);
	check_eq("LOCK XADD across pages: old", trap.bx, 0x0807060504030201);
	in.ax = (ulong)data + 4092;
	in.bx = ~0ul;
	run_k(s_xchg);
	check_eq("XCHG across pages: old", trap.bx, 0x0908070605040302);
	in.cx = (ulong)data + 4092;
	in.di = ~0ul;
	in.bx = 0x1234;
	run_k(s_lock_cmpxchg);
	check_eq("CMPXCHG across pages", trap.flags & 0x40, 0x40);
	in.ax = (ulong)data + 4092;
	run_k(s_load);
	check_eq("its value", trap.bx, 0x1234);
	in.ax = (ulong)data + 61;
	in.bx = 7;
	run_k(s_lock);
	check_eq("LOCK across cache lines", data[61], 7);
	for (unsigned i = 0; i < 16; i++)
		data[4088 + i] = (uint8_t)i;
	in.ax = (ulong)data + 4088;
	in.cx = (ulong)data + 4096 - 7 - 256;
	run_k(s_sse_load);
	check_ok("vector across pages");
	check_eq("its last byte", data[4096 - 7 - 256 + 15], 15);
}

void image_main(void)
{
	own_block();
	other_block();
	crossing();
}
