/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A software vCPU: architectural state plus what interpreter and translator need to run it fast.
 *
 * Control flow: functions that can cause a guest exception do not return in that case; they record
 * it and longjmp to cpu->unwind (set by the engine around every piece of guest execution).  At that
 * point cpu->s must hold the state the instruction started with: RIP of the instruction, registers
 * unchanged. So: the engine stores s.rip before it calls anything that may raise, and every
 * multi-step operation makes all its accesses (or probes them) before it commits registers.
 *
 * Threads: a vCPU's thread owns everything here except `events` (any thread, atomic).
 */
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/fpu.h"
#include "base/log.h"
#include "mem/mem.h"
#include "mem/page.h"
#include "x86/state.h"

struct vclock;
struct x86_tlb_ops;
struct x86_cpuid;
struct x86_vm;

/* cpu->mode: what decoding and fast paths depend on; kept by x86_update_mode(). */
#define X86_MODE_PE BIT(0)
#define X86_MODE_LMA BIT(1)    /* IA-32e mode active */
#define X86_MODE_CS64 BIT(2)   /* 64-bit code */
#define X86_MODE_CS32 BIT(3)   /* default operand/address size 32 (never with CS64) */
#define X86_MODE_SS32 BIT(4)   /* stack pointer is ESP (never with CS64) */
#define X86_MODE_V86 BIT(5)
#define X86_MODE_FLAT BIT(6)   /* CS, DS, ES, SS usable, base 0, limit 4G-1, DS/ES/SS writable (or CS64) */
#define X86_MODE_CPL3 BIT(7)
#define X86_MODE_PG BIT(8)

/* Address-translation views: which rights an access is checked against. */
enum x86_view {
	X86_VIEW_USER,	      /* CPL 3 */
	X86_VIEW_SUPER,	      /* CPL 0-2, SMAP in force; also implicit supervisor accesses */
	X86_VIEW_SUPER_USER,  /* CPL 0-2, user pages allowed (SMAP off, or RFLAGS.AC set) */
	X86_VIEW_COUNT
};

/*
 * Software TLB, direct-mapped by linear page number, one per view.  A tag is the page's linear
 * address when accesses of that kind may use the host address va + addend directly.  X86_TLB_SLOW
 * is set in a tag that is a good translation, rights included, of which each access must take the
 * slow path (MMIO, not fast-writable, watched, alignment-checked); X86_TLB_INVALID when there is no
 * translation for that kind. What only slow paths want lies apart, so that a slot's offset is one
 * shift and mask of the address.
 */
#define X86_TLB_BITS 11
#define X86_TLB_SIZE (1u << X86_TLB_BITS)
#define X86_TLB_INVALID BIT(0)
#define X86_TLB_SLOW BIT(1)

#define X86_CODE_PAGES 2048 /* bits of code_pages */

struct x86_tlb_entry {
	uint64_t rd, wr, ex;
	uintptr_t addend;
};

struct x86_tlb_info {
	uint64_t gpa;	  /* guest-physical page */
	uint64_t ram_off; /* RAM offset of the page, or UINT64_MAX when it is not RAM/ROM */
	uint32_t flags;	  /* tlb.c */
};

struct x86_tlb {
	struct x86_tlb_entry e[X86_TLB_SIZE];
	struct x86_tlb_info info[X86_TLB_SIZE];
	/* Slots that hold something, by what a flush must find: bit per slot. */
	uint64_t used[X86_TLB_SIZE / 64], global[X86_TLB_SIZE / 64], large[X86_TLB_SIZE / 64];
};

/* cpu->events: reasons to leave guest code at the next instruction boundary. */
#define X86_EV_INTR BIT(0)  /* level: the interrupt controllers have something (mirrors their output) */
#define X86_EV_NMI BIT(1)
#define X86_EV_INIT BIT(2)
#define X86_EV_SIPI BIT(3)
#define X86_EV_EXIT BIT(4)  /* return ENGINE_EXIT_KICK from run() (pause, stop, state access) */
#define X86_EV_EXCL BIT(5)  /* another vCPU wants to run alone */
#define X86_EV_TLB BIT(6)   /* flush the whole TLB */

/* What the machine provides to a vCPU: its local APIC and its thread.  All mandatory.  `cpu` is the
 * index. */
