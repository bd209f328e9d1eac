/* SPDX-License-Identifier: Apache-2.0 */
/* Stop-the-world: nobody runs guest code while somebody is alone. */
#include <pthread.h>
#include "x86_fixture.h"

#define ROUNDS 300

struct runner {
	struct fixture *f;
	unsigned n;
	_Atomic bool *stop;
	_Atomic unsigned *inside; /* vCPUs in guest code */
	_Atomic unsigned *alone;  /* threads in an exclusive section */
	unsigned *plain;	  /* changed only in exclusive sections, with no atomics */
	unsigned sections;
	unsigned long bad;
};

/* "Guest code" that polls for events, sometimes halts, and now and then wants to be alone. */
static void *run_cpu(void *arg)
{
	struct runner *r = arg;
	struct x86_cpu *c = r->f->cpu[r->n];

	x86_excl_enter(c);
	atomic_fetch_add(r->inside, 1);
	for (unsigned i = 0; !atomic_load(r->stop) || r->sections < ROUNDS; i++) {
		r->bad += atomic_load(r->alone);
		if (atomic_load(&c->events) & X86_EV_EXCL) {
			atomic_fetch_sub(r->inside, 1);
			x86_excl_park(c);
			atomic_fetch_add(r->inside, 1);
		}
		if (i % 64 == r->n) {
			atomic_fetch_sub(r->inside, 1);
			x86_excl_leave(c);
			x86_excl_enter(c);
			atomic_fetch_add(r->inside, 1);
		}
		if (i % 32 == 7 && r->sections < ROUNDS) {
			atomic_fetch_sub(r->inside, 1);
			x86_excl_begin(&r->f->vm, c);
			r->bad += atomic_fetch_add(r->alone, 1);
			r->bad += atomic_load(r->inside);
			++*r->plain;
			x86_excl_begin(&r->f->vm, c); /* nests */
			x86_excl_end(&r->f->vm, c);
			atomic_fetch_sub(r->alone, 1);
			x86_excl_end(&r->f->vm, c);
			atomic_fetch_add(r->inside, 1);
			r->sections++;
		}
	}
	atomic_fetch_sub(r->inside, 1);
	x86_excl_leave(c);
	return NULL;
}

static void stress(void **state)
{
	struct fixture *f = fix_new("max", FIX_CPUS_MAX);
	_Atomic bool stop = false;
	_Atomic unsigned inside = 0, alone = 0;
	unsigned plain = 0;
	struct runner r[FIX_CPUS_MAX];
	pthread_t t[FIX_CPUS_MAX];

	for (unsigned i = 0; i < FIX_CPUS_MAX; i++) {
		r[i] = (struct runner){ .f = f, .n = i, .stop = &stop, .inside = &inside,
					.alone = &alone, .plain = &plain };
		assert_int_equal(pthread_create(&t[i], NULL, run_cpu, &r[i]), 0);
	}
	/* And a thread that runs no vCPU. */
	for (unsigned i = 0; i < ROUNDS; i++) {
		x86_excl_begin(&f->vm, NULL);
		assert_int_equal(atomic_fetch_add(&alone, 1), 0);
		assert_int_equal(atomic_load(&inside), 0);
		plain++;
		atomic_fetch_sub(&alone, 1);
		x86_excl_end(&f->vm, NULL);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < FIX_CPUS_MAX; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(r[i].bad, 0);
		assert_int_equal(r[i].sections, ROUNDS);
	}
	assert_int_equal(plain, ROUNDS * (FIX_CPUS_MAX + 1));
	fix_free(f);
}

/* A halted vCPU holds nobody up, and cannot enter while somebody is alone. */
static void *enter_late(void *arg)
{
	struct runner *r = arg;

	x86_excl_enter(r->f->cpu[1]);
	r->bad = atomic_load(r->alone);
	x86_excl_leave(r->f->cpu[1]);
	return NULL;
}

static void outside(void **state)
{
	struct fixture *f = fix_new("max", 2);
	_Atomic unsigned alone = 0;
	struct runner r = { .f = f, .alone = &alone };
	struct timespec ms = { .tv_nsec = 20000000 };
	pthread_t t;

	x86_excl_enter(f->cpu[0]);
	x86_excl_begin(&f->vm, f->cpu[0]);
	atomic_store(&alone, 1);
	assert_int_equal(pthread_create(&t, NULL, enter_late, &r), 0);
	nanosleep(&ms, NULL);
	atomic_store(&alone, 0);
	x86_excl_end(&f->vm, f->cpu[0]);
	x86_excl_leave(f->cpu[0]);
	pthread_join(t, NULL);
	assert_int_equal(r.bad, 0);
	fix_free(f);
}

static void events(void **state)
{
	struct fixture *f = fix_new("max", 1);

	x86_event_set(f->cpu[0], X86_EV_INTR);
	assert_int_equal(f->wakes, 1);
	x86_event_set(f->cpu[0], X86_EV_INTR); /* set already: it is awake */
	assert_int_equal(f->wakes, 1);
	x86_event_clear(f->cpu[0], X86_EV_INTR);
	assert_int_equal(atomic_load(&f->cpu[0]->events), 0);
	fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stress),
		cmocka_unit_test(outside),
		cmocka_unit_test(events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
