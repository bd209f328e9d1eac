/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole machines in one process: start, stop, pause, reset and end of tiny multiboot guests made
 * here, alone and two at a time, a hundred times over (under the sanitizers: without a leak), on the
 * engine that $DOPPEL_ACCEL names.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <doppel/doppel.h>
#include "../engine.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "machine/vm.h"
#include "mem/mem.h"

#define COUNTER 0x300000
#define CHARDEV_PATH "/tmp/doppel-vm-serial"

/* Guest code, 32-bit, flat, interrupts off.  Port 0xf4 is isa-debug-exit. */
/* mov $0x15,%al; out %al,$0xf4; 1: hlt; jmp 1b */
static const uint8_t code_exit[] = { 0xb0, 0x15, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd };
/* 1: incl 0x300000; jmp 1b */
static const uint8_t code_spin[] = { 0xff, 0x05, 0, 0, 0x30, 0, 0xeb, 0xf8 };
/* incl 0x300000; cmpl $3,0x300000; jae 2f; mov $0xcf9,%dx; mov $6,%al; out %al,%dx; 1: incl
 * 0x300010; jmp 1b; 2: mov $0x10,%al; out %al,$0xf4; 3: cli; hlt; jmp 3b */
static const uint8_t code_reset[] = { 0xff, 0x05, 0,	0,    0x30, 0,	  0x83, 0x3d, 0,    0,
				      0x30, 0,	  0x03, 0x73, 0x0f, 0x66, 0xba, 0xf9, 0x0c, 0xb0,
				      0x06, 0xee, 0xff, 0x05, 0x10, 0,	  0x30, 0,    0xeb, 0xf8,
				      0xb0, 0x10, 0xe6, 0xf4, 0xfa, 0xf4, 0xeb, 0xfc };
/* mov $0x604,%dx; mov $0x2000,%ax; out %ax,%dx; 1: jmp 1b -- SLP_EN, soft off */
static const uint8_t code_off[] = { 0x66, 0xba, 4, 6, 0x66, 0xb8, 0, 0x20, 0x66, 0xef, 0xeb, 0xfe };
/* incl 0x300000; ud2 -- without an IDT */
static const uint8_t code_triple[] = { 0xff, 0x05, 0, 0, 0x30, 0, 0x0f, 0x0b };
/* mov $0x3f8,%dx; mov $'h',%al; out %al,%dx; mov $'i',%al; out %al,%dx; mov $2,%al; out %al,$0xf4;
 * 1: jmp 1b */
static const uint8_t code_serial[] = { 0x66, 0xba, 0xf8, 0x03, 0xb0, 0x68, 0xee, 0xb0,
				       0x69, 0xee, 0xb0, 0x02, 0xe6, 0xf4, 0xeb, 0xfe };
/* Copies "xor %ax,%ax; mov %ax,%ds; lock incw 0x9000; 1: hlt; jmp 1b" to 0x8000, wakes all others
 * there by INIT and SIPI through the local APIC, waits until three have counted, and exits. */
static const uint8_t code_smp[] = {
	0xbf, 0x00, 0x80, 0x00, 0x00, 0xc7, 0x07, 0xf0, 0x06, 0xff, 0x00, 0xe8, 0x0c, 0x00, 0x00,
	0x00, 0x31, 0xc0, 0x8e, 0xd8, 0xf0, 0xff, 0x06, 0x00, 0x90, 0xf4, 0xeb, 0xfd, 0x5e, 0xb9,
	0x0c, 0x00, 0x00, 0x00, 0xf3, 0xa4, 0xc7, 0x05, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x81, 0x0d, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, 0xc7, 0x05, 0x00, 0x03,
	0xe0, 0xfe, 0x00, 0x45, 0x0c, 0x00, 0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x0c,
	0x00, 0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x0c, 0x00, 0xf3, 0x90, 0x83, 0x3d,
	0x00, 0x90, 0x00, 0x00, 0x03, 0x75, 0xf5, 0xb0, 0x21, 0xe6, 0xf4, 0xeb, 0xfe,
};

