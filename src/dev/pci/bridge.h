/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What PCI-PCI bridges and PCI Express root ports share: a type 1 header and the bus behind it. */
#include "dev/pci/pci.h"
#include "dev/pci/pci_int.h"

struct pci_bridge {
	struct pci_dev pci;
	struct pci_bus sec;
	bool in_reset; /* the secondary bus */
};

/* pci_bridge_init - pci_dev_init_at and the header; id->header is set here.  The bus behind is
 * entered under the device's id, or "pci.N".  Then capabilities, then pci_dev_ready. */
void pci_bridge_init(struct pci_bridge *br, struct pci_place *pl, const struct pci_id *id,
		     const struct pci_dev_ops *ops, bool express);
/* For the ops: the devices behind are gone when fini is called. */
void pci_bridge_fini(struct pci_bridge *br);
void pci_bridge_reset(struct pci_bridge *br);
void pci_bridge_written(struct pci_dev *d, unsigned off, unsigned size);
int pci_bridge_post_load(struct pci_bridge *br);
