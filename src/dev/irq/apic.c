/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APICs of a machine together: addressing (SDM 3A 11.6.2, 11.12.10), interprocessor
 * interrupts (11.6.1), message-signalled interrupts (11.11), and the face the vCPUs see.
 *
 * Locks: a->lock (LOCK_RANK_APIC) guards all local APICs and the I/O APIC, so an EOI broadcast
 * and the re-delivery of a level interrupt happen under it.  The 8259s live under env->lock,
 * which ranks below: their INT output may be driven under both, but an acknowledge for ExtINT
 * drops a->lock first.
 */
#include <errno.h>
#include <stdlib.h>

#include "dev/irq/apic_int.h"

#define MSI_BASE 0xfee00000u
#define MSI_SIZE 0x100000u

#define ICR_LOGICAL BIT(11)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)
enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };

#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC 0x800
#define MSR_X2APIC_LAST 0x8ff

static bool match_logical(const struct lapic *l, const struct apic_msg *m)
{
	uint32_t ldr = l->ldr >> 24;

	if (lapic_x2apic(l))
		return (m->dest >> 16) == (l->ldr >> 16) && (m->dest & l->ldr & 0xffff);
	if (m->wide && m->dest > 0xff)
		return m->dest == ~0u;
	if (l->dfr >> 28 == 0xf) /* flat */
		return ldr & m->dest;
	/* cluster: 4-bit cluster, 4-bit set; cluster 15 is all */
	return ((m->dest >> 4) == (ldr >> 4) || (m->dest >> 4) == 0xf) && (ldr & m->dest & 0xf);
}

static bool matches(const struct lapic *l, const struct apic_msg *m)
{
	if (!lapic_enabled(l))
		return false;
	if (m->wide ? m->dest == ~0u : !m->logical && m->dest == 0xff)
		return true;
	return m->logical ? match_logical(l, m) : m->dest == l->cpu;
}

/* deliver_lowest - to the least busy of the addressed APICs, in turn among equals. */
static unsigned deliver_lowest(struct apics *a, const struct apic_msg *m)
{
	struct lapic *best = NULL;

	for (unsigned i = 0; i < a->n; i++) {
		struct lapic *l = a->lapic[(a->rr + i) % a->n];

		if (matches(l, m) && (l->svr & SVR_ENABLE) &&
		    (!best || lapic_ppr(l) < lapic_ppr(best)))
			best = l;
	}
	if (!best)
		return 0;
	a->rr = best->cpu + 1;
	lapic_message(best, APIC_FIXED, m->vector, m->level);
	return 1;
}

unsigned apics_deliver(struct apics *a, const struct apic_msg *m)
{
	unsigned count = 0;

	if (m->mode == APIC_LOWEST)
		return deliver_lowest(a, m);
	for (unsigned i = 0; i < a->n; i++) {
		if (!matches(a->lapic[i], m))
			continue;
		lapic_message(a->lapic[i], m->mode, m->vector, m->level);
		count++;
	}
	return count;
}

void apics_ipi(struct lapic *from, uint32_t icr, uint32_t dest)
{
	struct apics *a = from->set;
	struct apic_msg m = { .dest = dest, .mode = (icr >> 8) & 7, .vector = (uint8_t)icr,
			      .logical = icr & ICR_LOGICAL, .wide = lapic_x2apic(from) };
	unsigned shorthand = icr >> 18 & 3;

	if (m.mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return; /* INIT level de-assert: nothing since the Pentium 4 */
	if ((m.mode == APIC_FIXED || m.mode == APIC_LOWEST) && m.vector < 16) {
		lapic_error(from, ESR_SEND_VECTOR);
		return;
	}
	if (shorthand == SHORT_NONE) {
		apics_deliver(a, &m);
		return;
	}
	if (m.mode == APIC_LOWEST)
		m.mode = APIC_FIXED;
	for (unsigned i = 0; i < a->n; i++) {
		struct lapic *l = a->lapic[i];
		bool self = l == from;

		if ((self && shorthand == SHORT_OTHERS) || (!self && shorthand == SHORT_SELF) ||
		    !lapic_enabled(l))
			continue;
		lapic_message(l, m.mode, m.vector, false);
	}
}

/* SDM 3A 11.11: address 0xfee | destination 19:12 | redirection hint 3 | logical 2; data as in
 * ICR. */
static void msi_locked(struct apics *a, uint64_t addr, uint32_t data)
{
	struct apic_msg m = { .dest = bits_get(addr, 19, 12), .mode = (data >> 8) & 7,
			      .vector = (uint8_t)data, .logical = addr & 4,
			      .level = data >> 15 & 1 };

	if ((addr & 8) && m.logical && m.mode == APIC_FIXED)
		m.mode = APIC_LOWEST;
	apics_deliver(a, &m);
}

void apics_msi(struct apics *a, uint64_t addr, uint32_t data)
{
	lock_take(&a->lock);
	msi_locked(a, addr, data);
	lock_drop(&a->lock);
}

static uint64_t msi_read(void *opaque, uint64_t off, unsigned size)
{
	return ~UINT64_C(0);
}

static void msi_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	msi_locked(opaque, MSI_BASE + off, (uint32_t)val);
}