static const struct vm_device_opt debug_exit = { "isa-debug-exit", "iobase=0xf4,iosize=1" };

struct guest {
	char path[32];
	struct log *log;
	struct loop *loop;
	struct vm_config cfg;
	struct vm *vm;
};

/* A multiboot kernel: the header with load addresses, then the code, at 1 MiB + 0x20. */
static void write_kernel(char path[static 32], const uint8_t *code, size_t len)
{
	const uint32_t head[8] = { 0x1badb002, 0x10003,	 0u - 0x1badb002 - 0x10003,
				   0x100000,   0x100000, 0,
				   0,	       0x100020 };
	int fd;

	strcpy(path, "/tmp/doppel-vm-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
	assert_int_equal(write(fd, code, len), (ssize_t)len);
	close(fd);
}

static void guest_init(struct guest *g, const uint8_t *code, size_t len)
{
	memset(g, 0, sizeof(*g));
	write_kernel(g->path, code, len);
	g->log = log_create();
	g->loop = loop_create();
	g->cfg = (struct vm_config){
		.machine = "pc",
		.accel = test_engine(),
		.mem_size = 16 * MiB,
		.n_cpus = 1,
		.kernel = g->path,
		.devices = &debug_exit,
		.n_devices = 1,
		.log = g->log,
		.loop = g->loop,
	};
}

static void guest_create(struct guest *g)
{
	struct err *e = NULL;

	if (vm_create(&g->vm, &g->cfg, &e))
		fail_msg("%s", err_msg(e));
}

static void guest_fini(struct guest *g)
{
	vm_destroy(g->vm);
	loop_destroy(g->loop);
	log_destroy(g->log);
	unlink(g->path);
}

static int run(const char *machine, unsigned cpus, const uint8_t *code, size_t len,
	       uint32_t *counter)
{
	struct guest g;
	int status;

	guest_init(&g, code, len);
	g.cfg.machine = machine;
	g.cfg.n_cpus = cpus;
	guest_create(&g);
	status = vm_run(g.vm);
	if (counter)
		*counter = (uint32_t)mem_read(vm_mem(g.vm), GPA(COUNTER), 4);
	guest_fini(&g);
	return status;
}

static const char *const machines[] = { "pc", "q35" };

static void test_ends(void **state)
{
	for (int i = 0; i < 2; i++) {
		uint32_t n = 0;

		assert_int_equal(run(machines[i], 1, code_exit, sizeof(code_exit), NULL), 0x2b);
		assert_int_equal(run(machines[i], 1, code_off, sizeof(code_off), NULL), 0);
		assert_int_equal(run(machines[i], 1, code_reset, sizeof(code_reset), &n), 0x21);
		assert_int_equal(n, 3);
	}
}

/* The report goes to standard error; it is not looked at here. */
static void test_triple_fault(void **state)
{
	uint32_t n = 0;
	int err = dup(2);

	assert_non_null(freopen("/dev/null", "w", stderr));
	assert_int_equal(run("pc", 1, code_triple, sizeof(code_triple), &n), 1);
	fflush(stderr);
	dup2(err, 2);
	close(err);
	assert_in_range(n, 2, 10);
}

static void test_no_reboot(void **state)
{
	struct guest g;

	guest_init(&g, code_reset, sizeof(code_reset));
	g.cfg.no_reboot = true;
	guest_create(&g);
	assert_int_equal(vm_run(g.vm), 0);
	assert_int_equal(mem_read(vm_mem(g.vm), GPA(COUNTER), 4), 1);
	guest_fini(&g);
}

static void test_smp(void **state)
{
	for (int i = 0; i < 2; i++)
		assert_int_equal(run(machines[i], 4, code_smp, sizeof(code_smp), NULL), 0x43);
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static uint32_t count(struct guest *g)
{
	return (uint32_t)mem_read(vm_mem(g->vm), GPA(COUNTER), 4);
}

static void *pauser(void *opaque)
{
	struct guest *g = opaque;

	while (!count(g)) /* vm_run has started it */
		sleep_ms(1);
	for (int i = 0; i < 50; i++) {
		uint32_t n;

		vm_pause(g->vm);
		n = count(g);
		assert_false(vm_running(g->vm));
		if (i % 10 == 0)
			sleep_ms(5);
		assert_int_equal(count(g), n);
		vm_resume(g->vm);
		for (int wait = 0; count(g) == n && wait < 5000; wait++)
			sleep_ms(1);
		assert_int_not_equal(count(g), n);
	}
	vm_quit(g->vm, 7);
	return NULL;
}

static void test_pause(void **state)
{
	struct guest g;
	pthread_t t;

	guest_init(&g, code_spin, sizeof(code_spin));
	guest_create(&g);
	assert_int_equal(pthread_create(&t, NULL, pauser, &g), 0);
	assert_int_equal(vm_run(g.vm), 7);
	pthread_join(t, NULL);
	guest_fini(&g);
}

struct two {
	const char *machine;
	int status;
};

static void *run_one(void *opaque)
{
	struct two *t = opaque;

	for (int i = 0; i < 5; i++) {
		t->status = run(t->machine, 4, code_smp, sizeof(code_smp), NULL);
		if (t->status != 0x43)
			break;
	}
	return NULL;
}

static void test_two(void **state)
{
	struct two two[2] = { { "pc", -1 }, { "q35", -1 } };
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, run_one, &two[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(two[0].status, 0x43);
	assert_int_equal(two[1].status, 0x43);
}

/* One after the other on one loop, and half of them torn down without having run. */
static void test_cycles(void **state)
{
	struct guest g;

	guest_init(&g, code_exit, sizeof(code_exit));
	for (int i = 0; i < 100; i++) {
		g.cfg.machine = machines[i & 1];
		g.cfg.n_cpus = 1 + (i & 3);
		guest_create(&g);
		if (i & 2)
			assert_int_equal(vm_run(g.vm), 0x2b);
		vm_destroy(g.vm);
	}
	g.vm = NULL;
	guest_fini(&g);
}

/* Driven by hand, a machine stands still meanwhile, and two come to the same. */
static void test_driven(void **state)
{
	uint64_t done, tsc[2];
	uint32_t counts[2];

	for (int i = 0; i < 2; i++) {
		const struct engine_ops *ops;
		struct engine_vm *ev;
		struct guest g;

		guest_init(&g, code_spin, sizeof(code_spin));
		g.cfg.driven = true;
		guest_create(&g);
		ops = vm_engine(g.vm, &ev);
		vm_resume(g.vm);
		for (int n = 0; n < 100; n++) {
			assert_int_equal(ops->take_events(ev, 0), ENGINE_EXIT_DONE);
			assert_int_equal(ops->run_insns(ev, 0, 1001, &done), ENGINE_EXIT_DONE);
			assert_int_equal(done, 1001);
			vclock_advance(vm_clock(g.vm), 1001);
			loop_once(g.loop, 0);
		}
		counts[i] = count(&g);
		tsc[i] = vclock_tsc(vm_clock(g.vm));
		vm_reset(g.vm); /* a KICK, and then from the start */
		assert_int_equal(ops->take_events(ev, 0), ENGINE_EXIT_KICK);
		loop_once(g.loop, 0);
		assert_int_equal(ops->run_insns(ev, 0, 1, &done), ENGINE_EXIT_DONE);
		assert_int_equal(count(&g), counts[i] + 1);
		guest_fini(&g);
	}
	assert_int_equal(counts[0], 100 * 1001 / 2);
	assert_int_equal(counts[0], counts[1]);
	assert_int_equal(tsc[0], tsc[1]);
}

static void expect_refused(const struct vm_config *cfg, const char *part)
{
	struct err *e = NULL;
	struct vm *vm = NULL;

	assert_int_not_equal(vm_create(&vm, cfg, &e), 0);
	assert_null(vm);
	if (!strstr(err_msg(e), part))
		fail_msg("'%s' does not say '%s'", err_msg(e), part);
	err_free(&e);
}

static void test_refused(void **state)
{
	struct vm_device_opt unknown = { "floppy-of-doom", "" };
	struct vm_config cfg;
	struct guest g;

	guest_init(&g, code_exit, sizeof(code_exit));
	cfg = g.cfg;
	cfg.machine = "amiga";
	expect_refused(&cfg, "amiga");
	cfg = g.cfg;
	cfg.n_cpus = 0;
	expect_refused(&cfg, "CPUs");
	cfg = g.cfg;
	cfg.driven = true;
	cfg.n_cpus = 2;
	expect_refused(&cfg, "driven");
	cfg = g.cfg;
	cfg.mem_size = 64 * KiB;
	expect_refused(&cfg, "1 MiB");
	cfg = g.cfg;
	cfg.kernel = NULL;
	expect_refused(&cfg, "nothing to start");
	cfg = g.cfg;
	cfg.kernel = "/nonexistent";
	expect_refused(&cfg, "/nonexistent");
	cfg = g.cfg;
	cfg.initrd = "/nonexistent-initrd";
	expect_refused(&cfg, "/nonexistent-initrd");
	cfg = g.cfg;
	cfg.accel = "warp";
	expect_refused(&cfg, "warp");
	cfg = g.cfg;
	cfg.cpu = "z80";
	expect_refused(&cfg, "z80");
	cfg = g.cfg;
	cfg.devices = &unknown;
	expect_refused(&cfg, "floppy-of-doom");
	cfg = g.cfg;
	cfg.kernel = NULL;
	cfg.bios = g.path; /* of a size that no firmware has */
	expect_refused(&cfg, "64 KiB");
	guest_fini(&g);
}

static void test_public_api(void **state)
{
	struct doppel_options o = { .size = sizeof(o), .engine = test_engine() };
	struct doppel_vm *vm = NULL;
	char *error = NULL, path[32], text[8] = "";
	FILE *f;

	assert_int_not_equal(doppel_vm_create(&vm, &o, &error), 0);
	assert_non_null(error);
	free(error);
	write_kernel(path, code_serial, sizeof(code_serial) - 6);
	o.kernel = path;
	o.serial = "file:" CHARDEV_PATH;
	o.start_paused = true;
	assert_int_equal(doppel_vm_create(&vm, &o, &error), 0);
	assert_int_equal(doppel_vm_write(vm, 0x100020, code_serial, sizeof(code_serial) - 6), 0);
	/* What follows the text: power off. */
	assert_int_equal(doppel_vm_write(vm, 0x100020 + sizeof(code_serial) - 6, code_off,
					 sizeof(code_off)),
			 0);
	doppel_vm_resume(vm);
	assert_int_equal(doppel_vm_run(vm), 0);
	assert_int_equal(doppel_vm_write(vm, UINT64_MAX - 2, "abcd", 4), -EFAULT);
	doppel_vm_destroy(vm);
	f = fopen(CHARDEV_PATH, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	assert_string_equal(text, "hi");
	fclose(f);
	unlink(CHARDEV_PATH);
	unlink(path);
}

/* test-vm [PATTERN]: only the tests whose names match. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),	   cmocka_unit_test(test_ends),
		cmocka_unit_test(test_no_reboot),  cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_smp),	   cmocka_unit_test(test_pause),
		cmocka_unit_test(test_two),	   cmocka_unit_test(test_cycles),
		cmocka_unit_test(test_public_api), cmocka_unit_test(test_driven),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
