/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* System Management BIOS tables (DSP0134 2.8): an entry point and the structures it points to. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/bytes.h"
#include "machine/ram.h"

struct err;

/* Texts that a person may set, by structure type. */
enum smbios_text {
	SMBIOS_0_VENDOR, SMBIOS_0_VERSION, SMBIOS_0_DATE,
	SMBIOS_1_MANUFACTURER, SMBIOS_1_PRODUCT, SMBIOS_1_VERSION, SMBIOS_1_SERIAL, SMBIOS_1_SKU,
	SMBIOS_1_FAMILY,
	SMBIOS_2_MANUFACTURER, SMBIOS_2_PRODUCT, SMBIOS_2_VERSION, SMBIOS_2_SERIAL, SMBIOS_2_ASSET,
	SMBIOS_2_LOCATION,
	SMBIOS_3_MANUFACTURER, SMBIOS_3_VERSION, SMBIOS_3_SERIAL, SMBIOS_3_ASSET, SMBIOS_3_SKU,
	SMBIOS_4_SOCKET, SMBIOS_4_MANUFACTURER, SMBIOS_4_VERSION, SMBIOS_4_SERIAL, SMBIOS_4_ASSET,
	SMBIOS_4_PART,
	SMBIOS_17_LOCATOR, SMBIOS_17_BANK, SMBIOS_17_MANUFACTURER, SMBIOS_17_SERIAL,
	SMBIOS_17_ASSET, SMBIOS_17_PART,
	SMBIOS_TEXTS,
};

/* A structure with its strings, as it goes into the table. */
struct smbios_raw {
	const void *data;
	size_t len;
};

struct smbios_fields {
	const char *text[SMBIOS_TEXTS]; /* NULL: the default */
	bool has_release, uefi, has_board; /* has_board: there is a structure of type 2 */
	uint8_t release[2]; /* major, minor */
	uint16_t cpu_max_speed, cpu_speed, dimm_speed; /* MHz; 0: the default */
	uint64_t cpu_id; /* 0: none */
	const char *const *oem; /* strings of type 11 */
	size_t n_oem;
	const struct smbios_raw *raw; /* each in place of ours of its type */
	size_t n_raw;
};

struct smbios_config {
	const char *machine; /* "pc", "q35" */
	struct ram_layout ram;
	unsigned n_cpus;
	uint8_t uuid[16]; /* as it is printed; zeros: not set */
	const struct smbios_fields *fields; /* NULL: all by default */
};

struct smbios {
	struct bytes anchor; /* entry point, of a table at address 0 */
	struct bytes tables;
};

/* What there is room for. */
#define SMBIOS_TABLES_MAX 0x7000u
#define SMBIOS_OEM_MAX 255

void smbios_build(struct smbios *s, const struct smbios_config *cfg);
/* smbios_place - the tables lie at this address (below 4 GiB). */
void smbios_place(struct smbios *s, uint32_t tables);
void smbios_free(struct smbios *s);
/* smbios_check - are raw structures well-formed, and is it not too much?  -EINVAL or -E2BIG with *e. */
int smbios_check(const struct smbios_config *cfg, struct err **e);
