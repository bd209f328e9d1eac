/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/romfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static int load(FILE *f, const char *path, uint64_t max, uint8_t **data, uint64_t *size,
		struct err **e)
{
	uint8_t *buf = malloc(max + 1);
	size_t n;

	if (!buf)
		return err_set(e, ENOMEM, "no memory to load '%s'", path);
	n = fread(buf, 1, max + 1, f);
	if (ferror(f) || !n || n > max) {
		free(buf);
		return err_set(e, EINVAL, "'%s' %s", path,
			       n > max ? "is too large" : "cannot be read, or is empty");
	}
	*data = buf;
	*size = n;
	return 0;
}

int romfile_load(const struct dev_env *env, const char *name, uint64_t max, uint8_t **data,
		 uint64_t *size, struct err **e)
{
	char *path = env->firmware_file ? env->firmware_file(env->opaque, name) : xstrdup(name);
	FILE *f = path ? fopen(path, "rbe") : NULL;
	int r;

	if (!path)
		r = err_set(e, ENOENT, "there is no file '%s' (Debian has it in package seabios, ovmf "
				       "or ipxe-qemu)", name);
	else if (!f)
		r = err_set(e, errno, "cannot open '%s': %s", path, strerror(errno));
	else
		r = load(f, path, max, data, size, e);
	if (f)
		fclose(f);
	free(path);
	return r;
}
