/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Limits of a drive's rate: leaky buckets that requests fill and time drains. */
#include "back/block/block.h"

struct throttle {
	struct throttle_cfg cfg;
	bool on;
	struct {
		double level, burst; /* units: bytes, operations */
	} k[THROTTLE_KINDS];
	int64_t leaked; /* host_now when the buckets were drained last */
};

/* throttle_set - new limits, empty buckets; -EINVAL with *e. */
int throttle_set(struct throttle *t, const struct throttle_cfg *cfg, struct err **e);
/* throttle_wait - ns until a request of that kind may start; 0: now. */
int64_t throttle_wait(struct throttle *t, bool write, int64_t now);
/* throttle_account - it has started. */
void throttle_account(struct throttle *t, bool write, uint64_t bytes);
