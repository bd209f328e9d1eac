/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The two functions of the PIIX4 south bridge that `pc` has; made by i440fx.c. */
#include "dev/pci/pci.h"

struct acpi_pm;
struct gsi;
struct piix3;
struct piix4_pm;

#define PIIX_SLOT 1

struct piix3 *piix3_create(struct pci_bus *bus, struct gsi *gsi);
/* piix3_pirq_changed - levels of the bus's PIRQs are to be passed on. */
void piix3_pirq_changed(struct piix3 *p);
struct piix4_pm *piix4_pm_create(struct pci_bus *bus, struct gsi *gsi);
struct acpi_pm *piix4_pm_acpi(struct piix4_pm *p);
/* piix4_pm_base - first port of the registers; 0: they are not decoded. */
uint16_t piix4_pm_base(const struct piix4_pm *p);
