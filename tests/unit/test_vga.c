/* SPDX-License-Identifier: Apache-2.0 */
/* VGA: registers, ways to video memory, what is drawn; surfaces and pictures of them. */
#include "dev_env.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "back/display/display.h"
#include "dev/display/vga.h"
#include "dev/pci/pci.h"

#define VRAM MiB
#define BAR0 0xe0000000u
#define BAR2 0xe8000000u
#define SLOT PCI_DEVFN(2, 0)
#define WHITE 0xffffffu
#define GREY 0xaaaaaau

struct rig {
	struct test_env *t;
	struct pci_bus *bus;
	struct surface s;
};

static unsigned map_irq(unsigned slot, unsigned pin)
{
	return pin;
}

static void set_pirq(void *opaque, unsigned n, bool level)
{
}

static int setup(void **state)
{
	static const struct vga_config cfg = {
		.vram_size = VRAM, .edid = true, .xres = 1280, .yres = 800};
	struct rig *r = xzalloc(sizeof(*r));
	struct pci_place place = {.devfn = SLOT, .name = "VGA", .id = ""};

	r->t = env_open();
	r->bus = place.bus = pci_bus_create(&r->t->env, "pci.0", false, map_irq, set_pirq, NULL);
	assert_int_equal(vga_create(&place, &cfg, NULL), 0);
	pci_config_write(r->bus, SLOT, PCI_BAR0, BAR0, 4);
	pci_config_write(r->bus, SLOT, PCI_BAR0 + 8, BAR2, 4);
	pci_config_write(r->bus, SLOT, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	surface_free(&r->s);
	env_close(r->t);
	free(r);
	return 0;
}

static void seq(struct rig *r, uint8_t i, uint8_t v)
{
	outw(r->t, 0x3c4, (uint16_t)(i | v << 8));
}

static void gc(struct rig *r, uint8_t i, uint8_t v)
{
	outw(r->t, 0x3ce, (uint16_t)(i | v << 8));
}

static void crtc(struct rig *r, uint8_t i, uint8_t v)
{
	outw(r->t, 0x3d4, (uint16_t)(i | v << 8));
}

static void vbe(struct rig *r, uint16_t i, uint16_t v)
{
	outw(r->t, 0x1ce, i);
	outw(r->t, 0x1cf, v);
}

static uint16_t vbe_get(struct rig *r, uint16_t i)
{
	outw(r->t, 0x1ce, i);
	return inw(r->t, 0x1cf);
}

static uint8_t peek(struct rig *r, uint32_t a)
{
	return (uint8_t)mem_read(r->t->env.mem, GPA(a), 1);
}

static void poke(struct rig *r, uint32_t a, uint8_t v)
{
	mem_write(r->t->env.mem, GPA(a), v, 1);
}

/* plane - byte at place a, by read mode 0. */
static uint8_t plane(struct rig *r, unsigned n, uint32_t a)
{
	gc(r, 4, (uint8_t)n);
	return peek(r, 0xa0000 + a);
}

static void assert_planes(struct rig *r, uint32_t a, uint8_t p0, uint8_t p1, uint8_t p2, uint8_t p3)
{
	assert_int_equal(plane(r, 0, a), p0);
	assert_int_equal(plane(r, 1, a), p1);
	assert_int_equal(plane(r, 2, a), p2);
	assert_int_equal(plane(r, 3, a), p3);
}

/* planar - plain access to four planes at 0xa0000: as in mode 12h. */
static void planar(struct rig *r)
{
	seq(r, 2, 0x0f);
	seq(r, 4, 0x06);
	for (uint8_t i = 0; i < 6; i++)
		gc(r, i, 0);
	gc(r, 6, 0x05);
	gc(r, 7, 0x0f);
	gc(r, 8, 0xff);
}

static struct surface *draw(struct rig *r)
{
	struct display *d = display_find(r->t->env.displays, NULL);

	assert_non_null(d);
	d->ops->draw(d->opaque, &r->s);
	return &r->s;
}

static uint32_t pixel(struct rig *r, unsigned x, unsigned y)
{
	assert_true(x < r->s.width && y < r->s.height);
	return r->s.pixels[(size_t)y * r->s.width + x];
}

/* FNV-1a of all pixels. */
static uint32_t hash(const struct surface *s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < (size_t)s->width * s->height * 4; i++)
		h = (h ^ ((const uint8_t *)s->pixels)[i]) * 16777619u;
	return h;
}

