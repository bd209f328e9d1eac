/* SPDX-License-Identifier: Apache-2.0 */
/* Option lists, numbers and sizes as people write them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "base/kvjson.h"
#include "base/kvlist.h"

static void test_parse(void **state)
{
	struct kvlist l = {0};
	uint64_t n = 7;
	bool b = false;

	assert_int_equal(kv_parse(&l, "q35,a=1,b=x,,y,flag,nowait,a=0x2,empty=", "type", NULL), 0);
	assert_string_equal(kv_get(&l, "type"), "q35");
	assert_string_equal(kv_get(&l, "b"), "x,y");
	assert_string_equal(kv_get(&l, "empty"), "");
	assert_null(kv_get(&l, "absent"));
	assert_int_equal(kv_uint(&l, "a", 0, 10, &n, NULL), 0);
	assert_int_equal(n, 2); /* the last one counts */
	assert_int_equal(kv_bool(&l, "flag", &b, NULL), 0);
	assert_true(b);
	assert_int_equal(kv_bool(&l, "wait", &b, NULL), 0);
	assert_false(b);
	assert_int_equal(kv_finish(&l, NULL), 0);
	kv_free(&l);
}

static void test_errors(void **state)
{
	static const char *const bad[] = {"=x", ",", "a=1,=2"};
	struct kvlist l = {0};
	struct err *e = NULL;
	uint64_t n;
	bool b;

	assert_int_equal(kv_parse(&l, "a=11,b=perhaps,c", NULL, NULL), 0);
	assert_int_equal(kv_uint(&l, "a", 0, 10, &n, &e), -EINVAL);
	assert_non_null(strstr(err_msg(e), "'11'"));
	err_free(&e);
	assert_int_equal(kv_bool(&l, "b", &b, &e), -EINVAL);
	err_free(&e);
	assert_int_equal(kv_finish(&l, &e), -EINVAL);
	assert_non_null(strstr(err_msg(e), "'c'"));
	err_free(&e);
	kv_free(&l);
	assert_int_equal(kv_parse(&l, "", "x", NULL), 0);
	assert_int_equal(l.n, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(kv_parse(&l, bad[i], NULL, NULL), -EINVAL);
		kv_free(&l);
	}
}

static void test_sizes(void **state)
{
	static const struct {
		const char *s;
		uint64_t bytes; /* 0: not a size */
	} cases[] = {
		{"512", 512 * MiB},
		{"512M", 512 * MiB},
		{"1g", GiB},
		{"4k", 4096},
		{"1.5G", 3 * GiB / 2},
		{"7B", 7},
		{"2T", 2048 * GiB},
		{"", 0},
		{"M", 0},
		{"-5", 0},
		{"1GB", 0},
		{"1.G", 0},
		{"99999999999999G", 0},
		{"99999999999999999999", 0},
		{"512Q", 0},
		{" 5", 0},
		{"0x10", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t v = 0;

		assert_int_equal(parse_size(cases[i].s, MiB, &v), cases[i].bytes != 0);
		if (cases[i].bytes)
			assert_int_equal(v, cases[i].bytes);
	}
}

static void test_numbers(void **state)
{
	uint64_t v;

	assert_true(parse_uint("0", 0, 5, &v) && v == 0);
	assert_true(parse_uint("010", 0, 10, &v) && v == 10);
	assert_true(parse_uint("0xFf", 0, 255, &v) && v == 255);
	assert_true(parse_uint("18446744073709551615", 0, UINT64_MAX, &v) && v == UINT64_MAX);
	assert_false(parse_uint("18446744073709551616", 0, UINT64_MAX, &v));
	assert_false(parse_uint("6", 0, 5, &v));
	assert_false(parse_uint("0", 1, 5, &v));
	assert_false(parse_uint("-1", 0, UINT64_MAX, &v));
	assert_false(parse_uint("1x", 0, 5, &v));
	assert_false(parse_uint("", 0, 5, &v));
	assert_false(parse_uint("0x", 0, 5, &v));
}

static void test_json(void **state)
{
	static const char *const bad[] = {"{",
					  "{\"a\":}",
					  "{\"a\":null}",
					  "{} x",
					  "[1]",
					  "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
					  "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
					  "{\"a\":{\"a\":{\"a\":1}}}}}}}}}}}}}}}}}"};
	struct kvlist l = {0};
	struct err *e = NULL;
	char *text;

	assert_int_equal(kv_parse_any(&l,
				      " {\"driver\":\"qcow2\",\"n\":5,\"on\":true,"
				      "\"file\":{\"filename\":\"a,b\",\"x\":[\"p\",false]}}",
				      NULL, NULL),
			 0);
	assert_string_equal(kv_get(&l, "driver"), "qcow2");
	assert_string_equal(kv_get(&l, "n"), "5");
	assert_string_equal(kv_get(&l, "on"), "on");
	assert_string_equal(kv_get(&l, "file.filename"), "a,b");
	assert_string_equal(kv_get(&l, "file.x.0"), "p");
	assert_string_equal(kv_get(&l, "file.x.1"), "off");
	text = kv_text(&l, "driver");
	assert_string_equal(text, "n=5,on=on,file.filename=a,,b,file.x.0=p,file.x.1=off");
	free(text);
	kv_free(&l);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(kv_parse_json(&l, bad[i], &e), -EINVAL);
		assert_non_null(e);
		err_free(&e);
		kv_free(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),	cmocka_unit_test(test_errors),
		cmocka_unit_test(test_json),	cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
