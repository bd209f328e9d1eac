/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a user program may do besides computing, again and again: faults, traps, single steps, other
 * segments, instructions that show the machine, new code, much state.  Prints the same on every
 * machine: what an engine that leaves programs to the host may get wrong.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096

/* --- faults --- */
static sigjmp_buf back;
static volatile struct {
	int sig, code;
	int64_t at; /* from the code's begin, or the address for SIGSEGV with one */
	uint64_t addr;
} got;
static uint8_t *code; /* a page, to write code to */
static volatile unsigned steps;

static void caught(int sig, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;

	/* AC is kept for handlers. */
	__asm__ volatile("pushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq" ::: "cc", "memory");
	if (sig == SIGTRAP && info->si_code == TRAP_TRACE) {
		if (++steps >= 20)
			r[REG_EFL] &= ~0x100;
		return;
	}
	got.sig = sig;
	got.code = info->si_code;
	got.at = r[REG_RIP] - (int64_t)code;
	got.addr = sig == SIGSEGV ? (uint64_t)info->si_addr : 0;
	r[REG_EFL] &= ~(greg_t)0x40100;
	siglongjmp(back, 1);
}

static void try(const char *name, const void *bytes, size_t n, uint64_t rdi)
{
	memcpy(code, bytes, n);
	memcpy(code + n, "\xc3", 1);
	memset((void *)&got, 0, sizeof(got));
	if (!sigsetjmp(back, 1))
		((void (*)(uint64_t))code)(rdi);
	printf("%s: signal %d code %d", name, got.sig, got.code);
	if (got.sig && (uint64_t)got.at < PAGE)
		printf(" at %ld", got.at);
	printf(got.addr && got.addr == rdi ? " addr given\n" : " addr %lx\n", got.addr);
}

#define TRY(name, bytes, rdi) try(name, bytes, sizeof(bytes) - 1, rdi)

static void faults(void)
{
	TRY("nothing", "\x90", 0);
	TRY("ud2", "\x90\x0f\x0b", 0);
	TRY("int3", "\x90\xcc", 0);
	TRY("int 3", "\x90\xcd\x03", 0);
	TRY("int 0x21", "\x90\xcd\x21", 0);
	TRY("int 0x80", "\xb8\x14\x00\x00\x00\xcd\x80", 0); /* getpid */
	TRY("hlt", "\x90\xf4", 0);
	TRY("cli", "\x90\x90\xfa", 0);
	TRY("in", "\xec", 0);
	TRY("mov cr0", "\x0f\x20\xc0", 0);
	TRY("read null", "\x48\x8b\x07", 16);
	TRY("write null", "\x48\x89\x07", 4096);
	TRY("read kernel", "\x48\x8b\x07", 0xffffffff81000000);
	TRY("not canonical", "\x48\x8b\x07", 0x900000000000);
	TRY("jump null", "\xff\xe7", 0x20);
	TRY("jump not canonical", "\xff\xe7", 0x900000000000);
	TRY("jump kernel", "\xff\xe7", 0xffffffff81000000);
	TRY("write code", "\x48\x89\x07", (uint64_t) "text");
	TRY("divide", "\x31\xc9\x31\xd2\xf7\xf1", 0);
	TRY("aligned", "\x0f\x28\x07", 0x12341);
	/* ldmxcsr with all but division masked; divss xmm0 (1), xmm1 (0) */
	TRY("sse",
	    "\x68\x80\x1d\x00\x00\x0f\xae\x14\x24\x58\xb8\x01\x00\x00\x00\xf3\x0f\x2a\xc0"
	    "\x0f\x57\xc9\xf3\x0f\x5e\xc1\x68\x80\x1f\x00\x00\x0f\xae\x14\x24\x58",
	    0);
	/* fldcw with division not masked; fld1; fldz; fdivp; fwait; fninit */
	TRY("x87", "\x68\x7b\x03\x00\x00\xd9\x2c\x24\x58\xd9\xe8\xd9\xee\xde\xf9\x9b\xdb\xe3", 0);
	__asm__ volatile("fninit");
	/* AC set, an access that is not aligned */
	TRY("alignment", "\x9c\x81\x0c\x24\x00\x00\x04\x00\x9d\x8b\x07", (uint64_t)&got + 1);
	TRY("mov ds, 1000h", "\xb8\x00\x10\x00\x00\x8e\xd8", 0);
	TRY("mov fs, 1000h", "\xb8\x00\x10\x00\x00\x8e\xe0", 0);
}

