/* SPDX-License-Identifier: Apache-2.0 */
/* Where JSON values of a stream end, and base64. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "ctl/base64.h"
#include "ctl/json_frame.h"

/* The results of a stream fed in pieces: values between '|', "!" for something malformed. */
static char *frames(const char *in, size_t len, size_t piece)
{
	struct json_frame f = {0};
	struct text out = {0};

	for (size_t at = 0; at < len;) {
		size_t n = min_u64(piece, len - at), used = 0;
		enum json_frame_result r = json_frame_put(&f, (const uint8_t *)in + at, n, &used);

		assert_true(used <= n);
		at += used;
		if (r == JSON_FRAME_MORE)
			continue;
		if (r == JSON_FRAME_DONE)
			text_printf(&out, "%s|", f.text.s);
		else
			text_printf(&out, "!");
		json_frame_next(&f);
	}
	json_frame_reset(&f);
	text_put(&out, "", 0);
	return out.s;
}

static void test_frames(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"{}", "{}|"},
		{"  {} \n {\"a\":[1,2,{}]}\n", "{}|{\"a\":[1,2,{}]}|"},
		{"{\"a\":\"}]\\\"{\"}", "{\"a\":\"}]\\\"{\"}|"},
		{"{'a':'b'}", "{\"a\":\"b\"}|"},
		{"{'a':'say \"x\"'}", "{\"a\":\"say \\\"x\\\"\"}|"},
		{"{'a':'it\\'s'}", "{\"a\":\"it's\"}|"},
		{"{\"a\":\"it's\"}", "{\"a\":\"it's\"}|"},
		{"hello\n{}", "hello|{}|"},
		{"12 {}", "12|{}|"},
		{"word{}", "word|{}|"},
		{"\"a b\" ", "\"a b\"|"},
		{"}\n{}", "!{}|"},
		{"} {}\n[]", "![]|"},
		{"{\"a\nb\":1}\n{}", "!!{}|"},
		{"{\x01} {}\n{}", "!{}|"},
		{"{\"a\": \xff{}", "!{}|"},
		{"{\"a\": \"x\xff[]", "![]|"},
		{"[}", "[}|"},
		{"", ""},
		{"   \r\n\t", ""},
		{"{\"a\":", ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].in);

		for (size_t piece = 1; piece <= len + 1; piece++) {
			char *got = frames(cases[i].in, len, piece);

			assert_string_equal(got ? got : "", cases[i].out);
			free(got);
		}
	}
}

static void test_limits(void **state)
{
	static char s[JSON_FRAME_MAX + 100];
	size_t len = sizeof(s);
	char *got;

	memset(s, '[', JSON_FRAME_DEPTH);
	memset(s + JSON_FRAME_DEPTH, ']', JSON_FRAME_DEPTH);
	got = frames(s, 2 * JSON_FRAME_DEPTH, 7);
	assert_int_equal(strlen(got), 2 * JSON_FRAME_DEPTH + 1);
	free(got);

	memset(s, '[', JSON_FRAME_DEPTH + 1);
	s[JSON_FRAME_DEPTH + 50] = '\n';
	memcpy(s + JSON_FRAME_DEPTH + 51, "{}", 2);
	got = frames(s, JSON_FRAME_DEPTH + 53, 7);
	assert_string_equal(got, "!{}|");
	free(got);

	/* As long as may be, and a byte longer. */
	memset(s, 'a', len);
	s[0] = '"';
	s[JSON_FRAME_MAX - 1] = '"';
	s[JSON_FRAME_MAX] = '\n';
	got = frames(s, JSON_FRAME_MAX + 1, 1000);
	assert_int_equal(strlen(got), JSON_FRAME_MAX + 1);
	free(got);
	s[JSON_FRAME_MAX - 1] = 'a';
	memcpy(s + JSON_FRAME_MAX, "\"aaa\n[]", 7);
	got = frames(s, JSON_FRAME_MAX + 7, 1000);
	assert_string_equal(got, "![]|");
	free(got);
}

static void test_base64(void **state)
{
	static const struct {
		const char *plain, *coded;
	} cases[] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
	};
	static const char *const bad[] = {"Z",	  "Zg",	      "Zg=",	"Zg=a", "====", "Zh==",
					  "Zm9=", "Zg==Zg==", "Zm9v\n", "Zm-v", "=m9v"};
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *s = base64_encode((const uint8_t *)cases[i].plain, strlen(cases[i].plain));
		uint8_t *raw = base64_decode(cases[i].coded, &len);

		assert_string_equal(s, cases[i].coded);
		assert_non_null(raw);
		assert_int_equal(len, strlen(cases[i].plain));
		assert_memory_equal(raw, cases[i].plain, len);
		free(raw);
		free(s);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (base64_decode(bad[i], &len))
			fail_msg("'%s' was taken", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
