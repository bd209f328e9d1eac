/* SPDX-License-Identifier: Apache-2.0 */
/* PCI functions made by -device: what all of them can be told, and their option ROMs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "dev/class.h"
#include "dev/pci/pci.h"
#include "dev/pci/pci_int.h"

#define ROM_MIN (2 * KiB)
#define ROM_MAX (16 * MiB) /* PCI 3.0 6.2.5.2 */

struct pci_rom {
	struct io_region io;
	uint8_t data[]; /* io.size bytes */
};

const struct dev_prop pci_props[] = {
	{"multifunction", "more functions may share the slot", "off", PROP_BOOL, 0, NULL},
	{"romfile", "file with an option ROM", NULL, PROP_STR, 0, NULL},
	{"rombar", "0: show the guest no option ROM", "1", PROP_UINT, UINT32_MAX, NULL},
	{0},
};

static uint64_t rom_read(void *opaque, uint64_t off, unsigned size)
{
	struct pci_rom *rom = opaque;
	uint64_t val = 0;

	if (range_fits(off, size, rom->io.size))
		memcpy(&val, rom->data + off, size);
	return val;
}

static void rom_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
}

static const struct io_ops rom_ops = {
	.read = rom_read,
	.write = rom_write,
	.min = 1,
	.max = 8,
};

static int fill(struct pci_rom *rom, int fd, uint64_t len, const char *path, struct err **e)
{
	for (uint64_t at = 0; at < len;) {
		ssize_t n = pread(fd, rom->data + at, len - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e, n ? errno : EIO, "romfile '%s' cannot be read: %s", path,
				       n ? strerror(errno) : "it became shorter");
		at += (uint64_t)n;
	}
	return 0;
}

static int load(struct pci_rom **out, int fd, const char *path, struct err **e)
{
	uint64_t size = ROM_MIN;
	struct pci_rom *rom;
	struct stat st;
	int rc;

	if (fstat(fd, &st))
		return err_set(e, errno, "romfile '%s': %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !st.st_size || (uint64_t)st.st_size > ROM_MAX)
		return err_set(e, EINVAL, "romfile '%s' is not a file of 1 byte to 16 MiB", path);
	while (size < (uint64_t)st.st_size)
		size *= 2;
	rom = xzalloc(sizeof(*rom) + size);
	rom->io = (struct io_region){
		.name = "option-rom", .ops = &rom_ops, .opaque = rom, .size = size};
	memset(rom->data, 0xff, size);
	rc = fill(rom, fd, (uint64_t)st.st_size, path, e);
	if (rc)
		free(rom);
	else
		*out = rom;
	return rc;
}

static int rom_load(struct pci_rom **out, const struct dev_env *env, const char *name,
		    struct err **e)
{
	char *path = env->firmware_file ? env->firmware_file(env->opaque, name) : xstrdup(name);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1, rc;

	if (!path)
		rc = err_set(e, ENOENT, "romfile '%s' is nowhere (see -L)", name);
	else if (fd < 0)
		rc = err_set(e, errno, "romfile '%s' cannot be opened: %s", path, strerror(errno));
	else
		rc = load(out, fd, path, e);
	if (fd >= 0)
		close(fd);
	free(path);
	return rc;
}

/* Function 0 tells whether there are others: it must say so (PCI 3.0 6.2.1). */
static int functions_fit(const struct pci_place *pl, struct err **e)
{
	const struct pci_bus *b = pl->bus;
	unsigned slot = PCI_SLOT(pl->devfn);
	const struct pci_dev *first = b->devs[PCI_DEVFN(slot, 0)];

	if (PCI_FUNC(pl->devfn))
		return first && !(first->config[PCI_HEADER_TYPE] & PCI_HEADER_MULTIFUNCTION)
			       ? err_set(e, EINVAL,
					 "slot %x has '%s' at function 0, without multifunction=on",
					 slot, first->dev.id)
			       : 0;
	for (unsigned fn = 1; fn < 8 && !pl->multifunction; fn++)
		if (b->devs[PCI_DEVFN(slot, fn)])
			return err_set(
				e, EINVAL,
				"slot %x has more functions: this one needs multifunction=on",
				slot);
	return 0;
}

int pci_place_get(struct pci_place *pl, const struct dev_place *p, const struct dev_opts *o,
		  const char *name, struct err **e)
{
	const char *romfile = dev_opt_str(o, "romfile");
	int rc;

	*pl = (struct pci_place){
		.bus = p->bus->bus,
		.devfn = (uint8_t)p->place,
		.name = *p->id ? p->id : name,
		.id = p->id,
		.multifunction = dev_opt_num(o, "multifunction"),
	};
	rc = functions_fit(pl, e);
	if (!rc && romfile && *romfile && dev_opt_num(o, "rombar"))
		rc = rom_load(&pl->rom, pci_bus_env(pl->bus), romfile, e);
	return rc;
}

int pci_place_rom(struct pci_place *pl, const struct dev_opts *o, const char *name, struct err **e)
{
	if (dev_opt_str(o, "romfile") || !dev_opt_num(o, "rombar"))
		return 0;
	return rom_load(&pl->rom, pci_bus_env(pl->bus), name, e);
}

const uint8_t *pci_dev_rom(const struct pci_dev *d, uint64_t *size)
{
	*size = d->rom ? d->rom->io.size : 0;
	return d->rom ? d->rom->data : NULL;
}

void pci_place_drop(struct pci_place *pl)
{
	free(pl->rom);
	pl->rom = NULL;
}

void pci_dev_init_at(struct pci_dev *d, struct pci_place *pl, const struct pci_id *id,
		     const struct pci_dev_ops *ops)
{
	pci_dev_init(d, pl->bus, pl->devfn, id, ops, pl->name);
	if (pl->multifunction)
		d->config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
	d->rom = pl->rom;
	pl->rom = NULL;
	if (d->rom)
		pci_dev_bar(d, PCI_ROM_BAR, 0, &d->rom->io);
}
