/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Shared folders (virtio-9p): the type behind the classes of that name. */
struct dev_class;
struct virtio_type;

extern const struct virtio_type virtio_9p_type;
extern const struct dev_class virtio_9p_pci_class;
