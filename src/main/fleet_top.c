/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doppel top: what machines do, every two seconds.  Rates come from two looks at the counters of
 * x-doppel-stats, query-blockstats and x-doppel-netstats, whichever the machine has.
 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "back/char/term.h"
#include "base/base.h"
#include "base/kvlist.h"
#include "main/fleet_int.h"

/* One look at a machine. */
struct sample {
	char *name, *engine, *status;
	pid_t pid;
	int64_t at_ms;
	double cpu; /* seconds of all its vCPUs */
	uint64_t memory, resident;
	uint64_t ops, rd, wr; /* block requests; bytes */
	uint64_t rx, tx; /* bytes */
};

struct samples {
	struct sample *s;
	unsigned n;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static void samples_free(struct samples *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		free(l->s[i].name);
		free(l->s[i].engine);
		free(l->s[i].status);
	}
	free(l->s);
	*l = (struct samples){0};
}

static uint64_t num(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? (uint64_t)json_object_get_int64(v) : 0;
}

static void sample_stats(struct sample *s, struct json_object *o)
{
	struct json_object *v;

	s->resident = num(o, "resident");
	s->memory = num(o, "memory");
	if (json_object_object_get_ex(o, "status", &v)) {
		free(s->status);
		s->status = xstrdup(json_object_get_string(v));
	}
	if (!json_object_object_get_ex(o, "cpu-seconds", &v) ||
	    !json_object_is_type(v, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(v); i++)
		s->cpu += json_object_get_double(json_object_array_get_idx(v, i));
}

static void sample_block(struct sample *s, struct json_object *list)
{
	for (size_t i = 0;
	     json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
	     i++) {
		struct json_object *v;

		if (!json_object_object_get_ex(json_object_array_get_idx(list, i), "stats", &v))
			continue;
		s->ops += num(v, "rd_operations") + num(v, "wr_operations") +
			  num(v, "flush_operations");
		s->rd += num(v, "rd_bytes");
		s->wr += num(v, "wr_bytes");
	}
}

static void sample_net(struct sample *s, struct json_object *list)
{
	for (size_t i = 0;
	     json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
	     i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		s->rx += num(o, "rx-bytes");
		s->tx += num(o, "tx-bytes");
	}
}

static void ask(struct qmp_client *q, const char *cmd, struct sample *s,
		void (*take)(struct sample *s, struct json_object *o))
{
	struct json_object *ret = NULL;

	if (!qmp_client_run(q, cmd, NULL, &ret, NULL))
		take(s, ret);
	json_object_put(ret);
}

static void sample_take(struct sample *s, const struct rundir_entry *m)
{
	struct qmp_client *q;

	*s = (struct sample){
		.name = xstrdup(m->name),
		.engine = xstrdup(m->engine),
		.status = xstrdup("?"),
		.pid = m->pid,
		.memory = m->memory,
	};
	if (!qmp_client_open(&q, m->qmp, NULL)) {
		ask(q, "x-doppel-stats", s, sample_stats);
		ask(q, "query-blockstats", s, sample_block);
		ask(q, "x-doppel-netstats", s, sample_net);
		qmp_client_close(q);
	}
	s->at_ms = now_ms();
}

static void samples_take(struct samples *l, const char *only)
{
	unsigned n;
	struct rundir_entry *m = rundir_list(&n);

	*l = (struct samples){.s = xcalloc(n, sizeof(struct sample))};
	for (unsigned i = 0; i < n; i++) {
		if (!only || !strcmp(only, m[i].name))
			sample_take(&l->s[l->n++], &m[i]);
		rundir_entry_free(&m[i]);
	}
	free(m);
}

static const struct sample *sample_before(const struct samples *l, const struct sample *s)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->s[i].pid == s->pid && !strcmp(l->s[i].name, s->name))
			return &l->s[i];
	return NULL;
}

/* Per second; counters that went back (a new machine of the name) give nothing. */
static double rate(double now, double before, double seconds)
{
	return seconds > 0 && now > before ? (now - before) / seconds : 0;
}

struct rates {
	double cpu, ops, rd, wr, rx, tx;
};

static struct rates rates_of(const struct sample *s, const struct sample *b)
{
	double t;

	if (!b)
		return (struct rates){0};
	t = (double)(s->at_ms - b->at_ms) / 1000;
	return (struct rates){
		.cpu = 100 * rate(s->cpu, b->cpu, t),
		.ops = rate((double)s->ops, (double)b->ops, t),
		.rd = rate((double)s->rd, (double)b->rd, t),
		.wr = rate((double)s->wr, (double)b->wr, t),
		.rx = rate((double)s->rx, (double)b->rx, t),
		.tx = rate((double)s->tx, (double)b->tx, t),
	};
}

static void put_num(struct json_object *o, const char *key, double v)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, key, json_object_new_double_s(v, text));
}

