/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Writing host instructions.  A code buffer is written at `p` and runs at p + rx.  Who writes a
 * unit (an instruction, a stub) of at most CODE_ROOM bytes asks before it whether that is left
 * (code_room); nothing else is checked.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/base.h"
#include "x86/state.h"

struct code {
	uint8_t *p, *end;
	ptrdiff_t rx; /* from where it is written to where it runs */
	bool full; /* there was no room */
};

#define CODE_ROOM 2048

/* code_room - false, and full set, when another unit does not fit. */
static inline bool code_room(struct code *a)
{
	if (unlikely(a->end - a->p < CODE_ROOM))
		a->full = true;
	return !a->full;
}

/* A memory operand [base + index << scale + disp]; NO_REG where there is none. */
#define NO_REG 0xff
struct emem {
	uint8_t base, index, scale;
	int32_t disp;
};

static inline struct emem em_base(unsigned base, int32_t disp)
{
	return (struct emem){(uint8_t)base, NO_REG, 0, disp};
}

static inline struct emem em_sum(unsigned base, unsigned index)
{
	return (struct emem){(uint8_t)base, (uint8_t)index, 0, 0};
}

static inline struct emem em_index(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
	return (struct emem){(uint8_t)base, (uint8_t)index, (uint8_t)scale, disp};
}

static inline void e8(struct code *a, unsigned v)
{
	*a->p++ = (uint8_t)v;
}

static inline void e32(struct code *a, uint32_t v)
{
	put_le32(a->p, v);
	a->p += 4;
}

static inline void e64(struct code *a, uint64_t v)
{
	put_le64(a->p, v);
	a->p += 8;
}

/* e_modrm_mem/e_modrm_reg - ModRM with everything that follows it; REX bits are the caller's. */
void e_modrm_mem(struct code *a, unsigned reg, const struct emem *m);
static inline void e_modrm_reg(struct code *a, unsigned reg, unsigned rm)
{
	e8(a, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* REX bits R, X, B for those operands. */
static inline unsigned e_rxb_mem(unsigned reg, const struct emem *m)
{
	return (reg >> 3 & 1) << 2 | (m->index == NO_REG ? 0 : m->index >> 3 & 1) << 1 |
	       (m->base == NO_REG ? 0 : m->base >> 3 & 1);
}

/* e_rm/e_rr - one-byte opcode with a memory or register operand; w: 64 bits. */
void e_rm(struct code *a, unsigned w, unsigned op, unsigned reg, struct emem m);
void e_rr(struct code *a, unsigned w, unsigned op, unsigned reg, unsigned rm);
/* The same with two-byte opcodes 0F op. */
void e_0f_rm(struct code *a, unsigned w, unsigned op, unsigned reg, struct emem m);
/* VEX-coded general instructions: map 2 (0F38) or 3, pp 0..3 (none 66 F3 F2), W1. */
void e_vex_rm(struct code *a, unsigned map, unsigned pp, unsigned op, unsigned reg, unsigned vvvv,
	      struct emem m);
void e_vex_rr(struct code *a, unsigned map, unsigned pp, unsigned op, unsigned reg, unsigned vvvv,
	      unsigned rm);

/* Named ones, 64 bits unless the name says otherwise.  None of these changes flags. */
static inline void e_load(struct code *a, unsigned reg, struct emem m)
{
	e_rm(a, 1, 0x8b, reg, m);
}

static inline void e_load32(struct code *a, unsigned reg, struct emem m)
{
	e_rm(a, 0, 0x8b, reg, m);
}

static inline void e_store(struct code *a, struct emem m, unsigned reg)
{
	e_rm(a, 1, 0x89, reg, m);
}

static inline void e_store32(struct code *a, struct emem m, unsigned reg)
{
	e_rm(a, 0, 0x89, reg, m);
}

static inline void e_mov(struct code *a, unsigned dst, unsigned src)
{
	if (dst != src)
		e_rr(a, 1, 0x8b, dst, src);
}

static inline void e_mov32(struct code *a, unsigned dst, unsigned src)
{
	e_rr(a, 0, 0x8b, dst, src);
}

/* w: 64-bit result; else the low 32 bits of the sum, zero-extended. */
static inline void e_lea(struct code *a, unsigned w, unsigned reg, struct emem m)
{
	e_rm(a, w, 0x8d, reg, m);
}

/* pext reg, src, [mask] */
static inline void e_pext(struct code *a, unsigned reg, unsigned src, struct emem mask)
{
	e_vex_rm(a, 2, 2, 0xf5, reg, src, mask);
}

/* rorx reg, src, by */
static inline void e_rorx(struct code *a, unsigned reg, unsigned src, unsigned by)
{
	e_vex_rr(a, 3, 3, 0xf0, reg, 0, src);
	e8(a, by);
}

/* sarx reg, src, count */
static inline void e_sarx(struct code *a, unsigned reg, unsigned src, unsigned count)
{
	e_vex_rr(a, 2, 2, 0xf7, reg, count, src);
}

void e_mov_imm(struct code *a, unsigned reg, uint64_t v);
void e_store32_imm(struct code *a, struct emem m, uint32_t v);

/* These do change flags. */
void e_cmp32_mem_imm(struct code *a, struct emem m, uint32_t v);
static inline void e_test(struct code *a, unsigned reg)
{
	e_rr(a, 1, 0x85, reg, reg);
}

/* Jumps: e_jmp/e_jcc leave a rel32 field to be filled in by e_patch and return where it is. */
#define CC_Z 4
#define CC_NZ 5
uint8_t *e_jmp(struct code *a);
uint8_t *e_call(struct code *a);
uint8_t *e_jcc(struct code *a, unsigned cc);
uint8_t *e_jrcxz(struct code *a); /* rel8: e_patch8 */
uint8_t *e_jmp8(struct code *a);
void e_jmp_to(struct code *a, const uint8_t *rx_target);
void e_call_to(struct code *a, const uint8_t *rx_target);
void e_jmp_mem(struct code *a, struct emem m);
void e_call_mem(struct code *a, struct emem m);
void e_push(struct code *a, unsigned reg);
void e_pop(struct code *a, unsigned reg);
void e_ret(struct code *a);
void e_nops(struct code *a, size_t bytes);
void e_jmp_reg(struct code *a, unsigned reg);
uint8_t *e_lea_code(struct code *a, unsigned reg); /* of a place in code: e_patch */
void e_call_reg(struct code *a, unsigned reg);

/* e_here - where the next byte will run. */
static inline const uint8_t *e_here(const struct code *a)
{
	return a->p + a->rx;
}

/* e_patch - make the rel32 field at `at` (in the writable mapping) lead to target. */
static inline void e_patch(const struct code *a, uint8_t *at, const uint8_t *rx_target)
{
	put_le32(at, (uint32_t)(rx_target - (at + 4 + a->rx)));
}

static inline void e_patch8(struct code *a, uint8_t *at)
{
	*at = (uint8_t)(a->p - (at + 1));
}
