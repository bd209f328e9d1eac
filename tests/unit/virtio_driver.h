/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A small virtio driver for device tests: rings and buffers in the RAM of a test_env (dev_env.h is
 * to be included first), a transport that counts interrupts.  Nothing here protects the device from
 * a test that wants to break the rules: rings are at known addresses and can be written over.
 */
#include "dev/virtio/transport.h"

struct vbuf {
	uint64_t addr;
	uint32_t len;
};

struct vring {
	uint16_t n, size;
	bool packed, event_idx, indirect;
	bool use_indirect; /* vdrv_add makes tables */
	uint64_t desc, avail,
		used; /* packed: avail, used are the driver's and the device's event area */
	uint64_t tables; /* size of VDRV_TABLE bytes each */
	uint16_t idx, last_used; /* packed: places */
	bool wrap, used_wrap; /* packed */
	uint16_t free[VIRTQ_SIZE_MAX], n_free; /* packed: only the number */
	uint16_t taken[VIRTQ_SIZE_MAX]; /* descriptors of the chain with that head or ID */
	bool kick; /* did the device want to hear of what was added last? */
	unsigned interrupts;
};

#define VDRV_TABLE 1024 /* bytes of an indirect table */

struct vdrv {
	struct test_env *t;
	struct virtio_dev *v;
	uint64_t heap; /* next free guest address; from 1 MiB up */
	unsigned config_interrupts, resets;
	struct vring q[VIRTIO_QUEUES_MAX];
};

/* vdrv_opts - parsed and resolved properties of a class ("k=v,k=v"), for the create function of a
 * virtio_type; dev_opts_free when done. */
struct dev_opts *vdrv_opts(const struct dev_class *c, const char *props,
			   const struct dev_backends *b);

/* vdrv_open - take v and negotiate: its type's features and VERSION_1, as far as `features` has
 * them. vdrv_start: DRIVER_OK.  Locks are taken inside; vdrv_close resets and frees the driver,
 * then the device. */
struct vdrv *vdrv_open(struct test_env *t, struct virtio_dev *v, uint64_t features);
void vdrv_start(struct vdrv *d);
void vdrv_reset(struct vdrv *d);
void vdrv_close(struct vdrv *d);
#define VDRV_ALL (~UINT64_C(0) & ~VIRTIO_F_RING_PACKED)

/* vdrv_alloc - len zeroed bytes of guest RAM. */
uint64_t vdrv_alloc(struct vdrv *d, uint64_t len, uint64_t align);
void *vdrv_ptr(struct vdrv *d, uint64_t a);
/* vdrv_queue - make and enable queue n. */
struct vring *vdrv_queue(struct vdrv *d, unsigned n, unsigned size);
/* vdrv_add - a chain of n_out buffers that the device reads and n_in that it writes; its head or
 * ID, or -1: no room. vdrv_kick: tell the device, if it wants to know; vdrv_kick_always. */
int vdrv_add(struct vdrv *d, unsigned n, const struct vbuf *b, unsigned n_out, unsigned n_in);
void vdrv_kick(struct vdrv *d, unsigned n);
void vdrv_kick_always(struct vdrv *d, unsigned n);
/* vdrv_used - take a used chain; false: there is none. */
bool vdrv_used(struct vdrv *d, unsigned n, uint16_t *id, uint32_t *len);
/* vdrv_wait_used - run the loop until there is one, at most two seconds. */
void vdrv_wait_used(struct vdrv *d, unsigned n, uint16_t *id, uint32_t *len);
/* vdrv_ask - ask for an interrupt at the next used chain (EVENT_IDX); off: for none. */
void vdrv_ask(struct vdrv *d, unsigned n, bool on);
