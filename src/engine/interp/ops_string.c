/* SPDX-License-Identifier: Apache-2.0 */
/*
 * String instructions (SDM 2 MOVS, STOS, LODS, SCAS, CMPS, INS, OUTS; SDM 1 7.3.9.1).
 *
 * Registers are committed after each element or piece, so that a fault leaves exactly the completed
 * iterations behind and RIP at the instruction, which is how the processor restarts it.  REP MOVS,
 * and REP STOS going up, run page by page; between pieces, waiting events interrupt.  Under
 * single-step one iteration is one step (SDM 3A 17.3.1.4).
 *
 * insn: src = element size, seg = segment of the source, imm = enum string_op.
 */
#include "engine/interp/ops.h"

#define RCX c->s.gpr[X86_RCX]
#define RSI c->s.gpr[X86_RSI]
#define RDI c->s.gpr[X86_RDI]
#define BATCH 256 /* elements between looks at events, when they go one by one */

static uint64_t addr_mask(const struct insn *i)
{
	return i->flags & INSN_A16 ? 0xffff : i->flags & INSN_A32 ? 0xffffffff : ~UINT64_C(0);
}

static void set_addr(uint64_t *reg, uint64_t mask, uint64_t v)
{
	*reg = mask == 0xffff ? (*reg & ~mask) | (v & mask) : v & mask;
}

static bool flat_seg(const struct x86_cpu *c, unsigned seg)
{
	return c->mode & X86_MODE_CS64 || (c->mode & X86_MODE_FLAT && seg < X86_FS);
}

static uint64_t lin_of(struct x86_cpu *c, const struct insn *i, unsigned seg, uint64_t off,
		       bool write)
{
	unsigned size = i->src;

	if (c->mode & X86_MODE_CS64) {
		uint64_t va = off + (seg >= X86_FS ? c->s.seg[seg].base : 0);

		interp_canonical(c, i, va, size);
		return va;
	}
	if (flat_seg(c, seg) && off + size <= BIT(32))
		return off;
	return x86_lin(c, (enum x86_sreg)seg, off, size, write);
}

static uint64_t src_lin(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	return lin_of(c, i, i->seg, RSI & mask, false);
}

static uint64_t dst_lin(struct x86_cpu *c, const struct insn *i, uint64_t mask, bool write)
{
	return lin_of(c, i, X86_ES, RDI & mask, write);
}

static void advance(struct x86_cpu *c, uint64_t mask, bool src, bool dst, int64_t n)
{
	if (src)
		set_addr(&RSI, mask, RSI + (uint64_t)n);
	if (dst)
		set_addr(&RDI, mask, RDI + (uint64_t)n);
}

static int64_t step_of(const struct x86_cpu *c, const struct insn *i)
{
	return c->s.rflags & RFLAGS_DF ? -(int64_t)i->src : i->src;
}

/* --- one element of each --- */
static void movs_one(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	uint64_t from = src_lin(c, i, mask), v = interp_ld(c, i, from, i->src);

	interp_st(c, i, dst_lin(c, i, mask, true), v, i->src);
	advance(c, mask, true, true, step_of(c, i));
}

static void stos_one(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	interp_st(c, i, dst_lin(c, i, mask, true), c->s.gpr[X86_RAX], i->src);
	advance(c, mask, false, true, step_of(c, i));
}

static void lods_one(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	uint64_t v = interp_ld(c, i, src_lin(c, i, mask), i->src);

	switch (i->src) {
	case 1:
		REG(uint8_t, GPR(X86_RAX)) = (uint8_t)v;
		break;
	case 2:
		REG(uint16_t, GPR(X86_RAX)) = (uint16_t)v;
		break;
	default:
		c->s.gpr[X86_RAX] = v;
		break;
	}
	advance(c, mask, true, false, step_of(c, i));
}

static uint16_t compare(uint64_t a, uint64_t b, unsigned size)
{
	unsigned sh = 64 - 8 * size;
	uint16_t f;

#define CMP(suffix) \
	__asm__("cmp %" suffix "2, %" suffix "1" TAKE_FLAGS : "=a"(f) : "r"(a), "r"(b) : "cc")
	switch (sh) {
	case 56:
		CMP("b");
		break;
	case 48:
		CMP("w");
		break;
	case 32:
		CMP("k");
		break;
	default:
		CMP("q");
		break;
	}
#undef CMP
	return f;
}