/* --- single steps --- */
static void single(void)
{
	steps = 0;
	__asm__ volatile("pushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
			 ".rept 30\n\tincl %%eax\n\t.endr"
			 :
			 :
			 : "eax", "cc", "memory");
	printf("steps %u\n", steps);
}

/* --- segments --- */
static void segments(void)
{
	/* 32-bit: mov eax, esi; inc eax (in 64-bit code that byte is a prefix of the next); nop;
	 * retf */
	static const uint8_t there[] = {0x89, 0xf0, 0x40, 0x90, 0xcb};
	/* Below 4 GiB, where its far return finds back: mov [rdi+16], rsp; mov rsp, rdx; lcall
	 * [rdi]; mov rsp, [rdi+16]; ret */
	static const uint8_t gate[] = {0x48, 0x89, 0x67, 0x10, 0x48, 0x89, 0xd4,
				       0xff, 0x1f, 0x48, 0x8b, 0x67, 0x10, 0xc3};
	uint8_t *low = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	uint32_t cs, ss, ds, es, after, sum = 0, *to = (uint32_t *)(low + 512);

	memcpy(low, there, sizeof(there));
	memcpy(low + 256, gate, sizeof(gate));
	to[0] = (uint32_t)(uintptr_t)low;
	to[1] = 0x23;
	for (unsigned n = 0; n < 100; n++)
		sum = sum * 31 + ((uint32_t(*)(uint32_t *, uint32_t, uint8_t *))(low + 256))(
					 to, n, low + 2 * PAGE - 64);
	__asm__ volatile("movl %%cs, %0\n\tmovl %%ss, %1\n\tmovl %%ds, %2\n\tmovl %%es, %3"
			 : "=r"(cs), "=r"(ss), "=r"(ds), "=r"(es));
	__asm__ volatile("movl %1, %%ds\n\tmovl %%ds, %0\n\tmovl %2, %%ds"
			 : "=r"(after)
			 : "r"(0x2b), "r"(ds));
	printf("segments %x %x %x %x %x, 32-bit code %x\n", cs, ss, ds, es, after, sum);
	munmap(low, 2 * PAGE);
}

/* --- what shows the machine --- */
static int flag(const char *name)
{
	static char text[1 << 16];
	FILE *f;

	if (!*text && (f = fopen("/proc/cpuinfo", "r"))) {
		size_t n = fread(text, 1, sizeof(text) - 1, f);

		text[n] = 0;
		fclose(f);
	}
	return strstr(text, name) != NULL;
}

static void machine(void)
{
	unsigned a, b, c, d, a0, b0, c0, d0, aux, seg, good = 0, same = 0;
	struct timespec t0, t1;
	uint64_t before, after;
	cpu_set_t one;

	__cpuid_count(7, 0, a0, b0, c0, d0);
	for (unsigned n = 0; n < 50; n++) {
		__cpuid_count(7, 0, a, b, c, d);
		same += a == a0 && b == b0 && c == c0 && d == d0;
	}
	__cpuid(1, a, b, c, d);
	printf("cpuid %u %d %d %d\n", same, !(b0 & 1 << 16) == !flag(" avx512f "),
	       !(b0 & 1 << 3) == !flag(" bmi1 "), !(c & 1 << 28) == !flag(" avx "));
	for (unsigned n = 0; n < 3; n++) {
		uint64_t ticks[2], ns;

		clock_gettime(CLOCK_MONOTONIC, &t0);
		before = __builtin_ia32_rdtsc();
		usleep(30000);
		after = __builtin_ia32_rdtscp(&aux);
		clock_gettime(CLOCK_MONOTONIC, &t1);
		ticks[0] = after - before;
		ns = (uint64_t)(t1.tv_sec - t0.tv_sec) * 1000000000 +
		     (uint64_t)(t1.tv_nsec - t0.tv_nsec);
		good += ticks[0] > ns / 4 && ticks[0] < ns * 10;
	}
	CPU_ZERO(&one);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &one);
	sched_setaffinity(0, sizeof(one), &one);
	__builtin_ia32_rdtscp(&aux);
	__asm__ volatile("lsl %1, %0" : "=r"(seg) : "r"(0x7b));
	printf("time %u, processor %d %d\n", good, (int)(aux & 0xfff) == sched_getcpu(),
	       (int)(seg & 0xfff) == sched_getcpu());
	memset(&one, 0xff, sizeof(one));
	sched_setaffinity(0, sizeof(one), &one);
}

