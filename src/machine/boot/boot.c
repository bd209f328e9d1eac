/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/boot/boot.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "machine/boot/boot_int.h"
#include "mem/mem.h"

/* Selectors in our GDT: those that the Linux boot protocol asks for (__BOOT_CS, __BOOT_DS), and a
 * TSS. */
#define SEL_CS 0x10
#define SEL_DS 0x18
#define SEL_TSS 0x20

#define ATTR_CODE32 (0xb | SEG_S | SEG_P | SEG_DB | SEG_G)
#define ATTR_CODE64 (0xb | SEG_S | SEG_P | SEG_L | SEG_G)
#define ATTR_DATA (0x3 | SEG_S | SEG_P | SEG_DB | SEG_G)
#define ATTR_TSS32_BUSY (0xb | SEG_P)

#define PTE_PRESENT 0x01
#define PTE_WRITE 0x02
#define PTE_LARGE 0x80

int boot_write(const struct boot_config *cfg, uint64_t addr, const void *p, uint64_t len,
	       struct err **e)
{
	if (mem_dma_write(cfg->mem, GPA(addr), p, len))
		return err_set(e, EFAULT, "guest RAM is too small to boot a kernel");
	return 0;
}

int boot_cmdline(const struct boot_config *cfg, const char *prefix, uint64_t max, struct err **e)
{
	char *line = *prefix && *cfg->cmdline ? xasprintf("%s %s", prefix, cfg->cmdline)
					      : xasprintf("%s%s", prefix, cfg->cmdline);
	size_t len = strlen(line);
	int r;

	if (max > BOOT_CMDLINE_MAX - 1)
		max = BOOT_CMDLINE_MAX - 1;
	if (len > max)
		r = err_set(e, E2BIG,
			    "kernel command line of %zu characters is longer than the kernel takes "
			    "(%llu)",
			    len, (unsigned long long)max);
	else
		r = boot_write(cfg, BOOT_CMDLINE, line, len + 1, e);
	free(line);
	return r;
}

static bool overlaps(uint64_t a, uint64_t len, uint64_t from, uint64_t to)
{
	return len && a < to && a + len > from;
}

int boot_check_ram(const struct boot_config *cfg, uint64_t addr, uint64_t len, struct err **e)
{
	const struct image *k = cfg->kernel;

	if (!range_fits(addr, len, cfg->below_4g))
		return err_set(e, ENOMEM,
			       "%s '%s' needs RAM up to %#llx, but there are %llu MiB (below 4 "
			       "GiB): use a larger -m",
			       k->what, k->path, (unsigned long long)addr + len,
			       (unsigned long long)(cfg->below_4g / MiB));
	if (overlaps(addr, len, 0, BOOT_IMAGE_LOW) || overlaps(addr, len, LOW_RAM_END, FW_AREA_END))
		return err_set(e, EINVAL,
			       "%s '%s' wants to be loaded at %#llx-%#llx, which is not free",
			       k->what, k->path, (unsigned long long)addr,
			       (unsigned long long)(addr + len - 1));
	return 0;
}

void boot_zero(const struct boot_config *cfg, uint64_t addr, uint64_t len)
{
	static const uint8_t zeros[4096];

	while (len) {
		uint64_t n = min_u64(len, sizeof(zeros));

		if (mem_dma_write(cfg->mem, GPA(addr), zeros, n))
			bug_die(__FILE__, __LINE__, "zeroing unchecked memory");
		addr += n;
		len -= n;
	}
}

int boot_place_initrd(const struct boot_config *cfg, uint64_t floor, uint64_t limit, uint64_t *addr,
		      struct err **e)
{
	const struct image *im = cfg->initrd;
	uint64_t top = limit >= cfg->below_4g ? cfg->below_4g : limit + 1;

	floor = align_up(max_u64(floor, FW_AREA_END), PAGE_SIZE);
	top = align_down(top, PAGE_SIZE);
	if (top < floor || top - floor < im->size)
		return err_set(e, ENOMEM,
			       "initrd '%s' (%llu MiB) does not fit in guest RAM beside the "
			       "kernel: use a larger -m",
			       im->path, (unsigned long long)((im->size + MiB - 1) / MiB));
	*addr = align_down(top - im->size, PAGE_SIZE);
	return image_load(im, 0, im->size, cfg->mem, *addr, e);
}

static void flat_segments(struct x86_state *s, uint64_t code_attr)
{
	const enum x86_sreg data[] = { X86_DS, X86_ES, X86_SS, X86_FS, X86_GS };

	s->seg[X86_CS] = (struct x86_segment){ 0, UINT32_MAX, SEL_CS, (uint16_t)code_attr };
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		s->seg[data[i]] = (struct x86_segment){ 0, UINT32_MAX, SEL_DS, ATTR_DATA };
	s->seg[X86_TR] = (struct x86_segment){ 0, 0x67, SEL_TSS, ATTR_TSS32_BUSY };
	s->seg[X86_LDTR] = (struct x86_segment){ 0 };
	s->gdtr = (struct x86_table){ BOOT_GDT, 5 * 8 - 1 };
	s->idtr = (struct x86_table){ 0 };
	s->rflags = 2;
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[X86_RSP] = BOOT_STACK;
}

