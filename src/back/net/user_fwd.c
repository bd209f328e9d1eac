/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of the host that lead into the guest (hostfwd), and addresses of the guest's network that
 * lead to a program or a chardev (guestfwd).
 *
 *	hostfwd=[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT
 *	guestfwd=[tcp]:[ADDR]:PORT-(cmd:COMMAND | chardev:ID | CHARDEV)
 *
 * An address is IPv4, or for hostfwd IPv6 in brackets.  COMMAND runs once for each connection.
 * CHARDEV (as after -serial) is opened at once, ID is one of -chardev: user_chardev.c leads
 * connections there.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "back/net/user_int.h"
#include "base/err.h"

union addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

struct rule {
	bool udp;
	union addr host, guest;
};

static socklen_t addr_len(const union addr *a)
{
	return a->sa.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in);
}

static int rule_error(const char *what, const char *rule, const char *why, struct err **e)
{
	return err_set(e, EINVAL, "%s rule '%s': %s", what, rule, why);
}

/* "tcp:" or "udp:" or ":" at *p; false: something else. */
static bool take_proto(const char **p, bool *udp)
{
	*udp = !strncmp(*p, "udp:", 4);
	if (*udp || !strncmp(*p, "tcp:", 4)) {
		*p += 4;
		return true;
	}
	if (**p != ':')
		return false;
	(*p)++;
	return true;
}

/* "ADDR:" or "[ADDR6]:" or ":" at *p.  An empty address leaves *a alone. */
static bool take_addr(const char **p, union addr *a)
{
	char buf[INET6_ADDRSTRLEN];
	bool v6 = **p == '[';
	const char *start = *p + v6, *end = v6 ? strstr(start, "]:") : strchr(start, ':');
	size_t n = end ? (size_t)(end - start) : sizeof(buf);

	if (n >= sizeof(buf))
		return false;
	*p = end + 1 + v6;
	if (!n)
		return !v6;
	memcpy(buf, start, n);
	buf[n] = 0;
	memset(a, 0, sizeof(*a));
	a->sa.sa_family = v6 ? AF_INET6 : AF_INET;
	return v6 ? inet_pton(AF_INET6, buf, &a->in6.sin6_addr) == 1
		  : inet_pton(AF_INET, buf, &a->in.sin_addr) == 1;
}

/* A port number, up to `stop`. */
static bool take_port(const char **p, char stop, uint16_t *port)
{
	uint64_t v = 0;
	const char *s = *p;

	while (*s >= '0' && *s <= '9' && s - *p < 6)
		v = v * 10 + (uint64_t)(*s++ - '0');
	if (s == *p || v > 65535 || *s != stop)
		return false;
	*p = *s ? s + 1 : s;
	*port = (uint16_t)v;
	return true;
}

static void set_port(union addr *a, uint16_t port)
{
	if (a->sa.sa_family == AF_INET6)
		a->in6.sin6_port = htons(port);
	else
		a->in.sin_port = htons(port);
}

static int parse_host(struct rule *r, const char **p, const char *text, char stop, struct err **e)
{
	uint16_t port;

	memset(r, 0, sizeof(*r));
	r->host.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = INADDR_ANY};
	if (!take_proto(p, &r->udp))
		return rule_error("host forwarding", text,
				  "it does not begin with tcp: or udp:", e);
	if (!take_addr(p, &r->host))
		return rule_error("host forwarding", text, "bad host address", e);
	if (!take_port(p, stop, &port))
		return rule_error("host forwarding", text, "bad host port", e);
	set_port(&r->host, port);
	return 0;
}

static int parse_hostfwd(struct rule *r, const char *text, struct err **e)
{
	const char *p = text;
	uint16_t port;
	int rc = parse_host(r, &p, text, '-', e);

	if (rc)
		return rc;
	/* No address: libslirp takes whom it gave one by DHCP. */
	r->guest.sa.sa_family = r->host.sa.sa_family;
	if (!take_addr(&p, &r->guest) || r->guest.sa.sa_family != r->host.sa.sa_family)
		return rule_error("host forwarding", text, "bad guest address", e);
	if (!take_port(&p, 0, &port) || !port)
		return rule_error("host forwarding", text, "bad guest port", e);
	set_port(&r->guest, port);
	return 0;
}

static int user_of(struct netdev *nd, struct user **u, struct err **e)
{
	*u = nd->priv;
	return nd->kind == &netdev_user
		       ? 0
		       : err_set(e, EINVAL, "netdev '%s' is not of kind 'user'", nd->id);
}