/* The call at a fixed address, which a kernel may emulate or not have. */
static void old_call(void)
{
	time_t (*call)(time_t *) = (time_t(*)(time_t *))0xffffffffff600400, t = 0;

	memset((void *)&got, 0, sizeof(got));
	if (!sigsetjmp(back, 1))
		t = call(NULL);
	printf("old call %d\n",
	       got.sig == SIGSEGV || (t > 1000 && labs((long)(t - time(NULL))) < 3));
}

/* --- code --- */
static void new_code(void)
{
	int fd = memfd_create("code", 0);
	uint8_t *w, *x;
	uint64_t sum = 0;

	if (ftruncate(fd, PAGE))
		exit(1);
	w = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	x = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	for (uint32_t n = 0; n < 3000; n++) {
		uint8_t *at = n % 3 ? w : code; /* by an alias, or in place */
		uint8_t *run = n % 3 ? x : code;

		at += n % 5 * 100;
		run += n % 5 * 100;
		*at = 0xb8; /* mov eax, n; ret */
		memcpy(at + 1, &n, 4);
		at[5] = 0xc3;
		sum = sum * 33 + ((uint32_t(*)(void))run)();
		mprotect(code, PAGE, PROT_READ | PROT_EXEC | (n % 7 ? PROT_WRITE : 0));
		mprotect(code, PAGE, PROT_READ | PROT_EXEC | PROT_WRITE);
	}
	printf("new code %lx\n", sum);
}

