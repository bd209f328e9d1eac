/* SPDX-License-Identifier: Apache-2.0 */
/* Random values that find faults: integers at edges, floating-point classes, processor state
 * images. */
#include <string.h>
#include "insn.h"

uint64_t rng_u64(struct rng *r)
{
	uint64_t z = (r->s += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

unsigned rng_below(struct rng *r, unsigned n)
{
	return (unsigned)((rng_u64(r) >> 32) * n >> 32);
}

uint64_t gen_int(struct rng *r)
{
	static const uint64_t edges[] = {
		0,
		1,
		2,
		0x7f,
		0x80,
		0xff,
		0x100,
		0x7fff,
		0x8000,
		0xffff,
		0x10000,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		UINT64_C(0x100000000),
		INT64_MAX,
		UINT64_C(1) << 63,
		UINT64_MAX,
		UINT64_C(0xaaaaaaaaaaaaaaaa),
		UINT64_C(0x5555555555555555),
		UINT64_C(0x0101010101010101),
	};

	switch (rng_below(r, 8)) {
	case 0:
		return edges[rng_below(r, ARRAY_SIZE(edges))];
	case 1:
		return rng_below(r, 256);
	case 2:
		return (uint64_t) - (int64_t)rng_below(r, 256);
	case 3:
		return UINT64_C(1) << rng_below(r, 64);
	case 4:
		return rng_u64(r) >> rng_below(r, 64);
	default:
		return rng_u64(r);
	}
}

static uint32_t gen_float(struct rng *r)
{
	static const uint32_t v[] = {0,		 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
				     0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 1,
				     0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000,
				     0x5f000000, 0x3f000000, 0x3effffff, 0x4b000001, 0x33800000};

	switch (rng_below(r, 4)) {
	case 0:
		return v[rng_below(r, ARRAY_SIZE(v))];
	case 1:
		return (uint32_t)rng_u64(r);
	default: /* ordinary magnitudes, so that sums do not always lose one side */
		return (uint32_t)((rng_u64(r) & 0x807fffff) | (uint64_t)(110 + rng_below(r, 40))
								      << 23);
	}
}

static uint64_t gen_double(struct rng *r)
{
	static const uint64_t v[] = {
		0,
		UINT64_C(1) << 63,
		UINT64_C(0x3ff0000000000000),
		UINT64_C(0xbff0000000000000),
		UINT64_C(0x7ff0000000000000),
		UINT64_C(0xfff0000000000000),
		UINT64_C(0x7ff8000000000000),
		UINT64_C(0x7ff0000000000001),
		1,
		UINT64_C(0x800fffffffffffff),
		UINT64_C(0x0010000000000000),
		UINT64_C(0x7fefffffffffffff),
		UINT64_C(0x41e0000000000000),
		UINT64_C(0xc1e0000000000000),
		UINT64_C(0x43e0000000000000),
		UINT64_C(0x3fe0000000000000),
		UINT64_C(0x36a0000000000000),
		UINT64_C(0x47efffffe0000000),
	};

	switch (rng_below(r, 4)) {
	case 0:
		return v[rng_below(r, ARRAY_SIZE(v))];
	case 1:
		return rng_u64(r);
	default:
		return (rng_u64(r) & UINT64_C(0x800fffffffffffff)) |
		       (uint64_t)(1000 + rng_below(r, 60)) << 52;
	}
}

void gen_vector(struct rng *r, uint8_t *v, unsigned len)
{
	unsigned kind = rng_below(r, 6);

	for (unsigned i = 0; i + 4 <= len; i += 8) {
		uint64_t w;

		if (kind == 0)
			w = gen_int(r);
		else if (kind == 1)
			w = rng_u64(r);
		else if (kind < 4)
			w = gen_float(r) | (uint64_t)gen_float(r) << 32;
		else
			w = gen_double(r);
		memcpy(v + i, &w, len - i < 8 ? len - i : 8);
	}
}

/* 80-bit values, with the encodings that only x87 rejects. */
static void gen_extended(struct rng *r, uint8_t *v)
{
	uint64_t m = rng_u64(r) | UINT64_C(1) << 63;
	uint16_t e = (uint16_t)(16383 - 40 + rng_below(r, 80));

	switch (rng_below(r, 12)) {
	case 0:
		m = 0, e = 0;
		break;
	case 1:
		m = UINT64_C(1) << 63, e = 0x7fff;
		break;
	case 2:
		m = rng_u64(r) | UINT64_C(3) << 62, e = 0x7fff;
		break;
	case 3:
		m = (rng_u64(r) >> 2) | UINT64_C(1) << 63, e = 0x7fff;
		break;
	case 4:
		m = rng_u64(r) >> 1, e = 0; /* denormal */
		break;
	case 5:
		m = rng_u64(r),
		e = (uint16_t)rng_u64(r); /* anything: unnormals, pseudo-denormals */
		break;
	case 6:
		m = UINT64_C(1) << 63, e = (uint16_t)(16383 + rng_below(r, 20));
		break;
	case 7:
		m = rng_u64(r) << rng_below(r, 64) | UINT64_C(1) << 63;
		break;
	default:
		break;
	}
	e |= (uint16_t)(rng_below(r, 2) << 15);
	memcpy(v, &m, 8);
	memcpy(v + 8, &e, 2);
}

void gen_operand(struct rng *r, uint8_t *p, unsigned len)
{
	if (len == 10) {
		gen_extended(r, p);
		return;
	}
	if (rng_below(r, 2)) {
		gen_vector(r, p, len);
		return;
	}
	for (unsigned i = 0; i < len; i += 8) {
		uint64_t w = gen_int(r);

		memcpy(p + i, &w, len - i < 8 ? len - i : 8);
	}
}

static uint16_t gen_fcw(struct rng *r)
{
	uint16_t cw = (uint16_t)(0x40 | rng_below(r, 4) << 8 | rng_below(r, 4) << 10);

	if (rng_below(r, 8))
		return cw | 0x3f;
	return (uint16_t)(cw | (rng_u64(r) & 0x3f));
}

/* Pending exceptions are rare: they hide the instruction. */
static uint16_t gen_fsw(struct rng *r, uint16_t fcw)
{
	uint16_t sw = (uint16_t)(rng_u64(r) & 0x7f7f);

	if (rng_below(r, 16))
		sw &= (uint16_t) ~(~fcw & 0x3f);
	if (sw & ~fcw & 0x3f)
		sw |= 0x8080;
	return sw;
}

static uint32_t gen_mxcsr(struct rng *r)
{
	uint32_t v = 0x1f80;

	if (rng_below(r, 2))
		v |= rng_below(r, 4) << 13;
	if (!rng_below(r, 4))
		v |= (uint32_t)rng_u64(r) & 0x8040;
	if (!rng_below(r, 4))
		v |= (uint32_t)rng_u64(r) & 0x3f;
	if (!rng_below(r, 10))
		v &= ~((uint32_t)rng_u64(r) & 0x1f80);
	return v;
}

void gen_xstate(struct rng *r, struct x86_xsave *x)
{
	memset(x, 0, sizeof(*x));
	x->xstate_bv = 7;
	x->fcw = gen_fcw(r);
	x->fsw = gen_fsw(r, x->fcw);
	x->ftw = rng_below(r, 3) ? 0xff : (uint8_t)rng_u64(r);
	x->fop = (uint16_t)(rng_u64(r) & 0x7ff);
	x->fip = rng_u64(r) >> 17;
	x->fdp = rng_u64(r) >> 17;
	x->mxcsr = gen_mxcsr(r);
	for (unsigned i = 0; i < 8; i++)
		gen_extended(r, x->st[i]);
	for (unsigned i = 0; i < 16; i++) {
		gen_vector(r, x->xmm[i], 16);
		gen_vector(r, x->ymmh[i], 16);
	}
	if (!rng_below(r, 16)) { /* some components in their initial configuration */
		x->xstate_bv = rng_below(r, 8);
		if (!(x->xstate_bv & XCR0_X87)) {
			memset(x, 0, offsetof(struct x86_xsave, mxcsr));
			memset(x->st, 0, sizeof(x->st));
			x->fcw = 0x37f;
		}
		if (!(x->xstate_bv & XCR0_SSE))
			memset(x->xmm, 0, sizeof(x->xmm));
		if (!(x->xstate_bv & XCR0_AVX))
			memset(x->ymmh, 0, sizeof(x->ymmh));
		if (!(x->xstate_bv & XCR0_SSE)) /* MXCSR differs from its default: SSE in use */
			x->mxcsr = 0x1f80;
	}
}

/* What FXRSTOR and XRSTOR read: mostly valid. */
void gen_xsave_image(struct rng *r, uint8_t *img, unsigned len)
{
	struct x86_xsave x;

	gen_xstate(r, &x);
	x.xstate_bv = rng_below(r, 8);
	x.mxcsr_mask = (uint32_t)rng_u64(r);
	if (!rng_below(r, 3))
		x.xcomp_bv = BIT(63) |
			     (rng_below(r, 4) ? x.xstate_bv | rng_below(r, 8) : rng_below(r, 8));
	switch (rng_below(r, 40)) {
	case 0:
		x.mxcsr |= BIT(18) << rng_below(r, 14); /* bit 17 is AMD's MISALIGNSSE */
		break;
	case 1:
		x.xstate_bv |= BIT(62);
		break;
	case 2:
		x.xcomp_bv ^= BIT(62);
		break;
	case 3:
		x.rsvd2[rng_below(r, 48)] = 1;
		break;
	default:
		break;
	}
	memcpy(img, &x, len < sizeof(x) ? len : sizeof(x));
}

/* FLDENV, FRSTOR: 14 or 28 bytes of environment, then registers. */
void gen_x87_env(struct rng *r, uint8_t *img, unsigned len)
{
	unsigned step = len == 14 || len == 94 ? 2 : 4, env = step * 7;
	uint16_t fcw = gen_fcw(r);

	for (unsigned i = 0; i < len; i++)
		img[i] = (uint8_t)rng_u64(r);
	put_le16(img, fcw);
	put_le16(img + step, gen_fsw(r, fcw));
	for (unsigned i = env; i + 10 <= len; i += 10)
		gen_extended(r, img + i);
}
