/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Inside the translator: the vCPU, translated blocks, and what the files offer each other.
 * Theory of operation: dbt.c; address translation: lst.c; the code's register use: below.
 *
 * While translated code runs, FR points at struct dbt_frame, with a stack for helpers below it, RSP
 * into the stack of returns (returns.c), and guest general registers are where dbt_host_reg[]
 * says; the others are in the frame.  Arithmetic flags are in the host's flags, vector and x87
 * registers in their own (base/fpu.h).
 */
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/fpu.h"
#include "base/lock.h"
#include "engine/dbt/emit.h"
#include "engine/interp/vcpu.h"
#include "x86/decode.h"
#include "x86/mmu.h"

struct jit_object;
struct tb;
struct xlate;
struct dbt_cpu;

/* --- registers --- */
#define T1 X86_RCX /* for jrcxz, and shifts by CL */
#define T0 14
#define T2 11
#define FR 15 /* struct dbt_frame, FR_BIAS bytes into it */
#define FR_BIAS 128 /* so that displacements to its first 256 bytes take a byte */
/* Host register of each guest register, or NO_REG: it is in struct x86_state. */
extern const uint8_t dbt_host_reg[16];
#define HIGH_FIRST X86_R11
#define HIGH_COUNT 5

/* --- the frame --- */
/* Devices run on it too: a chain of a virtqueue takes 16 KiB there, a frame in libslirp as much
 * again. */
#define DBT_STACK (256 * KiB)

#define SPANS_MAX 8 /* of a block */

/* What code names comes first, 256 bytes. */
struct dbt_frame {
	uint64_t code_base; /* linear page of the running block */
	uint64_t vpn_mask; /* for pext: linear address bits 47..12 */
	uint64_t high[HIGH_COUNT]; /* R11 to R15, which have no host register, while translated code
				      runs */
	uint64_t lst_x; /* execute table of the view in use */
	uint64_t lst_r, lst_w; /* tables of reads and writes likewise */
	uint64_t high_delta; /* WINDOW_HIGH's distance, if there are windows */
	uint64_t jump_untag; /* minus the tag of jump cache entries that are valid now */
	uint32_t flags; /* arithmetic flags across a branch, as in x86_cpu.fl */
	uint32_t info; /* of an exit: INFO_* */
	_Atomic uint32_t attn; /* the vCPU's: the next block that looks leaves */
	uint64_t tmp; /* scratch of one instruction */
	uint64_t span[SPANS_MAX]; /* of the running block: host addresses, or distances to them */
	uint64_t low_mask[7]; /* [n]: low n bits */
	uint64_t region_mask; /* 47..40 */
	uint64_t sign; /* 63 */

	uint64_t target; /* of an indirect jump that missed */
	uint64_t resume; /* where a helper's stub goes on */
	uint64_t fdp; /* linear address of the last x87 memory operand */
	uint64_t x87_base; /* linear page of the last block that executed one */
	uint64_t fop; /* and the opcode, as the guest has it */
	uint32_t pauses; /* before the next one yields the processor */
	uint64_t host_rsp;
	uint64_t ret_sp; /* of the stack of returns: RSP when translated code goes on */
	uint64_t ret_top; /* when it is empty */
	uint64_t cross; /* distance to the copy of an operand that crosses a page */
	_Alignas(32) uint8_t copy[32];
	uint64_t tsc_add; /* guest's TSC minus the host's */
	uint64_t not_if, not_ac, not_df; /* all bits but that one, for pext and pdep */
	uint64_t df; /* that one only */
	uint64_t arith, not_arith; /* of RFLAGS, likewise; RF and VM are in neither */
	struct dbt_view { /* of the two supervisor views, for STAC and CLAC */
		uint64_t r, w, untag;
	} view[2]; /* [1]: with user pages */
	struct dbt_cpu *self;
};

/* info: offset of the instruction in its page, and for helpers what they need. */
#define INFO_OFF(i) ((i)&0xfff)
#define INFO_MNEMONIC(i) ((i) >> 12) /* of run_insn: which is not translated, or 0 */

enum dbt_exit {
	DBT_EXIT_POLL, /* something waits: at the instruction info names */
	DBT_EXIT_FAULT, /* a host fault: the interpreter is to run the instruction info names */
	DBT_EXIT_LINK, /* a direct branch whose target is not translated: v->link */
	DBT_EXIT_JUMP, /* an indirect one: frame.target */
	DBT_EXIT_RIP, /* a helper has set s.rip */
	DBT_EXIT_COUNT
};

