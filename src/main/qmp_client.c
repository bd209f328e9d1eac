/* SPDX-License-Identifier: Apache-2.0 */
#include "main/qmp_client.h"
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "back/char/socket.h"
#include "base/base.h"
#include "base/err.h"

#define ANSWER_MS 5000
#define LINE_MAX_ (64 * MiB)

struct qmp_client {
	int fd;
	char *buf;
	size_t len, cap;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* More bytes; 0, -ETIMEDOUT, -EPIPE. */
static int client_fill(struct qmp_client *q, int64_t deadline)
{
	struct pollfd p = {.fd = q->fd, .events = POLLIN};
	int64_t left = deadline - now_ms();
	ssize_t n;
	int r = poll(&p, 1, left > 0 ? (int)left : 0);

	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	if (!r)
		return -ETIMEDOUT;
	if (q->cap - q->len < 4096) {
		if (q->cap > LINE_MAX_)
			return -EPROTO;
		q->cap = q->cap ? 2 * q->cap : 16384;
		q->buf = xrealloc(q->buf, q->cap);
	}
	n = read(q->fd, q->buf + q->len, q->cap - q->len);
	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -EPIPE;
	q->len += (size_t)n;
	return 0;
}

/* The next message, a line; NULL with *r. */
static struct json_object *client_message(struct qmp_client *q, int64_t deadline, int *r)
{
	for (;;) {
		char *end = q->len ? memchr(q->buf, '\n', q->len) : NULL;
		struct json_object *o;
		size_t n;

		if (!end) {
			*r = client_fill(q, deadline);
			if (*r)
				return NULL;
			continue;
		}
		n = (size_t)(end - q->buf) + 1;
		*end = 0;
		o = json_tokener_parse(q->buf);
		q->len -= n;
		memmove(q->buf, q->buf + n, q->len);
		*r = json_object_is_type(o, json_type_object) ? 0 : -EPROTO;
		if (!*r)
			return o;
		json_object_put(o);
		return NULL;
	}
}

static int client_send(struct qmp_client *q, struct json_object *msg)
{
	char *s = xasprintf("%s\n", json_object_to_json_string_ext(msg, JSON_C_TO_STRING_PLAIN));
	size_t len = strlen(s), done = 0;
	int r = 0;

	while (done < len && !r) {
		ssize_t n = send(q->fd, s + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			r = -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	free(s);
	return r;
}

static int client_answer(struct qmp_client *q, struct json_object *msg, struct json_object **ret,
			 struct err **e)
{
	struct json_object *v, *desc;

	if (json_object_object_get_ex(msg, "error", &v))
		return err_set(e, EREMOTEIO, "%s",
			       json_object_object_get_ex(v, "desc", &desc)
				       ? json_object_get_string(desc)
				       : "an error without a description");
	if (!json_object_object_get_ex(msg, "return", &v))
		return err_set(e, EPROTO, "an answer that is none");
	if (ret)
		*ret = json_object_get(v);
	return 0;
}

int qmp_client_run(struct qmp_client *q, const char *name, struct json_object *args,
		   struct json_object **ret, struct err **e)
{
	struct json_object *msg = json_object_new_object();
	int64_t deadline = now_ms() + ANSWER_MS;
	int r;

	json_object_object_add(msg, "execute", json_object_new_string(name));
	if (args)
		json_object_object_add(msg, "arguments", args);
	r = client_send(q, msg);
	json_object_put(msg);
	while (!r) {
		bool event;

		msg = client_message(q, deadline, &r);
		if (!msg)
			break;
		event = json_object_object_get_ex(msg, "event", NULL);
		if (!event)
			r = client_answer(q, msg, ret, e);
		json_object_put(msg);
		if (!event)
			return r;
	}
	return err_set(e, -r, "'%s' got no answer: %s", name, strerror(-r));
}

int qmp_client_open(struct qmp_client **out, const char *path, struct err **e)
{
	struct qmp_client *q = xzalloc(sizeof(*q));
	struct json_object *greeting;
	struct sock_addr addr = {0};
	int r = sock_addr_unix(&addr, path, e);

	q->fd = -1;
	if (!r)
		r = sock_connect(&addr, &q->fd, e);
	sock_addr_free(&addr);
	if (!r) {
		greeting = client_message(q, now_ms() + ANSWER_MS, &r);
		json_object_put(greeting);
		if (r)
			err_set(e, -r, "no greeting from %s: %s", path, strerror(-r));
	}
	if (!r)
		r = qmp_client_run(q, "qmp_capabilities", NULL, NULL, e);
	if (r) {
		qmp_client_close(q);
		return r;
	}
	*out = q;
	return 0;
}

void qmp_client_close(struct qmp_client *q)
{
	if (!q)
		return;
	if (q->fd >= 0)
		close(q->fd);
	free(q->buf);
	free(q);
}
