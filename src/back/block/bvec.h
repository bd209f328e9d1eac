/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A place in a scatter list: what begins `at` bytes into it.  Passed by value; the list is not
 * copied. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct bvec {
	const struct iovec *iov;
	unsigned n;
	size_t at;
};

/* bvec_of - the whole of one buffer; v is the caller's room for the list. */
static inline struct bvec bvec_of(struct iovec *v, const void *p, size_t len)
{
	*v = (struct iovec){(void *)p, len};
	return (struct bvec){v, 1, 0};
}

/* bvec_skip - what is n bytes further on (n is within the list). */
struct bvec bvec_skip(struct bvec b, size_t n);
/* bvec_window - up to max entries of the first len bytes into out; *covered is what they hold. */
unsigned bvec_window(struct bvec b, size_t len, struct iovec *out, unsigned max, size_t *covered);
/* bvec_len - how much there is, at most `most`. */
size_t bvec_len(struct bvec b, size_t most);
void bvec_put(struct bvec b, const void *from, size_t len); /* into the list */
void bvec_get(struct bvec b, void *to, size_t len);
void bvec_zero(struct bvec b, size_t len);
bool bvec_is_zero(struct bvec b, size_t len);
/* bvec_aligned - are addresses and lengths of the first len bytes all multiples of a? */
bool bvec_aligned(struct bvec b, size_t len, size_t a);
/* mem_is_zero - all of [p, p+len)? */
bool mem_is_zero(const void *p, size_t len);
