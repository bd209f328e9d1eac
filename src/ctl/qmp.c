/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A QMP client speaks JSON over a chardev.  json_frame.c finds where a message ends, within limits
 * on size and depth; json-c parses it; the table of qmp.def says which commands there are and what
 * arguments they take, and nothing runs before those were checked.  A message that is malformed in
 * any way gets one error and has no other effect.
 *
 * Each connection begins with a greeting and, until it has said qmp_capabilities, knows no other
 * command and gets no events.  Commands run to their end on the loop thread, one at a time; answers
 * and events leave in the order they come about.
 *
 * A client that does not read is not read from either: at most one input buffer's worth of commands
 * is answered beyond what it has taken.  Events for it are dropped when OUT_MAX bytes wait.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "ctl/json_frame.h"
#include "ctl/qmp_int.h"

#define IN_CHUNK 512
#define OUT_MAX MiB /* events */

struct qmp {
	struct qmp *next;
	struct ctl *ctl;
	struct ctl_out out;
	struct json_frame in;
	bool pretty, open, negotiated;
};

/* Text without blanks gets one behind each comma and colon: what people's scripts look for. */
static void put_spaced(struct text *t, const char *s, size_t len)
{
	bool string = false;
	size_t from = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\\' && string) {
			i++;
		} else if (s[i] == '"') {
			string = !string;
		} else if (!string && (s[i] == ',' || s[i] == ':')) {
			text_put(t, s + from, i + 1 - from);
			text_put(t, " ", 1);
			from = i + 1;
		}
	}
	text_put(t, s + from, len - from);
}

static void qmp_send(struct qmp *q, struct json_object *msg)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *s;
	size_t len;

	if (q->pretty)
		flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
	s = json_object_to_json_string_length(msg, flags, &len);
	if (q->pretty)
		text_put(&q->out.text, s, len);
	else
		put_spaced(&q->out.text, s, len);
	ctl_out_put(&q->out, "\r\n", 2);
}

int qmp_fail(struct qmp_call *call, const char *error_class, const char *fmt, ...)
{
	va_list ap;

	free(call->error);
	call->error_class = error_class;
	va_start(ap, fmt);
	if (vasprintf(&call->error, fmt, ap) < 0)
		call->error = NULL;
	va_end(ap);
	return -1;
}

/* The answer of a command, or an error; both with the id of the question. */
static void qmp_answer(struct qmp *q, struct qmp_call *call, int r, struct json_object *id)
{
	struct json_object *msg = json_object_new_object();

	if (r) {
		struct json_object *error = json_object_new_object();

		obj_str(error, "class", call->error_class);
		obj_str(error, "desc", call->error ? call->error : "");
		json_object_object_add(msg, "error", error);
		json_object_put(call->ret);
	} else {
		json_object_object_add(msg, "return",
				       call->ret ? call->ret : json_object_new_object());
	}
	if (id)
		json_object_object_add(msg, "id", json_object_get(id));
	qmp_send(q, msg);
	json_object_put(msg);
	free(call->error);
}

/* The members of a message that are not arguments. */
static int qmp_check_message(struct qmp_call *call, struct json_object *msg)
{
	struct json_object *name, *args = NULL;

	if (!json_object_is_type(msg, json_type_object))
		return qmp_fail(call, QMP_GENERIC, "QMP input must be a JSON object");
	json_object_object_foreach(msg, key, val)
	{
		(void)val;
		if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id"))
			return qmp_fail(call, QMP_GENERIC, "QMP input member '%s' is unexpected",
					key);
	}
	if (!json_object_object_get_ex(msg, "execute", &name))
		return qmp_fail(call, QMP_GENERIC, "QMP input lacks member 'execute'");
	if (!json_object_is_type(name, json_type_string))
		return qmp_fail(call, QMP_GENERIC, "QMP input member 'execute' must be a string");
	if (strlen(json_object_get_string(name)) != (size_t)json_object_get_string_len(name))
		return qmp_fail(call, QMP_GENERIC,
				"QMP input member 'execute' has a NUL character in it");
	if (json_object_object_get_ex(msg, "arguments", &args) &&
	    !json_object_is_type(args, json_type_object))
		return qmp_fail(call, QMP_GENERIC,
				"QMP input member 'arguments' must be an object");
	call->args = args;
	return 0;
}

static int qmp_negotiate(struct qmp *q, struct qmp_call *call, const char *name)
{
	static const struct qmp_arg args[] = {{"enable", QMP_LIST, true, NULL}, {0}};
	struct json_object *enable;

	if (strcmp(name, "qmp_capabilities"))
		return qmp_fail(call, QMP_NO_COMMAND,
				"Expecting capabilities negotiation with 'qmp_capabilities'");
	if (qmp_check_args(call, args))
		return -1;
	enable = qmp_get(call, "enable");
	if (enable && json_object_array_length(enable))
		return qmp_fail(call, QMP_GENERIC, "Capability '%s' is not offered",
				json_object_get_string(json_object_array_get_idx(enable, 0)));
	q->negotiated = true;
	return 0;
}

static int qmp_run(struct qmp *q, struct qmp_call *call, struct json_object *msg)
{
	const struct qmp_cmd *cmd;
	const char *name;

	if (qmp_check_message(call, msg))
		return -1;
	name = json_object_get_string(json_object_object_get(msg, "execute"));
	if (!q->negotiated)
		return qmp_negotiate(q, call, name);
	cmd = qmp_cmd_find(name);
	if (!cmd)
		return qmp_fail(call, QMP_NO_COMMAND, "The command %s has not been found", name);
	if (qmp_check_args(call, cmd->args))
		return -1;
	return cmd->run(call);
}

