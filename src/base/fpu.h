/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Guest vector and floating-point state that lives in the host's registers.
 *
 * A translator leaves it there while its helpers run, which are compiled for general registers only
 * (base, mem, x86 and the engines are; see `general_regs` in meson.build).  Everything else may use
 * vector registers, so whoever is about to call it (a device, the log, a decoder, a stub with
 * registers of its own) first calls fpu_claim(): guest state goes to memory, the host's defaults
 * (MXCSR, x87 control word, empty x87 stack, clean upper halves) are set.
 *
 * Threads: the pointer belongs to the thread whose registers these are.
 */
#include "base/base.h"

struct fpu_guest {
	/* Save the registers and set *fpu_live(thread) to NULL; general registers only. */
	void (*save)(struct fpu_guest *g);
};

/* Non-NULL while guest state is in this thread's registers. */
extern _Thread_local struct fpu_guest *fpu_live __attribute__((tls_model("initial-exec")));

static inline void fpu_claim(void)
{
	if (unlikely(fpu_live != NULL))
		fpu_live->save(fpu_live);
}

/* fpu_lazy - may our own code run while guest state is in the registers?  Only if memcpy and its
 * kin are those of memfn.c. */
bool fpu_lazy(void);
