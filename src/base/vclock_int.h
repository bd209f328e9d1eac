/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the event loop needs of guest clocks. */
#include <stdint.h>

struct vclock;

/* vclock_host_delay - ns from now to a guest deadline (0 when past), or -1 while the clock stands still
 * (a manual one always does, by itself). */
int64_t vclock_host_delay(const struct vclock *c, int64_t deadline);
