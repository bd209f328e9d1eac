/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans: accesses of a block that lie near each other are translated together.
 *
 * Which accesses those are is found before code is written.  Every general register is a value that
 * nothing is known of plus a known displacement, and the values' numbers and displacements are kept
 * up through the block (PUSH, ADD of a constant, LEA, MOV ...).  Accesses with the same values in
 * base and index are as far apart as their displacements say, so those within SPAN_SIZE bytes are a
 * span.  The first one, its leader, finds out that all of it lies in one page, translates once, and
 * keeps the host address of the value in the frame; the others take it from there and need no check
 * at all.
 *
 * A span that crosses a page leads to another translation of the code from the leader on, in which
 * every access is on its own (DBT_MODE_APART).
 *
 * Where there are windows, a span is what is reached from one register, near enough to share the
 * distance to the host's addresses: the leader keeps that.  An access that is not in the same
 * region then is outside of the window, and faults.
 *
 * RSP in blocks for DBT_MODE_STACK: it is in WINDOW_HIGH, or not farther from it than small steps
 * (PUSH, ADD of a constant) lead within a block, since each block that moves it so also accesses
 * what is near it, which faults on nothing if it is outside; or looks at it (watch_stack).
 *
 * Within a block no entry of the tables changes but from unknown to known: flushes, changes of the
 * view and of what may be written happen between blocks, or (STAC, CLAC, SWAPGS) end all spans.
 */
#include "engine/dbt/xlate_int.h"

#define SPAN_SIZE 512 /* the longer, the more of them cross pages */
#define WINDOW_SPAN (1 << 20)

struct value { /* number plus displacement */
	uint16_t n;
	int32_t off;
};

struct scan {
	struct xlate *x;
	struct value reg[16];
	uint16_t values; /* numbers given out */
	uint16_t pc; /* the number of the block's page's address */
	bool accessed; /* there was an access near RSP */
	struct xinsn *moved; /* before one, RSP was last moved here */
};

#define VALUE_NONE 0 /* no register */

static struct value fresh(struct scan *s)
{
	return (struct value){++s->values, 0};
}

static void forget_all(struct scan *s)
{
	for (unsigned g = 0; g < 16; g++)
		s->reg[g] = fresh(s);
	s->pc = ++s->values;
}

/* Displacements must not wrap when they meet others. */
static bool small(int64_t disp)
{
	return disp < INT32_MAX / 4 && disp > INT32_MIN / 4;
}

static struct value plus(struct scan *s, struct value v, int64_t by)
{
	if (!small(v.off + by))
		return fresh(s);
	v.off += (int32_t)by;
	return v;
}

/* --- accesses --- */
static bool joins(const struct xlate *x, const struct span *s, const struct span_key *k,
		  const struct xaccess *a, bool write)
{
	int32_t lo = a->disp < s->lo ? a->disp : s->lo;
	int32_t end = a->disp + a->size > s->end ? a->disp + a->size : s->end;

	return s->key.base == k->base && s->key.index == k->index && s->key.scale == k->scale &&
	       (s->write || !write) && end - lo <= (x->windows ? WINDOW_SPAN : SPAN_SIZE);
}

static void add(struct xlate *x, struct xaccess *a, const struct span_key *k, unsigned size,
		bool write)
{
	struct span *s = NULL;

	a->size = (uint8_t)size;
	write |= x->windows; /* which show both */
	for (unsigned n = 0; n < x->n_spans; n++)
		if (joins(x, &x->span[n], k, a, write) && (!s || x->span[n].write))
			s = &x->span[n];
	if (!s) {
		if (x->n_spans == SPANS_MAX)
			return;
		s = &x->span[x->n_spans++];
		*s = (struct span){.key = *k, .write = write, .lo = a->disp, .end = a->disp};
	}
	s->n++;
	if (a->disp < s->lo)
		s->lo = a->disp;
	if (a->disp + a->size > s->end)
		s->end = a->disp + a->size;
	a->span = (int8_t)(s - x->span);
}

