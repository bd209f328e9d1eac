/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a CPUID model is made of. */
#include "x86/cpuid.h"

#define CPUID_LEAF_KVM 0x40000000u

struct cpuid_feature {
	const char *name;
	uint32_t leaf;
	uint8_t sub, reg, bit;
	uint8_t level;
	bool host;
};

extern const struct cpuid_feature cpuid_features[X86_FEAT_COUNT];

struct x86_cpuid {
	bool has[X86_FEAT_COUNT];
	char vendor[13];
	char brand[49];
	bool amd, kvm;
	uint16_t family;
	uint8_t model, stepping;
	uint8_t phys_bits;
	unsigned n_cpus;
	uint32_t tsc_khz;
};

/* cpuid_host_has - does the host's processor have it (with the OS's help where that is needed)? */
bool cpuid_host_has(enum x86_feature f);
