/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile guests: random code in every mode, on tables that are mostly right.  Whatever it does, a
 * machine must stop when it is told to, hold a state that could be saved, reset, and go away.  The
 * engine is the one that $DOPPEL_ACCEL names.
 *
 * Guest memory: 0 real-mode vectors, 0x1000 GDT, 0x2000 IDT, 0x3000 task states, 0x4000-0x6fff
 * 4-level tables and 0x7000 their last level, 0x8000 and 0x9000 32-bit tables, 0xa000 PDPTEs,
 * 0xc000 LDT, stacks below 0x10000, code at 0x10000-0x1ffff.  Vectors and gates lead back into the
 * code, so a fault is rarely the end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "../engine.h"
#include "base/err.h"
#include "base/loop.h"
#include "code.h"
#include "machine/vm_int.h"
#include "mem/page.h"
#include "state/state.h"
#include "x86/state.h"

enum mode { REAL, V86, PROT16, PROT32, PAGED32, PAGED_PAE, COMPAT, LONG0, LONG3, MODES };

#define GDT 0x1000
#define GDT_N 40
#define IDT 0x2000
#define TSS 0x3000
#define CODE 0x10000
#define CODE_SIZE 0x10000
#define PTE_ALL 7 /* present, writable, user */

/* Attributes, as struct x86_segment has them. */
#define CODE64_0 0xa09b
#define CODE32_0 0xc09b
#define DATA_0 0xc093
#define CODE64_3 0xa0fb
#define CODE32_3 0xc0fb
#define DATA_3 0xc0f3
#define CODE16_0 0x009b
#define DATA16_0 0x0093

struct guest {
	struct log *log;
	struct loop *loop;
	struct vm *vm;
	const struct engine_ops *engine;
	struct engine_vm *ev;
	uint64_t ram;
	bool dirty;
	bool paused; /* by us: a debug stop that is told late must not resume */
};

static void put_mem(struct guest *g, uint64_t a, const void *p, size_t len)
{
	mem_dma_write(vm_mem(g->vm), GPA(a), p, len);
}

static uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attr)
{
	uint64_t hi = (base & 0xff000000) | (attr >> 12) << 20 | (limit & 0xf0000) |
		      (attr & 0xff) << 8 | (base >> 16 & 0xff);

	return hi << 32 | (uint64_t)(base & 0xffff) << 16 | (limit & 0xffff);
}

static uint64_t gate(struct rnd *r, uint16_t sel, unsigned type, unsigned dpl)
{
	uint32_t off = CODE + (uint32_t)rnd_below(r, CODE_SIZE);

	if (type < 8) /* 16 bits */
		off &= 0xffff;
	return (uint64_t)(off & 0xffff0000) << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
	       (uint64_t)sel << 16 | (off & 0xffff);
}

static void sprinkle(struct rnd *r, uint64_t *p, size_t n)
{
	unsigned odds = rnd_one_in(r, 3) ? 10 : 200;

	for (size_t i = 0; i < n; i++) {
		if (!rnd_one_in(r, odds))
			continue;
		if (rnd_one_in(r, 2))
			p[i] ^= BIT(rnd_below(r, 64));
		else
			p[i] = rnd(r);
	}
}

