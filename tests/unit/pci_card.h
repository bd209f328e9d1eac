/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A PCI function to test buses with. */
#include "dev_env.h"

#include "dev/pci/pci.h"

static const struct pci_space pci_space = {
	.io = {0xc000, 0x10000},
	.mem = {0xc0000000, 0xfec00000},
	.mem64 = {0x100000000, 0x8000000000},
};

/* A function with one 4 KiB memory BAR, one 32-byte I/O BAR and a 64-bit one. */
struct card {
	struct pci_dev pci;
	struct io_region mem, io, big;
	uint64_t last;
};

static inline uint64_t card_read(void *opaque, uint64_t off, unsigned size)
{
	return 0xc0de0000 + off;
}

static inline void card_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	((struct card *)opaque)->last = val;
}

static const struct io_ops card_ops = {
	.read = card_read, .write = card_write, .min = 4, .max = 4,
};

static inline void card_reset(struct dev *d)
{
	pci_dev_reset(container_of(d, struct pci_dev, dev));
}

static inline void card_unrealize(struct dev *d)
{
	struct card *c = container_of(d, struct card, pci.dev);

	pci_dev_fini(&c->pci);
	free(c);
}

static const struct state_field card_fields[] = { PCI_DEV_STATE(struct card, pci), STATE_END };
static const struct state_desc card_state = { .name = "card", .version = 1, .fields = card_fields };
static const struct pci_dev_ops card_dev_ops = {
	.dev = { .name = "card", .unrealize = card_unrealize, .reset = card_reset,
		 .quiesce = dev_quiesce_none, .state = &card_state },
};

/* card_new - not plugged yet: for more capabilities, then pci_dev_ready. */
static inline struct card *card_new(struct pci_bus *b, uint8_t devfn)
{
	static const struct pci_id id = { .vendor = 0x1af4, .device = 0x1234, .class = 0xff00,
					  .irq_pin = 1 };
	struct card *c = xzalloc(sizeof(*c));
	struct io_region io = { .name = "card", .ops = &card_ops, .opaque = c,
				.lock = pci_bus_env(b)->lock };

	c->mem = c->io = c->big = io;
	c->mem.size = 4 * KiB;
	c->io.size = 32;
	c->big.size = 1 * MiB;
	pci_dev_init(&c->pci, b, devfn, &id, &card_dev_ops, "card");
	pci_dev_bar(&c->pci, 0, 0, &c->mem);
	pci_dev_bar(&c->pci, 1, PCI_BAR_IO, &c->io);
	pci_dev_bar(&c->pci, 2, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, &c->big);
	pci_dev_cap(&c->pci, 0x09, 0x40, 16);
	pci_dev_cap(&c->pci, 0x09, 0x50, 12);
	return c;
}

static inline struct card *card_create(struct pci_bus *b, uint8_t devfn)
{
	struct card *c = card_new(b, devfn);

	pci_dev_ready(&c->pci);
	return c;
}
