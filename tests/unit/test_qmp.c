/* SPDX-License-Identifier: Apache-2.0 */
/* Monitors of a small machine: dialogues, malformed messages, slow clients, events. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../engine.h"
#include "back/block/block.h"
#include "back/char/chardev.h"
#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "machine/vm.h"

struct client {
	int fd;
	struct chardev *cd;
	struct text in;
};

struct fixture {
	char kernel[32];
	struct log *log;
	struct loop *loop;
	struct vm *vm;
	struct ctl *ctl;
	struct client c[2];
	struct chardev *ring;
	struct blocks *blocks;
	struct netdev *net;
};

static void each_chardev(void *opaque, void (*fn)(void *arg, struct chardev *cd), void *arg)
{
	struct fixture *f = opaque;

	fn(arg, f->ring);
}

static void each_netdev(void *opaque, void (*fn)(void *arg, struct netdev *nd), void *arg)
{
	struct fixture *f = opaque;

	fn(arg, f->net);
}

static void client_open(struct fixture *f, struct client *c, bool hmp)
{
	char opts[64];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	snprintf(opts, sizeof(opts), "socket,id=q,fd=%d", fds[0]);
	assert_int_equal(chardev_open_opts(&c->cd, f->loop, opts, NULL), 0);
	if (hmp)
		assert_int_equal(ctl_add_hmp(f->ctl, c->cd, NULL), 0);
	else
		assert_int_equal(ctl_add_qmp(f->ctl, c->cd, false, NULL), 0);
	c->fd = fds[1];
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

/* 32-bit, flat, interrupts off: hlt; jmp back. */
static void write_kernel(char path[static 32])
{
	static const uint8_t code[] = {0xf4, 0xeb, 0xfd};
	const uint32_t head[8] = {
		0x1badb002, 0x10003, 0u - 0x1badb002 - 0x10003, 0x100000, 0x100000, 0, 0, 0x100020};
	int fd;

	strcpy(path, "/tmp/doppel-qmp-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
	assert_int_equal(write(fd, code, sizeof(code)), sizeof(code));
	close(fd);
}

static int setup(void **state)
{
	struct fixture *f = xzalloc(sizeof(*f));
	struct vm_config cfg = {
		.name = "test",
		.machine = "pc",
		.accel = test_engine(),
		.mem_size = 16 * MiB,
		.n_cpus = 2,
	};
	struct ctl_config cc = {
		.each_chardev = each_chardev, .each_netdev = each_netdev, .opaque = f};
	struct err *e = NULL;

	signal(SIGPIPE, SIG_IGN);
	write_kernel(f->kernel);
	cfg.kernel = f->kernel;
	cfg.log = f->log = log_create();
	cfg.loop = f->loop = loop_create();
	if (vm_create(&f->vm, &cfg, &e))
		fail_msg("%s", err_msg(e));
	cc.vm = f->vm;
	cc.loop = f->loop;
	cc.log = f->log;
	if (netdev_open(&f->net, f->loop, f->log, "user,id=n0", &e))
		fail_msg("%s", err_msg(e));
	assert_int_equal(chardev_open_opts(&f->ring, f->loop, "ringbuf,id=ring", NULL), 0);
	cc.blocks = f->blocks = blocks_create(f->log);
	ctl_create(&f->ctl, &cc);
	client_open(f, &f->c[0], false);
	f->c[1].fd = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ctl_destroy(f->ctl);
	vm_destroy(f->vm);
	netdev_close(f->net);
	blocks_destroy(f->blocks);
	for (int i = 0; i < 2; i++) {
		chardev_close(f->c[i].cd);
		if (f->c[i].fd >= 0)
			close(f->c[i].fd);
		text_free(&f->c[i].in);
	}
	chardev_close(f->ring);
	loop_destroy(f->loop);
	log_destroy(f->log);
	unlink(f->kernel);
	free(f);
	return 0;
}

/* Turn the loop until there is a line from the client's connection; NULL after `turns`. */
static char *get_line(struct fixture *f, struct client *c, int turns)
{
	for (;;) {
		char buf[4096], *end = c->in.len ? memchr(c->in.s, '\n', c->in.len) : NULL, *line;
		ssize_t n;

		if (end) {
			line = xasprintf("%.*s", (int)(end - c->in.s), c->in.s);
			text_drop(&c->in, (size_t)(end - c->in.s) + 1);
			return line;
		}
		if (turns-- <= 0)
			return NULL;
		loop_once(f->loop, 10);
		while ((n = read(c->fd, buf, sizeof(buf))) > 0)
			text_put(&c->in, buf, (size_t)n);
	}
}

static struct json_object *get_from(struct fixture *f, struct client *c)
{
	char *line = get_line(f, c, 500);
	struct json_object *o;

	assert_non_null(line);
	o = json_tokener_parse(line);
	if (!o)
		fail_msg("not JSON: %s", line);
	free(line);
	return o;
}

static struct json_object *get(struct fixture *f)
{
	return get_from(f, &f->c[0]);
}

static void send_text(struct client *c, const char *s)
{
	assert_int_equal(write(c->fd, s, strlen(s)), (ssize_t)strlen(s));
}

/* A dot-separated path into an object; NULL when there is no such thing. */
static struct json_object *at(struct json_object *o, const char *path)
{
	char *copy = xstrdup(path), *save = NULL;

	for (char *p = strtok_r(copy, ".", &save); p && o; p = strtok_r(NULL, ".", &save))
		if (!json_object_object_get_ex(o, p, &o))
			o = NULL;
	free(copy);
	return o;
}

static void expect_str(struct json_object *o, const char *path, const char *want)
{
	struct json_object *v = at(o, path);

	if (!v || strcmp(json_object_get_string(v), want))
		fail_msg("%s is not %s: %s", path, want, json_object_to_json_string(o));
}

static void negotiate(struct fixture *f, struct client *c)
{
	struct json_object *o = get_from(f, c);

	assert_non_null(at(o, "QMP.version.qemu.major"));
	assert_int_equal(json_object_get_int(at(o, "QMP.version.qemu.major")), 7);
	json_object_put(o);
	send_text(c, "{\"execute\":\"qmp_capabilities\"}\n");
	o = get_from(f, c);
	assert_non_null(at(o, "return"));
	json_object_put(o);
}

static struct json_object *ask(struct fixture *f, const char *msg)
{
	send_text(&f->c[0], msg);
	send_text(&f->c[0], "\n");
	return get(f);
}

static void expect_quiet(struct fixture *f)
{
	char *line = get_line(f, &f->c[0], 3);

	if (line)
		fail_msg("unexpected: %s", line);
}

static void test_negotiation(void **state)
{
	struct fixture *f = *state;
	struct json_object *o = get(f);

	expect_str(o, "QMP.capabilities", "[ ]");
	json_object_put(o);
	o = ask(f, "{\"execute\":\"query-status\",\"id\":[1,{\"a\":null}]}");
	expect_str(o, "error.class", "CommandNotFound");
	expect_str(o, "id", "[ 1, { \"a\": null } ]");
	json_object_put(o);
	o = ask(f, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}");
	expect_str(o, "error.class", "GenericError");
	json_object_put(o);
	o = ask(f, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]},\"id\":\"x\"}");
	assert_non_null(at(o, "return"));
	expect_str(o, "id", "x");
	json_object_put(o);
	o = ask(f, "{\"execute\":\"qmp_capabilities\"}");
	expect_str(o, "error.class", "CommandNotFound");
	json_object_put(o);
}

