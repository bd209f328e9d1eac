/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of 9P messages, and lists of buffers. */
#include <errno.h>
#include <string.h>
#include "back/fs/p9_int.h"
#include "base/base.h"

uint8_t *p9_getbytes(struct p9_in *in, size_t n)
{
	uint8_t *p = in->p;

	if (!in->error && (size_t)(in->end - p) < n)
		in->error = -EPROTO;
	if (in->error)
		return NULL;
	in->p += n;
	return p;
}

uint8_t p9_get8(struct p9_in *in)
{
	uint8_t *p = p9_getbytes(in, 1);

	return p ? *p : 0;
}

uint16_t p9_get16(struct p9_in *in)
{
	uint8_t *p = p9_getbytes(in, 2);

	return p ? get_le16(p) : 0;
}

uint32_t p9_get32(struct p9_in *in)
{
	uint8_t *p = p9_getbytes(in, 4);

	return p ? get_le32(p) : 0;
}

uint64_t p9_get64(struct p9_in *in)
{
	uint8_t *p = p9_getbytes(in, 8);

	return p ? get_le64(p) : 0;
}

char *p9_getstr(struct p9_in *in)
{
	size_t len = p9_get16(in);
	uint8_t *p = p9_getbytes(in, len);
	char *s;

	if (p && memchr(p, 0, len))
		in->error = -EINVAL;
	if (in->error)
		return (char *)"";
	/* Onto its own length, which makes room for the NUL. */
	s = (char *)p - 1;
	memmove(s, p, len);
	s[len] = 0;
	return s;
}

char *p9_getname(struct p9_in *in)
{
	char *s = p9_getstr(in);

	if (in->error)
		return s;
	if (!*s || strchr(s, '/'))
		in->error = -ENOENT;
	else if (!strcmp(s, ".") || !strcmp(s, ".."))
		in->error = -EINVAL;
	return s;
}

static uint8_t *give(struct p9_out *out, size_t n)
{
	uint8_t *p = out->buf + out->len;

	if (sizeof(out->buf) - out->len < n) {
		out->overflow = true;
		return NULL;
	}
	out->len += (uint32_t)n;
	return p;
}

void p9_put8(struct p9_out *out, uint8_t v)
{
	uint8_t *p = give(out, 1);

	if (p)
		*p = v;
}

void p9_put16(struct p9_out *out, uint16_t v)
{
	uint8_t *p = give(out, 2);

	if (p)
		put_le16(p, v);
}

void p9_put32(struct p9_out *out, uint32_t v)
{
	uint8_t *p = give(out, 4);

	if (p)
		put_le32(p, v);
}

void p9_put64(struct p9_out *out, uint64_t v)
{
	uint8_t *p = give(out, 8);

	if (p)
		put_le64(p, v);
}

void p9_putstr(struct p9_out *out, const char *s, size_t len)
{
	uint8_t *p;

	p9_put16(out, (uint16_t)len);
	p = len > UINT16_MAX ? NULL : give(out, len);
	if (p)
		memcpy(p, s, len);
	else
		out->overflow = true;
}

void p9_putqid(struct p9_out *out, const struct fs_qid *q)
{
	p9_put8(out, q->type);
	p9_put32(out, q->version);
	p9_put64(out, q->path);
}

uint64_t p9_iov_len(const struct iovec *iov, unsigned n)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

unsigned p9_iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len, struct iovec *to,
		      unsigned max)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n && len && k < max; i++) {
		size_t piece = iov[i].iov_len;

		if (off >= piece) {
			off -= piece;
			continue;
		}
		piece = min_u64(piece - off, len);
		to[k++] = (struct iovec){(uint8_t *)iov[i].iov_base + off, piece};
		len -= piece;
		off = 0;
	}
	return k;
}

static size_t iov_copy(const struct iovec *iov, unsigned n, size_t off, uint8_t *get,
		       const uint8_t *put, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t piece = iov[i].iov_len;
		uint8_t *at = (uint8_t *)iov[i].iov_base + off;

		if (off >= piece) {
			off -= piece;
			continue;
		}
		piece = min_u64(piece - off, len - done);
		if (get)
			memcpy(get + done, at, piece);
		else
			memcpy(at, put + done, piece);
		done += piece;
		off = 0;
	}
	return done;
}

size_t p9_iov_get(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len)
{
	return iov_copy(iov, n, off, buf, NULL, len);
}

size_t p9_iov_put(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len)
{
	return iov_copy(iov, n, off, NULL, buf, len);
}
