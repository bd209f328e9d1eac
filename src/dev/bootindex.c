/* SPDX-License-Identifier: Apache-2.0 */
/* The list of devices that can be booted from, by their index. */
#include "dev/bootindex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dev/pci/pci.h"

struct dev_boot {
	struct dev_boot *next; /* of a higher index */
	int64_t index;
	char path[];
};

int dev_bootindex_add(struct dev_env *env, int64_t index, const char *path, struct err **e)
{
	size_t size = strlen(path) + 1;
	struct dev_boot **at = &env->boot, *b;

	if (index < 0)
		return 0;
	while (*at && (*at)->index < index)
		at = &(*at)->next;
	if (*at && (*at)->index == index)
		return err_set(e, EINVAL, "the bootindex %lld is in use by another device",
			       (long long)index);
	b = xzalloc(sizeof(*b) + size);
	b->index = index;
	memcpy(b->path, path, size);
	b->next = *at;
	*at = b;
	return 0;
}

void dev_bootindex_remove(struct dev_env *env, const char *path)
{
	for (struct dev_boot **at = &env->boot, *b; (b = *at); at = &b->next) {
		if (strcmp(b->path, path))
			continue;
		*at = b->next;
		free(b);
		return;
	}
}

char *dev_bootindex_list(const struct dev_env *env)
{
	char *all = xstrdup("");

	for (const struct dev_boot *b = env->boot; b; b = b->next) {
		char *more = xasprintf("%s%s%s", all, *all ? "\n" : "", b->path);

		free(all);
		all = more;
	}
	return all;
}

void dev_bootindex_free(struct dev_env *env)
{
	while (env->boot)
		dev_bootindex_remove(env, env->boot->path);
}

char *dev_bootindex_pci(const struct pci_dev *d, const char *name, const char *unit)
{
	unsigned slot = PCI_SLOT(d->devfn), fn = PCI_FUNC(d->devfn);

	if (fn)
		return xasprintf("/pci@i0cf8/%s@%x,%x%s", name, slot, fn, unit);
	return xasprintf("/pci@i0cf8/%s@%x%s", name, slot, unit);
}
