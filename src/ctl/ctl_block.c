/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of disks: told to those who listen, and to the machine when their policy says stop. */
#include "back/block/block.h"
#include "ctl/ctl_int.h"
#include "dev/dev.h"

/* The front's lock, the machine's, is held: ask, do not do. */
static void block_error(void *opaque, const struct block_error *b)
{
	static const char *const actions[] = {
		[BLOCK_REPORT] = "report", [BLOCK_IGNORE] = "ignore", [BLOCK_STOP] = "stop"};
	struct ctl *c = opaque;
	struct vm_event_arg args[] = {
		VM_STR("device", b->device),
		VM_STR("node-name", b->node),
		VM_STR("operation", b->write ? "write" : "read"),
		VM_STR("action", actions[b->action]),
		VM_BOOL("nospace", b->nospace),
		VM_STR("reason", b->reason),
	};

	vm_emit(c->vm, "BLOCK_IO_ERROR", args, ARRAY_SIZE(args));
	if (b->action == BLOCK_STOP)
		vm_stop_soon(c->vm, VM_STATE_IO_ERROR);
}

void ctl_block_start(struct ctl *c)
{
	if (c->cfg.blocks)
		blocks_set_error_hook(c->cfg.blocks, block_error, c);
}

void ctl_block_end(struct ctl *c)
{
	if (c->cfg.blocks)
		blocks_set_error_hook(c->cfg.blocks, NULL, NULL);
}

void ctl_block_resume(struct ctl *c)
{
	if (!c->cfg.blocks)
		return;
	lock_take(vm_devices(c->vm)->lock);
	blocks_resume(c->cfg.blocks);
	lock_drop(vm_devices(c->vm)->lock);
}