void boot_enter_32(struct x86_state *s)
{
	flat_segments(s, ATTR_CODE32);
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
}

void boot_enter_64(struct x86_state *s)
{
	flat_segments(s, ATTR_CODE64);
	s->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	s->cr3 = BOOT_PAGES;
}

/* A descriptor's two doublewords from base 0 and the limit and attributes of struct x86_segment. */
static uint64_t descriptor(uint32_t limit, uint64_t attr)
{
	if (attr & SEG_G)
		limit >>= 12;
	return (limit & 0xffff) | (attr & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
	       (attr >> 12 & 0xf) << 52;
}

/* Identity map of 4 GiB by 2 MiB pages (SDM 3A 4.5): PML4, PDPT, four page directories. */
static int page_tables(const struct boot_config *cfg, struct err **e)
{
	uint64_t page[512];
	int r;

	memset(page, 0, sizeof(page));
	page[0] = (BOOT_PAGES + PAGE_SIZE) | PTE_PRESENT | PTE_WRITE;
	r = boot_write(cfg, BOOT_PAGES, page, sizeof(page), e);
	for (unsigned i = 0; i < 4; i++)
		page[i] = (BOOT_PAGES + (2 + i) * PAGE_SIZE) | PTE_PRESENT | PTE_WRITE;
	if (!r)
		r = boot_write(cfg, BOOT_PAGES + PAGE_SIZE, page, sizeof(page), e);
	for (unsigned i = 0; i < 4 && !r; i++) {
		for (unsigned j = 0; j < 512; j++)
			page[j] = ((uint64_t)i * 512 + j) * 2 * MiB | PTE_PRESENT | PTE_WRITE |
				  PTE_LARGE;
		r = boot_write(cfg, BOOT_PAGES + (2 + i) * PAGE_SIZE, page, sizeof(page), e);
	}
	return r;
}

int boot_tables(const struct boot_config *cfg, bool code64, struct err **e)
{
	const uint64_t gdt[5] = { 0, 0, descriptor(UINT32_MAX, code64 ? ATTR_CODE64 : ATTR_CODE32),
				  descriptor(UINT32_MAX, ATTR_DATA),
				  descriptor(0x67, ATTR_TSS32_BUSY) };
	const uint16_t ebda = LOW_RAM_END >> 4, base_kib = LOW_RAM_END / 1024;
	int r = boot_write(cfg, BOOT_GDT, gdt, sizeof(gdt), e);

	if (!r)
		r = boot_write(cfg, BOOT_BDA + 0x0e, &ebda, sizeof(ebda), e);
	if (!r)
		r = boot_write(cfg, BOOT_BDA + 0x13, &base_kib, sizeof(base_kib), e);
	return r ? r : page_tables(cfg, e);
}

static bool has_linux_magic(const struct image *im)
{
	uint8_t h[4];

	return im->size >= 0x206 && !image_read(im, 0x202, h, 4, NULL) && !memcmp(h, "HdrS", 4);
}

int boot_detect(const struct image *im, enum boot_kind *out, struct err **e)
{
	uint8_t mz[2];

	if (has_linux_magic(im)) {
		*out = BOOT_LINUX;
		return 0;
	}
	if (boot_multiboot_header(im) >= 0) {
		*out = BOOT_MULTIBOOT;
		return 0;
	}
	if (elf_is(im)) {
		*out = BOOT_PVH;
		return 0;
	}
	if (im->size < 0x210 && !image_read(im, 0, mz, 2, NULL) && !memcmp(mz, "MZ", 2))
		return err_set(e, EINVAL, "%s '%s' is truncated", im->what, im->path);
	return err_set(e, EINVAL,
		       "%s '%s' is not a kernel image (neither bzImage, ELF with a PVH note, nor "
		       "multiboot)",
		       im->what, im->path);
}

int boot_load(const struct boot_config *cfg, struct x86_state *bsp, struct err **e)
{
	static int (*const load[])(const struct boot_config *, struct x86_state *,
				   struct err **) = {
		[BOOT_LINUX] = boot_linux,
		[BOOT_PVH] = boot_pvh,
		[BOOT_MULTIBOOT] = boot_multiboot,
	};
	enum boot_kind kind;
	int r = boot_detect(cfg->kernel, &kind, e);

	if (!r && cfg->below_4g < FW_AREA_END)
		r = err_set(e, ENOMEM, "guest RAM is too small to boot a kernel: use a larger -m");
	return r ? r : load[kind](cfg, bsp, e);
}
