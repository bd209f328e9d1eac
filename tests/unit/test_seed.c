/* SPDX-License-Identifier: Apache-2.0 */
/* ISO images as xorriso reads them; what doppel run's seed says to cloud-init and systemd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/base.h"
#include "base/err.h"
#include "ctl/base64.h"
#include "main/cmdline.h"
#include "main/iso.h"
#include "main/seed.h"

#define KEY1 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA one@host"
#define KEY2 "ecdsa-sha2-nistp256 AAAAE2VjZHNh two@host"

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static bool has(const char *program)
{
	char *command = xasprintf("command -v %s >/dev/null 2>&1", program);
	bool found = !system(command);

	free(command);
	return found;
}

static void run(const char *dir, const char *command)
{
	char *line = xasprintf("cd %s && { %s; } >log 2>&1 || { cat log; exit 1; }", dir, command);

	if (system(line))
		fail_msg("%s", command);
	free(line);
}

/* Extracted files are what went in; the label is found by who looks for labels. */
static void test_iso(void **state)
{
	char dir[] = "/tmp/doppel-iso-XXXXXX", *path;
	uint8_t big[5000];
	struct iso_file files[] = {
		{"empty", "EMPTY", "", 0},
		{"a-rather-long-name.with.dots", "LONG", big, sizeof(big)},
		{"user-data", "USER_DAT", "hello\n", 6},
	};
	struct bytes b = {0};

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7);
	iso_build(&b, "CIDATA", files, ARRAY_SIZE(files));
	assert_int_equal(b.len, (22 + 3 + 1) * 2048);
	assert_memory_equal(b.p + 16 * 2048 + 1, "CD001", 5);
	assert_memory_equal(b.p + 16 * 2048 + 40, "CIDATA ", 7);
	if (!has("xorriso")) {
		bytes_free(&b);
		skip();
	}
	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/iso", dir);
	write_file(path, b.p, b.len);
	free(path);
	path = xasprintf("%s/big", dir);
	write_file(path, big, sizeof(big));
	free(path);
	run(dir, "xorriso -abort_on WARNING -osirrox on -indev iso -extract / out");
	run(dir, "test \"$(ls out | tr '\\n' ' ')\" = "
		 "'a-rather-long-name.with.dots empty user-data '");
	run(dir, "cmp big out/a-rather-long-name.with.dots && ! test -s out/empty && "
		 "echo hello | cmp - out/user-data");
	run(dir, "test $(stat -c %a out/user-data) = 444");
	run(dir, "xorriso -indev iso -pvd_info 2>&1 | grep -q \"Volume Id.*CIDATA$\"");
	if (has("blkid"))
		run(dir, "blkid -p -o export iso | grep -qx LABEL=CIDATA");
	run(dir, "chmod -R u+w out; cd / && rm -r \"$OLDPWD\"");
	bytes_free(&b);
}

static int parse(struct cmdline *c, const char *const *words, int n, struct err **e)
{
	char *argv[16] = {(char *)"run", (char *)"--kernel", (char *)"/proc/self/exe"};

	for (int i = 0; i < n; i++)
		argv[3 + i] = (char *)words[i];
	return cmdline_parse(c, "run", true, n + 3, argv, e);
}

/* The text of a file in the image: it is there in one piece. */
static bool contains(const struct seed *s, const char *text)
{
	return memmem(s->image.p, s->image.len, text, strlen(text)) != NULL;
}

static void test_seed(void **state)
{
	char path[] = "/tmp/doppel-keys-XXXXXX";
	const char *words[] = {"--user", "alice:pa\"ss", "--ssh-key",	    KEY1,     "--ssh-key",
			       path,	 "-v",		 "/tmp:/it's mine", "--name", "box-1"};
	struct err *e = NULL;
	struct cmdline c;
	struct seed s;
	uint8_t *keys;
	size_t len;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	dprintf(fd, "# mine\n%s  \r\n\n", KEY2);
	close(fd);
	assert_int_equal(parse(&c, words, ARRAY_SIZE(words), &e), CMD_RUN);
	assert_int_equal(seed_make(&s, &c, &e), 0);
	assert_true(contains(&s, "\n#cloud-config\n") || contains(&s, "#cloud-config\nusers:\n"));
	assert_true(contains(&s, "  - name: \"alice\"\n"));
	assert_true(contains(&s, "plain_text_passwd: \"pa\\\"ss\"\n"));
	assert_true(contains(&s, "\nssh_authorized_keys:\n  - \"" KEY1 "\"\n  - \"" KEY2 "\"\n"));
	assert_true(contains(&s, "    ssh_authorized_keys:\n      - \"" KEY1 "\"\n"));
	assert_true(contains(&s, "-- '/it'\\\\''s mine' '/it'\\\\''s mine'\"]\n"));
	assert_true(contains(&s, "instance-id: doppel-"));
	assert_true(contains(&s, "local-hostname: \"box-1\"\n"));
	assert_true(contains(&s, "\nmanage_etc_hosts: localhost\n"));
	assert_non_null(s.credential);
	assert_memory_equal(s.credential,
			    "io.systemd.credential.binary:ssh.authorized_keys.root=", 53);
	keys = base64_decode(strchr(s.credential, '=') + 1, &len);
	assert_int_equal(len, strlen(KEY1 "\n" KEY2 "\n"));
	assert_memory_equal(keys, KEY1 "\n" KEY2 "\n", len);
	free(keys);
	seed_free(&s);
	cmdline_free(&c);
	unlink(path);
}