static void scas_one(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	uint64_t v = interp_ld(c, i, dst_lin(c, i, mask, false), i->src);

	c->fl = compare(c->s.gpr[X86_RAX], v, i->src);
	advance(c, mask, false, true, step_of(c, i));
}

static void cmps_one(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	/* The destination first, as processors do. */
	uint64_t b = interp_ld(c, i, dst_lin(c, i, mask, false), i->src);
	uint64_t a = interp_ld(c, i, src_lin(c, i, mask), i->src);

	c->fl = compare(a, b, i->src);
	advance(c, mask, true, true, step_of(c, i));
}

/* The write is probed first: input from a device must not be lost to a fault. */
static void ins_one(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	uint64_t to = dst_lin(c, i, mask, true);

	x86_probe(c, to, i->src, X86_WRITE);
	interp_st(c, i, to, interp_in(c, (uint16_t)c->s.gpr[X86_RDX], i->src), i->src);
	advance(c, mask, false, true, step_of(c, i));
}

static void outs_one(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	uint64_t v = interp_ld(c, i, src_lin(c, i, mask), i->src);

	interp_out(c, (uint16_t)c->s.gpr[X86_RDX], (uint32_t)v, i->src);
	advance(c, mask, true, false, step_of(c, i));
}

static void (*const one[])(struct x86_cpu *c, const struct insn *i, uint64_t mask) = {
	[STR_MOVS] = movs_one, [STR_STOS] = stos_one, [STR_LODS] = lods_one, [STR_SCAS] = scas_one,
	[STR_CMPS] = cmps_one, [STR_INS] = ins_one,   [STR_OUTS] = outs_one,
};

/* --- pieces: n elements at most, no page is crossed; the number done, 0 when one must go alone ---
 */
/* Where the first element is read and written, and the bytes from there to the ends of the pages;
 * false: it must go alone. */
static bool movs_places(struct x86_cpu *c, const struct insn *i, uint64_t mask, const uint8_t **p,
			uint8_t **q, uint64_t *avail, uint64_t *avail2)
{
	*p = x86_span(c, src_lin(c, i, mask), X86_READ, avail);
	if (!*p || *avail < i->src)
		return false;
	*q = x86_span(c, dst_lin(c, i, mask, true), X86_WRITE, avail2);
	return *q && *avail2 >= i->src;
}

static uint64_t movs_span(struct x86_cpu *c, const struct insn *i, uint64_t mask, uint64_t n)
{
	uint64_t avail, avail2, bytes;
	const uint8_t *p;
	uint8_t *q;

	if (!movs_places(c, i, mask, &p, &q, &avail, &avail2))
		return 0;
	n = min_u64(n, min_u64(avail, avail2) / i->src);
	bytes = n * i->src;
	if ((uint64_t)(q - p) >= bytes && (uint64_t)(p - q) >= bytes)
		memcpy(q, p, bytes);
	else if (i->src == 1)
		__asm__ volatile("rep movsb" : "+S"(p), "+D"(q), "+c"(bytes) : : "memory");
	else if (i->src == 2)
		for (uint64_t k = 0; k < n; k++)
			memcpy(q + 2 * k, memcpy(&(uint16_t){0}, p + 2 * k, 2), 2);
	else if (i->src == 4)
		for (uint64_t k = 0; k < n; k++)
			put_le32(q + 4 * k, get_le32(p + 4 * k));
	else
		for (uint64_t k = 0; k < n; k++)
			put_le64(q + 8 * k, get_le64(p + 8 * k));
	advance(c, mask, true, true, (int64_t)(n * i->src));
	return n;
}

static uint64_t movs_span_down(struct x86_cpu *c, const struct insn *i, uint64_t mask, uint64_t n)
{
	uint64_t avail, avail2, below;
	const uint8_t *p;
	uint8_t *q;

	if (!movs_places(c, i, mask, &p, &q, &avail, &avail2))
		return 0;
	below = (PAGE_SIZE - (avail > avail2 ? avail : avail2)) / i->src;
	n = min_u64(n, below + 1);
	below = (n - 1) * i->src;
	if (q < p && (uint64_t)(p - q) < n * i->src) /* what is written is to be read again */
		return 0;
	memmove(q - below, p - below, n * i->src);
	advance(c, mask, true, true, -(int64_t)(n * i->src));
	return n;
}

