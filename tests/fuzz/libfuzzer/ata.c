/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the driver of an IDE or AHCI controller with a disk and a CD-ROM drive.  The first
 * says which controller; then operations follow (enum op, in the low three bits of a byte, the rest
 * of which is a parameter): accesses to registers and configuration space, bytes into memory,
 * commands as a driver makes them, with any fields and scatter lists, time, media that change,
 * saving and loading.
 *
 * The input ends all the same: the machine is destroyed with what is in flight, and the sanitizers
 * see whether it touched what it must not.  RAM is two pieces with nothing, or registers, around
 * them.
 */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "../../unit/apics_none.h"
#include "dev/ata/ata.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/pci/pci.h"
#include "dev/registry.h"
#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ABAR 0x80000000u
#define BM 0xc000
#define DEVFN PCI_DEVFN(3, 0)
#define CLB(p) (0x1000u + 0x400u * (p))
#define FB(p) (0x2000u + 0x100u * (p))
#define TABLE(s) (0x4000u + 0x400u * (s))
#define PRDS 0x3000u

enum op { OP_WRITE, OP_READ, OP_POKE, OP_COMMAND, OP_DATA, OP_START, OP_TIME, OP_OTHER };

struct fuzzed {
	struct machine m;
	bool intr;
	struct blocks *bs;
	struct block *drive[2];
	struct pci_bus *bus;
	bool ahci;
};

static struct block *get_drive(void *opaque, const char *id)
{
	return ((struct fuzzed *)opaque)->drive[*id == 'c'];
}

static void make(struct fuzzed *f, const char *driver, const char *props)
{
	const struct dev_slots s = {
		.env = &f->m.env,
		.backends = {.drive = get_drive, .opaque = f},
	};

	must(dev_create(&s, driver, props, NULL));
}

static void open_drives(struct fuzzed *f)
{
	f->bs = blocks_create(f->m.env.log);
	must(block_open_drive(&f->drive[0], f->bs, "if=none,id=d,driver=null-co,size=1M", NULL));
	must(block_open_drive(&f->drive[1], f->bs,
			      "if=none,id=c,driver=null-co,size=1M,media=cdrom", NULL));
}

static void env_open(struct fuzzed *f)
{
	machine_open(&f->m);
	open_drives(f);
}

static void env_close(struct fuzzed *f)
{
	machine_unplug(&f->m);
	blocks_destroy(f->bs);
	machine_close(&f->m);
}

static void make_ide(struct fuzzed *f)
{
	const struct irq_line none = {.set = no_wire};
	struct apics *apics = apics_create(&f->m.env, 1, &apics_none_ops, &f->intr);
	struct gsi *gsi =
		gsi_create(&f->m.env, pic_create(&f->m.env, none), ioapic_create(&f->m.env, apics));

	piix_ide_create(f->bus, DEVFN, gsi);
	make(f, "ide-hd", "drive=d,bus=ide.0,unit=0");
	make(f, "ide-cd", "drive=c,bus=ide.0,unit=1");
	pci_config_write(f->bus, DEVFN, 0x20, BM, 4);
}

static void make_ahci(struct fuzzed *f)
{
	ahci_create(f->bus, DEVFN, 2, "ahci");
	make(f, "ide-hd", "drive=d,bus=ide.0");
	make(f, "ide-cd", "drive=c,bus=ide.1");
	pci_config_write(f->bus, DEVFN, 0x24, ABAR, 4);
}

static void w32(struct fuzzed *f, uint64_t off, uint32_t v)
{
	mem_write(f->m.env.mem, GPA(ABAR + off), v, 4);
}

static void port_start(struct fuzzed *f, unsigned p)
{
	uint64_t at = 0x100 + 0x80 * p;

	w32(f, 0x04, 2);
	w32(f, at + 0x18, 0);
	w32(f, at + 0x00, CLB(p));
	w32(f, at + 0x04, 0);
	w32(f, at + 0x08, FB(p));
	w32(f, at + 0x0c, 0);
	w32(f, at + 0x30, ~0u);
	w32(f, at + 0x10, ~0u);
	w32(f, at + 0x14, ~0u);
	w32(f, at + 0x18, 0x11);
}

