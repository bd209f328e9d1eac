/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's side: a minimal long-mode guest with the arena at the same linear addresses, a GDT
 * laid out as Linux's, and an IDT whose handlers are HLT.  A case runs at CPL 3 until an exception
 * reaches one of them; the exception frame and the vCPU state are the result.  Any engine can stand
 * here.
 */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "engine/engine.h"
#include "insn.h"
#include "mem/mem.h"
#include "mem/page.h"
#include "x86/cpuid.h"

/* Guest-physical layout. */
#define PML4 0x1000
#define PDPT_LO 0x2000
#define PD_LO 0x3000
#define PT_LO 0x4000
#define PDPT_HI 0x5000
#define PD_HI 0x6000
#define PT_HI 0x7000
#define KERNEL 0x8000 /* GDT and TSS, IDT, handlers, stack: a page each */
#define ARENA_PHYS 0x10000
#define RAM_SIZE 0x100000

/* Linear addresses of the guest's kernel. */
#define KBASE UINT64_C(0xffff800000000000)
#define KGDT KBASE
#define KTSS (KBASE + 0x100)
#define KIDT (KBASE + 0x1000)
#define KTEXT (KBASE + 0x2000)
#define KSTACK_TOP (KBASE + 0x4000)
#define HANDLER_SIZE 8

#define PTE_RW (BIT(0) | BIT(1) | BIT(5) | BIT(6))
#define PTE_USER BIT(2)
#define PTE_NX BIT(63)

struct soft {
	const struct engine_ops *ops;
	struct engine_vm *vm;
	struct mem *mem;
	struct log *log;
	struct vclock *clock;
	struct x86_cpuid *cpuid;
	uint8_t *ram;
	uint64_t ram_off;
	struct x86_state base; /* registers common to all cases */
	struct x86_state state;
};

/* --- a machine without devices --- */

static int no_intr(void *opaque, unsigned cpu)
{
	return -1;
}

static bool no_rdmsr(void *opaque, unsigned cpu, uint32_t index, uint64_t *val)
{
	return false;
}

static bool no_wrmsr(void *opaque, unsigned cpu, uint32_t index, uint64_t val)
{
	return false;
}

static uint32_t no_apic_read(void *opaque, unsigned cpu, uint32_t off, unsigned size)
{
	return 0;
}

static void no_apic_write(void *opaque, unsigned cpu, uint32_t off, uint32_t val, unsigned size)
{
}

static uint8_t no_tpr(void *opaque, unsigned cpu)
{
	return 0;
}

static void no_tpr_set(void *opaque, unsigned cpu, uint8_t cr8)
{
}

static void no_pv_eoi(void *opaque, unsigned cpu, uint64_t gpa_or_zero)
{
}

static int no_pv_ipi(void *opaque, uint64_t lo, uint64_t hi, uint32_t min, uint32_t icr)
{
	return 0;
}

static void no_pv_kick(void *opaque, uint32_t apic_id)
{
}

static void no_wake(void *opaque, unsigned cpu)
{
}

static const struct x86_host_ops host_ops = {
	.intr_ack = no_intr,
	.apic_rdmsr = no_rdmsr,
	.apic_wrmsr = no_wrmsr,
	.apic_read = no_apic_read,
	.apic_write = no_apic_write,
	.tpr_get = no_tpr,
	.tpr_set = no_tpr_set,
	.pv_eoi = no_pv_eoi,
	.pv_ipi = no_pv_ipi,
	.pv_kick = no_pv_kick,
	.wake = no_wake,
};

/* --- the guest's tables --- */

static void put(struct soft *s, uint64_t pa, uint64_t v)
{
	put_le64(s->ram + pa, v);
}

static void make_paging(struct soft *s)
{
	put(s, PML4, PDPT_LO | PTE_RW | PTE_USER);
	put(s, PML4 + 256 * 8, PDPT_HI | PTE_RW);
	put(s, PDPT_LO, PD_LO | PTE_RW | PTE_USER);
	put(s, PD_LO + (ARENA_BASE >> 21 & 511) * 8, PT_LO | PTE_RW | PTE_USER);
	put(s, PDPT_HI, PD_HI | PTE_RW);
	put(s, PD_HI, PT_HI | PTE_RW);
	for (unsigned i = 0; i < 4; i++)
		put(s, PT_HI + i * 8, (KERNEL + i * 0x1000) | PTE_RW);
	for (unsigned i = 0; i < PG_COUNT; i++) {
		const struct arena_page *p = &arena_pages[i];
		uint64_t pte = (ARENA_PHYS + i * 0x1000) | PTE_RW | PTE_USER;

		if (!p->write)
			pte &= ~BIT(1);
		if (!p->exec)
			pte |= PTE_NX;
		put(s, PT_LO + (p->va >> 12 & 511) * 8, pte);
	}
}

