/* SPDX-License-Identifier: Apache-2.0 */
/* Device classes ide-hd, ide-cd, ahci and ich9-ahci. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "back/block/block.h"
#include "base/err.h"
#include "dev/ata/ata_int.h"
#include "dev/bootindex.h"
#include "dev/class.h"
#include "dev/pci/pci.h"

#define AHCI_DEVICE_PORTS 6

static int check(const struct dev_opts *o, struct err **e)
{
	uint64_t phys = dev_opt_num(o, "physical_block_size");

	if (dev_opt_num(o, "logical_block_size") != ATA_SECTOR)
		return err_set(e, EINVAL, "'logical_block_size' must be 512 for IDE");
	if (dev_opt_given(o, "physical_block_size") &&
	    (!is_pow2(phys) || phys < ATA_SECTOR || phys > 2 * MiB))
		return err_set(e, EINVAL,
			       "'physical_block_size' must be a power of two, 512 to 2M");
	return 0;
}

static int hd_check(const struct dev_opts *o, struct err **e)
{
	if (!dev_opt_given(o, "drive"))
		return err_set(e, EINVAL, "property 'drive' is missing");
	return check(o, e);
}

/* boot_path - "/pci@i0cf8/ide@1,1/drive@0/disk@1": channel or port, unit.  The caller frees. */
static char *boot_path(const struct ata_bus *b, unsigned unit)
{
	char at[48];

	snprintf(at, sizeof(at), "/drive@%x/disk@%x", b->channel, unit);
	return dev_bootindex_pci(b->pci, b->fw_name, at);
}

static int create(const struct dev_place *p, const struct dev_opts *o, bool atapi, struct err **e)
{
	struct ata_bus *b = p->bus->bus;
	struct ata_config cfg = {
		.block = dev_opt_drive(o, "drive"),
		.atapi = atapi,
		.serial = dev_opt_str(o, "serial"),
		.model = dev_opt_str(o, "model"),
		.version = dev_opt_str(o, "ver"),
		.wwn = dev_opt_num(o, "wwn"),
		.write_cache = 2,
	};
	int rc;

	if (dev_opt_given(o, "physical_block_size"))
		cfg.phys_block = (uint32_t)dev_opt_num(o, "physical_block_size");
	if (!atapi) {
		cfg.rotation = (uint16_t)dev_opt_num(o, "rotation_rate");
		cfg.write_cache = (int)dev_opt_num(o, "write-cache");
	}
	if (dev_opt_given(o, "bootindex")) {
		cfg.boot_path = boot_path(b, p->place);
		rc = dev_bootindex_add(p->env, (int64_t)dev_opt_num(o, "bootindex"), cfg.boot_path,
				       e);
		if (rc) {
			free(cfg.boot_path);
			return rc;
		}
	}
	rc = ata_dev_create(b, p->place, &cfg, *p->id ? p->id : atapi ? "ide-cd" : "ide-hd", e);
	if (!rc && cfg.block)
		block_set_errors(cfg.block, dev_opt_str(o, "rerror"), dev_opt_str(o, "werror"));
	if (rc && cfg.boot_path) {
		dev_bootindex_remove(p->env, cfg.boot_path);
		free(cfg.boot_path);
	}
	return rc;
}

static int hd_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	return create(p, o, false, e);
}

static int cd_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	return create(p, o, true, e);
}

static const struct dev_prop drive_props[] = {
	{"drive", "name of the disk's drive", NULL, PROP_DRIVE},
	{"bootindex", "place in the boot order, 0 first", NULL, PROP_UINT, INT32_MAX},
	{"serial", "serial number, 20 characters", NULL, PROP_STR},
	{"model", "model, 40 characters", NULL, PROP_STR},
	{"ver", "firmware revision, 8 characters", NULL, PROP_STR},
	{"wwn", "64-bit world-wide name", "0", PROP_UINT},
	{"rerror", "what a failed read comes to (auto: as the drive says)", "auto", PROP_ENUM, 0,
	 BLOCK_RERRORS},
	{"werror", "what a failed write comes to", "auto", PROP_ENUM, 0, BLOCK_WERRORS},
	{"logical_block_size", "512", "512", PROP_SIZE},
	{"physical_block_size", "bytes that are written at once", NULL, PROP_SIZE},
	{0},
};

static const struct dev_prop hd_props[] = {
	{"write-cache", "is there a volatile one?", "auto", PROP_AUTO},
	{"rotation_rate", "per minute; 0 not told, 1 solid state", "0", PROP_UINT, 0xffff},
	{0},
};

const struct dev_class ide_hd_class = {
	.name = "ide-hd",
	.help = "ATA disk",
	.bus = BUS_IDE,
	.category = "Storage",
	.props = drive_props,
	.props_more = {hd_props},
	.check = hd_check,
	.create = hd_make,
};

const struct dev_class ide_cd_class = {
	.name = "ide-cd",
	.help = "ATAPI CD-ROM drive",
	.bus = BUS_IDE,
	.category = "Storage",
	.props = drive_props,
	.check = check,
	.create = cd_make,
};

static int ahci_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	struct pci_place place;
	int rc = pci_place_get(&place, p, o, "ich9-ahci", e);

	if (!rc)
		ahci_create_at(&place, AHCI_DEVICE_PORTS);
	pci_place_drop(&place);
	return rc;
}

const struct dev_class ahci_class = {
	.name = "ahci",
	.help = "SATA controller (AHCI) with six ports",
	.bus = BUS_PCI,
	.category = "Storage",
	.props_more = {pci_props},
	.create = ahci_make,
};

const struct dev_class ich9_ahci_class = {
	.name = "ich9-ahci",
	.help = "SATA controller (AHCI) with six ports",
	.bus = BUS_PCI,
	.category = "Storage",
	.props_more = {pci_props},
	.create = ahci_make,
};
