/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* LPC bridge of the ICH9; made by q35.c. */
#include "dev/pci/pci.h"

struct acpi_pm;
struct gsi;
struct ich9_lpc;

#define ICH9_LPC_DEVFN PCI_DEVFN(31, 0)
#define ICH9_LPC_PMBASE 0x40
#define ICH9_LPC_ACPI_CNTL 0x44
#define ICH9_LPC_PIRQ_A 0x60
#define ICH9_LPC_PIRQ_E 0x68

struct ich9_lpc *ich9_lpc_create(struct pci_bus *bus, struct gsi *gsi);
/* ich9_lpc_pirq_changed - levels of the bus's PIRQs are to be passed on. */
void ich9_lpc_pirq_changed(struct ich9_lpc *p);
struct acpi_pm *ich9_lpc_acpi(struct ich9_lpc *p);
/* ich9_lpc_pm_base - first power management port; 0: they are not decoded. */
uint16_t ich9_lpc_pm_base(const struct ich9_lpc *p);