/* --- linear shadow tables (lst.c) --- */
#define LST_SPACES_MAX 6 /* as many as Linux uses */

struct lst_ent {
	uint64_t index; /* in the tables */
	uint64_t ram_page;
};

struct lst_list {
	struct lst_ent *e;
	unsigned n;
};

/* --- windows (window.c) --- */
#define WINDOWS_MAX 24 /* of a vCPU */
#define WINDOW_SHIFT 40
#define WINDOW_REGIONS (1u << (48 - WINDOW_SHIFT))
#define WINDOW_USER (WINDOW_REGIONS / 2) /* below it: what may have a window */
#define WINDOW_HIGH (WINDOW_USER - 1) /* of stacks and libraries */
#define WINDOW_CHECKED 65536

struct dbt_windows { /* of an address space */
	uint64_t delta[WINDOW_REGIONS]; /* from linear to host addresses, by region: bits 47..40 */
	bool shown[WINDOW_REGIONS]; /* by a window; else delta leads to nothing */
	bool on; /* WINDOW_HIGH is shown then */
	unsigned usual; /* the region of the last page that was mapped */
	struct dbt_window_pool *pool;
	bool stale; /* what is mapped must be looked at before it is used again */
	struct direct *direct; /* the process that has the pages instead, if `away` */
	bool away, direct_failed;
	bool not_direct; /* not this program */
	unsigned calm_direct, wait_direct; /* as `calm` and `wait`, for it */
	uint64_t ran; /* ns of the host's processor, that the process has run at the last look ... */
	uint64_t balance; /* ns gained by it, as far as they count */
	unsigned bursts, stops; /* ... since which it was entered, and a page was missing, so often */
	struct dbt_shown { /* a page that is mapped */
		uint64_t index, gpa, ram_off;
		bool write, exec;
	} *shown_page;
	unsigned mapped; /* how many */
	uint32_t *slot; /* by index: where in shown_page it is, plus 1 */
	uint64_t opened; /* when, for LRU */
	unsigned fills, calm, wait; /* since the last look; calm looks in a row; how many it takes */
	uint64_t blocks; /* translated before the program came */
};

struct dbt_window_pool {
	void *map;
	size_t map_size;
	uint8_t *lists; /* of what is mapped, and where each page is there; one a space */
	size_t lists_size;
	int fd; /* guest RAM */
	bool always; /* under stress: whatever it costs */
	bool direct; /* programs may be run directly */
	bool umip; /* the host has it */
	uint8_t *nothing; /* a region's size where nothing ever is */
	unsigned n, mapped, mapped_max;
	uint64_t clock, looked, blocks, to_user; /* the latter: dbt_cpu's when it was looked */
	struct dbt_window {
		uint8_t *at;
		struct dbt_windows *of; /* NULL: free */
		unsigned region;
	} window[WINDOWS_MAX];
	struct dbt_missed { /* instructions that found nothing which could be mapped */
		uint64_t ram_off;
		unsigned n;
	} missed[256];
	uint64_t checked[WINDOW_CHECKED / 64]; /* those that did so often, by a hash */
	uint64_t not_high[WINDOW_CHECKED / 64]; /* whose address was not always in WINDOW_HIGH */
	uint64_t *delta; /* dbt_cpu.delta */
	const struct dbt_windows *view; /* whose distances it has */
};
struct dbt_region_site { /* in code, behind the call of a stub */
	uint8_t jmp;
	int32_t back; /* from behind this to where to go on: behind the load of the distance */
	uint8_t neg, guesses; /* neg: the region's negative is compared */
	uint8_t ea; /* the host register with the address */
} __attribute__((packed));

struct lst_tab { /* one pair of tables: reads and writes, of one view and address space */
	uint64_t *r, *w; /* delta from linear to host address by page number, 0: not known */
	uint64_t *touched, *big; /* bit per 512 entries: used; made from larger pages */
	bool huge; /* something larger than those */
	struct lst_list ng, g; /* filled entries: not global; global */
	struct dbt_windows *windows; /* that follow this table, or NULL */
};

struct lst_code { /* one execute table: RAM page number + 1, 0: not known */
	uint32_t *x;
	struct lst_list ng, g;
};

