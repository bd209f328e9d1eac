/* SPDX-License-Identifier: Apache-2.0 */
/* Reset (SDM 3A 10.1.1 and table 10-1). */
#include "x86/state.h"
#include <string.h>

#define APIC_BASE_RESET (0xfee00000 | BIT(11))
#define APIC_BASE_BSP BIT(8)
#define PAT_RESET UINT64_C(0x0007040600070406)
#define MISC_ENABLE_RESET (BIT(0) | BIT(11) | BIT(12))

static void reset_segments(struct x86_state *s)
{
	for (unsigned i = 0; i < X86_SREG_COUNT; i++)
		s->seg[i] = (struct x86_segment){ .limit = 0xffff, .attr = 0x93 };
	s->seg[X86_CS].sel = 0xf000;
	s->seg[X86_CS].base = 0xffff0000;
	s->seg[X86_CS].attr = 0x9b;
	s->seg[X86_LDTR].attr = 0x82;
	s->seg[X86_TR].attr = 0x8b;
	s->gdtr.limit = s->idtr.limit = 0xffff;
}

static void reset_fpu(struct x86_xsave *x)
{
	x->fcw = 0x40;
	x->ftw = 0xff; /* all registers valid zeros */
	x->mxcsr = 0x1f80;
	x->mxcsr_mask = 0xffff;
	x->xstate_bv = XCR0_X87 | XCR0_SSE;
}

void x86_state_reset(struct x86_state *s, bool bsp, uint32_t signature)
{
	memset(s, 0, sizeof(*s));
	s->rip = 0xfff0;
	s->rflags = 2;
	s->gpr[X86_RDX] = signature;
	reset_segments(s);
	s->cr0 = CR0_CD | CR0_NW | CR0_ET;
	s->xcr0 = XCR0_X87;
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->pat = PAT_RESET;
	s->apic_base = APIC_BASE_RESET | (bsp ? APIC_BASE_BSP : 0);
	s->misc_enable = MISC_ENABLE_RESET;
	s->bios_sign_id = BIT(32);
	s->kvm.poll_control = 1;
	reset_fpu(&s->xsave);
	s->mp_state = bsp ? X86_MP_RUNNABLE : X86_MP_WAIT_SIPI;
}
