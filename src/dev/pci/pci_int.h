/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between the PCI bus and its functions. */
#include "dev/pci/pci.h"

void pci_bus_plug(struct pci_bus *b, struct pci_dev *d);
void pci_bus_unplug(struct pci_bus *b, struct pci_dev *d);
/* pci_bus_intx - a function's INTx changed; pci_bus_intx_count: the same without telling
 * anybody. */
void pci_bus_intx(struct pci_bus *b, struct pci_dev *d, bool level);
void pci_bus_intx_count(struct pci_bus *b, struct pci_dev *d, bool level);
uint32_t pci_dev_config_read(struct pci_dev *d, unsigned off, unsigned size);
void pci_dev_config_write(struct pci_dev *d, unsigned off, uint32_t val, unsigned size);
