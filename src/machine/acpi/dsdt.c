/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The differentiated system description table: what cannot be found by probing.  The PCI host
 * bridge with its windows and interrupt routing, the ISA devices behind it, processors, the HPET,
 * reserved ranges, soft-off.
 */
#include <stdio.h>
#include "base/base.h"
#include "dev/acpi/pm.h"
#include "dev/timer/hpet.h"
#include "machine/acpi/acpi.h"
#include "machine/acpi/aml.h"

#define PIRQ_DISABLED 0x80
#define HPET_SIZE 0x400
#define PCI_IO_START 0xc000

/* ISA IRQs that PCI interrupts can be routed to. */
static const uint32_t link_irqs[] = { 5, 10, 11 };

void acpi_pci_space(const struct acpi_config *cfg, struct pci_space *out)
{
	const struct acpi_board *bd = cfg->board;
	uint64_t ram_end = 4 * GiB + cfg->ram.above_4g;

	*out = (struct pci_space){
		.io = {PCI_IO_START, 0x10000},
		.mem = {ram_pci_hole(&cfg->ram), PCI_MEM_END},
		.mem64 = {align_up(ram_end, GiB), BIT(cfg->phys_bits)},
	};
	if (bd->ecam_size)
		out->mem.start = max_u64(out->mem.start, cfg->ecam_base + bd->ecam_size);
}

uint64_t acpi_ecam_base(const struct acpi_config *cfg, uint64_t base)
{
	const struct acpi_board *bd = cfg->board;
	bool fits = base > ram_pci_hole(&cfg->ram) && base < PCI_MEM_END - bd->ecam_size;

	return fits ? base : bd->ecam_base;
}

/* Firmware may use what is below ECAM as well; the window is there or not wherever ECAM is now. */
static void pci_mem32(struct bytes *r, const struct acpi_config *cfg)
{
	struct pci_space s;
	uint64_t low = ram_pci_hole(&cfg->ram);

	acpi_pci_space(cfg, &s);
	if (cfg->board->ecam_size && low < cfg->board->ecam_base)
		res_mem_window(r, (uint32_t)low, (uint32_t)cfg->ecam_base - 1, false);
	res_mem_window(r, (uint32_t)s.mem.start, (uint32_t)s.mem.end - 1, false);
}

/* All that the processor can address above RAM. */
static void pci_mem64(struct bytes *r, const struct acpi_config *cfg)
{
	struct pci_space s;

	acpi_pci_space(cfg, &s);
	if (s.mem64.start < s.mem64.end)
		res_mem64_window(r, s.mem64.start, s.mem64.end - 1);
}

static void root_crs(struct bytes *b, const struct acpi_config *cfg)
{
	struct bytes r = { 0 };

	res_bus_numbers(&r, 0, 255);
	res_io(&r, 0xcf8, 0xcf8, 1, 8);
	res_io_window(&r, 0, 0xcf7);
	res_io_window(&r, 0xd00, 0xffff);
	res_mem_window(&r, VGA_HOLE, VGA_HOLE_END - 1, true);
	pci_mem32(&r, cfg);
	pci_mem64(&r, cfg);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
}

static void link_name(char out[static 16], unsigned n)
{
	snprintf(out, 16, "\\_SB.LNK%c", 'A' + (int)(n & 7));
}

/* One element of _PRT (6.2.13): any function of a slot, a pin, and its link device or GSI. */
static void prt_entry(struct bytes *b, const struct acpi_board *bd, unsigned slot, unsigned pin,
		      bool gsi)
{
	struct aml_mark m = aml_package(b, 4);
	unsigned n = bd->pirq(slot, pin);
	char link[16];

	aml_int(b, slot << 16 | 0xffff);
	aml_int(b, pin);
	if (gsi) {
		aml_int(b, 0);
		aml_int(b, 16 + n);
	} else {
		link_name(link, n);
		aml_name(b, link);
		aml_int(b, 0);
	}
	aml_end(b, m);
}

static void prt_table(struct bytes *b, const struct acpi_board *bd, const char *name, bool gsi)
{
	struct aml_mark m;

	aml_name_op(b, name);
	m = aml_package(b, 128);
	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned pin = 0; pin < 4; pin++)
			prt_entry(b, bd, slot, pin, gsi);
	aml_end(b, m);
}

