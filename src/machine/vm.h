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
#include "back/display/display.h"
#include "dev/class.h"
#include "base/event.h"
#include "engine/engine.h"

struct block;
struct blocks;
struct chardev;
struct dev_env;
struct err;
struct log;
struct smbios_fields;
struct loop;
struct vm;

struct vm_device_opt {
	const char *driver;
	const char *props;
}; /* props: "k=v,k=v" or "" */

/* What firmware shall boot from (-boot). */
struct vm_boot {
	const char *order, *once; /* letters c, d, n; NULL: firmware's own order */
	bool menu, strict;
	unsigned splash_ms; /* how long the menu's prompt stays; 0: firmware's own time */
};

/* What of a board is there (-machine NAME,pic=off); zeros: as the board is by default. */
enum vm_auto { VM_AUTO, VM_ON, VM_OFF };
struct vm_board_opts {
	enum vm_auto acpi, pic, pit, rtc, ioapic2, isa_serial;
	enum vm_auto auto_cmdline; /* the kernel is told of virtio-mmio devices, when ACPI does not */
	bool virtio_legacy; /* virtio-mmio registers of version 1 */
};

/* An item of fw_cfg (-fw_cfg). */
struct vm_fw_item {
	const char *name;
	const void *data;
	uint32_t len;
};

