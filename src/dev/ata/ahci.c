/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AHCI controller (Serial ATA AHCI 1.3), as in the ICH9 (Intel 316972, chapter 14).
 *
 *   BAR 5  0x00 CAP   0x04 GHC  0x08 IS  0x0c PI  0x10 VS  0x24 CAP2  0x28 BOHC
 *          0x100 + 0x80 n  port n: ahci_port.c
 *   BAR 4  0x10 index, 0x14 data: the same registers by ports
 *
 * Interrupt: IS has a bit for each port whose PxIS & PxIE is not zero; the wire is high while IS
 * has any and GHC.IE is set.  A message goes out when a bit of IS becomes set, and when some stay
 * after others were cleared (10.6.2): a driver that handles ports before it clears IS loses none.
 *
 * Threads: everything with env->lock held.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "dev/ata/ahci_int.h"

#define CAP 0x00
#define GHC 0x04
#define IS 0x08
#define PI 0x0c
#define VS 0x10

/* 64-bit addresses 31, NCQ 30, CLO 24, 6 Gb/s 23:20, AHCI only 18, PIO multiple DRQ 15, slots
 * 12:8 */
#define CAP_VALUE \
	(BIT(31) | BIT(30) | BIT(24) | 3u << 20 | BIT(18) | BIT(15) | (AHCI_SLOTS - 1) << 8)
#define GHC_HR BIT(0)
#define GHC_IE BIT(1)
#define GHC_AE BIT(31)

#define SATA_CAP 0xa8

/* update - again: a message for whatever is in IS. */
static void update(struct ahci *h, bool again)
{
	uint32_t before = again ? 0 : h->is;
	bool level;

	for (unsigned i = 0; i < h->n_ports; i++)
		if (ahci_port_is(&h->ports[i]) & h->ports[i].ie)
			h->is |= 1u << i;
	level = h->is && (h->ghc & GHC_IE);
	pci_dev_irq(&h->pci, level);
	if (level && (h->is & ~before))
		pci_msi_notify(&h->pci, 0);
}

void ahci_irq(struct ahci *h)
{
	update(h, false);
}

static void hba_reset(struct ahci *h)
{
	h->ghc = GHC_AE;
	h->is = 0;
	for (unsigned i = 0; i < h->n_ports; i++)
		ahci_port_reset(&h->ports[i], true);
	ahci_irq(h);
}

static uint32_t read_reg(struct ahci *h, unsigned off)
{
	if (off >= 0x100) {
		unsigned n = (off - 0x100) / 0x80;

		return n < h->n_ports ? ahci_port_read(&h->ports[n], off & 0x7f) : 0;
	}
	switch (off) {
	case CAP:
		return (uint32_t)CAP_VALUE | (h->n_ports - 1);
	case GHC:
		return h->ghc;
	case IS:
		return h->is;
	case PI:
		return (uint32_t)(BIT(h->n_ports) - 1);
	case VS:
		return 0x00010300;
	default:
		return 0;
	}
}

static void write_ghc(struct ahci *h, uint32_t val)
{
	bool enabled = val & ~h->ghc & GHC_IE;

	if (val & GHC_HR) {
		hba_reset(h);
		return;
	}
	h->ghc = GHC_AE | (val & GHC_IE);
	update(h, enabled);
}

static void write_is(struct ahci *h, uint32_t val)
{
	h->is &= ~val;
	update(h, true);
}

static void write_reg(struct ahci *h, unsigned off, uint32_t val)
{
	if (off >= 0x100) {
		unsigned n = (off - 0x100) / 0x80;

		if (n < h->n_ports) {
			ahci_port_write(&h->ports[n], off & 0x7f, val);
			ahci_port_poll(&h->ports[n]);
		}
		return;
	}
	if (off == GHC)
		write_ghc(h, val);
	else if (off == IS)
		write_is(h, val);
}

static uint64_t mem_reg_read(void *opaque, uint64_t off, unsigned size)
{
	return read_reg(opaque, (unsigned)off);
}

