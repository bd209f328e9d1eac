/* SPDX-License-Identifier: Apache-2.0 */
/* ELF executables (System V gABI 4), both classes.  Nothing in the file is trusted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "machine/boot/boot_int.h"
/* Its flags of program headers have the names of ours for page faults. */
#undef PF_W
#undef PF_R
#include <elf.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTES_MAX (64 * KiB)

bool elf_is(const struct image *im)
{
	uint8_t ident[SELFMAG];

	return im->size >= SELFMAG && !image_read(im, 0, ident, SELFMAG, NULL) &&
	       !memcmp(ident, ELFMAG, SELFMAG);
}

static int bad(const struct image *im, struct err **e, const char *why)
{
	return err_set(e, EINVAL, "%s '%s' %s", im->what, im->path, why);
}

static int check_machine(const struct image *im, const uint8_t *ident, uint16_t machine,
			 struct err **e)
{
	if (ident[EI_DATA] == ELFDATA2LSB && (machine == EM_386 || machine == EM_X86_64))
		return 0;
	return err_set(e, EINVAL,
		       "%s '%s' is an ELF file for another machine (e_machine %u%s), not x86",
		       im->what, im->path,
		       ident[EI_DATA] == ELFDATA2MSB ? __builtin_bswap16(machine) : machine,
		       ident[EI_DATA] == ELFDATA2MSB ? ", big-endian" : "");
}

static int add_segment(const struct image *im, struct elf_image *out, const struct elf_segment *s,
		       struct err **e)
{
	if (s->type != PT_LOAD && s->type != PT_NOTE)
		return 0;
	if (!range_fits(s->offset, s->filesz, im->size))
		return bad(im, e, "is truncated");
	if (s->type == PT_LOAD && s->filesz > s->memsz)
		return bad(im, e, "has a damaged program header (file size over memory size)");
	out->seg[out->n++] = *s;
	return 0;
}

static int read_segments(const struct image *im, struct elf_image *out, uint64_t phoff, unsigned n,
			 struct err **e)
{
	if (n == 0 || n > ELF_SEGMENTS)
		return err_set(e, EINVAL, "%s '%s' has %u program headers (1 to %u can be loaded)",
			       im->what, im->path, n, ELF_SEGMENTS);
	for (unsigned i = 0; i < n; i++) {
		struct elf_segment s;
		Elf64_Phdr p64;
		Elf32_Phdr p32;
		int r;

		if (phoff > im->size)
			return bad(im, e, "is truncated");
		if (out->is64) {
			r = image_read(im, phoff + i * sizeof(p64), &p64, sizeof(p64), e);
			if (r)
				return r;
			s = (struct elf_segment){ p64.p_type,  p64.p_offset, p64.p_vaddr,
						  p64.p_paddr, p64.p_filesz, p64.p_memsz,
						  p64.p_align };
		} else {
			r = image_read(im, phoff + i * sizeof(p32), &p32, sizeof(p32), e);
			if (r)
				return r;
			s = (struct elf_segment){ p32.p_type,  p32.p_offset, p32.p_vaddr,
						  p32.p_paddr, p32.p_filesz, p32.p_memsz,
						  p32.p_align };
		}
		r = add_segment(im, out, &s, e);
		if (r)
			return r;
	}
	return 0;
}

int elf_parse(const struct image *im, struct elf_image *out, struct err **e)
{
	union {
		uint8_t ident[EI_NIDENT];
		Elf64_Ehdr h64;
		Elf32_Ehdr h32;
	} h = { 0 };
	unsigned phnum, phentsize, want;
	uint64_t phoff;
	int r = image_read(im, 0, &h, min_u64(im->size, sizeof(h)), e);

	memset(out, 0, sizeof(*out));
	if (r)
		return r;
	if (im->size < sizeof(h.h32))
		return bad(im, e, "is truncated");
	r = check_machine(im, h.ident, h.h32.e_machine, e);
	if (r)
		return r;
	out->is64 = h.ident[EI_CLASS] == ELFCLASS64;
	out->machine = h.h32.e_machine;
	if (!out->is64 && h.ident[EI_CLASS] != ELFCLASS32)
		return bad(im, e, "has a damaged ELF header");
	if (out->is64 && im->size < sizeof(h.h64))
		return bad(im, e, "is truncated");
	out->entry = out->is64 ? h.h64.e_entry : h.h32.e_entry;
	phoff = out->is64 ? h.h64.e_phoff : h.h32.e_phoff;
	phnum = out->is64 ? h.h64.e_phnum : h.h32.e_phnum;
	phentsize = out->is64 ? h.h64.e_phentsize : h.h32.e_phentsize;
	want = out->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	if (h.h32.e_type != ET_EXEC && h.h32.e_type != ET_DYN)
		return bad(im, e, "is not an ELF executable");
	if (phnum && phentsize != want)
		return bad(im, e, "has a damaged ELF header");
	return read_segments(im, out, phoff, phnum, e);
}

int elf_load(const struct boot_config *cfg, const struct elf_image *elf, uint64_t *end,
	     struct err **e)
{
	bool any = false;

	*end = 0;
	for (unsigned i = 0; i < elf->n; i++) {
		const struct elf_segment *s = &elf->seg[i];
		int r;

		if (s->type != PT_LOAD || !s->memsz)
			continue;
		r = boot_check_ram(cfg, s->paddr, s->memsz, e);
		if (!r)
			r = image_load(cfg->kernel, s->offset, s->filesz, cfg->mem, s->paddr, e);
		if (r)
			return r;
		boot_zero(cfg, s->paddr + s->filesz, s->memsz - s->filesz);
		*end = max_u64(*end, s->paddr + s->memsz);
		any = true;
	}
	if (!any)
		return bad(cfg->kernel, e, "has nothing to load");
	return 0;
}

/* One PT_NOTE segment: namesz, descsz, type, then name and descriptor, each padded to 4 bytes. */
static uint32_t find_pvh(const uint8_t *p, size_t len)
{
	size_t at = 0;

	while (len - at >= 12) {
		uint64_t namesz = get_le32(p + at), descsz = get_le32(p + at + 4);
		uint32_t type = get_le32(p + at + 8);
		uint64_t name = at + 12, desc = name + align_up(namesz, 4),
			 next = desc + align_up(descsz, 4);

		if (!range_fits(desc, descsz, len))
			return 0;
		if (type == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 &&
		    !memcmp(p + name, "Xen", 4) && (descsz == 4 || descsz == 8))
			return get_le32(p + desc);
		if (next >= len)
			return 0;
		at = next;
	}
	return 0;
}

int elf_pvh_entry(const struct image *im, const struct elf_image *elf, uint32_t *out,
		  struct err **e)
{
	*out = 0;
	for (unsigned i = 0; i < elf->n && !*out; i++) {
		const struct elf_segment *s = &elf->seg[i];
		uint64_t len = min_u64(s->filesz, NOTES_MAX);
		uint8_t *buf;
		int r;

		if (s->type != PT_NOTE || !len)
			continue;
		buf = xzalloc(len);
		r = image_read(im, s->offset, buf, len, e);
		if (!r)
			*out = find_pvh(buf, len);
		free(buf);
		if (r)
			return r;
	}
	return 0;
}

uint64_t elf_virt_to_phys(const struct elf_image *elf, uint64_t va)
{
	for (unsigned i = 0; i < elf->n; i++) {
		const struct elf_segment *s = &elf->seg[i];

		if (s->type == PT_LOAD && va - s->vaddr < s->memsz)
			return va - s->vaddr + s->paddr;
	}
	return va;
}
