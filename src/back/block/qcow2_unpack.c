/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compressed clusters.  The entry gives the offset of the packed bytes and how many sectors of 512
 * they lie in; where in the last they end is known to the packed stream alone.  The last one that
 * was read is kept, since guests read less than a cluster at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "back/block/qcow2.h"

static int unpack_zlib(unsigned char *out, size_t out_len, const unsigned char *in, size_t in_len)
{
	z_stream z = {.next_in = (unsigned char *)in,
		      .avail_in = (unsigned)in_len,
		      .next_out = out,
		      .avail_out = (unsigned)out_len};
	int r;

	if (inflateInit2(&z, -12) != Z_OK)
		return -ENOMEM;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return (r == Z_STREAM_END || r == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
}

static int unpack_zstd(unsigned char *out, size_t out_len, const unsigned char *in, size_t in_len)
{
	ZSTD_inBuffer src = {in, in_len, 0};
	ZSTD_outBuffer dst = {out, out_len, 0};
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	size_t r = 1;

	if (!ctx)
		return -ENOMEM;
	while (r && dst.pos < dst.size) {
		size_t in_was = src.pos, out_was = dst.pos;

		r = ZSTD_decompressStream(ctx, &dst, &src);
		if (ZSTD_isError(r) || (src.pos == in_was && dst.pos == out_was))
			break;
	}
	ZSTD_freeDCtx(ctx);
	return dst.pos == dst.size ? 0 : -EIO;
}

static int unpack(struct qcow2 *q, uint64_t entry, unsigned char *out)
{
	unsigned shift = 62 - (q->cluster_bits - 8);
	uint64_t off = entry & (BIT(shift) - 1),
		 len = (bits_get(entry, 61, shift) + 1) * 512 - (off & 511);
	unsigned char *in = xzalloc_aligned(4096, align_up(len, 4096));
	int r = node_pread(q->file, off, in, len);

	if (!r)
		r = q->zstd ? unpack_zstd(out, q->cluster_size, in, len)
			    : unpack_zlib(out, q->cluster_size, in, len);
	free(in);
	return r;
}

int unpack_read(struct qcow2 *q, uint64_t entry, uint64_t inside, uint64_t len, struct bvec v)
{
	unsigned char *out;
	bool kept;
	int r;

	pthread_mutex_lock(&q->unpacked_lock);
	kept = q->unpacked_entry == entry;
	if (kept)
		bvec_put(v, q->unpacked + inside, len);
	pthread_mutex_unlock(&q->unpacked_lock);
	if (kept)
		return 0;
	out = xzalloc(q->cluster_size);
	r = unpack(q, entry, out);
	if (r) {
		free(out);
		return r;
	}
	bvec_put(v, out + inside, len);
	pthread_mutex_lock(&q->unpacked_lock);
	free(q->unpacked);
	q->unpacked = out;
	q->unpacked_entry = entry;
	pthread_mutex_unlock(&q->unpacked_lock);
	return 0;
}
