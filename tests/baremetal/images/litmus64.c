/* SPDX-License-Identifier: Apache-2.0 */
/* Litmus tests of x86's memory order among processors (SDM 3A 8.2): store buffering, message
 * passing, load buffering, independent reads of independent writes, with plain accesses, fences and
 * locked operations, aligned and across cache lines and pages; and counters under contention, exact
 * to the last.  scale=N runs N times as many rounds. */
/* bm: bits=64 cpus=4 */
#include "smp.h"

#define CPUS BM_CPUS
#define BATCH 256u
#define BATCHES (40 * bm_scale / few)
#define LOCKS (3000 * bm_scale / few)
#define LINE 128ul

/* Words of the tests; stride LINE or 4096. */
static uint8_t room_x[(BATCH + 1) * 4096] __attribute__((aligned(4096)));
static uint8_t room_y[(BATCH + 1) * 4096] __attribute__((aligned(4096)));
static volatile uint64_t turn[CPUS][16] __attribute__((aligned(128)));

/* The words of the round in work, and what each has read in it. */
struct words {
	volatile uint64_t *x, *y;
	uint64_t *r;
};
static uint64_t reg[CPUS][BATCH][2];

/* One litmus test: what each processor does in a round, with the words at 0 before; and whether
 * what was read is what the test is about: forbidden, or only told.  Rounds are done in batches, on
 * words of their own, by processors that start each batch together. */
struct litmus {
	const char *name;
	void (*body)(unsigned id, struct words w);
	bool (*seen)(unsigned i);
	unsigned cpus;
	bool allowed;
	ulong off, stride; /* of the words: 0, LINE */
};

static const struct litmus *now;
static ulong few = 1; /* do so much less */
static ulong seen;
static uint64_t epoch; /* batches never go back */

static volatile uint64_t *word(uint8_t *room, unsigned i)
{
	return (volatile uint64_t *)(room + now->off + i * (now->stride ? now->stride : LINE));
}

static void meet(unsigned id, uint64_t n)
{
	turn[id][0] = n;
	for (unsigned i = 0; i < now->cpus; i++)
		while (turn[i][0] < n)
			pause();
}

static void clear_and_count(void)
{
	for (unsigned i = 0; i < BATCH; i++) {
		seen += now->seen(i);
		*word(room_x, i) = *word(room_y, i) = 0;
	}
}

static void batches(unsigned id)
{
	if (id >= now->cpus)
		return;
	for (uint64_t b = 1; b <= BATCHES; b++) {
		meet(id, epoch + 2 * b);
		for (uint64_t n = (b * 2654435761u >> (3 * id)) & 63; n; n--)
			__asm__ volatile(""); /* not always in the same step */
		for (unsigned i = 0; i < BATCH; i++)
			now->body(id, (struct words){word(room_x, i), word(room_y, i), reg[id][i]});
		meet(id, epoch + 2 * b + 1);
		if (id == 0)
			clear_and_count();
	}
}

static void run(const struct litmus *t)
{
	now = t;
	for (unsigned i = 0; i < BATCH; i++)
		*word(room_x, i) = *word(room_y, i) = 0;
	seen = 0;
	all(batches);
	epoch += 2 * BATCHES + 2;
	if (!t->allowed) {
		check_eq(t->name, seen, 0);
		return;
	}
	bm_print("info ");
	bm_print(t->name);
	bm_print(": seen 0x");
	bm_hex(seen);
	bm_print(" times in 0x");
	bm_hex(BATCHES * BATCH);
	bm_print("\n");
}

/* --- the accesses --- */

static inline void store(volatile uint64_t *p, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*p) : "r"(v) : "memory");
}

static inline uint64_t load(volatile uint64_t *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p) : "memory");
	return v;
}

static inline uint64_t load_sse(volatile uint64_t *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %%xmm1\n\tmovq %%xmm1, %0" : "=r"(v) : "m"(*p) : "memory");
	return v;
}

static inline void mfence(void)
{
	__asm__ volatile("mfence" ::: "memory");
}

static void lock_elsewhere(void)
{
	static uint64_t dummy[16];

	__asm__ volatile("lock addq $0, %0" : "+m"(dummy) : : "memory", "cc");
}

static void serialize(void)
{
	uint32_t r[4];

	cpuid(0, 0, r);
}

#define ASM(text, ...) __asm__ volatile(text __VA_ARGS__ : "memory", "cc")

static void xchg(volatile uint64_t *p)
{
	uint64_t one = 1;

	ASM("xchgq %0, %1", : "+r"(one), "+m"(*p) :);
}

static void xadd(volatile uint64_t *p)
{
	uint64_t one = 1;

	ASM("lock xaddq %0, %1", : "+r"(one), "+m"(*p) :);
}

static void cmpxchg(volatile uint64_t *p)
{
	uint64_t zero = 0;

	ASM("lock cmpxchgq %2, %1", : "+a"(zero), "+m"(*p) : "r"(1ul));
}