static void text_mode(struct rig *r)
{
	struct display *d = display_find(r->t->env.displays, NULL);

	d->ops->text_mode(d->opaque);
	crtc(r, 0x0a, 0x20); /* no cursor */
}

/* glyph - put a pattern in font 0 as a BIOS does: plane 2, no odd/even. */
static void glyph(struct rig *r, uint8_t ch, const uint8_t rows[16])
{
	seq(r, 2, 0x04);
	seq(r, 4, 0x06);
	gc(r, 5, 0x00);
	gc(r, 6, 0x05);
	for (unsigned i = 0; i < 16; i++)
		poke(r, 0xa0000 + ch * 32u + i, rows[i]);
	seq(r, 2, 0x03);
	seq(r, 4, 0x02);
	gc(r, 5, 0x10);
	gc(r, 6, 0x0e);
}

static void write_modes(void **state)
{
	struct rig *r = *state;

	planar(r);
	poke(r, 0xa0010, 0x5a);
	assert_planes(r, 0x10, 0x5a, 0x5a, 0x5a, 0x5a);
	seq(r, 2, 0x05);
	poke(r, 0xa0010, 0x00);
	assert_planes(r, 0x10, 0, 0x5a, 0, 0x5a);
	/* Rotation, then set/reset in planes 0 and 1, then the bit mask over the latches. */
	seq(r, 2, 0x0f);
	poke(r, 0xa0011, 0xff);
	peek(r, 0xa0011);
	gc(r, 0, 0x01);
	gc(r, 1, 0x03);
	gc(r, 3, 0x04);
	gc(r, 8, 0x0f);
	poke(r, 0xa0011, 0x3c); /* rotated: 0xc3 */
	assert_planes(r, 0x11, 0xff, 0xf0, 0xf3, 0xf3);
	/* AND, OR, XOR with the latches. */
	for (unsigned op = 1; op < 4; op++) {
		static const uint8_t want[4] = {0, 0x41, 0xdd, 0x9c};

		planar(r);
		poke(r, 0xa0012, 0x55);
		peek(r, 0xa0012);
		gc(r, 3, (uint8_t)(op << 3));
		poke(r, 0xa0012, 0xc9);
		assert_planes(r, 0x12, want[op], want[op], want[op], want[op]);
	}
	/* Mode 1 copies latches, mode 2 spreads a colour, mode 3 masks set/reset by the data. */
	planar(r);
	gc(r, 5, 1);
	peek(r, 0xa0011);
	poke(r, 0xa0020, 0x00);
	assert_planes(r, 0x20, 0xff, 0xf0, 0xf3, 0xf3);
	gc(r, 5, 2);
	gc(r, 8, 0xf0);
	peek(r, 0xa0030);
	poke(r, 0xa0030, 0x0a);
	assert_planes(r, 0x30, 0, 0xf0, 0, 0xf0);
	gc(r, 8, 0xff);
	gc(r, 5, 3);
	gc(r, 0, 0x06);
	peek(r, 0xa0040);
	poke(r, 0xa0040, 0x81);
	assert_planes(r, 0x40, 0, 0x81, 0x81, 0);
}

static void read_mode_1(void **state)
{
	struct rig *r = *state;

	planar(r);
	gc(r, 5, 2);
	gc(r, 8, 0xf0);
	peek(r, 0xa0000);
	poke(r, 0xa0000, 0x0b);
	gc(r, 8, 0x0f);
	peek(r, 0xa0000);
	poke(r, 0xa0000, 0x0e);
	gc(r, 5, 0x08);
	gc(r, 2, 0x0b);
	assert_int_equal(peek(r, 0xa0000), 0xf0);
	gc(r, 7, 0x0a); /* of the planes 1 and 3 */
	assert_int_equal(peek(r, 0xa0000), 0xff);
	gc(r, 7, 0x00);
	assert_int_equal(peek(r, 0xa0000), 0xff);
}

