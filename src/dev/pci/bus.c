/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI buses: the root bus with the ways to configuration space and the interrupt pins; what all
 * buses have in common.
 *
 *   0xcf8  configuration address, 32-bit accesses only: enable 31, bus 23:16, devfn 15:8,
 *          register 7:2
 *   0xcf9  reset control (8-bit): 2 reset on its rising edge, 1 hard reset (kept)
 *   0xcfc  configuration data
 *   ECAM   bus 27:20, devfn 19:12, register 11:0 (PCI Express 3.0 7.2.2)
 *
 * A bus beyond the root has the number that the registers of its bridge give it at the time, and
 * is found through the bridges' ranges (PCI-to-PCI Bridge 1.2 3.2.5). Bridges nest as deep as the
 * command line made them: what walks the tree ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "dev/class.h"
#include "dev/pci/pci.h"
#include "dev/pci/pci_int.h"

#define PIRQS 8
#define ECAM_PRIO (-1)

struct pci_root {
	struct dev dev;
	struct pci_bus bus;
	unsigned (*map_irq)(unsigned slot, unsigned pin);
	void (*set_pirq)(void *opaque, unsigned n, bool level);
	void *opaque;
	unsigned pirq[PIRQS]; /* functions that drive it */
	uint32_t addr;
	uint8_t reset_ctl;
	struct io_region addr_io, data_io, ecam_io;
	struct mem_map *addr_map, *data_map, *ecam_map;
	uint64_t ecam_base;
};

void pci_bus_init(struct pci_bus *b, struct dev_env *env, struct pci_root *root,
		  struct pci_dev *bridge, bool express)
{
	*b = (struct pci_bus){
		.env = env,
		.root = root,
		.bridge = bridge,
		.express = express,
		.slots = express && bridge ? 1 : 32, /* a link has one device at its other end */
	};
}

void pci_bus_plug(struct pci_bus *b, struct pci_dev *d)
{
	bug_on(b->devs[d->devfn]);
	b->devs[d->devfn] = d;
}

void pci_bus_unplug(struct pci_bus *b, struct pci_dev *d)
{
	if (b->devs[d->devfn] == d)
		b->devs[d->devfn] = NULL;
}

/* The pin of a function behind a bridge is a pin of the bridge, turned by its device number
 * (PCI-to-PCI Bridge 1.2 9.1). */
unsigned pci_bus_pirq_of(const struct pci_dev *d)
{
	unsigned pin = d->config[PCI_INTERRUPT_PIN] - 1u, n;

	for (; d->bus->bridge; d = d->bus->bridge)
		pin = (pin + PCI_SLOT(d->devfn)) & 3;
	n = d->bus->root->map_irq(PCI_SLOT(d->devfn), pin);
	bug_on(n >= PIRQS);
	return n;
}

void pci_bus_intx_count(struct pci_bus *b, struct pci_dev *d, bool level)
{
	b->root->pirq[pci_bus_pirq_of(d)] += level ? 1 : -1u;
}

void pci_bus_intx(struct pci_bus *b, struct pci_dev *d, bool level)
{
	struct pci_root *root = b->root;
	unsigned n = pci_bus_pirq_of(d), before = root->pirq[n];

	root->pirq[n] += level ? 1 : -1u;
	if (!before != !root->pirq[n])
		root->set_pirq(root->opaque, n, level);
}

bool pci_bus_pirq(const struct pci_bus *b, unsigned n)
{
	return b->root->pirq[n] != 0;
}

static bool slot_is_free(const struct pci_bus *b, unsigned slot)
{
	for (unsigned fn = 0; fn < 8; fn++)
		if (b->devs[PCI_DEVFN(slot, fn)])
			return false;
	return true;
}

int pci_bus_free_slot(const struct pci_bus *b, unsigned first)
{
	for (unsigned slot = first; slot < b->slots; slot++)
		if (slot_is_free(b, slot))
			return (int)slot;
	return -1;
}

int pci_bus_place(void *bus, const char *addr, unsigned *place, struct err **e)
{
	struct pci_bus *b = bus;
	unsigned slot, fn = 0;
	int end = 0, any;

	if (!addr) {
		any = pci_bus_free_slot(b, 0);
		if (any < 0)
			return err_set(e, ENOSPC, "the bus is full");
		*place = PCI_DEVFN((unsigned)any, 0);
		return 0;
	}
	if (sscanf(addr, "%x%n.%x%n", &slot, &end, &fn, &end) < 1 || addr[end] || slot > 31 ||
	    fn > 7)
		return err_set(e, EINVAL, "addr: '%s' is not a slot, 0-1f, or slot.function", addr);
	if (slot >= b->slots)
		return err_set(e, EINVAL, "addr: the bus has no slot but 0");
	if (b->devs[PCI_DEVFN(slot, fn)])
		return err_set(e, EBUSY, "addr: slot %x function %u has '%s'", slot, fn,
			       b->devs[PCI_DEVFN(slot, fn)]->dev.id);
	*place = PCI_DEVFN(slot, fn);
	return 0;
}

