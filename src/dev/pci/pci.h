/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * PCI (Local Bus 3.0, PCI-to-PCI Bridge 1.2, Express 3.0): a root bus with configuration space by
 * mechanism #1 (ports 0xcf8/0xcfc) and ECAM, buses behind bridges and root ports, functions with BARs
 * that the guest sizes and moves, INTx wired to four or eight PIRQ lines, messages.  Everything runs
 * with env->lock held.  How to write a PCI device: docs/devices.md.
 */
#include "dev/class.h"
#include "dev/dev.h"

#define PCI_DEVFN(slot, fn) ((uint8_t)((slot) << 3 | (fn)))
#define PCI_SLOT(devfn) ((devfn) >> 3)
#define PCI_FUNC(devfn) ((devfn) & 7)
#define PCI_CONFIG_SIZE 256   /* of a conventional function */
#define PCIE_CONFIG_SIZE 4096 /* of a PCI Express one */
#define PCI_NUM_BARS 6
#define PCI_ROM_BAR 6

/* Configuration header (PCI 3.0 6.1). */
#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO BIT(0)
#define PCI_COMMAND_MEMORY BIT(1)
#define PCI_COMMAND_MASTER BIT(2)
#define PCI_COMMAND_PARITY BIT(6)
#define PCI_COMMAND_SERR BIT(8)
#define PCI_COMMAND_INTX_DISABLE BIT(10)
#define PCI_STATUS 0x06
#define PCI_STATUS_INTERRUPT BIT(3)
#define PCI_STATUS_CAP_LIST BIT(4)
#define PCI_REVISION_ID 0x08
#define PCI_CLASS_PROG 0x09
#define PCI_CLASS_DEVICE 0x0a
#define PCI_CACHE_LINE_SIZE 0x0c
#define PCI_LATENCY_TIMER 0x0d
#define PCI_HEADER_TYPE 0x0e
#define PCI_HEADER_BRIDGE 0x01
#define PCI_HEADER_MULTIFUNCTION 0x80
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_ROM_ADDRESS 0x30
#define PCI_CAPABILITY_LIST 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d
/* Header of a bridge. */
#define PCI_PRIMARY_BUS 0x18
#define PCI_SECONDARY_BUS 0x19
#define PCI_SUBORDINATE_BUS 0x1a
#define PCI_BRIDGE_ROM_ADDRESS 0x38
#define PCI_CAP_ID_MSI 0x05
#define PCI_CAP_ID_EXP 0x10
#define PCI_CAP_ID_MSIX 0x11
#define PCI_BAR_IO 0x1
#define PCI_BAR_MEM64 0x4
#define PCI_BAR_PREFETCH 0x8

struct pci_bus;
struct pci_dev;
struct pci_rom;

struct pci_bar {
	struct io_region *io;	/* NULL: BAR absent, or of RAM */
	uint64_t size;		/* power of two, >= 16 (memory) or >= 4 (I/O); 0: BAR absent */
	uint64_t ram_off;	/* RAM offset, of a BAR that shows RAM */
	uint8_t flags;		/* PCI_BAR_* */
	bool mapped;
	uint64_t addr;		/* where it is mapped */
	struct mem_map *map;
};

struct pci_dev_ops {
	struct dev_ops dev; /* first: name, unrealize, reset, state */
	/* After a configuration write changed bytes [off, off+size); may be NULL. */
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned size);
	/* Before a configuration read; may be NULL. */
	void (*config_reading)(struct pci_dev *d, unsigned off, unsigned size);
};

/* Message-signalled interrupts: msi.c. */
struct pci_msi {
	uint8_t cap, n; /* offset of the capability, 0: absent; vectors */
};

struct pci_msix {
	uint8_t cap;	    /* offset of the capability, 0: absent */
	uint32_t n;	    /* vectors */
	uint32_t table_len, pba_len; /* bytes */
	uint32_t pba_off;   /* in the BAR */
	uint8_t *table, *pba;
	struct io_region io;
};

