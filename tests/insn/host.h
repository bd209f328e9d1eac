/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
/* host_has_fsgsbase - does the kernel let user code use RDFSBASE and its like? */
bool host_has_fsgsbase(void);