/* Everything malformed: one error each, and nothing else happens. */
static void test_malformed(void **state)
{
	static const struct {
		const char *msg, *error_class, *desc;
	} cases[] = {
		{"hello", "GenericError", "JSON parse error"},
		{"{\"execute\":\"stop\"", NULL, NULL}, /* goes on in the next */
		{",}", "GenericError", "JSON parse error"},
		{"{\"execute\" \"stop\"}", "GenericError", "JSON parse error"},
		{"{\"execute\":\"stop\",}", "GenericError", "JSON parse error"},
		{"{execute:\"stop\"}", "GenericError", "JSON parse error"},
		{"{\"execute\":\"stop\"]", "GenericError", "JSON parse error"},
		{"}{\"execute\":\"stop\"}", "GenericError", "JSON parse error"},
		{"{\"execute\":\"st\x01op\"}", "GenericError", "JSON parse error"},
		{"{\"execute\":\"st\xc3(op\"}", "GenericError", "JSON parse error"},
		{"{\"execute\":\"stop\\u0000\"}", "GenericError", "NUL"},
		{"{/* c */}", "GenericError", "JSON parse error"},
		{"[]", "GenericError", "must be a JSON object"},
		{"[{\"execute\":\"stop\"}]", "GenericError", "must be a JSON object"},
		{"12", "GenericError", "must be a JSON object"},
		{"\"stop\"", "GenericError", "must be a JSON object"},
		{"null", "GenericError", "must be a JSON object"},
		{"{}", "GenericError", "lacks member 'execute'"},
		{"{\"execute\":1}", "GenericError", "'execute' must be a string"},
		{"{\"execute\":null}", "GenericError", "'execute' must be a string"},
		{"{\"execute\":\"stop\",\"x\":1}", "GenericError", "'x' is unexpected"},
		{"{\"exec-oob\":\"stop\"}", "GenericError", "unexpected"},
		{"{\"execute\":\"stop\",\"arguments\":[]}", "GenericError", "must be an object"},
		{"{\"execute\":\"stop\",\"arguments\":null}", "GenericError", "must be an object"},
		{"{\"execute\":\"stop\",\"arguments\":{\"x\":1}}", "GenericError",
		 "Parameter 'x' is unexpected"},
		{"{\"execute\":\"STOP\"}", "CommandNotFound",
		 "The command STOP has not been found"},
		{"{\"execute\":\"\"}", "CommandNotFound", "not been found"},
		{"{\"execute\":\"ringbuf-read\"}", "GenericError", "'device' is missing"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ring\"}}",
		 "GenericError", "'size' is missing"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":1,\"size\":1}}",
		 "GenericError", "Invalid parameter type for 'device', expected: string"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ring\",\"size\":\"1\"}"
		 "}",
		 "GenericError", "Invalid parameter type for 'size', expected: integer"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ring\",\"size\":1.5}}",
		 "GenericError", "expected: integer"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ring\",\"size\":0}}",
		 "GenericError", "greater than zero"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ring\",\"size\":1,"
		 "\"format\":\"rot13\"}}",
		 "GenericError", "'format' does not accept value 'rot13'"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ri\\u0000ng\",\"size\":"
		 "1}}",
		 "GenericError", "NUL"},
		{"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"none\",\"size\":1}}",
		 "GenericError", "Device 'none' not found"},
		{"{\"execute\":\"ringbuf-write\",\"arguments\":{\"device\":\"ring\",\"data\":\"%%%"
		 "\","
		 "\"format\":\"base64\"}}",
		 "GenericError", "Base64"},
		{"{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info "
		 "cpus\","
		 "\"cpu-index\":2}}",
		 "GenericError", "cpu-index"},
		{"{\"execute\":\"memsave\",\"arguments\":{\"val\":0,\"size\":1,\"filename\":"
		 "\"/nonexistent/x\"}}",
		 "GenericError", "/nonexistent/x"},
		{"{\"execute\":\"pmemsave\",\"arguments\":{\"val\":-1,\"size\":5,\"filename\":"
		 "\"/dev/null\"}}",
		 "GenericError", "size"},
		{"{\"execute\":\"pmemsave\",\"arguments\":{\"val\":4096000000,\"size\":5,"
		 "\"filename\":"
		 "\"/dev/null\"}}",
		 "GenericError", "Invalid addr"},
		{"{\"execute\":\"set-action\",\"arguments\":{\"reboot\":\"never\"}}",
		 "GenericError", "does not accept"},
		{"{\"execute\":\"set-action\",\"arguments\":{\"panic\":\"pause\"}}", "GenericError",
		 "panic"},
		{"{\"execute\":\"system_wakeup\"}", "GenericError", "not in suspended state"},
	};
	struct fixture *f = *state;
	struct json_object *o;

	negotiate(f, &f->c[0]);
	vm_resume(f->vm);
	json_object_put(get(f)); /* RESUME */
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!cases[i].error_class) {
			send_text(&f->c[0], cases[i].msg);
			continue;
		}
		o = ask(f, cases[i].msg);
		expect_str(o, "error.class", cases[i].error_class);
		if (!strstr(json_object_get_string(at(o, "error.desc")), cases[i].desc))
			fail_msg("%s: %s", cases[i].msg, json_object_to_json_string(o));
		json_object_put(o);
		assert_true(vm_running(f->vm));
	}
	expect_quiet(f);
	o = ask(f, "{\"execute\":\"query-status\"}");
	expect_str(o, "return.status", "running");
	json_object_put(o);
}

