/* SPDX-License-Identifier: Apache-2.0 */
/* Network block devices in a build without libnbd: a line that says so. */
#include <errno.h>
#include "back/block/node.h"
#include "base/err.h"

static int nbd_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	return err_set(e, ENOTSUP, "NBD: this doppel was built without libnbd");
}

static void nbd_node_close(struct block_node *n)
{
}

const struct node_drv node_nbd = {
	.name = "nbd", .protocol = true, .open = nbd_open, .close = nbd_node_close};
