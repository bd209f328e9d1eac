/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bochs VBE display interface, and the registers of PCI BAR 2.
 *
 *   0x1ce  index (16 bits)      0x1cf  data (16 bits)
 *   0 ID 0xb0c0-0xb0c5   1-3 width, height, bits a pixel   4 enable (enum above)   5 bank of 64 KiB
 *   6, 7 virtual width and height   8, 9 offset of the picture in it   10 memory in units of 64 KiB
 *
 *   BAR 2: 0x000 EDID   0x400 ports 0x3c0-0x3df   0x500 the registers above, 2 bytes each
 *	    0x600 size of what follows, 0x604 byte order of the frame buffer (little)
 *
 * Width and the like are only checked when the guest enables a mode or moves in one: then
 * what does not fit in video memory is cut so that it does, and drawing need check nothing.
 */
#include <string.h>

#include "dev/display/vga_int.h"
#include "mem/page.h"

#define VBE_ID_OLDEST 0xb0c0
#define VBE_ID_NEWEST 0xb0c5
#define VBE_MAX_XRES SURFACE_MAX_WIDTH
#define VBE_MAX_YRES SURFACE_MAX_HEIGHT

#define MMIO_EDID_END 0x100
#define MMIO_VGA 0x400
#define MMIO_VBE 0x500
#define MMIO_EXT 0x600
#define EXT_SIZE 8
#define EXT_LITTLE 0x1e1e1e1eu

static uint32_t pitch_of(unsigned width, unsigned bpp)
{
	/* Of planes: what one plane has, as four bytes a place. */
	return bpp == 4 ? width / 8 * 4 : width * ((bpp + 7) / 8);
}

uint32_t vga_vbe_pitch(const struct vga *v)
{
	return pitch_of(v->vbe[VBE_VIRT_WIDTH], v->vbe[VBE_BPP]);
}

static unsigned clamp(unsigned v, unsigned lo, unsigned hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

void vga_vbe_fixup(struct vga *v)
{
	uint16_t *r = v->vbe;
	uint64_t rows;

	if (!vga_vbe_on(v))
		return;
	switch (r[VBE_BPP]) {
	case 4:
	case 8:
	case 15:
	case 16:
	case 24:
	case 32:
		break;
	default:
		r[VBE_BPP] = 8;
	}
	r[VBE_XRES] = (uint16_t)clamp(r[VBE_XRES] & ~7u, 8, VBE_MAX_XRES);
	r[VBE_VIRT_WIDTH] = (uint16_t)clamp(r[VBE_VIRT_WIDTH] & ~7u, r[VBE_XRES], VBE_MAX_XRES);
	rows = v->vram_size / pitch_of(r[VBE_VIRT_WIDTH], r[VBE_BPP]);
	r[VBE_YRES] = (uint16_t)clamp(r[VBE_YRES], 1, (unsigned)min_u64(rows, VBE_MAX_YRES));
	r[VBE_VIRT_HEIGHT] = (uint16_t)min_u64(rows, UINT16_MAX);
	r[VBE_X_OFFSET] = (uint16_t)min_u64(r[VBE_X_OFFSET], r[VBE_VIRT_WIDTH] - r[VBE_XRES]);
	r[VBE_Y_OFFSET] = (uint16_t)min_u64(r[VBE_Y_OFFSET], r[VBE_VIRT_HEIGHT] - r[VBE_YRES]);
}

static void clear_memory(struct vga *v)
{
	uint64_t size = (uint64_t)vga_vbe_pitch(v) * v->vbe[VBE_YRES];

	memset(v->vram, 0, min_u64(size, v->vram_size));
	mem_written(v->pci.dev.env->mem, v->vram_off, min_u64(size, v->vram_size));
}

static void enable(struct vga *v, uint16_t val)
{
	bool was = vga_vbe_on(v);

	v->vbe[VBE_ENABLE] = val;
	v->vbe[VBE_BANK] = 0;
	if (!vga_vbe_on(v) || was)
		return;
	v->vbe[VBE_VIRT_WIDTH] = v->vbe[VBE_XRES];
	v->vbe[VBE_X_OFFSET] = v->vbe[VBE_Y_OFFSET] = 0;
	vga_vbe_fixup(v);
	if (!(val & VBE_NOCLEAR))
		clear_memory(v);
}

static uint16_t vbe_read(const struct vga *v, unsigned index)
{
	if (index >= VBE_REGS)
		return 0;
	if (v->vbe[VBE_ENABLE] & VBE_GETCAPS) {
		switch (index) {
		case VBE_XRES:
			return VBE_MAX_XRES;
		case VBE_YRES:
			return VBE_MAX_YRES;
		case VBE_BPP:
			return 32;
		}
	}
	return index == VBE_MEMORY ? (uint16_t)(v->vram_size >> 16) : v->vbe[index];
}

static void vbe_write(struct vga *v, unsigned index, uint16_t val)
{
	switch (index) {
	case VBE_ID:
		if (val >= VBE_ID_OLDEST && val <= VBE_ID_NEWEST)
			v->vbe[VBE_ID] = val;
		break;
	case VBE_XRES:
	case VBE_YRES:
	case VBE_BPP:
	case VBE_VIRT_WIDTH:
	case VBE_X_OFFSET:
	case VBE_Y_OFFSET:
		v->vbe[index] = val;
		vga_vbe_fixup(v);
		break;
	case VBE_BANK:
		v->vbe[VBE_BANK] = (uint16_t)(val & ((v->vram_size >> 16) - 1));
		break;
	case VBE_ENABLE:
		enable(v, val);
		break;
	}
}

void vga_vbe_reset(struct vga *v)
{
	memset(v->vbe, 0, sizeof(v->vbe));
	v->vbe_index = 0;
	v->vbe[VBE_ID] = VBE_ID_NEWEST;
}

static uint64_t vbe_port_read(void *opaque, uint64_t off, unsigned size)
{
	struct vga *v = opaque;

	return off ? vbe_read(v, v->vbe_index) : v->vbe_index;
}

static void vbe_port_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct vga *v = opaque;

	if (off)
		vbe_write(v, v->vbe_index, (uint16_t)val);
	else
		v->vbe_index = (uint16_t)val;
}