/* A message in single bytes, several in one write. */
static void test_pieces(void **state)
{
	static const char msg[] = "  {\"execute\" : \"query-name\", \"id\": \"a\\\"}\"}";
	struct fixture *f = *state;
	struct json_object *o;

	negotiate(f, &f->c[0]);
	for (size_t i = 0; i < sizeof(msg) - 1; i++) {
		assert_int_equal(write(f->c[0].fd, msg + i, 1), 1);
		loop_once(f->loop, 1);
	}
	o = get(f);
	expect_str(o, "return.name", "test");
	expect_str(o, "id", "a\"}");
	json_object_put(o);
	send_text(&f->c[0], "{\"execute\":\"query-kvm\",\"id\":1}{'execute':'query-uuid','id':2}\n"
			    "{\"execute\":\"query-target\",\"id\":3}");
	for (int i = 1; i <= 3; i++) {
		o = get(f);
		assert_int_equal(json_object_get_int(at(o, "id")), i);
		assert_non_null(at(o, "return"));
		json_object_put(o);
	}
}

static void expect_event(struct fixture *f, struct client *c, const char *name, const char *reason)
{
	struct json_object *o = get_from(f, c);

	expect_str(o, "event", name);
	assert_true(json_object_get_int64(at(o, "timestamp.seconds")) > 1000000000);
	assert_non_null(at(o, "timestamp.microseconds"));
	if (reason)
		expect_str(o, "data.reason", reason);
	json_object_put(o);
}

