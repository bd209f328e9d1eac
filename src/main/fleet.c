/* SPDX-License-Identifier: Apache-2.0 */
/* doppel ps, stop, qmp. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/base.h"
#include "base/kvlist.h"
#include "main/fleet_int.h"

#define STOP_SECONDS 30 /* for the guest to shut down, if not told */
#define QUIT_MS 5000

int fleet_fail(const char *cmd, struct err **e)
{
	fprintf(stderr, "doppel %s: %s\n", cmd, err_msg(*e));
	err_free(e);
	return 1;
}

/* The option that argv[*i] is, and its argument; false: there is none such, or the argument is
 * missing. */
static bool option_take(int argc, char **argv, int *i, const struct fleet_opt *opts)
{
	for (const struct fleet_opt *o = opts; o->name; o++) {
		size_t len = strlen(o->name);

		if (strncmp(argv[*i], o->name, len) || (argv[*i][len] && argv[*i][len] != '='))
			continue;
		if (o->flag && !argv[*i][len])
			return *o->flag = true;
		if (!o->arg || (!argv[*i][len] && *i + 1 >= argc))
			return false;
		*o->arg = argv[*i][len] ? argv[*i] + len + 1 : argv[*i + 1];
		*i += !argv[*i][len];
		return true;
	}
	return false;
}

bool fleet_options(int argc, char **argv, const struct fleet_opt *opts, const char *usage,
		   const char **word, int max, int *n, bool *done)
{
	bool plain = false;

	*n = 0;
	*done = false;
	for (int i = 1; i < argc; i++) {
		if (!plain && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
			fputs(usage, stdout);
			*done = true;
			return false;
		}
		if (!plain && !strcmp(argv[i], "--")) {
			plain = true;
		} else if (!plain && argv[i][0] == '-') {
			if (option_take(argc, argv, &i, opts))
				continue;
			fprintf(stderr,
				"doppel %s: '%s': no such option, or its argument is missing\n%s",
				argv[0], argv[i], usage);
			return false;
		} else if (*n == max) {
			fprintf(stderr, "doppel %s: '%s' is too much\n%s", argv[0], argv[i], usage);
			return false;
		} else {
			word[(*n)++] = argv[i];
		}
	}
	return true;
}

/* --- ps --- */

/* What a machine says of its state; "?" when it does not answer. */
static char *ask_status(const struct rundir_entry *m)
{
	struct qmp_client *q;
	struct json_object *ret = NULL, *v;
	char *status = NULL;

	if (qmp_client_open(&q, m->qmp, NULL))
		return xstrdup("?");
	if (!qmp_client_run(q, "query-status", NULL, &ret, NULL) &&
	    json_object_object_get_ex(ret, "status", &v))
		status = xstrdup(json_object_get_string(v));
	json_object_put(ret);
	qmp_client_close(q);
	return status ? status : xstrdup("?");
}

static char *for_people(int64_t seconds)
{
	if (seconds < 60)
		return xasprintf("%llds", (long long)seconds);
	if (seconds < 3600)
		return xasprintf("%lldm%02llds", (long long)seconds / 60, (long long)seconds % 60);
	if (seconds < 86400)
		return xasprintf("%lldh%02lldm", (long long)seconds / 3600,
				 (long long)seconds % 3600 / 60);
	return xasprintf("%lldd%02lldh", (long long)seconds / 86400,
			 (long long)seconds % 86400 / 3600);
}

static void ps_line(const struct rundir_entry *m, const char *status)
{
	char *up = for_people(time(NULL) - m->started);

	printf("%-20s %8d  %-10s %-8s %-8s %4u %6lluM  %8s  %s\n", m->name, (int)m->pid, status,
	       m->engine, m->machine, m->cpus, (unsigned long long)(m->memory / MiB), up,
	       m->console ? "socket" : "terminal");
	free(up);
}

