/* SPDX-License-Identifier: Apache-2.0 */
/* Packet layer of the GDB remote protocol. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "ctl/rsp.h"

struct peer {
	struct rsp rsp;
	char packets[4096]; /* each followed by | */
	char sent[2 * RSP_MAX + 64];
	size_t n_sent;
	size_t n_packet; /* length of the last */
	unsigned interrupts;
};

static void on_packet(void *opaque, char *buf, size_t len)
{
	struct peer *p = opaque;

	assert_int_equal(buf[len], 0);
	p->n_packet = len;
	if (len < 100) {
		strcat(p->packets, buf);
		strcat(p->packets, "|");
	}
}

static void on_interrupt(void *opaque)
{
	((struct peer *)opaque)->interrupts++;
}

static void on_send(void *opaque, const uint8_t *buf, size_t len)
{
	struct peer *p = opaque;

	assert_true(p->n_sent + len < sizeof(p->sent));
	memcpy(p->sent + p->n_sent, buf, len);
	p->n_sent += len;
	p->sent[p->n_sent] = 0;
}

static const struct rsp_ops ops = {on_packet, on_interrupt, on_send};

static int setup(void **state)
{
	struct peer *p = xzalloc(sizeof(*p));

	rsp_init(&p->rsp, &ops, p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct peer *p = *state;

	rsp_fini(&p->rsp);
	free(p);
	return 0;
}

static void feed(struct peer *p, const char *s)
{
	p->packets[0] = p->sent[0] = 0;
	p->n_sent = 0;
	rsp_receive(&p->rsp, (const uint8_t *)s, strlen(s));
}

static void test_receive(void **state)
{
	static const struct {
		const char *in, *packets, *sent;
	} cases[] = {
		{"$g#67", "g|", "+"},
		{"$#00", "|", "+"},
		{"+$g#67+", "g|", "+"},
		{"$g#67$?#3f", "g|?|", "++"},
		{"$g#68", "", "-"},
		{"$g#zz", "", "-"},
		{"garbage$g#67", "g|", "+"},
		{"$abc$g#67", "g|", "+"}, /* begun again */
		{"$a}\x03#e1", "a#|", "+"}, /* 0x23 escaped */
		{"$G}]#21", "G}|", "+"},
		{"#67", "", ""},
		{"$g#6", "", ""},
		{"7", "g|", "+"}, /* the rest of the one before */
	};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		feed(p, cases[i].in);
		assert_string_equal(p->packets, cases[i].packets);
		assert_string_equal(p->sent, cases[i].sent);
	}
}

static void test_interrupt(void **state)
{
	struct peer *p = *state;

	feed(p, "\x03$m\x03#70\x03");
	assert_int_equal(p->interrupts, 2); /* not the one inside a packet */
	assert_string_equal(p->packets, "m\x03|");
}

static void test_send(void **state)
{
	struct peer *p = *state;

	rsp_send(&p->rsp, "OK", 2);
	assert_string_equal(p->sent, "$OK#9a");
	feed(p, "-"); /* send it again */
	assert_string_equal(p->sent, "$OK#9a");
	p->rsp.no_ack = true;
	feed(p, "-$g#67");
	assert_string_equal(p->sent, "");
	assert_string_equal(p->packets, "g|");
	p->n_sent = 0;
	rsp_send(&p->rsp, "a#}*$", 5);
	assert_string_equal(p->sent, "$a}\x03}]}\x0a}\x04#c3");
	rsp_reset(&p->rsp);
	assert_false(p->rsp.no_ack);
	feed(p, "-");
	assert_string_equal(p->sent, "");
}

/* Everything that can be sent comes back as it was. */
static void test_round_trip(void **state)
{
	struct peer *p = *state, back = {0};
	char all[256];

	rsp_init(&back.rsp, &ops, &back);
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	p->n_sent = 0;
	rsp_send(&p->rsp, all, 256);
	rsp_receive(&back.rsp, (uint8_t *)p->sent, p->n_sent);
	assert_int_equal(back.n_packet, 256);
	assert_memory_equal(back.rsp.buf, all, 256);
	rsp_fini(&back.rsp);
}

static void test_too_long(void **state)
{
	struct peer *p = *state;
	uint8_t sum = 0, x = 'x';
	char tail[8];

	feed(p, "$");
	for (int i = 0; i < RSP_MAX + 10; i++, sum = (uint8_t)(sum + 'x'))
		rsp_receive(&p->rsp, &x, 1);
	snprintf(tail, sizeof(tail), "#%02x", sum);
	feed(p, tail);
	assert_string_equal(p->sent, "+$E22#a9");
	feed(p, "$g#67");
	assert_string_equal(p->packets, "g|");
}

static void test_noise(void **state)
{
	struct peer *p = *state;
	uint32_t seed = 1;

	p->rsp.no_ack = true;
	for (int i = 0; i < 200000; i++) {
		uint8_t c;

		seed = seed * 1103515245 + 12345;
		c = seed >> 30 ? (uint8_t)(seed >> 16) : (uint8_t) "$#}"[(seed >> 16) % 3];
		p->n_sent = 0;
		p->packets[0] = 0;
		rsp_receive(&p->rsp, &c, 1);
	}
	feed(p, "#00");
	feed(p, "#00$g#67");
	assert_non_null(strstr(p->packets, "g|"));
}

static void test_numbers(void **state)
{
	const char *s = "1f,ffffffffffffffff:10000000000000000";
	uint64_t v;
	uint8_t b[4];

	assert_true(rsp_number(&s, &v) && v == 0x1f && *s == ',');
	s++;
	assert_true(rsp_number(&s, &v) && v == UINT64_MAX && *s == ':');
	s++;
	assert_false(rsp_number(&s, &v));
	s = "g";
	assert_false(rsp_number(&s, &v));
	assert_true(rsp_unhex("00fFa1", b, 3));
	assert_memory_equal(b, "\x00\xff\xa1", 3);
	assert_false(rsp_unhex("00f", b, 2));
	assert_false(rsp_unhex("0x", b, 1));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_receive),  T(test_interrupt), T(test_send),    T(test_round_trip),
		T(test_too_long), T(test_noise),     T(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
