/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VGA registers (IBM VGA technical reference; IBM VGA/XGA technical reference 2).
 *
 *   0x3b4, 0x3b5 or 0x3d4, 0x3d5  CRT controller (by bit 0 of the miscellaneous output register)
 *   0x3ba or 0x3da  R: input status 1, makes 0x3c0 take an index   W: feature control
 *   0x3c0  W: attribute index, then data, in turns; R: index   0x3c1  R: attribute data
 *   0x3c2  W: miscellaneous output   R: input status 0         0x3c4, 0x3c5  sequencer
 *   0x3c6  DAC mask   0x3c7  W: DAC read index R: state   0x3c8  DAC write index   0x3c9  DAC data
 *   0x3ca  R: feature control   0x3cc  R: miscellaneous output   0x3ce, 0x3cf  graphics controller
 *
 * Registers 0-7 of the CRT controller are protected while bit 7 of 0x11 is set, but for the line
 * compare bit in 7.  Retrace is not timed: each read of input status 1 finds it changed.
 */
#include "dev/display/vga_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define PORTS 0x3b0
#define WINDOW 0xa0000
#define WINDOW_SIZE 0x20000
#define VRAM_MIN MiB
#define VRAM_MAX (256 * MiB)
#define ST1_RETRACE 0x08
#define ST1_DISPLAY_OFF 0x01
#define ATT_INDEX_MASK 0x3f

static uint8_t crtc_mask(unsigned index)
{
	return index == CRTC_CURSOR_START ? 0x3f : 0xff;
}

static void crtc_write(struct vga *v, uint8_t val)
{
	unsigned i = v->crtc_index;

	if (i >= CRTC_REGS)
		return;
	if (i <= CRTC_OVERFLOW && (v->crtc[CRTC_VSYNC_END] & 0x80)) {
		if (i == CRTC_OVERFLOW)
			v->crtc[i] = (uint8_t)((v->crtc[i] & ~0x10) | (val & 0x10));
		return;
	}
	v->crtc[i] = val & crtc_mask(i);
}

static void att_write(struct vga *v, uint8_t val)
{
	unsigned i = v->att_index & 0x1f;

	if (!v->att_data)
		v->att_index = val & ATT_INDEX_MASK;
	else if (i < 16)
		v->att[i] = val & 0x3f;
	else if (i < ATT_REGS)
		v->att[i] = val;
	v->att_data = !v->att_data;
}

static void dac_write(struct vga *v, uint8_t val)
{
	if (!(v->vbe[VBE_ENABLE] & VBE_8BIT_DAC))
		val &= 0x3f;
	v->dac_cache[v->dac_sub] = val;
	if (++v->dac_sub < 3)
		return;
	memcpy(v->dac + 3 * v->dac_write, v->dac_cache, 3);
	v->dac_sub = 0;
	v->dac_write++;
}

static uint8_t dac_read(struct vga *v)
{
	uint8_t val = v->dac[3 * v->dac_read + v->dac_sub];

	if (++v->dac_sub == 3) {
		v->dac_sub = 0;
		v->dac_read++;
	}
	return val;
}

/* Which of the two places of the CRT controller is decoded; the other reads ones. */
static bool wrong_half(const struct vga *v, unsigned port)
{
	return (port < 0x3c0 && (v->misc & MISC_COLOR)) ||
	       (port >= 0x3d0 && !(v->misc & MISC_COLOR));
}

static uint8_t status1(struct vga *v)
{
	v->att_data = false;
	v->retrace = !v->retrace;
	return v->retrace ? ST1_RETRACE | ST1_DISPLAY_OFF : 0;
}

static uint8_t crt_port_read(struct vga *v, unsigned port)
{
	switch (port & 0x0f) {
	case 0x04:
		return v->crtc_index;
	case 0x05:
		return v->crtc_index < CRTC_REGS ? v->crtc[v->crtc_index] : 0;
	case 0x0a:
		return status1(v);
	}
	return 0xff;
}

uint8_t vga_port_read(struct vga *v, unsigned port)
{
	if (wrong_half(v, port))
		return 0xff;
	switch (port) {
	case 0x3c0:
		return v->att_data ? 0 : v->att_index;
	case 0x3c1:
		return (v->att_index & 0x1f) < ATT_REGS ? v->att[v->att_index & 0x1f] : 0;
	case 0x3c2:
		return 0x10; /* switch sense: a colour monitor */
	case 0x3c4:
		return v->seq_index;
	case 0x3c5:
		return v->seq[v->seq_index];
	case 0x3c6:
		return v->dac_mask;
	case 0x3c7:
		return v->dac_state;
	case 0x3c8:
		return v->dac_write;
	case 0x3c9:
		return dac_read(v);
	case 0x3ca:
		return v->feature;
	case 0x3cc:
		return v->misc;
	case 0x3ce:
		return v->gc_index;
	case 0x3cf:
		return v->gc[v->gc_index];
	}
	return port < 0x3c0 || port >= 0x3d0 ? crt_port_read(v, port) : 0xff;
}

