/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a form and a seed to a case: random encoding choices, then registers chosen so that each
 * memory operand lies where the dice want it: aligned, misaligned, across pages, read-only, absent,
 * non-canonical.
 */
#include <string.h>
#include "insn.h"
#include "x86/cpu.h"

static bool one_in(struct gen *g, unsigned n)
{
	return rng_below(&g->r, n) == 0;
}

/* --- bytes --- */

/* Segment, address-size and redundant prefixes. */
static unsigned put_prefixes(struct gen *g, uint8_t *b, const struct form *f)
{
	static const uint8_t seg[] = {0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e};
	unsigned n = 0;

	if (one_in(g, 8))
		b[n++] = seg[rng_below(&g->r, one_in(g, 3) ? 6 : 2)];
	if (one_in(g, 12))
		b[n++] = 0x67;
	if (f->space == SPACE_LEGACY && one_in(g, 40))
		b[n++] = 0x66; /* often ignored, sometimes another instruction: the decoder tells */
	if (f->space == SPACE_LEGACY && f->mem && one_in(g, 20))
		b[n++] = 0xf0;
	return n;
}

static uint8_t pick_modrm(struct gen *g, const struct form *f)
{
	unsigned reg = f->reg >= 0 ? (unsigned)f->reg : rng_below(&g->r, 8);
	unsigned rm = f->rm >= 0 ? (unsigned)f->rm : rng_below(&g->r, 8);
	unsigned mod = f->mem ? rng_below(&g->r, 3) : 3;

	if (f->mem && one_in(g, 3))
		rm = 4; /* SIB */
	return (uint8_t)(mod << 6 | reg << 3 | rm);
}