static uint16_t ide_port(uint16_t off)
{
	return off & 0x10 ? (uint16_t)(BM + (off & 15)) : off & 8 ? 0x3f6 : 0x1f0 + (off & 7);
}

static void reg(struct fuzzed *f, uint16_t off, uint32_t val, unsigned size, bool write)
{
	struct mem *m = f->m.env.mem;

	size = size > 4 ? 4 : size;
	if (off & 0x8000) {
		off &= (uint16_t)(0x100 - size);
		lock_take(&f->m.lock);
		if (write)
			pci_config_write(f->bus, DEVFN, off, val, size);
		else
			(void)pci_config_read(f->bus, DEVFN, off, size);
		lock_drop(&f->m.lock);
	} else if (f->ahci) {
		if (write)
			mem_write(m, GPA(ABAR + off % 0x200), val, size);
		else
			(void)mem_read(m, GPA(ABAR + off % 0x200), size);
	} else if (write) {
		pio_write(m, ide_port(off), val, size);
	} else {
		(void)pio_read(m, ide_port(off), size);
	}
}

/* address - of data: in RAM, at its ends, or anywhere. */
static uint64_t address(struct input *in)
{
	uint64_t v = take(in, 4);

	switch (v >> 29 & 7) {
	case 0:
		return v << 8;
	case 1:
		return RAM_LOW - (v & 0xfff);
	case 2:
		return HIGH_AT + RAM_HIGH - (v & 0xfff);
	case 3:
		return ABAR + (v & 0xfff);
	default:
		return v % RAM_LOW;
	}
}

/* ahci_command - a FIS, n entries and a packet, in a slot; it is issued with others later, or now.
 */
static void ahci_command(struct fuzzed *f, struct input *in, unsigned n, bool now)
{
	struct mem *m = f->m.env.mem;
	unsigned slot = (unsigned)take(in, 1) % 32, p = slot & 1;
	uint8_t fis[0x50] = {0x27, 0x80};

	for (unsigned i = 2; i < 14; i++)
		fis[i] = (uint8_t)take(in, 1);
	if (fis[2] == 0x60 || fis[2] == 0x61)
		fis[12] = (uint8_t)(slot << 3);
	for (unsigned i = 0; fis[2] == 0xa0 && i < 12; i++)
		fis[0x40 + i] = (uint8_t)take(in, 1);
	mem_dma_write(m, GPA(TABLE(slot)), fis, sizeof(fis));
	for (unsigned i = 0; i < n; i++) {
		mem_write(m, GPA(TABLE(slot) + 0x80 + 16 * i), address(in), 8);
		mem_write(m, GPA(TABLE(slot) + 0x8c + 16 * i), take(in, 2), 4);
	}
	mem_write(m, GPA(CLB(p) + 32 * slot), (uint64_t)n << 16 | 5, 8);
	mem_write(m, GPA(CLB(p) + 32 * slot + 8), TABLE(slot), 8);
	if (fis[2] == 0x60 || fis[2] == 0x61)
		w32(f, 0x134 + 0x80 * p, 1u << slot);
	if (now)
		w32(f, 0x138 + 0x80 * p, 1u << slot);
}

static void ide_command(struct fuzzed *f, struct input *in, unsigned n, bool now)
{
	struct mem *m = f->m.env.mem;
	uint8_t command;

	for (unsigned i = 1; i < 7; i++)
		pio_write(m, (uint16_t)(0x1f0 + i), (uint32_t)take(in, 1), 1);
	command = (uint8_t)take(in, 1);
	pio_write(m, 0x1f7, command, 1);
	for (unsigned i = 0; command == 0xa0 && i < 3; i++)
		pio_write(m, 0x1f0, (uint32_t)take(in, 4), 4);
	for (unsigned i = 0; i < n; i++) {
		mem_write(m, GPA(PRDS + 8 * i), address(in), 4);
		mem_write(m, GPA(PRDS + 8 * i + 4), take(in, 2) | (i + 1 == n ? 1u << 31 : 0), 4);
	}
	pio_write(m, BM + 4, PRDS, 4);
	if (now)
		pio_write(m, BM, 9, 1);
}

