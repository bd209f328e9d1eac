/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICH9 LPC bridge (Intel I/O Controller Hub 9, 316972, chapter 13).
 *
 *   0x40  PMBASE: base of the 128 power management ports, 15:7; bit 0 reads one
 *   0x44  ACPI_CNTL: 7 decodes PMBASE, 2:0 SCI (0: IRQ 9, the only one wired)
 *   0x60-0x63, 0x68-0x6b  PIRQ A-D, E-H: 7 not routed, 3:0 ISA IRQ
 *   0x64, 0x80-0x91, 0xa0-0xaf, 0xd0-0xdf  serial IRQ, decode ranges, GEN_PMCON, firmware hub: kept
 *   0xf0  RCBA: kept; the chipset registers are not there
 *   ports PMBASE+0 PM1a event, +4 PM1a control, +8 PM timer, +0x20 GPE0 (16), +0x30 SMI_EN
 *
 * SMI_EN.APMC_EN (5) reads one, by which firmware knows that SMM is not to be set up.
 */
#include "dev/pci/ich9.h"

#include <stdlib.h>

#include "dev/acpi/pm.h"
#include "dev/irq/gsi.h"
#include "dev/pci/q35.h"

#define PMBASE ICH9_LPC_PMBASE
#define ACPI_CNTL ICH9_LPC_ACPI_CNTL
#define RCBA 0xf0
#define PM_PORTS 128
#define SMI_EN 0x30
#define SMI_EN_APMC BIT(5)
#define PIRQS 8
#define ISA_IRQS 16
#define ROUTABLE 0xdef8u /* 3-7, 9-12, 14, 15 */

struct ich9_lpc {
	struct pci_dev pci;
	struct acpi_pm acpi;
	uint32_t smi_en;
	struct irq_line isa[ISA_IRQS], gsi[PIRQS];
	struct io_region io;
	struct mem_map *map; /* NULL: not decoded */
};

static unsigned route_reg(unsigned n)
{
	return n < 4 ? ICH9_LPC_PIRQ_A + n : ICH9_LPC_PIRQ_E + n - 4;
}

void ich9_lpc_pirq_changed(struct ich9_lpc *p)
{
	uint32_t levels = 0;

	for (unsigned n = 0; n < PIRQS; n++) {
		uint8_t route = p->pci.config[route_reg(n)];
		bool level = pci_bus_pirq(p->pci.bus, n);

		irq_set(&p->gsi[n], level);
		if (level && !(route & 0x80))
			levels |= 1u << (route & 15);
	}
	for (unsigned i = 0; i < ISA_IRQS; i++)
		irq_set(&p->isa[i], levels >> i & 1);
}

static uint64_t pm_read(void *opaque, uint64_t off, unsigned size)
{
	struct ich9_lpc *p = opaque;
	uint64_t val = 0;

	if (off >= ICH9_PM_GPE && off < ICH9_PM_GPE + ICH9_GPE_LEN) {
		for (unsigned i = 0; i < size; i++)
			val |= (uint64_t)acpi_gpe_read(&p->acpi, (unsigned)off - ICH9_PM_GPE + i)
			       << (8 * i);
		return val;
	}
	if ((off & ~UINT64_C(3)) == SMI_EN)
		return p->smi_en >> (8 * (off & 3));
	return acpi_pm_block_read(&p->acpi, (unsigned)off, size);
}

static void pm_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct ich9_lpc *p = opaque;

	if (off >= ICH9_PM_GPE && off < ICH9_PM_GPE + ICH9_GPE_LEN) {
		for (unsigned i = 0; i < size; i++)
			acpi_gpe_write(&p->acpi, (unsigned)off - ICH9_PM_GPE + i,
				       (uint8_t)(val >> (8 * i)));
	} else if (off == SMI_EN && size == 4) {
		p->smi_en = (uint32_t)val | (uint32_t)SMI_EN_APMC;
	} else {
		acpi_pm_block_write(&p->acpi, (unsigned)off, val, size);
	}
}

static const struct io_ops pm_ops = { .read = pm_read, .write = pm_write, .min = 1, .max = 4 };

uint16_t ich9_lpc_pm_base(const struct ich9_lpc *p)
{
	return p->pci.config[ACPI_CNTL] & 0x80 ? get_le16(p->pci.config + PMBASE) & 0xff80 : 0;
}