/* The encoding without knowledge of lengths: displacement and immediate are random bytes. */
static void put_bytes(struct gen *g, uint8_t b[16])
{
	const struct form *f = g->c->form;
	unsigned n = put_prefixes(g, b, f), rex = 0;

	if (f->space == SPACE_VEX) {
		unsigned rxb = f->mode32 ? 7 : rng_below(&g->r, 8);
		unsigned vvvv = rng_below(&g->r, f->mode32 ? 8 : 16) ^ 0xf;

		b[n++] = 0xc4;
		b[n++] = (uint8_t)(rxb << 5 | f->map);
		b[n++] = (uint8_t)(f->w << 7 | vvvv << 3 | f->l << 2 | f->prefix);
	} else {
		if (f->prefix)
			b[n++] = f->prefix;
		if (!f->mode32)
			rex = one_in(g, 2) ? 0x40 | rng_below(&g->r, 8) : 0;
		if (f->w)
			rex |= 0x48;
		if (rex)
			b[n++] = (uint8_t)rex;
		if (f->map)
			b[n++] = 0x0f;
		if (f->map > 1)
			b[n++] = f->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = f->opcode;
	if (f->has_modrm)
		b[n++] = pick_modrm(g, f);
	for (; n < 16; n++)
		b[n] = (uint8_t)rng_u64(&g->r);
}

static bool is(const struct icase *c, ZydisMnemonic m)
{
	return c->d.insn.mnemonic == m;
}

static bool far_return(const struct icase *c)
{
	return is(c, ZYDIS_MNEMONIC_IRET) || is(c, ZYDIS_MNEMONIC_IRETD) ||
	       is(c, ZYDIS_MNEMONIC_IRETQ) || is(c, ZYDIS_MNEMONIC_RET);
}

static bool is_xsave(ZydisMnemonic m)
{
	return (m >= ZYDIS_MNEMONIC_XRSTOR && m <= ZYDIS_MNEMONIC_XRSTOR64) ||
	       (m >= ZYDIS_MNEMONIC_XSAVE && m <= ZYDIS_MNEMONIC_XSAVES64);
}

/* EDX:EAX choose components, of which the host has more: they must not be address registers. */
static bool xsave_address(const struct icase *c)
{
	const ZydisDecodedOperand *op = &c->d.op[0];
	ZydisMnemonic m = c->d.insn.mnemonic;

	if (c->d.mem != 0 || !is_xsave(m))
		return true;
	for (ZydisRegister r = ZYDIS_REGISTER_RAX; r <= ZYDIS_REGISTER_RDX; r++) {
		ZydisRegister half = (ZydisRegister)(r - ZYDIS_REGISTER_RAX + ZYDIS_REGISTER_EAX);

		if (r != ZYDIS_REGISTER_RCX && (op->mem.base == r || op->mem.base == half ||
						op->mem.index == r || op->mem.index == half))
			return false;
	}
	return true;
}

/* Byte stores under a mask: whether masked bytes fault is the processor's choice (SDM 2
 * MASKMOVDQU). */
static bool masked_bytes(const struct icase *c)
{
	return is(c, ZYDIS_MNEMONIC_MASKMOVQ) || is(c, ZYDIS_MNEMONIC_MASKMOVDQU) ||
	       is(c, ZYDIS_MNEMONIC_VMASKMOVDQU);
}

static bool decode(struct gen *g)
{
	struct icase *c = g->c;

	return x86_decode(&c->d, g->cpuid, form_mode(c->form), c->bytes, 15) == X86_DECODE_OK &&
	       c->d.insn.mnemonic == c->form->mnemonic && xsave_address(c) &&
	       !(masked_bytes(c) && c->d.addrsize == 2) &&
	       !(is(c, ZYDIS_MNEMONIC_VCVTPS2PH) && c->d.mem == 0 &&
		 c->d.op[0].mem.segment == ZYDIS_REGISTER_CS);
}

/* Without VVVV operand the field must be 1111: try that when the first attempt is undefined. */
static bool make_bytes(struct gen *g)
{
	struct icase *c = g->c;

	for (unsigned attempt = 0; attempt < 60; attempt++) {
		put_bytes(g, c->bytes);
		if (c->form->space == SPACE_VEX && (attempt & 1)) {
			unsigned i = 0;

			while (c->bytes[i] != 0xc4)
				i++;
			c->bytes[i + 2] |= 0x78;
		}
		if (decode(g)) {
			c->len = c->d.len;
			return true;
		}
	}
	return false;
}

/* --- relative branches: into INT3 bytes, never onto themselves --- */

static bool fix_branch(struct gen *g)
{
	struct icase *c = g->c;
	unsigned size, off;
	int64_t rel;

	if (!(c->d.insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE) || !c->d.insn.raw.imm[0].size)
		return true;
	size = c->d.insn.raw.imm[0].size / 8;
	off = c->d.insn.raw.imm[0].offset;
	rel = size == 1 ? (int8_t)rng_u64(&g->r) : (int64_t)rng_below(&g->r, 0xe00) - 0x700;
	if (rel < 0 && rel >= -15)
		rel = 5;
	if (size > 1 && one_in(g, 16))
		rel = (int64_t)DATA_BASE - (int64_t)CODE_BASE; /* not executable */
	for (unsigned i = 0; i < size; i++)
		c->bytes[off + i] = (uint8_t)((uint64_t)rel >> (8 * i));
	return decode(g);
}

/* --- where an operand goes --- */

struct target {
	uint64_t va;
	unsigned size;
};

static uint64_t in_data(struct gen *g, unsigned size, bool stack)
{
	uint64_t base = stack ? STACK_BASE : DATA_BASE;
	unsigned align = size >= 64 ? 64 : size ? size : 8;

	while (align & (align - 1))
		align &= align - 1;
	return base + ((rng_below(&g->r, 0x2000 - (size < 0x1800 ? size : 0x1800))) & ~(align - 1));
}

static uint64_t pick_target(struct gen *g, unsigned size, bool stack, bool locked)
{
	uint64_t base = stack ? STACK_BASE : DATA_BASE;
	uint64_t ro = stack ? STACK_BASE + 0x2000 : DATA_BASE + 0x3000;
	/* In a block each fault hides what follows: most operands are where they can be. */
	unsigned n = size ? size : 8, k = rng_below(&g->r, g->block && !one_in(g, 5) ? 82 : 100);

	if (k < 60 || locked) {
		if (k >= 90)
			return base + 0x4000 + 64 * rng_below(&g->r, 64); /* a hole */
		if (k >= 85 && !stack)
			return DATA_BASE + 0x2000 + 64 * rng_below(&g->r, 60);
		return in_data(g, size, stack);
	}
	if (k < 72)
		return base + rng_below(&g->r, 0x2000 - (n < 0x1000 ? n : 0x1000));
	if (k < 82)
		return base + 0x1000 - rng_below(&g->r, n + 1);
	if (k < 86)
		return base + 0x2000 - rng_below(&g->r, n + 1);
	if (k < 90)
		return ro - rng_below(&g->r, n + 1);
	if (k < 93)
		return base - rng_below(&g->r, n + 1);
	if (k < 96)
		return base + (stack ? 0 : 0x2000) +
		       rng_below(&g->r, 0x1000 - (n < 0x800 ? n : 0x800));
	if (k < 98)
		return base + 0x6000 + rng_below(&g->r, 0x4000);
	if (g->c->mode32 || k == 98)
		return rng_u64(&g->r) & 0x7ffff000; /* nothing is there, or the zero page */
	if (is(g->c, ZYDIS_MNEMONIC_VCVTPS2PH)) /* #XM comes before the address is looked at */
		return DATA_BASE + 0x6000;
	/* Non-canonical; across the end of the canonical part only small ones that are not
	 * alignment-checked: the order of #SS, #GP and #AC for the others is not defined. */
	if (n <= 8 && !(g->c->in.rflags & RFLAGS_AC))
		return UINT64_C(0x0000800000000000) - rng_below(&g->r, n + 1);
	return UINT64_C(0x0000800000000000) + (rng_u64(&g->r) << 47);
}

/* XSAVE areas lie in one piece: which parts of it are tried, when no component there is moved, is
 * the processor's choice. */
static uint64_t pick_area(struct gen *g)
{
	uint64_t va = in_data(g, X86_XSAVE_SIZE, false);

	if (one_in(g, 8))
		va = DATA_BASE + 0x2000 + 64 * rng_below(&g->r, 48); /* read-only */
	else if (one_in(g, 8))
		va = DATA_BASE + 0x6000 + 64 * rng_below(&g->r, 48); /* a hole */
	if (one_in(g, 8))
		va += rng_below(&g->r, 64);
	return va;
}

/* --- registers for one memory operand --- */

static uint64_t seg_base(const struct icase *c, ZydisRegister seg)
{
	return seg == ZYDIS_REGISTER_FS	  ? c->in.fs_base
	       : seg == ZYDIS_REGISTER_GS ? c->in.gs_base
					  : 0;
}

static unsigned gpr_of(ZydisRegister r)
{
	return (unsigned)ZydisRegisterGetId(
		ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r));
}

