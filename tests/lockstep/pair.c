/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two driven machines (machine/vm.h) that do the same.  A step: both take in events; TEST runs as
 * many instructions as it likes; REF runs as many; both clocks move on by as much.  Timers and
 * requests are served every DISPATCH instructions, and when both sleep, at the next deadline.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "back/char/chardev.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "lockstep.h"
#include "machine/vm.h"

#define NS_PER_INSN 10
#define DISPATCH 1000
#define PLANT_REG X86_R12
#define TRACE_SHOWN 16

/* --- life --- */
static int console_open(struct side *s, struct err **e)
{
	char *spec;
	int r;

	s->console = memfd_create("console", MFD_CLOEXEC);
	if (s->console < 0)
		return err_set(e, errno, "cannot make a memfd: %s", strerror(errno));
	spec = xasprintf("file:/proc/self/fd/%d", s->console);
	r = chardev_open(&s->serial, s->loop, "serial0", spec, e);
	free(spec);
	return r;
}

static int side_create(struct side *s, const char *engine, const struct options *o, struct err **e)
{
	/* Random numbers of the host would differ. */
	char *cpu = xasprintf("%s,-rdrand,-rdseed", o->cpu);
	struct vm_config cfg = {
		.machine = o->machine,
		.cpu = cpu,
		.accel = engine,
		.mem_size = o->mem_mib * MiB,
		.n_cpus = 1,
		.kernel = o->kernel,
		.initrd = o->initrd,
		.append = o->append,
		.bios = o->bios,
		.no_reboot = true,
		.driven = true,
	};
	int r;

	s->name = engine;
	s->console = -1;
	s->log = cfg.log = log_create();
	s->loop = cfg.loop = loop_create();
	r = console_open(s, e);
	cfg.serial[0] = s->serial;
	if (!r)
		r = vm_create(&s->vm, &cfg, e);
	free(cpu);
	if (r)
		return r;
	s->ops = vm_engine(s->vm, &s->ev);
	s->clock = vm_clock(s->vm);
	s->mem = vm_mem(s->vm);
	s->dirty = xcalloc(mem_ram_size(s->mem) / PAGE_SIZE / 64 + 1, sizeof(*s->dirty));
	mem_dirty_start(s->mem);
	vm_resume(s->vm);
	return 0;
}

static void side_destroy(struct side *s)
{
	vm_destroy(s->vm);
	chardev_close(s->serial);
	if (s->loop)
		loop_destroy(s->loop);
	log_destroy(s->log);
	if (s->console >= 0)
		close(s->console);
	free(s->dirty);
}

int pair_create(struct pair *p, const struct options *o, struct err **e)
{
	int r;

	*p = (struct pair){.o = o, .side = {{.console = -1}, {.console = -1}}};
	r = side_create(&p->side[REF], "interp", o, e);
	if (!r)
		r = side_create(&p->side[TEST], o->engine, o, e);
	if (!strcmp(o->engine, "interp"))
		p->side[TEST].name = "test";
	if (r)
		pair_destroy(p);
	return r;
}

void pair_destroy(struct pair *p)
{
	side_destroy(&p->side[REF]);
	side_destroy(&p->side[TEST]);
}

char *pair_console(const struct side *s, size_t from)
{
	struct stat st;
	char *text;
	size_t len;
	ssize_t n;

	len = fstat(s->console, &st) || (size_t)st.st_size < from ? 0 : (size_t)st.st_size - from;
	text = xzalloc(len + 1);
	n = pread(s->console, text, len, (off_t)from);
	text[n > 0 ? n : 0] = 0;
	return text;
}

void pair_states(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		p->side[i].ops->get(p->side[i].ev, 0, &p->side[i].s);
}

/* --- time --- */
static void dispatch(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		loop_once(p->side[i].loop, 0);
	p->dispatched = p->insns;
}

static void pass(struct pair *p, int64_t ns)
{
	for (int i = 0; i < 2; i++)
		vclock_advance(p->side[i].clock, ns);
}

/* Both wait for an interrupt: let time pass until REF's next timer, and so that of both. */
static enum outcome sleep_until_timer(struct pair *p)
{
	const struct side *s = &p->side[REF];
	int64_t deadline, now = vclock_now(s->clock);

