/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `microvm`: no chip set and no PCI.  Devices sit in slots of virtio-mmio; power and reset are
 * registers that ACPI tells of.  Beside them there are a serial port and, unless they are switched
 * off, the 8259s, the interval timer and the clock of a PC, where those have always been.
 *
 *	I/O APICs   GSI 0..23, and unless ioapic2=off 24..47
 *	slots       24 at GSI 24..47; with one I/O APIC 8 at GSI 16..23, without ACPI at IRQ 5..12
 *
 * Without ACPI a kernel learns of processors by MP tables, and of slots by its command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dev/acpi/ged.h"
#include "dev/fwcfg.h"
#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/pci/pam.h"
#include "dev/timer/pit.h"
#include "dev/timer/rtc.h"
#include "dev/virtio/virtio_mmio.h"
#include "machine/board.h"
#include "machine/vm.h"

#define SLOTS_BASE 0xfeb00000u
#define SLOTS_FEW 8
#define GSI_FEW 16
#define GSI_NO_ACPI 5
#define RTC_IRQ 8
#define SHADOW_BASE 0xc0000u
#define SHADOW_PRIO 1 /* over firmware */
#define FIRMWARE_LOW (128 * KiB)

static unsigned slot_count(const struct pc *pc)
{
	return pc->acpi.ioapic2 ? IOAPIC_PINS : SLOTS_FEW;
}

static void create_irqs(struct pc *pc, const struct pc_config *cfg)
{
	pc->apics = apics_create(pc->env, cfg->n_cpus, cfg->apics_ops, cfg->apics_opaque);
	if (cfg->opts->pic != VM_OFF)
		pc->pic = pic_create(pc->env, apics_extint(pc->apics));
	pc->gsi = gsi_create(pc->env, pc->pic, ioapic_create(pc->env, pc->apics));
	if (pc->acpi.ioapic2)
		gsi_add_ioapic(pc->gsi, ioapic_create_second(pc->env, pc->apics));
}

static void create_slots(struct pc *pc, bool legacy)
{
	struct irq_line irq[IOAPIC_PINS];
	unsigned n = slot_count(pc);

	for (unsigned i = 0; i < n; i++)
		irq[i] = gsi_source(pc->gsi, pc->acpi.virtio_gsi + i);
	pc->slots = virtio_mmio_bus_create(pc->env, n, SLOTS_BASE, irq, legacy);
}

/*
 * What is below 1 MiB is RAM, with nothing that could protect it.  Firmware finds itself there, its
 * last 128 KiB, at each reset.
 */
static void shadow_reset(struct dev *d)
{
	uint8_t *copy = xzalloc(FIRMWARE_LOW);

	/* Fails where there is no firmware, and RAM is as it was. */
	if (!mem_dma_read(d->env->mem, GPA(4 * GiB - FIRMWARE_LOW), copy, FIRMWARE_LOW))
		mem_dma_write(d->env->mem, GPA(FW_AREA_END - FIRMWARE_LOW), copy, FIRMWARE_LOW);
	free(copy);
}

static void shadow_unrealize(struct dev *d)
{
	free(d);
}

/* Without state of its own: RAM is saved. */
static const struct state_field shadow_fields[] = { STATE_END };
static const struct state_desc shadow_state = {
	.name = "shadow", .version = 1, .fields = shadow_fields,
};
static const struct dev_ops shadow_ops = {
	.name = "shadow", .unrealize = shadow_unrealize, .reset = shadow_reset,
	.quiesce = dev_quiesce_none, .state = &shadow_state,
};

static void create_shadow(struct pc *pc, uint64_t ram_off)
{
	struct dev *d = xzalloc(sizeof(*d));

	mem_map_ram(pc->env->mem, GPA(SHADOW_BASE), FW_AREA_END - SHADOW_BASE,
		    ram_off + SHADOW_BASE, SHADOW_PRIO);
	dev_add(d, &shadow_ops, "shadow", pc->env);
}

