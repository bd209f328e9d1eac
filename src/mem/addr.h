/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Address types that do not mix: guest-physical, guest-virtual (linear). */
#include <stdint.h>
#include "base/base.h"

typedef struct {
	uint64_t v;
} gpa;

typedef struct {
	uint64_t v;
} gva;

#define GPA(x) ((gpa){ (uint64_t)(x) })
#define GVA(x) ((gva){ (uint64_t)(x) })
#define PAGE_SHIFT 12
#define PAGE_SIZE UINT64_C(4096)
#define PAGE_OFFSET(a) ((a) & (PAGE_SIZE - 1))
