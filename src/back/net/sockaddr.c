/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/net/sock_int.h"
#include "base/err.h"

static const char *opt(struct kvlist *opts, const char *prefix, const char *name)
{
	char *key = xasprintf("%s.%s", prefix, name);
	const char *v = kv_get(opts, key);

	free(key);
	return v;
}

int net_sock_addr(struct sock_addr *a, struct kvlist *opts, const char *prefix, bool listener,
		  int *fd, struct err **e)
{
	const char *type = opt(opts, prefix, "type"), *path = opt(opts, prefix, "path");
	const char *host = opt(opts, prefix, "host"), *port = opt(opts, prefix, "port");
	const char *str = opt(opts, prefix, "str");
	uint64_t n;

	opt(opts, prefix, "ipv4");
	opt(opts, prefix, "ipv6");
	if (!type)
		return err_set(e, EINVAL, "parameter '%s.type' is missing", prefix);
	if (!strcmp(type, "unix"))
		return path ? sock_addr_unix(a, path, e)
			    : err_set(e, EINVAL, "parameter '%s.path' is missing", prefix);
	if (!strcmp(type, "inet"))
		return host && port ? sock_addr_tcp(a, host, port, listener, e)
				    : err_set(e, EINVAL, "parameter '%s.%s' is missing", prefix,
					      host ? "port" : "host");
	if (strcmp(type, "fd"))
		return err_set(e, EINVAL, "parameter '%s.type' is unix, inet or fd, not '%s'",
			       prefix, type);
	if (!str || !parse_uint(str, 0, INT32_MAX, &n))
		return err_set(e, EINVAL, "parameter '%s.str' is not the number of a descriptor",
			       prefix);
	*fd = (int)n;
	return 0;
}

int net_sock_host_port(struct sock_addr *a, const char *text, bool listener, struct err **e)
{
	const char *colon = strrchr(text, ':');
	char *host;
	size_t n;
	int r;

	if (!colon)
		return err_set(e, EINVAL, "'%s' is not HOST:PORT", text);
	host = xasprintf("%.*s", (int)(colon - text), text);
	n = strlen(host);
	if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
		memmove(host, host + 1, n - 2);
		host[n - 2] = 0;
	}
	r = sock_addr_tcp(a, host, colon + 1, listener, e);
	free(host);
	return r;
}