static void tell(struct fixture *f, const char *msg)
{
	send_text(&f->c[0], msg);
}

static void expect_return(struct fixture *f)
{
	struct json_object *o = get(f);

	if (!at(o, "return"))
		fail_msg("%s", json_object_to_json_string(o));
	json_object_put(o);
}

/* The life of a machine, seen by two clients, one of which has not negotiated at first. */
static void test_events(void **state)
{
	struct fixture *f = *state;
	struct json_object *o;

	client_open(f, &f->c[1], false);
	negotiate(f, &f->c[0]);
	o = ask(f, "{\"execute\":\"query-status\"}");
	expect_str(o, "return.status", "prelaunch");
	json_object_put(o);
	tell(f, "{\"execute\":\"cont\"}");
	expect_event(f, &f->c[0], "RESUME", NULL);
	expect_return(f);
	negotiate(f, &f->c[1]); /* its first line is the greeting: RESUME passed it by */
	tell(f, "{\"execute\":\"stop\"}");
	expect_event(f, &f->c[0], "STOP", NULL);
	expect_return(f);
	expect_event(f, &f->c[1], "STOP", NULL);
	tell(f, "{\"execute\":\"stop\"}"); /* it is: no event */
	expect_return(f);
	o = ask(f, "{\"execute\":\"query-status\"}");
	expect_str(o, "return.status", "paused");
	expect_str(o, "return.running", "false");
	json_object_put(o);
	tell(f, "{\"execute\":\"system_reset\"}");
	expect_return(f);
	expect_event(f, &f->c[0], "RESET", "host-qmp-system-reset");
	o = ask(f, "{\"execute\":\"query-status\"}");
	expect_str(o, "return.status", "prelaunch");
	json_object_put(o);
	tell(f, "{\"execute\":\"system_powerdown\"}");
	expect_return(f);
	expect_event(f, &f->c[0], "POWERDOWN", NULL);
	/* With other actions a reset is a shutdown, and that a pause. */
	tell(f, "{\"execute\":\"set-action\",\"arguments\":{\"reboot\":\"shutdown\","
		"\"shutdown\":\"pause\"}}");
	expect_return(f);
	tell(f, "{\"execute\":\"cont\"}");
	expect_event(f, &f->c[0], "RESUME", NULL);
	expect_return(f);
	tell(f, "{\"execute\":\"system_reset\"}");
	expect_return(f);
	expect_event(f, &f->c[0], "SHUTDOWN", "host-qmp-system-reset");
	expect_event(f, &f->c[0], "STOP", NULL);
	o = ask(f, "{\"execute\":\"cont\"}");
	expect_str(o, "error.class", "GenericError");
	json_object_put(o);
	o = ask(f, "{\"execute\":\"query-status\"}");
	expect_str(o, "return.status", "shutdown");
	json_object_put(o);
	/* Any thread may stop it, for a reason. */
	tell(f, "{\"execute\":\"set-action\",\"arguments\":{\"reboot\":\"reset\"}}");
	expect_return(f);
	tell(f, "{\"execute\":\"system_reset\"}");
	expect_return(f);
	expect_event(f, &f->c[0], "RESET", NULL);
	tell(f, "{\"execute\":\"cont\"}");
	expect_event(f, &f->c[0], "RESUME", NULL);
	expect_return(f);
	vm_emit(f->vm, "BLOCK_IO_ERROR",
		(const struct vm_event_arg[]){VM_STR("device", "d"), VM_BOOL("nospace", true),
					      VM_STR("reason", NULL)},
		3);
	vm_stop_soon(f->vm, VM_STATE_IO_ERROR);
	o = get(f);
	expect_str(o, "event", "BLOCK_IO_ERROR");
	expect_str(o, "data", "{ \"device\": \"d\", \"nospace\": true }");
	json_object_put(o);
	expect_event(f, &f->c[0], "STOP", NULL);
	o = ask(f, "{\"execute\":\"query-status\"}");
	expect_str(o, "return.status", "io-error");
	json_object_put(o);
}