static void chained(void **state)
{
	struct rig *r = *state;

	planar(r);
	seq(r, 4, 0x0e); /* chain 4 */
	for (unsigned i = 0; i < 8; i++)
		poke(r, 0xa0000 + i, (uint8_t)(0x10 + i));
	assert_int_equal(rd32(r->t, 0xa0004), 0x17161514);
	seq(r, 4, 0x06);
	assert_planes(r, 0, 0x10, 0x11, 0x12, 0x13);
	assert_planes(r, 4, 0x14, 0x15, 0x16, 0x17);
	/* Odd/even: text. */
	seq(r, 2, 0x03);
	seq(r, 4, 0x02);
	gc(r, 4, 0);
	gc(r, 5, 0x10);
	gc(r, 6, 0x0e);
	wr32(r->t, 0xb8000, 0x07420741);
	assert_int_equal(rd32(r->t, 0xb8000), 0x07420741);
	gc(r, 5, 0);
	gc(r, 6, 0x05);
	assert_planes(r, 0, 0x41, 0x07, 0x12, 0x13);
	assert_planes(r, 2, 0x42, 0x07, 0, 0);
}

static void windows(void **state)
{
	static const struct {
		uint8_t misc;
		bool seen[4]; /* a0000, b0000, b8000, bffff */
	} maps[] = {
		{0x00, {true, true, true, true}},
		{0x04, {true, false, false, false}},
		{0x08, {false, true, false, false}},
		{0x0c, {false, false, true, true}},
	};
	static const uint32_t at[4] = {0xa0000, 0xb0000, 0xb8000, 0xbffff};
	struct rig *r = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(maps); i++) {
		planar(r);
		gc(r, 6, maps[i].misc);
		for (unsigned j = 0; j < 4; j++) {
			poke(r, at[j], (uint8_t)(i * 4 + j + 1));
			assert_int_equal(peek(r, at[j]), maps[i].seen[j] ? i * 4 + j + 1 : 0xff);
		}
	}
}

static void registers(void **state)
{
	struct rig *r = *state;

	/* The CRT controller moves; there it is protected. */
	assert_int_equal(inb(r->t, 0x3d4), 0xff);
	outb(r->t, 0x3c2, 0x01);
	assert_int_equal(inb(r->t, 0x3cc), 0x01);
	assert_int_equal(inb(r->t, 0x3b4), 0xff);
	crtc(r, 0x00, 0x5f);
	crtc(r, 0x11, 0x80);
	crtc(r, 0x00, 0x11);
	crtc(r, 0x07, 0xff);
	outb(r->t, 0x3d4, 0x00);
	assert_int_equal(inb(r->t, 0x3d5), 0x5f);
	outb(r->t, 0x3d4, 0x07);
	assert_int_equal(inb(r->t, 0x3d5), 0x10);
	outb(r->t, 0x3d4, 0xee); /* no such register */
	outb(r->t, 0x3d5, 0x55);
	assert_int_equal(inb(r->t, 0x3d5), 0);
	/* Attribute controller: index and data in turns, from the index after a read of the status.
	 */
	inb(r->t, 0x3da);
	outb(r->t, 0x3c0, 0x13);
	outb(r->t, 0x3c0, 0x08);
	assert_int_equal(inb(r->t, 0x3c0), 0x13);
	assert_int_equal(inb(r->t, 0x3c1), 0x08);
	outb(r->t, 0x3c0, 0x05);
	inb(r->t, 0x3da);
	outb(r->t, 0x3c0, 0x1f); /* no such register */
	outb(r->t, 0x3c0, 0xff);
	assert_int_equal(inb(r->t, 0x3c1), 0);
	assert_int_not_equal(inb(r->t, 0x3da) & 8, inb(r->t, 0x3da) & 8);
	/* DAC: 6 bits, three writes an entry, both indices go on by themselves. */
	outb(r->t, 0x3c8, 0xff);
	for (uint8_t i = 0; i < 6; i++)
		outb(r->t, 0x3c9, (uint8_t)(0xf0 + i));
	assert_int_equal(inb(r->t, 0x3c8), 1);
	outb(r->t, 0x3c7, 0xff);
	assert_int_equal(inb(r->t, 0x3c7), 3);
	for (uint8_t i = 0; i < 6; i++)
		assert_int_equal(inb(r->t, 0x3c9), 0x30 + i);
	/* By BAR 2. */
	assert_int_equal(mem_read(r->t->env.mem, GPA(BAR2 + 0x40c), 1), 0x01);
	assert_int_equal(rd32(r->t, BAR2 + 0x604), 0x1e1e1e1e);
	assert_int_equal(rd32(r->t, BAR2 + 4), 0x00ffffff); /* EDID */
}