struct lst_space {
	uint16_t pcid;
	uint64_t used; /* for LRU */
	uint64_t root; /* CR3 when it was taken or flushed */
	struct lst_tab user, su; /* su: supervisor with user pages; its upper half is sup's */
	struct dbt_windows windows;
	struct lst_code code;
	uint32_t epoch; /* raised when code may have moved */
};

struct lst {
	void *map;
	size_t map_size;
	unsigned n_spaces, cur;
	uint64_t clock;
	struct lst_space space[LST_SPACES_MAX];
	struct lst_tab sup; /* supervisor pages only */
	struct lst_code sup_code;
	uint32_t sup_epoch;
	bool sup_low_code; /* supervisor code below the middle was noted */
	bool moved; /* another space is in use, or was flushed: lst_view must look */
	unsigned touched; /* table pages in use */
};

/* --- translated blocks (cache.c) --- */
/* A direct branch in translated code.  Places are offsets in the code memory. */
struct tb_link {
	uint32_t jump; /* the rel32 field of the branch */
	uint32_t stub; /* what the branch leads to while not linked */
	uint32_t check; /* the imm32 of the check of another page, or 0 */
	int32_t target; /* from code_base to the target */
	uint32_t info; /* for the frame */
	uint8_t how; /* enum tb_entry of the target to lead to */
	bool apart; /* to the translation without spans */
	bool neg; /* the check holds minus (page number + 1) */
};

/* Where a block is entered.  TB_SAVED: arithmetic flags are in frame.flags and not in the host's;
 * TB_RETURNED: likewise, by what cannot go round in a circle. */
enum tb_entry { TB_BODY, TB_POLL, TB_SAVED, TB_RETURNED };

struct tb_site { /* an incoming link of a block */
	struct tb_site *next;
	struct tb_link *link;
};

struct tb {
	struct tb *page_next[2]; /* of the lists of its pages */
	uint64_t ram_off;
	uint64_t lin_page; /* linear page that it is for, or NO_PAGE: any */
	uint64_t ram_page[2]; /* page numbers; [1]: of a last instruction that crosses, or none */
	uint32_t mode;
	uint32_t gen[2];
	struct tb_site *sites;
	const uint8_t *far; /* as TB_SAVED, and T0 = its linear address: sets code_base */
	const uint8_t *saved, *returned, *poll, *body;
	uint32_t host_len; /* from far; cold code is elsewhere */
	uint32_t saved_at; /* from there on, from far, flags are in the frame */
	uint16_t n_insns, bytes;
	bool dead;
	const uint8_t *map; /* per instruction: host bytes (2, little-endian), guest bytes (1) */
	uint16_t map_skip; /* host bytes before the first instruction */
};
#define NO_PAGE UINT64_MAX
#define LINK_NO_PAGE UINT32_C(0x80000000) /* no entry of an execute table */

#define JUMP_CACHE 32768
#define TB_HASH_BITS 16
#define TB_WAYS 4
struct tb_line { /* of the hash of blocks: a cache line */
	struct {
		uint64_t key;
		struct tb *tb;
	} way[TB_WAYS];
};
#define TB_PAGE_HASH_BITS 12
#define DBT_RAISED 64

struct dbt_stats {
	uint64_t blocks, insns, bytes, flushes, links, unlinks, fills, jump_misses, stale,
		pages_raised, windows, window_fills, window_misses, direct, direct_entries, direct_calls,
		direct_interrupts, direct_faults, direct_fills;
	uint64_t by_insn[ZYDIS_MNEMONIC_MAX_VALUE +
			 1]; /* run by the interpreter: what is not translated */
	uint64_t in_place, calls, lst_flushes, lst_resets, spaces, host_faults,
		exits[DBT_EXIT_COUNT];
};

/*
 * Where the stubs run (stubs.c).  Those marked "called" are reached by a call with data behind it:
 * 4 bytes for frame.info; where they go on in the block, 2 for it and 4 for the distance to there
 * from the data.
 */
