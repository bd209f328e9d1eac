/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FXSAVE/FXRSTOR, the XSAVE family and MXCSR (SDM 1 10.5, 13; SDM 2 of each), in C on the guest's
 * image: run on the host they would expose the host's state components.
 *
 * XINUSE is computed from the contents: a component in its initial configuration counts as not in
 * use, which is one of the answers the SDM allows (13.6) and makes the init optimisation effective.
 * The modified optimisation is not made.  All bytes an instruction writes are probed before the
 * first is written.
 */
#include <stddef.h>
#include <string.h>
#include "x86/bounce_int.h"
#include "x86/cpuid.h"

#define XSAVE_ALL (XCR0_X87 | XCR0_SSE | XCR0_AVX)
#define XCOMP_COMPACT BIT(63)
#define LEGACY_SIZE 512
#define HEADER_SIZE 64
#define AVX_SIZE 256
#define AVX_OFFSET offsetof(struct x86_xsave, ymmh)
#define OFF_MXCSR offsetof(struct x86_xsave, mxcsr)
#define OFF_ST offsetof(struct x86_xsave, st)
#define OFF_XMM offsetof(struct x86_xsave, xmm)

/* Registers 8 to 15 exist in 64-bit mode only. */
static unsigned vector_bytes(const struct bounce_stub *s)
{
	return s->key.code64 ? 256 : 128;
}

static bool bytes_zero(const void *p, size_t n)
{
	const uint64_t *w = p;
	uint64_t any = 0;

	for (size_t i = 0; i < n / 8; i++)
		any |= w[i];
	return !any;
}

static uint64_t xinuse(const struct x86_xsave *x)
{
	uint64_t bv = 0;

	if (x->fcw != 0x37f || x->fsw || x->ftw || x->fop || x->fip || x->fdp ||
	    !bytes_zero(x->st, sizeof(x->st)))
		bv |= XCR0_X87;
	if (!bytes_zero(x->xmm, sizeof(x->xmm)))
		bv |= XCR0_SSE;
	if (!bytes_zero(x->ymmh, sizeof(x->ymmh)))
		bv |= XCR0_AVX;
	return bv;
}

/* Let the processor settle an x87 image from the guest: ES and B from FSW and FCW, reserved bits,
 * NaN of register padding.  Only bytes 0..23 and ST are taken. */
