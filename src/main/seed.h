/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What doppel run tells a guest about the person who runs it (--user, --ssh-key, -v): a seed for
 * cloud-init's NoCloud data source, and for images without cloud-init a credential that systemd
 * takes from the SMBIOS tables.
 */
#include <stdbool.h>
#include "base/bytes.h"

struct cmdline;
struct err;

struct seed {
	struct bytes image; /* empty: there is none */
	char *credential; /* an OEM string, or NULL */
};

/* seed_make - read the keys; 0, or -errno with *e, which names the option.  s needs seed_free
 * either way. */
int seed_make(struct seed *s, const struct cmdline *c, struct err **e);
void seed_free(struct seed *s);
/* seed_check_key, seed_check_user - is it one, for all that can be said without reading files? */
int seed_check_key(const char *arg, struct err **e);
int seed_check_user(const char *arg, struct err **e);
/* seed_mounts - does the seed mount the folders of -v? */
bool seed_mounts(const struct cmdline *c);
/* For mounting a shared folder. */
#define SEED_MOUNT_OPTIONS "trans=virtio,version=9p2000.L,msize=262144"