static bool reg_is_ip(ZydisRegister r)
{
	return r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP;
}

static void set_disp(struct gen *g, uint64_t v)
{
	struct icase *c = g->c;
	unsigned size = c->d.insn.raw.disp.size / 8, off = c->d.insn.raw.disp.offset;

	for (unsigned i = 0; i < size; i++)
		c->bytes[off + i] = (uint8_t)(v >> (8 * i));
	decode(g);
}

/* Registers are written as whole 64-bit values, with noise above a 32-bit address. */
static void set_reg(struct gen *g, unsigned n, uint64_t v)
{
	if (g->c->d.addrsize == 4 && !g->c->mode32 && one_in(g, 2))
		v = (uint32_t)v | rng_u64(&g->r) << 32;
	if (g->c->mode32)
		v = (uint32_t)v;
	g->c->in.gpr[n] = v;
}

static void place_vsib(struct gen *g, const ZydisDecodedOperand *op, uint64_t t)
{
	struct icase *c = g->c;
	unsigned idx = (unsigned)ZydisRegisterGetId(op->mem.index);
	bool quad = is(c, ZYDIS_MNEMONIC_VGATHERQPS) || is(c, ZYDIS_MNEMONIC_VGATHERQPD) ||
		    is(c, ZYDIS_MNEMONIC_VPGATHERQD) || is(c, ZYDIS_MNEMONIC_VPGATHERQQ);
	uint8_t v[32];

	for (unsigned i = 0; i < 32; i += quad ? 8 : 4) {
		int64_t e = (int64_t)rng_below(&g->r, 512) - 256;

		if (one_in(g, 40))
			e = (int64_t)gen_int(&g->r);
		if (quad)
			put_le64(v + i, (uint64_t)e);
		else
			put_le32(v + i, (uint32_t)e);
	}
	c->in.x.xstate_bv |= XCR0_SSE | XCR0_AVX;
	memcpy(c->in.x.xmm[idx], v, 16);
	memcpy(c->in.x.ymmh[idx], v + 16, 16);
	if (op->mem.base != ZYDIS_REGISTER_NONE)
		set_reg(g, gpr_of(op->mem.base),
			t - (uint64_t)op->mem.disp.value - seg_base(c, op->mem.segment));
	else
		set_disp(g, t - seg_base(c, op->mem.segment));
}