/* At both ends of what a program may have. */
static void places(uint64_t first, uint64_t end)
{
	uint64_t sum = 0;

	for (uint64_t at = first; at < end; at += PAGE) {
		uint8_t *p = mmap((void *)at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (p == MAP_FAILED || (uint64_t)p != at)
			continue; /* the stack is there */
		if (*p)
			exit(2);
		memcpy(p, "\x8d\x47\x01\xc3", 4); /* lea eax, [rdi+1]; ret */
		if (((uint32_t(*)(uint32_t))p)((uint32_t)(at >> 12)) != (uint32_t)(at >> 12) + 1)
			exit(3);
		sum++;
		munmap(p, PAGE);
		memset((void *)&got, 0, sizeof(got));
		if (!sigsetjmp(back, 1))
			sum += *(volatile uint8_t *)at;
		if (got.sig != SIGSEGV || got.addr != at)
			exit(4);
	}
	printf("places %d\n", sum > 100);
}

/* --- state --- */
static void *vectors(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg, bad = 0;
	_Alignas(32) uint64_t in[16][4], out[16][4];
	uint32_t mxcsr = seed & 1 ? 0x3f80 : 0x1f80, mxcsr_after;
	uint16_t fcw = seed & 1 ? 0x27f : 0x37f, fcw_after;

	for (unsigned n = 0; n < 64; n++)
		in[n / 4][n % 4] = seed * UINT64_C(0x9e3779b97f4a7c15) * (n + 1);
	for (unsigned turn = 0; turn < 3000; turn++) {
		uint64_t ret;
		char *p = turn % 4 ? NULL
				   : mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		char *touch = p ? p : (char *)out;

		__asm__ volatile("ldmxcsr %4\n\tfldcw %5\n\tmovq %2, %%r8\n\t"
				 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
				 "vmovaps \\n*32(%%r8), %%ymm\\n\n\t.endr\n\t"
				 "incb (%6)\n\tmovl %7, %%eax\n\tsyscall\n\t"
				 "movq %3, %%r8\n\t"
				 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
				 "vmovaps %%ymm\\n, \\n*32(%%r8)\n\t.endr\n\t"
				 "stmxcsr %1\n\tfnstcw %8\n\tvzeroupper\n\tfninit"
				 : "=&a"(ret), "=m"(mxcsr_after)
				 : "r"(in), "r"(out), "m"(mxcsr), "m"(fcw), "r"(touch),
				   "i"(SYS_sched_yield), "m"(fcw_after)
				 : "r8", "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
				   "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
				   "xmm12", "xmm13", "xmm14", "xmm15");
		bad += memcmp(in, out, sizeof(in)) != 0 || (mxcsr_after & 0xffc0) != mxcsr ||
		       fcw_after != fcw || ret != 0;
		if (p)
			munmap(p, PAGE);
	}
	mxcsr = 0x1f80;
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	return (void *)(uintptr_t)bad;
}

static void threads(void)
{
	pthread_t t[3];
	uintptr_t bad = 0;
	void *r;

	for (uintptr_t n = 0; n < 3; n++)
		pthread_create(&t[n], NULL, vectors, (void *)(n + 5));
	for (unsigned n = 0; n < 3; n++) {
		pthread_join(t[n], &r);
		bad += (uintptr_t)r;
	}
	printf("vectors bad %lu\n", bad);
}

/* Pages that two processes share until one writes. */
static void copies(void)
{
	uint32_t *m =
		mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;
	int status;

	for (unsigned turn = 0; turn < 10; turn++) {
		pid_t pid;

		for (unsigned n = 0; n < 64; n++)
			m[n * 1024] += n + turn;
		pid = fork();
		if (!pid) {
			for (unsigned n = 0; n < 64; n += 2)
				m[n * 1024] = 77;
			for (unsigned n = 0; n < 64; n++)
				sum += m[n * 1024];
			_exit((int)(sum & 0x7f));
		}
		for (unsigned n = 1; n < 64; n += 3)
			m[n * 1024] ^= 5;
		waitpid(pid, &status, 0);
		for (unsigned n = 0; n < 64; n++)
			sum = sum * 31 + m[n * 1024];
		sum += (uint64_t)status;
		if (turn % 2)
			m = mremap(m, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				   (void *)(0x600000000000 + (uint64_t)turn * (1 << 30)));
	}
	printf("copies %lx\n", sum);
}

static void bases(void)
{
	uint64_t gs = 0x123456789000, fs, now;

	__asm__ volatile("wrgsbase %1\n\trdgsbase %0" : "=r"(now) : "r"(gs));
	__asm__ volatile("rdfsbase %0" : "=r"(fs));
	getppid();
	__asm__ volatile("rdgsbase %0" : "=r"(gs));
	printf("bases %d %d\n", now == gs && gs == 0x123456789000, fs == (uint64_t)pthread_self());
}

int main(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	static uint8_t stack[64 << 10];
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};

	sigaltstack(&alt, NULL);
	for (unsigned n = 0; n < sizeof(signals) / sizeof(*signals); n++)
		sigaction(signals[n], &sa, NULL);
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	for (unsigned turn = 0; turn < 3; turn++) {
		volatile uint64_t spin = 0;

		/* Long enough for an engine to think about. */
		for (unsigned n = 0; n < 30000000; n++)
			spin += n;
		printf("turn %u %lx\n", turn, (unsigned long)spin);
		faults();
		single();
		segments();
		machine();
		old_call();
		new_code();
		places(0x200000, 0x400000);
		places(0x7fffffe00000, 0x7ffffffff000);
		threads();
		copies();
		bases();
	}
	return 0;
}
