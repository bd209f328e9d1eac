/* SPDX-License-Identifier: Apache-2.0 */
/* Shadow RAM, see pam.h. */
#include "dev/pci/pam.h"

#include <string.h>

#include "dev/pci/pci.h"
#include "mem/page.h"

#define PAM_PRIO 1
#define PAM_READ 1
#define PAM_WRITE 2
#define NO_ROM UINT64_MAX
#define SMRAM_D_OPEN 0x40
#define SMRAM_D_CLS 0x20
#define SMRAM_D_LCK 0x10
#define SMRAM_G_SMRAME 0x08
#define SMRAM_C_BASE 0x02 /* the only value: 0xa0000 */

/* Only-writes-go-to-RAM mode: reads are of what lies below. */
static uint64_t below_read(void *opaque, uint64_t off, unsigned size)
{
	return ~UINT64_C(0);
}

static void shadow_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pam_segment *s = opaque;
	struct mem *mem = s->pam->env->mem;
	uint64_t ram = s->pam->ram_off + s->base + off;

	memcpy(mem_ram_base(mem) + ram, &val, size);
	mem_written(mem, ram, size);
}

static const struct io_ops shadow_ops = {
	.read = below_read, .write = shadow_write, .min = 1, .max = 8, .unaligned = true,
};

/* rom_below - RAM offset of the ROM that covers the whole segment, or NO_ROM. */
static uint64_t rom_below(struct pam_segment *s)
{
	struct mem_range r;

	mem_lookup(s->pam->env->mem, GPA(s->base), &r);
	if (r.kind != MEM_ROM || !range_fits(s->base - r.base, s->size, r.size))
		return NO_ROM;
	return r.ram_off + (s->base - r.base);
}

static void segment_set(struct pam_segment *s, uint8_t mode)
{
	struct mem *mem = s->pam->env->mem;
	uint64_t ram = s->pam->ram_off + s->base;

	if (mode == s->mode)
		return;
	s->mode = mode;
	if (s->map)
		mem_unmap(mem, s->map);
	s->map = NULL;
	if (mode == (PAM_READ | PAM_WRITE))
		s->map = mem_map_ram(mem, GPA(s->base), s->size, ram, PAM_PRIO);
	else if (mode == PAM_READ)
		s->map = mem_map_rom(mem, GPA(s->base), s->size, ram, NULL, PAM_PRIO);
	else if (mode == PAM_WRITE && s->rom_off != NO_ROM)
		s->map = mem_map_rom(mem, GPA(s->base), s->size, s->rom_off, &s->io, PAM_PRIO);
	else if (mode == PAM_WRITE)
		s->map = mem_map_io(mem, GPA(s->base), &s->io, PAM_PRIO);
}

/* reg_mode - of segment i: segment 0 is the high half of byte 0, the others go up from byte 1
 * low. */
static uint8_t reg_mode(const uint8_t regs[7], unsigned i)
{
	uint8_t reg = regs[(i + 1) / 2];

	return (i & 1 ? reg : reg >> 4) & 3;
}

void pam_update(struct pam *p, const uint8_t regs[7])
{
	struct mem *mem = p->env->mem;

	/* What lies below can be seen while the segment is not mapped. */
	for (unsigned i = 0; i < PAM_SEGMENTS; i++)
		if (!p->seg[i].map)
			p->seg[i].rom_off = rom_below(&p->seg[i]);
	mem_begin(mem);
	for (unsigned i = 0; i < PAM_SEGMENTS; i++)
		segment_set(&p->seg[i], reg_mode(regs, i));
	mem_commit(mem);
}

void pam_init(struct pam *p, struct dev_env *env, const struct pam_config *cfg)
{
	p->env = env;
	p->ram_off = cfg->ram_off;
	for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
		struct pam_segment *s = &p->seg[i];

		s->pam = p;
		s->base = i ? 0xc0000 + (i - 1) * 0x4000 : 0xf0000;
		s->size = i ? 0x4000 : 0x10000;
		s->rom_off = NO_ROM;
		s->io = (struct io_region){ .name = "shadow-write", .ops = &shadow_ops,
			.opaque = s, .lock = env->lock, .size = s->size };
	}
}

void pam_fini(struct pam *p)
{
	for (unsigned i = 0; i < PAM_SEGMENTS; i++)
		if (p->seg[i].map)
			mem_unmap(p->env->mem, p->seg[i].map);
}

void smram_init(struct pci_dev *d, unsigned reg)
{
	d->config[reg] = SMRAM_C_BASE;
	d->live[reg] = SMRAM_D_OPEN | SMRAM_D_CLS | SMRAM_D_LCK | SMRAM_G_SMRAME;
	smram_update(d, reg);
}

void smram_update(struct pci_dev *d, unsigned reg)
{
	d->wmask[reg] = d->live[reg];
	if (d->config[reg] & SMRAM_D_LCK) {
		d->config[reg] &= (uint8_t)~SMRAM_D_OPEN;
		d->wmask[reg] = SMRAM_D_CLS;
	}
}
