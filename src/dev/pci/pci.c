/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PCI function: configuration space, BARs, interrupt pin (PCI Local Bus 3.0 6.1-6.2).
 *
 * config holds what the guest reads.  wmask says which bits it may write, w1cmask which it
 * clears by writing one, live which others the device changes. A BAR is decoded while the command register allows its kind and it
 * holds an address that fits; the values that sizing leaves in it for a moment (all ones) do
 * not.  Nor is one that not all bridges above let through, whole and by one window.  BARs rank
 * below RAM and board devices.
 */
#include "dev/pci/pci.h"

#include <stdlib.h>
#include <string.h>

#include "dev/pci/pci_int.h"

#define BAR_PRIO (-1)

static bool is_bridge(const struct pci_dev *d)
{
	return (d->config[PCI_HEADER_TYPE] & 0x7f) == PCI_HEADER_BRIDGE;
}

unsigned pci_dev_bar_reg(const struct pci_dev *d, unsigned n)
{
	if (n == PCI_ROM_BAR)
		return is_bridge(d) ? PCI_BRIDGE_ROM_ADDRESS : PCI_ROM_ADDRESS;
	return PCI_BAR0 + 4 * n;
}

static uint16_t command(const struct pci_dev *d)
{
	return get_le16(d->config + PCI_COMMAND);
}

/* bar_target - where BAR n shall be decoded, or false: nowhere. */
static bool bar_target(const struct pci_dev *d, unsigned n, uint64_t *addr)
{
	const struct pci_bar *bar = &d->bars[n];
	const uint8_t *reg = d->config + pci_dev_bar_reg(d, n);
	uint64_t limit = UINT64_C(0xffffffff), a = get_le32(reg);
	uint16_t enable = PCI_COMMAND_MEMORY;

	if (bar->flags & PCI_BAR_IO) {
		enable = PCI_COMMAND_IO;
		limit = 0xffff;
		a &= ~UINT64_C(3);
	} else if (n == PCI_ROM_BAR) {
		if (!(a & 1))
			return false;
		a &= ~UINT64_C(0x7ff);
	} else {
		a &= ~UINT64_C(0xf);
		if (bar->flags & PCI_BAR_MEM64) {
			a |= (uint64_t)get_le32(reg + 4) << 32;
			limit = BIT(52) - 1;
		}
	}
	*addr = a;
	/* The last byte at the limit is the sizing pattern (or the reset vector). */
	return (command(d) & enable) && a && a <= limit && bar->size - 1 < limit - a &&
	       pci_bus_forwards(d->bus, bar->flags & PCI_BAR_IO, a, bar->size);
}

static void bar_unmap(struct pci_dev *d, struct pci_bar *bar)
{
	struct mem *mem = d->dev.env->mem;

	if (!bar->mapped)
		return;
	if (bar->flags & PCI_BAR_IO)
		pio_unmap(mem, bar->map);
	else
		mem_unmap(mem, bar->map);
	bar->mapped = false;
}

static void bar_map(struct pci_dev *d, struct pci_bar *bar, uint64_t addr)
{
	struct mem *mem = d->dev.env->mem;

	if (bar->flags & PCI_BAR_IO)
		bar->map = pio_map(mem, (uint16_t)addr, bar->io, BAR_PRIO);
	else if (!bar->io)
		bar->map = mem_map_ram(mem, GPA(addr), bar->size, bar->ram_off, BAR_PRIO);
	else
		bar->map = mem_map_io(mem, GPA(addr), bar->io, BAR_PRIO);
	bar->mapped = true;
	bar->addr = addr;
}

static void bar_update(struct pci_dev *d, struct pci_bar *bar, bool on, uint64_t addr)
{
	struct mem *mem = d->dev.env->mem;

	if (on == bar->mapped && (!on || addr == bar->addr))
		return;
	if (on && bar->mapped) {
		if (bar->flags & PCI_BAR_IO)
			pio_move(mem, bar->map, (uint16_t)addr);
		else
			mem_move(mem, bar->map, GPA(addr));
		bar->addr = addr;
	} else if (on) {
		bar_map(d, bar, addr);
	} else {
		bar_unmap(d, bar);
	}
}

void pci_dev_bars_update(struct pci_dev *d)
{
	mem_begin(d->dev.env->mem);
	for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
		uint64_t addr = 0;
		bool on = d->bars[n].size && bar_target(d, n, &addr);

		if (d->bars[n].size)
			bar_update(d, &d->bars[n], on, addr);
	}
	mem_commit(d->dev.env->mem);
}

static bool intx_target(const struct pci_dev *d)
{
	return d->intx && !(command(d) & PCI_COMMAND_INTX_DISABLE) && !pci_msi_enabled(d) &&
	       !pci_msix_enabled(d);
}