static void mem_reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	write_reg(opaque, (unsigned)off, (uint32_t)val);
}

static uint64_t idp_read(void *opaque, uint64_t off, unsigned size)
{
	struct ahci *h = opaque;

	if (off == 0x10)
		return h->index;
	return off == 0x14 ? read_reg(h, h->index) : 0;
}

static void idp_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct ahci *h = opaque;

	if (off == 0x10)
		h->index = (uint32_t)val & (uint32_t)(h->mem.size - 4);
	else if (off == 0x14)
		write_reg(h, h->index, (uint32_t)val);
}

static const struct io_ops mem_ops = {
	.read = mem_reg_read,
	.write = mem_reg_write,
	.min = 4,
	.max = 4,
};

static const struct io_ops idp_ops = {
	.read = idp_read,
	.write = idp_write,
	.min = 4,
	.max = 4,
};

/* written - the right to master the bus came back: what waited for it goes on. */
static void written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct ahci *h = container_of(d, struct ahci, pci);

	if (off > PCI_COMMAND + 1)
		return;
	for (unsigned i = 0; i < h->n_ports; i++) {
		ahci_port_run(&h->ports[i]);
		ahci_port_poll(&h->ports[i]);
	}
}

static void restart(void *opaque)
{
	struct ahci *h = opaque;

	for (unsigned i = 0; i < h->n_ports; i++)
		ahci_port_restart(&h->ports[i]);
}

static void ahci_reset(struct dev *dev)
{
	struct ahci *h = container_of(dev, struct ahci, pci.dev);

	timer_cancel(h->restart);
	pci_dev_reset(&h->pci);
	h->index = 0;
	hba_reset(h);
}

static void ahci_unrealize(struct dev *dev)
{
	struct ahci *h = container_of(dev, struct ahci, pci.dev);

	timer_destroy(h->restart);
	for (unsigned i = 0; i < h->n_ports; i++)
		ahci_port_fini(&h->ports[i]);
	pci_dev_fini(&h->pci);
	free(h);
}

static int post_load(void *obj, struct err **e)
{
	struct ahci *h = obj;
	int rc = 0;

	h->ghc = GHC_AE | (h->ghc & GHC_IE);
	h->is &= (uint32_t)(BIT(h->n_ports) - 1);
	h->index &= (uint32_t)(h->mem.size - 4);
	for (unsigned i = 0; i < h->n_ports && !rc; i++)
		rc = ahci_port_check(&h->ports[i], e);
	if (!rc)
		timer_arm(h->restart, vclock_now(h->pci.dev.env->clock));
	return rc;
}

static const struct state_field port_fields[] = {
	STATE_FIELD(struct ahci_port, clb, STATE_U64),
	STATE_FIELD(struct ahci_port, fb, STATE_U64),
	STATE_FIELD(struct ahci_port, is, STATE_U32),
	STATE_FIELD(struct ahci_port, ie, STATE_U32),
	STATE_FIELD(struct ahci_port, cmd, STATE_U32),
	STATE_FIELD(struct ahci_port, tfd, STATE_U32),
	STATE_FIELD(struct ahci_port, sig, STATE_U32),
	STATE_FIELD(struct ahci_port, ssts, STATE_U32),
	STATE_FIELD(struct ahci_port, sctl, STATE_U32),
	STATE_FIELD(struct ahci_port, serr, STATE_U32),
	STATE_FIELD(struct ahci_port, sact, STATE_U32),
	STATE_FIELD(struct ahci_port, ci, STATE_U32),
	STATE_FIELD(struct ahci_port, unsigned_yet, STATE_BOOL),
	STATE_FIELD(struct ahci_port, halted, STATE_BOOL),
	STATE_FIELD(struct ahci_port, srst, STATE_BOOL),
	STATE_FIELD(struct ahci_port, slot, STATE_U8),
	STATE_FIELD(struct ahci_port, last, STATE_U8),
	STATE_FIELD(struct ahci_port, queued, STATE_U32),
	STATE_END,
};

