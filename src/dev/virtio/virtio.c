/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device apart from its rings, its transport and its type: status, features, configuration
 * space, set-up of queues, reset, saved state (virtio 1.2 2.1-2.6, 3.1).
 *
 * The driver sets bits of status in turn; none goes away but by reset.  Features become final with
 * FEATURES_OK, which is refused when they are not a set that was offered, or lack VERSION_1.  A
 * legacy driver (one that found the device by legacy registers) has no FEATURES_OK: what it writes
 * holds at once, and it may use queues before DRIVER_OK (3.1.2), so its first kick counts as that.
 *
 * A device that was broken by its driver says NEEDS_RESET, ignores kicks, and lets what is in
 * flight end without a trace in the rings.
 *
 * Saving: the machine stops its vCPUs and calls quiesce; the type completes what is in flight or
 * hands it back (virtq_unpop), so places in the rings are all there is to save, but for types that
 * asked for more (virtio_save_in_flight).  A timer on guest
 * time, which stands still until the machine goes on, then kicks every queue, here or where the
 * state was loaded.
 */
#include "dev/virtio/transport.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* Any driver's, transport's and ring's bits; the rest is the types' (6). */
#define TRANSPORT_FEATURES bits_set(0, 49, 24, ~UINT64_C(0))

const struct dev_prop virtio_props[] = {
	{"indirect_desc", "offer indirect descriptors", "on", PROP_BOOL},
	{"event_idx", "offer the event index", "on", PROP_BOOL},
	{"packed", "offer packed rings", "off", PROP_BOOL},
	{"any_layout", "offer any layout of buffers to legacy drivers", "on", PROP_BOOL},
	{"notify_on_empty", "offer notify-on-empty to legacy drivers", "on", PROP_BOOL},
	{"iommu_platform", "say that the device may be behind an IOMMU", "off", PROP_BOOL},
	{"queue_reset", "offer reset of single queues", "on", PROP_BOOL},
	{"ioeventfd", "accepted for compatibility: kicks are handled at once", "on", PROP_BOOL},
	{0},
};

int virtio_props_features(const struct dev_opts *o, bool legacy, bool modern, uint64_t *out,
			  struct err **e)
{
	static const struct {
		const char *prop;
		uint64_t bit;
		bool legacy, modern;
	} bits[] = {
		{"indirect_desc", VIRTIO_F_INDIRECT_DESC, true, true},
		{"event_idx", VIRTIO_F_EVENT_IDX, true, true},
		{"packed", VIRTIO_F_RING_PACKED, false, true},
		{"any_layout", VIRTIO_F_ANY_LAYOUT, true, false},
		{"notify_on_empty", VIRTIO_F_NOTIFY_ON_EMPTY, true, false},
		{"iommu_platform", VIRTIO_F_ACCESS_PLATFORM, false, true},
		{"queue_reset", VIRTIO_F_RING_RESET, false, true},
	};

	*out = modern ? VIRTIO_F_VERSION_1 : 0;
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		if (dev_opt_num(o, bits[i].prop) &&
		    ((legacy && bits[i].legacy) || (modern && bits[i].modern)))
			*out |= bits[i].bit;
	if (!modern && (dev_opt_num(o, "packed") || dev_opt_num(o, "iommu_platform")))
		return err_set(e, EINVAL, "packed and iommu_platform need a modern device");
	return 0;
}

void virtio_attach(struct virtio_dev *v, uint64_t features, const struct virtio_transport_ops *ops,
		   void *opaque)
{
	v->offered = (v->ops->features(v) & ~TRANSPORT_FEATURES) | features;
	v->transport = ops;
	v->transport_opaque = opaque;
}

static void kick_all(void *opaque)
{
	struct virtio_dev *v = opaque;

	for (unsigned i = 0; i < v->n_queues && v->ops->kick; i++)
		if (virtq_ready(&v->queues[i]))
			v->ops->kick(v, i);
}

void virtio_kick_later(struct virtio_dev *v)
{
	if (v->driver_ok)
		timer_arm(v->resume, vclock_now(v->env->clock) + 1);
}

static int saved_post_load(void *obj, struct err **e)
{
	struct virtio_dev *v = obj;

	if ((v->features | v->driver_features) & ~v->offered)
		return err_set(e, EINVAL, "%s: features that this device does not have",
			       v->ops->name);
	if (v->driver_ok && v->ops->features_set && !v->ops->features_set(v))
		return err_set(e, EINVAL, "%s: features that do not go together", v->ops->name);
	timer_cancel(v->resume);
	virtio_kick_later(v);
	return 0;
}

