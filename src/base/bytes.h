/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A growing byte string, for tables that are built piece by piece.  All numbers little-endian. */
#include <stddef.h>
#include <stdint.h>

struct bytes {
	uint8_t *p;
	size_t len, cap;
};

void bytes_put(struct bytes *b, const void *p, size_t n);
void bytes_zero(struct bytes *b, size_t n);
void bytes_u8(struct bytes *b, uint8_t v);
void bytes_u16(struct bytes *b, uint16_t v);
void bytes_u32(struct bytes *b, uint32_t v);
void bytes_u64(struct bytes *b, uint64_t v);
/* bytes_str - the characters of s without its end; bytes_strz - with it. */
void bytes_str(struct bytes *b, const char *s);
void bytes_strz(struct bytes *b, const char *s);
/* bytes_pad_str - s cut or padded with `fill` to exactly n bytes. */
void bytes_pad_str(struct bytes *b, const char *s, size_t n, char fill);
/* bytes_insert - n bytes before offset at (at <= len). */
void bytes_insert(struct bytes *b, size_t at, const void *p, size_t n);
/* bytes_align - zeros up to a multiple of a power of two. */
void bytes_align(struct bytes *b, size_t a);
void bytes_free(struct bytes *b);

/* bytes_checksum - the byte that makes p[0..n) and itself sum to 0. */
uint8_t bytes_checksum(const uint8_t *p, size_t n);
