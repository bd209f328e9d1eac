/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack, branches, and the ends of a block.
 *
 * A direct branch inside the page is a host jump, which leads to a stub until it is linked (cache.c);
 * it needs no check, since the block that branches is only reached where its page is mapped.  One to
 * another page compares what that page is mapped to now with what it was when linked.  An indirect
 * one looks in the jump cache.  Whatever can go round in a circle goes by the target's poll entry.
 */
#include "engine/dbt/xlate_int.h"

#define H_RSP dbt_host_reg[X86_RSP]
#define H_RBP dbt_host_reg[X86_RBP]
#define H_RCX dbt_host_reg[X86_RCX]

static unsigned slot(const struct xlate *x)
{
	return x->code64 ? 8 : 4;
}

static bool slot_sized(const struct xlate *x, const struct xinsn *i)
{
	return i->d.opsize == slot(x);
}

static void load_slot(struct xlate *x, unsigned reg, struct emem m)
{
	e_rm(&x->a, x->code64, 0x8b, reg, m);
}

static void store_slot(struct xlate *x, struct emem m, unsigned reg)
{
	e_rm(&x->a, x->code64, 0x89, reg, m);
}

static void move_sp(struct xlate *x, int32_t by)
{
	e_lea(&x->a, x->code64, H_RSP, em_base(H_RSP, by));
}

void xl_push_access(struct xlate *x)
{
	xl_begin(x);
	e_lea(&x->a, x->code64, T0, em_base(H_RSP, -(int32_t)slot(x)));
	xl_access(x, T0, slot(x), XL_WRITE | XL_STACK);
}

/* [register returned + T1] is what RSP points at. */
static unsigned pop_access(struct xlate *x)
{
	unsigned ea = H_RSP;

	xl_begin(x);
	if (!x->code64)
		e_lea(&x->a, 0, ea = T0, em_base(H_RSP, 0));
	xl_access(x, ea, slot(x), XL_STACK);
	return ea;
}

static bool is_op(const struct xinsn *i, unsigned n, ZydisOperandType type)
{
	return i->d.op[n].type == type;
}

static bool gpr_op(const struct xinsn *i, unsigned n)
{
	ZydisRegisterClass cl;

	if (!is_op(i, n, ZYDIS_OPERAND_TYPE_REGISTER))
		return false;
	cl = ZydisRegisterGetClass(i->d.op[n].reg.value);
	return cl >= ZYDIS_REGCLASS_GPR8 && cl <= ZYDIS_REGCLASS_GPR64;
}

/* Read i's memory operand into reg; false: not to be done here. */
static bool load_operand(struct xlate *x, const struct xinsn *i, unsigned reg)
{
	unsigned ea;

	xl_begin(x);
	ea = xl_addr(x, i);
	if (ea == NO_REG)
		return false;
	xl_access(x, ea, slot(x), 0);
	load_slot(x, reg, em_sum(ea, T1));
	return true;
}

void xl_push(struct xlate *x, const struct xinsn *i)
{
	bool reg = gpr_op(i, 0), imm = is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE);
	unsigned g = reg ? xl_reg_num(i->d.op[0].reg.value) : 0;

	if (!slot_sized(x, i) || (!reg && !imm && i->d.mem < 0)) {
		xl_exit(x, i);
		return;
	}
	if (!reg && !imm) {
		if (!load_operand(x, i, T2)) {
			xl_exit(x, i);
			return;
		}
		e_store(&x->a, FRAME(tmp), T2);
	}
	xl_push_access(x);
	if (imm) {
		e_rm(&x->a, x->code64, 0xc7, 0, em_sum(T0, T1));
		e32(&x->a, (uint32_t)i->d.op[0].imm.value.s);
	} else if (reg && dbt_host_reg[g] != NO_REG) {
		store_slot(x, em_sum(T0, T1), dbt_host_reg[g]);
	} else {
		e_load(&x->a, T2, reg ? xl_home(g) : FRAME(tmp));
		store_slot(x, em_sum(T0, T1), T2);
	}
	move_sp(x, -(int32_t)slot(x));
}

void xl_pop(struct xlate *x, const struct xinsn *i)
{
	unsigned g, ea;

	if (!slot_sized(x, i) || !gpr_op(i, 0)) {
		xl_exit(x, i);
		return;
	}
	g = xl_reg_num(i->d.op[0].reg.value);
	ea = pop_access(x);
	if (g == X86_RSP) {
		load_slot(x, H_RSP, em_sum(ea, T1));
		x->sp_aligned = false;
		return;
	}
	if (dbt_host_reg[g] != NO_REG) {
		load_slot(x, dbt_host_reg[g], em_sum(ea, T1));
	} else {
		load_slot(x, T2, em_sum(ea, T1));
		e_store(&x->a, xl_home(g), T2);
	}
	move_sp(x, (int32_t)slot(x));
}

