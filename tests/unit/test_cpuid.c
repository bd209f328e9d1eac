/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID models and the -cpu argument. */
#include <cpuid.h>
#include "x86_fixture.h"

enum { EAX, EBX, ECX, EDX };

static struct x86_cpuid *make(const char *spec)
{
	struct x86_cpuid *m = NULL;
	struct err *e = NULL;

	assert_int_equal(x86_cpuid_create(&m, spec, 1, 2000000, &e), 0);
	return m;
}

static void refused(const char *spec, const char *why)
{
	struct x86_cpuid *m = NULL;
	struct err *e = NULL;

	assert_true(x86_cpuid_create(&m, spec, 1, 2000000, &e) < 0);
	assert_null(m);
	assert_non_null(strstr(err_msg(e), why));
	err_free(&e);
}

static void specs(void **state)
{
	struct x86_cpuid *m = make("qemu64");

	assert_true(x86_cpuid_has(m, X86_FEAT_CX16));
	assert_false(x86_cpuid_has(m, X86_FEAT_SSE4_2));
	x86_cpuid_destroy(m);
	m = make("qemu64,+sse4.2,+sse4_1,ssse3=on,-kvm-pv-eoi,invtsc=on,check,enforce=on");
	assert_true(x86_cpuid_has(m, X86_FEAT_SSE4_2));
	assert_false(x86_cpuid_has(m, X86_FEAT_KVM_PV_EOI));
	assert_true(x86_cpuid_has(m, X86_FEAT_INVTSC));
	x86_cpuid_destroy(m);
	/* Understood, but never there. */
	m = make("kvm64,+vmx,+lahf_lm,svm=on");
	assert_true(x86_cpuid_has(m, X86_FEAT_LAHF_LM));
	x86_cpuid_destroy(m);
	assert_true(x86_cpuid_asks_nested("kvm64,+vmx"));
	assert_false(x86_cpuid_asks_nested("kvm64,-vmx"));
	/* What needs a missing feature goes with it. */
	m = make("max,-xsave");
	assert_false(x86_cpuid_has(m, X86_FEAT_AVX));
	assert_false(x86_cpuid_has(m, X86_FEAT_FMA));
	assert_int_equal(x86_cpuid_xcr0(m), 0);
	x86_cpuid_destroy(m);
	m = make("host,family=25,model=33,stepping=2,vendor=AuthenticAMD,phys-bits=46,kvm=off");
	assert_int_equal(x86_cpuid_signature(m), 0xa20f12);
	assert_true(x86_cpuid_amd(m));
	assert_int_equal(x86_cpuid_phys_bits(m), 46);
	assert_false(x86_cpuid_has(m, X86_FEAT_KVMCLOCK));
	x86_cpuid_destroy(m);
}

static void bad_specs(void **state)
{
	refused("pentium9", "pentium9");
	refused("", "unknown CPU model");
	refused("max,+warp", "warp");
	refused("max,warp=on", "warp");
	refused("max,pae=maybe", "maybe");
	refused("max,", "empty");
	refused("max,family=x", "family");
	refused("max,phys-bits=60", "phys-bits");
	refused("max,vendor=short", "short");
	refused("max,-xsave,+avx2", "needs");
}

static uint32_t query(struct x86_cpu *c, uint32_t leaf, uint32_t sub, unsigned reg)
{
	uint32_t r[4];

	x86_cpuid_query(c, leaf, sub, r);
	return r[reg];
}

