/* SPDX-License-Identifier: Apache-2.0 */
/* The CPUID instruction (SDM 2A CPUID, APM 3 appendix E, KVM's leaves at 0x40000000). */
#include <string.h>
#include "x86/cpuid_int.h"
#include "x86/mmu.h"

#define BASIC_MAX 0xd
#define EXT_MAX_INTEL 0x80000008u
#define EXT_MAX_AMD 0x80000021u
#define KVM_MAX 0x40000010u
#define APIC_BUS_KHZ 1000000 /* the local APIC timer counts nanoseconds */
#define CACHE_LINE 64

enum { EAX, EBX, ECX, EDX };

bool x86_cpuid_has(const struct x86_cpuid *m, enum x86_feature f)
{
	return m->has[f];
}

bool x86_cpuid_amd(const struct x86_cpuid *m)
{
	return m->amd;
}

unsigned x86_cpuid_phys_bits(const struct x86_cpuid *m)
{
	return m->phys_bits;
}

uint32_t x86_cpuid_tsc_khz(const struct x86_cpuid *m)
{
	return m->tsc_khz;
}

uint32_t x86_cpuid_signature(const struct x86_cpuid *m)
{
	uint32_t base = m->family > 15 ? 15 : m->family;

	return (uint32_t)(m->family - base) << 20 | (m->model >> 4) << 16 | base << 8 |
	       (m->model & 15) << 4 | m->stepping;
}

uint64_t x86_cpuid_xcr0(const struct x86_cpuid *m)
{
	if (!m->has[X86_FEAT_XSAVE])
		return 0;
	return XCR0_X87 | XCR0_SSE | (m->has[X86_FEAT_AVX] ? XCR0_AVX : 0);
}

static void add_features(const struct x86_cpuid *m, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	for (unsigned f = 0; f < X86_FEAT_COUNT; f++) {
		const struct cpuid_feature *t = &cpuid_features[f];

		if (m->has[f] && t->leaf == leaf && t->sub == sub)
			out[t->reg] |= 1u << t->bit;
	}
}

/* Bits of an APIC ID that tell cores of the package apart. */
static unsigned core_bits(const struct x86_cpuid *m)
{
	return m->n_cpus > 1 ? 32 - (unsigned)__builtin_clz(m->n_cpus - 1) : 0;
}

static void leaf_vendor(const struct x86_cpuid *m, uint32_t max, uint32_t out[4])
{
	out[EAX] = max;
	memcpy(&out[EBX], m->vendor, 4);
	memcpy(&out[EDX], m->vendor + 4, 4);
	memcpy(&out[ECX], m->vendor + 8, 4);
}

static void leaf_1(const struct x86_cpu *c, const struct x86_cpuid *m, uint32_t out[4])
{
	out[EAX] = x86_cpuid_signature(m);
	out[EBX] = c->apic_id << 24 | CACHE_LINE / 8 << 8;
	if (m->n_cpus > 1) {
		out[EBX] |= (1u << core_bits(m) & 0xff) << 16;
		out[EDX] |= BIT(28);
	}
	if (m->has[X86_FEAT_XSAVE] && (c->s.cr4 & CR4_OSXSAVE))
		out[ECX] |= BIT(27);
	if (!(c->s.apic_base & BIT(11)))
		out[EDX] &= ~(uint32_t)BIT(9);
}

struct cache {
	uint8_t type, level, ways;
	uint32_t sets;
	bool shared;
};

/* One set of caches for all models: 32 KiB L1, 1 MiB L2 of each core, 16 MiB L3 of the package. */
static const struct cache caches[] = {
	{ 1, 1, 8, 64, false },
	{ 2, 1, 8, 64, false },
	{ 3, 2, 16, 1024, false },
	{ 3, 3, 16, 16384, true },
};

static void leaf_4(const struct x86_cpuid *m, uint32_t sub, uint32_t out[4])
{
	const struct cache *k;
	uint32_t ids = (1u << core_bits(m)) - 1;

	if (sub >= ARRAY_SIZE(caches))
		return;
	k = &caches[sub];
	out[EAX] = k->type | k->level << 5 | BIT(8) | (ids & 63) << 26;
	if (k->shared)
		out[EAX] |= ids << 14;
	out[EBX] = (CACHE_LINE - 1) | (k->ways - 1u) << 22;
	out[ECX] = k->sets - 1;
}

/* One thread to a core, all cores in one package. */
static void leaf_b(const struct x86_cpu *c, const struct x86_cpuid *m, uint32_t sub,
		   uint32_t out[4])
{
	out[ECX] = sub & 0xff;
	out[EDX] = c->apic_id;
	if (sub == 0) {
		out[EBX] = 1;
		out[ECX] |= 1 << 8;
	} else if (sub == 1) {
		out[EAX] = core_bits(m);
		out[EBX] = m->n_cpus;
		out[ECX] |= 2 << 8;
	}
}

#define AVX_SIZE 256
#define AVX_OFFSET 576

static uint32_t xsave_size(uint64_t mask)
{
	return mask & XCR0_AVX ? AVX_OFFSET + AVX_SIZE : AVX_OFFSET;
}

