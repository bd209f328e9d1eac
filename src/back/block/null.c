/* SPDX-License-Identifier: Apache-2.0 */
/* null-co: a disk that holds zeroes and forgets what is written to it, for measurements. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/node.h"
#include "base/err.h"

static int null_open(struct block_node *n, struct node_opts *o, struct err **e)
{
	n->size = GiB;
	n->priv = xzalloc(1);
	n->filename = xstrdup("null-co://");
	return node_opt_size(o, "size", &n->size, e);
}

static void null_close(struct block_node *n)
{
	free(n->priv);
}

static int null_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	bvec_zero(v, len);
	return 0;
}

static int null_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	return 0;
}

static int null_flush(struct block_node *n)
{
	return 0;
}

static int null_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap)
{
	return 0;
}

static int null_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent)
{
	*extent = BLOCK_EXT_ZERO | BLOCK_EXT_HERE;
	return 0;
}

const struct node_drv node_null_co = {
	.name = "null-co",
	.protocol = true,
	.open = null_open,
	.close = null_close,
	.read = null_read,
	.write = null_write,
	.flush = null_flush,
	.zero = null_zero,
	.status = null_status,
};
