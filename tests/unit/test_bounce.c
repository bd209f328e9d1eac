/* SPDX-License-Identifier: Apache-2.0 */
/* Bounce execution by itself: operands, exceptions, availability, host state. */
#include <signal.h>
#include "x86_fixture.h"
#include "x86/bounce.h"
#include "x86/decode.h"

#define MXCSR_XM 0x280u /* masks of invalid operation and division by zero */

static struct sigaction our_sigfpe;

struct ctx {
	struct fixture *f;
	struct x86_cpu *c;
	struct bounce_pool *pool;
};

static int setup(void **state)
{
	struct ctx *t = xzalloc(sizeof(*t));
	struct err *e = NULL;

	t->f = fix_new("max", 1);
	t->c = t->f->cpu[0];
	fix_long(t->f, t->c, CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE, 0);
	t->c->s.cr0 |= CR0_NE | CR0_MP;
	t->c->s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	bounce_xsave_fill(&t->c->s.xsave);
	assert_int_equal(bounce_pool_create(&t->pool, &e), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *t = *state;

	bounce_pool_destroy(t->pool);
	fix_free(t->f);
	free(t);
	return 0;
}

static const struct bounce *prepare(struct ctx *t, const uint8_t *bytes, unsigned len)
{
	const struct bounce *b = NULL;
	struct x86_decoded d;
	uint8_t code[X86_INSN_MAX] = {0};

	memcpy(code, bytes, len);
	assert_int_equal(x86_decode(&d, NULL, t->c->mode, code, sizeof(code)), X86_DECODE_OK);
	assert_int_equal(d.len, len);
	assert_int_equal(bounce_prepare(t->pool, &d, &b), BOUNCE_OK);
	return b;
}

#define PREPARE(t, ...) \
	prepare((t), (const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))
/* Run at linear (and effective) address a. */
#define RUN(t, a, ...) FAULT((t)->c, bounce_exec((t)->c, PREPARE(t, __VA_ARGS__), (a), (a)))

static uint64_t xmm_lo(struct ctx *t, unsigned n)
{
	return get_le64(t->c->s.xsave.xmm[n]);
}

static void set_xmm(struct ctx *t, unsigned n, uint64_t lo, uint64_t hi)
{
	put_le64(t->c->s.xsave.xmm[n], lo);
	put_le64(t->c->s.xsave.xmm[n] + 8, hi);
}

/* The thread is as C code expects it: default MXCSR, empty x87 stack and default control word. */
static void assert_host_clean(void)
{
	struct {
		uint16_t cw, r0, sw, r1, tw, r2;
		uint32_t rest[4];
	} env;

	assert_int_equal(__builtin_ia32_stmxcsr() & ~0x3fu, 0x1f80);
	__asm__ volatile("fnstenv %0\n\tfldenv %0" : "=m"(env));
	assert_int_equal(env.tw, 0xffff);
	assert_int_equal(env.cw, 0x37f);
}

static void registers(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;

	set_xmm(t, 1, 5, 7);
	set_xmm(t, 9, 10, 20);
	assert_int_equal(RUN(t, 0, 0x66, 0x44, 0x0f, 0xd4, 0xc9), NO_FAULT); /* paddq xmm9, xmm1 */
	assert_int_equal(xmm_lo(t, 9), 15);
	/* VEX zeroes the upper half, legacy keeps it. */
	memset(c->s.xsave.ymmh, 0x55, sizeof(c->s.xsave.ymmh));
	assert_int_equal(RUN(t, 0, 0xc5, 0xf1, 0xd4, 0xd1), NO_FAULT); /* vpaddq xmm2, xmm1, xmm1 */
	assert_int_equal(xmm_lo(t, 2), 10);
	assert_int_equal(get_le64(c->s.xsave.ymmh[2]), 0);
	assert_int_equal(RUN(t, 0, 0x66, 0x0f, 0xd4, 0xd9), NO_FAULT); /* paddq xmm3, xmm1 */
	assert_int_equal(get_le64(c->s.xsave.ymmh[3]), 0x5555555555555555);
	/* RSP as an operand; the upper half of a 32-bit destination. */
	c->s.gpr[X86_RSP] = 0x10;
	c->s.gpr[X86_RAX] = UINT64_MAX;
	assert_int_equal(RUN(t, 0, 0xf3, 0x0f, 0xbc, 0xc4), NO_FAULT); /* tzcnt eax, esp */
	assert_int_equal(c->s.gpr[X86_RAX], 4);
	assert_int_equal(RUN(t, 0, 0xf3, 0x48, 0x0f, 0xb8, 0xe0), NO_FAULT); /* popcnt rsp, rax */
	assert_int_equal(c->s.gpr[X86_RSP], 1);
	assert_host_clean();
}

static void flags(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;

	/* ADCX uses and sets CF only; the others live on. */
	x86_set_rflags(c, 2 | RFLAGS_CF | RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF);
	c->s.gpr[X86_RAX] = 1;
	c->s.gpr[X86_RCX] = 2;
	assert_int_equal(RUN(t, 0, 0x66, 0x48, 0x0f, 0x38, 0xf6, 0xc1),
			 NO_FAULT); /* adcx rax, rcx */
	assert_int_equal(c->s.gpr[X86_RAX], 4);
	assert_int_equal(x86_rflags(c), 2 | RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF);
}

static void memory(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;

	/* Across two pages that are apart in RAM, read and written. */
	fix_poke64(t->f, PT + 8 * 0x40, 0x50000 | RW_U);
	fix_poke64(t->f, PT + 8 * 0x41, 0x70000 | RW_U);
	fix_poke64(t->f, 0x50ff8, 0x1111);
	fix_poke64(t->f, 0x70000, 0x2222);
	set_xmm(t, 0, 1, 2);
	assert_int_equal(RUN(t, 0x40ff8, 0xc5, 0xf9, 0xd4, 0x00),
			 NO_FAULT); /* vpaddq xmm0, [rax] */
	assert_int_equal(xmm_lo(t, 0), 0x1112);
	assert_int_equal(get_le64(c->s.xsave.xmm[0] + 8), 0x2224);
	assert_int_equal(RUN(t, 0x40ff8, 0x0f, 0x11, 0x00), NO_FAULT); /* movups [rax], xmm0 */
	assert_int_equal(fix_peek64(t->f, 0x50ff8), 0x1112);
	assert_int_equal(fix_peek64(t->f, 0x70000), 0x2224);
	/* Second page absent: nothing is written. */
	fix_poke64(t->f, PT + 8 * 0x41, 0);
	x86_tlb_flush(c, true);
	set_xmm(t, 0, 0, 0);
	assert_pf(c, bounce_exec(c, PREPARE(t, 0x0f, 0x11, 0x00), 0x40ff8, 0), 0x41000, PF_W);
	assert_int_equal(fix_peek64(t->f, 0x50ff8), 0x1112);
	/* Legacy operands of 16 bytes are aligned, VEX ones need not be. */
	assert_int_equal(RUN(t, 0x40008, 0x66, 0x0f, 0xd4, 0x00), X86_GP); /* paddq xmm0, [rax] */
	assert_int_equal(RUN(t, 0x40008, 0xc5, 0xf9, 0xd4, 0x00), NO_FAULT);
	assert_int_equal(RUN(t, 0x40008, 0xc5, 0xf9, 0x6f, 0x00), X86_GP); /* vmovdqa xmm0, [rax] */
}

static void registers_of_devices(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;

	/* 2 MiB page at linear 4 MiB shows the device's registers. */
	fix_poke64(t->f, PD + 8 * 2, FIX_IO_AT | RW_U | 0x80);
	t->f->io_regs[0] = 0xabcd;
	assert_int_equal(RUN(t, 0x400000, 0xf3, 0x0f, 0x7e, 0x00), NO_FAULT); /* movq xmm0, [rax] */
	assert_int_equal(xmm_lo(t, 0), 0xabcd);
	set_xmm(t, 1, 0x1234, 0);
	assert_int_equal(RUN(t, 0x400008, 0x66, 0x0f, 0xd6, 0x08), NO_FAULT); /* movq [rax], xmm1 */
	assert_int_equal(t->f->io_regs[1], 0x1234);
	assert_true(c->s.xsave.mxcsr == 0x1f80);
}

static void simd_exceptions(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;

	/* cmocka puts its own handler in front of each test. */
	assert_int_equal(sigaction(SIGFPE, &our_sigfpe, NULL), 0);
	set_xmm(t, 0, 0x3f800000, 0);
	set_xmm(t, 1, 0, 0);
	/* Masked: a flag and infinity. */
	assert_int_equal(RUN(t, 0, 0xf3, 0x0f, 0x5e, 0xc1), NO_FAULT); /* divss xmm0, xmm1 */
	assert_int_equal(xmm_lo(t, 0), 0x7f800000);
	assert_int_equal(c->s.xsave.mxcsr, 0x1f84);
	assert_host_clean();
	/* Unmasked: #XM, the register as it was, the flag set. */
	c->s.xsave.mxcsr = 0x1f80 & ~MXCSR_XM;
	set_xmm(t, 0, 0x3f800000, 0);
	assert_int_equal(RUN(t, 0, 0xf3, 0x0f, 0x5e, 0xc1), X86_XM);
	assert_int_equal(xmm_lo(t, 0), 0x3f800000);
	assert_int_equal(c->s.xsave.mxcsr, (0x1f80 & ~MXCSR_XM) | 4);
	assert_host_clean();
	c->s.cr4 &= ~CR4_OSXMMEXCPT;
	assert_int_equal(RUN(t, 0, 0xf3, 0x0f, 0x5e, 0xc1), X86_UD);
	/* Integer division, of the same signal. */
	c->s.gpr[X86_RCX] = 0;
	c->s.gpr[X86_RAX] = 77;
	assert_int_equal(RUN(t, 0, 0x48, 0xf7, 0xf1), X86_DE); /* div rcx */
	assert_int_equal(c->s.gpr[X86_RAX], 77);
	c->s.gpr[X86_RDX] = 0;
	c->s.gpr[X86_RCX] = 7;
	assert_int_equal(RUN(t, 0, 0x48, 0xf7, 0xf1), NO_FAULT);
	assert_int_equal(c->s.gpr[X86_RAX], 11);
}

static void availability(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;
	uint64_t cr0 = c->s.cr0, cr4 = c->s.cr4;

	c->s.cr0 = cr0 | CR0_TS;
	assert_int_equal(RUN(t, 0, 0x0f, 0x58, 0xc1), X86_NM); /* addps */
	assert_int_equal(RUN(t, 0, 0xc5, 0xf8, 0x58, 0xc1), X86_NM); /* vaddps */
	assert_int_equal(RUN(t, 0, 0xd8, 0xc1), X86_NM); /* fadd */
	assert_int_equal(RUN(t, 0, 0x0f, 0xfc, 0xc1), X86_NM); /* paddb mm */
	assert_int_equal(RUN(t, 0, 0x9b), X86_NM); /* fwait, MP set */
	assert_int_equal(RUN(t, 0, 0xf3, 0x0f, 0xb8, 0xc1), NO_FAULT); /* popcnt */
	c->s.cr0 = cr0 | CR0_EM;
	assert_int_equal(RUN(t, 0, 0x0f, 0x58, 0xc1), X86_UD);
	assert_int_equal(RUN(t, 0, 0x0f, 0xfc, 0xc1), X86_UD);
	assert_int_equal(RUN(t, 0, 0xd8, 0xc1), X86_NM);
	assert_int_equal(RUN(t, 0, 0xc5, 0xf8, 0x58, 0xc1), NO_FAULT);
	c->s.cr0 = cr0;
	c->s.cr4 = cr4 & ~CR4_OSFXSR;
	assert_int_equal(RUN(t, 0, 0x0f, 0x58, 0xc1), X86_UD);
	assert_int_equal(RUN(t, 0, 0x0f, 0xfc, 0xc1), NO_FAULT);
	c->s.cr4 = cr4 & ~CR4_OSXSAVE;
	assert_int_equal(RUN(t, 0, 0xc5, 0xf8, 0x58, 0xc1), X86_UD);
	assert_int_equal(RUN(t, 0x40000, 0x0f, 0xae, 0x20), X86_UD); /* xsave */
	c->s.cr4 = cr4;
	c->s.xcr0 = XCR0_X87 | XCR0_SSE;
	assert_int_equal(RUN(t, 0, 0xc5, 0xf8, 0x58, 0xc1), X86_UD);
}

static void x87(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;
	struct x86_xsave *x = &c->s.xsave;
	double out;

	memset(x, 0, sizeof(*x)); /* as after reset, bytes absent */
	bounce_xsave_fill(x);
	assert_int_equal(x->fcw, 0x37f);
	c->s.rip = 0x123456;
	fix_poke64(t->f, 0x50000, 0x4000000000000000); /* 2.0 */
	fix_poke64(t->f, PT + 8 * 0x40, 0x50000 | RW_U);
	assert_int_equal(RUN(t, 0x40000, 0xdd, 0x00), NO_FAULT); /* fld qword [rax] */
	assert_int_equal(RUN(t, 0, 0xd9, 0xe8), NO_FAULT); /* fld1 */
	assert_int_equal(RUN(t, 0, 0xde, 0xc1), NO_FAULT); /* faddp */
	assert_int_equal(x->fip, 0x123456); /* not the stub's */
	assert_int_equal(RUN(t, 0x40008, 0xdd, 0x18), NO_FAULT); /* fstp qword [rax] */
	out = 0;
	memcpy(&out, (uint64_t[]){fix_peek64(t->f, 0x50008)}, 8);
	assert_true(out == 3.0);
	assert_host_clean();
	/* An unmasked exception waits for the next waiting instruction; a store is suppressed. */
	x->fcw = 0x37e;
	assert_int_equal(RUN(t, 0x40008, 0xdd, 0x18), NO_FAULT); /* stack underflow */
	assert_true(x->fsw & 0x80);
	memcpy(&out, (uint64_t[]){fix_peek64(t->f, 0x50008)}, 8);
	assert_true(out == 3.0);
	assert_int_equal(RUN(t, 0, 0x9b), X86_MF);
	assert_int_equal(RUN(t, 0, 0xd9, 0xe8), X86_MF);
	assert_int_equal(RUN(t, 0, 0xdf, 0xe0), NO_FAULT); /* fnstsw ax does not wait */
	assert_int_equal(c->s.gpr[X86_RAX] & 0xffff, x->fsw);
	assert_int_equal(RUN(t, 0, 0xdb, 0xe2), NO_FAULT); /* fnclex */
	assert_int_equal(RUN(t, 0, 0x9b), NO_FAULT);
	assert_host_clean();
}

static void state_images(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;

	fix_poke64(t->f, PT + 8 * 0x40, 0x50000 | RW_U);
	c->s.gpr[X86_RAX] = 7;
	c->s.gpr[X86_RDX] = 0;
	set_xmm(t, 3, 0xfeed, 0);
	c->s.xsave.fcw = 0x37f; /* not the 0x40 of a processor reset */
	c->s.xsave.ftw = 0;
	memset(c->s.xsave.ymmh, 0, sizeof(c->s.xsave.ymmh));
	assert_int_equal(RUN(t, 0x40008, 0x0f, 0xae, 0x20), X86_GP); /* xsave, not aligned to 64 */
	assert_int_equal(RUN(t, 0x40000, 0x0f, 0xae, 0x20), NO_FAULT);
	assert_int_equal(fix_peek64(t->f, 0x50000 + 512), XCR0_SSE); /* the others are initial */
	assert_int_equal(fix_peek64(t->f, 0x50000 + 160 + 48), 0xfeed);
	set_xmm(t, 3, 0, 0);
	c->s.xsave.ymmh[5][0] = 1;
	assert_int_equal(RUN(t, 0x40000, 0x0f, 0xae, 0x28), NO_FAULT); /* xrstor */
	assert_int_equal(xmm_lo(t, 3), 0xfeed);
	assert_int_equal(c->s.xsave.ymmh[5][0], 0);
	/* Bad images. */
	fix_poke64(t->f, 0x50000 + 512, 0x400);
	assert_int_equal(RUN(t, 0x40000, 0x0f, 0xae, 0x28), X86_GP);
	fix_poke64(t->f, 0x50000 + 512, 7);
	fix_poke32(t->f, 0x50000 + 24, 0xffff0000);
	assert_int_equal(RUN(t, 0x40000, 0x0f, 0xae, 0x28), X86_GP);
	assert_int_equal(RUN(t, 0x40000, 0x0f, 0xae, 0x08), X86_GP); /* fxrstor */
	assert_int_equal(RUN(t, 0x40018, 0x0f, 0xae, 0x10), X86_GP); /* ldmxcsr */
}

static void masked(void **state)
{
	struct ctx *t = *state;
	struct x86_cpu *c = t->c;

	/* Only enabled elements are accessed: the second page is absent. */
	fix_poke64(t->f, PT + 8 * 0x40, 0x50000 | RW_U);
	fix_poke64(t->f, PT + 8 * 0x41, 0);
	x86_tlb_flush(c, true);
	fix_poke64(t->f, 0x50ff8, 0xa5a5);
	set_xmm(t, 1, UINT64_MAX, 0);
	assert_int_equal(RUN(t, 0x40ff8, 0xc4, 0xe2, 0x71, 0x2d, 0x00), NO_FAULT); /* vmaskmovpd */
	assert_int_equal(xmm_lo(t, 0), 0xa5a5);
	set_xmm(t, 1, UINT64_MAX, UINT64_MAX);
	assert_int_equal(RUN(t, 0x40ff8, 0xc4, 0xe2, 0x71, 0x2d, 0x00), X86_PF);
	/* A gather keeps what it has when an element faults, and says so in the mask. */
	set_xmm(t, 2, 0, 0x10); /* indices */
	set_xmm(t, 3, 0, 0);
	c->s.gpr[X86_RAX] = 0x40ff8;
	assert_int_equal(RUN(t, 0, 0xc4, 0xe2, 0xf1, 0x91, 0x1c, 0x10), X86_PF); /* vpgatherqq */
	assert_int_equal(xmm_lo(t, 3), 0xa5a5);
	assert_int_equal(xmm_lo(t, 1), 0);
	assert_int_equal(get_le64(c->s.xsave.xmm[1] + 8), UINT64_MAX);
}

static void pool(void **state)
{
	struct ctx *t = *state;
	const struct bounce *a = PREPARE(t, 0x66, 0x0f, 0xfe, 0xc1), *b;
	struct x86_decoded d;
	uint8_t code[X86_INSN_MAX] = {0xc4, 0xe3, 0x75,
				      0x0f, 0xc2, 0}; /* vpalignr ymm, ymm, ymm, n */
	enum bounce_status st = BOUNCE_OK;
	unsigned n = 0;

	/* Equal instructions share an object, however they are written. */
	assert_ptr_equal(a, PREPARE(t, 0x66, 0x40, 0x0f, 0xfe, 0xc1));
	assert_ptr_equal(PREPARE(t, 0x66, 0x0f, 0xfe, 0x00), /* paddd xmm0, [rax] */
			 PREPARE(t, 0x66, 0x41, 0x0f, 0xfe, 0x44, 0x24, 8)); /* [r12+8] */
	/* The pool fills up, says so, and works again after a flush. */
	for (; st == BOUNCE_OK && n < 100000; n++) {
		code[5] = (uint8_t)n;
		code[4] = (uint8_t)(0xc0 | (n >> 8 & 0x3f));
		code[2] = (uint8_t)(0x05 | (n >> 14 & 0xf) << 3);
		assert_int_equal(x86_decode(&d, NULL, t->c->mode, code, sizeof(code)),
				 X86_DECODE_OK);
		st = bounce_prepare(t->pool, &d, &b);
	}
	assert_int_equal(st, BOUNCE_FULL);
	bounce_flush(t->pool);
	set_xmm(t, 0, 1, 0);
	set_xmm(t, 1, 2, 0);
	assert_int_equal(RUN(t, 0, 0x66, 0x0f, 0xfe, 0xc1), NO_FAULT);
	assert_int_equal(xmm_lo(t, 0), 3);
}

static void refused(void **state)
{
	static const uint8_t codes[][X86_INSN_MAX] = {
		{0x90},
		{0x0f, 0xa2},
		{0xf4},
		{0x0f, 0x05},
		{0xf0, 0x0f, 0xc1, 0x08},
		{0x0f, 0x01, 0xd0},
		{0x0f, 0xae, 0xf0},
		{0xf3, 0x48, 0x0f, 0xae, 0xd0},
		{0x8b, 0x00},
		{0xa5},
	};
	struct ctx *t = *state;

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		const struct bounce *b;
		struct x86_decoded d;

		assert_int_equal(x86_decode(&d, NULL, t->c->mode, codes[i], X86_INSN_MAX),
				 X86_DECODE_OK);
		assert_int_equal(bounce_prepare(t->pool, &d, &b), BOUNCE_NO);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers),
		TEST(flags),
		TEST(memory),
		TEST(registers_of_devices),
		TEST(simd_exceptions),
		TEST(availability),
		TEST(x87),
		TEST(state_images),
		TEST(masked),
		TEST(pool),
		TEST(refused),
	};
	struct bounce_pool *first;
	struct err *e = NULL;

	if (bounce_pool_create(&first, &e) || sigaction(SIGFPE, NULL, &our_sigfpe))
		return 1;
	bounce_pool_destroy(first);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
