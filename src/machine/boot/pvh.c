/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH: an ELF kernel with a Xen note that names a 32-bit entry point, called with EBX at a
 * start-info structure (xen/include/public/arch-x86/hvm/start_info.h, version 1; entry state:
 * docs/misc/pvh of Xen).
 */
#include <errno.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "machine/boot/boot_int.h"

#define HVM_START_MAGIC 0x336ec578u

struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct hvm_modlist_entry {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

/* All in one piece at BOOT_INFO. */
struct pvh_info {
	struct hvm_start_info start;
	struct hvm_modlist_entry module;
	struct hvm_memmap_entry memmap[E820_MAX];
};

static void fill_info(const struct boot_config *cfg, uint64_t initrd, struct pvh_info *p)
{
	p->start = (struct hvm_start_info){
		.magic = HVM_START_MAGIC,
		.version = 1,
		.cmdline_paddr = BOOT_CMDLINE,
		.rsdp_paddr = cfg->rsdp,
		.memmap_paddr = BOOT_INFO + offsetof(struct pvh_info, memmap),
		.memmap_entries = cfg->e820->n,
	};
	if (cfg->initrd) {
		p->start.nr_modules = 1;
		p->start.modlist_paddr = BOOT_INFO + offsetof(struct pvh_info, module);
		p->module =
			(struct hvm_modlist_entry){ .paddr = initrd, .size = cfg->initrd->size };
	}
	for (unsigned i = 0; i < cfg->e820->n; i++)
		p->memmap[i] = (struct hvm_memmap_entry){ cfg->e820->e[i].addr,
							  cfg->e820->e[i].size,
							  cfg->e820->e[i].type, 0 };
}

int boot_pvh(const struct boot_config *cfg, struct x86_state *s, struct err **e)
{
	const struct image *k = cfg->kernel;
	struct pvh_info info = { 0 };
	struct elf_image elf;
	uint64_t end = 0, initrd = 0;
	uint32_t entry = 0;
	int r = elf_parse(k, &elf, e);

	if (!r)
		r = elf_pvh_entry(k, &elf, &entry, e);
	if (!r && !entry)
		r = err_set(e, EINVAL,
			    "%s '%s' is an ELF file without a PVH entry note: it cannot be booted "
			    "directly",
			    k->what, k->path);
	if (!r)
		r = elf_load(cfg, &elf, &end, e);
	if (!r)
		r = boot_cmdline(cfg, "", BOOT_CMDLINE_MAX - 1, e);
	if (!r && cfg->initrd)
		r = boot_place_initrd(cfg, end, UINT32_MAX, &initrd, e);
	if (!r)
		r = boot_tables(cfg, false, e);
	if (r)
		return r;
	fill_info(cfg, initrd, &info);
	boot_enter_32(s);
	s->rip = entry;
	s->gpr[X86_RBX] = BOOT_INFO;
	return boot_write(cfg, BOOT_INFO, &info, sizeof(info), e);
}
