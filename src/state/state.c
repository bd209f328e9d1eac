/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codec of saved state.
 *
 * A record is: name of the description, u32 version, the fields in the order of its table, and
 * an empty name. A field is: name, u8 kind, u32 count, the data.  A name is a length byte and
 * that many bytes.  Scalars are little-endian; a nested structure is `count` records.
 * Everything is checked against the table of the reader, field by field, before the first byte
 * of the object changes: a stream that is cut short, reordered, of a version that is not read or
 * not canonical (a BOOL of 2) is refused with a message that names the field.  Values that only the
 * owner can judge are refused by its post_load; then the object gets back what it held before.
 *
 * A description whose table grew says which versions it can still read (oldest), and its newer
 * fields say since when they are there; a stream of such a version has no others.
 */
#include "state/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"

static void buf_put(struct state_buf *b, const void *p, size_t len)
{
	if (b->cap - b->len < len) {
		b->cap = (b->len + len) * 2;
		b->data = xrealloc(b->data, b->cap);
	}
	if (len)
		memcpy(b->data + b->len, p, len);
	b->len += len;
}

static void put_u8(struct state_buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

static void put_u32(struct state_buf *b, uint32_t v)
{
	buf_put(b, &v, sizeof(v));
}

static void put_name(struct state_buf *b, const char *name)
{
	size_t len = strlen(name);

	bug_on(len == 0 || len > 255);
	put_u8(b, (uint8_t)len);
	buf_put(b, name, len);
}

/* elem_size - bytes of one element in the stream and in memory (not for STRUCT). */
static size_t elem_size(enum state_kind kind)
{
	switch (kind) {
	case STATE_U16:
		return 2;
	case STATE_U32:
		return 4;
	case STATE_U64:
		return 8;
	default:
		return 1;
	}
}

static uint32_t field_count(const struct state_field *f, const void *obj)
{
	uint32_t n = f->count;

	if (f->pointer)
		memcpy(&n, (const char *)obj + f->count_at, sizeof(n));
	return n;
}

static void *field_data(const struct state_field *f, void *obj)
{
	char *p = (char *)obj + f->offset;

	return f->pointer ? *(void **)p : p;
}

static void *elem(const struct state_field *f, void *obj, uint32_t i)
{
	return (char *)field_data(f, obj) + (size_t)i * f->stride;
}

static void call_pre_save(const struct state_desc *d, void *obj)
{
	if (d->pre_save)
		d->pre_save(obj);
	for (const struct state_field *f = d->fields; f->name; f++)
		for (uint32_t i = 0; f->kind == STATE_STRUCT && i < field_count(f, obj); i++)
			call_pre_save(f->sub, elem(f, obj, i));
}

static void save_record(struct state_buf *out, const struct state_desc *d, void *obj)
{
	put_name(out, d->name);
	put_u32(out, d->version);
	for (const struct state_field *f = d->fields; f->name; f++) {
		put_name(out, f->name);
		put_u8(out, (uint8_t)f->kind);
		put_u32(out, field_count(f, obj));
		if (f->kind == STATE_STRUCT) {
			for (uint32_t i = 0; i < field_count(f, obj); i++)
				save_record(out, f->sub, elem(f, obj, i));
		} else {
			buf_put(out, field_data(f, obj), field_count(f, obj) * elem_size(f->kind));
		}
	}
	put_u8(out, 0);
}

void state_save(struct state_buf *out, const struct state_desc *d, void *obj)
{
	call_pre_save(d, obj);
	save_record(out, d, obj);
}

struct reader {
	const uint8_t *p;
	size_t left;
};

static const uint8_t *take(struct reader *r, size_t len)
{
	const uint8_t *p = r->p;

	if (len > r->left)
		return NULL;
	r->p += len;
	r->left -= len;
	return p;
}

/* take_name - is `name` next in the stream? */
static bool take_name(struct reader *r, const char *name)
{
	size_t len = strlen(name);
	const uint8_t *p = take(r, 1 + len);

	return p && p[0] == len && memcmp(p + 1, name, len) == 0;
}

static int bad(struct err **e, const struct state_desc *d, const char *field, const char *what)
{
	return err_set(e, EINVAL, "saved state of %s%s%s: %s", d->name, field ? "." : "",
		       field ? field : "", what);
}

static int read_record(struct reader *r, const struct state_desc *d, void *obj, bool apply,
		       struct err **e);

/* replace - what a field that varies points to. */
static void replace(const struct state_field *f, void *obj, const uint8_t *p, uint32_t n)
{
	void **to = (void **)((char *)obj + f->offset);

	free(*to);
	*to = n ? memcpy(xrealloc(NULL, n), p, n) : NULL;
	memcpy((char *)obj + f->count_at, &n, sizeof(n));
}

/* read_data - the n elements of a field; apply false: only look. */
static int read_data(struct reader *r, const struct state_desc *d, const struct state_field *f,
		     uint32_t n, void *obj, bool apply, struct err **e)
{
	const uint8_t *p;

	if (f->kind == STATE_STRUCT) {
		for (uint32_t i = 0; i < n; i++) {
			int rc = read_record(r, f->sub, elem(f, obj, i), apply, e);

			if (rc)
				return rc;
		}
		return 0;
	}
	p = take(r, n * elem_size(f->kind));
	if (!p)
		return bad(e, d, f->name, "cut short");
	for (uint32_t i = 0; f->kind == STATE_BOOL && i < n; i++)
		if (p[i] > 1)
			return bad(e, d, f->name, "neither true nor false");
	if (apply && f->limit)
		replace(f, obj, p, n);
	else if (apply && n)
		memcpy(field_data(f, obj), p, n * elem_size(f->kind));
	return 0;
}

/* absent - the stream is older than the field. */
static void absent(const struct state_field *f, void *obj)
{
	uint32_t n = field_count(f, obj);

	bug_on(f->kind == STATE_STRUCT);
	if (f->limit)
		replace(f, obj, NULL, 0);
	else if (n)
		memset(field_data(f, obj), 0, n * elem_size(f->kind));
}

static int read_field(struct reader *r, const struct state_desc *d, const struct state_field *f,
		      void *obj, bool apply, struct err **e)
{
	const uint8_t *p;
	uint32_t n;

	if (!take_name(r, f->name))
		return bad(e, d, f->name, "missing");
	p = take(r, 5);
	if (!p)
		return bad(e, d, f->name, "cut short");
	n = get_le32(p + 1);
	if (p[0] != f->kind || (f->limit ? n > f->limit : n != field_count(f, obj)))
		return bad(e, d, f->name, "of another kind or size");
	return read_data(r, d, f, n, obj, apply, e);
}

static int read_record(struct reader *r, const struct state_desc *d, void *obj, bool apply,
		       struct err **e)
{
	const uint8_t *p;
	uint32_t version;

	if (!take_name(r, d->name))
		return bad(e, d, NULL, "missing");
	p = take(r, 4);
	if (!p)
		return bad(e, d, NULL, "cut short");
	version = get_le32(p);
	if (version > d->version || version < (d->oldest ? d->oldest : d->version))
		return bad(e, d, NULL, "of another version");
	for (const struct state_field *f = d->fields; f->name; f++) {
		int rc = 0;

		if (f->since <= version)
			rc = read_field(r, d, f, obj, apply, e);
		else if (apply)
			absent(f, obj);
		if (rc)
			return rc;
	}
	p = take(r, 1);
	if (!p || *p)
		return bad(e, d, NULL, "more fields than expected");
	return 0;
}

static int call_post_load(const struct state_desc *d, void *obj, struct err **e)
{
	for (const struct state_field *f = d->fields; f->name; f++)
		for (uint32_t i = 0; f->kind == STATE_STRUCT && i < field_count(f, obj); i++) {
			int rc = call_post_load(f->sub, elem(f, obj, i), e);

			if (rc)
				return rc;
		}
	return d->post_load ? d->post_load(obj, e) : 0;
}

int state_load(const struct state_desc *d, void *obj, const uint8_t *data, size_t len, size_t *used,
	       struct err **e)
{
	struct reader look = { .p = data, .left = len }, apply = look, undo;
	struct state_buf before = { 0 };
	int rc = read_record(&look, d, obj, false, e);

	if (rc)
		return rc;
	state_save(&before, d, obj);
	rc = read_record(&apply, d, obj, true, e);
	bug_on(rc);
	*used = len - apply.left;
	rc = call_post_load(d, obj, e);
	if (rc) {
		undo = (struct reader){ .p = before.data, .left = before.len };
		bug_on(read_record(&undo, d, obj, true, NULL));
		(void)call_post_load(d, obj, NULL); /* what is derived follows */
	}
	free(before.data);
	return rc;
}