void xl_leave(struct xlate *x, const struct xinsn *i)
{
	if (!slot_sized(x, i)) {
		xl_exit(x, i);
		return;
	}
	xl_begin(x);
	e_lea(&x->a, x->code64, T0, em_base(H_RBP, 0));
	xl_access(x, T0, slot(x), 0);
	load_slot(x, H_RBP, em_sum(T0, T1));
	e_lea(&x->a, x->code64, H_RSP, em_base(T0, (int32_t)slot(x)));
	x->sp_aligned = false;
}

/* --- direct branches --- */
static bool in_page(int32_t target)
{
	return target >= 0 && target < (int32_t)PAGE_SIZE;
}

/* A branch of any kind inside the page whose rel32 field is at `jump`. */
static void link_in_page(struct xlate *x, uint8_t *jump, int32_t target)
{
	struct cold *c = xl_cold(x, COLD_LINK, jump);

	c->target = target;
	/* Backwards, or to this very instruction. */
	c->how = target <= (int32_t)x->i->off ? TB_POLL : TB_BODY;
}

/* Go to another page, if it is mapped to what it was when linked. */
static void goto_far(struct xlate *x, int32_t target, bool dead, unsigned off)
{
	struct code *a = &x->a;
	uint8_t *miss = NULL, *ok, *check;
	struct cold *c;

	e_load(a, T0, FRAME(code_base));
	e_lea(a, x->code64, T0, em_base(T0, target & ~((int32_t)PAGE_SIZE - 1)));
	e_pext(a, T1, T0, FRAME(vpn_mask));
	e_load(a, T2, FRAME(lst_x));
	if (dead) {
		e_rm(a, 0, 0x81, 7, em_index(T2, T1, 2, 0)); /* cmp [x], imm32 */
		check = a->full ? NULL : a->p;
		e32(a, LINK_NO_PAGE);
		miss = e_jcc(a, CC_NZ);
	} else {
		e_load32(a, T1, em_index(T2, T1, 2, 0));
		e_rm(a, 1, 0x8d, T1, em_base(T1, INT32_MIN)); /* lea, always with a disp32 */
		check = a->full ? NULL : a->p - 4;
		ok = e_jrcxz(a);
		miss = e_jmp(a);
		e_patch8(a, ok);
	}
	e_store(a, FRAME(code_base), T0);
	c = xl_cold(x, COLD_LINK, e_jmp(a));
	c->target = target;
	c->how = TB_POLL;
	c->info = off;
	c->check = check;
	c->neg = !dead;
	/* The check's way to the same stub. */
	c->back = miss;
}

void xl_goto(struct xlate *x, int32_t target)
{
	if (in_page(target))
		link_in_page(x, e_jmp(&x->a), target);
	else
		goto_far(x, target, !x->live_out, x->i->off);
	x->ended = true;
}

static bool branch_target(const struct xlate *x, const struct xinsn *i, int32_t *out)
{
	int64_t t = (int64_t)xl_next(i) + i->d.op[0].imm.value.s;

	*out = (int32_t)t;
	return t == *out && i->d.opsize != 2 && is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE);
}

/* Where a conditional branch leads, whose rel32 field is at `jump`. */
static void conditional(struct xlate *x, uint8_t *jump, int32_t target)
{
	if (in_page(target)) {
		link_in_page(x, jump, target);
	} else {
		struct cold *c = xl_cold(x, COLD_FAR, jump);

		c->target = target;
		c->dead = xl_dead(x);
	}
}

void xl_jcc(struct xlate *x, const struct xinsn *i)
{
	int32_t target;

	if (!branch_target(x, i, &target)) {
		xl_exit(x, i);
		return;
	}
	conditional(x, e_jcc(&x->a, i->d.insn.opcode & 15), target);
}

/* JCXZ, JECXZ, JRCXZ */
void xl_jcxz(struct xlate *x, const struct xinsn *i)
{
	int32_t target;
	uint8_t *zero, *over;

	if (!branch_target(x, i, &target) || i->d.addrsize == 2) {
		xl_exit(x, i);
		return;
	}
	e_rr(&x->a, i->d.addrsize == 8, 0x8b, T1, H_RCX);
	zero = e_jrcxz(&x->a);
	over = e_jmp8(&x->a);
	e_patch8(&x->a, zero);
	conditional(x, e_jmp(&x->a), target);
	e_patch8(&x->a, over);
}

