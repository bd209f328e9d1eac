/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients of monitors that know the commands, most of the time: messages with arguments of all
 * types, lines for people, damaged here and there; fed to the target of libfuzzer/qmp.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* With the arguments that they know. */
static const char *const commands[][8] = {
	{"balloon", "value"},
	{"block_resize", "device", "size"},
	{"block_set_io_throttle", "device", "bps", "bps_rd", "bps_wr", "iops", "iops_rd",
	 "iops_wr"},
	{"blockdev-add", "driver", "node-name", "size"},
	{"blockdev-change-medium", "id", "filename", "format", "read-only-mode"},
	{"blockdev-del", "node-name"},
	{"cont"},
	{"device-list-properties", "typename"},
	{"eject", "device", "force"},
	{"human-monitor-command", "command-line", "cpu-index"},
	{"human-monitor-command", "command-line"},
	{"inject-nmi"},
	{"memsave", "val", "size", "filename", "cpu-index"},
	{"pmemsave", "val", "size", "filename"},
	{"qmp_capabilities", "enable"},
	{"qom-list-types", "implements", "abstract"},
	{"query-balloon"},
	{"query-block"},
	{"query-blockstats", "query-nodes"},
	{"query-chardev"},
	{"query-commands"},
	{"query-command-line-options", "option"},
	{"query-cpu-definitions"},
	{"query-cpu-model-expansion", "type", "model"},
	{"query-cpus-fast"},
	{"query-machines"},
	{"query-named-block-nodes", "flat"},
	{"query-pci"},
	{"query-qmp-schema"},
	{"query-status"},
	{"quit"},
	{"ringbuf-read", "device", "size", "format"},
	{"ringbuf-write", "device", "data", "format"},
	{"screendump", "filename", "device", "head", "format"},
	{"send-key", "keys", "hold-time"},
	{"set-action", "reboot", "shutdown"},
	{"set_link", "name", "up"},
	{"stop"},
	{"system_powerdown"},
	{"system_reset"},
	{"x-doppel-netstats"},
	{"x-doppel-stats", "engine"},
	{"frobnicate"},
};
/* All names, so that none is forgotten. */
static const char *const names[] = {
#define QMP_CMD(name, handler, args) name,
#include "ctl/qmp.def"
#undef QMP_CMD
};
static const char *const people[] = {
#define HMP_CMD(names, args, handler, help) names,
#define HMP_INFO(name, ...) "info " name,
#include "ctl/hmp.def"
#undef HMP_CMD
#undef HMP_INFO
};
static const char *const keys[] = {
	"device",   "id",	 "node-name",	 "size",   "format", "data",	       "val",
	"filename", "cpu-index", "driver",	 "bps",	   "iops",   "force",	       "name",
	"up",	    "keys",	 "command-line", "reboot", "file",   "read-only-mode",
};
static const char *const values[] = {
	"\"d0\"",
	"\"r\"",
	"\"n0\"",
	"\"x\"",
	"0",
	"1",
	"-1",
	"512",
	"65536",
	"9223372036854775807",
	"18446744073709551615",
	"1e300",
	"-0.5",
	"true",
	"false",
	"null",
	"[]",
	"{}",
	"[1,[2,[3]]]",
	"{\"a\":{\"b\":[]}}",
	"\"\"",
	"\"null-co\"",
	"\"raw\"",
	"\"base64\"",
	"\"utf8\"",
	"\"/dev/null\"",
	"\"\\u0000\"",
	"\"\\ud800\"",
	"\"\xc3\xa9\"",
	"\"\xff\"",
	"\"d1\"",
	"\"virtio-blk-pci\"",
	"\"full\"",
	"{\"name\":\"qemu64\"}",
	"\"aGVsbG8=\"",
	"\"info registers\"",
	"\"xp/8i 0\"",
	"[{\"type\":\"qcode\",\"data\":\"a\"}]",
	"\"reset\"",
	"\"pause\"",
};
static const char *const lines[] = {
	"info ",
	"help ",
	"x/",
	"xp/",
	"print ",
	"p/",
	"cpu ",
	"stop",
	"cont",
	"system_reset",
	"nmi",
	"ringbuf_read r ",
	"ringbuf_write r ",
	"set_link n0 ",
	"hostfwd_remove ",
	"eject ",
	"change d0 ",
	"block_resize d0 ",
	"sendkey ",
	"memsave 0 ",
	"pmemsave 0 ",
	"gdbserver ",
	"log ",
	"logfile ",
	"info block ",
};
static const char *const words[] = {
	"registers", "mtree", "pci",  "network",   "usernet",  "jit",  "history", "-a",
	"-f",	     "4i",    "16xg", "99999999b", "0x100000", "$rip", "$eax+",	  "(1+2)",
	"*",	     "/",     "-1",   "~0",	   "\"a b",    "\t",   "\033[A",  "\033[D",
	"\033[3~",   "\b\b",  "\001", "\013",	   "\020",     "\r",   "\n",	  "0",
	"1",	     "on",    "off",  "%",	   "(((",
};

