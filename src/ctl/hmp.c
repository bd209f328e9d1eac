/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor for people: a line editor on a chardev, and the table of hmp.def.  Commands print into
 * a text that is sent when they end.  On a multiplexed console the monitor is silent while the
 * guest has the focus: what it would print waits.
 *
 * Prompt and greeting are QEMU's, by which scripts recognize a monitor.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/hmp_edit.h"
#include "base/kvlist.h"
#include "ctl/hmp_int.h"
#include "ctl/qmp_int.h"

#define IN_CHUNK 512

struct hmp {
	struct hmp *next;
	struct ctl *ctl;
	struct ctl_out out;
	struct hmp_edit edit;
	unsigned cpu;
	bool open, greeted;
};

const struct hmp_cmd hmp_cmds[] = {
#define HMP_INFO(names, args, fn, help)
#define HMP_CMD(names, args, fn, help) {names, args, help, fn},
#include "ctl/hmp.def"
#undef HMP_CMD
#undef HMP_INFO
};
const size_t hmp_n_cmds = ARRAY_SIZE(hmp_cmds);

const struct hmp_cmd hmp_infos[] = {
#define HMP_CMD(names, args, fn, help)
#define HMP_INFO(names, args, fn, help) {names, args, help, fn},
#include "ctl/hmp.def"
#undef HMP_CMD
#undef HMP_INFO
};
const size_t hmp_n_infos = ARRAY_SIZE(hmp_infos);

/* --- what commands use --- */

void hmp_error(struct hmp_call *h, const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	text_printf(h->out, "Error: %s\n", s ? s : "");
	free(s);
}

char *hmp_word(struct hmp_call *h)
{
	char *p = h->args + strspn(h->args, " \t"), *word = p, *to = p;

	if (!*p)
		return NULL;
	if (*p != '"') {
		p += strcspn(p, " \t");
	} else {
		for (p++; *p && *p != '"'; p++) {
			if (*p == '\\' && p[1])
				p++;
			*to++ = *p;
		}
		p += *p == '"';
		h->args = p + (*p != 0);
		*to = 0;
		return word;
	}
	h->args = p + (*p != 0);
	*p = 0;
	return word;
}

char *hmp_need(struct hmp_call *h, const char *what)
{
	char *word = hmp_word(h);

	if (!word)
		hmp_error(h, "%s is missing", what);
	return word;
}

bool hmp_size(struct hmp_call *h, const char *text, int64_t *bytes)
{
	uint64_t n;

	if (!parse_size(text, MiB, &n) || n > INT64_MAX) {
		hmp_error(h, "'%s' is not a size", text);
		return false;
	}
	*bytes = (int64_t)n;
	return true;
}

bool hmp_done(struct hmp_call *h)
{
	char *word = hmp_word(h);

	if (word)
		hmp_error(h, "'%s' is too much", word);
	return !word;
}

struct json_object *hmp_qmp(struct hmp_call *h, const char *name, struct json_object *args,
			    bool *ok)
{
	struct qmp_call call = {.ctl = h->ctl, .vm = h->vm, .args = args};
	const struct qmp_cmd *cmd = qmp_cmd_find(name);
	int r;

	bug_on(!cmd);
	r = qmp_check_args(&call, cmd->args);
	if (!r)
		r = cmd->run(&call);
	if (r) {
		hmp_error(h, "%s", call.error ? call.error : "");
		json_object_put(call.ret);
		call.ret = NULL;
	}
	*ok = r == 0;
	free(call.error);
	json_object_put(args);
	return call.ret;
}

void hmp_do(struct hmp_call *h, const char *name, struct json_object *args)
{
	bool ok;

	json_object_put(hmp_qmp(h, name, args, &ok));
}

/* --- commands --- */

/* Does one of "stop|s" equal word? */
static bool names_match(const char *names, const char *word)
{
	return qmp_choice(names, word);
}

static const struct hmp_cmd *cmd_find(const struct hmp_cmd *cmds, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (names_match(cmds[i].names, word))
			return &cmds[i];
	return NULL;
}

