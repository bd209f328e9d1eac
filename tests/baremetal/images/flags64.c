/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic flags that stay live across what an engine may lose them in: accesses that fault and
 * are restarted, interrupts and single steps, calls, returns and jumps of every kind, PUSHF and
 * POPF, SAHF and LAHF, the head of a loop, instructions that leave them alone (SDM 3A 6.6, SDM
 * 1 3.4.3). */
/* bm: bits=64 */
#include "bm.h"

#define ARITH 0x8d5ul
#define VA 0x100000000000ul
#define PAGE(n) (VA + (n)*4096ul)

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t page[4][4096] __attribute__((aligned(4096)));

/* What makes flags, from RAX and RBX; the C of the same is flags_of. */
#define PRODUCERS(X)                                 \
	X(add, "add %rbx, %rax")                     \
	X(addb, "add %bl, %al")                      \
	X(addw, "add %bx, %ax")                      \
	X(addl, "add %ebx, %eax")                    \
	X(sub, "sub %rbx, %rax")                     \
	X(cmpb, "cmp %bl, %al")                      \
	X(cmpl, "cmp %ebx, %eax")                    \
	X(adc, "stc\n\tadc %rbx, %rax")              \
	X(sbb, "stc\n\tsbb %rbx, %rax")              \
	X(inc, "stc\n\tinc %rax")                    \
	X(decb, "clc\n\tdec %al")                    \
	X(neg, "neg %eax")                           \
	X(xadd, "mov %rax, %rdx\n\txadd %rdx, %rax") \
	X(cmpxchg, "cmpxchg %rbx, %rdx")

/* What must keep them: DI is a page that is absent at first, SI code that only returns. */
#define KEEPERS(X)                                                                                 \
	X(nothing, "nop")                                                                          \
	X(load, "mov (%rdi), %r10")                                                                \
	X(store, "mov %r10, (%rdi)")                                                               \
	X(store_imm, "movb $1, 5(%rdi)")                                                           \
	X(two, "mov (%rdi), %r10\n\tmov %r10, 4096(%rdi)")                                         \
	X(across, "mov %r10, 4092(%rdi)")                                                          \
	X(vector, "movups (%rdi), %xmm1\n\tmovups %xmm1, 4088(%rdi)")                              \
	X(x87, "fildl (%rdi)\n\tfistpl 4096(%rdi)")                                                \
	X(movs,                                                                                    \
	  "mov %rdi, %r12\n\tmov %rsi, %r13\n\tmov %rdi, %rsi\n\tmov $VA2, %rdi\n\tmovsq\n\t"      \
	  "mov %r12, %rdi\n\tmov %r13, %rsi")                                                      \
	X(rep_stos, "mov $1030, %ecx\n\tmov %rdi, %r12\n\tmov %rax, %r13\n\trep stosl\n\t"         \
		    "mov %r12, %rdi\n\tmov %r13, %rax")                                            \
	X(push,                                                                                    \
	  "mov %rsp, %r12\n\tlea 4100(%rdi), %rsp\n\tpush %r10\n\tpop %r10\n\tmov %r12, %rsp")     \
	X(pushf, "pushfq\n\tadd %rsp, %r11\n\tpopfq")                                              \
	X(popf_page,                                                                               \
	  "pushfq\n\tpop %r10\n\tmov %r10, 8(%rdi)\n\txor %r10d, %r10d\n\tpush 8(%rdi)\n\t"        \
	  "popfq")                                                                                 \
	X(lahf, "mov %rax, %r12\n\tseto %r13b\n\tlahf\n\tmov %rax, %r14\n\txor %eax, %eax\n\t"     \
		"mov %r13b, %al\n\tadd $0x7f, %al\n\tmov %r14, %rax\n\tsahf\n\tmov %r12, %rax")    \
	X(call, "call *%rsi")                                                                      \
	X(call_direct, "call bm_ret")                                                              \
	X(jmp, "lea 8f(%rip), %r10\n\tjmp *%r10\n\tud2\n8:")                                       \
	X(jmp_mem, "lea 8f(%rip), %r10\n\tmov %r10, 16(%rdi)\n\tjmp *16(%rdi)\n\tud2\n8:")         \
	X(jrcxz, "mov $1, %ecx\n\tjrcxz 8f\n\tloop 8f\n8:")                                        \
	X(loop, "mov $20, %ecx\n8:\tlea 1(%r10), %r10\n\tloop 8b")                                 \
	X(not, "not %r10\n\tbswap %r10\n\txchg %r10, %r11\n\tmovzbl %r10b, %r11d")                 \
	X(lea, "lea 3(%r10, %r11, 4), %r12\n\trorx $3, %r12, %r13\n\tshlx %r12, %r13, %r12")       \
	X(cmov, "cmovo %r10, %r11\n\tsetc %r12b\n\tcmovle (%rdi), %r13")                           \
	X(cpuid, "mov %rax, %r12\n\tmov %rbx, %r13\n\tmov %rdx, %r14\n\txor_free\n\tcpuid\n\t"     \
		 "mov %r12, %rax\n\tmov %r13, %rbx\n\tmov %r14, %rdx")                             \
	X(rdtsc, "mov %rax, %r12\n\tmov %rdx, %r14\n\trdtsc\n\tmov %r12, %rax\n\tmov %r14, %rdx")  \
	X(invlpg, "invlpg (%rdi)\n\tmov %cr3, %r10\n\tmov %r10, %cr3")                             \
	X(msr, "mov %rax, %r12\n\tmov %rdx, %r14\n\tmov $0xc0000080, %ecx\n\trdmsr\n\twrmsr\n\t"   \
	       "mov %r12, %rax\n\tmov %r14, %rdx")                                                 \
	X(out,                                                                                     \
	  "mov %rax, %r12\n\tmov $0, %al\n\tout %al, $0x80\n\tin $0x80, %al\n\tmov %r12, %rax")    \
	X(sti, "sti\n\tnop\n\tcli")                                                                \
	X(syscall_far, "push $8\n\tlea 8f(%rip), %r10\n\tpush %r10\n\tlretq\n8:")                  \
	X(iret,                                                                                    \
	  "mov %rsp, %r12\n\tpush $16\n\tpush %r12\n\tpushfq\n\tpush $8\n\tlea 8f(%rip), %r10\n\t" \
	  "push %r10\n\tiretq\n8:")                                                                \
	X(int3, "int3")                                                                            \
	X(smc, "movb $7, 8f+2(%rip)\n\t.byte 0xeb, 0\n8:\tmov $0, %r10b")                          \
	X(fault, "ud2")

