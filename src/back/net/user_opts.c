/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that shape a user network.  Addresses that are not given are the usual ones of the
 * network: host .2, DNS .3, DHCP from .15; fec0::/64 with host ::2 and DNS ::3.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/net/user_int.h"
#include "base/err.h"

static int opt_addr(struct kvlist *opts, const char *key, struct in_addr *out, struct err **e)
{
	const char *s = kv_get(opts, key);

	if (s && inet_pton(AF_INET, s, out) != 1)
		return err_set(e, EINVAL, "parameter '%s': '%s' is not an IPv4 address", key, s);
	return 0;
}

static int opt_addr6(struct kvlist *opts, const char *key, struct in6_addr *out, struct err **e)
{
	const char *s = kv_get(opts, key);

	if (s && inet_pton(AF_INET6, s, out) != 1)
		return err_set(e, EINVAL, "parameter '%s': '%s' is not an IPv6 address", key, s);
	return 0;
}

/* "ADDR", "ADDR/BITS" or "ADDR/MASK"; without a mask it is that of the address's class. */
static int opt_net(const char *s, struct in_addr *net, struct in_addr *mask, struct err **e)
{
	char addr[INET_ADDRSTRLEN];
	const char *slash = strchr(s, '/');
	size_t n = slash ? (size_t)(slash - s) : strlen(s);
	uint64_t bits = 24;
	uint32_t a, m;

	if (n >= sizeof(addr))
		return err_set(e, EINVAL, "parameter 'net': '%s' is not a network", s);
	memcpy(addr, s, n);
	addr[n] = 0;
	if (inet_pton(AF_INET, addr, net) != 1)
		return err_set(e, EINVAL, "parameter 'net': '%s' is not an IPv4 address", addr);
	a = ntohl(net->s_addr);
	if (!slash)
		bits = a < 0x80000000 ? 8 : a < 0xc0000000 ? 16 : 24;
	if (slash && !parse_uint(slash + 1, 4, 30, &bits)) {
		if (inet_pton(AF_INET, slash + 1, mask) != 1)
			return err_set(e, EINVAL, "parameter 'net': '%s' is not a network mask",
				       slash + 1);
		m = ntohl(mask->s_addr);
		if (!m || (~m & (~m + 1)) || (~m) < 3)
			return err_set(e, EINVAL, "parameter 'net': '%s' is not a network mask",
				       slash + 1);
	} else {
		m = ~UINT32_C(0) << (32 - bits);
		mask->s_addr = htonl(m);
	}
	net->s_addr = htonl(a & m);
	return 0;
}

static int config_v4(struct user *u, struct kvlist *opts, SlirpConfig *cfg, struct err **e)
{
	const char *net = kv_get(opts, "net");
	uint32_t base, last;
	int r;

	u->net.s_addr = htonl(0x0a000200);
	u->mask.s_addr = htonl(0xffffff00);
	r = net ? opt_net(net, &u->net, &u->mask, e) : 0;
	if (r)
		return r;
	base = ntohl(u->net.s_addr);
	last = ~ntohl(u->mask.s_addr);
	u->host.s_addr = htonl(base | 2);
	cfg->vnameserver.s_addr = htonl(base | 3);
	cfg->vdhcp_start.s_addr = htonl(base | (last > 0xf ? 0xf : last - 1));
	r = opt_addr(opts, "host", &u->host, e);
	if (!r)
		r = opt_addr(opts, "dhcpstart", &cfg->vdhcp_start, e);
	if (!r)
		r = opt_addr(opts, "dns", &cfg->vnameserver, e);
	if (r)
		return r;
	cfg->vnetwork = u->net;
	cfg->vnetmask = u->mask;
	cfg->vhost = u->host;
	if ((u->host.s_addr & u->mask.s_addr) != u->net.s_addr)
		return err_set(e, EINVAL, "'host' is not in the network");
	if ((cfg->vdhcp_start.s_addr & u->mask.s_addr) != u->net.s_addr)
		return err_set(e, EINVAL, "'dhcpstart' is not in the network");
	if ((cfg->vnameserver.s_addr & u->mask.s_addr) == u->net.s_addr &&
	    cfg->vnameserver.s_addr == u->host.s_addr)
		return err_set(e, EINVAL, "'dns' and 'host' are the same address");
	return 0;
}

