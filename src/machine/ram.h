/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* How guest RAM lies in guest-physical space, and the map of it that is handed to the guest. */
#include <stdbool.h>
#include <stdint.h>

struct board_ops;

struct ram_layout {
	uint64_t below_4g; /* bytes from address 0 */
	uint64_t above_4g; /* bytes from 4 GiB */
};

/* ram_split - place `size` bytes as a board does: when size reaches `threshold`, only `low` bytes
 * of it stay below 4 GiB. */
void ram_split(struct ram_layout *out, uint64_t size, uint64_t threshold, uint64_t low);

/* ram_pci_hole - where the space for PCI below 4 GiB starts: on a border that few MTRRs describe. */
uint64_t ram_pci_hole(const struct ram_layout *ram);

/* ACPI 6.4 15, system address map. */
enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
	uint64_t addr, size;
	uint32_t type;
} __attribute__((packed));

#define E820_MAX 32
struct e820_map {
	unsigned n;
	struct e820_entry e[E820_MAX];
};

void e820_add(struct e820_map *m, uint64_t addr, uint64_t size, enum e820_type type);
/* e820_build_direct - the map for a guest that starts without firmware: tables lie in the firmware
 * area below 1 MiB, which is reserved; [hole, hole+hole_size) too (ECAM; size 0: none). */
void e820_build_direct(struct e820_map *m, const struct ram_layout *ram, uint64_t hole,
		       uint64_t hole_size);
/* e820_build_firmware - RAM only, which firmware refines ("etc/e820"). */
void e820_build_firmware(struct e820_map *m, const struct ram_layout *ram);

/* Fixed places below 1 MiB. */
#define LOW_RAM_END 0x9fc00u /* then 1 KiB of extended BIOS data area */
#define VGA_HOLE 0xa0000u
#define VGA_HOLE_END 0xc0000u
#define FW_AREA 0xe0000u /* tables without firmware; BIOS's shadow with it */
#define FW_AREA_END 0x100000u