__asm__(".set VA2, 0x100000002000\n"
	".macro xor_free\n\tmov $0, %eax\n\tmov $0, %ecx\n.endm\n"
	".pushsection .text\nbm_ret: ret\n.popsection");
extern const char bm_ret[];

#define PRODUCER(name, text) SNIPPET(p_##name, text);
PRODUCERS(PRODUCER)

static const struct {
	const char *name, *snippet;
} producers[] = {
#define PRODUCER_ROW(name, text) {#name, p_##name},
	PRODUCERS(PRODUCER_ROW)};

/* A producer's code is copied in front of a keeper's, so that both are one block.  What the
 * producer leaves by itself is what must be there behind the keeper, too. */
#define KEEPER(name, text) \
	SNIPPET(k_##name, text "\n\tint $0x80\n\t.globl ke_" #name "\nke_" #name ":");
KEEPERS(KEEPER)
#define KEEPER_END(name, text) extern const char ke_##name[];
KEEPERS(KEEPER_END)

static const struct {
	const char *name, *snippet, *end;
} keepers[] = {
#define KEEPER_ROW(name, text) {#name, k_##name, ke_##name},
	KEEPERS(KEEPER_ROW)};

static unsigned faults;

/* The absent page comes, and the instruction is done again; the flags are what they were. */
static bool pf_hook(struct regs *r)
{
	unsigned n = (trap_cr2 - VA) / 4096;

	if (n >= 4 || pt[n])
		return false;
	faults++;
	pt[n] = (ulong)page[n] | 7;
	invlpg(trap_cr2);
	__asm__ volatile("add $1, %%al; stc" : : : "ax", "cc");
	return true;
}

static bool skip_hook(struct regs *r)
{
	if (r->vector == UD)
		r->ip += 2;
	return true;
}

static bool ignore_hook(struct regs *r)
{
	return true;
}

static const struct {
	ulong a, b;
} inputs[] = {
	{0, 0},		 {1, ~0ul},
	{0x7f, 1},	 {0x80, 0x80},
	{0x7fffffff, 1}, {0x8000000000000000, 1},
	{0x0f, 0xf0},	 {0x123456789abcdef0, 0xfedcba9876543210},
};
static uint8_t code[8192] __attribute__((aligned(4096)));

/* The snippet without its INT $0x80. */
static unsigned copy(uint8_t *to, const char *from, const char *end)
{
	unsigned n = 0;

	for (; from + n < end; n++)
		to[n] = (uint8_t)from[n];
	return n;
}

static unsigned snippet_length(const char *s)
{
	unsigned n = 0;

	while ((uint8_t)s[n] != 0xcd || (uint8_t)s[n + 1] != 0x80)
		n++;
	return n;
}

static void set_input(unsigned i)
{
	in.ax = inputs[i].a;
	in.bx = inputs[i].b;
	in.dx = inputs[i].a ^ 1;
	in.di = VA;
	in.si = (ulong)bm_ret;
	in.flags = i & 1 ? ARITH : 0;
	for (unsigned k = 0; k < 3; k++)
		pt[k] = 0;
	wr_cr3(rd_cr3());
}

static void pair(unsigned p, unsigned k, ulong step)
{
	unsigned n = copy(code, producers[p].snippet,
			  producers[p].snippet + snippet_length(producers[p].snippet));
	/* Direct calls are relative: the keeper stays where its displacement is right. */
	bool moves = keepers[k].snippet != k_call_direct;
	ulong want = 0, got = 0, bad = 0;

	n += copy(code + n, keepers[k].snippet, keepers[k].end);
	for (unsigned i = 0; i < ARRAY_SIZE(inputs); i++) {
		set_input(i);
		run_k(producers[p].snippet);
		want = trap.flags & ARITH;
		set_input(i);
		in.flags |= step;
		in.ip = (ulong)code;
		if (!moves) { /* jump to it: JMP keeps flags, too */
			unsigned at = snippet_length(producers[p].snippet);

			code[at] = 0xe9;
			*(uint32_t *)(code + at + 1) =
				(uint32_t)((ulong)keepers[k].snippet - (ulong)(code + at + 5));
		}
		run_k(keepers[k].snippet);
		got = trap.flags & ARITH;
		bad += got != want || trap.vector != VEC_EXIT;
	}
	if (bad) {
		bm_print("# ");
		bm_print(producers[p].name);
		bm_print(step ? ", stepped: vector " : ": vector ");
		bm_hex(trap.vector);
		bm_print(", flags ");
		bm_hex(got);
		bm_print(" not ");
		bm_hex(want);
		bm_print("\n");
	}
	check_eq(keepers[k].name, bad, 0);
}

/* --- loops: flags live from the end of the body to its head, and around --- */
SNIPPET(s_carry,
	"mov $VA2, %rdi\n\tlea 8(%rdi), %rsi\n\tmov $100, %ecx\n\tclc\n"
	"1:\tmov (%rdi), %rax\n\tadc (%rsi), %rax\n\tmov %rax, (%rdi)\n\tlea 16(%rdi), %rdi\n\t"
	"lea 16(%rsi), %rsi\n\tdec %ecx\n\tjnz 1b\n\tsetc %bl");
SNIPPET(s_chain, "mov $1000, %ecx\n\txor %eax, %eax\n\txor %ebx, %ebx\n\tstc\n"
		 "1:\tjc 2f\n\tinc %ebx\n2:\tadc $0x7fffffff, %eax\n\tloop 1b");
SNIPPET(s_head, "xor %ebx, %ebx\n\tmov $50, %ecx\n\tcmp %rbx, %rcx\n"
		"1:\tcmovz %rcx, %rdx\n\tsetnz %al\n\tadd %al, %bl\n\tdec %ecx\n\tjns 1b");

static void loops(void)
{
	uint64_t *v = (uint64_t *)page[2], want[200], carry = 0;

	for (unsigned i = 0; i < 200; i++)
		v[i] = want[i] = i % 3 ? ~0ul - i : i;
	for (unsigned i = 0; i < 200; i += 2) {
		__uint128_t s = (__uint128_t)want[i] + want[i + 1] + carry;

		want[i] = (uint64_t)s;
		carry = (uint64_t)(s >> 64);
	}
	set_input(0);
	run_k(s_carry);
	check_ok("a sum with carries, its page absent at first");
	for (unsigned i = 0; i < 200; i++)
		carry += (v[i] != want[i]) * 2ul;
	check_eq("its words and its carry", carry, trap.bx & 1);
	run_k(s_chain);
	{
		uint32_t a = 0, b = 0;
		bool c = true;

		for (unsigned i = 0; i < 1000; i++) {
			uint64_t s;

			b += !c;
			s = (uint64_t)a + 0x7fffffff + c;
			a = (uint32_t)s;
			c = s >> 32;
		}
		check_eq("carry around a loop", trap.ax, a);
		check_eq("and in its branch", trap.bx, b);
	}
	run_k(s_head);
	check_eq("flags into a loop's head", trap.bx & 0xff, 50);
}

void image_main(void)
{
	__asm__ volatile("fninit");
	bm_pml4[32] = (ulong)pdpt | 7;
	pdpt[0] = (ulong)pd | 7;
	pd[0] = (ulong)pt | 7;
	idt_entry(PF)[0] |= 1ul << 32; /* IST 1: the stack may be what is absent */
	idt_entry(DB)[0] |= 1ul << 32;
	bm_hook[PF] = pf_hook;
	bm_hook[UD] = skip_hook;
	bm_hook[BP] = ignore_hook;
	bm_hook[DB] = ignore_hook;
	for (unsigned k = 0; k < ARRAY_SIZE(keepers); k++)
		for (unsigned p = 0; p < ARRAY_SIZE(producers); p++) {
			pair(p, k, 0);
			pair(p, k, FL_TF);
		}
	check("pages were absent", faults > 1000);
	loops();
}
