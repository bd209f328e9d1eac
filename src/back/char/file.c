/* SPDX-License-Identifier: Apache-2.0 */
/* Output into a file, input from another. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "back/char/chardev_int.h"
#include "base/err.h"

/* Two machines writing one file make a file that nobody can read: the first locks it. */
static int file_claim(int fd, const char *path, bool append, struct err **e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_set(e, errno, "cannot examine '%s': %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return 0;
	if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return err_set(e, EBUSY, "file '%s' is in use by another machine or port", path);
	if (!append && ftruncate(fd, 0))
		return err_set(e, errno, "cannot truncate '%s': %s", path, strerror(errno));
	return 0;
}

static int file_open_output(const char *path, bool append, int *out, struct err **e)
{
	int r, fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | (append ? O_APPEND : 0),
			 0666);

	if (fd < 0)
		return err_set(e, errno, "cannot open file '%s': %s", path, strerror(errno));
	r = file_claim(fd, path, append, e);
	if (r)
		close(fd);
	else
		*out = fd;
	return r;
}

static int file_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	const char *path = kv_get(opts, "path"), *input = kv_get(opts, "input-path");
	bool append = false;
	int in_fd = -1, out_fd = -1, r = kv_bool(opts, "append", &append, e);

	if (r)
		return r;
	if (!path || !*path)
		return err_set(e, EINVAL, "a file needs 'path'");
	if (input) {
		in_fd = open(input, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (in_fd < 0)
			return err_set(e, errno, "cannot open file '%s': %s", input, strerror(errno));
	}
	r = file_open_output(path, append, &out_fd, e);
	if (!r)
		chardev_stream_open(cd, in_fd, out_fd);
	else if (in_fd >= 0)
		close(in_fd);
	return r;
}

static void file_close(struct chardev *cd)
{
}

const struct chardev_kind chardev_file = {
	.name = "file",
	.help = "output goes to a file, input comes from another: path=FILE[,append=on]"
		"[,input-path=FILE]",
	.keys = {"path", "append", "input-path"},
	.open = file_open,
	.close = file_close,
};
