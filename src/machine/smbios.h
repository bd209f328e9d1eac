/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* System Management BIOS tables (DSP0134 2.8): an entry point and the structures it points to. */
#include <stdint.h>
#include "machine/bytes.h"
#include "machine/ram.h"

struct smbios_config {
	const char *machine; /* "pc", "q35" */
	struct ram_layout ram;
	unsigned n_cpus;
	uint8_t uuid[16]; /* as it is printed; zeros: not set */
};

struct smbios {
	struct bytes anchor; /* entry point, of a table at address 0 */
	struct bytes tables;
};

void smbios_build(struct smbios *s, const struct smbios_config *cfg);
/* smbios_place - the tables lie at this address (below 4 GiB). */
void smbios_place(struct smbios *s, uint32_t tables);
void smbios_free(struct smbios *s);
