/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory balloon (virtio 1.2 5.5): the driver hands over numbers of 4 KiB pages that the guest will
 * not use (inflate), takes them back (deflate), tells statistics, and reports free pages by
 * address.
 *
 * Pages that come in are given back to the host by mem_discard, and are full of zeroes when the
 * guest touches them again, so deflating is nothing to do.  Page numbers of one request are put in
 * order first: neighbours are given back in one go, which keeps the host's huge pages whole as long
 * as they can be. Numbers that are not RAM are ignored: lending the host nothing harms nobody.
 *
 * The statistics queue is turned round: the driver's one buffer waits here, and handing it
 * back is the request for new numbers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/virtio.h"

#define F_STATS_VQ BIT(1)
#define F_DEFLATE_ON_OOM BIT(2)
#define F_PAGE_POISON BIT(4)
#define F_REPORTING BIT(5)

enum { Q_INFLATE, Q_DEFLATE, Q_STATS };
#define QUEUES 4
#define QUEUE_SIZE 128
#define SERVE_MAX 32 /* chains in a kick */

#define CONFIG_LEN 16
#define CONFIG_ACTUAL 4
#define CONFIG_POISON 12

#define BALLOON_PAGE 4096u
#define PFNS 1024 /* looked at together */
#define PFNS_MAX (64 * PFNS) /* of a chain */
#define STAT_LEN 10 /* le16 tag, le64 value */

struct virtio_balloon {
	struct virtio_dev v; /* first */
	uint64_t features;
	uint32_t num_pages, actual, poison;
	struct virtq_elem *stats_el; /* waits until statistics are wanted */
	struct balloon_stats stats;
	struct timer *timer;
	uint32_t interval; /* seconds; 0: no polling */
	void (*changed)(void *opaque);
	void *changed_opaque;
	uint32_t pfn[PFNS];
};

static struct virtio_balloon *of(struct virtio_dev *v)
{
	return (struct virtio_balloon *)v;
}

static uint64_t balloon_features(struct virtio_dev *v)
{
	return of(v)->features;
}

static void balloon_config_read(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_balloon *b = of(v);
	uint8_t c[CONFIG_LEN] = {0};

	put_le32(c, b->num_pages);
	put_le32(c + CONFIG_ACTUAL, b->actual);
	put_le32(c + CONFIG_POISON, b->poison);
	memcpy(buf, c + off, len);
}

static void balloon_config_write(struct virtio_dev *v, uint32_t off, const void *buf, uint32_t len)
{
	struct virtio_balloon *b = of(v);
	uint32_t old = b->actual;

	if (off >= CONFIG_ACTUAL && range_fits(off - CONFIG_ACTUAL, len, 4))
		memcpy((uint8_t *)&b->actual + off - CONFIG_ACTUAL, buf, len);
	else if (off >= CONFIG_POISON && virtio_has(v, F_PAGE_POISON))
		memcpy((uint8_t *)&b->poison + off - CONFIG_POISON, buf, len);
	if (b->actual != old && b->changed)
		b->changed(b->changed_opaque);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void give_back(struct virtio_balloon *b, unsigned n)
{
	qsort(b->pfn, n, sizeof(b->pfn[0]), by_number);
	for (unsigned i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && b->pfn[k] - b->pfn[i] == k - i; k++)
			;
		mem_discard(b->v.env->mem, GPA((uint64_t)b->pfn[i] * BALLOON_PAGE),
			    (uint64_t)(k - i) * BALLOON_PAGE);
	}
}

static void inflate(struct virtio_balloon *b, const struct virtq_elem *el)
{
	for (uint64_t at = 0; at < PFNS_MAX * 4; at += sizeof(b->pfn)) {
		size_t n = iov_to_buf(el->out, el->n_out, at, b->pfn, sizeof(b->pfn)) / 4;

		if (!n)
			break;
		give_back(b, (unsigned)n);
	}
}

/* Free pages come as the buffers themselves (5.5.6.7).  A guest that poisons free pages wants to
 * find its pattern there again. */
static void reported(struct virtio_balloon *b, const struct virtq_elem *el)
{
	struct mem *m = b->v.env->mem;

	if (virtio_has(&b->v, F_PAGE_POISON) && b->poison)
		return;
	for (unsigned i = 0; i < el->n_in; i++)
		mem_discard_ram(m, (uint64_t)((uint8_t *)el->in[i].iov_base - mem_ram_base(m)),
				el->in[i].iov_len);
}