static const struct io_ops msi_ops = { .read = msi_read, .write = msi_write, .min = 4, .max = 4 };

static void extint_set(void *opaque, int n, bool level)
{
	struct apics *a = opaque;

	lock_take(&a->lock);
	if (a->extint != level) {
		a->extint = level;
		for (unsigned i = 0; i < a->n; i++) {
			if (level)
				lapic_local(a->lapic[i], LVT_LINT0, false);
			lapic_update(a->lapic[i]);
		}
	}
	lock_drop(&a->lock);
}

struct irq_line apics_extint(struct apics *a)
{
	return (struct irq_line){ .set = extint_set, .opaque = a };
}

int apics_intr_ack(struct apics *a, unsigned cpu)
{
	struct lapic *l = a->lapic[cpu];
	bool extint;
	int v;

	lock_take(&a->lock);
	v = lapic_ack(l);
	extint = v < 0 && lapic_wants_extint(l);
	lock_drop(&a->lock);
	return extint ? a->ops->pic_ack(a->opaque) : v;
}

bool apics_rdmsr(struct apics *a, unsigned cpu, uint32_t index, uint64_t *val)
{
	struct lapic *l = a->lapic[cpu];
	bool ok = true;

	lock_take(&a->lock);
	lapic_pv_sync(l);
	if (index == MSR_APIC_BASE)
		*val = l->base;
	else if (index == MSR_TSC_DEADLINE)
		*val = lapic_timer_deadline(l);
	else
		ok = lapic_x2apic(l) && index >= MSR_X2APIC && index <= MSR_X2APIC_LAST &&
		     lapic_msr_read(l, index - MSR_X2APIC, val);
	lock_drop(&a->lock);
	return ok;
}

bool apics_wrmsr(struct apics *a, unsigned cpu, uint32_t index, uint64_t val)
{
	struct lapic *l = a->lapic[cpu];
	bool ok = true;

	lock_take(&a->lock);
	lapic_pv_sync(l);
	if (index == MSR_APIC_BASE) {
		ok = lapic_set_base(l, val);
		lapic_update(l);
	} else if (index == MSR_TSC_DEADLINE) {
		lapic_timer_set_deadline(l, val);
	} else {
		ok = lapic_x2apic(l) && index >= MSR_X2APIC && index <= MSR_X2APIC_LAST &&
		     lapic_msr_write(l, index - MSR_X2APIC, val);
	}
	lock_drop(&a->lock);
	return ok;
}

/* Registers are 32 bits at multiples of 16; narrower and shifted reads are undefined, so give
 * the bytes. */
uint32_t apics_read(struct apics *a, unsigned cpu, uint32_t off, unsigned size)
{
	struct lapic *l = a->lapic[cpu];
	uint32_t val = 0;

	lock_take(&a->lock);
	lapic_pv_sync(l);
	if ((off & 0xf) < 4 && lapic_enabled(l) && !lapic_x2apic(l))
		val = lapic_reg_read(l, (off & 0xfff) >> 4);
	lock_drop(&a->lock);
	return (val >> (8 * (off & 3))) & (uint32_t)mask_size(size > 4 ? 4 : size);
}

void apics_write(struct apics *a, unsigned cpu, uint32_t off, uint32_t val, unsigned size)
{
	struct lapic *l = a->lapic[cpu];

	if ((off & 0xf) || size != 4)
		return;
	lock_take(&a->lock);
	lapic_pv_sync(l);
	if (lapic_enabled(l) && !lapic_x2apic(l))
		lapic_reg_write(l, (off & 0xfff) >> 4, val);
	lock_drop(&a->lock);
}

uint8_t apics_tpr_get(struct apics *a, unsigned cpu)
{
	uint8_t v;

	lock_take(&a->lock);
	v = a->lapic[cpu]->tpr >> 4;
	lock_drop(&a->lock);
	return v;
}

