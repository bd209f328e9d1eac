/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers of a modern device on PCI (virtio 1.2 4.1.4), all in BAR 4:
 *
 *   0x0000  common configuration
 *   0x1000  ISR status
 *   0x2000  the type's configuration
 *   0x3000  doorbells: queue n at n times 4 bytes, or (page-per-vq) 4 KiB
 *
 * A vendor capability leads to each.  The fifth is a window for those who cannot map BARs
 * (firmware): it names BAR, offset and length, and configuration accesses to its last word are
 * accesses there.
 */
#include <string.h>

#include "dev/virtio/virtio_pci.h"

#define MODERN_BAR 4
#define PART 0x1000
#define COMMON 0x0000
#define ISR 0x1000
#define DEVICE 0x2000
#define NOTIFY 0x3000
#define COMMON_LEN 0x3c

/* Vendor capability. */
#define PCI_CAP_VENDOR 0x09
#define CAP_LEN 2
#define CAP_TYPE 3
#define CAP_BAR 4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_MORE 16 /* multiplier, or the window's data */
enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };

static uint64_t half(uint64_t v, bool high)
{
	return high ? v >> 32 : (uint32_t)v;
}

static uint64_t queue_read(const struct virtq *q, uint64_t off)
{
	switch (off) {
	case 0x18:
		return q->size;
	case 0x1a:
		return q->vector;
	case 0x1c:
		return q->enabled;
	case 0x1e:
	case 0x38:
		return q->index;
	case 0x20:
	case 0x24:
		return half(virtio_queue_area_get(q, VIRTQ_DESC), off & 4);
	case 0x28:
	case 0x2c:
		return half(virtio_queue_area_get(q, VIRTQ_DRIVER), off & 4);
	case 0x30:
	case 0x34:
		return half(virtio_queue_area_get(q, VIRTQ_DEVICE), off & 4);
	}
	return 0; /* queue_reset: done at once */
}

static uint64_t common_read(struct virtio_pci *vp, uint64_t off)
{
	struct virtio_dev *v = vp->v;
	const struct virtq *q = virtio_queue(v, vp->queue_sel);

	switch (off) {
	case 0x00:
		return vp->device_sel;
	case 0x04:
		return virtio_features_offered(v, vp->device_sel);
	case 0x08:
		return vp->driver_sel;
	case 0x0c:
		return virtio_features_accepted(v, vp->driver_sel);
	case 0x10:
		return vp->config_vector;
	case 0x12:
		return v->n_queues;
	case 0x14:
		return v->status;
	case 0x15:
		return v->generation & 0xff;
	case 0x16:
		return vp->queue_sel;
	}
	return q ? queue_read(q, off) : 0;
}

static void queue_write(struct virtio_pci *vp, struct virtq *q, uint64_t off, uint64_t val)
{
	uint32_t v = (uint32_t)val;

	switch (off) {
	case 0x18:
		virtio_queue_size(q, v);
		break;
	case 0x1a:
		q->vector = virtio_pci_vector(vp, val);
		break;
	case 0x1c:
		if (val == 1)
			virtio_queue_enable(q);
		break;
	case 0x20:
	case 0x24:
		virtio_queue_area(q, VIRTQ_DESC, off & 4, v);
		break;
	case 0x28:
	case 0x2c:
		virtio_queue_area(q, VIRTQ_DRIVER, off & 4, v);
		break;
	case 0x30:
	case 0x34:
		virtio_queue_area(q, VIRTQ_DEVICE, off & 4, v);
		break;
	case 0x3a:
		if (val == 1 && virtio_has(vp->v, VIRTIO_F_RING_RESET))
			virtio_queue_reset(q);
		break;
	}
}

static void common_write(struct virtio_pci *vp, uint64_t off, uint64_t val)
{
	struct virtq *q = virtio_queue(vp->v, vp->queue_sel);

	switch (off) {
	case 0x00:
		vp->device_sel = (uint32_t)val;
		break;
	case 0x08:
		vp->driver_sel = (uint32_t)val;
		break;
	case 0x0c:
		virtio_accept_features(vp->v, vp->driver_sel, (uint32_t)val);
		break;
	case 0x10:
		vp->config_vector = virtio_pci_vector(vp, val);
		break;
	case 0x14:
		virtio_set_status(vp->v, (uint8_t)val);
		break;
	case 0x16:
		vp->queue_sel = (uint16_t)val;
		break;
	default:
		if (q)
			queue_write(vp, q, off, val);
	}
}

static uint64_t modern_read(void *opaque, uint64_t off, unsigned size)
{
	struct virtio_pci *vp = opaque;

	if (off < COMMON + PART)
		return common_read(vp, off - COMMON) & mask_size(size);
	if (off < ISR + PART)
		return off == ISR ? virtio_pci_isr(vp) : 0;
	if (off < DEVICE + PART)
		return virtio_config_read(vp->v, off - DEVICE, size);
	return 0;
}

