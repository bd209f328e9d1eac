/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branches, and the ends of a block.
 *
 * A direct branch inside the page is a host jump, which leads to a stub until it is linked
 * (cache.c); it needs no check, since the block that branches is only reached where its page is
 * mapped.  One to another page compares what that page is mapped to now with what it was when
 * linked.  An indirect one looks in the jump cache.  In user code a call is a host CALL and a
 * return a host RET (returns.c), so behind a call there is code of its own (return_site), which
 * goes on to the block there: no poll, since calls and returns that match make no circle alone.
 * Whatever can go round in a circle goes by the
 * target's poll entry.
 */
#include "engine/dbt/xlate_int.h"

#define H_RSP dbt_host_reg[X86_RSP]
#define H_RCX dbt_host_reg[X86_RCX]

/* --- flags across branches --- */
static void save_flags(struct code *a)
{
	e_mov(a, T2, X86_RAX);
	e8(a, 0x9f); /* lahf */
	e8(a, 0x0f), e8(a, 0x90), e8(a, 0xc0); /* seto al */
	e_store32(a, FRAME(flags), X86_RAX);
	e_mov(a, X86_RAX, T2);
}

void xl_save_flags(struct xlate *x)
{
	if (xl_dead(x))
		return;
	save_flags(&x->a);
	x->flags_saved = true;
	x->tb->saved_at = (uint32_t)(e_here(&x->a) - x->tb->far);
}

/* The block's page is where reg and off lead.  Where it is known when code is translated, nothing
 * has to wait for reg. */
static void set_code_base(struct xlate *x, unsigned reg, int32_t off)
{
	uint64_t page = x->lin & ~(PAGE_SIZE - 1);

	if (x->windows && page == (uint64_t)(int32_t)page) {
		e_rm(&x->a, 1, 0xc7, 0, FRAME(code_base));
		e32(&x->a, (uint32_t)page);
		return;
	}
	if (x->windows)
		e_mov_imm(&x->a, reg, page);
	else
		e_lea(&x->a, x->code64, reg, em_base(reg, off));
	e_store(&x->a, FRAME(code_base), reg);
}

/* --- direct branches --- */
static bool in_page(int32_t target)
{
	return target >= 0 && target < (int32_t)PAGE_SIZE;
}

/* A branch of any kind inside the page whose rel32 field is at `jump`. */
static struct cold *link_in_page(struct xlate *x, uint8_t *jump, int32_t target)
{
	struct cold *c = xl_cold(x, COLD_LINK, jump);

	c->target = target;
	/* Backwards, or to this very instruction. */
	c->how = x->flags_saved ? TB_SAVED : target <= (int32_t)x->i->off ? TB_POLL : TB_BODY;
	return c;
}

/* Go to another page, if it is mapped to what it was when linked. */
static void goto_far(struct xlate *x, int32_t target, bool dead, unsigned off, bool call)
{
	struct code *a = &x->a;
	uint8_t *miss = NULL, *ok, *check;
	struct cold *c;

	xl_code_address(x, T0, target & ~((int32_t)PAGE_SIZE - 1));
	e_pext(a, T1, T0, FRAME(vpn_mask));
	e_load(a, T2, FRAME(lst_x));
	if (dead) {
		e_rm(a, 0, 0x81, 7, em_index(T2, T1, 2, 0)); /* cmp [x], imm32 */
		check = a->p;
		e32(a, LINK_NO_PAGE);
		miss = e_jcc(a, CC_NZ);
	} else {
		e_load32(a, T1, em_index(T2, T1, 2, 0));
		e_rm(a, 1, 0x8d, T1, em_base(T1, INT32_MIN)); /* lea, always with a disp32 */
		check = a->p - 4;
		ok = e_jrcxz(a);
		miss = e_jmp(a);
		e_patch8(a, ok);
	}
	e_store(a, FRAME(code_base), T0);
	c = xl_cold(x, COLD_LINK, call ? e_call(a) : e_jmp(a));
	c->site = call ? e_here(a) : NULL;
	c->target = target;
	c->how = x->flags_saved ? TB_SAVED : TB_POLL;
	c->info = off;
	c->check = check;
	c->neg = !dead;
	/* The check's way to the same stub. */
	c->back = miss;
}