void apics_tpr_set(struct apics *a, unsigned cpu, uint8_t cr8)
{
	struct lapic *l = a->lapic[cpu];

	lock_take(&a->lock);
	lapic_pv_sync(l);
	lapic_reg_write(l, REG_TPR, (uint32_t)(cr8 & 0xf) << 4);
	lock_drop(&a->lock);
}

void apics_pv_eoi(struct apics *a, unsigned cpu, uint64_t gpa_or_zero)
{
	struct lapic *l = a->lapic[cpu];

	lock_take(&a->lock);
	lapic_pv_sync(l);
	l->pv_eoi = gpa_or_zero & ~UINT64_C(3);
	lock_drop(&a->lock);
}

int apics_pv_ipi(struct apics *a, uint64_t bitmap_lo, uint64_t bitmap_hi, uint32_t min,
		 uint32_t icr)
{
	uint8_t mode = (icr >> 8) & 7;
	int count = 0;

	/* Only plain fixed and NMI interrupts, no destination mode or shorthand. */
	if ((icr & ~(0x7ffu | (uint32_t)ICR_ASSERT)) || (mode != APIC_FIXED && mode != APIC_NMI) ||
	    (mode == APIC_FIXED && (icr & 0xff) < 16))
		return -EINVAL;
	lock_take(&a->lock);
	for (unsigned i = 0; i < 128; i++) {
		uint64_t word = i < 64 ? bitmap_lo : bitmap_hi, id = (uint64_t)min + i;

		if (!(word >> (i & 63) & 1) || id >= a->n || !lapic_enabled(a->lapic[id]))
			continue;
		lapic_message(a->lapic[id], mode, (uint8_t)icr, false);
		count++;
	}
	lock_drop(&a->lock);
	return count;
}

void apics_pv_kick(struct apics *a, uint32_t apic_id)
{
	if (apic_id >= a->n)
		return;
	lock_take(&a->lock);
	a->ops->kick(a->opaque, apic_id);
	lock_drop(&a->lock);
}

uint64_t apics_base(struct apics *a, unsigned cpu)
{
	uint64_t v;

	lock_take(&a->lock);
	v = a->lapic[cpu]->base;
	lock_drop(&a->lock);
	return v;
}

static void apics_reset(struct dev *d)
{
	struct apics *a = container_of(d, struct apics, dev);

	lock_take(&a->lock);
	a->rr = 0;
	lock_drop(&a->lock);
}

static void apics_unrealize(struct dev *d)
{
	struct apics *a = container_of(d, struct apics, dev);

	mem_unmap(d->env->mem, a->msi_map);
	lock_fini(&a->lock);
	free(a->lapic);
	free(a);
}

static int apics_post_load(void *obj, struct err **e)
{
	struct apics *a = obj;

	a->rr %= a->n;
	return 0;
}

static const struct state_field apics_fields[] = {
	STATE_FIELD(struct apics, rr, STATE_U32),
	STATE_FIELD(struct apics, extint, STATE_BOOL),
	STATE_END,
};

static const struct state_desc apics_state = {
	.name = "apics", .version = 1, .fields = apics_fields, .post_load = apics_post_load,
};

static const struct dev_ops apics_dev_ops = {
	.name = "apics", .unrealize = apics_unrealize, .reset = apics_reset,
	.quiesce = dev_quiesce_none, .state = &apics_state,
};

struct apics *apics_create(struct dev_env *env, unsigned n_cpus, const struct apics_ops *ops,
			   void *opaque)
{
	struct apics *a = xzalloc(sizeof(*a));

	bug_on(!n_cpus);
	lock_init(&a->lock, LOCK_RANK_APIC, "apic");
	a->ops = ops;
	a->opaque = opaque;
	a->n = n_cpus;
	a->msi_io = (struct io_region){ .name = "msi", .ops = &msi_ops, .opaque = a,
		.lock = &a->lock, .size = MSI_SIZE };
	a->msi_map = mem_map_io(env->mem, GPA(MSI_BASE), &a->msi_io, 0);
	dev_add(&a->dev, &apics_dev_ops, "apics", env);
	a->lapic = xcalloc(n_cpus, sizeof(*a->lapic));
	for (unsigned i = 0; i < n_cpus; i++)
		a->lapic[i] = lapic_create(a, i);
	for (unsigned i = 0; i < n_cpus; i++)
		a->lapic[i]->dev.ops->reset(&a->lapic[i]->dev);
	return a;
}
