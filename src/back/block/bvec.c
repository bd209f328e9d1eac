/* SPDX-License-Identifier: Apache-2.0 */
#include "back/block/bvec.h"
#include <string.h>
#include "base/base.h"

struct bvec bvec_skip(struct bvec b, size_t n)
{
	b.at += n;
	while (b.n && b.at >= b.iov->iov_len) {
		b.at -= b.iov->iov_len;
		b.iov++;
		b.n--;
	}
	return b;
}

unsigned bvec_window(struct bvec b, size_t len, struct iovec *out, unsigned max, size_t *covered)
{
	unsigned n = 0;

	*covered = 0;
	for (b = bvec_skip(b, 0); len && b.n && n < max; b.iov++, b.n--, b.at = 0) {
		size_t part = min_u64(b.iov->iov_len - b.at, len);

		if (!part)
			continue;
		out[n++] = (struct iovec){(char *)b.iov->iov_base + b.at, part};
		*covered += part;
		len -= part;
	}
	return n;
}

size_t bvec_len(struct bvec b, size_t most)
{
	size_t len = 0;

	for (b = bvec_skip(b, 0); b.n && len < most; b.iov++, b.n--, b.at = 0)
		len += min_u64(b.iov->iov_len - b.at, most - len);
	return len;
}

void bvec_put(struct bvec b, const void *from, size_t len)
{
	const char *p = from;

	for (b = bvec_skip(b, 0); len && b.n; b.iov++, b.n--, b.at = 0) {
		size_t part = min_u64(b.iov->iov_len - b.at, len);

		memcpy((char *)b.iov->iov_base + b.at, p, part);
		p += part;
		len -= part;
	}
}

void bvec_get(struct bvec b, void *to, size_t len)
{
	char *p = to;

	for (b = bvec_skip(b, 0); len && b.n; b.iov++, b.n--, b.at = 0) {
		size_t part = min_u64(b.iov->iov_len - b.at, len);

		memcpy(p, (char *)b.iov->iov_base + b.at, part);
		p += part;
		len -= part;
	}
}

void bvec_zero(struct bvec b, size_t len)
{
	for (b = bvec_skip(b, 0); len && b.n; b.iov++, b.n--, b.at = 0) {
		size_t part = min_u64(b.iov->iov_len - b.at, len);

		memset((char *)b.iov->iov_base + b.at, 0, part);
		len -= part;
	}
}

bool mem_is_zero(const void *p, size_t len)
{
	const char *c = p;

	/* The first bytes by hand, the rest against itself. */
	for (size_t i = 0; i < 16; i++) {
		if (i == len)
			return true;
		if (c[i])
			return false;
	}
	return !memcmp(c, c + 16, len - 16);
}

bool bvec_is_zero(struct bvec b, size_t len)
{
	for (b = bvec_skip(b, 0); len && b.n; b.iov++, b.n--, b.at = 0) {
		size_t part = min_u64(b.iov->iov_len - b.at, len);

		if (!mem_is_zero((char *)b.iov->iov_base + b.at, part))
			return false;
		len -= part;
	}
	return true;
}

bool bvec_aligned(struct bvec b, size_t len, size_t a)
{
	for (b = bvec_skip(b, 0); len && b.n; b.iov++, b.n--, b.at = 0) {
		size_t part = min_u64(b.iov->iov_len - b.at, len);

		if ((((uintptr_t)b.iov->iov_base + b.at) | part) & (a - 1))
			return false;
		len -= part;
	}
	return true;
}
