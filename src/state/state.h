/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Saved form of devices and CPUs: tables of fields, so that one description serves save, load,
 * validation and dumps.  A stream is little-endian, self-describing by field name, versioned
 * per description.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum state_kind {
	STATE_U8, STATE_U16, STATE_U32, STATE_U64, STATE_BOOL, STATE_BYTES, /* size = count */
	STATE_STRUCT, /* nested: sub */
};

struct state_field {
	const char *name;
	size_t offset;
	enum state_kind kind;
	uint32_t count;		       /* array length (1 for scalars); BYTES: length */
	size_t stride;		       /* STRUCT arrays: size of an element */
	const struct state_desc *sub;
	/* The member at offset is a pointer to the elements, and how many is in the uint32_t at
	 * count_at (count 0 in the table), which is not itself saved.  A stream with another
	 * number is refused: the configuration tells how much there is. */
	bool pointer;
	size_t count_at;
	/* A pointer to BYTES of which a stream may have any number up to this, whatever there was
	 * (0: as above): malloc'ed, NULL when there are none, and replaced by a load. */
	uint32_t limit;
	/* The version of the description that brought the field (0: all have it).  Where an older
	 * stream is loaded it becomes zero, or no bytes; not for STRUCT. */
	uint32_t since;
};

struct state_desc {
	const char *name;
	/* Raised when what the fields mean changes, so that an older reader refuses what it would
	 * take for something else, and when there are more.  oldest: the first version that can
	 * still be loaded; 0: version alone. */
	uint32_t version, oldest;
	const struct state_field *fields; /* ends with name == NULL */
	/* Called after load with the values in place: 0, or -EINVAL with *e when a loaded value is
	 * impossible (streams are hostile); re-derive what is derived (timers, lines). */
	int (*post_load)(void *obj, struct err **e);
	/* Called before save to bring fields up to date; may be NULL. */
	void (*pre_save)(void *obj);
};

#define STATE_FIELD(type, member, kind_)                                                           \
	{ .name = #member, .offset = offsetof(type, member), .kind = (kind_), .count = 1 }
/* STATE_FIELD_AS - with a name of its own in the stream, which stays when the member's changes. */
#define STATE_FIELD_AS(name_, type, member, kind_)                                             \
	{                                                                                      \
		.name = (name_), .offset = offsetof(type, member), .kind = (kind_), .count = 1 \
	}
#define STATE_ARRAY(type, member, kind_)                                                           \
	{ .name = #member, .offset = offsetof(type, member), .kind = (kind_),                      \
	  .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]) }
#define STATE_BLOB(type, member)                                                                   \
	{ .name = #member, .offset = offsetof(type, member), .kind = STATE_BYTES,                  \
	  .count = sizeof(((type *)0)->member) }
/* STATE_STRUCTS - an array (or, STATE_SUB, one) of nested structures described by desc. */
#define STATE_STRUCTS(type, member, desc)                                                          \
	{ .name = #member, .offset = offsetof(type, member), .kind = STATE_STRUCT,                 \
	  .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]),                   \
	  .stride = sizeof(((type *)0)->member[0]), .sub = &(desc) }
#define STATE_SUB(type, member, desc)                                                              \
	{ .name = #member, .offset = offsetof(type, member), .kind = STATE_STRUCT, .count = 1,     \
	  .stride = sizeof(((type *)0)->member), .sub = &(desc) }
/* STATE_PTR - member points to n_member scalars or bytes; STATE_PTR_STRUCTS: to structures. */
#define STATE_PTR(type, member, n_member, kind_)                                                   \
	{ .name = #member, .offset = offsetof(type, member), .kind = (kind_), .pointer = true,     \
	  .count_at = offsetof(type, n_member) }
#define STATE_PTR_STRUCTS(type, member, n_member, desc)                                            \
	{ .name = #member, .offset = offsetof(type, member), .kind = STATE_STRUCT,                 \
	  .pointer = true, .count_at = offsetof(type, n_member),                                   \
	  .stride = sizeof(*((type *)0)->member), .sub = &(desc) }
/* STATE_VARIES - member points to n_member bytes, limit_ at most, as limit describes; in streams of
 * version since_ and newer. */
#define STATE_VARIES(type, member, n_member, limit_, since_)                                       \
	{ .name = #member, .offset = offsetof(type, member), .kind = STATE_BYTES,                  \
	  .pointer = true, .count_at = offsetof(type, n_member), .limit = (limit_),                \
	  .since = (since_) }
#define STATE_END { .name = NULL }

struct state_buf { /* growing byte buffer of a writer; data is malloc'ed, caller frees */
	uint8_t *data;
	size_t len, cap;
};

void state_save(struct state_buf *out, const struct state_desc *d, void *obj);
/* state_load - parse one object from data; *used gets the bytes consumed.  When it fails, obj
 * is as it was: nothing changes before the stream is seen to be well formed for d, and what
 * post_load refuses is taken back. */
int state_load(const struct state_desc *d, void *obj, const uint8_t *data, size_t len,
	       size_t *used, struct err **e);
