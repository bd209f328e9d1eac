/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID models and the -cpu argument:
 * NAME[,+feature][,-feature][,feature=on|off][,property=value]... */
#include <cpuid.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "x86/cpuid_int.h"

const struct cpuid_feature cpuid_features[X86_FEAT_COUNT] = {
#define X86_FEATURE(sym, name, leaf, sub, reg, bit, level, host)                                   \
	[X86_FEAT_##sym] = { name, leaf, sub, reg, bit, level, host },
#include "x86/feature.def"
#undef X86_FEATURE
};

static const struct x86_cpuid_model_info model_info[] = {
	{ "max", "all features that doppel supports on this host" },
	{ "host", "this host's processor, as far as doppel supports it" },
	{ "qemu64", "baseline x86-64" },
	{ "kvm64", "the same by another name" },
	{ "x86-64-v2", "x86-64-v2: SSE4.2, POPCNT" },
	{ "x86-64-v3", "x86-64-v3: AVX2, BMI, FMA" },
	{ NULL, NULL },
};

static const uint8_t model_level[] = { 9, 9, 0, 0, 2, 3 };

/* Other names of features, after '_' and '.' became '-'. */
static const struct {
	const char *name;
	enum x86_feature f;
} aliases[] = {
	{ "pni", X86_FEAT_SSE3 }, { "xd", X86_FEAT_NX },	 { "abm", X86_FEAT_LZCNT },
	{ "clfsh", X86_FEAT_CLFLUSH }, { "sha", X86_FEAT_SHA },
	{ "tsc-deadline-timer", X86_FEAT_TSC_DEADLINE },
	{ "kvm-clock", X86_FEAT_KVMCLOCK }, { "kvm-nopiodelay", X86_FEAT_KVM_NOPIODELAY },
};

/* What is no use, or not possible, without another. */
static const struct {
	enum x86_feature f, needs;
} needs[] = {
	{ X86_FEAT_FXSR, X86_FEAT_FPU }, { X86_FEAT_MMX, X86_FEAT_FPU },
	{ X86_FEAT_SSE, X86_FEAT_FXSR }, { X86_FEAT_SSE2, X86_FEAT_SSE },
	{ X86_FEAT_SSE3, X86_FEAT_SSE2 }, { X86_FEAT_SSSE3, X86_FEAT_SSE3 },
	{ X86_FEAT_SSE4_1, X86_FEAT_SSSE3 }, { X86_FEAT_SSE4_2, X86_FEAT_SSE4_1 },
	{ X86_FEAT_PCLMULQDQ, X86_FEAT_SSE2 }, { X86_FEAT_AES, X86_FEAT_SSE2 },
	{ X86_FEAT_SHA, X86_FEAT_SSE2 }, { X86_FEAT_AVX, X86_FEAT_XSAVE },
	{ X86_FEAT_AVX, X86_FEAT_SSE4_2 }, { X86_FEAT_AVX2, X86_FEAT_AVX },
	{ X86_FEAT_FMA, X86_FEAT_AVX }, { X86_FEAT_F16C, X86_FEAT_AVX },
	{ X86_FEAT_XSAVEOPT, X86_FEAT_XSAVE }, { X86_FEAT_XSAVEC, X86_FEAT_XSAVE },
	{ X86_FEAT_XGETBV1, X86_FEAT_XSAVE }, { X86_FEAT_X2APIC, X86_FEAT_APIC },
	{ X86_FEAT_LM, X86_FEAT_PAE }, { X86_FEAT_PDPE1GB, X86_FEAT_LM },
	{ X86_FEAT_PCID, X86_FEAT_LM }, { X86_FEAT_NX, X86_FEAT_PAE },
	{ X86_FEAT_TSC_DEADLINE, X86_FEAT_APIC }, { X86_FEAT_RDTSCP, X86_FEAT_TSC },
	{ X86_FEAT_LAHF_LM, X86_FEAT_LM }, { X86_FEAT_STIBP, X86_FEAT_SPEC_CTRL },
	{ X86_FEAT_BHI_CTRL, X86_FEAT_SPEC_CTRL },
};

const struct x86_cpuid_model_info *x86_cpuid_models(void)
{
	return model_info;
}

/* Does the host's kernel keep the upper halves of vector registers? */
static bool host_saves_ymm(void)
{
	uint32_t a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT(27)))
		return false;
	__asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (a & 6) == 6;
}

static bool needs_ymm(enum x86_feature f)
{
	return f == X86_FEAT_AVX || f == X86_FEAT_AVX2 || f == X86_FEAT_FMA || f == X86_FEAT_F16C;
}

bool cpuid_host_has(enum x86_feature f)
{
	const struct cpuid_feature *t = &cpuid_features[f];
	uint32_t r[4];

	if (!__get_cpuid_count(t->leaf, t->sub, &r[0], &r[1], &r[2], &r[3]))
		return false;
	if (!(r[t->reg] & BIT(t->bit)))
		return false;
	return !needs_ymm(f) || host_saves_ymm();
}

static bool available(enum x86_feature f)
{
	return !cpuid_features[f].host || cpuid_host_has(f);
}

