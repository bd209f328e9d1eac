/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Parts of the stub.  Private to src/ctl; gdbstub.c has the theory. */
#include "ctl/gdbstub.h"
#include "ctl/rsp.h"
#include "machine/vm.h"

#define GDB_MAX_BP 256
/* What gdb calls signals. */
#define GDB_SIGINT 2
#define GDB_SIGTRAP 5
#define GDB_SIGABRT 6

struct gdb_bp {
	struct engine_bp bp;
	uint8_t type; /* of the Z packet: 0 software, 1 hardware, 2 write, 3 read, 4 access */
};

struct gdbstub {
	struct vm *vm;
	const struct engine_ops *engine;
	struct engine_vm *ev;
	struct chardev *cd;
	struct rsp rsp;
	struct rsp_text out; /* that the connection has not taken yet */

	bool attached; /* a debugger controls the machine */
	bool was_running; /* when it came, or since it let the machine run */
	bool running; /* it waits for a stop reply */
	bool swbreak, hwbreak; /* it understands these stop reasons */
	unsigned cpu; /* that g, m and the like are about */
	unsigned step_cpu; /* that c and s are about */
	unsigned stop_cpu;
	uint8_t stop_signal;
	struct rsp_text stop_reason; /* pairs of the stop reply */
	struct gdb_bp bp[GDB_MAX_BP];
	unsigned n_bp;
};

/* gdb_reply - send a packet of text; gdb_error - "Enn". */
void gdb_reply(struct gdbstub *g, const char *text);
void gdb_error(struct gdbstub *g, int errnum);
/* gdb_command - one packet.  gdbcmd.c */
void gdb_command(struct gdbstub *g, char *buf, size_t len);
/* gdb_query - one packet that starts with q or Q.  gdbquery.c */
void gdb_query(struct gdbstub *g, char *buf);
/* gdb_monitor - `monitor` commands, as text; sends everything.  gdbmon.c */
void gdb_monitor(struct gdbstub *g, const char *cmd);
/* gdb_thread - a thread id at *s, which moves on: a CPU number, or -1 for "all" and "any". */
bool gdb_thread(const struct gdbstub *g, const char **s, int *cpu);
/* gdb_send_stop - the stop reply for the last stop. */
void gdb_send_stop(struct gdbstub *g);
/* gdb_resume - let all CPUs run, or `only` one (-1: all); `step` makes that CPU stop after an
 * instruction (-1: none). */
void gdb_resume(struct gdbstub *g, int only, int step);
/* gdb_leave - forget breakpoints and hooks; with `resume` let the machine run. */
void gdb_leave(struct gdbstub *g, bool resume);
/* Linear memory as g->cpu sees it.  Bytes done: fewer than len when a page is not mapped.  gdbmem.c
 */
size_t gdb_mem_read(struct gdbstub *g, uint64_t va, uint8_t *buf, size_t len);
size_t gdb_mem_write(struct gdbstub *g, uint64_t va, const uint8_t *buf, size_t len);
/* gdb_bp_set/clear - 0 or -errno. */
int gdb_bp_set(struct gdbstub *g, unsigned type, uint64_t addr, uint64_t len);
int gdb_bp_clear(struct gdbstub *g, unsigned type, uint64_t addr, uint64_t len);
