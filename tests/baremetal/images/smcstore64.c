/* SPDX-License-Identifier: Apache-2.0 */
/* Code that is modified by every kind of store: the instruction behind the store, one before it in
 * a loop, one in another page; and by stores that begin in the cache line or page before (SDM 3A
 * 11.6). */
/* bm: bits=64 */
#include "bm.h"

/* What is modified: MOV $1, %bl and NOPs.  The stores put these bytes there, or as many of them as
 * they have: MOV $2, %bl and NOPs. */
uint8_t bm_new[64] __attribute__((aligned(64)));
static const uint8_t old[] = {0xb3, 1};

#define NEW "movabs $0x90909090909002b3, %rax\n\t"
#define NEW_X "movups bm_new(%rip), %xmm0\n\t"
#define NEW_Y "vmovups bm_new(%rip), %ymm0\n\t"
#define NEW_CMP "mov %rdi, %rsi\n\tmov (%rsi), %rax\n\tmovabs $0x90909090909002b3, %rbx\n\t"
#define NEW_CMP16                                                     \
	"mov %rdi, %rsi\n\tmov (%rsi), %rax\n\tmov 8(%rsi), %rdx\n\t" \
	"movabs $0x90909090909002b3, %rbx\n\tmovabs $0x9090909090909090, %rcx\n\t"

/* NAME, what BL is after it, the store to (%rdi): it may change all registers but RDI, R8 to R15.
 */
