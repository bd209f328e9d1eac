/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A virtual machine as the command line and control interfaces see it.  Any number in one process.
 * Threads: vm_create, vm_run and vm_destroy on one thread (which becomes the loop thread); the
 * others from any thread unless noted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "dev/class.h"
#include "engine/engine.h"

struct chardev;
struct err;
struct log;
struct loop;
struct vm;

struct vm_device_opt {
	const char *driver;
	const char *props;
}; /* props: "k=v,k=v" or "" */

struct vm_config {
	const char *name; /* NULL: "doppel" */
	const char *machine; /* "pc" or "q35" */
	const char *cpu; /* CPUID model spec; NULL: "max" */
	const char *accel_stress; /* engine_config.stress */
	bool accel_perfmap, accel_gdbjit; /* likewise */
	const char *accel; /* engine name; NULL: default */
	uint64_t mem_size; /* bytes */
	unsigned n_cpus;
	const char *kernel, *initrd, *append; /* direct boot; NULL: not */
	const char *bios; /* firmware image path; NULL: no firmware (needs kernel) */
	struct chardev *serial[4]; /* NULL: port absent; owned by the caller */
	struct chardev *debugcon; /* NULL: port 0x402 absent */
	uint16_t debugcon_port; /* 0: 0x402 */
	const struct vm_device_opt *devices;
	size_t n_devices;
	/* Back ends by name, for devices that have such a property; owned by the caller. */
	struct dev_backends backends;
	bool no_reboot; /* reset ends vm_run */
	bool no_shutdown; /* power-off pauses instead of ending vm_run */
	bool start_paused; /* -S */
	bool driven; /* no vCPU thread, manual clock: see vm_clock */
	struct log *log; /* owned by the caller; mandatory */
	struct loop *loop; /* owned by the caller; mandatory */
};

/* vm_create - build the machine: memory, devices, tables, kernel loaded, vCPU threads parked. */
int vm_create(struct vm **out, const struct vm_config *cfg, struct err **e);
/* vm_run - start (unless start_paused) and run the loop until the VM ends.  Returns the process's
 * exit status: 0 power-off or quit; isa-debug-exit's; 1 when the guest died or the engine
 * failed. */
int vm_run(struct vm *vm);
void vm_destroy(struct vm *vm); /* stops and joins all threads, frees; NULL is fine */

/* vm_quit - end vm_run with a status, soon. */
void vm_quit(struct vm *vm, int status);
/* vm_pause - returns when no vCPU runs (nests with nothing: paused is a state).  vm_resume. */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
bool vm_running(const struct vm *vm);
void vm_reset(struct vm *vm); /* request a system reset */
void vm_powerdown(struct vm *vm); /* press the ACPI power button */

unsigned vm_cpus(const struct vm *vm);
const struct engine_ops *vm_engine(const struct vm *vm, struct engine_vm **ev);
struct mem *vm_mem(const struct vm *vm);
/*
 * vm_clock - guest time.
 *
 * A driven machine (vm_config.driven; it has one vCPU) comes out the same each time.  After
 * vm_resume its caller, on the loop thread and instead of vm_run: runs the vCPU by the engine's
 * take_events and run_insns, moves time on by vclock_advance, and serves timers and requests by
 * loop_once.  take_events returns for a kick when the guest has asked for reset or power-off.
 */
struct vclock *vm_clock(const struct vm *vm);

/* For a debugger: hook told (loop thread, VM paused) when a vCPU stopped on ENGINE_EXIT_DEBUG, and
 * when the VM ends or is paused otherwise.  Setting a hook makes triple faults stop there too. */
enum vm_stop { VM_STOP_DEBUG, VM_STOP_PAUSED, VM_STOP_DEAD, VM_STOP_EXIT };
struct vm_debug_hook {
	void (*stopped)(void *opaque, enum vm_stop why, unsigned cpu);
	void *opaque;
};
void vm_set_debug_hook(struct vm *vm, const struct vm_debug_hook *h);
/* vm_run_one - resume only this vCPU (the debugger steps it); others wait for vm_resume. */
void vm_run_one(struct vm *vm, unsigned cpu);

/* Names for -machine help. */
struct vm_machine_info {
	const char *name, *help;
};
const struct vm_machine_info *vm_machines(void);
