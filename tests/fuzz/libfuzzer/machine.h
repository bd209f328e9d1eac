/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What targets with devices share: input taken piece by piece, and a machine without processors
 * whose time moves by hand.  RAM is two pieces with nothing, or registers, around them; on the host
 * pages follow each that the sanitizer knows to be nobody's.
 */
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include "dev/dev.h"

#define RAM_LOW (256 * KiB)
#define RAM_HIGH (64 * KiB)
#define RAM_GAP (16 * KiB)
#define RAM_ALL (RAM_LOW + RAM_HIGH + 2 * RAM_GAP)
#define HIGH_AT UINT64_C(0x40000000)

struct input {
	const uint8_t *p, *end;
};

/* take - a number of n bytes, at most 8; at the end of the input, zeros. */
static inline uint64_t take(struct input *in, size_t n)
{
	uint64_t v = 0;

	n = min_u64(n, (uint64_t)(in->end - in->p));
	memcpy(&v, in->p, n);
	in->p += n;
	return v;
}

/* must - what cannot fail with any input. */
static inline void must(int rc)
{
	if (rc)
		abort();
}

static inline unsigned no_map_irq(unsigned slot, unsigned pin)
{
	return 0;
}

static inline void no_pirq(void *opaque, unsigned n, bool level)
{
}

static inline void no_wire(void *opaque, int n, bool level)
{
}

static inline void no_msi(void *opaque, uint16_t requester, uint64_t addr, uint32_t data)
{
}

static inline void no_request(void *opaque)
{
}

static inline void no_exit(void *opaque, int status)
{
}

struct machine {
	struct dev_env env;
	struct lock lock;
};

static inline void machine_open(struct machine *m)
{
	uint8_t *ram;

	lock_init(&m->lock, LOCK_RANK_MACHINE, "machine");
	m->env.log = log_create();
	must(mem_create(&m->env.mem, RAM_ALL, m->env.log, NULL));
	mem_ram_alloc(m->env.mem, RAM_ALL);
	mem_map_ram(m->env.mem, GPA(0), RAM_LOW, 0, 0);
	mem_map_ram(m->env.mem, GPA(HIGH_AT), RAM_HIGH, RAM_LOW + RAM_GAP, 0);
	ram = mem_ram_base(m->env.mem);
	ASAN_POISON_MEMORY_REGION(ram + RAM_LOW, RAM_GAP);
	ASAN_POISON_MEMORY_REGION(ram + RAM_LOW + RAM_GAP + RAM_HIGH, RAM_GAP);
	m->env.loop = loop_create();
	m->env.clock = vclock_create_manual();
	m->env.lock = &m->lock;
	m->env.request_reset = m->env.request_poweroff = no_request;
	m->env.request_exit = no_exit;
	m->env.msi = no_msi;
	vclock_start(m->env.clock);
}

/* machine_unplug - destroy its devices, before what they are connected to; machine_close: the rest.
 */
static inline void machine_unplug(struct machine *m)
{
	lock_take(&m->lock);
	dev_destroy_all(&m->env);
	lock_drop(&m->lock);
}

static inline void machine_close(struct machine *m)
{
	loop_destroy(m->env.loop);
	vclock_destroy(m->env.clock);
	ASAN_UNPOISON_MEMORY_REGION(mem_ram_base(m->env.mem), RAM_ALL);
	mem_destroy(m->env.mem);
	log_destroy(m->env.log);
	lock_fini(&m->lock);
}