static void edid(void **state)
{
	struct rig *r = *state;
	uint8_t sum = 0;

	for (unsigned i = 0; i < 128; i++)
		sum += peek(r, BAR2 + i);
	assert_int_equal(sum, 0);
	assert_int_equal(peek(r, BAR2 + 56) | (peek(r, BAR2 + 58) >> 4) << 8, 1280);
	assert_int_equal(peek(r, BAR2 + 59) | (peek(r, BAR2 + 61) >> 4) << 8, 800);
}

static void text(void **state)
{
	static const uint8_t edge[16] = {0xff, 0x81, 0x81, [15] = 0x01};
	struct rig *r = *state;
	uint32_t empty;

	text_mode(r);
	glyph(r, 'A', edge);
	glyph(r, 0xc4, edge);
	empty = hash(draw(r));
	assert_int_equal(r->s.width, 720);
	assert_int_equal(r->s.height, 400);
	surface_clean(&r->s);
	/* At column 1 of row 2: white on blue. */
	wr32(r->t, 0xb8000 + 160 * 2, 0x1f410720);
	assert_int_not_equal(hash(draw(r)), empty);
	for (unsigned y = 0; y < 400; y++)
		assert_int_equal(r->s.dirty[y], y >= 32 && y < 48);
	assert_int_equal(pixel(r, 8, 32), 0);
	assert_int_equal(pixel(r, 9, 32), WHITE);
	assert_int_equal(pixel(r, 16, 32), WHITE);
	assert_int_equal(pixel(r, 17, 32), 0x0000aa); /* the ninth dot */
	assert_int_equal(pixel(r, 9, 33), WHITE);
	assert_int_equal(pixel(r, 10, 33), 0x0000aa);
	assert_int_equal(pixel(r, 9, 47), 0x0000aa);
	assert_int_equal(pixel(r, 16, 47), WHITE);
	/* Line graphics go on into the ninth dot. */
	wr32(r->t, 0xb8000 + 160 * 2, 0x1fc40720);
	draw(r);
	assert_int_equal(pixel(r, 17, 32), WHITE);
	assert_int_equal(pixel(r, 17, 35), 0x0000aa);
	/* Blinking text is lit; without blinking the bit is brightness. */
	wr32(r->t, 0xb8000 + 160 * 2, 0x9f410720);
	draw(r);
	assert_int_equal(pixel(r, 10, 34), 0x0000aa);
	inb(r->t, 0x3da);
	outb(r->t, 0x3c0, 0x30);
	outb(r->t, 0x3c0, 0x04);
	draw(r);
	assert_int_equal(pixel(r, 10, 34), 0x5555ff);
	assert_int_equal(hash(&r->s), 0x3ffd8d85);
}

static void cursor_and_scroll(void **state)
{
	struct rig *r = *state;

	text_mode(r);
	crtc(r, 0x0a, 13);
	crtc(r, 0x0b, 14);
	crtc(r, 0x0e, 0);
	crtc(r, 0x0f, 81);
	draw(r);
	assert_int_equal(pixel(r, 9, 16 + 12), 0);
	assert_int_equal(pixel(r, 9, 16 + 13), GREY);
	assert_int_equal(pixel(r, 17, 16 + 14), GREY);
	assert_int_equal(pixel(r, 9, 16 + 15), 0);
	assert_int_equal(pixel(r, 18, 16 + 13), 0);
	/* The start address moves everything up, but what is below the split. */
	crtc(r, 0x0d, 80);
	draw(r);
	assert_int_equal(pixel(r, 9, 13), GREY);
	wr32(r->t, 0xb8000, 0x4f204f20);
	crtc(r, 0x18, 199);
	crtc(r, 0x07, 0x0f);
	crtc(r, 0x09, 0x0f);
	draw(r);
	assert_int_equal(pixel(r, 0, 199), 0);
	assert_int_equal(pixel(r, 0, 200), 0xaa0000);
	/* Blank: black of the same size. */
	seq(r, 1, 0x20);
	draw(r);
	assert_int_equal(r->s.width, 720);
	assert_int_equal(pixel(r, 0, 200), 0);
}

static void att(struct rig *r, uint8_t i, uint8_t v)
{
	inb(r->t, 0x3da);
	outb(r->t, 0x3c0, i);
	outb(r->t, 0x3c0, v);
	outb(r->t, 0x3c0, 0x20);
}

