/* SPDX-License-Identifier: Apache-2.0 */
/* What boards share: memory, ports, tables; and for those with a chip set: ISA chips, interrupt
 * controllers, timers. */
#include <errno.h>
#include <string.h>
#include "back/display/display.h"
#include "base/err.h"
#include "dev/acpi/pm.h"
#include "dev/char/debugcon.h"
#include "dev/char/uart.h"
#include "dev/dev.h"
#include "dev/flash/pflash.h"
#include "dev/fwcfg.h"
#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/legacy/i8042.h"
#include "dev/legacy/misc.h"
#include "dev/pci/pam.h"
#include "dev/timer/hpet.h"
#include "dev/timer/pit.h"
#include "dev/timer/rtc.h"
#include "machine/board.h"
#include "machine/mptable.h"
#include "machine/smbios.h"
#include "machine/vm.h"

#define FIRMWARE_MAX (16 * MiB)
#define FIRMWARE_UNIT (64 * KiB)
#define FIRMWARE_LOW (128 * KiB) /* shown below 1 MiB */
#define DEBUGCON_PORT 0x402

/* CMOS bytes that firmware reads. */
#define CMOS_EQUIPMENT 0x14
#define CMOS_CPUS 0x5f

/* Where tables lie without firmware; SMBIOS' anchor must be in the last 64 KiB below 1 MiB. */
#define TABLES_BASE FW_AREA
#define SMBIOS_ANCHOR 0xf0000u
#define SMBIOS_TABLES 0xf0040u
#define RSDP_BASE 0xf8000u

static const struct {
	const char *id;
	uint16_t port;
	uint8_t irq;
} com_ports[4] = {
	{ "serial0", 0x3f8, 4 },
	{ "serial1", 0x2f8, 3 },
	{ "serial2", 0x3e8, 4 },
	{ "serial3", 0x2e8, 3 },
};

const struct board_ops *const boards[] = { &board_pc, &board_q35, &board_microvm, NULL };

const struct board_ops *board_find(const char *name)
{
	for (int i = 0; boards[i]; i++)
		if (!strcmp(boards[i]->name, name))
			return boards[i];
	return NULL;
}

uint64_t pc_ram_total(const struct ram_layout *ram, uint64_t firmware_size)
{
	return ram->below_4g + ram->above_4g + align_up(firmware_size, PAGE_SIZE);
}

static void map_ram(struct mem *mem, const struct ram_layout *ram, struct pam_config *pam)
{
	uint64_t low = mem_ram_alloc(mem, ram->below_4g);

	pam->ram_off = low;
	mem_map_ram(mem, GPA(0), VGA_HOLE, low, 0);
	if (ram->below_4g > FW_AREA_END)
		mem_map_ram(mem, GPA(FW_AREA_END), ram->below_4g - FW_AREA_END, low + FW_AREA_END,
			    0);
	if (ram->above_4g)
		mem_map_ram(mem, GPA(4 * GiB), ram->above_4g, mem_ram_alloc(mem, ram->above_4g), 0);
}

/* The last of firmware's bytes are shown below 1 MiB, too, where a PC's BIOS is. */
static void map_low(struct mem *mem, uint64_t off, uint64_t size)
{
	uint64_t low = min_u64(size, FIRMWARE_LOW);

	mem_map_rom(mem, GPA(FW_AREA_END - low), low, off + size - low, NULL, 0);
}

static int map_firmware(struct mem *mem, const struct image *fw, struct err **e)
{
	uint64_t off;
	int r;

	if (fw->size > FIRMWARE_MAX || fw->size % FIRMWARE_UNIT)
		return err_set(
			e, EINVAL,
			"firmware '%s' has %llu bytes, not a multiple of 64 KiB up to 16 MiB",
			fw->path, (unsigned long long)fw->size);
	off = mem_ram_alloc(mem, fw->size);
	r = image_read(fw, 0, mem_ram_base(mem) + off, fw->size, e);
	if (r)
		return r;
	mem_map_rom(mem, GPA(4 * GiB - fw->size), fw->size, off, NULL, 0);
	map_low(mem, off, fw->size);
	return 0;
}

