/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Shared by the loaders of src/machine/boot. */
#include "machine/boot/boot.h"

int boot_linux(const struct boot_config *cfg, struct x86_state *s, struct err **e);
int boot_pvh(const struct boot_config *cfg, struct x86_state *s, struct err **e);
int boot_multiboot(const struct boot_config *cfg, struct x86_state *s, struct err **e);
/* boot_multiboot_header - find it; the offset, or -1 when there is none. */
int64_t boot_multiboot_header(const struct image *kernel);

/* boot_write - put bytes in guest RAM below 1 MiB; *e and -EFAULT when -m is smaller than that. */
int boot_write(const struct boot_config *cfg, uint64_t addr, const void *p, uint64_t len,
	       struct err **e);
/* boot_cmdline - write the command line and its end at BOOT_CMDLINE; -E2BIG with *e over max
 * characters. */
int boot_cmdline(const struct boot_config *cfg, const char *prefix, uint64_t max, struct err **e);
/* boot_check_ram - may an image occupy [addr, addr+len)?  Not over our low structures, not over the
 * hole from 640 KiB to 1 MiB, not past RAM. */
int boot_check_ram(const struct boot_config *cfg, uint64_t addr, uint64_t len, struct err **e);
/* boot_zero - clear guest RAM that boot_check_ram has allowed. */
void boot_zero(const struct boot_config *cfg, uint64_t addr, uint64_t len);
/* boot_place_initrd - page-aligned, as high as possible below min(limit + 1, RAM), not under
 * `floor` (the end of the kernel); loads it.  -ENOMEM with *e when it does not fit. */
int boot_place_initrd(const struct boot_config *cfg, uint64_t floor, uint64_t limit, uint64_t *addr,
		      struct err **e);

/* Entry states: flat segments in our GDT; the caller sets general registers and RIP. */
void boot_enter_32(struct x86_state *s);
void boot_enter_64(struct x86_state *s);
/* boot_tables - write GDT (code segment of 64 or 32 bits), page tables and BIOS data area. */
int boot_tables(const struct boot_config *cfg, bool code64, struct err **e);

/* ELF (elf.c) */
#define ELF_SEGMENTS 64
struct elf_image {
	bool is64;
	uint16_t machine;
	uint64_t entry;
	unsigned n;
	struct elf_segment {
		uint32_t type;
		uint64_t offset, vaddr, paddr, filesz, memsz, align;
	} seg[ELF_SEGMENTS];
};
bool elf_is(const struct image *im);
/* elf_parse - headers of an x86 executable, all ranges checked against the file. */
int elf_parse(const struct image *im, struct elf_image *out, struct err **e);
/* elf_load - PT_LOAD segments to their physical addresses; *end: highest address used. */
int elf_load(const struct boot_config *cfg, const struct elf_image *elf, uint64_t *end,
	     struct err **e);
/* elf_pvh_entry - address in the Xen note PHYS32_ENTRY; 0 when there is none. */
int elf_pvh_entry(const struct image *im, const struct elf_image *elf, uint32_t *out,
		  struct err **e);
/* elf_virt_to_phys - by the segment that holds a virtual address, else unchanged. */
uint64_t elf_virt_to_phys(const struct elf_image *elf, uint64_t va);
