/* SPDX-License-Identifier: Apache-2.0 */
/* Running, pausing, and what devices, vCPUs and people ask of a machine.  Theory of operation:
 * vm_int.h. */
#include <stdio.h>
#include <unistd.h>
#include "base/err.h"
#include "dev/acpi/pm.h"
#include "machine/vm_int.h"

/* A guest that dies this often in a row, each time this soon, is not started again. */
#define QUICK_DEATHS_MAX 3
#define QUICK_DEATH_NS INT64_C(1000000000)

void vm_request(struct vm *vm, uint32_t req, bool hold)
{
	static const uint64_t one = 1;

	atomic_fetch_or(&vm->requests, req);
	if (hold)
		atomic_store(&vm->hold, true);
	/* Fails only when the counter is full, and then the loop is awake anyway. */
	if (write(vm->event, &one, sizeof(one)) < 0)
		return;
}

void vm_stop_locked(struct vm *vm)
{
	vcpus_park(vm);
	if (vm->running)
		vclock_stop(vm->clock);
	vm->running = vm->one = false;
}

void vm_go_locked(struct vm *vm, int only)
{
	if (vm->stopped_dead || vm->finished)
		return;
	if (!vm->running)
		vclock_start(vm->clock);
	vm->running = true;
	vm->one = only >= 0;
	vcpus_go(vm, only);
}

static void tell(struct vm *vm, enum vm_stop why, unsigned cpu)
{
	if (vm->hook.stopped)
		vm->hook.stopped(vm->hook.opaque, why, cpu);
}

void vm_quit(struct vm *vm, int status)
{
	int undecided = -1;

	atomic_compare_exchange_strong(&vm->status, &undecided, status);
	vm_request(vm, REQ_QUIT, true);
	vcpus_kick(vm);
}

void vm_pause(struct vm *vm)
{
	bool was;

	lock_take(&vm->lock);
	was = vm->running;
	vm_stop_locked(vm);
	lock_drop(&vm->lock);
	if (was)
		vm_request(vm, REQ_TELL_PAUSED, false);
}

void vm_resume(struct vm *vm)
{
	lock_take(&vm->lock);
	vm_go_locked(vm, -1);
	lock_drop(&vm->lock);
}

void vm_run_one(struct vm *vm, unsigned cpu)
{
	lock_take(&vm->lock);
	vm_go_locked(vm, (int)cpu);
	lock_drop(&vm->lock);
}

bool vm_running(const struct vm *vm)
{
	struct vm *v = (struct vm *)vm;
	bool running;

	lock_take(&v->lock);
	running = v->running;
	lock_drop(&v->lock);
	return running;
}

void vm_reset(struct vm *vm)
{
	vm_request(vm, REQ_RESET, true);
	vcpus_kick(vm);
}

void vm_powerdown(struct vm *vm)
{
	vm_request(vm, REQ_POWERDOWN, false);
}

void vm_set_debug_hook(struct vm *vm, const struct vm_debug_hook *h)
{
	vm->hook = h ? *h : (struct vm_debug_hook){ 0 };
}

static void do_reset(struct vm *vm)
{
	struct err *e __err_cleanup = NULL;
	bool was;

	if (vm->no_reboot) {
		vm_quit(vm, 0);
		return;
	}
	lock_take(&vm->lock);
	was = vm->running || vm->restart;
	vm->restart = false;
	vm_stop_locked(vm);
	lock_drop(&vm->lock);
	if (vm_reset_now(vm, &e)) {
		fprintf(stderr, "doppel: cannot restart the machine: %s\n", err_msg(e));
		vm_quit(vm, 1);
		return;
	}
	lock_take(&vm->lock);
	vm->stopped_dead = false;
	if (!(atomic_load(&vm->requests) & (REQ_RESET | REQ_POWEROFF | REQ_QUIT)))
		atomic_store(&vm->hold, false);
	if (was)
		vm_go_locked(vm, -1);
	lock_drop(&vm->lock);
}