static void goto_direct(struct xlate *x, int32_t target, bool call)
{
	if (in_page(target))
		link_in_page(x, call ? e_call(&x->a) : e_jmp(&x->a), target);
	else
		goto_far(x, target, !x->live_out || x->flags_saved, x->i->off, call);
	x->ended = true;
}

void xl_goto(struct xlate *x, int32_t target)
{
	goto_direct(x, target, false);
}

static bool branch_target(const struct xlate *x, const struct xinsn *i, int32_t *out)
{
	int64_t t = (int64_t)xl_next(i) + i->d.op[0].imm.value.s;

	*out = (int32_t)t;
	return t == *out && i->d.opsize != 2 && xl_is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE);
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
/* The sum of its key, T0 and minus the tag is 0. */
uint8_t *xl_look_up(struct code *a, bool call)
{
	uint8_t *miss;

	e_rr(a, 0, 0x6b, T1, T0); /* imul */
	e8(a, sizeof(struct jump_slot));
	e_rr(a, 0, 0x81, 4, T1); /* and */
	e32(a, (JUMP_CACHE - 1) * (uint32_t)sizeof(struct jump_slot));
	e_load(a, T2, em_frame_index(T1, 0, FRAME_OFF(jump[0].key)));
	e_rr(a, 1, 0x03, T2, T0); /* add */
	e_rm(a, 1, 0x03, T2, FRAME(jump_untag));
	miss = e_jcc(a, CC_NZ);
	if (call)
		e_call_mem(a, em_frame_index(T1, 0, FRAME_OFF(jump[0].code)));
	else
		e_jmp_mem(a, em_frame_index(T1, 0, FRAME_OFF(jump[0].code)));
	return miss;
}

/* frame.info of an indirect branch: undo_sp is what to add to RSP when it must raise. */
static uint32_t branch_info(const struct xlate *x, int32_t undo_sp)
{
	return x->i->off | (uint32_t)(undo_sp & 0xfffff) << 12;
}

static void goto_indirect(struct xlate *x, int32_t undo_sp, bool call)
{
	struct cold *c = xl_cold(x, COLD_MISS, xl_look_up(&x->a, call));

	c->info = branch_info(x, undo_sp);
	c->site = call ? e_here(&x->a) : NULL;
	x->ended = true;
}

void xl_goto_return(struct xlate *x, int32_t undo_sp)
{
	if (!x->returns) {
		goto_indirect(x, undo_sp, false);
		return;
	}
	e_mov_imm(&x->a, T1, branch_info(x, undo_sp));
	e_ret(&x->a);
	x->ended = true;
}

/* Behind a host CALL: the guest has returned to T0, flags in the frame. */
static void return_site(struct xlate *x, const struct xinsn *i)
{
	const uint8_t *elsewhere = x->v->cache.stub.ret;
	unsigned next = xl_next(i);
	struct code *a = &x->a;

	e_pop(a, T2);
	if (next >= PAGE_SIZE) {
		e_jmp_to(a, elsewhere);
		return;
	}
	e_rr(a, 1, 0x3b, T2, T0); /* cmp */
	e_patch(a, e_jcc(a, CC_NZ), elsewhere);
	/* By what was pushed, which is there sooner than what the guest's stack had. */
	set_code_base(x, T2, -(int32_t)next);
	x->flags_saved = true;
	link_in_page(x, e_jmp(a), (int32_t)next)->how = TB_RETURNED;
}

int32_t xl_ret_extra(const struct xinsn *i)
{
	return xl_is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE)
		       ? (int32_t)(i->d.op[0].imm.value.u & 0xffff)
		       : 0;
}

void xl_ret(struct xlate *x, const struct xinsn *i)
{
	int32_t by = (int32_t)xl_slot(x) + xl_ret_extra(i);

	if (!xl_slot_sized(x, i) || i->d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
		xl_exit(x, i);
		return;
	}
	xl_save_flags(x);
	xl_load_slot(x, T0, xl_pop_access(x, i));
	xl_move_sp(x, by);
	xl_goto_return(x, -by);
}