#define STUB_SIZES 6 /* of accesses: stub_size() */
struct dbt_stubs {
	const uint8_t *enter;
	const uint8_t *fault[2]; /* after a host fault.  [1]: flags are in the frame */
	const uint8_t *poll; /* called: something waits */
	const uint8_t *fill[2]; /* called: fill the table for the address in T0; [1]: for a write */
	/* called: go on unless an access at T0 crosses a page.  [0]: flags are in the frame */
	const uint8_t *align[2][STUB_SIZES];
	/* called: T1 such that [T0 + T1] is a copy of the 16 [1]: 32 bytes at T0 */
	const uint8_t *cross[2];
	/* called, with struct dbt_region_site behind: T1 = the distance for the address in that
	 * host register; guess it for the site from now on, or know better */
	const uint8_t *region[16];
	const uint8_t *not_high; /* called: as insn, whose operand is not in WINDOW_HIGH */
	/* called, with the link's offset in the arena behind.  [1]: flags are in the frame */
	const uint8_t *link[2];
	const uint8_t *jump; /* called: T0 = target */
	/* a return to T0 that was not expected; T1 = info, flags are in the frame */
	const uint8_t *ret;
	const uint8_t *ret_empty; /* the same, and the stack of returns is empty */
	const uint8_t *insn; /* called: the interpreter runs the instruction */
	const uint8_t *call; /* T2 = a dbt_helper, which runs it and sets s.rip */
};

/* stub_size - which of dbt_stubs.align is for accesses of that size. */
static inline unsigned stub_size(unsigned size)
{
	return size == 10 ? 5 : (unsigned)__builtin_ctz(size) - 1;
}

#define DBT_STRESS_SMALL_CACHE BIT(0)
#define DBT_STRESS_FLUSH BIT(1)
#define DBT_STRESS_NO_LINK BIT(2)
#define DBT_STRESS_ONE_INSN BIT(3)
#define DBT_STRESS_EXACT_FLAGS BIT(4)
#define DBT_STRESS_WINDOWS BIT(5)
#define DBT_STRESS_NO_WINDOWS BIT(6)
#define DBT_STRESS_DIRECT BIT(7)
#define DBT_STRESS_NO_DIRECT BIT(8)

#define DBT_SYMBOLS_PERF BIT(0)
#define DBT_SYMBOLS_GDB BIT(1)

struct dbt_cache {
	uint8_t *rw;
	ptrdiff_t rx; /* rw + rx is where it runs */
	size_t size, stubs; /* stubs: what reset keeps */
	/* The blocks, and what of them rarely runs, each filled from its begin on. */
	struct cache_part {
		size_t used, end; /* offsets in the code memory */
		size_t ready; /* what is there in both mappings */
	} hot, cold;
	struct tb_line *hash;
	struct tb **pages;
	struct tb **order; /* by host address */
	unsigned n, max;
	uint8_t *arena; /* struct tb, sites, maps */
	size_t arena_size, arena_used;
	uint32_t generation; /* raised by each reset */
	struct dbt_stubs stub;
};

struct dbt_cpu {
	uint8_t signal_stack[DBT_STACK];
	uint8_t stack[DBT_STACK];
	struct dbt_frame f; /* FR points here */
	_Alignas(64) struct jump_slot {
		uint64_t key; /* tag - linear address */
		const uint8_t *code;
	} jump[JUMP_CACHE];
	uint64_t delta[WINDOW_REGIONS]; /* of the address space in use, if it has windows */
	struct fpu_guest fpu;
	uint64_t fip_loaded, fdp_loaded; /* when guest state came into the registers */
	struct lst lst;
	struct dbt_window_pool pool;
	struct direct_seen { /* pages of code that were looked at (direct.c) */
		uint64_t page, before; /* numbers + 1; `before` lies before it, 0: not known */
		uint32_t gen;
		uint8_t code; /* direct_code() */
	} direct_seen[4096];
	int direct_cpu; /* of the host, that this thread is kept on; -1: none */
	cpu_set_t affinity; /* what it may run on otherwise */
	uint64_t to_user; /* how often user code was entered */
	uint64_t missed; /* the instruction that found nothing in a window, or NO_PAGE */
	struct dbt_cache cache;
	struct xlate *xlate;
	const struct tb *entered; /* while translated code runs: what the run loop entered */
	struct tb_link *link; /* of DBT_EXIT_LINK */
	uint32_t link_generation;
	uint32_t mode; /* dbt_mode() when translated code was entered last */
	uint32_t epoch; /* lst_epoch() of the jump tag in use */
	uint8_t *returns; /* the stack of returns, and a page below it */
	uint32_t returns_mode, returns_epoch; /* that what is on it holds for */
	uint32_t jump_tags; /* tags given out */
	struct {
		uint32_t mode, epoch;
		uint16_t tag;
	} tag[16]; /* what they mean */
	unsigned tag_next;
	unsigned stress;
	unsigned symbols; /* DBT_SYMBOLS_* */
	struct jit_object *jit; /* what gdb was told, the newest first */
	struct { /* pages whose code was written to, by any thread */
		_Atomic uint32_t lock;
		_Atomic unsigned n; /* DBT_RAISED + 1: too many to list */
		uint64_t page[DBT_RAISED];
	} raised;
	struct dbt_stats stats;
	struct interp_cpu in;
};

