/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Inside the translation of one block: xlate.c drives, the others write code. */
#include "engine/dbt/dbt_int.h"

#define XLATE_MAX 64 /* instructions of a block */
#define XLATE_STEP 65536 /* of RSP, which is not looked at: xlate_span.c */
#define FLAGS_ALL 0x8d5u /* RFLAGS_ARITH */

/* --- general registers, which Zydis numbers AL..BH SPL..R15B, AX.., EAX.., RAX..R15 --- */
_Static_assert(ZYDIS_REGISTER_R15B == ZYDIS_REGISTER_AL + 19 &&
		       ZYDIS_REGISTER_AX == ZYDIS_REGISTER_R15B + 1 &&
		       ZYDIS_REGISTER_EAX == ZYDIS_REGISTER_AX + 16 &&
		       ZYDIS_REGISTER_RAX == ZYDIS_REGISTER_EAX + 16 &&
		       ZYDIS_REGISTER_R15 == ZYDIS_REGISTER_RAX + 15,
	       "");

static inline bool xl_is_gpr(ZydisRegister r)
{
	return r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_R15;
}

static inline bool xl_is_gpr64(ZydisRegister r)
{
	return r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15;
}

static inline bool xl_is_high(ZydisRegister r)
{
	return r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
}

/* 0..15; 0..3 for AH..BH. */
static inline unsigned xl_reg_num(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_AX)
		return (unsigned)(r - ZYDIS_REGISTER_AX) & 15;
	if (r < ZYDIS_REGISTER_SPL)
		return (unsigned)(r - ZYDIS_REGISTER_AL) & 3;
	return (unsigned)(r - ZYDIS_REGISTER_SPL) + 4;
}

struct xaccess { /* one access of an instruction, as its span sees it (xlate_span.c) */
	int32_t disp; /* from the span's value */
	uint8_t size;
	int8_t span; /* which, or -1 */
	bool stack; /* so near to RSP that it is where that is */
	bool known; /* in that region for sure */
	bool high; /* its register was in WINDOW_HIGH when the block was translated, and never
		      elsewhere here */
	int16_t region; /* which it was in, or -1: not known */
};

struct xinsn {
	struct x86_decoded d;
	struct xaccess operand, slot; /* its memory operand; the stack's */
	uint16_t off; /* in the page */
	uint16_t live; /* arithmetic flags that matter before it */
	bool bad; /* cannot be decoded or fetched: the interpreter raises what it must */
	bool copy; /* `regs` is valid: it can be copied */
	bool moves_stack; /* after it, it is to be seen whether RSP is still in WINDOW_HIGH */
};

/* Code that is written elsewhere: what rarely runs. */
enum cold_kind {
	COLD_FILL, /* no entry in the shadow table */
	COLD_ALIGN, /* not aligned: goes on unless it crosses a page */
	COLD_CROSS, /* a vector read that crosses a page: goes on with a copy of the operand */
	COLD_REGION, /* not in the region that was guessed: finds its window, and guesses anew */
	COLD_NOT_HIGH, /* not in WINDOW_HIGH: to the interpreter, and to be translated otherwise */
	COLD_MOVED, /* RSP has left WINDOW_HIGH: to the run loop, behind the instruction */
	COLD_EXIT, /* to the interpreter */
	COLD_POLL,
	COLD_LINK, /* direct branch inside the page, not linked yet */
	COLD_FAR, /* conditional branch to another page */
	COLD_PARK, /* entry of a block with its flags in the frame: from where they are not */
	COLD_MISS, /* indirect branch that is not in the jump cache: flags are in the frame */
};

struct cold {
	enum cold_kind kind;
	uint8_t *jump; /* rel32 field that leads here */
	uint8_t *check; /* COLD_LINK: imm32 of the check of the page, or NULL */
	const uint8_t *back;
	const uint8_t *site; /* of a CALL: what is behind it, or NULL */
	int32_t target;
	uint32_t info, mode;
	uint8_t ea, size;
	bool write, neg, dead, saved; /* saved: flags are in the frame here */
	bool apart; /* COLD_LINK: to the translation without spans */
	enum tb_entry how;
	struct tb_link *link; /* what COLD_LINK wrote */
};

