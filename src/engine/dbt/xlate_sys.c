/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System instructions (and CLD) that pay to be done in line, or by a function of their own; in
 * 64-bit code of the privilege where they do not fault.  All others are the interpreter's.
 *
 * None of them may change arithmetic flags, so bits of RFLAGS are cleared by pext and pdep with a
 * mask of all others, and set by an addition.
 */
#include "engine/dbt/xlate_int.h"

static bool kernel64(const struct xlate *x)
{
	return x->code64 && (x->mode & DBT_MODE_CPL0);
}

/* reg = RFLAGS in memory with the bit that is not in the mask clear. */
static void load_flags_without(struct xlate *x, unsigned reg, struct emem mask)
{
	e_load(&x->a, reg, CPU(s.rflags));
	e_pext(&x->a, reg, reg, mask);
	e_vex_rm(&x->a, 2, 3, 0xf5, reg, reg, mask); /* pdep */
}

void xl_cld(struct xlate *x, const struct xinsn *i)
{
	load_flags_without(x, T1, FRAME(not_df));
	e_store(&x->a, CPU(s.rflags), T1);
}

void xl_cli(struct xlate *x, const struct xinsn *i)
{
	if (!kernel64(x)) {
		xl_exit(x, i);
		return;
	}
	load_flags_without(x, T1, FRAME(not_if));
	e_store(&x->a, CPU(s.rflags), T1);
}

/* With nothing waiting, the shadow of STI has no effect, as long as the next instruction is begun
 * without a look at events: so it must be in this block. */
void xl_sti(struct xlate *x, const struct xinsn *i)
{
	uint8_t *none;

	if (!kernel64(x) || i == &x->in[x->n - 1]) {
		xl_exit(x, i);
		return;
	}
	e_load32(&x->a, T1, CPU(events));
	e_lea(&x->a, 0, T1, em_base(T1, -(int64_t)EV_STEP));
	none = e_jrcxz(&x->a);
	xl_cold(x, COLD_EXIT, e_jmp(&x->a));
	e_patch8(&x->a, none);
	load_flags_without(x, T1, FRAME(not_if));
	e_lea(&x->a, 1, T1, em_base(T1, (int32_t)RFLAGS_IF));
	e_store(&x->a, CPU(s.rflags), T1);
}

/* SMAP's view of memory changes with RFLAGS.AC; without SMAP only the flag does. */
static void set_ac(struct xlate *x, bool on)
{
	struct code *a = &x->a;
	enum x86_view view = on ? X86_VIEW_SUPER_USER : X86_VIEW_SUPER;
	uint32_t mode = (x->mode & ~DBT_MODE_VIEW(3)) | DBT_MODE_VIEW(view);

	load_flags_without(x, T1, FRAME(not_ac));
	if (on)
		e_lea(a, 1, T1, em_base(T1, (int32_t)RFLAGS_AC));
	e_store(a, CPU(s.rflags), T1);
	if (mode == x->mode)
		return;
	e_load(a, T0, on ? FRAME(view[1].r) : FRAME(view[0].r));
	e_load(a, T1, on ? FRAME(view[1].w) : FRAME(view[0].w));
	e_load(a, T2, on ? FRAME(view[1].untag) : FRAME(view[0].untag));
	e_store(a, FRAME(lst_r), T0);
	e_store(a, FRAME(lst_w), T1);
	e_store(a, FRAME(jump_untag), T2);
	e_store32_imm(a, em_frame(FRAME_OFF(mode)), mode);
	x->mode = mode;
}

void xl_stac(struct xlate *x, const struct xinsn *i)
{
	/* Where STAC changes no view, CLAC would not know which one it came from. */
	if (!kernel64(x) || !(x->mode & DBT_MODE_SMAP))
		xl_exit(x, i);
	else
		set_ac(x, true);
}

void xl_clac(struct xlate *x, const struct xinsn *i)
{
	if (!kernel64(x) || !(x->mode & DBT_MODE_SMAP))
		xl_exit(x, i);
	else
		set_ac(x, false);
}

void xl_swapgs(struct xlate *x, const struct xinsn *i)
{
	struct emem base =
		em_frame(FRAME_OFF(in.cpu.s.seg) + (int32_t)(X86_GS * sizeof(struct x86_segment) +
							     offsetof(struct x86_segment, base)));

	if (!kernel64(x)) {
		xl_exit(x, i);
		return;
	}
	e_load(&x->a, T0, base);
	e_load(&x->a, T1, CPU(s.kernel_gs_base));
	e_store(&x->a, CPU(s.kernel_gs_base), T0);
	e_store(&x->a, base, T1);
}

