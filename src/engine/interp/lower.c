/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a decoded instruction to a handler and its operands: a function per shape of instruction,
 * found by mnemonic in lower.def and lower_plain.def.  What has no entry is bounced.  lower_sys.c
 * has the shapes of system instructions and branches.
 */
#include "engine/interp/lower.h"

uint16_t lower_reg(ZydisRegister r)
{
	ZydisRegisterClass cls = ZydisRegisterGetClass(r);
	int id = ZydisRegisterGetId(r);

	if (cls == ZYDIS_REGCLASS_GPR8 && r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
		return (uint16_t)(GPR(r - ZYDIS_REGISTER_AH) + 1);
	if (cls == ZYDIS_REGCLASS_GPR8)
		id = r >= ZYDIS_REGISTER_SPL ? r - ZYDIS_REGISTER_SPL + 4 : r - ZYDIS_REGISTER_AL;
	if (r == ZYDIS_REGISTER_NONE)
		return offsetof(struct x86_cpu, zero);
	return (uint16_t)GPR(id);
}

enum x86_sreg lower_sreg(ZydisRegister r)
{
	return (enum x86_sreg)(r - ZYDIS_REGISTER_ES);
}

static uint16_t seg_base(enum x86_sreg seg)
{
	return (uint16_t)(offsetof(struct x86_cpu, s.seg) + seg * sizeof(struct x86_segment) +
			  offsetof(struct x86_segment, base));
}

static bool is_rip(ZydisRegister r)
{
	return r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP;
}

/* RIP-relative: relative to the page of the block instead. */
static void mem_rip(struct lower *l, int64_t disp)
{
	int64_t d = disp + l->off + l->d->len;

	l->i->base = offsetof(struct x86_cpu, code_base);
	l->i->disp = (int32_t)d;
	if (d != (int32_t)d && l->d->addrsize == 8) {
		l->i->ak = AK_R;
		l->i->disp = (int32_t)disp;
	}
}

void lower_seg(struct lower *l, enum x86_sreg seg)
{
	struct insn *i = l->i;

	if (l->c->mode & X86_MODE_CS64) {
		i->seg = seg >= X86_FS ? seg_base(seg) : offsetof(struct x86_cpu, zero);
		i->ak = l->d->addrsize == 4 ? AK_W
			: i->seg != offsetof(struct x86_cpu, zero) ||
					i->index != offsetof(struct x86_cpu, zero)
				? AK_X
				: AK_B;
	} else if (l->c->mode & X86_MODE_FLAT && seg < X86_FS && seg != X86_CS &&
		   l->d->addrsize == 4) {
		i->seg = offsetof(struct x86_cpu, zero);
		i->ak = AK_W;
	} else {
		i->seg = (uint16_t)seg;
		i->ak = AK_S;
	}
	if (seg == X86_SS)
		i->flags |= INSN_SS;
}

unsigned lower_mem(struct lower *l)
{
	const ZydisDecodedOperandMem *m = &l->d->op[l->d->mem].mem;
	struct insn *i = l->i;

	i->base = is_rip(m->base) ? offsetof(struct x86_cpu, code_base) : lower_reg(m->base);
	i->index = lower_reg(m->index);
	i->scale = m->scale ? (uint8_t)__builtin_ctz(m->scale) : 0;
	i->disp = (int32_t)m->disp.value;
	lower_seg(l, lower_sreg(m->segment));
	if (is_rip(m->base))
		mem_rip(l, m->disp.value);
	return i->ak < AK_FAST_COUNT ? i->ak : AK_FAST_COUNT;
}

bool lower_is_reg(const struct lower *l, unsigned n)
{
	return l->d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

bool lower_is_imm(const struct lower *l, unsigned n)
{
	return l->d->op[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

uint16_t lower_op(const struct lower *l, unsigned n)
{
	return lower_reg(l->d->op[n].reg.value);
}

static int32_t imm(const struct lower *l, unsigned n)
{
	return (int32_t)l->d->op[n].imm.value.s;
}

/* Size of operand n: index in tables of all sizes; minus one, in tables without the byte size. */
static unsigned size_of(const struct lower *l, unsigned n)
{
	return ops_size(l->d->op[n].size / 8u);
}

/* --- arithmetic --- */
static void lower_alu(struct lower *l, unsigned op)
{
	unsigned sz = size_of(l, 0);
	struct insn *i = l->i;

	if (lower_is_reg(l, 0)) {
		i->dst = lower_op(l, 0);
		if (lower_is_imm(l, 1)) {
			i->imm = imm(l, 1);
			i->fn = ops_alu_ri[op][sz];
		} else if (lower_is_reg(l, 1)) {
			i->src = lower_op(l, 1);
			i->fn = ops_alu_rr[op][sz];
		} else {
			i->fn = ops_alu_rm[op][sz][lower_mem(l)];
		}
	} else if (lower_is_imm(l, 1)) {
		i->imm = imm(l, 1);
		i->fn = (l->d->lock ? ops_lock_mi : ops_alu_mi)[op][sz][lower_mem(l)];
	} else {
		i->src = lower_op(l, 1);
		i->fn = (l->d->lock ? ops_lock_mr : ops_alu_mr)[op][sz][lower_mem(l)];
	}
}

static void lower_alu1(struct lower *l, unsigned op)
{
	unsigned sz = size_of(l, 0);

	if (lower_is_reg(l, 0)) {
		l->i->dst = lower_op(l, 0);
		l->i->fn = ops_alu_ri[op][sz];
	} else {
		l->i->fn = (l->d->lock ? ops_lock_mi : ops_alu_mi)[op][sz][lower_mem(l)];
	}
}

static void lower_shift(struct lower *l, unsigned op)
{
	unsigned sz = size_of(l, 0);
	bool by_cl = !lower_is_imm(l, 1);

	if (!by_cl)
		l->i->imm = imm(l, 1);
	if (lower_is_reg(l, 0)) {
		l->i->dst = lower_op(l, 0);
		l->i->fn = ops_shift_r[op][by_cl][sz];
	} else {
		l->i->fn = ops_shift_m[op][by_cl][sz][lower_mem(l)];
	}
}

/* MUL IMUL DIV IDIV with the accumulator. */
static void lower_mul(struct lower *l, unsigned op)
{
	unsigned sz = size_of(l, 0);

	if (sz < 2) {
		lower_bounce(l);
	} else if (lower_is_reg(l, 0)) {
		l->i->src = lower_op(l, 0);
		l->i->fn = ops_mul_r[op][sz - 2];
	} else {
		l->i->fn = ops_mul_m[op][sz - 2][lower_mem(l)];
	}
}

static void lower_imul(struct lower *l, unsigned arg)
{
	bool three = l->d->insn.operand_count_visible == 3;
	unsigned sz = size_of(l, 0);

	if (l->d->insn.operand_count_visible == 1) {
		lower_mul(l, 1);
		return;
	}
	l->i->dst = lower_op(l, 0);
	if (three)
		l->i->imm = imm(l, 2);
	if (lower_is_reg(l, 1)) {
		l->i->src = lower_op(l, 1);
		l->i->fn = ops_imul_rr[three][sz - 1];
	} else {
		l->i->fn = ops_imul_rm[three][sz - 1][lower_mem(l)];
	}
}

static void lower_bit(struct lower *l, unsigned op)
{
	unsigned sz = size_of(l, 0) - 1;
	struct insn *i = l->i;

	if (lower_is_imm(l, 1)) {
		i->imm = imm(l, 1);
		if (lower_is_reg(l, 0)) {
			i->dst = lower_op(l, 0);
			i->fn = ops_bit_ri[op][sz];
		} else {
			i->fn = (l->d->lock ? ops_lock_bit_mi : ops_bit_mi)[op][sz][lower_mem(l)];
		}
		return;
	}
	i->src = lower_op(l, 1);
	if (lower_is_reg(l, 0)) {
		i->dst = lower_op(l, 0);
		i->fn = ops_bit_rr[op][sz];
		return;
	}
	lower_mem(l);
	i->imm = (int32_t)op;
	i->fn = op == 0 ? op_bt_mr : l->d->lock ? op_lock_btx_mr : op_btx_mr;
}

static void lower_scan(struct lower *l, unsigned op)
{
	unsigned sz = size_of(l, 0) - 1;

	l->i->dst = lower_op(l, 0);
	if (lower_is_reg(l, 1)) {
		l->i->src = lower_op(l, 1);
		l->i->fn = ops_scan_rr[op][sz];
	} else {
		l->i->fn = ops_scan_rm[op][sz][lower_mem(l)];
	}
}

/* --- data movement --- */
static bool is_class(const struct lower *l, unsigned n, ZydisRegisterClass cls)
{
	return lower_is_reg(l, n) && ZydisRegisterGetClass(l->d->op[n].reg.value) == cls;
}

static void mov_sreg(struct lower *l)
{
	if (is_class(l, 0, ZYDIS_REGCLASS_SEGMENT)) {
		l->i->imm = lower_sreg(l->d->op[0].reg.value);
		l->ends = true;
		if (lower_is_reg(l, 1)) {
			l->i->src = lower_op(l, 1);
			l->i->fn = op_mov_sreg_r;
			return;
		}
		lower_mem(l);
		l->i->fn = op_mov_sreg_m;
		return;
	}
	l->i->imm = lower_sreg(l->d->op[1].reg.value);
	if (lower_is_reg(l, 0)) {
		l->i->dst = lower_op(l, 0);
		l->i->fn = op_mov_r_sreg;
		return;
	}
	lower_mem(l);
	l->i->fn = op_mov_m_sreg;
}

static void mov_control(struct lower *l, ZydisRegisterClass cls, op_fn *read, op_fn *write)
{
	bool to = is_class(l, 0, cls);

	l->i->imm = ZydisRegisterGetId(l->d->op[to ? 0 : 1].reg.value);
	if (to)
		l->i->src = lower_op(l, 1);
	else
		l->i->dst = lower_op(l, 0);
	l->i->fn = to ? write : read;
	l->ends = to;
}

/* MOV with a 64-bit absolute offset that is no sign-extended 32-bit one. */
static bool mov_moffs(struct lower *l)
{
	const ZydisDecodedOperandMem *m = &l->d->op[l->d->mem].mem;
	bool load = l->d->mem == 1;

	if (l->d->addrsize != 8 || m->disp.value == (int32_t)m->disp.value)
		return false;
	lower_mem(l);
	l->i->ak = AK_M;
	l->i->imm64 = (uint64_t)m->disp.value;
	l->i->scale = (uint8_t)(l->d->op[0].size / 8);
	l->i->fn = load ? op_mov_moffs_load : op_mov_moffs_store;
	return true;
}

static void lower_mov(struct lower *l, unsigned arg)
{
	unsigned sz = size_of(l, 0);
	struct insn *i = l->i;

	if (is_class(l, 0, ZYDIS_REGCLASS_SEGMENT) || is_class(l, 1, ZYDIS_REGCLASS_SEGMENT)) {
		mov_sreg(l);
	} else if (is_class(l, 0, ZYDIS_REGCLASS_CONTROL) ||
		   is_class(l, 1, ZYDIS_REGCLASS_CONTROL)) {
		mov_control(l, ZYDIS_REGCLASS_CONTROL, op_mov_r_cr, op_mov_cr_r);
	} else if (is_class(l, 0, ZYDIS_REGCLASS_DEBUG) || is_class(l, 1, ZYDIS_REGCLASS_DEBUG)) {
		mov_control(l, ZYDIS_REGCLASS_DEBUG, op_mov_r_dr, op_mov_dr_r);
	} else if (l->d->mem >= 0 && mov_moffs(l)) {
		return;
	} else if (lower_is_reg(l, 0) && lower_is_imm(l, 1)) {
		i->dst = lower_op(l, 0);
		i->imm = imm(l, 1);
		i->fn = ops_mov_ri[sz];
		if (sz == 3 && l->d->op[1].imm.value.s != i->imm) {
			i->base = i->dst;
			i->imm64 = l->d->op[1].imm.value.u;
			i->fn = op_mov_imm64;
		}
	} else if (lower_is_reg(l, 0) && lower_is_reg(l, 1)) {
		i->dst = lower_op(l, 0);
		i->src = lower_op(l, 1);
		i->fn = ops_mov_rr[sz];
	} else if (lower_is_reg(l, 0)) {
		i->dst = lower_op(l, 0);
		i->fn = ops_mov_rm[sz][lower_mem(l)];
	} else if (lower_is_imm(l, 1)) {
		i->imm = imm(l, 1);
		i->fn = ops_mov_mi[sz][lower_mem(l)];
	} else {
		i->src = lower_op(l, 1);
		i->fn = ops_mov_mr[sz][lower_mem(l)];
	}
}

/* MOVZX, MOVSX (arg 1).  MOVSXD without REX.W is a plain move. */
static void lower_ext(struct lower *l, unsigned is_signed)
{
	unsigned to = size_of(l, 0), from = size_of(l, 1), op;

	l->i->dst = lower_op(l, 0);
	if (from >= to) {
		if (lower_is_reg(l, 1)) {
			l->i->src = lower_op(l, 1);
			l->i->fn = ops_mov_rr[to];
		} else {
			l->i->fn = ops_mov_rm[to][lower_mem(l)];
		}
		return;
	}
	op = is_signed ? EXT_SX8 + from : EXT_ZX8 + from;
	if (lower_is_reg(l, 1)) {
		l->i->src = lower_op(l, 1);
		l->i->fn = ops_ext_rr[op][to - 1];
	} else {
		l->i->fn = ops_ext_rm[op][to - 1][lower_mem(l)];
	}
}

static void lower_lea(struct lower *l, unsigned arg)
{
	unsigned form;

	l->i->dst = lower_op(l, 0);
	form = lower_mem(l);
	/* No segment takes part. */
	if (l->i->ak == AK_X || l->i->ak == AK_W)
		l->i->seg = offsetof(struct x86_cpu, zero);
	l->i->fn = ops_lea[size_of(l, 0)][form];
}

static void lower_cmov(struct lower *l, unsigned cc)
{
	unsigned sz = size_of(l, 0) - 1;

	l->i->dst = lower_op(l, 0);
	if (lower_is_reg(l, 1)) {
		l->i->src = lower_op(l, 1);
		l->i->fn = ops_cmov_rr[cc][sz];
	} else {
		l->i->fn = ops_cmov_rm[cc][sz][lower_mem(l)];
	}
}

static void lower_set(struct lower *l, unsigned cc)
{
	if (lower_is_reg(l, 0)) {
		l->i->dst = lower_op(l, 0);
		l->i->fn = ops_set_r[cc];
	} else {
		l->i->fn = ops_set_m[cc][lower_mem(l)];
	}
}

static void lower_xchg(struct lower *l, unsigned arg)
{
	unsigned sz = size_of(l, 0);

	if (l->d->mem < 0) {
		l->i->dst = lower_op(l, 0);
		l->i->src = lower_op(l, 1);
		l->i->fn = ops_xchg_rr[sz];
	} else {
		l->i->src = lower_op(l, l->d->mem == 0 ? 1 : 0);
		l->i->fn = ops_xchg_mr[sz][lower_mem(l)];
	}
}

/* XADD, CMPXCHG (arg 1) */
static void lower_xadd(struct lower *l, unsigned cmpxchg)
{
	unsigned sz = size_of(l, 0);

	if (l->d->mem < 0) {
		lower_bounce(l);
		return;
	}
	l->i->src = lower_op(l, 1);
	l->i->fn = (cmpxchg ? ops_cmpxchg_mr : ops_xadd_mr)[sz][lower_mem(l)];
}

static void lower_cmpxchg8b(struct lower *l, unsigned wide)
{
	lower_mem(l);
	l->i->fn = wide ? op_cmpxchg16b : op_cmpxchg8b;
}

static void lower_bswap(struct lower *l, unsigned arg)
{
	l->i->dst = lower_op(l, 0);
	l->i->fn = l->d->opsize == 8 ? op_bswap64 : l->d->opsize == 4 ? op_bswap32 : op_bswap16;
}

static void lower_xlat(struct lower *l, unsigned arg)
{
	l->i->index = offsetof(struct x86_cpu, zero);
	for (unsigned n = 0; n < l->d->insn.operand_count; n++)
		if (l->d->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			lower_seg(l, lower_sreg(l->d->op[n].mem.segment));
	l->i->fn = op_xlat;
}

static void lower_load_far(struct lower *l, unsigned seg)
{
	l->i->dst = lower_op(l, 0);
	l->i->imm = (int32_t)seg;
	lower_mem(l);
	l->i->fn = op_load_far;
	l->ends = true;
}

static void lower_bound(struct lower *l, unsigned arg)
{
	l->i->dst = lower_op(l, 0);
	lower_mem(l);
	l->i->fn = op_bound;
}

static void lower_enter(struct lower *l, unsigned arg)
{
	l->i->flags |= INSN_SS;
	l->i->imm = imm(l, 0);
	l->i->src = (uint16_t)imm(l, 1);
	l->i->fn = op_enter;
}

/* --- stack.  Fast forms: 64-bit, or 32-bit flat with a 32-bit stack pointer. --- */
static unsigned fast_stack(const struct lower *l)
{
	uint32_t m = l->c->mode, flat32 = X86_MODE_FLAT | X86_MODE_SS32 | X86_MODE_CS32;

	if (m & X86_MODE_CS64)
		return l->d->opsize == 8 ? 8 : 0;
	return (m & flat32) == flat32 && l->d->opsize == 4 ? 4 : 0;
}

static void lower_push(struct lower *l, unsigned arg)
{
	unsigned fast = fast_stack(l);
	struct insn *i = l->i;

	if (is_class(l, 0, ZYDIS_REGCLASS_SEGMENT)) {
		i->flags |= INSN_SS;
		i->imm = lower_sreg(l->d->op[0].reg.value);
		i->fn = op_push_sreg;
	} else if (lower_is_reg(l, 0)) {
		i->flags |= INSN_SS;
		i->src = lower_op(l, 0);
		i->fn = fast == 8 ? op_push64_r : fast == 4 ? op_push32_r : op_push_r;
	} else if (lower_is_imm(l, 0)) {
		i->flags |= INSN_SS;
		i->imm = imm(l, 0);
		i->fn = fast == 8 ? op_push64_i : fast == 4 ? op_push32_i : op_push_i;
	} else {
		lower_mem(l);
		i->fn = op_push_m;
	}
}

static void lower_pop(struct lower *l, unsigned arg)
{
	unsigned fast = fast_stack(l);
	struct insn *i = l->i;

	if (is_class(l, 0, ZYDIS_REGCLASS_SEGMENT)) {
		i->flags |= INSN_SS;
		i->imm = lower_sreg(l->d->op[0].reg.value);
		i->fn = op_pop_sreg;
		l->ends = true;
	} else if (lower_is_reg(l, 0)) {
		i->flags |= INSN_SS;
		i->dst = lower_op(l, 0);
		i->fn = fast == 8 ? op_pop64_r : fast == 4 ? op_pop32_r : op_pop_r;
	} else {
		lower_mem(l);
		i->fn = op_pop_m;
	}
}

static void lower_leave(struct lower *l, unsigned arg)
{
	l->i->flags |= INSN_SS;
	l->i->fn = l->c->mode & X86_MODE_CS64 && l->d->opsize == 8 ? op_leave64 : op_leave;
}

/* --- strings and ports --- */
static void lower_string(struct lower *l, unsigned op)
{
	bool io = op == STR_INS || op == STR_OUTS, rep = l->d->rep || l->d->repne;
	const ZydisDecodedOperand *o = l->d->op;
	struct insn *i = l->i;

	/* MOVSD and CMPSD are also names of SSE2 instructions. */
	if (l->d->insn.meta.category != ZYDIS_CATEGORY_STRINGOP &&
	    l->d->insn.meta.category != ZYDIS_CATEGORY_IOSTRINGOP) {
		lower_bounce(l);
		return;
	}
	i->seg = X86_DS;
	for (unsigned n = l->d->insn.operand_count; n-- > 0;) {
		if (o[n].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		i->src = o[n].size / 8;
		if (ZydisRegisterGetId(o[n].mem.base) == X86_RSI)
			i->seg = (uint16_t)lower_sreg(o[n].mem.segment);
	}
	i->imm = (int32_t)op;
	i->ak = AK_S;
	if (rep)
		i->flags |= l->d->repne ? INSN_REPNE : INSN_REP;
	i->fn = io ? (rep ? op_string_io_rep : op_string_io) : rep ? op_string_rep : op_string;
	l->ends = io;
}

static void lower_inout(struct lower *l, unsigned out)
{
	const ZydisDecodedOperand *port = &l->d->op[out ? 0 : 1];

	l->i->src = l->d->op[out ? 1 : 0].size / 8;
	l->i->imm = port->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? (int32_t)(port->imm.value.u & 0xff)
							       : -1;
	l->i->fn = out ? op_out : op_in;
	l->ends = true;
}

/* --- the rest --- */
void lower_bounce(struct lower *l)
{
	const struct bounce *b;

	switch (bounce_prepare(l->v->bounce, l->d, &b)) {
	case BOUNCE_OK:
		break;
	case BOUNCE_FULL:
		l->full = true;
		return;
	default:
		l->i->fn = op_ud;
		l->ends = true;
		return;
	}
	l->i->fn = op_bounce;
	if (b->ea == BOUNCE_EA_OFF) {
		lower_mem(l);
		l->i->fn = op_bounce_off;
	} else if (b->ea == BOUNCE_EA_LIN) {
		unsigned form = lower_mem(l);

		l->i->fn = form == AK_B	  ? op_bounce_lin_b
			   : form == AK_X ? op_bounce_lin_x
					  : op_bounce_lin;
	}
	l->i->ptr = b;
}

static void lower_ud(struct lower *l, unsigned arg)
{
	l->i->fn = op_ud;
	l->ends = true;
}

void lower_fault(struct lower *l, uint8_t vector)
{
	*l->i = (struct insn){
		.fn = op_raise, .imm = vector, .src = vector == X86_GP, .off = l->off};
	l->slots = 1;
	l->ends = true;
}

static const struct {
	void (*fn)(struct lower *l, unsigned arg);
	uint8_t arg;
} shapes[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define LOWER(mnemonic, shape, arg_) [ZYDIS_MNEMONIC_##mnemonic] = {lower_##shape, arg_},
#include "engine/interp/lower.def"
#undef LOWER
};

static const struct {
	op_fn *fn;
	bool ends;
} plain[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define PLAIN(mnemonic, op, ends_) [ZYDIS_MNEMONIC_##mnemonic] = {op, ends_},
#include "engine/interp/lower_plain.def"
#undef PLAIN
};

void lower_insn(struct lower *l)
{
	const struct x86_decoded *d = l->d;
	ZydisMnemonic m = d->insn.mnemonic;

	*l->i = (struct insn){.off = l->off, .len = d->len};
	l->i->base = l->i->index = l->i->seg = offsetof(struct x86_cpu, zero);
	l->i->flags = (uint8_t)((d->addrsize == 2   ? INSN_A16
				 : d->addrsize == 4 ? INSN_A32
						    : 0) |
				(d->opsize == 2	  ? INSN_O16
				 : d->opsize == 4 ? INSN_O32
						  : 0));
	l->slots = 1;
	l->ends = false;
	if (plain[m].fn) {
		/* Their memory operands, if any, are on the stack. */
		l->i->flags |= INSN_SS;
		l->i->fn = plain[m].fn;
		l->ends = plain[m].ends;
	} else if (shapes[m].fn) {
		shapes[m].fn(l, shapes[m].arg);
	} else {
		lower_bounce(l);
	}
}
