/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders that were being read when a session was saved.
 *
 * A client goes on where the last entry that it got says.  Such a position means the same to
 *another descriptor of the folder on some file systems.  On others (overlays, for one) it counts
 *the entries of a list that was made when the descriptor began to read; meanwhile the client may
 *have removed half of them, and a new list would have it skip as many of the others.  So what the
 *old descriptor has still to give goes along, and is given to the client until it begins anew.
 *
 *	from[8]			the position where it begins
 *	len[4]			bytes of entries, each:
 *	    off[8] ino[8] type[1] name_len[2] name
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "back/fs/p9_int.h"
#include "back/fs/p9_saved_int.h"
#include "base/base.h"

#define ENTRY_HEAD 19

struct p9_listing {
	uint64_t from;
	uint32_t len;
	uint8_t entries[];
};

uint64_t p9_listing_from(const struct p9_listing *l)
{
	return l->from;
}

bool p9_listing_next(const struct p9_listing *l, const uint8_t **at, struct p9_entry *e)
{
	const uint8_t *p = *at;

	if (p == l->entries + l->len)
		return false;
	*e = (struct p9_entry){.off = get_le64(p),
			       .ino = get_le64(p + 8),
			       .type = p[16],
			       .name_len = get_le16(p + 17),
			       .name = (const char *)p + ENTRY_HEAD};
	*at = p + ENTRY_HEAD + e->name_len;
	return true;
}

const uint8_t *p9_listing_after(const struct p9_listing *l, uint64_t off)
{
	const uint8_t *at = l->entries;
	struct p9_entry e;

	if (off == l->from)
		return at;
	while (p9_listing_next(l, &at, &e))
		if (e.off == off)
			return at;
	return NULL;
}

static void put_entry(struct bytes *b, const struct p9_entry *e)
{
	bytes_u64(b, e->off);
	bytes_u64(b, e->ino);
	bytes_u8(b, e->type);
	bytes_u16(b, (uint16_t)e->name_len);
	bytes_put(b, e->name, e->name_len);
}

/* put_host - what the folder's descriptor gives from there on, in at most max bytes. */
static bool put_host(const struct p9_fid *fid, struct bytes *b, uint64_t max)
{
	_Alignas(struct dirent64) char buf[16384];
	size_t begin = b->len;
	ssize_t n;

	if (lseek(fid->fd, (off_t)fid->dir_at, SEEK_SET) < 0)
		return false;
	while ((n = getdents64(fid->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(buf + at);

			put_entry(b, &(struct p9_entry){d->d_name, strlen(d->d_name), d->d_ino,
							(uint64_t)d->d_off, d->d_type});
			at += d->d_reclen;
		}
		if (b->len - begin > max)
			return false;
	}
	return n == 0;
}

static void put_saved(const struct p9_fid *fid, const uint8_t *at, struct bytes *b)
{
	const struct p9_listing *l = fid->listing;

	bytes_put(b, at, (size_t)(l->entries + l->len - at));
}

bool p9_listing_save(const struct p9_fid *fid, struct bytes *b, uint64_t *budget)
{
	const uint8_t *at = fid->listing ? p9_listing_after(fid->listing, fid->dir_at) : NULL;
	size_t begin = b->len, entries;
	bool good = true;

	bytes_u64(b, fid->dir_at);
	bytes_u32(b, 0);
	entries = b->len;
	if (at)
		put_saved(fid, at, b);
	else
		good = put_host(fid, b, *budget);
	if (!good || b->len - entries > *budget) {
		b->len = begin;
		return false;
	}
	*budget -= b->len - entries;
	put_le32(b->p + entries - 4, (uint32_t)(b->len - entries));
	return true;
}

/* bad_entry - is it none, in the bytes up to end? */
static bool bad_entry(const uint8_t *p, const uint8_t *end)
{
	size_t len;

	if (end - p < ENTRY_HEAD)
		return true;
	len = get_le16(p + 17);
	p += ENTRY_HEAD;
	return !len || len > P9_SAVED_NAME_MAX || (size_t)(end - p) < len || memchr(p, 0, len) ||
	       memchr(p, '/', len);
}

const char *p9_listing_read(struct p9_in *in, struct p9_listing **out, uint64_t *budget)
{
	uint64_t from = p9_get64(in);
	uint32_t len = p9_get32(in);
	const uint8_t *begin = p9_getbytes(in, len), *end;
	struct p9_listing *l;

	if (!begin)
		return NULL;
	end = begin + len;
	if (!from)
		return "a folder that was not being read";
	if (len > *budget)
		return "too much of folders";
	*budget -= len;
	for (const uint8_t *p = begin; p < end; p += ENTRY_HEAD + get_le16(p + 17))
		if (bad_entry(p, end))
			return "an entry that is in no folder";
	l = xrealloc(NULL, sizeof(*l) + len);
	*l = (struct p9_listing){.from = from, .len = len};
	if (len)
		memcpy(l->entries, begin, len);
	*out = l;
	return NULL;
}

struct p9_listing *p9_listing_copy(const struct p9_listing *l)
{
	size_t size = l ? sizeof(*l) + l->len : 0;

	return l ? memcpy(xrealloc(NULL, size), l, size) : NULL;
}

void p9_listing_free(struct p9_listing *l)
{
	free(l);
}
