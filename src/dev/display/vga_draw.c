/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the adapter shows, dot by dot (IBM VGA technical reference, CRT and attribute controller).
 *
 * A row of characters or pixels begins at memory address MA; an address of MA counts characters. It
 * becomes a place in the planes by the CRT controller's address mode: byte (n), word (2n, the bit
 *that falls off at the low end comes in from the top) or double word (4n); the CGA's interleaved
 *rows replace bits 13 and 14 by bits of the scan line. The four bytes at the place are one word of
 *video memory.
 *
 *	text	plane 0 character, plane 1 attribute, plane 2 fonts of 32 bytes a character
 *	planar	bit 7-n of the four planes is the colour of pixel n
 *	pairs	(CGA) two bits a pixel: planes 0 and 2 first, then planes 1 and 3
 *	256	a byte a pixel, four a place
 *
 * Registers may hold anything: sizes are limited, and every place is taken modulo the planes' size.
 * The cursor and blinking text are drawn as they are while they are lit.
 */
#include <stdlib.h>
#include <string.h>

#include "dev/display/vga_int.h"

struct drawing {
	const struct vga *v;
	struct surface *s;
	unsigned width, height; /* dots */
	unsigned chars; /* characters of 8 (9) dots in a row */
	unsigned cell; /* scan lines of a row */
	bool twice; /* each scan line is shown twice */
	unsigned pitch; /* MA from row to row */
	uint32_t start;
	unsigned split; /* scan line from which MA starts at 0 */
	uint32_t color[256]; /* of a byte after the palette's mask */
	uint32_t ega[16]; /* of an attribute */
	uint32_t row[SURFACE_MAX_WIDTH];
};

static uint32_t dac_color(const struct vga *v, uint8_t index)
{
	const uint8_t *c = v->dac + 3 * (index & v->dac_mask);
	uint32_t rgb = 0;

	for (unsigned i = 0; i < 3; i++) {
		uint8_t x = c[i];

		if (!(v->vbe[VBE_ENABLE] & VBE_8BIT_DAC))
			x = (uint8_t)(x << 2 | (x >> 4 & 3)); /* 63 becomes 255 */
		rgb = rgb << 8 | x;
	}
	return rgb;
}

static void load_colors(struct drawing *p)
{
	const struct vga *v = p->v;
	uint8_t select = v->att[ATT_COLOR_SELECT];

	for (unsigned i = 0; i < 256; i++)
		p->color[i] = dac_color(v, (uint8_t)i);
	for (unsigned i = 0; i < 16; i++) {
		uint8_t c = v->att[i & v->att[ATT_PLANE_ENABLE] & 15] & 0x3f;

		if (v->att[ATT_MODE] & ATT_MODE_P54S)
			c = (uint8_t)((c & 0x0f) | (select & 3) << 4);
		p->ega[i] = p->color[c | (select & 0x0c) << 4];
	}
}

/* Sizes from the CRT controller: lines have up to 10 bits, spread over three registers. */
static void load_geometry(struct drawing *p)
{
	const struct vga *v = p->v;
	const uint8_t *c = v->crtc;
	uint8_t over = c[CRTC_OVERFLOW];
	unsigned dots =
		v->seq[SEQ_CLOCK] & SEQ_CLOCK_DOT8 || v->att[ATT_MODE] & ATT_MODE_GRAPHICS ? 8 : 9;

	p->chars = c[CRTC_HDISP_END] + 1u;
	p->width = p->chars * dots << !!(v->seq[SEQ_CLOCK] & SEQ_CLOCK_HALF);
	p->height = (c[CRTC_VDISP_END] | (over & 0x02u) << 7 | (over & 0x40u) << 3) + 1;
	p->cell = (c[CRTC_MAX_SCAN] & 0x1f) + 1u;
	p->twice = c[CRTC_MAX_SCAN] & 0x80;
	p->pitch = c[CRTC_OFFSET] * 2u;
	p->start = (uint32_t)c[CRTC_START_HI] << 8 | c[CRTC_START_LO];
	p->split = (c[CRTC_LINE_COMPARE] | (over & 0x10u) << 4 | (c[CRTC_MAX_SCAN] & 0x40u) << 3);
}