struct dev_env *pci_bus_env(const struct pci_bus *b)
{
	return b->env;
}

bool pci_bus_is_express(const struct pci_bus *b)
{
	return b->express;
}

bool pci_bus_is_root(const struct pci_bus *b)
{
	return !b->bridge;
}

struct pci_dev *pci_bus_dev(const struct pci_bus *b, uint8_t devfn)
{
	return b->devs[devfn];
}

uint8_t pci_bus_number(const struct pci_bus *b)
{
	return b->bridge ? b->bridge->config[PCI_SECONDARY_BUS] : 0;
}

struct pci_bus *pci_bus_find(struct pci_bus *b, uint8_t number)
{
	for (unsigned i = 0; b && number; i++) {
		struct pci_dev *d = b->devs[i & 0xff];
		uint8_t first, last;

		if (i > 0xff)
			return NULL;
		if (!d || !d->secondary)
			continue;
		first = d->config[PCI_SECONDARY_BUS];
		last = d->config[PCI_SUBORDINATE_BUS];
		if (number == first)
			return d->secondary;
		if (number < first || number > last)
			continue;
		b = d->secondary; /* the first that claims it has it */
		i = -1u;
	}
	return b;
}

bool pci_bus_forwards(const struct pci_bus *b, bool io, uint64_t addr, uint64_t size)
{
	for (; b->bridge; b = b->bridge->bus) {
		bool through = false;

		for (unsigned w = 0; w < PCI_WINDOWS && !through; w++) {
			uint64_t base, limit;

			through = (w == PCI_WINDOW_IO) == io &&
				  pci_bridge_window(b->bridge, w, &base, &limit) && addr >= base &&
				  addr <= limit && size - 1 <= limit - addr;
		}
		if (!through)
			return false;
	}
	return true;
}

void pci_bus_update(struct pci_bus *b)
{
	mem_begin(b->env->mem);
	for (unsigned i = 0; i < 256; i++) {
		if (!b->devs[i])
			continue;
		pci_dev_bars_update(b->devs[i]);
		if (b->devs[i]->secondary)
			pci_bus_update(b->devs[i]->secondary);
	}
	mem_commit(b->env->mem);
}

uint32_t pci_config_read(struct pci_bus *b, uint8_t devfn, unsigned off, unsigned size)
{
	struct pci_dev *d = b->devs[devfn];

	return d ? pci_dev_config_read(d, off, size) : (uint32_t)mask_size(size);
}

void pci_config_write(struct pci_bus *b, uint8_t devfn, unsigned off, uint32_t val, unsigned size)
{
	struct pci_dev *d = b->devs[devfn];

	if (d)
		pci_dev_config_write(d, off, val, size);
}

static uint64_t addr_read(void *opaque, uint64_t off, unsigned size)
{
	struct pci_root *b = opaque;

	if (size == 4)
		return b->addr;
	return size == 1 && off == 1 ? b->reset_ctl : ~UINT64_C(0);
}

static void addr_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pci_root *b = opaque;
	bool reset;

	if (size == 4)
		b->addr = (uint32_t)val & 0x80fffffc;
	if (size != 1 || off != 1)
		return;
	reset = (val & 4) && !(b->reset_ctl & 4);
	b->reset_ctl = val & 6;
	if (reset)
		b->dev.env->request_reset(b->dev.env->opaque);
}

/* selected - the bus that 0xcf8 points into, or NULL. */
static struct pci_bus *selected(struct pci_root *b, uint64_t off, uint8_t *devfn, unsigned *reg)
{
	*devfn = (uint8_t)(b->addr >> 8);
	*reg = (b->addr & 0xfc) + (unsigned)off;
	return b->addr & 0x80000000u ? pci_bus_find(&b->bus, (uint8_t)(b->addr >> 16)) : NULL;
}

static uint64_t data_read(void *opaque, uint64_t off, unsigned size)
{
	uint8_t devfn;
	unsigned reg;
	struct pci_bus *b = selected(opaque, off, &devfn, &reg);

	return b ? pci_config_read(b, devfn, reg, size) : ~UINT64_C(0);
}