struct x86_host_ops {
	/* Take the highest pending interrupt (local APIC, or PIC through LINT0): vector or -1. */
	int (*intr_ack)(void *opaque, unsigned cpu);
	/* MSRs 0x1b (APIC_BASE write side effects), 0x6e0 (TSC deadline) and 0x800-0x8ff; false:
	 * #GP. */
	bool (*apic_rdmsr)(void *opaque, unsigned cpu, uint32_t index, uint64_t *val);
	bool (*apic_wrmsr)(void *opaque, unsigned cpu, uint32_t index, uint64_t val);
	/* xAPIC page, offset 0..0xfff. */
	uint32_t (*apic_read)(void *opaque, unsigned cpu, uint32_t off, unsigned size);
	void (*apic_write)(void *opaque, unsigned cpu, uint32_t off, uint32_t val, unsigned size);
	/* CR8 */
	uint8_t (*tpr_get)(void *opaque, unsigned cpu);
	void (*tpr_set)(void *opaque, unsigned cpu, uint8_t cr8);
	/* KVM PV: EOI word at guest-physical address (0: off); IPIs; wake a halted vCPU by APIC
	 * ID. */
	void (*pv_eoi)(void *opaque, unsigned cpu, uint64_t gpa_or_zero);
	int (*pv_ipi)(void *opaque, uint64_t bitmap_lo, uint64_t bitmap_hi, uint32_t min, uint32_t icr);
	void (*pv_kick)(void *opaque, uint32_t apic_id);
	/* An event bit was set by another thread: wake the vCPU's thread if it sleeps. */
	void (*wake)(void *opaque, unsigned cpu);
};

struct x86_cpu {
	struct x86_state s; /* rflags: arithmetic bits are in `fl`, use x86_rflags() */
	/* Arithmetic flags as LAHF and SETO leave them: bits 15..8 = SF ZF 0 AF 0 PF 1 CF, bit 0 =
	 * OF. */
	uint16_t fl;
	uint32_t mode;
	struct x86_tlb *tlb; /* tlbs[view of explicit accesses now] */
	_Atomic uint32_t events;
	/* Set after every change of events that sets a bit: what translated code looks at.  It
	 * clears it, then reads events, so that it is not called again and again by a bit that has
	 * to wait. */
	_Atomic uint32_t *attn; /* own_attn, or where the engine's code reaches it better */
	_Atomic uint32_t own_attn;
	/* While a process of its own runs the guest's code: its descriptor (pidfd); else 0. */
	_Atomic int outside;
	_Atomic uint8_t sipi_vector; /* of X86_EV_SIPI: set before the event; goes to s when it is taken */
	uint64_t zero;	     /* always 0: absent base, index or segment of an address */
	uint64_t code_base;  /* linear address of the page of the running block */
	uint64_t icount;     /* instructions retired */

	jmp_buf *unwind;
	struct { /* the exception that unwinds */
		uint8_t vector;
		bool has_error;
		uint32_t error;
	} exc;
	uint8_t delivering;  /* exc.c: class of the event being delivered, for #DF and triple fault */
	bool shutdown;	     /* triple fault happened; run() returns ENGINE_EXIT_SHUTDOWN */
	bool tlb_changed;    /* code fetched may lie elsewhere now: engines drop linear caches */
	uint32_t dr6_hits;   /* data breakpoints hit by the running instruction (DR6 B0-B3, BD, BS) */
	bool watch_active;   /* any enabled data breakpoint in DR7, or a debugger watchpoint */
	bool single;	     /* engine must run one instruction at a time (TF, DR7, debugger) */
	bool step_follows;   /* debug.c: TF after, not before, this instruction decides its trap */
	bool align_check;    /* CR0.AM and RFLAGS.AC, when last at CPL 3 */
	bool code_written;   /* set when a store of this vCPU hit decoded code (any page) */
	bool in_guest;	     /* excl.c: between enter and leave; under its lock */

	unsigned index;
	uint32_t apic_id;
	struct x86_vm *vm;
	struct log *log;
	uint64_t phys_reserved;	  /* bits 51..MAXPHYADDR of page-table entries */
	bool pages_1g;		  /* CPUID offers 1 GiB pages */
	uint64_t pdpte[4];	  /* PAE paging: the PDPTE registers (SDM 3A 4.4.1) */
	struct mem_range ram_win[2]; /* mmu.c: pieces of RAM last used, until the TLB is flushed */
	struct mem_range io_win;     /* and the device registers last used */
	unsigned ram_win_next;
	/* tlb.c: where code was fetched since tlb_changed was set: a bit per hash of a page, and
	 * the extent of all large pages. */
	uint64_t code_pages[X86_CODE_PAGES / 64], code_lo, code_hi;
	bool pv_refresh;	     /* kvmpv.c: state set from outside, write kvmclock anew */
	struct x86_steal {	     /* kvmpv.c: steal-time accounting of this thread */
		int64_t wall, cpu;   /* ns, when last looked at; wall 0: not running */
		uint64_t stolen;
	} steal;
	struct x86_tlb tlbs[X86_VIEW_COUNT];
	struct x86_debug *debug;  /* debugger's break and watchpoints, or NULL */
	struct x86_exc_log { /* the last exceptions, for the report of a dead guest */
		uint64_t rip, cr2;
		uint32_t error;
		uint8_t vector;
	} exc_log[8];
	unsigned exc_log_n;
	/* Translations that the engine keeps besides the TLB, or NULL: see mmu.h. */
	const struct x86_tlb_ops *tlb_ops;
};

