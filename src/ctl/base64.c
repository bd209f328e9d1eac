/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/base64.h"
#include <stdlib.h>
#include <string.h>
#include "base/base.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *buf, size_t len)
{
	char *s = xzalloc((len + 2) / 3 * 4 + 1), *p = s;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)buf[i] << 16;

		if (n > 1)
			v |= (uint32_t)buf[i + 1] << 8;
		if (n > 2)
			v |= buf[i + 2];
		for (size_t k = 0; k < 4; k++)
			*p++ = k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
	}
	return s;
}

/* Four characters to 1..3 bytes; 0 when they are wrong. */
static size_t decode_group(const char *s, uint8_t *out)
{
	uint32_t v = 0;
	size_t n = s[3] != '=' ? 3 : s[2] != '=' ? 2 : 1;

	for (size_t i = 0; i < 4; i++) {
		const char *d = i <= n ? strchr(digits, s[i]) : digits;

		if (!d)
			return 0;
		v = v << 6 | (uint32_t)(d - digits);
	}
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(v >> (16 - 8 * i));
	return n == 3 || !(v & (n == 2 ? 0xff : 0xffff)) ? n : 0;
}

uint8_t *base64_decode(const char *s, size_t *len)
{
	size_t n = strlen(s);
	uint8_t *out = xzalloc(n / 4 * 3 + 1);

	*len = 0;
	for (size_t i = 0; i < n; i += 4) {
		size_t got = n - i >= 4 ? decode_group(s + i, out + *len) : 0;

		*len += got;
		if (!got || (got < 3 && i + 4 != n)) {
			free(out);
			return NULL;
		}
	}
	return out;
}
