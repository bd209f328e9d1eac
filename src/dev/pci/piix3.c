/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PIIX3 PCI-to-ISA bridge (Intel 82371SB, 290550).
 *
 *   0x4c-0x4f  ISA timing and chip selects: kept
 *   0x60-0x63  PIRQ A-D: 7 not routed, 3:0 ISA IRQ
 *   0x69, 0x6a, 0x70, 0x80-0x82  kept
 */
#include <stdlib.h>

#include "dev/irq/gsi.h"
#include "dev/pci/pci.h"
#include "dev/pci/piix.h"

#define PIRQ_ROUTE 0x60
#define ISA_IRQS 16
#define ROUTABLE 0xdef8u /* 3-7, 9-12, 14, 15 */

struct piix3 {
	struct pci_dev pci;
	struct irq_line wire[ISA_IRQS];
};

void piix3_pirq_changed(struct piix3 *p)
{
	uint32_t levels = 0;

	for (unsigned n = 0; n < 4; n++) {
		uint8_t route = p->pci.config[PIRQ_ROUTE + n];

		if (!(route & 0x80) && pci_bus_pirq(p->pci.bus, n))
			levels |= 1u << (route & 15);
	}
	for (unsigned i = 0; i < ISA_IRQS; i++)
		irq_set(&p->wire[i], levels >> i & 1);
}

static void piix3_written(struct pci_dev *d, unsigned off, unsigned size)
{
	if (off < PIRQ_ROUTE + 4 && off + size > PIRQ_ROUTE)
		piix3_pirq_changed(container_of(d, struct piix3, pci));
}

static void piix3_reset(struct dev *dev)
{
	struct piix3 *p = container_of(dev, struct piix3, pci.dev);

	pci_dev_reset(&p->pci);
	piix3_pirq_changed(p);
}

static void piix3_unrealize(struct dev *dev)
{
	struct piix3 *p = container_of(dev, struct piix3, pci.dev);

	pci_dev_fini(&p->pci);
	free(p);
}

static const struct state_field piix3_fields[] = {
	PCI_DEV_STATE(struct piix3, pci),
	STATE_END,
};

static const struct state_desc piix3_state = {
	.name = "piix3", .version = 1, .fields = piix3_fields,
};

static const struct pci_dev_ops piix3_ops = {
	.dev = { .name = "piix3", .unrealize = piix3_unrealize, .reset = piix3_reset,
		 .quiesce = dev_quiesce_none, .state = &piix3_state },
	.config_written = piix3_written,
};

static const struct pci_id piix3_id = {
	.vendor = 0x8086, .device = 0x7000, .class = 0x0601,
	.header = PCI_HEADER_MULTIFUNCTION, .subvendor = 0x1af4, .subdevice = 0x1100,
};

struct piix3 *piix3_create(struct pci_bus *bus, struct gsi *gsi)
{
	static const uint8_t kept[] = { 0x4c, 0x4d, 0x4e, 0x4f, 0x69,
					0x6a, 0x70, 0x80, 0x81, 0x82 };
	struct piix3 *p = xzalloc(sizeof(*p));

	for (unsigned i = 0; i < ISA_IRQS; i++)
		if (ROUTABLE >> i & 1)
			p->wire[i] = gsi_source(gsi, i);
	pci_dev_init(&p->pci, bus, PCI_DEVFN(PIIX_SLOT, 0), &piix3_id, &piix3_ops, "piix3");
	for (unsigned i = 0; i < sizeof(kept); i++)
		p->pci.wmask[kept[i]] = 0xff;
	for (unsigned n = 0; n < 4; n++) {
		p->pci.config[PIRQ_ROUTE + n] = 0x80;
		p->pci.wmask[PIRQ_ROUTE + n] = 0x8f;
	}
	p->pci.config[0x4c] = 0x4d;
	p->pci.config[0x4e] = 0x03;
	p->pci.config[0x69] = 0x02;
	p->pci.config[0x70] = 0x80;
	put_le16(p->pci.config + PCI_STATUS, 0x0200); /* medium DEVSEL timing */
	pci_dev_ready(&p->pci);
	return p;
}