static void test_quit(void **state)
{
	struct fixture *f = *state;

	negotiate(f, &f->c[0]);
	tell(f, "{\"execute\":\"quit\"}");
	assert_int_equal(vm_run(f->vm), 0);
	json_object_put(get(f)); /* RESUME */
	expect_return(f);
	expect_event(f, &f->c[0], "SHUTDOWN", "host-qmp-quit");
}

/* A client that asks and asks, and does not read: what waits for it stays bounded. */
static void test_slow_client(void **state)
{
	static const char msg[] = "{\"execute\":\"query-qmp-schema\"}\n";
	struct fixture *f = *state;
	size_t sent = 0, answers = 0;

	negotiate(f, &f->c[0]);
	for (int i = 0; i < 20000; i++) {
		if (write(f->c[0].fd, msg, sizeof(msg) - 1) != sizeof(msg) - 1)
			break;
		sent++;
		loop_once(f->loop, 0);
	}
	assert_true(sent < 20000);
	for (int i = 0; i < 3000; i++)
		vm_emit(f->vm, "NOISE", NULL, 0);
	while (answers < sent) {
		struct json_object *o = get(f);

		answers += at(o, "return") != NULL;
		json_object_put(o);
	}
}

/* Every command with no arguments answers, once. */
static void test_all_commands(void **state)
{
	struct fixture *f = *state;
	struct json_object *list, *o;

	negotiate(f, &f->c[0]);
	list = ask(f, "{\"execute\":\"query-commands\"}");
	o = at(list, "return");
	assert_true(json_object_array_length(o) > 20);
	for (size_t i = 0; i < json_object_array_length(o); i++) {
		const char *name = json_object_get_string(
			json_object_object_get(json_object_array_get_idx(o, i), "name"));
		char msg[128];
		struct json_object *answer;

		if (!strcmp(name, "quit") || !strcmp(name, "inject-nmi"))
			continue;
		snprintf(msg, sizeof(msg), "{\"execute\":\"%s\",\"id\":%zu}", name, i);
		answer = ask(f, msg);
		while (at(answer, "event")) {
			json_object_put(answer);
			answer = get(f);
		}
		assert_int_equal(json_object_get_int(at(answer, "id")), i);
		assert_true((at(answer, "return") != NULL) != (at(answer, "error") != NULL));
		json_object_put(answer);
	}
	json_object_put(list);
}

static void test_ringbuf(void **state)
{
	struct fixture *f = *state;
	struct json_object *o;

	negotiate(f, &f->c[0]);
	tell(f,
	     "{\"execute\":\"ringbuf-write\",\"arguments\":{\"device\":\"ring\",\"data\":\"hi\"}}");
	expect_return(f);
	tell(f, "{\"execute\":\"ringbuf-write\",\"arguments\":{\"device\":\"ring\",\"data\":"
		"\"AP/Dqf8=\",\"format\":\"base64\"}}");
	expect_return(f);
	o = ask(f, "{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ring\",\"size\":3,"
		   "\"format\":\"base64\"}}");
	expect_str(o, "return", "aGkA");
	json_object_put(o);
	o = ask(f,
		"{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"ring\",\"size\":99}}");
	expect_str(o, "return", "?\xc3\xa9?");
	json_object_put(o);
}

static void expect_error(struct fixture *f, const char *msg, const char *error_class,
			 const char *desc)
{
	struct json_object *o = ask(f, msg);

	expect_str(o, "error.class", error_class);
	if (!strstr(json_object_get_string(at(o, "error.desc")), desc))
		fail_msg("%s: %s", msg, json_object_to_json_string(o));
	json_object_put(o);
}

static struct json_object *first(struct json_object *o)
{
	o = at(o, "return");
	assert_true(json_object_array_length(o) > 0);
	return json_object_array_get_idx(o, 0);
}

