/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Between direct.c, which runs programs, and direct_process.c, which has the processes that they
 * run in. All on the vCPU's thread.
 */
#include <sys/user.h>
/* Names that it has for other things. */
#undef PAGE_SIZE
#undef PAGE_MASK
#include "engine/dbt/dbt_int.h"

#define DIRECT_USER_END UINT64_C(0x7ffffffff000) /* of the host's user addresses */
#define DIRECT_STUB UINT64_C(0x300000) /* our code there: where programs have nothing, as a rule \
					*/
#define DIRECT_CS 0x33 /* the host's selectors of user mode */
#define DIRECT_SS 0x2b

struct direct_box;

struct direct {
	pid_t pid;
	int pidfd; /* 0: none */
	int cpu; /* of the host, that it may run on; -1: any */
	/* --- the program (direct.c) --- */
	struct user_regs_struct regs;
	struct x86_xsave fpu; /* its vector state, as it was left last */
	uint8_t *xstate; /* all of it, as the host has it: the rest, and room for that */
	size_t xstate_size;
	uint64_t raised; /* address of the guest's page fault that it stopped for last, or 0 */
	unsigned wants_cpuid; /* how often it was found where CPUID would have to be trapped */
	bool cpuid_asked, traps_cpuid; /* it was tried to have that; it is so */
	/* --- what it is to do before it goes on (direct_process.c) --- */
	struct direct_box *box; /* ours, to write */
	bool keys; /* our pages have a protection key */
	unsigned n_ops;
	bool overflow; /* there were more: all is to be unmapped */
};

/* direct_wait - until it stops: the signal, or -1 when it is gone. */
int direct_wait(const struct direct *d);
/* direct_flush - do what was queued (direct_map and its kin, of w's pages); false: that failed. */
bool direct_flush(struct direct *d, struct dbt_windows *w);
/* direct_trap_cpuid - have CPUID raise #GP in the process; false: the host cannot. */
bool direct_trap_cpuid(struct direct *d);
/* direct_is_ours - is what lies there not the program's? */
bool direct_is_ours(uint64_t va);