static inline struct dbt_cpu *dbt_of(struct x86_cpu *c)
{
	return container_of(c, struct dbt_cpu, in.cpu);
}

static inline unsigned window_region(uint64_t va)
{
	return (unsigned)(va >> WINDOW_SHIFT) % WINDOW_REGIONS;
}

static inline const struct dbt_cpu *dbt_of_const(const struct x86_cpu *c)
{
	return container_of(c, const struct dbt_cpu, in.cpu);
}

/* Does the address space in use have windows? */
static inline bool windows_on(const struct dbt_cpu *v)
{
	return v->lst.space[v->lst.cur].windows.on;
}

/* Is its user code run directly, or to be? */
static inline bool windows_away(const struct dbt_cpu *v)
{
	return v->lst.space[v->lst.cur].windows.away;
}

/* Memory operands in translated code: a field of the frame, of the vCPU, of the jump cache. */
static inline struct emem em_frame(int32_t disp)
{
	return em_base(FR, disp - FR_BIAS);
}
static inline struct emem em_frame_index(unsigned index, unsigned scale, int32_t disp)
{
	return em_index(FR, index, scale, disp - FR_BIAS);
}
_Static_assert(offsetof(struct dbt_frame, sign) == 2 * FR_BIAS - 8, "");
#define FRAME(field) em_frame((int32_t)offsetof(struct dbt_frame, field))
#define FRAME_OFF(field)                                        \
	((int32_t)((ptrdiff_t)offsetof(struct dbt_cpu, field) - \
		   (ptrdiff_t)offsetof(struct dbt_cpu, f)))
#define CPU(field) em_frame(FRAME_OFF(in.cpu.field))

/* --- mode: key of blocks --- */
#define DBT_VIEW(m) ((enum x86_view)((m) >> 12 & 3))
#define DBT_MODE_VIEW(v) ((uint32_t)(v) << 12)
#define DBT_MODE_APART BIT(14) /* of a block only: each access is translated by itself */
#define DBT_MODE_X87 BIT(16) /* x87 and MMX instructions do not raise #NM or #UD */
#define DBT_MODE_SSE BIT(17)
#define DBT_MODE_AVX BIT(18)
#define DBT_MODE_FSGS BIT(19) /* not 64-bit code: FS and GS have no limits */
#define DBT_MODE_CPL0 BIT(20)
#define DBT_MODE_TSC BIT(21) /* RDTSC may be inline */
#define DBT_MODE_SMAP BIT(22)
#define DBT_MODE_WINDOWS BIT(15) /* the address space has windows (64-bit user code) ... */
#define DBT_MODE_STACK BIT(9) /* ... and RSP is in WINDOW_HIGH, or a few steps outside */
#define DBT_MODE_DIRECT BIT(23) /* only what cannot be run directly is translated (direct.c) */
#define DBT_MODE_USER64 (X86_MODE_CPL3 | X86_MODE_CS64)
uint32_t dbt_mode(const struct x86_cpu *c);

/* --- run.c: what translated code calls to go on by itself; general registers only --- */
/* run_update - the mode, address space or TSC may be another one now. */
void run_update(struct dbt_cpu *v);
/* run_set_tsc - guest time or the TSC offset may have changed. */
void run_set_tsc(struct dbt_cpu *v);
/* run_translated - is code of this mode translated? */
bool run_translated(uint32_t mode);
/* Instructions as functions: they set s.rip to where execution goes on, and may unwind. */
typedef void dbt_helper(struct x86_cpu *c, uint64_t next);
dbt_helper run_syscall, run_sysret, run_iret;
/* Where to go on, or NULL for the run loop, which s.rip is exact for. */
const uint8_t *run_insn(struct dbt_cpu *v);
const uint8_t *run_not_high(struct dbt_cpu *v);
const uint8_t *run_call(struct dbt_cpu *v, dbt_helper *fn);

