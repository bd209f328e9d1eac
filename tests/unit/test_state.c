/* SPDX-License-Identifier: Apache-2.0 */
/* Saved state: round trip, and streams that somebody has damaged. */
#include "dev_env.h"

#include <errno.h>

#include "state/state.h"

struct inner {
	uint16_t a;
	bool flag;
};

struct outer {
	uint8_t u8;
	uint16_t u16[3];
	uint32_t u32;
	uint64_t u64;
	uint8_t blob[5];
	struct inner in[2];
	int loads, saves;
};

static const struct state_field inner_fields[] = {
	STATE_FIELD(struct inner, a, STATE_U16),
	STATE_FIELD(struct inner, flag, STATE_BOOL),
	STATE_END,
};
static const struct state_desc inner_desc = {
	.name = "inner", .version = 3, .fields = inner_fields,
};

static int outer_load(void *obj, struct err **e)
{
	struct outer *o = obj;

	o->loads++;
	return o->u8 == 99 ? err_set(e, EINVAL, "u8 must not be 99") : 0;
}

static void outer_save(void *obj)
{
	((struct outer *)obj)->saves++;
}

static const struct state_field outer_fields[] = {
	STATE_FIELD(struct outer, u8, STATE_U8),
	STATE_ARRAY(struct outer, u16, STATE_U16),
	STATE_FIELD(struct outer, u32, STATE_U32),
	STATE_FIELD(struct outer, u64, STATE_U64),
	STATE_BLOB(struct outer, blob),
	STATE_STRUCTS(struct outer, in, inner_desc),
	STATE_END,
};
static const struct state_desc outer_desc = {
	.name = "outer", .version = 1, .fields = outer_fields, .post_load = outer_load,
	.pre_save = outer_save,
};

static const struct outer sample = {
	.u8 = 7, .u16 = { 1, 2, 0xfffe }, .u32 = 0xdeadbeef, .u64 = UINT64_C(0x0123456789abcdef),
	.blob = { 9, 8, 7, 6, 5 }, .in = { { 0x1111, true }, { 0x2222, false } },
};

static struct state_buf save(const struct outer *o)
{
	struct state_buf b = { 0 };
	struct outer copy = *o;

	state_save(&b, &outer_desc, &copy);
	assert_int_equal(copy.saves, o->saves + 1);
	return b;
}

static void round_trip(void **unused)
{
	struct state_buf b = save(&sample);
	struct outer o = { 0 };
	size_t used = 0;

	assert_int_equal(state_load(&outer_desc, &o, b.data, b.len, &used, NULL), 0);
	assert_int_equal(used, b.len);
	assert_int_equal(o.loads, 1);
	o.loads = o.saves = 0;
	assert_memory_equal(&o, &sample, sizeof(o));
	free(b.data);
}

static void cut_short(void **unused)
{
	struct state_buf b = save(&sample);

	for (size_t len = 0; len < b.len; len++) {
		struct outer o = { 0 }, zero = { 0 };
		struct err *e = NULL;
		uint8_t *part = malloc(len ? len : 1); /* so that a read past it is seen */
		size_t used;

		memcpy(part, b.data, len);
		assert_int_equal(state_load(&outer_desc, &o, part, len, &used, &e), -EINVAL);
		assert_non_null(e);
		assert_memory_equal(&o, &zero, sizeof(o));
		err_free(&e);
		free(part);
	}
	free(b.data);
}

/* Every single-byte change is either refused without a trace or changes exactly a value. */
static void damaged(void **unused)
{
	struct state_buf b = save(&sample);
	unsigned refused = 0;

	for (size_t i = 0; i < b.len; i++) {
		struct outer o = { 0 }, zero = { 0 };
		size_t used;

		b.data[i] ^= 0x83;
		if (state_load(&outer_desc, &o, b.data, b.len, &used, NULL)) {
			refused++;
			assert_memory_equal(&o, &zero, sizeof(o));
		} else {
			assert_int_equal(used, b.len);
		}
		b.data[i] ^= 0x83;
	}
	/* All but the 33 data bytes of numbers (the two flags are checked). */
	assert_int_equal(refused, b.len - (1 + 6 + 4 + 8 + 5 + 2 * 2));
	free(b.data);
}

