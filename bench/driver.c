/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs commands and times them, in a guest or natively: reads lines "NAME<tab>COMMAND" from
 * standard input, a serial console or a pipe, and for each prints
 *
 *	@@ NAME start
 *	@@ NAME end NANOSECONDS STATUS
 *	@| a line of the command's output ...
 *	@@ NAME done
 *
 * The nanoseconds in between are CLOCK_MONOTONIC's; who reads this has a clock of his own to
 *compare.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT "/tmp/bench-output"
#define LINES 200 /* of the output; the last ones */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The terminal must not repeat what it is sent, nor change what is printed. */
static void quiet_terminal(void)
{
	struct termios t;

	if (tcgetattr(0, &t))
		return;
	t.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	t.c_oflag &= ~(tcflag_t)OPOST;
	tcsetattr(0, TCSANOW, &t);
}

static int run(const char *command)
{
	int status;
	pid_t child = fork();

	if (!child) {
		int in = open("/dev/null", O_RDONLY);
		int out = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (in < 0 || out < 0)
			_exit(126);
		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 126;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void show_output(void)
{
	FILE *f = fopen(OUTPUT, "r");
	char line[1000];
	long lines = 0;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		lines++;
	rewind(f);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (lines-- <= LINES)
			printf("@| %s\n", line);
	}
	fclose(f);
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;

	quiet_terminal();
	printf("\n@@ driver ready\n");
	fflush(stdout);
	while (getline(&line, &size, stdin) > 0) {
		line[strcspn(line, "\r\n")] = 0;
		char *command = strchr(line, '\t');
		if (!command)
			break;
		*command++ = 0;
		printf("@@ %s start\n", line);
		fflush(stdout);
		uint64_t start = now();
		int status = run(command);
		uint64_t elapsed = now() - start;
		printf("@@ %s end %llu %d\n", line, (unsigned long long)elapsed, status);
		show_output();
		printf("@@ %s done\n", line);
		fflush(stdout);
	}
	return 0;
}