/* A word at 0x1cf is not aligned. */
const struct io_ops vga_vbe_ops = {
	.read = vbe_port_read,
	.write = vbe_port_write,
	.min = 2,
	.max = 2,
	.unaligned = true,
};

static uint8_t mmio_byte(struct vga *v, uint64_t off)
{
	if (off < sizeof(v->edid))
		return v->edid[off];
	if (off >= MMIO_VGA && off < MMIO_VGA + 0x20)
		return vga_port_read(v, 0x3c0 + (unsigned)(off - MMIO_VGA));
	if (off >= MMIO_EXT && off < MMIO_EXT + EXT_SIZE)
		return (uint8_t)((off < MMIO_EXT + 4 ? EXT_SIZE : EXT_LITTLE) >> (8 * (off & 3)));
	return off < MMIO_EDID_END ? 0 : 0xff;
}

static bool is_vbe(uint64_t off, unsigned size)
{
	return off >= MMIO_VBE && off < MMIO_VBE + 2 * VBE_REGS && size >= 2;
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
	struct vga *v = opaque;
	uint64_t val = 0;

	if (is_vbe(off, size)) {
		for (unsigned i = 0; i < size; i += 2)
			val |= (uint64_t)vbe_read(v, (unsigned)(off + i - MMIO_VBE) / 2) << (8 * i);
		return val;
	}
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)mmio_byte(v, off + i) << (8 * i);
	return val;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct vga *v = opaque;

	if (is_vbe(off, size)) {
		for (unsigned i = 0; i < size; i += 2)
			vbe_write(v, (unsigned)(off + i - MMIO_VBE) / 2,
				  (uint16_t)(val >> (8 * i)));
		return;
	}
	for (unsigned i = 0; i < size; i++)
		if (off + i >= MMIO_VGA && off + i < MMIO_VGA + 0x20)
			vga_port_write(v, 0x3c0 + (unsigned)(off + i - MMIO_VGA),
				       (uint8_t)(val >> (8 * i)));
}

const struct io_ops vga_mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.min = 1,
	.max = 8,
};
