/* SPDX-License-Identifier: Apache-2.0 */
/* MSRs, control and debug registers, KVM's paravirtual interface, reset and saved state. */
#include "state/state.h"
#include "x86_fixture.h"

static int setup(void **state)
{
	*state = fix_new("max,vendor=GenuineIntel", 1);
	return 0;
}

static int teardown(void **state)
{
	fix_free(*state);
	return 0;
}

/* What a Linux kernel reads without being ready for a fault. */
static void linux_reads(void **state)
{
	static const uint32_t list[] = {
		0x10, 0x17, 0x1b, 0x2a, 0x34, 0x3a, 0x3b, 0x48, 0x8b, 0xce, 0xfe, 0x10a, 0x174,
		0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x1d9, 0x200, 0x20f, 0x250, 0x258, 0x259, 0x268, 0x26f,
		0x277, 0x2ff, 0x6e0, 0x802, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083,
		0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0x4b564d00,
		0x4b564d01, 0x4b564d03, 0x4b564d04, 0x4b564d05, 0x11, 0x12,
	};
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	for (volatile unsigned i = 0; i < ARRAY_SIZE(list); i++)
		if (FAULT(c, x86_rdmsr(c, list[i])) != NO_FAULT)
			fail_msg("MSR %#x cannot be read", list[i]);
	assert_int_equal(x86_rdmsr(c, 0x10a) & 0x1ff, 0x17b);
	assert_int_equal(x86_rdmsr(c, 0xfe), 0x508);
	assert_gp(c, x86_rdmsr(c, 0xdead));
	assert_gp(c, x86_wrmsr(c, 0xdead, 0));
	assert_gp(c, x86_wrmsr(c, 0xfe, 0));
	assert_gp(c, x86_rdmsr(c, 0xc0010015)); /* AMD's */
	assert_ok(c, x86_wrmsr(c, 0x8b, 0));
	assert_true(x86_rdmsr(c, 0x8b) >> 32 == 1);
}

static void rules(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	assert_gp(c, x86_wrmsr(c, 0xc0000082, BIT(47)));
	assert_ok(c, x86_wrmsr(c, 0xc0000082, 0xffff800000000000));
	assert_true(c->s.lstar == 0xffff800000000000);
	assert_gp(c, x86_wrmsr(c, 0xc0000103, BIT(32)));
	assert_ok(c, x86_wrmsr(c, 0xc0000101, 0x1234));
	assert_int_equal(c->s.seg[X86_GS].base, 0x1234);
	assert_gp(c, x86_wrmsr(c, 0x277, 0x0007040600070402));
	assert_ok(c, x86_wrmsr(c, 0x277, 0x0007010600070406));
	assert_gp(c, x86_wrmsr(c, 0x2ff, 0x1006));
	assert_gp(c, x86_wrmsr(c, 0x2ff, 2));
	assert_ok(c, x86_wrmsr(c, 0x2ff, 0xc06));
	assert_gp(c, x86_wrmsr(c, 0x250, 0x0606060606060602));
	assert_ok(c, x86_wrmsr(c, 0x250, 0x0606060606060606));
	assert_gp(c, x86_wrmsr(c, 0x201, BIT(x86_cpuid_phys_bits(f->cpuid)) | 0x800));
	assert_ok(c, x86_wrmsr(c, 0x201, 0xc0000800));
	assert_int_equal(c->s.mtrr_var[0].mask, 0xc0000800);
	assert_ok(c, x86_wrmsr(c, 0x3a, 1));
	assert_gp(c, x86_wrmsr(c, 0x3a, 1));
	assert_gp(c, x86_wrmsr(c, 0x49, 2));
	assert_ok(c, x86_wrmsr(c, 0x49, 1));
	assert_gp(c, x86_wrmsr(c, 0xc0000080, BIT(1)));
	/* LMA is not for software to set. */
	assert_ok(c, x86_wrmsr(c, 0xc0000080, EFER_LME | EFER_LMA | EFER_SCE));
	assert_int_equal(c->s.efer, EFER_LME | EFER_SCE);
}

static void apic_base(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	assert_gp(c, x86_wrmsr(c, 0x1b, 0xfee00000 | BIT(10)));
	assert_gp(c, x86_wrmsr(c, 0x1b, 0xfee00001 | BIT(11)));
	assert_gp(c, x86_wrmsr(c, 0x1b, BIT(50) | BIT(11)));
	assert_ok(c, x86_wrmsr(c, 0x1b, 0xfee00000 | BIT(11) | BIT(10)));
	assert_int_equal(f->apic_base, 0xfee00d00);
	assert_int_equal(x86_rdmsr(c, 0x1b), 0xfee00d00);
	assert_gp(c, x86_wrmsr(c, 0x1b, 0xfee00000 | BIT(11))); /* x2APIC to xAPIC */
	assert_ok(c, x86_wrmsr(c, 0x1b, 0xfee00000));
	assert_gp(c, x86_wrmsr(c, 0x1b, 0xfee00000 | BIT(11) | BIT(10))); /* off to x2APIC */
}

