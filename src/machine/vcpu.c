/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that run vCPUs.  Theory of operation: vm_int.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/err.h"
#include "machine/vm_int.h"

static bool may_run(const struct vcpu *v)
{
	return v->go && !v->quit && !atomic_load(&v->vm->hold);
}

static void park(struct vcpu *v)
{
	v->parked = true;
	pthread_cond_broadcast(&v->parked_cond);
	lock_wait(&v->lock, &v->wake);
}

/* Leave HLT as if an interrupt had come. */
static void unhalt(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct x86_state s;

	v->unhalt = false;
	vm->engine->get(vm->ev, v->index, &s);
	if (s.mp_state != X86_MP_HALTED)
		return;
	s.mp_state = X86_MP_RUNNABLE;
	vm->engine->set(vm->ev, v->index, &s);
}

static void sleep_halted(struct vcpu *v)
{
	struct vm *vm = v->vm;

	while (may_run(v) && !v->unhalt && !vm->engine->has_work(vm->ev, v->index))
		lock_wait(&v->lock, &v->wake);
	if (v->unhalt)
		unhalt(v);
}

/* Let the engine take in what other vCPUs have sent (INIT, SIPI, NMI) without running guest code:
 * it looks at that before it looks at a kick. */
static void drain(struct vcpu *v)
{
	struct vm *vm = v->vm;

	lock_drop(&v->lock);
	vm->engine->kick(vm->ev, v->index);
	vm->engine->run(vm->ev, v->index);
	lock_take(&v->lock);
	v->drain = v->unhalt = false;
	pthread_cond_broadcast(&v->parked_cond);
}

/* The engine returned for good: the loop thread decides what follows. */
static void stop_self(struct vcpu *v, enum engine_exit why)
{
	v->stop = (int)why;
	v->go = false;
	vm_request(v->vm, 0, false);
}

static void run_once(struct vcpu *v)
{
	enum engine_exit why;

	v->parked = false;
	lock_drop(&v->lock);
	why = v->vm->engine->run(v->vm->ev, v->index);
	lock_take(&v->lock);
	switch (why) {
	case ENGINE_EXIT_KICK:
	case ENGINE_EXIT_DONE:
		break;
	case ENGINE_EXIT_HALT:
	case ENGINE_EXIT_SIPI:
		sleep_halted(v);
		break;
	case ENGINE_EXIT_SHUTDOWN:
	case ENGINE_EXIT_DEBUG:
	case ENGINE_EXIT_ERROR:
		stop_self(v, why);
		break;
	}
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *v = opaque;
	char name[16];

	snprintf(name, sizeof(name), "cpu%u", v->index);
	pthread_setname_np(pthread_self(), name);
	atomic_store(&v->tid, gettid());
	lock_take(&v->lock);
	while (!v->quit) {
		if (v->drain)
			drain(v);
		else if (may_run(v))
			run_once(v);
		else
			park(v);
	}
	v->parked = true;
	pthread_cond_broadcast(&v->parked_cond);
	lock_drop(&v->lock);
	return NULL;
}

/* Signals belong to the process's main thread, but for those that an instruction raises. */
static int start_thread(struct vcpu *v)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGTRAP);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = pthread_create(&v->thread, NULL, vcpu_thread, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	v->started = r == 0;
	return r;
}

int vcpus_start(struct vm *vm, struct err **e)
{
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		struct vcpu *v = &vm->cpus[i];
		int r = start_thread(v);

		if (r)
			return err_set(e, r, "cannot start a thread for vCPU %u: %s", i,
				       strerror(r));
	}
	return 0;
}

void vcpus_end(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		struct vcpu *v = &vm->cpus[i];

		if (!v->started)
			continue;
		lock_take(&v->lock);
		v->quit = true;
		pthread_cond_broadcast(&v->wake);
		lock_drop(&v->lock);
		vm->engine->kick(vm->ev, i);
		pthread_join(v->thread, NULL);
		v->started = false;
	}
}

void vcpu_wake(struct vm *vm, unsigned cpu)
{
	struct vcpu *v = &vm->cpus[cpu];

	lock_take(&v->lock);
	pthread_cond_broadcast(&v->wake);
	lock_drop(&v->lock);
}

void vcpu_unhalt(struct vm *vm, unsigned cpu)
{
	struct vcpu *v = &vm->cpus[cpu];

	lock_take(&v->lock);
	v->unhalt = true;
	pthread_cond_broadcast(&v->wake);
	lock_drop(&v->lock);
}

void vcpus_kick(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		vm->engine->kick(vm->ev, i);
		vcpu_wake(vm, i);
	}
}

void vcpus_go(struct vm *vm, int only)
{
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		struct vcpu *v = &vm->cpus[i];

		if (only >= 0 && (unsigned)only != i)
			continue;
		lock_take(&v->lock);
		v->go = v->stop < 0;
		pthread_cond_broadcast(&v->wake);
		lock_drop(&v->lock);
	}
}

void vcpus_park(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		struct vcpu *v = &vm->cpus[i];

		lock_take(&v->lock);
		v->go = false;
		lock_drop(&v->lock);
	}
	vcpus_kick(vm);
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		struct vcpu *v = &vm->cpus[i];

		lock_take(&v->lock);
		while (v->started && !v->parked)
			lock_wait(&v->lock, &v->parked_cond);
		lock_drop(&v->lock);
	}
}

void vcpus_drain(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_cpus; i++) {
		struct vcpu *v = &vm->cpus[i];

		lock_take(&v->lock);
		if (vm->driven)
			drain(v);
		v->drain = v->started;
		pthread_cond_broadcast(&v->wake);
		while (v->drain)
			lock_wait(&v->lock, &v->parked_cond);
		lock_drop(&v->lock);
	}
}

int vm_cpu_tid(const struct vm *vm, unsigned cpu)
{
	return atomic_load(&vm->cpus[cpu].tid);
}

double vm_cpu_seconds(const struct vm *vm, unsigned cpu)
{
	struct timespec ts;
	clockid_t clock;

	if (!vm->cpus[cpu].started || pthread_getcpuclockid(vm->cpus[cpu].thread, &clock) ||
	    clock_gettime(clock, &ts))
		return 0;
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double vcpus_seconds(struct vm *vm)
{
	double sum = 0;

	for (unsigned i = 0; i < vm->n_cpus; i++)
		sum += vm_cpu_seconds(vm, i);
	return sum;
}