int pc_flash_size(struct block *const flash[2], uint64_t *size, struct err **e)
{
	*size = 0;
	if (flash[1] && !flash[0])
		return err_set(e, EINVAL, "there is flash unit 1 (variables), but no unit 0 (code)");
	for (unsigned i = 0; i < 2 && flash[i]; i++) {
		uint64_t one = pflash_size(flash[i], e);

		if (!one)
			return -EINVAL;
		*size += one;
	}
	if (*size > PFLASH_MAX)
		return err_set(e, EINVAL, "flash memories of more than 8 MiB together");
	return 0;
}

/* Unit 0 ends at 4 GiB, unit 1 below it. */
static int create_flash(struct pc *pc, struct block *const flash[2], struct err **e)
{
	static const char *const names[] = { "system.flash0", "system.flash1" };
	uint64_t end = 4 * GiB, off;
	int r = 0;

	for (unsigned i = 0; i < 2 && flash[i] && !r; i++) {
		uint64_t size = pflash_size(flash[i], e);

		end -= size;
		r = size ? pflash_create(pc->env, end, flash[i], names[i], &off, e) : -EINVAL;
		if (!r && i == 0)
			map_low(pc->env->mem, off, size);
	}
	return r;
}

static bool has_port(const struct pc_config *cfg, unsigned i)
{
	return cfg->serial[i] && !(cfg->board->opts && cfg->opts->isa_serial == VM_OFF);
}

static int create_ports(struct pc *pc, const struct pc_config *cfg, struct err **e)
{
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(com_ports) && !r; i++) {
		struct uart *u;

		if (!has_port(cfg, i))
			continue;
		r = uart_create(&u, pc->env, com_ports[i].id, com_ports[i].port,
				gsi_source(pc->gsi, com_ports[i].irq), cfg->serial[i], e);
		pc->acpi.com_ports[i] = com_ports[i].port;
		pc->acpi.com_irqs[i] = com_ports[i].irq;
	}
	if (!r && cfg->debugcon) {
		struct debugcon *d;

		r = debugcon_create(&d, pc->env,
				    cfg->debugcon_port ? cfg->debugcon_port : DEBUGCON_PORT,
				    cfg->debugcon, e);
	}
	return r;
}

void pc_chipset_create(struct pc *pc, const struct pc_config *cfg, const struct pam_config *low)
{
	const struct irq_line unused = { 0 };
	struct hpet *hpet;

	pc->apics = apics_create(pc->env, cfg->n_cpus, cfg->apics_ops, cfg->apics_opaque);
	pc->pic = pic_create(pc->env, apics_extint(pc->apics));
	pc->gsi = gsi_create(pc->env, pc->pic, ioapic_create(pc->env, pc->apics));
	pc->chipset = cfg->board->chipset->create(pc->env, pc->gsi, low);
	pc->acpi.pci = cfg->board->chipset->bus(pc->chipset);
	hpet = hpet_create(pc->env, pc->gsi, pc->apics);
	pit_create(pc->env, hpet_pit_in(hpet));
	pc->rtc = rtc_create(pc->env, hpet_rtc_in(hpet));
	dma8237_create(pc->env);
	port92_create(pc->env, unused);
	pc->i8042 = i8042_create(pc->env, gsi_source(pc->gsi, 1), gsi_source(pc->gsi, 12), unused);
	pc->fwcfg = fwcfg_create(pc->env);
}

void pc_chipset_setup(struct pc *pc)
{
	struct pci_space space;

	pc->acpi.ecam_base = pc->board->acpi.ecam_base;
	pc->acpi.pm_base = 0;
	acpi_pci_space(&pc->acpi, &space);
	i8042_setup(pc->i8042);
	pc->board->chipset->setup(pc->chipset, &space);
}

void pc_chipset_power_button(struct pc *pc)
{
	acpi_pm_power_button(pc->board->chipset->pm(pc->chipset));
}