static void stats_take(struct virtio_balloon *b, struct virtq_elem *el)
{
	uint8_t raw[STAT_LEN];

	if (b->stats_el) { /* a second one: the driver has the first one back */
		virtq_push(b->stats_el, 0);
		b->stats_el = NULL;
	}
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		b->stats.stat[i] = BALLOON_UNKNOWN;
	for (size_t at = 0; at < 64 * STAT_LEN; at += STAT_LEN) {
		if (iov_to_buf(el->out, el->n_out, at, raw, STAT_LEN) < STAT_LEN)
			break;
		if (get_le16(raw) < BALLOON_STATS)
			b->stats.stat[get_le16(raw)] = get_le64(raw + 2);
	}
	b->stats.updated = vclock_time_of_day(b->v.env->clock) / 1000000000;
	b->stats_el = el;
}

static void poll_arm(struct virtio_balloon *b)
{
	timer_cancel(b->timer);
	if (b->interval)
		timer_arm(b->timer,
			  vclock_now(b->v.env->clock) + b->interval * INT64_C(1000000000));
}

static void poll_now(void *opaque)
{
	struct virtio_balloon *b = opaque;
	struct virtq *q = virtio_queue(&b->v, Q_STATS);

	if (b->stats_el) {
		virtq_push(b->stats_el, 0);
		b->stats_el = NULL;
		virtq_notify(q);
	}
	poll_arm(b);
}

/* The reporting queue follows the statistics queue if there is one (5.5.2). */
static bool is_reporting(const struct virtio_dev *v, unsigned n)
{
	return virtio_has(v, F_REPORTING) && n == (virtio_has(v, F_STATS_VQ) ? 3u : 2u);
}

static void balloon_kick(struct virtio_dev *v, unsigned n)
{
	struct virtio_balloon *b = of(v);
	struct virtq *q = virtio_queue(v, n);
	struct virtq_elem *el;
	unsigned served = 0;

	while (served++ < SERVE_MAX && (el = virtq_pop(q))) {
		if (is_reporting(v, n)) {
			reported(b, el);
		} else if (n == Q_STATS) {
			stats_take(b, el);
			continue;
		} else if (n == Q_INFLATE) {
			inflate(b, el);
		}
		virtq_push(el, 0);
	}
	virtq_notify(q);
	if (served > SERVE_MAX)
		virtio_kick_later(v);
}

static void balloon_stop(struct virtio_dev *v, int q)
{
	if (of(v)->stats_el && (q < 0 || q == Q_STATS)) {
		virtq_drop(of(v)->stats_el);
		of(v)->stats_el = NULL;
	}
}

static void balloon_quiesce(struct virtio_dev *v)
{
	if (of(v)->stats_el) {
		virtq_unpop(of(v)->stats_el);
		of(v)->stats_el = NULL;
	}
}

/* The target stays: a guest that boots again is asked again. */
static void balloon_reset(struct virtio_dev *v)
{
	of(v)->actual = of(v)->poison = 0;
	of(v)->stats.updated = 0;
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		of(v)->stats.stat[i] = BALLOON_UNKNOWN;
}

static void balloon_unrealize(struct virtio_dev *v)
{
	v->env->balloon = NULL;
	timer_destroy(of(v)->timer);
	virtio_fini(v);
	free(v);
}

static int balloon_post_load(void *obj, struct err **e)
{
	poll_arm(obj);
	return 0;
}

static const struct state_field balloon_fields[] = {
	STATE_FIELD(struct virtio_balloon, num_pages, STATE_U32),
	STATE_FIELD(struct virtio_balloon, actual, STATE_U32),
	STATE_FIELD(struct virtio_balloon, poison, STATE_U32),
	STATE_FIELD(struct virtio_balloon, interval, STATE_U32),
	STATE_END,
};

static const struct state_desc balloon_state = {
	.name = "virtio-balloon",
	.version = 1,
	.fields = balloon_fields,
	.post_load = balloon_post_load,
};

