/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entropy device (virtio 1.2 5.4): fills the driver's buffers with random bytes of the host.
 *
 * max-bytes and period bound what a guest gets: the quota is filled up each `period` of guest time,
 * and when it is used up the driver's buffers wait in the ring.  What one buffer gets, and what one
 * kick serves, is bounded too, so that nobody waits for the machine's lock; the rest is served from
 * the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/err.h"
#include "dev/virtio/virtio.h"

#define QUEUE_SIZE 8
#define CHAIN_MAX (64 * KiB)
#define NS_PER_MS INT64_C(1000000)

struct virtio_rng {
	struct virtio_dev v; /* first */
	uint64_t max_bytes; /* in a period; INT64_MAX: no limit */
	int64_t period; /* ns */
	uint64_t quota; /* bytes left in this one */
	struct timer *timer; /* end of the period; armed while quota is not full */
};

static struct virtio_rng *of(struct virtio_dev *v)
{
	return (struct virtio_rng *)v;
}

static uint64_t rng_features(struct virtio_dev *v)
{
	return 0;
}

/* fill - up to max bytes; what was written. */
static uint32_t fill(struct virtq_elem *el, uint64_t max)
{
	uint64_t done = 0;

	for (unsigned i = 0; i < el->n_in && done < max; i++) {
		uint64_t n = min_u64(el->in[i].iov_len, max - done);
		uint8_t *p = el->in[i].iov_base;

		while (n) {
			ssize_t got = getrandom(p, n, 0);

			if (got < 0 && errno != EINTR)
				return (uint32_t)done;
			if (got <= 0)
				continue;
			p += got;
			n -= (uint64_t)got;
			done += (uint64_t)got;
		}
	}
	return (uint32_t)done;
}

static void rng_kick(struct virtio_dev *v, unsigned n)
{
	struct virtio_rng *r = of(v);
	struct virtq *q = virtio_queue(v, n);
	struct virtq_elem *el;
	unsigned served = 0;

	while (r->quota && served++ < QUEUE_SIZE && (el = virtq_pop(q))) {
		uint32_t len = fill(el, min_u64(r->quota, CHAIN_MAX));

		if (r->max_bytes < INT64_MAX) {
			r->quota -= len;
			if (!timer_armed(r->timer))
				timer_arm(r->timer, vclock_now(v->env->clock) + r->period);
		}
		virtq_push(el, len);
	}
	virtq_notify(q);
	if (served > QUEUE_SIZE)
		virtio_kick_later(v);
}

static void refill(void *opaque)
{
	struct virtio_rng *r = opaque;

	r->quota = r->max_bytes;
	rng_kick(&r->v, 0);
}

static void rng_reset(struct virtio_dev *v)
{
	of(v)->quota = of(v)->max_bytes;
	timer_cancel(of(v)->timer);
}

static void rng_unrealize(struct virtio_dev *v)
{
	timer_destroy(of(v)->timer);
	virtio_fini(v);
	free(v);
}

static int rng_post_load(void *obj, struct err **e)
{
	struct virtio_rng *r = obj;

	r->quota = min_u64(r->quota, r->max_bytes);
	timer_cancel(r->timer);
	if (r->quota < r->max_bytes)
		timer_arm(r->timer, vclock_now(r->v.env->clock) + r->period);
	return 0;
}

static const struct state_field rng_fields[] = {
	STATE_FIELD(struct virtio_rng, quota, STATE_U64),
	STATE_END,
};

static const struct state_desc rng_state = {
	.name = "virtio-rng",
	.version = 1,
	.fields = rng_fields,
	.post_load = rng_post_load,
};

static const struct virtio_ops rng_ops = {
	.name = "virtio-rng",
	.id = VIRTIO_ID_ENTROPY,
	.features = rng_features,
	.kick = rng_kick,
	.reset = rng_reset,
	.unrealize = rng_unrealize,
	.state = &rng_state,
};

static const struct dev_prop rng_props[] = {
	{"rng", "generator (default: the host's)", NULL, PROP_OBJECT},
	{"max-bytes", "in a period (default: no limit)", NULL, PROP_UINT, INT64_MAX},
	{"period", "milliseconds", "65536", PROP_UINT, UINT32_MAX},
	{0},
};

static int rng_check(const struct dev_opts *o, struct err **e)
{
	if (!dev_opt_num(o, "period"))
		return err_set(e, EINVAL, "period is 0");
	if (dev_opt_given(o, "max-bytes") && !dev_opt_num(o, "max-bytes"))
		return err_set(e, EINVAL, "max-bytes is 0");
	return 0;
}

/* All generators are the host's own. */
static int rng_create(const struct dev_place *p, const struct dev_opts *o, struct virtio_dev **out,
		      struct err **e)
{
	struct virtio_rng *r = xzalloc(sizeof(*r));

	r->max_bytes = dev_opt_given(o, "max-bytes") ? dev_opt_num(o, "max-bytes") : INT64_MAX;
	r->period = (int64_t)dev_opt_num(o, "period") * NS_PER_MS;
	r->timer = timer_new(p->env->loop, p->env->clock, p->env->lock, refill, r);
	virtio_init(&r->v, &rng_ops, p->env, p->id, 1, QUEUE_SIZE, 0);
	*out = &r->v;
	return 0;
}

const struct virtio_type virtio_rng_type = {
	.name = "virtio-rng", .id = VIRTIO_ID_ENTROPY, .create = rng_create};

VIRTIO_CLASSES(virtio_rng, "virtio-rng", "random numbers", "Misc", virtio_rng_type, rng_props,
	       rng_check);
