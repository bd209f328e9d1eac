/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * ACPI fixed hardware (ACPI 6.4 4.8): PM1a event and control blocks, PM timer, GPE0, and the
 * SMI command port 0xb2 as far as it switches SCI_EN.  Embedded by the chips that carry it
 * (PIIX4, ICH9), which own its mapping.
 */
#include "dev/dev.h"

/* Values for FADT. */
#define ACPI_SMI_CMD 0xb2
#define ACPI_CMD_ENABLE 0xf1
#define ACPI_CMD_DISABLE 0xf0
#define ACPI_SLP_TYP_S5 0 /* what _S5 must return */
#define ACPI_PM_FREQ 3579545
#define ACPI_SCI_IRQ 9

struct acpi_pm {
	struct dev_env *env;
	struct irq_line sci;
	struct timer *overflow; /* PM timer bit 23 changes */
	uint64_t half_seen;   /* halves of the PM timer's wrap that TMR_STS knows of */
	uint64_t tick_off;    /* PM timer less guest time, in ticks */
	uint64_t saved_ticks; /* saved form of tick_off */
	uint64_t gpe_sts, gpe_en;
	uint16_t pm1_sts, pm1_en, pm1_cnt;
	uint8_t gpe_len; /* bytes: status and enable, half each */
	uint8_t apm_cnt, apm_sts;
	struct io_region apm_io;
	struct mem_map *apm_map;
};

extern const struct state_desc acpi_pm_state;

void acpi_pm_init(struct acpi_pm *pm, struct dev_env *env, struct irq_line sci, uint8_t gpe_len);
void acpi_pm_fini(struct acpi_pm *pm);
void acpi_pm_reset(struct acpi_pm *pm);
/* Registers by block; `off` is relative to the PM1a event block (0..3), control block (0..1)
 * or GPE0. */
uint64_t acpi_pm1_evt_read(struct acpi_pm *pm, unsigned off, unsigned size);
void acpi_pm1_evt_write(struct acpi_pm *pm, unsigned off, uint64_t val, unsigned size);
uint64_t acpi_pm1_cnt_read(struct acpi_pm *pm, unsigned off, unsigned size);
void acpi_pm1_cnt_write(struct acpi_pm *pm, unsigned off, uint64_t val, unsigned size);
uint32_t acpi_pm_timer(struct acpi_pm *pm);
/* acpi_pm_block_read/write - the three blocks side by side, as PIIX4 and ICH9 have them: event
 * at 0, control at 4, timer at 8; 1, 2 or 4 bytes, aligned. */
uint64_t acpi_pm_block_read(struct acpi_pm *pm, unsigned off, unsigned size);
void acpi_pm_block_write(struct acpi_pm *pm, unsigned off, uint64_t val, unsigned size);
uint8_t acpi_gpe_read(struct acpi_pm *pm, unsigned off);
void acpi_gpe_write(struct acpi_pm *pm, unsigned off, uint8_t val);
/* acpi_pm_enable - switch SCI_EN, as the firmware's SMI handler does. */
void acpi_pm_enable(struct acpi_pm *pm, bool on);
/* acpi_pm_gpe - raise a general-purpose event (status bit n).  env->lock held. */
void acpi_pm_gpe(struct acpi_pm *pm, unsigned n);
/* acpi_pm_power_button - press it.  env->lock held. */
void acpi_pm_power_button(struct acpi_pm *pm);
