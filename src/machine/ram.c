/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/ram.h"
#include "base/base.h"

void ram_split(struct ram_layout *out, uint64_t size, uint64_t threshold, uint64_t low)
{
	out->below_4g = size >= threshold ? low : size;
	out->above_4g = size - out->below_4g;
}

uint64_t ram_pci_hole(const struct ram_layout *ram)
{
	return max_u64(align_up(ram->below_4g, 256 * MiB), 2 * GiB);
}

void e820_add(struct e820_map *m, uint64_t addr, uint64_t size, enum e820_type type)
{
	if (!size)
		return;
	bug_on(m->n == E820_MAX);
	m->e[m->n++] = (struct e820_entry){ addr, size, type };
}

void e820_build_direct(struct e820_map *m, const struct ram_layout *ram, uint64_t hole,
		       uint64_t hole_size)
{
	m->n = 0;
	e820_add(m, 0, min_u64(ram->below_4g, LOW_RAM_END), E820_RAM);
	e820_add(m, LOW_RAM_END, VGA_HOLE - LOW_RAM_END, E820_RESERVED);
	e820_add(m, FW_AREA, FW_AREA_END - FW_AREA, E820_RESERVED);
	if (ram->below_4g > FW_AREA_END)
		e820_add(m, FW_AREA_END, ram->below_4g - FW_AREA_END, E820_RAM);
	e820_add(m, hole, hole_size, E820_RESERVED);
	e820_add(m, 4 * GiB, ram->above_4g, E820_RAM);
}

void e820_build_firmware(struct e820_map *m, const struct ram_layout *ram)
{
	m->n = 0;
	e820_add(m, 0, ram->below_4g, E820_RAM);
	e820_add(m, 4 * GiB, ram->above_4g, E820_RAM);
}