static void refused_value(void **unused)
{
	struct outer bad = sample, o = { 0 };
	struct err *e = NULL;
	struct state_buf b;
	size_t used;

	bad.u8 = 99;
	b = save(&bad);
	o.u32 = 5;
	assert_int_equal(state_load(&outer_desc, &o, b.data, b.len, &used, &e), -EINVAL);
	assert_string_equal(err_msg(e), "u8 must not be 99");
	assert_int_equal(o.u8, 0); /* as before */
	assert_int_equal(o.u32, 5);
	err_free(&e);
	free(b.data);
}

/* What lies behind pointers, as many as the object has. */
struct list {
	uint32_t n_words, n_in;
	uint16_t *words;
	struct inner *in;
};

static const struct state_field list_fields[] = {
	STATE_PTR(struct list, words, n_words, STATE_U16),
	STATE_PTR_STRUCTS(struct list, in, n_in, inner_desc),
	STATE_END,
};
static const struct state_desc list_desc = { .name = "list", .version = 1, .fields = list_fields };

static void pointers(void **unused)
{
	uint16_t w1[3] = { 1, 2, 3 }, w2[4] = { 0 };
	struct inner i1[2] = { { 5, true }, { 6, false } }, i2[2] = { { 0 } };
	struct list a = { 3, 2, w1, i1 }, b = { 3, 2, w2, i2 }, none = { 0 };
	struct state_buf s = { 0 }, empty = { 0 };
	size_t used;

	state_save(&s, &list_desc, &a);
	assert_int_equal(state_load(&list_desc, &b, s.data, s.len, &used, NULL), 0);
	assert_int_equal(used, s.len);
	assert_memory_equal(w2, w1, sizeof(w1));
	assert_int_equal(i2[0].a, 5);
	assert_true(i2[0].flag);
	b.n_words = 4; /* not what the stream has */
	w2[0] = 9;
	assert_int_equal(state_load(&list_desc, &b, s.data, s.len, &used, NULL), -EINVAL);
	assert_int_equal(w2[0], 9);
	state_save(&empty, &list_desc, &none);
	assert_int_equal(state_load(&list_desc, &none, empty.data, empty.len, &used, NULL), 0);
	assert_int_equal(state_load(&list_desc, &none, s.data, s.len, &used, NULL), -EINVAL);
	free(s.data);
	free(empty.data);
}

/* Records since `oldest` are read, as far as the reader's own version. */
static void versions(void **unused)
{
	struct state_desc d = list_desc;
	struct list o = {0};
	size_t used;

	for (uint32_t v = 0; v < 6; v++) {
		struct state_buf s = {0};
		struct err *e = NULL;
		bool good = v >= 2 && v <= 4;

		d.version = v;
		d.oldest = 0;
		state_save(&s, &d, &o);
		assert_int_equal(state_load(&d, &o, s.data, s.len, &used, NULL), 0);
		d.version = 4;
		assert_int_equal(state_load(&d, &o, s.data, s.len, &used, NULL),
				 v == 4 ? 0 : -EINVAL);
		d.oldest = 2;
		assert_int_equal(state_load(&d, &o, s.data, s.len, &used, &e), good ? 0 : -EINVAL);
		if (!good)
			assert_non_null(strstr(err_msg(e), "list: of another version"));
		err_free(&e);
		free(s.data);
	}
}

/* Bytes of which there may be more or less, and a table that grew. */
struct grown {
	uint8_t old;
	uint32_t n_bytes;
	uint8_t *bytes;
	uint16_t word;
};

static int grown_load(void *obj, struct err **e)
{
	return ((struct grown *)obj)->old == 99 ? err_set(e, EINVAL, "99") : 0;
}

