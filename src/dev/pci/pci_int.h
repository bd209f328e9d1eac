/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between PCI buses, bridges and functions. */
#include "dev/pci/pci.h"

struct pci_root; /* what a root bus has more: ways to configuration space, interrupts (bus.c) */

struct pci_bus {
	struct dev_env *env;
	struct pci_root *root;
	struct pci_dev *bridge; /* the function whose secondary bus it is; NULL: a root bus */
	bool express;
	uint8_t slots;		/* devices from 0 that it has room for */
	struct pci_dev *devs[256];
};

void pci_bus_init(struct pci_bus *b, struct dev_env *env, struct pci_root *root,
		  struct pci_dev *bridge, bool express);
/* pci_bus_find - the bus that the bridges' numbers lead to from root bus b, or NULL. */
struct pci_bus *pci_bus_find(struct pci_bus *b, uint8_t number);
/* pci_bus_forwards - do all bridges between the processors and b let [addr, addr+size) through? */
bool pci_bus_forwards(const struct pci_bus *b, bool io, uint64_t addr, uint64_t size);
/* pci_bus_update - decode anew what is on b and below, after a bridge above it changed. */
void pci_bus_update(struct pci_bus *b);
/* pci_bus_place - struct dev_bus's place(): "slot" or "slot.function", hexadecimal. */
int pci_bus_place(void *bus, const char *addr, unsigned *place, struct err **e);
/* pci_bus_pirq_of - number of the PIRQ that the pin of function d reaches, through all bridges. */
unsigned pci_bus_pirq_of(const struct pci_dev *d);
/* pci_bridge_window - what a bridge forwards downstream: false, or [*base, *limit]. */
enum pci_window { PCI_WINDOW_IO, PCI_WINDOW_MEM, PCI_WINDOW_PREF, PCI_WINDOWS };
bool pci_bridge_window(const struct pci_dev *br, enum pci_window w, uint64_t *base, uint64_t *limit);
/* pci_bridge_set_window - as firmware does; size 0: closed. */
void pci_bridge_set_window(struct pci_dev *br, enum pci_window w, uint64_t base, uint64_t size);
/* pci_dev_bars_update - map BARs where the registers and the bridges above tell. */
unsigned pci_dev_bar_reg(const struct pci_dev *d, unsigned n);
void pci_dev_bars_update(struct pci_dev *d);

void pci_bus_plug(struct pci_bus *b, struct pci_dev *d);
void pci_bus_unplug(struct pci_bus *b, struct pci_dev *d);
/* pci_bus_intx - a function's INTx changed; pci_bus_intx_count: the same without telling
 * anybody. */
void pci_bus_intx(struct pci_bus *b, struct pci_dev *d, bool level);
void pci_bus_intx_count(struct pci_bus *b, struct pci_dev *d, bool level);
uint32_t pci_dev_config_read(struct pci_dev *d, unsigned off, unsigned size);
void pci_dev_config_write(struct pci_dev *d, unsigned off, uint32_t val, unsigned size);
/* pci_dev_intx_update - the level that the bus sees follows the function's request, INTX_DISABLE
 * and the message capabilities. */
void pci_dev_intx_update(struct pci_dev *d);
unsigned pci_dev_config_size(const struct pci_dev *d);
/* msi.c: after a configuration write; at reset; after load; at the end. */
void pci_msi_config_written(struct pci_dev *d, unsigned off, unsigned size);
void pci_msi_reset(struct pci_dev *d);
int pci_msi_post_load(struct pci_dev *d, struct err **e);
void pci_msi_fini(struct pci_dev *d);
