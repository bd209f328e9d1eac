/* SPDX-License-Identifier: Apache-2.0 */
/* Several processors: INIT and SIPI, locked operations under contention, memory order, IPIs, TLB
 * shootdown, cross-modifying code, INIT of a running processor (SDM 3A 8). */
/* bm: bits=64 cpus=4 */
#include "smp.h"

#define ROUNDS 20000u

/* --- contention --- */
static uint64_t counter __attribute__((aligned(64)));
static struct {
	uint8_t pad[61];
	uint32_t v;
} __attribute__((packed, aligned(64))) split;
static uint8_t page_split[8192] __attribute__((aligned(4096)));
static uint64_t pair[2] __attribute__((aligned(16)));
static uint32_t bits;
static volatile uint32_t spin;
static uint32_t guarded;

static void add(unsigned id)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		__asm__ volatile("lock addq $1, %0" : "+m"(counter));
}

static void add_split(unsigned id)
{
	for (unsigned i = 0; i < ROUNDS / 40; i++) {
		__asm__ volatile("lock incl %0" : "+m"(split.v));
		__asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)(page_split + 4094)));
	}
}

static void cmpxchg(unsigned id)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t old = counter;

		while (!__atomic_compare_exchange_n(&counter, &old, old + 3, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
	}
}

static void cmpxchg16(unsigned id)
{
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		uint64_t lo = pair[0], hi = pair[1];
		uint8_t ok;

		do {
			__asm__ volatile("lock cmpxchg16b %1\n\tsetz %0"
					 : "=q"(ok), "+m"(pair), "+a"(lo), "+d"(hi)
					 : "b"(lo + 1), "c"(hi + 2));
		} while (!ok);
	}
}

static void bit_ops(unsigned id)
{
	for (unsigned i = 0; i < ROUNDS / 2; i++) {
		__asm__ volatile("lock btsl %1, %0" : "+m"(bits) : "r"(id));
		__asm__ volatile("lock btrl %1, %0" : "+m"(bits) : "r"(id));
		__asm__ volatile("lock xorl %1, %0" : "+m"(bits) : "r"(1u << (id + 8)));
	}
}

static void spinlock(unsigned id)
{
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		while (__atomic_exchange_n(&spin, 1, __ATOMIC_ACQUIRE))
			pause();
		guarded++;
		__atomic_store_n(&spin, 0, __ATOMIC_RELEASE);
	}
}

static void contention(void)
{
	all(add);
	check_eq("LOCK ADD", counter, (N_AP + 1) * ROUNDS);
	all(add_split);
	check_eq("LOCK INC across cache lines", split.v, (N_AP + 1) * (ROUNDS / 40));
	check_eq("LOCK INC across pages", *(uint32_t *)(page_split + 4094),
		 (N_AP + 1) * (ROUNDS / 40));
	counter = 0;
	all(cmpxchg);
	check_eq("LOCK CMPXCHG", counter, 3 * (N_AP + 1) * ROUNDS);
	all(cmpxchg16);
	check_eq("LOCK CMPXCHG16B, low", pair[0], (N_AP + 1) * (ROUNDS / 4));
	check_eq("LOCK CMPXCHG16B, high", pair[1], 2 * (N_AP + 1) * (ROUNDS / 4));
	all(bit_ops);
	check_eq("LOCK BTS, BTR, XOR", bits, 0);
	all(spinlock);
	check_eq("a spin lock of XCHG", guarded, (N_AP + 1) * (ROUNDS / 4));
}

/* --- store buffering: with fences, not both may read 0 --- */
static volatile uint32_t sb_x, sb_y, sb_r[2], sb_start[2], sb_both;

