/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binary translator: guest and host speak the same instruction set, so most of a block is its
 * own instructions, with registers renamed and memory operands led through a table.
 *
 * A vCPU of the translator is one of the interpreter's and more.  The run loop deals with what
 * waits (events, modified code), finds or makes the block at s.rip and enters it; translated code
 * goes from block to block by itself and comes back with a reason (enum dbt_exit), all guest
 * registers stored.  Whatever is not translated, faults, or cannot be done in a table access is one
 * instruction of the interpreter (interp_one), after which the next block is found.  Code that is
 * not translated at all (16-bit, segmented, virtual-8086, single-stepped) is interpreted by blocks;
 * with a debugger's breakpoints, all of it is (interp_run).
 *
 * Threads: a vCPU's blocks, tables and links are its own thread's.  Others set its event bits, list
 * pages whose code was written to (raised), and take fast writes away while all are stopped
 * (x86_excl_begin).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/err.h"
#include "engine/dbt/dbt.h"
#include "engine/dbt/dbt_int.h"
#include "x86/sys.h"

#define CACHE_SIZE (64 * MiB) /* of all vCPUs */
#define CACHE_MIN (4 * MiB)
#define CACHE_TINY MiB
#define FLUSH_EVERY 5000 /* blocks, under stress */

const uint8_t dbt_host_reg[16] = {
	X86_RAX, 12, X86_RDX, X86_RBX, 13,     X86_RBP, X86_RSI, X86_RDI,
	8,	 9,  10,      NO_REG,  NO_REG, NO_REG,	NO_REG,	 NO_REG,
};

struct dbt_vm {
	struct interp_vm in; /* first: its functions take the engine_vm */
	struct dbt_cpu **cpus;
	unsigned stress;
	unsigned symbols; /* DBT_SYMBOLS_*, open */
	bool counts; /* run_insns was called */
};

static struct dbt_vm *vm_of(struct engine_vm *vm)
{
	return (struct dbt_vm *)vm;
}

/* --- running --- */
/* The block at s.rip, or NULL when the interpreter must run what is there.  May unwind. */
static struct tb *find(struct dbt_cpu *v, bool apart)
{
	struct x86_cpu *c = &v->in.cpu;
	uint64_t lin = dbt_linear(v, c->s.rip), ram_off;
	const uint8_t *page;
	struct tb *b = jump_find(v, lin, apart);

	if (b)
		return b;
	if ((v->mode & X86_MODE_CS64) && !x86_canonical(lin))
		return NULL;
	page = x86_fetch_page(c, lin, &ram_off);
	if (!page)
		return NULL;
	lst_exec(v, lin);
	if ((v->stress & DBT_STRESS_FLUSH) && v->stats.blocks % FLUSH_EVERY == 0)
		cache_reset(v);
	return xlate_block(v, lin, page, ram_off | PAGE_OFFSET(lin), apart);
}

/* Instructions of b that were completed before it was left. */
static unsigned retired(const struct dbt_cpu *v, const struct tb *b, enum dbt_exit why)
{
	unsigned n = 0, off = (unsigned)PAGE_OFFSET(b->ram_off);

	while (off != INFO_OFF(v->f.info) && n < b->n_insns)
		off += b->map[3 * n++ + 2];
	return n + ((why == DBT_EXIT_LINK && !v->link->apart) || why == DBT_EXIT_JUMP);
}

static enum dbt_exit enter(struct dbt_cpu *v, struct tb *b)
{
	typedef enum dbt_exit enter_fn(struct dbt_frame * f, const uint8_t *code);
	enum dbt_exit why;

