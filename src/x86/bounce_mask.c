/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vector memory accesses under a mask: VMASKMOV, VPMASKMOV, MASKMOVDQU, MASKMOVQ and the gathers.
 * Only enabled elements are accessed or may fault, so they go one by one (SDM 2, of each).
 *
 * A gather commits element by element, lowest first: each finished element is in the destination
 * and its mask element is zero when a later one faults, so the instruction resumes (SDM 2
 * VGATHERDPS).
 */
#include <string.h>
#include "x86/bounce_int.h"

#define VEC_MAX 32

static void vec_get(const struct x86_cpu *c, unsigned n, uint8_t v[VEC_MAX])
{
	memcpy(v, c->s.xsave.xmm[n], 16);
	memcpy(v + 16, c->s.xsave.ymmh[n], 16);
}

static void vec_put(struct x86_cpu *c, unsigned n, const uint8_t v[VEC_MAX])
{
	memcpy(c->s.xsave.xmm[n], v, 16);
	memcpy(c->s.xsave.ymmh[n], v + 16, 16);
}

static bool elem_enabled(const uint8_t *mask, unsigned i, unsigned size)
{
	return mask[(i + 1) * size - 1] & 0x80;
}

static unsigned vec_len(const struct bounce_stub *s)
{
	return s->key.l ? 32 : 16;
}

/* Elements are not alignment-checked, unlike scalar accesses. */
static uint64_t elem_load(struct x86_cpu *c, uint64_t lin, unsigned size)
{
	uint64_t v = 0;

	if (unlikely(c->align_check))
		x86_read_block(c, lin, &v, size);
	else
		v = size == 4 ? x86_ld32(c, lin) : x86_ld64(c, lin);
	return v;
}

/* --- VMASKMOVPS/PD, VPMASKMOVD/Q --- */

static void exec_maskmov_load(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint8_t mask[VEC_MAX], out[VEC_MAX] = {0};
	unsigned size = s->elem;

	bounce_check_avail(c, s);
	vec_get(c, s->key.vvvv & 15, mask);
	for (unsigned i = 0; i < vec_len(s) / size; i++) {
		uint64_t v;

		if (!elem_enabled(mask, i, size))
			continue;
		v = elem_load(c, bounce_elem_lin(c, s, ea + i * size, size, false), size);
		memcpy(out + i * size, &v, size);
	}
	vec_put(c, s->key.reg & 15, out);
}

/* Store the enabled elements of src: all are probed before the first is written. */
static void masked_store(struct x86_cpu *c, const struct bounce_stub *s, uint64_t ea,
			 const uint8_t *src, const uint8_t *mask, unsigned len, unsigned size)
{
	for (unsigned i = 0; i < len / size; i++)
		if (elem_enabled(mask, i, size))
			x86_probe(c, bounce_elem_lin(c, s, ea + i * size, size, true), size,
				  X86_WRITE);
	for (unsigned i = 0; i < len / size; i++)
		if (elem_enabled(mask, i, size))
			x86_write_block(c, bounce_elem_lin(c, s, ea + i * size, size, true),
					src + i * size, size);
}

static void exec_maskmov_store(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint8_t mask[VEC_MAX], src[VEC_MAX];

	bounce_check_avail(c, s);
	vec_get(c, s->key.vvvv & 15, mask);
	vec_get(c, s->key.reg & 15, src);
	masked_store(c, s, ea, src, mask, vec_len(s), s->elem);
}

/* --- MASKMOVDQU, MASKMOVQ: to [DS:rDI] --- */

/* The segment must be writable whatever the mask says. */
static void masked_bytes(struct x86_cpu *c, const struct bounce_stub *s, const uint8_t *src,
			 const uint8_t *mask, unsigned len)
{
	bounce_elem_lin(c, s, c->s.gpr[X86_RDI], len, true);
	masked_store(c, s, c->s.gpr[X86_RDI], src, mask, len, 1);
}

static void exec_maskmovdqu(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	masked_bytes(c, s, c->s.xsave.xmm[s->key.reg & 15], c->s.xsave.xmm[s->key.rm & 15], 16);
}

/* The change to MMX state: TOP becomes 0 and all tags valid (SDM 1 9.5). */
static void mmx_enter(struct x86_xsave *x)
{
	unsigned top = x->fsw >> 11 & 7;
	uint8_t old[8][16];

	memcpy(old, x->st, sizeof(old));
	for (unsigned i = 0; i < 8; i++)
		memcpy(x->st[(top + i) & 7], old[i], 16);
	x->fsw &= (uint16_t)~0x3800;
	x->ftw = 0xff;
}

static void exec_maskmovq(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	struct x86_xsave *x = &c->s.xsave;
	unsigned top;

	bounce_check_avail(c, s);
	top = x->fsw >> 11 & 7;
	masked_bytes(c, s, x->st[(s->key.reg - top) & 7], x->st[(s->key.rm - top) & 7], 8);
	mmx_enter(x);
}

