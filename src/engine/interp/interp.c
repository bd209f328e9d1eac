/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter.
 *
 * Guest code is decoded once into blocks (block.c): runs of struct insn, each with the function
 * that executes it and its operands as byte offsets into struct x86_cpu.  A hot handler does its work
 * and jumps to the next one, so blocks run without coming back here; branches go from block to block
 * by links or the jump cache (ops_branch.c).  Rare handlers return the next instruction to execute()
 * ("Dispatch" in interp_int.h), and NULL when there is something to do between two instructions.
 *
 * What is kept true:
 * - s.rip and icount are exact whenever code outside of the handlers can see them, and stale while
 * a block runs: handlers that may unwind or call out first store s.rip (interp_sync) and themselves
 * in `ip`, from which an unwind computes how much of the block was retired.
 * - code_base is the linear page of the running block, `cur` the block, tag the epoch and the mode:
 * every link across pages and every entry of the jump cache carries the tag under which it was
 * made.  The epoch is raised when a translation was flushed; mode is part of every block's key.
 * - events are looked at on each entry of a block.  A store that hits decoded code goes by a slow
 * path, which ends the block when it was its own (NEXT_SLOW).
 * - after STI, MOV SS and POP SS the next instruction runs in a block of its own (BLOCK_ONE),
 * entered without looking at events; so does every instruction while c->single.
 * - counted running (run_insns) keeps EV_STEP set, so that each block comes back here, runs a block
 * only when all of it is wanted, and else one instruction of it (BLOCK_ONE).
 *
 * Threads: a vCPU's thread owns its struct interp_cpu.  inject and kick only set event bits.  What
 * other threads change of a vCPU (translations, debugger's points) they change while it is stopped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "engine/interp/interp.h"
#include "engine/interp/interp_int.h"
#include "x86/cpuid.h"
#include "x86/debug.h"

/* The vCPU that this thread runs, for callbacks that must know whether they come from one. */
static _Thread_local struct x86_cpu *running;

static struct interp_vm *vm_of(struct engine_vm *vm)
{
	return (struct interp_vm *)vm;
}

static struct interp_cpu *cpu_of(struct engine_vm *vm, unsigned cpu)
{
	return vm_of(vm)->cpus[cpu];
}

struct x86_cpu *interp_running_in(const struct x86_vm *vm)
{
	return running && running->vm == vm ? running : NULL;
}

/* --- entering blocks --- */
static uint64_t linear(const struct x86_cpu *c, uint64_t rip)
{
	return c->mode & X86_MODE_CS64 ? rip : (uint32_t)(c->s.seg[X86_CS].base + rip);
}

/* Nothing to do but to go on executing? */
static bool quiet(struct x86_cpu *c)
{
	return !interp_pending(c) && !(interp_events(c) & EV_STEP) && !c->single &&
	       !c->tlb_changed && !c->s.sti_shadow && !c->s.movss_shadow && !c->s.exc_pending &&
	       !c->shutdown && c->s.mp_state == X86_MP_RUNNABLE;
}

static void remember(struct interp_cpu *v, uint64_t lin, const struct block *b)
{
	if (b->page != &v->io_page)
		*interp_jump_slot(v, lin) = (struct jump){.lin = lin, .tag = v->tag, .to = b};
}

/* Enter the block at s.rip through the jump cache or the block cache. */
static const struct block *find(struct x86_cpu *c)
{
	struct interp_cpu *v = interp_of(c);
	uint64_t lin = linear(c, c->s.rip);
	const struct jump *j = interp_jump_slot(v, lin);
	const struct block *b = j->to;

	v->stats.lookups++;
	if (j->lin != lin || j->tag != v->tag || !block_valid(b)) {
		b = interp_block(c, false);
		if (c->mode & (X86_MODE_CS64 | X86_MODE_FLAT))
			remember(v, lin, b);
	}
	c->code_base = lin & ~(PAGE_SIZE - 1);
	return b;
}

static void set_tag(struct interp_cpu *v)
{
	v->tag = (uint64_t)v->epoch << 32 | v->cpu.mode;
}

const struct insn *interp_resume(struct x86_cpu *c, const struct insn *i)
{
	struct interp_cpu *v = interp_of(c);
	const struct block *b;

	v->ip = NULL;
	if (unlikely(!quiet(c)))
		return NULL;
	c->s.rflags &= ~RFLAGS_RF;
	set_tag(v);
	b = find(c);
	v->cur = b;
	return b->insn;
}

const struct insn *interp_leave(struct x86_cpu *c, const struct insn *i)
{
	c->icount += interp_index(c, i) + 1;
	c->s.rip = interp_next_rip(c, i);
	return interp_resume(c, i);
}

/* A link may be kept when both ends stay where they are: see FOLLOW_in and FOLLOW_out. */
static void keep_link(struct interp_cpu *v, struct link *l, uint64_t from, const struct block *to)
{
	uint64_t page = v->cpu.code_base;

	if (to->page == &v->io_page || to->mode & BLOCK_ONE || (page == from && to->page2))
		return;
	*l = (struct link){.to = to, .tag = v->tag, .page = page, .from = from};
}

const struct insn *interp_link(struct x86_cpu *c, const struct insn *i, unsigned n, uint64_t rip)
{
	struct interp_cpu *v = interp_of(c);
	/* A block of device memory is overwritten by the next one that is decoded. */
	bool kept = v->cur->page != &v->io_page;
	uint64_t from = c->code_base, flushes = v->stats.flushes;
	const struct block *b;

	if (unlikely(c->mode & X86_MODE_CS64 && !x86_canonical(rip))) {
		c->icount -= i->base;
		interp_sync(c, i);
		x86_raise_err(c, X86_GP, 0);
	}
	v->ip = NULL;
	c->s.rip = rip;
	if (unlikely(!quiet(c)))
		return NULL;
	b = find(c);
	if (kept && flushes == v->stats.flushes)
		keep_link(v, (struct link *)(uintptr_t)(i + n), from, b);
	v->cur = b;
	return b->insn;
}

static void log_block(struct x86_cpu *c, const struct block *b)
{
	const uint64_t *r = c->s.gpr;

	LOGF(c->log, EXEC, "exec %u: %016lx %u insns, mode %03x\n", c->index, c->s.rip, b->n_insns,
	     c->mode);
	if (!log_on(c->log, LOG_CPU))
		return;
	log_printf(c->log,
		   "RAX=%016lx RBX=%016lx RCX=%016lx RDX=%016lx\n"
		   "RSI=%016lx RDI=%016lx RBP=%016lx RSP=%016lx\n"
		   "R8 =%016lx R9 =%016lx R10=%016lx R11=%016lx\n"
		   "R12=%016lx R13=%016lx R14=%016lx R15=%016lx\n"
		   "RIP=%016lx RFL=%08lx\n",
		   r[X86_RAX], r[X86_RBX], r[X86_RCX], r[X86_RDX], r[X86_RSI], r[X86_RDI],
		   r[X86_RBP], r[X86_RSP], r[X86_R8], r[X86_R9], r[X86_R10], r[X86_R11], r[X86_R12],
		   r[X86_R13], r[X86_R14], r[X86_R15], c->s.rip, x86_rflags(c));
}

/* The instruction at s.rip alone, whatever waits. */
static const struct insn *enter_one(struct x86_cpu *c)
{
	struct interp_cpu *v = interp_of(c);
	const struct block *b;

	v->ip = NULL;
	c->s.sti_shadow = c->s.movss_shadow = false;
	b = interp_block(c, true);
	c->code_base = linear(c, c->s.rip) & ~(PAGE_SIZE - 1);
	if (unlikely(c->log->mask & (1u << LOG_EXEC | 1u << LOG_CPU)))
		log_block(c, b);
	v->cur = b;
	return b->insn;
}

const struct insn *interp_enter(struct x86_cpu *c)
{
	struct interp_cpu *v = interp_of(c);
	const struct block *b;

	if (c->single || c->s.sti_shadow || c->s.movss_shadow)
		return enter_one(c);
	v->ip = NULL;
	c->s.rflags &= ~RFLAGS_RF;
	b = find(c);
	if (unlikely(b->n_insns > interp_left(v)))
		return enter_one(c);
	if (unlikely(c->log->mask & (1u << LOG_EXEC | 1u << LOG_CPU)))
		log_block(c, b);
	v->cur = b;
	return b->insn;
}

static void execute(struct x86_cpu *c, const struct insn *i)
{
	while (i)
		i = i->fn(c, i);
}

/* With c->single: the instruction at s.rip. */
static void execute_one(struct x86_cpu *c)
{
	struct interp_cpu *v = interp_of(c);

	do {
		v->retry = false;
		execute(c, enter_one(c));
	} while (v->retry);
}

/* --- single steps: TF, debug registers, debugger --- */
static bool debug_exit(struct interp_cpu *v, bool step, bool watch)
{
	struct x86_debug *d = v->cpu.debug;

	v->hit = (struct engine_debug_hit){.step = step, .watch = watch};
	if (watch) {
		v->hit.kind = (enum engine_bp_kind)d->hit_kind;
		v->hit.addr = d->hit_addr;
		d->hit = false;
	}
	v->stop = true;
	return true;
}

/* After a step that was completed or ended in an exception. */
static void step_done(struct interp_cpu *v)
{
	struct x86_debug *d = v->cpu.debug;

	v->stepping = false;
	if (d && d->hit)
		debug_exit(v, false, true);
	else if (d && d->step)
		debug_exit(v, true, false);
}

static void step(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;
	bool tf = c->s.rflags & RFLAGS_TF;

	v->stepping = true;
	if (!x86_before_insn(c)) {
		execute_one(c);
		if (v->stop) {
			v->stepping = false;
			return;
		}
		x86_after_insn(c, tf);
	}
	step_done(v);
}

/* --- the run loop --- */
bool interp_debugged(const struct interp_cpu *v)
{
	const struct x86_debug *d = v->cpu.debug;

	return d->step || d->n_bp || v->n_bps || v->cpu.log->mask & (1u << LOG_EXEC | 1u << LOG_CPU);
}

static void set_step_event(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;
	bool want = c->single || interp_counted(v) ||
		    c->log->mask & (1u << LOG_EXEC | 1u << LOG_CPU);

	if (want == !!(interp_events(c) & EV_STEP))
		return;
	if (want)
		atomic_fetch_or(&c->events, EV_STEP);
	else
		atomic_fetch_and(&c->events, ~EV_STEP);
}

enum engine_exit interp_exit_reason(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;

	v->stats.exits++;
	if (c->shutdown)
		return ENGINE_EXIT_SHUTDOWN;
	if (!interp_counted(v) && interp_events(c) & X86_EV_EXIT) {
		x86_event_clear(c, X86_EV_EXIT);
		return ENGINE_EXIT_KICK;
	}
	if (c->s.mp_state == X86_MP_RUNNABLE)
		return ENGINE_EXIT_DONE;
	if (c->s.mp_state == X86_MP_HALTED) {
		x86_kvmpv_halt(c);
		v->asleep = true;
		return ENGINE_EXIT_HALT;
	}
	return ENGINE_EXIT_SIPI;
}

bool interp_poll(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;

	if (!interp_left(v))
		return true;
	if (!c->shutdown && !c->s.exc_pending && c->s.mp_state == X86_MP_RUNNABLE &&
	    !(interp_events(c) & ~EV_STEP))
		return false;
	return interp_counted(v) ? x86_poll_inner(c) : x86_poll_events(c);
}

static void forget_addresses(struct interp_cpu *v)
{
	v->cpu.tlb_changed = false;
	v->epoch++;
	v->stats.epochs++;
}

void interp_turn(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;

	if (c->tlb_changed)
		forget_addresses(v);
	set_tag(v);
	if (c->single)
		step(v);
	else
		execute(c, interp_enter(c));
}

void interp_one(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;

	if (c->tlb_changed)
		forget_addresses(v);
	set_tag(v);
	c->s.rflags &= ~RFLAGS_RF;
	do {
		v->retry = false;
		execute(c, enter_one(c));
	} while (v->retry);
}

static enum engine_exit loop(struct interp_cpu *v, jmp_buf *unwind)
{
	struct x86_cpu *c = &v->cpu;

	for (;;) {
		c->unwind = unwind;
		v->ip = NULL;
		if (unlikely(v->stop)) {
			v->stop = false;
			return ENGINE_EXIT_DEBUG;
		}
		if (interp_poll(v))
			return interp_exit_reason(v);
		c->unwind = unwind;
		set_step_event(v);
		interp_turn(v);
	}
}

/* An instruction raised: what it had retired of its block counts, then the exception is delivered.
 */
void interp_unwound(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;

	if (v->excl_lock) {
		v->excl_lock = false;
		x86_excl_end(c->vm, c);
	}
	if (v->ip)
		c->icount += interp_index(c, v->ip);
	v->ip = NULL;
	v->raised++;
	x86_deliver(c);
	if (v->stepping)
		step_done(v);
}

void interp_begin(struct interp_cpu *v)
{
	struct x86_cpu *c = &v->cpu;

	running = c;
	x86_excl_enter(c);
	if (v->asleep) {
		v->asleep = false;
		x86_kvmpv_resume(c);
	}
	v->stepping = false;
	v->bp_skip = v->bp_stopped && linear(c, c->s.rip) == v->bp_at && interp_bp_at(v, v->bp_at);
	v->bp_stopped = false;
}

void interp_end(struct interp_cpu *v)
{
	v->cpu.unwind = NULL;
	x86_excl_leave(&v->cpu);
	running = NULL;
}

enum engine_exit interp_run(struct engine_vm *vm, unsigned cpu)
{
	struct interp_cpu *v = cpu_of(vm, cpu);
	enum engine_exit why;
	jmp_buf unwind;

	interp_begin(v);
	if (_setjmp(unwind))
		interp_unwound(v);
	why = loop(v, &unwind);
	interp_end(v);
	return why;
}

enum engine_exit interp_run_insns(struct engine_vm *vm, unsigned cpu, uint64_t max, uint64_t *done)
{
	struct interp_cpu *v = cpu_of(vm, cpu);
	enum engine_exit why;

	interp_count(v, max);
	why = interp_run(vm, cpu);
	*done = interp_count_end(v);
	return why;
}

enum engine_exit interp_take_events(struct engine_vm *vm, unsigned cpu)
{
	struct interp_cpu *v = cpu_of(vm, cpu);
	enum engine_exit why = ENGINE_EXIT_DONE;

	interp_begin(v);
	if (x86_poll_events(&v->cpu))
		why = interp_exit_reason(v);
	interp_end(v);
	return why;
}

/* --- debugger's execution breakpoints: see block.c --- */
bool interp_bp_at(const struct interp_cpu *v, uint64_t lin)
{
	for (unsigned n = 0; n < v->n_bps; n++)
		if (v->bps[n] == lin)
			return true;
	return false;
}

const struct insn *interp_bp_check(struct x86_cpu *c, const struct insn *i)
{
	struct interp_cpu *v = interp_of(c);
	uint64_t lin = c->code_base + i->off;

	if (v->bp_skip || !interp_bp_at(v, lin)) {
		v->bp_skip = false;
		NEXT;
	}
	c->s.rip = interp_rip(c, i->off);
	v->ip = NULL;
	v->bp_stopped = true;
	v->bp_at = lin;
	debug_exit(v, false, false);
	return NULL;
}

void interp_debug(struct engine_vm *vm, unsigned cpu, const struct engine_debug *d)
{
	struct interp_cpu *v = cpu_of(vm, cpu);
	struct x86_debug *xd = v->cpu.debug;

	xd->bp = xrealloc(xd->bp, (d->n_bp + 1) * sizeof(*xd->bp));
	v->bps = xrealloc(v->bps, (d->n_bp + 1) * sizeof(*v->bps));
	xd->n_bp = v->n_bps = 0;
	for (unsigned n = 0; n < d->n_bp; n++) {
		const struct engine_bp *b = &d->bp[n];

		if (b->kind == ENGINE_BP_EXEC)
			v->bps[v->n_bps++] = b->addr;
		else
			xd->bp[xd->n_bp++] =
				(struct x86_bp){b->addr, b->len, (enum x86_bp_kind)b->kind};
	}
	xd->step = d->step;
	xd->hit = false;
	x86_debug_changed(&v->cpu);
	interp_cache_flush(v);
}

void interp_debug_hit(struct engine_vm *vm, unsigned cpu, struct engine_debug_hit *out)
{
	*out = cpu_of(vm, cpu)->hit;
}

/* --- from outside --- */
void interp_inject(struct engine_vm *vm, unsigned cpu, enum engine_signal sig, uint32_t arg)
{
	struct x86_cpu *c = &cpu_of(vm, cpu)->cpu;

	switch (sig) {
	case ENGINE_INTR:
		if (arg)
			x86_event_set(c, X86_EV_INTR);
		else
			x86_event_clear(c, X86_EV_INTR);
		break;
	case ENGINE_NMI:
		x86_event_set(c, X86_EV_NMI);
		break;
	case ENGINE_INIT:
		x86_event_init(c);
		break;
	case ENGINE_SIPI:
		atomic_store(&c->sipi_vector, (uint8_t)arg);
		x86_event_set(c, X86_EV_SIPI);
		break;
	}
}

void interp_kick(struct engine_vm *vm, unsigned cpu)
{
	x86_event_set(&cpu_of(vm, cpu)->cpu, X86_EV_EXIT);
}

bool interp_has_work(struct engine_vm *vm, unsigned cpu)
{
	struct x86_cpu *c = &cpu_of(vm, cpu)->cpu;
	uint32_t ev = atomic_load(&c->events) & ~EV_STEP;

	if (c->s.mp_state == X86_MP_RUNNABLE || c->s.exc_pending)
		return true;
	if (c->s.mp_state != X86_MP_HALTED)
		return ev & (X86_EV_INIT | X86_EV_SIPI | X86_EV_EXIT);
	if (ev & (X86_EV_INIT | X86_EV_EXIT))
		return true;
	if ((ev & X86_EV_NMI || c->s.nmi_pending) && !c->s.nmi_blocked)
		return true;
	return ev & X86_EV_INTR && c->s.rflags & RFLAGS_IF;
}

void interp_get(struct engine_vm *vm, unsigned cpu, struct x86_state *out)
{
	x86_cpu_get(&cpu_of(vm, cpu)->cpu, out);
}

void interp_set(struct engine_vm *vm, unsigned cpu, const struct x86_state *in)
{
	struct interp_cpu *v = cpu_of(vm, cpu);

	x86_cpu_set(&v->cpu, in);
	v->cpu.shutdown = false;
	v->cpu.tlb_changed = true;
}

/*
 * A device that changes the map holds its lock, for which a vCPU may wait that would have to park
 * first: then nobody is stopped, each vCPU flushes before its next block (and the one that made the
 * device do it, before its next instruction).  RAM never goes away, and readers of the map see the
 * new one.
 */
void interp_map_changed(struct engine_vm *vm)
{
	struct x86_vm *xv = &vm_of(vm)->vm;
	struct x86_cpu *self = interp_running_in(xv);

	if (!lock_none_held()) {
		for (unsigned n = 0; n < xv->n_cpus; n++)
			x86_event_set(xv->cpus[n], X86_EV_TLB);
		return;
	}
	x86_excl_begin(xv, self);
	for (unsigned n = 0; n < xv->n_cpus; n++)
		x86_tlb_flush(xv->cpus[n], true);
	x86_excl_end(xv, self);
}

void interp_protect(void *opaque, uint64_t ram_off)
{
	struct interp_vm *iv = opaque;
	struct x86_cpu *self = interp_running_in(&iv->vm);

	x86_excl_begin(&iv->vm, self);
	for (unsigned n = 0; n < iv->vm.n_cpus; n++)
		x86_tlb_protect(iv->vm.cpus[n], ram_off);
	x86_excl_end(&iv->vm, self);
}

bool interp_translate(struct engine_vm *vm, unsigned cpu, uint64_t va, gpa *out)
{
	return x86_translate(&cpu_of(vm, cpu)->cpu, va, out);
}

void interp_report(struct engine_vm *vm, unsigned cpu,
			  void (*emit)(void *opaque, const char *line), void *opaque)
{
	x86_report(&cpu_of(vm, cpu)->cpu, emit, opaque);
}

uint64_t interp_insns(struct engine_vm *vm)
{
	struct interp_vm *iv = vm_of(vm);
	uint64_t sum = 0;

	for (unsigned n = 0; n < iv->vm.n_cpus; n++)
		sum += __atomic_load_n(&iv->cpus[n]->cpu.icount, __ATOMIC_RELAXED);
	return sum;
}

void interp_stats(struct engine_vm *vm, void (*emit)(void *opaque, const char *line),
			 void *opaque)
{
	struct interp_vm *iv = vm_of(vm);
	char line[256];

	for (unsigned n = 0; n < iv->vm.n_cpus; n++) {
		const struct interp_cpu *v = iv->cpus[n];
		const struct interp_stats *s = &v->stats;

		snprintf(line, sizeof(line),
			 "cpu %u: insns %lu, blocks %lu, decoded %lu, stale %lu, lookups %lu, "
			 "finds %lu, "
			 "cache flushes %lu, epochs %lu, exits %lu, cache %zu KiB",
			 n, v->cpu.icount, s->blocks, s->decoded, s->stale, s->lookups, s->finds,
			 s->flushes, s->epochs, s->exits, v->arena_used / 1024);
		emit(opaque, line);
	}
}

/* --- life --- */
void interp_cpu_clear(struct interp_cpu *v)
{
	if (v->cpu.debug) {
		free(v->cpu.debug->bp);
		free(v->cpu.debug);
	}
	x86_cpu_fini(&v->cpu);
	bounce_pool_destroy(v->bounce);
	interp_cache_fini(v);
	free(v->bps);
}

int interp_cpu_setup(struct interp_cpu *v, struct interp_vm *iv, unsigned index, struct err **e)
{
	int r;

	x86_state_reset(&v->cpu.s, index == 0, x86_cpuid_signature(iv->vm.cpuid));
	x86_cpu_init(&v->cpu, &iv->vm, index, index);
	v->cpu.debug = xzalloc(sizeof(*v->cpu.debug));
	v->epoch = 1;
	v->limit = UINT64_MAX;
	iv->cpus[index] = v;
	iv->vm.cpus[index] = &v->cpu;
	r = bounce_pool_create(&v->bounce, e);
	return r ? r : interp_cache_init(v, e);
}

void interp_vm_clear(struct interp_vm *iv)
{
	x86_excl_fini(&iv->vm);
	free(iv->vm.cpus);
	free(iv->cpus);
}

void interp_vm_setup(struct interp_vm *iv, const struct engine_config *cfg)
{
	iv->vm = (struct x86_vm){
		.mem = cfg->mem,
		.log = cfg->log,
		.clock = cfg->clock,
		.cpuid = cfg->cpuid,
		.host = cfg->host,
		.host_opaque = cfg->host_opaque,
		.n_cpus = cfg->n_cpus,
	};
	iv->vm.cpus = xcalloc(cfg->n_cpus, sizeof(*iv->vm.cpus));
	iv->cpus = xcalloc(cfg->n_cpus, sizeof(*iv->cpus));
	x86_excl_init(&iv->vm);
}

static void interp_vm_fini(struct engine_vm *vm)
{
	struct interp_vm *iv = vm_of(vm);

	if (!iv)
		return;
	for (unsigned n = 0; n < iv->vm.n_cpus; n++) {
		if (iv->cpus[n])
			interp_cpu_clear(iv->cpus[n]);
		free(iv->cpus[n]);
	}
	interp_vm_clear(iv);
	free(iv);
}

static int interp_vm_init(struct engine_vm **out, const struct engine_config *cfg, struct err **e)
{
	struct interp_vm *iv = xzalloc(sizeof(*iv));
	int r = 0;

	interp_vm_setup(iv, cfg);
	for (unsigned n = 0; !r && n < cfg->n_cpus; n++) {
		struct interp_cpu *v = xzalloc_aligned(64, align_up(sizeof(*v), 64));

		r = interp_cpu_setup(v, iv, n, e);
	}
	if (r) {
		interp_vm_fini((struct engine_vm *)iv);
		return r;
	}
	mem_set_page_ops(cfg->mem, &(struct page_ops){.protect = interp_protect, .opaque = iv});
	*out = (struct engine_vm *)iv;
	return 0;
}

static int interp_probe(struct err **e)
{
	return 0;
}

const struct engine_ops engine_interp = {
	.name = "interp",
	.probe = interp_probe,
	.vm_init = interp_vm_init,
	.vm_fini = interp_vm_fini,
	.run = interp_run,
	.take_events = interp_take_events,
	.run_insns = interp_run_insns,
	.inject = interp_inject,
	.kick = interp_kick,
	.has_work = interp_has_work,
	.get = interp_get,
	.set = interp_set,
	.map_changed = interp_map_changed,
	.debug = interp_debug,
	.debug_hit = interp_debug_hit,
	.translate = interp_translate,
	.report = interp_report,
	.insns = interp_insns,
	.stats = interp_stats,
};
