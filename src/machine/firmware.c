/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/firmware.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/base.h"

static const char *const known_dirs[] = {"/usr/share/seabios", "/usr/share/qemu", "/usr/share/OVMF",
					 "/usr/lib/ipxe/qemu", NULL};

/* Where other distributions have them: directories with colons between, in place of known_dirs. */
#define DIRS_VARIABLE "DOPPEL_FIRMWARE_PATH"

static bool is_file(const char *path)
{
	struct stat st;

	return !stat(path, &st) && !S_ISDIR(st.st_mode);
}

static char *find_in(const char *const *dirs, const char *name)
{
	for (; dirs && *dirs; dirs++) {
		char *path = xasprintf("%s/%s", *dirs, name);

		if (is_file(path))
			return path;
		free(path);
	}
	return NULL;
}

static char *find_in_list(const char *list, const char *name)
{
	char *copy = xstrdup(list), *save = NULL, *path = NULL;

	for (char *dir = strtok_r(copy, ":", &save); dir && !path; dir = strtok_r(NULL, ":", &save))
		path = find_in((const char *const[]){dir, NULL}, name);
	free(copy);
	return path;
}

char *firmware_find(const char *const *dirs, const char *name)
{
	char *path;

	if (is_file(name) || strchr(name, '/'))
		return xstrdup(name);
	path = find_in(dirs, name);
	if (path)
		return path;
	return getenv(DIRS_VARIABLE) ? find_in_list(getenv(DIRS_VARIABLE), name)
				     : find_in(known_dirs, name);
}