static void test_block(void **state)
{
	struct fixture *f = *state;
	struct json_object *o;
	struct block *b;
	struct err *e = NULL;
	char path[] = "/tmp/doppel-qmp-disk-XXXXXX", *opts;
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, 1 * MiB), 0);
	close(fd);
	opts = xasprintf("if=none,id=d0,format=raw,file=%s", path);
	if (block_open_drive(&b, f->blocks, opts, &e))
		fail_msg("%s", err_msg(e));
	free(opts);
	negotiate(f, &f->c[0]);
	o = ask(f, "{'execute':'query-block'}");
	expect_str(first(o), "device", "d0");
	expect_str(first(o), "inserted.drv", "raw");
	expect_str(first(o), "inserted.file", path);
	expect_str(first(o), "inserted.image.virtual-size", "1048576");
	expect_str(first(o), "inserted.cache.writeback", "true");
	json_object_put(o);
	o = ask(f, "{'execute':'query-blockstats'}");
	expect_str(first(o), "stats.rd_operations", "0");
	json_object_put(o);
	tell(f, "{'execute':'block_resize','arguments':{'device':'d0','size':2097152}}");
	expect_return(f);
	o = ask(f, "{'execute':'query-block'}");
	expect_str(first(o), "inserted.image.virtual-size", "2097152");
	json_object_put(o);
	expect_error(f, "{'execute':'block_resize','arguments':{'device':'d0','size':-1}}",
		     "GenericError", "expects a >0 size");
	expect_error(f, "{'execute':'block_resize','arguments':{'device':'x','size':512}}",
		     "GenericError", "Cannot find device='x' nor node-name=''");
	expect_error(f, "{'execute':'block_resize','arguments':{'size':512}}", "GenericError",
		     "exactly one");
	expect_error(f, "{'execute':'eject','arguments':{'device':'x'}}", "DeviceNotFound",
		     "Device 'x' not found");
	expect_error(f, "{'execute':'eject','arguments':{'device':'d0'}}", "GenericError",
		     "not removable");
	expect_error(f, "{'execute':'eject','arguments':{'device':'d0','id':'d0'}}", "GenericError",
		     "exactly one");
	expect_error(f,
		     "{'execute':'blockdev-change-medium','arguments':{'id':'x','filename':'y'}}",
		     "DeviceNotFound", "'x'");
	tell(f, "{'execute':'blockdev-add','arguments':{'driver':'null-co','node-name':'n0',"
		"'size':4096}}");
	expect_return(f);
	expect_error(f,
		     "{'execute':'blockdev-add','arguments':{'driver':'null-co','node-name':'n0'}}",
		     "GenericError", "n0");
	expect_error(f,
		     "{'execute':'blockdev-add','arguments':{'driver':'null-co','node-name':'n1',"
		     "'colour':'red'}}",
		     "GenericError", "colour");
	expect_error(f, "{'execute':'blockdev-add','arguments':{'driver':'zip','node-name':'n1'}}",
		     "GenericError", "zip");
	expect_error(f, "{'execute':'blockdev-add','arguments':{'driver':'null-co'}}",
		     "GenericError", "node-name");
	o = ask(f, "{'execute':'query-named-block-nodes'}");
	expect_str(json_object_array_get_idx(at(o, "return"),
					     json_object_array_length(at(o, "return")) - 1),
		   "node-name", "n0");
	json_object_put(o);
	tell(f, "{'execute':'blockdev-del','arguments':{'node-name':'n0'}}");
	expect_return(f);
	expect_error(f, "{'execute':'blockdev-del','arguments':{'node-name':'n0'}}", "GenericError",
		     "Failed to find node with node-name='n0'");
	tell(f, "{'execute':'block_set_io_throttle','arguments':{'device':'d0','bps':1000000,"
		"'bps_rd':0,'bps_wr':0,'iops':0,'iops_rd':0,'iops_wr':0}}");
	expect_return(f);
	o = ask(f, "{'execute':'query-block'}");
	expect_str(first(o), "inserted.bps", "1000000");
	json_object_put(o);
	expect_error(f,
		     "{'execute':'block_set_io_throttle','arguments':{'device':'d0','bps':-1,"
		     "'bps_rd':0,'bps_wr':0,'iops':0,'iops_rd':0,'iops_wr':0}}",
		     "GenericError", "negative");
	expect_error(f,
		     "{'execute':'block_set_io_throttle','arguments':{'device':'d0','bps':1000,"
		     "'bps_rd':10,'bps_wr':0,'iops':0,'iops_rd':0,'iops_wr':0}}",
		     "GenericError", "together");
	unlink(path);
}

