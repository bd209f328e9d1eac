/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The registers that a gdb sees: their numbers, their bytes, their description. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "x86/state.h"

struct rsp_text;

#define GDBREG_MAX_BYTES 16

/* Registers are numbered from 0; gdbreg_size is 0 for a number past the last. */
unsigned gdbreg_count(void);
unsigned gdbreg_size(unsigned n);
/* gdbreg_get - gdbreg_size(n) little-endian bytes. */
void gdbreg_get(const struct x86_state *s, unsigned n, uint8_t *out);
/* gdbreg_set - change s; what no processor could hold is made valid, and registers that only the
 * guest can change (paging and segmentation follow them) stay: then false. */
bool gdbreg_set(struct x86_state *s, unsigned n, const uint8_t *in);
/* gdbreg_xml - the target description. */
void gdbreg_xml(struct rsp_text *out);
