/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over memory-mapped registers (virtio 1.2 4.2.2), of version 2 or, for legacy drivers, 1
 * (4.2.4).  All registers are 32 bits wide; the type's configuration from 0x100 is of any width.
 * Interrupts are level-triggered: the wire is up while InterruptStatus is not 0.
 */
#include "dev/virtio/virtio_mmio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dev/virtio/transport.h"

#define SLOTS 64
#define MAGIC 0x74726976 /* "virt" */
#define VENDOR 0x554d4551
#define CONFIG 0x100
#define PAGE_MAX 0x10000u

struct slot {
	struct virtio_mmio_bus *bus;
	uint64_t base;
	struct irq_line irq;
	bool used;
};

struct virtio_mmio_bus {
	struct dev dev; /* without state: it holds the slots alone */
	bool legacy;
	unsigned n;
	struct slot slots[SLOTS];
};

struct virtio_mmio {
	struct dev dev;
	struct virtio_dev *v; /* owned */
	uint32_t n_v; /* 1: for the table of saved state */
	struct slot *slot;
	struct io_region io;
	struct mem_map *map;
	uint32_t device_sel, driver_sel, queue_sel;
	uint32_t page, align; /* legacy */
	/* The saved state is another for each type. */
	struct dev_ops ops;
	struct state_desc state;
	struct state_field fields[8];
};

static struct virtio_mmio *of(struct virtio_dev *v)
{
	return v->transport_opaque;
}

static void raise(struct virtio_dev *v, uint8_t isr)
{
	v->isr |= isr;
	irq_set(&of(v)->slot->irq, true);
}

static void notify_queue(struct virtio_dev *v, struct virtq *q)
{
	raise(v, VIRTIO_ISR_QUEUE);
}

static void notify_config(struct virtio_dev *v)
{
	raise(v, VIRTIO_ISR_CONFIG);
}

static void transport_reset(struct virtio_dev *v)
{
	irq_set(&of(v)->slot->irq, false);
}

static const struct virtio_transport_ops transport = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.reset = transport_reset,
};

static uint64_t reg_read(struct virtio_mmio *vm, uint64_t off)
{
	struct virtio_dev *v = vm->v;
	const struct virtq *q = virtio_queue(v, vm->queue_sel);
	bool legacy = vm->slot->bus->legacy;

	switch (off) {
	case 0x000:
		return MAGIC;
	case 0x004:
		return legacy ? 1 : 2;
	case 0x008:
		return v->ops->id;
	case 0x00c:
		return VENDOR;
	case 0x010:
		return virtio_features_offered(v, vm->device_sel);
	case 0x034:
		return q && !(legacy && q->enabled) ? q->max : 0;
	case 0x040:
		return q && legacy ? q->legacy_base : 0;
	case 0x044:
		return q && !legacy && q->enabled;
	case 0x060:
		return v->isr;
	case 0x070:
		return v->status;
	case 0x0b0: /* shared memory: there is none */
	case 0x0b4:
	case 0x0b8:
	case 0x0bc:
		return UINT32_MAX;
	case 0x0fc:
		return legacy ? 0 : v->generation;
	}
	return 0;
}

static void queue_write(struct virtio_mmio *vm, struct virtq *q, uint64_t off, uint32_t val)
{
	switch (off) {
	case 0x038:
		virtio_queue_size(q, val);
		break;
	case 0x044:
		if (val == 1)
			virtio_queue_enable(q);
		else if (!val)
			virtio_queue_reset(q);
		break;
	case 0x080:
	case 0x084:
		virtio_queue_area(q, VIRTQ_DESC, off & 4, val);
		break;
	case 0x090:
	case 0x094:
		virtio_queue_area(q, VIRTQ_DRIVER, off & 4, val);
		break;
	case 0x0a0:
	case 0x0a4:
		virtio_queue_area(q, VIRTQ_DEVICE, off & 4, val);
		break;
	case 0x0c0:
		if (val == 1 && virtio_has(vm->v, VIRTIO_F_RING_RESET))
			virtio_queue_reset(q);
		break;
	}
}

