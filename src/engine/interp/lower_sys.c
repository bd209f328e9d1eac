/* SPDX-License-Identifier: Apache-2.0 */
/* Lowering of branches and of system instructions with operands. */
#include "engine/interp/lower.h"

/* Direct branches are linked where a linear address is all there is to know of a target. */
static bool linkable(const struct lower *l)
{
	if (l->c->mode & X86_MODE_CS64)
		return true;
	return l->c->mode & X86_MODE_FLAT && l->c->mode & X86_MODE_CS32 && l->d->opsize == 4;
}

static void new_link(struct lower *l, unsigned n)
{
	*(struct link *)(l->i + n) = (struct link){.to = &interp_no_block};
	l->slots = n + 1;
}

/* Does the byte at this offset from the instruction's page lie outside of the page? */
static bool leaves(int64_t off)
{
	return off < 0 || off >= (int64_t)PAGE_SIZE;
}

static bool target_leaves(const struct lower *l)
{
	return leaves((int64_t)l->off + l->d->len + l->i->imm);
}

void lower_jcc(struct lower *l, unsigned cc)
{
	struct insn *i = l->i;

	i->imm = (int32_t)l->d->op[0].imm.value.s;
	i->base = (uint16_t)(l->index + 1);
	l->ends = true;
	if (!linkable(l)) {
		i->src = (uint16_t)cc;
		i->fn = op_jcc_gen;
		return;
	}
	i->fn = ops_jcc[cc][target_leaves(l)][leaves((int64_t)l->off + l->d->len)];
	new_link(l, 1);
	new_link(l, 2);
	if (l->index && i->fn == ops_jcc[cc][0][0]) {
		op_fn *both = ops_fuse(i[-1].fn, cc);

		if (both)
			i[-1].fn = both;
	}
}

void lower_loop(struct lower *l, unsigned op)
{
	l->i->imm = (int32_t)l->d->op[0].imm.value.s;
	l->i->base = (uint16_t)(l->index + 1);
	l->i->src = (uint16_t)op;
	l->i->fn = op_loop;
	l->ends = true;
}

