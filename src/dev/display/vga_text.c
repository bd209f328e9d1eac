/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode 3, text of 80 columns and 25 rows, for guests that start without firmware: register values
 * of the IBM VGA BIOS, and the font of 8x16 dots that the option ROM has for its own use.
 */
#include <string.h>

#include "dev/display/vga_int.h"
#include "mem/page.h"

#define FONT_HEIGHT 16
#define FONT_SIZE (256 * FONT_HEIGHT)

static const uint8_t mode3_seq[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t mode3_gc[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
static const uint8_t mode3_crtc[CRTC_REGS] = {
	0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
	0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
};
static const uint8_t mode3_att[ATT_REGS] = {
	0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
	0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00,
};
#define MODE3_MISC 0x67

/* Every font of code page 437 has an empty glyph 0 and a face as glyph 1. */
static const uint8_t *find_font(const struct vga *v)
{
	static const uint8_t first[2 * FONT_HEIGHT] = {
		[16] = 0x00, 0x00, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e,
	};

	uint64_t size;
	const uint8_t *rom = pci_dev_rom(&v->pci, &size);

	for (uint64_t at = 0; at + FONT_SIZE <= size; at++)
		if (!memcmp(rom + at, first, sizeof(first)))
			return rom + at;
	return NULL;
}

/* DAC entries 0-63, whose index bits are rgbRGB: a third and two thirds of each. */
static void load_palette(struct vga *v)
{
	for (unsigned i = 0; i < 64; i++)
		for (unsigned c = 0; c < 3; c++)
			v->dac[3 * i + c] =
				(uint8_t)(42 * (i >> (2 - c) & 1) + 21 * (i >> (5 - c) & 1));
}

void vga_text_mode(void *opaque)
{
	struct vga *v = opaque;
	const uint8_t *font = find_font(v);

	vga_vbe_reset(v);
	v->misc = MODE3_MISC;
	memcpy(v->seq, mode3_seq, sizeof(mode3_seq));
	memcpy(v->gc, mode3_gc, sizeof(mode3_gc));
	memcpy(v->crtc, mode3_crtc, sizeof(mode3_crtc));
	memcpy(v->att, mode3_att, sizeof(mode3_att));
	v->att_index = ATT_INDEX_SHOW;
	load_palette(v);
	memset(v->vram, 0, VGA_PLANE_SIZE * 4);
	for (unsigned i = 0; i < VGA_PLANE_SIZE / 8; i += 2)
		v->vram[i] = 0x0720; /* blanks, light grey on black */
	for (unsigned i = 0; font && i < FONT_SIZE; i++)
		v->vram[i / FONT_HEIGHT * 32 + i % FONT_HEIGHT] |= (uint32_t)font[i] << 16;
	mem_written(v->pci.dev.env->mem, v->vram_off, VGA_PLANE_SIZE * 4);
}
