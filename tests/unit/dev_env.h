/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A machine without CPUs for device tests: 2 MiB of RAM, a running clock, requests and wires
 * that count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/err.h"
#include "dev/dev.h"

#define TEST_RAM (2 * MiB)
#define TEST_RAM_MORE (2 * MiB) /* for mem_ram_alloc: ROM, flash, video memory */

struct test_env {
	struct dev_env env;
	struct lock lock;
	unsigned resets, poweroffs, exits;
	int exit_status;
};

struct test_wire {
	bool level;
	unsigned rises;
};

static inline void wire_set(void *opaque, int n, bool level)
{
	struct test_wire *w = (struct test_wire *)opaque + n;

	w->rises += level && !w->level;
	w->level = level;
}

static inline struct irq_line wire(struct test_wire *w)
{
	return (struct irq_line){ .set = wire_set, .opaque = w };
}

static inline void on_reset(void *opaque)
{
	((struct test_env *)opaque)->resets++;
}

static inline void on_poweroff(void *opaque)
{
	((struct test_env *)opaque)->poweroffs++;
}

static inline void on_exit_request(void *opaque, int status)
{
	struct test_env *t = opaque;

	t->exits++;
	t->exit_status = status;
}

/* env_open - RAM 0..0x9ffff and 0x100000..0x1fffff; 0xa0000..0xfffff is left to the board. */
static inline struct test_env *env_open(void)
{
	struct test_env *t = xzalloc(sizeof(*t));

	lock_init(&t->lock, LOCK_RANK_MACHINE, "machine");
	t->env.log = log_create();
	assert_int_equal(mem_create(&t->env.mem, TEST_RAM + TEST_RAM_MORE, t->env.log, NULL), 0);
	assert_int_equal(mem_ram_alloc(t->env.mem, TEST_RAM), 0);
	mem_map_ram(t->env.mem, GPA(0), 0xa0000, 0, 0);
	mem_map_ram(t->env.mem, GPA(0x100000), TEST_RAM - 0x100000, 0x100000, 0);
	t->env.loop = loop_create();
	t->env.clock = vclock_create();
	t->env.lock = &t->lock;
	t->env.request_reset = on_reset;
	t->env.request_poweroff = on_poweroff;
	t->env.request_exit = on_exit_request;
	t->env.opaque = t;
	vclock_start(t->env.clock);
	return t;
}

static inline void env_close(struct test_env *t)
{
	lock_take(&t->lock);
	dev_destroy_all(&t->env);
	lock_drop(&t->lock);
	loop_destroy(t->env.loop);
	vclock_destroy(t->env.clock);
	mem_destroy(t->env.mem);
	log_destroy(t->env.log);
	lock_fini(&t->lock);
	free(t);
}

static inline uint8_t inb(struct test_env *t, uint16_t port)
{
	return (uint8_t)pio_read(t->env.mem, port, 1);
}

static inline uint16_t inw(struct test_env *t, uint16_t port)
{
	return (uint16_t)pio_read(t->env.mem, port, 2);
}

static inline uint32_t inl(struct test_env *t, uint16_t port)
{
	return pio_read(t->env.mem, port, 4);
}

static inline void outb(struct test_env *t, uint16_t port, uint8_t v)
{
	pio_write(t->env.mem, port, v, 1);
}

static inline void outw(struct test_env *t, uint16_t port, uint16_t v)
{
	pio_write(t->env.mem, port, v, 2);
}

static inline void outl(struct test_env *t, uint16_t port, uint32_t v)
{
	pio_write(t->env.mem, port, v, 4);
}

static inline uint32_t rd32(struct test_env *t, uint64_t a)
{
	return (uint32_t)mem_read(t->env.mem, GPA(a), 4);
}

static inline void wr32(struct test_env *t, uint64_t a, uint32_t v)
{
	mem_write(t->env.mem, GPA(a), v, 4);
}

/* drive - set a wire as a device does, with the lock held. */
static inline void drive(struct test_env *t, struct irq_line l, bool level)
{
	lock_take(&t->lock);
	irq_set(&l, level);
	lock_drop(&t->lock);
}

/* run_ms - let the loop's timers fire for so long. */
static inline void run_ms(struct test_env *t, int ms)
{
	int64_t end = vclock_now(t->env.clock) + ms * INT64_C(1000000);

	while (vclock_now(t->env.clock) < end)
		loop_once(t->env.loop, 1);
}

/* wait_for - run the loop until a condition holds, at most two seconds. */
#define wait_for(t, cond)                                                                          \
	do {                                                                                       \
		for (int wait_i = 0; wait_i < 2000 && !(cond); wait_i++)                           \
			run_ms((t), 1);                                                            \
		assert_true(cond);                                                                 \
	} while (0)
