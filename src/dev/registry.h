/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The devices a person can name with -device, and their properties. */
#include "dev/dev.h"

struct chardev;
struct gsi;
struct pci_bus;

/* Where a named device can be plugged. */
struct dev_slots {
	struct dev_env *env;
	struct gsi *gsi;
	struct pci_bus *pci;
	struct chardev *(*find_chardev)(void *opaque, const char *id); /* NULL: none */
	void *opaque;
};

/* dev_create - make the device; props is "k=v,k=v" or "" or NULL.  -EINVAL with *e for an
 * unknown driver, an unknown property (named), a bad value; -EBUSY for something in use. */
int dev_create(const struct dev_slots *s, const char *driver, const char *props, struct err **e);
/* dev_create_check - is the driver known and are the properties well formed?  Makes nothing. */
int dev_create_check(const char *driver, const char *props, struct err **e);
/* dev_help - `-device help` (driver NULL) or `-device DRIVER,help` to stdout; -EINVAL for an
 * unknown one. */
int dev_help(const char *driver, struct err **e);
