/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * virtio 1.2: what a device type (blk, net, ...) sees.  A transport (PCI, MMIO) owns registers and
 * interrupts, virtq.c the rings; a device type implements struct virtio_ops and gets chains of
 * buffers.  Everything runs with env->lock held.
 *
 * The driver is hostile.  Descriptors are copied once and checked (loops, lengths, indirect tables,
 * direction); buffers are host pointers to guest RAM only: whatever points at anything else breaks
 * the device (DEVICE_NEEDS_RESET), which then gives no more chains until it is reset.
 */
#include "dev/dev.h"
#include <sys/uio.h>

struct virtio_dev;
struct virtq;

#define VIRTQ_SIZE_MAX 1024
#define VIRTIO_QUEUES_MAX 64

/* Feature bits of section 6. */
#define VIRTIO_F_NOTIFY_ON_EMPTY BIT(24)
#define VIRTIO_F_ANY_LAYOUT BIT(27)
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)
#define VIRTIO_F_RING_PACKED BIT(34)
#define VIRTIO_F_RING_RESET BIT(40)

/* Device IDs of section 5. */
enum { VIRTIO_ID_NET = 1, VIRTIO_ID_BLOCK = 2, VIRTIO_ID_CONSOLE = 3, VIRTIO_ID_ENTROPY = 4,
       VIRTIO_ID_BALLOON = 5, VIRTIO_ID_9P = 9 };

/* A chain of buffers taken from a queue; freed by virtq_push or virtq_drop. */
struct virtq_elem {
	struct virtq *q;
	struct iovec *out, *in; /* device reads `out`, writes `in`: host addresses of guest RAM */
	unsigned n_out, n_in;
	uint64_t out_len, in_len; /* bytes in all */
	uint16_t head, n_desc;	  /* virtq.c's */
};

struct virtio_ops {
	const char *name; /* "virtio-blk" */
	uint16_t id;	  /* VIRTIO_ID_* */
	uint64_t (*features)(struct virtio_dev *v); /* device-specific bits offered (0..23, 50..) */
	/* Configuration space of section 5.x.4; [off, off+len) is inside config_len. */
	void (*config_read)(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len);
	void (*config_write)(struct virtio_dev *v, uint32_t off, const void *buf, uint32_t len);
	/* FEATURES_OK was set; v->features is final.  false: refuse. NULL: fine. */
	bool (*features_set)(struct virtio_dev *v);
	void (*started)(struct virtio_dev *v); /* DRIVER_OK; NULL: nothing to do */
	void (*kick)(struct virtio_dev *v, unsigned q);
	/* Give up every element in flight: nothing touches guest memory after it (device reset, or
	 * queue reset when q >= 0). */
	void (*stop)(struct virtio_dev *v, int q);
	void (*unrealize)(struct virtio_dev *v); /* free it */
	const struct state_desc *state;	 /* the type's own fields */
};

struct virtio_dev {
	const struct virtio_ops *ops;
	struct dev_env *env;
	const char *id;
	uint64_t features; /* negotiated */
	uint32_t config_len;
	unsigned n_queues;
	struct virtq *queues; /* n_queues */
	bool broken, driver_ok;
	/* transport: to be filled in by virtio.c / virtio_pci.c / virtio_mmio.c */
	const struct virtio_transport_ops *transport;
	void *transport_opaque;
};

static inline bool virtio_has(const struct virtio_dev *v, uint64_t bits)
{
	return (v->features & bits) == bits;
}

/* virtq_pop - the next chain that the driver offers, or NULL: none (or the device is broken). */
struct virtq_elem *virtq_pop(struct virtq *q);
/* virtq_push - give it back; len: bytes written to `in`.  The interrupt follows with virtq_notify. */
void virtq_push(struct virtq_elem *el, uint32_t len);
/* virtq_unpop - the chain last popped was not used; virtq_drop: forget it (after reset). */
void virtq_unpop(struct virtq_elem *el);
void virtq_drop(struct virtq_elem *el);
/* virtq_notify - interrupt the driver if it wants that. */
void virtq_notify(struct virtq *q);
bool virtq_ready(const struct virtq *q);
bool virtq_empty(struct virtq *q);
struct virtq *virtio_queue(struct virtio_dev *v, unsigned n);
unsigned virtq_index(const struct virtq *q);

/* Copy between a list of buffers and memory: bytes copied. */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len);

/* virtio_error - the driver broke the rules: DEVICE_NEEDS_RESET, one line in the log. */
void virtio_error(struct virtio_dev *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void virtio_config_changed(struct virtio_dev *v);