struct vm_config {
	const char *name; /* NULL: "doppel" */
	uint8_t uuid[16]; /* as it is printed; zeros: none */
	const struct smbios_fields *smbios; /* NULL: all by default; outlives the machine */
	const char *machine; /* "pc", "q35", "microvm" */
	struct vm_board_opts board; /* for boards that have choices (vm_machine_info.opts) */
	const char *cpu; /* CPUID model spec; NULL: "max" */
	const char *accel_stress; /* engine_config.stress */
	bool accel_perfmap, accel_gdbjit; /* likewise */
	const char *accel; /* engine name; NULL: default */
	uint64_t mem_size; /* bytes */
	unsigned n_cpus;
	const char *kernel, *initrd, *append; /* direct boot; NULL: not */
	const char *bios; /* firmware image path; NULL: no firmware (needs kernel) */
	struct block *pflash[2]; /* flash memories with firmware and its variables; NULL: none */
	struct vm_boot boot;
	const struct vm_fw_item *fw_items;
	size_t n_fw_items;
	struct blocks *blocks; /* all drives: held requests are tried again on resume; NULL: none */
	/* Where devices look for option ROMs first; ends with NULL; NULL: only in the usual places. */
	const char *const *firmware_dirs;
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

/* Why a machine ends or is reset: the words of QMP's ShutdownCause, whose order this is. */
enum vm_cause {
	VM_CAUSE_NONE,
	VM_CAUSE_HOST_ERROR,
	VM_CAUSE_HOST_QMP_QUIT,
	VM_CAUSE_HOST_QMP_RESET,
	VM_CAUSE_HOST_SIGNAL,
	VM_CAUSE_HOST_UI,
	VM_CAUSE_GUEST_SHUTDOWN,
	VM_CAUSE_GUEST_RESET,
	VM_CAUSE_GUEST_PANIC,
};
/* What the machine is doing, in the words of QMP's RunState (vm_state_name). */
enum vm_state {
	VM_STATE_PRELAUNCH,	 /* not started since it was made or reset */
	VM_STATE_RUNNING,
	VM_STATE_PAUSED,	 /* by a person or program */
	VM_STATE_DEBUG,		 /* by a debugger's breakpoint */
	VM_STATE_SHUTDOWN,	 /* the guest is off; only a reset helps */
	VM_STATE_IO_ERROR,	 /* an error policy said: stop */
	VM_STATE_INTERNAL_ERROR, /* the engine cannot go on; only a reset helps */
	VM_STATE_WATCHDOG,
	VM_STATE_GUEST_PANICKED,
};
const char *vm_cause_name(enum vm_cause cause);
const char *vm_state_name(enum vm_state state);
enum vm_state vm_state(const struct vm *vm);

/* vm_quit - end vm_run with a status, soon.  vm_quit_for: and for which reason the event SHUTDOWN is
 * to give; the first call counts. */
void vm_quit(struct vm *vm, int status);
void vm_quit_for(struct vm *vm, int status, enum vm_cause cause);
/* vm_pause - returns when no vCPU runs (nests with nothing: paused is a state).  vm_resume: nothing
 * when only a reset helps. */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
/* vm_stop_soon - pause in that state; from anywhere, with any lock held. */
void vm_stop_soon(struct vm *vm, enum vm_state why);
bool vm_running(const struct vm *vm);
/* vm_freeze - no vCPU runs between this and vm_thaw, which takes what this returned; no event, no new
 * state.  Loop thread, machine lock not held. */
bool vm_freeze(struct vm *vm);
void vm_thaw(struct vm *vm, bool frozen);
void vm_reset(struct vm *vm); /* request a system reset */
void vm_reset_for(struct vm *vm, enum vm_cause cause);
void vm_powerdown(struct vm *vm); /* press the ACPI power button */
/* vm_nmi - one to every vCPU. */
void vm_nmi(struct vm *vm);
/* vm_set_actions - what follows on a reset (no_reboot: the end) and on the end (no_shutdown: a pause).
 * Loop thread. */
void vm_set_actions(struct vm *vm, bool no_reboot, bool no_shutdown);
void vm_get_actions(const struct vm *vm, bool *no_reboot, bool *no_shutdown);

/*
 * Events: what happens to a machine, named and described as QMP does.  vm_emit copies all it is
 * given and may be called from anywhere, with locks up to LOCK_RANK_EVENT; listeners are called on
 * the loop thread with no lock held, in the order of emission.
 */
struct vm_event {
	const char *name; /* "STOP" */
	int64_t time_us; /* since 1970 */
	unsigned n;
	const struct vm_event_arg *args;
};
void vm_emit(struct vm *vm, const char *name, const struct vm_event_arg *args, unsigned n);
struct vm_listener {
	void (*event)(void *opaque, const struct vm_event *ev);
	void *opaque;
	struct vm_listener *next;
};
void vm_listen(struct vm *vm, struct vm_listener *l); /* l: the caller's; both on the loop thread */
void vm_unlisten(struct vm *vm, struct vm_listener *l);

const char *vm_name(const struct vm *vm);
const char *vm_machine(const struct vm *vm); /* "pc" */
uint64_t vm_ram_size(const struct vm *vm); /* bytes */
/* vm_cpu_tid - thread id; 0 when there is none.  vm_cpu_seconds - processor time used by its thread. */
int vm_cpu_tid(const struct vm *vm, unsigned cpu);
double vm_cpu_seconds(const struct vm *vm, unsigned cpu);
/* vm_screendump - what a display shows, as a file; device: id of the adapter, NULL: the first.  0, or
 * -errno with *e: -ENOENT when there is no (such) display.  No lock held. */
int vm_screendump(struct vm *vm, const char *device, const char *path, enum picture form,
		  struct err **e);
/* vm_find_key - a key by the name that QMP gives it (QKeyCode: "ret", "f12", "ctrl_r") or its scan code
 * ("0x1c"); -1: there is none.  vm_send_keys - press up to 16 of them together, and let go after hold_ms
 * of guest time; those pressed earlier come first.  -EBUSY with *e: too many wait. No lock held. */
int vm_find_key(const char *name);
int vm_send_keys(struct vm *vm, const int *keys, unsigned n, uint32_t hold_ms, struct err **e);
/* vm_devices - the devices of the machine; their lock is env->lock. */
struct dev_env *vm_devices(struct vm *vm);
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
	unsigned max_cpus, serials;
	bool opts; /* takes vm_board_opts */
};
const struct vm_machine_info *vm_machines(void);
