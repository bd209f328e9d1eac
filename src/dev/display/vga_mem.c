/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window 0xa0000-0xbffff on video memory (IBM VGA technical reference, graphics controller).
 *
 * A byte at window offset a:
 *	linear	(Bochs VBE, 8 bits a pixel or more)	byte bank * 64 KiB + a of video RAM
 *	chain 4	plane a & 3, place a & ~3
 *	odd/even	plane a & 1 of the pair that the map mask or read map allows, place a & ~1
 *	else	place a of all planes that the map mask allows, by write mode; read by read mode
 * Every read fills the latches, with the byte of each plane at the place.
 */
#include "dev/display/vga_int.h"

#include "mem/page.h"

/* Bits of a nibble to whole bytes: one for each plane. */
static const uint32_t plane_bytes[16] = {
	0x00000000, 0x000000ff, 0x0000ff00, 0x0000ffff, 0x00ff0000, 0x00ff00ff,
	0x00ffff00, 0x00ffffff, 0xff000000, 0xff0000ff, 0xff00ff00, 0xff00ffff,
	0xffff0000, 0xffff00ff, 0xffffff00, 0xffffffff,
};

/* The part of the window that is decoded (graphics miscellaneous register 3:2). */
static bool window_offset(const struct vga *v, uint64_t off, uint32_t *a)
{
	static const struct {
		uint32_t base, size;
	} windows[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
	unsigned n = v->gc[GC_MISC] >> 2 & 3;

	if (off < windows[n].base || off - windows[n].base >= windows[n].size)
		return false;
	*a = (uint32_t)(off - windows[n].base);
	return true;
}

static uint64_t bank(const struct vga *v)
{
	return vga_vbe_on(v) ? (uint64_t)v->vbe[VBE_BANK] << 16 : 0;
}

/* The word with the four planes' bytes at place a; with 4-bit VBE modes there is more than 64 Ki.
 */
static uint32_t *word_at(const struct vga *v, uint32_t a)
{
	uint64_t n = vga_vbe_on(v) ? bank(v) + a : a & (VGA_PLANE_SIZE - 1);

	return &v->vram[n & (v->vram_size / 4 - 1)];
}

static uint8_t *linear_at(const struct vga *v, uint32_t a)
{
	return (uint8_t *)v->vram + ((bank(v) + a) & (v->vram_size - 1));
}

/* Video memory is guest RAM: dirty log and code marks are kept for it too. */
static void stored(struct vga *v, const void *at, unsigned size)
{
	mem_written(v->pci.dev.env->mem,
		    v->vram_off + (uint64_t)((const uint8_t *)at - (const uint8_t *)v->vram), size);
}

static uint32_t spread(uint8_t byte)
{
	return byte * 0x01010101u;
}

/* Read mode 1: a one for each pixel whose colour is the compared one, in the planes that matter. */
static uint8_t color_compare(const struct vga *v)
{
	uint32_t diff = v->latch ^ plane_bytes[v->gc[GC_COMPARE] & 15];

	diff &= plane_bytes[v->gc[GC_DONT_CARE] & 15];
	diff |= diff >> 16;
	return (uint8_t) ~(diff | diff >> 8);
}

static uint8_t read_byte(struct vga *v, uint32_t a)
{
	unsigned plane = v->gc[GC_READ_MAP] & 3;

	if (vga_vbe_linear(v))
		return *linear_at(v, a);
	if (v->seq[SEQ_MEM_MODE] & SEQ_MEM_CHAIN4) {
		plane = a & 3;
		a &= ~3u;
	} else if (v->gc[GC_MODE] & GC_MODE_ODD_EVEN) {
		plane = (plane & 2) | (a & 1);
		a &= ~1u;
	}
	v->latch = *word_at(v, a);
	if ((v->gc[GC_MODE] & GC_MODE_READ1) && !(v->seq[SEQ_MEM_MODE] & SEQ_MEM_CHAIN4))
		return color_compare(v);
	return (uint8_t)(v->latch >> (8 * plane));
}

static uint8_t rotate(const struct vga *v, uint8_t val)
{
	unsigned n = v->gc[GC_ROTATE] & 7;

	return (uint8_t)(val >> n | val << (8 - n));
}

/* Logical function (bits 4:3 of data rotate) with the latches, then latches where the bit mask is
 * 0. */
static uint32_t combine(const struct vga *v, uint32_t data, uint8_t bits)
{
	uint32_t mask = spread(bits);

	switch (v->gc[GC_ROTATE] >> 3 & 3) {
	case 1:
		data &= v->latch;
		break;
	case 2:
		data |= v->latch;
		break;
	case 3:
		data ^= v->latch;
		break;
	}
	return (data & mask) | (v->latch & ~mask);
}

/* What the four planes would get. */
static uint32_t write_data(const struct vga *v, uint8_t val)
{
	uint32_t sr = plane_bytes[v->gc[GC_SET_RESET] & 15];
	uint32_t enable = plane_bytes[v->gc[GC_ENABLE_SR] & 15];

	switch (v->gc[GC_MODE] & 3) {
	case 0:
		return combine(v, (spread(rotate(v, val)) & ~enable) | (sr & enable),
			       v->gc[GC_BIT_MASK]);
	case 1:
		return v->latch;
	case 2:
		return combine(v, plane_bytes[val & 15], v->gc[GC_BIT_MASK]);
	default:
		return combine(v, sr, rotate(v, val) & v->gc[GC_BIT_MASK]);
	}
}

static void write_byte(struct vga *v, uint32_t a, uint8_t val)
{
	uint32_t planes = plane_bytes[v->seq[SEQ_MAP_MASK] & 15], *w;

	if (vga_vbe_linear(v)) {
		*linear_at(v, a) = val;
		stored(v, linear_at(v, a), 1);
		return;
	}
	if (v->seq[SEQ_MEM_MODE] & SEQ_MEM_CHAIN4) {
		planes &= 0xffu << (8 * (a & 3));
		a &= ~3u;
	} else if (!(v->seq[SEQ_MEM_MODE] & SEQ_MEM_NO_ODD_EVEN)) {
		planes &= a & 1 ? 0xff00ff00 : 0x00ff00ff;
		a &= ~1u;
	}
	w = word_at(v, a);
	*w = (*w & ~planes) | (write_data(v, val) & planes);
	stored(v, w, sizeof(*w));
}

static uint64_t window_read(void *opaque, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++) {
		uint32_t a;

		if (!window_offset(opaque, off + i, &a))
			val |= UINT64_C(0xff) << (8 * i);
		else
			val |= (uint64_t)read_byte(opaque, a) << (8 * i);
	}
	return val;
}

static void window_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	for (unsigned i = 0; i < size; i++) {
		uint32_t a;

		if (window_offset(opaque, off + i, &a))
			write_byte(opaque, a, (uint8_t)(val >> (8 * i)));
	}
}

const struct io_ops vga_window_ops = {
	.read = window_read,
	.write = window_write,
	.min = 1,
	.max = 8,
	.unaligned = true,
};
