/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
/* host_has_fsgsbase - does the kernel let user code use RDFSBASE and its like? */
bool host_has_fsgsbase(void);
bool host_is_intel(void);
/* host_images_match - do FXSAVE images have a guest's MXCSR_MASK, and no FCS and FDS? */
bool host_images_match(void);