static void cmpxchg16(volatile uint64_t *p)
{
	uint64_t lo = 0, hi = 0;

	ASM("lock cmpxchg16b (%2)", : "+a"(lo), "+d"(hi) : "r"(p), "b"(1ul), "c"(0ul));
}

static void inc(volatile uint64_t *p)
{
	ASM("lock incq %0", : "+m"(*p) :);
}

static void bts(volatile uint64_t *p)
{
	ASM("lock btsq $0, %0", : "+m"(*p) :);
}

static void stos(volatile uint64_t *p)
{
	ASM("stosq", : "+D"(p) : "a"(1ul));
}

static void push(volatile uint64_t *p)
{
	__asm__ volatile("mov %%rsp, %%rdx\n\tlea 8(%0), %%rsp\n\tpush $1\n\tmov %%rdx, %%rsp"
			 :
			 : "r"(p)
			 : "rdx", "memory");
}

static void none(void)
{
}

static void put(volatile uint64_t *p)
{
	store(p, 1);
}

/* 0 writes x and reads y; 1 writes y and reads x. */
#define SB(name, put, fence)                               \
	static void sb_##name(unsigned id, struct words w) \
	{                                                  \
		put(id ? w.y : w.x);                       \
		fence();                                   \
		w.r[0] = load(id ? w.x : w.y);             \
	}
SB(plain, put, none)
SB(mfence, put, mfence)
SB(lock, put, lock_elsewhere)
SB(cpuid, put, serialize)
SB(xchg, xchg, none)
SB(xadd, xadd, none)
SB(inc, inc, none)
SB(cmpxchg, cmpxchg, none)
SB(cmpxchg16, cmpxchg16, none)
SB(bts, bts, none)

static bool both_zero(unsigned i)
{
	return !reg[0][i][0] && !reg[1][i][0];
}

/* 0 writes x, then y; 1 reads y, then x. */
#define MP(name, put_x, put_y, get)                        \
	static void mp_##name(unsigned id, struct words w) \
	{                                                  \
		if (id == 0) {                             \
			put_x(w.x);                        \
			put_y(w.y);                        \
			return;                            \
		}                                          \
		w.r[0] = get(w.y);                         \
		w.r[1] = get(w.x);                         \
	}
MP(plain, put, put, load)
MP(sse, put, put, load_sse)
MP(stos, stos, put, load)
MP(push, put, push, load)
MP(locked, inc, put, load)

static bool new_then_old(unsigned i)
{
	return reg[1][i][0] && !reg[1][i][1];
}

static void lb(unsigned id, struct words w)
{
	w.r[0] = load(id ? w.y : w.x);
	store(id ? w.x : w.y, 1);
}

static bool both_one(unsigned i)
{
	return reg[0][i][0] && reg[1][i][0];
}

/* 0 writes x; 1 reads x and writes y with it; 2 reads y, then x. */
static void wrc(unsigned id, struct words w)
{
	if (id == 0) {
		store(w.x, 1);
	} else if (id == 1) {
		store(w.y, load(w.x));
	} else {
		w.r[0] = load(w.y);
		w.r[1] = load(w.x);
	}
}

static bool effect_without_cause(unsigned i)
{
	return reg[2][i][0] && !reg[2][i][1];
}

/* 0 writes x, 1 writes y; 2 reads x, y and 3 reads y, x. */
#define IRIW(name, put)                                      \
	static void iriw_##name(unsigned id, struct words w) \
	{                                                    \
		if (id < 2) {                                \
			put(id ? w.y : w.x);                 \
			return;                              \
		}                                            \
		w.r[0] = load(id == 2 ? w.x : w.y);          \
		w.r[1] = load(id == 2 ? w.y : w.x);          \
	}
IRIW(plain, put)
IRIW(locked, inc)

static bool orders_differ(unsigned i)
{
	return reg[2][i][0] && !reg[2][i][1] && reg[3][i][0] && !reg[3][i][1];
}