struct input {
	uint8_t b[4096];
	size_t len;
};

static void put(struct input *in, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct input *in, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf((char *)in->b + in->len, sizeof(in->b) - in->len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(in->b) - in->len)
		in->len += (size_t)n;
}

static void put_arg(struct rnd *r, struct input *in, const char *key, bool *any)
{
	put(in, "%s\"%s\":%s", *any ? "," : ",\"arguments\":{", key, RND_PICK(r, values));
	*any = true;
}

static void put_message(struct rnd *r, struct input *in)
{
	const char *const *c = RND_PICK(r, commands);
	bool any = false;

	put(in, "{\"execute\":\"%s\"", rnd_one_in(r, 8) ? RND_PICK(r, names) : c[0]);
	if (rnd_one_in(r, 4))
		put(in, ",\"id\":%s", RND_PICK(r, values));
	for (unsigned i = 1; i < 8 && c[i]; i++)
		if (!rnd_one_in(r, 12))
			put_arg(r, in, c[i], &any);
	if (rnd_one_in(r, 12))
		put_arg(r, in, RND_PICK(r, keys), &any);
	put(in, any ? "}}%s" : "}%s", rnd_one_in(r, 4) ? "" : "\n");
}

static void put_line(struct rnd *r, struct input *in)
{
	const char *name = RND_PICK(r, people);

	if (rnd_one_in(r, 2))
		put(in, "%s", RND_PICK(r, lines));
	else
		put(in, "%.*s ", (int)strcspn(name, "|"), name);
	for (uint64_t n = rnd_below(r, 5); n; n--)
		put(in, "%s%s", RND_PICK(r, words), rnd_one_in(r, 3) ? "" : " ");
	put(in, "\r");
}

static void put_nested(struct rnd *r, struct input *in)
{
	uint64_t n = rnd_below(r, 100);

	for (uint64_t i = 0; i < n; i++)
		put(in, rnd_one_in(r, 2) ? "[" : "{\"a\":");
	put(in, "\n");
}

static void one(struct rnd *r)
{
	struct input in = {.len = 1};

	in.b[0] = (uint8_t)rnd(r);
	if (!rnd_one_in(r, 8))
		in.b[0] &= (uint8_t)~2;
	for (uint64_t n = 1 + rnd_below(r, 8); n; n--) {
		if (in.b[0] & 1)
			put_line(r, &in);
		else if (rnd_one_in(r, 16))
			put_nested(r, &in);
		else
			put_message(r, &in);
	}
	if (rnd_one_in(r, 3))
		rnd_mutate(r, in.b + 1, in.len - 1, 4);
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	static const struct fuzz f = {.name = "qmp", .runs = 6000, .hang_s = 20, .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