/* Parse a whole text; NULL with *why. */
static struct json_object *qmp_parse(const struct text *t, const char **why)
{
	struct json_tokener *tok = json_tokener_new_ex(JSON_FRAME_DEPTH + 1);
	struct json_object *msg;
	enum json_tokener_error error;

	bug_on(!tok);
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	msg = json_tokener_parse_ex(tok, t->s, (int)t->len);
	error = json_tokener_get_error(tok);
	if (error == json_tokener_continue) /* a word, whose end is the end of the text */
		msg = json_tokener_parse_ex(tok, "", 1);
	error = json_tokener_get_error(tok);
	*why = error == json_tokener_success ? NULL : json_tokener_error_desc(error);
	json_tokener_free(tok);
	return msg;
}

static void qmp_message(struct qmp *q, const struct text *t, const char *bad)
{
	struct qmp_call call = {.ctl = q->ctl, .vm = q->ctl->vm, .client = q};
	struct json_object *msg = NULL, *id = NULL;
	int r;

	if (!bad)
		msg = qmp_parse(t, &bad);
	if (bad) {
		r = qmp_fail(&call, QMP_GENERIC, "JSON parse error, %s", bad);
	} else {
		if (json_object_is_type(msg, json_type_object))
			id = json_object_object_get(msg, "id");
		r = qmp_run(q, &call, msg);
	}
	qmp_answer(q, &call, r, id);
	json_object_put(msg);
}

static size_t qmp_can_receive(void *opaque)
{
	struct qmp *q = opaque;

	return q->out.text.len ? 0 : IN_CHUNK;
}

static void qmp_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct qmp *q = opaque;

	while (len && q->open) {
		size_t used;
		enum json_frame_result r = json_frame_put(&q->in, buf, len, &used);

		buf += used;
		len -= used;
		if (r == JSON_FRAME_MORE)
			break;
		qmp_message(q, &q->in.text, r == JSON_FRAME_BAD ? q->in.why : NULL);
		json_frame_next(&q->in);
	}
}

static void qmp_writable(void *opaque)
{
	struct qmp *q = opaque;

	ctl_out_flush(&q->out);
}

struct json_object *qmp_version(void)
{
	struct json_object *version = json_object_new_object(), *qemu = json_object_new_object();

	obj_int(qemu, "micro", 0);
	obj_int(qemu, "minor", 2);
	obj_int(qemu, "major", 7);
	json_object_object_add(version, "qemu", qemu);
	obj_str(version, "package", "doppel " DOPPEL_VERSION);
	return version;
}

static void qmp_greet(struct qmp *q)
{
	struct json_object *msg = json_object_new_object(), *inner = json_object_new_object();

	json_object_object_add(inner, "version", qmp_version());
	json_object_object_add(inner, "capabilities", json_object_new_array());
	json_object_object_add(msg, "QMP", inner);
	qmp_send(q, msg);
	json_object_put(msg);
}

static void qmp_chardev_event(void *opaque, int event)
{
	struct qmp *q = opaque;

	if (event != CHARDEV_EV_OPENED && event != CHARDEV_EV_CLOSED)
		return;
	json_frame_reset(&q->in);
	text_free(&q->out.text);
	q->negotiated = false;
	q->open = event == CHARDEV_EV_OPENED;
	if (q->open)
		qmp_greet(q);
}

static struct json_object *event_data(const struct vm_event *ev)
{
	struct json_object *data = json_object_new_object();

	for (unsigned i = 0; i < ev->n; i++) {
		const struct vm_event_arg *a = &ev->args[i];

		if (a->kind == VM_ARG_STR)
			obj_str(data, a->key, a->str);
		else if (a->kind == VM_ARG_INT)
			obj_int(data, a->key, a->num);
		else
			obj_bool(data, a->key, a->num != 0);
	}
	return data;
}

void qmp_event(struct ctl *c, const struct vm_event *ev)
{
	struct json_object *msg = json_object_new_object(), *stamp = json_object_new_object();

	obj_int(stamp, "seconds", ev->time_us / 1000000);
	obj_int(stamp, "microseconds", ev->time_us % 1000000);
	json_object_object_add(msg, "timestamp", stamp);
	obj_str(msg, "event", ev->name);
	if (ev->n)
		json_object_object_add(msg, "data", event_data(ev));
	for (struct qmp *q = c->qmps; q; q = q->next)
		if (q->open && q->negotiated && q->out.text.len < OUT_MAX)
			qmp_send(q, msg);
	json_object_put(msg);
}

int ctl_add_qmp(struct ctl *c, struct chardev *cd, bool pretty, struct err **e)
{
	struct qmp *q = xzalloc(sizeof(*q));
	struct chardev_front front = {
		.can_receive = qmp_can_receive,
		.receive = qmp_receive,
		.writable = qmp_writable,
		.event = qmp_chardev_event,
		.opaque = q,
	};
	int r = chardev_attach(cd, &front, e);

	if (r) {
		free(q);
		return r;
	}
	q->ctl = c;
	q->out.cd = cd;
	q->pretty = pretty;
	q->next = c->qmps;
	c->qmps = q;
	return 0;
}

void qmp_destroy_all(struct ctl *c)
{
	while (c->qmps) {
		struct qmp *q = c->qmps;

		c->qmps = q->next;
		chardev_detach(q->out.cd);
		json_frame_reset(&q->in);
		text_free(&q->out.text);
		free(q);
	}
}