static const struct virtio_ops balloon_ops = {
	.name = "virtio-balloon",
	.id = VIRTIO_ID_BALLOON,
	.features = balloon_features,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.kick = balloon_kick,
	.stop = balloon_stop,
	.reset = balloon_reset,
	.quiesce = balloon_quiesce,
	.unrealize = balloon_unrealize,
	.state = &balloon_state,
};

static const struct dev_prop balloon_props[] = {
	{"deflate-on-oom", "the guest may take pages back when it is short of memory", "off",
	 PROP_BOOL},
	{"free-page-reporting", "the guest tells of free pages", "off", PROP_BOOL},
	{"page-poison", "the guest tells with what it fills free pages", "on", PROP_BOOL},
	{"guest-stats-polling-interval", "seconds between statistics, 0: none", "0", PROP_UINT,
	 UINT32_MAX},
	{0},
};

static int balloon_create(const struct dev_place *p, const struct dev_opts *o,
			  struct virtio_dev **out, struct err **e)
{
	struct virtio_balloon *b;

	if (p->env->balloon)
		return err_set(e, EBUSY, "the machine has a balloon already");
	b = xzalloc(sizeof(*b));
	b->features = F_STATS_VQ;
	b->features |= dev_opt_num(o, "deflate-on-oom") ? F_DEFLATE_ON_OOM : 0;
	b->features |= dev_opt_num(o, "free-page-reporting") ? F_REPORTING : 0;
	b->features |= dev_opt_num(o, "page-poison") ? F_PAGE_POISON : 0;
	b->interval = (uint32_t)dev_opt_num(o, "guest-stats-polling-interval");
	b->timer = timer_new(p->env->loop, p->env->clock, p->env->lock, poll_now, b);
	virtio_init(&b->v, &balloon_ops, p->env, p->id,
		    dev_opt_num(o, "free-page-reporting") ? QUEUES : QUEUES - 1, QUEUE_SIZE,
		    CONFIG_LEN);
	p->env->balloon = b;
	poll_arm(b);
	*out = &b->v;
	return 0;
}

const struct virtio_type virtio_balloon_type = {
	.name = "virtio-balloon", .id = VIRTIO_ID_BALLOON, .create = balloon_create};

VIRTIO_CLASSES(virtio_balloon, "virtio-balloon", "lends memory back to the host", "Misc",
	       virtio_balloon_type, balloon_props, NULL);

static int find(const struct dev_env *env, struct virtio_balloon **out, struct err **e)
{
	*out = env->balloon;
	return *out ? 0 : err_set(e, ENODEV, "the machine has no balloon");
}

int balloon_set_target(struct dev_env *env, uint64_t ram, uint64_t target, struct err **e)
{
	struct virtio_balloon *b;
	int rc = find(env, &b, e);

	if (rc)
		return rc;
	if (!b->v.driver_ok)
		return err_set(e, ENODEV, "the guest has no driver for its balloon");
	if (!target || target > ram)
		return err_set(e, EINVAL, "the guest can have 1 to %llu bytes",
			       (unsigned long long)ram);
	b->num_pages = (uint32_t)min_u64((ram - target) / BALLOON_PAGE, UINT32_MAX);
	virtio_config_changed(&b->v);
	return 0;
}

bool balloon_actual(const struct dev_env *env, uint64_t ram, uint64_t *bytes)
{
	struct virtio_balloon *b = env->balloon;

	if (b)
		*bytes = ram - min_u64((uint64_t)b->actual * BALLOON_PAGE, ram);
	return b;
}

bool balloon_stats(const struct dev_env *env, struct balloon_stats *out)
{
	if (env->balloon)
		*out = env->balloon->stats;
	return env->balloon;
}

int balloon_poll(struct dev_env *env, unsigned seconds, struct err **e)
{
	struct virtio_balloon *b;
	int rc = find(env, &b, e);

	if (rc)
		return rc;
	b->interval = seconds;
	poll_arm(b);
	return 0;
}

unsigned balloon_poll_interval(const struct dev_env *env)
{
	return env->balloon ? env->balloon->interval : 0;
}

void balloon_on_change(struct dev_env *env, void (*fn)(void *opaque), void *opaque)
{
	if (env->balloon) {
		env->balloon->changed = fn;
		env->balloon->changed_opaque = opaque;
	}
}
