/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/boot/image.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"
#include "mem/mem.h"

#define LOAD_CHUNK (256 * KiB)

int image_open(struct image *im, const char *what, const char *path, struct err **e)
{
	struct stat st;

	*im = (struct image){ .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .what = what };
	if (im->fd < 0)
		return err_set(e, errno, "cannot open %s '%s': %s", what, path, strerror(errno));
	im->path = xstrdup(path);
	if (fstat(im->fd, &st) < 0)
		return err_set(e, errno, "cannot read %s '%s': %s", what, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s '%s' is not a regular file", what, path);
	if (st.st_size <= 0)
		return err_set(e, EINVAL, "%s '%s' is empty", what, path);
	im->size = (uint64_t)st.st_size;
	return 0;
}

void image_close(struct image *im)
{
	if (im->fd >= 0)
		close(im->fd);
	free(im->path);
	*im = (struct image){ .fd = -1 };
}

int image_read(const struct image *im, uint64_t off, void *buf, uint64_t len, struct err **e)
{
	uint8_t *to = buf;

	if (!range_fits(off, len, im->size))
		return err_set(e, EINVAL, "%s '%s' is truncated", im->what, im->path);
	while (len) {
		ssize_t n = pread(im->fd, to, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, errno, "cannot read %s '%s': %s", im->what, im->path,
				       strerror(errno));
		if (n == 0)
			return err_set(e, EINVAL, "%s '%s' is truncated", im->what, im->path);
		to += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int image_load(const struct image *im, uint64_t off, uint64_t len, struct mem *mem, uint64_t addr,
	       struct err **e)
{
	uint8_t *buf = malloc(LOAD_CHUNK);
	int r = 0;

	if (!buf)
		return err_set(e, ENOMEM, "no memory to load %s '%s'", im->what, im->path);
	while (len && !r) {
		uint64_t n = min_u64(len, LOAD_CHUNK);

		r = image_read(im, off, buf, n, e);
		if (!r && mem_dma_write(mem, GPA(addr), buf, n))
			r = err_set(e, EFAULT, "%s '%s' does not fit in guest RAM", im->what,
				    im->path);
		off += n;
		addr += n;
		len -= n;
	}
	free(buf);
	return r;
}
