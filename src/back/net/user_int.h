/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* User networking: what user.c (traffic), user_opts.c (options), user_fwd.c (forwards) and
 * user_chardev.c (those to chardevs) share. */
#include <slirp/libslirp.h>
#include "back/net/netdev_int.h"

struct user;
struct user_chardev;

/* An address of the guest's network that leads elsewhere (guestfwd). */
struct user_guestfwd {
	struct in_addr addr;
	uint16_t port;
};

/* A timer that libslirp asked for; they share the timerfd. */
struct user_timer {
	struct user *u;
	SlirpTimerCb fn;
	void *opaque;
	int64_t at; /* ns, or INT64_MAX: not armed */
	struct user_timer *next;
};

/* What libslirp wants to know of a descriptor, by number. */
struct user_fd {
	uint32_t watched; /* epoll events in the set; 0: not there */
	uint32_t wanted; /* by the latest fill */
	uint32_t ready; /* SLIRP_POLL_* */
	bool listed; /* in user.watched */
};

struct user {
	struct netdev *nd;
	Slirp *slirp;
	struct in_addr net, mask, host;
	bool restricted, ipv6;
	int epfd, timerfd;
	struct loop_fd *w;
	bool paused; /* w is not watched: the card has no room */
	struct user_fd *fds;
	size_t n_fds;
	int *polled; /* descriptors of the latest fill, by its index */
	size_t n_polled, cap_polled;
	int *watched;
	size_t n_watched, cap_watched;
	struct user_timer *timers;
	int64_t poll_at; /* when libslirp wants to be called at the latest */
	int64_t armed; /* what timerfd is set to */
	uint32_t frag_id;
	struct user_guestfwd *guestfwds;
	size_t n_guestfwds;
	struct user_chardev *chardevs; /* where connections of the guest lead */
	uint8_t *linear, *piece; /* NET_FRAME_MAX bytes */
};

/* user_refresh - libslirp's state may have changed: what must be watched now? */
void user_refresh(struct user *u);

/* user_opts.c: parse everything that shapes the network.  The strings of *cfg are opts' or static;
 * *search (malloc'ed) holds its list of domains. */
int user_config(struct user *u, struct kvlist *opts, SlirpConfig *cfg, const char ***search,
		struct err **e);

/* user_fwd.c */
int user_forwards(struct user *u, const struct kvlist *opts, struct err **e);

#define USER_ADDR_REFUSED "its address is taken, or the network's own"

/* user_chardev.c.  user_chardev_add - connections of the guest to addr:port (port not 0) lead to
 * the chardev that spec names; an address of zero becomes the one that libslirp chose.  0, or
 * -errno with *e: -EINVAL (the address, the spec), -ENOENT, -EBUSY (the chardev), the host's. */
int user_chardev_add(struct user *u, struct in_addr *addr, uint16_t port, const char *spec,
		     struct err **e);
/* user_chardevs_accept - libslirp may have made a connection.  Card's lock held, if there is one.
 */
void user_chardevs_accept(struct user *u);
/* user_chardevs_close - give all up, before libslirp ends.  Loop thread, or after the loop ended.
 */
void user_chardevs_close(struct user *u);
