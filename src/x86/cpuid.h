/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * CPUID models: what a guest is told it runs on, and so which instructions exist for it. Every
 * model is cut to what the software engines support and, for copied or bounced instructions, what
 * the host has.
 */
#include <stdbool.h>
#include <stdint.h>

struct err;
struct x86_cpuid;
struct x86_cpu;

/* Features as (leaf, subleaf, register, bit); the list is in feature.def:
 * X86_FEATURE(SYM, "name", leaf, subleaf, reg, bit, level, host). */
enum x86_feature {
#define X86_FEATURE(sym, name, leaf, sub, reg, bit, level, host) X86_FEAT_##sym,
#include "x86/feature.def"
#undef X86_FEATURE
	X86_FEAT_COUNT
};

/* x86_cpuid_create - the model named by a -cpu argument: "max", "qemu64", "kvm64", "host", "x86-64-v2",
 * "x86-64-v3", with ",+feat,-feat,feat=on|off".  n_cpus and the topology (one socket) fill leaves 1, 4, 0xb.
 * 0 or -errno with *e naming the bad part.  Caller owns. */
int x86_cpuid_create(struct x86_cpuid **out, const char *spec, unsigned n_cpus, uint32_t tsc_khz,
		     struct err **e);
void x86_cpuid_destroy(struct x86_cpuid *m);
/* x86_cpuid_asks_nested - does it ask for vmx or svm, which are understood and never there? */
bool x86_cpuid_asks_nested(const char *spec);
/* x86_cpuid_models - NULL-terminated list of model names with one-line descriptions, for -cpu
 * help. */
struct x86_cpuid_model_info { const char *name, *help; };
const struct x86_cpuid_model_info *x86_cpuid_models(void);
bool x86_cpuid_has(const struct x86_cpuid *m, enum x86_feature f);
/* x86_cpuid_query - the CPUID instruction as this vCPU sees it now (OSXSAVE, APIC ID, XSAVE size
 * follow its state). out: eax, ebx, ecx, edx. */
void x86_cpuid_query(const struct x86_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* x86_cpuid_amd - is the vendor AMD (or Hygon)?  Else Intel's rules hold. */
bool x86_cpuid_amd(const struct x86_cpuid *m);
/* x86_cpuid_signature - family, model and stepping as CPUID leaf 1 EAX and RDX after reset have
 * them. */
uint32_t x86_cpuid_signature(const struct x86_cpuid *m);
/* x86_cpuid_xcr0 - bits that XCR0 may have; 0 without XSAVE. */
uint64_t x86_cpuid_xcr0(const struct x86_cpuid *m);
/* x86_cpuid_tsc_khz - rate of the guest's TSC. */
uint32_t x86_cpuid_tsc_khz(const struct x86_cpuid *m);
/* x86_cpuid_phys_bits - guest-physical address width (MAXPHYADDR). */
unsigned x86_cpuid_phys_bits(const struct x86_cpuid *m);
