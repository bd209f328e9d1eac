/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* All nodes and drives of a machine. */
#include "back/block/block.h"

struct blocks {
	struct log *log;
	struct block_node *nodes;
	struct block *drives; /* oldest first */
	unsigned serial; /* of names we make up */
	void (*error_hook)(void *opaque, const struct block_error *err);
	void *error_opaque;
};
