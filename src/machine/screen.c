/* SPDX-License-Identifier: Apache-2.0 */
/* Screen dumps. */
#include <errno.h>
#include "back/display/display.h"
#include "base/err.h"
#include "machine/vm_int.h"

static int draw(struct vm *vm, const char *device, struct surface *s, struct err **e)
{
	struct display *d;

	lock_take(&vm->dev_lock);
	d = display_find(vm->env.displays, device);
	if (d)
		d->ops->draw(d->opaque, s);
	lock_drop(&vm->dev_lock);
	if (d)
		return 0;
	return device ? err_set(e, ENOENT, "there is no display '%s'", device)
		      : err_set(e, ENOENT, "there is no display: the machine has no -vga");
}

int vm_screendump(struct vm *vm, const char *device, const char *path, enum picture form,
		  struct err **e)
{
	struct surface s = {0};
	int r = draw(vm, device, &s, e);

	if (!r)
		r = surface_write(&s, path, form, e);
	surface_free(&s);
	return r;
}
