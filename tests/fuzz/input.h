/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Input for a target of libfuzzer/, as a generator makes it; what does not fit is left out. */
#include <string.h>
#include "base/base.h"

struct input {
	uint8_t b[8192];
	size_t len;
};

static inline void put_bytes(struct input *in, const void *p, size_t n)
{
	n = min_u64(n, sizeof(in->b) - in->len);
	memcpy(in->b + in->len, p, n);
	in->len += n;
}

/* put - the low n bytes of a number, at most 8. */
static inline void put(struct input *in, uint64_t v, size_t n)
{
	put_bytes(in, &v, n);
}
