/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about the host.  Apart, since elf.h and cpuid.h have names that ours clash with. */
#include "host.h"
#include <cpuid.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#define HWCAP2_FSGSBASE_BIT 2

bool host_has_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
}

bool host_is_intel(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx;
}

bool host_images_match(void)
{
	struct {
		_Alignas(16) uint8_t bytes[512];
	} img = {{0}};
	unsigned a, b = 0, c, d;
	uint32_t mask;

	__asm__ volatile("fxsave64 %0" : "+m"(img));
	memcpy(&mask, img.bytes + 28, 4);
	return mask == 0xffff && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 13));
}
