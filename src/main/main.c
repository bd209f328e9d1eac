/* SPDX-License-Identifier: Apache-2.0 */
#include "main/main.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "main/cmdline.h"
#include "main/fleet.h"
#include "main/launch.h"

static const char usage[] =
	"doppel " DOPPEL_VERSION ": runs x86-64 virtual machines, with or without KVM\n"
	"\n"
	"  doppel run [OPTION]...       run a machine in this terminal (doppel run --help)\n"
	"  doppel ps [--json]           list the machines that run\n"
	"  doppel top [NAME]            show what they do\n"
	"  doppel console [NAME]        attach this terminal to a machine's console\n"
	"  doppel stop NAME             shut a machine down\n"
	"  doppel qmp NAME COMMAND      run a command of a machine's monitor\n"
	"  doppel explain run ...       print the same machine as a doppel-system-x86_64 command\n"
	"  doppel version               print the version\n"
	"  doppel help [run]            print this, or the options of run\n"
	"\n"
	"  doppel run --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0' -m 512M -c 2\n"
	"\n"
	"Called as doppel-system-x86_64 it has the command line of QEMU 7.2.\n";

static int fail(const char *prog, struct err **e)
{
	fprintf(stderr, "%s: %s\n", prog, err_msg(*e));
	err_free(e);
	return 1;
}

/* Parse a machine's options and run it; argv[0] is not an option. */
static int cmd_machine(const char *prog, bool friendly, int argc, char **argv)
{
	struct cmdline c;
	struct err *e = NULL;
	int status = 0, r = cmdline_parse(&c, prog, friendly, argc, argv, &e);

	if (r == CMD_RUN)
		r = launch(&c, &status, &e);
	if (r < 0)
		status = fail(prog, &e);
	cmdline_free(&c);
	return status;
}

static int cmd_run(int argc, char **argv)
{
	return cmd_machine("doppel run", true, argc, argv);
}

static int cmd_explain(int argc, char **argv)
{
	struct cmdline c;
	struct err *e = NULL;
	int r;

	if (argc < 2 || strcmp(argv[1], "run")) {
		fprintf(stderr, "doppel explain: only 'doppel explain run ...' is known\n");
		return 1;
	}
	r = cmdline_parse(&c, "doppel explain", true, argc - 1, argv + 1, &e);
	if (r == CMD_RUN)
		cmdline_explain(&c);
	cmdline_free(&c);
	return r < 0 ? fail("doppel explain", &e) : 0;
}

static int cmd_version(int argc, char **argv)
{
	printf("doppel %s\n", DOPPEL_VERSION);
	return 0;
}

static int cmd_help(int argc, char **argv)
{
	char *help[] = {argv[0], "--help"};

	if (argc > 1 && !strcmp(argv[1], "run"))
		return cmd_run(2, help);
	fputs(usage, stdout);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", cmd_run},   {"explain", cmd_explain},	{"version", cmd_version},
	{"ps", fleet_ps},   {"top", fleet_top},		{"console", fleet_console},
	{"stop", fleet_stop}, {"qmp", fleet_qmp},	{"help", cmd_help}, {"--version", cmd_version}, {"--help", cmd_help},
	{"-h", cmd_help},
};

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

int doppel_main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc ? argv[0] : "doppel";

	signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of a write, not our end */
	if (ends_with(name, "-system-x86_64"))
		return cmd_machine(name, false, argc, argv);
	if (argc < 2) {
		fputs(usage, stderr);
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, argv[1]))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "doppel: '%s' is not a command (try 'doppel help')\n", argv[1]);
	return 1;
}