	v->f.code_base = dbt_linear(v, v->in.cpu.s.rip) & ~(PAGE_SIZE - 1);
	v->in.cpu.s.rflags &= ~RFLAGS_RF;
	v->entered = b;
	dbt_fpu_load(v);
	fault_enter(v);
	why = ((enter_fn *)(uintptr_t)v->cache.stub.enter)(&v->f, b->body);
	fault_leave();
	x86_update_ac(&v->in.cpu); /* STAC and CLAC in line leave that to us */
	if (!fpu_lazy())
		fpu_claim();
	v->stats.exits[why]++;
	if (unlikely(interp_counted(&v->in)))
		v->in.cpu.icount += retired(v, b, why);
	v->entered = NULL;
	return why;
}

static void insn_rip(struct dbt_cpu *v)
{
	v->in.cpu.s.rip = dbt_linear(v, v->f.code_base + INFO_OFF(v->f.info));
}

/* An indirect branch: where it leads.  To where no code can be, the branch itself raises. */
static bool take_jump(struct dbt_cpu *v)
{
	struct x86_cpu *c = &v->in.cpu;

	if (likely(!(v->mode & X86_MODE_CS64) || x86_canonical(v->f.target))) {
		c->s.rip = dbt_linear(v, v->f.target);
		return true;
	}
	insn_rip(v);
	c->s.gpr[X86_RSP] += (uint64_t)(int64_t)((int32_t)v->f.info >> 12);
	return false;
}

/* A direct branch whose target is not translated: do so, and link it. */
static void take_link(struct dbt_cpu *v)
{
	struct tb *b;

	v->in.cpu.s.rip = v->f.target;
	/* Fetching the target may raise, which counts as an instruction of its own. */
	if (atomic_load_explicit(v->in.cpu.attn, memory_order_relaxed) || interp_counted(&v->in)) {
		/* The block that leads there may begin there, and would lead there again. */
		if (v->link->apart)
			interp_one(&v->in);
		return;
	}
	if (direct_ahead(v, v->f.target))
		return; /* from the run loop, which may run it directly */
	b = find(v, v->link->apart);
	if (b && v->link_generation == v->cache.generation)
		cache_link(v, v->link, b, v->link->check);
}

static void after_exit(struct dbt_cpu *v, enum dbt_exit why)
{
	switch (why) {
	case DBT_EXIT_POLL:
		/* It may be behind the page. */
		v->in.cpu.s.rip = dbt_linear(v, v->f.code_base + v->f.info);
		windows_look(v);
		break;
	case DBT_EXIT_FAULT:
		insn_rip(v);
		if (v->missed != NO_PAGE)
			windows_missed(v, v->missed);
		v->missed = NO_PAGE;
		interp_one(&v->in);
		break;
	case DBT_EXIT_JUMP:
		if (!take_jump(v))
			interp_one(&v->in); /* which raises */
		break;
	case DBT_EXIT_LINK:
		take_link(v);
		break;
	case DBT_EXIT_RIP:
	case DBT_EXIT_COUNT:
		break;
	}
}

static void turn(struct dbt_cpu *v)
{
	struct x86_cpu *c = &v->in.cpu;
	struct tb *b;

	if (c->single || c->s.sti_shadow || c->s.movss_shadow || !run_translated(dbt_mode(c))) {
		interp_turn(&v->in);
		return;
	}
	run_update(v);
	if ((v->mode & DBT_MODE_DIRECT) && !interp_counted(&v->in) && direct_turn(v)) {
		windows_look(v);
		return;
	}
	b = find(v, false);
	if (b && b->n_insns <= interp_left(&v->in))
		after_exit(v, enter(v, b));
	else
		interp_one(&v->in);
}

static enum engine_exit loop(struct dbt_cpu *v, jmp_buf *unwind)
{
	struct x86_cpu *c = &v->in.cpu;

	for (;;) {
		c->unwind = unwind;
		v->in.ip = NULL;
		/* Before what it stands for is read. */
		if (atomic_load_explicit(c->attn, memory_order_relaxed))
			atomic_store(c->attn, 0);
		if (atomic_load_explicit(&v->raised.n, memory_order_relaxed))
			cache_raised(v);
		if (interp_poll(&v->in))
			return interp_exit_reason(&v->in);
		c->unwind = unwind;
		turn(v);
	}
}