static const struct state_field grown_fields[] = {
	STATE_FIELD(struct grown, old, STATE_U8),
	STATE_VARIES(struct grown, bytes, n_bytes, 10, 2),
	{.name = "word",
	 .offset = offsetof(struct grown, word),
	 .kind = STATE_U16,
	 .count = 1,
	 .since = 3},
	STATE_END,
};
static const struct state_desc grown_desc = {
	.name = "grown", .version = 3, .oldest = 1, .fields = grown_fields, .post_load = grown_load,
};
/* The same as it was. */
static const struct state_field first_fields[] = {
	STATE_FIELD(struct grown, old, STATE_U8),
	STATE_END,
};
static const struct state_desc first_desc = {
	.name = "grown", .version = 1, .fields = first_fields,
};

static void varying(void **unused)
{
	uint8_t b[11] = "0123456789";
	struct grown from = { 7, 10, b, 5 }, to = { 0 };
	struct state_buf s = { 0 };
	size_t used;

	for (uint32_t n = 0; n <= 11; n++) {
		struct grown before = to;

		from.n_bytes = n;
		s.len = 0;
		state_save(&s, &grown_desc, &from);
		if (n == 11) {
			assert_int_equal(state_load(&grown_desc, &to, s.data, s.len, &used, NULL),
					 -EINVAL);
			assert_memory_equal(&to, &before, sizeof(to));
			break;
		}
		assert_int_equal(state_load(&grown_desc, &to, s.data, s.len, &used, NULL), 0);
		assert_int_equal(used, s.len);
		assert_int_equal(to.n_bytes, n);
		if (n)
			assert_memory_equal(to.bytes, b, n);
		else
			assert_null(to.bytes);
		/* Cut short anywhere: refused, and no byte behind is looked at. */
		for (size_t len = 0; len < s.len; len++) {
			uint8_t *part = malloc(len ? len : 1);

			memcpy(part, s.data, len);
			assert_int_equal(state_load(&grown_desc, &to, part, len, &used, NULL),
					 -EINVAL);
			assert_int_equal(to.n_bytes, n);
			free(part);
		}
	}
	/* What post_load refuses is taken back, of whatever length it was. */
	from = (struct grown){ 99, 3, b + 3, 5 };
	s.len = 0;
	state_save(&s, &grown_desc, &from);
	assert_int_equal(state_load(&grown_desc, &to, s.data, s.len, &used, NULL), -EINVAL);
	assert_int_equal(to.n_bytes, 10);
	assert_memory_equal(to.bytes, b, 10);
	free(to.bytes);
	free(s.data);
}

static void older(void **unused)
{
	struct grown from = { .old = 7 }, to = { 1, 2, malloc(2), 3 };
	struct state_desc d = first_desc;
	struct state_buf s = { 0 };
	size_t used;

	state_save(&s, &first_desc, &from);
	assert_int_equal(state_load(&grown_desc, &to, s.data, s.len, &used, NULL), 0);
	assert_int_equal(used, s.len);
	assert_int_equal(to.old, 7);
	assert_int_equal(to.n_bytes, 0);
	assert_null(to.bytes);
	assert_int_equal(to.word, 0);
	/* Neither what nobody has written nor what somebody will write. */
	for (d.version = 0; d.version <= 4; d.version += 4) {
		s.len = 0;
		state_save(&s, &d, &from);
		assert_int_equal(state_load(&grown_desc, &to, s.data, s.len, &used, NULL), -EINVAL);
	}
	/* The present version has all fields. */
	d.version = 3;
	s.len = 0;
	state_save(&s, &d, &from);
	assert_int_equal(state_load(&grown_desc, &to, s.data, s.len, &used, NULL), -EINVAL);
	free(s.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(cut_short),
		cmocka_unit_test(damaged),
		cmocka_unit_test(refused_value),
		cmocka_unit_test(pointers),
		cmocka_unit_test(versions),
		cmocka_unit_test(varying),
		cmocka_unit_test(older),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
