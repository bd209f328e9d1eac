/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts at every place: the local APIC's timer fires at intervals of all lengths while code
 * computes in general, vector and x87 registers, with string instructions, calls and flags.  What
 * comes out must be what comes out without interrupts, and the handler must see stacks that are
 * whole (SDM 3A 6.6).  scale=N for N times as long. */
/* bm: bits=64 */
#include "bm.h"

#define APIC(reg) (*(volatile uint32_t *)(0xfee00000ul + (reg)))
#define VEC_TIMER 0x48
#define LVT_TIMER 0x320
#define INITIAL 0x380
#define DIVIDE 0x3e0

static volatile uint32_t ticks;
static uint64_t seed = 88172645463325252ul;
uint8_t area[4][4096] __attribute__((aligned(64)));

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* The handler uses what the interrupted code does: flags, vectors, x87; and puts it back. */
static uint8_t fx[512] __attribute__((aligned(16)));
static bool tick_hook(struct regs *r)
{
	ticks++;
	__asm__ volatile("fxsave %0" : "=m"(fx));
	__asm__ volatile("fninit\n\tfldpi\n\tpcmpeqd %%xmm0, %%xmm0\n\tmovaps %%xmm0, %%xmm7" ::
				 : "memory");
	APIC(INITIAL) = 20 + (uint32_t)rnd() % (rnd() % 8 ? 400 : 20000);
	APIC(0xb0) = 0;
	__asm__ volatile("fxrstor %0" : : "m"(fx));
	return true;
}

/* --- the work: each leaves a number in RAX that depends on every step --- */
SNIPPET(w_integer, "mov $3000, %ecx\n\tmov $0x9e3779b97f4a7c15, %rbx\n\tmov %rbx, %rax\n"
		   "1:\trol $7, %rax\n\tadc %rbx, %rax\n\timul $0x1b873593, %rax, %rdx\n\t"
		   "xor %rdx, %rax\n\tsbb $0, %rbx\n\tbt $3, %rax\n\trcr $1, %rbx\n\tlea (%rbx, "
		   "%rax, 2), %rbx\n\t"
		   "cmp %rax, %rbx\n\tjbe 2f\n\txchg %rax, %rbx\n2:\tsetp %dl\n\tadd %dl, %al\n\t"
		   "dec %ecx\n\tjnz 1b\n\txor %rbx, %rax");
SNIPPET(w_carry, "mov $20000, %ecx\n\txor %eax, %eax\n\tstc\n"
		 "1:\tadc $0x12345678, %eax\n\tlea 1(%rax), %rax\n\tloop 1b\n\tadc %rax, %rax");
SNIPPET(w_stack, "mov $2000, %ecx\n\txor %eax, %eax\n"
		 "1:\tpush %rcx\n\tpush %rax\n\tcall 2f\n\tpop %rdx\n\tlea (%rax, %rdx), "
		 "%rax\n\tpop %rdx\n\t"
		 "add %rdx, %rax\n\tloop 1b\n\tint $0x80\n"
		 "2:\tpushfq\n\tpop %rdx\n\tand $0xd5, %edx\n\tadd %rdx, %rax\n\tenter $32, $0\n\t"
		 "mov %rax, -8(%rbp)\n\trolq $5, -8(%rbp)\n\tmov -8(%rbp), %rax\n\tleave\n\tret");
SNIPPET(w_string,
	"mov $200, %r8d\n\txor %r9d, %r9d\n"
	"1:\tmov $area, %esi\n\tmov $area + 4096, %edi\n\tmov $4096, %ecx\n\trep movsb\n\t"
	"mov $area + 4096, %esi\n\tmov $area + 8192, %edi\n\tmov $512, %ecx\n\trep movsq\n\t"
	"mov $area + 8192 + 1, %edi\n\tmov $700, %ecx\n\tmov %r8d, %eax\n\trep stosl\n\t"
	"mov $area + 8192, %esi\n\tmov $area + 4096, %edi\n\tmov $4096, %ecx\n\trepne cmpsb\n\t"
	"add %rcx, %r9\n\tmov $area, %edi\n\tmov $4096, %ecx\n\tmov $0x77, %al\n\trepne scasb\n\t"
	"add %rdi, %r9\n\tadd %rcx, %r9\n\tmov $area + 8191, %esi\n\tmov $area + 12287, %edi\n\t"
	"mov $4096, %ecx\n\tstd\n\trep movsb\n\tcld\n\tmov $area + 8192, %esi\n\tmov $512, %ecx\n"
	"2:\tlodsq\n\tadd %rax, %r9\n\trol $1, %r9\n\tloop 2b\n\tdec %r8d\n\tjnz 1b\n\tmov %r9, "
	"%rax");
