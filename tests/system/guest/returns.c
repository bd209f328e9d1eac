/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls, returns and stacks of every kind, in a user program that runs for seconds: what an engine
 * that predicts returns, or knows where the stack is, may get wrong.  Prints sums, the same on
 * every machine.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define KEEP __attribute__((noinline, noclone))
#define STACK (256 << 10)

static uint64_t mix(uint64_t a, uint64_t b)
{
	return (a ^ b) * UINT64_C(0x9e3779b97f4a7c15) + (a >> 29);
}

/* Deeper than any stack of expected returns. */
static KEEP uint64_t deep(unsigned n, uint64_t x)
{
	if (!n)
		return x;
	return mix(deep(n - 1, x + n), n);
}

/* Left at once from far below, again and again. */
static jmp_buf back;

static KEEP void dive(unsigned n)
{
	volatile unsigned keep = n;

	if (!n)
		longjmp(back, 7);
	dive(n - 1);
	keep++;
}

static KEEP uint64_t jumps(unsigned n)
{
	volatile uint64_t sum = 0;
	volatile unsigned k;

	for (k = 0; k < n; k++) {
		int r = setjmp(back);

		if (!r)
			dive(k % 50);
		sum = mix(sum, (uint64_t)r + deep(k % 20, k));
	}
	return sum;
}

/* Coroutines whose stacks lie anywhere. */
static ucontext_t here, there[4];
static uint64_t from_there;

static void coroutine(int id)
{
	for (uint64_t k = 0;; k++) {
		from_there = deep((unsigned)(k + (unsigned)id) % 30, k * (uint64_t)id);
		swapcontext(&there[id], &here);
	}
}

static uint64_t coroutines(unsigned turns)
{
	static const uintptr_t at[4] = {0x20000000, 0x100000000000, 0xc000000000, 0};
	uint64_t sum = 0;

	for (int id = 0; id < 4 && !there[3].uc_stack.ss_sp; id++) {
		void *p = mmap((void *)at[id], STACK, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | (at[id] ? MAP_FIXED_NOREPLACE : 0), -1,
			       0);

		if (p == MAP_FAILED)
			exit(1);
		getcontext(&there[id]);
		there[id].uc_stack.ss_sp = p;
		there[id].uc_stack.ss_size = STACK;
		makecontext(&there[id], (void (*)(void))coroutine, 1, id);
	}
	for (unsigned k = 0; k < turns; k++) {
		swapcontext(&here, &there[(k * 7 + k / 5) % 4]);
		sum = mix(sum, from_there);
	}
	return sum;
}

/* Returns that no call belongs to; calls that are never returned from; stack pointers set by all
 * means. */
static KEEP uint64_t odd(uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t k = 0; k < n; k++) {
		uint64_t r;

		__asm__ volatile(
			"call 1f\n1:\tpop %0\n\tlea 2f(%%rip), %%rax\n\tpush %%rax\n\tret\n\tud2\n"
			"2:\tlea 3f(%%rip), %%rcx\n\tsub %%rax, %%rcx\n\tcall 4f\n\tud2\n"
			"4:\tadd %%rcx, (%%rsp)\n\tlea 6f(%%rip), %%rdx\n\tmov %%rdx, "
			"(%%rsp)\n\tret\n"
			"3:\tud2\n6:\tsub %0, %%rax\n\tmov %%rax, %0\n"
			: "=&r"(r)
			:
			: "rax", "rcx", "rdx", "memory", "cc");
		sum = mix(sum, r);
		__asm__ volatile("mov %%rsp, %%rax\n\tsub $4096, %%rsp\n\tand $-64, %%rsp\n\tmov "
				 "%%rax, (%%rsp)\n\t"
				 "lea -8192(%%rsp), %%rsp\n\tadd $8192, %%rsp\n\tpop %%rsp\n\t"
				 "push %%rbp\n\tmov %%rsp, %%rbp\n\tsub $256, %%rsp\n\tmov %1, "
				 "8(%%rsp)\n\tmov 8(%%rsp), %0\n\t"
				 "leave\n\tmov %%rsp, %%rax\n\txchg %%rsp, %%rax\n\t"
				 "mov $4000000, %%ecx\n1:\tsub $64, %%rsp\n\tdec %%ecx\n\ttest "
				 "$0xff, %%cl\n\tjnz 1b\n\t"
				 "mov %%rax, %%rsp\n"
				 : "=&r"(r)
				 : "r"(k)
				 : "rax", "rcx", "memory", "cc");
		sum = mix(sum, r);
	}
	return sum;
}

