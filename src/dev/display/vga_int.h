/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Inside the VGA adapter.
 *
 * Memory: the first 256 KiB of video RAM are four planes of 64 KiB, byte n of plane p at 4n + p, so
 * that the four bytes a processor latches or a shifter loads are one 32-bit word.  With a Bochs VBE
 * mode of 8 bits a pixel or more, all video RAM is the linear frame buffer that PCI BAR 0 shows.
 */
#include "back/display/display.h"
#include "dev/display/vga.h"
#include "dev/pci/pci.h"

#define VGA_PLANE_SIZE 0x10000u

/* Sequencer, by index at port 0x3c4. */
enum { SEQ_RESET, SEQ_CLOCK, SEQ_MAP_MASK, SEQ_FONT, SEQ_MEM_MODE, SEQ_REGS = 8 };
#define SEQ_CLOCK_DOT8 0x01
#define SEQ_CLOCK_HALF 0x08
#define SEQ_CLOCK_OFF 0x20
#define SEQ_MEM_NO_ODD_EVEN 0x04
#define SEQ_MEM_CHAIN4 0x08

/* Graphics controller, 0x3ce. */
enum {
	GC_SET_RESET,
	GC_ENABLE_SR,
	GC_COMPARE,
	GC_ROTATE,
	GC_READ_MAP,
	GC_MODE,
	GC_MISC,
	GC_DONT_CARE,
	GC_BIT_MASK,
	GC_REGS = 16
};
#define GC_MODE_READ1 0x08
#define GC_MODE_ODD_EVEN 0x10
#define GC_MODE_SHIFT_PAIRS 0x20
#define GC_MODE_SHIFT_256 0x40

/* CRT controller, 0x3b4 or 0x3d4. */
enum {
	CRTC_HDISP_END = 0x01,
	CRTC_OVERFLOW = 0x07,
	CRTC_MAX_SCAN = 0x09,
	CRTC_CURSOR_START = 0x0a,
	CRTC_CURSOR_END = 0x0b,
	CRTC_START_HI = 0x0c,
	CRTC_START_LO = 0x0d,
	CRTC_CURSOR_HI = 0x0e,
	CRTC_CURSOR_LO = 0x0f,
	CRTC_VSYNC_END = 0x11,
	CRTC_VDISP_END = 0x12,
	CRTC_OFFSET = 0x13,
	CRTC_UNDERLINE = 0x14,
	CRTC_MODE = 0x17,
	CRTC_LINE_COMPARE = 0x18,
	CRTC_REGS = 0x19
};
#define CRTC_UNDERLINE_DWORD 0x40
#define CRTC_MODE_BYTE 0x40

/* Attribute controller, 0x3c0. */
enum { ATT_MODE = 0x10, ATT_OVERSCAN, ATT_PLANE_ENABLE, ATT_PAN, ATT_COLOR_SELECT, ATT_REGS = 21 };
#define ATT_INDEX_SHOW 0x20
#define ATT_MODE_GRAPHICS 0x01
#define ATT_MODE_LINE9 0x04
#define ATT_MODE_BLINK 0x08
#define ATT_MODE_P54S 0x80

#define MISC_COLOR 0x01 /* CRTC at 0x3d4, not 0x3b4 */

/* Bochs VBE, ports 0x1ce and 0x1cf. */
enum {
	VBE_ID,
	VBE_XRES,
	VBE_YRES,
	VBE_BPP,
	VBE_ENABLE,
	VBE_BANK,
	VBE_VIRT_WIDTH,
	VBE_VIRT_HEIGHT,
	VBE_X_OFFSET,
	VBE_Y_OFFSET,
	VBE_MEMORY,
	VBE_REGS
};
#define VBE_ENABLED 0x01
#define VBE_GETCAPS 0x02
#define VBE_8BIT_DAC 0x20
#define VBE_LFB 0x40
#define VBE_NOCLEAR 0x80

struct vga {
	struct pci_dev pci;
	struct display display;

	uint8_t misc, feature;
	uint8_t seq_index, seq[SEQ_REGS];
	uint8_t gc_index, gc[GC_REGS];
	uint8_t crtc_index, crtc[CRTC_REGS];
	uint8_t att_index, att[ATT_REGS];
	bool att_data; /* the next write to 0x3c0 is data */
	uint8_t dac_mask, dac_state, dac_read, dac_write, dac_sub;
	uint8_t dac_cache[3];
	uint8_t dac[768]; /* red, green, blue of each of 256 */
	uint32_t latch;
	bool retrace; /* as last read from input status 1 */
	uint16_t vbe_index, vbe[VBE_REGS];

	uint32_t *vram; /* in guest RAM */
	uint64_t vram_off, vram_size;
	uint8_t edid[128];
	struct io_region ports_io, vbe_io, window_io, mmio_io;
	struct mem_map *ports_map, *vbe_map, *window_map;
};

/* vga.c: one byte at ports 0x3b0-0x3df. */
uint8_t vga_port_read(struct vga *v, unsigned port);
void vga_port_write(struct vga *v, unsigned port, uint8_t val);

/* vga_mem.c: the window at 0xa0000. */
extern const struct io_ops vga_window_ops;

/* vga_vbe.c */
extern const struct io_ops vga_vbe_ops, vga_mmio_ops;
void vga_vbe_reset(struct vga *v);
/* vga_vbe_fixup - make loaded registers agree with each other. */
void vga_vbe_fixup(struct vga *v);
static inline bool vga_vbe_on(const struct vga *v)
{
	return v->vbe[VBE_ENABLE] & VBE_ENABLED;
}

/* vga_vbe_linear - video RAM is a frame buffer of pixels, not planes. */
static inline bool vga_vbe_linear(const struct vga *v)
{
	return vga_vbe_on(v) && v->vbe[VBE_BPP] > 4;
}

/* vga_vbe_pitch - bytes of a row. */
uint32_t vga_vbe_pitch(const struct vga *v);

/* vga_edid.c: the monitor that is described to the guest. */
void vga_edid_fill(uint8_t edid[static 128], unsigned width, unsigned height);

/* vga_draw.c */
void vga_draw(void *opaque, struct surface *s);

/* vga_text.c */
void vga_text_mode(void *opaque);