/* decode - follow PMBASE and ACPI_CNTL. */
static void decode(struct ich9_lpc *p)
{
	uint16_t base = ich9_lpc_pm_base(p);

	pio_follow(p->pci.dev.env->mem, &p->map, &p->io, base != 0, base);
}

static void ich9_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct ich9_lpc *p = container_of(d, struct ich9_lpc, pci);

	decode(p);
	if (off < ICH9_LPC_PIRQ_E + 4 && off + size > ICH9_LPC_PIRQ_A)
		ich9_lpc_pirq_changed(p);
}

static void ich9_reset(struct dev *dev)
{
	struct ich9_lpc *p = container_of(dev, struct ich9_lpc, pci.dev);

	pci_dev_reset(&p->pci);
	acpi_pm_reset(&p->acpi);
	p->smi_en = (uint32_t)SMI_EN_APMC;
	decode(p);
	ich9_lpc_pirq_changed(p);
}

static void ich9_unrealize(struct dev *dev)
{
	struct ich9_lpc *p = container_of(dev, struct ich9_lpc, pci.dev);

	pio_unmap(dev->env->mem, p->map);
	acpi_pm_fini(&p->acpi);
	pci_dev_fini(&p->pci);
	free(p);
}

static int ich9_post_load(void *obj, struct err **e)
{
	struct ich9_lpc *p = obj;

	p->smi_en |= (uint32_t)SMI_EN_APMC;
	decode(p);
	return 0;
}

static const struct state_field ich9_fields[] = {
	PCI_DEV_STATE(struct ich9_lpc, pci),
	STATE_SUB(struct ich9_lpc, acpi, acpi_pm_state),
	STATE_FIELD(struct ich9_lpc, smi_en, STATE_U32),
	STATE_END,
};

static const struct state_desc ich9_state = {
	.name = "ich9-lpc", .version = 1, .fields = ich9_fields, .post_load = ich9_post_load,
};

static const struct pci_dev_ops ich9_ops = {
	.dev = { .name = "ich9-lpc", .unrealize = ich9_unrealize, .reset = ich9_reset,
		 .quiesce = dev_quiesce_none, .state = &ich9_state },
	.config_written = ich9_written,
};

static const struct pci_id ich9_id = {
	.vendor = 0x8086, .device = 0x2918, .class = 0x0601, .revision = 2,
	.header = PCI_HEADER_MULTIFUNCTION, .subvendor = 0x1af4, .subdevice = 0x1100,
};

struct acpi_pm *ich9_lpc_acpi(struct ich9_lpc *p)
{
	return &p->acpi;
}

static void keep(struct ich9_lpc *p, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		p->pci.wmask[i] = 0xff;
}

struct ich9_lpc *ich9_lpc_create(struct pci_bus *bus, struct gsi *gsi)
{
	struct ich9_lpc *p = xzalloc(sizeof(*p));
	struct dev_env *env = pci_bus_env(bus);
	uint8_t *c = p->pci.config, *w = p->pci.wmask;

	for (unsigned i = 0; i < ISA_IRQS; i++)
		if (ROUTABLE >> i & 1)
			p->isa[i] = gsi_source(gsi, i);
	for (unsigned n = 0; n < PIRQS; n++)
		p->gsi[n] = gsi_source(gsi, 16 + n);
	pci_dev_init(&p->pci, bus, ICH9_LPC_DEVFN, &ich9_id, &ich9_ops, "ich9-lpc");
	put_le32(c + PMBASE, 1);
	put_le32(w + PMBASE, 0xff80);
	w[ACPI_CNTL] = 0x80;
	for (unsigned n = 0; n < PIRQS; n++) {
		c[route_reg(n)] = 0x80;
		w[route_reg(n)] = 0x8f;
	}
	keep(p, 0x64, 0x64);
	keep(p, 0x80, 0x91);
	keep(p, 0xa0, 0xaf);
	keep(p, 0xd0, 0xdf);
	put_le32(w + RCBA, 0xffffc001);
	put_le16(c + PCI_STATUS, 0x0200);
	p->smi_en = (uint32_t)SMI_EN_APMC;
	acpi_pm_init(&p->acpi, env, gsi_source(gsi, ACPI_SCI_IRQ), ICH9_GPE_LEN);
	p->io = (struct io_region){ .name = "ich9-pm", .ops = &pm_ops, .opaque = p,
		.lock = env->lock, .size = PM_PORTS };
	pci_dev_ready(&p->pci);
	return p;
}
