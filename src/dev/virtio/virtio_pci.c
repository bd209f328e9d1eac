/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI (virtio 1.2 4.1): the function, its interrupts, and which kinds of driver it
 * serves.
 *
 * A modern device has registers in BAR 4 (virtio_pci_modern.c), a legacy one in BAR 0, of ports
 * (virtio_pci_legacy.c); a transitional one has both, and the IDs of a legacy one.  MSI-X is in
 * BAR 1. With MSI-X enabled each queue and the configuration have a vector, or none; otherwise the
 * ISR status register says what happened and its bits drive the pin until it is read.
 */
#include "dev/virtio/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dev/bootindex.h"

#define VENDOR 0x1af4
#define DEVICE_LEGACY 0x1000
#define DEVICE_MODERN 0x1040
#define SUBSYSTEM_MODERN 0x1100
#define MSIX_BAR 1

const struct dev_prop virtio_pci_props[] = {
	{"disable-legacy", "show no registers for legacy drivers", "auto", PROP_AUTO},
	{"disable-modern", "show no registers for modern drivers", "off", PROP_BOOL},
	{"vectors", "MSI-X vectors, 0: no MSI-X (default: enough)", NULL, PROP_UINT, 2048},
	{"page-per-vq", "a page of doorbells for each queue", "off", PROP_BOOL},
	{"ats", "accepted when off: there is no address translation service", "off", PROP_BOOL},
	{0},
};

static struct virtio_pci *of(struct virtio_dev *v)
{
	return v->transport_opaque;
}

static void raise(struct virtio_pci *vp, uint8_t isr, uint16_t vector)
{
	if (pci_msix_enabled(&vp->pci)) {
		if (vector != VIRTQ_NO_VECTOR)
			pci_msix_notify(&vp->pci, vector);
		return;
	}
	vp->v->isr |= isr;
	pci_dev_irq(&vp->pci, true);
}

static void notify_queue(struct virtio_dev *v, struct virtq *q)
{
	raise(of(v), VIRTIO_ISR_QUEUE, q->vector);
}

static void notify_config(struct virtio_dev *v)
{
	raise(of(v), VIRTIO_ISR_CONFIG, of(v)->config_vector);
}

static void transport_reset(struct virtio_dev *v)
{
	of(v)->config_vector = VIRTQ_NO_VECTOR;
	pci_dev_irq(&of(v)->pci, false);
}

static bool transport_dma(struct virtio_dev *v)
{
	return pci_dev_is_master(&of(v)->pci);
}

static const struct virtio_transport_ops transport = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.reset = transport_reset,
	.dma = transport_dma,
};

uint8_t virtio_pci_isr(struct virtio_pci *vp)
{
	uint8_t isr = vp->v->isr;

	vp->v->isr = 0;
	pci_dev_irq(&vp->pci, false);
	return isr;
}

uint16_t virtio_pci_vector(const struct virtio_pci *vp, uint64_t val)
{
	return val < vp->vectors ? (uint16_t)val : VIRTQ_NO_VECTOR;
}

static struct virtio_pci *of_dev(struct dev *d)
{
	return container_of(d, struct virtio_pci, pci.dev);
}

static void vp_reset(struct dev *d)
{
	struct virtio_pci *vp = of_dev(d);

	virtio_reset(vp->v);
	vp->device_sel = vp->driver_sel = vp->queue_sel = 0;
	pci_dev_reset(&vp->pci);
}

static void vp_quiesce(struct dev *d)
{
	virtio_quiesce(of_dev(d)->v);
}

static void vp_unrealize(struct dev *d)
{
	struct virtio_pci *vp = of_dev(d);

	if (vp->v->ops->stop)
		vp->v->ops->stop(vp->v, -1);
	if (vp->boot_path)
		dev_bootindex_remove(d->env, vp->boot_path);
	pci_dev_fini(&vp->pci);
	vp->v->ops->unrealize(vp->v);
	free(vp->boot_path);
	free(vp);
}

