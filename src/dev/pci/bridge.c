/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bridges (PCI-to-PCI Bridge 1.2): the type 1 header, and `pci-bridge`, a conventional one.
 *
 *   0x18-0x1a  primary, secondary, subordinate bus
 *   0x1c, 0x1d I/O base and limit: 16 bits, 4 KiB units
 *   0x20, 0x22 memory base and limit: 1 MiB units
 *   0x24-0x2f  prefetchable base and limit, 64 bits, 1 MiB units
 *   0x3e       bridge control: 6 resets what is behind on its rising edge; parity, SERR and
 *              master abort bits are kept; no ISA or VGA forwarding
 *
 * A bridge claims no address by a mapping of its own: BARs behind are mapped when all windows
 * above let them through (pci_bus_forwards), so each change of a window, of the command register or
 * of the state of the bridge decodes them anew.
 */
#include "dev/pci/bridge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "dev/class.h"

#define SECONDARY_LATENCY 0x1b
#define IO_BASE 0x1c
#define IO_LIMIT 0x1d
#define SECONDARY_STATUS 0x1e
#define MEM_BASE 0x20
#define MEM_LIMIT 0x22
#define PREF_BASE 0x24
#define PREF_LIMIT 0x26
#define PREF_BASE_HIGH 0x28
#define PREF_LIMIT_HIGH 0x2c
#define PREF_64BIT 1
#define BRIDGE_CONTROL 0x3e
#define CONTROL_KEPT 0x23 /* parity, SERR, master abort */
#define CONTROL_RESET 0x40
#define CAP_ID_SLOT 0x04
#define SLOT_FIRST 0x20 /* first in its chassis */

static uint64_t mem_reg(const struct pci_dev *d, unsigned off)
{
	return (uint64_t)(get_le16(d->config + off) & 0xfff0) << 16;
}

bool pci_bridge_window(const struct pci_dev *br, enum pci_window w, uint64_t *base, uint64_t *limit)
{
	const uint8_t *c = br->config;
	uint16_t enable = PCI_COMMAND_MEMORY;

	switch (w) {
	case PCI_WINDOW_IO:
		enable = PCI_COMMAND_IO;
		*base = (uint64_t)(c[IO_BASE] & 0xf0) << 8;
		*limit = (uint64_t)(c[IO_LIMIT] & 0xf0) << 8 | 0xfff;
		break;
	case PCI_WINDOW_MEM:
		*base = mem_reg(br, MEM_BASE);
		*limit = mem_reg(br, MEM_LIMIT) | (MiB - 1);
		break;
	default:
		*base = (uint64_t)get_le32(c + PREF_BASE_HIGH) << 32 | mem_reg(br, PREF_BASE);
		*limit = (uint64_t)get_le32(c + PREF_LIMIT_HIGH) << 32 | mem_reg(br, PREF_LIMIT) |
			 (MiB - 1);
		break;
	}
	return (get_le16(c + PCI_COMMAND) & enable) && *base <= *limit;
}

void pci_bridge_set_window(struct pci_dev *br, enum pci_window w, uint64_t base, uint64_t size)
{
	uint64_t last = base + size - 1;
	struct pci_bus *b = br->bus;

	if (!size) { /* closed: the base is above the limit */
		base = w == PCI_WINDOW_IO ? 0xf000 : 0xfff00000;
		last = 0;
	}
	if (w == PCI_WINDOW_IO) {
		pci_config_write(b, br->devfn, IO_BASE, (uint32_t)(base >> 8), 1);
		pci_config_write(b, br->devfn, IO_LIMIT, (uint32_t)(last >> 8), 1);
		return;
	}
	pci_config_write(b, br->devfn, w == PCI_WINDOW_MEM ? MEM_BASE : PREF_BASE,
			 (uint32_t)(base >> 16 & 0xfff0) | (uint32_t)(last & 0xfff00000), 4);
	if (w == PCI_WINDOW_PREF) {
		pci_config_write(b, br->devfn, PREF_BASE_HIGH, (uint32_t)(base >> 32), 4);
		pci_config_write(b, br->devfn, PREF_LIMIT_HIGH, (uint32_t)(last >> 32), 4);
	}
}

static void reset_below(struct pci_bus *b)
{
	for (unsigned i = 0; i < 256; i++) {
		struct pci_dev *d = b->devs[i];

		if (!d)
			continue;
		d->dev.ops->reset(&d->dev);
		if (d->secondary)
			reset_below(d->secondary);
	}
}

static bool overlaps(unsigned off, unsigned size, unsigned first, unsigned end)
{
	return off < end && first < off + size;
}

void pci_bridge_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct pci_bridge *br = container_of(d, struct pci_bridge, pci);
	bool reset = d->config[BRIDGE_CONTROL] & CONTROL_RESET;

	if (reset && !br->in_reset)
		reset_below(&br->sec);
	br->in_reset = reset;
	if (overlaps(off, size, PCI_COMMAND, PCI_COMMAND + 2) ||
	    overlaps(off, size, IO_BASE, PREF_LIMIT_HIGH + 4))
		pci_bus_update(&br->sec);
}

void pci_bridge_reset(struct pci_bridge *br)
{
	pci_dev_reset(&br->pci);
	br->in_reset = false;
	pci_bus_update(&br->sec);
}

