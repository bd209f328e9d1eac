/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's paravirtual interface, as its guests know it: kvmclock, steal time with the "preempted"
 * byte, PV EOI, hypercalls.  (Linux Documentation/virt/kvm/x86/{msr,cpuid,hypercalls}.rst.)
 *
 * kvmclock is a function of the TSC alone: time 0 is TSC 0 of the VM (before any offset that the
 * guest wrote), and the rate is fixed.  So all vCPUs compute the same time from the same instant,
 * which is what the "stable" flag promises, and nothing has to be written again unless a vCPU's TSC
 * offset changes.
 *
 * The structures lie in guest memory, at addresses that the guest chose: what is not RAM is dropped
 * with a log line.  All of this runs on the vCPU's own thread; guest threads on other vCPUs read at
 * any time, hence the version counts (odd while a structure changes) and the atomic exchange of the
 * preempted byte.
 */
#include <sched.h>
#include <string.h>
#include <time.h>
#include "base/loop.h"
#include "x86/cpuid.h"
#include "x86/kvmpv_int.h"
#include "x86/mmu.h"
#include "x86/sys.h"

#define MSR_KVM_WALL_CLOCK_OLD 0x11
#define MSR_KVM_SYSTEM_TIME_OLD 0x12
#define MSR_KVM_WALL_CLOCK 0x4b564d00
#define MSR_KVM_SYSTEM_TIME 0x4b564d01
#define MSR_KVM_STEAL_TIME 0x4b564d03
#define MSR_KVM_PV_EOI 0x4b564d04
#define MSR_KVM_POLL_CONTROL 0x4b564d05

#define KVM_HC_VAPIC_POLL_IRQ 1
#define KVM_HC_KICK_CPU 5
#define KVM_HC_SEND_IPI 10
#define KVM_HC_SCHED_YIELD 11
#define KVM_ENOSYS 1000
#define KVM_EPERM 1

#define NS_PER_S UINT64_C(1000000000)
#define ENABLE BIT(0)

/* The guest may put these at any multiple of 4. */
#define ALIGNED_4 __attribute__((packed, aligned(4)))

struct pvclock { /* pvclock_vcpu_time_info */
	uint32_t version, pad0;
	uint64_t tsc_timestamp ALIGNED_4, system_time ALIGNED_4;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};
#define PVCLOCK_STABLE BIT(0)

struct wallclock {
	uint32_t version, sec, nsec;
};

struct steal_time {
	uint64_t steal ALIGNED_4;
	uint32_t version, flags;
	uint8_t preempted, pad0[3];
	uint32_t pad[11];
};
#define VCPU_PREEMPTED BIT(0)
#define VCPU_FLUSH_TLB BIT(1)

_Static_assert(sizeof(struct pvclock) == 32 && sizeof(struct steal_time) == 64, "guest ABI");

/* Host address of a structure in guest RAM, or NULL. */
static void *area(struct x86_cpu *c, uint64_t at, unsigned size)
{
	void *p = at & 3 ? NULL : mem_dma_ptr(c->vm->mem, GPA(at), size);

	if (!p)
		LOGF(c->log, GUEST_ERRORS, "cpu%u: no paravirtual area can be at %#lx\n", c->index, at);
	return p;
}

static void area_written(struct x86_cpu *c, const void *p, unsigned size)
{
	mem_written(c->vm->mem, (uint64_t)((const uint8_t *)p - mem_ram_base(c->vm->mem)), size);
}

