/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A machine of RAM and vCPUs without an engine, for tests of src/x86. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "mem/mem.h"
#include "x86/cpuid.h"
#include "x86/debug.h"
#include "x86/mmu.h"
#include "x86/sys.h"

#define FIX_RAM (64 * MiB)
#define FIX_ROM_AT UINT64_C(0xf0000000)
#define FIX_IO_AT UINT64_C(0xe0000000)
#define FIX_CPUS_MAX 4

struct fixture {
	struct log *log;
	struct mem *mem;
	struct vclock *clock;
	struct x86_cpuid *cpuid;
	struct x86_vm vm;
	struct x86_cpu *cpu[FIX_CPUS_MAX];
	uint64_t ram_off, rom_off;
	struct io_region io;
	uint64_t io_regs[512];
	unsigned io_reads, io_writes;
	/* What the host operations saw last. */
	uint32_t apic_off, apic_val;
	unsigned apic_size, apic_reads, apic_writes, wakes;
	uint64_t msr[0x100], deadline, apic_base;
	uint8_t tpr;
	uint64_t pv_eoi, ipi_lo, ipi_hi;
	uint32_t ipi_min, ipi_icr, kicked;
};

static int fix_intr_ack(void *o, unsigned cpu)
{
	return -1;
}

static bool fix_rdmsr(void *o, unsigned cpu, uint32_t index, uint64_t *val)
{
	struct fixture *f = o;

	*val = index == 0x6e0 ? f->deadline : f->msr[index & 0xff];
	return true;
}

static bool fix_wrmsr(void *o, unsigned cpu, uint32_t index, uint64_t val)
{
	struct fixture *f = o;

	if (index == 0x6e0)
		f->deadline = val;
	else if (index == 0x1b)
		f->apic_base = val;
	else
		f->msr[index & 0xff] = val;
	return true;
}

static uint32_t fix_apic_read(void *o, unsigned cpu, uint32_t off, unsigned size)
{
	struct fixture *f = o;

	f->apic_reads++;
	f->apic_off = off;
	f->apic_size = size;
	return 0x5a000000 | off;
}

static void fix_apic_write(void *o, unsigned cpu, uint32_t off, uint32_t val, unsigned size)
{
	struct fixture *f = o;

	f->apic_writes++;
	f->apic_off = off;
	f->apic_val = val;
	f->apic_size = size;
}

static uint8_t fix_tpr_get(void *o, unsigned cpu)
{
	return ((struct fixture *)o)->tpr;
}

static void fix_tpr_set(void *o, unsigned cpu, uint8_t v)
{
	((struct fixture *)o)->tpr = v;
}

static void fix_pv_eoi(void *o, unsigned cpu, uint64_t at)
{
	((struct fixture *)o)->pv_eoi = at;
}

static int fix_pv_ipi(void *o, uint64_t lo, uint64_t hi, uint32_t min, uint32_t icr)
{
	struct fixture *f = o;

	f->ipi_lo = lo;
	f->ipi_hi = hi;
	f->ipi_min = min;
	f->ipi_icr = icr;
	return 3;
}

static void fix_pv_kick(void *o, uint32_t apic_id)
{
	((struct fixture *)o)->kicked = apic_id;
}

static void fix_wake(void *o, unsigned cpu)
{
	__atomic_fetch_add(&((struct fixture *)o)->wakes, 1, __ATOMIC_SEQ_CST);
}

static const struct x86_host_ops fix_host = {
	.intr_ack = fix_intr_ack, .apic_rdmsr = fix_rdmsr, .apic_wrmsr = fix_wrmsr,
	.apic_read = fix_apic_read, .apic_write = fix_apic_write, .tpr_get = fix_tpr_get,
	.tpr_set = fix_tpr_set, .pv_eoi = fix_pv_eoi, .pv_ipi = fix_pv_ipi, .pv_kick = fix_pv_kick,
	.wake = fix_wake,
};

static uint64_t fix_io_read(void *o, uint64_t off, unsigned size)
{
	struct fixture *f = o;

	f->io_reads++;
	return f->io_regs[off / 8] >> 8 * (off & 7) & mask_size(size);
}

static void fix_io_write(void *o, uint64_t off, uint64_t val, unsigned size)
{
	struct fixture *f = o;

	f->io_writes++;
	f->io_regs[off / 8] = val;
}

static const struct io_ops fix_io_ops = { .read = fix_io_read, .write = fix_io_write,
					  .min = 4, .max = 8 };

static void fix_protect(void *o, uint64_t ram_off)
{
	struct fixture *f = o;

	x86_excl_begin(&f->vm, NULL);
	for (unsigned i = 0; i < f->vm.n_cpus; i++)
		x86_tlb_protect(f->cpu[i], ram_off);
	x86_excl_end(&f->vm, NULL);
}

/* 64 MiB of RAM at 0, 64 KiB of ROM, a page of registers; n vCPUs in reset state. */
static struct fixture *fix_new(const char *model, unsigned n)
{
	struct fixture *f = xzalloc(sizeof(*f));
	struct page_ops ops = { .protect = fix_protect, .opaque = f };
	struct err *e = NULL;