static void cmd_help(struct hmp_call *h, const char *before, const struct hmp_cmd *cmd)
{
	text_printf(h->out, "%s%s%s%s -- %s\n", before, cmd->names, *cmd->args ? " " : "",
		    cmd->args, cmd->help);
}

void hmp_help(struct hmp_call *h)
{
	const char *word = hmp_word(h);
	const struct hmp_cmd *cmd = word ? cmd_find(hmp_cmds, hmp_n_cmds, word) : NULL;

	if (cmd && cmd->run == hmp_info) {
		for (size_t i = 0; i < hmp_n_infos; i++)
			cmd_help(h, "info ", &hmp_infos[i]);
	} else if (cmd) {
		cmd_help(h, "", cmd);
	} else if (word) {
		hmp_error(h, "there is no command '%s'", word);
	} else {
		for (size_t i = 0; i < hmp_n_cmds; i++)
			cmd_help(h, "", &hmp_cmds[i]);
	}
}

void hmp_info(struct hmp_call *h)
{
	const char *word = hmp_word(h);
	const struct hmp_cmd *cmd = word ? cmd_find(hmp_infos, hmp_n_infos, word) : NULL;

	if (cmd)
		cmd->run(h);
	else if (word)
		text_printf(h->out, "unknown command: 'info %s'\n", word);
	else
		for (size_t i = 0; i < hmp_n_infos; i++)
			cmd_help(h, "info ", &hmp_infos[i]);
}

static void run_line(struct hmp_call *h)
{
	const char *word;
	const struct hmp_cmd *cmd;
	char *slash;

	h->args += strspn(h->args, " \t");
	if (!*h->args || *h->args == '#')
		return;
	slash = h->args + strcspn(h->args, " \t/"); /* x/4i is x /4i */
	if (*slash == '/' && slash != h->args) {
		char *spaced = xasprintf("%.*s %s", (int)(slash - h->args), h->args, slash);
		char *rest = h->args;

		h->args = spaced;
		run_line(h);
		h->args = rest;
		free(spaced);
		return;
	}
	word = hmp_word(h);
	cmd = cmd_find(hmp_cmds, hmp_n_cmds, word);
	if (cmd)
		cmd->run(h);
	else
		text_printf(h->out, "unknown command: '%s'\n", word);
}

/* Lines end with CR LF at a terminal. */
static void add_cr(struct text *out, const struct text *in)
{
	for (const char *p = in->s; p && *p;) {
		size_t len = strcspn(p, "\n");

		text_put(out, p, len);
		p += len;
		if (*p) {
			text_put(out, "\r\n", 2);
			p++;
		}
	}
}

static void run(struct ctl *c, const char *line, struct text *out, unsigned *cpu,
		struct hmp_edit *ed)
{
	struct text lines = {0};
	char *copy = xstrdup(line);
	struct hmp_call h = {
		.ctl = c,
		.vm = c->vm,
		.out = &lines,
		.args = copy,
		.cpu = cpu,
		.history = ed ? (const char *const *)ed->history : NULL,
		.n_history = ed ? ed->n_history : 0,
	};

	run_line(&h);
	add_cr(out, &lines);
	text_free(&lines);
	free(copy);
}

void hmp_run(struct ctl *c, const char *line, struct text *out, unsigned *cpu)
{
	run(c, line, out, cpu, NULL);
}

/* --- a person at a terminal --- */

static void edit_print(void *opaque, const char *s, size_t len)
{
	struct hmp *m = opaque;

	text_put(&m->out.text, s, len);
}

static void edit_line(void *opaque, const char *line)
{
	struct hmp *m = opaque;

	run(m->ctl, line, &m->out.text, &m->cpu, &m->edit);
	if (m->open)
		hmp_edit_show(&m->edit);
}

static void add_names(const struct hmp_cmd *cmds, size_t n,
		      void (*add)(struct hmp_edit *ed, const char *word), struct hmp_edit *ed)
{
	for (size_t i = 0; i < n; i++) {
		char name[64] = "";
		size_t len = strcspn(cmds[i].names, "|");

		memcpy(name, cmds[i].names, min_u64(len, sizeof(name) - 1));
		add(ed, name);
	}
}