/* A driver that lets the device master the bus after it has kicked it is served then. */
static void vp_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct virtio_pci *vp = container_of(d, struct virtio_pci, pci);

	if (off < PCI_COMMAND + 2 && off + size > PCI_COMMAND && pci_dev_is_master(d))
		virtio_kick_later(vp->v);
	virtio_pci_cfg_written(d, off, size);
}

static int vp_post_load(void *obj, struct err **e)
{
	struct virtio_pci *vp = obj;

	if ((vp->config_vector >= vp->vectors && vp->config_vector != VIRTQ_NO_VECTOR) ||
	    !virtio_vectors_ok(vp->v, vp->vectors))
		return err_set(e, EINVAL, "%s: no such vector", vp->v->ops->name);
	return 0;
}

static void ops_init(struct virtio_pci *vp)
{
	const struct state_field fields[] = {
		PCI_DEV_STATE(struct virtio_pci, pci),
		STATE_FIELD(struct virtio_pci, device_sel, STATE_U32),
		STATE_FIELD(struct virtio_pci, driver_sel, STATE_U32),
		STATE_FIELD(struct virtio_pci, queue_sel, STATE_U16),
		STATE_FIELD(struct virtio_pci, config_vector, STATE_U16),
		{.name = "virtio",
		 .offset = offsetof(struct virtio_pci, v),
		 .kind = STATE_STRUCT,
		 .stride = sizeof(struct virtio_dev),
		 .sub = &vp->v->saved,
		 .pointer = true,
		 .count_at = offsetof(struct virtio_pci, n_v)},
		STATE_END,
	};

	_Static_assert(sizeof(fields) <= sizeof(vp->fields), "room for the table");
	memcpy(vp->fields, fields, sizeof(fields));
	vp->n_v = 1;
	vp->state = (struct state_desc){
		.name = "virtio-pci",
		.version = 1,
		.fields = vp->fields,
		.post_load = vp_post_load,
	};
	vp->ops = (struct pci_dev_ops){
		.dev = {.name = vp->v->ops->name,
			.unrealize = vp_unrealize,
			.reset = vp_reset,
			.quiesce = vp_quiesce,
			.state = &vp->state},
		.config_written = vp_config_written,
		.config_reading = virtio_pci_cfg_reading,
	};
}

/* Base class and subclass, as drivers and firmware look for them. */
static uint16_t class_of(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return 0x0200;
	case VIRTIO_ID_BLOCK:
		return 0x0100;
	case VIRTIO_ID_CONSOLE:
		return 0x0780;
	case VIRTIO_ID_9P:
		return 0x0002;
	default:
		return 0x00ff;
	}
}

/* Legacy IDs of section 4.1.2.1 are in no order. */
static uint16_t legacy_device(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return DEVICE_LEGACY;
	case VIRTIO_ID_BLOCK:
		return DEVICE_LEGACY + 1;
	case VIRTIO_ID_BALLOON:
		return DEVICE_LEGACY + 2;
	case VIRTIO_ID_CONSOLE:
		return DEVICE_LEGACY + 3;
	case VIRTIO_ID_ENTROPY:
		return DEVICE_LEGACY + 5;
	default: /* 9P is 0x1009 */
		return (uint16_t)(DEVICE_LEGACY + id);
	}
}

static struct pci_id identity(const struct virtio_pci *vp, uint16_t id)
{
	return (struct pci_id){
		.vendor = VENDOR,
		.device = vp->legacy ? legacy_device(id) : (uint16_t)(DEVICE_MODERN + id),
		.subvendor = VENDOR,
		.subdevice = vp->legacy ? id : SUBSYSTEM_MODERN,
		.class = class_of(id),
		.revision = vp->legacy ? 0 : 1,
		.irq_pin = 1,
	};
}

/* kinds - which drivers are served: as told, and by default both, but behind PCI Express ports,
 * where ports of the I/O space are scarce, modern ones alone. */
