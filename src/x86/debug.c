/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debug exceptions (SDM 3A 17.2, 17.3): instruction breakpoints before an instruction; data and I/O
 * breakpoints and the single-step trap after it.
 *
 * What an instruction's accesses hit is collected in c->dr6_hits (watch.c, and x86_io_break here)
 * until the instruction is complete.  After MOV SS and POP SS nothing is reported: the single-step
 * trap is lost, data hits wait for the end of the next instruction (17.3.1.1, 6.8.3).
 *
 * RF: x86_before_insn takes it away as the instruction begins, since a complete instruction leaves
 * it clear and a faulting one pushes it set in any case.  IRET drops it when no breakpoint is
 * enabled (iret.c).
 */
#include "x86/debug.h"
#include "x86/sys_int.h"

static void deliver_db(struct x86_cpu *c, uint64_t dr6)
{
	struct event ev = {.rip = c->s.rip, .vector = X86_DB, .kind = EVENT_TRAP};

	c->s.dr6 = (c->s.dr6 & ~UINT64_C(0xf)) | dr6;
	c->s.mp_state = X86_MP_RUNNABLE; /* HLT was stepped over */
	event_deliver(c, &ev);
}

bool x86_before_insn(struct x86_cpu *c)
{
	uint64_t lin = c->s.rip, hits = 0;

	if (!sys_code64(c))
		lin = (c->s.seg[X86_CS].base + lin) & 0xffffffff;
	if (c->s.rflags & RFLAGS_RF) {
		c->s.rflags &= ~RFLAGS_RF;
		return false;
	}
	if (c->s.movss_shadow)
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (DR7_ENABLED(c->s.dr7, n) && DR7_RW(c->s.dr7, n) == DR7_RW_EXEC &&
		    c->s.dr[n] == lin)
			hits |= BIT(n);
	if (!hits)
		return false;
	deliver_db(c, hits);
	return true;
}

bool x86_after_insn(struct x86_cpu *c, bool tf)
{
	uint64_t dr6 = c->dr6_hits;

	if (c->step_follows) {
		c->step_follows = false;
		tf = c->s.rflags & RFLAGS_TF;
	}
	if (c->s.movss_shadow)
		return false;
	c->dr6_hits = 0;
	if (tf)
		dr6 |= DR6_BS;
	if (!dr6)
		return false;
	deliver_db(c, dr6);
	return true;
}

void x86_io_break(struct x86_cpu *c, uint16_t port, unsigned size)
{
	if (!(c->s.cr4 & CR4_DE))
		return;
	for (unsigned n = 0; n < 4; n++) {
		unsigned len = x86_dr_len(c->s.dr7, n);
		uint64_t at = align_down(c->s.dr[n], len);

		if (DR7_ENABLED(c->s.dr7, n) && DR7_RW(c->s.dr7, n) == DR7_RW_IO &&
		    at < (uint64_t)port + size && port < at + len)
			c->dr6_hits |= 1u << n;
	}
}