static uint64_t stos_span(struct x86_cpu *c, const struct insn *i, uint64_t mask, uint64_t n)
{
	uint64_t avail, k, v = c->s.gpr[X86_RAX];
	uint8_t *q = x86_span(c, dst_lin(c, i, mask, true), X86_WRITE, &avail);

	if (!q)
		return 0;
	n = k = min_u64(n, avail / i->src);
	switch (i->src) {
	case 1:
		memset(q, (int)(v & 0xff), n);
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(q), "+c"(k) : "a"(v) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(q), "+c"(k) : "a"(v) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(q), "+c"(k) : "a"(v) : "memory");
		break;
	}
	advance(c, mask, false, true, (int64_t)(n * i->src));
	return n;
}

/* Pieces need a segment without limits: what else could fault in the middle is only the page, where
 * 32-bit addresses do not wrap either, unless a segment's base moves them. */
static uint64_t span(struct x86_cpu *c, const struct insn *i, uint64_t mask, uint64_t n)
{
	bool down = c->s.rflags & RFLAGS_DF;

	if (mask == 0xffff || n < 2 || c->align_check || !flat_seg(c, X86_ES))
		return 0;
	if (i->imm == STR_STOS && !down)
		return stos_span(c, i, mask, n);
	if (i->imm == STR_MOVS && flat_seg(c, i->seg) && (mask == UINT64_MAX || i->seg < X86_FS))
		return down ? movs_span_down(c, i, mask, n) : movs_span(c, i, mask, n);
	return 0;
}

static bool compares(const struct insn *i)
{
	return i->imm == STR_SCAS || i->imm == STR_CMPS;
}

static bool rep_ends(const struct x86_cpu *c, const struct insn *i)
{
	return compares(i) && !(c->fl & FL_ZF) == !(i->flags & INSN_REPNE);
}

/* Not finished, but something waits: come back to this instruction. */
static const struct insn *interrupted(struct x86_cpu *c, const struct insn *i)
{
	c->icount += interp_index(c, i);
	c->s.rip = interp_rip(c, i->off);
	return interp_resume(c, i);
}

OP(op_string)
{
	interp_sync(c, i);
	one[i->imm](c, i, addr_mask(i));
	NEXT_SLOW;
}

/* As many iterations as a piece allows, or one.  Flags of a comparison come to be only when the
 * instruction ends or is interrupted: a fault leaves those from before. */
static uint64_t rep_some(struct x86_cpu *c, const struct insn *i, uint64_t mask, uint64_t n,
			 uint16_t before)
{
	uint64_t done = c->single ? 0 : span(c, i, mask, n);

	if (done)
		return done;
	c->fl = before;
	one[i->imm](c, i, mask);
	return 1;
}

/* A count is written even when nothing is done, and so are the addresses of MOVS and STOS when
 * something is: processors clear the upper halves of 32-bit ones. */
static uint64_t rep_begin(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	uint64_t n = RCX & mask;

	set_addr(&RCX, mask, n);
	if (n && (i->imm == STR_MOVS || i->imm == STR_STOS))
		advance(c, mask, i->imm == STR_MOVS, true, 0);
	return n;
}

OP(op_string_rep)
{
	uint64_t mask = addr_mask(i), n = rep_begin(c, i, mask);
	uint16_t before = c->fl;
	unsigned left = BATCH;

	interp_sync(c, i);
	while (n) {
		uint64_t done = rep_some(c, i, mask, n, before);

		n -= done;
		set_addr(&RCX, mask, n);
		if (rep_ends(c, i))
			break;
		if (done == 1 && --left && !c->single)
			continue;
		left = BATCH;
		if (n && (c->single || interp_pending(c) || block_stale(interp_of(c)->cur)))
			return interrupted(c, i);
	}
	NEXT_SLOW;
}

/* Port input and output change devices: whatever they cause comes at once. */
OP(op_string_io)
{
	interp_sync(c, i);
	interp_io_check(c, (uint16_t)c->s.gpr[X86_RDX], i->src);
	one[i->imm](c, i, addr_mask(i));
	return interp_leave(c, i);
}

OP(op_string_io_rep)
{
	uint64_t mask = addr_mask(i), n = RCX & mask;

	interp_sync(c, i);
	interp_io_check(c, (uint16_t)c->s.gpr[X86_RDX], i->src);
	set_addr(&RCX, mask, n);
	while (n) {
		one[i->imm](c, i, mask);
		set_addr(&RCX, mask, --n);
		if (n && (c->single || interp_pending(c)))
			return interrupted(c, i);
	}
	return interp_leave(c, i);
}
