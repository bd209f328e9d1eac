/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* RFC 4648 section 4. */
#include <stddef.h>
#include <stdint.h>

/* base64_encode - malloc'ed text.  base64_decode - malloc'ed bytes with their number in *len; NULL
 * when s is not canonical base64 with its padding. */
char *base64_encode(const uint8_t *buf, size_t len);
uint8_t *base64_decode(const char *s, size_t *len);