static struct json_object *ps_json(const struct rundir_entry *m, const char *status)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(m->name));
	json_object_object_add(o, "pid", json_object_new_int(m->pid));
	json_object_object_add(o, "status", json_object_new_string(status));
	json_object_object_add(o, "engine", json_object_new_string(m->engine));
	json_object_object_add(o, "machine", json_object_new_string(m->machine));
	json_object_object_add(o, "cpus", json_object_new_int((int)m->cpus));
	json_object_object_add(o, "memory", json_object_new_int64((int64_t)m->memory));
	json_object_object_add(o, "started", json_object_new_int64(m->started));
	json_object_object_add(o, "qmp", json_object_new_string(m->qmp));
	json_object_object_add(o, "console",
			       m->console ? json_object_new_string(m->console) : NULL);
	return o;
}

int fleet_ps(int argc, char **argv)
{
	bool json = false, done;
	const struct fleet_opt opts[] = {{"--json", &json, NULL}, {0}};
	struct json_object *list = json_object_new_array();
	struct rundir_entry *m = NULL;
	unsigned n = 0;
	int words;

	if (!fleet_options(argc, argv, opts, "usage: doppel ps [--json]\n", NULL, 0, &words,
			   &done)) {
		json_object_put(list);
		return done ? 0 : 2;
	}
	m = rundir_list(&n);
	if (!json && n)
		printf("%-20s %8s  %-10s %-8s %-8s %4s %7s  %8s  %s\n", "NAME", "PID", "STATUS",
		       "ENGINE", "MACHINE", "CPUS", "MEMORY", "UP", "CONSOLE");
	for (unsigned i = 0; i < n; i++) {
		char *status = ask_status(&m[i]);

		if (json)
			json_object_array_add(list, ps_json(&m[i], status));
		else
			ps_line(&m[i], status);
		free(status);
		rundir_entry_free(&m[i]);
	}
	if (json)
		puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	else if (!n)
		fprintf(stderr, "no machine is running\n");
	json_object_put(list);
	free(m);
	return 0;
}

/* --- stop --- */

/* Has it ended, in that time? */
static bool gone_within(const struct rundir_entry *m, int ms)
{
	for (; ms >= 0; ms -= 50) {
		if (rundir_gone(m))
			return true;
		usleep(50000);
	}
	return false;
}

/* One command of a connection of its own: others may want the machine's ear meanwhile. */
static int tell(const struct rundir_entry *m, const char *cmd, struct err **e)
{
	struct qmp_client *q;
	int r = qmp_client_open(&q, m->qmp, e);

	if (r)
		return r;
	r = qmp_client_run(q, cmd, NULL, NULL, e);
	qmp_client_close(q);
	return r;
}

/* Has the guest shut down, in that many seconds?  A machine may stay when it has (-no-shutdown). */
static bool off_within(const struct rundir_entry *m, uint64_t seconds)
{
	for (uint64_t i = 0; i < seconds; i++) {
		char *status;
		bool off;

		if (gone_within(m, 1000))
			return true;
		status = ask_status(m);
		off = !strcmp(status, "shutdown");
		free(status);
		if (off)
			return true;
	}
	return false;
}

static int stop_machine(const struct rundir_entry *m, uint64_t seconds, bool now, struct err **e)
{
	int r = now ? 0 : tell(m, "system_powerdown", e);

	if (r)
		return rundir_gone(m) ? err_free(e), 0 : r;
	if (!now && !off_within(m, seconds))
		fprintf(stderr,
			"doppel stop: '%s' did not shut down within %llu s: switching it off\n",
			m->name, (unsigned long long)seconds);
	if (!rundir_gone(m))
		r = tell(m, "quit", e);
	if (r && rundir_gone(m)) {
		err_free(e);
		r = 0;
	}
	if (!r && !gone_within(m, QUIT_MS))
		r = err_set(e, ETIMEDOUT, "'%s' (process %d) does not end", m->name, (int)m->pid);
	return r;
}

