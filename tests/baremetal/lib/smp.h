/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Several processors, for 64-bit images with cpus=N: BM_CPUS is N, and N_AP are the others. */
#include "bm.h"

#define N_AP (BM_CPUS - 1)
#define TRAMPOLINE 0x8000u
#define APIC(reg) (*(volatile uint32_t *)(0xfee00000ul + (reg)))
#define ICR_LO 0x300
#define ICR_HI 0x310
#define ALL_BUT_SELF 0xc0000u

extern volatile uint32_t ap_arrived;
extern volatile uint32_t smp_go, smp_finished;

/* start_all - wake the others by INIT and SIPI, and check that they come. */
void start_all(void);
/* all - run fn on all processors, this one too, and check that they finish; others: start it on the
 * others, who raise smp_finished when they are done. */
void all(void (*fn)(unsigned id));
void others(void (*fn)(unsigned id));
void ipi(unsigned id, uint32_t lo);
void delay(void);
/* wait_for - a word to become so; false after a time that only a defect takes. */
bool wait_for(volatile uint32_t *v, uint32_t want);

static inline void pause(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static inline void eoi(void)
{
	APIC(0xb0) = 0;
}