static void test_probe(void **state)
{
	struct fixture *f = *state;
	struct json_object *o;

	negotiate(f, &f->c[0]);
	o = ask(f, "{'execute':'qom-list-types','arguments':{'implements':'device'}}");
	assert_non_null(strstr(json_object_to_json_string(o), "isa-debug-exit"));
	json_object_put(o);
	o = ask(f,
		"{'execute':'device-list-properties','arguments':{'typename':'isa-debug-exit'}}");
	expect_str(first(o), "name", "iobase");
	json_object_put(o);
	expect_error(f, "{'execute':'device-list-properties','arguments':{'typename':'x'}}",
		     "DeviceNotFound", "Device 'x' not found");
	o = ask(f, "{'execute':'query-cpu-model-expansion','arguments':{'type':'full','model':"
		   "{'name':'qemu64','props':{'sse3':false}}}}");
	expect_str(o, "return.model.name", "qemu64");
	expect_str(o, "return.model.props.sse2", "true");
	json_object_put(o);
	expect_error(f,
		     "{'execute':'query-cpu-model-expansion','arguments':{'type':'full','model':"
		     "{'name':'abacus'}}}",
		     "GenericError", "abacus");
	expect_error(f,
		     "{'execute':'query-cpu-model-expansion','arguments':{'type':'full','model':"
		     "{'name':'max','props':{'x':1}}}}",
		     "GenericError", "boolean");
	expect_error(f,
		     "{'execute':'query-cpu-model-expansion','arguments':{'type':'full','model':"
		     "{}}}",
		     "GenericError", "missing");
}

static void test_net(void **state)
{
	struct fixture *f = *state;
	struct json_object *o;

	negotiate(f, &f->c[0]);
	o = ask(f, "{'execute':'x-doppel-netstats'}");
	expect_str(first(o), "id", "n0");
	expect_str(first(o), "link", "true");
	expect_str(first(o), "rx-bytes", "0");
	json_object_put(o);
	tell(f, "{'execute':'set_link','arguments':{'name':'n0','up':false}}");
	expect_return(f);
	assert_false(netdev_link(f->net));
	expect_error(f, "{'execute':'set_link','arguments':{'name':'x','up':true}}",
		     "DeviceNotFound", "Device 'x' not found");
	expect_error(f, "{'execute':'set_link','arguments':{'name':'n0'}}", "GenericError",
		     "'up' is missing");
}

static char *hmp(struct fixture *f, const char *line)
{
	struct json_object *msg = json_object_new_object(), *args = json_object_new_object();
	struct json_object *o;
	char *s;

	json_object_object_add(msg, "execute", json_object_new_string("human-monitor-command"));
	json_object_object_add(args, "command-line", json_object_new_string(line));
	json_object_object_add(msg, "arguments", args);
	o = ask(f, json_object_to_json_string_ext(msg, JSON_C_TO_STRING_PLAIN));
	json_object_put(msg);
	while (at(o, "event")) {
		json_object_put(o);
		o = get(f);
	}
	if (!at(o, "return"))
		fail_msg("%s: %s", line, json_object_to_json_string(o));
	s = xstrdup(json_object_get_string(at(o, "return")));
	json_object_put(o);
	return s;
}