static void legacy_queue(struct virtio_mmio *vm, struct virtq *q, uint64_t off, uint32_t val)
{
	if (off == 0x038)
		virtio_queue_size(q, val);
	else if (off == 0x03c)
		vm->align = is_pow2(val) && val <= PAGE_MAX ? val : 4096;
	else if (off == 0x040)
		virtio_queue_legacy(q, val, vm->page, vm->align);
}

static void reg_write(struct virtio_mmio *vm, uint64_t off, uint32_t val)
{
	struct virtio_dev *v = vm->v;
	struct virtq *q = virtio_queue(v, vm->queue_sel);
	bool legacy = vm->slot->bus->legacy;

	switch (off) {
	case 0x014:
		vm->device_sel = val;
		break;
	case 0x020:
		if (!legacy)
			virtio_accept_features(v, vm->driver_sel, val);
		else if (!vm->driver_sel)
			virtio_accept_legacy(v, val);
		break;
	case 0x024:
		vm->driver_sel = val;
		break;
	case 0x028:
		vm->page = legacy && is_pow2(val) && val <= PAGE_MAX ? val : vm->page;
		break;
	case 0x030:
		vm->queue_sel = val;
		break;
	case 0x050:
		virtio_queue_kick(v, val);
		break;
	case 0x064:
		v->isr &= (uint8_t)~val;
		if (!v->isr)
			irq_set(&vm->slot->irq, false);
		break;
	case 0x070:
		virtio_set_status(v, (uint8_t)val);
		break;
	default:
		if (q && legacy)
			legacy_queue(vm, q, off, val);
		else if (q)
			queue_write(vm, q, off, val);
	}
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
	struct virtio_mmio *vm = opaque;

	if (off >= CONFIG)
		return virtio_config_read(vm->v, off - CONFIG, size);
	return size == 4 ? reg_read(vm, off) : 0;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct virtio_mmio *vm = opaque;

	if (off >= CONFIG)
		virtio_config_write(vm->v, off - CONFIG, val, size);
	else if (size == 4)
		reg_write(vm, off, (uint32_t)val);
}

static const struct io_ops mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.min = 1,
	.max = 4,
};

static void mmio_reset(struct dev *d)
{
	struct virtio_mmio *vm = container_of(d, struct virtio_mmio, dev);

	virtio_reset(vm->v);
	vm->device_sel = vm->driver_sel = vm->queue_sel = 0;
	vm->page = vm->align = 4096;
}

static void mmio_quiesce(struct dev *d)
{
	virtio_quiesce(container_of(d, struct virtio_mmio, dev)->v);
}

static void mmio_unrealize(struct dev *d)
{
	struct virtio_mmio *vm = container_of(d, struct virtio_mmio, dev);

	if (vm->v->ops->stop)
		vm->v->ops->stop(vm->v, -1);
	mem_unmap(d->env->mem, vm->map);
	vm->slot->used = false;
	vm->v->ops->unrealize(vm->v);
	free(vm);
}

/* The level of the wire is saved by who receives it. */
static int mmio_post_load(void *obj, struct err **e)
{
	struct virtio_mmio *vm = obj;

	if (!is_pow2(vm->page) || vm->page > PAGE_MAX || !is_pow2(vm->align) ||
	    vm->align > PAGE_MAX)
		return err_set(e, EINVAL, "virtio-mmio: impossible page size");
	return 0;
}

