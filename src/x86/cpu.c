/* SPDX-License-Identifier: Apache-2.0 */
/* A software vCPU's life, its derived state, and events from other threads. */
#include "x86/cpu.h"
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "x86/bounce.h"
#include "x86/cpuid.h"
#include "x86/debug.h"
#include "x86/mmu.h"
#include "x86/sys.h"

static bool data_flat(const struct x86_segment *g)
{
	uint16_t want = SEG_P | SEG_S | SEG_TYPE_W;

	/* Writable data that does not expand down. */
	return !g->base && g->limit == UINT32_MAX &&
	       (g->attr & (want | SEG_TYPE_CODE | SEG_TYPE_E)) == want;
}

static bool code_flat(const struct x86_segment *g)
{
	uint16_t want = SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_R;

	return !g->base && g->limit == UINT32_MAX && (g->attr & want) == want;
}

static bool mode_flat(const struct x86_state *s)
{
	return code_flat(&s->seg[X86_CS]) && data_flat(&s->seg[X86_SS]) &&
	       data_flat(&s->seg[X86_DS]) && data_flat(&s->seg[X86_ES]);
}

static uint32_t mode_of(const struct x86_state *s)
{
	uint16_t cs = s->seg[X86_CS].attr;
	uint32_t m = 0;

	if (s->cr0 & CR0_PG)
		m |= X86_MODE_PG;
	if (x86_cpl(s) == 3)
		m |= X86_MODE_CPL3;
	if (s->efer & EFER_LMA) {
		m |= X86_MODE_LMA;
		if (cs & SEG_L)
			return m | X86_MODE_PE | X86_MODE_CS64 | X86_MODE_FLAT;
	}
	if (cs & SEG_DB)
		m |= X86_MODE_CS32;
	if (s->seg[X86_SS].attr & SEG_DB)
		m |= X86_MODE_SS32;
	if (s->cr0 & CR0_PE) {
		m |= X86_MODE_PE;
		if (s->rflags & RFLAGS_VM)
			return m | X86_MODE_V86;
		if (mode_flat(s))
			m |= X86_MODE_FLAT;
	}
	return m;
}

static bool watches(const struct x86_cpu *c)
{
	if (likely(!(c->s.dr7 & 0xff) && !c->debug))
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (DR7_ENABLED(c->s.dr7, n) && (DR7_RW(c->s.dr7, n) & 1))
			return true;
	for (unsigned i = 0; c->debug && i < c->debug->n_bp; i++)
		if (c->debug->bp[i].kind != X86_BP_EXEC)
			return true;
	return false;
}

/* Alignment checks make every data access of CPL 3 slow: its fast tags must go when they begin.
 * CPL 0-2 leaves the user view as it is. */
static void update_align(struct x86_cpu *c)
{
	bool on = (c->s.cr0 & CR0_AM) && (c->s.rflags & RFLAGS_AC);

	if (likely(on == c->align_check) || !(c->mode & X86_MODE_CPL3))
		return;
	c->align_check = on;
	x86_tlb_flush(c, true);
}

void x86_update_mode(struct x86_cpu *c)
{
	c->mode = mode_of(&c->s);
	c->tlb = &c->tlbs[x86_view_now(c)];
	c->watch_active = watches(c);
	c->single = (c->s.rflags & RFLAGS_TF) || (c->s.dr7 & 0xff) ||
		    (c->debug && (c->debug->step || c->debug->n_bp));
	update_align(c);
}

void x86_debug_changed(struct x86_cpu *c)
{
	x86_update_mode(c);
	x86_tlb_flush(c, true);
}

void x86_cpu_init(struct x86_cpu *c, struct x86_vm *vm, unsigned index, uint32_t apic_id)
{
	c->vm = vm;
	c->log = vm->log;
	c->index = index;
	c->apic_id = apic_id;
	c->zero = 0;
	c->debug = NULL;
	c->exc_log_n = 0;
	c->shutdown = false;
	c->delivering = 0;
	c->in_guest = false;
	c->align_check = false;
	c->tlb_ops = NULL;
	c->phys_reserved = (BIT(52) - 1) & ~(BIT(x86_cpuid_phys_bits(vm->cpuid)) - 1);
	c->pages_1g = x86_cpuid_has(vm->cpuid, X86_FEAT_PDPE1GB);
	atomic_store(&c->events, 0);
	c->attn = &c->own_attn;
	atomic_store(&c->outside, 0);
	atomic_store(c->attn, 0);
	for (unsigned v = 0; v < X86_VIEW_COUNT; v++)
		memset(c->tlbs[v].used, 0xff, sizeof(c->tlbs[v].used));
	bounce_xsave_fill(&c->s.xsave);
	x86_set_rflags(c, c->s.rflags);
	x86_update_mode(c);
	x86_tlb_flush(c, true);
}

void x86_cpu_fini(struct x86_cpu *c)
{
	bug_on(c->in_guest);
}

void x86_cpu_get(const struct x86_cpu *c, struct x86_state *out)
{
	*out = c->s;
	out->rflags = x86_rflags(c);
}

void x86_cpu_set(struct x86_cpu *c, const struct x86_state *in)
{
	c->s = *in;
	bounce_xsave_fill(&c->s.xsave);
	x86_set_rflags(c, in->rflags);
	c->shutdown = false;
	c->delivering = 0;
	c->dr6_hits = 0;
	c->pv_refresh = true;
	atomic_store(c->attn, 1);
	if (in->nmi_pending)
		atomic_fetch_or(&c->events, X86_EV_NMI);
	c->steal = (struct x86_steal){ 0 };
	x86_update_mode(c);
	x86_tlb_flush(c, true);
	/* A state with bad PDPTEs cannot have come about; what a guest sees then is a page
	 * fault. */
	if ((c->s.cr0 & CR0_PG) && (c->s.cr4 & CR4_PAE) && !(c->s.efer & EFER_LMA) &&
	    !x86_load_pdptes(c, c->s.cr3, c->pdpte))
		memset(c->pdpte, 0, sizeof(c->pdpte));
}

void x86_attend(struct x86_cpu *c)
{
	int fd;

	atomic_store(c->attn, 1);
	fd = atomic_load(&c->outside);
	if (unlikely(fd > 0))
		syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 0);
}

void x86_event_set(struct x86_cpu *c, uint32_t bits)
{
	uint32_t old = atomic_fetch_or_explicit(&c->events, bits, memory_order_seq_cst);

	x86_attend(c);
	if (~old & bits)
		X86_HOST(c, wake, c->index);
}

void x86_event_init(struct x86_cpu *c)
{
	uint32_t old = atomic_load(&c->events);

	while (!atomic_compare_exchange_weak(&c->events, &old,
					     (old & ~X86_EV_SIPI) | X86_EV_INIT))
		;
	x86_attend(c);
	if (!(old & X86_EV_INIT))
		X86_HOST(c, wake, c->index);
}

void x86_raise(struct x86_cpu *c, uint8_t vector)
{
	c->exc.vector = vector;
	c->exc.has_error = false;
	c->exc.error = 0;
	longjmp(*c->unwind, 1);
}

void x86_raise_err(struct x86_cpu *c, uint8_t vector, uint32_t error)
{
	c->exc.vector = vector;
	c->exc.has_error = true;
	c->exc.error = error;
	longjmp(*c->unwind, 1);
}
