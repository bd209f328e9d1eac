/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Stream socket addresses: naming, listening, connecting. */
#include <stdbool.h>
#include <sys/socket.h>

struct err;

struct sock_addr {
	struct sockaddr_storage sa;
	socklen_t len;
	char *name; /* for people: "unix:/run/x", "tcp:127.0.0.1:1234" */
	char *path; /* Unix: the path; else NULL */
};

/* Fill *a (release it with sock_addr_free, also after a failure).  0 or -errno with *e. */
int sock_addr_unix(struct sock_addr *a, const char *path, struct err **e);
/* An empty host: every address for a listener, the loopback for a client. */
int sock_addr_tcp(struct sock_addr *a, const char *host, const char *port, bool listener,
		  struct err **e);
void sock_addr_free(struct sock_addr *a);

/* sock_listen - bind and listen, non-blocking.  A Unix socket that nobody listens on any more is
 * replaced; one in use, like a port in use, is -EADDRINUSE.  sock_unlisten closes, and removes a
 * Unix socket's name. */
int sock_listen(const struct sock_addr *a, int *fd, struct err **e);
void sock_unlisten(const struct sock_addr *a, int fd);
/* sock_connect - connect, waiting as long as the host does. */
int sock_connect(const struct sock_addr *a, int *fd, struct err **e);
