/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at which guest clusters.  First come, first served: none waits for one that came later. */
#include "back/block/qcow2.h"

static bool in_the_way(const struct qcow2 *q, const struct qrange *r)
{
	for (const struct qrange *o = q->ranges; o != r; o = o->next)
		if ((o->alone || r->alone) && o->first <= r->last && r->first <= o->last)
			return true;
	return false;
}

void range_enter(struct qcow2 *q, struct qrange *r)
{
	r->next = NULL;
	*q->ranges_end = r;
	q->ranges_end = &r->next;
	while (in_the_way(q, r))
		lock_wait(&q->lock, &q->changed);
}

void range_leave(struct qcow2 *q, struct qrange *r)
{
	struct qrange **at = &q->ranges;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (q->ranges_end == &r->next)
		q->ranges_end = at;
	/* Nobody waits when there is nobody. */
	if (q->ranges)
		pthread_cond_broadcast(&q->changed);
}

bool range_free(const struct qcow2 *q, uint64_t first, uint64_t last)
{
	for (const struct qrange *o = q->ranges; o; o = o->next)
		if (o->alone && o->first <= last && first <= o->last)
			return false;
	return true;
}
