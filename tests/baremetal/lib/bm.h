/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Bare-metal test images: what every image may use.
 *
 * An image is one C file, linked with start64.S or start32.S and bm.c, loaded by multiboot 1.  It
 * runs snippets of assembly with bm_enter() in any code segment, privilege level and register
 * state; the first exception or software interrupt that comes ends the snippet and leaves the whole
 * register state in `trap`. A hook takes a vector for itself instead and returns to the interrupted
 * code.
 *
 * 64-bit images: physical 0..1 GiB is mapped at 0 for the supervisor and again at USER for
 * everybody; 3..4 GiB is mapped at itself for the supervisor.  32-bit images start without paging,
 * so every level sees everything.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned long ulong;

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define STR_(x) #x
#define STR(x) STR_(x)

/* Selectors.  The GDT is gdt[], open to change; slots from SEL_FREE on are the image's. */
#define KCODE 0x08
#define KDATA 0x10
#define UCODE32 (0x18 | 3)
#define UDATA (0x20 | 3)
#define UCODE (BM_UCODE | 3)
#define KCODE32 0x30
#define SEL_TSS 0x40
#define SEL_FREE 0x50

#ifdef __x86_64__
#define BM_UCODE 0x28
#define USER 0x40000000ul
#else
#define BM_UCODE 0x18
#define USER 0ul
#endif

#define VEC_EXIT 0x80 /* how a snippet ends well */

struct regs {
	ulong ax, cx, dx, bx, bp, si, di;
#ifdef __x86_64__
	ulong r8, r9, r10, r11, r12, r13, r14, r15;
#endif
	ulong vector, error, ip, cs, flags, sp, ss;
	ulong es, ds, fs, gs; /* V86 frames only; ds for 32-bit user snippets: DS and ES, or 0 */
};

extern struct regs trap; /* how the last snippet ended */
extern ulong trap_cr2;
extern unsigned trap_count; /* raised by each recorded trap */
extern bool (*bm_hook[256])(struct regs *r); /* true: handled, go back to *r */

extern uint64_t gdt[64];
extern uint8_t tss[256 + 8192 + 32];
extern uint8_t bm_stack[], bm_ustack[]; /* tops: of snippets at CPL 0, at CPL 3 */
extern uint8_t bm_ist[]; /* top of a stack for IST tests */
extern uint8_t bm_rsp0[]; /* top of the stack that the TSS names for CPL 0 */
#ifdef __x86_64__
extern uint64_t bm_pml4[512], bm_pdpt[512];
#endif

/* bm_enter - run from *r until the next trap. */
void bm_enter(const struct regs *r);
/* run_k/run_u - the usual states: kernel code at CPL 0, user code at CPL 3.  in: initial registers
 * (ip, cs, sp, ss, flags are filled in where 0). */
void run_k(const char *snippet);
void run_u(const char *snippet);
extern struct regs in; /* for the next run_k or run_u; cleared by it */

/* idt_set - type_attr such as 0x8e; ist in 64-bit images.  idt_raw: the whole entry. */
void idt_set(unsigned vector, ulong handler, uint16_t sel, uint8_t attr, uint8_t ist);
void idt_default(unsigned vector);
uint64_t *idt_entry(unsigned vector);
extern uint16_t bm_idt_limit;
void idt_load(uint16_t limit);

/* seg_desc - a descriptor; limit in units of its G bit; flags: G 8, D/B 4, L 2, AVL 1. */
uint64_t seg_desc(uint32_t base, uint32_t limit, uint8_t access, uint8_t flags);
/* gate_desc - a 32- or 16-bit call gate or task gate; the low half of a 64-bit one. */
uint64_t gate_desc(uint16_t sel, uint32_t off, uint8_t access, uint8_t count);

/* Results. */
void check_eq(const char *name, uint64_t got, uint64_t want);
void check(const char *name, bool good);
/* check_trap - the last snippet ended with this vector and error code. */
void check_trap(const char *name, unsigned vector, ulong error);
/* check_ok - it ended well. */
void check_ok(const char *name);
void bm_print(const char *s);
void bm_hex(uint64_t v);
void bm_done(void) __attribute__((noreturn));

/* bm_scale - how often to do what is done many times: 1, or what the runner was told. */
extern ulong bm_scale;
/* bm_exact_flags - are flags that nothing will read right in the frame of a fault?  The
 * translator's are only when it is told. */
extern ulong bm_exact_flags;

/* bm_tcg - running on QEMU's TCG: leave out what it does not survive. */
bool bm_tcg(void);

void image_main(void);

/* SNIPPET - assembly that ends with the exit vector.  RAW_SNIPPET: just so. */
#define RAW_SNIPPET(name, body)   \
	extern const char name[]; \
	__asm__(".pushsection .text\n\t.balign 16\n" #name ":\n\t" body "\n\t.popsection")
#define SNIPPET(name, body) RAW_SNIPPET(name, body "\n\tint $0x80")

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (uint64_t)hi << 32;
}

static inline uint64_t rdmsr(uint32_t i)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(i));
	return lo | (uint64_t)hi << 32;
}

static inline void wrmsr(uint32_t i, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(i), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

#define DEFINE_CR(n)                                                       \
	static inline ulong rd_cr##n(void)                                 \
	{                                                                  \
		ulong v;                                                   \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v));          \
		return v;                                                  \
	}                                                                  \
	static inline void wr_cr##n(ulong v)                               \
	{                                                                  \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory"); \
	}
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)

#define DEFINE_DR(n)                                                       \
	static inline ulong rd_dr##n(void)                                 \
	{                                                                  \
		ulong v;                                                   \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(v));          \
		return v;                                                  \
	}                                                                  \
	static inline void wr_dr##n(ulong v)                               \
	{                                                                  \
		__asm__ volatile("mov %0, %%dr" #n : : "r"(v) : "memory"); \
	}
DEFINE_DR(0)
DEFINE_DR(1)
DEFINE_DR(2)
DEFINE_DR(3)
DEFINE_DR(6)
DEFINE_DR(7)

static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(sub));
}

static inline bool cpu_has(uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t r[4];

	cpuid(leaf, 0, r);
	return r[reg] >> bit & 1;
}

static inline void invlpg(ulong va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

#define EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_FMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC, MC, XM };
#define FL_TF 0x100
#define FL_IF 0x200
#define FL_NT 0x4000
#define FL_RF 0x10000
#define FL_VM 0x20000
#define FL_AC 0x40000
#define FL_VIF 0x80000
#define FL_VIP 0x100000
