/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/rsp.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"

#define INTERRUPT 0x03

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void rsp_init(struct rsp *r, const struct rsp_ops *ops, void *opaque)
{
	memset(r, 0, sizeof(*r));
	r->ops = ops;
	r->opaque = opaque;
}

void rsp_fini(struct rsp *r)
{
	free(r->last);
	r->last = NULL;
}

void rsp_reset(struct rsp *r)
{
	r->no_ack = false;
	r->state = RSP_IDLE;
	free(r->last);
	r->last = NULL;
	r->last_len = 0;
}

static void rsp_ack(struct rsp *r, char c)
{
	if (!r->no_ack)
		r->ops->send(r->opaque, (const uint8_t *)&c, 1);
}

/* The checksum is complete. */
static void rsp_packet_done(struct rsp *r)
{
	r->state = RSP_IDLE;
	if (r->sum != r->want && !r->no_ack) {
		rsp_ack(r, '-');
		return;
	}
	rsp_ack(r, '+');
	if (r->overflow || r->sum != r->want) {
		rsp_send(r, "E22", 3);
		return;
	}
	r->buf[r->len] = 0;
	r->ops->packet(r->opaque, r->buf, r->len);
}

static void rsp_between(struct rsp *r, uint8_t c)
{
	switch (c) {
	case '$':
		r->state = RSP_DATA;
		r->len = 0;
		r->sum = 0;
		r->overflow = false;
		break;
	case '-':
		if (!r->no_ack && r->last)
			r->ops->send(r->opaque, r->last, r->last_len);
		break;
	case INTERRUPT:
		r->ops->interrupt(r->opaque);
		break;
	default: /* '+', and noise */
		break;
	}
}

static void rsp_store(struct rsp *r, uint8_t c)
{
	if (r->len < RSP_MAX)
		r->buf[r->len++] = (char)c;
	else
		r->overflow = true;
}

static void rsp_data(struct rsp *r, uint8_t c)
{
	if (r->state == RSP_ESCAPE) {
		r->sum = (uint8_t)(r->sum + c);
		rsp_store(r, c ^ 0x20);
		r->state = RSP_DATA;
	} else if (c == '#') {
		r->state = RSP_SUM1;
	} else if (c == '$') { /* the sender began again */
		rsp_between(r, c);
	} else {
		r->sum = (uint8_t)(r->sum + c);
		if (c == '}')
			r->state = RSP_ESCAPE;
		else
			rsp_store(r, c);
	}
}

static void rsp_checksum(struct rsp *r, uint8_t c)
{
	int d = hex_digit((char)c);

	if (d < 0) {
		r->state = RSP_IDLE;
		rsp_ack(r, '-');
	} else if (r->state == RSP_SUM1) {
		r->want = (uint8_t)(d << 4);
		r->state = RSP_SUM2;
	} else {
		r->want |= (uint8_t)d;
		rsp_packet_done(r);
	}
}

void rsp_receive(struct rsp *r, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (r->state == RSP_IDLE)
			rsp_between(r, buf[i]);
		else if (r->state == RSP_DATA || r->state == RSP_ESCAPE)
			rsp_data(r, buf[i]);
		else
			rsp_checksum(r, buf[i]);
	}
}

void rsp_send(struct rsp *r, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *d = data;
	uint8_t *out = xzalloc(2 * len + 4), *o = out, sum = 0;

	*o++ = '$';
	for (size_t i = 0; i < len; i++) {
		uint8_t c = d[i];

		if (c == '#' || c == '$' || c == '}' || c == '*') {
			*o++ = '}';
			sum = (uint8_t)(sum + '}');
			c ^= 0x20;
		}
		*o++ = c;
		sum = (uint8_t)(sum + c);
	}
	*o++ = '#';
	*o++ = (uint8_t)digits[sum >> 4];
	*o++ = (uint8_t)digits[sum & 15];
	free(r->last);
	r->last = out;
	r->last_len = (size_t)(o - out);
	r->ops->send(r->opaque, r->last, r->last_len);
}

void rsp_put(struct rsp_text *t, const void *data, size_t len)
{
	if (t->len + len + 1 > t->cap) {
		t->cap = 2 * (t->len + len + 1);
		t->s = xrealloc(t->s, t->cap);
	}
	memcpy(t->s + t->len, data, len);
	t->len += len;
	t->s[t->len] = 0;
}

void rsp_printf(struct rsp_text *t, const char *fmt, ...)
{
	char *s;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	bug_on(n < 0);
	rsp_put(t, s, (size_t)n);
	free(s);
}

void rsp_hex(struct rsp_text *t, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *d = data;

	for (size_t i = 0; i < len; i++)
		rsp_put(t, (char[]){digits[d[i] >> 4], digits[d[i] & 15]}, 2);
}

void rsp_text_free(struct rsp_text *t)
{
	free(t->s);
	*t = (struct rsp_text){0};
}

bool rsp_unhex(const char *s, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit(s[2 * i]), lo = hi < 0 ? -1 : hex_digit(s[2 * i + 1]);

		if (lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

bool rsp_number(const char **s, uint64_t *v)
{
	const char *p = *s;

	*v = 0;
	for (int d; (d = hex_digit(*p)) >= 0; p++) {
		if (*v >> 60)
			return false;
		*v = *v << 4 | (uint64_t)d;
	}
	if (p == *s)
		return false;
	*s = p;
	return true;
}