static void orders(void)
{
	static const struct litmus tests[] = {
		{"SB", sb_plain, both_zero, 2, true, 0, 0},
		{"SB, MFENCE", sb_mfence, both_zero, 2, false, 0, 0},
		{"SB, LOCK elsewhere", sb_lock, both_zero, 2, false, 0, 0},
		{"SB, CPUID", sb_cpuid, both_zero, 2, false, 0, 0},
		{"SB, XCHG", sb_xchg, both_zero, 2, false, 0, 0},
		{"SB, LOCK XADD", sb_xadd, both_zero, 2, false, 0, 0},
		{"SB, LOCK INC", sb_inc, both_zero, 2, false, 0, 0},
		{"SB, LOCK CMPXCHG", sb_cmpxchg, both_zero, 2, false, 0, 0},
		{"SB, LOCK CMPXCHG16B", sb_cmpxchg16, both_zero, 2, false, 0, 0},
		{"SB, LOCK BTS", sb_bts, both_zero, 2, false, 0, 0},
		{"SB, XCHG misaligned", sb_xchg, both_zero, 2, false, 3, 0},
		{"MP", mp_plain, new_then_old, 2, false, 0, 0},
		{"MP, a page each", mp_plain, new_then_old, 2, false, 8, 4096},
		{"MP, vector loads", mp_sse, new_then_old, 2, false, 0, 0},
		{"MP, STOSQ", mp_stos, new_then_old, 2, false, 0, 0},
		{"MP, PUSH", mp_push, new_then_old, 2, false, 0, 0},
		{"MP, locked", mp_locked, new_then_old, 2, false, 0, 0},
		{"LB", lb, both_one, 2, false, 0, 0},
		{"WRC", wrc, effect_without_cause, 3, false, 0, 0},
		{"IRIW", iriw_plain, orders_differ, 4, false, 0, 0},
		{"IRIW, locked stores", iriw_locked, orders_differ, 4, false, 0, 0},
	};
	/* Locked operations that no host instruction does at once: fewer, they stop the world. */
	static const struct litmus split[] = {
		{"SB, XCHG across lines", sb_xchg, both_zero, 2, false, 61, 0},
		{"SB, LOCK INC across pages", sb_inc, both_zero, 2, false, 4092, 4096},
		{"SB, LOCK elsewhere, plain across pages", sb_lock, both_zero, 2, true, 4090, 4096},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		few = tests[i].cpus > 2 ? 10 : 1; /* the host may have two processors */
		run(&tests[i]);
	}
	few = 20;
	for (unsigned i = 0; i < ARRAY_SIZE(split); i++)
		run(&split[i]);
}

/* --- counters --- */

static volatile uint64_t *counter;

static void count(unsigned id)
{
	for (ulong i = 0; i < LOCKS; i++) {
		volatile uint64_t *p = counter;
		uint64_t one = 1, old;

		switch (i % 4) {
		case 0:
			__asm__ volatile("lock addq $1, %0" : "+m"(*p) : : "memory", "cc");
			break;
		case 1:
			__asm__ volatile("lock xaddq %0, %1"
					 : "+r"(one), "+m"(*p)
					 :
					 : "memory", "cc");
			break;
		case 2:
			__asm__ volatile("lock subq $-1, %0" : "+m"(*p) : : "memory", "cc");
			break;
		default:
			old = *p;
			while (!__atomic_compare_exchange_n(p, &old, old + 1, false, 5, 5))
				;
		}
	}
}

/* A lock by a word at *counter that lies across lines; what it guards is plain. */
static volatile uint64_t guarded[2];

static void spinlock(unsigned id)
{
	for (ulong i = 0; i < LOCKS / 4; i++) {
		uint64_t taken;

		do {
			taken = 1;
			__asm__ volatile("xchgq %0, %1" : "+r"(taken), "+m"(*counter) : : "memory");
			pause();
		} while (taken);
		guarded[0]++;
		guarded[1] += 3;
		store(counter, 0);
	}
}

/* Wide and narrow operations on one word: each byte is a counter, and none carries. */
static void bytes(unsigned id)
{
	for (ulong i = 0; i < LOCKS / CPUS; i++) {
		volatile uint8_t *b = (volatile uint8_t *)counter + 2 * id;

		__asm__ volatile("lock incb %0" : "+m"(*b) : : "cc");
		__asm__ volatile("lock addq %1, %0"
				 : "+m"(*counter)
				 : "r"(1ul << (16 * id + 8))
				 : "cc");
		__asm__ volatile("lock decb %0" : "+m"(*b) : : "cc");
		__asm__ volatile("lock subq %1, %0"
				 : "+m"(*counter)
				 : "r"(1ul << (16 * id + 8))
				 : "cc");
	}
}

static void contend(const char *name, void (*fn)(unsigned), volatile uint64_t *at, uint64_t want)
{
	counter = at;
	*at = 0;
	all(fn);
	check_eq(name, *at, want);
}

static void counters(void)
{
	few = 1;
	contend("a counter", count, (void *)room_x, CPUS * LOCKS);
	contend("a counter, misaligned", count, (void *)(room_x + 1), CPUS * LOCKS);
	contend("bytes and words", bytes, (void *)room_x, 0);
	contend("bytes and words, misaligned", bytes, (void *)(room_x + 33), 0);
	few = 30; /* these stop the world */
	contend("a counter across lines", count, (void *)(room_x + 61), CPUS * LOCKS);
	contend("a counter across pages", count, (void *)(room_x + 4093), CPUS * LOCKS);
	contend("a lock across lines", spinlock, (void *)(room_x + 61), 0);
	check_eq("what it guards", guarded[0] * 3, guarded[1]);
	check_eq("and how often", guarded[0], CPUS * (LOCKS / 4));
}

void image_main(void)
{
	start_all();
	orders();
	counters();
}
