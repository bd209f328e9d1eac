/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include <stdlib.h>
#include <string.h>
#include "base/base.h"

static uint8_t *bytes_room(struct bytes *b, size_t n)
{
	if (!b->p || b->cap - b->len < n) {
		b->cap = b->cap * 2 + n + 64;
		b->p = xrealloc(b->p, b->cap);
	}
	b->len += n;
	return b->p + b->len - n;
}

void bytes_put(struct bytes *b, const void *p, size_t n)
{
	uint8_t *to = bytes_room(b, n);

	if (n)
		memcpy(to, p, n);
}

void bytes_zero(struct bytes *b, size_t n)
{
	uint8_t *to = bytes_room(b, n);

	if (n)
		memset(to, 0, n);
}

void bytes_u8(struct bytes *b, uint8_t v)
{
	*bytes_room(b, 1) = v;
}

void bytes_u16(struct bytes *b, uint16_t v)
{
	put_le16(bytes_room(b, 2), v);
}

void bytes_u32(struct bytes *b, uint32_t v)
{
	put_le32(bytes_room(b, 4), v);
}

void bytes_u64(struct bytes *b, uint64_t v)
{
	put_le64(bytes_room(b, 8), v);
}

void bytes_str(struct bytes *b, const char *s)
{
	bytes_put(b, s, strlen(s));
}

void bytes_strz(struct bytes *b, const char *s)
{
	bytes_put(b, s, strlen(s) + 1);
}

void bytes_pad_str(struct bytes *b, const char *s, size_t n, char fill)
{
	size_t len = strnlen(s, n);
	uint8_t *to = bytes_room(b, n);

	memcpy(to, s, len);
	memset(to + len, fill, n - len);
}

void bytes_insert(struct bytes *b, size_t at, const void *p, size_t n)
{
	bug_on(at > b->len);
	bytes_room(b, n);
	memmove(b->p + at + n, b->p + at, b->len - n - at);
	memcpy(b->p + at, p, n);
}

void bytes_align(struct bytes *b, size_t a)
{
	bytes_zero(b, align_up(b->len, a) - b->len);
}

void bytes_free(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){ 0 };
}

uint8_t bytes_checksum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return (uint8_t)-sum;
}
