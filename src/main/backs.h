/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The host side of a machine's devices: drives, network back ends, shared folders, objects.  They
 * are opened before the machine is made and closed after it is gone.
 */
#include "dev/class.h"
#include "main/cmdline.h"

struct backs;
struct blocks;
struct fsdev;
struct log;
struct loop;
struct net_chardevs;
struct netdev;

/* A card or folder that goes with a back end that was opened: what -device would say. */
struct backs_part {
	char *driver, *props;
};

/* backs_open - everything that c asks for; 0, or -errno with *e, which names the option.  loop, log
 * and what chardevs gives outlive it.  backs_close: NULL is fine. */
int backs_open(struct backs **out, const struct cmdline *c, struct loop *loop, struct log *log,
	       const struct net_chardevs *chardevs, struct err **e);
void backs_close(struct backs *b);
/* By id; NULL: there is none.  backs_drive: or by a node's name. */
/* backs_add_disk - a disk of these bytes, that cannot be written, as the last of if=virtio. */
int backs_add_disk(struct backs *b, const char *id, const void *data, size_t len, struct err **e);
struct block *backs_drive(struct backs *b, const char *id);
struct netdev *backs_netdev(struct backs *b, const char *id);
struct fsdev *backs_fsdev(struct backs *b, const char *id);
void *backs_object(struct backs *b, const char *id);
struct blocks *backs_blocks(struct backs *b);
void backs_each_netdev(struct backs *b, void (*fn)(void *arg, struct netdev *nd), void *arg);
/* The parts that back ends ask for: cards (-nic), then folders (-virtfs). */
size_t backs_nics(const struct backs *b, const struct backs_part **out);
size_t backs_folders(const struct backs *b, const struct backs_part **out);