/* The value of an address register; false: none that can be told. */
static struct value value_of(struct scan *s, ZydisRegister r)
{
	return r == ZYDIS_REGISTER_NONE ? (struct value){VALUE_NONE, 0} : s->reg[xl_reg_num(r)];
}

/* What can be told of the window that an access is in: `by` from a value. */
static void find_window(struct scan *s, const struct xinsn *i, struct xaccess *a, struct value v,
			int64_t by)
{
	const struct dbt_windows *w = &s->x->v->lst.space[s->x->v->lst.cur].windows;
	struct value sp = s->reg[X86_RSP];
	int64_t from_sp = v.off + by - sp.off;
	uint64_t was;

	if (!xl_by_window(s->x, i))
		return;
	a->stack = s->x->stack && v.n == sp.n && from_sp <= WINDOW_SPAN && from_sp >= -WINDOW_SPAN;
	if (a->stack) {
		s->accessed = true;
		s->moved = NULL;
	}
	if (v.n == s->pc)
		was = s->x->lin;
	else if (v.n && v.n <= 16) /* what a register had when the block was entered */
		was = s->x->c->s.gpr[v.n - 1];
	else
		return;
	if (was >> 48 || !w->shown[window_region(was)])
		return;
	a->region = (int16_t)window_region(was);
	a->known = v.n == s->pc;
	a->high = a->region == WINDOW_HIGH && !windows_was_not_high(s->x->v, xl_ram_off(s->x, i));
}

static void add_operand(struct scan *s, struct xinsn *i)
{
	const struct x86_decoded *d = &i->d;
	const ZydisDecodedOperandMem *m = &d->op[d->mem].mem;
	struct value base, index = value_of(s, m->index);
	int64_t disp = m->disp.value;
	struct span_key k;

	if (d->addrsize != 8 || m->segment >= ZYDIS_REGISTER_FS || !small(disp))
		return;
	if (s->x->windows && !xl_near(i))
		return;
	if (m->base == ZYDIS_REGISTER_RIP)
		base = (struct value){s->pc, (int32_t)xl_next(i)};
	else
		base = value_of(s, m->base);
	if (base.n == VALUE_NONE && index.n == VALUE_NONE)
		return;
	disp += base.off + (int64_t)index.off * (index.n ? m->scale : 0);
	if (!small(disp))
		return;
	if (s->x->windows)
		find_window(s, i, &i->operand, base, m->disp.value);
	k = (struct span_key){base.n, index.n, index.n ? m->scale : (uint8_t)0};
	i->operand.disp = (int32_t)disp;
	add(s->x, &i->operand, &k, d->mem_size, d->mem_write);
}

static void add_slot(struct scan *s, struct xinsn *i, unsigned reg, int32_t disp, bool write)
{
	struct value v = s->reg[reg];
	struct span_key k = {v.n, VALUE_NONE, 0};

	if (s->x->windows)
		find_window(s, i, &i->slot, v, disp);
	i->slot.disp = v.off + disp;
	add(s->x, &i->slot, &k, 8, write);
}

/* --- what an instruction does to the values --- */
static bool is_gpr64(const struct x86_decoded *d, unsigned n)
{
	return d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER && xl_is_gpr64(d->op[n].reg.value);
}

