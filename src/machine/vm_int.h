/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Inside a virtual machine.
 *
 * Threads.  The loop thread (vm_create, vm_run, vm_destroy) does everything that changes the
 * machine's state of life: reset, end, what follows when a vCPU stops by itself.  vCPU threads and
 * devices only leave a note (a bit of vm->requests, vcpu->stop) and write to vm->event, an eventfd
 * that the loop watches.  vm_pause and vm_resume may come from any other thread; vm->lock makes
 * these transitions one at a time.  No vCPU thread takes vm->lock, so its holder may wait for vCPUs
 * to park; for the same reason the machine's device lock must not be held then.
 *
 * A vCPU's thread runs guest code while vcpu->go is set and vm->hold is not, else it is parked.
 * hold is set along with a request to reset or end, so that no vCPU runs on behind an instruction
 * that asked for it. A halted vCPU sleeps on the same condition variable: it looks for work under
 * vcpu->lock, and whoever gives it work signals under the same lock afterwards, so no wake-up is
 * lost.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "base/lock.h"
#include "dev/dev.h"
#include "machine/board.h"
#include "machine/vm.h"

enum {
	REQ_RESET = 1,
	REQ_POWEROFF = 2,
	REQ_QUIT = 4,
	REQ_POWERDOWN = 8,
	REQ_TELL_PAUSED = 16,
	REQ_STOP = 32,
};

struct vcpu {
	struct vm *vm;
	unsigned index;
	pthread_t thread;
	_Atomic int tid;
	bool started;
	struct lock lock;
	pthread_cond_t wake; /* the thread waits: for go, for work */
	pthread_cond_t parked_cond;
	/* Under lock: */
	bool go, quit, parked;
	bool unhalt; /* the next HLT, or the present one, is over (KVM_HC_KICK_CPU) */
	bool drain; /* take in events, then clear this */
	int stop; /* why the thread stopped by itself: enum engine_exit, or -1 */
};

struct vm {
	struct lock lock;
	bool running, one; /* some vCPU may run; only one */
	unsigned only; /* ... which */
	bool stopped_dead; /* stopped for good: only a reset or the end may follow */
	enum vm_state state;
	_Atomic bool hold;
	_Atomic uint32_t requests;
	_Atomic int status; /* of vm_run; -1: not decided */
	_Atomic int quit_cause, reset_cause, stop_why; /* enum vm_cause, vm_cause, vm_state */
	bool end_told; /* SHUTDOWN was emitted */

	pthread_t loop_thread;
	struct lock event_lock;
	struct event_node *events, **events_tail; /* event_lock */
	struct vm_listener *listeners;
	bool flushing;
	int event; /* eventfd */
	struct loop_fd *event_watch;

	char *name, *cmdline;
	char **firmware_dirs; /* ends with NULL */
	struct vm_boot boot; /* strings are owned */
	bool started; /* the first reset is over */
	const struct board_ops *board;
	bool no_reboot, no_shutdown, start_paused, driven, finished;
	struct image kernel, initrd, firmware;
	struct blocks *blocks; /* NULL: none */
	struct ram_layout ram;

	struct log *log;
	struct loop *loop;
	struct mem *mem;
	struct vclock *clock;
	struct lock dev_lock;
	struct dev_env env;
	struct pc pc;
	struct x86_cpuid *cpuid;
	unsigned phys_bits;

	const struct engine_ops *engine;
	struct engine_vm *ev;
	unsigned n_cpus;
	struct vcpu *cpus;

	struct keys *keys; /* NULL until one is pressed */
	struct timer *balloon_timer; /* until BALLOON_CHANGE may be told again; dev_lock */
	int64_t balloon_told; /* vclock */
	struct vm_debug_hook hook;
	bool restart; /* go on after the reset that has been requested */
	unsigned quick_deaths; /* triple faults in a row, each soon after a reset */
	int64_t reset_time; /* vclock */
};

/* vcpu.c */
int vcpus_start(struct vm *vm, struct err **e);
void vcpus_end(struct vm *vm);
void vcpu_wake(struct vm *vm, unsigned cpu);
void vcpu_unhalt(struct vm *vm, unsigned cpu);
/* vcpus_go/vcpus_park - let all (or one: index, else -1) run; stop all and wait.  vm->lock held. */
void vcpus_go(struct vm *vm, int only);
void vcpus_park(struct vm *vm);
/* vcpus_drain - events that parked vCPUs have not yet looked at are gone after this. */
void vcpus_drain(struct vm *vm);
/* vcpus_kick - make every vCPU look at vm->hold; any thread. */
void vcpus_kick(struct vm *vm);
/* vcpu_seconds - processor time that the vCPU threads have used. */
double vcpus_seconds(struct vm *vm);

/* host.c */
extern const struct x86_host_ops vm_host_ops;
extern const struct apics_ops vm_apics_ops;

/* reset.c: all on the loop thread, vCPUs parked. */
int vm_reset_now(struct vm *vm, struct err **e);
void vm_report(struct vm *vm, unsigned cpu, const char *why);

/* events.c.  events_flush - tell the listeners, when this is the loop thread without locks. */
void events_init(struct vm *vm);
void events_fini(struct vm *vm);
void events_flush(struct vm *vm);
/* events_balloon - BALLOON_CHANGE from now on, if there is a balloon; events_balloon_fini: before the device lock
 * goes. */
void events_balloon(struct vm *vm);
void events_balloon_fini(struct vm *vm);

/* keys.c: before the loop and the device lock go. */
void keys_fini(struct vm *vm);

/* life.c: the loop's side of requests. */
void vm_request(struct vm *vm, uint32_t req, bool hold);
void vm_event(void *opaque, uint32_t events);
struct block_error;
void vm_block_error(void *opaque, const struct block_error *err);
void vm_stop_locked(struct vm *vm);
void vm_go_locked(struct vm *vm, int only);