int pc_create(struct pc *pc, struct dev_env *env, const struct pc_config *cfg, struct err **e)
{
	struct pam_config pam;
	int r = 0;

	*pc = (struct pc){
		.board = cfg->board,
		.env = env,
		.ram = cfg->ram,
		.firmware = cfg->firmware || cfg->flash[0],
		.acpi = {
			.board = &cfg->board->acpi,
			.ram = cfg->ram,
			.n_cpus = cfg->n_cpus,
			.phys_bits = cfg->phys_bits,
			.ecam_base = cfg->board->acpi.ecam_base,
		},
	};
	pc->smbios = cfg->smbios;
	memcpy(pc->uuid, cfg->uuid, sizeof(pc->uuid));
	mem_begin(env->mem);
	map_ram(env->mem, &cfg->ram, &pam);
	if (cfg->flash[0])
		r = create_flash(pc, cfg->flash, e);
	else if (cfg->firmware)
		r = map_firmware(env->mem, cfg->firmware, e);
	mem_commit(env->mem);
	if (r)
		return r;
	cfg->board->create(pc, cfg, &pam);
	return create_ports(pc, cfg, e);
}

static void add_file(struct pc *pc, const char *name, const struct bytes *b)
{
	fwcfg_add_file(pc->fwcfg, name, b->p, (uint32_t)b->len);
}

static void smbios_for(const struct pc *pc, struct smbios *s)
{
	struct smbios_config cfg = {
		.machine = pc->board->name,
		.ram = pc->ram,
		.n_cpus = pc->acpi.n_cpus,
		.fields = pc->smbios,
	};

	memcpy(cfg.uuid, pc->uuid, sizeof(cfg.uuid));
	smbios_build(s, &cfg);
}

/* Firmware places ECAM and the PM registers where it likes and reads the tables later: they must tell
 * where these are. */
static void refresh_acpi(void *opaque)
{
	struct pc *pc = opaque;
	const struct chipset_ops *chipset = pc->board->chipset;
	uint64_t ecam = acpi_ecam_base(&pc->acpi, chipset->ecam ? chipset->ecam(pc->chipset) : 0);
	uint16_t pm = chipset->pm_base(pc->chipset);
	struct acpi_tables acpi;

	if (ecam == pc->acpi.ecam_base && pm == pc->acpi.pm_base)
		return;
	pc->acpi.ecam_base = ecam;
	pc->acpi.pm_base = pm;
	acpi_build(&acpi, &pc->acpi);
	add_file(pc, ACPI_FILE_TABLES, &acpi.blob[ACPI_BLOB_TABLES]);
	acpi_free(&acpi);
}

static void add_acpi(struct pc *pc)
{
	struct acpi_tables acpi;
	struct bytes script = { 0 };

	acpi_build(&acpi, &pc->acpi);
	acpi_loader_script(&acpi, &script);
	add_file(pc, ACPI_FILE_TABLES, &acpi.blob[ACPI_BLOB_TABLES]);
	add_file(pc, ACPI_FILE_RSDP, &acpi.blob[ACPI_BLOB_RSDP]);
	add_file(pc, ACPI_FILE_LOADER, &script);
	if (pc->board->chipset)
		fwcfg_on_select(pc->fwcfg, ACPI_FILE_TABLES, refresh_acpi, pc);
	bytes_free(&script);
	acpi_free(&acpi);
}

static void add_tables(struct pc *pc)
{
	struct smbios smbios;
	struct e820_map e820;

	if (!pc->no_acpi)
		add_acpi(pc);
	smbios_for(pc, &smbios);
	add_file(pc, "etc/smbios/smbios-anchor", &smbios.anchor);
	add_file(pc, "etc/smbios/smbios-tables", &smbios.tables);
	smbios_free(&smbios);
	e820_build_firmware(&e820, &pc->ram);
	fwcfg_add_file(pc->fwcfg, "etc/e820", e820.e, (uint32_t)(e820.n * sizeof(e820.e[0])));
}

static bool has_vga(const struct pc *pc)
{
	for (const struct display *d = pc->env->displays; d; d = d->next)
		if (d->ops->text_mode)
			return true;
	return false;
}

