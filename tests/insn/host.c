/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about the host whose headers do not go with ours (elf.h has names of page-fault bits). */
#include <stdbool.h>
#include <sys/auxv.h>
#include "host.h"

#define HWCAP2_FSGSBASE_BIT 2

bool host_has_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
}
