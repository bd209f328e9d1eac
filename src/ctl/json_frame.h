/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Where one JSON value of a stream ends: bytes in, whole texts out, within limits.  Pure; knows no
 * socket, and leaves it to a parser whether the text between is well-formed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ctl/text.h"

#define JSON_FRAME_MAX (1u << 20) /* bytes in a value */
#define JSON_FRAME_DEPTH 64 /* nested objects and lists */

struct json_frame {
	struct text text;
	unsigned depth;
	char quote; /* inside a string, which this ends; 0: outside */
	bool escape; /* a backslash came before */
	bool word; /* a value that is no object and no list */
	bool skip; /* what is malformed goes on to the end of the line */
	const char *why;
};

enum json_frame_result {
	JSON_FRAME_MORE, /* all taken, the value is not complete */
	JSON_FRAME_DONE, /* f->text is a value; json_frame_next before going on */
	JSON_FRAME_BAD, /* f->why; the rest of the line is passed over; json_frame_next as well */
};

/* json_frame_put - take bytes up to the end of a value, or all; *used says how many. */
enum json_frame_result json_frame_put(struct json_frame *f, const uint8_t *buf, size_t len,
				      size_t *used);
/* json_frame_next - forget the value; ready for another. */
void json_frame_next(struct json_frame *f);
/* json_frame_reset - a new connection; also frees. */
void json_frame_reset(struct json_frame *f);
