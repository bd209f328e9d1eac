/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine by itself: exact instruction counts, code that changes under it, pages, exits, the
 * debugger, two machines at once.  The interpreter, or the one that $DOPPEL_ACCEL names.  What
 * instructions do is tested elsewhere (tests/insn, tests/baremetal). Guests run in flat 32-bit
 * protected mode without paging and end with HLT.
 */
#include "../engine.h"
#include "x86_fixture.h"
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include "engine/engine.h"
#include "x86/bounce.h"

#define CODE 0x10000
#define STACK 0x80000

/* SNIPPET(name, text) - 32-bit code as bytes name[] .. name##_end. */
#define SNIPPET(name, text)                                                   \
	extern const uint8_t name[], name##_end[];                            \
	__asm__(".pushsection .rodata\n.code32\n" #name ":\n" text "\n" #name \
		"_end:\n.code64\n.popsection")

struct machine {
	struct fixture *f;
	const struct engine_ops *ops;
	struct engine_vm *vm;
	struct x86_state s;
	bool quit;
};

/* cmocka takes the signals by which the host tells of a guest instruction's fault at the start of
 * each test: take them back. */
static const int fault_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGTRAP};
static struct sigaction ours[ARRAY_SIZE(fault_signals)];

static void signals_restore(void)
{
	for (unsigned n = 0; n < ARRAY_SIZE(ours); n++)
		if (ours[n].sa_flags & SA_SIGINFO)
			sigaction(fault_signals[n], &ours[n], NULL);
}

static struct machine *machine_new(void)
{
	struct machine *m = xzalloc(sizeof(*m));
	struct engine_config cfg = {.n_cpus = 1, .host = &fix_host};
	struct err *e = NULL;

	signals_restore();
	m->f = fix_new("max", 1);
	cfg.mem = m->f->mem;
	cfg.log = m->f->log;
	cfg.clock = m->f->clock;
	cfg.cpuid = m->f->cpuid;
	cfg.host_opaque = m->f;
	m->ops = engine_find(test_engine());
	assert_non_null(m->ops);
	assert_int_equal(m->ops->vm_init(&m->vm, &cfg, &e), 0);
	return m;
}

static void machine_free(struct machine *m)
{
	m->ops->vm_fini(m->vm);
	fix_free(m->f);
	free(m);
}

static void load(struct machine *m, uint64_t at, const uint8_t *from, const uint8_t *end)
{
	assert_int_equal(mem_dma_write(m->f->mem, GPA(at), from, (uint64_t)(end - from)), 0);
}

/* A vCPU in flat 32-bit mode at rip. */
static void start(struct machine *m, uint32_t rip)
{
	struct x86_state *s = &m->s;

	x86_state_reset(s, true, 0x600);
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	s->seg[X86_CS] = fix_seg(8, 0xc09b);
	for (unsigned i = 0; i < 4; i++)
		if (i != X86_CS)
			s->seg[i] = fix_seg(16, 0xc093);
	s->rip = rip;
	s->gpr[X86_RSP] = STACK;
	m->ops->set(m->vm, 0, s);
}

static enum engine_exit run(struct machine *m)
{
	enum engine_exit why = m->ops->run(m->vm, 0);

	m->ops->get(m->vm, 0, &m->s);
	return why;
}

/* The translator counts what it interprets. */
static bool counts(const struct machine *m)
{
	return strcmp(m->ops->name, "dbt");
}

static void assert_count(struct machine *m, uint64_t n)
{
	if (counts(m))
		assert_int_equal(m->ops->insns(m->vm), n);
}

