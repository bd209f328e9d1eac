/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a hardware-reduced ACPI machine has in place of the PM1 blocks (ACPI 6.4 4.1, 5.6.9): the
 * registers of a generic event device, and behind them those for sleep and reset that the FADT
 * tells of.
 */
#include "dev/dev.h"

#define GED_BASE 0xfea00000u
#define GED_SIZE 4 /* the event register: one of 32 bits, cleared by reading */
#define GED_EVENT_POWER BIT(1)
/* Bytes each. */
#define GED_SLEEP_CONTROL (GED_BASE + 0x200)
#define GED_SLEEP_STATUS (GED_BASE + 0x201)
#define GED_RESET (GED_BASE + 0x202)
#define GED_RESET_VALUE 0x42
#define GED_SLP_TYP_S5 5
#define GED_IRQ 9 /* edge */

struct ged;

struct ged *ged_create(struct dev_env *env, struct irq_line irq);
/* ged_power_button - press it.  env->lock held. */
void ged_power_button(struct ged *g);
