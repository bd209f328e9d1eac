/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts braces and brackets outside strings (RFC 8259 2).  Two things are not JSON: a string may
 * be in single quotes, as people type them at monitors, and leaves here in double ones; and after
 * something malformed the stream is taken up again at the next line, or at a byte 0xff.
 */
#include "ctl/json_frame.h"

#define KEEP 65536 /* bytes that stay allocated for the next value */

static void frame_bad(struct json_frame *f, const char *why, uint8_t byte)
{
	f->why = why;
	f->skip = byte != '\n' && byte != 0xff;
}

/* A byte inside a string. */
static void frame_string(struct json_frame *f, char c)
{
	if (f->escape) {
		f->escape = false;
		if (c == '\'') { /* \' is no escape of JSON */
			f->text.s[f->text.len - 1] = c;
			return;
		}
	} else if (c == '\\') {
		f->escape = true;
	} else if (c == f->quote) {
		f->quote = 0;
		c = '"';
	} else if (c == '"') {
		text_put(&f->text, "\\", 1);
	}
	text_put(&f->text, &c, 1);
}

static void frame_open(struct json_frame *f, char c)
{
	if (f->depth == JSON_FRAME_DEPTH) {
		frame_bad(f, "too many nested levels", (uint8_t)c);
		return;
	}
	f->depth++;
	text_put(&f->text, &c, 1);
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A byte outside strings; true when it ends the value. */
static bool frame_plain(struct json_frame *f, uint8_t c)
{
	bool open = c == '{' || c == '[', close = c == '}' || c == ']';

	if (f->word && (is_space(c) || open)) /* the byte is not part of it */
		return true;
	if (!f->depth && !f->word && is_space(c))
		return false;
	if (c == 0xff || (c < ' ' && !is_space(c))) {
		frame_bad(f, "invalid character", c);
	} else if (close && !f->depth) {
		frame_bad(f, "unexpected closing bracket", c);
	} else if (open) {
		frame_open(f, (char)c);
	} else if (close) {
		text_put(&f->text, &c, 1);
		return --f->depth == 0;
	} else {
		f->word |= !f->depth;
		if (c == '"' || c == '\'') {
			f->quote = (char)c;
			c = '"';
		}
		text_put(&f->text, &c, 1);
	}
	return false;
}

/* True when the value is complete; *keep when the byte belongs to the next. */
static bool frame_byte(struct json_frame *f, uint8_t c, bool *keep)
{
	if (f->quote) {
		if (c < ' ' || c == 0xff)
			frame_bad(f, "control character in a string", c);
		else
			frame_string(f, (char)c);
		return false;
	}
	*keep = f->word && (c == '{' || c == '[');
	return frame_plain(f, c);
}

enum json_frame_result json_frame_put(struct json_frame *f, const uint8_t *buf, size_t len,
				      size_t *used)
{
	for (size_t i = 0; i < len; i++) {
		bool keep = false, done;

		if (f->skip) {
			f->skip = buf[i] != '\n' && buf[i] != 0xff;
			continue;
		}
		done = frame_byte(f, buf[i], &keep);
		if (!f->why && f->text.len > JSON_FRAME_MAX)
			frame_bad(f, "message too long", buf[i]);
		*used = i + !keep;
		if (f->why)
			return JSON_FRAME_BAD;
		if (done)
			return JSON_FRAME_DONE;
	}
	*used = len;
	return JSON_FRAME_MORE;
}

void json_frame_next(struct json_frame *f)
{
	if (f->text.cap > KEEP)
		text_free(&f->text);
	f->text.len = 0;
	f->depth = 0;
	f->quote = 0;
	f->escape = f->word = false;
	f->why = NULL;
}

void json_frame_reset(struct json_frame *f)
{
	text_free(&f->text);
	*f = (struct json_frame){0};
}
