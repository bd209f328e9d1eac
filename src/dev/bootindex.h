/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which device firmware shall boot from first.  A device with a bootindex enters its place in the
 * device tree here, by the path that SeaBIOS and OVMF know (Open Firmware, IEEE 1275 2.2), when it
 * is made; the machine hands the list to firmware (fw_cfg "bootorder").  env->lock held.
 */
#include "dev/dev.h"

struct pci_dev;

/* The value of a bootindex property that was not given. */
#define BOOTINDEX_NONE (-1)

/* dev_bootindex_add - firmware tries the lowest index first.  index BOOTINDEX_NONE: nothing.  path
 * is copied: "/pci@i0cf8/scsi@4/disk@0,0".  -EINVAL with *e: another device has that index. */
int dev_bootindex_add(struct dev_env *env, int64_t index, const char *path, struct err **e);
/* dev_bootindex_remove - of a device that goes: its path; nothing if it is not there. */
void dev_bootindex_remove(struct dev_env *env, const char *path);
/* dev_bootindex_list - the paths in their order, a line each, in memory that the caller frees; ""
 * if there is none. */
char *dev_bootindex_list(const struct dev_env *env);
void dev_bootindex_free(struct dev_env *env);
/* dev_bootindex_pci - path of a function on the root bus: "/pci@i0cf8/NAME@SLOT[,FUNCTION]" and
 * `unit`
 * ("" or "/disk@0,0", "/ethernet-phy@0"); name is "scsi", "ethernet", "ide", ...  The caller frees.
 */
char *dev_bootindex_pci(const struct pci_dev *d, const char *name, const char *unit);
