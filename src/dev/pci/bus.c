/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI root bus: ways to configuration space, interrupt pins.
 *
 *   0xcf8  configuration address, 32-bit accesses only: enable 31, bus 23:16, devfn 15:8,
 *          register 7:2
 *   0xcf9  reset control (8-bit): 2 reset on its rising edge, 1 hard reset (kept)
 *   0xcfc  configuration data
 *   ECAM   bus 27:20, devfn 19:12, register 11:0 (PCI Express 3.0 7.2.2)
 *
 * Functions are conventional: registers from 256 up read as ones.
 */
#include <stdlib.h>

#include "dev/pci/pci.h"
#include "dev/pci/pci_int.h"

#define PIRQS 8
#define ECAM_PRIO (-1)

struct pci_bus {
	struct dev dev;
	struct pci_dev *devs[256];
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

static unsigned pirq_of(struct pci_bus *b, struct pci_dev *d)
{
	unsigned n = b->map_irq(PCI_SLOT(d->devfn), d->config[PCI_INTERRUPT_PIN] - 1u);

	bug_on(n >= PIRQS);
	return n;
}

void pci_bus_intx_count(struct pci_bus *b, struct pci_dev *d, bool level)
{
	unsigned n = pirq_of(b, d);

	b->pirq[n] += level ? 1 : -1u;
}

void pci_bus_intx(struct pci_bus *b, struct pci_dev *d, bool level)
{
	unsigned n = pirq_of(b, d), before = b->pirq[n];

	b->pirq[n] += level ? 1 : -1u;
	if (!before != !b->pirq[n])
		b->set_pirq(b->opaque, n, level);
}

bool pci_bus_pirq(const struct pci_bus *b, unsigned n)
{
	return b->pirq[n] != 0;
}

int pci_bus_free_slot(const struct pci_bus *b, unsigned first)
{
	for (unsigned slot = first; slot < 32; slot++) {
		bool used = false;

		for (unsigned fn = 0; fn < 8; fn++)
			used |= b->devs[PCI_DEVFN(slot, fn)] != NULL;
		if (!used)
			return (int)slot;
	}
	return -1;
}

struct dev_env *pci_bus_env(const struct pci_bus *b)
{
	return b->dev.env;
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
	struct pci_bus *b = opaque;

	if (size == 4)
		return b->addr;
	return size == 1 && off == 1 ? b->reset_ctl : ~UINT64_C(0);
}

static void addr_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pci_bus *b = opaque;
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

/* selected - devfn and register that 0xcf8 points to, or false. */
static bool selected(const struct pci_bus *b, uint64_t off, uint8_t *devfn, unsigned *reg)
{
	*devfn = (uint8_t)(b->addr >> 8);
	*reg = (b->addr & 0xfc) + (unsigned)off;
	return (b->addr & 0x80000000u) && !(b->addr & 0xff0000);
}

static uint64_t data_read(void *opaque, uint64_t off, unsigned size)
{
	struct pci_bus *b = opaque;
	uint8_t devfn;
	unsigned reg;

	if (!selected(b, off, &devfn, &reg))
		return ~UINT64_C(0);
	return pci_config_read(b, devfn, reg, size);
}

static void data_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pci_bus *b = opaque;
	uint8_t devfn;
	unsigned reg;

	if (selected(b, off, &devfn, &reg))
		pci_config_write(b, devfn, reg, (uint32_t)val, size);
}

static uint64_t ecam_read(void *opaque, uint64_t off, unsigned size)
{
	if (off >> 20) /* bus 0 only */
		return ~UINT64_C(0);
	return pci_config_read(opaque, (uint8_t)(off >> 12), off & 0xfff, size);
}

static void ecam_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	if (!(off >> 20))
		pci_config_write(opaque, (uint8_t)(off >> 12), off & 0xfff, (uint32_t)val, size);
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

void pci_bus_ecam(struct pci_bus *b, bool enable, uint64_t base, uint64_t size)
{
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

/* assign_bar - address of BAR n from a rising allocator. */
static void assign_bar(struct pci_bus *b, struct pci_dev *d, unsigned n, uint64_t *next)
{
	struct pci_bar *bar = &d->bars[n];
	unsigned reg = n == PCI_ROM_BAR ? PCI_ROM_ADDRESS : PCI_BAR0 + 4 * n;

	*next = align_up(*next, max_u64(bar->size, bar->flags & PCI_BAR_IO ? 4 : PAGE_SIZE));
	pci_config_write(b, d->devfn, reg, (uint32_t)*next, 4);
	if (bar->flags & PCI_BAR_MEM64)
		pci_config_write(b, d->devfn, reg + 4, (uint32_t)(*next >> 32), 4);
	*next += bar->size;
}

void pci_bus_assign(struct pci_bus *b, uint64_t mem_base, uint16_t io_base, const uint8_t irq[4])
{
	uint64_t mem = mem_base, io = io_base;

	for (unsigned i = 0; i < 256; i++) {
		struct pci_dev *d = b->devs[i];

		for (unsigned n = 0; d && n <= PCI_ROM_BAR; n++)
			if (d->bars[n].io)
				assign_bar(b, d, n, d->bars[n].flags & PCI_BAR_IO ? &io : &mem);
		if (!d)
			continue;
		pci_config_write(b, d->devfn, PCI_COMMAND,
				 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
		if (d->config[PCI_INTERRUPT_PIN])
			pci_config_write(b, d->devfn, PCI_INTERRUPT_LINE,
					 irq[pirq_of(b, d) & 3], 1);
	}
}

static void bus_reset(struct dev *dev)
{
	struct pci_bus *b = container_of(dev, struct pci_bus, dev);

	b->addr = 0;
	b->reset_ctl = 0;
}

static void bus_unrealize(struct dev *dev)
{
	struct pci_bus *b = container_of(dev, struct pci_bus, dev);

	pci_bus_ecam(b, false, 0, 0);
	pio_unmap(dev->env->mem, b->addr_map);
	pio_unmap(dev->env->mem, b->data_map);
	free(b);
}

static int bus_post_load(void *obj, struct err **e)
{
	struct pci_bus *b = obj;

	b->addr &= 0x80fffffc;
	b->reset_ctl &= 6;
	return 0;
}

static const struct state_field bus_fields[] = {
	STATE_FIELD(struct pci_bus, addr, STATE_U32),
	STATE_FIELD(struct pci_bus, reset_ctl, STATE_U8),
	STATE_END,
};

static const struct state_desc bus_state = {
	.name = "pci-bus", .version = 1, .fields = bus_fields, .post_load = bus_post_load,
};

static const struct dev_ops bus_ops = {
	.name = "pci-bus", .unrealize = bus_unrealize, .reset = bus_reset,
	.quiesce = dev_quiesce_none, .state = &bus_state,
};

struct pci_bus *pci_bus_create(struct dev_env *env,
			       unsigned (*map_irq)(unsigned slot, unsigned pin),
			       void (*set_pirq)(void *opaque, unsigned n, bool level), void *opaque)
{
	struct pci_bus *b = xzalloc(sizeof(*b));

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
	return b;
}
