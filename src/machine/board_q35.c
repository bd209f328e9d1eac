/* SPDX-License-Identifier: Apache-2.0 */
/* `q35`: Intel Q35 with ICH9. */
#include "dev/ata/ata.h"
#include "dev/pci/pci.h"
#include "dev/pci/q35.h"
#include "machine/board.h"

#define AHCI_DEVFN PCI_DEVFN(31, 2)
#define AHCI_PORTS 6

static void *create(struct dev_env *env, struct gsi *gsi, const struct pam_config *pam)
{
	struct q35 *q = q35_create(env, gsi, pam);

	ahci_create(q35_bus(q), AHCI_DEVFN, AHCI_PORTS, "ich9-ahci");
	return q;
}

static struct pci_bus *bus(void *chipset)
{
	return q35_bus(chipset);
}

static struct acpi_pm *pm(void *chipset)
{
	return q35_pm(chipset);
}

static uint16_t pm_base(void *chipset)
{
	return q35_pm_base(chipset);
}

static uint64_t ecam(void *chipset)
{
	return q35_ecam(chipset);
}

static void setup(void *chipset, const struct pci_space *space)
{
	q35_setup(chipset, space);
}

static unsigned pirq(unsigned slot, unsigned pin)
{
	return slot < 25 ? 4 + ((slot + pin) & 3) : pin;
}

static const struct chipset_ops chipset = {
	.create = create,
	.bus = bus,
	.pm = pm,
	.pm_base = pm_base,
	.ecam = ecam,
	.setup = setup,
};

/* RAM that would reach ECAM at 2.75 GiB is cut at 2 GiB. */
const struct board_ops board_q35 = {
	.name = "q35",
	.help = "Intel Q35 and ICH9, PCI Express (2009)",
	.ram_threshold = Q35_ECAM_BASE,
	.ram_low = 0x80000000,
	.max_cpus = 255,
	.serials = 4,
	.acpi = {
		.pm_evt = ICH9_PM_BASE + ICH9_PM_EVT,
		.pm_cnt = ICH9_PM_BASE + ICH9_PM_CNT,
		.pm_tmr = ICH9_PM_BASE + ICH9_PM_TMR,
		.pm_base = ICH9_PM_BASE,
		.pm_len = 0x80,
		.gpe = ICH9_PM_BASE + ICH9_PM_GPE,
		.gpe_len = ICH9_GPE_LEN,
		.reset_port = ICH9_RESET_PORT,
		.reset_value = ICH9_RESET_VALUE,
		.ecam_base = Q35_ECAM_BASE,
		.ecam_size = Q35_ECAM_SIZE,
		.isa_adr = 0x001f0000,
		.n_pirqs = 8,
		.pirq_gsi = true,
		.pirq = pirq,
	},
	.chipset = &chipset,
	.create = pc_chipset_create,
	.setup = pc_chipset_setup,
	.power_button = pc_chipset_power_button,
};