static void tsc(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t t;

	f->deadline = 77;
	assert_ok(c, x86_wrmsr(c, 0x10, BIT(50)));
	t = x86_rdtsc(c);
	assert_true(t >= BIT(50) && t < BIT(50) + BIT(40));
	assert_true(c->s.tsc_adjust == c->s.tsc_offset);
	assert_ok(c, x86_wrmsr(c, 0x3b, 0));
	assert_int_equal(c->s.tsc_offset, 0);
	assert_true(x86_rdtsc(c) < BIT(50));
	assert_int_equal(f->deadline, 77);
}

static void cr0_cr4(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	assert_gp(c, x86_set_cr(c, 0, CR0_PG));
	assert_gp(c, x86_set_cr(c, 0, CR0_NW));
	assert_gp(c, x86_set_cr(c, 0, BIT(32)));
	assert_gp(c, x86_set_cr(c, 4, CR4_LA57));
	assert_gp(c, x86_set_cr(c, 4, BIT(40)));
	assert_gp(c, x86_set_cr(c, 4, CR4_PCIDE));
	assert_gp(c, x86_set_cr(c, 8, 16));
	assert_ok(c, x86_set_cr(c, 8, 5));
	assert_int_equal(f->tpr, 5);
	assert_int_equal(x86_get_cr(c, 8), 5);
	assert_int_equal(FAULT(c, x86_get_cr(c, 1)), X86_UD);
	assert_int_equal(FAULT(c, x86_set_cr(c, 5, 0)), X86_UD);
	assert_ok(c, x86_lmsw(c, 0xfff1));
	assert_int_equal(c->s.cr0 & 0xffff, CR0_PE | CR0_ET);
	assert_ok(c, x86_lmsw(c, CR0_TS));
	assert_int_equal(c->s.cr0 & 0xf, CR0_PE | CR0_TS);
	/* Into long mode: PAE first, no L bit in CS. */
	c->s.efer = EFER_LME;
	assert_gp(c, x86_set_cr(c, 0, CR0_PE | CR0_PG));
	fix_long(f, c, 0, 0);
	assert_true(c->s.efer & EFER_LMA);
	assert_gp(c, x86_set_cr(c, 4, 0));
	assert_gp(c, x86_set_cr(c, 0, CR0_PE)); /* from 64-bit code */
	assert_gp(c, x86_set_cr(c, 3, BIT(60)));
	assert_gp(c, x86_wrmsr(c, 0xc0000080, 0));
	fix_segments(c, 0, false);
	assert_ok(c, x86_set_cr(c, 0, CR0_PE));
	assert_false(c->s.efer & EFER_LMA);
	assert_false(c->mode & X86_MODE_LMA);
}

static void debug_registers(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	assert_ok(c, x86_set_dr(c, 4, 0xffffffff));
	assert_int_equal(x86_get_dr(c, 6), 0xffffefff);
	assert_ok(c, x86_set_dr(c, 5, 0x10000fff));
	assert_int_equal(x86_get_dr(c, 7), 0x100007ff);
	assert_gp(c, x86_set_dr(c, 7, BIT(32)));
	assert_ok(c, x86_set_cr(c, 4, CR4_DE));
	assert_int_equal(FAULT(c, x86_get_dr(c, 4)), X86_UD);
	assert_int_equal(FAULT(c, x86_set_dr(c, 8, 0)), X86_UD);
	assert_ok(c, x86_set_dr(c, 6, 0));
	assert_ok(c, x86_set_dr(c, 7, BIT(13)));
	assert_int_equal(FAULT(c, x86_set_dr(c, 0, 1)), X86_DB);
	assert_true(c->s.dr6 & BIT(13));
	assert_int_equal(c->s.dr[0], 0);
}

static void xcr0(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	if (!x86_cpuid_has(f->cpuid, X86_FEAT_XSAVE))
		skip();
	assert_int_equal(FAULT(c, x86_xsetbv(c, 0, 1)), X86_UD);
	assert_int_equal(FAULT(c, x86_xgetbv(c, 0)), X86_UD);
	assert_ok(c, x86_set_cr(c, 4, CR4_OSXSAVE));
	assert_gp(c, x86_xsetbv(c, 0, 2));
	assert_gp(c, x86_xsetbv(c, 0, 5));
	assert_gp(c, x86_xsetbv(c, 0, 0x13));
	assert_gp(c, x86_xsetbv(c, 1, 1));
	assert_ok(c, x86_xsetbv(c, 0, 3));
	assert_int_equal(x86_xgetbv(c, 0), 3);
	assert_gp(c, x86_xgetbv(c, 2));
}