static const struct state_desc port_state = {
	.name = "ahci-port",
	.version = 1,
	.fields = port_fields,
};

static const struct state_field ahci_fields[] = {
	PCI_DEV_STATE(struct ahci, pci),
	STATE_FIELD(struct ahci, ghc, STATE_U32),
	STATE_FIELD(struct ahci, is, STATE_U32),
	STATE_FIELD(struct ahci, index, STATE_U32),
	STATE_STRUCTS(struct ahci, ports, port_state),
	STATE_END,
};

static const struct state_desc ahci_state = {
	.name = "ahci",
	.version = 1,
	.fields = ahci_fields,
	.post_load = post_load,
};

static const struct pci_dev_ops ahci_ops = {
	.dev = {.name = "ich9-ahci",
		.unrealize = ahci_unrealize,
		.reset = ahci_reset,
		.quiesce = dev_quiesce_none,
		.state = &ahci_state},
	.config_written = written,
};

static const struct pci_id ahci_id = {
	.vendor = 0x8086,
	.device = 0x2922,
	.class = 0x0106,
	.prog_if = 1,
	.revision = 2,
	.irq_pin = 1,
	.subvendor = 0x1af4,
	.subdevice = 0x1100,
};

static void init(struct ahci *h, unsigned n_ports)
{
	struct dev_env *env = h->pci.dev.env;
	uint8_t *c = h->pci.config;
	uint64_t size = 4 * KiB;

	while (size < 0x100 + 0x80 * (uint64_t)n_ports)
		size *= 2;
	h->n_ports = n_ports;
	h->mem = (struct io_region){
		.name = "ahci", .ops = &mem_ops, .opaque = h, .lock = env->lock, .size = size};
	h->idp = (struct io_region){
		.name = "ahci-idp", .ops = &idp_ops, .opaque = h, .lock = env->lock, .size = 32};
	h->restart = timer_new(env->loop, env->clock, env->lock, restart, h);
	pci_dev_bar(&h->pci, 4, PCI_BAR_IO, &h->idp);
	pci_dev_bar(&h->pci, 5, 0, &h->mem);
	/* Serial ATA capability (AHCI 2.1.11): index and data in BAR 4 at dword 4. */
	pci_dev_cap(&h->pci, 0x12, SATA_CAP, 8);
	put_le16(c + SATA_CAP + 2, 0x0010);
	put_le32(c + SATA_CAP + 4, 4 << 4 | 8);
	pci_msi_init(&h->pci, 1);
	c[0x90] = 0x40; /* MAP: AHCI */
	c[0x92] = 0x3f; /* PCS: ports enabled */
	h->pci.wmask[0x92] = 0x3f;
	pci_dev_ready(&h->pci);
	for (unsigned i = 0; i < n_ports; i++)
		ahci_port_init(&h->ports[i], h, i);
	/* Ports that are not there are saved, too, as they are after reset. */
	for (unsigned i = n_ports; i < AHCI_PORTS_MAX; i++) {
		h->ports[i].cmd = PXCMD_FIXED;
		h->ports[i].slot = AHCI_SLOTS;
	}
	hba_reset(h);
}

void ahci_create_at(struct pci_place *pl, unsigned n_ports)
{
	struct ahci *h = xzalloc(sizeof(*h));

	bug_on(!n_ports || n_ports > AHCI_PORTS_MAX);
	h->bus_id = pl->id && *pl->id ? pl->id : NULL;
	pci_dev_init_at(&h->pci, pl, &ahci_id, &ahci_ops);
	init(h, n_ports);
}

struct ahci *ahci_create(struct pci_bus *bus, uint8_t devfn, unsigned n_ports, const char *id)
{
	struct ahci *h = xzalloc(sizeof(*h));

	bug_on(!n_ports || n_ports > AHCI_PORTS_MAX);
	pci_dev_init(&h->pci, bus, devfn, &ahci_id, &ahci_ops, id);
	init(h, n_ports);
	return h;
}

struct ata_bus *ahci_bus(struct ahci *h, unsigned port)
{
	return &h->ports[port].bus;
}
