/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* PCI Express capability. */
#include "dev/pci/pci.h"
#include "dev/pci/pci_int.h"

#define PCIE_FLAGS 0x02
#define PCIE_FLAGS_SLOT BIT(8)
#define PCIE_DEVCAP 0x04
#define PCIE_DEVCTL 0x08
#define PCIE_DEVSTA 0x0a
#define PCIE_LNKCAP 0x0c
#define PCIE_LNKCTL 0x10
#define PCIE_LNKSTA 0x12
#define PCIE_LNKSTA_UP 0x11 /* 2.5 GT/s, one lane */
#define PCIE_LNKSTA_ACTIVE 0x2000
#define PCIE_SLTCAP 0x14
#define PCIE_SLTCTL 0x18
#define PCIE_SLTSTA 0x1a
#define PCIE_SLTSTA_PRESENT 0x40
#define PCIE_RTCTL 0x1c
#define PCIE_RTSTA 0x20
#define PCIE_LNKCAP2 0x2c
#define PCIE_LNKCTL2 0x30

enum pcie_type { PCIE_TYPE_ENDPOINT = 0, PCIE_TYPE_ROOT_PORT = 4, PCIE_TYPE_RC_ENDPOINT = 9 };

/* pci_express_cap - the capability at off (0: next), the function has 4 KiB of configuration;
 * returns the offset.  port: number of a root port. */
unsigned pci_express_cap(struct pci_dev *d, enum pcie_type type, unsigned off, uint8_t port);
