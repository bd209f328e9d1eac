/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual machine from configuration to end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "back/block/block.h"
#include "base/err.h"
#include "dev/fwcfg.h"
#include "dev/irq/apic.h"
#include "dev/registry.h"
#include "machine/boot/boot.h"
#include "machine/firmware.h"
#include "machine/smbios.h"
#include "machine/vm_int.h"
#include "x86/cpuid.h"

#define RAM_MIN MiB
#define FV_SIGNATURE_OFFSET 0x28

static void request_reset(void *opaque)
{
	vm_reset_for(opaque, VM_CAUSE_GUEST_RESET);
}

static void request_poweroff(void *opaque)
{
	vm_request(opaque, REQ_POWEROFF, true);
	vcpus_kick(opaque);
}

static void request_exit(void *opaque, int status)
{
	vm_quit_for(opaque, status, VM_CAUSE_GUEST_SHUTDOWN);
}

static char *firmware_file(void *opaque, const char *name)
{
	return firmware_find((const char *const *)((struct vm *)opaque)->firmware_dirs, name);
}

static void emit(void *opaque, const char *name, const struct vm_event_arg *args, unsigned n)
{
	vm_emit(opaque, name, args, n);
}

static void map_changed(void *opaque)
{
	struct vm *vm = opaque;

	vm->engine->map_changed(vm->ev);
}

/* Everything of the configuration that can be judged by itself. */
static int check_config(struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	const char *machine = cfg->machine ? cfg->machine : boards[0]->name;

	vm->board = board_find(machine);
	if (!vm->board)
		return err_set(e, EINVAL, "unknown machine '%s' (try '-machine help')", machine);
	if (cfg->n_cpus < 1 || cfg->n_cpus > vm->board->max_cpus)
		return err_set(e, EINVAL, "a machine has 1 to %u CPUs, not %u", vm->board->max_cpus,
			       cfg->n_cpus);
	for (unsigned i = vm->board->serials; i < ARRAY_SIZE(cfg->serial); i++)
		if (cfg->serial[i])
			return err_set(e, EINVAL, "machine '%s' has %u serial port%s", machine,
				       vm->board->serials, vm->board->serials == 1 ? "" : "s");
	if (cfg->driven && cfg->n_cpus != 1)
		return err_set(e, EINVAL, "a driven machine has one CPU, not %u", cfg->n_cpus);
	if (cfg->mem_size < RAM_MIN)
		return err_set(e, EINVAL, "guest RAM must be at least 1 MiB");
	if (cfg->mem_size > 1024 * GiB * 1024)
		return err_set(e, EINVAL, "guest RAM cannot be larger than 1 PiB");
	if (!cfg->kernel && !cfg->bios && !cfg->pflash[0])
		return err_set(e, EINVAL, "nothing to start: give a kernel or a BIOS");
	if (!cfg->kernel && (cfg->initrd || (cfg->append && *cfg->append)))
		return err_set(e, EINVAL, "%s without a kernel",
			       cfg->initrd ? "an initrd" : "a kernel command line");
	for (size_t i = 0; i < cfg->n_devices; i++) {
		int r = dev_create_check(cfg->devices[i].driver, cfg->devices[i].props, e);

		if (r)
			return r;
	}
	return 0;
}

static int check_smbios(const struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	struct smbios_config s = {
		.machine = vm->board->name,
		.ram = vm->ram,
		.n_cpus = vm->n_cpus,
		.fields = cfg->smbios,
	};

	return smbios_check(&s, e);
}

/* A kernel is started without firmware, or by firmware that takes it out of fw_cfg: that is EFI's, not
 * a BIOS.  Its images begin with a firmware volume (PI 1.7 volume 3, 3.2.1). */
static int check_loader(const struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	char sign[4] = "";
	int r = 0;

	if (cfg->pflash[0])
		r = block_pread(cfg->pflash[0], FV_SIGNATURE_OFFSET, sign, sizeof(sign));
	else if (cfg->bios)
		r = image_read(&vm->firmware, FV_SIGNATURE_OFFSET, sign, sizeof(sign), NULL);
	else
		return 0;
	if (r || memcmp(sign, "_FVH", 4))
		return err_set(e, EINVAL,
			       "this firmware does not start kernels: give a kernel without it, or EFI firmware");
	return 0;
}

