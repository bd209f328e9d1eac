/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The local APICs of one machine (SDM 3A chapter 11), with KVM's paravirtual EOI and IPIs.
 *
 * Locks: everything here, the I/O APIC too, is guarded by one lock of rank LOCK_RANK_APIC
 * which the functions take themselves; callers hold no lock of that rank or above (env->lock
 * is fine).  Functions with a `cpu` argument are called on that vCPU's thread, or while it
 * does not run.
 */
#include "dev/dev.h"

struct apics;
struct ioapic;

/* What the machine does for the APICs.  All mandatory; called with the APIC lock held (except
 * pic_ack, which is called with no lock held and takes env->lock itself). */
struct apics_ops {
	/* Level of the interrupt request to the CPU: intr_ack may have something to give. */
	void (*set_intr)(void *opaque, unsigned cpu, bool level);
	void (*nmi)(void *opaque, unsigned cpu);
	void (*init)(void *opaque, unsigned cpu); /* the local APIC itself has been reset already */
	void (*sipi)(void *opaque, unsigned cpu, uint8_t vector);
	/* KVM_HC_KICK_CPU: leave HLT as if an interrupt had come. */
	void (*kick)(void *opaque, unsigned cpu);
	/* Guest TSC less vclock_tsc() (IA32_TSC writes); called on the vCPU's thread. */
	uint64_t (*tsc_offset)(void *opaque, unsigned cpu);
	/* 8259 acknowledge for ExtINT: vector or -1. */
	int (*pic_ack)(void *opaque);
};

/* apics_create - n_cpus local APICs with APIC ID = cpu index; CPU 0 is the BSP.  Also maps
 * 0xfee00000-0xfeefffff as the MSI window for accesses that reach the bus. */
struct apics *apics_create(struct dev_env *env, unsigned n_cpus, const struct apics_ops *ops,
			   void *opaque);

/* apics_extint - the 8259's INT output, wired to LINT0 of every local APIC (env->lock held). */
struct irq_line apics_extint(struct apics *a);
/* apics_msi - a message-signalled interrupt write of 32 bits to 0xfeexxxxx. */
void apics_msi(struct apics *a, uint64_t addr, uint32_t data);

/* The semantics of struct x86_host_ops (src/x86/cpu.h). */
int apics_intr_ack(struct apics *a, unsigned cpu);
bool apics_rdmsr(struct apics *a, unsigned cpu, uint32_t index, uint64_t *val);
bool apics_wrmsr(struct apics *a, unsigned cpu, uint32_t index, uint64_t val);
uint32_t apics_read(struct apics *a, unsigned cpu, uint32_t off, unsigned size);
void apics_write(struct apics *a, unsigned cpu, uint32_t off, uint32_t val, unsigned size);
uint8_t apics_tpr_get(struct apics *a, unsigned cpu);
void apics_tpr_set(struct apics *a, unsigned cpu, uint8_t cr8);
void apics_pv_eoi(struct apics *a, unsigned cpu, uint64_t gpa_or_zero);
/* apics_pv_ipi - KVM_HC_SEND_IPI: number of CPUs reached, or -KVM error (negative). */
int apics_pv_ipi(struct apics *a, uint64_t bitmap_lo, uint64_t bitmap_hi, uint32_t min,
		 uint32_t icr);
void apics_pv_kick(struct apics *a, uint32_t apic_id);
/* apics_base - IA32_APIC_BASE of a CPU (MSR 0x1b), for CPUID and address decoding. */
uint64_t apics_base(struct apics *a, unsigned cpu);