#define COLD_MAX (XLATE_MAX * 6 + 8)

struct span {
	struct span_key {
		uint16_t base, index; /* numbers of values */
		uint8_t scale;
	} key;
	bool write, ready; /* ready: translated */
	bool high; /* in WINDOW_HIGH */
	unsigned n; /* accesses */
	int32_t lo, end; /* where they lie, from the value */
};

/* What was found of the flags that matter at a place. */
#define LIVE_MEMOS 4096
struct live_memo {
	uint64_t key; /* RAM offset << 1 | 64-bit code */
	uint32_t gen;
	uint32_t live;
};

struct xlate {
	struct dbt_cpu *v;
	struct x86_cpu *c;
	struct x86_decode_memo *decoder;
	struct code a;
	struct tb *tb;
	const uint8_t *page; /* host address of the page's first byte */
	uint64_t lin, ram_off; /* of the block's first byte */
	unsigned marked[2]; /* bounds of what is marked as decoded */
	uint32_t mode;
	bool code64;
	bool apart; /* no spans: DBT_MODE_APART */
	bool windows; /* the address space has windows ... */
	bool by_window; /* ... and the present instruction's accesses go by them */
	bool stack; /* RSP is in WINDOW_HIGH: DBT_MODE_STACK */
	bool returns; /* CALL and RET use the stack of returns */
	bool parked; /* flags are in the frame all through the block */
	bool flags_saved; /* they are in the frame, for a branch */
	bool x87_noted; /* x87_base is this block's page */
	bool sp_aligned; /* RSP is a multiple of the stack's slot here */
	bool ended; /* nothing falls through any more */
	struct xinsn in[XLATE_MAX];
	unsigned n;
	uint16_t live_out; /* arithmetic flags that matter after the block */
	const struct xinsn *i; /* the one being translated */
	const uint8_t *retry; /* where its present access begins */
	struct span span[SPANS_MAX];
	unsigned n_spans;
#define IN_T1_HIGH (-2)
	int in_t1; /* the span whose address T1 holds, or -1; IN_T1_HIGH: high_delta */
	struct cold cold[COLD_MAX];
	unsigned n_cold;
	const uint8_t *cold_at; /* where its code begins */
	struct live_memo memo[LIVE_MEMOS];
};

typedef void xlate_fn(struct xlate *x, const struct xinsn *i);

/* --- xlate.c --- */
struct cold *xl_cold(struct xlate *x, enum cold_kind kind, uint8_t *jump);
void xl_exit(struct xlate *x, const struct xinsn *i); /* leave to the interpreter; ends the block */
void xl_turn_to(struct xlate *x, const struct xinsn *i); /* i is the one being translated */
/* xl_code_address - reg = the linear address of what is that far (32 bits) from the block's page.
 */
void xl_code_address(struct xlate *x, unsigned reg, int64_t off);
/* xl_by_window - do i's accesses go by windows? */
bool xl_by_window(const struct xlate *x, const struct xinsn *i);
static inline uint64_t xl_ram_off(const struct xlate *x, const struct xinsn *i)
{
	return (x->ram_off & ~(PAGE_SIZE - 1)) + i->off;
}
/* May code for the present instruction change the host's flags? */
static inline bool xl_dead(const struct xlate *x)
{
	return !x->i->live || x->flags_saved;
}
static inline unsigned xl_next(const struct xinsn *i)
{
	return i->off + i->d.len;
}
static inline struct emem xl_home(unsigned guest)
{
	return em_frame((int32_t)offsetof(struct dbt_frame, high) +
			8 * (int32_t)(guest - HIGH_FIRST));
}
static inline struct emem xl_low_mask(unsigned n)
{
	return em_frame((int32_t)offsetof(struct dbt_frame, low_mask) + 8 * (int32_t)n);
}