	f->log = log_create();
	f->clock = vclock_create();
	assert_int_equal(mem_create(&f->mem, FIX_RAM + 64 * KiB, f->log, &e), 0);
	f->ram_off = mem_ram_alloc(f->mem, FIX_RAM);
	f->rom_off = mem_ram_alloc(f->mem, 64 * KiB);
	mem_map_ram(f->mem, GPA(0), FIX_RAM, f->ram_off, 0);
	mem_map_rom(f->mem, GPA(FIX_ROM_AT), 64 * KiB, f->rom_off, NULL, 0);
	f->io = (struct io_region){ .name = "regs", .ops = &fix_io_ops, .opaque = f,
				    .size = PAGE_SIZE };
	mem_map_io(f->mem, GPA(FIX_IO_AT), &f->io, 0);
	mem_set_page_ops(f->mem, &ops);
	assert_int_equal(x86_cpuid_create(&f->cpuid, model, n, 2000000, &e), 0);
	f->vm = (struct x86_vm){ .mem = f->mem, .log = f->log, .clock = f->clock, .cpuid = f->cpuid,
				 .host = &fix_host, .host_opaque = f, .n_cpus = n, .cpus = f->cpu };
	assert_int_equal(x86_excl_init(&f->vm), 0);
	for (unsigned i = 0; i < n; i++) {
		f->cpu[i] = xzalloc_aligned(64, sizeof(struct x86_cpu));
		x86_state_reset(&f->cpu[i]->s, i == 0, 0x600);
		x86_cpu_init(f->cpu[i], &f->vm, i, i);
	}
	vclock_start(f->clock);
	return f;
}

static void fix_free(struct fixture *f)
{
	for (unsigned i = 0; i < f->vm.n_cpus; i++) {
		x86_cpu_fini(f->cpu[i]);
		free(f->cpu[i]);
	}
	x86_excl_fini(&f->vm);
	x86_cpuid_destroy(f->cpuid);
	mem_destroy(f->mem);
	vclock_destroy(f->clock);
	log_destroy(f->log);
	free(f);
}

#define NO_FAULT (-1)

/* Vector that `what` raises, or NO_FAULT. */
#define FAULT(c, what)                                                                             \
	({                                                                                         \
		jmp_buf buf_;                                                                      \
		volatile int r_ = NO_FAULT;                                                        \
		(c)->unwind = &buf_;                                                               \
		if (!setjmp(buf_)) {                                                               \
			what;                                                                      \
		} else {                                                                           \
			r_ = (c)->exc.vector;                                                      \
		}                                                                                  \
		(c)->unwind = NULL;                                                                \
		r_;                                                                                \
	})

#define assert_pf(c, what, addr, err)                                                              \
	do {                                                                                       \
		assert_int_equal(FAULT(c, what), X86_PF);                                          \
		assert_true((c)->exc.has_error);                                                   \
		assert_int_equal((c)->exc.error, err);                                             \
		assert_int_equal((c)->s.cr2, addr);                                                \
	} while (0)
#define assert_ok(c, what) assert_int_equal(FAULT(c, what), NO_FAULT)
#define assert_gp(c, what)                                                                         \
	do {                                                                                       \
		assert_int_equal(FAULT(c, what), X86_GP);                                          \
		assert_int_equal((c)->exc.error, 0);                                               \
	} while (0)

static struct x86_segment fix_seg(uint16_t sel, uint16_t attr)
{
	return (struct x86_segment){ .limit = UINT32_MAX, .sel = sel, .attr = attr };
}

/* Flat segments of privilege cpl; code of 64 or 32 bits. */
static inline void fix_segments(struct x86_cpu *c, unsigned cpl, bool wide)
{
	uint16_t dpl = (uint16_t)(cpl << 5);

	c->s.seg[X86_CS] = fix_seg((uint16_t)(8 | cpl), dpl | (wide ? 0xa09b : 0xc09b));
	for (unsigned i = 0; i < 4; i++)
		if (i != X86_CS)
			c->s.seg[i] = fix_seg((uint16_t)(16 | cpl), dpl | 0xc093);
	x86_update_mode(c);
}

static inline void fix_poke64(struct fixture *f, uint64_t at, uint64_t v)
{
	mem_write(f->mem, GPA(at), v, 8);
}

static inline uint64_t fix_peek64(struct fixture *f, uint64_t at)
{
	return mem_read(f->mem, GPA(at), 8);
}

static inline void fix_poke32(struct fixture *f, uint64_t at, uint32_t v)
{
	mem_write(f->mem, GPA(at), v, 4);
}

static inline uint32_t fix_peek32(struct fixture *f, uint64_t at)
{
	return (uint32_t)mem_read(f->mem, GPA(at), 4);
}

/* Where fix_long keeps its tables. */
#define PML4 0x10000
#define PDPT 0x11000
#define PD 0x12000
#define PT 0x13000
#define RW_U 7 /* present, writable, user */

/* 64-bit mode at CPL 0; the first 2 MiB by 4 KiB pages through PT, the next ones by 2 MiB pages. */
static inline void fix_long(struct fixture *f, struct x86_cpu *c, uint64_t cr4, uint64_t efer)
{
	fix_poke64(f, PML4, PDPT | RW_U);
	fix_poke64(f, PDPT, PD | RW_U);
	fix_poke64(f, PD, PT | RW_U);
	for (unsigned i = 1; i < 512; i++)
		fix_poke64(f, PD + 8 * i, (uint64_t)i << 21 | RW_U | 0x80);
	for (unsigned i = 0; i < 512; i++)
		fix_poke64(f, PT + 8 * i, (uint64_t)i << 12 | RW_U);
	c->s.efer = EFER_LME | efer;
	c->s.cr4 = CR4_PAE | cr4;
	c->s.cr0 = CR0_PE | CR0_ET;
	c->s.cr3 = PML4;
	fix_segments(c, 0, false);
	assert_ok(c, x86_set_cr(c, 0, CR0_PE | CR0_PG | CR0_ET | CR0_WP));
	fix_segments(c, 0, true);
}
