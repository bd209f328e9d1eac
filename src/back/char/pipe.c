/* SPDX-License-Identifier: Apache-2.0 */
/* Named pipes: PATH.in and PATH.out when both exist, else PATH for both directions. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "back/char/chardev_int.h"
#include "base/err.h"

/* O_RDWR keeps a pipe open over its readers' and writers' coming and going, and never waits for
 * them. */
static int pipe_fd(const char *path)
{
	return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

static int pipe_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	const char *path = kv_get(opts, "path");
	char *in_path, *out_path;
	int in_fd, out_fd, r = 0;

	if (!path || !*path)
		return err_set(e, EINVAL, "a pipe needs 'path'");
	in_path = xasprintf("%s.in", path);
	out_path = xasprintf("%s.out", path);
	in_fd = pipe_fd(in_path);
	out_fd = pipe_fd(out_path);
	if (in_fd < 0 || out_fd < 0) {
		if (in_fd >= 0)
			close(in_fd);
		if (out_fd >= 0)
			close(out_fd);
		in_fd = pipe_fd(path);
		out_fd = in_fd < 0 ? -1 : fcntl(in_fd, F_DUPFD_CLOEXEC, 0);
	}
	if (in_fd < 0 || out_fd < 0)
		r = err_set(e, errno, "cannot open pipe '%s' (nor '%s' and '%s'): %s", path,
			    in_path, out_path, strerror(errno));
	else
		chardev_stream_open(cd, in_fd, out_fd);
	free(in_path);
	free(out_path);
	return r;
}

static void pipe_close(struct chardev *cd)
{
}

const struct chardev_kind chardev_pipe = {
	.name = "pipe",
	.help = "named pipes PATH.in and PATH.out, or PATH: path=PATH",
	.keys = {"path"},
	.open = pipe_open,
	.close = pipe_close,
};