/* dbt_linear - the linear address of an instruction pointer, as wide as the mode's (CS base 0). */
static inline uint64_t dbt_linear(const struct dbt_cpu *v, uint64_t rip)
{
	return v->mode & X86_MODE_CS64 ? rip : (uint32_t)rip;
}

/* --- lst.c --- */
/* lst_probe - can the tables of a vCPU be reserved here? */
int lst_probe(struct err **e);
int lst_create(struct dbt_cpu *v, unsigned n_cpus, struct err **e);
void lst_destroy(struct dbt_cpu *v);
/* lst_fill - make an access to va fast; false: it needs the interpreter. */
bool lst_fill(struct dbt_cpu *v, uint64_t va, bool write);
/* lst_va - the canonical address of the first byte of a table's page. */
static inline uint64_t lst_va(uint64_t index)
{
	return (uint64_t)((int64_t)(index << (PAGE_SHIFT + 16)) >> 16);
}
/* lst_restore - enter what is in a window and not in the table of user accesses; false: no room. */
bool lst_restore(struct dbt_cpu *v, uint64_t index, uint64_t ram_off, bool write);
/* lst_exec - RAM page number of va's page for execution in the mode of v->mode, or NO_PAGE: not
 * known, and not to be had without raising or outside of RAM. */
uint64_t lst_exec(struct dbt_cpu *v, uint64_t va);
/* lst_view - set what translated code sees for v->mode. */
void lst_view(struct dbt_cpu *v);
/* lst_epoch - changes when code may have moved, in what v->mode sees. */
uint32_t lst_epoch(const struct dbt_cpu *v);
extern const struct x86_tlb_ops dbt_tlb_ops;

/* --- window.c: user memory by the host's page tables --- */
void windows_create(struct dbt_cpu *v, unsigned n_cpus); /* none where that cannot be */
void windows_destroy(struct dbt_cpu *v);
/* windows_map - an entry of the space's table was set; windows_drop - n
 * of them were cleared or narrowed (all in one chunk); windows_clear - all were, for good;
 * windows_stale - all were, but most are likely to come again: windows_check makes those that do,
 * before user code runs. */
void windows_map(struct dbt_windows *w, uint64_t index, const struct x86_place *p);
void windows_drop(struct dbt_windows *w, uint64_t index, unsigned n);
void windows_clear(struct dbt_windows *w);
void windows_stale(struct dbt_windows *w);
void windows_check(struct dbt_cpu *v);
/* windows_new_space - another program is in it, for all we know. */
void windows_new_space(struct dbt_cpu *v, struct dbt_windows *w);
void windows_close(struct dbt_windows *w); /* the space has none any more */
void windows_look(struct dbt_cpu *v); /* now and then, in the run loop: open or close them */
/* windows_fault - a host address could not be accessed: true when it can be now.  In the handler.
 */
bool windows_fault(struct dbt_cpu *v, uint64_t host, bool write);
/* windows_missed - an instruction found nothing that could be mapped, in the run loop;
 * windows_checked - has it so often that it is to use the shadow tables? */
void windows_missed(struct dbt_cpu *v, uint64_t ram_off);
/* windows_guess - translated code that guessed an address' region has one that is elsewhere: its
 * site is at frame.resume; sets frame.cross to the distance from linear to host addresses. */
void windows_guess(struct dbt_cpu *v, uint64_t va);
bool windows_checked(const struct dbt_cpu *v, uint64_t ram_off);
/* windows_not_high - an instruction that was translated for WINDOW_HIGH has an address elsewhere;
 * windows_was_not_high - was it ever so? */
void windows_not_high(struct dbt_cpu *v, uint64_t ram_off);
bool windows_was_not_high(const struct dbt_cpu *v, uint64_t ram_off);
void windows_view(struct dbt_cpu *v); /* dbt_cpu.delta is to be that of the space in use */
void windows_forget(struct dbt_cpu *v); /* which instructions those were */
/* windows_shown - the page of that index as it is mapped, or NULL. */
struct dbt_shown *windows_shown(const struct dbt_windows *w, uint64_t index);
/* windows_raised - code on a page of RAM was written to (NO_PAGE: on any). */
void windows_raised(struct dbt_cpu *v, uint64_t ram_page);

