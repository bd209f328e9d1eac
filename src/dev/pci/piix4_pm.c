/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PIIX4 power management function (Intel 82371AB 7.1), its ACPI half.
 *
 *   0x40  PMBA: base of the 64 power management ports, 15:6; bit 0 reads one
 *   0x58  DEVACTB: bit 25 (APMC writes cause SMI) reads one, by which firmware knows that SMM is
 *         not to be set up
 *   0x80  PMREGMISC: bit 0 decodes PMBA
 *   0x90  SMBBA and 0xd2 SMBHSTCFG: kept, there is no SMBus
 *   ports PMBA+0 PM1a event, +4 PM1a control, +8 PM timer; GPE0 at 0xafe0
 */
#include <stdlib.h>

#include "dev/acpi/pm.h"
#include "dev/irq/gsi.h"
#include "dev/pci/i440fx.h"
#include "dev/pci/pci.h"
#include "dev/pci/piix.h"

#define PMBA 0x40
#define DEVACTB 0x58
#define PMREGMISC 0x80
#define SMBBA 0x90
#define SMBHSTCFG 0xd2
#define PM_PORTS 64

struct piix4_pm {
	struct pci_dev pci;
	struct acpi_pm acpi;
	struct io_region io, gpe_io;
	struct mem_map *map, *gpe_map; /* map NULL: not decoded */
};

static uint64_t pm_read(void *opaque, uint64_t off, unsigned size)
{
	return acpi_pm_block_read(&((struct piix4_pm *)opaque)->acpi, (unsigned)off, size);
}

static void pm_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	acpi_pm_block_write(&((struct piix4_pm *)opaque)->acpi, (unsigned)off, val, size);
}

static uint64_t gpe_read(void *opaque, uint64_t off, unsigned size)
{
	return acpi_gpe_read(&((struct piix4_pm *)opaque)->acpi, (unsigned)off);
}

static void gpe_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	acpi_gpe_write(&((struct piix4_pm *)opaque)->acpi, (unsigned)off, (uint8_t)val);
}

static const struct io_ops pm_ops = { .read = pm_read, .write = pm_write, .min = 1, .max = 4 };
static const struct io_ops gpe_ops = { .read = gpe_read, .write = gpe_write, .min = 1, .max = 1 };

uint16_t piix4_pm_base(const struct piix4_pm *p)
{
	return p->pci.config[PMREGMISC] & 1 ? get_le16(p->pci.config + PMBA) & 0xffc0 : 0;
}

/* decode - follow PMBA and PMREGMISC. */
static void decode(struct piix4_pm *p)
{
	uint16_t base = piix4_pm_base(p);

	pio_follow(p->pci.dev.env->mem, &p->map, &p->io, base != 0, base);
}

static void piix4_pm_written(struct pci_dev *d, unsigned off, unsigned size)
{
	decode(container_of(d, struct piix4_pm, pci));
}

static void piix4_pm_reset(struct dev *dev)
{
	struct piix4_pm *p = container_of(dev, struct piix4_pm, pci.dev);

	pci_dev_reset(&p->pci);
	acpi_pm_reset(&p->acpi);
	decode(p);
}

static void piix4_pm_unrealize(struct dev *dev)
{
	struct piix4_pm *p = container_of(dev, struct piix4_pm, pci.dev);

	pio_unmap(dev->env->mem, p->map);
	pio_unmap(dev->env->mem, p->gpe_map);
	acpi_pm_fini(&p->acpi);
	pci_dev_fini(&p->pci);
	free(p);
}

static int piix4_pm_post_load(void *obj, struct err **e)
{
	decode(obj);
	return 0;
}

static const struct state_field piix4_pm_fields[] = {
	PCI_DEV_STATE(struct piix4_pm, pci),
	STATE_SUB(struct piix4_pm, acpi, acpi_pm_state),
	STATE_END,
};

static const struct state_desc piix4_pm_state = {
	.name = "piix4-pm", .version = 1, .fields = piix4_pm_fields,
	.post_load = piix4_pm_post_load,
};

static const struct pci_dev_ops piix4_pm_ops = {
	.dev = { .name = "piix4-pm", .unrealize = piix4_pm_unrealize, .reset = piix4_pm_reset,
		 .quiesce = dev_quiesce_none, .state = &piix4_pm_state },
	.config_written = piix4_pm_written,
};

static const struct pci_id piix4_pm_id = {
	.vendor = 0x8086, .device = 0x7113, .class = 0x0680, .revision = 3, .irq_pin = 1,
	.subvendor = 0x1af4, .subdevice = 0x1100,
};

struct acpi_pm *piix4_pm_acpi(struct piix4_pm *p)
{
	return &p->acpi;
}

struct piix4_pm *piix4_pm_create(struct pci_bus *bus, struct gsi *gsi)
{
	struct piix4_pm *p = xzalloc(sizeof(*p));
	struct dev_env *env = pci_bus_env(bus);
	uint8_t *c = p->pci.config, *w = p->pci.wmask;

	pci_dev_init(&p->pci, bus, PCI_DEVFN(PIIX_SLOT, 3), &piix4_pm_id, &piix4_pm_ops,
		     "piix4-pm");
	put_le32(c + PMBA, 1);
	put_le32(w + PMBA, 0xffc0);
	put_le32(c + DEVACTB, (uint32_t)BIT(25));
	w[PMREGMISC] = 1;
	put_le32(c + SMBBA, 1);
	put_le32(w + SMBBA, 0xffc0);
	w[SMBHSTCFG] = 0xff;
	put_le16(c + PCI_STATUS, 0x0280);
	acpi_pm_init(&p->acpi, env, gsi_source(gsi, ACPI_SCI_IRQ), I440FX_GPE_LEN);
	p->io = (struct io_region){ .name = "piix4-pm", .ops = &pm_ops, .opaque = p,
		.lock = env->lock, .size = PM_PORTS };
	p->gpe_io = (struct io_region){ .name = "piix4-gpe", .ops = &gpe_ops, .opaque = p,
		.lock = env->lock, .size = I440FX_GPE_LEN };
	p->gpe_map = pio_map(env->mem, I440FX_GPE_BASE, &p->gpe_io, 0);
	pci_dev_ready(&p->pci);
	return p;
}
