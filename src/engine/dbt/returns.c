/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack of returns: where guest calls are expected to return to.
 *
 * While user code runs, the host's RSP points into it.  A guest CALL pushes the guest's return
 * address there and is a host CALL; a guest RET takes the return address from the guest's stack to
 * T0 and is a host RET, which the processor predicts as well as it predicts native ones.  Behind
 * the host CALL (return_site in xlate_flow.c) the two addresses are compared; if they differ, or
 * the stack is empty, the jump cache finds the block.
 *
 * So what is on the stack are pairs of an address of the guest's and one of translated code.  The
 * latter must lead to a block that is valid, in the mode and address space in use: when a block is
 * forgotten, or the mode or what is mapped changes (run_update), the stack is emptied.  Kernel code
 * does without (its mode changes within blocks), and leaves the stack as user code left it.
 *
 * Below the stack is a page where nothing is: what does not fit faults, and the stack is emptied
 * (fault.c).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "base/err.h"
#include "engine/dbt/dbt_int.h"

#define RETURNS_SIZE (64 * KiB)

int returns_create(struct dbt_cpu *v, struct err **e)
{
	size_t size = RETURNS_SIZE + 2 * PAGE_SIZE;
	uint8_t *at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return err_set(e, ENOMEM, "no memory for a processor");
	v->returns = at;
	if (mprotect(at + PAGE_SIZE, size - PAGE_SIZE, PROT_READ | PROT_WRITE) < 0)
		return err_set(e, errno, "no memory for a processor: %s", strerror(errno));
	v->f.ret_top = (uint64_t)at + PAGE_SIZE + RETURNS_SIZE;
	*(const uint8_t **)v->f.ret_top = v->cache.stub.ret_empty;
	returns_clear(v);
	return 0;
}

void returns_destroy(struct dbt_cpu *v)
{
	if (v->returns)
		munmap(v->returns, RETURNS_SIZE + 2 * PAGE_SIZE);
}

void returns_clear(struct dbt_cpu *v)
{
	v->f.ret_sp = v->f.ret_top;
}

void returns_view(struct dbt_cpu *v)
{
	if (!(v->mode & X86_MODE_CPL3) ||
	    (v->returns_mode == v->mode && v->returns_epoch == v->epoch))
		return;
	v->returns_mode = v->mode;
	v->returns_epoch = v->epoch;
	returns_clear(v);
}

/* What faults may be the second push of a pair: then the first is lost, and in its place is what no
 * guest address is equal to, or a harmless one. */
bool returns_overflow(struct dbt_cpu *v, uint64_t host, uint64_t *sp)
{
	if (host - (uint64_t)v->returns >= PAGE_SIZE)
		return false;
	*sp = v->f.ret_top - sizeof(uint64_t);
	*(const uint8_t **)*sp = v->cache.stub.ret_empty;
	return true;
}