static int open_images(struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	int r = 0;

	if (cfg->kernel)
		r = image_open(&vm->kernel, "kernel", cfg->kernel, e);
	if (!r && cfg->initrd)
		r = image_open(&vm->initrd, "initrd", cfg->initrd, e);
	if (!r && cfg->bios)
		r = image_open(&vm->firmware, "firmware", cfg->bios, e);
	return r || !cfg->kernel ? r : check_loader(vm, cfg, e);
}

static int create_engine(struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	struct engine_config ec = {
		.mem = vm->mem,
		.log = vm->log,
		.clock = vm->clock,
		.cpuid = vm->cpuid,
		.n_cpus = vm->n_cpus,
		.host = &vm_host_ops,
		.host_opaque = vm,
		.stress = cfg->accel_stress,
		.perfmap = cfg->accel_perfmap,
		.gdbjit = cfg->accel_gdbjit,
	};
	const struct engine_ops *engine = cfg->accel ? engine_find(cfg->accel) : engine_list()[0];
	int r;

	if (!engine)
		return err_set(e, EINVAL, "unknown accelerator '%s' (try '-accel help')",
			       cfg->accel);
	r = engine->probe(e);
	if (r)
		return r;
	vm->engine = engine;
	r = engine->vm_init(&vm->ev, &ec, e);
	if (!r)
		mem_set_listener(vm->mem, map_changed, vm);
	return r;
}

static int create_cpus(struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	int r = x86_cpuid_create(&vm->cpuid, cfg->cpu ? cfg->cpu : "max", vm->n_cpus,
				 vclock_tsc_khz(vm->clock), e);

	if (r)
		return r;
	vm->phys_bits = x86_cpuid_phys_bits(vm->cpuid);
	if (4 * GiB + vm->ram.above_4g > BIT(vm->phys_bits))
		return err_set(e, EINVAL,
			       "guest RAM does not fit in the CPU model's %u address bits",
			       vm->phys_bits);
	vm->cpus = xcalloc(vm->n_cpus, sizeof(*vm->cpus));
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		struct vcpu *v = &vm->cpus[i];

		v->vm = vm;
		v->index = i;
		v->stop = -1;
		lock_init(&v->lock, LOCK_RANK_VCPU, "vcpu");
		cond_init(&v->wake);
		cond_init(&v->parked_cond);
	}
	return create_engine(vm, cfg, e);
}

static void send_msi(void *apics, uint16_t requester, uint64_t addr, uint32_t data)
{
	apics_msi(apics, addr, data);
}

static int create_devices(struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	struct pc_config pc = {
		.board = vm->board,
		.ram = vm->ram,
		.n_cpus = vm->n_cpus,
		.phys_bits = vm->phys_bits,
		.firmware = vm->firmware.fd >= 0 ? &vm->firmware : NULL,
		.flash = { cfg->pflash[0], cfg->pflash[1] },
		.debugcon = cfg->debugcon,
		.debugcon_port = cfg->debugcon_port,
		.smbios = cfg->smbios,
		.opts = &cfg->board,
		.apics_ops = &vm_apics_ops,
		.apics_opaque = vm,
	};
	struct dev_slots slots = {
		.env = &vm->env,
		.backends = cfg->backends,
	};
	int r;

	memcpy(pc.serial, cfg->serial, sizeof(pc.serial));
	memcpy(pc.uuid, cfg->uuid, sizeof(pc.uuid));
	r = pc_create(&vm->pc, &vm->env, &pc, e);
	if (r)
		return r;
	vm->env.msi = send_msi;
	vm->env.msi_opaque = vm->pc.apics;
	slots.gsi = vm->pc.gsi;
	lock_take(&vm->dev_lock);
	for (size_t i = 0; i < cfg->n_devices && !r; i++)
		r = dev_create(&slots, cfg->devices[i].driver, cfg->devices[i].props, e);
	events_balloon(vm);
	lock_drop(&vm->dev_lock);
	if (r)
		return r;
	pc_firmware_items(&vm->pc);
	for (size_t i = 0; i < cfg->n_fw_items; i++)
		fwcfg_add_file(vm->pc.fwcfg, cfg->fw_items[i].name, cfg->fw_items[i].data,
			       cfg->fw_items[i].len);
	return vm->pc.firmware && cfg->kernel ? boot_fw_items(&vm->kernel,
							      vm->initrd.fd >= 0 ? &vm->initrd : NULL,
							      vm->cmdline, vm->pc.fwcfg, e)
					      : 0;
}

