/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Boards.  What all have is struct pc (pc.c): memory, processors with their APICs, serial ports,
 * fw_cfg, tables.  struct board_ops tells what a board has besides.  `pc` and `q35` have a chip set,
 * with PCI and the ISA devices of old, which struct chipset_ops tells; `microvm` has none.
 */
#include <stdbool.h>
#include <stdint.h>
#include "machine/acpi/acpi.h"
#include "machine/boot/image.h"
#include "machine/ram.h"

struct acpi_pm;
struct apics;
struct apics_ops;
struct block;
struct chardev;
struct dev_env;
struct err;
struct fwcfg;
struct gsi;
struct i8042;
struct ged;
struct pam_config;
struct pc;
struct pc_config;
struct pci_bus;
struct pci_space;
struct pic;
struct rtc;
struct smbios_fields;
struct vm_boot;
struct virtio_mmio_bus;

struct vm_board_opts;

/* A host bridge and what comes with it. */
struct chipset_ops {
	void *(*create)(struct dev_env *env, struct gsi *gsi, const struct pam_config *pam);
	struct pci_bus *(*bus)(void *chipset);
	struct acpi_pm *(*pm)(void *chipset);
	uint64_t (*ecam)(void *chipset); /* where it is now, 0: nowhere; NULL: the board has none */
	uint16_t (*pm_base)(void *chipset); /* where the PM registers are now; 0: nowhere */
	/* Do what firmware does to the chips, for a guest that starts without. */
	void (*setup)(void *chipset, const struct pci_space *space);
};

struct board_ops {
	const char *name, *help;
	uint64_t ram_threshold, ram_low; /* ram_split */
	unsigned max_cpus;
	struct acpi_board acpi;
	const struct chipset_ops *chipset; /* NULL: none */
	unsigned serials; /* ports for struct pc_config.serial */
	bool opts; /* it can be other than by default: struct vm_board_opts */
	/* Make interrupt controllers (apics, pic, gsi of struct pc), timers, fw_cfg and all else that
	 * the board always has; low: what lies in the firmware area is the board's to map. */
	void (*create)(struct pc *pc, const struct pc_config *cfg, const struct pam_config *low);
	void (*plugged)(struct pc *pc); /* all devices are there, before tables are made.  NULL: nothing to do */
	/* Do what firmware does to the chips, for a guest that starts without. */
	void (*setup)(struct pc *pc);
	void (*power_button)(struct pc *pc); /* env->lock held */
	/* What the kernel's command line needs besides; memory that the caller frees, or NULL.  NULL: never. */
	char *(*cmdline)(const struct pc *pc);
};

extern const struct board_ops board_pc, board_q35, board_microvm;
/* board_find - by -machine name; NULL when unknown.  boards: NULL-terminated. */
extern const struct board_ops *const boards[];
const struct board_ops *board_find(const char *name);

struct pc_config {
	const struct board_ops *board;
	struct ram_layout ram;
	unsigned n_cpus;
	unsigned phys_bits;
	const struct image *firmware; /* NULL: none */
	struct block *flash[2]; /* instead of firmware, when there is unit 0 */
	struct chardev *serial[4];
	struct chardev *debugcon;
	uint16_t debugcon_port;
	uint8_t uuid[16];
	const struct smbios_fields *smbios; /* may be NULL; outlives the machine */
	const struct vm_board_opts *opts;
	const struct apics_ops *apics_ops;
	void *apics_opaque;
};

struct pc {
	const struct board_ops *board;
	struct dev_env *env;
	struct ram_layout ram;
	struct acpi_config acpi;
	struct apics *apics;
	struct pic *pic; /* NULL: none; rtc, too */
	struct gsi *gsi;
	struct rtc *rtc;
	struct fwcfg *fwcfg;
	struct i8042 *i8042; /* NULL: none */
	void *chipset; /* NULL: the board has none */
	bool no_acpi; /* MP tables instead */
	/* microvm's */
	struct ged *ged;
	struct virtio_mmio_bus *slots;
	bool auto_cmdline;
	uint8_t uuid[16];
	const struct smbios_fields *smbios;
	bool firmware;
};

/* pc_ram_total - bytes that mem_create must hold for RAM and a firmware image (size 0: none). */
uint64_t pc_ram_total(const struct ram_layout *ram, uint64_t firmware_size);
/* pc_flash_size - what drives that are flash memory add to that; -EINVAL with *e if they cannot be. */
int pc_flash_size(struct block *const flash[2], uint64_t *size, struct err **e);
/* pc_create - map RAM and firmware, make and wire the chips.  On failure the devices made so far
 * are in env's list, for dev_destroy_all.  The chips refer to apics_opaque and the chardevs until
 * they are destroyed. */
int pc_create(struct pc *pc, struct dev_env *env, const struct pc_config *cfg, struct err **e);
/* pc_boot_items - what to boot from (bootorder.c): at each reset; first: the one that starts the machine.
 * env->lock held. */
void pc_boot_items(struct pc *pc, const struct vm_boot *boot, bool first);
/* pc_chipset_create, pc_chipset_setup, pc_chipset_power_button - of boards with a chip set. */
void pc_chipset_create(struct pc *pc, const struct pc_config *cfg, const struct pam_config *low);
void pc_chipset_setup(struct pc *pc);
void pc_chipset_power_button(struct pc *pc);
/* pc_firmware_items - fw_cfg contents and CMOS bytes; once, before the first reset. */
void pc_firmware_items(struct pc *pc);
/* pc_e820_direct - memory map for a guest without firmware. */
void pc_e820_direct(const struct pc *pc, struct e820_map *out);
/* pc_setup_direct - after reset of the devices: chips set up as firmware would, ACPI and SMBIOS
 * tables in guest RAM.  env->lock held.  Returns 0 with *rsdp set (0: no ACPI), or -errno with *e. */
int pc_setup_direct(struct pc *pc, uint64_t *rsdp, struct err **e);