static void data(struct fuzzed *f, struct input *in, unsigned n)
{
	for (unsigned i = 0; i < 64 * n; i++)
		if (n & 1)
			(void)pio_read(f->m.env.mem, 0x1f0, 4);
		else
			pio_write(f->m.env.mem, 0x1f0, i, 4);
}

static void save_and_load(struct fuzzed *f, struct input *in, bool damage)
{
	struct state_buf b = {0};
	size_t at = 0, used;

	lock_take(&f->m.lock);
	for (struct dev *d = f->m.env.devs; d; d = d->next)
		d->ops->quiesce(d);
	for (struct dev *d = f->m.env.devs; d; d = d->next)
		state_save(&b, d->ops->state, d);
	for (unsigned i = 0; damage && i < 4; i++)
		b.data[take(in, 3) % b.len] = (uint8_t)take(in, 1);
	for (struct dev *d = f->m.env.devs; d; d = d->next) {
		struct err *e = NULL;

		if (state_load(d->ops->state, d, b.data + at, b.len - at, &used, &e)) {
			err_free(&e);
			break;
		}
		at += used;
	}
	lock_drop(&f->m.lock);
	free(b.data);
}

static void other(struct fuzzed *f, struct input *in, unsigned what)
{
	switch (what) {
	case 0:
	case 1:
		save_and_load(f, in, what);
		return;
	case 2:
		lock_take(&f->m.lock);
		dev_reset_all(&f->m.env);
		pci_config_write(f->bus, DEVFN, 4, 7, 2);
		pci_config_write(f->bus, DEVFN, 0x20, BM, 4);
		pci_config_write(f->bus, DEVFN, 0x24, ABAR, 4);
		lock_drop(&f->m.lock);
		return;
	case 3:
		lock_take(&f->m.lock);
		block_drain(f->drive[0]);
		block_drain(f->drive[1]);
		(void)block_eject(f->drive[1], take(in, 1) & 1, NULL);
		lock_drop(&f->m.lock);
		return;
	}
}

static void step(struct fuzzed *f, struct input *in)
{
	unsigned op = (unsigned)take(in, 1), arg = op >> 3;
	uint16_t off;

	switch ((enum op)(op & 7)) {
	case OP_WRITE:
	case OP_READ:
		off = (uint16_t)take(in, 2);
		reg(f, off, (op & 7) == OP_WRITE ? (uint32_t)take(in, 4) : 0, 1u << (arg & 3),
		    (op & 7) == OP_WRITE);
		break;
	case OP_POKE:
		mem_write(f->m.env.mem, GPA(address(in)), take(in, 8), 8);
		break;
	case OP_COMMAND:
		if (f->ahci)
			ahci_command(f, in, arg & 15, arg & 16);
		else
			ide_command(f, in, arg & 15, arg & 16);
		break;
	case OP_DATA:
		if (f->ahci)
			w32(f, 0x138 + 0x80 * (arg & 1), (uint32_t)take(in, 4));
		else
			data(f, in, arg);
		break;
	case OP_START:
		if (f->ahci)
			port_start(f, arg & 1);
		else
			pio_write(f->m.env.mem, BM, arg & 1 ? 9 : 0, 1);
		break;
	case OP_TIME:
		vclock_advance(f->m.env.clock, 1000000);
		loop_once(f->m.env.loop, 0);
		lock_take(&f->m.lock);
		for (unsigned i = 0; i < 2; i++)
			block_drain(f->drive[i]);
		lock_drop(&f->m.lock);
		break;
	case OP_OTHER:
		other(f, in, arg & 3);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct input in = {bytes, bytes + size};
	struct fuzzed f = {0};

	if (size < 2)
		return 0;
	f.ahci = take(&in, 1) & 1;
	env_open(&f);
	lock_take(&f.m.lock);
	f.bus = pci_bus_create(&f.m.env, "pci.0", false, no_map_irq, no_pirq, &f);
	if (f.ahci)
		make_ahci(&f);
	else
		make_ide(&f);
	pci_config_write(f.bus, DEVFN, 4, 7, 2);
	lock_drop(&f.m.lock);
	for (unsigned n = 0; in.p < in.end && n < 1000; n++)
		step(&f, &in);
	env_close(&f);
	return 0;
}