/* The word of video memory at memory address ma, in scan line `line` of its row. */
static uint32_t fetch(const struct drawing *p, uint32_t ma, unsigned line)
{
	const uint8_t *c = p->v->crtc;

	if (c[CRTC_UNDERLINE] & CRTC_UNDERLINE_DWORD)
		ma = ma << 2 | (ma >> 12 & 3);
	else if (!(c[CRTC_MODE] & CRTC_MODE_BYTE))
		ma = ma << 1 | (ma >> (c[CRTC_MODE] & 0x20 ? 15 : 13) & 1);
	if (!(c[CRTC_MODE] & 0x01))
		ma = (ma & ~0x2000u) | (line & 1) << 13;
	if (!(c[CRTC_MODE] & 0x02))
		ma = (ma & ~0x4000u) | (line & 2) << 13;
	return p->v->vram[ma & (VGA_PLANE_SIZE - 1)];
}

/* n dots of one colour at *x, twice as many where the dot clock is halved. */
static void dots(struct drawing *p, unsigned *x, uint32_t color, unsigned n)
{
	if (p->v->seq[SEQ_CLOCK] & SEQ_CLOCK_HALF)
		n *= 2;
	for (; n && *x < p->width; n--)
		p->row[(*x)++] = color;
}

/* Sequencer register 3: where the two fonts are in plane 2, as places. */
static unsigned font_base(uint8_t select, unsigned attr)
{
	unsigned n = attr & 0x08 ? (select >> 2 & 3) | (select >> 3 & 4)
				 : (select & 3) | (select >> 2 & 4);

	return (n & 3) * 0x4000 + (n >> 2) * 0x2000;
}

static bool cursor_here(const struct drawing *p, uint32_t ma, unsigned line)
{
	const uint8_t *c = p->v->crtc;
	uint32_t at = (uint32_t)c[CRTC_CURSOR_HI] << 8 | c[CRTC_CURSOR_LO];

	return (ma & 0xffff) == at && !(c[CRTC_CURSOR_START] & 0x20) &&
	       line >= (c[CRTC_CURSOR_START] & 0x1fu) && line <= (c[CRTC_CURSOR_END] & 0x1fu);
}

static void text_line(struct drawing *p, uint32_t ma, unsigned line)
{
	const struct vga *v = p->v;
	unsigned nine = !(v->seq[SEQ_CLOCK] & SEQ_CLOCK_DOT8), x = 0;

	for (unsigned i = 0; i < p->chars; i++) {
		uint32_t w = fetch(p, ma + i, 0);
		uint8_t ch = (uint8_t)w, attr = (uint8_t)(w >> 8);
		uint32_t at = font_base(v->seq[SEQ_FONT], attr) + ch * 32u + line;
		uint8_t bits = (uint8_t)(v->vram[at & (VGA_PLANE_SIZE - 1)] >> 16);
		unsigned bg = attr >> 4;
		bool cursor = cursor_here(p, ma + i, line), last;

		if (v->att[ATT_MODE] & ATT_MODE_BLINK)
			bg &= 7;
		if (cursor)
			bits = 0xff;
		for (unsigned b = 0; b < 8; b++)
			dots(p, &x, p->ega[bits << b & 0x80 ? attr & 15 : bg], 1);
		/* The ninth dot repeats the eighth in line graphics, else it is background. */
		last = (v->att[ATT_MODE] & ATT_MODE_LINE9) && ch >= 0xc0 && ch <= 0xdf &&
		       (bits & 1);
		dots(p, &x, p->ega[last || cursor ? attr & 15 : bg], nine);
	}
}

static void planar_line(struct drawing *p, uint32_t ma, unsigned line)
{
	unsigned x = 0;

	for (unsigned i = 0; i < p->chars; i++) {
		uint32_t w = fetch(p, ma + i, line);

		for (unsigned b = 0; b < 8; b++, w <<= 1)
			dots(p, &x,
			     p->ega[(w >> 7 & 1) | (w >> 14 & 2) | (w >> 21 & 4) | (w >> 28 & 8)],
			     1);
	}
}

static void pairs_line(struct drawing *p, uint32_t ma, unsigned line)
{
	unsigned x = 0;

	for (unsigned i = 0; i < p->chars; i++) {
		uint32_t w = fetch(p, ma + i, line);

		for (unsigned b = 0; b < 8; b++) {
			/* Four pixels of planes 0 and 2, then four of planes 1 and 3. */
			uint32_t half = b < 4 ? w : w >> 8;
			unsigned shift = 6 - 2 * (b & 3);

			dots(p, &x, p->ega[(half >> shift & 3) | (half >> (16 + shift) & 3) << 2],
			     1);
		}
	}
}

