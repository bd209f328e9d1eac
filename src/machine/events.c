/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of a machine on their way to those who listen.
 *
 * Whoever sees something happen copies it into a queue, under a lock of high rank so that devices
 * and I/O threads can too, and wakes the loop; on the loop thread, as soon as it holds no lock, the
 * queue is emptied in order.  A monitor that stops the machine therefore hears STOP before its
 * answer goes out, and an event of another thread as soon as the loop turns.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "dev/virtio/balloon.h"
#include "machine/vm_int.h"

#define BALLOON_INTERVAL_NS INT64_C(1000000000)

struct event_node {
	struct event_node *next;
	struct vm_event ev;
	struct vm_event_arg args[VM_EVENT_ARGS];
};

void events_init(struct vm *vm)
{
	lock_init(&vm->event_lock, LOCK_RANK_EVENT, "events");
	vm->events_tail = &vm->events;
	vm->loop_thread = pthread_self();
}

static void node_free(struct event_node *n)
{
	for (unsigned i = 0; i < n->ev.n; i++)
		free((char *)n->args[i].str);
	free((char *)n->ev.name);
	free(n);
}

static struct event_node *events_take(struct vm *vm)
{
	struct event_node *n;

	lock_take(&vm->event_lock);
	n = vm->events;
	if (n)
		vm->events = n->next;
	if (!vm->events)
		vm->events_tail = &vm->events;
	lock_drop(&vm->event_lock);
	return n;
}

void events_fini(struct vm *vm)
{
	struct event_node *n;

	while ((n = events_take(vm)))
		node_free(n);
	lock_fini(&vm->event_lock);
}

void events_flush(struct vm *vm)
{
	struct event_node *n;

	if (!pthread_equal(pthread_self(), vm->loop_thread) || !lock_none_held() || vm->flushing)
		return;
	vm->flushing = true;
	while ((n = events_take(vm))) {
		struct vm_listener *next;

		for (struct vm_listener *l = vm->listeners; l; l = next) {
			next = l->next;
			l->event(l->opaque, &n->ev);
		}
		node_free(n);
	}
	vm->flushing = false;
}

void vm_emit(struct vm *vm, const char *name, const struct vm_event_arg *args, unsigned n)
{
	struct event_node *node;
	struct timespec now;

	bug_on(n > VM_EVENT_ARGS);
	if (vm->driven) /* nobody empties the queue */
		return;
	node = xzalloc(sizeof(*node));
	clock_gettime(CLOCK_REALTIME, &now);
	node->ev.name = xstrdup(name);
	node->ev.time_us = now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
	node->ev.args = node->args;
	for (unsigned i = 0; i < n; i++) {
		struct vm_event_arg *a = &node->args[node->ev.n];

		if (args[i].kind == VM_ARG_STR && !args[i].str)
			continue;
		*a = args[i];
		a->str = args[i].kind == VM_ARG_STR ? xstrdup(args[i].str) : NULL;
		node->ev.n++;
	}
	lock_take(&vm->event_lock);
	*vm->events_tail = node;
	vm->events_tail = &node->next;
	lock_drop(&vm->event_lock);
	if (pthread_equal(pthread_self(), vm->loop_thread) && lock_none_held())
		events_flush(vm);
	else
		vm_request(vm, 0, false);
}

void vm_listen(struct vm *vm, struct vm_listener *l)
{
	l->next = vm->listeners;
	vm->listeners = l;
}

void vm_unlisten(struct vm *vm, struct vm_listener *l)
{
	for (struct vm_listener **p = &vm->listeners; *p; p = &(*p)->next) {
		if (*p != l)
			continue;
		*p = l->next;
		return;
	}
}

const char *vm_cause_name(enum vm_cause cause)
{
	static const char *const names[] = {
		[VM_CAUSE_NONE] = "none",
		[VM_CAUSE_HOST_ERROR] = "host-error",
		[VM_CAUSE_HOST_QMP_QUIT] = "host-qmp-quit",
		[VM_CAUSE_HOST_QMP_RESET] = "host-qmp-system-reset",
		[VM_CAUSE_HOST_SIGNAL] = "host-signal",
		[VM_CAUSE_HOST_UI] = "host-ui",
		[VM_CAUSE_GUEST_SHUTDOWN] = "guest-shutdown",
		[VM_CAUSE_GUEST_RESET] = "guest-reset",
		[VM_CAUSE_GUEST_PANIC] = "guest-panic",
	};

	return names[cause];
}

const char *vm_state_name(enum vm_state state)
{
	static const char *const names[] = {
		[VM_STATE_PRELAUNCH] = "prelaunch",
		[VM_STATE_RUNNING] = "running",
		[VM_STATE_PAUSED] = "paused",
		[VM_STATE_DEBUG] = "debug",
		[VM_STATE_SHUTDOWN] = "shutdown",
		[VM_STATE_IO_ERROR] = "io-error",
		[VM_STATE_INTERNAL_ERROR] = "internal-error",
		[VM_STATE_WATCHDOG] = "watchdog",
		[VM_STATE_GUEST_PANICKED] = "guest-panicked",
	};

	return names[state];
}

static void balloon_tell(void *opaque)
{
	struct vm *vm = opaque;
	uint64_t bytes;

	if (!balloon_actual(&vm->env, vm->ram.below_4g + vm->ram.above_4g, &bytes))
		return;
	vm->balloon_told = vclock_now(vm->clock);
	vm_emit(vm, "BALLOON_CHANGE",
		(struct vm_event_arg[]){VM_INT("actual", (int64_t)bytes)}, 1);
}

/* A guest changes it in many small steps, or all the time: at most one event a second, and the last value
 * is always told. */
static void balloon_changed(void *opaque)
{
	struct vm *vm = opaque;
	int64_t next = vm->balloon_told + BALLOON_INTERVAL_NS;

	if (vm->balloon_timer && !timer_armed(vm->balloon_timer))
		timer_arm(vm->balloon_timer, next);
}

void events_balloon(struct vm *vm)
{
	vm->balloon_told = -BALLOON_INTERVAL_NS;
	vm->balloon_timer = timer_new(vm->loop, vm->clock, &vm->dev_lock, balloon_tell, vm);
	balloon_on_change(&vm->env, balloon_changed, vm);
}

void events_balloon_fini(struct vm *vm)
{
	timer_destroy(vm->balloon_timer);
	vm->balloon_timer = NULL;
}