static uint64_t pvclock_ns(struct fixture *f, uint64_t at, uint64_t now)
{
	uint64_t delta = now - fix_peek64(f, at + 8);
	uint32_t mul = fix_peek32(f, at + 24);
	int8_t shift = (int8_t)mem_read(f->mem, GPA(at + 28), 1);

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return (uint64_t)(((unsigned __int128)delta * mul) >> 32) + fix_peek64(f, at + 16);
}

static void kvmclock(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t t, ns;

	assert_ok(c, x86_wrmsr(c, 0x4b564d01, 0x5001));
	assert_int_equal(fix_peek32(f, 0x5000), 2);
	assert_int_equal(mem_read(f->mem, GPA(0x501d), 1), 1); /* stable */
	t = x86_rdtsc(c);
	ns = pvclock_ns(f, 0x5000, t);
	assert_true(ns >= t / 2 - 1 && ns <= t / 2 + 1); /* at 2 GHz */
	/* A jump of the TSC is none of the clock. */
	assert_ok(c, x86_wrmsr(c, 0x10, BIT(55)));
	assert_int_equal(fix_peek32(f, 0x5000), 4);
	t = pvclock_ns(f, 0x5000, x86_rdtsc(c));
	assert_true(t >= ns && t < ns + 10000000000);
	assert_ok(c, x86_wrmsr(c, 0x4b564d00, 0x6000));
	assert_true((int64_t)fix_peek32(f, 0x6004) >= time(NULL) - 60);
	assert_int_equal(fix_peek32(f, 0x6000) & 1, 0);
	/* Not RAM: dropped. */
	assert_ok(c, x86_wrmsr(c, 0x4b564d01, 0xfffffffffffffff1));
	assert_ok(c, x86_wrmsr(c, 0x4b564d00, FIX_IO_AT));
	/* At any multiple of 4, and nowhere else. */
	assert_ok(c, x86_wrmsr(c, 0x4b564d01, 0x7005));
	assert_int_equal(fix_peek32(f, 0x7004), 2);
	assert_ok(c, x86_wrmsr(c, 0x4b564d01, 0x7107));
	assert_ok(c, x86_wrmsr(c, 0x4b564d00, 0x7201));
	assert_int_equal(fix_peek32(f, 0x7106), 0);
	assert_int_equal(fix_peek32(f, 0x7201), 0);
}

static void steal_time(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	fix_long(f, c, 0, 0);
	assert_gp(c, x86_wrmsr(c, 0x4b564d03, 0x7003));
	assert_ok(c, x86_wrmsr(c, 0x4b564d03, 0x7001));
	assert_ok(c, x86_ld8(c, 0x8000));
	x86_kvmpv_halt(c);
	assert_int_equal(mem_read(f->mem, GPA(0x7010), 1), 1);
	/* Another vCPU leaves a flush to be done. */
	fix_poke64(f, PT + 64, 0);
	mem_write(f->mem, GPA(0x7010), 3, 1);
	x86_kvmpv_resume(c);
	assert_int_equal(mem_read(f->mem, GPA(0x7010), 1), 0);
	assert_int_equal(fix_peek32(f, 0x7008) & 1, 0);
	assert_pf(c, x86_ld8(c, 0x8000), 0x8000, 0);
	assert_ok(c, x86_wrmsr(c, 0x4b564d04, 0x7801));
	assert_int_equal(f->pv_eoi, 0x7800);
	x86_kvmpv_reset(c);
	assert_int_equal(f->pv_eoi, 0);
	assert_int_equal(c->s.kvm.steal_time, 0);
}

static int64_t vmcall(struct x86_cpu *c, uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2,
		      uint64_t a3)
{
	c->s.gpr[X86_RAX] = nr;
	c->s.gpr[X86_RBX] = a0;
	c->s.gpr[X86_RCX] = a1;
	c->s.gpr[X86_RDX] = a2;
	c->s.gpr[X86_RSI] = a3;
	x86_hypercall(c);
	return (int64_t)c->s.gpr[X86_RAX];
}

