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
#include "dev/class.h"
#include "dev/pci/pci.h"
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
#define VIRTIO_F_ACCESS_PLATFORM BIT(33)
#define VIRTIO_F_RING_PACKED BIT(34)
#define VIRTIO_F_RING_RESET BIT(40)

/* Device IDs of section 5. */
enum {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_ENTROPY = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_9P = 9
};

/* A chain of buffers taken from a queue; freed by virtq_push or virtq_drop. */
struct virtq_elem {
	struct virtq *q;
	struct iovec *out, *in; /* device reads `out`, writes `in`: host addresses of guest RAM */
	unsigned n_out, n_in; /* together at most VIRTQ_SIZE_MAX */
	uint64_t out_len, in_len; /* bytes in all; together at most 4 GiB */
	/* Bytes of `in` that may have been written when they are more than virtq_push is told (a
	 * read that failed half way): the device's to set; dropped chains count as written. */
	uint64_t touched;
	/* virtq.c's: head or ID; descriptors in the ring; their copies, if they may be saved and
	 * not read again; entries of the loaded state that it comes from, or 0. */
	uint16_t head, n_desc, kept;
	const void *desc;
};

struct virtio_ops {
	const char *name; /* "virtio-blk" */
	uint16_t id; /* VIRTIO_ID_* */
	uint64_t (*features)(struct virtio_dev *v); /* device-specific bits offered (0..23, 50..) */
	/* Configuration space of section 5.x.4; [off, off+len) is inside config_len.  Either may be
	 * NULL: zeroes, and writes are ignored. */
	void (*config_read)(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len);
	void (*config_write)(struct virtio_dev *v, uint32_t off, const void *buf, uint32_t len);
	/* FEATURES_OK was set; v->features is final.  false: refuse. NULL: fine.  Also when state
	 * with a running driver was loaded, after the type's own post_load (started is not called
	 * then). */
	bool (*features_set)(struct virtio_dev *v);
	void (*started)(struct virtio_dev *v); /* DRIVER_OK; NULL: nothing to do */
	void (*kick)(struct virtio_dev *v, unsigned q);
	/* Give up every element in flight: nothing touches guest memory after it (device reset, or
	 * queue reset when q >= 0). */
	void (*stop)(struct virtio_dev *v, int q);
	/* After stop(-1), in a device reset: the type's own fields as at power-on.  NULL: none. */
	void (*reset)(struct virtio_dev *v);
	/* Before state is saved: complete every element in flight, or hand it back with
	 * virtq_unpop, newest first.  All queues are kicked when guest time goes on.  NULL: the
	 * type holds no elements between its callbacks. */
	void (*quiesce)(struct virtio_dev *v);
	void (*unrealize)(struct virtio_dev *v); /* after stop(-1): virtio_fini, and free it */
	const struct state_desc *state; /* the type's own fields; NULL: none */
};

struct virtio_transport_ops {
	void (*notify_queue)(struct virtio_dev *v, struct virtq *q); /* used buffers */
	void (*notify_config)(struct virtio_dev *v);
	void (*reset)(struct virtio_dev *v); /* interrupts off, vectors forgotten */
	bool (*dma)(struct virtio_dev *v); /* may memory be used now?  NULL: always */
};

/* A type's structure begins with this.  What is not commented is virtio.c's. */
struct virtio_dev {
	const struct virtio_ops *ops;
	struct dev_env *env;
	const char *id; /* of -device, "" when there is none */
	uint64_t features; /* negotiated */
	uint32_t config_len;
	unsigned n_queues;
	struct virtq *queues; /* n_queues */
	bool broken, driver_ok;
	const struct virtio_transport_ops *transport;
	void *transport_opaque;

	uint64_t offered; /* features that the driver may take */
	uint64_t driver_features; /* what it has written so far */
	uint8_t status;
	uint8_t isr; /* ISR status register of both transports: 1 queue, 2 configuration */
	uint32_t generation; /* of the configuration space */
	struct virtq_chain *chain; /* what virtq_pop gathers, too large for the stacks of vCPUs */
	struct timer *resume; /* kicks all queues when guest time goes on */
	struct state_desc
		saved; /* everything above and below the type; for the transport's table */
	struct state_field saved_fields[11];
};

/*
 * Making a type.  create makes the structure with virtio_init (or fails with *e, leaving nothing
 * behind); the transport does the rest.  VIRTIO_CLASSES makes the four classes to register in
 * classes.def: x_pci, x_pci_transitional, x_pci_modern, x_mmio, with a check function or NULL.
 */
struct virtio_type {
	const char *name; /* "virtio-blk" */
	uint16_t id; /* VIRTIO_ID_* */
	/* What firmware calls it when it has a property bootindex: "scsi", "/disk@0,0".  NULL:
	 * nothing to boot from. */
	const char *boot_name, *boot_unit;
	unsigned vectors; /* of MSI-X by default; 0: one for each queue and for the configuration */
	int (*create)(const struct dev_place *p, const struct dev_opts *o, struct virtio_dev **out,
		      struct err **e);
};

enum virtio_flavour { VIRTIO_PCI_ANY, VIRTIO_PCI_TRANSITIONAL, VIRTIO_PCI_MODERN };
extern const struct dev_prop virtio_props[]; /* of every virtio device */
extern const struct dev_prop virtio_pci_props[]; /* of those on PCI */
int virtio_pci_plug(const struct virtio_type *t, enum virtio_flavour f, const struct dev_place *p,
		    const struct dev_opts *o, struct err **e);
