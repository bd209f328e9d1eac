/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 440FX host bridge (Intel 82441FX, 290549), and the assembly of `pc`'s chip set.
 *
 *   0x59-0x5f  PAM 0-6
 *   0x72       SMRAM
 */
#include "dev/pci/i440fx.h"

#include <stdlib.h>

#include "dev/acpi/pm.h"
#include "dev/irq/gsi.h"
#include "dev/pci/pci.h"
#include "dev/pci/piix.h"

#define PAM0 0x59
#define SMRAM 0x72

struct i440fx {
	struct pci_dev pci;
	struct pam pam;
	struct gsi *gsi;
	struct piix3 *isa;
	struct piix4_pm *pm;
};

static unsigned map_irq(unsigned slot, unsigned pin)
{
	return (slot - 1 + pin) & 3;
}

static void set_pirq(void *opaque, unsigned n, bool level)
{
	struct i440fx *f = opaque;

	piix3_pirq_changed(f->isa);
}

static void i440fx_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct i440fx *f = container_of(d, struct i440fx, pci);

	if (off < PAM0 + 7 && off + size > PAM0)
		pam_update(&f->pam, d->config + PAM0);
	smram_update(d, SMRAM);
}

static void i440fx_reset(struct dev *dev)
{
	struct i440fx *f = container_of(dev, struct i440fx, pci.dev);

	pci_dev_reset(&f->pci);
	pam_update(&f->pam, f->pci.config + PAM0);
	smram_update(&f->pci, SMRAM);
}

static void i440fx_unrealize(struct dev *dev)
{
	struct i440fx *f = container_of(dev, struct i440fx, pci.dev);

	pam_fini(&f->pam);
	pci_dev_fini(&f->pci);
	free(f);
}

static int i440fx_post_load(void *obj, struct err **e)
{
	struct i440fx *f = obj;

	pam_update(&f->pam, f->pci.config + PAM0);
	smram_update(&f->pci, SMRAM);
	return 0;
}

static const struct state_field i440fx_fields[] = {
	PCI_DEV_STATE(struct i440fx, pci),
	STATE_END,
};

static const struct state_desc i440fx_state = {
	.name = "i440fx", .version = 1, .fields = i440fx_fields, .post_load = i440fx_post_load,
};

static const struct pci_dev_ops i440fx_ops = {
	.dev = { .name = "i440fx", .unrealize = i440fx_unrealize, .reset = i440fx_reset,
		 .quiesce = dev_quiesce_none, .state = &i440fx_state },
	.config_written = i440fx_written,
};

static const struct pci_id i440fx_id = {
	.vendor = 0x8086, .device = 0x1237, .class = 0x0600, .revision = 2,
	.subvendor = 0x1af4, .subdevice = 0x1100,
};

struct pci_bus *i440fx_bus(struct i440fx *f)
{
	return f->pci.bus;
}

struct acpi_pm *i440fx_pm(struct i440fx *f)
{
	return piix4_pm_acpi(f->pm);
}

uint16_t i440fx_pm_base(const struct i440fx *f)
{
	return piix4_pm_base(f->pm);
}

struct i440fx *i440fx_create(struct dev_env *env, struct gsi *gsi, const struct pam_config *pam)
{
	struct i440fx *f = xzalloc(sizeof(*f));
	struct pci_bus *bus = pci_bus_create(env, "pci.0", false, map_irq, set_pirq, f);

	f->gsi = gsi;
	pam_init(&f->pam, env, pam);
	pci_dev_init(&f->pci, bus, PCI_DEVFN(0, 0), &i440fx_id, &i440fx_ops, "i440fx");
	for (unsigned i = 0; i < 7; i++)
		f->pci.wmask[PAM0 + i] = i ? 0x33 : 0x30;
	smram_init(&f->pci, SMRAM);
	put_le16(f->pci.config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	put_le16(f->pci.config + PCI_STATUS, 0x0280);
	pci_dev_ready(&f->pci);
	f->isa = piix3_create(bus, gsi);
	f->pm = piix4_pm_create(bus, gsi);
	return f;
}

void i440fx_setup(struct i440fx *f, const struct pci_space *space)
{
	static const uint8_t irq[4] = { 10, 10, 11, 11 };
	struct pci_bus *b = f->pci.bus;
	uint8_t pm = PCI_DEVFN(PIIX_SLOT, 3), isa = PCI_DEVFN(PIIX_SLOT, 0);

	for (unsigned i = 0; i < 7; i++)
		pci_config_write(b, f->pci.devfn, PAM0 + i, 0x33, 1);
	for (unsigned n = 0; n < 4; n++)
		pci_config_write(b, isa, 0x60 + n, irq[n], 1);
	pci_bus_assign(b, space, irq);
	pci_config_write(b, pm, 0x40, I440FX_PM_BASE, 4);
	pci_config_write(b, pm, 0x80, 1, 1);
	pci_config_write(b, pm, PCI_INTERRUPT_LINE, ACPI_SCI_IRQ, 1);
	gsi_set_elcr(f->gsi, 1u << ACPI_SCI_IRQ | 1u << 10 | 1u << 11);
	acpi_pm_enable(i440fx_pm(f), true);
}
