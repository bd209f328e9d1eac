/* SPDX-License-Identifier: Apache-2.0 */
/* From what a person writes after -serial or -chardev to an open back end. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/char/chardev_int.h"
#include "base/err.h"

static const struct chardev_kind *const kinds[] = {
	&chardev_stdio, &chardev_null,	  &chardev_file,   &chardev_pty, &chardev_pipe,
	&chardev_socket, &chardev_udp, &chardev_ringbuf, &chardev_memory, &chardev_vc,
};

void chardev_kinds_help(void)
{
	printf("Character back ends (-chardev KIND,id=ID,...):\n");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		printf("%-10s %s\n", kinds[i]->name, kinds[i]->help);
}

const char *chardev_kind_name(unsigned i)
{
	return i < ARRAY_SIZE(kinds) ? kinds[i]->name : NULL;
}

static const struct chardev_kind *kind_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i]->name, name))
			return kinds[i];
	return NULL;
}

/* Every option must mean something to the kind; checked before anything is opened. */
static int kind_check_keys(const struct chardev_kind *kind, const struct kvlist *l, struct err **e)
{
	static const char *const common[] = {"backend", "id",	   "addr", "mux",
					     "logfile", "logappend", NULL};

	for (size_t i = 0; i < l->n; i++) {
		const char *const *k = common;

		while (*k && strcmp(*k, l->kv[i].key))
			k++;
		for (size_t n = 0; !*k && n < ARRAY_SIZE(kind->keys) && kind->keys[n]; n++)
			if (!strcmp(kind->keys[n], l->kv[i].key))
				k = &kind->keys[n];
		if (!*k)
			return err_set(e, EINVAL, "invalid parameter '%s' for '%s'", l->kv[i].key,
				       kind->name);
	}
	return 0;
}

/* logfile=: a file that gets a copy of the output. */
static int open_logfile(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	const char *path = kv_get(opts, "logfile");
	bool append = false;
	int r = kv_bool(opts, "logappend", &append, e);

	if (r || !path)
		return r;
	cd->log_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | (append ? O_APPEND : O_TRUNC), 0666);
	if (cd->log_fd < 0)
		return err_set(e, errno, "cannot open logfile '%s': %s", path, strerror(errno));
	return 0;
}

static int chardev_open_kind(struct chardev **out, struct loop *loop, const char *id,
			     const char *name, struct kvlist *opts, struct err **e)
{
	const struct chardev_kind *kind = kind_find(name);
	struct chardev *cd;
	int r;

	if (!kind)
		return err_set(e, EINVAL, "'%s' is not a character back end", name);
	r = kind_check_keys(kind, opts, e);
	if (!r)
		r = chardev_new(&cd, loop, id, kind, e);
	if (r)
		return r;
	r = kv_bool(opts, "mux", &cd->is_mux, e);
	if (!r)
		r = open_logfile(cd, opts, e);
	if (!r)
		r = kind->open(cd, opts, e);
	if (r) {
		chardev_free(cd);
		return r;
	}
	if (cd->is_mux)
		mux_create(cd);
	*out = cd;
	return 0;
}

/* "unix:PATH,opts" and "tcp:HOST:PORT,opts" (HOST may be "[v6]" or empty). */
static int spec_socket(struct kvlist *l, const char *rest, bool unix_socket, struct err **e)
{
	int r = kv_parse(l, rest, unix_socket ? "path" : "addr", e);
	const char *addr, *colon;
	char *host;

	if (r || unix_socket)
		return r;
	addr = kv_get(l, "addr");
	colon = addr ? strrchr(addr, ':') : NULL;
	if (!colon)
		return err_set(e, EINVAL, "'tcp:%s' is not 'tcp:HOST:PORT'", rest);
	host = xasprintf("%.*s", (int)(colon - addr), addr);
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = 0;
		memmove(host, host + 1, strlen(host));
	}
	kv_add(l, "host", host);
	kv_add(l, "port", colon + 1);
	free(host);
	return 0;
}

