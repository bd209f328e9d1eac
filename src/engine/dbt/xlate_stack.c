/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack.
 *
 * PUSH and POP come in runs, of which the slots nearly always lie in one page: a run is one access,
 * by way of its span (xlate_span.c) if it has one.  Where a run without a span is not in one page,
 * its first instruction is the interpreter's, and the rest of the run is another block's.
 */
#include "engine/dbt/xlate_int.h"

#define H_RSP dbt_host_reg[X86_RSP]
#define H_RBP dbt_host_reg[X86_RBP]

unsigned xl_slot(const struct xlate *x)
{
	return x->code64 ? 8 : 4;
}

bool xl_slot_sized(const struct xlate *x, const struct xinsn *i)
{
	return i->d.opsize == xl_slot(x);
}

void xl_load_slot(struct xlate *x, unsigned reg, struct emem m)
{
	e_rm(&x->a, x->code64, 0x8b, reg, m);
}

void xl_store_slot(struct xlate *x, struct emem m, unsigned reg)
{
	e_rm(&x->a, x->code64, 0x89, reg, m);
}

void xl_move_sp(struct xlate *x, int32_t by)
{
	e_lea(&x->a, x->code64, H_RSP, em_base(H_RSP, by));
}

/* The slot at a host register plus disp; uses T0 and T1, and T2 for writes. */
static struct emem access_slot(struct xlate *x, const struct xinsn *i, unsigned reg, int32_t disp,
			       unsigned how)
{
	bool spanned = xl_spanned(x, &i->slot);
	unsigned ea = reg;

	if (spanned && !xl_span_leads(x, &i->slot))
		return xl_span_member(x, &i->slot, T1);
	if (x->by_window) {
		xl_span_window(x, &i->slot, reg);
		return em_index(reg, T1, 0, disp);
	}
	xl_begin(x);
	disp += spanned ? xl_span_start(x, &i->slot) : 0;
	if (!x->code64 || disp)
		e_lea(&x->a, x->code64, ea = T0, em_base(reg, disp));
	if (spanned)
		return xl_span_lead(x, &i->slot, ea, T1);
	xl_access(x, ea, xl_slot(x), how);
	return em_sum(ea, T1);
}

void xl_stack_moved(struct xlate *x, const struct xinsn *i)
{
	unsigned live = i + 1 < x->in + x->n ? i[1].live : x->live_out;

	xl_high(x, H_RSP, live && !x->flags_saved, COLD_MOVED)->info = xl_next(i);
	x->in_t1 = -1;
}

struct emem xl_push_access(struct xlate *x, const struct xinsn *i)
{
	return access_slot(x, i, H_RSP, -(int32_t)xl_slot(x), XL_WRITE | XL_STACK);
}

struct emem xl_pop_access(struct xlate *x, const struct xinsn *i)
{
	return access_slot(x, i, H_RSP, 0, XL_STACK);
}

bool xl_is_op(const struct xinsn *i, unsigned n, ZydisOperandType type)
{
	return i->d.op[n].type == type;
}

bool xl_gpr_op(const struct xinsn *i, unsigned n)
{
	return xl_is_op(i, n, ZYDIS_OPERAND_TYPE_REGISTER) && xl_is_gpr(i->d.op[n].reg.value);
}

bool xl_load_operand(struct xlate *x, const struct xinsn *i, unsigned reg)
{
	struct emem m;

	if (!xl_operand(x, i, xl_slot(x), 0, T1, &m))
		return false;
	xl_load_slot(x, reg, m);
	return true;
}

void xl_push(struct xlate *x, const struct xinsn *i)
{
	bool reg = xl_gpr_op(i, 0), imm = xl_is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE);
	unsigned g = reg ? xl_reg_num(i->d.op[0].reg.value) : 0;
	struct emem m;

	if (!xl_slot_sized(x, i) || (!reg && !imm && i->d.mem < 0)) {
		xl_exit(x, i);
		return;
	}
	if (!reg && !imm) {
		if (!xl_load_operand(x, i, T2)) {
			xl_exit(x, i);
			return;
		}
		e_store(&x->a, FRAME(tmp), T2);
	}
	m = xl_push_access(x, i);
	if (imm) {
		e_rm(&x->a, x->code64, 0xc7, 0, m);
		e32(&x->a, (uint32_t)i->d.op[0].imm.value.s);
	} else if (reg && dbt_host_reg[g] != NO_REG) {
		xl_store_slot(x, m, dbt_host_reg[g]);
	} else {
		e_load(&x->a, T2, reg ? xl_home(g) : FRAME(tmp));
		xl_store_slot(x, m, T2);
	}
	xl_move_sp(x, -(int32_t)xl_slot(x));
}

void xl_pop(struct xlate *x, const struct xinsn *i)
{
	struct emem m;
	unsigned g;

	if (!xl_slot_sized(x, i) || !xl_gpr_op(i, 0)) {
		xl_exit(x, i);
		return;
	}
	g = xl_reg_num(i->d.op[0].reg.value);
	m = xl_pop_access(x, i);
	if (g == X86_RSP) {
		xl_load_slot(x, H_RSP, m);
		x->sp_aligned = false;
		return;
	}
	if (dbt_host_reg[g] != NO_REG) {
		xl_load_slot(x, dbt_host_reg[g], m);
	} else {
		xl_load_slot(x, T2, m);
		e_store(&x->a, xl_home(g), T2);
	}
	xl_move_sp(x, (int32_t)xl_slot(x));
}