static void put_gdt(struct guest *g, struct rnd *r)
{
	uint64_t d[GDT_N] = {
		0,
		descriptor(0, 0xfffff, CODE64_0), /* 08 */
		descriptor(0, 0xfffff, DATA_0), /* 10 */
		descriptor(0, 0xfffff, CODE32_0), /* 18 */
		descriptor(0, 0xfffff, CODE64_3), /* 20 */
		descriptor(0, 0xfffff, DATA_3), /* 28 */
		descriptor(0, 0xfffff, CODE32_3), /* 30 */
		descriptor(CODE, 0xffff, CODE16_0), /* 38 */
		descriptor(0, 0xffff, DATA16_0), /* 40 */
		descriptor(TSS, 0x2ff, 0x89), /* 48: 64-bit or 32-bit */
		0,
		descriptor(TSS + 0x400, 0x67, 0x89), /* 58 */
		descriptor(TSS + 0x600, 0x2b, 0x81), /* 60: 16-bit */
		descriptor(TSS + 0x800, 0x67, 0xe9), /* 68 */
		descriptor(0xc000, 0xfff, 0x82), /* 70: LDT */
		0,
		gate(r, 0x18, 0xc, 3), /* 80: call */
		(uint64_t)0xe5 << 40 | 0x58 << 16, /* 88: task */
		gate(r, 0x08, 0xc, 3), /* 90: call, 64-bit */
		0,
		descriptor(0, 0xfffff, 0xc09f), /* a0: conforming */
		descriptor(0, 0x0fff, 0x40f7), /* a8: expand-down */
		gate(r, 0x38, 0x4, 3), /* b0: call, 16-bit */
	};

	for (unsigned i = 23; i < GDT_N; i++)
		d[i] = rnd(r);
	sprinkle(r, d + 1, GDT_N - 1);
	put_mem(g, GDT, d, sizeof(d));
	put_mem(g, 0xc000, d, sizeof(d));
}

static void put_idt(struct guest *g, struct rnd *r, enum mode m)
{
	uint64_t d[512] = {0};
	uint32_t ivt[256];

	for (unsigned i = 0; i < 256; i++) {
		unsigned dpl = rnd_one_in(r, 2) ? 3 : 0, type = 0xe | (unsigned)rnd_below(r, 2);

		ivt[i] = (CODE >> 4) << 16 | (uint32_t)rnd_below(r, CODE_SIZE);
		if (m >= COMPAT) {
			d[2 * i] = gate(r, 0x08, type, dpl) |
				   (rnd_one_in(r, 8) ? rnd_below(r, 8) << 32 : 0);
			continue;
		}
		d[i] = gate(r, 0x18, type, dpl);
		if (rnd_one_in(r, 8))
			d[i] = gate(r, 0x38, type & 7, dpl);
		else if (rnd_one_in(r, 12))
			d[i] = (uint64_t)0xe5 << 40 | RND_PICK(r, ((uint64_t[]){0x58, 0x60, 0x68}))
							      << 16;
	}
	sprinkle(r, d, 512);
	put_mem(g, IDT, d, sizeof(d));
	put_mem(g, 0, ivt, sizeof(ivt));
}

/* Task states: stacks for inner levels and a bitmap of ports; as tasks, plausible registers. */
static void put_tss(struct guest *g, struct rnd *r, enum mode m)
{
	uint8_t t[0x1000];

	rnd_bytes(r, t, sizeof(t));
	for (unsigned i = 0; i < 4; i++) {
		uint8_t *p = t + i * 0x400;

		for (unsigned n = 0; n < 3; n++) {
			put_le32(p + 4 + 8 * n, 0xf000 - 0x400 * n);
			put_le32(p + 8 + 8 * n, 0x10 | n);
		}
		put_le16(p + 0x66, rnd_one_in(r, 4) ? (uint16_t)rnd(r) : 0x68);
		put_le32(p + 0x1c, 0x8000); /* CR3 */
		put_le32(p + 0x20, CODE + (uint32_t)rnd_below(r, CODE_SIZE));
		put_le32(p + 0x24, (uint32_t)rnd(r) & 0x37ed5);
		for (unsigned n = 0; n < 6; n++)
			put_le32(p + 0x48 + 4 * n, n == 1 ? 0x18 : 0x10);
		put_le32(p + 0x60, rnd_one_in(r, 3) ? 0x70 : 0);
		if (m < COMPAT)
			continue;
		for (unsigned n = 0; n < 3; n++)
			put_le64(p + 4 + 8 * n, 0xf000 - 0x400 * n);
		for (unsigned n = 0; n < 7; n++)
			put_le64(p + 0x24 + 8 * n,
				 rnd_one_in(r, 6) ? code_address(r) : 0xe000 - 0x100 * n);
	}
	/* Task 0x60: 16 bits. */
	put_le16(t + 0x600 + 0xe, (uint16_t)rnd(r));
	put_le16(t + 0x600 + 0x22, 0x10);
	put_le16(t + 0x600 + 0x24, 0x38);
	put_le16(t + 0x600 + 0x26, 0x10);
	put_le16(t + 0x600 + 0x28, 0x10);
	put_mem(g, TSS, t, sizeof(t));
}