void xl_loop(struct xlate *x, const struct xinsn *i)
{
	int32_t target;
	uint8_t *zero;

	if (!branch_target(x, i, &target) || i->d.addrsize == 2) {
		xl_exit(x, i);
		return;
	}
	e_lea(&x->a, i->d.addrsize == 8, H_RCX, em_base(H_RCX, -1));
	e_mov(&x->a, T1, H_RCX);
	zero = e_jrcxz(&x->a);
	conditional(x, e_jmp(&x->a), target);
	e_patch8(&x->a, zero);
}

/* --- indirect branches: to T0 --- */
static void goto_indirect(struct xlate *x, int32_t undo_sp)
{
	struct code *a = &x->a;
	uint8_t *hit;
	struct cold *c;

	e_pext(a, T1, T0, FRAME(jump_mask));
	e_load(a, T2, em_index(X86_RSP, T1, 3, FRAME_OFF(jump_key)));
	e_lea(a, 1, T2, em_sum(T2, T0));
	e_load(a, T1, FRAME(jump_untag));
	e_lea(a, 1, T1, em_sum(T1, T2));
	hit = e_jrcxz(a);
	c = xl_cold(x, COLD_MISS, e_jmp(a));
	c->info = x->i->off | (uint32_t)(undo_sp & 0xfffff) << 12;
	e_patch8(a, hit);
	e_pext(a, T1, T0, FRAME(jump_mask));
	e_jmp_mem(a, em_index(X86_RSP, T1, 3, FRAME_OFF(jump_code)));
	x->ended = true;
}

void xl_ret(struct xlate *x, const struct xinsn *i)
{
	int32_t more = is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE) ?
			       (int32_t)(i->d.op[0].imm.value.u & 0xffff) :
			       0;

	if (!slot_sized(x, i) || i->d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
		xl_exit(x, i);
		return;
	}
	load_slot(x, T0, em_sum(pop_access(x), T1));
	move_sp(x, (int32_t)slot(x) + more);
	goto_indirect(x, -((int32_t)slot(x) + more));
}

/* The target of an indirect branch in the frame (memory) or T0 (register); false: not here. */
static bool indirect_target(struct xlate *x, const struct xinsn *i)
{
	unsigned g;

	if (!slot_sized(x, i) || i->d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return false;
	if (i->d.mem >= 0)
		return load_operand(x, i, T0);
	if (!gpr_op(i, 0))
		return false;
	g = xl_reg_num(i->d.op[0].reg.value);
	if (dbt_host_reg[g] == NO_REG)
		e_load(&x->a, T0, xl_home(g));
	else
		e_rr(&x->a, x->code64, 0x8b, T0, dbt_host_reg[g]);
	return true;
}

void xl_jmp(struct xlate *x, const struct xinsn *i)
{
	int32_t target;

	if (branch_target(x, i, &target))
		xl_goto(x, target);
	else if (!is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE) && indirect_target(x, i))
		goto_indirect(x, 0);
	else
		xl_exit(x, i);
}

static void push_return(struct xlate *x, const struct xinsn *i)
{
	xl_push_access(x);
	e_load(&x->a, T2, FRAME(code_base));
	e_lea(&x->a, x->code64, T2, em_base(T2, (int32_t)xl_next(i)));
	store_slot(x, em_sum(T0, T1), T2);
	move_sp(x, -(int32_t)slot(x));
}

void xl_call(struct xlate *x, const struct xinsn *i)
{
	int32_t target;

	if (branch_target(x, i, &target)) {
		push_return(x, i);
		xl_goto(x, target);
	} else if (!is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE) && indirect_target(x, i)) {
		e_store(&x->a, FRAME(tmp), T0);
		push_return(x, i);
		e_load(&x->a, T0, FRAME(tmp));
		goto_indirect(x, (int32_t)slot(x));
	} else {
		xl_exit(x, i);
	}
}

/* --- the head and what is behind the block --- */
void xl_prologue(struct xlate *x)
{
	struct code *a = &x->a;
	uint8_t *ok;

	x->tb->far = e_here(a);
	e_lea(a, x->code64, T0, em_base(T0, -(int32_t)x->in[0].off));
	e_store(a, FRAME(code_base), T0);
	x->tb->poll = e_here(a);
	if (!x->in[0].live) {
		e_cmp32_mem_imm(a, CPU(attn), 0);
		xl_cold(x, COLD_POLL, e_jcc(a, CC_NZ));
	} else {
		e_load32(a, T1, CPU(attn));
		ok = e_jrcxz(a);
		xl_cold(x, COLD_POLL, e_jmp(a));
		e_patch8(a, ok);
	}
	x->tb->body = e_here(a);
}

