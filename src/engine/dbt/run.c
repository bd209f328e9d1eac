/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What translated code calls for instructions that it does not do itself, and how it goes on after
 * them without the run loop: with guest vector state in the registers, so in general ones only.
 *
 * An instruction that raises unwinds from here to the run loop; the stack below the frame is empty
 * again then.  So does what needs the run loop's attention: it is found out after the instruction.
 */
#include "base/loop.h"
#include "engine/dbt/dbt_int.h"
#include "x86/sys.h"

/* --- mode --- */
static bool unlimited(const struct x86_segment *s)
{
	return s->limit == UINT32_MAX && (s->attr & (SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_E |
						     SEG_TYPE_W)) == (SEG_P | SEG_S | SEG_TYPE_W);
}

uint32_t dbt_mode(const struct x86_cpu *c)
{
	const struct x86_state *s = &c->s;
	uint32_t m = c->mode | DBT_MODE_VIEW(x86_view_now(c));

	if (!(s->cr0 & (CR0_EM | CR0_TS))) {
		m |= DBT_MODE_X87;
		if (s->cr4 & CR4_OSFXSR)
			m |= DBT_MODE_SSE;
	}
	if (!(s->cr0 & CR0_TS) && (s->cr4 & CR4_OSXSAVE) &&
	    (s->xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX))
		m |= DBT_MODE_AVX;
	if (!(m & X86_MODE_CS64) && unlimited(&s->seg[X86_FS]) && unlimited(&s->seg[X86_GS]))
		m |= DBT_MODE_FSGS;
	if (x86_cpl(s) == 0)
		m |= DBT_MODE_CPL0;
	if ((m & DBT_MODE_USER64) == DBT_MODE_USER64 && windows_away(dbt_of_const(c)) &&
	    direct_fits(c))
		m |= DBT_MODE_DIRECT;
	else if ((m & DBT_MODE_USER64) == DBT_MODE_USER64 && windows_on(dbt_of_const(c)))
		m |= DBT_MODE_WINDOWS |
		     (s->gpr[X86_RSP] >> WINDOW_SHIFT == WINDOW_HIGH ? DBT_MODE_STACK : 0);
	if (s->cr4 & CR4_SMAP)
		m |= DBT_MODE_SMAP;
	if ((x86_cpl(s) == 0 || !(s->cr4 & CR4_TSD)) && !vclock_manual(c->vm->clock))
		m |= DBT_MODE_TSC;
	return m;
}

bool run_translated(uint32_t m)
{
	uint32_t flat32 = X86_MODE_CS32 | X86_MODE_SS32 | X86_MODE_FLAT;

	if (!(m & X86_MODE_PE) || (m & X86_MODE_V86) || !(m & (X86_MODE_CPL3 | DBT_MODE_CPL0)))
		return false;
	return (m & X86_MODE_CS64) || (m & flat32) == flat32;
}

void run_update(struct dbt_cpu *v)
{
	uint32_t mode = dbt_mode(&v->in.cpu), epoch;

	if (mode != v->mode || v->lst.moved) {
		v->to_user += mode & X86_MODE_CPL3 && !(v->mode & X86_MODE_CPL3);
		v->mode = mode;
		v->lst.moved = false;
		lst_view(v);
	} else {
		epoch = lst_epoch(v);
		if (epoch == v->epoch)
			return;
	}
	v->epoch = lst_epoch(v);
	jump_retag(v);
	returns_view(v);
}

void run_set_tsc(struct dbt_cpu *v)
{
	v->f.tsc_add = v->in.cpu.s.tsc_offset + vclock_tsc_offset(v->in.cpu.vm->clock);
}

/* --- going on --- */
/* Does anything have to be done before the next instruction? */
static bool waits(struct dbt_cpu *v)
{
	struct x86_cpu *c = &v->in.cpu;
	uint32_t ev = atomic_load_explicit(&c->events, memory_order_relaxed) & ~EV_STEP;

	return ev & ~(uint32_t)X86_EV_INTR || (ev && c->s.rflags & RFLAGS_IF) ||
	       atomic_load_explicit(c->attn, memory_order_relaxed) || c->single ||
	       c->s.sti_shadow || c->s.movss_shadow || c->s.exc_pending || c->shutdown ||
	       c->s.mp_state != X86_MP_RUNNABLE || interp_counted(&v->in);
}

static const uint8_t *go_on(struct dbt_cpu *v)
{
	uint64_t lin;
	struct tb *b;

	if (waits(v) || !run_translated(dbt_mode(&v->in.cpu)))
		return NULL;
	run_update(v);
	lin = dbt_linear(v, v->in.cpu.s.rip);
	b = direct_ahead(v, lin) ? NULL : jump_find(v, lin, false);
	if (!b)
		return NULL;
	v->f.code_base = lin & ~(PAGE_SIZE - 1);
	dbt_fpu_load(v); /* what ran may have claimed the registers */
	return b->body;
}

const uint8_t *run_insn(struct dbt_cpu *v)
{
	struct x86_cpu *c = &v->in.cpu;

	v->stats.in_place++;
	v->stats.by_insn[INFO_MNEMONIC(v->f.info)]++;
	c->s.rip = dbt_linear(v, v->f.code_base + INFO_OFF(v->f.info));
	x86_update_ac(c);
	interp_one(&v->in);
	if (INFO_MNEMONIC(v->f.info) == ZYDIS_MNEMONIC_WRMSR)
		run_set_tsc(v);
	return go_on(v);
}

const uint8_t *run_not_high(struct dbt_cpu *v)
{
	uint64_t lin = v->f.code_base + INFO_OFF(v->f.info), page = lst_exec(v, lin);

	if (page != NO_PAGE)
		windows_not_high(v, page << PAGE_SHIFT | PAGE_OFFSET(lin));
	return run_insn(v);
}

const uint8_t *run_call(struct dbt_cpu *v, dbt_helper *fn)
{
	struct x86_cpu *c = &v->in.cpu;
	uint64_t rip = v->f.code_base + INFO_OFF(v->f.info);

	v->stats.calls++;
	c->s.rip = dbt_linear(v, rip);
	x86_update_ac(c);
	v->in.ip = NULL;
	fn(c, dbt_linear(v, rip + (v->f.info >> 12)));
	c->icount += interp_counted(&v->in);
	return go_on(v);
}

void run_syscall(struct x86_cpu *c, uint64_t next)
{
	x86_syscall(c, next);
}

void run_sysret(struct x86_cpu *c, uint64_t next)
{
	x86_sysret(c, 8);
}

void run_iret(struct x86_cpu *c, uint64_t next)
{
	x86_iret(c, 8);
}
