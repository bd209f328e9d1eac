/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An engine runs vCPUs.  No hook may be NULL.  The machine owns the threads: one per vCPU calls
 * run() in a loop.  Memory and port accesses of the guest go straight to the memory dispatch from
 * the vCPU thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "x86/cpu.h"

struct err;
struct x86_cpuid;

enum engine_exit {
	ENGINE_EXIT_KICK, /* engine_kick was called */
	ENGINE_EXIT_HALT, /* HLT with nothing deliverable: sleep until inject or kick */
	ENGINE_EXIT_SIPI, /* waiting for INIT/SIPI: sleep likewise */
	ENGINE_EXIT_SHUTDOWN, /* triple fault */
	ENGINE_EXIT_DEBUG, /* a debugger's breakpoint, watchpoint or step */
	ENGINE_EXIT_DONE, /* take_events, run_insns: did what was asked, and may go on */
	ENGINE_EXIT_ERROR, /* the engine cannot go on; vCPU state is exact, reported by the machine
			    */
};

enum engine_signal { /* inject(): things that reach a vCPU from outside */
		     ENGINE_INTR, /* level of the interrupt controllers' output: arg 1 or 0 */
		     ENGINE_NMI,
		     ENGINE_INIT,
		     ENGINE_SIPI, /* arg: vector */
};

struct engine_config {
	struct mem *mem;
	struct log *log;
	struct vclock *clock;
	const struct x86_cpuid *cpuid;
	unsigned n_cpus;
	const struct x86_host_ops *host;
	void *host_opaque;
	const char *stress; /* for tests: engine-specific names joined by '+', or NULL */
	bool perfmap, gdbjit; /* name translated code for perf; for a gdb that debugs doppel */
};

/* Break and watchpoints of a debugger, one set for all vCPUs of a VM. */
enum engine_bp_kind { ENGINE_BP_EXEC, ENGINE_BP_WRITE, ENGINE_BP_READ, ENGINE_BP_ACCESS };
struct engine_bp {
	uint64_t addr; /* linear */
	uint32_t len; /* 1..4096; EXEC: 1 */
	enum engine_bp_kind kind;
};
struct engine_debug {
	const struct engine_bp *bp; /* copied */
	unsigned n_bp;
	bool step; /* this vCPU: stop after one instruction */
};
struct engine_debug_hit { /* why run() returned ENGINE_EXIT_DEBUG */
	bool step;
	bool watch; /* a watchpoint: addr and kind are valid */
	enum engine_bp_kind kind;
	uint64_t addr;
};

struct engine_vm;

struct engine_ops {
	const char *name;
	/* Can it run on this host?  0, or -errno with *e saying why not. */
	int (*probe)(struct err **e);
	int (*vm_init)(struct engine_vm **out, const struct engine_config *cfg, struct err **e);
	void (*vm_fini)(struct engine_vm *vm);
	/* All vCPUs exist after vm_init, in reset state.  run: on the vCPU's thread; it takes INIT, SIPI
	 * and NMI into the state before it honours a kick, which a machine's reset relies on. */
	enum engine_exit (*run)(struct engine_vm *vm, unsigned cpu);
	void (*inject)(struct engine_vm *vm, unsigned cpu, enum engine_signal sig, uint32_t arg);
	/*
	 * Deterministic running, instead of run(), for tests and replay: the caller decides between
	 * which two instructions what comes from outside reaches the vCPU.  On one thread at a time.
	 *
	 * take_events: what run() would do about events before the next instruction, and none of that:
	 * deliver an interrupt, NMI or s.exc_pending, act upon INIT and SIPI, or return for a kick.
	 *
	 * run_insns: run at least one and at most max (> 0) instructions, and look at no event but
	 * those that only keep caches right.  An instruction counts as one when it is complete or ends
	 * in an exception, which is then delivered; a repeated string instruction, when all of it is
	 * done.  HLT counts, and ends it.  *done is set in any case.  "interp" stops at max exactly;
	 * others may stop at any instruction before.
	 */
	enum engine_exit (*take_events)(struct engine_vm *vm, unsigned cpu);
	enum engine_exit (*run_insns)(struct engine_vm *vm, unsigned cpu, uint64_t max,
				      uint64_t *done);
	void (*kick)(struct engine_vm *vm, unsigned cpu); /* make run() return soon; any thread */
	/* sleeping vCPU: does it have something to do (called before it sleeps, under the sleep
	 * lock)? */
	bool (*has_work)(struct engine_vm *vm, unsigned cpu);
	void (*get)(struct engine_vm *vm, unsigned cpu, struct x86_state *out); /* not running */
	void (*set)(struct engine_vm *vm, unsigned cpu, const struct x86_state *in);
	/* The memory map changed: make every vCPU drop cached translations at its next instruction
	 * boundary. Must not wait for vCPUs (the caller may hold the machine lock). */
	void (*map_changed)(struct engine_vm *vm);
	/* Debugger: set break/watchpoints and stepping of one vCPU (not running); translate linear.
	 */
	void (*debug)(struct engine_vm *vm, unsigned cpu, const struct engine_debug *d);
	void (*debug_hit)(struct engine_vm *vm, unsigned cpu, struct engine_debug_hit *out);
	bool (*translate)(struct engine_vm *vm, unsigned cpu, uint64_t va, gpa *out);
	/* Report state (see x86_report). */
	void (*report)(struct engine_vm *vm, unsigned cpu,
		       void (*emit)(void *opaque, const char *line), void *opaque);
	/* Counters: instructions retired by all vCPUs (0: not counted); and the engine's own, one line each. */
	uint64_t (*insns)(struct engine_vm *vm);
	void (*stats)(struct engine_vm *vm, void (*emit)(void *opaque, const char *line),
		      void *opaque);
};

/* engine_find - by -accel name ("interp"); NULL when unknown.  engine_list: NULL-terminated array.
 */
const struct engine_ops *engine_find(const char *name);
const struct engine_ops *const *engine_list(void);