static void put_tables(struct guest *g, struct rnd *r)
{
	static const uint64_t flags[] = {0, 0x10, 0x18, 0x100, BIT(63), 0x1000};
	uint64_t t[512] = {0};
	uint32_t d[1024];

	t[0] = 0x5000 | PTE_ALL;
	t[256] = t[511] = t[1] = t[0];
	t[510] = 0x4000 | PTE_ALL; /* itself */
	sprinkle(r, t, 512);
	put_mem(g, 0x4000, t, sizeof(t));
	for (unsigned i = 0; i < 512; i++)
		t[i] = i < 4 || i > 509 ? 0x6000 | PTE_ALL : (uint64_t)i << 30 | 0x80 | PTE_ALL;
	sprinkle(r, t, 512);
	put_mem(g, 0x5000, t, sizeof(t));
	for (unsigned i = 0; i < 512; i++)
		t[i] = (uint64_t)i << 21 | 0x80 | PTE_ALL;
	t[0] = 0x7000 | PTE_ALL;
	for (unsigned i = 500; i < 512; i++) /* devices */
		t[i] = (0xfe800000 + ((uint64_t)(i - 500) << 21)) | 0x80 | PTE_ALL;
	sprinkle(r, t, 512);
	put_mem(g, 0x6000, t, sizeof(t));
	for (unsigned i = 0; i < 512; i++)
		t[i] = ((uint64_t)i << 12 | PTE_ALL) ^ (rnd_one_in(r, 6) ? RND_PICK(r, flags) : 0);
	sprinkle(r, t + 32, 480);
	put_mem(g, 0x7000, t, sizeof(t));
	for (unsigned i = 0; i < 1024; i++)
		d[i] = i << 22 | 0x80 | PTE_ALL;
	d[0] = 0x9000 | PTE_ALL;
	sprinkle(r, (uint64_t *)d, 512);
	put_mem(g, 0x8000, d, sizeof(d));
	for (unsigned i = 0; i < 1024; i++)
		d[i] = i << 12 | PTE_ALL;
	sprinkle(r, (uint64_t *)d + 16, 496);
	put_mem(g, 0x9000, d, sizeof(d));
	for (unsigned i = 0; i < 4; i++)
		t[i] = 0x6001;
	put_mem(g, 0xa000, t, 32);
}

static void put_code(struct guest *g, struct rnd *r)
{
	uint8_t *p = xzalloc(CODE_SIZE);
	uint64_t data[256];

	code_fill(r, p, CODE_SIZE);
	put_mem(g, CODE, p, CODE_SIZE);
	put_mem(g, g->ram - 256, p, 256); /* what runs off the end of RAM */
	free(p);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		data[i] = code_address(r);
	put_mem(g, 0x20000, data, sizeof(data));
	for (unsigned i = 0; i < 16; i++)
		put_mem(g, 0xb000 + 0x800 * i, data, sizeof(data));
}

static void seg(struct x86_state *s, enum x86_sreg n, uint16_t sel, uint64_t base, uint32_t limit,
		uint16_t attr)
{
	s->seg[n] = (struct x86_segment){.base = base, .limit = limit, .sel = sel, .attr = attr};
}

