/* SPDX-License-Identifier: Apache-2.0 */
/* query-pci: the functions of the PCI buses, read with the machine's lock held. */
#include <string.h>
#include "ctl/qmp_int.h"
#include "dev/pci/pci.h"

#define MAX_DEPTH 8 /* buses behind buses that are shown */

static uint16_t config16(const struct pci_dev *d, unsigned off)
{
	return get_le16(d->config + off);
}

/* PCI Code and ID Assignment 1.11: what is common in machines. */
static const char *class_name(uint16_t class)
{
	static const struct {
		uint16_t class;
		const char *name;
	} names[] = {
		{0x0100, "SCSI controller"},
		{0x0101, "IDE controller"},
		{0x0106, "SATA controller"},
		{0x0108, "NVMe controller"},
		{0x0180, "Storage controller"},
		{0x0200, "Ethernet controller"},
		{0x0280, "Network controller"},
		{0x0300, "VGA controller"},
		{0x0380, "Display controller"},
		{0x0403, "Audio controller"},
		{0x0500, "RAM controller"},
		{0x0600, "Host bridge"},
		{0x0601, "ISA bridge"},
		{0x0604, "PCI bridge"},
		{0x0680, "Bridge"},
		{0x0700, "Serial port"},
		{0x0780, "Communication controller"},
		{0x0c03, "USB controller"},
		{0x0c05, "SMBus"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].class == class)
			return names[i].name;
	return NULL;
}

static struct json_object *region_json(const struct pci_dev *d, unsigned n)
{
	const struct pci_bar *b = &d->bars[n];
	struct json_object *o = json_object_new_object();
	bool io = b->flags & PCI_BAR_IO;

	obj_int(o, "bar", n);
	obj_str(o, "type", io ? "io" : "memory");
	obj_int(o, "size", (int64_t)b->size);
	obj_int(o, "address", b->mapped ? (int64_t)b->addr : -1);
	if (!io) {
		obj_bool(o, "prefetch", b->flags & PCI_BAR_PREFETCH);
		obj_bool(o, "mem_type_64", b->flags & PCI_BAR_MEM64);
	}
	return o;
}

static struct json_object *range_json(uint64_t base, uint64_t limit)
{
	struct json_object *o = json_object_new_object();

	obj_int(o, "base", (int64_t)base);
	obj_int(o, "limit", (int64_t)limit);
	return o;
}

static struct json_object *devices_json(const struct pci_bus *bus, unsigned depth);

/* The windows of a bridge (PCI-to-PCI Bridge 1.2 3.2.5.6 to 3.2.5.10). */
static struct json_object *bridge_json(const struct pci_dev *d, unsigned depth)
{
	struct json_object *o = json_object_new_object(), *bus = json_object_new_object();
	const uint8_t *c = d->config;

	obj_int(bus, "number", c[PCI_PRIMARY_BUS]);
	obj_int(bus, "secondary", c[PCI_SECONDARY_BUS]);
	obj_int(bus, "subordinate", c[PCI_SUBORDINATE_BUS]);
	json_object_object_add(
		bus, "io_range",
		range_json((c[0x1c] & 0xf0u) << 8 | (uint64_t)config16(d, 0x30) << 16,
			   (c[0x1d] & 0xf0u) << 8 | 0xfff | (uint64_t)config16(d, 0x32) << 16));
	json_object_object_add(bus, "memory_range",
			       range_json((uint64_t)(config16(d, 0x20) & 0xfff0) << 16,
					  (uint64_t)(config16(d, 0x22) & 0xfff0) << 16 | 0xfffff));
	json_object_object_add(bus, "prefetchable_range",
			       range_json((uint64_t)(config16(d, 0x24) & 0xfff0) << 16 |
						  (uint64_t)get_le32(c + 0x28) << 32,
					  (uint64_t)(config16(d, 0x26) & 0xfff0) << 16 | 0xfffff |
						  (uint64_t)get_le32(c + 0x2c) << 32));
	json_object_object_add(o, "bus", bus);
	if (depth < MAX_DEPTH)
		json_object_object_add(o, "devices", devices_json(d->secondary, depth + 1));
	return o;
}

static struct json_object *identity_json(const struct pci_dev *d)
{
	struct json_object *o = json_object_new_object();

	obj_int(o, "device", config16(d, PCI_DEVICE_ID));
	obj_int(o, "vendor", config16(d, PCI_VENDOR_ID));
	if (!d->secondary) {
		obj_int(o, "subsystem", config16(d, PCI_SUBSYSTEM_ID));
		obj_int(o, "subsystem-vendor", config16(d, PCI_SUBSYSTEM_VENDOR_ID));
	}
	return o;
}

static struct json_object *device_json(const struct pci_dev *d, unsigned depth)
{
	struct json_object *o = json_object_new_object(), *class = json_object_new_object();
	struct json_object *regions = json_object_new_array();
	uint16_t code = config16(d, PCI_CLASS_DEVICE);

	obj_int(o, "bus", pci_bus_number(d->bus));
	obj_int(o, "slot", PCI_SLOT(d->devfn));
	obj_int(o, "function", PCI_FUNC(d->devfn));
	if (class_name(code))
		obj_str(class, "desc", class_name(code));
	obj_int(class, "class", code);
	json_object_object_add(o, "class_info", class);
	json_object_object_add(o, "id", identity_json(d));
	obj_int(o, "irq_pin", d->config[PCI_INTERRUPT_PIN]);
	if (d->config[PCI_INTERRUPT_PIN])
		obj_int(o, "irq", d->config[PCI_INTERRUPT_LINE]);
	obj_str(o, "qdev_id", d->dev.id ? d->dev.id : "");
	for (unsigned i = 0; i < ARRAY_SIZE(d->bars); i++)
		if (d->bars[i].size)
			json_object_array_add(regions, region_json(d, i));
	json_object_object_add(o, "regions", regions);
	if (d->secondary)
		json_object_object_add(o, "pci_bridge", bridge_json(d, depth));
	return o;
}

static struct json_object *devices_json(const struct pci_bus *bus, unsigned depth)
{
	struct json_object *list = json_object_new_array();

	for (unsigned devfn = 0; devfn < 256; devfn++) {
		const struct pci_dev *d = pci_bus_dev(bus, (uint8_t)devfn);

		if (d)
			json_object_array_add(list, device_json(d, depth));
	}
	return list;
}

int qmp_query_pci(struct qmp_call *call)
{
	struct dev_env *env = vm_devices(call->vm);
	struct dev_bus *root;

	call->ret = json_object_new_array();
	lock_take(env->lock);
	root = dev_bus_find(env, "pci.0");
	if (!root)
		root = dev_bus_find(env, "pcie.0");
	if (root && root->kind == BUS_PCI) {
		struct json_object *o = json_object_new_object();

		obj_int(o, "bus", pci_bus_number(root->bus));
		json_object_object_add(o, "devices", devices_json(root->bus, 0));
		json_object_array_add(call->ret, o);
	}
	lock_drop(env->lock);
	return 0;
}