/* Names of commands, and behind "info" and "help" what these take. */
static void edit_complete(void *opaque, const char *line, size_t len, size_t *word,
			  void (*add)(struct hmp_edit *ed, const char *word), struct hmp_edit *ed)
{
	size_t first = strspn(line, " "), end;

	if (first >= len) {
		*word = len;
		add_names(hmp_cmds, hmp_n_cmds, add, ed);
		return;
	}
	end = first + strcspn(line + first, " ");
	if (end >= len) {
		*word = first;
		add_names(hmp_cmds, hmp_n_cmds, add, ed);
		return;
	}
	*word = end + strspn(line + end, " ");
	if (*word > len)
		*word = len;
	if (memchr(line + *word, ' ', len - *word))
		return;
	if (!strncmp(line + first, "info", end - first))
		add_names(hmp_infos, hmp_n_infos, add, ed);
	else if (!strncmp(line + first, "help", end - first))
		add_names(hmp_cmds, hmp_n_cmds, add, ed);
}

static const struct hmp_edit_ops edit_ops = {
	.print = edit_print,
	.line = edit_line,
	.complete = edit_complete,
};

static size_t hmp_can_receive(void *opaque)
{
	struct hmp *m = opaque;

	return m->out.text.len && !m->out.held ? 0 : IN_CHUNK;
}

static void hmp_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct hmp *m = opaque;

	for (size_t i = 0; i < len; i++)
		hmp_edit_put(&m->edit, buf[i]);
	ctl_out_flush(&m->out);
}

static void hmp_writable(void *opaque)
{
	struct hmp *m = opaque;

	ctl_out_flush(&m->out);
}

static void hmp_greet(struct hmp *m)
{
	if (!m->greeted)
		text_printf(&m->out.text,
			    "QEMU 7.2.0 monitor - type 'help' for more information (doppel %s)\r\n",
			    DOPPEL_VERSION);
	m->greeted = true;
	hmp_edit_show(&m->edit);
	ctl_out_flush(&m->out);
}

static void hmp_event(void *opaque, int event)
{
	struct hmp *m = opaque;

	switch (event) {
	case CHARDEV_EV_OPENED:
		text_free(&m->out.text);
		hmp_edit_clear(&m->edit);
		m->open = true;
		m->greeted = false;
		m->out.held = !chardev_focused(m->out.cd);
		if (!m->out.held)
			hmp_greet(m);
		break;
	case CHARDEV_EV_CLOSED:
		m->open = false;
		break;
	case CHARDEV_EV_FOCUS:
		m->out.held = false;
		chardev_write(m->out.cd, (const uint8_t *)"\r\n", 2);
		hmp_greet(m);
		break;
	case CHARDEV_EV_UNFOCUS:
		chardev_write(m->out.cd, (const uint8_t *)"\r\n", 2);
		m->out.held = true;
		break;
	default:
		break;
	}
}

int ctl_add_hmp(struct ctl *c, struct chardev *cd, struct err **e)
{
	struct hmp *m = xzalloc(sizeof(*m));
	struct chardev_front front = {
		.can_receive = hmp_can_receive,
		.receive = hmp_receive,
		.writable = hmp_writable,
		.event = hmp_event,
		.opaque = m,
	};
	int r = chardev_attach(cd, &front, e);

	if (r) {
		free(m);
		return r;
	}
	m->ctl = c;
	m->out.cd = cd;
	hmp_edit_init(&m->edit, &edit_ops, m, "(qemu) ");
	m->next = c->hmps;
	c->hmps = m;
	return 0;
}

void hmp_destroy_all(struct ctl *c)
{
	while (c->hmps) {
		struct hmp *m = c->hmps;

		c->hmps = m->next;
		chardev_detach(m->out.cd);
		hmp_edit_fini(&m->edit);
		text_free(&m->out.text);
		free(m);
	}
}
