/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot be compared with the host, and why; and which outputs are open. */
#include <string.h>
#include "insn.h"

struct skip_entry {
	uint16_t mnemonic;
	uint8_t kind;
	const char *why;
};

static const struct skip_entry skip_table[] = {
	{ ZYDIS_MNEMONIC_RDTSC, SKIP_SHAPE, "time" },
	{ ZYDIS_MNEMONIC_RDTSCP, SKIP_SHAPE, "time, and the host's CPU number" },
	{ ZYDIS_MNEMONIC_RDPID, SKIP_SHAPE, "the host's CPU number" },
	{ ZYDIS_MNEMONIC_RDRAND, SKIP_SHAPE, "random" },
	{ ZYDIS_MNEMONIC_RDSEED, SKIP_SHAPE, "random" },
	{ ZYDIS_MNEMONIC_CPUID, SKIP_SHAPE, "the guest's CPUID is not the host's" },
	{ ZYDIS_MNEMONIC_XGETBV, SKIP_SHAPE, "the host's XCR0 has more components" },
	{ ZYDIS_MNEMONIC_RDPMC, SKIP_ALL, "CR4.PCE is the host kernel's choice" },
	{ ZYDIS_MNEMONIC_SYSCALL, SKIP_ALL, "a system call of the host" },
	{ ZYDIS_MNEMONIC_SYSENTER, SKIP_ALL, "a system call of the host" },
	{ ZYDIS_MNEMONIC_SGDT, SKIP_ALL, "the host kernel emulates it under UMIP" },
	{ ZYDIS_MNEMONIC_SIDT, SKIP_ALL, "the host kernel emulates it under UMIP" },
	{ ZYDIS_MNEMONIC_SMSW, SKIP_ALL, "the host kernel emulates it under UMIP" },
	{ ZYDIS_MNEMONIC_SLDT, SKIP_ALL, "the host kernel emulates it under UMIP" },
	{ ZYDIS_MNEMONIC_STR, SKIP_ALL, "the host kernel emulates it under UMIP" },
	{ ZYDIS_MNEMONIC_VMCALL, SKIP_ALL, "a hypercall: the host may be a guest itself" },
	{ ZYDIS_MNEMONIC_VMMCALL, SKIP_ALL, "a hypercall: the host may be a guest itself" },
	{ ZYDIS_MNEMONIC_LAR, SKIP_ALL, "descriptors of the host kernel" },
	{ ZYDIS_MNEMONIC_LSL, SKIP_ALL, "descriptors of the host kernel" },
	{ ZYDIS_MNEMONIC_MONITOR, SKIP_ALL, "#UD or #GP by the host's MSRs" },
	{ ZYDIS_MNEMONIC_MWAIT, SKIP_ALL, "#UD or #GP by the host's MSRs" },
};

enum skip_kind skip_form(const struct form *f, const char **why)
{
	for (size_t i = 0; i < ARRAY_SIZE(skip_table); i++) {
		if (skip_table[i].mnemonic == f->mnemonic) {
			*why = skip_table[i].why;
			return (enum skip_kind)skip_table[i].kind;
		}
	}
	*why = NULL;
	return SKIP_NO;
}

void skip_slack(const struct icase *c, const struct iresult *native, struct slack *s)
{
	memset(s, 0, sizeof(*s));
	s->flags = RFLAGS_RF;
}