/* The target of an indirect branch in the frame (memory) or T0 (register); false: not here. */
static bool indirect_target(struct xlate *x, const struct xinsn *i)
{
	unsigned g;

	if (!xl_slot_sized(x, i) || i->d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return false;
	if (i->d.mem >= 0)
		return xl_load_operand(x, i, T0);
	if (!xl_gpr_op(i, 0))
		return false;
	g = xl_reg_num(i->d.op[0].reg.value);
	if (dbt_host_reg[g] == NO_REG)
		e_load(&x->a, T0, xl_home(g));
	else
		e_rr(&x->a, x->code64, 0x8b, T0, dbt_host_reg[g]);
	return true;
}

bool xl_leads_away(const struct xlate *x, const struct xinsn *i)
{
	int32_t target;

	switch (i->d.insn.mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET:
		return !branch_target(x, i, &target) || !in_page(target);
	default:
		return false;
	}
}

void xl_jmp(struct xlate *x, const struct xinsn *i)
{
	int32_t target;

	bool direct = branch_target(x, i, &target);

	if (!direct || !in_page(target))
		xl_save_flags(x);
	if (direct)
		xl_goto(x, target);
	else if (!xl_is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE) && indirect_target(x, i))
		goto_indirect(x, 0, false);
	else
		xl_exit(x, i);
}

static void push_return(struct xlate *x, const struct xinsn *i)
{
	struct emem m = xl_push_access(x, i);

	xl_code_address(x, T2, xl_next(i));
	xl_store_slot(x, m, T2);
	xl_move_sp(x, -(int32_t)xl_slot(x));
	if (x->returns)
		e_push(&x->a, T2);
}

void xl_call(struct xlate *x, const struct xinsn *i)
{
	int32_t target;

	bool direct = branch_target(x, i, &target);

	if (!direct || !in_page(target))
		xl_save_flags(x);
	if (direct) {
		push_return(x, i);
		goto_direct(x, target, x->returns);
	} else if (!xl_is_op(i, 0, ZYDIS_OPERAND_TYPE_IMMEDIATE) && indirect_target(x, i)) {
		if (!i->slot.stack)
			e_store(&x->a, FRAME(tmp), T0);
		push_return(x, i);
		if (!i->slot.stack)
			e_load(&x->a, T0, FRAME(tmp));
		goto_indirect(x, (int32_t)xl_slot(x), x->returns);
	} else {
		xl_exit(x, i);
		return;
	}
	if (x->returns)
		return_site(x, i);
}

