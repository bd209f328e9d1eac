/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* KVM's paravirtual MSRs, for msr.c. */
#include "x86/cpu.h"

/* kvmpv_rdmsr/kvmpv_wrmsr - false: not an MSR that is offered, or a reserved value (#GP). */
bool kvmpv_rdmsr(struct x86_cpu *c, uint32_t index, uint64_t *val);
bool kvmpv_wrmsr(struct x86_cpu *c, uint32_t index, uint64_t val);
/* kvmpv_tsc_changed - the guest's TSC jumped: its kvmclock must not. */
void kvmpv_tsc_changed(struct x86_cpu *c);