static int create_event(struct vm *vm, struct err **e)
{
	vm->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->event < 0)
		return err_set(e, errno, "cannot make an eventfd: %s", strerror(errno));
	vm->event_watch = loop_fd_add(vm->loop, vm->event, EPOLLIN, NULL, vm_event, vm);
	return 0;
}

static void init_fields(struct vm *vm, const struct vm_config *cfg)
{
	lock_init(&vm->lock, LOCK_RANK_VM, "vm");
	lock_init(&vm->dev_lock, LOCK_RANK_MACHINE, "machine");
	events_init(vm);
	vm->status = -1;
	vm->event = -1;
	vm->kernel.fd = vm->initrd.fd = vm->firmware.fd = -1;
	vm->name = xstrdup(cfg->name ? cfg->name : "doppel");
	vm->cmdline = xstrdup(cfg->append ? cfg->append : "");
	vm->no_reboot = cfg->no_reboot;
	vm->no_shutdown = cfg->no_shutdown;
	vm->start_paused = cfg->start_paused;
	vm->driven = cfg->driven;
	vm->blocks = cfg->blocks;
	if (vm->blocks)
		blocks_set_error_hook(vm->blocks, vm_block_error, vm);
	vm->log = cfg->log;
	vm->loop = cfg->loop;
	vm->clock = cfg->driven ? vclock_create_manual() : vclock_create();
	vm->env = (struct dev_env){
		.loop = vm->loop,
		.clock = vm->clock,
		.lock = &vm->dev_lock,
		.log = vm->log,
		.request_reset = request_reset,
		.request_poweroff = request_poweroff,
		.request_exit = request_exit,
		.emit = emit,
		.firmware_file = firmware_file,
		.opaque = vm,
	};
}

static void copy_dirs(struct vm *vm, const char *const *dirs)
{
	size_t n = 0;

	while (dirs && dirs[n])
		n++;
	vm->firmware_dirs = xcalloc(n + 1, sizeof(*vm->firmware_dirs));
	for (size_t i = 0; i < n; i++)
		vm->firmware_dirs[i] = xstrdup(dirs[i]);
}

/* Guest RAM, firmware and what devices show as memory. */
static int create_mem(struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	uint64_t sum = pc_ram_total(&vm->ram, vm->firmware.fd >= 0 ? vm->firmware.size : 0), flash;
	int r = pc_flash_size(cfg->pflash, &flash, e);

	if (r)
		return r;
	for (size_t i = 0; i < cfg->n_devices; i++)
		sum += dev_create_ram(cfg->devices[i].driver, cfg->devices[i].props);
	r = mem_create(&vm->mem, sum + flash, vm->log, e);
	vm->env.mem = vm->mem;
	return r;
}

