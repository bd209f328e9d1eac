/* SPDX-License-Identifier: Apache-2.0 */
/* info pci: what query-pci says, for reading. */
#include "ctl/hmp_int.h"

static struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static long long num(struct json_object *o, const char *key)
{
	return json_object_get_int64(get(o, key));
}

static const char *str(struct json_object *o, const char *key)
{
	struct json_object *v = get(o, key);

	return v ? json_object_get_string(v) : "";
}

static void show_region(struct hmp_call *h, struct json_object *r)
{
	long long at = num(r, "address"), size = num(r, "size");

	text_printf(h->out, "      BAR%lld: %s", num(r, "bar"), str(r, "type"));
	if (json_object_get_boolean(get(r, "mem_type_64")))
		text_printf(h->out, " 64 bit");
	if (json_object_get_boolean(get(r, "prefetch")))
		text_printf(h->out, " prefetchable");
	if (at == -1)
		text_printf(h->out, ", %#llx bytes, not mapped\n", size);
	else
		text_printf(h->out, " at %#llx [%#llx].\n", at, at + size - 1);
}

static void show_devices(struct hmp_call *h, struct json_object *list);

static void show_bridge(struct hmp_call *h, struct json_object *b)
{
	static const char *const names[] = {"io_range", "memory_range", "prefetchable_range"};
	struct json_object *bus = get(b, "bus");

	text_printf(h->out, "      BUS %lld, secondary %lld, subordinate %lld\n",
		    num(bus, "number"), num(bus, "secondary"), num(bus, "subordinate"));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		text_printf(h->out, "      %s [%#llx, %#llx]\n", names[i],
			    num(get(bus, names[i]), "base"), num(get(bus, names[i]), "limit"));
	show_devices(h, get(b, "devices"));
}

static void show_device(struct hmp_call *h, struct json_object *o)
{
	struct json_object *class = get(o, "class_info"), *id = get(o, "id");
	struct json_object *regions = get(o, "regions");

	text_printf(h->out, "  Bus %2lld, device %3lld, function %lld:\n", num(o, "bus"),
		    num(o, "slot"), num(o, "function"));
	if (get(class, "desc"))
		text_printf(h->out, "    %s", str(class, "desc"));
	else
		text_printf(h->out, "    Class %04llx", num(class, "class"));
	text_printf(h->out, ": PCI device %04llx:%04llx\n", num(id, "vendor"), num(id, "device"));
	if (get(id, "subsystem"))
		text_printf(h->out, "      PCI subsystem %04llx:%04llx\n",
			    num(id, "subsystem-vendor"), num(id, "subsystem"));
	if (get(o, "irq"))
		text_printf(h->out, "      IRQ %lld, pin %c\n", num(o, "irq"),
			    (char)('A' + num(o, "irq_pin") - 1));
	for (size_t i = 0; i < json_object_array_length(regions); i++)
		show_region(h, json_object_array_get_idx(regions, i));
	text_printf(h->out, "      id \"%s\"\n", str(o, "qdev_id"));
	if (get(o, "pci_bridge"))
		show_bridge(h, get(o, "pci_bridge"));
}

static void show_devices(struct hmp_call *h, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		show_device(h, json_object_array_get_idx(list, i));
}

void hmp_info_pci(struct hmp_call *h)
{
	bool ok;
	struct json_object *list = hmp_qmp(h, "query-pci", NULL, &ok);

	for (size_t i = 0; ok && i < json_object_array_length(list); i++)
		show_devices(h, get(json_object_array_get_idx(list, i), "devices"));
	json_object_put(list);
}
