/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Values of a device's properties: parsed by the registry, asked for by the device (dev/class.h).
 */
#include "dev/class.h"

struct kvlist;

/* dev_opts_parse - values for c's properties from l, which loses what it knows (kv_finish tells the
 * rest); 0, or -EINVAL with *e.  The result needs dev_opts_free. */
int dev_opts_parse(struct dev_opts **out, const struct dev_class *c, struct kvlist *l,
		   struct err **e);
/* dev_opts_resolve - find the back ends that the values name; -ENOENT with *e. */
int dev_opts_resolve(struct dev_opts *o, const struct dev_backends *b, struct err **e);
void dev_opts_free(struct dev_opts *o);
/* dev_opts_help - one line for each property, to stdout. */
void dev_opts_help(const struct dev_class *c);
