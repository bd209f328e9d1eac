/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Inside the translation of one block: xlate.c drives, the others write code. */
#include "engine/dbt/dbt_int.h"

#define XLATE_MAX 64 /* instructions of a block */
#define FLAGS_ALL 0x8d5u /* RFLAGS_ARITH */

struct xinsn {
	struct x86_decoded d;
	uint16_t off; /* in the page */
	uint16_t live; /* arithmetic flags that matter before it */
	bool bad; /* cannot be decoded or fetched: the interpreter raises what it must */
	bool copy; /* `regs` is valid: it can be copied */
};

/* Code that is written behind the block: what rarely runs. */
enum cold_kind {
	COLD_FILL, /* no entry in the shadow table */
	COLD_ALIGN, /* not aligned: goes on unless it crosses a page */
	COLD_EXIT, /* to the interpreter */
	COLD_POLL,
	COLD_LINK, /* direct branch inside the page, not linked yet */
	COLD_FAR, /* conditional branch to another page */
	COLD_MISS, /* indirect branch that is not in the jump cache */
};

struct cold {
	enum cold_kind kind;
	uint8_t *jump; /* rel32 field that leads here */
	uint8_t *check; /* COLD_LINK: imm32 of the check of the page, or NULL */
	const uint8_t *back;
	int32_t target;
	uint32_t info, mode;
	uint8_t ea, size;
	bool write, neg, dead;
	enum tb_entry how;
	struct tb_link *link; /* what COLD_LINK wrote */
};

#define COLD_MAX (XLATE_MAX * 6 + 8)

struct xlate {
	struct dbt_cpu *v;
	struct x86_cpu *c;
	struct code a;
	struct tb *tb;
	const uint8_t *page; /* host address of the page's first byte */
	uint64_t lin, ram_off; /* of the block's first byte */
	unsigned marked[2]; /* bounds of what is marked as decoded */
	uint32_t mode;
	bool code64;
	bool x87_noted; /* x87_base is this block's page */
	bool sp_aligned; /* RSP is a multiple of the stack's slot here */
	bool ended; /* nothing falls through any more */
	struct xinsn in[XLATE_MAX];
	unsigned n;
	uint16_t live_out; /* arithmetic flags that matter after the block */
	const struct xinsn *i; /* the one being translated */
	const uint8_t *retry; /* where its present access begins */
	struct cold cold[COLD_MAX];
	unsigned n_cold;
};

typedef void xlate_fn(struct xlate *x, const struct xinsn *i);

/* --- xlate.c --- */
struct cold *xl_cold(struct xlate *x, enum cold_kind kind, uint8_t *jump);
void xl_exit(struct xlate *x, const struct xinsn *i); /* leave to the interpreter; ends the block */
static inline bool xl_dead(const struct xlate *x)
{
	return !x->i->live;
}
static inline unsigned xl_next(const struct xinsn *i)
{
	return i->off + i->d.len;
}
static inline struct emem xl_home(unsigned guest)
{
	return em_base(X86_RSP, FRAME_OFF(in.cpu.s.gpr) + 8 * (int32_t)guest);
}
static inline struct emem xl_low_mask(unsigned n)
{
	return em_base(X86_RSP, (int32_t)offsetof(struct dbt_frame, low_mask) + 8 * (int32_t)n);
}

/* --- xlate_mem.c --- */
/* xl_addr - the linear address of i's memory operand in the register returned: T0, or a guest register
 * (not to be changed) when it is just that.  Uses T0 and T1.  NO_REG: cannot be formed here. */
unsigned xl_addr(struct xlate *x, const struct xinsn *i);
#define XL_WRITE BIT(0)
#define XL_ALIGNED BIT(1) /* a misaligned access faults on the host as it must */
#define XL_WHOLE BIT(2) /* a misaligned access is left to the interpreter */
#define XL_STACK BIT(3) /* address is RSP plus a multiple of the size */
/* xl_access - after it [ea + T1] is the host address; changes T1, and T2 for writes.  x->retry must have
 * been set before the address was formed. */
void xl_access(struct xlate *x, unsigned ea, unsigned size, unsigned how);
static inline void xl_begin(struct xlate *x)
{
	x->retry = e_here(&x->a);
}

/* --- xlate_copy.c --- */
xlate_fn xl_copy, xl_lea, xl_bt;
/* xl_can_copy - is it an instruction that xl_copy takes, in this mode? */
bool xl_can_copy(const struct xlate *x, const struct x86_decoded *d);
unsigned xl_reg_num(ZydisRegister r); /* of a general register, 0..15 */

/* --- xlate_sys.c --- */
xlate_fn xl_cli, xl_sti, xl_stac, xl_clac, xl_swapgs, xl_rdtsc, xl_rdtscp, xl_pushf;
xlate_fn xl_syscall, xl_sysret, xl_iret;

/* --- xlate_flow.c --- */
/* xl_push_access - [T0 + T1] becomes the slot below RSP, which is not moved yet. */
void xl_push_access(struct xlate *x);
xlate_fn xl_push, xl_pop, xl_leave, xl_jcc, xl_jmp, xl_call, xl_ret, xl_jcxz, xl_loop;
void xl_goto(struct xlate *x, int32_t target);
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