static void make_descriptors(struct soft *s)
{
	static const uint64_t gdt[16] = {
		[1] = 0x00cf9b000000ffff, /* 0x08 kernel 32-bit code */
		[2] = 0x00af9b000000ffff, /* 0x10 kernel code */
		[3] = 0x00cf93000000ffff, /* 0x18 kernel data */
		[4] = 0x00cffb000000ffff, /* 0x23 user 32-bit code */
		[5] = 0x00cff3000000ffff, /* 0x2b user data */
		[6] = 0x00affb000000ffff, /* 0x33 user code */
	};
	uint64_t tss = KTSS;

	memcpy(s->ram + KERNEL, gdt, sizeof(gdt));
	put(s, KERNEL + 8 * 8,
	    0x8b0000000000 | 103 | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56);
	put(s, KERNEL + 9 * 8, tss >> 32);
	put(s, KERNEL + 0x100 + 4, KSTACK_TOP); /* RSP0 */
	put_le16(s->ram + KERNEL + 0x100 + 102, 104); /* no I/O bitmap */
	for (unsigned v = 0; v < 256; v++) {
		uint64_t h = KTEXT + v * HANDLER_SIZE, dpl = v == X86_BP || v == X86_OF ? 3 : 0;
		uint64_t gate = KERNEL + 0x1000 + v * 16;

		put(s, gate,
		    (h & 0xffff) | 0x10 << 16 | (0x8e00 | dpl << 13) << 32 |
			    (h >> 16 & 0xffff) << 48);
		put(s, gate + 8, h >> 32);
		s->ram[KERNEL + 0x2000 + v * HANDLER_SIZE] = 0xf4; /* HLT */
	}
}

static struct x86_segment user_segment(uint16_t sel, uint16_t attr)
{
	return (struct x86_segment){.sel = sel, .attr = attr, .limit = UINT32_MAX};
}

static void make_base(struct soft *s, struct x86_state *b)
{
	x86_state_reset(b, true, 0x600);
	b->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	b->cr3 = PML4;
	b->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	if (x86_cpuid_has(s->cpuid, X86_FEAT_FSGSBASE))
		b->cr4 |= CR4_FSGSBASE;
	if (x86_cpuid_has(s->cpuid, X86_FEAT_UMIP))
		b->cr4 |= CR4_UMIP;
	b->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	b->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	b->gdtr = (struct x86_table){.base = KGDT, .limit = 127};
	b->idtr = (struct x86_table){.base = KIDT, .limit = 4095};
	for (unsigned i = 0; i < 6; i++)
		b->seg[i] = user_segment(0x2b, 0xcf3);
	for (unsigned i = 0; i < 6; i++)
		b->seg[i].attr = SEG_G | SEG_DB | 0xf3;
	b->seg[X86_TR] =
		(struct x86_segment){.sel = 0x40, .base = KTSS, .limit = 103, .attr = 0x8b};
	b->seg[X86_LDTR] = (struct x86_segment){.attr = 0};
}

struct soft *soft_create(const struct engine_ops *ops)
{
	struct soft *s = xzalloc(sizeof(*s));
	struct err *e = NULL;
	struct engine_config cfg = {.n_cpus = 1, .host = &host_ops};
	int rc;

	s->ops = ops;
	s->log = log_create();
	s->clock = vclock_create();
	rc = x86_cpuid_create(&s->cpuid, "max", 1, vclock_tsc_khz(s->clock), &e);
	if (!rc)
		rc = mem_create(&s->mem, RAM_SIZE, s->log, &e);
	if (!rc) {
		s->ram_off = mem_ram_alloc(s->mem, RAM_SIZE);
		s->ram = mem_ram_base(s->mem) + s->ram_off;
		mem_map_ram(s->mem, GPA(0), RAM_SIZE, s->ram_off, 0);
		make_paging(s);
		make_descriptors(s);
		make_base(s, &s->base);
		cfg.mem = s->mem;
		cfg.log = s->log;
		cfg.clock = s->clock;
		cfg.cpuid = s->cpuid;
		rc = ops->vm_init(&s->vm, &cfg, &e);
	}
	if (rc) {
		fprintf(stderr, "cannot make the test guest: %s\n", err_msg(e));
		err_free(&e);
		soft_destroy(s);
		return NULL;
	}
	return s;
}

