/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Devices that a person can name with -device.  A device file defines a const struct dev_class
 * with a table of properties; one line in dev/classes.def registers it.  The registry parses and
 * checks properties, finds the bus and a place on it, resolves names of back ends, and calls create.
 */
#include "dev/dev.h"

struct block;
struct chardev;
struct gsi;
struct netdev;
struct pci_bus;

enum prop_kind {
	PROP_UINT,    /* a number up to max (0: any) */
	PROP_SIZE,    /* bytes, with suffix */
	PROP_BOOL,    /* on, off */
	PROP_AUTO,    /* on, off, auto: 1, 0, 2 */
	PROP_STR,
	PROP_ENUM,    /* one of choices, "a|b|c"; the number is its index */
	PROP_MAC,     /* 00:11:22:33:44:55 */
	PROP_CHARDEV, /* name of a -chardev */
	PROP_DRIVE,   /* of a -drive or -blockdev */
	PROP_NETDEV,
	PROP_FSDEV,
	PROP_OBJECT,  /* of an -object: rng, memory, ... (opaque) */
};

struct dev_prop {
	const char *name, *help, *def; /* def NULL: no value */
	enum prop_kind kind;
	uint64_t max;
	const char *choices;
};

enum bus_kind { BUS_ISA, BUS_PCI, BUS_IDE, BUS_SATA, BUS_VIRTIO_SERIAL, BUS_VIRTIO_MMIO, BUS_NONE };

/* A bus that devices plug into; buses are entered as they are made (dev_bus_add) and found by
 * bus=NAME, or the first with room of the kind. */
struct dev_bus {
	const char *name; /* "pci.0", "ide.1": owned */
	enum bus_kind kind;
	void *bus; /* struct pci_bus, ...: what the kind's devices expect */
	/* Take a place: addr is the value of addr= / unit= / nr= / port=, or NULL: any.  0 with *place, or
	 * -EBUSY, -EINVAL with *e; -ENOSPC: full. */
	int (*place)(void *bus, const char *addr, unsigned *place, struct err **e);
	struct dev_bus *next;
};
void dev_bus_add(struct dev_env *env, const char *name, enum bus_kind kind, void *bus,
		 int (*place)(void *bus, const char *addr, unsigned *place, struct err **e));
void dev_bus_remove(struct dev_env *env, void *bus);
struct dev_bus *dev_bus_find(struct dev_env *env, const char *name);

/* Back ends by name, given by who made them; each NULL when there is none of that name. */
struct dev_backends {
	struct chardev *(*chardev)(void *opaque, const char *id);
	struct block *(*drive)(void *opaque, const char *id);
	struct netdev *(*netdev)(void *opaque, const char *id);
	void *(*fsdev)(void *opaque, const char *id);
	void *(*object)(void *opaque, const char *id);
	void *opaque;
};

/* Where a device goes, for create. */
struct dev_place {
	struct dev_env *env;
	struct gsi *gsi;
	const char *id;	     /* owned by env, lives as long; "" when none was given */
	struct dev_bus *bus; /* NULL for BUS_ISA, BUS_NONE */
	unsigned place;	     /* devfn, unit, port */
};

/* The values of properties by name; a name that is not in the class's table is our own bug. */
struct dev_opts;
bool dev_opt_given(const struct dev_opts *o, const char *name);
uint64_t dev_opt_num(const struct dev_opts *o, const char *name);
const char *dev_opt_str(const struct dev_opts *o, const char *name); /* NULL: none */
const uint8_t *dev_opt_mac(const struct dev_opts *o, const char *name); /* 6 bytes; NULL: none */
struct chardev *dev_opt_chardev(const struct dev_opts *o, const char *name);
struct block *dev_opt_drive(const struct dev_opts *o, const char *name);
struct netdev *dev_opt_netdev(const struct dev_opts *o, const char *name);
void *dev_opt_object(const struct dev_opts *o, const char *name);

struct dev_class {
	const char *name, *help;
	enum bus_kind bus;
	const char *category; /* as QEMU sorts -device help: "Storage", "Network", ... */
	const struct dev_prop *props;	      /* ends with name NULL; may be NULL */
	const struct dev_prop *props_more[3]; /* tables shared by several classes */
	/* Are the values fit for each other?  Nothing is resolved yet.  NULL: they are. */
	int (*check)(const struct dev_opts *o, struct err **e);
	int (*create)(const struct dev_place *p, const struct dev_opts *o, struct err **e);
	/* Bytes of guest RAM (mem_ram_alloc) that create takes, a multiple of 4 KiB.  NULL: none. */
	uint64_t (*ram)(const struct dev_opts *o);
};

/* isa_ports_check - is [base, base+size) in the port space?  isa_ports_free: and unused? */
int isa_ports_check(uint64_t base, uint64_t size, struct err **e);
int isa_ports_free(const struct dev_env *env, uint64_t base, uint64_t size, struct err **e);