static bool is_far(const struct lower *l)
{
	return l->d->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

/* JMP and CALL to a far pointer in the instruction or in memory. */
static void far(struct lower *l, op_fn *ptr, op_fn *mem)
{
	l->ends = true;
	if (l->d->op[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		l->i->dst = l->d->op[0].ptr.segment;
		l->i->imm = (int32_t)l->d->op[0].ptr.offset;
		l->i->fn = ptr;
		return;
	}
	lower_mem(l);
	l->i->fn = mem;
}

void lower_jmp(struct lower *l, unsigned arg)
{
	struct insn *i = l->i;

	if (is_far(l)) {
		far(l, op_jmp_far, op_jmp_far_m);
		return;
	}
	l->ends = true;
	if (lower_is_imm(l, 0)) {
		i->imm = (int32_t)l->d->op[0].imm.value.s;
		i->base = (uint16_t)(l->index + 1);
		i->fn = op_jmp_gen;
		if (linkable(l)) {
			i->fn = ops_jmp[target_leaves(l)];
			new_link(l, 1);
		}
	} else if (lower_is_reg(l, 0)) {
		i->src = lower_op(l, 0);
		i->base = (uint16_t)(l->index + 1);
		i->fn = !linkable(l) ? op_jmp_gen_r : l->d->opsize == 8 ? op_jmp64_r : op_jmp32_r;
	} else {
		i->fn = op_jmp_m;
		if (lower_mem(l) == AK_B && l->d->opsize == 8) {
			i->dst = (uint16_t)(l->index + 1);
			i->fn = op_jmp64_m_b;
		}
	}
}

void lower_call(struct lower *l, unsigned arg)
{
	bool link = linkable(l) && (l->c->mode & (X86_MODE_CS64 | X86_MODE_SS32));
	struct insn *i = l->i;

	if (is_far(l)) {
		far(l, op_call_far, op_call_far_m);
		return;
	}
	l->ends = true;
	if (lower_is_imm(l, 0)) {
		i->flags |= INSN_SS;
		i->imm = (int32_t)l->d->op[0].imm.value.s;
		i->base = (uint16_t)(l->index + 1);
		i->fn = op_call_gen;
		if (link) {
			i->fn = ops_call[l->d->opsize == 8][target_leaves(l)];
			new_link(l, 1);
		}
	} else if (lower_is_reg(l, 0)) {
		i->src = lower_op(l, 0);
		i->base = (uint16_t)(l->index + 1);
		i->fn = l->d->opsize == 8 ? op_call64_r : op_call_r;
	} else {
		i->fn = op_call_m;
		if (lower_mem(l) == AK_B && l->d->opsize == 8) {
			i->dst = (uint16_t)(l->index + 1);
			i->fn = op_call64_m_b;
		}
	}
}

void lower_ret(struct lower *l, unsigned arg)
{
	bool flat = linkable(l) && (l->c->mode & (X86_MODE_CS64 | X86_MODE_SS32));
	struct insn *i = l->i;

	l->ends = true;
	i->imm = lower_is_imm(l, 0) && l->d->insn.operand_count_visible
			 ? (uint16_t)l->d->op[0].imm.value.u
			 : 0;
	if (is_far(l)) {
		i->fn = op_ret_far;
		return;
	}
	i->flags |= INSN_SS;
	i->base = (uint16_t)(l->index + 1);
	i->fn = !flat ? op_ret_gen : l->d->opsize == 8 ? op_ret64 : op_ret32;
}

void lower_int(struct lower *l, unsigned kind)
{
	l->i->src = (uint16_t)kind;
	l->i->imm = kind == X86_INT_SOFT      ? (int32_t)(l->d->op[0].imm.value.u & 0xff)
		    : kind == X86_INT_SOFT_BP ? X86_BP
					      : X86_DB;
	l->i->fn = op_int;
	l->ends = true;
}

void lower_sysmem(struct lower *l, unsigned op)
{
	static op_fn *const fn[] = {
		[SYSMEM_SGDT] = op_sgdt,       [SYSMEM_SIDT] = op_sgdt,
		[SYSMEM_LGDT] = op_lgdt,       [SYSMEM_LIDT] = op_lgdt,
		[SYSMEM_INVLPG] = op_invlpg,   [SYSMEM_INVPCID] = op_invpcid,
		[SYSMEM_CLFLUSH] = op_clflush,
	};

	l->i->imm = op == SYSMEM_SIDT || op == SYSMEM_LIDT;
	if (op == SYSMEM_INVPCID)
		l->i->src = lower_op(l, 0);
	lower_mem(l);
	l->i->fn = fn[op];
	l->ends = op != SYSMEM_SGDT && op != SYSMEM_SIDT && op != SYSMEM_CLFLUSH;
}

static void store_word(struct lower *l, int what)
{
	l->i->imm = what;
	if (lower_is_reg(l, 0)) {
		l->i->dst = lower_op(l, 0);
		l->i->fn = op_store_word_r;
	} else {
		lower_mem(l);
		l->i->fn = op_store_word_m;
	}
}

static void load_word(struct lower *l, op_fn *fn, bool ends)
{
	l->i->dst = !lower_is_reg(l, 0);
	if (l->i->dst)
		lower_mem(l);
	else
		l->i->src = lower_op(l, 0);
	l->i->fn = fn;
	l->ends = ends;
}

void lower_sysword(struct lower *l, unsigned op)
{
	switch (op) {
	case SYSWORD_SLDT:
		store_word(l, X86_LDTR);
		return;
	case SYSWORD_STR:
		store_word(l, X86_TR);
		return;
	case SYSWORD_SMSW:
		store_word(l, -1);
		return;
	case SYSWORD_LLDT:
		load_word(l, op_lldt, true);
		return;
	case SYSWORD_LTR:
		load_word(l, op_ltr, true);
		return;
	case SYSWORD_LMSW:
		load_word(l, op_lmsw, true);
		return;
	default:
		l->i->imm = op == SYSWORD_VERW;
		load_word(l, op_verr, false);
		return;
	}
}

void lower_lar(struct lower *l, unsigned lsl)
{
	bool mem = !lower_is_reg(l, 1);

	l->i->dst = lower_op(l, 0);
	l->i->imm = (int32_t)(lsl | (mem ? 2 : 0));
	if (mem)
		lower_mem(l);
	else
		l->i->src = lower_op(l, 1);
	l->i->fn = op_lar;
}

void lower_arpl(struct lower *l, unsigned arg)
{
	l->i->dst = !lower_is_reg(l, 0);
	l->i->src = lower_op(l, 1);
	if (l->i->dst)
		lower_mem(l);
	else
		l->i->imm = lower_op(l, 0);
	l->i->fn = op_arpl;
}

/* RDFSBASE RDGSBASE WRFSBASE WRGSBASE */
void lower_base(struct lower *l, unsigned op)
{
	/* An operand-size prefix has no say: 32 bits, or 64 with REX.W. */
	l->i->flags &= (uint8_t) ~(INSN_O16 | INSN_O32);
	l->i->flags |= l->d->op[0].size == 32 ? INSN_O32 : 0;
	l->i->imm = op & 1 ? X86_GS : X86_FS;
	if (op & 2)
		l->i->src = lower_op(l, 0);
	else
		l->i->dst = lower_op(l, 0);
	l->i->fn = op & 2 ? op_wrbase : op_rdbase;
}
