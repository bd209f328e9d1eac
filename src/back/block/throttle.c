/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each limit is a bucket that drains at `avg` units a second and may be filled up to a size; what
 * comes then waits until it has drained.  Without a burst the size is a tenth of a second's worth;
 * with `max` it is what `max` units a second bring in `length` seconds, and where that is longer
 * than a second another bucket sees to it that `max` itself is kept.
 */
#include "back/block/throttle.h"
#include <errno.h>
#include "base/base.h"
#include "base/err.h"

#define TENTH 0.1
#define UNITS_MAX 1e15

static const char *const kind_names[THROTTLE_KINDS] = {
	[THROTTLE_BPS] = "bps-total",	  [THROTTLE_BPS_RD] = "bps-read",
	[THROTTLE_BPS_WR] = "bps-write",  [THROTTLE_IOPS] = "iops-total",
	[THROTTLE_IOPS_RD] = "iops-read", [THROTTLE_IOPS_WR] = "iops-write",
};

static int check(const struct throttle_cfg *c, struct err **e)
{
	for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
		const char *name = kind_names[i];

		if ((double)c->k[i].avg > UNITS_MAX || (double)c->k[i].max > UNITS_MAX)
			return err_set(e, EINVAL, "%s is too large", name);
		if (c->k[i].max && !c->k[i].avg)
			return err_set(e, EINVAL, "%s-max needs %s", name, name);
		if (c->k[i].max && c->k[i].max < c->k[i].avg)
			return err_set(e, EINVAL, "%s-max is less than %s", name, name);
		if (c->k[i].length > 1 && !c->k[i].max)
			return err_set(e, EINVAL, "%s-max-length needs %s-max", name, name);
		if (c->k[i].length > 1000000)
			return err_set(e, EINVAL, "%s-max-length is too large", name);
	}
	for (unsigned i = 0; i < THROTTLE_KINDS; i += 3)
		if ((c->k[i].avg || c->k[i].max) &&
		    (c->k[i + 1].avg || c->k[i + 2].avg || c->k[i + 1].max || c->k[i + 2].max))
			return err_set(e, EINVAL,
				       "a limit of the total and one of reads or writes "
				       "cannot be used together");
	return 0;
}

int throttle_set(struct throttle *t, const struct throttle_cfg *cfg, struct err **e)
{
	int r = check(cfg, e);

	if (r)
		return r;
	*t = (struct throttle){.cfg = *cfg};
	for (unsigned i = 0; i < THROTTLE_KINDS; i++)
		t->on |= cfg->k[i].avg != 0;
	return 0;
}

static void leak(double *level, double amount)
{
	*level = *level > amount ? *level - amount : 0;
}

static double wait_s(const struct throttle *t, unsigned i)
{
	double avg = (double)t->cfg.k[i].avg, max = (double)t->cfg.k[i].max, over, more;
	double length = t->cfg.k[i].length ? (double)t->cfg.k[i].length : 1;

	if (avg == 0)
		return 0;
	over = (t->k[i].level - (max > 0 ? max * length : avg * TENTH)) / avg;
	if (max > 0 && length > 1) {
		more = (t->k[i].burst - max * TENTH) / max;
		over = more > over ? more : over;
	}
	return over > 0 ? over : 0;
}

static bool applies(unsigned kind, bool write)
{
	return kind % 3 == 0 || kind % 3 == (write ? 2 : 1);
}

int64_t throttle_wait(struct throttle *t, bool write, int64_t now)
{
	double s = t->leaked ? (double)(now - t->leaked) / 1e9 : 0, wait = 0;

	t->leaked = now;
	for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
		leak(&t->k[i].level, s * (double)t->cfg.k[i].avg);
		leak(&t->k[i].burst, s * (double)t->cfg.k[i].max);
		if (applies(i, write)) {
			double w = wait_s(t, i);

			wait = w > wait ? w : wait;
		}
	}
	return (int64_t)(wait * 1e9);
}

void throttle_account(struct throttle *t, bool write, uint64_t bytes)
{
	double ops = 1;

	if (t->cfg.iops_size && bytes > t->cfg.iops_size)
		ops = (double)bytes / (double)t->cfg.iops_size;
	for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
		double units = i < THROTTLE_IOPS ? (double)bytes : ops;

		if (!applies(i, write))
			continue;
		t->k[i].level += units;
		t->k[i].burst += units;
	}
}