int virtio_mmio_plug(const struct virtio_type *t, const struct dev_place *p,
		     const struct dev_opts *o, struct err **e);

/* clang-format off */
#define VIRTIO_CLASS_(x, name_, help_, cat_, bus_, plug_, props_, check_, ...)                     \
	static int x##_plug(const struct dev_place *p, const struct dev_opts *o, struct err **e)   \
	{                                                                                          \
		return plug_;                                                                      \
	}                                                                                          \
	const struct dev_class x##_class = {                                                       \
		.name = name_, .help = help_, .bus = bus_, .category = cat_, .props = props_,      \
		.props_more = { __VA_ARGS__ }, .check = check_, .create = x##_plug }

#define VIRTIO_PCI_CLASS_(x, name, help, cat, type, flavour, props, check)                         \
	VIRTIO_CLASS_(x, name, help, cat, BUS_PCI, virtio_pci_plug(&(type), flavour, p, o, e),     \
		      props, check, virtio_props, virtio_pci_props, pci_props)

#define VIRTIO_CLASSES(x, name, help, cat, type, props, check)                                     \
	VIRTIO_PCI_CLASS_(x##_pci, name "-pci", help, cat, type, VIRTIO_PCI_ANY, props, check);    \
	VIRTIO_PCI_CLASS_(x##_pci_transitional, name "-pci-transitional", help, cat, type,         \
			  VIRTIO_PCI_TRANSITIONAL, props, check);                                  \
	VIRTIO_PCI_CLASS_(x##_pci_modern, name "-pci-non-transitional", help, cat, type,           \
			  VIRTIO_PCI_MODERN, props, check);                                        \
	VIRTIO_CLASS_(x##_mmio, name "-device", help, cat, BUS_VIRTIO_MMIO,                        \
		      virtio_mmio_plug(&(type), p, o, e), props, check, virtio_props)
/* clang-format on */

extern const struct virtio_type virtio_blk_type, virtio_rng_type, virtio_balloon_type,
	virtio_serial_type;

/* virtio_init - n_queues (1..VIRTIO_QUEUES_MAX) of queue_size descriptors each (a power of two up
 * to VIRTQ_SIZE_MAX; virtio_queue_max changes one); id must live as long as v.  v is zeroed before.
 */
void virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, struct dev_env *env,
		 const char *id, unsigned n_queues, unsigned queue_size, uint32_t config_len);
void virtio_queue_max(struct virtio_dev *v, unsigned q, unsigned queue_size);
void virtio_fini(struct virtio_dev *v);

static inline bool virtio_has(const struct virtio_dev *v, uint64_t bits)
{
	return (v->features & bits) == bits;
}

/*
 * virtq_pop - the next chain that the driver offers, or NULL: none (or the device is broken).
 * Whoever has got NULL, or true from virtq_empty, is kicked when there is more; one who stops
 * earlier may not be.
 */
struct virtq_elem *virtq_pop(struct virtq *q);
/* virtq_push - give it back; len: bytes written to `in`.  The interrupt follows with virtq_notify.
 */
void virtq_push(struct virtq_elem *el, uint32_t len);
/* virtq_push_many - n (>= 1) chains of one queue that the driver shall see all at once (a packet in
 * merged buffers). */
void virtq_push_many(struct virtq_elem **el, const uint32_t *len, unsigned n);
/* virtq_unpop - the chain last popped was not used; virtq_drop: forget it (after reset). */
void virtq_unpop(struct virtq_elem *el);
void virtq_drop(struct virtq_elem *el);
/*
 * A type that may not be able to end or hand back what is in flight before it is saved (a disk
 * whose requests wait for an error to be repaired) says so with virtio_save_in_flight when it is
 * made, and calls virtq_save for each of them in its pre_save.  Where the state is loaded they are
 * popped again, before others.  All with env->lock held.
 *
 * virtq_same: two chains in flight of the same queue with the same head or buffer ID
 * (2.7.13.3, 2.8.6: the driver's fault).  A state with both would be refused: one has to end
 * before.
 */
void virtio_save_in_flight(struct virtio_dev *v);
bool virtq_same(const struct virtq_elem *a, const struct virtq_elem *b);
void virtq_save(const struct virtq_elem *el);
/* virtq_notify - interrupt the driver if it wants that. */
void virtq_notify(struct virtq *q);
bool virtq_ready(const struct virtq *q); /* set up, and the device is neither stopped nor broken */
bool virtq_empty(struct virtq *q);
/* virtq_written - bytes of guest RAM at host address p were written outside of virtq_push. */
void virtq_written(struct virtq *q, const void *p, uint64_t len);
struct virtq *virtio_queue(struct virtio_dev *v, unsigned n);
/* virtio_kick_later - all queues, from the loop, when guest time goes on: for a type that has
 * served its share of a queue for now. */
void virtio_kick_later(struct virtio_dev *v);
unsigned virtq_index(const struct virtq *q);

/* Copy between a list of buffers and memory: bytes copied. */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len);

/* virtio_error - the driver broke the rules: DEVICE_NEEDS_RESET, one line in the log. */
void virtio_error(struct virtio_dev *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void virtio_config_changed(struct virtio_dev *v);
