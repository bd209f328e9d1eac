/* SPDX-License-Identifier: Apache-2.0 */
/*
 * String instructions without a repeat prefix, going up: boot loaders built for size copy and
 * compare by them, one element at a time.  Down, or from FS and GS, they are the interpreter's.
 *
 * Each is one or two accesses by way of RSI and RDI; both have been translated before a register
 * changes.
 */
#include "engine/dbt/xlate_int.h"

#define H_RAX dbt_host_reg[X86_RAX]
#define H_RSI dbt_host_reg[X86_RSI]
#define H_RDI dbt_host_reg[X86_RDI]

static bool in_line(const struct xlate *x, const struct xinsn *i)
{
	const struct x86_decoded *d = &i->d;

	if (d->addrsize == 2 || !(x->code64 || x->mode & X86_MODE_FLAT))
		return false;
	for (unsigned n = 0; n < d->insn.operand_count; n++)
		if (xl_is_op(i, n, ZYDIS_OPERAND_TYPE_MEMORY) &&
		    d->op[n].mem.segment >= ZYDIS_REGISTER_FS)
			return false;
	return true;
}

/* To the interpreter if RFLAGS.DF is set. */
static void leave_if_down(struct xlate *x)
{
	struct code *a = &x->a;
	uint8_t *up;

	e_load(a, T1, CPU(s.rflags));
	e_pext(a, T1, T1, FRAME(df));
	up = e_jrcxz(a);
	xl_cold(x, COLD_EXIT, e_jmp(a));
	e_patch8(a, up);
}

/* False: it is the interpreter's. */
static bool begin(struct xlate *x, const struct xinsn *i)
{
	if (!in_line(x, i)) {
		xl_exit(x, i);
		return false;
	}
	leave_if_down(x);
	return true;
}

/* The element that reg, RSI or RDI, points at. */
static struct emem element(struct xlate *x, const struct xinsn *i, unsigned reg, unsigned how)
{
	unsigned ea = reg;

	xl_begin(x);
	if (i->d.addrsize != 8)
		e_lea(&x->a, 0, ea = T0, em_base(reg, 0));
	xl_access(x, ea, i->d.opsize, how);
	return em_sum(ea, T1);
}

/* An instruction of the element's size, whose form for bytes has opcode op8, and the next one. */
static void sized(struct xlate *x, const struct xinsn *i, unsigned op8, unsigned reg, struct emem m)
{
	if (i->d.opsize == 2)
		e8(&x->a, 0x66);
	e_rm(&x->a, i->d.opsize == 8, op8 + (i->d.opsize > 1), reg, m);
}

static void advance(struct xlate *x, const struct xinsn *i, unsigned reg)
{
	e_lea(&x->a, i->d.addrsize == 8, reg, em_base(reg, i->d.opsize));
}

/* T2, of which the low bytes count, is what `reg` points at. */
static void fetch(struct xlate *x, const struct xinsn *i, unsigned reg)
{
	sized(x, i, 0x8a, T2, element(x, i, reg, 0));
}

void xl_movs(struct xlate *x, const struct xinsn *i)
{
	struct emem to;

	if (!begin(x, i))
		return;
	fetch(x, i, H_RSI);
	e_store(&x->a, FRAME(tmp), T2);
	to = element(x, i, H_RDI, XL_WRITE);
	e_load(&x->a, T2, FRAME(tmp));
	sized(x, i, 0x88, T2, to);
	advance(x, i, H_RSI);
	advance(x, i, H_RDI);
}

void xl_stos(struct xlate *x, const struct xinsn *i)
{
	if (!begin(x, i))
		return;
	sized(x, i, 0x88, H_RAX, element(x, i, H_RDI, XL_WRITE));
	advance(x, i, H_RDI);
}

void xl_lods(struct xlate *x, const struct xinsn *i)
{
	if (!begin(x, i))
		return;
	sized(x, i, 0x8a, H_RAX, element(x, i, H_RSI, 0));
	advance(x, i, H_RSI);
}

void xl_scas(struct xlate *x, const struct xinsn *i)
{
	if (!begin(x, i))
		return;
	sized(x, i, 0x3a, H_RAX, element(x, i, H_RDI, 0));
	advance(x, i, H_RDI);
}

/* The destination first, as processors do. */
void xl_cmps(struct xlate *x, const struct xinsn *i)
{
	if (!begin(x, i))
		return;
	fetch(x, i, H_RDI);
	e_store(&x->a, FRAME(tmp), T2);
	fetch(x, i, H_RSI);
	sized(x, i, 0x3a, T2, FRAME(tmp));
	advance(x, i, H_RSI);
	advance(x, i, H_RDI);
}