/* "[HOST]:PORT@[ADDR]:PORT" in halves of host and port, of which each may be in brackets. */
static int spec_udp(struct kvlist *l, const char *rest, struct err **e)
{
	static const char *const keys[2][2] = {{"host", "port"}, {"localaddr", "localport"}};
	char *copy = xstrdup(rest), *half[2] = {copy, strchr(copy, '@')};
	int r = 0;

	if (half[1])
		*half[1]++ = 0;
	for (unsigned i = 0; i < 2 && half[i] && !r; i++) {
		char *colon = strrchr(half[i], ':'), *host = half[i];

		if (!colon) {
			r = err_set(e, EINVAL, "'udp:%s' is not 'udp:HOST:PORT[@ADDR:PORT]'", rest);
			break;
		}
		*colon = 0;
		if (*host == '[' && colon > host && colon[-1] == ']') {
			colon[-1] = 0;
			host++;
		}
		if (*host)
			kv_add(l, keys[i][0], host);
		kv_add(l, keys[i][1], colon + 1);
	}
	free(copy);
	return r;
}

/* The kind that a -serial style spec names, its options into l; NULL with *e. */
static const char *spec_parse(struct kvlist *l, const char *spec, struct err **e)
{
	if (!strcmp(spec, "stdio") || !strcmp(spec, "null") || !strcmp(spec, "pty"))
		return kind_find(spec)->name;
	if (!strcmp(spec, "vc") || !strncmp(spec, "vc:", 3))
		return "vc";
	if (!strncmp(spec, "file:", 5) || !strncmp(spec, "pipe:", 5)) {
		kv_add(l, "path", spec + 5);
		return spec[0] == 'f' ? "file" : "pipe";
	}
	if (!strncmp(spec, "unix:", 5))
		return spec_socket(l, spec + 5, true, e) ? NULL : "socket";
	if (!strncmp(spec, "tcp:", 4))
		return spec_socket(l, spec + 4, false, e) ? NULL : "socket";
	if (!strncmp(spec, "telnet:", 7)) {
		kv_add(l, "telnet", "on");
		return spec_socket(l, spec + 7, false, e) ? NULL : "socket";
	}
	if (!strncmp(spec, "udp:", 4))
		return spec_udp(l, spec + 4, e) ? NULL : "udp";
	err_set(e, EINVAL,
		"'%s' is not a character back end (stdio, mon:stdio, null, pty, vc, file:PATH, "
		"pipe:PATH, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, udp:HOST:PORT)",
		spec);
	return NULL;
}

int chardev_open(struct chardev **out, struct loop *loop, const char *id, const char *spec,
		 struct err **e)
{
	bool mux = !strncmp(spec, "mon:", 4);
	struct kvlist opts = {0};
	const char *kind;
	int r = -EINVAL;

	if (mux) {
		kv_add(&opts, "mux", "on");
		spec += 4;
		if (!strcmp(spec, "stdio"))
			kv_add(&opts, "signal", "off");
	}
	kind = spec_parse(&opts, spec, e);
	if (kind)
		r = chardev_open_kind(out, loop, id, kind, &opts, e);
	kv_free(&opts);
	return r;
}

static bool id_ok(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	return strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
	       strlen(id);
}

int chardev_open_opts(struct chardev **out, struct loop *loop, const char *opts, struct err **e)
{
	struct kvlist l = {0};
	const char *kind, *id;
	int r = kv_parse(&l, opts, "backend", e);

	if (r)
		goto out;
	kind = kv_get(&l, "backend");
	id = kv_get(&l, "id");
	if (!kind)
		r = err_set(e, EINVAL, "the kind of back end is missing");
	else if (!id)
		r = err_set(e, EINVAL, "'id' is missing");
	else if (!id_ok(id))
		r = err_set(e, EINVAL,
			    "id '%s' is not a letter followed by letters, digits, '-', '.', '_'",
			    id);
	else
		r = chardev_open_kind(out, loop, id, kind, &l, e);
out:
	kv_free(&l);
	return r;
}
