/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Where images of firmware and option ROMs are. */

/* firmware_find - a file by its path, or by its bare name in `dirs` (NULL-terminated; NULL: none)
 * and then in those of $DOPPEL_FIRMWARE_PATH, or without it where Debian has them; memory that the caller frees, or NULL. */
char *firmware_find(const char *const *dirs, const char *name);