static void return_name(struct bytes *b, const char *name)
{
	aml_op(b, AML_RETURN);
	aml_name(b, name);
}

static void root_prt(struct bytes *b, const struct acpi_board *bd)
{
	struct aml_mark m, i;

	if (!bd->pirq_gsi) {
		prt_table(b, bd, "_PRT", false);
		return;
	}
	prt_table(b, bd, "PRTP", false);
	prt_table(b, bd, "PRTA", true);
	m = aml_method(b, "_PRT", 0, false);
	i = aml_if(b);
	aml_name(b, "\\PICF");
	return_name(b, "PRTA");
	aml_end(b, i);
	return_name(b, "PRTP");
	aml_end(b, m);
}

static void create_dword(struct bytes *b, enum aml_op buffer, unsigned index, const char *name)
{
	aml_op(b, AML_CREATE_DWORD_FIELD);
	aml_op(b, buffer);
	aml_int(b, index);
	aml_name(b, name);
}

/* a = a | v */
static void or_into(struct bytes *b, const char *a, uint32_t v)
{
	aml_op(b, AML_OR);
	aml_name(b, a);
	aml_int(b, v);
	aml_name(b, a);
}

/* _OSC of a PCI Express host bridge (PCI firmware specification 3.0 4.5): the OS may control
 * everything but SHPC hot plug, which does not exist. */
static void root_osc(struct bytes *b)
{
	static const uint8_t uuid[16] = { 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					  0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66 };
	struct aml_mark m = aml_method(b, "_OSC", 4, true), i, j;

	create_dword(b, AML_ARG3, 0, "CDW1");
	i = aml_if(b);
	aml_op(b, AML_LEQUAL);
	aml_op(b, AML_ARG0);
	aml_buffer(b, uuid, sizeof(uuid));
	create_dword(b, AML_ARG3, 8, "CDW3");
	aml_op(b, AML_AND);
	aml_name(b, "CDW3");
	aml_int(b, 0x1d);
	aml_op(b, AML_LOCAL0);
	j = aml_if(b); /* something was refused */
	aml_op(b, AML_LNOT);
	aml_op(b, AML_LEQUAL);
	aml_op(b, AML_LOCAL0);
	aml_name(b, "CDW3");
	or_into(b, "CDW1", 0x10);
	aml_end(b, j);
	aml_op(b, AML_STORE);
	aml_op(b, AML_LOCAL0);
	aml_name(b, "CDW3");
	j = aml_if(b); /* unknown revision */
	aml_op(b, AML_LNOT);
	aml_op(b, AML_LEQUAL);
	aml_op(b, AML_ARG1);
	aml_int(b, 1);
	or_into(b, "CDW1", 0x8);
	aml_end(b, j);
	aml_end(b, i);
	i = aml_else(b); /* unknown UUID */
	or_into(b, "CDW1", 0x4);
	aml_end(b, i);
	aml_op(b, AML_RETURN);
	aml_op(b, AML_ARG3);
	aml_end(b, m);
}

void acpi_dsdt_com_port(struct bytes *b, unsigned n, uint16_t base, uint8_t irq)
{
	char name[8];
	struct bytes r = { 0 };
	struct aml_mark m;

	snprintf(name, sizeof(name), "COM%u", n + 1);
	m = aml_device(b, name);
	aml_name_eisaid(b, "_HID", "PNP0501");
	aml_name_int(b, "_UID", n + 1);
	res_io(&r, base, base, 8, 8);
	res_irq(&r, (uint16_t)(1u << irq));
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_end(b, m);
}

/* Where SeaBIOS and Linux look for it first. */
static void keyboard(struct bytes *b)
{
	struct aml_mark m = aml_device(b, "KBD");
	struct bytes r = { 0 };

	aml_name_eisaid(b, "_HID", "PNP0303");
	res_io(&r, 0x60, 0x60, 1, 1);
	res_io(&r, 0x64, 0x64, 1, 1);
	res_irq(&r, 1 << 1);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_end(b, m);
}

