/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Random guest code: mostly system instructions with plausible operands, some of it noise. */
#include "fuzz.h"

/* code_fill - fill [p, p+len) with instructions; memory operands and jumps prefer places that a
 * guest made by guest.c has. */
void code_fill(struct rnd *r, uint8_t *p, size_t len);
/* code_address - an address of interest: RAM, page ends, tables, device registers, holes. */
uint64_t code_address(struct rnd *r);
/* code_port - a port of interest. */
uint16_t code_port(struct rnd *r);
/* code_msr - an MSR of interest. */
uint32_t code_msr(struct rnd *r);
