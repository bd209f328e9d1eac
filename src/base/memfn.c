/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcpy and its kin for general registers only.
 *
 * Those of the C library use vector registers, which may hold a guest's state (base/fpu.h), and the
 * compiler calls them for plain assignments.  These take their place in the whole program.
 */
#include <stdint.h>
#include <string.h>
#include "base/fpu.h"

bool fpu_lazy(void)
{
	return true;
}

/* Below this many bytes the string instructions' start costs more. */
#define SHORT 192

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	uint8_t *d = to;
	const uint8_t *s = from;

	if (n > SHORT) {
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		return to;
	}
	for (; n >= 8; n -= 8, d += 8, s += 8)
		put_le64(d, get_le64(s));
	while (n--)
		*d++ = *s++;
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	uint8_t *d = to;
	const uint8_t *s = from;

	if ((uintptr_t)d - (uintptr_t)s >= n)
		return memcpy(to, from, n);
	while (n >= 8) {
		n -= 8;
		put_le64(d + n, get_le64(s + n));
	}
	while (n--)
		d[n] = s[n];
	return to;
}

void *memset(void *to, int c, size_t n)
{
	uint64_t v = (uint8_t)c * UINT64_C(0x0101010101010101);
	uint8_t *d = to;

	if (n > SHORT) {
		__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
		return to;
	}
	for (; n >= 8; n -= 8, d += 8)
		put_le64(d, v);
	while (n--)
		*d++ = (uint8_t)c;
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (; n >= 8; n -= 8, p += 8, q += 8)
		if (get_le64(p) != get_le64(q))
			break;
	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}