SNIPPET(w_vector,
	"mov $3000, %ecx\n\tmov $0x3ff8000000000000, %rax\n\tmovq %rax, %xmm0\n\t"
	"pshufd $0x44, %xmm0, %xmm0\n\tmovaps %xmm0, %xmm1\n\tpcmpeqd %xmm2, %xmm2\n\tpsrlq $12, "
	"%xmm2\n"
	"1:\tmulpd %xmm0, %xmm1\n\tpand %xmm2, %xmm1\n\tpor %xmm0, %xmm1\n\taddsd %xmm1, %xmm3\n\t"
	"paddq %xmm1, %xmm4\n\tpshufb %xmm5, %xmm6\n\tpxor %xmm4, %xmm6\n\tsqrtpd %xmm1, %xmm7\n\t"
	"paddq %xmm7, %xmm5\n\tcomisd %xmm3, %xmm7\n\tjp 2f\n\tadc $0, %rax\n2:\tdec %ecx\n\tjnz "
	"1b\n\t"
	"paddq %xmm6, %xmm5\n\tmovq %xmm5, %rdx\n\txor %rdx, %rax\n\tmovq %xmm3, %rdx\n\txor %rdx, "
	"%rax");
SNIPPET(w_x87,
	"fninit\n\tmov $1500, %ecx\n\tfld1\n\tfldpi\n\tfldl2e\n"
	"1:\tfmul %st, %st(1)\n\tfxch %st(1)\n\tfprem\n\tfadd %st(1), %st\n\tfld %st\n\tfsqrt\n\t"
	"fadd %st, %st(3)\n\tfstp %st\n\tfcomi %st(1), %st\n\tfcmovb %st(1), %st\n\tfxch %st(1)\n\t"
	"loop 1b\n\tfaddp\n\tfmulp\n\tsub $16, %rsp\n\tfstpt (%rsp)\n\tpop %rax\n\tpop %rdx\n\t"
	"xor %rdx, %rax\n\tfnstsw %ax");
SNIPPET(w_atomic,
	"mov $3000, %ecx\n\tmovq $0, area\n\txor %eax, %eax\n\tmov $1, %ebx\n"
	"1:\tlock xadd %rbx, area\n\tmov area, %rax\n\tlea 1(%rax), %rdx\n\t"
	"lock cmpxchg %rdx, area\n\tjnz 3f\n\txchg %rbx, area + 8\n\tlock addq $3, area + 48\n\t"
	"add area + 48, %rbx\n\tand $0xffff, %ebx\n\tloop 1b\n3:\tadd area, %rax\n\tadd %rcx, "
	"%rax");
SNIPPET(w_self, "mov $1000, %ecx\n\txor %eax, %eax\n1:\tincl 2f + 1(%rip)\n\t.byte 0xeb, "
		"0\n2:\tmov $0, %edx\n\t"
		"add %rdx, %rax\n\tloop 1b\n\tmovl $0, 2b + 1(%rip)");

static const struct {
	const char *name, *snippet;
} work[] = {
	{"integers", w_integer}, {"carry", w_carry},	     {"stack", w_stack},
	{"strings", w_string},	 {"vectors", w_vector},	     {"x87", w_x87},
	{"atomic", w_atomic},	 {"self-modifying", w_self},
};

static ulong run_work(unsigned n, bool interrupts)
{
	for (unsigned i = 0; i < sizeof(area); i++)
		((uint8_t *)area)[i] = (uint8_t)(i * 7 >> 2);
	__asm__ volatile("pxor %%xmm3, %%xmm3\n\tpxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\t"
			 "pxor %%xmm6, %%xmm6" ::
				 : "memory");
	in.flags = interrupts ? FL_IF : 0;
	run_k(work[n].snippet);
	check_ok(work[n].name);
	return trap.ax;
}

void image_main(void)
{
	ulong want[ARRAY_SIZE(work)];
	uint64_t start;

	bm_hook[VEC_TIMER] = tick_hook;
	APIC(0xf0) = 0x1ff;
	APIC(DIVIDE) = 0xb; /* by 1 */
	for (unsigned n = 0; n < ARRAY_SIZE(work); n++) {
		want[n] = run_work(n, false);
		check_eq("again", run_work(n, false), want[n]);
	}
	check_eq("no interrupt yet", ticks, 0);
	APIC(LVT_TIMER) = VEC_TIMER; /* once; the handler sets it anew */
	APIC(INITIAL) = 100;
	start = rdtsc();
	for (ulong round = 0; round < 10 * bm_scale; round++)
		for (unsigned n = 0; n < ARRAY_SIZE(work); n++)
			check_eq(work[n].name, run_work(n, true), want[n]);
	APIC(LVT_TIMER) = 0x10000;
	start = rdtsc() - start;
	bm_print("info interrupts: 0x");
	bm_hex(ticks);
	bm_print(", TSC 0x");
	bm_hex(start);
	bm_print("\n");
	check("interrupts came", ticks > 100);
}