static enum engine_exit dbt_run(struct engine_vm *vm, unsigned cpu)
{
	struct dbt_cpu *v = vm_of(vm)->cpus[cpu];
	stack_t stack = {.ss_sp = v->signal_stack, .ss_size = sizeof(v->signal_stack)}, before;
	enum engine_exit why;
	jmp_buf unwind;

	if (interp_debugged(&v->in))
		return interp_run(vm, cpu);
	interp_begin(&v->in);
	atomic_fetch_or(&v->in.cpu.events, EV_STEP);
	run_set_tsc(v);
	sched_getaffinity(0, sizeof(v->affinity), &v->affinity);
	/* Translated code's is not for handlers. */
	bug_on(sigaltstack(&stack, &before) < 0);
	if (_setjmp(unwind)) {
		fault_leave();
		if (v->entered && interp_counted(&v->in))
			v->in.cpu.icount += retired(v, v->entered, DBT_EXIT_RIP);
		v->entered = NULL;
		interp_unwound(&v->in);
	}
	why = loop(v, &unwind);
	fpu_claim();
	direct_unpin(v);
	bug_on(sigaltstack(&before, NULL) < 0);
	interp_end(&v->in);
	return why;
}

static enum engine_exit dbt_run_insns(struct engine_vm *vm, unsigned cpu, uint64_t max,
				      uint64_t *done)
{
	struct dbt_cpu *v = vm_of(vm)->cpus[cpu];
	enum engine_exit why;

	if (!(v->stress & DBT_STRESS_NO_LINK)) {
		v->stress |= DBT_STRESS_NO_LINK;
		cache_reset(v);
	}
	vm_of(vm)->counts = true;
	interp_count(&v->in, max);
	why = dbt_run(vm, cpu);
	*done = interp_count_end(&v->in);
	return why;
}

/* --- modified code: by any thread, under the code lock --- */
static void raise_in(struct dbt_cpu *v, uint64_t page)
{
	unsigned n;

	while (atomic_exchange_explicit(&v->raised.lock, 1, memory_order_acquire))
		__builtin_ia32_pause();
	n = atomic_load_explicit(&v->raised.n, memory_order_relaxed);
	if (n < DBT_RAISED)
		v->raised.page[n] = page;
	if (n <= DBT_RAISED)
		atomic_store_explicit(&v->raised.n, n + 1, memory_order_relaxed);
	atomic_store_explicit(&v->raised.lock, 0, memory_order_release);
	x86_attend(&v->in.cpu);
}

static void raised(void *opaque, uint64_t ram_off)
{
	struct dbt_vm *dv = opaque;

	for (unsigned n = 0; n < dv->in.vm.n_cpus; n++)
		if (dv->cpus[n])
			raise_in(dv->cpus[n], ram_off >> PAGE_SHIFT);
}

/* --- statistics --- */
/* What the interpreter ran most. */
static void stats_insns(const struct dbt_stats *s, unsigned cpu,
			void (*emit)(void *opaque, const char *line), void *opaque)
{
	uint64_t below = UINT64_MAX;
	char line[256];
	int len = snprintf(line, sizeof(line), "cpu %u: interpreted:", cpu);

	for (unsigned k = 0; k < 12; k++) {
		unsigned best = 0;

		for (unsigned n = 1; n <= ZYDIS_MNEMONIC_MAX_VALUE; n++)
			if (s->by_insn[n] < below && s->by_insn[n] > (best ? s->by_insn[best] : 0))
				best = n;
		if (!best || len >= (int)sizeof(line))
			break;
		below = s->by_insn[best];
		len += snprintf(line + len, sizeof(line) - (size_t)len, " %s %lu,",
				ZydisMnemonicGetString((ZydisMnemonic)best), below);
	}
	snprintf(line + min_u64((uint64_t)len, sizeof(line) - 24), 24, " accesses %lu",
		 s->by_insn[0]);
	emit(opaque, line);
}