static void byte_line(struct drawing *p, uint32_t ma, unsigned line)
{
	unsigned x = 0;

	/* A pixel takes two dots, so a character's eight dots take one place. */
	for (unsigned i = 0; i < p->chars; i++) {
		uint32_t w = fetch(p, ma + i, line);

		for (unsigned b = 0; b < 4; b++, w >>= 8)
			dots(p, &x, p->color[w & 0xff], 2);
	}
}

static void draw_vga(struct drawing *p)
{
	const struct vga *v = p->v;
	void (*draw)(struct drawing * p, uint32_t ma, unsigned line) = text_line;
	uint32_t ma;
	unsigned line = 0;

	load_geometry(p);
	surface_resize(p->s, p->width, p->height);
	if (v->att[ATT_MODE] & ATT_MODE_GRAPHICS)
		draw = v->gc[GC_MODE] & GC_MODE_SHIFT_256     ? byte_line
		       : v->gc[GC_MODE] & GC_MODE_SHIFT_PAIRS ? pairs_line
							      : planar_line;
	ma = p->start;
	for (unsigned y = 0; y < p->height; y++) {
		draw(p, ma, line);
		surface_row(p->s, y, p->row);
		if (y == p->split) {
			ma = 0;
			line = 0;
			continue;
		}
		if (p->twice && !(y & 1))
			continue;
		if (++line == p->cell) {
			line = 0;
			ma += p->pitch;
		}
	}
}

static uint32_t rgb565(uint16_t c)
{
	uint32_t r = c >> 11, g = c >> 5 & 63, b = c & 31;

	return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}

static uint32_t rgb555(uint16_t c)
{
	uint32_t r = c >> 10 & 31, g = c >> 5 & 31, b = c & 31;

	return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}

static uint32_t vbe_pixel(const struct drawing *p, const uint8_t *from, unsigned bpp)
{
	switch (bpp) {
	case 8:
		return p->color[*from];
	case 15:
		return rgb555(get_le16(from));
	case 16:
		return rgb565(get_le16(from));
	default:
		return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
	}
}

static uint32_t vbe_planar_pixel(const struct drawing *p, const uint8_t *row, unsigned x)
{
	const uint8_t *b = row + x / 8 * 4;
	unsigned shift = 7 - x % 8, n = 0;

	for (unsigned i = 0; i < 4; i++)
		n |= (b[i] >> shift & 1u) << i;
	return p->ega[n];
}

/* vga_vbe_fixup has seen to it that the picture lies in video memory. */
static void draw_vbe(struct drawing *p)
{
	const uint16_t *r = p->v->vbe;
	unsigned bpp = r[VBE_BPP], bytes = (bpp + 7) / 8;
	uint32_t pitch = vga_vbe_pitch(p->v);

	surface_resize(p->s, r[VBE_XRES], r[VBE_YRES]);
	for (unsigned y = 0; y < r[VBE_YRES]; y++) {
		const uint8_t *row =
			(const uint8_t *)p->v->vram + (size_t)(r[VBE_Y_OFFSET] + y) * pitch;

		for (unsigned x = 0; x < r[VBE_XRES]; x++) {
			unsigned at = r[VBE_X_OFFSET] + x;

			p->row[x] = bpp == 4 ? vbe_planar_pixel(p, row, at)
					     : vbe_pixel(p, row + (size_t)at * bytes, bpp);
		}
		surface_row(p->s, y, p->row);
	}
}

/* Nothing is shown: black, of the size that the mode has, or of any before there is one. */
static void draw_blank(struct drawing *p)
{
	if (vga_vbe_on(p->v)) {
		p->width = p->v->vbe[VBE_XRES];
		p->height = p->v->vbe[VBE_YRES];
	} else if (!p->v->crtc[CRTC_HDISP_END]) {
		p->width = 640;
		p->height = 480;
	} else {
		load_geometry(p);
	}
	surface_resize(p->s, p->width, p->height);
	for (unsigned y = 0; y < p->height; y++)
		surface_row(p->s, y, p->row);
}

void vga_draw(void *opaque, struct surface *s)
{
	const struct vga *v = opaque;
	struct drawing *p = xzalloc(sizeof(*p));

	p->v = v;
	p->s = s;
	load_colors(p);
	if (!(v->att_index & ATT_INDEX_SHOW) || (v->seq[SEQ_CLOCK] & SEQ_CLOCK_OFF))
		draw_blank(p);
	else if (vga_vbe_on(v))
		draw_vbe(p);
	else
		draw_vga(p);
	free(p);
}