static void saved_init(struct virtio_dev *v)
{
	const struct state_field fields[] = {
		STATE_FIELD(struct virtio_dev, features, STATE_U64),
		STATE_FIELD(struct virtio_dev, driver_features, STATE_U64),
		STATE_FIELD(struct virtio_dev, status, STATE_U8),
		STATE_FIELD(struct virtio_dev, isr, STATE_U8),
		STATE_FIELD(struct virtio_dev, generation, STATE_U32),
		STATE_FIELD(struct virtio_dev, driver_ok, STATE_BOOL),
		STATE_FIELD(struct virtio_dev, broken, STATE_BOOL),
		{.name = "queues",
		 .offset = offsetof(struct virtio_dev, queues),
		 .kind = STATE_STRUCT,
		 .stride = sizeof(struct virtq),
		 .sub = &virtq_state,
		 .pointer = true,
		 .count_at = offsetof(struct virtio_dev, n_queues)},
		{.name = v->ops->state ? "type" : NULL,
		 .kind = STATE_STRUCT,
		 .count = 1,
		 .sub = v->ops->state},
		STATE_END,
	};

	_Static_assert(sizeof(fields) <= sizeof(v->saved_fields), "room for the table");
	memcpy(v->saved_fields, fields, sizeof(fields));
	v->saved = (struct state_desc){
		.name = v->ops->name,
		.version = 1,
		.fields = v->saved_fields,
		.post_load = saved_post_load,
	};
}

void virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, struct dev_env *env,
		 const char *id, unsigned n_queues, unsigned queue_size, uint32_t config_len)
{
	bug_on(!n_queues || n_queues > VIRTIO_QUEUES_MAX);
	v->ops = ops;
	v->env = env;
	v->id = id;
	v->config_len = config_len;
	v->n_queues = n_queues;
	v->queues = xcalloc(n_queues, sizeof(*v->queues));
	for (unsigned i = 0; i < n_queues; i++) {
		v->queues[i].v = v;
		v->queues[i].index = (uint16_t)i;
		virtio_queue_max(v, i, queue_size);
	}
	v->chain = xzalloc(sizeof(*v->chain));
	v->resume = timer_new(env->loop, env->clock, env->lock, kick_all, v);
	saved_init(v);
}

void virtio_queue_max(struct virtio_dev *v, unsigned q, unsigned queue_size)
{
	bug_on(q >= v->n_queues || !is_pow2(queue_size) || queue_size > VIRTQ_SIZE_MAX);
	v->queues[q].max = (uint16_t)queue_size;
	virtq_reset(&v->queues[q]);
}

void virtio_save_in_flight(struct virtio_dev *v)
{
	for (unsigned i = 0; i < v->n_queues; i++) {
		struct virtq *q = &v->queues[i];

		q->kept_max = q->max;
		q->saved = xcalloc(q->max, sizeof(*q->saved));
		q->kept = xcalloc(q->max, sizeof(*q->kept));
	}
}

void virtio_fini(struct virtio_dev *v)
{
	for (unsigned i = 0; i < v->n_queues; i++) {
		free(v->queues[i].saved);
		free(v->queues[i].kept);
	}
	timer_destroy(v->resume);
	free(v->chain);
	free(v->queues);
}

struct virtq *virtio_queue(struct virtio_dev *v, unsigned n)
{
	return n < v->n_queues ? &v->queues[n] : NULL;
}

void virtio_error(struct virtio_dev *v, const char *fmt, ...)
{
	if (log_on(v->env->log, LOG_GUEST_ERRORS)) {
		char text[200];
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		log_printf(v->env->log, "%s%s%s: %s\n", v->ops->name, *v->id ? " " : "", v->id,
			   text);
	}
	if (v->broken)
		return;
	v->broken = true;
	if (!virtio_has(v, VIRTIO_F_VERSION_1))
		return;
	v->status |= VIRTIO_STATUS_NEEDS_RESET;
	virtio_config_changed(v);
}

void virtio_config_changed(struct virtio_dev *v)
{
	v->generation++;
	if (v->driver_ok)
		v->transport->notify_config(v);
}

void virtio_reset(struct virtio_dev *v)
{
	if (v->ops->stop)
		v->ops->stop(v, -1);
	v->features = v->driver_features = 0;
	v->status = v->isr = 0;
	v->broken = v->driver_ok = false;
	for (unsigned i = 0; i < v->n_queues; i++)
		virtq_reset(&v->queues[i]);
	timer_cancel(v->resume);
	v->transport->reset(v);
	if (v->ops->reset)
		v->ops->reset(v);
}

static bool features_good(struct virtio_dev *v)
{
	if ((v->driver_features & ~v->offered) || !(v->driver_features & VIRTIO_F_VERSION_1))
		return false;
	v->features = v->driver_features;
	if (!v->ops->features_set || v->ops->features_set(v))
		return true;
	v->features = 0;
	return false;
}

/* start - DRIVER_OK, or a legacy driver's first kick. */
static void start(struct virtio_dev *v)
{
	bool legacy = !(v->status & VIRTIO_STATUS_FEATURES_OK);

	if (v->driver_ok || v->broken)
		return;
	if (legacy && v->ops->features_set && !v->ops->features_set(v)) {
		virtio_error(v, "features 0x%llx do not go together",
			     (unsigned long long)v->features);
		return;
	}
	v->driver_ok = true;
	if (v->ops->started)
		v->ops->started(v);
	kick_all(v); /* for what was added before */
}

