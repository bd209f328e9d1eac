/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Local APICs, inside.  Every function here is called with the APIC lock held. */
#include "dev/irq/apic.h"

#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_EXTD BIT(10)
#define APIC_BASE_EN BIT(11)

/* Delivery modes (SDM 3A 11.5.1, 11.6.1). */
enum apic_mode {
	APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_MODE_3, APIC_NMI, APIC_INIT, APIC_SIPI, APIC_EXTINT,
};

enum lapic_lvt {
	LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT
};
#define LVT_MASKED BIT(16)
#define LVT_MODE(lvt) (((lvt) >> 8) & 7)

#define SVR_ENABLE BIT(8)
#define ESR_SEND_VECTOR BIT(5)
#define ESR_RECV_VECTOR BIT(6)
#define ESR_REGISTER BIT(7)

/* Register numbers: xAPIC offset / 16, x2APIC MSR - 0x800 (SDM 3A table 11-6). */
enum {
	REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a,
	REG_EOI = 0x0b, REG_RRD = 0x0c, REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28, REG_ICR = 0x30, REG_ICR_HI = 0x31,
	REG_LVT = 0x32, REG_TIMER_INIT = 0x38, REG_TIMER_CUR = 0x39, REG_TIMER_DIV = 0x3e,
	REG_SELF_IPI = 0x3f,
};

struct lapic {
	struct dev dev;
	struct apics *set;
	char *name;
	uint32_t cpu;	/* index, and APIC ID */
	uint64_t base;	/* IA32_APIC_BASE */
	uint32_t ldr, dfr, svr, icr_lo, icr_hi;
	uint32_t esr, esr_new; /* errors latched by a write to ESR, and since */
	uint32_t lvt[LVT_COUNT];
	uint32_t isr[8], tmr[8], irr[8];
	uint8_t tpr;
	bool intr_out; /* what set_intr was told last */

	uint32_t timer_init, timer_div;
	int64_t timer_start;	/* guest time the present count began (one-shot, periodic) */
	uint64_t timer_elapsed; /* saved form of timer_start */
	uint64_t deadline;	/* IA32_TSC_DEADLINE; 0 disarmed */
	struct timer *timer;

	uint64_t pv_eoi;     /* guest-physical address of the PV EOI word, or 0 */
	bool pv_eoi_pending; /* the guest may drop the word's bit 0 instead of writing EOI */
};

struct apics {
	struct dev dev;
	struct lock lock;
	const struct apics_ops *ops;
	void *opaque;
	unsigned n;
	struct lapic **lapic;
	struct ioapic *ioapic; /* those that receive EOI broadcasts; NULL before there is one */
	unsigned rr;	       /* where the search for a lowest-priority target starts */
	bool extint;	       /* level of the 8259's output */
	struct io_region msi_io;
	struct mem_map *msi_map;
};

/* A message on the bus between the APICs. */
struct apic_msg {
	uint32_t dest;
	uint8_t mode, vector;
	bool logical, level;
	bool wide; /* dest is 32 bits (x2APIC), else 8 */
};

static inline bool lapic_enabled(const struct lapic *l)
{
	return l->base & APIC_BASE_EN;
}

static inline bool lapic_x2apic(const struct lapic *l)
{
	return l->base & APIC_BASE_EXTD;
}

/* apics_deliver - hand a message to every APIC that its destination names; how many took it. */
unsigned apics_deliver(struct apics *a, const struct apic_msg *m);
/* apics_ipi - send what ICR says. */
void apics_ipi(struct lapic *from, uint32_t icr_lo, uint32_t dest);

struct lapic *lapic_create(struct apics *set, unsigned cpu);
/* lapic_init - registers as after INIT (SDM 3A 11.4.7.3); base is kept. */
void lapic_init(struct lapic *l);
void lapic_update(struct lapic *l);
/* lapic_message - act on a message addressed to l. */
void lapic_message(struct lapic *l, uint8_t mode, uint8_t vector, bool level);
/* lapic_local - a local source fires. */
void lapic_local(struct lapic *l, enum lapic_lvt n, bool level);
void lapic_error(struct lapic *l, uint32_t bits);
uint8_t lapic_ppr(const struct lapic *l);
/* lapic_highest - highest vector set, or -1. */
int lapic_highest(const uint32_t set[8]);
/* lapic_pv_sync - learn whether the guest has taken a PV EOI; l's own thread. */
void lapic_pv_sync(struct lapic *l);
int lapic_ack(struct lapic *l);
bool lapic_wants_extint(const struct lapic *l);
bool lapic_set_base(struct lapic *l, uint64_t val);
uint32_t lapic_reg_read(struct lapic *l, unsigned reg);
void lapic_reg_write(struct lapic *l, unsigned reg, uint32_t val);
bool lapic_msr_read(struct lapic *l, unsigned reg, uint64_t *val);
bool lapic_msr_write(struct lapic *l, unsigned reg, uint64_t val);

/* lapic_timer.c */
void lapic_timer_stop(struct lapic *l);
void lapic_timer_lvt(struct lapic *l, uint32_t old);
void lapic_timer_set_init(struct lapic *l, uint32_t val);
void lapic_timer_set_div(struct lapic *l, uint32_t val);
uint32_t lapic_timer_current(const struct lapic *l);
uint64_t lapic_timer_deadline(const struct lapic *l);
void lapic_timer_set_deadline(struct lapic *l, uint64_t val);
/* lapic_timer_arm - (re)start the host timer from the registers. */
void lapic_timer_arm(struct lapic *l);
void lapic_timer_fire(void *opaque);
void lapic_timer_save(struct lapic *l);
void lapic_timer_load(struct lapic *l);

/* ioapic.c: all of a list */
void ioapic_eoi(struct ioapic *io, uint8_t vector);