static void store_buffer(unsigned id)
{
	if (id > 1)
		return;
	for (uint32_t round = 1; round <= 2000; round++) {
		sb_start[id] = round;
		while (sb_start[!id] < round)
			pause();
		if (id == 0)
			sb_x = round;
		else
			sb_y = round;
		__asm__ volatile("mfence" ::: "memory");
		sb_r[id] = id == 0 ? sb_y == round : sb_x == round;
		__asm__ volatile("mfence" ::: "memory");
		/* Meet again before looking. */
		{
			static volatile uint32_t done[2];

			done[id] = round;
			while (done[!id] < round)
				pause();
		}
		if (id == 0 && !sb_r[0] && !sb_r[1])
			sb_both++;
		{
			static volatile uint32_t next[2];

			next[id] = round;
			while (next[!id] < round)
				pause();
		}
	}
}

/* --- IPIs --- */
static volatile uint32_t irqs, irq_cpus, nmis;

static bool irq_hook(struct regs *r)
{
	__atomic_fetch_or(&irq_cpus, 1u << (APIC(0x20) >> 24), __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&irqs, 1, __ATOMIC_SEQ_CST);
	APIC(0xb0) = 0;
	return true;
}

static bool nmi_hook(struct regs *r)
{
	__atomic_fetch_add(&nmis, 1, __ATOMIC_SEQ_CST);
	return true;
}

static volatile uint32_t waiting;

/* Wait in HLT for 100 interrupts or more. */
static void halted(unsigned id)
{
	__atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
	while (irqs < 100)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
}

static void spinning(unsigned id)
{
	__asm__ volatile("sti");
	__atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
	while (irqs < 3)
		pause();
	__asm__ volatile("cli");
}

static void ipis(void)
{
	bm_hook[0x40] = irq_hook;
	bm_hook[NMI] = nmi_hook;
	APIC(0xf0) = 0x1ff;
	others(spinning);
	wait_for(&waiting, N_AP);
	APIC(ICR_LO) = 0xc0000 | 0x40; /* all but self */
	check("all finish spinning", wait_for(&smp_finished, N_AP));
	check_eq("one interrupt each", irqs, N_AP);
	check_eq("on all of them", irq_cpus, 0xe);
	irqs = waiting = 0;
	others(halted);
	wait_for(&waiting, N_AP);
	for (unsigned i = 0; i < 1000 && smp_finished != N_AP; i++) {
		uint32_t before = irqs;

		ipi(1 + i % N_AP, 0x4040);
		for (unsigned j = 0; j < 1000000 && irqs == before && smp_finished != N_AP; j++)
			pause();
	}
	check("halted processors are woken", irqs >= 100);
	for (unsigned i = 0; i < 100 && smp_finished != N_AP; i++) {
		APIC(ICR_LO) = 0xc0000 | 0x40;
		delay();
	}
	check_eq("and finish", smp_finished, N_AP);
	APIC(ICR_LO) = 0xc0000 | 0x400;
	check("NMI to all the others", wait_for(&nmis, N_AP));
}

/* --- TLB shootdown: a page is taken away under readers --- */
static volatile uint32_t stop, acked;
static volatile uint8_t *const shared = (void *)0x100000000000ul;
static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t pages[2][4096] __attribute__((aligned(4096)));
static volatile uint32_t stale;
static volatile uint32_t current;

static bool flush_hook(struct regs *r)
{
	invlpg((ulong)shared);
	__atomic_fetch_add(&acked, 1, __ATOMIC_SEQ_CST);
	APIC(0xb0) = 0;
	return true;
}

static void reader(unsigned id)
{
	__asm__ volatile("sti");
	while (!stop) {
		uint32_t before = current;
		uint8_t v = *shared;

		/* current is odd while the mapping changes. */
		if (!(before & 1) && current == before && v != (before >> 1 & 1))
			__atomic_fetch_add(&stale, 1, __ATOMIC_SEQ_CST);
	}
	__asm__ volatile("cli");
}

