/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segmentation (SDM 3A chapters 3 and 5): reading descriptors, loading segment registers, the
 * checks of a logical address, and the instructions that ask about descriptors.
 *
 * A null register has attr 0, with one exception: CPL is SS.DPL, so a null SS (64-bit mode only)
 * keeps the DPL field.  Descriptor tables are read as a supervisor whatever CPL is.  The accessed
 * bit is written back only when it is clear, so tables in read-only pages work as on the processor.
 */
#include "x86/sys_int.h"

bool desc_read(struct x86_cpu *c, uint16_t sel, struct desc *d)
{
	uint64_t base = c->s.gdtr.base, raw;
	uint32_t limit = c->s.gdtr.limit;

	if (sel & 4) {
		if (!(c->s.seg[X86_LDTR].attr & SEG_P))
			return false;
		base = c->s.seg[X86_LDTR].base;
		limit = c->s.seg[X86_LDTR].limit;
	}
	if ((sel | 7u) > limit)
		return false;
	d->addr = base + (sel & 0xfff8);
	if (!sys_lma(c))
		d->addr &= 0xffffffff;
	raw = x86_ld_sys(c, d->addr, 8);
	d->lo = (uint32_t)raw;
	d->hi = (uint32_t)(raw >> 32);
	d->base_hi = 0;
	return true;
}

bool desc_read_upper(struct x86_cpu *c, uint16_t sel, struct desc *d)
{
	uint32_t limit = sel & 4 ? c->s.seg[X86_LDTR].limit : c->s.gdtr.limit;
	uint64_t raw;

	if (!sys_lma(c))
		return true;
	if ((sel & 0xfff8u) + 15 > limit)
		return false;
	raw = x86_ld_sys(c, d->addr + 8, 8);
	d->base_hi = (uint32_t)raw;
	return !((raw >> 40) & 0x1f);
}

void desc_mark_accessed(struct x86_cpu *c, struct desc *d)
{
	if (d->hi & BIT(8))
		return;
	d->hi |= BIT(8);
	x86_st_sys(c, d->addr + 5, (d->hi >> 8) & 0xff, 1);
}

void desc_set_busy(struct x86_cpu *c, struct desc *d, bool busy)
{
	d->hi = (uint32_t)bits_set(d->hi, 9, 9, busy);
	x86_st_sys(c, d->addr + 5, (d->hi >> 8) & 0xff, 1);
}

struct x86_segment seg_from_desc(uint16_t sel, const struct desc *d)
{
	return (struct x86_segment){
		.base = desc_base(d) | (uint64_t)d->base_hi << 32,
		.limit = desc_limit(d),
		.sel = sel,
		.attr = desc_attr(d),
	};
}

struct x86_segment seg_null(uint16_t sel)
{
	return (struct x86_segment){.sel = sel};
}

struct x86_segment seg_v86(uint16_t sel)
{
	return (struct x86_segment){
		.base = (uint64_t)sel << 4,
		.limit = 0xffff,
		.sel = sel,
		.attr = 0xf3,
	};
}

void seg_paragraph(struct x86_cpu *c, enum x86_sreg sreg, uint16_t sel)
{
	struct x86_segment *s = &c->s.seg[sreg];

	if (c->s.rflags & RFLAGS_VM) {
		*s = seg_v86(sel);
		return;
	}
	/* Limit and rights stay, so a 4 GiB limit survives; a null left by protected mode does not.
	 */
	if (!(s->attr & SEG_P) || !(s->attr & SEG_S)) {
		s->limit = 0xffff;
		s->attr = 0x93;
	}
	s->sel = sel;
	s->base = (uint64_t)sel << 4;
}

void seg_drop_inner(struct x86_cpu *c)
{
	static const enum x86_sreg data[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	unsigned cpl = x86_cpl(&c->s);

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct x86_segment *s = &c->s.seg[data[i]];
		unsigned type = SEG_TYPE(s->attr);

		if (!(s->attr & SEG_P) || SEG_DPL(s->attr) >= cpl)
			continue;
		if ((type & SEG_TYPE_CODE) && (type & SEG_TYPE_C))
			continue;
		*s = seg_null(0);
	}
}