/* No feature of the guest's processor that the host's lacks, where instructions run on the host. */
static void subset_of_host(void **state)
{
	struct fixture *f = fix_new("max", 1);
	uint32_t h[4], g[4];

	__cpuid(1, h[0], h[1], h[2], h[3]);
	x86_cpuid_query(f->cpu[0], 1, 0, g);
	assert_int_equal(g[ECX] & ~h[ECX] & (BIT(0) | BIT(9) | BIT(12) | BIT(19) | BIT(25)), 0);
	assert_int_equal(g[ECX] & ~h[ECX] & BIT(28), 0);
	__cpuid_count(7, 0, h[0], h[1], h[2], h[3]);
	x86_cpuid_query(f->cpu[0], 7, 0, g);
	assert_int_equal(g[EBX] & ~h[EBX] & (BIT(3) | BIT(5) | BIT(8) | BIT(19) | BIT(29)), 0);
	/* Never offered: AVX-512, TSX, MPX, PKU, CET, LA57. */
	assert_int_equal(g[EBX] & (BIT(16) | BIT(4) | BIT(11) | BIT(14)), 0);
	assert_int_equal(g[ECX] & (BIT(3) | BIT(7) | BIT(16)), 0);
	assert_int_equal(query(f->cpu[0], 1, 0, ECX) & (BIT(5) | BIT(3)), 0); /* VMX, MONITOR */
	fix_free(f);
}

static void leaves(void **state)
{
	struct fixture *f = fix_new("max", 3);
	struct x86_cpu *c = f->cpu[2];
	uint32_t r[4];

	x86_cpuid_query(c, 0, 0, r);
	assert_true(r[EAX] >= 0xd);
	x86_cpuid_query(c, 1, 0, r);
	assert_int_equal(r[EBX] >> 24, 2);
	assert_int_equal(r[EBX] >> 16 & 0xff, 4);
	assert_true(r[EDX] & BIT(28));
	assert_true(r[EDX] & BIT(9));
	assert_false(r[ECX] & BIT(27));
	c->s.cr4 |= CR4_OSXSAVE;
	c->s.apic_base &= ~BIT(11);
	x86_cpuid_query(c, 1, 0, r);
	assert_true(r[ECX] & BIT(27));
	assert_false(r[EDX] & BIT(9));
	x86_cpuid_query(c, 0xb, 1, r);
	assert_int_equal(r[EAX], 2);
	assert_int_equal(r[EBX], 3);
	assert_int_equal(r[ECX], 0x201);
	assert_int_equal(r[EDX], 2);
	x86_cpuid_query(c, 0xb, 2, r);
	assert_int_equal(r[EBX], 0);
	x86_cpuid_query(c, 0x40000000, 0, r);
	assert_memory_equal(&r[EBX], "KVMKVMKVM\0\0\0", 12);
	assert_true(query(c, 0x40000001, 0, EAX) & BIT(24));
	assert_int_equal(query(c, 0x40000010, 0, EAX), 2000000);
	assert_int_equal(query(c, 0x80000008, 0, EAX), 40 | 48 << 8);
	assert_true(query(c, 0x80000001, 0, EDX) & BIT(29));
	assert_true(query(c, 0x80000000, 0, EAX) >= 0x80000008);
	fix_free(f);
}

static void xsave_leaf(void **state)
{
	struct fixture *f = fix_new("max", 1);
	struct x86_cpu *c = f->cpu[0];
	bool avx = x86_cpuid_has(f->cpuid, X86_FEAT_AVX);

	if (!x86_cpuid_has(f->cpuid, X86_FEAT_XSAVE))
		skip();
	assert_int_equal(query(c, 0xd, 0, EAX), avx ? 7 : 3);
	assert_int_equal(query(c, 0xd, 0, EBX), 576);
	assert_int_equal(query(c, 0xd, 0, ECX), avx ? 832 : 576);
	c->s.xcr0 = 7;
	assert_int_equal(query(c, 0xd, 0, EBX), 832);
	assert_int_equal(query(c, 0xd, 2, EAX), avx ? 256 : 0);
	assert_int_equal(query(c, 0xd, 5, EAX), 0);
	fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specs), cmocka_unit_test(bad_specs),
		cmocka_unit_test(subset_of_host), cmocka_unit_test(leaves),
		cmocka_unit_test(xsave_leaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
