/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing connected: output vanishes, no input.  A virtual console of a display is such a thing as long
 * as no display shows it. */
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

const struct chardev_kind chardev_vc = {
	.name = "vc",
	.help = "a text console of a display, which is not shown: as null",
	.keys = {"width", "height", "cols", "rows"},
	.open = null_open,
	.close = null_close,
};