static void create(struct pc *pc, const struct pc_config *cfg, const struct pam_config *low)
{
	const struct vm_board_opts *o = cfg->opts;
	struct acpi_config *acpi = &pc->acpi;

	pc->no_acpi = o->acpi == VM_OFF;
	pc->auto_cmdline = o->auto_cmdline != VM_OFF;
	acpi->no_pic = o->pic == VM_OFF;
	acpi->ioapic2 = !pc->no_acpi && o->ioapic2 != VM_OFF;
	acpi->rtc = o->rtc != VM_OFF;
	acpi->virtio_base = SLOTS_BASE;
	acpi->virtio_gsi = pc->no_acpi ? GSI_NO_ACPI : acpi->ioapic2 ? IOAPIC_PINS : GSI_FEW;
	create_shadow(pc, low->ram_off);
	create_irqs(pc, cfg);
	create_slots(pc, o->virtio_legacy);
	pc->ged = ged_create(pc->env, gsi_source(pc->gsi, GED_IRQ));
	if (o->pit != VM_OFF)
		pit_create(pc->env, gsi_source(pc->gsi, 0));
	if (acpi->rtc)
		pc->rtc = rtc_create(pc->env, gsi_source(pc->gsi, RTC_IRQ));
	pc->fwcfg = fwcfg_create(pc->env);
}

static void plugged(struct pc *pc)
{
	pc->acpi.virtio_used = 0;
	for (unsigned i = 0; i < slot_count(pc); i++)
		if (virtio_mmio_used(pc->slots, i))
			pc->acpi.virtio_used |= BIT(i);
}

/*
 * Code for who jumps to the reset vector of a PC, F000:FFF0, as kernels do that know no better way
 * to restart a machine which was not started by EFI: it takes up a flat data segment and writes to
 * the reset register.
 */
#define RESET_CODE 0xfff80u
static const uint8_t reset_code[] = {
	0xfa,					      /* cli */
	0x2e, 0x66, 0x0f, 0x01, 0x16, 0xb0, 0xff,     /* lgdtl %cs:0xffb0 */
	0x0f, 0x20, 0xc0,			      /* mov %cr0, %eax */
	0x0c, 0x01,				      /* or $1, %al */
	0x0f, 0x22, 0xc0,			      /* mov %eax, %cr0 */
	0xb8, 0x08, 0x00,			      /* mov $8, %ax */
	0x8e, 0xd8,				      /* mov %ax, %ds */
	0x67, 0xc6, 0x05, 0x02, 0x02, 0xa0, 0xfe, 0x42, /* movb $GED_RESET_VALUE, GED_RESET */
	0xf4,					      /* hlt */
	0xeb, 0xfd,				      /* jmp to the hlt */
	/* 0xfffa0: a null descriptor, then data from 0 to 4 GiB */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
	/* 0xfffb0: limit and base of the table */
	0x0f, 0x00, 0xa0, 0xff, 0x0f, 0x00,
};
#define RESET_VECTOR 0xffff0u
static const uint8_t reset_vector[] = { 0xea, 0x80, 0xff, 0x00, 0xf0 }; /* ljmp $0xf000, $0xff80 */

/* Slots on the 8259s are level-triggered, but for the one that shares a wire with the clock. */
static void setup(struct pc *pc)
{
	uint16_t levels = 0;

	for (unsigned i = 0; pc->no_acpi && i < SLOTS_FEW; i++)
		levels |= (uint16_t)BIT(GSI_NO_ACPI + i);
	/* Fails only where there is no RAM, of which loading a kernel complains. */
	mem_dma_write(pc->env->mem, GPA(RESET_CODE), reset_code, sizeof(reset_code));
	mem_dma_write(pc->env->mem, GPA(RESET_VECTOR), reset_vector, sizeof(reset_vector));
	gsi_set_elcr(pc->gsi, levels & (uint16_t)~BIT(RTC_IRQ));
}

/* Without ACPI there is none, though its registers are there. */
static void power_button(struct pc *pc)
{
	if (!pc->no_acpi)
		ged_power_button(pc->ged);
}

static char *cmdline(const struct pc *pc)
{
	char *line = NULL;

	if (!pc->no_acpi || !pc->auto_cmdline)
		return NULL;
	for (unsigned i = SLOTS_FEW; i-- > 0;) {
		char *more;

		if (!(pc->acpi.virtio_used & BIT(i)))
			continue;
		more = xasprintf("%s%svirtio_mmio.device=%u@0x%x:%u", line ? line : "",
				 line ? " " : "", VIRTIO_MMIO_SIZE,
				 SLOTS_BASE + i * VIRTIO_MMIO_SIZE, pc->acpi.virtio_gsi + i);
		free(line);
		line = more;
	}
	return line;
}

const struct board_ops board_microvm = {
	.name = "microvm",
	.help = "virtio over memory-mapped registers, no PCI",
	.ram_threshold = 0xc0000000,
	.ram_low = 0xc0000000,
	.max_cpus = 255,
	.serials = 1,
	.opts = true,
	.acpi = { .reduced = true },
	.create = create,
	.plugged = plugged,
	.setup = setup,
	.power_button = power_button,
	.cmdline = cmdline,
};
