/* SPDX-License-Identifier: Apache-2.0 */
/* Each kind of access where it cannot be made: absent and read-only pages, entered at their start
 * or across, non-canonical addresses, misaligned vectors; and #DE, #NM, #MF, #XM.  Behind an
 * instruction that has changed registers and flags, the fault must show what that left, and nothing
 * of what failed (SDM 3A 6.6, 4.7). */
/* bm: bits=64 */
#include "bm.h"

#define VA 0x100000000000ul
#define PAGE(n) (VA + (n)*4096ul) /* 1 and 4 are mapped, 5 is read-only */
#define ARITH 0x8d5ul
#define FLAGS_AFTER 0x894ul /* of 0x7fff...ffff + 1 */
#define CR0_TS 8ul
#define CR4_OSXSAVE (1ul << 18)

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t pages[8][4096] __attribute__((aligned(4096)));

enum { R, W, RW };
enum { ANY, ALIGNED, AVX, SETS = 4 }; /* SETS flags: those before are dead */

/* NAME, size, kind, alignment, text: \mem is the operand. */
#define ACCESSES(X)                                                     \
	X(mov_load8, 1, R, ANY, "mov \\mem, %r10b")                     \
	X(mov_load16, 2, R, ANY, "mov \\mem, %r10w")                    \
	X(mov_load32, 4, R, ANY, "mov \\mem, %r10d")                    \
	X(mov_load64, 8, R, ANY, "mov \\mem, %r10")                     \
	X(movzx, 2, R, ANY, "movzwl \\mem, %r10d")                      \
	X(movsx, 4, R, ANY, "movslq \\mem, %r10")                       \
	X(mov_store8, 1, W, ANY, "mov %r10b, \\mem")                    \
	X(mov_store16, 2, W, ANY, "mov %r10w, \\mem")                   \
	X(mov_store32, 4, W, ANY, "mov %r10d, \\mem")                   \
	X(mov_store64, 8, W, ANY, "mov %r10, \\mem")                    \
	X(mov_imm, 8, W, ANY, "movq $1, \\mem")                         \
	X(movnti, 8, W, ANY, "movnti %r10, \\mem")                      \
	X(movbe_load, 8, R, ANY, "movbe \\mem, %r10")                   \
	X(movbe_store, 4, W, ANY, "movbe %r10d, \\mem")                 \
	X(add_load, 8, R, ANY | SETS, "add \\mem, %r10")                \
	X(adc_load, 4, R, ANY | SETS, "adc \\mem, %r10d")               \
	X(cmp, 8, R, ANY | SETS, "cmp \\mem, %r10")                     \
	X(test, 2, R, ANY | SETS, "testw $5, \\mem")                    \
	X(add_store, 8, RW, ANY | SETS, "add %r10, \\mem")              \
	X(sbb_store, 4, RW, ANY | SETS, "sbb %r10d, \\mem")             \
	X(inc, 8, RW, ANY | SETS, "incq \\mem")                         \
	X(not, 4, RW, ANY, "notl \\mem")                                \
	X(neg, 2, RW, ANY | SETS, "negw \\mem")                         \
	X(shl, 8, RW, ANY | SETS, "shlq $3, \\mem")                     \
	X(rcr, 4, RW, ANY | SETS, "rcrl %cl, \\mem")                    \
	X(shld, 8, RW, ANY | SETS, "shld $5, %r10, \\mem")              \
	X(bts, 4, RW, ANY | SETS, "btsl $5, \\mem")                     \
	X(bt, 8, R, ANY | SETS, "btq $5, \\mem")                        \
	X(xchg, 8, RW, ANY, "xchg %r10, \\mem")                         \
	X(xadd, 4, RW, ANY | SETS, "xadd %r10d, \\mem")                 \
	X(lock_add, 8, RW, ANY | SETS, "lock add %r10, \\mem")          \
	X(lock_xadd, 8, RW, ANY | SETS, "lock xadd %r10, \\mem")        \
	X(lock_dec, 4, RW, ANY | SETS, "lock decl \\mem")               \
	X(cmpxchg, 8, RW, ANY | SETS, "cmpxchg %r10, \\mem")            \
	X(lock_cmpxchg, 4, RW, ANY | SETS, "lock cmpxchg %r10d, \\mem") \
	X(cmpxchg8b, 8, RW, ANY | SETS, "cmpxchg8b \\mem")              \
	X(cmpxchg16b, 16, RW, ALIGNED | SETS, "lock cmpxchg16b \\mem")  \
	X(setcc, 1, W, ANY, "seto \\mem")                               \
	X(cmov, 8, R, ANY, "cmovz \\mem, %r10")                         \
	X(imul, 8, R, ANY | SETS, "imul \\mem, %r10")                   \
	X(mul, 8, R, ANY | SETS, "mulq \\mem")                          \
	X(div, 8, R, ANY | SETS, "divq \\mem")                          \
	X(popcnt, 8, R, ANY | SETS, "popcnt \\mem, %r10")               \
	X(bsf, 4, R, ANY | SETS, "bsf \\mem, %r10d")                    \
	X(crc32, 8, R, ANY, "crc32q \\mem, %r10")                       \
	X(push, 8, R, ANY, "pushq \\mem")                               \
	X(pop, 8, W, ANY, "popq \\mem")                                 \
	X(call, 8, R, ANY, "call *\\mem")                               \
	X(jmp, 8, R, ANY, "jmp *\\mem")                                 \
	X(movss_load, 4, R, ANY, "movss \\mem, %xmm3")                  \
	X(movsd_store, 8, W, ANY, "movsd %xmm3, \\mem")                 \
	X(movq_load, 8, R, ANY, "movq \\mem, %xmm3")                    \
	X(movd_store, 4, W, ANY, "movd %xmm3, \\mem")                   \
	X(movups_load, 16, R, ANY, "movups \\mem, %xmm3")               \
	X(movups_store, 16, W, ANY, "movups %xmm3, \\mem")              \
	X(movdqu_load, 16, R, ANY, "movdqu \\mem, %xmm3")               \
	X(movaps_load, 16, R, ALIGNED, "movaps \\mem, %xmm3")           \
	X(movaps_store, 16, W, ALIGNED, "movaps %xmm3, \\mem")          \
	X(movntdq, 16, W, ALIGNED, "movntdq %xmm3, \\mem")              \
	X(addps, 16, R, ALIGNED, "addps \\mem, %xmm3")                  \
	X(pshufb, 16, R, ALIGNED, "pshufb \\mem, %xmm3")                \
	X(movhps_load, 8, R, ANY, "movhps \\mem, %xmm3")                \
	X(movlps_store, 8, W, ANY, "movlps %xmm3, \\mem")               \
	X(addsd, 8, R, ANY, "addsd \\mem, %xmm3")                       \
	X(cvtsi2sd, 8, R, ANY, "cvtsi2sdq \\mem, %xmm3")                \
	X(pinsrw, 2, R, ANY, "pinsrw $3, \\mem, %xmm3")                 \
	X(pextrd, 4, W, ANY, "pextrd $1, %xmm3, \\mem")                 \
	X(ldmxcsr, 4, R, ANY, "ldmxcsr \\mem")                          \
	X(stmxcsr, 4, W, ANY, "stmxcsr \\mem")                          \
	X(mmx_store, 8, W, ANY, "movq %mm2, \\mem")                     \
	X(flds, 4, R, ANY, "flds \\mem")                                \
	X(fldl, 8, R, ANY, "fldl \\mem")                                \
	X(fldt, 10, R, ANY, "fldt \\mem")                               \
	X(fildll, 8, R, ANY, "fildll \\mem")                            \
	X(faddl, 8, R, ANY, "faddl \\mem")                              \
	X(fsts, 4, W, ANY, "fsts \\mem")                                \
	X(fstpl, 8, W, ANY, "fstpl \\mem")                              \
	X(fistpll, 8, W, ANY, "fistpll \\mem")                          \
	X(fldcw, 2, R, ANY, "fldcw \\mem")                              \
	X(fnstcw, 2, W, ANY, "fnstcw \\mem")                            \
	X(fnstsw, 2, W, ANY, "fnstsw \\mem")                            \
	X(vmovups_load, 32, R, AVX, "vmovups \\mem, %ymm3")             \
	X(vmovups_store, 32, W, AVX, "vmovups %ymm3, \\mem")            \
	X(vmovups128, 16, W, AVX, "vmovups %xmm3, \\mem")               \
	X(vaddpd, 32, R, AVX, "vaddpd \\mem, %ymm3, %ymm3")             \
	X(vpaddd, 16, R, AVX, "vpaddd \\mem, %xmm3, %xmm3")             \
	X(vbroadcastss, 4, R, AVX, "vbroadcastss \\mem, %ymm3")         \
	X(vmovsd, 8, W, AVX, "vmovsd %xmm3, \\mem")

