/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * VGA adapter with Bochs VBE extensions, as PCI function 1234:1111: device class "VGA".  Ports
 * 0x3b0-0x3df and 0x1ce-0x1d0, the window 0xa0000-0xbffff, BAR 0 the frame buffer, BAR 2 registers,
 * an option ROM.  It is entered in env->displays.
 */
#include "dev/dev.h"

struct pci_place;

struct vga_config {
	uint64_t vram_size; /* a power of two, 1 to 256 MiB; so much mem_ram_left there must be */
	bool edid; /* tell the guest of a monitor that likes xres x yres */
	unsigned xres, yres;
};

/* vga_create - at its place, with the option ROM that it has (pci_place_drop is the caller's).
 * -ENOMEM with *e when guest RAM for video memory is used up; -EBUSY when there is another adapter
 * at the VGA's ports. */
int vga_create(struct pci_place *place, const struct vga_config *cfg, struct err **e);