/* Where the operand ends up: scaled registers reach only some addresses. */
static uint64_t place_plain(struct gen *g, const ZydisDecodedOperand *op, uint64_t t)
{
	struct icase *c = g->c;
	uint64_t want = t - seg_base(c, op->mem.segment);
	uint64_t disp = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
	bool base = op->mem.base != ZYDIS_REGISTER_NONE,
	     index = op->mem.index != ZYDIS_REGISTER_NONE;
	unsigned b = base && !reg_is_ip(op->mem.base) ? gpr_of(op->mem.base) : 0;
	unsigned x = index ? gpr_of(op->mem.index) : 0, scale = op->mem.scale;

	if (base && reg_is_ip(op->mem.base)) {
		set_disp(g, want - (c->in.rip + c->len));
	} else if (!base && !index) {
		set_disp(g, want);
	} else if (base && index && b == x) {
		set_reg(g, b, (want - disp) / (scale + 1));
		return t - (want - disp) % (scale + 1);
	} else if (base && op->mem.index == ZYDIS_REGISTER_AL) {
		set_reg(g, b, want - (c->in.gpr[X86_RAX] & 0xff));
	} else if (base) {
		uint64_t i = index ? c->in.gpr[x] : 0;

		if (index && one_in(g, 2))
			c->in.gpr[x] = i = rng_below(&g->r, 256);
		set_reg(g, b, want - disp - i * scale);
	} else {
		set_reg(g, x, (want - disp) / scale);
		return t - (want - disp) % scale;
	}
	return t;
}

/* 16-bit addresses reach nothing by themselves: move the segment instead.  False: the operand would
 * go across the end of 64 KiB, of which processors' pieces wrap differently. */
static bool place_16bit(struct gen *g, const ZydisDecodedOperand *op, uint64_t t)
{
	struct icase *c = g->c;
	uint64_t off = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;

	if (op->mem.base != ZYDIS_REGISTER_NONE)
		off += c->in.gpr[gpr_of(op->mem.base)];
	if (op->mem.index != ZYDIS_REGISTER_NONE)
		off += c->in.gpr[gpr_of(op->mem.index)];
	off = (uint16_t)off;
	if (op->mem.segment == ZYDIS_REGISTER_FS)
		c->in.fs_base = t - off;
	else if (op->mem.segment == ZYDIS_REGISTER_GS)
		c->in.gs_base = t - off;
	return off + (op->size > 4096 ? 0x400 : op->size / 8) <= 0x10000;
}

static bool is_stack_op(const ZydisDecodedOperand *op)
{
	return op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
	       (op->mem.base == ZYDIS_REGISTER_RSP || op->mem.base == ZYDIS_REGISTER_ESP ||
		op->mem.base == ZYDIS_REGISTER_SP);
}