void virtio_set_status(struct virtio_dev *v, uint8_t status)
{
	uint8_t set = status & (uint8_t) ~(v->status | VIRTIO_STATUS_NEEDS_RESET);

	if (!status) {
		virtio_reset(v);
		return;
	}
	if ((set & VIRTIO_STATUS_FEATURES_OK) && !features_good(v))
		set &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	v->status |= set;
	if (!(set & VIRTIO_STATUS_DRIVER_OK))
		return;
	/* A driver of a modern device that did not ask for features got none. */
	if ((v->offered & VIRTIO_F_VERSION_1) && !(v->status & VIRTIO_STATUS_FEATURES_OK) &&
	    v->driver_features)
		v->status |= VIRTIO_STATUS_NEEDS_RESET;
	else
		start(v);
}

uint32_t virtio_features_offered(const struct virtio_dev *v, uint32_t sel)
{
	return sel < 2 ? (uint32_t)(v->offered >> 32 * sel) : 0;
}

uint32_t virtio_features_accepted(const struct virtio_dev *v, uint32_t sel)
{
	return sel < 2 ? (uint32_t)(v->driver_features >> 32 * sel) : 0;
}

void virtio_accept_features(struct virtio_dev *v, uint32_t sel, uint32_t bits)
{
	if (sel < 2 && !(v->status & VIRTIO_STATUS_FEATURES_OK))
		v->driver_features = bits_set(v->driver_features, 32 * sel + 31, 32 * sel, bits);
}

void virtio_accept_legacy(struct virtio_dev *v, uint32_t bits)
{
	if (!(v->status & VIRTIO_STATUS_FEATURES_OK) && !v->driver_ok)
		v->features = bits & v->offered & UINT32_MAX;
}

/* Accesses of 1, 2, 4 or 8 bytes at any offset; bytes past the end read zero. */
uint64_t virtio_config_read(struct virtio_dev *v, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	if (off < v->config_len && v->ops->config_read)
		v->ops->config_read(v, (uint32_t)off, &val,
				    (uint32_t)min_u64(size, v->config_len - off));
	return val;
}

void virtio_config_write(struct virtio_dev *v, uint64_t off, uint64_t val, unsigned size)
{
	if (range_fits(off, size, v->config_len) && v->ops->config_write)
		v->ops->config_write(v, (uint32_t)off, &val, size);
}

void virtio_queue_size(struct virtq *q, uint32_t size)
{
	bool packed = virtio_has(q->v, VIRTIO_F_RING_PACKED);

	if (!q->enabled && size && size <= q->max && (packed || is_pow2(size)))
		q->size = (uint16_t)size;
}

static uint64_t *area(struct virtq *q, enum virtq_area_kind kind)
{
	return kind == VIRTQ_DESC ? &q->desc : kind == VIRTQ_DRIVER ? &q->avail : &q->used;
}

void virtio_queue_area(struct virtq *q, enum virtq_area_kind kind, bool high, uint32_t half)
{
	uint64_t *a = area(q, kind);

	if (!q->enabled)
		*a = high ? bits_set(*a, 63, 32, half) : bits_set(*a, 31, 0, half);
}

uint64_t virtio_queue_area_get(const struct virtq *q, enum virtq_area_kind kind)
{
	return *area((struct virtq *)q, kind);
}

void virtio_queue_enable(struct virtq *q)
{
	if (q->v->status & VIRTIO_STATUS_FEATURES_OK)
		q->enabled = true;
}

void virtio_queue_reset(struct virtq *q)
{
	uint16_t vector = q->vector;

	if (q->v->ops->stop)
		q->v->ops->stop(q->v, q->index);
	virtq_reset(q);
	q->vector = vector;
}

void virtio_queue_legacy(struct virtq *q, uint32_t pfn, uint32_t page, uint32_t align)
{
	uint64_t base = (uint64_t)pfn * page;

	if (!pfn) {
		virtio_queue_reset(q);
		return;
	}
	if (q->enabled)
		return;
	q->legacy_base = pfn;
	q->desc = base;
	q->avail = base + (uint64_t)q->size * VIRTQ_DESC_SIZE;
	q->used = align_up(q->avail + 4 + 2 * (uint64_t)q->size + 2, align);
	q->enabled = true;
}

void virtio_queue_kick(struct virtio_dev *v, uint32_t q)
{
	if (unlikely(q >= v->n_queues || !v->queues[q].enabled))
		return;
	if (unlikely(!v->driver_ok)) {
		if (v->status & VIRTIO_STATUS_FEATURES_OK)
			return;
		start(v);
	}
	if (likely(virtq_ready(&v->queues[q])) && v->ops->kick)
		v->ops->kick(v, q);
}

void virtio_quiesce(struct virtio_dev *v)
{
	if (v->ops->quiesce)
		v->ops->quiesce(v);
	for (unsigned i = 0; i < v->n_queues; i++)
		bug_on(v->queues[i].inflight && !v->queues[i].kept_max);
	virtio_kick_later(v);
}

bool virtio_vectors_ok(const struct virtio_dev *v, unsigned n)
{
	for (unsigned i = 0; i < v->n_queues; i++)
		if (v->queues[i].vector >= n && v->queues[i].vector != VIRTQ_NO_VECTOR)
			return false;
	return true;
}