static void do_poweroff(struct vm *vm)
{
	if (!vm->no_shutdown) {
		vm_quit(vm, 0);
		return;
	}
	lock_take(&vm->lock);
	vm_stop_locked(vm);
	vm->stopped_dead = true;
	lock_drop(&vm->lock);
	tell(vm, VM_STOP_PAUSED, 0);
}

/* Stop for good, with the debugger looking on; without one, end. */
static void die(struct vm *vm, unsigned cpu)
{
	if (!vm->hook.stopped) {
		vm_quit(vm, 1);
		return;
	}
	lock_take(&vm->lock);
	vm->stopped_dead = true;
	lock_drop(&vm->lock);
	tell(vm, VM_STOP_DEAD, cpu);
}

/* SDM 3A 6.15, #DF: a fault on the way to the double-fault handler shuts the processor down, on
 * which a PC resets. Some kernels restart so on purpose. */
static void triple_fault(struct vm *vm, unsigned cpu)
{
	bool quick = vclock_now(vm->clock) - vm->reset_time < QUICK_DEATH_NS;

	vm_report(vm, cpu, "triple fault");
	vm->quick_deaths = quick ? vm->quick_deaths + 1 : 0;
	if (vm->hook.stopped || vm->no_reboot) {
		die(vm, cpu);
		return;
	}
	if (vm->quick_deaths >= QUICK_DEATHS_MAX) {
		fprintf(stderr, "doppel: the guest dies right after each start: giving up\n");
		vm_quit(vm, 1);
		return;
	}
	fprintf(stderr, "doppel: the guest restarts\n");
	vm->restart = true;
	vm_request(vm, REQ_RESET, true);
}

static void debug_stop(struct vm *vm, unsigned cpu)
{
	if (vm->hook.stopped)
		tell(vm, VM_STOP_DEBUG, cpu);
	else
		vm_resume(vm);
}

static int take_stop(struct vcpu *v)
{
	int why;

	lock_take(&v->lock);
	why = v->stop;
	v->stop = -1;
	lock_drop(&v->lock);
	return why;
}

/* A vCPU stopped by itself: stop the others, then act.  Of several debug stops at once, the first
 * is told; a breakpoint that another vCPU stands at is met again when it goes on. */
static void handle_stops(struct vm *vm)
{
	bool told = false;

	for (unsigned i = 0; i < vm->n_cpus; i++) {
		int why = take_stop(&vm->cpus[i]);

		if (why < 0)
			continue;
		lock_take(&vm->lock);
		vm_stop_locked(vm);
		lock_drop(&vm->lock);
		if (why == ENGINE_EXIT_SHUTDOWN) {
			triple_fault(vm, i);
			told = true;
		} else if (why == ENGINE_EXIT_ERROR) {
			vm_report(vm, i, "the engine cannot go on");
			die(vm, i);
			told = true;
		} else if (!told) {
			debug_stop(vm, i);
			told = true;
		}
	}
}

static void press_power_button(struct vm *vm)
{
	lock_take(&vm->dev_lock);
	acpi_pm_power_button(vm->board->pm(vm->pc.chipset));
	lock_drop(&vm->dev_lock);
}

void vm_event(void *opaque, uint32_t events)
{
	struct vm *vm = opaque;
	uint64_t count;
	uint32_t req;

	if (read(vm->event, &count, sizeof(count)) < 0)
		return;
	handle_stops(vm);
	req = atomic_exchange(&vm->requests, 0);
	if (req & REQ_QUIT) {
		loop_stop(vm->loop);
		return;
	}
	if (req & REQ_POWEROFF)
		do_poweroff(vm);
	else if (req & REQ_RESET)
		do_reset(vm);
	if (req & REQ_POWERDOWN)
		press_power_button(vm);
	if (req & REQ_TELL_PAUSED && !vm_running(vm))
		tell(vm, VM_STOP_PAUSED, 0);
}
