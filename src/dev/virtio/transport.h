/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between virtio.c and the transports: what a driver does to a device through registers. Everything
 * is checked here, so a transport hands on what the driver wrote.  env->lock held. */
#include "dev/virtio/virtq_int.h"

/* Status bits (2.1). */
#define VIRTIO_STATUS_DRIVER_OK 4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64

#define VIRTIO_ISR_QUEUE 1
#define VIRTIO_ISR_CONFIG 2

/* virtio_props_features - the transport's and ring's features by the common properties.  legacy: a
 * driver that knows no VERSION_1 is served; modern: one that does. */
int virtio_props_features(const struct dev_opts *o, bool legacy, bool modern, uint64_t *out,
			  struct err **e);
/* virtio_attach - a transport takes the device; features: those bits. */
void virtio_attach(struct virtio_dev *v, uint64_t features, const struct virtio_transport_ops *ops,
		   void *opaque);

void virtio_reset(struct virtio_dev *v);
/* virtio_set_status - 0 resets.  The result is read from v->status. */
void virtio_set_status(struct virtio_dev *v, uint8_t status);
/* virtio_features - 32 of those offered, or accepted; sel: 0, 1; others: none. */
uint32_t virtio_features_offered(const struct virtio_dev *v, uint32_t sel);
uint32_t virtio_features_accepted(const struct virtio_dev *v, uint32_t sel);
void virtio_accept_features(struct virtio_dev *v, uint32_t sel, uint32_t bits);
/* virtio_accept_legacy - the one feature register of a driver that has no FEATURES_OK. */
void virtio_accept_legacy(struct virtio_dev *v, uint32_t bits);
uint64_t virtio_config_read(struct virtio_dev *v, uint64_t off, unsigned size);
void virtio_config_write(struct virtio_dev *v, uint64_t off, uint64_t val, unsigned size);

/* What is written while the queue is enabled, or of impossible value, has no effect. */
void virtio_queue_size(struct virtq *q, uint32_t size);
enum virtq_area_kind { VIRTQ_DESC, VIRTQ_DRIVER, VIRTQ_DEVICE };
void virtio_queue_area(struct virtq *q, enum virtq_area_kind kind, bool high, uint32_t half);
uint64_t virtio_queue_area_get(const struct virtq *q, enum virtq_area_kind kind);
void virtio_queue_enable(struct virtq *q);
/* virtio_queue_legacy - the ring's page number (0: off), of pages of `page` bytes, used ring at
 * `align`. */
void virtio_queue_legacy(struct virtq *q, uint32_t pfn, uint32_t page, uint32_t align);
/* virtio_queue_reset - give up what the queue holds (VIRTIO_F_RING_RESET); the vector stays. */
void virtio_queue_reset(struct virtq *q);
void virtio_queue_kick(struct virtio_dev *v, uint32_t q);

/* virtio_quiesce - for the transport's. */
void virtio_quiesce(struct virtio_dev *v);
/* virtio_vectors_ok - after loading: does each queue have one of n vectors, or none? */
bool virtio_vectors_ok(const struct virtio_dev *v, unsigned n);
