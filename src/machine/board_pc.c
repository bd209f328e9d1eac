/* SPDX-License-Identifier: Apache-2.0 */
/* `pc`: Intel 440FX with PIIX3 and PIIX4. */
#include "dev/ata/ata.h"
#include "dev/pci/i440fx.h"
#include "dev/pci/pci.h"
#include "machine/board.h"

#define IDE_DEVFN PCI_DEVFN(1, 1)

static void *create(struct dev_env *env, struct gsi *gsi, const struct pam_config *pam)
{
	struct i440fx *f = i440fx_create(env, gsi, pam);

	piix_ide_create(i440fx_bus(f), IDE_DEVFN, gsi);
	return f;
}

static struct pci_bus *bus(void *chipset)
{
	return i440fx_bus(chipset);
}

static struct acpi_pm *pm(void *chipset)
{
	return i440fx_pm(chipset);
}

static uint16_t pm_base(void *chipset)
{
	return i440fx_pm_base(chipset);
}

static void setup(void *chipset, const struct pci_space *space)
{
	i440fx_setup(chipset, space);
}

static unsigned pirq(unsigned slot, unsigned pin)
{
	return (slot - 1 + pin) & 3;
}

/* RAM that would reach 3.5 GiB is cut at 3 GiB, to leave room for PCI. */
static const struct chipset_ops chipset = {
	.create = create,
	.bus = bus,
	.pm = pm,
	.pm_base = pm_base,
	.setup = setup,
};

const struct board_ops board_pc = {
	.name = "pc",
	.help = "Intel 440FX, PIIX3 and PIIX4 (1996)",
	.ram_threshold = 0xe0000000,
	.ram_low = 0xc0000000,
	.max_cpus = 255,
	.serials = 4,
	.acpi = {
		.pm_evt = I440FX_PM_BASE + I440FX_PM_EVT,
		.pm_cnt = I440FX_PM_BASE + I440FX_PM_CNT,
		.pm_tmr = I440FX_PM_BASE + I440FX_PM_TMR,
		.pm_base = I440FX_PM_BASE,
		.pm_len = 0x40,
		.gpe = I440FX_GPE_BASE,
		.gpe_len = I440FX_GPE_LEN,
		.reset_port = I440FX_RESET_PORT,
		.reset_value = I440FX_RESET_VALUE,
		.isa_adr = 0x00010000,
		.n_pirqs = 4,
		.pirq = pirq,
	},
	.chipset = &chipset,
	.create = pc_chipset_create,
	.setup = pc_chipset_setup,
	.power_button = pc_chipset_power_button,
};
