/* SPDX-License-Identifier: Apache-2.0 */
/* Running, pausing, and what devices, vCPUs and people ask of a machine.  Theory of operation:
 * vm_int.h. */
#include <stdio.h>
#include <unistd.h>
#include "back/block/block.h"
#include "base/err.h"
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
	vm->only = only >= 0 ? (unsigned)only : 0;
	vm->state = VM_STATE_RUNNING;
	vcpus_go(vm, only);
}

static void tell(struct vm *vm, enum vm_stop why, unsigned cpu)
{
	if (vm->hook.stopped)
		vm->hook.stopped(vm->hook.opaque, why, cpu);
}

static void emit_plain(struct vm *vm, const char *name)
{
	vm_emit(vm, name, NULL, 0);
}

static void emit_cause(struct vm *vm, const char *name, enum vm_cause cause)
{
	struct vm_event_arg args[] = {
		VM_BOOL("guest", cause >= VM_CAUSE_GUEST_SHUTDOWN),
		VM_STR("reason", vm_cause_name(cause)),
	};

	vm_emit(vm, name, args, ARRAY_SIZE(args));
}

/* Stop and be in that state; true when it was running before. */
static bool halt(struct vm *vm, enum vm_state state, bool dead)
{
	bool was;

	lock_take(&vm->lock);
	was = vm->running || (dead && vm->restart);
	vm_stop_locked(vm);
	if (was || dead)
		vm->state = state;
	vm->stopped_dead |= dead;
	lock_drop(&vm->lock);
	if (was)
		emit_plain(vm, "STOP");
	return was;
}

void vm_quit_for(struct vm *vm, int status, enum vm_cause cause)
{
	int undecided = -1;

	if (atomic_compare_exchange_strong(&vm->status, &undecided, status))
		atomic_store(&vm->quit_cause, (int)cause);
	vm_request(vm, REQ_QUIT, true);
	vcpus_kick(vm);
}

void vm_quit(struct vm *vm, int status)
{
	vm_quit_for(vm, status, VM_CAUSE_HOST_UI);
}

void vm_pause(struct vm *vm)
{
	if (halt(vm, VM_STATE_PAUSED, false))
		vm_request(vm, REQ_TELL_PAUSED, false);
}

void vm_stop_soon(struct vm *vm, enum vm_state why)
{
	atomic_store(&vm->stop_why, (int)why);
	vm_request(vm, REQ_STOP, false);
}

void vm_resume(struct vm *vm)
{
	bool was, is;

	lock_take(&vm->lock);
	was = vm->running;
	vm_go_locked(vm, -1);
	is = vm->running;
	lock_drop(&vm->lock);
	if (!is || was)
		return;
	emit_plain(vm, "RESUME");
	if (vm->blocks) {
		lock_take(&vm->dev_lock);
		blocks_resume(vm->blocks);
		lock_drop(&vm->dev_lock);
	}
}

void vm_block_error(void *opaque, const struct block_error *err)
{
	static const char *const actions[] = { "report", "ignore", "stop" };
	struct vm *vm = opaque;
	struct vm_event_arg args[] = {
		VM_STR("device", err->device),
		VM_STR("node-name", err->node),
		VM_STR("operation", err->write ? "write" : "read"),
		VM_STR("action", actions[err->action]),
		VM_BOOL("nospace", err->nospace),
		VM_STR("reason", err->reason),
	};

	vm_emit(vm, "BLOCK_IO_ERROR", args, ARRAY_SIZE(args));
	if (err->action == BLOCK_STOP)
		vm_stop_soon(vm, VM_STATE_IO_ERROR);
}

void vm_run_one(struct vm *vm, unsigned cpu)
{
	lock_take(&vm->lock);
	vm_go_locked(vm, (int)cpu);
	lock_drop(&vm->lock);
}

bool vm_freeze(struct vm *vm)
{
	bool was, one;

	lock_take(&vm->lock);
	was = vm->running;
	one = vm->one;
	if (was)
		vm_stop_locked(vm);
	vm->one = one;
	lock_drop(&vm->lock);
	return was;
}

void vm_thaw(struct vm *vm, bool frozen)
{
	lock_take(&vm->lock);
	if (frozen)
		vm_go_locked(vm, vm->one ? (int)vm->only : -1);
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

enum vm_state vm_state(const struct vm *vm)
{
	struct vm *v = (struct vm *)vm;
	enum vm_state state;

	lock_take(&v->lock);
	state = v->state;
	lock_drop(&v->lock);
	return state;
}

void vm_reset_for(struct vm *vm, enum vm_cause cause)
{
	atomic_store(&vm->reset_cause, (int)cause);
	vm_request(vm, REQ_RESET, true);
	vcpus_kick(vm);
}

void vm_reset(struct vm *vm)
{
	vm_reset_for(vm, VM_CAUSE_HOST_UI);
}

void vm_powerdown(struct vm *vm)
{
	vm_request(vm, REQ_POWERDOWN, false);
}

void vm_nmi(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_cpus; i++)
		vm->engine->inject(vm->ev, i, ENGINE_NMI, 0);
}