/* R15 wraps; then the access; R13 must not be reached. */
#define DEFINE(name, size, kind, align, text)                                         \
	extern const char at_##name[], bp_at_##name[];                                \
	__asm__(".macro m_" #name " mem\n\t" text "\n.endm");                         \
	SNIPPET(a_##name, "add $1, %r15\n\tmovq %r15, %xmm7\nat_" #name ":\tm_" #name \
			  " (%rdi)\n\tlea 1(%r13), %r13");                            \
	SNIPPET(b_##name,                                                             \
		"add $1, %r15\nbp_at_" #name ":\tm_" #name " (%rbp)\n\tlea 1(%r13), %r13");
ACCESSES(DEFINE)

static const struct access {
	const char *name, *snippet, *at, *bp_snippet, *bp_at;
	uint8_t size, kind, align;
} accesses[] = {
#define ROW(name, size, kind, align, text) \
	{#name, a_##name, at_##name, b_##name, bp_at_##name, size, kind, align},
	ACCESSES(ROW)};

static unsigned alignment(const struct access *a)
{
	return a->align & 3;
}

static uint8_t fx_before[512] __attribute__((aligned(16)));
static uint8_t fx_after[512] __attribute__((aligned(16)));
static struct regs before;

static void prepare(void)
{
	for (unsigned i = 0; i < 7; i++)
		for (unsigned k = 0; k < 4096; k++)
			pages[i][k] = (uint8_t)(i * 37 + k);
	in = (struct regs){.ax = 0x1111, .cx = 3, .dx = 0x22, .bx = 0x33, .bp = 0x44, .si = 0x55};
	in.r8 = 0x66;
	in.r9 = 0x77;
	in.r10 = 0x8899aabbccddeeff;
	in.r11 = 0x99;
	in.r12 = 0xaa;
	in.r13 = 0xbb;
	in.r14 = 0xcc;
	in.r15 = 0x7fffffffffffffff;
	in.sp = (ulong)bm_stack;
}

/* Only what the instruction before has done is seen. */
static bool as_before(bool keeps_xmm7, bool dead_flags)
{
	bool same = trap.ax == before.ax && trap.cx == before.cx && trap.dx == before.dx &&
		    trap.bx == before.bx && trap.bp == before.bp && trap.si == before.si &&
		    trap.di == before.di && trap.sp == before.sp && trap.r8 == before.r8 &&
		    trap.r9 == before.r9 && trap.r10 == before.r10 && trap.r11 == before.r11 &&
		    trap.r12 == before.r12 && trap.r13 == before.r13 && trap.r14 == before.r14 &&
		    trap.r15 == before.r15 + 1;

	for (unsigned i = 0; i < 416; i++) /* all but XMM7 */
		if ((i < 272 || i >= 288) && fx_before[i] != fx_after[i])
			same = false;
	if ((trap.flags & ARITH) != FLAGS_AFTER && (bm_exact_flags || !dead_flags))
		same = false;
	if (!keeps_xmm7 && *(ulong *)(fx_after + 272) != before.r15 + 1)
		same = false;
	for (unsigned i = 0; i < 7; i++)
		for (unsigned k = 0; k < 4096; k++)
			if (pages[i][k] != (uint8_t)(i * 37 + k))
				return false;
	return same;
}

static void try_at(const struct access *a, ulong va, unsigned vector, ulong error, ulong cr2)
{
	bool bp = vector == SS;
	const char *at = bp ? a->bp_at : a->at;

	prepare();
	if (bp)
		in.bp = va;
	else
		in.di = va;
	before = in;
	__asm__ volatile("fxsave %0" : "=m"(fx_before));
	run_k(bp ? a->bp_snippet : a->snippet);
	__asm__ volatile("fxsave %0" : "=m"(fx_after));
	check_trap(a->name, vector, error);
	if (vector == PF)
		check_eq("CR2", trap_cr2, cr2);
	check_eq("RIP", trap.ip, (ulong)at);
	check("all else as before", as_before(bp, a->align & SETS));
}

/* A read-modify-write faults as a write; TCG reads first. */
static ulong absent_error(const struct access *a)
{
	return a->kind == W || (a->kind == RW && !bm_tcg()) ? 2 : 0;
}

static void absent(const struct access *a)
{
	ulong error = absent_error(a);

	try_at(a, PAGE(2), PF, error, PAGE(2));
	try_at(a, PAGE(2) + 0x800, PF, error, PAGE(2) + 0x800);
	if (alignment(a) == ALIGNED && !bm_tcg()) { /* before the page is looked at */
		try_at(a, PAGE(2) + 1, GP, 0, 0);
		try_at(a, PAGE(1) + 8, GP, 0, 0);
	}
	if (alignment(a) == ALIGNED)
		return;
	for (unsigned n = 1; n < a->size; n += n < 4 ? 1 : 3) {
		try_at(a, PAGE(2) - n, PF, error, PAGE(2)); /* off the end */
		try_at(a, PAGE(1) - n, PF, error, PAGE(1) - n); /* from before the start */
	}
}

static void read_only(const struct access *a)
{
	if (a->kind == R)
		return;
	try_at(a, PAGE(5), PF, 3, PAGE(5));
	try_at(a, PAGE(6) - 16, PF, 3, PAGE(6) - 16);
	for (unsigned n = 1; n < a->size && alignment(a) != ALIGNED; n += 2)
		try_at(a, PAGE(5) - n, PF, 3, PAGE(5));
}

/* --- string instructions, from where they are stopped --- */
SNIPPET(s_movsb, "rep movsb");
SNIPPET(s_movsl, "rep movsl");
SNIPPET(s_movsq, "rep movsq");
SNIPPET(s_stosl, "rep stosl");
SNIPPET(s_stosq, "rep stosq");
SNIPPET(s_lodsw, "rep lodsw");
SNIPPET(s_scasq, "repne scasq");
SNIPPET(s_cmpsl, "repe cmpsl");
SNIPPET(s_stosl_back, "std\n\trep stosl\n\tcld");
SNIPPET(s_movsq_back, "std\n\trep movsq\n\tcld");

static void string(const char *name, const char *snippet, ulong si, ulong di, ulong cr2,
		   ulong error, long done)
{
	long step = done < 0 ? -1 : 1;
	unsigned size = snippet == s_movsb   ? 1
			: snippet == s_lodsw ? 2
			: snippet == s_movsq || snippet == s_movsq_back || snippet == s_stosq ||
					snippet == s_scasq
				? 8
				: 4;
	bool uses_si = si != 0, uses_di = di != 0;

	prepare();
	for (unsigned k = 0; k < 4096; k++)
		pages[1][k] = pages[4][k] = 5;
	in.si = si;
	in.di = di;
	in.cx = 2000;
	in.ax = 0x0101010101010101;
	run_k(snippet);
	check_trap(name, PF, error);
	check_eq("CR2", trap_cr2, cr2);
	check_eq("RCX", trap.cx, 2000 - (ulong)(done * step));
	if (uses_si)
		check_eq("RSI", trap.si, si + (ulong)(done * (long)size));
	if (uses_di)
		check_eq("RDI", trap.di, di + (ulong)(done * (long)size));
	check_eq("RIP", trap.ip - (ulong)snippet, step < 0);
	__asm__ volatile("cld");
}

static void strings(void)
{
	string("REP MOVSB, source", s_movsb, PAGE(2) - 77, PAGE(4), PAGE(2), 0, 77);
	string("REP MOVSB, read-only", s_movsb, PAGE(1), PAGE(5) - 33, PAGE(5), 3, 33);
	string("REP MOVSL, source across", s_movsl, PAGE(2) - 42, PAGE(4), PAGE(2), 0, 10);
	string("REP MOVSL, both", s_movsl, PAGE(2) - 42, PAGE(5) - 22, PAGE(5), 3, 5);
	string("REP MOVSQ, destination across", s_movsq, PAGE(1), PAGE(5) - 61, PAGE(5), 3, 7);
	string("REP MOVSQ, at once", s_movsq, PAGE(2), PAGE(4), PAGE(2), 0, 0);
	string("REP STOSL", s_stosl, 0, PAGE(2) - 400, PAGE(2), 2, 100);
	string("REP STOSL across", s_stosl, 0, PAGE(2) - 399, PAGE(2), 2, 99);
	string("REP STOSQ, read-only", s_stosq, 0, PAGE(5) - 80, PAGE(5), 3, 10);
	string("REP LODSW", s_lodsw, PAGE(2) - 100, 0, PAGE(2), 0, 50);
	string("REPNE SCASQ", s_scasq, 0, PAGE(2) - 100, PAGE(2), 0, 12);
	string("REPE CMPSL", s_cmpsl, PAGE(1), PAGE(2) - 88, PAGE(2), 0, 22);
	string("REP STOSL down", s_stosl_back, 0, PAGE(1) + 40, PAGE(1) - 4, 2, -11);
	string("REP MOVSQ down", s_movsq_back, PAGE(1) + 80, PAGE(4) + 800, PAGE(1) - 8, 0, -11);
}

/* --- faults that are not the memory's --- */
SNIPPET(s_div, "add $1, %r15\n\tdiv %rbx\n\tlea 1(%r13), %r13");
SNIPPET(s_idiv, "add $1, %r15\n\tidivl (%rdi)\n\tlea 1(%r13), %r13");
SNIPPET(s_divb, "add $1, %r15\n\tdivb (%rdi)\n\tlea 1(%r13), %r13");
SNIPPET(s_divps, "add $1, %r15\n\tdivps %xmm2, %xmm1\n\tlea 1(%r13), %r13");
SNIPPET(s_sqrtsd, "add $1, %r15\n\tsqrtsd (%rdi), %xmm1\n\tlea 1(%r13), %r13");
SNIPPET(s_fdiv,
	"fninit\n\tpush $0x33b\n\tfldcw (%rsp)\n\tpop %r11\n\tmov $0x99, %r11d\n\tfld1\n\tfldz\n\t"
	"fdivrp\n\tadd $1, %r15\n\tfistpll (%rdi)\n\tlea 1(%r13), %r13");

static void arithmetic(const char *name, const char *snippet, unsigned vector, ulong bx, ulong di)
{
	prepare();
	in.bx = bx;
	in.di = di;
	before = in;
	run_k(snippet);
	check_trap(name, vector, 0);
	check_eq("AX, DX", trap.ax ^ trap.dx << 32, before.ax ^ before.dx << 32);
	check_eq("what was before it", trap.r15, before.r15 + 1);
	if (bm_exact_flags || vector != DE) /* divisions set flags, but not to what */
		check_eq("its flags", trap.flags & ARITH, FLAGS_AFTER);
	check_eq("nothing behind it", trap.r13, before.r13);
}

static void others(void)
{
	static float zero[4], one[4] = {1, 1, 1, 1};
	uint32_t mxcsr = 0x1f80, unmasked = 0x1000 | (0x1f80 & ~0x280);
	uint64_t minus_one = 0xbff0000000000000;

	arithmetic("#DE, zero", s_div, DE, 0, VA);
	arithmetic("#DE, too large", s_div, DE, 1, VA);
	pages[1][0] = 0;
	prepare();
	for (unsigned i = 0; i < 8; i++)
		pages[0][i] = 0;
	arithmetic("#DE, memory", s_idiv, DE, 0, (ulong)zero);
	arithmetic("#DE, byte", s_divb, DE, 0, (ulong)one + 3 - 1 - 1); /* zero bytes of 1.0f */
	if (!bm_tcg()) {
		__asm__ volatile("movups %0, %%xmm1\n\tmovups %1, %%xmm2" : : "m"(one), "m"(zero));
		__asm__ volatile("ldmxcsr %0" : : "m"(unmasked));
		arithmetic("#XM, divide by zero", s_divps, XM, 0, VA);
		arithmetic("#XM, invalid, memory", s_sqrtsd, XM, 0, (ulong)&minus_one);
		__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	}
	wr_cr0(rd_cr0() | 0x20);
	arithmetic("#MF before the store", s_fdiv, MF, 0, PAGE(2));
	__asm__ volatile("fninit");
}

/* #NM comes before anything that the operand could raise; not for general registers. */
static void not_available(const struct access *a)
{
	if (a->snippet < a_movss_load) /* those with vector or x87 registers begin with it */
		return;
	prepare();
	in.di = alignment(a) == ALIGNED ? PAGE(2) + 1 : PAGE(2);
	wr_cr0(rd_cr0() | CR0_TS);
	in.ip = (ulong)a->at;
	run_k(a->snippet);
	__asm__ volatile("clts");
	check_trap("#NM", NM, 0);
	check_eq(a->name, trap.ip, (ulong)a->at);
}

void image_main(void)
{
	bool avx = cpu_has(1, 2, 28) && cpu_has(1, 2, 26);

	bm_pml4[32] = (ulong)pdpt | 7;
	pdpt[0] = (ulong)pd | 7;
	pd[0] = (ulong)pt | 7;
	pt[1] = (ulong)pages[1] | 3;
	pt[4] = (ulong)pages[4] | 3;
	pt[5] = (ulong)pages[5] | 1;
	__asm__ volatile("fninit\n\tfld1\n\tfldpi\n\tfldz");
	if (avx) {
		wr_cr4(rd_cr4() | CR4_OSXSAVE);
		__asm__ volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++) {
		const struct access *a = &accesses[i];

		if (alignment(a) == AVX && !avx)
			continue;
		absent(a);
		read_only(a);
		try_at(a, 0x0000800000000000, GP, 0, 0);
		try_at(a, 0xffff7ffffffffff0, GP, 0, 0);
		if (!bm_tcg())
			try_at(a, 0x0000800000000000, SS, 0, 0);
		not_available(a);
	}
	strings();
	others();
}
