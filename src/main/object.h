/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * -object: things that are neither devices nor their back ends.  A kind is a row of the table in
 * object.c.
 *   rng-random,id=,filename=    a file of random bytes (all generators here are the host's own)
 *   rng-builtin,id=             the host's generator
 *   filter-dump,id=,netdev=,file=[,maxlen=]   frames of a netdev, as a pcap file
 */
struct err;
struct netdev;
struct objects;

struct objects *objects_create(void);
/* objects_destroy - before the netdevs go.  NULL is fine. */
void objects_destroy(struct objects *o);
/* object_check - is opts the text of an object that there can be?  object_add: make it.  0, or
 * -errno with *e. */
int object_check(const char *opts, struct err **e);
int object_add(struct objects *o, const char *opts,
	       struct netdev *(*find_netdev)(void *opaque, const char *id), void *opaque,
	       struct err **e);
/* object_find - the object of that id, as its user knows it (rng: a kind name); NULL: none. */
void *object_find(struct objects *o, const char *id);
void objects_help(void);
