/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI Express capability, version 2 (Express 3.0 7.8).
 *
 * Links do not exist: registers say 16 GT/s and 32 lanes for a root port and 2.5 GT/s and one lane
 * for an endpoint, which is then what the link between them has.
 */
#include "dev/pci/express.h"

#define CAP_LEN 0x3c
#define VERSION 2
#define DEVCAP_ROLE_BASED_ERRORS BIT(15)
#define DEVCTL_DEFAULT 0x2810 /* relaxed ordering, no-snoop, read requests of 512 bytes */
#define DEVCTL_KEPT 0x78ff
#define DEVSTA_ERRORS 0x0f
#define LNKCAP_REPORTS_ACTIVE BIT(20)
#define LNKCTL_KEPT 0x00c3
#define SPEED_2_5 1
#define SPEED_16 4
#define LNKCAP2_TO_16 0x1e
#define LNKCAP2_TO_2_5 0x02

static void link_registers(struct pci_dev *d, unsigned cap, bool port, uint8_t number)
{
	uint8_t *c = d->config + cap, *w = d->wmask + cap;
	uint32_t lanes = port ? 32 : 1, speed = port ? SPEED_16 : SPEED_2_5;

	put_le32(c + PCIE_LNKCAP, speed | lanes << 4 |
					  (port ? (uint32_t)LNKCAP_REPORTS_ACTIVE : 0) |
					  (uint32_t)number << 24);
	put_le16(w + PCIE_LNKCTL, LNKCTL_KEPT);
	put_le16(c + PCIE_LNKSTA, port ? 0 : PCIE_LNKSTA_UP);
	put_le32(c + PCIE_LNKCAP2, port ? LNKCAP2_TO_16 : LNKCAP2_TO_2_5);
	put_le16(c + PCIE_LNKCTL2, (uint16_t)speed);
	put_le16(w + PCIE_LNKCTL2, 0xf);
}

unsigned pci_express_cap(struct pci_dev *d, enum pcie_type type, unsigned off, uint8_t port)
{
	unsigned cap = pci_dev_cap(d, PCI_CAP_ID_EXP, off, CAP_LEN);
	uint8_t *c = d->config + cap;

	pci_dev_express(d);
	put_le16(c + PCIE_FLAGS, (uint16_t)(VERSION | (unsigned)type << 4));
	put_le32(c + PCIE_DEVCAP, DEVCAP_ROLE_BASED_ERRORS);
	put_le16(c + PCIE_DEVCTL, DEVCTL_DEFAULT);
	put_le16(d->wmask + cap + PCIE_DEVCTL, DEVCTL_KEPT);
	put_le16(d->w1cmask + cap + PCIE_DEVSTA, DEVSTA_ERRORS);
	if (type != PCIE_TYPE_RC_ENDPOINT)
		link_registers(d, cap, type == PCIE_TYPE_ROOT_PORT, port);
	return cap;
}

bool pci_dev_express_endpoint(struct pci_dev *d)
{
	if (!pci_bus_is_express(d->bus))
		return false;
	pci_express_cap(d, d->bus->bridge ? PCIE_TYPE_ENDPOINT : PCIE_TYPE_RC_ENDPOINT, 0, 0);
	return true;
}
