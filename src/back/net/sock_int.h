/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Addresses in the options of the socket kinds. */
#include "back/char/socket.h"
#include "back/net/netdev_int.h"

/* net_sock_addr - PREFIX.type=unix|inet|fd with .path, or .host and .port, or .str; *fd is set for
 * "fd", else left alone.  0 or -errno with *e. */
int net_sock_addr(struct sock_addr *a, struct kvlist *opts, const char *prefix, bool listener,
		  int *fd, struct err **e);
/* net_sock_host_port - "HOST:PORT", "[V6]:PORT" or ":PORT". */
int net_sock_host_port(struct sock_addr *a, const char *text, bool listener, struct err **e);

/* net_dgram_open_old - -netdev socket with udp= or mcast=. */
int net_dgram_open_old(struct netdev *nd, struct kvlist *opts, struct err **e);
