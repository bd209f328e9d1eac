/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Intel Q35 memory controller hub (00:00.0) and ICH9 LPC bridge (00:1f.0): the chip set of `q35`.
 * INTx pin p (0..3) of slots 0-24 is on PIRQ 4 + ((s + p) & 3), of slots 25-31 on PIRQ p.
 * PIRQ n reaches GSI 16 + n, and the ISA IRQ that LPC 0x60-0x63, 0x68-0x6b route it to.
 */
#include "dev/dev.h"
#include "dev/pci/pam.h"

#define Q35_ECAM_BASE 0xb0000000u /* where q35_setup puts it */
#define Q35_ECAM_SIZE 0x10000000u
#define ICH9_PM_BASE 0x600	  /* where q35_setup puts the ACPI registers */
#define ICH9_PM_EVT 0x00	  /* PM1a event block, 4 bytes */
#define ICH9_PM_CNT 0x04	  /* PM1a control block, 2 bytes */
#define ICH9_PM_TMR 0x08	  /* PM timer, 4 bytes */
#define ICH9_PM_GPE 0x20	  /* GPE0 block, 16 bytes */
#define ICH9_GPE_LEN 16
#define ICH9_RESET_PORT 0xcf9
#define ICH9_RESET_VALUE 0x06

struct acpi_pm;
struct gsi;
struct pci_bus;
struct pci_space;
struct q35;

struct q35 *q35_create(struct dev_env *env, struct gsi *gsi, const struct pam_config *pam);
struct pci_bus *q35_bus(struct q35 *q);
/* q35_ecam - where the guest has put ECAM of 256 buses; 0: nowhere, or a smaller one. */
uint64_t q35_ecam(const struct q35 *q);
struct acpi_pm *q35_pm(struct q35 *q);
/* q35_pm_base - where the guest has put the ACPI registers; 0: nowhere. */
uint16_t q35_pm_base(const struct q35 *q);
/* q35_setup - the same as i440fx_setup, with ECAM enabled at Q35_ECAM_BASE. */
void q35_setup(struct q35 *q, const struct pci_space *space);