static void hypercalls(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	fix_long(f, c, 0, 0);
	assert_int_equal(vmcall(c, 1, 0, 0, 0, 0), 0);
	assert_int_equal(vmcall(c, 99, 0, 0, 0, 0), -1000);
	assert_int_equal(vmcall(c, 5, 0, 7, 0, 0), 0);
	assert_int_equal(f->kicked, 7);
	assert_int_equal(vmcall(c, 10, 0x55, 0xaa, 64, 0xfd), 3);
	assert_int_equal(f->ipi_lo, 0x55);
	assert_int_equal(f->ipi_hi, 0xaa);
	assert_int_equal(f->ipi_min, 64);
	assert_int_equal(f->ipi_icr, 0xfd);
	assert_int_equal(vmcall(c, 11, 0, 0, 0, 0), 0);
	fix_segments(c, 3, true);
	assert_int_equal(vmcall(c, 1, 0, 0, 0, 0), -1);
	fix_segments(c, 0, false);
	assert_int_equal(vmcall(c, 10, 0x55, 0xaa, 0, 0xfd), 3);
	assert_true(f->ipi_lo == 0xaa00000055 && f->ipi_hi == 0);
	assert_int_equal(vmcall(c, 99, 0, 0, 0, 0), 0xfffffc18);
}

static void reset(void **state)
{
	struct x86_state s;

	x86_state_reset(&s, true, 0x600);
	assert_int_equal(s.rip + s.seg[X86_CS].base, 0xfffffff0);
	assert_int_equal(s.seg[X86_CS].sel, 0xf000);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.mp_state, X86_MP_RUNNABLE);
	assert_int_equal(s.apic_base, 0xfee00900);
	x86_state_reset(&s, false, 0x600);
	assert_int_equal(s.mp_state, X86_MP_WAIT_SIPI);
}

static void reload(struct x86_state *s, bool good)
{
	struct state_buf b = { 0 };
	struct x86_state t;
	struct err *e = NULL;
	size_t used;
	int r;

	memset(&t, 0, sizeof(t));
	state_save(&b, &x86_state_desc, s);
	r = state_load(&x86_state_desc, &t, b.data, b.len, &used, &e);
	assert_int_equal(r == 0, good);
	if (good) {
		assert_int_equal(used, b.len);
		assert_memory_equal(s, &t, sizeof(t));
	}
	err_free(&e);
	free(b.data);
}

static void saved_state(void **state)
{
	struct fixture *f = *state;
	struct x86_state s, ok;

	fix_long(f, f->cpu[0], CR4_PGE, EFER_NXE);
	x86_cpu_get(f->cpu[0], &ok);
	for (unsigned i = 0; i < 16; i++)
		ok.gpr[i] = i * 0x0101010101010101;
	memset(ok.xsave.xmm, 0xa5, sizeof(ok.xsave.xmm));
	reload(&ok, true);
#define BAD(change)                                                                                \
	do {                                                                                       \
		s = ok;                                                                            \
		change;                                                                            \
		reload(&s, false);                                                                 \
	} while (0)
	BAD(s.cr0 &= ~CR0_PE);
	BAD(s.efer &= ~EFER_LMA);
	BAD(s.cr4 |= BIT(63));
	BAD(s.rflags = 0);
	BAD(s.rflags |= RFLAGS_VM);
	BAD(s.xsave.mxcsr = 0x10000);
	BAD(s.xsave.xstate_bv = 8);
	BAD(s.xcr0 = 4);
	BAD(s.mp_state = 9);
	BAD(s.lstar = BIT(47));
	BAD(s.dr7 = BIT(33));
	BAD(s.seg[X86_DS].attr = 0x100);
	BAD(s.seg[X86_CS].attr |= SEG_DB);
	BAD(s.exc_pending = true; s.exc_vector = 200);
}

static void count_line(void *opaque, const char *line)
{
	unsigned *n = opaque;

	++*n;
	assert_true(strlen(line) < 200);
	if (!strncmp(line, "Code:", 5))
		assert_non_null(strstr(line, "<cc>"));
}

static void report(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	unsigned n = 0;

	fix_long(f, c, 0, 0);
	c->s.rip = 0x9000;
	mem_write(f->mem, GPA(0x9000), 0xcc, 1);
	c->exc_log_n = 11;
	x86_report(c, count_line, &n);
	assert_true(n > 25);
	/* Nothing of it may depend on sane registers. */
	c->s.rip = c->s.gpr[X86_RSP] = UINT64_MAX - 3;
	c->s.cr3 = ~UINT64_C(0);
	c->s.mp_state = 0xff;
	n = 0;
	mem_write(f->mem, GPA(0x9000), 0xcc, 1);
	c->s.rip = 0x9000;
	c->s.cr3 = PML4;
	x86_report(c, count_line, &n);
	assert_true(n > 20);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(linux_reads), T(rules), T(apic_base), T(tsc), T(cr0_cr4), T(debug_registers),
		T(xcr0),
		T(kvmclock), T(steal_time), T(hypercalls), T(reset), T(saved_state), T(report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
