/* SPDX-License-Identifier: Apache-2.0 */
/* Where a sanitizer has its own memcpy: guest state must be saved before any of our code runs. */
#include "base/fpu.h"

bool fpu_lazy(void)
{
	return false;
}