static void all_data(struct x86_state *s, uint16_t sel, uint32_t limit, uint16_t attr)
{
	static const enum x86_sreg data[] = {X86_ES, X86_SS, X86_DS, X86_FS, X86_GS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		seg(s, data[i], sel, 0, limit, attr);
}

static void enter_paging(struct x86_state *s, enum mode m, struct rnd *r)
{
	s->cr0 |= CR0_PG | (rnd_one_in(r, 2) ? CR0_WP : 0);
	s->cr4 = CR4_PSE | (rnd_one_in(r, 2) ? CR4_PGE : 0) | (rnd_one_in(r, 4) ? CR4_VME : 0);
	s->cr3 = m == PAGED_PAE ? 0xa000 : m >= COMPAT ? 0x4000 : 0x8000;
	if (m == PAGED_PAE || m >= COMPAT)
		s->cr4 |= CR4_PAE;
	if (m >= COMPAT)
		s->efer |= EFER_LME | EFER_LMA;
	if (rnd_one_in(r, 2))
		s->efer |= EFER_NXE | EFER_SCE;
}

static void protected_state(struct x86_state *s, enum mode m, struct rnd *r)
{
	bool user = m == LONG3 || (m != LONG0 && m != PROT16 && rnd_one_in(r, 3));

	s->cr0 |= CR0_PE;
	all_data(s, user ? 0x2b : 0x10, UINT32_MAX, user ? DATA_3 : DATA_0);
	if (m == LONG0 || m == LONG3)
		seg(s, X86_CS, user ? 0x23 : 0x08, 0, UINT32_MAX, user ? CODE64_3 : CODE64_0);
	else if (m == PROT16)
		seg(s, X86_CS, 0x38, CODE, 0xffff, CODE16_0);
	else
		seg(s, X86_CS, user ? 0x33 : 0x18, 0, UINT32_MAX, user ? CODE32_3 : CODE32_0);
	if (m >= PAGED32)
		enter_paging(s, m, r);
	seg(s, X86_TR, 0x48, TSS, 0x2ff, 0x8b);
	seg(s, X86_LDTR, 0x70, 0xc000, 0xfff, 0x82);
	s->gdtr = (struct x86_table){GDT, GDT_N * 8 - 1};
	s->idtr = (struct x86_table){IDT, 0xfff};
}

static void v86_state(struct x86_state *s, struct rnd *r)
{
	static const enum x86_sreg data[] = {X86_ES, X86_SS, X86_DS, X86_FS, X86_GS};

	protected_state(s, PAGED32, r);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		seg(s, data[i], 0, 0, 0xffff, 0xf3);
	seg(s, X86_CS, CODE >> 4, CODE, 0xffff, 0xf3);
	s->rflags |= RFLAGS_VM | (rnd_one_in(r, 2) ? RFLAGS_IOPL : 0);
}

static void extended_state(struct x86_state *s, struct rnd *r)
{
	rnd_bytes(r, s->xsave.st, sizeof(s->xsave.st));
	rnd_bytes(r, s->xsave.xmm, sizeof(s->xsave.xmm));
	rnd_bytes(r, s->xsave.ymmh, sizeof(s->xsave.ymmh));
	s->xsave.xstate_bv = rnd_below(r, 8);
	s->xsave.fcw = rnd_one_in(r, 2) ? 0x37f : (uint16_t)rnd(r);
	s->xsave.fsw = (uint16_t)rnd(r);
	s->xsave.ftw = (uint8_t)rnd(r);
	s->xsave.mxcsr = rnd_one_in(r, 2) ? 0x1f80 : (uint32_t)rnd(r) & 0xffff;
	s->xcr0 = RND_PICK(r, ((uint64_t[]){1, 3, 7}));
	if (!rnd_one_in(r, 6))
		s->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s->cr4 |= rnd_one_in(r, 3) ? CR4_SMEP | CR4_SMAP : 0;
	s->cr4 |= rnd_one_in(r, 3) ? CR4_FSGSBASE | CR4_UMIP : 0;
	if ((s->efer & EFER_LMA) && rnd_one_in(r, 3))
		s->cr4 |= CR4_PCIDE;
	s->cr0 &= ~(rnd_one_in(r, 4) ? 0 : CR0_EM | CR0_TS | CR0_CD | CR0_NW);
	s->cr0 |= rnd_one_in(r, 2) ? CR0_NE : 0;
	s->cr0 |= rnd_one_in(r, 4) ? CR0_AM : 0;
}

/* Fields of a state changed at random; kept when a stream with them would be accepted. */
static bool state_accepted(struct x86_state *s)
{
	struct x86_state copy;
	struct state_buf b = {0};
	struct err *e = NULL;
	size_t used;
	bool ok;

	x86_state_reset(&copy, true, 0x600);
	state_save(&b, &x86_state_desc, s);
	ok = state_load(&x86_state_desc, &copy, b.data, b.len, &used, &e) == 0;
	if (!ok && fuzz_verbose())
		printf("state refused: %s\n", err_msg(e));
	err_free(&e);
	free(b.data);
	return ok;
}

static void mutate_state(struct x86_state *s, struct rnd *r)
{
	for (uint64_t n = rnd_below(r, 6); n; n--) {
		struct x86_state t = *s;

		switch (rnd_below(r, 4)) {
		case 0:
			t.seg[rnd_below(r, X86_SREG_COUNT)].attr ^= (uint16_t)BIT(rnd_below(r, 16));
			break;
		case 1:
			rnd_mutate(r, (uint8_t *)t.seg, sizeof(t.seg), 3);
			break;
		case 2:
			rnd_mutate(r, (uint8_t *)&t.gdtr,
				   offsetof(struct x86_state, kvm) -
					   offsetof(struct x86_state, gdtr),
				   3);
			break;
		default:
			rnd_mutate(r, (uint8_t *)&t.mp_state,
				   sizeof(t) - offsetof(struct x86_state, mp_state), 3);
			t.sti_shadow = t.movss_shadow = t.nmi_blocked = rnd_one_in(r, 2);
			t.nmi_pending = rnd_one_in(r, 2);
			t.exc_pending = rnd_one_in(r, 2);
			t.exc_has_error = rnd_one_in(r, 2);
		}
		if (state_accepted(&t))
			*s = t;
	}
}

static void set_cpu(struct guest *g, struct rnd *r, unsigned cpu, enum mode m)
{
	struct x86_state s;

	x86_state_reset(&s, true, 0x600);
	for (unsigned i = 0; i < X86_GPR_COUNT; i++)
		s.gpr[i] = rnd_one_in(r, 2) ? code_address(r) : rnd_value(r);
	s.gpr[X86_RSP] = rnd_one_in(r, 8) ? code_address(r) : 0xd000 + 8 * rnd_below(r, 512);
	s.rip = rnd_below(r, CODE_SIZE);
	s.rflags = 2 | (rnd(r) & (RFLAGS_ARITH | RFLAGS_DF | RFLAGS_IF | RFLAGS_AC | RFLAGS_IOPL));
	s.rflags |= rnd_one_in(r, 8) ? RFLAGS_TF : 0;
	if (m == REAL) {
		all_data(&s, 0, 0xffff, 0x93);
		seg(&s, X86_CS, CODE >> 4, CODE, 0xffff, 0x9b);
		s.idtr = (struct x86_table){0, 0x3ff};
	} else if (m == V86) {
		v86_state(&s, r);
	} else {
		protected_state(&s, m, r);
	}
	if (m != REAL && m != V86 && m != PROT16)
		s.rip = rnd_one_in(r, 12) ? g->ram - rnd_below(r, 48) : s.rip + CODE;
	extended_state(&s, r);
	s.lstar = s.cstar = s.sysenter_eip = CODE + rnd_below(r, CODE_SIZE);
	s.sysenter_cs = 0x08;
	s.star = UINT64_C(0x0018000800000000);
	if (rnd_one_in(r, 6))
		for (unsigned i = 0; i < 4; i++)
			s.dr[i] = code_address(r);
	s.dr7 = rnd_one_in(r, 6) ? ((uint32_t)rnd(r) & ~0xdc00u) | 0x400 : 0x400;
	fuzz_check(state_accepted(&s), "mode %d", (int)m);
	if (rnd_one_in(r, 3))
		mutate_state(&s, r);
	g->engine->set(g->ev, cpu, &s);
}

static void emit_nothing(void *opaque, const char *line)
{
	fuzz_check(strlen(line) < 4096, "line of a report");
}

static void check_cpus(struct guest *g)
{
	for (unsigned i = 0; i < vm_cpus(g->vm); i++) {
		struct x86_state s;
		gpa a;

		g->engine->get(g->ev, i, &s);
		if (!state_accepted(&s)) {
			struct err *e = NULL;

			x86_state_desc.post_load(&s, &e);
			fuzz_fail(__FILE__, __LINE__, "state can be saved and loaded",
				  "cpu %u: %s: rip %#lx cr0 %#lx cr4 %#lx efer %#lx rflags %#lx cs "
				  "%x/%x",
				  i, err_msg(e), s.rip, s.cr0, s.cr4, s.efer, s.rflags,
				  s.seg[X86_CS].sel, s.seg[X86_CS].attr);
		}
		g->engine->translate(g->ev, i, s.rip, &a);
		g->engine->report(g->ev, i, emit_nothing, NULL);
	}
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The promise is a second; a loaded host with sanitizers gets more. */
static void pause_in_time(struct guest *g)
{
	int64_t t = now_ms();

	fuzz_phase("pause");
	g->paused = true;
	vm_pause(g->vm);
	t = now_ms() - t;
	fuzz_check(t < 3000, "pause took %ld ms", (long)t);
	fuzz_phase("run");
}

static void resume(struct guest *g)
{
	g->paused = false;
	vm_resume(g->vm);
}

static void debugger(struct guest *g, struct rnd *r)
{
	struct engine_bp bp[3];
	struct engine_debug d = {.bp = bp, .n_bp = (unsigned)rnd_below(r, 4)};

	for (unsigned i = 0; i < ARRAY_SIZE(bp); i++) {
		bp[i].addr = code_address(r);
		bp[i].kind = (enum engine_bp_kind)rnd_below(r, 4);
		bp[i].len = bp[i].kind == ENGINE_BP_EXEC ? 1 : 1 + (uint32_t)rnd_below(r, 4096);
	}
	d.step = rnd_one_in(r, 4);
	for (unsigned i = 0; i < vm_cpus(g->vm); i++)
		g->engine->debug(g->ev, i, &d);
}

static void dirty_log(struct guest *g)
{
	struct mem *m = vm_mem(g->vm);
	uint64_t *bits;

	if (!g->dirty) {
		mem_dirty_start(m);
	} else {
		bits = xcalloc(mem_ram_size(m) / PAGE_SIZE / 64 + 1, sizeof(*bits));
		mem_dirty_take(m, bits);
		free(bits);
		mem_dirty_stop(m);
	}
	g->dirty = !g->dirty;
}

/* What happens to a machine from outside while it runs. */
static void disturb(struct guest *g, struct rnd *r)
{
	switch (rnd_below(r, 8)) {
	case 0:
		g->engine->inject(g->ev, (unsigned)rnd_below(r, vm_cpus(g->vm)), ENGINE_NMI, 0);
		break;
	case 1:
		vm_powerdown(g->vm);
		break;
	case 2:
		vm_reset(g->vm);
		break;
	case 3:
		dirty_log(g);
		break;
	case 4:
		pause_in_time(g);
		debugger(g, r);
		resume(g);
		break;
	default:
		pause_in_time(g);
		check_cpus(g);
		resume(g);
	}
}

static void stopped(void *opaque, enum vm_stop why, unsigned cpu)
{
	struct guest *g = opaque;

	if (why == VM_STOP_DEBUG && !g->paused)
		vm_resume(g->vm);
}

static void reset_now(struct guest *g)
{
	fuzz_phase("reset");
	vm_reset(g->vm);
	while (atomic_load(&g->vm->requests))
		loop_once(g->loop, 10);
	pause_in_time(g);
	loop_once(g->loop, 0);
}

static void episode(struct guest *g, struct rnd *r)
{
	enum mode m = (enum mode)rnd_below(r, MODES);
	int64_t end;

	reset_now(g);
	fuzz_phase("setup");
	put_gdt(g, r);
	put_idt(g, r, m);
	put_tss(g, r, m);
	put_tables(g, r);
	put_code(g, r);
	for (unsigned i = 0; i < vm_cpus(g->vm); i++)
		set_cpu(g, r, i, rnd_one_in(r, 4) ? (enum mode)rnd_below(r, MODES) : m);
	fuzz_phase("run");
	end = now_ms() + 2 + (int64_t)rnd_below(r, 25);
	resume(g);
	while (now_ms() < end) {
		loop_once(g->loop, 1);
		if (rnd_one_in(r, 40))
			disturb(g, r);
	}
	pause_in_time(g);
	check_cpus(g);
}

/* A multiboot kernel, so that there is something to reset to. */
static int kernel_file(char path[static 32])
{
	const uint32_t head[9] = {0x1badb002, 0x10003,	0u - 0x1badb002 - 0x10003,
				  0x100000,   0x100000, 0,
				  0,	      0x100020, 0xfeebf4fa};
	int fd = memfd_create("kernel", 0);

	if (fd < 0 || write(fd, head, sizeof(head)) != sizeof(head))
		abort();
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static void one(struct rnd *r)
{
	static const struct vm_device_opt debug_exit = {"isa-debug-exit", "iobase=0xf4,iosize=4"};
	char path[32];
	int fd = kernel_file(path);
	struct guest g = {.log = log_create(), .loop = loop_create()};
	struct vm_config cfg = {
		.machine = rnd_one_in(r, 2) ? "pc" : "q35",
		.cpu = rnd_one_in(r, 6)
			       ? RND_PICK(r, ((const char *[]){"qemu64", "x86-64-v2", "x86-64-v3"}))
			       : NULL,
		.accel = test_engine(),
		.mem_size = (16 + rnd_below(r, 4) * 16) * MiB,
		.n_cpus = 1 + (unsigned)rnd_below(r, 2),
		.kernel = path,
		.devices = &debug_exit,
		.n_devices = rnd_below(r, 2),
		.no_shutdown = true,
		.start_paused = true,
		.log = g.log,
		.loop = g.loop,
	};
	struct vm_debug_hook hook = {stopped, &g};
	struct err *e = NULL;

	fuzz_phase("create");
	if (vm_create(&g.vm, &cfg, &e))
		fuzz_fail(__FILE__, __LINE__, "vm_create", "%s", err_msg(e));
	close(fd);
	g.ram = cfg.mem_size;
	g.engine = vm_engine(g.vm, &g.ev);
	vm_set_debug_hook(g.vm, &hook);
	for (uint64_t n = rnd_below(r, 8) + 1; n; n--)
		episode(&g, r);
	if (fuzz_verbose())
		printf("%s, %u CPUs: %lu instructions\n", cfg.machine, cfg.n_cpus,
		       g.engine->insns(g.ev));
	if (rnd_one_in(r, 2))
		resume(&g);
	fuzz_phase("destroy");
	vm_destroy(g.vm);
	loop_destroy(g.loop);
	log_destroy(g.log);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-guest", .runs = 120, .hang_s = 30, .one = one};

	return fuzz_main(&f, argc, argv);
}