/* What the vCPUs of one virtual machine share. */
struct x86_vm {
	struct mem *mem;
	struct log *log;
	struct vclock *clock;
	const struct x86_cpuid *cpuid;
	const struct x86_host_ops *host;
	void *host_opaque;
	unsigned n_cpus;
	struct x86_cpu **cpus;
	struct x86_excl *excl; /* excl.c */
};

/* X86_HOST - call one of the machine's hooks: C code that may use every register. */
#define X86_HOST(c, hook, ...) \
	(fpu_claim(), (c)->vm->host->hook((c)->vm->host_opaque, __VA_ARGS__))

/* x86_rflags/x86_set_rflags - all of RFLAGS, arithmetic bits included (no mode update). */
static inline uint64_t x86_rflags(const struct x86_cpu *c)
{
	return (c->s.rflags & ~RFLAGS_ARITH) | ((c->fl >> 8) & 0xd5) | (uint64_t)(c->fl & 1) << 11;
}

static inline void x86_set_rflags(struct x86_cpu *c, uint64_t v)
{
	c->s.rflags = v | 2;
	c->fl = (uint16_t)((v & 0xd5) << 8 | 0x200 | ((v >> 11) & 1));
}

/* x86_update_mode - recompute mode, tlb, watch_active and single after any change of CR0, CR4,
 * EFER, RFLAGS.VM/AC/TF, DR7 or a segment register. */
void x86_update_mode(struct x86_cpu *c);

/* x86_view_now - rights of explicit accesses at the current privilege (SDM 3A 4.6). */
static inline enum x86_view x86_view_now(const struct x86_cpu *c)
{
	if (c->mode & X86_MODE_CPL3)
		return X86_VIEW_USER;
	return (c->s.cr4 & CR4_SMAP) && !(c->s.rflags & RFLAGS_AC) ? X86_VIEW_SUPER :
								     X86_VIEW_SUPER_USER;
}

/* x86_update_ac - all that x86_update_mode does for a change of RFLAGS.AC alone at CPL 0-2 (STAC,
 * CLAC). */
static inline void x86_update_ac(struct x86_cpu *c)
{
	c->tlb = &c->tlbs[x86_view_now(c)];
}

/* x86_cpu_init - set the software fields of a vCPU whose s is valid; x86_cpu_fini releases them. */
void x86_cpu_init(struct x86_cpu *c, struct x86_vm *vm, unsigned index, uint32_t apic_id);
void x86_cpu_fini(struct x86_cpu *c);
/* x86_cpu_get/set - copy the architectural state out or in (vCPU not running). */
void x86_cpu_get(const struct x86_cpu *c, struct x86_state *out);
void x86_cpu_set(struct x86_cpu *c, const struct x86_state *in);

/* x86_attend - set c->attn, and make guest code look at it.  Any thread. */
void x86_attend(struct x86_cpu *c);
/* x86_event_set - set event bits from any thread and wake the vCPU; _clear for level events. */
void x86_event_set(struct x86_cpu *c, uint32_t bits);
/* x86_event_init - x86_event_set of X86_EV_INIT; a SIPI that came before and was not looked at is gone. */
void x86_event_init(struct x86_cpu *c);
/* x86_event_hint - the same without waking: for a vCPU that runs, or its own thread. */
static inline void x86_event_hint(struct x86_cpu *c, uint32_t bits)
{
	atomic_fetch_or(&c->events, bits);
	x86_attend(c);
}

static inline void x86_event_clear(struct x86_cpu *c, uint32_t bits)
{
	atomic_fetch_and_explicit(&c->events, ~bits, memory_order_seq_cst);
}

/* Raise an exception: fills c->exc and unwinds.  #PF: cr2 is set by the caller. */
void x86_raise(struct x86_cpu *c, uint8_t vector) __attribute__((noreturn, cold));
void x86_raise_err(struct x86_cpu *c, uint8_t vector, uint32_t error)
	__attribute__((noreturn, cold));

/*
 * Stop-the-world among the vCPU threads of one VM (excl.c).  enter: called by a thread about to run
 * guest code; leave: no longer runs guest code (halted, exiting).  begin: wait until every other
 * vCPU is outside or parked at a safe point, and hold them there until end; a running vCPU that
 * sees X86_EV_EXCL calls park.  begin may park the caller first when another one was quicker.
 * Threads that run no vCPU may call begin/end with c NULL.  begin nests on one thread.  begin must
 * be called with no lock held (a vCPU that waits for that lock would never park).
 */
int x86_excl_init(struct x86_vm *vm);
void x86_excl_fini(struct x86_vm *vm);
void x86_excl_enter(struct x86_cpu *c);
void x86_excl_leave(struct x86_cpu *c);
void x86_excl_park(struct x86_cpu *c);
void x86_excl_begin(struct x86_vm *vm, struct x86_cpu *c);
void x86_excl_end(struct x86_vm *vm, struct x86_cpu *c);