void pc_firmware_items(struct pc *pc)
{
	static const uint8_t irq0_on_pin2 = 1;
	unsigned n = pc->acpi.n_cpus;

	pc->acpi.vga = has_vga(pc);
	if (pc->board->plugged)
		pc->board->plugged(pc);
	fwcfg_add_u64(pc->fwcfg, FW_CFG_RAM_SIZE, pc->ram.below_4g + pc->ram.above_4g);
	fwcfg_add_key(pc->fwcfg, FW_CFG_UUID, pc->uuid, sizeof(pc->uuid));
	fwcfg_add_u16(pc->fwcfg, FW_CFG_NB_CPUS, (uint16_t)n);
	fwcfg_add_u16(pc->fwcfg, FW_CFG_MAX_CPUS, (uint16_t)n);
	fwcfg_add_u16(pc->fwcfg, FW_CFG_NOGRAPHIC, !pc->acpi.vga);
	fwcfg_add_file(pc->fwcfg, "bios-geometry", "", 1);
	fwcfg_add_file(pc->fwcfg, "etc/irq0-override", &irq0_on_pin2, 1);
	add_tables(pc);
	if (!pc->rtc)
		return;
	rtc_cmos_set_memory(pc->rtc, pc->ram.below_4g, pc->ram.above_4g);
	rtc_cmos_set(pc->rtc, CMOS_EQUIPMENT, 0x02); /* coprocessor; VGA or no display; no floppy */
	rtc_cmos_set(pc->rtc, CMOS_CPUS, (uint8_t)(n - 1));
}

void pc_e820_direct(const struct pc *pc, struct e820_map *out)
{
	e820_build_direct(out, &pc->ram, pc->board->acpi.ecam_base, pc->board->acpi.ecam_size);
}

static int put(struct pc *pc, uint64_t addr, const struct bytes *b, uint64_t limit, struct err **e)
{
	if (b->len > limit - addr)
		return err_set(e, E2BIG, "machine tables for %u CPUs do not fit below 1 MiB",
			       pc->acpi.n_cpus);
	if (mem_dma_write(pc->env->mem, GPA(addr), b->p, b->len))
		return err_set(e, ENOMEM, "guest RAM is too small for the machine's tables");
	return 0;
}

static int put_acpi(struct pc *pc, struct err **e)
{
	struct acpi_tables acpi;
	int r;

	acpi_build(&acpi, &pc->acpi);
	acpi_place(&acpi, TABLES_BASE, RSDP_BASE);
	r = put(pc, TABLES_BASE, &acpi.blob[ACPI_BLOB_TABLES], SMBIOS_ANCHOR, e);
	if (!r)
		r = put(pc, RSDP_BASE, &acpi.blob[ACPI_BLOB_RSDP], FW_AREA_END, e);
	acpi_free(&acpi);
	return r;
}

static int put_mptable(struct pc *pc, struct err **e)
{
	struct mptable_config cfg = {
		.n_cpus = pc->acpi.n_cpus,
		.ioapic2 = pc->acpi.ioapic2,
		.level_first = pc->acpi.virtio_gsi,
		.level_n = 8,
	};
	struct bytes b = { 0 };
	int r;

	mptable_build(&b, &cfg, RSDP_BASE);
	r = put(pc, RSDP_BASE, &b, FW_AREA_END, e);
	bytes_free(&b);
	return r;
}

static int put_smbios(struct pc *pc, struct err **e)
{
	struct smbios smbios;
	int r;

	smbios_for(pc, &smbios);
	smbios_place(&smbios, SMBIOS_TABLES);
	r = put(pc, SMBIOS_ANCHOR, &smbios.anchor, SMBIOS_TABLES, e);
	if (!r)
		r = put(pc, SMBIOS_TABLES, &smbios.tables, RSDP_BASE, e);
	smbios_free(&smbios);
	return r;
}

int pc_setup_direct(struct pc *pc, uint64_t *rsdp, struct err **e)
{
	int r;

	for (struct display *d = pc->env->displays; d; d = d->next)
		if (d->ops->text_mode)
			d->ops->text_mode(d->opaque);
	pc->board->setup(pc);
	r = pc->no_acpi ? put_mptable(pc, e) : put_acpi(pc, e);
	*rsdp = pc->no_acpi ? 0 : RSDP_BASE;
	return r ? r : put_smbios(pc, e);
}