static void show_json(const struct samples *now, const struct samples *before)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < now->n; i++) {
		const struct sample *s = &now->s[i];
		struct rates r = rates_of(s, sample_before(before, s));
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(s->name));
		json_object_object_add(o, "pid", json_object_new_int(s->pid));
		json_object_object_add(o, "status", json_object_new_string(s->status));
		json_object_object_add(o, "engine", json_object_new_string(s->engine));
		json_object_object_add(o, "memory", json_object_new_int64((int64_t)s->memory));
		json_object_object_add(o, "resident", json_object_new_int64((int64_t)s->resident));
		put_num(o, "cpu-percent", r.cpu);
		put_num(o, "cpu-seconds", s->cpu);
		put_num(o, "block-iops", r.ops);
		put_num(o, "block-read-bytes-per-s", r.rd);
		put_num(o, "block-write-bytes-per-s", r.wr);
		put_num(o, "net-rx-bytes-per-s", r.rx);
		put_num(o, "net-tx-bytes-per-s", r.tx);
		json_object_array_add(list, o);
	}
	puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
}

static void put_bytes(double v)
{
	static const char units[] = " KMGT";
	unsigned u = 0;

	for (; v >= 999.5 && u + 2 < sizeof(units); u++)
		v /= 1024;
	printf(" %6.*f%c", v < 10 && u ? 1 : 0, v, units[u]);
}

static void show_text(const struct samples *now, const struct samples *before, unsigned rows,
		      const char *eol)
{
	printf("%-18s %-10s %-7s %6s %7s %7s %6s %7s %7s %7s %7s%s", "NAME", "STATUS", "ENGINE",
	       "%CPU", "MEM", "RES", "IOPS", "READ/s", "WRITE/s", "RX/s", "TX/s", eol);
	for (unsigned i = 0; i < now->n && i < rows; i++) {
		const struct sample *s = &now->s[i];
		struct rates r = rates_of(s, sample_before(before, s));

		printf("%-18.18s %-10.10s %-7.7s %6.1f", s->name, s->status, s->engine, r.cpu);
		put_bytes((double)s->memory);
		put_bytes((double)s->resident);
		printf(" %6.0f", r.ops);
		put_bytes(r.rd);
		put_bytes(r.wr);
		put_bytes(r.rx);
		put_bytes(r.tx);
		fputs(eol, stdout);
	}
	if (!now->n)
		printf("no machine is running%s", eol);
}

/* Wait; false when the person wants to leave. */
static bool top_wait(int ms)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	char c;

	if (!isatty(STDIN_FILENO)) {
		usleep((useconds_t)ms * 1000);
		return true;
	}
	if (poll(&p, 1, ms) <= 0)
		return true;
	return read(STDIN_FILENO, &c, 1) == 1 && c != 'q' && c != 'Q' && c != 3 && c != 27;
}

static unsigned top_rows(void)
{
	struct winsize w;

	return !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_row > 4 ? w.ws_row - 3u : 20;
}

static void top_screen(const char *only, int ms)
{
	struct samples before = {0}, now;

	term_enter(STDIN_FILENO, true);
	do {
		samples_take(&now, only);
		printf("\033[H\033[Jdoppel top; q leaves\r\n");
		show_text(&now, &before, top_rows(), "\r\n");
		fflush(stdout);
		samples_free(&before);
		before = now;
	} while (top_wait(ms));
	samples_free(&before);
	term_leave();
}

static void top_once(const char *only, int ms, bool json)
{
	struct samples before, now;

	samples_take(&before, only);
	usleep((useconds_t)ms * 1000);
	samples_take(&now, only);
	if (json)
		show_json(&now, &before);
	else
		show_text(&now, &before, UINT32_MAX, "\n");
	samples_free(&before);
	samples_free(&now);
}

int fleet_top(int argc, char **argv)
{
	static const char usage[] = "usage: doppel top [NAME] [--once] [--json] [--time SECONDS]\n"
				    "Show what machines do; --once: over one second, and end.\n";
	const char *name[1] = {0}, *time_arg = NULL;
	bool once = false, json = false, done;
	const struct fleet_opt opts[] = {{"--once", &once, NULL},
					 {"--json", &json, NULL},
					 {"--time", NULL, &time_arg},
					 {"-d", NULL, &time_arg},
					 {0}};
	struct err *e = NULL;
	uint64_t seconds;
	int n;

	if (!fleet_options(argc, argv, opts, usage, name, 1, &n, &done))
		return done ? 0 : 2;
	once |= json || !isatty(STDOUT_FILENO);
	seconds = once ? 1 : 2;
	if (time_arg && !parse_uint(time_arg, 1, 3600, &seconds)) {
		err_set(&e, EINVAL, "--time %s: not a number of seconds", time_arg);
		return fleet_fail("top", &e);
	}
	if (once)
		top_once(name[0], (int)seconds * 1000, json);
	else
		top_screen(name[0], (int)seconds * 1000);
	return 0;
}