static void dbt_stats(struct engine_vm *vm, void (*emit)(void *opaque, const char *line),
		      void *opaque)
{
	char line[512];

	for (unsigned n = 0; n < vm_of(vm)->in.vm.n_cpus; n++) {
		const struct dbt_cpu *v = vm_of(vm)->cpus[n];
		const struct dbt_stats *s = &v->stats;

		snprintf(line, sizeof(line),
			 "cpu %u: blocks %lu, insns %lu, code bytes %lu, cache flushes %lu, "
			 "links %lu, unlinks %lu, stale %lu, pages raised %lu, jump misses %lu, "
			 "table fills %lu, table flushes %lu, table resets %lu, CR3 loads %lu, "
			 "windows %lu, fills %lu, misses %lu, host faults %lu; "
			 "direct: programs %lu, entries %lu, system calls %lu, interrupts %lu, "
			 "faults %lu, fills %lu",
			 n, s->blocks, s->insns, s->bytes, s->flushes, s->links, s->unlinks,
			 s->stale, s->pages_raised, s->jump_misses, s->fills, s->lst_flushes,
			 s->lst_resets, s->spaces, s->windows, s->window_fills, s->window_misses,
			 s->host_faults, s->direct, s->direct_entries, s->direct_calls,
			 s->direct_interrupts, s->direct_faults, s->direct_fills);
		emit(opaque, line);
		snprintf(line, sizeof(line),
			 "cpu %u: exits: poll %lu, fault %lu, link %lu, jump %lu, return %lu; "
			 "in place: insns %lu, calls %lu",
			 n, s->exits[DBT_EXIT_POLL], s->exits[DBT_EXIT_FAULT],
			 s->exits[DBT_EXIT_LINK], s->exits[DBT_EXIT_JUMP], s->exits[DBT_EXIT_RIP],
			 s->in_place, s->calls);
		emit(opaque, line);
		snprintf(line, sizeof(line),
			 "cpu %u: memory: code %zu and cold code %zu of %zu KiB, blocks %zu KiB, "
			 "tables %u KiB of %zu GiB reserved, address spaces %u, "
			 "pages in windows %u of %u",
			 n, v->cache.hot.used / 1024,
			 (v->cache.cold.used - v->cache.hot.end) / 1024, v->cache.size / 1024,
			 v->cache.arena_used / 1024, v->lst.touched * 4, v->lst.map_size >> 30,
			 v->lst.n_spaces, v->pool.mapped, v->pool.mapped_max);
		emit(opaque, line);
		stats_insns(s, n, emit, opaque);
	}
	interp_stats(vm, emit, opaque);
}

/* Translated code counts only when it is run by counts (run_insns). */
static uint64_t dbt_insns(struct engine_vm *vm)
{
	return vm_of(vm)->counts ? interp_insns(vm) : 0;
}

/* --- life --- */
static void cpu_destroy(struct dbt_cpu *v)
{
	if (!v)
		return;
	symbols_fini(v);
	windows_destroy(v);
	returns_destroy(v);
	lst_destroy(v);
	cache_destroy(v);
	xlate_free(v->xlate);
	interp_cpu_clear(&v->in);
	munmap(v, sizeof(*v));
}

static size_t cache_size(const struct dbt_cpu *v, unsigned n_cpus)
{
	if (v->stress & DBT_STRESS_SMALL_CACHE)
		return CACHE_TINY;
	return align_up(max_u64(CACHE_SIZE / n_cpus, CACHE_MIN), PAGE_SIZE);
}

