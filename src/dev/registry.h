/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Making devices by name (-device); dev/class.h is for those who write one. */
#include "dev/class.h"

/* Where a named device can be plugged, and what it can be connected to. */
struct dev_slots {
	struct dev_env *env; /* with its buses */
	struct gsi *gsi;
	struct dev_backends backends;
};

/* dev_create - make the device; props is "k=v,k=v" or "" or NULL; `id`, `bus` and `addr` (or unit,
 * nr) are understood for every class.  -EINVAL with *e for an unknown driver, an unknown property
 * (named), a bad value; -ENOENT for a back end or bus that is not there; -EBUSY for something in
 * use. env->lock held. */
int dev_create(const struct dev_slots *s, const char *driver, const char *props, struct err **e);
/* dev_create_check - is the driver known and are the properties well formed?  Makes nothing. */
int dev_create_check(const char *driver, const char *props, struct err **e);
/* dev_create_ram - guest RAM that making the device takes (dev_class.ram); 0 when it cannot be made. */
uint64_t dev_create_ram(const char *driver, const char *props);
/* dev_prop_check - is "name=value" a good property of the driver, taken alone? */
int dev_prop_check(const char *driver, const char *prop, struct err **e);
/* dev_class_find - by name, or one of the shorter names that users of QEMU know; NULL: none. */
const struct dev_class *dev_class_find(const char *name);
/* dev_class_nth - from 0 on, in no order; NULL: there are no more. */
const struct dev_class *dev_class_nth(unsigned i);
/* dev_bus_kind - "PCI", "IDE", ... */
const char *dev_bus_kind(const struct dev_bus *b);
/* dev_help - `-device help` (driver NULL) or `-device DRIVER,help` to stdout; -EINVAL for an
 * unknown one. */
int dev_help(const char *driver, struct err **e);