/* Arithmetic flags go through calls and returns. */
__asm__(".text\nset_all:\n\tmov $0x80000000, %eax\n\tadd %eax, %eax\n\tret\n"
	"set_none:\n\tor $1, %al\n\tret\n"
	"pass:\n\tpush %rbx\n\tpop %rbx\n\tlea 8(%rsp), %rsp\n\tlea -8(%rsp), %rsp\n\tret\n");

static KEEP uint64_t flags(uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t k = 0; k < n; k++) {
		uint64_t a, b, c;

		__asm__ volatile("call set_all\n\tpushfq\n\tpop %0\n\tcall set_none\n\tseto "
				 "%%al\n\tsetz %%ah\n\t"
				 "movzx %%ax, %k1\n\tcmp %3, %1\n\tcall pass\n\tadc $5, %1\n\t"
				 "stc\n\tcall pass\n\tlahf\n\tmovzx %%ax, %k2\n"
				 : "=&r"(a), "=&r"(b), "=&r"(c)
				 : "r"(k)
				 : "rax", "cc", "memory");
		sum = mix(sum, (a & 0x8d5) + b * 3 + (c & 0xff00));
	}
	return sum;
}

/* A stack that runs away is the program's own fault, and is told so. */
static KEEP void run_away(uint64_t start)
{
	__asm__ volatile("mov %0, %%rsp\n\tmov $3000000, %%ecx\n1:\tsub $65528, %%rsp\n\tdec "
			 "%%ecx\n\tjnz 1b\n\t"
			 "push %%rax\n" ::"r"(start)
			 : "rcx");
}

static int fate(uint64_t start, int read)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (read)
			__asm__ volatile("mov %0, %%rsp\n\tmov (%%rsp), %%rax\n" ::"r"(start)
					 : "rax");
		else
			run_away(start);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -1;
}

/* Handlers run on a low stack, in the middle of all the others. */
static volatile uint64_t ticks, handled;

static void tick(int sig)
{
	ticks++;
	handled |= deep(12, (uint64_t)sig) == deep(12, (uint64_t)sig);
}

int main(void)
{
	void *low = mmap((void *)0x30000000, STACK, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	stack_t stack = {.ss_sp = low, .ss_size = STACK};
	struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_ONSTACK | SA_RESTART};
	struct itimerval often = {{0, 3000}, {0, 3000}};

	if (low == MAP_FAILED || sigaltstack(&stack, NULL) || sigaction(SIGALRM, &sa, NULL))
		return 1;
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned turn = 0; turn < 30; turn++) {
		printf("%u deep %lx\n", turn, deep(60000, turn));
		printf("%u jumps %lx\n", turn, jumps(20000));
		printf("%u coroutines %lx\n", turn, coroutines(20000));
		printf("%u flags %lx\n", turn, flags(100000));
		printf("%u odd %lx\n", turn, odd(20000));
	}
	printf("fates %d %d %d %d\n", fate(0x7fffffff0000, 1), fate(0x8000000000000000, 1),
	       fate(0x7f8000000000, 0), fate((uint64_t)&sa & ~UINT64_C(15), 0));
	printf("handlers %d\n", ticks > 20 && handled);
	return 0;
}
