/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Start a guest without firmware: load a kernel by the protocol its file offers (Linux x86 boot
 *protocol, PVH, multiboot 1) and say in which state the bootstrap processor enters it.
 *
 * Guest-physical memory below 1 MiB, as we leave it:
 *	0x00400 BIOS data area (what kernels look for: EBDA segment, base memory)
 *	0x00800 GDT
 *	0x01000 initial stack (grows down)
 *	0x02000 boot_params, hvm_start_info or multiboot information with its lists
 *	0x09000 page tables for 64-bit entry: identity map of 4 GiB
 *	0x10000 command line
 *	0xe0000 ACPI and SMBIOS tables
 * Kernel images may use what is from BOOT_IMAGE_LOW to LOW_RAM_END and from 1 MiB.
 */
#include <stdbool.h>
#include <stdint.h>
#include "machine/boot/image.h"
#include "machine/ram.h"
#include "x86/state.h"

struct err;
struct mem;

struct boot_config {
	const struct image *kernel;
	const struct image *initrd; /* NULL: none */
	const char *cmdline; /* "" when there is none */
	struct mem *mem;
	const struct e820_map *e820;
	uint64_t below_4g; /* RAM from address 0 */
	uint64_t rsdp; /* guest-physical address of the ACPI RSDP */
	bool long_mode; /* the guest's CPUID offers it */
	bool vga_text; /* there is a VGA, in text mode */
};

enum boot_kind { BOOT_LINUX, BOOT_PVH, BOOT_MULTIBOOT };

/* boot_load - load all and fill *bsp (a reset state on entry).  0, or -errno with *e.  No vCPU
 * runs. */
int boot_load(const struct boot_config *cfg, struct x86_state *bsp, struct err **e);
/* boot_detect - which protocol an image offers; -EINVAL with *e when none that we know. */
int boot_detect(const struct image *kernel, enum boot_kind *out, struct err **e);

/* boot_fw_items - instead: let firmware start a Linux kernel (bzImage) that it finds in fw_cfg.  The files are
 * read now.  0, or -errno with *e. */
struct fwcfg;
int boot_fw_items(const struct image *kernel, const struct image *initrd, const char *cmdline,
		  struct fwcfg *fw, struct err **e);

#define BOOT_BDA 0x400u
#define BOOT_GDT 0x800u
#define BOOT_STACK 0x2000u
#define BOOT_INFO 0x2000u
#define BOOT_INFO_END 0x9000u
#define BOOT_PAGES 0x9000u
#define BOOT_CMDLINE 0x10000u
#define BOOT_CMDLINE_MAX 0x10000u
#define BOOT_IMAGE_LOW 0x20000u