/* No seed without a wish for one; another wish, another instance. */
static void test_instances(void **state)
{
	const char *none[] = {"-v", "/tmp:/mnt"};
	const char *one[] = {"--ssh-key", KEY1}, *two[] = {"--ssh-key", KEY2};
	struct err *e = NULL;
	struct cmdline c;
	struct seed a, b;

	assert_int_equal(parse(&c, none, 2, &e), CMD_RUN);
	assert_int_equal(seed_make(&a, &c, &e), 0);
	assert_int_equal(a.image.len, 0);
	assert_null(a.credential);
	seed_free(&a);
	cmdline_free(&c);
	assert_int_equal(parse(&c, one, 2, &e), CMD_RUN);
	assert_int_equal(seed_make(&a, &c, &e), 0);
	cmdline_free(&c);
	assert_int_equal(parse(&c, two, 2, &e), CMD_RUN);
	assert_int_equal(seed_make(&b, &c, &e), 0);
	cmdline_free(&c);
	assert_memory_not_equal(memmem(a.image.p, a.image.len, "doppel-", 7),
				memmem(b.image.p, b.image.len, "doppel-", 7), 7 + 16);
	seed_free(&a);
	seed_free(&b);
}

/* cloud-init's parser is Python's: so is this check. */
static void test_yaml(void **state)
{
	static const char script[] =
		"import sys, yaml\n"
		"d = yaml.safe_load(open(sys.argv[1]))\n"
		"assert d['users'][0] == 'default', d\n"
		"u = d['users'][1]\n"
		"assert u['name'] == 'bob' and u['lock_passwd'] is False, u\n"
		"assert u['plain_text_passwd'] == 'a\\\\b\"c: #d\\x07', u\n"
		"assert d['ssh_authorized_keys'] == ['" KEY1 "'], d\n"
		"assert d['disable_root'] is False\n"
		"assert d['bootcmd'][0][:2] == ['sh', '-c'], d\n"
		"assert d['bootcmd'][0][2].endswith(' -- \\'/a b\\' \\'/a b\\''), d\n";
	const char *words[] = {"--user", "bob:a\\b\"c: #d\a", "--ssh-key", KEY1, "-v", "/tmp:/a b"};
	char dir[] = "/tmp/doppel-yaml-XXXXXX", *path;
	struct err *e = NULL;
	const uint8_t *text;
	struct cmdline c;
	struct seed s;

	if (system("python3 -c 'import yaml' 2>/dev/null"))
		skip();
	assert_int_equal(parse(&c, words, ARRAY_SIZE(words), &e), CMD_RUN);
	assert_int_equal(seed_make(&s, &c, &e), 0);
	cmdline_free(&c);
	assert_non_null(mkdtemp(dir));
	text = memmem(s.image.p, s.image.len, "#cloud-config", 13);
	assert_non_null(text);
	path = xasprintf("%s/user-data", dir);
	write_file(path, text, strlen((const char *)text));
	free(path);
	path = xasprintf("%s/check", dir);
	write_file(path, script, sizeof(script) - 1);
	free(path);
	run(dir, "python3 check user-data");
	run(dir, "cd / && rm -r \"$OLDPWD\"");
	seed_free(&s);
}

static void test_bad(void **state)
{
	static const struct {
		const char *opt, *arg, *say;
	} bad[] = {
		{"--user", "", "not a user's name"},
		{"--user", "1st", "not a user's name"},
		{"--user", "A", "is of a-z"},
		{"--user", "x y", "is of a-z"},
		{"--user", "a:", "password is empty"},
		{"--ssh-key", "/nowhere/key.pub", "No such file"},
		{"--ssh-key", "ssh-ed25519", "not a public key"},
		{"--ssh-key", "/proc/self/comm", "no public key"},
		{"--user", "nobody-can", "nobody could log in"},
	};
	char *home = xstrdup(getenv("HOME") ? getenv("HOME") : "/");

	setenv("HOME", "/nonexistent", 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *words[] = {bad[i].opt, bad[i].arg};
		struct err *e = NULL;
		struct seed s = {0};
		struct cmdline c;
		int r = parse(&c, words, 2, &e);

		if (r == CMD_RUN)
			r = seed_make(&s, &c, &e);
		if (r >= 0)
			fail_msg("%s %s was taken", bad[i].opt, bad[i].arg);
		if (!strstr(err_msg(e), bad[i].say) || !strstr(err_msg(e), bad[i].opt))
			fail_msg("%s %s: %s", bad[i].opt, bad[i].arg, err_msg(e));
		err_free(&e);
		seed_free(&s);
		cmdline_free(&c);
	}
	setenv("HOME", home, 1);
	free(home);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iso),  cmocka_unit_test(test_seed),
		cmocka_unit_test(test_yaml), cmocka_unit_test(test_instances),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