/* --- xlate_mem.c --- */
/* xl_in_reg - a host register with guest register r in it: temp, loaded, where it has none. */
unsigned xl_in_reg(struct xlate *x, ZydisRegister r, unsigned temp);
/* xl_addr - the linear address of i's memory operand plus `plus` in the register returned: T0, or a
 * guest register (not to be changed) when it is just that.  Uses T0 and T1.  NO_REG: cannot be
 * formed here. */
unsigned xl_addr(struct xlate *x, const struct xinsn *i, int32_t plus);
#define XL_WRITE BIT(0)
#define XL_ALIGNED BIT(1) /* a misaligned access faults on the host as it must */
#define XL_WHOLE BIT(2) /* a misaligned access is left to the interpreter */
#define XL_STACK BIT(3) /* address is RSP plus a multiple of the size */
#define XL_INSIDE BIT(4) /* it is known to be aligned, or to lie in one page if that is enough */
/* xl_access - after it [ea + T1] is the host address; changes T1, and T2 for writes.  x->retry must
 * have been set before the address was formed. */
void xl_access(struct xlate *x, unsigned ea, unsigned size, unsigned how);
static inline void xl_begin(struct xlate *x)
{
	x->retry = e_here(&x->a);
	x->in_t1 = -1;
}

/* xl_window - after it [ea + T1] is the host address in the window of ea's region, which is guessed
 * to be `region`; so are others less than 4 GiB away, if they are in that region. */
void xl_window(struct xlate *x, unsigned ea, unsigned region);
/* xl_high - go on if ea is in WINDOW_HIGH; else `kind` is for it.  live: flags matter here. Changes
 * T1. */
struct cold *xl_high(struct xlate *x, unsigned ea, bool live, enum cold_kind kind);
/* xl_near - is i's memory operand a register plus a displacement so small that the register tells
 * its region?  Not for what needs the operand's own address. */
bool xl_near(const struct xinsn *i);
/* xl_guess_region - where what is at host register ea is likely to be. */
unsigned xl_guess_region(const struct xlate *x, unsigned ea);

/* xl_translate - the second half of it: for an address that is known to lie in a page with all that
 * is accessed by way of it. */
void xl_translate(struct xlate *x, unsigned ea, bool write);

/* xl_operand - the two together for i's memory operand: *m is where it is on the host, with `temp`
 * (T0 or T1) or, when it is in no span, [address + T1]; changes T0, T1 and T2.  False: not here. */
bool xl_operand(struct xlate *x, const struct xinsn *i, unsigned size, unsigned how, unsigned temp,
		struct emem *m);

/* xl_unless_one_page - a jump (its rel32 field) taken unless that many bytes from ea lie in one
 * page; changes T1 and T2. */
uint8_t *xl_unless_one_page(struct xlate *x, unsigned ea, unsigned bytes);

/* --- xlate_span.c --- */
/* xl_spans_find - which accesses of the block are translated together. */
void xl_spans_find(struct xlate *x);
/* xl_spanned - is the access part of a span?  If it does not lead, xl_span_member makes its operand
 * with `temp` (T0 or T1), all that it uses; the leader's is made of its address plus
 * xl_span_start, after xl_begin, and changes T0, T1 and T2. */
bool xl_spanned(const struct xlate *x, const struct xaccess *a);
bool xl_span_leads(const struct xlate *x, const struct xaccess *a);
int32_t xl_span_start(const struct xlate *x, const struct xaccess *a);
struct emem xl_span_member(struct xlate *x, const struct xaccess *a, unsigned temp);
/* xl_span_window - T1 = the distance for an access from host register reg, shared with others of
 * its span. */
void xl_span_window(struct xlate *x, const struct xaccess *a, unsigned reg);
struct emem xl_span_lead(struct xlate *x, const struct xaccess *a, unsigned ea, unsigned temp);

