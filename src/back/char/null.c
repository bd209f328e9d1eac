/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing connected: output vanishes, no input. */
#include "back/char/chardev_int.h"

static int null_open(struct chardev *cd, struct kvlist *opts, struct err **e)
{
	return 0;
}

static void null_close(struct chardev *cd)
{
}

const struct chardev_kind chardev_null = {
	.name = "null",
	.help = "output vanishes, no input",
	.open = null_open,
	.close = null_close,
};