/* --- direct.c, direct_process.c: user code run by the host as it is --- */
/* direct_start - a process for a program; ram: the descriptor of guest RAM.  NULL: the host does not
 * let us.  On the vCPU's thread, as all else but direct_fits. */
struct direct *direct_start(int ram);
/* direct_has_room - has the program nothing where our own code has to be? */
bool direct_has_room(struct x86_cpu *c);
void direct_end(struct direct *d); /* which may be NULL */
/* direct_fits - is the program's state one that a process of the host's can have? */
bool direct_fits(const struct x86_cpu *c);
/* direct_turn - run the program from s.rip on until something is to be done; false: what is at s.rip
 * is to be translated.  May unwind. */
bool direct_turn(struct dbt_cpu *v);
/* direct_not_here - is it known that code at va must be translated?  From translated code, too. */
bool direct_not_here(struct dbt_cpu *v, uint64_t va);
/* direct_ahead - with v->mode: is the run loop to see whether code at va is run directly? */
static inline bool direct_ahead(struct dbt_cpu *v, uint64_t va)
{
	return (v->mode & DBT_MODE_DIRECT) && !direct_not_here(v, va);
}
/* direct_time - ns of the host's processor that the process has had. */
uint64_t direct_time(const struct direct *d);
void direct_unpin(struct dbt_cpu *v); /* this thread may run on any of the host's processors */
/* direct_map, direct_unmap, direct_unmap_all - before it goes on.  Also by another thread, while the
 * vCPU is stopped.  va is such that direct_can_show. */
void direct_map(struct direct *d, uint64_t va, uint64_t ram_off, int prot);
void direct_unmap(struct direct *d, uint64_t va);
void direct_unmap_all(struct direct *d);
bool direct_can_show(uint64_t va);
/* direct_code - what code the page has that cannot just be run directly: bits (direct_code.c).
 * before, behind: the pages that lie there, or NULL: not known. */
#define DIRECT_CPUID BIT(0) /* CPUID */
#define DIRECT_UMIP BIT(1) /* what CR4.UMIP forbids */
#define DIRECT_OTHER BIT(2) /* what the host neither traps nor does as it is in the guest */
unsigned direct_code(const uint8_t *before, const uint8_t *page, const uint8_t *behind);
/* direct_sample - the program is at s.rip and runs translated code for want of something that can be
 * had.  Between turns. */
void direct_sample(struct dbt_cpu *v);

/* --- cache.c --- */
int cache_create(struct dbt_cpu *v, size_t size, struct err **e);
void cache_destroy(struct dbt_cpu *v);
void cache_reset(struct dbt_cpu *v);
/* cache_find - the valid block at that place, or NULL; lin: where it is in the address space in
 * use. */
struct tb *cache_find(struct dbt_cpu *v, uint64_t ram_off, uint32_t mode, uint64_t lin);
/* cache_begin - where a part's next code is to be written. */
struct code cache_begin(struct dbt_cpu *v, struct cache_part *p);
/* cache_end - it was written up to there. */
void cache_end(struct dbt_cpu *v, struct cache_part *p, const struct code *a);
/* cache_add - enter a finished block: its code is the host_len bytes at far. */
void cache_add(struct dbt_cpu *v, struct tb *b);
void *cache_alloc(struct dbt_cpu *v, size_t size); /* NULL: reset first */
/* cache_code - the block that the host address lies in, or NULL; *insn: offset of the instruction.
 */
struct tb *cache_at(struct dbt_cpu *v, const uint8_t *rx, unsigned *insn);
void cache_link(struct dbt_cpu *v, struct tb_link *l, struct tb *to, bool other_page);
/* cache_invalidate - forget the blocks of a RAM page. */
void cache_invalidate(struct dbt_cpu *v, uint64_t ram_page);
/* cache_invalidate_at - forget those that have an instruction there. */
void cache_invalidate_at(struct dbt_cpu *v, uint64_t ram_off);
/* cache_raised - forget what the page list in v->raised says. */
void cache_raised(struct dbt_cpu *v);
static inline const uint8_t *tb_entry(const struct tb *b, enum tb_entry how)
{
	switch (how) {
	case TB_BODY:
		return b->body;
	case TB_POLL:
		return b->poll;
	case TB_SAVED:
		return b->saved;
	case TB_RETURNED:
		return b->returned;
	}
	return NULL;
}