/* --- xlate_copy.c --- */
xlate_fn xl_copy, xl_lea, xl_bt;
/* xl_can_copy - is it an instruction that xl_copy takes, in this mode? */
bool xl_can_copy(const struct xlate *x, const struct x86_decoded *d);
/* xl_may_span - may its memory operand be accessed by way of a span? */
bool xl_may_span(const struct x86_decoded *d);

/* --- xlate_sys.c --- */
xlate_fn xl_cld, xl_cli, xl_sti, xl_stac, xl_clac, xl_swapgs, xl_rdtsc, xl_rdtscp, xl_pushf;
xlate_fn xl_syscall, xl_sysret, xl_iret, xl_pause;

/* --- xlate_stack.c --- */
xlate_fn xl_push, xl_pop, xl_leave;
/* xl_stack_run - translate a run of PUSH or of POP (and RET) that begins at x->in[at]: how many
 * instructions, 0 when there is no run. */
unsigned xl_stack_run(struct xlate *x, unsigned at);
/* A slot of the stack: 8 bytes in 64-bit code, else 4; is that i's operand size? */
unsigned xl_slot(const struct xlate *x);
bool xl_slot_sized(const struct xlate *x, const struct xinsn *i);
void xl_load_slot(struct xlate *x, unsigned reg, struct emem m);
void xl_store_slot(struct xlate *x, struct emem m, unsigned reg);
void xl_move_sp(struct xlate *x, int32_t by);
/* xl_stack_moved - behind i, which gave RSP a value that may not be in WINDOW_HIGH. */
void xl_stack_moved(struct xlate *x, const struct xinsn *i);
/* xl_push_access - the slot below RSP, which is not moved yet; uses T0 and T1. */
struct emem xl_push_access(struct xlate *x, const struct xinsn *i);
/* xl_pop_access - the slot that RSP points at; uses T0 and T1. */
struct emem xl_pop_access(struct xlate *x, const struct xinsn *i);
bool xl_is_op(const struct xinsn *i, unsigned n, ZydisOperandType type);
bool xl_gpr_op(const struct xinsn *i, unsigned n); /* a general register? */
/* xl_load_operand - a slot from i's memory operand into reg; false: not to be done here. */
bool xl_load_operand(struct xlate *x, const struct xinsn *i, unsigned reg);

/* --- xlate_string.c --- */
xlate_fn xl_movs, xl_stos, xl_lods, xl_scas, xl_cmps;

/* --- xlate_flow.c --- */
xlate_fn xl_jcc, xl_jmp, xl_call, xl_ret, xl_jcxz, xl_loop;
void xl_goto(struct xlate *x, int32_t target);
/* xl_goto_return - a return to the address in T0, flags in the frame.  undo_sp: what to add to RSP
 * when it must raise. */
void xl_goto_return(struct xlate *x, int32_t undo_sp);
/* xl_look_up - to the block at T0, if it is in the jump cache, else the rel32 field that is
 * returned is for it. Flags are in the frame, or do not matter.  Changes T1 and T2. */
uint8_t *xl_look_up(struct code *a, bool call);
/* xl_save_flags - for a branch to where it is not known whether flags matter: keep them in the
 * frame if they do here.  The target brings them back if it wants them (TB_SAVED). */
void xl_save_flags(struct xlate *x);
/* xl_leads_away - is it a branch that keeps flags in the frame, if they matter? */
bool xl_leads_away(const struct xlate *x, const struct xinsn *i);
int32_t xl_ret_extra(const struct xinsn *i); /* bytes that RET drops besides */
void xl_prologue(struct xlate *x);
void xl_cold_code(struct xlate *x);
void xl_check_second(struct xlate *x);

/* --- xlate_log.c --- */
void xlate_log(struct xlate *x);

/* --- flags.c --- */
/* flags_read/flags_kill - arithmetic flags that an instruction needs; that are the same after it
 * whatever they were. */
unsigned flags_read(const struct x86_decoded *d);
unsigned flags_kill(const struct x86_decoded *d);
/* flags_apart - has it nothing at all to do with arithmetic flags? */
bool flags_apart(const struct x86_decoded *d);
