/* SPDX-License-Identifier: Apache-2.0 */
/* Device class VGA. */
#include <errno.h>

#include "base/err.h"
#include "dev/class.h"
#include "dev/display/vga_int.h"

#define ROM_FILE "vgabios-stdvga.bin"
#define EDID_MAX 4095 /* a detailed timing has 12 bits */

static int vga_check(const struct dev_opts *o, struct err **e)
{
	uint64_t mb = dev_opt_num(o, "vgamem_mb");

	if (!mb || !is_pow2(mb))
		return err_set(e, EINVAL, "'vgamem_mb' must be a power of two, 1 to 256");
	if (dev_opt_num(o, "xres") < 8 || dev_opt_num(o, "yres") < 8)
		return err_set(e, EINVAL, "'xres' and 'yres' must be at least 8");
	return 0;
}

static uint64_t vga_ram(const struct dev_opts *o)
{
	return dev_opt_num(o, "vgamem_mb") * MiB;
}

static int vga_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	const struct vga_config cfg = {
		.vram_size = vga_ram(o),
		.edid = dev_opt_num(o, "edid"),
		.xres = (unsigned)dev_opt_num(o, "xres"),
		.yres = (unsigned)dev_opt_num(o, "yres"),
	};
	struct pci_place place;
	int r = pci_place_get(&place, p, o, "VGA", e);

	if (!r)
		r = pci_place_rom(&place, o, ROM_FILE, e);
	if (!r)
		r = vga_create(&place, &cfg, e);
	pci_place_drop(&place);
	return r;
}

static const struct dev_prop vga_props[] = {
	{"vgamem_mb", "video memory in MiB", "16", PROP_UINT, 256},
	{"edid", "describe a monitor", "on", PROP_BOOL},
	{"xres", "width that the monitor prefers", "1280", PROP_UINT, EDID_MAX},
	{"yres", "height that the monitor prefers", "800", PROP_UINT, EDID_MAX},
	{0},
};

const struct dev_class vga_class = {
	.name = "VGA",
	.help = "VGA with Bochs VBE extensions (-vga std)",
	.bus = BUS_PCI,
	.category = "Display",
	.props = vga_props,
	.props_more = {pci_props},
	.check = vga_check,
	.create = vga_make,
	.ram = vga_ram,
};