/* graphics - timings of 640x480 (or 400 lines), attribute controller to graphics. */
static void graphics(struct rig *r, uint8_t mode, uint8_t scan, uint8_t underline)
{
	text_mode(r);
	planar(r);
	for (uint32_t a = 0; a < 256 * KiB; a += 8)
		mem_write(r->t->env.mem, GPA(BAR0 + a), 0, 8);
	att(r, 0x10, 0x01);
	seq(r, 1, 0x01);
	gc(r, 5, mode);
	crtc(r, 0x11, 0x0c);
	crtc(r, 0x09, scan);
	crtc(r, 0x14, underline);
	crtc(r, 0x0d, 0);
}

static void mode_12h(void **state)
{
	struct rig *r = *state;

	graphics(r, 0, 0x40, 0);
	crtc(r, 0x07, 0x3e);
	crtc(r, 0x12, 0xdf);
	crtc(r, 0x17, 0xe3);
	draw(r);
	assert_int_equal(r->s.width, 640);
	assert_int_equal(r->s.height, 480);
	/* Pixel (12, 3) light red, by planes. */
	gc(r, 8, 0x08);
	gc(r, 5, 0x02);
	peek(r, 0xa0000 + 3 * 80 + 1);
	poke(r, 0xa0000 + 3 * 80 + 1, 0x0c);
	gc(r, 5, 0);
	draw(r);
	assert_int_equal(pixel(r, 12, 3), 0xff5555);
	assert_int_equal(pixel(r, 13, 3), 0);
	assert_int_equal(pixel(r, 12, 4), 0);
}

static void mode_13h(void **state)
{
	struct rig *r = *state;

	graphics(r, 0x40, 0x41, 0x40);
	crtc(r, 0x17, 0xa3);
	seq(r, 4, 0x0e);
	outb(r->t, 0x3c8, 0xc8);
	outb(r->t, 0x3c9, 63);
	outb(r->t, 0x3c9, 32);
	outb(r->t, 0x3c9, 0);
	poke(r, 0xa0000 + 320 * 5 + 7, 0xc8);
	draw(r);
	assert_int_equal(r->s.width, 640);
	assert_int_equal(r->s.height, 400);
	for (unsigned y = 9; y < 13; y++)
		for (unsigned x = 13; x < 17; x++)
			assert_int_equal(pixel(r, x, y), x / 2 == 7 && y / 2 == 5 ? 0xff8200 : 0);
}

static void mode_4(void **state)
{
	struct rig *r = *state;

	/* CGA: two banks of rows, two bits a pixel, each twice as wide. */
	graphics(r, 0x30, 0xc1, 0);
	crtc(r, 0x01, 0x27);
	crtc(r, 0x13, 0x14);
	crtc(r, 0x17, 0xa2);
	seq(r, 1, 0x09);
	seq(r, 2, 0x03);
	seq(r, 4, 0x02);
	gc(r, 6, 0x0f);
	poke(r, 0xb8000, 0x1b); /* row 0: 0 1 2 3 */
	poke(r, 0xb8001, 0xe4); /* 3 2 1 0 */
	poke(r, 0xba000, 0xc0); /* row 1: 3 */
	poke(r, 0xb8050, 0x40); /* row 2: 1 */
	draw(r);
	assert_int_equal(r->s.width, 640);
	for (unsigned i = 0; i < 8; i++) {
		static const uint32_t want[4] = {0, 0x0000aa, 0x00aa00, 0x00aaaa};

		assert_int_equal(pixel(r, 2 * i, 0), want[i < 4 ? i : 7 - i]);
		assert_int_equal(pixel(r, 2 * i + 1, 1), want[i < 4 ? i : 7 - i]);
	}
	assert_int_equal(pixel(r, 0, 2), 0x00aaaa);
	assert_int_equal(pixel(r, 0, 4), 0x0000aa);
}

static void set_vbe(struct rig *r, uint16_t w, uint16_t h, uint16_t bpp)
{
	vbe(r, 4, 0);
	vbe(r, 1, w);
	vbe(r, 2, h);
	vbe(r, 3, bpp);
	vbe(r, 4, 0x41);
	inb(r->t, 0x3da);
	outb(r->t, 0x3c0, 0x20);
}

