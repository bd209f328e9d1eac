/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A vCPU of the interpreter, for the interpreter and for engines that run it for single
 * instructions: they embed struct interp_vm as their first member and struct interp_cpu in their own
 * vCPUs, and use the interpreter's functions for whatever is not execution.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "engine/engine.h"
#include "mem/page.h"
#include "x86/cpu.h"

struct insn;
struct block;
struct bounce_pool;

/* interp_cpu.cpu.events: leave guest code at each block's end (single-stepping); never set by
 * others. */
#define EV_STEP (1u << 31)

/* The jump cache: blocks by linear address, for indirect branches. */
#define JUMP_BITS 12
struct jump {
	uint64_t lin;
	uint64_t tag;
	const struct block *to;
	uint64_t spare;
};

struct interp_stats {
	uint64_t blocks, decoded, flushes, lookups, finds, stale, epochs, exits;
};

struct interp_vm {
	struct x86_vm vm;
	struct interp_cpu **cpus;
};

struct interp_cpu {
	struct block **hash;
	uint8_t *arena;
	size_t arena_used;
	uint32_t epoch; /* raised to forget everything kept by linear address */
	struct mem_page io_page; /* page of blocks that are not in RAM; never changes */
	struct bounce_pool *bounce;
	struct interp_stats stats;
	struct engine_debug_hit hit;
	uint64_t *bps; /* debugger's execution breakpoints, linear addresses */
	unsigned n_bps;
	uint64_t bp_at; /* where the last run() stopped at one (bp_stopped): the next run() must not
			 */
	bool bp_stopped, bp_skip;
	bool stop; /* leave run() with ENGINE_EXIT_DEBUG */
	bool stepping; /* inside step() */
	bool retry; /* a step did nothing: the block was not valid any more */
	bool asleep;
	uint64_t raised; /* instructions that ended in an exception */
	uint64_t limit, start; /* of counted running: see interp_count */
	bool excl_lock; /* inside x86_excl_begin/end for a locked instruction */
	struct jump *jumps;
	/* Hot from here on. */
	const struct insn *ip; /* instruction that runs a slow path: for icount when it unwinds */
	const struct block *cur; /* the running block */
	uint64_t tag; /* epoch and mode: validity of links and jumps */
	struct x86_cpu cpu;
};

/* interp_vm_setup - everything but the vCPUs; interp_vm_clear undoes it. */
void interp_vm_setup(struct interp_vm *iv, const struct engine_config *cfg);
void interp_vm_clear(struct interp_vm *iv);
/* interp_cpu_setup - make *v, which is zeroed, vCPU `index` of iv; interp_cpu_clear undoes it, also after
 * a failure. */
int interp_cpu_setup(struct interp_cpu *v, struct interp_vm *iv, unsigned index, struct err **e);
void interp_cpu_clear(struct interp_cpu *v);

/*
 * For the vCPU's own thread, between interp_begin and interp_end (which are enter and leave of
 * x86/excl.c).  interp_poll: events, as at the head of a run loop: true when run() must return, and
 * interp_exit_reason says why.  interp_turn: one turn of execution: a block, or the one instruction
 * that single-stepping or a shadow asks for; with EV_STEP set it returns after a block.  interp_one:
 * exactly one instruction.  interp_unwound: after an unwind, deliver the exception.
 */
void interp_begin(struct interp_cpu *v);
void interp_end(struct interp_cpu *v);
bool interp_poll(struct interp_cpu *v);
enum engine_exit interp_exit_reason(struct interp_cpu *v);
void interp_turn(struct interp_cpu *v);
void interp_one(struct interp_cpu *v);
void interp_unwound(struct interp_cpu *v);
/* interp_debugged - does the debugger or the log want every instruction or block seen? */
bool interp_debugged(const struct interp_cpu *v);
/* interp_running_in - the vCPU of vm that this thread runs now, or NULL. */
struct x86_cpu *interp_running_in(const struct x86_vm *vm);

/*
 * Counted running (run_insns): between interp_count and interp_count_end, which returns how many
 * instructions ran, interp_poll looks at nothing from outside, and is true when all have run; a turn
 * runs no more than are left.  What counts is every instruction retired (icount) or raised.
 */
static inline uint64_t interp_ran(const struct interp_cpu *v)
{
	return v->cpu.icount + v->raised;
}

/* interp_left - how many may still run; plenty, unless they are counted. */
static inline uint64_t interp_left(const struct interp_cpu *v)
{
	return v->limit - interp_ran(v);
}

static inline bool interp_counted(const struct interp_cpu *v)
{
	return v->limit != UINT64_MAX;
}

static inline void interp_count(struct interp_cpu *v, uint64_t max)
{
	v->start = interp_ran(v);
	v->limit = max < UINT64_MAX - v->start ? v->start + max : UINT64_MAX - 1;
}

static inline uint64_t interp_count_end(struct interp_cpu *v)
{
	v->limit = UINT64_MAX;
	return interp_ran(v) - v->start;
}

/* struct engine_ops of the interpreter, which work on embedding engines too. */
enum engine_exit interp_run(struct engine_vm *vm, unsigned cpu);
enum engine_exit interp_run_insns(struct engine_vm *vm, unsigned cpu, uint64_t max, uint64_t *done);
enum engine_exit interp_take_events(struct engine_vm *vm, unsigned cpu);
void interp_inject(struct engine_vm *vm, unsigned cpu, enum engine_signal sig, uint32_t arg);
void interp_kick(struct engine_vm *vm, unsigned cpu);
bool interp_has_work(struct engine_vm *vm, unsigned cpu);
void interp_get(struct engine_vm *vm, unsigned cpu, struct x86_state *out);
void interp_set(struct engine_vm *vm, unsigned cpu, const struct x86_state *in);
void interp_map_changed(struct engine_vm *vm);
void interp_debug(struct engine_vm *vm, unsigned cpu, const struct engine_debug *d);
void interp_debug_hit(struct engine_vm *vm, unsigned cpu, struct engine_debug_hit *out);
bool interp_translate(struct engine_vm *vm, unsigned cpu, uint64_t va, gpa *out);
void interp_report(struct engine_vm *vm, unsigned cpu,
		   void (*emit)(void *opaque, const char *line), void *opaque);
uint64_t interp_insns(struct engine_vm *vm);
void interp_stats(struct engine_vm *vm, void (*emit)(void *opaque, const char *line),
		  void *opaque);
/* interp_protect - page_ops.protect; opaque is the struct interp_vm. */
void interp_protect(void *opaque, uint64_t ram_off);