static void shootdown(void)
{
	unsigned lost = 0;

	bm_hook[0x41] = flush_hook;
	bm_pml4[32] = (ulong)pdpt | 7;
	pdpt[0] = (ulong)pd | 7;
	pd[0] = (ulong)pt | 7;
	pages[0][0] = 0;
	pages[1][0] = 1;
	pt[0] = (ulong)pages[0] | 7;
	others(reader);
	for (unsigned i = 1; i <= 300; i++) {
		current = i * 2 - 1;
		pt[0] = (ulong)pages[i & 1] | 7;
		acked = 0;
		APIC(ICR_LO) = 0xc0000 | 0x41;
		invlpg((ulong)shared);
		lost += !wait_for(&acked, N_AP);
		current = i * 2;
	}
	stop = 1;
	check("readers stop", wait_for(&smp_finished, N_AP));
	check_eq("no IPI lost", lost, 0);
	check_eq("nobody reads through a stale translation", stale, 0);
}

/* --- cross-modifying code --- */
static uint8_t code[64] __attribute__((aligned(64)));
static volatile uint32_t version, wrong, runs;

/* Runs the code after each announced change, with a serializing instruction between (SDM 3A 8.1.3).
 */
static void runner(unsigned id)
{
	uint32_t seen = 0;

	while (seen < 500) {
		uint32_t r[4], got;

		while (version == seen)
			pause();
		seen = version;
		cpuid(0, 0, r);
		__asm__ volatile("call *%1" : "=a"(got) : "r"(code) : "memory");
		if (got != seen)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&runs, 1, __ATOMIC_SEQ_CST);
	}
}

static void cross_modify(void)
{
	code[0] = 0xb8; /* mov $n, %eax; ret */
	code[5] = 0xc3;
	others(runner);
	for (uint32_t n = 1; n <= 500; n++) {
		for (unsigned i = 0; i < 4; i++)
			code[1 + i] = (uint8_t)(n >> (8 * i));
		runs = 0;
		__atomic_store_n(&version, n, __ATOMIC_SEQ_CST);
		wait_for(&runs, N_AP);
	}
	check("runners finish", wait_for(&smp_finished, N_AP));
	check_eq("each change is run by all", wrong, 0);
}

static volatile uint64_t kept[4];

static void look(unsigned id)
{
	kept[0] = rdmsr(MSR_LSTAR);
	kept[1] = rd_dr0();
	kept[2] = rd_cr2();
	__asm__ volatile("movq %%xmm7, %0" : "=r"(kept[3]));
}

static void for_ever(unsigned id)
{
	wrmsr(MSR_LSTAR, 0x123456789);
	wr_dr0(0x1000);
	wr_cr2(0x2000);
	__asm__ volatile("movq %0, %%xmm7" : : "r"(0x55ul));
	__atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

/* INIT stops a running processor and SIPI starts it anew. */
static void init_again(void)
{
	waiting = 0;
	others(for_ever);
	check("all are busy", wait_for(&waiting, N_AP));
	ap_arrived = 0;
	ipi(1, 0x4500);
	delay();
	check_eq("INIT only stops", ap_arrived, 0);
	smp_go = 0; /* a fresh one starts with having seen 0 */
	ipi(1, 0x4600 | TRAMPOLINE >> 12);
	check("SIPI starts it again", wait_for(&ap_arrived, 1));
	others(look);
	check("it works again", wait_for(&smp_finished, 1));
	check_eq("INIT keeps MSRs", kept[0], 0x123456789);
	check_eq("INIT clears debug registers", kept[1], 0);
	check_eq("INIT clears CR2", kept[2], 0);
	check_eq("INIT keeps vector registers", kept[3], 0x55);
}

void image_main(void)
{
	check_eq("the boot processor has APIC ID 0", APIC(0x20) >> 24, 0);
	start_all();
	contention();
	all(store_buffer);
	check_eq("MFENCE keeps order", sb_both, 0);
	ipis();
	shootdown();
	cross_modify();
	init_again();
}