static void pirq_fields(struct bytes *b, const struct acpi_board *bd)
{
	struct aml_mark m;
	char name[8];

	aml_region(b, "PIRQ", AML_PCI_CONFIG, 0x60, bd->n_pirqs == 8 ? 0x0c : 4);
	m = aml_field(b, "PIRQ");
	for (unsigned i = 0; i < bd->n_pirqs; i++) {
		if (i == 4) /* 0x64-0x67 belong to something else */
			aml_field_skip(b, 32);
		snprintf(name, sizeof(name), "PRQ%c", 'A' + (int)(i & 7));
		aml_field_unit(b, name, 8);
	}
	aml_end(b, m);
}

static void isa_bridge(struct bytes *b, const struct acpi_config *cfg)
{
	struct aml_mark m = aml_device(b, "ISA"), d;
	struct bytes r = { 0 };

	aml_name_int(b, "_ADR", cfg->board->isa_adr);
	pirq_fields(b, cfg->board);
	d = aml_device(b, "RTC");
	aml_name_eisaid(b, "_HID", "PNP0B00");
	res_io(&r, 0x70, 0x70, 1, 8);
	res_irq(&r, 1 << 8);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_end(b, d);
	keyboard(b);
	for (unsigned i = 0; i < ARRAY_SIZE(cfg->com_ports); i++)
		if (cfg->com_ports[i])
			acpi_dsdt_com_port(b, i, cfg->com_ports[i], cfg->com_irqs[i]);
	aml_end(b, m);
}

/* Bridges get their places in the namespace: what is plugged behind can be named.  They have no
 * _PRT: their pins are the standard ones. */
static void bridges(struct bytes *b, const struct pci_bus *bus)
{
	for (unsigned i = 0; i < 256; i++) {
		const struct pci_dev *d = pci_bus_dev(bus, (uint8_t)i);
		struct aml_mark m;
		char name[8];

		if (!d || !d->secondary)
			continue;
		snprintf(name, sizeof(name), "S%02X_", i);
		m = aml_device(b, name);
		aml_name_int(b, "_ADR", PCI_SLOT(i) << 16 | PCI_FUNC(i));
		bridges(b, d->secondary);
		aml_end(b, m);
	}
}

static void pci_root(struct bytes *b, const struct acpi_config *cfg)
{
	const struct acpi_board *bd = cfg->board;
	struct aml_mark m = aml_device(b, "PCI0");

	if (bd->ecam_size) {
		aml_name_eisaid(b, "_HID", "PNP0A08");
		aml_name_eisaid(b, "_CID", "PNP0A03");
		root_osc(b);
	} else {
		aml_name_eisaid(b, "_HID", "PNP0A03");
	}
	aml_name_int(b, "_UID", 0);
	root_crs(b, cfg);
	root_prt(b, bd);
	isa_bridge(b, cfg);
	if (cfg->pci)
		bridges(b, cfg->pci);
	aml_end(b, m);
}

/* _STA: present, and enabled when the link is routed. */
static void link_status(struct bytes *b, const char *reg)
{
	struct aml_mark m = aml_method(b, "_STA", 0, false), i;

	i = aml_if(b);
	aml_op(b, AML_AND);
	aml_name(b, reg);
	aml_int(b, PIRQ_DISABLED);
	aml_null_target(b);
	aml_op(b, AML_RETURN);
	aml_int(b, 0x9);
	aml_end(b, i);
	aml_op(b, AML_RETURN);
	aml_int(b, 0xb);
	aml_end(b, m);
}

/* _CRS: the template with the register's IRQ at byte 5, where res_interrupts puts the first. */
static void link_current(struct bytes *b, const char *reg)
{
	static const uint32_t none[] = { 0 };
	struct bytes r = { 0 };
	struct aml_mark m;

	res_interrupts(&r, none, 1);
	aml_name_op(b, "BUFF");
	aml_resources(b, &r);
	m = aml_method(b, "_CRS", 0, true);
	aml_op(b, AML_CREATE_DWORD_FIELD);
	aml_name(b, "BUFF");
	aml_int(b, 5);
	aml_name(b, "IRQN");
	aml_op(b, AML_AND);
	aml_name(b, reg);
	aml_int(b, 0xf);
	aml_name(b, "IRQN");
	return_name(b, "BUFF");
	aml_end(b, m);
}