void soft_destroy(struct soft *s)
{
	if (!s)
		return;
	if (s->vm)
		s->ops->vm_fini(s->vm);
	if (s->mem)
		mem_destroy(s->mem);
	if (s->cpuid)
		x86_cpuid_destroy(s->cpuid);
	vclock_destroy(s->clock);
	log_destroy(s->log);
	free(s);
}

const struct x86_cpuid *soft_cpuid(const struct soft *s)
{
	return s->cpuid;
}

/* --- one case --- */

static void load_state(struct soft *s, const struct icase *c)
{
	struct x86_state *st = &s->state;

	*st = s->base;
	memcpy(st->gpr, c->in.gpr, sizeof(st->gpr));
	st->rip = c->in.rip;
	st->rflags = c->in.rflags | 2;
	if (c->mode32)
		st->seg[X86_CS] = user_segment(0x23, SEG_G | SEG_DB | 0xfb);
	else
		st->seg[X86_CS] = user_segment(0x33, SEG_G | SEG_L | 0xfb);
	st->seg[X86_FS].base = c->in.fs_base;
	st->seg[X86_GS].base = c->in.gs_base;
	st->xsave = c->in.x;
}

static bool has_error_code(unsigned v)
{
	return v == X86_DF || (v >= X86_TS && v <= X86_PF) || v == X86_AC;
}

/* What the handler at RIP was entered with: the frame under RSP0. */
static bool take_result(struct soft *s, struct iresult *r)
{
	const struct x86_state *st = &s->state;
	uint64_t off = st->rip - KTEXT;
	const uint8_t *frame = s->ram + KERNEL + 0x4000 - 40;

	if (off >= 256 * HANDLER_SIZE || off % HANDLER_SIZE != 1)
		return false;
	r->vector = (uint8_t)(off / HANDLER_SIZE);
	r->error = has_error_code(r->vector) ? get_le32(frame - 8) : 0;
	r->cr2 = r->vector == X86_PF ? st->cr2 : 0;
	memcpy(r->out.gpr, st->gpr, sizeof(r->out.gpr));
	r->out.rip = get_le64(frame);
	r->out.cs = get_le16(frame + 8);
	r->out.rflags = get_le64(frame + 16);
	r->out.gpr[X86_RSP] = get_le64(frame + 24);
	r->out.x = st->xsave;
	return true;
}

static void load_page(struct soft *s, const struct icase *c, unsigned pg)
{
	uint64_t at = ARENA_PHYS + pg * 0x1000;

	case_memory(s->ram + at, pg, c);
	mem_written(s->mem, s->ram_off + at, 0x1000);
}

static bool run_loaded(struct soft *s, const struct icase *c, struct iresult *r, const char **why)
{
	enum engine_exit x;

	load_state(s, c);
	s->ops->set(s->vm, 0, &s->state);
	x = s->ops->run(s->vm, 0);
	s->ops->get(s->vm, 0, &s->state);
	for (unsigned i = 0; i < PG_COUNT; i++)
		memcpy(r->mem[i], s->ram + ARENA_PHYS + i * 0x1000, 4096);
	if (x != ENGINE_EXIT_HALT) {
		static const char *const names[] = {"kick",	"halt",	 "SIPI",
						    "shutdown", "debug", "error"};

		*why = names[x];
		return false;
	}
	*why = "HLT elsewhere";
	return take_result(s, r);
}

bool soft_run(struct soft *s, const struct icase *c, struct iresult *r, const char **why)
{
	for (unsigned i = 0; i < PG_COUNT; i++)
		load_page(s, c, i);
	return run_loaded(s, c, r, why);
}

bool soft_again(struct soft *s, const struct icase *c, struct iresult *r, const char **why)
{
	for (unsigned i = 0; i < PG_COUNT; i++)
		if (!arena_pages[i].exec)
			load_page(s, c, i);
	return run_loaded(s, c, r, why);
}
