/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines, good and bad: what they become, and the one line that refuses them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"
#include "main/cmdline.h"

#define FILE_THERE "/proc/self/exe" /* stands for a kernel: readable, never loaded here */

/* Split at spaces and parse; argv lives as long as c is looked at. */
static int parse(struct cmdline *c, bool friendly, const char *text, char **argv, struct err **e)
{
	static char copy[2048];
	char *save = NULL;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", text);
	argv[0] = (char *)"x";
	for (char *w = strtok_r(copy, " ", &save); w && argc < 60; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	return cmdline_parse(c, "prog", friendly, argc, argv, e);
}

/* Standard output and error go to /dev/null meanwhile: help texts and warnings are not the point.
 */
static int parse_quietly(struct cmdline *c, bool friendly, const char *text, struct err **e)
{
	static char *argv[64];
	int out, err, r;

	fflush(stdout);
	out = dup(1);
	err = dup(2);
	assert_non_null(freopen("/dev/null", "w", stdout));
	dup2(1, 2);
	r = parse(c, friendly, text, argv, e);
	fflush(stdout);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	return r;
}

static void test_good(void **state)
{
	static const struct {
		const char *args;
		uint64_t mem;
		unsigned cpus;
		const char *machine;
		unsigned serials;
	} cases[] = {
		{"", 128 * MiB, 1, "pc", 1},
		{"-m 512", 512 * MiB, 1, "pc", 1},
		{"-m 2G -smp 4", 2 * GiB, 4, "pc", 1},
		{"--m size=1G,slots=0,maxmem=1G", GiB, 1, "pc", 1},
		{"-smp cpus=2", 128 * MiB, 2, "pc", 1},
		{"-smp sockets=1,cores=4,threads=1", 128 * MiB, 4, "pc", 1},
		{"-smp 4,sockets=2", 128 * MiB, 4, "pc", 1},
		{"-smp 2,maxcpus=2", 128 * MiB, 2, "pc", 1},
		{"-smp 64", 128 * MiB, 64, "pc", 1},
		{"-machine q35", 128 * MiB, 1, "q35", 1},
		{"-M type=q35,accel=interp,usb=off", 128 * MiB, 1, "q35", 1},
		{"-machine q35,accel=kvm:tcg -enable-kvm -cpu host", 128 * MiB, 1, "q35", 1},
		{"-accel tcg,thread=multi", 128 * MiB, 1, "pc", 1},
		{"-accel dbt,stress=flush,perfmap=on,gdbjit", 128 * MiB, 1, "pc", 1},
		{"-accel interp,perfmap=off,gdbjit=off", 128 * MiB, 1, "pc", 1},
		{"-nodefaults -display none -vga none -nic none -net none -monitor none -parallel "
		 "none",
		 128 * MiB, 1, "pc", 0},
		{"-nodefaults -nographic", 128 * MiB, 1, "pc", 0},
		{"-serial null -serial stdio -serial none -serial file:/x", 128 * MiB, 1, "pc", 4},
		{"-no-reboot -no-shutdown -S -s -no-user-config -rtc base=utc,clock=host",
		 128 * MiB, 1, "pc", 1},
		{"-name guest=web,debug-threads=on -cpu max", 128 * MiB, 1, "pc", 1},
		{"-device isa-debug-exit,iobase=0x501,iosize=4", 128 * MiB, 1, "pc", 1},
		{"-d int,exec -D /tmp/log -pidfile /tmp/p -L /nowhere", 128 * MiB, 1, "pc", 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cmdline c;
		struct err *e = NULL;
		char *text = xasprintf("-kernel %s %s", FILE_THERE, cases[i].args);
		int r = parse_quietly(&c, false, text, &e);

		if (r)
			fail_msg("%s: %s", text, e ? err_msg(e) : "?");
		assert_int_equal(c.cfg.mem_size, cases[i].mem);
		assert_int_equal(c.cfg.n_cpus, cases[i].cpus);
		assert_string_equal(c.cfg.machine, cases[i].machine);
		assert_int_equal(c.serials.n, cases[i].serials);
		assert_string_equal(c.cfg.accel, strstr(cases[i].args, "interp") ? "interp" : "dbt");
		assert_string_equal(c.cfg.kernel, FILE_THERE);
		cmdline_free(&c);
		free(text);
	}
}

/* Each is refused, and the message has the words that a person needs. */
static void test_bad(void **state)
{
	static const char *const cases[][2] = {
		{"-frobnicate", "-frobnicate: invalid option"},
		{"--frobnicate", "--frobnicate: invalid option"},
		{"-", "-"},
		{"-drive", "-drive: requires an argument"},
		{"-drive ,", "name"},
		{"-netdev =", "name"},
		{"-blockdev {", "JSON"},
		{"-object toaster,id=t", "toaster"},
		{"-object rng-builtin", "id"},
		{"-object rng-random,id=r,filename=/etc/passwd", "passwd"},
		{"-object filter-dump,id=f,netdev=n", "file"},
		{"-vga ega", "ega"},
		{"-boot xyz", "xyz"},
		{"-boot order=c,colour=red", "colour"},
		{"-fw_cfg name=opt/x", "string"},
		{"-fw_cfg string=x", "name"},
		{"-device {\"driver\":\"isa-debug-exit\",\"colour\":1}", "colour"},
		{"-kernel", "-kernel: requires an argument"},
		{"-kernel /nonexistent/k", "-kernel /nonexistent/k: No such file"},
		{"-kernel /proc/self/exe -initrd /nonexistent/i", "-initrd /nonexistent/i"},
		{"-initrd /proc/self/exe", "-initrd: only with -kernel"},
		{"-append x", "-append: only with -kernel"},
		{"-bios /nonexistent/b", "-bios /nonexistent/b: No such file"},
		{"-bios nonexistent.bin", "-bios nonexistent.bin"},
		{"-m 0", "-m 0"},
		{"-m lots", "lots"},
		{"-m -5", "-5"},
		{"-m 512Q", "512Q"},
		{"-m 999G", "999G"},
		{"-m 512,maxmem=1G,slots=2", "plugged"},
		{"-m 512,colour=red", "colour"},
		{"-m slots=1", "size"},
		{"-smp 0", "-smp 0"},
		{"-smp 65", "65"},
		{"-smp -1", "-1"},
		{"-smp two", "two"},
		{"-smp 2,maxcpus=4", "maxcpus"},
		{"-smp 3,cores=2", "topology"},
		{"-smp 2,cores=2,threads=2,sockets=1", "topology"},
		{"-smp sockets=64,cores=64", "4096"},
		{"-smp 2,colour=red", "colour"},
		{"-machine toaster", "toaster"},
		{"-machine pc,usb=on", "usb"},
		{"-machine pc,colour=red", "colour"},
		{"-machine pc,accel=warp", "warp"},
		{"-accel warp", "warp"},
		{"-accel interp,colour=red", "colour"},
		{"-accel thread=multi", "accelerator"},
		{"-accel dbt,perfmap=maybe", "perfmap"},
		{"-accel dbt,gdbjit=2", "gdbjit"},
		{"-accel interp,perfmap=on -kernel /proc/self/exe", "perfmap"},
		{"-accel interp,gdbjit=on -kernel /proc/self/exe", "gdbjit"},
		{"-accel interp,stress=flush -kernel /proc/self/exe", "stress"},
		{"-cpu abacus -kernel /proc/self/exe", "-cpu abacus"},
		{"-cpu max,+frobnication -kernel /proc/self/exe", "frobnication"},
		{"-display gtk", "gtk"},
		{"-action reboot=maybe", "maybe"},
		{"-action panic=pause", "panic"},
		{"-action colour=red", "colour"},
		{"-uuid 12345678-1234-1234-1234-12345678901", "-uuid"},
		{"-uuid 12345678-1234-1234-1234-1234567890123", "-uuid"},
		{"-uuid 12345678123412341234123456789012", "-uuid"},
		{"-uuid x", "-uuid"},
		{"-serial null -serial null -serial null -serial null -serial null", "4"},
		{"-device", "-device: requires an argument"},
		{"-device frobnicator", "frobnicator"},
		{"-device isa-debug-exit,colour=red", "colour"},
		{"-global x", "-global x"},
		{"-global frobnicator.x=1", "frobnicator"},
		{"-rtc base=localtime", "base"},
		{"-name guest=a,debug-threads=off", "debug-threads"},
		{"-smbios type=200", "type"},
		{"-smbios type=8", "8"},
		{"-smbios vendor=x", "'type' is needed"},
		{"-smbios type=1,vendor=x", "vendor"},
		{"-smbios type=1,uuid=12", "UUID"},
		{"-smbios type=0,release=1", "release"},
		{"-smbios type=0,release=1.256", "release"},
		{"-smbios type=0,uefi=maybe", "maybe"},
		{"-smbios type=4,max-speed=70000", "max-speed"},
		{"-smbios type=1,file=x", "go together"},
		{"-machine pc,pic=off -kernel /proc/self/exe", "has all its parts"},
		{"-machine q35,acpi=off -kernel /proc/self/exe", "has all its parts"},
		{"-machine microvm,pit=maybe", "pit"},
		{"-machine microvm,pcie=on", "pcie"},
		{"-global virtio-mmio.force-legacy=2", "force-legacy"},
		{"-timeout 5", "-timeout: invalid option"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cmdline c;
		struct err *e = NULL;
		int r = parse_quietly(&c, false, cases[i][0], &e);

		if (r >= 0 || !e)
			fail_msg("'%s' was taken", cases[i][0]);
		if (!strstr(err_msg(e), cases[i][1]))
			fail_msg("'%s': '%s' does not mention '%s'", cases[i][0], err_msg(e),
				 cases[i][1]);
		assert_null(strchr(err_msg(e), '\n'));
		err_free(&e);
		cmdline_free(&c);
	}
}

static void test_help(void **state)
{
	static const char *const cases[] = {
		"-help",
		"--help",
		"-h",
		"-version",
		"--version",
		"-machine help",
		"-M ?",
		"-cpu help",
		"-accel help",
		"-device help",
		"-device isa-debug-exit,help",
		"-chardev help",
		"-d help",
		"-m 1G -help -nonsense",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cmdline c;
		struct err *e = NULL;

		if (parse_quietly(&c, false, cases[i], &e) != CMD_DONE)
			fail_msg("%s", cases[i]);
		assert_null(e);
		cmdline_free(&c);
	}
}

static void test_friendly(void **state)
{
	struct cmdline c;
	struct err *e = NULL;
	static const char *const bad[][2] = {
		{"", "nothing to boot"},
		{"--frobnicate", "--frobnicate: invalid option"},
		{"--kernel=", "--kernel"},
		{"-c 0", "-c 0"},
		{"--no-reboot=1", "takes no argument"},
		{"--timeout soon", "--timeout soon"},
		{"--timeout -5s", "-5s"},
		{"--timeout nan", "nan"},
		{"--append x", "--append: only with --kernel"},
	};

	assert_int_equal(parse_quietly(&c, true, "--kernel " FILE_THERE, &e), CMD_RUN);
	assert_int_equal(c.cfg.mem_size, 512 * MiB);
	assert_string_equal(c.cfg.append, "console=ttyS0");
	assert_int_equal(c.serials.n, 1);
	assert_string_equal(c.serials.use[0].arg, "mon:stdio");
	cmdline_free(&c);
	assert_int_equal(
		parse_quietly(
			&c, true,
			"--kernel=" FILE_THERE
			" --append=quiet -m 1G -c 3 --engine auto --machine q35 --name web "
			"--timeout 1.5m -device isa-debug-exit,iobase=0x501 --log int -d --serial null",
			&e),
		CMD_RUN);
	assert_int_equal(c.cfg.n_cpus, 3);
	assert_int_equal(c.timeout_ms, 90000);
	assert_string_equal(c.cfg.append, "quiet");
	assert_string_equal(c.cfg.name, "web");
	assert_string_equal(c.cfg.machine, "q35");
	assert_int_equal(c.devices.n, 1);
	assert_string_equal(c.serials.use[0].arg, "null");
	cmdline_free(&c);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (parse_quietly(&c, true, bad[i][0], &e) >= 0)
			fail_msg("'%s' was taken", bad[i][0]);
		if (!strstr(err_msg(e), bad[i][1]))
			fail_msg("'%s': '%s'", bad[i][0], err_msg(e));
		err_free(&e);
		cmdline_free(&c);
	}
}

/* What debvm-run and autopkgtest-virt-qemu of Debian 12 give to a QEMU. */
static void test_tools(void **state)
{
	static const char *const words[] = {
		"-append root=LABEL=debvm -netdev user,id=net0,hostfwd=tcp:127.0.0.1:8022-:22,domainname=x.org "
		"-device virtio-net-pci,netdev=net0 -nographic -device virtio-rng-pci,rng=rng0 -smp 2 "
		"-cpu host -machine type=q35,accel=kvm:tcg -no-user-config -name debvm-run -m 1G "
		"-kernel " FILE_THERE " -initrd " FILE_THERE
		" -drive media=disk,format=raw,discard=unmap,file=x,if=virtio,cache=unsafe "
		"-object rng-random,filename=/dev/urandom,id=rng0 -snapshot -no-reboot",
		"-machine q35 -m 1024 -smp 1 -nographic -net nic,model=virtio "
		"-net user,hostfwd=tcp:127.0.0.1:10022-:22 "
		"-object rng-random,filename=/dev/urandom,id=rng0 "
		"-device virtio-rng-pci,rng=rng0,id=rng-device0 -monitor unix:/x/m,server=on,wait=off "
		"-virtfs local,id=autopkgtest,path=/x,security_model=none,mount_tag=autopkgtest "
		"-device virtio-serial -chardev socket,path=/x/hvc0,server=on,wait=off,id=hvc0 "
		"-device virtconsole,chardev=hvc0 -serial unix:/x/ttyS0,server=on,wait=off "
		"-drive index=0,file=x,format=qcow2,cache=unsafe,if=virtio,discard=unmap,readonly "
		"-drive if=pflash,format=raw,unit=0,read-only=on,file=x -enable-kvm "
		"-cpu kvm64,+vmx,+lahf_lm",
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		struct err *e = NULL;
		struct cmdline c;

		if (parse_quietly(&c, false, words[i], &e) != CMD_RUN)
			fail_msg("%s", err_msg(e));
		cmdline_free(&c);
	}
}

/* Engines that are not there yet: the translator, and the warning has something to say. */
static void test_engines(void **state)
{
	static const struct {
		const char *args, *fallback; /* NULL: no warning */
	} cases[] = {
		{"-accel interp", NULL},
		{"-accel auto", NULL},
		{"-accel kvm", "KVM"},
		{"-accel tcg", NULL},
		{"-accel kvm -accel tcg", "KVM"},
		{"-machine accel=kvm:tcg", "KVM"},
		{"-enable-kvm", "KVM"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = xasprintf("-kernel %s %s", FILE_THERE, cases[i].args);
		struct cmdline c;

		assert_int_equal(parse_quietly(&c, false, text, NULL), CMD_RUN);
		assert_string_equal(c.cfg.accel, strstr(cases[i].args, "interp") ? "interp" : "dbt");
		if (cases[i].fallback)
			assert_string_equal(c.fallback, cases[i].fallback);
		else
			assert_null(c.fallback);
		cmdline_free(&c);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	cmocka_unit_test(test_bad),
		cmocka_unit_test(test_help),	cmocka_unit_test(test_friendly),
		cmocka_unit_test(test_tools), cmocka_unit_test(test_engines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