void vm_set_actions(struct vm *vm, bool no_reboot, bool no_shutdown)
{
	vm->no_reboot = no_reboot;
	vm->no_shutdown = no_shutdown;
}

void vm_get_actions(const struct vm *vm, bool *no_reboot, bool *no_shutdown)
{
	*no_reboot = vm->no_reboot;
	*no_shutdown = vm->no_shutdown;
}

void vm_set_debug_hook(struct vm *vm, const struct vm_debug_hook *h)
{
	vm->hook = h ? *h : (struct vm_debug_hook){ 0 };
}

/* The guest is off, or was to restart and must not. */
static void shut_down(struct vm *vm, enum vm_cause cause)
{
	if (!vm->no_shutdown) {
		vm_quit_for(vm, 0, cause);
		return;
	}
	emit_cause(vm, "SHUTDOWN", cause);
	halt(vm, VM_STATE_SHUTDOWN, true);
	tell(vm, VM_STOP_PAUSED, 0);
}

static void do_reset(struct vm *vm)
{
	enum vm_cause cause = (enum vm_cause)atomic_load(&vm->reset_cause);
	struct err *e __err_cleanup = NULL;
	bool was;

	if (vm->no_reboot) {
		shut_down(vm, cause);
		return;
	}
	lock_take(&vm->lock);
	was = vm->running || vm->restart;
	vm->restart = false;
	vm_stop_locked(vm);
	lock_drop(&vm->lock);
	if (vm_reset_now(vm, &e)) {
		fprintf(stderr, "doppel: cannot restart the machine: %s\n", err_msg(e));
		vm_quit_for(vm, 1, VM_CAUSE_HOST_ERROR);
		return;
	}
	lock_take(&vm->lock);
	vm->stopped_dead = false;
	if (!(atomic_load(&vm->requests) & (REQ_RESET | REQ_POWEROFF | REQ_QUIT)))
		atomic_store(&vm->hold, false);
	if (was)
		vm_go_locked(vm, -1);
	else
		vm->state = VM_STATE_PRELAUNCH;
	lock_drop(&vm->lock);
	emit_cause(vm, "RESET", cause);
}

/* Stop for good, with a debugger or monitor looking on; without one, end. */
static void die(struct vm *vm, unsigned cpu, enum vm_state state, enum vm_cause cause)
{
	if (!vm->hook.stopped && !vm->no_shutdown) {
		vm_quit_for(vm, 1, cause);
		return;
	}
	vm->restart = true; /* it ran until now */
	halt(vm, state, true);
	vm->restart = false;
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
		if (vm->no_shutdown)
			emit_cause(vm, "SHUTDOWN", VM_CAUSE_GUEST_RESET);
		die(vm, cpu, VM_STATE_SHUTDOWN, VM_CAUSE_GUEST_RESET);
		return;
	}
	if (vm->quick_deaths >= QUICK_DEATHS_MAX) {
		fprintf(stderr, "doppel: the guest dies right after each start: giving up\n");
		vm_quit_for(vm, 1, VM_CAUSE_GUEST_RESET);
		return;
	}
	fprintf(stderr, "doppel: the guest restarts\n");
	vm->restart = true;
	vm_reset_for(vm, VM_CAUSE_GUEST_RESET);
}

static void debug_stop(struct vm *vm, unsigned cpu)
{
	if (vm->hook.stopped) {
		lock_take(&vm->lock);
		vm->state = VM_STATE_DEBUG;
		lock_drop(&vm->lock);
		emit_plain(vm, "STOP");
		tell(vm, VM_STOP_DEBUG, cpu);
	} else {
		lock_take(&vm->lock);
		vm_go_locked(vm, -1);
		lock_drop(&vm->lock);
	}
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
			die(vm, i, VM_STATE_INTERNAL_ERROR, VM_CAUSE_HOST_ERROR);
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
	vm->board->power_button(&vm->pc);
	lock_drop(&vm->dev_lock);
	emit_plain(vm, "POWERDOWN");
}

static void end(struct vm *vm)
{
	if (!vm->end_told)
		emit_cause(vm, "SHUTDOWN", (enum vm_cause)atomic_load(&vm->quit_cause));
	vm->end_told = true;
	events_flush(vm);
	loop_stop(vm->loop);
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
		end(vm);
		return;
	}
	if (req & REQ_STOP)
		halt(vm, (enum vm_state)atomic_load(&vm->stop_why), false);
	if (req & REQ_POWEROFF)
		shut_down(vm, VM_CAUSE_GUEST_SHUTDOWN);
	else if (req & REQ_RESET)
		do_reset(vm);
	if (req & REQ_POWERDOWN)
		press_power_button(vm);
	if (req & (REQ_TELL_PAUSED | REQ_STOP) && !vm_running(vm))
		tell(vm, VM_STOP_PAUSED, 0);
	events_flush(vm);
}