static void vbe_modes(void **state)
{
	struct rig *r = *state;

	assert_int_equal(vbe_get(r, 0), 0xb0c5);
	vbe(r, 0, 0xb0c2);
	assert_int_equal(vbe_get(r, 0), 0xb0c2);
	vbe(r, 0, 0x1234);
	assert_int_equal(vbe_get(r, 0), 0xb0c2);
	assert_int_equal(vbe_get(r, 10), VRAM >> 16);
	vbe(r, 4, 2);
	assert_true(vbe_get(r, 1) >= 1024 && vbe_get(r, 2) >= 768);
	assert_int_equal(vbe_get(r, 3), 32);

	wr32(r->t, BAR0 + 4, 0x12345678);
	set_vbe(r, 320, 200, 32);
	assert_int_equal(rd32(r->t, BAR0 + 4), 0); /* cleared */
	wr32(r->t, BAR0 + 320 * 4 * 7 + 4 * 9, 0x00123456);
	draw(r);
	assert_int_equal(r->s.width, 320);
	assert_int_equal(pixel(r, 9, 7), 0x123456);
	/* Panned; the window shows the same memory by banks; BAR 2 has the registers too. */
	vbe(r, 6, 640);
	vbe(r, 8, 2);
	mem_write(r->t->env.mem, GPA(BAR2 + 0x500 + 2 * 9), 1, 2);
	wr32(r->t, BAR0 + 640 * 4 * 4 + 4 * 5, 0x00abcdef);
	draw(r);
	assert_int_equal(pixel(r, 3, 3), 0xabcdef);
	gc(r, 6, 0x05);
	vbe(r, 5, 2);
	wr32(r->t, 0xa0008, 0xcafebabe);
	assert_int_equal(rd32(r->t, BAR0 + 0x20008), 0xcafebabe);
	/* 16, 15, 24 and 8 bits. */
	set_vbe(r, 320, 200, 16);
	wr32(r->t, BAR0, 0x07e0f800);
	draw(r);
	assert_int_equal(pixel(r, 0, 0), 0xff0000);
	assert_int_equal(pixel(r, 1, 0), 0x00ff00);
	set_vbe(r, 320, 200, 15);
	wr32(r->t, BAR0, 0x03e07c00);
	draw(r);
	assert_int_equal(pixel(r, 0, 0), 0xff0000);
	assert_int_equal(pixel(r, 1, 0), 0x00ff00);
	set_vbe(r, 320, 200, 24);
	wr32(r->t, BAR0 + 3, 0x00c0ffee);
	draw(r);
	assert_int_equal(pixel(r, 1, 0), 0xc0ffee);
	set_vbe(r, 320, 200, 8);
	vbe(r, 4, 0x61); /* 8-bit DAC */
	outb(r->t, 0x3c8, 7);
	outb(r->t, 0x3c9, 0x81);
	outb(r->t, 0x3c9, 0x42);
	outb(r->t, 0x3c9, 0xfe);
	wr32(r->t, BAR0, 7);
	draw(r);
	assert_int_equal(pixel(r, 0, 0), 0x8142fe);
}

static void vbe_limits(void **state)
{
	static const uint16_t odd[] = {0, 1, 7, 8, 1023, 8192, 0x8000, 0xffff};
	struct rig *r = *state;

	for (unsigned w = 0; w < ARRAY_SIZE(odd); w++)
		for (unsigned h = 0; h < ARRAY_SIZE(odd); h++)
			for (uint16_t bpp = 0; bpp < 40; bpp += 4) {
				set_vbe(r, odd[w], odd[h], bpp);
				vbe(r, 6, odd[h]);
				vbe(r, 8, odd[w]);
				vbe(r, 9, odd[w]);
				assert_true(vbe_get(r, 6) >= vbe_get(r, 1));
				assert_true((uint64_t)(vbe_get(r, 9) + vbe_get(r, 2)) *
						    vbe_get(r, 6) <=
					    VRAM * 2); /* at least half a byte a pixel */
			}
	set_vbe(r, 0xffff, 0xffff, 32);
	vbe(r, 9, 0xffff);
	draw(r);
	set_vbe(r, 0, 0, 4);
	draw(r);
}

/* Whatever a guest does to registers and memory, drawing stays inside. */
static void hostile(void **state)
{
	struct rig *r = *state;
	uint32_t seed = 1;

	for (unsigned i = 0; i < 30000; i++) {
		seed = seed * 1664525 + 1013904223;
		if (i % 7 == 0)
			vbe(r, seed >> 8 & 15, (uint16_t)(seed >> 16));
		else if (i % 5 == 0)
			mem_write(r->t->env.mem, GPA(0xa0000 + (seed >> 8 & 0x1ffff)), seed, 8);
		else if (i % 3 == 0)
			mem_read(r->t->env.mem, GPA(0xa0000 + (seed >> 8 & 0x1ffff)), 8);
		else
			outw(r->t, (uint16_t)(0x3b0 + (seed >> 8) % 0x30), (uint16_t)(seed >> 16));
		if (i % 1000 == 0)
			draw(r);
	}
}

