/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Growing text. */
#include <stdbool.h>
#include <stddef.h>

struct text {
	char *s; /* with a NUL after it, or NULL while empty */
	size_t len, cap;
};

void text_put(struct text *t, const void *data, size_t len);
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* text_drop - forget the first len bytes. */
void text_drop(struct text *t, size_t len);
void text_free(struct text *t);
