/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The balloon, as monitors use it: pages that the guest lends back to the host.  A machine has one
 * at most.  env->lock held.
 */
#include <stdbool.h>
#include <stdint.h>

struct dev_env;
struct err;

/* What the guest's driver tells (virtio 1.2 5.5.6.3); BALLOON_UNKNOWN: it does not. */
#define BALLOON_UNKNOWN UINT64_MAX
enum {
	BALLOON_SWAP_IN, /* bytes */
	BALLOON_SWAP_OUT,
	BALLOON_MAJOR_FAULTS,
	BALLOON_MINOR_FAULTS,
	BALLOON_FREE, /* bytes, this and the next three */
	BALLOON_TOTAL,
	BALLOON_AVAILABLE,
	BALLOON_CACHES,
	BALLOON_HUGE_ALLOCATED,
	BALLOON_HUGE_FAILED,
	BALLOON_STATS,
};

struct balloon_stats {
	uint64_t stat[BALLOON_STATS];
	int64_t updated; /* seconds since 1970; 0: never */
};

/* balloon_set_target - ask the guest to make do with `target` of its `ram` bytes; it follows when
 * it can. -ENODEV with *e: no balloon, or no driver; -EINVAL: more than there is. */
int balloon_set_target(struct dev_env *env, uint64_t ram, uint64_t target, struct err **e);
/* balloon_actual - bytes that the guest has at present; false: no balloon. */
bool balloon_actual(const struct dev_env *env, uint64_t ram, uint64_t *bytes);
/* balloon_stats - what the guest told last; false: no balloon.  balloon_poll: ask it each so many
 * seconds, 0: not. */
bool balloon_stats(const struct dev_env *env, struct balloon_stats *out);
int balloon_poll(struct dev_env *env, unsigned seconds, struct err **e);
unsigned balloon_poll_interval(const struct dev_env *env);
/* balloon_on_change - fn is told when the guest has changed `actual` (BALLOON_CHANGE). */
void balloon_on_change(struct dev_env *env, void (*fn)(void *opaque), void *opaque);