static void crt_port_write(struct vga *v, unsigned port, uint8_t val)
{
	switch (port & 0x0f) {
	case 0x04:
		v->crtc_index = val;
		break;
	case 0x05:
		crtc_write(v, val);
		break;
	case 0x0a:
		v->feature = val & 0x10;
		break;
	}
}

static void dac_index(struct vga *v, uint8_t *index, uint8_t val, uint8_t state)
{
	*index = val;
	v->dac_sub = 0;
	v->dac_state = state;
}

void vga_port_write(struct vga *v, unsigned port, uint8_t val)
{
	static const uint8_t seq_mask[SEQ_REGS] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
	static const uint8_t gc_mask[GC_REGS] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03,
						 0x7b, 0x0f, 0x0f, 0xff};

	if (wrong_half(v, port))
		return;
	switch (port) {
	case 0x3c0:
		att_write(v, val);
		break;
	case 0x3c2:
		v->misc = val & 0xef;
		break;
	case 0x3c4:
		v->seq_index = val & (SEQ_REGS - 1);
		break;
	case 0x3c5:
		v->seq[v->seq_index] = val & seq_mask[v->seq_index];
		break;
	case 0x3c6:
		v->dac_mask = val;
		break;
	case 0x3c7:
		dac_index(v, &v->dac_read, val, 3);
		break;
	case 0x3c8:
		dac_index(v, &v->dac_write, val, 0);
		break;
	case 0x3c9:
		dac_write(v, val);
		break;
	case 0x3ce:
		v->gc_index = val & (GC_REGS - 1);
		break;
	case 0x3cf:
		v->gc[v->gc_index] = val & gc_mask[v->gc_index];
		break;
	default:
		if (port < 0x3c0 || port >= 0x3d0)
			crt_port_write(v, port, val);
	}
}

static uint64_t ports_read(void *opaque, uint64_t off, unsigned size)
{
	return vga_port_read(opaque, PORTS + (unsigned)off);
}

static void ports_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	vga_port_write(opaque, PORTS + (unsigned)off, (uint8_t)val);
}

/* Wider accesses are made of bytes: an index and its data by one word is what drivers do. */
static const struct io_ops ports_ops = {
	.read = ports_read,
	.write = ports_write,
	.min = 1,
	.max = 1,
};

static void vga_reset(struct dev *d)
{
	struct vga *v = container_of(d, struct vga, pci.dev);

	pci_dev_reset(&v->pci);
	v->misc = v->feature = 0;
	v->seq_index = v->gc_index = v->crtc_index = v->att_index = 0;
	v->att_data = v->retrace = false;
	memset(v->seq, 0, sizeof(v->seq));
	memset(v->gc, 0, sizeof(v->gc));
	memset(v->crtc, 0, sizeof(v->crtc));
	memset(v->att, 0, sizeof(v->att));
	memset(v->dac, 0, sizeof(v->dac));
	v->dac_mask = 0xff;
	v->dac_state = v->dac_read = v->dac_write = v->dac_sub = 0;
	v->latch = 0;
	vga_vbe_reset(v);
}

static void vga_unrealize(struct dev *d)
{
	struct vga *v = container_of(d, struct vga, pci.dev);

	display_remove(&d->env->displays, &v->display);
	pio_unmap(d->env->mem, v->ports_map);
	pio_unmap(d->env->mem, v->vbe_map);
	mem_unmap(d->env->mem, v->window_map);
	pci_dev_fini(&v->pci);
	free(v);
}

static int vga_post_load(void *obj, struct err **e)
{
	struct vga *v = obj;

	v->seq_index &= SEQ_REGS - 1;
	v->gc_index &= GC_REGS - 1;
	if (v->dac_sub > 2)
		return err_set(e, EINVAL, "VGA: DAC register %u of 3", v->dac_sub);
	v->vbe[VBE_BANK] &= (uint16_t)((v->vram_size >> 16) - 1);
	vga_vbe_fixup(v);
	return 0;
}