/* --- the head and what is behind the block --- */
void xl_prologue(struct xlate *x)
{
	struct code *a = &x->a;
	uint8_t *ok;

	x->tb->far = e_here(a);
	set_code_base(x, T0, -(int32_t)x->in[0].off);
	x->tb->saved = e_here(a);
	if (x->in[0].live && !x->parked)
		stub_load_flags(a);
	x->tb->poll = e_here(a);
	if (!x->in[0].live || x->parked) {
		e_cmp32_mem_imm(a, FRAME(attn), 0);
		xl_cold(x, COLD_POLL, e_jcc(a, CC_NZ));
	} else {
		e_load32(a, T1, FRAME(attn));
		ok = e_jrcxz(a);
		xl_cold(x, COLD_POLL, e_jmp(a));
		e_patch8(a, ok);
	}
	x->tb->body = e_here(a);
	x->tb->returned = x->in[0].live ? x->tb->saved : x->tb->body;
	if (x->parked)
		xl_cold(x, COLD_PARK, NULL);
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

/* Call a stub that takes info. */
static void to_stub(struct xlate *x, uint32_t info, const uint8_t *stub)
{
	e_call_to(&x->a, stub);
	e32(&x->a, info);
}

/* And one that goes on at `back`. */
static void to_stub_and_back(struct xlate *x, struct cold *c, const uint8_t *stub)
{
	e_mov(&x->a, T0, c->ea);
	e_call_to(&x->a, stub);
	e_jmp_to(&x->a, c->back);
	e8(&x->a, c->info), e8(&x->a, c->info >> 8);
}

static void cold_region(struct xlate *x, struct cold *c)
{
	struct code *a = &x->a;

	e_call_to(a, x->v->cache.stub.region[c->ea]);
	e_jmp_to(a, c->back); /* struct dbt_region_site */
	e8(a, c->neg), e8(a, 0), e8(a, c->ea);
}

/* What the CALL would have pushed that was not reached. */
static void push_site(struct code *a, const struct cold *c)
{
	e_patch(a, e_lea_code(a, T1), c->site);
	e_push(a, T1);
}

static void cold_link(struct xlate *x, struct cold *c)
{
	struct dbt_cache *k = &x->v->cache;
	struct tb_link *l = cache_alloc(x->v, sizeof(*l));
	struct code *a = &x->a;
	const uint8_t *stub = e_here(a);

	to_stub(x, (uint32_t)((uint8_t *)l - k->arena), k->stub.link[c->saved]);
	if (c->back) { /* the check of a page */
		e_patch(a, (uint8_t *)(uintptr_t)c->back, c->site ? e_here(a) : stub);
		if (c->site) {
			push_site(a, c);
			e_jmp_to(a, stub);
		}
	}
	if (!l)
		a->full = true;
	if (a->full)
		return;
	*l = (struct tb_link){
		.jump = (uint32_t)(c->jump - k->rw),
		.stub = (uint32_t)(stub - a->rx - k->rw),
		.check = c->check ? (uint32_t)(c->check - k->rw) : 0,
		.target = c->target,
		.info = c->info,
		.neg = c->neg,
		.apart = c->apart,
		.how = (uint8_t)c->how,
	};
	c->link = l;
}

static void cold_one(struct xlate *x, struct cold *c)
{
	if (c->jump)
		e_patch(&x->a, c->jump, e_here(&x->a));
	x->flags_saved = c->saved;
	/* Stubs take flags from the host's.  COLD_ALIGN goes on in the middle, where they are
	 * saved. */
	if (c->saved && c->kind != COLD_ALIGN && c->kind != COLD_LINK && c->kind != COLD_MISS &&
	    c->kind != COLD_PARK && c->kind != COLD_REGION)
		stub_load_flags(&x->a);
	switch (c->kind) {
	case COLD_FILL:
		to_stub_and_back(x, c, x->v->cache.stub.fill[c->write]);
		break;
	case COLD_ALIGN:
		to_stub_and_back(x, c, x->v->cache.stub.align[!c->saved][stub_size(c->size)]);
		break;
	case COLD_REGION:
		cold_region(x, c);
		break;
	case COLD_CROSS:
		to_stub_and_back(x, c, x->v->cache.stub.cross[c->size == 32]);
		break;
	case COLD_NOT_HIGH:
		to_stub(x, c->info, x->v->cache.stub.not_high);
		break;
	case COLD_EXIT:
		to_stub(x, c->info, x->v->cache.stub.insn);
		break;
	case COLD_MOVED:
	case COLD_POLL:
		to_stub(x, c->info, x->v->cache.stub.poll);
		break;
	case COLD_LINK:
		cold_link(x, c);
		break;
	case COLD_FAR:
		goto_far(x, c->target, c->dead, c->info, false);
		break;
	case COLD_PARK:
		x->tb->poll = x->tb->body = e_here(&x->a);
		save_flags(&x->a);
		e_jmp_to(&x->a, x->tb->saved);
		break;
	case COLD_MISS:
		/* Flags of blocks in the jump cache are expected in the frame. */
		if (!c->saved)
			save_flags(&x->a);
		if (c->site)
			push_site(&x->a, c);
		to_stub(x, c->info, x->v->cache.stub.jump);
		break;
	}
}

void xl_cold_code(struct xlate *x)
{
	/* Some of it adds more. */
	for (unsigned n = 0; n < x->n_cold && code_room(&x->a); n++)
		cold_one(x, &x->cold[n]);
}
