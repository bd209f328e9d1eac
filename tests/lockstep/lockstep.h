/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One guest on two machines, step by step.  Theory of operation: main.c. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "engine/engine.h"

struct chardev;
struct err;
struct log;
struct loop;
struct mem;
struct vclock;
struct vm;

enum { REF, TEST }; /* the interpreter; the engine under test */

struct options {
	const char *kernel, *initrd, *append, *bios, *machine, *cpu, *engine, *until;
	uint64_t mem_mib;
	uint64_t insns; /* stop after so many instructions */
	uint64_t from; /* compare nothing before so many */
	uint64_t every; /* steps between comparisons of registers */
	uint64_t memory; /* instructions between comparisons of memory */
	uint64_t step; /* instructions that the engine under test is asked for at a time */
	bool single; /* the interpreter runs one instruction at a time */
	bool console; /* show the serial console */
	bool list; /* print the engines, and do nothing else */
	uint64_t plant_reg, plant_mem; /* falsify that after so many instructions; 0: do not */
};

struct side {
	const char *name;
	const struct engine_ops *ops;
	struct engine_vm *ev;
	struct log *log;
	struct loop *loop;
	struct chardev *serial;
	int console; /* a memfd with the serial output */
	struct vm *vm;
	struct vclock *clock;
	struct mem *mem;
	struct x86_state s; /* as pair_states got it */
	uint64_t *dirty;
};

/* What came of a step. */
enum outcome {
	STEP_DONE,
	STEP_DIFFERS, /* another exit, or another number of instructions: see pair.why, pair.done */
	STEP_ENDED, /* reset, power-off, or shut down, on both sides */
	STEP_ASLEEP, /* HLT, and no timer is armed */
};

struct pair {
	const struct options *o;
	struct side side[2];
	uint64_t insns, steps; /* so far */
	uint64_t dispatched; /* insns when timers were last served */
	bool trace; /* print the instructions of the step */
	size_t shown; /* of the console */
	/* The last step. */
	uint64_t at; /* the number of its first instruction */
	bool ran; /* it came to run instructions: done is valid */
	uint64_t done[2];
	enum engine_exit why[2];
};

/* --- pair.c --- */
int pair_create(struct pair *p, const struct options *o, struct err **e);
void pair_destroy(struct pair *p);
/* pair_step - take in events, then run one step of at most max instructions, and let time pass. */
enum outcome pair_step(struct pair *p, uint64_t max);
/* pair_states - get side[].s. */
void pair_states(struct pair *p);
/* pair_console - the console's text of one side from an offset on; the caller frees it. */
char *pair_console(const struct side *s, size_t from);

/* --- compare.c --- */
/* same_state - are side[].s the same, and the numbers of instructions retired?  same_memory: pages
 * written since it was last asked, or all of RAM. */
bool same_state(const struct pair *p);
bool same_memory(struct pair *p, bool all);
/* same_devices - what of devices shows outside: the next timer, the console. */
bool same_devices(const struct pair *p);
/* print_* - what differs, to stdout.  The memory is compared as a whole. */
void print_exits(const struct pair *p);
void print_state(const struct pair *p);
void print_memory(const struct pair *p);
void print_devices(const struct pair *p);

/* --- trace.c --- */
/* trace_insn - print the instruction at a state's RIP, on the REF side. */
void trace_insn(const struct pair *p, const struct x86_state *s);
/* trace_changes - print the registers that it changed. */
void trace_changes(const struct x86_state *before, const struct x86_state *after);
const char *trace_gpr(unsigned n);