int fleet_stop(int argc, char **argv)
{
	static const char usage[] =
		"usage: doppel stop NAME [--time SECONDS] [--now]\n"
		"Press the power button; switch it off after that time (30), or "
		"at once.\n";
	const char *time_arg = NULL, *name[1] = {0};
	bool now = false, done;
	const struct fleet_opt opts[] = {
		{"--time", NULL, &time_arg}, {"-t", NULL, &time_arg}, {"--now", &now, NULL}, {0}};
	struct err *e = NULL;
	struct rundir_entry m;
	uint64_t seconds = STOP_SECONDS;
	int n, r;

	if (!fleet_options(argc, argv, opts, usage, name, 1, &n, &done))
		return done ? 0 : 2;
	if (!n) {
		fputs(usage, stderr);
		return 2;
	}
	if (time_arg && !parse_uint(time_arg, 0, 86400, &seconds)) {
		err_set(&e, EINVAL, "--time %s: not a number of seconds", time_arg);
		return fleet_fail("stop", &e);
	}
	if (rundir_find(&m, name[0], &e))
		return fleet_fail("stop", &e);
	r = stop_machine(&m, seconds, now, &e);
	rundir_entry_free(&m);
	return r ? fleet_fail("stop", &e) : 0;
}

/* --- qmp --- */

/* What a person writes: a command's name, or a whole message. */
static int qmp_words(const char *text, const char **name, struct json_object **args,
		     struct json_object **msg, struct err **e)
{
	struct json_object *v;

	if (*text != '{') {
		*name = text;
		return 0;
	}
	*msg = json_tokener_parse(text);
	if (!json_object_object_get_ex(*msg, "execute", &v) ||
	    !json_object_is_type(v, json_type_string))
		return err_set(e, EINVAL, "'%s' is no message with a member 'execute'", text);
	*name = json_object_get_string(v);
	if (json_object_object_get_ex(*msg, "arguments", &v))
		*args = json_object_get(v);
	return 0;
}

static int qmp_one(const char *machine, const char *text, const char *args_text, struct err **e)
{
	struct json_object *args = NULL, *msg = NULL, *ret = NULL;
	struct rundir_entry m = {0};
	struct qmp_client *q = NULL;
	const char *name = NULL;
	int r = qmp_words(text, &name, &args, &msg, e);

	if (!r && args_text) {
		args = json_tokener_parse(args_text);
		if (!json_object_is_type(args, json_type_object))
			r = err_set(e, EINVAL, "'%s' is no JSON object", args_text);
	}
	if (!r)
		r = rundir_find(&m, machine, e);
	if (!r)
		r = qmp_client_open(&q, m.qmp, e);
	if (!r) {
		r = qmp_client_run(q, name, args, &ret, e);
		args = NULL;
	}
	if (!r)
		puts(json_object_to_json_string_ext(ret, JSON_C_TO_STRING_PRETTY |
								 JSON_C_TO_STRING_NOSLASHESCAPE));
	qmp_client_close(q);
	rundir_entry_free(&m);
	json_object_put(args);
	json_object_put(ret);
	json_object_put(msg);
	return r;
}

int fleet_qmp(int argc, char **argv)
{
	static const char usage[] =
		"usage: doppel qmp NAME COMMAND [ARGUMENTS]\n"
		"       doppel qmp NAME MESSAGE\n"
		"Run a command of the machine's monitor; ARGUMENTS and MESSAGE are JSON objects.\n";
	const struct fleet_opt opts[] = {{0}};
	const char *word[3] = {0};
	struct err *e = NULL;
	bool done;
	int n;

	if (!fleet_options(argc, argv, opts, usage, word, 3, &n, &done))
		return done ? 0 : 2;
	if (n < 2) {
		fputs(usage, stderr);
		return 2;
	}
	return qmp_one(word[0], word[1], word[2], &e) ? fleet_fail("qmp", &e) : 0;
}