#define STORES(X)                                                                                \
	X(movb, 2, "movb $2, 1(%rdi)")                                                           \
	X(movw, 2, NEW "mov %ax, (%rdi)")                                                        \
	X(movl, 2, NEW "mov %eax, (%rdi)")                                                       \
	X(movq, 2, NEW "mov %rax, (%rdi)")                                                       \
	X(movl_imm, 2, "movl $0x909002b3, (%rdi)")                                               \
	X(movnti, 2, NEW "movnti %rax, (%rdi)")                                                  \
	X(movbe, 2, "movabs $0xb302909090909090, %rax\n\tmovbe %rax, (%rdi)")                    \
	X(movd, 2, NEW_X "movd %xmm0, (%rdi)")                                                   \
	X(movq_x, 2, NEW_X "movq %xmm0, (%rdi)")                                                 \
	X(movlps, 2, NEW_X "movlps %xmm0, (%rdi)")                                               \
	X(movhps, 2, NEW_X "movlhps %xmm0, %xmm0\n\tmovhps %xmm0, (%rdi)")                       \
	X(movups, 2, NEW_X "movups %xmm0, (%rdi)")                                               \
	X(movaps, 2, NEW_X "movaps %xmm0, (%rdi)")                                               \
	X(movdqu, 2, NEW_X "movdqu %xmm0, (%rdi)")                                               \
	X(movntdq, 2, NEW_X "movntdq %xmm0, (%rdi)")                                             \
	X(pextrb, 2, NEW_X "pextrb $1, %xmm0, 1(%rdi)")                                          \
	X(maskmovdqu, 2, NEW_X "pcmpeqb %xmm1, %xmm1\n\tmaskmovdqu %xmm1, %xmm0")                \
	X(mmx, 2, "movq bm_new(%rip), %mm0\n\tmovq %mm0, (%rdi)\n\temms")                        \
	X(fistp, 2, "fildll bm_new(%rip)\n\tfistpll (%rdi)")                                     \
	X(fstpt, 2, "fldt bm_new + 48(%rip)\n\tfstpt (%rdi)")                                    \
	X(xchg, 2, NEW "xchg %rax, (%rdi)")                                                      \
	X(xadd, 2, "mov $1, %al\n\txadd %al, 1(%rdi)")                                           \
	X(lock_xadd, 2, "mov $0x100, %eax\n\tlock xadd %eax, (%rdi)")                            \
	X(cmpxchg, 2, NEW_CMP "cmpxchg %rbx, (%rsi)")                                            \
	X(lock_cmpxchg, 2, NEW_CMP "lock cmpxchg %rbx, (%rsi)")                                  \
	X(lock_cmpxchg16b, 2, NEW_CMP16 "lock cmpxchg16b (%rsi)")                                \
	X(addb, 3, "addb $2, 1(%rdi)")                                                           \
	X(incb, 2, "incb 1(%rdi)")                                                               \
	X(lock_incb, 2, "lock incb 1(%rdi)")                                                     \
	X(lock_addq, 2, "lock addq $0x100, (%rdi)")                                              \
	X(lock_orb, 5, "lock orb $4, 1(%rdi)")                                                   \
	X(notb, 0xfe, "notb 1(%rdi)")                                                            \
	X(negb, 0xff, "negb 1(%rdi)")                                                            \
	X(shlb, 2, "shlb 1(%rdi)")                                                               \
	X(rolb, 2, "rolb 1(%rdi)")                                                               \
	X(bts, 9, "btsl $11, (%rdi)")                                                            \
	X(lock_btc, 5, "lock btcl $10, (%rdi)")                                                  \
	X(sete, 0, "mov $1, %eax\n\ttest %eax, %eax\n\tsete 1(%rdi)")                            \
	X(stosb, 2, NEW "mov %rdi, %rdx\n\tinc %rdi\n\tmov $2, %al\n\tstosb\n\tmov %rdx, %rdi")  \
	X(stosq, 2, NEW "stosq\n\tsub $8, %rdi")                                                 \
	X(movsq, 2, "lea bm_new(%rip), %rsi\n\tmovsq\n\tsub $8, %rdi")                           \
	X(rep_movsb, 2, "lea bm_new(%rip), %rsi\n\tmov $16, %ecx\n\trep movsb\n\tsub $16, %rdi") \
	X(rep_movsq, 2, "lea bm_new(%rip), %rsi\n\tmov $2, %ecx\n\trep movsq\n\tsub $16, %rdi")  \
	X(rep_stosb, 0x90,                                                                       \
	  "inc %rdi\n\tmov $1, %ecx\n\tmov $0x90, %al\n\trep stosb\n\tsub $2, %rdi")             \
	X(push, 2, NEW "mov %rsp, %rdx\n\tlea 8(%rdi), %rsp\n\tpush %rax\n\tmov %rdx, %rsp")     \
	X(pop, 2, NEW "push %rax\n\tpop (%rdi)")                                                 \
	X(avx128, 2, NEW_Y "vmovups %xmm0, (%rdi)")                                              \
	X(avx256, 2, NEW_Y "vmovups %ymm0, (%rdi)")                                              \
	X(vmaskmov, 2, NEW_Y "vpcmpeqd %xmm1, %xmm1, %xmm1\n\tvmaskmovps %xmm0, %xmm1, (%rdi)")