/* The checks of MOV SS, POP SS, LSS. */
static void load_ss(struct x86_cpu *c, uint16_t sel)
{
	unsigned cpl = x86_cpl(&c->s);
	struct desc d;

	if (sel_null(sel)) {
		if (!sys_code64(c) || cpl == 3 || sel_rpl(sel) != cpl)
			sys_fault(c, X86_GP, 0);
		c->s.seg[X86_SS] = seg_null(sel);
		c->s.seg[X86_SS].attr = (uint16_t)(cpl << 5);
		return;
	}
	if (!desc_read(c, sel, &d) || sel_rpl(sel) != cpl || !desc_writable_data(&d) ||
	    desc_dpl(&d) != cpl)
		sys_fault(c, X86_GP, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_SS_FAULT, sel);
	desc_mark_accessed(c, &d);
	c->s.seg[X86_SS] = seg_from_desc(sel, &d);
}

static void load_data(struct x86_cpu *c, enum x86_sreg sreg, uint16_t sel)
{
	unsigned cpl = x86_cpl(&c->s);
	struct desc d;

	if (sel_null(sel)) {
		c->s.seg[sreg] = seg_null(sel);
		return;
	}
	if (!desc_read(c, sel, &d) || desc_is_system(&d))
		sys_fault(c, X86_GP, sel);
	if (desc_is_code(&d) && !(d.hi & BIT(9)))
		sys_fault(c, X86_GP, sel);
	if (!(desc_is_code(&d) && desc_conforming(&d)) &&
	    (sel_rpl(sel) > desc_dpl(&d) || cpl > desc_dpl(&d)))
		sys_fault(c, X86_GP, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_NP, sel);
	desc_mark_accessed(c, &d);
	c->s.seg[sreg] = seg_from_desc(sel, &d);
}

void x86_load_seg(struct x86_cpu *c, enum x86_sreg sreg, uint16_t sel)
{
	if (sys_real(c))
		seg_paragraph(c, sreg, sel);
	else if (sreg == X86_SS)
		load_ss(c, sel);
	else
		load_data(c, sreg, sel);
	x86_update_mode(c);
}

bool seg_in_limit(const struct x86_segment *s, uint64_t off, unsigned size)
{
	uint64_t last = off + size - 1;
	unsigned type = SEG_TYPE(s->attr);

	if ((type & SEG_TYPE_CODE) || !(type & SEG_TYPE_E))
		return last >= off && last <= s->limit;
	/* Expand-down: the limit is the last offset outside (SDM 3A 5.3). */
	return off > s->limit && last >= off &&
	       last <= (s->attr & SEG_DB ? UINT64_C(0xffffffff) : UINT64_C(0xffff));
}

/* May s be read, or written, at all?  Protected mode only. */
static bool seg_allows(const struct x86_segment *s, bool write)
{
	unsigned type = SEG_TYPE(s->attr);

	if (!(s->attr & SEG_P))
		return false;
	if (type & SEG_TYPE_CODE)
		return !write && (type & SEG_TYPE_R);
	return !write || (type & SEG_TYPE_W);
}

uint64_t x86_lin(struct x86_cpu *c, enum x86_sreg seg, uint64_t off, unsigned size, bool write)
{
	const struct x86_segment *s = &c->s.seg[seg];
	uint8_t vector = seg == X86_SS ? X86_SS_FAULT : X86_GP;
	uint64_t lin;

	if (sys_code64(c)) {
		lin = seg == X86_FS || seg == X86_GS ? s->base + off : off;
		if (!x86_canonical(lin) || !x86_canonical(lin + size - 1))
			sys_fault(c, vector, 0);
		return lin;
	}
	if ((!sys_real(c) && !seg_allows(s, write)) || !seg_in_limit(s, off, size))
		sys_fault(c, vector, 0);
	return (s->base + off) & 0xffffffff;
}

/* Privileged loads of LDTR and TR: not in real-address or virtual-8086 mode, CPL 0. */
static void check_system_load(struct x86_cpu *c)
{
	if (sys_real(c))
		x86_raise(c, X86_UD);
	if (x86_cpl(&c->s))
		sys_fault(c, X86_GP, 0);
}