/* Begin (odd) or end (even) a change of a structure with a version count. */
static void version_step(uint32_t *version, bool begin)
{
	uint32_t v = __atomic_load_n(version, __ATOMIC_RELAXED);

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(version, begin ? v | 1 : (v | 1) + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* --- kvmclock --- */

/* ns = (tsc << shift) * mul >> 32, with as many bits in mul as fit. */
static void clock_scale(uint32_t khz, uint32_t *mul, int8_t *shift)
{
	uint64_t hz = (uint64_t)(khz ? khz : 1) * 1000;
	int s = 0;

	while (s < 31 && ((unsigned __int128)NS_PER_S << 32) / hz >> s >= BIT(32))
		s++;
	while (s > -31 && ((unsigned __int128)NS_PER_S << (32 + (s < 0 ? -s : 0))) / hz < BIT(31))
		s--;
	*shift = (int8_t)s;
	*mul = (uint32_t)(s < 0 ? ((unsigned __int128)NS_PER_S << (32 - s)) / hz :
				  ((unsigned __int128)NS_PER_S << 32) / hz >> s);
}

static uint64_t clock_ns(struct x86_cpu *c)
{
	uint64_t tsc = vclock_tsc(c->vm->clock);
	uint32_t mul;
	int8_t shift;

	clock_scale(x86_cpuid_tsc_khz(c->vm->cpuid), &mul, &shift);
	tsc = shift < 0 ? tsc >> -shift : tsc << shift;
	return (uint64_t)(((unsigned __int128)tsc * mul) >> 32);
}

static void clock_write(struct x86_cpu *c)
{
	uint64_t msr = c->s.kvm.system_time;
	struct pvclock *p;

	if (!(msr & ENABLE))
		return;
	p = area(c, msr & ~ENABLE, sizeof(*p));
	if (!p)
		return;
	version_step(&p->version, true);
	p->tsc_timestamp = c->s.tsc_offset;
	p->system_time = 0;
	clock_scale(x86_cpuid_tsc_khz(c->vm->cpuid), &p->tsc_to_system_mul, &p->tsc_shift);
	p->flags = x86_cpuid_has(c->vm->cpuid, X86_FEAT_KVMCLOCK_STABLE) ? PVCLOCK_STABLE : 0;
	version_step(&p->version, false);
	area_written(c, p, sizeof(*p));
}

/* The time of day when kvmclock was 0. */
static void wallclock_write(struct x86_cpu *c, uint64_t at)
{
	struct wallclock *w = area(c, at, sizeof(*w));
	uint64_t boot;

	if (!w)
		return;
	boot = (uint64_t)vclock_time_of_day(c->vm->clock) - clock_ns(c);
	version_step(&w->version, true);
	w->sec = (uint32_t)(boot / NS_PER_S);
	w->nsec = (uint32_t)(boot % NS_PER_S);
	version_step(&w->version, false);
	area_written(c, w, sizeof(*w));
}

void kvmpv_tsc_changed(struct x86_cpu *c)
{
	clock_write(c);
}

/* --- steal time --- */

static int64_t clock_read(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}

/* Time that this thread wanted to run and did not: wall time less processor time, while not
 * asleep.  On a manual clock there is none. */
static void steal_account(struct x86_cpu *c, bool running)
{
	int64_t wall, cpu;

	if (vclock_manual(c->vm->clock))
		return;
	wall = clock_read(CLOCK_MONOTONIC);
	cpu = clock_read(CLOCK_THREAD_CPUTIME_ID);
	if (c->steal.wall) {
		int64_t lost = (wall - c->steal.wall) - (cpu - c->steal.cpu);

		if (lost > 0)
			c->steal.stolen += (uint64_t)lost;
	}
	c->steal.wall = running ? wall : 0;
	c->steal.cpu = cpu;
}

static struct steal_time *steal_area(struct x86_cpu *c)
{
	if (!(c->s.kvm.steal_time & ENABLE))
		return NULL;
	return area(c, c->s.kvm.steal_time & ~ENABLE, sizeof(struct steal_time));
}

void x86_kvmpv_halt(struct x86_cpu *c)
{
	struct steal_time *t = steal_area(c);

	if (!t)
		return;
	steal_account(c, false);
	__atomic_store_n(&t->preempted, VCPU_PREEMPTED, __ATOMIC_SEQ_CST);
	area_written(c, t, sizeof(*t));
}

void x86_kvmpv_resume(struct x86_cpu *c)
{
	struct steal_time *t = steal_area(c);

	if (unlikely(c->pv_refresh)) {
		c->pv_refresh = false;
		clock_write(c);
	}
	if (!t)
		return;
	steal_account(c, true);
	/* Others that saw the byte left their TLB flushes to us (KVM_FEATURE_PV_TLB_FLUSH). */
	if (__atomic_exchange_n(&t->preempted, 0, __ATOMIC_SEQ_CST) & VCPU_FLUSH_TLB)
		x86_tlb_flush(c, true);
	version_step(&t->version, true);
	t->steal += c->steal.stolen;
	c->steal.stolen = 0;
	version_step(&t->version, false);
	area_written(c, t, sizeof(*t));
}

/* --- MSRs --- */

static bool has(const struct x86_cpu *c, enum x86_feature f)
{
	return x86_cpuid_has(c->vm->cpuid, f);
}

/* The MSR that index names, when it is offered. */
static uint64_t *msr_slot(struct x86_cpu *c, uint32_t index)
{
	struct x86_kvm_msrs *k = &c->s.kvm;

	switch (index) {
	case MSR_KVM_WALL_CLOCK_OLD:
		return has(c, X86_FEAT_KVMCLOCK_OLD) ? &k->wall_clock : NULL;
	case MSR_KVM_SYSTEM_TIME_OLD:
		return has(c, X86_FEAT_KVMCLOCK_OLD) ? &k->system_time : NULL;
	case MSR_KVM_WALL_CLOCK:
		return has(c, X86_FEAT_KVMCLOCK) ? &k->wall_clock : NULL;
	case MSR_KVM_SYSTEM_TIME:
		return has(c, X86_FEAT_KVMCLOCK) ? &k->system_time : NULL;
	case MSR_KVM_STEAL_TIME:
		return has(c, X86_FEAT_KVM_STEAL_TIME) ? &k->steal_time : NULL;
	case MSR_KVM_PV_EOI:
		return has(c, X86_FEAT_KVM_PV_EOI) ? &k->pv_eoi : NULL;
	case MSR_KVM_POLL_CONTROL:
		return has(c, X86_FEAT_KVM_POLL_CONTROL) ? &k->poll_control : NULL;
	}
	return NULL;
}

bool kvmpv_rdmsr(struct x86_cpu *c, uint32_t index, uint64_t *val)
{
	const uint64_t *slot = msr_slot(c, index);

	if (!slot)
		return false;
	*val = *slot;
	return true;
}

static bool value_ok(uint32_t index, uint64_t val)
{
	switch (index) {
	case MSR_KVM_STEAL_TIME: return !(val & 0x3e);
	case MSR_KVM_PV_EOI: return !(val & 2);
	case MSR_KVM_POLL_CONTROL: return val <= 1;
	}
	return true;
}

bool kvmpv_wrmsr(struct x86_cpu *c, uint32_t index, uint64_t val)
{
	uint64_t *slot = msr_slot(c, index);

	if (!slot || !value_ok(index, val))
		return false;
	*slot = val;
	switch (index) {
	case MSR_KVM_WALL_CLOCK_OLD:
	case MSR_KVM_WALL_CLOCK:
		wallclock_write(c, val);
		break;
	case MSR_KVM_SYSTEM_TIME_OLD:
	case MSR_KVM_SYSTEM_TIME:
		clock_write(c);
		break;
	case MSR_KVM_STEAL_TIME:
		c->steal.wall = 0;
		x86_kvmpv_resume(c);
		break;
	case MSR_KVM_PV_EOI:
		X86_HOST(c, pv_eoi, c->index, val & ENABLE ? val & ~ENABLE : 0);
		break;
	}
	return true;
}

void x86_kvmpv_reset(struct x86_cpu *c)
{
	memset(&c->s.kvm, 0, sizeof(c->s.kvm));
	c->s.kvm.poll_control = 1;
	c->steal = (struct x86_steal){ 0 };
	X86_HOST(c, pv_eoi, c->index, 0);
}

/* --- hypercalls --- */

/* 64-bit callers give a bitmap of 128 APIC IDs in two registers, 32-bit ones 64. */
static int64_t send_ipi(struct x86_cpu *c, const uint64_t a[4], bool wide)
{
	uint64_t lo = a[0], hi = a[1];

	if (!wide) {
		lo |= hi << 32;
		hi = 0;
	}
	return X86_HOST(c, pv_ipi, lo, hi, (uint32_t)a[2], (uint32_t)a[3]);
}

static int64_t hypercall(struct x86_cpu *c, uint64_t nr, const uint64_t a[4], bool wide)
{
	if (x86_cpl(&c->s))
		return -KVM_EPERM;
	switch (nr) {
	case KVM_HC_VAPIC_POLL_IRQ:
		return 0;
	case KVM_HC_KICK_CPU:
		if (!has(c, X86_FEAT_KVM_PV_UNHALT))
			break;
		X86_HOST(c, pv_kick, (uint32_t)a[1]);
		return 0;
	case KVM_HC_SEND_IPI:
		if (!has(c, X86_FEAT_KVM_PV_IPI))
			break;
		return send_ipi(c, a, wide);
	case KVM_HC_SCHED_YIELD:
		if (!has(c, X86_FEAT_KVM_PV_SCHED_YIELD))
			break;
		sched_yield();
		return 0;
	}
	LOGF(c->log, UNIMP, "cpu%u: hypercall %lu\n", c->index, nr);
	return -KVM_ENOSYS;
}

void x86_hypercall(struct x86_cpu *c)
{
	bool wide = c->mode & X86_MODE_CS64;
	uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
	const uint64_t *g = c->s.gpr;
	uint64_t a[4] = { g[X86_RBX] & mask, g[X86_RCX] & mask, g[X86_RDX] & mask,
			  g[X86_RSI] & mask };

	c->s.gpr[X86_RAX] = (uint64_t)hypercall(c, g[X86_RAX] & mask, a, wide) & mask;
}
