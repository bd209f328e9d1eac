/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Q35 memory controller hub (Intel 3 Series Express, 316966, chapter 5), and the assembly of
 * `q35`'s chip set.
 *
 *   0x60  PCIEXBAR: base 35:26 of ECAM, length 2:1 (256, 128, 64 MiB), 0 enable
 *   0x90-0x96  PAM 0-6
 *   0x9d  SMRAM, 0x9e ESMRAMC: no TSEG, as there is no SMM
 */
#include "dev/pci/q35.h"

#include <stdlib.h>

#include "dev/acpi/pm.h"
#include "dev/irq/gsi.h"
#include "dev/pci/ich9.h"
#include "dev/pci/pci.h"

#define PCIEXBAR 0x60
#define PAM0 0x90
#define SMRAM 0x9d
#define ESMRAMC 0x9e

struct q35 {
	struct pci_dev pci;
	struct pam pam;
	struct gsi *gsi;
	struct ich9_lpc *lpc;
};

static unsigned map_irq(unsigned slot, unsigned pin)
{
	return slot < 25 ? 4 + ((slot + pin) & 3) : pin;
}

static void set_pirq(void *opaque, unsigned n, bool level)
{
	struct q35 *q = opaque;

	ich9_lpc_pirq_changed(q->lpc);
}

/* decode - follow PCIEXBAR. */
static void decode(struct q35 *q)
{
	uint64_t reg = get_le64(q->pci.config + PCIEXBAR), size = 256 * MiB >> (reg >> 1 & 3);
	uint64_t base = reg & UINT64_C(0xffc000000) & ~(size - 1);

	pci_bus_ecam(q->pci.bus, (reg & 1) && (reg >> 1 & 3) != 3, base, size);
	pam_update(&q->pam, q->pci.config + PAM0);
	smram_update(&q->pci, SMRAM);
}

static void q35_written(struct pci_dev *d, unsigned off, unsigned size)
{
	if (off >= PCIEXBAR && off <= SMRAM)
		decode(container_of(d, struct q35, pci));
}

static void q35_reset(struct dev *dev)
{
	struct q35 *q = container_of(dev, struct q35, pci.dev);

	pci_dev_reset(&q->pci);
	decode(q);
}

static void q35_unrealize(struct dev *dev)
{
	struct q35 *q = container_of(dev, struct q35, pci.dev);

	pam_fini(&q->pam);
	pci_dev_fini(&q->pci);
	free(q);
}

static int q35_post_load(void *obj, struct err **e)
{
	decode(obj);
	return 0;
}

static const struct state_field q35_fields[] = {
	PCI_DEV_STATE(struct q35, pci),
	STATE_END,
};

static const struct state_desc q35_state = {
	.name = "q35-mch", .version = 1, .fields = q35_fields, .post_load = q35_post_load,
};

static const struct pci_dev_ops q35_ops = {
	.dev = { .name = "q35-mch", .unrealize = q35_unrealize, .reset = q35_reset,
		 .quiesce = dev_quiesce_none, .state = &q35_state },
	.config_written = q35_written,
};

static const struct pci_id q35_id = {
	.vendor = 0x8086, .device = 0x29c0, .class = 0x0600,
	.subvendor = 0x1af4, .subdevice = 0x1100,
};

struct pci_bus *q35_bus(struct q35 *q)
{
	return q->pci.bus;
}

uint64_t q35_ecam(const struct q35 *q)
{
	uint64_t reg = get_le64(q->pci.config + PCIEXBAR);

	return (reg & 7) == 1 ? reg & UINT64_C(0xff0000000) : 0;
}

struct acpi_pm *q35_pm(struct q35 *q)
{
	return ich9_lpc_acpi(q->lpc);
}

uint16_t q35_pm_base(const struct q35 *q)
{
	return ich9_lpc_pm_base(q->lpc);
}

struct q35 *q35_create(struct dev_env *env, struct gsi *gsi, const struct pam_config *pam)
{
	struct q35 *q = xzalloc(sizeof(*q));
	struct pci_bus *bus = pci_bus_create(env, "pcie.0", true, map_irq, set_pirq, q);

	q->gsi = gsi;
	pam_init(&q->pam, env, pam);
	pci_dev_init(&q->pci, bus, PCI_DEVFN(0, 0), &q35_id, &q35_ops, "q35-mch");
	put_le64(q->pci.config + PCIEXBAR, 0xe0000000u);
	put_le64(q->pci.wmask + PCIEXBAR, UINT64_C(0xffc000007));
	for (unsigned i = 0; i < 7; i++)
		q->pci.wmask[PAM0 + i] = i ? 0x33 : 0x30;
	smram_init(&q->pci, SMRAM);
	q->pci.config[ESMRAMC] = 0x38;
	put_le16(q->pci.config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	put_le16(q->pci.config + PCI_STATUS, 0x0080);
	pci_dev_ready(&q->pci);
	q->lpc = ich9_lpc_create(bus, gsi);
	return q;
}

void q35_setup(struct q35 *q, const struct pci_space *space)
{
	static const uint8_t irq[4] = { 10, 10, 11, 11 };
	struct pci_bus *b = q->pci.bus;

	for (unsigned i = 0; i < 7; i++)
		pci_config_write(b, q->pci.devfn, PAM0 + i, 0x33, 1);
	pci_config_write(b, q->pci.devfn, PCIEXBAR + 4, 0, 4);
	pci_config_write(b, q->pci.devfn, PCIEXBAR, Q35_ECAM_BASE | 1, 4);
	for (unsigned n = 0; n < 4; n++) {
		pci_config_write(b, ICH9_LPC_DEVFN, ICH9_LPC_PIRQ_A + n, irq[n], 1);
		pci_config_write(b, ICH9_LPC_DEVFN, ICH9_LPC_PIRQ_E + n, irq[n], 1);
	}
	pci_bus_assign(b, space, irq);
	pci_config_write(b, ICH9_LPC_DEVFN, ICH9_LPC_PMBASE, ICH9_PM_BASE, 4);
	pci_config_write(b, ICH9_LPC_DEVFN, ICH9_LPC_ACPI_CNTL, 0x80, 1);
	gsi_set_elcr(q->gsi, 1u << ACPI_SCI_IRQ | 1u << 10 | 1u << 11);
	acpi_pm_enable(q35_pm(q), true);
}
