/* SPDX-License-Identifier: Apache-2.0 */
/* The last `size` bytes of output, kept to be read by a monitor (ringbuf-read). */
#include <errno.h>
#include <stdlib.h>
#include "back/char/chardev_int.h"
#include "base/err.h"

#define RING_DEFAULT (64 * KiB)
#define RING_MAX (64 * MiB)

struct ring {
	uint64_t size, head, len; /* size: a power of two */
	uint8_t *buf;
};

static int ring_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	const char *word = kv_get(opts, "size");
	uint64_t size = RING_DEFAULT;
	struct ring *r;

	if (word && !parse_size(word, 1, &size))
		return err_set(e, EINVAL, "'%s' is not a size", word);
	if (!is_pow2(size) || size > RING_MAX)
		return err_set(e, EINVAL, "the size of a ring buffer is a power of two up to 64M");
	r = cd->priv = xzalloc(sizeof(*r));
	r->size = size;
	r->buf = xzalloc(size);
	return 0;
}

static void ring_close(struct chardev *cd)
{
	struct ring *r = cd->priv;

	free(r->buf);
	free(r);
}

static void ring_put(struct chardev *cd, const uint8_t *buf, size_t len)
{
	struct ring *r = cd->priv;

	if (len > r->size) { /* the rest would be overwritten at once */
		buf += len - r->size;
		len = r->size;
	}
	for (size_t i = 0; i < len; i++)
		r->buf[(r->head + r->len + i) & (r->size - 1)] = buf[i];
	r->len += len;
	if (r->len > r->size) {
		r->head = (r->head + r->len - r->size) & (r->size - 1);
		r->len = r->size;
	}
}

bool chardev_is_ring(const struct chardev *cd)
{
	return (cd->base ? cd->base : cd)->kind->write == ring_put;
}

size_t chardev_ring_read(struct chardev *cd, uint8_t *buf, size_t len)
{
	struct ring *r;

	cd = cd->base ? cd->base : cd;
	bug_on(!chardev_is_ring(cd));
	r = cd->priv;
	lock_take(&cd->lock);
	len = min_u64(len, r->len);
	for (size_t i = 0; i < len; i++)
		buf[i] = r->buf[(r->head + i) & (r->size - 1)];
	r->head = (r->head + len) & (r->size - 1);
	r->len -= len;
	lock_drop(&cd->lock);
	return len;
}

void chardev_ring_write(struct chardev *cd, const uint8_t *buf, size_t len)
{
	bug_on(!chardev_is_ring(cd));
	chardev_write(cd, buf, len);
}

#define RING_KIND(name_)                                                                     \
	{                                                                                    \
		.name = name_,                                                               \
		.help = "the last bytes of output, for a monitor to read: [size=SIZE]",      \
		.keys = {"size"}, .open = ring_open, .close = ring_close, .write = ring_put, \
	}

const struct chardev_kind chardev_ringbuf = RING_KIND("ringbuf");
const struct chardev_kind chardev_memory = RING_KIND("memory"); /* its old name */