static int kinds(struct virtio_pci *vp, enum virtio_flavour f, const struct pci_bus *b,
		 const struct dev_opts *o, struct err **e)
{
	uint64_t disable = dev_opt_num(o, "disable-legacy"); /* 2: auto */

	if (f != VIRTIO_PCI_ANY &&
	    (dev_opt_given(o, "disable-legacy") || dev_opt_given(o, "disable-modern")))
		return err_set(e, EINVAL, "disable-legacy and disable-modern contradict its name");
	if (f != VIRTIO_PCI_ANY)
		disable = f == VIRTIO_PCI_MODERN;
	if (disable == 2)
		disable = pci_bus_is_express(b) && !pci_bus_is_root(b);
	vp->legacy = !disable;
	vp->modern = !dev_opt_num(o, "disable-modern");
	if (!vp->legacy && !vp->modern)
		return err_set(e, EINVAL, "both disable-legacy and disable-modern are on");
	if (dev_opt_num(o, "ats"))
		return err_set(e, EINVAL, "ats=on is not supported");
	return 0;
}

/* boot - enter its place in the boot order; vp->pci is not plugged yet. */
static int boot(struct virtio_pci *vp, const struct virtio_type *t, const struct pci_place *pl,
		const struct dev_opts *o, struct err **e)
{
	int rc;

	if (!t->boot_name || !dev_opt_given(o, "bootindex"))
		return 0;
	vp->pci.devfn = pl->devfn;
	vp->boot_path = dev_bootindex_pci(&vp->pci, t->boot_name, t->boot_unit);
	rc = dev_bootindex_add(pci_bus_env(pl->bus), (int64_t)dev_opt_num(o, "bootindex"),
			       vp->boot_path, e);
	if (rc) {
		free(vp->boot_path);
		vp->boot_path = NULL;
	}
	return rc;
}

static void realize(struct virtio_pci *vp, const struct virtio_type *t, struct pci_place *pl,
		    const struct dev_opts *o, uint64_t features)
{
	struct pci_id id = identity(vp, t->id);

	ops_init(vp);
	pci_dev_init_at(&vp->pci, pl, &id, &vp->ops);
	virtio_attach(vp->v, features, &transport, vp);
	vp->vectors = t->vectors ? t->vectors : vp->v->n_queues + 1;
	if (dev_opt_given(o, "vectors"))
		vp->vectors = (unsigned)dev_opt_num(o, "vectors");
	if (vp->legacy)
		virtio_pci_legacy_init(vp);
	if (vp->modern)
		virtio_pci_modern_init(vp, dev_opt_num(o, "page-per-vq"));
	if (vp->vectors)
		pci_msix_init(&vp->pci, vp->vectors, MSIX_BAR);
	pci_dev_express_endpoint(&vp->pci);
	virtio_reset(vp->v);
	pci_dev_ready(&vp->pci);
}

int virtio_pci_plug(const struct virtio_type *t, enum virtio_flavour f, const struct dev_place *p,
		    const struct dev_opts *o, struct err **e)
{
	struct virtio_pci *vp = xzalloc(sizeof(*vp));
	struct pci_place pl;
	uint64_t features;
	int rc = pci_place_get(&pl, p, o, t->name, e);

	if (rc) {
		free(vp);
		return rc;
	}
	rc = kinds(vp, f, pl.bus, o, e);
	if (!rc)
		rc = virtio_props_features(o, vp->legacy, vp->modern, &features, e);
	if (!rc)
		rc = boot(vp, t, &pl, o, e);
	if (!rc)
		rc = t->create(p, o, &vp->v, e);
	if (rc) {
		if (vp->boot_path)
			dev_bootindex_remove(p->env, vp->boot_path);
		free(vp->boot_path);
		pci_place_drop(&pl);
		free(vp);
		return rc;
	}
	realize(vp, t, &pl, o, features);
	return 0;
}