int pci_bridge_post_load(struct pci_bridge *br)
{
	br->in_reset = br->pci.config[BRIDGE_CONTROL] & CONTROL_RESET;
	pci_bus_update(&br->sec);
	return 0;
}

static void header(struct pci_dev *d, bool express)
{
	uint8_t *w = d->wmask;

	w[PCI_PRIMARY_BUS] = w[PCI_SECONDARY_BUS] = w[PCI_SUBORDINATE_BUS] = 0xff;
	w[SECONDARY_LATENCY] = express ? 0 : 0xff;
	w[IO_BASE] = w[IO_LIMIT] = 0xf0;
	put_le16(d->w1cmask + SECONDARY_STATUS, 0xf900);
	put_le32(w + MEM_BASE, 0xfff0fff0);
	put_le32(w + PREF_BASE, 0xfff0fff0);
	put_le64(w + PREF_BASE_HIGH, UINT64_MAX);
	d->config[PREF_BASE] = d->config[PREF_LIMIT] = PREF_64BIT;
	w[BRIDGE_CONTROL] = CONTROL_KEPT | CONTROL_RESET;
}

static void enter_bus(struct dev_env *env, struct pci_bus *b, const char *id)
{
	char name[16];
	unsigned n = 1;

	snprintf(name, sizeof(name), "pci.%u", n);
	while (!*id && dev_bus_find(env, name))
		snprintf(name, sizeof(name), "pci.%u", ++n);
	dev_bus_add(env, *id ? id : name, BUS_PCI, b, pci_bus_place);
}

void pci_bridge_init(struct pci_bridge *br, struct pci_place *pl, const struct pci_id *id,
		     const struct pci_dev_ops *ops, bool express)
{
	struct pci_id with_header = *id;
	const char *bus = pl->id;

	with_header.header = PCI_HEADER_BRIDGE;
	pci_bus_init(&br->sec, pl->bus->env, pl->bus->root, &br->pci, express);
	pci_dev_init_at(&br->pci, pl, &with_header, ops);
	header(&br->pci, express);
	br->pci.secondary = &br->sec;
	enter_bus(br->sec.env, &br->sec, bus);
}

void pci_bridge_fini(struct pci_bridge *br)
{
	dev_bus_remove(br->sec.env, &br->sec);
	pci_dev_fini(&br->pci);
}

static void bridge_reset(struct dev *dev)
{
	pci_bridge_reset(container_of(dev, struct pci_bridge, pci.dev));
}

static void bridge_unrealize(struct dev *dev)
{
	struct pci_bridge *br = container_of(dev, struct pci_bridge, pci.dev);

	pci_bridge_fini(br);
	free(br);
}

static int bridge_post_load(void *obj, struct err **e)
{
	return pci_bridge_post_load(obj);
}

static const struct state_field bridge_fields[] = {
	PCI_DEV_STATE(struct pci_bridge, pci),
	STATE_END,
};

static const struct state_desc bridge_state = {
	.name = "pci-bridge",
	.version = 1,
	.fields = bridge_fields,
	.post_load = bridge_post_load,
};

static const struct pci_dev_ops bridge_ops = {
	.dev = {.name = "pci-bridge",
		.unrealize = bridge_unrealize,
		.reset = bridge_reset,
		.quiesce = dev_quiesce_none,
		.state = &bridge_state},
	.config_written = pci_bridge_written,
};

static const struct pci_id bridge_id = {.vendor = 0x1b36, .device = 0x0001, .class = 0x0604};

static int bridge_check(const struct dev_opts *o, struct err **e)
{
	if (dev_opt_num(o, "shpc"))
		return err_set(e, EINVAL, "shpc: there is no standard hot-plug controller");
	return dev_opt_num(o, "chassis_nr")
		       ? 0
		       : err_set(e, EINVAL, "property 'chassis_nr' must be given, 1 to 255");
}

static int bridge_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	struct pci_bridge *br;
	struct pci_place pl;
	unsigned cap;
	int rc = pci_place_get(&pl, p, o, "pci-bridge", e);

	if (rc)
		return rc;
	br = xzalloc(sizeof(*br));
	pci_bridge_init(br, &pl, &bridge_id, &bridge_ops, false);
	/* Slot numbering (PCI-to-PCI Bridge 1.2 13): no hot-plug slots, chassis number. */
	cap = pci_dev_cap(&br->pci, CAP_ID_SLOT, 0, 4);
	br->pci.config[cap + 2] = SLOT_FIRST;
	br->pci.config[cap + 3] = (uint8_t)dev_opt_num(o, "chassis_nr");
	br->pci.wmask[cap + 3] = 0xff;
	put_le16(br->pci.config + PCI_STATUS,
		 get_le16(br->pci.config + PCI_STATUS) | 0xa0); /* 66 MHz, fast back-to-back */
	pci_dev_ready(&br->pci);
	return 0;
}

static const struct dev_prop bridge_props[] = {
	{"shpc", "standard hot-plug controller: there is none", "off", PROP_BOOL, 0, NULL},
	{"chassis_nr", "number that the guest sees, 1 to 255", "0", PROP_UINT, 255, NULL},
	{0},
};

const struct dev_class pci_bridge_class = {
	.name = "pci-bridge",
	.help = "conventional PCI-PCI bridge; the bus behind has its id",
	.bus = BUS_PCI,
	.category = "Controller/Bridge/Hub",
	.props = bridge_props,
	.props_more = {pci_props},
	.check = bridge_check,
	.create = bridge_make,
};