static void x87_settle(const struct x86_xsave *in, struct x86_xsave *out)
{
	static const uint32_t mxcsr = MXCSR_DEFAULT;
	_Alignas(16) uint8_t img[LEGACY_SIZE];
	struct x86_xsave tmp;

	memset(&tmp, 0, sizeof(tmp));
	memcpy(&tmp, in, OFF_MXCSR);
	memcpy(tmp.st, in->st, sizeof(tmp.st));
	tmp.mxcsr = MXCSR_DEFAULT;
	memcpy(img, &tmp, LEGACY_SIZE);
	__asm__ volatile("fxrstor64 %0\n\tfxsave64 %0\n\tfninit\n\tldmxcsr %1"
			 : "+m"(img)
			 : "m"(mxcsr)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	memcpy(out, img, 5);
	memcpy(&out->fop, img + offsetof(struct x86_xsave, fop), 2);
	memcpy(out->st, img + OFF_ST, sizeof(out->st));
	out->rsvd0 = 0;
	out->fip = in->fip;
	out->fdp = in->fdp;
}

/* Pointers in an image: 64 bits with REX.W, else 32 bits and selectors (which we keep as zero). */
static void pointers_narrow(struct x86_xsave *x)
{
	x->fip &= UINT32_MAX;
	x->fdp &= UINT32_MAX;
}

static bool is_wide(const struct bounce_stub *s)
{
	return s->key.code64 && s->key.w;
}

static void check_align(struct x86_cpu *c, uint64_t lin, unsigned align)
{
	if (!(lin & (align - 1)))
		return;
	/* While alignment is checked either is allowed (SDM 2 XSAVE); processors check 4-byte
	 * pieces. */
	if (c->align_check && (c->mode & X86_MODE_CPL3) && (lin & 3))
		x86_raise_err(c, X86_AC, 0);
	x86_raise_err(c, X86_GP, 0);
}

/* --- FXSAVE, FXRSTOR --- */

static void exec_fxsave(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	unsigned len = (unsigned)OFF_XMM + vector_bytes(s);
	struct x86_xsave img;

	bounce_check_avail(c, s);
	check_align(c, lin, 16);
	x86_probe(c, lin, LEGACY_SIZE, X86_WRITE);
	memcpy(&img, &c->s.xsave, len);
	img.rsvd0 = 0;
	img.mxcsr_mask = MXCSR_VALID;
	if (!is_wide(s))
		pointers_narrow(&img);
	x86_write_block(c, lin, &img, len);
}

static void exec_fxrstor(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	struct x86_xsave img;

	bounce_check_avail(c, s);
	check_align(c, lin, 16);
	x86_read_block(c, lin, &img, LEGACY_SIZE);
	if (img.mxcsr & ~MXCSR_VALID)
		x86_raise_err(c, X86_GP, 0);
	if (!is_wide(s))
		pointers_narrow(&img);
	x87_settle(&img, &c->s.xsave);
	c->s.xsave.mxcsr = img.mxcsr;
	memcpy(c->s.xsave.xmm, img.xmm, vector_bytes(s));
}

/* --- LDMXCSR, STMXCSR --- */

static void exec_ldmxcsr(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	uint32_t v;

	bounce_check_avail(c, bounce_stub_of(b));
	v = x86_ld32(c, lin);
	if (v & ~MXCSR_VALID)
		x86_raise_err(c, X86_GP, 0);
	c->s.xsave.mxcsr = v;
}

static void exec_stmxcsr(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	bounce_check_avail(c, bounce_stub_of(b));
	x86_st32(c, lin, c->s.xsave.mxcsr);
}

/* --- XSAVE, XSAVEOPT, XSAVEC, XSAVES --- */

enum xsave_form { FORM_XSAVE, FORM_XSAVEOPT, FORM_XSAVEC, FORM_XSAVES };

static uint64_t rfbm_of(const struct x86_cpu *c)
{
	uint64_t mask = (c->s.gpr[X86_RDX] << 32) | (c->s.gpr[X86_RAX] & UINT32_MAX);

	return c->s.xcr0 & mask & XSAVE_ALL;
}

/* x87 part, MXCSR and XMM part of the legacy region; the bytes between them stay as they are. */
static void save_legacy(struct x86_cpu *c, const struct bounce_stub *s, uint64_t lin, uint64_t x87,
			uint64_t sse, uint64_t mxcsr)
{
	struct x86_xsave img;

	if (x87) {
		memcpy(&img, &c->s.xsave, OFF_XMM);
		img.rsvd0 = 0;
		if (!is_wide(s))
			pointers_narrow(&img);
		x86_write_block(c, lin, &img, OFF_MXCSR);
		x86_write_block(c, lin + OFF_ST, img.st, sizeof(img.st));
	}
	if (mxcsr) {
		uint32_t v[2] = {c->s.xsave.mxcsr, MXCSR_VALID};

		x86_write_block(c, lin + OFF_MXCSR, v, sizeof(v));
	}
	if (sse)
		x86_write_block(c, lin + OFF_XMM, c->s.xsave.xmm, vector_bytes(s));
}

/* Raise what a store of these components would raise: processors try the whole area that RFBM
 * selects, whatever of it they write; legacy: the components that make it include the first 512
 * bytes. */
static void probe_save(struct x86_cpu *c, uint64_t lin, uint64_t rfbm, uint64_t legacy)
{
	if (rfbm & legacy)
		x86_probe(c, lin, LEGACY_SIZE, X86_WRITE);
	x86_probe(c, lin + LEGACY_SIZE, HEADER_SIZE + (rfbm & XCR0_AVX ? AVX_SIZE : 0), X86_WRITE);
}

static void exec_xsave(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint64_t rfbm = rfbm_of(c), inuse = xinuse(&c->s.xsave), bv, write = rfbm;

	bounce_check_avail(c, s);
	check_align(c, lin, 64);
	if (s->elem == FORM_XSAVEOPT)
		write = rfbm & inuse;
	probe_save(c, lin, rfbm, XSAVE_ALL); /* MXCSR goes with AVX, too */
	bv = x86_ld64(c, lin + LEGACY_SIZE);
	save_legacy(c, s, lin, write & XCR0_X87, write & XCR0_SSE, rfbm & (XCR0_SSE | XCR0_AVX));
	if (write & XCR0_AVX)
		x86_write_block(c, lin + AVX_OFFSET, c->s.xsave.ymmh, vector_bytes(s));
	x86_st64(c, lin + LEGACY_SIZE, (bv & ~rfbm) | (rfbm & inuse));
}

static void exec_xsavec(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint64_t rfbm = rfbm_of(c), bv;
	uint64_t head[2];

	bounce_check_avail(c, s);
	if (s->elem == FORM_XSAVES && x86_cpl(&c->s) != 0)
		x86_raise_err(c, X86_GP, 0);
	check_align(c, lin, 64);
	bv = xinuse(&c->s.xsave);
	if (c->s.xsave.mxcsr != MXCSR_DEFAULT)
		bv |= XCR0_SSE;
	bv &= rfbm;
	probe_save(c, lin, rfbm, XCR0_X87 | XCR0_SSE);
	save_legacy(c, s, lin, bv & XCR0_X87, bv & XCR0_SSE, bv & XCR0_SSE);
	if (bv & XCR0_AVX) /* the only extended component: at 576 in both formats */
		x86_write_block(c, lin + AVX_OFFSET, c->s.xsave.ymmh, vector_bytes(s));
	head[0] = bv;
	head[1] = rfbm | XCOMP_COMPACT;
	x86_write_block(c, lin + LEGACY_SIZE, head, sizeof(head));
}

/* --- XRSTOR, XRSTORS --- */

static bool header_valid(const struct x86_cpu *c, const struct bounce_stub *s, const uint64_t *h,
			 bool compact)
{
	uint64_t bv = h[0], comp = h[1];

	if (s->elem == FORM_XSAVES && !compact)
		return false;
	if (!compact)
		return !(bv & ~c->s.xcr0) && !comp && !h[2];
	if (!x86_cpuid_has(c->vm->cpuid, X86_FEAT_XSAVEC))
		return false;
	return !((comp & ~XCOMP_COMPACT) & ~c->s.xcr0) && !(bv & ~comp) && bytes_zero(h + 2, 48);
}

static void restore_x87(struct x86_cpu *c, const struct bounce_stub *s, const struct x86_xsave *img,
			bool present)
{
	struct x86_xsave *x = &c->s.xsave;
	struct x86_xsave tmp;

	if (!present) {
		memset(x, 0, OFF_MXCSR);
		memset(x->st, 0, sizeof(x->st));
		x->fcw = 0x37f;
		return;
	}
	memcpy(&tmp, img, OFF_XMM);
	if (!is_wide(s))
		pointers_narrow(&tmp);
	x87_settle(&tmp, x);
}

static void restore_vector(uint8_t (*reg)[16], const uint8_t (*from)[16], unsigned len,
			   bool present)
{
	if (present)
		memcpy(reg, from, len);
	else
		memset(reg, 0, len);
}

static void exec_xrstor(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	uint64_t rfbm = rfbm_of(c), bv;
	struct x86_xsave img; /* only the parts that are loaded are filled */
	bool compact, load_mxcsr;

	bounce_check_avail(c, s);
	if (s->elem == FORM_XSAVES && x86_cpl(&c->s) != 0)
		x86_raise_err(c, X86_GP, 0);
	check_align(c, lin, 64);
	x86_read_block(c, lin + LEGACY_SIZE, &img.xstate_bv, HEADER_SIZE);
	compact = img.xcomp_bv & XCOMP_COMPACT;
	if (!header_valid(c, s, &img.xstate_bv, compact))
		x86_raise_err(c, X86_GP, 0);
	bv = img.xstate_bv & rfbm;
	/* Standard form: MXCSR comes with SSE or AVX and whatever XSTATE_BV says (SDM 1 13.8.1). */
	load_mxcsr = compact ? bv & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);
	if (load_mxcsr)
		x86_read_block(c, lin + OFF_MXCSR, &img.mxcsr, 4);
	if (load_mxcsr && (img.mxcsr & ~MXCSR_VALID))
		x86_raise_err(c, X86_GP, 0);
	if (bv & XCR0_X87) {
		x86_read_block(c, lin, &img, OFF_MXCSR);
		x86_read_block(c, lin + OFF_ST, img.st, sizeof(img.st));
	}
	if (bv & XCR0_SSE)
		x86_read_block(c, lin + OFF_XMM, img.xmm, vector_bytes(s));
	if (bv & XCR0_AVX)
		x86_read_block(c, lin + AVX_OFFSET, img.ymmh, vector_bytes(s));

	if (rfbm & XCR0_X87)
		restore_x87(c, s, &img, bv & XCR0_X87);
	if (load_mxcsr)
		c->s.xsave.mxcsr = img.mxcsr;
	else if (rfbm & XCR0_SSE)
		c->s.xsave.mxcsr = MXCSR_DEFAULT;
	if (rfbm & XCR0_SSE)
		restore_vector(c->s.xsave.xmm, img.xmm, vector_bytes(s), bv & XCR0_SSE);
	if (rfbm & XCR0_AVX)
		restore_vector(c->s.xsave.ymmh, img.ymmh, vector_bytes(s), bv & XCR0_AVX);
}

