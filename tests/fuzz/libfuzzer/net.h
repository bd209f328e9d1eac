/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The operations in net.c's input. */
enum {
	NET_OP_CHAIN,	/* queue and count, which are written, (place, length) of each */
	NET_OP_WRITE,	/* place (3), length (1), bytes */
	NET_OP_DELIVER, /* length (2), bytes given (1), header (10), bytes */
	NET_OP_KICK,
	NET_OP_PEER,
	NET_OP_START, /* features */
	NET_OP_CONFIG,
	NET_OP_UNDO, /* takes (1), MTU (2), header (10), the rest */
	NET_OPS,
};
