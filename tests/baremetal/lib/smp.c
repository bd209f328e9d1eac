/* SPDX-License-Identifier: Apache-2.0 */
/* The other processors: from real mode to a loop that runs what it is given (SDM 3A 8.4). */
#include "smp.h"

#define VEC_WAKE 0xf1
#define WAIT_CYCLES 300000000000ul /* a minute or two */

extern const char tramp[], tramp_end[];
volatile uint32_t ap_arrived;
uint8_t ap_stacks[BM_CPUS][8192] __attribute__((aligned(16)));

__asm__(".pushsection .text\n"
	".code16\n"
	"tramp:	cli\n"
	"	mov %cs, %ax\n"
	"	mov %ax, %ds\n"
	"	lgdtl tramp_gdtr - tramp\n"
	"	mov %cr0, %eax\n"
	"	or $1, %al\n"
	"	and $0x9fffffff, %eax\n"
	"	mov %eax, %cr0\n"
	"	ljmpl $0x30, $ap32\n"
	"	.balign 4\n"
	"tramp_gdtr: .word 64 * 8 - 1\n"
	"	.long gdt\n"
	"tramp_end:\n"
	".code32\n"
	"ap32:	mov $0x10, %eax\n"
	"	mov %eax, %ds\n"
	"	mov %eax, %ss\n"
	"	mov %eax, %es\n"
	"	mov $0x620, %eax\n"
	"	mov %eax, %cr4\n"
	"	mov $bm_pml4, %eax\n"
	"	mov %eax, %cr3\n"
	"	mov $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	or $0x901, %eax\n"
	"	wrmsr\n"
	"	mov $0x80010033, %eax\n"
	"	mov %eax, %cr0\n"
	"	ljmp $0x08, $ap64\n"
	".code64\n"
	"ap64:	mov $1, %eax\n"
	"	cpuid\n"
	"	shr $24, %ebx\n"
	"	mov %ebx, %edi\n"
	"	shl $13, %ebx\n"
	"	lea ap_stacks + 8192(%rbx), %rsp\n"
	"	lock incl ap_arrived\n"
	"	call ap_main\n"
	"	ud2\n"
	".popsection");

static void (*volatile work)(unsigned id);
volatile uint32_t smp_go, smp_finished;

static bool wake_hook(struct regs *r)
{
	eoi();
	return true;
}

/* All run the function when smp_go becomes their round, and are halted else: the host may have
 * fewer processors. */
void ap_main(unsigned id);
void ap_main(unsigned id)
{
	uint32_t seen = 0;

	idt_load(256 * 16 - 1);
	APIC(0xf0) = 0x1ff;
	for (;;) {
		while (smp_go == seen)
			__asm__ volatile("sti\n\thlt\n\tcli" ::: "memory");
		seen = smp_go;
		work(id);
		__atomic_fetch_add(&smp_finished, 1, __ATOMIC_SEQ_CST);
	}
}

void ipi(unsigned id, uint32_t lo)
{
	APIC(ICR_HI) = id << 24;
	APIC(ICR_LO) = lo;
	while (APIC(ICR_LO) & 0x1000)
		pause();
}

void delay(void)
{
	for (unsigned i = 0; i < 20000; i++)
		pause();
}

bool wait_for(volatile uint32_t *v, uint32_t want)
{
	uint64_t start = rdtsc();

	while (*v != want) {
		if (rdtsc() - start > WAIT_CYCLES)
			return false;
		pause();
	}
	return true;
}

void start_all(void)
{
	bm_hook[VEC_WAKE] = wake_hook;
	APIC(0xf0) = 0x1ff;
	__builtin_memcpy((void *)(ulong)TRAMPOLINE, tramp, (size_t)(tramp_end - tramp));
	for (unsigned id = 1; id <= N_AP; id++) {
		ipi(id, 0x4500); /* INIT, assert */
		delay();
		ipi(id, 0x4600 | TRAMPOLINE >> 12);
		delay();
		ipi(id, 0x4600 | TRAMPOLINE >> 12); /* ignored if the first one worked */
	}
	check("all processors arrive", wait_for(&ap_arrived, N_AP));
	delay();
	check_eq("each once", ap_arrived, N_AP);
}

void others(void (*fn)(unsigned id))
{
	smp_finished = 0;
	work = fn;
	__atomic_fetch_add(&smp_go, 1, __ATOMIC_SEQ_CST);
	APIC(ICR_LO) = ALL_BUT_SELF | VEC_WAKE;
}

void all(void (*fn)(unsigned id))
{
	others(fn);
	fn(0);
	check("all finish", wait_for(&smp_finished, N_AP));
}
