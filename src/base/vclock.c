/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest time.  While running, guest nanoseconds = CLOCK_MONOTONIC - ns_base and guest TSC = host TSC -
 * tsc_base; stopping freezes both and starting moves the bases, so that neither ever jumps.  Readers take
 * no lock: a sequence count tells them to try again while the bases change.
 *
 * A manual clock keeps its time in ns_base at all times, and its TSC is that time.
 */
#include <cpuid.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>
#include "base/base.h"
#include "base/loop.h"
#include "base/vclock_int.h"

/* 2020-01-01 00:00:00 UTC: the time of day at which manual clocks begin. */
#define MANUAL_DAY (INT64_C(1577836800) * 1000000000)
#define MANUAL_TSC_KHZ 1000000

struct vclock {
	bool manual;
	_Atomic uint32_t seq; /* odd while the fields below change */
	_Atomic bool running;
	_Atomic int64_t ns_base;  /* running: subtract from host time; stopped: the time itself */
	_Atomic uint64_t tsc_base;
	uint32_t tsc_khz;
};

int64_t host_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* One moment on both clocks.  Of several tries the one whose two TSC readings lie closest together wins: the
 * others were interrupted. */
struct moment {
	uint64_t tsc;
	int64_t ns;
};

static struct moment moment_now(void)
{
	struct moment best = { 0 };
	uint64_t best_gap = UINT64_MAX;

	for (int i = 0; i < 32; i++) {
		uint64_t before = __rdtsc();
		int64_t ns = host_now();
		uint64_t gap = __rdtsc() - before;

		if (gap < best_gap) {
			best_gap = gap;
			best = (struct moment){ .tsc = before + gap / 2, .ns = ns };
		}
	}
	return best;
}

/* TSC rate against CLOCK_MONOTONIC over 10 ms: good to some parts in a million. */
static uint32_t tsc_measure(void)
{
	const struct timespec window = { .tv_nsec = 10000000 };
	struct moment a = moment_now(), b;

	nanosleep(&window, NULL);
	b = moment_now();
	return (uint32_t)((b.tsc - a.tsc) * 1000000 / (uint64_t)(b.ns - a.ns));
}

/* CPUID 15H gives the rate exactly where the host fills it in (SDM 2A CPUID); KVM hosts have 40000010H. */
static uint32_t tsc_from_cpuid(void)
{
	uint32_t a, b, c, d;

	if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c)
		return (uint32_t)((uint64_t)c * b / a / 1000);
	__cpuid(0x40000000, a, b, c, d);
	if (b == 0x4b4d564b && a >= 0x40000010) {
		__cpuid(0x40000010, a, b, c, d);
		return a;
	}
	return 0;
}

static uint32_t tsc_rate(void)
{
	uint32_t khz = tsc_from_cpuid();

	return khz ? khz : tsc_measure();
}

struct vclock *vclock_create(void)
{
	struct vclock *c = xzalloc(sizeof(*c));

	c->tsc_khz = tsc_rate();
	return c;
}

struct vclock *vclock_create_manual(void)
{
	struct vclock *c = xzalloc(sizeof(*c));

	c->manual = true;
	c->tsc_khz = MANUAL_TSC_KHZ;
	return c;
}

void vclock_destroy(struct vclock *c)
{
	free(c);
}

static void vclock_switch(struct vclock *c, bool run)
{
	if (atomic_load(&c->running) == run)
		return;
	if (c->manual) {
		atomic_store(&c->running, run);
		return;
	}
	atomic_fetch_add(&c->seq, 1);
	atomic_store(&c->ns_base, host_now() - atomic_load(&c->ns_base));
	atomic_store(&c->tsc_base, __rdtsc() - atomic_load(&c->tsc_base));
	atomic_store(&c->running, run);
	atomic_fetch_add(&c->seq, 1);
}

void vclock_start(struct vclock *c)
{
	vclock_switch(c, true);
}

void vclock_stop(struct vclock *c)
{
	vclock_switch(c, false);
}

void vclock_advance(struct vclock *c, int64_t ns)
{
	bug_on(!c->manual || ns < 0);
	atomic_fetch_add(&c->ns_base, ns);
}

bool vclock_manual(const struct vclock *c)
{
	return c->manual;
}

int64_t vclock_time_of_day(const struct vclock *c)
{
	struct timespec ts;

	if (c->manual)
		return MANUAL_DAY + vclock_now(c);
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

int64_t vclock_now(const struct vclock *c)
{
	uint32_t seq;
	int64_t ns;

	if (c->manual)
		return atomic_load(&c->ns_base);
	do {
		seq = atomic_load(&c->seq);
		ns = atomic_load(&c->ns_base);
		if (atomic_load(&c->running))
			ns = host_now() - ns;
	} while ((seq & 1) || seq != atomic_load(&c->seq));
	return ns;
}

uint64_t vclock_tsc(const struct vclock *c)
{
	uint64_t tsc;
	uint32_t seq;

	if (c->manual)
		return (uint64_t)atomic_load(&c->ns_base);
	do {
		seq = atomic_load(&c->seq);
		tsc = atomic_load(&c->tsc_base);
		if (atomic_load(&c->running))
			tsc = __rdtsc() - tsc;
	} while ((seq & 1) || seq != atomic_load(&c->seq));
	return tsc;
}

uint64_t vclock_tsc_offset(const struct vclock *c)
{
	return -atomic_load(&c->tsc_base);
}

uint32_t vclock_tsc_khz(const struct vclock *c)
{
	return c->tsc_khz;
}

bool vclock_running(const struct vclock *c)
{
	return atomic_load(&c->running);
}

int64_t vclock_host_delay(const struct vclock *c, int64_t deadline)
{
	int64_t d;

	if (!atomic_load(&c->running))
		return -1;
	d = deadline - vclock_now(c);
	if (d > 0 && c->manual)
		return -1;
	return d > 0 ? d : 0;
}
