/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reaches a vCPU from outside, at an instruction boundary (SDM 3A 6.9 gives the order).
 *
 * c->events is written by any thread; its bits are hints that a vCPU's own thread turns into state
 * here, so that struct x86_state holds everything between two runs: an NMI becomes s.nmi_pending,
 * INIT and SIPI are acted upon even when the engine is asked to leave at the same time. X86_EV_INTR
 * is the level of the interrupt controllers and only theirs to clear; X86_EV_EXIT is the engine's.
 *
 * A SIPI counts only for a vCPU that waits for one, yet one that sleeps in HLT does not look at it:
 * the bit stays.  The next INIT drops it (x86_event_init), so both bits at once mean INIT, then
 * SIPI.  They are taken together, lest a pair that comes meanwhile be torn.
 *
 * Shadows: STI's holds off INTR, that of MOV SS and POP SS also NMI and debug traps.  The engine
 * sets them, runs one instruction, and clears them.
 */
#include "x86/cpuid.h"
#include "x86/debug.h"
#include "x86/sys_int.h"

/* What survives INIT (SDM 3A table 10-1): floating-point and vector state, MSRs, caching bits of
 * CR0. */
static void init_keep(struct x86_state *to, const struct x86_state *old)
{
	to->cr0 = (to->cr0 & ~(CR0_CD | CR0_NW)) | (old->cr0 & (CR0_CD | CR0_NW));
	to->xcr0 = old->xcr0;
	to->xss = old->xss;
	to->xsave = old->xsave;
	to->star = old->star;
	to->lstar = old->lstar;
	to->cstar = old->cstar;
	to->fmask = old->fmask;
	to->kernel_gs_base = old->kernel_gs_base;
	to->sysenter_cs = old->sysenter_cs;
	to->sysenter_esp = old->sysenter_esp;
	to->sysenter_eip = old->sysenter_eip;
	to->pat = old->pat;
	to->apic_base = old->apic_base;
	to->misc_enable = old->misc_enable;
	to->tsc_aux = old->tsc_aux;
	to->spec_ctrl = old->spec_ctrl;
	to->tsc_offset = old->tsc_offset;
	to->tsc_adjust = old->tsc_adjust;
	to->feature_control = old->feature_control;
	to->bios_sign_id = old->bios_sign_id;
	to->mtrr_def_type = old->mtrr_def_type;
	memcpy(to->mtrr_fixed, old->mtrr_fixed, sizeof(to->mtrr_fixed));
	memcpy(to->mtrr_var, old->mtrr_var, sizeof(to->mtrr_var));
}

#define APIC_BASE_BSP BIT(8)

static void do_init(struct x86_cpu *c)
{
	struct x86_state old = c->s;
	uint32_t signature = x86_cpuid_signature(c->vm->cpuid);

	LOGF(c->log, RESET, "cpu %u: INIT at %04x:%016llx\n", c->index, old.seg[X86_CS].sel,
	     (unsigned long long)old.rip);
	x86_kvmpv_reset(c);
	x86_state_reset(&c->s, old.apic_base & APIC_BASE_BSP, signature);
	init_keep(&c->s, &old);
	x86_set_rflags(c, 2);
	c->dr6_hits = 0;
	c->step_follows = false;
	x86_event_clear(c, X86_EV_NMI);
	x86_debug_changed(c);
}

static void do_sipi(struct x86_cpu *c)
{
	if (c->s.mp_state != X86_MP_WAIT_SIPI)
		return;
	LOGF(c->log, RESET, "cpu %u: SIPI, vector %02x\n", c->index, c->s.sipi_vector);
	seg_paragraph(c, X86_CS, (uint16_t)(c->s.sipi_vector << 8));
	c->s.rip = 0;
	c->s.mp_state = X86_MP_RUNNABLE;
	x86_update_mode(c);
}

/* Requests of the software: the guest sees nothing of when they are acted upon. */
static void take_inner(struct x86_cpu *c, uint32_t ev)
{
	if (ev & X86_EV_EXCL)
		x86_excl_park(c);
	if (ev & X86_EV_TLB) {
		x86_event_clear(c, X86_EV_TLB);
		x86_tlb_flush(c, true);
	}
}

/* Requests that are acted upon whatever the vCPU does. */
static void take_requests(struct x86_cpu *c, uint32_t ev)
{
	uint32_t ipi = ev & (X86_EV_INIT | X86_EV_SIPI);

	if (ipi)
		ipi = atomic_fetch_and(&c->events, ~(X86_EV_INIT | X86_EV_SIPI));
	if (ipi & X86_EV_INIT)
		do_init(c);
	if (ipi & X86_EV_SIPI) {
		c->s.sipi_vector = atomic_load(&c->sipi_vector);
		do_sipi(c);
	}
	if (ev & X86_EV_NMI) {
		x86_event_clear(c, X86_EV_NMI);
		c->s.nmi_pending = true;
	}
}

static void wake(struct x86_cpu *c)
{
	c->s.mp_state = X86_MP_RUNNABLE;
}

/* s.exc_pending: an exception left from another engine, a task switch's T bit, or a saved state. */
static void deliver_pending(struct x86_cpu *c)
{
	struct event ev = {
		.rip = c->s.rip,
		.error = c->s.exc_error,
		.vector = c->s.exc_vector,
		.kind = c->s.exc_vector == X86_DB ? EVENT_TRAP : EVENT_FAULT,
		.has_error = c->s.exc_has_error,
	};

	c->s.exc_pending = false;
	c->s.exc_error = 0;
	wake(c);
	event_deliver(c, &ev);
}

static bool deliver_nmi(struct x86_cpu *c)
{
	struct event ev = {.rip = c->s.rip, .vector = X86_NMI, .kind = EVENT_NMI};

	if (!c->s.nmi_pending || c->s.nmi_blocked)
		return false;
	if (c->s.movss_shadow) {
		/* Look here again after the next instruction. */
		x86_event_hint(c, X86_EV_NMI);
		return false;
	}
	c->s.nmi_pending = false;
	wake(c);
	event_deliver(c, &ev);
	return true;
}

static bool deliver_intr(struct x86_cpu *c)
{
	struct event ev = {.rip = c->s.rip, .kind = EVENT_INTR};
	int vector;

	if (!(c->s.rflags & RFLAGS_IF) || c->s.sti_shadow || c->s.movss_shadow)
		return false;
	vector = X86_HOST(c, intr_ack, c->index);
	if (vector < 0)
		return false;
	ev.vector = (uint8_t)vector;
	wake(c);
	event_deliver(c, &ev);
	return true;
}

bool x86_poll_events(struct x86_cpu *c)
{
	uint32_t ev = atomic_load_explicit(&c->events, memory_order_acquire);

	take_inner(c, ev);
	take_requests(c, ev);
	if (unlikely(c->shutdown) || (ev & X86_EV_EXIT))
		return true;
	if (c->s.mp_state == X86_MP_WAIT_SIPI || c->s.mp_state == X86_MP_UNINITIALIZED)
		return true;
	if (c->s.exc_pending)
		deliver_pending(c);
	else if (!deliver_nmi(c) && (ev & X86_EV_INTR))
		deliver_intr(c);
	return c->shutdown || c->s.mp_state != X86_MP_RUNNABLE;
}

bool x86_poll_inner(struct x86_cpu *c)
{
	take_inner(c, atomic_load_explicit(&c->events, memory_order_acquire));
	if (c->s.exc_pending && !c->shutdown)
		deliver_pending(c);
	return c->shutdown || c->s.mp_state != X86_MP_RUNNABLE;
}
