/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * ACPI tables of a machine (ACPI 6.4).  One builder serves both ways to the guest: placed by us
 * (acpi_place), or placed by firmware that runs the linker script in fw_cfg (acpi_loader_script).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "dev/pci/pci.h"
#include "base/bytes.h"
#include "machine/ram.h"

/* What of a board its tables tell; const in each board. */
struct acpi_board {
	bool reduced; /* hardware-reduced: dev/acpi/ged.h in place of all that follows */
	uint16_t pm_evt, pm_cnt, pm_tmr; /* ports of the PM1a blocks and the PM timer */
	uint16_t pm_base, pm_len; /* the whole PM register range, where it is without firmware */
	uint16_t gpe;
	uint8_t gpe_len;
	uint16_t reset_port;
	uint8_t reset_value;
	uint64_t ecam_base, ecam_size; /* size 0: no ECAM */
	uint32_t isa_adr; /* _ADR of the ISA bridge */
	unsigned n_pirqs; /* 4 or 8 interrupt link devices */
	bool pirq_gsi; /* PIRQ n is wired to GSI 16 + n when the I/O APIC is used */
	/* PIRQ of INTx pin (0..3) of a slot. */
	unsigned (*pirq)(unsigned slot, unsigned pin);
};

struct acpi_config {
	const struct acpi_board *board;
	struct ram_layout ram;
	unsigned n_cpus;
	unsigned phys_bits; /* guest-physical address width */
	uint16_t com_ports[4]; /* I/O base of each serial port; 0: absent */
	uint8_t com_irqs[4];
	bool no_pic; /* there are no 8259s */
	bool ioapic2; /* at IOAPIC2_BASE, GSI 24 and on */
	/* Of reduced boards. */
	bool rtc;
	/* Registers and GSIs of virtio-mmio slots: slot n with the bit BIT(n) has a device. */
	uint64_t virtio_base, virtio_used;
	unsigned virtio_gsi;
	/* Of the others. */
	const struct pci_bus *pci; /* the root bus; NULL: no bridges are told of */
	bool vga; /* there is a VGA */
	uint64_t ecam_base; /* where it is now, when the board has it */
	uint16_t pm_base; /* where the PM registers are now; 0: where the board says */
};

enum acpi_blob { ACPI_BLOB_TABLES, ACPI_BLOB_RSDP, ACPI_BLOB_COUNT };

#define ACPI_FIXUPS 32
struct acpi_tables {
	struct bytes blob[ACPI_BLOB_COUNT];
	struct acpi_pointer { /* at blob[in]+off: an offset into blob[to], to become an address */
		enum acpi_blob in, to;
		uint32_t off;
		uint8_t size;
	} pointer[ACPI_FIXUPS];
	unsigned n_pointers;
	struct acpi_sum { /* bytes [start, start+len) of blob[in] sum to 0 by the byte at off */
		enum acpi_blob in;
		uint32_t off, start, len;
	} sum[ACPI_FIXUPS];
	unsigned n_sums;
};

void acpi_build(struct acpi_tables *t, const struct acpi_config *cfg);
void acpi_free(struct acpi_tables *t);
/* acpi_place - the blobs as they must be at these guest-physical addresses (multiples of 64). */
void acpi_place(struct acpi_tables *t, uint64_t tables, uint64_t rsdp);
/* acpi_loader_script - "etc/table-loader" for files named "etc/acpi/tables" and "etc/acpi/rsdp". */
void acpi_loader_script(const struct acpi_tables *t, struct bytes *out);

#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP "etc/acpi/rsdp"
#define ACPI_FILE_LOADER "etc/table-loader"

/* acpi_pm_port - where a port of the board's is now: those in the PM range have moved with it. */
uint16_t acpi_pm_port(const struct acpi_config *cfg, uint16_t port);

/* dsdt.c: the definition block after its header. */
void acpi_dsdt_body(struct bytes *b, const struct acpi_config *cfg);

/* reduced.c: of hardware-reduced boards.  f: the FADT, ACPI_FADT6_SIZE zeroed bytes after its header. */
#define ACPI_FADT6_SIZE 276
void acpi_reduced_fadt(uint8_t *f);
void acpi_reduced_dsdt_body(struct bytes *b, const struct acpi_config *cfg);
/* Parts of both definition blocks. */
void acpi_dsdt_com_port(struct bytes *b, unsigned n, uint16_t base, uint8_t irq);
void acpi_dsdt_processors(struct bytes *b, unsigned n_cpus);
void acpi_dsdt_soft_off(struct bytes *b, uint8_t slp_typ);

/* acpi_pci_space - the room for PCI without firmware, within the windows that the DSDT tells. */
#define PCI_MEM_END 0xfec00000u
void acpi_pci_space(const struct acpi_config *cfg, struct pci_space *out);
/* acpi_ecam_base - base, if ECAM there is within the room for PCI, and tables that tell so are as long as
 * those that tell of the board's own place; else the board's. */
uint64_t acpi_ecam_base(const struct acpi_config *cfg, uint64_t base);
