/* SPDX-License-Identifier: Apache-2.0 */
/* Copying between lists of buffers and memory. */
#include <string.h>

#include "dev/virtio/virtio.h"

/* iov_copy - one direction or the other: exactly one of from, to is not NULL. */
static size_t iov_copy(const struct iovec *iov, unsigned n, size_t off, const uint8_t *from,
		       uint8_t *to, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t k;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		k = min_u64(iov[i].iov_len - off, len - done);
		if (from)
			memcpy((uint8_t *)iov[i].iov_base + off, from + done, k);
		else
			memcpy(to + done, (const uint8_t *)iov[i].iov_base + off, k);
		done += k;
		off = 0;
	}
	return done;
}

size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len)
{
	return len ? iov_copy(iov, n, off, NULL, buf, len) : 0;
}

size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len)
{
	return len ? iov_copy(iov, n, off, buf, NULL, len) : 0;
}
