/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* -smbios: fields of the machine's SMBIOS tables. */
#include <stdbool.h>
#include "machine/smbios.h"

struct smbios_opt {
	struct smbios_fields fields;
	bool has_uuid;
	uint8_t uuid[16];
	char **owned;
	size_t n_owned;
	struct smbios_raw *raw;
	char **oem;
};

/* smbios_opt_add - take the argument of one -smbios.  load: read the files it names, too.  0, or
 * -errno with *e.  o is zeroed before the first, and needs smbios_opt_free either way. */
int smbios_opt_add(struct smbios_opt *o, const char *arg, bool load, struct err **e);
/* smbios_opt_oem - one more OEM string (copied). */
void smbios_opt_oem(struct smbios_opt *o, const char *text);
void smbios_opt_free(struct smbios_opt *o);

/* parse_uuid - 8-4-4-4-12 hexadecimal digits; false when it is not that. */
bool parse_uuid(const char *s, uint8_t uuid[static 16]);
