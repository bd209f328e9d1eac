/* SPDX-License-Identifier: Apache-2.0 */
#include "main/pidfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/err.h"

int pidfile_create(const char *path, int *out, struct err **e)
{
	int r, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_set(e, errno, "%s", strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB))
		r = err_set(e, EBUSY, "it is in use by another process");
	else if (ftruncate(fd, 0) || dprintf(fd, "%d\n", (int)getpid()) < 0)
		r = err_set(e, errno, "%s", strerror(errno));
	else {
		*out = fd;
		return 0;
	}
	close(fd);
	return r;
}

void pidfile_remove(const char *path, int fd)
{
	unlink(path);
	close(fd);
}