static void set_vendor(struct x86_cpuid *m, const char *vendor)
{
	memcpy(m->vendor, vendor, 12);
	m->vendor[12] = 0;
	m->amd = !strcmp(m->vendor, "AuthenticAMD") || !strcmp(m->vendor, "HygonGenuine");
}

static void host_identity(struct x86_cpuid *m)
{
	uint32_t r[4], sig;
	char vendor[13] = { 0 };

	__cpuid(0, r[0], r[1], r[2], r[3]);
	memcpy(vendor, &r[1], 4);
	memcpy(vendor + 4, &r[3], 4);
	memcpy(vendor + 8, &r[2], 4);
	set_vendor(m, vendor);
	__cpuid(1, sig, r[1], r[2], r[3]);
	m->family = (uint16_t)bits_get(sig, 11, 8);
	if (m->family == 15)
		m->family += (uint16_t)bits_get(sig, 27, 20);
	m->model = (uint8_t)(bits_get(sig, 7, 4) | bits_get(sig, 19, 16) << 4);
	m->stepping = (uint8_t)bits_get(sig, 3, 0);
}

static void host_brand(struct x86_cpuid *m)
{
	uint32_t r[12];

	for (unsigned i = 0; i < 3; i++)
		if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2],
				 &r[4 * i + 3]))
			return;
	memcpy(m->brand, r, 48);
	m->brand[48] = 0;
}

/* A processor that had about these features: guests choose work-arounds by it. */
static void model_identity(struct x86_cpuid *m, unsigned level)
{
	if (m->amd) {
		m->family = 0x19; /* Zen 3 */
		m->model = 1;
		m->stepping = 1;
		return;
	}
	m->family = 6;
	m->model = level < 3 ? 26 : 60; /* Nehalem, Haswell */
	m->stepping = 3;
}

static bool amd_only(enum x86_feature f)
{
	return f == X86_FEAT_BTC_NO || cpuid_features[f].leaf == 0x80000021;
}

static int model_init(struct x86_cpuid *m, const char *name, struct err **e)
{
	unsigned i = 0;

	while (model_info[i].name && strcmp(model_info[i].name, name))
		i++;
	if (!model_info[i].name)
		return err_set(e, EINVAL, "unknown CPU model '%s'", name);
	host_identity(m);
	if (model_level[i] < 9)
		model_identity(m, model_level[i]);
	strncpy(m->brand, "doppel virtual CPU ", sizeof(m->brand) - 1);
	strncat(m->brand, name, sizeof(m->brand) - 1 - strlen(m->brand));
	if (!strcmp(name, "host"))
		host_brand(m);
	m->phys_bits = 40;
	m->kvm = true;
	for (unsigned f = 0; f < X86_FEAT_COUNT; f++)
		m->has[f] = cpuid_features[f].level <= model_level[i] && available(f);
	return 0;
}

static int find_feature(const char *name)
{
	for (unsigned f = 0; f < X86_FEAT_COUNT; f++)
		if (!strcmp(cpuid_features[f].name, name))
			return (int)f;
	for (unsigned i = 0; i < ARRAY_SIZE(aliases); i++)
		if (!strcmp(aliases[i].name, name))
			return (int)aliases[i].f;
	return -1;
}

static int parse_bool(const char *what, const char *val, bool *out, struct err **e)
{
	if (!strcmp(val, "on") || !strcmp(val, "yes") || !strcmp(val, "true"))
		*out = true;
	else if (!strcmp(val, "off") || !strcmp(val, "no") || !strcmp(val, "false"))
		*out = false;
	else
		return err_set(e, EINVAL, "CPU property '%s' takes on or off, not '%s'", what, val);
	return 0;
}

static int parse_num(const char *what, const char *val, unsigned min, unsigned max, unsigned *out,
		     struct err **e)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(val, &end, 0);
	if (!isdigit((unsigned char)*val) || *end || errno || v < min || v > max)
		return err_set(e, EINVAL, "CPU property '%s' takes a number from %u to %u, not '%s'",
			       what, min, max, val);
	*out = (unsigned)v;
	return 0;
}

static int set_text(struct x86_cpuid *m, const char *key, const char *val, struct err **e)
{
	if (!strcmp(key, "vendor")) {
		if (strlen(val) != 12)
			return err_set(e, EINVAL, "CPU vendor '%s' is not 12 characters long", val);
		set_vendor(m, val);
		return 0;
	}
	if (strlen(val) > 48)
		return err_set(e, EINVAL, "CPU model-id is longer than 48 characters");
	memset(m->brand, 0, sizeof(m->brand));
	memcpy(m->brand, val, strlen(val));
	return 0;
}

static int set_number(struct x86_cpuid *m, const char *key, const char *val, struct err **e)
{
	unsigned v;
	int r;

	if (!strcmp(key, "family")) {
		r = parse_num(key, val, 0, 0xff + 0xf, &v, e);
		if (!r)
			m->family = (uint16_t)v;
	} else if (!strcmp(key, "model")) {
		r = parse_num(key, val, 0, 0xff, &v, e);
		if (!r)
			m->model = (uint8_t)v;
	} else if (!strcmp(key, "stepping")) {
		r = parse_num(key, val, 0, 0xf, &v, e);
		if (!r)
			m->stepping = (uint8_t)v;
	} else {
		r = parse_num(key, val, 36, 52, &v, e);
		if (!r)
			m->phys_bits = (uint8_t)v;
	}
	return r;
}