/* The value that it leaves in operand 0, a 64-bit register, where that can be told. */
static struct value result(struct scan *s, const struct x86_decoded *d)
{
	struct value old = s->reg[xl_reg_num(d->op[0].reg.value)];
	bool imm = d->op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	const ZydisDecodedOperandMem *m = &d->op[1].mem;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_ADD:
		return imm ? plus(s, old, d->op[1].imm.value.s) : fresh(s);
	case ZYDIS_MNEMONIC_SUB:
		return imm ? plus(s, old, -d->op[1].imm.value.s) : fresh(s);
	case ZYDIS_MNEMONIC_INC:
		return plus(s, old, 1);
	case ZYDIS_MNEMONIC_DEC:
		return plus(s, old, -1);
	case ZYDIS_MNEMONIC_MOV:
		return is_gpr64(d, 1) ? value_of(s, d->op[1].reg.value) : fresh(s);
	case ZYDIS_MNEMONIC_LEA:
		if (d->addrsize == 8 && m->base != ZYDIS_REGISTER_RIP &&
		    m->base != ZYDIS_REGISTER_NONE && m->index == ZYDIS_REGISTER_NONE)
			return plus(s, value_of(s, m->base), m->disp.value);
		return fresh(s);
	default:
		return fresh(s);
	}
}

static void update(struct scan *s, const struct x86_decoded *d)
{
	/* Of a conditional write it is not known whether it happens, but fresh is right then too.
	 */
	for (unsigned n = 0; n < d->insn.operand_count; n++) {
		const ZydisDecodedOperand *o = &d->op[n];

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    !(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) || !xl_is_gpr(o->reg.value))
			continue;
		s->reg[xl_reg_num(o->reg.value)] = n == 0 && is_gpr64(d, 0) ? result(s, d)
									    : fresh(s);
	}
}

static void scan_one(struct scan *s, struct xinsn *i)
{
	const struct x86_decoded *d = &i->d;
	bool slot = xl_slot_sized(s->x, i);
	struct value sp;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_STAC:
	case ZYDIS_MNEMONIC_CLAC:
	case ZYDIS_MNEMONIC_SWAPGS:
		forget_all(s);
		return;
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_CALL:
		if (!slot)
			break;
		if (d->insn.mnemonic != ZYDIS_MNEMONIC_PUSHFQ && d->mem >= 0 && d->op[0].mem.base)
			add_operand(s, i);
		add_slot(s, i, X86_RSP, -8, true);
		s->reg[X86_RSP] = plus(s, s->reg[X86_RSP], -8);
		return;
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_RET:
		if (!slot)
			break;
		add_slot(s, i, X86_RSP, 0, false);
		sp = plus(s, s->reg[X86_RSP], 8);
		update(s, d);
		s->reg[X86_RSP] = sp;
		if (d->insn.mnemonic == ZYDIS_MNEMONIC_POP && xl_gpr_op(i, 0) &&
		    xl_reg_num(d->op[0].reg.value) == X86_RSP)
			s->reg[X86_RSP] = fresh(s);
		return;
	case ZYDIS_MNEMONIC_LEAVE:
		if (!slot)
			break;
		add_slot(s, i, X86_RBP, 0, false);
		s->reg[X86_RSP] = plus(s, s->reg[X86_RBP], 8);
		s->reg[X86_RBP] = fresh(s);
		return;
	case ZYDIS_MNEMONIC_JMP:
		if (slot && d->mem >= 0)
			add_operand(s, i);
		return;
	default:
		if (i->copy && d->mem >= 0 && xl_may_span(d))
			add_operand(s, i);
		break;
	}
	update(s, d);
}

/* After i, RSP having been sp before it: is it to be looked at? */
static void watch_stack(struct scan *s, struct xinsn *i, struct value sp)
{
	struct value now = s->reg[X86_RSP];
	int64_t by = (int64_t)now.off - sp.off;

	if (now.n != sp.n || by > XLATE_STEP || by < -XLATE_STEP)
		i->moves_stack = true;
	else if (by && !s->accessed)
		s->moved = i;
	/* Branches and the block's last instruction end what is sure to be executed. */
	if (!s->moved ||
	    (i->d.insn.meta.category != ZYDIS_CATEGORY_COND_BR && i + 1 < s->x->in + s->x->n))
		return;
	s->moved->moves_stack = true;
	s->moved = NULL;
}

