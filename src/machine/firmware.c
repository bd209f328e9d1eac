/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/firmware.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/base.h"

static const char *const known_dirs[] = {"/usr/share/seabios", "/usr/share/qemu", "/usr/share/OVMF",
					 "/usr/lib/ipxe/qemu", NULL};

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

char *firmware_find(const char *const *dirs, const char *name)
{
	char *path;

	if (is_file(name) || strchr(name, '/'))
		return xstrdup(name);
	path = find_in(dirs, name);
	return path ? path : find_in(known_dirs, name);
}
