/* SPDX-License-Identifier: Apache-2.0 */
/* The line editor of monitors: keys, history, completion, and bytes without sense. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "ctl/hmp_edit.h"
#include "ctl/text.h"

struct fixture {
	struct hmp_edit ed;
	struct text shown, lines;
};

static void print(void *opaque, const char *s, size_t len)
{
	struct fixture *f = opaque;

	text_put(&f->shown, s, len);
}

static void line(void *opaque, const char *s)
{
	struct fixture *f = opaque;

	text_printf(&f->lines, "%s|", s);
}

static void complete(void *opaque, const char *s, size_t len, size_t *word,
		     void (*add)(struct hmp_edit *ed, const char *word), struct hmp_edit *ed)
{
	static const char *const words[] = {"stop", "status", "system_reset", "system_powerdown"};

	*word = len;
	while (*word && s[*word - 1] != ' ')
		--*word;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		add(ed, words[i]);
}

static const struct hmp_edit_ops ops = {print, line, complete};

static void type(struct fixture *f, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hmp_edit_put(&f->ed, (uint8_t)s[i]);
}

static void expect(const char *typed, const char *lines)
{
	struct fixture f = {0};

	hmp_edit_init(&f.ed, &ops, &f, "> ");
	type(&f, typed, strlen(typed));
	assert_string_equal(f.lines.s ? f.lines.s : "", lines);
	hmp_edit_fini(&f.ed);
	text_free(&f.shown);
	text_free(&f.lines);
}

static void test_keys(void **state)
{
	expect("abc\r", "abc|");
	expect("abc\r\ndef\n\n", "abc|def||");
	expect("abd\x7f"
	       "c\r",
	       "abc|");
	expect("\b\b\x7f\r", "|");
	expect("bc\001a\r", "abc|");
	expect("bc\033[Ha\033[Fd\r", "abcd|");
	expect("ac\033[Db\r", "abc|");
	expect("ac\002b\006d\r", "abcd|");
	expect("abc\001\004\r", "bc|");
	expect("abc\001\033[3~\r", "bc|");
	expect("abc\002\013\r", "ab|");
	expect("abc\025x\r", "x|");
	expect("one two  \027x\r", "one x|");
	expect("abc\003d\r", "d|");
	expect("a\033[1;5Cb\r", "ab|");
	expect("a\033Ob\033OHc\r", "ca|");
	expect("\033[99999999999999999999Ax\r", "x|");
}

static void test_history(void **state)
{
	expect("one\rtwo\r\033[A\033[A\r", "one|two|one|");
	expect("one\rtwo\r\020\020\016x\r", "one|two|twox|");
	expect("one\r\020\016new\r", "one|new|");
	expect("one\r\020\020\020\020\r", "one|one|");
	expect("\020\016\r", "|");
	expect("a\ra\rb\r\020\020\r", "a|a|b|a|"); /* the same twice is one */
}

static void test_history_full(void **state)
{
	struct fixture f = {0};
	char s[16];

	hmp_edit_init(&f.ed, &ops, &f, "> ");
	for (int i = 0; i < HMP_HISTORY + 20; i++) {
		snprintf(s, sizeof(s), "%d\r", i);
		type(&f, s, strlen(s));
	}
	text_free(&f.lines);
	for (int i = 0; i < 2 * HMP_HISTORY; i++)
		hmp_edit_put(&f.ed, 16);
	type(&f, "\r", 1);
	assert_string_equal(f.lines.s, "20|");
	hmp_edit_fini(&f.ed);
	text_free(&f.shown);
	text_free(&f.lines);
}

static void test_completion(void **state)
{
	expect("sto\t\r", "stop |");
	expect("info sta\t\r", "info status |");
	expect("sy\t\r", "system_|");
	expect("sy\tr\t\r", "system_reset |");
	expect("x\t\r", "x|");
	expect("s\t\t\r", "s|");
}

/* What is shown is the line: checked by a terminal of one line. */
static void test_shown(void **state)
{
	struct fixture f = {0};

	hmp_edit_init(&f.ed, &ops, &f, "> ");
	hmp_edit_show(&f.ed);
	assert_string_equal(f.shown.s, "\r> \033[K");
	text_free(&f.shown);
	type(&f, "ab\002X", 4);
	assert_string_equal(f.shown.s, "ab\r> ab\033[K\033[1DXb\033[1D");
	hmp_edit_fini(&f.ed);
	text_free(&f.shown);
	text_free(&f.lines);
}

static void test_long_and_random(void **state)
{
	struct fixture f = {0};
	uint32_t x = 1;

	hmp_edit_init(&f.ed, &ops, &f, "> ");
	for (int i = 0; i < 3 * HMP_LINE; i++)
		hmp_edit_put(&f.ed, 'a');
	assert_int_equal(f.ed.len, HMP_LINE - 1);
	hmp_edit_put(&f.ed, '\r');
	assert_int_equal(f.lines.len, HMP_LINE);
	text_free(&f.lines);
	for (int i = 0; i < 200000; i++) {
		x = x * 1664525 + 1013904223;
		hmp_edit_put(&f.ed, (x >> 24) & (x & 0x10000 ? 0x1f : 0xff));
		assert_true(f.ed.pos <= f.ed.len && f.ed.len < HMP_LINE);
		assert_int_equal(strlen(f.ed.line), f.ed.len);
		if (f.shown.len > 100000)
			text_free(&f.shown);
	}
	hmp_edit_fini(&f.ed);
	text_free(&f.shown);
	text_free(&f.lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),	     cmocka_unit_test(test_history),
		cmocka_unit_test(test_history_full), cmocka_unit_test(test_completion),
		cmocka_unit_test(test_shown),	     cmocka_unit_test(test_long_and_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
