/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "back/char/chardev_int.h"
#include "back/char/socket.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"

int sock_addr_unix(struct sock_addr *a, const char *path, struct err **e)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;

	if (!*path)
		return err_set(e, EINVAL, "the socket's path is empty");
	if (strlen(path) >= sizeof(un->sun_path))
		return err_set(e, ENAMETOOLONG, "socket path '%s' is longer than %zu bytes", path,
			       sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
	a->path = xstrdup(path);
	a->name = xasprintf("unix:%s", path);
	return 0;
}

int sock_addr_tcp(struct sock_addr *a, const char *host, const char *port, bool listener,
		  struct err **e)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = listener ? AI_PASSIVE : 0,
	};
	struct addrinfo *found;
	uint64_t number;
	int r;

	/* getaddrinfo cuts a large number down to 16 bits. */
	if (isdigit((unsigned char)*port) && !parse_uint(port, 0, 65535, &number))
		return err_set(e, EINVAL, "'%s' is not a port number", port);
	r = getaddrinfo(*host ? host : NULL, port, &hints, &found);
	if (r)
		return err_set(e, EINVAL, "no address for host '%s' port '%s': %s", host, port,
			       gai_strerror(r));
	memcpy(&a->sa, found->ai_addr, found->ai_addrlen);
	a->len = found->ai_addrlen;
	freeaddrinfo(found);
	a->name = xasprintf(strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
	return 0;
}

void sock_addr_free(struct sock_addr *a)
{
	free(a->name);
	free(a->path);
	*a = (struct sock_addr){0};
}

static int sock_new(const struct sock_addr *a, struct err **e)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 ? fd
		       : err_set(e, errno, "cannot make a socket for %s: %s", a->name,
				 strerror(errno));
}

/* Remove the name of a Unix socket whose listener is gone.  0, or -errno with *e when it must stay.
 */
static int sock_clear_path(const struct sock_addr *a, struct err **e)
{
	struct stat st;
	int fd, r;

	if (lstat(a->path, &st))
		return 0; /* not there, or bind will say why it cannot be */
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, EEXIST, "'%s' exists and is not a socket", a->path);
	fd = sock_new(a, e);
	if (fd < 0)
		return fd;
	r = connect(fd, (const struct sockaddr *)&a->sa, a->len) ? errno : 0;
	close(fd);
	if (r != ECONNREFUSED)
		return err_set(e, EADDRINUSE, "socket '%s' is in use by another process", a->path);
	unlink(a->path);
	return 0;
}

int sock_listen(const struct sock_addr *a, int *out, struct err **e)
{
	int fd, one = 1, r = a->path ? sock_clear_path(a, e) : 0;

	if (r)
		return r;
	fd = sock_new(a, e);
	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len) || listen(fd, 1)) {
		r = err_set(e, errno, "cannot listen on %s: %s", a->name, strerror(errno));
		close(fd);
		return r;
	}
	fd_set_nonblock(fd);
	*out = fd;
	return 0;
}

void sock_unlisten(const struct sock_addr *a, int fd)
{
	close(fd);
	if (a->path)
		unlink(a->path);
}

int sock_connect(const struct sock_addr *a, int *out, struct err **e)
{
	int r, fd = sock_new(a, e);

	if (fd < 0)
		return fd;
	do {
		r = connect(fd, (const struct sockaddr *)&a->sa, a->len);
	} while (r && errno == EINTR);
	if (r) {
		r = err_set(e, errno, "cannot connect to %s: %s", a->name, strerror(errno));
		close(fd);
		return r;
	}
	*out = fd;
	return 0;
}
