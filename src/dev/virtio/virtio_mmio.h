/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Slots for virtio devices on memory-mapped registers (virtio 1.2 4.2): a board makes them, -device
 * NAME-device fills them (bus virtio-mmio-bus.N), the board tells the guest of those that are
 * filled.
 */
#include "dev/dev.h"

struct virtio_mmio_bus;

#define VIRTIO_MMIO_SIZE 0x200

/* virtio_mmio_bus_create - n (1..64) slots; slot i has its registers at base + i * VIRTIO_MMIO_SIZE
 * and the wire irq[i] (copied).  legacy: of version 1, else 2.  Owned by env, like a device. */
struct virtio_mmio_bus *virtio_mmio_bus_create(struct dev_env *env, unsigned n, uint64_t base,
					       const struct irq_line *irq, bool legacy);
/* virtio_mmio_used - has slot i a device? */
bool virtio_mmio_used(const struct virtio_mmio_bus *b, unsigned i);