void x86_lldt(struct x86_cpu *c, uint16_t sel)
{
	struct x86_segment s;
	struct desc d;

	check_system_load(c);
	if (sel_null(sel)) {
		c->s.seg[X86_LDTR] = seg_null(sel);
		return;
	}
	if ((sel & 4) || !desc_read(c, sel, &d) || !desc_is_system(&d) ||
	    desc_type(&d) != SYS_LDT || !desc_read_upper(c, sel, &d))
		sys_fault(c, X86_GP, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_NP, sel);
	s = seg_from_desc(sel, &d);
	if (!x86_canonical(s.base))
		sys_fault(c, X86_GP, sel);
	c->s.seg[X86_LDTR] = s;
}

void x86_ltr(struct x86_cpu *c, uint16_t sel)
{
	struct x86_segment s;
	struct desc d;

	check_system_load(c);
	if (sel_null(sel))
		sys_fault(c, X86_GP, 0);
	if ((sel & 4) || !desc_read(c, sel, &d) || !desc_is_system(&d) ||
	    !(desc_type(&d) == SYS_TSS32 || (desc_type(&d) == SYS_TSS16 && !sys_lma(c))) ||
	    !desc_read_upper(c, sel, &d))
		sys_fault(c, X86_GP, sel);
	if (!desc_present(&d))
		sys_fault(c, X86_NP, sel);
	s = seg_from_desc(sel, &d);
	if (!x86_canonical(s.base))
		sys_fault(c, X86_GP, sel);
	desc_set_busy(c, &d, true);
	s.attr = desc_attr(&d);
	c->s.seg[X86_TR] = s;
}

/* Descriptor types that LAR (all) and LSL (those with a limit) accept: SDM 2 tables of LAR and LSL.
 */
static bool system_type_visible(const struct x86_cpu *c, enum sys_type type, bool limit)
{
	switch (type) {
	case SYS_LDT:
	case SYS_TSS32:
	case SYS_TSS32_BUSY:
		return true;
	case SYS_TSS16:
	case SYS_TSS16_BUSY:
		return !sys_lma(c);
	case SYS_CALL32:
		return !limit;
	case SYS_CALL16:
	case SYS_TASK_GATE:
		return !limit && !sys_lma(c);
	default:
		return false;
	}
}

/* The common part of LAR, LSL, VERR, VERW: is sel a descriptor that CPL and RPL may see? */
static bool query_desc(struct x86_cpu *c, uint16_t sel, struct desc *d)
{
	unsigned dpl;

	if (sys_real(c))
		x86_raise(c, X86_UD);
	if (sel_null(sel) || !desc_read(c, sel, d))
		return false;
	dpl = desc_dpl(d);
	if (desc_is_code(d) && desc_conforming(d))
		return true;
	return x86_cpl(&c->s) <= dpl && sel_rpl(sel) <= dpl;
}

static bool query_system(struct x86_cpu *c, uint16_t sel, struct desc *d, bool limit)
{
	if (!query_desc(c, sel, d))
		return false;
	if (!desc_is_system(d))
		return true;
	return system_type_visible(c, desc_type(d), limit) && desc_read_upper(c, sel, d);
}

bool x86_lar(struct x86_cpu *c, uint16_t sel, uint32_t *out)
{
	struct desc d;

	if (!query_system(c, sel, &d, false))
		return false;
	*out = d.hi & 0x00ffff00;
	return true;
}

bool x86_lsl(struct x86_cpu *c, uint16_t sel, uint32_t *out)
{
	struct desc d;

	if (!query_system(c, sel, &d, true))
		return false;
	*out = desc_limit(&d);
	return true;
}

bool x86_verr(struct x86_cpu *c, uint16_t sel)
{
	struct desc d;

	if (!query_desc(c, sel, &d) || desc_is_system(&d))
		return false;
	return !desc_is_code(&d) || (d.hi & BIT(9));
}

bool x86_verw(struct x86_cpu *c, uint16_t sel)
{
	struct desc d;

	return query_desc(c, sel, &d) && desc_writable_data(&d);
}
