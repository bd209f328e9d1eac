/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Programmable attribute map: shadow RAM over 0xc0000-0xfffff in 13 segments, read and write
 * enabled one by one by seven bytes of a host bridge's configuration space (440FX 3.2.13,
 * 82G33 5.1.14).
 *
 * The board leaves guest-physical 0xa0000-0xfffff without RAM and maps ROM images there at
 * priority 0; segments that are enabled cover them at priority 1.
 */
#include "dev/dev.h"

#define PAM_SEGMENTS 13

struct pam_config {
	uint64_t ram_off; /* RAM offset of guest-physical address 0 (so of 0xc0000: + 0xc0000) */
};

struct pam {
	struct dev_env *env;
	uint64_t ram_off;
	struct pam_segment {
		struct pam *pam;
		uint32_t base, size;
		uint8_t mode; /* bit 0: reads from RAM, bit 1: writes to RAM */
		struct mem_map *map;
		struct io_region io; /* writes-only mode */
		uint64_t rom_off;    /* ROM below the segment in that mode, or UINT64_MAX */
	} seg[PAM_SEGMENTS];
};

void pam_init(struct pam *p, struct dev_env *env, const struct pam_config *cfg);
void pam_fini(struct pam *p);
/* pam_update - take the seven PAM bytes. */
void pam_update(struct pam *p, const uint8_t regs[7]);

struct pci_dev;
/* smram_init - the SMRAM control register at reg (440FX 3.2.21, 82G33 5.1.26); smram_update: after each
 * write, reset and load.  There is no SMM: its bits are kept, and D_LCK locks them until reset. */
void smram_init(struct pci_dev *d, unsigned reg);
void smram_update(struct pci_dev *d, unsigned reg);
