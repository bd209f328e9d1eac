/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Intel 440FX host bridge (00:00.0), PIIX3 ISA bridge (00:01.0) and PIIX4 power management
 * (00:01.3): the chip set of `pc`.  INTx goes by PIRQ A-D, routed by PIIX3 0x60-0x63 to ISA
 * IRQs (so GSIs 3-15). INTx pin p (0..3) of slot s is on PIRQ (s - 1 + p) & 3.
 */
#include "dev/dev.h"
#include "dev/pci/pam.h"

#define I440FX_PM_BASE 0x600   /* where i440fx_setup puts the ACPI registers */
#define I440FX_PM_EVT 0x00     /* PM1a event block, 4 bytes */
#define I440FX_PM_CNT 0x04     /* PM1a control block, 2 bytes */
#define I440FX_PM_TMR 0x08     /* PM timer, 4 bytes */
#define I440FX_GPE_BASE 0xafe0 /* GPE0 block, 4 bytes, fixed */
#define I440FX_GPE_LEN 4
#define I440FX_RESET_PORT 0xcf9
#define I440FX_RESET_VALUE 0x06

struct acpi_pm;
struct gsi;
struct i440fx;
struct pci_bus;
struct pci_space;

/* i440fx_create - the three functions and their bus. */
struct i440fx *i440fx_create(struct dev_env *env, struct gsi *gsi, const struct pam_config *pam);
struct pci_bus *i440fx_bus(struct i440fx *f);
struct acpi_pm *i440fx_pm(struct i440fx *f);
/* i440fx_pm_base - where the guest has put the ACPI registers; 0: nowhere. */
uint16_t i440fx_pm_base(const struct i440fx *f);
/* i440fx_setup - what firmware would do before a directly loaded kernel runs: shadow RAM on,
 * ACPI registers at I440FX_PM_BASE and SCI_EN set, PIRQs to IRQs 10 and 11 (level), memory and
 * I/O decoding of every BAR and bridge assigned in space.  After every reset;
 * env->lock held or VM not running. */
void i440fx_setup(struct i440fx *f, const struct pci_space *space);
