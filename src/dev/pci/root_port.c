/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI Express root ports (Express 3.0 7.8): `pcie-root-port`, and `ioh3420` after Intel's, for
 * guests whose drivers know it.  A port is a bridge with a link of one slot behind it.
 *
 * Whether something is plugged is looked up when link or slot status is read. The slot can't do hot
 * plug: its capabilities have the number only.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "dev/class.h"
#include "dev/pci/bridge.h"
#include "dev/pci/express.h"

#define CAP_ID_SSVID 0x0d
#define SSVID_LEN 8
#define RTCTL_KEPT 0x0f /* error and PME interrupt enables */
#define RTSTA_PME BIT(16)

struct root_port {
	struct pci_bridge br;
	uint8_t cap; /* of PCI Express */
};

static void port_reading(struct pci_dev *d, unsigned off, unsigned size)
{
	struct root_port *p = container_of(d, struct root_port, br.pci);
	bool plugged = p->br.sec.devs[0];
	uint8_t *c = d->config + p->cap;

	put_le16(c + PCIE_LNKSTA, plugged ? PCIE_LNKSTA_UP | PCIE_LNKSTA_ACTIVE : 0);
	put_le16(c + PCIE_SLTSTA, plugged ? PCIE_SLTSTA_PRESENT : 0);
}

static void port_reset(struct dev *dev)
{
	pci_bridge_reset(container_of(dev, struct pci_bridge, pci.dev));
}

static void port_unrealize(struct dev *dev)
{
	struct root_port *p = container_of(dev, struct root_port, br.pci.dev);

	pci_bridge_fini(&p->br);
	free(p);
}

static int port_post_load(void *obj, struct err **e)
{
	return pci_bridge_post_load(&((struct root_port *)obj)->br);
}

static const struct state_field port_fields[] = {
	PCI_DEV_STATE(struct root_port, br.pci),
	STATE_END,
};

static const struct state_desc port_state = {
	.name = "pcie-root-port",
	.version = 1,
	.fields = port_fields,
	.post_load = port_post_load,
};

static const struct pci_dev_ops port_ops = {
	.dev = {.name = "pcie-root-port",
		.unrealize = port_unrealize,
		.reset = port_reset,
		.quiesce = dev_quiesce_none,
		.state = &port_state},
	.config_written = pci_bridge_written,
	.config_reading = port_reading,
};

static const struct model {
	const char *name;
	struct pci_id id;
	uint8_t cap;
	bool msix; /* else two MSI vectors */
} generic =
	{
		.name = "pcie-root-port",
		.id = {.vendor = 0x1b36, .device = 0x000c, .class = 0x0604, .irq_pin = 1},
		.cap = 0x54,
		.msix = true,
},
  ioh3420 = {
	  .name = "ioh3420",
	  .id = {.vendor = 0x8086, .device = 0x3420, .class = 0x0604, .revision = 2, .irq_pin = 1},
	  .cap = 0x90,
};

static void subsystem(struct pci_dev *d, const struct pci_id *id)
{
	unsigned cap = pci_dev_cap(d, CAP_ID_SSVID, 0x40, SSVID_LEN);

	put_le16(d->config + cap + 4, id->vendor);
}

static void express(struct root_port *p, const struct model *m, const struct dev_opts *o)
{
	struct pci_dev *d = &p->br.pci;
	unsigned cap =
		pci_express_cap(d, PCIE_TYPE_ROOT_PORT, m->cap, (uint8_t)dev_opt_num(o, "port"));
	uint8_t *c = d->config + cap;

	p->cap = (uint8_t)cap;
	put_le16(c + PCIE_FLAGS, get_le16(c + PCIE_FLAGS) | (uint16_t)PCIE_FLAGS_SLOT);
	put_le32(c + PCIE_SLTCAP, (uint32_t)dev_opt_num(o, "slot") << 19);
	put_le16(d->wmask + cap + PCIE_RTCTL, RTCTL_KEPT);
	put_le32(d->w1cmask + cap + PCIE_RTSTA, (uint32_t)RTSTA_PME);
}

static int port_make(const struct dev_place *place, const struct dev_opts *o, const struct model *m,
		     struct err **e)
{
	const struct pci_bus *bus = place->bus->bus;
	struct root_port *p;
	struct pci_place pl;
	int rc;

	if (!bus->express || bus->bridge)
		return err_set(e, EINVAL, "bus '%s' is not the root of PCI Express, as q35 has it",
			       place->bus->name);
	rc = pci_place_get(&pl, place, o, m->name, e);
	if (rc)
		return rc;
	p = xzalloc(sizeof(*p));
	pci_bridge_init(&p->br, &pl, &m->id, &port_ops, true);
	subsystem(&p->br.pci, &m->id);
	if (m->msix)
		pci_msix_init(&p->br.pci, 1, 0);
	else
		pci_msi_init(&p->br.pci, 2);
	express(p, m, o);
	pci_dev_ready(&p->br.pci);
	return 0;
}

static int generic_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	return port_make(p, o, &generic, e);
}

static int ioh3420_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	return port_make(p, o, &ioh3420, e);
}

/* A physical slot number has 13 bits. */
static const struct dev_prop port_props[] = {
	{"port", "number of the port", "0", PROP_UINT, 255, NULL},
	{"chassis", "number of its chassis; the guest does not see it", "0", PROP_UINT, 255, NULL},
	{"slot", "physical slot number", "0", PROP_UINT, 0x1fff, NULL},
	{0},
};

const struct dev_class pcie_root_port_class = {
	.name = "pcie-root-port",
	.help = "PCI Express root port; the bus behind has its id",
	.bus = BUS_PCI,
	.category = "Controller/Bridge/Hub",
	.props = port_props,
	.props_more = {pci_props},
	.create = generic_make,
};

const struct dev_class ioh3420_class = {
	.name = "ioh3420",
	.help = "PCI Express root port of Intel's IOH",
	.bus = BUS_PCI,
	.category = "Controller/Bridge/Hub",
	.props = port_props,
	.props_more = {pci_props},
	.create = ioh3420_make,
};
