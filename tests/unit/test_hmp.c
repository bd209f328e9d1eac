/* SPDX-License-Identifier: Apache-2.0 */
/* Monitors for people: every command, good words and bad ones; a session at a terminal. */
#include "qmp_fixture.h"

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
		{"info qtree", "bus: main-system-bus"},
		{"info qtree", "dev: hpet"},
		{"info qtree", "bus: pci.0\r\n  type PCI"},
		{"info qtree x", "Error"},
		{"savevm", "not there yet"},
		{"loadvm yesterday", "not there yet"},
		{"migrate -d tcp:0:4444", "not there yet"},
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
		T(test_hmp),
		T(test_hmp_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