static const struct state_field vga_fields[] = {
	PCI_DEV_STATE(struct vga, pci),
	STATE_FIELD(struct vga, misc, STATE_U8),
	STATE_FIELD(struct vga, feature, STATE_U8),
	STATE_FIELD(struct vga, seq_index, STATE_U8),
	STATE_BLOB(struct vga, seq),
	STATE_FIELD(struct vga, gc_index, STATE_U8),
	STATE_BLOB(struct vga, gc),
	STATE_FIELD(struct vga, crtc_index, STATE_U8),
	STATE_BLOB(struct vga, crtc),
	STATE_FIELD(struct vga, att_index, STATE_U8),
	STATE_BLOB(struct vga, att),
	STATE_FIELD(struct vga, att_data, STATE_BOOL),
	STATE_FIELD(struct vga, dac_mask, STATE_U8),
	STATE_FIELD(struct vga, dac_state, STATE_U8),
	STATE_FIELD(struct vga, dac_read, STATE_U8),
	STATE_FIELD(struct vga, dac_write, STATE_U8),
	STATE_FIELD(struct vga, dac_sub, STATE_U8),
	STATE_BLOB(struct vga, dac_cache),
	STATE_BLOB(struct vga, dac),
	STATE_FIELD(struct vga, latch, STATE_U32),
	STATE_FIELD(struct vga, retrace, STATE_BOOL),
	STATE_FIELD(struct vga, vbe_index, STATE_U16),
	STATE_ARRAY(struct vga, vbe, STATE_U16),
	STATE_END,
};

static const struct state_desc vga_state = {
	.name = "vga",
	.version = 1,
	.fields = vga_fields,
	.post_load = vga_post_load,
};

static const struct pci_dev_ops vga_ops = {
	.dev = {.name = "VGA",
		.unrealize = vga_unrealize,
		.reset = vga_reset,
		.quiesce = dev_quiesce_none,
		.state = &vga_state},
};

static const struct pci_id vga_id = {
	.vendor = 0x1234,
	.device = 0x1111,
	.class = 0x0300,
	.revision = 2,
	.subvendor = 0x1af4,
	.subdevice = 0x1100,
};

static const struct display_ops vga_display_ops = {.draw = vga_draw, .text_mode = vga_text_mode};

static struct io_region region(struct vga *v, const char *name, const struct io_ops *ops,
			       uint64_t size)
{
	return (struct io_region){
		.name = name, .ops = ops, .opaque = v, .lock = v->pci.dev.env->lock, .size = size};
}

static void add_bars(struct vga *v, const struct vga_config *cfg)
{
	struct mem *mem = v->pci.dev.env->mem;

	v->vram_size = cfg->vram_size;
	v->vram_off = mem_ram_alloc(mem, v->vram_size);
	v->vram = (uint32_t *)(mem_ram_base(mem) + v->vram_off);
	v->mmio_io = region(v, "vga-mmio", &vga_mmio_ops, 4 * KiB);
	pci_dev_bar_ram(&v->pci, 0, PCI_BAR_PREFETCH, v->vram_off, v->vram_size);
	pci_dev_bar(&v->pci, 2, 0, &v->mmio_io);
}

int vga_create(struct pci_place *place, const struct vga_config *cfg, struct err **e)
{
	struct dev_env *env = pci_bus_env(place->bus);
	struct vga *v;

	bug_on(!is_pow2(cfg->vram_size) || cfg->vram_size < VRAM_MIN || cfg->vram_size > VRAM_MAX);
	if (pio_user(env->mem, PORTS, 0x30))
		return err_set(e, EBUSY, "there is a VGA adapter already");
	if (mem_ram_left(env->mem) < cfg->vram_size)
		return err_set(e, ENOMEM,
			       "no memory was set aside for its frame buffer: it must be "
			       "there from the start");
	v = xzalloc(sizeof(*v));
	pci_dev_init_at(&v->pci, place, &vga_id, &vga_ops);
	add_bars(v, cfg);
	if (cfg->edid)
		vga_edid_fill(v->edid, cfg->xres, cfg->yres);
	v->ports_io = region(v, "vga", &ports_ops, 0x30);
	v->vbe_io = region(v, "vbe", &vga_vbe_ops, 3);
	v->window_io = region(v, "vga-window", &vga_window_ops, WINDOW_SIZE);
	v->ports_map = pio_map(env->mem, PORTS, &v->ports_io, 0);
	v->vbe_map = pio_map(env->mem, 0x1ce, &v->vbe_io, 0);
	v->window_map = mem_map_io(env->mem, GPA(WINDOW), &v->window_io, 0);
	v->display = (struct display){.ops = &vga_display_ops, .opaque = v, .id = place->id};
	display_add(&env->displays, &v->display);
	pci_dev_ready(&v->pci);
	vga_reset(&v->pci.dev);
	return 0;
}
