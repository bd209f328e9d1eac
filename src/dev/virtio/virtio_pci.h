/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between the files of the PCI transport. */
#include "dev/pci/pci.h"
#include "dev/virtio/transport.h"

struct virtio_pci {
	struct pci_dev pci;
	struct virtio_dev *v; /* owned */
	uint32_t n_v; /* 1: for the table of saved state */
	unsigned vectors; /* MSI-X vectors; 0: no MSI-X */
	bool legacy, modern;
	char *boot_path; /* NULL: none */

	uint32_t device_sel, driver_sel;
	uint16_t queue_sel, config_vector;

	struct io_region io, mem; /* BAR 0: legacy; BAR 4: modern */
	uint32_t notify_mult;
	uint8_t cfg_cap; /* offset of the capability for access by configuration space; 0: none */

	/* The saved state is another for each type. */
	struct pci_dev_ops ops;
	struct state_desc state;
	struct state_field fields[8];
};

/* virtio_pci_isr - read and clear; the pin falls. */
uint8_t virtio_pci_isr(struct virtio_pci *vp);
uint16_t virtio_pci_vector(const struct virtio_pci *vp, uint64_t val);
/* virtio_pci_legacy_init - BAR 0. */
void virtio_pci_legacy_init(struct virtio_pci *vp);
/* virtio_pci_modern_init - BAR 4 and the capabilities that lead to it. */
void virtio_pci_modern_init(struct virtio_pci *vp, bool page_per_vq);
/* For the window in configuration space: before it is read, after it was written. */
void virtio_pci_cfg_reading(struct pci_dev *d, unsigned off, unsigned size);
void virtio_pci_cfg_written(struct pci_dev *d, unsigned off, unsigned size);
