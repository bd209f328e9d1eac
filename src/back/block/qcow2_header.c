/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header: 72 bytes in version 2, at least 104 in version 3, then extensions, and the backing
 * file's name; all in the first cluster.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/qcow2.h"
#include "base/err.h"

#define BACKING_NAME_MAX 1023
#define HEADER_MAX                                                                    \
	(64 * KiB) /* what is read of the first cluster: names are near its beginning \
		    */

enum {
	EXT_END = 0,
	EXT_FEATURES = 0x6803f857,
	EXT_BACKING_FORMAT = (int)0xe2792aca,
	EXT_DATA_FILE = 0x44415441
};

struct header {
	const unsigned char *p;
	size_t len; /* bytes there are, at most a cluster */
	unsigned ext_at;
	const unsigned char *features;
	size_t features_len;
};

static int bad(const struct qcow2 *q, struct err **e, const char *what)
{
	return err_set(e, EINVAL, "'%s': damaged qcow2 header: %s", q->file->filename, what);
}

/* The name that the image itself has for an incompatible feature. */
static const char *feature_name(const struct header *h, unsigned bit, char name[47])
{
	for (size_t i = 0; i + 48 <= h->features_len; i += 48) {
		const unsigned char *f = h->features + i;

		if (f[0] == 0 && f[1] == bit && f[2]) {
			memcpy(name, f + 2, 46);
			name[46] = 0;
			for (char *c = name; *c; c++)
				*c = *c < ' ' || *c > '~' ? '?' : *c;
			return name;
		}
	}
	snprintf(name, 47, "bit %u", bit);
	return name;
}

static int check_features(struct qcow2 *q, const struct header *h, struct err **e)
{
	uint64_t unknown = q->incompat &
			   ~(uint64_t)(INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_DATA_FILE |
				       INCOMPAT_COMPRESSION | INCOMPAT_EXTL2);
	char name[47];

	for (unsigned i = 0; i < 64; i++)
		if (unknown & BIT(i))
			return err_set(e, ENOTSUP,
				       "'%s': it uses a qcow2 feature that is not supported: %s",
				       q->file->filename, feature_name(h, i, name));
	if (q->incompat & INCOMPAT_CORRUPT && q->n->mode.write)
		return err_set(e, EACCES,
			       "'%s': the image is marked as corrupt: it can be opened read-only, "
			       "or repaired "
			       "(qemu-img check -r all)",
			       q->file->filename);
	return 0;
}

static int header_v3(struct qcow2 *q, struct header *h, struct err **e)
{
	const unsigned char *p = h->p;

	if (h->len < 104)
		return bad(q, e, "it is cut off");
	q->incompat = get_be64(p + HDR_INCOMPAT);
	q->compat = get_be64(p + 80);
	q->autoclear = get_be64(p + HDR_AUTOCLEAR);
	q->refcount_order = get_be32(p + 96);
	h->ext_at = q->header_length = get_be32(p + 100);
	if (q->header_length < 104 || q->header_length > q->cluster_size ||
	    q->header_length > h->len || q->header_length % 8)
		return bad(q, e, "its length");
	if (q->refcount_order > 6)
		return bad(q, e, "refcount_order");
	if (q->header_length > 104 && p[104] > 1)
		return err_set(e, ENOTSUP, "'%s': unknown compression type %u", q->file->filename,
			       p[104]);
	q->zstd = q->header_length > 104 && p[104] == 1;
	if (q->zstd != !!(q->incompat & INCOMPAT_COMPRESSION))
		return bad(q, e, "compression type and its feature bit do not fit");
	q->extl2 = q->incompat & INCOMPAT_EXTL2;
	q->external = q->incompat & INCOMPAT_DATA_FILE;
	if (q->extl2 && q->cluster_bits < 14)
		return bad(q, e, "extended L2 entries need clusters of 16 KiB");
	q->raw_external = q->external && q->autoclear & AUTOCLEAR_DATA_RAW;
	return 0;
}