	if (!timer_next(s->loop, s->clock, &deadline))
		return STEP_ASLEEP;
	pass(p, deadline > now ? deadline - now : 0);
	dispatch(p);
	return STEP_DONE;
}

/* --- steps --- */
/* A fault of our own, so that it can be seen that faults are found. */
static void plant(struct pair *p)
{
	struct side *s = &p->side[TEST];
	uint64_t from = p->at, to = p->insns;
	struct x86_state state;
	uint8_t byte;

	if (p->o->plant_reg > from && p->o->plant_reg <= to) {
		s->ops->get(s->ev, 0, &state);
		state.gpr[PLANT_REG] ^= 0x80;
		s->ops->set(s->ev, 0, &state);
	}
	if (p->o->plant_mem > from && p->o->plant_mem <= to) {
		gpa at = GPA((p->o->mem_mib - 1) * MiB + 0x123);

		if (!mem_dma_read(s->mem, at, &byte, 1)) {
			byte ^= 1;
			mem_dma_write(s->mem, at, &byte, 1);
		}
	}
}

/* REF runs n more instructions, in pieces. */
static void run_ref(struct pair *p, uint64_t n, uint64_t piece)
{
	struct side *s = &p->side[REF];
	uint64_t to = p->done[REF] + n, done;

	do {
		p->why[REF] = s->ops->run_insns(s->ev, 0, min_u64(piece, to - p->done[REF]), &done);
		p->done[REF] += done;
	} while (p->why[REF] == ENGINE_EXIT_DONE && done && p->done[REF] < to);
}

/* The same, printing the last of them. */
static void trace_ref(struct pair *p, uint64_t n)
{
	struct side *s = &p->side[REF];

	if (n > TRACE_SHOWN)
		run_ref(p, n - TRACE_SHOWN, UINT64_MAX);
	for (n = min_u64(n, TRACE_SHOWN); n; n--) {
		struct x86_state from;

		s->ops->get(s->ev, 0, &from);
		trace_insn(p, &from);
		run_ref(p, 1, 1);
		s->ops->get(s->ev, 0, &s->s);
		trace_changes(&from, &s->s);
	}
}

static void follow(struct pair *p)
{
	if (p->trace)
		trace_ref(p, p->done[TEST]);
	else
		run_ref(p, p->done[TEST], p->o->single ? 1 : UINT64_MAX);
}

static enum outcome ended(const struct pair *p)
{
	if (p->why[REF] != p->why[TEST])
		return STEP_DIFFERS;
	return p->why[REF] == ENGINE_EXIT_DONE || p->why[REF] == ENGINE_EXIT_HALT ? STEP_DONE
										  : STEP_ENDED;
}

/* What differs now was not made by an instruction. */
static void trace_events(struct pair *p)
{
	pair_states(p);
	if (same_state(p))
		return;
	printf("They differ already when events have been taken in before it:\n");
	print_state(p);
	printf("and then:\n");
}

enum outcome pair_step(struct pair *p, uint64_t max)
{
	struct side *test = &p->side[TEST];
	enum outcome r;

	p->at = p->insns;
	p->ran = false;
	p->done[REF] = p->done[TEST] = 0;
	for (int i = 0; i < 2; i++)
		p->why[i] = p->side[i].ops->take_events(p->side[i].ev, 0);
	r = ended(p);
	if (r != STEP_DONE)
		return r;
	if (p->why[REF] == ENGINE_EXIT_HALT)
		return sleep_until_timer(p);
	p->ran = true;
	if (p->trace)
		trace_events(p);
	p->why[TEST] = test->ops->run_insns(test->ev, 0, max, &p->done[TEST]);
	if (!p->done[TEST] || p->done[TEST] > max)
		return STEP_DIFFERS;
	follow(p);
	if (p->done[REF] != p->done[TEST])
		return STEP_DIFFERS;
	p->steps++;
	p->insns += p->done[REF];
	plant(p);
	pass(p, (int64_t)p->done[REF] * NS_PER_INSN);
	if (p->insns - p->dispatched >= DISPATCH)
		dispatch(p);
	return ended(p);
}