/* --- stubs.c --- */
void stubs_emit(struct dbt_cpu *v);
/* stub_load_flags - code that takes arithmetic flags from frame.flags to the host's; uses T2. */
void stub_load_flags(struct code *a);

/* --- xlate.c --- */
/* xlate_block - translate the code at lin, whose page is at host address `page`; apart: each access
 * by itself.  May unwind. */
struct xlate *xlate_create(const struct x86_cpuid *cpuid); /* which outlives it */
void xlate_free(struct xlate *x);
struct tb *xlate_block(struct dbt_cpu *v, uint64_t lin, const uint8_t *page, uint64_t ram_off,
		       bool apart);

/* --- jump.c: from one block to the next; general registers only --- */
void jump_retag(struct dbt_cpu *v);
void jump_clear(struct dbt_cpu *v);
void jump_forget(struct dbt_cpu *v, const struct tb *b);
/* jump_find - the block for the linear address in the present mode, if translated; apart: the one
 * without spans. */
struct tb *jump_find(struct dbt_cpu *v, uint64_t lin, bool apart);
/* Helpers that stubs call: where to go on, or NULL for the run loop. */
const uint8_t *jump_missed(struct dbt_cpu *v);
const uint8_t *jump_link(struct dbt_cpu *v, uint64_t link);
/* An operand of 16 or 32 bytes at va in two pages: copied to the frame. */
bool jump_cross16(struct dbt_cpu *v, uint64_t va);
bool jump_cross32(struct dbt_cpu *v, uint64_t va);
bool jump_fill_r(struct dbt_cpu *v, uint64_t va);
bool jump_fill_w(struct dbt_cpu *v, uint64_t va);

/* --- returns.c: the stack of returns --- */
int returns_create(struct dbt_cpu *v, struct err **e); /* stubs are there */
void returns_destroy(struct dbt_cpu *v);
void returns_clear(struct dbt_cpu *v);
void returns_view(struct dbt_cpu *v); /* mode and epoch may be others */
/* returns_overflow - the host faulted there: if because the stack is full, true and its new
 * pointer. */
bool returns_overflow(struct dbt_cpu *v, uint64_t host, uint64_t *sp);

/* --- fpu.c --- */
void dbt_fpu_init(struct dbt_cpu *v);
void dbt_fpu_load(struct dbt_cpu *v);
/* dbt_fpu_parts - xstate_bv for XRSTOR: upper halves that are all zero are restored as initial. */
uint64_t dbt_fpu_parts(const struct x86_xsave *x);

/* --- fault.c --- */
void fault_install(void);
void fault_enter(struct dbt_cpu *v); /* this thread runs v's code until fault_leave */
void fault_leave(void);

/* --- stress.c --- */
/* stress_parse - DBT_STRESS_* that list and the environment's DOPPEL_DBT_STRESS name, joined by
 * '+'. */
int stress_parse(const char *list, unsigned *out, struct err **e);

/* --- symbols.c: names for perf and gdb --- */
/* symbols_open - of a VM, before its vCPUs: DBT_SYMBOLS_* that are wanted. */
int symbols_open(unsigned symbols, struct err **e);
void symbols_close(unsigned symbols);
void symbols_fini(struct dbt_cpu *v);
void symbols_add_stubs(struct dbt_cpu *v);
void symbols_add_block(struct dbt_cpu *v, const struct tb *b, uint64_t lin, const uint8_t *cold,
		       size_t cold_len);
void symbols_drop_all(struct dbt_cpu *v);
static inline void symbols_stubs(struct dbt_cpu *v)
{
	if (unlikely(v->symbols))
		symbols_add_stubs(v);
}
/* symbols_block - a block is finished; lin: its linear address here; cold: its code elsewhere. */
static inline void symbols_block(struct dbt_cpu *v, const struct tb *b, uint64_t lin,
				 const uint8_t *cold, size_t cold_len)
{
	if (unlikely(v->symbols))
		symbols_add_block(v, b, lin, cold, cold_len);
}
/* symbols_reset - all blocks are dropped, the stubs stay. */
static inline void symbols_reset(struct dbt_cpu *v)
{
	if (unlikely(v->symbols))
		symbols_drop_all(v);
}