/* The code that changes lies at the start of a cache line; at_ is its address. */
#define TARGET(label) ".balign 64, 0x90\n" label ":\tmov $1, %bl\n\t.skip 40, 0x90\n\t"
#define DEFINE(name, want, text)                                                                  \
	extern uint8_t at_next_##name[], at_back_##name[], at_far_##name[];                       \
	SNIPPET(next_##name,                                                                      \
		"lea at_next_" #name "(%rip), %rdi\n\t" text "\n" TARGET("at_next_" #name));      \
	SNIPPET(back_##name,                                                                      \
		"mov $2, %r8d\n\txor %r9d, %r9d\n" TARGET(                                        \
			"at_back_" #name) "movzbl %bl, %eax\n\tshl $8, %r9d\n\tor %eax, %r9d\n\t" \
					  "lea at_back_" #name "(%rip), %rdi\n\t" text            \
					  "\n\tdec %r8d\n\tjnz at_back_" #name);                  \
	SNIPPET(far_##name,                                                                       \
		"call at_far_" #name "\n\tlea at_far_" #name "(%rip), %rdi\n\t" text              \
		"\n\tcall at_far_" #name                                                          \
		"\n\tint $0x80\n\t.balign 4096\n\t.skip 512\n" TARGET("at_far_" #name) "ret");
STORES(DEFINE)

static const struct store {
	const char *name, *next, *back, *far;
	uint8_t *at_next, *at_back, *at_far;
	uint8_t want;
} stores[] = {
#define ROW(name, want, text)                                       \
	{#name,		 next_##name,	 back_##name,	far_##name, \
	 at_next_##name, at_back_##name, at_far_##name, want},
	STORES(ROW)};

static void restore(uint8_t *at)
{
	__builtin_memcpy(at, old, sizeof(old));
	for (unsigned i = 2; i < 42; i++)
		at[i] = 0x90;
}

static bool needs_avx(const struct store *s)
{
	return s->name[0] == 'a' || s->name[0] == 'v'; /* avx128, avx256, vmaskmov */
}

static bool enable_avx(void)
{
	if (!cpu_has(1, 2, 28) || !cpu_has(1, 2, 26))
		return false;
	wr_cr4(rd_cr4() | 1 << 18);
	__asm__ volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
	return true;
}

/* Three times, since after the first there is something to throw away. */
static void try_store(const struct store *s)
{
	for (unsigned i = 0; i < 3; i++) {
		restore(s->at_next);
		run_k(s->next);
		check_ok(s->name);
		check_eq(s->name, trap.bx & 0xff, s->want);
		restore(s->at_back);
		run_k(s->back);
		check_ok(s->name);
		check_eq(s->name, trap.r9, 0x100u | s->want);
		restore(s->at_far);
		run_k(s->far);
		check_ok(s->name);
		check_eq(s->name, trap.bx & 0xff, s->want);
	}
}

/* --- stores that begin before the code: MOV $1, %bl is 4 bytes behind the store's first --- */
#define NEW4 "movabs $0x909002b390909090, %rax\n\t"
#define NEW4_X "movups bm_new + 28(%rip), %xmm0\n\t"
#define NEW4_Y "vmovups bm_new + 28(%rip), %ymm0\n\t"
#define CROSSINGS(X)                                                                        \
	X(cross_movq, "mov %rax, (%rdi)")                                                   \
	X(cross_xchg, "xchg %rax, (%rdi)")                                                  \
	X(cross_lock_add, "movabs $0x10000000000, %rax\n\tlock add %rax, (%rdi)")           \
	X(cross_cmpxchg, "mov %rax, %rbx\n\tmov %rdi, %rsi\n\tmov (%rsi), %rax\n\t"         \
			 "lock cmpxchg %rbx, (%rsi)")                                       \
	X(cross_movups, "movups %xmm0, (%rdi)")                                             \
	X(cross_movhps, "movlhps %xmm0, %xmm0\n\tmovhps %xmm0, (%rdi)")                     \
	X(cross_fstpt,                                                                      \
	  "movups %xmm0, bm_new + 48(%rip)\n\tfldt bm_new + 48(%rip)\n\tfstpt (%rdi)")      \
	X(cross_push, "mov %rsp, %rdx\n\tlea 8(%rdi), %rsp\n\tpush %rax\n\tmov %rdx, %rsp") \
	X(cross_stosq, "stosq")                                                             \
	X(cross_rep_movsb, "lea bm_new + 28(%rip), %rsi\n\tmov $16, %ecx\n\trep movsb")     \
	X(cross_rep_stosb, "push %rdi\n\tmov $7, %ecx\n\tmov $0x90, %al\n\trep stosb\n\t"   \
			   "pop %rdi\n\tmovl $0x02b39090, 2(%rdi)")
#define DEFINE_CROSSING(name, text) SNIPPET(name, NEW4 NEW4_X text "\n\tcall *%r8");
CROSSINGS(DEFINE_CROSSING)
SNIPPET(cross_avx, NEW4_Y "vmovups %ymm0, (%rdi)\n\tcall *%r8");

static uint8_t page[3 * 4096] __attribute__((aligned(4096)));

static void try_crossing(const char *name, const char *snippet, uint8_t *at)
{
	for (unsigned i = 0; i < 3; i++) {
		restore(at);
		at[42] = 0xc3;
		for (unsigned k = 1; k <= 4; k++)
			at[-(int)k] = 0x90;
		in.ax = in.di = (ulong)at - 4;
		in.r8 = (ulong)at;
		if (i == 1) { /* only the line or page in front has been run */
			at[-1] = 0xc3;
			((void (*)(void))(at - 1))();
			at[-1] = 0x90;
		}
		run_k(snippet);
		check_ok(name);
		check_eq(name, trap.bx & 0xff, 2);
	}
}

static void crossings(bool avx)
{
	static const struct {
		const char *name, *snippet;
	} rows[] = {
#define ROW_CROSSING(name, text) {#name, name},
		CROSSINGS(ROW_CROSSING)};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		try_crossing(rows[i].name, rows[i].snippet, page + 1024);
		try_crossing(rows[i].name, rows[i].snippet, page + 4096);
	}
	if (avx) {
		try_crossing("cross_avx", cross_avx, page + 1024);
		try_crossing("cross_avx", cross_avx, page + 4096);
	}
}

/* --- what programs do --- */

/* A compiler's buffer: ever new functions at the same place, each run once or twice. */
static void generated(void)
{
	uint8_t *p = page + 512;
	uint64_t sum = 0, want = 0;
	ulong n = 3000 * bm_scale;

	for (uint32_t i = 0; i < n; i++) {
		unsigned pad = i % 7, at = 0;

		while (at < pad)
			p[at++] = 0x90;
		p[at++] = 0xb8; /* mov $i, %eax */
		__builtin_memcpy(p + at, &i, 4);
		p[at + 4] = 0xc3;
		for (unsigned k = 0; k <= i % 2; k++, want += i)
			sum += ((uint32_t(*)(void))p)();
	}
	check_eq("generated functions", sum, want);
}

/* Variables in the page of the code that uses them, and in its cache line. */
SNIPPET(s_beside, "mov $20000, %ecx\n\tjmp 2f\n1:\t.quad 0\n2:\taddq %rcx, 1b(%rip)\n\t"
		  "incl 3f(%rip)\n\tdec %ecx\n\tjnz 2b\n\tmov 1b(%rip), %rax\n\t"
		  "mov 3f(%rip), %ebx\n\tint $0x80\n\t.balign 256\n3:\t.quad 0\n\t");

/* The code moves itself forward, and on. */
SNIPPET(s_walk, "lea 1f(%rip), %rsi\n\tlea bm_new(%rip), %rbx\n\txor %edx, %edx\n\t"
		"1:\tinc %edx\n\tcmp $50, %edx\n\tje 3f\n\tlea 64(%rsi), %rdi\n\tmov $48, %ecx\n\t"
		"rep movsb\n\tlea -48(%rdi), %rsi\n\tjmp *%rsi\n3:\tint $0x80\n\t.skip 4096, 0xcc");

void image_main(void)
{
	bool avx = enable_avx();

	__asm__ volatile("fninit");
	for (unsigned i = 0; i < sizeof(bm_new); i++)
		bm_new[i] = 0x90;
	bm_new[0] = bm_new[32] = bm_new[48] = 0xb3;
	bm_new[1] = bm_new[33] = bm_new[49] = 2;
	for (unsigned i = 0; i < ARRAY_SIZE(stores); i++)
		if (avx || !needs_avx(&stores[i]))
			try_store(&stores[i]);
	crossings(avx);
	generated();
	run_k(s_beside);
	check_ok("data beside code");
	check_eq("its sum", trap.ax, 20000ul * 20001 / 2);
	check_eq("its count", trap.bx, 20000);
	run_k(s_walk);
	check_ok("code that copies itself on");
	check_eq("fifty times", trap.dx, 50);
}