static int config_v6(struct user *u, struct kvlist *opts, SlirpConfig *cfg, struct err **e)
{
	uint64_t bits = 64;
	struct in6_addr prefix;
	const char *net = kv_get(opts, "ipv6-net");
	int r;

	inet_pton(AF_INET6, "fec0::", &prefix);
	if (net) { /* the older way: PREFIX[/BITS] */
		char *copy = xstrdup(net), *slash = strchr(copy, '/');
		bool ok;

		if (slash)
			*slash = 0;
		ok = inet_pton(AF_INET6, copy, &prefix) == 1 &&
		     (!slash || parse_uint(slash + 1, 0, 126, &bits));
		free(copy);
		if (!ok)
			return err_set(e, EINVAL, "parameter 'ipv6-net': '%s' is not PREFIX/BITS",
				       net);
	}
	r = opt_addr6(opts, "ipv6-prefix", &prefix, e);
	if (!r)
		r = kv_uint(opts, "ipv6-prefixlen", 0, 126, &bits, e);
	if (r)
		return r;
	cfg->vprefix_addr6 = prefix;
	cfg->vprefix_len = (uint8_t)bits;
	cfg->vhost6 = cfg->vnameserver6 = prefix;
	cfg->vhost6.s6_addr[15] |= 2;
	cfg->vnameserver6.s6_addr[15] |= 3;
	r = opt_addr6(opts, "ipv6-host", &cfg->vhost6, e);
	if (!r)
		r = opt_addr6(opts, "ipv6-dns", &cfg->vnameserver6, e);
	return r;
}

/* The list of search domains: every dnssearch= there is (from JSON: dnssearch.N.str). */
static const char **search_list(const struct kvlist *opts)
{
	const char **list = xcalloc(opts->n + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < opts->n; i++) {
		if (strncmp(opts->kv[i].key, "dnssearch", 9) ||
		    (opts->kv[i].key[9] && opts->kv[i].key[9] != '.'))
			continue;
		opts->kv[i].used = true;
		list[n++] = opts->kv[i].val;
	}
	if (n)
		return list;
	free(list);
	return NULL;
}

static int config_names(struct kvlist *opts, SlirpConfig *cfg, struct err **e)
{
	const char *domain = kv_get(opts, "domainname");

	cfg->vhostname = kv_get(opts, "hostname");
	cfg->vdomainname = domain;
	cfg->tftp_path = kv_get(opts, "tftp");
	cfg->tftp_server_name = kv_get(opts, "tftp-server-name");
	cfg->bootfile = kv_get(opts, "bootfile");
	if (cfg->vhostname && strlen(cfg->vhostname) > 32)
		return err_set(e, EINVAL, "'hostname' is longer than 32 characters");
	if (domain && (!*domain || strlen(domain) > 255))
		return err_set(e, EINVAL, "'domainname' is empty or longer than 255 characters");
	if (cfg->bootfile && strlen(cfg->bootfile) > 127)
		return err_set(e, EINVAL, "'bootfile' is longer than 127 characters");
	if (cfg->tftp_server_name && strlen(cfg->tftp_server_name) > 255)
		return err_set(e, EINVAL, "'tftp-server-name' is longer than 255 characters");
	if (kv_get(opts, "smb") || kv_get(opts, "smbserver"))
		return err_set(e, ENOTSUP, "'smb' is not supported; share a folder by -virtfs");
	return 0;
}

int user_config(struct user *u, struct kvlist *opts, SlirpConfig *cfg, const char ***search,
		struct err **e)
{
	bool v4 = true, v6 = true, given6 = kv_get(opts, "ipv6") != NULL;
	int r = kv_bool(opts, "restrict", &u->restricted, e);

	if (!r)
		r = kv_bool(opts, "ipv4", &v4, e);
	if (!r)
		r = kv_bool(opts, "ipv6", &v6, e);
	if (!r)
		r = config_v4(u, opts, cfg, e);
	if (!r)
		r = config_v6(u, opts, cfg, e);
	if (!r)
		r = config_names(opts, cfg, e);
	if (r)
		return r;
	if (given6 && v6 && !kv_get(opts, "ipv4"))
		v4 = false; /* one that is named alone is meant alone */
	if (!given6 && kv_get(opts, "ipv4") && v4)
		v6 = false;
	if (!v4 && !v6)
		return err_set(e, EINVAL, "IPv4 and IPv6 are both off");
	u->ipv6 = v6;
	cfg->restricted = u->restricted;
	cfg->in_enabled = v4;
	cfg->in6_enabled = v6;
	*search = search_list(opts);
	cfg->vdnssearch = *search;
	return 0;
}
