/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stop-the-world among the vCPU threads of one VM.
 *
 * `running` counts the vCPUs between enter and leave.  A thread that wants to be alone first
 * becomes the owner (one at a time; if it runs a vCPU itself, that one is not counted while it
 * waits or owns), then asks every running vCPU to park by X86_EV_EXCL, and waits until the count is
 * zero.  While there is an owner, enter waits.  So the owner's section overlaps with no guest
 * execution, and everything a vCPU did before it parked happened before the section, by the lock.
 *
 * The event bit is only a hint to look here: a stale one costs one park that returns at once.
 * begin asks directly, not by x86_event_set: a vCPU that sleeps is outside already and need not
 * wake.
 */
#include <pthread.h>
#include <stdlib.h>
#include "base/lock.h"
#include "x86/cpu.h"

struct x86_excl {
	struct lock lock;
	pthread_cond_t changed; /* running fell to 0, or the owner went */
	unsigned running;
	unsigned depth;	 /* of the owner's nesting; 0: no owner */
	unsigned waiting; /* threads that want to become owner */
	pthread_t owner;
};

int x86_excl_init(struct x86_vm *vm)
{
	struct x86_excl *x = xzalloc(sizeof(*x));

	lock_init(&x->lock, LOCK_RANK_EXCL, "excl");
	cond_init(&x->changed);
	vm->excl = x;
	return 0;
}

void x86_excl_fini(struct x86_vm *vm)
{
	struct x86_excl *x = vm->excl;

	if (!x)
		return;
	bug_on(x->running || x->depth);
	pthread_cond_destroy(&x->changed);
	lock_fini(&x->lock);
	free(x);
	vm->excl = NULL;
}

static bool is_owner(const struct x86_excl *x)
{
	return x->depth && pthread_equal(x->owner, pthread_self());
}

static void count_in(struct x86_excl *x, struct x86_cpu *c)
{
	c->in_guest = true;
	x->running++;
}

static void count_out(struct x86_excl *x, struct x86_cpu *c)
{
	c->in_guest = false;
	x->running--;
	if (!x->running)
		pthread_cond_broadcast(&x->changed);
}

/* Those that wait to own go first, or a busy vCPU could keep them waiting for ever. */
static void wait_no_owner(struct x86_excl *x)
{
	while (x->depth || x->waiting)
		lock_wait(&x->lock, &x->changed);
}

void x86_excl_enter(struct x86_cpu *c)
{
	struct x86_excl *x = c->vm->excl;

	lock_take(&x->lock);
	bug_on(c->in_guest || is_owner(x));
	wait_no_owner(x);
	count_in(x, c);
	lock_drop(&x->lock);
}

void x86_excl_leave(struct x86_cpu *c)
{
	struct x86_excl *x = c->vm->excl;

	lock_take(&x->lock);
	bug_on(!c->in_guest || is_owner(x));
	count_out(x, c);
	lock_drop(&x->lock);
}

void x86_excl_park(struct x86_cpu *c)
{
	struct x86_excl *x = c->vm->excl;

	lock_take(&x->lock);
	x86_event_clear(c, X86_EV_EXCL);
	if (!is_owner(x) && (x->depth || x->waiting)) {
		count_out(x, c);
		wait_no_owner(x);
		count_in(x, c);
	}
	lock_drop(&x->lock);
}

static void ask_to_park(struct x86_vm *vm)
{
	for (unsigned i = 0; i < vm->n_cpus; i++)
		if (vm->cpus[i] && vm->cpus[i]->in_guest)
			x86_event_hint(vm->cpus[i], X86_EV_EXCL);
}

void x86_excl_begin(struct x86_vm *vm, struct x86_cpu *c)
{
	struct x86_excl *x = vm->excl;
	bool counted = c && c->in_guest;

	bug_on(!lock_none_held());
	lock_take(&x->lock);
	if (is_owner(x)) {
		x->depth++;
		lock_drop(&x->lock);
		return;
	}
	if (counted)
		count_out(x, c);
	x->waiting++;
	while (x->depth)
		lock_wait(&x->lock, &x->changed);
	x->waiting--;
	x->owner = pthread_self();
	x->depth = 1;
	ask_to_park(vm);
	while (x->running)
		lock_wait(&x->lock, &x->changed);
	/* in_guest of the owner's own vCPU: what it was, so that end and a nested leave agree. */
	if (counted)
		c->in_guest = true;
	lock_drop(&x->lock);
}

void x86_excl_end(struct x86_vm *vm, struct x86_cpu *c)
{
	struct x86_excl *x = vm->excl;

	lock_take(&x->lock);
	bug_on(!is_owner(x));
	if (!--x->depth) {
		if (c && c->in_guest)
			x->running++;
		pthread_cond_broadcast(&x->changed);
	}
	lock_drop(&x->lock);
}
