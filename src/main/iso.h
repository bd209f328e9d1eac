/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A small ISO 9660 image with Rock Ridge names. */
#include "base/bytes.h"

struct iso_file {
	const char *name; /* as Linux shows it: up to 60 characters */
	const char *plain; /* of up to 8 of A-Z, 0-9, _: for systems without Rock Ridge */
	const void *data;
	uint32_t len;
};

#define ISO_FILES_MAX 8

/* iso_build - files lie in the root directory; sorted by their plain names.  label: up to 32 of
 * A-Z, 0-9, _. */
void iso_build(struct bytes *out, const char *label, const struct iso_file *files, unsigned n);
