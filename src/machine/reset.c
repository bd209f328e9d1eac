/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing a machine to its starting point, and telling how a guest died. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "machine/boot/boot.h"
#include "machine/vm_int.h"
#include "x86/cpuid.h"

/* Memory types (SDM 3A 11.11). */
#define MTRR_UC 0
#define MTRR_WB 6
#define MTRR_DEF_ENABLE (BIT(11) | BIT(10)) /* MTRRs, fixed-range MTRRs */
#define MTRR_VALID BIT(11)
#define MTRR_FIXED_VGA 2 /* index of the fixed MTRR for 0xa0000-0xbffff */

/* What firmware does on every processor: write-back memory but for the VGA hole and the PCI hole
 * below 4 GiB. */
static void setup_mtrrs(const struct vm *vm, struct x86_state *s)
{
	uint64_t start = ram_pci_hole(&vm->ram);
	uint64_t phys_mask = BIT(vm->phys_bits) - 1;

	s->mtrr_def_type = MTRR_DEF_ENABLE | MTRR_WB;
	for (unsigned i = 0; i < ARRAY_SIZE(s->mtrr_fixed); i++)
		s->mtrr_fixed[i] = i == MTRR_FIXED_VGA ? 0 : MTRR_WB * UINT64_C(0x0101010101010101);
	for (unsigned i = 0; start < 4 * GiB && i < X86_MTRR_VAR; i++) {
		uint64_t size = start & -start; /* largest block that may start here */

		s->mtrr_var[i].base = start | MTRR_UC;
		s->mtrr_var[i].mask = (~(size - 1) & phys_mask) | MTRR_VALID;
		start += size;
	}
}

static int load_kernel(struct vm *vm, uint64_t rsdp, struct x86_state *bsp, struct err **e)
{
	struct e820_map e820;
	struct boot_config cfg = {
		.kernel = &vm->kernel,
		.initrd = vm->initrd.fd >= 0 ? &vm->initrd : NULL,
		.mem = vm->mem,
		.e820 = &e820,
		.below_4g = vm->ram.below_4g,
		.rsdp = rsdp,
		.vga_text = vm->pc.acpi.vga,
		.long_mode = x86_cpuid_has(vm->cpuid, X86_FEAT_LM),
	};

	char *more = vm->board->cmdline ? vm->board->cmdline(&vm->pc) : NULL;
	char *line = more ? xasprintf("%s%s%s", vm->cmdline, *vm->cmdline ? " " : "", more) : NULL;
	int r;

	cfg.cmdline = line ? line : vm->cmdline;
	pc_e820_direct(&vm->pc, &e820);
	r = boot_load(&cfg, bsp, e);
	free(more);
	free(line);
	return r;
}

int vm_reset_now(struct vm *vm, struct err **e)
{
	bool direct = !vm->pc.firmware;
	uint64_t rsdp = 0;
	int r = 0;

	lock_take(&vm->dev_lock);
	pc_boot_items(&vm->pc, &vm->boot, !vm->started);
	vm->started = true;
	dev_reset_all(&vm->env);
	if (direct)
		r = pc_setup_direct(&vm->pc, &rsdp, e);
	lock_drop(&vm->dev_lock);
	vcpus_drain(vm);
	for (unsigned i = 0; i < vm->n_cpus && !r; i++) {
		struct x86_state s;

		x86_state_reset(&s, i == 0, x86_cpuid_signature(vm->cpuid));
		if (direct) {
			setup_mtrrs(vm, &s);
			if (i == 0)
				r = load_kernel(vm, rsdp, &s, e);
		}
		vm->engine->set(vm->ev, i, &s);
	}
	vm->reset_time = vclock_now(vm->clock);
	return r;
}

static void emit_line(void *opaque, const char *line)
{
	fprintf(stderr, "%s\n", line);
}

void vm_report(struct vm *vm, unsigned cpu, const char *why)
{
	fprintf(stderr, "%s: %s on vCPU %u\n", vm->name, why, cpu);
	vm->engine->report(vm->ev, cpu, emit_line, NULL);
}
