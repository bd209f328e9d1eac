/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Bounce execution: run a guest's own unprivileged instruction on the host with its operands
 * placed, so that vector, floating-point and odd integer semantics are bit-exact by construction.
 *
 * One pool per vCPU, used by that vCPU's thread only.  Theory of operation: bounce.c.
 */
#include <stdbool.h>
#include <stdint.h>
#include "x86/cpu.h"
#include "x86/decode.h"

struct err;
struct bounce_pool;

/* What the caller computes of a memory operand before bounce_exec. */
enum bounce_ea {
	BOUNCE_EA_NONE, /* nothing (no memory operand, or VSIB/implicit: computed inside) */
	BOUNCE_EA_LIN, /* lin = x86_lin(c, seg, ea, lin_size, lin_write) and ea */
	BOUNCE_EA_OFF, /* only ea, the offset in the segment cut to the address size; lin is ignored
			*/
};

/* A prepared instruction; valid until bounce_flush. */
struct bounce {
	void (*exec)(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea);
	uint8_t ea; /* enum bounce_ea */
	bool lin_write; /* the operand is written (read-modify-write too) */
	uint16_t lin_size; /* its bytes, 1..512 */
};

enum bounce_status {
	BOUNCE_OK,
	BOUNCE_NO, /* not an instruction for this module: the engine has its own */
	BOUNCE_FULL, /* drop every struct bounce of this pool, bounce_flush(), prepare again */
};

/* bounce_pool_create - 0 or -errno with *e (no executable memory...).  Installs the process's
 * signal handlers on the first call. */
int bounce_pool_create(struct bounce_pool **out, struct err **e);
void bounce_pool_destroy(struct bounce_pool *pool);
/* bounce_flush - forget everything prepared. */
void bounce_flush(struct bounce_pool *pool);

/*
 * bounce_prepare - make *out run the instruction d (x86_decode says X86_DECODE_OK).  Equal
 * instructions share one object.  Takes x87, MMX, SSE to SSE4.2, AVX, AVX2, FMA, F16C, AES, PCLMUL,
 * SHA, BMI1/2, ADX, MOVBE, CRC32, POPCNT, LZCNT, BSF/BSR, SHLD/SHRD, MUL/DIV/IMUL, XADD and CMPXCHG
 * without LOCK, RDRAND/RDSEED, MOVNTI, FXSAVE/FXRSTOR and the XSAVE family, LDMXCSR/STMXCSR, FWAIT,
 * EMMS.
 */
enum bounce_status bounce_prepare(struct bounce_pool *pool, const struct x86_decoded *d,
				  const struct bounce **out);

/*
 * bounce_exec - run it.  Contract of x86/cpu.h: s.rip is this instruction's (the caller advances it
 * after the return), guest exceptions unwind with nothing committed.  Availability (#NM, #UD by
 * CR0, CR4, XCR0), #MF, #XM, #DE and alignment #GP are raised inside; CPUID is the decoder's
 * business.
 */
static inline void bounce_exec(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	fpu_claim();
	b->exec(c, b, lin, ea);
}

/* bounce_xsave_fill - make an XSAVE image complete: components that XSTATE_BV calls initial get
 * their initial bytes, and XSTATE_BV becomes 7.  Everything here relies on it: call it on an image
 * from outside. */
void bounce_xsave_fill(struct x86_xsave *x);