static void saved(void **state)
{
	struct rig *r = *state;
	struct dev *d = r->t->env.devs;
	struct state_buf a = {0}, b = {0};
	struct err *e = NULL;
	size_t used;

	while (strcmp(d->ops->name, "VGA"))
		d = d->next;
	text_mode(r);
	set_vbe(r, 640, 400, 32);
	state_save(&a, d->ops->state, d);
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	assert_int_equal(vbe_get(r, 4), 0);
	assert_int_equal(state_load(d->ops->state, d, a.data, a.len, &used, &e), 0);
	state_save(&b, d->ops->state, d);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(vbe_get(r, 2), 400);
	for (size_t i = 0; i < a.len; i += 3) { /* damaged: loaded or refused, but drawn safely */
		a.data[i] ^= 0xff;
		if (state_load(d->ops->state, d, a.data, a.len, &used, &e))
			err_free(&e);
		else
			draw(r);
		a.data[i] ^= 0xff;
	}
	free(a.data);
	free(b.data);
}

static void one_adapter(void **state)
{
	static const struct vga_config cfg = {.vram_size = VRAM};
	struct rig *r = *state;
	struct pci_place place = {.bus = r->bus, .devfn = PCI_DEVFN(3, 0), .name = "x", .id = ""};
	struct err *e = NULL;

	assert_int_equal(vga_create(&place, &cfg, &e), -EBUSY);
	err_free(&e);
}

static void pictures(void **state)
{
	struct rig *r = *state;
	char path[64];
	uint8_t head[64] = {0};
	png_image im = {.version = PNG_IMAGE_VERSION};
	uint8_t *rgb = xcalloc(720 * 400, 3);
	struct err *e = NULL;
	FILE *f;

	text_mode(r);
	wr32(r->t, 0xb8000, 0x4f204f20);
	draw(r);
	snprintf(path, sizeof(path), "/tmp/doppel-test-vga-%d", (int)getpid());
	assert_int_equal(surface_write(&r->s, path, PICTURE_PPM, &e), 0);
	f = fopen(path, "rb");
	assert_int_equal(fread(head, 1, 18, f), 18);
	assert_memory_equal(head, "P6\n720 400\n255\n\xaa\0\0", 18);
	fseek(f, 0, SEEK_END);
	assert_int_equal(ftell(f), 15 + 720 * 400 * 3);
	fclose(f);
	assert_int_equal(surface_write(&r->s, path, PICTURE_PNG, &e), 0);
	assert_true(png_image_begin_read_from_file(&im, path));
	assert_int_equal(im.width, 720);
	assert_int_equal(im.height, 400);
	im.format = PNG_FORMAT_RGB;
	assert_true(png_image_finish_read(&im, NULL, rgb, 0, NULL));
	for (unsigned i = 0; i < 720 * 400; i++)
		assert_int_equal((uint32_t)rgb[3 * i] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i + 2],
				 r->s.pixels[i]);
	free(rgb);
	unlink(path);
	assert_int_equal(surface_write(&r->s, "/nonexistent/x", PICTURE_PNG, &e), -ENOENT);
	err_free(&e);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(surface_write(&r->s, path, PICTURE_PPM, &e), -ENXIO);
	err_free(&e);
	unlink(path);
	for (int i = PICTURE_PPM; i <= PICTURE_PNG; i++) {
		assert_int_equal(surface_write(&r->s, "/dev/full", (enum picture)i, &e), -ENOSPC);
		assert_non_null(strstr(err_msg(e), "No space"));
		err_free(&e);
		assert_int_equal(access("/dev/full", F_OK), 0);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(write_modes), T(read_mode_1), T(chained),    T(windows),	     T(registers),
		T(edid),	T(text),	T(mode_12h),   T(cursor_and_scroll), T(mode_13h),
		T(mode_4),	T(vbe_modes),	T(vbe_limits), T(hostile),	     T(saved),
		T(one_adapter), T(pictures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
