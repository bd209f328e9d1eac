/* SPDX-License-Identifier: Apache-2.0 */
/* Between the engine's vCPUs and the local APICs: what each asks of the other. */
#include "dev/irq/apic.h"
#include "dev/irq/pic.h"
#include "machine/vm_int.h"

static int intr_ack(void *opaque, unsigned cpu)
{
	struct vm *vm = opaque;

	return apics_intr_ack(vm->pc.apics, cpu);
}

static bool apic_rdmsr(void *opaque, unsigned cpu, uint32_t index, uint64_t *val)
{
	struct vm *vm = opaque;

	return apics_rdmsr(vm->pc.apics, cpu, index, val);
}

static bool apic_wrmsr(void *opaque, unsigned cpu, uint32_t index, uint64_t val)
{
	struct vm *vm = opaque;

	return apics_wrmsr(vm->pc.apics, cpu, index, val);
}

static uint32_t apic_read(void *opaque, unsigned cpu, uint32_t off, unsigned size)
{
	struct vm *vm = opaque;

	return apics_read(vm->pc.apics, cpu, off, size);
}

static void apic_write(void *opaque, unsigned cpu, uint32_t off, uint32_t val, unsigned size)
{
	struct vm *vm = opaque;

	apics_write(vm->pc.apics, cpu, off, val, size);
}

static uint8_t tpr_get(void *opaque, unsigned cpu)
{
	struct vm *vm = opaque;

	return apics_tpr_get(vm->pc.apics, cpu);
}

static void tpr_set(void *opaque, unsigned cpu, uint8_t cr8)
{
	struct vm *vm = opaque;

	apics_tpr_set(vm->pc.apics, cpu, cr8);
}

static void pv_eoi(void *opaque, unsigned cpu, uint64_t gpa_or_zero)
{
	struct vm *vm = opaque;

	apics_pv_eoi(vm->pc.apics, cpu, gpa_or_zero);
}

static int pv_ipi(void *opaque, uint64_t bitmap_lo, uint64_t bitmap_hi, uint32_t min, uint32_t icr)
{
	struct vm *vm = opaque;

	return apics_pv_ipi(vm->pc.apics, bitmap_lo, bitmap_hi, min, icr);
}

static void pv_kick(void *opaque, uint32_t apic_id)
{
	struct vm *vm = opaque;

	apics_pv_kick(vm->pc.apics, apic_id);
}

static void wake(void *opaque, unsigned cpu)
{
	vcpu_wake(opaque, cpu);
}

const struct x86_host_ops vm_host_ops = {
	.intr_ack = intr_ack,
	.apic_rdmsr = apic_rdmsr,
	.apic_wrmsr = apic_wrmsr,
	.apic_read = apic_read,
	.apic_write = apic_write,
	.tpr_get = tpr_get,
	.tpr_set = tpr_set,
	.pv_eoi = pv_eoi,
	.pv_ipi = pv_ipi,
	.pv_kick = pv_kick,
	.wake = wake,
};

static void set_intr(void *opaque, unsigned cpu, bool level)
{
	struct vm *vm = opaque;

	vm->engine->inject(vm->ev, cpu, ENGINE_INTR, level);
}

static void nmi(void *opaque, unsigned cpu)
{
	struct vm *vm = opaque;

	vm->engine->inject(vm->ev, cpu, ENGINE_NMI, 0);
}

static void init(void *opaque, unsigned cpu)
{
	struct vm *vm = opaque;

	vm->engine->inject(vm->ev, cpu, ENGINE_INIT, 0);
}

static void sipi(void *opaque, unsigned cpu, uint8_t vector)
{
	struct vm *vm = opaque;

	vm->engine->inject(vm->ev, cpu, ENGINE_SIPI, vector);
}

static void kick(void *opaque, unsigned cpu)
{
	vcpu_unhalt(opaque, cpu);
}

static uint64_t tsc_offset(void *opaque, unsigned cpu)
{
	struct vm *vm = opaque;
	struct x86_state s;

	vm->engine->get(vm->ev, cpu, &s);
	return s.tsc_offset;
}

static int pic_acknowledge(void *opaque)
{
	struct vm *vm = opaque;
	int vector;

	if (!vm->pc.pic)
		return -1;
	lock_take(&vm->dev_lock);
	vector = pic_ack(vm->pc.pic);
	lock_drop(&vm->dev_lock);
	return vector;
}

const struct apics_ops vm_apics_ops = {
	.set_intr = set_intr,
	.nmi = nmi,
	.init = init,
	.sipi = sipi,
	.kick = kick,
	.tsc_offset = tsc_offset,
	.pic_ack = pic_acknowledge,
};
