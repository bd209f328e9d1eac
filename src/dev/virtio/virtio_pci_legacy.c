/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers of a legacy device on PCI (virtio 1.2 4.1.4.10), ports in BAR 0:
 *
 *   0x00 features offered    0x0c queue size      0x12 status
 *   0x04 features accepted   0x0e queue select    0x13 ISR status, cleared by reading
 *   0x08 queue's page        0x10 doorbell        with MSI-X: 0x14 vectors of configuration, 0x16
 * queue
 *
 * The type's configuration follows, at 0x18 while MSI-X is enabled, else at 0x14.  A ring is of the
 * device's size and in one piece, in pages of 4 KiB.
 */
#include "dev/virtio/virtio_pci.h"

#define LEGACY_BAR 0
#define PAGE 4096u

static uint64_t config_at(const struct virtio_pci *vp)
{
	return pci_msix_enabled(&vp->pci) ? 0x18 : 0x14;
}

static uint64_t legacy_read(void *opaque, uint64_t off, unsigned size)
{
	struct virtio_pci *vp = opaque;
	struct virtio_dev *v = vp->v;
	const struct virtq *q = virtio_queue(v, vp->queue_sel);

	if (off >= config_at(vp))
		return virtio_config_read(v, off - config_at(vp), size);
	switch (off) {
	case 0x00:
		return (uint32_t)v->offered & mask_size(size);
	case 0x04:
		return (uint32_t)v->features & mask_size(size);
	case 0x08:
		return q ? q->legacy_base & mask_size(size) : 0;
	case 0x0c:
		return q ? q->max : 0;
	case 0x0e:
		return vp->queue_sel;
	case 0x12:
		return v->status;
	case 0x13:
		return virtio_pci_isr(vp);
	case 0x14:
		return vp->config_vector;
	case 0x16:
		return q ? q->vector : VIRTQ_NO_VECTOR;
	}
	return 0;
}

static void legacy_queue(struct virtio_pci *vp, struct virtq *q, uint64_t off, uint64_t val)
{
	if (off == 0x08)
		virtio_queue_legacy(q, (uint32_t)val, PAGE, PAGE);
	else if (off == 0x16)
		q->vector = virtio_pci_vector(vp, val);
}

static void legacy_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct virtio_pci *vp = opaque;
	struct virtio_dev *v = vp->v;
	struct virtq *q = virtio_queue(v, vp->queue_sel);

	if (off >= config_at(vp)) {
		virtio_config_write(v, off - config_at(vp), val, size);
		return;
	}
	switch (off) {
	case 0x04:
		virtio_accept_legacy(v, (uint32_t)val);
		break;
	case 0x0e:
		vp->queue_sel = (uint16_t)val;
		break;
	case 0x10:
		virtio_queue_kick(v, (uint32_t)val);
		break;
	case 0x12:
		virtio_set_status(v, (uint8_t)val);
		break;
	case 0x14:
		vp->config_vector = virtio_pci_vector(vp, val);
		break;
	default:
		if (q)
			legacy_queue(vp, q, off, val);
	}
}

static const struct io_ops legacy_ops = {
	.read = legacy_read,
	.write = legacy_write,
	.min = 1,
	.max = 4,
};

void virtio_pci_legacy_init(struct virtio_pci *vp)
{
	uint64_t size = 32;

	while (size < 0x18 + (uint64_t)vp->v->config_len)
		size *= 2;
	vp->io = (struct io_region){
		.name = vp->v->ops->name,
		.ops = &legacy_ops,
		.opaque = vp,
		.lock = vp->v->env->lock,
		.size = size,
	};
	pci_dev_bar(&vp->pci, LEGACY_BAR, PCI_BAR_IO, &vp->io);
}
