/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot specification 0.6.96 ("version 1"): a header in the first 8 KiB of the file, which may
 * say where the file goes (the a.out kludge) or leave that to ELF; entered in 32-bit mode with EBX
 * at an information structure.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "machine/boot/boot_int.h"
#include "mem/addr.h"

#define MB_SEARCH 8192
#define MB_MAGIC 0x1badb002u
#define MB_LOADED_MAGIC 0x2badb002u
/* Header flags; of the lower 16 those that we do not know must be refused. */
#define MB_PAGE_ALIGN BIT(0)
#define MB_MEMORY_INFO BIT(1)
#define MB_VIDEO_MODE BIT(2) /* a wish: the kernel finds no mode in the information */
#define MB_ADDRESSES BIT(16)
/* Information flags. */
#define MBI_MEMORY BIT(0)
#define MBI_CMDLINE BIT(2)
#define MBI_MODS BIT(3)
#define MBI_MMAP BIT(6)
#define MBI_LOADER_NAME BIT(9)

struct mb_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
	uint32_t apm_table, vbe[4];
};

struct mb_module {
	uint32_t start, end, string, reserved;
};

struct mb_mmap {
	uint32_t size; /* of what follows */
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));

/* All in one piece at BOOT_INFO. */
struct mb_block {
	struct mb_info info;
	struct mb_module module;
	struct mb_mmap mmap[E820_MAX];
	char loader[16];
	char module_string[1024];
};

int64_t boot_multiboot_header(const struct image *k)
{
	uint8_t buf[MB_SEARCH];
	uint64_t len = min_u64(k->size, sizeof(buf));

	if (image_read(k, 0, buf, len, NULL))
		return -1;
	for (uint64_t at = 0; at + 12 <= len; at += 4)
		if (get_le32(buf + at) == MB_MAGIC &&
		    (uint32_t)(MB_MAGIC + get_le32(buf + at + 4) + get_le32(buf + at + 8)) == 0)
			return (int64_t)at;
	return -1;
}

static int bad(const struct image *k, struct err **e, const char *why)
{
	return err_set(e, EINVAL, "multiboot %s '%s' %s", k->what, k->path, why);
}

/* Load by the header's addresses. */
static int load_kludge(const struct boot_config *cfg, const struct mb_header *h, uint64_t at,
		       uint64_t *end, struct err **e)
{
	const struct image *k = cfg->kernel;
	uint64_t skip = (uint64_t)h->header_addr - h->load_addr, len, size;
	int r;

	if (h->header_addr < h->load_addr || skip > at)
		return bad(k, e, "has a damaged header (load address)");
	len = k->size - (at - skip);
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr)
			return bad(k, e, "has a damaged header (load end)");
		if (h->load_end_addr - h->load_addr > len)
			return bad(k, e, "is truncated");
		len = h->load_end_addr - h->load_addr;
	}
	size = len;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < h->load_addr + len)
			return bad(k, e, "has a damaged header (end of zeroed data)");
		size = h->bss_end_addr - h->load_addr;
	}
	r = boot_check_ram(cfg, h->load_addr, size, e);
	if (!r)
		r = image_load(k, at - skip, len, cfg->mem, h->load_addr, e);
	if (!r)
		boot_zero(cfg, h->load_addr + len, size - len);
	*end = h->load_addr + size;
	return r;
}

static int load_elf(const struct boot_config *cfg, uint32_t *entry, uint64_t *end, struct err **e)
{
	struct elf_image elf;
	uint64_t phys;
	int r;

	if (!elf_is(cfg->kernel))
		return bad(cfg->kernel, e, "has neither load addresses nor an ELF header");
	r = elf_parse(cfg->kernel, &elf, e);
	if (!r)
		r = elf_load(cfg, &elf, end, e);
	if (r)
		return r;
	phys = elf_virt_to_phys(&elf, elf.entry);
	if (phys >= 4 * GiB)
		return bad(cfg->kernel, e, "has an entry point above 4 GiB");
	*entry = (uint32_t)phys;
	return 0;
}

static int load_kernel(const struct boot_config *cfg, uint32_t *entry, uint64_t *end,
		       struct err **e)
{
	const struct image *k = cfg->kernel;
	struct mb_header h = { 0 };
	int64_t at = boot_multiboot_header(k);
	int r;

	if (at < 0)
		return bad(k, e, "has lost its header");
	r = image_read(k, (uint64_t)at, &h, min_u64(sizeof(h), k->size - (uint64_t)at), e);
	if (r)
		return r;
	if (h.flags & 0xffff & ~(MB_PAGE_ALIGN | MB_MEMORY_INFO | MB_VIDEO_MODE))
		return err_set(e, EINVAL,
			       "multiboot %s '%s' asks for features we do not know (flags %#x)",
			       k->what, k->path, h.flags);
	if (!(h.flags & MB_ADDRESSES))
		return load_elf(cfg, entry, end, e);
	if (k->size - (uint64_t)at < sizeof(h))
		return bad(k, e, "is truncated");
	*entry = h.entry_addr;
	return load_kludge(cfg, &h, (uint64_t)at, end, e);
}

static void fill_block(const struct boot_config *cfg, uint64_t initrd, struct mb_block *b)
{
	const uint32_t base = BOOT_INFO;

	b->info = (struct mb_info){
		.flags = MBI_MEMORY | MBI_CMDLINE | MBI_MMAP | MBI_LOADER_NAME,
		.mem_lower = LOW_RAM_END / 1024,
		.mem_upper = (uint32_t)((cfg->below_4g - MiB) / 1024),
		.cmdline = BOOT_CMDLINE,
		.mmap_length = (uint32_t)(cfg->e820->n * sizeof(struct mb_mmap)),
		.mmap_addr = base + offsetof(struct mb_block, mmap),
		.boot_loader_name = base + offsetof(struct mb_block, loader),
	};
	strcpy(b->loader, "doppel");
	for (unsigned i = 0; i < cfg->e820->n; i++)
		b->mmap[i] = (struct mb_mmap){ sizeof(struct mb_mmap) - 4, cfg->e820->e[i].addr,
					       cfg->e820->e[i].size, cfg->e820->e[i].type };
	if (!cfg->initrd)
		return;
	b->info.flags |= MBI_MODS;
	b->info.mods_count = 1;
	b->info.mods_addr = base + offsetof(struct mb_block, module);
	b->module.start = (uint32_t)initrd;
	b->module.end = (uint32_t)(initrd + cfg->initrd->size);
	b->module.string = base + offsetof(struct mb_block, module_string);
	strncpy(b->module_string, cfg->initrd->path, sizeof(b->module_string) - 1);
}

int boot_multiboot(const struct boot_config *cfg, struct x86_state *s, struct err **e)
{
	struct mb_block block = { 0 };
	uint64_t end = 0, initrd = 0;
	uint32_t entry = 0;
	int r = load_kernel(cfg, &entry, &end, e);

	if (!r)
		r = boot_cmdline(cfg, cfg->kernel->path, BOOT_CMDLINE_MAX - 1, e);
	if (!r && cfg->initrd)
		r = boot_place_initrd(cfg, end, UINT32_MAX - PAGE_SIZE, &initrd, e);
	if (!r)
		r = boot_tables(cfg, false, e);
	if (r)
		return r;
	fill_block(cfg, initrd, &block);
	boot_enter_32(s);
	s->rip = entry;
	s->gpr[X86_RAX] = MB_LOADED_MAGIC;
	s->gpr[X86_RBX] = BOOT_INFO;
	return boot_write(cfg, BOOT_INFO, &block, sizeof(block), e);
}