static void modern_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct virtio_pci *vp = opaque;

	if (likely(off >= NOTIFY))
		virtio_queue_kick(vp->v, (uint32_t)((off - NOTIFY) / vp->notify_mult));
	else if (off < COMMON + PART)
		common_write(vp, off - COMMON, val);
	else if (off >= DEVICE)
		virtio_config_write(vp->v, off - DEVICE, val, size);
}

static const struct io_ops modern_ops = {
	.read = modern_read,
	.write = modern_write,
	.min = 1,
	.max = 4,
};

static unsigned add_cap(struct virtio_pci *vp, uint8_t type, uint8_t len, uint32_t off,
			uint32_t length)
{
	uint8_t *config = vp->pci.config;
	unsigned at = pci_dev_cap(&vp->pci, PCI_CAP_VENDOR, 0, len);

	config[at + CAP_LEN] = len;
	config[at + CAP_TYPE] = type;
	config[at + CAP_BAR] = type == CFG_PCI ? 0 : MODERN_BAR;
	put_le32(config + at + CAP_OFFSET, off);
	put_le32(config + at + CAP_LENGTH, length);
	return at;
}

static void add_caps(struct virtio_pci *vp, uint32_t notify_len)
{
	uint8_t *wmask = vp->pci.wmask;
	unsigned at;

	add_cap(vp, CFG_COMMON, CAP_MORE, COMMON, COMMON_LEN);
	add_cap(vp, CFG_ISR, CAP_MORE, ISR, 1);
	add_cap(vp, CFG_DEVICE, CAP_MORE, DEVICE, PART);
	at = add_cap(vp, CFG_NOTIFY, CAP_MORE + 4, NOTIFY, notify_len);
	put_le32(vp->pci.config + at + CAP_MORE, vp->notify_mult);
	at = add_cap(vp, CFG_PCI, CAP_MORE + 4, 0, 0);
	wmask[at + CAP_BAR] = 0xff;
	put_le32(wmask + at + CAP_OFFSET, UINT32_MAX);
	put_le32(wmask + at + CAP_LENGTH, UINT32_MAX);
	put_le32(wmask + at + CAP_MORE, UINT32_MAX);
	vp->cfg_cap = (uint8_t)at;
}

void virtio_pci_modern_init(struct virtio_pci *vp, bool page_per_vq)
{
	uint64_t size = 4 * PART;

	vp->notify_mult = page_per_vq ? PART : 4;
	while (size < NOTIFY + (uint64_t)vp->notify_mult * vp->v->n_queues)
		size *= 2;
	vp->mem = (struct io_region){
		.name = vp->v->ops->name,
		.ops = &modern_ops,
		.opaque = vp,
		.lock = vp->v->env->lock,
		.size = size,
	};
	pci_dev_bar(&vp->pci, MODERN_BAR, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, &vp->mem);
	add_caps(vp, (uint32_t)(vp->notify_mult * max_u64(vp->v->n_queues, PART / 4)));
}

/* window - where the window points: false, or *off with 1, 2 or 4 bytes of BAR 4. */
static bool window(const struct virtio_pci *vp, uint32_t *off, unsigned *size)
{
	const uint8_t *cap = vp->pci.config + vp->cfg_cap;

	*off = get_le32(cap + CAP_OFFSET);
	*size = get_le32(cap + CAP_LENGTH);
	return cap[CAP_BAR] == MODERN_BAR && (*size == 1 || *size == 2 || *size == 4) &&
	       !(*off & (*size - 1)) && range_fits(*off, *size, vp->mem.size);
}

static bool touches_data(const struct virtio_pci *vp, unsigned off, unsigned size)
{
	unsigned data = vp->cfg_cap + CAP_MORE;

	return vp->cfg_cap && off < data + 4 && data < off + size;
}

/* Both run with the region's lock held. */
void virtio_pci_cfg_reading(struct pci_dev *d, unsigned off, unsigned size)
{
	struct virtio_pci *vp = container_of(d, struct virtio_pci, pci);
	uint32_t at;
	unsigned n;

	if (touches_data(vp, off, size) && window(vp, &at, &n))
		put_le32(d->config + vp->cfg_cap + CAP_MORE, (uint32_t)modern_read(vp, at, n));
}

void virtio_pci_cfg_written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct virtio_pci *vp = container_of(d, struct virtio_pci, pci);
	uint32_t at;
	unsigned n;

	if (touches_data(vp, off, size) && window(vp, &at, &n))
		modern_write(vp, at, get_le32(d->config + vp->cfg_cap + CAP_MORE) & mask_size(n),
			     n);
}
