/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that ask, and that set modes of the protocol. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "ctl/gdbreg.h"
#include "ctl/gdbstub_int.h"

static void query_supported(struct gdbstub *g, char *args)
{
	struct rsp_text t = {0};

	g->swbreak = strstr(args, "swbreak+") != NULL;
	g->hwbreak = strstr(args, "hwbreak+") != NULL;
	rsp_printf(&t,
		   "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;"
		   "vContSupported+;swbreak+;hwbreak+",
		   RSP_MAX);
	gdb_reply(g, t.s);
	rsp_text_free(&t);
}

static void query_no_ack(struct gdbstub *g, char *args)
{
	gdb_reply(g, "OK");
	g->rsp.no_ack = true;
}

/* A piece of a document: "OFFSET,LENGTH". */
static void query_piece(struct gdbstub *g, const char *args, const struct rsp_text *doc)
{
	struct rsp_text t = {0};
	uint64_t off, len;

	if (!rsp_number(&args, &off) || *args++ != ',' || !rsp_number(&args, &len) ||
	    off > doc->len) {
		gdb_error(g, EINVAL);
		return;
	}
	len = min_u64(len, min_u64(doc->len - off, RSP_MAX - 1));
	rsp_put(&t, off + len < doc->len ? "m" : "l", 1);
	rsp_put(&t, doc->s + off, len);
	rsp_send(&g->rsp, t.s, t.len);
	rsp_text_free(&t);
}

static void query_features(struct gdbstub *g, char *args)
{
	struct rsp_text doc = {0};

	if (strncmp(args, "target.xml:", 11)) {
		gdb_error(g, 0);
		return;
	}
	gdbreg_xml(&doc);
	query_piece(g, args + 11, &doc);
	rsp_text_free(&doc);
}

static void query_threads(struct gdbstub *g, char *args)
{
	struct rsp_text doc = {0};

	rsp_printf(&doc, "<?xml version=\"1.0\"?><threads>");
	for (unsigned i = 0; i < vm_cpus(g->vm); i++)
		rsp_printf(&doc, "<thread id=\"%x\" core=\"%u\" name=\"CPU %u\"/>", i + 1, i, i);
	rsp_printf(&doc, "</threads>");
	query_piece(g, args, &doc);
	rsp_text_free(&doc);
}

static void query_first_threads(struct gdbstub *g, char *args)
{
	struct rsp_text t = {0};

	for (unsigned i = 0; i < vm_cpus(g->vm); i++)
		rsp_printf(&t, "%c%x", i ? ',' : 'm', i + 1);
	gdb_reply(g, t.s);
	rsp_text_free(&t);
}

static void query_more_threads(struct gdbstub *g, char *args)
{
	gdb_reply(g, "l");
}

static void query_current(struct gdbstub *g, char *args)
{
	struct rsp_text t = {0};

	rsp_printf(&t, "QC%x", g->cpu + 1);
	gdb_reply(g, t.s);
	rsp_text_free(&t);
}

static const char *cpu_condition(struct gdbstub *g, unsigned cpu)
{
	static const char *const names[] = {"runnable", "halted", "waiting for SIPI",
					    "not initialized"};
	struct x86_state *s = xzalloc_aligned(64, sizeof(*s));
	unsigned mp;

	g->engine->get(g->ev, cpu, s);
	mp = s->mp_state;
	free(s);
	return mp < ARRAY_SIZE(names) ? names[mp] : "?";
}

static void query_thread_info(struct gdbstub *g, char *args)
{
	struct rsp_text text = {0}, t = {0};
	const char *p = args;
	int cpu;

	if (!gdb_thread(g, &p, &cpu) || cpu < 0) {
		gdb_error(g, EINVAL);
		return;
	}
	rsp_printf(&text, "CPU %d, %s", cpu, cpu_condition(g, (unsigned)cpu));
	rsp_hex(&t, text.s, text.len);
	gdb_reply(g, t.s);
	rsp_text_free(&text);
	rsp_text_free(&t);
}

static void query_attached(struct gdbstub *g, char *args)
{
	gdb_reply(g, "1");
}

static void query_symbols(struct gdbstub *g, char *args)
{
	gdb_reply(g, "OK"); /* no symbols are wanted */
}

static void query_monitor(struct gdbstub *g, char *args)
{
	size_t n = strlen(args) / 2;
	char *cmd = xzalloc(n + 1);

	if (rsp_unhex(args, (uint8_t *)cmd, n))
		gdb_monitor(g, cmd);
	else
		gdb_error(g, EINVAL);
	free(cmd);
}

static const struct {
	const char *prefix;
	void (*fn)(struct gdbstub *g, char *args);
} queries[] = {
	{"qSupported", query_supported},
	{"QStartNoAckMode", query_no_ack},
	{"qXfer:features:read:", query_features},
	{"qXfer:threads:read::", query_threads},
	{"qfThreadInfo", query_first_threads},
	{"qsThreadInfo", query_more_threads},
	{"qThreadExtraInfo,", query_thread_info},
	{"qC", query_current},
	{"qAttached", query_attached},
	{"qSymbol:", query_symbols},
	{"qRcmd,", query_monitor},
};

void gdb_query(struct gdbstub *g, char *buf)
{
	for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
		size_t n = strlen(queries[i].prefix);

		/* "qC" is a whole packet, not the start of qCRC. */
		if (strncmp(buf, queries[i].prefix, n) || (n == 2 && buf[2]))
			continue;
		queries[i].fn(g, buf + n);
		return;
	}
	gdb_reply(g, "");
}
