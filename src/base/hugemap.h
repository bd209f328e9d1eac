/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Mappings of what is large and used all over, in huge pages where the host has them. */
#include <stddef.h>
#include "base/base.h"

#define HUGE_PAGE (2 * MiB)

/*
 * hugemap - map `size` bytes (a multiple of the page size) with the protection `prot` (PROT_*) at an
 * address that huge pages can be mapped at, and ask for them: the file's first ones shared, or with
 * fd -1 private zeroes.  Memory is not reserved.  Returns MAP_FAILED with errno set on failure.
 * munmap() of the same size releases it.
 */
void *hugemap(int fd, size_t size, int prot);

/*
 * hugemap_gather - have what is at [at, at + size) (multiples of the page size, mapped by hugemap, its
 * contents there already) in huge pages now, where one fits and if the host can.  Hosts often give
 * files none by themselves.
 */
void hugemap_gather(void *at, size_t size);
