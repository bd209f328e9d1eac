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
/* pci_dev_intx_update - the level that the bus sees follows the function's request, INTX_DISABLE
 * and the message capabilities. */
void pci_dev_intx_update(struct pci_dev *d);
unsigned pci_dev_config_size(const struct pci_dev *d);
/* msi.c: after a configuration write; at reset; after load; at the end. */
void pci_msi_config_written(struct pci_dev *d, unsigned off, unsigned size);
void pci_msi_reset(struct pci_dev *d);
int pci_msi_post_load(struct pci_dev *d, struct err **e);
void pci_msi_fini(struct pci_dev *d);