static void data_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	uint8_t devfn;
	unsigned reg;
	struct pci_bus *b = selected(opaque, off, &devfn, &reg);

	if (b)
		pci_config_write(b, devfn, reg, (uint32_t)val, size);
}

static uint64_t ecam_read(void *opaque, uint64_t off, unsigned size)
{
	struct pci_root *root = opaque;
	struct pci_bus *b = pci_bus_find(&root->bus, (uint8_t)(off >> 20));

	return b ? pci_config_read(b, (uint8_t)(off >> 12), off & 0xfff, size) : ~UINT64_C(0);
}

static void ecam_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pci_root *root = opaque;
	struct pci_bus *b = pci_bus_find(&root->bus, (uint8_t)(off >> 20));

	if (b)
		pci_config_write(b, (uint8_t)(off >> 12), off & 0xfff, (uint32_t)val, size);
}

static const struct io_ops addr_ops = {
	.read = addr_read, .write = addr_write, .min = 1, .max = 4,
};
static const struct io_ops data_ops = {
	.read = data_read, .write = data_write, .min = 1, .max = 4,
};
static const struct io_ops ecam_ops = {
	.read = ecam_read, .write = ecam_write, .min = 1, .max = 4,
};

void pci_bus_ecam(struct pci_bus *bus, bool enable, uint64_t base, uint64_t size)
{
	struct pci_root *b = bus->root;
	struct mem *mem = b->dev.env->mem;

	if (b->ecam_map && enable && base == b->ecam_base && size == b->ecam_io.size)
		return;
	mem_begin(mem);
	if (b->ecam_map)
		mem_unmap(mem, b->ecam_map);
	b->ecam_map = NULL;
	if (enable) {
		b->ecam_io.size = size;
		b->ecam_base = base;
		b->ecam_map = mem_map_io(mem, GPA(base), &b->ecam_io, ECAM_PRIO);
	}
	mem_commit(mem);
}

static void bus_reset(struct dev *dev)
{
	struct pci_root *b = container_of(dev, struct pci_root, dev);

	b->addr = 0;
	b->reset_ctl = 0;
}

static void bus_unrealize(struct dev *dev)
{
	struct pci_root *b = container_of(dev, struct pci_root, dev);

	pci_bus_ecam(&b->bus, false, 0, 0);
	dev_bus_remove(dev->env, &b->bus);
	pio_unmap(dev->env->mem, b->addr_map);
	pio_unmap(dev->env->mem, b->data_map);
	free(b);
}

static int bus_post_load(void *obj, struct err **e)
{
	struct pci_root *b = obj;

	b->addr &= 0x80fffffc;
	b->reset_ctl &= 6;
	return 0;
}

static const struct state_field bus_fields[] = {
	STATE_FIELD(struct pci_root, addr, STATE_U32),
	STATE_FIELD(struct pci_root, reset_ctl, STATE_U8),
	STATE_END,
};

static const struct state_desc bus_state = {
	.name = "pci-bus", .version = 1, .fields = bus_fields, .post_load = bus_post_load,
};

static const struct dev_ops bus_ops = {
	.name = "pci-bus", .unrealize = bus_unrealize, .reset = bus_reset,
	.quiesce = dev_quiesce_none, .state = &bus_state,
};

struct pci_bus *pci_bus_create(struct dev_env *env, const char *name, bool express,
			       unsigned (*map_irq)(unsigned slot, unsigned pin),
			       void (*set_pirq)(void *opaque, unsigned n, bool level), void *opaque)
{
	struct pci_root *b = xzalloc(sizeof(*b));

	pci_bus_init(&b->bus, env, b, NULL, express);
	b->map_irq = map_irq;
	b->set_pirq = set_pirq;
	b->opaque = opaque;
	b->addr_io = (struct io_region){ .name = "pci-address", .ops = &addr_ops, .opaque = b,
		.lock = env->lock, .size = 4 };
	b->data_io = (struct io_region){ .name = "pci-data", .ops = &data_ops, .opaque = b,
		.lock = env->lock, .size = 4 };
	b->ecam_io = (struct io_region){ .name = "pci-ecam", .ops = &ecam_ops, .opaque = b,
		.lock = env->lock };
	b->addr_map = pio_map(env->mem, 0xcf8, &b->addr_io, 0);
	b->data_map = pio_map(env->mem, 0xcfc, &b->data_io, 0);
	dev_add(&b->dev, &bus_ops, "pci", env);
	dev_bus_add(env, name, BUS_PCI, &b->bus, pci_bus_place);
	return &b->bus;
}
