/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC timer (SDM 3A 11.5.4).  The input clock is 1 GHz, so a count times its divisor is
 * nanoseconds of guest time.  In TSC-deadline mode the count registers are dead and
 * IA32_TSC_DEADLINE holds a guest TSC value.
 *
 * A periodic timer whose expiries came faster than the host could serve them drops the missed
 * ones; the host timer never runs more often than MIN_PERIOD, so a hostile guest cannot keep
 * the event loop busy.
 */
#include "dev/irq/apic_int.h"

#define MIN_PERIOD 20000 /* ns */

enum timer_mode { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

static enum timer_mode lvt_timer_mode(uint32_t lvt)
{
	return (enum timer_mode)bits_get(lvt, 18, 17);
}

static bool is_deadline(const struct lapic *l)
{
	return lvt_timer_mode(l->lvt[LVT_TIMER]) == TIMER_DEADLINE;
}

/* divisor - of the divide configuration register: bits 3, 1, 0. */
static unsigned divisor(const struct lapic *l)
{
	unsigned code = (l->timer_div & 3) | (l->timer_div >> 1 & 4);

	return 1u << ((code + 1) & 7);
}

static uint64_t period(const struct lapic *l)
{
	return (uint64_t)l->timer_init * divisor(l);
}

static int64_t now(const struct lapic *l)
{
	return vclock_now(l->dev.env->clock);
}

static uint64_t guest_tsc(const struct lapic *l)
{
	return vclock_tsc(l->dev.env->clock) + l->set->ops->tsc_offset(l->set->opaque, l->cpu);
}

void lapic_timer_stop(struct lapic *l)
{
	l->deadline = 0;
	l->timer_init = 0;
	timer_cancel(l->timer);
}

static void arm_deadline(struct lapic *l)
{
	uint64_t tsc, ns, limit = UINT64_C(365) * 24 * 3600 * 1000000000;

	timer_cancel(l->timer);
	if (!l->deadline)
		return;
	tsc = guest_tsc(l);
	if (l->deadline <= tsc) {
		l->deadline = 0;
		lapic_local(l, LVT_TIMER, false);
		return;
	}
	/* Round up, so that the TSC has reached the deadline when the timer fires. */
	ns = (uint64_t)min_u64((unsigned __int128)(l->deadline - tsc) / 1000000 >= limit ? limit :
			       (uint64_t)((unsigned __int128)(l->deadline - tsc) * 1000000 /
					  vclock_tsc_khz(l->dev.env->clock)) + 1, limit);
	timer_arm(l->timer, now(l) + (int64_t)ns);
}

static void arm_count(struct lapic *l)
{
	if (l->timer_init)
		timer_arm(l->timer, l->timer_start + (int64_t)period(l));
	else
		timer_cancel(l->timer);
}

void lapic_timer_arm(struct lapic *l)
{
	if (is_deadline(l))
		arm_deadline(l);
	else if (lvt_timer_mode(l->lvt[LVT_TIMER]) == TIMER_PERIODIC || lapic_timer_current(l))
		arm_count(l);
	else
		timer_cancel(l->timer);
}

/* The timer of one-shot mode has expired: the count is past its period. */
void lapic_timer_fire(void *opaque)
{
	struct lapic *l = opaque;
	int64_t next, t = now(l);

	if (is_deadline(l)) {
		arm_deadline(l); /* fires, or waits for the rest */
		return;
	}
	if (!l->timer_init)
		return;
	if (lvt_timer_mode(l->lvt[LVT_TIMER]) == TIMER_PERIODIC) {
		l->timer_start += (int64_t)((uint64_t)(t - l->timer_start) / period(l) * period(l));
		next = l->timer_start + (int64_t)period(l);
		timer_arm(l->timer, next < t + MIN_PERIOD ? t + MIN_PERIOD : next);
	}
	lapic_local(l, LVT_TIMER, false);
}

void lapic_timer_lvt(struct lapic *l, uint32_t old)
{
	enum timer_mode was = lvt_timer_mode(old), is = lvt_timer_mode(l->lvt[LVT_TIMER]);

	if (was == is)
		return;
	if (was == TIMER_DEADLINE || is == TIMER_DEADLINE) {
		lapic_timer_stop(l);
		return;
	}
	if (is == TIMER_PERIODIC && l->timer_init &&
	    (uint64_t)(now(l) - l->timer_start) >= period(l))
		l->timer_start = now(l); /* an expired one-shot count starts over */
	lapic_timer_arm(l);
}

void lapic_timer_set_init(struct lapic *l, uint32_t val)
{
	if (is_deadline(l))
		return;
	l->timer_init = val;
	l->timer_start = now(l);
	arm_count(l);
}

void lapic_timer_set_div(struct lapic *l, uint32_t val)
{
	uint32_t cur = lapic_timer_current(l);

	/* Counting goes on from the present count at the new rate. */
	l->timer_div = val & 0xb;
	if (is_deadline(l) || !l->timer_init)
		return;
	l->timer_start = now(l) - (int64_t)((uint64_t)(l->timer_init - cur) * divisor(l));
	lapic_timer_arm(l);
}

uint32_t lapic_timer_current(const struct lapic *l)
{
	uint64_t ticks;

	if (is_deadline(l) || !l->timer_init)
		return 0;
	ticks = (uint64_t)(now(l) - l->timer_start) / divisor(l);
	if (lvt_timer_mode(l->lvt[LVT_TIMER]) == TIMER_PERIODIC)
		ticks %= l->timer_init;
	return ticks >= l->timer_init ? 0 : l->timer_init - (uint32_t)ticks;
}

uint64_t lapic_timer_deadline(const struct lapic *l)
{
	return is_deadline(l) ? l->deadline : 0;
}

void lapic_timer_set_deadline(struct lapic *l, uint64_t val)
{
	if (!is_deadline(l))
		return;
	l->deadline = val;
	arm_deadline(l);
}

void lapic_timer_save(struct lapic *l)
{
	l->timer_elapsed = l->timer_init ? (uint64_t)(now(l) - l->timer_start) : 0;
}

void lapic_timer_load(struct lapic *l)
{
	/* No count lasts longer than 2^32 * 128 ns: more elapsed time than that means "over"
	 * as well. */
	l->timer_start = now(l) - (int64_t)min_u64(l->timer_elapsed, BIT(39));
	lapic_timer_arm(l);
}