struct pci_dev {
	struct dev dev;
	const struct pci_dev_ops *pops;
	struct pci_bus *bus;
	uint8_t devfn;
	bool intx; /* level of the function's INTx request */
	bool intx_out; /* what the bus sees (INTX_DISABLE applied) */
	uint8_t *ext; /* the extended part of config: pci_dev_express */
	uint32_t ext_len; /* 0: conventional */
	uint8_t cap_last; /* offset of the newest capability */
	uint16_t cap_end; /* end of the capabilities so far */
	uint8_t config[PCIE_CONFIG_SIZE];
	uint8_t wmask[PCIE_CONFIG_SIZE];   /* bits the guest may write */
	uint8_t w1cmask[PCIE_CONFIG_SIZE]; /* bits cleared by writing one */
	uint8_t live[PCIE_CONFIG_SIZE];    /* other bits that change: saved with the rest */
	uint8_t init[PCIE_CONFIG_SIZE];	   /* config at reset, taken by pci_dev_ready */
	struct pci_bar bars[PCI_NUM_BARS + 1];
	struct pci_rom *rom; /* owned; NULL: none */
	struct pci_bus *secondary; /* bridges: the bus behind */
	struct pci_msi msi;
	struct pci_msix msix;
};

/* Identity of a function. */
struct pci_id {
	uint16_t vendor, device, subvendor, subdevice;
	uint16_t class; /* base class << 8 | subclass */
	uint8_t prog_if, revision, header, irq_pin; /* irq_pin 1..4, 0 none */
};

/* pci_bus_create - a root bus, bus 0, which -device finds as `name`; maps 0xcf8/0xcfc and the
 * reset control register 0xcf9.  express: functions may have PCI Express capabilities.  map_irq: pin
 * (0..3) of a slot to the PIRQ number; set_pirq: the ORed level of PIRQ n (0..7) changed. */
struct pci_bus *pci_bus_create(struct dev_env *env, const char *name, bool express,
			       unsigned (*map_irq)(unsigned slot, unsigned pin),
			       void (*set_pirq)(void *opaque, unsigned n, bool level),
			       void *opaque);
/* pci_bus_ecam - show the bus's configuration space at base (64, 128 or
 * 256 MiB, 1 MiB for each bus), or nowhere. */
void pci_bus_ecam(struct pci_bus *b, bool enable, uint64_t base, uint64_t size);
/* pci_bus_pirq - present level of PIRQ n. */
bool pci_bus_pirq(const struct pci_bus *b, unsigned n);
/* pci_config_read/write - size 1, 2 or 4, naturally aligned; also for machine code that acts
 * as firmware. */
uint32_t pci_config_read(struct pci_bus *b, uint8_t devfn, unsigned off, unsigned size);
void pci_config_write(struct pci_bus *b, uint8_t devfn, unsigned off, uint32_t val, unsigned size);
/* pci_bus_free_slot - lowest slot >= first without functions, or -1. */
int pci_bus_free_slot(const struct pci_bus *b, unsigned first);
struct dev_env *pci_bus_env(const struct pci_bus *b);
bool pci_bus_is_express(const struct pci_bus *b);
/* pci_bus_is_root - is it behind no bridge? */
bool pci_bus_is_root(const struct pci_bus *b);
/* pci_bus_number - as the guest has numbered it; 0 for the root. */
uint8_t pci_bus_number(const struct pci_bus *b);
/* pci_bus_dev - the function there, or NULL; its `secondary` leads on. */
struct pci_dev *pci_bus_dev(const struct pci_bus *b, uint8_t devfn);
/* Where firmware may put things: [start, end) each; empty: nowhere. */
struct pci_range {
	uint64_t start, end;
};
struct pci_space {
	struct pci_range io, mem, mem64;
};
/* pci_bus_assign - what firmware does, from the root bus: number the buses, give every BAR and
 * bridge window an address, switch decoding and mastering on, and put irq[PIRQ & 3] in the interrupt
 * line registers.  64-bit BARs of 64 MiB and more go into mem64, others when mem is too small.
 * Returns how many BARs and windows found no room; these are not decoded. */
unsigned pci_bus_assign(struct pci_bus *b, const struct pci_space *space, const uint8_t irq[4]);

/*
 * Making a function: allocate a struct that begins with struct pci_dev, pci_dev_init, add BARs and
 * capabilities, adjust config/wmask, then pci_dev_ready (plugs it and remembers the reset values).
 */
void pci_dev_init(struct pci_dev *d, struct pci_bus *b, uint8_t devfn, const struct pci_id *id,
		  const struct pci_dev_ops *ops, const char *name);
/*
 * A function that -device makes: its class has pci_props in props_more, and create calls
 * pci_place_get, which checks the slot and loads the option ROM, then pci_dev_init_at instead of
 * pci_dev_init.  When create fails between the two: pci_place_drop.  name: what the device is called
 * without an id.
 */