static void ops_init(struct virtio_mmio *vm)
{
	const struct state_field fields[] = {
		STATE_FIELD(struct virtio_mmio, device_sel, STATE_U32),
		STATE_FIELD(struct virtio_mmio, driver_sel, STATE_U32),
		STATE_FIELD(struct virtio_mmio, queue_sel, STATE_U32),
		STATE_FIELD(struct virtio_mmio, page, STATE_U32),
		STATE_FIELD(struct virtio_mmio, align, STATE_U32),
		{.name = "virtio",
		 .offset = offsetof(struct virtio_mmio, v),
		 .kind = STATE_STRUCT,
		 .stride = sizeof(struct virtio_dev),
		 .sub = &vm->v->saved,
		 .pointer = true,
		 .count_at = offsetof(struct virtio_mmio, n_v)},
		STATE_END,
	};

	_Static_assert(sizeof(fields) <= sizeof(vm->fields), "room for the table");
	memcpy(vm->fields, fields, sizeof(fields));
	vm->n_v = 1;
	vm->state = (struct state_desc){
		.name = "virtio-mmio",
		.version = 1,
		.fields = vm->fields,
		.post_load = mmio_post_load,
	};
	vm->ops = (struct dev_ops){
		.name = vm->v->ops->name,
		.unrealize = mmio_unrealize,
		.reset = mmio_reset,
		.quiesce = mmio_quiesce,
		.state = &vm->state,
	};
}

int virtio_mmio_plug(const struct virtio_type *t, const struct dev_place *p,
		     const struct dev_opts *o, struct err **e)
{
	struct slot *slot = p->bus->bus;
	bool legacy = slot->bus->legacy;
	struct virtio_dev *v;
	struct virtio_mmio *vm;
	uint64_t features;
	int rc = virtio_props_features(o, legacy, !legacy, &features, e);

	if (!rc)
		rc = t->create(p, o, &v, e);
	if (rc)
		return rc;
	vm = xzalloc(sizeof(*vm));
	vm->v = v;
	vm->slot = slot;
	slot->used = true;
	ops_init(vm);
	virtio_attach(v, features, &transport, vm);
	vm->io = (struct io_region){
		.name = v->ops->name,
		.ops = &mmio_ops,
		.opaque = vm,
		.lock = p->env->lock,
		.size = VIRTIO_MMIO_SIZE,
	};
	vm->map = mem_map_io(p->env->mem, GPA(slot->base), &vm->io, 0);
	dev_add(&vm->dev, &vm->ops, *p->id ? p->id : t->name, p->env);
	mmio_reset(&vm->dev);
	return 0;
}

static int slot_place(void *bus, const char *addr, unsigned *place, struct err **e)
{
	*place = 0;
	return ((struct slot *)bus)->used ? err_set(e, ENOSPC, "the bus has a device already") : 0;
}

bool virtio_mmio_used(const struct virtio_mmio_bus *b, unsigned i)
{
	return b->slots[i].used;
}

static void bus_unrealize(struct dev *d)
{
	struct virtio_mmio_bus *b = container_of(d, struct virtio_mmio_bus, dev);

	for (unsigned i = 0; i < b->n; i++)
		dev_bus_remove(d->env, &b->slots[i]);
	free(b);
}

static void bus_reset(struct dev *d)
{
}

static const struct state_field bus_fields[] = {STATE_END};
static const struct state_desc bus_state = {
	.name = "virtio-mmio-bus", .version = 1, .fields = bus_fields};
static const struct dev_ops bus_ops = {
	.name = "virtio-mmio-bus",
	.unrealize = bus_unrealize,
	.reset = bus_reset,
	.quiesce = dev_quiesce_none,
	.state = &bus_state,
};

struct virtio_mmio_bus *virtio_mmio_bus_create(struct dev_env *env, unsigned n, uint64_t base,
					       const struct irq_line *irq, bool legacy)
{
	struct virtio_mmio_bus *b = xzalloc(sizeof(*b));

	bug_on(!n || n > SLOTS);
	b->n = n;
	b->legacy = legacy;
	/* The first device without bus= gets the last slot, as users of QEMU know it. */
	for (unsigned i = n; i-- > 0;) {
		char name[32];

		b->slots[i] =
			(struct slot){.bus = b, .base = base + i * VIRTIO_MMIO_SIZE, .irq = irq[i]};
		snprintf(name, sizeof(name), "virtio-mmio-bus.%u", i);
		dev_bus_add(env, name, BUS_VIRTIO_MMIO, &b->slots[i], slot_place);
	}
	dev_add(&b->dev, &bus_ops, "virtio-mmio-bus", env);
	return b;
}
