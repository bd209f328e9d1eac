/* SPDX-License-Identifier: Apache-2.0 */
/* Monitors for programs: dialogues, malformed messages, slow clients, events. */
#include "qmp_fixture.h"

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

/* A drive without a medium gets one, and loses it again. */
static void test_medium(void **state)
{
	struct fixture *f = *state;
	struct json_object *o;
	struct block *b;
	struct err *e = NULL;
	char path[] = "/tmp/doppel-qmp-disc-XXXXXX", *msg;
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, 1 * MiB), 0);
	close(fd);
	if (block_open_drive(&b, f->blocks, "if=none,id=cd0,media=cdrom", &e))
		fail_msg("%s", err_msg(e));
	negotiate(f, &f->c[0]);
	o = ask(f, "{'execute':'query-block'}");
	assert_null(at(first(o), "inserted"));
	expect_str(first(o), "removable", "true");
	expect_str(first(o), "tray_open", "false");
	json_object_put(o);
	expect_error(f,
		     "{'execute':'blockdev-change-medium','arguments':{'device':'cd0','filename':"
		     "'/nonexistent/x'}}",
		     "GenericError", "/nonexistent/x");
	msg = xasprintf("{'execute':'blockdev-change-medium','arguments':{'device':'cd0',"
			"'filename':'%s','format':'raw','read-only-mode':'retain'}}",
			path);
	tell(f, msg);
	free(msg);
	for (int open = 1; open >= 0; open--) {
		o = get(f);
		expect_str(o, "event", "DEVICE_TRAY_MOVED");
		expect_str(o, "data.device", "cd0");
		expect_str(o, "data.tray-open", open ? "true" : "false");
		json_object_put(o);
	}
	expect_return(f);
	o = ask(f, "{'execute':'query-block'}");
	expect_str(first(o), "inserted.file", path);
	expect_str(first(o), "inserted.ro", "true");
	json_object_put(o);
	tell(f, "{'execute':'eject','arguments':{'device':'cd0'}}");
	expect_return(f);
	o = ask(f, "{'execute':'query-block'}");
	assert_null(at(first(o), "inserted"));
	json_object_put(o);
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
	/* By the card that is plugged in, too. */
	if (netdev_attach(f->net, &(struct net_front){.lock = vm_devices(f->vm)->lock, .name = "card"}, NULL))
		fail_msg("there is a card");
	tell(f, "{'execute':'set_link','arguments':{'name':'card','up':true}}");
	expect_return(f);
	assert_true(netdev_link(f->net));
	netdev_detach(f->net);
	expect_error(f, "{'execute':'set_link','arguments':{'name':'card','up':true}}",
		     "DeviceNotFound", "Device 'card' not found");
	expect_error(f, "{'execute':'set_link','arguments':{'name':'x','up':true}}",
		     "DeviceNotFound", "Device 'x' not found");
	expect_error(f, "{'execute':'set_link','arguments':{'name':'n0'}}", "GenericError",
		     "'up' is missing");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_negotiation), T(test_malformed),	  T(test_pieces),	T(test_events),
		T(test_quit),	     T(test_slow_client), T(test_all_commands), T(test_ringbuf),
		T(test_block),	     T(test_medium),	  T(test_net),		T(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