static void frame_init(struct dbt_cpu *v)
{
	static const uint8_t bits[] = {1, 2, 3, 4, 5, 6, PAGE_SHIFT};
	uint64_t no = RFLAGS_RF | RFLAGS_VM;

	for (unsigned n = 0; n < ARRAY_SIZE(bits); n++)
		v->f.low_mask[n] = BIT(bits[n]) - 1;
	v->f.sign = BIT(63);
	v->f.self = v;
	v->in.cpu.attn = &v->f.attn;
	v->f.pauses = 1;
	v->f.not_if = ~(uint64_t)RFLAGS_IF;
	v->f.not_ac = ~(uint64_t)RFLAGS_AC;
	v->f.not_df = ~(uint64_t)RFLAGS_DF;
	v->f.df = RFLAGS_DF;
	v->f.arith = RFLAGS_ARITH;
	v->f.not_arith = ~(RFLAGS_ARITH | no);
	v->mode = UINT32_MAX;
	v->direct_cpu = -1;
	v->missed = NO_PAGE;
}

static int cpu_create(struct dbt_vm *dv, unsigned index, struct err **e)
{
	struct dbt_cpu *v =
		mmap(NULL, sizeof(*v), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (v == MAP_FAILED)
		return err_set(e, ENOMEM, "no memory for a processor");
	dv->cpus[index] = v;
	v->stress = dv->stress;
	v->symbols = dv->symbols;
	r = interp_cpu_setup(&v->in, &dv->in, index, e);
	if (r)
		return r;
	fault_install(); /* before those of bounce stubs, which are there now */
	v->xlate = xlate_create(dv->in.vm.cpuid);
	frame_init(v);
	dbt_fpu_init(v);
	r = lst_create(v, dv->in.vm.n_cpus, e);
	if (!r)
		r = cache_create(v, cache_size(v, dv->in.vm.n_cpus), e);
	if (!r)
		r = returns_create(v, e);
	if (!r)
		symbols_stubs(v);
	return r;
}

static void dbt_vm_fini(struct engine_vm *vm)
{
	struct dbt_vm *dv = vm_of(vm);

	if (!dv)
		return;
	for (unsigned n = 0; n < dv->in.vm.n_cpus; n++)
		cpu_destroy(dv->cpus[n]);
	symbols_close(dv->symbols);
	interp_vm_clear(&dv->in);
	free(dv->cpus);
	free(dv);
}

static int dbt_vm_init(struct engine_vm **out, const struct engine_config *cfg, struct err **e)
{
	unsigned symbols = (cfg->perfmap ? DBT_SYMBOLS_PERF : 0) |
			   (cfg->gdbjit ? DBT_SYMBOLS_GDB : 0);
	struct dbt_vm *dv = xzalloc(sizeof(*dv));
	int r;

	interp_vm_setup(&dv->in, cfg);
	dv->cpus = xcalloc(cfg->n_cpus, sizeof(*dv->cpus));
	r = stress_parse(cfg->stress, &dv->stress, e);
	if (!r)
		r = symbols_open(symbols, e);
	if (!r)
		dv->symbols = symbols;
	for (unsigned n = 0; !r && n < cfg->n_cpus; n++)
		r = cpu_create(dv, n, e);
	/* Of the addresses that are left. */
	for (unsigned n = 0; !r && n < cfg->n_cpus; n++)
		windows_create(dv->cpus[n], cfg->n_cpus);
	if (r) {
		dbt_vm_fini((struct engine_vm *)dv);
		return r;
	}
	mem_set_page_ops(cfg->mem, &(struct page_ops){.protect = interp_protect,
						      .raised = raised,
						      .opaque = dv});
	*out = (struct engine_vm *)dv;
	return 0;
}

static int dbt_probe(struct err **e)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("avx"))
		return err_set(e, ENOTSUP, "the translator needs a processor with BMI2 and AVX");
	return lst_probe(e);
}

const struct engine_ops engine_dbt = {
	.name = "dbt",
	.probe = dbt_probe,
	.vm_init = dbt_vm_init,
	.vm_fini = dbt_vm_fini,
	.run = dbt_run,
	.take_events = interp_take_events,
	.run_insns = dbt_run_insns,
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
	.insns = dbt_insns,
	.stats = dbt_stats,
};