static void leaf_d(const struct x86_cpu *c, const struct x86_cpuid *m, uint32_t sub,
		   uint32_t out[4])
{
	uint64_t mask = x86_cpuid_xcr0(m);

	if (!mask)
		return;
	if (sub == 0) {
		out[EAX] = (uint32_t)mask;
		out[EBX] = xsave_size(c->s.xcr0);
		out[ECX] = xsave_size(mask);
	} else if (sub == 1) {
		/* With AVX the only extended component, compacted and standard form are alike. */
		if (m->has[X86_FEAT_XSAVEC])
			out[EBX] = xsave_size(c->s.xcr0);
	} else if (sub == 2 && (mask & XCR0_AVX)) {
		out[EAX] = AVX_SIZE;
		out[EBX] = AVX_OFFSET;
	}
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

/* Leaf 15H as a crystal of the APIC timer's rate; only where guests that multiply kHz by the
 * numerator in 32 bits get it right. */
static bool tsc_ratio(const struct x86_cpuid *m, uint32_t *num, uint32_t *den)
{
	uint32_t g = gcd(m->tsc_khz, APIC_BUS_KHZ);

	if (m->amd || !m->tsc_khz || m->tsc_khz / g > UINT32_MAX / APIC_BUS_KHZ)
		return false;
	*num = m->tsc_khz / g;
	*den = APIC_BUS_KHZ / g;
	return true;
}

static void leaf_15(const struct x86_cpuid *m, uint32_t out[4])
{
	uint32_t num, den;

	if (!tsc_ratio(m, &num, &den))
		return;
	out[EAX] = den;
	out[EBX] = num;
	out[ECX] = APIC_BUS_KHZ * 1000;
}

static void leaf_kvm(const struct x86_cpuid *m, uint32_t leaf, uint32_t out[4])
{
	switch (leaf) {
	case CPUID_LEAF_KVM:
		out[EAX] = KVM_MAX;
		out[EBX] = 0x4b4d564b; /* "KVMKVMKVM" */
		out[ECX] = 0x564b4d56;
		out[EDX] = 0x4d;
		break;
	case KVM_MAX:
		out[EAX] = m->tsc_khz;
		out[EBX] = APIC_BUS_KHZ;
		break;
	}
}

static void leaf_brand(const struct x86_cpuid *m, uint32_t leaf, uint32_t out[4])
{
	memcpy(out, m->brand + (leaf - 0x80000002) * 16, 16);
}

/* AMD repeats the signature and much of leaf 1's EDX, and has a bit for "HTT means cores". */
static void leaf_ext1_amd(const struct x86_cpuid *m, uint32_t out[4])
{
	uint32_t one[4] = { 0 };

	add_features(m, 1, 0, one);
	out[EAX] = x86_cpuid_signature(m);
	out[EDX] |= one[EDX] & 0x0183f3ff;
	if (m->n_cpus > 1)
		out[ECX] |= BIT(1);
}

/* AMD describes TLBs, caches and cores here; Intel has most of it 0 (leaf 80000006H: L2). */
static void leaf_ext(const struct x86_cpuid *m, uint32_t leaf, uint32_t out[4])
{
	switch (leaf) {
	case 0x80000001:
		if (m->amd)
			leaf_ext1_amd(m, out);
		break;
	case 0x80000002 ... 0x80000004:
		leaf_brand(m, leaf, out);
		break;
	case 0x80000005:
		if (m->amd)
			out[ECX] = out[EDX] = 32u << 24 | 8 << 16 | 1 << 8 | CACHE_LINE;
		break;
	case 0x80000006:
		out[ECX] = 1024u << 16 | 8 << 12 | CACHE_LINE;
		if (m->amd)
			out[EDX] = 32u << 18 | 8 << 12 | CACHE_LINE;
		break;
	case 0x80000008:
		out[EAX] = m->phys_bits | 48 << 8;
		if (m->amd && m->n_cpus > 1)
			out[ECX] = (m->n_cpus - 1) | core_bits(m) << 12;
		break;
	}
}

static uint32_t basic_max(const struct x86_cpuid *m)
{
	uint32_t num, den;

	return tsc_ratio(m, &num, &den) ? 0x15 : BASIC_MAX;
}

static void leaf_basic(const struct x86_cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	const struct x86_cpuid *m = c->vm->cpuid;

	switch (leaf) {
	case 0:
		leaf_vendor(m, basic_max(m), out);
		break;
	case 1:
		leaf_1(c, m, out);
		break;
	case 2:
		if (!m->amd)
			out[EAX] = 0xff01; /* one look; see leaf 4 */
		break;
	case 4:
		if (!m->amd)
			leaf_4(m, sub, out);
		break;
	case 7:
		if (sub == 0)
			out[EAX] = 2; /* last subleaf */
		break;
	case 0xb:
		leaf_b(c, m, sub, out);
		break;
	case 0xd:
		leaf_d(c, m, sub, out);
		break;
	case 0x15:
		leaf_15(m, out);
		break;
	}
}

/* Leaves past the last one: Intel answers as for the last basic leaf, AMD with zeros. */
static bool leaf_exists(const struct x86_cpuid *m, uint32_t leaf)
{
	if (leaf >= 0x80000000)
		return leaf <= (m->amd ? EXT_MAX_AMD : EXT_MAX_INTEL);
	return leaf <= basic_max(m);
}

static bool leaf_has_subleaves(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd;
}

void x86_cpuid_query(const struct x86_cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	const struct x86_cpuid *m = c->vm->cpuid;

	memset(out, 0, 4 * sizeof(*out));
	if (m->has[X86_FEAT_HYPERVISOR] && leaf >> 8 == CPUID_LEAF_KVM >> 8) {
		if (!m->kvm || leaf > KVM_MAX)
			return;
		add_features(m, leaf, 0, out);
		leaf_kvm(m, leaf, out);
		return;
	}
	if (!leaf_exists(m, leaf)) {
		if (m->amd)
			return;
		leaf = basic_max(m);
	}
	add_features(m, leaf, leaf_has_subleaves(leaf) ? sub : 0, out);
	if (leaf < 0x80000000)
		leaf_basic(c, leaf, sub, out);
	else if (leaf == 0x80000000)
		leaf_vendor(m, m->amd ? EXT_MAX_AMD : EXT_MAX_INTEL, out);
	else
		leaf_ext(m, leaf, out);
}