void pci_dev_intx_update(struct pci_dev *d)
{
	bool out = intx_target(d);

	if (out == d->intx_out)
		return;
	d->intx_out = out;
	pci_bus_intx(d->bus, d, out);
}

static void set_intx_status(struct pci_dev *d)
{
	uint16_t st = get_le16(d->config + PCI_STATUS) & (uint16_t)~PCI_STATUS_INTERRUPT;

	put_le16(d->config + PCI_STATUS, st | (d->intx ? (uint16_t)PCI_STATUS_INTERRUPT : 0));
}

void pci_dev_irq(struct pci_dev *d, bool level)
{
	if (d->intx == level || !d->config[PCI_INTERRUPT_PIN])
		return;
	d->intx = level;
	set_intx_status(d);
	pci_dev_intx_update(d);
}

unsigned pci_dev_config_size(const struct pci_dev *d)
{
	return PCI_CONFIG_SIZE + d->ext_len;
}

uint16_t pci_dev_requester(const struct pci_dev *d)
{
	return (uint16_t)(pci_bus_number(d->bus) << 8 | d->devfn);
}

bool pci_dev_is_master(const struct pci_dev *d)
{
	for (; d; d = d->bus->bridge)
		if (!(command(d) & PCI_COMMAND_MASTER))
			return false;
	return true;
}

uint32_t pci_dev_config_read(struct pci_dev *d, unsigned off, unsigned size)
{
	uint32_t val = 0;

	if (!range_fits(off, size, pci_dev_config_size(d)))
		return (uint32_t)mask_size(size);
	if (d->pops->config_reading)
		d->pops->config_reading(d, off, size);
	memcpy(&val, d->config + off, size);
	return val;
}

static bool overlaps(unsigned off, unsigned size, unsigned reg, unsigned len)
{
	return off < reg + len && reg < off + size;
}

void pci_dev_config_write(struct pci_dev *d, unsigned off, uint32_t val, unsigned size)
{
	if (!range_fits(off, size, pci_dev_config_size(d)))
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t b = (uint8_t)(val >> (8 * i)), w = d->wmask[off + i];
		uint8_t *c = &d->config[off + i];

		*c = (uint8_t)((*c & ~w) | (b & w));
		*c &= (uint8_t)~(b & d->w1cmask[off + i]);
	}
	if (overlaps(off, size, PCI_COMMAND, 2) || overlaps(off, size, PCI_BAR0, 24) ||
	    overlaps(off, size, pci_dev_bar_reg(d, PCI_ROM_BAR), 4)) {
		pci_dev_bars_update(d);
		pci_dev_intx_update(d);
	}
	pci_msi_config_written(d, off, size);
	if (d->pops->config_written)
		d->pops->config_written(d, off, size);
}