void xl_leave(struct xlate *x, const struct xinsn *i)
{
	if (!xl_slot_sized(x, i)) {
		xl_exit(x, i);
		return;
	}
	xl_load_slot(x, T2, access_slot(x, i, H_RBP, 0, 0));
	e_lea(&x->a, x->code64, H_RSP, em_base(H_RBP, (int32_t)xl_slot(x)));
	e_mov(&x->a, H_RBP, T2);
	x->sp_aligned = false;
}

/* --- runs --- */
static bool push_in_run(const struct xlate *x, const struct xinsn *i)
{
	return i->d.insn.mnemonic == ZYDIS_MNEMONIC_PUSH && !i->bad && xl_slot_sized(x, i) &&
	       (xl_is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE) ||
		(xl_gpr_op(i, 0) && xl_reg_num(i->d.op[0].reg.value) != X86_RSP));
}

static bool pop_in_run(const struct xlate *x, const struct xinsn *i)
{
	return i->d.insn.mnemonic == ZYDIS_MNEMONIC_POP && !i->bad && xl_slot_sized(x, i) &&
	       xl_gpr_op(i, 0) && xl_reg_num(i->d.op[0].reg.value) != X86_RSP;
}

static bool near_ret(const struct xlate *x, const struct xinsn *i)
{
	return i->d.insn.mnemonic == ZYDIS_MNEMONIC_RET && !i->bad && xl_slot_sized(x, i) &&
	       i->d.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
}

/* To the interpreter unless n slots from T0 lie in one page. */
static void leave_unless_one_page(struct xlate *x, unsigned n)
{
	xl_cold(x, COLD_EXIT, xl_unless_one_page(x, T0, n * xl_slot(x)));
}

/* Are they all in one span? */
static bool run_spanned(const struct xlate *x, const struct xinsn *i, unsigned n)
{
	for (unsigned k = 1; k < n; k++)
		if (i[k].slot.span != i[0].slot.span)
			return false;
	return xl_spanned(x, &i[0].slot);
}

/* The n-th of the slots from m on. */
static struct emem run_slot(const struct xlate *x, struct emem m, unsigned n)
{
	m.disp += (int32_t)(n * xl_slot(x));
	return m;
}

static void push_one(struct xlate *x, const struct xinsn *i, struct emem m)
{
	unsigned g;

	if (xl_is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE)) {
		e_rm(&x->a, x->code64, 0xc7, 0, m);
		e32(&x->a, (uint32_t)i->d.op[0].imm.value.s);
		return;
	}
	g = xl_reg_num(i->d.op[0].reg.value);
	if (dbt_host_reg[g] != NO_REG) {
		xl_store_slot(x, m, dbt_host_reg[g]);
	} else {
		e_load(&x->a, T2, xl_home(g));
		xl_store_slot(x, m, T2);
	}
}

static void push_run(struct xlate *x, const struct xinsn *i, unsigned n)
{
	int32_t bytes = (int32_t)(n * xl_slot(x));
	struct emem m;

	if (x->by_window || run_spanned(x, i, n)) {
		m = xl_push_access(x, i); /* the highest one */
		m.disp -= bytes - (int32_t)xl_slot(x);
	} else {
		xl_begin(x);
		e_lea(&x->a, x->code64, T0, em_base(H_RSP, -bytes));
		leave_unless_one_page(x, n);
		xl_access(x, T0, xl_slot(x), XL_WRITE | XL_STACK);
		m = em_sum(T0, T1);
	}
	for (unsigned k = 0; k < n; k++)
		push_one(x, &i[k], run_slot(x, m, n - 1 - k));
	xl_move_sp(x, -bytes);
}

static void pop_one(struct xlate *x, const struct xinsn *i, struct emem m)
{
	unsigned g = xl_reg_num(i->d.op[0].reg.value);

	if (dbt_host_reg[g] != NO_REG) {
		xl_load_slot(x, dbt_host_reg[g], m);
	} else {
		xl_load_slot(x, T2, m);
		e_store(&x->a, xl_home(g), T2);
	}
}

/* n POPs, and RET after them if ret. */
static void pop_run(struct xlate *x, const struct xinsn *i, unsigned n, bool ret)
{
	unsigned slots = n + ret;
	int32_t more = ret ? xl_ret_extra(&i[n]) : 0;
	struct emem m;

	if (ret)
		xl_save_flags(x);
	if (x->by_window || run_spanned(x, i, slots)) {
		m = xl_pop_access(x, i);
	} else {
		xl_begin(x);
		e_lea(&x->a, x->code64, T0, em_base(H_RSP, 0));
		leave_unless_one_page(x, slots);
		xl_access(x, T0, xl_slot(x), XL_STACK);
		m = em_sum(T0, T1);
	}
	for (unsigned k = 0; k < n; k++)
		pop_one(x, &i[k], run_slot(x, m, k));
	if (ret)
		xl_load_slot(x, T0, run_slot(x, m, n));
	xl_move_sp(x, (int32_t)(slots * xl_slot(x)) + more);
	if (ret) {
		x->i = &i[n];
		xl_goto_return(x, -((int32_t)xl_slot(x) + more));
	}
}

unsigned xl_stack_run(struct xlate *x, unsigned at)
{
	const struct xinsn *i = &x->in[at];
	unsigned n = 0, left = x->n - at;
	bool ret;

	xl_turn_to(x, i);
	if (x->apart)
		return 0;
	while (n < left && push_in_run(x, &i[n]))
		n++;
	if (n > 1) {
		push_run(x, i, n);
		return n;
	}
	for (n = 0; n < left && pop_in_run(x, &i[n]);)
		n++;
	ret = n && n < left && near_ret(x, &i[n]);
	if (n + ret < 2)
		return 0;
	pop_run(x, i, n, ret);
	return n + ret;
}
