/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DOPPEL_DOPPEL_H
#define DOPPEL_DOPPEL_H
/*
 * doppel as a library: virtual machines in your process, any number of them.
 *
 * Handles are opaque.  Functions that can fail return 0 or a negative errno value and, when `error`
 * is not NULL, store a message for people there, which the caller releases with free().
 *
 * Threads: a machine is created, run and destroyed by one thread; the other calls may come from any
 * thread while the machine exists.  Each machine starts threads of its own for its processors.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct doppel_vm;

/* What a machine is made of.  Zero everything, set `size`, then what differs from the default.
 * Strings are copied. */
struct doppel_options {
	size_t size; /* sizeof(struct doppel_options), for later versions of this library */
	const char *name; /* default "doppel" */
	const char *machine; /* "pc" (default) or "q35" */
	const char *cpu; /* CPU model; default "max" */
	const char *engine; /* default: the best that this host has */
	uint64_t memory; /* bytes of RAM; default 128 MiB */
	unsigned cpus; /* default 1 */
	const char *kernel; /* path of a bzImage, PVH or multiboot kernel; or give `bios` */
	const char *initrd; /* path */
	const char *append; /* kernel command line */
	const char *bios; /* path of a firmware image */
	const char *serial; /* first serial port: "stdio", "null", "file:PATH", "pty",
			       "unix:PATH,..."; NULL: absent */
	const char *debugcon; /* debug console at port 0x402, likewise */
	const char *log_items; /* what to log, comma separated; NULL: nothing */
	const char *log_file; /* default: standard error */
	bool no_reboot; /* a reset ends doppel_vm_run */
	bool no_shutdown; /* power-off pauses instead of ending doppel_vm_run */
	bool start_paused;
};

/* doppel_version - "0.1.0". */
const char *doppel_version(void);

/* doppel_vm_create - build a machine, kernel loaded, processors not yet running. */
int doppel_vm_create(struct doppel_vm **out, const struct doppel_options *options, char **error);
/* doppel_vm_run - run it until it ends; blocks.  Returns 0 after power-off, the status given to
 * doppel_vm_quit or by the guest's debug-exit device, or 1 when the guest died.  Once per
 * machine. */
int doppel_vm_run(struct doppel_vm *vm);
/* doppel_vm_destroy - stop all its threads and release everything; NULL is fine. */
void doppel_vm_destroy(struct doppel_vm *vm);

/* doppel_vm_quit - make doppel_vm_run return this status (0 to 255) soon. */
void doppel_vm_quit(struct doppel_vm *vm, int status);
/* doppel_vm_pause - returns when no processor runs any more; time stands still for the guest. */
void doppel_vm_pause(struct doppel_vm *vm);
void doppel_vm_resume(struct doppel_vm *vm);
bool doppel_vm_running(const struct doppel_vm *vm);
/* doppel_vm_reset - press the reset button.  doppel_vm_powerdown - press the ACPI power button. */
void doppel_vm_reset(struct doppel_vm *vm);
void doppel_vm_powerdown(struct doppel_vm *vm);

/* doppel_vm_read/write - copy between a buffer and guest RAM by guest-physical address; -EFAULT
 * when the range is not all RAM. */
int doppel_vm_read(struct doppel_vm *vm, uint64_t addr, void *buf, size_t len);
int doppel_vm_write(struct doppel_vm *vm, uint64_t addr, const void *buf, size_t len);

#ifdef __cplusplus
}
#endif
#endif