void pci_dev_init(struct pci_dev *d, struct pci_bus *b, uint8_t devfn, const struct pci_id *id,
		  const struct pci_dev_ops *ops, const char *name)
{
	uint8_t *c = d->config;

	d->pops = ops;
	d->bus = b;
	d->cap_end = 0x40;
	d->devfn = devfn;
	put_le16(c + PCI_VENDOR_ID, id->vendor);
	put_le16(c + PCI_DEVICE_ID, id->device);
	c[PCI_REVISION_ID] = id->revision;
	c[PCI_CLASS_PROG] = id->prog_if;
	put_le16(c + PCI_CLASS_DEVICE, id->class);
	c[PCI_HEADER_TYPE] = id->header;
	if (!is_bridge(d)) {
		put_le16(c + PCI_SUBSYSTEM_VENDOR_ID, id->subvendor);
		put_le16(c + PCI_SUBSYSTEM_ID, id->subdevice);
	}
	c[PCI_INTERRUPT_PIN] = id->irq_pin;
	put_le16(d->wmask + PCI_COMMAND,
		 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
			 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
	put_le16(d->w1cmask + PCI_STATUS, 0xf900); /* error bits */
	d->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	d->wmask[PCI_LATENCY_TIMER] = 0xff;
	d->wmask[PCI_INTERRUPT_LINE] = 0xff;
	dev_add(&d->dev, &ops->dev, name, pci_bus_env(b));
}

static void bar_add(struct pci_dev *d, unsigned n, const struct pci_bar *bar)
{
	uint8_t *reg = d->config + pci_dev_bar_reg(d, n), *mask = d->wmask + pci_dev_bar_reg(d, n);
	uint64_t m = ~(bar->size - 1);
	uint8_t flags = bar->flags;

	bug_on(n > PCI_ROM_BAR || !is_pow2(bar->size));
	bug_on(bar->size < (flags & PCI_BAR_IO ? 4 : n == PCI_ROM_BAR ? 2 * KiB : 16));
	d->bars[n] = *bar;
	if (n == PCI_ROM_BAR) {
		put_le32(mask, (uint32_t)m | 1);
		return;
	}
	put_le32(reg, flags);
	put_le32(mask, (uint32_t)m & (flags & PCI_BAR_IO ? ~3u : ~0xfu));
	if (flags & PCI_BAR_MEM64) {
		bug_on(n >= PCI_NUM_BARS - 1);
		put_le32(mask + 4, (uint32_t)(m >> 32));
	}
}

void pci_dev_bar(struct pci_dev *d, unsigned n, uint8_t flags, struct io_region *io)
{
	bar_add(d, n, &(struct pci_bar){ .io = io, .size = io->size, .flags = flags });
}

void pci_dev_bar_ram(struct pci_dev *d, unsigned n, uint8_t flags, uint64_t ram_off, uint64_t size)
{
	bug_on(PAGE_OFFSET(ram_off | size) || n == PCI_ROM_BAR || (flags & PCI_BAR_IO));
	bar_add(d, n, &(struct pci_bar){ .ram_off = ram_off, .size = size, .flags = flags });
}

unsigned pci_dev_cap(struct pci_dev *d, uint8_t id, unsigned off, unsigned len)
{
	uint8_t *c = d->config;

	if (!off)
		off = align_up(d->cap_end, 4);
	bug_on(off < 0x40 || (off & 3) || !range_fits(off, len, PCI_CONFIG_SIZE));
	c[d->cap_last ? d->cap_last + 1u : PCI_CAPABILITY_LIST] = (uint8_t)off;
	c[off] = id;
	c[off + 1] = 0;
	d->cap_last = (uint8_t)off;
	d->cap_end = (uint16_t)max_u64(d->cap_end, off + len);
	put_le16(c + PCI_STATUS, get_le16(c + PCI_STATUS) | PCI_STATUS_CAP_LIST);
	return off;
}

void pci_dev_express(struct pci_dev *d)
{
	d->ext = d->config + PCI_CONFIG_SIZE;
	d->ext_len = PCIE_CONFIG_SIZE - PCI_CONFIG_SIZE;
}

void pci_dev_ready(struct pci_dev *d)
{
	memcpy(d->init, d->config, sizeof(d->init));
	pci_bus_plug(d->bus, d);
}

void pci_dev_fini(struct pci_dev *d)
{
	d->intx = false;
	pci_dev_intx_update(d);
	for (unsigned n = 0; n <= PCI_ROM_BAR; n++)
		bar_unmap(d, &d->bars[n]);
	pci_bus_unplug(d->bus, d);
	pci_msi_fini(d);
	free(d->rom);
}

void pci_dev_reset(struct pci_dev *d)
{
	d->intx = false;
	memcpy(d->config, d->init, sizeof(d->config));
	pci_msi_reset(d);
	pci_dev_intx_update(d);
	pci_dev_bars_update(d);
}

/* The interrupt wires are saved by those who receive them: only the book-keeping follows here. */
static int pci_dev_post_load(void *obj, struct err **e)
{
	struct pci_dev *d = obj;
	bool out;
	int rc;

	for (unsigned i = 0; i < pci_dev_config_size(d); i++) {
		uint8_t w = d->wmask[i] | d->w1cmask[i] | d->live[i];

		d->config[i] = (uint8_t)((d->config[i] & w) | (d->init[i] & ~w));
	}
	d->intx = d->intx && d->config[PCI_INTERRUPT_PIN];
	set_intx_status(d);
	rc = pci_msi_post_load(d, e);
	out = intx_target(d);
	if (out != d->intx_out)
		pci_bus_intx_count(d->bus, d, out);
	d->intx_out = out;
	pci_dev_bars_update(d);
	return rc;
}

static const struct state_field pci_dev_fields[] = {
	{ .name = "config", .offset = offsetof(struct pci_dev, config), .kind = STATE_BYTES,
	  .count = PCI_CONFIG_SIZE },
	STATE_PTR(struct pci_dev, ext, ext_len, STATE_BYTES),
	STATE_FIELD(struct pci_dev, intx, STATE_BOOL),
	STATE_PTR(struct pci_dev, msix.table, msix.table_len, STATE_BYTES),
	STATE_PTR(struct pci_dev, msix.pba, msix.pba_len, STATE_BYTES),
	STATE_END,
};

const struct state_desc pci_dev_state = {
	.name = "pci", .version = 2, .fields = pci_dev_fields, .post_load = pci_dev_post_load,
};
