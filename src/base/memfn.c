/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcpy and its kin for general registers only.
 *
 * Those of the C library use vector registers, which may hold a guest's state (base/fpu.h), and the
 * compiler calls them for plain assignments.  These take their place in the whole program; they
 * are the processor's own string instructions, which are fast for what is longer than a few words.
 */
#include <stdint.h>
#include <string.h>
#include "base/fpu.h"

bool fpu_lazy(void)
{
	return true;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *d = to;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
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
	void *d = to;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
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