int netdev_hostfwd_add(struct netdev *nd, const char *text, struct err **e)
{
	struct rule r;
	struct user *u;
	int rc = user_of(nd, &u, e);

	if (!rc)
		rc = parse_hostfwd(&r, text, e);
	if (rc)
		return rc;
	if (r.host.sa.sa_family == AF_INET6 && !u->ipv6)
		return err_set(e, EINVAL, "host forwarding rule '%s': IPv6 is off", text);
	errno = 0;
	if (slirp_add_hostxfwd(u->slirp, &r.host.sa, addr_len(&r.host), &r.guest.sa,
			       addr_len(&r.guest), r.udp ? SLIRP_HOSTFWD_UDP : 0)) {
		int why = errno ? errno : EADDRINUSE;

		return err_set(e, why, "cannot forward '%s': %s%s", text,
			       why == EADDRINUSE ? "the host's port is taken" : strerror(why),
			       why == EACCES ? " (ports below 1024 need privileges)" : "");
	}
	user_refresh(u);
	return 0;
}

int netdev_hostfwd_remove(struct netdev *nd, const char *text, struct err **e)
{
	const char *p = text;
	struct rule r;
	struct user *u;
	int rc = user_of(nd, &u, e);

	if (!rc)
		rc = parse_host(&r, &p, text, strchr(text, '-') ? '-' : 0, e);
	if (rc)
		return rc;
	rc = slirp_remove_hostxfwd(u->slirp, &r.host.sa, addr_len(&r.host),
				   r.udp ? SLIRP_HOSTFWD_UDP : 0);
	user_refresh(u);
	return rc ? err_set(e, ENOENT, "host forwarding '%s' does not exist", text) : 0;
}

/* libslirp does not look whether it has one of the address already. */
static int guestfwd_note(struct user *u, struct in_addr addr, uint16_t port, struct err **e)
{
	for (size_t i = 0; i < u->n_guestfwds; i++)
		if (u->guestfwds[i].addr.s_addr == addr.s_addr && u->guestfwds[i].port == port)
			return err_set(e, EINVAL, "%s", USER_ADDR_REFUSED);
	u->guestfwds = xrealloc(u->guestfwds, (u->n_guestfwds + 1) * sizeof(*u->guestfwds));
	u->guestfwds[u->n_guestfwds++] = (struct user_guestfwd){.addr = addr, .port = port};
	return 0;
}

static int guestfwd_add(struct user *u, const char *text, struct err **e)
{
	const char *p = text;
	union addr a = {.in = {.sin_family = AF_INET}};
	struct in_addr *in = &a.in.sin_addr;
	uint16_t port;
	bool udp;
	int r = 0;

	if (!take_proto(&p, &udp) || udp)
		return rule_error("guest forwarding", text, "it does not begin with tcp:", e);
	/* No address: libslirp takes the fourth of the network. */
	if (!take_addr(&p, &a) || a.sa.sa_family != AF_INET ||
	    (in->s_addr && (in->s_addr & u->mask.s_addr) != u->net.s_addr))
		return rule_error("guest forwarding", text, "its address is not in the network", e);
	if (!take_port(&p, '-', &port) || !port || !*p)
		return rule_error("guest forwarding", text, "it is not tcp:ADDR:PORT-TARGET", e);
	if (strncmp(p, "cmd:", 4))
		r = user_chardev_add(u, in, port, p, e);
	else if (slirp_add_exec(u->slirp, p + 4, in, port))
		r = err_set(e, EINVAL, "%s", USER_ADDR_REFUSED);
	if (!r)
		r = guestfwd_note(u, *in, port, e);
	if (r)
		err_prefix(e, "guest forwarding rule '%s'", text);
	return r;
}

/* Is it KEY, or from JSON KEY.N.str? */
static bool is_key(const char *key, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(key, name, n) && (!key[n] || key[n] == '.');
}

int user_forwards(struct user *u, const struct kvlist *opts, struct err **e)
{
	int r = 0;

	for (size_t i = 0; i < opts->n && !r; i++) {
		struct kv *kv = &opts->kv[i];

		if (is_key(kv->key, "hostfwd"))
			r = netdev_hostfwd_add(u->nd, kv->val, e);
		else if (is_key(kv->key, "guestfwd"))
			r = guestfwd_add(u, kv->val, e);
		else
			continue;
		kv->used = true;
	}
	return r;
}