static void link_device(struct bytes *b, unsigned n)
{
	struct bytes r = { 0 };
	struct aml_mark m, f;
	char name[16], reg[24];

	link_name(name, n);
	snprintf(reg, sizeof(reg), "\\_SB.PCI0.ISA.PRQ%c", 'A' + (int)(n & 7));
	m = aml_device(b, name + 5);
	aml_name_eisaid(b, "_HID", "PNP0C0F");
	aml_name_int(b, "_UID", n);
	res_interrupts(&r, link_irqs, ARRAY_SIZE(link_irqs));
	aml_name_op(b, "_PRS");
	aml_resources(b, &r);
	link_status(b, reg);
	link_current(b, reg);
	f = aml_method(b, "_DIS", 0, false);
	or_into(b, reg, PIRQ_DISABLED);
	aml_end(b, f);
	f = aml_method(b, "_SRS", 1, true);
	create_dword(b, AML_ARG0, 5, "IRQN");
	aml_op(b, AML_STORE);
	aml_name(b, "IRQN");
	aml_name(b, reg);
	aml_end(b, f);
	aml_end(b, m);
}

static void hpet_device(struct bytes *b)
{
	struct aml_mark m = aml_device(b, "HPET");
	struct bytes r = { 0 };

	aml_name_eisaid(b, "_HID", "PNP0103");
	aml_name_int(b, "_UID", 0);
	res_memory32_fixed(&r, false, HPET_BASE, HPET_SIZE);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_end(b, m);
}

/* Ranges that no driver claims and nothing else may be put on. */
static void motherboard(struct bytes *b, const struct acpi_config *cfg)
{
	const struct acpi_board *bd = cfg->board;
	struct aml_mark m = aml_device(b, "MBRD");
	struct bytes r = { 0 };

	aml_name_eisaid(b, "_HID", "PNP0C02");
	aml_name_int(b, "_UID", 0);
	res_io(&r, ACPI_SMI_CMD, ACPI_SMI_CMD, 1, 2);
	res_io(&r, 0x4d0, 0x4d0, 1, 2);
	res_io(&r, acpi_pm_port(cfg, bd->pm_base), acpi_pm_port(cfg, bd->pm_base), 1,
	       (uint8_t)bd->pm_len);
	if (bd->gpe - bd->pm_base >= bd->pm_len)
		res_io(&r, bd->gpe, bd->gpe, 1, bd->gpe_len);
	if (bd->ecam_size)
		res_memory32_fixed(&r, true, (uint32_t)cfg->ecam_base, (uint32_t)bd->ecam_size);
	aml_name_op(b, "_CRS");
	aml_resources(b, &r);
	aml_end(b, m);
}

void acpi_dsdt_processors(struct bytes *b, unsigned n_cpus)
{
	for (unsigned i = 0; i < n_cpus; i++) {
		struct aml_mark m;
		char name[8];

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		m = aml_device(b, name);
		aml_name_op(b, "_HID");
		aml_string(b, "ACPI0007");
		aml_name_int(b, "_UID", i);
		aml_end(b, m);
	}
}

static void interrupt_model(struct bytes *b)
{
	struct aml_mark m;

	aml_name_int(b, "\\PICF", 0);
	m = aml_method(b, "\\_PIC", 1, false);
	aml_op(b, AML_STORE);
	aml_op(b, AML_ARG0);
	aml_name(b, "\\PICF");
	aml_end(b, m);
}

void acpi_dsdt_soft_off(struct bytes *b, uint8_t slp_typ)
{
	struct aml_mark m;

	aml_name_op(b, "\\_S5");
	m = aml_package(b, 4);
	aml_int(b, slp_typ);
	aml_int(b, slp_typ);
	aml_int(b, 0);
	aml_int(b, 0);
	aml_end(b, m);
}

void acpi_dsdt_body(struct bytes *b, const struct acpi_config *cfg)
{
	struct aml_mark sb;

	interrupt_model(b);
	sb = aml_scope(b, "\\_SB");
	pci_root(b, cfg);
	for (unsigned i = 0; i < cfg->board->n_pirqs; i++)
		link_device(b, i);
	hpet_device(b);
	motherboard(b, cfg);
	acpi_dsdt_processors(b, cfg->n_cpus);
	aml_end(b, sb);
	acpi_dsdt_soft_off(b, ACPI_SLP_TYP_S5);
}