/* The first instruction goes on in the next page: is that still the one it was decoded from? */
void xl_check_second(struct xlate *x)
{
	struct code *a = &x->a;

	e_load(a, T0, FRAME(code_base));
	e_lea(a, x->code64, T0, em_base(T0, (int32_t)PAGE_SIZE));
	e_pext(a, T1, T0, FRAME(vpn_mask));
	e_load(a, T2, FRAME(lst_x));
	e_load32(a, T1, em_index(T2, T1, 2, 0));
	e_lea(a, 1, T1, em_base(T1, -(int32_t)(x->tb->ram_page[1] + 1)));
	{
		uint8_t *ok = e_jrcxz(a);

		xl_cold(x, COLD_EXIT, e_jmp(a));
		e_patch8(a, ok);
	}
}

static void to_stub(struct xlate *x, uint32_t info, const uint8_t *stub)
{
	e_store32_imm(&x->a, FRAME(info), info);
	e_jmp_to(&x->a, stub);
}

static void cold_fill(struct xlate *x, struct cold *c)
{
	struct code *a = &x->a;

	e_mov(a, T0, c->ea);
	e_store32_imm(a, FRAME(info), c->info);
	e_patch(a, e_lea_rip(a, T2), c->back);
	e_jmp_to(a, x->v->cache.stub.fill[c->write]);
}

/* Does the access end in another page?  T1 < 0: the offset of its last byte says so. */
static void cold_align(struct xlate *x, struct cold *c)
{
	struct code *a = &x->a;
	uint8_t *stays;

	e_lea(a, 1, T1, em_base(c->ea, c->size - 1));
	e_pext(a, T1, T1, xl_low_mask(6));
	e_lea(a, 1, T1, em_base(T1, -(c->size - 1)));
	e_mov_imm(a, T2, 63);
	e_sarx(a, T1, T1, T2);
	stays = e_jrcxz(a);
	to_stub(x, c->info, x->v->cache.stub.insn);
	e_patch8(a, stays);
	e_jmp_to(a, c->back);
}

static void cold_link(struct xlate *x, struct cold *c)
{
	struct code *a = &x->a;
	const uint8_t *stub = e_here(a);
	struct tb_link *l;
	uint8_t *data;

	if (c->back) /* the check of a page */
		e_patch(a, (uint8_t *)(uintptr_t)c->back, stub);
	e_store32_imm(a, FRAME(info), c->info);
	data = e_lea_rip(a, T2);
	e_jmp_to(a, x->v->cache.stub.link);
	while ((uintptr_t)a->p & 3)
		e8(a, 0xcc);
	e_patch(a, data, e_here(a));
	l = (struct tb_link *)a->p;
	for (unsigned n = 0; n < sizeof(*l); n++)
		e8(a, 0);
	if (a->full)
		return;
	*l = (struct tb_link){
		.jump = (int32_t)(c->jump - (uint8_t *)l),
		.stub = (int32_t)(stub - a->rx - (uint8_t *)l),
		.target = c->target,
		.check = c->check ? (int32_t)(c->check - (uint8_t *)l) : 0,
		.neg = c->neg,
		.how = (uint8_t)c->how,
	};
	c->link = l;
}

static void cold_one(struct xlate *x, struct cold *c)
{
	e_patch(&x->a, c->jump, e_here(&x->a));
	switch (c->kind) {
	case COLD_FILL:
		cold_fill(x, c);
		break;
	case COLD_ALIGN:
		cold_align(x, c);
		break;
	case COLD_EXIT:
		to_stub(x, c->info, x->v->cache.stub.insn);
		break;
	case COLD_POLL:
		to_stub(x, c->info, x->v->cache.stub.exit[DBT_EXIT_POLL]);
		break;
	case COLD_LINK:
		cold_link(x, c);
		break;
	case COLD_FAR:
		goto_far(x, c->target, c->dead, c->info);
		break;
	case COLD_MISS:
		to_stub(x, c->info, x->v->cache.stub.jump);
		break;
	}
}

void xl_cold_code(struct xlate *x)
{
	/* Some of it adds more. */
	for (unsigned n = 0; n < x->n_cold && !x->a.full; n++)
		cold_one(x, &x->cold[n]);
}
