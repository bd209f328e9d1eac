/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The interpreter engine. */
#include "engine/engine.h"

extern const struct engine_ops engine_interp;

struct x86_cpu;

/* interp_cpu - a vCPU of an interpreter's VM, for tests that run it by hand. */
struct x86_cpu *interp_cpu(struct engine_vm *vm, unsigned cpu);
/*
 * interp_step - execute the one instruction at s.rip of this vCPU on the calling thread, which must not
 * be inside run().  False when it raised an exception: c->exc says which (cr2 in s.cr2), nothing of it was
 * committed and it was not delivered.  Events and debug traps are not looked at.
 */
bool interp_step(struct x86_cpu *c);
