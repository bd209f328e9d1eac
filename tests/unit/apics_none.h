/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Local APICs without processors: opaque is a bool for each, their interrupt output; the rest is let go. */
#include "dev/irq/apic.h"

static void apics_none_intr(void *opaque, unsigned cpu, bool level)
{
	((bool *)opaque)[cpu] = level;
}

static void apics_none_cpu(void *opaque, unsigned cpu)
{
}

static void apics_none_sipi(void *opaque, unsigned cpu, uint8_t vector)
{
}

static uint64_t apics_none_tsc(void *opaque, unsigned cpu)
{
	return 0;
}

static int apics_none_pic(void *opaque)
{
	return -1;
}

static const struct apics_ops apics_none_ops = {
	.set_intr = apics_none_intr, .nmi = apics_none_cpu, .init = apics_none_cpu,
	.sipi = apics_none_sipi, .kick = apics_none_cpu, .tsc_offset = apics_none_tsc,
	.pic_ack = apics_none_pic,
};
