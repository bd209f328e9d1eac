/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest vector and x87 state between struct x86_state and the host's registers (base/fpu.h).
 *
 * XSAVE and XRSTOR move all of it in the standard format that struct x86_xsave is.  Upper halves
 * that are all zero are restored as initial, or every SSE instruction would pay for merging with
 * them. x87 instructions of translated code leave host addresses in FIP and FDP; they become the
 * guest's here, before anybody can look: FIP by the map of the block, FDP from the frame.
 */
#include <string.h>
#include "engine/dbt/dbt_int.h"
#include "x86/bounce.h"

#define MXCSR_HOST 0x1f80u
#define ALL (XCR0_X87 | XCR0_SSE | XCR0_AVX)

/* Is it where translated code has found an operand: in RAM, or in a window? */
static bool is_operand(const struct dbt_cpu *v, uint64_t host)
{
	const struct mem *m = v->in.cpu.vm->mem;

	return host - (uint64_t)mem_ram_base(m) < mem_ram_size(m) ||
	       host - (uint64_t)v->pool.map < v->pool.map_size;
}

static void guest_pointers(struct dbt_cpu *v, struct x86_xsave *x)
{
	unsigned insn;
	struct tb *b;

	/* A guest may have put there what is an address of ours by chance, or to find out. */
	if (x->fip == v->fip_loaded)
		return;
	b = cache_at(v, (const uint8_t *)x->fip, &insn);
	if (!b)
		return; /* no x87 instruction was executed here */
	x->fip = v->f.x87_base + insn;
	if (x->fdp == v->fdp_loaded || !is_operand(v, x->fdp))
		return;
	x->fdp = v->f.fdp;
	/* A memory operand was encoded with other registers. */
	if ((x->fop & 0xc0) != 0xc0)
		x->fop = (uint16_t)v->f.fop;
}

static void save(struct fpu_guest *g)
{
	struct dbt_cpu *v = container_of(g, struct dbt_cpu, fpu);
	struct x86_xsave *x = &v->in.cpu.s.xsave;
	uint32_t mxcsr = MXCSR_HOST;

	/* The header of what XSAVE finds in memory takes no part. */
	__asm__ volatile("xsave64 %0" : "+m"(*x) : "a"(ALL), "d"(0));
	if (x->xstate_bv & XCR0_X87) {
		__asm__ volatile("fninit");
		guest_pointers(v, x);
	}
	__asm__ volatile("vzeroupper\n\tldmxcsr %0" : : "m"(mxcsr));
	fpu_live = NULL;
	/* XSAVE stores MXCSR even if the vector registers are initial. */
	mxcsr = x->mxcsr;
	bounce_xsave_fill(x);
	x->mxcsr = mxcsr;
}

static bool upper_zero(const struct x86_xsave *x)
{
	const uint64_t *p = (const uint64_t *)x->ymmh;
	uint64_t any = 0;

	for (unsigned n = 0; n < sizeof(x->ymmh) / 8; n++)
		any |= p[n];
	return !any;
}

uint64_t dbt_fpu_parts(const struct x86_xsave *x)
{
	return upper_zero(x) ? XCR0_X87 | XCR0_SSE : ALL;
}

void dbt_fpu_load(struct dbt_cpu *v)
{
	struct x86_xsave *x = &v->in.cpu.s.xsave;

	if (fpu_live == &v->fpu)
		return;
	x->xstate_bv = dbt_fpu_parts(x);
	__asm__ volatile("xrstor64 %0" : : "m"(*x), "a"(ALL), "d"(0));
	x->xstate_bv = ALL;
	v->fip_loaded = x->fip;
	v->fdp_loaded = x->fdp;
	fpu_live = &v->fpu;
}

void dbt_fpu_init(struct dbt_cpu *v)
{
	v->fpu.save = save;
}
