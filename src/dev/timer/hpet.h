/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* High precision event timers of the ICH9: three comparators on one 64-bit counter at
 * 0xfed00000. */
#include "dev/dev.h"

#define HPET_BASE 0xfed00000u
#define HPET_PERIOD_FS 10000000u /* femtoseconds a tick: 100 MHz */

struct apics;
struct gsi;
struct hpet;

/* hpet_create - takes the wires to gsi 0, 8 (legacy replacement) and 20-23 from g. */
struct hpet *hpet_create(struct dev_env *env, struct gsi *g, struct apics *apics);
/* hpet_pit_in, hpet_rtc_in - outputs of the PIT and the RTC pass through the HPET, which cuts
 * them off while legacy replacement routing is on. */
struct irq_line hpet_pit_in(struct hpet *h);
struct irq_line hpet_rtc_in(struct hpet *h);
/* hpet_block_id - the event timer block ID for the ACPI HPET table (low half of the
 * capabilities). */
uint32_t hpet_block_id(void);