#define RUN(m, name)                                        \
	do {                                                \
		load(m, CODE, name, name##_end);            \
		start(m, CODE);                             \
		assert_int_equal(run(m), ENGINE_EXIT_HALT); \
	} while (0)

/* --- counting --- */
SNIPPET(s_loop, "mov $1000, %ecx\n1: add %ecx, %eax\ndec %ecx\njnz 1b\nhlt");
SNIPPET(s_rep, "mov $100, %ecx\nmov $0x20000, %edi\nrep stosl\nhlt");
SNIPPET(s_calls, "mov $10, %ecx\n1: call 2f\nloop 1b\nhlt\n2: push %ecx\npop %edx\nret");

static void test_count(void **state)
{
	struct machine *m = machine_new();
	uint64_t n;

	RUN(m, s_loop);
	assert_count(m, 1 + 3000 + 1);
	assert_int_equal(m->s.gpr[X86_RAX], 500500);
	n = m->ops->insns(m->vm);
	RUN(m, s_rep);
	assert_count(m, n + 4);
	assert_int_equal(m->s.gpr[X86_RDI], 0x20000 + 400);
	n = m->ops->insns(m->vm);
	RUN(m, s_calls);
	assert_count(m, n + 1 + 10 * 5 + 1);
	machine_free(m);
}

/* A fault in the middle of a block: what was before it counts, and RIP is its own. */
SNIPPET(s_fault, "mov $5, %eax\nmov $6, %ebx\nint $0x20\nmov $7, %ecx\nhlt");

static void test_count_fault(void **state)
{
	struct machine *m = machine_new();
	uint64_t n;

	load(m, CODE, s_fault, s_fault_end);
	start(m, CODE);
	m->s.idtr.limit = 0;
	m->ops->set(m->vm, 0, &m->s);
	n = m->ops->insns(m->vm);
	assert_int_equal(run(m), ENGINE_EXIT_SHUTDOWN);
	assert_count(m, n + 2);
	assert_int_equal(m->s.rip, CODE + 10);
	assert_int_equal(m->s.gpr[X86_RBX], 6);
	machine_free(m);
}

/* --- counted running --- */
/* Calls, a string instruction, and one that faults, whose handler at 2 steps over it. */
SNIPPET(s_counted, "mov $10, %ecx\n1: call 3f\nadd %ecx, %eax\nud2\nloop 1b\nhlt\n"
		   "2: addl $2, (%esp)\nincl %esi\niret\n"
		   "3: push %ecx\nmov $3000, %ecx\nmov $0x20000, %edi\nrep stosb\npop %ecx\nret");
#define COUNTED_HANDLER (CODE + 17)
#define COUNTED_TOTAL (1 + 10 * (10 + 3) + 1)
#define GDT 0x3000
#define IDT 0x4000

static void start_counted(struct machine *m)
{
	static const uint32_t vectors[] = {X86_UD, X86_NMI};

	load(m, CODE, s_counted, s_counted_end);
	fix_poke64(m->f, GDT + 8, UINT64_C(0xcf9b000000ffff)); /* flat code */
	for (unsigned n = 0; n < ARRAY_SIZE(vectors); n++)
		fix_poke64(m->f, IDT + 8 * vectors[n],
			   UINT64_C(0x00018e0000080000) | COUNTED_HANDLER % 0x10000);
	start(m, CODE);
	m->s.gdtr = (struct x86_table){GDT, 0xffff};
	m->s.idtr = (struct x86_table){IDT, 0xffff};
	m->ops->set(m->vm, 0, &m->s);
}

/* In whatever pieces, the same instructions run, and no more than were asked for. */
static void test_counted(void **state)
{
	static const uint64_t pieces[] = {1000000, 1, 2, 3, 7, 64};

	for (unsigned n = 0; n < ARRAY_SIZE(pieces); n++) {
		struct machine *m = machine_new();
		uint64_t total = 0, done;
		enum engine_exit why;

		start_counted(m);
		while ((why = m->ops->run_insns(m->vm, 0, pieces[n], &done)) == ENGINE_EXIT_DONE) {
			assert_int_equal(done, pieces[n]);
			total += done;
		}
		assert_int_equal(why, ENGINE_EXIT_HALT);
		assert_int_equal(total + done, COUNTED_TOTAL);
		assert_count(m, COUNTED_TOTAL - 10);
		m->ops->get(m->vm, 0, &m->s);
		assert_int_equal(m->s.gpr[X86_RAX], 55);
		assert_int_equal(m->s.gpr[X86_RSI], 10);
		assert_int_equal(m->s.gpr[X86_RDI], 0x20000 + 3000);
		assert_int_equal(m->s.rip, CODE + 17);
		machine_free(m);
	}
}

/* An NMI comes when the caller says so, whatever waits, also inside a string instruction. */
static void test_take_events(void **state)
{
	struct machine *m = machine_new();
	uint64_t done;

	start_counted(m);
	m->ops->inject(m->vm, 0, ENGINE_NMI, 0);
	m->ops->kick(m->vm, 0);
	assert_int_equal(m->ops->run_insns(m->vm, 0, 6, &done), ENGINE_EXIT_DONE);
	assert_int_equal(done, 6);
	m->ops->get(m->vm, 0, &m->s);
	assert_int_equal(m->s.gpr[X86_RDI], 0x20000 + 3000);
	assert_int_equal(m->ops->take_events(m->vm, 0), ENGINE_EXIT_KICK);
	assert_int_equal(m->ops->take_events(m->vm, 0), ENGINE_EXIT_DONE);
	m->ops->get(m->vm, 0, &m->s);
	assert_int_equal(m->s.rip, COUNTED_HANDLER);
	machine_free(m);
}

/* --- code that changes --- */
/* The store overwrites the immediate of the next instruction, in the same block. */
SNIPPET(s_own, "mov $3, %ecx\n1: mov %ecx, 0x1000c\nmov $0x55, %eax\nadd %eax, %ebx\nloop 1b\nhlt");
/* So does a string instruction. */
SNIPPET(s_own_rep, "mov $9, %eax\nmov $4, %ecx\nmov $0x10012, %edi\nrep stosb\n"
		   "mov $0x55, %ebx\nhlt");

static void test_own_code(void **state)
{
	struct machine *m = machine_new();

	RUN(m, s_own);
	assert_int_equal(m->s.gpr[X86_RBX], 3 + 2 + 1);
	RUN(m, s_own_rep);
	assert_int_equal(m->s.gpr[X86_RBX], 0x09090909);
	machine_free(m);
}

SNIPPET(s_const, "mov $0x11111111, %eax\nhlt");

/* A device writes code that was decoded already. */
static void test_dma(void **state)
{
	struct machine *m = machine_new();
	uint32_t v = 0x22222222;

	RUN(m, s_const);
	assert_int_equal(m->s.gpr[X86_RAX], 0x11111111);
	assert_int_equal(mem_dma_write(m->f->mem, GPA(CODE + 1), &v, 4), 0);
	start(m, CODE);
	assert_int_equal(run(m), ENGINE_EXIT_HALT);
	assert_int_equal(m->s.gpr[X86_RAX], v);
	machine_free(m);
}

/* An instruction over two pages; then only its second half changes. */
static void test_crossing(void **state)
{
	struct machine *m = machine_new();
	uint64_t at = CODE + PAGE_SIZE - 2;
	uint16_t v = 0x3333;

	load(m, at, s_const, s_const_end);
	for (int n = 0; n < 3; n++) {
		start(m, (uint32_t)at);
		assert_int_equal(run(m), ENGINE_EXIT_HALT);
		assert_int_equal(m->s.gpr[X86_RAX], n < 2 ? 0x11111111 : 0x33331111);
		if (n == 1)
			assert_int_equal(mem_dma_write(m->f->mem, GPA(at + 3), &v, 2), 0);
	}
	machine_free(m);
}

/* Code in device memory is read for every execution. */
static void test_device_code(void **state)
{
	struct machine *m = machine_new();

	for (unsigned n = 1; n < 3; n++) {
		/* mov $n, %eax; hlt */
		m->f->io_regs[0] = UINT64_C(0xb8) | (uint64_t)n << 8 | UINT64_C(0xf4) << 40;
		start(m, (uint32_t)FIX_IO_AT);
		assert_int_equal(run(m), ENGINE_EXIT_HALT);
		assert_int_equal(m->s.gpr[X86_RAX], n);
	}
	machine_free(m);
}

/* More code than the cache holds: it is emptied on the way, and everything still runs. */
static void test_flush(void **state)
{
	struct machine *m = machine_new();
	uint8_t block[] = {0x40, 0xeb, 0x00}; /* inc %eax; jmp .+0 */
	uint32_t blocks = 400000, at = 0x100000;

	for (uint32_t n = 0; n < blocks; n++)
		load(m, at + 3 * n, block, block + 3);
	load(m, at + 3 * blocks, s_loop, s_loop_end);
	start(m, at);
	assert_int_equal(run(m), ENGINE_EXIT_HALT);
	assert_int_equal(m->s.gpr[X86_RAX], blocks + 500500);
	assert_count(m, 2 * (uint64_t)blocks + 3002);
	machine_free(m);
}

/* --- exits --- */
SNIPPET(s_spin, "1: inc %eax\njmp 1b");

static void *kick_soon(void *opaque)
{
	struct machine *m = opaque;

	usleep(20000);
	m->ops->kick(m->vm, 0);
	return NULL;
}

static void test_kick(void **state)
{
	struct machine *m = machine_new();
	pthread_t t;

	load(m, CODE, s_spin, s_spin_end);
	start(m, CODE);
	for (int n = 0; n < 3; n++) {
		uint64_t before = m->ops->insns(m->vm);

		assert_int_equal(pthread_create(&t, NULL, kick_soon, m), 0);
		assert_int_equal(run(m), ENGINE_EXIT_KICK);
		assert_int_equal(pthread_join(t, NULL), 0);
		assert_true(m->s.rip == CODE || m->s.rip == CODE + 1);
		assert_true(m->ops->insns(m->vm) > before || !counts(m));
	}
	machine_free(m);
}

static void test_halt(void **state)
{
	struct machine *m = machine_new();

	RUN(m, s_const);
	assert_int_equal(m->s.mp_state, X86_MP_HALTED);
	assert_int_equal(m->s.rip, CODE + 6);
	assert_false(m->ops->has_work(m->vm, 0));
	/* An interrupt is no work while IF is clear. */
	m->ops->inject(m->vm, 0, ENGINE_INTR, 1);
	assert_false(m->ops->has_work(m->vm, 0));
	m->ops->inject(m->vm, 0, ENGINE_INTR, 0);
	m->ops->inject(m->vm, 0, ENGINE_INIT, 0);
	assert_true(m->ops->has_work(m->vm, 0));
	m->s.apic_base &= ~BIT(8); /* not the bootstrap processor: INIT makes it wait for SIPI */
	m->ops->set(m->vm, 0, &m->s);
	assert_int_equal(run(m), ENGINE_EXIT_SIPI);
	assert_false(m->ops->has_work(m->vm, 0));
	machine_free(m);
}

static void test_sipi(void **state)
{
	struct machine *m = machine_new();
	static const uint8_t code[] = {0xb8, 0x34, 0x12, 0xf4}; /* mov $0x1234, %ax; hlt */

	load(m, 0x9000, code, code + sizeof(code));
	start(m, CODE);
	m->s.apic_base &= ~BIT(8); /* not the bootstrap processor */
	m->ops->set(m->vm, 0, &m->s);
	/* Both at once: the vector must survive the INIT. */
	m->ops->inject(m->vm, 0, ENGINE_INIT, 0);
	m->ops->inject(m->vm, 0, ENGINE_SIPI, 9);
	assert_int_equal(run(m), ENGINE_EXIT_HALT);
	assert_int_equal(m->s.seg[X86_CS].base, 0x9000);
	assert_int_equal(m->s.gpr[X86_RAX] & 0xffff, 0x1234);
	machine_free(m);
}

/* The second SIPI of INIT-SIPI-SIPI finds the vCPU asleep in HLT: it must not start it after the next
 * INIT, which the vCPU looks at later still. */
static void test_sipi_late(void **state)
{
	struct machine *m = machine_new();

	RUN(m, s_const);
	m->s.apic_base &= ~BIT(8); /* not the bootstrap processor */
	m->ops->set(m->vm, 0, &m->s);
	m->ops->inject(m->vm, 0, ENGINE_SIPI, 9);
	assert_false(m->ops->has_work(m->vm, 0));
	m->ops->inject(m->vm, 0, ENGINE_INIT, 0);
	assert_true(m->ops->has_work(m->vm, 0));
	assert_int_equal(run(m), ENGINE_EXIT_SIPI);
	assert_int_equal(m->s.mp_state, X86_MP_WAIT_SIPI);
	assert_false(m->ops->has_work(m->vm, 0));
	machine_free(m);
}

/* --- the debugger --- */
static void set_debug(struct machine *m, const struct engine_bp *bp, unsigned n, bool step)
{
	struct engine_debug d = {.bp = bp, .n_bp = n, .step = step};

	m->ops->debug(m->vm, 0, &d);
}

static void test_breakpoint(void **state)
{
	struct engine_bp bp = {.addr = CODE + 7, .len = 1, .kind = ENGINE_BP_EXEC}; /* dec */
	struct machine *m = machine_new();
	struct engine_debug_hit hit;

	load(m, CODE, s_loop, s_loop_end);
	start(m, CODE);
	set_debug(m, &bp, 1, false);
	for (unsigned n = 1000; n > 990; n--) {
		assert_int_equal(run(m), ENGINE_EXIT_DEBUG);
		m->ops->debug_hit(m->vm, 0, &hit);
		assert_false(hit.step || hit.watch);
		assert_int_equal(m->s.rip, CODE + 7);
		assert_int_equal(m->s.gpr[X86_RCX], n);
	}
	set_debug(m, NULL, 0, false);
	assert_int_equal(run(m), ENGINE_EXIT_HALT);
	assert_count(m, 3002);
	machine_free(m);
}

static void test_step(void **state)
{
	static const uint32_t rip[] = {5, 7, 8, 5, 7, 8};
	struct machine *m = machine_new();
	struct engine_debug_hit hit;

	load(m, CODE, s_loop, s_loop_end);
	start(m, CODE);
	set_debug(m, NULL, 0, true);
	for (unsigned n = 0; n < ARRAY_SIZE(rip); n++) {
		assert_int_equal(run(m), ENGINE_EXIT_DEBUG);
		m->ops->debug_hit(m->vm, 0, &hit);
		assert_true(hit.step);
		assert_int_equal(m->s.rip, CODE + rip[n]);
		assert_count(m, n + 1);
	}
	machine_free(m);
}

static void test_watch(void **state)
{
	struct engine_bp bp = {.addr = 0x20000 + 200, .len = 4, .kind = ENGINE_BP_WRITE};
	struct machine *m = machine_new();
	struct engine_debug_hit hit;

	load(m, CODE, s_rep, s_rep_end);
	start(m, CODE);
	set_debug(m, &bp, 1, false);
	assert_int_equal(run(m), ENGINE_EXIT_DEBUG);
	m->ops->debug_hit(m->vm, 0, &hit);
	assert_true(hit.watch);
	assert_int_equal(hit.addr, 0x20000 + 200);
	assert_int_equal(m->s.gpr[X86_RDI], 0x20000 + 204);
	assert_int_equal(m->s.gpr[X86_RCX], 49);
	set_debug(m, NULL, 0, false);
	assert_int_equal(run(m), ENGINE_EXIT_HALT);
	assert_int_equal(m->s.gpr[X86_RDI], 0x20000 + 400);
	machine_free(m);
}

/* --- two machines in one process --- */
static void *run_loops(void *opaque)
{
	struct machine *m = opaque;
	bool ok = true;

	for (unsigned n = 0; n < 50; n++) {
		start(m, CODE);
		ok &= run(m) == ENGINE_EXIT_HALT && m->s.gpr[X86_RAX] == 500500;
	}
	return ok ? m : NULL;
}

static void test_two(void **state)
{
	struct machine *m[2] = {machine_new(), machine_new()};
	pthread_t t[2];

	for (int n = 0; n < 2; n++) {
		load(m[n], CODE, s_loop, s_loop_end);
		assert_int_equal(pthread_create(&t[n], NULL, run_loops, m[n]), 0);
	}
	for (int n = 0; n < 2; n++) {
		void *ok;

		assert_int_equal(pthread_join(t[n], &ok), 0);
		assert_ptr_equal(ok, m[n]);
		assert_count(m[n], 50 * 3002);
		machine_free(m[n]);
	}
}

/* --- random bytes as code: whatever they do, they do it to the guest --- */
static uint64_t random_next(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

/* Pages that map themselves, with rights that differ; and what is found by chance. */
static void random_tables(struct machine *m, uint64_t *r)
{
	uint64_t all = 7;

	fix_poke64(m->f, 0x1000, 0x2000 | all);
	fix_poke64(m->f, 0x2000, 0x3000 | all);
	for (unsigned n = 0; n < 32; n++)
		fix_poke64(m->f, 0x3000 + 8 * n, n * 2 * MiB | 0x87);
	for (unsigned n = 0; n < 64; n++)
		fix_poke64(m->f, 0x4000 + 8 * n, random_next(r));
}

static void random_state(struct machine *m, uint64_t *r, unsigned mode)
{
	struct x86_state *s = &m->s;

	start(m, CODE);
	for (unsigned n = 0; n < X86_GPR_COUNT; n++)
		s->gpr[n] = random_next(r) >> (random_next(r) & 63);
	s->gpr[X86_RSP] = STACK;
	s->rflags = (random_next(r) & 0x244ed5) | 2;
	s->gdtr = (struct x86_table){.base = 0x4000, .limit = 511};
	s->idtr = (struct x86_table){.base = random_next(r) & 0xf000, .limit = 0xfff};
	s->cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_PAE | (random_next(r) & CR4_DE);
	s->xcr0 = 7;
	if (mode == 0) {
		s->cr0 = CR0_ET;
		s->rip = 0;
		s->seg[X86_CS] = (struct x86_segment){
			.base = CODE, .limit = 0xffff, .sel = CODE >> 4, .attr = 0x9b};
	} else if (mode == 2) {
		s->cr0 |= CR0_PG;
		s->cr3 = 0x1000;
		s->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
		s->seg[X86_CS] = fix_seg(8, 0xa09b);
	}
	m->ops->set(m->vm, 0, s);
}

static void *kick_often(void *opaque)
{
	struct machine *m = opaque;

	while (!__atomic_load_n(&m->quit, __ATOMIC_RELAXED)) {
		usleep(1000);
		m->ops->kick(m->vm, 0);
	}
	return NULL;
}

static void test_random_code(void **state)
{
	struct machine *m = machine_new();
	uint64_t r = 0x123456789abcdef;
	uint8_t *ram = mem_ram_base(m->f->mem) + m->f->ram_off;
	unsigned exits[ENGINE_EXIT_ERROR + 1] = {0};
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, kick_often, m), 0);
	for (unsigned n = 0; n < 600; n++) {
		for (unsigned k = 0; k < 0x4000; k += 8)
			put_le64(ram + CODE + k, random_next(&r));
		mem_written(m->f->mem, m->f->ram_off + CODE, 0x4000);
		random_tables(m, &r);
		random_state(m, &r, n % 3);
		exits[run(m)]++;
		assert_int_equal(m->s.rflags & 2, 2);
	}
	__atomic_store_n(&m->quit, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(exits[ENGINE_EXIT_ERROR] + exits[ENGINE_EXIT_DEBUG], 0);
	assert_true(exits[ENGINE_EXIT_SHUTDOWN] > 0);
	machine_free(m);
}

/* The first machine installs the engine's handlers. */
static void signals_save(void)
{
	machine_free(machine_new());
	for (unsigned n = 0; n < ARRAY_SIZE(ours); n++)
		sigaction(fault_signals[n], NULL, &ours[n]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),	    cmocka_unit_test(test_count_fault),
		cmocka_unit_test(test_counted),	    cmocka_unit_test(test_take_events),
		cmocka_unit_test(test_own_code),    cmocka_unit_test(test_dma),
		cmocka_unit_test(test_crossing),    cmocka_unit_test(test_device_code),
		cmocka_unit_test(test_flush),	    cmocka_unit_test(test_kick),
		cmocka_unit_test(test_halt),	    cmocka_unit_test(test_sipi),
		cmocka_unit_test(test_breakpoint),  cmocka_unit_test(test_step),
		cmocka_unit_test(test_watch),	    cmocka_unit_test(test_two),
		cmocka_unit_test(test_random_code), cmocka_unit_test(test_sipi_late),
	};

	signals_save();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