static char *own(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static int create(struct vm *vm, const struct vm_config *cfg, struct err **e)
{
	uint64_t size = align_up(cfg->mem_size, PAGE_SIZE);
	int r = check_config(vm, cfg, e);

	if (!r)
		r = open_images(vm, cfg, e);
	if (!r)
		r = create_event(vm, e);
	if (r)
		return r;
	ram_split(&vm->ram, size, vm->board->ram_threshold, vm->board->ram_low);
	vm->n_cpus = cfg->n_cpus;
	r = check_smbios(vm, cfg, e);
	if (!r)
		r = create_mem(vm, cfg, e);
	if (!r)
		r = create_cpus(vm, cfg, e);
	if (!r)
		r = create_devices(vm, cfg, e);
	if (!r)
		r = vm_reset_now(vm, e);
	return r || vm->driven ? r : vcpus_start(vm, e);
}

int vm_create(struct vm **out, const struct vm_config *cfg, struct err **e)
{
	struct vm *vm = xzalloc(sizeof(*vm));
	int r;

	init_fields(vm, cfg);
	copy_dirs(vm, cfg->firmware_dirs);
	vm->boot = cfg->boot;
	vm->boot.order = own(cfg->boot.order);
	vm->boot.once = own(cfg->boot.once);
	r = create(vm, cfg, e);
	if (r) {
		vm_destroy(vm);
		return r;
	}
	*out = vm;
	return 0;
}

static void stats_line(void *opaque, const char *line)
{
	log_printf(opaque, "stats: %s\n", line);
}

static void write_stats(struct vm *vm)
{
	double seconds = vcpus_seconds(vm);
	uint64_t insns = vm->engine->insns(vm->ev);

	if (insns)
		log_printf(vm->log,
			   "stats: %llu instructions in %.3f s of vCPU time, %.1f M instructions/s\n",
			   (unsigned long long)insns, seconds,
			   seconds > 0 ? (double)insns / seconds / 1e6 : 0.0);
	else
		log_printf(vm->log, "stats: %.3f s of vCPU time, instructions are not counted\n",
			   seconds);
	vm->engine->stats(vm->ev, stats_line, vm->log);
}

int vm_run(struct vm *vm)
{
	if (!vm->start_paused)
		vm_resume(vm);
	loop_run(vm->loop);
	lock_take(&vm->lock);
	vm_stop_locked(vm);
	vm->finished = true;
	lock_drop(&vm->lock);
	if (log_on(vm->log, LOG_STATS))
		write_stats(vm);
	if (vm->hook.stopped)
		vm->hook.stopped(vm->hook.opaque, VM_STOP_EXIT, 0);
	return vm->status < 0 ? 0 : vm->status;
}

static void destroy_cpus(struct vm *vm)
{
	if (vm->ev)
		vm->engine->vm_fini(vm->ev);
	for (unsigned i = 0; vm->cpus && i < vm->n_cpus; i++) {
		lock_fini(&vm->cpus[i].lock);
		pthread_cond_destroy(&vm->cpus[i].wake);
		pthread_cond_destroy(&vm->cpus[i].parked_cond);
	}
	free(vm->cpus);
	x86_cpuid_destroy(vm->cpuid);
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	if (vm->cpus)
		vcpus_end(vm);
	lock_take(&vm->dev_lock);
	if (vm->blocks)
		blocks_set_error_hook(vm->blocks, NULL, NULL);
	keys_fini(vm);
	events_balloon_fini(vm);
	dev_destroy_all(&vm->env);
	lock_drop(&vm->dev_lock);
	if (vm->mem)
		mem_set_listener(vm->mem, NULL, NULL);
	destroy_cpus(vm);
	mem_destroy(vm->mem);
	if (vm->event_watch)
		loop_fd_remove(vm->event_watch);
	if (vm->event >= 0)
		close(vm->event);
	vclock_destroy(vm->clock);
	image_close(&vm->kernel);
	image_close(&vm->initrd);
	image_close(&vm->firmware);
	events_fini(vm);
	lock_fini(&vm->dev_lock);
	lock_fini(&vm->lock);
	free(vm->cmdline);
	for (char **dir = vm->firmware_dirs; *dir; dir++)
		free(*dir);
	free(vm->firmware_dirs);
	free((char *)vm->boot.order);
	free((char *)vm->boot.once);
	free(vm->name);
	free(vm);
}

unsigned vm_cpus(const struct vm *vm)
{
	return vm->n_cpus;
}

const struct engine_ops *vm_engine(const struct vm *vm, struct engine_vm **ev)
{
	if (ev)
		*ev = vm->ev;
	return vm->engine;
}

const char *vm_name(const struct vm *vm)
{
	return vm->name;
}

const char *vm_machine(const struct vm *vm)
{
	return vm->board->name;
}

uint64_t vm_ram_size(const struct vm *vm)
{
	return vm->ram.below_4g + vm->ram.above_4g;
}

struct dev_env *vm_devices(struct vm *vm)
{
	return &vm->env;
}

struct mem *vm_mem(const struct vm *vm)
{
	return vm->mem;
}

struct vclock *vm_clock(const struct vm *vm)
{
	return vm->clock;
}

const struct vm_machine_info *vm_machines(void)
{
	static const struct vm_machine_info list[] = {
		{ "pc", "Intel 440FX, PIIX3 and PIIX4 (1996)", 64, 4, false },
		{ "q35", "Intel Q35 and ICH9, PCI Express (2009)", 64, 4, false },
		{ "microvm", "virtio over memory-mapped registers, no PCI", 64, 1, true },
		{ NULL, NULL, 0, 0, false },
	};

	return list;
}