static bool place_operand(struct gen *g, unsigned n, struct target *t)
{
	struct icase *c = g->c;
	const ZydisDecodedOperand op = c->d.op[n];
	unsigned size = op.size / 8;
	/* A locked access across cache lines upsets hosts that detect split locks. */
	bool locked = c->d.lock || is(c, ZYDIS_MNEMONIC_XCHG);

	if (masked_bytes(c))
		t->va = DATA_BASE + rng_below(&g->r, 0x2000 - 16);
	else if (is_xsave(c->d.insn.mnemonic))
		t->va = pick_area(g);
	else
		t->va = pick_target(g, size, is_stack_op(&op), locked);
	if (far_return(c)) /* the selector's word may be read by two bytes only */
		t->va &= ~(uint64_t)(c->d.opsize - 1);
	t->size = size;
	if (op.mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		place_vsib(g, &op, t->va);
	else if (c->d.addrsize == 2)
		return place_16bit(g, &op, t->va);
	else
		t->va = place_plain(g, &op, t->va);
	return true;
}

/* --- what single instructions want --- */

static uint16_t pick_selector(struct gen *g)
{
	static const uint16_t sel[] = {0,    1,	   3,	 0x23, 0x2b,   0x33, 0x2b, 0x33, 0x10,
				       0x18, 0x20, 0x28, 0x80, 0xfff8, 0x07, 0x1f, 0x30};

	return sel[rng_below(&g->r, ARRAY_SIZE(sel))];
}

static uint64_t pick_code(struct gen *g)
{
	return one_in(g, 8) ? rng_u64(&g->r) : CODE_BASE + 0x100 + rng_below(&g->r, 0x600);
}

static void set_patch(struct icase *c, uint64_t va, unsigned len)
{
	c->patch_va = va;
	c->patch_len = len;
}

/* A far pointer, or a frame of IRET or RETF, as words of the operand size: offset, selector, ... */
static void far_words(struct gen *g, uint64_t va, unsigned word, unsigned n)
{
	struct icase *c = g->c;
	uint64_t v[5] = {pick_code(g), pick_selector(g),
			 c->in.rflags ^ (rng_u64(&g->r) & (RFLAGS_ARITH | RFLAGS_DF)),
			 pick_target(g, 8, true, false), pick_selector(g)};

	if (v[1] != 0x33) /* a 64-bit offset for a 32-bit segment: processors cut it, or fault */
		v[0] = (uint32_t)v[0];
	if (n == 4) /* RETF to another privilege level has no flags */
		v[2] = v[3], v[3] = v[4];
	set_patch(c, va, word * n);
	for (unsigned i = 0; i < n; i++)
		memcpy(c->patch + i * word, &v[i], word);
}

static void rep_count(struct gen *g)
{
	struct icase *c = g->c;
	uint64_t n = rng_below(&g->r, one_in(g, 8) ? 5000 : 24);

	if (c->d.addrsize == 4 && !c->mode32)
		n |= rng_u64(&g->r) << 32;
	c->in.gpr[X86_RCX] = n;
	if (c->d.addrsize == 8 && one_in(g, 3)) /* they may overlap */
		c->in.gpr[X86_RSI] = c->in.gpr[X86_RDI] + rng_below(&g->r, 129) - 64;
}

static bool image_operand(struct gen *g, const struct target *t)
{
	struct icase *c = g->c;
	unsigned len;

	switch (c->d.insn.mnemonic) {
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
		set_patch(c, t->va, X86_XSAVE_SIZE);
		gen_xsave_image(&g->r, c->patch, X86_XSAVE_SIZE);
		return true;
	case ZYDIS_MNEMONIC_FLDENV:
		len = c->d.opsize == 2 ? 14 : 28;
		break;
	case ZYDIS_MNEMONIC_FRSTOR:
		len = c->d.opsize == 2 ? 94 : 108;
		break;
	default:
		return false;
	}
	set_patch(c, t->va, len);
	gen_x87_env(&g->r, c->patch, len);
	return true;
}

static void fill_operand(struct gen *g, const struct target *t)
{
	struct icase *c = g->c;
	unsigned n = t->size && t->size <= 64 ? t->size : 8;

	if (image_operand(g, t))
		return;
	set_patch(c, t->va, n);
	gen_operand(&g->r, c->patch, n);
	switch (c->d.insn.mnemonic) {
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		put_le64(c->patch, rng_u64(&g->r) & ~(RFLAGS_TF | RFLAGS_NT |
						      (g->block ? RFLAGS_AC : 0)));
		break;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
		far_words(g, t->va, c->d.opsize, 5);
		break;
	case ZYDIS_MNEMONIC_RET:
		if (c->d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			far_words(g, t->va, c->d.opsize, 4);
		else
			far_words(g, t->va, c->d.opsize, 1);
		break;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
		far_words(g, t->va, c->d.opsize, 2);
		break;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		put_le32(c->patch, (uint32_t)rng_u64(&g->r) & (one_in(g, 8) ? UINT32_MAX : 0xffff));
		break;
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
		put_le16(c->patch, pick_selector(g));
		break;
	default:
		break;
	}
}

static void fix_selectors(struct gen *g)
{
	struct icase *c = g->c;

	for (unsigned i = 0; i < c->d.insn.operand_count_visible; i++) {
		const ZydisDecodedOperand *op = &c->d.op[i];

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT)
			continue;
		if (is(c, ZYDIS_MNEMONIC_MOV) && i == 1 &&
		    ZydisRegisterGetClass(c->d.op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
			c->in.gpr[gpr_of(op->reg.value)] = pick_selector(g) | rng_u64(&g->r) << 16;
		if (is(c, ZYDIS_MNEMONIC_VERR) || is(c, ZYDIS_MNEMONIC_VERW))
			c->in.gpr[gpr_of(op->reg.value)] = pick_selector(g) | rng_u64(&g->r) << 16;
	}
}

/* Immediates: no system call by INT 0x80; far pointers with selectors that both sides know. */
static bool fix_immediate(struct gen *g)
{
	struct icase *c = g->c;

	if (is(c, ZYDIS_MNEMONIC_INT) && c->bytes[c->len - 1] == 0x80)
		c->bytes[c->len - 1] = 0x81;
	for (unsigned i = 0; i < c->d.insn.operand_count_visible; i++) {
		if (c->d.op[i].type != ZYDIS_OPERAND_TYPE_POINTER)
			continue;
		put_le16(c->bytes + c->len - 2, pick_selector(g));
		if (c->d.opsize == 4)
			put_le32(c->bytes + c->len - 6, (uint32_t)pick_code(g));
	}
	return decode(g);
}

static void fix_registers(struct gen *g)
{
	struct icase *c = g->c;
	ZydisMnemonic m = c->d.insn.mnemonic;

	if (c->d.rep || c->d.repne)
		rep_count(g);
	if ((m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	     m == ZYDIS_MNEMONIC_BTC) &&
	    c->d.mem >= 0 && c->d.op[1].type == ZYDIS_OPERAND_TYPE_REGISTER && !one_in(g, 6))
		c->in.gpr[gpr_of(c->d.op[1].reg.value)] =
			(uint64_t)((int64_t)rng_below(&g->r, 1024) - 512);
	if (is_xsave(m)) {
		c->in.gpr[X86_RAX] &=
			UINT64_C(0xffffffff00000007); /* the host has more components */
		c->in.gpr[X86_RDX] &= UINT64_C(0xffffffff00000000);
	}
	if (m == ZYDIS_MNEMONIC_PCMPESTRI || m == ZYDIS_MNEMONIC_PCMPESTRM ||
	    m == ZYDIS_MNEMONIC_VPCMPESTRI || m == ZYDIS_MNEMONIC_VPCMPESTRM) {
		c->in.gpr[X86_RAX] = (uint64_t)((int64_t)rng_below(&g->r, 40) - 20);
		c->in.gpr[X86_RDX] = (uint64_t)((int64_t)rng_below(&g->r, 40) - 20);
	}
	if (m == ZYDIS_MNEMONIC_XGETBV)
		c->in.gpr[X86_RCX] = one_in(g, 2) ? 0 : rng_u64(&g->r);
	if (m == ZYDIS_MNEMONIC_ENTER || m == ZYDIS_MNEMONIC_LEAVE)
		c->in.gpr[X86_RBP] = pick_target(g, 8, true, false);
	if ((m == ZYDIS_MNEMONIC_JMP || m == ZYDIS_MNEMONIC_CALL) &&
	    c->d.op[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
		c->in.gpr[gpr_of(c->d.op[0].reg.value)] = pick_code(g);
	/* The words of a frame are checked in an order, and pieces, of the processor's own. */
	if (masked_bytes(c) || far_return(c) || m == ZYDIS_MNEMONIC_ENTER ||
	    (c->mode32 && c->d.mem_size > 8)) /* a segment's #GP against the #AC of an image */
		c->in.rflags &= ~RFLAGS_AC;
	fix_selectors(g);
}

/* --- state --- */

static void gen_state(struct gen *g)
{
	struct istate *s = &g->c->in;

	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = gen_int(&g->r);
	s->gpr[X86_RSP] = in_data(g, 64, true) + (one_in(g, 8) ? rng_below(&g->r, 8) : 0);
	s->rip = CODE_BASE + 0x800 + rng_below(&g->r, 64);
	if (one_in(g, 16))
		s->rip = CODE_BASE + 0x1000 - rng_below(&g->r, 16);
	s->rflags = 0x202 | (rng_u64(&g->r) & RFLAGS_ARITH);
	if (one_in(g, 5))
		s->rflags |= RFLAGS_DF;
	if (one_in(g, 24))
		s->rflags |= RFLAGS_AC;
	s->fs_base = rng_below(&g->r, 0x1000);
	s->gs_base = rng_below(&g->r, 0x1000);
	if (one_in(g, 4))
		s->fs_base = (uint64_t) - (int64_t)rng_below(&g->r, 0x1000);
	if (g->c->mode32) {
		for (unsigned i = 0; i < 16; i++)
			s->gpr[i] = (uint32_t)s->gpr[i];
		s->fs_base = (uint32_t)s->fs_base;
	}
	gen_xstate(&g->r, &s->x);
}

void gen_start(struct gen *g, bool mode32)
{
	memset(g->c, 0, sizeof(*g->c));
	g->c->mode32 = mode32;
	gen_state(g);
}

static bool is_popf(const struct icase *c)
{
	return is(c, ZYDIS_MNEMONIC_POPF) || is(c, ZYDIS_MNEMONIC_POPFD) ||
	       is(c, ZYDIS_MNEMONIC_POPFQ);
}

/* A block's stack operands are where RSP is, when that is in the stack; POPF wants a fair word. */
static bool keeps_stack(struct gen *g, const ZydisDecodedOperand *op)
{
	return g->block && is_stack_op(op) && !is_popf(g->c) &&
	       g->c->in.gpr[X86_RSP] - STACK_BASE < 0x2000 && !one_in(g, 8);
}

bool gen_insn(struct gen *g, const struct form *f)
{
	struct icase *c = g->c;
	struct target t = {0};
	bool any = false;

	c->form = f;
	c->patch_len = 0;
	if (!make_bytes(g) || !fix_branch(g) || !fix_immediate(g))
		return false;
	fix_registers(g);
	for (unsigned i = 0; i < c->d.insn.operand_count; i++) {
		if (c->d.op[i].type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    c->d.op[i].mem.type == ZYDIS_MEMOP_TYPE_AGEN)
			continue;
		if (keeps_stack(g, &c->d.op[i]))
			continue;
		if (!place_operand(g, i, &t))
			return false;
		any = true;
	}
	if (any)
		fill_operand(g, &t);
	return true;
}

bool gen_case(struct icase *c, const struct form *f, uint64_t seed, const struct x86_cpuid *cpuid)
{
	struct gen g = {.r = {seed}, .c = c, .cpuid = cpuid};

	gen_start(&g, f->mode32);
	c->seed = seed;
	return gen_insn(&g, f);
}
