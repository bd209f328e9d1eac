/* SPDX-License-Identifier: Apache-2.0 */
#include "main/daemon.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"

struct daemon_start {
	int fd; /* the parent waits at the other end */
};

/* The parent's side: a byte says that the machine runs, an end of file that it does not. */
static int daemon_wait(int fd, pid_t child)
{
	int status;
	ssize_t n;
	char c;

	do {
		n = read(fd, &c, 1);
	} while (n < 0 && errno == EINTR);
	close(fd);
	if (n == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

int daemon_begin(struct daemon_start **out, int *status, struct err **e)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return err_set(e, errno, "cannot make a pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return err_set(e, errno, "cannot make a process: %s", strerror(errno));
	}
	if (pid) {
		close(fds[1]);
		*status = daemon_wait(fds[0], pid);
		return 1;
	}
	close(fds[0]);
	setsid();
	*out = xzalloc(sizeof(**out));
	(*out)->fd = fds[1];
	return 0;
}

void daemon_ready(struct daemon_start *d)
{
	int null;

	if (!d)
		return;
	fflush(NULL);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (chdir("/")) /* a file system that is to be unmounted is not held */
		fprintf(stderr, "doppel: cannot leave the directory: %s\n", strerror(errno));
	while (write(d->fd, "", 1) < 0 && errno == EINTR)
		;
	close(d->fd);
	free(d);
}

void daemon_failed(struct daemon_start *d)
{
	if (!d)
		return;
	close(d->fd);
	free(d);
}
