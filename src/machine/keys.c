/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that a monitor presses: a queue of events, each with the host's time that passes before the
 * next, so that a guest sees keys go down, stay, and come up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "dev/legacy/i8042.h"
#include "machine/vm_int.h"

#define QUEUE_MAX 1024
#define GAP_MS 10

struct key_event {
	int16_t key;
	bool down;
	uint32_t ms; /* to wait after it */
};

struct keys {
	struct vm *vm;
	struct timer *timer;
	struct key_event queue[QUEUE_MAX];
	unsigned head, len;
};

/* Send what is due: up to the next event after which there is a wait. */
static void keys_go(void *opaque)
{
	struct keys *k = opaque;

	while (k->len) {
		struct key_event ev = k->queue[k->head];

		k->head = (k->head + 1) % QUEUE_MAX;
		k->len--;
		kbd_key(i8042_keyboard(k->vm->pc.i8042), ev.key, ev.down);
		if (!ev.ms)
			continue;
		timer_arm(k->timer, vclock_now(k->vm->clock) + ev.ms * INT64_C(1000000));
		return;
	}
}

static void add(struct keys *k, int key, bool down, uint32_t ms)
{
	k->queue[(k->head + k->len++) % QUEUE_MAX] =
		(struct key_event){.key = (int16_t)key, .down = down, .ms = ms};
}

int vm_send_keys(struct vm *vm, const int *keys, unsigned n, uint32_t hold_ms, struct err **e)
{
	struct keys *k;
	int r = 0;

	if (!vm->pc.i8042)
		return err_set(e, ENODEV, "the machine has no keyboard");
	lock_take(&vm->dev_lock);
	if (!vm->keys) {
		vm->keys = xzalloc(sizeof(*vm->keys));
		vm->keys->vm = vm;
		vm->keys->timer = timer_new(vm->loop, vm->clock, &vm->dev_lock, keys_go, vm->keys);
	}
	k = vm->keys;
	if (n > (QUEUE_MAX - k->len) / 2)
		r = err_set(e, EBUSY, "too many keys are waiting to be pressed");
	for (unsigned i = 0; i < n && !r; i++)
		add(k, keys[i], true, i + 1 < n ? 0 : hold_ms);
	for (unsigned i = n; i-- > 0 && !r;)
		add(k, keys[i], false, i ? 0 : GAP_MS);
	if (!r && !timer_armed(k->timer))
		keys_go(k);
	lock_drop(&vm->dev_lock);
	return r;
}

int vm_find_key(const char *name)
{
	uint64_t code;

	if (!strncmp(name, "0x", 2)) {
		code = strtoul(name, NULL, 16);
		/* As a number the prefix is bit 7. */
		return kbd_find_code((unsigned)(code & 0x80 ? 0xe000 | (code & 0x7f) : code));
	}
	return kbd_find(!strcmp(name, "<") ? "less" : name);
}

void keys_fini(struct vm *vm)
{
	if (vm->keys)
		timer_destroy(vm->keys->timer);
	free(vm->keys);
}