/* Properties that are no features.  1: not one of them. */
static int set_property(struct x86_cpuid *m, const char *key, const char *val, struct err **e)
{
	static const char *const text[] = { "vendor", "model-id" };
	static const char *const number[] = { "family", "model", "stepping", "phys-bits" };
	/* Always so here: a feature is there or asking for it is an error, and all can migrate. */
	static const char *const fixed[] = { "check", "enforce", "migratable" };
	bool on;

	for (unsigned i = 0; i < ARRAY_SIZE(text); i++)
		if (!strcmp(key, text[i]))
			return set_text(m, key, val, e);
	for (unsigned i = 0; i < ARRAY_SIZE(number); i++)
		if (!strcmp(key, number[i]))
			return set_number(m, key, val, e);
	for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
		if (!strcmp(key, fixed[i]))
			return parse_bool(key, val, &on, e);
	if (!strcmp(key, "kvm"))
		return parse_bool(key, val, &m->kvm, e);
	return 1;
}

/* Virtual machines within the guest: tools ask for that where the host could do it, and can do without. */
static bool never_there(const char *name)
{
	return !strcmp(name, "vmx") || !strcmp(name, "svm");
}

bool x86_cpuid_asks_nested(const char *spec)
{
	return strstr(spec, "+vmx") || strstr(spec, "+svm") || strstr(spec, "vmx=on") ||
	       strstr(spec, "svm=on");
}

static int set_feature(struct x86_cpuid *m, bool forced[], const char *name, bool on,
		       struct err **e)
{
	int f = find_feature(name);

	if (never_there(name))
		return 0;
	if (f < 0)
		return err_set(e, EINVAL, "unknown CPU feature '%s'", name);
	if (on && !available((enum x86_feature)f))
		return err_set(e, ENOTSUP, "this host's processor does not have '%s'", name);
	m->has[f] = on;
	forced[f] = on;
	return 0;
}

static int parse_item(struct x86_cpuid *m, bool forced[], char *item, struct err **e)
{
	char *eq = strchr(item, '=');
	const char *val = eq ? eq + 1 : "on"; /* a bare name switches on, as QEMU has it */
	bool on;
	int r;

	if (!*item)
		return err_set(e, EINVAL, "empty CPU property");
	if (eq)
		*eq = 0;
	for (char *p = item; *p; p++)
		if (*p == '_' || *p == '.')
			*p = '-';
	if (!eq && (*item == '+' || *item == '-'))
		return set_feature(m, forced, item + 1, *item == '+', e);
	r = set_property(m, item, val, e);
	if (r <= 0)
		return r;
	if (find_feature(item) < 0 && !never_there(item))
		return err_set(e, EINVAL, "unknown CPU property '%s'", item);
	r = parse_bool(item, val, &on, e);
	return r ? r : set_feature(m, forced, item, on, e);
}

/* Drop what lost something that it needs. */
static int close_features(struct x86_cpuid *m, const bool forced[], struct err **e)
{
	for (bool again = true; again;) {
		again = false;
		for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
			if (!m->has[needs[i].f] || m->has[needs[i].needs])
				continue;
			if (forced[needs[i].f])
				return err_set(e, EINVAL, "CPU feature '%s' needs '%s'",
					       cpuid_features[needs[i].f].name,
					       cpuid_features[needs[i].needs].name);
			m->has[needs[i].f] = false;
			again = true;
		}
	}
	for (unsigned f = 0; f < X86_FEAT_COUNT; f++) {
		if (amd_only(f) && !m->amd)
			m->has[f] = false;
		if (cpuid_features[f].leaf == CPUID_LEAF_KVM + 1 && !m->kvm)
			m->has[f] = false;
	}
	if (!m->has[X86_FEAT_HYPERVISOR])
		m->kvm = false;
	return 0;
}

static int parse_spec(struct x86_cpuid *m, char *spec, struct err **e)
{
	bool forced[X86_FEAT_COUNT] = { false };
	char *item = strsep(&spec, ",");
	int r = model_init(m, item, e);

	while (!r && (item = strsep(&spec, ",")))
		r = parse_item(m, forced, item, e);
	return r ? r : close_features(m, forced, e);
}

int x86_cpuid_create(struct x86_cpuid **out, const char *spec, unsigned n_cpus, uint32_t tsc_khz,
		     struct err **e)
{
	struct x86_cpuid *m = xzalloc(sizeof(*m));
	char *copy = xstrdup(spec);
	int r;

	m->n_cpus = n_cpus;
	m->tsc_khz = tsc_khz;
	r = parse_spec(m, copy, e);
	free(copy);
	if (r) {
		free(m);
		return r;
	}
	*out = m;
	return 0;
}

void x86_cpuid_destroy(struct x86_cpuid *m)
{
	free(m);
}