/* --- VZEROUPPER, VZEROALL --- */

static void exec_vzero(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	if (s->key.l)
		memset(c->s.xsave.xmm, 0, vector_bytes(s));
	if (s->key.code64) /* constant lengths: VZEROUPPER is in every function that used AVX */
		memset(c->s.xsave.ymmh, 0, 256);
	else
		memset(c->s.xsave.ymmh, 0, 128);
}

/* --- preparation --- */

static void xsave_set(struct bounce_stub *s, enum bounce_avail avail, unsigned size, bool write,
		      void (*exec)(struct x86_cpu *, const struct bounce *, uint64_t, uint64_t))
{
	bounce_set_avail(s, avail);
	s->pub.exec = exec;
	if (size)
		bounce_set_mem(s, size, write);
}

bool bounce_xsave_prepare(struct bounce_stub *s, const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
		xsave_set(s, BOUNCE_AV_X87, LEGACY_SIZE, true, exec_fxsave);
		return true;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
		xsave_set(s, BOUNCE_AV_X87, LEGACY_SIZE, false, exec_fxrstor);
		return true;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		xsave_set(s, s->key.vex ? BOUNCE_AV_AVX : BOUNCE_AV_SSE, 4, false, exec_ldmxcsr);
		return true;
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR:
		xsave_set(s, s->key.vex ? BOUNCE_AV_AVX : BOUNCE_AV_SSE, 4, true, exec_stmxcsr);
		return true;
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
		s->elem = FORM_XSAVE;
		xsave_set(s, BOUNCE_AV_XSAVE, LEGACY_SIZE, true, exec_xsave);
		return true;
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		s->elem = FORM_XSAVEOPT;
		xsave_set(s, BOUNCE_AV_XSAVE, LEGACY_SIZE, true, exec_xsave);
		return true;
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
		s->elem = FORM_XSAVEC;
		xsave_set(s, BOUNCE_AV_XSAVE, LEGACY_SIZE, true, exec_xsavec);
		return true;
	case ZYDIS_MNEMONIC_XSAVES:
	case ZYDIS_MNEMONIC_XSAVES64:
		s->elem = FORM_XSAVES;
		xsave_set(s, BOUNCE_AV_XSAVE, LEGACY_SIZE, true, exec_xsavec);
		return true;
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
		s->elem = FORM_XSAVE;
		xsave_set(s, BOUNCE_AV_XSAVE, LEGACY_SIZE, false, exec_xrstor);
		return true;
	case ZYDIS_MNEMONIC_XRSTORS:
	case ZYDIS_MNEMONIC_XRSTORS64:
		s->elem = FORM_XSAVES;
		xsave_set(s, BOUNCE_AV_XSAVE, LEGACY_SIZE, false, exec_xrstor);
		return true;
	case ZYDIS_MNEMONIC_VZEROUPPER:
	case ZYDIS_MNEMONIC_VZEROALL:
		xsave_set(s, BOUNCE_AV_AVX, 0, false, exec_vzero);
		return true;
	default:
		return false;
	}
}
