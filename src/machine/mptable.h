/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* MultiProcessor tables (MP specification 1.4), for a machine without ACPI. */
#include <stdbool.h>
#include "base/bytes.h"

struct mptable_config {
	unsigned n_cpus; /* those with an APIC ID below 255 are told of */
	bool ioapic2;
	unsigned level_first, level_n; /* GSIs that are level-triggered */
};

/* mptable_build - the floating pointer structure, at `addr`, with the configuration table behind
 * it. */
void mptable_build(struct bytes *b, const struct mptable_config *cfg, uint32_t addr);