static void test_hmp(void **state)
{
	static const struct {
		const char *line, *want; /* a part of what is printed; "": nothing is */
	} cases[] = {
		{"info version", "7.2.0"},
		{"info status", "VM status: paused (prelaunch)"},
		{"info name", "test"},
		{"info uuid", "00000000-0000-0000-0000-000000000000"},
		{"info chardev", "ring: filename=ringbuf"},
		{"info registers", "RIP"},
		{"info registers -a", "CPU#1"},
		{"info registers -b", "Error"},
		{"info cpus", "* CPU #0"},
		{"info mtree", "ioapic"},
		{"info mtree", "fw_cfg"},
		{"info jit", "engine"},
		{"info history", ""},
		{"info kvm", "kvm support: disabled"},
		{"info", "info status"},
		{"i status", "VM status"},
		{"info frob", "unknown command: 'info frob'"},
		{"frob", "unknown command: 'frob'"},
		{"help", "system_reset"},
		{"? stop", "stop|s -- pause"},
		{"help info", "info mtree"},
		{"help frob", "Error"},
		{"", ""},
		{"   # comment", ""},
		{"info block", ""},
		{"info block x", "Error: there is no disk 'x'"},
		{"info blockstats", ""},
		{"eject x", "Error: Device 'x' not found"},
		{"eject -f", "Error: DEVICE is missing"},
		{"change x /tmp/y", "Error: Device 'x' not found"},
		{"change x /tmp/y raw sometimes", "does not accept"},
		{"change x", "Error: FILE is missing"},
		{"block_resize x 1G", "Error: Cannot find"},
		{"block_resize x much", "Error: 'much' is not a size"},
		{"block_set_io_throttle x 0 0 0 0 0 0", "Error: Device 'x' not found"},
		{"block_set_io_throttle x 0", "Error: bps_rd is missing"},
		{"info network", "n0: type=user"},
		{"info usernet", "n0:"},
		{"set_link n0 off", ""},
		{"info network", "(link down)"},
		{"set_link n0 maybe", "Error: 'maybe' is not on or off"},
		{"set_link x on", "Error: Device 'x' not found"},
		{"hostfwd_add tcp::x-:22", "Error"},
		{"hostfwd_add n1 tcp::0-:22", "Error: there is no network 'n1'"},
		{"hostfwd_add", "Error: RULE is missing"},
		{"hostfwd_add tcp:127.0.0.1:39871-:22", ""},
		{"info usernet", "39871"},
		{"hostfwd_remove n0 tcp:127.0.0.1:39871", ""},
		{"hostfwd_remove n0 tcp:127.0.0.1:39871", "Error"},
		{"info pci", "Host bridge: PCI device 8086:1237"},
		{"log", "  in_asm"},
		{"log in_asm,int", ""},
		{"log", "* in_asm"},
		{"log everything", "Error: unknown log item 'everything'"},
		{"log none", ""},
		{"log", "  in_asm"},
		{"logfile /nonexistent/x", "Error: cannot open log file"},
		{"logfile", "Error: FILE is missing"},
		{"cpu 1", ""},
		{"cpu 2", "Error: there is no CPU 2"},
		{"cpu", "Error: INDEX is missing"},
		{"cpu 1 2", "Error: '2' is too much"},
		{"p 1+2*3", "0x7"},
		{"print/d (1 + 2) * -3", "-9"},
		{"p/x 0x10 | 1 ^ 3", "0x12"},
		{"p/u 7/2", "3"},
		{"p 1/0", "Error"},
		{"p 1 % 0", "Error"},
		{"p (1", "Error"},
		{"p ((((((((((((((((((((((((((((((((((((((((1", "Error"},
		{"p ----------------------------------------------1", "Error"},
		{"p $rip", "0x100020"},
		{"p $frob", "Error"},
		{"p $", "Error"},
		{"p", "Error"},
		{"p/q 1", "Error: 'q' is no format"},
		{"p/c 65", "'A'"},
		{"xp/2xw 0x100000", "0000000000100000: 0x1badb002 0x00010003"},
		{"xp/3bx 0x100020", "0xf4 0xeb 0xfd"},
		{"xp/i 0x100020", "hlt"},
		{"x/2i $rip", "hlt"},
		{"xp /d 0x100020", "0000000000100020:"},
		{"xp 0x90000000", "Cannot access memory"},
		{"xp/99999999999999999999x 0", "Error"},
		{"xp/4i 0xfffffffffffffff8", "Cannot access memory"},
		{"xp/8gx 0xfffffffffffffff8", "Cannot access memory"},
		{"xp/z 0", "Error"},
		{"xp", "Error"},
		{"xp 0 0", "Error"},
		{"xp/", "Error"},
		{"pmemsave 0 16 /nonexistent/x", "Error"},
		{"pmemsave 0", "Error: SIZE is missing"},
		{"pmemsave 0 16 /dev/null", ""},
		{"pmemsave 0 (8 *2) /dev/null", ""},
		{"ringbuf_write ring \"a \\\"b\"", ""},
		{"ringbuf_read ring 100", "a \"b"},
		{"ringbuf_read ring -5", "Error"},
		{"ringbuf_write ring \"unfinished", ""},
		{"ringbuf_read", "Error"},
		{"gdbserver", "Error"},
		{"cont", ""},
		{"info status", "VM status: running"},
		{"stop now", "Error"},
		{"stop", ""},
		{"info status", "VM status: paused\r\n"},
		{"system_powerdown", ""},
		{"system_reset", ""},
		{"nmi", ""},
	};
	struct fixture *f = *state;

	negotiate(f, &f->c[0]);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *out = hmp(f, cases[i].line);

		if (*cases[i].want ? !strstr(out, cases[i].want) : *out)
			fail_msg("'%s' printed '%s', not '%s'", cases[i].line, out, cases[i].want);
		free(out);
	}
}

/* A person's session: greeting, prompt, echo, output. */
static void test_hmp_session(void **state)
{
	struct fixture *f = *state;
	char *line;

	client_open(f, &f->c[1], true);
	line = get_line(f, &f->c[1], 100);
	assert_non_null(strstr(line, "QEMU 7.2.0 monitor"));
	free(line);
	send_text(&f->c[1], "info na\t\r");
	line = get_line(f, &f->c[1], 100);
	assert_string_equal(line, "\r(qemu) \033[Kinfo name \r");
	free(line);
	line = get_line(f, &f->c[1], 100);
	assert_string_equal(line, "test\r");
	free(line);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_negotiation), T(test_malformed),	  T(test_pieces),	T(test_events),
		T(test_quit),	     T(test_slow_client), T(test_all_commands), T(test_ringbuf),
		T(test_block),	     T(test_net),	  T(test_probe),	T(test_hmp),
		T(test_hmp_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