/* EDX:EAX is the host's counter; add what the guest's is ahead. */
static void read_tsc(struct xlate *x)
{
	struct code *a = &x->a;

	e8(a, 0x0f), e8(a, 0x31);
	e_mov_imm(a, T2, 32);
	e_vex_rr(a, 2, 1, 0xf7, X86_RDX, T2, X86_RDX); /* shlx */
	e_lea(a, 1, X86_RAX, em_sum(X86_RAX, X86_RDX));
	e_load(a, X86_RDX, FRAME(tsc_add));
	e_lea(a, 1, X86_RAX, em_sum(X86_RAX, X86_RDX));
	e_vex_rr(a, 2, 3, 0xf7, X86_RDX, T2, X86_RAX); /* shrx */
	e_mov32(a, X86_RAX, X86_RAX);
}

void xl_rdtsc(struct xlate *x, const struct xinsn *i)
{
	if (!x->code64 || !(x->mode & DBT_MODE_TSC))
		xl_exit(x, i);
	else
		read_tsc(x);
}

void xl_rdtscp(struct xlate *x, const struct xinsn *i)
{
	if (!x->code64 || !(x->mode & DBT_MODE_TSC)) {
		xl_exit(x, i);
		return;
	}
	e8(&x->a, 0x0f), e8(&x->a, 0xae), e8(&x->a, 0xe8); /* lfence: earlier loads are done */
	read_tsc(x);
	e_load32(&x->a, dbt_host_reg[X86_RCX], CPU(s.tsc_aux));
}

void xl_pushf(struct xlate *x, const struct xinsn *i)
{
	struct code *a = &x->a;
	struct emem m;

	if (!x->code64 || i->d.opsize != 8) {
		xl_exit(x, i);
		return;
	}
	m = xl_push_access(x, i);
	e_lea(a, 1, T0, m); /* where to */
	e8(a, 0x9c); /* pushf and pop T2, on the helpers' stack */
	e8(a, 0x41), e8(a, 0x58 | (T2 & 7));
	e_pext(a, T2, T2, FRAME(arith));
	e_vex_rm(a, 2, 3, 0xf5, T2, T2, FRAME(arith));
	load_flags_without(x, T1, FRAME(not_arith));
	e_lea(a, 1, T1, em_sum(T1, T2));
	e_store(a, em_base(T0, 0), T1);
	e_lea(a, 1, dbt_host_reg[X86_RSP], em_base(dbt_host_reg[X86_RSP], -8));
}

/* About as many as take 10000 cycles: longer than a lock is held that is worth spinning for. */
#define PAUSES 64

/* One of many is the interpreter's, which lets other threads run. */
void xl_pause(struct xlate *x, const struct xinsn *i)
{
	struct code *a = &x->a;
	uint8_t *zero, *over;

	e8(a, 0xf3), e8(a, 0x90);
	e_load32(a, T1, FRAME(pauses));
	e_lea(a, 0, T1, em_base(T1, -1));
	e_store32(a, FRAME(pauses), T1);
	zero = e_jrcxz(a);
	over = e_jmp8(a);
	e_patch8(a, zero);
	e_store32_imm(a, FRAME(pauses), PAUSES);
	xl_cold(x, COLD_EXIT, e_jmp(a));
	e_patch8(a, over);
}

/* --- by a function --- */
static void call(struct xlate *x, const struct xinsn *i, dbt_helper *fn)
{
	e_store32_imm(&x->a, FRAME(info), i->off | (uint32_t)i->d.len << 12);
	e_mov_imm(&x->a, T2, (uint64_t)(uintptr_t)fn);
	e_jmp_to(&x->a, x->v->cache.stub.call);
	x->ended = true;
}

void xl_syscall(struct xlate *x, const struct xinsn *i)
{
	if (x->code64)
		call(x, i, run_syscall);
	else
		xl_exit(x, i);
}

void xl_sysret(struct xlate *x, const struct xinsn *i)
{
	if (kernel64(x) && i->d.opsize == 8)
		call(x, i, run_sysret);
	else
		xl_exit(x, i);
}

void xl_iret(struct xlate *x, const struct xinsn *i)
{
	if (kernel64(x) && i->d.opsize == 8)
		call(x, i, run_iret);
	else
		xl_exit(x, i);
}