struct pci_place {
	struct pci_bus *bus;
	uint8_t devfn;
	const char *name, *id;
	bool multifunction;
	struct pci_rom *rom;
};
extern const struct dev_prop pci_props[]; /* multifunction, romfile, rombar */
int pci_place_get(struct pci_place *pl, const struct dev_place *p, const struct dev_opts *o,
		  const char *name, struct err **e);
/* pci_place_rom - the option ROM of a class that has one unless its properties say otherwise: file
 * `name`.  Between pci_place_get and pci_dev_init_at. */
int pci_place_rom(struct pci_place *pl, const struct dev_opts *o, const char *name, struct err **e);
/* pci_dev_rom - its option ROM and *size; NULL: it has none. */
const uint8_t *pci_dev_rom(const struct pci_dev *d, uint64_t *size);
void pci_place_drop(struct pci_place *pl);
void pci_dev_init_at(struct pci_dev *d, struct pci_place *pl, const struct pci_id *id,
		     const struct pci_dev_ops *ops);
void pci_dev_bar(struct pci_dev *d, unsigned n, uint8_t flags, struct io_region *io);
/* pci_dev_bar_ram - a memory BAR that shows [ram_off, ram_off + size) of guest RAM (mem_ram_alloc): a
 * frame buffer.  size: a power of two, at least 4 KiB. */
void pci_dev_bar_ram(struct pci_dev *d, unsigned n, uint8_t flags, uint64_t ram_off, uint64_t size);
/* pci_dev_cap - append a capability of len bytes (ID and next filled in) at off, or (0) after those
 * that are there; returns its offset. */
unsigned pci_dev_cap(struct pci_dev *d, uint8_t id, unsigned off, unsigned len);
/* pci_dev_express - the function has 4 KiB of configuration space, whose extended capabilities
 * (from 0x100; an ID of 0 there: none) only ECAM reaches.  A PCI Express capability
 * is the caller's. */
void pci_dev_express(struct pci_dev *d);
/* pci_dev_express_endpoint - if the bus is PCI Express: the capability of an endpoint, and what
 * pci_dev_express does; else false, and the function stays conventional. */
bool pci_dev_express_endpoint(struct pci_dev *d);
void pci_dev_ready(struct pci_dev *d);
/* pci_dev_fini - unplug and unmap; the caller frees. */
void pci_dev_fini(struct pci_dev *d);
/* pci_dev_reset - configuration space back to its values at pci_dev_ready. */
void pci_dev_reset(struct pci_dev *d);
/* pci_dev_irq - drive the function's INTx pin. */
void pci_dev_irq(struct pci_dev *d, bool level);

/*
 * Message-signalled interrupts (PCI 3.0 6.8).  pci_msix_init - capability with n vectors (1..2048);
 * table and pending bits take all of memory BAR `bar` (table at 0, pending bits in the upper half),
 * which must be free.  pci_msi_init - n = 1, 2, 4 .. 32 vectors, 64-bit address, per-vector mask.
 * Before pci_dev_ready.  notify: raise vector v (out of range, or not enabled: nothing); masked ones
 * are kept pending and go out when they are unmasked.  When the guest allows MSI fewer vectors
 * than there are, v counts modulo that number.  A function uses MSI-X if enabled, else MSI, else its
 * INTx pin, which pci_dev_irq drives; with MSI or MSI-X enabled pci_dev_irq shows nothing on the
 * wire.  A function that may not master the bus sends no message: it is lost.
 */
void pci_msix_init(struct pci_dev *d, unsigned n, unsigned bar);
bool pci_msix_enabled(const struct pci_dev *d);
void pci_msix_notify(struct pci_dev *d, unsigned v);
void pci_msi_init(struct pci_dev *d, unsigned n);
bool pci_msi_enabled(const struct pci_dev *d);
void pci_msi_notify(struct pci_dev *d, unsigned v);

/* pci_dev_requester - bus << 8 | devfn, as it signs what it sends. */
uint16_t pci_dev_requester(const struct pci_dev *d);
/* pci_dev_is_master - may it read and write memory?  Devices ask before each piece of work that uses
 * guest memory; when not, they leave it until the guest pokes them again. */
bool pci_dev_is_master(const struct pci_dev *d);

/* What every function saves: put PCI_DEV_STATE first in its field table.  Mappings and the
 * INTx output follow when it is loaded. */
extern const struct state_desc pci_dev_state;
#define PCI_DEV_STATE(type, member)                                                                \
	{ .name = "pci", .offset = offsetof(type, member), .kind = STATE_STRUCT, .count = 1,       \
	  .stride = sizeof(struct pci_dev), .sub = &pci_dev_state }