static int header_fixed(struct qcow2 *q, struct header *h, struct err **e)
{
	const unsigned char *p = h->p;
	uint64_t size;

	if (h->len < 72 || get_be32(p) != QCOW2_MAGIC)
		return err_set(e, EINVAL, "'%s' is not a qcow2 image", q->file->filename);
	q->version = get_be32(p + 4);
	if (q->version != 2 && q->version != 3)
		return err_set(e, ENOTSUP, "'%s': qcow2 version %u is not supported",
			       q->file->filename, q->version);
	q->cluster_bits = get_be32(p + 20);
	if (q->cluster_bits < 9 || q->cluster_bits > 21)
		return bad(q, e, "clusters are of 512 bytes to 2 MiB");
	q->cluster_size = BIT(q->cluster_bits);
	h->len = min_u64(h->len, q->cluster_size);
	q->refcount_order = 4;
	h->ext_at = q->header_length = 72;
	if (q->version == 3 && header_v3(q, h, e))
		return -EINVAL;
	if (get_be32(p + 32))
		return err_set(e, ENOTSUP, "'%s': encrypted images are not supported",
			       q->file->filename);
	size = get_be64(p + HDR_SIZE);
	if (size > (uint64_t)BLOCK_SIZE_MAX)
		return bad(q, e, "the size of the disk");
	q->n->size = align_up(size, BLOCK_SECTOR);
	q->l1_size = get_be32(p + HDR_L1_SIZE);
	q->l1_off = get_be64(p + HDR_L1_OFF);
	q->rt_off = get_be64(p + HDR_RT_OFF);
	q->rt_size = get_be32(p + HDR_RT_CLUSTERS);
	q->header_snapshots = get_be32(p + 60);
	return 0;
}

static int header_backing(struct qcow2 *q, const struct header *h, struct err **e)
{
	uint64_t off = get_be64(h->p + 8);
	uint32_t len = get_be32(h->p + 16);

	if (!off || !len)
		return 0;
	if (len > BACKING_NAME_MAX || !range_fits(off, len, h->len))
		return bad(q, e, "the backing file's name");
	q->backing_name = xzalloc(len + 1);
	memcpy(q->backing_name, h->p + off, len);
	return 0;
}

static char *ext_string(const unsigned char *p, uint32_t len)
{
	char *s = xzalloc((size_t)len + 1);

	memcpy(s, p, len);
	return s;
}

static int header_extensions(struct qcow2 *q, struct header *h, char **data_name, struct err **e)
{
	uint64_t at = h->ext_at, stop = h->len, off = get_be64(h->p + 8);

	/* They end where the backing file's name begins. */
	if (off && off < stop)
		stop = off;
	while (at + 8 <= stop) {
		uint32_t type = get_be32(h->p + at), len = get_be32(h->p + at + 4);

		at += 8;
		if (type == EXT_END)
			return 0;
		if (len > stop - at)
			return bad(q, e, "an extension is longer than there is room");
		if (type == EXT_FEATURES) {
			h->features = h->p + at;
			h->features_len = len;
		} else if (type == (uint32_t)EXT_BACKING_FORMAT && !q->backing_format) {
			if (len > 15)
				return bad(q, e, "the backing file's format");
			q->backing_format = ext_string(h->p + at, len);
		} else if (type == EXT_DATA_FILE && !*data_name) {
			*data_name = ext_string(h->p + at, len);
		}
		at += align_up(len, 8);
	}
	return 0;
}

int qcow2_header_read(struct qcow2 *q, char **data_name, struct err **e)
{
	size_t len = min_u64(HEADER_MAX, q->file->size);
	unsigned char *p = xzalloc_aligned(4096, HEADER_MAX);
	struct header h = {.p = p, .len = len};
	int r = node_pread(q->file, 0, p, len);

	if (r)
		err_set(e, -r, "'%s': cannot read the header: %s", q->file->filename, strerror(-r));
	r = r ? r : header_fixed(q, &h, e);
	r = r ? r : header_extensions(q, &h, data_name, e);
	r = r ? r : check_features(q, &h, e);
	r = r ? r : header_backing(q, &h, e);
	free(p);
	return r;
}

int qcow2_header_put(struct qcow2 *q, unsigned at, uint64_t value, unsigned bytes)
{
	unsigned char buf[8];

	put_be64(buf, bytes == 8 ? value : value << 32);
	return node_pwrite(q->file, at, buf, bytes);
}