void xl_spans_find(struct xlate *x)
{
	static const struct xaccess none = {.span = -1, .region = -1};
	struct scan s = {.x = x};
	struct value sp;

	x->n_spans = 0;
	for (unsigned n = 0; n < x->n; n++) {
		x->in[n].operand = x->in[n].slot = none;
		x->in[n].moves_stack = false;
	}
	if (!x->code64 || x->apart)
		return;
	forget_all(&s);
	for (unsigned n = 0; n < x->n && !x->in[n].bad; n++) {
		sp = s.reg[X86_RSP];
		scan_one(&s, &x->in[n]);
		if (x->stack)
			watch_stack(&s, &x->in[n], sp);
	}
}

/* --- writing --- */
static struct emem span_home(unsigned n)
{
	return em_frame((int32_t)offsetof(struct dbt_frame, span) + 8 * (int32_t)n);
}

bool xl_spanned(const struct xlate *x, const struct xaccess *a)
{
	return !x->windows && a->span >= 0 && x->span[a->span].n > 1;
}

bool xl_span_leads(const struct xlate *x, const struct xaccess *a)
{
	return !x->span[a->span].ready;
}

struct emem xl_span_member(struct xlate *x, const struct xaccess *a, unsigned temp)
{
	if (temp != T1 || x->in_t1 != a->span)
		e_load(&x->a, temp, span_home((unsigned)a->span));
	if (temp == T1)
		x->in_t1 = a->span;
	return em_base(temp, a->disp);
}

int32_t xl_span_start(const struct xlate *x, const struct xaccess *a)
{
	return x->span[a->span].lo - a->disp;
}

struct emem xl_span_lead(struct xlate *x, const struct xaccess *a, unsigned ea, unsigned temp)
{
	struct span *s = &x->span[a->span];
	struct cold *c;

	c = xl_cold(x, COLD_LINK, xl_unless_one_page(x, ea, (unsigned)(s->end - s->lo)));
	c->target = x->i->off;
	c->how = x->flags_saved ? TB_SAVED : TB_BODY;
	c->apart = true;
	xl_translate(x, ea, s->write);
	e_lea(&x->a, 1, temp, em_index(ea, T1, 0, -s->lo));
	e_store(&x->a, span_home((unsigned)a->span), temp);
	s->ready = true;
	x->in_t1 = temp == T1 ? a->span : -1;
	return em_base(temp, a->disp);
}

/* T1 = the distance of WINDOW_HIGH. */
static void high_distance(struct xlate *x)
{
	if (x->in_t1 != IN_T1_HIGH)
		e_load(&x->a, T1, FRAME(high_delta));
	x->in_t1 = IN_T1_HIGH;
}

void xl_span_window(struct xlate *x, const struct xaccess *a, unsigned reg)
{
	struct span *s = a->span >= 0 && x->span[a->span].n > 1 ? &x->span[a->span] : NULL;

	if (a->stack || (a->known && a->high) || (s && s->ready && s->high)) {
		high_distance(x);
		return;
	}
	if (a->known) {
		e_load(&x->a, T1, em_frame(FRAME_OFF(delta[0]) + a->region * 8));
		x->in_t1 = -1;
		return;
	}
	if (a->high && !(s && s->ready)) {
		xl_high(x, reg, !xl_dead(x), COLD_NOT_HIGH);
		if (s)
			s->ready = s->high = true;
		x->in_t1 = -1;
		high_distance(x);
		return;
	}
	if (s && s->ready) {
		if (x->in_t1 != a->span)
			e_load(&x->a, T1, span_home((unsigned)a->span));
	} else {
		xl_window(x, reg, a->region >= 0 ? (unsigned)a->region : xl_guess_region(x, reg));
		if (s) {
			e_store(&x->a, span_home((unsigned)a->span), T1);
			s->ready = true;
		}
	}
	x->in_t1 = s ? a->span : -1;
}
