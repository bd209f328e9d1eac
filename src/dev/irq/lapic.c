/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One local APIC: registers, priorities, acceptance (SDM 3A 11.4-11.8, 11.12 for x2APIC).
 *
 * The output to the CPU (ops->set_intr) is a level: "intr_ack may give a vector".  It may be
 * high with nothing to give, never low with something to give.  That allows KVM's paravirtual
 * EOI: when a vector is handed over that needs no EOI broadcast and nothing else waits, bit 0
 * of a word in guest memory is set and the guest ends the interrupt by clearing it with an
 * ordinary instruction.  Only the vCPU's own thread looks at the word (lapic_pv_sync), since
 * the guest's clear is not atomic against other processors.  While that is open
 * (pv_eoi_pending) the output takes ISR as empty; the next acknowledge then finds out the
 * truth.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "dev/irq/apic_int.h"

#define VERSION 0x00050014u /* integrated APIC, six LVT entries */

/* Writable bits of the LVT entries. */
static const uint32_t lvt_mask[LVT_COUNT] = {
	[LVT_TIMER] = 0x700ff,	[LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
	[LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,	 [LVT_ERROR] = 0x100ff,
};

#define LVT_STATUS BIT(12)
#define ICR_MASK 0xccfffu /* vector, modes, level, trigger, shorthand */

int lapic_highest(const uint32_t set[8])
{
	for (int i = 7; i >= 0; i--)
		if (set[i])
			return i * 32 + 31 - __builtin_clz(set[i]);
	return -1;
}

static bool vec_test(const uint32_t set[8], uint8_t v)
{
	return set[v >> 5] >> (v & 31) & 1;
}

static void vec_put(uint32_t set[8], uint8_t v, bool on)
{
	uint32_t bit = 1u << (v & 31);

	set[v >> 5] = on ? set[v >> 5] | bit : set[v >> 5] & ~bit;
}

uint8_t lapic_ppr(const struct lapic *l)
{
	int isr = l->pv_eoi_pending ? -1 : lapic_highest(l->isr);

	if (isr < 0 || (l->tpr & 0xf0) >= (isr & 0xf0))
		return l->tpr;
	return (uint8_t)(isr & 0xf0);
}

/* deliverable - the vector that may interrupt the CPU now, or -1. */
static int deliverable(const struct lapic *l)
{
	int v = lapic_highest(l->irr);

	if (v < 0 || !lapic_enabled(l) || !(l->svr & SVR_ENABLE))
		return -1;
	return (v & 0xf0) > (lapic_ppr(l) & 0xf0) ? v : -1;
}

bool lapic_wants_extint(const struct lapic *l)
{
	uint32_t lvt = l->lvt[LVT_LINT0];

	if (!l->set->extint)
		return false;
	if (!lapic_enabled(l)) /* LINT0 is the INTR pin then; only the BSP's is wired */
		return l->cpu == 0;
	return !(lvt & LVT_MASKED) && LVT_MODE(lvt) == APIC_EXTINT;
}

void lapic_update(struct lapic *l)
{
	bool level = deliverable(l) >= 0 || lapic_wants_extint(l);

	if (level == l->intr_out)
		return;
	l->intr_out = level;
	l->set->ops->set_intr(l->set->opaque, l->cpu, level);
}

static void end_of_interrupt(struct lapic *l)
{
	int v = lapic_highest(l->isr);

	if (v < 0)
		return;
	vec_put(l->isr, (uint8_t)v, false);
	if (vec_test(l->tmr, (uint8_t)v) && l->set->ioapic)
		ioapic_eoi(l->set->ioapic, (uint8_t)v);
	lapic_update(l);
}

static bool pv_word(struct lapic *l, uint32_t *word)
{
	return l->pv_eoi && mem_dma_read(l->dev.env->mem, GPA(l->pv_eoi), word, 4) == 0;
}

static void pv_word_put(struct lapic *l, uint32_t word)
{
	/* An address that is no RAM any more: the guest's next EOI is an ordinary one. */
	(void)mem_dma_write(l->dev.env->mem, GPA(l->pv_eoi), &word, 4);
}

void lapic_pv_sync(struct lapic *l)
{
	uint32_t word;

	if (likely(!l->pv_eoi_pending))
		return;
	l->pv_eoi_pending = false;
	if (!pv_word(l, &word)) {
		lapic_update(l);
		return;
	}
	if (word & 1) {
		pv_word_put(l, word & ~1u);
		lapic_update(l);
	} else {
		end_of_interrupt(l);
	}
}

/* pv_offer - let the guest end vector v, just put in service, without telling us. */
static void pv_offer(struct lapic *l, uint8_t v)
{
	uint32_t word;

	if (!l->pv_eoi || vec_test(l->tmr, v) || lapic_highest(l->irr) >= 0 || !pv_word(l, &word))
		return;
	pv_word_put(l, word | 1);
	l->pv_eoi_pending = true;
}

int lapic_ack(struct lapic *l)
{
	int v;

	lapic_pv_sync(l);
	v = deliverable(l);
	if (v < 0)
		return -1;
	vec_put(l->irr, (uint8_t)v, false);
	vec_put(l->isr, (uint8_t)v, true);
	pv_offer(l, (uint8_t)v);
	lapic_update(l);
	return v;
}

void lapic_error(struct lapic *l, uint32_t bits)
{
	if (l->esr_new & bits)
		return; /* known already; also ends the recursion through the error LVT */
	l->esr_new |= bits;
	lapic_local(l, LVT_ERROR, false);
}

static void accept(struct lapic *l, uint8_t vector, bool level)
{
	if (vector < 16) {
		lapic_error(l, ESR_RECV_VECTOR);
		return;
	}
	vec_put(l->irr, vector, true);
	vec_put(l->tmr, vector, level);
	lapic_update(l);
}

void lapic_local(struct lapic *l, enum lapic_lvt n, bool level)
{
	uint32_t lvt = l->lvt[n];

	if ((lvt & LVT_MASKED) || !lapic_enabled(l))
		return;
	switch (LVT_MODE(lvt)) {
	case APIC_FIXED:
		accept(l, (uint8_t)lvt, level);
		break;
	case APIC_NMI:
		l->set->ops->nmi(l->set->opaque, l->cpu);
		break;
	default: /* SMI and INIT are not offered; ExtINT is a level, see lapic_wants_extint */
		break;
	}
}

void lapic_message(struct lapic *l, uint8_t mode, uint8_t vector, bool level)
{
	const struct apics_ops *ops = l->set->ops;

	switch (mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (l->svr & SVR_ENABLE)
			accept(l, vector, level);
		break;
	case APIC_NMI:
		ops->nmi(l->set->opaque, l->cpu);
		break;
	case APIC_INIT:
		lapic_init(l);
		ops->init(l->set->opaque, l->cpu);
		break;
	case APIC_SIPI:
		ops->sipi(l->set->opaque, l->cpu, vector);
		break;
	default:
		LOGF(l->dev.env->log, UNIMP, "apic%u: delivery mode %u\n", l->cpu, mode);
	}
}

static uint32_t x2apic_ldr(const struct lapic *l)
{
	return (l->cpu >> 4) << 16 | 1u << (l->cpu & 15);
}

void lapic_init(struct lapic *l)
{
	l->tpr = 0;
	l->ldr = lapic_x2apic(l) ? x2apic_ldr(l) : 0;
	l->dfr = ~0u;
	l->svr = 0xff;
	l->icr_lo = l->icr_hi = 0;
	l->esr = l->esr_new = 0;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
	for (unsigned i = 0; i < 8; i++)
		l->isr[i] = l->tmr[i] = l->irr[i] = 0;
	l->timer_div = 0;
	l->pv_eoi_pending = false;
	lapic_timer_stop(l);
	lapic_update(l);
}

/* SDM 3A 11.12.5 and figure 11-27: transitions between disabled, xAPIC and x2APIC. */
bool lapic_set_base(struct lapic *l, uint64_t val)
{
	uint64_t was = l->base & (APIC_BASE_EN | APIC_BASE_EXTD);
	uint64_t is = val & (APIC_BASE_EN | APIC_BASE_EXTD);

	if ((val & 0x2ff) || val >> 52 || is == APIC_BASE_EXTD)
		return false;
	if (was == APIC_BASE_EN && is == (APIC_BASE_EN | APIC_BASE_EXTD)) {
		l->base = val;
		l->ldr = x2apic_ldr(l);
		l->icr_hi = 0;
		return true;
	}
	if (was != is && was && is) /* x2APIC to xAPIC */
		return false;
	if (was == 0 && (is & APIC_BASE_EXTD))
		return false;
	l->base = val;
	if (was != is)
		lapic_init(l);
	return true;
}

static uint32_t vec_reg(const struct lapic *l, unsigned reg)
{
	if (reg >= REG_IRR)
		return l->irr[reg - REG_IRR];
	return reg >= REG_TMR ? l->tmr[reg - REG_TMR] : l->isr[reg - REG_ISR];
}

uint32_t lapic_reg_read(struct lapic *l, unsigned reg)
{
	switch (reg) {
	case REG_ID:
		return lapic_x2apic(l) ? l->cpu : l->cpu << 24;
	case REG_VERSION:
		return VERSION;
	case REG_TPR:
		return l->tpr;
	case REG_PPR:
		return lapic_ppr(l);
	case REG_LDR:
		return l->ldr;
	case REG_DFR:
		return l->dfr;
	case REG_SVR:
		return l->svr;
	case REG_ISR ... REG_IRR + 7:
		return vec_reg(l, reg);
	case REG_ESR:
		return l->esr;
	case REG_ICR:
		return l->icr_lo;
	case REG_ICR_HI:
		return l->icr_hi;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1:
		return l->lvt[reg - REG_LVT];
	case REG_TIMER_INIT:
		return l->timer_init;
	case REG_TIMER_CUR:
		return lapic_timer_current(l);
	case REG_TIMER_DIV:
		return l->timer_div;
	case REG_APR:
	case REG_RRD:
	case REG_EOI:
		return 0;
	default:
		lapic_error(l, ESR_REGISTER);
		return 0;
	}
}

static void write_lvt(struct lapic *l, unsigned n, uint32_t val)
{
	uint32_t old = l->lvt[n];

	val &= lvt_mask[n];
	if (!(l->svr & SVR_ENABLE))
		val |= LVT_MASKED;
	l->lvt[n] = val;
	if (n == LVT_TIMER)
		lapic_timer_lvt(l, old);
	lapic_update(l);
}

static void write_svr(struct lapic *l, uint32_t val)
{
	l->svr = val & 0x3ff;
	for (unsigned i = 0; !(val & SVR_ENABLE) && i < LVT_COUNT; i++)
		l->lvt[i] |= LVT_MASKED;
	lapic_update(l);
}

void lapic_reg_write(struct lapic *l, unsigned reg, uint32_t val)
{
	switch (reg) {
	case REG_TPR:
		l->tpr = (uint8_t)val;
		lapic_update(l);
		break;
	case REG_EOI:
		end_of_interrupt(l);
		break;
	case REG_LDR:
		l->ldr = val & 0xff000000u;
		break;
	case REG_DFR:
		l->dfr = val | 0x0fffffffu;
		break;
	case REG_SVR:
		write_svr(l, val);
		break;
	case REG_ESR:
		l->esr = l->esr_new;
		l->esr_new = 0;
		break;
	case REG_ICR:
		l->icr_lo = val & ICR_MASK;
		apics_ipi(l, l->icr_lo, l->icr_hi >> 24);
		break;
	case REG_ICR_HI:
		l->icr_hi = val & 0xff000000u;
		break;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1:
		write_lvt(l, reg - REG_LVT, val);
		break;
	case REG_TIMER_INIT:
		lapic_timer_set_init(l, val);
		break;
	case REG_TIMER_DIV:
		lapic_timer_set_div(l, val);
		break;
	case REG_ID: /* read-only, as on every processor since Nehalem */
	case REG_VERSION:
	case REG_APR:
	case REG_PPR:
	case REG_RRD:
	case REG_ISR ... REG_IRR + 7:
	case REG_TIMER_CUR:
		break;
	default:
		lapic_error(l, ESR_REGISTER);
	}
}

/* SDM 3A table 11-6: which x2APIC registers exist, who may read and write them, and their
 * reserved bits. */
bool lapic_msr_read(struct lapic *l, unsigned reg, uint64_t *val)
{
	switch (reg) {
	case REG_ID:
	case REG_VERSION:
	case REG_TPR:
	case REG_PPR:
	case REG_LDR:
	case REG_SVR:
	case REG_ISR ... REG_IRR + 7:
	case REG_ESR:
	case REG_LVT ... REG_TIMER_CUR:
	case REG_TIMER_DIV:
		*val = lapic_reg_read(l, reg);
		return true;
	case REG_ICR:
		*val = (uint64_t)l->icr_hi << 32 | l->icr_lo;
		return true;
	default:
		return false;
	}
}

/* Bits that may be one in a write; 0: not writable (EOI and ESR accept only 0 and are apart). */
static uint64_t msr_writable(unsigned reg)
{
	switch (reg) {
	case REG_TPR:
	case REG_SELF_IPI:
		return 0xff;
	case REG_SVR:
		return 0x3ff;
	case REG_ICR:
		return ~UINT64_C(0) << 32 | ICR_MASK | LVT_STATUS;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1:
		return lvt_mask[reg - REG_LVT] | LVT_STATUS | BIT(14);
	case REG_TIMER_INIT:
		return 0xffffffffu;
	case REG_TIMER_DIV:
		return 0xb;
	default:
		return 0;
	}
}

bool lapic_msr_write(struct lapic *l, unsigned reg, uint64_t val)
{
	uint64_t ok = msr_writable(reg);

	if ((val & ~ok) || (!ok && reg != REG_EOI && reg != REG_ESR))
		return false;
	if (reg == REG_ICR) {
		l->icr_lo = (uint32_t)val & ICR_MASK;
		l->icr_hi = (uint32_t)(val >> 32);
		apics_ipi(l, l->icr_lo, l->icr_hi);
	} else if (reg == REG_SELF_IPI) {
		if (val < 16)
			lapic_error(l, ESR_SEND_VECTOR);
		lapic_message(l, APIC_FIXED, (uint8_t)val, false);
	} else {
		lapic_reg_write(l, reg, (uint32_t)val);
	}
	return true;
}

static void lapic_reset(struct dev *d)
{
	struct lapic *l = container_of(d, struct lapic, dev);

	lock_take(&l->set->lock);
	l->base = 0xfee00000u | APIC_BASE_EN | (l->cpu == 0 ? APIC_BASE_BSP : 0);
	l->pv_eoi = 0;
	lapic_init(l);
	/* Firmware leaves the BSP in virtual wire mode (MP spec 1.4 3.6.2.2); a kernel that is
	 * loaded without firmware finds it the same way. */
	if (l->cpu == 0)
		l->lvt[LVT_LINT0] = APIC_EXTINT << 8;
	lapic_update(l);
	lock_drop(&l->set->lock);
}

static void lapic_unrealize(struct dev *d)
{
	struct lapic *l = container_of(d, struct lapic, dev);

	timer_destroy(l->timer);
	free(l->name);
	free(l);
}

static void lapic_pre_save(void *obj)
{
	struct lapic *l = obj;

	lock_take(&l->set->lock);
	lapic_pv_sync(l);
	lapic_timer_save(l);
	lock_drop(&l->set->lock);
}

static int lapic_check(const struct lapic *l, struct err **e)
{
	uint64_t mode = l->base & (APIC_BASE_EN | APIC_BASE_EXTD);
	bool bad = (l->base & 0x2ff) || mode == APIC_BASE_EXTD || (l->icr_lo & ~ICR_MASK) ||
		   (l->timer_div & ~0xbu) || (l->pv_eoi & 3);

	for (unsigned i = 0; i < LVT_COUNT; i++)
		bad |= (l->lvt[i] & ~lvt_mask[i] & ~LVT_MASKED) != 0;
	return bad ? err_set(e, EINVAL, "saved state of %s: impossible value", l->name) : 0;
}

static int lapic_post_load(void *obj, struct err **e)
{
	struct lapic *l = obj;
	int rc = lapic_check(l, e);

	if (rc)
		return rc;
	lock_take(&l->set->lock);
	l->pv_eoi_pending = false;
	lapic_timer_load(l);
	/* Tell the CPU in any case. */
	l->intr_out = !(deliverable(l) >= 0 || lapic_wants_extint(l));
	lapic_update(l);
	lock_drop(&l->set->lock);
	return 0;
}

static const struct state_field lapic_fields[] = {
	STATE_FIELD(struct lapic, base, STATE_U64),
	STATE_FIELD(struct lapic, ldr, STATE_U32),
	STATE_FIELD(struct lapic, dfr, STATE_U32),
	STATE_FIELD(struct lapic, svr, STATE_U32),
	STATE_FIELD(struct lapic, icr_lo, STATE_U32),
	STATE_FIELD(struct lapic, icr_hi, STATE_U32),
	STATE_FIELD(struct lapic, esr, STATE_U32),
	STATE_FIELD(struct lapic, esr_new, STATE_U32),
	STATE_ARRAY(struct lapic, lvt, STATE_U32),
	STATE_ARRAY(struct lapic, isr, STATE_U32),
	STATE_ARRAY(struct lapic, tmr, STATE_U32),
	STATE_ARRAY(struct lapic, irr, STATE_U32),
	STATE_FIELD(struct lapic, tpr, STATE_U8),
	STATE_FIELD(struct lapic, timer_init, STATE_U32),
	STATE_FIELD(struct lapic, timer_div, STATE_U32),
	STATE_FIELD(struct lapic, timer_elapsed, STATE_U64),
	STATE_FIELD(struct lapic, deadline, STATE_U64),
	STATE_FIELD(struct lapic, pv_eoi, STATE_U64),
	STATE_END,
};

static const struct state_desc lapic_state = {
	.name = "lapic", .version = 1, .fields = lapic_fields, .post_load = lapic_post_load,
	.pre_save = lapic_pre_save,
};

static const struct dev_ops lapic_ops = {
	.name = "lapic", .unrealize = lapic_unrealize, .reset = lapic_reset,
	.quiesce = dev_quiesce_none, .state = &lapic_state,
};

struct lapic *lapic_create(struct apics *set, unsigned cpu)
{
	struct lapic *l = xzalloc(sizeof(*l));
	struct dev_env *env = set->dev.env;

	l->set = set;
	l->cpu = cpu;
	l->name = xasprintf("apic%u", cpu);
	l->timer = timer_new(env->loop, env->clock, &set->lock, lapic_timer_fire, l);
	dev_add(&l->dev, &lapic_ops, l->name, env);
	return l;
}
