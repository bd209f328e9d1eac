/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-a keys of a console. */
#include "back/char/chardev_int.h"

#define CTRL_A 1

static void escape_help(struct chardev *cd)
{
	chardev_print(cd, "\r\n"
			  "Ctrl-a h       this help\r\n"
			  "Ctrl-a x       leave: the machine is switched off\r\n"
			  "Ctrl-a b       send a break\r\n"
			  "Ctrl-a Ctrl-a  send Ctrl-a\r\n");
}

/* The key after Ctrl-a.  True when the byte goes to the guest. */
static bool escape_key(struct chardev *cd, uint8_t key, int *event, bool *quit)
{
	switch (key) {
	case CTRL_A:
		return true;
	case 'x':
		*quit = true;
		chardev_print(cd, "\r\nLeft the console; the machine is switched off.\r\n");
		return false;
	case 'b':
		*event = CHARDEV_EV_BREAK;
		return false;
	case 'c':
		chardev_print(cd, "\r\nThere is no monitor to switch to (Ctrl-a h helps).\r\n");
		return false;
	default:
		escape_help(cd);
		return false;
	}
}

size_t chardev_escape_filter(struct chardev *cd, uint8_t *buf, size_t len, int *event, bool *quit)
{
	struct chardev_escape *esc = &cd->esc;
	size_t out = 0;

	for (size_t i = 0; i < len && !*quit; i++) {
		bool got = esc->got;

		esc->got = !got && buf[i] == CTRL_A;
		if (esc->got || (got && !escape_key(cd, buf[i], event, quit)))
			continue;
		buf[out++] = buf[i];
	}
	return out;
}

void chardev_set_escape(struct chardev *cd, void (*quit)(void *opaque), void *opaque)
{
	cd->esc = (struct chardev_escape){.on = true, .quit = quit, .opaque = opaque};
	if (cd->kind->escape)
		cd->kind->escape(cd);
}