/* --- gathers --- */

/* Make the mask all ones or zeros per element of the vector length, also of elements that are not
 * used. */
static void gather_mask(uint8_t mask[VEC_MAX], unsigned len, unsigned size)
{
	for (unsigned i = 0; i < len / size; i++)
		memset(mask + i * size, elem_enabled(mask, i, size) ? 0xff : 0, size);
	memset(mask + len, 0, VEC_MAX - len);
}

static uint64_t gather_offset(const struct x86_cpu *c, const struct bounce_stub *s,
			      const uint8_t *index, unsigned i)
{
	const struct bounce_key *k = &s->key;
	uint64_t base = k->base == BOUNCE_NO_REG ? 0 : c->s.gpr[k->base];
	int64_t idx;

	if (s->size == 4)
		idx = (int32_t)get_le32(index + 4 * i);
	else
		idx = (int64_t)get_le64(index + 8 * i);
	return base + (uint64_t)idx * k->scale + k->disp;
}

static void exec_gather(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	unsigned dst = s->key.reg & 15, msk = s->key.vvvv & 15, size = s->elem;
	unsigned n = vec_len(s) / (size > s->size ? size : s->size);
	uint8_t index[VEC_MAX], mask[VEC_MAX], out[VEC_MAX];

	bounce_check_avail(c, s);
	if (dst == msk || dst == s->key.index || msk == s->key.index)
		x86_raise(c, X86_UD);
	vec_get(c, s->key.index, index);
	vec_get(c, msk, mask);
	vec_get(c, dst, out);
	gather_mask(mask, vec_len(s), size);
	vec_put(c, msk, mask); /* seen when an element faults */
	memset(out + vec_len(s), 0, VEC_MAX - vec_len(s));
	for (unsigned i = 0; i < n; i++) {
		uint64_t v;

		if (!mask[i * size])
			continue;
		v = elem_load(c, bounce_elem_lin(c, s, gather_offset(c, s, index, i), size, false),
			      size);
		memcpy(out + i * size, &v, size);
		memset(mask + i * size, 0, size);
		vec_put(c, dst, out);
		vec_put(c, msk, mask);
	}
	memset(out + n * size, 0, VEC_MAX - n * size);
	memset(mask, 0, VEC_MAX);
	vec_put(c, dst, out);
	vec_put(c, msk, mask);
}

/* --- preparation --- */

static bool gather_prepare(struct bounce_stub *s, const struct x86_decoded *d, unsigned index_size,
			   unsigned elem)
{
	if (d->mem < 0)
		return false;
	bounce_set_avail(s, BOUNCE_AV_AVX);
	bounce_key_address(s, &d->op[d->mem], d->addrsize);
	s->size = (uint8_t)index_size;
	s->elem = (uint8_t)elem;
	s->pub.exec = exec_gather;
	return true;
}

static bool maskmov_prepare(struct bounce_stub *s, const struct x86_decoded *d, unsigned elem)
{
	if (d->mem < 0)
		return false;
	bounce_set_avail(s, BOUNCE_AV_AVX);
	/* The caller forms the offset: only the segment and address size matter here. */
	s->key.seg = (uint8_t)ZydisRegisterGetId(d->op[d->mem].mem.segment);
	s->key.addrsize = d->addrsize;
	s->elem = (uint8_t)elem;
	s->pub.ea = BOUNCE_EA_OFF;
	s->pub.lin_write = d->mem_write;
	s->pub.exec = d->mem_write ? exec_maskmov_store : exec_maskmov_load;
	return true;
}

static bool maskmovdqu_prepare(struct bounce_stub *s, const struct x86_decoded *d, bool mmx)
{
	s->key.seg = X86_DS;
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			s->key.seg = (uint8_t)ZydisRegisterGetId(d->op[i].mem.segment);
	s->key.addrsize = d->addrsize;
	bounce_set_avail(s, mmx ? BOUNCE_AV_MMX : s->key.vex ? BOUNCE_AV_AVX : BOUNCE_AV_SSE);
	s->wait = mmx;
	s->pub.exec = mmx ? exec_maskmovq : exec_maskmovdqu;
	return true;
}

bool bounce_mask_prepare(struct bounce_stub *s, const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VPGATHERDD:
		return gather_prepare(s, d, 4, 4);
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
		return gather_prepare(s, d, 4, 8);
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERQD:
		return gather_prepare(s, d, 8, 4);
	case ZYDIS_MNEMONIC_VGATHERQPD:
	case ZYDIS_MNEMONIC_VPGATHERQQ:
		return gather_prepare(s, d, 8, 8);
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
		return maskmov_prepare(s, d, 4);
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return maskmov_prepare(s, d, 8);
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return maskmovdqu_prepare(s, d, false);
	case ZYDIS_MNEMONIC_MASKMOVQ:
		return maskmovdqu_prepare(s, d, true);
	default:
		return false;
	}
}
