/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hardware-reduced ACPI (ACPI 6.4 4.1), for a board without chip set: no PM1 blocks, PM timer, GPE
 * and SCI, but registers for sleep and reset, and a generic event device in the DSDT, which has all
 * devices that cannot be probed: the virtio-mmio slots that are filled, ports, the clock.
 */
#include <stdio.h>
#include "base/base.h"
#include "dev/acpi/ged.h"
#include "dev/virtio/virtio_mmio.h"
#include "machine/acpi/acpi.h"
#include "machine/acpi/aml.h"

#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_POWER_BUTTON_METHOD BIT(4) /* a device, no fixed feature */
#define FADT_SLEEP_BUTTON_METHOD BIT(5)
#define FADT_RESET_REG_SUP BIT(10)
#define FADT_HW_REDUCED BIT(20)
#define BOOT_ARCH_NO_VGA BIT(2)
#define NOTIFY_BUTTON 0x80

/* Generic address structure (5.2.3.2) of a byte in memory. */
static void put_gas(uint8_t *p, uint32_t addr)
{
	p[1] = 8;
	p[3] = 1;
	put_le64(p + 4, addr);
}

void acpi_reduced_fadt(uint8_t *f)
{
	put_le16(f + 109, BOOT_ARCH_NO_VGA);
	put_le32(f + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_POWER_BUTTON_METHOD |
				  FADT_SLEEP_BUTTON_METHOD | FADT_RESET_REG_SUP | FADT_HW_REDUCED);
	put_gas(f + 116, GED_RESET);
	f[128] = GED_RESET_VALUE;
	put_gas(f + 244, GED_SLEEP_CONTROL);
	put_gas(f + 256, GED_SLEEP_STATUS);
}

static void name_string(struct bytes *b, const char *name, const char *value)
{
	aml_name_op(b, name);
	aml_string(b, value);
}

/* _EVT (5.6.9.3): what has happened is in the register, and is gone once it was read. */
static void event_method(struct bytes *b)
{
	struct aml_mark m = aml_method(b, "_EVT", 1, true), i;

	aml_op(b, AML_STORE);
	aml_name(b, "ESEL");
	aml_op(b, AML_LOCAL0);
	i = aml_if(b);
	aml_op(b, AML_AND);
	aml_op(b, AML_LOCAL0);
	aml_int(b, GED_EVENT_POWER);
	aml_null_target(b);
	aml_op(b, AML_NOTIFY);
	aml_name(b, "\\_SB.PWRB");
	aml_int(b, NOTIFY_BUTTON);
	aml_end(b, i);
	aml_end(b, m);
}

static void event_device(struct bytes *b)
{
	struct aml_mark m = aml_device(b, "PWRB"), f;
	struct bytes r = {0};

	aml_name_eisaid(b, "_HID", "PNP0C0C");
	aml_name_int(b, "_UID", 0);
	aml_end(b, m);
	m = aml_device(b, "GED");
	name_string(b, "_HID", "ACPI0013");
	name_string(b, "_UID", "GED");
	res_interrupt(&r, GED_IRQ, false);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_region(b, "EREG", AML_SYSTEM_MEMORY, GED_BASE, GED_SIZE);
	f = aml_field_dword(b, "EREG");
	aml_field_unit(b, "ESEL", 32);
	aml_end(b, f);
	event_method(b);
	aml_end(b, m);
}

static void clock_device(struct bytes *b)
{
	struct aml_mark m = aml_device(b, "RTC");
	struct bytes r = {0};

	aml_name_eisaid(b, "_HID", "PNP0B00");
	res_io(&r, 0x70, 0x70, 1, 8);
	res_irq(&r, 1u << 8);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_end(b, m);
}

static void virtio_device(struct bytes *b, const struct acpi_config *cfg, unsigned n)
{
	struct bytes r = {0};
	struct aml_mark m;
	char name[8];

	snprintf(name, sizeof(name), "VR%02u", n % 100);
	m = aml_device(b, name);
	name_string(b, "_HID", "LNRO0005");
	aml_name_int(b, "_UID", n);
	aml_name_int(b, "_CCA", 1);
	res_memory32_fixed(&r, true, (uint32_t)cfg->virtio_base + n * VIRTIO_MMIO_SIZE,
			   VIRTIO_MMIO_SIZE);
	res_interrupt(&r, cfg->virtio_gsi + n, true);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_end(b, m);
}

/* Devices are found in the order of the block: those made first, in the highest slots, first. */
void acpi_reduced_dsdt_body(struct bytes *b, const struct acpi_config *cfg)
{
	struct aml_mark sb = aml_scope(b, "\\_SB");

	for (unsigned i = 0; i < ARRAY_SIZE(cfg->com_ports); i++)
		if (cfg->com_ports[i])
			acpi_dsdt_com_port(b, i, cfg->com_ports[i], cfg->com_irqs[i]);
	if (cfg->rtc)
		clock_device(b);
	event_device(b);
	for (unsigned n = 64; n-- > 0;)
		if (cfg->virtio_used & BIT(n))
			virtio_device(b, cfg, n);
	acpi_dsdt_processors(b, cfg->n_cpus);
	aml_end(b, sb);
	acpi_dsdt_soft_off(b, GED_SLP_TYP_S5);
}
