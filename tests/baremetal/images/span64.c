/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses near each other, by one register or by ones that differ from it by constants, at every
 * place around the end of a page: the next page is there, absent or read-only.  All before the one
 * that faults have been made, that one and those after it have not (SDM 3A 6.6, 4.7). */
/* bm: bits=64 */
#include "bm.h"

#define VA 0x100000000000ul
#define PAGE(n) (VA + (n)*4096ul) /* 1 is mapped; 2 is what a test makes of it */

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
/* The two pages; in RAM they do not follow each other. */
static uint8_t ram[3][4096] __attribute__((aligned(4096)));
static uint8_t *const pages[2] = {ram[2], ram[0]};

/* R15 counts the accesses that are done; what they read adds up in RAX, what they write is RBX. */
#define DONE "\n\tlea 1(%r15), %r15\n\t"
#define READ(at) "add " at ", %rax" DONE
#define WRITE(at) "mov %rbx, " at DONE

SNIPPET(s_read, READ("(%rdi)") READ("8(%rdi)") READ("24(%rdi)") READ("-16(%rdi)"));
SNIPPET(s_write, WRITE("(%rdi)") WRITE("8(%rdi)") WRITE("24(%rdi)") WRITE("-16(%rdi)"));
/* A page that may be read but not written: what is written takes no part in the read's span. */
SNIPPET(s_both, READ("(%rdi)") WRITE("8(%rdi)") READ("24(%rdi)") WRITE("-16(%rdi)"));
/* The same places by other registers; RDX is 8. */
SNIPPET(s_values,
	READ("(%rdi)") "lea 16(%rdi), %rsi\n\tmov %rsi, %r12\n\tinc %rdi\n\t" READ(
		"-8(%rsi)") "sub $16, %r12\n\t" READ("24(%r12)") "dec %rdi\n\t" READ("-16(%rdi)"));
SNIPPET(s_index, READ("(%rdi,%rdx,2)") READ("8(%rdi,%rdx,2)") "lea (%rdi,%rdx,2), %rdi\n\t" READ(
			 "24(%rdi)") "add $-16, %rdi\n\t" READ("(%rdi)"));
/* A register that is computed is another value, even if it is the same number. */
SNIPPET(s_fresh,
	READ("(%rdi)") READ("8(%rdi)") "mov %rdi, %rcx\n\tmov %r8, %rdi\n\txor %r9, %r9\n\t"
				       "add %rcx, %r9\n\tmov %r9, %rdi\n\t" READ("24(%rdi)")
					       READ("-16(%rdi)"));
/* With flags that are read behind the accesses. */
SNIPPET(s_flags,
	"cmp %rdx, %rdx\n\tmov (%rdi), %r9" DONE "mov 8(%rdi), %r10" DONE "mov 24(%rdi), %r11" DONE
	"mov -16(%rdi), %r12" DONE
	"jnz 1f\n\tadd %r9, %rax\n\tadd %r10, %rax\n\tadd %r11, %rax\n\tadd %r12, %rax\n1:");

enum { ALL_READ, ALL_WRITE, SECOND_WRITES }; /* SECOND_WRITES: the second and the fourth */

static const struct test {
	const char *name, *snippet;
	int kind;
	long shift; /* where its places begin, from RDI */
} tests[] = {
	{"read", s_read, ALL_READ, 0},	    {"write", s_write, ALL_WRITE, 0},
	{"both", s_both, SECOND_WRITES, 0}, {"values", s_values, ALL_READ, 0},
	{"index", s_index, ALL_READ, 16},   {"fresh", s_fresh, ALL_READ, 0},
	{"flags", s_flags, ALL_READ, 0},
};
static const long place[4] = {0, 8, 24, -16};

static bool writes(const struct test *t, unsigned k)
{
	return t->kind == ALL_WRITE || (t->kind == SECOND_WRITES && k % 2);
}

static uint8_t *byte(ulong va)
{
	return &pages[(va - PAGE(1)) / 4096][va % 4096];
}

static uint64_t get(ulong va)
{
	uint64_t v = 0;

	for (unsigned k = 0; k < 8; k++)
		v |= (uint64_t)*byte(va + k) << 8 * k;
	return v;
}

static void fill(void)
{
	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < 4096; k++)
			pages[i][k] = (uint8_t)(i * 91 + k * 7);
}

/* The bytes are those of fill() but where `done` writes were made. */
static bool memory_right(const struct test *t, ulong va, unsigned done)
{
	bool good = true;

	for (ulong at = PAGE(2) - 64; at < PAGE(2) + 64; at++) {
		ulong i = (at - PAGE(1)) / 4096;
		uint8_t want = (uint8_t)(i * 91 + at % 4096 * 7);

		for (unsigned k = 0; k < done; k++)
			if (writes(t, k) && at - (va + (ulong)place[k]) < 8)
				want = 0xb5;
		good &= *byte(at) == want;
	}
	return good;
}

/* second: the entry of the second page. */
static void run_at(const struct test *t, ulong va, uint64_t second)
{
	unsigned done = 0, error = 0;
	uint64_t sum = 0;
	ulong cr2 = 0;

	pt[2] = second;
	invlpg(PAGE(2));
	fill();
	for (; done < 4; done++) {
		ulong at = va + (ulong)place[done];
		bool w = writes(t, done);

		if (at + 7 >= PAGE(2) && !(second & (w ? 2 : 1))) {
			cr2 = at >= PAGE(2) ? at : PAGE(2);
			error = (w ? 2 : 0) | (second & 1);
			break;
		}
		sum += w ? 0 : get(at);
	}
	in = (struct regs){.bx = 0xb5b5b5b5b5b5b5b5, .dx = 8, .di = va - (ulong)t->shift};
	in.sp = (ulong)bm_stack;
	run_k(t->snippet);
	if (done == 4) {
		check_ok(t->name);
	} else {
		check_trap(t->name, PF, error);
		check_eq("CR2", trap_cr2, cr2);
	}
	check_eq("accesses made", trap.r15, done);
	if (t->snippet != s_flags || done == 4)
		check_eq("what was read", trap.ax, sum);
	check("what was written", memory_right(t, va, done));
}

void image_main(void)
{
	bm_pml4[32] = (ulong)pdpt | 7;
	pdpt[0] = (ulong)pd | 7;
	pd[0] = (ulong)pt | 7;
	pt[1] = (ulong)pages[0] | 3;
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		for (ulong va = PAGE(2) - 36; va < PAGE(2) + 20; va++) {
			run_at(&tests[i], va, (ulong)pages[1] | 3);
			run_at(&tests[i], va, (ulong)pages[1] | 1);
			run_at(&tests[i], va, 0);
		}
	}
}
